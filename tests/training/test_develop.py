"""What is done to samples in batches is what a merge does to frames."""

import cv2
import numpy as np
import pytest
import torch

from dfghdr_cli.core.registration.warp import warp_with_trust
from dfghdr_cli.core.restoration import noise as core_noise
from dfghdr_cli.core.restoration.undershoot import repair_undershoot
from dfghdr_cli.training import develop
from dfghdr_cli.training.jpeg import jpeg

SIDE = 72


def picture(seed, white=0.1):
    """(SIDE, SIDE, 3) gamma codes: smooth, with grain, partly clipped."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 1 + white, (9, 9, 3)).astype(np.float32)
    fine = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return np.clip(fine + rng.normal(0, 0.01, fine.shape), 0, 1).astype(np.float32)


def planes(image):
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def pixels(tensor):
    return tensor.numpy().transpose(1, 2, 0)


@pytest.mark.parametrize("seed", range(3))
def test_smoothing(seed):
    codes = [picture(seed), picture(seed + 10)]
    noises = [(0.04, 0.03, 0.02, 0.015, 0.012, 0.01), (0.0, 0.0, 0.02, 0.01, 0.0, 0.0)]
    batch = develop.smooth(torch.stack([planes(c) for c in codes]), torch.tensor(noises))
    for code, curve, result in zip(codes, noises, batch, strict=True):
        expected = core_noise.smooth(code, curve)
        changed = np.abs(expected - code).mean()
        assert changed > 5e-4
        # There codes are integers, of steps of 0.004 where there is much noise.
        assert np.abs(pixels(result) - expected).mean() < 0.3 * changed


def test_without_noise_nothing_is_smoothed():
    code = planes(picture(0))[None]
    assert torch.equal(develop.smooth(code, torch.zeros(1, 6)), code)


@pytest.mark.parametrize("darker", [0, 1])
def test_resampling(darker):
    code = picture(1, white=0.4)
    matrix = np.array([[1.01, 0.02, -2.3], [-0.015, 0.99, 3.7], [1e-5, -2e-5, 1.0]])
    flow = np.dstack([picture(2)[..., 0], picture(3)[..., 1]]) * np.float32(6.0)
    grid = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)[::-1].copy()
    place = torch.from_numpy(grid)
    target = torch.stack([place, place + torch.from_numpy(flow.transpose(2, 0, 1).copy())])
    found = torch.from_numpy(matrix).float().expand(1, 1, 1, 3, 3)
    u, v = develop._projected(found, target[None, None])
    result, trust = develop._resampled(
        planes(code)[None, None],
        planes((code >= 0.992) & (not darker))[None, None],
        u,
        v,
        torch.zeros(1, 1, dtype=torch.bool),
    )
    for hypothesis, moved in enumerate((None, flow)):
        expected, trusted = warp_with_trust(
            code, matrix, (SIDE, SIDE), moved, is_darkest=bool(darker)
        )
        own = pixels(result[0, 0, hypothesis])
        # OpenCV rounds places to 1/32 of a pixel.
        assert np.quantile(np.abs(own - expected), 0.98) < 5e-3
        assert np.abs(own - expected).mean() < 2e-3
        if not darker:  # else cubic sums of ones are 1 or not by rounding
            assert ((own == 1) == (expected == 1)).mean() > 0.98
        if not darker:
            assert ((own == 1) & (code.max(2, keepdims=True) < 2)).mean() > 0.1
        assert ((trust[0, 0, hypothesis].numpy() == 0) == (trusted == 0)).mean() > 0.998
        assert np.abs(trust[0, 0, hypothesis].numpy() - trusted).mean() < 0.05


def test_a_frame_that_was_not_moved_stays_as_it_is():
    code = planes(picture(4, white=0.5))[None, None]
    grid = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)[::-1].copy()
    place = torch.from_numpy(grid).expand(1, 1, 2, 2, SIDE, SIDE)
    u, v = develop._projected(torch.eye(3).expand(1, 1, 1, 3, 3), place)
    untouched = torch.ones(1, 1, dtype=torch.bool)
    result, trust = develop._resampled(code, code >= 0.992, u, v, untouched)
    assert torch.equal(result[:, :, 0], code)
    assert (trust[:, :, 0] == 1).all()
    assert (trust[:, :, 1] == 0).any()  # as flow moves it, the border is doubtful


def test_undershoot():
    reference = np.full((SIDE, SIDE, 3), 0.5, np.float32)
    reference[20:50, 20:50] = 1.0
    code = np.full((SIDE, SIDE, 3), 0.3, np.float32)
    code[20:50, 20:50] = 0.95
    code[20:22, 20:50] = 0.02
    code[40, 30:45, 1] = 0.1
    trust = np.ones((SIDE, SIDE), np.float32)
    trust[20, 40:] = 0.0
    expected = repair_undershoot(code, trust, reference, -1.5)
    assert (expected != code).sum() > 50
    result = develop.repaired(
        planes(code)[None],
        torch.from_numpy(trust)[None, None],
        planes(reference >= 0.992)[None],
        torch.tensor([-1.5]),
    )
    np.testing.assert_allclose(pixels(result[0]), expected, atol=1e-6)


@pytest.mark.parametrize("quality", [40, 75, 90, 97])
def test_jpeg_is_that_of_a_decoder(quality):
    """But for how a decoder rounds, and how it places samples of colour."""
    code = picture(5)
    stored = np.round(code * 255).astype(np.uint8)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, data = cv2.imencode(".jpg", stored[..., ::-1], options)
    expected = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32)
    result = pixels(jpeg(planes(code)[None], [quality])[0]) * 255
    lost = np.abs(expected - stored).mean()
    assert np.abs(result - expected).mean() < 0.4 * lost + 0.3
    assert np.abs(np.abs(result - stored).mean() - lost) < 0.1 * lost + 0.05
    assert np.array_equal(result, np.rint(result))


def test_orientations():
    image = torch.arange(6.0).view(1, 2, 3)
    assert torch.equal(develop.seen(image, 0, False), image)
    views = [develop.seen(image, turns, mirror) for turns in range(4) for mirror in (False, True)]
    assert len({(tuple(v.shape), tuple(v.flatten().tolist())) for v in views}) == 8
    assert torch.equal(develop.seen(image, 1, False), torch.rot90(image, 1, (-2, -1)))
