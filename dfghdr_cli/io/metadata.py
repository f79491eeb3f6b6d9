"""What a photograph's EXIF data says, made ready for a picture that was merged from it."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from dfghdr_cli import __version__
from dfghdr_cli.errors import refuse_if_out_of_memory
from dfghdr_cli.io.exif import exif_block
from dfghdr_cli.io.formats import image_format
from dfghdr_cli.io.rawexif import raw_exif

log = logging.getLogger(__name__)

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
# Artist, Copyright; ImageUniqueID, CameraOwnerName, BodySerialNumber, LensSerialNumber and, of Exif
# 3.0, Photographer and ImageEditor (Exif 2.32, 4.6.4 and 4.6.5).
_IDENTITY = frozenset({0x013B, 0x8298, 0xA420, 0xA430, 0xA431, 0xA435, 0xA437, 0xA438})
_COLOR_SPACE, _SOFTWARE = 0xA001, 0x0131
OWN_SOFTWARE = "dfghdr "
"""What the Software tag of all that dfghdr writes begins with; the version follows."""

# Tags whose text is a standard attribute of OpenEXR.
_MAIN_ATTRIBUTES = {
    0x010E: "comments",
    0x010F: "cameraMake",
    0x0110: "cameraModel",
    0x8298: "owner",
}
_PHOTO_ATTRIBUTES = {
    0xA431: "cameraSerialNumber",
    0xA433: "lensMake",
    0xA434: "lensModel",
    0xA435: "lensSerialNumber",
}


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

    def without(self, *, place: bool, identity: bool) -> Metadata:
        """The rest once what is private is left out.

        Args:
            place: leave out where the photograph was taken.
            identity: leave out serial numbers and the picture's own number, and whose it is.
        """
        private = _IDENTITY if identity else frozenset[int]()
        return Metadata(
            {tag: value for tag, value in self.main.items() if tag not in private},
            {tag: value for tag, value in self.photo.items() if tag not in private},
            {} if place else self.place,
        )


def read_metadata(path: Path | None) -> Metadata:
    """Read the EXIF data of a photograph, see `dfghdr_cli.io.exif.exif_block`, and of raw files.

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
            elif (actual := image_format(path)) == "raw":
                file.seek(0)
                blocks = raw_exif(file)
                if len(blocks) == 3:
                    return _of_folders(path, *map(_loaded, blocks))
                exif = _loaded(b"".join(blocks))
            elif block := exif_block(path, actual):
                exif = _loaded(block)
            return _of_folders(path, exif, exif.get_ifd(EXIF_IFD), exif.get_ifd(GPS_IFD))
    except Exception as error:  # Pillow raises many types, and a picture needs no EXIF data
        refuse_if_out_of_memory(error, path)
        log.warning("%s: its EXIF data is damaged and was not carried over (%s).", path, error)
        return Metadata()


def _loaded(block: bytes) -> Any:
    from PIL import Image

    exif = Image.Exif()
    if block:
        exif.load(b"Exif\0\0" + block)
    return exif


def _of_folders(path: Path, main: Any, photo: Any, place: Any) -> Metadata:
    return _without_odd(
        path,
        {tag: value for tag, value in main.items() if tag in _KEPT},
        {tag: value for tag, value in photo.items() if tag not in _DROPPED},
        dict(place.items()),
    )


def _without_odd(path: Path, *folders: Mapping[int, Any]) -> Metadata:
    """What can be written again, each tag by itself; a warning names what cannot."""
    from PIL.ExifTags import GPSTAGS, TAGS
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    kept: list[dict[int, Any]] = []
    odd: list[str] = []
    for folder, group in zip(folders, (None, EXIF_IFD, GPS_IFD), strict=True):
        kept.append({})
        for tag, value in folder.items():
            directory = ImageFileDirectory_v2(b"II*\0\x08\0\0\0", group=group)
            try:
                directory[tag] = value
                directory.tobytes(8)
            except Exception:  # whatever a value of the wrong type or size makes Pillow raise
                names = GPSTAGS if group == GPS_IFD else TAGS
                odd.append(str(names.get(tag, f"tag {tag}")))
            else:
                kept[-1][tag] = value
    if odd:
        log.warning(
            "%s: what its EXIF data says as %s cannot be understood and was left out.",
            path,
            ", ".join(odd),
        )
    return Metadata(*kept)


def exif_bytes(metadata: Metadata, is_srgb: bool = True) -> bytes:
    """The EXIF data of a result: a small TIFF of its own, as JPEG, PNG and JPEG XL hold it.

    Args:
        metadata: of the reference frame.
        is_srgb: whether the result's colours are sRGB.

    Returns:
        The bytes, beginning with the byte order mark; they always tell that dfghdr wrote the file.
    """
    from PIL import Image

    exif = Image.Exif()
    for tag, value in metadata.main.items():
        exif[tag] = value
    exif[_SOFTWARE] = f"{OWN_SOFTWARE}{__version__}"
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
        **{name: _text(metadata.main.get(tag)) for tag, name in _MAIN_ATTRIBUTES.items()},
        **{name: _text(photo.get(tag)) for tag, name in _PHOTO_ATTRIBUTES.items()},
        "nominalFocalLength": _number(photo.get(0x920A)),
        "capDate": _text(photo.get(0x9003) or metadata.main.get(0x0132)),
        "utcOffset": _utc_offset(_text(photo.get(0x9011))),
        "owner": _text(metadata.main.get(0x8298) or metadata.main.get(0x013B)),
        "latitude": _degrees(place.get(2), place.get(1), "S"),
        "longitude": _degrees(place.get(4), place.get(3), "W"),
        "altitude": _altitude(place),
    }
    return {name: value for name, value in found.items() if value is not None}


def metadata_of_header(header: Mapping[str, Any]) -> Metadata:
    """What the header of an .exr or .hdr says of the photograph: `exr_attributes` undone.

    Args:
        header: name to value, or to text; the names are the standard ones of OpenEXR, and
            expTime [s], aperture [f-number] and isoSpeed among them.

    Returns:
        What was found and makes sense.
    """
    texts = {name: _text(value) for name, value in header.items()}
    numbers = {name: _number(value) for name, value in header.items()}
    main: dict[int, Any] = {tag: texts.get(name) for tag, name in _MAIN_ATTRIBUTES.items()}
    photo: dict[int, Any] = {tag: texts.get(name) for tag, name in _PHOTO_ATTRIBUTES.items()}
    taken = texts.get("capDate")
    photo[0x9003] = taken if taken and _DATE.fullmatch(taken) else None
    photo[0x9011] = _offset_text(numbers.get("utcOffset"))
    for tag, name in _NUMBER_ATTRIBUTES.items():
        photo[tag] = _rational(numbers.get(name))
    iso = numbers.get("isoSpeed")
    photo[0x8827] = round(iso) if iso is not None and 1 <= iso < 65536 else None
    place = _place(*(numbers.get(name) for name in ("latitude", "longitude", "altitude")))
    main, photo = ({tag: v for tag, v in x.items() if v is not None} for x in (main, photo))
    return Metadata(main, photo, place)


_NUMBER_ATTRIBUTES = {0x829A: "expTime", 0x829D: "aperture", 0x920A: "nominalFocalLength"}
_DATE = re.compile(r"\d{4}:\d\d:\d\d \d\d:\d\d:\d\d")


def _rational(value: float | None) -> Any:
    """A number > 0 as EXIF stores it, such as 1/400; None if it is none."""
    from PIL.TiffImagePlugin import IFDRational

    if value is None or not 1e-6 < value < 1e6:
        return None
    fraction = Fraction(value).limit_denominator(10_000)
    if abs(fraction - value) > 1e-3 * value:  # a short time
        fraction = Fraction(1, round(1 / value))
    return IFDRational(fraction.numerator, fraction.denominator)


def _offset_text(seconds: float | None) -> str | None:
    """Undoes `_utc_offset`."""
    if seconds is None or abs(seconds) > 86_400:
        return None
    minutes = round(abs(seconds) / 60)
    return f"{'-' if seconds > 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}"


def _place(
    latitude: float | None, longitude: float | None, altitude: float | None
) -> dict[int, Any]:
    """Undoes `_degrees` and `_altitude`."""
    from PIL.TiffImagePlugin import IFDRational

    place: dict[int, Any] = {}
    if latitude is not None and longitude is not None:
        if not (abs(latitude) <= 90 and abs(longitude) <= 180):
            return {}
        for tag, value, signs in ((1, latitude, "NS"), (3, longitude, "EW")):
            minutes, thousandths = divmod(round(abs(value) * 3_600_000), 60_000)
            parts = (minutes // 60, 1), (minutes % 60, 1), (thousandths, 1000)
            place[tag] = signs[value < 0]
            place[tag + 1] = tuple(IFDRational(*part) for part in parts)
    if altitude is not None and abs(altitude) < 1e6:
        place[5] = b"\x01" if altitude < 0 else b"\x00"
        place[6] = IFDRational(round(abs(altitude) * 1000), 1000)
    return place


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
