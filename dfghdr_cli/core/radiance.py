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
    lowest, highest = code.min(axis=2), largest_channel(code)
    rising = np.ones_like(lowest) if is_brightest else 2.0 * lowest
    falling = np.ones_like(highest) if is_darkest else 2.0 * (1.0 - highest)
    weight = np.clip(np.minimum(rising, falling), LEAST_WEIGHT, 1.0)
    if not is_darkest:
        trust = (CLIPPED_CODE - highest) / (CLIPPED_CODE - CLIPPING_STARTS)
        weight = np.maximum(weight * np.clip(trust, 0.0, 1.0), CLIPPED_WEIGHT)
    return weight.astype(np.float32, copy=False)


def classic_merge(
    linear: Sequence[FloatImage],
    valid: Sequence[Mask | FloatImage],
    stops: Sequence[float],
    slack: float = 0.0,
) -> tuple[FloatImage, FloatImage]:
    """Mean of the frames' radiance under the classic weights, pixel by pixel.

    Where the reference is clipped (from code 0.992 on), the scene is known to be at least that
    bright, so the result is never darker there, whatever the other frames saw.

    Args:
        linear: N aligned frames (H, W, 3), linear in [0, 1], 1 = the frame's own white.
        valid: N arrays (H, W), bool or float32 in [0, 1]: 0 where a warped frame has no data, and
            how far it can be trusted elsewhere (`align.warp_with_trust`).
        stops: exposure of each frame relative to the reference [stops], + = brighter; the
            reference is the frame nearest to 0.
        slack: how much darker than the white of a clipped reference the scene may be all the same
            [stops], because exposures are not quite right.

    Returns:
        radiance: (H, W, 3) float32 >= 0, 1 = the reference's white; 0 where no frame is valid.
        weights: (N, H, W) float32, each frame's share, summing to 1 (or 0 where none is valid).
    """
    darkest, brightest = min(stops), max(stops)
    codes = [encode(frame) for frame in linear]
    weights = np.stack(
        [
            classic_weights(code, stop <= darkest, stop >= brightest) * trust
            for code, trust, stop in zip(codes, valid, stops, strict=True)
        ]
    ).astype(np.float32, copy=False)
    weights /= np.maximum(weights.sum(axis=0), np.finfo(np.float32).tiny)
    radiance = np.zeros(linear[0].shape, np.float32)
    for frame, weight, stop in zip(linear, weights, stops, strict=True):
        radiance += (weight * np.float32(2.0**-stop))[..., None] * frame
    reference = min(range(len(stops)), key=lambda k: abs(stops[k]))
    white = np.float32(CLIPPED_CODE**GAMMA * 2.0 ** (-stops[reference] - slack))
    clipped = (codes[reference] >= CLIPPED_CODE) & (np.asarray(valid[reference]) > 0)[..., None]
    np.maximum(radiance, white, out=radiance, where=clipped)
    return radiance, weights
