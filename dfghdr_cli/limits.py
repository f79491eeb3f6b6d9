"""How much a file may unpack to, told from its header before anything is unpacked."""

from __future__ import annotations

import math
import os
import sys
import zipfile
from pathlib import Path

from dfghdr_cli.errors import DeviceError, InputError

MAX_PIXELS_VARIABLE = "DFGHDR_MAX_PIXELS"
"""What --max-pixels sets: a variable, so that the processes that help in training have it, too."""

ALWAYS_TAKEN = 16_000_000
"""Pixels that a file of any size may have: to read, show or merge them takes 2 GiB at most."""
PIXELS_PER_BYTE = 100
"""Of 102 JPEGs of real brackets, the darkest have 24 pixels a byte; one colour all over makes 172
(half floats, deflated) and more, whatever the format."""
MOST_PIXELS = 500_000_000
_BYTES_PER_PIXEL = 24
"""Three floats and as much again: the least that a picture takes until it is of use."""
_SMALL_ARCHIVE = 64 << 20
_MOST_UNPACKED = 8
"""Times the size of an archive of weights; floats hardly become smaller."""


def ensure_pixels(path: Path, width: int, height: int) -> None:
    """Refuse a picture whose header promises more pixels than its file or the memory can hold.

    Args:
        path: the file.
        width: of what is decoded at once [pixels].
        height: likewise.

    Raises:
        InputError: there are more than `ALWAYS_TAKEN` pixels and more than `PIXELS_PER_BYTE` for
            each byte of the file, or more than `MOST_PIXELS`, or than --max-pixels allows, which
            replaces these limits.
        DeviceError: they do not fit in memory.
    """
    pixels = width * height
    allowed = allowed_pixels()
    if allowed is not None:
        if pixels > allowed:
            raise InputError(
                f"{path} has {width}x{height} pixels, more than --max-pixels allows; make it "
                "smaller, or allow more."
            )
        return
    if pixels <= ALWAYS_TAKEN:
        return
    if pixels > MOST_PIXELS:
        raise InputError(
            f"{path} has {width}x{height} pixels, more than {MOST_PIXELS // 1_000_000} "
            "megapixels; make it smaller, or allow them by --max-pixels."
        )
    size = path.stat().st_size
    if pixels > PIXELS_PER_BYTE * size:
        raise InputError(
            f"{path} promises {width}x{height} pixels in {size} bytes, which no photograph fits "
            "in, so it is damaged or incomplete; copy it again, or allow them by --max-pixels."
        )
    memory = available_memory()
    if memory is not None and _BYTES_PER_PIXEL * pixels > memory:
        raise DeviceError(
            f"{path} has {width}x{height} pixels, for which there is not enough memory; close "
            "other programs or make it smaller."
        )


def allowed_pixels() -> int | None:
    """What --max-pixels allows; None where it was not given."""
    text = os.environ.get(MAX_PIXELS_VARIABLE, "")
    return int(text) if text.isdecimal() else None


def parse_pixels(text: str) -> int:
    """Read a number of pixels such as 600000000 or 600M.

    Raises:
        ValueError: it is none.
    """
    factor = 1_000_000 if text[-1:] in ("M", "m") else 1
    number = text[:-1] if factor > 1 else text
    if not (number.isascii() and number.isdecimal() and 0 < int(number) < 10**9):
        raise ValueError(f"{text!r} is no number of pixels such as 600M")
    return int(number) * factor


def parse_memory(text: str) -> int:
    """Bytes of "800M" or "1.5G": K, M, G and T are powers of 1024, with or without B or iB.

    A number alone counts bytes.

    Raises:
        ValueError: it is no such thing, or less than a byte.
    """
    digits = text.strip().upper().removesuffix("B").removesuffix("I")
    power = "KMGT".find(digits[-1:]) + 1 if digits else 0
    try:
        size = float(digits[:-1] if power else digits) * 1024.0**power
    except ValueError:
        size = math.nan
    if not 1 <= size < math.inf:
        raise ValueError(f"{text!r} is no amount of memory such as 800M or 1.5G")
    return int(size)


def ensure_unpacked_size(path: Path) -> None:
    """Refuse a zip archive (.npz, .pth) whose members are far larger than it is.

    Raises:
        ValueError: it is such an archive.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    size = path.stat().st_size
    if unpacked > max(_SMALL_ARCHIVE, _MOST_UNPACKED * size):
        raise ValueError(f"its {size} bytes would unpack to {unpacked}, which are no weights")


def available_memory() -> int | None:
    """Memory that this process may still take [bytes]; None where the system does not say.

    The least of what Linux has left, what a container may use, and a limit of the process's own.
    """
    if sys.platform != "linux":
        return None
    found = [_entry("/proc/meminfo", "MemAvailable:")]
    limit, used = (_number(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    if limit is not None and used is not None:
        found.append(limit - used)
    import resource

    most = resource.getrlimit(resource.RLIMIT_AS)[0]
    held = _entry("/proc/self/status", "VmSize:")
    if most != resource.RLIM_INFINITY and held is not None:
        found.append(most - held)
    return min((value for value in found if value is not None), default=None)


def _entry(path: str, name: str) -> int | None:
    """A line of /proc [bytes]."""
    try:
        lines = Path(path).read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(name)), None)


def _number(path: str) -> int | None:
    try:
        text = Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
