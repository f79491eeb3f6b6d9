import numpy as np
import pytest

from dfghdr_cli.core.tonemapping.hdr_display import HIGHEST, gain_map, pq_decode, pq_encode


def test_known_values_of_pq():
    """ITU-R BT.2408-7, table 1: 203 cd/m2 is 58 % PQ; SMPTE ST 2084: 0, 100 and 10000 cd/m2."""
    codes = pq_encode(np.array([0, 100, 203, 1000, 10000, 20000, -5.0]))
    np.testing.assert_allclose(codes, [0, 0.5081, 0.5807, 0.7518, 1, 1, 0], atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pq_there_and_back(dtype):
    luminance = np.geomspace(1e-3, 1e4, 200).astype(dtype)
    codes = pq_encode(luminance)
    assert codes.dtype == dtype
    assert (np.diff(codes) > 0).all()
    np.testing.assert_allclose(
        pq_decode(codes), luminance, rtol=2e-3 if dtype is np.float32 else 1e-9
    )


def rebuilt(sdr, gain):
    log_gain = gain.low + gain.values / 255 * (gain.high - gain.low)
    return (sdr + gain.offset) * 2**log_gain - gain.offset


def test_a_gain_map_makes_one_picture_of_the_other():
    random = np.random.default_rng(0)
    sdr = random.uniform(0, 1, (40, 50, 3)).astype(np.float32)
    hdr = sdr * np.exp2(random.uniform(-1, 4, (40, 50, 3))).astype(np.float32)
    gain = gain_map(sdr, hdr)
    assert gain.values.shape == hdr.shape
    assert (gain.values.min(), gain.values.max()) == (0, 255)
    step = 2 ** ((gain.high - gain.low) / 255 / 2) - 1
    error = np.abs(rebuilt(sdr, gain) - hdr) / (hdr + gain.offset)
    assert error.max() <= step * 1.01
    assert 2**gain.headroom == pytest.approx(np.quantile(hdr.max(axis=2), 0.999), rel=1e-4)


def test_equal_pictures_need_no_gain():
    sdr = np.full((4, 4, 3), 0.3, np.float32)
    gain = gain_map(sdr, sdr)
    assert gain.high > gain.low
    assert gain.headroom == 1
    np.testing.assert_allclose(rebuilt(sdr, gain), sdr, atol=1e-3)


def test_what_no_screen_shows_is_cut():
    sdr = np.ones((4, 4, 3), np.float32)
    gain = gain_map(sdr, np.full((4, 4, 3), 1e6, np.float32))
    np.testing.assert_allclose(rebuilt(sdr, gain), HIGHEST, rtol=1e-3)
    below = gain_map(sdr, np.full((4, 4, 3), -1, np.float32))
    assert np.abs(rebuilt(sdr, below)).max() < 1e-3
