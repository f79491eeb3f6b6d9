"""Merging one bracket of photographs into files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from dfghdr_cli.atomic import atomic_write_all, ensure_no_input
from dfghdr_cli.choices import ExposuresFrom, RadianceSpace
from dfghdr_cli.core.calibration.response import Belief
from dfghdr_cli.core.colour import RADIANCE_SPACES, convert_radiance
from dfghdr_cli.core.types import Bracket, Frame, OnProgress, RadianceImage
from dfghdr_cli.devices import bound_gpu
from dfghdr_cli.errors import DeviceError, InputError, ModelError, is_out_of_memory
from dfghdr_cli.io.bracket import FramesAhead, read_bracket
from dfghdr_cli.io.metadata import read_metadata
from dfghdr_cli.io.names import is_radiance_name
from dfghdr_cli.io.response import read_response
from dfghdr_cli.merging.config import MergeConfig, paints
from dfghdr_cli.merging.costs import stage_costs
from dfghdr_cli.merging.equal_exposures import equal_exposures
from dfghdr_cli.merging.memory import MIB, MemoryEstimate
from dfghdr_cli.merging.merge import Merged, merge_bracket
from dfghdr_cli.merging.prepare import Prepared, prepare
from dfghdr_cli.modelfolders import model_files
from dfghdr_cli.pipeline.merge.outputs import Done, Results, ghost_colours
from dfghdr_cli.pipeline.merge.report import FrameReport, MergeFacts, MergeReport
from dfghdr_cli.pipeline.merge.request import CPU, Merger, MergeRequest, missing_results
from dfghdr_cli.resources import Trace, peak_memory, resident_memory

log = logging.getLogger(__name__)


class Fit(Protocol):
    """Chooses how to merge so many such frames within a bound of memory."""

    def __call__(self, frame: Frame, count: int, alike: int = 1) -> MergeConfig:
        """See `_fitted`."""
        ...


_BELIEF: dict[ExposuresFrom, Belief] = {"auto": "both", "files": "files", "pixels": "pixels"}
_PROGRAM = 300.0
"""What the program with its libraries and a model takes [MiB], where it is not measured."""
_FARTHEST_ANCHOR = 24.0
"""Stops between the reference and the exposure that the scale is anchored to."""
_READING = 0.03
"""Share of reading in a merge; most of it is done while PyTorch is loaded."""
_WORTH_A_WARNING = 0.01
"""Share of the picture."""


def merge_files(
    merger: Merger,
    request: MergeRequest,
    on_progress: OnProgress | None = None,
    *,
    ahead: FramesAhead | None = None,
) -> MergeReport:
    """Merge one bracket of files into files, which appear together at the end.

    Args:
        merger: see `load_merger`.
        request: what to merge.
        on_progress: called as (done, total, what).
        ahead: the photographs, if they are being read already.

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
            report = _merge_files(merger, request, missing, on_progress, ahead)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise DeviceError(
                "There is not enough memory for this merge; close other programs, or let it do "
                "with less by --max-memory and --resolution auto."
            ) from error
        return replace(report, peak_memory=peak())


def _merge_files(
    merger: Merger,
    request: MergeRequest,
    missing: Sequence[Path],
    on_progress: OnProgress | None,
    ahead: FramesAhead | None,
) -> MergeReport:
    if isinstance(request.response, Path):
        read_response(request.response)  # to refuse it before photographs are read for nothing
    trace = Trace(on_progress, thrifty=request.max_memory is not None)
    fit = partial(_fitted, merger, request, resident_memory())
    done = merge_photographs(merger, _read(request, fit, trace, ahead), request, trace, fit)
    exposures = _write(done, request, missing, trace)
    return MergeReport(
        request.results,
        tuple(path for path in request.results if path not in missing),
        done.facts,
        exposures,
        trace.seconds,
        warnings=done.warnings,
    )


def _read(request: MergeRequest, fit: Fit, trace: Trace, ahead: FramesAhead | None) -> Bracket:
    with trace.stage("read"):
        return read_bracket(
            request.paths,
            stops=request.stops,
            times=request.times,
            ev_step=request.ev_step,
            reference=request.reference,
            exposures_from=request.exposures_from,
            on_first=fit,
            ahead=ahead,
        )


def merge_photographs(
    merger: Merger, bracket: Bracket, request: MergeRequest, trace: Trace, fit: Fit | None = None
) -> Done:
    """Merge a bracket that has been read.

    Args:
        merger: see `load_merger`.
        bracket: the photographs; where the caller keeps no reference to them, their memory is free
            before the result is converted.
        request: how; paths and outputs do not count.
        trace: counts the stages.
        fit: chooses how to merge within a bound of memory; None takes the request's word.

    Raises:
        InputError: the exposures contradict the pixels, or the scale cannot be had.
        OSError: a file with a response cannot be read.
    """
    response = request.response
    if isinstance(response, Path):
        response = read_response(response)
    config = request.config
    if fit is not None:
        alike = max(map(len, equal_exposures(bracket.stops)))
        config = fit(bracket.frames[0], len(bracket.frames), alike)
    scale = _scale(request.anchor_ev, bracket)
    costs = stage_costs(bracket.size, len(bracket.frames), merger.network, config)
    trace.expect(costs, before=_READING)
    with trace.stage("response"):
        prepared = prepare(bracket, response, _BELIEF[request.exposures_from], trace.step)
        log.info(prepared.report.text)
    del bracket
    wanted = request.weights or request.ghost_map is not None
    merged = merge_bracket(merger.network, prepared.coded, config, weights=wanted, trace=trace)
    prepared = prepared.without_pixels()  # their memory serves for writing
    with trace.stage("write"):
        done = _finished(merger, request, prepared, merged, scale)
    if config.reduction(done.facts.size) == request.config.reduction(done.facts.size):
        return done
    usual = min(request.config.proxy_pixels, done.facts.size[0] * done.facts.size[1])
    less = (
        f"To keep to --max-memory, a picture of {config.proxy_pixels / 1e6:.2g} megapixels "
        f"decided instead of {usual / 1e6:.2g}: the result differs slightly."
    )
    return replace(done, warnings=(*done.warnings, less))


def _finished(
    merger: Merger, request: MergeRequest, prepared: Prepared, merged: Merged, scale: np.float32
) -> Done:
    """The merge on its scale and in its primaries, and what is told of it."""
    bracket, report = prepared.bracket.with_stops(merged.stops), prepared.report
    reference = bracket.frames[bracket.reference]
    response = prepared.responses[bracket.reference]
    radiance, outside = _converted(merged.result.radiance, bracket, request.output_space)
    if scale != 1.0:
        pixels, peak = radiance.pixels * scale, radiance.peak * float(scale)
        radiance = replace(radiance, pixels=pixels, peak=peak)
    result = replace(merged.result, radiance=radiance)
    warnings = [*result.warnings, *_about_curves(prepared.bracket, merged.stops)]
    if outside > _WORTH_A_WARNING:
        warnings.append(
            f"{outside:.1%} of the picture has colours beyond {request.output_space}, "
            "which were made paler; --output-space rec2020 keeps more of them."
        )
    if report.warning:
        warnings.append(report.warning)
    facts = MergeFacts(
        frames=_frames(bracket, merged),
        left_out=bracket.left_out,
        exposures_from=bracket.exposures_from,
        reference=reference.name,
        exposure=reference.exposure,
        model=merger.name,
        model_digest=merger.model.digest if merger.model else None,
        device=result.device,
        anchor_ev=request.anchor_ev,
        peak=radiance.peak,
        size=bracket.size,
        hot_pixels=prepared.hot_pixels,
        reference_white=float(scale),
        response=response.name,
        response_report=report,
        white_tolerance=merged.white_tolerance,
        clipped_share=float(result.clipped.mean()),
        input_space=reference.color_space,
        output_space=request.output_space,
        outside_share=outside,
        ghost_colours=ghost_colours(bracket) if request.ghost_map is not None else None,
    )
    return Done(result, response, bracket.reference, facts, tuple(warnings))


def _frames(bracket: Bracket, merged: Merged) -> tuple[FrameReport, ...]:
    rows = zip(bracket.frames, merged.stops, merged.alignments, merged.flowed, strict=True)
    return tuple(
        FrameReport(
            frame.path,
            frame.name,
            stops,
            f"{alignment.model}+flow" if flowed else alignment.model,
            alignment.residual,
        )
        for frame, stops, alignment, flowed in rows
    )


def _write(
    done: Done, request: MergeRequest, missing: Sequence[Path], trace: Trace
) -> dict[str, float]:
    """Write the files that are missing; what pictures were brightened by [stops], by operator."""
    with trace.stage("write"), atomic_write_all(missing, request.overwrite) as files:
        metadata = read_metadata(done.facts.frames[done.reference].path)
        metadata = metadata.without(
            place=not request.keep_place, identity=not request.keep_identity
        )
        results = Results(request, done, metadata)
        for number, (path, file) in enumerate(zip(missing, files, strict=True)):
            trace.step(number, len(missing), f"write {path.suffix[1:]}")
            file.write(results.encoded(path))
            trace.give_back()
        trace.step(1, 1, "write")
    return results.exposures


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
    """How to merge so many such frames within `request.max_memory`; see `MemoryEstimate.fitted`.

    Args:
        merger: what merges; of the computer's memory nothing is known if it is on a GPU.
        request: what to merge.
        before: memory of the process before any frame was read [MiB]; None if it is not known.
        frame: one of the frames.
        count: of the frames.
        alike: frames in the largest group of one exposure.
    """
    if request.max_memory is None or merger.device != CPU:
        return request.config
    work = MemoryEstimate(
        size=frame.pixels.shape[:2],
        frames=count,
        sample=frame.pixels.itemsize,
        network=merger.network,
        converted=request.output_space != "rec709",
        screens=request.preview_operator != "mu-law"
        or not all(map(is_radiance_name, request.outputs)),
        dng=any(path.suffix.lower() == ".dng" for path in request.outputs),
        ghost_map=request.ghost_map is not None,
        alike=alike,
    )
    held = _PROGRAM if before is None else before
    return work.fitted(request.config, request.max_memory, round(held * MIB))


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
