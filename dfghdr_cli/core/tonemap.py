"""The mu-law curve in which high dynamic range pictures are compared and trained."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

    Image = TypeVar("Image", NDArray[np.floating], torch.Tensor)
else:
    Image = TypeVar("Image")

MU = 5000.0


def mu_law(x: Image, mu: float = MU) -> Image:
    """Compress linear radiance: log(1 + mu x) / log(1 + mu).

    Source: eq. (10) of the method this program implements; first used for this purpose by
    Kalantari and Ramamoorthi, "Deep High Dynamic Range Imaging of Dynamic Scenes", 2017.

    Args:
        x: numpy array or torch tensor of any shape and floating dtype, linear, >= 0, where 1.0 is
            the white of the darkest frame. Nothing is clipped: 0 gives 0, 1 gives 1, more than 1
            gives more than 1, and values at or below -1 / mu are outside the domain.
        mu: strength of the compression, > 0.

    Returns:
        The same kind, shape and dtype as `x`.

    Raises:
        ValueError: `mu` is not positive.
    """
    scale = _log_scale(mu)
    if isinstance(x, np.ndarray | np.generic | float | int):
        return np.log1p(x * mu) / scale
    return (x * mu).log1p() / scale


def inverse_mu_law(y: Image, mu: float = MU) -> Image:
    """Undo `mu_law`: ((1 + mu) ** y - 1) / mu.

    Args:
        y: numpy array or torch tensor of any shape and floating dtype, as `mu_law` returns it.
        mu: the value given to `mu_law`, > 0.

    Returns:
        Linear values of the same kind, shape and dtype as `y`.

    Raises:
        ValueError: `mu` is not positive.
    """
    scale = _log_scale(mu)
    if isinstance(y, np.ndarray | np.generic | float | int):
        return np.expm1(y * scale) / mu
    return (y * scale).expm1() / mu


def _log_scale(mu: float) -> float:
    if not mu > 0:
        raise ValueError(f"mu must be positive, not {mu}")
    return math.log1p(mu)
