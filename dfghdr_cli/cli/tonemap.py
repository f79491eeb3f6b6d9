"""`dfghdr tonemap`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dfghdr_cli import choices
from dfghdr_cli.cli import complete, console, options


def _exposure(text: str) -> float | None:
    if text == "auto":
        return None
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter("--exposure takes auto or a number of stops.") from None


def _parameters(given: list[str]) -> dict[str, float]:
    parameters = {}
    for text in given:
        name, equals, value = text.partition("=")
        try:
            if not equals:
                raise ValueError
            parameters[name.strip()] = float(value)
        except ValueError:
            raise typer.BadParameter(
                f"--param takes NAME=NUMBER, such as --param lift=2, not {text}."
            ) from None
    return parameters


def tonemap(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES...",
            help="Linear pictures, .exr or .hdr, of any program.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE|FOLDER",
            help="The result, or a folder for any number of them.",
            show_default=False,
        ),
    ] = None,
    operator: Annotated[
        choices.OperatorName,
        typer.Option(
            "--operator",
            metavar="OPERATOR",
            help="How to bring the range down: fusion, mu-law, gamma, reinhard, reinhard-local, "
            "drago, mantiuk, durand, hable, aces, agx or khronos-neutral.",
        ),
    ] = "fusion",
    exposure: Annotated[
        str,
        typer.Option(
            "--exposure",
            metavar="auto|EV",
            autocompletion=complete.one_of("auto"),
            help="What to brighten the picture by first, in stops. Of a merge, auto goes at most a "
            "stop beyond the brightest frame.",
        ),
    ] = "auto",
    white: Annotated[
        float | None,
        typer.Option("--white", metavar="X", help="The value after exposure that becomes white."),
    ] = None,
    saturation: Annotated[
        float, typer.Option("--saturation", metavar="X", help="1 keeps colours, 0 removes them.")
    ] = 1.0,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param", metavar="NAME=X", help="A parameter of the operator; may be repeated."
        ),
    ] = None,
    format: Annotated[
        choices.DisplayFormat | None,
        typer.Option("--format", help="Of the result, where its name does not say so."),
    ] = None,
    space: Annotated[
        choices.DisplaySpace,
        typer.Option("--space", help="The colours of the result: sRGB or Display P3."),
    ] = "srgb",
    sheet: Annotated[
        Path | None,
        typer.Option("--sheet", help="Show all operators side by side in this file."),
    ] = None,
    no_gps: options.NoGps = False,
    strip: options.Strip = False,
    max_pixels: options.MaxPixels = None,
    json: options.Json = False,
    json_file: options.JsonFile = None,
    overwrite: options.Overwrite = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave out results that exist already.")
    ] = False,
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs", metavar="N", min=1, max=64, help="Pictures to make at the same time."
        ),
    ] = 1,
) -> None:
    """Make pictures for a display of linear HDR images.

    Prints the paths of what it wrote.
    """
    if output is None and sheet is None:
        raise typer.BadParameter("say where to: --output, --sheet or both.")
    if sheet is not None and len(files) > 1:
        raise typer.BadParameter("--sheet shows one picture: give one file.")
    if overwrite and skip_existing:
        raise typer.BadParameter("--overwrite and --skip-existing exclude each other.")
    stops, parameters = _exposure(exposure), _parameters(param or [])
    where = console.Json(json, json_file, overwrite)
    if _answer_early(
        files, output, sheet, format, overwrite=overwrite, skip_existing=skip_existing, json=where
    ):
        return

    from dfghdr_cli.core.tonemapping.operators import ToneSettings, checked_settings
    from dfghdr_cli.pipeline.tonemap import TonemapRequest, tonemap_files, tonemap_workers

    settings = ToneSettings(operator, stops, white, saturation, parameters)
    try:
        checked_settings(settings)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    request = TonemapRequest(
        files,
        output,
        settings,
        format=format,
        space=space,
        sheet=sheet,
        keep_place=not (no_gps or strip),
        keep_identity=not strip,
        overwrite=overwrite,
        skip_existing=skip_existing,
    )
    with tonemap_workers(request, jobs) as workers, console.progress() as on_progress:
        report = tonemap_files(request, on_progress, workers)
    console.print_report(report, where)
    for _, error in report.failures:
        console.print_error(str(error))
    if report.failures:
        raise typer.Exit(1 if report.outputs else report.failures[0][1].exit_code)


def _answer_early(
    paths: list[Path],
    output: Path | None,
    sheet: Path | None,
    format: choices.DisplayFormat | None,
    *,
    overwrite: bool,
    skip_existing: bool,
    json: console.Json,
) -> bool:
    """Refuse what can be refused, and be done where nothing is to do, before anything is loaded.

    Raises:
        OutputError: a result cannot be written, or exists.
        InputError: the only file is not there.
    """
    from dfghdr_cli.io.source import read_head
    from dfghdr_cli.pipeline.tonemap_results import TonemapReport, ensure_pictures, pictures_of

    results = pictures_of(paths, output, format)
    left = ensure_pictures(
        *(paths, results, sheet), format=format, overwrite=overwrite, skip_existing=skip_existing
    )
    there = tuple(path for path in (*results, sheet) if path is not None)
    json.check(there, lambda: paths)
    if not left:
        console.print_status(f"{', '.join(map(str, there))}: there already, nothing to do.")
        console.print_report(TonemapReport(there, (), there, (), ()), json)
        return True
    if len(paths) == 1:
        read_head(paths[0], 1)
    return False
