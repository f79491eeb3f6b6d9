"""Hypotheses on an aligned bracket, as candidates that compete, and which of them is true."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from dfghdr_cli.core.frames import EVERYTHING
from dfghdr_cli.core.registration.aligned import AlignedBracket, Flows, enlarged, with_border
from dfghdr_cli.core.restoration.noise import NO_NOISE, NoiseCurve, smooth
from dfghdr_cli.core.tiles import Tile, for_every_tile
from dfghdr_cli.nets.candidates import Candidates, Hypothesis, candidate_layout
from dfghdr_cli.nets.compose import Decision
from dfghdr_cli.nets.compose_tiles import compose_tile

SURE = 4.0
"""Take the flow-warped candidate where its weight is at least this many times the aligned one's:
flow of a reduced picture is less exact than the alignment
(docs/notes/experiments.md, Large photographs)."""
SETTLED = (Hypothesis.MOVED, Hypothesis.SMOOTHED)
"""Hypotheses kept once `settle` has chosen between STILL and MOVED."""


@dataclass(frozen=True, slots=True)
class HypothesisStack:
    """An aligned bracket, and hypotheses on its frames.

    Attributes:
        aligned: the bracket.
        hypotheses: under which frames are candidates; the reference as it is is always one.
        flows: how things moved, for MOVED; of a reduced picture, or of this size.
        noise: of the reference, for SMOOTHED, see `core.restoration.noise.noise_curve`.
        one_each: whether a frame has no other candidate than its MOVED one, so that it stays as it
            is aligned where flow leads out of it.
    """

    aligned: AlignedBracket
    hypotheses: tuple[Hypothesis, ...]
    flows: Flows
    noise: NoiseCurve = NO_NOISE
    one_each: bool = False

    @classmethod
    def measured(
        cls, aligned: AlignedBracket, hypotheses: Collection[Hypothesis] = tuple(Hypothesis)
    ) -> HypothesisStack:
        """A stack whose flow and noise, as far as needed, are estimated at the bracket's size."""
        moved, smoothed = (h in hypotheses for h in (Hypothesis.MOVED, Hypothesis.SMOOTHED))
        flows = aligned.dense_flows() if moved else (None,) * len(aligned.coded.frames)
        noise = aligned.measured_noise() if smoothed else NO_NOISE
        return cls(aligned, tuple(hypotheses), flows, noise)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) [pixels]."""
        return self.aligned.size

    def candidates(self, rows: slice = EVERYTHING, columns: slice = EVERYTHING) -> Candidates:
        """Those in a part of the picture, on the CPU."""
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

        for_every_tile(fill, self.size)
        for planes in (whole.code, whole.trust):
            planes[..., height:, :] = planes[..., height - 1 : height, :]
            planes[..., width:] = planes[..., width - 1 : width]
        return whole

    def _blank(self, height: int, width: int) -> Candidates:
        """Candidates that show nothing yet, but are trusted."""
        coded = self.aligned.coded
        frames, roles, hypotheses = candidate_layout(
            len(coded.frames), coded.reference, self.hypotheses
        )
        worths = [coded.frames[frame].worth for frame in frames]
        return Candidates(
            torch.empty((1, len(frames), 3, height, width)),
            torch.ones((1, len(frames), 1, height, width)),
            torch.tensor([[coded.stops[f] for f in frames]], dtype=torch.float32),
            torch.tensor([coded.peak], dtype=torch.float32),
            frames,
            roles,
            hypotheses,
            coded.white_tolerance,
            torch.from_numpy(np.stack([worth.limits for worth in worths])),
            torch.from_numpy(np.stack([worth.tolerance for worth in worths])),
            coded.misfit,
        )

    def _fill(self, blank: Candidates, rows: slice, columns: slice) -> None:
        """Let blank candidates show a part of the picture that is as large."""
        aligned, own = self.aligned, self.aligned.coded.reference
        around, inside = with_border(rows, columns, self.size)
        reference = aligned.coded.frames[own].code(*around)
        codes, trusts = blank.code[0].numpy(), blank.trust[0, :, 0].numpy()
        for k, (frame, hypothesis) in enumerate(zip(blank.frames, blank.hypotheses, strict=True)):
            if hypothesis is Hypothesis.SMOOTHED:
                code = smooth(reference, self.noise)[inside]
            elif frame == own:
                code = reference[inside]
            else:
                code, trusts[k] = aligned.warped(
                    frame,
                    rows,
                    columns,
                    flow=self.flows[frame] if hypothesis is Hypothesis.MOVED else None,
                    keep_outside=self.one_each,
                    reference=reference,
                )
            cv2.split(code, list(codes[k]))


def settle(
    proxy: HypothesisStack, candidates: Candidates, decision: Decision
) -> tuple[Flows, Decision]:
    """Which hypothesis of each frame is true where, so that the full size needs but one of them.

    Where both are true they show the same, and where one is not it has next to no weight.

    Args:
        proxy: a bracket with flows.
        candidates: its candidates, or more to the right and below.
        decision: how to merge them.

    Returns:
        Its flows, which are nothing where a frame is still, see `SURE`; and the decision for the
        candidates of `SETTLED`: the one has the weight of both.
    """
    coded = proxy.aligned.coded
    frames, _, hypotheses = candidate_layout(len(coded.frames), coded.reference, SETTLED)
    keys = zip(candidates.frames, candidates.hypotheses, strict=True)
    index = {pair: k for k, pair in enumerate(keys)}
    logits = decision.logits[:, [index[pair] for pair in zip(frames, hypotheses, strict=True)]]
    flows = [None if flow is None else np.zeros_like(flow) for flow in proxy.flows]

    @torch.inference_mode()
    def one(tile: Tile) -> None:
        here = tile.rows, tile.columns
        decided = decision.crop(*here)
        weights = compose_tile(candidates.crop(*here), decided).weights[0]
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

    for_every_tile(one, proxy.size)
    return tuple(flows), Decision(logits, decision.correction)


def decided_parts(
    aligned: AlignedBracket, proxy: HypothesisStack, candidates: Candidates, decision: Decision
) -> Callable[[slice, slice], tuple[Candidates, Decision]]:
    """A function that makes candidates of a part of a bracket, and says how to merge them.

    Args:
        aligned: the bracket.
        proxy: the same, or reduced, and the hypotheses on it.
        candidates: the proxy's, or more to the right and below; only kept if the proxy is as large
            as the bracket.
        decision: how to merge these.
    """
    if proxy.size == aligned.size:
        return lambda rows, columns: (candidates.crop(rows, columns), decision.crop(rows, columns))
    noise = aligned.measured_noise()
    if Hypothesis.MOVED in proxy.hypotheses:
        flows, decision = settle(proxy, candidates, decision)
        full = HypothesisStack(aligned, SETTLED, flows, noise, one_each=True)
    else:
        full = HypothesisStack(aligned, proxy.hypotheses, proxy.flows, noise)
    decision_part = decision_parts(decision, aligned.size)
    return lambda rows, columns: (full.candidates(rows, columns), decision_part(rows, columns))


def decision_parts(decision: Decision, size: tuple[int, int]) -> Callable[[slice, slice], Decision]:
    """A function that brings parts of a reduced picture's decision to the picture's size."""
    planes = torch.cat([decision.logits[0, :, 0], decision.correction[0]]).numpy()
    count = decision.logits.shape[1]
    # Side by side, four take little longer than one; OpenCV takes no more.
    groups = [np.dstack(list(planes[k : k + 4])) for k in range(0, len(planes), 4)]

    def part(rows: slice, columns: slice) -> Decision:
        parts = [enlarged(group, size, rows, columns) for group in groups]
        large = torch.from_numpy(np.stack([p for group in parts for p in cv2.split(group)]))
        return Decision(large[None, :count, None], large[None, count:])

    return part
