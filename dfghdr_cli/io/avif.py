"""EXIF data in an AVIF file, which the encoder at hand does not write."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_PICTURE, _EXIF = 1, 2
"""Numbers of the items."""
_HEADER = 8
# The box that says where an item is (8.11.3): its version and the sizes of its numbers, then one
# item: the number of items, its own, where its data is, the number of pieces, a place, a length.
_ILOC = struct.Struct(">6sHHHHII")
_FOUR_BYTES = b"\0\0\0\0\x44\0"


def with_exif(data: bytes, exif: bytes) -> bytes:
    """Put EXIF data into an AVIF file of one picture, as an item that describes the picture.

    Source: ISO/IEC 14496-12, 8.11 (the boxes of metadata), and ISO/IEC 23008-12, A.2.1 (the item).

    Args:
        data: of libavif: the boxes ftyp, meta and mdat, with one item.
        exif: beginning with the byte order mark.

    Returns:
        The same picture with the data.

    Raises:
        ValueError: the file is laid out in another way.
    """
    boxes = list(_boxes(data))
    if [kind for kind, _ in boxes] != [b"ftyp", b"meta", b"mdat"]:
        raise ValueError("the file is not of the boxes ftyp, meta and mdat")
    kind, meta = boxes[1]
    parts = dict(_boxes(meta[4:]))
    if parts.keys() != {b"hdlr", b"pitm", b"iloc", b"iinf", b"iprp"}:
        raise ValueError("the file has more than a picture")
    if len(parts[b"iloc"]) != _ILOC.size or parts[b"iinf"][:6] != bytes(5) + b"\1":
        raise ValueError("the file has more than one item")
    head, count, item, reference, pieces, place, length = _ILOC.unpack(parts[b"iloc"])
    if (head, count, item, reference, pieces) != (_FOUR_BYTES, 1, _PICTURE, 0, 1):
        raise ValueError("the picture is not in one piece")
    payload = bytes(4) + exif  # where the byte order mark is, from here
    entry = _box(b"infe", struct.pack(">B3xHH4sx", 2, _EXIF, 0, b"Exif"))
    link = _box(b"cdsc", struct.pack(">HHH", _EXIF, 1, _PICTURE))

    def built(grown: int) -> bytes:
        """The box of metadata once it has grown by some bytes, which moves all places."""
        end = len(data) + grown + _HEADER
        location = _ILOC.pack(head, 2, item, 0, 1, place + grown, length)
        location += struct.pack(">HHHII", _EXIF, 0, 1, end, len(payload))
        changed = {
            b"iloc": location,
            b"iinf": struct.pack(">4xH", 2) + parts[b"iinf"][6:] + entry,
            b"iprp": parts[b"iprp"],
            b"iref": bytes(4) + link,
        }
        return meta[:4] + b"".join(_box(k, v) for k, v in ({**parts, **changed}).items())

    new = built(len(built(0)) - len(meta))
    others = [_box(*boxes[0]), _box(kind, new), _box(*boxes[2])]
    return b"".join(others) + _box(b"mdat", payload)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The kind and content of each box (ISO/IEC 14496-12, 4.2)."""
    place = 0
    while place < len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        if size < _HEADER or place + size > len(data):
            raise ValueError("a box does not fit in the file")
        yield kind, data[place + _HEADER : place + size]
        place += size


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + _HEADER, kind) + content
