import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfghdr_cli.core.calibration.exposure import (
    choose_reference,
    looks_brighter_by,
    parse_stops,
    parse_time,
    parse_times,
    true_exposures,
    usable_share,
)
from dfghdr_cli.core.types import Exposure
from dfghdr_cli.errors import InputError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1/400", 1 / 400), (" 0.5 ", 0.5), ("30s", 30), ('2"', 2), ("2.5", 2.5), ("1e-3", 1e-3)],
)
def test_parse_time(text, seconds):
    assert parse_time(text) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize("text", ["", "x", "0", "-1", "1/0", "1/-4", "nan", "inf", "1/2/3", "/4"])
def test_parse_time_names_what_it_refuses(text):
    with pytest.raises(InputError) as caught:
        parse_time(text)
    assert repr(text) in str(caught.value)


def test_lists_keep_their_order():
    assert parse_times("1/4,1, 1/2") == (0.25, 1.0, 0.5)
    assert parse_stops("2,-2, +0.5") == (2.0, -2.0, 0.5)


@pytest.mark.parametrize("text", ["", "1,", "1,a", "nan,1", "inf", "1;2"])
def test_parse_stops_refuses(text):
    with pytest.raises(InputError, match="stops"):
        parse_stops(text)


def test_usable_share_counts_clipped_and_black_pixels():
    encoded = np.full((1, 8, 3), 0.5, np.float32)
    encoded[0, 0] = 1.0
    encoded[0, 1] = 0.0
    encoded[0, 2] = (0.2, 0.99, 0.2)  # one clipped channel spoils a pixel
    encoded[0, 3] = (0.0, 0.3, 0.0)  # one dark channel does not
    assert usable_share(encoded) == 5 / 8


@pytest.mark.parametrize(
    ("usable", "index"),
    [
        ((0.5, 0.5, 0.5), 1),
        ((1.0, 0.7, 0.2), 1),
        ((0.9, 0.3, 0.1), 0),
        ((0.1, 0.3, 0.9), 2),
        ((0.1, 0.2, 0.8, 0.9, 0.9), 2),
        ((0.6, 0.7), 1),
        ((0.7, 0.7), 0),
        ((0.2, 0.7, 0.8, 0.3), 2),
        ((0.0, 0.0, 0.0), 1),
    ],
)
def test_choose_reference(usable, index):
    assert choose_reference(usable) == index


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_the_reference_is_never_much_worse_than_the_best(usable):
    assert usable[choose_reference(usable)] >= max(usable) * 2 / 3


@pytest.mark.parametrize("stops", [-3.0, -1.0, 0.0, 2.0])
def test_looks_brighter_by_measures_a_gamma_frame(stops):
    linear = np.random.default_rng(1).uniform(0, 1, (64, 64, 3)) ** 3 * 0.5
    first = (linear ** (1 / 2.2)).astype(np.float32)
    second = (np.clip(linear * 2**stops, 0, 1) ** (1 / 2.2)).astype(np.float32)
    assert looks_brighter_by(first, second) == pytest.approx(stops, abs=0.25)


def test_looks_brighter_by_survives_black_and_white():
    black, white = np.zeros((4, 4, 3), np.float32), np.ones((4, 4, 3), np.float32)
    assert looks_brighter_by(black, white) > 5
    assert looks_brighter_by(white, black) < -5
    assert looks_brighter_by(black, black) == 0


@pytest.mark.parametrize(
    ("shown", "true"),
    [
        ((1 / 15, 1 / 60, 1 / 250), (-4, -6, -8)),
        ((1 / 30, 1 / 125, 1 / 8000), (-5, -7, -13)),
        ((13, 3.2, 0.8), (11 / 3, 5 / 3, -1 / 3)),
        ((1 / 45, 1 / 180, 0.7), (-5.5, -7.5, -0.5)),
        ((10 / 130, 10 / 60, 1 / 3), (-11 / 3, -8 / 3, -5 / 3)),
    ],
)
def test_times_that_cameras_show_stand_for_fractions_of_a_stop(shown, true):
    exposures = true_exposures([Exposure.from_camera(time) for time in shown])
    np.testing.assert_allclose([exposure.stops for exposure in exposures], true, atol=1e-9)
    assert [exposure.time_s for exposure in exposures] == list(shown)


def test_apertures_stand_for_square_roots():
    exposures = true_exposures([Exposure.from_camera(1 / 60, f_number=n) for n in (5.6, 11, 8)])
    np.testing.assert_allclose([e.stops for e in exposures], [-11, -13, -12], atol=1e-9)


def test_a_time_that_no_camera_shows_is_what_it_says():
    exposures = [Exposure.from_camera(time) for time in (1 / 60, 1 / 1014)]
    assert true_exposures(exposures) == exposures


@given(st.integers(-12, 4), st.integers(-12, 4))
def test_powers_of_two_stay(first, second):
    exposures = [Exposure.from_camera(2.0**k) for k in (first, second)]
    for before, after in zip(exposures, true_exposures(exposures), strict=True):
        assert after.stops == pytest.approx(before.stops)
