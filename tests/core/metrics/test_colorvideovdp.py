import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dfghdr_cli.core.metrics import colorvideovdp as module
from dfghdr_cli.core.metrics.colorvideovdp import colorvideovdp
from dfghdr_cli.errors import MissingPackageError


@pytest.fixture(autouse=True)
def fresh_metric():
    module._metric.cache_clear()
    yield
    module._metric.cache_clear()


def scene():
    return np.random.default_rng(0).random((32, 48, 3))


def test_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycvvdp", None)
    with pytest.raises(MissingPackageError, match="the extra 'cvvdp'"):
        colorvideovdp(scene(), scene())


def test_says_what_is_wrong_where_the_package_does_not_load(monkeypatch, tmp_path):
    (tmp_path / "pycvvdp.py").write_text("raise RuntimeError('no torchvision::nms')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pycvvdp", raising=False)
    with pytest.raises(MissingPackageError, match=r"no torchvision::nms.*of one build"):
        colorvideovdp(scene(), scene())


def test_shows_pictures_in_cd_per_m2_on_the_hdr_screen(monkeypatch):
    seen = {}

    class Metric:
        def __init__(self, **settings):
            seen.update(settings)

        def predict(self, test, reference, dim_order):
            seen.update(test=test, reference=reference, order=dim_order)
            return torch.tensor(9.5), None

    monkeypatch.setitem(sys.modules, "pycvvdp", SimpleNamespace(cvvdp=Metric))
    assert colorvideovdp(scene() / 2, scene()) == 9.5
    assert seen["display_name"] == "standard_hdr_linear"
    assert seen["order"] == "HWC"
    np.testing.assert_allclose(seen["reference"], 1500 * scene(), rtol=1e-6)
    np.testing.assert_allclose(seen["test"], 750 * scene(), rtol=1e-6)
    assert seen["test"].dtype == np.float32


def test_the_package_itself():
    """Where it is installed and loads."""
    pytest.importorskip("pycvvdp", exc_type=(ImportError, RuntimeError))
    noise = np.random.default_rng(1).normal(size=scene().shape)
    values = [colorvideovdp(scene() * (1 + s * noise), scene()) for s in (0.0, 0.05, 0.5)]
    assert values[0] == pytest.approx(10)
    assert values == sorted(values, reverse=True)


def test_refuses():
    with pytest.raises(ValueError, match="cannot be compared"):
        colorvideovdp(scene(), scene()[:-1])
