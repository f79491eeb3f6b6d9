"""`dfghdr eval`: table, files, exit codes, and published figures kept apart."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dfghdr_cli.cli.app import app
from dfghdr_cli.pipeline.evaluate import PUBLISHED


@pytest.fixture
def scenes(tmp_path, make_scene, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_scene(tmp_path / "scenes" / "EXTRA" / "001", seed=1)
    make_scene(tmp_path / "scenes" / "PAPER" / "002", seed=2)
    return tmp_path / "scenes"


def run(*arguments, code=0):
    result = CliRunner().invoke(app, ["eval", "--device", "cpu", *map(str, arguments)])
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


def test_the_default_methods(scenes, monkeypatch, tmp_path):
    from dfghdr_cli import modelstore
    from dfghdr_cli.nets.registry import build

    monkeypatch.setenv(modelstore.MODELS_DIR_VARIABLE, str(tmp_path / "models"))
    small = {"width": (4, 4, 4), "disentangle_width": 4, "code_length": 4}
    modelstore.install_model(
        build("dfgmerge", small), modelstore.DEFAULT_MODEL, tmp_path / "models"
    )
    done = run(scenes / "EXTRA")
    names = [line.split("\t")[0] for line in done.stdout.splitlines()[1::2]]
    assert names == [modelstore.DEFAULT_MODEL, "classic", "reference"]


def test_files(scenes):
    run(scenes, *BOTH, "--json", "all.json", "--csv", "all.csv")
    values = json.loads(read("all.json"))
    assert set(values["methods"]) == {"classic", "reference"}
    assert values["methods"]["classic"]["mean"]["psnr_mu"] > 20
    assert len(read("all.csv").splitlines()) == 5
    again = run(scenes, *BOTH, "--csv", "new.csv", "--json", "all.json", code=3)
    assert "all.json exists already" in again.stderr
    run(scenes, *BOTH, "--json", "all.json", "--overwrite")
    run(scenes, *BOTH, "--json", "x", "--csv", "x", code=7)
    run(scenes, *BOTH, "--json", "nowhere/x.json", code=7)


def test_markdown(scenes):
    lines = run(scenes, *BOTH, "--markdown").stdout.strip().splitlines()
    assert lines[0].startswith("|  | PSNR-mu | moving |")
    assert set(lines[1]) == {"|", "-"}
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith("| classic | ")
    assert lines[3].startswith("| reference | **")


def test_published_figures_stand_apart(scenes):
    measured = run(scenes, *BOTH).stdout
    done = run(scenes, *BOTH, "--paper", "--json", "all.json").stdout
    first, published = done.split("\n\n")
    strip = lambda text: [line.split("\t")[:9] for line in text.strip().splitlines()]  # noqa: E731
    assert strip(first) == strip(measured)
    assert published.startswith("published\t")
    assert "DFGNet\t44.19\t41.89\t66.84\n" in published
    assert "as published there; not measured here" in published
    assert len(published.strip().splitlines()) == len(PUBLISHED) + 2
    assert "44.19" not in read("all.json")


def test_part_of_the_scenes(scenes):
    (scenes / "EXTRA" / "001" / "HDRImg.hdr").unlink()
    done = run(scenes, *BOTH, "--json", "all.json", code=1)
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
