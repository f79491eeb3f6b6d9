"""Tone mapping operators that look at the surroundings of a pixel.

Each takes the luminance of the whole picture after exposure, (H, W) float32 >= 0 with 0.18 a middle
grey, and returns the luminance on the display, (H, W) float32, 1 being white; `fusion` its codes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.colour import srgb_encode

Plane = NDArray[np.floating]
"""(H, W) float32; numpy's type hints forget which float it was."""

_FLOOR = 1e-6
"""Of white: darker parts count as this dark where logarithms are taken."""


def fusion(luminance: Plane, white: float, lift: float, width: float) -> Plane:
    """Blend virtual exposures of the picture, each where it is well exposed.

    The exposures go in equal steps of at most 2 stops from the one in which `white` is just white
    to the one that is brightened by `lift`. Weights are those of the paper for being well exposed
    alone: with the one for contrast, what is even, such as the sky, is as bright as the textured
    parts around it would have it. The blend is done in Laplacian pyramids, on the sRGB curve.

    Source: Mertens, Kautz, Van Reeth, "Exposure Fusion", Pacific Graphics 2007. Exposures made of
    one HDR picture: Hasinoff et al., "Burst photography for high dynamic range", 2016, section 6.

    Args:
        luminance: see above.
        white: luminance that becomes white.
        lift: of the brightest exposure [stops].
        width: standard deviation of the weight around 0.5 of the code range.

    Returns:
        sRGB codes of the luminance on the display, (H, W) float32 in [0, 1].
    """
    darkest = -math.log2(white)
    count = max(2, math.ceil((lift - darkest) / 2) + 1)
    levels = max(1, int(math.log2(max(2, min(luminance.shape)))) - 2)
    total: list[Plane] = []
    weights: list[Plane] = []
    for stops in np.linspace(darkest, lift, count):
        code = srgb_encode(np.minimum(luminance * np.float32(2.0**stops), 1))
        weight = _well_exposed(code, width)
        for level, (band, share) in enumerate(
            zip(_laplacian(code, levels), _gaussian(weight, levels), strict=True)
        ):
            band *= share
            if level < len(total):
                total[level] += band
                weights[level] += share
            else:
                total.append(band)
                weights.append(share)
    for band, share in zip(total, weights, strict=True):
        band /= share
    return np.clip(_collapse(total), 0, 1)


_LEAST_WEIGHT = np.float32(1e-4)


def _well_exposed(code: Plane, width: float) -> Plane:
    away = code - np.float32(0.5)
    np.square(away, out=away)
    away *= np.float32(-0.5 / width**2)
    np.exp(away, out=away)
    away += _LEAST_WEIGHT
    return away


def _gaussian(plane: Plane, levels: int) -> list[Plane]:
    import cv2

    pyramid = [plane]
    for _ in range(levels):
        pyramid.append(np.asarray(cv2.pyrDown(pyramid[-1]), np.float32))
    return pyramid


def _enlarge(plane: Plane, like: Plane) -> Plane:
    import cv2

    height, width = like.shape
    return np.asarray(cv2.pyrUp(plane, dstsize=(width, height)), np.float32)


def _laplacian(plane: Plane, levels: int) -> list[Plane]:
    pyramid = _gaussian(plane, levels)
    bands = [fine - _enlarge(coarse, fine) for fine, coarse in itertools.pairwise(pyramid)]
    return [*bands, pyramid[-1]]


def _collapse(bands: list[Plane]) -> Plane:
    plane = bands[-1]
    for band in reversed(bands[:-1]):
        plane = band + _enlarge(plane, band)
    return plane


def reinhard_local(luminance: Plane, white: float, phi: float, threshold: float) -> Plane:
    """Dodging and burning: L (1 + L / white^2) / (1 + V), V the mean of the largest even region.

    Source: Reinhard, Stark, Shirley, Ferwerda, "Photographic Tone Reproduction for Digital
    Images", SIGGRAPH 2002, eq. (5) to (9): eight scales, each 1.6 times the one before. The
    smallest is one pixel of a picture of 1024 pixels and grows with the picture.

    Args:
        luminance: see above.
        white: luminance that becomes white.
        phi: sharpening parameter of eq. (7).
        threshold: epsilon of eq. (8).

    Returns:
        See above.
    """
    unit = max(1.0, max(luminance.shape) / 1024)
    center = _blur(luminance, unit * 0.25)
    local = center
    searching = np.ones(luminance.shape, bool)
    scale = 1.0
    for _ in range(8):
        surround = _blur(luminance, unit * 0.25 * scale * 1.6)
        activity = (center - surround) / (np.float32(2**phi * 0.18 / scale**2) + center)
        searching &= np.abs(activity) < threshold
        local = np.where(searching, surround, local)
        center = surround
        scale *= 1.6
    return luminance * (1 + luminance / np.float32(white) ** 2) / (1 + local)


def _blur(plane: Plane, sigma: float) -> Plane:
    """Gaussian blur; a wide one is done on a reduced picture."""
    import cv2

    step = int(sigma / 2)
    if step < 2:
        return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), np.float32)
    height, width = plane.shape
    size = (max(1, width // step), max(1, height // step))
    small = cv2.resize(plane, size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / step)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), "f4")


def durand(luminance: Plane, white: float, contrast: float, space: float, range: float) -> Plane:
    """Reduce the contrast of the large forms and keep the detail, split by a bilateral filter.

    Source: Durand and Dorsey, "Fast Bilateral Filtering for the Display of High-Dynamic-Range
    Images", SIGGRAPH 2002: piecewise linear in range, subsampled in space.

    Args:
        luminance: see above.
        white: luminance that becomes white.
        contrast: ratio of bright to dark that the base keeps; 5 in the paper, which puts a grey
            veil over many pictures.
        space: standard deviation of the filter in the plane, as a share of the longer side.
        range: and in log10 of luminance.

    Returns:
        See above.
    """
    log = np.log10(np.maximum(luminance / np.float32(white), np.float32(_FLOOR)))
    base = _bilateral(log, space * max(log.shape), range)
    step = max(1, math.isqrt(base.size // 1_000_000))
    low, high = np.percentile(base[::step, ::step], (0.5, 99.5))
    factor = min(1.0, math.log10(contrast) / max(float(high - low), 1e-3))
    base *= np.float32(factor - 1)
    log += base
    log -= np.float32(high * factor)
    return np.power(np.float32(10), log)


def _bilateral(plane: Plane, sigma: float, sigma_range: float) -> Plane:
    import cv2

    height, width = plane.shape
    step = max(1, int(sigma / 4))
    size = (max(1, -(-width // step)), max(1, -(-height // step)))
    small = cv2.resize(plane, size, interpolation=cv2.INTER_AREA)
    low, high = float(plane.min()), float(plane.max())
    count = max(2, math.ceil((high - low) / (sigma_range * 0.75)) + 1)
    spacing = max((high - low) / (count - 1), 1e-6)
    out = np.zeros_like(plane)
    position = (plane - np.float32(low)) * np.float32(1 / spacing)
    for index in np.arange(count):
        near = np.exp(
            np.square(small - np.float32(low + index * spacing)) * np.float32(-0.5 / sigma_range**2)
        ) + np.float32(1e-6)
        total = cv2.GaussianBlur(near, (0, 0), sigma / step)
        value = np.asarray(cv2.GaussianBlur(near * small, (0, 0), sigma / step) / total, np.float32)
        value = cv2.resize(value, (width, height), interpolation=cv2.INTER_LINEAR)
        share = np.maximum(1 - np.abs(position - np.float32(index)), 0)
        out += value * share
    return out


# Mantiuk et al., eq. (10): the response to a contrast G in log10 grows like G to this power.
_RESPONSE_POWER = 0.4185
_WORKING_PIXELS = 500_000
_STEPS = 60


def mantiuk(luminance: Plane, white: float, contrast: float, equalise: float) -> Plane:
    """Give every visible contrast, at every scale, its share of the display's range.

    The contrasts between neighbours on all levels of a pyramid become responses of the eye; the
    responses are replaced by their rank among all (contrast equalisation), and the picture that
    fits the new contrasts best in the least-squares sense is found by conjugate gradients.
    Contrast mapping, the other operator of the paper, multiplies the responses instead; as they
    are a power of the contrast, its exact solution is a power of the luminance, so a mixture of
    the two needs no second solution.

    Large pictures are solved at half a megapixel and carried to full size by local linear
    functions of the log luminance (He and Sun, "Fast Guided Filter", 2015), which keeps edges.
    OpenCV's operator of this name is contrast mapping alone, on a range set by the darkest and the
    brightest pixel; it is not used.

    Source: Mantiuk, Myszkowski, Seidel, "A Perceptual Framework for Contrast Processing of High
    Dynamic Range Images", ACM TAP 2006.

    Args:
        luminance: see above.
        white: luminance that becomes white.
        contrast: range of the result, from its 1st to its 99th percentile [log10].
        equalise: share of contrast equalisation, 0 to 1; the rest is contrast mapping.

    Returns:
        See above.
    """
    import cv2

    log = np.asarray(np.log10(np.clip(luminance / np.float32(white), _FLOOR, 1)), np.float32)
    reduce = max(1.0, math.sqrt(log.size / _WORKING_PIXELS))
    size = (max(1, round(log.shape[1] / reduce)), max(1, round(log.shape[0] / reduce)))
    small = log
    if reduce > 1:
        small = np.asarray(cv2.resize(log, size, interpolation=cv2.INTER_AREA), np.float32)
    solved = _equalised(small)
    spread = _spread(small)
    solved = _spread_to(solved, spread) * equalise + small * (1 - equalise)
    toned = solved if reduce == 1 else _guided(small, solved, log)
    factor = contrast / max(_spread(toned), 1e-6)
    top = float(np.percentile(toned, 99.5))
    return np.power(np.float32(10), (toned - np.float32(top)) * np.float32(min(factor, 1.0)))


def _spread(plane: Plane) -> float:
    step = max(1, math.isqrt(plane.size // 1_000_000))
    low, high = np.percentile(plane[::step, ::step], (1, 99))
    return float(high - low)


def _spread_to(plane: Plane, spread: float) -> Plane:
    return plane * np.float32(spread / max(_spread(plane), 1e-6))


def _equalised(log: Plane) -> Plane:
    """The picture whose contrasts are the ranks of those of `log`; its mean is 0."""
    height, width = log.shape
    levels = max(1, int(math.log2(max(2, min(log.shape)))) - 1)
    unit = 2 ** (levels - 1)
    padded = np.pad(log, ((0, -height % unit), (0, -width % unit)), "edge")
    pyramid = [padded]
    for _ in range(levels - 1):
        pyramid.append(_halve(pyramid[-1]))
    gradients = [(np.diff(plane, axis=1), np.diff(plane, axis=0)) for plane in pyramid]
    sizes = [np.abs(part).ravel() for pair in gradients for part in pair]
    known = np.sort(np.concatenate(sizes))
    if not known.size:
        return np.zeros_like(log)
    known = known[:: max(1, len(known) // 4096)]
    ranks = np.linspace(0, 1, len(known), dtype=np.float32)

    def new(part: Plane) -> Plane:
        rank = np.interp(np.abs(part), known, ranks).astype(np.float32)
        return np.sign(part) * rank ** np.float32(1 / _RESPONSE_POWER)

    target = _adjoint([(new(x), new(y)) for x, y in gradients])

    def normal(plane: Plane) -> Plane:
        pairs = []
        for level in range(levels):
            pairs.append((np.diff(plane, axis=1), np.diff(plane, axis=0)))
            plane = _halve(plane) if level < levels - 1 else plane
        return _adjoint(pairs)

    return _conjugate_gradients(normal, target)[:height, :width]


def _halve(plane: Plane) -> Plane:
    return (plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2]) * np.float32(
        0.25
    )


def _adjoint(pairs: list[tuple[Plane, Plane]]) -> Plane:
    """The transpose of halving again and again and taking differences on each level."""
    total: Plane | None = None
    for x, y in reversed(pairs):
        plane = np.zeros((x.shape[0], y.shape[1]), np.float32)
        plane[:, 1:] += x
        plane[:, :-1] -= x
        plane[1:] += y
        plane[:-1] -= y
        if total is not None:
            plane += total.repeat(2, axis=0).repeat(2, axis=1) * np.float32(0.25)
        total = plane
    assert total is not None
    return total


def _conjugate_gradients(operator: Callable[[Plane], Plane], target: Plane) -> Plane:
    solution = np.zeros_like(target)
    residual, direction = target.copy(), target.copy()
    power = start = _dot(residual, residual)
    for _ in range(_STEPS):
        if power <= 1e-8 * start or power == 0:
            break
        image = operator(direction)
        step = np.float32(power / _dot(direction, image))
        solution += step * direction
        residual -= step * image
        before, power = power, _dot(residual, residual)
        direction = residual + np.float32(power / before) * direction
    return solution


def _dot(first: Plane, second: Plane) -> float:
    return float(np.vdot(first, second))  # typed once: pyright takes half a minute for it in a loop


def _guided(small: Plane, solved: Plane, log: Plane) -> Plane:
    """`solved` at the size of `log`: a linear function of `log` around each pixel."""
    import cv2

    def mean(plane: Plane) -> Plane:
        return np.asarray(cv2.blur(plane, (9, 9)), np.float32)

    mean_small, mean_solved = mean(small), mean(solved)
    variance = mean(small * small) - mean_small**2
    slope = (mean(small * solved) - mean_small * mean_solved) / (variance + np.float32(1e-3))
    offset = mean_solved - slope * mean_small
    size = (log.shape[1], log.shape[0])
    slope, offset = (
        cv2.resize(mean(plane), size, interpolation=cv2.INTER_LINEAR) for plane in (slope, offset)
    )
    return slope * log + offset
