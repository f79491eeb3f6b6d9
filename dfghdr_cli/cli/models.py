"""`dfghdr models`: list, show, verify, import and export models."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from dfghdr_cli import choices
from dfghdr_cli.cli import complete, console, options

app = typer.Typer(
    no_args_is_help=True,
    help="List, show, verify, import and export models.",
    context_settings={"help_option_names": ["--help", "-h"]},
)


@app.command("list")
def list_(
    json: options.Json = False,
    json_file: options.JsonFile = None,
    overwrite: options.Overwrite = False,
) -> None:
    """List the models that --model can name.

    On a pipe each is one line of tab-separated columns: name, architecture, parameters, bytes,
    folder, and the problem if its folder is damaged.
    """
    from dfghdr_cli.pipeline.models import list_models

    where = console.Json(json, json_file, overwrite)
    where.check(inputs=_read_of)
    models = list_models()
    if where.put(dumps([model.values() for model in models])):
        return
    if not models:
        console.print_status("No model found.")
        return
    _print_table(
        ("name", "architecture", "parameters", "bytes", "folder", "problem"),
        [(m.name, m.architecture, m.parameters, m.size, m.folder, m.problem) for m in models],
    )


@app.command()
def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FOLDER",
            autocompletion=complete.models,
            help="A model by name, or its folder.",
            show_default=False,
        ),
    ],
    json: options.Json = False,
    json_file: options.JsonFile = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Show a model: its configuration, size and digest, and its card."""
    from dfghdr_cli.core.encoding import GAMMA
    from dfghdr_cli.pipeline.models import show_model

    where = console.Json(json, json_file, overwrite)
    where.check(inputs=partial(_read_of, [name]))
    details = show_model(name)
    if where.put(dumps(details.values())):
        return
    summary, config = details.summary, details.config
    lines = {
        "name": summary.name,
        "folder": summary.folder,
        "architecture": summary.architecture,
        **config["hyper_parameters"],
        "decoder": "yes" if summary.decoder else "no",
        "gamma": GAMMA,
        "inputs": config["inputs"],
        "parameters": summary.parameters,
        "bytes": summary.size,
        "digest": details.digest,
        "training": dumps(config["training"]),
        "card": details.card or "none",
    }
    for key, value in lines.items():
        console.print_result(f"{key}: {value}")
    if details.card_text:
        console.print_result("\n" + details.card_text.rstrip())


@app.command()
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME|FOLDER]...",
            autocompletion=complete.models,
            help="Models by name or folder; none means all that --model can name.",
            show_default=False,
        ),
    ] = None,
    json: options.Json = False,
    json_file: options.JsonFile = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Check that models give what they gave when they were saved.

    Each computes its golden case on the CPU; a difference above 1e-4 fails, with exit code 5.
    """
    from dfghdr_cli.errors import ModelError
    from dfghdr_cli.pipeline.models import verify_models

    where = console.Json(json, json_file, overwrite)
    where.check(inputs=partial(_read_of, names))
    verdicts = verify_models(names or ())
    if not where.put(dumps([verdict.values() for verdict in verdicts])):
        _print_table(
            ("name", "verdict", "largest difference", "problem"),
            [
                (
                    verdict.name,
                    "failed" if verdict.problem else "ok",
                    None if verdict.error is None else f"{verdict.error:.3g}",
                    verdict.problem,
                )
                for verdict in verdicts
            ],
        )
    if failed := [verdict.name for verdict in verdicts if verdict.problem]:
        raise ModelError(
            f"{len(failed)} of {len(verdicts)} models failed ({', '.join(failed)}); "
            "get their folders again"
        )


@app.command("import")
def import_(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER",
            help="Holds DFGNet, exposure_encoder or ee, spatial_encoder or es, and perhaps "
            "decoder, each .pth or .safetensors.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="Of the new model.", show_default=False)
    ],
    models_dir: Annotated[
        Path | None,
        typer.Option(
            "--models-dir",
            metavar="FOLDER",
            help="Where its folder goes; else $DFGHDR_MODELS_DIR or your data folder.",
            show_default=False,
        ),
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Make a model of the weights that the paper's authors published.

    Prints the model's folder. `dfghdr merge --model NAME` takes it, or the folder itself where
    --models-dir is a place of your own.
    """
    from dfghdr_cli.pipeline.models import import_published

    console.print_result(import_published(folder, name, models_dir, overwrite=overwrite))


@app.command()
def export(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FOLDER",
            autocompletion=complete.models,
            help="A model by name, or its folder.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="The .onnx file.", show_default=False),
    ],
    part: Annotated[
        choices.Part,
        typer.Option("--part", help="The network that merges, or encoders with their decoder."),
    ] = "merge",
    frames: Annotated[
        int, typer.Option("--frames", min=2, max=9, help="Of a bracket; the middle one leads.")
    ] = 3,
    size: Annotated[
        str | None,
        typer.Option(
            "--size",
            metavar="WxH",
            help="The only size that it takes; else any multiple of what the network needs.",
            show_default=False,
        ),
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Write a model's network as an ONNX file, for other runtimes.

    The file is compared with PyTorch before it is written. Needs the extra 'onnx', and for a
    dfgmerge of any size some minutes.
    """
    from dfghdr_cli.pipeline.onnx_export import ExportRequest, export_model

    pixels = None
    if size is not None:
        parts = size.lower().split("x")
        if len(parts) != 2 or not all(each.isdecimal() for each in parts):
            raise typer.BadParameter("--size takes WxH, such as 1536x1024.")
        pixels = int(parts[0]), int(parts[1])
    path, error = export_model(ExportRequest(name, output, part, frames, pixels, overwrite))
    if error is None:
        console.print_status("Not compared with PyTorch: ONNX Runtime is not installed.")
    else:
        console.print_status(f"Largest difference from PyTorch: {error:.2g}")
    console.print_result(path)


def _print_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on stdout: drawn on a terminal, else tab-separated without headings.

    Columns that are empty in every row are left out of the drawn one.
    """
    cells = [["" if value is None else str(value) for value in row] for row in rows]
    if not sys.stdout.isatty():
        for row in cells:
            console.print_result("\t".join(" ".join(cell.split()) for cell in row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    shown = [i for i in range(len(headings)) if any(row[i] for row in cells)]
    for index in shown:
        table.add_column(headings[index], overflow="fold")
    for row in cells:
        table.add_row(*(Text(console.printable(row[index])) for index in shown))
    Console().print(table)


def _read_of(names: Sequence[str] | None = None) -> list[Path]:
    """The folders of models that are named, or of all."""
    from dfghdr_cli.modelfolders import find_model, find_models

    return [find_model(name) for name in names] if names else list(find_models().values())
