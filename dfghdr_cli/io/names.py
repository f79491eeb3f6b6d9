"""What names of results say of their formats, without loading what writes them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from dfghdr_cli.choices import DisplayFormat
from dfghdr_cli.errors import OutputNameError

RADIANCE_SUFFIXES = (".exr", ".hdr", ".dng")
"""What the names of linear pictures end in."""
BRIGHTEST_WHITE = "dfghdr:brightestWhite"
"""The header entry for the value that is white in the brightest frame of a bracket."""
HDR_FORMATS: frozenset[DisplayFormat] = frozenset({"ultrahdr", "avif", "jxl"})
"""Those that show more than SDR white on a screen that can, and so need the radiance."""
RADIANCE_ALONE: frozenset[DisplayFormat] = frozenset({"avif", "jxl"})
"""Those of them in which a picture for other screens has no place: no operator is needed."""
_BY_SUFFIX: dict[str, DisplayFormat] = {
    ".jpg": "jpg",
    ".jpeg": "jpg",
    ".png": "png",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".avif": "avif",
    ".jxl": "jxl",
}
DISPLAY_SUFFIXES = tuple(_BY_SUFFIX)
"""What the names of pictures for screens end in."""
_SUFFIXES: dict[DisplayFormat, Sequence[str]] = {
    name: tuple(suffix for suffix, other in _BY_SUFFIX.items() if other == name)
    for name in get_args(DisplayFormat)
}
_SUFFIXES["ultrahdr"] = _SUFFIXES["jpg"]


@dataclass(frozen=True, slots=True)
class ExrCompression:
    """How an .exr is made smaller.

    Attributes:
        kind: "piz" and "zip" lose nothing, of which the first takes half the time on half floats
            and makes the smaller files; "dwaa" is lossy and keeps half floats at most.
        level: of "dwaa", 0 to 200; higher is smaller and coarser.
    """

    kind: Literal["piz", "zip", "dwaa"] = "piz"
    level: float = 45.0

    @classmethod
    def parse(cls, text: str) -> ExrCompression:
        """Read "piz", "zip", "dwaa" or "dwaa:LEVEL".

        Raises:
            ValueError: it is none of these, or the level is not in 0 to 200.
        """
        kind, colon, level = text.partition(":")
        if kind in ("piz", "zip") and not colon:
            return cls(kind)  # pyright: ignore[reportArgumentType]
        if kind == "dwaa":
            with suppress(ValueError):
                value = float(level) if colon else cls("dwaa").level
                if 0 <= value <= 200:
                    return cls("dwaa", value)
        raise ValueError(f"{text!r} is none of piz, zip, dwaa and dwaa:LEVEL with LEVEL 0 to 200")


def is_radiance_name(path: Path) -> bool:
    """Whether a name ends in .exr, .hdr or .dng."""
    return path.suffix.lower() in RADIANCE_SUFFIXES


def ensure_radiance_name(path: Path) -> None:
    """Refuse a result name whose ending names no radiance format.

    Raises:
        OutputError: the name ends in none of .exr, .hdr and .dng.
    """
    if not is_radiance_name(path):
        raise OutputNameError(f"{path} names no radiance format; end it in .exr, .hdr or .dng.")


def is_display_name(path: Path) -> bool:
    """Whether a name ends like a picture for screens."""
    return path.suffix.lower() in _BY_SUFFIX


def display_format(path: Path, format: DisplayFormat | None = None) -> DisplayFormat:
    """The format that a file gets: the one asked for, or else what the name ends in.

    Args:
        path: the result.
        format: one of `DisplayFormat`, or None.

    Raises:
        OutputError: the name ends in nothing known, or in what another format is called.
    """
    suffix = path.suffix.lower()
    found = _BY_SUFFIX.get(suffix)
    if format is None:
        if found is None:
            known = ", ".join(DISPLAY_SUFFIXES)
            raise OutputNameError(f"{path} names no display format; end it in one of {known}.")
        return found
    if suffix not in _SUFFIXES[format]:
        raise OutputNameError(
            f"{path} does not end like a {format} file; call it {path.stem}{_SUFFIXES[format][0]}."
        )
    return format
