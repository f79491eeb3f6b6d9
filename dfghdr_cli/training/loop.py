"""The training loop, the same for both architectures."""

from __future__ import annotations

import csv
import logging
import math
import os
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from dfghdr_cli.errors import InputError, ModelError
from dfghdr_cli.nets.candidates import Candidates
from dfghdr_cli.training.losses import MergeLossConfig, merge_loss, psnr_mu
from dfghdr_cli.training.synth import Sample, to_candidates

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How to train.

    Attributes:
        steps: batches to train for.
        minutes: stop (and finish the learning rate's descent) after this long; None = no limit.
        batch: samples a batch.
        learning_rate: the highest, after the warm-up and before the cosine descent to 2 % of it.
        warm_up: steps of rising learning rate.
        weight_decay: AdamW's.
        average: decay of the exponential moving average of the weights, which is what is released.
        clip: gradients are cut to this multiple of the median of the last 100 gradient norms.
        seed: of the weights' initial values and of the samples.
        workers: processes that make samples; 0 makes them in this one.
        checkpoint_every: steps between checkpoints.
        validate_every: steps between validations.
        loss: the loss's terms.
    """

    steps: int = 20_000
    minutes: float | None = None
    batch: int = 4
    learning_rate: float = 5e-4
    warm_up: int = 200
    weight_decay: float = 1e-4
    average: float = 0.998
    clip: float = 2.0
    seed: int = 0
    workers: int = 1
    checkpoint_every: int = 100
    validate_every: int = 500
    loss: MergeLossConfig = field(default_factory=MergeLossConfig)


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a training after a step, for whoever watches."""

    step: int
    steps: int
    fraction: float
    loss: float
    learning_rate: float
    samples_per_second: float
    waiting: float
    psnr_mu: float | None


Validation = Callable[[nn.Module], float]
"""Mean PSNR-mu [dB] of a network on whatever it is validated on."""


def restore(network: nn.Module, candidates: Candidates) -> tuple[Tensor, Tensor | None]:
    """The HDR image (B, 3, H, W) in network space, and the merge before its correction if any."""
    if network.paints:
        return network(candidates), None
    merge = network(candidates)
    return merge.radiance, merge.merged


def step_loss(network: nn.Module, batch: dict[str, Tensor], config: MergeLossConfig) -> Tensor:
    """Loss of a collated batch of samples."""
    candidates = to_candidates(batch)
    radiance, merged = restore(network, candidates)
    loss = merge_loss(radiance, batch["truth"], config)
    if merged is not None and config.merged:
        loss = loss + config.merged * merge_loss(merged, batch["truth"], config)
    return loss


def validate_on_batches(batches: Sequence[dict[str, Tensor]], network: nn.Module) -> float:
    """Mean PSNR-mu [dB] over fixed batches of samples."""
    values = []
    with torch.no_grad():
        for batch in batches:
            radiance, _ = restore(network, to_candidates(batch))
            values.extend(psnr_mu(radiance, batch["truth"]).tolist())
    return statistics.fmean(values)


def learning_rate(config: TrainConfig, step: int, fraction: float) -> float:
    """Linear warm-up by steps, then a cosine from 1 to 0.02 by the fraction done."""
    warm = min(1.0, (step + 1) / max(1, config.warm_up))
    cosine = 0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, fraction)))
    return config.learning_rate * warm * cosine


def save_checkpoint(path: Path, state: dict[str, object]) -> None:
    """Write a checkpoint so that a crash while writing leaves the previous one whole."""
    partial = path.with_suffix(".part")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def load_checkpoint(path: Path) -> dict[str, object]:
    """Read what `save_checkpoint` wrote.

    Raises:
        ModelError: if the file is damaged.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's unpickler raises many types at damaged files
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ModelError:
    reason = str(error).strip().partition("\n")[0]
    return ModelError(f"cannot resume from {path} ({reason}); delete it to start afresh")


def train(
    network: nn.Module,
    data: Dataset[Sample],
    config: TrainConfig,
    folder: Path,
    device: torch.device,
    *,
    validation: Validation | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> nn.Module:
    """Train `network` in place, resuming from `folder`/checkpoint.pt if it is there.

    Sample number i of the run is data[i] whatever the number of workers, and everything else that
    changes is in the checkpoint, so a run limited by steps ends with the same weights whether or
    not it was interrupted. `folder` also receives log.csv.

    Args:
        network: DFGNet or DFGMerge, on `device`.
        data: the samples, at least steps * batch of them.
        config: how to train.
        folder: an existing folder.
        device: where to train.
        validation: called on the averaged network.
        on_progress: called after every step.

    Returns:
        The averaged network.

    Raises:
        InputError: if the loss stops being finite; names the batch.
        ModelError: if the checkpoint is damaged or of another network.
    """
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.average))
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    norms: deque[float] = deque(maxlen=100)
    first, spent = 0, 0.0
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        state = load_checkpoint(checkpoint)
        try:
            network.load_state_dict(state["network"])  # pyright: ignore
            average.load_state_dict(state["average"])  # pyright: ignore
            optimiser.load_state_dict(state["optimiser"])  # pyright: ignore
            norms.extend(state["norms"])  # pyright: ignore
            first, spent = int(state["step"]), float(state["seconds"])  # pyright: ignore
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise _damaged(checkpoint, error) from error
        log.info("resuming after step %d", first)

    def save(step: int, seconds: float) -> None:
        save_checkpoint(
            checkpoint,
            {
                "step": step,
                "seconds": seconds,
                "network": network.state_dict(),
                "average": average.state_dict(),
                "optimiser": optimiser.state_dict(),
                "norms": list(norms),
            },
        )

    batches: Iterator[dict[str, Tensor]] = iter(
        DataLoader(
            data,
            batch_size=config.batch,
            sampler=range(first * config.batch, config.steps * config.batch),
            num_workers=config.workers,
            pin_memory=device.type == "cuda",
            prefetch_factor=4 if config.workers else None,
            # A forked worker would inherit OpenCV's thread pool without its threads, and hang.
            multiprocessing_context="spawn" if config.workers else None,
        )
    )
    started = time.monotonic()
    limit = math.inf if config.minutes is None else config.minutes * 60.0
    network.train()
    step, seconds, waited = first, spent, 0.0
    losses: deque[float] = deque(maxlen=100)
    with (folder / "log.csv").open("a", newline="") as file:
        table = csv.writer(file)
        if file.tell() == 0:
            table.writerow(["step", "seconds", "loss", "learning_rate", "samples_per_s", "psnr_mu"])
        while step < config.steps and seconds < limit:
            fraction = max(step / config.steps, seconds / limit)
            before = time.monotonic()
            batch = {k: v.to(device, non_blocking=True) for k, v in next(batches).items()}
            waited += time.monotonic() - before
            rate = learning_rate(config, step, fraction)
            for group in optimiser.param_groups:
                group["lr"] = rate
            loss = step_loss(network, batch, config.loss)
            name = f"samples {step * config.batch} to {(step + 1) * config.batch - 1}"
            if not torch.isfinite(loss):
                raise InputError(
                    f"the loss is not finite at step {step} ({name}); lower --learning-rate "
                    "and resume from the last checkpoint"
                )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            usual = statistics.median(norms) if len(norms) == norms.maxlen else math.inf
            norm = float(nn.utils.clip_grad_norm_(network.parameters(), config.clip * usual))
            if not math.isfinite(norm) or norm > 20.0 * usual:
                log.warning("skipped %s: gradient norm %.3g, usually %.3g", name, norm, usual)
            else:
                optimiser.step()
                average.update_parameters(network)
            if math.isfinite(norm):
                norms.append(norm)
            losses.append(loss.item())
            step += 1
            seconds = spent + time.monotonic() - started
            done = step == config.steps or seconds >= limit
            value = None
            if validation and (step % config.validate_every == 0 or done):
                average.eval()
                value = validation(average.module)
            if step % 20 == 0 or value is not None:
                pace = (step - first) * config.batch / (time.monotonic() - started)
                row = [step, round(seconds, 1), statistics.fmean(losses), rate, round(pace, 2)]
                table.writerow([*row, "" if value is None else round(value, 3)])
                file.flush()
            if step % config.checkpoint_every == 0 or done:
                save(step, seconds)
            if on_progress:
                elapsed = time.monotonic() - started
                on_progress(
                    Progress(
                        step,
                        config.steps,
                        max(step / config.steps, seconds / limit),
                        statistics.fmean(losses),
                        rate,
                        (step - first) * config.batch / elapsed,
                        waited / elapsed,
                        value,
                    )
                )
    average.eval()
    return average.module
