"""The exposures of a bracket: what the caller says, what the files record, what the pixels show."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from dfghdr_cli.core.calibration.exposure import (
    ENOUGH_TO_COMPARE,
    comparable,
    looks_brighter_by,
    true_exposures,
)
from dfghdr_cli.core.calibration.exposure_ratios import ExposureEstimate, estimate_exposures
from dfghdr_cli.core.calibration.white import full_code
from dfghdr_cli.core.types import RECORDED_ALIKE, Exposure, FloatImage, Frame
from dfghdr_cli.errors import InputError
from dfghdr_cli.io.exif import read_bias, read_exposure

log = logging.getLogger(__name__)

_MOST_STOPS = 24.0
_PLAINLY_DIFFERENT = 0.5  # [stops], between what is recorded and what the pixels show
_SAMPLED_PIXELS = 100_000
_HALF_A_THIRD = 1 / 6  # [stops]
_BIAS_SIZE = 1.5
"""How far the assumed contrast may be off: estimates of 10 brackets of known exposure times were
1.05 to 1.21 times too large, and the contrasts of cameras differ by a quarter."""
_REMEDY = "give the exposures with --ev, --times or --ev-step"


@dataclass(frozen=True, slots=True)
class Exposures:
    """One exposure for each file, where they came from, and why they are of no use, if so."""

    exposures: Sequence[Exposure]
    source: str
    doubt: str | None = None


def asked_exposures(
    paths: Sequence[Path],
    stops: Sequence[float] | None,
    times: Sequence[float] | None,
    ev_step: float | None,
) -> Exposures | None:
    """The exposures that the caller says, or None.

    Args:
        paths: the files.
        stops: see `dfghdr_cli.io.bracket.read_bracket`, as are the next two.
        times: of each of `paths` [s].
        ev_step: distance between neighbours [stops].

    Raises:
        InputError: there is more than one of them, not one value a file, or an impossible one.
    """
    if sum(given is not None for given in (stops, times, ev_step)) > 1:
        raise InputError("Give only one of --ev, --times and --ev-step for a bracket.")
    if stops is not None:
        _check_count(paths, stops, "--ev")
        asked = Exposures([Exposure(float(value)) for value in stops], "--ev")
    elif times is not None:
        _check_count(paths, times, "--times")
        for path, value in zip(paths, times, strict=True):
            if not 0 < value < math.inf:
                raise InputError(
                    f"{path.name} cannot have been exposed for {value} s; mend --times."
                )
        shown = [Exposure.from_camera(float(value)) for value in times]
        asked = Exposures(true_exposures(shown), "--times")
    elif ev_step is not None:
        if not 0 < ev_step < math.inf:
            raise InputError(
                f"--ev-step must be a positive number of stops, not {ev_step}; "
                "give the files from dark to bright."
            )
        levels = [index * float(ev_step) for index in range(len(paths))]
        asked = Exposures([Exposure(level) for level in levels], "--ev-step")
    else:
        return None
    for path, exposure in zip(paths, asked.exposures, strict=True):
        if not math.isfinite(exposure.stops):
            raise InputError(
                f"{path.name} cannot have an exposure of {exposure.stops} stops; "
                f"mend {asked.source}."
            )
    return asked


def _check_count(paths: Sequence[Path], values: Sequence[float], option: str) -> None:
    if len(values) != len(paths):
        names = ", ".join(path.name for path in paths)
        raise InputError(
            f"{option} holds {len(values)} values for {len(paths)} frames ({names}); "
            "give one for each, in the order of the files."
        )


def recorded_exposures(paths: Sequence[Path]) -> Exposures:
    """The exposures that the files record.

    An ISO speed or f-number that only some of them record is left out for all, with a warning.

    Raises:
        InputError: see `read_exposure`.
    """
    found = {path: read_exposure(path) for path in paths}
    missing = [path.name for path, exposure in found.items() if exposure is None]
    if missing:
        doubt = f"{', '.join(missing)}: no exposure time in the EXIF data"
        return Exposures([Exposure(0.0)] * len(paths), "EXIF", doubt)
    exposures = [exposure for exposure in found.values() if exposure is not None]
    for field, label in (("iso", "ISO speed"), ("f_number", "f-number")):
        absent = [
            path.name
            for path, exposure in zip(paths, exposures, strict=True)
            if getattr(exposure, field) is None
        ]
        if 0 < len(absent) < len(paths):
            log.warning(
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
    return Exposures(true_exposures(exposures), "EXIF")


def settled(frames: list[Frame], recorded: Exposures) -> tuple[list[Frame], str]:
    """The frames with exposures that the pixels do not contradict, and where these came from.

    Raises:
        InputError: the exposures are not recorded, or all alike, and cannot be told from the
            pixels.
    """
    if recorded.doubt is not None:
        try:
            return _estimated(frames, recorded.doubt)
        except InputError as error:
            raise InputError(f"{recorded.doubt}, and {error}") from error
    ordered = sorted(frames, key=lambda frame: frame.exposure.stops)
    steps = [b.exposure.stops - a.exposure.stops for a, b in pairwise(ordered)]
    samples = samples_of(ordered)
    looks = [looks_brighter_by(a, b) for a, b in pairwise(samples)]
    told = [comparable(a, b).mean() >= ENOUGH_TO_COMPARE for a, b in pairwise(samples)]
    equal = sum(steps) < RECORDED_ALIKE

    def contradict(shown: Sequence[float]) -> bool:
        """Whether any step does; two frames that are both nearly black, or white, tell nothing."""
        return any(
            _contradicts(value, step) and (known or value < -_PLAINLY_DIFFERENT)
            for value, step, known in zip(shown, steps, told, strict=True)
        )

    if not equal and not contradict(looks):
        return frames, recorded.source
    reason = f"{names_of(frames)}: the pixels contradict the exposures in the EXIF data"
    if equal:
        reason = f"{names_of(frames)}: equal exposures in the EXIF data but not in the pixels"
    try:
        shown = estimate_exposures(ordered).stops
    except InputError as error:
        if equal and max(map(abs, looks)) > _PLAINLY_DIFFERENT:
            raise InputError(f"{reason}, and {error}") from error
        if not equal:
            log.warning("%s, and %s", reason, error)
        return frames, recorded.source
    if equal:
        contradicted = max(shown) - min(shown) > _PLAINLY_DIFFERENT / 2
    else:
        contradicted = contradict([b - a for a, b in pairwise(shown)])
    return _estimated(frames, reason) if contradicted else (frames, recorded.source)


def taken_from_pixels(frames: Sequence[Frame]) -> tuple[list[Frame], str]:
    """The frames with the exposures that their pixels show, as the user asks, and the source.

    Raises:
        InputError: the pixels do not tell.
    """
    return _estimated(frames, f"{names_of(frames)}: the pixels are to tell the exposures")


def _contradicts(shown: float, step: float) -> bool:
    """Whether a step as the pixels show it is at odds with the recorded one, >= 0 [stops].

    The response being unknown, a step may look half or twice as large as it is, but not turned
    round, nor a fifth, nor something where there is nothing.
    """
    if step < RECORDED_ALIKE:
        return abs(shown) > _PLAINLY_DIFFERENT
    if step < _PLAINLY_DIFFERENT:
        return shown < -_PLAINLY_DIFFERENT
    return shown < 0.2 * step


def _estimated(frames: Sequence[Frame], reason: str) -> tuple[list[Frame], str]:
    """The frames with the exposures that their pixels show, and the source; says so in the log.

    Where the exposure bias agrees with the pixels, it says what these leave open: the size of the
    steps.
    """
    estimate = estimate_exposures(frames)
    source, stops, basis = "pixels", estimate.stops, f"assuming {estimate.assumption}"
    if not all(frame.linear for frame in frames) and (bias := _agreeing_bias(frames, estimate)):
        source, stops = "exposure bias", bias
        basis = "with the size of the steps from the exposure bias, which agrees with them"
    if any(stops):
        shown = sorted(zip(stops, frames, strict=True), key=lambda pair: pair[0])
        log.warning(
            "%s; estimated from the pixels, %s: %s stops; %s to correct this.",
            reason,
            basis,
            ", ".join(f"{frame.name} {value:+.2f}" for value, frame in shown),
            _REMEDY,
        )
    else:
        log.warning("%s; the pixels show equal exposures; %s to correct this.", reason, _REMEDY)
    settled = [
        replace(frame, exposure=Exposure(value)) for value, frame in zip(stops, frames, strict=True)
    ]
    return settled, source


def _agreeing_bias(frames: Sequence[Frame], estimate: ExposureEstimate) -> tuple[float, ...] | None:
    """The exposure biases [stops], 0 for the darkest, where the pixels bear them out.

    They do if they are the estimate times one number near 1, but for its misfit and for what cannot
    turn one third of a stop, the step of cameras' dials, into another.
    """
    known = [None if frame.path is None else read_bias(frame.path) for frame in frames]
    bias = np.array([np.nan if value is None else value for value in known])
    if not np.ptp(bias) > RECORDED_ALIKE:  # also where one is missing
        return None
    bias -= bias.min()
    shown = np.array(estimate.stops)
    centred = bias - bias.mean()
    size = float(centred @ (shown - shown.mean()) / (centred @ centred))
    if not 1 / _BIAS_SIZE <= size <= _BIAS_SIZE:
        return None
    errors = (shown - shown.mean()) / size - centred
    if np.abs(errors).max() > _HALF_A_THIRD + estimate.misfit * np.ptp(bias):
        return None
    return tuple(float(value) for value in bias)


def check_brightness(frames: Sequence[Frame], samples: Sequence[FloatImage]) -> None:
    """Compare the exposures as recorded with what the pixels show."""
    levels = [frame.exposure.stops for frame in frames]
    if levels[-1] - levels[0] < RECORDED_ALIKE:
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
        if seen < -_PLAINLY_DIFFERENT or (recorded < RECORDED_ALIKE and seen > _PLAINLY_DIFFERENT):
            log.warning(
                "%s should be %.1f stops brighter than %s but looks %.1f stops %s; "
                "check the exposures and their order.",
                frames[i + 1].name,
                recorded,
                frames[i].name,
                abs(seen),
                "brighter" if seen > 0 else "darker",
            )


def check_span(frames: Sequence[Frame]) -> None:
    """Refuse what no camera and no film spans; `frames` go from dark to bright."""
    dark, bright = frames[0], frames[-1]
    span = bright.exposure.stops - dark.exposure.stops
    if span > _MOST_STOPS:
        raise InputError(
            f"{dark.name} and {bright.name} are said to be {span:.1f} stops apart, "
            f"more than the {_MOST_STOPS:.0f} a bracket can span; {_REMEDY}."
        )


def samples_of(frames: Sequence[Frame]) -> list[FloatImage]:
    """At most 100 000 pixels of each frame on a grid, encoded: enough to compare exposures by.

    Frames of fewer bits than their files have are scaled to [0, 1] all the same.
    """
    full = np.float32(full_code(frames))
    found = []
    for frame in frames:
        height, width = frame.pixels.shape[:2]
        step = math.ceil(math.sqrt(height * width / _SAMPLED_PIXELS))
        found.append(replace(frame, pixels=frame.pixels[::step, ::step]).encoded() / full)
    return found


def names_of(frames: Sequence[Frame]) -> str:
    """The names of some frames, for messages."""
    return ", ".join(frame.name for frame in frames)
