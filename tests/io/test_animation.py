"""Animations hold every picture, in order, for as long as asked."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from dfghdr_cli.errors import OutputError
from dfghdr_cli.io.animation import encode_animation, is_animation

PICTURES = [np.full((16, 24, 3), value, np.float32) for value in (0.1, 0.5, 1.7)]


@pytest.mark.parametrize("name", ["walk.gif", "walk.webp", "WALK.GIF"])
def test_an_animation_holds_its_pictures(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(encode_animation(path, PICTURES, 120))
    with Image.open(path) as image:
        assert image.size == (24, 16)
        assert image.info["loop"] == 0
        seen, durations = [], []
        for frame in ImageSequence.Iterator(image):
            seen.append(np.asarray(frame.convert("RGB")).mean() / 255)
            durations.append(frame.info["duration"])
    np.testing.assert_allclose(seen, (0.1, 0.5, 1.0), atol=0.02)
    assert durations == [120] * 3


def test_other_endings_are_refused(tmp_path):
    assert is_animation(Path("a.GIF"))
    assert not is_animation(Path("a.png"))
    with pytest.raises(OutputError, match=r"end it in \.gif or \.webp"):
        encode_animation(tmp_path / "walk.png", PICTURES, 100)
