"""Carrying out a decision: the merge of a bracket's real frames, with gradients.

`nets.compose_tiles` does the same on the tiles of large pictures, faster.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dfghdr_cli.core.encoding import inverse_mu_law, mu_law
from dfghdr_cli.nets.candidates import Candidates
from dfghdr_cli.nets.weights import (
    LEAST_LOGIT,
    log_prior,
    overrules,
    raised,
    seen,
    unknown,
    without_clipped,
)


@dataclass(frozen=True, slots=True)
class Decision:
    """How to merge a bracket's candidates; independent of the picture's size.

    Attributes:
        logits: (B, K, 1, H, W), added to the log of the classic weights.
        correction: (B, 3, H, W), added in the mu-law domain where no frame is usable.
    """

    logits: Tensor
    correction: Tensor

    def crop(self, rows: slice, columns: slice) -> Decision:
        """The same decision inside a rectangle."""
        return Decision(self.logits[..., rows, columns], self.correction[..., rows, columns])


@dataclass(frozen=True, slots=True)
class Merge:
    """A merged picture in network space.

    Attributes:
        weights: (B, K, 1, H, W), >= 0, sum 1 over the candidates.
        merged: (B, 3, H, W) in [0, 1], the convex combination of the candidates, and at least
            the reference's white where the reference is clipped.
        radiance: (B, 3, H, W) in [0, 1], with the correction.
    """

    weights: Tensor
    merged: Tensor
    radiance: Tensor


def compose(candidates: Candidates, decision: Decision) -> Merge:
    """Carry out a decision on candidates of the same size."""
    overruled = overrules(candidates)
    sees = seen(candidates, overruled)
    logits = decision.logits - decision.logits.amax(1, keepdim=True)
    weights = (log_prior(candidates) + logits.clamp_min(LEAST_LOGIT)).softmax(1)
    weights = without_clipped(candidates, weights, sees, overruled)
    merged = raised(candidates, (weights * candidates.radiance()).sum(1), weights, sees)
    blind = unknown(candidates, weights, sees)
    toned = (mu_law(merged) + blind * decision.correction).clamp(0.0, 1.0)
    # Known pixels bypass the curve and its inverse: there the result is the merge, exactly.
    radiance = torch.where(blind == 0, merged, inverse_mu_law(toned))
    return Merge(weights, merged, radiance)
