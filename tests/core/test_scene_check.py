"""Exposures and truths that contradict the frames of a scene, each by the mistake it comes from."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfghdr_cli.core.scene_check import TOLERANCE, contradiction, measured_stops
from tests.support.curves import CURVES, jpeg

TRUTH = np.exp2(np.random.default_rng(3).uniform(-10, 0, (96, 96, 3))).astype(np.float32)
"""Ten stops, evenly: every frame has well exposed pixels."""


def frames(stops, truth=TRUTH, noise=0.003):
    random = np.random.default_rng(1)
    light = np.clip(truth.astype(float) * 2.0 ** np.array(stops)[:, None, None, None], 0, 1)
    code = light ** (1 / 2.2) + random.normal(0, noise, light.shape)
    return list(np.clip(code, 0, 1).astype(np.float32))


def told(said, true, scale=1.0):
    """What is found where a scene says other exposures than its frames have, or another scale."""
    order = np.argsort(said, kind="stable")
    codes = [frames(true)[k] for k in order]
    stops = [said[k] - min(said) for k in order]
    return contradiction(codes, stops, [f"{k}.tif" for k in order], TRUTH * np.float32(scale))


@given(
    st.lists(st.floats(0.7, 2.5), min_size=1, max_size=4),
    st.floats(-0.3, 0.3),
)
@settings(max_examples=25, deadline=None)
def test_true_exposures_are_believed(steps, error):
    stops = [0.0, *np.cumsum(steps)]
    assert told(stops, [stop + error for stop in stops]) is None


@given(st.floats(0, 7))
@settings(max_examples=15, deadline=None)
def test_an_exposure_is_measured(stops):
    (code,) = frames([stops])
    assert measured_stops(code, TRUTH) == pytest.approx(stops, abs=0.05)


def test_the_order_of_the_frames():
    assert "reverse order" in told([4, 2, 0], [0, 2, 4]).text
    assert "reverse order" in told([5, 2, 0], [0, 3, 5]).text


@pytest.mark.parametrize("first", [1e-3, 1.0, 0.02])
def test_times_and_their_reciprocals(first):
    times = [first * 2**stop for stop in (0, 3, 6)]
    assert "exposure times, or ratios" in told(times, [0, 3, 6]).text
    assert "reciprocals" in told([1 / time for time in times], [0, 3, 6]).text


@pytest.mark.parametrize(("wrong", "word"), [(0, "brighter"), (1, "darker"), (2, "darker")])
def test_a_frame_that_is_off_by_a_stop_is_named(wrong, word):
    said = [0.0, 2.0, 4.0]
    said[wrong] += -1 if wrong == 0 else 1
    found = told(said, [0, 2, 4])
    assert found.text.startswith(f"{wrong}.tif is 1.0 stops {word}")


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        (8.0, "3.0 stops too bright: its 1.0 seems to be the reference's"),
        (0.25, "2.0 stops too dark"),
    ],
)
def test_the_scale_of_the_truth(scale, words):
    found = told([0, 3, 6], [0, 3, 6], scale)
    assert words in found.text
    assert "white of the darkest frame" in found.text
    assert max(abs(error + np.log2(scale)) for error in found.errors) < TOLERANCE


def test_steps_that_none_of_these_explains():
    assert "by +0.0, +2.0, +4.0 stops rather than +0.0, +3.1" in told([0, 3.1, 6], [0, 2, 4]).text


def test_frames_that_tell_nothing_are_left_out():
    codes = frames([0, 2])
    black = np.zeros_like(TRUTH)
    assert measured_stops(black, TRUTH) is None
    assert contradiction([black, codes[1]], [0, 2], ["a", "b"], TRUTH) is None
    assert contradiction([black], [0], ["a"], TRUTH) is None
    assert contradiction(codes, [0, 2], ["a", "b"], black) is None


def test_things_that_move_do_not_make_a_frame_brighter():
    codes = frames([0, 2, 4])
    for code in codes:
        code[20:60, 20:60] = code[50:90, 30:70]
    assert contradiction(codes, [0, 2, 4], ["a", "b", "c"], TRUTH) is None


def test_the_truth_of_another_scene():
    other = np.ascontiguousarray(TRUTH[::-1, ::-1])
    found = contradiction(frames([0, 2, 4]), [0, 2, 4], ["a", "b", "c"], other * 100)
    assert found.text == "the truth does not show what the frames do"
    flat = np.full_like(TRUTH, 900)
    assert contradiction(frames([0, 2]), [0, 2], ["a", "b"], flat).text == found.text


def developed(curve, stops, truth=TRUTH):
    """8-bit codes after a JPEG, as a camera of that curve has them."""
    lights = [np.clip(truth.astype(float) * 2.0**stop, 0, 1) for stop in stops]
    return [(jpeg(CURVES[curve](light)) / 255).astype(np.float32) for light in lights]


SMOOTH = cv2.resize(TRUTH[:16, :16], (512, 512), interpolation=cv2.INTER_CUBIC).clip(0, 1)
CAMERAS = ("srgb-s", "log-s", "filmic", "flat")


@pytest.mark.parametrize("curve", ["log-s", "filmic"])
def test_another_curve_is_no_wrong_exposure(curve):
    """The truth and the exposures are right, so they are not to be corrected."""
    found = contradiction(developed(curve, (0, 3, 6), SMOOTH), (0, 3, 6), "abc", SMOOTH)
    assert found.of_curve
    assert found.text == "the frames seem to follow another curve than gamma 2.2"


@pytest.mark.parametrize("curve", ["srgb-s", "flat"])
def test_a_curve_that_is_near_enough_is_none(curve):
    codes = developed(curve, (0, 3, 6), SMOOTH)
    assert contradiction(codes, (0, 3, 6), "abc", SMOOTH) is None


@pytest.mark.parametrize("curve", CAMERAS)
@pytest.mark.parametrize(
    ("said", "scale"), [((0, 3, 6), 0.25), ((0, 3, 6), 8.0), ((0, 1, 2), 1), ((0, 2, 6), 1)]
)
def test_mistakes_are_found_under_another_curve(curve, said, scale):
    found = contradiction(developed(curve, (0, 3, 6), SMOOTH), said, "abc", SMOOTH * scale)
    assert found is not None
    assert not found.of_curve
