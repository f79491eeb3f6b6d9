"""What a photograph's file records that tells which bracket it belongs to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True, eq=False)
class Shot:
    """One press of the shutter, and the one or more files that hold it.

    What is None is not recorded.

    Attributes:
        files: by kind of content ("raw" or "picture"), the file; a RAW and the camera's JPEG of it
            are one shot.
        camera: maker, model and serial number, as far as recorded; "" for none of them.
        taken: when the camera says that it was taken [s], on any scale that the shots of a camera
            have in common.
        precise: whether `taken` has fractions of a second.
        local: `taken` as the camera's clock showed it, YYYY:MM:DD hh:mm:ss; "" for none.
        time_s: exposure time [s].
        stops: exposure log2(time * ISO / f-number**2) [stops, + = brighter].
        bias: exposure compensation [stops], which automatic brackets are made of.
        automatic: whether the camera's own bracketing took it (Exif 2.32, ExposureMode 2).
        manual: whether exposure was set by hand (ExposureMode 1).
        place: its number in its bracket, from 1.
        length: how many shots its bracket has.
        lens: the lens's name.
        focal: focal length [mm].
        size: (width, height) of the picture as stored [pixels].
        orientation: TIFF tag 274.
        balance: white balance, as recorded.
    """

    files: Mapping[str, Path]
    camera: str = ""
    taken: float | None = None
    precise: bool = False
    local: str = ""
    time_s: float | None = None
    stops: float | None = None
    bias: float | None = None
    automatic: bool | None = None
    manual: bool | None = None
    place: int | None = None
    length: int | None = None
    lens: str = ""
    focal: float | None = None
    size: tuple[int, int] | None = None
    orientation: int = 1
    balance: str = ""
    also: tuple[Path, ...] = field(default=())
    """Further files of the same shot, of which there is one of that kind already."""

    @property
    def path(self) -> Path:
        """The file that stands for the shot: the raw one if there is one."""
        return self.files.get("raw") or next(iter(self.files.values()))

    @property
    def name(self) -> str:
        """Its name."""
        return self.path.name

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self.path.parent

    @cached_property
    def numbered(self) -> tuple[str, int] | None:
        """The counter that cameras name files by (DCF): what comes before it, and the number."""
        found = re.fullmatch(r"(.*?)(\d{3,5})", self.path.stem)
        return (found[1], int(found[2])) if found else None

    @cached_property
    def natural(self) -> tuple[list[tuple[int, int, str]], str]:
        """Sorts shot9 before shot10."""
        return natural(self.name)


def natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """A key that sorts names with numbers as people count, shot9 before shot10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name.lower())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts], name


def in_order(shots: list[Shot]) -> list[Shot]:
    """Shots of one camera as they were taken: by its clock, then by the counter in their names.

    The counter of a camera goes from 9999 on to 0001.
    """
    numbers = [shot.numbered[1] for shot in shots if shot.numbered]
    turned = bool(numbers) and max(numbers) >= _LATE and min(numbers) <= _EARLY

    def key(shot: Shot) -> tuple[float, bool, tuple[list[tuple[int, int, str]], str]]:
        late = turned and shot.numbered is not None and shot.numbered[1] <= _EARLY
        return (shot.taken if shot.taken is not None else 0.0, late, shot.natural)

    if any(shot.taken is None for shot in shots):
        return sorted(shots, key=lambda shot: shot.natural)
    return sorted(shots, key=key)


_LATE, _EARLY = 9968, 32
"""Numbers within a bracket's length of where the counter turns."""
