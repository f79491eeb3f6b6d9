"""Dense flow: near and far motion, and motion where the reference shows nothing to match."""

import cv2
import numpy as np
import pytest

from dfghdr_cli.core.registration.flow import dense_flow


def texture(seed, size=(160, 240), grain=2.5):
    """Smooth coloured noise (H, W, 3) float32 in [0.02, 0.6]."""
    noise = np.random.default_rng(seed).standard_normal((*size, 3)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), grain)
    return np.clip(0.25 + 0.12 * noise / noise.std(), 0.02, 0.6)


def exposed(radiance, stops):
    return np.clip(radiance * np.float32(2.0**stops), 0.0, 1.0).astype(np.float32)


def scene(place, *, hole=False):
    """A square of 72 pixels at `place` (x, y) on a background; perhaps with a bright middle."""
    picture, square = texture(1), texture(2, (72, 72))
    if hole:
        square[16:56, 16:56] = 2.0 + 4.0 * texture(3, (40, 40))
    x, y = place
    picture[y : y + 72, x : x + 72] = square
    return picture


@pytest.mark.parametrize("stops", [-2.0, 0.0, 1.0])
@pytest.mark.parametrize("motion", [(0, 0), (3, -2), (40, 12)])
def test_flow_follows_what_moved(motion, stops):
    start = (70, 40)
    reference = exposed(scene(start), 0.0)
    other = exposed(scene((start[0] + motion[0], start[1] + motion[1])), stops)
    flow = dense_flow(reference, other, stops)
    assert flow.dtype == np.float32
    assert flow.shape == (160, 240, 2)
    inside = flow[52:100, 82:130]
    assert np.abs(inside - motion).max(2).mean() < 0.6
    away = flow[130:, :60]
    assert np.abs(away).mean() < 0.1


def test_white_parts_move_with_what_surrounds_them():
    start, motion = (70, 40), (24, 8)
    reference = exposed(scene(start, hole=True), 0.0)
    other = exposed(scene((start[0] + motion[0], start[1] + motion[1]), hole=True), -3.0)
    white = reference[66:90, 96:120]
    assert (white == 1.0).all()
    flow = dense_flow(reference, other, -3.0)[66:90, 96:120]
    assert np.abs(flow - motion).max(2).mean() < 2.0


def test_nothing_moves_in_a_still_white_part():
    picture = texture(4)
    picture[40:120, 60:180] = 3.0 + 3.0 * texture(5)[40:120, 60:180]
    reference = exposed(picture, 0.0)
    noise = np.random.default_rng(6).normal(0, 0.002, picture.shape).astype(np.float32)
    other = np.clip(exposed(picture, -2.0) + noise, 0, 1)
    assert np.abs(dense_flow(reference, other, -2.0)[50:110, 70:170]).max() < 0.5


def test_what_seems_a_little_darker_than_white_need_not_have_moved():
    """A mat on a table, both white in the reference, the other frame 0.6 stops darker than said."""
    picture = texture(4)
    picture[20:140, 20:220] = 3.0 + 3.0 * texture(5)[20:140, 20:220]
    picture[60:110, 80:160] = 1.0 + texture(7)[60:110, 80:160]
    reference, other = exposed(picture, 0.0), exposed(picture, -3.6)
    mat = np.s_[65:105, 85:155]
    assert (reference[mat] == 1.0).all()
    allowed = (reference.min(2) >= 1.0) * np.float32(1.0 - 2.0 ** (-0.8 / 2.2))
    assert np.abs(dense_flow(reference, other, -3.0, allowed=allowed)[mat]).max() < 0.5
    assert np.abs(dense_flow(reference, other, -3.0)[mat]).mean() > 5.0, "or the scene is too easy"


@pytest.mark.parametrize("kind", ["black", "white", "noise"])
@pytest.mark.parametrize("size", [(1, 1), (3, 40), (15, 15), (16, 16), (20, 300), (67, 41)])
def test_any_picture_gives_a_flow(kind, size):
    rng = np.random.default_rng(0)
    reference, other = (
        {
            "black": np.zeros((*size, 3)),
            "white": np.ones((*size, 3)),
            "noise": rng.random((*size, 3)),
        }[kind].astype(np.float32)
        for _ in range(2)
    )
    flow = dense_flow(reference, other, 2.0)
    assert flow.shape == (*size, 2)
    assert np.isfinite(flow).all()
    if kind != "noise" or min(size) < 16:
        assert (flow == 0).all()


def test_flow_is_the_same_every_time():
    reference, other = exposed(scene((70, 40)), 0.0), exposed(scene((90, 40)), -1.0)
    first, second = (dense_flow(reference, other, -1.0) for _ in range(2))
    np.testing.assert_array_equal(first, second)
