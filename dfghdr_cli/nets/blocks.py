"""Building blocks that several networks share."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfghdr_cli.choices import Upsampling

Moments = tuple[Tensor, Tensor]
"""Mean and standard deviation of whole feature maps, each of shape (B,)."""


class SampleNorm(nn.Module):
    """Normalises each sample over all its channels and pixels, then scales each channel.

    This is the "LayerNorm" of the published code, not of torch: one mean and one *unbiased*
    standard deviation over (C, H, W), with epsilon added to the deviation, and one gain and offset
    per channel. Since it looks at the whole image, the moments can be given: a tile then sees the
    image's statistics instead of its own.
    """

    epsilon = 1e-5

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.rand(channels))
        self.offset = nn.Parameter(torch.zeros(channels))

    @staticmethod
    def moments(x: Tensor) -> Moments:
        """Mean and unbiased standard deviation over (C, H, W) of x (B, C, H, W), each (B,).

        In float32, whatever x is in.
        """
        flat = x.flatten(1).float()
        return flat.mean(1), flat.std(1)

    def forward(self, x: Tensor, moments: Moments | None = None) -> Tensor:
        """Normalise x (B, C, H, W), with its own moments or the given ones.

        In reduced precision with its own by PyTorch's group normalisation, which trains more than
        twice as fast. It adds epsilon in squares: for less than such precision tells.
        """
        if moments is None and x.dtype is not torch.float32:
            count = x[0].numel()
            unbiased = self.gain * math.sqrt((count - 1) / count)
            return F.group_norm(x, 1, unbiased, self.offset, self.epsilon**2)
        mean, deviation = self.moments(x) if moments is None else moments
        scale = 1.0 / (deviation + self.epsilon)
        gain = self.gain[None, :] * scale[:, None]
        offset = self.offset[None, :] - gain * mean[:, None]
        return x * gain[..., None, None] + offset[..., None, None]


class ReflectConv(nn.Conv2d):
    """Convolution with reflected borders, padded so that stride 1 keeps the size.

    The published encoders pad 3 for a 7x7, 1 for a 4x4 (stride 2) and 1 for a 3x3 kernel.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            inputs,
            outputs,
            kernel,
            stride=stride,
            padding=(kernel - 1) // 2,
            padding_mode="reflect",
        )


class ResidualBlock(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))) with reflected borders."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = SampleNorm(channels)
        self.conv1 = ReflectConv(channels, channels, 3)
        self.norm2 = SampleNorm(channels)
        self.conv2 = ReflectConv(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        y = self.conv1(F.relu(self.norm1(x)))
        return x + self.conv2(F.relu(self.norm2(y)))


class BilinearConv(nn.Conv2d):
    """3x3 convolution with reflected borders of an image that is first doubled, bilinearly."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1, padding_mode="reflect")

    def forward(self, input: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, 2 H, 2 W)."""
        return super().forward(F.interpolate(input, scale_factor=2.0, mode="bilinear"))


class UpsamplingBlock(nn.Module):
    """Residual block that doubles the size and halves the channels."""

    def __init__(self, channels: int, upsampling: Upsampling = "transposed") -> None:
        super().__init__()
        half = channels // 2

        def doubling() -> nn.Module:
            if upsampling == "bilinear":
                return BilinearConv(channels, half)
            return nn.ConvTranspose2d(channels, half, 3, stride=2, padding=1, output_padding=1)

        self.norm1 = SampleNorm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = SampleNorm(channels)
        self.conv2 = doubling()
        self.skip = doubling()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C / 2, 2 H, 2 W)."""
        y = self.conv1(F.relu(self.norm1(x)))
        return self.skip(x) + self.conv2(F.relu(self.norm2(y)))
