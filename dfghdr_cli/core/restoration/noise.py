"""How noisy the reference is, told by the other frames, and the reference without that noise.

One picture alone cannot tell noise from fine texture. A bracket can: texture is in every frame, and
noise differs. So the difference of the aligned frames at one exposure bounds the reference's noise
from above; where frames also differ by motion or resampling the bound is only less strict.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.clipping import CLIPPING_STARTS, largest_channel
from dfghdr_cli.core.encoding import GAMMA
from dfghdr_cli.core.types import FloatImage

LEVELS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.6, CLIPPING_STARTS)
"""Bounds of the ranges of codes whose noise is measured one by one: it depends on the level."""
LEAST_OF_DARKER = 0.1
"""Code of a darker frame from which on it is compared: below, its noise is cut off at black."""
ENOUGH = 50
"""Samples that a range needs."""
TRUSTED = 0.5
"""Trust that a resampled pixel needs; see `align.warp_with_trust`."""
MOST_NOISE = 0.04
"""Largest that is believed; a larger difference has other causes, too."""
SHRINKAGE = 3.0
"""Hard threshold on transform coefficients, in standard deviations of the noise
(docs/notes/experiments.md, Noise)."""
SMOOTHING_REACH = 3
"""Pixels around it that a smoothed pixel depends on."""

CENTRES = np.convolve(LEVELS, (0.5, 0.5), "valid")
"""Middles of these ranges."""

NoiseCurve = tuple[float, ...]
"""Standard deviation of the noise in each range of `LEVELS` [gamma codes]."""

NO_NOISE: NoiseCurve = (0.0,) * (len(LEVELS) - 1)


def noise_curve(
    reference: Sequence[FloatImage],
    others: Sequence[Sequence[FloatImage]],
    trusts: Sequence[Sequence[FloatImage]],
    stops: Sequence[float],
) -> NoiseCurve:
    """An upper bound of the reference's noise in each range of codes.

    Two bounds, of which the lower counts, each by the median absolute deviation (Hampel 1974), on
    which single things have no effect. The one is how much another frame differs, without that
    frame's part in it: of the noise of photons a frame exposed by s stops more has 2 ** -s times
    the variance; ranges that cannot be compared go by those that can. The other is what the finer
    coefficients of the reference itself are like, which are little but noise (Donoho & Johnstone
    1994). Where nothing at all can be compared, nothing counts as noise.

    Args:
        reference: patches (h, w, 3) float32 of the reference, gamma codes in [0, 1].
        others: of each other frame the same patches, aligned.
        trusts: likewise, (h, w) float32 in [0, 1].
        stops: of each relative to the reference [stops].

    Returns:
        One standard deviation a range, in [0, MOST_NOISE].
    """
    differences = [np.full(len(LEVELS) - 1, np.nan)]
    own = np.concatenate([patch.reshape(-1, 3) for patch in reference])
    for codes, there, stop in zip(others, trusts, stops, strict=True):
        code = np.concatenate([patch.reshape(-1, 3) for patch in codes])
        trusted = np.concatenate([patch.ravel() for patch in there]) > TRUSTED
        gain = np.float32(2.0 ** (-stop / GAMMA))
        alike = code * gain
        level = alike if stop > 0 else own  # whichever is less noisy
        seen = level > gain * (LEVELS[0] if stop > 0 else LEAST_OF_DARKER)
        seen &= (code > LEVELS[0]) & (code < CLIPPING_STARTS) & trusted[:, None]
        deviations = _deviations(level[seen], np.asarray(own - alike, np.float32)[seen])
        differences.append(deviations / (1.0 + 2.0**-stop) ** 0.5)
    compared = np.fmin.reduce(differences)
    if np.isnan(compared).all():
        return NO_NOISE
    lowest = np.fmin(_extrapolated(compared), _by_itself(reference))
    return tuple(np.minimum(lowest, MOST_NOISE).tolist())


def _extrapolated(deviations: NDArray[np.float64]) -> NDArray[np.float64]:
    """What noise can be at most in ranges that are not known (NaN), going by those that are.

    From dark to bright noise does not grow [gamma codes]; from bright to dark it grows no faster
    than that of the sensor's electronics, which in linear values is the same everywhere.
    """
    steepest = CENTRES ** (1.0 - GAMMA)
    found = np.full(len(deviations), np.nan)
    for number in np.flatnonzero(~np.isnan(deviations)):
        bound = deviations[number] * np.maximum(steepest / steepest[number], 1.0)
        found = np.fmin(found, bound)
    return np.where(np.isnan(deviations), found, deviations)


def _deviations(levels: FloatImage, values: FloatImage) -> NDArray[np.float64]:
    """Deviations of values (..., N) in each range that their levels (N,) are in, NaN if unknown."""
    ranges = np.digitize(levels, LEVELS) - 1
    found = np.full((*values.shape[:-1], len(LEVELS) - 1), np.nan)
    for number in range(len(LEVELS) - 1):
        here = values[..., ranges == number]
        if here.shape[-1] >= ENOUGH:
            middle = np.median(here, axis=-1, keepdims=True)
            found[..., number] = 1.4826 * np.median(np.abs(here - middle), axis=-1)
    return found


def _by_itself(patches: Sequence[FloatImage]) -> NDArray[np.float64]:
    """What the reference alone tells of its noise in each range, NaN where nothing.

    Of the 15 coefficients of 4 x 4 blocks (every other one of them) most hold little but noise; the
    upper quartile counts, since JPEG takes the noise away from the fine ones.
    """
    bands = np.concatenate([_coefficients(patch) for patch in patches], axis=1)
    deviations = _deviations(bands[0] / np.float32(16.0), bands[1:] / np.float32(4.0))
    return np.asarray(np.quantile(deviations, 0.75, axis=0), np.float64)


def _coefficients(patch: FloatImage) -> FloatImage:
    """The coefficients of every other block of a patch (h, w, 3): (16, n)."""
    found: list[FloatImage] = []

    def keep(band: FloatImage) -> FloatImage:
        found.append(band[::2, ::2].flatten())
        return band

    _there_and_back(patch, keep)
    return np.stack(found)


COLOURS = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]], np.float32)
COLOURS /= np.linalg.norm(COLOURS, axis=1, keepdims=True)
"""Luminance and two differences of colours, orthonormal."""


def smooth(code: FloatImage, noise: NoiseCurve) -> FloatImage:
    """A frame without its noise: sliding 4 x 4 Hadamard transforms, their small coefficients cut.

    Hard thresholds (Donoho & Johnstone 1994, "Ideal spatial adaptation by wavelet shrinkage") at
    `SHRINKAGE` deviations of the noise at the block's level, averaged over all blocks that a pixel
    is in (Coifman & Donoho 1995, "Translation-invariant de-noising"). Clipped pixels, and those
    that are almost, remain as they are.

    Args:
        code: (H, W, 3) float32 gamma codes in [0, 1].
        noise: of the frame.

    Returns:
        (H, W, 3) float32 in [0, 1]; `code` itself where there is no noise.
    """
    if not any(noise):
        return code
    # What is cut is subtracted, so that nothing else is rounded. Noise fits into 16 bits, in which
    # a computer is twice as fast as in 32: neither a sum over a block nor what is cut of all of a
    # pixel's blocks overflows.
    scale = min(_LARGEST / (16.0 * 3.0**0.5), _LARGEST / 256.0 / (4.0 * SHRINKAGE * max(noise)))
    border = SMOOTHING_REACH
    wide = cv2.copyMakeBorder(code, border, border, border, border, cv2.BORDER_REFLECT_101)
    coloured = cv2.transform(wide, COLOURS)
    threshold: NDArray[np.int16] | None = None
    removed = []
    for plane in cv2.split(cv2.multiply(coloured, scale, dtype=cv2.CV_16S)):  # pyright: ignore
        is_mean = True  # the first coefficient, which stays

        def cut(band: NDArray[np.int16]) -> NDArray[np.int16]:
            nonlocal threshold, is_mean
            if threshold is None:  # the first plane is luminance
                threshold = _thresholds(band, noise, scale)
            band *= 0 if is_mean else np.abs(band) <= threshold
            is_mean = False
            return band

        removed.append(_there_and_back(np.asarray(plane, np.int16), cut))
    joint = np.asarray(cv2.merge(removed), np.float32)
    back = code - cv2.transform(joint, COLOURS.T / np.float32(256.0 * scale))
    np.clip(back, 0.0, 1.0, out=back)
    clipping = largest_channel(code) >= CLIPPING_STARTS
    if clipping.any():
        back[clipping] = code[clipping]
    return np.asarray(back, np.float32)


_LARGEST = 32_500
"""Of the integers that smoothing computes in."""


def _thresholds(luminance: NDArray[np.int16], noise: NoiseCurve, scale: float) -> NDArray[np.int16]:
    """What counts as nothing in each 4 x 4 block, of which `luminance` is the first coefficient.

    The transform without its factor of 1/4 multiplies the noise's deviation by 4.
    """
    table = np.interp(np.linspace(0.0, 1.0, 256), CENTRES, noise) * (4.0 * SHRINKAGE * scale)
    level = cv2.convertScaleAbs(luminance, alpha=255.0 / (16.0 * 3.0**0.5 * scale))
    return np.asarray(cv2.LUT(level, np.rint(table).astype(np.int16)[None]), np.int16)


_Numbers = TypeVar("_Numbers", FloatImage, NDArray[np.int16])


def _there_and_back(x: _Numbers, change: Callable[[_Numbers], _Numbers], step: int = 0) -> _Numbers:
    """Hadamard transforms of all 4 x 4 blocks, and back.

    A transform of four is one of pairs, then one of pairs of pairs; here first of pixels next to
    each other along either axis, then of those two apart. One coefficient after the other goes all
    the way, so that little memory is needed.

    Args:
        x: (H, W), or with channels behind.
        change: what to do with each coefficient of all blocks, (H - 3, W - 3), which it may change
            in place. They are 4 times the orthonormal ones; the first is the sum over the block.
        step: of the four that make a transform.

    Returns:
        (H - 6, W - 6): the changed coefficients transformed back, of each pixel that is in 16
        blocks; summed over these, that is, scaled by 256.
    """
    if step == 4:
        return change(x)
    apart, rows_or_columns = 1 + step // 2, (slice(None),) * (step % 2)
    but_last = (*rows_or_columns, slice(None, -apart))
    but_first = (*rows_or_columns, slice(apart, None))
    sums = _there_and_back(x[but_last] + x[but_first], change, step + 1)
    differences = _there_and_back(x[but_last] - x[but_first], change, step + 1)
    both = sums + differences
    sums -= differences
    both = both[but_first]
    both += sums[but_last]
    return both
