"""A wider network out of a trained one, to begin its training with.

Each channel of the narrower network becomes several equal ones, and what reads them takes a share
of each, so that the wider network computes the same (Chen, Goodfellow and Shlens 2016, "Net2Net:
Accelerating Learning via Knowledge Transfer"). The shares are uneven at random: equal ones would
get equal gradients for ever.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from dfghdr_cli.nets.dfgnet import DFGNet, DFGNetConfig

UNEVENNESS = 0.5
"""Shares are drawn from 1 - this to 1 + this, and then made to sum to 1."""


def times_wider(wide: DFGNetConfig, narrow: DFGNetConfig) -> int | None:
    """How many times as wide a network is as another that is otherwise like it.

    Their decoders may upsample differently, and be of any width.

    Returns:
        At least 2; None if it is not so throughout.
    """
    times = wide.width // narrow.width
    alike = replace(
        narrow,
        width=times * narrow.width,
        disentangle_width=times * narrow.disentangle_width,
        code_length=times * narrow.code_length,
        upsampling=wide.upsampling,
        decoder_width=wide.decoder_width,
    )
    return times if alike == wide and times > 1 else None


@torch.no_grad()
def widened(network: DFGNet, config: DFGNetConfig, *, decoder: bool) -> DFGNet:
    """A network of more channels that computes what a trained one does.

    Its shares come from torch's generator.

    Args:
        network: the narrower one.
        config: of the wider one, see `times_wider`. If its decoder upsamples differently, or is not
            as many times as wide, this has random weights, and so has what makes the spatial code
            for it.
        decoder: whether the wider one has a decoder; random if the narrower one has none.

    Raises:
        ValueError: if the wider one is not a whole number of times as wide.
    """
    times = times_wider(config, network.config)
    if times is None:
        raise ValueError(f"{config} is not a whole number of times as wide as {network.config}")
    wide = DFGNet(config, decoder=decoder)
    wide.inputs = network.inputs
    modules = dict(network.named_modules())
    fresh: tuple[str, ...] = ()
    inner = network.config.decoder_width or network.config.disentangle_width
    as_wide = (config.decoder_width or config.disentangle_width) == times * inner
    if config.upsampling != network.config.upsampling or not as_wide:
        fresh = "disentangle.tail", "disentangle.decoder"
    for path, module in wide.named_modules():
        ours = modules.get(path)
        if ours is None or path.startswith(fresh):
            continue
        reads = 0 if isinstance(module, nn.ConvTranspose2d) else 1
        for name, value in module.named_parameters(recurse=False):
            value.copy_(_spread(ours.get_parameter(name), value.shape, reads))
    return wide


def _spread(value: Tensor, shape: torch.Size, reads: int) -> Tensor:
    """A parameter with its channels repeated as `shape` asks; `reads` is the axis of its inputs."""
    for axis in range(min(value.dim(), 2)):
        times = shape[axis] // value.shape[axis]
        if times == 1:  # a picture's channels
            continue
        value = value.repeat_interleave(times, axis)
        if axis == reads and value.dim() > 1:
            share = 1.0 + UNEVENNESS * (2.0 * torch.rand_like(value) - 1.0)
            groups = share.unflatten(axis, (-1, times))
            value = value * (groups / groups.sum(axis + 1, keepdim=True)).flatten(axis, axis + 1)
    return value
