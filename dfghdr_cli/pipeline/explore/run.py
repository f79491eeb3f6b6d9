"""From photographs and folders to pictures, figures and a page."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dfghdr_cli.atomic import (
    atomic_write_all,
    ensure_different,
    ensure_no_input,
    ensure_writable,
)
from dfghdr_cli.choices import DisplayFormat
from dfghdr_cli.core.types import FloatImage, OnProgress
from dfghdr_cli.errors import InputError, OutputNameError
from dfghdr_cli.io.animation import encode_animation, is_animation
from dfghdr_cli.io.display import encode_display
from dfghdr_cli.io.names import HDR_FORMATS, display_format
from dfghdr_cli.modelfolders import model_files
from dfghdr_cli.pipeline.explore.attention import Attention, explore_attention
from dfghdr_cli.pipeline.explore.explorer import Explorer
from dfghdr_cli.pipeline.explore.figures import (
    attention_figure,
    grid_figure,
    plane_figure,
    walk_figure,
    walk_frames,
)
from dfghdr_cli.pipeline.explore.grid import (
    Grid,
    Walk,
    explore_grid,
    explore_walk,
    read_photographs,
)
from dfghdr_cli.pipeline.explore.metrics import (
    Metrics,
    encode_metrics,
    measure_disentanglement,
    picture_files,
)
from dfghdr_cli.pipeline.explore.report import encode_report

log = logging.getLogger(__name__)

_STEPS = 9
"""Of the walk on a page, unless told otherwise."""
_WALK_SECONDS = 2.0
"""How long an animation takes from one exposure to the other."""


@dataclass(frozen=True, slots=True)
class ExploreRequest:
    """What to look into, and where to put what is seen.

    Attributes:
        paths: photographs, of one scene or several; may be empty.
        output: a picture or, of a walk, an animation; None for none.
        stops: exposures of `paths` [stops]; None takes the EXIF data.
        size: longer side of a picture in the grid and the walk [pixels].
        interpolate: steps of a walk from the first exposure to the last, at least 2; None for none.
        extrapolate: whether the walk goes beyond both.
        attention: whether to show the attention of the bracket `paths`; None is yes on a page if
            they are one, else no.
        metrics: folder to measure on, or None.
        probe_folder: see `dfghdr_cli.pipeline.explore.metrics.measure_disentanglement`.
        json: where the figures go, or None.
        html: where the page goes, or None. It holds everything: the grid, a walk, the attention
            where `paths` are a bracket, and the figures if `metrics` is given.
        overwrite: whether existing files may be replaced.
    """

    paths: Sequence[Path] = ()
    output: Path | None = None
    stops: Sequence[float] | None = None
    size: int = 384
    interpolate: int | None = None
    extrapolate: bool = False
    attention: bool | None = None
    metrics: Path | None = None
    probe_folder: Path | None = None
    json: Path | None = None
    html: Path | None = None
    overwrite: bool = False

    @property
    def needs_decoder(self) -> bool:
        """Whether anything but the attention is asked for."""
        return not self.attention or self.metrics is not None


@dataclass(frozen=True, slots=True)
class ExploreReport:
    """What came of it.

    Attributes:
        outputs: the files written.
        grid: the grid, or None.
        metrics: the figures, or None.
    """

    outputs: tuple[Path, ...]
    grid: Grid | None
    metrics: Metrics | None


def explore(
    explorer: Explorer, request: ExploreRequest, on_progress: OnProgress | None = None
) -> ExploreReport:
    """Look into a model.

    Args:
        explorer: the model.
        request: what to look at.
        on_progress: called as (done, total, what).

    Raises:
        OutputExistsError: if a result is there already; checked before any work.
        OutputError: if a result cannot be written.
        InputError: if a photograph or a folder cannot be used.
        ModelError: if all but the attention is asked of a model that has no decoder.
    """
    _check_outputs(request, explorer.model.folder)
    page = request.html is not None
    has_decoder = explorer.model.network.disentangle.decoder is not None
    if request.needs_decoder:
        explorer.require_decoder()
    decode = bool(request.paths) and (not request.attention or (page and has_decoder))
    grid, walk, attention, metrics = None, None, None, None
    if request.attention or (request.paths and page and request.attention is None):
        attention = _attention(explorer, request)
    if decode:
        photographs = read_photographs(request.paths, request.stops, request.size)
        if page or request.interpolate is None:
            grid = explore_grid(explorer, photographs, on_progress)
        if request.interpolate is not None or (page and len(photographs) > 1):
            steps = request.interpolate or _STEPS
            walk = explore_walk(explorer, photographs, steps, extrapolate=request.extrapolate)
    if request.metrics is not None:
        metrics = measure_disentanglement(
            explorer, request.metrics, fit=request.probe_folder, on_progress=on_progress
        )
    outputs: dict[Path, bytes] = {}
    if request.output is not None:
        outputs[request.output] = _picture(request, grid, walk, attention, metrics)
    if metrics is not None and request.json is not None:
        outputs[request.json] = encode_metrics(metrics)
    if request.html is not None:
        outputs[request.html] = encode_report(
            explorer, grid=grid, walk=walk, attention=attention, metrics=metrics
        )
    with atomic_write_all(list(outputs), request.overwrite) as files:
        for file, content in zip(files, outputs.values(), strict=True):
            file.write(content)
    return ExploreReport(tuple(outputs), grid, metrics)


def _check_outputs(request: ExploreRequest, model: Path) -> None:
    outputs = [p for p in (request.output, request.json, request.html) if p is not None]
    ensure_different(outputs)
    for path in outputs:
        ensure_writable(path, request.overwrite)
    if any(path.exists() for path in outputs):
        folders = [f for f in (request.metrics, request.probe_folder) if f is not None]
        read = [*request.paths, *model_files(model)]
        read += [file for folder in folders for file in picture_files(folder)]
        ensure_no_input(outputs, read)
    if request.output is not None and not (
        request.interpolate is not None and is_animation(request.output)
    ):
        _plain_format(request.output)


def _plain_format(path: Path) -> DisplayFormat:
    """The format of a picture that is no photograph, and so has no light beyond white."""
    format = display_format(path)
    if format in HDR_FORMATS:
        raise OutputNameError(
            f"{path} names a format for HDR screens; end it in .png, .jpg or .tif."
        )
    return format


def _attention(explorer: Explorer, request: ExploreRequest) -> Attention | None:
    """The attention, or None where it was not asked for and the photographs are no bracket."""
    try:
        return explore_attention(explorer, request.paths, request.stops)
    except InputError as error:
        if request.attention:
            raise
        log.warning("The page shows no attention: %s", error)
        return None


def _picture(
    request: ExploreRequest,
    grid: Grid | None,
    walk: Walk | None,
    attention: Attention | None,
    metrics: Metrics | None,
) -> bytes:
    """The one picture that was asked for, as a file."""
    assert request.output is not None
    picture: FloatImage
    if request.attention:
        assert attention is not None
        picture = attention_figure(attention)
    elif request.interpolate is not None:
        assert walk is not None
        if is_animation(request.output):
            pause = round(1000 * _WALK_SECONDS / (request.interpolate - 1))
            return encode_animation(request.output, walk_frames(walk), pause)
        picture = walk_figure(walk)
    elif grid is not None:
        picture = grid_figure(grid)
    else:
        assert metrics is not None
        picture = plane_figure(metrics)
    bits = None if _plain_format(request.output) == "jpg" else 8
    return encode_display(request.output, picture, bits=bits)
