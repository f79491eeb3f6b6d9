"""`dfghdr tonemap`: results, options, exit codes, clean stdout, and nothing left behind."""

import json

import numpy as np
import OpenEXR
import pytest
from PIL import Image
from typer.testing import CliRunner

from dfghdr_cli.cli.app import app
from dfghdr_cli.core.encoding import mu_law
from dfghdr_cli.core.tonemapping.operators import (
    DEFAULT_OPERATOR,
    OPERATORS,
    ToneSettings,
    tone_map,
)
from dfghdr_cli.core.types import RadianceImage
from dfghdr_cli.io.radiance import write_radiance


@pytest.fixture
def pixels():
    y, x = np.mgrid[0:40, 0:56] / 8.0
    stops = np.sin(x)[..., None] * np.cos(y)[..., None] * 3 + np.array([0.0, 0.5, -0.5])
    return np.exp2(stops).astype(np.float32)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch, pixels):
    """A folder of its own with three pictures."""
    monkeypatch.chdir(tmp_path)
    write_radiance(tmp_path / "a.exr", RadianceImage(pixels, 8.0), exr_type="float")
    write_radiance(tmp_path / "b.hdr", RadianceImage(pixels[:, ::-1], 8.0))
    write_radiance(tmp_path / "c.exr", RadianceImage(pixels[::-1], 8.0))
    return tmp_path


def tonemap(*arguments, code=0):
    result = CliRunner().invoke(app, ["tonemap", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def codes(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_one_picture(place, pixels):
    result = tonemap("a.exr", "-o", "a.tif")
    assert result.stdout == "a.tif\n"
    assert result.stderr == ""
    expected = tone_map(pixels, ToneSettings()).pixels
    np.testing.assert_allclose(codes("a.tif") / 255, expected, atol=1 / 200)


def test_options_reach_the_operator(place, pixels):
    options = ("--operator", "drago", "--exposure", "1.5", "--white", "6", "--saturation", "0.5")
    tonemap("a.exr", "-o", "a.png", *options, "--param", "bias=0.7", "--space", "p3")
    settings = ToneSettings("drago", 1.5, 6.0, 0.5, {"bias": 0.7})
    expected = tone_map(pixels, settings, "p3").pixels
    np.testing.assert_allclose(codes("a.png") / 255, expected, atol=1 / 200)
    with Image.open("a.png") as image:
        assert b"P3" in image.info["icc_profile"].replace(b"\0", b"")


def test_mu_law_divides_by_the_peak_of_a_merge(pixels):
    tonemap("a.exr", "-o", "a.png", "--operator", "mu-law")
    np.testing.assert_allclose(
        codes("a.png") / 255, np.clip(mu_law(pixels / 8), 0, 1), atol=1 / 200
    )


def test_several_pictures_into_a_folder(place):
    (place / "out").mkdir()
    result = tonemap("a.exr", "b.hdr", "c.exr", "-o", "out", "--operator", "agx")
    assert result.stdout.split() == ["out/a.jpg", "out/b.jpg", "out/c.jpg"]
    assert files(place / "out") == ["a.jpg", "b.jpg", "c.jpg"]
    mirrored = codes("out/a.jpg").astype(int) - codes("out/b.jpg")[:, ::-1]
    assert np.abs(mirrored).mean() < 3
    tonemap("a.exr", "-o", "out", "--format", "tiff")
    assert "a.tif" in files(place / "out")


def test_a_sheet_shows_every_operator(place):
    result = tonemap("a.exr", "--sheet", "sheet.png")
    assert result.stdout == "sheet.png\n"
    sheet = codes("sheet.png")
    columns, rows = 3, -(-len(OPERATORS) // 3)
    assert sheet.shape[0] == rows * (40 + 26) + 8
    assert sheet.shape[1] == columns * (160 + 8) + 8
    for number in range(len(OPERATORS)):
        y, x = number // columns * 66 + 8, number % columns * 168 + 8
        assert sheet[y : y + 40, x : x + 56].std() > 10
        letters = sheet[y + 40 : y + 58, x : x + 160]
        assert letters.min() < 100 < 250 < letters.max()
    tonemap("a.exr", "-o", "a.jpg", "--sheet", "both.jpg")
    assert {"a.jpg", "both.jpg"} <= set(files(place))


def test_json(place):
    result = tonemap("a.exr", "-o", "a.jpg", "--json", "--param", "lift=2")
    report = json.loads(result.stdout)
    (entry,) = report["files"]
    assert report["outputs"] == ["a.jpg"]
    assert report["failed"] == report["kept"] == report["warnings"] == []
    assert entry["input"] == "a.exr"
    assert entry["size"] == [56, 40]
    assert entry["operator"] == DEFAULT_OPERATOR
    assert entry["parameters"]["lift"] == 2
    assert entry["exposure"] == pytest.approx(-2.5, abs=1.5)


def test_what_was_mended_is_reported(place, pixels):
    pixels[3, 4] = np.nan
    pixels[5, 6, 0] = -0.5
    with OpenEXR.File({}, {"RGB": pixels}) as file:
        file.write("odd.exr")
    result = tonemap("odd.exr", "-o", "odd.png")
    assert "odd.exr: 1 pixel was NaN" in result.stderr
    assert "odd.exr: 1 pixel was negative" in result.stderr
    assert result.stdout == "odd.png\n"


def test_existing_results(place):
    (place / "a.jpg").write_bytes(b"mine")
    result = tonemap("a.exr", "-o", "a.jpg", code=3)
    assert "--overwrite" in result.stderr
    assert (place / "a.jpg").read_bytes() == b"mine"
    (place / "out").mkdir()
    (place / "out" / "c.jpg").write_bytes(b"mine")
    tonemap("a.exr", "c.exr", "-o", "out", code=3)
    assert files(place / "out") == ["c.jpg"]
    report = json.loads(tonemap("a.exr", "c.exr", "-o", "out", "--skip-existing", "--json").stdout)
    assert report["kept"] == ["out/c.jpg"]
    assert report["outputs"] == ["out/a.jpg", "out/c.jpg"]
    assert (place / "out" / "c.jpg").read_bytes() == b"mine"
    tonemap("a.exr", "c.exr", "-o", "out", "--overwrite")
    assert codes("out/c.jpg").shape == (40, 56, 3)


def bad_files(folder):
    whole = (folder / "a.exr").read_bytes()
    (folder / "cut.exr").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.exr").write_bytes(b"")
    (folder / "text.hdr").write_bytes(b"no picture")
    with OpenEXR.File({}, {"Z": np.ones((4, 4), "f4")}) as file:
        file.write(str(folder / "depth.exr"))
    nan = np.full((4, 4, 3), np.nan, "f4")
    with OpenEXR.File({}, {"RGB": nan}) as file:
        file.write(str(folder / "nan.exr"))
    return ["cut.exr", "empty.exr", "text.hdr", "depth.exr", "nan.exr", "missing.exr"]


def test_a_bad_picture_is_named_in_one_sentence(place):
    bad = bad_files(place)
    before = files(place)
    for name in bad:
        result = tonemap(name, "-o", "out.jpg", code=4)
        assert result.stdout == ""
        assert f"error: {name} " in result.stderr
        assert "Traceback" not in result.stderr
        assert len([line for line in result.stderr.splitlines() if "error" in line]) == 1
    assert files(place) == before


def test_one_bad_picture_does_not_stop_the_others(place):
    (place / "out").mkdir()
    bad_files(place)
    result = tonemap("a.exr", "cut.exr", "c.exr", "-o", "out", code=1)
    assert result.stdout.split() == ["out/a.jpg", "out/c.jpg"]
    assert "error: cut.exr " in result.stderr
    assert files(place / "out") == ["a.jpg", "c.jpg"]
    tonemap("cut.exr", "empty.exr", "-o", "out", code=4)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["a.exr"], 2, "--sheet"),
        (["a.exr", "c.exr", "--sheet", "s.jpg"], 2, "one"),
        (["a.exr", "-o", "a.jpg", "--exposure", "bright"], 2, "auto"),
        (["a.exr", "-o", "a.jpg", "--operator", "ansel"], 2, "reinhard"),
        (["a.exr", "-o", "a.jpg", "--param", "lift"], 2, "NAME"),
        (["a.exr", "-o", "a.jpg", "--param", "mu=3"], 2, "lift"),
        (["a.exr", "-o", "a.jpg", "--operator", "aces", "--white", "3"], 2, "white"),
        (["a.exr", "-o", "a.jpg", "--saturation", "nan"], 2, "saturation"),
        (["a.exr", "-o", "a.jpg", "--overwrite", "--skip-existing"], 2, "exclude"),
        (["a.exr", "c.exr", "-o", "a.jpg"], 7, "folder"),
        (["a.exr", "-o", "none/a.jpg"], 7, "none"),
        (["a.exr", "-o", "a.gif"], 2, ".jpg"),
        (["a.exr", "-o", "a.png", "--format", "jpg"], 2, "a.jpg"),
        (["a.exr", "--sheet", "a.exr"], 2, ".jpg"),
        (["a.exr", "--sheet", "a.avif"], 2, ".jpg"),
        (["a.exr", "-o", "a.jpg", "--sheet", "a.jpg"], 2, "a.jpg"),
    ],
)
def test_wrong_use(place, arguments, code, words):
    before = files(place)
    result = tonemap(*arguments, code=code)
    assert words in " ".join(result.stderr.replace("│", " ").split())
    assert result.stdout == ""
    assert files(place) == before


def test_two_pictures_of_one_name_are_refused(place):
    (place / "a.hdr").write_bytes((place / "b.hdr").read_bytes())
    (place / "out").mkdir()
    result = tonemap("a.exr", "a.hdr", "-o", "out", code=4)
    assert "would both become" in result.stderr
    assert files(place / "out") == []


@pytest.mark.parametrize(("name", "format"), [("a.jpg", "ultrahdr"), ("a.avif", None)])
def test_hdr_formats_get_the_radiance_at_the_exposure_of_the_picture(
    place, pixels, monkeypatch, name, format
):
    """What the formats make of it is tested where they are written."""
    from dfghdr_cli.pipeline import tonemap as pipeline

    given = {}

    def encode(path, picture, **others):
        given.update(others, picture=picture)
        return b"picture"

    monkeypatch.setattr(pipeline, "encode_display", encode)
    arguments = () if format is None else ("--format", format)
    tonemap("a.exr", "-o", name, "--exposure", "1.5", *arguments)
    np.testing.assert_allclose(given["radiance"], pixels * 2**1.5, rtol=1e-6)
    if format == "ultrahdr":
        expected = tone_map(pixels, ToneSettings(exposure=1.5)).pixels
        np.testing.assert_array_equal(given["picture"], expected)


def test_an_ultra_hdr_is_a_jpeg_with_a_gain_map(place, pixels):
    (place / "out").mkdir()
    tonemap("a.exr", "-o", "out", "--format", "ultrahdr")
    assert files(place / "out") == ["a.jpg"]
    data = (place / "out" / "a.jpg").read_bytes()
    assert data.count(b"\xff\xd8\xff") >= 2
    expected = tone_map(pixels, ToneSettings()).pixels
    assert np.abs(codes("out/a.jpg") / 255 - expected).mean() < 0.02


@pytest.mark.parametrize("ending", ["avif", "jxl"])
def test_pictures_of_radiance_alone(place, ending):
    """Exposure is chosen as it is for the others; the operator has no part in it."""
    tonemap("a.exr", "-o", "a.png")
    report = json.loads(tonemap("a.exr", "-o", f"a.{ending}", "--json").stdout)
    (entry,) = report["files"]
    assert entry["format"] == ending
    assert "operator" not in entry
    other = json.loads(tonemap("a.exr", "-o", "b.png", "--json").stdout)["files"][0]
    assert entry["exposure"] == other["exposure"]
    assert (place / f"a.{ending}").stat().st_size > 100


@pytest.mark.parametrize("suffix", [".exr", ".hdr"])
def test_what_the_header_knows_of_the_photograph_goes_along(place, pixels, suffix):
    known = {"cameraMake": "Maker", "capDate": "2024:05:01 10:11:12", "expTime": 0.004}
    source = place / f"known{suffix}"
    write_radiance(source, RadianceImage(pixels, 8.0), attributes=known)
    tonemap(source, "-o", "known.jpg")
    tonemap("a.exr", "-o", "unknown.jpg")
    with Image.open("known.jpg") as image, Image.open("unknown.jpg") as other:
        exif = image.getexif()
        assert exif[0x010F] == "Maker"
        assert exif.get_ifd(0x8769)[0x9003] == "2024:05:01 10:11:12"
        assert exif.get_ifd(0x8769)[0x829A] == pytest.approx(1 / 250)
        assert 0x010F not in other.getexif()
        assert not {0x9003, 0x829A} & set(other.getexif().get_ifd(0x8769))


def test_what_is_read_is_never_replaced(place):
    (place / "d.jpg").write_bytes((place / "a.exr").read_bytes())
    (place / "d.png").symlink_to("a.exr")
    before = {path: path.read_bytes() for path in place.iterdir()}
    for arguments in (("d.jpg", "-o", "d.jpg"), ("a.exr", "-o", "d.png"), ("d.jpg", "-o", place)):
        assert "a file that this command reads" in tonemap(*arguments, "--overwrite", code=7).stderr
    assert "a file that" in tonemap("d.jpg", "--sheet", "d.jpg", "--overwrite", code=7).stderr
    assert before == {path: path.read_bytes() for path in place.iterdir()}


def test_several_at_the_same_time(place):
    """The same files and report as one after the other, and one that fails is named."""
    (place / "bad.exr").write_bytes(b"no picture")
    found = {}
    for jobs in (1, 2):
        (place / f"out{jobs}").mkdir()
        names = ("a.exr", "bad.exr", "c.exr")
        done = tonemap(*names, "-o", f"out{jobs}", "--jobs", jobs, "--json", code=1)
        report = json.loads(done.stdout.replace(f"out{jobs}/", "out/"))
        for one in report["files"]:
            del one["seconds"]
        found[jobs] = report
    assert found[1] == found[2]
    assert [one["file"] for one in found[2]["failed"]] == ["bad.exr"]
    assert [one["exit_code"] for one in found[2]["failed"]] == [4]
    for name in ("a.jpg", "c.jpg"):
        assert (place / "out1" / name).read_bytes() == (place / "out2" / name).read_bytes()


@pytest.mark.parametrize("peak", [float("nan"), float("inf"), -1.0, 0.0, "two"])
def test_a_peak_that_is_none_is_not_heeded(place, pixels, peak):
    """Nobody knows what other programs write under that name."""
    header = {"type": OpenEXR.scanlineimage, "dfghdr:peak": peak}
    with OpenEXR.File(header, {"RGB": pixels}) as file:
        file.write("odd.exr")
    tonemap("odd.exr", "--operator", "mu-law", "-o", "odd.png")
    tonemap("odd.exr", "--sheet", "sheet.png")
