import cv2
import numpy as np
import pytest

from dfghdr_cli.core.encoding import encode
from dfghdr_cli.core.metrics import opencv_baselines as baselines
from dfghdr_cli.core.metrics.fidelity import psnr_mu
from dfghdr_cli.core.metrics.opencv_baselines import opencv_merge

STOPS = (0.0, 2.0, 4.0)
KINDS = ("opencv-debevec", "opencv-robertson")


def truth(height=120, width=160):
    """Grey: see what `opencv_merge` says of channels."""
    coarse = np.random.default_rng(6).uniform(0, 1, (10, 13)).astype(np.float32)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    grey = 0.002 * 650 ** np.clip(smooth, 0, 1)
    return np.repeat(grey[..., None], 3, axis=2).astype(np.float32)


def codes(picture, stops=STOPS):
    return [encode(picture * np.float32(2.0**stop)) for stop in stops]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("levels", [256, 65536])
def test_a_static_bracket_merges_to_the_truth(kind, levels, monkeypatch):
    """In the truth's own unit, white parts included, with OpenCV's 8 bits or its 16."""
    if levels > baselines._levels():
        pytest.skip("this OpenCV merges 8 bits only")
    monkeypatch.setattr(baselines, "_levels", lambda: levels)
    picture = truth()
    assert (picture > 1).mean() > 0.02
    result = opencv_merge(codes(picture), STOPS, 1, kind)
    assert result.dtype == np.float32
    assert np.isfinite(result).all()
    assert psnr_mu(result, picture) > (100 if levels > 256 else 47)
    np.testing.assert_allclose(result[(picture > 1).all(2)], 1, rtol=0.03)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reference", [0, 1, 2])
def test_shifted_frames_come_to_the_reference(kind, reference):
    picture = truth(160, 200)
    shifts = ((0, 6), (0, 0), (-9, 4))
    views = [picture[20 + y : 140 + y, 20 + x : 180 + x] for y, x in shifts]
    frames = [codes(view, [stop])[0] for view, stop in zip(views, STOPS, strict=True)]
    inner = np.s_[12:-12, 12:-12]
    result = opencv_merge(frames, STOPS, reference, kind)
    assert psnr_mu(result[inner], views[reference][inner]) > 47


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_nothing_to_see(kind, level):
    frames = [np.full((32, 40, 3), level, np.float32)] * 3
    result = opencv_merge(frames, STOPS, 1, kind)
    np.testing.assert_allclose(result, level, atol=1e-4)
