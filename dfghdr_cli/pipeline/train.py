"""From folders of HDR images and scenes to a model folder."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import Dataset

from dfghdr_cli import __version__
from dfghdr_cli.atomic import atomic_write, ensure_no_input, make_folder
from dfghdr_cli.choices import Inputs
from dfghdr_cli.devices import choose_device
from dfghdr_cli.errors import (
    DeviceError,
    InputError,
    ModelError,
    OutputError,
    OutputExistsError,
)
from dfghdr_cli.modelfolders import find_model, model_files
from dfghdr_cli.modelstore import load_model, save_model
from dfghdr_cli.nets.dfgmerge import DFGMerge, DFGMergeConfig
from dfghdr_cli.nets.dfgnet import DFGNet, DFGNetConfig
from dfghdr_cli.nets.golden import golden_case
from dfghdr_cli.nets.network import Network
from dfghdr_cli.nets.registry import build, describe
from dfghdr_cli.pipeline.learning_curves import write_curves
from dfghdr_cli.pipeline.training_data import CropConfig, TrainingData, load_training_data
from dfghdr_cli.pipeline.validation import (
    fixed_batches,
    validate_decoding,
    validate_on_samples,
    validate_on_scenes,
)
from dfghdr_cli.training.checkpoint import GOOD_CHECKPOINT, load_checkpoint
from dfghdr_cli.training.config import Stage, TrainConfig
from dfghdr_cli.training.guard import DivergedError
from dfghdr_cli.training.loop import Progress, Validation, train
from dfghdr_cli.training.narrow import is_narrower, narrowed
from dfghdr_cli.training.objectives import MergeObjective, encoders_frozen
from dfghdr_cli.training.perceptual import PerceptualDistance, cached_vgg, read_vgg
from dfghdr_cli.training.processes import Processes, join_processes
from dfghdr_cli.training.samples import Sample, batches_of
from dfghdr_cli.training.synth import SynthConfig
from dfghdr_cli.training.widen import times_wider, widened

log = logging.getLogger(__name__)

CONFIG = "config.json"
ALIGNED = "aligned"
PICTURES = "validation"
VALIDATION_BATCHES, VALIDATION_SAMPLES = 8, 32
"""What a validation measures where no scenes are named: so many batches, but no more of them than
it takes for so many samples, which one process makes."""
NARROWING_BATCHES = 24
NARROWING_SEED = 2**31 - 2
"""Batches that tell which channels matter, see `training.narrow`; their seed is no training's."""
# What may change when a run is resumed: how long it lasts, and what makes no difference.
_FREE = frozenset(
    {
        "version",
        "device",
        "steps",
        "minutes",
        "disentangle_steps",
        "disentangle_minutes",
        "workers",
        "checkpoint_every",
        "checkpoints",
        "compile",
        "validate_every",
    }
)


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
        inputs: how a DFGNet is shown frames; None takes what the model to start from was shown, or
            "flow".
        start: name or folder of a model to start from, or None for random weights. If the model
            is a wider DFGMerge than `hyper_parameters` say, it is made as narrow as they say; if
            it is a narrower DFGNet, as wide.
        teacher: name or folder of a DFGMerge to learn from in stage merge, or None.
        vgg: weights of VGG-19 for the perceptual terms, or None for those in torch's cache.
        validation: folder of scenes with truth, or None to validate on samples like those
            of the training.
        device: see `dfghdr_cli.devices.choose_device`.
        resume: whether to go on with a run that is there.
    """

    folders: Sequence[Path]
    run: Path
    architecture: str = "dfgmerge"
    hyper_parameters: dict[str, Any] = field(default_factory=dict)
    config: TrainConfig = field(default_factory=TrainConfig)
    synth: SynthConfig = field(default_factory=SynthConfig)
    crops: CropConfig = field(default_factory=CropConfig)
    inputs: Inputs | None = None
    start: str | None = None
    teacher: str | None = None
    vgg: Path | None = None
    validation: Path | None = None
    device: str = "auto"
    resume: bool = False


def _first_network(request: TrainRequest) -> tuple[Network, DFGMergeConfig | None]:
    """The network to train, with random weights or those of the model to start from.

    It has a decoder if it is to go through stage disentangle, or has been. Beside it what it is to
    be narrowed to, if it is.
    """
    decoder = "disentangle" in request.config.stages
    if request.start is None:
        inputs = request.inputs or "flow"
        sizes = request.hyper_parameters
        return build(request.architecture, sizes, decoder=decoder, inputs=inputs), None
    model = load_model(request.start)
    if model.info.architecture != request.architecture:
        raise ModelError(
            f"{request.start} is a {model.info.architecture}; start from it with "
            f"--architecture {model.info.architecture}"
        )
    sizes, inputs = model.info.hyper_parameters, request.inputs or model.info.inputs
    with_decoder = decoder or model.info.decoder
    wide = _wider(request, model.network)
    if wide is not None:
        assert isinstance(model.network, DFGNet)
        model.network.inputs = inputs
        return widened(model.network, wide, decoder=with_decoder), None
    network = build(model.info.architecture, sizes, decoder=with_decoder, inputs=inputs)
    network.load_state_dict(model.network.state_dict(), strict=model.info.decoder == with_decoder)
    narrow = _narrower(request, network)
    own = asdict(network.config)
    same = all(own.get(name) == _tuple(v) for name, v in request.hyper_parameters.items())
    if not same and narrow is None:
        raise ModelError(
            f"{request.start} has a size of its own; start from it without --code-length, --no-eau "
            "and --no-sau, and without --width or with one that makes a dfgnet a whole number of "
            "times as wide or, in stage merge alone, a dfgmerge narrower"
        )
    return network, narrow


def _tuple(value: Any) -> Any:
    """A hyper-parameter as a network's configuration has it: files have lists for tuples."""
    return tuple(value) if isinstance(value, list) else value


def _has_all(network: Network, names: Iterable[str]) -> bool:
    """Whether the configuration of a network has all of these hyper-parameters."""
    return set(names) <= asdict(network.config).keys()


def _wider(request: TrainRequest, network: Network) -> DFGNetConfig | None:
    """What the network to start from is to be widened to; None if it is not to be or cannot be."""
    if not (isinstance(network, DFGNet) and _has_all(network, request.hyper_parameters)):
        return None
    config = replace(network.config, **request.hyper_parameters)
    return config if times_wider(config, network.config) else None


def _narrower(request: TrainRequest, network: Network) -> DFGMergeConfig | None:
    """What the network to start from is to be narrowed to; None if it is not to be or cannot be."""
    if not (request.hyper_parameters and isinstance(network, DFGMerge)):
        return None
    if network.disentangle.decoder is not None or request.config.stage != "merge":
        return None
    if not _has_all(network, request.hyper_parameters):
        return None
    sizes = {name: _tuple(value) for name, value in request.hyper_parameters.items()}
    config = replace(network.config, **sizes)
    return config if is_narrower(config, network.config) else None


def _narrowed(
    network: DFGMerge, narrow: DFGMergeConfig, data: Dataset[Sample], batch: int
) -> DFGMerge:
    """The network to start from, narrowed by its gradients on the first batches of samples."""
    objective = MergeObjective(network, TrainConfig(encoders="trained"))
    network.requires_grad_(True)

    def losses() -> Iterator[Tensor]:
        for each in batches_of(data, batch, NARROWING_BATCHES, torch.device("cpu")):
            yield objective(each)[0]

    return narrowed(network, narrow, losses())


def _teacher(request: TrainRequest) -> DFGMerge | None:
    """The network whose merge is to be imitated, or None if there is to be none."""
    if request.teacher is None:
        return None
    teacher = load_model(request.teacher).network
    if not isinstance(teacher, DFGMerge) or request.architecture != "dfgmerge":
        raise ModelError(
            f"{request.teacher} cannot teach a {request.architecture}: both must be a dfgmerge"
        )
    return teacher.eval().requires_grad_(False)


def _perceptual(request: TrainRequest) -> PerceptualDistance | None:
    """What eq. (2) and (5) measure with, or None if they are not wanted."""
    if "disentangle" not in request.config.stages or not request.config.perceptual:
        return None
    path = request.vgg or cached_vgg()
    if path is None:
        raise InputError(
            "the perceptual terms of stage disentangle need weights of VGG-19; give them by "
            "--vgg FILE, or leave these terms out by --no-perceptual"
        )
    return PerceptualDistance(read_vgg(path))


def _prepare_run(request: TrainRequest) -> dict[str, Any]:
    """Check that the run's folder is free, or holds the run to resume; writes nothing.

    Returns:
        The settings of the run to resume; empty for a new one.
    """
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
            return {}
        before = json.loads(config.read_text())
        if not isinstance(before, dict):
            raise ValueError("it holds something else")
        return before
    except (ValueError, RecursionError) as error:
        raise InputError(f"{config} is damaged ({error}); start afresh") from error
    except OSError as error:
        raise OutputError(
            f"{config} cannot be looked at ({error.strerror}); choose another folder for the run"
        ) from error


def _ensure_models_stay(request: TrainRequest) -> None:
    """Refuse to write the trained model over one that the training starts or learns from."""
    named = [name for name in (request.start, request.teacher) if name is not None]
    own = request.run.resolve().name
    folders = (request.run / own, request.run / f"{own}-good")
    read = [path for name in named for path in model_files(find_model(name))]
    ensure_no_input((path for folder in folders for path in model_files(folder)), read)


def _completed(before: dict[str, Any]) -> dict[str, Any]:
    """The settings of a run with those that came later, as they then were."""
    permuted = "merge" if before.get("stage") == "merge" else "all"
    whole = {"inputs": "flow", "permute_channels": permuted, **before}
    decoder: dict[str, Any] = {"upsampling": "transposed"}
    if before.get("architecture") == "dfgnet":
        decoder["decoder_width"] = 0
    later = {"hyper_parameters": decoder, "synth": {"permute_channels": True}}
    for name, values in later.items():
        if isinstance(whole.get(name), dict):
            whole[name] = values | whole[name]
    return whole


def _ensure_same(run: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to resume a run with other settings than it had, if any."""
    before = before and _completed(before)
    for key, value in json.loads(json.dumps(now)).items():
        if before and key not in _FREE and before.get(key) != value:
            raise InputError(
                f"{run} was started with {key} = {before.get(key)}, not {value}; resume with the "
                "same settings"
            )


def _write_settings(run: Path, settings: dict[str, Any]) -> None:
    make_folder(run)
    with atomic_write(run / CONFIG, overwrite=True) as file:
        file.write((json.dumps(settings, indent=2) + "\n").encode())


def _remove_aligned(run: Path) -> None:
    """Delete what the training data stored in the run's folder, and the folder if it is empty."""
    shutil.rmtree(run / ALIGNED, ignore_errors=True)
    with contextlib.suppress(OSError):
        run.rmdir()


def train_model(
    request: TrainRequest, on_progress: Callable[[Progress], None] | None = None
) -> Path:
    """Train a network and save it as a model folder `run`/`name of run`.

    Of several processes that torchrun started, only the first one writes.

    Args:
        request: what to train.
        on_progress: called after every step.

    Returns:
        The model folder.

    Raises:
        InputError: no image or scene or the weights of VGG-19 cannot be used, the run to
            resume is another one, or the training diverged.
        DeviceError: the device is not there, or cannot compute in the wanted precision.
        ModelError: impossible hyper-parameters, or a damaged checkpoint.
        OutputExistsError: the run is there and `resume` was not asked for.
        OutputError: the run's folder cannot be written.
    """
    processes, device = join_processes(choose_device(request.device))
    precision = _precision(request.config, device)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # all samples are of one size
    if request.synth.crop % 8:
        raise ModelError(f"a crop of {request.synth.crop} is not a multiple of 8")
    torch.manual_seed(request.config.seed)
    network, narrow = _first_network(request)
    config = replace(request.config, precision=precision, encoders=_encoders(request, network))
    perceptual, teacher = _perceptual(request), _teacher(request)
    settings = _settings(request, network, narrow, config, perceptual, device)
    before = _prepare_run(request)
    _ensure_models_stay(request)
    _ensure_same(request.run, before, settings)
    found = load_training_data(request.folders, smallest=request.synth.crop)
    counts = {"images": len(found.images), "scenes": found.scene_count, "skipped": found.skipped}
    settings |= counts
    _ensure_same(request.run, before, counts)

    samples = partial(_samples, request, config, found)
    processes.share(config.batch)
    try:
        validations = _validations(request, samples, device) if processes.first else {}
    except InputError:
        _remove_aligned(request.run)
        raise
    processes.wait()  # until all have looked whether the run is there
    if processes.first:  # only now: a run is there once its input is sound
        _write_settings(request.run, settings)
    length = max(config.steps_of(stage) for stage in config.stages) * config.batch
    data: dict[Stage, Dataset[Sample]] = {
        stage: samples(config.seed, length, request.synth.variants, stage)
        for stage in config.stages
    }
    if narrow is not None:
        assert isinstance(network, DFGMerge)
        if before:  # its weights are in the checkpoint
            network = DFGMerge(narrow)
        else:
            held_out = samples(NARROWING_SEED, NARROWING_BATCHES * config.batch)
            network = _narrowed(network, narrow, held_out, config.batch)
    # Each measured: with channels last a CPU is a fifth slower at DFGNet in float32, a third faster
    # in bfloat16, and faster at DFGMerge.
    contiguous = network.paints and device.type == "cpu" and config.precision == "float32"
    network = _to(network, device, torch.contiguous_format if contiguous else torch.channels_last)
    facts = _facts(settings)

    def progress(now: Progress) -> None:
        if now.psnr is not None and processes.first:
            write_curves(request.run)
        if on_progress:
            on_progress(now)

    with _with_advice(request.run, network, facts, processes):
        trained = train(
            network,
            data,
            config,
            request.run,
            device,
            perceptual=perceptual and perceptual.to(device),
            teacher=teacher and teacher.to(device),
            validations=validations,
            on_progress=progress,
            processes=processes,
        )
    return _finished(request.run, trained, config, facts, write=processes.first)


def _samples(
    request: TrainRequest,
    config: TrainConfig,
    found: TrainingData,
    seed: int,
    length: int,
    variants: int = 1,
    stage: Stage = "merge",
) -> Dataset[Sample]:
    """The samples of a stage; see `TrainingData.samples`."""
    permute = config.permutes(stage)
    synth, crops = request.synth, request.crops
    return found.samples(
        replace(synth, variants=variants, permute_channels=synth.permute_channels and permute),
        replace(crops, permute_channels=crops.permute_channels and permute),
        seed,
        length,
        request.run / ALIGNED,
    )


def _settings(
    request: TrainRequest,
    network: Network,
    narrow: DFGMergeConfig | None,
    config: TrainConfig,
    perceptual: PerceptualDistance | None,
    device: torch.device,
) -> dict[str, Any]:
    """All that makes a training what it is, as the run's folder holds it."""
    return {
        "version": __version__,
        "architecture": describe(network)[0],
        "hyper_parameters": asdict(narrow or network.config),
        "inputs": network.inputs,
        "start": request.start and Path(request.start).name,
        "teacher": request.teacher and Path(request.teacher).name,
        "vgg": perceptual and perceptual.source,
        "synth": asdict(request.synth),
        "crops": asdict(request.crops),
        "device": str(device),
        "folders": [str(folder.resolve()) for folder in request.folders],
        **asdict(config),
    }


def _facts(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What of the settings a model tells beside its own configuration."""
    own = ("architecture", "hyper_parameters", "inputs")
    facts = {k: v for k, v in settings.items() if k not in own}
    facts["folders"] = [os.path.basename(f) for f in settings["folders"]]  # noqa: PTH119
    return facts


@contextlib.contextmanager
def _with_advice(
    run: Path, network: Network, facts: dict[str, Any], processes: Processes
) -> Iterator[None]:
    """Say of errors of a training what to do next."""
    try:
        yield
    except OSError as error:  # the log and the pictures are written bit by bit
        if error.errno is None:
            raise
        raise OutputError(
            f"the run in {run} cannot go on writing ({error.strerror}); free some space, "
            "then go on with --resume"
        ) from error
    except DivergedError as error:
        if not processes.first:
            raise
        raise _with_way_out(error, network, run, facts) from error


def _finished(
    run: Path, trained: Network, config: TrainConfig, facts: dict[str, Any], *, write: bool
) -> Path:
    """The folder of the trained model, which is written if asked for."""
    trained = _to(trained, torch.device("cpu"), torch.contiguous_format)
    if "merge" in config.stages and config.encoders == "trained":
        # The encoders have moved on: what was their decoder no longer fits.
        trained.disentangle.tail = trained.disentangle.decoder = None
    folder = run / run.resolve().name
    if write:
        write_curves(run)
        _remove_aligned(run)  # first: the run, and so the model, may be called the same
        _save(folder, trained, facts)
    return folder


def _validations(
    request: TrainRequest, samples: Callable[..., Dataset[Sample]], device: torch.device
) -> dict[Stage, Validation]:
    """How each stage is validated: on given scenes, or on samples that it does not train on."""
    config, pictures = request.config, request.run / PICTURES
    found: dict[Stage, Validation] = {}
    if "merge" in config.stages and request.validation is not None:
        found["merge"] = validate_on_scenes(request.validation, device, pictures)
    for stage in config.stages:
        if stage not in found:
            count = min(VALIDATION_BATCHES, math.ceil(VALIDATION_SAMPLES / config.batch))
            held_out = samples(2**31 - 1, count * config.batch, stage=stage)
            batches = fixed_batches(held_out, count, config.batch, device)
            made = validate_on_samples if stage == "merge" else validate_decoding
            found[stage] = made(batches, pictures)
    return found


def _precision(config: TrainConfig, device: torch.device) -> Literal["float32", "bf16"]:
    able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if config.precision == "auto":
        return "bf16" if able else "float32"
    # A CPU computes in bfloat16, too: 1.4 times faster if it has instructions for it.
    if config.precision == "bf16" and not able and device.type != "cpu":
        raise DeviceError(
            f"{device} does not train in bfloat16; take a newer CUDA device or --precision float32"
        )
    return config.precision


def _encoders(request: TrainRequest, network: Network) -> Literal["frozen", "trained"]:
    """Whether the encoders learn, or only what reads them.

    Stage disentangle is there to train them, unless it is to fit a decoder to encoders as they are;
    stage merge leaves alone what stage disentangle has trained.
    """
    config = request.config
    if config.stage == "disentangle":
        return "frozen" if config.encoders == "frozen" else "trained"
    without_decoder = network.disentangle.decoder is None
    if config.encoders == "frozen" and request.start is None and without_decoder:
        raise ModelError(
            "--stage merge with frozen encoders needs trained ones; give a model by --start, or "
            "--encoders trained"
        )
    return "frozen" if encoders_frozen(network, config) else "trained"


def _to(network: Network, device: torch.device, memory_format: torch.memory_format) -> Network:
    return network.to(device, memory_format=memory_format)  # pyright: ignore


def _save(folder: Path, network: Network, facts: dict[str, Any]) -> None:
    save_model(folder, network, golden=golden_case(network), training=facts)


def _with_way_out(
    error: DivergedError, network: Network, run: Path, facts: dict[str, Any]
) -> InputError:
    """Save the last good checkpoint as a model, and tell what to do with it."""
    checkpoint = run / GOOD_CHECKPOINT
    if not checkpoint.exists():
        return InputError(f"{error}, before the first checkpoint; lower --learning-rate")
    state = load_checkpoint(checkpoint)
    average = AveragedModel(network)
    average.load_state_dict(state["average"])
    good = _to(average.module, torch.device("cpu"), torch.contiguous_format)  # pyright: ignore
    folder = run / f"{run.resolve().name}-good"
    _save(folder, good.eval(), facts)
    return InputError(
        f"{error}; the last good checkpoint, of step {state['step']} of stage {state['stage']}, is "
        f"now the model {folder}: begin another run with --start {folder} and a lower "
        "--learning-rate"
    )
