"""Radiance pictures (.hdr, .pic): headers of any length, both encodings, every orientation."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from dfghdr_cli.core.types import FloatImage
from dfghdr_cli.errors import InputError, refuse_if_out_of_memory
from dfghdr_cli.limits import ensure_pixels

_LONGEST_HEADER = 1 << 20
"""Bytes; programs add a line at every step, so that some kilobytes are not rare."""
_RESOLUTION = re.compile(rb"([-+])([XY])\s+(\d{1,9})\s+([-+])([XY])\s+(\d{1,9})\s*\Z")
_XYZ_PRIMARIES = "1 0 0 1 0 0 0.333333 0.333333"
"""XYZ itself as primaries: equal parts of it are white."""


def decode_hdr(path: Path) -> tuple[FloatImage, dict[str, str]]:
    """Read a Radiance picture, its first line of pixels at the top and its columns left to right.

    Source: G. Ward, "Radiance File Formats", section "Picture File Format (.hdr suffix)".

    Args:
        path: the file.

    Returns:
        (H, W, 3) float32 as stored: an EXPOSURE line is not applied; RGB, or XYZ where the format
        is XYZE. And the header: name to text, with PRIMARIES saying so in the latter case.

    Raises:
        InputError: the file is damaged, or no Radiance picture of these two formats.
    """
    data = path.read_bytes()
    header, start = _header(data, path)
    kind = header.get("FORMAT", "32-bit_rle_rgbe").removeprefix("32-bit_rle_")
    if kind not in ("rgbe", "xyze"):
        raise InputError(f"{path} has the unknown format {header['FORMAT']!r}; export it as RGBE.")
    if kind == "xyze":
        header["PRIMARIES"] = _XYZ_PRIMARIES
    end = data.find(b"\n", start, start + 64)
    sides = _RESOLUTION.match(data[start:end].strip()) if end >= 0 else None
    if sides is None or sides[2] == sides[5]:
        raise _damaged(path)
    signs = {sides[2]: sides[1], sides[5]: sides[4]}
    lines, length = int(sides[3]), int(sides[6])
    ensure_pixels(path, length, lines)
    pixels = _decode_lines(data, end + 1, lines, length)
    if pixels is None:
        raise _damaged(path)
    if sides[2] == b"X":  # its lines are columns
        pixels = pixels.transpose(1, 0, 2)
    if signs[b"Y"] == b"+":
        pixels = pixels[::-1]
    if signs[b"X"] == b"-":
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels), header


def _header(data: bytes, path: Path) -> tuple[dict[str, str], int]:
    """The lines up to the empty one, and where the next line starts."""
    header: dict[str, str] = {}
    place = 0
    while place < _LONGEST_HEADER:
        end = data.find(b"\n", place)
        if end < 0:
            break
        line = data[place:end].decode("utf-8", "replace").strip()
        place = end + 1
        if not line:
            return header, place
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            header[name.strip()] = value.strip()
    raise _damaged(path)


def _decode_lines(data: bytes, start: int, lines: int, length: int) -> FloatImage | None:
    """(lines, length, 3) float32; None where the data are not all there."""
    import imagecodecs

    # A run has 127 pixels at most and takes 2 bytes, in each of 4 planes, behind 4 bytes a line.
    least = lines * (4 + 8 * -(-length // 127))
    if not lines or not length or len(data) - start < min(least, 4 * lines * length):
        return None
    pixels = np.empty((lines, length, 3), np.float32)
    try:
        imagecodecs.rgbe_decode(data[start:], header=False, rle=True, out=pixels)
    except (RuntimeError, ValueError) as error:
        refuse_if_out_of_memory(error, "a Radiance picture")
        return None
    return pixels


def _damaged(path: Path) -> InputError:
    return InputError(f"{path} is damaged or no Radiance picture; copy or export it again.")
