"""JPEG files: what their segments say before and beside the picture, and whether they are whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MARKER = re.compile(rb"\xff[^\x00\xff]")
_SEGMENT_END = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
"""A marker behind entropy-coded data, in which FF is followed by 0 or a restart marker."""
_LOST = bytes(512)
"""What a sector of a card is read as that was never written, or cannot be read."""
_OTHER = (b"\xaa\xaa\xaa\xaa", b"\x55\x55\x55\x55", b"\xd3\x12\x9c\x77")
"""What the last bytes of a scan are replaced by to see whether they count: of one alone, pixels
that are beyond white or black may not tell."""
_MANY = 512
"""Times that all these are put behind it, to see whether more counts."""
MOST_SCANS = 100
"""Of a picture that is decoded: libjpeg writes ten; each takes as long as the whole picture."""
_NO_FRAMES = (0xC4, 0xC8, 0xCC)
_DIFFERENTIAL = (0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF)
_EXIF, _ICC = b"Exif\0\0", b"ICC_PROFILE\0"


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """What comes before the first scan.

    Attributes:
        width: [pixels].
        height: [pixels].
        bits: of a sample.
        components: 1 for grey, 3 for colour, 4 for CMYK.
        hierarchical: whether it is made of pictures of growing size, which nobody reads.
        exif: the EXIF block, beginning with its byte order mark; empty where there is none.
        icc_profile: None where there is none, or not all of it.
        scans: where the first scan starts.
    """

    width: int
    height: int
    bits: int
    components: int
    hierarchical: bool
    exif: bytes
    icc_profile: bytes | None
    scans: int


def read_jpeg_header(data: bytes) -> JpegHeader:
    """Read the segments up to the first scan.

    Sources: ITU-T T.81, annex B; ICC.1:2022, B.4; Exif 2.32, 4.7. Application segments that are
    too short for what they should hold are skipped.

    Args:
        data: the file.

    Raises:
        ValueError: there is no frame before the first scan, or the file ends there.
    """
    frame: bytes | None = None
    code, exif = 0, b""
    profile: dict[int, bytes] = {}
    parts = 0
    for marker, start, end in _segments(data):
        content = data[start:end]
        if marker == 0xE1 and content.startswith(_EXIF) and not exif:
            exif = content[len(_EXIF) :]
        elif marker == 0xE2 and content.startswith(_ICC) and len(content) > 14:
            number, parts = content[12:14]
            profile[number] = content[14:]
        elif 0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES and len(content) >= 6:
            code, frame = marker, content
        elif marker == 0xDA:
            if frame is None:
                break
            whole = profile.keys() >= set(range(1, parts + 1))
            return JpegHeader(
                int.from_bytes(frame[3:5], "big"),
                int.from_bytes(frame[1:3], "big"),
                frame[0],
                frame[5],
                code in _DIFFERENTIAL,
                exif,
                b"".join(profile[k] for k in sorted(profile)) if profile and whole else None,
                end,
            )
    raise ValueError("no picture in it")


def jpeg_exif(data: bytes) -> bytes:
    """The EXIF block of a JPEG file, beginning with its byte order mark; empty where there is none.

    Args:
        data: the file, or as much of it as holds the block.
    """
    for marker, start, end in _segments(data):
        if marker == 0xE1 and data[start:end].startswith(_EXIF):
            return data[start + len(_EXIF) : end]
    return b""


def scans_of(data: bytes, header: JpegHeader) -> tuple[list[slice], bool]:
    """Where the entropy-coded data of each scan is, and whether the picture's end marker is there.

    A progressive picture goes over its pixels several times. Decoders fill up what is missing with
    grey; what comes after the end does not matter.
    """
    scans: list[slice] = []
    start = place = header.scans
    while found := _SEGMENT_END.search(data, place):
        if start is not None:
            scans.append(slice(start, found.start()))
        if found[1] == b"\xd9":
            return scans, True
        length = int.from_bytes(data[found.end() : found.end() + 2], "big")
        place = found.end() + max(length, 2)  # tables and the head of the next scan
        start = place if found[1] == b"\xda" else None
    return scans, False


def is_decoded_to_its_end(
    data: bytes, scans: Sequence[slice], decode: Callable[[bytes], NDArray[Any]]
) -> bool:
    """Whether bytes that look lost, many zeros one after the other, are a part of the picture.

    What a damaged card or a broken copy leaves out is often read as zeros. They decode as
    something, and all behind them in the wrong place, without an error. But then the pixels end
    before the data does, or after it: no other last byte makes another picture, or more bytes do.
    Zeros of a flat picture are decoded to their end. Of several scans the first with such zeros
    is looked at, as each look takes five times as long as to decode the picture.

    Args:
        data: the file.
        scans: what `scans_of` found.
        decode: how to decode a file.
    """
    found = ((scan, data.find(_LOST, scan.start, scan.stop)) for scan in scans)
    scan, place = next(((scan, place) for scan, place in found if place >= 0), (None, 0))
    if scan is None:
        return True
    marker = _MARKER.search(data, place, scan.stop)  # the next restart, if there are any
    end = marker.start() if marker else scan.stop
    if not data[place:end].strip(b"\0"):
        return True  # filled up to its end, or black there
    picture = decode(data)
    ends = (data[: end - len(one)] + one for one in _OTHER)
    last_count = any(not np.array_equal(decode(e + data[end:]), picture) for e in ends)
    more = decode(data[:end] + b"".join(_OTHER) * _MANY + data[end:])
    return last_count and np.array_equal(more, picture)


def _segments(data: bytes) -> list[tuple[int, int, int]]:
    """Marker, start and end of the content of each segment, up to the head of the first scan."""
    found: list[tuple[int, int, int]] = []
    place = 2
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            place += 1  # junk between segments, as libjpeg skips it
            continue
        marker = data[place + 1]
        if marker in (0x00, 0x01, 0xD8, 0xFF) or 0xD0 <= marker <= 0xD7:  # without content, or fill
            place += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        end = place + 2 + length
        if marker == 0xD9 or length < 2 or end > len(data):
            break
        found.append((marker, place + 4, end))
        if marker == 0xDA:
            break
        place = end
    return found
