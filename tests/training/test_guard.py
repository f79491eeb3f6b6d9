"""The guard: what is skipped, what ends a training, and what is no reason to."""

import math

import numpy as np
import pytest

from dfghdr_cli.training import guard
from dfghdr_cli.training.guard import DivergedError, Guard


def steps(errors, watch=None):
    watch = watch or Guard(2.0)
    for number, error in enumerate(errors):
        watch.check_loss(error, error, f"step {number}")
    return watch


def noisy(levels, spread=0.7, seed=0):
    return np.array(levels) * np.exp(np.random.default_rng(seed).normal(0, spread, len(levels)))


def test_noise_is_no_divergence():
    watch = steps(noisy([0.02] * 5000))
    assert watch.healthy


def test_slow_divergence_is_noticed():
    """The error doubles over 400 steps, as it did in prototypes."""
    errors = [*np.linspace(0.1, 0.02, 800), *(0.02 * 2 ** (np.arange(1200) / 400))]
    with pytest.raises(DivergedError, match=r"at step \d+ the median error of 200") as info:
        steps(noisy(errors, 0.3))
    step = int(str(info.value).split("step ")[1].split()[0])
    assert 1200 < step < 1500  # it is twice as large at 1200


def test_a_few_bad_batches_are_no_divergence():
    watch = steps([0.02] * 300)
    for _ in range(20):
        steps([50.0] + [0.02] * 9, watch)
    assert watch.healthy


def test_health_is_lost_before_divergence():
    watch = steps([0.02] * 300)
    assert watch.healthy
    steps([0.03] * 150, watch)
    assert not watch.healthy
    steps([0.02] * 200, watch)
    assert watch.healthy


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite(bad):
    with pytest.raises(DivergedError, match="not finite at step 2"):
        steps([0.1, 0.1, bad])


def test_bad_gradients_are_refused_one_by_one():
    watch = Guard(2.0)
    assert watch.longest_norm == math.inf
    assert all(watch.admits(1.0, "") for _ in range(guard.NORMS))
    assert watch.longest_norm == 2.0
    assert watch.admits(19.0, "")
    assert not watch.admits(21.0, "")
    assert not watch.admits(math.nan, "")
    assert watch.admits(1.0, "")


def test_bad_gradients_in_a_row_end_it():
    watch = Guard(2.0)
    for _ in range(guard.SKIPS - 1):
        assert not watch.admits(math.inf, "step 7")
    with pytest.raises(DivergedError, match="20 batches in a row up to step 8"):
        watch.admits(math.inf, "step 8")


def test_it_goes_on_as_it_was():
    first = steps(noisy([0.02] * 333))
    first.admits(1.0, "")
    second = Guard(2.0)
    second.restore(first.state())
    assert second.state() == first.state()
