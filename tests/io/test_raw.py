import struct

import cv2
import numpy as np
import pytest
import tifffile

from dfghdr_cli.core.colour import REC709, to_xyz
from dfghdr_cli.core.types import Exposure
from dfghdr_cli.errors import InputError
from dfghdr_cli.io.bracket import read_bracket
from dfghdr_cli.io.exif import read_exposure
from dfghdr_cli.io.formats import image_format
from dfghdr_cli.io.ldr import read_frame
from dfghdr_cli.io.raw import develop, read_white_balance

NEUTRAL = np.array([0.5, 1.0, 0.75])
COARSE = np.random.default_rng(6).uniform(0.02, 0.6, (6, 8, 3)).astype(np.float32)
SCENE = cv2.resize(COARSE, (128, 96), interpolation=cv2.INTER_LINEAR).astype(np.float64)
"""White-balanced light; what the camera sees of it is SCENE * NEUTRAL."""
INSIDE = np.s_[8:-8, 8:-8]


def test_light_is_kept_to_the_last_digit(tmp_path, dng):
    path = dng(tmp_path / "a.dng", SCENE * NEUTRAL)
    frame = read_frame(path)
    assert (frame.pixels.dtype, frame.linear) == (np.uint16, True)
    ratio = frame.pixels[INSIDE] / 65535 / SCENE[INSIDE]
    assert np.median(ratio, axis=(0, 1)) == pytest.approx(1, abs=1e-3)
    assert np.abs(ratio - 1).mean() < 0.01  # of the demosaicing


@pytest.mark.parametrize("stops", [-3, -1, 1])
def test_brightness_never_depends_on_the_picture(tmp_path, dng, stops):
    """No automatic brightness, no white level of the picture's own."""
    light = SCENE * 2.0**stops
    pixels = develop(dng(tmp_path / "a.dng", light * NEUTRAL)).pixels
    fair = (light[INSIDE] < 0.8).all(axis=2)
    ratio = pixels[INSIDE][fair] / 65535 / light[INSIDE][fair]
    assert np.median(ratio, axis=0) == pytest.approx(1, abs=2e-3)


def test_blown_highlights_are_white(tmp_path, dng):
    light = SCENE.copy()
    light[20:60, 20:60] = 3.0
    pixels = develop(dng(tmp_path / "a.dng", light * NEUTRAL)).pixels
    assert (pixels[30:50, 30:50] == 65535).all()
    assert (pixels[70:, 70:] < 65535).all()


def test_the_cameras_colours_become_those_of_rec709(tmp_path, dng):
    matrix = np.array([[0.7, -0.1, -0.05], [-0.4, 1.2, 0.2], [-0.05, 0.2, 0.6]])
    color = np.array([0.4, 0.2, 0.1])  # linear Rec. 709
    white = matrix @ to_xyz(REC709) @ np.ones(3)
    seen = matrix @ to_xyz(REC709) @ color
    peak = white.max()
    light = np.broadcast_to(seen / peak, (32, 48, 3))
    frame = read_frame(dng(tmp_path / "a.dng", light, neutral=white / peak, matrix=matrix))
    assert frame.color_space == "camera RGB"
    balanced = frame.pixels[16, 24] / 65535
    assert frame.to_rec709 @ balanced == pytest.approx(color, abs=2e-3)
    assert frame.to_rec709 @ np.ones(3) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_upright(tmp_path, dng, orientation):
    pixels = develop(dng(tmp_path / "a.dng", SCENE * NEUTRAL, orientation=orientation)).pixels
    turns = {1: 0, 3: 2, 6: -1, 8: 1}[orientation]
    expected = np.rot90(SCENE, turns)
    assert pixels.shape == expected.shape
    assert np.abs(pixels / 65535 - expected)[INSIDE].mean() < 0.01


def test_exposure_and_white_balance(tmp_path, dng):
    path = dng(tmp_path / "a.dng", SCENE * NEUTRAL)
    assert read_white_balance(path) == pytest.approx((2, 1, 4 / 3), abs=1e-4)
    exposure = read_exposure(path)
    assert exposure.time_s == pytest.approx(1 / 50)
    assert exposure.f_number == pytest.approx(2.8)
    silent = dng(tmp_path / "b.dng", SCENE * NEUTRAL, time=(0, 1))
    assert read_exposure(silent) is None
    assert read_frame(path, Exposure(1.0)).exposure == Exposure(1.0)


def test_a_bracket_has_one_white_balance(tmp_path, dng):
    """The second frame's camera thought it saw another light."""
    first = dng(tmp_path / "a.dng", SCENE * NEUTRAL)
    other = (0.6, 1.0, 0.6)
    second = dng(tmp_path / "b.dng", SCENE * NEUTRAL / 4, neutral=other, time=(1, 200))
    dark, bright = read_bracket([second, first]).frames
    assert dark.path == second
    ratio = bright.pixels[INSIDE] / np.maximum(dark.pixels[INSIDE], 1.0)
    assert np.median(ratio, axis=(0, 1)) == pytest.approx(4, rel=0.01)


@pytest.mark.parametrize("times", [((1, 50), (1, 50)), ((0, 1), (0, 1))])
def test_exposures_of_raw_files_from_the_pixels_are_exact(tmp_path, dng, times, caplog):
    """Light is linear, so nothing has to be assumed."""
    paths = [
        dng(tmp_path / f"{i}.dng", SCENE * NEUTRAL * scale, time=time)
        for i, (scale, time) in enumerate(zip((1, 0.3), times, strict=True))
    ]
    bracket = read_bracket(paths, reference=1)
    assert bracket.stops == pytest.approx((0, np.log2(1 / 0.3)), abs=0.03)
    assert "assuming pixel values proportional to light" in caplog.text


def test_raw_and_developed_files_do_not_mix(tmp_path, dng):
    raw = dng(tmp_path / "a.dng", SCENE * NEUTRAL)
    code = np.rint(SCENE ** (1 / 2.2) * 255).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "b.png"), code)
    with pytest.raises(InputError, match=r"a\.dng is linear and b\.png is not"):
        read_bracket([raw, tmp_path / "b.png"], ev_step=1)


def test_bad_raw_files(tmp_path, dng):
    whole = dng(tmp_path / "a.dng", SCENE * NEUTRAL).read_bytes()
    for content in (b"words", whole[:1000], whole[: len(whole) // 2], whole[:-1]):
        path = tmp_path / "bad.nef"
        path.write_bytes(content)
        assert image_format(path) == "raw"
        words = r"bad\.nef (is damaged or no raw file|ends \d+ bytes before its picture does)"
        with pytest.raises(InputError, match=words):
            read_frame(path)


WIDE = np.broadcast_to([0.2, 0.4, 0.3], (64, 512, 3))


def without_rows(path, share):
    """Put zeros in the place of the last rows, as a card or a cable may."""
    with tifffile.TiffFile(path) as file:
        (start,), (length,) = file.pages.first.dataoffsets, file.pages.first.databytecounts
    data = bytearray(path.read_bytes())
    lost = round(length * share)
    data[start + length - lost : start + length] = bytes(lost)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("black", [0, 512])
def test_a_picture_that_was_lost_is_not_black(tmp_path, dng, black):
    path = without_rows(dng(tmp_path / "a.dng", WIDE, black=black, noise=3), 1)
    with pytest.raises(InputError, match=r"a\.dng holds no picture: all its values are 0"):
        read_frame(path)


@pytest.mark.parametrize("black", [0, 512])
def test_a_part_that_was_lost_is_noticed(tmp_path, dng, black):
    path = without_rows(dng(tmp_path / "a.dng", WIDE, black=black, noise=3), 0.25)
    with pytest.raises(InputError, match=r"a\.dng lacks 25% of its picture"):
        read_frame(path)


@pytest.mark.parametrize(("side", "noticed"), [(256, "6% of"), (128, "a part of"), (64, None)])
def test_a_tile_that_was_lost_is_noticed(tmp_path, dng, side, noticed):
    """Where black is above 0, a square of zeros is no shadow, wherever it lies."""
    path = dng(tmp_path / "a.dng", np.full((768, 768, 3), 0.3), noise=3)
    codes = tifffile.imread(path)
    codes[300 : 300 + side, 300 : 300 + side] = 0
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.filehandle.seek(file.pages.first.dataoffsets[0])
        file.filehandle.write(codes.tobytes())
    if noticed is None:
        assert read_frame(path).pixels.shape == (768, 768, 3)
        return
    with pytest.raises(InputError, match=rf"a\.dng lacks {noticed} its picture"):
        read_frame(path)


@pytest.mark.parametrize(("light", "noise", "black"), [(0, 0.35, 0), (0, 2, 512), (2, 0, 0)])
def test_black_and_white_frames_are_pictures(tmp_path, dng, light, noise, black):
    """A cap on the lens, of a camera that takes black off by itself, too; nothing but the sun."""
    path = dng(tmp_path / "a.dng", np.full((64, 1024, 3), float(light)), noise=noise, black=black)
    pixels = read_frame(path).pixels
    assert pixels.min() == 65535 if light else pixels.max() < 100


def test_a_cut_is_noticed_where_libraw_does_not(tmp_path):
    """Panasonic's raw files name the place of their picture by a tag of their own."""
    entries = [(273, 4, 1, 0xFFFFFFFF), (279, 4, 1, 5000), (280, 4, 1, 512)]
    folder = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries)
    path = tmp_path / "a.rw2"
    path.write_bytes((b"IIU\0" + struct.pack("<I", 8) + folder + bytes(4)).ljust(2512, b"\x55"))
    with pytest.raises(InputError, match=r"a\.rw2 ends 3000 bytes before its picture does"):
        develop(path, (2.0, 1.0, 1.5))
