"""Dense motion between the reference and a globally aligned frame.

Three steps. A coarse match looks for every block's displacement among all those in reach, however
long, and regularises the choice along the picture's rows and columns by semi-global matching
(Hirschmueller 2008, "Stereo processing by semiglobal matching and mutual information", here over
two-dimensional displacements): where a frame is white or flat and shows nothing to match, motion
comes from what surrounds it. DIS optical flow (Kroeger et al. 2016, "Fast optical flow using dense
inverse search") starts from there and finds the details. Last, where DIS matches no better than the
coarse motion did, the coarse motion stays: in flat parts DIS drifts.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.registration.align import SMALLEST, equalise
from dfghdr_cli.core.types import FloatImage

Flow = NDArray[np.float32]

LEAST_REDUCTION = 4.0
"""The coarse match works on a picture at least this many times smaller."""
COARSE_PIXELS = 28_000
"""Largest picture that the coarse match works on (docs/notes/experiments.md, Motion)."""
REACH = 20
"""Longest displacement it tries, along each axis [pixels of that picture]."""
CAP = 0.12
"""Most that one pixel's difference, and as much again that of its gradients, can cost."""
UNSEEN = 0.7 * CAP
"""What a displacement out of the frame costs."""
STEP_PENALTY = 0.03
"""For neighbouring blocks whose displacements differ by one pixel."""
JUMP_PENALTY = 0.5
"""For neighbouring blocks whose displacements differ by more; less across an edge
(docs/notes/experiments.md, Motion)."""
EDGE = 0.06
"""Difference of neighbouring blocks' greys that halves the jump penalty."""
MOVED_PENALTY = 0.02
"""For any displacement at all: frames are globally aligned."""
BETTER = 0.3
"""Levels of 255 by which DIS must match better than the coarse motion to replace it."""


def dense_flow(
    reference_linear: FloatImage,
    aligned_linear: FloatImage,
    stops: float,
    *,
    allowed: FloatImage | None = None,
    least_reduction: float = LEAST_REDUCTION,
) -> NDArray[np.float32]:
    """Dense motion left between the reference and a globally aligned frame.

    Args:
        reference_linear: (H, W, 3) float32 linear, 1 = its own white.
        aligned_linear: (H, W, 3) float32 linear, 1 = its own white.
        stops: exposure of the aligned frame relative to the reference [stops].
        allowed: (H, W) float32, how far the greys of both frames may be apart at the exposure of
            the brighter one, in [0, 1], without anything having moved: what the codes near either
            end of their curves are off by. None where they are not.
        least_reduction: the coarse match works on a picture at least this many times smaller;
            training looks at small cut-outs as coarsely as a merge at a large picture.

    Returns:
        (H, W, 2) float32 [pixels]: aligned(x + flow(x)) shows what reference(x) shows. Zero for
        pictures smaller than 16 pixels a side.
    """
    reference, aligned = equalise(reference_linear, aligned_linear, stops)
    if min(reference.shape) < SMALLEST:
        return np.zeros((*reference.shape, 2), np.float32)
    coarse = _coarse_flow(reference, aligned, least_reduction, allowed)
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    fine = np.asarray(dis.calc(reference, aligned, coarse.copy()), np.float32)
    by_coarse, by_fine = (_mismatch(reference, aligned, f, allowed) for f in (coarse, fine))
    better = by_fine < by_coarse - BETTER
    share = cv2.GaussianBlur(better.astype(np.float32), (0, 0), 1.5)[..., None]
    return np.asarray(coarse + share * (fine - coarse), np.float32)


def _beyond(difference: FloatImage, allowed: FloatImage | None) -> FloatImage:
    """What absolute differences have beyond what is allowed, in their place."""
    if allowed is not None:
        difference -= allowed
        np.maximum(difference, 0.0, out=difference)
    return difference


def _mismatch(
    reference: NDArray[np.uint8],
    aligned: NDArray[np.uint8],
    flow: Flow,
    allowed: FloatImage | None,
) -> FloatImage:
    """Difference of the greys under a flow beyond what is allowed, blurred (H, W) [0, 255]."""
    height, width = reference.shape
    x = flow[..., 0] + np.arange(width, dtype=np.float32)
    y = flow[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    moved = cv2.remap(aligned, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    difference = cv2.absdiff(reference, moved).astype(np.float32)
    if allowed is not None:
        difference = _beyond(difference, allowed * np.float32(255))
    return np.asarray(cv2.GaussianBlur(difference, (0, 0), 2.0), np.float32)


def _coarse_flow(
    reference: NDArray[np.uint8],
    aligned: NDArray[np.uint8],
    least_reduction: float,
    allowed: FloatImage | None,
) -> Flow:
    """(H, W, 2) [pixels], bilinear between blocks of 2 x 2 pixels of a reduced picture."""
    height, width = reference.shape
    factor = max(least_reduction, (height * width / COARSE_PIXELS) ** 0.5)
    rows, columns = (max(2, round(side / factor / 2)) for side in (height, width))
    size = (2 * columns, 2 * rows)
    small, other = (
        cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.float32) / np.float32(255)
        for grey in (reference, aligned)
    )
    if allowed is not None:
        allowed = np.asarray(cv2.resize(allowed, size, interpolation=cv2.INTER_AREA), np.float32)
    total = _aggregate(_matching_cost(small, other, allowed), *_jump_penalties(small))
    best = total.reshape(rows, columns, -1).argmin(2)
    dy, dx = np.divmod(best, 2 * REACH + 1)
    blocks = np.dstack([(dx - REACH) * (width / size[0]), (dy - REACH) * (height / size[1])])
    flow = cv2.resize(blocks.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(flow, np.float32)


def _gradients(image: FloatImage) -> tuple[FloatImage, FloatImage]:
    return tuple(  # pyright: ignore[reportReturnType]
        np.asarray(cv2.Sobel(image, cv2.CV_32F, *axis, ksize=3, scale=0.25), np.float32)
        for axis in ((1, 0), (0, 1))
    )


def _matching_cost(
    reference: FloatImage, other: FloatImage, allowed: FloatImage | None
) -> FloatImage:
    """What every displacement of every block costs: (rows, columns, D, D), D = 2 * REACH + 1.

    The mean over the block's 2 x 2 pixels and one more around them.
    """
    height, width = reference.shape
    count = 2 * REACH + 1

    def padded(image: NDArray[Any], value: float) -> NDArray[Any]:
        return cv2.copyMakeBorder(
            image, REACH, REACH, REACH, REACH, cv2.BORDER_CONSTANT, value=value
        )

    here = [reference, *_gradients(reference)]
    there = [padded(image, 0.0) for image in (other, *_gradients(other))]
    outside = padded(np.zeros(other.shape, np.uint8), 1.0).astype(bool)
    cost = np.empty((count * count, (height // 2) * (width // 2)), np.float32)
    # One displacement after the other: its few planes stay in a CPU's cache.
    for number, of_displacement in enumerate(cost):
        dy, dx = divmod(number, count)
        windows = [plane[dy : dy + height, dx : dx + width] for plane in there]
        grey, across, down = (
            _beyond(np.abs(w - h), allowed) for w, h in zip(windows, here, strict=True)
        )
        pixel = np.minimum(grey, CAP) + np.minimum(across + down, CAP)
        np.copyto(pixel, UNSEEN, where=outside[dy : dy + height, dx : dx + width])
        around = cv2.boxFilter(pixel, -1, (4, 4), None, (1, 1), True, cv2.BORDER_REPLICATE)
        of_displacement[:] = around[::2, ::2].ravel()
    by_block = np.asarray(cv2.transpose(cost), np.float32)
    cost = by_block.reshape(height // 2, width // 2, count, count)
    offset = np.arange(-REACH, REACH + 1, dtype=np.float32)
    length = np.hypot(offset[:, None], offset)
    cost += MOVED_PENALTY * (np.minimum(length, 1) + 0.02 * length)
    return cost


def _jump_penalties(reference: FloatImage) -> tuple[FloatImage, FloatImage]:
    """Penalties between blocks (rows - 1, columns) one above the other, and side by side."""
    height, width = reference.shape
    blocks = cv2.resize(reference, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    down, right = (
        np.float32(JUMP_PENALTY) * (1 / (1 + np.abs(np.diff(blocks, axis=axis)) / EDGE) + 0.1)
        for axis in (0, 1)
    )
    return down.astype(np.float32), right.astype(np.float32)


def _aggregate(cost: FloatImage, down: FloatImage, right: FloatImage) -> FloatImage:
    """Semi-global aggregation along four paths, of the shape of `cost`."""
    total = np.zeros_like(cost)
    for axis, jumps in ((0, down), (1, right)):
        along, sums = np.moveaxis(cost, axis, 0), np.moveaxis(total, axis, 0)
        penalties = np.moveaxis(jumps, axis, 0)
        count = len(along)
        for order in (range(count), range(count - 1, -1, -1)):
            path: FloatImage | None = None
            for k in order:
                if path is None:
                    path = along[k].copy()
                else:
                    jump = penalties[k - 1 if order.step > 0 else k]
                    path = along[k] + _cheapest_way(path, jump)
                sums[k] += path
    return total


def _cheapest_way(path: FloatImage, jump: FloatImage) -> FloatImage:
    """Least cost of coming to each displacement from any other: (n, D, D) of (n, D, D), (n,)."""
    step = np.float32(STEP_PENALTY)
    least = path.min((1, 2), keepdims=True)
    way = np.minimum(path, least + jump[:, None, None])
    raised = path + step
    np.minimum(way[:, 1:], raised[:, :-1], out=way[:, 1:])
    np.minimum(way[:, :-1], raised[:, 1:], out=way[:, :-1])
    np.minimum(way[:, :, 1:], raised[:, :, :-1], out=way[:, :, 1:])
    np.minimum(way[:, :, :-1], raised[:, :, 1:], out=way[:, :, :-1])
    way -= least
    return way
