"""dfghdr as a library: its names, and the same pixels as the command's."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import dfghdr_cli
from dfghdr_cli.core.types import Exposure
from dfghdr_cli.errors import InputError, OutputError, OutputExistsError
from dfghdr_cli.io.ldr import read_frame
from dfghdr_cli.io.radiance import read_radiance
from tests.golden.merges import write_frames

STOPS = (-3.0, 0.0, 2.0)
NAMES = {
    "Merged",
    "Merger",
    "__version__",
    "evaluate",
    "hdrvdp2",
    "load_model",
    "merge",
    "tone_map",
}


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return write_frames(tmp_path_factory.mktemp("bracket"), STOPS)


@pytest.fixture(scope="module")
def merged(paths):
    torch.set_num_threads(1)
    return dfghdr_cli.merge(paths, stops=STOPS, device="cpu", weights=True)


def test_these_are_the_public_names():
    assert set(dfghdr_cli.__all__) == NAMES
    assert set(dir(dfghdr_cli)) == NAMES
    for name in NAMES:
        assert getattr(dfghdr_cli, name)
    with pytest.raises(AttributeError):
        _ = dfghdr_cli.nothing


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, dfghdr_cli; print(*{'torch', 'cv2', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_it_merges_as_the_command_does(paths, merged, tmp_path):
    from dfghdr_cli.cli.app import app

    out = tmp_path / "out.exr"
    command = ["merge", *map(str, paths), "-o", str(out), "--ev=-3,0,2", "--device", "cpu"]
    done = CliRunner().invoke(app, [*command, "--exr-type", "float", "--no-preview"])
    assert done.exit_code == 0, done.output
    pixels, header = read_radiance(out)
    assert np.array_equal(merged.radiance, pixels)
    assert merged.peak == header["dfghdr:peak"] == 8.0
    assert merged.clipped.mean() == pytest.approx(header["dfghdr:clippedShare"], abs=1e-6)
    assert merged.report["model"] == header["dfghdr:model"]
    np.testing.assert_allclose(merged.weights.sum(axis=0), 1, rtol=1e-4)


def test_arrays_merge_as_their_files_do(paths, merged):
    arrays = [read_frame(path, Exposure(0.0)).pixels for path in paths]
    again = dfghdr_cli.merge(arrays[::-1], stops=STOPS[::-1], device="cpu")
    assert np.array_equal(again.radiance, merged.radiance)
    assert again.weights is None


def test_linear_arrays_are_taken_as_light():
    truth = np.random.default_rng(0).uniform(0.02, 0.9, (48, 64, 3)).astype(np.float32)
    frames = [truth / 4, np.minimum(truth * 4, 1)]
    merger = dfghdr_cli.Merger(method="classic")
    found = merger.merge(frames, times=(1 / 64, 1 / 4), reference=1, align="none")
    assert found.report["response"]["kind"] == "linear"
    np.testing.assert_allclose(found.radiance, truth / 4, rtol=2e-3)


def test_what_is_saved_is_what_there_is(merged, tmp_path):
    path = merged.save(tmp_path / "out.exr")
    pixels, header = read_radiance(path)
    np.testing.assert_allclose(pixels, merged.radiance, rtol=1e-3, atol=1e-4)
    assert header["dfghdr:reference"] == merged.report["reference"]
    assert merged.save(tmp_path / "out.jpg").stat().st_size > 1000
    with pytest.raises(OutputExistsError):
        merged.save(path)
    with pytest.raises(OutputError, match="format"):
        merged.save(tmp_path / "out.xyz")


def test_tone_mapping(merged):
    picture = dfghdr_cli.tone_map(merged, "reinhard")
    assert picture.shape == merged.radiance.shape
    assert 0 <= picture.min() < picture.max() <= 1
    assert not np.array_equal(picture, dfghdr_cli.tone_map(merged.radiance, exposure=1.0))
    with pytest.raises(ValueError, match="nonsense"):
        dfghdr_cli.tone_map(merged.radiance, "nonsense")


GREY = np.full((8, 8, 3), 99, np.uint8)


@pytest.mark.parametrize(
    ("photographs", "options"),
    [
        ([GREY, GREY], {}),
        ([GREY], {"stops": [0]}),
        ([GREY, GREY], {"stops": [0, np.nan]}),
        ([GREY, GREY[:4]], {"stops": [0, 1]}),
        ([GREY[..., 0], GREY[..., 0]], {"stops": [0, 1]}),
        ([GREY, "a.jpg"], {"stops": [0, 1]}),
        ([GREY, GREY], {"stops": [0, 1], "reference": 3}),
    ],
)
def test_what_is_no_bracket_is_said(photographs, options):
    with pytest.raises(InputError):
        dfghdr_cli.merge(photographs, method="classic", **options)
