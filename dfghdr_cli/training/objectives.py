"""What the two stages of training minimise, as modules from a batch of samples to a scalar.

An objective holds the network, so that what runs it (one process or several) sees one module.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from dfghdr_cli.core.encoding import re_expose
from dfghdr_cli.nets.candidates import Candidates
from dfghdr_cli.nets.compose import Merge
from dfghdr_cli.nets.dfg import Role
from dfghdr_cli.nets.dfgmerge import DFGMerge
from dfghdr_cli.nets.disentangle import from_signed, to_signed
from dfghdr_cli.nets.network import Network, frames_seen
from dfghdr_cli.training.config import TrainConfig
from dfghdr_cli.training.losses import (
    disentangle_loss,
    merge_loss,
    perceptual_loss,
    reconstruction_loss,
    tone_mapped_l1,
)
from dfghdr_cli.training.perceptual import PerceptualDistance
from dfghdr_cli.training.synth import to_candidates

Batch = dict[str, Tensor]
Terms = dict[str, Tensor]
"""Parts of a loss, for the log; "error" is never negative, and small when all is well."""


def restore(network: Network, candidates: Candidates) -> tuple[Tensor, Merge | None]:
    """The HDR image (B, 3, H, W) in network space, and the merge it is of, if any."""
    if network.paints:
        return network(candidates), None
    merge = network(candidates)
    return merge.radiance, merge


def re_exposed(truth: Tensor, candidates: Candidates) -> Tensor:
    """Y'_i of eq. (3): the codes the frames would have, had nothing moved; (B, K, 3, H, W).

    The published code re-exposes the truth, clips it and encodes it: clip(H * t_i)^(1/2.2).

    Args:
        truth: (B, 3, H, W) in network space [0, 1].
        candidates: give the exposures.
    """
    stops = candidates.stops + candidates.peak.log2()[:, None]
    return re_expose(truth[:, None], stops[..., None, None, None])


def disentangle_cases(network: Network, batch: Batch) -> tuple[Tensor, Tensor, int]:
    """What stage disentangle looks at.

    Args:
        network: decides in which size its encoders see images.
        batch: collated samples.

    Returns:
        X_i and Y'_i, each (B, K, 3, h, w) gamma codes of the K frames from dark to bright, and
        which of them is the reference.
    """
    frames = frames_seen(to_candidates(batch), network.inputs)
    targets = replace(frames, code=re_exposed(batch["truth"], frames))
    reference = frames.roles.index(Role.REFERENCE)
    return network.images(frames), network.images(targets), reference


def decode_frames(
    network: Network, images: Tensor, reference: int
) -> tuple[Tensor, Tensor, list[int]]:
    """D(E_sp(X_i), E_ex(X_i)) and D(E_sp(X_2), E_ex(X_i)) as gamma codes, not clipped.

    Args:
        network: with its decoder.
        images: X_i, (B, K, 3, h, w) gamma codes.
        reference: index of X_2.

    Returns:
        The first for all i, (B, K, 3, h, w); the second for all i but the reference,
        (B, K - 1, 3, h, w); and those i.
    """
    disentangle, count = network.disentangle, images.shape[1]
    others = [i for i in range(count) if i != reference]
    flat = to_signed(images.flatten(0, 1))
    codes = disentangle.exposure(flat)
    spatial = disentangle.spatial_code(flat)
    here = spatial.unflatten(0, (-1, count))[:, reference]
    moved = here[:, None].expand(-1, len(others), -1, -1, -1).flatten(0, 1)
    chosen = codes.unflatten(0, (-1, count))[:, others].flatten(0, 1)
    assert disentangle.decoder is not None  # or spatial_code would have refused
    decoded = disentangle.decoder(torch.cat([spatial, moved]), torch.cat([codes, chosen]))
    own, other = from_signed(decoded).split([len(flat), len(moved)])
    own, other = own.unflatten(0, (-1, count)), other.unflatten(0, (-1, len(others)))
    return own, other, others


def tint(images: Tensor) -> Tensor:
    """What sets each channel of images (..., 3, H, W) apart from the mean of the three."""
    return images - images.mean(-3, keepdim=True)


def slopes(images: Tensor) -> Tensor:
    """Differences of images (..., H, W) to the next row and column, (..., 2, H - 1, W - 1)."""
    here = images[..., :-1, :-1]
    return torch.stack([images[..., 1:, :-1] - here, images[..., :-1, 1:] - here], -3)


class DisentangleObjective(nn.Module):
    """L_DIS of eq. (6): reconstruction (1), (4) and perceptual (2), (5) terms.

    With `TrainConfig.colour` what sets the channels apart counts once more: as long as the
    brightness of a pixel is further off than its colour, all three channels err to the same side,
    and (1) and (4) say nothing about its colour. With `TrainConfig.edges` so do the slopes.

    As the only stage and with frozen encoders, only D learns, and that part of E_sp which is there
    for D alone.

    Sums over frames are sums; within a frame, |.|_1 is the mean over pixels of gamma codes in
    [0, 1].
    """

    def __init__(
        self, network: Network, config: TrainConfig, perceptual: PerceptualDistance | None
    ) -> None:
        super().__init__()
        self.network = network
        self.config = config
        self.perceptual = perceptual if config.perceptual else None
        if network.disentangle.decoder is None:
            raise ValueError("stage disentangle needs a network with a decoder")

    def trained(self) -> Iterator[nn.Parameter]:
        """The parameters that this stage trains."""
        disentangle = self.network.disentangle
        parts: list[nn.Module | None] = [disentangle.decoder, disentangle.tail]
        if self.config.stage != "disentangle" or self.config.encoders != "frozen":
            parts += [disentangle.exposure, disentangle.spatial]
        for part in parts:
            assert part is not None  # see __init__
            yield from part.parameters()

    def forward(self, batch: Batch) -> tuple[Tensor, Terms]:
        """Loss of a collated batch of samples."""
        images, targets, reference = disentangle_cases(self.network, batch)
        with trunk_precision(images.device, self.config):
            own, other, others = decode_frames(self.network, images, reference)
        own, other, targets = own.float(), other.float(), targets[:, others]
        recon = reconstruction_loss(own, images), reconstruction_loss(other, targets)
        terms = {"error": recon[0] + recon[1], "recon1": recon[0], "recon2": recon[1]}
        per = None
        if self.perceptual is not None:
            per = (
                perceptual_loss(own, images, self.perceptual),
                perceptual_loss(other, targets, self.perceptual),
            )
            terms |= {"per1": per[0], "per2": per[1]}
        loss = disentangle_loss(recon, per, self.config.perceptual)
        ours = (("colour", self.config.colour, tint), ("edges", self.config.edges, slopes))
        for name, weight, part in ours:
            if weight:
                more = reconstruction_loss(part(own), part(images))
                more = more + reconstruction_loss(part(other), part(targets))
                loss = loss + weight * more
                terms[name] = more
        return loss, {name: term.detach() for name, term in terms.items()}


def encoders_frozen(network: Network, config: TrainConfig) -> bool:
    """Whether stage merge leaves the encoders alone: "auto" does if they come with a decoder."""
    if config.encoders == "auto":
        return network.disentangle.decoder is not None
    return config.encoders == "frozen"


def divergence(weights: Tensor, wanted: Tensor) -> Tensor:
    """Kullback-Leibler divergence of a merge's weights from wanted ones; a scalar.

    Below a thousandth a weight cannot be seen in the picture, and how far below counts for little.

    Args:
        weights: (B, K, 1, H, W), sum 1 over the candidates.
        wanted: likewise.
    """
    ratio = (wanted + 1e-3).log() - (weights + 1e-3).log()
    return (wanted * ratio).sum(1).mean()


class MergeObjective(nn.Module):
    """L_DFG of eq. (11) with our terms beside it (`MergeLossConfig`).

    With a teacher, a trained DFGMerge of any size, the weights of the merge are to be like the
    teacher's, too (Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network").
    """

    def __init__(
        self, network: Network, config: TrainConfig, teacher: DFGMerge | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.config = config
        self.frozen = encoders_frozen(network, config)
        self.teacher = (teacher,)  # not a part of this module, whose parts are trained and wrapped

    def trained(self) -> Iterator[nn.Parameter]:
        """The parameters that this stage trains."""
        for name, parameter in self.network.named_parameters():
            if not name.startswith("disentangle."):
                yield parameter
        if not self.frozen:
            yield from self.network.disentangle.exposure.parameters()
            yield from self.network.disentangle.spatial.parameters()

    def forward(self, batch: Batch) -> tuple[Tensor, Terms]:
        """Loss of a collated batch of samples."""
        truth, config = batch["truth"], self.config.loss
        candidates = to_candidates(batch)
        with trunk_precision(truth.device, self.config):
            radiance, merge = restore(self.network, candidates)
        loss = merge_loss(radiance.float(), truth, config)
        if merge is not None and config.merged:
            loss = loss + config.merged * merge_loss(merge.merged.float(), truth, config)
        with torch.no_grad():
            error = tone_mapped_l1(radiance.float().clamp(0.0, 1.0), truth)
        terms = {"error": error}
        (teacher,) = self.teacher
        if merge is not None and teacher is not None:
            with torch.no_grad():
                wanted = teacher(candidates).weights
            terms["imitation"] = divergence(merge.weights.float(), wanted)
            loss = loss + self.config.imitation * terms["imitation"]
        return loss, {name: term.detach() for name, term in terms.items()}


Objective = DisentangleObjective | MergeObjective


def trunk_precision(device: torch.device, config: TrainConfig) -> torch.autocast:
    """A context in which the networks' convolutions compute in the configured precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16")
