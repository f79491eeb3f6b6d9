"""What codes near either end of a frame's curve are worth."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfghdr_cli.core.calibration.response import Response
from dfghdr_cli.core.encoding import encode
from dfghdr_cli.core.types import Exposure, Frame
from dfghdr_cli.core.worth import (
    BLACK,
    CLEAN,
    DARK,
    EIGHT_BIT_ERROR,
    FINE_ERROR,
    SHOULDER,
    code_error,
    code_worth,
    darkness,
    is_white,
    mismatch,
    tolerance,
    white_tolerance,
    whiteness,
)

CODES = np.linspace(0.0, 1.0, 4097)


def curve(shoulder, toe=1.0):
    """A response: code = (1 + s) x / (x + s) with x = light ** toe."""
    light = shoulder * CODES / (1.0 + shoulder - CODES)
    return Response("fitted", CODES, light ** (1.0 / toe))


def test_clean_codes_clip_where_they_always_did():
    worth = code_worth(Response.named("gamma").evaluate, FINE_ERROR)
    np.testing.assert_allclose(worth.limits[:, SHOULDER:], CLEAN.limits[:, SHOULDER:], atol=1e-5)
    assert worth.limits[:, DARK].max() < 0.01
    assert not worth.tolerance.any()


@given(
    shoulder=st.floats(0.1, 5.0),
    toe=st.floats(0.4, 1.2),
    error=st.sampled_from([EIGHT_BIT_ERROR, FINE_ERROR]),
    white=st.floats(0.8, 1.0),
)
@settings(max_examples=60, deadline=None)
def test_limits_rise_for_any_curve(shoulder, toe, error, white):
    worth = code_worth(curve(shoulder, toe).evaluate, error, (white, 1.0, white))
    assert (np.diff(worth.limits, axis=1) > 0).all()
    assert worth.limits.min() >= 0.0
    assert worth.limits.max() <= 1.0
    assert worth.tolerance.min() >= 0.0
    assert np.isfinite(worth.tolerance).all()


def test_a_shoulder_is_worth_less_from_further_down_the_steeper_it_is():
    starts = [
        code_worth(curve(s).evaluate, EIGHT_BIT_ERROR).limits[0, SHOULDER] for s in (5.0, 0.5, 0.1)
    ]
    assert starts[0] > starts[1] > starts[2]


def test_eight_bits_measure_less_in_the_dark_than_more_bits():
    coarse, fine = (
        code_worth(Response.named("srgb").evaluate, error)
        for error in (EIGHT_BIT_ERROR, FINE_ERROR)
    )
    assert (coarse.limits[:, BLACK] > fine.limits[:, BLACK]).all()
    assert (coarse.limits[:, DARK] > 2 * fine.limits[:, DARK]).all()


@pytest.mark.parametrize("shoulder", [0.1, 0.5, 5.0])
def test_a_clipped_pixel_that_compression_made_darker_is_white(shoulder):
    response = curve(shoulder)
    worth = code_worth(response.evaluate, EIGHT_BIT_ERROR)
    codes = np.array([[[c / 255] * 3 for c in (245, 251, 252, 255)]])
    white = is_white(encode(np.asarray(response.evaluate(codes), np.float32)), worth)[0]
    np.testing.assert_array_equal(white.all(axis=1)[1:], True)
    assert not white[0].any()


def test_white_below_full_code_is_white():
    worth = code_worth(Response.named("gamma").evaluate, EIGHT_BIT_ERROR, (0.92, 1.0, 1.0))
    code = np.full((2, 2, 3), 0.93, np.float32)
    np.testing.assert_array_equal(is_white(code, worth)[0, 0], [True, False, False])
    assert (whiteness(code, worth) == 1.0).all()


def test_what_is_dark_in_a_channel_is_dark():
    worth = code_worth(Response.named("gamma").evaluate, EIGHT_BIT_ERROR)
    code = np.array([[[0.5, 0.5, 0.5], [0.5, 0.5, 0.0], [0.01, 0.02, 0.01]]], np.float32)
    np.testing.assert_allclose(darkness(code, worth), [[0, 1, 1]])
    allowed = tolerance(code, worth)
    assert (allowed[0, 0] == 0).all()
    assert allowed[0, 1, 2] == worth.tolerance[2, 0] > 0


@pytest.mark.parametrize("quality", [85, 95])
def test_the_error_of_eight_bits_is_that_of_dark_parts_of_photographs(quality):
    """Grain at the level of a shadow, through JPEG: two levels, within a factor of two."""
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.normal(0, 30, (128, 128, 3)), (0, 0), 1.2) + 24
    stored = np.rint(np.clip(texture, 0, 255)).astype(np.uint8)
    packed = cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    found = cv2.imdecode(packed, cv2.IMREAD_COLOR).astype(float) - texture
    assert 1.0 < found.std() < 8.0
    assert code_error(Frame(stored, Exposure(0.0))) == EIGHT_BIT_ERROR


def test_more_bits_err_less_unless_they_are_eight():
    rng = np.random.default_rng(0)
    fine = Frame(rng.integers(0, 65536, (32, 32, 3), np.uint16), Exposure(0.0))
    stretched = Frame(rng.integers(0, 256, (32, 32, 3)).astype(np.uint16) * 257, Exposure(0.0))
    assert code_error(fine) == FINE_ERROR
    assert code_error(stretched) == EIGHT_BIT_ERROR


def bracket(dark_gain=1.0):
    """Codes of a reference with a slope up to white, and of a frame two stops darker."""
    light = np.tile(np.geomspace(0.05, 1.5, 200), (120, 1))[..., None].repeat(3, axis=2)
    reference = np.clip(light, 0, 1) ** (1 / 2.2)
    darker = (light * dark_gain / 4) ** (1 / 2.2)
    return reference.astype(np.float32), darker.astype(np.float32)


@pytest.mark.parametrize(("stops", "expected"), [(0.0, 0.0), (0.1, 0.0), (0.5, 0.5), (3.0, 1.0)])
def test_the_tolerance_of_white_is_what_darker_frames_show_there(stops, expected):
    reference, darker = bracket(2.0**-stops)
    trust = np.ones(reference.shape[:2], np.float32)
    found = white_tolerance(reference, CLEAN, darker, trust, -2.0, CLEAN)
    assert found == pytest.approx(expected, abs=0.02)


def test_what_moved_tells_nothing_about_white():
    reference, darker = bracket()
    rng = np.random.default_rng(1)
    darker = np.ascontiguousarray(darker * rng.uniform(0.3, 1.0, darker.shape).astype(np.float32))
    trust = np.ones(reference.shape[:2], np.float32)
    assert white_tolerance(reference, CLEAN, darker, trust, -2.0, CLEAN) == 0.0


@pytest.mark.parametrize(("stops", "expected"), [(0.0, 0.0), (0.2, 0.0), (-0.6, -0.6), (1.1, 1.1)])
def test_frames_of_different_curves_are_told_by_how_far_they_are_apart(stops, expected):
    brighter, darker = bracket(2.0**stops)
    trust = np.ones(brighter.shape[:2], np.float32)
    found = mismatch(brighter, CLEAN, darker, trust, -2.0, CLEAN)
    assert found == pytest.approx(expected, abs=0.02)


def test_frames_that_moved_are_not_apart():
    brighter, darker = bracket(2.0)
    darker = np.ascontiguousarray(np.roll(darker, 40, axis=1))
    trust = np.ones(brighter.shape[:2], np.float32)
    assert mismatch(brighter, CLEAN, darker[:, ::-1], trust, -2.0, CLEAN) == 0.0
