"""`dfghdr explore-disentangle`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dfghdr_cli.cli import console, options

if TYPE_CHECKING:
    from dfghdr_cli.pipeline.explore.metrics import Metrics


def explore_disentangle(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILES]...",
            help="Photographs of one scene or of several.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The picture of FILES, or of --metrics alone: .png, .jpg, .tif, and .gif or .webp "
            "with --interpolate.",
            show_default=False,
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", metavar="FILE", help="Everything on one page, .html.", show_default=False
        ),
    ] = None,
    interpolate: Annotated[
        int | None,
        typer.Option(
            "--interpolate",
            min=2,
            max=200,
            metavar="STEPS",
            help="Walk from the exposure of the first file to that of the last.",
            show_default=False,
        ),
    ] = None,
    extrapolate: Annotated[
        bool, typer.Option("--extrapolate", help="Let the walk go beyond both ends.")
    ] = False,
    attention: Annotated[
        bool | None,
        typer.Option(
            "--attention/--no-attention",
            help="Show what each frame of a bracket adds to the merge, and where.",
            show_default=False,
        ),
    ] = None,
    ev: options.Ev = None,
    size: Annotated[
        int,
        typer.Option(
            "--size", min=64, max=4096, metavar="PIXELS", help="Longer side of a decoded picture."
        ),
    ] = 384,
    metrics: Annotated[
        Path | None,
        typer.Option(
            "--metrics",
            metavar="FOLDER",
            help="Measure the disentanglement on a folder of brackets, scenes or HDR images.",
            show_default=False,
        ),
    ] = None,
    probe_folder: Annotated[
        Path | None,
        typer.Option(
            "--probe-folder",
            metavar="FOLDER",
            help="Fit the probes of --metrics to these pictures, not to parts of its own folder.",
            show_default=False,
        ),
    ] = None,
    json: options.Json = False,
    json_file: options.JsonFile = None,
    model: options.Model = None,
    device: options.Device = "auto",
    max_pixels: options.MaxPixels = None,
    overwrite: options.Overwrite = False,
) -> None:
    """See what the encoders learned: where things are, apart from how bright they are.

    The picture has a row for each file, which says what is where, and a column for each, which
    says how bright. Prints the figures of --metrics, and the paths of what it wrote.
    """
    paths = files or []
    if not paths and metrics is None:
        raise typer.BadParameter("give photographs, or a folder after --metrics.")
    if paths and output is None and html is None:
        raise typer.BadParameter("say where the picture goes: --output FILE or --html FILE.")
    if not paths and (interpolate or extrapolate or attention or ev is not None):
        raise typer.BadParameter(
            "--interpolate, --extrapolate, --attention and --ev need photographs."
        )
    if interpolate and attention and output is not None:
        raise typer.BadParameter(
            "--output holds one picture: leave out --interpolate or --attention, or use --html."
        )
    if extrapolate and not interpolate:
        raise typer.BadParameter("--extrapolate needs --interpolate STEPS.")
    if metrics is None and (json or json_file is not None or probe_folder is not None):
        raise typer.BadParameter("--json, --json-file and --probe-folder need --metrics FOLDER.")

    from dfghdr_cli.core.calibration.exposure import parse_stops
    from dfghdr_cli.pipeline.explore.explorer import load_explorer
    from dfghdr_cli.pipeline.explore.metrics import encode_metrics
    from dfghdr_cli.pipeline.explore.run import ExploreRequest, explore

    request = ExploreRequest(
        paths,
        output,
        stops=None if ev is None else parse_stops(ev),
        size=size,
        interpolate=interpolate,
        extrapolate=extrapolate,
        attention=attention,
        metrics=metrics,
        probe_folder=probe_folder,
        json=json_file,
        html=html,
        overwrite=overwrite,
    )
    explorer = load_explorer(model, device, decoder=request.needs_decoder or html is not None)
    console.print_status(f"{explorer.name} on {explorer.device}")
    with console.progress() as on_progress:
        report = explore(explorer, request, on_progress)
    if report.grid is not None:
        found = zip(report.grid.photographs, report.grid.psnr, strict=True)
        figures = ", ".join(f"{one.name} {psnr:.1f} dB" for one, psnr in found)
        console.print_status(f"Reconstructed (PSNR): {figures}")
    if json and report.metrics is not None:
        console.print_result(encode_metrics(report.metrics).decode().rstrip())
        return
    if report.metrics is not None:
        _print_metrics(report.metrics)
    for path in report.outputs:
        console.print_result(path)


def _print_metrics(found: Metrics) -> None:
    """The figures on stdout, in columns."""
    from dfghdr_cli.pipeline.explore.metrics import CODES, PSNRS

    console.print_status(
        f"{found.images} images: {found.views} views of {found.pictures} pictures; "
        f"linear probes {found.fitted_on}."
    )
    console.print_result(f"{'code':<20}{'R2':>8}{'within':>8}{'rmse':>8}{'invariance':>12}")
    for name in CODES:
        code = found.codes[name]
        moved = "" if code.invariance is None else f"{code.invariance:.3f}"
        console.print_result(
            f"{name:<20}{code.r2:>8.3f}{code.r2_within:>8.3f}{code.rmse:>8.3f}{moved:>12}"
        )
    console.print_result(f"{'PSNR':<20}{'dB':>8}")
    for name in PSNRS:
        if name in found.psnr:
            console.print_result(f"{name:<20}{found.psnr[name]:>8.2f}")
