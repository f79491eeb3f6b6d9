"""Exposure ratios from the pixels alone, for frames that do not say how they were exposed.

Where nothing moves, equal ranks show equal radiance: the q-th quantile of a part of one frame and
the q-th quantile of the same part of another are one light at two exposures, whatever the response
and however a hand shook. With g = log2 of the inverse response, ``g(code_2) - g(code_1)`` is the
step between the frames, so the right g is the one under which all matches of a pair agree.

What pixels cannot tell is the exponent: g and the steps may be multiplied by one number, and every
match agrees as before (Grossberg and Nayar, "Determining the camera response from images: what is
knowable?", IEEE TPAMI 25(11), 2003). So the *ratios* of the steps are measured, and their common
size rests on an assumption, see `estimate_exposures`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.calibration.quantiles import tile_quantiles
from dfghdr_cli.core.calibration.white import full_code
from dfghdr_cli.core.clipping import COMPARED_CODE
from dfghdr_cli.core.colour import srgb_decode
from dfghdr_cli.core.encoding import GAMMA
from dfghdr_cli.core.types import FloatImage, Frame
from dfghdr_cli.errors import InputError

Floats = NDArray[np.float64]
Curve = Callable[[Floats], Floats]

_PIXELS = 250_000
_GRIDS = (2, 4, 8)
"""Tiles per side: large ones keep what moves inside them, small ones isolate it."""
_LOWEST = 0.02
"""Code below which a match is noise."""
_LEAST_MATCHES = 200
"""Of the 84 * 40 * 3 that a pair of frames can have."""
_MOST_MATCHES = 2000
_SHOULDERS = np.geomspace(0.02, 50.0, 24)
_CAMERA_EXPONENT = 1.7
_EXPONENT_CODES = (0.1, 0.9)
_NAMED_TOLERANCE = 1.15
"""sRGB or gamma 2.2 stands if it misfits by at most this factor of the best curve."""
_SAME = 0.1
"""Frames nearer than this [stops] count as exposed alike."""
_HOPELESS = (0.15, 0.3)
"""The misfit may be this share of the whole span plus so many stops."""
_REMEDY = "give the exposures with --ev, --times or --ev-step"


@dataclass(frozen=True, slots=True)
class ExposureEstimate:
    """What the pixels say about the exposures.

    Attributes:
        stops: of each frame [stops], 0 for the darkest; all 0 where they do not differ.
        assumption: what fixes their size, for a sentence: "the sRGB curve", say.
        misfit: median disagreement of the matches with `stops`, as a share of the whole span.
    """

    stops: tuple[float, ...]
    assumption: str
    misfit: float


@dataclass(frozen=True, slots=True)
class _Pair:
    """Codes (K,) at which two frames, given by their indices, show one light, and their weights."""

    first: int
    second: int
    dark: Floats
    bright: Floats
    weight: Floats


def estimate_exposures(frames: Sequence[Frame]) -> ExposureEstimate:
    """Estimate how frames of one scene were exposed, without knowing their response.

    Robust to motion and to a hand that shook: what counts is the median over many parts of the
    picture. The size of the steps rests on one of these, the first that agrees with the pixels:

    - frames that are linear, or of floating-point numbers, are taken to be linear;
    - codes that fit the sRGB curve or gamma 2.2 as well as any curve are taken to follow it;
    - else the response is a camera's picture style, ``y = (1+s) x^n / (x^n+s)``, whose slope in
      log-log is 1 / 1.7 from code 0.1 to 0.9: contrasty styles measure 1.6, flat ones 2. If that
      is wrong by a factor, so are all steps; the merge then agrees with itself all the same, and
      shows the scene with that much more or less contrast.

    Args:
        frames: two or more frames of one size, in any order.

    Returns:
        The estimate.

    Raises:
        InputError: frames share too little that is neither black nor white, or contradict one
            another, as pictures of different scenes do.
    """
    full = np.float32(full_code(frames))
    images = [_reduced(frame) / full for frame in frames]
    pairs = _pairs(images)
    _check_connected(frames, pairs)
    if all(frame.linear or frame.bit_depth == 32 for frame in frames):
        stops, misfit = _solve(pairs, len(frames), np.log2)
        assumption = "pixel values proportional to light"
    else:
        stops, misfit, assumption = _best(pairs, len(frames))
    span = max(stops) - min(stops)
    share, slack = _HOPELESS
    if misfit > share * span + slack:
        raise InputError(
            f"{_names(frames)} contradict one another by {misfit:.1f} stops, so their exposures "
            f"cannot be told from the pixels: take frames of one scene, or {_REMEDY}."
        )
    if span < _SAME:
        return ExposureEstimate((0.0,) * len(frames), assumption, 0.0)
    darkest = min(stops)
    return ExposureEstimate(
        tuple(round(float(value - darkest), 2) for value in stops), assumption, misfit / span
    )


def _names(frames: Sequence[Frame]) -> str:
    return ", ".join(frame.name for frame in frames)


def _reduced(frame: Frame) -> FloatImage:
    """Encoded frame (h, w, 3) float32 of at most 250 000 pixels, averaged over blocks."""
    height, width = frame.pixels.shape[:2]
    factor = max(1, int(np.ceil(np.sqrt(height * width / _PIXELS))))
    size = (max(1, width // factor), max(1, height // factor))
    # Not the mean of all pixels of a block: of 4 x 4 at most, which is quick and quiet enough.
    step = max(1, factor // 4)
    pixels = frame.pixels[: size[1] * factor : step, : size[0] * factor : step]
    top = 1.0 if frame.bit_depth == 32 else 2.0**frame.bit_depth - 1.0
    small = cv2.resize(pixels.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return np.asarray(small / np.float32(top), np.float32)


def _pairs(images: Sequence[FloatImage]) -> list[_Pair]:
    """The pairs of frames that share enough pixels which are neither black nor white."""
    tables = [[tile_quantiles(image, grid) for image in images] for grid in _GRIDS]
    weights = [1.0 / grid**2 for grid in _GRIDS]
    found = []
    for first, second in combinations(range(len(images)), 2):
        usable = [
            np.all(
                [(t > _LOWEST) & (t < COMPARED_CODE) for t in (table[first], table[second])], axis=0
            )
            for table in tables
        ]
        columns = [
            np.concatenate([table[k][use] for table, use in zip(tables, usable, strict=True)])
            for k in (first, second)
        ]
        weight = np.concatenate(
            [np.full(use.sum(), w) for use, w in zip(usable, weights, strict=True)]
        )
        if len(weight) >= _LEAST_MATCHES:
            stride = -(-len(weight) // _MOST_MATCHES)
            dark, bright = (column[::stride] for column in columns)
            found.append(_Pair(first, second, dark, bright, weight[::stride]))
    return found


def _check_connected(frames: Sequence[Frame], pairs: Sequence[_Pair]) -> None:
    reached = {0}
    for _ in frames:
        for pair in pairs:
            if {pair.first, pair.second} & reached:
                reached |= {pair.first, pair.second}
    lost = [frame for index, frame in enumerate(frames) if index not in reached]
    if lost:
        others = [frame for index, frame in enumerate(frames) if index in reached]
        raise InputError(
            f"{_names(lost)} and {_names(others)} share too little that is neither black nor "
            f"white to tell their exposures from the pixels; {_REMEDY}."
        )


def _weighted_median(values: Floats, weight: Floats) -> float:
    order = np.argsort(values)
    total = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(total, 0.5 * total[-1])])


def _solve(pairs: Sequence[_Pair], count: int, curve: Curve) -> tuple[Floats, float]:
    """Exposures (count,) [stops] under a curve from code to log2 light, and the misfit [stops].

    Each pair's step is the weighted median of its matches; least squares, weighted by how much of
    the picture is behind each, reconciles the pairs.
    """
    rises = [curve(pair.bright) - curve(pair.dark) for pair in pairs]
    steps = np.array([_weighted_median(r, p.weight) for r, p in zip(rises, pairs, strict=True)])
    design = np.zeros((len(pairs), count))
    rows = np.arange(len(pairs))
    design[rows, [pair.second for pair in pairs]] = 1.0
    design[rows, [pair.first for pair in pairs]] = -1.0
    worth = np.sqrt([pair.weight.sum() for pair in pairs])
    stops = np.linalg.lstsq(design * worth[:, None], steps * worth, rcond=None)[0]
    errors = [
        np.abs(rise - (stops[pair.second] - stops[pair.first]))
        for rise, pair in zip(rises, pairs, strict=True)
    ]
    weight = np.concatenate([pair.weight for pair in pairs])
    return np.asarray(stops, np.float64), _weighted_median(np.concatenate(errors), weight)


def _srgb(codes: Floats) -> Floats:
    return np.asarray(np.log2(srgb_decode(codes)), np.float64)


def _gamma(codes: Floats) -> Floats:
    return GAMMA * np.log2(codes)


def _style(shoulder: float) -> Curve:
    """log2 light of ``y = (1+s) x^n / (x^n+s)``, n such that the mean slope is the camera's."""

    def sigmoid(codes: Floats) -> Floats:
        return np.log2(shoulder * codes / (1.0 + shoulder - codes))

    low, high = np.array(_EXPONENT_CODES)
    ends = sigmoid(np.array([low, high]))
    scale = _CAMERA_EXPONENT * np.log2(high / low) / (ends[1] - ends[0])
    return lambda codes: scale * sigmoid(codes)


def _best(pairs: Sequence[_Pair], count: int) -> tuple[Floats, float, str]:
    """Exposures, misfit [stops] and the assumption behind them."""

    def relative(solution: tuple[Floats, float]) -> float:
        return solution[1] / max(float(np.ptp(solution[0])), 1e-3)

    named = {
        "the sRGB curve": _solve(pairs, count, _srgb),
        "gamma 2.2": _solve(pairs, count, _gamma),
    }
    style = min((_solve(pairs, count, _style(s)) for s in _SHOULDERS), key=relative)
    name = min(named, key=lambda key: relative(named[key]))
    best = min(relative(style), relative(named[name]))
    if relative(named[name]) <= _NAMED_TOLERANCE * best:
        return *named[name], name
    return *style, "a camera's usual contrast"
