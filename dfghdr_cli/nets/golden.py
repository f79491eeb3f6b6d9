"""Golden cases: a small bracket and what a network makes of it, stored beside its weights.

They tell whether a model still gives on this machine, and with this version of the program, what
it gave when it was saved. The input is stored too, so that a check depends on nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import torch
from torch import Tensor

from dfghdr_cli.nets.candidates import Candidates, Hypothesis, candidate_layout
from dfghdr_cli.nets.dfg import Role
from dfghdr_cli.nets.disentangle import to_signed
from dfghdr_cli.nets.network import Network

TOLERANCE = 1e-4
"""Largest absolute difference between golden and fresh outputs that is put down to rounding."""

DECODED_SHARE = 0.1
"""A difference of decoded pictures counts that much: the decoder's AdaIN divides by deviations,
some of them next to nothing, which makes rounding larger; 1.6e-4 was seen between one thread and
two."""

HEIGHT, WIDTH = 48, 64
STOPS = (-2.0, 0.0, 2.0)
"""The golden bracket: its size [pixels] and its exposures [stops]."""
INPUTS = ("code", "trust", "stops", "peak", "frames", "roles", "hypotheses")


def golden_case(network: Network) -> dict[str, Tensor]:
    """A small input and a network's outputs for it, as `golden.safetensors` holds them.

    The scene is computed, not drawn: waves, a dark wall, a lamp that clips all but the darkest
    frame, and a disc that moves from frame to frame and that the flow hypotheses bring back almost
    to its place. Codes are rounded to 8 bits before the network sees them.

    Args:
        network: in float32 on the CPU.

    Returns:
        The input (K candidates of 48 x 64 pixels; DFGNet gets none but the STILL ones): "code"
        (K, 3, H, W) uint8, 255 = 1.0; "trust" (K, 1, H, W) uint8; "stops" (K,) float32; "peak" (1,)
        float32; "frames", "roles" and "hypotheses" (K,) int64. And the outputs, float32: "hdr"
        (1, 3, H, W) of DFGNet, or "logits" (1, K, 1, H, W) and "correction" (1, 3, H, W) of
        DFGMerge; where there is a decoder also "decoded", the last candidate's
        spatial code with the first one's exposure code.
    """
    case = _scene((Hypothesis.STILL,) if network.paints else tuple(Hypothesis))
    return case | _outputs(network, _candidates(case))


def golden_error(network: Network, case: Mapping[str, Tensor]) -> float:
    """How far a network is from a golden case.

    Args:
        network: in float32 on the CPU.
        case: what `golden_case` returned for it.

    Returns:
        The largest absolute difference over all outputs, a tenth of it for decoded pictures;
        infinite where one is not finite.

    Raises:
        ValueError: if the case does not belong to such a network.
    """
    try:
        outputs = _outputs(network, _candidates(case))
        if set(case) != {*INPUTS, *outputs}:
            raise ValueError("it holds other outputs than this network gives")
        pairs = [(value, case[name]) for name, value in outputs.items()]
        if any(value.shape != golden.shape for value, golden in pairs):
            raise ValueError("its outputs have other shapes than this network's")
        differences = torch.stack([(value - golden).abs().max() for value, golden in pairs])
        differences *= torch.tensor([DECODED_SHARE if o == "decoded" else 1.0 for o in outputs])
    except (KeyError, IndexError, RuntimeError, TypeError) as failure:
        raise ValueError(f"it does not fit this network ({failure})") from failure
    largest = differences.max()  # NaN if there is one: torch's maximum does not lose it
    return float(largest.nan_to_num(float("inf")))


def _outputs(network: Network, candidates: Candidates) -> dict[str, Tensor]:
    with torch.no_grad():
        outputs = dict(zip(network.outputs, network.infer(candidates), strict=True))
        if network.disentangle.decoder is not None:
            images = to_signed(network.images(candidates)[0])
            outputs["decoded"] = network.disentangle(images[-1:], images[:1])
    return outputs


def _candidates(case: Mapping[str, Tensor]) -> Candidates:
    return Candidates(
        code=case["code"][None].float() / 255.0,
        trust=case["trust"][None].float(),
        stops=case["stops"][None],
        peak=case["peak"],
        frames=tuple(case["frames"].tolist()),
        roles=tuple(Role(role) for role in case["roles"].tolist()),
        hypotheses=tuple(Hypothesis(number) for number in case["hypotheses"].tolist()),
    )


def _scene(hypotheses: Collection[Hypothesis]) -> dict[str, Tensor]:
    """The inputs, computed in float64 so that rounding to 8 bits gives the same everywhere."""
    frames, roles, hypotheses = candidate_layout(len(STOPS), STOPS.index(0.0), hypotheses)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    codes, trust = [], []
    for frame, hypothesis in zip(frames, hypotheses, strict=True):
        moved = hypothesis is Hypothesis.MOVED
        drift = (frame - STOPS.index(0.0)) * (0.4 if moved else 6.0)
        inside = np.ones((1, HEIGHT, WIDTH), np.uint8)
        if frame == 0:
            inside[:, :, :3] = 0
        if frame == len(STOPS) - 1:
            inside[:, -2:, :] = 0
        radiance = _radiance(x, y, drift)
        code = np.clip(radiance * 2.0 ** STOPS[frame], 0.0, 1.0) ** (1.0 / 2.2)
        if hypothesis is Hypothesis.SMOOTHED:
            code = 0.9 * code + 0.1 * code.mean()
        codes.append(np.rint(code * 255.0).astype(np.uint8))
        trust.append(inside)
    return {
        "code": torch.from_numpy(np.stack(codes)),
        "trust": torch.from_numpy(np.stack(trust)),
        "stops": torch.tensor([STOPS[frame] for frame in frames]),
        "peak": torch.tensor([2.0 ** -min(STOPS)]),
        "frames": torch.tensor(frames),
        "roles": torch.tensor([int(role) for role in roles]),
        "hypotheses": torch.tensor([int(h) for h in hypotheses]),
    }


def _radiance(x: np.ndarray, y: np.ndarray, drift: float) -> np.ndarray:
    """(3, H, W) radiance, 1 = the reference's white, with the disc moved by `drift` pixels."""
    colours = np.array([0.9, 1.0, 1.15])[:, None, None]
    phases = np.arange(3)[:, None, None]
    waves = 0.35 + 0.2 * np.sin(x / 3.0 + phases) * np.cos(y / 4.0 - 0.5 * phases)
    wall = np.where(y > 0.7 * HEIGHT, 0.02 + 0.01 * np.sin(x * y / 40.0), waves)
    lamp = 6.0 * np.exp(-((x - 50.0) ** 2 + (y - 10.0) ** 2) / 60.0)
    disc = (x - 24.0 - drift) ** 2 + (y - 22.0 - 0.5 * drift) ** 2 < 64.0
    return np.where(disc, np.array([0.8, 0.25, 0.1])[:, None, None], colours * wall + lamp)
