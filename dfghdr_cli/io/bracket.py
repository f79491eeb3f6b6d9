"""A handful of photographs to one bracket: exposures found, checked and put in order."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from dfghdr_cli.choices import ExposuresFrom
from dfghdr_cli.core.calibration.exposure import choose_reference, usable_share
from dfghdr_cli.core.types import (
    RECORDED_ALIKE,
    Bracket,
    Exposure,
    FloatImage,
    Frame,
    LeftOut,
)
from dfghdr_cli.errors import InputError
from dfghdr_cli.io.exposures import (
    Exposures,
    asked_exposures,
    check_brightness,
    check_span,
    names_of,
    recorded_exposures,
    samples_of,
    settled,
    taken_from_pixels,
)
from dfghdr_cli.io.formats import SUFFIXES, image_format
from dfghdr_cli.io.ldr import balance_of, read_frame
from dfghdr_cli.io.raw import WhiteBalance
from dfghdr_cli.io.selection import of_one_scene, turned_alike, without_own_results

log = logging.getLogger(__name__)

Reference = int | Path | Literal["auto"]

_MOST_FRAMES = 9
_MOST_FILES = 32
"""Of these the best nine are taken, as long as no two are exposed alike: not several brackets."""
_SAME_COLORS = 0.01
_NEXT_TO_NOTHING = 0.001  # share of the pixels
_READERS = 4  # frames decoded at the same time, each of which takes memory
_PREVIEW = ".preview.jpg"
_SUFFIX_ORDER = {suffix: order for order, suffix in enumerate(SUFFIXES)}
"""Preference among files that share a stem; see `find_frames`."""


def read_bracket(
    paths: Sequence[Path],
    *,
    stops: Sequence[float] | None = None,
    times: Sequence[float] | None = None,
    ev_step: float | None = None,
    reference: Reference = "auto",
    exposures_from: ExposuresFrom = "auto",
    on_first: Callable[[Frame, int], object] | None = None,
    ahead: FramesAhead | None = None,
) -> Bracket:
    """Read 2 to 9 photographs of one scene, in any order, as a bracket from dark to bright.

    Of up to 32 that are all exposed differently the nine that cover their range evenly are taken.

    The exposures come from `stops`, `times` or `ev_step`, at most one of them, or else from the
    EXIF data; there, an ISO speed or f-number that only some frames record is left out for all.
    Where the EXIF data says nothing or the pixels contradict it, they are estimated from the
    pixels (`calibration.exposure_ratios.estimate_exposures`), with a warning in the log that gives
    the values. Frames of equal exposure are allowed as long as they look equally bright.

    Results of dfghdr and frames of another scene are left out, with a warning; a frame that is
    turned against the others only by its orientation tag is turned back.

    Args:
        paths: the files, or one folder (see `find_frames`).
        stops: exposure of each of `paths` [stops, + = brighter]; only differences matter.
        times: exposure time of each of `paths` [s]; only ratios matter.
        ev_step: distance between neighbours [stops], > 0; `paths` must go from dark to bright.
        reference: the frame that keeps its geometry: its number, from 1 for the darkest; its file;
            or "auto", which takes the middle one unless it is badly exposed, see
            `choose_reference`.
        exposures_from: "files" believes what they record whatever the pixels show, "pixels" only
            these; of no effect on exposures that the caller says.
        on_first: called with the first frame, and how many there are, before the others are read.
        ahead: frames that are being read already.

    Returns:
        The bracket.

    Raises:
        InputError: a file cannot be read; there are too few or too many, or one is given twice;
            exposures are impossible, more than 24 stops apart, said by the caller to be all equal
            though the pictures are not, or neither recorded nor to be told from the pixels; sizes
            or colour spaces differ; there are two brackets among them, or no two frames show one
            scene; there is no such reference.
    """
    paths, results = _chosen(paths, log_left_out=True)
    _check_files(paths)
    asked = asked_exposures(paths, stops, times, ev_step)
    paths, asked, spare = _best_frames(paths, asked)
    exposures = asked.exposures if asked else [Exposure(0.0)] * len(paths)
    frames = _read_frames(paths, exposures, balance_of(paths), on_first, ahead)
    # What is estimated below shall not depend on the order of the files, not even by rounding.
    frames.sort(key=lambda frame: (frame.name, str(frame.path)))
    frames = turned_alike(frames)
    _check_sizes(frames)
    frames, strays = of_one_scene(frames)
    _check_colors(frames)
    frames, source = (frames, asked.source) if asked else _recorded(frames, exposures_from)
    # Rounded, so that the last bit of a logarithm cannot reorder frames of equal exposure.
    frames.sort(key=lambda frame: (round(frame.exposure.stops, 6), frame.name, str(frame.path)))
    check_span(frames)
    samples = samples_of(frames)
    if asked is not None:
        check_brightness(frames, samples)
    if max(map(usable_share, samples)) < _NEXT_TO_NOTHING:
        log.warning(
            "%s show next to nothing between black and white; "
            "the result is of little use, and shorter or longer exposures would help.",
            names_of(frames),
        )
    if frames[-1].exposure.stops - frames[0].exposure.stops < RECORDED_ALIKE:
        log.warning(
            "%s are exposed alike: their mean has less noise, but no more range than each.",
            names_of(frames),
        )
    chosen = _reference_index(reference, frames, samples)
    return Bracket(tuple(frames), chosen, source, (*results, *spare, *strays))


def _best_frames(
    paths: Sequence[Path], asked: Exposures | None
) -> tuple[Sequence[Path], Exposures | None, list[LeftOut]]:
    """At most nine of the files: the darkest, the brightest, and what is evenly between them.

    Raises:
        InputError: there are more, and several are exposed alike or nothing says how.
    """
    if len(paths) <= _MOST_FRAMES:
        return paths, asked, []
    known = asked or recorded_exposures(paths)
    stops = np.array([exposure.stops for exposure in known.exposures])
    order = np.argsort(stops, kind="stable")
    if known.doubt is not None or (np.diff(stops[order]) <= RECORDED_ALIKE).any():
        raise InputError(
            f"A bracket has 2 to {_MOST_FRAMES} frames, not {len(paths)}, of which the best could "
            "be taken if the exposures of all were known and different; give fewer files, or "
            "--ev or --times."
        )
    wanted = np.linspace(stops[order[0]], stops[order[-1]], _MOST_FRAMES)
    kept: list[int] = []
    for stop in wanted:
        free = [index for index in order if index not in kept]
        kept.append(int(min(free, key=lambda index: abs(stops[index] - stop))))
    kept.sort()
    spare = [LeftOut(p, "nine others do") for k, p in enumerate(paths) if k not in kept]
    log.warning(
        "Of %d frames the %d that cover their range evenly are merged; %s are left out.",
        len(paths),
        _MOST_FRAMES,
        ", ".join(left.path.name for left in spare),
    )
    if asked is not None:
        asked = replace(asked, exposures=[asked.exposures[k] for k in kept])
    return [paths[k] for k in kept], asked, spare


def _recorded(frames: Sequence[Frame], source: ExposuresFrom) -> tuple[list[Frame], str]:
    """The frames with the exposures that their files record, as far as the pixels agree."""
    if source == "pixels":
        return taken_from_pixels(frames)
    known = recorded_exposures([frame.path for frame in frames if frame.path is not None])
    exposed = [replace(f, exposure=e) for f, e in zip(frames, known.exposures, strict=True)]
    if source == "files" and known.doubt is None:
        return exposed, known.source
    return settled(exposed, known)


def _read_frames(
    paths: Sequence[Path],
    exposures: Sequence[Exposure],
    balance: WhiteBalance | None,
    on_first: Callable[[Frame, int], object] | None,
    ahead: FramesAhead | None,
) -> list[Frame]:
    """The first frame, `on_first`, and then the others at the same time, where there are cores."""

    def read(path: Path, exposure: Exposure) -> Frame:
        frame = ahead.take(path, balance) if ahead else None
        if frame is None:
            return read_frame(path, exposure, balance)
        return replace(frame, exposure=exposure)

    first = read(paths[0], exposures[0])
    if on_first:
        on_first(first, len(paths))
    with ThreadPoolExecutor(min(os.cpu_count() or 1, _READERS)) as pool:
        return [first, *pool.map(read, paths[1:], exposures[1:])]


class FramesAhead:
    """Frames that are read while the program still loads its libraries.

    What is wrong with them is left to `read_bracket`, which then reads them itself.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Begin to read what `read_bracket` will be given as `paths`, a frame on each of 2 cores.

        `close` is to be called when nothing more is wanted of it.
        """
        self._pool = ThreadPoolExecutor(2)
        self._balance: WhiteBalance | None = None
        self._frames: dict[Path, Future[Frame]] = {}
        with suppress(InputError):
            found = find_frames(paths)
            _check_files(found)
            self._balance = balance_of(found)
            exposure = Exposure(0.0)  # which is found out later
            for path in found:
                self._frames[path] = self._pool.submit(read_frame, path, exposure, self._balance)

    def take(self, path: Path, balance: WhiteBalance | None) -> Frame | None:
        """The frame of a file but for its exposure, once; None where it could not be read."""
        future = self._frames.pop(path, None)
        if future is None or balance != self._balance:
            return None
        with suppress(InputError, CancelledError):
            return future.result()
        return None

    def close(self) -> None:
        """Read nothing more."""
        self._pool.shutdown(cancel_futures=True)


def find_frames(paths: Sequence[Path]) -> list[Path]:
    """The photographs meant by the files or the folder that a user gave.

    Of a folder, all files are meant whose names end like a photograph's, in the order of their
    names, numbers in these counting as numbers. Hidden files are left out. Where several differ in
    the ending only, one is meant: a developed TIFF or PNG before the raw file, and that before the
    camera's own HEIC or JPEG. What dfghdr wrote is never meant.

    Args:
        paths: files, or exactly one folder.

    Returns:
        The files.

    Raises:
        InputError: a folder is given beside other things, cannot be read, or holds fewer than 2 or
            more than 9 photographs.
    """
    return _chosen(paths)[0]


def _chosen(
    paths: Sequence[Path], *, log_left_out: bool = False
) -> tuple[list[Path], list[LeftOut]]:
    """`find_frames`, and what dfghdr wrote; a warning for that only if it was given by its name."""
    folders = [path for path in paths if path.is_dir()]
    if not folders:
        return without_own_results(paths, log_left_out=log_left_out)
    folder = folders[0]
    if len(paths) > 1:
        raise InputError(f"{folder} is a folder; give either one folder or the files of a bracket.")
    try:
        entries = [path for path in folder.iterdir() if path.is_file()]
    except OSError as error:
        raise InputError(
            f"{folder} cannot be read ({error.strerror}); check its permissions."
        ) from error
    photographs = [path for path in entries if is_photograph_name(path)]
    photographs.sort(key=lambda path: (_SUFFIX_ORDER[path.suffix.lower()], path.name))
    photographs, results = without_own_results(photographs)
    best: dict[str, Path] = {}
    for path in photographs:
        first = best.setdefault(path.stem, path)
        if first != path and log_left_out:
            log.info("%s is left out, since %s shows the same.", path, first.name)
    if not 2 <= len(best) <= _MOST_FILES:
        raise InputError(
            f"{folder} holds {len(best)} photographs, and a bracket has 2 to {_MOST_FRAMES}; "
            "put all the shots of one scene and no others into it, or give the files."
        )
    return sorted(best.values(), key=_natural), results


def is_photograph_name(path: Path) -> bool:
    """Whether a file in a folder may be a photograph; older previews tell by their names."""
    hidden = path.name.startswith(".") or path.name.lower().endswith(_PREVIEW)
    return path.suffix.lower() in _SUFFIX_ORDER and not hidden


def _natural(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Sorts shot9 before shot10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", path.name.lower())
    keys = [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]
    return keys, path.name


def _check_files(paths: Sequence[Path]) -> None:
    if not 2 <= len(paths) <= _MOST_FILES:
        names = f" ({', '.join(path.name for path in paths)})" if paths else ""
        raise InputError(
            f"A bracket has 2 to {_MOST_FRAMES} frames, not {len(paths)}{names}; "
            "give all the shots of one scene and no others."
        )
    seen: set[Path] = set()
    for path in paths:
        image_format(path)
        if path.resolve() in seen:
            raise InputError(f"{path} is given twice; give every frame once.")
        seen.add(path.resolve())


def _check_sizes(frames: Sequence[Frame]) -> None:
    first = frames[0]
    for frame in frames[1:]:
        if frame.pixels.shape != first.pixels.shape:
            sizes = [f"{f.name} ({f.pixels.shape[1]}x{f.pixels.shape[0]})" for f in (first, frame)]
            raise InputError(
                f"{' and '.join(sizes)} differ in size; give frames of one size and orientation."
            )


def _check_colors(frames: Sequence[Frame]) -> None:
    first = frames[0]
    for frame in frames[1:]:
        if frame.linear != first.linear:
            linear, other = (first, frame) if first.linear else (frame, first)
            raise InputError(
                f"{linear.name} is linear and {other.name} is not; develop all frames alike."
            )
        matrices = [f.to_rec709 if f.to_rec709 is not None else np.eye(3) for f in (first, frame)]
        if not np.allclose(*matrices, atol=_SAME_COLORS):
            raise InputError(
                f"{first.name} is in {first.color_space} and {frame.name} in {frame.color_space}; "
                "develop all frames alike."
            )


def _reference_index(
    reference: Reference, frames: Sequence[Frame], samples: Sequence[FloatImage]
) -> int:
    if reference == "auto":
        return choose_reference([usable_share(sample) for sample in samples])
    if isinstance(reference, Path):
        named = [index for index, frame in enumerate(frames) if _is_meant(reference, frame)]
        if len(named) != 1:
            raise InputError(
                f"{reference} is not one of the frames ({names_of(frames)}), so it cannot be the "
                f"reference; give one of these, or 1 (the darkest) to {len(frames)}."
            )
        return named[0]
    if not 1 <= reference <= len(samples):
        raise InputError(
            f"There is no frame {reference} to be the reference; "
            f"give 1 (the darkest) to {len(samples)} (the brightest)."
        )
    return reference - 1


def _is_meant(reference: Path, frame: Frame) -> bool:
    """Whether a path, or a bare name such as a folder's content has, means that frame."""
    if frame.path is None:
        return False
    bare = reference.name == str(reference)
    return reference.resolve() == frame.path.resolve() or (bare and reference.name == frame.name)
