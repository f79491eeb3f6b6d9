"""A painted picture as a decision how to merge the real frames.

DFGNet paints every pixel, and each is a little off. Yet its picture tells what the scene showed
where the reference cannot, because it is clipped. So a candidate counts where it agrees with the
reference, or, where that is clipped, with the picture; and the picture itself counts only where no
frame is usable. The result is what the camera saw, as with DFGMerge, and a small picture guides the
merge of a large one.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dfghdr_cli.core.encoding import mu_law
from dfghdr_cli.nets.candidates import Candidates, Hypothesis
from dfghdr_cli.nets.compose import Decision, compose
from dfghdr_cli.nets.weights import whiteness

OF_REFERENCE = 0.02
"""Difference from the reference, after the mu-law, that costs a candidate a factor of exp(-1/2): a
quarter of a stop of all but the darkest light. Noise and calibrated responses are off by less
(docs/notes/experiments.md, DFGNet as a guide)."""
OF_PICTURE = 0.03
"""The same of the picture, which is itself off by nearly as much."""
WINDOW = 3
"""Side of the squares over which differences are averaged, lest noise decide [pixels]."""
_ROWS = 128
"""Rows that are worked on at a time."""


def guide(picture: Tensor, candidates: Candidates) -> Decision:
    """How to merge candidates so that the result shows what the reference and the picture show.

    The logits are -(d / tolerance)**2 / 2 for the difference d of a candidate, after the mu-law,
    eq. (10), in the worst channel, averaged over WINDOW x WINDOW pixels. It is the difference from
    the reference, free of noise as far as that is known, or, as far as that is clipped, from the
    picture. The correction is what the result then still lacks.

    Args:
        picture: (1, 3, H, W) in network space [0, 1].
        candidates: one bracket of the same size.
    """
    aim, painted = _aim(picture, candidates)
    height, columns = aim.shape[-2], slice(None)
    strips = [slice(start, start + _ROWS) for start in range(0, height, _ROWS)]
    difference = torch.empty_like(candidates.trust)
    for rows in strips:
        seen = mu_law(candidates.crop(rows, columns).radiance())
        difference[..., rows, :] = (seen - aim[:, None, :, rows]).abs().amax(2, keepdim=True)
    tolerance = OF_REFERENCE + (OF_PICTURE - OF_REFERENCE) * _mean(painted)
    logits = (_mean(difference[0]) / tolerance).square()[None] / -2.0
    correction = torch.empty_like(aim)
    for rows in strips:
        part = Decision(logits[..., rows, :], torch.zeros_like(aim[..., rows, :]))
        merged = compose(candidates.crop(rows, columns), part).merged
        correction[..., rows, :] = aim[..., rows, :] - mu_law(merged)
    return Decision(logits, correction)


def _aim(picture: Tensor, candidates: Candidates) -> tuple[Tensor, Tensor]:
    """What the result is to show after the mu-law (1, 3, H, W), and how far it is painted.

    The latter, (1, 1, H, W) in [0, 1], is how far the reference is clipped.
    """
    smoothed = [h is Hypothesis.SMOOTHED for h in candidates.hypotheses]
    own = smoothed.index(True) if any(smoothed) else 0
    seen = mu_law(candidates.radiance(slice(own, own + 1))[:, 0])
    painted = whiteness(candidates, slice(0, 1))[:, 0].amax(1, keepdim=True)
    return torch.lerp(seen, mu_law(picture.clamp(0.0, 1.0)), painted), painted


def _mean(planes: Tensor) -> Tensor:
    """Of the squares of WINDOW pixels around each pixel of (N, C, H, W)."""
    return F.avg_pool2d(planes, WINDOW, 1, WINDOW // 2, count_include_pad=False)
