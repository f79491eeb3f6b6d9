"""From shots to brackets: the explanation of a card that needs the fewest, most regular ones."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from dfghdr_cli.core.bracketing.doubts import doubts_about, incomplete
from dfghdr_cli.core.bracketing.runs import LONG_PAUSE, MOST_SHOTS, Pattern, Run
from dfghdr_cli.core.bracketing.shot import Shot, in_order, natural

Recognised = Literal[
    "sequence numbers", "auto bracket", "exposure bias", "exposures and times", "folder", "count"
]


@dataclass(frozen=True, eq=False)
class BracketSet:
    """One bracket.

    Attributes:
        run: its shots as they were taken.
        recognised: what it was told by.
        doubts: sentences that say why it may be none, or not all of it.
    """

    run: Run
    recognised: Recognised
    doubts: tuple[str, ...] = ()

    @property
    def shots(self) -> Sequence[Shot]:
        """As they were taken."""
        return self.run.shots

    @property
    def paths(self) -> list[Path]:
        """The file of each shot, all of one kind, the raw ones if all have one."""
        kinds = self.run.kinds
        kind = "raw" if "raw" in kinds else next(iter(kinds), None)
        return [shot.path if kind is None else shot.files[kind] for shot in self.shots]

    @property
    def stops(self) -> list[float] | None:
        """Exposures against the darkest [stops]; None where one is not recorded."""
        known = [shot.stops for shot in self.shots if shot.stops is not None]
        return [s - min(known) for s in known] if len(known) == len(self.shots) else None


@dataclass(frozen=True, eq=False)
class Lone:
    """A shot that belongs to no bracket, and why."""

    shot: Shot
    reason: str


@dataclass(frozen=True)
class Sorting:
    """What a number of photographs is made of.

    Attributes:
        sets: by folder, and in each as they were taken.
        lone: likewise.
    """

    sets: tuple[BracketSet, ...]
    lone: tuple[Lone, ...]


def find_sets(
    shots: Sequence[Shot], *, count: int | None = None, by_folder: bool = False
) -> Sorting:
    """Sort photographs into brackets.

    The shots of each camera in each folder are taken in the order in which they were taken, and cut
    into runs: of all ways to cut them, the one of the least cost is meant, see `Run.cost`. What
    shots say themselves decides first (their number in a bracket), then whether the camera
    bracketed, and then pauses and the pattern of the exposures; patterns that come up again are
    preferred in a second pass.

    Args:
        shots: in any order, each once.
        count: every so many shots of a camera in a folder are a bracket, whatever they record.
        by_folder: each folder is a bracket.

    Returns:
        The sorting; it does not depend on the order of `shots`.
    """
    folders: dict[Path, list[Shot]] = defaultdict(list)
    for shot in shots:
        folders[shot.folder].append(shot)
    sets: list[BracketSet] = []
    lone: list[Lone] = []
    for folder in sorted(folders, key=lambda place: [natural(part) for part in place.parts]):
        found = _by_folder(folders[folder]) if by_folder else _in_folder(folders[folder], count)
        sets += found.sets
        lone += found.lone
    return Sorting(tuple(sets), tuple(lone))


def _by_folder(shots: list[Shot]) -> Sorting:
    run = Run(in_order(shots))
    if len(shots) == 1:
        return Sorting((), (Lone(shots[0], "alone in its folder"),))
    return Sorting((BracketSet(run, "folder", tuple(doubts_about(run, stated=True))),), ())


def _in_folder(shots: list[Shot], count: int | None) -> Sorting:
    if not count and 1 < len(shots) <= _MOST_UNKNOWN and _tell_nothing(shots):
        doubt = "no exposures in the metadata, so that the whole folder counts as one"
        return Sorting((BracketSet(Run(in_order(shots)), "folder", (doubt,)),), ())
    cameras: dict[str, list[Shot]] = defaultdict(list)
    for shot in shots:
        cameras[shot.camera].append(shot)
    sets: list[BracketSet] = []
    lone: list[Lone] = []
    for camera in sorted(cameras):
        found = _counted(cameras[camera], count) if count else _of_camera(cameras[camera])
        sets += found.sets
        lone += found.lone
    sets.sort(key=lambda one: _when(one.shots[0]))
    lone.sort(key=lambda one: _when(one.shot))
    return Sorting(tuple(sets), tuple(lone))


_MOST_UNKNOWN = 9
"""Shots of a folder that are taken for one bracket where nothing is known."""


def _tell_nothing(shots: Sequence[Shot]) -> bool:
    """Whether no shot records its exposure, or all have the data of one."""
    return len({(shot.stops, shot.taken) for shot in shots}) == 1 or all(
        shot.stops is None for shot in shots
    )


def _when(shot: Shot) -> tuple[float, tuple[list[tuple[int, int, str]], str]]:
    return (shot.taken if shot.taken is not None else float("inf"), shot.natural)


def _counted(shots: list[Shot], count: int) -> Sorting:
    ordered = in_order(shots)
    parts = [ordered[k : k + count] for k in range(0, len(ordered), count)]
    sets, lone = [], []
    for part in parts:
        if len(part) == 1:
            lone.append(Lone(part[0], f"left over by --count {count}"))
            continue
        doubts = doubts_about(Run(part), stated=True)
        if len(part) < count:
            doubts.append(f"{len(part)} of {count} frames")
        sets.append(BracketSet(Run(part), "count", tuple(doubts)))
    return Sorting(tuple(sets), tuple(lone))


def _of_camera(shots: list[Shot]) -> Sorting:
    usable = [shot for shot in shots if shot.stops is not None]
    lone = [Lone(s, "no exposure time in its metadata") for s in shots if s.stops is None]
    ordered = in_order(usable)
    stamped_last = _stamped_last(ordered)
    parts: list[Run] = []
    known: frozenset[Pattern] = frozenset()
    for _ in range(2):
        parts = [
            run for stretch in _stretches(ordered) for run in _cut(stretch, stamped_last, known)
        ]
        seen = Counter(run.pattern for run in parts if len(run.shots) > 1)
        known = frozenset(pattern for pattern, times in seen.items() if times > 1)
    whole = [run for run in parts if len(run.shots) > 1]
    sets = []
    for index, run in enumerate(parts):
        if len(run.shots) == 1:
            lone.append(Lone(run.shots[0], _about_lone(run.shots[0])))
            continue
        before = parts[index - 1].shots[-1] if index else None
        after = parts[index + 1].shots[0] if index + 1 < len(parts) else None
        doubts = doubts_about(run)
        doubts += incomplete(run, [other for other in whole if other is not run], before, after)
        sets.append(BracketSet(run, _recognised(run), tuple(doubts)))
    return Sorting(tuple(sets), tuple(lone))


def _about_lone(shot: Shot) -> str:
    if shot.automatic or shot.place is not None:
        return "one frame of a bracket, whose others are missing"
    return "a single photograph"


def _recognised(run: Run) -> Recognised:
    if run.shots[0].place is not None:
        return "sequence numbers"
    if run.automatic:
        return "auto bracket"
    return "exposure bias" if run.by_bias else "exposures and times"


def _stamped_last(shots: Sequence[Shot]) -> bool:
    """Whether a camera notes the end of an exposure: else some would begin while others go on."""
    return any(
        a.taken is not None
        and b.taken is not None
        and (a.time_s or 0.0) > _TELLING
        and b.taken - a.taken < (a.time_s or 0.0) - _CLOCK
        for a, b in pairwise(shots)
    )


_TELLING, _CLOCK = 3.0, 1.5
"""Seconds of an exposure that tells, and by which clocks without fractions, and times that are
shown rounded (30 s stands for 32 s), may be wrong."""


def _stretches(shots: Sequence[Shot]) -> Iterator[list[Shot]]:
    """Shots with no pause among them that no bracket has."""
    stretch: list[Shot] = []
    for shot in shots:
        last = stretch[-1].taken if stretch else None
        exposed = stretch[-1].time_s or 0.0 if stretch else 0.0
        if (
            last is not None
            and shot.taken is not None
            and shot.taken - last - 2 * exposed - (shot.time_s or 0.0) > LONG_PAUSE
        ):
            yield stretch
            stretch = []
        stretch.append(shot)
    if stretch:
        yield stretch


def _cut(shots: Sequence[Shot], stamped_last: bool, known: frozenset[Pattern]) -> list[Run]:
    """The runs of the least total cost; of several, the one whose first runs are longest."""
    best: list[tuple[float, int]] = [(0.0, 0)] * (len(shots) + 1)
    for start in range(len(shots) - 1, -1, -1):
        choices = []
        for length in range(1, min(MOST_SHOTS, len(shots) - start) + 1):
            run = Run(shots[start : start + length], stamped_last)
            if length > 1 and run.ended_before_last():
                break
            cost = run.cost(known)
            if cost is not None:
                choices.append((round(cost + best[start + length][0], 6), -length))
        best[start] = min(choices)
    runs, start = [], 0
    while start < len(shots):
        end = start - best[start][1]
        runs.append(Run(shots[start:end], stamped_last))
        start = end
    return runs
