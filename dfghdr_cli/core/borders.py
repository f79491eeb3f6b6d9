"""Borders that the darker frames do not cover, coloured from the inside of the picture.

A hand moves between two shots, so at the borders of the reference there is less to merge. Where
the reference is white there and no other frame saw anything, a strip would be left that is white,
or of whatever colour clipped channels make. The same sky goes on inside the picture, where a darker
frame shows its colour, and that colour is continued to the border.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.clipping import any_channel
from dfghdr_cli.core.registration.aligned import AlignedBracket, enlarged, reduced_size
from dfghdr_cli.core.registration.warp import covered, source_map
from dfghdr_cli.core.tiles import Tile, for_every_tile
from dfghdr_cli.core.types import SAME_EXPOSURE, FloatImage, Mask, MergeResult
from dfghdr_cli.core.worth import is_white

LEAST_SOURCE = 8
"""Pixels of the reduced picture from which a colour can be continued."""
MOST_GAIN = 4.0
"""By how much the reference may brighten or dim the colour, where some of its channels measure."""
_EMPTY = 1e-3
BORDER_PIXELS = 250_000
"""Size of the picture on which colours are continued to the borders."""


def bare(
    transforms: Sequence[NDArray[np.float64]], size: tuple[int, int], reduced: tuple[int, int]
) -> Mask:
    """Where one of several frames does not cover the reference, seen on a reduced picture.

    Args:
        transforms: (3, 3) each, pixel of the reference -> pixel of the frame.
        size: (height, width) of the frames.
        reduced: (height, width) of the picture to show it on.

    Returns:
        (height, width) bool; a reduced pixel counts if any part of it, or its neighbour's, does.
    """
    down, across = (full / small for full, small in zip(size, reduced, strict=True))
    grow = np.array([[across, 0, across / 2 - 0.5], [0, down, down / 2 - 0.5], [0, 0, 1]])
    uncovered = np.zeros(reduced, np.bool_)
    for transform in transforms:
        u, v = source_map(transform @ grow, slice(0, reduced[0]), slice(0, reduced[1]))
        uncovered |= ~covered(u, v, size)
    return cv2.dilate(uncovered.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0


def continued(picture: FloatImage, source: Mask) -> FloatImage:
    """A picture whose colours are continued from where they are known, the nearest counting most.

    Push and pull (Gortler et al. 1996, "The lumigraph", 4.3): means of what is known are made on
    ever coarser pictures, and fill what is empty on the finer ones.

    Args:
        picture: (H, W, 3) float32.
        source: (H, W) bool, where it is known; somewhere at least.

    Returns:
        (H, W, 3) float32; where it is known, the picture.
    """
    weight = source.astype(np.float32)
    if min(source.shape) < 2 or source.all():
        total = max(float(weight.sum()), 1.0)
        mean = (picture * weight[..., None]).sum(axis=(0, 1)) / total
        return np.where(source[..., None], picture, np.float32(mean)).astype(np.float32)
    height, width = source.shape
    small = (width + 1) // 2, (height + 1) // 2
    share = cv2.resize(weight, small, interpolation=cv2.INTER_AREA)
    sums = cv2.resize(picture * weight[..., None], small, interpolation=cv2.INTER_AREA)
    coarse = sums / np.maximum(share, _EMPTY)[..., None]
    filled = continued(np.asarray(coarse, np.float32), np.asarray(share > _EMPTY))
    large = cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(source[..., None], picture, large).astype(np.float32)


def recoloured(radiance: FloatImage, white: Mask, colour: FloatImage) -> FloatImage:
    """Pixels of which the reference knows no more than that they are white, with another's colour.

    Channels that the reference measures stay as they are and say how bright the colour is here;
    where it measures none, the colour is taken as it is, or as bright as the reference's white.

    Args:
        radiance: (n, 3) float32, of the merge: in white channels the least that it can be.
        white: (n, 3) bool, the channels in which the reference is clipped.
        colour: (n, 3) float32, of the scene inside the picture.

    Returns:
        (n, 3) float32.
    """
    tiny = np.float32(1e-6)
    known = np.where(white, 0.0, radiance).sum(axis=1)
    expected = np.where(white, 0.0, colour).sum(axis=1)
    gain = np.where(expected > tiny, known / np.maximum(expected, tiny), 1.0)
    gain = np.clip(gain, 1.0 / MOST_GAIN, MOST_GAIN)
    least = np.where(white, radiance / np.maximum(colour, tiny), 0.0).max(axis=1)
    gain = np.where(white.all(axis=1), np.maximum(1.0, least), gain)
    lit = colour * gain[:, None]
    return np.where(white, np.maximum(lit, radiance), radiance).astype(np.float32)


def extend_inside(result: MergeResult, aligned: AlignedBracket) -> None:
    """Give borders that only a white reference shows the colour of the inside.

    Args:
        result: the merge, whose radiance is changed there.
        aligned: what it was made of.
    """
    darker = [
        alignment.transform
        for alignment, stops in zip(aligned.alignments, aligned.coded.stops, strict=True)
        if stops < -SAME_EXPOSURE and alignment.model != "none"
    ]
    size = aligned.size
    small = reduced_size(size, (BORDER_PIXELS / (size[0] * size[1])) ** 0.5)
    uncovered = bare(darker, size, small)
    if not uncovered.any():
        return
    reference = aligned.coded.frames[aligned.coded.reference]
    pixels = result.radiance.pixels
    reduced = reference.reduced(small)
    source = any_channel(is_white(reduced.code(), reduced.worth)) & ~uncovered
    if np.count_nonzero(source) < LEAST_SOURCE:
        return
    inside = cv2.resize(pixels, small[::-1], interpolation=cv2.INTER_AREA)
    colours = continued(np.asarray(inside, np.float32), source)
    across = uncovered.astype(np.float32)

    def one(tile: Tile) -> None:
        here = tile.rows, tile.columns
        if not result.clipped[here].any():
            return
        strip = result.clipped[here] & (enlarged(across, size, *here) > 0)
        if strip.any():
            white = is_white(reference.code(*here), reference.worth)[strip]
            colour = enlarged(colours, size, *here)[strip]
            pixels[here][strip] = recoloured(pixels[here][strip], white, colour)

    for_every_tile(one, size)
