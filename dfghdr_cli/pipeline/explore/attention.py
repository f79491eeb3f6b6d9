"""What the DFG modules do with a bracket: which frame they let through, where and how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dfghdr_cli.core.registration.aligned import align_bracket
from dfghdr_cli.core.types import FloatImage
from dfghdr_cli.io.bracket import read_bracket
from dfghdr_cli.merging.hypotheses import HypothesisStack
from dfghdr_cli.merging.prepare import prepare
from dfghdr_cli.nets.candidates import Candidates, Hypothesis
from dfghdr_cli.nets.compose import compose
from dfghdr_cli.nets.dfg import DFGModule
from dfghdr_cli.nets.network import Network
from dfghdr_cli.pipeline.explore.explorer import Explorer
from dfghdr_cli.pipeline.explore.grid import ev_text

MOST_PIXELS = 1_000_000
"""Larger brackets are reduced to this for the network."""
_HYPOTHESES = {
    Hypothesis.STILL: "as aligned",
    Hypothesis.MOVED: "warped by flow",
    Hypothesis.SMOOTHED: "smoothed",
}


@dataclass(frozen=True, slots=True)
class Attention:
    """Both attention units at every scale, for the K candidates of a bracket.

    A candidate is a frame as the network sees it: DFGNet looks at each frame once, DFGMerge also
    at the frames warped by optical flow and at the reference with its noise smoothed.

    Attributes:
        names: K, the file and what the candidate is.
        labels: K, short: its exposure and what it is.
        pictures: K, (H, W, 3) float32 gamma codes in [0, 1], in the reference's geometry.
        gates: for each scale (K, h, w), the spatial attention of eq. (8), the mean over channels
            of sigma(...), 0 to 1; empty without spatial attention units.
        exposure: for each scale (K,), the exposure attention of eq. (9), the mean over channels of
            the softmax; sums to 1. Empty without exposure attention units.
        spread: for each scale (K,), the standard deviation over channels of the same.
        weights: (K, H, W), the share of each candidate in the result, summing to 1; None where
            the network paints the result itself.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    pictures: tuple[FloatImage, ...]
    gates: tuple[NDArray[np.float32], ...]
    exposure: tuple[NDArray[np.float32], ...]
    spread: tuple[NDArray[np.float32], ...]
    weights: NDArray[np.float32] | None


def explore_attention(
    explorer: Explorer, paths: Sequence[Path], stops: Sequence[float] | None = None
) -> Attention:
    """Run a network over a bracket, aligned as in a merge, and note what its DFG modules do.

    Args:
        explorer: any model.
        paths: 2 to 9 photographs.
        stops: exposure of each [stops]; None takes the EXIF data.

    Raises:
        InputError: if the photographs cannot be used.
    """
    bracket = read_bracket(paths, stops=stops)
    aligned = align_bracket(prepare(bracket).coded).measured_at_white()
    height, width = aligned.size
    reduced = aligned.reduced((MOST_PIXELS / (height * width)) ** 0.5)
    network = explorer.model.network
    with torch.inference_mode():
        stack = HypothesisStack.measured(reduced)
        candidates = network.select(stack.candidates()).to(explorer.device)
        gates, exposure, weights = _attention(network, candidates)
    shown = [_HYPOTHESES[hypothesis] for hypothesis in candidates.hypotheses]
    exposures = [ev_text(aligned.coded.stops[frame]) for frame in candidates.frames]
    files = [bracket.frames[frame].name for frame in candidates.frames]
    return Attention(
        tuple(f"{file}, {what}" for file, what in zip(files, shown, strict=True)),
        tuple(f"{ev}, {what}" for ev, what in zip(exposures, shown, strict=True)),
        tuple(candidates.code[0].permute(0, 2, 3, 1).cpu().numpy()),
        tuple(_numpy(gate.mean(2)) for gate in gates),
        tuple(_numpy(weight.mean(2)) for weight in exposure),
        tuple(_numpy(weight.std(2, unbiased=False)) for weight in exposure),
        None if weights is None else _numpy(weights[:, :, 0]),
    )


def _numpy(x: Tensor) -> NDArray[np.float32]:
    """The one bracket of a batch."""
    return x[0].float().cpu().numpy()


def _attention(
    network: Network, candidates: Candidates
) -> tuple[list[Tensor], list[Tensor], Tensor | None]:
    """Gates (1, K, C, h, w) and exposure weights (1, K, C) by scale, and the merge's weights.

    All are cut to the picture's own size again.
    """
    height, width = candidates.code.shape[-2:]
    gates: list[Tensor] = []
    exposure: list[Tensor] = []

    def note(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        assert isinstance(module, DFGModule)
        features, codes, taps, roles = arguments
        if module.spatial is not None:
            gate = torch.stack(list(module.spatial.attention(features, taps, roles)), 1)
            step = padded.code.shape[-1] // gate.shape[-1]
            gates.append(gate[..., : -(-height // step), : -(-width // step)])
        if module.exposure is not None:
            exposure.append(module.exposure.attention(codes, roles))

    padded = candidates.pad(network.size_multiple)
    hooks = [module.register_forward_pre_hook(note) for module in network.dfg_modules]
    try:
        outputs = network.infer(padded)
    finally:
        for hook in hooks:
            hook.remove()
    if network.paints:
        return gates, exposure, None
    weights = compose(padded, network.decision(outputs, padded)).weights
    return gates, exposure, weights[..., :height, :width]
