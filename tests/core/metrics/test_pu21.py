import numpy as np
import pytest

from dfghdr_cli.core.metrics.pu21 import pu21_encode, pu21_psnr


def test_codes_of_the_authors_program():
    codes = pu21_encode(np.array([0.005, 100.0, 10_000.0]))
    assert codes == pytest.approx([0.0, 256.38, 595.4], abs=0.05)


def test_codes_rise_and_hold_beyond_the_range():
    light = np.geomspace(0.005, 10_000, 500)
    assert (np.diff(pu21_encode(light)) > 0).all()
    ends = pu21_encode(np.array([-1.0, 0.0, 0.005, 10_000.0, 1e6]))
    assert ends[0] == ends[1] == ends[2]
    assert ends[3] == ends[4]


def test_psnr_is_that_of_the_codes_with_peak_256():
    reference = np.full((4, 4, 3), 0.025)
    test = np.full((4, 4, 3), 0.05)
    step = pu21_encode(np.array(200.0)) - pu21_encode(np.array(100.0))
    assert pu21_psnr(test, reference) == pytest.approx(20 * np.log10(256 / step))


def test_psnr_depends_on_the_luminance_of_the_peak():
    rng = np.random.default_rng(0)
    reference = rng.random((16, 16, 3))
    test = reference + 0.01 * rng.normal(size=reference.shape)
    values = [pu21_psnr(test, reference, peak) for peak in (100.0, 1000.0, 4000.0)]
    assert len({round(value, 1) for value in values}) == 3
    assert pu21_psnr(test, reference) == values[2]


def test_identical_pictures_give_120():
    picture = np.random.default_rng(0).random((8, 8, 3)).astype(np.float32)
    assert pu21_psnr(picture, picture) == pytest.approx(120)


def test_refuses():
    with pytest.raises(ValueError, match="cannot be compared"):
        pu21_psnr(np.zeros((4, 4, 3)), np.zeros((4, 5, 3)))
    with pytest.raises(ValueError, match="must be positive"):
        pu21_psnr(np.zeros((4, 4, 3)), np.zeros((4, 4, 3)), 0.0)
