"""Photographs made ready to merge: what JPEG took put back, exposures corrected, curves undone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dfghdr_cli.choices import ResponseKind
from dfghdr_cli.core.calibration.response import (
    Belief,
    Response,
    ResponseReport,
    choose_response,
)
from dfghdr_cli.core.calibration.white import find_white
from dfghdr_cli.core.encoding import decode
from dfghdr_cli.core.frames import CodedBracket, CodedFrame, Samples
from dfghdr_cli.core.restoration.hotpixels import without_hot_pixels
from dfghdr_cli.core.restoration.jpeg import restore_bracket
from dfghdr_cli.core.types import Bracket, FloatImage, OnProgress


@dataclass(frozen=True, slots=True)
class Prepared:
    """A bracket ready to merge, and how it came to be.

    Attributes:
        coded: what is merged.
        bracket: the photographs, restored, with corrected exposures.
        responses: of the frames.
        report: on how the responses were chosen.
        hot_pixels: how many were replaced, see `core.restoration.hotpixels`.
    """

    coded: CodedBracket
    bracket: Bracket
    responses: tuple[Response, ...]
    report: ResponseReport
    hot_pixels: int

    def without_pixels(self) -> Prepared:
        """The same without any pixels, which takes no memory: for what is told of it at the end."""
        coded = replace(self.coded, frames=())
        return replace(self, coded=coded, bracket=self.bracket.without_pixels())


def prepare(
    bracket: Bracket,
    response: ResponseKind | Response = "auto",
    believe: Belief = "both",
    on_progress: OnProgress | None = None,
) -> Prepared:
    """Make a bracket of photographs ready to merge.

    Args:
        bracket: as it was read.
        response: see `core.calibration.response.choose_response`.
        believe: likewise; exposures that were estimated from the pixels count as such, and given
            ones are believed beside a given response.
        on_progress: called as (done, total, what).
    """
    tell = on_progress or (lambda done, total, what: None)
    bracket, hot_pixels = without_hot_pixels(bracket)
    tell(1, 4, "response")
    white = find_white(bracket.frames, bracket.stops)  # as the file has it
    tell(2, 4, "response")
    bracket = restore_bracket(bracket, white.tolist())
    tell(3, 4, "response")
    if bracket.exposures_from == "pixels":
        believe = "pixels"
    elif bracket.exposures_from.startswith("--") and response != "auto":
        believe = "files"  # who says both takes both upon themselves
    found = choose_response(response, bracket.frames, bracket.stops, believe, white)
    bracket = bracket.with_stops(found.stops)
    frames = tuple(
        CodedFrame.of_frame(frame, its)
        for frame, its in zip(bracket.frames, found.responses, strict=True)
    )
    coded = CodedBracket(frames, bracket.stops, bracket.reference, misfit=found.misfit)
    return Prepared(coded, bracket, found.responses, found.report, hot_pixels)


def gamma_coded(bracket: Bracket) -> CodedBracket:
    """The bracket of a scene with truth: its frames are gamma codes by definition, eq. (7)."""
    first = CodedFrame.of_samples(bracket.frames[0].pixels, _of_gamma)  # one table serves all
    frames = tuple(CodedFrame(frame.pixels, first.convert) for frame in bracket.frames)
    return CodedBracket(frames, bracket.stops, bracket.reference)


def _of_gamma(samples: Samples) -> FloatImage:
    """Linear values in [0, 1] of samples of any type."""
    if samples.dtype.kind == "f":
        return decode(np.asarray(samples, np.float32))
    top = np.float32(np.iinfo(samples.dtype).max)
    return decode(samples.astype(np.float32) / top)
