"""Gamma codes and linear light, eq. (3) and (7), and the mu-law, eq. (10)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.types import FloatImage

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    Image = TypeVar("Image", NDArray[np.floating], torch.Tensor)
else:
    Image = TypeVar("Image")

GAMMA = 2.2
"""Exponent of eq. (7) of the paper: linear = code ** 2.2."""
LEAST_LINEAR = 1e-8
LEAST_CODE = LEAST_LINEAR ** (1.0 / GAMMA)
"""Black: below it the power has no gradient."""
MU = 5000.0


def encode(linear: NDArray[np.floating]) -> FloatImage:
    """Inverse of eq. (7) at the frame's own exposure: clip(linear, 0, 1) ** (1 / 2.2).

    Args:
        linear: any shape, 1 = the frame's white.

    Returns:
        The code, float32 in [0, 1], same shape.
    """
    clipped = np.clip(linear, 0.0, 1.0).astype(np.float32, copy=False)
    return np.power(clipped, np.float32(1.0 / GAMMA))


def decode(code: FloatImage) -> FloatImage:
    """Eq. (7) at the frame's own exposure: code ** 2.2, the inverse of `encode`.

    Args:
        code: any shape, gamma codes in [0, 1].

    Returns:
        Linear values, float32 in [0, 1], 1 = the frame's white.
    """
    return np.power(code, np.float32(GAMMA))


def decode_tensor(code: Tensor) -> Tensor:
    """Eq. (7) without the exposure: code ** 2.2, any shape, in [0, 1]."""
    return code.clamp_min(0.0).pow(GAMMA)


def encode_tensor(linear: Tensor) -> Tensor:
    """Inverse of `decode_tensor`, clipped to [0, 1] as a frame of that exposure would be."""
    return linear.clamp(LEAST_LINEAR, 1.0).pow(1.0 / GAMMA)


def re_expose(linear: Image, stops: Image | float) -> Image:
    """Y'_i of eq. (3), clip(H * t_i) ** (1 / 2.2): the codes that a frame of that exposure has.

    Args:
        linear: any shape.
        stops: log2 of the exposure t_i, for which `linear` 1 is white at 0; of a shape that fits.

    Returns:
        Gamma codes in [0, 1].
    """
    if isinstance(linear, np.ndarray):
        return encode(linear * np.exp2(np.asarray(stops, np.float32)))
    return encode_tensor(linear * 2.0**stops)


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
    if isinstance(x, np.ndarray) and x.dtype == np.float32:
        # Up to 1e-7 off, and seven times faster than log1p.
        return np.log(x * np.float32(mu) + np.float32(1.0)) / np.float32(scale)
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
