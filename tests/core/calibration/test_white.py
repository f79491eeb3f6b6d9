"""White below the full code: found where frames clip, and nowhere else."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfghdr_cli.core.calibration.white import find_white, full_code
from dfghdr_cli.core.types import Exposure, Frame

STOPS = (-2.0, 0.0, 2.0)


def light(seed: int = 1) -> np.ndarray:
    """Smooth radiance (240, 320, 3) of about eight stops, of which the brighter part clips."""
    rng = np.random.default_rng(seed)
    stops = cv2.resize(rng.normal(size=(8, 11, 3)), (320, 240), interpolation=cv2.INTER_CUBIC)
    return 0.4 * 2.0 ** (1.6 * stops)


def shoot(white: tuple[float, float, float], dtype: type = np.uint8, *, jpeg: bool = False) -> list:
    frames = []
    for stop in STOPS:
        code = np.clip(light() * 2.0**stop, 0, 1) ** (1 / 2.2) * np.array(white)
        pixels = np.rint(code * np.iinfo(dtype).max).astype(dtype)
        if jpeg:
            data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
            pixels = np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])
        frames.append(Frame(pixels, Exposure(stop)))
    return frames


@pytest.mark.parametrize("jpeg", [False, True])
@settings(max_examples=12, deadline=None)
@given(code=st.integers(180, 252))
def test_a_lower_white_is_found(jpeg, code):
    frames = shoot((code / 255,) * 3, jpeg=jpeg)
    np.testing.assert_allclose(find_white(frames, STOPS), code / 255, atol=1.6 / 255)


@pytest.mark.parametrize("jpeg", [False, True])
def test_the_full_code_is_white_where_frames_reach_it(jpeg):
    assert find_white(shoot((1.0, 1.0, 1.0), jpeg=jpeg), STOPS).tolist() == [1, 1, 1]


def test_channels_that_clip_at_different_codes_have_a_white_each():
    white = (1.0, 0.8, 0.7)
    np.testing.assert_allclose(find_white(shoot(white, np.uint16), STOPS), white, atol=1e-3)


def test_a_lit_wall_is_not_white():
    frames = []
    for stop in (-1.0, 0.0):
        code = np.clip(0.5 * light() * 2.0**stop, 0, 0.4)
        code[:120] = 0.7 * 2.0**stop  # a wall, evenly lit
        pixels = np.rint(code ** (1 / 2.2) * 255).astype(np.uint8)
        frames.append(Frame(pixels, Exposure(stop)))
    assert find_white(frames, (-1.0, 0.0)).tolist() == [1, 1, 1]


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_few_bits_in_sixteen(bits):
    top = 2**bits - 1
    frames = []
    for stop in STOPS:
        pixels = np.rint(np.clip(light() * 2.0**stop, 0, 1) * top).astype(np.uint16)
        frames.append(Frame(pixels, Exposure(stop)))
    assert full_code(frames) == top / 65535
    assert find_white(frames, STOPS).tolist() == [top / 65535] * 3


def test_dark_frames_of_sixteen_bits_are_just_dark():
    pixels = np.random.default_rng(0).integers(0, 4096, (64, 64, 3)).astype(np.uint16)
    pixels[0, 0] = 4097
    assert full_code([Frame(pixels, Exposure(0))]) == 1.0
