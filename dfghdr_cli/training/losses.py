"""What training minimises."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dfghdr_cli.core.encoding import mu_law


@dataclass(frozen=True, slots=True)
class MergeLossConfig:
    """Weights of the second stage's loss.

    The paper's is the L1 term alone (eq. 11); the others are ours.

    Attributes:
        squared: weight of the mean squared error, which punishes ghosts more than noise.
        logarithm: weight of the log of each sample's mean squared error, i.e. of its PSNR: easy
            scenes then count as much as hard ones.
        merged: weight of the same terms on the convex merge before the correction.
    """

    squared: float = 5.0
    logarithm: float = 0.004
    merged: float = 0.3


PAPER_MERGE_LOSS = MergeLossConfig(squared=0.0, logarithm=0.0, merged=0.0)
"""Eq. (11) and nothing else."""


def merge_loss(estimate: Tensor, truth: Tensor, config: MergeLossConfig) -> Tensor:
    """Distance of two HDR images after the mu-law (eq. 10); a scalar.

    Args:
        estimate: (B, 3, H, W) in network space [0, 1].
        truth: likewise.
        config: the terms' weights.
    """
    error = mu_law(estimate) - mu_law(truth)
    loss = error.abs().mean()
    if config.squared or config.logarithm:
        squared = error.square().mean((1, 2, 3))
        loss = loss + config.squared * squared.mean()
        loss = loss + config.logarithm * torch.log10(squared + 1e-5).mean()
    return loss
