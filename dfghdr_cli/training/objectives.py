"""What the two stages of training minimise, as modules from a batch of samples to a scalar.

An objective holds the network, so that what runs it (one process or several) sees one module.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from dfghdr_cli.core.tonemap import mu_law
from dfghdr_cli.nets.candidates import Candidates, code_from_linear
from dfghdr_cli.nets.dfg import Role
from dfghdr_cli.nets.disentangle import from_signed, to_signed
from dfghdr_cli.nets.registry import Network
from dfghdr_cli.training.config import TrainConfig
from dfghdr_cli.training.losses import merge_loss
from dfghdr_cli.training.perceptual import PerceptualDistance
from dfghdr_cli.training.synth import to_candidates

Batch = dict[str, Tensor]
Terms = dict[str, Tensor]
"""Parts of a loss, for the log; "error" is never negative, and small when all is well."""


def restore(network: Network, candidates: Candidates) -> tuple[Tensor, Tensor | None]:
    """The HDR image (B, 3, H, W) in network space, and the merge before its correction if any."""
    if network.paints:
        return network(candidates), None
    merge = network(candidates)
    return merge.radiance, merge.merged


def re_exposed(truth: Tensor, candidates: Candidates) -> Tensor:
    """Y'_i of eq. (3): the codes the frames would have, had nothing moved; (B, K, 3, H, W).

    The published code re-exposes the truth, clips it and encodes it: clip(H * t_i)^(1/2.2).

    Args:
        truth: (B, 3, H, W) in network space [0, 1].
        candidates: give the exposures.
    """
    gain = torch.exp2(candidates.stops) * candidates.peak[:, None]
    return code_from_linear(truth[:, None] * gain[..., None, None, None])


def disentangle_cases(network: Network, batch: Batch) -> tuple[Tensor, Tensor, int]:
    """What stage disentangle looks at.

    Args:
        network: decides in which size its encoders see images.
        batch: collated samples.

    Returns:
        X_i and Y'_i, each (B, K, 3, h, w) gamma codes of the K frames from dark to bright, and
        which of them is the reference.
    """
    frames = to_candidates(batch).still()
    targets = replace(frames, code=re_exposed(batch["truth"], frames))
    reference = frames.roles.index(Role.REFERENCE)
    return network.images(frames), network.images(targets), reference


def decode_frames(
    network: Network, images: Tensor, reference: int
) -> tuple[Tensor, Tensor, Tensor, list[int]]:
    """D(E_sp(X_i), E_ex(X_i)) and D(E_sp(X_2), E_ex(X_i)) as gamma codes, not clipped.

    Args:
        network: with its decoder.
        images: X_i, (B, K, 3, h, w) gamma codes.
        reference: index of X_2.

    Returns:
        The first for all i, (B, K, 3, h, w); the second for all i but the reference,
        (B, K - 1, 3, h, w); E_sp(X_2), (B, C, h / 8, w / 8); and those i.
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
    return own, other, here, others


def spatial_change(code: Tensor, other: Tensor) -> Tensor:
    """How far a spatial code is from another of the same scene: a scalar.

    The mean absolute difference in standard deviations of the first code, each channel's over the
    picture; these carry no gradient, so that no code can become similar by becoming large.

    Args:
        code: (B, C, h, w).
        other: (B, C, h, w).
    """
    deviation = code.detach().std((2, 3), keepdim=True) + 1e-5
    return ((other - code) / deviation).abs().mean()


class LinearProbe(nn.Module):
    """How well a number can be told from codes linearly: R2 of the best linear predictor.

    The moments it is computed from are moving averages over batches; the gradient goes through
    the present batch's part, at the strength that it would have if that were all.
    """

    MEMORY = 50
    """Batches that the averages reach back."""
    RIDGE = 1e-3
    """Share of the codes' mean variance that is added to all variances."""

    def __init__(self, length: int) -> None:
        super().__init__()
        size = length + 1
        self.register_buffer("first", torch.zeros(size))
        self.register_buffer("second", torch.zeros(size, size))
        self.register_buffer("batches", torch.zeros(()))
        self.first: Tensor
        self.second: Tensor
        self.batches: Tensor

    def forward(self, codes: Tensor, numbers: Tensor) -> Tensor:
        """R2, about 0 to 1.

        Args:
            codes: (n, length).
            numbers: (n,), what to tell from them.
        """
        both = torch.cat([codes.float(), numbers[:, None].float()], 1)
        self.batches += 1
        share = 1.0 / self.batches.clamp(max=self.MEMORY)
        first = torch.lerp(self.first, both.mean(0), share)
        second = torch.lerp(self.second, both.T @ both / len(both), share)
        self.first, self.second = first.detach(), second.detach()
        covariance = second - first[:, None] * first
        among, along, own = covariance[:-1, :-1], covariance[:-1, -1], covariance[-1, -1]
        ridge = self.RIDGE * among.diagonal().mean().detach() + 1e-12
        eye = torch.eye(len(along), device=along.device)
        told = along @ torch.linalg.solve(among + ridge * eye, along) / (own + 1e-12)
        return told.detach() + (told - told.detach()) / share


class DisentangleObjective(nn.Module):
    """L_DIS of eq. (6): reconstruction (1), (4) and perceptual (2), (5) terms.

    With `TrainConfig.invariance`, two terms of ours are added. E_sp must find in the re-exposed
    truth Y'_i what it finds in X_2, which shows the same scene. And a scene's exposure must not be
    linearly told from the spatial code's averages: nothing in eq. (6) asks for that, since AdaIN
    discards them before D sees them.

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
        tail = network.disentangle.tail
        if tail is None:
            raise ValueError("stage disentangle needs a network with a decoder")
        self.probe = LinearProbe(tail.tail.out_channels)

    def trained(self) -> Iterator[nn.Parameter]:
        """The parameters that this stage trains."""
        disentangle = self.network.disentangle
        for part in (disentangle.tail, disentangle.decoder):
            assert part is not None  # see __init__
            yield from part.parameters()
        if self.config.stage != "disentangle" or self.config.encoders != "frozen":
            yield from disentangle.exposure.parameters()
            yield from disentangle.spatial.parameters()

    def forward(self, batch: Batch) -> tuple[Tensor, Terms]:
        """Loss of a collated batch of samples."""
        images, targets, reference = disentangle_cases(self.network, batch)
        with trunk_precision(images.device, self.config):
            own, other, spatial, others = decode_frames(self.network, images, reference)
        own, other, targets = own.float(), other.float(), targets[:, others]
        count = images.shape[1]
        recon1 = count * (own - images).abs().mean()
        recon2 = len(others) * (other - targets).abs().mean()
        loss = recon1 + recon2
        terms = {"error": loss, "recon1": recon1, "recon2": recon2}
        if self.perceptual is not None:
            per1 = count * self.perceptual(own.flatten(0, 1), images.flatten(0, 1))
            per2 = len(others) * self.perceptual(other.flatten(0, 1), targets.flatten(0, 1))
            loss = loss + self.config.perceptual * (per1 + per2)
            terms |= {"per1": per1, "per2": per2}
        if self.config.invariance:
            with trunk_precision(images.device, self.config):
                found = self.network.disentangle.spatial_code(to_signed(targets.flatten(0, 1)))
            here = spatial[:, None].expand(-1, len(others), -1, -1, -1).flatten(0, 1)
            change = len(others) * spatial_change(here.float(), found.float())
            frames = to_candidates(batch).still()
            # Within each scene: what differs between scenes may hide what an exposure changes.
            stops = frames.stops[:, [reference, *others]]
            pooled = torch.cat([spatial[:, None], found.unflatten(0, (-1, len(others)))], 1)
            pooled = pooled.float().mean((3, 4))
            told = self.probe(
                *((x - x.mean(1, keepdim=True)).flatten(0, 1) for x in (pooled, stops))
            )
            loss = loss + self.config.invariance * (change + told)
            terms |= {"change": change, "told": told}
        return loss, {name: term.detach() for name, term in terms.items()}


def encoders_frozen(network: Network, config: TrainConfig) -> bool:
    """Whether stage merge leaves the encoders alone: "auto" does if they come with a decoder."""
    if config.encoders == "auto":
        return network.disentangle.decoder is not None
    return config.encoders == "frozen"


class MergeObjective(nn.Module):
    """L_DFG of eq. (11) with our terms beside it (`MergeLossConfig`)."""

    def __init__(self, network: Network, config: TrainConfig) -> None:
        super().__init__()
        self.network = network
        self.config = config
        self.frozen = encoders_frozen(network, config)

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
            radiance, merged = restore(self.network, candidates)
        loss = merge_loss(radiance.float(), truth, config)
        if merged is not None and config.merged:
            loss = loss + config.merged * merge_loss(merged.float(), truth, config)
        with torch.no_grad():
            error = (mu_law(radiance.float().clamp(0.0, 1.0)) - mu_law(truth)).abs().mean()
        return loss, {"error": error}


Objective = DisentangleObjective | MergeObjective


def trunk_precision(device: torch.device, config: TrainConfig) -> torch.autocast:
    """A context in which the networks' convolutions compute in the configured precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16")
