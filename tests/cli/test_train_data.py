"""`dfghdr train` on folders with something wrong in them."""

import json

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from dfghdr_cli import modelfolders
from dfghdr_cli.cli.app import app
from dfghdr_cli.core.types import RadianceImage
from dfghdr_cli.io.radiance import write_radiance

OPTIONS = ["--crop", "64", "--batch", "1", "--workers", "0", "--device", "cpu", "--steps", "1"]
OPTIONS += ["--architecture", "dfgnet", "--width", "4", "--run", "runs/mine", "--stage", "merge"]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """An empty folder to work in, and no models."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(modelfolders, "__file__", str(tmp_path / "home" / "modelstore.py"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def train(*folders):
    return CliRunner().invoke(app, ["train", *map(str, folders), *OPTIONS])


def write_exr(path, pixels):
    """Any pixels, even such as `write_radiance` refuses."""
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, {"RGB": np.ascontiguousarray(pixels, np.float32)}) as file:
        file.write(str(path))


def waves():
    y, x = (axis[..., None] / 24.0 for axis in np.mgrid[0:96, 0:112])
    return np.exp(2.0 * np.sin(x + np.arange(3)) * np.cos(y)).astype(np.float32)


def image_with(value):
    def make(folder, make_scene):
        pixels = waves()
        pixels[40, 50, 1] = value
        folder.mkdir()
        write_exr(folder / "picture.exr", pixels)
        return "picture.exr"

    return make


def image_of(pixels):
    def make(folder, make_scene):
        folder.mkdir()
        write_exr(folder / "picture.exr", pixels)
        return "picture.exr"

    return make


def truncated_image(folder, make_scene):
    folder.mkdir()
    write_exr(folder / "picture.exr", waves())
    whole = (folder / "picture.exr").read_bytes()
    (folder / "picture.exr").write_bytes(whole[: len(whole) // 2])
    return "picture.exr"


def file_of(name, content):
    def make(folder, make_scene):
        folder.mkdir()
        (folder / name).write_bytes(content)
        return name

    return make


def scene_with(name, content, says=None):
    """A good scene of which one file is replaced, or missing if `content` is None."""

    def make(folder, make_scene):
        make_scene(folder / "Training" / "016")
        path = folder / "Training" / "016" / name
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        return says or name

    return make


def scene_without_exposures_in_a_folder(folder, make_scene):
    make_scene(folder / "016")
    (folder / "016" / "exposure.txt").unlink()
    (folder / "016" / "exposure.txt").mkdir()
    return "exposure.txt"


def scene_with_a_small_frame(folder, make_scene):
    make_scene(folder / "016")
    tifffile.imwrite(folder / "016" / "262A0899.tif", np.ones((72, 112, 3), np.uint16))
    return "262A0899.tif"


def scene_with_a_truncated_frame(folder, make_scene):
    path = make_scene(folder / "016") / "262A0898.tif"
    path.write_bytes(path.read_bytes()[:20_000])
    return "262A0898.tif"


def scene_with_truth(pixels, says):
    def make(folder, make_scene):
        make_scene(folder / "016", truth="HDRImg.exr")
        write_exr(folder / "016" / "HDRImg.exr", pixels)
        return says

    return make


def small_scene(folder, make_scene):
    make_scene(folder / "016", size=(60, 112))
    return "016"


BAD = {
    "NaN": image_with(np.nan),
    "infinity": image_with(np.inf),
    "small image": image_of(np.ones((63, 200, 3))),
    "black image": image_of(np.zeros((96, 112, 3))),
    "truncated image": truncated_image,
    "no image": file_of("picture.hdr", b"words"),
    "empty image": file_of("picture.exr", b""),
    "missing frame": scene_with("262A0899.tif", None, says="exposure.txt"),
    "frame that is none": scene_with("262A0899.tif", b"words"),
    "truncated frame": scene_with_a_truncated_frame,
    "small frame": scene_with_a_small_frame,
    "missing exposures": scene_with("exposure.txt", None),
    "exposures in words": scene_with("exposure.txt", b"dark\nmiddle\nbright\n"),
    "exposures not finite": scene_with("exposure.txt", b"0\ninf\n4\n"),
    "empty exposures": scene_with("exposure.txt", b""),
    "too many exposures": scene_with("exposure.txt", b"-2\n0\n2\n4\n"),
    "wrong exposures": scene_with("exposure.txt", b"-3\n0\n3\n"),
    "exposures upside down": scene_with("exposure.txt", b"2\n0\n-2\n"),
    "exposures in a folder": scene_without_exposures_in_a_folder,
    "missing truth": scene_with("HDRImg.hdr", None, says="016"),
    "truth that is none": scene_with("HDRImg.hdr", b"#?RADIANCE\n"),
    "truth with NaN": scene_with_truth(np.full((80, 112, 3), np.nan), "HDRImg.exr"),
    "truth of another size": scene_with_truth(np.ones((80, 110, 3)), "HDRImg.exr"),
    "truth of nothing": scene_with_truth(np.full((80, 112, 3), 900.0), "exposure.txt or HDRImg"),
    "black truth": scene_with_truth(np.zeros((80, 112, 3)), "016"),
    "small scene": small_scene,
}


@pytest.mark.parametrize("kind", BAD)
def test_with_nothing_usable_one_sentence_names_the_file(kind, place, make_scene):
    name = BAD[kind](place / "data", make_scene)
    result = train("data")
    assert result.exit_code == 4, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert name in line
    assert list(place.iterdir()) == [place / "data"]


def test_folders_that_hold_nothing(place):
    (place / "empty").mkdir()
    (place / "file").write_text("no folder")
    (place / "texts" / "more").mkdir(parents=True)
    (place / "texts" / "more" / "readme.txt").write_text("no picture")
    image_of(waves())(place / "good", None)
    before = sorted(place.rglob("*"))
    for bad in ("nowhere", "empty", "file", "texts"):
        for folders in ([bad], ["good", bad]):
            result = train(*folders)
            assert result.exit_code == 4, result.output
            (line,) = result.stderr.splitlines()
            assert line.startswith(f"error: {bad} ")
    assert sorted(place.rglob("*")) == before


def test_several_bad_ones_alone_are_one_sentence(place, make_scene):
    for kind in ("NaN", "missing frame"):
        BAD[kind](place / kind.replace(" ", "-"), make_scene)
    result = train(".")
    assert result.exit_code == 4
    (line,) = result.stderr.splitlines()
    assert "none of the 2" in line
    assert "picture.exr" in line
    assert not (place / "runs").exists()


def test_bad_ones_among_good_ones_are_skipped_and_counted(place, make_scene):
    (place / "data").mkdir()
    names = {kind: make(place / "data" / kind, make_scene) for kind, make in BAD.items()}
    make_scene(place / "data" / "good" / "017")
    image_of(waves())(place / "data" / "good" / "pictures", None)
    result = train("data")
    assert result.exit_code == 0, result.output
    assert result.stdout == "runs/mine/mine\n"
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning: skipped")]
    assert len(warnings) == len(BAD)
    for kind, name in names.items():
        assert any(f"data/{kind}/" in line and name in line for line in warnings), kind
    assert f"HDR images: 1, scenes: 1, skipped: {len(BAD)}" in result.stderr
    config = json.loads((place / "runs" / "mine" / "config.json").read_text())
    assert (config["images"], config["scenes"], config["skipped"]) == (1, 1, len(BAD))


def test_a_run_without_skips_does_not_mention_them(place, make_scene):
    write_radiance_to = place / "data" / "picture.exr"
    (place / "data").mkdir()
    write_radiance(write_radiance_to, RadianceImage(waves(), 1.0))
    make_scene(place / "data" / "017")
    result = train("data")
    assert result.exit_code == 0, result.output
    assert "skipped" not in result.stderr


def test_the_papers_preset_trains_both_stages_on_scenes(place, make_scene):
    make_scene(place / "data" / "Training" / "017", size=(130, 150))
    arguments = ["data", *OPTIONS, "--stage", "all", "--disentangle-steps", "1"]
    arguments += ["--preset", "paper", "--no-perceptual", "--workers", "1"]
    result = CliRunner().invoke(app, ["train", *arguments])
    assert result.exit_code == 0, result.output
    config = json.loads((place / "runs" / "mine" / "config.json").read_text())
    assert config["crops"] == {"stride": 64, "permute_channels": False}
    assert (config["images"], config["scenes"], config["stage"]) == (0, 1, "all")
    assert not (place / "runs" / "mine" / "aligned").exists()
