"""Code and radiance, and the classic merge: a weighted mean of the aligned frames.

The weights are the triangle (hat) of Debevec & Malik 1997, "Recovering high dynamic range radiance
maps from photographs", over the gamma code instead of the raw one, opened at the ends of the
bracket: nothing else sees the highlights of the darkest frame or the shadows of the brightest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.types import FloatImage, Mask

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


def classic_weights(code: FloatImage, is_darkest: bool, is_brightest: bool) -> FloatImage:
    """How much each pixel of one frame counts in the classic merge.

    The triangle 2 * min(x, 1 - x) of the code x, at least 0.001; the darkest frame keeps 1 above
    0.5 and the brightest below 0.5; the smallest of the channels counts for all. Except in the
    darkest frame, a pixel with a channel in [0.96, 0.992] is trusted less and less, and from 0.992
    on (clipped) it weighs exp(-12).

    Args:
        code: (H, W, 3) gamma codes in [0, 1], 1 = the frame's white.
        is_darkest: whether no frame of the bracket is darker.
        is_brightest: whether no frame of the bracket is brighter.

    Returns:
        (H, W) float32 in [exp(-12), 1].
    """
    lowest, highest = code.min(axis=2), code.max(axis=2)
    rising = np.ones_like(lowest) if is_brightest else 2.0 * lowest
    falling = np.ones_like(highest) if is_darkest else 2.0 * (1.0 - highest)
    weight = np.clip(np.minimum(rising, falling), LEAST_WEIGHT, 1.0)
    if not is_darkest:
        trust = (CLIPPED_CODE - highest) / (CLIPPED_CODE - CLIPPING_STARTS)
        weight = np.maximum(weight * np.clip(trust, 0.0, 1.0), CLIPPED_WEIGHT)
    return weight.astype(np.float32, copy=False)


def classic_merge(
    linear: Sequence[FloatImage], valid: Sequence[Mask], stops: Sequence[float]
) -> tuple[FloatImage, FloatImage]:
    """Mean of the frames' radiance under the classic weights, pixel by pixel.

    Args:
        linear: N aligned frames (H, W, 3), linear in [0, 1], 1 = the frame's own white.
        valid: N masks (H, W), False where a warped frame has no data.
        stops: exposure of each frame relative to the reference [stops], + = brighter.

    Returns:
        radiance: (H, W, 3) float32 >= 0, 1 = the white at `stops` 0; 0 where no frame is valid.
        weights: (N, H, W) float32, each frame's share, summing to 1 (or 0 where none is valid).
    """
    darkest, brightest = min(stops), max(stops)
    weights = np.stack(
        [
            classic_weights(encode(frame), stop <= darkest, stop >= brightest) * mask
            for frame, mask, stop in zip(linear, valid, stops, strict=True)
        ]
    ).astype(np.float32, copy=False)
    weights /= np.maximum(weights.sum(axis=0), np.finfo(np.float32).tiny)
    radiance = np.zeros(linear[0].shape, np.float32)
    for frame, weight, stop in zip(linear, weights, stops, strict=True):
        radiance += (weight * np.float32(2.0**-stop))[..., None] * frame
    return radiance, weights
