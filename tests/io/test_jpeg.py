"""JPEG files of which a part was lost on the way, and such as only look like it."""

import cv2
import numpy as np
import pytest

from dfghdr_cli.errors import InputError
from dfghdr_cli.io.jpeg import read_jpeg_header, scans_of
from dfghdr_cli.io.ldr import read_frame
from tests.support.photographs import textured_scene

KINDS = {
    "baseline": [],
    "optimised": [cv2.IMWRITE_JPEG_OPTIMIZE, 1],
    "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    "restarts": [cv2.IMWRITE_JPEG_RST_INTERVAL, 40],
}


@pytest.fixture(params=KINDS)
def options(request):
    return KINDS[request.param]


def scene():
    return np.rint(255 * np.clip(textured_scene(3, (480, 640)), 0, 1) ** (1 / 2.2)).astype(np.uint8)


def jpeg(pixels, options, quality=90):
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality, *options])
    return data.tobytes()


def read(folder, data):
    path = folder / "a.jpg"
    path.write_bytes(data)
    return read_frame(path).pixels


@pytest.mark.parametrize("share", [0.2, 0.5])
@pytest.mark.parametrize("size", [1024, 8192])
def test_a_sector_that_was_read_as_zeros_is_named(options, share, size, tmp_path):
    data = jpeg(scene(), options)
    read(tmp_path, data)
    place = int(share * len(data)) // 512 * 512
    with pytest.raises(InputError, match=r"a\.jpg is damaged \(a part of it is lost\)"):
        read(tmp_path, data[:place] + bytes(size) + data[place + size :])


@pytest.mark.parametrize("black", [slice(0, 1400), slice(300, None), slice(200, 1200), slice(None)])
def test_flat_black_is_a_picture(options, black, tmp_path):
    pixels = np.tile(scene(), (3, 4, 1))
    pixels[black] = 0
    data = jpeg(pixels, options)
    assert np.abs(read(tmp_path, data)[black].astype(int)).max() < 12


def test_zeros_of_a_picture_are_among_what_is_tried():
    pixels = np.zeros((1600, 2400, 3), np.uint8)
    assert bytes(512) in jpeg(pixels, KINDS["optimised"])
    pixels[1400:1440, :640] = scene()[:40, :640]
    assert bytes(512) in jpeg(pixels, KINDS["optimised"])


def test_zeros_that_fill_up_a_scan_are_no_loss(tmp_path):
    data = jpeg(scene(), [])
    filled = data[:-2] + bytes(4096) + data[-2:]
    np.testing.assert_array_equal(read(tmp_path, filled), read(tmp_path, data))


def test_scans_are_where_the_codes_are(options):
    data = jpeg(scene(), options)
    scans, complete = scans_of(data, read_jpeg_header(data))
    assert complete
    assert len(scans) == (10 if options == KINDS["progressive"] else 1)
    assert scans[-1].stop == len(data) - 2
    assert all(data[scan.stop] == 0xFF for scan in scans)
