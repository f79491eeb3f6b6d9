"""Primaries, the sRGB curve, and a perceptual space that keeps hues.

Arrays are numpy, (..., 3) RGB, linear unless said otherwise; light is relative.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.choices import DisplaySpace, RadianceSpace

Chromaticities = tuple[float, float, float, float, float, float, float, float]
"""x and y of red, green, blue and white (CIE 1931)."""

# ITU-R BT.709-6, items 1.3 and 1.4; SMPTE EG 432-1 with white D65; ITU-R BT.2020-2, table 3.
REC709: Chromaticities = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
P3: Chromaticities = (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.3127, 0.3290)
REC2020: Chromaticities = (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, 0.3127, 0.3290)
# Adobe RGB (1998) color image encoding, 4.3.1; Academy S-2014-004, "ACEScg".
ADOBE_RGB: Chromaticities = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06, 0.3127, 0.3290)
ACESCG: Chromaticities = (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.32168, 0.33767)

PRIMARIES: dict[DisplaySpace, Chromaticities] = {"srgb": REC709, "p3": P3}

RADIANCE_SPACES: dict[RadianceSpace, Chromaticities] = {
    "rec709": REC709,
    "rec2020": REC2020,
    "acescg": ACESCG,
}

# The cone responses of the Bradford adaptation, as in ICC.1:2022, annex E.
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


def to_xyz(space: Chromaticities) -> NDArray[np.float64]:
    """The matrix from linear RGB to CIE XYZ, Y of RGB white being 1.

    Source: SMPTE RP 177, from x, y and z instead of ratios to y, so that primaries may lie on the
    line y = 0, as those of XYZ itself do.

    Args:
        space: the primaries and white of RGB.

    Returns:
        (3, 3) float64, to be multiplied from the left.

    Raises:
        ValueError: the primaries span no triangle, or the y of white is not positive.
    """
    x, y = np.array(space, float).reshape(4, 2).T
    if not (np.isfinite(x) & np.isfinite(y)).all() or y[3] < 1e-6:
        raise ValueError(f"{space} are no primaries")
    columns = np.stack([x, y, 1 - x - y])
    if abs(np.linalg.det(columns[:, :3])) < 1e-6:
        raise ValueError(f"{space} are no primaries")
    return columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3] / y[3])


def conversion(source: Chromaticities, target: Chromaticities) -> NDArray[np.float64]:
    """The matrix from one linear RGB to another; white stays white (Bradford adaptation).

    Args:
        source: primaries and white to convert from.
        target: and to.

    Returns:
        (3, 3) float64, to be multiplied from the left: `pixels @ matrix.T`. Colours outside the
        target's triangle get negative components.

    Raises:
        ValueError: either one spans no triangle.
    """
    from_source, from_target = to_xyz(source), to_xyz(target)
    cones_source = _BRADFORD @ from_source.sum(axis=1)
    cones_target = _BRADFORD @ from_target.sum(axis=1)
    adapt = np.linalg.solve(_BRADFORD, (cones_target / cones_source)[:, None] * _BRADFORD)
    return np.linalg.solve(from_target, adapt @ from_source)


_BAND = 1 << 20
"""Pixels converted at once."""
_PLAINLY_OUTSIDE = 0.01
"""A component below minus this share of the luminance is more than noise and rounding."""


def convert_radiance(
    pixels: NDArray[np.float32], source: NDArray[np.float64], target: Chromaticities
) -> tuple[NDArray[np.float32], float]:
    """Linear light into other primaries, nothing negative left.

    A colour outside the target's triangle has a negative component there. It is moved towards the
    grey of its own luminance until that component is 0: luminance and, nearly, hue stay.

    Args:
        pixels: (H, W, 3) float32, linear, finite, >= 0.
        source: (3, 3), from the primaries of `pixels` to those of Rec. 709.
        target: primaries and white of the result.

    Returns:
        (H, W, 3) float32, finite, >= 0, white unchanged; and the share of pixels that lay outside
        by more than a hundredth of their luminance.
    """
    matrix = np.asarray(conversion(REC709, target) @ source, np.float32)
    if np.allclose(matrix, np.eye(3), atol=1e-6):
        return pixels, 0.0
    luminance = to_xyz(target)[1].astype(np.float32)
    result = np.empty_like(pixels)
    outside = 0
    step = max(1, _BAND // max(1, pixels.shape[1]))
    for start in range(0, pixels.shape[0], step):
        band = pixels[start : start + step] @ matrix.T
        lowest = band.min(axis=2)
        negative = lowest < 0
        colors, low = band[negative], lowest[negative]
        grey = np.maximum(colors @ luminance, 0)
        outside += int(np.count_nonzero(low < -_PLAINLY_OUTSIDE * grey))
        # grey - low > 0, since low < 0
        kept = (grey / (grey - low))[:, None]
        moved = grey[:, None] + (colors - grey[:, None]) * kept
        band[negative] = np.maximum(np.where(kept > 0, moved, 0), 0)
        result[start : start + step] = band
    return result, outside / max(1, pixels.shape[0] * pixels.shape[1])


LUMINANCE: dict[DisplaySpace, NDArray[np.float32]] = {
    space: to_xyz(primaries)[1].astype(np.float32) for space, primaries in PRIMARIES.items()
}
"""Weights of linear R, G and B in luminance, by their primaries; they sum to 1."""


def srgb_encode(linear: NDArray[np.floating]) -> NDArray[np.floating]:
    """Display light to code values by the sRGB curve; odd below 0, and nothing is clipped.

    Source: IEC 61966-2-1.

    Args:
        linear: any shape, floating dtype; 1 is the display's white.

    Returns:
        The same shape and dtype; 0 gives 0 and 1 gives 1.
    """
    size = np.abs(linear)
    code = np.power(size, linear.dtype.type(1 / 2.4))
    code *= 1.055
    code -= 0.055
    low = size <= 0.0031308
    code[low] = size[low] * 12.92
    return np.copysign(code, linear)


def srgb_decode(code: NDArray[np.floating]) -> NDArray[np.floating]:
    """The inverse of `srgb_encode`.

    Args:
        code: any shape, floating dtype.

    Returns:
        Display light of the same shape and dtype.
    """
    size = np.abs(code)
    linear = np.power((size + 0.055) / 1.055, code.dtype.type(2.4))
    low = size <= 0.04045
    linear[low] = size[low] / 12.92
    return np.copysign(linear, code)


# B. Ottosson, "A perceptual color space for image processing" (Oklab), 2020: from XYZ (D65) to
# cone-like responses, and from their cube roots to lightness and two opponent axes.
_XYZ_TO_LMS = np.array(
    [
        [0.8189330101, 0.3618667424, -0.1288597137],
        [0.0329845436, 0.9293118715, 0.0361456387],
        [0.0482003018, 0.2643662691, 0.6338517070],
    ]
)
_ROOTS_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)

# Of a display's range: how far outside counts as inside, and how finely its border is found.
_TOLERANCE = 1e-3
_BISECTIONS = 9


def transform(pixels: NDArray[np.floating], matrix: NDArray[np.floating]) -> NDArray[np.float32]:
    """Multiply every pixel by a matrix.

    Args:
        pixels: (H, W, 3) float32.
        matrix: (3, 3), applied from the left.

    Returns:
        (H, W, 3) float32.
    """
    import cv2

    if not pixels.size:
        return np.asarray(pixels, np.float32)
    return np.asarray(cv2.transform(pixels, np.asarray(matrix, np.float32)), np.float32)


def oklab(linear: NDArray[np.floating], space: DisplaySpace = "srgb") -> NDArray[np.float32]:
    """Linear RGB to Oklab. Its hue does not change when light is only scaled.

    Source: B. Ottosson, "A perceptual color space for image processing", 2020.

    Args:
        linear: (H, W, 3) float32; colours outside the triangle are allowed.
        space: the primaries of `linear`.

    Returns:
        (H, W, 3) float32: lightness (white is 1), and two axes whose angle is the hue.
    """
    lms = transform(linear, _XYZ_TO_LMS @ to_xyz(PRIMARIES[space]))
    return transform(np.cbrt(lms), _ROOTS_TO_LAB)


def from_oklab(lab: NDArray[np.floating], space: DisplaySpace = "srgb") -> NDArray[np.float32]:
    """The inverse of `oklab`.

    Args:
        lab: (H, W, 3) float32.
        space: the primaries wanted.

    Returns:
        (H, W, 3) float32, linear RGB.
    """
    roots = transform(lab, np.linalg.inv(_ROOTS_TO_LAB))
    back = np.linalg.inv(_XYZ_TO_LMS @ to_xyz(PRIMARIES[space]))
    return transform(roots * roots * roots, back)


def keep_hue(
    toned: NDArray[np.float32], original: NDArray[np.float32], space: DisplaySpace = "srgb"
) -> NDArray[np.float32]:
    """Give a picture the hues of another one; its lightness and chroma stay.

    Curves that act on R, G and B apart turn bright orange into yellow and blue into violet or
    cyan. This takes such turns back and leaves what the curve does to lightness and saturation.

    Args:
        toned: (H, W, 3) float32, linear.
        original: (H, W, 3) float32, linear, on any scale.
        space: the primaries of both.

    Returns:
        (H, W, 3) float32, linear in the same primaries; strong colours may leave the triangle.
    """
    lab, wanted = oklab(toned, space), oklab(original, space)
    chroma = np.hypot(lab[..., 1], lab[..., 2])
    length = np.hypot(wanted[..., 1], wanted[..., 2])
    # Where the original is grey, a hue means nothing and there is none to be kept.
    scale = np.where(length > 1e-6, chroma / np.maximum(length, 1e-6), 0)
    lab[..., 1] = wanted[..., 1] * scale
    lab[..., 2] = wanted[..., 2] * scale
    return from_oklab(lab, space)


def fit_gamut(linear: NDArray[np.float32], space: DisplaySpace = "srgb") -> NDArray[np.float32]:
    """Bring colours that a display cannot show into its range, each at its own hue.

    In Oklab such a colour moves on a straight line towards a grey until it can be shown: bright
    saturated light becomes paler and somewhat darker instead of turning yellow, cyan or magenta,
    as it does where each channel is cut at 1. The grey lies between the colour's own lightness
    and the middle.

    Source: B. Ottosson, "sRGB gamut clipping", 2021, adaptive L0 with alpha = 0.5; the point on
    the line is found by bisection, which serves any primaries.

    Args:
        linear: (H, W, 3) float32 display light in the primaries of `space`; 1 is white.
        space: the display's primaries.

    Returns:
        (H, W, 3) float32 in [0, 1]; what was inside is unchanged.
    """
    out = np.clip(linear, 0, 1)
    beyond = (np.abs(linear - out) > _TOLERANCE).any(axis=2)
    if not beyond.any():
        return out
    lab = oklab(np.ascontiguousarray(linear[beyond][None]), space)
    lightness, chroma = lab[..., 0], np.hypot(lab[..., 1], lab[..., 2])
    offset = np.abs(lightness - 0.5)
    e = 0.5 + offset + 0.5 * chroma
    toward = 0.5 * (1 + np.sign(lightness - 0.5) * (e - np.sqrt(np.maximum(e**2 - 2 * offset, 0))))
    grey = np.zeros_like(lab)
    grey[..., 0] = np.clip(toward, 0, 1)
    low, high = np.zeros_like(lightness), np.ones_like(lightness)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        colour = from_oklab(grey + (lab - grey) * middle[..., None], space)
        inside = ((colour >= -_TOLERANCE) & (colour <= 1 + _TOLERANCE)).all(axis=2)
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    colour = from_oklab(grey + (lab - grey) * low[..., None], space)
    out[beyond] = np.clip(colour, 0, 1)[0]
    return out
