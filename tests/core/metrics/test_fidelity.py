"""Figures against closed forms, independent code, and the ways in which others went wrong."""

import math

import cv2
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from dfghdr_cli.core.encoding import GAMMA, encode
from dfghdr_cli.core.metrics.fidelity import (
    METRICS,
    bootstrap_interval,
    fitted_scale,
    measure_fidelity,
    psnr,
    psnr_l,
    psnr_mu,
    ssim,
    worst_tile,
)

RANDOM = np.random.default_rng(1)


def toned(value):
    """Eq. (10)."""
    return math.log(1 + 5000 * value) / math.log(5001)


@pytest.fixture(scope="module")
def signal():
    """Light of every brightness from 2**-12 to 1, the white of the darkest frame."""
    return (2.0 ** RANDOM.uniform(-12, 0, (400, 300, 3))).astype(np.float32)


def test_closed_forms():
    truth = np.full((16, 20, 3), 0.1, np.float32)
    result = np.full((16, 20, 3), 0.5, np.float32)
    assert psnr_mu(result, truth) == pytest.approx(-20 * math.log10(toned(0.5) - toned(0.1)))
    assert psnr_l(result, truth) == pytest.approx(-20 * math.log10(0.4), rel=1e-6)
    assert psnr(result * 4, truth * 4) == pytest.approx(-20 * math.log10(1.6), rel=1e-6)
    assert psnr_mu(truth, truth) == 120


def test_what_no_bracket_can_record_does_not_count():
    truth = np.array([[1.0, 0.0, 0.25]])
    assert psnr_mu(np.array([[3.0, -1.0, 0.25]]), truth) == 120
    assert psnr_l(np.array([[1.0, 0.0, 0.25]]), np.array([[7.0, 0.0, 0.25]])) == 120


@pytest.mark.parametrize("metric", [psnr, psnr_mu, psnr_l, ssim, measure_fidelity])
def test_shapes_must_agree(metric):
    with pytest.raises(ValueError, match="cannot be compared"):
        metric(np.zeros((16, 20, 3)), np.zeros((20, 16, 3)))


def plain_ssim(x, y):
    """Wang et al. 2004 as it is written, window by window."""
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for channel in range(x.shape[2]):
        pair = [sliding_window_view(image[..., channel], (11, 11)) for image in (x, y)]
        for a, b in zip(*(views.reshape(-1, 11, 11) for views in pair), strict=True):
            mean_a, mean_b = (window * a).sum(), (window * b).sum()
            var_a, var_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
            covariance = (window * (a - mean_a) * (b - mean_b)).sum()
            values.append(
                (2 * mean_a * mean_b + 1e-4)
                * (2 * covariance + 9e-4)
                / ((mean_a**2 + mean_b**2 + 1e-4) * (var_a + var_b + 9e-4))
            )
    return np.mean(values)


def test_ssim():
    truth = RANDOM.uniform(0, 1, (14, 17, 3))
    result = np.clip(truth + RANDOM.normal(0, 0.1, truth.shape), 0, 1)
    assert ssim(result, truth) == pytest.approx(plain_ssim(result, truth), rel=1e-9)
    assert ssim(truth, truth) == pytest.approx(1)
    assert math.isnan(ssim(truth[:10], truth[:10]))


def test_measure(signal):
    result = signal * np.float32(1.01)
    moving = np.zeros(signal.shape[:2], bool)
    moving[:50] = True
    result[:50] = signal[:50] * np.float32(0.9)
    result[70:134, 128:192] *= np.float32(0.5)
    measured = measure_fidelity(result, signal, moving)
    assert list(measured.values) == [metric.key for metric in METRICS]
    assert measured.values["psnr_mu"] == pytest.approx(psnr_mu(result, signal))
    assert measured.values["psnr_l"] == pytest.approx(psnr_l(result, signal))
    assert measured.values["psnr_mu_moving"] == pytest.approx(psnr_mu(result[:50], signal[:50]))
    assert measured.values["psnr_mu_still"] == pytest.approx(psnr_mu(result[50:], signal[50:]))
    assert measured.worst_tile == (64, 128)
    tile = np.s_[64:128, 128:192]
    assert measured.values["psnr_mu_tile"] == pytest.approx(psnr_mu(result[tile], signal[tile]))
    assert measured.scale == 1
    moving[:] = False
    moving[0, :100] = True
    assert measure_fidelity(result, signal, moving).values["psnr_mu_moving"] is None
    assert measure_fidelity(result, signal).values["psnr_mu_still"] is None


@pytest.mark.parametrize("at", [(0, 0), (64, 64), (130, 100), (20, 30)])
def test_the_last_tiles_end_with_the_picture(at):
    squared = np.zeros((150, 120))
    squared[at] = 1
    row, column = worst_tile(squared)
    assert row <= at[0] < row + 64
    assert column <= at[1] < column + 64
    assert row + 64 <= 150
    assert column + 64 <= 120
    assert worst_tile(squared[:30, :20]) == (0, 0)


def test_one_scale_is_fitted_and_nothing_else(signal):
    assert fitted_scale(signal * 37, signal) == pytest.approx(1 / 37)
    other = signal * 0.5
    other[:100] = 0  # a method's failures do not decide
    assert fitted_scale(other, signal) == pytest.approx(2)
    measured = measure_fidelity(signal * np.float32(5), signal, scaled=True)
    assert measured.scale == pytest.approx(0.2)
    assert measured.values["psnr_mu"] > 110
    assert measure_fidelity(signal * np.float32(5), signal).values["psnr_mu"] < 20
    assert fitted_scale(np.zeros((4, 4, 3)), np.full((4, 4, 3), 0.5)) == 1


def test_the_mean_interval():
    values = [1.0, 2.0, 4.0, 3.0, 2.5, 1.5]
    low, high = bootstrap_interval(values)
    assert low < np.mean(values) < high
    assert (low, high) == bootstrap_interval(values)
    # For many scenes it is the normal interval of a mean.
    many = RANDOM.normal(0.3, 2.0, 900)
    low, high = bootstrap_interval(list(many))
    half = 1.96 * many.std() / 30
    assert low == pytest.approx(many.mean() - half, abs=0.01)
    assert high == pytest.approx(many.mean() + half, abs=0.01)
    with pytest.raises(ValueError, match="2 scenes"):
        bootstrap_interval([1.0])


def linearised(codes, gamma=GAMMA):
    return (codes.astype(np.float64) ** gamma).astype(np.float32)


def test_eight_bits_cost_as_much_as_the_leaderboard_is_wide(signal):
    """The darkest frame alone, read with 8 of its 16 bits, is that far from itself."""
    codes = np.rint(encode(signal) * 65535)
    read = {
        "all": codes / 65535,
        "rounded": np.rint(codes / 257) / 255,  # cv2.imread of a TIFF without IMREAD_UNCHANGED
        "cut": codes // 256 / 255,  # the same of a PNG
    }
    values = {name: psnr_mu(linearised(code), signal) for name, code in read.items()}
    assert values["all"] > 85
    assert values["rounded"] == pytest.approx(49.2, abs=0.2)
    assert values["cut"] == pytest.approx(43.6, abs=0.2)


def test_another_gamma_costs_more_than_any_network_gains(signal):
    """2.24 instead of 2.2, as one challenge has it."""
    wrong = linearised(encode(signal), 2.24)
    assert psnr_mu(wrong, signal) == pytest.approx(41.3, abs=0.2)
    assert psnr_l(wrong, signal) == pytest.approx(50.1, abs=0.3)


def test_65536_instead_of_65535_is_harmless(signal):
    codes = np.rint(encode(signal) * 65535)
    assert psnr_mu(linearised(codes / 65536), linearised(codes / 65535)) > 105


def test_a_ghost_hides_in_the_mean_and_shows_in_the_worst_tile(signal):
    """PSNR-mu alone ranks a visible ghost above faint noise."""
    ghost, noisy = signal.copy(), signal * RANDOM.uniform(0.95, 1.05, signal.shape)
    ghost[64:128, 64:128] *= np.float32(0.9)
    moving = np.zeros(signal.shape[:2], bool)
    moving[64:128, 64:128] = True
    ghost, noisy = (
        measure_fidelity(x.astype(np.float32), signal, moving).values for x in (ghost, noisy)
    )
    assert ghost["psnr_mu"] > noisy["psnr_mu"]
    assert ghost["psnr_l"] > noisy["psnr_l"]
    assert ghost["psnr_mu_tile"] < noisy["psnr_mu_tile"] - 5
    assert ghost["psnr_mu_moving"] < noisy["psnr_mu_moving"] - 5


def test_smoothing_the_truth_makes_a_noisy_picture_better(signal):
    """Why a resized truth is another task."""
    smooth = cv2.GaussianBlur(signal, (0, 0), 5)
    noisy = (smooth * RANDOM.uniform(0.9, 1.1, signal.shape)).astype(np.float32)
    smaller = [
        cv2.resize(picture, (288, 384), interpolation=cv2.INTER_LINEAR)
        for picture in (noisy, smooth)
    ]
    assert psnr_mu(*smaller) > psnr_mu(noisy, smooth) + 1
