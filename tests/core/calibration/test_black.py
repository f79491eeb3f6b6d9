"""Each channel's black: found where it is off, and left alone where it is not."""

import numpy as np
import pytest

from dfghdr_cli.core.calibration import response as module
from dfghdr_cli.core.calibration.black import with_offsets
from dfghdr_cli.core.calibration.response import choose_response
from tests.core.calibration.test_response import scene, shoot
from tests.support.curves import log_contrast

STOPS = (-3.0, 0.0, 3.0)


def off(offsets):
    """A camera that takes the wrong black off each channel, in 255ths of white."""
    black = np.array(offsets) / 255.0
    return lambda light: np.clip((log_contrast(light) - black) / (1.0 - black), 0.0, 1.0)


def tint_of_greys(camera):
    """How far apart red, green and blue of dark greys are under the response found [stops]."""
    frames = shoot(scene(1), camera, STOPS, shake=2, object_size=110, noise=0.01)
    found = choose_response("auto", frames, STOPS)
    greys = np.geomspace(0.004, 0.02, 20)[:, None].repeat(3, axis=1)
    light = found.responses[0].evaluate(np.rint(camera(greys) * 255.0) / 255.0)
    return float(np.abs(np.log2(light / light[:, 1:2])).mean()), found


@pytest.mark.parametrize("offsets", [(3.0, -3.0, 2.0), (0.0, 4.0, 0.0), (-4.0, 0.0, 3.0)])
def test_shadows_lose_the_tint_of_a_wrong_black(offsets, monkeypatch):
    tint, found = tint_of_greys(off(offsets))
    assert found.responses[0].linear.ndim == 2
    assert found.report.warning is None
    monkeypatch.setattr(module, "black_offsets", lambda *_: None)
    before, _ = tint_of_greys(off(offsets))
    assert before > 0.2
    assert tint < 0.5 * before


@pytest.mark.parametrize("camera", [log_contrast, off((1.0, 1.0, 1.0))])
def test_channels_with_one_black_keep_one_curve(camera):
    _, found = tint_of_greys(camera)
    linear = found.responses[0].linear
    assert linear.ndim == 1 or np.abs(linear - linear[:, 1:2]).max() < 2e-3


@pytest.mark.parametrize("size", [-6, -3, 3, 6])
def test_curves_rise_from_black_to_white(size):
    codes = np.linspace(0, 1, 4097)
    moved = with_offsets(codes, np.array([size / 255, 0.0, -size / 255]))
    assert (np.diff(moved, axis=0) > 0).all()
    assert moved[0].tolist() == [0, 0, 0]
    np.testing.assert_allclose(moved[-1], 1, atol=1e-5)
    np.testing.assert_allclose(moved[:, 1], codes)
