"""Pictures for screens: JPEG, PNG and TIFF with the colour profile in the file."""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Sequence
from functools import cache
from io import SEEK_END, BytesIO
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dfghdr_cli import __version__
from dfghdr_cli.core.colour import P3, REC709, Chromaticities, Space, conversion
from dfghdr_cli.core.types import FloatImage
from dfghdr_cli.errors import OutputError
from dfghdr_cli.io.atomic import atomic_write
from dfghdr_cli.io.metadata import EXIF_IFD, GPS_IFD, Metadata, exif_bytes

logger = logging.getLogger(__name__)

DisplayFormat = Literal["jpg", "png", "tiff"]

JPEG_QUALITY = 92

_BY_SUFFIX: dict[str, DisplayFormat] = {
    ".jpg": "jpg",
    ".jpeg": "jpg",
    ".png": "png",
    ".tif": "tiff",
    ".tiff": "tiff",
}
_SUFFIXES: dict[DisplayFormat, Sequence[str]] = {
    name: tuple(suffix for suffix, other in _BY_SUFFIX.items() if other == name)
    for name in get_args(DisplayFormat)
}
_JPEG_LIMIT = 65535  # pixels a side
_SEGMENT_LIMIT = 65535 - 2 - 6  # bytes, without the length and "Exif\0\0"


def display_format(path: Path, format: DisplayFormat | None = None) -> DisplayFormat:
    """The format that a file gets: the one asked for, or else what the name ends in.

    Args:
        path: the result.
        format: one of `DisplayFormat`, or None.

    Raises:
        OutputError: the name ends in nothing known, or in what another format is called.
    """
    suffix = path.suffix.lower()
    found = _BY_SUFFIX.get(suffix)
    if format is None:
        if found is None:
            known = ", ".join(_BY_SUFFIX)
            raise OutputError(f"{path} names no display format; end it in one of {known}.")
        return found
    if suffix not in _SUFFIXES[format]:
        raise OutputError(
            f"{path} does not end like a {format} file; call it {path.stem}{_SUFFIXES[format][0]}."
        )
    return format


def write_display(
    path: Path,
    picture: FloatImage,
    *,
    format: DisplayFormat | None = None,
    space: Space = "srgb",
    quality: int = JPEG_QUALITY,
    bits: Literal[8, 16] | None = None,
    metadata: Metadata | None = None,
    overwrite: bool = False,
) -> None:
    """Write a picture for screens; see `encode_display`.

    Args:
        path: the result.
        picture: see `encode_display`.
        format: None goes by the name.
        space: see `encode_display`.
        quality: see `encode_display`.
        bits: see `encode_display`.
        metadata: see `encode_display`.
        overwrite: whether an existing file may be replaced.

    Raises:
        OutputExistsError: the file exists and `overwrite` is false.
        OutputError: the name suits no format, the picture is too large for it, or the file cannot
            be written.
        ValueError: see `encode_display`.
    """
    data = encode_display(
        path, picture, format=format, space=space, quality=quality, bits=bits, metadata=metadata
    )
    with atomic_write(path, overwrite) as file:
        file.write(data)


def encode_display(
    path: Path,
    picture: FloatImage,
    *,
    format: DisplayFormat | None = None,
    space: Space = "srgb",
    quality: int = JPEG_QUALITY,
    bits: Literal[8, 16] | None = None,
    metadata: Metadata | None = None,
) -> bytes:
    """The bytes of a picture for screens, to be written as `path`.

    "jpg" holds 8 bits a channel, without subsampling of the colours; "png" and "tiff" hold 16
    unless 8 are asked for. The profile of `space` is embedded.

    Args:
        path: the result, for its ending and for messages.
        picture: (H, W, 3) float32 RGB, encoded with the sRGB transfer curve (IEC 61966-2-1), in
            the primaries of `space`; nominally in [0, 1]. What lies outside a screen cannot show:
            it becomes 0 or 1.
        format: one of `DisplayFormat`; None goes by the name.
        space: "srgb", or "p3" for Display P3 (the primaries of SMPTE EG 432-1, white D65, and the
            transfer curve of sRGB).
        quality: of lossy formats, 1 to 100.
        bits: a channel, where the format leaves a choice; None takes the most.
        metadata: of the photograph it was made from.

    Raises:
        OutputError: the name suits no format, or the picture is too large for it.
        ValueError: a caller's mistake: another shape, values that are not finite, or bits that
            the format cannot hold.
    """
    format = display_format(path, format)
    if picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise ValueError(f"expected (H, W, 3) pixels, not {picture.shape}")
    if not np.isfinite(picture).all():
        raise ValueError("expected finite pixels")
    profile = icc_profile(space)
    metadata = metadata or Metadata()
    exif = exif_bytes(metadata, is_srgb=space == "srgb")
    if format == "jpg":
        if bits == 16:
            raise ValueError("JPEG holds 8 bits a channel, not 16")
        return _encode_jpeg(_codes(picture, 8), path, quality, profile, exif)
    codes = _codes(picture, bits or 16)
    if format == "png":
        return _encode_png(codes, profile, exif)
    return _encode_tiff(codes, profile, metadata)


def _codes(picture: FloatImage, bits: int) -> NDArray[np.unsignedinteger]:
    top = 2**bits - 1
    codes = np.clip(picture, 0, 1)
    codes *= np.float32(top)
    np.rint(codes, out=codes)
    return codes.astype(np.uint8 if bits == 8 else np.uint16)


def _encode_jpeg(
    codes: NDArray[np.unsignedinteger], path: Path, quality: int, profile: bytes, exif: bytes
) -> bytes:
    from PIL import Image

    if max(codes.shape) > _JPEG_LIMIT:
        raise OutputError(
            f"{path} cannot hold {codes.shape[1]}x{codes.shape[0]} pixels, as JPEG ends at "
            f"{_JPEG_LIMIT} a side; write .png or .tif."
        )
    extra = {}
    if len(exif) > _SEGMENT_LIMIT:
        logger.warning("%s: the EXIF data of the photograph is too long for a JPEG.", path)
    elif exif:
        extra["exif"] = b"Exif\0\0" + exif
    buffer = BytesIO()
    image = Image.fromarray(codes)
    image.save(buffer, "JPEG", quality=quality, subsampling=0, icc_profile=profile, **extra)
    return buffer.getvalue()


def _encode_png(codes: NDArray[np.unsignedinteger], profile: bytes, exif: bytes) -> bytes:
    import imagecodecs

    # Pillow writes no 16-bit colour, and imagecodecs neither profile nor EXIF data: these chunks go
    # right behind the header chunk (PNG specification, 3rd edition, 5.3, 11.3.2.3 and 11.3.4.4).
    data = bytes(imagecodecs.png_encode(codes))
    end_of_header = 8 + 12 + 13  # signature; length, type and checksum of a chunk; IHDR
    chunks = _png_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile))
    if exif:
        chunks += _png_chunk(b"eXIf", exif)
    return data[:end_of_header] + chunks + data[end_of_header:]


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def _encode_tiff(codes: NDArray[np.unsignedinteger], profile: bytes, metadata: Metadata) -> bytes:
    import tifffile
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    # tifffile writes no folders of EXIF data and no tags that lead to them: the folders go to the
    # end, and the tags are written with the free number before theirs, which keeps the order.
    folders = {EXIF_IFD: metadata.photo, GPS_IFD: metadata.place}
    extra = [
        (tag, "s", 0, value, True)
        for tag, value in metadata.main.items()
        if isinstance(value, str) and value.isascii()
    ]
    extra += [(tag - 1, "I", 1, 0, True) for tag, folder in folders.items() if folder]
    buffer = BytesIO()
    tifffile.imwrite(
        buffer,
        codes,
        byteorder="<",
        photometric="rgb",
        compression="deflate",
        predictor=True,
        rowsperstrip=max(1, 2**20 // codes[0].nbytes),
        iccprofile=profile,
        metadata=None,
        software=f"dfghdr {__version__}",
        extratags=extra,
    )
    buffer.seek(0)
    with tifffile.TiffFile(buffer) as file:
        entries = {tag.code: (tag.offset, tag.valueoffset) for tag in file.pages.first.tags}
    for tag, folder in folders.items():
        if not folder:
            continue
        end = buffer.seek(0, SEEK_END)
        start = end + end % 2
        directory = ImageFileDirectory_v2(b"II*\0\x08\0\0\0", group=tag)
        for key, value in folder.items():
            directory[key] = value
        buffer.write(bytes(start - end) + directory.tobytes(start))
        entry, value_place = entries[tag - 1]
        buffer.seek(entry)
        buffer.write(struct.pack("<H", tag))
        buffer.seek(value_place)
        buffer.write(struct.pack("<I", start))
    return buffer.getvalue()


@cache
def icc_profile(space: Space) -> bytes:
    """The ICC profile of sRGB, by LittleCMS, or of Display P3, which is that with other primaries.

    The bytes depend on `space` alone, so that the same picture gives the same file.

    Raises:
        ValueError: another space.
    """
    from PIL import ImageCms

    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = bytearray(srgb)
    # Bytes 24 to 35 hold the moment of creation (ICC.1:2022, 7.2.1), here 2000-01-01.
    profile[24:36] = b"\x07\xd0\x00\x01\x00\x01" + bytes(6)
    if space == "p3":
        _replace_primaries(profile, P3, "Display P3")
    elif space != "srgb":
        raise ValueError(f"{space!r} is neither 'srgb' nor 'p3'")
    return bytes(profile)


def _replace_primaries(profile: bytearray, primaries: Chromaticities, name: str) -> None:
    """Change the colorants, chromaticities and name of an sRGB profile, in place (ICC.1:2022, 9.2).

    Args:
        profile: as LittleCMS writes it: each tag on its own but for the shared curves.
        primaries: the new ones, of the same white.
        name: at most as long as the old one.
    """
    count = int.from_bytes(profile[128:132], "big")
    tags = {
        bytes(tag): offset
        for tag, offset, _ in struct.iter_unpack(">4sII", profile[132 : 132 + 12 * count])
    }
    colorants = [tags[tag] + 8 for tag in (b"rXYZ", b"gXYZ", b"bXYZ")]
    old = np.array([struct.unpack_from(">3i", profile, offset) for offset in colorants]).T / 65536
    for offset, column in zip(colorants, (old @ conversion(primaries, REC709)).T, strict=True):
        struct.pack_into(">3i", profile, offset, *np.rint(column * 65536).astype(int))
    fixed = np.rint(np.array(primaries[:6]) * 65536).astype(int)
    struct.pack_into(">6I", profile, tags[b"chrm"] + 12, *fixed)
    text = name.encode("utf-16-be")
    description = tags[b"desc"]  # a text of one language: its length and where it starts
    _, start = struct.unpack_from(">II", profile, description + 20)
    struct.pack_into(">I", profile, description + 20, len(text))
    profile[description + start : description + start + len(text)] = text
