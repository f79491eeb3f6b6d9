"""The steerable pyramid that splits a picture into bands, and the resampling between them.

A picture becomes one band of its finest detail, then at each halving of the size four bands by
orientation, then what is left. Filters see the picture mirrored at its border pixels.

Source: Simoncelli and Freeman, "The steerable pyramid", 1995.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.fft import irfft2, rfft2
from torch.nn import functional as F

from dfghdr_cli.core.metrics.hdrvdp2.tables import BANDS, HIGH_RESIDUAL, LOW, LOW_RESIDUAL, Filter

SMALLEST = LOW.shape[0]
"""A level is split further while both its sides are at least this [pixels]."""


def build_pyramid(image: Tensor) -> list[Tensor]:
    """Split pictures into bands.

    Args:
        image: (B, H, W) float64, at least `SMALLEST` pixels a side.

    Returns:
        Bands from fine to coarse, each (B, orientations, h, w) float64: one orientation in the
        first and the last, four between.
    """
    finest, low = correlate(image, (HIGH_RESIDUAL, LOW_RESIDUAL)).split(1, 1)
    bands = [finest]
    height, width = image.shape[-2:]
    while min(height, width) >= SMALLEST:
        split = correlate(low[:, 0], (*BANDS, LOW))
        bands.append(split[:, :-1])
        low = split[:, -1:, ::2, ::2].clone()
        height, width = height // 2, width // 2
    return [*bands, low]


def collapse_pyramid(bands: Sequence[Tensor]) -> Tensor:
    """Put bands together again.

    Args:
        bands: as `build_pyramid` returns them.

    Returns:
        (B, H, W) float64; what `build_pyramid` was given, up to the pyramid's own error.
    """
    finest, *levels, low = bands
    for level in reversed(levels):
        spread = level.new_zeros(low.shape[0], *level.shape[-2:])
        spread[:, ::2, ::2] = low[:, 0]
        low = convolve(spread, (LOW,))
        for orientation, band in enumerate(BANDS):
            low += convolve(level[:, orientation], (band,))
    low = convolve(low[:, 0], (LOW_RESIDUAL,))
    return (low + convolve(finest[:, 0], (HIGH_RESIDUAL,)))[:, 0]


def correlate(image: Tensor, filters: Sequence[Filter]) -> Tensor:
    """Correlate pictures with filters, by way of their spectra.

    Args:
        image: (B, H, W) float64, mirrored at its border pixels.
        filters: square, with odd sides of at most 17.

    Returns:
        (B, filters, H, W) float64.
    """
    height, width = image.shape[-2:]
    radius = max(len(taps) for taps in filters) // 2
    padded = F.pad(image, (radius,) * 4, mode="reflect")
    size = [cv2.getOptimalDFTSize(side) for side in padded.shape[-2:]]
    spectrum = rfft2(padded, s=size)
    result = image.new_empty(image.shape[0], len(filters), height, width)
    for index, taps in enumerate(filters):
        response = _response(np.pad(taps, radius - len(taps) // 2), size, image.device)
        result[:, index] = irfft2(spectrum * response, s=size)[:, :height, :width]
    return result


def convolve(image: Tensor, filters: Sequence[Filter]) -> Tensor:
    """`correlate` with the filters turned by half a circle."""
    return correlate(image, [taps[::-1, ::-1] for taps in filters])


def _response(taps: Filter, size: Sequence[int], device: torch.device) -> Tensor:
    """The filter's conjugate spectrum, as `rfft2` lays it out for pictures of this size."""

    def waves(coefficients: int, period: int) -> Tensor:
        phase = np.outer(np.arange(coefficients), np.arange(len(taps))) * (2j * np.pi / period)
        return torch.from_numpy(np.exp(phase)).to(device)

    rows, columns = size
    middle = torch.from_numpy(taps.astype(np.complex128)).to(device)
    return waves(rows, rows) @ middle @ waves(columns // 2 + 1, columns).T


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample by cubic interpolation (a = -0.5), smoothing where it shrinks.

    Args:
        image: (B, H, W) float64; beyond its border it is mirrored, the border pixel twice.
        size: (height, width) to give it; a side that it has already stays untouched.

    Returns:
        (B, height, width) float64, which may overshoot the range of `image`.
    """
    return _resize_rows(_resize_rows(image, size[0]).mT, size[1]).mT


def _resize_rows(image: Tensor, rows: int) -> Tensor:
    batch, height, width = image.shape
    if height == rows:
        return image
    mixing = _mixing(height, rows).to(image.device)
    flat = image.movedim(1, 0).reshape(height, batch * width)
    return torch.sparse.mm(mixing, flat).view(rows, batch, width).movedim(0, 1)


@lru_cache(maxsize=64)
def _mixing(before: int, after: int) -> Tensor:
    """Sparse (after, before): the weight of every old sample in every new one."""
    shrink = min(after / before, 1.0)
    centre = (np.arange(after) + 0.5) * before / after - 0.5
    reach = int(np.ceil(2 / shrink)) + 1
    old = np.floor(centre)[:, None] + np.arange(-reach, reach + 1)
    distance = np.abs(centre[:, None] - old) * shrink
    weight = np.where(
        distance <= 1,
        (1.5 * distance - 2.5) * distance**2 + 1,
        np.where(distance <= 2, ((-0.5 * distance + 2.5) * distance - 4) * distance + 2, 0.0),
    )
    weight /= weight.sum(axis=1, keepdims=True)
    mirrored = old.astype(np.int64) % (2 * before)
    mirrored = np.minimum(mirrored, 2 * before - 1 - mirrored)
    new = np.broadcast_to(np.arange(after)[:, None], mirrored.shape)
    used = weight != 0
    index = torch.from_numpy(np.stack([new[used], mirrored[used]]))
    values = torch.from_numpy(weight[used])
    matrix = torch.sparse_coo_tensor(index, values, (after, before), check_invariants=True)
    return matrix.coalesce()
