"""Which format a photograph has: its content says, and the ending of its name must agree."""

from __future__ import annotations

from pathlib import Path

from dfghdr_cli.errors import InputError
from dfghdr_cli.io.raw import RAW_SUFFIXES
from dfghdr_cli.io.source import read_head

HEIC_SUFFIXES = (".heic", ".heif", ".hif")

_FORMATS = {
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".png": "PNG",
    **dict.fromkeys(HEIC_SUFFIXES, "HEIC"),
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".mpo": "JPEG",
    ".webp": "WebP",
    ".avif": "AVIF",
    ".jxl": "JPEG XL",
}
SUFFIXES = (
    *(".tif", ".tiff", ".png", *RAW_SUFFIXES, *HEIC_SUFFIXES, ".jpg", ".jpeg", ".mpo"),
    *(".jxl", ".avif", ".webp"),
)
"""Endings of photographs: the developed ones first, then the camera's own, then copies of these."""


def image_format(path: Path) -> str:
    """Tell the format of a photograph from its content, without decoding it.

    Args:
        path: the file.

    Returns:
        "JPEG", "PNG", "TIFF", "HEIC", "WebP", "AVIF", "JPEG XL" or "raw"; raw files are known by
        their names.

    Raises:
        InputError: the file is missing, unreadable, empty, of another kind, or not what the ending
            of its name says.
    """
    head = read_head(path)
    suffix = path.suffix.lower()
    actual = _format_of(head)
    if suffix in RAW_SUFFIXES and actual in ("TIFF", None):
        return "raw"
    if actual is None:
        raise InputError(
            f"{path} is not a JPEG, PNG, TIFF, HEIC, AVIF, JPEG XL, WebP or raw image; "
            "convert it to one of these."
        )
    if _FORMATS.get(suffix) != actual:
        raise InputError(
            f"{path} is a {actual} file but its name does not end like one; "
            f"rename it to {path.stem}{_usual_suffix(actual)}."
        )
    return actual


def _format_of(head: bytes) -> str | None:
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if head.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")):
        return "JPEG XL"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp":
        brands = {head[start : start + 4] for start in (8, 16, 20, 24, 28)}
        if brands & {b"avif", b"avis"}:
            return "AVIF"
        if brands & {b"heic", b"heix", b"heim", b"heis", b"mif1"}:
            return "HEIC"
    return None


def _usual_suffix(name: str) -> str:
    return next(suffix for suffix, format_name in _FORMATS.items() if format_name == name)
