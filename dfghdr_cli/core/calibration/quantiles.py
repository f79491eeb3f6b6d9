"""Quantiles of a picture tile by tile: what two exposures of one scene are compared by.

Quantiles keep their ranks under any monotone response and any exposure, and those of a tile change
little when things in it move.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.types import FloatImage

LEVELS = (np.arange(40) + 0.5) / 40
"""The ranks, from 0 to 1."""


def tile_quantiles(image: FloatImage, grid: int) -> NDArray[np.float64]:
    """Quantiles of each channel.

    Args:
        image: (H, W, 3).
        grid: tiles along each axis.

    Returns:
        (tiles, levels, 3), at the ranks `LEVELS`; tiles without pixels are left out.
    """
    tiles = [
        tile.reshape(-1, 3)
        for band in np.array_split(image, grid, axis=0)
        for tile in np.array_split(band, grid, axis=1)
        if tile.size
    ]

    def quantiles(tile: FloatImage) -> FloatImage:
        return np.sort(tile, axis=0)[(LEVELS * len(tile)).astype(np.intp)]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.array(list(pool.map(quantiles, tiles)), np.float64)
