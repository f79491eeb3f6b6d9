import logging
import struct
import sys
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import IFDRational

from dfghdr_cli.core.colour import ADOBE_RGB, P3, REC709, conversion, srgb_decode
from dfghdr_cli.core.types import Exposure
from dfghdr_cli.errors import InputError
from dfghdr_cli.io.exif import read_exposure
from dfghdr_cli.io.ldr import read_frame

GIVEN = Exposure(1.5)


def picture(dtype, height=24, width=32, channels=3):
    """Noise that uses every bit of its type."""
    rng = np.random.default_rng(7)
    if dtype == np.float32:
        return rng.random((height, width, channels), np.float32)
    return rng.integers(0, np.iinfo(dtype).max, (height, width, channels), dtype, endpoint=True)


def smooth(height=24, width=32):
    """A picture JPEG keeps well, different in every corner and channel."""
    y, x = np.mgrid[0:height, 0:width]
    planes = (x * 255 / width, y * 255 / height, (x + y) * 127 / (height + width) + 64)
    return np.stack(planes, axis=2).astype(np.uint8)


def exif(orientation=None, time=None, iso=None, f_number=None):
    data = Image.Exif()
    data[271] = "Maker"  # Pillow leaves the block out of a PNG where its first folder is empty
    if orientation:
        data[274] = orientation
    ifd = data.get_ifd(0x8769)
    if time:
        ifd[33434] = IFDRational(*time)
    if f_number:
        ifd[33437] = IFDRational(*f_number)
    if iso:
        ifd[34855] = iso
    ifd[37380] = IFDRational(2, 1)  # an exposure bias, never to be used
    return data


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_is_exact(tmp_path, dtype):
    pixels = picture(dtype)
    path = tmp_path / "a.png"
    path.write_bytes(imagecodecs.png_encode(pixels))
    frame = read_frame(path, GIVEN)
    assert frame.pixels.dtype == dtype
    np.testing.assert_array_equal(frame.pixels, pixels)
    assert frame.exposure is GIVEN
    assert frame.path == path
    assert frame.color_space == "sRGB"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "lzw", "predictor": True},
        {"compression": "deflate"},
        {"compression": "zstd"},
        {"tile": (16, 16), "compression": "lzw"},
        {"planarconfig": "separate"},
        {"byteorder": ">"},
        {"bigtiff": True},
        {"rowsperstrip": 5},
    ],
    ids=str,
)
def test_tiff_is_exact(tmp_path, dtype, options):
    pixels = picture(dtype)
    stored = np.moveaxis(pixels, 2, 0) if "planarconfig" in options else pixels
    tifffile.imwrite(tmp_path / "a.tiff", stored, photometric="rgb", **options)
    frame = read_frame(tmp_path / "a.tiff", GIVEN)
    assert frame.pixels.dtype == dtype
    assert frame.pixels.dtype.isnative
    np.testing.assert_array_equal(frame.pixels, pixels)
    assert frame.encoded().max() <= 1


@pytest.mark.parametrize("name", ["a.tif", "a.png"])
def test_sixteen_bits_stay_sixteen(tmp_path, name):
    """What a reader that goes through 8 bits would flatten to two values."""
    ramp = np.repeat(np.arange(30000, 30512, dtype=np.uint16).reshape(16, 32, 1), 3, axis=2)
    if name == "a.tif":
        tifffile.imwrite(tmp_path / name, ramp, photometric="rgb")
    else:
        (tmp_path / name).write_bytes(imagecodecs.png_encode(ramp))
    assert len(np.unique(read_frame(tmp_path / name, GIVEN).pixels)) == 512


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg(tmp_path, mode):
    image = Image.fromarray(smooth()).convert(mode)
    image.save(tmp_path / "a.JPG", quality=95, subsampling=0)
    frame = read_frame(tmp_path / "a.JPG", GIVEN)
    expected = np.asarray(image.convert("RGB")).astype(int)
    assert frame.pixels.shape == (24, 32, 3)
    assert frame.pixels.dtype == np.uint8
    assert np.abs(frame.pixels - expected).mean() < 2


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("opaque", [True, False])
@pytest.mark.parametrize("colors", [1, 3])
def test_grey_and_alpha(tmp_path, caplog, dtype, suffix, opaque, colors):
    pixels = picture(dtype, channels=colors + 1)
    if opaque:
        pixels[..., -1] = np.iinfo(dtype).max
    path = tmp_path / f"a{suffix}"
    if suffix == ".png":
        path.write_bytes(imagecodecs.png_encode(pixels))
    else:
        kind = "rgb" if colors == 3 else "minisblack"
        tifffile.imwrite(path, pixels, photometric=kind, extrasamples=["unassalpha"])
    frame = read_frame(path, GIVEN)
    expected = pixels[..., :colors] if colors == 3 else np.repeat(pixels[..., :1], 3, axis=2)
    np.testing.assert_array_equal(frame.pixels, expected)
    assert ("alpha" in caplog.text) is not opaque


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_orientation_is_applied_once(tmp_path, orientation, suffix):
    # What Pillow stores, seen upright by Pillow's own reading of the tag, is the reference.
    stored = smooth()
    path = tmp_path / f"a{suffix}"
    if suffix == ".tif":
        extra = [(274, "H", 1, orientation, True)]
        tifffile.imwrite(path, stored, photometric="rgb", extratags=extra, metadata=None)
    else:
        image = Image.fromarray(stored)
        image.save(path, exif=exif(orientation), **({"quality": 95} if suffix == ".jpg" else {}))
    turn = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a),
    }[orientation]
    frame = read_frame(path)
    expected = turn(stored).astype(int)
    assert frame.pixels.shape == expected.shape
    assert frame.pixels.flags.c_contiguous
    assert np.abs(frame.pixels - expected).max() < (30 if suffix == ".jpg" else 1)


def test_damaged_exif_does_not_cost_the_picture(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(smooth()).save(path, exif=exif(6, (1, 400)))
    data = bytearray(path.read_bytes())
    start = data.index(b"Exif\0\0") + 6
    data[start + 4 : start + 8] = b"\xff\xff\xff\x7f"  # the first folder is past the end
    path.write_bytes(data)
    assert read_exposure(path) is None
    assert read_frame(path).pixels.shape == (24, 32, 3)


PROFILES = {
    "Adobe": (ADOBE_RGB, 2.2),
    "P3": (P3, 2.2),
    "ProPhoto": ((0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001, 0.3457, 0.3585), 1.8),
    "linear": (REC709, 1.0),
}


def icc(chromaticities, gamma):
    x, y = np.reshape(chromaticities, (4, 2)).T
    xy1 = np.stack([x, y, np.ones(4)], axis=1)
    return imagecodecs.cms_profile(
        "rgb", whitepoint=xy1[3].tolist(), primaries=xy1[:3].ravel().tolist(), gamma=gamma
    )


def save(path, pixels, **options):
    if path.suffix == ".tif":
        profile = options.pop("icc_profile", None)
        tifffile.imwrite(path, pixels, photometric="rgb", iccprofile=profile)
    elif path.suffix == ".heic":
        pytest.importorskip("pillow_heif").from_pillow(Image.fromarray(pixels)).save(
            path, quality=-1, chroma=444, **options
        )
    else:
        Image.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".heic"])
@pytest.mark.parametrize("name", PROFILES)
def test_profiles_are_honoured(tmp_path, name, suffix):
    primaries, gamma = PROFILES[name]
    options = {"quality": 95} if suffix == ".jpg" else {}
    path = tmp_path / f"a{suffix}"
    if suffix == ".heic":
        with Image.new("RGB", (8, 8)) as image:
            image.info["icc_profile"] = icc(primaries, gamma)
            image.paste((200, 100, 50), (0, 0, 8, 8))
            pytest.importorskip("pillow_heif").from_pillow(image).save(path, quality=-1)
        stored = np.full((8, 8, 3), (200, 100, 50), np.uint8)
    else:
        stored = smooth()
        save(path, stored, icc_profile=icc(primaries, gamma), **options)
    frame = read_frame(path, GIVEN)
    assert frame.linear == (name == "linear")
    if name == "linear":
        assert frame.to_rec709 is None
    else:
        np.testing.assert_allclose(frame.to_rec709, conversion(primaries, REC709), atol=2e-3)
    if name == "ProPhoto":  # under sRGB's curve now, in more bits, and the same light
        assert frame.pixels.dtype == np.uint16
        light = srgb_decode(frame.pixels / 65535)
        np.testing.assert_allclose(light, (stored / 255) ** 1.8, atol=0.05)
        assert np.abs(light - (stored / 255) ** 1.8).mean() < 0.01
    else:
        assert frame.pixels.dtype == np.uint8
        assert np.abs(frame.pixels.astype(int) - stored).mean() < 4


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_another_curve_is_exchanged_exactly(tmp_path, dtype):
    pixels = picture(dtype)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, photometric="rgb", iccprofile=icc(REC709, 1.8))
    frame = read_frame(path, GIVEN)
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    light = srgb_decode(frame.encoded().astype(np.float64))
    np.testing.assert_allclose(light, (pixels / top) ** 1.8, atol=2e-4)


def test_srgb_and_profiles_that_are_of_no_use(tmp_path, caplog):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for profile, words in (
        (srgb, None),
        (imagecodecs.cms_profile("gray", gamma=2.2), None),
        (lab, "not for RGB"),
        (b"junk", "damaged"),
    ):
        for suffix in (".png", ".jpg", ".tif"):
            caplog.clear()
            frame = read_frame(save(tmp_path / f"a{suffix}", smooth(), icc_profile=profile), GIVEN)
            assert (frame.color_space, frame.to_rec709, frame.linear) == ("sRGB", None, False)
            assert frame.pixels.dtype == np.uint8
            ours = [r.message for r in caplog.records if r.name.startswith("dfghdr")]
            assert ours == [] if words is None else words in "".join(ours)


def test_adobe_rgb_that_only_exif_tells(tmp_path):
    path = tmp_path / "a.jpg"
    for space, index, adobe in ((65535, "R03", True), (2, "R98", True), (65535, "R98", False)):
        data = exif()
        data.get_ifd(0x8769).update({0xA001: space, 0xA005: {1: index}})
        Image.fromarray(smooth()).save(path, exif=data)
        frame = read_frame(path, GIVEN)
        assert frame.color_space == ("Adobe RGB" if adobe else "sRGB")
        assert (frame.to_rec709 is not None) == adobe


def test_the_primaries_of_a_png(tmp_path):
    path = tmp_path / "a.png"
    png = imagecodecs.png_encode(smooth())

    def chunk(name, content):
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    values = (*P3[6:], *P3[:6])
    primaries = chunk(b"cHRM", struct.pack(">8I", *(round(v * 100_000) for v in values)))
    linear = chunk(b"gAMA", struct.pack(">I", 100_000))
    for extra, has_p3, is_linear in (
        (primaries, True, False),
        (linear, False, True),
        (chunk(b"sRGB", b"\0") + primaries + linear, False, False),
    ):
        path.write_bytes(png[:33] + extra + png[33:])
        frame = read_frame(path, GIVEN)
        assert frame.linear == is_linear
        assert (frame.to_rec709 is not None) == has_p3
        if has_p3:
            np.testing.assert_allclose(frame.to_rec709, conversion(P3, REC709), atol=1e-4)


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_heic(tmp_path, bits):
    heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "a.heic"
    codes = np.rint(smooth(64, 96) / 255 * (2**bits - 1)).astype(np.uint16)
    codes[:8] = 2**bits - 1
    if bits == 8:
        image = heif.from_pillow(Image.fromarray(codes.astype(np.uint8)))
    else:
        data = (codes << (16 - bits)).tobytes()
        image = heif.from_bytes(mode="RGB;16", size=(96, 64), data=data)
    data = exif(None, (1, 400), 200, (28, 10)).tobytes()
    heif.options.SAVE_HDR_TO_12_BIT = bits == 12
    try:
        image.save(path, quality=-1, chroma=444, exif=data)
    finally:
        heif.options.SAVE_HDR_TO_12_BIT = False
    frame = read_frame(path)
    assert frame.pixels.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert frame.pixels.shape == (64, 96, 3)
    assert (frame.encoded()[:4] > 0.998).all()  # white is white
    assert np.abs(frame.encoded() - codes / (2**bits - 1)).mean() < 2 / 255
    assert frame.exposure == Exposure.from_camera(1 / 400, 200, 2.8)
    assert frame.color_space == "sRGB"


def test_heic_without_its_package(tmp_path, monkeypatch):
    path = tmp_path / "a.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(50))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(InputError, match="pip install pillow-heif"):
        read_frame(path)


def test_turned_heic(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    image = heif.from_pillow(Image.fromarray(smooth(64, 96)))
    image.save(tmp_path / "a.heic", quality=-1, exif=exif(6).tobytes())
    frame = read_frame(tmp_path / "a.heic")
    assert frame.pixels.shape == (96, 64, 3)
    assert np.abs(frame.pixels.astype(int) - np.rot90(smooth(64, 96), -1)).mean() < 4


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_whose_white_is_zero(tmp_path, dtype):
    pixels = picture(dtype)[..., 0]
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite")
    expected = np.repeat((np.iinfo(dtype).max - pixels)[..., None], 3, axis=2)
    np.testing.assert_array_equal(read_frame(tmp_path / "a.tif", GIVEN).pixels, expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats(tmp_path, dtype):
    pixels = picture(np.float32).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    frame = read_frame(tmp_path / "a.tif", GIVEN)
    assert frame.pixels.dtype == np.float32
    np.testing.assert_array_equal(frame.pixels, pixels.astype(np.float32))


def test_rounding_of_a_float_exporter_is_forgiven(tmp_path):
    pixels = np.full((4, 4, 3), 1.00005, np.float32)
    pixels[0] = -0.00005
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    back = read_frame(tmp_path / "a.tif", GIVEN).pixels
    assert back.min() == 0
    assert back.max() == 1


def test_more_pages_are_mentioned(tmp_path, caplog):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for value in (10, 200):
            writer.write(np.full((8, 8, 3), value, np.uint8), photometric="rgb")
    with caplog.at_level(logging.WARNING):
        assert (read_frame(tmp_path / "a.tif", GIVEN).pixels == 10).all()
    assert "2 pages" in caplog.text


def broken_crc(png):
    data = bytearray(png)
    data[len(data) // 2] ^= 255
    return bytes(data)


def png_of(bits, color_type):
    """A valid 8x1 PNG of any kind (PNG specification, section 5)."""

    def chunk(name, content):
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", 8, 1, bits, color_type, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(6)) if color_type == 3 else b""
    row = zlib.compress(bytes(1 + bits))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + palette
        + chunk(b"IDAT", row)
        + chunk(b"IEND", b"")
    )


def bad_files(folder):
    """One file, or none, for each way in which a photograph cannot be used."""
    Image.fromarray(smooth(200, 200)).save(folder / "good.jpg", quality=95)
    jpeg = (folder / "good.jpg").read_bytes()
    png = imagecodecs.png_encode(picture(np.uint16))
    tifffile.imwrite(folder / "good.tif", picture(np.uint16), photometric="rgb")
    plain = (folder / "good.tif").read_bytes()
    tifffile.imwrite(folder / "lzw.tif", picture(np.uint8), photometric="rgb", compression="lzw")
    lzw = (folder / "lzw.tif").read_bytes()
    for name in ("good.jpg", "good.tif", "lzw.tif"):
        (folder / name).unlink()
    for name, content in {
        "empty.jpg": b"",
        "text.jpg": b"just some words",
        "header.jpg": jpeg[:100],
        "half.jpg": jpeg[: len(jpeg) // 2],
        "header.png": png[:20],
        "half.png": png[: len(png) // 2],
        "crc.png": broken_crc(png),
        "header.tif": plain[:8],
        "half.tif": plain[: len(plain) // 2],
        "half_lzw.tif": lzw[: len(lzw) // 2],
        "jpeg_named.tif": jpeg,
        "png_named.jpg": png,
        "tiff_named.png": plain,
        "no_ending": jpeg,
        "raw.NEF": plain,
        "raw.cr2": plain,
        "film.gif": b"GIF89a" + bytes(50),
        "phone.heic": b"\0\0\0\x18ftypheic" + bytes(50),
        "palette.png": png_of(1, 3),
        "one_bit.png": png_of(1, 0),
        "four_bits.png": png_of(4, 0),
    }.items():
        (folder / name).write_bytes(content)
    Image.new("CMYK", (8, 8)).save(folder / "cmyk.jpg")
    Image.new("CMYK", (8, 8)).save(folder / "cmyk.tif")
    Image.new("P", (8, 8)).save(folder / "palette.tif")
    Image.new("1", (8, 8)).save(folder / "one_bit.tif")
    Image.new("LAB", (8, 8)).save(folder / "lab.tif")
    ones = np.ones((8, 8, 3), np.float32)
    for name, pixels in {
        "nan.tif": ones * np.nan,
        "inf.tif": ones * np.inf,
        "range_255.tif": ones * 255,
        "negative.tif": ones * -1,
        "signed.tif": ones.astype(np.int16),
        "long.tif": ones.astype(np.uint32),
    }.items():
        tifffile.imwrite(folder / name, pixels, photometric="rgb")
    twelve = imagecodecs.packints_encode(np.arange(64, dtype=np.uint16), 12)
    tifffile.imwrite(
        folder / "twelve_bits.tif",
        iter([twelve]),
        shape=(8, 8),
        dtype=np.uint16,
        bitspersample=12,
        photometric="minisblack",
    )
    tifffile.imwrite(
        folder / "volume.tif",
        np.ones((4, 16, 16), "u1"),
        volumetric=True,
        tile=(16, 16),
        photometric="minisblack",
    )
    (folder / "folder.jpg").mkdir()
    return [*folder.iterdir(), folder / "missing.jpg"]


def test_each_bad_file_is_named_in_one_sentence(tmp_path):
    bad = bad_files(tmp_path)
    assert len(bad) >= 36
    for path in bad:
        with pytest.raises(InputError) as caught:
            read_frame(path, GIVEN)
        message = str(caught.value)
        assert str(path) in message
        assert message.endswith(".")
        assert "\n" not in message


def test_the_message_says_what_to_do(tmp_path):
    bad = {path.name: path for path in bad_files(tmp_path)}
    for name, words in {
        "raw.NEF": "no raw file that LibRaw reads",
        "png_named.jpg": r"is a PNG file.*rename it to png_named\.png",
        "cmyk.jpg": "CMYK JPEG; convert it to RGB",
        "palette.png": "palette PNG; convert it to RGB",
        "twelve_bits.tif": "12-bit",
        "range_255.tif": "spans 255 to 255",
        "half.jpg": "damaged or incomplete",
        "empty.jpg": "is empty",
        "folder.jpg": "is a folder",
        "missing.jpg": "does not exist",
        "nan.tif": "NaN",
    }.items():
        with pytest.raises(InputError, match=words):
            read_frame(bad[name], GIVEN)
