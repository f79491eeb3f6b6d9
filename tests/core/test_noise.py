"""What the frames of a bracket tell of the reference's noise."""

import numpy as np
import pytest

from dfghdr_cli.core.noise import noise_level, smoothing_range
from dfghdr_cli.core.radiance import SMOOTHED_CODES, encode, smooth
from dfghdr_cli.core.types import FloatImage

STOPS = (-2.0, 2.0)


def bracket(noise, size=(64, 80), seed=0):
    """The reference and two others, fine texture and noise of a deviation in codes."""
    rng = np.random.default_rng(seed)
    linear = rng.uniform(0.02, 0.25, (*size, 3))
    codes: list[FloatImage] = []
    for stop in (0.0, *STOPS):
        code = encode(linear * 2.0**stop) + noise * rng.standard_normal(linear.shape)
        codes.append(np.clip(code, 0, 1).astype(np.float32))
    return codes[0], codes[1:], [np.ones(size, np.float32)] * 2


@pytest.mark.parametrize("noise", [0.002, 0.02])
def test_noise_is_told_from_texture(noise):
    reference, others, trusts = bracket(noise)
    # The longer frame is as noisy in codes, less so at the reference's exposure.
    expected = noise * np.hypot(1.0, 2.0 ** (-STOPS[1] / 2.2))
    assert noise_level(reference, others, trusts, STOPS) == pytest.approx(expected, rel=0.1)


def test_texture_alone_is_no_noise():
    reference, others, trusts = bracket(0.0)
    assert smoothing_range(reference, others, trusts, STOPS) < 1e-5
    assert smoothing_range(*bracket(0.05), STOPS) == SMOOTHED_CODES


def test_what_moves_does_not_count():
    reference, others, trusts = bracket(0.002)
    still = noise_level(reference, others, trusts, STOPS)
    assert still is not None
    for other in others:
        other[:20] = other[:20][::-1]
    moved = noise_level(reference, others, trusts, STOPS)
    assert moved is not None
    assert moved < 2 * still


def test_wrong_exposures_are_not_noise():
    reference, others, trusts = bracket(0.0)
    level = noise_level(reference, others, trusts, (-1.95, 2.05))
    assert level is not None
    assert level < 0.005


@pytest.mark.parametrize("spoilt", ["white", "black", "outside"])
def test_where_nothing_can_be_compared(spoilt):
    reference, others, trusts = bracket(0.0)
    if spoilt == "outside":
        trusts = [np.zeros_like(trust) for trust in trusts]
    else:
        others = [np.full_like(other, float(spoilt == "white")) for other in others]
    assert noise_level(reference, others, trusts, STOPS) is None
    assert smoothing_range(reference, others, trusts, STOPS) == SMOOTHED_CODES


def test_smoothing_follows():
    reference, _, _ = bracket(0.02)
    assert smooth(reference, 0.0) is reference
    less, more = smooth(reference, 0.02), smooth(reference)
    assert 0 < np.abs(less - reference).mean() < np.abs(more - reference).mean()
