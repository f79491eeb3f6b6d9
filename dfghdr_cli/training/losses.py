"""What training minimises, by the names and equations of the paper, and our terms beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dfghdr_cli.core.encoding import mu_law


def reconstruction_loss(decoded: Tensor, wanted: Tensor) -> Tensor:
    """Eq. (1) and (4): the sum over the frames of what decoded and wanted images differ by.

    Args:
        decoded: (B, K, 3, H, W) gamma codes of K frames: of eq. (1) D(E_sp(X_i), E_ex(X_i)), of
            eq. (4) D(E_sp(X_2), E_ex(X_i)).
        wanted: of eq. (1) X_i, of eq. (4) Y'_i.

    Returns:
        A scalar; |.|_1 is the mean over pixels.
    """
    return decoded.shape[1] * (decoded - wanted).abs().mean()


def perceptual_loss(
    decoded: Tensor, wanted: Tensor, distance: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Eq. (2) and (5): the same sum of a distance of Gram matrices; see `reconstruction_loss`.

    Args:
        decoded: (B, K, 3, H, W) gamma codes.
        wanted: likewise.
        distance: of (n, 3, H, W), see `training.perceptual.PerceptualDistance`.
    """
    return decoded.shape[1] * distance(decoded.flatten(0, 1), wanted.flatten(0, 1))


def disentangle_loss(
    reconstruction: tuple[Tensor, Tensor], perceptual: tuple[Tensor, Tensor] | None, weight: float
) -> Tensor:
    """Eq. (6), L_DIS: (1) + (4) + weight * ((2) + (5)).

    Args:
        reconstruction: of eq. (1) and (4).
        perceptual: of eq. (2) and (5), or None without them.
        weight: of these.
    """
    loss = reconstruction[0] + reconstruction[1]
    return loss if perceptual is None else loss + weight * (perceptual[0] + perceptual[1])


def tone_mapped_l1(estimate: Tensor, truth: Tensor) -> Tensor:
    """Eq. (11), L_DFG: the mean absolute difference of two HDR images after the mu-law, eq. (10).

    Args:
        estimate: (B, 3, H, W) in network space [0, 1].
        truth: likewise.
    """
    return (mu_law(estimate) - mu_law(truth)).abs().mean()


@dataclass(frozen=True, slots=True)
class MergeLossConfig:
    """Weights of the second stage's loss.

    The paper's is the L1 term alone, eq. (11); the others are ours.

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
    """Eq. (11) and our terms beside it; a scalar.

    Args:
        estimate: (B, 3, H, W) in network space [0, 1].
        truth: likewise.
        config: the terms' weights.
    """
    loss = tone_mapped_l1(estimate, truth)
    if config.squared or config.logarithm:
        error = mu_law(estimate) - mu_law(truth)
        squared = error.square().mean((1, 2, 3))
        loss = loss + config.squared * squared.mean()
        loss = loss + config.logarithm * torch.log10(squared + 1e-5).mean()
    return loss
