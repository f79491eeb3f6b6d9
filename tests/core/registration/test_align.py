"""Alignment against known motion, on procedurally drawn pictures."""

from functools import lru_cache

import cv2
import numpy as np
import pytest

from dfghdr_cli.core.classic import classic_merge
from dfghdr_cli.core.encoding import encode
from dfghdr_cli.core.registration.align import _Refiner, align_frame, equalise
from dfghdr_cli.core.registration.warp import warp, warp_with_trust

SIZE = (260, 360)
IDENTITY = np.eye(3)
SHIFT = np.array([[1, 0, 5.3], [0, 1, -3.6], [0, 0, 1.0]])
TURN = np.array(
    [[np.cos(0.02), -np.sin(0.02), 4.0], [np.sin(0.02), np.cos(0.02), -6.5], [0, 0, 1.0]]
)
SHAKE = np.array([[1.01, -0.008, 6.2], [0.011, 0.995, -3.7], [1.5e-5, -1e-5, 1.0]])


class Texture:
    """Radiance (H, W, 3) as a function of position: band-limited noise, periodic in 640 pixels."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.table = np.zeros((640, 640, 3), np.float32)
        for sigma, strength in ((1.5, 0.35), (4.0, 0.7), (12.0, 1.2)):
            noise = rng.standard_normal((640, 640, 3), np.float32)
            noise += 2 * rng.standard_normal((640, 640, 1), np.float32)
            wrapped = cv2.copyMakeBorder(noise, 40, 40, 40, 40, cv2.BORDER_WRAP)
            smooth = cv2.GaussianBlur(wrapped, (0, 0), sigma)[40:-40, 40:-40]
            self.table += strength * smooth / smooth.std()

    def __call__(self, x, y):
        u, v = (np.mod(c, 640).astype(np.float32) for c in (x, y))
        log = cv2.remap(self.table, u, v, cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP)
        return np.float32(0.2) * np.exp(log)


texture = lru_cache(Texture)


def positions(matrix, size=SIZE):
    """Where the pixels of a picture lead under a transform."""
    x, y = np.meshgrid(np.arange(size[1], dtype=float), np.arange(size[0], dtype=float))
    points = np.stack([x, y], -1)
    return np.moveaxis(cv2.perspectiveTransform(points, matrix), -1, 0)


def expose(radiance, stops, seed=None):
    """Linear [0, 1], 10-bit codes; with shot and read noise if there is a seed."""
    light = radiance * np.float32(2.0**stops)
    if seed is not None:
        noise = np.random.default_rng(seed).standard_normal(light.shape, np.float32)
        light = light + noise * np.sqrt(2e-4 * light + 1e-6)
    return ((np.rint(encode(light) * 1023) / 1023) ** 2.2).astype(np.float32)


def pair(transform, stops, *, patch=False, size=SIZE, seed=3):
    """A reference and a frame that `transform` leads to; `patch`: a disc with its own motion."""
    world, thing = texture(seed), texture(seed + 100)
    frames = []
    for k, (stop, matrix) in enumerate(((0.0, IDENTITY), (stops, np.linalg.inv(transform)))):
        x, y = positions(matrix, size)
        radiance = world(x, y)
        if patch:
            dx, dy = 22.0 * k, 9.0 * k
            inside = np.hypot(x - size[1] / 2 - dx, y - size[0] / 2 - dy) < 0.36 * size[0]
            radiance[inside] = thing(x - dx, y - dy)[inside]
        frames.append(expose(radiance, stop, seed + k))
    return frames


def error(found, true, size=SIZE):
    """Mean distance [pixels] over the picture."""
    return float(np.hypot(*(positions(found, size) - positions(true, size))).mean())


@pytest.mark.parametrize("stops", [-3.0, -2.0, 0.5, 2.0, 4.0])
def test_a_known_shake_is_found_in_spite_of_noise_and_a_moving_object(stops):
    reference, other = pair(SHAKE, stops, patch=True)
    found = align_frame(reference, other, stops)
    assert found.model == "homography"
    assert found.transform.dtype == np.float64
    assert error(found.transform, SHAKE) < 0.1


def test_a_large_picture_is_refined_at_full_size():
    size = (700, 960)
    shake = np.array([[1.004, -0.006, 14.0], [0.007, 0.997, -9.0], [4e-6, -3e-6, 1.0]])
    reference, other = pair(shake, 2.0, patch=True, size=size)
    assert error(align_frame(reference, other, 2.0).transform, shake, size) < 0.06


@pytest.mark.parametrize(("true", "model"), [(SHIFT, "shift"), (TURN, "euclidean")])
def test_the_smallest_model_that_explains_is_chosen(true, model):
    reference, other = pair(true, 2.0)
    found = align_frame(reference, other, 2.0)
    assert found.model == model
    assert error(found.transform, true) < 0.05


@pytest.mark.parametrize("model", ["shift", "affine", "homography"])
def test_a_model_that_is_asked_for_is_taken(model):
    reference, other = pair(SHIFT, 2.0)
    found = align_frame(reference, other, 2.0, model)
    assert found.model == model
    assert error(found.transform, SHIFT) < 0.1
    if model == "shift":
        np.testing.assert_array_equal(found.transform[:, :2], IDENTITY[:, :2])
    reference, other = pair(IDENTITY, 2.0)
    assert align_frame(reference, other, 2.0, model).model == "none"


@pytest.mark.parametrize("stops", [-3.0, 0.0, 2.0])
@pytest.mark.parametrize("patch", [False, True])
def test_an_aligned_pair_is_left_untouched(stops, patch):
    reference, other = pair(IDENTITY, stops, patch=patch)
    found = align_frame(reference, other, stops)
    assert found.model == "none"
    np.testing.assert_array_equal(found.transform, IDENTITY)


def test_a_quarter_of_a_pixel_is_worth_correcting():
    quarter = np.array([[1, 0, 0.25], [0, 1, 0.0], [0, 0, 1.0]])
    reference, other = pair(quarter, -3.0, patch=True)
    found = align_frame(reference, other, -3.0)
    assert found.model != "none"
    assert error(found.transform, quarter) < 0.05


def test_pictures_whose_size_suits_a_fourier_transform_are_refined_as_they_are():
    """OpenCV's phase correlation multiplies such pictures by its window, in place."""
    size = (240, 320)
    assert [cv2.getOptimalDFTSize(side) for side in size] == list(size)
    reference, other = pair(SHAKE, 2.0, size=size)
    assert error(align_frame(reference, other, 2.0).transform, SHAKE, size) < 0.05


def test_a_small_error_of_the_exposure_does_no_harm():
    reference, other = pair(SHAKE, 2.0)
    assert error(align_frame(reference, other, 2.15).transform, SHAKE) < 0.1


def test_alignment_is_deterministic():
    reference, other = pair(SHAKE, 2.0, patch=True)
    first, second = (align_frame(reference, other, np.float64(2.0)) for _ in range(2))
    np.testing.assert_array_equal(first.transform, second.transform)
    assert first.residual == second.residual


@pytest.mark.parametrize("size", [(1, 1), (8, 40), (16, 16), (17, 90), (64, 64)])
@pytest.mark.parametrize("kind", ["black", "white", "noise"])
def test_nothing_to_see_is_the_identity_without_an_exception(size, kind):
    rng = np.random.default_rng(0)
    frames = [
        {
            "black": np.zeros((*size, 3)),
            "white": np.ones((*size, 3)),
            "noise": rng.random((*size, 3)),
        }[kind].astype(np.float32)
        for _ in range(2)
    ]
    found = align_frame(*frames, 2.0)
    assert found.model == "none"
    np.testing.assert_array_equal(found.transform, IDENTITY)


@pytest.mark.parametrize("stops", [-3.0, 2.0])
def test_equalised_greys_agree_and_clip_alike(stops):
    radiance = texture(1)(*positions(IDENTITY, (60, 80)))
    a, b = equalise(expose(radiance, 0.0), expose(radiance, stops), stops)
    assert a.dtype == b.dtype == np.uint8
    assert (a == 255).mean() == pytest.approx((b == 255).mean(), abs=0.005)
    assert np.abs(a.astype(int) - b).max() <= 3


def test_the_identity_returns_the_frame_bit_by_bit():
    image = np.random.default_rng(0).random((20, 30, 3)).astype(np.float32)
    for warped, valid in (
        warp(image, IDENTITY, (20, 30)),
        warp_with_trust(image, IDENTITY, (20, 30)),
    ):
        np.testing.assert_array_equal(warped, image)
        assert (valid == 1).all()


def test_a_whole_pixel_shift_moves_pixels_and_marks_the_border():
    image = np.random.default_rng(0).random((20, 30, 3)).astype(np.float32)
    matrix = np.array([[1, 0, 4.0], [0, 1, 2.0], [0, 0, 1]])
    warped, valid = warp(image, matrix, (20, 30))
    np.testing.assert_allclose(warped[:16, :24], image[2:18, 4:28], atol=1e-6)
    assert valid[:17, :25].all()
    assert not valid[17:].any()
    assert not valid[:, 25:].any()


def test_transform_and_flow_share_one_resampling():
    world = Texture(5)
    x, y = positions(IDENTITY, (120, 160))
    reference = encode(world(x, y))
    flow = np.stack([1.5 * np.sin(y / 30), 0.8 * np.cos(x / 25)], -1).astype(np.float32)
    # The world seen in the frame at SHAKE @ (x + flow(x)) is the one at x + flow(x).
    frame = encode(world(*positions(np.linalg.inv(SHAKE), (140, 180))))
    warped, valid = warp(frame, SHAKE, (120, 160), flow)
    expected = encode(world(x + flow[..., 0], y + flow[..., 1]))
    assert np.abs(warped - expected)[valid].mean() < 0.003
    assert np.abs(warped - reference)[valid].mean() > 0.02


def test_there_and_back_again_is_the_picture():
    code = encode(texture(2)(*positions(IDENTITY)))
    there, _ = warp(code, np.linalg.inv(SHAKE), SIZE)
    back, _ = warp(there, SHAKE, SIZE)
    inner = np.s_[20:-20, 20:-20]
    assert np.abs(back - code)[inner].mean() < 0.002


def test_a_kernel_that_touches_white_counts_as_clipped():
    code = np.full((20, 20, 3), 0.4, np.float32)
    code[10, 10, 1] = 1.0
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    spread, trust = warp_with_trust(code, half, (20, 20))
    touched = np.zeros((20, 20), bool)
    touched[8:12, 8:12] = True
    np.testing.assert_array_equal(spread[..., 1] == 1.0, touched)
    assert (spread[..., 0] < 0.5).all()
    kept, _ = warp_with_trust(code, half, (20, 20), is_darkest=True)
    np.testing.assert_array_equal(kept, warp(code, half, (20, 20))[0])
    assert trust[3, 3] == 1.0
    assert trust[10, 10] < 0.5
    assert trust[0, 5] == 0.0


def test_a_shaken_still_bracket_merges_close_to_the_truth():
    radiance = texture(9)(*positions(IDENTITY))
    stops = (-2.0, 0.0, 2.0)
    frames, trusts = [], []
    reference = expose(radiance, 0.0, 1)
    for k, stop in enumerate(stops):
        if stop == 0.0:
            frames.append(encode(reference))
            trusts.append(np.ones(SIZE, np.float32))
            continue
        shaken = texture(9)(*positions(np.linalg.inv(SHAKE)))
        frame = expose(shaken, stop, k + 10)
        found = align_frame(reference, frame, stop)
        code, trust = warp_with_trust(encode(frame), found.transform, SIZE, is_darkest=k == 0)
        frames.append(code)
        trusts.append(trust)
    merged, _ = classic_merge(frames, trusts, stops)
    known = radiance.max(2) < 3.5

    def mistake(image):
        return np.abs(encode(image / 4) - encode(radiance / 4))[known].mean()

    assert mistake(merged) < 0.004
    assert mistake(merged) < 0.5 * mistake(reference)


def test_a_refinement_that_strays_is_dropped(monkeypatch):
    """What the hypotheses found stays where the refinement in full makes it much worse."""
    reference, other = pair(SHAKE, 2.0)
    refine = _Refiner.__call__

    def stray(self, start, *args, **kwargs):
        found = refine(self, start, *args, **kwargs)
        if "iterations" in kwargs or found is None:  # of a hypothesis
            return found
        away = np.array([[1, 0, 25.0], [0, 1, -14.0], [0, 0, 1.0]])
        return away @ found[0], found[1]

    monkeypatch.setattr(_Refiner, "__call__", stray)
    assert error(align_frame(reference, other, 2.0).transform, SHAKE) < 0.5


def test_nothing_speaks_for_a_motion_of_a_frame_that_is_clipped_all_over():
    white = np.ones((48, 64), np.float32)
    refiner = _Refiner(white, white, np.ones((48, 64), np.bool_), 6400)
    assert refiner.count == 0
    assert refiner.disagreement(np.eye(3)) == np.inf
