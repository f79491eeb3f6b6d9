"""The published data sets, as they are downloaded: each layout with small pictures."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from dfghdr_cli.core.types import RadianceImage
from dfghdr_cli.errors import InputError
from dfghdr_cli.io.layouts import scene_files_at
from dfghdr_cli.io.radiance import write_radiance
from dfghdr_cli.io.scenes import check_scene, find_scenes, read_scene, scene_files

STOPS = (-2.0, 0.0, 2.0)
TRUTH = np.exp2(np.random.default_rng(5).uniform(-9, 0, (48, 64, 3))).astype(np.float32)


def code(stop, gamma=2.2, moment=0):
    """A frame; at each moment its first rows hold something else."""
    light = TRUTH.copy()
    light[:4] = 0.01 * (moment + 1)
    return np.clip(light * 2.0 ** (stop - STOPS[0]), 0, 1).astype(float) ** (1 / gamma)


def tiff(path, stop, moment=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    codes = np.rint(65535 * code(stop, moment=moment)).astype(np.uint16)
    tifffile.imwrite(path, codes, photometric="rgb")


def png(path, stop):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.rint(255 * code(stop, 2.24)).astype(np.uint8)[..., ::-1])


def truth(path):
    """At moment 1, as the reference has it."""
    picture = TRUTH.copy()
    picture[:4] = 0.02
    write_radiance(path, RadianceImage(picture, 1.0))


def text(path):
    path.write_text("".join(f"{stop + 2:.1f}\n" for stop in STOPS))


def ntire_truth(gt, ratio):
    """Codes of gamma 2.24, 1.0 = the reference's white, times a ratio that fills 16 bits."""
    picture = TRUTH.copy().astype(float)
    picture[:4] = 0.01
    codes = (picture * 4) ** (1 / 2.24)
    factor = 65535 / codes.max()
    cv2.imwrite(str(gt), np.rint(codes * factor).astype(np.uint16)[..., ::-1])
    np.save(ratio, np.float64(factor))


def kalantari(root):
    for number, stop in enumerate(STOPS):
        tiff(root / "Test" / "EXTRA" / "001" / f"262A{2615 + number}.TIF", stop, number)
    folder = root / "Test" / "EXTRA" / "001"
    text(folder / "Exposure.txt")
    truth(folder / "HDRImg.hdr")
    return folder


def tel(root):
    folder = root / "Training" / "scene_0001_1"
    for number, stop in enumerate(STOPS):
        tiff(folder / f"input_{number + 1}.tif", stop, number)
    text(folder / "exposure.txt")
    truth(folder / "HDRImg.hdr")
    return folder


def aligned(root, name="ref_hdr_aligned.hdr"):
    folder = root / "train" / "028"
    for number, stop in enumerate(STOPS):
        tiff(folder / f"input_{number + 1}_aligned.tif", stop, number)
        tiff(folder / f"ref_{number + 1}_aligned.tif", stop, 1)
    text(folder / "input_exp.txt")
    text(folder / "ref_exp.txt")
    truth(folder / name)
    return folder


def hu(root):
    return aligned(root, "ref_hdr_aligned_linear.hdr")


def challenge(root):
    for moment in range(3):
        folder = root / "Test" / f"097_{moment + 1}"
        for number, stop in enumerate(STOPS):
            tiff(folder / f"ldr_img_{number + 1}.tif", stop, moment)
        text(folder / "exposure.txt")
        truth(folder / "hdr_img.hdr")
    return root / "Test" / "097_2"


def crops(root):
    folder = root / "sig17_training_crop128" / "0001"
    for number, stop in enumerate(STOPS):
        tiff(folder / f"{number + 1}.tif", stop, number)
    text(folder / "exposure.txt")
    truth(folder / "label.hdr")
    return folder


def ntire(root):
    root.mkdir()
    for part, stop in zip(("short", "medium", "long"), STOPS, strict=True):
        for scene in ("0000", "0001"):
            png(root / f"{scene}_{part}.png", stop)
    for scene in ("0000", "0001"):
        np.save(root / f"{scene}_exposures.npy", np.array([-3, -1, 1]))
        ntire_truth(root / f"{scene}_gt.png", root / f"{scene}_alignratio.npy")
    return root / "0000"


def ntire_crops(root):
    folder = root / "training" / "000001"
    for number, stop in enumerate(STOPS):
        png(folder / f"{number}.png", stop)
    np.save(folder / "exposures.npy", np.array([-3, -1, 1]))
    ntire_truth(folder / "gt.png", folder / "alignratio.npy")
    return folder


LAYOUTS = (kalantari, tel, aligned, hu, challenge, crops, ntire, ntire_crops)


@pytest.mark.parametrize("make", LAYOUTS)
def test_each_layout_is_one_scene_of_one_unit(tmp_path, make):
    folder = make(tmp_path / "set")
    found = find_scenes(tmp_path / "set")
    assert found[0] == folder
    assert len(found) == (2 if make is ntire else 1)
    scene = read_scene(folder)
    assert scene.name == folder.name
    assert [frame.exposure.stops for frame in scene.bracket.frames] == [0, 2, 4]
    assert scene.bracket.reference == 1
    assert check_scene(folder, scene) is None
    # Of .hdr files a pixel's largest channel is exact within 1/128.
    largest = TRUTH[4:].max(axis=2, keepdims=True)
    assert (np.abs(scene.truth[4:] - TRUTH[4:]) / largest).max() < 1 / 128
    for frame in scene.bracket.frames:
        linear = frame.encoded()[4:].astype(float) ** 2.2 / 2**frame.exposure.stops
        seen = (frame.encoded()[4:] < 0.99) & (frame.encoded()[4:] > 0.3)
        # Of 8 bits a code of 0.3 is exact within 1.5 %.
        assert np.abs(linear / TRUTH[4:] - 1)[seen].max() < 0.02
    assert set(scene_files(folder)) >= {frame.path for frame in scene.bracket.frames}


def test_frames_of_one_moment_each(tmp_path):
    """Challenge123: frame i comes from moment i, and the two other folders are no scenes."""
    folder = challenge(tmp_path / "set")
    paths = [frame.path for frame in read_scene(folder).bracket.frames]
    assert [f"{path.parent.name}/{path.name}" for path in paths] == [
        f"097_{number}/ldr_img_{number}.tif" for number in (1, 2, 3)
    ]
    alone = tmp_path / "set" / "Test" / "097_3"
    assert len({path.parent for path in scene_files_at(alone).frames}) == 1


@pytest.mark.parametrize("make", LAYOUTS)
def test_upper_and_lower_case(tmp_path, make):
    folder = make(tmp_path / "set")
    for path in sorted((tmp_path / "set").rglob("*")):
        if path.is_file():
            path.rename(path.with_name(path.name.upper()))
    assert find_scenes(tmp_path / "set")[0] == folder
    assert check_scene(folder, read_scene(folder)) is None


@pytest.mark.parametrize("make", LAYOUTS)
def test_what_is_missing_is_said(tmp_path, make):
    folder = make(tmp_path / "set")
    files = scene_files_at(folder)
    for path, words in ((files.exposures, "does not exist"), (files.truth, "holds no truth")):
        content = path.read_bytes()
        path.unlink()
        assert folder in find_scenes(tmp_path / "set"), "it is not passed over"
        with pytest.raises(InputError, match=words):
            read_scene(folder)
        path.write_bytes(content)
    files.frames[0].unlink()
    with pytest.raises(InputError, match="3 exposures for 2 frames"):
        read_scene(folder)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("exposures.npy", b"-3\n-1\n1\n", "NumPy's format"),
        ("exposures.npy", b"", "empty"),
        ("exposures.npy", b"\x93NUMPY" + bytes(200_000), "NumPy's format"),
        ("alignratio.npy", b"words", "NumPy's format"),
        ("alignratio.npy", None, "does not exist"),
    ],
)
def test_damaged_numbers(tmp_path, name, content, words):
    folder = ntire_crops(tmp_path / "set")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        read_scene(folder)
    assert name in str(caught.value)


@pytest.mark.parametrize("ratio", [0.0, -1.0, np.nan, [1.0, 2.0]])
def test_impossible_ratios(tmp_path, ratio):
    folder = ntire_crops(tmp_path / "set")
    np.save(folder / "alignratio.npy", np.array(ratio))
    with pytest.raises(InputError, match="one number above 0"):
        read_scene(folder)


def test_pickles_are_not_loaded(tmp_path):
    folder = ntire_crops(tmp_path / "set")
    np.save(folder / "exposures.npy", np.array([Path("x")], object), allow_pickle=True)
    with pytest.raises(InputError, match="NumPy's format"):
        read_scene(folder)


def test_labels_for_screens_are_no_truth(tmp_path):
    """SICE: a folder of frames a scene, and a folder of their labels beside them."""
    for scene in ("1", "2"):
        for number in range(3):
            png(tmp_path / "Dataset_Part1" / scene / f"{number + 1}.JPG", 0.0)
    png(tmp_path / "Dataset_Part1" / "Label" / "1.JPG", 0.0)
    folder = tmp_path / "Dataset_Part1" / "1"
    assert find_scenes(tmp_path) == find_scenes(folder) == [folder]
    assert len(scene_files(folder)) == 4
    with pytest.raises(InputError, match="SICE are pictures for screens"):
        read_scene(folder)
