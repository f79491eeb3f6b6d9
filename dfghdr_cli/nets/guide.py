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

from dfghdr_cli.core.encoding import mu_law
from dfghdr_cli.nets.agreement import (
    Evidence,
    agreement,
    of_reference,
    reference_clipped,
    strips,
)
from dfghdr_cli.nets.candidates import Candidates
from dfghdr_cli.nets.compose import Decision, compose

OF_REFERENCE = 0.02
"""Difference from the reference, after the mu-law, that costs a candidate a factor of exp(-1/2): a
quarter of a stop of all but the darkest light (docs/notes/experiments.md, DFGNet as a guide)."""
OF_PICTURE = 0.03
"""The same of the picture, which is itself off by nearly as much."""


def guide(picture: Tensor, candidates: Candidates) -> Decision:
    """How to merge candidates so that the result shows what the reference and the picture show.

    The logits are their agreement with the reference and, as far as that is clipped, with the
    picture. The correction is what the result then still lacks to the picture.

    Args:
        picture: (1, 3, H, W) in network space [0, 1].
        candidates: one bracket of the same size.
    """
    toned = mu_law(picture.clamp(0.0, 1.0))
    clipped = reference_clipped(candidates)
    reference = of_reference(candidates, clipped, OF_REFERENCE)
    painted = Evidence(toned, torch.zeros_like(toned), clipped, OF_PICTURE)
    logits = agreement(candidates, [reference, painted])
    correction = torch.empty_like(toned)
    for rows in strips(toned.shape[-2]):
        part = Decision(logits[..., rows, :], torch.zeros_like(toned[..., rows, :]))
        merged = compose(candidates.crop(rows, slice(None)), part).merged
        correction[..., rows, :] = toned[..., rows, :] - mu_law(merged)
    return Decision(logits, correction)
