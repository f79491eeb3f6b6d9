"""Brackets of photographs on disk: textured scenes that a hand saw, as JPEGs with EXIF data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

FloatImage = NDArray[np.float32]
SIZE = (240, 320)
MARGIN = 40


def textured_scene(seed: int, size: tuple[int, int] = SIZE) -> FloatImage:
    """Radiance (H + 2 * MARGIN, W + 2 * MARGIN, 3), mostly 0.01 to 3: edges and grain."""
    rng = np.random.default_rng(seed)
    height, width = (side + 2 * MARGIN for side in size)
    level = np.zeros((height, width), np.float32)
    for sigma, strength in ((30.0, 1.2), (6.0, 0.8), (1.5, 0.4)):
        noise = rng.standard_normal((height, width)).astype(np.float32)
        smooth = cv2.GaussianBlur(noise, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
        level += np.float32(strength) * smooth / smooth.std()
    for _ in range(25):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        w, h = (int(side) for side in rng.integers(8, 70, 2))
        level[y : y + h, x : x + w] += np.float32(rng.normal(0, 1.2))
    level -= level.mean()
    tint = rng.uniform(0.7, 1.3, 3).astype(np.float32)
    return np.asarray(np.exp(level - 1.7)[..., None] * tint, np.float32)


def photograph(
    scene: FloatImage,
    stops: float,
    *,
    motion: NDArray[np.float64] | None = None,
    seed: int = 0,
    gamma: float = 2.2,
) -> NDArray[np.uint8]:
    """What a camera stores of a scene with a margin: (H, W, 3) uint8, with noise.

    Args:
        scene: of `textured_scene`.
        stops: exposure; at 0, 1 is white.
        motion: (2, 3), pixel of the photograph -> of an unmoved one; None for the same.
        seed: of the noise.
        gamma: of the camera's tone curve.
    """
    height, width = (side - 2 * MARGIN for side in scene.shape[:2])
    matrix = np.eye(2, 3) if motion is None else motion.copy()
    matrix[:, 2] += MARGIN
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    light = cv2.warpAffine(scene, matrix, (width, height), flags=flags) * np.float32(2.0**stops)
    noise = np.random.default_rng(seed).standard_normal(light.shape, np.float32)
    light = light + noise * np.sqrt(2e-4 * light + 1e-6)
    return np.rint(255 * np.clip(light, 0, 1) ** (1 / gamma)).astype(np.uint8)


def write_jpeg(
    path: Path,
    pixels: NDArray[np.uint8],
    *,
    seconds: float | None = None,
    orientation: int | None = None,
    software: str | None = None,
) -> Path:
    """Write a JPEG with the EXIF data asked for."""
    exif = Image.Exif()
    for tag, value in ((274, orientation), (305, software)):
        if value is not None:
            exif[tag] = value
    if seconds is not None:
        exif.get_ifd(0x8769)[33434] = IFDRational(round(seconds * 100_000_000), 100_000_000)
    Image.fromarray(pixels).save(path, quality=95, exif=exif)
    return path


def write_bracket(
    folder: Path,
    seed: int,
    stops: Sequence[float] = (-2, 0, 2),
    *,
    first: int = 1,
    shift: float = 0,
) -> list[Path]:
    """JPEGs IMG_0001.jpg and so on of one scene, each `shift` pixels further, with their times."""
    scene, paths = textured_scene(seed), []
    for number, stop in enumerate(stops):
        motion = np.array([[1, 0, shift * number], [0, 1, -0.5 * shift * number]])
        pixels = photograph(scene, stop, motion=motion, seed=seed + number)
        path = folder / f"IMG_{first + number:04}.jpg"
        paths.append(write_jpeg(path, pixels, seconds=2.0**stop / 64))
    return paths
