"""Running a network over a bracket: device, precision, statistics, tiles, proxy.

A picture goes through in four passes, each bounded in memory. Frames are aligned to the reference;
the network's whole-image statistics are gathered tile by tile; the network runs in tiles with
those statistics, on the picture itself or on a reduced proxy; and the decision is carried out on
the full-size frames, tile by tile on all processor cores.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from dfghdr_cli.core.align import (
    Alignment,
    Method,
    align_greys,
    covered,
    equal_greys,
    resample,
    source_map,
    warp,
    warp_with_trust,
)
from dfghdr_cli.core.borders import LEAST_SOURCE, bare, continued, recoloured
from dfghdr_cli.core.burst import fuse
from dfghdr_cli.core.classic import classic_merge
from dfghdr_cli.core.coded import EVERYTHING, CodedFrame
from dfghdr_cli.core.costs import Stopwatch
from dfghdr_cli.core.flow import dense_flow
from dfghdr_cli.core.neighbours import align_by_neighbour
from dfghdr_cli.core.noise import NO_NOISE, SMOOTHING_REACH, NoiseCurve, noise_curve, smooth
from dfghdr_cli.core.radiance import decode
from dfghdr_cli.core.tiles import Tile, tiles
from dfghdr_cli.core.types import (
    SAME_EXPOSURE,
    Bracket,
    FloatImage,
    Mask,
    MergeResult,
    RadianceImage,
)
from dfghdr_cli.core.undershoot import REACH, has_undershoot, repair_undershoot
from dfghdr_cli.core.worth import WHITE, apart, is_white, mismatch, white_tolerance
from dfghdr_cli.errors import DeviceError
from dfghdr_cli.nets.candidates import Candidates, Hypothesis, candidate_layout
from dfghdr_cli.nets.carry import carry_out
from dfghdr_cli.nets.dfgmerge import Decision
from dfghdr_cli.nets.dfgnet import DFGNet
from dfghdr_cli.nets.disentangle import DisentangleNetwork, ImageStatistics, to_signed
from dfghdr_cli.nets.guide import guide
from dfghdr_cli.nets.registry import Network, build, describe

log = logging.getLogger(__name__)

OnProgress = Callable[[int, int, str], None]
"""Called with (done, total, what)."""

ALIGNED_PIXELS = 6_000_000
"""Largest picture on which frames are aligned; larger ones are reduced to it. At 24 megapixels the
error is then 0.04 pixels instead of 0.02, in less than half the time."""
MERGED_TILE = 384
"""Side of the tiles in which a decision is carried out [pixels]: smaller ones spend more time on
waiting for Python's lock, larger ones take more memory."""
NETWORK_TILE = 1024
"""Side of the tiles in which a network runs [pixels]: with 512 a fifth more is computed twice, and
what smaller ones leave of the memory is too scattered for the pictures that follow."""
SURE = 4.0
"""How many times more a frame must weigh as flow moves it than as it lies for the former to be
true: flow of a reduced picture is less exact than the alignment."""
SETTLED = (Hypothesis.MOVED, Hypothesis.SMOOTHED)
"""What is left to be supposed of frames after `settle`."""
BORDER = max(REACH, SMOOTHING_REACH)
"""Pixels around a part of a picture that what is in it depends on."""
SMALLEST_TILE = 128
"""Of the network [pixels]: in smaller ones it would look at little but their halo."""


@dataclass(frozen=True, slots=True)
class MergeConfig:
    """How to merge.

    Attributes:
        align: how to align the frames, see `core.align.Method`.
        resolution: "full" runs the network on every pixel, and takes DFGNet's picture as it is;
            "auto" lets a proxy of at most `proxy_pixels` decide, and DFGNet's picture guide.
        proxy_pixels: largest picture the network sees under "auto" [pixels].
        tile: side of the network's tiles [pixels].
        weights: whether the result tells how much of each frame is in each pixel, which takes a
            third of a picture's memory for each frame.
    """

    align: Method = "auto"
    resolution: Literal["auto", "full"] = "auto"
    proxy_pixels: int = 2_500_000
    tile: int = NETWORK_TILE
    weights: bool = True

    def reduction(self, size: tuple[int, int]) -> float:
        """By how much the sides of a picture of (height, width) shrink for the network; <= 1."""
        return 1.0 if self.resolution == "full" else self.proxy_reduction(size)

    def proxy_reduction(self, size: tuple[int, int]) -> float:
        """Likewise for the proxy, on which a painting network's flow is estimated in any case."""
        return min(1.0, (self.proxy_pixels / (size[0] * size[1])) ** 0.5)


def choose_device(name: str = "auto") -> torch.device:
    """The device to compute on: CUDA if there is one, else Apple's MPS, else the CPU.

    Args:
        name: "auto", "cpu", "cuda", "cuda:N" or "mps".

    Raises:
        DeviceError: if the named device is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0].rstrip(".")
        raise DeviceError(
            f"device {name!r} cannot be used ({first}); use --device auto or --device cpu"
        ) from error
    return device


def is_gpu_out_of_memory(error: RuntimeError) -> bool:
    """Whether PyTorch says that a GPU is full: by a type, or, as MPS and cuBLAS do, in words."""
    said = str(error)
    words = "out of memory" in said or "ALLOC_FAILED" in said
    return words or isinstance(error, torch.OutOfMemoryError)


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

    What is supposed of a frame, motion or noise, hardly changes its picture as a whole.
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
) -> Tensor | Decision:
    """Run a network over one bracket in tiles, exactly as if it ran whole.

    Args:
        network: DFGNet or DFGMerge, on any device; only tiles are brought there.
        candidates: one bracket (B = 1) of any size, on any device.
        tile: side of a tile [pixels].
        on_progress: called after each tile.

    Returns:
        DFGNet's picture (1, 3, H, W) in network space, or DFGMerge's decision, where the
        candidates are.
    """
    device = _device_of(network)
    height, width = candidates.code.shape[-2:]
    padded = network.looks_at(candidates).pad(network.size_multiple)
    rows, columns = padded.code.shape[-2:]
    statistics = _frame_statistics(network, padded, tile)
    parts = list(tiles(rows, columns, tile, network.halo, network.stride))
    out: list[Tensor] = []
    for number, part in enumerate(parts):
        crop = padded.crop(part.rows, part.columns).to(device)
        if isinstance(network, DFGNet):
            results = [network(crop, statistics)]
        else:
            decision = network.decide(crop, statistics)
            results = [decision.logits, decision.correction]
        if not out:
            out = [padded.code.new_empty((*r.shape[:-2], rows, columns)) for r in results]
        for whole, piece in zip(out, results, strict=True):
            whole[..., *part.target] = piece[..., part.keep_rows, part.keep_columns]
        if on_progress:
            on_progress(number + 1, len(parts), "network")
    out = [whole[..., :height, :width] for whole in out]
    return out[0] if isinstance(network, DFGNet) else Decision(out[0], out[1])


@dataclass(frozen=True, slots=True)
class NetworkRun:
    """What a network found, and how.

    Attributes:
        output: what `run_tiled` returns.
        device: where it was computed.
        warnings: sentences for the user.
    """

    output: Tensor | Decision
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
        network: DFGNet or DFGMerge, on any device, where it stays.
        candidates: one bracket (B = 1) of any size, on the CPU; padded already where its size does
            not suit the network, no copy of it has to be made.
        tile: side of the tiles to begin with [pixels].
        on_progress: called after each tile; begins anew with each attempt.
    """
    device, warnings = _device_of(network), []
    smaller = tile
    while True:
        try:
            output = run_tiled(network, candidates, smaller, on_progress)
            return NetworkRun(output, device, tuple(warnings))
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
    output = run_tiled(copy, candidates, tile, on_progress)
    return NetworkRun(output, _device_of(copy), tuple(warnings))


@contextmanager
def _cores(*, few: bool = False) -> Iterator[Executor]:
    """As many threads as PyTorch may use, each of which works on its own.

    Args:
        few: whether there may be less work than threads: OpenCV then uses all cores for each. For
            many small pieces its threads only get in one another's way.
    """
    count, threads_of_opencv = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    if not few:
        cv2.setNumThreads(1)
    try:
        with ThreadPoolExecutor(count) as pool:
            yield pool
    finally:
        torch.set_num_threads(count)
        cv2.setNumThreads(threads_of_opencv)


def _everywhere(work: Callable[[Tile], object], size: tuple[int, int]) -> None:
    """Have every tile of a picture of (height, width) worked on, on all cores."""
    with _cores() as pool:
        for _ in pool.map(work, tiles(*size, MERGED_TILE, 0)):
            pass


@dataclass(frozen=True, slots=True)
class AlignedBracket:
    """A bracket's frames as gamma codes, and where each shows what the reference shows.

    Attributes:
        frames: N frames (H, W), not resampled.
        stops: exposure of each relative to the reference [stops].
        reference: index of the reference.
        alignments: one a frame; the identity for the reference.
        flows: one a frame, (h, w, 2) at the size of the proxy [its pixels]; None without.
        slack: how much darker than the white of a clipped reference other frames may show the
            scene without contradicting it [stops], see `measured_slack`.
        noise: of the reference, see `core.noise.noise_curve`.
        supposed: the hypotheses under which frames are candidates; if `SETTLED`, flows count for
            nothing where they lead out of a frame, and without MOVED none is estimated.
        repaired: whether darker frames lose their fringes, see `warped`.
    """

    frames: tuple[CodedFrame, ...]
    stops: tuple[float, ...]
    reference: int
    alignments: tuple[Alignment, ...]
    flows: tuple[NDArray[np.float32] | None, ...]
    slack: float = 0.0
    noise: NoiseCurve = NO_NOISE
    supposed: tuple[Hypothesis, ...] = tuple(Hypothesis)
    repaired: bool = True

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) [pixels]."""
        return self.frames[0].size

    @property
    def peak(self) -> float:
        """White of the darkest frame as radiance."""
        return 2.0 ** -min(self.stops)

    def reduced(self, factor: float) -> AlignedBracket:
        """The same bracket with its sides multiplied by `factor` <= 1."""
        size = _reduced_size(self.size, factor)
        if size == self.size:
            return self
        frames = tuple(frame.reduced(size) for frame in self.frames)
        alignments = tuple(_resized(a, self.size, size) for a in self.alignments)
        return replace(self, frames=frames, alignments=alignments)

    def with_flows(self) -> AlignedBracket:
        """The same bracket with dense flow and noise estimated at its present size."""
        return replace(self, flows=self.dense_flows(), noise=self.measured_noise())

    def dense_flows(self) -> tuple[NDArray[np.float32] | None, ...]:
        """Dense flow of each frame but the reference at the present size."""
        if Hypothesis.MOVED not in self.supposed:
            return (None,) * len(self.frames)
        code, own = self.frames[self.reference].code(), self.frames[self.reference].worth
        reference = decode(code)

        def flow(index: int) -> NDArray[np.float32] | None:
            if index == self.reference:
                return None
            aligned, _ = self.warped(index)
            stops, worths = self.stops[index], (own, self.frames[index].worth)
            allowed = apart(code, aligned, stops, worths, self.slack)
            return dense_flow(reference, decode(aligned), stops, allowed=allowed)

        with _cores(few=True) as pool:
            return tuple(pool.map(flow, range(len(self.stops))))

    def with_frames_that_meet(self) -> AlignedBracket:
        """The same bracket with darker frames exposed so that their light meets their neighbour's.

        The same in all but brackets of phones, see `core.worth.mismatch`.
        """
        stops, offset = list(self.stops), 0.0
        brighter, there = self.warped(self.reference)
        for k in range(self.reference - 1, -1, -1):
            darker, trust = self.warped(k)
            step = self.stops[k] - self.stops[k + 1]
            worths = self.frames[k + 1].worth, self.frames[k].worth
            if step < -SAME_EXPOSURE:
                both = np.minimum(there, trust)
                offset += mismatch(brighter, worths[0], darker, both, step, worths[1])
            stops[k] += offset
            brighter, there = darker, trust
        in_order = all(a <= b for a, b in pairwise(stops))
        return replace(self, stops=tuple(stops)) if offset and in_order else self

    def measured_slack(self) -> float:
        """How much darker than the reference's white darker frames show what only just clips.

        Zero where exposures and response are right; see `core.worth.white_tolerance` [stops].
        """
        reference = self.frames[self.reference]
        darker = [k for k in range(len(self.stops)) if self.stops[k] < -SAME_EXPOSURE]
        if not darker:
            return 0.0
        nearest = darker[-1]
        code, trust = self.warped(nearest)
        worth = self.frames[nearest].worth
        return white_tolerance(
            reference.code(), reference.worth, code, trust, self.stops[nearest], worth
        )

    def measured_noise(self) -> NoiseCurve:
        """The noise of the reference at the present size, by patches all over it."""
        others = [k for k in range(len(self.frames)) if k != self.reference]
        rows, columns = (_patches(length) for length in self.size)

        def patches(index: int) -> tuple[list[FloatImage], list[FloatImage]]:
            pairs = [self.warped(index, y, x) for y in rows for x in columns]
            return [code for code, _ in pairs], [trust for _, trust in pairs]

        with _cores() as pool:
            (reference, _), *found = pool.map(patches, [self.reference, *others])
        codes, trusts = zip(*found, strict=True)
        return noise_curve(reference, codes, trusts, [self.stops[k] for k in others])

    def warped(
        self,
        frame: int,
        rows: slice = EVERYTHING,
        columns: slice = EVERYTHING,
        *,
        flow: bool = False,
        reference: FloatImage | None = None,
    ) -> tuple[FloatImage, FloatImage]:
        """One frame in the reference's geometry, in a part of the picture.

        Args:
            frame: which.
            rows: of the picture.
            columns: likewise.
            flow: whether things moved as its flow says.
            reference: codes of the reference in that part and `BORDER` pixels around it, if they
                are there already.

        Returns:
            Gamma codes (h, w, 3) and how far each pixel can be trusted (h, w), both float32 in
            [0, 1]; see `dfghdr_cli.core.align.warp_with_trust`. Darker frames are without the
            fringes that `dfghdr_cli.core.undershoot` repairs, unless `repaired` is false.
        """
        code, trust = self._resampled(frame, rows, columns, flow=flow)
        stops = self.stops[frame]
        if stops >= 0 or not self.repaired:
            return code, trust
        around, inside = _with_border(rows, columns, self.size)
        if reference is None:
            reference = self.frames[self.reference].code(*around)
        worth = self.frames[self.reference].worth
        if not has_undershoot(code, reference[inside], stops, worth):
            return code, trust
        wide, there = self._resampled(frame, *around, flow=flow)
        return repair_undershoot(wide, there, reference, stops, worth)[inside], trust

    def _resampled(
        self, frame: int, rows: slice, columns: slice, *, flow: bool
    ) -> tuple[FloatImage, FloatImage]:
        """As `warped`, as the frame has it."""
        height, width = self.size
        top, bottom, _ = rows.indices(height)
        left, right, _ = columns.indices(width)
        moved = self.flows[frame] if flow else None
        if moved is None and self.alignments[frame].model == "none":
            trust = np.ones((bottom - top, right - left), np.float32)
            return self.frames[frame].code(rows, columns), trust
        is_darkest = self.stops[frame] <= min(self.stops) + SAME_EXPOSURE
        settled = self.supposed == SETTLED
        transform, across = self.alignments[frame].transform, slice(left, right)
        code = np.empty((bottom - top, right - left, 3), np.float32)
        trust = np.empty((bottom - top, right - left), np.float32)
        step = max(1, 1_000_000 // max(1, right - left))  # coordinates of all pixels are large
        for start in range(top, bottom, step):
            band = slice(start, min(start + step, bottom))
            shift = None if moved is None else _flow_part(moved, self.size, band, across)
            u, v = source_map(transform, band, across, shift)
            if settled and shift is not None:
                inside = covered(u, v, self.frames[frame].size)
                if not inside.all():
                    shift = shift * inside[..., None]
                    u, v = source_map(transform, band, across, shift)
            here = slice(start - top, band.stop - top)
            code[here], trust[here] = resample(self.frames[frame], u, v, is_darkest=is_darkest)
            if settled and shift is not None and self.alignments[frame].model == "none":
                still = ~shift.any(axis=2)
                code[here][still] = self.frames[frame].code(band, across)[still]
                trust[here][still] = 1.0
        return code, trust

    def candidates(self, rows: slice = EVERYTHING, columns: slice = EVERYTHING) -> Candidates:
        """Those in a part of the picture, on the CPU; only the STILL ones where flows lack."""
        height = len(range(*rows.indices(self.size[0])))
        width = len(range(*columns.indices(self.size[1])))
        candidates = self._blank(height, width)
        self._fill(candidates, rows, columns)
        return candidates

    def all_candidates(self, multiple: int = 1) -> Candidates:
        """Those of the whole picture, made tile by tile on all cores.

        Args:
            multiple: as of `Candidates.pad`.
        """
        height, width = self.size
        whole = self._blank(height + -height % multiple, width + -width % multiple)

        def fill(tile: Tile) -> None:
            self._fill(whole.crop(tile.rows, tile.columns), tile.rows, tile.columns)

        _everywhere(fill, self.size)
        for planes in (whole.code, whole.trust):
            planes[..., height:, :] = planes[..., height - 1 : height, :]
            planes[..., width:] = planes[..., width - 1 : width]
        return whole

    def _blank(self, height: int, width: int) -> Candidates:
        """Candidates that show nothing yet, but are trusted."""
        without = len(self.frames) > 1 and all(flow is None for flow in self.flows)
        without &= Hypothesis.MOVED in self.supposed
        supposed = (Hypothesis.STILL,) if without else self.supposed
        frames, roles, hypotheses = candidate_layout(len(self.frames), self.reference, supposed)
        return Candidates(
            torch.empty((1, len(frames), 3, height, width)),
            torch.ones((1, len(frames), 1, height, width)),
            torch.tensor([[self.stops[f] for f in frames]], dtype=torch.float32),
            torch.tensor([self.peak], dtype=torch.float32),
            frames,
            roles,
            hypotheses,
            self.slack,
            *(
                torch.from_numpy(np.stack([getattr(self.frames[f].worth, part) for f in frames]))
                for part in ("limits", "tolerance")
            ),
        )

    def _fill(self, blank: Candidates, rows: slice, columns: slice) -> None:
        """Let blank candidates show a part of the picture that is as large."""
        around, inside = _with_border(rows, columns, self.size)
        reference = self.frames[self.reference].code(*around)
        codes, trusts = blank.code[0].numpy(), blank.trust[0, :, 0].numpy()
        for k, (frame, hypothesis) in enumerate(zip(blank.frames, blank.hypotheses, strict=True)):
            if hypothesis is Hypothesis.SMOOTHED:
                code = smooth(reference, self.noise)[inside]
            elif frame == self.reference:
                code = reference[inside]
            else:
                moved = hypothesis is Hypothesis.MOVED
                code, trusts[k] = self.warped(frame, rows, columns, flow=moved, reference=reference)
            cv2.split(code, list(codes[k]))


SLACK_PIXELS = 500_000
"""Largest picture on which it is measured whether frames meet, and how far white is off."""
NOISE_PATCHES = 5
"""Patches along each axis on which noise is measured."""
NOISE_PATCH = 96
"""Their side [pixels]."""


def _patches(length: int) -> list[slice]:
    """Evenly spaced parts of an axis; all of it where they would overlap."""
    if length <= NOISE_PATCHES * NOISE_PATCH:
        return [slice(0, length)]
    starts = np.linspace(0, length - NOISE_PATCH, NOISE_PATCHES).astype(int).tolist()
    return [slice(start, start + NOISE_PATCH) for start in starts]


def _with_border(
    rows: slice, columns: slice, size: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """A part of a picture with `BORDER` pixels around it, and where it lies in them."""
    around, inside = [], []
    for part, length in zip((rows, columns), size, strict=True):
        start, stop, _ = part.indices(length)
        first = max(0, start - BORDER)
        around.append(slice(first, min(length, stop + BORDER)))
        inside.append(slice(start - first, stop - first))
    return (around[0], around[1]), (inside[0], inside[1])


def _reduced_size(size: tuple[int, int], factor: float) -> tuple[int, int]:
    return max(1, round(size[0] * min(factor, 1.0))), max(1, round(size[1] * min(factor, 1.0)))


def _resized(alignment: Alignment, before: tuple[int, int], after: tuple[int, int]) -> Alignment:
    """An alignment of pictures of one (height, width) for the same pictures at another."""
    if alignment.model == "none":
        return alignment
    # Pixel centres: x_after = (x_before + 0.5) * factor - 0.5.
    sy, sx = after[0] / before[0], after[1] / before[1]
    scale = np.array([[sx, 0, sx / 2 - 0.5], [0, sy, sy / 2 - 0.5], [0, 0, 1]])
    transform = scale @ alignment.transform @ np.linalg.inv(scale)
    return replace(alignment, transform=transform / transform[2, 2])


def _enlarged(small: FloatImage, size: tuple[int, int], rows: slice, columns: slice) -> FloatImage:
    """A part of a picture of (height, width), bilinear from a smaller one (h, w, up to 4)."""
    down, across = (a / b for a, b in zip(small.shape[:2], size, strict=True))
    # Pixel centres: x_small = (x + 0.5) * across - 0.5.
    x, y = (columns.start + 0.5) * across - 0.5, (rows.start + 0.5) * down - 0.5
    matrix = np.array([[across, 0.0, x], [0.0, down, y]])
    shape = columns.stop - columns.start, rows.stop - rows.start
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    large = cv2.warpAffine(small, matrix, shape, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(large, np.float32)


def _flow_part(
    flow: NDArray[np.float32], size: tuple[int, int], rows: slice, columns: slice
) -> NDArray[np.float32]:
    """A part of a flow brought to the picture's size, in its pixels."""
    if flow.shape[:2] == size:
        return flow[rows, columns]
    part = _enlarged(flow, size, rows, columns)
    part[..., 0] *= np.float32(size[1] / flow.shape[1])
    part[..., 1] *= np.float32(size[0] / flow.shape[0])
    return part


def align_bracket(
    frames: Sequence[FloatImage | CodedFrame],
    stops: Sequence[float],
    reference: int,
    *,
    align: Method = "auto",
    on_progress: OnProgress | None = None,
) -> AlignedBracket:
    """Align every frame to the reference, on reduced pictures where they are very large.

    Args:
        frames: N frames, dark to bright; arrays (H, W, 3) are linear in [0, 1].
        stops: exposure of each relative to the reference [stops].
        reference: index of the reference.
        align: how; of "flow", only its homography is found here.
        on_progress: called after each frame.
    """
    coded = tuple(
        frame if isinstance(frame, CodedFrame) else CodedFrame.of_linear(frame) for frame in frames
    )
    identity = Alignment(np.eye(3), "none", 0.0, 0)
    size = coded[0].size
    small = _reduced_size(size, (ALIGNED_PIXELS / (size[0] * size[1])) ** 0.5)

    steady = coded[reference].reduced(small)

    model = "homography" if align == "flow" else align

    def one(index: int) -> Alignment:
        if index == reference or model == "none":
            return identity
        pair = steady, coded[index].reduced(small)
        return align_greys(*equal_greys(*pair, stops[index]), model, stops[index])

    alignments: list[Alignment] = []
    with _cores(few=True) as pool:
        for alignment in pool.map(one, range(len(coded))):
            alignments.append(alignment)
            if on_progress:
                on_progress(len(alignments), len(coded), "align")
    for step in (-1, 1):
        for index in range(reference + 2 * step, -1 if step < 0 else len(coded), step):
            if not alignments[index].is_weak or model == "none":
                continue
            near = index - step
            alignments[index] = align_by_neighbour(
                steady,
                coded[near].reduced(small),
                coded[index].reduced(small),
                (stops[near], stops[index]),
                (alignments[near], alignments[index]),
                model,
            )
    alignments = [_resized(alignment, small, size) for alignment in alignments]
    nothing = (None,) * len(coded)
    return AlignedBracket(coded, tuple(stops), reference, tuple(alignments), nothing)


def merge_classic(aligned: AlignedBracket, *, weights: bool = True) -> MergeResult:
    """The classic merge of the frames under their alignments and flows, if there are any.

    See `core.classic.classic_merge`; `weights` as in `MergeConfig`.
    """
    height, width = aligned.size
    worths = [frame.worth for frame in aligned.frames]
    radiance = np.empty((height, width, 3), np.float32)
    kept = np.empty((len(aligned.frames), height, width), np.float32) if weights else None
    clipped = np.empty((height, width), np.bool_)

    def one(tile: Tile) -> None:
        here = tile.rows, tile.columns
        pairs = [aligned.warped(frame, *here, flow=True) for frame in range(len(aligned.frames))]
        codes, trusts = zip(*pairs, strict=True)
        radiance[here], shares = classic_merge(codes, trusts, aligned.stops, worths, aligned.slack)
        if kept is not None:
            kept[:, *here] = shares
        clipped[here] = _clipped(
            (_any_channel(is_white(code, worth)), trust)
            for code, trust, worth in zip(codes, trusts, worths, strict=True)
        )

    _everywhere(one, aligned.size)
    return MergeResult(RadianceImage(radiance, aligned.peak), kept, clipped, "classic")


def paints(network: Network | None, config: MergeConfig) -> bool:
    """Whether the result is a network's own picture, and not a merge of the real frames."""
    return network is not None and network.paints and config.resolution == "full"


def merge_with_network(
    network: Network,
    name: str,
    aligned: AlignedBracket,
    config: MergeConfig,
    on_progress: OnProgress | None = None,
    watch: Stopwatch | None = None,
) -> MergeResult:
    """Merge an aligned bracket with a network.

    Args:
        network: DFGNet or DFGMerge, on any device, in evaluation mode.
        name: of the model, for the result.
        aligned: the bracket.
        config: how to merge.
        on_progress: called as tiles are done.
        watch: counts the stages flow, network and merge.
    """
    watch = watch or Stopwatch()
    if config.align == "none" and network.inputs == "aligned":
        # Nothing at all is moved: such a network may be fed as its authors feed it.
        supposed = (Hypothesis.STILL, Hypothesis.SMOOTHED)
        aligned = replace(aligned, supposed=supposed, repaired=False)
    with torch.inference_mode():
        if not paints(network, config):
            return _merge_by_decision(network, name, aligned, config, on_progress, watch)
        with watch.stage("flow"):
            seen = Hypothesis.MOVED if network.inputs == "flow" else Hypothesis.STILL
            shown = replace(aligned, supposed=(seen,))
            flows = shown.reduced(config.proxy_reduction(aligned.size)).dense_flows()
            shown = replace(shown, flows=flows)
        with watch.stage("network"):
            stack = network.looks_at(shown.all_candidates(network.size_multiple))
            watch.give_back()
            run = run_in_memory(network, stack, config.tile, on_progress)
        assert isinstance(run.output, Tensor)
        height, width = aligned.size
        radiance = run.output[0, :, :height, :width].clamp(0.0, 1.0) * aligned.peak
        pixels = radiance.permute(1, 2, 0).numpy()
        clipped = _clipped(_whites(stack.crop(slice(height), slice(width))))
    picture = RadianceImage(pixels, aligned.peak)
    return MergeResult(picture, None, clipped, name, str(run.device), run.warnings)


def _merge_by_decision(
    network: Network,
    name: str,
    aligned: AlignedBracket,
    config: MergeConfig,
    on_progress: OnProgress | None,
    watch: Stopwatch,
) -> MergeResult:
    height, width = aligned.size
    with watch.stage("flow"):
        proxy = aligned.reduced(config.reduction(aligned.size)).with_flows()
    with watch.stage("network"):
        stack = proxy.all_candidates(network.size_multiple)
        watch.give_back()
        run = run_in_memory(network, stack, config.tile, on_progress)
        decision = run.output if isinstance(run.output, Decision) else guide(run.output, stack)
    device, warnings = str(run.device), run.warnings
    decision = decision.crop(slice(proxy.size[0]), slice(proxy.size[1]))
    with watch.stage("merge"):
        decided = _decided_parts(aligned, proxy, stack, decision)
    del proxy, stack, run, decision  # which may have done their part
    radiance = np.empty((height, width, 3), np.float32)
    count = len(aligned.frames)
    weights = np.zeros((count, height, width), np.float32) if config.weights else None
    clipped = np.empty((height, width), np.bool_)

    def one(tile: Tile) -> int:
        here = tile.rows, tile.columns
        with torch.inference_mode():
            part, decision = decided(*here)
            merge = carry_out(part, decision)
        planes = merge.radiance[0].numpy() * np.float32(aligned.peak)
        cv2.merge(list(planes), radiance[here])
        if weights is not None:
            for frame, share in zip(part.frames, merge.weights[0, :, 0].numpy(), strict=True):
                weights[frame, *here] += share
        clipped[here] = _clipped(_whites(part))
        return tile.rows.stop

    with watch.stage("merge"), _cores() as pool:
        for done in pool.map(one, tiles(height, width, MERGED_TILE, 0)):
            if on_progress:
                on_progress(done, height, "merge")
    picture = RadianceImage(radiance, aligned.peak)
    return MergeResult(picture, weights, clipped, name, device, warnings)


def _decided_parts(
    aligned: AlignedBracket, proxy: AlignedBracket, stack: Candidates, decision: Decision
) -> Callable[[slice, slice], tuple[Candidates, Decision]]:
    """A function that makes candidates of a part of a bracket, and says how to merge them.

    Args:
        aligned: the bracket.
        proxy: the same with flows, or reduced and with flows.
        stack: the proxy's candidates, or more to the right and below; only kept if the proxy is as
            large as the bracket.
        decision: how to merge these.
    """
    if proxy.size == aligned.size:
        return lambda rows, columns: (stack.crop(rows, columns), decision.crop(rows, columns))
    noise = aligned.measured_noise()
    if Hypothesis.MOVED in proxy.supposed:
        flows, settled = settle(proxy, stack, decision)
        full = replace(aligned, flows=flows, noise=noise, supposed=SETTLED)
    else:
        full, settled = replace(aligned, noise=noise), decision
    decision_part = _decision_parts(settled, aligned.size)
    return lambda rows, columns: (
        full.candidates(rows, columns),
        decision_part(rows, columns),
    )


def _whites(candidates: Candidates) -> Iterator[tuple[Mask, FloatImage]]:
    """What `_clipped` asks of candidates."""
    codes, trusts = candidates.code[0].numpy(), candidates.trust[0, :, 0].numpy()
    limits = candidates.limits[0, :, :, WHITE, None, None].numpy()
    for k in candidates.stops[0].argsort().tolist():
        white = codes[k] >= limits[k]
        yield white[0] | white[1] | white[2], trusts[k]


def _any_channel(white: Mask) -> Mask:
    """(H, W) of (H, W, 3)."""
    return white[..., 0] | white[..., 1] | white[..., 2]


def _clipped(pictures: Iterable[tuple[Mask, FloatImage]]) -> Mask:
    """Where no picture is there and not white.

    Args:
        pictures: where a channel is clipped (H, W), and the trust (H, W), of each. The darkest come
            first: as few pixels are white there, the others are often not looked at.
    """
    clipped: Mask = np.ones((), np.bool_)
    for white, trust in pictures:
        clipped = clipped & (white | (trust == 0))
        if not clipped.any():
            break
    return clipped


def settle(
    proxy: AlignedBracket, stack: Candidates, decision: Decision
) -> tuple[tuple[NDArray[np.float32] | None, ...], Decision]:
    """Which hypothesis of each frame is true where, so that the full size needs but one of them.

    Where both are true they show the same, and where one is not it has next to no weight.

    Args:
        proxy: a bracket with flows.
        stack: its candidates, or more to the right and below.
        decision: how to merge them.

    Returns:
        Its flows, which are nothing where a frame is still, see `SURE`; and the decision for the
        candidates of a bracket with the hypotheses `SETTLED`: the one has the weight of both.
    """
    frames, _, hypotheses = candidate_layout(len(proxy.frames), proxy.reference, SETTLED)
    index = {pair: k for k, pair in enumerate(zip(stack.frames, stack.hypotheses, strict=True))}
    logits = decision.logits[:, [index[pair] for pair in zip(frames, hypotheses, strict=True)]]
    flows = [None if flow is None else np.zeros_like(flow) for flow in proxy.flows]

    @torch.inference_mode()
    def one(tile: Tile) -> None:
        here = tile.rows, tile.columns
        decided = decision.crop(*here)
        weights = carry_out(stack.crop(*here), decided).weights[0]
        for k, frame in enumerate(frames):
            flow, before = flows[frame], proxy.flows[frame]
            if flow is None or before is None:
                continue
            pair = [index[frame, Hypothesis.STILL], index[frame, Hypothesis.MOVED]]
            still, moved = weights[pair]
            moves = moved > SURE * still
            share = torch.where(moves, moved, still) / (still + moved)  # NaN where neither counts
            own = torch.where(moves, *decided.logits[0, pair[::-1]])
            logits[0, k][..., *here] = own - share.log().nan_to_num(0.0)
            flow[here] = before[here] * moves[0].numpy()[..., None]

    _everywhere(one, proxy.size)
    return tuple(flows), Decision(logits, decision.correction)


def _decision_parts(
    decision: Decision, size: tuple[int, int]
) -> Callable[[slice, slice], Decision]:
    """A function that brings parts of a reduced picture's decision to the picture's size."""
    planes = torch.cat([decision.logits[0, :, 0], decision.correction[0]]).numpy()
    count = decision.logits.shape[1]
    # Side by side, four take little longer than one; OpenCV takes no more.
    groups = [np.dstack(list(planes[k : k + 4])) for k in range(0, len(planes), 4)]

    def part(rows: slice, columns: slice) -> Decision:
        enlarged = [_enlarged(group, size, rows, columns) for group in groups]
        large = torch.from_numpy(np.stack([p for group in enlarged for p in cv2.split(group)]))
        return Decision(large[None, :count, None], large[None, count:])

    return part


def merge_bracket(
    network: Network | None,
    name: str,
    bracket: Bracket,
    frames: Sequence[FloatImage | CodedFrame],
    config: MergeConfig,
    on_progress: OnProgress | None = None,
    watch: Stopwatch | None = None,
) -> tuple[MergeResult, AlignedBracket]:
    """Merge a bracket: align, decide, carry out.

    Args:
        network: DFGNet or DFGMerge, on any device; None for the classic merge.
        name: of the model, or "classic".
        bracket: the frames.
        frames: what the frames show; arrays are linear, (H, W, 3) float32 in [0, 1], 1 = a frame's
            own white.
        config: how to merge.
        on_progress: called as the work proceeds.
        watch: counts the stages align, flow, network and merge.

    Returns:
        The result, and how the frames were aligned.
    """
    watch = watch or Stopwatch()
    with watch.stage("align"):
        aligned = align_bracket(
            frames, bracket.stops, bracket.reference, align=config.align, on_progress=on_progress
        )
        small = aligned.reduced((SLACK_PIXELS / (aligned.size[0] * aligned.size[1])) ** 0.5)
        small = small.with_frames_that_meet()
        aligned = replace(aligned, stops=small.stops, slack=small.measured_slack())
    if network is None:
        if config.align == "flow":
            with watch.stage("flow"):
                small = aligned.reduced(config.reduction(aligned.size))
                aligned = replace(aligned, flows=small.dense_flows())
        with watch.stage("merge"):
            result = merge_classic(aligned, weights=config.weights)
            extend_inside(result, aligned)
            return result, aligned
    with watch.stage("align"):
        fused, shares = fuse_equal_exposures(aligned)
    if len(fused.frames) == 1:
        result = _as_it_is(fused, name)
    else:
        result = merge_with_network(network, name, fused, config, on_progress, watch)
    if not paints(network, config):
        with watch.stage("merge"):
            extend_inside(result, aligned)
    if result.weights is not None and shares:
        own = [w * share for w, (_, share) in zip(result.weights, shares, strict=True)]
        weights = np.zeros((len(aligned.frames), *aligned.size), np.float32)
        for (members, _), parts in zip(shares, own, strict=True):
            weights[members] = parts
        result = replace(result, weights=weights)
    return result, aligned


BORDER_PIXELS = 250_000
"""Size of the picture on which colours are continued to the borders."""


def extend_inside(result: MergeResult, aligned: AlignedBracket) -> None:
    """Give borders that only a white reference shows the colour of the inside (`core.borders`).

    Args:
        result: the merge, whose radiance is changed there.
        aligned: what it was made of.
    """
    darker = [
        alignment.transform
        for alignment, stops in zip(aligned.alignments, aligned.stops, strict=True)
        if stops < -SAME_EXPOSURE and alignment.model != "none"
    ]
    size = aligned.size
    small = _reduced_size(size, (BORDER_PIXELS / (size[0] * size[1])) ** 0.5)
    uncovered = bare(darker, size, small)
    if not uncovered.any():
        return
    reference = aligned.frames[aligned.reference]
    pixels = result.radiance.pixels
    reduced = reference.reduced(small)
    source = _any_channel(is_white(reduced.code(), reduced.worth)) & ~uncovered
    if np.count_nonzero(source) < LEAST_SOURCE:
        return
    inside = cv2.resize(pixels, small[::-1], interpolation=cv2.INTER_AREA)
    colours = continued(np.asarray(inside, np.float32), source)
    across = uncovered.astype(np.float32)

    def one(tile: Tile) -> None:
        here = tile.rows, tile.columns
        if not result.clipped[here].any():
            return
        strip = result.clipped[here] & (_enlarged(across, size, *here) > 0)
        if strip.any():
            white = is_white(reference.code(*here), reference.worth)[strip]
            colour = _enlarged(colours, size, *here)[strip]
            pixels[here][strip] = recoloured(pixels[here][strip], white, colour)

    _everywhere(one, size)


def equal_exposures(stops: Sequence[float]) -> list[list[int]]:
    """The indices of frames, dark to bright, in groups that are exposed alike."""
    groups: list[list[int]] = []
    for index, stop in enumerate(stops):
        if groups and stop - stops[groups[-1][0]] <= SAME_EXPOSURE:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def fuse_equal_exposures(
    aligned: AlignedBracket,
) -> tuple[AlignedBracket, list[tuple[list[int], FloatImage]]]:
    """Make one frame of those that are exposed alike (see `core.burst`).

    The networks were trained on frames of different exposures and would keep to the reference.

    Returns:
        A bracket of frames that differ in exposure; and for each of them the indices of the frames
        (M) it was made of, and their shares (M, H, W) in the reference's geometry. `aligned`
        itself and no shares where no two frames are alike.
    """
    groups = equal_exposures(aligned.stops)
    if len(groups) == len(aligned.stops):
        return aligned, []
    frames, alignments, stops, shares = [], [], [], []
    for members in groups:
        leader = aligned.reference if aligned.reference in members else members[0]
        rest = [index for index in members if index != leader]
        back = np.linalg.inv(aligned.alignments[leader].transform)
        others = []
        for index in rest:
            transform = aligned.alignments[index].transform @ back
            if np.allclose(transform / transform[2, 2], np.eye(3), atol=1e-9):
                transform = np.eye(3)
            code = aligned.frames[index].code()
            others.append(warp_with_trust(code, transform, aligned.size, is_darkest=True))
        code, share = fuse(aligned.frames[leader].code(), others)
        if aligned.alignments[leader].model != "none":
            moved = aligned.alignments[leader].transform
            share = np.stack([warp(part, moved, aligned.size)[0] for part in share])
            share /= np.maximum(share.sum(axis=0), np.finfo(np.float32).tiny)
        frames.append(CodedFrame.of_code(code, aligned.frames[leader].worth))
        alignments.append(aligned.alignments[leader])
        stops.append(aligned.stops[leader])
        shares.append(([leader, *rest], share))
    reference = next(k for k, group in enumerate(groups) if aligned.reference in group)
    fused = replace(
        aligned,
        frames=tuple(frames),
        stops=tuple(stops),
        reference=reference,
        alignments=tuple(alignments),
        flows=(None,) * len(frames),
    )
    return fused, shares


def _as_it_is(aligned: AlignedBracket, name: str) -> MergeResult:
    """The merge of a single frame."""
    code = aligned.frames[0].code()
    weights = np.ones((1, *aligned.size), np.float32)
    clipped = _any_channel(is_white(code, aligned.frames[0].worth))
    return MergeResult(RadianceImage(decode(code), aligned.peak), weights, clipped, name)
