"""HEIC, AVIF and JPEG XL files: what the boxes of their containers and their first bits say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.colour import REC709, REC2020, Chromaticities

LINEAR, PQ, HLG = 8, 16, 18
"""Transfer characteristics (ITU-T H.273, table 3)."""
# ITU-T H.273, table 2; the rest is not found in photographs.
PRIMARIES_OF_CODE: dict[int, Chromaticities] = {
    1: REC709,
    5: (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, 0.3127, 0.3290),
    6: (0.63, 0.34, 0.31, 0.595, 0.155, 0.07, 0.3127, 0.3290),
    9: REC2020,
    11: (0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.314, 0.351),
    12: (0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.3127, 0.3290),
}
_LARGEST_EXIF = 1 << 22
_SEARCHED = 1 << 16
"""Bytes of the start of an AVIF file in which its properties lie."""


@dataclass(frozen=True, slots=True)
class AvifProperties:
    """What the properties of an AVIF picture say.

    Attributes:
        bits: of a sample.
        cicp: code points of primaries and transfer characteristics (ITU-T H.273), or None.
    """

    bits: int
    cicp: tuple[int, int] | None


def avif_properties(data: bytes) -> AvifProperties:
    """Read `av1C` and `colr` (ISO/IEC 14496-12, 12.1.5; AV1-ISOBMFF, 2.3).

    Args:
        data: the file. The first property of each kind counts, which is that of the main picture.
    """
    head = data[:_SEARCHED]
    bits = 8
    place = head.find(b"av1C")
    if place >= 0 and len(head) > place + 6 and head[place + 6] & 0x40:
        bits = 12 if head[place + 6] & 0x20 else 10
    place = head.find(b"colrnclx")
    codes = head[place + 8 : place + 12]
    known = place >= 0 and len(codes) == 4
    cicp = (int.from_bytes(codes[:2], "big"), int.from_bytes(codes[2:], "big")) if known else None
    return AvifProperties(bits, cicp)


def full_range(codes: NDArray[np.uint16], bits: int) -> NDArray[np.uint16]:
    """Codes of `bits` bits as such of 16, white staying white."""
    top = (1 << bits) - 1
    return ((codes.astype(np.uint32) * 65535 + top // 2) // top).astype(np.uint16)


def jxl_exif(data: bytes) -> bytes:
    """The EXIF block of a JPEG XL file, beginning with its byte order mark; empty without one."""
    import imagecodecs

    for kind, content in boxes(data):
        if kind == b"brob" and content[:4] == b"Exif":
            try:
                content = bytes(imagecodecs.brotli_decode(content[4:], out=_LARGEST_EXIF))
            except (RuntimeError, ValueError):
                continue
        elif kind != b"Exif":
            continue
        offset = int.from_bytes(content[:4], "big")  # ISO/IEC 18181-2, 9.8
        return content[4 + offset :].removeprefix(b"Exif\0\0")
    return b""


def jxl_codestream(data: bytes) -> bytes:
    """The first bytes of the picture itself, wherever it lies in the file."""
    if data.startswith(b"\xff\x0a"):
        return data[:256]
    for kind, content in boxes(data):
        if kind in (b"jxlc", b"jxlp"):
            return (content if kind == b"jxlc" else content[4:])[:256]
    return b""


def end_of_items(data: bytes) -> int:
    """Where the last of what a HEIC or AVIF file consists of ends [bytes from its start].

    A photograph lies in such a file as many tiles, and decoders pass over those that are missing.
    Source: the box `iloc` (ISO/IEC 14496-12, 8.11.3).

    Args:
        data: the file; 0 where it does not say.
    """
    meta = next((content[4:] for kind, content in boxes(data) if kind == b"meta"), b"")
    table = BytesIO(next((content for kind, content in boxes(meta) if kind == b"iloc"), b""))

    def number(length: int) -> int:
        return int.from_bytes(table.read(length), "big")

    version = number(4) >> 24
    sizes = number(2)
    of_offset, of_length, of_base, of_index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    of_index = of_index if version else 0
    end = 0
    for _ in range(number(4 if version == 2 else 2)):
        number(4 if version == 2 else 2)  # the item's own number
        method = number(2) & 15 if version else 0
        elsewhere = number(2) or method  # in another file, or in another box
        base = number(of_base)
        extents = number(2)
        for _ in range(extents if of_index + of_offset + of_length else 0):
            number(of_index)
            last = base + number(of_offset) + number(of_length)
            end = end if elsewhere else max(end, last)
        if table.tell() == len(table.getbuffer()):
            break
    return end


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of the boxes of a file or of a box (ISO/IEC 14496-12, 4.2)."""
    place = 0
    while place + 8 <= len(data):
        length, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        head = 8
        if length == 1:
            length, head = int.from_bytes(data[place + 8 : place + 16], "big"), 16
        if length == 0:
            length = len(data) - place
        if length < head:
            return
        yield kind, data[place + head : place + length]
        place += length
