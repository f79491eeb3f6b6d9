"""`dfghdr merge`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from typing import Annotated

import typer

from dfghdr_cli import choices
from dfghdr_cli.cli import complete, console, options
from dfghdr_cli.cli.batch import BatchOptions, merge_batch, refuse_several_brackets, watch_batch
from dfghdr_cli.cli.help import BATCHES, EXPOSURES, LIMITS, MERGE, RESULTS
from dfghdr_cli.pipeline.batch.settings import MergeSettings

EXAMPLES = """\
Examples:

\b
  dfghdr merge IMG_1.jpg IMG_2.jpg IMG_3.jpg -o hall.exr -o hall.jpg
  dfghdr merge a.tif b.tif c.tif --ev -2,0,2 -o night.exr
  dfghdr merge /media/card --batch --recursive --dry-run
  dfghdr merge /media/card --batch --recursive --to exr,jpg -o merged
"""


def _reference(text: str) -> int | str | Path:
    if text == "auto":
        return text
    if not text.isdecimal():
        return Path(text)
    if int(text) == 0:
        raise typer.BadParameter("--reference counts from 1, the darkest frame.")
    return int(text)


def merge(
    context: typer.Context,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES...",
            readable=False,  # that is checked, and said, by the reader
            help="2 to 9 photographs of one scene, in any order, or one folder that holds them; "
            "with --batch any folders.",
            show_default=False,
        ),
    ],
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            rich_help_panel=RESULTS,
            help="The result, .exr, .hdr or .dng, or a picture such as .jpg; may be repeated. "
            "A folder names it after the photographs; with --batch it is that of all results.",
            show_default=False,
        ),
    ] = None,
    ev: options.Ev = None,
    times: Annotated[
        str | None,
        typer.Option(
            "--times",
            rich_help_panel=EXPOSURES,
            metavar="A,B,...",
            help="Exposure times in seconds, in the order of FILES: --times 1/400,1/100,1/25.",
        ),
    ] = None,
    ev_step: Annotated[
        float | None,
        typer.Option(
            "--ev-step",
            rich_help_panel=EXPOSURES,
            metavar="STOPS",
            help="Equal steps; FILES go from dark to bright.",
        ),
    ] = None,
    exposures_from: Annotated[
        choices.ExposuresFrom,
        typer.Option(
            "--exposures-from",
            rich_help_panel=EXPOSURES,
            help="What to believe where the exposures recorded or given contradict the pixels: "
            "auto corrects small errors and refuses large ones.",
        ),
    ] = "auto",
    reference: Annotated[
        str,
        typer.Option(
            "--reference",
            rich_help_panel=MERGE,
            metavar="auto|K|FILE",
            autocompletion=complete.references,
            help="The frame whose moment the picture shows; K counts from 1, darkest first.",
        ),
    ] = "auto",
    method: Annotated[
        choices.Way,
        typer.Option(
            "--method", rich_help_panel=MERGE, help="Merge with a network or with classic weights."
        ),
    ] = "dfgnet",
    model: options.Model = None,
    response: Annotated[
        str,
        typer.Option(
            "--response",
            rich_help_panel=EXPOSURES,
            metavar="auto|srgb|gamma|linear|FILE",
            autocompletion=complete.responses,
            help="The camera's response curve: found from the frames, sRGB, the power 2.2, none, "
            "or a file that --save-response wrote.",
        ),
    ] = "auto",
    save_response: Annotated[
        Path | None,
        typer.Option(
            "--save-response",
            rich_help_panel=EXPOSURES,
            metavar="FILE",
            help="Write the response used, as CSV.",
        ),
    ] = None,
    align: Annotated[
        choices.Align,
        typer.Option(
            "--align",
            rich_help_panel=MERGE,
            help="Motion to undo; auto takes the simplest that explains it.",
        ),
    ] = "auto",
    anchor_ev: Annotated[
        float | None,
        typer.Option(
            "--anchor-ev",
            rich_help_panel=EXPOSURES,
            metavar="EV",
            help="Let 1.0 be the white of a frame of this exposure, the same for many brackets.",
        ),
    ] = None,
    resolution: options.Resolution = "auto",
    output_space: Annotated[
        choices.RadianceSpace,
        typer.Option(
            "--output-space", rich_help_panel=RESULTS, help="The primaries of the result."
        ),
    ] = "rec709",
    exr_type: Annotated[
        choices.ExrType,
        typer.Option(
            "--exr-type", rich_help_panel=RESULTS, help="Bits of an .exr: half is 16, float is 32."
        ),
    ] = "half",
    exr_compression: Annotated[
        str,
        typer.Option(
            "--exr-compression",
            rich_help_panel=RESULTS,
            metavar="zip|piz|dwaa[:LEVEL]",
            autocompletion=complete.compressions,
            help="Of an .exr: zip and piz lose nothing, dwaa is lossy and much smaller.",
        ),
    ] = "piz",
    preview: Annotated[
        bool,
        typer.Option(
            "--preview/--no-preview",
            rich_help_panel=RESULTS,
            help="Write a preview beside a linear result.",
        ),
    ] = True,
    preview_operator: Annotated[
        choices.OperatorName,
        typer.Option(
            "--preview-operator",
            rich_help_panel=RESULTS,
            metavar="OPERATOR",
            help="What makes the preview: an operator of `dfghdr tonemap`.",
        ),
    ] = "mu-law",
    format: Annotated[
        choices.DisplayFormat | None,
        typer.Option(
            "--format",
            rich_help_panel=RESULTS,
            help="Of pictures, where the name does not say so: ultrahdr.",
        ),
    ] = None,
    ghost_map: Annotated[
        Path | None,
        typer.Option(
            "--ghost-map",
            rich_help_panel=RESULTS,
            metavar="PNG",
            help="Show which frame was used where: grey is the reference, blue is darker.",
            show_default=False,
        ),
    ] = None,
    no_gps: options.NoGps = False,
    strip: options.Strip = False,
    device: options.Device = "auto",
    max_pixels: options.MaxPixels = None,
    max_memory: Annotated[
        str | None,
        typer.Option(
            "--max-memory",
            rich_help_panel=LIMITS,
            metavar="SIZE",
            help="Most memory to take, such as 800M or 4G: of the GPU, or else of the computer.",
        ),
    ] = None,
    json: options.Json = False,
    json_file: options.JsonFile = None,
    overwrite: options.Overwrite = False,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            rich_help_panel=RESULTS,
            help="Keep what exists already; write only the rest.",
        ),
    ] = False,
    batch: Annotated[
        bool,
        typer.Option(
            "--batch",
            rich_help_panel=BATCHES,
            help="Find the brackets in folders, and merge each into the folder -o.",
        ),
    ] = False,
    recursive: Annotated[
        bool,
        typer.Option(
            "--recursive", rich_help_panel=BATCHES, help="Look into folders within folders, too."
        ),
    ] = False,
    by_folder: Annotated[
        bool,
        typer.Option("--by-folder", rich_help_panel=BATCHES, help="Each folder is one bracket."),
    ] = False,
    count: Annotated[
        int | None,
        typer.Option(
            "--count",
            metavar="N",
            min=2,
            max=32,
            rich_help_panel=BATCHES,
            help="Every N shots of a camera are one bracket, whatever they record.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", rich_help_panel=BATCHES, help="Print which brackets there are; do nothing."
        ),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", rich_help_panel=BATCHES, help="Merge doubtful brackets, too.")
    ] = False,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="PATTERN",
            rich_help_panel=BATCHES,
            show_default="{first}-{last}",
            help="Of the results; may hold {first} {last} {stem} {folder} {date} {index} {count}.",
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            autocompletion=complete.formats,
            metavar="A,B,...",
            rich_help_panel=BATCHES,
            show_default="exr",
            help="Formats of the results, such as exr,jpg,avif.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", rich_help_panel=BATCHES, help="Merge what an earlier batch left undone."
        ),
    ] = False,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed",
            rich_help_panel=BATCHES,
            help="As --resume, and what failed, too.",
        ),
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            metavar="N",
            min=1,
            max=64,
            rich_help_panel=BATCHES,
            show_default="by cores and memory",
            help="Brackets to merge at the same time.",
        ),
    ] = None,
    dask: options.Dask = None,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            rich_help_panel=BATCHES,
            help="Keep looking, and merge brackets as they come, until Ctrl-C.",
        ),
    ] = False,
    settle: Annotated[
        float,
        typer.Option(
            "--settle",
            metavar="SECONDS",
            min=1.0,
            max=3600.0,
            rich_help_panel=BATCHES,
            help="How long nothing may have come or changed before --watch merges.",
        ),
    ] = 10.0,
) -> None:
    """Merge a bracket of photographs into one linear HDR image, without ghosts.

    Prints the paths of what it wrote. In the result 1.0 is the white of the reference frame,
    unless --anchor-ev says otherwise. With --batch: each bracket of a folder.
    """
    chosen = _reference(reference)
    if sum(option is not None for option in (ev, times, ev_step)) > 1:
        raise typer.BadParameter("give only one of --ev, --times and --ev-step.")
    if method == "classic" and model is not None:
        raise typer.BadParameter("--method classic uses no model: leave out --model.")
    if overwrite and skip_existing:
        raise typer.BadParameter("give only one of --overwrite and --skip-existing.")
    limit = _memory(max_memory)
    _check_compression(exr_type, exr_compression)
    settings = MergeSettings(
        method=method,
        model=model,
        device=device,
        exposures_from=exposures_from,
        reference=chosen if not isinstance(chosen, Path) else str(chosen),
        response=response,
        align=align,
        resolution=resolution,
        max_memory=limit,
        anchor_ev=anchor_ev,
        output_space=output_space,
        exr_type=exr_type,
        exr_compression=exr_compression,
        preview=preview,
        preview_operator=preview_operator,
        format=format,
        keep_place=not (no_gps or strip),
        keep_identity=not strip,
    )
    told_json = console.Json(json, json_file, overwrite)
    told = BatchOptions(
        recursive=recursive,
        by_folder=by_folder,
        count=count,
        dry_run=dry_run,
        yes=yes,
        name=name,
        to=to,
        resume=resume or skip_existing,
        retry_failed=retry_failed,
        overwrite=overwrite,
        jobs=jobs,
        dask=dask,
        json=told_json,
        watch=watch,
        settle=settle,
    )
    one = _OneBracket(ev, times, ev_step, chosen, save_response, ghost_map, skip_existing)
    if batch:
        _merge_many(files, output or [], one, told, settings)
    else:
        _merge_one(context, files, output or [], one, told, settings)


@dataclass(frozen=True, slots=True)
class _OneBracket:
    """The options that mean one bracket, as they were given."""

    ev: str | None
    times: str | None
    ev_step: float | None
    reference: int | str | Path
    save_response: Path | None
    ghost_map: Path | None
    skip_existing: bool


def _merge_many(
    files: list[Path],
    output: Sequence[Path],
    one: _OneBracket,
    told: BatchOptions,
    settings: MergeSettings,
) -> None:
    """Merge a batch.

    Raises:
        typer.BadParameter: an option does not go with that.
    """
    alone = {
        "--ev": one.ev,
        "--times": one.times,
        "--ev-step": one.ev_step,
        "--save-response": one.save_response,
        "--ghost-map": one.ghost_map,
        "--reference FILE": one.reference if isinstance(one.reference, Path) else None,
    }
    for option, value in alone.items():
        if value is not None:
            raise typer.BadParameter(f"{option} is of one bracket: leave it out of a --batch.")
    if len(output) > 1 or not (output or told.dry_run):
        raise typer.BadParameter("--batch writes into one folder: give one --output FOLDER.")
    told.check(settings)
    if told.watch and output:
        watch_batch(files, output[0], told, settings)
    merge_batch(files, output[0] if output else None, told, settings)


def _merge_one(
    context: typer.Context,
    files: list[Path],
    output: Sequence[Path],
    one: _OneBracket,
    told: BatchOptions,
    settings: MergeSettings,
) -> None:
    """Merge one bracket.

    Raises:
        typer.BadParameter: an option does not go with that.
    """
    if needless := told.of_a_batch(one.skip_existing):
        raise typer.BadParameter(f"{needless} is of a batch: add --batch.")
    if not output:
        raise typer.BadParameter("say where to: --output FILE.")
    stops, seconds = _exposures(files, one.ev, one.times, one.ev_step)
    output = [_in_folder(path, files) for path in output]
    if _answer_early(files, output, settings, (one.ghost_map, one.save_response), told):
        return

    from dfghdr_cli.io.bracket import FramesAhead

    ahead = None
    if settings.max_memory is None:  # else memory is asked for first
        ahead = FramesAhead(files)
        context.call_on_close(ahead.close)
    if stops is None and seconds is None and one.ev_step is None:
        refuse_several_brackets(files)

    from dfghdr_cli.pipeline.merge.run import merge_files

    request = settings.request(
        files,
        output,
        reference=one.reference,
        stops=stops,
        times=seconds,
        ev_step=one.ev_step,
        save_response=one.save_response,
        ghost_map=one.ghost_map,
        overwrite=told.overwrite,
        skip_existing=one.skip_existing,
    )
    merger = settings.merger()
    console.print_status(f"{merger.name} on {merger.device}")
    with console.progress() as on_progress:
        report = merge_files(merger, request, on_progress, ahead=ahead)
    if report.facts is not None:
        done = ", ".join(f"{frame.name} {frame.alignment}" for frame in report.facts.frames)
        console.print_status(f"alignment: {done}")
    console.print_report(report, told.json)


def _answer_early(
    files: Sequence[Path],
    outputs: Sequence[Path],
    settings: MergeSettings,
    beside: Sequence[Path | None],
    told: BatchOptions,
) -> bool:
    """Refuse what can be refused, and be done where nothing is to do, before PyTorch is loaded.

    Raises:
        OutputError: a result cannot be written, or exists.
        InputError: a file is not there.
    """
    from dfghdr_cli.io.source import read_head
    from dfghdr_cli.pipeline.merge.report import MergeReport
    from dfghdr_cli.pipeline.results import check_name, missing_of, results_of

    for path in outputs:
        check_name(path, settings.format)
    results = results_of(outputs, preview=settings.preview, beside=beside)
    missing = missing_of(
        results, overwrite=told.overwrite, skip_existing=told.resume, inputs=lambda: files
    )
    told.json.check(results, partial(_read_by_one, files, settings))
    if not missing:
        names = ", ".join(map(str, results))
        console.print_status(f"{names}: there already, nothing to do.")
        console.print_report(MergeReport(results, kept=results), told.json)
        return True
    for path in files:
        if not path.is_dir():
            read_head(path, 1)
    return False


def _read_by_one(files: Sequence[Path], settings: MergeSettings) -> list[Path]:
    """The files and folders that a merge reads."""
    from dfghdr_cli.errors import ModelError
    from dfghdr_cli.modelfolders import find_model

    found = [*files, Path(settings.response)]
    if settings.model is not None:
        with suppress(ModelError):  # which is said when it is loaded
            found.append(find_model(settings.model))
    return found


def _in_folder(output: Path, files: Sequence[Path]) -> Path:
    """The result; in a folder under the names of the first and the last photograph, or theirs."""
    folder = False
    with suppress(OSError, ValueError):  # which is said when it is checked
        folder = output.is_dir()
    if not folder:
        return output
    stem = f"{files[0].stem}-{files[-1].stem}" if len(files) > 1 else files[0].resolve().stem
    return output / f"{stem}.exr"


def _exposures(
    files: Sequence[Path], ev: str | None, times: str | None, step: float | None
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """--ev [stops] and --times [s], as far as they are given and can be meant."""
    from dfghdr_cli.errors import InputError, UsageError

    if step is not None and not 0 < step < inf:
        raise UsageError(
            f"--ev-step must be a positive number of stops, not {step}; give the files from dark "
            "to bright."
        )
    if ev is None and times is None:
        return None, None
    from dfghdr_cli.core.calibration.exposure import parse_stops, parse_times

    try:
        stops = None if ev is None else parse_stops(ev)
        seconds = None if times is None else parse_times(times)
    except InputError as error:
        raise UsageError(str(error)) from None
    option = "--ev" if ev is not None else "--times"
    values = stops if stops is not None else seconds
    if values is not None and len(values) != len(files) and not any(p.is_dir() for p in files):
        raise UsageError(
            f"{option} holds {len(values)} values for {len(files)} frames; give one for each, in "
            "the order of the files."
        )
    return stops, seconds


def _memory(text: str | None) -> int | None:
    if text is None:
        return None
    from dfghdr_cli.limits import parse_memory

    try:
        return parse_memory(text)
    except ValueError as error:
        raise typer.BadParameter(f"--max-memory: {error}.") from error


def _check_compression(exr_type: str, text: str) -> None:
    from dfghdr_cli.io.names import ExrCompression

    try:
        compression = ExrCompression.parse(text)
    except ValueError as error:
        raise typer.BadParameter(f"--exr-compression: {error}.") from error
    if exr_type == "float" and compression.kind == "dwaa":
        raise typer.BadParameter(
            "--exr-compression dwaa keeps 16 bits at most: leave out --exr-type float."
        )
