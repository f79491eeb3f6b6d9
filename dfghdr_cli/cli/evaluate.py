"""`dfghdr eval`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from dfghdr_cli import choices
from dfghdr_cli.cli import complete, console, options

if TYPE_CHECKING:
    from rich.table import Table

    from dfghdr_cli.core.metrics.perceptual import Perceptual
    from dfghdr_cli.pipeline.evaluate.external import External
    from dfghdr_cli.pipeline.evaluate.paper_report import CropChoice
    from dfghdr_cli.pipeline.evaluate.results import Evaluation, Outcome
    from dfghdr_cli.pipeline.evaluate.scoring import Wanted


Method = StrEnum("Method", [(name, name) for name in get_args(choices.MethodName)])
"""What --method takes; Typer repeats enumerations only."""


def evaluate(
    scenes: Annotated[
        list[Path],
        typer.Argument(
            metavar="SCENES...",
            help="Folders of scenes with truth, at any depth.",
            show_default=False,
        ),
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME|FOLDER",
            autocompletion=complete.models,
            help="A model to score; may be repeated.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        list[Method] | None,  # pyright: ignore[reportInvalidTypeForm]
        typer.Option(
            "--method",
            help="A method without a model to score; may be repeated.",
            show_default=False,
        ),
    ] = None,
    predictions: Annotated[
        list[Path] | None,
        typer.Option(
            "--predictions",
            metavar="FOLDER",
            help="Another program's pictures, SCENE.exr or SCENE.hdr; may be repeated.",
            show_default=False,
        ),
    ] = None,
    external: Annotated[
        list[str] | None,
        typer.Option(
            "--external",
            metavar="NAME=FILE",
            help="Another network, exported to TorchScript or ONNX; may be repeated.",
            show_default=False,
        ),
    ] = None,
    resolution: options.Resolution = "auto",
    protocol: Annotated[
        Literal["default", "paper"],
        typer.Option(
            "--protocol",
            help="Read all bits at full size, or 8 bits resized to 1440x960 as the paper's script.",
        ),
    ] = "default",
    fit_scale: Annotated[
        bool,
        typer.Option("--fit-scale", help="Multiply each picture by one fitted factor first."),
    ] = False,
    metrics: Annotated[
        Literal["basic", "all"],
        typer.Option(
            "--metrics",
            help="PSNR, SSIM and PU21 only, or also HDR-VDP-2 and HDR-FLIP, which take longer.",
        ),
    ] = "all",
    cvvdp: Annotated[
        bool,
        typer.Option("--cvvdp", help="Also ColorVideoVDP, of the extra 'cvvdp'."),
    ] = False,
    vdp_encoding: Annotated[
        Literal["sRGB-display", "rgb-bt.709"],
        typer.Option(
            "--vdp-encoding",
            help="What HDR-VDP-2 takes values for; the field's custom is the first.",
        ),
    ] = "sRGB-display",
    vdp_scale: Annotated[
        float,
        typer.Option(
            "--vdp-scale",
            metavar="X",
            help="What HDR-VDP-2's values are multiplied by; under rgb-bt.709 white in cd/m2.",
        ),
    ] = 1.0,
    vdp_ppd: Annotated[
        float | None,
        typer.Option(
            "--vdp-ppd",
            metavar="X",
            help="Pixels per degree for HDR-VDP-2; else a screen of 24 inches seen from 0.5 m.",
            show_default=False,
        ),
    ] = None,
    paper: Annotated[
        bool,
        typer.Option("--paper", help="Also print the figures that the paper published."),
    ] = False,
    markdown: Annotated[
        bool,
        typer.Option("--markdown", help="Print the table as Markdown, as on a model's card."),
    ] = False,
    json: options.Json = False,
    json_file: options.JsonFile = None,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Write a line for each method and scene."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE",
            help="Write an HTML page with pictures of each scene and of the worst parts.",
        ),
    ] = None,
    paper_report: Annotated[
        Path | None,
        typer.Option(
            "--paper-report",
            metavar="FOLDER",
            help="Write the paper's Table 1 and Figures 2 and 4 with what was measured: HTML, "
            "Markdown, LaTeX, PNG, PDF.",
        ),
    ] = None,
    crop: Annotated[
        list[str] | None,
        typer.Option(
            "--crop",
            metavar="[SCENE:]X,Y,W,H",
            help="A part for Figure 4, instead of those with the largest errors; may be repeated.",
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs",
            metavar="N",
            min=1,
            max=64,
            help="Scenes to score at the same time; the seconds of methods then count for less.",
        ),
    ] = 1,
    dask: options.Dask = None,
    device: options.Device = "auto",
    max_pixels: options.MaxPixels = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Score merges against scenes with truth.

    Prints a table, methods by metrics: the mean over the scenes, and below it the worst of them.
    Where no model, method, folder and network is named it scores the default model, classic and
    reference.
    """
    for name, value in (("--vdp-scale", vdp_scale), ("--vdp-ppd", vdp_ppd)):
        if value is not None and not 0 < value < float("inf"):
            raise typer.BadParameter(f"{name} takes a number above 0.")
    if dask is not None and jobs > 1:
        raise typer.BadParameter("--jobs is of this computer: --dask goes by its workers.")
    externals, crops = _externals(external or ()), _crops(crop or ())
    if crops and paper_report is None:
        raise typer.BadParameter("--crop belongs to --paper-report.")

    from dfghdr_cli.merging.config import MergeConfig
    from dfghdr_cli.modelstore import DEFAULT_MODEL
    from dfghdr_cli.pipeline.evaluate.methods import PROTOCOLS
    from dfghdr_cli.pipeline.evaluate.run import evaluate as run
    from dfghdr_cli.pipeline.evaluate.run import scoring_workers
    from dfghdr_cli.pipeline.evaluate.scoring import Scoring, Wanted

    outputs = _Outputs(json_file, csv, report, paper_report, crops)
    if not (model or method or predictions or external):
        model, method = [DEFAULT_MODEL], ["classic", "reference"]
    wanted = Wanted(
        tuple(model or ()),
        tuple(str(each) for each in method or ()),  # pyright: ignore[reportArgumentType]
        tuple(predictions or ()),
        tuple(externals),
        device,
        MergeConfig(resolution=resolution),
    )
    outputs.check(scenes, wanted, overwrite)
    methods = wanted.built()
    asked = _perceptual(metrics, cvvdp, vdp_encoding, vdp_scale, vdp_ppd, device)
    scoring = Scoring(wanted, PROTOCOLS[protocol], fit_scale, asked, outputs.shows_pictures)
    with (
        scoring_workers(scoring, scenes, jobs=jobs, dask=dask) as workers,
        console.progress() as on_progress,
    ):
        evaluation = run(
            scenes,
            methods,
            protocol=scoring.protocol,
            fit_scale=fit_scale,
            perceptual=asked,
            on_progress=on_progress,
            on_scene=outputs.add if outputs.shows_pictures else None,
            workers=workers,
        )
    scored = [each.name for each in methods if each.kind == "model"]
    outputs.write(
        evaluation,
        overwrite,
        models=dict(zip(scored, model or (), strict=True)),
        networks={each.name: each.path for each in externals},
        settings={"resolution": resolution, "metrics": metrics, "crops": list(crop or ())},
        device=device,
    )
    if json:
        console.print_result(evaluation.to_json().rstrip())
    elif markdown:
        console.print_result(_markdown(evaluation))
    else:
        _print_figures(evaluation)
    _print_notes(evaluation)
    if paper:
        _print_published()
    _refuse_excluded(evaluation)


def _perceptual(
    metrics: str,
    cvvdp: bool,
    encoding: Literal["sRGB-display", "rgb-bt.709"],
    scale: float,
    ppd: float | None,
    device: str,
) -> Perceptual | None:
    """The slow figures that are asked for."""
    from dfghdr_cli.core.metrics.perceptual import Perceptual
    from dfghdr_cli.devices import choose_device

    chosen = choose_device(device)
    slow = metrics == "all"
    if not (slow or cvvdp):
        return None
    return Perceptual(
        hdr_vdp2=slow,
        hdr_flip=slow,
        cvvdp=cvvdp,
        encoding=encoding,
        scale=scale,
        ppd=ppd,
        device="cpu" if chosen.type == "mps" else str(chosen),  # MPS has no float64
    )


class _Outputs:
    """The files that are asked for, and what has to be kept of every scene for them."""

    def __init__(
        self,
        json: Path | None,
        csv: Path | None,
        report: Path | None,
        paper_report: Path | None,
        crops: Sequence[CropChoice],
    ) -> None:
        from dfghdr_cli.pipeline.evaluate.paper_report import PaperReport
        from dfghdr_cli.pipeline.evaluate.report import EvaluationReport

        self._json, self._csv, self._report, self._paper_report = json, csv, report, paper_report
        self._page, self._paper_page = EvaluationReport(), PaperReport(crops)

    @property
    def shows_pictures(self) -> bool:
        """Whether a page is among them, for which pictures have to be kept."""
        return self._report is not None or self._paper_report is not None

    def check(self, scenes: Sequence[Path], wanted: Wanted, overwrite: bool) -> None:
        """Refuse, before any work, files that cannot be written.

        Args:
            scenes: the folders of scenes.
            wanted: what is to be scored, and not to be replaced.
            overwrite: whether existing files may be.

        Raises:
            OutputError: one exists, or cannot be written.
        """
        from dfghdr_cli.atomic import ensure_no_input
        from dfghdr_cli.pipeline.evaluate.paper_report import check_folder
        from dfghdr_cli.pipeline.evaluate.run import check_outputs

        outputs = [path for path in (self._json, self._csv, self._report) if path is not None]
        if self._paper_report is not None:
            outputs += check_folder(self._paper_report, overwrite)
        check_outputs(outputs, scenes, wanted.models, wanted.predictions, overwrite)
        ensure_no_input(outputs, [each.path for each in wanted.externals])

    def add(self, outcome: Outcome) -> None:
        """Keep what the pages show of a scene."""
        if self._report is not None:
            self._page.add(outcome)
        if self._paper_report is not None:
            self._paper_page.add(outcome)

    def write(self, evaluation: Evaluation, overwrite: bool, **facts: Any) -> None:
        """Write the files; `facts` are those of `PaperReport.files`."""
        from dfghdr_cli.pipeline.evaluate.paper_report import write_report
        from dfghdr_cli.pipeline.evaluate.run import write_texts

        makers = [(self._json, evaluation.to_json), (self._csv, evaluation.to_csv)]
        makers.append((self._report, lambda: self._page.html(evaluation)))
        write_texts([(path, make()) for path, make in makers if path is not None], overwrite)
        if self._paper_report is not None:
            files = self._paper_page.files(evaluation, **facts)
            write_report(self._paper_report, files, overwrite)


def _refuse_excluded(evaluation: Evaluation) -> None:
    """End with an error where scenes count for no method.

    Raises:
        DfghdrError: some do not.
    """
    from dfghdr_cli.errors import DfghdrError

    if evaluation.excluded:
        names = ", ".join(excluded.scene for excluded in evaluation.excluded)
        total = len(evaluation.scenes) + len(evaluation.excluded)
        raise DfghdrError(
            f"{len(evaluation.excluded)} of {total} scenes count for no method ({names}): "
            "see the warnings above and mend or remove them."
        )


def _externals(texts: list[str] | tuple[()]) -> list[External]:
    from dfghdr_cli.pipeline.evaluate.external import parse_external

    try:
        return [parse_external(text) for text in texts]
    except ValueError as error:
        raise typer.BadParameter(f"--external: {error}.") from None


def _crops(texts: list[str] | tuple[()]) -> list[CropChoice]:
    from dfghdr_cli.pipeline.evaluate.paper_report import parse_crop

    try:
        return [parse_crop(text) for text in texts]
    except ValueError as error:
        raise typer.BadParameter(f"--crop: {error}.") from None


Cells = list[str]


def _figures(evaluation: Evaluation) -> tuple[Cells, list[tuple[Cells, Cells]], list[set[int]]]:
    """Headings; each method's cells, mean and worst; and which columns of a mean are best."""
    from dfghdr_cli.pipeline.evaluate.results import ALL_METRICS

    names = [method.name for method in evaluation.methods]
    shown = [m for m in ALL_METRICS if any(evaluation.mean(n, m.key) is not None for n in names)]
    headings = ["method", *(metric.label for metric in shown), "s", "MiB", "worst scene"]
    rows = []
    for name in names:
        worst = {metric.key: evaluation.worst(name, metric.key) for metric in shown}
        scene = evaluation.worst(name, "psnr_mu")
        mean = [metric.text(evaluation.mean(name, metric.key)) for metric in shown]
        bad = [
            metric.text(None if (pair := worst[metric.key]) is None else pair[1])
            for metric in shown
        ]
        seconds, memory = (evaluation.mean(name, key) for key in ("seconds", "peak_memory_mib"))
        slowest, largest = (evaluation.worst(name, key) for key in ("seconds", "peak_memory_mib"))
        mean += [_number(seconds, 1), _number(memory, 0), ""]
        bad += [_number(slowest and slowest[1], 1), _number(largest and largest[1], 0)]
        rows.append(([name, *mean], ["", *bad, scene[0] if scene else ""]))
    best: list[set[int]] = [set() for _ in names]
    for column, metric in enumerate(shown, start=1):
        values = [evaluation.mean(name, metric.key) for name in names]
        sign = 1.0 if metric.higher_is_better else -1.0
        top = max((sign * v for v in values if v is not None), default=None)
        for marks, value in zip(best, values, strict=True):
            if len(names) > 1 and value is not None and sign * value == top:
                marks.add(column)
    return headings, rows, best


def _number(value: float | None, decimals: int) -> str:
    return "–" if value is None else f"{value:.{decimals}f}"


def _print_figures(evaluation: Evaluation) -> None:
    """The table on stdout: drawn on a terminal, else tab-separated with a column mean/worst."""
    headings, rows, best = _figures(evaluation)
    if not sys.stdout.isatty():
        console.print_result("\t".join([headings[0], "of scenes", *headings[1:]]))
        for mean, worst in rows:
            console.print_result("\t".join([mean[0], "mean", *mean[1:]]))
            console.print_result("\t".join([mean[0], "worst", *worst[1:]]))
        return
    from rich.console import Console
    from rich.text import Text

    table = _empty_table(headings, {0, len(headings) - 1})
    for (mean, worst), marks in zip(rows, best, strict=True):
        table.add_row(
            *(Text(console.printable(c), "bold" if i in marks else "") for i, c in enumerate(mean))
        )
        table.add_row(*(Text(console.printable(cell), "dim") for cell in worst))
    Console().print(table)


def _empty_table(headings: Cells, left: set[int], style: str = "") -> Table:
    """A table to draw; the columns numbered in `left` are aligned there, the others right."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, style=style)
    for index, heading in enumerate(headings):
        side = "left" if index in left else "right"
        table.add_column(heading, justify=side, overflow="fold")
    return table


def _markdown(evaluation: Evaluation) -> str:
    """A table for a card: means, best in bold, and the worst scene's PSNR-mu."""
    headings, rows, best = _figures(evaluation)
    columns = len(headings) - 3
    heads = [heading.replace("μ", "mu") for heading in headings[:columns]]
    heads[0] = ""
    lines = [[*heads, "worst scene"], ["---"] * (columns + 1)]
    for (mean, worst), marks in zip(rows, best, strict=True):
        cells = [f"**{cell}**" if i in marks else cell for i, cell in enumerate(mean[:columns])]
        lines.append([*cells, worst[1]])
    table = [f"| {' | '.join(line)} |" for line in lines]
    table[1] = "|" + "---|" * (columns + 1)
    return "\n".join(table)


def _print_notes(evaluation: Evaluation) -> None:
    """What the figures mean, on stderr."""
    count = len(evaluation.scenes)
    text = f"{count} scene{'s' if count > 1 else ''}; {evaluation.protocol.text}; gamma 2.2"
    text += "; each picture's scale fitted." if evaluation.fit_scale else "; no scale fitted."
    console.print_status(text)
    if evaluation.vdp_view:
        console.print_status(f"HDR-VDP-2: {evaluation.vdp_view}")
    estimated = sum(facts.moving_from == "estimated" for facts in evaluation.scenes)
    if estimated:
        console.print_status(
            f"What moves was estimated in {estimated} of {count} scenes (no motion.png there)."
        )
    names = [method.name for method in evaluation.methods]
    means = {name: evaluation.mean(name, "psnr_mu") or 0.0 for name in names}
    best = max(names, key=lambda name: means[name])
    for difference in evaluation.differences("psnr_mu"):
        pair = (difference.first, difference.second)
        if best not in pair:
            continue
        sign = 1.0 if difference.first == best else -1.0
        ends = sorted(sign * end for end in difference.interval)
        console.print_status(
            f"PSNR-mu, {best} over {pair[difference.first == best]}: "
            f"{sign * difference.mean:+.2f} dB, 95 % within {ends[0]:+.2f} to {ends[1]:+.2f}"
        )


def _print_published() -> None:
    """The paper's own table, apart from anything measured."""
    from dfghdr_cli.pipeline.evaluate.published import PUBLISHED, PUBLISHED_SOURCE

    headings = ["published", "PSNR-μ", "PSNR-l", "HDR-VDP-2"]
    rows = [
        [row.method, *(_number(v, 2) for v in (row.psnr_mu, row.psnr_l, row.hdr_vdp2))]
        for row in PUBLISHED
    ]
    console.print_result("")
    if sys.stdout.isatty():
        from rich.console import Console

        table = _empty_table(headings, {0}, style="dim")
        for row in rows:
            table.add_row(*row)
        Console().print(table)
    else:
        for row in (headings, *rows):
            console.print_result("\t".join(row))
    console.print_result(f"Published: {PUBLISHED_SOURCE}.")
