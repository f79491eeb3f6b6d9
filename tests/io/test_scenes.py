import cv2
import numpy as np
import pytest
import tifffile

from dfghdr_cli.core.types import RadianceImage
from dfghdr_cli.errors import InputError
from dfghdr_cli.io.radiance import write_radiance
from dfghdr_cli.io.scenes import find_scenes, read_scene

TRUTH = np.random.default_rng(5).uniform(0, 1, (12, 16, 3)).astype(np.float32)


def make_scene(folder, stops=(0, 2, 4), truth="HDRImg.exr", motion=True, base=3.0):
    """Frames of TRUTH, exposed so that the darkest has its white at 1.0."""
    folder.mkdir(parents=True)
    for number, value in enumerate(stops):
        linear = np.clip(TRUTH.astype(float) * 2.0 ** (value - min(stops)), 0, 1)
        codes = np.rint(linear ** (1 / 2.2) * 65535).astype(np.uint16)
        tifffile.imwrite(folder / f"{number}.tif", codes, photometric="rgb")
    (folder / "exposure.txt").write_text("".join(f"{value + base:.2f}\r\n" for value in stops))
    write_radiance(folder / truth, RadianceImage(TRUTH, 4.0), exr_type="float")
    if motion:
        mask = np.zeros((12, 16), np.uint8)
        mask[3:5, 2:9] = 255
        cv2.imwrite(str(folder / "motion.png"), mask)
    return folder


@pytest.mark.parametrize("truth", ["HDRImg.exr", "HDRImg.hdr"])
@pytest.mark.parametrize("stops", [(0, 2, 4), (4, 0, 2), (-1, 1)])
def test_truth_and_frames_share_one_unit(tmp_path, truth, stops):
    scene = read_scene(make_scene(tmp_path / "park", stops, truth))
    assert scene.name == "park"
    assert scene.bracket.frames[0].exposure.stops == 0
    assert scene.bracket.reference == len(stops) // 2
    assert [f.exposure.stops for f in scene.bracket.frames] == sorted(
        value - min(stops) for value in stops
    )
    assert scene.truth.dtype == np.float32
    assert np.abs(scene.truth - TRUTH).max() <= (0.01 if truth.endswith("hdr") else 0)
    for frame in scene.bracket.frames:
        linear = frame.encoded().astype(float) ** 2.2 / 2**frame.exposure.stops
        seen = frame.encoded() < 0.999
        assert np.abs(linear - TRUTH)[seen].max() < 1e-3


def test_motion(tmp_path):
    scene = read_scene(make_scene(tmp_path / "a"))
    assert scene.motion is not None
    assert scene.motion.dtype == np.bool_
    assert scene.motion.sum() == 14
    assert scene.motion[3:5, 2:9].all()
    assert read_scene(make_scene(tmp_path / "b", motion=False)).motion is None


def test_find_scenes(tmp_path):
    first = make_scene(tmp_path / "set" / "one")
    second = make_scene(tmp_path / "set" / "more" / "two")
    (tmp_path / "set" / "empty").mkdir()
    assert find_scenes(tmp_path / "set") == [second, first]
    assert find_scenes(first) == [first]
    (second / "exposure.txt").unlink()
    assert find_scenes(tmp_path / "set") == [second, first], "it is not passed over"
    for folder in (tmp_path / "set" / "empty", tmp_path / "nowhere", first / "0.tif"):
        with pytest.raises(InputError, match=folder.name):
            find_scenes(folder)


def test_hidden_files_are_no_frames(tmp_path):
    folder = make_scene(tmp_path / "a")
    (folder / "._0.tif").write_bytes(b"left behind by a file manager")
    assert len(read_scene(folder).bracket.frames) == 3


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("exposure.txt", None, "does not exist"),
        ("exposure.txt", b"", "empty"),
        ("exposure.txt", b"0\n2\n", "2 exposures for 3 frames"),
        ("exposure.txt", b"0\ntwo\n4\n", "one number"),
        ("exposure.txt", b"0\nnan\n4\n", "not finite"),
        ("exposure.txt", b"\xff\xfe\xfd", "not a text file"),
        ("HDRImg.exr", None, "no truth"),
        ("HDRImg.exr", b"words", "OpenEXR"),
        ("1.tif", b"words", "not a JPEG"),
        ("motion.png", b"words", "not a JPEG"),
    ],
)
def test_bad_scenes(tmp_path, name, content, words):
    folder = make_scene(tmp_path / "a")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        read_scene(folder)
    assert name in str(caught.value)


def test_sizes_must_agree(tmp_path):
    small = np.zeros((6, 16, 3), np.uint16)
    for name in ("1.tif", "HDRImg.exr", "motion.png"):
        folder = make_scene(tmp_path / name)
        if name == "1.tif":
            tifffile.imwrite(folder / name, small, photometric="rgb")
        elif name == "HDRImg.exr":
            image = RadianceImage(small.astype(np.float32), 4.0)
            write_radiance(folder / name, image, overwrite=True)
        else:
            cv2.imwrite(str(folder / name), small[..., 0])
        with pytest.raises(InputError, match="16x6") as caught:
            read_scene(folder)
        assert name in str(caught.value)


def test_frame_counts(tmp_path):
    folder = make_scene(tmp_path / "a")
    for number in (1, 2):
        (folder / f"{number}.tif").unlink()
    with pytest.raises(InputError, match="1 TIFF frames"):
        read_scene(folder)
    with pytest.raises(InputError, match="missing"):
        read_scene(tmp_path / "missing")
