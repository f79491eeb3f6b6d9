"""Pictures for screens: JPEG, PNG and TIFF, and Ultra HDR, AVIF and JPEG XL for HDR screens."""

from __future__ import annotations

import logging
import os
import struct
import zlib
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from dfghdr_cli import __version__
from dfghdr_cli.atomic import atomic_write
from dfghdr_cli.choices import DisplayFormat, DisplaySpace
from dfghdr_cli.core.colour import (
    P3,
    PRIMARIES,
    REC709,
    REC2020,
    Chromaticities,
    conversion,
    srgb_decode,
)
from dfghdr_cli.core.tonemapping.hdr_display import HIGHEST, PQ_PEAK, SDR_WHITE, gain_map, pq_encode
from dfghdr_cli.core.types import FloatImage
from dfghdr_cli.errors import OutputError
from dfghdr_cli.io.avif import with_exif
from dfghdr_cli.io.jxl import DEFAULT_WHITE, as_pq, in_container
from dfghdr_cli.io.metadata import OWN_SOFTWARE, Metadata, exif_bytes
from dfghdr_cli.io.names import HDR_FORMATS, display_format
from dfghdr_cli.io.tiff import append_exif, exif_tags_of
from dfghdr_cli.io.ultrahdr import join

# Display light of the 8-bit codes of sRGB and Display P3.
_DECODED = srgb_decode(np.arange(256, dtype=np.float32) / 255)

log = logging.getLogger(__name__)

QUALITY = 92
"""Of lossy formats, unless another is asked for."""

_JPEG_LIMIT = 65500  # pixels a side, of libjpeg (JPEG_MAX_DIMENSION); the format ends at 65535
_AVIF_LIMIT = 32768  # of what libavif, and so a browser, opens (AVIF_DEFAULT_IMAGE_DIMENSION_LIMIT)
_AVIF_SPEED = 8
_JXL_EFFORT = 4
_PNG_LEVEL = 3  # on 16 bits, 6 takes twice as long and saves 1 %
_SEGMENT_LIMIT = 65535 - 2 - 6  # bytes, without the length and "Exif\0\0"


def write_display(
    path: Path, picture: FloatImage, *, overwrite: bool = False, **options: Any
) -> None:
    """Write a picture for screens.

    Args:
        path: the result.
        picture: see `encode_display`.
        overwrite: whether an existing file may be replaced.
        options: those of `encode_display`.

    Raises:
        OutputExistsError: the file exists and `overwrite` is false.
        OutputError: the name suits no format, the picture is too large for it, or the file cannot
            be written.
        ValueError: see `encode_display`.
    """
    data = encode_display(path, picture, **options)
    with atomic_write(path, overwrite) as file:
        file.write(data)


def encode_display(
    path: Path,
    picture: FloatImage,
    *,
    radiance: FloatImage | None = None,
    format: DisplayFormat | None = None,
    space: DisplaySpace = "srgb",
    quality: int = QUALITY,
    bits: Literal[8, 16] | None = None,
    metadata: Metadata | None = None,
) -> bytes:
    """The bytes of a picture for screens, to be written as `path`.

    "jpg" holds 8 bits a channel, without subsampling of the colours; "png" and "tiff" hold 16
    unless 8 are asked for. The profile of `space` is embedded.

    For HDR screens 1.0 of the radiance is 203 cd/m2, the level of diffuse white (ITU-R BT.2408-7),
    and what is brighter than 10000 cd/m2 (49.3) is cut, with a warning in the log. "ultrahdr" is
    the "jpg" with a gain map, from which screens make the radiance as far as they can, and others
    show the picture (ISO 21496-1, and the XMP of Ultra HDR 1.1). "avif" (10 bits, PQ, BT.2020, no
    subsampling) and "jxl" (PQ, BT.2100) hold the radiance alone; the screen's program makes of it
    what an SDR screen shows.

    Args:
        path: the result, for its ending and for messages.
        picture: (H, W, 3) float32 RGB, encoded with the sRGB transfer curve (IEC 61966-2-1), in
            the primaries of `space`; nominally in [0, 1]. What lies outside a screen cannot show:
            it becomes 0 or 1.
        radiance: (H, W, 3) float32 RGB of the same scene, linear, in the primaries of Rec. 709 (so
            that other colours have negative components), 1.0 = SDR white. The formats of
            `HDR_FORMATS` need it; the others ignore it.
        format: one of `DisplayFormat`; None goes by the name.
        space: "srgb", or "p3" for Display P3 (the primaries of SMPTE EG 432-1, white D65, and the
            transfer curve of sRGB).
        quality: of lossy formats, 1 to 100.
        bits: a channel, of "png" and "tiff"; None takes 16.
        metadata: of the photograph it was made from.

    Raises:
        OutputError: the name suits no format, or the picture is too large for it.
        ValueError: a caller's mistake: another shape, values that are not finite, a format that
            needs the radiance without it, or bits that the format does not leave open.
    """
    format = display_format(path, format)
    _check(picture, picture.shape)
    if bits is not None and format not in ("png", "tiff"):
        raise ValueError(f"{format} leaves no choice of bits")
    metadata = metadata or Metadata()
    if format in HDR_FORMATS:
        if radiance is None:
            raise ValueError(f"{format} needs the radiance")
        _check(radiance, picture.shape)
        _warn_of_brighter(radiance, path)
        exif = exif_bytes(metadata, is_srgb=False)
        if format == "avif":
            return _encode_avif(radiance, path, quality, exif)
        if format == "jxl":
            return _encode_jxl(radiance, quality, exif)
    profile = icc_profile(space)
    exif = exif_bytes(metadata, is_srgb=space == "srgb")
    if format == "tiff":
        return _encode_tiff(_codes(picture, bits or 16), profile, metadata)
    if format == "png":
        return _encode_png(_codes(picture, bits or 16), profile, exif)
    codes = _codes(picture, 8)
    base = _encode_jpeg(codes, path, quality, profile, exif)
    if format == "jpg":
        return base
    assert radiance is not None
    return _encode_ultrahdr(base, codes, radiance, space, path, quality)


def _check(pixels: FloatImage, shape: tuple[int, ...]) -> None:
    if pixels.shape != shape or len(shape) != 3 or shape[2] != 3 or not pixels.size:
        raise ValueError(f"expected (H, W, 3) pixels of one size, not {pixels.shape}")
    if not np.isfinite(pixels).all():
        raise ValueError("expected finite pixels")


def _warn_of_brighter(radiance: FloatImage, path: Path) -> None:
    brighter = int(np.count_nonzero((radiance > HIGHEST).any(axis=2)))
    if brighter:
        log.warning(
            "%s: %d pixels are brighter than %g cd/m2 and were set to that; "
            "a lower exposure keeps them.",
            path,
            brighter,
            PQ_PEAK,
        )


def _converted(radiance: FloatImage, target: Chromaticities) -> FloatImage:
    """Linear Rec. 709 in other primaries."""
    if target == REC709:
        return radiance
    matrix = conversion(REC709, target).astype(np.float32)
    return radiance @ matrix.T


def _codes(picture: FloatImage, bits: int) -> NDArray[np.unsignedinteger]:
    top, kind = 2**bits - 1, cv2.CV_8U if bits == 8 else cv2.CV_16U
    # Rounds, and clips at 0 and top.
    codes = cv2.multiply(picture, float(top), dtype=kind)  # pyright: ignore
    return np.asarray(codes, np.uint8 if bits == 8 else np.uint16)


def _encode_jpeg(
    codes: NDArray[np.unsignedinteger],
    path: Path,
    quality: int,
    profile: bytes = b"",
    exif: bytes = b"",
) -> bytes:
    from PIL import Image

    if max(codes.shape) > _JPEG_LIMIT:
        raise OutputError(
            f"{path} cannot hold {codes.shape[1]}x{codes.shape[0]} pixels, as JPEG ends at "
            f"{_JPEG_LIMIT} a side; write .png or .tif."
        )
    extra = {"icc_profile": profile} if profile else {}
    if len(exif) > _SEGMENT_LIMIT:
        log.warning("%s: the EXIF data of the photograph is too long for a JPEG.", path)
        exif = exif_bytes(Metadata(), is_srgb=False)
    if exif:
        extra["exif"] = b"Exif\0\0" + exif
    buffer = BytesIO()
    image = Image.fromarray(codes)
    image.save(buffer, "JPEG", quality=quality, subsampling=0, **extra)
    return buffer.getvalue()


def _encode_png(codes: NDArray[np.unsignedinteger], profile: bytes, exif: bytes) -> bytes:
    # Pillow writes no 16-bit colour, and OpenCV neither profile nor EXIF data: these chunks go
    # right behind the header chunk (PNG specification, 3rd edition, 5.3, 11.3.2.3 and 11.3.4.4).
    level = [cv2.IMWRITE_PNG_COMPRESSION, _PNG_LEVEL]
    data = cv2.imencode(".png", cv2.cvtColor(codes, cv2.COLOR_RGB2BGR), level)[1].tobytes()
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
        software=f"{OWN_SOFTWARE}{__version__}",
        extratags=exif_tags_of(metadata),
    )
    append_exif(buffer, metadata)
    return buffer.getvalue()


def _encode_ultrahdr(
    base: bytes,
    codes: NDArray[np.unsignedinteger],
    radiance: FloatImage,
    space: DisplaySpace,
    path: Path,
    quality: int,
) -> bytes:
    shown = _DECODED[codes]
    gain = gain_map(shown, _converted(radiance, PRIMARIES[space]))
    return join(base, _encode_jpeg(gain.values, path, quality), gain)


def _encode_avif(radiance: FloatImage, path: Path, quality: int, exif: bytes) -> bytes:
    import imagecodecs

    # 9, 16 and 9 are BT.2020, PQ and BT.2020 with constant luminance not held (ITU-T H.273).
    if max(radiance.shape) > _AVIF_LIMIT:
        raise OutputError(
            f"{path} cannot hold {radiance.shape[1]}x{radiance.shape[0]} pixels, as AVIF ends at "
            f"{_AVIF_LIMIT} a side; write .jxl."
        )
    encoded = imagecodecs.avif_encode(
        _pq_codes(radiance, 10),
        level=min(quality, 99),  # 100 is lossless and drops the matrix
        speed=_AVIF_SPEED,
        bitspersample=10,
        pixelformat=imagecodecs.AVIF.PIXEL_FORMAT.YUV444,  # its name differs between versions
        primaries=9,
        transfer=16,
        matrix=9,
        numthreads=os.cpu_count(),
    )
    return with_exif(bytes(encoded), exif)


def _encode_jxl(radiance: FloatImage, quality: int, exif: bytes) -> bytes:
    import imagecodecs

    top = np.float32(PQ_PEAK / DEFAULT_WHITE)
    pixels = np.minimum(radiance * np.float32(SDR_WHITE / DEFAULT_WHITE), top)
    codestream = bytes(
        imagecodecs.jpegxl_encode(
            pixels, level=quality, effort=_JXL_EFFORT, lossless=False, usecontainer=False
        )
    )
    marked = as_pq(codestream)
    return in_container(marked, exif)


def _pq_codes(radiance: FloatImage, bits: int) -> NDArray[np.uint16]:
    """Full-range PQ codes of linear Rec. 709, in the primaries of BT.2020; by strips of rows."""
    codes = np.empty(radiance.shape, np.uint16)
    rows = max(1, 2**20 // radiance.shape[1])
    for start in range(0, len(radiance), rows):
        strip = _converted(radiance[start : start + rows], REC2020) * np.float32(SDR_WHITE)
        code = pq_encode(strip)
        codes[start : start + rows] = np.rint(code * np.float32(2**bits - 1))
    return codes


@cache
def icc_profile(space: DisplaySpace) -> bytes:
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
