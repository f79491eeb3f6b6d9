"""Brackets of a night scene with truth: a few lamps and a window, from all black to all white.

In the dark frames of such a bracket only what is far beyond the white of the reference is lit:
there is next to nothing by which they could be aligned to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

FloatImage = NDArray[np.float32]
Matrix = NDArray[np.float64]

LEAST_SIDE = 96


@dataclass(frozen=True)
class NightBracket:
    """What a camera makes of a night scene.

    Attributes:
        frames: (H, W, 3) uint8 each, gamma 2.2, 255 = white; dark to bright, after JPEG.
        stops: exposure of each relative to the reference.
        reference: index of the reference.
        motions: (3, 3) each, pixel of the reference -> pixel of the frame.
    """

    frames: list[NDArray[np.uint8]]
    stops: list[float]
    reference: int
    motions: list[Matrix]


def _smooth(rng: np.random.Generator, size: tuple[int, int], sigma: float) -> FloatImage:
    noise = rng.standard_normal(size).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    return np.asarray(noise / noise.std(), np.float32)


def night_scene(
    rng: np.random.Generator, size: tuple[int, int], lamps: int, brightest: float
) -> FloatImage:
    """Radiance (H, W, 3), 1 = white of the reference: walls, a window with texture, lamps.

    Args:
        rng: what everything is drawn from.
        size: (height, width), at least `LEAST_SIDE` each.
        lamps: how many.
        brightest: the largest radiance of a lamp [stops above the white of the reference].
    """
    height, width = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    level = 1.3 * _smooth(rng, size, 14) + 0.8 * _smooth(rng, size, 4) + 0.4 * _smooth(rng, size, 1)
    scene = np.exp2(level - 4.5)[..., None] * rng.uniform(0.7, 1.3, 3).astype(np.float32)
    side = min(size) // 4  # a window with what is behind it, about white in the reference
    top, left = (int(rng.integers(0, length - side)) for length in size)
    pane = np.exp2(0.8 * _smooth(rng, (side, side), 2) + rng.uniform(-0.5, 1.5))
    scene[top : top + side, left : left + side] = pane[..., None] * (0.7, 0.9, 1.2)
    for _ in range(lamps):
        cx, cy = rng.uniform(0, width), rng.uniform(0, height)
        radius, power = rng.uniform(1.5, 5.0), 2.0 ** rng.uniform(brightest - 4, brightest)
        far = np.hypot(x - cx, y - cy) / radius
        glow = power * np.exp(-(np.minimum(far, 9) ** 2)) + 0.02 * power / (1 + far**3)
        scene += glow[..., None].astype(np.float32) * (1.0, 0.8, 0.5)
    return scene.astype(np.float32)


def develop(
    rng: np.random.Generator, radiance: FloatImage, stops: float, quality: int = 92
) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 as a camera stores it: photon and read noise, gamma 2.2, JPEG."""
    light = radiance * np.float32(2.0**stops)
    light += rng.standard_normal(light.shape, np.float32) * np.sqrt(2e-4 * light + 2e-7)
    code = np.rint(255 * np.clip(light, 0, 1) ** (1 / 2.2)).astype(np.uint8)
    _, stored = cv2.imencode(".jpg", code[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, quality))
    return np.ascontiguousarray(cv2.imdecode(stored, cv2.IMREAD_COLOR)[..., ::-1])


def shaken(rng: np.random.Generator, size: tuple[int, int], pixels: float) -> Matrix:
    """A shift by about so many pixels and a slight turn about the middle."""
    angle, (dx, dy) = rng.normal(0, 0.004), rng.normal(0, pixels, 2)
    c, s = np.cos(angle), np.sin(angle)
    x, y = size[1] / 2, size[0] / 2
    return np.array([[c, -s, x - c * x + s * y + dx], [s, c, y - s * x - c * y + dy], [0, 0, 1]])


def night_bracket(
    seed: int,
    stops: Sequence[float] = (-9, -6, -3, 0, 3),
    size: tuple[int, int] = (320, 480),
    shake: float = 0.0,
) -> NightBracket:
    """A bracket whose darkest frames show but a few lit pixels.

    Args:
        seed: of everything that is drawn.
        stops: exposures relative to the reference, which is the frame with 0.
        size: (height, width).
        shake: how far the hand moves between frames [pixels]; 0 = a tripod.
    """
    rng = np.random.default_rng(seed)
    margin = 24
    wide = size[0] + 2 * margin, size[1] + 2 * margin
    scene = night_scene(rng, wide, int(rng.integers(2, 9)), rng.uniform(4, -min(stops) + 1))
    home = np.array([[1, 0, margin], [0, 1, margin], [0, 0, 1.0]])
    reference = list(stops).index(0)
    frames, motions = [], []
    for number, stop in enumerate(stops):
        moved = shake > 0 and number != reference
        motion = shaken(rng, size, shake) if moved else np.eye(3)
        # Pixel of the frame -> pixel of the reference -> of the scene.
        place = home @ np.linalg.inv(motion)
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        seen = cv2.warpPerspective(np.sqrt(scene), place, size[::-1], flags=flags) ** 2
        frames.append(develop(rng, np.asarray(seen, np.float32), stop))
        motions.append(motion)
    return NightBracket(frames, [float(stop) for stop in stops], reference, motions)
