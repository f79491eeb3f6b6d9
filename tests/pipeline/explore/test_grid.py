"""The grid and the walk: with codes that disentangle perfectly, and with real networks."""

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from dfghdr_cli.errors import InputError
from dfghdr_cli.pipeline.explore.explorer import load_explorer
from dfghdr_cli.pipeline.explore.grid import (
    Photograph,
    ev_text,
    explore_grid,
    explore_walk,
    read_photographs,
)


def photograph(name, level, seed, size=(64, 96), stops=None):
    """Low contrast around a level of light, so that two stops either way clip nothing."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]] / 16.0
    linear = level * np.exp2(0.3 * np.sin((1 + seed) * x) * np.cos(y - seed))
    code = np.repeat(linear[..., None] ** (1 / 2.2), 3, axis=2).astype(np.float32)
    return Photograph(name, code, stops)


def test_rows_share_the_scene_and_columns_the_brightness(oracle):
    inputs = [photograph("a", 0.05, 0), photograph("b", 0.2, 1, (48, 80))]
    grid = explore_grid(oracle(), inputs)
    assert min(grid.psnr) > 60
    for i, level in enumerate((0.05, 0.2)):
        for j, other in enumerate((0.05, 0.2)):
            picture = grid.pictures[i][j]
            assert picture.shape == inputs[i].code.shape
            scale = np.median(inputs[j].code[..., 0] ** 2.2) / np.median(
                inputs[i].code[..., 0] ** 2.2
            )
            expected = (inputs[i].code ** 2.2 * scale) ** (1 / 2.2)
            np.testing.assert_allclose(picture, expected, atol=1e-3)
            assert scale == pytest.approx(other / level, rel=0.1)


def test_a_walk_goes_from_the_first_exposure_to_the_last_and_beyond(oracle):
    inputs = [photograph("a", 0.05, 0), photograph("b", 0.1, 1), photograph("c", 0.2, 2)]
    walk = explore_walk(oracle(), inputs, 5)
    assert walk.places == (0.0, 0.25, 0.5, 0.75, 1.0)
    levels = [np.median(picture[..., 0] ** 2.2) for picture in walk.pictures]
    first, last = (np.median(end.code[..., 0] ** 2.2) for end in (inputs[0], inputs[2]))
    expected = first * (last / first) ** np.array(walk.places)
    np.testing.assert_allclose(levels, expected, rtol=1e-3)
    assert walk.photograph is inputs[1]
    longer = explore_walk(oracle(), inputs, 5, extrapolate=True)
    assert longer.places == (-0.5, -0.25, *walk.places, 1.25, 1.5)
    assert np.median(longer.pictures[0]) < np.median(longer.pictures[2])


@pytest.mark.parametrize("kind", ["dfgnet", "dfgmerge"])
def test_pictures_have_the_size_of_their_photographs(install, kind):
    explorer = load_explorer(install(kind), "cpu")
    inputs = [photograph("a", 0.1, 0, (50, 70)), photograph("b", 0.2, 1, (64, 33))]
    grid = explore_grid(explorer, inputs)
    assert [p.shape for p in grid.pictures[0]] == [(50, 70, 3)] * 2
    assert [p.shape for p in grid.pictures[1]] == [(64, 33, 3)] * 2
    again = explore_walk(explorer, inputs, 2)
    np.testing.assert_allclose(again.pictures[1], grid.pictures[1][1], atol=1e-5)
    np.testing.assert_allclose(again.pictures[0], grid.pictures[1][0], atol=1e-5)


def write(folder, name, time=None, size=(90, 60)):
    image = Image.effect_noise(size, 40).convert("RGB")
    exif = Image.Exif()
    if time is not None:
        exif.get_ifd(0x8769)[0x829A] = IFDRational(time, 1000)  # ExposureTime in the Exif IFD
    image.save(folder / name, exif=exif.tobytes())
    return folder / name


def test_photographs_keep_their_order_and_count_from_the_middle_exposure(tmp_path):
    paths = [write(tmp_path, f"{time}.png", time) for time in (80, 10, 20)]
    found = read_photographs(paths)
    assert [one.name for one in found] == ["80.png", "10.png", "20.png"]
    assert [one.label for one in found] == ["+2 EV", "-1 EV", "0 EV"]
    assert [one.stops for one in read_photographs(paths, (4.0, 1.0, 2.5))] == [4.0, 1.0, 2.5]


def test_without_exposures_names_stand_for_them(tmp_path):
    paths = [write(tmp_path, "a.png", 10), write(tmp_path, "b.png")]
    assert [one.label for one in read_photographs(paths)] == ["a.png", "b.png"]


def test_photographs_are_reduced(tmp_path):
    path = write(tmp_path, "a.png", size=(400, 200))
    (found,) = read_photographs([path], longer_side=100)
    assert found.code.shape == (50, 100, 3)
    with pytest.raises(InputError, match="too narrow"):
        read_photographs([path], longer_side=40)
    with pytest.raises(InputError, match="2 values for 1 files"):
        read_photographs([path], (0.0, 1.0))


def test_stops_are_written_as_photographers_do():
    assert [ev_text(x) for x in (-3.0, -0.04, 0.0, 2.66)] == ["-3 EV", "0 EV", "0 EV", "+2.7 EV"]
