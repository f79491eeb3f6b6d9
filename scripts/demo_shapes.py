"""Shapes and materials of the demo bracket's people: signed distance fields in metres.

A field is a function from points (3, n) to distances (n,), negative inside. It is exact near round
limbs and too long or too short near flattened ones and folds, so that a ray has to advance by less
than the distance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.floating[Any]]
Field = Callable[[Values], Values]

_NOISE = np.random.default_rng(7).standard_normal((32, 32, 32), np.float32)


def noise(points: Values, size: Sequence[float]) -> Values:
    """Smooth noise of about unit variance (n,), whose grains have `size` [m] along x, y and z."""
    scaled = points / np.broadcast_to(np.asarray(size, np.float32), (3,))[:, None]
    floor = np.floor(scaled)
    part = scaled - floor
    part = part * part * (3 - 2 * part)
    low = floor.astype(np.int64) % 32
    high = (low + 1) % 32
    total = np.zeros(points.shape[1], np.float32)
    for corner in range(8):
        bits = [(corner >> axis) & 1 for axis in range(3)]
        index = tuple(high[axis] if bits[axis] else low[axis] for axis in range(3))
        weights = [part[axis] if bits[axis] else 1 - part[axis] for axis in range(3)]
        total += _NOISE[index] * weights[0] * weights[1] * weights[2]
    return total * 1.7


@dataclass(frozen=True)
class Material:
    """How a surface looks.

    Attributes:
        albedo: share of red, green and blue that it scatters.
        mottle: how much the albedo varies, as a standard deviation.
        grain: size of the variation along x, y and z [m].
        sheen: light that loose fibres add at grazing angles, as a share of the albedo.
        gloss: mirrored light at normal incidence; 0.04 for leather, less where it is rough.
        wrap: how far light creeps around an edge, 0 for none.
        wrinkles: depth of creases [m], along `crease` [m].
        crease: size of a wrinkle along x, y and z [m].
    """

    albedo: tuple[float, float, float]
    mottle: float = 0.1
    grain: tuple[float, float, float] = (0.02, 0.02, 0.02)
    sheen: float = 0.0
    gloss: float = 0.0
    wrap: float = 0.0
    wrinkles: float = 0.0
    crease: tuple[float, float, float] = (0.09, 0.06, 0.09)


@dataclass(frozen=True)
class Part:
    """One material of a person and where it is."""

    material: Material
    distance: Field


def cone(points: Values, a: Values, b: Values, ra: float, rb: float) -> Values:
    """Distance to a round limb from `a` to `b` [m], whose radius goes from `ra` to `rb` [m]."""
    axis = (b - a).astype(np.float32)
    away = points - a.astype(np.float32)[:, None]
    along = np.clip(axis @ away / max(float(axis @ axis), 1e-8), 0, 1)
    away -= axis[:, None] * along
    return np.sqrt(np.einsum("in,in->n", away, away)) - (ra + (rb - ra) * along)


def ellipsoid(points: Values, centre: Sequence[float], radii: Sequence[float]) -> Values:
    """Distance to an ellipsoid [m], to first order."""
    r = np.asarray(radii, np.float32)[:, None]
    away = (points - np.asarray(centre, np.float32)[:, None]) / r
    first = np.sqrt(np.einsum("in,in->n", away, away)) + 1e-6
    away /= r
    second = np.sqrt(np.einsum("in,in->n", away, away)) + 1e-6
    return first * (first - 1) / second


def box(points: Values, centre: Sequence[float], half: Sequence[float], rounding: float) -> Values:
    """Distance to a box with rounded edges [m]."""
    over = np.abs(points - np.asarray(centre, np.float32)[:, None])
    over -= np.asarray(half, np.float32)[:, None] - np.float32(rounding)
    outside = np.maximum(over, 0)
    inside = np.minimum(over.max(axis=0), 0)
    return np.sqrt(np.einsum("in,in->n", outside, outside)) + inside - rounding


def smooth(width: float, *distances: Values) -> Values:
    """Smooth minimum: joins that are `width` [m] wide."""

    def join(a: Values, b: Values) -> Values:
        part = np.clip(0.5 + 0.5 * (b - a) / width, 0, 1)
        return b + (a - b) * part - width * part * (1 - part)

    return reduce(join, distances)


class Loft:
    """A body with an upright axis and elliptical sections, such as a coat.

    Args:
        profile: rows of height, centre x, centre z, half width and half depth [m], rising.
        folds: depth of the folds that hang down, at the bottom, as a share of the radius.
        count: how many folds there are around.
        phase: angle of the first [radians].
    """

    def __init__(
        self,
        profile: Sequence[Sequence[float]],
        folds: float = 0.0,
        count: float = 5.0,
        phase: float = 0.0,
    ) -> None:
        rows = np.asarray(profile, np.float64)
        self.bottom, self.top = rows[0, 0], rows[-1, 0]
        height = np.linspace(self.bottom, self.top, 96)
        table = [np.interp(height, rows[:, 0], column) for column in rows[:, 1:].T]
        kernel = np.hanning(13)[1:-1]
        padded = [np.pad(column, 5, mode="reflect", reflect_type="odd") for column in table]
        self.table = np.array([np.convolve(c, kernel / kernel.sum(), "valid") for c in padded])
        self.folds, self.count, self.phase = folds, count, phase

    def __call__(self, points: Values) -> Values:
        """Distance (n,) of points (3, n)."""
        x, y, z = points
        place = np.clip((y - self.bottom) / (self.top - self.bottom), 0, 1) * 95
        low = np.minimum(place.astype(np.int64), 94)
        part = (place - low).astype(np.float32)
        cx, cz, w, d = (
            (row[low] * (1 - part) + row[low + 1] * part) for row in self.table.astype(np.float32)
        )
        dx, dz = (x - cx) / w, (z - cz) / d
        # Exponent 2.4 rather than 2: bodies are a little boxier than ellipses.
        radius = (np.abs(dx) ** 2.4 + np.abs(dz) ** 2.4 + 1e-9) ** (1 / 2.4)
        if self.folds:
            angle = np.arctan2(dx, dz)
            fall = np.clip((self.top - y) / (self.top - self.bottom), 0, 1) ** 1.5
            drift = 0.9 * np.sin(5 * y + self.phase)
            wave = np.sin(self.count * angle + self.phase + drift)
            wave += 0.6 * np.sin((2 * self.count + 1) * angle + 2.3 * self.phase - 1.7 * drift)
            radius = radius * (1 - self.folds * fall * wave)
        side = (radius - 1) * np.minimum(w, d)
        ends = np.maximum(self.bottom - y, y - self.top)
        outside = np.hypot(np.maximum(side, 0), np.maximum(ends, 0))
        return np.where((side < 0) & (ends < 0), np.maximum(side, ends), outside)


@dataclass(frozen=True)
class Groove:
    """A seam or an edge of cloth, pressed into a surface."""

    depth: float
    width: float

    def __call__(self, along: Values) -> Values:
        """Depth (n,) at distances (n,) from its middle [m]."""
        return self.depth * np.exp(-((along / self.width) ** 2))


SEAM = Groove(0.006, 0.007)
