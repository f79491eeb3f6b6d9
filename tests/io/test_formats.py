"""Photographs of rarer kinds: their pixels, what they say of colours, and what is refused."""

import base64
import struct
import zlib
from io import BytesIO

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import IFDRational

from dfghdr_cli.core.colour import P3, REC709, REC2020, conversion
from dfghdr_cli.core.types import Exposure
from dfghdr_cli.errors import InputError
from dfghdr_cli.io.boxes import end_of_items, jxl_codestream
from dfghdr_cli.io.exif import read_exposure
from dfghdr_cli.io.formats import image_format
from dfghdr_cli.io.jxl import JxlColor, read_color, read_size
from dfghdr_cli.io.ldr import read_frame
from dfghdr_cli.io.metadata import read_metadata

GIVEN = Exposure(1.5)
RAMP = np.stack(np.broadcast_arrays(*np.ogrid[0:64:4, 0:192:4], 40), axis=2).astype(np.uint8)


def exif(orientation=None):
    data = Image.Exif()
    data[271] = "Maker"
    if orientation:
        data[274] = orientation
    data.get_ifd(0x8769)[33434] = IFDRational(1, 50)
    return data


def jpeg(picture=RAMP, **options):
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", **{"quality": 95, "subsampling": 0} | options)
    return buffer.getvalue()


def put(path, data):
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 2}], ids=str)
@pytest.mark.parametrize("size", [(16, 48), (17, 33), (1, 1)])
def test_jpeg_is_decoded_as_pillow_does(tmp_path, options, size):
    picture = np.resize(RAMP, (*size, 3))
    data = jpeg(picture, **options)
    pixels = read_frame(put(tmp_path / "a.jpg", data), GIVEN).pixels
    np.testing.assert_array_equal(pixels, np.asarray(Image.open(BytesIO(data))))


@pytest.mark.parametrize("segment", [b"JFIF\0", b"", b"Exif\0\0", b"ICC_PROFILE\0\1"])
@pytest.mark.parametrize("marker", [0xE0, 0xE1, 0xE2, 0xED])
def test_segments_that_are_too_short(tmp_path, segment, marker):
    data = jpeg(exif=exif(6))
    odd = struct.pack(">BBH", 0xFF, marker, len(segment) + 2) + segment
    path = put(tmp_path / "a.jpg", data[:2] + odd + data[2:])
    assert read_frame(path, GIVEN).pixels.shape == (48, 16, 3) or segment == b"Exif\0\0"
    assert read_frame(path, GIVEN).pixels.size == RAMP.size


def test_junk_between_segments(tmp_path):
    data = jpeg(exif=exif())
    path = put(tmp_path / "a.jpg", data[:20] + b"\xff\xff" + data[20:])
    np.testing.assert_array_equal(
        read_frame(path, GIVEN).pixels, read_frame(put(tmp_path / "b.jpg", data), GIVEN).pixels
    )
    assert read_exposure(path) == Exposure.from_camera(1 / 50)


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=str)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_a_jpeg_that_was_cut_off_is_refused(tmp_path, options, share):
    """The decoder would fill the rest with grey."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    thumbnail = jpeg()  # whose end must not count
    data = exif()
    data[0x9999] = thumbnail
    whole = jpeg(noise, exif=data, **options)
    start = whole.index(b"\xff\xda", whole.index(thumbnail) + len(thumbnail))
    path = put(tmp_path / "a.jpg", whole[: start + round(share * (len(whole) - start))])
    with pytest.raises(InputError, match=r"a\.jpg is damaged or incomplete"):
        read_frame(path)
    assert read_frame(put(path, whole + b"more"), GIVEN).pixels.shape == (64, 64, 3)


ARITHMETIC = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAYEBQYFBAYGBQYHBwYIChAKCgkJChQODwwQFxQYGBcUFhYaHSUfGhsjHBYW"
    "ICwgIyYnKSopGR8tMC0oMCUoKSj/2wBDAQcHBwoIChMKChMoGhYaKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgoKCgo"
    "KCgoKCgoKCgoKCgoKCgoKCgoKCj/yQARCAAIABADAREAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD/ADLV"
    "6Ir0bpn3ltotZ6Mk+STWjFLbo1gX1D8q49EL7rdb3eD/2Q=="
)
"""Red rises to the right by 16 a pixel, green downwards by 32, and blue is 255 minus red."""


def test_arithmetic_coding(tmp_path):
    pixels = read_frame(put(tmp_path / "a.jpg", ARITHMETIC), GIVEN).pixels.astype(int)
    y, x = np.mgrid[0:8, 0:16]
    assert np.abs(pixels - np.stack([x * 16, y * 32, 255 - x * 16], axis=2)).max() <= 8


def test_twelve_bits(tmp_path):
    codes = RAMP.astype(np.uint16) * 21 + 5
    codes[0, 0], codes[0, 1] = 4095, 0
    data = imagecodecs.jpeg8_encode(codes, level=100, bitspersample=12, subsampling="444")
    pixels = read_frame(put(tmp_path / "a.jpg", bytes(data)), GIVEN).pixels
    assert pixels.dtype == np.uint16
    assert np.abs(pixels[8:] / 65535 - codes[8:] / 4095).max() < 0.003


def test_what_jpeg_is_refused(tmp_path):
    cmyk = BytesIO()
    Image.fromarray(RAMP).convert("CMYK").save(cmyk, "JPEG")
    with pytest.raises(InputError, match=r"a\.jpg is a CMYK JPEG; convert it to RGB"):
        read_frame(put(tmp_path / "a.jpg", cmyk.getvalue()))
    hierarchical = jpeg().replace(b"\xff\xc0", b"\xff\xc5")
    with pytest.raises(InputError, match=r"b\.jpg is a hierarchical JPEG"):
        read_frame(put(tmp_path / "b.jpg", hierarchical))
    with pytest.raises(InputError, match=r"c\.jpg is damaged"):
        read_frame(put(tmp_path / "c.jpg", jpeg()[:40]))


def test_of_a_multi_picture_file_the_first_is_taken(tmp_path):
    path = tmp_path / "a.mpo"
    first, second = Image.fromarray(RAMP), Image.fromarray(255 - RAMP)
    first.save(path, save_all=True, append_images=[second], quality=95)
    pixels = read_frame(path, GIVEN).pixels.astype(int)
    assert np.abs(pixels - RAMP).mean() < 4


def test_the_full_picture_of_a_tiff_of_several_is_taken(tmp_path, caplog):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(RAMP[::4, ::4], photometric="rgb", subfiletype=1)
        file.write(RAMP, photometric="rgb", subfiletype=0)
        file.write(255 - RAMP, photometric="rgb", subfiletype=0)
    np.testing.assert_array_equal(read_frame(tmp_path / "a.tif", GIVEN).pixels, RAMP)
    assert "a.tif holds 3 pages; page 2 is used" in caplog.text


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("orientation", [1, 4, 6])
def test_a_compressed_tiff_is_turned_once(tmp_path, dtype, orientation):
    """Two decoders share the work, one of which might turn the picture by itself."""
    codes = RAMP.astype(dtype) * (257 if dtype == np.uint16 else 1)
    tag = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(
        tmp_path / "a.tif", codes, photometric="rgb", compression="lzw", extratags=tag,
        metadata=None,
    )  # fmt: skip
    expected = {1: codes, 4: codes[::-1], 6: np.rot90(codes, -1)}[orientation]
    np.testing.assert_array_equal(read_frame(tmp_path / "a.tif", GIVEN).pixels, expected)


def chunk(kind, content):
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def png(*chunks, picture=RAMP):
    data = bytes(imagecodecs.png_encode(picture))
    return data[:33] + b"".join(chunks) + data[33:]


def large_profile():
    """A proper profile of more than a mebibyte: Adobe RGB with a text behind it."""
    x, y = np.reshape(P3, (4, 2)).T
    xy1 = np.stack([x, y, np.ones(4)], axis=1)
    data = imagecodecs.cms_profile(
        "rgb", whitepoint=xy1[3].tolist(), primaries=xy1[:3].ravel().tolist(), gamma=2.2
    )
    noise = np.random.default_rng(0).integers(0, 255, 1_500_000, np.uint8).tobytes()
    return struct.pack(">I", len(data) + len(noise)) + data[4:] + noise


def test_a_large_profile_is_honoured(tmp_path):
    packed = b"large\0\0" + zlib.compress(large_profile())
    frame = read_frame(put(tmp_path / "a.png", png(chunk(b"iCCP", packed))), GIVEN)
    np.testing.assert_array_equal(frame.pixels, RAMP)
    np.testing.assert_allclose(frame.to_rec709, conversion(P3, REC709), atol=2e-3)


@pytest.mark.parametrize("packed", [b"junk", zlib.compress(bytes(1 << 27)), b""], ids=len)
def test_a_profile_that_cannot_be_unpacked(tmp_path, packed):
    frame = read_frame(put(tmp_path / "a.png", png(chunk(b"iCCP", b"x\0\0" + packed))), GIVEN)
    np.testing.assert_array_equal(frame.pixels, RAMP)
    assert frame.to_rec709 is None


@pytest.mark.parametrize("values", [(0,) * 8, (31270,) * 8, (4_000_000_000,) * 8])
def test_nonsense_for_primaries(tmp_path, caplog, values):
    path = put(tmp_path / "a.png", png(chunk(b"cHRM", struct.pack(">8I", *values))))
    frame = read_frame(path, GIVEN)
    np.testing.assert_array_equal(frame.pixels, RAMP)
    assert frame.to_rec709 is None
    assert "a.png: the primaries that it names are no colours; taken for sRGB." in caplog.text


def test_coded_colours_of_a_png(tmp_path):
    frame = read_frame(put(tmp_path / "a.png", png(chunk(b"cICP", b"\x0c\x0d\0\1"))), GIVEN)
    np.testing.assert_allclose(frame.to_rec709, conversion(P3, REC709), atol=1e-4)
    path = put(tmp_path / "b.png", png(chunk(b"cICP", b"\x09\x10\0\1")))
    with pytest.raises(InputError, match=r"b\.png is an HDR picture already"):
        read_frame(path, GIVEN)


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt", b"eXIf"])
@pytest.mark.parametrize("keyword", [b"Raw profile type exif", b"Raw profile type APP1"])
def test_exif_in_a_png(tmp_path, kind, keyword):
    block = b"Exif\0\0" + exif().tobytes().removeprefix(b"Exif\0\0")
    digits = block.hex().encode()
    lines = b"\n".join(digits[start : start + 72] for start in range(0, len(digits), 72))
    text = b"\nexif\n%8d\n%s\n" % (len(block), lines)
    content = {
        b"tEXt": keyword + b"\0" + text,
        b"zTXt": keyword + b"\0\0" + zlib.compress(text),
        b"iTXt": keyword + b"\0\1\0\0\0" + zlib.compress(text),
        b"eXIf": block[6:],
    }[kind]
    path = put(tmp_path / "a.png", png(chunk(kind, content)))
    assert read_exposure(path) == Exposure.from_camera(1 / 50)
    assert read_metadata(path).main[271] == "Maker"


@pytest.mark.parametrize("options", [{}, {"tile": (16, 16)}, {"rowsperstrip": 16}], ids=str)
def test_a_tiff_whose_codes_jpeg_compressed(tmp_path, options):
    """As luma and colour differences, which the decoder turns to RGB, but not those of others."""
    path = tmp_path / "a.tif"
    picture = np.repeat(np.repeat(RAMP, 4, axis=0), 4, axis=1)
    tifffile.imwrite(path, picture, photometric="rgb", compression="jpeg", **options)
    pixels = read_frame(path, GIVEN).pixels
    with Image.open(path) as image:
        np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB")))
    assert np.abs(pixels.astype(int) - picture).mean() < 8
    tifffile.imwrite(path, picture, photometric="ycbcr")
    with pytest.raises(InputError, match=r"a\.tif is a YCBCR TIFF"):
        read_frame(path, GIVEN)


@pytest.mark.parametrize("compression", ["lzw", "deflate", "zstd", "packbits"])
def test_a_compressed_tiff_that_lacks_one_byte_is_refused(tmp_path, compression):
    """Some decoders fill up the last pixels."""
    noise = np.random.default_rng(0).integers(0, 65535, (32, 32, 3), np.uint16)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise, photometric="rgb", compression=compression, rowsperstrip=4)
    np.testing.assert_array_equal(read_frame(path, GIVEN).pixels, noise)
    put(path, path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"a\.tif ends 1 bytes before its picture does"):
        read_frame(path, GIVEN)


@pytest.mark.parametrize("share", [0.4, 0.8, 0.99])
def test_a_heic_of_tiles_that_was_cut_off_is_refused(tmp_path, monkeypatch, share):
    """Phones write many tiles; the decoder would fill up those that are missing."""
    heif = pytest.importorskip("pillow_heif")
    monkeypatch.setattr(heif.options, "GRID_TILE_SIZE", 64, raising=False)
    noise = np.random.default_rng(0).integers(0, 255, (128, 128, 3), np.uint8)
    path = tmp_path / "a.heic"
    heif.from_pillow(Image.fromarray(noise)).save(path, quality=90)
    data = path.read_bytes()
    if b"grid" not in data:
        pytest.skip("this pillow-heif writes no tiles")
    assert end_of_items(data) == len(data)
    put(path, data + b"more")
    assert read_frame(path, GIVEN).pixels.shape == (128, 128, 3)
    put(path, data[: round(share * len(data))])
    with pytest.raises(InputError, match=r"a\.heic ends \d+ bytes before its picture does"):
        read_frame(path, GIVEN)


def iloc(version, sizes, *items):
    """The table of where the items of a file lie: (in another box, base, extents) of each."""
    _, _, base, index = sizes
    wide = 4 if version == 2 else 2
    table = bytes([version, 0, 0, 0, sizes[0] << 4 | sizes[1], base << 4 | index])
    table += len(items).to_bytes(wide, "big")
    for number, (method, start, extents) in enumerate(items):
        table += number.to_bytes(wide, "big")
        table += method.to_bytes(2, "big") if version else b""
        table += bytes(2) + start.to_bytes(base, "big") + len(extents).to_bytes(2, "big")
        for extent in extents:
            table += bytes(index if version else 0)
            table += b"".join(v.to_bytes(n, "big") for v, n in zip(extent, sizes[:2], strict=True))
    box = struct.pack(">I", len(table) + 8) + b"iloc" + table
    return struct.pack(">I", len(box) + 12) + b"meta" + bytes(4) + box


@pytest.mark.parametrize("version", [0, 1, 2])
@pytest.mark.parametrize("sizes", [(4, 4, 0, 0), (8, 8, 8, 4), (4, 4, 4, 8), (0, 4, 8, 0)])
def test_where_the_items_of_a_file_end(version, sizes):
    base = 1000 * bool(sizes[2])
    first = 70 * bool(sizes[0])
    data = iloc(
        version,
        sizes,
        (0, base, [(first, 5), (first, 30)]),
        (0, 0, []),
        (1, base, [(first, 999)]),
    )
    assert end_of_items(data) == base + first + (999 if version == 0 else 30)


@given(data=st.binary(max_size=60), sizes=st.binary(min_size=2, max_size=2))
def test_any_table_of_items_has_an_end(data, sizes):
    box = bytes([1, 0, 0, 0]) + sizes + b"\xff\xff" + data
    box = struct.pack(">I", len(box) + 8) + b"iloc" + box
    assert end_of_items(struct.pack(">I", len(box) + 12) + b"meta" + bytes(4) + box) >= 0
    assert end_of_items(data) == 0


def heic(path, primaries, transfer):
    heif = pytest.importorskip("pillow_heif")
    file = heif.from_pillow(Image.fromarray(RAMP))
    file.save(
        path,
        quality=-1,
        chroma=444,
        color_primaries=primaries,
        transfer_characteristics=transfer,
        matrix_coefficients=0,
        full_range_flag=1,
    )
    return path


def test_heic_that_leaves_its_colours_open(tmp_path):
    frame = read_frame(heic(tmp_path / "a.heic", 2, 2), GIVEN)
    np.testing.assert_array_equal(frame.pixels, RAMP)
    assert (frame.color_space, frame.to_rec709, frame.linear) == ("sRGB", None, False)


def test_heic_in_other_primaries(tmp_path):
    frame = read_frame(heic(tmp_path / "a.heic", 12, 13), GIVEN)
    np.testing.assert_allclose(frame.to_rec709, conversion(P3, REC709), atol=2e-3)
    with pytest.raises(InputError, match=r"b\.heic is an HDR picture already"):
        read_frame(heic(tmp_path / "b.heic", 9, 16), GIVEN)


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_avif(tmp_path, bits):
    codes = RAMP.astype(np.uint16) << (bits - 8) if bits > 8 else RAMP
    data = imagecodecs.avif_encode(
        codes, level=100, bitspersample=bits, pixelformat="444", primaries=12, transfer=13, matrix=0
    )
    frame = read_frame(put(tmp_path / "a.avif", bytes(data)), GIVEN)
    assert frame.pixels.dtype == (np.uint8 if bits == 8 else np.uint16)
    np.testing.assert_allclose(frame.encoded(), codes / (2**bits - 1), atol=1e-4)
    np.testing.assert_allclose(frame.to_rec709, conversion(P3, REC709), atol=1e-4)


def test_avif_for_hdr_screens_is_refused(tmp_path):
    data = imagecodecs.avif_encode(
        RAMP.astype(np.uint16), bitspersample=10, primaries=9, transfer=16, matrix=9
    )
    with pytest.raises(InputError, match=r"a\.avif is an HDR picture already"):
        read_frame(put(tmp_path / "a.avif", bytes(data)))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("suffix", [".avif", ".webp"])
def test_exif_of_other_formats(tmp_path, suffix, orientation):
    path = tmp_path / f"a{suffix}"
    options = {"quality": 100} if suffix == ".avif" else {"lossless": True}
    Image.fromarray(RAMP).save(path, exif=exif(orientation), **options)
    expected = np.rot90(RAMP, {1: 0, 3: 2, 6: -1, 8: 1}[orientation]).astype(int)
    pixels = read_frame(path).pixels
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).mean() < 2
    assert read_exposure(path) == Exposure.from_camera(1 / 50)
    assert read_metadata(path).main[271] == "Maker"


def test_the_profile_of_a_webp(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(RAMP).save(tmp_path / "a.webp", lossless=True, icc_profile=profile)
    frame = read_frame(tmp_path / "a.webp", GIVEN)
    np.testing.assert_array_equal(frame.pixels, RAMP)
    assert frame.to_rec709 is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("container", [False, True])
def test_jpeg_xl(tmp_path, caplog, dtype, container):
    codes = RAMP.astype(dtype) * (257 if dtype == np.uint16 else 1)
    data = bytes(imagecodecs.jpegxl_encode(codes, lossless=True, usecontainer=container))
    frame = read_frame(put(tmp_path / "a.jxl", data), GIVEN)
    np.testing.assert_array_equal(frame.pixels, codes)
    assert (frame.pixels.dtype, frame.to_rec709) == (dtype, None)
    assert frame.linear == (dtype == np.uint16)  # as imagecodecs marks 16 bits
    assert not caplog.records
    lossy = bytes(imagecodecs.jpegxl_encode(codes, lossless=False, level=97))
    frame = read_frame(put(tmp_path / "b.jxl", lossy), GIVEN)
    assert np.abs(frame.encoded() - codes / np.iinfo(dtype).max).mean() < 0.01


@pytest.mark.parametrize("packed", [False, True])
def test_exif_of_jpeg_xl(tmp_path, packed):
    def box(kind, content):
        return struct.pack(">I", len(content) + 8) + kind + content

    block = bytes(4) + exif().tobytes().removeprefix(b"Exif\0\0")
    if packed:
        held = box(b"brob", b"Exif" + bytes(imagecodecs.brotli_encode(block)))
    else:
        held = box(b"Exif", block)
    picture = bytes(imagecodecs.jpegxl_encode(RAMP, lossless=True, usecontainer=False))
    head = box(b"JXL ", b"\r\n\x87\n") + box(b"ftyp", b"jxl \0\0\0\0jxl ")
    path = put(tmp_path / "a.jxl", head + held + box(b"jxlc", picture))
    assert read_exposure(path) == Exposure.from_camera(1 / 50)
    np.testing.assert_array_equal(read_frame(path).pixels, RAMP)


def bits(*pairs):
    """A codestream's header of (value, count), the lowest bit of each first."""
    total, place = 0, 0
    for value, count in pairs:
        total |= value << place
        place += count
    return b"\xff\x0a" + total.to_bytes(-(-place // 8) + 4, "little")


SIZE = (1, 1), (3, 5), (1, 3)
DEPTH = (0, 1), (0, 2), (1, 1)  # 8-bit integers, which 16 bits hold
MODULAR = (0, 2), (0, 1)  # no more channels, not XYB


@pytest.mark.parametrize(
    ("color", "expected"),
    [
        ([(1, 1)], JxlColor()),
        ([(0, 1), (1, 1)], JxlColor(has_profile=True)),
        (  # RGB, D65, BT.2100, a transfer of a table: PQ
            [(0, 1), (0, 1), (0, 2), (1, 2), (2, 2), (7, 4), (0, 1), (2, 2), (14, 4)],
            JxlColor(REC2020, 16),
        ),
        (  # P3, linear
            [(0, 1), (0, 1), (0, 2), (1, 2), (2, 2), (9, 4), (0, 1), (2, 2), (6, 4)],
            JxlColor(P3, 8),
        ),
        (  # sRGB's primaries, a power
            [(0, 1), (0, 1), (0, 2), (1, 2), (1, 2), (1, 1), (10_000_000, 24)],
            JxlColor(REC709, 0, 1.0),
        ),
    ],
)
def test_colours_of_jpeg_xl(color, expected):
    header = bits(*SIZE, (0, 1), (0, 1), *DEPTH, *MODULAR, *color)
    found = read_color(header)
    np.testing.assert_allclose(found.primaries, expected.primaries)
    assert (found.transfer, found.gamma) == (expected.transfer, expected.gamma)
    assert found.has_profile == expected.has_profile


@pytest.mark.parametrize("size", [(40, 24), (64, 64), (96, 64), (300, 200), (4000, 3000), (7, 5)])
def test_size_of_jpeg_xl(size):
    data = bytes(imagecodecs.jpegxl_encode(np.zeros((size[1], size[0], 3), np.uint8), effort=1))
    assert read_size(jxl_codestream(data)) == size


def test_colours_of_jpeg_xl_that_cannot_be_read():
    for header in (b"", b"\xff\x0a", b"words", bits(*SIZE, (0, 1), (1, 1), (0, 4), (3, 2))):
        with pytest.raises(ValueError, match=r"codestream|cut off|preview"):
            read_color(header)


def test_names_must_be_those_of_the_format(tmp_path):
    webp = bytes(imagecodecs.webp_encode(RAMP))
    with pytest.raises(InputError, match=r"a\.jpg is a WebP file.*rename it to a\.webp"):
        image_format(put(tmp_path / "a.jpg", webp))
    with pytest.raises(InputError, match=r"a\.webp is a JPEG file.*rename it to a\.jpg"):
        image_format(put(tmp_path / "a.webp", jpeg()))
