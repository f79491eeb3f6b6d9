import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dfghdr_cli.core.tonemap import inverse_mu_law, mu_law


def test_closed_form():
    x = np.array([0.0, 0.001, 0.5, 1.0, 3.0])
    expected = [math.log(1 + 5000 * v) / math.log(5001) for v in x]
    np.testing.assert_allclose(mu_law(x), expected, rtol=1e-12)
    assert mu_law(x)[0] == 0
    assert mu_law(x)[3] == 1


@given(st.floats(0, 16), st.floats(1, 1e5))
def test_inverse(value, mu):
    x = np.array([value])
    np.testing.assert_allclose(inverse_mu_law(mu_law(x, mu), mu), x, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("curve", [mu_law, inverse_mu_law])
def test_torch_agrees_with_numpy_and_keeps_the_type(curve):
    x = np.linspace(0, 1, 11, dtype=np.float32)
    ours = curve(torch.from_numpy(x))
    assert isinstance(ours, torch.Tensor)
    assert ours.dtype == torch.float32
    assert curve(x).dtype == np.float32
    np.testing.assert_allclose(ours.numpy(), curve(x), rtol=1e-5, atol=1e-7)


def test_gradient_reaches_the_tensor():
    x = torch.tensor([0.25], requires_grad=True)
    mu_law(x).sum().backward()
    assert x.grad is not None
    expected = 5000 / (1 + 5000 * 0.25) / math.log(5001)
    assert float(x.grad[0]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("mu", [0.0, -1.0, math.nan])
def test_refuses_a_mu_that_is_not_positive(mu):
    with pytest.raises(ValueError, match="mu"):
        mu_law(np.zeros(1), mu)
    with pytest.raises(ValueError, match="mu"):
        inverse_mu_law(np.zeros(1), mu)


def test_numpy_use_leaves_torch_unloaded():
    code = (
        "import sys, numpy, dfghdr_cli.core.tonemap as t; t.mu_law(numpy.ones(2));"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
