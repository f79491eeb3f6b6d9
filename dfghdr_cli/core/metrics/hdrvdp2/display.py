"""From pixel values to the light of a display, and the size of a pixel as the eye sees it."""

from __future__ import annotations

from collections.abc import Callable
from math import atan, degrees, hypot

import torch
from torch import Tensor

SCREEN_INCH = 24.0
"""Diagonal of the screen in most published figures [inch]."""
DISTANCE_M = 0.5
"""Viewing distance in most published figures [m]."""

_XYZ_TO_RGB = (
    (3.240708, -1.537259, -0.498570),
    (-0.969257, 1.875995, 0.041555),
    (0.055636, -0.203996, 1.057069),
)


def pixels_per_degree(
    width: int, height: int, screen_inch: float = SCREEN_INCH, distance_m: float = DISTANCE_M
) -> float:
    """Pixels in one degree of the visual field, for a picture that fills a screen.

    Args:
        width: of the picture [pixels]; the screen has the picture's shape.
        height: likewise.
        screen_inch: diagonal of the screen [inch].
        distance_m: from eye to screen [m].

    Returns:
        Pixels per degree at the middle of the screen.
    """
    screen_height_m = 0.0254 * screen_inch * height / hypot(width, height)
    return height / degrees(2 * atan(0.5 * screen_height_m / distance_m))


def _luma(value: Tensor) -> Tensor:
    return 99 * value**2.2 + 1


def _srgb(value: Tensor) -> Tensor:
    bright = ((value + 0.055) / 1.055) ** 2.4
    light = 99 * torch.where(value > 0.04045, bright, value / 12.92) + 1
    return torch.where(value.isnan(), torch.ones_like(light), light)


def _as_it_is(value: Tensor) -> Tensor:
    return value


def _xyz(value: Tensor) -> Tensor:
    return torch.einsum("rx,bxhw->brhw", value.new_tensor(_XYZ_TO_RGB), value)


ENCODINGS: dict[str, tuple[int, Callable[[Tensor], Tensor]]] = {
    "sRGB-display": (3, _srgb),
    "rgb-bt.709": (3, _as_it_is),
    "XYZ": (3, _xyz),
    "luminance": (1, _as_it_is),
    "luma-display": (1, _luma),
}
"""By encoding: how many channels a picture has, and what makes light of (B, C, H, W) values.

`sRGB-display` and `luma-display` are code values of a display from 1 to 100 cd/m2, 1 its white;
`rgb-bt.709` is linear RGB, `luminance` and `XYZ` are themselves, all three in cd/m2.
"""

ABSOLUTE = ("rgb-bt.709", "XYZ", "luminance")
"""Encodings in cd/m2: values that never exceed 1 are most likely meant otherwise."""
