"""The photographs in folders, as presses of the shutter, with what their files record of them."""

from __future__ import annotations

import logging
import re
import warnings
from calendar import timegm
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from dfghdr_cli.core.bracketing.runs import SAME
from dfghdr_cli.core.bracketing.shot import Shot, natural
from dfghdr_cli.core.calibration.exposure import true_exposures
from dfghdr_cli.core.types import LeftOut
from dfghdr_cli.errors import DeviceError, InputError
from dfghdr_cli.io.bracket import is_photograph_name
from dfghdr_cli.io.exif import bias_of, exif_tags, exposure_of, first_number, tag_number
from dfghdr_cli.io.formats import SUFFIXES, image_format
from dfghdr_cli.io.metadata import OWN_SOFTWARE
from dfghdr_cli.io.xmp import xmp_beside, xmp_inside, xmp_number

log = logging.getLogger(__name__)

_TIME = re.compile(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d):(\d\d)(\.\d+)?")
_ZONE = re.compile(r"([+-])(\d\d):?(\d\d)")
_AUTOMATIC, _MANUAL = 2, 1
"""Of ExposureMode (Exif 2.32, 4.6.5); 0 is neither."""
_NUMBERED_BY_MAKERS = ("MakerNote SequenceNumber", "MakerNote BracketShotNumber")
_LONGEST_PLACE = 32
"""Largest number of a shot in its bracket that is believed."""
_ORDER = {suffix: order for order, suffix in enumerate(SUFFIXES)}


@dataclass(frozen=True)
class Card:
    """What a number of files and folders hold.

    Attributes:
        shots: the photographs, each press of the shutter once.
        left_out: files that look like photographs and are none to be merged, and why.
    """

    shots: tuple[Shot, ...]
    left_out: tuple[LeftOut, ...]


def find_shots(
    paths: Sequence[Path],
    *,
    recursive: bool = False,
    read: Callable[[Path], Shot | None] | None = None,
) -> Card:
    """Look for photographs and read what they record, without decoding them.

    What dfghdr wrote is left out, as its Software tag tells, and so are hidden files. Files of one
    folder whose names differ in the ending only are one shot, unless they record different ones.

    Args:
        paths: folders and files.
        recursive: whether to look into folders within folders; hidden ones are left out.
        read: reads one; None takes `read_shot`.

    Raises:
        InputError: a path is not there or cannot be looked into.
    """
    shots: dict[tuple[Path, str], list[Shot]] = defaultdict(list)
    left_out: list[LeftOut] = []
    for path in _photographs(paths, recursive):
        try:
            shot = (read or read_shot)(path)
        except InputError as error:
            left_out.append(LeftOut(path, str(error)))
            continue
        except FileNotFoundError:  # gone since the folder was looked into
            continue
        if shot is None:
            left_out.append(LeftOut(path, "a result of dfghdr"))
        else:
            shots[path.parent, path.stem.lower()].append(shot)
    found = [one for group in shots.values() for one in _joined(group)]
    return Card(tuple(found), tuple(left_out))


def _photographs(paths: Sequence[Path], recursive: bool) -> list[Path]:
    found: dict[Path, Path] = {}
    for path in paths:
        if path.is_dir():
            inside = _files_in(path, recursive)
        elif path.exists():
            inside = [path]
        else:
            raise InputError(f"{path} does not exist; check the name.")
        for file in inside:
            found.setdefault(file.resolve(), file)
    return sorted(found.values(), key=lambda file: (file.parent, natural(file.name)))


def _files_in(folder: Path, recursive: bool) -> Iterable[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(
            f"{folder} cannot be read ({error.strerror}); check its permissions."
        ) from error
    for entry in entries:
        if entry.is_dir():
            if recursive and not entry.name.startswith(".") and not entry.is_symlink():
                yield from _files_in(entry, recursive)
        elif is_photograph_name(entry) and entry.is_file():
            yield entry


def _joined(shots: list[Shot]) -> list[Shot]:
    """Shots that are one, of files whose names differ in the ending only."""
    shots.sort(key=lambda shot: _ORDER.get(shot.path.suffix.lower(), len(_ORDER)))
    apart: list[Shot] = []
    for shot in shots:
        for index, other in enumerate(apart):
            if _one_press(shot, other):
                apart[index] = _together(other, shot)
                break
        else:
            apart.append(shot)
    return apart


def _one_press(shot: Shot, other: Shot) -> bool:
    if shot.camera != other.camera and shot.camera and other.camera:
        return False
    if shot.stops is not None and other.stops is not None and abs(shot.stops - other.stops) > SAME:
        return False
    if shot.taken is None or other.taken is None:
        return True
    return abs(shot.taken - other.taken) < 1.0


def _together(first: Shot, other: Shot) -> Shot:
    """Both files as one shot; the one that records more speaks for both."""
    best = first if first.stops is not None or other.stops is None else other
    files, also = dict(first.files), list(first.also)
    for kind, path in other.files.items():
        if kind in files:
            also.append(path)
        else:
            files[kind] = path
    size = first.size if "picture" in first.files else other.size
    return replace(best, files=files, also=tuple(also), size=size)


def read_shot(path: Path) -> Shot | None:
    """What a photograph's metadata says of its bracket; None if dfghdr wrote it.

    The EXIF data is asked first, then the maker's notes, then the XMP file beside the photograph
    and the XMP packet in it.

    Raises:
        InputError: see `image_format`.
    """
    actual = image_format(path)
    tags = exif_tags(path, actual, maker_notes=True)
    if str(tags.get("Image Software") or "").startswith(OWN_SOFTWARE):
        return None
    try:
        exposure = exposure_of(path, actual, tags)
    except DeviceError:
        raise
    except InputError:  # raw and damaged: what matters here may be there all the same
        exposure = None
    if exposure is not None:
        exposure = true_exposures([exposure])[0]
    xmp = xmp_beside(path)
    if "EXIF DateTimeOriginal" not in tags or "EXIF ExposureMode" not in tags:
        xmp = {**xmp_inside(path), **xmp}
    taken, precise, local = _time(tags, xmp)
    mode = _mode(tags, xmp)
    automatic = mode == _AUTOMATIC if mode is not None else None
    return Shot(
        files={"raw" if actual == "raw" else "picture": path},
        camera=_camera(tags),
        taken=taken,
        precise=precise,
        local=local,
        time_s=exposure.time_s if exposure else None,
        stops=exposure.stops if exposure else None,
        bias=bias_of(path, tags),
        automatic=automatic,
        manual=mode == _MANUAL if mode is not None else None,
        place=_place(tags) if automatic else None,
        length=None,
        lens=_text(tags, "EXIF LensModel") or _text(tags, "MakerNote LensModel"),
        focal=tag_number(tags, "EXIF FocalLength"),
        size=None if actual == "raw" else _size(path),
        orientation=int(tag_number(tags, "Image Orientation") or 1),
        balance=_text(tags, "EXIF WhiteBalance") or xmp.get("WhiteBalance", ""),
    )


def _text(tags: Mapping[str, Any], name: str) -> str:
    return " ".join(str(tags.get(name) or "").split())


def _camera(tags: Mapping[str, Any]) -> str:
    names = ("Image Make", "Image Model", "EXIF BodySerialNumber", "MakerNote SerialNumber")
    return " ".join(filter(None, (_text(tags, name) for name in names)))


def _mode(tags: Mapping[str, Any], xmp: Mapping[str, str]) -> int | None:
    """ExposureMode: 0 automatic, 1 manual, 2 automatic bracket; None where nobody says."""
    values = first_number(tags, "EXIF ExposureMode"), xmp_number(xmp.get("ExposureMode"))
    mode = next((int(value) for value in values if value is not None), None)
    notes = (_text(tags, f"MakerNote {name}") for name in ("BracketMode", "BracketingMode"))
    released = _text(tags, "MakerNote ReleaseMode")
    said = [note for note in (*notes, released) if note]
    if any(re.search(r"\bAEB\b|(?<!no )exposure bracketing", note, re.IGNORECASE) for note in said):
        return _AUTOMATIC
    program = first_number(tags, "EXIF ExposureProgram")
    if mode is None and program is not None and program > 0:
        return _MANUAL if program == _MANUAL else 0
    return mode


def _place(tags: Mapping[str, Any]) -> int | None:
    for name in _NUMBERED_BY_MAKERS:
        number = first_number(tags, name)
        if number is not None and 1 <= number <= _LONGEST_PLACE:
            return int(number)
    return None


def _time(tags: Mapping[str, Any], xmp: Mapping[str, str]) -> tuple[float | None, bool, str]:
    """Seconds, in UTC where the zone is recorded; whether they have fractions; the camera's clock.

    The zone is left out where it is not known: the shots of one camera then still have one clock.
    """
    for text, parts, zone in (
        *(
            (_text(tags, f"EXIF DateTime{which}"), _text(tags, f"EXIF SubSecTime{which}"), offset)
            for which, offset in (
                ("Original", _text(tags, "EXIF OffsetTimeOriginal")),
                ("Digitized", _text(tags, "EXIF OffsetTimeDigitized")),
            )
        ),
        *((xmp.get(name, ""), "", xmp.get(name, "")[19:]) for name in _XMP_TIMES),
        (_text(tags, "Image DateTime"), _text(tags, "EXIF SubSecTime"), ""),
    ):
        found = _TIME.match(text)
        if found is None:
            continue
        try:
            clock = datetime.strptime(" ".join(found.groups()[:6]), "%Y %m %d %H %M %S")
        except ValueError:
            continue
        fraction = float(found[7] or 0.0)
        if parts.isdecimal():
            fraction = float(f"0.{parts}")
        shift = _ZONE.search(zone)
        offset = 0
        if shift is not None:
            offset = (int(shift[2]) * 60 + int(shift[3])) * (-60 if shift[1] == "-" else 60)
        precise = parts.isdecimal() or found[7] is not None
        local = clock.strftime("%Y:%m:%d %H:%M:%S")
        return timegm(clock.timetuple()) + fraction - offset, precise, local
    return None, False, ""


_XMP_TIMES = ("DateTimeOriginal", "DateTimeDigitized")


def _size(path: Path) -> tuple[int, int] | None:
    """(width, height) as the header has it; None where Pillow does not know the format."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return image.size
    except Exception:  # whatever is wrong with it is said when it is read
        return None
