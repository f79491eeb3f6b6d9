import numpy as np
import pytest

from dfghdr_cli.core.metrics.moving import moving_pixels

STOPS = (0.0, 2.0, 4.0)
ALL = np.ones((80, 120), bool)


def frames(truth, noise=0.0):
    random = np.random.default_rng(2)
    exposed = [np.clip(truth * 2.0**stop, 0, 1) for stop in STOPS]
    return [
        np.clip(frame + random.normal(0, noise, frame.shape), 0, 1).astype(np.float32)
        for frame in exposed
    ]


@pytest.fixture
def truth():
    random = np.random.default_rng(3)
    return np.repeat(random.uniform(0.02, 1.2, (20, 30, 3)), 4, 0).repeat(4, 1).astype(np.float32)


def test_what_stands_still_does_not_move(truth):
    assert not moving_pixels(frames(truth), [ALL] * 3, STOPS, truth).any()
    assert not moving_pixels(frames(truth, 0.01), [ALL] * 3, STOPS, truth).any()


@pytest.mark.parametrize("number", [0, 2])
def test_what_a_frame_shows_elsewhere_moves(truth, number):
    there = np.zeros((80, 120), bool)
    there[20:50, 40:70] = True
    linears = frames(truth)
    linears[number][there] = 0.9 if number == 0 else 0.02
    moving = moving_pixels(linears, [ALL] * 3, STOPS, truth)
    assert moving[there].mean() > 0.9
    assert moving[~there].mean() < 0.1


def test_no_data_is_no_motion(truth):
    valid = np.ones((80, 120), bool)
    valid[:, :25] = False
    linears = frames(truth)
    linears[2][~valid] = 0
    assert not moving_pixels(linears, [ALL, ALL, valid], STOPS, truth).any()
