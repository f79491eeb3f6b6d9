"""A bracket whose frames are aligned: what each shows of any part of the reference's picture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.choices import Align
from dfghdr_cli.core.encoding import decode
from dfghdr_cli.core.frames import EVERYTHING, CodedBracket
from dfghdr_cli.core.registration.align import Alignment, align_greys, equal_greys
from dfghdr_cli.core.registration.flow import dense_flow
from dfghdr_cli.core.registration.neighbours import align_by_neighbour
from dfghdr_cli.core.registration.warp import covered, resample, source_map
from dfghdr_cli.core.restoration.noise import SMOOTHING_REACH, NoiseCurve, noise_curve
from dfghdr_cli.core.restoration.undershoot import REACH, has_undershoot, repair_undershoot
from dfghdr_cli.core.tiles import on_all_cores
from dfghdr_cli.core.types import SAME_EXPOSURE, FloatImage, OnProgress
from dfghdr_cli.core.worth import apart, mismatch, white_tolerance

Flow = NDArray[np.float32]
"""(h, w, 2) [pixels] at the size of a picture, or of a reduced one in its pixels."""
Flows = tuple[Flow | None, ...]
"""One a frame: where things moved beside what the alignment explains; None where nothing did."""

ALIGNED_PIXELS = 6_000_000
"""Largest picture on which frames are aligned; larger ones are reduced to it. At 24 megapixels the
error is then 0.04 pixels instead of 0.02, in less than half the time."""
BORDER = max(REACH, SMOOTHING_REACH)
"""Margin around a part of a picture that repair and smoothing need [pixels]."""
SMALL_PIXELS = 500_000
"""Largest picture on which it is measured whether frames meet, and how far white is off."""
NOISE_PATCHES = 5
"""Patches along each axis on which noise is measured."""
NOISE_PATCH = 96
"""Their side [pixels]."""


@dataclass(frozen=True, slots=True)
class AlignedBracket:
    """A bracket's frames, and where each shows what the reference shows.

    Attributes:
        coded: the frames, not resampled.
        alignments: one a frame; the identity for the reference.
        repaired: whether darker frames lose their fringes, see `warped`.
    """

    coded: CodedBracket
    alignments: tuple[Alignment, ...]
    repaired: bool = True

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) [pixels]."""
        return self.coded.size

    def reduced(self, factor: float) -> AlignedBracket:
        """The same bracket with its sides multiplied by `factor` <= 1."""
        size = reduced_size(self.size, factor)
        if size == self.size:
            return self
        alignments = tuple(_resized(a, self.size, size) for a in self.alignments)
        return replace(self, coded=self.coded.reduced(size), alignments=alignments)

    def dense_flows(self) -> Flows:
        """Dense flow of each frame but the reference at the present size."""
        coded = self.coded
        code, own = coded.frames[coded.reference].code(), coded.frames[coded.reference].worth
        reference = decode(code)

        def flow(index: int) -> Flow | None:
            if index == coded.reference:
                return None
            aligned, _ = self.warped(index)
            stops, worths = coded.stops[index], (own, coded.frames[index].worth)
            allowed = apart(code, aligned, stops, worths, coded.white_tolerance, coded.misfit)
            return dense_flow(reference, decode(aligned), stops, allowed=allowed)

        with on_all_cores(few=True) as pool:
            return tuple(pool.map(flow, range(len(coded.frames))))

    def measured_at_white(self) -> AlignedBracket:
        """The same bracket with what only aligned frames tell of their exposures.

        On a reduced picture: darker frames are exposed so that their light meets their
        neighbour's, see `core.worth.mismatch`, and how far white is off is measured.
        """
        small = self.reduced((SMALL_PIXELS / (self.size[0] * self.size[1])) ** 0.5)
        small = small.with_frames_that_meet()
        tolerance = small.white_tolerance()
        coded = replace(self.coded, stops=small.coded.stops, white_tolerance=tolerance)
        return replace(self, coded=coded)

    def with_frames_that_meet(self) -> AlignedBracket:
        """The same bracket with darker frames exposed so that their light meets their neighbour's.

        The same in all but brackets of phones, see `core.worth.mismatch`.
        """
        coded, offset = self.coded, 0.0
        stops = list(coded.stops)
        brighter, there = self.warped(coded.reference)
        for k in range(coded.reference - 1, -1, -1):
            darker, trust = self.warped(k)
            step = coded.stops[k] - coded.stops[k + 1]
            worths = coded.frames[k + 1].worth, coded.frames[k].worth
            if step < -SAME_EXPOSURE:
                both = np.minimum(there, trust)
                offset += mismatch(brighter, worths[0], darker, both, step, worths[1])
            stops[k] += offset
            brighter, there = darker, trust
        in_order = all(a <= b for a, b in pairwise(stops))
        if not (offset and in_order):
            return self
        return replace(self, coded=replace(coded, stops=tuple(stops)))

    def white_tolerance(self) -> float:
        """How much darker than the reference's white darker frames show what only just clips.

        Zero where exposures and response are right; see `core.worth.white_tolerance` [stops].
        """
        coded = self.coded
        reference = coded.frames[coded.reference]
        darker = [k for k, stops in enumerate(coded.stops) if stops < -SAME_EXPOSURE]
        if not darker:
            return 0.0
        nearest = darker[-1]
        code, trust = self.warped(nearest)
        worth = coded.frames[nearest].worth
        return white_tolerance(
            reference.code(), reference.worth, code, trust, coded.stops[nearest], worth
        )

    def measured_noise(self) -> NoiseCurve:
        """The noise of the reference at the present size, by patches all over it."""
        coded = self.coded
        others = [k for k in range(len(coded.frames)) if k != coded.reference]
        rows, columns = (_patches(length) for length in self.size)

        def patches(index: int) -> tuple[list[FloatImage], list[FloatImage]]:
            pairs = [self.warped(index, y, x) for y in rows for x in columns]
            return [code for code, _ in pairs], [trust for _, trust in pairs]

        with on_all_cores() as pool:
            (reference, _), *found = pool.map(patches, [coded.reference, *others])
        codes, trusts = zip(*found, strict=True)
        return noise_curve(reference, codes, trusts, [coded.stops[k] for k in others])

    def warped(
        self,
        frame: int,
        rows: slice = EVERYTHING,
        columns: slice = EVERYTHING,
        *,
        flow: Flow | None = None,
        keep_outside: bool = False,
        reference: FloatImage | None = None,
    ) -> tuple[FloatImage, FloatImage]:
        """One frame in the reference's geometry, in a part of the picture.

        Args:
            frame: which.
            rows: of the picture.
            columns: likewise.
            flow: how things moved beside the alignment; None for not at all.
            keep_outside: whether flow counts for nothing where it leads out of the frame; else
                there is no trust there.
            reference: codes of the reference in that part and `BORDER` pixels around it, if they
                are there already.

        Returns:
            Gamma codes (h, w, 3) and how far each pixel can be trusted (h, w), both float32 in
            [0, 1]; see `core.registration.warp.warp_with_trust`. Darker frames are without the
            fringes that `core.restoration.undershoot` repairs, unless `repaired` is false.
        """
        code, trust = self._resampled(frame, rows, columns, flow, keep_outside)
        stops = self.coded.stops[frame]
        if stops >= 0 or not self.repaired:
            return code, trust
        around, inside = with_border(rows, columns, self.size)
        own = self.coded.frames[self.coded.reference]
        if reference is None:
            reference = own.code(*around)
        if not has_undershoot(code, reference[inside], stops, own.worth):
            return code, trust
        wide, there = self._resampled(frame, *around, flow, keep_outside)
        return repair_undershoot(wide, there, reference, stops, own.worth)[inside], trust

    def _resampled(
        self, frame: int, rows: slice, columns: slice, flow: Flow | None, keep_outside: bool
    ) -> tuple[FloatImage, FloatImage]:
        """As `warped`, as the frame has it."""
        own, alignment = self.coded.frames[frame], self.alignments[frame]
        height, width = self.size
        top, bottom, _ = rows.indices(height)
        left, right, _ = columns.indices(width)
        if flow is None and alignment.model == "none":
            return own.code(rows, columns), np.ones((bottom - top, right - left), np.float32)
        is_darkest = self.coded.is_darkest(frame)
        transform, across = alignment.transform, slice(left, right)
        code = np.empty((bottom - top, right - left, 3), np.float32)
        trust = np.empty((bottom - top, right - left), np.float32)
        step = max(1, 1_000_000 // max(1, right - left))  # coordinates of all pixels are large
        for start in range(top, bottom, step):
            band = slice(start, min(start + step, bottom))
            shift = None if flow is None else _flow_part(flow, self.size, band, across)
            u, v = source_map(transform, band, across, shift)
            if keep_outside and shift is not None:
                inside = covered(u, v, own.size)
                if not inside.all():
                    shift = shift * inside[..., None]
                    u, v = source_map(transform, band, across, shift)
            here = slice(start - top, band.stop - top)
            code[here], trust[here] = resample(own, u, v, is_darkest=is_darkest)
            if keep_outside and shift is not None and alignment.model == "none":
                still = ~shift.any(axis=2)
                code[here][still] = own.code(band, across)[still]
                trust[here][still] = 1.0
        return code, trust


def align_bracket(
    coded: CodedBracket, *, align: Align = "auto", on_progress: OnProgress | None = None
) -> AlignedBracket:
    """Align every frame to the reference, on reduced pictures where they are very large.

    Args:
        coded: the frames.
        align: how; of "flow", only its homography is found here.
        on_progress: called after each frame.
    """
    frames, stops, reference = coded.frames, coded.stops, coded.reference
    identity = Alignment(np.eye(3), "none", 0.0, 0)
    size = coded.size
    small = reduced_size(size, (ALIGNED_PIXELS / (size[0] * size[1])) ** 0.5)
    steady = frames[reference].reduced(small)
    model = "homography" if align == "flow" else align

    def one(index: int) -> Alignment:
        if index == reference or model == "none":
            return identity
        pair = steady, frames[index].reduced(small)
        return align_greys(*equal_greys(*pair, stops[index]), model, stops[index])

    alignments: list[Alignment] = []
    with on_all_cores(few=True) as pool:
        for alignment in pool.map(one, range(len(frames))):
            alignments.append(alignment)
            if on_progress:
                on_progress(len(alignments), len(frames), "align")
    for step in (-1, 1):
        for index in range(reference + 2 * step, -1 if step < 0 else len(frames), step):
            if not alignments[index].is_weak or model == "none":
                continue
            near = index - step
            alignments[index] = align_by_neighbour(
                steady,
                frames[near].reduced(small),
                frames[index].reduced(small),
                (stops[near], stops[index]),
                (alignments[near], alignments[index]),
                model,
            )
    return AlignedBracket(
        coded, tuple(_resized(alignment, small, size) for alignment in alignments)
    )


def _patches(length: int) -> list[slice]:
    """Evenly spaced parts of an axis; all of it where they would overlap."""
    if length <= NOISE_PATCHES * NOISE_PATCH:
        return [slice(0, length)]
    starts = np.linspace(0, length - NOISE_PATCH, NOISE_PATCHES).astype(int).tolist()
    return [slice(start, start + NOISE_PATCH) for start in starts]


def with_border(
    rows: slice, columns: slice, size: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """A part of a picture with `BORDER` pixels around it, and where it lies in them."""
    around, inside = [], []
    for part, length in zip((rows, columns), size, strict=True):
        start, stop, _ = part.indices(length)
        first = max(0, start - BORDER)
        around.append(slice(first, min(length, stop + BORDER)))
        inside.append(slice(start - first, stop - first))
    return (around[0], around[1]), (inside[0], inside[1])


def reduced_size(size: tuple[int, int], factor: float) -> tuple[int, int]:
    """(height, width) of a picture whose sides shrink by `factor`; it never grows."""
    return max(1, round(size[0] * min(factor, 1.0))), max(1, round(size[1] * min(factor, 1.0)))


def _resized(alignment: Alignment, before: tuple[int, int], after: tuple[int, int]) -> Alignment:
    """An alignment of pictures of one (height, width) for the same pictures at another."""
    if alignment.model == "none":
        return alignment
    # Pixel centres: x_after = (x_before + 0.5) * factor - 0.5.
    sy, sx = after[0] / before[0], after[1] / before[1]
    scale = np.array([[sx, 0, sx / 2 - 0.5], [0, sy, sy / 2 - 0.5], [0, 0, 1]])
    transform = scale @ alignment.transform @ np.linalg.inv(scale)
    return replace(alignment, transform=transform / transform[2, 2])


def enlarged(small: FloatImage, size: tuple[int, int], rows: slice, columns: slice) -> FloatImage:
    """A part of a picture of (height, width), bilinear from a smaller one (h, w, up to 4)."""
    down, across = (a / b for a, b in zip(small.shape[:2], size, strict=True))
    # Pixel centres: x_small = (x + 0.5) * across - 0.5.
    x, y = (columns.start + 0.5) * across - 0.5, (rows.start + 0.5) * down - 0.5
    matrix = np.array([[across, 0.0, x], [0.0, down, y]])
    shape = columns.stop - columns.start, rows.stop - rows.start
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    large = cv2.warpAffine(small, matrix, shape, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(large, np.float32)


def _flow_part(flow: Flow, size: tuple[int, int], rows: slice, columns: slice) -> Flow:
    """A part of a flow brought to the picture's size, in its pixels."""
    if flow.shape[:2] == size:
        return flow[rows, columns]
    part = enlarged(flow, size, rows, columns)
    part[..., 0] *= np.float32(size[1] / flow.shape[1])
    part[..., 1] *= np.float32(size[0] / flow.shape[0])
    return part
