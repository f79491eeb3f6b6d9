"""No motion without evidence: dark frames, which show a few lamps in noise."""

import cv2
import numpy as np
import pytest

from dfghdr_cli.core.calibration.response import Response
from dfghdr_cli.core.frames import CodedBracket, CodedFrame
from dfghdr_cli.core.registration.aligned import align_bracket
from dfghdr_cli.core.registration.evidence import Evidence, Witness
from tests.support.night import night_bracket

SIZE = (150, 210)
GAMMA = Response.named("gamma")
NOTHING = np.eye(3)
EVERY = ["shift", "euclidean", "affine", "homography"]


def shifted(dx, dy):
    return np.array([[1, 0, dx], [0, 1, dy], [0, 0, 1.0]])


def texture(seed, size=(160, 240)):
    """Greys (H, W) of grain that is the same over about four pixels."""
    noise = np.random.default_rng(seed).standard_normal(size).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0, borderType=cv2.BORDER_REFLECT)
    return (0.4 + 0.1 * smooth / smooth.std()).astype(np.float32)


def error(found, true):
    x, y = np.meshgrid(np.linspace(0, SIZE[1], 5), np.linspace(0, SIZE[0], 5))
    points = np.stack([x.ravel(), y.ravel(), np.ones(25)])
    a, b = (matrix @ points for matrix in (found, true))
    return np.hypot(*(a[:2] / a[2] - b[:2] / b[2])).max()


def aligned(bracket):
    frames = tuple(CodedFrame.of_samples(pixels, GAMMA.linearise) for pixels in bracket.frames)
    return align_bracket(CodedBracket(frames, tuple(bracket.stops), bracket.reference)).alignments


@pytest.mark.parametrize("seed", range(2))
def test_dark_frames_on_a_tripod_stay_where_they_are(seed):
    bracket = night_bracket(seed, (-10, -7, -3.5, 0), SIZE)
    for alignment in aligned(bracket):
        np.testing.assert_array_equal(alignment.transform, NOTHING)


@pytest.mark.parametrize("seed", [1])
def test_a_dark_frame_in_a_hand_is_found_by_its_neighbour(seed):
    bracket = night_bracket(seed, (-9, -6, -3, 0), SIZE, shake=2.5)
    for alignment, motion in zip(aligned(bracket), bracket.motions, strict=True):
        assert error(alignment.transform, motion) < 0.7


def test_a_frame_that_shows_nothing_moves_as_its_neighbour_did():
    bracket = night_bracket(3, (-16, -3, 0), SIZE, shake=4.0)
    dark, near, _ = aligned(bracket)
    assert error(near.transform, bracket.motions[1]) < 0.3
    np.testing.assert_allclose(dark.transform, near.transform, atol=1e-9)
    assert dark.model == near.model
    assert dark.is_weak


def test_the_true_motion_is_better_than_none_or_another():
    whole = texture(1, (180, 260))
    reference, other = whole[10:170, 10:250], whole[7:167, 14:254]
    witness = Witness(reference, other, 0.0)
    true, none, false = (witness.asked(shifted(*d)) for d in ((-4, 3), (0, 0), (6, 2)))
    assert true.agreeing > 100
    assert none.agreeing < 10
    assert true.is_better_than(none)
    assert true.is_better_than(false)
    assert not none.is_better_than(true)
    assert not none.is_better_than(false)
    assert not true.is_weak
    assert none.is_weak


def test_noise_bears_nothing_out():
    rng = np.random.default_rng(2)
    reference, other = (0.3 + 0.05 * rng.standard_normal((160, 240)) for _ in range(2))
    evidence = Witness(np.float32(reference), np.float32(other), 0.0).asked(NOTHING)
    assert evidence.agreeing == 0
    assert not any(evidence.determines(m) for m in EVERY)


@pytest.mark.parametrize(
    ("blocks", "models"),
    [
        ([(3, 4)], []),
        ([(3, 4), (4, 8)], ["shift"]),
        ([(1, 1), (1, 13), (8, 1), (8, 13)], ["shift", "euclidean"]),
        ([(r, c) for r in (3, 4, 5) for c in (3, 4, 5)], ["shift"]),  # together: no turn
        (
            [(r, c) for r in range(10) for c in range(15)],
            ["shift", "euclidean", "affine", "homography"],
        ),
    ],
)
def test_every_parameter_needs_blocks_that_are_many_and_far_apart(blocks, models):
    correlation = np.full((10, 15), np.nan)
    for row, column in blocks:
        correlation[row, column] = 0.95
    evidence = Evidence(correlation, (160, 240))
    assert [model for model in EVERY if evidence.determines(model)] == models


def test_what_only_noise_lights_is_not_compared():
    """Codes of the darker frame count, however much brighter the pair is shown."""
    reference = texture(4)
    dark = np.rint(reference * 255 / 40) / 255 * 40  # 6 of its codes
    few = Witness(reference, np.float32(dark), -11.7).asked(NOTHING)
    all_ = Witness(reference, np.float32(dark), 0.0).asked(NOTHING)
    assert np.isnan(few.correlation).mean() > np.isnan(all_.correlation).mean()


def test_the_smoothness_of_what_lies_between_pixels_is_no_evidence():
    """Interpolation takes noise away, so that a false motion by half a pixel looks better."""
    rng = np.random.default_rng(5)
    coarse = rng.standard_normal((20, 30)).astype(np.float32)
    scene = 0.4 + 0.04 * cv2.resize(coarse, (360, 240), interpolation=cv2.INTER_CUBIC)
    noisy = [
        np.float32(scene + 0.05 * rng.standard_normal(scene.shape, np.float32)) for _ in range(2)
    ]
    witness = Witness(*noisy, 0.0)
    none, half = (witness.asked(shifted(*d)) for d in ((0, 0), (0.5, 0.5)))
    assert none.agreeing > 100
    assert not half.is_better_than(none)
