"""The disentangle network (section 2.1, Fig. 1): what is where, apart from how bright it is.

All images here are gamma codes mapped from [0, 1] to [-1, 1], as the published code does. Where
the paper's figure and the published code differ, this follows the code:

- The spatial features that DFGNet reads are the raw outputs of the first three convolutions,
  before normalisation and ReLU.
- The spatial encoder ends in a normalisation and a 1x1 convolution that Fig. 1 does not show.
- The spatial code is the spatial encoder's output as AdaIN, the decoder's first step, normalises
  it. Decoded pictures are the same; but the averages and deviations of its channels, which tell the
  exposure and which nothing in the decoder sees, are no part of the code.
- The decoder upsamples by three transposed-convolution blocks, not by bilinear interpolation,
  unless the configuration of a network says so (`upsampling`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfghdr_cli.choices import Upsampling
from dfghdr_cli.nets.blocks import (
    Moments,
    ReflectConv,
    ResidualBlock,
    SampleNorm,
    UpsamplingBlock,
)

SpatialTaps = tuple[Tensor, Tensor, Tensor]
"""F_isp of eq. (8) at stages j = 1, 2, 3: (B, C, H, W), (B, 2C, H/2, W/2), (B, 4C, H/4, W/4)."""


@dataclass(frozen=True, slots=True)
class ImageStatistics:
    """All that the encoders take from an image as a whole; an input of the tile pass.

    Attributes:
        code: (B, L) exposure codes F_ex.
        moments: mean and deviation for the spatial encoder's two live normalisations.
    """

    code: Tensor
    moments: tuple[Moments, Moments]

    def of(self, images: slice | list[int]) -> ImageStatistics:
        """The statistics of some images, which may be named several times."""
        (mean, deviation), (mean2, deviation2) = self.moments
        moments = (mean[images], deviation[images]), (mean2[images], deviation2[images])
        return ImageStatistics(self.code[images], moments)


class ExposureEncoder(nn.Module):
    """E_ex: the global exposure code of an image."""

    halo = 32
    """Input pixels that a feature sees on each side of the `stride` x `stride` pixels it stands
    for (18), rounded up to a multiple of `stride`."""
    stride = 16

    def __init__(self, width: int, code_length: int) -> None:
        super().__init__()
        self.head = ReflectConv(3, width, 7)
        self.down1 = ReflectConv(width, 2 * width, 4, stride=2)
        self.down2 = ReflectConv(2 * width, 4 * width, 4, stride=2)
        self.down3 = ReflectConv(4 * width, 4 * width, 4, stride=2)
        self.down4 = ReflectConv(4 * width, 4 * width, 4, stride=2)
        self.project = nn.Linear(4 * width, code_length)

    def features(self, x: Tensor) -> Tensor:
        """The feature map (B, 4C, H/16, W/16) whose average the code is made of."""
        x = F.relu(self.head(x))
        for down in (self.down1, self.down2, self.down3, self.down4):
            x = F.relu(down(x))
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Code (B, L) of images x (B, 3, H, W) in [-1, 1], H and W at least 32."""
        return self.project(self.features(x).mean((2, 3)))


class SpatialEncoder(nn.Module):
    """The live part of E_sp: the three convolutions whose outputs guide the DFG modules."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.head = ReflectConv(3, width, 7)
        self.norm1 = SampleNorm(width)
        self.down1 = ReflectConv(width, 2 * width, 4, stride=2)
        self.norm2 = SampleNorm(2 * width)
        self.down2 = ReflectConv(2 * width, 4 * width, 4, stride=2)

    def forward(self, x: Tensor, moments: tuple[Moments, Moments] | None = None) -> SpatialTaps:
        """Taps of images x (B, 3, H, W) in [-1, 1]; `moments` replace the image's own."""
        first, second = moments or (None, None)
        tap1 = self.head(x)
        tap2 = self.down1(F.relu(self.norm1(tap1, first)))
        tap3 = self.down2(F.relu(self.norm2(tap2, second)))
        return tap1, tap2, tap3


class SpatialTail(nn.Module):
    """The rest of E_sp, from the third tap to the spatial code; DFGNet never uses it."""

    def __init__(self, taps: int, width: int) -> None:
        """`taps` is the width of the encoder whose third tap it takes, `width` the decoder's."""
        super().__init__()
        self.norm3 = SampleNorm(4 * taps)
        self.down3 = ReflectConv(4 * taps, 8 * width, 4, stride=2)
        self.block1 = ResidualBlock(8 * width)
        self.block2 = ResidualBlock(8 * width)
        self.norm_tail = SampleNorm(8 * width)
        self.tail = nn.Conv2d(8 * width, 8 * width, 1)

    def forward(self, tap3: Tensor) -> Tensor:
        """E_sp's output (B, 8D, H/8, W/8) of a third tap (B, 4C, H/4, W/4)."""
        x = self.down3(F.relu(self.norm3(tap3)))
        x = self.block2(self.block1(x))
        return self.tail(F.relu(self.norm_tail(x)))


def normalised(content: Tensor, epsilon: float = 1e-5) -> Tensor:
    """The first half of AdaIN (Huang and Belongie 2017, reference [14] of the paper).

    Args:
        content: (B, C, H, W).
        epsilon: added to the (unbiased) standard deviation of each channel.

    Returns:
        (B, C, H, W) in float32, whatever the content is in: each channel of mean 0, deviation 1.
    """
    content = content.float()
    mean = content.mean((2, 3), keepdim=True)
    deviation = content.std((2, 3), keepdim=True) + epsilon
    return (content - mean) / deviation


def adapted(code: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """The second half of AdaIN: (B, C, H, W) of the code, with a mean and a deviation (B, C).

    Neither is constrained, as in the published code.
    """
    return code * deviation[..., None, None] + mean[..., None, None]


class Decoder(nn.Module):
    """D: an image from a spatial code and an exposure code.

    With bilinear upsampling AdaIN starts training as plain instance normalisation, mean 0 and
    deviation 1, which is more than the published code's start: near 0 nothing of the spatial code
    gets through.
    """

    def __init__(self, width: int, code_length: int, upsampling: Upsampling = "transposed") -> None:
        super().__init__()
        channels = 8 * width
        self.mean = nn.Linear(code_length, channels)
        self.deviation = nn.Linear(code_length, channels)
        self.head = nn.Conv2d(channels, channels, 1)
        self.block = ResidualBlock(channels)
        self.up1 = UpsamplingBlock(channels, upsampling)
        self.up2 = UpsamplingBlock(channels // 2, upsampling)
        self.up3 = UpsamplingBlock(channels // 4, upsampling)
        self.norm_tail = SampleNorm(width)
        self.tail = ReflectConv(width, 3, 3)
        if upsampling == "bilinear":
            nn.init.zeros_(self.mean.bias)  # pyright: ignore[reportArgumentType]
            nn.init.ones_(self.deviation.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, spatial_code: Tensor, exposure_code: Tensor) -> Tensor:
        """Image (B, 3, H, W), nominally in [-1, 1], of codes (B, 8D, H/8, W/8) and (B, L)."""
        x = adapted(spatial_code, self.mean(exposure_code), self.deviation(exposure_code))
        x = self.block(self.head(x))
        x = self.up3(self.up2(self.up1(x)))
        return self.tail(F.relu(self.norm_tail(x)))


class DisentangleNetwork(nn.Module):
    """E_ex and E_sp (Fig. 1), with D and E_sp's tail where they are wanted.

    Attributes:
        tail: maps the third tap to the spatial code; None in a network made only for merging.
        decoder: D; None likewise.
    """

    def __init__(
        self,
        width: int,
        code_length: int,
        *,
        decoder: bool,
        upsampling: Upsampling = "transposed",
        decoder_width: int = 0,
    ) -> None:
        super().__init__()
        if upsampling not in get_args(Upsampling):
            raise ValueError(f"there is no upsampling {upsampling!r}")
        self.exposure = ExposureEncoder(width, code_length)
        self.spatial = SpatialEncoder(width)
        inner = decoder_width or width
        self.tail = SpatialTail(width, inner) if decoder else None
        self.decoder = Decoder(inner, code_length, upsampling) if decoder else None

    def spatial_code(self, x: Tensor) -> Tensor:
        """F_sp (B, 8D, H/8, W/8) of images x (B, 3, H, W) in [-1, 1]."""
        if self.tail is None:
            raise ValueError("this network was built without its decoder")
        return normalised(self.tail(self.spatial(x)[2]))

    def statistics(self, x: Tensor) -> ImageStatistics:
        """Whole-image statistics of images x (B, 3, H, W) in [-1, 1]."""
        tap1 = self.spatial.head(x)
        first = self.spatial.norm1.moments(tap1)
        tap2 = self.spatial.down1(F.relu(self.spatial.norm1(tap1, first)))
        return ImageStatistics(self.exposure(x), (first, self.spatial.norm2.moments(tap2)))

    def forward(self, content: Tensor, exposure: Tensor) -> Tensor:
        """D(E_sp(content), E_ex(exposure)), all (B, 3, H, W) in [-1, 1]."""
        if self.decoder is None:
            raise ValueError("this network was built without its decoder")
        return self.decoder(self.spatial_code(content), self.exposure(exposure))


def to_signed(x: Tensor) -> Tensor:
    """[0, 1] to the encoders' [-1, 1]."""
    return x * 2.0 - 1.0


def from_signed(x: Tensor) -> Tensor:
    """[-1, 1] to [0, 1], not clipped."""
    return torch.add(x, 1.0).mul(0.5)
