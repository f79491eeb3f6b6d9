"""What one photograph records of how it was taken."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from math import isfinite
from pathlib import Path
from typing import Any

from dfghdr_cli.core.types import Exposure
from dfghdr_cli.errors import InputError, refuse_if_out_of_memory
from dfghdr_cli.io.boxes import jxl_exif
from dfghdr_cli.io.formats import image_format
from dfghdr_cli.io.jpeg import jpeg_exif
from dfghdr_cli.io.png import read_png_header
from dfghdr_cli.io.raw import read_raw_settings
from dfghdr_cli.io.source import first_line
from dfghdr_cli.io.xmp import xmp_beside, xmp_inside, xmp_number

log = logging.getLogger(__name__)

_SENSITIVITIES = (
    *("RecommendedExposureIndex", "StandardOutputSensitivity", "ISOSpeed"),
    "Tag 0x8831",  # StandardOutputSensitivity, of which exifread knows the number alone
)
_HEADER_OF_A_JPEG = 1 << 20
"""Bytes within which EXIF data begins and ends, being 64 KiB and among the first."""
_WARNINGS = threading.Lock()
"""Python's warnings are switched off and on for all threads at once."""
_LARGEST_APEX = 32.0
"""Of times, 2**-32 s to 136 years; what lies outside is no exposure."""


@dataclass(frozen=True, slots=True)
class _Settings:
    """What one source says of an exposure: time [s], ISO speed and f-number, each > 0 or None."""

    time_s: float | None = None
    iso: float | None = None
    f_number: float | None = None

    def filled(self, other: _Settings) -> _Settings:
        """These settings, and another source's where they say nothing."""
        return _Settings(
            self.time_s or other.time_s, self.iso or other.iso, self.f_number or other.f_number
        )

    @property
    def complete(self) -> bool:
        return None not in (self.time_s, self.iso, self.f_number)


def read_exposure(path: Path) -> Exposure | None:
    """Read the exposure time, ISO speed and f-number that a photograph records.

    They come from the EXIF data, whose APEX values stand in for a missing time or f-number (Exif
    2.32, annex C) and whose other sensitivities for a missing ISO speed. What is missing still,
    LibRaw is asked for where the file is raw, then the XMP file beside the photograph, and then the
    XMP packet inside it. The exposure bias is not used, see `read_bias`.

    Args:
        path: a photograph.

    Returns:
        The exposure, or None where no exposure time is recorded.

    Raises:
        InputError: the file is missing, a folder, unreadable, empty or of no known format; or raw
            and damaged.
    """
    actual = image_format(path)
    return exposure_of(path, actual, exif_tags(path, actual))


def exposure_of(path: Path, actual: str, tags: Mapping[str, Any]) -> Exposure | None:
    """`read_exposure` of a photograph whose format and EXIF tags are known already."""
    found = _of_exif(tags)
    if actual == "raw" and not found.complete:
        found = found.filled(_Settings(*read_raw_settings(path)))
    if not found.complete:
        for properties in (xmp_beside(path), xmp_inside(path)):
            found = found.filled(_of_xmp(properties))
    if found.time_s is None:
        return None
    return Exposure.from_camera(found.time_s, found.iso, found.f_number)


def read_bias(path: Path) -> float | None:
    """Read the exposure bias [stops, + = brighter], which says what was asked of the camera.

    It tells nothing where the camera measured the light anew for every frame, or not at all.

    Args:
        path: a photograph.

    Returns:
        The bias of the EXIF data, or else of XMP; None where neither holds one.

    Raises:
        InputError: see `read_exposure`.
    """
    return bias_of(path, exif_tags(path, image_format(path)))


def bias_of(path: Path, tags: Mapping[str, Any]) -> float | None:
    """`read_bias` of a photograph whose EXIF tags are known already."""
    values = [first_number(tags, f"{folder} ExposureBiasValue") for folder in ("EXIF", "Image")]
    values += [
        xmp_number(properties.get("ExposureBiasValue"))
        for properties in (xmp_beside(path), xmp_inside(path))
    ]
    return next((v for v in values if v is not None and abs(v) <= _LARGEST_APEX), None)


def exif_block(path: Path, actual: str) -> bytes:
    """The EXIF block inside a photograph that is not of the TIFF kind itself.

    Args:
        path: the file.
        actual: its format, see `image_format`.

    Returns:
        The block, beginning with its byte order mark; empty where there is none, or the format is
        "TIFF" or "raw".

    Raises:
        InputError: it is a HEIC file and pillow-heif is not installed.
        Exception: of many types, where the file is damaged.
    """
    if actual == "HEIC":
        block = heif_package(path).open_heif(path).info.get("exif") or b""
    elif actual == "JPEG":
        with path.open("rb") as file:
            block = jpeg_exif(file.read(_HEADER_OF_A_JPEG))
    elif actual == "PNG":
        with path.open("rb") as file:
            block = read_png_header(file).exif
    elif actual == "JPEG XL":
        block = jxl_exif(path.read_bytes())
    elif actual in ("AVIF", "WebP"):
        with open_image(path, actual) as image:
            block = image.info.get("exif") or b""
    else:
        block = b""
    return block.removeprefix(b"Exif\0\0")


def open_image(path: Path, actual: str) -> Any:
    """A picture that Pillow reads, "AVIF" or "WebP", opened: its class itself, without a limit."""
    from PIL.AvifImagePlugin import AvifImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return (AvifImageFile if actual == "AVIF" else WebPImageFile)(path)


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


def exif_tags(path: Path, actual: str, *, maker_notes: bool = False) -> Mapping[str, Any]:
    """The EXIF tags of a photograph, by the names of exifread ("EXIF ExposureTime").

    Args:
        path: the file.
        actual: its format, see `image_format`.
        maker_notes: whether to read the maker's own notes, too ("MakerNote BracketMode").

    Returns:
        Name to tag; empty where there are none or they are damaged, with a warning for the latter.

    Raises:
        InputError: it is a HEIC file and pillow-heif is not installed.
    """
    import exifread

    # Its remarks on files without EXIF are of no use to anybody here.
    logging.getLogger("exifread").setLevel(logging.CRITICAL)
    try:
        if actual not in ("TIFF", "raw"):
            block = exif_block(path, actual)
            return exifread.process_file(BytesIO(block), details=maker_notes) if block else {}
        with path.open("rb") as file:
            return exifread.process_file(file, details=maker_notes)
    except InputError:
        raise
    except Exception as error:  # damaged EXIF is no reason to refuse a good picture
        refuse_if_out_of_memory(error, path)
        log.warning("%s: its EXIF data is damaged (%s).", path, first_line(error))
        return {}


def _of_exif(tags: Mapping[str, Any]) -> _Settings:
    iso = _photo_number(tags, "ISOSpeedRatings")
    if iso in (None, 65535):  # "see elsewhere": the tag has 16 bits (Exif 2.3, annex G)
        iso = next(filter(None, (_photo_number(tags, name) for name in _SENSITIVITIES)), None)
    return _Settings(
        _photo_number(tags, "ExposureTime") or _apex(tags, "ShutterSpeedValue", -1.0),
        iso,
        _photo_number(tags, "FNumber") or _apex(tags, "ApertureValue", 0.5),
    )


def _of_xmp(properties: Mapping[str, str]) -> _Settings:
    """The properties of Exif in XMP (CIPA DC-010; the XMP specification, part 2, 2.1)."""

    def number(*names: str) -> float | None:
        values = (xmp_number(properties.get(name)) for name in names)
        return next((value for value in values if value is not None and value > 0), None)

    time_s, f_number = number("ExposureTime"), number("FNumber")
    return _Settings(
        time_s or _from_apex(xmp_number(properties.get("ShutterSpeedValue")), -1.0),
        number("PhotographicSensitivity", "ISOSpeedRatings", *_SENSITIVITIES[:3]),
        f_number or _from_apex(xmp_number(properties.get("ApertureValue")), 0.5),
    )


def _apex(tags: Mapping[str, Any], name: str, power: float) -> float | None:
    values = (first_number(tags, f"{folder} {name}") for folder in ("EXIF", "Image"))
    return _from_apex(next((v for v in values if v is not None), None), power)


def _from_apex(value: float | None, power: float) -> float | None:
    """2**(power * value): a time of Tv with -1, an f-number of Av with 1/2 (Exif 2.32, annex C)."""
    if value is None or abs(value) > _LARGEST_APEX:
        return None
    return 2.0 ** (power * value)


def _photo_number(tags: Mapping[str, Any], name: str) -> float | None:
    """A number of the EXIF folder, or of the first one, where some programs put it in a TIFF."""
    return tag_number(tags, f"EXIF {name}") or tag_number(tags, f"Image {name}")


def tag_number(tags: Mapping[str, Any], name: str) -> float | None:
    """The first value of a tag where it is finite and positive, as most numbers here must be."""
    number = first_number(tags, name)
    return number if number is not None and number > 0 else None


def first_number(tags: Mapping[str, Any], name: str) -> float | None:
    """The first value of a tag where it is a finite number."""
    try:
        value = tags[name].values[0]
        number = float(value[0] if isinstance(value, tuple) else value)
    except (KeyError, IndexError, TypeError, ValueError, ArithmeticError):
        return None
    return number if isfinite(number) else None
