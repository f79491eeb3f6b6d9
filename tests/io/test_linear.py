"""Linear files of other programs: what their pixels become, and what is said about it."""

import logging
import re
import struct

import numpy as np
import OpenEXR
import pytest

from dfghdr_cli.core.colour import ACESCG, REC709, REC2020, conversion
from dfghdr_cli.core.types import RadianceImage
from dfghdr_cli.errors import InputError
from dfghdr_cli.io.radiance import read_linear, read_radiance, write_radiance


def colours(height=8, width=12, seed=0):
    return np.random.default_rng(seed).uniform(0.1, 4, (height, width, 3)).astype(np.float32)


def planes(pixels, names="RGB", prefix=""):
    return {prefix + name: np.ascontiguousarray(pixels[..., i]) for i, name in enumerate(names)}


def exr(path, channels, **header):
    with OpenEXR.File(header, channels) as file:
        file.write(str(path))
    return path


def window(low, high):
    return np.array(low, "i4"), np.array(high, "i4")


def test_a_plain_file_needs_no_remark(tmp_path):
    write_radiance(tmp_path / "a.exr", RadianceImage(colours(), 1.0), exr_type="float")
    picture = read_linear(tmp_path / "a.exr")
    np.testing.assert_array_equal(picture.pixels, colours())
    assert picture.notes == ()
    assert picture.header["dfghdr:peak"] == 1.0


@pytest.mark.parametrize(
    "names", [("R", "G", "B"), ("r", "g", "b"), ("Red", "Green", "Blue"), ("x.R", "x.G", "x.B")]
)
def test_names_of_channels(tmp_path, names):
    picture = read_linear(exr(tmp_path / "a.exr", planes(colours(), names)))
    np.testing.assert_array_equal(picture.pixels, colours())
    assert picture.notes == ()


def test_the_main_layer_is_taken(tmp_path):
    channels = {
        **planes(colours(seed=1), prefix="ViewLayer.AO."),
        **planes(colours(), prefix="ViewLayer.Combined."),
        **planes(colours(seed=2), "XYZ", "ViewLayer.Normal."),
        "ViewLayer.Depth.Z": colours()[..., 0].copy(),
    }
    picture = read_linear(exr(tmp_path / "a.exr", channels))
    np.testing.assert_array_equal(picture.pixels, colours())
    assert picture.notes == ("of its layers ViewLayer.Combined was taken",)


def test_coordinates_are_no_picture(tmp_path):
    channels = {**planes(colours(), "XYZ", "P."), **planes(colours(), "XYZ")}
    with pytest.raises(InputError, match=r"a\.exr has no R, G, B.*P\.X"):
        read_linear(exr(tmp_path / "a.exr", channels))


def test_the_first_part_with_a_picture_is_taken(tmp_path):
    parts = [
        OpenEXR.Part({}, {"Z": colours()[..., 0].copy()}, "depth"),
        OpenEXR.Part({}, {"RGB": colours()}, "left"),
        OpenEXR.Part({}, {"RGB": colours(seed=1)}, "right"),
    ]
    OpenEXR.File(parts).write(str(tmp_path / "a.exr"))
    picture = read_linear(tmp_path / "a.exr")
    np.testing.assert_array_equal(picture.pixels, colours())
    assert picture.notes == ("of its 3 parts left was taken",)


def luminance_chroma(path, luminance, red, blue):
    """Write an uncompressed file byte by byte: the package cannot write channels of half size.

    Source: "OpenEXR File Layout": header, a table of offsets, then a block per line.
    """

    def attribute(name, kind, value):
        return name + b"\0" + kind + b"\0" + struct.pack("<i", len(value)) + value

    height, width = luminance.shape
    channels = b"".join(
        name + b"\0" + struct.pack("<iB3xii", 2, 0, step, step)
        for name, step in ((b"BY", 2), (b"RY", 2), (b"Y", 1))
    )
    box = struct.pack("<iiii", 0, 0, width - 1, height - 1)
    head = struct.pack("<ii", 20000630, 2)
    head += attribute(b"channels", b"chlist", channels + b"\0")
    head += attribute(b"compression", b"compression", b"\0")
    head += attribute(b"dataWindow", b"box2i", box) + attribute(b"displayWindow", b"box2i", box)
    head += attribute(b"lineOrder", b"lineOrder", b"\0")
    head += attribute(b"pixelAspectRatio", b"float", struct.pack("<f", 1))
    head += attribute(b"screenWindowCenter", b"v2f", bytes(8))
    head += attribute(b"screenWindowWidth", b"float", struct.pack("<f", 1)) + b"\0"
    blocks = []
    for y in range(height):
        chroma = b"" if y % 2 else blue[y // 2].tobytes() + red[y // 2].tobytes()
        line = chroma + luminance[y].tobytes()
        blocks.append(struct.pack("<ii", y, len(line)) + line)
    first = len(head) + 8 * height
    starts = [first + sum(map(len, blocks[:y])) for y in range(height)]
    path.write_bytes(head + struct.pack(f"<{height}Q", *starts) + b"".join(blocks))
    return path


def test_luminance_and_chroma(tmp_path):
    """Y = w R + (1 - w - v) G + v B, RY = (R - Y) / Y, BY = (B - Y) / Y at half size."""
    weights = np.array([0.2126, 0.7152, 0.0722])
    tint = np.array([1.5, 0.9, 0.4]) / (weights @ [1.5, 0.9, 0.4])
    luminance = colours()[..., 0].copy()
    ramp = np.linspace(0.8, 1.2, 6).astype(np.float32)[None].repeat(4, axis=0)
    red = (ramp * tint[0] - 1).astype(np.float32)
    blue = np.full((4, 6), tint[2] - 1, np.float32)
    path = luminance_chroma(tmp_path / "a.exr", luminance, red, blue)
    picture = read_linear(path)
    np.testing.assert_allclose(picture.pixels @ weights, luminance, rtol=1e-4)
    np.testing.assert_allclose(picture.pixels[..., 2] / luminance, tint[2], rtol=1e-4)
    # Even columns have a sample of their own; between two the ratio runs linearly.
    ratio = picture.pixels[..., 0] / luminance
    np.testing.assert_allclose(ratio[:, ::2], np.repeat(red, 2, axis=0) + 1, rtol=1e-4)
    np.testing.assert_allclose(ratio[:, 1:-1:2], (ratio[:, :-2:2] + ratio[:, 2::2]) / 2, rtol=1e-4)


def test_luminance_and_chroma_of_full_size(tmp_path):
    luminance = np.full((4, 4), 2.0, np.float32)
    channels = {"Y": luminance, "RY": luminance * 0, "BY": luminance * 0}
    picture = read_linear(exr(tmp_path / "a.exr", channels))
    np.testing.assert_allclose(picture.pixels, 2.0, rtol=1e-5)


def test_the_display_window_is_the_picture(tmp_path):
    header = {"dataWindow": window((2, -1), (13, 6)), "displayWindow": window((0, 0), (9, 8))}
    picture = read_linear(exr(tmp_path / "a.exr", {"RGB": colours()}, **header))
    assert picture.pixels.shape == (9, 10, 3)
    np.testing.assert_array_equal(picture.pixels[:7, 2:], colours()[1:, :8])
    assert picture.pixels[7:].max() == 0
    assert picture.pixels[:, :2].max() == 0
    assert "10 x 9" in picture.notes[0]


def test_an_absurd_display_window_is_refused(tmp_path):
    for number, (low, high) in enumerate([((0, 0), (99999, 99999)), ((50, 50), (60, 60))]):
        header = {"dataWindow": window((0, 0), (11, 7)), "displayWindow": window(low, high)}
        path = exr(tmp_path / f"{number}.exr", {"RGB": colours()}, **header)
        with pytest.raises(InputError, match=rf"{number}\.exr.*(megapixels|display window)"):
            read_linear(path)


def test_primaries_become_rec709(tmp_path):
    wide = (colours() @ conversion(REC709, REC2020).T).astype(np.float32)
    picture = read_linear(exr(tmp_path / "a.exr", {"RGB": wide}, chromaticities=REC2020))
    np.testing.assert_allclose(picture.pixels, colours(), atol=1e-5)
    assert "primaries" in picture.notes[0]


def test_primaries_of_a_radiance_file(tmp_path):
    wide = (colours() @ conversion(REC709, REC2020).T).astype(np.float32)
    write_radiance(tmp_path / "a.hdr", RadianceImage(wide, 1.0))
    data = (tmp_path / "a.hdr").read_bytes()
    start = data.index(b"PRIMARIES=")
    line = b"PRIMARIES= " + b" ".join(b"%g" % value for value in REC2020)
    (tmp_path / "a.hdr").write_bytes(data[:start] + line + data[data.index(b"\n", start) :])
    picture = read_linear(tmp_path / "a.hdr")
    np.testing.assert_allclose(picture.pixels, colours(), rtol=0.1, atol=0.05)
    assert np.abs(picture.pixels - wide).max() > 0.3
    (tmp_path / "b.hdr").write_bytes(data.replace(b"0.6400 0.3300", b"one two"))
    assert read_linear(tmp_path / "b.hdr").notes == ()


def test_the_name_of_a_space_counts_where_no_chromaticities_are(tmp_path):
    """Blender writes nothing else."""
    wide = (colours() @ conversion(REC709, REC2020).T).astype(np.float32)
    path = exr(tmp_path / "a.exr", {"RGB": wide}, colorInteropID="lin_rec2020_scene")
    np.testing.assert_allclose(read_linear(path).pixels, colours(), atol=1e-5)
    path = exr(tmp_path / "b.exr", {"RGB": colours()}, colorInteropID="unknown")
    np.testing.assert_array_equal(read_linear(path).pixels, colours())


@pytest.mark.parametrize(
    ("primaries", "name"),
    [
        (REC709, "lin_rec709_scene"),
        (REC2020, "lin_rec2020_scene"),
        (ACESCG, "lin_ap1_scene"),
        (tuple(v + 0.01 for v in REC709), None),
    ],
)
def test_the_name_of_a_space_is_written(tmp_path, primaries, name):
    write_radiance(tmp_path / "a.exr", RadianceImage(colours(), 1.0, primaries))
    assert read_linear(tmp_path / "a.exr").header.get("colorInteropID") == name


@pytest.mark.parametrize("names", ["RGB", ("Y", "RY", "BY")])
@pytest.mark.parametrize("wrong", [(0.3,) * 8, (0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3, 0.0)])
def test_impossible_primaries_are_refused(tmp_path, names, wrong):
    path = exr(tmp_path / "a.exr", planes(colours(), names), chromaticities=wrong)
    with pytest.raises(InputError, match=r"a\.exr names primaries"):
        read_linear(path)


XYZ = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1 / 3, 1 / 3)


def test_xyz_becomes_rec709(tmp_path):
    xyz = (colours() @ conversion(REC709, XYZ).T).astype(np.float32)
    picture = read_linear(exr(tmp_path / "a.exr", {"RGB": xyz}, chromaticities=XYZ))
    np.testing.assert_allclose(picture.pixels, colours(), atol=1e-5)
    luminance = xyz[..., 1]
    chroma = {
        "Y": luminance.copy(),
        "RY": (xyz[..., 0] - luminance) / luminance,
        "BY": (xyz[..., 2] - luminance) / luminance,
    }
    picture = read_linear(exr(tmp_path / "b.exr", chroma, chromaticities=XYZ))
    np.testing.assert_allclose(picture.pixels, colours(), atol=1e-5)


def test_deep_files_are_called_so(tmp_path):
    data = exr(tmp_path / "a.exr", {"RGB": colours()}).read_bytes()
    data = data[:4] + struct.pack("<I", 2 | 0x800) + data[8:]
    kinds = [struct.pack("<I", len(kind)) + kind for kind in (b"scanlineimage", b"deepscanline")]
    assert data.count(kinds[0]) == 1
    (tmp_path / "a.exr").write_bytes(data.replace(*kinds))
    with pytest.raises(InputError, match=r"a\.exr holds deep data.*flatten"):
        read_linear(tmp_path / "a.exr")


def test_a_part_that_is_lost_is_not_replaced_by_another(tmp_path):
    """The package leaves out what it cannot decode; the next part is another picture."""
    grey = np.ones((64, 64, 3), np.float32)
    parts = [
        OpenEXR.Part({"compression": OpenEXR.ZIP_COMPRESSION}, planes(grey), name)
        for name in ("left", "right")
    ]
    with OpenEXR.File(parts) as file:
        file.write(str(tmp_path / "a.exr"))
    assert "of its 2 parts left was taken" in read_linear(tmp_path / "a.exr").notes
    data = bytearray((tmp_path / "a.exr").read_bytes())
    deflated = re.search(rb"\x78[\x01\x5e\x9c\xda]", data)
    assert deflated
    data[deflated.end() : deflated.end() + 20] = bytes(20)
    (tmp_path / "a.exr").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.exr is damaged"):
        read_linear(tmp_path / "a.exr")


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
def test_a_file_that_ends_early_is_damaged_and_not_deep(tmp_path, share):
    data = exr(tmp_path / "a.exr", planes(colours(64, 64))).read_bytes()
    (tmp_path / "a.exr").write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=r"a\.exr is damaged"):
        read_linear(tmp_path / "a.exr")


@pytest.mark.parametrize(("aspect", "size"), [(2.0, (8, 24)), (0.5, (16, 12)), (1.5, (8, 18))])
def test_pixels_that_are_not_square(tmp_path, caplog, aspect, size):
    """A ramp across stays one, and as wide as it is meant to be."""
    ramp = np.ones((8, 12, 3), np.float32) * np.arange(12, dtype=np.float32)[None, :, None]
    path = exr(tmp_path / "a.exr", {"RGB": ramp}, pixelAspectRatio=aspect)
    picture = read_linear(path)
    assert picture.pixels.shape[:2] == size
    np.testing.assert_allclose(picture.pixels[4, [0, -1], 0], (0, 11), atol=0.01)
    assert (np.diff(picture.pixels[4, :, 0]) >= 0).all()
    assert "not square" in picture.notes[0]
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(read_radiance(path)[0], ramp)
    assert "a.exr: its pixels are not square; read as they are." in caplog.text


@pytest.mark.parametrize("aspect", [1.0004, 1e5, 1e-5])
def test_aspects_that_mean_nothing(tmp_path, aspect):
    picture = read_linear(exr(tmp_path / "a.exr", {"RGB": colours()}, pixelAspectRatio=aspect))
    np.testing.assert_array_equal(picture.pixels, colours())
    assert picture.notes == ()


def rgbe(pixels):
    """Flat RGBE, a mantissa a channel and one exponent ("Radiance File Formats")."""
    mantissa, exponent = np.frexp(pixels.max(axis=-1))
    scale = np.where(mantissa > 0, np.ldexp(256.0, -exponent), 0)
    codes = np.dstack([pixels * scale[..., None], exponent + 128])
    return codes.astype(np.uint8).tobytes()


def hdr(path, pixels, size, *header):
    lines = b"".join(line.encode() + b"\n" for line in ("#?RADIANCE", *header, "", size))
    path.write_bytes(lines + rgbe(pixels))
    return path


@pytest.mark.parametrize("length", [126, 127, 128, 254, 255, 20_000])
def test_lines_of_a_radiance_header_may_be_long(tmp_path, length):
    path = hdr(tmp_path / "a.hdr", colours(), "-Y 8 +X 12", "c" * length, "EXPOSURE=2")
    pixels, header = read_radiance(path)
    np.testing.assert_allclose(pixels, colours(), rtol=0.01, atol=0.02)
    assert header["EXPOSURE"] == "2"


@pytest.mark.parametrize(
    ("size", "stored"),
    [
        ("-Y 8 +X 12", lambda a: a),
        ("+Y 8 +X 12", lambda a: a[::-1]),
        ("-Y 8 -X 12", lambda a: a[:, ::-1]),
        ("+Y 8 -X 12", lambda a: a[::-1, ::-1]),
        ("+X 12 -Y 8", lambda a: a.transpose(1, 0, 2)),
        ("+X 12 +Y 8", lambda a: a[::-1].transpose(1, 0, 2)),
        ("-X 12 -Y 8", lambda a: a[:, ::-1].transpose(1, 0, 2)),
        ("-X 12 +Y 8", lambda a: a[::-1, ::-1].transpose(1, 0, 2)),
    ],
)
def test_radiance_pictures_of_any_orientation(tmp_path, size, stored):
    pixels, _ = read_radiance(hdr(tmp_path / "a.hdr", stored(colours()), size))
    np.testing.assert_allclose(pixels, colours(), rtol=0.01, atol=0.02)
    assert pixels.flags.c_contiguous


def test_xyze(tmp_path):
    xyz = colours() @ conversion(REC709, XYZ).T
    path = hdr(tmp_path / "a.hdr", xyz, "-Y 8 +X 12", "FORMAT=32-bit_rle_xyze")
    picture = read_linear(path)
    np.testing.assert_allclose(picture.pixels, colours(), atol=0.15)
    assert np.abs(read_radiance(path)[0] - colours()).max() > 0.4
    assert "primaries" in picture.notes[0]


def test_pixels_of_a_radiance_picture_that_are_not_square(tmp_path):
    path = hdr(tmp_path / "a.hdr", colours(), "-Y 8 +X 12", "PIXASPECT=0.5")
    assert read_linear(path).pixels.shape == (8, 24, 3)


def test_what_is_not_finite_is_mended_and_counted(tmp_path):
    pixels = np.full((5, 6, 3), 2.0, np.float32)
    pixels[1, 1, 0] = np.nan
    pixels[3, 4] = np.inf
    pixels[0, 5, 2] = -0.25
    picture = read_linear(exr(tmp_path / "a.exr", {"RGB": pixels}))
    assert np.isfinite(picture.pixels).all()
    np.testing.assert_allclose(picture.pixels[1, 1], 2.0, rtol=1e-5)
    np.testing.assert_allclose(picture.pixels[3, 4], 2.0)
    assert picture.pixels[0, 5, 2] == -0.25
    assert [note.split(",")[0] for note in picture.notes] == [
        "1 pixel was infinite",
        "1 pixel was NaN",
        "1 pixel was negative in a channel",
    ]


def test_a_file_of_nan_is_refused(tmp_path):
    path = exr(tmp_path / "a.exr", {"RGB": np.full((3, 3, 3), np.nan, np.float32)})
    with pytest.raises(InputError, match=r"a\.exr holds no finite"):
        read_linear(path)


def test_read_radiance_warns_of_what_was_chosen(tmp_path, caplog):
    parts = [OpenEXR.Part({}, {"RGB": colours(seed=i)}, f"part{i}") for i in range(2)]
    OpenEXR.File(parts).write(str(tmp_path / "a.exr"))
    with caplog.at_level(logging.WARNING):
        read_radiance(tmp_path / "a.exr")
    assert "a.exr: of its 2 parts part0 was taken." in caplog.text
