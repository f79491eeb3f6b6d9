"""Moving scenes: a background and foreground layers, seen by a camera that shakes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfghdr_cli.core.types import FloatImage

Matrix = NDArray[np.float64]


def _smooth_noise(rng: np.random.Generator, size: int, cells: int, channels: int) -> FloatImage:
    """Band-limited noise (size, size, channels), about N(0, 1), `cells` bumps across."""
    coarse = rng.standard_normal((cells + 3, cells + 3, channels)).astype(np.float32)
    noise = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.asarray(noise, np.float32).reshape(size, size, channels)


def _similarity(centre: Sequence[float], angle: float, scale: float, shift: ArrayLike) -> Matrix:
    """3x3 similarity: rotate [rad] and scale about `centre` (x, y), then shift [pixels]."""
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    x, y = centre
    dx, dy = np.asarray(shift, np.float64)
    return np.array(
        [
            [c, -s, x - c * x + s * y + dx],
            [s, c, y - s * x - c * y + dy],
            [0.0, 0.0, 1.0],
        ]
    )


def draw_shake(rng: np.random.Generator, size: int, shift: float) -> Matrix:
    """A hand-held homography that moves the patch by about `shift` pixels and turns it slightly."""
    middle = size / 2
    matrix = _similarity(
        (middle, middle),
        float(np.deg2rad(rng.normal(0, 0.06 * shift))),
        float(np.exp(rng.normal(0, 4e-4 * shift))),
        rng.normal(0, shift / 1.5, 2),
    )
    matrix[2, :2] = rng.normal(0, 1e-6 * shift, 2)
    return matrix


@dataclass(frozen=True, slots=True)
class Layer:
    """A foreground object: its texture and outline in patch coordinates at rest, and its path."""

    texture: FloatImage  # (S, S, 3), radiance
    alpha: FloatImage  # (S, S)
    centre: tuple[float, float]
    velocity: NDArray[np.float64]  # [pixels per frame interval]
    spin: float  # [rad per frame interval]
    growth: float  # [log scale per frame interval]
    wave: FloatImage  # (S, S, 2) [pixels], grows with time


def view(
    image: NDArray[np.float16], size: int, rng: np.random.Generator, *, permute: bool = True
) -> Callable[[Matrix], FloatImage]:
    """A random camera on an image: a function from patch motion to what it then sees.

    Args:
        image: (H, W, 3), linear.
        size: side of the patch [pixels].
        rng: what the camera is drawn from.
        permute: whether red, green and blue may change places.
    """
    height, width = image.shape[:2]
    # Panoramas are stretched towards the poles: keep to the middle band.
    band = (0.17, 0.83) if width == 2 * height else (0.0, 1.0)
    top, room = height * band[0], height * (band[1] - band[0])
    zoom = float(np.exp(rng.uniform(np.log(0.7), np.log(1.9))))
    zoom = min(zoom, 0.95 * room / size, 0.95 * width / size)
    span = zoom * size
    left = rng.uniform(0, max(width - span, 1e-3))
    upper = top + rng.uniform(0, max(room - span, 1e-3))
    flip = 1.0 if rng.random() < 0.5 else -1.0
    turn = int(rng.integers(4))
    middle = size / 2
    place = np.array([[zoom * flip, 0, left + span / 2], [0, zoom, upper + span / 2], [0, 0, 1]])
    place = place @ _similarity((0, 0), turn * np.pi / 2, 1.0, (0, 0))
    place = place @ np.array([[1, 0, -middle], [0, 1, -middle], [0, 0, 1.0]])
    order = rng.permutation(3)
    if not permute:
        order = np.arange(3)
    # Work on the part of the image that any motion can reach.
    reach = span * 0.75 + 40 * zoom
    x0, x1 = (int(np.clip(left + span / 2 + d * reach, 0, width)) for d in (-1, 1))
    y0, y1 = (int(np.clip(upper + span / 2 + d * reach, 0, height)) for d in (-1, 1))
    part = np.maximum(image[y0:y1, x0:x1][..., order].astype(np.float32), 0.0)
    place = np.array([[1, 0, -x0], [0, 1, -y0], [0, 0, 1.0]]) @ place
    kernel = cv2.INTER_LINEAR if zoom > 1.0 else cv2.INTER_CUBIC

    def see(motion: Matrix) -> FloatImage:
        flags = kernel | cv2.WARP_INVERSE_MAP
        view = cv2.warpPerspective(
            part, place @ motion, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT_101
        )
        return np.maximum(view, 0.0)

    return see


def draw_layer(
    rng: np.random.Generator,
    level: float,
    size: int,
    max_motion: float,
    texture_of: Callable[[np.random.Generator], FloatImage],
) -> Layer:
    """A foreground object.

    Args:
        rng: what it is drawn from.
        level: the median radiance of the background.
        size: side of the patch [pixels].
        max_motion: longest path between two other frames [pixels].
        texture_of: draws its texture, (size, size, 3) linear.
    """
    radius = float(np.exp(rng.uniform(np.log(10), np.log(80))))
    centre = rng.uniform(0.1 * size, 0.9 * size, 2)
    # A star-shaped outline with a random Fourier series, stretched and turned.
    theta = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    outline = np.ones_like(theta)
    roughness = rng.uniform(0.05, 0.45)
    for k in range(1, 7):
        outline += roughness / k * rng.normal() * np.cos(k * theta + rng.uniform(0, 2 * np.pi))
    outline = radius * np.clip(outline, 0.15, 3)
    stretch = np.exp(rng.uniform(-0.8, 0.8) / 2)
    points = np.stack([np.cos(theta) * outline * stretch, np.sin(theta) * outline / stretch], 1)
    angle = rng.uniform(0, np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = points @ turn.T + centre
    mask = np.zeros((size, size), np.uint8)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    alpha = mask.astype(np.float32) / 255
    softness = float(np.exp(rng.uniform(np.log(0.4), np.log(4.0))))
    alpha = np.asarray(cv2.GaussianBlur(alpha, (0, 0), softness), np.float32)
    if rng.random() < 0.15:
        alpha *= rng.uniform(0.5, 0.95)
    texture = texture_of(rng)
    brightness = max(float(np.median(texture)), 1e-12)
    texture *= np.float32(level / brightness * 2.0 ** rng.uniform(-3.5, 3.0))
    speed = float(np.exp(rng.uniform(np.log(1.0), np.log(max_motion / 2))))
    if rng.random() < 0.08:
        speed = 0.0
    direction = rng.uniform(0, 2 * np.pi)
    amplitude = rng.uniform(0.5, 4.0) if rng.random() < 0.5 else 0.0
    wave = _smooth_noise(rng, size, int(rng.integers(2, 6)), 2) * np.float32(amplitude)
    return Layer(
        texture,
        alpha,
        (float(centre[0]), float(centre[1])),
        speed * np.array([np.cos(direction), np.sin(direction)]),
        float(rng.normal(0, 0.06)),
        float(rng.normal(0, 0.03)),
        wave,
    )


def render(
    size: int,
    see: Callable[[Matrix], FloatImage],
    layers: Sequence[Layer],
    shake: Matrix,
    time: float,
) -> FloatImage:
    """Radiance (S, S, 3) of the scene at `time` [frame intervals from the reference]."""
    picture = see(shake)
    for layer in layers:
        # Output pixel -> world (shake) -> layer at rest (inverse of its motion).
        motion = _similarity(
            layer.centre,
            layer.spin * time,
            float(np.exp(layer.growth * time)),
            layer.velocity * time,
        )
        place = np.linalg.inv(motion) @ shake
        both = np.dstack([layer.texture, layer.alpha])
        if time != 0.0 and layer.wave.any():
            grid = np.mgrid[0:size, 0:size].astype(np.float32)
            z = place[2, 0] * grid[1] + place[2, 1] * grid[0] + place[2, 2]
            x = (place[0, 0] * grid[1] + place[0, 1] * grid[0] + place[0, 2]) / z
            y = (place[1, 0] * grid[1] + place[1, 1] * grid[0] + place[1, 2]) / z
            x = (x + layer.wave[..., 0] * time).astype(np.float32)
            y = (y + layer.wave[..., 1] * time).astype(np.float32)
            moved = cv2.remap(both, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        else:
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            moved = cv2.warpPerspective(
                both, place, (size, size), flags=flags, borderMode=cv2.BORDER_CONSTANT
            )
        alpha = moved[..., 3:]
        picture = picture + alpha * (moved[..., :3] - picture)
    return np.asarray(picture, np.float32)
