"""Files that are given with a bracket and are none of it."""

import logging
import shutil

import numpy as np
import pytest
from PIL import Image

from dfghdr_cli.errors import InputError
from dfghdr_cli.io.bracket import find_frames, read_bracket
from dfghdr_cli.io.display import write_display
from dfghdr_cli.io.selection import is_own_result
from tests.support.night import night_bracket
from tests.support.photographs import photograph, textured_scene, write_bracket, write_jpeg


def said(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize("stray_seconds", [1 / 60, None])
def test_a_stray_photograph_is_left_out_and_the_exif_data_stays(tmp_path, caplog, stray_seconds):
    paths = write_bracket(tmp_path, 1, shift=3)
    stray = photograph(textured_scene(2), 0.5)
    write_jpeg(tmp_path / "IMG_0009.jpg", stray, seconds=stray_seconds)
    bracket = read_bracket([tmp_path])
    assert [frame.path for frame in bracket.frames] == paths
    np.testing.assert_allclose(bracket.stops, (-2, 0, 2), atol=0.01)
    assert bracket.exposures_from == "EXIF"
    assert [left.path.name for left in bracket.left_out] == ["IMG_0009.jpg"]
    assert "another scene" in bracket.left_out[0].reason
    (warning,) = said(caplog)
    assert "IMG_0009.jpg shows another scene than IMG_0001.jpg" in warning


def test_exposures_that_are_given_stay_with_their_files(tmp_path):
    paths = write_bracket(tmp_path, 3)
    stray = write_jpeg(tmp_path / "a.jpg", photograph(textured_scene(4), 0.0))
    bracket = read_bracket([stray, *paths], stops=[9, -2, 0, 2])
    assert [frame.path for frame in bracket.frames] == paths
    assert bracket.stops == (-2, 0, 2)


def test_a_right_bracket_is_taken_whole_without_a_word(tmp_path, caplog):
    write_bracket(tmp_path, 5, (-6, -3, 0, 3), shift=4)
    assert len(read_bracket([tmp_path]).frames) == 4
    assert not said(caplog)


@pytest.mark.parametrize("stops", [(-8, -4, 0, 4, 8), (-16, -12, -8, -4, 0)])
def test_a_right_bracket_of_16_stops_is_believed_without_a_word(tmp_path, caplog, stops):
    """Its darkest frames show noise and its brightest white, which is alike in neighbours."""
    bracket = night_bracket(1, stops, (160, 220))
    for number, (pixels, stop) in enumerate(zip(bracket.frames, bracket.stops, strict=True)):
        write_jpeg(tmp_path / f"{number}.jpg", pixels, seconds=2.0**stop)
    found = read_bracket([tmp_path])
    assert not said(caplog)
    assert found.exposures_from == "EXIF"
    steps = np.diff(found.stops)
    np.testing.assert_allclose(steps, 4, atol=0.1)


def test_two_sets_in_a_folder_are_refused(tmp_path):
    write_bracket(tmp_path, 6)
    write_bracket(tmp_path, 7, first=4)
    with pytest.raises(InputError) as caught:
        read_bracket([tmp_path])
    first, second = ", ".join(f"IMG_000{k}.jpg" for k in (1, 2, 3)), "IMG_0004.jpg, IMG_0005.jpg"
    for words in ("2 scenes", first, second, "a folder of its own"):
        assert words in str(caught.value)


def test_two_frames_of_two_scenes_are_refused(tmp_path):
    for number in (1, 2):
        pixels = photograph(textured_scene(number), 0.0)
        write_jpeg(tmp_path / f"{number}.jpg", pixels, seconds=number / 60)
    with pytest.raises(InputError, match=r"1\.jpg, 2\.jpg have nothing in common"):
        read_bracket([tmp_path])


@pytest.mark.parametrize(("orientation", "back"), [(3, 2), (6, 1), (8, -1)])
def test_a_frame_that_its_tag_alone_turns_is_turned_back(tmp_path, caplog, orientation, back):
    """The tag says how to turn what is stored; the second frame is stored as the others are."""
    write_bracket(tmp_path, 8)
    whole = read_bracket([tmp_path])
    path = tmp_path / "IMG_0002.jpg"
    pixels = np.asarray(Image.open(path))
    write_jpeg(path, pixels, seconds=1 / 64, orientation=orientation)
    bracket = read_bracket([tmp_path])
    assert [frame.pixels.shape for frame in bracket.frames] == [pixels.shape] * 3
    assert np.abs(bracket.frames[1].pixels.astype(int) - whole.frames[1].pixels).mean() < 2
    assert bracket.frames[1].pixels.flags.c_contiguous
    (warning,) = said(caplog)
    assert warning.startswith("IMG_0002.jpg lies otherwise than its orientation tag says")
    # And a tag that is right is obeyed without a word.
    caplog.clear()
    write_jpeg(path, np.rot90(pixels, back), seconds=1 / 64, orientation=orientation)
    assert len(read_bracket([tmp_path]).frames) == 3
    assert not said(caplog)


def test_a_frame_that_is_turned_without_a_tag_is_left_out(tmp_path, caplog):
    write_bracket(tmp_path, 9)
    path = tmp_path / "IMG_0003.jpg"
    write_jpeg(path, np.asarray(Image.open(path))[::-1, ::-1], seconds=1 / 16)
    assert [left.path for left in read_bracket([tmp_path]).left_out] == [path]
    (warning,) = said(caplog)
    assert "or is turned" in warning


@pytest.mark.parametrize("ending", [".jpg", ".png", ".tif", ".avif", ".jxl"])
def test_own_results_are_known_by_what_they_say(tmp_path, caplog, ending):
    paths = write_bracket(tmp_path, 10)
    result = tmp_path / f"hall{ending}"
    picture = photograph(textured_scene(10), 0.0).astype(np.float32) / 255
    write_display(result, picture, radiance=picture)
    assert is_own_result(result)
    assert not any(map(is_own_result, paths))
    assert find_frames([tmp_path]) == paths
    bracket = read_bracket([tmp_path])  # a folder may hold them: nothing to warn of
    assert len(bracket.frames) == 3
    assert [left.path for left in bracket.left_out] == [result]
    assert not said(caplog)
    bracket = read_bracket([result, *paths], stops=[-2, 0, 2])
    assert [left.reason for left in bracket.left_out] == ["a result of dfghdr"]
    (warning,) = said(caplog)
    assert f"{result} is a result of dfghdr" in warning


def test_a_result_does_not_hide_the_photograph_of_its_name(tmp_path):
    paths = write_bracket(tmp_path, 11)
    write_display(tmp_path / "IMG_0001.tif", np.full((240, 320, 3), 0.5, np.float32))
    assert find_frames([tmp_path]) == paths


def test_what_others_wrote_is_a_photograph(tmp_path):
    pixels = photograph(textured_scene(12), 0.0)
    assert not is_own_result(write_jpeg(tmp_path / "a.jpg", pixels, software="GIMP 2.10"))
    shutil.copy(tmp_path / "a.jpg", tmp_path / "b.png")  # not what its name says
    assert not is_own_result(tmp_path / "b.png")
    assert not is_own_result(tmp_path / "missing.jpg")
