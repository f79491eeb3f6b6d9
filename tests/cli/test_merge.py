"""`dfghdr merge`: results, headers, options, exit codes, clean stdout, and nothing left behind."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import OpenEXR
import pytest
import tifffile
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from dfghdr_cli import __version__, modelfolders
from dfghdr_cli.cli.app import app
from dfghdr_cli.core.colour import ACESCG, ADOBE_RGB, REC709, REC2020, conversion, to_xyz
from dfghdr_cli.core.registration import aligned
from dfghdr_cli.core.tonemapping.hdr_display import SDR_WHITE, pq_decode
from dfghdr_cli.core.tonemapping.operators import DEFAULT_OPERATOR
from dfghdr_cli.io.radiance import read_radiance
from dfghdr_cli.merging.config import MergeConfig
from dfghdr_cli.merging.merge import merge_bracket
from dfghdr_cli.modelfolders import WEIGHTS
from dfghdr_cli.modelstore import DEFAULT_MODEL, install_model, load_model
from dfghdr_cli.nets.registry import build
from dfghdr_cli.pipeline.merge import outputs
from dfghdr_cli.pipeline.merge import run as pipeline

DOCUMENT = (Path(__file__).parents[2] / "docs" / "merge.md").read_text(encoding="utf-8")
STOPS = (-2, 0, 2)
NAMES = ("dark.tif", "middle.tif", "bright.tif")
EV = ("--ev", "-2,0,2")


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Small random models of both architectures; the default one is a DFGMerge."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    merging = build("dfgmerge", {"width": (8, 8, 8), "disentangle_width": 4, "code_length": 8})
    for head in (merging.head2, merging.correct2):
        torch.nn.init.normal_(head.weight, std=0.3)
    install_model(merging, DEFAULT_MODEL, folder)
    painting = build("dfgnet", {"width": 4, "disentangle_width": 4, "code_length": 8})
    install_model(painting, "painter", folder)
    return folder


@pytest.fixture(scope="session")
def truth():
    """(40, 56, 3) radiance, 1 = the white of the frame at 0 stops."""
    coarse = np.random.default_rng(4).uniform(0, 1, (7, 9, 3)).astype(np.float32)
    return 0.01 * 130 ** cv2.resize(coarse, (56, 40), interpolation=cv2.INTER_LINEAR)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch, models, truth):
    """A folder of its own with a bracket, and only the models above."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv(modelfolders.MODELS_DIR_VARIABLE, str(models))
    monkeypatch.setattr(modelfolders, "__file__", str(tmp_path / "package" / "modelstore.py"))
    monkeypatch.chdir(tmp_path)
    for name, stops in zip(NAMES, STOPS, strict=True):
        code = np.clip(truth * 2.0**stops, 0, 1) ** (1 / 2.2)
        tifffile.imwrite(name, np.rint(code * 65535).astype(np.uint16))
    return tmp_path


def merge(*arguments, code=0):
    result = CliRunner().invoke(app, ["merge", "--device", "cpu", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def scale(path, truth):
    """Median of the result over the truth where the reference is exposed well."""
    pixels, _ = read_radiance(Path(path))
    known = (truth > 0.05) & (truth < 0.8)
    return np.median(pixels[known] / truth[known])


@pytest.mark.parametrize("method", [(), ("--method", "dfgnet"), ("--method", "classic")])
@pytest.mark.parametrize("name", ["out.exr", "out.hdr"])
def test_a_result_and_its_preview(name, method, truth, place):
    done = merge(*NAMES, "-o", name, *EV, *method)
    assert done.stdout == f"{name}\nout.preview.jpg\n"
    who = "classic" if "classic" in method else DEFAULT_MODEL
    assert f"{who} on cpu\n" in done.stderr
    assert files(place) == sorted([*NAMES, name, "out.preview.jpg"])
    pixels, _ = read_radiance(place / name)
    assert pixels.shape == truth.shape
    assert scale(name, truth) == pytest.approx(1, rel=0.01)
    with Image.open("out.preview.jpg") as preview:
        assert (preview.size, preview.mode) == ((56, 40), "RGB")
        shown = np.asarray(preview, np.float32)
    toned = 255 * np.log1p(5000 * truth / 4) / np.log(5001)
    assert np.median(np.abs(shown - toned)) < 4


@pytest.mark.parametrize(("kind", "dtype"), [((), "half"), (("--exr-type", "float"), "float")])
def test_bits_and_no_preview(kind, dtype, place):
    done = merge(*NAMES, "-o", "out.exr", *EV, "--no-preview", *kind)
    assert done.stdout == "out.exr\n"
    assert files(place) == sorted([*NAMES, "out.exr"])
    with OpenEXR.File("out.exr") as file:
        pixels = file.channels()["RGB"].pixels
    assert pixels.dtype == {"half": np.float16, "float": np.float32}[dtype]


def test_json_is_one_object(models, place):
    done = merge(
        *reversed(NAMES), "-o", "out.exr", "--ev", "2,0,-2", "--json", "--resolution", "full"
    )
    report = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    assert report["outputs"] == ["out.exr", "out.preview.jpg"]
    assert [frame["file"] for frame in report["frames"]] == list(NAMES)
    assert [frame["stops"] for frame in report["frames"]] == list(STOPS)
    assert report["reference"] == "middle.tif"
    assert report["peak"] == 4
    assert report["size"] == [56, 40]
    assert report["model"] == DEFAULT_MODEL
    assert report["model_digest"] == load_model(DEFAULT_MODEL).digest
    assert report["device"] == "cpu"
    assert report["exposures_from"] == "--ev"
    assert 0 <= report["clipped_share"] < 1
    stages = ["read", "response", "align", "flow", "network", "merge", "write"]
    assert list(report["seconds"]) == stages
    assert 100 < report["peak_memory_mib"] < 10_000 or not Path("/proc/self/clear_refs").exists()
    described = DOCUMENT.partition("| `--json` of `dfghdr merge` | |\n")[2].partition("\n\n")[0]
    first_cells = " ".join(line.split("|")[1] for line in described.splitlines())
    assert set(report) <= set(re.findall(r"`(\w+)`", first_cells))


def test_the_header_says_how_it_came_about(place):
    merge(*NAMES, "-o", "out.exr", "--times", "1/400,1/100,1/25", "--response", "gamma")
    _, header = read_radiance(place / "out.exr")
    own = {name: value for name, value in header.items() if name.startswith("dfghdr:")}
    assert all(len(name) <= 31 for name in header)
    assert own == {
        "dfghdr:version": __version__,
        "dfghdr:model": DEFAULT_MODEL,
        "dfghdr:modelDigest": load_model(DEFAULT_MODEL).digest,
        "dfghdr:frames": ", ".join(NAMES),
        "dfghdr:stops": "-2, +0, +2",
        "dfghdr:exposuresFrom": "--times",
        "dfghdr:alignment": "none, none, none",
        "dfghdr:reference": "middle.tif",
        "dfghdr:response": "gamma",
        "dfghdr:scale": "1.0 is the white of the reference frame",
        "dfghdr:peak": 4.0,
        "dfghdr:brightestWhite": 0.25,
        "dfghdr:clippedShare": own["dfghdr:clippedShare"],
        "dfghdr:inputSpace": "sRGB",
        "dfghdr:outputSpace": "rec709",
    }
    assert header["expTime"] == pytest.approx(0.01)
    assert set(own) <= set(re.findall(r"`(dfghdr:\w+)`", DOCUMENT))


def test_exposures_may_come_from_the_photographs(truth, place):
    for number, stops in enumerate(STOPS):
        code = np.clip(truth * 2.0**stops, 0, 1) ** (1 / 2.2)
        image = Image.fromarray(np.rint(code * 255).astype(np.uint8))
        exif = Image.Exif()
        exif.get_ifd(0x8769)[33434] = 2.0**stops / 100
        image.save(f"{9 - number}.jpg", quality=98, exif=exif)
    done = merge("7.jpg", "9.jpg", "8.jpg", "-o", "out.exr", "--json")
    report = json.loads(done.stdout)
    assert [frame["file"] for frame in report["frames"]] == ["9.jpg", "8.jpg", "7.jpg"]
    assert [frame["stops"] for frame in report["frames"]] == pytest.approx(STOPS, abs=1e-3)
    assert report["exposures_from"] == "EXIF"
    assert scale("out.exr", truth) == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("said", [0.05, None])
def test_exposures_that_no_photograph_tells(said, truth, place):
    """One folder; the EXIF data is wrong or missing; the reference is named."""
    (place / "shots").mkdir()
    for number, stops in enumerate(STOPS):
        code = np.clip(truth * 2.0**stops, 0, 1) ** (1 / 2.2)
        exif = Image.Exif()
        if said:
            exif.get_ifd(0x8769)[33434] = said
        image = Image.fromarray(np.rint(code * 255).astype(np.uint8))
        image.save(f"shots/{9 - number}.jpg", quality=98, exif=exif)
    done = merge("shots", "-o", "out.exr", "--reference", "8.jpg", "--json")
    report = json.loads(done.stdout)
    assert [frame["file"] for frame in report["frames"]] == [f"shots/{n}.jpg" for n in "987"]
    assert [frame["stops"] for frame in report["frames"]] == pytest.approx(STOPS, abs=0.15)
    assert report["exposures_from"] == "pixels"
    assert report["reference"] == "8.jpg"
    shown = [frame["stops"] - report["frames"][0]["stops"] for frame in report["frames"]]
    values = ", ".join(f"{n}.jpg {s:+.2f}" for n, s in zip("987", shown, strict=True))
    assert f"{values} stops; give the exposures with --ev" in done.stderr
    assert scale("out.exr", truth) == pytest.approx(1, rel=0.02)


def test_frames_exposed_alike_are_averaged(truth, place):
    rng = np.random.default_rng(2)
    code = (np.clip(truth, 0, 1) ** (1 / 2.2))[None] + rng.normal(0, 0.02, (3, *truth.shape))
    codes = np.rint(np.clip(code, 0, 1) * 65535).astype(np.uint16)
    for name, pixels in zip(NAMES, codes, strict=True):
        tifffile.imwrite(name, pixels)
    done = merge(*NAMES, "-o", "out.exr", "--method", "classic", "--response", "gamma")
    assert "are exposed alike" in done.stderr
    pixels, _ = read_radiance(place / "out.exr")
    fair = (truth > 0.05) & (truth < 0.5)
    mean = ((codes / 65535) ** 2.2).mean(axis=0)
    assert np.abs(pixels / mean - 1)[fair].mean() < 0.03
    noise = np.abs(pixels / truth - 1)[fair].mean()
    assert noise < 0.7 * np.abs((codes[0] / 65535) ** 2.2 / truth - 1)[fair].mean()


def test_colour_spaces(truth, place):
    """The scene seen by Adobe RGB cameras, merged into every space."""
    wide = truth @ conversion(REC709, ADOBE_RGB).T
    assert wide.min() > 0
    for name, stops in zip(NAMES, STOPS, strict=True):
        code = np.clip(wide * 2.0**stops, 0, 1) ** (1 / 2.2)
        profile = imagecodecs.cms_profile("adobergb")
        tifffile.imwrite(
            name, np.rint(code * 65535).astype(np.uint16), photometric="rgb", iccprofile=profile
        )
    fair = (truth > 0.05).all(axis=2) & (truth < 0.8).all(axis=2)
    previews = []
    for space, primaries in (("rec709", REC709), ("rec2020", REC2020), ("acescg", ACESCG)):
        done = merge(
            *NAMES,
            "-o",
            f"{space}.exr",
            *EV,
            "--method",
            "classic",
            "--output-space",
            space,
            "--json",
        )
        report = json.loads(done.stdout)
        assert report["output_space"] == space
        assert report["input_space"].startswith("Adobe")
        assert report["outside_share"] == 0
        pixels, header = read_radiance(place / f"{space}.exr")
        assert header["chromaticities"] == pytest.approx(primaries, abs=1e-6)
        assert header["dfghdr:outputSpace"] == space
        back = pixels @ conversion(primaries, REC709).T
        np.testing.assert_allclose(back[fair], truth[fair], rtol=0.03)
        with Image.open(f"{space}.preview.jpg") as preview:
            previews.append(np.asarray(preview).astype(int))
    assert np.abs(previews[1] - previews[0]).mean() < 1
    assert np.abs(previews[2] - previews[0]).mean() < 1


def test_colours_that_do_not_fit_become_paler(place, truth):
    green = truth * (0.1, 1.0, 0.1)
    for name, stops in zip(NAMES, STOPS, strict=True):
        code = np.clip(green * 2.0**stops, 0, 1) ** (1 / 2.2)
        profile = imagecodecs.cms_profile("adobergb")
        tifffile.imwrite(
            name, np.rint(code * 65535).astype(np.uint16), photometric="rgb", iccprofile=profile
        )
    done = merge(*NAMES, "-o", "out.exr", *EV, "--method", "classic", "--json")
    assert json.loads(done.stdout)["outside_share"] > 0.5
    assert "beyond rec709" in done.stderr
    assert read_radiance(place / "out.exr")[0].min() >= 0


def test_raw_files(place, truth, dng):
    """White-balanced, linear, in Rec. 709, and with the exposures that the files say."""
    matrix = np.array([[0.7, -0.1, -0.05], [-0.4, 1.2, 0.2], [-0.05, 0.2, 0.6]])
    large = cv2.resize(truth, (224, 160), interpolation=cv2.INTER_CUBIC)
    light = large @ (matrix @ to_xyz(REC709)).T
    white = matrix @ to_xyz(REC709) @ np.ones(3)
    for number, stops in enumerate(STOPS):
        dng(
            place / f"{number}.dng",
            light * 2.0**stops / white.max(),
            neutral=white / white.max(),
            matrix=matrix,
            time=(1, round(100 * 2**-stops)),
        )
    done = merge("0.dng", "2.dng", "1.dng", "-o", "out.exr", "--method", "classic", "--json")
    report = json.loads(done.stdout)
    assert report["response"]["kind"] == "linear"
    assert report["input_space"] == "camera RGB"
    assert [frame["stops"] for frame in report["frames"]] == pytest.approx(STOPS, abs=1e-3)
    pixels, _ = read_radiance(place / "out.exr")
    fair = (large > 0.05).all(axis=2) & (large < 0.5).all(axis=2)
    assert np.median(pixels[fair] / large[fair], axis=0) == pytest.approx(1, rel=0.01)
    assert np.abs(pixels[fair] / large[fair] - 1).mean() < 0.02


def test_ways_to_give_the_exposures_agree(place):
    merge(*NAMES, "-o", "ev.exr", "--ev=-2,0,2")
    merge(*NAMES, "-o", "times.exr", "--times", "1/400,0.01,1/25")
    merge(*NAMES, "-o", "step.exr", "--ev-step", 2)
    first, *others = (read_radiance(place / f"{n}.exr")[0] for n in ("ev", "times", "step"))
    for other in others:
        np.testing.assert_allclose(other, first, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("resolution", ["auto", "full"])
def test_how_large_a_picture_the_network_sees(resolution, monkeypatch):
    """No proxy is made of a picture as small as these, so look at what the merge is asked for."""
    asked = []

    def spy(network, coded, config, **more):
        asked.append(config.resolution)
        return merge_bracket(network, coded, config, **more)

    monkeypatch.setattr(pipeline, "merge_bracket", spy)
    merge(*NAMES, "-o", "out.exr", *EV, "--resolution", resolution)
    assert asked == [resolution]


@pytest.mark.parametrize(
    "allocate",
    [
        lambda: np.empty(2**50, np.uint8),
        lambda: torch.empty(2**50, dtype=torch.uint8),
        lambda: cv2.resize(np.zeros((4, 4), np.float32), (2**23, 2**24)),
    ],
    ids=["NumPy", "PyTorch", "OpenCV"],
)
def test_too_little_memory(allocate, monkeypatch, place):
    """These are more bytes than a process can address."""
    monkeypatch.setattr(pipeline, "merge_bracket", lambda *_, **__: allocate())
    done = merge(*NAMES, "-o", "out.exr", *EV, code=6)
    assert done.stdout == ""
    assert re.fullmatch(
        r"error: There is not enough memory .*--max-memory and --resolution auto\.\n",
        done.stderr.splitlines(keepends=True)[-1],
    )
    assert "Traceback" not in done.stderr
    assert files(place) == sorted(NAMES)


@pytest.mark.parametrize(("number", "stops"), [(1, -2), (2, 0), (3, 2)])
@pytest.mark.parametrize("method", ["dfgnet", "classic"])
def test_the_reference_sets_the_scale(number, stops, method, truth, place):
    done = merge(*NAMES, "-o", "out.exr", *EV, "--reference", number, "--method", method, "--json")
    report = json.loads(done.stdout)
    assert report["reference"] == NAMES[number - 1]
    assert report["peak"] == 2.0 ** (stops + 2)
    assert scale("out.exr", truth) == pytest.approx(2.0**stops, rel=0.01)


@pytest.mark.parametrize("response", ["srgb", "gamma", "linear"])
def test_the_response_is_taken_at_its_word(response, truth):
    done = merge(*NAMES, "-o", "out.exr", *EV, "--response", response, "--json")
    report = json.loads(done.stdout)
    assert report["response"]["kind"] == response
    if response == "gamma":
        assert scale("out.exr", truth) == pytest.approx(1, rel=0.01)


def test_brackets_of_one_scene_have_one_scale(truth, place):
    pixels = {}
    for reference in (1, 2):
        name = f"{reference}.exr"
        options = ("--anchor-ev", "6", "--reference", reference, "--json", "--no-preview")
        times = ("--times", "1/400,1/100,1/25", "--response", "gamma", "--method", "classic")
        report = json.loads(merge(*NAMES, "-o", name, *times, *options).stdout)
        assert report["scale"] == "1.0 is the white of a frame exposed at EV 6"
        # f/1, ISO 100: EV 6 is 1/64 s; what is called 1/400 s is 2**(-26/3) s.
        white = 2.0 ** (26 / 3 - 6) / 4 ** (reference - 1)
        assert report["reference_white"] == pytest.approx(white, rel=1e-6)
        assert report["peak"] == pytest.approx(2.0 ** (8 / 3), rel=1e-6)
        pixels[reference], header = read_radiance(place / name)
        assert header["dfghdr:anchorEv"] == 6
        assert header["dfghdr:referenceWhite"] == pytest.approx(white, rel=1e-6)
    np.testing.assert_allclose(pixels[1], pixels[2], rtol=0.02, atol=0.001)
    assert scale("1.exr", truth) == pytest.approx(2.0 ** (2 / 3), rel=0.01)
    merge(*NAMES, "-o", "stops.exr", "--ev", "-2,0,2", "--anchor-ev", "1", "--response", "gamma")
    assert scale("stops.exr", truth) == pytest.approx(2, rel=0.01)


def test_a_scale_out_of_reach_is_refused(place):
    for value in ("99", "nan"):
        done = merge(*NAMES, "-o", "out.exr", *EV, "--anchor-ev", value, code=4)
        assert "--anchor-ev" in done.stderr
    done = merge(*NAMES, "-o", "out.exr", "--anchor-ev", "6", code=4)
    assert "give --ev or --times beside --anchor-ev" in done.stderr
    assert files(place) == sorted(NAMES)


def test_how_frames_were_aligned_is_said(place):
    done = merge(*NAMES, "-o", "out.exr", *EV, "--align", "flow", "--method", "classic", "--json")
    assert "alignment: dark.tif none+flow, middle.tif none, bright.tif none+flow" in done.stderr
    frames = json.loads(done.stdout)["frames"]
    assert [frame["alignment"] for frame in frames] == ["none+flow", "none", "none+flow"]


def test_a_response_is_saved_and_used_again(truth, place):
    saved = ("--response", "gamma", "--save-response", "camera.csv")
    done = merge(*NAMES, "-o", "first.exr", *EV, "--no-preview", *saved)
    assert done.stdout == "first.exr\ncamera.csv\n"
    given = ("--response", "camera.csv", "--json")
    done = merge(*NAMES, "-o", "second.exr", *EV, "--no-preview", *given)
    report = json.loads(done.stdout)
    assert report["response"]["kind"] == "file camera.csv"
    assert scale("second.exr", truth) == pytest.approx(1, rel=0.01)
    first, second = (read_radiance(place / f"{name}.exr")[0] for name in ("first", "second"))
    np.testing.assert_allclose(second, first, rtol=0.01, atol=1e-4)
    merge(*NAMES, "-o", "third.exr", *EV, *saved, code=3)
    assert not (place / "third.exr").exists()


def test_a_bad_response_is_refused(place):
    (place / "camera.csv").write_text("code,exposure\n0,0\n1,dark\n")
    for name in ("camera.csv", "none.csv", NAMES[0], "."):
        done = merge(*NAMES, "-o", "out.exr", *EV, "--response", name, code=4)
        assert len(done.stderr.strip().splitlines()[-1]) > 20
        assert "Traceback" not in done.stderr
    merge(*NAMES, "-o", "out.exr", *EV, "--save-response", "out.exr", code=2)
    assert files(place) == sorted([*NAMES, "camera.csv"])


def test_a_model_by_name_and_by_folder(models, place):
    by_name = json.loads(merge(*NAMES, "-o", "name.exr", *EV, "-m", "painter", "--json").stdout)
    by_path = json.loads(
        merge(*NAMES, "-o", "path.exr", *EV, "--model", models / "painter", "--json").stdout
    )
    assert by_name["model"] == by_path["model"] == "painter"
    assert by_name["model_digest"] == by_path["model_digest"]
    assert np.array_equal(
        read_radiance(place / "name.exr")[0], read_radiance(place / "path.exr")[0]
    )


def test_alignment_may_be_left_out(truth, place):
    code = np.clip(truth, 0, 1) ** (1 / 2.2)
    moved = np.rint(np.roll(code, 6, axis=1) * 65535).astype(np.uint16)
    large = [np.kron(a, np.ones((4, 4, 1), np.uint16)) for a in (moved, tifffile.imread(NAMES[0]))]
    for name, pixels in zip(("b.tif", "a.tif"), large, strict=True):
        tifffile.imwrite(name, pixels)
    models = {}
    for align in ("auto", "none"):
        done = merge(
            "a.tif",
            "b.tif",
            "-o",
            f"{align}.exr",
            "--ev-step",
            2,
            "--method",
            "classic",
            "--align",
            align,
            "--json",
        )
        models[align] = [frame["alignment"] for frame in json.loads(done.stdout)["frames"]]
    assert models["none"] == ["none", "none"]
    assert models["auto"] != ["none", "none"]


def test_existing_results_are_kept_unless_told_otherwise(place):
    (place / "out.exr").write_bytes(b"precious")
    refused = merge(*NAMES, "-o", "out.exr", *EV, code=3)
    assert "--overwrite" in refused.stderr
    assert refused.stdout == ""
    assert (place / "out.exr").read_bytes() == b"precious"
    (place / "out.preview.jpg").write_bytes(b"precious, too")
    merge(*NAMES, "-o", "other/../out.hdr", *EV, code=7)
    merge(*NAMES, "-o", "out.hdr", *EV, code=3)
    assert (place / "out.preview.jpg").read_bytes() == b"precious, too"
    assert not (place / "out.hdr").exists()
    merge(*NAMES, "-o", "out.exr", *EV, "--overwrite")
    assert read_radiance(place / "out.exr")[0].shape == (40, 56, 3)
    with Image.open("out.preview.jpg") as preview:
        assert preview.size == (56, 40)


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        ([*NAMES, *EV], 2, "--output"),
        (["-o", "out.exr"], 2, "FILES"),
        ([*NAMES, "-o", "out.exr", *EV, "--ev-step", "2"], 2, "only one"),
        ([*NAMES, "-o", "out.exr", *EV, "--reference", "0"], 2, "--reference"),
        ([*NAMES, "-o", "out.exr", *EV, "--reference", "first"], 4, "first is not one of"),
        ([*NAMES, "-o", "out.exr", *EV, "--method", "best"], 2, "--method"),
        ([*NAMES, "-o", "out.exr", *EV, "--method", "classic", "-m", "painter"], 2, "--model"),
        ([*NAMES, "-o", "out.exr", "--ev", "-2,0"], 2, "2 values for 3"),
        ([*NAMES, "-o", "out.exr", "--ev", "a,b,c"], 2, "'a'"),
        ([*NAMES, "-o", "out.exr", "--times", "1,0,2"], 2, "'0'"),
        ([*NAMES, "-o", "out.exr", "--ev-step", "-1"], 2, "--ev-step"),
        ([*NAMES, "-o", "out.exr", *EV, "--reference", "4"], 4, "no frame 4"),
        (["dark.tif", "-o", "out.exr", "--ev", "0"], 4, "dark.tif"),
        (["dark.tif", "dark.tif", "-o", "out.exr", "--ev", "0,1"], 4, "twice"),
        (["dark.tif", "nowhere.tif", "-o", "out.exr", "--ev", "0,1"], 4, "nowhere.tif"),
        ([*NAMES, "-o", "out.exr", *EV, "-m", "nothing"], 5, "nothing"),
        ([*NAMES, "-o", "out.exr", *EV, "--device", "cuda:77"], 6, "cuda:77"),
        ([*NAMES, "-o", "out.gif", *EV], 2, "out.gif"),
        ([*NAMES, "-o", "out.png", *EV, "--format", "avif"], 2, "out.avif"),
        ([*NAMES, "-o", "out.exr", *EV, "--preview-operator", "best"], 2, "--preview-operator"),
        ([*NAMES, "-o", "out.exr", "-o", "out.txt", *EV], 2, "out.txt"),
        ([*NAMES, "-o", "out.exr", "-o", "./out.exr", *EV], 2, "two results"),
        ([*NAMES, "-o", "out.exr", "-o", "missing/out.hdr", *EV], 7, "missing"),
        ([*NAMES, "-o", "out.exr", "--ghost-map", "out.jpg", *EV], 2, "out.jpg"),
        ([*NAMES, "-o", "out.exr", *EV, "--exr-compression", "rle"], 2, "piz, zip, dwaa"),
        ([*NAMES, "-o", "out.exr", *EV, "--exr-compression", "dwaa:-1"], 2, "LEVEL 0 to 200"),
        (
            [*NAMES, "-o", "out.exr", *EV, "--exr-compression", "dwaa", "--exr-type", "float"],
            *(2, "16 bits at most"),
        ),
        ([*NAMES, "-o", "out.exr", *EV, "--overwrite", "--skip-existing"], 2, "only one of"),
        (
            [
                *(*NAMES, "-o", "out.exr", *EV, "-m", "painter"),
                *("--resolution", "full", "--ghost-map", "map.png"),
            ],
            *(5, "leave out one of the two"),
        ),
        ([*NAMES, "-o", "missing/out.exr", *EV], 7, "missing"),
        ([*NAMES, "-o", "-", *EV], 2, "end it in one of .exr, .hdr, .dng, .jpg"),
    ],
)
def test_exit_codes(arguments, code, word, place):
    result = merge(*arguments, code=code)
    assert word in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert files(place) == sorted(NAMES)


def test_a_folder_takes_a_result_named_after_its_photographs(place):
    (place / "out").mkdir()
    done = merge(*NAMES, "-o", "out", *EV, "--method", "classic", "--no-preview")
    assert done.stdout == "out/dark-bright.exr\n"
    assert "exists already" in merge(*NAMES, "-o", "out", *EV, code=3).stderr


def test_a_damaged_photograph_or_model(place, tmp_path, models):
    data = (place / "bright.tif").read_bytes()
    (place / "cut.tif").write_bytes(data[: len(data) // 2])
    result = merge("dark.tif", "middle.tif", "cut.tif", "-o", "out.exr", *EV, code=4)
    assert "cut.tif" in result.stderr
    tifffile.imwrite("small.tif", np.zeros((20, 56, 3), np.uint16))
    result = merge("dark.tif", "middle.tif", "small.tif", "-o", "out.exr", *EV, code=4)
    assert "small.tif (56x20)" in result.stderr
    (place / "bad").mkdir()
    for path in (models / "painter").iterdir():
        (place / "bad" / path.name).write_bytes(path.read_bytes())
    (place / "bad" / WEIGHTS).write_bytes(b"none")
    result = merge(*NAMES, "-o", "out.exr", *EV, "-m", "./bad", code=5)
    assert WEIGHTS in result.stderr
    assert files(place) == sorted([*NAMES, "cut.tif", "small.tif", "bad"])


def test_a_full_disk_leaves_nothing(place, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = merge(*NAMES, "-o", "out.exr", *EV, code=7)
    assert "No space left" in result.stderr
    assert result.stdout == ""
    assert files(place) == sorted(NAMES)


def test_the_program_itself(place):
    """Once in a process of its own: streams, and a leading minus after --ev."""
    command = [sys.executable, "-m", "dfghdr_cli", "merge", *NAMES, "-o", "out.exr"]
    done = subprocess.run(
        [*command, "--ev", "-2,0,2", "--method", "classic"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "out.exr\nout.preview.jpg\n")
    first, second = done.stderr.splitlines()
    assert first.startswith("classic on ")
    assert second.startswith("alignment: ")


def test_several_results_of_one_merge(truth, place):
    done = merge(*NAMES, "-o", "a.exr", "-o", "b.hdr", *EV)
    assert done.stdout == "a.exr\nb.hdr\na.preview.jpg\n"
    assert files(place) == sorted([*NAMES, "a.exr", "b.hdr", "a.preview.jpg"])
    first, second = (read_radiance(place / name)[0] for name in ("a.exr", "b.hdr"))
    np.testing.assert_allclose(second, first, atol=0.01 * first.max(axis=2).max())


def test_a_linear_dng(place):
    done = merge(*NAMES, "-o", "a.dng", "-o", "a.exr", "--exr-type", "float", *EV)
    assert done.stdout == "a.dng\na.exr\na.preview.jpg\n"
    with tifffile.TiffFile(place / "a.dng") as file:
        page = file.pages.first
        stops, one = page.tags[50730].value
        pixels = page.asarray() * np.float32(2.0 ** (stops / one))
    np.testing.assert_array_equal(pixels, read_radiance(place / "a.exr")[0])


@pytest.mark.parametrize("text", ["zip", "dwaa", "dwaa:10"])
def test_compressions_of_an_exr(text, truth, place):
    merge(*NAMES, "-o", "out.exr", *EV, "--exr-compression", text)
    _, header = read_radiance(place / "out.exr")
    kind, _, level = text.partition(":")
    assert header["compression"] == getattr(OpenEXR, f"{kind.upper()}_COMPRESSION")
    if kind == "dwaa":
        assert header["dwaCompressionLevel"] == float(level or 45)
    assert scale("out.exr", truth) == pytest.approx(1, rel=0.01)


def test_a_map_of_the_frames(place):
    """The middle frame is white on the left, and the bright one black on the right: no choice."""
    radiance = np.where(np.indices((40, 56))[1] < 28, 2.0, 0.1)[..., None] * np.ones(3)
    for name, stops in zip(NAMES, (-2, 0, 2), strict=True):
        code = np.clip(radiance * 2.0**stops, 0, 1) ** (1 / 2.2)
        tifffile.imwrite(name, np.rint(code * 65535).astype(np.uint16))
    done = merge(
        *NAMES, "-o", "out.exr", *EV, "--method", "classic", "--ghost-map", "map.png", "--json"
    )
    report = json.loads(done.stdout)
    assert report["outputs"] == ["out.exr", "out.preview.jpg", "map.png"]
    colors = {name: bytes.fromhex(code[1:]) for name, code in report["ghost_map"].items()}
    assert list(colors) == list(NAMES)
    assert len(set(colors.values())) == 3
    with Image.open("map.png") as image:
        assert (image.size, image.mode) == ((56, 40), "RGB")
        left, right = image.getpixel((8, 20)), image.getpixel((48, 20))
    assert left == pytest.approx(tuple(colors["dark.tif"]), abs=2)
    assert right[0] > right[2]  # mostly the bright frame, whose colour is red


@pytest.mark.parametrize("method", ["dfgnet", "classic"])
def test_what_exists_may_be_kept(method, place):
    options = (*NAMES, "-o", "out.exr", "-o", "out.hdr", *EV, "--method", method, "--skip-existing")
    (place / "out.hdr").write_bytes(b"precious")
    report = json.loads(merge(*options, "--json").stdout)
    assert report["outputs"] == ["out.exr", "out.hdr", "out.preview.jpg"]
    assert report["kept"] == ["out.hdr"]
    assert (place / "out.hdr").read_bytes() == b"precious"
    before = (place / "out.exr").stat().st_mtime_ns
    again = merge(*options)
    assert again.stdout == "out.exr\nout.hdr\nout.preview.jpg\n"
    assert "nothing to do" in again.stderr
    assert (place / "out.exr").stat().st_mtime_ns == before
    nothing = (
        json.loads(merge(*options, "--json", "-m", "no such model").stdout)
        if (method == "dfgnet")
        else json.loads(merge(*options, "--json").stdout)
    )
    assert nothing["kept"] == nothing["outputs"] == ["out.exr", "out.hdr", "out.preview.jpg"]


def test_the_photographs_are_never_replaced(place):
    os.link("dark.tif", "dark.exr")
    (place / "link.exr").symlink_to("dark.exr")
    before = (place / "dark.tif").read_bytes()
    result = merge("dark.exr", "bright.tif", "-o", "dark.exr", "--ev", "0,1", "--overwrite", code=7)
    assert "a file that this command reads" in result.stderr
    merge("dark.exr", "bright.tif", "-o", "link.exr", "--ev", "0,1", "--overwrite", code=7)
    assert (place / "dark.tif").read_bytes() == before


def test_a_preview_that_cannot_be_written_leaves_no_result(place, monkeypatch):
    def encode(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(outputs, "encode_display", encode)
    result = merge(*NAMES, "-o", "out.exr", "-o", "out.hdr", *EV, code=7)
    assert "No space left" in result.stderr
    assert result.stdout == ""
    assert files(place) == sorted(NAMES)


def test_the_references_data_goes_along(truth, place):
    for number, stops in enumerate(STOPS):
        exif = Image.Exif()
        exif[0x010F], exif[0x0110] = "Maker", f"Model {number}"
        exif.get_ifd(0x8769).update({33434: 2.0**stops / 100, 0x9003: "2024:05:01 10:11:12"})
        code = np.clip(truth * 2.0**stops, 0, 1) ** (1 / 2.2)
        image = Image.fromarray(np.rint(code * 255).astype(np.uint8))
        image.save(f"{number}.jpg", quality=98, exif=exif)
    merge("0.jpg", "1.jpg", "2.jpg", "-o", "out.exr", "-o", "out.hdr", "--reference", 3)
    for name in ("out.exr", "out.hdr"):
        _, header = read_radiance(place / name)
        assert header["cameraMake"] == "Maker"
        assert header["cameraModel"] == "Model 2"
        assert header["capDate"] == "2024:05:01 10:11:12"
    with Image.open("out.preview.jpg") as preview:
        assert preview.getexif()[0x0110] == "Model 2"


STOPPED = """
import os, sys
from dfghdr_cli.cli.app import main

sync, calls = os.fsync, []

def pause(descriptor):
    sync(descriptor)
    calls.append(descriptor)
    if len(calls) == {after}:
        print("now", flush=True)
        sys.stdin.read()

os.fsync = pause
sys.argv = ["dfghdr", *{arguments!r}]
main()
"""


@pytest.mark.parametrize(("number", "after"), [(signal.SIGKILL, 1), (signal.SIGINT, 2)])
def test_stopped_while_it_writes(number, after, place):
    """Neither result has its name yet when the first file, or the second, is complete."""
    arguments = ["merge", *NAMES, "-o", "out.exr", "--ev=-2,0,2", "--method", "classic"]
    program = STOPPED.format(after=after, arguments=[*arguments, "--device", "cpu"])
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "now\n"
        process.send_signal(number)
        out, errors = process.communicate(timeout=60)
    assert out == ""
    assert "Traceback" not in errors
    visible = [name for name in files(place) if not name.startswith(".dfghdr-")]
    assert visible == sorted(NAMES)
    if number == signal.SIGINT:
        assert process.returncode == -signal.SIGINT
        assert files(place) == sorted(NAMES)


PICTURES = ("out.jpg", "out.png", "out.tif", "out.avif", "out.jxl")


def test_pictures_beside_the_linear_result(truth, place):
    options = [word for name in PICTURES for word in ("-o", name)]
    done = merge(*NAMES, "-o", "out.exr", *options, *EV, "--json")
    report = json.loads(done.stdout)
    assert report["outputs"] == ["out.exr", *PICTURES, "out.preview.jpg"]
    assert set(report["tone_mapped"]) == {DEFAULT_OPERATOR, "mu-law"}
    linear, _ = read_radiance(place / "out.exr")
    for name in PICTURES[:3]:
        codes = tifffile.imread(name) if name == "out.tif" else cv2.imread(name, -1)[..., ::-1]
        assert codes.shape == truth.shape
        order = [np.argsort(values.mean(axis=2).ravel()) for values in (codes, linear)]
        ranks = np.empty_like(order)
        for rank, places in zip(ranks, order, strict=True):
            rank[places] = np.arange(len(places))
        assert np.corrcoef(*ranks)[0, 1] > 0.8  # what is brighter is shown brighter, mostly
    # HDR pictures hold the radiance itself, times one factor, which is the exposure.
    gain = 2.0 ** report["tone_mapped"][DEFAULT_OPERATOR]
    shown = pq_decode(imagecodecs.avif_decode(Path("out.avif").read_bytes()) / 1023) / SDR_WHITE
    assert np.median((shown @ conversion(REC2020, REC709).T) / (linear * gain)) == pytest.approx(
        1, abs=0.05
    )


def test_a_picture_alone_has_no_preview(place):
    done = merge(*NAMES, "-o", "out.jpg", *EV, "--format", "ultrahdr")
    assert done.stdout == "out.jpg\n"
    assert files(place) == sorted([*NAMES, "out.jpg"])
    assert imagecodecs.ultrahdr_check((place / "out.jpg").read_bytes())
    merge("dark.tif", "middle.tif", "-o", "plain.jpg", "--ev", "0,2")
    assert not imagecodecs.ultrahdr_check((place / "plain.jpg").read_bytes())


@pytest.mark.parametrize("anchor", [(), ("--anchor-ev", "5")])
@pytest.mark.parametrize("name", ["a.exr", "a.hdr"])
def test_a_picture_is_that_of_dfghdr_tonemap(name, anchor, truth, place):
    """In the dark, too, where the bracket limits how far it may be brightened, on any scale."""
    for frame, stops in zip(NAMES, STOPS, strict=True):
        code = np.clip(truth * 2.0 ** (stops - 6), 0, 1) ** (1 / 2.2)
        tifffile.imwrite(frame, np.rint(code * 65535).astype(np.uint16))
    given = ("--response", "gamma", "--exr-type", "float", "--json", *EV, *anchor)
    report = json.loads(merge(*NAMES, "-o", name, "-o", "a.png", *given).stdout)
    if name == "a.exr":
        done = CliRunner().invoke(app, ["tonemap", name, "-o", "b.png", "--json"])
        other = json.loads(done.stdout)["files"][0]
        exposure = report["tone_mapped"][DEFAULT_OPERATOR]
        assert other["exposure"] == pytest.approx(exposure, abs=1e-3)
        brightest = 2.0 if not anchor else 2.0 - 5.0
        assert exposure == pytest.approx(brightest + 1, abs=1e-3)
        assert other["parameters"]["lift"] == pytest.approx(1, abs=1e-3)
    else:
        assert CliRunner().invoke(app, ["tonemap", name, "-o", "b.png"]).exit_code == 0
    pictures = [cv2.imread(file, cv2.IMREAD_COLOR).astype(float) for file in ("a.png", "b.png")]
    assert np.abs(pictures[0] - pictures[1]).max() <= (1 if name == "a.exr" else 8)
    assert pictures[0].std() > 5


def test_the_preview_is_that_of_dfghdr_tonemap(place):
    merge(*NAMES, "-o", "a.exr", "--exr-type", "float", *EV, "--preview-operator", "reinhard")
    command = ["tonemap", "a.exr", "-o", "b.jpg", "--operator", "reinhard"]
    assert CliRunner().invoke(app, command).exit_code == 0
    with Image.open("a.preview.jpg") as preview, Image.open("b.jpg") as other:
        np.testing.assert_array_equal(np.asarray(preview), np.asarray(other))


PUBLISHED = Path(__file__).parents[1] / "fixtures" / "published-width8"


@pytest.fixture
def published(tmp_path, monkeypatch):
    """The published code's input as 16-bit files, its weights as the model `pub`, its picture."""
    monkeypatch.setenv(modelfolders.MODELS_DIR_VARIABLE, str(tmp_path / "imported"))
    result = CliRunner().invoke(app, ["models", "import", str(PUBLISHED), "--name", "pub"])
    assert result.exit_code == 0, result.output
    io = load_file(PUBLISHED / "io.safetensors")
    frames = []
    for name, code in zip(("1.tif", "2.tif", "3.tif"), io["ldr"], strict=True):
        tifffile.imwrite(name, np.rint(code.permute(1, 2, 0).numpy() * 65535).astype(np.uint16))
        frames.append(name)
    stops = ",".join(str(float(ev)) for ev in io["ev"])
    return frames, stops, io["hdr"][0].permute(1, 2, 0).numpy()


def test_imported_weights_paint_what_the_published_code_paints(published):
    frames, stops, picture = published
    given = ("--model", "pub", "--response", "gamma", "--resolution", "full", "--json")
    given += ("--exr-type", "float", "--reference", "2", "--ev", stops, "--align", "none")
    done = merge(*frames, "-o", "out.exr", *given)
    peak = json.loads(done.stdout)["peak"]
    pixels, _ = read_radiance(Path("out.exr"))
    assert np.abs(pixels / peak - picture).max() < 1e-4
    # Frames of noise, as these are, do not survive being moved: the test can fail.
    config = Path("imported/pub/config.json")
    values = json.loads(config.read_text())
    assert values["inputs"] == "aligned"
    config.write_text(json.dumps(values | {"inputs": "flow"}))
    merge(*frames, "-o", "moved.exr", *given)
    moved, _ = read_radiance(Path("moved.exr"))
    assert np.abs(moved / peak - picture).max() > 1e-2


@pytest.mark.parametrize("reduction", [1.0, 0.5])
def test_nothing_moves_where_a_picture_of_aligned_frames_guides(published, reduction, monkeypatch):
    def never(*_, **__):
        raise AssertionError("motion was looked for")

    monkeypatch.setattr(aligned, "dense_flow", never)
    monkeypatch.setattr(aligned, "repair_undershoot", never)
    monkeypatch.setattr(MergeConfig, "proxy_reduction", lambda *_: reduction)
    frames, stops, _ = published
    merge(*frames, "-o", "out.exr", "--model", "pub", "--ev", stops, "--align", "none")
    pixels, _ = read_radiance(Path("out.exr"))
    assert np.isfinite(pixels).all()


def test_the_rest_of_what_is_read_is_never_replaced(place, tmp_path):
    options = ("dark.tif", "bright.tif", "-o", "out.exr", "--ev", "-2,2", "--overwrite")
    merge(*options, "--save-response", "r.csv")
    before = {path: path.read_bytes() for path in place.iterdir() if path.is_file()}
    done = merge(*options, "--response", "r.csv", "--save-response", "r.csv", code=7)
    assert "a file that this command reads" in done.stderr
    folder = place / "bracket"
    folder.mkdir()
    for name in ("dark.tif", "bright.tif"):
        shutil.copyfile(place / name, folder / name)
    (folder / "dark.jpg").write_bytes(b"the camera's own")
    done = merge("bracket", "-o", "bracket/dark.jpg", "--ev", "2,-2", "--overwrite", code=7)
    assert "a file that this command reads" in done.stderr
    assert (folder / "dark.jpg").read_bytes() == b"the camera's own"
    assert before == {path: path.read_bytes() for path in before}
