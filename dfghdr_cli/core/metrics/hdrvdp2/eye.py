"""The eye before and after the retina: optics, receptors and contrast sensitivity.

Source: Mantiuk, Kim, Rempel and Heidrich, "HDR-VDP-2: a calibrated visual metric for visibility and
quality predictions in all luminance conditions", ACM Trans. Graph. 30(4), 40, 2011; parameters of
release 2.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.fft import fft, fftfreq, ifft, irfft, rfft, rfftfreq

from dfghdr_cli.core.metrics.hdrvdp2.tables import CSF, CSF_LUMINANCE

Curve = NDArray[np.float64]

LOG_LUMINANCE = (-5.0, 5.0)
"""Where light is between, in powers of ten [log10 cd/m2]."""
_RECEPTOR_SAMPLES = 2048
_CSF_SAMPLES = 256
_RECEPTOR_GAIN = 0.006894596
"""Samples of the tables over light, and the gain of the receptors (release 2.2)."""

_STRAY = 0.061466549455263
_DIRECT = 0.9972737002377707
_MTF = (
    (0.426 * _DIRECT, 0.028),
    (0.574 * _DIRECT, 0.37),
    ((1 - _DIRECT) * _STRAY, 37.0),
    ((1 - _DIRECT) * (1 - _STRAY), 360.0),
)
"""Weights and widths [cycles per degree] of the exponentials that make the optics (release 2.2)."""


def frequencies(height: int, width: int, ppd: float, device: torch.device) -> Tensor:
    """Spatial frequency of every coefficient of `rfft2`.

    Args:
        height: rows of the picture [pixels].
        width: its columns, an even number.
        ppd: pixels per degree.
        device: where to put it.

    Returns:
        (height, width // 2 + 1) float64 [cycles/degree].
    """
    rows = fftfreq(height, 1 / ppd, dtype=torch.float64, device=device)
    columns = rfftfreq(width, 1 / ppd, dtype=torch.float64, device=device)
    return torch.hypot(rows[:, None], columns)


def transfer(frequency: Tensor) -> Tensor:
    """Contrast that the optics of the eye let through, 1 at frequency 0.

    Args:
        frequency: any shape [cycles/degree].

    Returns:
        The same shape, in (0, 1].
    """
    passed = torch.zeros_like(frequency)
    for share, fall in _MTF:
        passed += share * torch.exp(-fall * frequency)
    return passed


def filtered(image: Tensor, response: Tensor, surround: float) -> Tensor:
    """Filter a picture with another picture's worth of a constant to its right and below.

    Args:
        image: (B, H, W) float64.
        response: (2 H, W + 1) or (B, 2 H, W + 1) float64, real, as `frequencies(2 H, 2 W)` lays it
            out.
        surround: the constant.

    Returns:
        (B, H, W) float64.
    """
    height, width = image.shape[-2:]
    # Relative to the surround what lies outside is zero: rows of it need no transform.
    rows = rfft(image - surround, 2 * width)
    spectrum = fft(rows, 2 * height, dim=-2) * response
    inside = ifft(spectrum, dim=-2)[:, :height]
    constant = surround * response[..., :1, :1]
    return irfft(inside, 2 * width)[:, :, :width] + constant


@dataclass(frozen=True, slots=True)
class Receptors:
    """Response of photoreceptors to light, tabulated evenly in log10 over `LOG_LUMINANCE`.

    Attributes:
        cone: (2048,) float64, of L and M cones alike; 0 at the dark end.
        rod: (2048,) float64.
    """

    cone: Curve
    rod: Curve


@lru_cache(maxsize=8)
def receptors(peak_sensitivity: float, rod_sensitivity: float) -> Receptors:
    """Integrate the sensitivities of the receptors into their responses.

    Args:
        peak_sensitivity: log10 of the eye's largest sensitivity to contrast.
        rod_sensitivity: log10 of a factor on the sensitivity of rods.

    Returns:
        The responses.
    """
    log_light = np.linspace(*LOG_LUMINANCE, _RECEPTOR_SAMPLES)
    light = 10.0**log_light
    joint = 30.162 * ((4.0627 / light) ** 1.6596 + 1) ** -0.2712
    distance = np.abs(np.log10(light / 1.1732))
    rod = 10.0 ** (1.1414 + rod_sensitivity) * np.where(
        light > 1.1732,
        np.exp(-(distance**2.9899) / 0.5547),
        np.exp(-(distance**1.2167) / 1.1478),
    )
    # Both classes of cones together are what rods leave of the joint sensitivity; grey light
    # excites each with half of it.
    both = np.maximum(joint - rod, 1e-3)
    cone = 0.5 * np.interp(np.minimum(2 * light, light[-1]), light, both)
    gain = _RECEPTOR_GAIN / 10.0**-peak_sensitivity

    def response(sensitivity: Curve) -> Curve:
        steps = np.diff(log_light) * np.log(10) * (sensitivity[1:] + sensitivity[:-1]) / 2
        return gain * np.concatenate([[0.0], np.cumsum(steps)])

    return Receptors(response(cone), response(rod))


def contrast_sensitivity(frequency: Tensor, luminance: Tensor) -> Tensor:
    """Neural contrast sensitivity: that of the eye without its optics and receptors.

    Args:
        frequency: float64 [cycles/degree], broadcast against `luminance`.
        luminance: that the eye is adapted to [cd/m2]; outside 0.002 to 150 the nearer end counts.

    Returns:
        float64, 0 at frequency 0.
    """
    knots = np.log10(CSF_LUMINANCE)
    at = luminance.clamp(CSF_LUMINANCE[0], CSF_LUMINANCE[-1]).log10()
    p1, p2, p3, p4 = (
        torch.as_tensor(np.interp(at.cpu().numpy(), knots, column), device=frequency.device)
        for column in np.array(CSF).T
    )
    rise = -torch.expm1(-((frequency / 7) ** 2))
    return p4 * (rise**p3 / (1 + (p1 * frequency) ** p2)).sqrt()


def sensitivity_curve(frequency: float) -> Curve:
    """`contrast_sensitivity` at one frequency, tabulated evenly in log10 over `LOG_LUMINANCE`.

    Args:
        frequency: [cycles/degree].

    Returns:
        (256,) float64. The original program interpolates in this table, which moves the result a
        little.
    """
    light = torch.logspace(*LOG_LUMINANCE, _CSF_SAMPLES, dtype=torch.float64)
    return contrast_sensitivity(torch.tensor(frequency, dtype=torch.float64), light).numpy()


def look_up(curve: Curve, log_light: Tensor) -> Tensor:
    """Interpolate linearly in a curve tabulated over `LOG_LUMINANCE`.

    Args:
        curve: (N,) float64.
        log_light: any shape, float64 [log10 cd/m2]; beyond the ends the nearer end counts.

    Returns:
        The same shape.
    """
    low, high = LOG_LUMINANCE
    values = torch.from_numpy(curve).to(log_light.device)
    at = (log_light.clamp(low, high) - low) * ((len(curve) - 1) / (high - low))
    index = at.long().clamp_(max=len(curve) - 2)
    return torch.lerp(values[index], values[index + 1], at - index)
