"""Hot pixels: places of the sensor that shine by themselves, the more the longer the exposure.

In a bracket a hot pixel looks like a tiny lamp: brighter with each exposure, at one place of every
frame. But it is one pixel alone. No lens draws a star, or a lamp, so sharp that its light stays
within one pixel; its neighbours have a good part of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.encoding import GAMMA
from dfghdr_cli.core.types import Bracket, Frame, Mask

LEAST_EXCESS = 26
"""Codes of 255 by which a hot pixel is brighter than the darkest of its neighbours."""
ALONE = 4
"""So many times as much as its brightest neighbour is: in light 20 times, where a lens leaves three
to seven times at the utmost."""
_SIDE = 3
_RING = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.uint8)
"""The neighbours of a pixel, and the side of the square that they and it make."""


def hot_pixels(frames: Sequence[Frame]) -> Mask:
    """Where two or more frames, and no frame against them, show a pixel that shines alone.

    Args:
        frames: of one size, dark to bright, as their files have them, not aligned.

    Returns:
        (H, W) bool.
    """
    size = frames[0].pixels.shape[:2]
    if min(size) < _SIDE:
        return np.zeros(size, np.bool_)
    excesses, alone = zip(*(_excess(_grey(frame)) for frame in frames), strict=True)
    count = np.zeros(size, np.uint8)
    for mask in alone:
        count += mask
    rows, columns = np.nonzero(count >= 2)
    found = np.zeros(size, np.bool_)
    if len(rows):
        excess = np.stack([e[rows, columns] for e in excesses])
        lone = np.stack([m[rows, columns] for m in alone])
        bright = (excess < LEAST_EXCESS) | lone  # alone wherever it is seen at all
        grows = np.diff(np.where(lone, excess.astype(np.int16), 0), axis=0) >= -LEAST_EXCESS // 2
        kept = bright.all(axis=0) & grows.all(axis=0)
        found[rows[kept], columns[kept]] = True
    return found


def _grey(frame: Frame) -> NDArray[np.uint8]:
    """(H, W) grey codes; linear samples are coded."""
    pixels = frame.pixels
    if pixels.dtype == np.uint8 and not frame.linear:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
    top = np.float32(1.0 if frame.bit_depth == 32 else 2.0**frame.bit_depth - 1.0)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32) / top
    if frame.linear:
        grey = cv2.pow(grey, 1.0 / GAMMA)
    return np.asarray(cv2.convertScaleAbs(grey, alpha=255.0), np.uint8)


def _excess(grey: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Mask]:
    """By how much pixels are brighter than their darkest neighbour, and which stand alone."""
    darkest, brightest = cv2.erode(grey, _RING), cv2.dilate(grey, _RING)
    excess = cv2.subtract(grey, darkest)
    around = cv2.subtract(brightest, darkest)
    alone = (excess >= LEAST_EXCESS) & (around <= excess // ALONE)
    return np.asarray(excess, np.uint8), np.asarray(alone, np.bool_)


def without_hot_pixels(bracket: Bracket) -> tuple[Bracket, int]:
    """A bracket whose hot pixels show the median of their neighbours, and how many there were.

    Args:
        bracket: as it was read.

    Returns:
        The bracket, itself where there are none, and their number.
    """
    found = hot_pixels(bracket.frames)
    rows, columns = np.nonzero(found)
    if not len(rows):
        return bracket, 0
    height, width = found.shape
    offsets = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
    around = [
        (np.clip(rows + y, 0, height - 1), np.clip(columns + x, 0, width - 1)) for y, x in offsets
    ]
    frames = []
    for frame in bracket.frames:
        pixels = frame.pixels.copy()
        neighbours = np.stack([frame.pixels[place] for place in around])
        # Of eight, the lower median: a value that is there, in the file's own type.
        pixels[rows, columns] = np.sort(neighbours, axis=0)[3]
        frames.append(replace(frame, pixels=pixels))
    return replace(bracket, frames=tuple(frames)), len(rows)
