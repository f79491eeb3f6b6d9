"""What a photograph's EXIF data says, made ready for a picture that was merged from it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dfghdr_cli import __version__
from dfghdr_cli.io.ldr import HEIC_SUFFIXES, heic_exif

logger = logging.getLogger(__name__)

EXIF_IFD, GPS_IFD = 0x8769, 0x8825
"""Tags of the first folder that lead to the other two."""

# Of the first folder only what describes the photograph: the rest describes how its file is laid
# out (TIFF 6.0, section 8) or belongs to a raw converter.
_KEPT = {
    0x010E: "ImageDescription",
    0x010F: "Make",
    0x0110: "Model",
    0x0132: "DateTime",
    0x013B: "Artist",
    0x8298: "Copyright",
}
# MakerNote points into the old file; the others are said anew or no longer true (Exif 2.32, 4.6.5).
_DROPPED = frozenset({0x927C, 0xA005, 0xA001, 0xA002, 0xA003, 0x9101, 0x9102, 0xA500})
_COLOR_SPACE, _SOFTWARE = 0xA001, 0x0131


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is known of a photograph beside its pixels.

    Attributes:
        main: tag to value, of the first folder of its EXIF data.
        photo: of the folder about the exposure.
        place: of the folder about the place (GPS).
    """

    main: Mapping[int, Any] = field(default_factory=dict)
    photo: Mapping[int, Any] = field(default_factory=dict)
    place: Mapping[int, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.main or self.photo or self.place)


def read_metadata(path: Path | None) -> Metadata:
    """Read the EXIF data of a photograph: JPEG, PNG, TIFF, HEIC, and what is TIFF inside, as RAW.

    Left out are the thumbnail, the orientation (pixels are turned upright when they are read), the
    maker's notes, whose pointers break when they are moved, and what describes the file.

    Args:
        path: the file, or None.

    Returns:
        What was found; empty where there is nothing or it is damaged, with a warning in the log
        for the latter.
    """
    from PIL import Image

    if path is None:
        return Metadata()
    exif = Image.Exif()
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")
            if file.read(4) in (b"II*\0", b"MM\0*"):
                file.seek(0)
                exif.load_from_fp(file)
            elif block := _exif_block(path):
                exif.load(block)
            return Metadata(
                {tag: value for tag, value in exif.items() if tag in _KEPT},
                {t: v for t, v in exif.get_ifd(EXIF_IFD).items() if t not in _DROPPED},
                dict(exif.get_ifd(GPS_IFD)),
            )
    except Exception as error:  # Pillow raises many types, and a picture needs no EXIF data
        logger.warning("%s: its EXIF data is damaged and was not carried over (%s).", path, error)
        return Metadata()


def _exif_block(path: Path) -> bytes | None:
    from PIL import Image, UnidentifiedImageError

    if path.suffix.lower() in HEIC_SUFFIXES:
        return heic_exif(path)
    try:
        with Image.open(path) as image:
            return image.info.get("exif")
    except (UnidentifiedImageError, Image.DecompressionBombError):
        return None


def exif_bytes(metadata: Metadata, is_srgb: bool = True) -> bytes:
    """The EXIF data of a result: a small TIFF of its own, as JPEG, PNG and JPEG XL hold it.

    Args:
        metadata: of the reference frame.
        is_srgb: whether the result's colours are sRGB.

    Returns:
        The bytes, beginning with the byte order mark; empty where `metadata` is.
    """
    from PIL import Image

    if not metadata:
        return b""
    exif = Image.Exif()
    for tag, value in metadata.main.items():
        exif[tag] = value
    exif[_SOFTWARE] = f"dfghdr {__version__}"
    # 65535 is "uncalibrated": the profile says more (Exif 2.32, 4.6.5).
    exif.get_ifd(EXIF_IFD).update({**metadata.photo, _COLOR_SPACE: 1 if is_srgb else 65535})
    if metadata.place:
        exif.get_ifd(GPS_IFD).update(metadata.place)
    return exif.tobytes().removeprefix(b"Exif\0\0")


def exr_attributes(metadata: Metadata) -> dict[str, str | float]:
    """What the standard attributes of OpenEXR can say of a photograph beside its exposure.

    Args:
        metadata: of the reference frame.

    Returns:
        Any of cameraMake, cameraModel, cameraSerialNumber, lensMake, lensModel, lensSerialNumber,
        nominalFocalLength [mm], capDate (local time, YYYY:MM:DD hh:mm:ss), utcOffset [s, what to
        add to local time for UTC], owner, comments, longitude and latitude [degrees] and altitude
        [m].
    """
    photo, place = metadata.photo, metadata.place
    found: dict[str, str | float | None] = {
        "cameraMake": _text(metadata.main.get(0x010F)),
        "cameraModel": _text(metadata.main.get(0x0110)),
        "cameraSerialNumber": _text(photo.get(0xA431)),
        "lensMake": _text(photo.get(0xA433)),
        "lensModel": _text(photo.get(0xA434)),
        "lensSerialNumber": _text(photo.get(0xA435)),
        "nominalFocalLength": _number(photo.get(0x920A)),
        "capDate": _text(photo.get(0x9003) or metadata.main.get(0x0132)),
        "utcOffset": _utc_offset(_text(photo.get(0x9011))),
        "owner": _text(metadata.main.get(0x8298) or metadata.main.get(0x013B)),
        "comments": _text(metadata.main.get(0x010E)),
        "latitude": _degrees(place.get(2), place.get(1), "S"),
        "longitude": _degrees(place.get(4), place.get(3), "W"),
        "altitude": _altitude(place),
    }
    return {name: value for name, value in found.items() if value is not None}


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    text = value.replace("\0", " ").strip() if isinstance(value, str) else ""
    return text or None


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if abs(number) < float("inf") else None


def _utc_offset(text: str | None) -> float | None:
    """Seconds from "+02:00", with the sign of OpenEXR: what to add to local time for UTC."""
    try:
        hours, minutes = (text or "").split(":")
        seconds = 3600 * abs(int(hours)) + 60 * int(minutes)
    except ValueError:
        return None
    return float(seconds if hours.startswith("-") else -seconds)


def _degrees(parts: Any, direction: Any, negative: str) -> float | None:
    try:
        numbers = [_number(part) for part in parts]
    except TypeError:
        return None
    if len(numbers) != 3 or _text(direction) is None:
        return None
    total = sum((n or 0.0) / 60**power for power, n in enumerate(numbers))
    return -total if _text(direction) == negative else total


def _altitude(place: Mapping[int, Any]) -> float | None:
    height = _number(place.get(6))
    below = place.get(5) in (1, b"\x01")
    return -height if height is not None and below else height
