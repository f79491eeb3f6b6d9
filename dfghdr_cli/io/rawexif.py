"""EXIF data in raw files that are not quite, or not at all, of the TIFF kind."""

from __future__ import annotations

import struct
from io import SEEK_END
from typing import BinaryIO

from dfghdr_cli.io.boxes import boxes
from dfghdr_cli.io.jpeg import jpeg_exif

_SEARCHED = 1 << 23
"""Bytes of the start of a file within which makers keep EXIF data."""
_TIFF_BUT_FOR_THE_MARK = (b"IIRO", b"IIRS", b"MMOR", b"IIU\0")
"""Olympus and Panasonic write another number in the place of 42."""
_CANON = b"\x85\xc0\xb6\x87\x82\x0f\x11\xe0\x81\x11\xf4\xce\x46\x2b\x6a\x48"
"""The identifier of the box in which a CR3 keeps its EXIF data, a block a folder."""
_SIGMA_JPEG = (18).to_bytes(4, "little")
_MOST_SECTIONS = 1000


def raw_exif(file: BinaryIO) -> list[bytes]:
    """The EXIF blocks of an ORF, RW2, RAF, MRW, X3F or CR3 file.

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
    if data.startswith(b"FOVb"):
        return _sigma(file)
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


def _sigma(file: BinaryIO) -> list[bytes]:
    """The EXIF data of the first JPEG in an X3F file, whose directory lies at its end.

    Source: Foveon, "X3F raw image file format": the place of the directory in the last four bytes;
    its entries of 12 bytes, from byte 12 on: place, length and kind of a section; a section of a
    picture begins with 28 bytes, of which 12 to 15 are the format of its data.
    """
    end = file.seek(0, SEEK_END)
    directory = _read(file, max(0, end - 4), 4)
    start = int.from_bytes(directory, "little")
    head = _read(file, start, 12)
    count = min(int.from_bytes(head[8:12], "little"), _MOST_SECTIONS)
    entries = _read(file, start + 12, 12 * count) if head.startswith(b"SECd") else b""
    for at in range(0, len(entries) - 11, 12):
        place, length = struct.unpack("<II", entries[at : at + 8])
        if entries[at + 8 : at + 12] not in (b"IMAG", b"IMA2"):
            continue
        section = _read(file, place, min(length, _SEARCHED))
        is_jpeg = section.startswith(b"SECi") and section[12:16] == _SIGMA_JPEG
        if is_jpeg and (block := jpeg_exif(section[28:])):
            return [block]
    return []


def _read(file: BinaryIO, place: int, length: int) -> bytes:
    file.seek(place)
    return file.read(length)
