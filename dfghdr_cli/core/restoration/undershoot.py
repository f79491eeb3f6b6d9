"""Dark fringes beside very bright places, told by a brighter frame.

Sharpening and resampling undershoot beside what is far brighter: round a window or a lamp a frame
then has a fringe, a pixel or two wide, that is much too dark, down to black. In a single frame it
looks like any dark line. In a bracket the reference tells: where the reference is clipped, a darker
frame must see at least the reference's white. One that sees far less shows either another thing,
which the merge decides, or such a fringe, which its neighbours repair.
"""

from __future__ import annotations

import cv2
import numpy as np

from dfghdr_cli.core.clipping import largest_channel
from dfghdr_cli.core.encoding import GAMMA
from dfghdr_cli.core.types import FloatImage, Mask
from dfghdr_cli.core.worth import CLEAN, Worth, is_white

TOO_DARK = 0.3
"""Radiance below which a frame contradicts the reference's white, which is 1
(docs/notes/experiments.md, Fringes)."""
BRIGHT = 0.9
"""Gamma code of the frame itself from which on a place makes a fringe."""
REACH = 2
"""How far a fringe reaches from there, and a repair from its pixel, at most [pixels]."""


def has_undershoot(
    code: FloatImage, reference: FloatImage, stops: float, worth: Worth = CLEAN
) -> bool:
    """Whether `repair_undershoot` might change anything: much faster.

    Args: as for `repair_undershoot`, of a darker frame.
    """
    return bool(_contradiction(code, is_white(reference, worth), stops).any())


def repair_undershoot(
    code: FloatImage,
    trust: FloatImage,
    reference: FloatImage,
    stops: float,
    worth: Worth = CLEAN,
) -> FloatImage:
    """A darker frame without its fringes where the reference is clipped.

    A pixel of a fringe becomes the mean of those of its eight neighbours that agree with a clipped
    reference; without any it stays. It depends on pixels up to `REACH` away.

    Args:
        code: (H, W, 3) float32 gamma codes in [0, 1] of the frame, aligned to the reference.
        trust: (H, W) float32 in [0, 1]; pixels with 0 are not there.
        reference: (H, W, 3) likewise, of the reference.
        stops: exposure of the frame relative to the reference [stops].
        worth: of the reference's codes.

    Returns:
        (H, W, 3) float32 in [0, 1]; `code` itself where nothing is to be done.
    """
    if stops >= 0:
        return code
    there = trust > 0
    white = is_white(reference, worth)
    wrong = _contradiction(code, white, stops) & there
    if not wrong.any():
        return code
    square = np.ones((2 * REACH + 1, 2 * REACH + 1), np.uint8)
    fringe = wrong & (cv2.dilate(largest_channel(code), square) >= BRIGHT)
    agrees = white.any(axis=2) & ~wrong & there
    weight = agrees.astype(np.float32)
    share = cv2.blur(weight, (3, 3))
    fringe &= share > 0.05  # one of nine
    mean = cv2.blur(code * weight[..., None], (3, 3))
    repaired = code.copy()
    repaired[fringe] = mean[fringe] / share[fringe][:, None]
    return repaired


def _contradiction(code: FloatImage, white: Mask, stops: float) -> Mask:
    """Where a darker frame is too dark in a channel in which the reference is clipped: (H, W)."""
    least = np.float32((TOO_DARK * 2.0**stops) ** (1.0 / GAMMA))
    wrong = (code < least) & white
    return wrong[..., 0] | wrong[..., 1] | wrong[..., 2]
