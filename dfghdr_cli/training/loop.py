"""The training loop, the same for both stages and both architectures."""

from __future__ import annotations

import logging
import statistics
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import Dataset, Sampler

from dfghdr_cli.errors import DeviceError, DfghdrError
from dfghdr_cli.nets.dfgmerge import DFGMerge
from dfghdr_cli.nets.network import Network
from dfghdr_cli.training.checkpoint import (
    CHECKPOINT,
    GOOD_CHECKPOINT,
    damaged,
    load_latest,
    reduced,
    save_checkpoint,
)
from dfghdr_cli.training.config import Stage, TrainConfig, learning_rate
from dfghdr_cli.training.guard import Guard
from dfghdr_cli.training.objectives import (
    DisentangleObjective,
    MergeObjective,
    Objective,
)
from dfghdr_cli.training.perceptual import PerceptualDistance
from dfghdr_cli.training.processes import Processes
from dfghdr_cli.training.record import Record
from dfghdr_cli.training.samples import (
    Batch,
    RawParts,
    Sample,
    Samples,
    as_samples,
    made_by_workers,
)

log = logging.getLogger(__name__)

LOG_EVERY = 20
"""Steps between rows of log.csv."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a training after a step, for whoever watches.

    Attributes:
        stage: that is going on.
        step: steps of it that are done.
        steps: of it in all.
        fraction: of it that is done, by steps or time.
        loss: mean of the last 100 steps.
        learning_rate: of the last step.
        samples_per_second: since the start or resumption.
        waiting: share of that time spent waiting for samples.
        psnr: validation [dB], after a step with one.
    """

    stage: Stage
    step: int
    steps: int
    fraction: float
    loss: float
    learning_rate: float
    samples_per_second: float
    waiting: float
    psnr: float | None


Validation = Callable[[Network, int], float]
"""Mean PSNR [dB] of a network, after some step, on whatever it is validated on."""


LARGEST_PART = 8
"""Scenes or samples that a worker process makes in one go."""


class _Indices(Sampler[int]):
    """The numbers of a process's samples from one step to another, in order.

    Steps are left out that are made of the same raw parts as the one before.
    """

    def __init__(
        self, first: int, last: int, batch: int, processes: Processes, samples: Samples
    ) -> None:
        self.steps = range(first, last)
        self.batch = batch
        self.share = processes.share(batch)
        self.rank = processes.rank
        self.samples = samples

    def of(self, step: int) -> range:
        """Those of one step."""
        start = step * self.batch + self.rank * self.share
        return range(start, start + self.share)

    def begins(self, step: int) -> bool:
        """Whether a step needs raw parts that are not there."""
        return step == self.steps.start or self.samples.begins(step)

    def __iter__(self) -> Iterator[int]:
        for step in self.steps:
            if self.begins(step):
                yield from self.of(step)

    def __len__(self) -> int:
        return sum(map(self.begins, self.steps)) * self.share


def _next(parts: Iterator[Batch]) -> Batch:
    """The next part. An error of a worker comes without the worker's traceback in its message."""
    try:
        return next(parts)
    except DfghdrError as error:
        kind = type(error)
        raise kind(str(error).strip().rpartition(f"{kind.__name__}: ")[2]) from error
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise DeviceError(
            "A process that makes samples ended without a word; if memory ran short, take fewer "
            "--workers or a smaller --batch, then go on with --resume."
        ) from error


def train(
    network: Network,
    data: Dataset[Sample] | Mapping[Stage, Dataset[Sample]],
    config: TrainConfig,
    folder: Path,
    device: torch.device,
    *,
    perceptual: PerceptualDistance | None = None,
    teacher: DFGMerge | None = None,
    validations: Mapping[Stage, Validation] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    processes: Processes | None = None,
) -> Network:
    """Train `network` in place, resuming from `folder`/checkpoint.pt if it is there.

    Sample number i of a stage is data[i] whatever the number of workers, and everything else that
    changes is in the checkpoint, so a run limited by steps ends with the same weights whether or
    not it was interrupted. Stage merge starts from the averaged weights of stage disentangle.
    `folder` also receives log.csv, events for TensorBoard, and good.pt, the latest checkpoint at
    which the training was healthy.

    Args:
        network: DFGNet or DFGMerge, on `device`; with its decoder if it is to be disentangled.
        data: the samples of each stage, or of all, at least as many as its steps * batch.
        config: how to train.
        folder: an existing folder.
        device: where to train.
        perceptual: on `device`; needed for stage disentangle unless config.perceptual is 0.
        teacher: on `device`, for stage merge of a DFGMerge; see `MergeObjective`.
        validations: for each stage, what to call on the averaged network.
        on_progress: called after every step.
        processes: that train together; each is to call this with equal arguments. Only the first
            writes and validates.

    Returns:
        The averaged network.

    Raises:
        InputError: if the processes cannot share the batches.
        DivergedError: if the training diverges; names the batch.
        ModelError: if the checkpoint is damaged or of another network.
        ValueError: a caller's mistake: no decoder or no perceptual distance.
    """
    state, checkpoint = load_latest(folder) or (None, folder / CHECKPOINT)
    processes = processes or Processes()
    stages = list(config.stages)
    if state is not None:
        if state.get("stage") not in stages:
            raise damaged(checkpoint, ValueError("it is of another stage"))
        stages = stages[stages.index(state["stage"]) :]
    average: Network = network
    for stage in stages:
        if stage == "disentangle":
            if config.perceptual and perceptual is None:
                raise ValueError("stage disentangle needs a perceptual distance")
            objective = DisentangleObjective(network, config, perceptual)
        else:
            objective = MergeObjective(network, config, teacher)
        run = StageRun(stage, network, objective, config, folder, device, processes)
        if state is not None:
            run.restore(state)
            state = None
        own = data[stage] if isinstance(data, Mapping) else data
        run.go(own, (validations or {}).get(stage), on_progress)
        average = run.average.module  # pyright: ignore
        del run  # and with it what averages gradients
        if stage != stages[-1]:
            network.load_state_dict(average.state_dict())
    return average.eval()


def moving_average(decay: float) -> Callable[[Any, Any, Tensor | int], None]:
    """How `AveragedModel` is to average: exponentially, and faster at first.

    The n-th average keeps min(decay, n / (n + 9)) of the one before, so that a short training is
    not held back by its random start.
    """

    def update(averaged: Any, current: Any, count: Tensor | int) -> None:
        kept = min(decay, (1.0 + float(count)) / (10.0 + float(count)))
        get_ema_multi_avg_fn(kept)(averaged, current, count)

    return update


def _compiled(objective: Objective) -> nn.Module:
    """The objective, compiled anew for each composition of brackets that comes along."""
    # What the compiler does not understand runs as it is.
    torch._dynamo.config.suppress_errors = True  # pyright: ignore[reportPrivateImportUsage]
    torch._dynamo.config.recompile_limit = 64  # pyright: ignore[reportPrivateImportUsage]
    return torch.compile(objective, dynamic=False)  # pyright: ignore[reportReturnType]


class _Numbers:
    """Numbers on their way from a device, which need not wait for what it is given after them."""

    def __init__(self, values: Tensor) -> None:
        self.values = values.to("cpu", non_blocking=True)
        self.arrival = torch.cuda.Event() if values.device.type == "cuda" else None
        if self.arrival:
            self.arrival.record()

    def read(self) -> list[float]:
        """The numbers, once they are there."""
        if self.arrival:
            self.arrival.synchronize()
        return self.values.tolist()


class StageRun:
    """One stage of a run: its optimiser, its averaged weights and its loop."""

    def __init__(
        self,
        stage: Stage,
        network: Network,
        objective: Objective,
        config: TrainConfig,
        folder: Path,
        device: torch.device,
        processes: Processes,
    ) -> None:
        self.stage: Stage = stage
        self.network = network
        self.config = config
        self.folder = folder
        self.device = device
        self.processes = processes
        self.step, self.seconds = 0, 0.0
        network.requires_grad_(False)
        self.parameters = list(objective.trained())
        for parameter in self.parameters:
            parameter.requires_grad_(True)
        self.optimiser = torch.optim.AdamW(
            self.parameters, lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.average = AveragedModel(network, multi_avg_fn=moving_average(config.average))
        self.objective = processes.wrap(_compiled(objective) if config.compile else objective)
        self.guard = Guard(config.clip)

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        try:
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.guard.restore(state["guard"])
            self.step, self.seconds = int(state["step"]), float(state["seconds"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise damaged(self.folder / CHECKPOINT, error) from error
        log.info("resuming stage %s after step %d", self.stage, self.step)

    def save(self) -> None:
        """Write a checkpoint, and keep it as a good one if the training is healthy."""
        state = {
            "stage": self.stage,
            "step": self.step,
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "guard": self.guard.state(),
        }
        if self.config.checkpoints == "small":
            state |= {name: reduced(state[name]) for name in ("average", "optimiser")}
        if self.guard.healthy:
            save_checkpoint(self.folder / GOOD_CHECKPOINT, state)
        save_checkpoint(self.folder / CHECKPOINT, state)

    def update(
        self,
        batch: dict[str, Tensor],
        rate: float,
        name: str,
        meanwhile: Callable[[], object] | None = None,
    ) -> tuple[float, dict[str, float]]:
        """One step of the optimiser; returns the loss and its terms, over all processes.

        A GPU works through what it is given while this process goes on: `meanwhile` is called
        while it does, and may give it more to do.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        loss, parts = self.objective(batch)
        values = self.processes.mean(torch.stack([loss.detach(), *parts.values()]))
        self.optimiser.zero_grad(set_to_none=True)
        self.processes.backward(loss)
        usual = self.guard.usual_norm
        norms = nn.utils.clip_grad_norm_(self.parameters, self.guard.longest_norm)
        numbers = _Numbers(torch.stack([*values, norms]))
        if meanwhile:
            meanwhile()
        value, *others, norm = numbers.read()
        terms = dict(zip(parts, others, strict=True))
        self.guard.check_loss(value, terms["error"], name)
        if self.guard.admits(norm, name):
            self.optimiser.step()
            self.average.update_parameters(self.network)
        else:
            log.warning("skipped %s: gradient norm %.3g, usually %.3g", name, norm, usual)
        return value, terms

    def batches(self, data: Dataset[Sample]) -> Generator[Batch]:
        """This process's shares of the batches from the next one to the stage's last."""
        config, share = self.config, self.processes.share(self.config.batch)
        samples, steps = as_samples(data), config.steps_of(self.stage)
        indices = _Indices(self.step, steps, config.batch, self.processes, samples)
        # Small parts, so that all workers take part in a large batch.
        size = max(n for n in range(1, min(share, LARGEST_PART) + 1) if share % n == 0)
        on_gpu = self.device.type == "cuda"
        raw = RawParts(samples)
        with made_by_workers(raw, indices, size, config.workers, on_gpu) as parts:
            yield from self._finished(parts, share // size, samples, indices)

    def _finished(
        self, parts: Iterator[Batch], count: int, samples: Samples, indices: _Indices
    ) -> Iterator[Batch]:
        """Batches on the device, of raw parts that come `count` a step."""
        prepared: Any = None
        for step in indices.steps:
            if indices.begins(step):
                raw = [_next(parts) for _ in range(count)]
                prepared = samples.prepared(raw, step, self.device)
            yield samples.finished(prepared, indices.of(step))

    def go(
        self,
        data: Dataset[Sample],
        validation: Validation | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        """Train to the end of the stage."""
        config, stage, processes = self.config, self.stage, self.processes
        steps, limit = config.steps_of(stage), config.seconds_of(stage)
        if self.step >= steps or self.seconds >= limit:
            return
        batches = self.batches(data)
        before = config.disentangle_steps if config.stage == "all" and stage == "merge" else 0
        record = Record(self.folder, stage, self.step, before) if processes.first else None
        pace = _Pace(config.batch, self.seconds)
        self.network.train()
        try:
            pace.fetch(batches)
            while self.step < steps and self.seconds < limit:
                fraction = max(self.step / steps, self.seconds / limit)
                rate = learning_rate(config, self.step, fraction)
                numbers = f"{self.step * config.batch} to {(self.step + 1) * config.batch - 1}"
                name = f"step {self.step} of stage {stage} (samples {numbers})"
                batch = pace.begin_step()
                loss, terms = self.update(batch, rate, name, lambda: pace.fetch(batches))
                pace.end_step(loss)
                self.step += 1
                spent = torch.tensor(pace.seconds, dtype=torch.float64)
                self.seconds = processes.mean(spent).item()  # so that all stop together
                done = self.step == steps or self.seconds >= limit
                value = None
                due = self.step % config.validate_every == 0 or done
                if validation and processes.first and due:
                    self.average.eval()
                    value = validation(self.average.module, self.step)  # pyright: ignore
                if record and (self.step % LOG_EVERY == 0 or value is not None):
                    times = {"step": self.step, "seconds": round(self.seconds, 1)}
                    psnr = {"psnr": "" if value is None else round(value, 3)}
                    record.write(times | {"learning_rate": rate, **pace.row()} | psnr, terms)
                if processes.first and (self.step % config.checkpoint_every == 0 or done):
                    self.save()
                if on_progress:
                    fraction = min(1.0, max(self.step / steps, self.seconds / limit))
                    on_progress(pace.progress(stage, self.step, steps, fraction, rate, value))
        finally:
            batches.close()
            if record:
                record.close()


class _Pace:
    """How fast a stage goes and how well, since it began or was resumed."""

    def __init__(self, batch: int, spent: float) -> None:
        """`batch` is the number of samples a step; `spent` are the seconds before."""
        self.batch = batch
        self.started = time.monotonic() - spent
        self.spent = spent
        self.steps = 0
        self.waited = 0.0
        self.losses: deque[float] = deque(maxlen=100)
        self.recent: deque[tuple[float, float]] = deque(maxlen=LOG_EVERY)
        self.batch_to_come: Batch | None = None
        self.begun, self.waiting = self.started, 0.0

    def fetch(self, batches: Iterator[Batch]) -> None:
        """Get the batch of the step to come, if there is one."""
        begun = time.monotonic()
        self.batch_to_come = next(batches, None)
        self.waiting += time.monotonic() - begun

    def begin_step(self) -> Batch:
        """The batch of a step that begins now."""
        batch, self.batch_to_come = self.batch_to_come, None
        assert batch is not None  # each step fetches the next one's
        self.begun = time.monotonic()
        return batch

    def end_step(self, loss: float) -> None:
        """Count a step, and the time it spent waiting for samples and working."""
        now = time.monotonic()
        self.steps += 1
        self.waited += self.waiting
        self.losses.append(loss)
        self.recent.append((self.waiting, max(0.0, now - self.begun - self.waiting)))
        self.waiting = 0.0

    @property
    def seconds(self) -> float:
        """Since the stage began, without interruptions."""
        return time.monotonic() - self.started

    @property
    def samples_per_second(self) -> float:
        """Of all processes together."""
        return self.steps * self.batch / (self.seconds - self.spent)

    def row(self) -> dict[str, Any]:
        """The part of a row of log.csv that it knows."""
        waiting, working = (statistics.fmean(part) for part in zip(*self.recent, strict=True))
        return {
            "loss": statistics.fmean(self.losses),
            "samples_per_s": round(self.samples_per_second, 3),
            "data_s": round(waiting, 4),
            "network_s": round(working, 4),
        }

    def progress(
        self,
        stage: Stage,
        step: int,
        steps: int,
        fraction: float,
        rate: float,
        psnr: float | None,
    ) -> Progress:
        """For whoever watches."""
        return Progress(
            stage,
            step,
            steps,
            fraction,
            statistics.fmean(self.losses),
            rate,
            self.samples_per_second,
            self.waited / (self.seconds - self.spent),
            psnr,
        )
