from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms

from dfghdr_cli.errors import OutputError, OutputExistsError
from dfghdr_cli.io.display import write_preview


def ramp():
    y, x = np.mgrid[0:32, 0:48]
    return np.stack([x / 47, y / 31, np.full(x.shape, 0.5)], axis=2).astype(np.float32)


def test_png_is_rounded_to_the_nearest_code(tmp_path):
    write_preview(tmp_path / "a.png", ramp())
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image), np.rint(ramp() * 255))


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG"])
def test_jpeg_is_close_and_not_subsampled(tmp_path, name):
    write_preview(tmp_path / name, ramp())
    with Image.open(tmp_path / name) as image:
        assert image.format == "JPEG"
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3
        assert np.abs(np.asarray(image) / 255 - ramp()).mean() < 0.01


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_tagged_as_srgb(tmp_path, name):
    write_preview(tmp_path / name, ramp())
    with Image.open(tmp_path / name) as image:
        profile = ImageCms.ImageCmsProfile(BytesIO(image.info["icc_profile"]))
    assert "sRGB" in ImageCms.getProfileDescription(profile)


def test_what_a_display_cannot_show_becomes_black_or_white(tmp_path):
    pixels = ramp()
    pixels[0, 0], pixels[0, 1] = -0.5, 1.5
    write_preview(tmp_path / "a.png", pixels)
    with Image.open(tmp_path / "a.png") as image:
        assert image.getpixel((0, 0)) == (0, 0, 0)
        assert image.getpixel((1, 0)) == (255, 255, 255)


def test_refusals(tmp_path):
    with pytest.raises(OutputError, match=r"a\.exr.*\.jpg or \.png"):
        write_preview(tmp_path / "a.exr", ramp())
    write_preview(tmp_path / "a.png", ramp())
    with pytest.raises(OutputExistsError):
        write_preview(tmp_path / "a.png", ramp())
    write_preview(tmp_path / "a.png", ramp(), overwrite=True)
    with pytest.raises(OutputError, match="65535"):
        write_preview(tmp_path / "wide.jpg", np.zeros((1, 70000, 3), np.float32))
    for pixels in (ramp()[..., 0], ramp() * np.float32(np.nan)):
        with pytest.raises(ValueError, match="expected finite"):
            write_preview(tmp_path / "b.png", pixels)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
