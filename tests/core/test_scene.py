"""Whether photographs show one scene, on procedurally drawn ones."""

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dfghdr_cli.core.scene import Comparison, Thumbnail, compare, scenes, show_one_scene
from dfghdr_cli.core.types import Exposure, Frame
from tests.support.photographs import photograph, textured_scene

few = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
seeds = st.integers(0, 10_000)


def seen(pixels, linear=False):
    return Thumbnail(Frame(pixels, Exposure(0.0), linear=linear))


def shaken(dx, dy, degrees):
    """What a hand does about the middle of a picture of 320 x 240."""
    motion = cv2.getRotationMatrix2D((160, 120), degrees, 1.0)
    motion[:, 2] += dx, dy
    return motion


@few
@given(
    seeds,
    st.floats(-3, 3),
    st.floats(-14, 14),
    st.floats(-14, 14),
    st.floats(-2, 2),
    st.floats(1.4, 3.0),
)
def test_one_scene_whatever_exposure_hand_and_tone_curve(seed, stops, dx, dy, degrees, gamma):
    scene = textured_scene(seed)
    one = photograph(scene, 0.0, seed=1)
    other = photograph(scene, stops, motion=shaken(dx, dy, degrees), seed=2, gamma=gamma)
    verdict = show_one_scene(seen(one), seen(other))
    assert verdict != "other"
    # Three stops up a bright scene is white nearly all over, and nothing can be told.
    if (other < 255).all(axis=2).mean() > 0.5:
        assert verdict == "same"


@few
@given(seeds, st.floats(-2, 1), st.integers(0, 7))
def test_other_scenes_and_turned_ones_are_never_taken_for_one(seed, stops, turn):
    assert verdict_on_another(seed, stops, turn) != "same"  # of few scenes nothing can be told


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("turn", [0, 1, 2])
def test_other_scenes_and_turned_ones_are_told(seed, turn):
    assert verdict_on_another(seed, 0.5, turn) == "other"


def verdict_on_another(seed, stops, turn):
    one = photograph(textured_scene(seed), 0.0, seed=1)
    scene = textured_scene(seed if turn else seed + 1)
    other = photograph(scene, stops, seed=2)
    other = np.ascontiguousarray(np.rot90(other, 2) if turn % 2 else other[:, ::-1])
    return show_one_scene(seen(one), seen(other))


def test_half_the_picture_may_move():
    scene, crowd = textured_scene(1), textured_scene(2)
    scene[:, :200] = crowd[:, :200]
    one = photograph(scene, 0.0, seed=1)
    scene[:, :200] = textured_scene(3)[:, :200]
    other = photograph(scene, 1.0, motion=shaken(5, -3, 0.4), seed=2)
    assert compare(seen(one), seen(other)).verdict == "same"


def test_a_camera_that_moved_far_is_told_from_a_panorama():
    scene = textured_scene(4, (400, 600))
    one = photograph(scene, 0.0, seed=1)
    near, far = (
        photograph(scene, 1.0, motion=np.array([[1, 0, dx], [0, 1, 0.0]]), seed=2)
        for dx in (70.0, 300.0)
    )
    assert compare(seen(one), seen(near)).verdict == "other"
    assert show_one_scene(seen(one), seen(near)) == "same"
    assert show_one_scene(seen(one), seen(far)) == "other"


@pytest.mark.parametrize("stops", [-12, 12])
def test_what_is_black_or_white_tells_nothing(stops):
    one = photograph(textured_scene(5), 0.0, seed=1)
    other = photograph(textured_scene(6), stops, seed=2)
    assert show_one_scene(seen(one), seen(other)) == "unknown"


@pytest.mark.parametrize("size", [(1, 1), (20, 30), (16, 400)])
def test_small_pictures_tell_nothing(size):
    noise = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
    assert show_one_scene(seen(noise[0]), seen(noise[1])) == "unknown"


def test_sixteen_bits_and_linear_samples_are_seen_alike():
    codes = photograph(textured_scene(7), 0.0)
    wide = codes.astype(np.uint16) * 257
    linear = ((codes / np.float32(255)) ** np.float32(2.2)).astype(np.float32)
    for other in (seen(wide), seen(linear, linear=True)):
        assert np.abs(other.grey - seen(codes).grey).mean() < 1.0  # edges are averaged otherwise


@pytest.mark.parametrize(
    ("agreeing", "comparable", "verdict"),
    [(40, 40, "same"), (4, 5, "same"), (3, 11, "unknown"), (3, 40, "other"), (0, 12, "other")],
)
def test_verdicts(agreeing, comparable, verdict):
    assert Comparison(agreeing, comparable).verdict == verdict


def test_photographs_are_sorted_by_scene():
    first, second = textured_scene(8), textured_scene(9)
    pictures = [
        photograph(scene, stops, seed=number)
        for number, (scene, stops) in enumerate(
            [(first, 0), (second, 1), (first, 2), (second, -1), (first, -2), (first, -13)]
        )
    ]
    assert scenes([seen(picture) for picture in pictures]) == [[0, 2, 4, 5], [1, 3]]
