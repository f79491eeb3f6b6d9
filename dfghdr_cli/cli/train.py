"""`dfghdr train`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dfghdr_cli import choices
from dfghdr_cli.cli import console, options

if TYPE_CHECKING:
    from dfghdr_cli.core.types import OnProgress
    from dfghdr_cli.training.loop import Progress

PAPER_WIDTH, PAPER_CODE_LENGTH = 64, 1024


def train(
    context: typer.Context,
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDERS...",
            help="Folders of .exr or .hdr images, of scenes with truth, or of both.",
            show_default=False,
        ),
    ],
    run: Annotated[
        Path,
        typer.Option(
            "--run",
            metavar="FOLDER",
            help="Where configuration, log, checkpoint and, at the end, the model go.",
            show_default=False,
        ),
    ],
    preset: Annotated[
        Literal["default", "paper"],
        typer.Option("--preset", help="Our recipe, or the paper's; other options change it."),
    ] = "default",
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="A recipe, .toml, or the config.json of a run; other options change it.",
            show_default=False,
        ),
    ] = None,
    stage: Annotated[
        choices.Stages,
        typer.Option(
            "--stage", help="Train the encoders (eq. 1 to 6), the merge (eq. 10, 11), or both."
        ),
    ] = "all",
    architecture: Annotated[
        choices.Architecture | None,
        typer.Option(
            "--architecture",
            help="dfgmerge merges real frames (default); dfgnet paints (with --preset paper).",
            show_default=False,
        ),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(
            "--width",
            min=4,
            help="Channels of the first stage; dfgnet: 64 in the paper; dfgmerge: 24, 40, 64.",
            show_default=False,
        ),
    ] = None,
    code_length: Annotated[
        int | None,
        typer.Option(
            "--code-length",
            min=1,
            help="Length of the exposure code; dfgnet: 16 a channel of --width.",
            show_default=False,
        ),
    ] = None,
    eau: Annotated[
        bool, typer.Option("--eau/--no-eau", help="With exposure attention units (eq. 9).")
    ] = True,
    sau: Annotated[
        bool, typer.Option("--sau/--no-sau", help="With spatial attention units (eq. 8).")
    ] = True,
    upsampling: Annotated[
        choices.Upsampling | None,
        typer.Option(
            "--upsampling",
            help="Of the decoder: as the published code (default), or as section 2.1 says.",
            show_default=False,
        ),
    ] = None,
    permute_channels: Annotated[
        choices.PermutedStages,
        typer.Option(
            "--permute-channels",
            help="Stages in whose samples red, green and blue may change places.",
        ),
    ] = "merge",
    inputs: Annotated[
        choices.Inputs | None,
        typer.Option(
            "--inputs",
            help="Frames that a dfgnet sees: as aligned, or as flow moves them (default).",
            show_default=False,
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--start",
            metavar="NAME|FOLDER",
            help="Start from this model's weights instead of random ones.",
            show_default=False,
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher",
            metavar="NAME|FOLDER",
            help="A dfgmerge whose merge is to be imitated in stage merge, too.",
            show_default=False,
        ),
    ] = None,
    vgg: Annotated[
        Path | None,
        typer.Option(
            "--vgg",
            metavar="FILE",
            help="VGG-19 for the perceptual terms: .npz, or torchvision's .pth.",
            show_default=False,
        ),
    ] = None,
    perceptual: Annotated[
        bool,
        typer.Option("--perceptual/--no-perceptual", help="With perceptual terms (eq. 2, 5)."),
    ] = True,
    encoders: Annotated[
        choices.Encoders | None,
        typer.Option(
            "--encoders",
            help="In stage merge; auto freezes those that stage disentangle trained.",
            show_default=False,
        ),
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option(
            "--validation",
            metavar="FOLDER",
            help="Scenes with truth to validate on; else samples like the training's.",
            show_default=False,
        ),
    ] = None,
    disentangle_steps: Annotated[
        int, typer.Option("--disentangle-steps", min=1, help="Batches of stage disentangle.")
    ] = 5_000,
    disentangle_minutes: Annotated[
        float | None,
        typer.Option(
            "--disentangle-minutes",
            min=0.0,
            help="End stage disentangle after this long.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Batches of stage merge.")] = 20_000,
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes", min=0.0, help="End stage merge after this long.", show_default=False
        ),
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Samples a batch.")] = 4,
    crop: Annotated[
        int | None,
        typer.Option(
            "--crop",
            min=64,
            help="Side of a sample in pixels, a multiple of 8.",
            show_default=False,
        ),
    ] = None,
    samples_per_scene: Annotated[
        int,
        typer.Option(
            "--samples-per-scene",
            min=1,
            help="Of each synthesised scene, in as many batches: the more, the faster.",
        ),
    ] = 8,
    tone_curves: Annotated[
        float,
        typer.Option(
            "--tone-curves",
            min=0.0,
            max=1.0,
            help="Share of synthesised scenes whose camera has a tone curve of its own.",
        ),
    ] = 0.4,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            "--learning-rate", min=0.0, help="The highest learning rate.", show_default=False
        ),
    ] = None,
    precision: Annotated[
        choices.Precision,
        typer.Option("--precision", help="Of the convolutions; auto: bf16 on CUDA devices."),
    ] = "auto",
    compile_: Annotated[
        bool,
        typer.Option("--compile/--no-compile", help="Compile the networks, for long GPU runs."),
    ] = False,
    checkpoints: Annotated[
        choices.Checkpoints,
        typer.Option("--checkpoints", help="small: half the size, resumed not bit by bit."),
    ] = "exact",
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Processes that synthesise samples.")
    ] = 1,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    max_pixels: options.MaxPixels = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --run, exactly.")
    ] = False,
) -> None:
    """Train a network on brackets with truth, photographed or synthesised.

    Prints the folder of the trained model. Stopped by Ctrl-C or a crash, it goes on from the last
    checkpoint with --resume.
    """
    from dataclasses import replace

    from dfghdr_cli.pipeline.recipes import PRESETS, ensure_architecture, read_recipe
    from dfghdr_cli.pipeline.train import TrainRequest, train_model
    from dfghdr_cli.training.config import DEFAULT
    from dfghdr_cli.training.processes import torchrun_rank

    given = _given(context)
    if config is not None and "preset" in given:
        raise typer.BadParameter("--config and --preset are two recipes; give one of them.")
    recipe = PRESETS[preset] if config is None else read_recipe(config)
    kind = architecture or recipe.architecture or "dfgmerge"
    ensure_architecture(recipe, kind)
    speaks = torchrun_rank() == 0
    if not speaks:
        console.set_up_logging(-1)
    changes: dict[str, Any] = {name: given[name] for name in _SETTINGS if name in given}
    if "compile_" in given:
        changes["compile"] = compile_
    if encoders is not None:
        changes["encoders"] = encoders
    if learning_rate is not None:
        changes["learning_rate"] = learning_rate
    if "perceptual" in given:
        changes["perceptual"] = (recipe.config.perceptual or DEFAULT.perceptual) * perceptual
    settings = replace(recipe.config, **changes)
    _refuse_other_lengths(given, settings.stage)
    synth = replace(recipe.synth, batch=settings.batch, crop=crop or recipe.synth.crop)
    if "samples_per_scene" in given:
        synth = replace(synth, variants=samples_per_scene)
    if "tone_curves" in given:
        synth = replace(synth, curved=tone_curves)
    start, teacher = start or recipe.start, teacher or recipe.teacher
    if inputs is None and (config is not None or start is None) and kind == "dfgnet":
        inputs = recipe.inputs
    request = TrainRequest(
        folders,
        run,
        architecture=kind,
        hyper_parameters=recipe.hyper_parameters
        | _sizes(kind, width, code_length)
        | {name: False for name, unit in (("eau", eau), ("sau", sau)) if not unit}
        | ({} if upsampling is None else {"upsampling": upsampling}),
        config=settings,
        synth=synth,
        crops=recipe.crops,
        inputs=inputs,
        start=start,
        teacher=teacher,
        vgg=vgg,
        validation=validation,
        device=device,
        resume=resume,
    )
    with console.progress() as bar:
        folder = train_model(request, _progress_on(bar))
    if speaks:
        console.print_result(folder)


def _progress_on(bar: OnProgress) -> Callable[[Progress], None]:
    """A function that shows a training's progress on a bar, and each validation on a line."""
    quality = {"disentangle": "", "merge": ""}

    def on_progress(now: Progress) -> None:
        if now.psnr is not None:
            kind = "PSNR" if now.stage == "disentangle" else "PSNR-mu"
            quality[now.stage] = f"  {kind} {now.psnr:.2f} dB"
            console.print_status(f"{now.stage}, step {now.step}:{quality[now.stage]}")
        bar(
            round(now.fraction * 10_000),
            10_000,
            f"{now.stage}, step {now.step}  {now.samples_per_second:.1f} samples/s  "
            f"loss {now.loss:.4f}{quality[now.stage]}",
        )

    return on_progress


_SETTINGS = (
    *("stage", "disentangle_steps", "disentangle_minutes", "steps", "minutes", "batch"),
    *("precision", "checkpoints", "seed", "workers", "permute_channels"),
)
"""Options that are called as the settings of `TrainConfig` that they change."""


def _given(context: typer.Context) -> dict[str, Any]:
    """The options that were given, by the names of their parameters."""
    found = {}
    for name, value in context.params.items():
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            found[name] = value
    return found


def _sizes(architecture: str, width: int | None, code_length: int | None) -> dict[str, Any]:
    """The hyper-parameters that --width and --code-length mean."""
    sizes: dict[str, Any] = {}
    if width is not None and architecture == "dfgmerge":
        sizes = {"width": (width, 2 * width, 3 * width), "disentangle_width": width // 2}
    elif width is not None:
        sizes = {
            "width": width,
            "disentangle_width": width,
            "code_length": PAPER_CODE_LENGTH * width // PAPER_WIDTH,
        }
    if code_length is not None:
        sizes["code_length"] = code_length
    return sizes


def _refuse_other_lengths(given: dict[str, Any], stage: str) -> None:
    """Refuse to be told how long a stage lasts that is not to be trained."""
    lengths = {"disentangle": ("disentangle_steps", "disentangle_minutes")}
    lengths["merge"] = ("steps", "minutes")
    for other, names in lengths.items():
        for name in names:
            if stage not in ("all", other) and name in given:
                option = "--" + name.replace("_", "-")
                raise typer.BadParameter(f"{option} belongs to stage {other}, not to {stage}.")
