"""What JPEG does to a picture, as operations of PyTorch on any device.

The lossy part of baseline JPEG (ITU-T T.81) as cameras use it: YCbCr of JFIF, chroma of half the
size, transforms of 8 x 8 blocks rounded to multiples of the tables of its Annex K, scaled by
quality as the Independent JPEG Group's library does. What is lossless is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
)
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


@cache
def _constants(device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The transform (8, 8), both tables of qualities from 0 (101, 2, 8, 8), and colours' matrices.

    There is no quality 0; its tables are those of 1.
    """
    k = torch.arange(8, dtype=torch.float64)
    transform = torch.cos((2 * k + 1) * k[:, None] * math.pi / 16) / 2.0
    transform[0] /= math.sqrt(2.0)
    qualities = [max(1, quality) for quality in range(101)]
    scales = [5000 // quality if quality < 50 else 200 - 2 * quality for quality in qualities]
    scale = torch.tensor(scales)[:, None, None, None]
    tables = (torch.tensor([_LUMINANCE, _CHROMINANCE]) * scale + 50) // 100
    constants = (transform, tables.clamp(1, 255), torch.tensor(_TO_YCC), torch.tensor(_TO_RGB))
    first, second, third, fourth = (x.to(device, torch.float32) for x in constants)
    return first, second, third, fourth


def jpeg(pictures: Tensor, qualities: Sequence[int]) -> Tensor:
    """Pictures as they come back from a JPEG file, up to the rounding inside a decoder.

    Args:
        pictures: (n, 3, H, W) float32 in [0, 1].
        qualities: n of them, 1 to 100, as of the IJG's library.

    Returns:
        (n, 3, H, W) float32 in [0, 1], multiples of 1 / 255.
    """
    transform, tables, to_ycc, to_rgb = _constants(pictures.device)
    luminance, chrominance = tables[list(qualities)].unbind(1)
    height, width = pictures.shape[-2:]
    right, below = -width % 16, -height % 16
    # Every sum over few terms in float32, which autocast would round.
    with torch.autocast(pictures.device.type, enabled=False):
        wide = F.pad(pictures * 255.0, (0, right, 0, below), mode="replicate").round_()
        luma, chroma = torch.einsum("ij,njhw->nihw", to_ycc, wide).split([1, 2], 1)
        luma = _rounded(luma - 128.0, transform, luminance)
        chroma = _rounded(F.avg_pool2d(chroma, 2), transform, chrominance)
        # libjpeg weighs the nearer of two samples by 3/4, as linear interpolation does.
        chroma = F.interpolate(chroma, scale_factor=2.0, mode="bilinear", align_corners=False)
        back = torch.einsum("ij,njhw->nihw", to_rgb, torch.cat([luma + 128.0, chroma], 1))
    return back[..., :height, :width].round().clamp_(0.0, 255.0).div_(255.0)


def _rounded(planes: Tensor, transform: Tensor, table: Tensor) -> Tensor:
    """Planes (n, c, H, W), their coefficients rounded to multiples of a table each, (n, 8, 8)."""
    count, channels, height, width = planes.shape
    blocks = planes.view(count, channels, height // 8, 8, width // 8, 8)
    blocks = blocks.permute(0, 1, 2, 4, 3, 5)
    steps = table[:, None, None, None]
    coefficients = transform @ blocks @ transform.mT
    coefficients = coefficients.div_(steps).round_().mul_(steps)
    back = transform.mT @ coefficients @ transform
    return back.permute(0, 1, 2, 4, 3, 5).reshape(planes.shape)
