"""How near a merged picture comes to the truth.

Both pictures are linear, on one scale: 1.0 is the white of the darkest frame, the most that a
bracket can record (Kalantari and Ramamoorthi, "Deep High Dynamic Range Imaging of Dynamic Scenes",
2017). Both are clipped to [0, 1] first; whole pictures are compared, without a border left out.

Source of the pair PSNR-mu and PSNR-l, with peak 1: the same paper, and eq. (10) of the method this
program implements. The mean over scenes is the mean of their values in dB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.encoding import mu_law
from dfghdr_cli.core.metrics.pu21 import pu21_psnr
from dfghdr_cli.core.types import FloatImage, Mask

Floats = NDArray[np.float64]

TILE = 64
"""Side of the tiles of which the worst one counts [pixels]."""
SSIM_WINDOW = 11
"""Side of the window of SSIM [pixels]."""
FEWEST_PIXELS = 500
"""Of fewer pixels a part's PSNR says nothing."""
LEAST_ERROR = 1e-12
"""Squared error that counts as none: the highest PSNR is 120 dB."""
FITTED = (0.002, 0.9)
"""Truths between these are neither noise nor clipped, and decide about the fitted scale."""


@dataclass(frozen=True, slots=True)
class Metric:
    """What a figure is.

    Attributes:
        key: its name in files.
        label: its name in tables.
        unit: "dB" or "".
        higher_is_better: whether more is better.
        decimals: how many are worth printing.
        meaning: one sentence.
    """

    key: str
    label: str
    unit: str
    higher_is_better: bool
    decimals: int
    meaning: str

    def text(self, value: float | None) -> str:
        """A value as tables show it; a dash where there is none."""
        return "–" if value is None else f"{value:.{self.decimals}f}"


METRICS = (
    Metric("psnr_mu", "PSNR-μ", "dB", True, 2, "PSNR after the mu-law, mu = 5000, peak 1"),
    Metric("psnr_mu_moving", "moving", "dB", True, 2, "PSNR-mu over the pixels that move"),
    Metric("psnr_mu_still", "still", "dB", True, 2, "PSNR-mu over the other pixels"),
    Metric("psnr_mu_tile", "worst tile", "dB", True, 2, "PSNR-mu of the worst 64 x 64 pixels"),
    Metric("psnr_l", "PSNR-l", "dB", True, 2, "PSNR of linear light, peak 1"),
    Metric("ssim_mu", "SSIM-μ", "", True, 4, "SSIM after the mu-law"),
    Metric("ssim_l", "SSIM-l", "", True, 4, "SSIM of linear light"),
    Metric("pu21_psnr", "PU21", "dB", True, 2, "PSNR of PU21 codes, white at 4000 cd/m2"),
)
"""Every figure `measure` finds, in the order of tables; `core.metrics.perceptual` has more."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A picture's figures.

    Attributes:
        values: by key of `METRICS`; None where a picture has too few such pixels.
        worst_tile: (row, column) of the worst tile's first pixel.
        scale: what the picture was multiplied by.
    """

    values: dict[str, float | None]
    worst_tile: tuple[int, int]
    scale: float


def measure_fidelity(
    result: FloatImage, truth: FloatImage, moving: Mask | None = None, *, scaled: bool = False
) -> Measured:
    """Compare a picture with the truth.

    Args:
        result: (H, W, 3) linear, 1.0 = the white of the darkest frame.
        truth: likewise.
        moving: (H, W), the pixels that move; None if it is not known.
        scaled: multiply `result` by `fitted_scale` first.

    Raises:
        ValueError: the shapes differ.
    """
    _check(result, truth)
    scale = fitted_scale(result, truth) if scaled else 1.0
    linear, aim = clip(result * np.float32(scale)), clip(truth)
    toned, toned_aim = mu_law(linear), mu_law(aim)
    squared = np.square(toned - toned_aim).mean(axis=2)
    tile = worst_tile(squared)
    rows, columns = (slice(first, first + TILE) for first in tile)
    still = None if moving is None else ~moving
    least = min(truth.shape[:2])
    values = {
        "psnr_mu": _decibels(squared),
        "psnr_mu_moving": None if moving is None else _part(squared, moving),
        "psnr_mu_still": None if still is None else _part(squared, still),
        "psnr_mu_tile": _decibels(squared[rows, columns]),
        "psnr_l": _decibels(np.square(linear - aim)),
        "ssim_mu": ssim(toned, toned_aim) if least >= SSIM_WINDOW else None,
        "ssim_l": ssim(linear, aim) if least >= SSIM_WINDOW else None,
        "pu21_psnr": pu21_psnr(linear, aim),
    }
    return Measured(values, tile, scale)


def clip(picture: NDArray[np.floating]) -> Floats:
    """A picture as it is compared: in [0, 1], float64."""
    return np.clip(picture.astype(np.float64), 0.0, 1.0)


def psnr(result: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """Peak signal-to-noise ratio [dB] of values as they are, peak 1, at most 120.

    Args:
        result: any shape.
        truth: the same shape.

    Raises:
        ValueError: the shapes differ.
    """
    _check(result, truth)
    return _decibels(np.square(result.astype(np.float64) - truth))


def psnr_mu(result: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """PSNR [dB] after the mu-law, eq. (10), of linear pictures clipped to [0, 1], at most 120.

    Args:
        result: linear, any shape, 1.0 = the white of the darkest frame.
        truth: likewise.

    Raises:
        ValueError: the shapes differ.
    """
    return psnr(mu_law(clip(result)), mu_law(clip(truth)))


def psnr_l(result: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """PSNR [dB] of linear pictures clipped to [0, 1], at most 120; see `psnr_mu`."""
    return psnr(clip(result), clip(truth))


def ssim(result: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """Structural similarity of values as they are, peak 1; identical pictures give 1.

    Wang et al. 2004, "Image Quality Assessment: From Error Visibility to Structural Similarity":
    a Gaussian window of 11 x 11 pixels, sigma 1.5, K1 = 0.01, K2 = 0.03, only where the whole
    window lies in the picture; each channel by itself, then their mean.

    Args:
        result: (H, W, C).
        truth: likewise.

    Returns:
        A number of at most 1; NaN where a side is shorter than the window.

    Raises:
        ValueError: the shapes differ.
    """
    _check(result, truth)
    if min(truth.shape[:2]) < SSIM_WINDOW:
        return float("nan")

    def mean(image: Floats) -> Floats:
        return np.asarray(cv2.GaussianBlur(image, (11, 11), 1.5)[5:-5, 5:-5], np.float64)

    x, y = result.astype(np.float64), truth.astype(np.float64)
    mean_x, mean_y = mean(x), mean(y)
    variances = mean(x * x) - mean_x**2 + mean(y * y) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
    return float((luminance * (2 * covariance + 0.03**2) / (variances + 0.03**2)).mean())


def worst_tile(squared: NDArray[np.floating]) -> tuple[int, int]:
    """Where the mean error of 64 x 64 pixels is largest.

    Tiles are side by side from the first pixel on; the last ones end with the picture and overlap
    their neighbours.

    Args:
        squared: (H, W) errors.

    Returns:
        (row, column) of the tile's first pixel; (0, 0) for pictures that are no larger.
    """
    sums = np.pad(squared.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    tops, lefts = (_starts(side) for side in squared.shape)
    bottoms = np.minimum(tops + TILE, squared.shape[0])
    rights = np.minimum(lefts + TILE, squared.shape[1])
    total = (
        sums[np.ix_(bottoms, rights)]
        - sums[np.ix_(tops, rights)]
        - sums[np.ix_(bottoms, lefts)]
        + sums[np.ix_(tops, lefts)]
    )
    row, column = np.unravel_index(total.argmax(), total.shape)
    return int(tops[row]), int(lefts[column])


def _starts(side: int) -> NDArray[np.intp]:
    return np.unique(np.minimum(np.arange(0, side, TILE), max(0, side - TILE)))


def fitted_scale(result: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """The one factor that brings a picture to the truth's scale.

    The median of log truth - log result over values with 0.002 < truth < 0.9, as a factor. Other
    programs choose their own unit of radiance; an error in brightness is then not counted.

    Args:
        result: linear, any shape.
        truth: the same shape.

    Returns:
        A factor > 0; 1 where fewer than 100 values are known.
    """
    low, high = FITTED
    known = (truth > low) & (truth < high) & (result > 0)
    if np.count_nonzero(known) < 100:
        return 1.0
    ratios = np.log(truth[known].astype(np.float64)) - np.log(result[known].astype(np.float64))
    return float(np.exp(np.median(ratios)))


def bootstrap_interval(
    differences: Sequence[float], *, seed: int = 0, resamples: int = 10_000
) -> tuple[float, float]:
    """95 % confidence interval of a mean difference between two methods over scenes.

    The percentile bootstrap (Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter
    13): the scenes are drawn again and again, with replacement, and the middle 95 % of the means
    taken. With few scenes it is too narrow, not too wide.

    Args:
        differences: one value a scene, at least 2.
        seed: start of the random choice.
        resamples: how often to draw.

    Returns:
        Its lower and upper end, in the unit of the values.

    Raises:
        ValueError: fewer than 2 values.
    """
    values = np.asarray(differences, np.float64)
    if len(values) < 2:
        raise ValueError("a confidence interval takes at least 2 scenes")
    random = np.random.default_rng(seed)
    means = values[random.integers(0, len(values), (resamples, len(values)))].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def _decibels(squared: NDArray[np.floating]) -> float:
    return float(-10.0 * np.log10(max(float(squared.mean()), LEAST_ERROR)))


def _part(squared: Floats, where: Mask) -> float | None:
    return _decibels(squared[where]) if where.sum() >= FEWEST_PIXELS else None


def _check(result: NDArray[np.floating], truth: NDArray[np.floating]) -> None:
    if result.shape != truth.shape:
        raise ValueError(f"pictures of {result.shape} and {truth.shape} cannot be compared")
