import sys
from importlib.util import find_spec

import numpy as np
import pytest

from dfghdr_cli.core.metrics.flip import hdr_flip
from dfghdr_cli.errors import MissingPackageError

installed = pytest.mark.skipif(find_spec("flip_evaluator") is None, reason="needs flip-evaluator")


def scene():
    return np.random.default_rng(0).random((40, 60, 3), np.float32) ** 3


@installed
def test_identical_pictures_give_0():
    assert not hdr_flip(scene(), scene()).any()


@installed
def test_map_shows_where_the_difference_is():
    test = scene()
    test[10:20, 30:40] *= 4
    errors = hdr_flip(test, scene())
    assert errors.shape == (40, 60)
    assert errors.dtype == np.float32
    assert errors[10:20, 30:40].mean() > 0.2
    assert errors[:, :15].max() < 1e-3
    assert errors.max() <= 1


@installed
def test_the_unit_of_radiance_does_not_matter():
    test, reference = scene()[::-1], scene()
    one, other = hdr_flip(test, reference), hdr_flip(8 * test, 8 * reference)
    np.testing.assert_allclose(one, other, atol=1e-3)


@installed
def test_test_and_reference_are_not_exchanged():
    """The exposures come from the reference."""
    dark = scene() / 100
    assert hdr_flip(scene(), dark).mean() != pytest.approx(hdr_flip(dark, scene()).mean(), rel=0.01)


@pytest.mark.parametrize(
    ("test", "reference", "message"),
    [
        (scene()[:-1], scene(), "cannot be compared"),
        (scene()[..., 0], scene()[..., 0], "cannot be compared"),
        (-scene(), scene(), "finite values of at least 0"),
        (scene() * np.nan, scene(), "finite values of at least 0"),
        (scene(), 0 * scene(), "black all over"),
    ],
)
def test_refuses(test, reference, message):
    with pytest.raises(ValueError, match=message):
        hdr_flip(test, reference)


def test_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "flip_evaluator", None)
    with pytest.raises(MissingPackageError, match="pip install flip-evaluator"):
        hdr_flip(scene(), scene())
