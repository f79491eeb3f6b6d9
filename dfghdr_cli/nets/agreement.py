"""How well candidates agree with what is known of the scene: evidence beside a network's own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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


def reference_clipped(candidates: Candidates) -> Tensor:
    """How far the reference is clipped in any channel, (B, 1, H, W) in [0, 1]."""
    return whiteness(candidates, slice(0, 1))[:, 0].amax(1, keepdim=True)


@dataclass(frozen=True, slots=True)
class Evidence:
    """A picture that tells what the scene showed.

    Attributes:
        shown: (B, 3, H, W), the picture after the mu-law.
        slack: (B, 3, H, W), what it may be off by: that is no difference.
        share: (B, 1, H, W) in [0, 1]: how far it is known; what differences count for.
        tolerance: difference that costs a candidate a factor of exp(-1/2).
    """

    shown: Tensor
    slack: Tensor
    share: Tensor
    tolerance: float


def strips(height: int) -> list[slice]:
    """Rows that are worked on at a time."""
    return [slice(start, start + _ROWS) for start in range(0, height, _ROWS)]


def agreement(candidates: Candidates, evidence: Sequence[Evidence]) -> Tensor:
    """Logits by how well candidates agree with pictures: (B, K, 1, H, W), at most 0.

    They are the sum of -(d / tolerance)**2 / 2 for the difference d from each picture after the
    mu-law, eq. (10), in the worst channel, averaged over WINDOW x WINDOW pixels.
    """
    differences = [torch.empty_like(candidates.trust) for _ in evidence]
    for rows in strips(candidates.code.shape[-2]):
        seen = mu_law(candidates.crop(rows, slice(None)).radiance())
        for difference, known in zip(differences, evidence, strict=True):
            away = (seen - known.shown[:, None, :, rows]).abs() - known.slack[:, None, :, rows]
            worst = away.amax(2, keepdim=True).clamp_min(0.0)
            difference[..., rows, :] = worst * known.share[:, None, :, rows]
    logits = torch.zeros_like(candidates.trust)
    for difference, known in zip(differences, evidence, strict=True):
        flat = difference.flatten(0, 1)
        mean = F.avg_pool2d(flat, WINDOW, 1, WINDOW // 2, count_include_pad=False)
        logits -= (mean.unflatten(0, difference.shape[:2]) / known.tolerance).square() / 2.0
    return logits


def of_reference(candidates: Candidates, clipped: Tensor, tolerance: float) -> Evidence:
    """The reference, its noise smoothed, as far as it is not clipped.

    There it tells what the scene showed: what differs plainly has moved. It may be off by what its
    codes may (`code_tolerance`): dark ones of 8 bits tell little but that it is dark.

    Args:
        candidates: the brackets.
        clipped: see `reference_clipped`.
        tolerance: see `Evidence`; what frames are apart anyway (`Candidates.misfit`) comes on top.
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
    return Evidence(shown, most - shown, 1.0 - clipped, tolerance + STOP * candidates.misfit)
