"""DFGNet (section 2.2, left half of Fig. 3): the paper's network, which paints the HDR image.

Differences between Fig. 3 and the published code, which this follows: the first stage keeps the
full size; the reference's features are added to both attention units' outputs; the two are
concatenated; the tail is a dilated 3x3 and a 3x3 convolution with tanh.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dfghdr_cli.choices import Upsampling
from dfghdr_cli.nets.candidates import Candidates
from dfghdr_cli.nets.compose import Decision
from dfghdr_cli.nets.dfg import DFGModule, Role, role_modules
from dfghdr_cli.nets.disentangle import (
    DisentangleNetwork,
    ImageStatistics,
    SpatialTaps,
    from_signed,
    to_signed,
)
from dfghdr_cli.nets.guide import guide
from dfghdr_cli.nets.network import Network, frames_seen


@dataclass(frozen=True, slots=True)
class DFGNetConfig:
    """Hyper-parameters.

    Attributes:
        width: channels C of the first stage; 64 in the paper.
        disentangle_width: channels of the encoders' first stage; 64 in the paper.
        code_length: length L of the exposure code; 1024 in the published code.
        eau: whether the exposure attention units are there (False: Model 1 of Table 1).
        sau: whether the spatial attention units are there (False: Model 2 of Table 1).
        upsampling: of the decoder, see `dfghdr_cli.choices.Upsampling`.
        decoder_width: channels D of the decoder's last stage, and an eighth of the spatial code's;
            0 is as many as `disentangle_width`, as in the paper.
    """

    width: int = 64
    disentangle_width: int = 64
    code_length: int = 1024
    eau: bool = True
    sau: bool = True
    upsampling: Upsampling = "transposed"
    decoder_width: int = 0


class Stage(nn.Module):
    """3x3 convolution and PReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
        self.act = nn.PReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        return self.act(self.conv(x))


class Upsample(nn.Module):
    """4x4 transposed convolution of stride 2, and PReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)
        self.act = nn.PReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, 2 H, 2 W)."""
        return self.act(self.conv(x))


class DFGEncoder(nn.Module):
    """Three stages per role, on K images, merged by one DFG module a stage."""

    def __init__(
        self,
        inputs: int,
        channels: Sequence[int],
        tap_channels: Sequence[int],
        code_length: int,
        *,
        eau: bool,
        sau: bool,
    ) -> None:
        super().__init__()
        before = [inputs, *channels]
        self.stages = nn.ModuleList(
            role_modules(lambda i=i: Stage(before[i], channels[i], stride=1 if i == 0 else 2))
            for i in range(len(channels))
        )
        self.merge = nn.ModuleList(
            DFGModule(c, t, code_length, eau=eau, sau=sau)
            for c, t in zip(channels, tap_channels, strict=True)
        )

    @property
    def out_channels(self) -> list[int]:
        """Channels of each merged map."""
        return [module.out_channels for module in self.merge]  # pyright: ignore

    def forward(
        self,
        images: Iterable[Tensor],
        codes: Tensor,
        taps: Sequence[SpatialTaps],
        roles: Sequence[Role],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Run it.

        Args:
            images: K of (B, inputs, H, W); may be made while they are asked for.
            codes: (B, K, L) exposure codes.
            taps: F_isp of each image at each stage j, (B, T_j, H / 2**j, W / 2**j).
            roles: the role of each image.

        Returns:
            The first stage's features of each image (B, C, H, W), and each stage's merged map.
        """
        x, first, merged = images, [], []
        for index, (stage, merge) in enumerate(zip(self.stages, self.merge, strict=True)):
            x = [stage[int(role)](each) for role, each in zip(roles, x, strict=True)]  # pyright: ignore[reportIndexIssue]
            first = first or x
            merged.append(merge(x, codes, [tap[index] for tap in taps], roles))
        return first, merged


def encode(
    network: DisentangleNetwork, images: Tensor, statistics: ImageStatistics | None
) -> tuple[Tensor, list[SpatialTaps]]:
    """Exposure codes and spatial taps of a stack of images.

    Args:
        network: the encoders.
        images: (B, K, 3, H, W) gamma codes in [0, 1].
        statistics: of the whole images in the same order, flattened to (B * K, ...); None
            computes them from `images`.

    Returns:
        Codes (B, K, L) and K of taps (B, C, H, W), (B, 2C, H/2, W/2), (B, 4C, H/4, W/4).
    """
    count = images.shape[1]
    signed = to_signed(images)
    codes = network.exposure(signed.flatten(0, 1)) if statistics is None else statistics.code
    taps = []
    for k in range(count):
        own = None if statistics is None else statistics.of(slice(k, None, count)).moments
        taps.append(network.spatial(signed[:, k], own))
    return codes.unflatten(0, (-1, count)), taps


class DFGNet(Network):
    """The paper's network. It takes any number of aligned or unaligned frames, nominally three."""

    architecture = "dfgnet"
    outputs = ("hdr",)
    takes = ("aligned", "flow")
    paints = True
    size_multiple = 16
    stride = 4
    halo = 24
    """An output pixel looks 21 to each side."""

    def __init__(self, config: DFGNetConfig, *, decoder: bool = False) -> None:
        super().__init__(config, decoder=decoder)
        width, taps = config.width, config.disentangle_width
        self.disentangle = DisentangleNetwork(
            taps,
            config.code_length,
            decoder=decoder,
            upsampling=config.upsampling,
            decoder_width=config.decoder_width,
        )
        self.encoder = DFGEncoder(
            6,
            (width, 2 * width, 4 * width),
            (taps, 2 * taps, 4 * taps),
            config.code_length,
            eau=config.eau,
            sau=config.sau,
        )
        fine, middle, coarse = self.encoder.out_channels
        self.up3 = Upsample(coarse, 2 * width)
        self.up2 = Upsample(middle + 2 * width, width)
        self.tail1 = nn.Conv2d(width + fine, width, 3, padding=2, dilation=2)
        self.tail_act = nn.PReLU(width)
        self.tail2 = nn.Conv2d(width, 3, 3, padding=1)

    def select(self, candidates: Candidates) -> Candidates:
        """What of a bracket it needs: one candidate a frame, as `inputs` says."""
        return frames_seen(candidates, self.inputs)

    def images(self, candidates: Candidates) -> Tensor:
        """What the encoders look at: (B, K, 3, H, W) gamma codes."""
        return self.select(candidates).code

    def forward(self, candidates: Candidates, statistics: ImageStatistics | None = None) -> Tensor:
        """The HDR image (B, 3, H, W) in network space [0, 1]; H and W multiples of 4.

        Args:
            candidates: the brackets, see `select`.
            statistics: of `images` of the whole picture when the candidates are only a tile of it.
        """
        stack = self.select(candidates)
        codes, taps = encode(self.disentangle, stack.code, statistics)
        # L_i = [X_i, X~_i] after eq. (7), both mapped to [-1, 1].
        x = to_signed(torch.cat([stack.code, stack.radiance()], 2)).unbind(1)
        return self.paint(x, codes, taps, stack.roles)

    def paint(
        self,
        images: Sequence[Tensor],
        codes: Tensor,
        taps: Sequence[SpatialTaps],
        roles: Sequence[Role],
    ) -> Tensor:
        """The HDR image (B, 3, H, W) in network space [0, 1].

        Args:
            images: L_i of each frame, (B, 6, H, W) in [-1, 1].
            codes: (B, K, L) exposure codes, see `encode`.
            taps: of the spatial encoder, likewise.
            roles: of each frame.
        """
        _, (fine, middle, coarse) = self.encoder(images, codes, taps, roles)
        up = self.up3(coarse)
        up = self.up2(torch.cat([middle, up], 1))
        # The tanh head has black at -1: float32 whatever the trunk computes in.
        with torch.autocast(up.device.type, enabled=False):
            y = self.tail_act(self.tail1(torch.cat([up, fine], 1).float()))
            return from_signed(torch.tanh(self.tail2(y)))

    def infer(
        self, candidates: Candidates, statistics: ImageStatistics | None = None
    ) -> tuple[Tensor]:
        """See `Network`: the picture."""
        return (self(candidates, statistics),)

    def decision(self, outputs: tuple[Tensor, ...], candidates: Candidates) -> Decision:
        """See `Network`: the picture guides the merge."""
        return guide(outputs[0], candidates)

    def activations(self, frames: int) -> int:
        """See `Network`."""
        return self.config.width * (54 + 20 * frames)
