"""PNG files: what their chunks say beside the picture."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from dfghdr_cli.core.colour import Chromaticities

_LARGEST_PROFILE = 1 << 26
_LARGEST_EXIF = 1 << 22
"""Bytes; what unpacks to more is no profile and no EXIF data."""
_EXIF_PROFILES = (b"Raw profile type exif", b"Raw profile type APP1")
"""Keywords under which ImageMagick keeps EXIF data, as lines of hexadecimal digits."""


@dataclass(slots=True)
class PngHeader:
    """What the chunks before the picture say, and EXIF data wherever it is.

    Attributes:
        width: [pixels].
        height: [pixels].
        bits: of a sample.
        color_type: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA.
        icc_profile: None where there is none, or it cannot be unpacked.
        srgb: whether it says that it is sRGB.
        gamma: of the file, 1.0 for linear light; None where nothing is said.
        primaries: None where nothing is said.
        cicp: code points of primaries and transfer characteristics (ITU-T H.273), or None.
        exif: the EXIF block, beginning with its byte order mark; empty where there is none.
    """

    width: int
    height: int
    bits: int
    color_type: int
    icc_profile: bytes | None = None
    srgb: bool = False
    gamma: float | None = None
    primaries: Chromaticities | None = None
    cicp: tuple[int, int] | None = None
    exif: bytes = b""


def read_png_header(file: BinaryIO) -> PngHeader:
    """Read the chunks of a PNG file (PNG specification, 3rd edition, 11).

    Args:
        file: the file, from its start.

    Raises:
        ValueError: it does not begin with a header chunk.
    """
    header: PngHeader | None = None
    for kind, content in _chunks(file):
        if header is None:
            if kind != b"IHDR" or len(content) < 13:
                break
            header = PngHeader(*struct.unpack_from(">IIBB", content))
        elif kind == b"iCCP":
            _, _, packed = content.partition(b"\0")
            header.icc_profile = _unpacked(packed[1:], _LARGEST_PROFILE)
        elif kind == b"sRGB":
            header.srgb = True
        elif kind == b"gAMA" and len(content) == 4:
            header.gamma = int.from_bytes(content, "big") / 100_000
        elif kind == b"cHRM" and len(content) == 32:
            white_x, white_y, *colors = (v / 100_000 for v in struct.unpack(">8I", content))
            header.primaries = (*colors, white_x, white_y)  # pyright: ignore[reportAttributeAccessIssue]
        elif kind == b"cICP" and len(content) == 4:
            header.cicp = content[0], content[1]
        elif kind == b"eXIf":
            header.exif = content
        elif not header.exif:
            header.exif = _exif_in_text(kind, content)
    if header is None:
        raise ValueError("no header")
    return header


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each chunk, as far as they are whole; without that of the picture."""
    size = file.seek(0, 2)
    place = 8
    while place + 12 <= size:
        file.seek(place)
        length, kind = struct.unpack(">I4s", file.read(8))
        if length > size - place - 12:
            return
        yield kind, b"" if kind == b"IDAT" else file.read(length)
        place += 12 + length


def _unpacked(packed: bytes, limit: int) -> bytes | None:
    try:
        unpacker = zlib.decompressobj()
        content = unpacker.decompress(packed, limit)
    except zlib.error:
        return None
    return content if unpacker.eof else None


def _exif_in_text(kind: bytes, content: bytes) -> bytes:
    keyword, _, text = content.partition(b"\0")
    if kind not in (b"tEXt", b"zTXt", b"iTXt") or keyword not in _EXIF_PROFILES:
        return b""
    if kind == b"zTXt":
        text = _unpacked(text[1:], _LARGEST_EXIF) or b""
    elif kind == b"iTXt":
        packed, text = text[:1] == b"\1", text[2:].split(b"\0", 2)[-1]
        text = (_unpacked(text, _LARGEST_EXIF) or b"") if packed else text
    _, _, digits = text.strip().partition(b"\n")  # the name of the profile,
    _, _, digits = digits.strip().partition(b"\n")  # its length, and then its bytes
    try:
        return bytes.fromhex(digits.decode("ascii")).removeprefix(b"Exif\0\0")
    except ValueError:
        return b""
