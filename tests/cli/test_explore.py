"""`dfghdr explore-disentangle`: what it prints, what it refuses, and with which exit codes."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from dfghdr_cli import modelfolders, modelstore
from dfghdr_cli.cli.app import app
from dfghdr_cli.core.types import RadianceImage
from dfghdr_cli.io.radiance import write_radiance
from dfghdr_cli.nets.registry import build

SMALL = {"width": 4, "disentangle_width": 4, "code_length": 4}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """The only place where models are looked for; "plain" there has no decoder, "able" has."""
    folder = tmp_path / "models"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv(modelfolders.MODELS_DIR_VARIABLE, str(folder))
    monkeypatch.setattr(modelfolders, "__file__", str(tmp_path / "package" / "modelstore.py"))
    torch.manual_seed(0)
    modelstore.save_model(folder / "plain", build("dfgnet", SMALL))
    modelstore.save_model(folder / "able", build("dfgnet", SMALL, decoder=True))
    return folder


@pytest.fixture
def frames(make_scene, tmp_path):
    make_scene(tmp_path / "scene", size=(40, 48))
    return sorted((tmp_path / "scene").glob("*.tif"))


def dfghdr(*arguments, code=0):
    result = CliRunner().invoke(app, ["explore-disentangle", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def test_the_path_goes_to_stdout_and_the_rest_to_stderr(frames, tmp_path):
    grid = tmp_path / "grid.png"
    result = dfghdr(*frames, "-o", grid)
    assert result.stdout == f"{grid}\n"
    assert "able on " in result.stderr
    assert f"{frames[0].name} " in result.stderr
    assert "dB" in result.stderr
    again = dfghdr(*frames, "-o", grid, code=3)
    assert "exists already" in again.stderr
    assert dfghdr(*frames, "-o", grid, "--overwrite").stdout == f"{grid}\n"


def test_metrics_are_a_table_and_a_file(tmp_path):
    (tmp_path / "hdr").mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).uniform(0.1, 1.0, (256, 256, 3)) * 2.0**number
        image = RadianceImage(pixels.astype(np.float32), 1.0)
        write_radiance(tmp_path / "hdr" / f"{number}.exr", image)
    figures = tmp_path / "figures.json"
    result = dfghdr("--metrics", tmp_path / "hdr", "--json-file", figures, "--model", "able")
    lines = result.stdout.splitlines()
    assert lines[-1] == str(figures)
    values = json.loads(figures.read_text())
    assert values["images"] == 21
    (row,) = [line.split() for line in lines if line.startswith("exposure ")]
    assert float(row[1]) == pytest.approx(values["codes"]["exposure"]["r2"], abs=1e-3)
    assert values["psnr_db"]["swap"]["mean"] > 0


def test_a_model_without_a_decoder_ends_with_5_and_offers_attention(frames, tmp_path):
    result = dfghdr(*frames, "-o", tmp_path / "grid.png", "--model", "plain", code=5)
    assert "plain has no decoder" in result.stderr
    assert "(able)" in result.stderr
    assert "--attention" in result.stderr
    shown = tmp_path / "attention.png"
    dfghdr(*frames, "-o", shown, "--model", "plain", "--attention", "--ev", "-2,0,2")
    assert shown.is_file()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give photographs"),
        (["a.png"], "--output FILE or --html FILE"),
        (["--metrics", "x", "--attention"], "need photographs"),
        (["--metrics", "x", "--interpolate", "3"], "need photographs"),
        (["a.png", "-o", "b.png", "--interpolate", "3", "--attention"], "one picture"),
        (["a.png", "-o", "b.png", "--extrapolate"], "needs --interpolate"),
        (["a.png", "-o", "b.png", "--interpolate", "1"], "--interpolate"),
        (["a.png", "-o", "b.png", "--json-file", "c.json"], "need --metrics"),
    ],
)
def test_wrong_usage_ends_with_2(arguments, says):
    result = dfghdr(*arguments, code=2)
    assert says in " ".join(result.stderr.replace("│", " ").split())
    assert result.stdout == ""


def test_what_cannot_be_read_or_written_has_its_code(frames, tmp_path):
    (tmp_path / "notes.png").write_text("no picture")
    assert "notes.png" in dfghdr(tmp_path / "notes.png", "-o", tmp_path / "a.png", code=4).stderr
    dfghdr(*frames, "-o", tmp_path / "a.png", "--ev", "1,2", code=4)
    dfghdr(*frames, "-o", tmp_path / "missing" / "a.png", code=7)
    dfghdr(*frames, "-o", tmp_path / "a.mp4", code=2)
    dfghdr(*frames, "-o", tmp_path / "a.png", "--model", "none", code=5)
    assert not list(tmp_path.glob("a.*"))


def test_what_is_read_is_never_replaced(frames, tmp_path, home):
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for result in (frames[0], tmp_path / "link.tif"):
        if result not in before:
            result.symlink_to(frames[1])
        done = dfghdr(*frames, "-o", result, "--overwrite", code=7)
        assert "a file that this command reads" in done.stderr
    truth = next(tmp_path.rglob("HDRImg.*"))
    exposures, config = tmp_path / "scene" / "exposure.txt", home / "able" / "config.json"
    for result in (truth, frames[0], exposures, config):
        options = ("--metrics", tmp_path / "scene", "--json-file", result, "--overwrite")
        assert "a file that this command reads" in dfghdr(*options, code=7).stderr
    assert before == {path: path.read_bytes() for path in before}


def test_results_are_written_together(frames, tmp_path, monkeypatch):
    grid, page = tmp_path / "grid.png", tmp_path / "page.html"
    page.mkdir()
    dfghdr(*frames, "-o", grid, "--html", page / "missing" / "page.html", code=7)
    assert not grid.exists()
    monkeypatch.setattr("dfghdr_cli.pipeline.explore.run.encode_report", lambda *_, **__: 1 / 0)
    dfghdr(*frames, "-o", grid, "--html", tmp_path / "other.html", code=1)
    assert not grid.exists()
