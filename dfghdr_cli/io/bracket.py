"""A handful of photographs to one bracket: exposures found, checked and put in order."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from dfghdr_cli.core.exposure import choose_reference, looks_brighter_by, usable_share
from dfghdr_cli.core.types import Bracket, Exposure, FloatImage, Frame
from dfghdr_cli.errors import InputError
from dfghdr_cli.io.ldr import image_format, read_exposure, read_frame

logger = logging.getLogger(__name__)

Reference = int | Literal["auto"]

_MOST_FRAMES = 9
_MOST_STOPS = 24.0
_SAME_EXPOSURE = 0.01  # [stops]
_PLAINLY_DIFFERENT = 0.5  # [stops], between what is recorded and what the pixels show
_SAMPLED_PIXELS = 100_000
_REMEDY = "give the exposures with --ev, --times or --ev-step"


def read_bracket(
    paths: Sequence[Path],
    *,
    stops: Sequence[float] | None = None,
    times: Sequence[float] | None = None,
    ev_step: float | None = None,
    reference: Reference = "auto",
) -> Bracket:
    """Read 2 to 9 photographs of one scene, in any order, as a bracket from dark to bright.

    The exposures come from `stops`, `times` or `ev_step`, at most one of them, or else from the
    EXIF data; there, an ISO speed or f-number that only some frames record is left out for all.
    Frames of equal exposure are allowed as long as they look equally bright.

    Args:
        paths: the files.
        stops: exposure of each of `paths` [stops, + = brighter]; only differences matter.
        times: exposure time of each of `paths` [s]; only ratios matter.
        ev_step: distance between neighbours [stops], > 0; `paths` must go from dark to bright.
        reference: number of the frame that keeps its geometry, from 1 for the darkest; "auto"
            takes the middle one unless it is badly exposed, see `choose_reference`.

    Returns:
        The bracket.

    Raises:
        InputError: a file cannot be read; there are too few or too many, or one is given twice;
            exposures are missing, contradictory, impossible, more than 24 stops apart, or all
            equal though the pictures are not; the sizes differ; there is no such reference.
    """
    _check_files(paths)
    exposures = _exposures(paths, stops, times, ev_step)
    frames = [read_frame(path, exposure) for path, exposure in zip(paths, exposures, strict=True)]
    # Rounded, so that the last bit of a logarithm cannot reorder frames of equal exposure.
    frames.sort(key=lambda frame: (round(frame.exposure.stops, 6), frame.name, str(frame.path)))
    _check_sizes(frames)
    _check_color_spaces(frames)
    samples = [_sample(frame) for frame in frames]
    _check_brightness(frames, samples)
    index = _reference_index(reference, samples)
    return Bracket(tuple(frames), index)


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


def _exposures(
    paths: Sequence[Path],
    stops: Sequence[float] | None,
    times: Sequence[float] | None,
    ev_step: float | None,
) -> list[Exposure]:
    if sum(given is not None for given in (stops, times, ev_step)) > 1:
        raise InputError("Give only one of --ev, --times and --ev-step for a bracket.")
    if stops is not None:
        _check_count(paths, stops, "--ev")
        exposures = [Exposure(float(value)) for value in stops]
    elif times is not None:
        _check_count(paths, times, "--times")
        for path, value in zip(paths, times, strict=True):
            if not 0 < value < math.inf:
                raise InputError(
                    f"{path.name} cannot have been exposed for {value} s; mend --times."
                )
        exposures = [Exposure.from_camera(float(value)) for value in times]
    elif ev_step is not None:
        if not 0 < ev_step < math.inf:
            raise InputError(
                f"--ev-step must be a positive number of stops, not {ev_step}; "
                "give the files from dark to bright."
            )
        exposures = [Exposure(index * float(ev_step)) for index in range(len(paths))]
    else:
        exposures = _recorded_exposures(paths)
    for path, exposure in zip(paths, exposures, strict=True):
        if not math.isfinite(exposure.stops):
            raise InputError(f"{path.name} cannot have an exposure of {exposure.stops} stops.")
    levels = [exposure.stops for exposure in exposures]
    if max(levels) - min(levels) > _MOST_STOPS:
        dark, bright = paths[levels.index(min(levels))], paths[levels.index(max(levels))]
        raise InputError(
            f"{dark.name} and {bright.name} are said to be {max(levels) - min(levels):.1f} stops "
            f"apart, more than the {_MOST_STOPS:.0f} a bracket can span; {_REMEDY}."
        )
    return exposures


def _check_count(paths: Sequence[Path], values: Sequence[float], option: str) -> None:
    if len(values) != len(paths):
        names = ", ".join(path.name for path in paths)
        raise InputError(
            f"{option} holds {len(values)} values for {len(paths)} frames ({names}); "
            "give one for each, in the order of the files."
        )


def _recorded_exposures(paths: Sequence[Path]) -> list[Exposure]:
    found = {path: read_exposure(path) for path in paths}
    missing = [path.name for path, exposure in found.items() if exposure is None]
    if missing:
        raise InputError(f"{', '.join(missing)}: no exposure time in the EXIF data; {_REMEDY}.")
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
    return [
        Exposure.from_camera(exposure.time_s, exposure.iso, exposure.f_number)
        for exposure in exposures
        if exposure.time_s is not None
    ]


def _check_sizes(frames: Sequence[Frame]) -> None:
    first = frames[0]
    for frame in frames[1:]:
        if frame.pixels.shape != first.pixels.shape:
            sizes = [f"{f.name} ({f.pixels.shape[1]}x{f.pixels.shape[0]})" for f in (first, frame)]
            raise InputError(
                f"{' and '.join(sizes)} differ in size; give frames of one size and orientation."
            )


def _check_color_spaces(frames: Sequence[Frame]) -> None:
    foreign = [frame for frame in frames if frame.color_space != "sRGB"]
    if foreign:
        logger.warning(
            "%s: tagged as %s and read as if sRGB; convert to sRGB for exact colours.",
            ", ".join(frame.name for frame in foreign),
            ", ".join(sorted({frame.color_space for frame in foreign})),
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


def _reference_index(reference: Reference, samples: Sequence[FloatImage]) -> int:
    if reference == "auto":
        return choose_reference([usable_share(sample) for sample in samples])
    if not 1 <= reference <= len(samples):
        raise InputError(
            f"There is no frame {reference} to be the reference; "
            f"give 1 (the darkest) to {len(samples)} (the brightest)."
        )
    return reference - 1
