"""Borders of which only a white reference is left."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfghdr_cli.core.borders import bare, continued, recoloured
from dfghdr_cli.core.frames import CodedBracket
from dfghdr_cli.merging.config import MergeConfig
from dfghdr_cli.merging.merge import merge_bracket
from tests.support.photographs import MARGIN, textured_scene

SHIFT = np.array([[1, 0, 9.0], [0, 1, -6.0], [0, 0, 1]])


def test_bare_is_what_a_frame_does_not_cover():
    uncovered = bare([SHIFT], (120, 160), (60, 80))
    assert uncovered[:3].all()
    assert uncovered[:, -5:].all()
    assert not uncovered[6:, :-8].any()
    assert not bare([np.eye(3)], (120, 160), (60, 80))[2:-2, 2:-2].any()
    assert not bare([], (120, 160), (60, 80)).any()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_what_is_known_stays_and_what_is_not_lies_between(height, width, data):
    seed = data.draw(st.integers(0, 1000))
    rng = np.random.default_rng(seed)
    picture = rng.uniform(0.5, 2.0, (height, width, 3)).astype(np.float32)
    source = rng.random((height, width)) < 0.3
    source[rng.integers(height), rng.integers(width)] = True
    filled = continued(picture, source)
    np.testing.assert_array_equal(filled[source], picture[source])
    assert filled.min() >= picture[source].min() - 1e-4
    assert filled.max() <= picture[source].max() + 1e-4


def test_the_nearest_colour_is_continued():
    picture = np.zeros((40, 80, 3), np.float32)
    picture[:, :40], picture[:, 40:] = (0.2, 0.5, 2.0), (2.0, 0.5, 0.2)
    source = np.ones((40, 80), bool)
    source[:6] = False
    filled = continued(picture, source)
    np.testing.assert_allclose(filled[:6, :30], picture[:6, :30], rtol=0.02)
    np.testing.assert_allclose(filled[:6, 50:], picture[:6, 50:], rtol=0.02)


def test_channels_that_measure_stay_and_scale_the_colour():
    sky = np.array([[1.0, 1.5, 3.0]] * 3, np.float32)
    radiance = np.array([[1, 1, 1], [0.5, 0.75, 1], [4, 4, 4]], np.float32)
    white = np.array([[True] * 3, [False, False, True], [True] * 3])
    found = recoloured(radiance, white, sky)
    np.testing.assert_allclose(found[0], sky[0])
    np.testing.assert_allclose(found[1], (0.5, 0.75, 1.5))
    np.testing.assert_allclose(found[2], (4.0, 6.0, 12.0))  # as a whole, and as bright as is known
    assert (found >= radiance).all()


@pytest.mark.parametrize("frames", ["dark", "both"])
def test_a_blue_sky_is_blue_up_to_the_border(frames):
    """Without a repair the strip that the dark frame does not cover is white."""
    scene = textured_scene(1) * np.float32(0.3)
    height, width = 240, 320
    y = np.mgrid[0 : scene.shape[0], 0 : scene.shape[1]][0] - MARGIN
    grain = scene.mean(axis=2, keepdims=True)
    sky = np.array([1.3, 2.0, 3.4], np.float32) * (0.9 + 0.2 * grain / grain.max())
    scene = np.where((y < 90)[..., None], sky, scene).astype(np.float32)
    stops = [-2.5, 0.0, 2.0] if frames == "both" else [-2.5, 0.0]

    def seen(stop, dx, dy):
        part = scene[MARGIN + dy : MARGIN + dy + height, MARGIN + dx : MARGIN + dx + width]
        return np.clip(part * np.float32(2.0**stop), 0, 1)

    linear = [seen(-2.5, -7, 12), seen(0, 0, 0), seen(2, 4, 3)][: len(stops)]
    merged = merge_bracket(None, CodedBracket.of_linear(linear, stops, 1), MergeConfig())
    result = merged.result
    assert merged.alignments[0].model == "shift"
    assert result.clipped[:10].all()
    truth = scene[MARGIN : MARGIN + height, MARGIN : MARGIN + width]
    np.testing.assert_allclose(result.radiance.pixels[:10], truth[:10], rtol=0.15)
    ground = result.radiance.pixels[110:]
    np.testing.assert_allclose(ground[ground > 0.05], truth[110:][ground > 0.05], rtol=0.3)
