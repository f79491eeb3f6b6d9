"""EXIF data in raw files that are not quite, or not at all, of the TIFF kind."""

from __future__ import annotations

from typing import BinaryIO

from dfghdr_cli.io.boxes import boxes
from dfghdr_cli.io.jpeg import jpeg_exif

_SEARCHED = 1 << 23
"""Bytes of the start of a file within which makers keep EXIF data."""
_TIFF_BUT_FOR_THE_MARK = (b"IIRO", b"IIRS", b"MMOR", b"IIU\0")
"""Olympus and Panasonic write another number in the place of 42."""
_CANON = b"\x85\xc0\xb6\x87\x82\x0f\x11\xe0\x81\x11\xf4\xce\x46\x2b\x6a\x48"
"""The identifier of the box in which a CR3 keeps its EXIF data, a block a folder."""


def raw_exif(file: BinaryIO) -> list[bytes]:
    """The EXIF blocks of an ORF, RW2, RAF, MRW or CR3 file.

    Args:
        file: the file, from its start.

    Returns:
        One block, beginning with its byte order mark, or three: the first folder, that about the
        exposure, and that about the place, each as the first of a block of its own. Empty where
        the file is of another kind.
    """
    data = file.read(_SEARCHED)
    if data[:4] in _TIFF_BUT_FOR_THE_MARK:
        return [(b"II*\0" if data[:2] == b"II" else b"MM\0*") + data[4:]]
    if data.startswith(b"FUJIFILMCCD-RAW"):
        start = int.from_bytes(data[84:88], "big")  # of a JPEG
        return [block for block in [jpeg_exif(data[start:])] if block]
    if data.startswith(b"\0MRM"):
        return _minolta(data)
    if data[4:12] == b"ftypcrx ":
        return _canon(data)
    return []


def _minolta(data: bytes) -> list[bytes]:
    place = 8
    while place + 8 <= len(data):
        kind, length = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "big")
        if kind == b"\0TTW":
            return [data[place + 8 : place + 8 + length]]
        place += 8 + length
    return []


def _canon(data: bytes) -> list[bytes]:
    for kind, movie in boxes(data):
        if kind != b"moov":
            continue
        for inner, content in boxes(movie):
            if inner == b"uuid" and content.startswith(_CANON):
                found = dict(boxes(content[len(_CANON) :]))
                return [found.get(name, b"") for name in (b"CMT1", b"CMT2", b"CMT4")]
    return []
