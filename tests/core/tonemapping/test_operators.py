import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dfghdr_cli.core.colour import P3, REC709, conversion, oklab, srgb_decode, srgb_encode
from dfghdr_cli.core.encoding import inverse_mu_law, mu_law
from dfghdr_cli.core.luminance import choose_exposure
from dfghdr_cli.core.tonemapping.operators import (
    DEFAULT_OPERATOR,
    OPERATORS,
    ToneSettings,
    tone_map,
)


def test_closed_form():
    x = np.array([0.0, 0.001, 0.5, 1.0, 3.0])
    expected = [math.log(1 + 5000 * v) / math.log(5001) for v in x]
    np.testing.assert_allclose(mu_law(x), expected, rtol=1e-12)
    assert mu_law(x)[0] == 0
    assert mu_law(x)[3] == 1


@given(st.floats(0, 16), st.floats(1, 1e5))
def test_inverse(value, mu):
    x = np.array([value])
    np.testing.assert_allclose(inverse_mu_law(mu_law(x, mu), mu), x, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("curve", [mu_law, inverse_mu_law])
def test_torch_agrees_with_numpy_and_keeps_the_type(curve):
    x = np.linspace(0, 1, 11, dtype=np.float32)
    ours = curve(torch.from_numpy(x))
    assert isinstance(ours, torch.Tensor)
    assert ours.dtype == torch.float32
    assert curve(x).dtype == np.float32
    np.testing.assert_allclose(ours.numpy(), curve(x), rtol=1e-5, atol=1e-7)


def test_gradient_reaches_the_tensor():
    x = torch.tensor([0.25], requires_grad=True)
    mu_law(x).sum().backward()
    assert x.grad is not None
    expected = 5000 / (1 + 5000 * 0.25) / math.log(5001)
    assert float(x.grad[0]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("mu", [0.0, -1.0, math.nan])
def test_refuses_a_mu_that_is_not_positive(mu):
    with pytest.raises(ValueError, match="mu"):
        mu_law(np.zeros(1), mu)
    with pytest.raises(ValueError, match="mu"):
        inverse_mu_law(np.zeros(1), mu)


def test_numpy_use_leaves_torch_unloaded():
    code = (
        "import sys, numpy, dfghdr_cli.core.tonemapping.operators as t; t.mu_law(numpy.ones(2));"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def grey(values):
    """One row of greys, (1, N, 3)."""
    return np.repeat(np.asarray(values, np.float32)[None, :, None], 3, axis=2)


def light(pixels, operator, **settings):
    """What a display emits: the picture decoded, in Rec. 709."""
    settings = {"exposure": 0.0, **settings}
    return srgb_decode(tone_map(pixels, ToneSettings(operator, **settings)).pixels)


VALUES = np.array([0.0, 0.01, 0.18, 0.5, 1.0, 3.0, 7.5])


def test_mu_law_is_eq_10_on_each_channel():
    pixels = np.random.default_rng(0).uniform(0, 9, (5, 4, 3)).astype(np.float32)
    shown = tone_map(pixels, ToneSettings("mu-law", exposure=0.0, white=8.0)).pixels
    np.testing.assert_allclose(shown, np.minimum(mu_law(pixels / 8), 1), atol=1e-5)
    half = tone_map(pixels, ToneSettings("mu-law", 1.0, 8.0, parameters={"mu": 50.0})).pixels
    np.testing.assert_allclose(half, np.minimum(mu_law(pixels / 4, 50.0), 1), atol=1e-5)


def test_gamma():
    code = tone_map(grey(VALUES), ToneSettings("gamma", 0.0, 2.0, parameters={"gamma": 1.8})).pixels
    expected = np.minimum(VALUES / 2, 1) ** (1 / 1.8)
    np.testing.assert_allclose(code[0, :, 1], expected, atol=1e-4)


def test_reinhard():
    shown = light(grey(VALUES), "reinhard", white=5.0)[0, :, 0]
    np.testing.assert_allclose(
        shown, np.minimum(VALUES * (1 + VALUES / 25) / (1 + VALUES), 1), atol=1e-4
    )


def test_reinhard_local_is_the_global_one_where_nothing_changes():
    flat = np.full((40, 50, 3), 2.0, np.float32)
    shown = light(flat, "reinhard-local", white=5.0)
    np.testing.assert_allclose(shown, 2 * (1 + 2 / 25) / 3, atol=1e-4)


def test_reinhard_local_keeps_more_contrast_in_fine_lines():
    """A bright line on a grey ground does not darken itself."""
    pixels = np.full((64, 64, 3), 1.0, np.float32)
    pixels[:, 32] = 6.0
    shown = light(pixels, "reinhard-local", white=8.0), light(pixels, "reinhard", white=8.0)
    contrast = [picture[32, 32, 0] / picture[32, 5, 0] for picture in shown]
    assert contrast[0] > 1.05 * contrast[1]


@pytest.mark.parametrize("bias", [0.7, 0.85])
def test_drago(bias):
    # Eq. (4) of the paper, Ldmax 100 so that its factor 0.01 Ldmax is 1.
    world, most = VALUES[1:] / 0.18, 7.5 / 0.18
    power = math.log(bias) / math.log(0.5)
    expected = np.log(world + 1) / np.log(2 + 8 * (world / most) ** power) / math.log10(most + 1)
    shown = light(grey(VALUES[1:]), "drago", white=7.5, parameters={"bias": bias})[0, :, 0]
    np.testing.assert_allclose(shown, expected, atol=1e-4)
    assert shown[-1] == pytest.approx(1, abs=1e-4)


def test_hable():
    def u(x):
        return (x * (0.15 * x + 0.05) + 0.004) / (x * (0.15 * x + 0.5) + 0.06) - 0.02 / 0.3

    shown = light(grey(VALUES), "hable")[0, :, 0]
    np.testing.assert_allclose(shown, np.minimum(u(2 * VALUES) / u(11.2), 1), atol=1e-3)


def test_aces():
    x = VALUES / 0.6
    expected = (x * (x + 0.0245786) - 0.000090537) / (x * (0.983729 * x + 0.4329510) + 0.238081)
    np.testing.assert_allclose(
        light(grey(VALUES), "aces")[0, :, 1], np.clip(expected, 0, 1), atol=2e-3
    )


def test_agx():
    """Half the code at middle grey, slope 2 there, black 10 stops below and white 6.5 above."""
    stops = np.array([-10.0, -0.05, 0.0, 0.05, 6.5])
    shown = light(grey(0.18 * 2.0**stops), "agx")[0, :, 1]
    code = shown ** (1 / 2.2)
    np.testing.assert_allclose(code[[0, 2, 4]], [0, 0.5, 1], atol=2e-3)
    assert (code[3] - code[1]) / (0.1 / 16.5) == pytest.approx(2.0, rel=0.02)


def test_khronos_neutral():
    shown = light(grey([0.04, 0.5, 0.8, 5.0]), "khronos-neutral")[0, :, 1]
    # Below 0.08 the offset is x - 6.25 x^2; above, 0.04; compression starts at 0.76.
    assert shown[0] == pytest.approx(6.25 * 0.04**2, abs=1e-4)
    assert shown[1] == pytest.approx(0.46, abs=1e-4)
    assert shown[2] == pytest.approx(0.76, abs=1e-4)
    assert shown[3] == pytest.approx(1 - 0.24**2 / (4.96 + 0.24 - 0.76), abs=1e-3)


def test_durand_reduces_forms_and_keeps_detail():
    pixels = np.full((96, 192, 3), 0.01, np.float32)
    pixels[:, 96:] = 10.0
    detail = np.where(np.indices((96, 192)).sum(axis=0) % 2, 1.1, 1 / 1.1).astype(np.float32)
    parameters = {"contrast": 20.0, "space": 0.05, "range": 0.4}
    shown = light(pixels * detail[..., None] ** 0.5, "durand", white=20.0, parameters=parameters)[
        ..., 1
    ]
    dark, bright = shown[30:66, 20:60], shown[30:66, 130:170]
    assert np.exp(np.log(bright).mean() - np.log(dark).mean()) == pytest.approx(20, rel=0.03)
    assert dark.max() / dark.min() == pytest.approx(1.1, rel=0.02)


def test_mantiuk_without_equalisation_is_a_power():
    """Its responses are a power of the contrast, so that the picture solves it exactly."""
    stops = np.random.default_rng(0).uniform(-6, 3, (40, 50)).astype(np.float32)
    parameters = {"contrast": 1.5, "equalise": 0.0}
    shown = light(np.exp2(grey(stops.ravel())), "mantiuk", white=8.0, parameters=parameters)
    logs = np.log2(shown[0, :, 1]).reshape(stops.shape)
    low, high = np.percentile(stops, (1, 99))
    inside = (stops > -5.5) & (stops < high)
    slope = np.polyfit(stops[inside], logs[inside], 1)[0]
    assert slope == pytest.approx(1.5 / ((high - low) * math.log10(2)), rel=0.01)


def test_mantiuk_equalises_contrasts_by_rank():
    """A power of the luminance changes no rank, so the result stays."""
    stops = np.random.default_rng(0).uniform(-4, 3, (32, 48, 1)).astype(np.float32)
    parameters = {"contrast": 0.9, "equalise": 1.0}
    first, second = (
        light(np.repeat(np.exp2(s), 3, 2), "mantiuk", white=8.0, parameters=parameters)
        for s in (stops, (stops - 3) / 2 + 3)
    )
    np.testing.assert_allclose(first, second, atol=0.02)
    assert first.std() > 0.1


def test_fusion_of_a_flat_picture_is_the_mean_of_its_exposures():
    flat = np.full((24, 24, 3), 0.3, np.float32)
    parameters = {"lift": 2.0, "width": 0.2, "veil": 0.0, "contrast": 0.0}
    shown = tone_map(flat, ToneSettings("fusion", 0.0, 4.0, parameters=parameters)).pixels
    codes = srgb_encode(np.minimum(0.3 * 2.0 ** np.array([-2.0, 0.0, 2.0]), 1))
    weights = np.exp(-0.5 * ((codes - 0.5) / 0.2) ** 2)
    np.testing.assert_allclose(shown, (weights @ codes) / weights.sum(), atol=1e-3)


def test_fusion_shows_an_even_sky_as_well_as_what_has_texture():
    """However strong the texture: it does not decide how bright the sky becomes."""
    stops = np.full((128, 128), 3.0, np.float32)
    stops[:12, :12] = 5.0
    stops[64:] = -2 + np.random.default_rng(0).choice([-1.5, 1.5], (64, 128))
    shown = tone_map(np.exp2(grey(stops.ravel())).reshape(128, 128, 3), ToneSettings(exposure=0.0))
    sky = shown.pixels[8:40, 32:, 1]
    assert 0.5 < sky.mean() < 0.75


def scene(height=70, width=90, seed=0):
    """Colours over 12 stops with lamps, shadows and fine detail."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / 20.0
    stops = 3 * np.sin(x) * np.cos(y) + np.where(x > 2, 3, -3) + random.normal(0, 0.2, y.shape)
    colour = random.uniform(0.3, 1, (1, 1, 3)) + 0.2 * np.sin(x + y)[..., None]
    return (np.exp2(stops)[..., None] * colour).astype(np.float32)


@pytest.mark.parametrize("name", OPERATORS)
def test_the_scale_of_a_file_does_not_matter(name):
    """Exposure is chosen from the picture, and nothing else looks at absolute values."""
    first = tone_map(scene(), ToneSettings(name))
    second = tone_map(scene() * np.float32(256), ToneSettings(name))
    assert second.exposure == pytest.approx(first.exposure - 8, abs=1e-3)
    np.testing.assert_allclose(second.pixels, first.pixels, atol=2e-3)
    assert first.pixels.min() >= 0
    assert first.pixels.max() <= 1
    assert first.pixels.std() > 0.1


@pytest.mark.parametrize("name", sorted(OPERATORS.keys() - {"mu-law"}))
def test_saturated_lamps_keep_their_hue(name, lamps):
    """Also where they are far brighter than white; fusion lets them turn much as a camera does.

    Eq. (10) is exempt, being what it is.
    """
    pixels = np.full((96, 32 * len(lamps), 3), 0.1, np.float32)
    for index, lamp in enumerate(lamps.values()):
        for row, gain in enumerate((1.0, 5.0, 40.0)):
            y, x = 32 * row + 8, 32 * index + 8
            pixels[y : y + 16, x : x + 16] = np.float32(gain) * np.array(lamp, np.float32)
    wanted, shown = oklab(pixels), oklab(light(pixels, name))
    hue, chroma = (
        [np.arctan2(lab[..., 2], lab[..., 1]) for lab in (wanted, shown)],
        [np.hypot(lab[..., 1], lab[..., 2]) for lab in (wanted, shown)],
    )
    turned = np.abs(np.degrees(np.angle(np.exp(1j * (hue[1] - hue[0])))))
    coloured = (chroma[0] > 0.1) & (chroma[1] > 0.03)
    assert coloured.sum() > 1000
    assert turned[coloured].max() < (32 if name == "fusion" else 2)


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (3, 2), (65, 3)])
def test_any_size_and_any_value(name, size):
    pixels = np.random.default_rng(0).uniform(-0.2, 60, (*size, 3)).astype(np.float32)
    shown = tone_map(pixels, ToneSettings(name)).pixels
    assert shown.shape == pixels.shape
    assert np.isfinite(shown).all()
    black = tone_map(np.zeros((*size, 3), np.float32), ToneSettings(name))
    assert black.exposure == 0
    assert black.pixels.max() == 0


@pytest.mark.parametrize("name", OPERATORS)
def test_parts_without_light_stay_black(name):
    pixels = scene()
    pixels[:20] = 0
    pixels[20:22] = -0.5
    shown = tone_map(pixels, ToneSettings(name)).pixels
    assert shown[:22].max() < 1e-3


def test_saturation():
    pixels = scene()
    none = tone_map(pixels, ToneSettings("reinhard", saturation=0.0)).pixels
    np.testing.assert_allclose(none, none[..., :1].repeat(3, axis=2), atol=1e-3)
    chroma = [
        np.hypot(*np.moveaxis(oklab(light(pixels, "reinhard", saturation=s))[..., 1:], 2, 0)).mean()
        for s in (0.5, 1.0, 1.5)
    ]
    assert chroma[0] < 0.7 * chroma[1] < 0.7 * chroma[2]


@pytest.mark.parametrize("name", ["fusion", "reinhard", "aces", "agx"])
def test_p3_shows_the_same_colours_with_other_numbers(name):
    settings = ToneSettings(name, exposure=-3.0, saturation=0.5)
    srgb, p3 = (tone_map(scene(), settings, space) for space in ("srgb", "p3"))
    back = srgb_decode(p3.pixels) @ conversion(P3, REC709).T
    # Some blue is beyond sRGB and had to be fitted there.
    inside = (back < 0.999).all(axis=2)
    assert inside.mean() > 0.7
    # Where light fades to white channel by channel, the channels matter.
    most = 0.02 if name == "fusion" else 2e-3
    assert np.abs(srgb_decode(srgb.pixels) - back)[inside].max() < most
    assert np.abs(srgb.pixels - p3.pixels).max() > 0.01


def test_p3_shows_colours_that_srgb_cannot():
    green = (conversion(P3, REC709) @ [0.1, 0.9, 0.1]).astype(np.float32)[None, None]
    assert green.min() < 0
    p3 = tone_map(green, ToneSettings("gamma", exposure=0.0), "p3").pixels
    np.testing.assert_allclose(p3[0, 0], np.array([0.1, 0.9, 0.1]) ** (1 / 2.2), atol=0.01)


def test_exposure_is_that_of_a_light_meter():
    assert choose_exposure(np.full((9, 9), 0.18, np.float32)) == pytest.approx(0, abs=1e-3)
    assert choose_exposure(np.full((9, 9), 0.045, np.float32)) == pytest.approx(2, abs=1e-3)
    night = np.full((100, 100), 0.01, np.float32)
    night[:5] = 10.0
    day = np.full((100, 100), 10.0, np.float32)
    day[:5] = 0.01
    means = [np.log2(picture).mean() for picture in (night, day)]
    keys = [choose_exposure(p) + m for p, m in zip((night, day), means, strict=True)]
    assert keys[0] < math.log2(0.18) < keys[1]


def night():
    """A lamp and its surroundings, and around them nothing but what noise shows."""
    rng = np.random.default_rng(2)
    luminance = np.float32(1e-5) * rng.uniform(0, 1, (200, 200)).astype(np.float32)
    luminance[80:120, 80:120] = 0.02
    luminance[95:105, 95:105] = 3.0
    return luminance


@pytest.mark.parametrize("scale", [1.0, 64.0])
def test_a_night_stays_a_night(scale):
    """The brightest frame shows white at 1/4; without it, noise would be taken for the scene."""
    luminance = night() * np.float32(scale)
    assert choose_exposure(luminance) + math.log2(scale) > 8
    chosen = choose_exposure(luminance, 0.25 * scale) + math.log2(scale)
    assert 1 < chosen <= 3
    dark = np.full((9, 9), 0.01 * scale, np.float32)
    assert choose_exposure(dark, 0.25 * scale) + math.log2(scale) == pytest.approx(3)
    assert choose_exposure(dark, 0.01 * scale) == choose_exposure(dark)
    noise = np.full((9, 9), 1e-5 * scale, np.float32)
    assert choose_exposure(noise, 0.25 * scale) + math.log2(scale) == pytest.approx(3)


def test_shadows_are_brightened_only_as_far_as_the_brightest_frame_allows():
    pixels = np.repeat(night()[..., None], 3, axis=2)
    free, bound = (tone_map(pixels, ToneSettings(), "srgb", w) for w in (None, 0.25))
    assert free.parameters["lift"] == OPERATORS["fusion"].parameters["lift"].default
    assert bound.exposure + bound.parameters["lift"] <= 4 + 1e-6
    assert np.median(bound.pixels) < 0.02 < np.median(free.pixels)
    told = ToneSettings(exposure=5.0, parameters={"lift": 2.5})
    shown = tone_map(pixels, told, brightest_white=0.25)
    assert (shown.exposure, shown.parameters["lift"]) == (5.0, 2.5)
    beyond = tone_map(pixels, ToneSettings(exposure=6.0), brightest_white=0.25)
    assert beyond.parameters["lift"] == 0


def test_exposure_brightens():
    means = [
        tone_map(scene(), ToneSettings(DEFAULT_OPERATOR, exposure=stops)).pixels.mean()
        for stops in (-2.0, 0.0, 2.0)
    ]
    assert means[0] < means[1] < means[2]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (ToneSettings("ansel"), "ansel.*reinhard"),
        (ToneSettings("drago", parameters={"biass": 1.0}), "drago.*biass.*bias"),
        (ToneSettings("drago", parameters={"bias": 2.0}), "0.5 to 1"),
        (ToneSettings("drago", parameters={"bias": math.nan}), "0.5 to 1"),
        (ToneSettings("agx", white=4.0), "agx.*white"),
        (ToneSettings("reinhard", white=0.0), "positive"),
        (ToneSettings("reinhard", white=math.inf), "positive"),
        (ToneSettings(saturation=-1.0), "saturation"),
        (ToneSettings(exposure=math.nan), "exposure"),
    ],
)
def test_settings_out_of_range(settings, words):
    with pytest.raises(ValueError, match=words):
        tone_map(scene(), settings)


def test_pixels_of_another_kind_are_bugs():
    for pixels in (np.ones((4, 4), np.float32), np.ones((4, 4, 3))):
        with pytest.raises(ValueError, match="float32"):
            tone_map(pixels, ToneSettings())


def test_every_operator_names_its_source():
    for name, operator in OPERATORS.items():
        function = getattr(operator.function, "__wrapped__", operator.function)
        text = " ".join((function.__doc__ or "").split())
        assert "Source:" in text or "(10)" in text or name == "gamma", name
        for parameter in operator.parameters.values():
            assert parameter.low <= parameter.default <= parameter.high
            assert parameter.meaning


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("light", [1e10, 1e24, 3e38])
def test_values_of_any_size_are_shown_as_white(name, light):
    radiance = np.random.default_rng(0).random((40, 48, 3), np.float32) + np.float32(0.01)
    radiance[10:14, 10:14] = light
    radiance[30, 30] = light, 0, 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown = tone_map(radiance, ToneSettings(operator=name)).pixels
    assert np.isfinite(shown).all()
    assert shown.min() >= 0
    assert shown[12, 12].min() > 0.9
