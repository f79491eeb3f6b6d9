"""From files to a merged file."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from dfghdr_cli import __version__
from dfghdr_cli.atomic import (
    atomic_write_all,
    ensure_different,
    ensure_no_input,
    ensure_writable,
)
from dfghdr_cli.core.colour import (
    RADIANCE_SPACES,
    REC709,
    RadianceSpace,
    conversion,
    convert_radiance,
)
from dfghdr_cli.core.ghostmap import frame_colors, ghost_map
from dfghdr_cli.core.luminance import choose_exposure, luminance_of
from dfghdr_cli.core.response import Belief, Response
from dfghdr_cli.core.response import Kind as ResponseKind
from dfghdr_cli.core.tonemap import DEFAULT_OPERATOR, ToneMapped, ToneSettings, tone_map
from dfghdr_cli.core.types import Bracket, FloatImage, Frame, MergeResult, OnProgress, RadianceImage
from dfghdr_cli.devices import bound_gpu, choose_device, is_gpu_out_of_memory
from dfghdr_cli.errors import DeviceError, InputError, ModelError, OutputError, is_out_of_memory
from dfghdr_cli.io.bracket import (
    ExposuresFrom,
    FramesAhead,
    Reference,
    is_photograph_name,
    read_bracket,
)
from dfghdr_cli.io.display import (
    DISPLAY_SUFFIXES,
    HDR_FORMATS,
    RADIANCE_ALONE,
    DisplayFormat,
    display_format,
    encode_display,
    is_display_name,
)
from dfghdr_cli.io.metadata import Metadata, exr_attributes, read_metadata
from dfghdr_cli.io.radiance import (
    BRIGHTEST_WHITE,
    RADIANCE_SUFFIXES,
    ExrCompression,
    ExrType,
    encode_radiance,
    exposure_attributes,
    is_radiance_name,
)
from dfghdr_cli.io.response import encode_response, read_response
from dfghdr_cli.io.selection import without_own_results
from dfghdr_cli.merging.config import MergeConfig, paints
from dfghdr_cli.merging.equal_exposures import equal_exposures
from dfghdr_cli.merging.memory import MIB, Work
from dfghdr_cli.merging.merge import Merged, merge_bracket
from dfghdr_cli.merging.prepare import prepare
from dfghdr_cli.modelstore import DEFAULT_MODEL, Model, load_model, model_files
from dfghdr_cli.nets.network import Network
from dfghdr_cli.resources import Trace, peak_memory, resident_memory

log = logging.getLogger(__name__)

Method = Literal["dfgnet", "classic"]
_CPU = torch.device("cpu")
_PROGRAM = 300.0
"""What the program with its libraries and a model takes [MiB], where nobody tells."""


@dataclass(frozen=True, slots=True)
class Merger:
    """What merges brackets: loaded once, used for any number of them.

    Attributes:
        model: the model, or None for the classic merge.
        device: where it computes.
    """

    model: Model | None
    device: torch.device

    @property
    def network(self) -> Network | None:
        """The model's network, or None for the classic merge."""
        return self.model.network if self.model else None

    @property
    def name(self) -> str:
        """The model's name, or "classic"."""
        return self.model.info.name if self.model else "classic"


def load_merger(
    method: Method = "dfgnet", model: str | None = None, device: str = "auto"
) -> Merger:
    """Choose the device and load the model, on the CPU where a GPU has no room even for that.

    Args:
        method: "dfgnet" merges with a network, "classic" without one, on the CPU.
        model: name or folder of a model; None takes the default.
        device: see `dfghdr_cli.devices.choose_device`.

    Raises:
        ModelError: if the model cannot be loaded.
        DeviceError: if the device is not there.
    """
    chosen = choose_device(device)
    if method == "classic":
        return Merger(None, _CPU)
    loaded = load_model(model or DEFAULT_MODEL)
    try:
        # Convolutions are faster where the channels of a pixel lie side by side.
        loaded.network.to(chosen).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    except RuntimeError as error:
        if not is_gpu_out_of_memory(error):
            raise
        log.warning("%s has no memory left for the model, which runs on the CPU.", chosen)
        loaded.network.to(_CPU)
        chosen = _CPU
    return Merger(loaded, chosen)


@dataclass(frozen=True, slots=True)
class MergeRequest:
    """One bracket to merge, and where to.

    Attributes:
        paths: 2 to 9 photographs, in any order, or one folder that holds them.
        outputs: the results, .exr, .hdr or .dng, or pictures for screens, tone-mapped by the
            default operator.
        stops: exposures [stops] in the order of `paths`; overrides what the files say.
        times: exposure times [s] likewise.
        ev_step: equal steps [stops] likewise, `paths` from dark to bright.
        reference: "auto", a number from 1 for the darkest, or one of the files.
        exposures_from: "files" or "pixels" where these contradict each other; "auto" corrects small
            errors and refuses large ones.
        response: "auto", "srgb", "gamma", "linear", or a file with a camera's response.
        save_response: where to write the response that was used, or None.
        config: how to merge.
        max_memory: the most that the merge may take [bytes], of the GPU's memory where the network
            runs on one, else of the computer's; None for no bound. See `merging.memory`.
        anchor_ev: 1.0 in the result is the white of a frame of this exposure, as EV100, or in
            stops where these were given; None stands for the reference.
        output_space: the primaries of the result.
        exr_type: "half" or "float".
        exr_compression: of an .exr.
        format: of the pictures for screens; None goes by their names.
        preview: whether to write a preview beside the first .exr, .hdr or .dng.
        preview_operator: what tone-maps the preview, a key of `core.tonemap.OPERATORS`.
        ghost_map: where to show which frame was used where (.png), or None.
        keep_place: whether the results say where the photograph was taken.
        keep_identity: whether they hold serial numbers, and whose it is.
        overwrite: whether existing files may be replaced.
        skip_existing: whether existing files are kept, and only the missing ones written.
        ahead: the photographs, if they are being read already.
    """

    paths: Sequence[Path]
    outputs: Sequence[Path]
    stops: Sequence[float] | None = None
    times: Sequence[float] | None = None
    ev_step: float | None = None
    reference: Reference = "auto"
    exposures_from: ExposuresFrom = "auto"
    response: ResponseKind | Path = "auto"
    save_response: Path | None = None
    config: MergeConfig = field(default_factory=MergeConfig)
    max_memory: int | None = None
    anchor_ev: float | None = None
    output_space: RadianceSpace = "rec709"
    exr_type: ExrType = "half"
    exr_compression: ExrCompression = field(default_factory=ExrCompression)
    format: DisplayFormat | None = None
    preview: bool = True
    preview_operator: str = "mu-law"
    ghost_map: Path | None = None
    keep_place: bool = True
    keep_identity: bool = True
    overwrite: bool = False
    skip_existing: bool = False
    ahead: FramesAhead | None = None

    @property
    def preview_path(self) -> Path | None:
        """out.exr's preview is out.preview.jpg; pictures for screens need none."""
        linear = [path for path in self.outputs if is_radiance_name(path)]
        return linear[0].with_suffix(".preview.jpg") if self.preview and linear else None

    @property
    def results(self) -> tuple[Path, ...]:
        """All the files that the merge leaves, the results first."""
        beside = (self.preview_path, self.ghost_map, self.save_response)
        return (*self.outputs, *(path for path in beside if path is not None))


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What was done, as `--json` prints it.

    Attributes:
        outputs: the files that are there now, the results first.
        values: everything else, ready for JSON.
        warnings: sentences for the user.
    """

    outputs: tuple[Path, ...]
    values: dict[str, Any]
    warnings: tuple[str, ...]

    def to_json(self) -> str:
        """One JSON object on one line."""
        outputs = [str(path) for path in self.outputs]
        return json.dumps({"outputs": outputs, **self.values, "warnings": list(self.warnings)})


def missing_results(request: MergeRequest) -> tuple[Path, ...]:
    """Check, before any work, that all results can be written, and tell which have to be.

    Args:
        request: what to merge.

    Returns:
        `request.results` without those that are there already and to be kept.

    Raises:
        OutputExistsError: if one is there already and neither to be kept nor to be replaced.
        OutputError: if one cannot be written, names no format, or would replace a photograph.
    """
    for path in request.outputs:
        _check_name(path, request.format)
    if request.ghost_map is not None and request.ghost_map.suffix.lower() != ".png":
        raise OutputError(f"{request.ghost_map} must be a PNG file; end it in .png.")
    ensure_different(request.results)
    if request.overwrite:
        ensure_no_input(request.results, _inputs(request))
    missing = []
    for path in request.results:
        if request.skip_existing and path.is_file():
            continue
        ensure_writable(path, request.overwrite)
        missing.append(path)
    return tuple(missing)


def _inputs(request: MergeRequest) -> list[Path]:
    """What the merge reads, and in a folder also the photographs that are not meant."""
    found = [request.response] if isinstance(request.response, Path) else []
    for path in request.paths:
        found.append(path)
        with suppress(OSError):  # which is said when the photographs are read
            found += without_own_results(list(filter(is_photograph_name, path.iterdir())))[0]
    return found


def _check_name(path: Path, format: DisplayFormat | None) -> None:
    if is_radiance_name(path):
        return
    if not is_display_name(path):
        known = ", ".join((*RADIANCE_SUFFIXES, *DISPLAY_SUFFIXES))
        raise OutputError(f"{path} names no format; end it in one of {known}.")
    display_format(path, format)


def merge_files(
    merger: Merger, request: MergeRequest, on_progress: OnProgress | None = None
) -> MergeReport:
    """Merge one bracket of files into files, which appear together at the end.

    Args:
        merger: see `load_merger`.
        request: what to merge.
        on_progress: called as (done, total, what).

    Raises:
        OutputExistsError: if a result is there already; checked before any work.
        OutputError: if a result cannot be written.
        InputError: if the photographs cannot be used.
        ModelError: if a ghost map is asked of a picture that a network paints.
        DeviceError: if the computer's memory, or the request's `max_memory`, is too small.
    """
    missing = missing_results(request)
    if request.ghost_map in missing and paints(merger.network, request.config):
        raise ModelError(
            f"With --resolution full {merger.name} paints the picture itself, so that no map can "
            "say which frame was used where; leave out one of the two."
        )
    if merger.model is not None:
        ensure_no_input(missing, model_files(merger.model.folder))
    if request.max_memory is not None:
        bound_gpu(merger.device, request.max_memory)
    with peak_memory() as peak:
        try:
            report = _merge_files(merger, request, missing, on_progress)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise DeviceError(
                "There is not enough memory for this merge; close other programs, or let it do "
                "with less by --max-memory and --resolution auto."
            ) from error
        report.values["peak_memory_mib"] = peak()
    return report


def _merge_files(
    merger: Merger,
    request: MergeRequest,
    missing: Sequence[Path],
    on_progress: OnProgress | None,
) -> MergeReport:
    asked = request.response
    if isinstance(asked, Path):
        asked = read_response(asked)
    trace = Trace(on_progress, thrifty=request.max_memory is not None)
    fit = partial(_fitted, merger, request, resident_memory())
    with trace.stage("read"):
        bracket = read_bracket(
            request.paths,
            stops=request.stops,
            times=request.times,
            ev_step=request.ev_step,
            reference=request.reference,
            exposures_from=request.exposures_from,
            on_first=fit,
            ahead=request.ahead,
        )
    alike = max(map(len, equal_exposures(bracket.stops)))
    config = fit(bracket.frames[0], len(bracket.frames), alike)
    scale = _scale(request.anchor_ev, bracket)
    with trace.stage("response"):
        prepared = prepare(bracket, asked, _BELIEF[request.exposures_from])
        bracket, response_report = prepared.bracket, prepared.report
        log.info(response_report.text)
        response, hot_pixels = prepared.responses[bracket.reference], prepared.hot_pixels
    merged = merge_bracket(
        merger.network,
        prepared.coded,
        config,
        weights=request.ghost_map is not None,
        trace=trace,
    )
    result = merged.result
    moved = _about_curves(bracket, merged.stops)
    bracket = bracket.with_stops(merged.stops).without_pixels()
    del prepared  # with its pixels; the memory serves for writing
    clipped = float(result.clipped.mean())
    warnings = [*result.warnings, *moved]
    with trace.stage("write"):
        radiance, outside = _converted(result.radiance, bracket, request.output_space)
        if scale != 1.0:
            pixels, peak = radiance.pixels * scale, radiance.peak * float(scale)
            radiance = replace(radiance, pixels=pixels, peak=peak)
        result = replace(result, radiance=radiance)
    if config.reduction(bracket.size) != request.config.reduction(bracket.size):
        warnings.append(
            f"To keep to --max-memory, a picture of {config.proxy_pixels / 1e6:.2g} megapixels "
            f"decided instead of {request.config.proxy_pixels / 1e6:.2g}: the result is slightly "
            "another."
        )
    if outside > _WORTH_A_WARNING:
        warnings.append(
            f"{outside:.1%} of the picture has colours beyond {request.output_space}, "
            "which were made paler; --output-space rec2020 keeps more of them."
        )
    if response_report.warning:
        warnings.append(response_report.warning)
    values = _values(merger, request, bracket, merged, radiance.peak)
    values["hot_pixels"] = hot_pixels
    values["reference_white"] = float(scale)
    values["response"] = {
        "kind": response.name,
        "misfit_stops": {k: round(v, 4) for k, v in response_report.misfit.items()},
        "slack_stops": round(merged.white_tolerance, 4),
        "text": response_report.text,
        "uncertainty_stops": {k: round(v, 4) for k, v in response_report.uncertainty.items()},
        "corrections_stops": {
            bracket.frames[index].name: round(value, 4)
            for index, value in response_report.corrections.items()
        },
    }
    values["clipped_share"] = round(clipped, 6)
    values["input_space"] = bracket.frames[bracket.reference].color_space
    values["output_space"] = request.output_space
    values["outside_share"] = round(outside, 6)
    if request.ghost_map is not None:
        values["ghost_map"] = _legend(bracket)
    with trace.stage("write"), atomic_write_all(missing, request.overwrite) as files:
        metadata = read_metadata(bracket.frames[bracket.reference].path)
        metadata = metadata.without(
            place=not request.keep_place, identity=not request.keep_identity
        )
        header = _header(values, bracket) | exr_attributes(metadata)
        results = _Results(request, bracket, response, result, header, metadata)
        for path, file in zip(missing, files, strict=True):
            file.write(results.encoded(path))
            trace.give_back()
    values["tone_mapped"] = results.exposures
    values["kept"] = [str(path) for path in request.results if path not in missing]
    values["seconds"] = trace.seconds
    return MergeReport(request.results, values, tuple(warnings))


def _about_curves(bracket: Bracket, stops: Sequence[float]) -> list[str]:
    """A sentence on frames whose light had to be brought to that of their neighbours."""
    named = [
        f"{frame.name} by {after - before:+.1f}"
        for frame, before, after in zip(bracket.frames, bracket.stops, stops, strict=True)
        if abs(after - before) > 0.01
    ]
    if not named:
        return []
    return [
        "The tone curve differs from frame to frame, as phones have it, so that frames do not show "
        f"the same light; exposures were changed so that they meet: {', '.join(named)} stops. How "
        "bright the highlights are is uncertain by as much."
    ]


def _fitted(
    merger: Merger,
    request: MergeRequest,
    before: float | None,
    frame: Frame,
    count: int,
    alike: int = 1,
) -> MergeConfig:
    """How to merge so many such frames within `request.max_memory`; see `Work.fitted`.

    Args:
        merger: what merges; of the computer's memory nothing is known if it is on a GPU.
        request: what to merge.
        before: memory of the process before any frame was read [MiB]; None if nobody tells.
        frame: one of the frames.
        count: of the frames.
        alike: frames in the largest group of one exposure.
    """
    if request.max_memory is None or merger.device != _CPU:
        return request.config
    work = Work(
        size=frame.pixels.shape[:2],
        frames=count,
        sample=frame.pixels.itemsize,
        network=merger.network,
        converted=request.output_space != "rec709",
        screens=request.preview_operator != "mu-law"
        or not all(map(is_radiance_name, request.outputs)),
        ghost_map=request.ghost_map is not None,
        alike=alike,
    )
    held = _PROGRAM if before is None else before
    return work.fitted(request.config, request.max_memory, round(held * MIB))


@dataclass(frozen=True)
class _Results:
    """The merge, and what the files that come of it have in common.

    Attributes:
        request: which files.
        bracket: the photographs.
        response: what they were linearised with.
        result: the merge on its final scale.
        header: entries of an .exr or .hdr.
        metadata: of the reference.
        exposures: by operator, what the picture was brightened by [stops].
    """

    request: MergeRequest
    bracket: Bracket
    response: Response
    result: MergeResult
    header: dict[str, str | float]
    metadata: Metadata
    exposures: dict[str, float] = field(default_factory=dict)
    _toned: dict[str, ToneMapped] = field(default_factory=dict)

    @property
    def brightest_white(self) -> float:
        """The value that is white in the brightest frame, as the header has it."""
        return float(self.header[BRIGHTEST_WHITE])

    @cached_property
    def linear(self) -> FloatImage:
        """(H, W, 3) linear Rec. 709."""
        radiance = self.result.radiance
        to_screen = conversion(radiance.primaries, REC709)
        return convert_radiance(radiance.pixels, to_screen, REC709)[0]

    def toned(self, operator: str) -> ToneMapped:
        """Tone-mapped by the operator of that name; mu-law is eq. (10) of radiance / peak."""
        if operator not in self._toned:
            settings = ToneSettings(operator)
            if operator == "mu-law":
                settings = ToneSettings(operator, exposure=0.0, white=self.result.radiance.peak)
            white = self.brightest_white
            self._toned[operator] = tone_map(self.linear, settings, brightest_white=white)
            self.exposures[operator] = round(self._toned[operator].exposure, 4)
        return self._toned[operator]

    def encoded(self, path: Path) -> bytes:
        """The bytes of one file."""
        request = self.request
        if path == request.save_response:
            return encode_response(self.response)
        if path == request.ghost_map:
            assert self.result.weights is not None
            reference = self.bracket.reference
            picture = ghost_map(self.result.weights, reference, self.result.clipped)
            return encode_display(path, picture, bits=8)
        if path == request.preview_path:
            picture = self.toned(request.preview_operator).pixels
            return encode_display(path, picture, metadata=self.metadata)
        if is_radiance_name(path):
            return encode_radiance(
                path,
                self.result.radiance,
                exr_type=request.exr_type,
                compression=request.exr_compression,
                attributes=self.header,
                metadata=self.metadata,
            )
        return self._for_screens(path)

    def _for_screens(self, path: Path) -> bytes:
        format = display_format(path, self.request.format)
        if format in RADIANCE_ALONE:
            luminance = luminance_of(self.linear)
            picture, exposure = self.linear, choose_exposure(luminance, self.brightest_white)
            self.exposures[DEFAULT_OPERATOR] = round(exposure, 4)
        else:
            toned = self.toned(DEFAULT_OPERATOR)
            picture, exposure = toned.pixels, toned.exposure
        radiance = self.linear * np.float32(2.0**exposure) if format in HDR_FORMATS else None
        return encode_display(
            path, picture, radiance=radiance, format=format, metadata=self.metadata
        )


def _legend(bracket: Bracket) -> dict[str, str]:
    """The colour of each frame in the ghost map, as #rrggbb."""
    colors = frame_colors(len(bracket.frames), bracket.reference)
    codes = np.rint(colors * 255).astype(np.uint8)
    return {
        frame.name: f"#{code.tobytes().hex()}"
        for frame, code in zip(bracket.frames, codes, strict=True)
    }


_BELIEF: dict[ExposuresFrom, Belief] = {"auto": "both", "files": "files", "pixels": "pixels"}
_FARTHEST_ANCHOR = 24.0
"""Stops between the reference and the exposure that the scale is anchored to."""
_WORTH_A_WARNING = 0.01
"""Share of the picture."""


def _converted(
    radiance: RadianceImage, bracket: Bracket, space: RadianceSpace
) -> tuple[RadianceImage, float]:
    """The merge in the primaries asked for, and the share of pixels that lay outside."""
    primaries = RADIANCE_SPACES[space]
    pixels, outside = convert_radiance(radiance.pixels, bracket.to_rec709, primaries)
    return RadianceImage(pixels, radiance.peak, primaries), outside


def _scale(anchor_ev: float | None, bracket: Bracket) -> np.float32:
    """The white of the reference on the scale asked for.

    EV is EV100 = log2(N**2 / t) - log2(ISO / 100), of which less is brighter, where exposures are
    those of a camera (EXIF, --times); where they are given in stops (--ev, --ev-step), it is on the
    scale of these, of which more is brighter.

    Raises:
        InputError: the exposures are known among the frames only, or the scale is out of reach.
    """
    if anchor_ev is None:
        return np.float32(1.0)
    source = bracket.exposures_from
    if source in ("pixels", "exposure bias"):
        names = ", ".join(frame.name for frame in bracket.frames)
        raise InputError(
            f"{names}: the exposures are estimated from the pixels, which tell only the steps "
            "between these frames; give --ev or --times beside --anchor-ev."
        )
    anchor = anchor_ev if source in ("--ev", "--ev-step") else -anchor_ev
    apart = anchor - bracket.frames[bracket.reference].exposure.stops
    if not abs(apart) <= _FARTHEST_ANCHOR:
        raise InputError(
            f"--anchor-ev {anchor_ev:g} is {abs(apart):.0f} stops from the reference, "
            f"{bracket.frames[bracket.reference].name}; give the exposure of a frame like these."
        )
    return np.float32(2.0**apart)


def _values(
    merger: Merger,
    request: MergeRequest,
    bracket: Bracket,
    merged: Merged,
    peak: float,
) -> dict[str, Any]:
    frames = [
        {
            "file": str(frame.path),
            "stops": round(stops, 4),
            "alignment": f"{alignment.model}+flow" if flowed else alignment.model,
            "residual": round(alignment.residual, 3),
        }
        for frame, stops, alignment, flowed in zip(
            bracket.frames, merged.stops, merged.alignments, merged.flowed, strict=True
        )
    ]
    return {
        "version": __version__,
        "frames": frames,
        "left_out": [{"file": str(left.path), "reason": left.reason} for left in bracket.left_out],
        "exposures_from": bracket.exposures_from,
        "reference": bracket.frames[bracket.reference].name,
        "method": "dfgnet" if merger.model else "classic",
        "model": merger.name,
        "model_digest": merger.model.digest if merger.model else None,
        "device": merged.result.device,
        "scale": "1.0 is the white of the reference frame"
        if request.anchor_ev is None
        else f"1.0 is the white of a frame exposed at EV {request.anchor_ev:g}",
        "anchor_ev": request.anchor_ev,
        "peak": peak,
        "size": [bracket.size[1], bracket.size[0]],
    }


def _header(values: dict[str, Any], bracket: Bracket) -> dict[str, str | float]:
    frames = values["frames"]
    text = {
        "version": values["version"],
        "model": values["model"],
        "modelDigest": values["model_digest"] or "",
        "frames": ", ".join(Path(f["file"]).name for f in frames),
        "stops": ", ".join(f"{f['stops']:+g}" for f in frames),
        "exposuresFrom": values["exposures_from"],
        "alignment": ", ".join(f["alignment"] for f in frames),
        "reference": values["reference"],
        "response": values["response"]["kind"],
        "scale": values["scale"],
        "inputSpace": values["input_space"],
        "outputSpace": values["output_space"],
    }
    header: dict[str, str | float] = {f"dfghdr:{key}": value for key, value in text.items()}
    header["dfghdr:clippedShare"] = values["clipped_share"]
    # As a file will have it, so that `dfghdr tonemap` makes the same picture.
    white = np.float32(values["reference_white"] * 2.0 ** -max(bracket.stops))
    header[BRIGHTEST_WHITE] = float(white)
    if values["anchor_ev"] is not None:
        header["dfghdr:anchorEv"] = values["anchor_ev"]
        header["dfghdr:referenceWhite"] = values["reference_white"]
    return header | exposure_attributes(bracket.frames[bracket.reference].exposure)
