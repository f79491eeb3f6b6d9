"""Gamma code and linear light, and what counts as clipped where nothing else is known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.types import FloatImage

GAMMA = 2.2
"""Exponent of eq. (7) of the paper: linear = code ** 2.2."""
LEAST_WEIGHT = 0.001
"""Weight of the least usable pixel that is not clipped."""
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
