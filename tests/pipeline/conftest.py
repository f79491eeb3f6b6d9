"""Pictures, photographs and models on disk for the tests of the pipeline."""

import numpy as np
import pytest

from dfghdr_cli import modelfolders
from dfghdr_cli.core.types import RadianceImage
from dfghdr_cli.io.radiance import write_radiance
from tests.support.networks import one_thread  # noqa: F401


@pytest.fixture(autouse=True)
def models_dir(tmp_path_factory, monkeypatch):
    """The only place where models are looked for."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    monkeypatch.setenv(modelfolders.MODELS_DIR_VARIABLE, str(home / "models"))
    monkeypatch.setattr(modelfolders, "__file__", str(home / "package" / "modelstore.py"))
    return home / "models"


@pytest.fixture
def pictures(tmp_path):
    """A folder with two HDR pictures, one of them in a folder of its own."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    for number, name in enumerate(("first.exr", "more/second.hdr")):
        y, x = (axis[..., None] / 24.0 for axis in np.mgrid[0:96, 0:112])
        pixels = np.exp(2.0 * np.sin((1 + 2 * number) * x + np.arange(3)) * np.cos(y))
        write_radiance(folder / name, RadianceImage(pixels.astype(np.float32), 1.0))
    return folder
