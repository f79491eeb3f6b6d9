"""Global alignment of one frame to the reference, dense flow, and the one resampling they share.

Coordinates are (x, y) of pixel centres, the first pixel at (0, 0). A transform maps a pixel of the
reference to where the frame shows the same thing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.radiance import encode
from dfghdr_cli.core.types import FloatImage, Mask

Model = Literal["none", "shift", "euclidean", "affine", "homography"]
Grey = NDArray[np.uint8]
Matrix = NDArray[np.float64]

SMALLEST = 16
"""Below this many pixels a side there is nothing to estimate from."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """Where a frame shows what the reference shows.

    Attributes:
        transform: (3, 3) float64; reference pixel (x, y, 1) -> frame pixel, up to scale.
        model: the smallest model that explains the frames; "none" is the identity, exactly.
        residual: mean absolute difference of the equalised greys after alignment [0, 255], each
            pixel counted as 40 at most.
        inliers: feature matches that agree with the transform; 0 if none were needed.
    """

    transform: Matrix
    model: Model
    residual: float
    inliers: int


def equalise(
    reference_linear: FloatImage, other_linear: FloatImage, stops: float
) -> tuple[Grey, Grey]:
    """Two frames as greys at the exposure of the brighter one, clipping alike.

    Args:
        reference_linear: (H, W, 3) linear, 1 = its own white.
        other_linear: (h, w, 3) linear, 1 = its own white.
        stops: exposure of `other` relative to the reference [stops], + = brighter.

    Returns:
        Gamma-encoded greys (H, W) and (h, w), uint8.
    """

    def grey(linear: FloatImage, gain: float) -> Grey:
        exposed = np.minimum(linear * np.float32(gain), np.float32(1.0))
        code = encode(np.asarray(cv2.cvtColor(exposed, cv2.COLOR_RGB2GRAY), np.float32))
        return (code * np.float32(255.0) + np.float32(0.5)).astype(np.uint8)

    gain = 2.0 ** float(stops)
    return grey(reference_linear, max(gain, 1.0)), grey(other_linear, max(1.0 / gain, 1.0))


def _ecc(reference: Grey, other: Grey, start: Matrix, motion: int, mask: Grey) -> Matrix:
    matrix = start.astype(np.float32)
    if motion != cv2.MOTION_HOMOGRAPHY:
        matrix = matrix[:2]
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-5)
    try:
        _, matrix = cv2.findTransformECC(reference, other, matrix, motion, criteria, mask, 5)
    except cv2.error:
        return start
    return np.vstack([matrix, [[0, 0, 1]]]) if matrix.shape[0] == 2 else matrix.astype(np.float64)


def _features(reference: Grey, other: Grey) -> tuple[Matrix, int] | None:
    clahe = cv2.createCLAHE(2.0, (8, 8))
    sift = cv2.SIFT.create(3000)
    here, described = sift.detectAndCompute(clahe.apply(reference), None)
    there, described_there = sift.detectAndCompute(clahe.apply(other), None)
    if min(len(here), len(there)) < 8:
        return None
    pairs = cv2.BFMatcher().knnMatch(described, described_there, 2)
    good = [m for m, n in pairs if m.distance < 0.8 * n.distance]
    if len(good) < 8:
        return None
    source = np.array([here[m.queryIdx].pt for m in good], np.float32)
    target = np.array([there[m.trainIdx].pt for m in good], np.float32)
    cv2.setRNGSeed(0)
    matrix, inliers = cv2.findHomography(source, target, cv2.USAC_MAGSAC, 1.0, None, 5000, 0.999)
    if matrix is None:
        return None
    return np.asarray(matrix, np.float64), int(inliers.sum())


def _differences(reference: Grey, other: Grey, transform: Matrix) -> tuple[FloatImage, Mask]:
    height, width = reference.shape
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpPerspective(other, transform, (width, height), flags=flags)
    inside = cv2.warpPerspective(
        np.full(other.shape, 255, np.uint8), transform, (width, height), flags=flags
    )
    return cv2.absdiff(reference, warped).astype(np.float32), inside == 255


def _residual(reference: Grey, other: Grey, transform: Matrix) -> float:
    difference, inside = _differences(reference, other, transform)
    if inside.mean() < 0.3:
        return 40.0
    return float(np.minimum(difference[inside], 40.0).mean())


def align_frame(reference_linear: FloatImage, other_linear: FloatImage, stops: float) -> Alignment:
    """Estimate where `other` shows what the reference shows, whatever moves in between.

    Args:
        reference_linear: (H, W, 3) float32 linear, 1 = its own white.
        other_linear: (h, w, 3) float32 linear, 1 = its own white.
        stops: exposure of `other` relative to the reference [stops], + = brighter.

    Returns:
        The alignment; the identity where the pictures do not determine one.
    """
    reference, other = equalise(reference_linear, other_linear, stops)
    identity = np.eye(3)
    if min(*reference.shape, *other.shape) < SMALLEST:
        return Alignment(identity, "none", _residual(reference, other, identity), 0)
    everywhere = np.full(reference.shape, 255, np.uint8)
    candidates: list[tuple[Matrix, int]] = [(identity, 0)]
    found = _features(reference, other)
    if found is not None:
        candidates.append(found)
    euclidean = _ecc(reference, other, identity, cv2.MOTION_EUCLIDEAN, everywhere)
    candidates.append((_ecc(reference, other, euclidean, cv2.MOTION_HOMOGRAPHY, everywhere), 0))
    scores = [_residual(reference, other, matrix) for matrix, _ in candidates]
    best = int(np.argmin(scores))
    transform, inliers = candidates[best]
    difference, inside = _differences(reference, other, transform)
    agree = (inside & (cv2.GaussianBlur(difference, (0, 0), 2) < 8)).astype(np.uint8)
    refined = _ecc(reference, other, transform, cv2.MOTION_HOMOGRAPHY, agree)
    score = _residual(reference, other, refined)
    if score < scores[best]:
        transform, scores[best] = refined, score
    if scores[best] >= scores[0] * 0.98:
        return Alignment(identity, "none", scores[0], 0)
    return Alignment(transform, "homography", scores[best], inliers)


def dense_flow(
    reference_linear: FloatImage, aligned_linear: FloatImage, stops: float
) -> NDArray[np.float32]:
    """Dense motion left between the reference and a globally aligned frame.

    DIS optical flow (Kroeger et al. 2016, "Fast optical flow using dense inverse search"), OpenCV's
    medium preset, on the equalised greys.

    Args:
        reference_linear: (H, W, 3) float32 linear, 1 = its own white.
        aligned_linear: (H, W, 3) float32 linear, 1 = its own white.
        stops: exposure of the aligned frame relative to the reference [stops].

    Returns:
        (H, W, 2) float32 [pixels]: aligned(x + flow(x)) shows what reference(x) shows. Zero for
        pictures smaller than 16 pixels a side.
    """
    reference, aligned = equalise(reference_linear, aligned_linear, stops)
    if min(reference.shape) < SMALLEST:
        return np.zeros((*reference.shape, 2), np.float32)
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = dis.calc(reference, aligned, np.zeros((*reference.shape, 2), np.float32))
    return np.asarray(flow, np.float32)


def warp(
    image: FloatImage,
    transform: Matrix,
    size: tuple[int, int],
    flow: NDArray[np.float32] | None = None,
) -> tuple[FloatImage, Mask]:
    """Bring a frame to the reference's geometry, in one single resampling.

    Args:
        image: (h, w, 3) or (h, w) float32, gamma codes in [0, 1].
        transform: (3, 3), reference pixel (x, y, 1) -> frame pixel.
        size: (height, width) of the reference.
        flow: (height, width, 2) [pixels] or None; moves the reference pixel before `transform`.

    Returns:
        warped: (height, width[, 3]) float32 in [0, 1]; repeated border pixels outside the frame.
        valid: (height, width) bool, whether the whole kernel lay inside the frame.
    """
    height, width = size
    if flow is None and np.array_equal(transform, np.eye(3)) and image.shape[:2] == size:
        return image.copy(), np.ones(size, np.bool_)
    x, y = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    if flow is not None:
        x, y = x + flow[..., 0], y + flow[..., 1]
    m = transform
    scale = 1.0 / (m[2, 0] * x + m[2, 1] * y + m[2, 2])
    u = ((m[0, 0] * x + m[0, 1] * y + m[0, 2]) * scale).astype(np.float32)
    v = ((m[1, 0] * x + m[1, 1] * y + m[1, 2]) * scale).astype(np.float32)
    warped = cv2.remap(image, u, v, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    bottom, right = image.shape[0] - 1, image.shape[1] - 1
    margin = 1.0
    valid = (u >= margin) & (v >= margin) & (u <= right - margin) & (v <= bottom - margin)
    return np.clip(warped, 0.0, 1.0).astype(np.float32, copy=False), valid
