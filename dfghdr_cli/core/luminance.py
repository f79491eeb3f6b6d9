"""How bright a picture is, and how a light meter would expose it."""

from __future__ import annotations

import math

import cv2
import numpy as np

from dfghdr_cli.choices import DisplaySpace
from dfghdr_cli.core.colour import LUMINANCE
from dfghdr_cli.core.types import FloatImage

MIDDLE_GREY = 0.18
"""The reflectance of a grey card, and the luminance that automatic exposure aims at."""
_FARTHEST_EXPOSURE = 1.0
"""Stops beyond the brightest frame that a picture is exposed by at most. One stop more is what its
noise bears; a photographer who meant it to be brighter would have exposed longer."""
NOISE_FLOOR = 2.0**-10
"""Of the brightest frame's white: about three codes of an 8-bit sRGB file, a signal not far above
their rounding and a sensor's read noise."""


def luminance_of(radiance: FloatImage, space: DisplaySpace = "srgb") -> FloatImage:
    """(H, W) float32 luminance of (H, W, 3) linear light.

    In the primaries of `space`; those of sRGB are Rec. 709's (ITU-R BT.709-6, item 3.2).
    """
    return np.asarray(cv2.transform(radiance, LUMINANCE[space][None]), np.float32).reshape(
        radiance.shape[:2]
    )


def choose_exposure(luminance: FloatImage, brightest_white: float | None = None) -> float:
    """The exposure that a light meter would choose.

    The geometric mean of the luminance is brought to a key: 0.18 for a picture whose mean lies
    midway between its dark and its bright parts on a log scale, less for a dark picture with few
    lights, more for a bright one with few shadows.

    Source: Reinhard et al., "Photographic Tone Reproduction for Digital Images", 2002, eq. (1)
    and (2); the key: Reinhard, "Parameter Estimation for Photographic Tone Reproduction", 2003,
    with percentiles for the extremes and its range cut to half a stop and a stop about 0.18.

    Where the brightest frame of a bracket is known, what lies below its noise does not count, and
    the picture becomes at most a stop brighter than that frame: a night is not made a day.

    Args:
        luminance: (H, W) float32; zeros and negative values do not count.
        brightest_white: see `tone_map`.

    Returns:
        Stops; 0 for a picture without light.
    """
    levels = levels_of(luminance, 0.0 if brightest_white is None else brightest_white * NOISE_FLOOR)
    if levels is None:
        return 0.0
    low, mean, high = levels
    skew = (2 * mean - low - high) / max(high - low, 1e-3)
    key = MIDDLE_GREY * 2.0 ** float(np.clip(2 * skew, -1.0, 0.5))
    exposure = math.log2(key) - mean
    if brightest_white is None:
        return exposure
    return min(exposure, _FARTHEST_EXPOSURE - math.log2(brightest_white))


def log_average(luminance: FloatImage) -> float | None:
    """The logarithmic average of a picture's luminance, its key (Reinhard et al. 2002, eq. (1)).

    Args:
        luminance: (H, W) float32; zeros and negative values do not count, and the darkest and
            the brightest hundredth count as what lies next to them.

    Returns:
        Its logarithm to base 2 [stops]; None for a picture without light.
    """
    levels = levels_of(luminance)
    return None if levels is None else levels[1]


def levels_of(luminance: FloatImage, noise: float = 0.0) -> tuple[float, float, float] | None:
    """Logarithms to base 2 of the first percentile, the average between both, and the last.

    What is not above `noise` counts only where nothing is.
    """
    sample = sample_of(luminance)
    lit = sample[sample > noise]
    if not lit.size:
        lit = sample[sample > 0]
    if not lit.size:
        return None
    stops = np.log2(lit)
    low, high = np.percentile(stops, (1, 99))
    return float(low), float(np.clip(stops, low, high).mean()), float(high)


def sample_of(plane: FloatImage) -> FloatImage:
    """About a million values, spread evenly; enough for statistics."""
    step = max(1, math.isqrt(plane.size // 1_000_000))
    return plane[::step, ::step]
