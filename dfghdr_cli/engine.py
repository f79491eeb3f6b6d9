"""Running a network over a bracket: device, precision, statistics, tiles, proxy.

A picture goes through in four passes, each bounded in memory. Frames are aligned to the reference;
the network's whole-image statistics are gathered tile by tile; the network runs in tiles with
those statistics, on the picture itself or on a reduced proxy; and the decision is carried out on
the full-size frames, strip by strip.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from dfghdr_cli.core.align import Alignment, Method, align_frame, warp, warp_with_trust
from dfghdr_cli.core.burst import fuse
from dfghdr_cli.core.flow import dense_flow
from dfghdr_cli.core.radiance import CLIPPED_CODE, classic_merge, decode, encode, smooth
from dfghdr_cli.core.tiles import tiles
from dfghdr_cli.core.types import SAME_EXPOSURE, Bracket, FloatImage, MergeResult, RadianceImage
from dfghdr_cli.errors import DeviceError
from dfghdr_cli.nets.candidates import Candidates, Hypothesis, candidate_layout
from dfghdr_cli.nets.dfgmerge import Decision, DFGMerge, compose
from dfghdr_cli.nets.dfgnet import DFGNet
from dfghdr_cli.nets.disentangle import DisentangleNetwork, ImageStatistics, to_signed
from dfghdr_cli.nets.registry import Network

log = logging.getLogger(__name__)

OnProgress = Callable[[int, int, str], None]
"""Called with (done, total, what)."""


@dataclass(frozen=True, slots=True)
class MergeConfig:
    """How to merge.

    Attributes:
        align: how to align the frames, see `core.align.Method`.
        resolution: "full" runs the network on every pixel; "auto" lets a proxy of at most
            `proxy_pixels` decide where the network can, which DFGNet cannot.
        proxy_pixels: largest picture the network sees under "auto" [pixels].
        tile: side of the network's tiles [pixels].
    """

    align: Method = "auto"
    resolution: Literal["auto", "full"] = "auto"
    proxy_pixels: int = 2_500_000
    tile: int = 512

    def reduction(self, size: tuple[int, int]) -> float:
        """By how much the sides of a picture of (height, width) shrink for the network; <= 1."""
        if self.resolution == "full":
            return 1.0
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


def image_statistics(
    network: DisentangleNetwork, images: Tensor, tile: int = 512
) -> ImageStatistics:
    """Whole-image statistics of a stack of images, gathered tile by tile.

    Args:
        network: the encoders.
        images: (B, 3, H, W) gamma codes in [0, 1]; H and W multiples of 16.
        tile: side of a tile [pixels].

    Returns:
        What `DisentangleNetwork.statistics` returns of the whole images, up to rounding.
    """
    stride, halo = network.exposure.stride, network.exposure.halo
    height, width = images.shape[-2:]

    def sums(function: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, int]:
        """Sum and sum of squares (B, C) of a feature map, and its number of pixels."""
        total, squares, count = 0.0, 0.0, 0
        for t in tiles(height, width, tile, halo, stride):
            features = function(to_signed(images[..., t.rows, t.columns]))
            step = (t.rows.stop - t.rows.start) // features.shape[-2]
            rows = slice(t.keep_rows.start // step, t.keep_rows.stop // step)
            columns = slice(t.keep_columns.start // step, t.keep_columns.stop // step)
            kept = features[..., rows, columns].double()
            total = total + kept.sum((2, 3))
            squares = squares + kept.square().sum((2, 3))
            count += kept.shape[-1] * kept.shape[-2]
        assert isinstance(total, Tensor)
        assert isinstance(squares, Tensor)
        return total, squares, count

    def moments(function: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        total, squares, pixels = sums(function)
        count = pixels * total.shape[1]
        mean = total.sum(1) / count
        variance = (squares.sum(1) - count * mean.square()) / (count - 1)
        return mean.float(), variance.clamp_min(0.0).sqrt().float()

    spatial = network.spatial
    first = moments(spatial.head)
    second = moments(lambda x: spatial.down1(F.relu(spatial.norm1(spatial.head(x), first))))
    total, _, pixels = sums(network.exposure.features)
    code = network.exposure.project((total / pixels).float())
    return ImageStatistics(code, (first, second))


def run_tiled(
    network: Network,
    candidates: Candidates,
    tile: int = 512,
    on_progress: OnProgress | None = None,
) -> Tensor | Decision:
    """Run a network over one bracket in tiles, exactly as if it ran whole.

    Args:
        network: DFGNet or DFGMerge, on the candidates' device.
        candidates: one bracket (B = 1) of any size.
        tile: side of a tile [pixels].
        on_progress: called after each tile.

    Returns:
        DFGNet's picture (1, 3, H, W) in network space, or DFGMerge's decision.
    """
    height, width = candidates.code.shape[-2:]
    padded = candidates.pad(network.size_multiple)
    rows, columns = padded.code.shape[-2:]
    images = network.images(padded).flatten(0, 1)
    statistics = image_statistics(network.disentangle, images, tile)
    parts = list(tiles(rows, columns, tile, network.halo, network.stride))
    out: list[Tensor] = []
    for number, part in enumerate(parts):
        crop = padded.crop(part.rows, part.columns)
        if isinstance(network, DFGNet):
            results = [network(crop, statistics)]
        else:
            decision = network.decide(crop, statistics)
            results = [decision.logits, decision.correction]
        if not out:
            out = [r.new_empty((*r.shape[:-2], rows, columns)) for r in results]
        for whole, piece in zip(out, results, strict=True):
            whole[..., *part.target] = piece[..., part.keep_rows, part.keep_columns]
        if on_progress:
            on_progress(number + 1, len(parts), "network")
    out = [whole[..., :height, :width] for whole in out]
    return out[0] if isinstance(network, DFGNet) else Decision(out[0], out[1])


def _tensor(image: FloatImage, device: torch.device) -> Tensor:
    """(H, W, C) array to a (C, H, W) tensor."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).to(device)


@dataclass(frozen=True, slots=True)
class AlignedBracket:
    """A bracket's frames as gamma codes, and where each shows what the reference shows.

    Attributes:
        codes: N frames (H, W, 3) float32 in [0, 1], not resampled.
        stops: exposure of each relative to the reference [stops].
        reference: index of the reference.
        alignments: one a frame; the identity for the reference.
        flows: one a frame, (h, w, 2) at the size of the proxy [its pixels]; None without.
    """

    codes: tuple[FloatImage, ...]
    stops: tuple[float, ...]
    reference: int
    alignments: tuple[Alignment, ...]
    flows: tuple[NDArray[np.float32] | None, ...]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) [pixels]."""
        height, width = self.codes[0].shape[:2]
        return height, width

    @property
    def peak(self) -> float:
        """White of the darkest frame as radiance."""
        return 2.0 ** -min(self.stops)

    def reduced(self, factor: float) -> AlignedBracket:
        """The same bracket with its sides multiplied by `factor` <= 1."""
        if factor >= 1.0:
            return self
        height, width = self.size
        rows, columns = max(1, round(height * factor)), max(1, round(width * factor))
        codes = tuple(
            cv2.resize(code, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float32)
            for code in self.codes
        )
        # Pixel centres: x_small = (x + 0.5) * factor - 0.5.
        sx, sy = columns / width, rows / height
        scale = np.array([[sx, 0, sx / 2 - 0.5], [0, sy, sy / 2 - 0.5], [0, 0, 1]])
        alignments = tuple(
            Alignment(scale @ a.transform @ np.linalg.inv(scale), a.model, a.residual, a.inliers)
            if a.model != "none"
            else a
            for a in self.alignments
        )
        return AlignedBracket(codes, self.stops, self.reference, alignments, self.flows)

    def with_flows(self) -> AlignedBracket:
        """The same bracket with dense flow estimated at its present size."""
        reference = decode(self.codes[self.reference])
        flows = []
        for index, stop in enumerate(self.stops):
            if index == self.reference:
                flows.append(None)
                continue
            aligned, _ = self.warped(index, slice(None))
            flows.append(dense_flow(reference, decode(aligned), stop))
        return AlignedBracket(self.codes, self.stops, self.reference, self.alignments, tuple(flows))

    def warped(
        self, frame: int, rows: slice, *, flow: bool = False
    ) -> tuple[FloatImage, FloatImage]:
        """One frame in the reference's geometry, in some rows of the picture.

        Returns:
            Gamma codes (R, W, 3) and how far each pixel can be trusted (R, W), both float32 in
            [0, 1]; see `dfghdr_cli.core.align.warp_with_trust`.
        """
        height, width = self.size
        start, stop, _ = rows.indices(height)
        size = (stop - start, width)
        moved = self.flows[frame] if flow else None
        if moved is None and self.alignments[frame].model == "none":
            return self.codes[frame][start:stop], np.ones(size, np.float32)
        down = np.array([[1, 0, 0], [0, 1, start], [0, 0, 1.0]])
        return warp_with_trust(
            self.codes[frame],
            self.alignments[frame].transform @ down,
            size,
            None if moved is None else _flow_strip(moved, self.size, start, stop),
            is_darkest=self.stops[frame] <= min(self.stops) + SAME_EXPOSURE,
        )

    def candidates(self, rows: slice, device: torch.device) -> Candidates:
        """The candidates in a strip of the picture; only the STILL ones if there are no flows."""
        still = len(self.codes) > 1 and all(flow is None for flow in self.flows)
        frames, roles, hypotheses = candidate_layout(len(self.codes), self.reference, still=still)
        codes, trusts = [], []
        for frame, hypothesis in zip(frames, hypotheses, strict=True):
            code, trust = self.warped(frame, rows, flow=hypothesis is Hypothesis.MOVED)
            if hypothesis is Hypothesis.SMOOTHED:
                code = self.smoothed(rows)
            codes.append(_tensor(code, device))
            trusts.append(torch.from_numpy(trust)[None].to(device))
        stops = torch.tensor([[self.stops[f] for f in frames]], dtype=torch.float32, device=device)
        peak = torch.tensor([self.peak], dtype=torch.float32, device=device)
        return Candidates(
            torch.stack(codes)[None],
            torch.stack(trusts)[None],
            stops,
            peak,
            frames,
            roles,
            hypotheses,
        )

    def smoothed(self, rows: slice) -> FloatImage:
        """The reference with its noise smoothed, in some rows of the picture: (R, W, 3)."""
        start, stop, _ = rows.indices(self.size[0])
        first = max(0, start - 2)  # what the 5 x 5 pixels of the filter see beyond the strip
        strip = smooth(self.codes[self.reference][first : stop + 2])
        return strip[start - first : stop - first]


def _flow_strip(
    flow: NDArray[np.float32], size: tuple[int, int], start: int, stop: int
) -> NDArray[np.float32]:
    """Rows start .. stop of a flow brought to the picture's size, in its pixels."""
    height, width = size
    if flow.shape[:2] == size:
        return flow[start:stop]
    sx, sy = flow.shape[1] / width, flow.shape[0] / height
    x = (np.arange(width, dtype=np.float32) + 0.5) * sx - 0.5
    y = (np.arange(start, stop, dtype=np.float32) + 0.5) * sy - 0.5
    grid_x, grid_y = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    strip = cv2.remap(flow, grid_x, grid_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return (strip / np.array([sx, sy], np.float32)).astype(np.float32)


def align_bracket(
    linears: Sequence[FloatImage],
    stops: Sequence[float],
    reference: int,
    *,
    align: Method = "auto",
    on_progress: OnProgress | None = None,
) -> AlignedBracket:
    """Align every frame to the reference.

    Args:
        linears: N frames (H, W, 3) float32, linear in [0, 1], dark to bright.
        stops: exposure of each relative to the reference [stops].
        reference: index of the reference.
        align: how; of "flow", only its homography is found here.
        on_progress: called after each frame.
    """
    identity = Alignment(np.eye(3), "none", 0.0, 0)
    alignments = []
    for index, (frame, stop) in enumerate(zip(linears, stops, strict=True)):
        if index == reference or align == "none":
            alignments.append(identity)
        else:
            model = "homography" if align == "flow" else align
            alignments.append(align_frame(linears[reference], frame, stop, model))
        if on_progress:
            on_progress(index + 1, len(linears), "align")
    codes = tuple(encode(frame) for frame in linears)
    nothing = (None,) * len(codes)
    return AlignedBracket(codes, tuple(stops), reference, tuple(alignments), nothing)


def merge_classic(aligned: AlignedBracket) -> MergeResult:
    """The classic merge of the frames under their alignments and flows, if there are any.

    See `core.radiance.classic_merge`.
    """
    pairs = [aligned.warped(frame, slice(None), flow=True) for frame in range(len(aligned.codes))]
    trusts = [trust for _, trust in pairs]
    radiance, weights = classic_merge([decode(code) for code, _ in pairs], trusts, aligned.stops)
    white = [(code.max(2) >= CLIPPED_CODE) | (trust == 0) for code, trust in pairs]
    clipped = np.all(white, axis=0)
    return MergeResult(RadianceImage(radiance, aligned.peak), weights, clipped, "classic")


def merge_with_network(
    network: Network,
    name: str,
    aligned: AlignedBracket,
    config: MergeConfig,
    device: torch.device,
    on_progress: OnProgress | None = None,
) -> MergeResult:
    """Merge an aligned bracket with a network.

    Args:
        network: DFGNet or DFGMerge, on `device`, in evaluation mode.
        name: of the model, for the result.
        aligned: the bracket.
        config: how to merge.
        device: where to compute.
        on_progress: called as tiles and strips are done.
    """
    with torch.inference_mode():
        if isinstance(network, DFGMerge):
            return _merge_by_decision(network, name, aligned, config, device, on_progress)
        whole = aligned.candidates(slice(None), device)
        picture = run_tiled(network, whole, config.tile, on_progress)
        assert isinstance(picture, Tensor)
        radiance = picture[0].clamp(0.0, 1.0) * aligned.peak
        pixels = radiance.permute(1, 2, 0).cpu().numpy()
        clipped = (whole.code[0].amax(1) >= CLIPPED_CODE).all(0).cpu().numpy()
    return MergeResult(RadianceImage(pixels, aligned.peak), None, clipped, name)


def _merge_by_decision(
    network: DFGMerge,
    name: str,
    aligned: AlignedBracket,
    config: MergeConfig,
    device: torch.device,
    on_progress: OnProgress | None,
) -> MergeResult:
    height, width = aligned.size
    proxy = aligned.reduced(config.reduction(aligned.size)).with_flows()
    full = AlignedBracket(
        aligned.codes, aligned.stops, aligned.reference, aligned.alignments, proxy.flows
    )
    stack = proxy.candidates(slice(None), device)
    decision = run_tiled(network, stack, config.tile, on_progress)
    assert isinstance(decision, Decision)
    frames = np.array(stack.frames)
    del stack
    radiance = np.empty((height, width, 3), np.float32)
    weights = np.zeros((len(aligned.codes), height, width), np.float32)
    clipped = np.empty((height, width), np.bool_)
    step = max(16, 1_000_000 // width)
    for start in range(0, height, step):
        rows = slice(start, min(start + step, height))
        strip = full.candidates(rows, device)
        here = _decision_strip(decision, proxy.size, (height, width), rows)
        merge = compose(strip, here)
        pixels = merge.radiance[0] * aligned.peak
        radiance[rows] = pixels.permute(1, 2, 0).cpu().numpy()
        shares = merge.weights[0, :, 0].cpu().numpy()
        for index, frame in enumerate(frames):
            weights[frame, rows] += shares[index]
        white = strip.code[0].amax(1) >= CLIPPED_CODE
        outside = strip.trust[0, :, 0] == 0
        clipped[rows] = (white | outside).all(0).cpu().numpy()
        if on_progress:
            on_progress(rows.stop, height, "merge")
    return MergeResult(RadianceImage(radiance, aligned.peak), weights, clipped, name)


def _decision_strip(
    decision: Decision, small: tuple[int, int], size: tuple[int, int], rows: slice
) -> Decision:
    """A decision at the picture's size, for some of its rows."""
    if small == size:
        return Decision(decision.logits[..., rows, :], decision.correction[..., rows, :])
    height, width = size
    y = (torch.arange(rows.start, rows.stop, device=decision.logits.device) + 0.5) / height
    x = (torch.arange(width, device=decision.logits.device) + 0.5) / width
    grid_y, grid_x = torch.meshgrid(y * 2 - 1, x * 2 - 1, indexing="ij")
    grid = torch.stack([grid_x, grid_y], -1)[None]

    def sample(x: Tensor) -> Tensor:
        return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)

    return Decision(sample(decision.logits[:, :, 0])[:, :, None], sample(decision.correction))


def merge_bracket(
    network: Network | None,
    name: str,
    bracket: Bracket,
    linears: Sequence[FloatImage],
    config: MergeConfig,
    device: torch.device,
    on_progress: OnProgress | None = None,
) -> tuple[MergeResult, AlignedBracket]:
    """Merge a bracket: align, decide, carry out.

    Args:
        network: DFGNet or DFGMerge on `device`; None for the classic merge.
        name: of the model, or "classic".
        bracket: the frames.
        linears: the frames linearised, (H, W, 3) float32 in [0, 1], 1 = a frame's own white.
        config: how to merge.
        device: where the network computes.
        on_progress: called as the work proceeds.

    Returns:
        The result, and how the frames were aligned.
    """
    aligned = align_bracket(
        linears, bracket.stops, bracket.reference, align=config.align, on_progress=on_progress
    )
    if network is None:
        if config.align == "flow":
            small = aligned.reduced(config.reduction(aligned.size)).with_flows()
            aligned = replace(aligned, flows=small.flows)
        return merge_classic(aligned), aligned
    fused, shares = fuse_equal_exposures(aligned)
    if len(fused.codes) == 1:
        result = _as_it_is(fused, name)
    else:
        result = merge_with_network(network, name, fused, config, device, on_progress)
    if result.weights is not None and shares:
        own = [w * share for w, (_, share) in zip(result.weights, shares, strict=True)]
        weights = np.zeros((len(aligned.codes), *aligned.size), np.float32)
        for (members, _), parts in zip(shares, own, strict=True):
            weights[members] = parts
        result = replace(result, weights=weights)
    return result, aligned


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
    groups: list[list[int]] = []
    for index, stop in enumerate(aligned.stops):
        if groups and stop - aligned.stops[groups[-1][0]] <= SAME_EXPOSURE:
            groups[-1].append(index)
        else:
            groups.append([index])
    if len(groups) == len(aligned.stops):
        return aligned, []
    codes, alignments, stops, shares = [], [], [], []
    for members in groups:
        leader = aligned.reference if aligned.reference in members else members[0]
        rest = [index for index in members if index != leader]
        back = np.linalg.inv(aligned.alignments[leader].transform)
        others = []
        for index in rest:
            transform = aligned.alignments[index].transform @ back
            if np.allclose(transform / transform[2, 2], np.eye(3), atol=1e-9):
                transform = np.eye(3)
            code = aligned.codes[index]
            others.append(warp_with_trust(code, transform, aligned.size, is_darkest=True))
        code, share = fuse(aligned.codes[leader], others)
        if aligned.alignments[leader].model != "none":
            moved = aligned.alignments[leader].transform
            share = np.stack([warp(part, moved, aligned.size)[0] for part in share])
            share /= np.maximum(share.sum(axis=0), np.finfo(np.float32).tiny)
        codes.append(code)
        alignments.append(aligned.alignments[leader])
        stops.append(aligned.stops[leader])
        shares.append(([leader, *rest], share))
    reference = next(k for k, group in enumerate(groups) if aligned.reference in group)
    nothing = (None,) * len(codes)
    fused = AlignedBracket(tuple(codes), tuple(stops), reference, tuple(alignments), nothing)
    return fused, shares


def _as_it_is(aligned: AlignedBracket, name: str) -> MergeResult:
    """The merge of a single frame."""
    code = aligned.codes[0]
    weights = np.ones((1, *aligned.size), np.float32)
    clipped = code.max(2) >= CLIPPED_CODE
    return MergeResult(RadianceImage(decode(code), aligned.peak), weights, clipped, name)
