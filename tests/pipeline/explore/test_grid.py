"""The grid and the walk: with codes that disentangle perfectly, and with real networks."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational
from safetensors.numpy import load_file

from dfghdr_cli.core.types import Exposure, Frame
from dfghdr_cli.errors import InputError
from dfghdr_cli.pipeline.explore import grid as grid_module
from dfghdr_cli.pipeline.explore.explorer import load_explorer
from dfghdr_cli.pipeline.explore.grid import (
    Photograph,
    ev_text,
    explore_grid,
    explore_walk,
    read_photographs,
)
from dfghdr_cli.pipeline.models import import_published

PUBLISHED = Path(__file__).parents[2] / "fixtures" / "published-width8"


def photograph(name, level, seed, size=(64, 96), stops=None):
    """Low contrast around a level of light, so that two stops either way clip nothing."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]] / 16.0
    linear = level * np.exp2(0.3 * np.sin((1 + seed) * x) * np.cos(y - seed))
    code = np.repeat(linear[..., None] ** (1 / 2.2), 3, axis=2).astype(np.float32)
    return Photograph(name, code, stops)


def level_of(code):
    """The logarithmic average of a grey picture, as light."""
    return np.exp(np.log(code[..., 0] ** 2.2).mean())


def test_rows_share_the_scene_and_columns_the_brightness(oracle):
    inputs = [photograph("a", 0.05, 0), photograph("b", 0.2, 1, (48, 80))]
    grid = explore_grid(oracle(), inputs)
    assert min(grid.psnr) > 60
    for i, level in enumerate((0.05, 0.2)):
        for j, other in enumerate((0.05, 0.2)):
            picture = grid.pictures[i][j]
            assert picture.shape == inputs[i].code.shape
            scale = level_of(inputs[j].code) / level_of(inputs[i].code)
            expected = (inputs[i].code ** 2.2 * scale) ** (1 / 2.2)
            np.testing.assert_allclose(picture, expected, atol=1e-3)
            assert scale == pytest.approx(other / level, rel=0.1)


def test_a_walk_goes_from_the_first_exposure_to_the_last_and_beyond(oracle):
    inputs = [photograph("a", 0.05, 0), photograph("b", 0.1, 1), photograph("c", 0.2, 2)]
    walk = explore_walk(oracle(), inputs, 5)
    assert walk.places == (0.0, 0.25, 0.5, 0.75, 1.0)
    levels = [level_of(picture) for picture in walk.pictures]
    first, last = (level_of(end.code) for end in (inputs[0], inputs[2]))
    expected = first * (last / first) ** np.array(walk.places)
    np.testing.assert_allclose(levels, expected, rtol=1e-3)
    assert walk.photograph is inputs[1]
    longer = explore_walk(oracle(), inputs, 5, extrapolate=True)
    assert longer.places == (-0.5, -0.25, *walk.places, 1.25, 1.5)
    assert np.median(longer.pictures[0]) < np.median(longer.pictures[2])


def test_the_published_network_decodes_as_the_published_code_did(models_dir):
    import_published(PUBLISHED, "published", models_dir)
    given = load_file(PUBLISHED / "io.safetensors")
    inputs = [
        Photograph(str(i), np.ascontiguousarray(given["ldr"][i].transpose(1, 2, 0)), None)
        for i in range(3)
    ]
    grid = explore_grid(load_explorer("published", "cpu"), inputs)
    for i in range(3):
        for j in range(3):  # every eleventh value is kept, in -1 to 1
            decoded = 2 * grid.pictures[i][j].transpose(2, 0, 1).ravel()[::11] - 1
            np.testing.assert_allclose(decoded, given[f"decoded_sp{i}_ex{j}"], atol=1e-4)


def test_linear_files_and_other_primaries_become_codes_of_rec709(tmp_path, monkeypatch):
    linear = np.random.default_rng(0).uniform(0.1, 0.8, (40, 50, 3)).astype(np.float32)
    swap = np.eye(3)[[2, 1, 0]]
    frames = {
        "raw": Frame(linear, Exposure(0.0), linear=True, to_rec709=swap),
        "wide": Frame(linear ** np.float32(1 / 2.2), Exposure(0.0), to_rec709=swap),
    }
    monkeypatch.setattr(grid_module, "read_frame", lambda path, exposure: frames[path.name])
    for photograph in read_photographs([Path("raw"), Path("wide")], (0.0, 0.0)):
        np.testing.assert_allclose(photograph.code, linear[..., ::-1] ** (1 / 2.2), atol=1e-5)


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
