"""Responses: closed forms, tables, and curves recovered from synthetic hand-held brackets."""

from typing import Any, cast

import cv2
import numpy as np
import pytest

from dfghdr_cli.core.calibration.camera_curves import usual_curve
from dfghdr_cli.core.calibration.matches import _ranks
from dfghdr_cli.core.calibration.response import (
    Calibration,
    Response,
    ResponseReport,
    choose_response,
    estimate_response,
)
from dfghdr_cli.core.types import Exposure, Frame
from dfghdr_cli.errors import InputError
from tests.support.curves import CURVES, Curve, filmic, gamma, log_contrast, srgb, srgb_contrast

STOPS = (-2.0, 0.0, 2.0)
CAMERAS = {name: CURVES[name] for name in ("srgb-s", "log-s", "filmic")}


def scene(seed: int, size: tuple[int, int] = (420, 560)) -> np.ndarray:
    """Log-normal noise of many scales on a gradient: radiance (H, W, 3), about 10 stops."""
    rng = np.random.default_rng(seed)
    height, width = size
    stops = np.zeros((height, width, 3))
    for cells in (3, 6, 12, 24, 48, 96):
        noise = rng.normal(size=(cells, cells * 4 // 3, 3)) * 0.5 + rng.normal(
            size=(cells, cells * 4 // 3, 1)
        )
        stops += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) * cells**-0.3
    stops += np.linspace(-2.5, 2.5, width)[None, :, None]
    return 0.18 * 2.0**stops


def shoot(
    radiance: np.ndarray,
    camera: Curve,
    stops: tuple[float, ...] = STOPS,
    dtype: type = np.uint8,
    shake: int = 0,
    object_size: int = 0,
    noise: float = 0.0,
) -> list[Frame]:
    """A bracket: each frame shifted by `shake` pixels times its index, an object crossing it."""
    rng = np.random.default_rng(99)
    frames = []
    for index, stop in enumerate(stops):
        seen = np.roll(radiance, (shake * index, -2 * shake * index), (0, 1)).copy()
        if object_size:
            left = 40 + 150 * index
            patch = scene(1000)[:object_size, :object_size] * 3
            seen[100 : 100 + object_size, left : left + object_size] = patch
        light = seen * 2.0**stop
        light += rng.normal(size=light.shape) * np.sqrt(noise**2 * (light + 0.01))
        code = camera(np.clip(light, 0, 1))
        top = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
        code = np.rint(code * top) if top > 1 else code
        frames.append(Frame(code.astype(dtype), Exposure(stop)))
    return frames


def ratio_error(response: Response, camera: Curve) -> np.ndarray:
    """|log2 error| of the recovered linear light, 0.005 .. 0.95, after the best global scale."""
    light = np.geomspace(0.005, 0.95, 300)
    error = np.log2(response.evaluate(camera(light)) / light)
    return np.abs(error - np.median(error))


def chosen(*arguments: Any) -> tuple[Response, ResponseReport]:
    """The one response that all frames got, and the report."""
    found = choose_response(*arguments)
    assert isinstance(found, Calibration)
    assert len({id(response) for response in found.responses}) == 1
    return found.responses[0], found.report


def test_srgb_follows_the_standard():
    response = Response.named("srgb")
    codes = np.array([0.0, 0.04045, 0.5, 1.0])
    expected = [0.0, 0.0031308, 0.2140411, 1.0]
    np.testing.assert_allclose(response.evaluate(codes), expected, atol=1e-6)


def test_gamma_is_equation_7():
    codes = np.linspace(0, 1, 11)
    np.testing.assert_allclose(Response.named("gamma").evaluate(codes), codes**2.2, rtol=1e-12)


def test_an_unknown_name_is_refused():
    with pytest.raises(InputError, match="choose one of"):
        Response.named("rec709")


@pytest.mark.parametrize("name", ["srgb", "gamma", "linear"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_linearise_equals_the_closed_form(name, dtype):
    rng = np.random.default_rng(3)
    codes = rng.random((300, 40, 3))
    codes[0, 0], codes[0, 1] = 0.0, 1.0
    top = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    pixels = (np.rint(codes * top) if top > 1 else codes).astype(dtype)
    response = Response.named(name)
    result = response.linearise(pixels)
    assert result.dtype == np.float32
    assert result.shape == pixels.shape
    np.testing.assert_allclose(result, response.evaluate(pixels / top), rtol=1e-5, atol=1e-7)
    assert result[0, 0].tolist() == [0, 0, 0]
    assert result[0, 1].tolist() == [1, 1, 1]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_table_with_a_column_per_channel_is_applied_per_channel(dtype):
    codes = np.linspace(0, 1, 1001)
    response = Response("fitted", codes, np.stack([codes, codes**2, codes**3], axis=1))
    top = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    pixels = np.full((5, 7, 3), 0.5 * top).astype(dtype)
    code = pixels[0, 0, 0] / top
    expected = np.broadcast_to([code, code**2, code**3], pixels.shape)
    np.testing.assert_allclose(response.linearise(pixels), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_codes_from_white_on_are_white(dtype):
    white = np.array([1.0, 0.9, 235 / 255])
    response = Response.named("gamma").with_white(white)
    codes = np.linspace(0, 1, 256)[:, None, None].repeat(3, axis=2)
    top = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    pixels = (np.rint(codes * top) if top > 1 else codes).astype(dtype)
    expected = np.minimum(codes, white) ** 2.2
    np.testing.assert_allclose(response.linearise(pixels), expected, atol=2e-5)
    lower = response.with_white(0.9 * white).linearise(pixels)
    np.testing.assert_allclose(lower, np.minimum(codes / 0.9, white) ** 2.2, atol=2e-5)


@pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS)
def test_a_camera_curve_is_recovered_in_spite_of_shake_and_motion(camera):
    frames = shoot(scene(1), camera, shake=3, object_size=110, noise=0.01)
    response, report = chosen("auto", frames, STOPS)
    assert response.name == report.kind == "fitted"
    assert report.warning is None
    error = ratio_error(response, camera)
    assert error.mean() < 0.03
    assert error.max() < 0.4  # towards white, of which frames say little


@pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS)
def test_the_fitted_curve_is_a_response(camera):
    response, _ = estimate_response(shoot(scene(2), camera), STOPS)
    assert response.linear[0] == 0
    assert response.linear[-1] == 1
    assert np.all(np.diff(response.linear) > 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", ["srgb", "gamma"])
def test_auto_keeps_a_named_response_that_agrees(kind, dtype):
    camera = {"srgb": srgb, "gamma": gamma}[kind]
    frames = shoot(scene(3), camera, dtype=dtype, shake=3, object_size=110, noise=0.01)
    response, report = chosen("auto", frames, STOPS)
    assert response.name == report.kind == kind
    assert report.misfit[kind] == min(report.misfit[name] for name in ("srgb", "gamma", "linear"))
    assert report.warning is None


def test_a_linear_file_is_recognised():
    frames = shoot(scene(4), lambda light: light, dtype=np.float32, shake=2)
    assert chosen("auto", frames, STOPS)[0].name == "linear"


def test_what_was_asked_for_is_kept_but_warned_about():
    response, report = chosen("gamma", shoot(scene(5), log_contrast), STOPS)
    assert response.name == "gamma"
    assert report.warning is not None
    assert "contradict" in report.warning
    honest, report = chosen("gamma", shoot(scene(5), gamma), STOPS)
    assert honest.name == "gamma"
    assert report.warning is None


@pytest.mark.parametrize("kind", ["auto", "srgb"])
def test_a_wrong_exposure_of_one_frame_is_corrected_and_named(kind):
    frames = shoot(scene(9), srgb, shake=2)
    found = choose_response(kind, frames, [-2.0, 0.6, 2.0])
    np.testing.assert_allclose(found.stops, STOPS, atol=0.05)
    assert found.report.corrections == {1: pytest.approx(-0.6, abs=0.05)}
    assert found.responses[1].name == "srgb"
    assert found.report.warning is not None
    assert "frame 2 by -0.6" in found.report.warning
    kept = choose_response(kind, frames, [-2.0, 0.6, 2.0], "files")
    assert kept.stops == (-2.0, 0.6, 2.0)
    assert kept.report.corrections == {}


@pytest.mark.parametrize("kind", ["srgb", "gamma"])
def test_a_small_error_of_an_exposure_does_not_bend_the_curve(kind):
    camera = {"srgb": srgb, "gamma": gamma}[kind]
    frames = shoot(scene(12), camera, stops=(0.0, 1.0))
    found = choose_response("auto", frames, [0.0, 0.8])
    assert found.responses[0].name == kind
    np.testing.assert_allclose(found.stops, [0.0, 1.0], atol=0.03)


@pytest.mark.parametrize("kind", ["srgb", "gamma"])
def test_right_exposures_remain_as_they_are(kind):
    camera = {"srgb": srgb, "gamma": gamma}[kind]
    frames = shoot(scene(13), camera, dtype=np.uint16, noise=0.01)
    assert choose_response("auto", frames, STOPS).stops == STOPS


def test_an_exposure_that_is_stops_off_is_left_to_the_user():
    frames = shoot(scene(9), srgb, stops=(-2.0, 0.0, 2.0, 3.0))
    stated = [-2.0, 1.6, 2.0, 3.0]
    with pytest.raises(InputError, match=r"frame 2 is 1\.6 stops darker.*--exposures-from"):
        choose_response("auto", frames, stated)
    found = choose_response("auto", frames, stated, "pixels")
    np.testing.assert_allclose(np.diff(found.stops), [2.0, 2.0, 1.0], atol=0.1)


def test_a_fitted_curve_is_near_those_of_cameras_where_the_frames_say_little():
    frames = shoot(scene(14), log_contrast, stops=(0.0, 0.5))
    found = choose_response("auto", frames, [0.0, 0.5])
    middle, shoulder = np.log2(found.responses[0].evaluate(np.array([0.5, 0.9])))
    assert -4.0 < middle < -2.0
    assert -1.5 < shoulder < -0.2
    assert found.report.uncertainty["middle"] > 0.1


def test_exposures_half_as_far_apart_as_in_truth_are_noticed():
    response, report = chosen("auto", shoot(scene(9), srgb_contrast), [-1.0, 0.0, 1.0])
    assert response.name == "fitted"
    assert report.warning is not None
    assert "frame 1" in report.warning


def test_exposures_in_the_wrong_order_are_left_to_the_user():
    with pytest.raises(InputError, match="--exposures-from"):
        choose_response("auto", shoot(scene(9), srgb_contrast), STOPS[::-1])


def test_a_shake_of_a_tenth_of_the_picture_does_not_matter():
    frames = shoot(scene(10), filmic, shake=28)
    error = ratio_error(estimate_response(frames, STOPS)[0], filmic)
    assert error.mean() < 0.03


def test_the_order_of_the_frames_and_the_zero_of_the_stops_do_not_matter():
    frames = shoot(scene(6), srgb_contrast)
    first, _ = estimate_response(frames, STOPS)
    second, _ = estimate_response(frames[::-1], [s + 7 for s in STOPS[::-1]])
    np.testing.assert_allclose(first.linear, second.linear, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", ["auto", "srgb", "gamma"])
def test_frames_that_share_nothing_leave_the_response_open(kind):
    black, white = (np.full((64, 64, 3), value, np.uint8) for value in (0, 255))
    frames = [Frame(black, Exposure(0)), Frame(white, Exposure(4))]
    response, report = chosen(kind, frames, [0, 4])
    assert response.name == ("srgb" if kind == "auto" else kind)
    assert report.misfit == {}
    assert (report.warning is not None) == (kind == "auto")


def test_equal_exposures_say_nothing():
    frames = shoot(scene(7), log_contrast, stops=(0.0, 0.0))
    response, report = chosen("auto", frames, [0, 0])
    assert response.name == "srgb"
    assert report.warning is not None


@pytest.mark.parametrize(
    ("count", "stops"), [(1, [0.0]), (2, [0.0]), (2, [0.0, float("nan")])], ids=str
)
def test_missing_exposures_are_refused(count, stops):
    frames = shoot(scene(8), gamma)[:count]
    with pytest.raises(InputError, match="give every frame's exposure"):
        choose_response("auto", frames, stops)


def test_an_unknown_kind_is_refused():
    with pytest.raises(InputError, match="choose auto"):
        choose_response(cast("Any", "filmic"), shoot(scene(8), gamma), STOPS)


@pytest.mark.parametrize("kind", ["auto", "srgb"])
@pytest.mark.parametrize("stated", [(-1.0, 0.0, 1.0), (-0.6, 0.0, 0.7), (0.0, 1.0, 4.0)])
def test_frames_that_look_alike_were_not_exposed_differently(kind, stated):
    """The camera chose the ISO; nothing but the shutter was told."""
    taken = (0.0, 0.0, 3.0) if stated[2] == 4.0 else (0.0, 0.0, 0.0)
    frames = shoot(scene(8), srgb_contrast, taken, noise=0.01)
    with pytest.raises(InputError, match=r"equally bright .* --exposures-from"):
        choose_response(kind, frames, stated)
    choose_response(kind, frames, stated, "files")
    found = choose_response("auto", frames, stated, "pixels")
    assert found.stops[1] - found.stops[0] == pytest.approx(0.0, abs=0.2)


def test_frames_a_third_of_a_stop_apart_do_not_look_alike():
    frames = shoot(scene(8), srgb_contrast, (-0.33, 0.0, 0.33), noise=0.01)
    choose_response("auto", frames, (-0.33, 0.0, 0.33))
    frames = shoot(scene(8), srgb_contrast, (-0.5, 0.0, 0.5), noise=0.01)
    choose_response("auto", frames, (-0.5, 0.0, 0.5))


def usual(linear: np.ndarray) -> np.ndarray:
    codes = np.linspace(0.0, 1.0, 4097)
    light = np.exp2(usual_curve(codes))
    return np.interp(linear, light, codes)


@pytest.mark.parametrize("stops", [(-3.8, 0.0), (-2.0, 0.0, 2.0), (-3.5, 0.0, 3.5)])
def test_exposures_that_only_pixels_tell_are_not_made_smaller(stops):
    """The smallest ones leave the smallest residuals; a usual camera's contrast is the scale."""
    black = np.array([4.0, -3.0, 2.0]) / 255.0  # so that no curve fits all

    def camera(light: np.ndarray) -> np.ndarray:
        return np.clip((usual(light) - black) / (1.0 - black), 0.0, 1.0)

    frames = shoot(scene(12), camera, stops, shake=5, object_size=110, noise=0.05)
    found = choose_response("auto", frames, stops, "pixels")
    np.testing.assert_allclose(np.diff(found.stops), np.diff(stops), rtol=0.06)
    codes = np.linspace(0.15, 0.9, 30)
    light = np.log2(found.responses[0].evaluate(codes[:, None].repeat(3, axis=1))[:, 1])
    assert np.abs(light - usual_curve(codes)).max() < 0.5
    assert np.abs(np.diff(light) / np.diff(usual_curve(codes)) - 1.0).max() < 0.6


def test_ranks_of_a_strip_are_a_strip():
    strip = np.random.default_rng(1).uniform(0, 1, (20_000, 3, 3)).astype(np.float32)
    assert _ranks(strip).shape[1] == 1


def phone(powers: tuple[float, float, float]) -> Curve:
    """Curves of its own for each photograph, and each channel, as phones have."""
    return lambda linear: srgb_contrast(linear) ** np.array(powers)


def test_frames_whose_curves_differ_are_left_apart():
    """Then they may be apart in the merge, too, without anything having moved."""
    stops = (-2.0, 0.0, 2.0)
    powers = (1.8, 1.0, 1.8), (1.0, 1.0, 1.0), (0.5, 1.0, 0.5)
    apart = [
        shoot(scene(13), phone(power), (stop,), noise=0.01)[0]
        for power, stop in zip(powers, stops, strict=True)
    ]
    found = choose_response("auto", apart, stops)
    assert 0.25 < found.misfit <= 0.5
    assert "from what the pictures show" in (found.report.warning or "")
    assert choose_response("auto", apart, stops, "files").misfit == 0.0
    alike = shoot(scene(13), srgb_contrast, stops, shake=3, object_size=110, noise=0.01)
    assert choose_response("auto", alike, stops).misfit == 0.0
