"""OpenCV's own way from a bracket to radiance, to compare with.

It gets what the other methods get: exposures, the response (gamma 2.2) instead of one estimated
from the frames, all 16 bits where OpenCV takes them, and alignment to the same reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.clipping import CLIPPED_CODE
from dfghdr_cli.core.encoding import decode
from dfghdr_cli.core.types import FloatImage

OpencvMerge = Literal["opencv-debevec", "opencv-robertson"]

_Codes = NDArray[np.unsignedinteger]


def opencv_merge(
    codes: Sequence[FloatImage], stops: Sequence[float], reference: int, kind: OpencvMerge
) -> FloatImage:
    """Merge a bracket with OpenCV's AlignMTB and MergeDebevec or MergeRobertson.

    AlignMTB finds shifts of up to 64 pixels (Ward 2003, "Fast, Robust Image Registration for
    Compositing High Dynamic Range Photographs from Hand-Held Exposures"); frames are shifted by
    whole pixels and continued by their border. MergeDebevec is Debevec and Malik 1997, "Recovering
    High Dynamic Range Radiance Maps from Photographs"; OpenCV gives the channels of a pixel one
    weight, so that white ones count where the others are not. MergeRobertson is Robertson et al.
    1999, "Dynamic Range Improvement through Multiple Exposures". Where the darkest frame is white,
    neither has a frame to go by and OpenCV returns nonsense: there the darkest frame's value is
    taken.

    Args:
        codes: N frames (H, W, 3) RGB, gamma codes in [0, 1], dark to bright.
        stops: exposure of each relative to the darkest frame [stops].
        reference: index of the frame whose geometry the result has.
        kind: which of OpenCV's merges.

    Returns:
        (H, W, 3) float32 linear, 1.0 = the white of the darkest frame; not clipped.
    """
    eight_bits = [np.rint(code * 255).astype(np.uint8) for code in codes]
    greys = [np.asarray(cv2.cvtColor(c, cv2.COLOR_RGB2GRAY), np.uint8) for c in eight_bits]
    shifts = [
        (0, 0) if index == reference else _shift(greys[reference], grey)
        for index, grey in enumerate(greys)
    ]
    levels = _levels()
    frames = [_shifted(_quantised(c, levels), s) for c, s in zip(codes, shifts, strict=True)]
    times = np.exp2(np.asarray(stops)).astype(np.float32)
    merge = cv2.createMergeDebevec() if kind == "opencv-debevec" else cv2.createMergeRobertson()
    radiance = np.asarray(merge.process(frames, times, _response(levels)), np.float32)
    darkest = frames[0].astype(np.float32) / np.float32(levels - 1)
    known = np.isfinite(radiance) & (darkest < CLIPPED_CODE)
    return np.where(known, radiance, decode(darkest))


def _levels() -> int:
    """Codes that OpenCV's merges tell apart: until version 5 they took 8 bits only."""
    return 65536 if int(cv2.__version__.split(".")[0]) >= 5 else 256


def _quantised(code: FloatImage, levels: int) -> _Codes:
    return np.rint(code * (levels - 1)).astype(np.uint16 if levels > 256 else np.uint8)


def _response(levels: int) -> FloatImage:
    """(levels, 1, 3): radiance of each code; half a step at 0, whose logarithm is needed."""
    codes = np.maximum(np.arange(levels), 0.5) / (levels - 1)
    return np.repeat(decode(codes.astype(np.float32))[:, None, None], 3, axis=2)


def _shift(reference: NDArray[np.uint8], other: NDArray[np.uint8]) -> tuple[int, int]:
    """(x, y) by which `other` has to be shifted to lie on the reference [pixels]."""
    # The coarsest of its pictures keeps 4 pixels a side: below, any shift looks right.
    halvings = min(6, max(1, min(reference.shape).bit_length() - 3))
    x, y = cv2.createAlignMTB(max_bits=halvings).calculateShift(reference, other)
    return int(x), int(y)


def _shifted(frame: _Codes, shift: tuple[int, int]) -> _Codes:
    height, width = frame.shape[:2]
    rows = np.clip(np.arange(height) - shift[1], 0, height - 1)
    columns = np.clip(np.arange(width) - shift[0], 0, width - 1)
    return np.ascontiguousarray(frame[rows][:, columns])
