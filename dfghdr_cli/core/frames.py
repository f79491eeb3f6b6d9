"""Frames as gamma codes, made of their stored samples where and when they are wanted.

A large photograph as float32 takes twice the memory of its 16-bit file, and every copy of it takes
time. So the samples stay as they are stored, and each part of the picture that is worked on is
converted by itself, mostly by looking it up in a table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.calibration.response import Response
from dfghdr_cli.core.encoding import encode
from dfghdr_cli.core.types import FloatImage, Frame, is_darkest
from dfghdr_cli.core.worth import CLEAN, Worth, code_error, code_worth

Samples = NDArray[Any]
"""(H, W, 3) uint8, uint16 or float32, as `Frame` has them."""
EVERYTHING = slice(None)


@dataclass(frozen=True, slots=True, eq=False)
class CodedFrame:
    """One frame whose gamma codes can be asked for, part by part.

    Attributes:
        samples: (H, W, 3) uint8, uint16 or float32.
        convert: makes gamma codes, float32 in [0, 1], 1 = the frame's white, of any part of the
            samples, each pixel on its own; also of 16-bit samples where the frame has 8.
        worth: what its gamma codes are worth.
    """

    samples: Samples
    convert: Callable[[Samples], FloatImage]
    worth: Worth = CLEAN

    @classmethod
    def of_linear(cls, linear: FloatImage) -> CodedFrame:
        """A frame (H, W, 3) that is linear in [0, 1], 1 = its white."""
        return cls.of_code(encode(linear))

    @classmethod
    def of_code(cls, code: FloatImage, worth: Worth = CLEAN) -> CodedFrame:
        """A frame (H, W, 3) of gamma codes, float32 in [0, 1], and what they are worth."""
        return cls(code, _as_they_are, worth)

    @classmethod
    def of_frame(cls, frame: Frame, response: Response) -> CodedFrame:
        """A photograph under its camera's response."""
        worth = code_worth(response.evaluate, code_error(frame), response.white)
        return replace(cls.of_samples(frame.pixels, response.linearise), worth=worth)

    @classmethod
    def of_samples(cls, samples: Samples, linearise: Callable[[Samples], FloatImage]) -> CodedFrame:
        """A frame as it was stored.

        Args:
            samples: (H, W, 3) uint8, uint16 or float32.
            linearise: makes linear values in [0, 1] of samples (h, w, 3) of any of these types;
                each sample on its own, though each channel may have its own curve.
        """
        return cls(samples, _Converter(linearise))

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) [pixels]."""
        height, width = self.samples.shape[:2]
        return height, width

    def code(self, rows: slice = EVERYTHING, columns: slice = EVERYTHING) -> FloatImage:
        """Gamma codes (h, w, 3) float32 in [0, 1] of a part of the picture."""
        return self.convert(self.samples[rows, columns])

    def reduced(self, size: tuple[int, int]) -> CodedFrame:
        """The frame at a smaller (height, width): samples are averaged as they are stored."""
        if size == self.size:
            return self
        samples = self.samples
        if samples.dtype == np.uint8:  # else the averages would be rounded to eight bits
            samples = np.multiply(samples, np.uint16(257), dtype=np.uint16)
        small = cv2.resize(samples, size[::-1], interpolation=cv2.INTER_AREA)
        return replace(self, samples=small)


@dataclass(frozen=True, slots=True, eq=False)
class CodedBracket:
    """A bracket ready to merge: no files, no names, no tone curves.

    Attributes:
        frames: 1 to 9 of one size, dark to bright.
        stops: exposure of each relative to the reference [stops].
        reference: index of the frame whose geometry the result keeps.
        white_tolerance: how much darker than the white of a clipped reference other frames may
            show the scene without contradicting it [stops]: exposures are not always quite right.
            Only aligned frames tell it.
        misfit: how far frames may be apart without anything having moved, because no response
            explains them all [stops]; see `core.calibration.response.Calibration`.
    """

    frames: tuple[CodedFrame, ...]
    stops: tuple[float, ...]
    reference: int
    white_tolerance: float = 0.0
    misfit: float = 0.0

    @classmethod
    def of_linear(
        cls, frames: Sequence[FloatImage], stops: Sequence[float], reference: int
    ) -> CodedBracket:
        """Frames (H, W, 3) that are linear in [0, 1], 1 = each one's own white, dark to bright."""
        coded = tuple(CodedFrame.of_linear(frame) for frame in frames)
        return cls(coded, tuple(stops), reference)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) [pixels]."""
        return self.frames[0].size

    @property
    def peak(self) -> float:
        """White of the darkest frame as radiance, 1 = the reference's white."""
        return 2.0 ** -min(self.stops)

    def is_darkest(self, index: int) -> bool:
        """See `core.types.is_darkest`."""
        return is_darkest(self.stops, index)

    def reduced(self, size: tuple[int, int]) -> CodedBracket:
        """The same bracket at a smaller (height, width)."""
        return replace(self, frames=tuple(frame.reduced(size) for frame in self.frames))


def _as_they_are(codes: Samples) -> FloatImage:
    return codes


class _Converter:
    """Codes of samples; of integers by tables, which are made when they are first needed."""

    def __init__(self, linearise: Callable[[Samples], FloatImage]) -> None:
        self._linearise = linearise
        self._tables: dict[Any, FloatImage] = {}

    def __call__(self, samples: Samples) -> FloatImage:
        if samples.dtype.kind == "f":
            return encode(self._linearise(samples))
        table = self._tables.get(samples.dtype)
        if table is None:
            every = np.arange(np.iinfo(samples.dtype).max + 1, dtype=samples.dtype)
            codes = encode(self._linearise(every[:, None, None].repeat(3, axis=2)))[:, 0]
            alike = (codes == codes[:, :1]).all()
            table = np.ascontiguousarray(codes[None, :, :1] if alike else codes[None])
            self._tables[samples.dtype] = table
        return np.asarray(cv2.LUT(samples, table), np.float32)
