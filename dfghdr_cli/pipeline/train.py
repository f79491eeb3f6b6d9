"""From folders of HDR images and scenes to a model folder."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset, default_collate

from dfghdr_cli import __version__
from dfghdr_cli.core.radiance import decode
from dfghdr_cli.core.types import Bracket
from dfghdr_cli.engine import align_bracket, choose_device, run_tiled
from dfghdr_cli.errors import InputError, ModelError, OutputError, OutputExistsError
from dfghdr_cli.io.scenes import find_scenes, read_scene
from dfghdr_cli.modelstore import load_model, save_model
from dfghdr_cli.nets.candidates import Candidates
from dfghdr_cli.nets.dfgmerge import Decision, compose
from dfghdr_cli.nets.golden import golden_case
from dfghdr_cli.nets.registry import Network, build, describe
from dfghdr_cli.pipeline.training_data import CropConfig, load_training_data
from dfghdr_cli.training.loop import (
    Progress,
    TrainConfig,
    Validation,
    train,
    validate_on_batches,
)
from dfghdr_cli.training.losses import psnr_mu
from dfghdr_cli.training.synth import Sample, SynthConfig

log = logging.getLogger(__name__)

CONFIG = "config.json"
CHECKPOINT = "checkpoint.pt"
ALIGNED = "aligned"


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """What to train, on what, and where to.

    Attributes:
        folders: of HDR images (.exr, .hdr) and scenes with truth, searched recursively.
        run: the folder of the run: configuration, log, checkpoint and, at the end, the model.
        architecture: "dfgmerge" or "dfgnet".
        hyper_parameters: of the architecture.
        config: how to train.
        synth: what the synthesised brackets are like, and the side and batch of all samples.
        crops: how samples are cut from scenes.
        start: name or folder of a model to start from, or None for random weights.
        validation: folder of scenes with truth, or None to validate on samples like those
            of the training.
        device: see `dfghdr_cli.engine.choose_device`.
        resume: whether to go on with a run that is there.
    """

    folders: Sequence[Path]
    run: Path
    architecture: str = "dfgmerge"
    hyper_parameters: dict[str, Any] = field(default_factory=dict)
    config: TrainConfig = field(default_factory=TrainConfig)
    synth: SynthConfig = field(default_factory=SynthConfig)
    crops: CropConfig = field(default_factory=CropConfig)
    start: str | None = None
    validation: Path | None = None
    device: str = "auto"
    resume: bool = False


def validate_on_scenes(folder: Path, device: torch.device) -> Validation:
    """Mean PSNR-mu over scenes with truth, exactly as the merge computes them.

    The frames are aligned once; only the network runs at each validation.

    Raises:
        InputError: if there is no scene or one of them cannot be read.
    """
    cases: list[tuple[Candidates, torch.Tensor]] = []
    for path in find_scenes(folder):
        scene = read_scene(path)
        bracket: Bracket = scene.bracket
        linears = [decode(frame.encoded()) for frame in bracket.frames]
        aligned = align_bracket(linears, bracket.stops, bracket.reference).with_flows()
        truth = torch.from_numpy(np.ascontiguousarray(scene.truth.transpose(2, 0, 1)))[None]
        cases.append((aligned.candidates(slice(None), device), truth.to(device)))
    if not cases:
        raise InputError(f"no scene with frames, exposure.txt and HDRImg in {folder}")

    def validate(network: nn.Module) -> float:
        values = []
        with torch.inference_mode():
            for candidates, truth in cases:
                out = run_tiled(network, candidates)  # pyright: ignore[reportArgumentType]
                if isinstance(out, Decision):
                    out = compose(candidates, out).radiance
                values.append(float(psnr_mu(out, truth)))
        return float(np.mean(values))

    return validate


def _validate_on_samples(
    data: Dataset[Sample], count: int, batch: int, device: torch.device
) -> Validation:
    samples = [data[index] for index in range(count)]
    batches = []
    for start in range(0, count, batch):
        collated = default_collate(samples[start : start + batch])
        batches.append({key: value.to(device) for key, value in collated.items()})
    return lambda network: validate_on_batches(batches, network)


def _first_network(request: TrainRequest) -> Network:
    """The network to train, with random weights or those of the model to start from."""
    if request.start is None:
        return build(request.architecture, request.hyper_parameters)
    model = load_model(request.start)
    if request.hyper_parameters or model.info.architecture != request.architecture:
        raise ModelError(
            f"{request.start} is a {model.info.architecture} of its own size; start from it with "
            f"--architecture {model.info.architecture} and without --width"
        )
    return model.network


def _prepare_run(request: TrainRequest, settings: dict[str, Any]) -> None:
    """Check that the run's folder is free, or holds the run to resume; writes nothing."""
    config = request.run / CONFIG
    try:
        there = config.exists()
        if there and not request.resume:
            raise OutputExistsError(
                f"{request.run} holds a run already; add --resume or choose another folder"
            )
        if not there and request.resume:
            raise InputError(f"{request.run} holds no run to resume; leave out --resume")
        if not there:
            if request.run.exists() and not request.run.is_dir():
                raise OutputError(f"{request.run} is a file; choose another folder for the run")
            return
        before = json.loads(config.read_text())
        for key in ("architecture", "hyper_parameters", "synth", "crops", "seed", "batch"):
            now = json.loads(json.dumps(settings[key]))
            if before.get(key) != now:
                raise InputError(
                    f"{request.run} was started with {key} = {before.get(key)}, not {now}; "
                    "resume with the same settings"
                )
    except (ValueError, AttributeError) as error:
        raise InputError(f"{config} is damaged ({error}); start afresh") from error
    except OSError as error:
        raise OutputError(f"cannot write to {request.run}: {error}") from error


def _write_settings(run: Path, settings: dict[str, Any]) -> None:
    try:
        run.mkdir(parents=True, exist_ok=True)
        (run / CONFIG).write_text(json.dumps(settings, indent=2) + "\n")
    except OSError as error:
        raise OutputError(f"cannot write to {run}: {error}") from error


def _remove_aligned(run: Path) -> None:
    """Delete what the training data stored in the run's folder, and the folder if it is empty."""
    shutil.rmtree(run / ALIGNED, ignore_errors=True)
    with contextlib.suppress(OSError):
        run.rmdir()


def train_model(
    request: TrainRequest, on_progress: Callable[[Progress], None] | None = None
) -> Path:
    """Train a network and save it as a model folder `run`/`name of run`.

    Args:
        request: what to train.
        on_progress: called after every step.

    Returns:
        The model folder.

    Raises:
        InputError: no image or scene can be used, or the run to resume is another one.
        ModelError: impossible hyper-parameters, or a damaged checkpoint.
        OutputExistsError: the run is there and `resume` was not asked for.
        OutputError: the run's folder cannot be written.
    """
    device = choose_device(request.device)
    torch.manual_seed(request.config.seed)
    network = _first_network(request)
    if request.synth.crop % 8:
        raise ModelError(f"a crop of {request.synth.crop} is not a multiple of 8")
    settings = {
        "version": __version__,
        "architecture": describe(network)[0],
        "hyper_parameters": asdict(network.config),
        "start": request.start and Path(request.start).name,
        "synth": asdict(request.synth),
        "crops": asdict(request.crops),
        "device": str(device),
        "folders": [str(folder) for folder in request.folders],
        **asdict(request.config),
    }
    _prepare_run(request, settings)
    found = load_training_data(request.folders, smallest=request.synth.crop)
    settings |= {
        "images": len(found.images),
        "scenes": found.scene_count,
        "skipped": found.skipped,
    }
    aligned = request.run / ALIGNED

    def samples(seed: int, length: int) -> Dataset[Sample]:
        return found.samples(request.synth, request.crops, seed, length, aligned)

    try:
        if request.validation is not None:
            validation = validate_on_scenes(request.validation, device)
        else:
            batch = request.synth.batch
            fixed = samples(2**31 - 1, 8 * batch)
            validation = _validate_on_samples(fixed, 8 * batch, batch, device)
    except InputError:
        _remove_aligned(request.run)
        raise
    _write_settings(request.run, settings)  # only now: a run is there once its input is sound
    data = samples(request.config.seed, request.config.steps * request.config.batch)
    network = network.to(device, memory_format=torch.channels_last)  # pyright: ignore
    trained = train(
        network,
        data,
        request.config,
        request.run,
        device,
        validation=validation,
        on_progress=on_progress,
    )
    trained = trained.to("cpu", memory_format=torch.contiguous_format)  # pyright: ignore
    folder = request.run / request.run.resolve().name
    facts = {k: v for k, v in settings.items() if k not in ("architecture", "hyper_parameters")}
    facts["folders"] = [os.path.basename(f) for f in settings["folders"]]  # noqa: PTH119
    try:
        save_model(folder, trained, golden=golden_case(trained), training=facts)  # pyright: ignore
    except OSError as error:
        raise OutputError(f"cannot write the model to {folder}: {error}") from error
    _remove_aligned(request.run)
    return folder
