"""Merging a bracket: align, decide, carry out.

A picture goes through in four passes, each bounded in memory. Frames are aligned to the reference;
the network's whole-image statistics are gathered tile by tile; the network runs in tiles with
those statistics, on the picture itself or on a reduced proxy; and the decision is carried out on
the full-size frames, tile by tile on all processor cores.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from dfghdr_cli.core.borders import extend_inside
from dfghdr_cli.core.classic import merge_classic
from dfghdr_cli.core.clipping import any_channel, white_everywhere
from dfghdr_cli.core.encoding import decode
from dfghdr_cli.core.frames import CodedBracket
from dfghdr_cli.core.registration.align import Alignment
from dfghdr_cli.core.registration.aligned import AlignedBracket, Flows, align_bracket
from dfghdr_cli.core.tiles import MERGED_TILE, Tile, on_all_cores, tiles
from dfghdr_cli.core.types import FloatImage, Mask, MergeResult, RadianceImage
from dfghdr_cli.core.worth import WHITE, is_white
from dfghdr_cli.merging.config import MergeConfig, paints
from dfghdr_cli.merging.equal_exposures import fuse_equal_exposures, shared_out
from dfghdr_cli.merging.hypotheses import HypothesisStack, decided_parts
from dfghdr_cli.merging.tiling import run_in_memory
from dfghdr_cli.nets.candidates import Candidates, Hypothesis
from dfghdr_cli.nets.compose_tiles import compose_tile
from dfghdr_cli.nets.network import Network
from dfghdr_cli.resources import Trace


@dataclass(frozen=True, slots=True)
class Merged:
    """A merge, and what it found out about the frames.

    Attributes:
        result: the picture.
        alignments: one a frame.
        flowed: one a frame, whether the classic merge moved it by dense flow, too.
        stops: exposure of each frame relative to the reference, as merged [stops].
        white_tolerance: see `CodedBracket`.
    """

    result: MergeResult
    alignments: tuple[Alignment, ...]
    flowed: tuple[bool, ...]
    stops: tuple[float, ...]
    white_tolerance: float


def merge_bracket(
    network: Network | None,
    coded: CodedBracket,
    config: MergeConfig,
    *,
    weights: bool = True,
    trace: Trace | None = None,
) -> Merged:
    """Merge a bracket.

    Args:
        network: on any device, in evaluation mode; None for the classic merge.
        coded: the frames, see `merging.prepare`.
        config: how to merge.
        weights: whether the result tells how much of each frame is in each pixel, which takes a
            third of a picture's memory for each frame.
        trace: told of progress, and counts the stages align, flow, network and merge.
    """
    trace = trace or Trace()
    with trace.stage("align"):
        aligned = align_bracket(coded, align=config.align, on_progress=trace.step)
        aligned = aligned.measured_at_white()
    flows: Flows = (None,) * len(coded.frames)
    if network is not None:
        result = _merge_differing(network, aligned, config, weights, trace)
    else:
        if config.align == "flow":
            with trace.stage("flow"):
                flows = aligned.reduced(config.reduction(aligned.size)).dense_flows()
        with trace.stage("merge"):
            result = merge_classic(aligned, flows, weights=weights)
    if not paints(network, config):
        with trace.stage("merge"):
            extend_inside(result, aligned)
            trace.step(1, 1, "merge")
    flowed = tuple(flow is not None for flow in flows)
    coded = aligned.coded
    return Merged(result, aligned.alignments, flowed, coded.stops, coded.white_tolerance)


def _merge_differing(
    network: Network, aligned: AlignedBracket, config: MergeConfig, weights: bool, trace: Trace
) -> MergeResult:
    """Merge with a network, which sees but one frame of each exposure."""
    with trace.stage("align"):
        fused, shares = fuse_equal_exposures(aligned)
    if len(fused.coded.frames) == 1:
        result = _as_it_is(fused.coded, weights)
    else:
        result = merge_with_network(network, fused, config, weights=weights, trace=trace)
    if result.weights is None or not shares:
        return result
    return replace(result, weights=shared_out(result.weights, shares, len(aligned.coded.frames)))


def _as_it_is(coded: CodedBracket, weights: bool) -> MergeResult:
    """The merge of a single frame."""
    (frame,) = coded.frames
    code = frame.code()
    ones = np.ones((1, *coded.size), np.float32) if weights else None
    clipped = any_channel(is_white(code, frame.worth))
    return MergeResult(RadianceImage(decode(code), coded.peak), ones, clipped)


def merge_with_network(
    network: Network,
    aligned: AlignedBracket,
    config: MergeConfig,
    *,
    weights: bool = True,
    trace: Trace | None = None,
) -> MergeResult:
    """Merge an aligned bracket of frames that differ in exposure; arguments of `merge_bracket`."""
    trace = trace or Trace()
    hypotheses = tuple(Hypothesis)
    if config.align == "none" and network.inputs == "aligned":
        # Nothing at all is moved: such a network may be fed as its authors feed it.
        hypotheses = (Hypothesis.STILL, Hypothesis.SMOOTHED)
        aligned = replace(aligned, repaired=False)
    with torch.inference_mode():
        if paints(network, config):
            return _painted(network, aligned, config, trace)
        return _merge_by_decision(network, aligned, hypotheses, config, weights, trace)


def _painted(
    network: Network, aligned: AlignedBracket, config: MergeConfig, trace: Trace
) -> MergeResult:
    """The network's own picture."""
    seen = (Hypothesis.MOVED if network.inputs == "flow" else Hypothesis.STILL,)
    with trace.stage("flow"):
        proxy = aligned.reduced(config.proxy_reduction(aligned.size))
        shown = replace(HypothesisStack.measured(proxy, seen), aligned=aligned)
    with trace.stage("network"):
        candidates = network.select(shown.all_candidates(network.size_multiple))
        trace.give_back()
        run = run_in_memory(network, candidates, config.tile, trace.step)
    height, width = aligned.size
    radiance = run.outputs[0][0, :, :height, :width].clamp(0.0, 1.0) * aligned.coded.peak
    clipped = white_everywhere(_whites(candidates.crop(slice(height), slice(width))))
    picture = RadianceImage(radiance.permute(1, 2, 0).numpy(), aligned.coded.peak)
    return MergeResult(picture, None, clipped, str(run.device), run.warnings)


def _merge_by_decision(
    network: Network,
    aligned: AlignedBracket,
    hypotheses: tuple[Hypothesis, ...],
    config: MergeConfig,
    weights: bool,
    trace: Trace,
) -> MergeResult:
    """The real frames, merged as the network decides."""
    height, width = aligned.size
    with trace.stage("flow"):
        reduced = aligned.reduced(config.reduction(aligned.size))
        proxy = HypothesisStack.measured(reduced, hypotheses)
    with trace.stage("network"):
        candidates = proxy.all_candidates(network.size_multiple)
        trace.give_back()
        run = run_in_memory(network, candidates, config.tile, trace.step)
        decision = network.decision(run.outputs, candidates)
    device, warnings = str(run.device), run.warnings
    decision = decision.crop(slice(proxy.size[0]), slice(proxy.size[1]))
    with trace.stage("merge"):
        decided = decided_parts(aligned, proxy, candidates, decision)
    del reduced, proxy, candidates, run, decision  # free them before the full-size merge
    radiance = np.empty((height, width, 3), np.float32)
    count, peak = len(aligned.coded.frames), np.float32(aligned.coded.peak)
    shares = np.zeros((count, height, width), np.float32) if weights else None
    clipped = np.empty((height, width), np.bool_)

    def one(tile: Tile) -> int:
        here = tile.rows, tile.columns
        with torch.inference_mode():
            part, decision = decided(*here)
            merge = compose_tile(part, decision)
        cv2.merge(list(merge.radiance[0].numpy() * peak), radiance[here])
        if shares is not None:
            for frame, share in zip(part.frames, merge.weights[0, :, 0].numpy(), strict=True):
                shares[frame, *here] += share
        clipped[here] = white_everywhere(_whites(part))
        return tile.rows.stop

    with trace.stage("merge"), on_all_cores() as pool:
        for done in pool.map(one, tiles(height, width, MERGED_TILE, 0)):
            trace.step(done, height, "merge")
    picture = RadianceImage(radiance, aligned.coded.peak)
    return MergeResult(picture, shares, clipped, device, warnings)


def _whites(candidates: Candidates) -> Iterator[tuple[Mask, FloatImage]]:
    """What `white_everywhere` asks of candidates."""
    codes, trusts = candidates.code[0].numpy(), candidates.trust[0, :, 0].numpy()
    limits = candidates.limits[0, :, :, WHITE, None, None].numpy()
    for k in candidates.stops[0].argsort().tolist():
        white = codes[k] >= limits[k]
        yield white[0] | white[1] | white[2], trusts[k]
