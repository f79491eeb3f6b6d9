"""A painted picture as a decision how to merge the real frames.

DFGNet paints every pixel, and each is a little off. Yet its picture tells what the reference shows
and what has moved: a candidate counts where it agrees with the picture, and the picture itself only
where no frame is usable. So the result is what the camera saw, as with DFGMerge, and a small
picture guides the merge of a large one.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dfghdr_cli.core.encoding import mu_law
from dfghdr_cli.nets.candidates import Candidates
from dfghdr_cli.nets.compose import Decision, compose

TOLERANCE = 0.03
"""Difference from the picture, after the mu-law, that costs a candidate a factor of exp(-1/2)
(docs/notes/experiments.md, DFGNet as a guide)."""
WINDOW = 5
"""Side of the squares over which differences are averaged, lest noise decide [pixels]."""
_ROWS = 128
"""Rows that are worked on at a time."""


def guide(picture: Tensor, candidates: Candidates) -> Decision:
    """How to merge candidates so that the result shows what a painted picture shows.

    The logits are -(d / TOLERANCE)**2 / 2 for the difference d of candidate and picture after the
    mu-law, eq. (10), in the worst channel, averaged over WINDOW x WINDOW pixels. The correction is
    what then still lacks to the picture.

    Args:
        picture: (1, 3, H, W) in network space [0, 1].
        candidates: one bracket of the same size.
    """
    toned = mu_law(picture.clamp(0.0, 1.0))
    height, columns = toned.shape[-2], slice(None)
    strips = [slice(start, start + _ROWS) for start in range(0, height, _ROWS)]
    difference = torch.empty_like(candidates.trust)
    for rows in strips:
        seen = mu_law(candidates.crop(rows, columns).radiance())
        difference[..., rows, :] = (seen - toned[:, None, :, rows]).abs().amax(2, keepdim=True)
    mean = F.avg_pool2d(difference[0], WINDOW, 1, WINDOW // 2, count_include_pad=False)[None]
    logits = (mean / TOLERANCE).square() / -2.0
    correction = torch.empty_like(toned)
    for rows in strips:
        part = Decision(logits[..., rows, :], torch.zeros_like(toned[..., rows, :]))
        merged = compose(candidates.crop(rows, columns), part).merged
        correction[..., rows, :] = toned[..., rows, :] - mu_law(merged)
    return Decision(logits, correction)
