"""Gamma codes, and the classic merge, against closed forms."""

import numpy as np
import pytest

from dfghdr_cli.core.classic import CLIPPED_WEIGHT, classic_merge, classic_weights
from dfghdr_cli.core.encoding import encode


def picture(seed=0, size=(24, 32), low=0.001, high=3.9):
    """Radiance spread evenly over the stops between `low` and `high`."""
    exponent = np.random.default_rng(seed).uniform(np.log(low), np.log(high), (*size, 3))
    return np.exp(exponent).astype(np.float32)


def shoot(radiance, stops):
    """Noise-free frames as gamma codes, clipped at their own white."""
    return [encode(radiance * np.float32(2.0**stop)) for stop in stops]


def everywhere(radiance, stops):
    return [np.ones(radiance.shape[:2], bool)] * len(stops)


def test_encode_is_the_gamma_of_eq_7_and_clips():
    linear = np.array([-1.0, 0.0, 0.25, 1.0, 3.0])
    code = encode(linear)
    assert code.dtype == np.float32
    np.testing.assert_allclose(code, [0, 0, 0.25 ** (1 / 2.2), 1, 1], rtol=1e-6)


@pytest.mark.parametrize(
    ("code", "darkest", "brightest", "weight"),
    [
        ((0.3, 0.3, 0.3), False, False, 0.6),
        ((0.8, 0.8, 0.8), False, False, 0.4),
        ((0.8, 0.8, 0.8), True, False, 1.0),
        ((0.3, 0.3, 0.3), True, False, 0.6),
        ((0.3, 0.3, 0.3), False, True, 1.0),
        ((0.8, 0.8, 0.8), False, True, 0.4),
        ((0.2, 0.5, 0.9), False, False, 0.2),
        ((0.3, 0.5, 0.9), False, False, 0.2),
        ((0.0, 0.0, 0.0), False, False, 0.001),
        ((1.0, 1.0, 1.0), True, False, 1.0),
        ((0.4, 0.4, 0.976), False, False, 0.5 * 2 * 0.024),
        ((0.4, 0.4, 0.995), False, False, CLIPPED_WEIGHT),
        ((0.5, 1.0, 0.5), True, True, 1.0),
    ],
)
def test_weights_follow_their_formula(code, darkest, brightest, weight):
    pixels = np.full((2, 3, 3), code, np.float32)
    found = classic_weights(pixels, darkest, brightest)
    assert found.shape == (2, 3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, weight, rtol=2e-3)


@pytest.mark.parametrize("stops", [(-2.0, 0.0, 2.0), (-3.0, 0.0), (0.0, 3.0), (-4, -2, 0, 1, 3)])
def test_a_still_noise_free_bracket_merges_to_the_truth(stops):
    peak = 2.0 ** -min(stops)
    truth = picture(high=0.99 * peak)
    radiance, weights = classic_merge(shoot(truth, stops), everywhere(truth, stops), stops)
    assert radiance.dtype == np.float32
    assert weights.shape == (len(stops), *truth.shape[:2])
    np.testing.assert_allclose(weights.sum(0), 1, rtol=1e-5)
    np.testing.assert_allclose(radiance, truth, rtol=1e-3)


def test_the_order_of_the_frames_does_not_matter():
    truth, stops = picture(), [-2.0, 0.0, 2.0]
    frames, valid = shoot(truth, stops), everywhere(truth, stops)
    forth, weights = classic_merge(frames, valid, stops)
    back, reversed_weights = classic_merge(frames[::-1], valid[::-1], stops[::-1])
    np.testing.assert_allclose(forth, back, rtol=1e-5)
    np.testing.assert_allclose(weights, reversed_weights[::-1], rtol=1e-5)


def test_a_clipped_pixel_has_no_say_while_another_frame_sees():
    truth = np.full((4, 4, 3), 3.0, np.float32)
    radiance, weights = classic_merge(
        shoot(truth, (-2, 0, 2)), everywhere(truth, (-2, 0, 2)), (-2, 0, 2)
    )
    np.testing.assert_allclose(radiance, 3.0, rtol=1e-4)
    assert weights[0].min() > 1 - 1e-4


def test_pixels_outside_a_frame_do_not_count():
    truth = np.full((4, 4, 3), 0.2, np.float32)
    frames = shoot(truth, (-2, 0, 2))
    frames[0][:2] = 0.95
    valid = everywhere(truth, (-2, 0, 2))
    valid[0] = np.repeat([[False], [False], [True], [True]], 4, axis=1)
    radiance, weights = classic_merge(frames, valid, (-2, 0, 2))
    np.testing.assert_allclose(radiance, 0.2, rtol=1e-4)
    assert (weights[0, :2] == 0).all()
    assert (weights[0, 2:] > 0).all()


def test_trust_scales_a_frames_weight():
    truth = np.full((1, 2, 3), 0.2, np.float32)
    full = np.ones((1, 2), np.float32)
    half = np.array([[1.0, 0.5]], np.float32)
    _, weights = classic_merge(shoot(truth, (0, 0)), [full, half], (0, 0))
    np.testing.assert_allclose(weights[:, 0], [[0.5, 2 / 3], [0.5, 1 / 3]], rtol=1e-5)


def test_never_darker_than_a_clipped_reference():
    frames = [encode(np.full((2, 2, 3), value)) for value in (0.05, 1.0, 1.0)]
    frames[0][0] = encode(np.array(0.75))
    stops = (-2, 0, 2)
    radiance, _ = classic_merge(frames, [np.ones((2, 2), bool)] * 3, stops)
    np.testing.assert_allclose(radiance[0], 3.0, rtol=1e-3)
    np.testing.assert_allclose(radiance[1], 0.992**2.2, rtol=1e-5)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_black_and_all_white_stay_finite(value):
    frames = [np.full((3, 3, 3), value, np.float32)] * 3
    radiance, weights = classic_merge(frames, [np.ones((3, 3), bool)] * 3, (-2, 0, 2))
    assert np.isfinite(weights).all()
    np.testing.assert_allclose(radiance, 4.0 * value, rtol=1e-3)


def test_nothing_valid_gives_zero_not_nan():
    frames = [np.full((2, 2, 3), 0.5, np.float32)] * 2
    radiance, weights = classic_merge(frames, [np.zeros((2, 2), bool)] * 2, (0, 2))
    assert (radiance == 0).all()
    assert (weights == 0).all()
