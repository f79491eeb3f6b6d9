import numpy as np
import pytest

from dfghdr_cli.core.colour import (
    ACESCG,
    ADOBE_RGB,
    LUMINANCE,
    P3,
    REC709,
    REC2020,
    conversion,
    convert_radiance,
    fit_gamut,
    from_oklab,
    keep_hue,
    oklab,
    srgb_decode,
    srgb_encode,
    to_xyz,
)

AP0 = (0.7347, 0.2653, 0.0, 1.0, 0.0001, -0.077, 0.32168, 0.33767)


def test_the_matrix_of_rec709_is_the_published_one():
    # IEC 61966-2-1, to four decimals.
    published = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    np.testing.assert_allclose(to_xyz(REC709), published, atol=2e-4)
    np.testing.assert_allclose(LUMINANCE["srgb"], [0.2126, 0.7152, 0.0722], atol=1e-4)


def test_the_matrix_to_rec2020_is_the_published_one():
    # ITU-R BT.2087-0, from Rec. 709.
    published = [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]
    np.testing.assert_allclose(conversion(REC709, REC2020), published, atol=1e-4)


def test_the_matrix_from_aces_adapts_the_white():
    # ACES 2065-1 (white near D60) to Rec. 709 (D65) with Bradford, as in the ACES transforms.
    published = [
        [2.5217, -1.1341, -0.3876],
        [-0.2765, 1.3727, -0.0962],
        [-0.0154, -0.1530, 1.1684],
    ]
    np.testing.assert_allclose(conversion(AP0, REC709), published, atol=2e-3)


def test_xyz_is_a_set_of_primaries():
    """They lie on the line y = 0 or at x = 0; equal parts of XYZ are white."""
    xyz = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1 / 3, 1 / 3)
    np.testing.assert_allclose(to_xyz(xyz), np.eye(3), atol=1e-12)
    np.testing.assert_allclose(conversion(xyz, REC709) @ np.ones(3), np.ones(3), atol=1e-12)


@pytest.mark.parametrize("source", [P3, REC2020, AP0])
def test_white_stays_white_and_there_and_back_is_nothing(source):
    there = conversion(source, REC709)
    np.testing.assert_allclose(there @ np.ones(3), np.ones(3), atol=1e-12)
    np.testing.assert_allclose(conversion(REC709, source) @ there, np.eye(3), atol=1e-12)


@pytest.mark.parametrize(
    "bad", [(0.3,) * 8, (0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3, 0.0), (float("nan"),) * 8]
)
def test_what_spans_no_triangle_is_refused(bad):
    with pytest.raises(ValueError, match="no primaries"):
        conversion(bad, REC709)


def test_the_srgb_curve():
    linear = np.array([0.0, 0.0031308, 0.18, 1.0, -0.18], np.float64)
    code = srgb_encode(linear)
    np.testing.assert_allclose(code, [0, 0.04045, 0.46136, 1, -0.46136], atol=1e-4)
    np.testing.assert_allclose(srgb_decode(code), linear, atol=1e-6)
    assert srgb_encode(linear.astype(np.float32)).dtype == np.float32


PIXELS = np.random.default_rng(1).uniform(0, 4, (40, 50, 3)).astype(np.float32)


def test_radiance_that_is_there_already_is_not_touched():
    pixels, outside = convert_radiance(PIXELS, np.eye(3), REC709)
    assert pixels is PIXELS
    assert outside == 0


@pytest.mark.parametrize("target", [REC2020, ACESCG])
def test_a_wider_space_holds_everything(target):
    pixels, outside = convert_radiance(PIXELS, np.eye(3), target)
    assert outside == 0
    assert pixels.dtype == np.float32
    back = pixels @ conversion(target, REC709).T
    np.testing.assert_allclose(back, PIXELS, atol=2e-5)
    white, _ = convert_radiance(np.full((1, 1, 3), 3, np.float32), np.eye(3), target)
    np.testing.assert_allclose(white, 3, rtol=1e-6)


@pytest.mark.parametrize("source", [ADOBE_RGB, P3, REC2020])
def test_colours_outside_become_paler_and_no_brighter(source):
    matrix = conversion(source, REC709)
    exact = PIXELS @ matrix.T
    pixels, outside = convert_radiance(PIXELS, matrix, REC709)
    assert np.isfinite(pixels).all()
    assert pixels.min() >= 0
    inside = exact.min(axis=2) >= 0
    np.testing.assert_allclose(pixels[inside], exact[inside], rtol=1e-5, atol=1e-6)
    weights = LUMINANCE["srgb"]
    np.testing.assert_allclose(pixels @ weights, exact @ weights, rtol=1e-5, atol=1e-6)
    assert 0 < outside <= 1 - inside.mean()
    # Towards grey: the order of the channels stays.
    assert (np.argmax(pixels, axis=2) == np.argmax(exact, axis=2)).all()


def test_colours_that_no_light_has_are_black():
    matrix = np.array([[1.0, 0, 0], [0, 1, 0], [0, -9, 10]])  # a sensor's noise in the blue
    pixels, _ = convert_radiance(np.float32([[[0, 0.001, 0.0], [0, 0, 0]]]), matrix, REC709)
    assert (pixels >= 0).all()
    assert (pixels < 0.002).all()


def hue(linear):
    """Of Oklab [degrees], (H, W)."""
    lab = oklab(np.asarray(linear, np.float32))
    return np.degrees(np.arctan2(lab[..., 2], lab[..., 1]))


def test_oklab_has_the_published_values():
    # B. Ottosson, 2020: the table of XYZ and Oklab pairs, its first row being white.
    white = oklab(np.ones((1, 1, 3), np.float32))[0, 0]
    np.testing.assert_allclose(white, [1, 0, 0], atol=1e-3)
    red = oklab(np.array([[[1, 0, 0]]], np.float32))[0, 0]
    np.testing.assert_allclose(red, [0.6280, 0.2249, 0.1258], atol=1e-3)


@pytest.mark.parametrize("space", ["srgb", "p3"])
def test_oklab_there_and_back(space):
    colours = np.random.default_rng(0).uniform(-0.2, 4, (5, 7, 3)).astype(np.float32)
    np.testing.assert_allclose(from_oklab(oklab(colours, space), space), colours, atol=1e-4)


def test_scaling_light_keeps_its_hue(lamps):
    lamp = np.array([[lamps["blue"]]], np.float32)
    np.testing.assert_allclose(hue(lamp * 1000), hue(lamp), atol=0.01)


@pytest.mark.parametrize("space", ["srgb", "p3"])
def test_what_a_display_can_show_is_left_alone(space):
    colours = np.random.default_rng(1).random((6, 5, 3)).astype(np.float32)
    np.testing.assert_array_equal(fit_gamut(colours, space), colours)


@pytest.mark.parametrize("name", ["red", "orange", "yellow", "green", "cyan", "blue", "magenta"])
def test_bright_colours_fade_at_their_hue(name, lamps):
    lamp = np.array([[lamps[name]]], np.float32)
    gains = np.array([1.5, 3, 8, 30], np.float32)[None, :, None]
    shown = fit_gamut(lamp * gains)
    assert shown.min() >= 0
    assert shown.max() <= 1
    # Hue means nothing in what has become white.
    chroma = np.hypot(*np.moveaxis(oklab(shown)[..., 1:], 2, 0))
    turned = np.abs((hue(shown) - hue(lamp) + 180) % 360 - 180)
    assert (turned[chroma > 0.02] < 1).all()
    lightness = oklab(shown)[0, :, 0]
    assert (np.diff(lightness) >= -1e-3).all()
    # The cut of each channel, which it replaces, turns most of them.
    if name in ("orange", "blue"):
        assert np.abs(hue(np.clip(lamp * 8, 0, 1)) - hue(lamp)).max() > 10


def test_keep_hue_takes_hues_from_one_picture_and_the_rest_from_the_other(lamps):
    original = np.array([[lamps["orange"], lamps["blue"], (0.5, 0.5, 0.5)]], np.float32) * 20
    toned = original / (1 + original)
    assert np.abs(hue(toned) - hue(original))[0, :2].min() > 5
    kept = keep_hue(toned, original)
    np.testing.assert_allclose(hue(kept)[0, :2], hue(original)[0, :2], atol=0.1)
    np.testing.assert_allclose(oklab(kept)[..., 0], oklab(toned)[..., 0], atol=1e-4)
    np.testing.assert_allclose(kept[0, 2], toned[0, 2], atol=1e-4)
