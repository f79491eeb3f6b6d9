# ruff: noqa: T201
"""How fast does a training go, and where does the time go?

    python benchmarks/training_speed.py FOLDERS... [--device NAME] [--workers N] [--batch N]

FOLDERS hold HDR images or scenes, as for `dfghdr train`. First the making of samples alone is
timed, in one process: scenes, which stay on CPUs, and samples of them, on each device. Then each
network is trained for some steps with the default settings on `--device` (all there are: the CPU,
and CUDA), fed by `--workers` processes. The columns:

    made       samples a second that the workers' scenes and the device's samples allow, by
               themselves
    used       samples a second of the whole training, after its first steps
    network    share of a step in the network: forward, backward and optimiser
    samples    share of a step making samples of scenes on the device
    waiting    share of a step waiting for scenes
    workers    processes making scenes that it takes for the waiting to vanish
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.utils.data import default_collate

from dfghdr_cli.nets.registry import build
from dfghdr_cli.pipeline.recipes import PRESETS
from dfghdr_cli.pipeline.training_data import CropConfig, load_training_data
from dfghdr_cli.training.config import Stage
from dfghdr_cli.training.loop import StageRun
from dfghdr_cli.training.objectives import DisentangleObjective, MergeObjective
from dfghdr_cli.training.perceptual import PerceptualDistance, read_vgg
from dfghdr_cli.training.processes import Processes
from dfghdr_cli.training.samples import Samples, as_samples

NETWORKS = {
    "dfgmerge": ("dfgmerge", {}),
    "dfgmerge, width 48": ("dfgmerge", {"width": (48, 96, 144), "disentangle_width": 24}),
    "dfgnet, width 16": ("dfgnet", {"width": 16, "disentangle_width": 16, "code_length": 256}),
    "dfgnet, width 64": ("dfgnet", {}),
}
HEAD = "network             stage        device  made/s  used/s  network  samples  waiting  workers"


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """How long something takes until the device has done it."""
    begun = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


class Timed(Samples):
    """Samples that note how long making them takes on the device."""

    def __init__(self, samples: Samples, device: torch.device) -> None:
        self.samples, self.device = samples, device
        self.begins, self.raw = samples.begins, samples.raw
        self.prepared = samples.prepared
        self.spent = 0.0

    def __len__(self) -> int:
        return len(self.samples)  # pyright: ignore

    def finished(self, prepared: object, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        """See `Samples`."""
        made = []
        self.spent += seconds(
            lambda: made.append(self.samples.finished(prepared, indices)), self.device
        )
        return made[0]


def making(samples: Samples, batch: int, device: torch.device) -> tuple[float, float]:
    """Seconds that a scene takes one process, and a sample of it a device."""
    parts: list[dict[str, torch.Tensor]] = []
    count = min(batch, 8)

    def scenes() -> None:
        parts.append(default_collate([samples.raw(index) for index in range(count)]))

    samples.raw(0)
    scene = seconds(scenes, torch.device("cpu")) / count
    prepared = samples.prepared(parts, 0, device)
    samples.finished(prepared, range(count))
    rounds = [seconds(lambda: samples.finished(prepared, range(count)), device) for _ in range(5)]
    return scene, sum(rounds) / len(rounds) / count


def step_times(
    samples: Samples, name: str, stage: Stage, device: torch.device, options: argparse.Namespace
) -> tuple[float, float, float]:
    """Mean seconds a step of waiting, making samples, and the network."""
    architecture, sizes = NETWORKS[name]
    config = replace(
        PRESETS["default"].config,
        batch=options.batch,
        workers=options.workers,
        steps=options.steps,
        disentangle_steps=options.steps,
        perceptual=PRESETS["default"].config.perceptual if options.vgg else 0.0,
        precision="bf16" if device.type == "cuda" else "float32",
        compile=options.compile,
    )
    torch.manual_seed(0)
    network = build(architecture, sizes, decoder=True)
    plain = network.paints and device.type == "cpu"
    memory = torch.contiguous_format if plain else torch.channels_last
    network = network.to(device, memory_format=memory)  # pyright: ignore
    distance = PerceptualDistance(read_vgg(options.vgg)).to(device) if options.vgg else None
    if stage == "disentangle":
        objective = DisentangleObjective(network, config, distance)
    else:
        objective = MergeObjective(network, config)
    run = StageRun(stage, network, objective, config, Path(), device, Processes())
    timed = Timed(samples, device)
    batches = run.batches(timed)
    rows = []
    for step in range(options.steps):
        timed.spent, got = 0.0, []
        arrived = seconds(lambda got=got: got.append(next(batches)), device)
        worked = seconds(lambda got=got, step=step: run.update(got[0], 1e-4, str(step)), device)
        rows.append((arrived - timed.spent, timed.spent, worked))
    kept = rows[max(1, options.steps // 4) :]
    waiting, making_, working = (sum(column) / len(kept) for column in zip(*kept, strict=True))
    return waiting, making_, working


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--vgg", type=Path)
    parser.add_argument("--device", choices=["cpu", "cuda"], action="append")
    parser.add_argument("--network", choices=list(NETWORKS), action="append")
    parser.add_argument("--stage", choices=["disentangle", "merge"], action="append")
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--samples-per-scene", type=int, default=8)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    synth = replace(
        PRESETS["default"].synth, batch=options.batch, variants=options.samples_per_scene
    )
    found = load_training_data(options.folders, smallest=synth.crop)
    devices = options.device or ["cpu"] + ["cuda"] * torch.cuda.is_available()
    print(f"{torch.get_num_threads()} threads of {os.cpu_count()} cores, {options.workers} workers")
    with TemporaryDirectory() as cache:
        length = options.steps * synth.batch
        samples = as_samples(found.samples(synth, CropConfig(), 0, length, Path(cache)))
        for device in map(torch.device, devices):
            scene, sample = making(samples, options.batch, device)
            print(
                f"{device.type}: one process makes {1 / scene:.1f} scenes a second, the device "
                f"{1 / sample:.1f} samples; together, {synth.variants} of each scene, "
                f"{1 / (scene / synth.variants + sample):.1f} samples of {synth.crop} pixels"
            )
            print(HEAD)
            made = min(max(options.workers, 1) * synth.variants / scene, 1 / sample)
            for name in options.network or NETWORKS:
                for stage in options.stage or ("disentangle", "merge"):
                    times = step_times(samples, name, stage, device, options)
                    total, work = sum(times), sum(times[1:])
                    needed = math.ceil(options.batch / synth.variants * scene / work)
                    waiting, making_, network = (f"{part / total:.0%}" for part in times)
                    print(
                        f"{name:19} {stage:12} {device.type:7} {made:6.1f} "
                        f"{options.batch / total:7.2f} {network:>8} {making_:>8} {waiting:>8} "
                        f"{needed:>8}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
