"""A narrower network out of a trained one, to begin its training with.

What a merge costs is mostly convolutions, and their cost goes with the square of their channels.
Of each group of channels that the larger network computes, those stay that its loss depends on most
(first-order Taylor expansion: Molchanov et al. 2019, "Importance Estimation for Neural Network
Pruning"). After that the network must be trained again; see `objectives.MergeObjective`, which can
let it learn from the larger one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from dfghdr_cli.nets.dfg import Role
from dfghdr_cli.nets.dfgmerge import DFGMerge, DFGMergeConfig

Group = str
"""A name for channels that stay or go together."""


def is_narrower(narrow: DFGMergeConfig, wide: DFGMergeConfig) -> bool:
    """Whether networks differ in nothing but that the one has fewer channels somewhere."""
    sizes = [(*config.width, config.disentangle_width) for config in (narrow, wide)]
    alike = replace(wide, width=narrow.width, disentangle_width=narrow.disentangle_width) == narrow
    return alike and sizes[0] != sizes[1] and all(a <= b for a, b in zip(*sizes, strict=True))


def narrowed(network: DFGMerge, config: DFGMergeConfig, losses: Iterable[Tensor]) -> DFGMerge:
    """A network of fewer channels that is as close to a trained one as its weights allow.

    Args:
        network: the larger one; its gradients are lost.
        config: of the narrower one, see `is_narrower`.
        losses: of the larger network on some batches, made while they are asked for.

    Raises:
        ValueError: if `is_narrower` does not hold.
    """
    if not is_narrower(config, network.config):
        raise ValueError(f"{config} is not narrower than {network.config}")
    narrow = DFGMerge(config)
    before, after = network.state_dict(), narrow.state_dict()
    layout = _layout(network)
    importance = _importance(network, layout, losses)
    sizes = {
        group: after[name].shape[axis]
        for name, axes in layout.items()
        for axis, groups in enumerate(axes)
        if len(groups) == 1
        for group in groups
    }
    kept = {
        group: values.topk(sizes[group]).indices.sort().values
        for group, values in importance.items()
    }
    with torch.no_grad():
        for name, value in before.items():
            for axis, groups in enumerate(layout.get(name, ())):
                if groups:
                    value = value.index_select(axis, _indices(groups, kept, importance))
            after[name].copy_(value)
    return narrow


def _indices(
    groups: tuple[Group, ...], kept: dict[Group, Tensor], importance: dict[Group, Tensor]
) -> Tensor:
    """The channels that stay of a concatenation of groups."""
    parts, offset = [], 0
    for group in groups:
        parts.append(kept[group] + offset)
        offset += len(importance[group])
    return torch.cat(parts)


def _importance(
    network: DFGMerge, layout: dict[str, tuple[tuple[Group, ...], ...]], losses: Iterable[Tensor]
) -> dict[Group, Tensor]:
    """How much the loss depends on each channel of each group.

    The square of the sum of gradient times weight over all that makes a channel, summed over
    batches.
    """
    parameters = dict(network.named_parameters())
    made: dict[str, tuple[int, Group]] = {}
    for name, axes in layout.items():
        axis = 1 if name in _TRANSPOSED else 0
        if axes[axis]:
            made[name] = axis, axes[axis][0]
    total = {
        group: parameters[name].new_zeros(parameters[name].shape[axis], dtype=torch.float64)
        for name, (axis, group) in made.items()
    }
    for loss in losses:
        network.zero_grad(set_to_none=True)
        loss.backward()
        now: dict[Group, Tensor] = {}
        for name, (axis, group) in made.items():
            parameter = parameters[name]
            if parameter.grad is None:  # an encoder that without its units nothing reads
                continue
            # Far from the output gradients are small, and their squares too small for float32.
            effect = (parameter.grad.double() * parameter.detach()).movedim(axis, 0)
            effect = effect.reshape(len(effect), -1).sum(1)
            now[group] = now.get(group, 0) + effect
        for group, effect in now.items():
            total[group] += effect.square()
    return total


_TRANSPOSED = ("up3.conv.weight", "up2.conv.weight")
"""Weights whose second axis, not the first, is that of the channels they make."""


def _layout(network: DFGMerge) -> dict[str, tuple[tuple[Group, ...], ...]]:
    """For each parameter, and each of its first axes, the groups whose channels lie along it."""
    layout: dict[str, tuple[tuple[Group, ...], ...]] = {}

    def conv(name: str, out: tuple[Group, ...], into: tuple[Group, ...]) -> None:
        layout[f"{name}.weight"] = out, into
        layout[f"{name}.bias"] = (out,)

    def stage(name: str, out: Group, *into: Group) -> None:
        conv(f"{name}.conv", (out,), into)
        layout[f"{name}.act.weight"] = ((out,),)

    def upsample(name: str, out: Group, into: Group) -> None:
        layout[f"{name}.conv.weight"] = (into,), (out,)
        layout[f"{name}.conv.bias"] = layout[f"{name}.act.weight"] = ((out,),)

    exposure, spatial = "disentangle.exposure", "disentangle.spatial"
    before: tuple[Group, ...] = ()
    for layer in ("head", "down1", "down2", "down3", "down4"):
        conv(f"{exposure}.{layer}", (f"{exposure}.{layer}",), before)
        before = (f"{exposure}.{layer}",)
    conv(f"{exposure}.project", (), before)
    before = ()
    for layer, norm in (("head", "norm1"), ("down1", "norm2"), ("down2", None)):
        tap = f"{spatial}.{layer}"
        conv(tap, (tap,), before)
        before = (tap,)
        if norm:
            for name in ("gain", "offset"):
                layout[f"{spatial}.{norm}.{name}"] = (before,)
    taps = [f"{spatial}.{layer}" for layer in ("head", "down1", "down2")]
    before, merged = (), []
    for index, tap in enumerate(taps):
        features = f"encoder.{index}"
        common, guide = f"{features}.common", f"{features}.guide"
        dfg, unit = f"encoder.merge.{index}", f"encoder.merge.{index}.spatial"
        for role in Role:
            stage(f"encoder.stages.{index}.{role.value}", features, *before)
            conv(f"{dfg}.exposure.dense.{role.value}", (features,), ())
            conv(f"{unit}.gate.{role.value}", (features,), (common, guide))
        conv(f"{unit}.common", (common,), (features,))
        conv(f"{unit}.guide", (guide,), (tap,))
        before = (features,)
        units = network.config.eau + network.config.sau
        merged.append((features,) * units)
    fine, middle, coarse = merged
    stage("bottom", "bottom", *coarse)
    upsample("up3", "up3", "bottom")
    stage("join2", "join2", "up3", *middle)
    upsample("up2", "up2", "join2")
    stage("join1", "join1", "up2", *fine)
    stage("head1", "head1", *fine[:1], "join1")
    conv("head2", (), ("head1",))
    stage("correct1", "correct1", "join1")
    conv("correct2", (), ("correct1",))
    there = network.state_dict()
    return {name: axes for name, axes in layout.items() if name in there}
