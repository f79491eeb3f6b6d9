"""EXIF data in files that tifffile writes, which knows no folders of it and no tags leading there.

The folders go to the end of the file, and the tags are written with the free number before theirs,
which keeps the order of tags.
"""

from __future__ import annotations

import struct
from io import SEEK_END, BytesIO
from typing import Any

from dfghdr_cli.io.metadata import EXIF_IFD, GPS_IFD, Metadata


def exif_tags_of(metadata: Metadata) -> list[tuple[int, str, int, Any, bool]]:
    """The `extratags` for tifffile of what is known of a photograph; then comes `append_exif`."""
    texts = [
        (tag, "s", 0, value, True)
        for tag, value in metadata.main.items()
        if isinstance(value, str) and value.isascii()
    ]
    folders = {EXIF_IFD: metadata.photo, GPS_IFD: metadata.place}
    leading = [(tag - 1, "I", 1, 0, True) for tag, folder in folders.items() if folder]
    return [*texts, *leading]


def append_exif(buffer: BytesIO, metadata: Metadata) -> None:
    """Put the folders of EXIF data into a little-endian TIFF whose tags are of `exif_tags_of`."""
    import tifffile
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    buffer.seek(0)
    with tifffile.TiffFile(buffer) as file:
        entries = {tag.code: (tag.offset, tag.valueoffset) for tag in file.pages.first.tags}
    for tag, folder in {EXIF_IFD: metadata.photo, GPS_IFD: metadata.place}.items():
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
