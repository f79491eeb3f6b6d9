from pathlib import Path

import cv2
import numpy as np
import pytest

from dfghdr_cli.core.calibration.exposure_ratios import estimate_exposures
from dfghdr_cli.core.types import Exposure, Frame
from dfghdr_cli.errors import InputError
from tests.support.curves import gamma, srgb, srgb_contrast

RNG = np.random.default_rng(8)
COARSE = RNG.uniform(0, 1, (12, 16, 3)).astype(np.float32)
RADIANCE = 0.002 * 2000 ** cv2.resize(COARSE, (320, 240), interpolation=cv2.INTER_CUBIC)
"""A scene of eleven stops; 1 is the white of the frame at 0 stops."""


def linear(light):
    return light


def frames(stops, curve, moved=False, is_linear=False):
    """Noisy 8-bit frames; `moved` shakes the camera and sends a bright thing across the picture."""
    result = []
    for index, stop in enumerate(stops):
        scene = RADIANCE.copy()
        if moved:
            scene = np.roll(scene, (3 * index, -4 * index), axis=(0, 1))
            scene[60:160, 40 + 60 * index : 100 + 60 * index] = 0.4
        light = scene * 2.0**stop
        light = light + RNG.normal(size=light.shape) * np.sqrt(1e-5 * light + 1e-7)
        code = np.rint(curve(np.clip(light, 0, 1)) * 255).astype(np.uint8)
        path = Path(f"{index}.jpg")
        result.append(Frame(code, Exposure(0.0), path, linear=is_linear))
    return result


@pytest.mark.parametrize("curve", [gamma, srgb])
@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("stops", [(-2, 0, 2), (-1, 0), (-3, -1, 0, 0.5)])
def test_known_curves_give_the_exposures(stops, moved, curve):
    estimate = estimate_exposures(frames(stops, curve, moved))
    assert estimate.stops == pytest.approx([s - stops[0] for s in stops], abs=0.1, rel=0.04)
    assert estimate.stops[0] == 0
    assert estimate.assumption == {gamma: "gamma 2.2", srgb: "the sRGB curve"}[curve]


@pytest.mark.parametrize("moved", [False, True])
def test_a_camera_style_gives_the_ratios_of_the_steps(moved):
    estimate = estimate_exposures(frames((-3, -2, 0, 1), srgb_contrast, moved))
    if not moved:  # motion hides the difference from sRGB
        assert estimate.assumption == "a camera's usual contrast"
    steps = np.diff(estimate.stops)
    assert steps / steps.sum() * 4 == pytest.approx([1, 2, 1], abs=0.15)
    assert estimate.stops[-1] == pytest.approx(4, rel=0.25)  # rests on the assumed contrast


def test_linear_frames_are_taken_as_such():
    estimate = estimate_exposures(frames((-2, 0, 1), linear, is_linear=True))
    assert estimate.stops == pytest.approx((0, 2, 3), abs=0.05)
    assert "proportional" in estimate.assumption


def test_the_order_is_irrelevant():
    given = frames((0, -2, 2, -1), srgb)
    first = estimate_exposures(given).stops
    turned = estimate_exposures(given[::-1]).stops
    assert turned[::-1] == pytest.approx(first, abs=0.01)
    assert np.argsort(first).tolist() == [1, 3, 0, 2]


def test_frames_exposed_alike_are_found_to_be():
    assert estimate_exposures(frames((0, 0, 0), srgb, moved=True)).stops == (0, 0, 0)


def test_other_sample_types_say_the_same():
    eight = frames((-2, 0), gamma)
    sixteen = [Frame(f.pixels * np.uint16(257), f.exposure, f.path) for f in eight]
    assert estimate_exposures(sixteen).stops == pytest.approx((0, 2), abs=0.1)
    floats = [Frame(f.encoded() ** np.float32(2.2), f.exposure, f.path) for f in eight]
    assert estimate_exposures(floats).stops == pytest.approx((0, 2), abs=0.1)


def test_frames_of_different_scenes_are_refused():
    first, second = frames((-1, 1), gamma)
    other = Frame(np.ascontiguousarray(second.pixels[::-1, ::-1]), second.exposure, second.path)
    with pytest.raises(InputError, match=r"0\.jpg, 1\.jpg contradict one another.*--ev"):
        estimate_exposures([first, other])


@pytest.mark.parametrize("value", [0, 255])
def test_black_or_white_frames_tell_nothing(value):
    flat = Frame(np.full((240, 320, 3), value, np.uint8), Exposure(0.0), Path("flat.jpg"))
    with pytest.raises(InputError, match=r"flat\.jpg and 0\.jpg, 1\.jpg share too little.*--ev"):
        estimate_exposures([*frames((-1, 1), gamma), flat])
