"""What one photograph records of how it was taken."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from dfghdr_cli.core.types import Exposure
from dfghdr_cli.errors import InputError
from dfghdr_cli.io.formats import image_format
from dfghdr_cli.io.raw import read_raw_exposure
from dfghdr_cli.io.source import first_line

logger = logging.getLogger(__name__)


def read_exposure(path: Path) -> Exposure | None:
    """Read the exposure time, ISO speed and f-number that a photograph records.

    The exposure bias is not used: it says what was asked for, not what the camera did.

    Args:
        path: a photograph.

    Returns:
        The exposure, or None where no exposure time is recorded.

    Raises:
        InputError: the file is missing, a folder, unreadable, empty or of no known format.
    """
    actual = image_format(path)
    recorded = _exposure_of(exif_tags(path, actual))
    if recorded is None and actual == "raw":
        return read_raw_exposure(path)
    return recorded


def heic_exif(path: Path) -> bytes:
    """The EXIF block of a HEIC file as JPEG would hold it; empty where there is none.

    Args:
        path: a HEIC file.

    Raises:
        InputError: pillow-heif is not installed.
        ValueError, OSError, RuntimeError: the file is damaged.
    """
    return heif_package(path).open_heif(path).info.get("exif") or b""


def heif_package(path: Path) -> Any:
    """The package that reads HEIC files.

    Raises:
        InputError: it is not installed; the message names `path`.
    """
    try:
        import pillow_heif
    except ImportError as error:
        raise InputError(
            f"{path} is a HEIC file, for which pillow-heif is missing; "
            "run `pip install pillow-heif`, or convert the file to TIFF."
        ) from error
    return pillow_heif


def exif_tags(path: Path, actual: str) -> Mapping[str, Any]:
    """The EXIF tags of a photograph, by the names of exifread ("EXIF ExposureTime").

    Args:
        path: the file.
        actual: its format, see `image_format`.

    Returns:
        Name to tag; empty where there are none or they are damaged, with a warning for the latter.

    Raises:
        InputError: it is a HEIC file and pillow-heif is not installed.
    """
    import exifread

    # Its remarks on files without EXIF are of no use to anybody here.
    logging.getLogger("exifread").setLevel(logging.CRITICAL)
    try:
        if actual == "HEIC":
            block = heic_exif(path).removeprefix(b"Exif\0\0")
            return exifread.process_file(BytesIO(block), details=False)
        with path.open("rb") as file:
            return exifread.process_file(file, details=False)
    except InputError:
        raise
    except Exception as error:  # damaged EXIF is no reason to refuse a good picture
        logger.warning("%s: its EXIF data is damaged (%s).", path, first_line(error))
        return {}


def _exposure_of(tags: Mapping[str, Any]) -> Exposure | None:
    time_s = _photo_number(tags, "ExposureTime")
    if time_s is None:
        return None
    iso = _photo_number(tags, "ISOSpeedRatings")
    if iso == 65535:  # "see elsewhere": the tag has 16 bits (Exif 2.3, annex G)
        iso = _photo_number(tags, "RecommendedExposureIndex")
    return Exposure.from_camera(time_s, iso, _photo_number(tags, "FNumber"))


def _photo_number(tags: Mapping[str, Any], name: str) -> float | None:
    """A number of the EXIF folder, or of the first one, where some programs put it in a TIFF."""
    return tag_number(tags, f"EXIF {name}") or tag_number(tags, f"Image {name}")


def tag_number(tags: Mapping[str, Any], name: str) -> float | None:
    """The first value of a tag where it is finite and positive, as every number here must be."""
    try:
        value = tags[name].values[0]
        number = float(value[0] if isinstance(value, tuple) else value)
    except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError):
        return None
    return number if 0 < number < float("inf") else None
