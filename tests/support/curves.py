"""Tone curves as cameras have them, and what an 8-bit JPEG leaves; tests and benchmarks draw them.

A curve goes from linear light in [0, 1] to codes in [0, 1], both float64.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Curve = Callable[[Floats], Floats]

QUALITY = 92


def srgb(light: Floats) -> Floats:
    """IEC 61966-2-1."""
    power = 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055
    return np.where(light <= 0.0031308, 12.92 * light, power)


def gamma(light: Floats) -> Floats:
    """Equation (7)."""
    return light ** (1 / 2.2)


def contrast(code: Floats, amount: float) -> Floats:
    """An S-curve: part of the way to the smooth step."""
    return (1 - amount) * code + amount * code**2 * (3 - 2 * code)


def srgb_contrast(light: Floats) -> Floats:
    """SRGB with an S-curve, the usual "standard" picture style."""
    return contrast(srgb(light), 0.6)


def log_contrast(light: Floats) -> Floats:
    """Log with an S-curve."""
    return contrast(np.log1p(60 * light) / np.log1p(60), 0.6)


def filmic(light: Floats) -> Floats:
    """Toe and shoulder (Hable 2010, Uncharted 2), then gamma 2.2."""

    def hable(x: Floats) -> Floats:
        return (x * (0.22 * x + 0.03) + 0.002) / (x * (0.22 * x + 0.3) + 0.06) - 0.01 / 0.3

    return np.clip(hable(4 * light) / hable(np.array(4.0)), 0, 1) ** (1 / 2.2)


def soft_contrast(light: Floats) -> Floats:
    """SRGB with a faint S-curve: hard to tell from sRGB."""
    return contrast(srgb(light), 0.2)


def flat(light: Floats) -> Floats:
    """A power law with deep shadows and an early shoulder (Reinhard-like)."""
    return (light * 1.6 / (light + 0.6)) ** 0.6


CURVES: dict[str, Curve] = {
    "srgb": srgb,
    "gamma": gamma,
    "srgb-s": srgb_contrast,
    "srgb-s-": soft_contrast,
    "log-s": log_contrast,
    "filmic": filmic,
    "flat": flat,
}


def jpeg(code: Floats) -> NDArray[np.uint8]:
    """What is left of codes (H, W, 3) in [0, 1] after an 8-bit JPEG."""
    pixels = np.rint(code * 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])
