"""Frames of one exposure become one, where they show the same."""

import numpy as np

from dfghdr_cli.core.encoding import decode, encode
from dfghdr_cli.core.restoration.burst import fuse

LIGHT = np.broadcast_to(np.linspace(0.02, 0.8, 120)[:, None], (90, 120, 3)).astype(np.float32)
ALL = np.ones((90, 120), np.float32)


def shots(count, noise=0.01):
    rng = np.random.default_rng(3)
    return [encode(LIGHT + noise * rng.normal(size=LIGHT.shape)) for _ in range(count)]


def test_still_frames_are_averaged_evenly():
    leader, *others = shots(4)
    fused, shares = fuse(leader, [(code, ALL) for code in others])
    assert fused.dtype == shares.dtype == np.float32
    np.testing.assert_allclose(shares.sum(axis=0), 1, rtol=1e-5)
    assert np.abs(shares.mean(axis=(1, 2)) - 0.25).max() < 0.02
    left = np.abs(decode(fused) - LIGHT).mean() / np.abs(decode(leader) - LIGHT).mean()
    assert left < 0.53


def test_what_moved_is_the_leaders():
    leader, other = shots(2)
    other[20:40, 30:60] = 0.9
    fused, shares = fuse(leader, [(other, ALL)])
    assert shares[1, 20:40, 30:60].max() < 0.01
    np.testing.assert_allclose(fused[20:40, 30:60], leader[20:40, 30:60], atol=0.005)
    assert shares[1, 60:].mean() > 0.45


def test_no_trust_no_share_and_white_stays_white():
    leader, other = shots(2)
    leader[:10] = 1.0
    trust = ALL.copy()
    trust[:, :20] = 0
    fused, shares = fuse(leader, [(other, trust)])
    assert (shares[1, :, :20] == 0).all()
    assert (fused[:10] == 1).all()
    np.testing.assert_allclose(fused[:, :20], leader[:, :20], atol=1e-5)


def test_equal_frames_stay_as_they_are():
    (leader,) = shots(1)
    fused, shares = fuse(leader, [(leader, ALL), (leader, ALL)])
    np.testing.assert_allclose(fused, leader, atol=1e-6)
    np.testing.assert_allclose(shares[:, leader.max(2) < 0.96], 1 / 3, rtol=1e-5)
