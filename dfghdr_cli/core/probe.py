"""What a code knows: linear probes, invariance and axes.

A *code* here is a vector a network made of one image; a *group* holds all images of one origin, so
that nothing is predicted of an image from another picture of the same place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

STRENGTHS = tuple(10.0 ** (power / 2) for power in range(-8, 9))
"""Ridge penalties that are tried, each times the mean eigenvalue of the codes' covariance."""
_DEAD = 1e-3
"""A component that varies by less than this part of the liveliest one is not blown up."""
_FOLDS = 6
"""Parts of the groups, each predicted by probes that are fitted to the others."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A linear function from a code to a number.

    Attributes:
        mean: (L,) subtracted from a code.
        scale: (L,) what the difference is divided by.
        weights: (L,).
        offset: added.
    """

    mean: Floats
    scale: Floats
    weights: Floats
    offset: float

    def predict(self, codes: Floats) -> Floats:
        """Numbers (n,) of codes (n, L)."""
        return (codes - self.mean) / self.scale @ self.weights + self.offset


def fit_probe(codes: Floats, values: Floats, groups: NDArray[np.integer]) -> Probe:
    """Fit a linear probe by ridge regression.

    Components are standardised (those that hardly vary at all, less). The penalty is the one of
    `STRENGTHS` whose predictions, of each part of the groups from the others, err least.

    Args:
        codes: (n, L).
        values: (n,) what to predict.
        groups: (n,) the group of each, at least two different ones.

    Returns:
        The probe, fitted to all of them.
    """
    mean = codes.mean(0)
    deviation = codes.std(0)
    scale = deviation + _DEAD * max(float(deviation.max()), 1e-12)
    x = (codes - mean) / scale
    parts = _parts(groups)
    errors = np.zeros(len(STRENGTHS))
    for part in parts:
        centre, offset = x[~part].mean(0), values[~part].mean()
        weights = _ridge(x[~part] - centre, values[~part] - offset)
        predicted = (x[part] - centre) @ weights + offset
        errors += ((predicted - values[part, None]) ** 2).sum(0)
    offset = float(values.mean())
    weights = _ridge(x, values - offset)[:, errors.argmin()]
    return Probe(mean, scale, weights, offset)


def _ridge(x: Floats, y: Floats) -> Floats:
    """Ridge weights (L, S) of centred x (n, L) and y (n,), one column for each of `STRENGTHS`."""
    left, singular, right = np.linalg.svd(x, full_matrices=False)
    penalties = np.array(STRENGTHS) * max(float((singular**2).sum()) / x.shape[1], 1e-12)
    shrunk = singular[:, None] / (singular[:, None] ** 2 + penalties)
    return right.T @ (shrunk * (left.T @ y)[:, None])


def _parts(groups: NDArray[np.integer]) -> list[NDArray[np.bool_]]:
    """Masks (n,) of at most `_FOLDS` parts, each of whole groups, in the order of the groups."""
    names = np.unique(groups)
    if len(names) < 2:
        raise ValueError("predicting what was held out takes at least two groups")
    return [np.isin(groups, part) for part in np.array_split(names, min(_FOLDS, len(names)))]


def held_out_predictions(codes: Floats, values: Floats, groups: NDArray[np.integer]) -> Floats:
    """Predict each value by a probe that has seen nothing of its group.

    The groups are split into at most 6 parts; each is predicted by a probe fitted to the others.

    Args:
        codes: (n, L).
        values: (n,).
        groups: (n,) at least three different ones.

    Returns:
        (n,) predictions.

    Raises:
        ValueError: if there are fewer than three groups.
    """
    parts = _parts(groups)
    predicted = np.empty(len(values))
    for part in parts:
        probe = fit_probe(codes[~part], values[~part], groups[~part])
        predicted[part] = probe.predict(codes[part])
    return predicted


def r_squared(values: Floats, predicted: Floats) -> float:
    """Coefficient of determination, 1 - SS(residual) / SS(about the mean of `values`).

    1 is perfect, 0 as good as always saying the mean, and less than 0 worse than that.
    """
    total = ((values - values.mean()) ** 2).sum()
    return float(1.0 - ((values - predicted) ** 2).sum() / total)


def r_squared_within(values: Floats, predicted: Floats, series: NDArray[np.integer]) -> float:
    """`r_squared` of the differences within each series, whatever its zero.

    Args:
        values: (n,).
        predicted: (n,).
        series: (n,) whose means are taken out of values and predictions alike.
    """
    return r_squared(_centred(values, series), _centred(predicted, series))


def _centred(x: Floats, series: NDArray[np.integer]) -> Floats:
    _, index = np.unique(series, return_inverse=True)
    means = np.bincount(index, x) / np.bincount(index)
    return x - means[index]


def invariance(codes: Floats, same: NDArray[np.bool_], other: NDArray[np.bool_]) -> float | None:
    """How little a code changes where only a factor that it should ignore changes.

    1 minus the mean squared distance of the pairs that differ in that factor alone, over that of
    the pairs that differ in both: 1 = unmoved, 0 = moved as much as by anything.

    Args:
        codes: (n, ...).
        same: (n, n), the pairs that differ only in the factor to be ignored.
        other: (n, n), the pairs that differ in both factors.

    Returns:
        At most 1, or None where there are no such pairs or nothing differs at all.
    """
    if not same.any() or not other.any():
        return None
    flat = codes.reshape(len(codes), -1).astype(np.float64)
    flat = flat - flat.mean(0)
    squares = (flat**2).sum(1)
    distance = np.maximum(squares[:, None] + squares - 2.0 * flat @ flat.T, 0.0)
    whole = float(distance[other].mean())
    return 1.0 - float(distance[same].mean()) / whole if whole > 0 else None


@dataclass(frozen=True, slots=True)
class Plane:
    """The plane in which codes differ most.

    Attributes:
        points: (n, 2) coordinates; the first axis is the one with more variance.
        shares: the share of all variance along each axis, 0 to 1.
    """

    points: Floats
    shares: tuple[float, float]


def principal_plane(codes: Floats, values: Sequence[float] | Floats) -> Plane:
    """Principal component analysis to two dimensions.

    Args:
        codes: (n, L), n and L at least 2.
        values: (n,) the first axis is turned so that these rise along it.
    """
    x = codes - codes.mean(0)
    left, singular, _ = np.linalg.svd(x, full_matrices=False)
    points = left[:, :2] * singular[:2]
    if points[:, 0] @ (np.asarray(values) - np.mean(values)) < 0:
        points[:, 0] *= -1.0
    total = max(float((singular**2).sum()), 1e-30)
    shares = singular[:2] ** 2 / total
    return Plane(points, (float(shares[0]), float(shares[1])))
