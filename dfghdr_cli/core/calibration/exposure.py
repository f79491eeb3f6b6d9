"""Exposures: how they are written down, how frames show them, and which frame leads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dfghdr_cli.core.clipping import METERED_CODE
from dfghdr_cli.core.encoding import GAMMA
from dfghdr_cli.core.types import Exposure, FloatImage, Mask
from dfghdr_cli.errors import InputError

_NOISE_FLOOR = 0.04
"""Encoded value below which a channel is mostly noise: 10 of 255 at gamma 2.2 is 0.08 % of white,
some 10 stops down."""
# Code from which on no camera's noise reaches: 25 of 255.
_WELL_EXPOSED = 0.1
ENOUGH_TO_COMPARE = 0.01
"""Share of the pixels by which two frames can be compared."""
# A frame with at least this part of the best frame's usable share is good enough to lead.
_GOOD_ENOUGH = 2 / 3


_PER_SECOND = (
    *(16000, 12800, 10000, 8000, 6400, 5000, 4000, 3200, 2500, 2000, 1600, 1250, 1000, 800, 640),
    *(500, 400, 320, 250, 200, 160, 125, 100, 80, 60, 50, 40, 30, 25, 20, 15, 13, 10, 8, 6, 5, 4),
)
_SECONDS = (0.3, 1 / 3, 0.4, 0.5, 0.6, 0.8, 1, 1.3, 1.6, 2, 2.5, 3.2, 4, 5, 6, 8, 10, 13, 15, 20)
_THIRDS = (*(1 / n for n in _PER_SECOND), *_SECONDS, 25, 30)
_HALVES = (*(1 / n for n in (12000, 6000, 3000, 1500, 750, 350, 180, 90, 45)), 0.7, 1.5, 3)
"""Exposure times as cameras show them [s], of series of thirds and halves of a stop; of the halves,
those that are not among the thirds."""
_APERTURES = (
    *(1, 1.1, 1.2, 1.4, 1.6, 1.8, 2, 2.2, 2.5, 2.8, 3.2, 3.5, 4, 4.5, 5, 5.6, 6.3, 7.1, 8, 9, 10),
    *(11, 13, 14, 16, 18, 20, 22, 25, 29, 32),
)
_AS_SHOWN = 0.01
"""Relative error of a time as a file has it, 10/130 for 1/13 say."""


def _true_stops(value: float, shown: Sequence[float], per_stop: float) -> float | None:
    """log2 of what a shown value stands for, a fraction of a stop; None where it is no such."""
    if min(abs(value / nominal - 1.0) for nominal in shown) > _AS_SHOWN:
        return None
    return round(per_stop * math.log2(value)) / per_stop


def true_exposures(exposures: Sequence[Exposure]) -> list[Exposure]:
    """Exposures with the times and apertures that the settings of a camera stand for.

    Cameras show rounded values: 1/15 s stands for 1/16 s, 1/60 for 1/64, 13 s for 12.7 s, f/5.6
    for the square root of 32 (ISO 2720 for exposure times; ISO 517 for apertures), so that what is
    written down is up to a tenth of a stop from what the shutter does. Only where all times are
    such values are they taken for what they stand for; a phone's 1/1014 s is what it says.

    Args:
        exposures: of one bracket.

    Returns:
        The same with other `stops`; times and apertures stay as they are shown.
    """
    times: list[float] = []
    for exposure in exposures:
        if exposure.time_s is None:
            return list(exposures)
        time = _true_stops(exposure.time_s, _THIRDS, 3.0)
        time = _true_stops(exposure.time_s, _HALVES, 2.0) if time is None else time
        if time is None:
            return list(exposures)
        times.append(time - math.log2(exposure.time_s))
    apertures = [
        0.0
        if exposure.f_number is None
        else (_true_stops(exposure.f_number, _APERTURES, 6.0) or math.log2(exposure.f_number))
        - math.log2(exposure.f_number)
        for exposure in exposures
    ]
    return [
        replace(exposure, stops=exposure.stops + time - 2.0 * aperture)
        for exposure, time, aperture in zip(exposures, times, apertures, strict=True)
    ]


def parse_time(text: str) -> float:
    """Read an exposure time as photographers write it.

    Args:
        text: "1/400", "0.0025", "2.5", "30s" or '30"'.

    Returns:
        The time [s], > 0 and finite.

    Raises:
        InputError: it is not a positive number.
    """
    numerator, slash, denominator = text.strip().rstrip('s"').partition("/")
    try:
        seconds = float(numerator) / float(denominator) if slash else float(numerator)
    except (ValueError, ZeroDivisionError):
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise InputError(
            f"{text.strip()!r} is not an exposure time; write seconds, such as 1/400 or 0.5."
        )
    return seconds


def parse_times(text: str) -> tuple[float, ...]:
    """Read exposure times [s] separated by commas, such as "1/400,1/100,1/25".

    Args:
        text: one or more times, each as `parse_time` takes it.

    Returns:
        The times [s] in the given order.

    Raises:
        InputError: one of them is not a positive number.
    """
    return tuple(parse_time(part) for part in text.split(","))


def parse_stops(text: str) -> tuple[float, ...]:
    """Read relative exposures [stops, + = brighter] separated by commas, such as "-2,0,+2".

    Args:
        text: one or more finite numbers.

    Returns:
        The exposures [stops] in the given order.

    Raises:
        InputError: one of them is not a finite number.
    """
    stops = []
    for part in text.split(","):
        try:
            value = float(part)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(
                f"{part.strip()!r} is not an exposure in stops; write numbers such as -2,0,2."
            )
        stops.append(value)
    return tuple(stops)


def usable_share(encoded: FloatImage) -> float:
    """How much of a frame is exposed well enough to lead the merge.

    Args:
        encoded: (H, W, 3) float32 in [0, 1], encoded as the file had it.

    Returns:
        The share of pixels, 0 to 1, whose brightest channel is neither clipped (at least 0.98)
        nor near the noise floor (at most 0.04).
    """
    brightest = encoded.max(axis=2)
    return float(((brightest > _NOISE_FLOOR) & (brightest < METERED_CODE)).mean())


def choose_reference(usable: Sequence[float]) -> int:
    """Choose the frame that keeps its geometry: the middle one, unless it is badly exposed.

    A frame is good enough with two thirds of the largest usable share. Of these the one nearest
    the middle of the bracket wins, since its motion to the others is least and it is neither the
    noisiest nor the most clipped; of two equally near, the one with the larger share, then the
    darker.

    Args:
        usable: `usable_share` of each frame, from dark to bright; not empty.

    Returns:
        Index of the reference, from 0.
    """
    enough = max(usable) * _GOOD_ENOUGH
    middle = (len(usable) - 1) / 2
    good = [index for index, share in enumerate(usable) if share >= enough]
    return min(good, key=lambda index: (abs(index - middle), -usable[index], index))


def comparable(first: FloatImage, second: FloatImage) -> Mask:
    """Which pixels tell how two frames are exposed against each other.

    Those that are clipped in neither frame and well exposed in one of them. Of pixels that are
    nearly black in both, noise alone would be compared, which is the same in any exposure.

    Args:
        first: (H, W, 3) float32 in [0, 1], encoded.
        second: the same size and scene.

    Returns:
        (H, W) bool.
    """
    brighter = np.maximum(first, second)
    seen = (brighter.min(axis=2) > _WELL_EXPOSED) & (brighter.max(axis=2) < METERED_CODE)
    return np.asarray(seen, np.bool_)


def looks_brighter_by(first: FloatImage, second: FloatImage) -> float:
    """Estimate from the pixels alone how much brighter the second of two frames is.

    Compares the median greys of the pixels of `comparable`, or of all where these are fewer than
    1 %. Gamma 2.2 stands for the unknown response, so this is good
    enough to notice a wrong exposure and not to measure one.

    Args:
        first: (H, W, 3) float32 in [0, 1], encoded.
        second: the same size and scene.

    Returns:
        Stops; positive where the second is brighter.
    """
    usable = comparable(first, second)
    if usable.mean() < ENOUGH_TO_COMPARE:
        usable = np.ones_like(usable)
    darkest = 1e-3
    levels = [
        max(float(np.median(image.mean(axis=2)[usable])), darkest) for image in (first, second)
    ]
    return GAMMA * math.log2(levels[1] / levels[0])
