"""The perceptual distance of eq. (2) and (5): Gram matrices of VGG-19 features.

VGG-19 is by Simonyan and Zisserman (2014, reference [15]); comparing Gram matrices is by Gatys,
Ecker and Bethge (2016). The paper does not name the layers; these are the published code's. Nothing
is ever downloaded: the weights come from a file.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfghdr_cli.errors import InputError, refuse_if_out_of_memory
from dfghdr_cli.limits import ensure_unpacked_size

log = logging.getLogger(__name__)

LAYERS = ("relu2_2", "relu3_4", "relu4_4", "relu5_2")
"""Where the features are taken."""

# Channels and convolutions of the five blocks; a 2x2 maximum lies between two blocks.
_BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
_NAMES = tuple((b, i) for b, (_, n) in enumerate(_BLOCKS, 1) for i in range(1, n + 1))
_GREY = 0.5


@dataclass(frozen=True, slots=True)
class VggWeights:
    """Weights of VGG-19's convolutions up to some layer, and the input they expect.

    Attributes:
        source: name of the file.
        digest: first 12 hexadecimal digits of the file's SHA-256.
        kernels: (outputs, inputs, 3, 3) for each (block, number), counted from 1.
        biases: (outputs,) likewise.
        order: which of R, G, B each input channel is.
        mean: subtracted from each input channel [0, 1].
        deviation: by which it is divided then.
    """

    source: str
    digest: str
    kernels: Mapping[tuple[int, int], Tensor]
    biases: Mapping[tuple[int, int], Tensor]
    order: tuple[int, int, int]
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


def cached_vgg() -> Path | None:
    """The weights that torchvision has put into torch's cache before, if it has."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    return next(iter(sorted(folder.glob("vgg19-*.pth"))), None)


def read_vgg(path: Path) -> VggWeights:
    """Read VGG-19's weights.

    Args:
        path: an .npz file with `blockB_convI.kernel` (3, 3, inputs, outputs) and
            `blockB_convI.bias` for BGR in 0 .. 255 minus (103.939, 116.779, 123.68), or
            torchvision's state dict as a .pth file. Layers at the end may be missing.

    Returns:
        The weights as far as they go without a gap.

    Raises:
        InputError: if the file cannot be read or is of something else.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"the VGG-19 weights {path} cannot be read ({error.strerror}); give an .npz or .pth "
            "file, or --no-perceptual"
        ) from error
    try:
        ensure_unpacked_size(path)
        read = _from_npz if path.suffix.lower() == ".npz" else _from_torchvision
        kernels, biases = _checked(read(path))
    except Exception as error:  # numpy and torch's unpickler raise many types at damaged files
        refuse_if_out_of_memory(error, path)
        raise InputError(
            f"{path} holds no weights of VGG-19 ({str(error).partition(chr(10))[0]}); give the "
            ".npz or torchvision's .pth file, or --no-perceptual"
        ) from error
    if path.suffix.lower() == ".npz":
        order, scale = (2, 1, 0), 1.0 / 255.0
        mean = (103.939 * scale, 116.779 * scale, 123.68 * scale)
        deviation = (scale, scale, scale)
    else:
        order, mean, deviation = (0, 1, 2), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    digest = hashlib.sha256(data).hexdigest()[:12]
    return VggWeights(path.name, digest, kernels, biases, order, mean, deviation)


def _from_npz(path: Path) -> dict[tuple[int, int], tuple[Tensor, Tensor]]:
    found = {}
    with np.load(path, allow_pickle=False) as arrays:
        for block, number in _NAMES:
            name = f"block{block}_conv{number}"
            if f"{name}.kernel" not in arrays:
                break
            kernel = arrays[f"{name}.kernel"].astype(np.float32).transpose(3, 2, 0, 1)
            bias = arrays[f"{name}.bias"].astype(np.float32)
            found[block, number] = torch.from_numpy(kernel.copy()), torch.from_numpy(bias)
    return found


def _from_torchvision(path: Path) -> dict[tuple[int, int], tuple[Tensor, Tensor]]:
    state = torch.load(path, map_location="cpu", weights_only=True)
    found, position = {}, 0
    for block, number in _NAMES:
        if block > 1 and number == 1:
            position += 1  # the maximum before this block
        if f"features.{position}.weight" not in state:
            break
        kernel, bias = (state[f"features.{position}.{part}"].float() for part in ("weight", "bias"))
        found[block, number] = kernel, bias
        position += 2  # convolution and ReLU
    return found


def _checked(
    found: Mapping[tuple[int, int], tuple[Tensor, Tensor]],
) -> tuple[dict[tuple[int, int], Tensor], dict[tuple[int, int], Tensor]]:
    if (2, 2) not in found:
        raise ValueError("its first four convolutions are not all there")
    inputs = 3
    for (block, number), (kernel, bias) in found.items():
        outputs = _BLOCKS[block - 1][0]
        if kernel.shape != (outputs, inputs, 3, 3) or bias.shape != (outputs,):
            raise ValueError(f"convolution {block}_{number} has the shape {tuple(kernel.shape)}")
        if not (kernel.isfinite().all() and bias.isfinite().all()):
            raise ValueError(f"convolution {block}_{number} is not finite")
        inputs = outputs
    return {k: kernel for k, (kernel, _) in found.items()}, {k: b for k, (_, b) in found.items()}


def gram(features: Tensor) -> Tensor:
    """Gram matrices (B, C, C) of features (B, C, H, W), divided by C * H * W."""
    _, channels, height, width = features.shape
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / (channels * height * width)


class PerceptualDistance(nn.Module):
    """Mean over the layers of the mean absolute difference of two Gram matrices, in float32.

    Gram matrices of different layers, and of weights made for 0 .. 255 and for [0, 1], differ by
    orders of magnitude. So each layer's difference is divided by the mean of its Gram matrix for
    a fixed picture of grey noise: every layer then counts alike, whatever the file.

    Attributes:
        layers: the layers compared, those of `LAYERS` that the weights reach.
        source: name and digest of the weights.
    """

    mean: Tensor
    deviation: Tensor
    scales: Tensor

    def __init__(self, weights: VggWeights) -> None:
        super().__init__()
        names = {f"relu{block}_{number}": (block, number) for block, number in weights.kernels}
        self.layers = tuple(layer for layer in LAYERS if layer in names)
        self.source = f"{weights.source} ({weights.digest})"
        missing = [layer for layer in LAYERS if layer not in names]
        if missing:
            log.warning("%s lacks %s of VGG-19; skipped", weights.source, ", ".join(missing))
        last = names[self.layers[-1]]
        self.convolutions = nn.ModuleDict()
        for (block, number), kernel in weights.kernels.items():
            if (block, number) > last:
                break
            convolution = nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, padding=1)
            with torch.no_grad():
                convolution.weight.copy_(kernel)
                convolution.bias.copy_(weights.biases[block, number])  # pyright: ignore
            self.convolutions[f"relu{block}_{number}"] = convolution
        self.requires_grad_(False)
        self.order = list(weights.order)
        self.register_buffer("mean", torch.tensor(weights.mean)[:, None, None])
        self.register_buffer("deviation", torch.tensor(weights.deviation)[:, None, None])
        noise = torch.from_numpy(np.random.default_rng(0).normal(_GREY, 0.2, (1, 3, 64, 64)))
        with torch.no_grad():
            grams = self.grams(noise.float().clamp(0.0, 1.0))
        self.register_buffer("scales", torch.stack([g.abs().mean() for g in grams]))

    def grams(self, images: Tensor) -> list[Tensor]:
        """Gram matrices (B, C, C) of images (B, 3, H, W) in [0, 1], one for each layer."""
        with torch.autocast(images.device.type, enabled=False):
            x = (images.float()[:, self.order] - self.mean) / self.deviation
            found = []
            for name, convolution in self.convolutions.items():
                if re.fullmatch(r"relu[2-5]_1", name):
                    x = F.max_pool2d(x, 2)
                x = F.relu(convolution(x))
                if name in self.layers:
                    found.append(gram(x))
            return found

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        """Mean distance of images (B, 3, H, W) in [0, 1] from their targets; a scalar.

        No gradient flows into the targets.
        """
        with torch.no_grad():
            wanted = self.grams(targets)
        found = self.grams(images)
        terms = [
            (a - b).abs().mean() / scale
            for a, b, scale in zip(found, wanted, self.scales, strict=True)
        ]
        return torch.stack(terms).mean()
