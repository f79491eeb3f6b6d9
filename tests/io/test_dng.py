import numpy as np
import pytest
import rawpy
import tifffile
from PIL.TiffImagePlugin import IFDRational

from dfghdr_cli.core.colour import ACESCG, REC709, conversion, to_xyz
from dfghdr_cli.core.types import Exposure, RadianceImage
from dfghdr_cli.io.exif import read_exposure
from dfghdr_cli.io.ldr import read_frame
from dfghdr_cli.io.metadata import Metadata, read_metadata
from dfghdr_cli.io.radiance import write_radiance
from dfghdr_cli.io.selection import is_own_result

PIXELS = np.random.default_rng(0).random((48, 64, 3), np.float32) ** 3 * 7


def written(path):
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        return page.asarray(), {tag.code: tag.value for tag in page.tags}


@pytest.mark.parametrize(("scale", "stops"), [(1.0, 3), (0.1, 0), (300.0, 12)])
def test_a_pixel_times_the_baseline_exposure_is_the_radiance(tmp_path, scale, stops):
    pixels = (PIXELS * np.float32(scale)).astype(np.float32)
    write_radiance(tmp_path / "a.dng", RadianceImage(pixels, float(pixels.max())))
    stored, tags = written(tmp_path / "a.dng")
    assert stored.dtype == np.float32
    assert stored.max() <= 1.0
    assert tags[50730][0] / tags[50730][1] == stops
    np.testing.assert_array_equal(stored * np.float32(2.0**stops), pixels)
    assert (tags[262], tags[277], tags[259]) == (34892, 3, 1)
    assert tags[50717] == 1


def test_the_scale_follows_the_peak_not_the_picture(tmp_path):
    """Pictures of one bracket come out alike."""
    write_radiance(tmp_path / "a.dng", RadianceImage(np.minimum(PIXELS, 0.5), 8.0))
    assert written(tmp_path / "a.dng")[1][50730] == (3, 1)
    write_radiance(tmp_path / "b.dng", RadianceImage(np.zeros((4, 4, 3), np.float32), 1.0))
    assert written(tmp_path / "b.dng")[1][50730] == (0, 1)


def test_a_raw_converter_opens_it(tmp_path):
    write_radiance(tmp_path / "a.dng", RadianceImage(PIXELS, 8.0))
    with rawpy.imread(str(tmp_path / "a.dng")) as raw:
        assert raw.camera_whitebalance[:3] == [1, 1, 1]
        pixels = raw.postprocess(
            output_bps=16, gamma=(1, 1), no_auto_bright=True, use_camera_wb=True,
            adjust_maximum_thr=0.0,
        )  # fmt: skip
    # LibRaw makes 14-bit integers of floats.
    np.testing.assert_allclose(pixels / 65535, PIXELS / 8, atol=2 / 16383)


def test_other_primaries_are_those_of_the_camera(tmp_path):
    write_radiance(tmp_path / "a.dng", RadianceImage(PIXELS, 8.0, ACESCG))
    matrix = np.reshape(written(tmp_path / "a.dng")[1][50721], (9, 2))
    found = (matrix[:, 0] / matrix[:, 1]).reshape(3, 3)
    np.testing.assert_allclose(found @ to_xyz(ACESCG), np.eye(3), atol=1e-5)
    frame = read_frame(tmp_path / "a.dng", Exposure(0.0))
    assert frame.linear
    np.testing.assert_allclose(frame.to_rec709 @ np.ones(3), 1, atol=1e-4)
    np.testing.assert_allclose(frame.to_rec709, conversion(ACESCG, REC709), atol=0.05)


def test_it_carries_the_photographs_data(tmp_path):
    metadata = Metadata(
        {271: "Maker", 272: "Camera"},
        {0x829A: IFDRational(1, 50), 0x8827: 200},
        {1: "N", 2: (IFDRational(47), IFDRational(30), IFDRational(0))},
    )
    write_radiance(tmp_path / "a.dng", RadianceImage(PIXELS, 8.0), metadata=metadata)
    found = read_metadata(tmp_path / "a.dng")
    assert found.main[272] == "Camera"
    assert found.photo[0x8827] == 200
    assert found.place[1] == "N"
    assert read_exposure(tmp_path / "a.dng") == Exposure.from_camera(1 / 50, 200)
    assert written(tmp_path / "a.dng")[1][50708] == "Camera"
    assert is_own_result(tmp_path / "a.dng")


def test_a_raw_file_of_a_camera_is_no_own_result(tmp_path, dng):
    assert not is_own_result(dng(tmp_path / "a.dng", np.full((32, 48, 3), 0.3)))
