"""`dfghdr eval`: table, files, exit codes, and published figures kept apart."""

import base64
import json
import re
import shutil
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from dfghdr_cli.cli.app import app
from dfghdr_cli.errors import InputError
from dfghdr_cli.modelstore import DEFAULT_MODEL
from dfghdr_cli.pipeline.evaluate import scoring
from dfghdr_cli.pipeline.evaluate.published import PUBLISHED
from dfghdr_cli.pipeline.page import page


@pytest.fixture
def scenes(tmp_path, make_scene, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_scene(tmp_path / "scenes" / "EXTRA" / "001", seed=1)
    make_scene(tmp_path / "scenes" / "PAPER" / "002", seed=2)
    return tmp_path / "scenes"


def run(*arguments, code=0):
    result = CliRunner().invoke(
        app, ["eval", "--device", "cpu", "--metrics", "basic", *map(str, arguments)]
    )
    assert result.exit_code == code, result.output
    return result


def read(name):
    return Path(name).read_text(encoding="utf-8")


BOTH = ("--method", "classic", "--method", "reference")


def test_the_table(scenes):
    done = run(scenes, *BOTH)
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert lines[0][:5] == ["method", "of scenes", "PSNR-μ", "moving", "still"]
    assert [line[:2] for line in lines[1:]] == [
        ["classic", "mean"],
        ["classic", "worst"],
        ["reference", "mean"],
        ["reference", "worst"],
    ]
    assert {len(line) for line in lines} == {len(lines[0])}
    assert float(lines[2][2]) <= float(lines[1][2])
    assert lines[2][-1] in ("001", "002")
    assert "2 scenes; all bits, full size" in done.stderr
    assert "no scale fitted" in done.stderr
    assert "estimated in 2 of 2" in done.stderr
    assert "PSNR-mu, reference over classic: +" in done.stderr


def test_the_default_methods(scenes, monkeypatch):
    asked = []

    def build(*arguments):
        asked.append([[str(one) for one in argument] for argument in arguments[:3]])
        raise InputError("enough")

    monkeypatch.setattr(scoring, "build_methods", build)
    run(scenes, code=4)
    run(scenes, "--predictions", scenes, code=4)
    assert asked == [[[DEFAULT_MODEL], ["classic", "reference"], []], [[], [], [str(scenes)]]]


def test_files(scenes):
    run(scenes, *BOTH, "--json-file", "all.json", "--csv", "all.csv")
    values = json.loads(read("all.json"))
    assert set(values["methods"]) == {"classic", "reference"}
    assert values["methods"]["classic"]["mean"]["psnr_mu"] > 20
    assert len(read("all.csv").splitlines()) == 5
    printed = run(scenes, *BOTH, "--json").stdout
    assert json.loads(printed).keys() == json.loads(Path("all.json").read_text()).keys()
    again = run(scenes, *BOTH, "--csv", "new.csv", "--json-file", "all.json", code=3)
    assert "all.json exists already" in again.stderr
    run(scenes, *BOTH, "--json-file", "all.json", "--overwrite")
    run(scenes, *BOTH, "--json-file", "x", "--csv", "x", code=2)
    run(scenes, *BOTH, "--json-file", "nowhere/x.json", code=7)


def test_markdown(scenes):
    lines = run(scenes, *BOTH, "--markdown").stdout.strip().splitlines()
    assert lines[0].startswith("|  | PSNR-mu | moving |")
    assert set(lines[1]) == {"|", "-"}
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith("| classic | ")
    assert lines[3].startswith("| reference | **")


def test_published_figures_stand_apart(scenes):
    measured = run(scenes, *BOTH).stdout
    done = run(scenes, *BOTH, "--paper", "--json-file", "all.json").stdout
    first, published = done.split("\n\n")
    strip = lambda text: [line.split("\t")[:10] for line in text.strip().splitlines()]  # noqa: E731
    assert strip(first) == strip(measured)
    assert published.startswith("published\t")
    assert "DFGNet\t44.19\t41.89\t66.84\n" in published
    assert "as published there; not measured here" in published
    assert len(published.strip().splitlines()) == len(PUBLISHED) + 2
    assert "44.19" not in read("all.json")


def test_part_of_the_scenes(scenes):
    (scenes / "EXTRA" / "001" / "HDRImg.hdr").unlink()
    done = run(scenes, *BOTH, "--json-file", "all.json", code=1)
    assert "1 of 2 scenes count for no method (001)" in done.stderr
    assert "holds no truth" in done.stderr
    assert len(done.stdout.splitlines()) == 5
    assert json.loads(read("all.json"))["excluded"][0]["scene"] == "001"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere", *BOTH], 4, "not a folder"),
        (["scenes", "--model", "missing"], 5, "missing"),
        (["scenes", "--predictions", "missing"], 4, "not a folder"),
        (["scenes", "--method", "best"], 2, ""),
        (["scenes", "--protocol", "other"], 2, ""),
        (["scenes", "--method", "reference", "--method", "reference"], 4, "given twice"),
        ([], 2, ""),
    ],
)
def test_mistakes(scenes, arguments, code, words):
    done = run(*arguments, code=code)
    assert words in done.stderr
    assert done.stdout == ""


def test_the_report_and_the_slow_figures(tmp_path, make_scene, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_scene(tmp_path / "<one>", size=(48, 64))
    arguments = ("<one>", "--method", "reference", "--method", "opencv-debevec", "--metrics", "all")
    done = run(*arguments, "--report", "page.html", "--json-file", "all.json", "--vdp-ppd", "20")
    row = json.loads(read("all.json"))["methods"]["reference"]["scenes"]["<one>"]
    assert 0 < row["hdr_vdp2"] < 100
    assert 0 < row["hdr_flip"] < row["hdr_flip_p99"]
    assert row["cvvdp_jod"] is None
    view = "sRGB-display, linear [0, 1] times 1, 20 pixels per degree"
    assert view in done.stderr
    assert json.loads(read("all.json"))["hdr_vdp2"] == view
    page = read("page.html")
    assert "&lt;one&gt;" in page
    assert "<one>" not in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert view in page
    for caption in ("frame 1, -2 EV", "frame 3, +2 EV", "truth", "reference: PSNR", "its error"):
        assert caption.replace("-2", "+0").replace("3, +2", "3, +4") in page
    pictures = re.findall(r"base64,([^\"]+)", page)
    regions = page.count("<h3>")
    assert len(pictures) == 3 + 3 + regions * (3 + 1 + 2 * 2)
    for picture in pictures:
        with Image.open(BytesIO(base64.b64decode(picture))) as image:
            assert image.size == (64, 48)


def test_the_papers_report(scenes):
    arguments = (*BOTH, "--paper-report", "report", "--crop", "001:8,16,32,24")
    run(scenes, *arguments)
    text = read("report/report.md")
    assert "| classic | " in text
    assert json.loads(read("report/settings.json"))["settings"]["crops"] == ["001:8,16,32,24"]
    assert Path("report/figure4.png").exists()
    again = run(scenes, *arguments, code=3)
    assert "exists already" in again.stderr
    assert "X,Y,W,H" in run(scenes, *BOTH, "--paper-report", "x", "--crop", "1,2", code=2).stderr
    assert "--paper-report" in run(scenes, *BOTH, "--crop", "1,2,3,4", code=2).stderr
    assert "NAME=FILE" in run(scenes, "--external", "x", code=2).stderr
    assert "does not exist" in run(scenes, "--external", "x=y.onnx", code=4).stderr
    assert not Path("x").exists()


@pytest.mark.parametrize("option", ["--vdp-scale", "--vdp-ppd"])
def test_the_view_must_be_possible(scenes, option):
    assert "above 0" in run(scenes, *BOTH, option, "0", code=2).stderr


def test_what_is_read_is_never_replaced(scenes, tmp_path):
    scene = scenes / "EXTRA" / "001"
    predictions = tmp_path / "predictions"
    predictions.mkdir()
    shutil.copyfile(next(scene.glob("HDRImg.*")), predictions / "001.hdr")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for path in before:
        options = ("--predictions", predictions, *BOTH, "--csv", path, "--overwrite")
        assert "a file that this command reads" in run(scenes, *options, code=7).stderr
    assert before == {path: path.read_bytes() for path in before}
    old = scene / "figures.csv"
    old.write_text("old")
    run(scene, *BOTH, "--csv", old, "--overwrite")
    assert old.read_text().startswith("method,scene")


def test_names_are_neither_formulas_nor_parts_of_a_page(scenes):
    (scenes / "EXTRA" / "001").rename(scenes / "EXTRA" / "=1+cmd|")
    run(scenes / "EXTRA", *BOTH, "--csv", "o.csv")
    assert "classic,'=1+cmd|," in read("o.csv")
    text = page("dfghdr_cli.pipeline.evaluate", "@body@", ["<p>@title@</p>"])
    assert "<title>@body@</title>" in text
    assert text.count("<p>@title@</p>") == 1
