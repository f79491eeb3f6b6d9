import numpy as np
import pytest

from dfghdr_cli.core.ghostmap import frame_colors, ghost_map


@pytest.mark.parametrize("count", range(2, 10))
def test_every_frame_has_a_colour_of_its_own(count):
    for reference in range(count):
        colors = frame_colors(count, reference)
        assert colors.shape == (count, 3)
        assert colors.min() >= 0
        assert colors.max() <= 1
        apart = np.abs(colors[:, None] - colors[None]).max(axis=2) + np.eye(count)
        assert apart.min() > 0.04
        assert np.ptp(colors[reference]) == 0
        for index, (red, _, blue) in enumerate(colors):
            assert np.sign(red - blue) == np.sign(index - reference)


def test_the_colours_mix_as_the_frames_do():
    random = np.random.default_rng(0)
    weights = random.dirichlet(np.ones(3), (4, 5)).transpose(2, 0, 1).astype(np.float32)
    clipped = np.zeros((4, 5), bool)
    clipped[1, 2] = True
    picture = ghost_map(weights, 1, clipped)
    expected = np.einsum("nhw,nc->hwc", weights, frame_colors(3, 1))
    expected[1, 2] = 0
    assert picture.dtype == np.float32
    np.testing.assert_allclose(picture, expected, atol=1e-6)
