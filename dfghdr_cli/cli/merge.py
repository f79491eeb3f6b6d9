"""`dfghdr merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from dfghdr_cli.cli import console, options
from dfghdr_cli.cli.tonemap import OperatorName


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
            help="2 to 9 photographs of one scene, in any order, or one folder that holds them.",
            show_default=False,
        ),
    ],
    output: Annotated[
        list[Path],
        typer.Option(
            "--output",
            "-o",
            help="The result, .exr, .hdr or .dng, or a picture such as .jpg; may be repeated.",
            show_default=False,
        ),
    ],
    ev: options.Ev = None,
    times: Annotated[
        str | None,
        typer.Option(
            "--times",
            metavar="A,B,...",
            help="Exposure times in seconds, in the order of FILES: --times 1/400,1/100,1/25.",
        ),
    ] = None,
    ev_step: Annotated[
        float | None,
        typer.Option(
            "--ev-step", metavar="STOPS", help="Equal steps; FILES go from dark to bright."
        ),
    ] = None,
    exposures_from: Annotated[
        Literal["auto", "files", "pixels"],
        typer.Option(
            "--exposures-from",
            help="What to believe where the exposures recorded or given contradict the pixels: "
            "auto corrects small errors and refuses large ones.",
        ),
    ] = "auto",
    reference: Annotated[
        str,
        typer.Option(
            "--reference",
            metavar="auto|K|FILE",
            help="The frame whose moment the picture shows; K counts from 1, darkest first.",
        ),
    ] = "auto",
    method: Annotated[
        Literal["dfgnet", "classic"],
        typer.Option("--method", help="Merge with a network or with classic weights."),
    ] = "dfgnet",
    model: options.Model = None,
    response: Annotated[
        str,
        typer.Option(
            "--response",
            metavar="auto|srgb|gamma|linear|FILE",
            help="The camera's response curve: found from the frames, sRGB, the power 2.2, none, "
            "or a file that --save-response wrote.",
        ),
    ] = "auto",
    save_response: Annotated[
        Path | None,
        typer.Option("--save-response", metavar="FILE", help="Write the response used, as CSV."),
    ] = None,
    align: Annotated[
        Literal["auto", "none", "shift", "affine", "homography", "flow"],
        typer.Option("--align", help="Motion to undo; auto takes the simplest that explains it."),
    ] = "auto",
    anchor_ev: Annotated[
        float | None,
        typer.Option(
            "--anchor-ev",
            metavar="EV",
            help="Let 1.0 be the white of a frame of this exposure, the same for many brackets.",
        ),
    ] = None,
    resolution: options.Resolution = "auto",
    output_space: Annotated[
        Literal["rec709", "rec2020", "acescg"],
        typer.Option("--output-space", help="The primaries of the result."),
    ] = "rec709",
    exr_type: Annotated[
        Literal["half", "float"],
        typer.Option("--exr-type", help="Bits of an .exr: half is 16, float is 32."),
    ] = "half",
    exr_compression: Annotated[
        str,
        typer.Option(
            "--exr-compression",
            metavar="zip|piz|dwaa[:LEVEL]",
            help="Of an .exr: zip and piz lose nothing, dwaa is lossy and much smaller.",
        ),
    ] = "piz",
    preview: Annotated[
        bool,
        typer.Option("--preview/--no-preview", help="Write a preview beside a linear result."),
    ] = True,
    preview_operator: Annotated[
        OperatorName,
        typer.Option("--preview-operator", help="How to bring down the range of the preview."),
    ] = "mu-law",
    format: Annotated[
        Literal["jpg", "ultrahdr", "avif", "jxl", "tiff", "png"] | None,
        typer.Option("--format", help="Of pictures, where the name does not say so: ultrahdr."),
    ] = None,
    ghost_map: Annotated[
        Path | None,
        typer.Option(
            "--ghost-map",
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
            metavar="SIZE",
            help="Most memory to take, such as 800M or 4G: of the GPU, or else of the computer.",
        ),
    ] = None,
    json: options.Json = False,
    overwrite: options.Overwrite = False,
    skip_existing: Annotated[
        bool,
        typer.Option("--skip-existing", help="Keep what exists already; write only the rest."),
    ] = False,
) -> None:
    """Merge a bracket of photographs into one linear HDR image, without ghosts.

    Prints the paths of what it wrote. In the result 1.0 is the white of the reference frame,
    unless --anchor-ev says otherwise.
    """
    chosen = _reference(reference)
    given = [o for o in (ev, times, ev_step) if o is not None]
    if len(given) > 1:
        raise typer.BadParameter("give only one of --ev, --times and --ev-step.")
    if method == "classic" and model is not None:
        raise typer.BadParameter("--method classic uses no model: leave out --model.")
    if overwrite and skip_existing:
        raise typer.BadParameter("give only one of --overwrite and --skip-existing.")

    from dfghdr_cli.io.bracket import FramesAhead

    ahead = None
    # With the one there is often nothing to do; with the other, memory is asked for first.
    if not skip_existing and max_memory is None:
        ahead = FramesAhead(files)
        context.call_on_close(ahead.close)

    from dfghdr_cli.core.exposure import parse_stops, parse_times
    from dfghdr_cli.core.response import Kind
    from dfghdr_cli.engine import MergeConfig
    from dfghdr_cli.io.radiance import ExrCompression
    from dfghdr_cli.pipeline.memory import parse_memory
    from dfghdr_cli.pipeline.merge import (
        MergeReport,
        MergeRequest,
        load_merger,
        merge_files,
        missing_results,
    )

    try:
        compression = ExrCompression.parse(exr_compression)
    except ValueError as error:
        raise typer.BadParameter(f"--exr-compression: {error}.") from error
    try:
        limit = None if max_memory is None else parse_memory(max_memory)
    except ValueError as error:
        raise typer.BadParameter(f"--max-memory: {error}.") from error
    if exr_type == "float" and compression.kind == "dwaa":
        raise typer.BadParameter(
            "--exr-compression dwaa keeps 16 bits at most: leave out --exr-type float."
        )

    request = MergeRequest(
        files,
        output,
        stops=None if ev is None else parse_stops(ev),
        times=None if times is None else parse_times(times),
        ev_step=ev_step,
        exposures_from=exposures_from,
        reference=chosen,  # pyright: ignore[reportArgumentType]
        response=response if response in get_args(Kind) else Path(response),  # pyright: ignore[reportArgumentType]
        save_response=save_response,
        config=MergeConfig(align=align, resolution=resolution),
        max_memory=limit,
        anchor_ev=anchor_ev,
        output_space=output_space,
        exr_type=exr_type,
        exr_compression=compression,
        preview=preview,
        preview_operator=preview_operator,
        format=format,
        ghost_map=ghost_map,
        keep_place=not (no_gps or strip),
        keep_identity=not strip,
        overwrite=overwrite,
        skip_existing=skip_existing,
        ahead=ahead,
    )
    if missing_results(request):
        merger = load_merger(method, model, device)
        console.print_status(f"{merger.name} on {merger.device}")
        with console.progress() as on_progress:
            report = merge_files(merger, request, on_progress)
    else:
        kept = [str(path) for path in request.results]
        console.print_status(f"{', '.join(kept)}: there already, nothing to do.")
        report = MergeReport(request.results, {"kept": kept}, ())
    if frames := report.values.get("frames"):
        done = ", ".join(f"{Path(frame['file']).name} {frame['alignment']}" for frame in frames)
        console.print_status(f"alignment: {done}")
    console.print_report(report, json)
