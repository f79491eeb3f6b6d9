"""`dfghdr train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dfghdr_cli.cli import console, options

if TYPE_CHECKING:
    from dfghdr_cli.training.loop import Progress


def train(
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
    architecture: Annotated[
        Literal["dfgmerge", "dfgnet"],
        typer.Option("--architecture", help="dfgmerge merges real frames, dfgnet paints (paper)."),
    ] = "dfgmerge",
    width: Annotated[
        int | None,
        typer.Option("--width", min=4, help="Channels of dfgnet's first stage; 64 in the paper."),
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
    validation: Annotated[
        Path | None,
        typer.Option(
            "--validation",
            metavar="FOLDER",
            help="Scenes with truth to validate on; else samples like the training's.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Batches to train for.")] = 20_000,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", min=0.0, help="Stop after this long.", show_default=False),
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Samples a batch.")] = 4,
    crop: Annotated[
        int, typer.Option("--crop", min=64, help="Side of a sample in pixels, a multiple of 8.")
    ] = 144,
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", min=0.0, help="The highest learning rate.")
    ] = 5e-4,
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Processes that synthesise samples.")
    ] = 1,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --run, exactly.")
    ] = False,
) -> None:
    """Train a network on brackets with truth, photographed or synthesised (eq. 10 and 11).

    Prints the folder of the trained model. Stopped by Ctrl-C or a crash, it goes on from the last
    checkpoint with --resume.
    """
    if width is not None and architecture != "dfgnet":
        raise typer.BadParameter("--width belongs to --architecture dfgnet.")

    from dfghdr_cli.pipeline.train import TrainRequest, train_model
    from dfghdr_cli.training.loop import TrainConfig
    from dfghdr_cli.training.synth import SynthConfig

    hyper_parameters = {} if width is None else {"width": width, "disentangle_width": width}
    request = TrainRequest(
        folders,
        run,
        architecture=architecture,
        hyper_parameters=hyper_parameters,
        config=TrainConfig(
            steps=steps,
            minutes=minutes,
            batch=batch,
            learning_rate=learning_rate,
            seed=seed,
            workers=workers,
        ),
        synth=SynthConfig(crop=crop, batch=batch),
        start=start,
        validation=validation,
        device=device,
        resume=resume,
    )
    with console.progress() as bar:

        def on_progress(now: Progress) -> None:
            bar(
                round(now.fraction * 10_000),
                10_000,
                f"step {now.step}  loss {now.loss:.4f}  {now.samples_per_second:.1f} samples/s",
            )
            if now.psnr_mu is not None:
                console.print_status(f"step {now.step}: PSNR-mu {now.psnr_mu:.2f} dB")

        folder = train_model(request, on_progress)
    typer.echo(folder)
