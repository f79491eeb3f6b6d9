"""From linear files to pictures for a display."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.atomic import atomic_write_all
from dfghdr_cli.choices import DisplayFormat, DisplaySpace
from dfghdr_cli.core.luminance import choose_exposure, luminance_of
from dfghdr_cli.core.tonemapping.operators import (
    OPERATORS,
    ToneSettings,
    checked_settings,
    tone_map,
)
from dfghdr_cli.core.types import FloatImage, OnProgress
from dfghdr_cli.errors import DeviceError, DfghdrError, InputError, OutputError
from dfghdr_cli.io.display import encode_display
from dfghdr_cli.io.metadata import metadata_of_header
from dfghdr_cli.io.names import BRIGHTEST_WHITE, HDR_FORMATS, RADIANCE_ALONE, display_format
from dfghdr_cli.io.radiance import LinearPicture, read_linear
from dfghdr_cli.pipeline.tonemap_results import TonemapReport, ensure_pictures, pictures_of
from dfghdr_cli.pipeline.workers.processes import Processes
from dfghdr_cli.pipeline.workers.tasks import Outcome, Task, Workers
from dfghdr_cli.resources import cores

log = logging.getLogger(__name__)

_TILE = 480
"""Width of a picture on a sheet [pixels]."""
_COLUMNS = 3
_GAP = 8
_LABEL = 26


@dataclass(frozen=True, slots=True)
class TonemapRequest:
    """Which files to tone-map, how, and where to.

    Attributes:
        paths: .exr or .hdr files of any program.
        output: a file for one path, an existing folder for any number, or None for a sheet alone.
        settings: how to tone-map.
        format: of the results; None goes by the name, and is "jpg" in a folder.
        space: the primaries of the results.
        sheet: a file for all operators side by side, of one path, or None.
        keep_place: whether the results say where the photograph was taken.
        keep_identity: whether they hold serial numbers, and whose it is.
        overwrite: whether existing files may be replaced.
        skip_existing: leave out results that exist already.
    """

    paths: Sequence[Path]
    output: Path | None
    settings: ToneSettings = field(default_factory=ToneSettings)
    format: DisplayFormat | None = None
    space: DisplaySpace = "srgb"
    sheet: Path | None = None
    keep_place: bool = True
    keep_identity: bool = True
    overwrite: bool = False
    skip_existing: bool = False


def tonemap_files(
    request: TonemapRequest,
    on_progress: OnProgress | None = None,
    workers: Workers | None = None,
) -> TonemapReport:
    """Tone-map files; see `TonemapRequest`.

    Of several paths, one that cannot be used does not keep the others from being done.

    Args:
        request: what to do.
        on_progress: called as (done, total, what).
        workers: what does several at the same time, of a `Tonemapping` of this request; None does
            one after the other.

    Raises:
        OutputExistsError: a result is there already; checked before any work.
        OutputError: a result cannot be written; names and folders are checked before any work.
        InputError: the only path cannot be used, or two paths would become one file.
        ValueError: settings out of range, no output at all, or a sheet of several paths.
    """
    checked_settings(request.settings)
    if request.output is None and request.sheet is None:
        raise ValueError("neither an output nor a sheet is wanted")
    if request.sheet is not None and len(request.paths) != 1:
        raise ValueError("a sheet shows one picture")
    results = pictures_of(request.paths, request.output, request.format)
    ensure_pictures(
        request.paths,
        results,
        request.sheet,
        format=request.format,
        overwrite=request.overwrite,
        skip_existing=request.skip_existing,
    )
    works = [Picture(*one) for one in zip(request.paths, results, strict=True)]
    tool = TonemapTool(request)
    kept = [path for work in works for path in tool.kept(work)]
    left = [work for work in works if tool.left(work) != (None, None)]
    outputs: list[Path] = []
    files: list[dict[str, Any]] = []
    failures: list[tuple[Path, DfghdrError]] = []
    warnings: list[str] = []
    found = _done_here(left, tool, on_progress)
    if workers is not None:
        found = _done_by(left, workers, on_progress)
    for work, done in found:
        if isinstance(done, DfghdrError):
            if len(request.paths) == 1:
                raise done
            failures.append((work.path, done))
            continue
        entry, written, notes = done
        outputs += written
        files.append(entry)
        warnings += [f"{work.path}: {note}." for note in notes]
    order = [path for path in (*results, request.sheet) if path in (*outputs, *kept)]
    return TonemapReport(
        tuple(path for path in order if path is not None),
        tuple(files),
        tuple(kept),
        tuple(failures),
        tuple(warnings),
    )


_Done = tuple[dict[str, Any], list[Path], list[str]]
"""Of one picture: the entry of the report, the files written, and notes."""


@dataclass(frozen=True)
class Picture:
    """One picture to tone-map.

    Attributes:
        path: the linear file.
        result: what becomes of it, or None.
    """

    path: Path
    result: Path | None


@dataclass(frozen=True)
class Tonemapping:
    """Tone-maps any number of pictures with the same settings; a trade of workers.

    Attributes:
        request: how; its paths do not count.
    """

    request: TonemapRequest

    wanted_device = "cpu"

    def tool(self, device: str | None = None) -> TonemapTool:
        """There is nothing to load."""
        del device
        return TonemapTool(self.request)

    def again(self, work: Picture) -> Picture:
        """Results are whole or absent, and `TonemapTool.left` knows which."""
        return work


@dataclass(frozen=True)
class TonemapTool:
    """What tone-maps pictures.

    Attributes:
        request: how.
    """

    request: TonemapRequest

    device = "cpu"
    digest = None

    @property
    def name(self) -> str:
        """Of the operator."""
        return self.request.settings.operator

    def do(self, work: Picture, on_progress: OnProgress | None = None) -> tuple[_Done, list[str]]:
        """Tone-map one picture."""
        del on_progress
        result, sheet = self.left(work)
        return _tonemap_file(work.path, result, sheet, self.request), []

    def kept(self, work: Picture) -> list[Path]:
        """What of its results exists and stays."""
        wanted = (work.result, self.request.sheet)
        skip = self.request.skip_existing
        return [path for path in wanted if skip and path is not None and path.is_file()]

    def left(self, work: Picture) -> tuple[Path | None, Path | None]:
        """Result and sheet as far as they are to be made."""
        kept = self.kept(work)
        wanted = (work.result, self.request.sheet)
        result, sheet = (None if path in kept else path for path in wanted)
        return result, sheet


def tonemap_workers(request: TonemapRequest, jobs: int) -> AbstractContextManager[Workers | None]:
    """What tone-maps so many pictures at the same time; one does it here."""
    if min(jobs, len(request.paths)) == 1:
        return nullcontext()
    level = logging.getLogger("dfghdr_cli").getEffectiveLevel()
    count = min(jobs, len(request.paths))
    return Processes(count, Tonemapping(request), threads=max(1, cores() // count), level=level)


def _done_here(
    works: Sequence[Picture], tool: TonemapTool, on_progress: OnProgress | None
) -> Iterator[tuple[Picture, _Done | DfghdrError]]:
    for number, work in enumerate(works):
        if on_progress:
            on_progress(number, len(works), work.path.name)
        try:
            yield work, tool.do(work)[0]
        except (InputError, OutputError, DeviceError) as error:
            yield work, error


def _done_by(
    works: Sequence[Picture], workers: Workers, on_progress: OnProgress | None
) -> Iterator[tuple[Picture, _Done | DfghdrError]]:
    done: dict[int, _Done | DfghdrError] = {}
    following = count = 0
    for event in workers.run([Task(number, work) for number, work in enumerate(works)]):
        if not isinstance(event, Outcome):
            continue
        count += 1
        for warning in event.warnings:
            log.warning("%s", warning)
        done[event.key] = event.result if event.error is None else event.as_error()
        if on_progress:
            on_progress(count, len(works), works[event.key].path.name)
        while following in done:
            yield works[following], done.pop(following)
            following += 1


def _tonemap_file(
    path: Path, result: Path | None, sheet: Path | None, request: TonemapRequest
) -> tuple[dict[str, Any], list[Path], list[str]]:
    started = time.perf_counter()
    picture = read_linear(path)
    notes = list(picture.notes)
    if not (picture.pixels > 0).any():
        notes.append("it has no light and becomes black")
    read = time.perf_counter()
    height, width = picture.pixels.shape[:2]
    entry: dict[str, Any] = {"input": str(path), "size": [width, height], "space": request.space}
    encoded: dict[Path, bytes] = {}
    if sheet is not None:
        entry["sheet"] = str(sheet)
        encoded[sheet] = encode_display(sheet, contact_sheet(picture, request.settings))
    if result is not None:
        encoded[result] = _encoded(result, picture, request, entry)
    written = [path for path in (result, sheet) if path is not None]
    with atomic_write_all(written, request.overwrite) as files:
        for path, file in zip(written, files, strict=True):
            file.write(encoded.pop(path))
    entry["notes"] = notes
    entry["seconds"] = {
        "read": round(read - started, 3),
        "tonemap": round(time.perf_counter() - read, 3),
    }
    return entry, written, notes


def _encoded(
    result: Path, picture: LinearPicture, request: TonemapRequest, entry: dict[str, Any]
) -> bytes:
    """The bytes of a result; `entry` learns how it came about. `picture` is used up."""
    format = display_format(result, request.format)
    settings = request.settings
    entry |= {"output": str(result), "format": format}
    if format in RADIANCE_ALONE:
        exposure = settings.exposure
        if exposure is None:
            exposure = choose_exposure(
                luminance_of(picture.pixels), _value_named(picture, BRIGHTEST_WHITE)
            )
        shown = picture.pixels
    else:
        white = _value_named(picture, BRIGHTEST_WHITE)
        toned = tone_map(picture.pixels, _settings_for(picture, settings), request.space, white)
        exposure, shown = toned.exposure, toned.pixels
        entry |= {
            "operator": settings.operator,
            "parameters": {name: round(value, 4) for name, value in toned.parameters.items()},
            "white": settings.white,
            "saturation": settings.saturation,
        }
    entry["exposure"] = round(exposure, 4)
    radiance = None
    if format in HDR_FORMATS:
        # In place: the picture may be large, and nothing needs it as the file had it any more.
        radiance = np.multiply(picture.pixels, np.float32(2.0**exposure), out=picture.pixels)
    metadata = metadata_of_header(picture.header).without(
        place=not request.keep_place, identity=not request.keep_identity
    )
    return encode_display(
        result, shown, radiance=radiance, format=format, space=request.space, metadata=metadata
    )


def _value_named(picture: LinearPicture, entry: str) -> float | None:
    """A value of light that the header of a merged picture names, if it is one."""
    try:
        value = float(picture.header[entry])
    except (KeyError, TypeError, ValueError):
        return None
    return value if 0 < value < math.inf else None


def _settings_for(picture: LinearPicture, settings: ToneSettings) -> ToneSettings:
    """Eq. (10) divides by the peak, which the header of a merged picture names."""
    peak = _value_named(picture, "dfghdr:peak")
    if settings.operator != "mu-law" or settings.white is not None or peak is None:
        return settings
    exposure = settings.exposure or 0.0
    return replace(settings, exposure=exposure, white=peak * 2.0**exposure)


def contact_sheet(picture: LinearPicture, settings: ToneSettings) -> FloatImage:
    """All operators side by side, each with its name below.

    Args:
        picture: reduced to 480 pixels a piece.
        settings: exposure and saturation hold for all operators, white for those that take one,
            and the parameters for the operator they were given for.

    Returns:
        (H, W, 3) float32 in [0, 1], encoded with the sRGB curve in the primaries of sRGB.
    """
    import cv2

    pixels = picture.pixels
    height, width = pixels.shape[:2]
    scale = min(1.0, _TILE / width, 2 * _TILE / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = pixels if scale == 1 else cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    small = np.ascontiguousarray(small, np.float32)
    column, row = max(size[0], 160) + _GAP, size[1] + _LABEL
    rows = -(-len(OPERATORS) // _COLUMNS)
    sheet = np.ones((rows * row + _GAP, _COLUMNS * column + _GAP, 3), np.float32)
    for number, (name, operator) in enumerate(OPERATORS.items()):
        chosen = replace(
            settings,
            operator=name,
            white=settings.white if operator.takes_white else None,
            parameters=settings.parameters if name == settings.operator else {},
        )
        shown = _settings_for(picture, chosen)
        tile = tone_map(small, shown, brightest_white=_value_named(picture, BRIGHTEST_WHITE)).pixels
        y, x = number // _COLUMNS * row + _GAP, number % _COLUMNS * column + _GAP
        sheet[y : y + size[1], x : x + size[0]] = tile
        label = _label(name, column - _GAP)
        sheet[y + size[1] : y + size[1] + len(label), x : x + label.shape[1]] = label[..., None]
    return sheet


def _label(name: str, width: int) -> NDArray[np.float32]:
    """Dark letters on white, (18, `width`)."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("L", (width, _LABEL - _GAP), 255)
    ImageDraw.Draw(image).text((2, 1), name, fill=40, font=ImageFont.load_default(14))
    return np.asarray(image, np.float32) / np.float32(255)
