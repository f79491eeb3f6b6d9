"""Which frame was used where, as a picture that can be read at a glance."""

from __future__ import annotations

import numpy as np

from dfghdr_cli.core.types import FloatImage, Mask

_REFERENCE = (0.85, 0.85, 0.85)
_NOTHING = (0.0, 0.0, 0.0)
# From the frame next to the reference to the one furthest from it.
_DARKER = ((0.60, 0.80, 0.98), (0.05, 0.25, 0.75))
_BRIGHTER = ((0.99, 0.80, 0.45), (0.80, 0.15, 0.05))


def frame_colors(count: int, reference: int) -> FloatImage:
    """One colour a frame: light grey is the reference, blue is darker, orange to red is brighter.

    The further a frame is from the reference, the deeper its colour.

    Args:
        count: of frames, sorted from dark to bright.
        reference: index of the reference.

    Returns:
        (count, 3) float32, encoded for a screen, in [0, 1].
    """
    colors = np.empty((count, 3), np.float32)
    colors[reference] = _REFERENCE
    for steps, (near, far), sign in (
        (reference, _DARKER, -1),
        (count - 1 - reference, _BRIGHTER, 1),
    ):
        for step in range(1, steps + 1):
            share = (step - 1) / (steps - 1) if steps > 1 else 1.0
            colors[reference + sign * step] = np.array(near) + share * np.subtract(far, near)
    return colors


def ghost_map(weights: FloatImage, reference: int, clipped: Mask) -> FloatImage:
    """The frames' colours, mixed as the frames were; black where no frame shows the scene.

    Args:
        weights: (N, H, W) each frame's share of a pixel, summing to 1.
        reference: index of the reference.
        clipped: (H, W) bool, white in every frame.

    Returns:
        (H, W, 3) float32, encoded for a screen, in [0, 1].
    """
    colors = frame_colors(len(weights), reference)
    picture = np.tensordot(weights, colors, axes=(0, 0)).astype(np.float32, copy=False)
    picture[clipped] = _NOTHING
    return np.clip(picture, 0, 1, out=picture)
