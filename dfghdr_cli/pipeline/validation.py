"""How good a network in training is, as a figure and as a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dfghdr_cli.core.encoding import mu_law
from dfghdr_cli.core.metrics.fidelity import psnr, psnr_mu
from dfghdr_cli.core.registration.aligned import align_bracket
from dfghdr_cli.core.types import FloatImage
from dfghdr_cli.io.charts import reduced
from dfghdr_cli.io.display import write_display
from dfghdr_cli.io.scenes import find_scenes, read_scene
from dfghdr_cli.merging.hypotheses import HypothesisStack
from dfghdr_cli.merging.prepare import gamma_coded
from dfghdr_cli.merging.tiling import run_tiled
from dfghdr_cli.nets.candidates import Candidates
from dfghdr_cli.nets.compose import compose
from dfghdr_cli.nets.network import Network
from dfghdr_cli.training.loop import Validation
from dfghdr_cli.training.objectives import decode_frames, disentangle_cases, restore
from dfghdr_cli.training.samples import Sample, batches_of
from dfghdr_cli.training.synth import to_candidates

ROWS = 6
"""Cases that a picture shows."""
PANEL = 360
"""Longest side of one panel of a picture [pixels]."""


def fixed_batches(
    data: Dataset[Sample], batches: int, batch: int, device: torch.device
) -> list[dict[str, Tensor]]:
    """The first batches of a training's samples, on a device."""
    return [dict(each) for each in batches_of(data, batch, batches, device)]


def validate_decoding(batches: Sequence[dict[str, Tensor]], pictures: Path) -> Validation:
    """Mean PSNR [dB] of the decoded D(E_sp(X_2), E_ex(X_i)) against Y'_i of eq. (3), as codes.

    Args:
        batches: collated samples.
        pictures: folder for a picture a validation: X_2, decoded and Y'_i beside one another.
    """

    def validate(network: Network, step: int) -> float:
        values, rows = [], []
        with torch.inference_mode():
            for batch in batches:
                images, targets, reference = disentangle_cases(network, batch)
                _, decoded, others = decode_frames(network, images, reference)
                decoded, targets = decoded.clamp(0.0, 1.0), targets[:, others]
                values += _each(psnr, decoded.flatten(0, 1), targets.flatten(0, 1))
                rows.append([images[0, reference], decoded[0, 0], targets[0, 0]])
        _write_picture(pictures / f"disentangle-{step:06d}.png", rows)
        return float(np.mean(values))

    return validate


def validate_on_samples(batches: Sequence[dict[str, Tensor]], pictures: Path) -> Validation:
    """Mean PSNR-mu [dB] over fixed batches of samples.

    Args:
        batches: collated samples.
        pictures: folder for a picture a validation: reference, merge and truth.
    """

    def validate(network: Network, step: int) -> float:
        values, rows = [], []
        with torch.inference_mode():
            for batch in batches:
                candidates = to_candidates(batch)
                radiance, _ = restore(network, candidates)
                values += _each(psnr_mu, radiance, batch["truth"])
                rows.append(_merge_row(candidates, radiance, batch["truth"]))
        _write_picture(pictures / f"merge-{step:06d}.png", rows)
        return float(np.mean(values))

    return validate


def validate_on_scenes(folder: Path, device: torch.device, pictures: Path) -> Validation:
    """Mean PSNR-mu [dB] over scenes with truth, exactly as the merge computes them.

    The frames are aligned once; only the network runs at each validation. Of a network that paints
    it is its own picture, as with `--resolution full`.

    Args:
        folder: the scenes.
        device: where the network is.
        pictures: folder for a picture a validation: reference, merge and truth.

    Raises:
        InputError: if there is no scene or one of them cannot be read.
    """
    cases: list[tuple[Candidates, Tensor]] = []
    for path in find_scenes(folder):
        scene = read_scene(path)
        stack = HypothesisStack.measured(align_bracket(gamma_coded(scene.bracket)))
        truth = torch.from_numpy(np.ascontiguousarray(scene.truth.transpose(2, 0, 1)))[None]
        cases.append((stack.candidates().to(device), truth.to(device)))

    def validate(network: Network, step: int) -> float:
        values, rows = [], []
        with torch.inference_mode():
            for candidates, truth in cases:
                outputs = run_tiled(network, candidates)
                if network.paints:
                    (out,) = outputs
                else:
                    out = compose(candidates, network.decision(outputs, candidates)).radiance
                values += _each(psnr_mu, out, truth)
                rows.append(_merge_row(candidates, out, truth))
        _write_picture(pictures / f"merge-{step:06d}.png", rows)
        return float(np.mean(values))

    return validate


def _each(metric: Callable[..., float], results: Tensor, truths: Tensor) -> list[float]:
    """A metric of every sample of two batches (B, ...)."""
    pairs = zip(results.cpu().numpy(), truths.cpu().numpy(), strict=True)
    return [metric(result, truth) for result, truth in pairs]


def _merge_row(candidates: Candidates, radiance: Tensor, truth: Tensor) -> list[Tensor]:
    """The first sample's reference, merge and truth after the mu-law."""
    panels = (candidates.radiance()[0, 0], radiance[0], truth[0])
    return [mu_law(panel.clamp(0.0, 1.0)) for panel in panels]


def _write_picture(path: Path, rows: Sequence[Sequence[Tensor]]) -> None:
    """Write a grid of panels (3, H, W) in [0, 1], all of one size within a row."""
    lines = [np.hstack([_panel(panel) for panel in row]) for row in rows[:ROWS]]
    width = max(line.shape[1] for line in lines)
    lines = [np.pad(line, ((0, 0), (0, width - line.shape[1]), (0, 0))) for line in lines]
    path.parent.mkdir(exist_ok=True)
    write_display(path, np.vstack(lines), bits=8, overwrite=True)


def _panel(image: Tensor) -> FloatImage:
    return reduced(image.clamp(0.0, 1.0).permute(1, 2, 0).cpu().numpy(), PANEL)
