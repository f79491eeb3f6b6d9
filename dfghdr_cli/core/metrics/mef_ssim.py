"""MEF-SSIM: how much of what the frames of a bracket show is in a picture for a screen.

For brackets whose scene nobody measured. Source: Ma, Zeng and Wang 2015, "Perceptual Quality
Assessment for Multi-Exposure Image Fusion", IEEE Transactions on Image Processing 24(11), with the
constants of the program that its authors published. A patch of a frame is taken apart into its
mean, its contrast and its structure; the picture should have the highest contrast of all frames and
the mean of their structures, weighted the more unequally the better these agree. How light it is
does not count, nor does colour; and the scene must not move.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.metrics.fidelity import Floats, Metric

MEF_SSIM = Metric(
    "mef_ssim",
    "MEF-SSIM",
    "",
    True,
    4,
    "MEF-SSIM of the tone-mapped picture against the frames, of scenes without truth",
)

WINDOW = 11
"""Side of a patch [pixels]."""
SIGMA = 1.5
"""Of the Gaussian that weighs a patch's pixels where picture and patch are compared [pixels]."""
STABILITY = (0.03 * 255.0) ** 2
"""C of the structural similarity, for codes up to 255."""
SCALES = (0.0448, 0.2856, 0.3001)
"""Exponents of the scales, each half as large as the one before; their sum is brought to 1."""
LEAST_CONTRAST = 1e-3
"""Added to the contrast of each patch [codes], so that it can be divided by."""
MOST_UNEQUAL = 10.0
"""The highest power of the contrasts that the structures are weighted by."""
SMALLEST = WINDOW * 2 ** (len(SCALES) - 1)
"""Shortest side of a picture, whose smallest scale holds one patch [pixels]."""
ROWS = 256
"""Rows of patches that are compared at a time."""
_EPSILON = float(np.finfo(np.float64).eps)


def mef_ssim(frames: Sequence[NDArray[np.floating]], picture: NDArray[np.floating]) -> float:
    """Compare a picture for a screen with the frames that it was made of.

    Args:
        frames: (H, W, 3) codes in [0, 1], of a still scene, as the camera made them.
        picture: the same shape, codes in [0, 1].

    Returns:
        A number of at most 1: 1 where each patch has the structure and contrast of the best.

    Raises:
        ValueError: the shapes differ, or a side is shorter than `SMALLEST`.
    """
    if any(frame.shape != picture.shape for frame in frames):
        raise ValueError("frames and picture are of different shapes")
    if min(picture.shape[:2]) < SMALLEST:
        raise ValueError(f"MEF-SSIM needs pictures of at least {SMALLEST} pixels a side")
    greys, grey = [_grey(frame) for frame in frames], _grey(picture)
    quality = 1.0
    for number, exponent in enumerate(SCALES):
        if number:
            greys, grey = [_halved(each) for each in greys], _halved(grey)
        # A picture that shows everything the wrong way round has no real power.
        quality *= max(_at_one_scale(greys, grey), 0.0) ** (exponent / sum(SCALES))
    return quality


def _grey(codes: NDArray[np.floating]) -> Floats:
    """(H, W) luma in [0, 255] of codes (H, W, 3), after Rec. 601."""
    return codes.astype(np.float64) @ np.array([0.299, 0.587, 0.114]) * 255.0


def _halved(grey: Floats) -> Floats:
    """Means of 2 x 2 pixels; the last row and column of an odd side are repeated."""
    height, width = grey.shape
    even = np.pad(grey, ((0, height % 2), (0, width % 2)), mode="edge")
    return (even[0::2, 0::2] + even[1::2, 0::2] + even[0::2, 1::2] + even[1::2, 1::2]) / 4.0


def _at_one_scale(frames: Sequence[Floats], picture: Floats) -> float:
    """Mean over all whole patches, strip by strip for the memory's sake."""
    patches = len(picture) - WINDOW + 1
    total = 0.0
    for top in range(0, patches, ROWS):
        rows = slice(top, min(top + ROWS, patches) + WINDOW - 1)
        total += float(_qualities([frame[rows] for frame in frames], picture[rows]).sum())
    return total / (patches * (picture.shape[1] - WINDOW + 1))


def _inside(means: NDArray[Any]) -> Floats:
    half = WINDOW // 2
    return np.asarray(means[half:-half, half:-half], np.float64)


def _mean(x: Floats) -> Floats:
    """Of every whole patch."""
    return _inside(cv2.blur(x, (WINDOW, WINDOW)))


def _weighted(x: Floats) -> Floats:
    """The mean of every whole patch, by the Gaussian."""
    return _inside(cv2.GaussianBlur(x, (WINDOW, WINDOW), SIGMA))


def _qualities(frames: Sequence[Floats], picture: Floats) -> Floats:
    """Structural similarity of each patch with the best that could be made of the frames.

    That is r = sum_k a_k (x_k - m_k), with the patches x_k and their means m_k, and one factor a_k
    a patch. No such patch has to be made: all that is needed of it are sums of products.
    """
    means = [_mean(x) for x in frames]
    contrasts = np.stack(
        [
            WINDOW * np.sqrt(np.maximum(_mean(x * x) - m * m, 0.0)) + LEAST_CONTRAST
            for x, m in zip(frames, means, strict=True)
        ]
    )
    everything = np.sum(frames, axis=0)
    variance = _mean(everything * everything) - _mean(everything) ** 2
    agreement = (WINDOW * np.sqrt(np.maximum(variance, 0.0)) + _EPSILON) / (
        contrasts.sum(0) - len(frames) * LEAST_CONTRAST + _EPSILON
    )
    agreement = np.clip(agreement, _EPSILON, 1.0 - _EPSILON)
    power = np.minimum(np.tan(np.pi / 2 * agreement), MOST_UNEQUAL)
    weights = (contrasts / WINDOW) ** power + _EPSILON
    factors = weights / weights.sum(0) / contrasts

    norm, second = np.zeros_like(power), np.zeros_like(power)
    weighted = [_weighted(x) for x in frames]
    first, mixed = np.zeros_like(power), np.zeros_like(power)
    of_picture = _weighted(picture)
    for k, (x, m, g) in enumerate(zip(frames, means, weighted, strict=True)):
        first += factors[k] * (g - m)
        mixed += factors[k] * (_weighted(x * picture) - m * of_picture)
    for j, k in combinations_with_replacement(range(len(frames)), 2):
        product = frames[j] * frames[k]
        both = factors[j] * factors[k] * (1.0 if j == k else 2.0)
        norm += both * (_mean(product) - means[j] * means[k])
        second += both * (
            _weighted(product)
            - means[j] * weighted[k]
            - means[k] * weighted[j]
            + means[j] * means[k]
        )
    length = WINDOW * np.sqrt(np.maximum(norm, 0.0))
    scale = np.where(length > 0, contrasts.max(0) / np.where(length > 0, length, 1.0), 1.0)
    wanted = np.maximum(second - first**2, 0.0) * scale**2
    shown = np.maximum(_weighted(picture * picture) - of_picture**2, 0.0)
    shared = (mixed - first * of_picture) * scale
    return (2.0 * shared + STABILITY) / (wanted + shown + STABILITY)
