"""What the frames of a bracket tell of the reference's noise, and the reference without it."""

import numpy as np
import pytest

from dfghdr_cli.core.encoding import encode
from dfghdr_cli.core.restoration.noise import (
    LEVELS,
    MOST_NOISE,
    NO_NOISE,
    SMOOTHING_REACH,
    noise_curve,
    smooth,
)
from dfghdr_cli.core.types import FloatImage

STOPS = (-2.0, 2.0)
SOME = (0.008,) * (len(LEVELS) - 1)
KNOWN = slice(2, 5)
"""Ranges of codes that the brackets below have plenty of: 0.1 to 0.6."""


def bracket(shot, size=(96, 128), seed=0, texture=True):
    """The reference and two others under the noise of photons, `shot` times the radiance."""
    rng = np.random.default_rng(seed)
    if texture:
        linear = rng.uniform(0.01, 0.24, (*size, 3))
    else:
        linear = np.broadcast_to(np.geomspace(0.003, 0.24, size[1])[:, None], (*size, 3))
    codes: list[FloatImage] = []
    for stop in (0.0, *STOPS):
        exposed = linear * 2.0**stop
        noisy = exposed + np.sqrt(shot * exposed) * rng.standard_normal(linear.shape)
        codes.append(np.asarray(encode(np.clip(noisy, 0, 1).astype(np.float32)), np.float32))
    trusts = [[np.ones(size, np.float32)], [np.ones(size, np.float32)]]
    return encode(linear.astype(np.float32)), codes[0], [[code] for code in codes[1:]], trusts


def deviations(clean, noisy):
    """The noise there is in the known ranges."""
    ranges = np.digitize(clean, LEVELS) - 1
    return np.array([np.std((noisy - clean)[ranges == n]) for n in range(len(LEVELS))[KNOWN]])


@pytest.mark.parametrize("texture", [False, True])
@pytest.mark.parametrize("shot", [1e-5, 3e-4])
def test_noise_is_told_from_texture(shot, texture):
    clean, reference, others, trusts = bracket(shot, texture=texture)
    curve = np.array(noise_curve([reference], others, trusts, STOPS))
    expected = deviations(clean, reference)
    assert curve[KNOWN] == pytest.approx(expected, rel=0.15)


def test_it_is_a_bound_and_has_one():
    _, reference, others, trusts = bracket(0.0)
    assert max(noise_curve([reference], others, trusts, STOPS)) < 1e-5
    rng = np.random.default_rng(1)
    nothing = rng.uniform(0, 1, reference.shape).astype(np.float32)
    assert max(noise_curve([nothing], others, trusts, STOPS)) == MOST_NOISE


def test_what_moves_does_not_count():
    _, reference, others, trusts = bracket(1e-4)
    still = np.array(noise_curve([reference], others, trusts, STOPS))
    for (other,) in others:
        other[:20] = other[:20][::-1]
    moved = np.array(noise_curve([reference], others, trusts, STOPS))
    assert (moved[KNOWN] < 2 * still[KNOWN]).all()


@pytest.mark.parametrize("spoilt", ["white", "black", "outside"])
def test_without_anything_to_compare_nothing_is_noise(spoilt):
    _, reference, others, trusts = bracket(1e-4, texture=False)
    if spoilt == "outside":
        trusts = [[np.zeros_like(patch)] for (patch,) in trusts]
    else:
        others = [[np.full_like(patch, float(spoilt == "white"))] for (patch,) in others]
    assert noise_curve([reference], others, trusts, STOPS) == NO_NOISE


def test_what_cannot_be_compared_goes_by_what_can():
    clean, reference, others, trusts = bracket(1e-4, texture=False)
    dark = clean.max(axis=2) < 0.2
    for (trust,) in trusts:
        trust[dark] = 0.0
    curve = np.array(noise_curve([reference], others, trusts, STOPS))
    assert curve[KNOWN] == pytest.approx(deviations(clean, reference), rel=0.2)
    silent = noise_curve([clean], *bracket(0.0, texture=False)[2:], STOPS)
    assert max(silent) < 1e-5


def test_patches_count_together():
    _, reference, others, trusts = bracket(1e-4)
    halves = [reference[:48], reference[48:]]
    parts = [[patch[:48], patch[48:]] for (patch,) in others]
    there = [[patch[:48], patch[48:]] for (patch,) in trusts]
    together = noise_curve([reference], others, trusts, STOPS)
    assert noise_curve(halves, parts, there, STOPS) == pytest.approx(together, rel=0.1)


def test_smoothing_takes_noise_away_and_leaves_edges():
    clean, reference, others, trusts = bracket(3e-4, texture=False)
    clean, reference = clean.copy(), reference.copy()
    clean[20:60, 30:50] += 0.3
    reference[20:60, 30:50] += 0.3
    curve = noise_curve([reference], others, trusts, STOPS)
    smoothed = smooth(reference, curve)
    before, after = np.abs(reference - clean), np.abs(smoothed - clean)
    assert after.mean() < 0.4 * before.mean()
    edge = np.s_[20:60, 28:32]
    assert after[edge].mean() < 0.8 * before[edge].mean()


def test_smoothing_a_line():
    picture = np.full((24, 24, 3), 0.4, np.float32)
    picture[:, 12] = 0.6
    assert smooth(picture, SOME) == pytest.approx(picture, abs=1e-6)
    faint = picture.copy()
    faint[:, 12] = 0.401
    assert np.abs(smooth(faint, SOME) - faint).max() > 5e-4


def test_without_noise_nothing_is_smoothed():
    _, reference, _, _ = bracket(3e-4)
    assert smooth(reference, NO_NOISE) is reference


def test_clipped_pixels_stay():
    _, reference, _, _ = bracket(3e-4)
    reference[10:14, 10:14] = 0.97
    reference[11, 11, 1] = 1.0
    smoothed = smooth(reference, SOME)
    assert (smoothed[10:14, 10:14] == reference[10:14, 10:14]).all()


def test_a_part_is_smoothed_as_the_whole():
    _, reference, _, _ = bracket(3e-4)
    whole = smooth(reference, SOME)
    r = SMOOTHING_REACH
    part = smooth(reference[20 - r : 60 + r, 30 - r : 90 + r], SOME)[r:-r, r:-r]
    assert part == pytest.approx(whole[20:60, 30:90], abs=1e-6)
