"""`dfghdr explore-disentangle`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dfghdr_cli.cli import console, options

if TYPE_CHECKING:
    from dfghdr_cli.pipeline.explore_metrics import Metrics


def explore_disentangle(
    metrics: Annotated[
        Path,
        typer.Option(
            "--metrics",
            metavar="FOLDER",
            help="Measure the disentanglement on a folder of brackets, scenes or HDR images.",
            show_default=False,
        ),
    ],
    probe_folder: Annotated[
        Path | None,
        typer.Option(
            "--probe-folder",
            metavar="FOLDER",
            help="Fit the probes of --metrics to these pictures, not to parts of its own folder.",
            show_default=False,
        ),
    ] = None,
    json: Annotated[
        Path | None,
        typer.Option(
            "--json", metavar="FILE", help="Write the figures of --metrics.", show_default=False
        ),
    ] = None,
    model: options.Model = None,
    device: options.Device = "auto",
    overwrite: options.Overwrite = False,
) -> None:
    """See what the encoders learned: where things are, apart from how bright they are.

    Prints the figures of --metrics as a table.
    """
    from dfghdr_cli.io.atomic import ensure_writable
    from dfghdr_cli.pipeline.explore import load_explorer
    from dfghdr_cli.pipeline.explore_metrics import measure, write_metrics

    if json is not None:
        ensure_writable(json, overwrite)
    explorer = load_explorer(model, device)
    console.print_status(f"{explorer.name} on {explorer.device}")
    with console.progress() as on_progress:
        found = measure(explorer, metrics, fit=probe_folder, on_progress=on_progress)
    _print_metrics(found)
    if json is not None:
        write_metrics(json, found, overwrite)
        typer.echo(json)


def _print_metrics(found: Metrics) -> None:
    """The figures on stdout, in columns."""
    from dfghdr_cli.pipeline.explore_metrics import CODES, PSNRS

    console.print_status(
        f"{found.images} images: {found.views} views of {found.pictures} pictures; "
        f"linear probes {found.fitted_on}."
    )
    typer.echo(f"{'code':<20}{'R2':>8}{'within':>8}{'rmse':>8}{'invariance':>12}")
    for name in CODES:
        code = found.codes[name]
        moved = "" if code.invariance is None else f"{code.invariance:.3f}"
        typer.echo(f"{name:<20}{code.r2:>8.3f}{code.r2_within:>8.3f}{code.rmse:>8.3f}{moved:>12}")
    typer.echo(f"{'PSNR':<20}{'dB':>8}")
    for name in PSNRS:
        if name in found.psnr:
            typer.echo(f"{name:<20}{found.psnr[name]:>8.2f}")
