"""Codes at which two exposures of one scene show one light: what a response is fitted to.

Frames of one scene give the response away, even when the camera was hand-held and things moved: as
long as much the same content is in view, the q-th quantile of one frame shows the same light as the
q-th quantile of another (Grossberg and Nayar, "Determining the camera response from images: what is
knowable?", IEEE TPAMI 25(11), 2003). Quantiles are matched over coarse tiles, so that those that
something moved into can be told from the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.calibration.quantiles import LEVELS, tile_quantiles
from dfghdr_cli.core.clipping import METERED_CODE
from dfghdr_cli.core.types import FloatImage, Frame

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

_LONG_SIDE = 1024
_THUMBNAIL = 384
_GRIDS = (4, 8)
"""Tiles per side. Few large tiles keep what moves inside them; many small ones isolate it."""
_LOWEST = 0.02
"""Code below which a quantile is noise."""
_SMALLEST_STEP = 0.1
"""Frames closer than this [stops] do not tell the curve."""
_RANK_NOISE = 0.01
"""Share of a frame's pixels that leave or enter it between frames; grows with sqrt(tiles)."""
_MOST_MATCHES = 8_000


@dataclass(frozen=True, slots=True)
class Matches:
    """Pairs of codes at which two frames show equal radiance, K in all.

    Attributes:
        dark, bright: (K,) the codes as shares of the largest white, in [0, 1].
        dark_spread, bright_spread: (K,) how far each code moves when the ranks are a little wrong.
        stops: (K,) stated exposure of the bright one relative to the dark one, > 0 [stops].
        weight: (K,) share of the picture behind the match.
        channel: (K,) channel index.
        tile: (K,) a number for the pair of frames and the tile.
        pair: (K, 2) indices of the dark and the bright frame.
    """

    dark: Floats
    bright: Floats
    dark_spread: Floats
    bright_spread: Floats
    stops: Floats
    weight: Floats
    channel: Indices
    tile: Indices
    pair: Indices

    def take(self, rows: slice | NDArray[np.bool_]) -> Matches:
        """Some of the matches."""
        return Matches(*(getattr(self, name)[rows] for name in self.__slots__))

    def by_pair(self) -> Iterator[tuple[int, int, NDArray[np.bool_]]]:
        """Each two frames that were matched, the darker one first, and which matches are theirs."""
        for dark, bright in np.unique(self.pair, axis=0).tolist():
            yield dark, bright, (self.pair == (dark, bright)).all(axis=1)

    def restated(self, stops: Sequence[float]) -> Matches:
        """The same matches where the frames are exposed as `stops` says, one a frame."""
        exposure = np.asarray(stops, np.float64)
        return replace(self, stops=exposure[self.pair[:, 1]] - exposure[self.pair[:, 0]])


def _no_matches() -> Matches:
    none, index = np.empty(0), np.empty(0, np.intp)
    pair = np.empty((0, 2), np.intp)
    return Matches(none, none, none, none, none, none, index, index, pair)


def _reduced(frame: Frame, white: Floats) -> FloatImage:
    """Shares of the largest white (h, w, 3) float32, averaged over blocks of 2x2 or more."""
    height, width = frame.pixels.shape[:2]
    factor = max(2, -(-max(height, width) // _LONG_SIDE))
    size = (max(1, width // factor), max(1, height // factor))
    whole = frame.pixels[: size[1] * factor, : size[0] * factor]
    if whole.dtype == np.uint8:  # else the averages would be rounded to eight bits
        whole = np.multiply(whole, np.uint16(257), dtype=np.uint16)
    top = 1.0 if whole.dtype == np.float32 else 65535.0
    small = cv2.resize(np.ascontiguousarray(whole), size, interpolation=cv2.INTER_AREA)
    scaled = small.astype(np.float32) / np.float32(top * white.max())
    return np.minimum(scaled, np.float32(1.0))


def _ranks(image: FloatImage) -> FloatImage:
    """Small green channel with each value replaced by its rank: the same under any response."""
    scale = min(1.0, _THUMBNAIL / max(image.shape[:2]))
    green = np.ascontiguousarray(image[..., 1])
    height, width = (max(1, round(scale * side)) for side in green.shape)
    green = cv2.resize(green, (width, height), interpolation=cv2.INTER_AREA)
    _, inverse, counts = np.unique(
        np.rint(green * 255).ravel(), return_inverse=True, return_counts=True
    )
    middle = (np.cumsum(counts) - 0.5 * counts) / counts.sum()
    return middle[inverse].reshape(green.shape).astype(np.float32)


def _overlap(length: int, step: int) -> tuple[slice, slice]:
    """Slices of two axes of that length, where the second shows the first moved by `step`."""
    ahead, behind = max(0, step), max(0, -step)
    return slice(behind, length - ahead), slice(ahead, length - behind)


def _shift(first: FloatImage, second: FloatImage) -> tuple[int, int]:
    """How far (rows, columns) the content of `first` has moved in `second`; 0 where in doubt."""
    if min(first.shape) < 32:
        return 0, 0
    window = cv2.createHanningWindow(first.shape[::-1], cv2.CV_32F)
    (across, down), _ = cv2.phaseCorrelate(first - 0.5, second - 0.5, window)
    rows, columns = round(down), round(across)
    if abs(rows) > first.shape[0] // 4 or abs(columns) > first.shape[1] // 4:
        return 0, 0
    (r1, r2), (c1, c2) = map(_overlap, first.shape, (rows, columns))
    moved = np.abs(first[r1, c1] - second[r2, c2]).mean()
    return (rows, columns) if moved < np.abs(first - second).mean() else (0, 0)


def _registered(images: list[FloatImage]) -> list[FloatImage]:
    """The part of the picture that all frames show, after undoing the shift between them."""
    ranks = [_ranks(image) for image in images]
    size = images[0].shape[:2]
    scale = size[0] / ranks[0].shape[0]
    shifts = np.array([(0, 0), *(_shift(a, b) for a, b in pairwise(ranks))])
    offsets = np.rint(np.cumsum(shifts, axis=0) * scale).astype(int)
    offsets -= offsets.min(axis=0)
    height, width = np.array(size) - offsets.max(axis=0)
    if height < size[0] // 2 or width < size[1] // 2:
        return images
    return [
        image[top : top + height, left : left + width]
        for image, (top, left) in zip(images, offsets, strict=True)
    ]


def match(frames: Sequence[Frame], stops: Sequence[float], white: Floats) -> Matches:
    """Match the quantiles of every pair of frames, from dark to bright, tile by tile.

    Args:
        frames: two or more frames of one size.
        stops: stated exposure of each [stops], only differences matter.
        white: (3,) codes in (0, 1] from which on the channels are white.

    Returns:
        The matches, at most some thousands; frames nearer than a tenth of a stop are not matched.
    """
    order = sorted(range(len(frames)), key=lambda index: stops[index])
    images = _registered([_reduced(frames[index], white) for index in order])
    highest = METERED_CODE * white / white.max()
    steps = [stops[index] for index in order]
    pieces: list[Matches] = []
    tiles = 0
    for grid in _GRIDS:
        tables = [tile_quantiles(image, grid) for image in images]
        spreads = [np.gradient(t, LEVELS, axis=1) * _RANK_NOISE * grid**0.5 for t in tables]
        for low, high in combinations(range(len(frames)), 2):
            step = steps[high] - steps[low]
            usable = (tables[low] > _LOWEST) & (tables[high] < highest)
            if step < _SMALLEST_STEP or not usable.any():
                continue
            tile, _, channel = np.nonzero(usable)
            pieces.append(
                Matches(
                    tables[low][usable],
                    tables[high][usable],
                    spreads[low][usable],
                    spreads[high][usable],
                    np.full(len(tile), step),
                    np.full(len(tile), 1.0 / grid**2),
                    channel,
                    tile + tiles,
                    np.repeat([[order[low], order[high]]], len(tile), axis=0),
                )
            )
            tiles += len(tables[0])
    if not pieces:
        return _no_matches()
    columns = zip(*([getattr(p, name) for name in Matches.__slots__] for p in pieces), strict=True)
    whole = Matches(*(np.concatenate(column) for column in columns))
    return whole.take(slice(None, None, -(-len(whole.dark) // _MOST_MATCHES)))
