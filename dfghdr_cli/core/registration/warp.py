"""The one resampling that all motion shares, and how far its values can be believed.

Coordinates are (x, y) of pixel centres, the first pixel at (0, 0). A transform maps a pixel of the
reference to where the frame shows the same thing.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.clipping import largest_channel
from dfghdr_cli.core.frames import CodedFrame
from dfghdr_cli.core.types import FloatImage, Mask
from dfghdr_cli.core.worth import is_white

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]
KERNEL_DOUBT = 0.015
"""Relative disagreement of two interpolation kernels at which a resampled pixel counts half."""


def project(transform: Matrix, x: Vector, y: Vector) -> tuple[Vector, Vector]:
    """Where a transform leads pixels (x, y)."""
    m = transform
    depth = m[2, 0] * x + m[2, 1] * y + m[2, 2]
    return (
        (m[0, 0] * x + m[0, 1] * y + m[0, 2]) / depth,
        (m[1, 0] * x + m[1, 1] * y + m[1, 2]) / depth,
    )


def source_map(
    transform: Matrix, rows: slice, columns: slice, flow: NDArray[np.float32] | None = None
) -> tuple[Vector, Vector]:
    """Where a frame shows a part of the reference.

    Args:
        transform: (3, 3), reference pixel (x, y, 1) -> frame pixel.
        rows: of the reference, both ends given.
        columns: likewise.
        flow: (h, w, 2) [pixels] of that part or None: pixel x shows `transform` @ (x + flow(x)).

    Returns:
        u, v: (h, w) float64, coordinates in the frame [pixels].
    """
    x = np.arange(columns.start, columns.stop, dtype=np.float64)
    y = np.arange(rows.start, rows.stop, dtype=np.float64)[:, None]
    if flow is not None:
        return project(transform, x + flow[..., 0], y + flow[..., 1])
    m = transform
    depth = 1.0 / ((m[2, 0] * x + m[2, 2]) + m[2, 1] * y)
    u = (m[0, 0] * x + m[0, 2]) + m[0, 1] * y
    v = (m[1, 0] * x + m[1, 2]) + m[1, 1] * y
    u *= depth
    v *= depth
    return u, v


def _bands(
    transform: Matrix, size: tuple[int, int], flow: NDArray[np.float32] | None
) -> Iterator[tuple[slice, Vector, Vector]]:
    """Bands of rows with the frame coordinates (u, v) of their pixels: whole maps are large."""
    height, width = size
    band = max(1, 1_000_000 // width)
    for top in range(0, height, band):
        rows = slice(top, min(top + band, height))
        here = None if flow is None else flow[rows]
        yield rows, *source_map(transform, rows, slice(0, width), here)


def _reach(low: float, high: float, length: int) -> slice:
    """What a resampling of coordinates low .. high reads of an axis, one pixel more to be sure."""
    start = int(np.clip(np.floor(low) - 3, 0, length - 1))
    stop = int(np.clip(np.floor(high) + 5, 1, length))
    return slice(start, max(stop, start + 1))


def covered(u: Vector | FloatImage, v: Vector | FloatImage, shape: tuple[int, ...]) -> Mask:
    """Where the 4 x 4 pixels of the cubic kernel lie inside the frame."""
    return (u >= 1) & (v >= 1) & (u <= shape[1] - 2) & (v <= shape[0] - 2)


def _untouched(
    image: FloatImage, transform: Matrix, size: tuple[int, int], flow: NDArray[np.float32] | None
) -> bool:
    return flow is None and image.shape[:2] == size and np.array_equal(transform, np.eye(3))


def warp(
    image: FloatImage,
    transform: Matrix,
    size: tuple[int, int],
    flow: NDArray[np.float32] | None = None,
) -> tuple[FloatImage, Mask]:
    """Bring a frame to the reference's geometry, in one single cubic resampling.

    Meant for gamma codes: by experiment they resample better than linear values, whose highlights
    ring into the shadows, and the cubic kernel better than the linear one or Lanczos.

    Args:
        image: (h, w, 3) or (h, w) float32 in [0, 1].
        transform: (3, 3), reference pixel (x, y, 1) -> frame pixel.
        size: (height, width) of the reference.
        flow: (height, width, 2) [pixels] or None: pixel x shows `transform` @ (x + flow(x)).

    Returns:
        warped: (height, width[, 3]) float32 in [0, 1]; repeated border pixels outside the frame.
            The image itself, bit by bit, under the identity.
        valid: (height, width) bool, whether the whole kernel lay inside the frame.
    """
    if _untouched(image, transform, size, flow):
        return image.copy(), np.ones(size, np.bool_)
    warped = np.empty((*size, *image.shape[2:]), np.float32)
    valid = np.empty(size, np.bool_)
    for rows, *maps in _bands(transform, size, flow):
        u, v = (c.astype(np.float32) for c in maps)
        band = cv2.remap(image, u, v, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        np.clip(band, 0.0, 1.0, out=warped[rows])
        valid[rows] = covered(u, v, image.shape)
    return warped, valid


def warp_with_trust(
    code: FloatImage,
    transform: Matrix,
    size: tuple[int, int],
    flow: NDArray[np.float32] | None = None,
    *,
    is_darkest: bool = False,
) -> tuple[FloatImage, FloatImage]:
    """`warp`, and how far each resampled pixel can be believed in a merge.

    Two things spoil a resampled pixel. A kernel that touches clipped pixels mixes in a value that
    nobody knows: there a channel becomes 1, so that the merge takes it for clipped (not in the
    darkest frame, whose white is the best there is). And at strong edges and thin lines the value
    depends on the kernel: trust is 1 / (1 + (d / 0.015)**2) for the difference d between the cubic
    and the linear kernel relative to code + 0.2, in the worst channel.

    Args:
        code: (h, w, 3) float32 gamma codes in [0, 1], 1 = the frame's white.
        transform: (3, 3), reference pixel (x, y, 1) -> frame pixel.
        size: (height, width) of the reference.
        flow: as for `warp`.
        is_darkest: whether no frame of the bracket is darker.

    Returns:
        warped: (height, width, 3) float32 in [0, 1]; the frame itself under the identity.
        trust: (height, width) float32 in [0, 1]; 0 outside the frame, all 1 under the identity.
    """
    if _untouched(code, transform, size, flow):
        return code.copy(), np.ones(size, np.float32)
    warped = np.empty((*size, 3), np.float32)
    trust = np.empty(size, np.float32)
    frame = CodedFrame.of_code(code)
    for rows, u, v in _bands(transform, size, flow):
        warped[rows], trust[rows] = resample(frame, u, v, is_darkest=is_darkest)
    return warped, trust


def resample(
    frame: CodedFrame, u: Vector, v: Vector, *, is_darkest: bool = False
) -> tuple[FloatImage, FloatImage]:
    """A frame's codes at given coordinates, and their trust, as `warp_with_trust` returns them.

    Only the part of the frame that is needed is converted to codes.

    Args:
        frame: the frame.
        u: (h, w) float64, horizontal coordinates in the frame [pixels].
        v: likewise, vertical.
        is_darkest: whether no frame of the bracket is darker.

    Returns:
        warped: (h, w, 3) float32 in [0, 1].
        trust: (h, w) float32 in [0, 1]; 0 outside the frame.
    """
    height, width = frame.size
    rows = _reach(float(v.min()), float(v.max()), height)
    columns = _reach(float(u.min()), float(u.max()), width)
    code = frame.code(rows, columns)
    x = (u - columns.start).astype(np.float32)
    y = (v - rows.start).astype(np.float32)
    border = cv2.BORDER_REPLICATE
    cubic = cv2.remap(code, x, y, cv2.INTER_CUBIC, borderMode=border)
    np.clip(cubic, 0.0, 1.0, out=cubic)
    linear = cv2.remap(code, x, y, cv2.INTER_LINEAR, borderMode=border)
    relative = np.asarray(cv2.absdiff(cubic, linear), np.float32)
    linear += np.float32(0.2)
    relative /= linear
    doubt = largest_channel(relative)
    doubt *= np.float32(1.0 / KERNEL_DOUBT)
    trust = np.asarray(covered(u, v, frame.size) / (1.0 + doubt * doubt), np.float32)
    if not is_darkest and (white := is_white(code, frame.worth)).any():
        # One pixel further, since the cubic kernel reaches one further than the linear one below.
        clipped = cv2.dilate(white.astype(np.uint8) * 255, np.ones((3, 3)))
        touched = cv2.remap(clipped, x, y, cv2.INTER_LINEAR, borderMode=border)
        np.copyto(cubic, np.float32(1.0), where=touched > 2)
    return np.asarray(cubic, np.float32), trust
