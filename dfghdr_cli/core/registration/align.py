"""Global alignment of one frame to the reference.

Coordinates are (x, y) of pixel centres, the first pixel at (0, 0). A transform maps a pixel of the
reference to where the frame shows the same thing.

Hypotheses (nothing moved, a shift by phase correlation, homographies of feature matches) are made
and compared on a reduced picture; moving objects mislead some of them, so a truncated residual
decides. The winner is refined at full size on textured pixels that agree, by inverse compositional
Gauss-Newton steps with robust weights (Baker & Matthews 2004, "Lucas-Kanade 20 years on"), and
replaced by the smallest model that explains the frames as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.clipping import CLIPPED_GREY
from dfghdr_cli.core.encoding import GAMMA
from dfghdr_cli.core.frames import CodedFrame
from dfghdr_cli.core.registration.evidence import Witness
from dfghdr_cli.core.registration.warp import Matrix, Vector, project
from dfghdr_cli.core.types import FloatImage, Mask

Model = Literal["none", "shift", "euclidean", "affine", "homography"]
"""How to align a bracket: "auto" takes the smallest model that explains the frames, "none" takes
them as they are, and "flow" is "homography" and, beyond it, dense flow for the classic merge."""
Grey = NDArray[np.uint8]

SMALLEST = 16
"""Below this many pixels a side there is nothing to estimate from."""
REDUCED_PIXELS = 300_000
"""Size of the picture on which hypotheses are made and compared."""
SAMPLES = 80_000
"""Pixels that the final refinement looks at."""
FEW_SAMPLES = 20_000
"""Pixels that the refinement of a hypothesis looks at."""
FEWEST_SAMPLES = 150
RESIDUAL_CAP = 40.0
"""A pixel's share in the truncated residual [grey levels of 255]."""
UNTOUCHED = 0.1
"""A frame that is off by less than this (RMS over the picture, pixels) is not resampled."""
SMALL_MOTION = 0.5
NEEDED_GAIN = 0.8
"""Nor one off by less than `SMALL_MOTION` (RMS, pixels) where aligning leaves more than this share
of the disagreement of textured pixels: then it has other causes. A true 0.1 pixel leaves 0.6."""
DIVERGED = 1.5
"""A refinement is dropped that makes the textured pixels disagree by this much more."""
SAME = 0.05
"""Two models that differ by less than this (RMS over the picture, pixels) explain alike."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """Where a frame shows what the reference shows.

    Attributes:
        transform: (3, 3) float64; reference pixel (x, y, 1) -> frame pixel, up to scale.
        model: the smallest model that explains the frames; "none" is the identity, exactly.
        residual: mean absolute difference of the reduced, equalised greys after alignment
            [0, 255], each pixel counted as 40 at most, those at the border three times.
        inliers: feature matches that agree with the transform; 0 if none were needed.
        is_weak: whether little speaks for it, see `core.registration.evidence`: where the camera
            was in that moment a neighbour may tell better.
    """

    transform: Matrix
    model: Model
    residual: float
    inliers: int
    is_weak: bool = False


def _exposed_grey(linear: FloatImage, gain: float) -> FloatImage:
    """Gamma-encoded grey (H, W) float32 [0, 1] of a frame exposed `gain` times longer."""
    exposed = np.clip(linear * np.float32(gain), 0.0, 1.0)
    grey = cv2.cvtColor(exposed, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.pow(grey, 1.0 / GAMMA), np.float32)


def _equal_greys(
    reference_linear: FloatImage, other_linear: FloatImage, stops: float
) -> tuple[FloatImage, FloatImage]:
    """Greys of two frames at the exposure of the brighter one, whose white clips both alike."""
    gain = 2.0 ** float(stops)
    return (
        _exposed_grey(reference_linear, max(gain, 1.0)),
        _exposed_grey(other_linear, max(1.0 / gain, 1.0)),
    )


def _blur(image: FloatImage, sigma: float) -> FloatImage:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def _to_bytes(grey: FloatImage) -> Grey:
    return np.asarray(cv2.convertScaleAbs(grey, alpha=255.0), np.uint8)


def equalise(
    reference_linear: FloatImage, other_linear: FloatImage, stops: float
) -> tuple[Grey, Grey]:
    """Two frames as greys at the exposure of the brighter one, clipping alike.

    Args:
        reference_linear: (H, W, 3) float32 linear, 1 = its own white.
        other_linear: (h, w, 3) float32 linear, 1 = its own white.
        stops: exposure of `other` relative to the reference [stops], + = brighter.

    Returns:
        Gamma-encoded greys (H, W) and (h, w), uint8.
    """
    reference, other = _equal_greys(reference_linear, other_linear, stops)
    return _to_bytes(reference), _to_bytes(other)


def _grid(size: tuple[int, int], count: int = 9) -> tuple[Vector, Vector]:
    """Coordinates x, y of count * count points spread over a picture of (height, width)."""
    height, width = size
    x, y = np.meshgrid(np.linspace(0, width - 1, count), np.linspace(0, height - 1, count))
    return x.ravel(), y.ravel()


def _distance(a: Matrix, b: Matrix, size: tuple[int, int]) -> float:
    """RMS distance [pixels] over the picture between where two transforms lead."""
    x, y = _grid(size)
    (ax, ay), (bx, by) = project(a, x, y), project(b, x, y)
    return float(np.sqrt(np.mean((ax - bx) ** 2 + (ay - by) ** 2)))


def _plausible(transform: Matrix, size: tuple[int, int]) -> bool:
    """Whether a transform could be a hand that moved between two shots: no flip, no large zoom."""
    if not np.isfinite(transform).all():
        return False
    height, width = size
    x = np.array([0.0, width - 1, width - 1, 0.0])
    y = np.array([0.0, 0.0, height - 1, height - 1])
    if (transform[2, 0] * x + transform[2, 1] * y + transform[2, 2] <= 0).any():
        return False
    u, v = project(transform, x, y)
    du, dv = np.roll(u, -1) - u, np.roll(v, -1) - v
    ratio = np.hypot(du, dv) / np.hypot(np.roll(x, -1) - x, np.roll(y, -1) - y)
    turn = du * np.roll(dv, -1) - dv * np.roll(du, -1)
    moved = np.hypot(u - x, v - y).max()
    keeps_shape = turn.min() > 0 and ratio.min() > 0.6 and ratio.max() < 1.6
    return bool(keeps_shape and moved < max(size) / 2)


def _steepest_descent(gx: Vector, gy: Vector, x: Vector, y: Vector, model: Model) -> Matrix:
    """(n, p) derivatives of the reference's grey by the model's parameters at the identity."""
    if model == "shift":
        return np.stack([gx, gy], 1)
    if model == "euclidean":
        return np.stack([gx, gy, gy * x - gx * y], 1)
    columns = [gx, gy, gx * x, gx * y, gy * x, gy * y]
    if model == "homography":
        outward = gx * x + gy * y
        columns += [-outward * x, -outward * y]
    return np.stack(columns, 1)


def _increment(parameters: Vector, model: Model) -> Matrix:
    """The small transform (3, 3) that a step's parameters stand for."""
    matrix = np.eye(3)
    matrix[:2, 2] = parameters[:2]
    if model == "euclidean":
        c, s = np.cos(parameters[2]), np.sin(parameters[2])
        matrix[:2, :2] = [[c, -s], [s, c]]
    elif model in ("affine", "homography"):
        matrix[:2, :2] += parameters[2:6].reshape(2, 2)
        matrix[2, :2] = parameters[6:8] if model == "homography" else 0.0
    return matrix


def _simplify(transform: Matrix, size: tuple[int, int], model: Model) -> Matrix:
    """The transform of a smaller model nearest to `transform` (least squares over the picture)."""
    x, y = _grid(size)
    u, v = project(transform, x, y)
    matrix = np.eye(3)
    if model == "affine":
        design = np.stack([x, y, np.ones_like(x)], 1)
        matrix[:2] = np.linalg.lstsq(design, np.stack([u, v], 1), rcond=None)[0].T
        return matrix
    if model == "euclidean":
        cx, cy, cu, cv = x - x.mean(), y - y.mean(), u - u.mean(), v - v.mean()
        angle = np.arctan2((cx * cv - cy * cu).sum(), (cx * cu + cy * cv).sum())
        c, s = np.cos(angle), np.sin(angle)
        matrix[:2, :2] = [[c, -s], [s, c]]
    matrix[:2, 2] = np.array([u.mean(), v.mean()]) - matrix[:2, :2] @ [x.mean(), y.mean()]
    return matrix


class _Refiner:
    """Gauss-Newton on the textured, unclipped pixels of one pair of greys."""

    def __init__(self, reference: FloatImage, other: FloatImage, agree: Mask, samples: int) -> None:
        """Greys (H, W), (h, w) float32 [0, 1]; `agree` (any size) covers the reference."""
        height, width = self.size = (reference.shape[0], reference.shape[1])
        around = np.ones((7, 7), np.uint8)
        # A slight blur makes interpolation and noise alike for every fraction of a pixel.
        template = _blur(reference, 1.0)
        self._other = _blur(other, 1.0)
        self._other_clipped = cv2.dilate(_to_bytes(other), around) >= CLIPPED_GREY
        difference = np.array([[-0.5, 0.0, 0.5]], np.float32)
        across = np.asarray(cv2.filter2D(template, -1, difference), np.float32)
        down = np.asarray(cv2.filter2D(template, -1, difference.T), np.float32)
        clipped = cv2.dilate(_to_bytes(reference), around) >= CLIPPED_GREY
        step = max(1, round(np.sqrt(height * width / 3e6)))
        y, x = self._pick(across, down, clipped, agree, step, samples)
        self.count = len(x)
        self._half = max(height, width) / 2.0
        cx, cy, scale = (width - 1) / 2.0, (height - 1) / 2.0, 1.0 / self._half
        self._normalise = np.array([[scale, 0, -cx * scale], [0, scale, -cy * scale], [0, 0, 1]])
        self._x, self._y = (x - cx) * scale, (y - cy) * scale
        self._template = template[y, x].astype(np.float64)
        self._gx = across[y, x].astype(np.float64) * self._half
        self._gy = down[y, x].astype(np.float64) * self._half
        self._level = np.minimum((self._template * 16).astype(np.intp), 15)

    @staticmethod
    def _pick(
        across: FloatImage, down: FloatImage, clipped: Mask, agree: Mask, step: int, samples: int
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns of the strongest gradients, as many from every part of the picture."""
        height, width = across.shape
        rows, columns = np.arange(4, height - 4, step), np.arange(4, width - 4, step)
        if not (len(rows) and len(columns)):
            return np.zeros(0, np.intp), np.zeros(0, np.intp)
        energy = across[4 : height - 4 : step, 4 : width - 4 : step] ** 2
        energy += down[4 : height - 4 : step, 4 : width - 4 : step] ** 2
        agreed = agree[np.ix_(rows * agree.shape[0] // height, columns * agree.shape[1] // width)]
        energy[clipped[4 : height - 4 : step, 4 : width - 4 : step] | ~agreed] = 0.0
        share = samples // 64
        picked: list[NDArray[np.intp]] = []
        for band in np.array_split(np.arange(len(rows)), 8):
            for part in np.array_split(np.arange(len(columns)), 8):
                if not (len(band) and len(part)):
                    continue
                block = energy[band[0] : band[-1] + 1, part[0] : part[-1] + 1]
                floor = 0.0
                if block.size > share:
                    floor = float(np.partition(block, block.size - share, axis=None)[-share])
                y, x = np.nonzero((block > 0.0) & (block >= floor))
                picked.append(np.stack([y + band[0], x + part[0]]))
        y, x = np.concatenate(picked, axis=1)
        return rows[y], columns[x]

    def _sample(self, u: Vector, v: Vector) -> tuple[Vector, Mask]:
        """The frame's grey at (u, v), and where it is inside and not clipped."""
        if not len(u):  # nothing but clipped or even areas
            return np.zeros(0), np.zeros(0, np.bool_)
        length = 1024
        padding = -len(u) % length
        maps = [np.pad(c, (0, padding)).astype(np.float32).reshape(-1, length) for c in (u, v)]
        grey = cv2.remap(
            self._other, maps[0], maps[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        height, width = self._other.shape
        inside = (u > 3) & (v > 3) & (u < width - 4) & (v < height - 4)
        column = np.clip(np.rint(u), 0, width - 1).astype(np.intp)
        row = np.clip(np.rint(v), 0, height - 1).astype(np.intp)
        inside &= ~self._other_clipped[row, column]
        return grey.ravel()[: len(u)].astype(np.float64), inside

    def __call__(
        self, start: Matrix, model: Model = "homography", iterations: int = 20
    ) -> tuple[Matrix, float] | None:
        """Refine a transform; (transform, its standard error [pixels]) or None where it fails.

        A gain and an offset of the greys are estimated beside the motion, so that a small error
        of the exposure does no harm. Tukey weights, their scale estimated for 16 grey levels on
        their own: noise depends on brightness.
        """
        if self.count < FEWEST_SAMPLES:
            return None
        half = self._half
        motion = start @ np.linalg.inv(self._normalise)
        columns = _steepest_descent(self._gx, self._gy, self._x, self._y, model)
        known = columns.shape[1]
        design = np.concatenate(
            [columns, self._template[:, None], np.ones((self.count, 1))], axis=1
        ).astype(np.float32)
        gain, offset = 1.0, 0.0
        information = np.eye(known + 2)
        for _ in range(iterations):
            u, v = project(motion, self._x, self._y)
            grey, inside = self._sample(u, v)
            if inside.sum() < FEWEST_SAMPLES:
                return None
            error = grey - (gain * self._template + offset)
            scale = self._scales(np.abs(error), inside)[self._level]
            relative = error / (4.0 * scale)
            weight = np.where(inside & (np.abs(relative) < 1.0), (1.0 - relative**2) ** 2, 0.0)
            weight /= scale**2
            weighted = design * weight[:, None].astype(np.float32)
            information = (design.T @ weighted).astype(np.float64)
            ridge = 1e-7 * np.diag(information) + 1e-12
            try:
                step = np.linalg.solve(information + np.diag(ridge), weighted.T @ error).astype(
                    float
                )
                motion = motion @ np.linalg.inv(_increment(step[:known], model))
            except np.linalg.LinAlgError:
                return None
            gain, offset = gain + step[known], offset + step[known + 1]
            if np.abs(step[:known]).max() * half < 2e-3:
                break
        transform = motion @ self._normalise
        transform = transform / transform[2, 2]
        if not (_plausible(transform, self.size) and 0.5 < gain < 2.0):
            return None
        return transform, self._uncertainty(information, known, model)

    def disagreement(self, transform: Matrix) -> float:
        """Median absolute difference [0, 1] of the textured pixels, a common offset apart."""
        motion = transform @ np.linalg.inv(self._normalise)
        grey, inside = self._sample(*project(motion, self._x, self._y))
        error = (grey - self._template)[inside]
        return float(np.median(np.abs(error - np.median(error)))) if error.size else np.inf

    def _scales(self, error: Vector, inside: Mask) -> Vector:
        """Robust standard deviation of the error at each of 16 grey levels."""
        kept = np.flatnonzero(inside)
        kept = kept[:: max(1, len(kept) // 16_000)]
        error, levels = error[kept], self._level[kept]
        overall = max(1.4826 * float(np.median(error)), 2e-4)
        scales = np.full(16, overall)
        for level in range(16):
            here = error[levels == level]
            if len(here) >= 100:
                scales[level] = max(1.4826 * float(np.median(here)), 2e-4)
        return scales

    def _uncertainty(self, information: Matrix, known: int, model: Model) -> float:
        """Standard error of the transform, RMS over the picture [pixels]."""
        # Blurred pixels are correlated: 4 pi sigma**2 of them are worth one.
        covariance = 4.0 * np.pi * np.linalg.pinv(information)[:known, :known]
        x, y = (np.ravel(c) for c in np.meshgrid(np.linspace(-1, 1, 9), np.linspace(-1, 1, 9)))
        aspect = np.array(self.size) / max(self.size)
        x, y = x * aspect[1], y * aspect[0]
        one, zero = np.ones_like(x), np.zeros_like(x)
        total = 0.0
        for gx, gy in ((one, zero), (zero, one)):
            columns = _steepest_descent(gx, gy, x, y, model)
            total += float(np.einsum("np,pq,nq->n", columns, covariance, columns).mean())
        return float(np.sqrt(max(total, 0.0))) * self._half


def feature_motions(reference: Grey, other: Grey) -> Iterator[tuple[Matrix, int]]:
    """Homographies from feature matches, the second from what the first leaves over."""
    clahe = cv2.createCLAHE(2.0, (8, 8))
    sift = cv2.SIFT.create(2000)
    no_mask = np.full(reference.shape, 255, np.uint8), np.full(other.shape, 255, np.uint8)
    here, described = sift.detectAndCompute(clahe.apply(reference), no_mask[0])
    there, described_there = sift.detectAndCompute(clahe.apply(other), no_mask[1])
    if min(len(here), len(there)) < 8:
        return
    pairs = cv2.BFMatcher().knnMatch(described, described_there, 2)
    good = [
        pair[0] for pair in pairs if len(pair) == 2 and pair[0].distance < 0.8 * pair[1].distance
    ]
    source = np.array([here[m.queryIdx].pt for m in good], np.float32).reshape(-1, 2)
    target = np.array([there[m.trainIdx].pt for m in good], np.float32).reshape(-1, 2)
    for _ in range(2):
        if len(source) < 8:
            return
        cv2.setRNGSeed(0)
        matrix, found = cv2.findHomography(
            source, target, cv2.USAC_MAGSAC, 1.0, maxIters=3000, confidence=0.999
        )
        if matrix is None:
            return
        inlier = found.ravel() > 0
        yield np.asarray(matrix, np.float64), int(inlier.sum())
        source, target = source[~inlier], target[~inlier]


def _differences(
    reference: FloatImage, other: FloatImage, transform: Matrix
) -> tuple[FloatImage, Mask]:
    """Absolute difference [0, 255] after alignment, and where the frame covers the reference."""
    height, width = reference.shape
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpPerspective(other, transform, (width, height), flags=flags)
    white = np.ones(other.shape, np.float32)
    inside = cv2.warpPerspective(white, transform, (width, height), flags=flags) > 0.999
    return np.asarray(cv2.absdiff(reference, warped), np.float32) * np.float32(255.0), inside


def _residual(reference: FloatImage, other: FloatImage, transform: Matrix) -> float:
    """Truncated mean difference; a pixel at the border counts three times one in the middle.

    Where two motions cover as much of the picture, the background is the one that reaches around.
    """
    difference, inside = _differences(reference, other, transform)
    if inside.mean() < 0.3:
        return RESIDUAL_CAP
    height, width = reference.shape
    x, y = np.abs(np.linspace(-1, 1, width)), np.abs(np.linspace(-1, 1, height))
    share = inside * (1.0 + 2.0 * np.maximum(x[None, :], y[:, None]) ** 2)
    return float((np.minimum(difference, RESIDUAL_CAP) * share).sum() / share.sum())


def _agreement(reference: FloatImage, other: FloatImage, transform: Matrix) -> Mask:
    """(H, W): where two blurred greys show the same thing, by the noise that most of them have."""
    difference, inside = _differences(reference, other, transform)
    smooth = _blur(difference, 2.0)
    usual = float(np.median(smooth[inside])) if inside.any() else 0.0
    return inside & (smooth < max(8.0, 3.0 * usual))


def _reduce(grey: FloatImage, factor: float) -> FloatImage:
    if factor >= 1.0:
        return grey
    size = [max(SMALLEST, round(side * factor)) for side in reversed(grey.shape)]
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.float32)


def _reduction(full: tuple[int, ...], reduced: tuple[int, ...]) -> Matrix:
    """(3, 3): pixel of the full picture -> pixel of the reduced one; corners meet, not centres."""
    sy, sx = reduced[0] / full[0], reduced[1] / full[1]
    return np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])


def _best_hypothesis(reference: FloatImage, other: FloatImage) -> tuple[Matrix, Mask, float, int]:
    """The transform that explains most of a reduced pair, where it does, residual, inliers."""
    size = (reference.shape[0], reference.shape[1])
    smooth, other_smooth = _blur(reference, 1.0), _blur(other, 1.0)
    starts = list(feature_motions(_to_bytes(reference), _to_bytes(other)))
    if reference.shape == other.shape:
        window = cv2.createHanningWindow((size[1], size[0]), cv2.CV_32F)
        # OpenCV lays the window on the pictures themselves where their size suits its transform.
        (dx, dy), _ = cv2.phaseCorrelate(reference.copy(), other.copy(), window)
        starts.append((np.array([[1, 0, dx], [0, 1, dy], [0, 0, 1.0]]), 0))
    starts.append((np.eye(3), 0))

    best, least, inliers = np.eye(3), _residual(smooth, other_smooth, np.eye(3)), 0
    tried: list[Matrix] = []
    for start, matches in starts:
        if not _plausible(start, size) or any(_distance(start, t, size) < 1.5 for t in tried):
            continue
        chain = [start]
        for _ in range(2):
            agree = _agreement(smooth, other_smooth, chain[-1])
            refined = _Refiner(reference, other, agree, FEW_SAMPLES)(chain[-1], iterations=8)
            if refined is None:
                break
            chain.append(refined[0])
        tried.append(chain[-1])
        for transform in chain:
            residual = _residual(smooth, other_smooth, transform)
            if residual < least:
                best, least, inliers = transform, residual, matches
    return best, _agreement(smooth, other_smooth, best), least, inliers


def align_frame(
    reference_linear: FloatImage,
    other_linear: FloatImage,
    stops: float,
    model: Literal["auto", "shift", "affine", "homography"] = "auto",
) -> Alignment:
    """Estimate where `other` shows what the reference shows, whatever moves in between.

    Args:
        reference_linear: (H, W, 3) float32 linear, 1 = its own white.
        other_linear: (h, w, 3) float32 linear, 1 = its own white.
        stops: exposure of `other` relative to the reference [stops], + = brighter.
        model: "auto" takes the smallest that explains the frames; the others are taken at their
            word unless nothing moved.

    Returns:
        The alignment; the identity, exactly, where the frames are aligned already (to 0.1 pixel) or
        do not determine anything (black, white, below 16 pixels a side, or what is lit speaks for
        no motion). Deterministic.
    """
    return align_greys(*_equal_greys(reference_linear, other_linear, stops), model, stops)


def equal_greys(
    reference: CodedFrame, other: CodedFrame, stops: float
) -> tuple[FloatImage, FloatImage]:
    """What `align_greys` wants of two frames, made in bands of rows to save memory.

    Args:
        reference: (H, W) pixels.
        other: (h, w) pixels.
        stops: exposure of `other` relative to the reference [stops], + = brighter.

    Returns:
        Gamma-encoded greys (H, W) and (h, w) float32 [0, 1] at the exposure of the brighter frame.
    """
    gain = 2.0 ** float(stops)
    greys = []
    for frame, brighter in ((reference, max(gain, 1.0)), (other, max(1.0 / gain, 1.0))):
        height, width = frame.size
        grey = np.empty((height, width), np.float32)
        band = max(1, 200_000 // width)
        for top in range(0, height, band):
            rows = slice(top, top + band)
            # As `decode`, three times faster and up to 2e-6 off: nothing but the motion sees it.
            linear = np.asarray(cv2.pow(frame.code(rows), GAMMA), np.float32)
            grey[rows] = _exposed_grey(linear, brighter)
        greys.append(grey)
    return greys[0], greys[1]


def align_greys(
    reference: FloatImage,
    other: FloatImage,
    model: Literal["auto", "shift", "affine", "homography"] = "auto",
    stops: float = 0.0,
) -> Alignment:
    """`align_frame` of two frames whose greys (H, W) and (h, w) are given, see `equal_greys`."""
    size = (reference.shape[0], reference.shape[1])
    nothing = np.eye(3)
    if min(*size, *other.shape) < SMALLEST:
        return Alignment(nothing, "none", _residual(reference, other, nothing), 0, True)
    small, other_small, down, other_down = _reduced_pair(reference, other)
    found, agree, residual, inliers = _best_hypothesis(small, other_small)
    start = np.linalg.inv(other_down) @ found @ down

    refiner = _Refiner(reference, other, agree, SAMPLES)
    witness = Witness(small, other_small, stops)
    still = witness.asked(nothing)
    doubtful = False
    for transform, chosen in _motions(refiner, start, size, model):
        evidence = witness.asked(other_down @ transform @ np.linalg.inv(down))
        if evidence.determines(chosen) and evidence.is_better_than(still):
            return Alignment(transform, chosen, residual, inliers, evidence.is_weak)
        doubtful = True
    unmoved = _residual(_blur(small, 1.0), _blur(other_small, 1.0), nothing)
    return Alignment(nothing, "none", unmoved, 0, doubtful or still.is_weak)


def _reduced_pair(
    reference: FloatImage, other: FloatImage
) -> tuple[FloatImage, FloatImage, Matrix, Matrix]:
    """Two greys on which hypotheses are compared, and where their pixels lie in these."""
    factor = float(np.sqrt(REDUCED_PIXELS / max(reference.size, other.size)))
    small, other_small = _reduce(reference, factor), _reduce(other, factor)
    down, other_down = (
        _reduction(full.shape, reduced.shape)
        for full, reduced in ((reference, small), (other, other_small))
    )
    return small, other_small, down, other_down


def reduced_witness(
    reference: FloatImage, other: FloatImage, stops: float
) -> tuple[Witness, Callable[[Matrix], Matrix]]:
    """What tells what speaks for a motion, and what makes a motion of reduced pictures for it.

    Args:
        reference: (H, W) as of `equal_greys`.
        other: (h, w) likewise.
        stops: exposure of `other` relative to the reference [stops].
    """
    small, other_small, down, other_down = _reduced_pair(reference, other)
    up = np.linalg.inv(down)
    return Witness(small, other_small, stops), lambda transform: other_down @ transform @ up


def _motions(
    refiner: _Refiner,
    start: Matrix,
    size: tuple[int, int],
    model: Literal["auto", "shift", "affine", "homography"],
) -> Iterator[tuple[Matrix, Literal["shift", "euclidean", "affine", "homography"]]]:
    """What may have moved the frame, the best first, then what takes fewer parameters."""
    nothing = np.eye(3)
    refined = refiner(start)
    if refined is not None:
        before, after = refiner.disagreement(start), refiner.disagreement(refined[0])
        refined = None if after > DIVERGED * before else refined
    transform, uncertainty = refined if refined is not None else (start / start[2, 2], 0.0)
    motion = _distance(transform, nothing, size)
    if motion <= max(UNTOUCHED, 2.0 * uncertainty) or (
        motion < SMALL_MOTION
        and refiner.disagreement(transform) > NEEDED_GAIN * refiner.disagreement(nothing)
    ):
        return
    if model in ("shift", "affine"):
        nearest = _simplify(transform, size, model)
        simple = refiner(nearest, model)
        yield nearest if simple is None else simple[0], model
        return
    smaller = ("shift", "euclidean", "affine") if model == "auto" else ()
    same = max(SAME, 2.0 * uncertainty)
    for fewer in smaller:
        nearest = _simplify(transform, size, fewer)
        close = refined is not None and _distance(nearest, transform, size) <= 2.0 * same
        simple = refiner(nearest, fewer) if close else None
        if simple is not None and _distance(simple[0], transform, size) <= same:
            yield simple[0], fewer
            break
    else:
        yield transform, "homography"
    for fewer in reversed(smaller):
        simple = refiner(_simplify(transform, size, fewer), fewer)
        if simple is not None:
            yield simple[0], fewer
