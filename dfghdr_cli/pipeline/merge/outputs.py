"""The files that a merge writes: radiance, pictures for screens, the ghost map, the response."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from dfghdr_cli.core.calibration.response import Response
from dfghdr_cli.core.colour import REC709, conversion, convert_radiance
from dfghdr_cli.core.ghostmap import frame_colors, ghost_map
from dfghdr_cli.core.luminance import choose_exposure, luminance_of
from dfghdr_cli.core.tonemapping.operators import (
    DEFAULT_OPERATOR,
    ToneMapped,
    ToneSettings,
    tone_map,
)
from dfghdr_cli.core.types import Bracket, FloatImage, MergeResult
from dfghdr_cli.io.display import encode_display
from dfghdr_cli.io.metadata import Metadata, exr_attributes
from dfghdr_cli.io.names import HDR_FORMATS, RADIANCE_ALONE, display_format, is_radiance_name
from dfghdr_cli.io.radiance import encode_radiance
from dfghdr_cli.io.response import encode_response
from dfghdr_cli.pipeline.merge.report import MergeFacts
from dfghdr_cli.pipeline.merge.request import MergeRequest


@dataclass(frozen=True, slots=True)
class Done:
    """A merge, ready to be written.

    Attributes:
        result: the picture on its final scale and in its final primaries.
        response: what the reference was linearised with.
        reference: its index.
        facts: for report and headers.
        warnings: sentences for the user.
    """

    result: MergeResult
    response: Response
    reference: int
    facts: MergeFacts
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Results:
    """The merge, and what the files that come of it have in common.

    Attributes:
        request: which files.
        done: the merge.
        metadata: of the reference.
        exposures: by operator, what the picture was brightened by [stops].
    """

    request: MergeRequest
    done: Done
    metadata: Metadata
    exposures: dict[str, float] = field(default_factory=dict)
    _toned: dict[str, ToneMapped] = field(default_factory=dict)

    @property
    def brightest_white(self) -> float:
        """The value that is white in the brightest frame."""
        return self.done.facts.brightest_white

    @cached_property
    def linear(self) -> FloatImage:
        """(H, W, 3) linear Rec. 709."""
        radiance = self.done.result.radiance
        to_screen = conversion(radiance.primaries, REC709)
        return convert_radiance(radiance.pixels, to_screen, REC709)[0]

    def toned(self, operator: str) -> ToneMapped:
        """Tone-mapped by the operator of that name; mu-law is eq. (10) of radiance / peak."""
        if operator not in self._toned:
            settings = ToneSettings(operator)
            if operator == "mu-law":
                settings = ToneSettings(
                    operator, exposure=0.0, white=self.done.result.radiance.peak
                )
            white = self.brightest_white
            self._toned[operator] = tone_map(self.linear, settings, brightest_white=white)
            self.exposures[operator] = round(self._toned[operator].exposure, 4)
        return self._toned[operator]

    def encoded(self, path: Path) -> bytes:
        """The bytes of one file."""
        request = self.request
        if path == request.save_response:
            return encode_response(self.done.response)
        if path == request.ghost_map:
            assert self.done.result.weights is not None
            reference = self.done.reference
            picture = ghost_map(self.done.result.weights, reference, self.done.result.clipped)
            return encode_display(path, picture, bits=8)
        if path == request.preview_path:
            picture = self.toned(request.preview_operator).pixels
            return encode_display(path, picture, metadata=self.metadata)
        if is_radiance_name(path):
            return encode_radiance(
                path,
                self.done.result.radiance,
                exr_type=request.exr_type,
                compression=request.exr_compression,
                attributes=self.done.facts.header() | exr_attributes(self.metadata),
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


def ghost_colours(bracket: Bracket) -> dict[str, str]:
    """The colour of each frame in the ghost map, as #rrggbb."""
    colors = frame_colors(len(bracket.frames), bracket.reference)
    codes = np.rint(colors * 255).astype(np.uint8)
    return {
        frame.name: f"#{code.tobytes().hex()}"
        for frame, code in zip(bracket.frames, codes, strict=True)
    }
