"""Cutting a picture into tiles, overlapping or not, and working on them on all cores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import torch

MERGED_TILE = 384
"""Side of the tiles in which pictures are worked on [pixels]: smaller ones spend more time on
waiting for Python's lock, larger ones take more memory."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile: what to compute, what to keep of it, and where that goes.

    Attributes:
        rows: rows of the picture to read, halo included.
        columns: columns of the picture to read, halo included.
        keep_rows: rows of the tile's own result to keep.
        keep_columns: columns of the tile's own result to keep.
    """

    rows: slice
    columns: slice
    keep_rows: slice
    keep_columns: slice

    @property
    def target(self) -> tuple[slice, slice]:
        """Where in the picture the kept part goes."""
        return (
            slice(self.rows.start + self.keep_rows.start, self.rows.start + self.keep_rows.stop),
            slice(
                self.columns.start + self.keep_columns.start,
                self.columns.start + self.keep_columns.stop,
            ),
        )


def _rounded_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _spans(length: int, side: int, halo: int, multiple: int) -> Iterator[tuple[slice, slice]]:
    count = -(-length // side)
    side = _rounded_up(-(-length // count), multiple)  # as few, but all alike
    for start in range(0, length, side):
        stop = min(start + side, length)
        outer = slice(max(0, start - halo), min(length, stop + halo))
        yield outer, slice(start - outer.start, stop - outer.start)


def tiles(height: int, width: int, side: int, halo: int, multiple: int = 1) -> Iterator[Tile]:
    """Tiles that cover a picture, in reading order.

    Args:
        height: of the picture [pixels], divisible by `multiple`.
        width: likewise.
        side: of the part of a tile that is kept, at most [pixels]; rounded up to `multiple`.
        halo: pixels read beyond it on each side, where there is picture; rounded up to `multiple`.
        multiple: every tile starts and ends at a multiple of this.

    Raises:
        ValueError: if the picture's sides are not divisible by `multiple`.
    """
    if height % multiple or width % multiple:
        raise ValueError(f"{width} x {height} is not divisible by {multiple}")
    side, halo = _rounded_up(side, multiple), _rounded_up(halo, multiple)
    for rows, keep_rows in _spans(height, side, halo, multiple):
        for columns, keep_columns in _spans(width, side, halo, multiple):
            yield Tile(rows, columns, keep_rows, keep_columns)


@contextmanager
def on_all_cores(*, few: bool = False) -> Iterator[Executor]:
    """As many threads as PyTorch may use, each of which works on its own.

    Args:
        few: whether there may be less work than threads: OpenCV then uses all cores for each. For
            many small pieces its threads only get in one another's way.
    """
    count, threads_of_opencv = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    if not few:
        cv2.setNumThreads(1)
    try:
        with ThreadPoolExecutor(count) as pool:
            yield pool
    finally:
        torch.set_num_threads(count)
        cv2.setNumThreads(threads_of_opencv)


def for_every_tile(work: Callable[[Tile], object], size: tuple[int, int]) -> None:
    """Have every tile of a picture of (height, width) worked on, on all cores."""
    with on_all_cores() as pool:
        for _ in pool.map(work, tiles(*size, MERGED_TILE, 0)):
            pass
