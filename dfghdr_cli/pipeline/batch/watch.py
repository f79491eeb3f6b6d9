"""Waiting for brackets: a folder that a tethered camera or other people fill."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from dfghdr_cli.core.bracketing.sets import BracketSet, Sorting
from dfghdr_cli.core.bracketing.shot import Shot
from dfghdr_cli.io.shots import find_shots, read_shot

_BETWEEN = 0.25, 5.0
"""Seconds between two looks: a quarter of the time to settle, but within these."""


def settled_sets(
    paths: Sequence[Path],
    sort: Callable[[Sequence[Shot]], Sorting],
    take: Callable[[BracketSet], bool],
    *,
    settle: float,
    recursive: bool = False,
    wait: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[list[BracketSet]]:
    """Look again and again for brackets that are complete and quiet.

    A bracket is quiet once no photograph of its camera came into its folder or changed there for a
    while, by size and time of change: its own may still be on their way, and so may those that make
    it another. Until then nothing of that camera is sorted. What is taken stays taken, whatever
    comes later. Ends only with an exception, such as Ctrl-C.

    Args:
        paths: folders.
        sort: finds the brackets among shots.
        take: whether a bracket is to be merged; one that is not comes again only as another one.
        settle: how long nothing may have changed [s].
        recursive: see `find_shots`.
        wait: waits so many seconds.
        clock: tells seconds that only rise.

    Yields:
        Brackets that are new and quiet, also those that `take` refuses; perhaps none.

    Raises:
        InputError: a folder is gone.
    """
    memory = _Memory(clock)
    taken: set[Path] = set()
    told: set[frozenset[Path]] = set()
    while True:
        card = find_shots(paths, recursive=recursive, read=memory.read)
        restless = {left.path.parent for left in card.left_out if memory.age(left.path) < settle}
        restless |= {
            shot.folder
            for shot in card.shots
            if not shot.camera and min(map(memory.age, _files(shot))) < settle
        }  # of which nobody knows the camera, as of half a file
        fresh = [shot for shot in card.shots if taken.isdisjoint(_files(shot))]
        busy = {
            (shot.folder, shot.camera)
            for shot in fresh
            if min(map(memory.age, _files(shot))) < settle
        }
        quiet = [
            shot
            for shot in fresh
            if (shot.folder, shot.camera) not in busy and shot.folder not in restless
        ]
        ready = []
        for one in sort(quiet).sets if quiet else ():
            files = frozenset(path for shot in one.shots for path in _files(shot))
            if take(one):
                taken |= files
                ready.append(one)
            elif files not in told:
                told.add(files)
                ready.append(one)
        yield ready
        wait(min(max(settle / 4, _BETWEEN[0]), _BETWEEN[1]))


def _files(shot: Shot) -> list[Path]:
    return [*shot.files.values(), *shot.also]


class _Memory:
    """What files were like when they were last looked at, and when they last changed."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._shots: dict[Path, Shot | None] = {}
        self._states: dict[Path, tuple[int, int]] = {}
        self._changed: dict[Path, float] = {}

    def read(self, path: Path) -> Shot | None:
        """`read_shot`, of files that have changed since the last time."""
        status = path.stat()
        state = status.st_size, status.st_mtime_ns
        if self._states.get(path) != state:
            self._states[path], self._changed[path] = state, self._clock()
            self._shots.pop(path, None)
        if path not in self._shots:
            self._shots[path] = read_shot(path)
        return self._shots[path]

    def age(self, path: Path) -> float:
        """Seconds since a file was seen to change."""
        return self._clock() - self._changed.get(path, self._clock())
