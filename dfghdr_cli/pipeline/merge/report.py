"""What a merge did, as `--json` prints it and headers of files tell it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfghdr_cli import __version__
from dfghdr_cli.io.names import BRIGHTEST_WHITE

if TYPE_CHECKING:  # a merge that has nothing to do loads neither NumPy nor OpenCV
    from dfghdr_cli.core.calibration.response import ResponseReport
    from dfghdr_cli.core.types import Exposure, LeftOut


@dataclass(frozen=True, slots=True)
class FrameReport:
    """One frame as it was merged.

    Attributes:
        path: its file; None of an array.
        name: the file's name, for messages.
        stops: exposure relative to the reference [stops].
        alignment: the model of its motion, and "+flow" where dense flow moved it, too.
        residual: see `core.registration.align.Alignment` [grey levels of 255].
    """

    path: Path | None
    name: str
    stops: float
    alignment: str
    residual: float

    def values(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "file": str(self.path or self.name),
            "stops": round(self.stops, 4),
            "alignment": self.alignment,
            "residual": round(self.residual, 3),
        }


@dataclass(frozen=True, slots=True)
class MergeFacts:
    """What was found out about a bracket, and what became of it.

    Attributes:
        frames: dark to bright.
        left_out: files that were given and are none of them.
        exposures_from: see `Bracket`.
        reference: the name of its frame.
        exposure: of the reference, as its file has it.
        model: its name, or "classic".
        model_digest: of its weights; None for the classic merge.
        device: where the network ran.
        anchor_ev: the exposure that the scale is anchored to, or None.
        peak: the largest radiance that the bracket could record.
        size: (height, width) [pixels].
        hot_pixels: how many were replaced.
        reference_white: the white of the reference frame on the result's scale.
        response: name of the response.
        response_report: how it was found.
        white_tolerance: see `CodedBracket` [stops].
        clipped_share: of the pixels that are white in every frame.
        input_space: name of the photographs' primaries.
        output_space: name of the result's.
        outside_share: of the pixels whose colours the result's primaries do not reach.
        ghost_colours: by frame, "#rrggbb" in the ghost map; None without one.
    """

    frames: tuple[FrameReport, ...]
    left_out: tuple[LeftOut, ...]
    exposures_from: str
    reference: str
    exposure: Exposure
    model: str
    model_digest: str | None
    device: str
    anchor_ev: float | None
    peak: float
    size: tuple[int, int]
    hot_pixels: int
    reference_white: float
    response: str
    response_report: ResponseReport
    white_tolerance: float
    clipped_share: float
    input_space: str
    output_space: str
    outside_share: float
    ghost_colours: Mapping[str, str] | None = None

    @property
    def scale(self) -> str:
        """What 1.0 is, in words."""
        if self.anchor_ev is None:
            return "1.0 is the white of the reference frame"
        return f"1.0 is the white of a frame exposed at EV {self.anchor_ev:g}"

    @property
    def brightest_white(self) -> float:
        """The value that is white in the brightest frame, as a file will have it.

        `dfghdr tonemap` makes the same picture of that file.
        """
        import numpy as np

        brightest = max(frame.stops for frame in self.frames)
        return float(np.float32(self.reference_white * 2.0**-brightest))

    def values(self) -> dict[str, Any]:
        """Ready for JSON."""
        values: dict[str, Any] = {
            "version": __version__,
            "frames": [frame.values() for frame in self.frames],
            "left_out": [{"file": str(left.path), "reason": left.reason} for left in self.left_out],
            "exposures_from": self.exposures_from,
            "reference": self.reference,
            "method": "dfgnet" if self.model_digest else "classic",
            "model": self.model,
            "model_digest": self.model_digest,
            "device": self.device,
            "scale": self.scale,
            "anchor_ev": self.anchor_ev,
            "peak": self.peak,
            "size": [self.size[1], self.size[0]],
            "hot_pixels": self.hot_pixels,
            "reference_white": self.reference_white,
            "response": self._response(),
            "clipped_share": round(self.clipped_share, 6),
            "input_space": self.input_space,
            "output_space": self.output_space,
            "outside_share": round(self.outside_share, 6),
        }
        if self.ghost_colours is not None:
            values["ghost_map"] = dict(self.ghost_colours)
        return values

    def _response(self) -> dict[str, Any]:
        found = self.response_report
        return {
            "kind": self.response,
            "misfit_stops": {k: round(v, 4) for k, v in found.misfit.items()},
            "slack_stops": round(self.white_tolerance, 4),
            "text": found.text,
            "uncertainty_stops": {k: round(v, 4) for k, v in found.uncertainty.items()},
            "corrections_stops": {
                self.frames[index].name: round(value, 4)
                for index, value in found.corrections.items()
            },
        }

    def header(self) -> dict[str, str | float]:
        """Entries of an .exr or .hdr."""
        from dfghdr_cli.io.radiance import exposure_attributes

        text = {
            "version": __version__,
            "model": self.model,
            "modelDigest": self.model_digest or "",
            "frames": ", ".join(frame.name for frame in self.frames),
            "stops": ", ".join(f"{round(frame.stops, 4):+g}" for frame in self.frames),
            "exposuresFrom": self.exposures_from,
            "alignment": ", ".join(frame.alignment for frame in self.frames),
            "reference": self.reference,
            "response": self.response,
            "scale": self.scale,
            "inputSpace": self.input_space,
            "outputSpace": self.output_space,
        }
        header: dict[str, str | float] = {f"dfghdr:{key}": value for key, value in text.items()}
        header["dfghdr:clippedShare"] = round(self.clipped_share, 6)
        header[BRIGHTEST_WHITE] = self.brightest_white
        if self.anchor_ev is not None:
            header["dfghdr:anchorEv"] = self.anchor_ev
            header["dfghdr:referenceWhite"] = self.reference_white
        return header | exposure_attributes(self.exposure)


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What was done.

    Attributes:
        outputs: the files that are there now, the results first.
        kept: those of them that were there before.
        facts: on the merge; None where nothing had to be done.
        tone_mapped: by operator, what pictures were brightened by [stops].
        seconds: by stage.
        peak_memory: the program's largest memory meanwhile [MiB], None where it is not known.
        warnings: sentences for the user.
    """

    outputs: tuple[Path, ...]
    kept: tuple[Path, ...] = ()
    facts: MergeFacts | None = None
    tone_mapped: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    peak_memory: float | None = None
    warnings: tuple[str, ...] = ()

    def values(self) -> dict[str, Any]:
        """All but outputs and warnings, ready for JSON."""
        kept: dict[str, Any] = {"kept": [str(path) for path in self.kept]}
        if self.facts is None:
            return {"version": __version__, **kept}
        return {
            **self.facts.values(),
            "tone_mapped": dict(self.tone_mapped),
            **kept,
            "seconds": dict(self.seconds),
            "peak_memory_mib": self.peak_memory,
        }

    def to_json(self) -> str:
        """One JSON object on one line."""
        outputs = [str(path) for path in self.outputs]
        return json.dumps({"outputs": outputs, **self.values(), "warnings": list(self.warnings)})
