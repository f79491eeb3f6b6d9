"""What JPEG compression takes from a photograph, put back as far as the picture itself tells.

Colour differences are stored at half size as a rule, which smears dark channels beside bright ones,
the blue of a wooden desk for example. In small surroundings they follow the luma along a straight
line (the model of He, Sun and Tang, "Guided image filtering", IEEE TPAMI 35(6), 2013), so the
slope at half size times the luma's fine detail is the detail that they lost. And ringing makes
clipped pixels look as if they were not: through a camera's steep shoulder a code of 252 beside
white means a tenth less light, where in truth there may be ten times more.

All of this is in the codes of the file, before any response.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import starmap
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.clipping import JPEG_NEARLY_WHITE, JPEG_WHITE
from dfghdr_cli.core.types import Bracket, FloatImage, Frame, is_darkest

Samples = NDArray[np.uint8] | NDArray[np.uint16] | FloatImage

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""ITU-T T.871 (JFIF), as in BT.601."""
_LEAST_VARIANCE = np.float32(1e-4)
"""Of the luma in 3 x 3 pixels of half size: less is noise, and the slope falls to zero."""
_LOST = 0.9
"""Chroma detail with less than this share of the energy that the luma predicts is taken as lost. In
4:2:0 and 4:2:2 files it mostly has 0.2 to 0.8, in others more than 1.1, by experiment."""
_FITS = 0.75
"""Nor is it lost where the prediction times this factor or more is what there is."""
_LEAST_DETAIL = 0.3 / 255.0
"""RMS of the predicted chroma detail below which there is nothing worth restoring."""
_ROWS = 512
_MARGIN = 8
_ESTIMATE_BANDS = 4
_BLOCK = 8
"""Side of the blocks in which JPEG compresses, and in which it rings [pixels]."""
_OVERSHOOT = 0.043
"""How far ringing goes at an edge, as a share of its height: about half of Gibbs's 9 %, since JPEG
leaves out but a part of a block's frequencies. Beside black, white is off by 11 levels; in a smooth
sky by none."""


def restore_bracket(bracket: Bracket, white: Sequence[float] = (1.0, 1.0, 1.0)) -> Bracket:
    """A bracket whose frames have what JPEG compression took from them put back; see `restore`.

    Args:
        bracket: as it was read.
        white: (3,) code in (0, 1] from which on each channel is white, see `calibration.white`.
    """

    def restored(index: int, frame: Frame) -> Frame:
        darkest = is_darkest(bracket.stops, index)
        pixels = restore(frame.pixels, white, is_darkest=darkest)
        return frame if pixels is frame.pixels else replace(frame, pixels=pixels, restored=True)

    return replace(bracket, frames=tuple(starmap(restored, enumerate(bracket.frames))))


def has_eight_bits(pixels: Samples) -> bool:
    """Whether the codes are those of an 8-bit file, perhaps stored in 16 bits as 257 times them.

    Args:
        pixels: (H, W, 3) uint8, uint16 or float32.
    """
    if pixels.dtype != np.uint16:
        return pixels.dtype == np.uint8
    samples = cast("NDArray[np.uint16]", pixels)
    return not (samples[::16] % 257).any() and not (samples % 257).any()


def restore(
    pixels: Samples, white: Sequence[float] = (1.0, 1.0, 1.0), *, is_darkest: bool
) -> Samples:
    """The codes of one frame with lost colour detail and ringing whites put back.

    Args:
        pixels: (H, W, 3) RGB, uint8, uint16 or float32, as in `Frame`.
        white: (3,) code in (0, 1] from which on each channel is white.
        is_darkest: whether no frame of the bracket is darker. Its nearly white pixels are the best
            there is of the highlights, so they stay as they are; in the other frames a darker one
            knows better.

    Returns:
        (H, W, 3) uint16 (0 .. 65535), or `pixels` itself where nothing was lost: pictures of more
        than 8 bits, without subsampled colour, or too small to tell.
    """
    if not has_eight_bits(pixels) or min(pixels.shape[:2]) < 2 * _MARGIN:
        return pixels
    codes = pixels if pixels.dtype == np.uint8 else (pixels // 257).astype(np.uint8)
    codes = cast("NDArray[np.uint8]", codes)
    gains = _lost_shares(codes)
    if not any(gains):
        if is_darkest or not (codes >= JPEG_WHITE * np.asarray(white)).any():
            return pixels
        result = codes.astype(np.uint16) * np.uint16(257)
    else:
        result = np.empty(codes.shape, np.uint16)
        for outer, inner, target in _bands(codes.shape[0]):
            band = _with_detail(codes[outer], gains)[inner]
            result[target] = np.rint(band * np.float32(65535))
        result[codes == 255] = 65535
    if not is_darkest:
        result[_ringing_white(codes, np.asarray(white, np.float32))] = 65535
    return result


def _bands(height: int) -> Iterator[tuple[slice, slice, slice]]:
    """Rows to look at, which of these to keep, and where they belong."""
    for start in range(0, height, _ROWS):
        stop = min(start + _ROWS, height)
        first = max(0, start - _MARGIN)
        yield (
            slice(first, min(height, stop + _MARGIN)),
            slice(start - first, stop - first),
            slice(start, stop),
        )


def _ringing_white(codes: NDArray[np.uint8], white: FloatImage) -> NDArray[np.bool_]:
    """(H, W, 3): nearly white samples beside white ones, and those where the luma rings there."""
    beside = cv2.dilate(codes, np.ones((3, 3), np.uint8)) >= JPEG_WHITE * white
    square = np.ones((2 * _BLOCK + 1, 2 * _BLOCK + 1), np.uint8)
    luma, top = cv2.cvtColor(codes, cv2.COLOR_RGB2GRAY), 255 * float(_LUMA @ white)
    lacks = _OVERSHOOT * (top - cv2.erode(luma, square).astype(np.float32))
    rings = (luma >= top - lacks) & (cv2.dilate(luma, square) >= top - (255 - JPEG_WHITE))
    near = codes >= 255 * white - lacks[..., None]
    return (codes >= JPEG_NEARLY_WHITE * white) & beside | near & rings[..., None]


def _halved(image: FloatImage, rows: bool, columns: bool) -> FloatImage:
    """Averages over pairs of rows, of columns, or of both; sides are even."""
    height, width = image.shape
    size = (width // 2 if columns else width, height // 2 if rows else height)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)


def _coarse(image: FloatImage, rows: bool) -> FloatImage:
    """What is left of an image (H, W) after halving its rows or columns, and doubling them."""
    small = _halved(image, rows, not rows)
    size = (image.shape[1], image.shape[0])
    return np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_LINEAR), np.float32)


def _planes(codes: NDArray[np.uint8]) -> tuple[FloatImage, FloatImage]:
    """Luma (H, W) and (2, H, W) red and blue minus luma, in [-1, 1], H and W made even."""
    height, width = codes.shape[:2]
    even = cv2.copyMakeBorder(codes, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    image = even.astype(np.float32) / np.float32(255)
    luma = np.asarray(cv2.transform(image, _LUMA[None]), np.float32)
    return luma, np.stack([image[..., 0] - luma, image[..., 2] - luma])


def _slopes(luma: FloatImage, chroma: FloatImage) -> FloatImage:
    """(2, H, W): local slope of chroma over luma at half size."""
    size = (luma.shape[1], luma.shape[0])

    def mean(image: Any) -> FloatImage:
        return np.asarray(cv2.blur(image, (3, 3)), np.float32)

    small = _halved(luma, True, True)
    centre = mean(small)
    variance = mean(small * small) - centre * centre + _LEAST_VARIANCE
    slopes = []
    for plane in chroma:
        half = _halved(plane, True, True)
        slope = mean((mean(small * half) - centre * mean(half)) / variance)
        slopes.append(cv2.resize(slope, size, interpolation=cv2.INTER_LINEAR))
    return np.asarray(slopes, np.float32)


def _lost_shares(codes: NDArray[np.uint8]) -> tuple[float, float]:
    """Which share of the chroma detail is missing between columns, and between rows: 0 .. 1.

    Where it is there, chroma detail has at least the energy that slope and luma predict; else what
    is missing is one minus the factor by which the prediction fits what there is (least squares).
    """
    sums = np.zeros((2, 4))
    height = codes.shape[0]
    starts = np.linspace(0, max(0, height - _ROWS), _ESTIMATE_BANDS).astype(int) // 2 * 2
    for start in np.unique(starts):
        luma, chroma = _planes(codes[start : start + _ROWS])
        slopes = _slopes(luma, chroma)
        for axis, rows in enumerate((False, True)):
            detail = luma - _coarse(luma, rows)
            for slope, plane in zip(slopes, chroma, strict=True):
                expected, found = slope * detail, plane - _coarse(plane, rows)
                sums[axis] += (
                    (expected * found).sum(dtype=np.float64),
                    (expected * expected).sum(dtype=np.float64),
                    (found * found).sum(dtype=np.float64),
                    detail.size,
                )
    shares = []
    for cross, expected, found, count in sums:
        worth_it = expected > count * _LEAST_DETAIL**2
        lost = worth_it and found < _LOST * expected and cross < _FITS * expected
        shares.append(float(np.clip(1.0 - cross / expected, 0.0, 1.0)) if lost else 0.0)
    return shares[0], shares[1]


def _with_detail(codes: NDArray[np.uint8], gains: tuple[float, float]) -> FloatImage:
    """(H, W, 3) float32 in [0, 1]: the codes with chroma detail added, their luma unchanged."""
    height, width = codes.shape[:2]
    luma, chroma = _planes(codes)
    slopes = _slopes(luma, chroma)
    columns = _coarse(luma, False)
    detail = np.float32(gains[0]) * (luma - columns)
    detail += np.float32(gains[1]) * (columns - _coarse(columns, True))
    chroma += slopes * detail
    red, blue = luma + chroma[0], luma + chroma[1]
    green = (luma - _LUMA[0] * red - _LUMA[2] * blue) / _LUMA[1]
    restored = np.stack([red, green, blue], axis=-1)[:height, :width]
    return np.clip(restored, 0.0, 1.0)
