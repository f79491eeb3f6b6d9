"""Formats for HDR screens, read back by decoders that had no part in the writing."""

import logging
import struct
from io import BytesIO
from pathlib import Path

import cv2
import exifread
import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageCms

from dfghdr_cli.core.colour import P3, REC709, REC2020, conversion, srgb_encode
from dfghdr_cli.core.tonemapping import hdr_display as hdr
from dfghdr_cli.core.tonemapping.hdr_display import HIGHEST, SDR_WHITE, pq_decode
from dfghdr_cli.errors import OutputError
from dfghdr_cli.io.avif import with_exif
from dfghdr_cli.io.display import encode_display, write_display
from dfghdr_cli.io.jxl import as_pq
from dfghdr_cli.io.metadata import Metadata
from dfghdr_cli.io.names import HDR_FORMATS, display_format

NAMES = {"ultrahdr": "a.jpg", "avif": "a.avif", "jxl": "a.jxl"}


@pytest.fixture(scope="module")
def radiance():
    """(72, 100, 3) smooth light over 10 stops, up to 30 times SDR white, somewhat coloured."""
    coarse = np.random.default_rng(5).uniform(-5, 5, (6, 8, 1))
    tint = np.random.default_rng(6).uniform(0.6, 1.4, (6, 8, 3))
    light = (np.exp2(coarse) * tint).astype(np.float32)
    return np.clip(cv2.resize(light, (100, 72), interpolation=cv2.INTER_LINEAR), 0, 30)


@pytest.fixture(scope="module")
def picture(radiance):
    """The same for an SDR screen."""
    return srgb_encode(radiance / (1 + radiance))


def stops_apart(found, expected):
    """Differences in stops, with a floor of 1/64 of SDR white, where nobody sees one."""
    return np.abs(np.log2((found + 1 / 64) / (expected + 1 / 64)))


def read_avif(data, bits=10):
    """Linear Rec. 709, 1.0 = SDR white, of 10 bits by libavif or of 8 bits by Pillow's own."""
    if bits == 10:
        codes = imagecodecs.avif_decode(data) / 1023
    else:
        with Image.open(BytesIO(data)) as image:
            codes = np.asarray(image) / 255
    return pq_decode(codes) / SDR_WHITE @ conversion(REC2020, REC709).T


def read_jxl(data):
    codes = imagecodecs.jpegxl_decode(data)
    assert codes.dtype == np.uint16
    return pq_decode(codes / 1023) / SDR_WHITE @ conversion(REC2020, REC709).T


def read_ultrahdr(data, boost=None):
    assert imagecodecs.ultrahdr_check(data)
    return imagecodecs.ultrahdr_decode(data, dtype=np.float16, boost=boost)[..., :3].astype("f4")


def encode(name, picture, radiance, **options):
    path = NAMES[name]
    return encode_display(Path(path), picture, radiance=radiance, format=name, **options)


@pytest.mark.parametrize("name", ["avif", "jxl", "ultrahdr"])
def test_the_radiance_comes_back(name, picture, radiance):
    reader = {"avif": read_avif, "jxl": read_jxl, "ultrahdr": read_ultrahdr}[name]
    found = reader(encode(name, picture, radiance))
    apart = stops_apart(found, radiance)
    assert np.median(apart) < 0.03
    assert np.quantile(apart, 0.99) < 0.15
    ratio = found[radiance > 0.5] / radiance[radiance > 0.5]
    assert np.median(ratio) == pytest.approx(1, abs=0.01)
    assert found.max() == pytest.approx(radiance.max(), rel=0.12)


def test_avif_by_another_decoder(picture, radiance):
    found = read_avif(encode("avif", picture, radiance), bits=8)
    assert np.median(stops_apart(found, radiance)) < 0.06


def test_avif_says_how_it_is_meant(picture, radiance):
    data = encode("avif", picture, radiance)
    # ISO/IEC 23008-12 and ITU-T H.273: BT.2020 primaries, PQ, BT.2020 matrix, full range.
    assert b"colrnclx" + struct.pack(">HHHB", 9, 16, 9, 0x80) in data
    place = data.index(b"av1C")
    assert data[place + 6] & 0x5C == 0x40  # AV1-ISOBMFF, 2.3.3: high_bitdepth, and 4:4:4


def test_more_quality_is_closer_and_larger(picture, radiance):
    for name, reader in (("avif", read_avif), ("jxl", read_jxl), ("ultrahdr", read_ultrahdr)):
        files = [encode(name, picture, radiance, quality=quality) for quality in (40, 98)]
        errors = [np.mean(stops_apart(reader(data), radiance)) for data in files]
        assert len(files[0]) < len(files[1])
        assert errors[0] > errors[1]


@pytest.mark.parametrize("name", ["avif", "jxl", "ultrahdr"])
def test_known_levels(name):
    """Greys of 0, 1/8, 1, 4 and 20 times SDR white, each in a field of its own."""
    levels = np.array([0, 0.125, 1, 4, 20], np.float32)
    radiance = np.kron(np.tile(levels[:, None], (1, 3)), np.ones((48, 1), np.float32))
    radiance = np.repeat(radiance[:, None, :], 64, axis=1)
    picture = srgb_encode(np.minimum(radiance, 1))
    reader = {"avif": read_avif, "jxl": read_jxl, "ultrahdr": read_ultrahdr}[name]
    found = reader(encode(name, picture, radiance))
    middle = found[24::48, 32]
    np.testing.assert_allclose(middle, radiance[24::48, 32], rtol=0.03, atol=0.005)


@pytest.mark.parametrize("name", ["avif", "jxl"])
def test_colours_outside_rec_709_are_kept(name):
    wide = np.array([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.1, 0.1, 0.8]])  # in BT.2020
    fields = np.kron(wide, np.ones((32, 1)))[:, None, :] * np.ones((1, 48, 1))
    radiance = (fields @ conversion(REC2020, REC709).T).astype(np.float32)
    assert radiance.min() < -0.05
    picture = np.clip(radiance, 0, 1)
    found = (read_avif if name == "avif" else read_jxl)(encode(name, picture, radiance))
    back = found[16::32, 24] @ conversion(REC709, REC2020).T
    np.testing.assert_allclose(back, wide, atol=0.03)


def test_black_and_what_lies_below_stays_finite(picture):
    for radiance in (np.zeros_like(picture), np.full_like(picture, -0.01)):
        for name, reader in (("avif", read_avif), ("jxl", read_jxl), ("ultrahdr", read_ultrahdr)):
            found = reader(encode(name, np.zeros_like(picture), radiance))
            assert np.isfinite(found).all()
            assert np.abs(found).max() < 0.02


@pytest.mark.parametrize("name", ["avif", "jxl", "ultrahdr"])
def test_what_no_screen_shows_is_cut_with_a_warning(name, picture, radiance, caplog):
    bright = np.where(np.indices(radiance.shape)[1] < 50, np.float32(500), radiance)
    with caplog.at_level(logging.WARNING):
        data = encode(name, picture, bright)
    assert "3600 pixels are brighter than 10000 cd/m2" in caplog.text
    reader = {"avif": read_avif, "jxl": read_jxl, "ultrahdr": read_ultrahdr}[name]
    assert np.median(reader(data)[:, :40]) == pytest.approx(HIGHEST, rel=0.05)
    caplog.clear()
    encode(name, picture, radiance)
    assert not caplog.records


@pytest.mark.parametrize("space", ["srgb", "p3"])
def test_ultra_hdr_is_our_picture_for_everyone_else(space, picture, radiance):
    data = encode("ultrahdr", picture, radiance, space=space)
    plain = encode_display(Path("a.jpg"), picture, space=space)
    with Image.open(BytesIO(data)) as image, Image.open(BytesIO(plain)) as other:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(other))
        profile = ImageCms.ImageCmsProfile(BytesIO(image.info["icc_profile"]))
    word = {"srgb": "sRGB", "p3": "Display P3"}[space]
    assert word in ImageCms.getProfileDescription(profile)
    # A screen without headroom gets the picture from HDR readers, too.
    shown = read_ultrahdr(data, boost=1.0)
    assert np.median(np.abs(srgb_encode(shown) - picture)) < 0.01


def test_ultra_hdr_in_wider_primaries(radiance):
    """The gains are meant in the primaries of the base, and so is what libultrahdr returns."""
    wide = (radiance @ conversion(P3, REC709).T).astype(np.float32)
    picture = srgb_encode(radiance / (1 + radiance))  # in P3
    found = read_ultrahdr(encode("ultrahdr", picture, wide, space="p3"))
    assert np.median(stops_apart(found, radiance)) < 0.03


@pytest.mark.parametrize("hidden", ["ISO 21496-1", "XMP"])
def test_either_description_of_the_gain_map_is_enough(hidden, picture, radiance):
    data = encode("ultrahdr", picture, radiance)
    if hidden == "XMP":
        assert data.count(b"hdrgm:GainMapMin") == 1
        data = data.replace(b"hdrgm:GainMapMin", b"hdrgm:GainMapXxx")
    else:
        assert data.count(b"urn:iso:std:iso:ts:21496:-1") == 2
        data = data.replace(b"urn:iso:std:iso:ts:21496:-1", b"urn:xxx:std:iso:ts:21496:-1")
    found = read_ultrahdr(data)
    assert np.median(stops_apart(found, radiance)) < 0.03


def test_the_directory_of_an_ultra_hdr_file_leads_to_its_gain_map(picture, radiance):
    data = encode("ultrahdr", picture, radiance)
    with Image.open(BytesIO(data)) as image:
        entries = image.mpinfo[0xB002] if hasattr(image, "mpinfo") else image._getmp()[0xB002]
        start = image.info["mpoffset"] + entries[1]["DataOffset"]
    second = data[start:]
    assert len(second) == entries[1]["Size"]
    assert start == entries[0]["Size"]
    assert f'Item:Length="{len(second)}"'.encode() in data[:start]
    with Image.open(BytesIO(second)) as gains:
        assert gains.size == (100, 72)


def test_large_gain_maps_have_half_the_size(picture, radiance, monkeypatch):
    monkeypatch.setattr(hdr, "_GAIN_MAP_PIXELS", 71 * 99 - 1)
    data = encode("ultrahdr", picture[1:, 1:], radiance[1:, 1:])
    with Image.open(BytesIO(data[data.rindex(b"\xff\xd8\xff") :])) as gains:
        assert gains.size == (50, 36)
    found = read_ultrahdr(data)
    assert found.shape == (71, 99, 3)
    assert np.median(stops_apart(found, radiance[1:, 1:])) < 0.1


def test_a_screen_with_some_headroom_gets_a_part(picture, radiance):
    data = encode("ultrahdr", picture, radiance)
    peaks = [read_ultrahdr(data, boost).max() for boost in (1.0, 2.0, 8.0, 60.0)]
    assert peaks == sorted(peaks)
    assert peaks[0] < 1.05
    assert peaks[-1] > 20


def test_jpeg_xl_says_how_it_is_meant(picture, radiance):
    """ISO/IEC 18181-1, D.3, bit by bit."""
    data = encode("jxl", picture, radiance)
    data = data[data.index(b"jxlc") + 4 :]  # the last box of the container
    assert data[:2] == b"\xff\x0a"
    bits = "".join(f"{byte:08b}"[::-1] for byte in data[2:30])
    size = "0" + "00" + f"{72 - 1:09b}"[::-1] + "000" + "00" + f"{100 - 1:09b}"[::-1]
    assert bits.startswith(size)
    half = f"{int.from_bytes(struct.pack('<e', 10000.0), 'little'):016b}"[::-1]
    expected = "01" + "000000" + "010" + "?" + "00" + "1" + "00"
    expected += "00" + "10" + "01" + "1110" + "0" + "01" + "0111" + "10"
    expected += "0" + half + "0" * 16 + "0" + "0" * 16 + "00" + "1"
    found = bits[len(size) :]
    assert all(a in ("?", b) for a, b in zip(expected, found, strict=False))


@pytest.mark.parametrize("size", [(1, 1), (8, 16), (72, 100), (100, 100), (600, 3), (3, 1200)])
def test_jpeg_xl_of_any_size(size):
    radiance = np.full((*size, 3), 2.0, np.float32)
    found = read_jxl(encode("jxl", np.ones_like(radiance), radiance))
    assert found.shape == radiance.shape
    np.testing.assert_allclose(found, 2, rtol=0.03)


def test_other_headers_of_jpeg_xl_are_refused():
    grey = np.full((16, 16), 100, np.uint8)
    lossless = np.full((16, 16, 3), 100, np.uint8)
    for data in (
        b"\xff\xd8",
        imagecodecs.jpegxl_encode(grey, usecontainer=False),
        imagecodecs.jpegxl_encode(lossless, lossless=True, usecontainer=False),
    ):
        with pytest.raises(ValueError, match=r"header|picture|codestream"):
            as_pq(bytes(data))


def test_exif_data(tmp_path, picture, radiance):
    metadata = Metadata({0x010F: "Maker"}, {0x8827: 200})
    for name, reader in (("avif", read_avif), ("jxl", read_jxl), ("ultrahdr", read_ultrahdr)):
        bare = encode(name, picture, radiance)
        data = encode(name, picture, radiance, metadata=metadata)
        (tmp_path / NAMES[name]).write_bytes(data)
        np.testing.assert_array_equal(reader(data), reader(bare))
        if name == "avif":
            continue  # which exifread does not know
        with (tmp_path / NAMES[name]).open("rb") as file:
            tags = exifread.process_file(file, details=False)
        assert str(tags["Image Make"]) == "Maker"
        assert str(tags["EXIF ISOSpeedRatings"]) == "200"
    with Image.open(tmp_path / "a.avif") as image:
        assert image.getexif()[0x010F] == "Maker"
        assert image.getexif().get_ifd(0x8769)[0x8827] == 200
        assert image.size == (100, 72)


def test_other_layouts_of_avif_are_refused():
    data = bytes(imagecodecs.avif_encode(np.full((16, 16, 3), 99, np.uint8), level=80))
    alpha = imagecodecs.avif_encode(np.full((16, 16, 4), 99, np.uint8), level=80)
    again = with_exif(data, b"II*\0\x08\0\0\0\0\0")
    for other in (bytes(alpha), again, data[:-1], data + b"\0\0\0\x08free"):
        with pytest.raises(ValueError, match="file"):
            with_exif(other, b"II*\0\x08\0\0\0\0\0")


def test_names_and_refusals(tmp_path, picture, radiance):
    assert display_format(tmp_path / "a.avif") == "avif"
    assert display_format(tmp_path / "a.JXL") == "jxl"
    assert display_format(tmp_path / "a.jpg", "ultrahdr") == "ultrahdr"
    assert {"ultrahdr", "avif", "jxl"} == HDR_FORMATS
    with pytest.raises(OutputError, match=r"a\.png does not end like a ultrahdr.*a\.jpg"):
        display_format(tmp_path / "a.png", "ultrahdr")
    for name, path in NAMES.items():
        with pytest.raises(ValueError, match="needs the radiance"):
            write_display(tmp_path / path, picture, format=name)
        with pytest.raises(ValueError, match="expected"):
            write_display(tmp_path / path, picture, radiance=radiance[1:], format=name)
        with pytest.raises(ValueError, match="no choice of bits"):
            write_display(tmp_path / path, picture, radiance=radiance, format=name, bits=16)
    assert list(tmp_path.iterdir()) == []
