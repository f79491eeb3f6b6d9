"""What JPEG takes away and `restore` puts back, on procedurally drawn pictures."""

import cv2
import numpy as np
import pytest

from dfghdr_cli.core.restoration.jpeg import has_eight_bits, restore, restore_bracket
from dfghdr_cli.core.types import Bracket, Exposure, Frame

FULL, HALF, HALF_COLUMNS = (
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
)


def picture(seed=0, height=150, width=211):
    """Codes (H, W, 3) in [0, 1]: coloured patches with sharp shadows."""
    rng = np.random.default_rng(seed)
    colour = cv2.resize(rng.uniform(0.15, 0.9, (7, 9, 3)), (width, height))
    leaves = cv2.GaussianBlur(rng.normal(size=(height, width)), (0, 0), 2.5)[..., None]
    return np.clip(colour * np.where(leaves > 0.02, 1.0, 0.45), 0, 0.95)


def compressed(codes, sampling=HALF, quality=92):
    data = np.rint(codes * 255).astype(np.uint8)[..., ::-1]
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    _, encoded = cv2.imencode(".jpg", data, options)
    return np.ascontiguousarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1])


def error(pixels, codes):
    """RMS difference of red and blue [codes of 255]."""
    top = np.iinfo(pixels.dtype).max
    return 255 * np.sqrt(np.mean((pixels[..., ::2] / top - codes[..., ::2]) ** 2))


@pytest.mark.parametrize("sampling", [HALF, HALF_COLUMNS], ids=["4:2:0", "4:2:2"])
def test_lost_colour_detail_comes_back(sampling):
    codes = picture()
    pixels = compressed(codes, sampling)
    restored = restore(pixels, is_darkest=True)
    assert restored.dtype == np.uint16
    assert restored.shape == pixels.shape
    assert error(restored, codes) < 0.85 * error(pixels, codes)
    luma = [p @ [0.299, 0.587, 0.114] for p in (restored / 65535, pixels / 255)]
    # What the limits of 0 and 1 cut off apart, brightness stays as it is.
    assert np.quantile(np.abs(luma[0] - luma[1]), 0.9) < 1e-4


@pytest.mark.parametrize("seed", [1, 2])
def test_full_colour_stays_as_it_is(seed):
    codes = picture(seed)
    for pixels in (compressed(codes, FULL, 98), np.rint(codes * 255).astype(np.uint8)):
        assert restore(pixels, is_darkest=True) is pixels
    # Stronger compression takes detail from full-size colour, too.
    pixels = compressed(codes, FULL)
    assert error(restore(pixels, is_darkest=True), codes) <= error(pixels, codes)


def test_colour_without_regard_to_brightness_stays_as_it_is():
    noise = np.random.default_rng(0).integers(0, 200, (64, 80, 3), np.uint8)
    grey = np.repeat(noise[..., :1], 3, axis=2)
    for pixels in (noise, grey):
        assert restore(pixels, is_darkest=True) is pixels


def test_more_than_eight_bits_stay_as_they_are():
    pixels = compressed(picture())
    fine = np.rint(picture() * 65535).astype(np.uint16)
    for other in (fine, (pixels / np.float32(255)).astype(np.float32), pixels[:10, :10]):
        assert restore(other, is_darkest=False) is other
    assert has_eight_bits(pixels.astype(np.uint16) * 257)
    assert not has_eight_bits(fine)


def test_eight_bits_in_sixteen_are_eight_bits():
    pixels = compressed(picture())
    wide = pixels.astype(np.uint16) * np.uint16(257)
    np.testing.assert_array_equal(
        restore(wide, is_darkest=False), restore(pixels, is_darkest=False)
    )


def test_bands_do_not_show():
    pixels = compressed(picture(3, 1100, 60))
    pixels[500:530, 20:40] = 255
    whole = restore(pixels, is_darkest=False)
    lower = restore(pixels[400:], is_darkest=False)
    # How much was lost is estimated from the whole picture, so it differs a little.
    assert np.abs(whole[420:].astype(int) - lower[20:]).max() < 0.02 * 65535
    assert (whole[500:530, 20:40] == 65535).all()


def test_ringing_white_is_white_except_in_the_darkest_frame():
    pixels = np.full((40, 40, 3), 253, np.uint8)
    pixels[10:20, 10:20] = 255
    pixels[12, 12, 1] = 252
    pixels[13, 13, 2] = 251
    restored = restore(pixels, is_darkest=False)
    assert restored[12, 12, 1] == 65535
    assert restored[13, 13, 2] == 251 * 257
    assert restored[9, 15, 0] == 65535
    assert restored[30, 30, 0] == 253 * 257
    assert restore(pixels, is_darkest=True) is pixels


def test_beside_dark_things_white_rings_further_and_in_reach_of_a_block():
    pixels = np.full((60, 60, 3), 246, np.uint8)
    pixels[10:20, 10:20] = 255
    pixels[14, 22:40] = 0
    restored = restore(pixels, is_darkest=False)
    assert restored[16, 25, 0] == 65535
    assert restored[16, 30, 0] == 246 * 257  # no white in reach
    assert restored[22, 8, 0] == 246 * 257  # nothing dark in reach


def test_the_darkest_frames_of_a_bracket_keep_their_highlights():
    pixels = np.full((40, 40, 3), 253, np.uint8)
    pixels[10:20, 10:20] = 255
    frames = tuple(Frame(pixels, Exposure(stops)) for stops in (-2.0, -2.0, 0.0))
    restored = restore_bracket(Bracket(frames, 2))
    whites = [(frame.encoded()[8:22, 8:22] == 1).sum() for frame in restored.frames]
    assert whites == [300, 300, 432]
    assert restored.reference == 2


def test_a_white_below_full_code_rings_likewise():
    pixels = np.full((40, 40, 3), 231, np.uint8)
    pixels[10:20, 10:20] = 235
    restored = restore(pixels, [235 / 255] * 3, is_darkest=False)
    assert restored[9, 15, 0] == 231 * 257  # 252 of 255 would be 232.2
    pixels[9, 15] = 233
    assert restore(pixels, [235 / 255] * 3, is_darkest=False)[9, 15, 0] == 65535
