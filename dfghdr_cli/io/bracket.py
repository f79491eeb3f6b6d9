"""A handful of photographs to one bracket: exposures found, checked and put in order."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from dfghdr_cli.core.exposure import choose_reference, looks_brighter_by, usable_share
from dfghdr_cli.core.ratios import estimate_exposures
from dfghdr_cli.core.types import Bracket, Exposure, FloatImage, Frame
from dfghdr_cli.errors import InputError
from dfghdr_cli.io.ldr import SUFFIXES, balance_of, image_format, read_exposure, read_frame
from dfghdr_cli.io.raw import WhiteBalance

logger = logging.getLogger(__name__)

Reference = int | Path | Literal["auto"]

_MOST_FRAMES = 9
_MOST_STOPS = 24.0
_SAME_EXPOSURE = 0.01  # [stops]
_PLAINLY_DIFFERENT = 0.5  # [stops], between what is recorded and what the pixels show
_SAME_COLORS = 0.01
_NEXT_TO_NOTHING = 0.001  # share of the pixels
_SAMPLED_PIXELS = 100_000
_READERS = 4  # frames decoded at the same time, each of which takes memory
_REMEDY = "give the exposures with --ev, --times or --ev-step"
_PREVIEW = ".preview.jpg"
_SUFFIX_ORDER = {suffix: order for order, suffix in enumerate(SUFFIXES)}
"""By which of several files of one name is meant; see `find_frames`."""


def read_bracket(
    paths: Sequence[Path],
    *,
    stops: Sequence[float] | None = None,
    times: Sequence[float] | None = None,
    ev_step: float | None = None,
    reference: Reference = "auto",
    on_first: Callable[[Frame, int], object] | None = None,
    ahead: FramesAhead | None = None,
) -> Bracket:
    """Read 2 to 9 photographs of one scene, in any order, as a bracket from dark to bright.

    The exposures come from `stops`, `times` or `ev_step`, at most one of them, or else from the
    EXIF data; there, an ISO speed or f-number that only some frames record is left out for all.
    Where the EXIF data says nothing or the pixels contradict it, they are estimated from the
    pixels (`core.ratios.estimate_exposures`), with a warning in the log that gives the values.
    Frames of equal exposure are allowed as long as they look equally bright.

    Args:
        paths: the files, or one folder (see `find_frames`).
        stops: exposure of each of `paths` [stops, + = brighter]; only differences matter.
        times: exposure time of each of `paths` [s]; only ratios matter.
        ev_step: distance between neighbours [stops], > 0; `paths` must go from dark to bright.
        reference: the frame that keeps its geometry: its number, from 1 for the darkest; its file;
            or "auto", which takes the middle one unless it is badly exposed, see
            `choose_reference`.
        on_first: called with the first frame, and how many there are, before the others are read.
        ahead: frames that are being read already.

    Returns:
        The bracket.

    Raises:
        InputError: a file cannot be read; there are too few or too many, or one is given twice;
            exposures are impossible, more than 24 stops apart, said by the caller to be all equal
            though the pictures are not, or neither recorded nor to be told from the pixels; sizes
            or colour spaces differ; there is no such reference.
    """
    paths = find_frames(paths, log_left_out=True)
    _check_files(paths)
    asked = _asked_exposures(paths, stops, times, ev_step)
    known = asked or _recorded_exposures(paths)
    balance = balance_of(paths)
    frames = _read_frames(paths, known.exposures, balance, on_first, ahead)
    # What is estimated below shall not depend on the order of the files, not even by rounding.
    frames.sort(key=lambda frame: (frame.name, str(frame.path)))
    _check_sizes(frames)
    _check_colors(frames)
    frames, source = (frames, asked.source) if asked else _settled(frames, known)
    # Rounded, so that the last bit of a logarithm cannot reorder frames of equal exposure.
    frames.sort(key=lambda frame: (round(frame.exposure.stops, 6), frame.name, str(frame.path)))
    _check_span(frames)
    samples = [_sample(frame) for frame in frames]
    if asked is not None:
        _check_brightness(frames, samples)
    if max(map(usable_share, samples)) < _NEXT_TO_NOTHING:
        logger.warning(
            "%s show next to nothing between black and white; "
            "the result is of little use, and shorter or longer exposures would help.",
            _names(frames),
        )
    if frames[-1].exposure.stops - frames[0].exposure.stops < _SAME_EXPOSURE:
        logger.warning(
            "%s are exposed alike: their mean has less noise, but no more range than each.",
            _names(frames),
        )
    return Bracket(tuple(frames), _reference_index(reference, frames, samples), source)


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


def find_frames(paths: Sequence[Path], *, log_left_out: bool = False) -> list[Path]:
    """The photographs meant by the files or the folder that a user gave.

    Of a folder, all files are meant whose names end like a photograph's, in the order of their
    names, numbers in these counting as numbers. Hidden files and the previews that dfghdr writes
    are left out. Where several differ in the ending only, one is meant: a developed TIFF or PNG
    before the raw file, and that before the camera's own HEIC or JPEG.

    Args:
        paths: files, or exactly one folder.
        log_left_out: whether to tell which of several were not meant.

    Returns:
        The files.

    Raises:
        InputError: a folder is given beside other things, cannot be read, or holds fewer than 2 or
            more than 9 photographs.
    """
    folders = [path for path in paths if path.is_dir()]
    if not folders:
        return list(paths)
    folder = folders[0]
    if len(paths) > 1:
        raise InputError(f"{folder} is a folder; give either one folder or the files of a bracket.")
    try:
        entries = [path for path in folder.iterdir() if path.is_file()]
    except OSError as error:
        raise InputError(
            f"{folder} cannot be read ({error.strerror}); check its permissions."
        ) from error
    best: dict[str, Path] = {}
    for path in sorted(entries, key=lambda path: _SUFFIX_ORDER.get(path.suffix.lower(), 0)):
        hidden = path.name.startswith(".") or path.name.lower().endswith(_PREVIEW)
        if path.suffix.lower() not in _SUFFIX_ORDER or hidden:
            continue
        first = best.setdefault(path.stem, path)
        if first != path and log_left_out:
            logger.info("%s is left out, since %s shows the same.", path, first.name)
    if not 2 <= len(best) <= _MOST_FRAMES:
        raise InputError(
            f"{folder} holds {len(best)} photographs, and a bracket has 2 to {_MOST_FRAMES}; "
            "put all the shots of one scene and no others into it, or give the files."
        )
    return sorted(best.values(), key=_natural)


def _natural(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Sorts shot9 before shot10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", path.name.lower())
    keys = [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]
    return keys, path.name


def _names(frames: Sequence[Frame]) -> str:
    return ", ".join(frame.name for frame in frames)


def _check_files(paths: Sequence[Path]) -> None:
    if not 2 <= len(paths) <= _MOST_FRAMES:
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


@dataclass(frozen=True, slots=True)
class _Exposures:
    """One exposure for each file, where they came from, and why they are of no use, if so."""

    exposures: Sequence[Exposure]
    source: str
    doubt: str | None = None


def _asked_exposures(
    paths: Sequence[Path],
    stops: Sequence[float] | None,
    times: Sequence[float] | None,
    ev_step: float | None,
) -> _Exposures | None:
    """The exposures that the caller says, or None."""
    if sum(given is not None for given in (stops, times, ev_step)) > 1:
        raise InputError("Give only one of --ev, --times and --ev-step for a bracket.")
    if stops is not None:
        _check_count(paths, stops, "--ev")
        asked = _Exposures([Exposure(float(value)) for value in stops], "--ev")
    elif times is not None:
        _check_count(paths, times, "--times")
        for path, value in zip(paths, times, strict=True):
            if not 0 < value < math.inf:
                raise InputError(
                    f"{path.name} cannot have been exposed for {value} s; mend --times."
                )
        asked = _Exposures([Exposure.from_camera(float(value)) for value in times], "--times")
    elif ev_step is not None:
        if not 0 < ev_step < math.inf:
            raise InputError(
                f"--ev-step must be a positive number of stops, not {ev_step}; "
                "give the files from dark to bright."
            )
        levels = [index * float(ev_step) for index in range(len(paths))]
        asked = _Exposures([Exposure(level) for level in levels], "--ev-step")
    else:
        return None
    for path, exposure in zip(paths, asked.exposures, strict=True):
        if not math.isfinite(exposure.stops):
            raise InputError(
                f"{path.name} cannot have an exposure of {exposure.stops} stops; "
                f"mend {asked.source}."
            )
    return asked


def _check_span(frames: Sequence[Frame]) -> None:
    """Refuse what no camera and no film spans; `frames` go from dark to bright."""
    dark, bright = frames[0], frames[-1]
    span = bright.exposure.stops - dark.exposure.stops
    if span > _MOST_STOPS:
        raise InputError(
            f"{dark.name} and {bright.name} are said to be {span:.1f} stops apart, "
            f"more than the {_MOST_STOPS:.0f} a bracket can span; {_REMEDY}."
        )


def _check_count(paths: Sequence[Path], values: Sequence[float], option: str) -> None:
    if len(values) != len(paths):
        names = ", ".join(path.name for path in paths)
        raise InputError(
            f"{option} holds {len(values)} values for {len(paths)} frames ({names}); "
            "give one for each, in the order of the files."
        )


def _recorded_exposures(paths: Sequence[Path]) -> _Exposures:
    found = {path: read_exposure(path) for path in paths}
    missing = [path.name for path, exposure in found.items() if exposure is None]
    if missing:
        doubt = f"{', '.join(missing)}: no exposure time in the EXIF data"
        return _Exposures([Exposure(0.0)] * len(paths), "EXIF", doubt)
    exposures = [exposure for exposure in found.values() if exposure is not None]
    for field, label in (("iso", "ISO speed"), ("f_number", "f-number")):
        absent = [
            path.name
            for path, exposure in zip(paths, exposures, strict=True)
            if getattr(exposure, field) is None
        ]
        if 0 < len(absent) < len(paths):
            logger.warning(
                "%s: no %s in the EXIF data, so it is ignored in all frames; %s if it varied.",
                ", ".join(absent),
                label,
                _REMEDY,
            )
            exposures = [replace(exposure, **{field: None}) for exposure in exposures]
    exposures = [
        Exposure.from_camera(exposure.time_s, exposure.iso, exposure.f_number)
        for exposure in exposures
        if exposure.time_s is not None
    ]
    return _Exposures(exposures, "EXIF")


def _settled(frames: list[Frame], recorded: _Exposures) -> tuple[list[Frame], str]:
    """The frames with exposures that the pixels do not contradict, and where these came from."""
    if recorded.doubt is not None:
        try:
            return _estimated(frames, recorded.doubt), "pixels"
        except InputError as error:
            raise InputError(f"{recorded.doubt}, and {error}") from error
    ordered = sorted(frames, key=lambda frame: frame.exposure.stops)
    steps = [b.exposure.stops - a.exposure.stops for a, b in pairwise(ordered)]
    samples = [_sample(frame) for frame in ordered]
    looks = [looks_brighter_by(a, b) for a, b in pairwise(samples)]
    equal = sum(steps) < _SAME_EXPOSURE
    if not equal and not any(map(_contradicts, looks, steps)):
        return frames, recorded.source
    reason = f"{_names(frames)}: the pixels contradict the exposures in the EXIF data"
    if equal:
        reason = f"{_names(frames)}: equal exposures in the EXIF data but not in the pixels"
    try:
        shown = estimate_exposures(ordered).stops
    except InputError as error:
        if equal and max(map(abs, looks)) > _PLAINLY_DIFFERENT:
            raise InputError(f"{reason}, and {error}") from error
        if not equal:
            logger.warning("%s, and %s", reason, error)
        return frames, recorded.source
    if equal:
        contradicted = max(shown) - min(shown) > _PLAINLY_DIFFERENT / 2
    else:
        contradicted = any(
            _contradicts(b - a, step) for (a, b), step in zip(pairwise(shown), steps, strict=True)
        )
    return (_estimated(frames, reason), "pixels") if contradicted else (frames, recorded.source)


def _contradicts(shown: float, step: float) -> bool:
    """Whether a step as the pixels show it is at odds with the recorded one, >= 0 [stops].

    The response being unknown, a step may look half or twice as large as it is, but not turned
    round, nor a fifth, nor something where there is nothing.
    """
    if step < _SAME_EXPOSURE:
        return abs(shown) > _PLAINLY_DIFFERENT
    if step < _PLAINLY_DIFFERENT:
        return shown < -_PLAINLY_DIFFERENT
    return shown < 0.2 * step


def _estimated(frames: Sequence[Frame], reason: str) -> list[Frame]:
    """The frames with the exposures that their pixels show; says so in the log."""
    estimate = estimate_exposures(frames)
    if any(estimate.stops):
        shown = sorted(zip(estimate.stops, frames, strict=True), key=lambda pair: pair[0])
        logger.warning(
            "%s; estimated from the pixels, assuming %s: %s stops; %s to correct this.",
            reason,
            estimate.assumption,
            ", ".join(f"{frame.name} {value:+.2f}" for value, frame in shown),
            _REMEDY,
        )
    else:
        logger.warning("%s; the pixels show equal exposures; %s to correct this.", reason, _REMEDY)
    return [
        replace(frame, exposure=Exposure(value))
        for value, frame in zip(estimate.stops, frames, strict=True)
    ]


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


def _sample(frame: Frame) -> FloatImage:
    """At most 100 000 pixels on a grid, encoded: enough for the checks below."""
    height, width = frame.pixels.shape[:2]
    step = math.ceil(math.sqrt(height * width / _SAMPLED_PIXELS))
    return replace(frame, pixels=frame.pixels[::step, ::step]).encoded()


def _check_brightness(frames: Sequence[Frame], samples: Sequence[FloatImage]) -> None:
    """Compare the exposures as recorded with what the pixels show."""
    levels = [frame.exposure.stops for frame in frames]
    if levels[-1] - levels[0] < _SAME_EXPOSURE:
        seen = [looks_brighter_by(samples[0], sample) for sample in samples]
        if max(seen) - min(seen) > _PLAINLY_DIFFERENT:
            names = ", ".join(frame.name for frame in frames)
            raise InputError(
                f"{names} are all recorded with the same exposure but differ in brightness; "
                f"{_REMEDY}."
            )
        return
    for i in range(len(frames) - 1):
        recorded = levels[i + 1] - levels[i]
        seen = looks_brighter_by(samples[i], samples[i + 1])
        if seen < -_PLAINLY_DIFFERENT or (recorded < _SAME_EXPOSURE and seen > _PLAINLY_DIFFERENT):
            logger.warning(
                "%s should be %.1f stops brighter than %s but looks %.1f stops %s; "
                "check the exposures and their order.",
                frames[i + 1].name,
                recorded,
                frames[i].name,
                abs(seen),
                "brighter" if seen > 0 else "darker",
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
                f"{reference} is not one of the frames ({_names(frames)}), so it cannot be the "
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
