from dataclasses import replace

import numpy as np
import pytest

from dfghdr_cli.core.metrics import perceptual
from dfghdr_cli.core.metrics.fidelity import measure_fidelity
from dfghdr_cli.core.metrics.flip import hdr_flip
from dfghdr_cli.core.metrics.hdrvdp2 import hdrvdp2
from dfghdr_cli.core.metrics.perceptual import PERCEPTUAL_METRICS, Perceptual
from dfghdr_cli.core.metrics.pu21 import pu21_psnr
from dfghdr_cli.errors import MissingPackageError

RANDOM = np.random.default_rng(4)
TRUTH = (2.0 ** RANDOM.uniform(-9, 0, (40, 52, 3))).astype(np.float32)
RESULT = (TRUTH * RANDOM.uniform(0.8, 1.3, TRUTH.shape)).astype(np.float32)
CLIPPED = np.clip(RESULT, 0, 1)


def test_the_figures_are_those_of_clipped_pictures():
    values = Perceptual(ppd=20.0).measure(RESULT, TRUTH)
    assert list(values) == [metric.key for metric in PERCEPTUAL_METRICS]
    expected = hdrvdp2(CLIPPED, TRUTH, ppd=20.0, maps=False).quality
    assert values["hdr_vdp2"] == pytest.approx(expected, abs=1e-4)
    errors = hdr_flip(CLIPPED, TRUTH)
    assert values["hdr_flip"] == pytest.approx(errors.mean())
    assert values["hdr_flip_p99"] == pytest.approx(np.percentile(errors, 99))
    assert values["cvvdp_jod"] is None


def test_what_vdp_sees_moves_its_number_and_is_told():
    """Linear light is decoded a second time under the field's custom."""
    custom, light = Perceptual(hdr_flip=False), Perceptual(True, False, False, "rgb-bt.709", 100.0)
    ghost = TRUTH.copy()
    ghost[8:32, 10:40] *= np.float32(0.5)
    numbers = [replace(one, ppd=20.0).measure(ghost, TRUTH)["hdr_vdp2"] for one in (custom, light)]
    assert abs(numbers[0] - numbers[1]) > 1
    assert custom.view((1500, 1000)).startswith("sRGB-display, linear [0, 1] times 1, 26.76 pixels")
    assert "rgb-bt.709, linear [0, 1] times 100" in light.view()
    assert "24 inch, 0.5 m" in light.view()


def test_pu21_is_of_the_linear_picture_and_not_of_8_bits():
    """Two pictures that one 8-bit preview could stand for differ all the same."""
    other = TRUTH * np.float32(1.0005)
    value = measure_fidelity(other, TRUTH).values["pu21_psnr"]
    assert value == pytest.approx(pu21_psnr(np.clip(other, 0, 1), TRUTH), abs=0.01)
    assert 60 < value < 110


def test_what_cannot_be_found_is_none(monkeypatch):
    def missing(*_):
        raise MissingPackageError("no such package")

    monkeypatch.setattr(perceptual, "hdr_flip", missing)
    values = Perceptual().measure(RESULT[:16], TRUTH[:16])
    assert set(values.values()) == {None}
    monkeypatch.setattr(perceptual, "colorvideovdp", missing)
    with pytest.raises(MissingPackageError):
        Perceptual(cvvdp=True).check()
