from io import BytesIO

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from dfghdr_cli.core.colour import P3, REC709, conversion, srgb_decode
from dfghdr_cli.errors import OutputError, OutputExistsError
from dfghdr_cli.io.display import icc_profile, write_display
from dfghdr_cli.io.names import display_format


def ramp():
    y, x = np.mgrid[0:32, 0:48]
    return np.stack([x / 47, y / 31, np.full(x.shape, 0.5)], axis=2).astype(np.float32)


def described(profile):
    return ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(profile)))


def embedded_profile(path):
    if path.suffix.startswith(".tif"):
        with tifffile.TiffFile(path) as file:
            return file.pages[0].tags.valueof(34675)
    with Image.open(path) as image:
        return image.info["icc_profile"]


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("bits", [8, 16])
def test_lossless_formats_are_rounded_to_the_nearest_code(tmp_path, name, bits):
    write_display(tmp_path / name, ramp(), bits=bits)
    read = tifffile.imread(tmp_path / name) if name == "a.tif" else read_png(tmp_path / name)
    assert read.dtype == {8: np.uint8, 16: np.uint16}[bits]
    np.testing.assert_array_equal(read, np.rint(ramp() * np.float32(2**bits - 1)))


def read_png(path):
    """Through OpenCV, a libpng of its own."""
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1]


@pytest.mark.parametrize(("name", "dtype"), [("a.png", np.uint16), ("a.tiff", np.uint16)])
def test_16_bits_unless_told_otherwise(tmp_path, name, dtype):
    write_display(tmp_path / name, ramp())
    read = tifffile.imread(tmp_path / name) if name == "a.tiff" else read_png(tmp_path / name)
    assert read.dtype == dtype


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG"])
def test_jpeg_is_close_and_not_subsampled(tmp_path, name):
    write_display(tmp_path / name, ramp())
    with Image.open(tmp_path / name) as image:
        assert image.format == "JPEG"
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3
        assert np.abs(np.asarray(image) / 255 - ramp()).mean() < 0.01


def test_quality_is_obeyed(tmp_path):
    for quality in (30, 95):
        write_display(tmp_path / f"{quality}.jpg", ramp(), quality=quality)
    assert (tmp_path / "95.jpg").stat().st_size > 1.2 * (tmp_path / "30.jpg").stat().st_size


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
@pytest.mark.parametrize(("space", "word"), [("srgb", "sRGB"), ("p3", "Display P3")])
def test_the_profile_is_in_the_file(tmp_path, name, space, word):
    write_display(tmp_path / name, ramp(), space=space)
    assert embedded_profile(tmp_path / name) == icc_profile(space)
    assert word in described(icc_profile(space))


def test_what_a_colour_manager_makes_of_display_p3():
    """LittleCMS turns Display P3 codes into the sRGB codes that the standards' matrices give."""
    codes = np.array([[[200, 150, 100], [90, 120, 80], [128, 128, 128], [255, 255, 255]]], np.uint8)
    profiles = [ImageCms.ImageCmsProfile(BytesIO(icc_profile(space))) for space in ("p3", "srgb")]
    shown = ImageCms.profileToProfile(Image.fromarray(codes), *profiles)
    linear = srgb_decode(codes / 255.0) @ conversion(P3, REC709).T
    back = srgb_decode(np.asarray(shown) / 255.0)
    np.testing.assert_allclose(back, linear, atol=0.006)
    assert np.abs(np.asarray(shown).astype(int) - codes)[0, :2].max() > 5


def test_the_same_picture_gives_the_same_file(tmp_path):
    for name in ("a.png", "a.tif", "a.jpg"):
        paths = [tmp_path / name, tmp_path / f"again_{name}"]
        for path in paths:
            write_display(path, ramp(), space="p3")
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_what_a_display_cannot_show_becomes_black_or_white(tmp_path):
    pixels = ramp()
    pixels[0, 0], pixels[0, 1] = -0.5, 1.5
    write_display(tmp_path / "a.png", pixels, bits=8)
    with Image.open(tmp_path / "a.png") as image:
        assert image.getpixel((0, 0)) == (0, 0, 0)
        assert image.getpixel((1, 0)) == (255, 255, 255)


def test_formats_by_name(tmp_path):
    for name, format_name in [("a.JPG", "jpg"), ("a.png", "png"), ("a.tiff", "tiff")]:
        assert display_format(tmp_path / name) == format_name
        assert display_format(tmp_path / name, format_name) == format_name
    with pytest.raises(OutputError, match=r"a\.exr names no display format.*\.jpg"):
        display_format(tmp_path / "a.exr")
    with pytest.raises(OutputError, match=r"a\.png does not end like a jpg.*a\.jpg"):
        display_format(tmp_path / "a.png", "jpg")


def test_refusals(tmp_path):
    write_display(tmp_path / "a.png", ramp())
    with pytest.raises(OutputExistsError):
        write_display(tmp_path / "a.png", ramp())
    write_display(tmp_path / "a.png", ramp(), overwrite=True)
    with pytest.raises(OutputError, match=r"wide\.jpg.*65500"):
        write_display(tmp_path / "wide.jpg", np.zeros((1, 70000, 3), np.float32))
    for pixels in (ramp()[..., 0], ramp() * np.float32(np.nan), ramp()[:0]):
        with pytest.raises(ValueError, match="expected"):
            write_display(tmp_path / "b.png", pixels)
    with pytest.raises(ValueError, match="no choice of bits"):
        write_display(tmp_path / "b.jpg", ramp(), bits=16)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
