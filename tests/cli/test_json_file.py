"""--json-file replaces nothing that the command reads, whatever --overwrite says."""

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from dfghdr_cli import modelstore
from dfghdr_cli.cli.app import app
from dfghdr_cli.core.types import RadianceImage
from dfghdr_cli.io.radiance import write_radiance
from dfghdr_cli.nets.registry import build

SMALL = {"width": 4, "disentangle_width": 4, "code_length": 8}
MERGE = ("--ev", "0,2", "--method", "classic", "--align", "none", "-o", "out.exr")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Two photographs, a linear picture, a response, a model and settings."""
    monkeypatch.chdir(tmp_path)
    shown = np.random.default_rng(1).uniform(0.2, 0.8, (32, 48, 3))
    (tmp_path / "shots").mkdir()
    for name in ("a.tif", "b.tif", "shots/a.tif", "shots/b.tif"):
        tifffile.imwrite(name, np.uint8(255 * shown ** (2 if "b" in name else 1)))
    write_radiance(tmp_path / "a.exr", RadianceImage(shown.astype(np.float32), 1.0))
    modelstore.save_model(tmp_path / "model", build("dfgnet", SMALL))
    (tmp_path / "r.csv").write_text("code,exposure\n0,0\n1,1\n")
    (tmp_path / "dfghdr.toml").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "read"),
    [
        (("merge", "a.tif", "b.tif", *MERGE), "a.tif"),
        (("merge", "shots", *MERGE), "shots/b.tif"),
        (("merge", "a.tif", "b.tif", *MERGE, "--response", "r.csv"), "r.csv"),
        (("merge", "a.tif", "b.tif", "-o", "out.exr", "-m", "model"), "model/config.json"),
        (("merge", "shots", "--batch", "--by-folder", "--dry-run"), "shots/a.tif"),
        (("tonemap", "a.exr", "-o", "out.jpg"), "a.exr"),
        (("models", "show", "model"), "model/config.json"),
        (("models", "verify", "model"), "model/model.safetensors"),
        (("config", "show"), "dfghdr.toml"),
    ],
)
def test_it_replaces_nothing_that_is_read(place, arguments, read):
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    done = CliRunner().invoke(app, [*arguments, "--json-file", read, "--overwrite"])
    assert done.exit_code == 7, done.output
    assert f"{read} is a file that this command reads" in done.stderr
    assert before == {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
