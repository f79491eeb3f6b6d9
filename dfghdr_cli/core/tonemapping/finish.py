"""What makes a fused picture look like a photograph: black, contrast, and how light fades to white.

Blending exposures brings every part of a picture near the middle of the range, which takes away
black and flattens everything else. Printers and raw converters undo that at the end: they set the
black point, lay a mild S over the tones, and colours follow the S. And a camera's tone curve lies
on each channel by itself, as film's does: it strengthens colours in the dark, lets the brightest
light fade to white, and turns orange to gold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.choices import DisplaySpace
from dfghdr_cli.core.clipping import largest_channel
from dfghdr_cli.core.colour import from_oklab, oklab, srgb_decode, srgb_encode
from dfghdr_cli.core.luminance import luminance_of
from dfghdr_cli.core.types import FloatImage

BLACK = 0.18
"""Oklab lightness that the darkest fiftieth is brought to where a veil lies over it: that of prints
and of what `enfuse` makes, 0.1 to 0.25."""
_DARKEST = 2.0
"""Per cent of the pixels."""
_FOLLOWS = 0.5
"""How far saturation follows the slope of the curves on a log scale: with curves on channels, as
cameras have them, it is 1 to first order, with curves on luminance 0."""
_SATURATION = (0.7, 1.25)
"""Its bounds: noise in the dark has colours, too."""
_CAMERA = (1.45, 0.176)
"""n and s of the tone curve of a camera, ``y = (1 + s) x^n / (x^n + s)``: the medians of
`core.calibration.camera_curves`."""
_SHOULDER = 0.7
"""Light on the display from which on it is compressed."""
_PER_CHANNEL = 0.5
"""How far hues turn as channel by channel, where light fades to white. All the way, as in a camera,
oranges become yellow; not at all, a sunset becomes salmon."""
_SIZE = 1 << 16


@dataclass(frozen=True, slots=True)
class Finish:
    """Curves over the codes of a fused picture.

    Attributes:
        light: (65536,) float32, the display's light of evenly spaced sRGB codes.
        saturation: (65536,) float32, what colours are multiplied by there.
    """

    light: NDArray[np.float32]
    saturation: NDArray[np.float32]

    def __call__(self, code: NDArray[np.floating]) -> tuple[FloatImage, FloatImage]:
        """The display's light, and what colours are multiplied by.

        Args:
            code: (H, W) float32 in [0, 1].

        Returns:
            Two planes, (H, W) float32.
        """
        index = (code * np.float32(_SIZE - 1) + np.float32(0.5)).astype(np.uint16)
        return self.light[index], self.saturation[index]


def finish(code: NDArray[np.floating], veil: float, contrast: float) -> Finish:
    """Find the curves for a picture.

    Where the darkest fiftieth is lighter than `BLACK`, an even veil of light is taken away, at most
    `veil`. It fades out towards black, so that nothing is cut off: y - v (1 - exp(-y / v)). The S
    is a part of the smooth step c^2 (3 - 2 c) of codes c.

    Args:
        code: (H, W) float32 in [0, 1], sRGB codes of the luminance, or a sample of them.
        veil: the most that is taken away, of the display's white.
        contrast: the part of the smooth step, 0 to 1.
    """
    every = np.linspace(0.0, 1.0, _SIZE)
    before = np.asarray(srgb_decode(every), np.float64)
    darkest = float(srgb_decode(np.percentile(code, _DARKEST, keepdims=True)).item())
    light = _without_veil(before, _veil_over(darkest, veil))
    c = np.asarray(srgb_encode(light), np.float64)
    c += contrast * (c * c * (3 - 2 * c) - c)
    light = np.asarray(srgb_decode(np.clip(c, 0, 1)), np.float64)
    lit = slice(1, None)  # black has no slope
    slope = np.ones(_SIZE)
    slope[lit] = np.gradient(np.log(np.maximum(light[lit], 1e-12)), np.log(before[lit]))
    saturation = np.clip(1 + _FOLLOWS * (slope - 1), *_SATURATION)
    return Finish(light.astype(np.float32), saturation.astype(np.float32))


def camera_colours(
    rgb: FloatImage, luminance: FloatImage, space: DisplaySpace = "srgb"
) -> FloatImage:
    """Colours as a camera shows them, whose tone curve lies on each channel by itself.

    The scene's light that the camera's curve shows as `luminance` gets the colour of `rgb`, and the
    curve is laid on its channels. In the dark that saturates, in the light it fades, and oranges
    become golden as their red nears white. Where saturated colours become lighter by it than they
    were asked to be they are brought back.

    Args:
        rgb: (H, W, 3) float32, linear, in the display's primaries.
        luminance: (H, W) float32 of it, the display's light, from 0 to 1; it may go beyond.
        space: the primaries.

    Returns:
        (H, W, 3) float32, linear, from 0 to 1 + s.
    """
    power, shoulder = _CAMERA
    shown = np.clip(luminance, 1e-9, 1).astype(np.float32)
    scene = np.power(shoulder * shown / (1 + shoulder - shown), np.float32(1 / power))  # its grey
    light: FloatImage = np.maximum(rgb, 0)
    light *= (scene / np.maximum(luminance, np.float32(1e-9)))[..., None]
    np.power(light, np.float32(power), out=light)
    light *= np.float32(1 + shoulder) / (light + np.float32(shoulder))
    lighter = luminance_of(light, space)
    light *= np.minimum(1, shown / np.maximum(lighter, np.float32(1e-9)))[..., None]
    return light


def _without_veil(light: NDArray[np.float64], veil: float) -> NDArray[np.float64]:
    """White stays white."""
    if veil <= 0:
        return light
    less = light - veil * -np.expm1(-light / veil)
    return less / (1 - veil * -math.expm1(-1 / veil))


def _veil_over(darkest: float, most: float) -> float:
    """The veil, at most `most`, without which `darkest` has the lightness `BLACK`."""
    wanted = BLACK**3  # Oklab's lightness of a grey is the cube root of its light
    low, high = 0.0, most
    if darkest <= wanted:
        return low
    for _ in range(30):
        middle = 0.5 * (low + high)
        if _without_veil(np.array(darkest), middle) > wanted:
            low = middle
        else:
            high = middle
    return low


def within_gamut(saturation: FloatImage, rgb: FloatImage, luminance: FloatImage) -> FloatImage:
    """Saturation at which no colour is driven out of the gamut.

    Times s, the least channel m of a colour of luminance y becomes y + s (m - y). A curve on
    channels takes ratios to a power and leaves nothing below 0; the power 2 makes m^2 / y of it,
    which s = 1 + m / y does, too. So that is the most, and what is fully saturated stays.

    Args:
        saturation: (H, W) float32, what colours are to be multiplied by.
        rgb: (H, W, 3) float32, linear, in the display's primaries.
        luminance: (H, W) float32 of it.

    Returns:
        (H, W) float32; what is at most 1 is as it was.
    """
    least = np.minimum(np.minimum(rgb[..., 0], rgb[..., 1]), rgb[..., 2])
    most = 1 + np.maximum(least, 0) / np.maximum(luminance, np.float32(1e-12))
    return np.minimum(saturation, most)


def fade_to_white(light: FloatImage, space: DisplaySpace = "srgb") -> FloatImage:
    """Compress each channel near the display's white, and let hues turn half as far as that does.

    x goes to s + (1 - s) (1 - exp(-(x - s) / (1 - s))) above s = 0.7, which is smooth at s and
    reaches 1 at infinity.

    Args:
        light: (H, W, 3) float32, linear, 1 is white; any value. Changed in place.
        space: its primaries.

    Returns:
        `light`, of which no component is more than 1 but for rounding in Oklab.
    """
    here = largest_channel(light) > _SHOULDER
    if not here.any():
        return light
    before = light[here][None]
    room = np.float32(1 - _SHOULDER)
    over = np.maximum(before - np.float32(_SHOULDER), 0)
    after = before - over - room * np.expm1(-over / room)
    hues, wanted = oklab(after, space), oklab(before, space)
    chroma, length = (np.hypot(lab[..., 1], lab[..., 2]) for lab in (hues, wanted))
    scale = chroma / np.maximum(length, np.float32(1e-6))
    for axis in (1, 2):
        kept = wanted[..., axis] * scale
        hues[..., axis] = kept + np.float32(_PER_CHANNEL) * (hues[..., axis] - kept)
    light[here] = from_oklab(hues, space)[0]
    return light
