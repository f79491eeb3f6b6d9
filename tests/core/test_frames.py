"""Frames whose gamma codes are made where they are wanted."""

import numpy as np
import pytest

from dfghdr_cli.core.calibration.response import Response
from dfghdr_cli.core.encoding import encode
from dfghdr_cli.core.frames import CodedFrame

PLACE = slice(3, 17), slice(5, 40)


def samples(dtype, size=(24, 48)):
    random = np.random.default_rng(0)
    if dtype == np.float32:
        return random.random((*size, 3), np.float32)
    return random.integers(0, np.iinfo(dtype).max + 1, (*size, 3)).astype(dtype)


def curve():
    """One curve a channel."""
    codes = np.linspace(0, 1, 257)
    return Response("fitted", codes, np.stack([codes**k for k in (1.7, 2.0, 2.3)], 1))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("response", [Response.named("srgb"), Response.named("linear"), curve()])
def test_codes_of_a_part(dtype, response):
    stored = samples(dtype)
    frame = CodedFrame.of_samples(stored, response.linearise)
    expected = encode(response.linearise(stored))
    assert frame.size == (24, 48)
    assert frame.code().dtype == np.float32
    np.testing.assert_array_equal(frame.code(), expected)
    np.testing.assert_array_equal(frame.code(*PLACE), expected[PLACE])


def test_a_linear_frame():
    linear = samples(np.float32)
    np.testing.assert_array_equal(CodedFrame.of_linear(linear).code(*PLACE), encode(linear)[PLACE])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_reduced_without_rounding_to_the_bits_of_the_file(dtype):
    stored = samples(dtype)
    response = Response.named("gamma")
    frame = CodedFrame.of_samples(stored, response.linearise)
    small = frame.reduced((6, 12))
    assert small.size == (6, 12)
    codes = stored / (1.0 if dtype == np.float32 else np.iinfo(dtype).max)
    mean = codes.reshape(6, 4, 12, 4, 3).mean((1, 3))
    np.testing.assert_allclose(small.code(), mean, atol=2e-5)
    assert frame.reduced((24, 48)) is frame
