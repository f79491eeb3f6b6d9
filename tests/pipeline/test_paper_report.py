"""The paper's table and figures with measured content."""

import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from dfghdr_cli.errors import OutputError, OutputExistsError
from dfghdr_cli.modelstore import install_model
from dfghdr_cli.nets.registry import build
from dfghdr_cli.pipeline.evaluate.methods import build_methods
from dfghdr_cli.pipeline.evaluate.paper_report import (
    FILES,
    CropChoice,
    PaperReport,
    check_folder,
    parse_crop,
    write_report,
)
from dfghdr_cli.pipeline.evaluate.paper_table import make_table
from dfghdr_cli.pipeline.evaluate.published import LATER, PUBLISHED
from dfghdr_cli.pipeline.evaluate.run import evaluate

SMALL = {"width": 4, "disentangle_width": 4, "code_length": 4}


@pytest.fixture
def scenes(make_scene, tmp_path):
    make_scene(tmp_path / "scenes" / "a", size=(160, 208), seed=1)
    make_scene(tmp_path / "scenes" / "b|_<i>", size=(160, 208), seed=2, motion=9)
    return tmp_path / "scenes"


METHODS = ("reference", "opencv-debevec", "opencv-robertson")


def report(scenes, crops=(), models=(), methods=METHODS[:2]):
    """Of quick methods, some of which stand for models."""
    collector = PaperReport(crops)
    built = build_methods((), methods, (), "cpu")
    evaluation = evaluate([scenes], built, on_scene=collector.add)
    names = dict(zip(methods, models, strict=False))
    return evaluation, collector.files(evaluation, names, device="cpu")


def picture(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_measured_rows_stand_apart_from_published_ones(scenes):
    evaluation, files = report(scenes)
    made = make_table(evaluation, {})
    assert [len(rows) for _, rows in made.groups] == [len(PUBLISHED), len(LATER), 2]
    assert all(row.mark for _, rows in made.groups[:2] for row in rows)
    reference = made.groups[-1][1][0]
    assert reference.mark == 0
    mean = evaluation.mean("reference", "psnr_mu")
    assert reference.values[0] == mean
    low, high = reference.intervals[0]
    rows = [row["psnr_mu"] for row in evaluation.rows["reference"]]
    assert min(rows) <= low <= mean <= high <= max(rows)
    cell = f"{mean:.2f} [{low:.2f}, {high:.2f}]"
    for name in ("report.html", "report.md", "table1.tex"):
        text = files[name].decode()
        assert cell in text
        assert text.index("not measured here") < text.index("44.19") < text.index(cell)
        assert "44.91" in text
    means = [evaluation.mean(name, "psnr_mu") for name in METHODS[:2]]
    assert [0 in marks for marks in made.best()] == [mean == max(means) for mean in means]


def test_every_row_of_the_latex_table_has_its_columns(scenes):
    _, files = report(scenes)
    lines = files["table1.tex"].decode().splitlines()
    rows = [line for line in lines if line.endswith(r"\\") and "multicolumn" not in line]
    assert len(rows) == 1 + len(PUBLISHED) + len(LATER) + 2
    assert {line.replace(r"\&", "").count("&") for line in rows} == {3}


def test_the_files_and_their_pictures(scenes, models_dir):
    install_model(build("dfgnet", SMALL, decoder=True), "tiny", models_dir)
    _, files = report(scenes, models=["tiny"], methods=METHODS[:1])
    assert set(files) == set(FILES)
    assert files["report.pdf"].count(b"/Type /Page\n") == 3
    page = files["report.html"].decode()
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "b|_<i>" not in page
    assert "Figure 2 is by tiny" in page
    told = json.loads(files["settings.json"])
    assert len(told["methods"]["reference"]["weights_sha256"]) == 64
    assert told["methods"]["reference"]["hyper_parameters"]["width"] == 4
    assert set(told["scenes_sha256"]) == {"a", "b|_<i>"}
    assert told["versions"]["dfghdr"]
    assert str(scenes) not in files["settings.json"].decode()
    assert files == report(scenes, models=["tiny"], methods=METHODS[:1])[1] | {
        "evaluation.json": files["evaluation.json"]  # which has seconds in it
    }


def test_ablations_are_the_papers_models(scenes, models_dir):
    for name, more in (("whole", {}), ("no-eau", {"eau": False}), ("no-sau", {"sau": False})):
        install_model(build("dfgnet", SMALL | more), name, models_dir)
    _, files = report(scenes / "a", models=["whole", "no-eau", "no-sau"], methods=METHODS)
    text = files["report.md"].decode()
    assert "| opencv-debevec (Model 1: without EAU) |" in text
    assert "| opencv-robertson (Model 2: without SAU) |" in text
    assert "was not among the models" not in text
    assert "There is no Figure 2" in text
    assert "figure2.png" not in files
    assert "Model 1 was not among the models" in report(scenes / "a")[1]["report.md"].decode()


def test_parts_that_errors_choose(scenes):
    """Figure 4 shows the part where the disc moved, which OpenCV's merge ghosts."""
    from dfghdr_cli.pipeline.evaluate.paper_report import _worst_regions

    seen = []
    evaluate(
        [scenes],
        build_methods((), ["reference", "opencv-debevec"], (), "cpu"),
        on_scene=lambda outcome: seen.append((outcome, _worst_regions(outcome))),
    )
    for outcome, regions in seen:
        assert 1 <= len(regions) <= 2
        worst = min(outcome.measured.values(), key=lambda m: m.values["psnr_mu_tile"])
        row, column = worst.worst_tile
        first = regions[0]
        assert first.x <= column <= first.x + first.width
        assert first.y <= row <= first.y + first.height
        assert first.x + first.width <= 208
        assert first.y + first.height <= 160


def test_parts_that_are_asked_for(scenes, caplog):
    crop = CropChoice("a", 20, 30, 24, 16)
    _, files = report(scenes, [crop])
    all_of = picture(files["figure4.png"])
    # 24 pixels are repeated 8 times, in a frame of 3 on each side.
    assert all_of.shape[1] > 3 * (24 * 8 + 6)
    _, both = report(scenes, [CropChoice(None, 20, 30, 24, 16)])
    assert picture(both["figure4.png"]).shape[0] > 1.8 * all_of.shape[0]
    _, files = report(scenes, [CropChoice(None, 200, 0, 24, 16)])
    assert "figure4.png" not in files
    assert "There is no Figure 4" in files["report.md"].decode()
    assert "the part at 200,0 of 24x16 is left out" in caplog.text


@pytest.mark.parametrize(
    ("text", "crop"),
    [
        ("1,2,3,4", CropChoice(None, 1, 2, 3, 4)),
        ("a:b:1,2,3,4", CropChoice("a:b", 1, 2, 3, 4)),
    ],
)
def test_a_part_in_words(text, crop):
    assert parse_crop(text) == crop


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,0", "-1,2,3,4", ":1,2,3,4", "a:1,2,3,x"])
def test_no_part(text):
    with pytest.raises(ValueError, match="X,Y,W,H"):
        parse_crop(text)


def test_folders(tmp_path):
    folder = tmp_path / "report"
    assert check_folder(folder) == []
    write_report(folder, {"report.md": b"one"})
    with pytest.raises(OutputExistsError):
        check_folder(folder)
    assert folder / "report.md" in check_folder(folder, overwrite=True)
    write_report(folder, {"report.md": b"two"}, overwrite=True)
    assert (folder / "report.md").read_bytes() == b"two"
    with pytest.raises(OutputError):
        check_folder(tmp_path / "nowhere" / "report")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError):
        write_report(tmp_path / "file", {"report.md": b"x"}, overwrite=True)
    with pytest.raises(OutputExistsError):
        check_folder(tmp_path / "file", overwrite=True)
    assert (tmp_path / "file").read_text() == "in the way"
