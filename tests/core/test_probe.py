"""Linear probes, invariance and principal axes, on codes made to be known."""

import numpy as np
import pytest

from dfghdr_cli.core.probe import (
    fit_probe,
    held_out_predictions,
    invariance,
    principal_plane,
    r_squared,
    r_squared_within,
)


@pytest.fixture
def grid():
    """8 groups of 5 values, and random numbers."""
    values = np.tile(np.arange(-2.0, 3.0), 8)
    return values, np.repeat(np.arange(8), 5), np.random.default_rng(0)


def test_a_linear_code_is_read_and_noise_is_not(grid):
    values, groups, rng = grid
    mixing = rng.normal(size=(3, 60))
    nuisance = rng.normal(size=(8, 2))[groups]
    codes = np.column_stack([values, nuisance]) @ mixing + 5.0
    assert r_squared(values, held_out_predictions(codes, values, groups)) > 0.999
    noise = rng.normal(size=(40, 60))
    assert r_squared(values, held_out_predictions(noise, values, groups)) < 0.2


def test_what_identifies_a_group_does_not_help(grid):
    """Each group has its own direction for the value: perfect within it, useless outside."""
    _, groups, rng = grid
    values = rng.normal(size=40)
    codes = np.zeros((40, 8))
    codes[np.arange(40), groups] = values
    probe = fit_probe(codes, values, groups)
    assert r_squared(values, probe.predict(codes)) > 0.9
    assert r_squared(values, held_out_predictions(codes, values, groups)) < 0.1


def test_a_dead_component_cannot_explode(grid):
    values, groups, rng = grid
    codes = np.column_stack([values + rng.normal(size=40) * 0.1, np.full(40, 1e-9)])
    probe = fit_probe(codes, values, groups)
    moved = codes + np.array([0.0, 1e-6])
    np.testing.assert_allclose(probe.predict(moved), probe.predict(codes), atol=1e-2)


@pytest.fixture
def known():
    """Codes (200, 6) that tell a number, one component dead, and the number."""
    rng = np.random.default_rng(3)
    values = np.tile(np.arange(-3.0, 4.0), 29)[:200]
    codes = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6)) + 7.0
    codes += values[:, None] * rng.normal(size=6)
    codes[:, 5] = 2.0
    return codes, values


def test_r_squared_counts_from_the_mean():
    values = np.array([0.0, 1.0, 2.0, 3.0])
    assert r_squared(values, values) == 1.0
    assert r_squared(values, np.full(4, values.mean())) == 0.0
    assert r_squared(values, values[::-1]) == pytest.approx(-3.0)


def test_within_a_series_the_zero_does_not_matter():
    values = np.array([0.0, 1.0, 2.0, 3.0])
    series = np.array([0, 0, 1, 1])
    predicted = values + np.array([7.0, 7.0, -4.0, -4.0])
    assert r_squared_within(values, predicted, series) == pytest.approx(1.0)
    assert r_squared(values, predicted) < 0


def test_invariance_is_one_minus_a_ratio_of_squared_distances():
    first, second = np.meshgrid(np.arange(3.0), np.arange(4.0), indexing="ij")
    first, second = first.ravel(), second.ravel()
    codes = np.column_stack([first, 2.0 * second])
    only_first = (first[:, None] != first) & (second[:, None] == second)
    both = (first[:, None] != first) & (second[:, None] != second)
    # Mean of squared differences of 0..2 is 2, of 0..3 is 10/3, over the different ones.
    expected = 1 - 2.0 / (2.0 + 4.0 * 10.0 / 3.0)
    assert invariance(codes, only_first, both) == pytest.approx(expected)
    assert invariance(codes[:, 1:], only_first, both) == pytest.approx(1.0)
    assert invariance(codes, np.zeros_like(both), both) is None
    assert invariance(np.zeros((12, 2)), only_first, both) is None


def test_the_plane_holds_the_largest_variance_and_rises_with_the_values():
    rng = np.random.default_rng(1)
    values = np.linspace(-3.0, 3.0, 30)
    turn, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    codes = np.column_stack([-2.0 * values, rng.normal(size=30), np.zeros((30, 4))]) @ turn + 1.0
    plane = principal_plane(codes, values)
    assert sum(plane.shares) == pytest.approx(1.0)
    assert np.corrcoef(plane.points[:, 0], values)[0, 1] > 0.99
    distances = np.linalg.norm(codes[:, None] - codes, axis=2)
    kept = np.linalg.norm(plane.points[:, None] - plane.points, axis=2)
    np.testing.assert_allclose(kept, distances, atol=1e-6)


def test_one_group_is_not_enough():
    with pytest.raises(ValueError, match="two groups"):
        fit_probe(np.zeros((3, 2)), np.arange(3.0), np.zeros(3, int))
