"""The black point, the S, and the fading of light to white."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dfghdr_cli.core.colour import P3, oklab, srgb_decode, srgb_encode, to_xyz
from dfghdr_cli.core.tonemapping.finish import (
    BLACK,
    camera_colours,
    fade_to_white,
    finish,
    within_gamut,
)

CODES = np.linspace(0, 1, 65536, dtype=np.float32)[None]


def picture(darkest, count=1000):
    """Codes of which the darkest fiftieth, and a few pixels more, have one lightness."""
    codes = np.linspace(0.3, 0.9, count, dtype=np.float32)
    codes[: count // 20] = srgb_encode(np.array([darkest**3]))
    return codes.reshape(20, -1)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 0.6), st.floats(0, 0.5), st.floats(0, 1))
def test_curves_rise_from_black_to_white(darkest, veil, contrast):
    light, saturation = finish(picture(darkest), veil, contrast)(CODES)
    assert light[0, 0] == 0
    assert light[0, -1] == pytest.approx(1, abs=1e-5)
    assert (np.diff(light[0]) >= 0).all()
    assert ((saturation >= 0.69) & (saturation <= 1.26)).all()


@given(st.floats(0.2, 0.36))
@settings(max_examples=10, deadline=None)
def test_a_veil_goes_until_the_darkest_fiftieth_is_black(darkest):
    codes = picture(darkest)
    light, _ = finish(codes, 0.5, 0.0)(codes)
    assert np.cbrt(np.percentile(light, 2)) == pytest.approx(BLACK, abs=2e-3)
    assert light.min() > 0


def test_a_veil_goes_only_so_far_and_only_where_there_is_one():
    fog, night = picture(0.6), picture(0.05)
    light, _ = finish(fog, 0.05, 0.0)(fog)
    before = srgb_decode(fog)
    assert 0.03 < before.min() - light.min() < 0.05
    light, _ = finish(night, 0.5, 0.0)(night)
    np.testing.assert_allclose(light, srgb_decode(night), atol=1e-4)


def test_the_s_steepens_the_middle_and_colours_follow():
    light, saturation = finish(picture(0.1), 0.0, 0.5)(CODES)
    code = srgb_encode(light)[0]
    assert code[32768] == pytest.approx(0.5, abs=1e-3)
    assert code[16384] < 0.24
    assert code[49152] > 0.76
    assert saturation[0, 16384] > 1.1
    assert saturation[0, 62000] < 0.95
    light, saturation = finish(picture(0.1), 0.0, 0.0)(CODES)
    np.testing.assert_allclose(light, srgb_decode(CODES), atol=1e-6)
    np.testing.assert_allclose(saturation, 1, atol=1e-3)


WEIGHTS = np.array([0.2126, 0.7152, 0.0722])


def film(scene):
    """y = (1 + s) x^n / (x^n + s) on each channel."""
    return 1.176 * scene**1.45 / (scene**1.45 + 0.176)


@pytest.mark.parametrize("tint", [[1.15, 1.0, 0.8], [1.6, 0.9, 0.3], [0.6, 1.0, 1.8]])
def test_colours_are_those_of_a_camera_s_curve_on_channels(tint):
    """Of which only the luminance is known, and the colour of the light."""
    scene = np.geomspace(0.01, 0.4, 8)[:, None] * tint
    wanted = film(scene)
    scene_grey, grey = scene @ WEIGHTS, wanted @ WEIGHTS
    measured = scene / scene_grey[:, None] * grey[:, None]
    shown = camera_colours(measured[None].astype(np.float32), grey[None].astype(np.float32))[0]
    np.testing.assert_allclose(shown / (shown @ WEIGHTS)[:, None], wanted / grey[:, None], rtol=0.1)
    assert (np.abs(measured - wanted).max(axis=1) > 0.03 * grey).any()
    assert (shown @ WEIGHTS <= grey * 1.0001).all()


@given(st.lists(st.floats(0.01, 1), min_size=3, max_size=3), st.floats(0.05, 1))
@example([1, 0.2, 0.1], 0.05)  # a twentieth lighter where it counts as a colour of Rec. 709
def test_a_camera_s_colours_are_no_lighter_in_any_primaries(colour, luminance):
    weights = to_xyz(P3)[1]
    rgb = np.array(colour) / (np.array(colour) @ weights) * luminance
    light = np.array([[luminance]], np.float32)
    shown = camera_colours(rgb[None, None].astype(np.float32), light, "p3")
    assert (shown @ weights <= light * 1.001).all()


@given(st.lists(st.floats(-0.2, 4), min_size=3, max_size=3), st.floats(0, 3))
def test_a_camera_shows_no_more_than_its_white(colour, luminance):
    shown = camera_colours(np.array([[colour]], np.float32), np.array([[luminance]], np.float32))
    assert np.isfinite(shown).all()
    assert shown.min() >= 0
    assert shown.max() <= 1.1761


def test_greys_stay_grey_in_a_camera_s_colours():
    grey = np.linspace(0, 1, 50, dtype=np.float32)[None]
    shown = camera_colours(np.repeat(grey[..., None], 3, axis=2), grey)
    np.testing.assert_allclose(shown, grey[..., None].repeat(3, axis=2), atol=1e-5)


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.floats(0.5, 1.8))
def test_saturation_keeps_colours_within_the_gamut(colour, wanted):
    rgb = np.array([[colour]], np.float32)
    y = rgb @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    s = within_gamut(np.full((1, 1), wanted, np.float32), rgb, y)
    assert (y[..., None] + s[..., None] * (rgb - y[..., None])).min() >= -1e-6
    assert s <= np.float32(wanted)
    assert s >= min(np.float32(wanted), 1)


def hue(light):
    lab = oklab(np.asarray(light, np.float32).reshape(1, -1, 3))[0]
    return np.degrees(np.arctan2(lab[:, 2], lab[:, 1]))


def test_light_fades_to_white():
    x = np.geomspace(0.01, 500, 300, dtype=np.float32)
    grey = fade_to_white(np.repeat(x[None, :, None], 3, axis=2))
    np.testing.assert_allclose(grey[0, :, 0], grey[0, :, 2], atol=2e-3)
    assert (np.diff(grey[0, :, 1]) > -1e-4).all()
    np.testing.assert_allclose(grey[0, x < 0.69, 1], x[x < 0.69], rtol=1e-6)
    assert grey.max() <= 1 + 1e-3
    assert grey[0, -1, 1] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("space", ["srgb", "p3"])
def test_a_sunset_becomes_golden_but_not_yellow(space):
    orange = np.array([[[2.0, 0.62, 0.16]]], np.float32)
    film = orange.copy()
    film[..., 0] = 1 - 0.3 * np.exp(-(2.0 - 0.7) / 0.3)
    own, golden, yellow = hue(orange)[0], hue(fade_to_white(orange.copy(), space))[0], hue(film)[0]
    assert own + 5 < golden < yellow - 5
