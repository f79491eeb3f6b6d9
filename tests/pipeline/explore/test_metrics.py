"""The measures of disentanglement: on codes that do, on codes that do not, on real networks."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from dfghdr_cli.core.luminance import MIDDLE_GREY
from dfghdr_cli.errors import InputError, ModelError
from dfghdr_cli.pipeline.explore.explorer import load_explorer
from dfghdr_cli.pipeline.explore.metrics import (
    CODES,
    PSNRS,
    MetricsConfig,
    encode_metrics,
    find_pictures,
    measure_disentanglement,
    read_series,
)

SMALL = MetricsConfig(side=64, views=2, stops=(-1.0, 0.0, 1.0))


def test_perfect_codes_get_perfect_marks(oracle, hdr):
    found = measure_disentanglement(oracle(), hdr, config=SMALL)
    assert (found.pictures, found.views, found.images) == (4, 8, 24)
    assert found.codes["exposure"].r2 > 0.999
    assert found.codes["exposure"].rmse < 0.02
    assert found.codes["exposure"].invariance > 0.999
    assert found.codes["spatial"].r2 < 0.1
    assert found.codes["spatial"].invariance > 0.999
    assert min(found.psnr[name] for name in ("reconstruction", "swap", "swap_other_scene")) > 60
    assert found.psnr["swap_nothing_done"] < 20
    assert found.shares[0] > 0.999


def test_a_leak_is_found(oracle, hdr):
    found = measure_disentanglement(oracle(leak=True), hdr, config=SMALL)
    assert found.codes["spatial"].r2 > 0.9
    assert found.codes["spatial"].invariance < 0.5


def test_zero_stops_are_a_well_exposed_rendering(hdr):
    series, skipped = read_series(hdr, SMALL)
    assert skipped == 0
    for one in series:
        luminance = one.codes[1] ** 2.2 @ np.array([0.2126, 0.7152, 0.0722])
        assert one.stops[1] == 0.0
        assert np.exp(np.log(luminance).mean()) == pytest.approx(MIDDLE_GREY, rel=1e-2)
        np.testing.assert_allclose(one.codes[0] ** 2.2 * 2, one.codes[1] ** 2.2, rtol=1e-3)


def test_scenes_count_from_the_truth_and_are_judged_by_it(tmp_path, make_scene):
    for number in range(2):
        make_scene(tmp_path / f"scene{number}", seed=number, motion=0, truth="HDRImg.exr")
    series, _ = read_series(tmp_path, SMALL)
    assert [one.group for one in series] == [0, 0, 1, 1]
    for one in series:
        steps = np.diff(one.stops)
        np.testing.assert_allclose(steps, 2.0, atol=1e-6)
        # The truth re-exposed is the frame, where the truth itself is not clipped.
        np.testing.assert_allclose(one.target(0), one.codes[0], atol=2e-3)
        assert one.reference == 1


def test_a_bracket_of_photographs_counts_from_its_best_frame(tmp_path):
    folder = tmp_path / "bracket"
    folder.mkdir()
    y, x = np.mgrid[0:72, 0:96] / 30.0
    radiance = np.exp2(np.sin(3 * x) * np.cos(2 * y))[..., None] * np.full(3, 0.09)
    for time, stop in ((1, -2), (4, 0), (16, 2)):
        code = np.clip(radiance * 2.0**stop, 0, 1) ** (1 / 2.2)
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x829A] = IFDRational(time, 1000)  # ExposureTime in the Exif IFD
        Image.fromarray(np.rint(code * 255).astype(np.uint8)).save(
            folder / f"{time}.png", exif=exif.tobytes()
        )
    series, _ = read_series(tmp_path, SMALL)
    for one in series:
        luminance = [code[code > 0].astype(np.float64) ** 2.2 for code in one.codes]
        seen = [np.log2(linear / MIDDLE_GREY).mean() for linear in luminance]
        np.testing.assert_allclose(one.stops[1:], seen[1:], atol=0.2)
        np.testing.assert_allclose(np.diff(one.stops), 2.0)
        assert one.radiance is None


def test_a_bracket_without_exposures_is_refused(tmp_path, make_scene):
    make_scene(tmp_path / "scene")
    (tmp_path / "scene" / "exposure.txt").unlink()
    with pytest.raises(InputError, match="estimated from the pixels proves nothing"):
        read_series(tmp_path, SMALL)


def test_every_architecture_is_measured(hdr, install, tmp_path):
    for kind in ("dfgnet", "dfgmerge"):
        install(kind)
        found = measure_disentanglement(load_explorer(kind, "cpu"), hdr, config=SMALL)
        assert set(found.codes) == set(CODES)
        assert set(found.psnr) == set(PSNRS)
        assert found.points.shape == (24, 2)
        values = json.loads(encode_metrics(found))
        assert values["codes"]["exposure"]["r2"] == pytest.approx(
            found.codes["exposure"].r2, abs=1e-3
        )


def test_probes_can_be_fitted_to_other_pictures(oracle, hdr, tmp_path):
    others = tmp_path / "others"
    others.mkdir()
    for number in range(3):
        shutil.copyfile(hdr / f"{number}.exr", others / f"{number}.exr")
    (hdr / "0.exr").unlink()
    found = measure_disentanglement(oracle(), hdr, fit=others, config=SMALL)
    assert found.pictures == 3
    assert found.codes["exposure"].r2 > 0.99
    assert "18 images of 3 other pictures" in found.fitted_on


def test_a_model_without_a_decoder_says_so(hdr, install):
    install(name="plain", decoder=False)
    with pytest.raises(ModelError, match=r"plain has no decoder.*--attention"):
        measure_disentanglement(load_explorer("plain", "cpu"), hdr, config=SMALL)


def test_what_cannot_be_measured_is_refused(oracle, hdr, tmp_path):
    with pytest.raises(InputError, match="not a folder"):
        measure_disentanglement(oracle(), tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no bracket"):
        find_pictures(tmp_path / "empty")
    with pytest.raises(InputError, match="less than a view of 256"):
        measure_disentanglement(oracle(), hdr)
    for number in range(2):
        (hdr / f"{number}.exr").unlink()
    with pytest.raises(InputError, match="at least three"):
        measure_disentanglement(oracle(), hdr, config=SMALL)


def test_a_damaged_picture_is_skipped_and_counted(oracle, hdr, caplog):
    (hdr / "1.exr").write_bytes((hdr / "1.exr").read_bytes()[:2000])
    found = measure_disentanglement(oracle(), hdr, config=SMALL)
    assert (found.pictures, found.skipped) == (3, 1)
    assert "1.exr" in caplog.text
