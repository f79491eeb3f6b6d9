"""Running a network over a bracket in tiles, exactly as if it ran whole.

The network's whole-image statistics are gathered tile by tile; with them it runs in tiles, which
grow smaller where a GPU has too little memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfghdr_cli.core.tiles import tiles
from dfghdr_cli.core.types import OnProgress
from dfghdr_cli.devices import is_gpu_out_of_memory
from dfghdr_cli.errors import ModelError
from dfghdr_cli.merging.config import NETWORK_TILE, SMALLEST_TILE
from dfghdr_cli.nets.candidates import Candidates
from dfghdr_cli.nets.disentangle import DisentangleNetwork, ImageStatistics, to_signed
from dfghdr_cli.nets.network import Network
from dfghdr_cli.nets.registry import build, describe


def _device_of(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def image_statistics(
    network: DisentangleNetwork, images: Tensor, tile: int = 512
) -> ImageStatistics:
    """Whole-image statistics of a stack of images, gathered tile by tile.

    Args:
        network: the encoders, on any device; only tiles are brought there.
        images: (B, 3, H, W) gamma codes in [0, 1], on any device; H and W multiples of 16.
        tile: side of a tile [pixels].

    Returns:
        What `DisentangleNetwork.statistics` returns of the whole images, up to rounding.
    """
    device = _device_of(network)
    codes, moments = [], []
    for image in images.split(1):  # one after the other take less memory
        statistics = _statistics_of_one(network, image, tile, device)
        codes.append(statistics.code)
        moments.append(statistics.moments)
    first, second = (
        (torch.cat([mean for mean, _ in layer]), torch.cat([deviation for _, deviation in layer]))
        for layer in zip(*moments, strict=True)
    )
    return ImageStatistics(torch.cat(codes), (first, second))


def _statistics_of_one(
    network: DisentangleNetwork, image: Tensor, tile: int, device: torch.device
) -> ImageStatistics:
    """`image_statistics` of one image (1, 3, H, W)."""
    stride, halo = network.exposure.stride, network.exposure.halo
    height, width = image.shape[-2:]

    def parts(function: Callable[[Tensor], Tensor]) -> Iterator[Tensor]:
        """A feature map (C, h * w) in tiles."""
        for t in tiles(height, width, tile, halo, stride):
            features = function(to_signed(image[..., t.rows, t.columns].to(device)))
            step = (t.rows.stop - t.rows.start) // features.shape[-2]
            rows = slice(t.keep_rows.start // step, t.keep_rows.stop // step)
            columns = slice(t.keep_columns.start // step, t.keep_columns.stop // step)
            yield features[0, :, rows, columns].flatten(1)

    def moments(function: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation over all channels and pixels, each (1,)."""
        count, mean, squares = 0, 0.0, 0.0
        for part in parts(function):
            variance, own = (float(x) for x in torch.var_mean(part, correction=0))
            # Chan, Golub and LeVeque 1979: the sums of squares of two sets as one's.
            apart, share = own - mean, part.numel() / (count + part.numel())
            squares += part.numel() * variance + apart**2 * count * share
            mean += apart * share
            count += part.numel()
        deviation = (squares / (count - 1)) ** 0.5
        return torch.tensor([mean], device=device), torch.tensor([deviation], device=device)

    spatial = network.spatial
    first = moments(spatial.head)
    second = moments(lambda x: spatial.down1(F.relu(spatial.norm1(spatial.head(x), first))))
    pixels, total = 0, torch.zeros(())
    for part in parts(network.exposure.features):
        total = total + part.sum(1).cpu().double()
        pixels += part.shape[1]
    code = network.exposure.project((total / pixels).float().to(device)[None])
    return ImageStatistics(code, (first, second))


def _frame_statistics(network: Network, candidates: Candidates, tile: int) -> ImageStatistics:
    """Statistics for every candidate that a network looks at, measured once a frame.

    Hypotheses on a frame, its motion or noise, hardly change its picture as a whole.
    """
    frames = candidates.frames
    each = list(dict.fromkeys(frames))
    images = network.images(candidates.only([frames.index(frame) for frame in each]))
    statistics = image_statistics(network.disentangle, images[0], tile)
    return statistics.of([each.index(frame) for frame in frames])


def run_tiled(
    network: Network,
    candidates: Candidates,
    tile: int = NETWORK_TILE,
    on_progress: OnProgress | None = None,
) -> tuple[Tensor, ...]:
    """Run a network over one bracket in tiles, exactly as if it ran whole.

    Args:
        network: on any device; only tiles are brought there.
        candidates: one bracket (B = 1) of any size, on any device.
        tile: side of a tile [pixels].
        on_progress: called after each tile.

    Returns:
        What `Network.infer` returns of the whole picture, where the candidates are.

    Raises:
        ModelError: what it returns is not finite.
    """
    device = _device_of(network)
    height, width = candidates.code.shape[-2:]
    padded = network.select(candidates).pad(network.size_multiple)
    rows, columns = padded.code.shape[-2:]
    statistics = _frame_statistics(network, padded, tile)
    parts = list(tiles(rows, columns, tile, network.halo, network.stride))
    out: list[Tensor] = []
    for number, part in enumerate(parts):
        crop = padded.crop(part.rows, part.columns).to(device)
        results = network.infer(crop, statistics)
        if not all(result.isfinite().all() for result in results):
            raise ModelError(
                "The model gives values that are no numbers, so its weights are damaged; see "
                "`dfghdr models verify`, and get it again."
            )
        if not out:
            out = [padded.code.new_empty((*r.shape[:-2], rows, columns)) for r in results]
        for whole, piece in zip(out, results, strict=True):
            whole[..., *part.target] = piece[..., part.keep_rows, part.keep_columns]
        if on_progress:
            on_progress(number + 1, len(parts), "network")
    return tuple(whole[..., :height, :width] for whole in out)


@dataclass(frozen=True, slots=True)
class NetworkRun:
    """What a network found, and how.

    Attributes:
        outputs: what `run_tiled` returns.
        device: where it was computed.
        warnings: sentences for the user.
    """

    outputs: tuple[Tensor, ...]
    device: torch.device
    warnings: tuple[str, ...]


def run_in_memory(
    network: Network,
    candidates: Candidates,
    tile: int = NETWORK_TILE,
    on_progress: OnProgress | None = None,
) -> NetworkRun:
    """`run_tiled`; where a GPU runs out of memory, in smaller tiles, and at last on the CPU.

    Args:
        network: on any device, where it stays.
        candidates: one bracket (B = 1) of any size, on the CPU; padded already where its size does
            not suit the network, no copy of it has to be made.
        tile: side of the tiles to begin with [pixels].
        on_progress: called after each tile; begins anew with each attempt.
    """
    device, warnings = _device_of(network), []
    smaller = tile
    while True:
        try:
            outputs = run_tiled(network, candidates, smaller, on_progress)
            return NetworkRun(outputs, device, tuple(warnings))
        except RuntimeError as error:
            if device.type == "cpu" or not is_gpu_out_of_memory(error):
                raise
        # Not before the exception is gone, with all that its traceback holds.
        getattr(torch, device.type).empty_cache()
        failed = f"{device} ran out of memory with the network in tiles of {smaller} pixels"
        if smaller > SMALLEST_TILE:
            smaller = max(smaller // 2, SMALLEST_TILE)
            warnings.append(f"{failed}; it was run again in tiles of {smaller}.")
        else:
            warnings.append(f"{failed}; it was run again on the CPU.")
            break
    # A copy, so that the network stays on its device for the next bracket.
    decoder = network.disentangle.decoder is not None
    copy = build(*describe(network), decoder=decoder, inputs=network.inputs).eval()
    copy.load_state_dict(network.state_dict())
    outputs = run_tiled(copy, candidates, tile, on_progress)
    return NetworkRun(outputs, _device_of(copy), tuple(warnings))
