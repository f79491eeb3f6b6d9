"""Hot pixels go; stars, which a lens never draws within one pixel, stay."""

import cv2
import numpy as np
import pytest

from dfghdr_cli.core.restoration.hotpixels import hot_pixels, without_hot_pixels
from dfghdr_cli.core.types import Bracket, Exposure, Frame

SIZE = (160, 220)
STOPS = (-4.0, -2.0, 0.0, 2.0)
HOT = [(20, 30), (77, 150), (0, 9), (159, 219), (120, 60)]
STARS = [(40.0, 40.0), (90.3, 110.7), (130.5, 180.5), (30.2, 200.9)]


def night(stops, rng, *, hot=True, sigma=0.7, shift=(0.0, 0.0)):
    """(H, W, 3) light of a dim ground with stars, which move with the camera, and hot pixels."""
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]].astype(np.float32)
    light = np.full(SIZE, 0.002, np.float32) * (1.2 + np.sin(x / 9) * np.cos(y / 7))
    for row, column in STARS:
        far = np.hypot(y - row - shift[0], x - column - shift[1])
        light += np.exp(-0.5 * (far / sigma) ** 2)
    light *= np.float32(2.0**stops)
    light = light[..., None] * np.float32((1.0, 0.95, 0.9))
    light += rng.standard_normal(light.shape, np.float32) * np.sqrt(2e-5 * np.abs(light) + 1e-7)
    if hot:
        for row, column in HOT:
            light[row, column] += np.float32((0.5, 0.3, 0.4)) * 2.0**stops
    return np.clip(light, 0, 1)


def frames(kind="uint8", *, moves=False, **scene):
    rng = np.random.default_rng(1)
    found = []
    for number, stops in enumerate(STOPS):
        shift = (number * 2.3, -number * 1.6) if moves else (0.0, 0.0)
        light = night(stops, rng, shift=shift, **scene)
        code = light if kind == "linear" else light ** (1 / 2.2)
        if kind == "jpeg":
            _, stored = cv2.imencode(".jpg", np.rint(code * 255), (cv2.IMWRITE_JPEG_QUALITY, 97))
            pixels = cv2.imdecode(stored, cv2.IMREAD_COLOR)
        elif kind == "uint16":
            pixels = np.rint(code * 65535).astype(np.uint16)
        else:
            pixels = np.rint(code * 255).astype(np.uint8) if kind == "uint8" else code
        found.append(Frame(pixels, Exposure(stops), linear=kind == "linear"))
    return found


@pytest.mark.parametrize("kind", ["uint8", "uint16", "linear", "jpeg"])
@pytest.mark.parametrize("moves", [False, True])
def test_hot_pixels_are_found_and_stars_are_not(kind, moves):
    found = {tuple(place) for place in np.argwhere(hot_pixels(frames(kind, moves=moves)))}
    assert found <= set(HOT)
    assert len(found) >= (4 if kind == "jpeg" else 5)


@pytest.mark.parametrize("sigma", [0.55, 0.7, 1.0, 2.0])
def test_no_star_is_taken_for_one_on_a_tripod(sigma):
    assert not hot_pixels(frames(hot=False, sigma=sigma)).any()


def test_a_hot_pixel_shows_its_neighbours_in_every_frame_and_nothing_else_changes():
    bracket = Bracket(tuple(frames()), 2)
    repaired, count = without_hot_pixels(bracket)
    assert count == len(HOT)
    clean = frames(hot=False)
    rows, columns = np.array(HOT).T
    for before, after, truth in zip(bracket.frames, repaired.frames, clean, strict=True):
        left = after.pixels.astype(int) - truth.pixels
        assert np.abs(left[rows, columns]).max() <= 16  # of up to 255, by noise
        changed = (before.pixels != after.pixels).any(axis=2)
        assert {tuple(p) for p in np.argwhere(changed)} <= set(HOT)
        assert after.pixels.dtype == before.pixels.dtype
    assert before.pixels is not after.pixels


def test_without_any_the_bracket_is_the_same_object():
    bracket = Bracket(tuple(frames(hot=False)), 2)
    assert without_hot_pixels(bracket) == (bracket, 0)


def test_one_frame_alone_proves_nothing():
    """A glint of one moment, or a particle that hit the sensor, is left to the merge."""
    shots = frames(hot=False)
    glint = shots[2].pixels.copy()
    glint[50, 50] = 255
    shots[2] = Frame(glint, Exposure(0.0))
    assert not hot_pixels(shots).any()


def test_what_does_not_grow_with_the_exposure_is_a_thing():
    shots = frames(hot=False)
    for frame, level in zip(shots, (250, 180, 120, 60), strict=True):
        frame.pixels[60, 60] = level
    assert not hot_pixels(shots).any()


@pytest.mark.parametrize("size", [(1, 1), (2, 40), (3, 3)])
def test_tiny_pictures(size):
    shots = [Frame(np.zeros((*size, 3), np.uint8), Exposure(s)) for s in (0.0, 1.0)]
    assert not hot_pixels(shots).any()
