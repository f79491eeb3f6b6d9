# ruff: noqa: T201
"""How fast does a training go, and where does the time go?

    python benchmarks/training_speed.py FOLDERS... [--vgg FILE] [--device NAME] [--workers N]

FOLDERS hold HDR images or scenes, as for `dfghdr train`. First the samples alone are timed, made
by one process. Then each stage of each architecture is trained for some steps with the default
settings, on `--device` (all there are: the CPU, and CUDA). The columns:

    samples/s       of the whole training, after its first steps
    waiting         share of the time spent waiting for samples
    forward, backward, optimiser
                    shares of the rest (the optimiser includes cutting gradients and averaging)
    workers         processes making samples that it takes for the waiting to be at most 20 %
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset

from dfghdr_cli.nets.registry import build
from dfghdr_cli.pipeline.train import PRESETS
from dfghdr_cli.pipeline.training_data import CropConfig, load_training_data
from dfghdr_cli.training.config import Stage
from dfghdr_cli.training.loop import moving_average
from dfghdr_cli.training.objectives import DisentangleObjective, MergeObjective
from dfghdr_cli.training.perceptual import PerceptualDistance, read_vgg
from dfghdr_cli.training.synth import Sample

NETWORKS = {
    "dfgmerge": ("dfgmerge", {}),
    "dfgnet, width 16": ("dfgnet", {"width": 16, "disentangle_width": 16, "code_length": 256}),
    "dfgnet, width 64": ("dfgnet", {}),
}
HEAD = "network           stage        device  samples/s  waiting  forward  backward  optimiser"


def ticks(device: torch.device, stages: int) -> Iterator[float]:
    """Times at which the device has done all that it was told [s]."""
    for _ in range(stages):
        if device.type == "cuda":
            torch.cuda.synchronize()
        yield time.perf_counter()


def measure(
    data: Dataset[Sample],
    network_name: str,
    stage: Stage,
    device: torch.device,
    vgg: Path | None,
    steps: int,
    workers: int,
) -> tuple[list[float], int]:
    """Mean seconds a step of waiting, forward, backward and optimiser; and the batch."""
    architecture, sizes = NETWORKS[network_name]
    config = replace(
        PRESETS["default"].config,
        perceptual=PRESETS["default"].config.perceptual if vgg else 0.0,
        precision="bf16" if device.type == "cuda" else "float32",
    )
    torch.manual_seed(0)
    network = build(architecture, sizes, decoder=True)
    network = network.to(device, memory_format=torch.channels_last)  # pyright: ignore
    distance = PerceptualDistance(read_vgg(vgg)).to(device) if vgg else None
    if stage == "disentangle":
        objective = DisentangleObjective(network, config, distance)
    else:
        objective = MergeObjective(network, config)
    network.requires_grad_(False)
    parameters = list(objective.trained())
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimiser = torch.optim.AdamW(parameters, lr=1e-4)
    average = AveragedModel(network, multi_avg_fn=moving_average(config.average))
    loader = iter(
        DataLoader(
            data,
            batch_size=config.batch,
            num_workers=workers,
            pin_memory=device.type == "cuda",
            prefetch_factor=4 if workers else None,
            multiprocessing_context="spawn" if workers else None,
        )
    )
    spent = []
    for _ in range(steps):
        clock = ticks(device, 5)
        times = [next(clock)]
        batch: dict[str, Tensor] = {
            k: v.to(device, non_blocking=True) for k, v in next(loader).items()
        }
        times.append(next(clock))
        loss, _ = objective(batch)
        times.append(next(clock))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        times.append(next(clock))
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        average.update_parameters(network)
        times.append(next(clock))
        spent.append([after - before for before, after in pairwise(times)])
    kept = spent[max(1, steps // 4) :]
    return [sum(column) / len(kept) for column in zip(*kept, strict=True)], config.batch


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--vgg", type=Path)
    parser.add_argument("--device", choices=["cpu", "cuda"], action="append")
    parser.add_argument("--network", choices=list(NETWORKS), action="append")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    synth = PRESETS["default"].synth
    found = load_training_data(arguments.folders, smallest=synth.crop)
    devices = arguments.device or ["cpu"] + ["cuda"] * torch.cuda.is_available()
    with TemporaryDirectory() as cache:
        length = arguments.steps * synth.batch
        data = found.samples(synth, CropConfig(), 0, length, Path(cache))
        data[0]
        begun = time.perf_counter()
        for index in range(1, 17):
            data[index]
        sample = (time.perf_counter() - begun) / 16
        print(f"one process makes {1 / sample:.1f} samples of {synth.crop} pixels a second")
        print(f"{torch.get_num_threads()} threads, {arguments.workers} workers\n")
        print(f"{HEAD}  workers")
        for device in map(torch.device, devices):
            for name in arguments.network or NETWORKS:
                for stage in ("disentangle", "merge"):
                    times, batch = measure(
                        data, name, stage, device, arguments.vgg, arguments.steps, arguments.workers
                    )
                    total, work = sum(times), sum(times[1:])
                    needed = math.ceil(batch * sample / (work / 0.8))
                    shares = [times[0] / total, *(part / work for part in times[1:])]
                    waiting, forward, backward, optimiser = (f"{x:.0%}" for x in shares)
                    print(
                        f"{name:17} {stage:12} {device.type:7} {batch / total:8.2f} {waiting:>8} "
                        f"{forward:>8} {backward:>9} {optimiser:>10} {needed:>8}"
                    )


if __name__ == "__main__":
    main()
