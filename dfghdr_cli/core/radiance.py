"""Gamma code and linear light, and what counts as clipped where nothing else is known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.types import FloatImage

GAMMA = 2.2
"""Exponent of eq. (7) of the paper: linear = code ** 2.2."""
LEAST_WEIGHT = 0.001
"""Weight of the least usable pixel of the reference that is not clipped."""
LEAST_WEIGHTS = (1e-5, 0.05)
"""The same of much darker and much brighter frames."""
CLIPPED_WEIGHT = float(np.exp(-12.0))
"""Weight of a clipped pixel: it only counts where no other frame has anything to say."""
CLIPPING_STARTS = 0.96
CLIPPED_CODE = 0.992
"""Codes from here on count as clipped; noise and resampling keep them from reaching 1 exactly.
Between `CLIPPING_STARTS` and here trust falls in a straight line."""


def encode(linear: NDArray[np.floating]) -> FloatImage:
    """Inverse of eq. (7) at the frame's own exposure: clip(linear, 0, 1) ** (1 / 2.2).

    Args:
        linear: any shape, 1 = the frame's white.

    Returns:
        The code, float32 in [0, 1], same shape.
    """
    clipped = np.clip(linear, 0.0, 1.0).astype(np.float32, copy=False)
    return np.power(clipped, np.float32(1.0 / GAMMA))


def decode(code: FloatImage) -> FloatImage:
    """Eq. (7) at the frame's own exposure: code ** 2.2, the inverse of `encode`.

    Args:
        code: any shape, gamma codes in [0, 1].

    Returns:
        Linear values, float32 in [0, 1], 1 = the frame's white.
    """
    return np.power(code, np.float32(GAMMA))


def largest_channel(image: FloatImage) -> FloatImage:
    """The largest of the three channels of (H, W, 3), as `.max(axis=2)`, several times faster."""
    return np.maximum(np.maximum(image[..., 0], image[..., 1]), image[..., 2])


def least_weight(stops: float) -> float:
    """Weight of the least usable pixel of a frame that is not clipped.

    Of frames that are all too dark in some channel the brighter one measures more: an error of its
    codes, whatever it comes from, is one of radiance by 2**-stops, so its variance by 4**-stops.

    Args:
        stops: exposure relative to the reference [stops].
    """
    low, high = LEAST_WEIGHTS
    return min(max(LEAST_WEIGHT * 4.0 ** float(stops), low), high)
