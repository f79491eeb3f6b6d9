"""How well candidates agree with what is known of the scene: evidence beside a network's own."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from dfghdr_cli.core.encoding import MU, decode_tensor, mu_law
from dfghdr_cli.nets.candidates import Candidates, Hypothesis
from dfghdr_cli.nets.features import code_tolerance
from dfghdr_cli.nets.weights import whiteness

WINDOW = 3
"""Side of the squares over which differences are averaged, lest noise decide [pixels]."""
STOP = math.log(2.0) / math.log(1.0 + MU)
"""What a stop is after the mu-law, of all but the darkest light."""
_ROWS = 128
"""Rows that are worked on at a time."""


def reference_clipped(candidates: Candidates) -> Tensor:
    """How far the reference is clipped in any channel, (B, 1, H, W) in [0, 1]."""
    return whiteness(candidates, slice(0, 1))[:, 0].amax(1, keepdim=True)


def agreement(
    candidates: Candidates,
    shown: Tensor,
    share: Tensor,
    tolerance: float,
    slack: Tensor | float = 0.0,
) -> Tensor:
    """Logits by how well candidates agree with a picture: (B, K, 1, H, W), at most 0.

    They are -(d / tolerance)**2 / 2 for the difference d after the mu-law, eq. (10), in the worst
    channel, averaged over WINDOW x WINDOW pixels.

    Args:
        candidates: the brackets.
        shown: (B, 3, H, W), the picture after the mu-law.
        share: (B, 1, H, W) in [0, 1]: how far the picture is known; what differences count for.
        tolerance: difference that costs a candidate a factor of exp(-1/2).
        slack: what the picture may be off by, which is no difference, (B, 3, H, W).
    """
    difference = torch.empty_like(candidates.trust)
    for start in range(0, shown.shape[-2], _ROWS):
        rows, columns = slice(start, start + _ROWS), slice(None)
        seen = mu_law(candidates.crop(rows, columns).radiance())
        away = (seen - shown[:, None, :, rows]).abs()
        away -= slack[:, None, :, rows] if isinstance(slack, Tensor) else slack
        worst = away.amax(2, keepdim=True).clamp_min(0.0)
        difference[..., rows, :] = worst * share[:, None, :, rows]
    flat = difference.flatten(0, 1)
    mean = F.avg_pool2d(flat, WINDOW, 1, WINDOW // 2, count_include_pad=False)
    return (mean.unflatten(0, difference.shape[:2]) / tolerance).square() / -2.0


def reference_agreement(candidates: Candidates, tolerance: float) -> Tensor:
    """`agreement` with the reference, its noise smoothed, as far as it is not clipped.

    There the reference tells what the scene showed: what differs plainly has moved. It may be off
    by what its codes may (`code_tolerance`): dark ones of 8 bits tell little but that it is dark.

    Args:
        candidates: the brackets.
        tolerance: see `agreement`; what frames are apart anyway (`Candidates.misfit`) comes on top.
    """
    smoothed = [h is Hypothesis.SMOOTHED for h in candidates.hypotheses]
    first = smoothed.index(True) if any(smoothed) else 0
    own = slice(first, first + 1)
    code = candidates.code[:, own]
    # The reference's white is 1 / peak.
    scale = candidates.peak[:, None, None, None]
    shown, most = (
        mu_law(decode_tensor(x)[:, 0] / scale)
        for x in (code, code + code_tolerance(candidates, own))
    )
    known = 1.0 - reference_clipped(candidates)
    tolerance += STOP * candidates.misfit
    return agreement(candidates, shown, known, tolerance, most - shown)
