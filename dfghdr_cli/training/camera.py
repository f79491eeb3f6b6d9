"""A camera for synthesised frames: noise, tone curve, rounding, JPEG, and a guess at its curve.

What a camera does to its light is drawn once a scene (`draw_camera`, on a CPU); exposing frames by
it (`expose`) is a few operations of PyTorch on whole batches, on any device.

Half of what matters of a real camera is that nobody knows it exactly. So a frame's codes go through
one curve and come back through another: an estimate that is a little wrong, as the one that a merge
makes of a bracket is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dfghdr_cli.core.encoding import GAMMA
from dfghdr_cli.core.worth import CLEAN, EIGHT_BIT_ERROR, FINE_ERROR, code_worth
from dfghdr_cli.training.jpeg import jpeg
from dfghdr_cli.training.samples import Arrays

FORWARD = 2048
"""Entries of a table from light to a file's codes: evenly spaced in the light's square root."""
INVERSE = 256
"""Entries of a table from a file's codes to gamma codes: one for each of 8 bits."""


def draw_camera(rng: np.random.Generator, frames: int, curved: float) -> Arrays:
    """A random camera.

    Args:
        rng: random numbers.
        frames: F of the bracket; the first is the reference.
        curved: probability that the camera has a tone curve of its own, and not gamma 2.2.

    Returns:
        float32 unless said otherwise: `shot` and `read` () of the noise's variance, shot * linear +
        read ** 2; `levels` (), the codes a file can hold less one; `jpeg` () int64, the quality or
        0; `curved` () bool; `forward` (F, 3, FORWARD), codes in a file; `inverse` (3, INVERSE),
        what they are taken for, gamma codes; `limits` (3, 4) and `tolerance` (3, 2), what these are
        worth (`core.worth.Worth`), told as a merge tells it.
    """
    has_curve = rng.random() < curved
    levels = float(rng.choice([255, 255, 1023, 4095, 65535]))
    is_jpeg = rng.random() < (0.7 if has_curve else 0.2)
    camera: dict[str, Any] = {
        "shot": 10.0 ** rng.uniform(-5.0, -3.3),
        "read": 10.0 ** rng.uniform(-4.0, -2.8),
        "levels": 255.0 if has_curve or is_jpeg else levels,
        "jpeg": rng.integers(75 if has_curve else 85, 99) if is_jpeg else 0,
        "curved": has_curve,
    }
    tables = _curved(rng, frames) if has_curve else _nearly_gamma(rng, frames)
    camera |= tables | _worth(float(camera["levels"]), tables["inverse"])
    kinds = {"jpeg": np.int64, "curved": np.bool_}
    return {name: np.asarray(value, kinds.get(name, np.float32)) for name, value in camera.items()}


def _worth(levels: float, inverse: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """What the codes of files are worth, as far as their bits and the response's estimate tell."""
    codes = np.linspace(0.0, 1.0, INVERSE)

    def response(files: NDArray[np.float64]) -> NDArray[np.float64]:
        each = [np.interp(files[:, c], codes, inverse[c]) for c in range(3)]
        return np.stack(each, axis=1) ** GAMMA

    worth = CLEAN
    if levels < 65535:
        whites = tuple(float(codes[np.argmax(told >= 1.0)]) for told in inverse)
        worth = code_worth(response, EIGHT_BIT_ERROR if levels < 256 else FINE_ERROR, whites)
    return {"limits": worth.limits, "tolerance": worth.tolerance}  # pyright: ignore


def _light() -> NDArray[np.float64]:
    """Gamma codes of the light at the entries of a forward table."""
    return np.linspace(0.0, 1.0, FORWARD) ** (2.0 / GAMMA)


def _nearly_gamma(rng: np.random.Generator, frames: int) -> dict[str, NDArray[np.float64]]:
    """Gamma 2.2, but for residual errors of the response and shadows that are cut off."""
    error = 0.02 if rng.random() < 0.3 else 0.0
    # Many cameras' developing leaves nothing of the deepest shadows, which no curve undoes.
    black = rng.uniform(0.02, 0.1) if rng.random() < 0.25 else 0.0
    powers = np.exp(rng.normal(0.0, 1.0, frames) * error)
    powers[0] = 1.0
    forward = _light() ** powers[:, None]
    forward = np.where(forward < black, 0.0, forward)[:, None].repeat(3, axis=1)
    straight = np.linspace(0.0, 1.0, INVERSE)
    return {"forward": forward, "inverse": np.tile(straight, (3, 1))}


def _curved(rng: np.random.Generator, frames: int) -> dict[str, NDArray[np.float64]]:
    """A developed photograph's curve with a toe and a shoulder, and an estimate of it.

    In gamma codes x the curve is y = x^p / (x^p + m (1 - x)^q): p > 1 is a toe, q > 1 a shoulder,
    and m moves the middle. Measured on real brackets, midtones are 1.2 to 1.5 times as steep as
    gamma 2.2. Black may be cut off or lifted, white below the file's full code.
    """
    toe, shoulder = rng.uniform(0.95, 1.7), rng.uniform(0.85, 1.6)
    middle = np.exp(rng.uniform(np.log(0.35), np.log(1.3)))
    own = np.exp(rng.normal(0.0, 0.03, (3, 3)))  # of each channel
    drift = 0.05 if rng.random() < 0.3 else 0.0  # as automatic tones change from frame to frame
    drifts = np.exp(rng.normal(0.0, 1.0, frames) * drift)
    cut = rng.uniform(0.0, 0.06) if rng.random() < 0.4 else 0.0
    lifted = rng.uniform(0.0, 0.02) if rng.random() < 0.2 else 0.0
    white = rng.uniform(0.92, 1.0) if rng.random() < 0.3 else 1.0

    def curve(x: NDArray[np.float64], drift: float) -> NDArray[np.float64]:
        """(3, len(x)) codes of a file."""
        p, q, m = (own * np.array([[toe], [shoulder], [middle * drift]]))[..., None]
        rising = x**p
        y = rising / (rising + m * (1.0 - x) ** q)
        y = np.clip((y - cut) / (1.0 - cut), 0.0, 1.0)
        return white * (lifted + (1.0 - lifted) * y)

    light = _light()
    forward = np.stack([curve(light, each) for each in drifts])
    # The estimate is of the bracket as a whole, and off by some hundredths of a stop, ever more
    # towards black, where little is known of it.
    fine = np.linspace(0.0, 1.0, 4096)
    codes = np.linspace(0.0, 1.0, INVERSE)
    level = np.exp(rng.uniform(np.log(0.005), np.log(0.08)))
    waves = rng.normal(0.0, level, (3, 3)) + rng.normal(0.0, level, (1, 3))  # channel, wave
    stops = waves @ np.sin(np.pi * np.outer([1, 2, 3], fine))
    stops += rng.normal(0.0, 4.0 * level, (3, 1)) * (1.0 - fine) ** 3
    told = np.clip(fine * np.exp2(stops / GAMMA), 0.0, 1.0)
    told = np.maximum.accumulate(told, axis=1)
    seen = curve(fine, 1.0)
    inverse = np.empty((3, INVERSE))
    for channel in range(3):
        # Where several lights share a code, as in shadows that are cut off, the darkest counts for
        # black and the brightest for white.
        rising = np.flatnonzero(np.diff(seen[channel], append=np.inf) > 0.0)
        inverse[channel] = np.interp(codes, seen[channel][rising], told[channel][rising])
        inverse[channel][codes <= seen[channel][0]] = 0.0
        inverse[channel][codes >= white - 0.5 / 255.0] = 1.0
    return {"forward": forward, "inverse": inverse}


def _between(table: Tensor, position: Tensor) -> Tensor:
    """Tables (n, T) read at positions (n, ...) in [0, 1], in straight lines between entries."""
    count, size = table.shape
    x = position * (size - 1)
    index = x.to(torch.int32).clamp_(max=size - 2)
    x -= index
    shape = (count, *(1,) * (position.dim() - 1))
    index += (torch.arange(count, device=table.device, dtype=torch.int32) * size).view(shape)
    flat, index = table.reshape(-1), index.view(-1)
    low = flat.index_select(0, index).view_as(x)
    high = flat.index_select(0, index.add_(1)).view_as(x)
    return torch.lerp(low, high, x)


def expose(
    radiance: Tensor,
    stops: Tensor,
    camera: Mapping[str, Tensor],
    noise: Tensor,
    qualities: Sequence[int],
    *,
    curved: bool,
) -> Tensor:
    """What is taken for the gamma codes of frames that a camera took.

    Args:
        radiance: (B, F, 3, H, W) float32 >= 0, 1 = white at 0 stops.
        stops: (B, F) exposure.
        camera: of `draw_camera`, stacked to (B, ...).
        noise: like `radiance`, standard normal; changed.
        qualities: B, camera["jpeg"] where a device need not be asked.
        curved: whether any of the cameras has a curve, likewise.

    Returns:
        (B, F, 3, H, W) float32 in [0, 1].
    """
    each = (-1, 1, 1, 1, 1)
    linear = radiance * torch.exp2(stops)[..., None, None, None]
    variance = linear.clamp(0.0, 1.0).mul_(camera["shot"].view(each))
    variance += camera["read"].square().view(each)
    linear += noise.mul_(variance.sqrt_())
    root = linear.clamp_(0.0, 1.0).sqrt_()
    stored = _between(camera["forward"].flatten(0, 2), root.flatten(0, 2)).view_as(root)
    levels = camera["levels"].view(each)
    stored = stored.mul_(levels).round_().div_(levels)
    chosen = [sample for sample, quality in enumerate(qualities) if quality]
    if chosen:
        frames = stored.shape[1]
        of_frames = [qualities[sample] for sample in chosen for _ in range(frames)]
        stored[chosen] = jpeg(stored[chosen].flatten(0, 1), of_frames).unflatten(0, (-1, frames))
    if curved:
        tables = camera["inverse"][:, None].expand(-1, stored.shape[1], -1, -1).flatten(0, 2)
        index = (stored * (INVERSE - 1)).round_().to(torch.int32).flatten(0, 2)
        first = torch.arange(len(tables), device=stored.device, dtype=torch.int32) * INVERSE
        index += first[:, None, None]
        told = tables.reshape(-1).index_select(0, index.view(-1)).view_as(stored)
        return torch.where(camera["curved"].view(each), told, stored)
    return stored
