import logging

import numpy as np
import OpenEXR
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dfghdr_cli.core.types import Exposure, RadianceImage
from dfghdr_cli.errors import InputError, OutputError, OutputExistsError
from dfghdr_cli.io.names import ExrCompression
from dfghdr_cli.io.radiance import exposure_attributes, read_radiance, write_radiance

pictures = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 24), st.integers(1, 24), st.just(3)),
    elements=st.floats(0, 2.0**60, width=32),
)


def wide_range(height=40, width=50, seed=0):
    """Linear noise over 20 stops, all within the normal half floats."""
    return np.exp2(np.random.default_rng(seed).uniform(-10, 10, (height, width, 3))).astype("f4")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("radiance")


@settings(deadline=None, max_examples=50)
@given(pixels=pictures)
def test_float_exr_is_exact(folder, pixels):
    path = folder / "exact.exr"
    write_radiance(path, RadianceImage(pixels, 1.0), exr_type="float", overwrite=True)
    back, _ = read_radiance(path)
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, pixels)


def test_half_exr_is_within_its_precision(tmp_path):
    pixels = wide_range()
    write_radiance(tmp_path / "a.exr", RadianceImage(pixels, 8.0))
    back, header = read_radiance(tmp_path / "a.exr")
    assert np.abs(back / pixels - 1).max() <= 2**-11
    assert not np.array_equal(back, pixels)
    assert header["compression"] == OpenEXR.PIZ_COMPRESSION
    with OpenEXR.File(str(tmp_path / "a.exr")) as file:
        assert file.channels()["RGB"].pixels.dtype == np.float16


def test_half_never_becomes_infinite(tmp_path, caplog):
    pixels = np.full((2, 3, 3), 1.0, np.float32)
    pixels[0, 0, 1] = 65519.0
    pixels[1, 2] = 3e38
    with caplog.at_level(logging.WARNING):
        write_radiance(tmp_path / "a.exr", RadianceImage(pixels, 1.0))
    back, _ = read_radiance(tmp_path / "a.exr")
    assert back.max() == 65504.0
    assert "a.exr: 2 pixels" in caplog.text


def test_half_warns_of_nothing_it_can_hold(tmp_path, caplog):
    pixels = np.full((2, 3, 3), 65504.0, np.float32)
    write_radiance(tmp_path / "a.exr", RadianceImage(pixels, 1.0))
    assert not caplog.records


@pytest.mark.parametrize("text", ["zip", "piz"])
@pytest.mark.parametrize("exr_type", ["half", "float"])
def test_zip_and_piz_lose_nothing(tmp_path, text, exr_type):
    pixels = wide_range().astype("f2").astype("f4")
    image, compression = RadianceImage(pixels, 8.0), ExrCompression.parse(text)
    write_radiance(tmp_path / "a.exr", image, exr_type=exr_type, compression=compression)
    back, header = read_radiance(tmp_path / "a.exr")
    np.testing.assert_array_equal(back, pixels)
    assert header["compression"] == getattr(OpenEXR, f"{text.upper()}_COMPRESSION")


def test_dwaa_is_smaller_and_close(tmp_path):
    y, x = np.mgrid[0:96, 0:128]
    waves = np.exp2(3 * np.sin(x / 9) * np.cos(y / 7))[..., None] * (1, 0.5, 0.3)
    grain = np.random.default_rng(1).normal(1, 0.01, waves.shape)
    image = RadianceImage((waves * grain).astype("f4"), 8.0)
    sizes, errors = {}, {}
    for text in ("zip", "dwaa:5", "dwaa", "dwaa:200"):
        path = tmp_path / f"{text.replace(':', '_')}.exr"
        write_radiance(path, image, compression=ExrCompression.parse(text))
        back, header = read_radiance(path)
        sizes[text] = path.stat().st_size
        errors[text] = np.median(np.abs(back / image.pixels - 1))
        if text != "zip":
            assert header["dwaCompressionLevel"] == {"dwaa:5": 5, "dwaa": 45, "dwaa:200": 200}[text]
    assert sizes["zip"] > sizes["dwaa:5"] > sizes["dwaa"] > sizes["dwaa:200"]
    assert errors["dwaa:5"] < errors["dwaa"] < errors["dwaa:200"] < 0.02
    assert errors["dwaa"] < 0.007


@pytest.mark.parametrize("top", [20_000, 65_504, 1e6])
def test_no_compression_makes_a_pixel_infinite(tmp_path, top, caplog):
    random = np.random.default_rng(3)
    pixels = np.where(random.random((64, 64, 3)) < 0.5, top, wide_range(64, 64)).astype("f4")
    for text in ("zip", "piz", "dwaa", "dwaa:200"):
        compression = ExrCompression.parse(text)
        path = tmp_path / "a.exr"
        write_radiance(path, RadianceImage(pixels, 1.0), compression=compression, overwrite=True)
        back, header = read_radiance(path)
        assert np.isfinite(back).all()
        instead = text.startswith("dwaa") and header["compression"] != OpenEXR.DWAA_COMPRESSION
        assert ("PIZ instead" in caplog.text) == instead
        if text == "dwaa:200":
            assert instead == (top > 60_000)
        caplog.clear()


@pytest.mark.parametrize("text", ["", "rle", "zip:4", "dwaa:", "dwaa:x", "dwaa:-1", "dwaa:nan"])
def test_unknown_compressions(text):
    with pytest.raises(ValueError, match="piz, zip, dwaa"):
        ExrCompression.parse(text)


def test_dwaa_would_lose_half_of_a_float(tmp_path):
    image = RadianceImage(wide_range(), 1.0)
    with pytest.raises(ValueError, match="half floats at most"):
        write_radiance(
            tmp_path / "a.exr", image, exr_type="float", compression=ExrCompression("dwaa")
        )


@settings(deadline=None, max_examples=50)
@given(pixels=pictures)
def test_hdr_is_within_a_percent_of_the_largest_channel(folder, pixels):
    path = folder / "a.hdr"
    write_radiance(path, RadianceImage(pixels, 1.0), overwrite=True)
    back, _ = read_radiance(path)
    largest = pixels.max(axis=2, keepdims=True)
    assert (np.abs(back - pixels) <= 0.01 * largest + 1e-30).all()


def test_views_and_odd_strides_are_written_as_they_look(tmp_path):
    pixels = wide_range(9, 7)
    for name in ("a.exr", "a.hdr"):
        view = pixels[::-1, ::-1, ::-1]
        write_radiance(tmp_path / name, RadianceImage(view, 1.0), exr_type="float")
        back, _ = read_radiance(tmp_path / name)
        assert np.abs(back - view).max() <= 0.01 * pixels.max()
        assert np.abs(back - view).mean() < 1e-2 * np.abs(pixels - view).mean()


def test_headers(tmp_path):
    image = RadianceImage(wide_range(), 16.0)
    attributes = {
        "dfghdr:model": "classic",
        "dfghdr:frames": "a.jpg, b.jpg\nc.jpg",
        **exposure_attributes(Exposure.from_camera(1 / 400, 200, 5.6)),
    }
    write_radiance(tmp_path / "a.exr", image, attributes=attributes)
    _, header = read_radiance(tmp_path / "a.exr")
    assert header["dfghdr:peak"] == 16.0
    assert header["dfghdr:model"] == "classic"
    assert header["expTime"] == pytest.approx(1 / 400)
    assert header["aperture"] == pytest.approx(5.6)
    assert header["isoSpeed"] == 200
    assert header["chromaticities"] == pytest.approx(
        (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
    )
    write_radiance(tmp_path / "a.hdr", image, attributes={**attributes, "comments": "x" * 300})
    _, header = read_radiance(tmp_path / "a.hdr")
    assert float(header["dfghdr:peak"]) == 16.0
    assert header["dfghdr:frames"] == "a.jpg, b.jpg c.jpg"
    assert header["FORMAT"] == "32-bit_rle_rgbe"
    assert "comments" not in header
    assert header["PRIMARIES"].startswith("0.6400 0.3300 0.3000 0.6000")


def test_unknown_exposure_leaves_no_attributes():
    assert exposure_attributes(Exposure(1.0)) == {}


@pytest.mark.parametrize("name", ["model", "dfghdr:" + "x" * 25, "channels"])
def test_bad_attribute_names_are_bugs(tmp_path, name):
    with pytest.raises(ValueError, match=name):
        write_radiance(tmp_path / "a.exr", RadianceImage(wide_range(), 1.0), attributes={name: 1})
    assert not (tmp_path / "a.exr").exists()


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((2, 2, 3), np.nan, np.float32),
        np.full((2, 2, 3), np.inf, np.float32),
        np.full((2, 2, 3), -1e-6, np.float32),
        np.ones((2, 2, 3)),
        np.ones((2, 2), np.float32),
        np.ones((0, 2, 3), np.float32),
    ],
    ids=["nan", "inf", "negative", "float64", "grey", "empty"],
)
def test_pixels_no_merge_may_make_are_bugs(tmp_path, pixels):
    with pytest.raises(ValueError, match=r"radiance|expected"):
        write_radiance(tmp_path / "a.exr", RadianceImage(pixels, 1.0))


def test_names_and_overwriting(tmp_path):
    image = RadianceImage(wide_range(), 1.0)
    with pytest.raises(OutputError, match=r"a\.tif.*\.exr, \.hdr or \.dng"):
        write_radiance(tmp_path / "a.tif", image)
    write_radiance(tmp_path / "A.EXR", image)
    with pytest.raises(OutputExistsError):
        write_radiance(tmp_path / "A.EXR", image)


def exr(path, channels, header=None):
    with OpenEXR.File(header or {}, channels) as file:
        file.write(str(path))
    return path


def test_reads_other_programs_channels(tmp_path, caplog):
    pixels = wide_range(6, 5)
    red, green, blue = (np.ascontiguousarray(pixels[..., i]) for i in range(3))
    mixed = exr(tmp_path / "mixed.exr", {"R": red.astype("f2"), "G": green, "B": blue})
    back, _ = read_radiance(mixed)
    np.testing.assert_array_equal(back[..., 1:], pixels[..., 1:])
    grey, _ = read_radiance(exr(tmp_path / "grey.exr", {"Y": green}))
    np.testing.assert_array_equal(grey, np.stack([green] * 3, axis=2))
    opaque = np.dstack([pixels, np.ones((6, 5), "f4")])
    back, _ = read_radiance(exr(tmp_path / "opaque.exr", {"RGBA": opaque}))
    np.testing.assert_array_equal(back, pixels)
    assert not caplog.records
    back, _ = read_radiance(exr(tmp_path / "alpha.exr", {"RGBA": opaque * np.float32(0.5)}))
    np.testing.assert_array_equal(back, pixels / 2)
    assert "alpha.exr" in caplog.text


def test_foreign_primaries_are_mentioned(tmp_path, caplog):
    wide = (0.708, 0.292, 0.17, 0.797, 0.131, 0.046, 0.3127, 0.329)
    read_radiance(exr(tmp_path / "a.exr", {"RGB": wide_range()}, {"chromaticities": wide}))
    assert "a.exr" in caplog.text
    assert "primaries" in caplog.text


def test_nonfinite_values_only_on_request(tmp_path):
    pixels = wide_range(4, 4)
    pixels[1, 1, 0], pixels[2, 2, 1] = np.nan, np.inf
    path = exr(tmp_path / "a.exr", {"RGB": pixels})
    with pytest.raises(InputError, match=r"a\.exr.*NaN"):
        read_radiance(path)
    back, _ = read_radiance(path, allow_nonfinite=True)
    np.testing.assert_array_equal(back, pixels)


def bad_files(folder):
    pixels = wide_range(64, 64)
    write_radiance(folder / "good.exr", RadianceImage(pixels, 1.0))
    write_radiance(folder / "good.hdr", RadianceImage(pixels, 1.0))
    whole_exr, whole_hdr = (folder / "good.exr").read_bytes(), (folder / "good.hdr").read_bytes()
    plane = np.ones((4, 4), "f4")
    (folder / "folder.exr").mkdir()
    for name, content in {
        "empty.exr": b"",
        "text.exr": b"not a picture",
        "header.exr": whole_exr[:200],
        "half.exr": whole_exr[: len(whole_exr) // 2],
        "last_byte.exr": whole_exr[:-1],
        "header.hdr": whole_hdr[:40],
        "half.hdr": whole_hdr[: len(whole_hdr) // 2],
        "format.hdr": whole_hdr.replace(b"rle_rgbe", b"rle_cmyk"),
        "axes.hdr": whole_hdr.replace(b"+X", b"+Y"),
        "large.hdr": b"#?RADIANCE\n\n-Y 99999999 +X 99999999\n" + bytes(100),
        "nothing.hdr": b"#?RADIANCE\n\n-Y 0 +X 4\n" + bytes(100),
        "tiff_inside.exr": b"II*\0" + bytes(100),
    }.items():
        (folder / name).write_bytes(content)
    exr(folder / "depth.exr", {"Z": plane})
    exr(folder / "integers.exr", {n: plane.astype("u4") for n in "RGB"})
    exr(folder / "chroma.exr", {n: plane for n in ("RY", "BY")})
    return [path for path in folder.iterdir() if path.stem != "good"] + [folder / "missing.exr"]


def test_each_bad_file_is_named(tmp_path):
    bad = bad_files(tmp_path)
    assert len(bad) == 17
    for path in bad:
        with pytest.raises(InputError) as caught:
            read_radiance(path)
        assert path.name in str(caught.value)


def test_damaged_files_are_refused_in_silence(tmp_path, capfd):
    """The libraries' own remarks must not get between results on stdout or sentences on stderr."""
    write_radiance(tmp_path / "half.exr", RadianceImage(np.ones((64, 64, 3), np.float32), 1.0))
    whole = (tmp_path / "half.exr").read_bytes()
    (tmp_path / "half.exr").write_bytes(whole[:-40])
    (tmp_path / "head.hdr").write_bytes(b"#?RADIANCE\n")
    with pytest.raises(InputError, match=r"half\.exr"):
        read_radiance(tmp_path / "half.exr")
    assert capfd.readouterr().out == ""
    with pytest.raises(InputError, match=r"head\.hdr"):
        read_radiance(tmp_path / "head.hdr")
    assert capfd.readouterr() == ("", "")
