"""The values that pass between the layers: frames, brackets and what becomes of them.

Conventions: arrays are numpy, (H, W, 3) RGB, float32 unless said otherwise. *Linear* means
proportional to radiance with 1.0 = the white of the frame itself; *radiance* means linear with
1.0 = the white of the reference frame; *code* is the gamma-encoded linear ** (1 / 2.2), eq. (7).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import log2
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.colour import REC709, Chromaticities

FloatImage = NDArray[np.float32]
Mask = NDArray[np.bool_]
OnProgress = Callable[[int, int, str], None]
"""on_progress(done, total, what): steps done, steps in all (0: unknown), what is being done."""

SAME_EXPOSURE = 0.05
"""Frames that differ by no more than this [stops] are exposed alike."""
RECORDED_ALIKE = 0.01
"""Exposures that are recorded, or found, nearer to each other than this [stops] are one number."""


def is_darkest(stops: Sequence[float], index: int) -> bool:
    """Whether no frame of a bracket is plainly darker: its white is the best there is."""
    return stops[index] <= min(stops) + SAME_EXPOSURE


def is_brightest(stops: Sequence[float], index: int) -> bool:
    """Whether no frame of a bracket is plainly brighter: its black is the best there is."""
    return stops[index] >= max(stops) - SAME_EXPOSURE


@dataclass(frozen=True, slots=True)
class Exposure:
    """How much light one frame gathered.

    Attributes:
        stops: log2(t * iso / 100 / N**2); higher is brighter. Only differences within a bracket
            matter, so it may be relative where the camera settings are unknown.
        time_s: exposure time [s], or None.
        iso: ISO speed, or None.
        f_number: aperture N, or None.
    """

    stops: float
    time_s: float | None = None
    iso: float | None = None
    f_number: float | None = None

    @classmethod
    def from_camera(
        cls, time_s: float, iso: float | None = None, f_number: float | None = None
    ) -> Exposure:
        """Stops from camera settings; a missing ISO counts as 100 and a missing aperture as f/1."""
        stops = log2(time_s * (iso or 100.0) / 100.0 / (f_number or 1.0) ** 2)
        return cls(stops, time_s, iso, f_number)


@dataclass(frozen=True, slots=True)
class Frame:
    """One photograph of a bracket, still encoded as its file had it.

    Attributes:
        pixels: (H, W, 3) RGB, uint8, uint16 or float32; integers span 0 .. 2**bits - 1 and float32
            spans [0, 1]. Kept in the file's own type: a third of the memory, no precision lost.
        exposure: its exposure.
        path: the file it came from, or None.
        color_space: name of its primaries, "sRGB" unless the file says otherwise.
        linear: whether the pixels are known to be proportional to light.
        to_rec709: (3, 3) float64, from its primaries to those of Rec. 709, in linear light and to
            be multiplied from the left; None where they are the same.
        restored: whether the pixels are those of an 8-bit file whose lost detail was put back.
    """

    pixels: NDArray[np.uint8] | NDArray[np.uint16] | FloatImage
    exposure: Exposure
    path: Path | None = None
    color_space: str = "sRGB"
    linear: bool = False
    to_rec709: NDArray[np.float64] | None = None
    restored: bool = False

    @property
    def name(self) -> str:
        """The file's name, for messages."""
        return self.path.name if self.path else "frame"

    @property
    def bit_depth(self) -> int:
        """Bits of a stored sample: 8, 16 or 32."""
        return self.pixels.dtype.itemsize * 8

    def encoded(self) -> FloatImage:
        """(H, W, 3) float32 in [0, 1]: integers divided by 2**bits - 1."""
        if self.bit_depth == 32:
            return np.asarray(self.pixels, np.float32)
        return self.pixels.astype(np.float32) / np.float32(2**self.bit_depth - 1)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that was given but is no frame of the bracket.

    Attributes:
        path: the file.
        reason: why, in a few words.
    """

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Bracket:
    """2 to 9 frames of one scene and size, sorted from dark to bright.

    Attributes:
        frames: the frames.
        reference: index of the frame whose geometry the result keeps.
        exposures_from: where the exposures came from: "EXIF" (or what stands in for it: the maker's
            notes, XMP), "pixels", "exposure bias" (borne out by the pixels), or an option ("--ev").
        left_out: the files that were given with these but are none of them.
    """

    frames: tuple[Frame, ...]
    reference: int
    exposures_from: str = "EXIF"
    left_out: tuple[LeftOut, ...] = ()

    @property
    def stops(self) -> tuple[float, ...]:
        """Exposure of each frame relative to the reference [stops]; 0 at the reference."""
        zero = self.frames[self.reference].exposure.stops
        return tuple(frame.exposure.stops - zero for frame in self.frames)

    @property
    def peak(self) -> float:
        """White of the darkest frame as radiance: 2**(stops_reference - stops_darkest) >= 1."""
        return 2.0 ** -min(self.stops)

    @property
    def to_rec709(self) -> NDArray[np.float64]:
        """(3, 3), from the primaries of all frames to those of Rec. 709, in linear light."""
        matrix = self.frames[0].to_rec709
        return np.eye(3) if matrix is None else matrix

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) [pixels]."""
        height, width = self.frames[0].pixels.shape[:2]
        return height, width

    def without_pixels(self) -> Bracket:
        """The same bracket all black, which takes no memory: for what is told of it at the end."""
        frames = [
            replace(f, pixels=np.broadcast_to(f.pixels.dtype.type(0), f.pixels.shape))
            for f in self.frames
        ]
        return replace(self, frames=tuple(frames))

    def with_stops(self, stops: Sequence[float]) -> Bracket:
        """The same frames in the same order, exposed as `stops` says, one a frame [stops]."""
        zero = self.frames[self.reference].exposure.stops - stops[self.reference]
        frames = [
            replace(frame, exposure=replace(frame.exposure, stops=stop + zero))
            for frame, stop in zip(self.frames, stops, strict=True)
        ]
        return replace(self, frames=tuple(frames))


@dataclass(frozen=True, slots=True)
class RadianceImage:
    """A merged picture.

    Attributes:
        pixels: (H, W, 3) float32, linear, finite and >= 0; 1.0 = the reference's white.
        peak: the largest radiance the bracket could record, 2**(stops_reference - stops_darkest).
        primaries: x and y of red, green, blue and white; Rec. 709 unless said otherwise.
    """

    pixels: FloatImage
    peak: float
    primaries: Chromaticities = REC709


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What a merge returns.

    Attributes:
        radiance: the picture.
        weights: (N, H, W) float32, each frame's share of a pixel, summing to 1; None where the
            network painted the picture itself, or nobody asked for them.
        clipped: (H, W) bool, white in every frame: the scene was brighter than recorded.
        device: where the network ran; "cpu" without one.
        warnings: sentences for the user.
    """

    radiance: RadianceImage
    weights: FloatImage | None
    clipped: Mask
    device: str = "cpu"
    warnings: tuple[str, ...] = field(default=())
