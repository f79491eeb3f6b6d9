"""Frames of one exposure become one frame with less noise, before anything else is decided.

Frames that are exposed alike have no range to give each other, only noise to take away; a mean does
that, where they show the same. How well they do is judged in small surroundings against the noise
that most of the picture has: a moved object differs there by more than noise can.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from dfghdr_cli.core.clipping import CLIPPING_STARTS
from dfghdr_cli.core.encoding import decode, encode
from dfghdr_cli.core.types import FloatImage

_AROUND = 5
"""Side of the surroundings over which differences are averaged [pixels]."""
_DOUBT = 1.5
"""Mean difference of the surroundings, over the noise of a pixel, at which a frame counts half."""
_LEVELS = 16
"""Ranges of codes, in each of which the noise is measured by itself."""
_LEAST_NOISE = 0.5 / 255.0
"""Standard deviation of the difference of two frames [codes]: no file is that exact."""
_SAMPLED = 200_000
"""Pixels by which it is measured."""


def fuse(
    leader: FloatImage, others: Sequence[tuple[FloatImage, FloatImage]]
) -> tuple[FloatImage, FloatImage]:
    """Average frames of one exposure where they show what the leader shows.

    Args:
        leader: (H, W, 3) float32 gamma codes in [0, 1].
        others: further frames aligned to it, each with the trust of its pixels (H, W) in [0, 1].

    Returns:
        fused: (H, W, 3) float32 gamma codes in [0, 1], the leader's moment and framing. Where the
            leader is nearly clipped it is the leader.
        shares: (1 + len(others), H, W) float32, each frame's part in it, summing to 1.
    """
    weights = np.stack([np.ones(leader.shape[:2], np.float32)] * (1 + len(others)))
    for weight, (code, trust) in zip(weights[1:], others, strict=True):
        weight[:] = _agreement(leader, code) * trust
    weights /= weights.sum(axis=0)
    mean = weights[0][..., None] * decode(leader)
    for weight, (code, _) in zip(weights[1:], others, strict=True):
        mean += weight[..., None] * decode(code)
    return encode(mean), weights


def _agreement(leader: FloatImage, other: FloatImage) -> FloatImage:
    """(H, W) in [0, 1]: 1 / (1 + (d / (1.5 noise))**4) of the mean difference d around a pixel.

    The worst channel counts, and the worst of 3 x 3 such surroundings, so that the edge of what
    moved is left out, too.
    """
    difference = other - leader
    level = leader.mean(axis=2)
    noise = np.interp(level, *_noise(level, difference)).astype(np.float32)
    around = cv2.blur(difference, (_AROUND, _AROUND))
    ratio = np.abs(around).max(axis=2) / noise
    ratio = np.asarray(cv2.dilate(ratio, np.ones((3, 3), np.uint8)), np.float32)
    agreement = 1.0 / (1.0 + (ratio / _DOUBT) ** 4)
    clipping = leader.max(axis=2) >= CLIPPING_STARTS
    return np.where(clipping, np.float32(0.0), agreement).astype(np.float32)


def _noise(level: FloatImage, difference: FloatImage) -> tuple[list[float], list[float]]:
    """Levels, and the standard deviation of what differs there, both in codes.

    The median tells the noise of what stood still as long as most of a level did.
    """
    step = max(1, round((level.size / _SAMPLED) ** 0.5))
    here = np.minimum(level[::step, ::step] * _LEVELS, _LEVELS - 1).astype(np.intp).ravel()
    size = np.abs(difference[::step, ::step]).reshape(-1, 3)
    overall = max(1.4826 * float(np.median(size)), _LEAST_NOISE)
    levels, noise = [], []
    for index in range(_LEVELS):
        own = size[here == index]
        if len(own) >= 200:
            levels.append((index + 0.5) / _LEVELS)
            # No more than twice the usual: a level that moved as a whole has no noise to show.
            noise.append(min(max(1.4826 * float(np.median(own)), _LEAST_NOISE), 2.0 * overall))
    return (levels, noise) if levels else ([0.5], [overall])
