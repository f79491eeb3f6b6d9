"""What the tone curves of real cameras are like: the prior of a response that is to be fitted.

A camera's own JPEGs follow a tone curve over sRGB: shadows with a toe, steep middle tones, and a
shoulder in which the top tenth of the codes holds a stop or more. The curves of makers resemble one
another closely, so that a mean and few principal components describe them, as Grossberg and Nayar
found for film and cameras ("Modeling the space of camera response functions", IEEE TPAMI 26(10),
2004). Mean and components below are those of 27 curves from raw light to JPEG, about half of them
measured from pairs of raw files and JPEGs, of Canon, Fujifilm, Kodak, Konica Minolta, Nikon, Nokia,
Olympus, Pentax, Samsung, and Sony cameras, which the raw developer darktable lists node by node as
its base curves. The thirteen for one model count twice as much as those for all of a maker's.

Everything is log2 of the light that a code stands for, 0 at white, over sRGB codes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.colour import srgb_decode

Floats = NDArray[np.float64]

INTERVALS = 32
"""Of the curve's knots, which lie evenly over `position`."""
_EXPONENT, _SHOULDER = 1.45, 0.176
"""The medians over the cameras of n and s in ``y = (1 + s) x^n / (x^n + s)``, y = sRGB decoded."""
_DARKEST = 1e-6
_MEAN = (-98, -33, 7, 20, 19, 9, 0, -5, -6, -6, -8, -11, -14, -17, -12, 0)
_COMPONENTS = (
    (56, 48, 41, 36, 31, 28, 27, 27, 26, 25, 25, 22, 19, 16, 8, 0),
    (-27, -26, -12, 3, 9, 11, 11, 11, 13, 15, 16, 15, 13, 10, 5, 0),
    (-19, 4, 15, 11, 7, 5, 3, 2, -1, -4, -5, -6, -7, -6, -7, 0),
    (-6, 5, 8, 0, -4, -5, -6, -5, -3, 0, 3, 6, 7, 8, 3, 0),
)
"""Hundredths of a stop at the positions 1/16 to 1: what the mean differs by from the sigmoid, and
one standard deviation along each component."""
_REST = 0.08
"""Standard deviation of what the components leave [stops], and ..."""
_DARK_REST, _DARK_REACH = 0.5, 0.08
"""... what it grows by towards black, where curves are measured badly, and over which position."""
_REST_REACH = 0.1
"""Positions over which the rest is alike."""


def position(codes: Floats) -> Floats:
    """Where codes in [0, 1] lie among the knots, 0 to 1: finer towards black and white."""
    return np.arccos(1.0 - 2.0 * np.clip(codes, 0.0, 1.0)) / np.pi


def hat(codes: Floats) -> Floats:
    """(K, INTERVALS + 1) weights that interpolate between values at the knots for codes (K,)."""
    at = position(codes) * INTERVALS
    left = np.minimum(at.astype(np.intp), INTERVALS - 1)
    rows = np.arange(len(codes))
    weights = np.zeros((len(codes), INTERVALS + 1))
    weights[rows, left] = 1.0 - (at - left)
    weights[rows, left + 1] = at - left
    return weights


def usual_curve(codes: Floats) -> Floats:
    """log2 of the light of codes (K,) by a camera of the usual kind [stops], 0 at code 1."""
    inside = np.clip(codes, _DARKEST, 1.0)
    light = np.asarray(srgb_decode(inside), np.float64)
    sigmoid = np.log2(_SHOULDER * light / (1.0 + _SHOULDER - light)) / _EXPONENT
    return sigmoid + np.interp(position(inside), *_table(_MEAN))


def _table(hundredths: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Positions and values; below the first of them the first counts."""
    count = len(hundredths)
    return np.arange(1, count + 1) / count, np.array(hundredths) / 100.0


def covariance() -> Floats:
    """(INTERVALS, INTERVALS): of the knots' departures from `usual_curve`; white has none."""
    at = np.arange(INTERVALS) / INTERVALS
    components = np.stack([np.interp(at, *_table(row)) for row in _COMPONENTS])
    rest = _REST + _DARK_REST * np.exp(-at / _DARK_REACH)
    rest *= np.minimum((1.0 - at) / _REST_REACH, 1.0)
    alike = np.exp(-0.5 * ((at[:, None] - at) / _REST_REACH) ** 2)
    jitter = 1e-4 * np.eye(INTERVALS)
    return components.T @ components + rest[:, None] * rest * alike + jitter**2
