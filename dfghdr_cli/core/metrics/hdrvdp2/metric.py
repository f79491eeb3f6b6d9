"""The metric itself: two pictures in, their visible difference and one number out.

Sources: Mantiuk, Kim, Rempel and Heidrich, "HDR-VDP-2: a calibrated visual metric for visibility
and quality predictions in all luminance conditions", ACM Trans. Graph. 30(4), 40, 2011; Narwaria,
Mantiuk, Perreira Da Silva and Le Callet, "HDR-VDP-2.2: a calibrated method for objective quality
prediction of high-dynamic range and standard images", J. Electronic Imaging 24(1), 2015. Where the
released programs 2.2.0 to 2.2.2 depart from the papers, this follows the programs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from dfghdr_cli.core.metrics.hdrvdp2.display import ABSOLUTE, ENCODINGS, pixels_per_degree
from dfghdr_cli.core.metrics.hdrvdp2.eye import (
    contrast_sensitivity,
    filtered,
    frequencies,
    look_up,
    receptors,
    sensitivity_curve,
    transfer,
)
from dfghdr_cli.core.metrics.hdrvdp2.pyramid import (
    SMALLEST,
    build_pyramid,
    collapse_pyramid,
    resize,
)
from dfghdr_cli.core.metrics.hdrvdp2.tables import GREY_RESPONSES, RESPONSES

Image = NDArray[np.floating] | Tensor
Map = NDArray[np.float64]

CHANGED = 0.001
"""Relative difference of light from which a pixel counts in the quality."""
_DARK, _BRIGHT = 1e-5, 1e10
"""Light is kept between these [cd/m2]."""
_P = 10**0.544068
_Q = 10**0.49576
_SELF = 10**0.189065
_ACROSS_ORIENTATIONS = 10**0.449199
_ACROSS_BANDS = 10**1.52512
_PSYCHOMETRIC_SLOPE = 3.5
_TINY = 1e-12

_WEIGHTS_2_2_1 = (
    (60.0, 30.0, 15.0, 7.5, 3.75, 1.875, 0.9375, 0.4688, 0.2344, 0.1172),
    (0.0, 0.2832, 0.2832, 0.2142, 0.2690, 0.0398, 0.0003, 0.0003, 0.0, 0.0),
)
_WEIGHTS_2_2_0 = (
    (15.0, 7.5, 3.75, 1.875, 0.9375, 0.4688, 0.2344),
    (0.2832, 0.2142, 0.2690, 0.0398, 0.0003, 0.0003, 0.0002),
)
"""Frequencies [cycles/degree] and the weights of bands in the quality."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the metric assumes besides the encoding and the scale; the defaults are the original's.

    Attributes:
        surround: light around the picture, in the units of the encoding's light (cd/m2): one number
            or one per channel; None takes the geometric mean of each channel of the reference.
        display: whose spectrum the light has: "ccfl-lcd", "crt" or "led-lcd"; None is "ccfl-lcd"
            for three channels and daylight for one.
        peak_sensitivity: log10 of the eye's largest sensitivity to contrast.
        rod_sensitivity: log10 of a factor on the sensitivity of rods.
        masking: whether the picture itself hides differences.
        optics: whether the eye's optics blur.
        spatial_pooling: whether the visibility at one place grows with what is visible elsewhere.
    """

    surround: float | Sequence[float] | None = 1e-5
    display: str | None = None
    peak_sensitivity: float = 2.4
    rod_sensitivity: float = 0.0
    masking: bool = True
    optics: bool = True
    spatial_pooling: bool = True


@dataclass(frozen=True, slots=True)
class BandError:
    """Visible difference in one band and orientation.

    Attributes:
        band: from 1, the finest.
        orientation: from 1.
        frequency: of the band [cycles/degree].
        error: square root of the sum of squares, divided by the number of samples.
    """

    band: int
    orientation: int
    frequency: float
    error: float


@dataclass(frozen=True, slots=True)
class HdrVdp2:
    """What the metric says. Quote `quality` together with `encoding` and `ppd`.

    Attributes:
        quality: Q of versions 2.2.1 and 2.2.2: 100 for identical pictures; less is worse, and it
            may fall below 0.
        quality_2_2_0: Q of version 2.2.0: more is worse; no fixed value for identical pictures.
        mos_2_2_0: its predicted mean opinion score, 0 to 100, more is better.
        encoding: what the pixel values were taken for.
        ppd: pixels per degree.
        bands: the difference in every band, fine to coarse.
        detection: probability that an observer sees any difference, 0 to 1; None without maps.
        detection_map: (H, W) float64, the same at each place.
        contrast_map: (H, W) float64 >= 0, the visible difference; 1 is seen half of the time.
        warnings: sentences for the user.
    """

    quality: float
    quality_2_2_0: float
    mos_2_2_0: float
    encoding: str
    ppd: float
    bands: tuple[BandError, ...]
    detection: float | None
    detection_map: Map | None
    contrast_map: Map | None
    warnings: tuple[str, ...] = ()


@torch.no_grad()
def hdrvdp2(
    test: Image,
    reference: Image,
    *,
    encoding: str = "sRGB-display",
    ppd: float | None = None,
    options: Options | None = None,
    maps: bool = True,
    device: str | torch.device = "cpu",
) -> HdrVdp2:
    """HDR-VDP-2.2: the quality of a picture beside a reference, and where differences show.

    The defaults are those of most papers on HDR deghosting: linear pictures in [0, 1] called
    "sRGB-display", on a screen of 24 inches seen from 0.5 m. The number moves by many units with
    them; it also depends on the size of the picture: compare pictures of one size, no crops.

    Args:
        test: (H, W, C), or (H, W) where the encoding has one channel; floating dtype, values as
            `encoding` says (see `ENCODINGS`); nothing is clipped.
        reference: the same shape.
        encoding: a key of `ENCODINGS`.
        ppd: pixels per degree; None is `pixels_per_degree(W, H)`.
        options: what else to assume; None is `Options()`.
        maps: whether to compute the maps, too.
        device: where to compute, in float64: "cpu" or "cuda".

    Returns:
        Quality, maps and errors of bands.

    Raises:
        ValueError: unknown encoding or display, a shape that the encoding does not have, shapes
            that differ, a side below 17 pixels, infinite values, `ppd` not positive, or a
            surround by the geometric mean of a reference with negative light.
    """
    options = options or Options()
    pair = _pair(test, reference, encoding).to(device)
    height, width = pair.shape[-2:]
    if ppd is None:
        ppd = pixels_per_degree(width, height)
    if not ppd > 0:
        raise ValueError(f"pixels per degree must be positive, not {ppd}")
    light = ENCODINGS[encoding][1](pair)
    changed = (((light[0] - light[1]).abs() / light[1]) > CHANGED).any(dim=0).double()
    light = torch.where(light.isnan(), _DARK, light)
    warnings = ()
    if encoding in ABSOLUTE and not light[0, light.shape[1] // 2].max() > 1:
        warnings = (
            f"no pixel is brighter than 1 cd/m2, and {encoding} values are taken for cd/m2: "
            "scale them, or choose another encoding",
        )

    achromatic, adaptation = _retina(light, ppd, options)
    bands = build_pyramid(achromatic)
    frequency = [2.0**-index * ppd / 2 for index in range(len(bands))]
    bands[-1] = _filter_base(bands[-1], adaptation.mean(dim=(1, 2)), frequency[-1])
    log_adaptation = adaptation.mean(dim=0).clamp(1e-5, 1e5).log10()

    errors: list[BandError] = []
    visible: list[Tensor] = []
    for index, difference in _differences(bands, frequency, log_adaptation, options.masking):
        size = (difference.shape[-2], difference.shape[-1])
        counted = difference * resize(changed[None], size)
        pooled = counted.square_().sum(dim=(1, 2)).sqrt_() / (size[0] * size[1])
        errors += [
            BandError(index + 1, orientation, frequency[index], error)
            for orientation, error in enumerate(pooled.tolist(), start=1)
        ]
        if maps:
            slope, scale = _PSYCHOMETRIC_SLOPE / _P, 2.0**index
            visible.append(scale * _signed_power(difference / scale, slope)[None])

    contrast = _contrast_map(visible, options.spatial_pooling) if maps else None
    detection = 1 - 0.5**contrast if contrast is not None else None
    mean_error = _pool(errors, *_WEIGHTS_2_2_0) / len(errors)
    return HdrVdp2(
        quality=100 - _pool(errors, *_WEIGHTS_2_2_1, above=log(_TINY)),
        quality_2_2_0=mean_error,
        mos_2_2_0=100 / (1 + exp(3.455 * (mean_error + 0.8886))),
        encoding=encoding,
        ppd=ppd,
        bands=tuple(errors),
        detection=detection.max().item() if detection is not None else None,
        detection_map=detection.cpu().numpy() if detection is not None else None,
        contrast_map=contrast.cpu().numpy() if contrast is not None else None,
        warnings=warnings,
    )


def _differences(
    bands: list[Tensor], frequency: list[float], log_adaptation: Tensor, masking: bool
) -> Iterator[tuple[int, Tensor]]:
    """Index of each band and (orientations, h, w), how far beyond the visible its pictures differ.

    Args:
        bands: (2, orientations, h, w) of the test and the reference, fine to coarse.
        frequency: of each [cycles/degree].
        log_adaptation: (H, W), log10 of the luminance that the eye is adapted to [cd/m2].
        masking: whether the pictures themselves hide differences.
    """
    masks = [_mutual_mask(band) for band in bands] if masking else []
    for index, band in enumerate(bands):
        size = (band.shape[-2], band.shape[-1])
        if index < len(bands) - 1:
            curve = sensitivity_curve(frequency[index])
            noise = 1 / look_up(curve, resize(log_adaptation[None], size)[0])
        else:
            noise = band.new_ones(size)
        scale = 2.0**index
        difference = scale * _signed_power((band[0] - band[1]) / scale, _P)
        if masking:
            masked = _masking(masks, index, noise)
            difference /= (noise ** (2 * _P) + masked**2).sqrt_()
        else:
            difference /= noise**_P
        yield index, difference


def _pair(test: Image, reference: Image, encoding: str) -> Tensor:
    """(2, C, H, W) float64: test, then reference."""
    if encoding not in ENCODINGS:
        raise ValueError(f"unknown encoding {encoding!r}: choose one of {', '.join(ENCODINGS)}")
    channels = ENCODINGS[encoding][0]
    images = []
    for image in (test, reference):
        if not isinstance(image, Tensor):
            # A copy may be written to and has no negative strides, as PyTorch wants it.
            image = torch.from_numpy(np.array(image, np.float64))
        values = image.to(torch.float64)
        if values.ndim == 2:
            values = values[..., None]
        if values.ndim != 3 or values.shape[2] != channels:
            shape = " x ".join(map(str, image.shape))
            raise ValueError(f"{encoding} needs H x W x {channels} values, not {shape}")
        if min(values.shape[:2]) < SMALLEST:
            raise ValueError(
                f"{values.shape[1]} x {values.shape[0]} is too small: HDR-VDP-2 needs at least "
                f"{SMALLEST} pixels a side"
            )
        if values.isinf().any():
            raise ValueError("a picture has infinite values")
        images.append(values.movedim(2, 0))
    if images[0].shape != images[1].shape:
        (_, *one), (_, *other) = images[0].shape, images[1].shape
        raise ValueError(
            f"the pictures differ in size: {one[1]} x {one[0]}, {other[1]} x {other[0]}"
        )
    return torch.stack(images)


def _retina(light: Tensor, ppd: float, options: Options) -> tuple[Tensor, Tensor]:
    """(2, C, H, W) light to (2, H, W) achromatic response and (2, H, W) adapting luminance."""
    channels, height, width = light.shape[1:]
    if options.optics:
        grid = frequencies(2 * height, 2 * width, ppd, light.device)
        response = transfer(grid)
        light = torch.stack(
            [
                filtered(light[:, channel], response, around).clamp_(_DARK, _BRIGHT)
                for channel, around in enumerate(_surround(light[1], options.surround))
            ],
            dim=1,
        )
    spectrum = light.new_tensor(_spectrum(channels, options.display))
    excitation = torch.einsum("bchw,cr->brhw", light, spectrum)
    adaptation = excitation[:, 0] + excitation[:, 1]
    response_of = receptors(options.peak_sensitivity, options.rod_sensitivity)
    log_excitation = excitation.clamp_(1e-5, 1e5).log10_()
    cones = look_up(response_of.cone, log_excitation[:, :2]).sum(dim=1)
    rods = look_up(response_of.rod, log_excitation[:, 2])
    response = cones - cones.mean(dim=(1, 2), keepdim=True)
    response += rods - rods.mean(dim=(1, 2), keepdim=True)
    return response, adaptation


def _surround(reference: Tensor, surround: float | Sequence[float] | None) -> list[float]:
    channels = reference.shape[0]
    if surround is None:
        if reference.min() < 0:
            raise ValueError("negative light has no geometric mean: give the surround as a number")
        return reference.log().mean(dim=(1, 2)).exp().tolist()
    if isinstance(surround, Sequence):
        if len(surround) != channels:
            raise ValueError(f"{len(surround)} surrounds for {channels} channels")
        return list(surround)
    return [surround] * channels


def _spectrum(channels: int, display: str | None) -> Sequence[tuple[float, float, float]]:
    known = RESPONSES if channels == 3 else GREY_RESPONSES
    name = display or ("ccfl-lcd" if channels == 3 else "d65")
    if name not in known:
        raise ValueError(f"unknown display {name!r}: choose one of {', '.join(RESPONSES)}")
    return RESPONSES[name] if channels == 3 else [GREY_RESPONSES[name]]


def _filter_base(base: Tensor, luminance: Tensor, frequency: float) -> Tensor:
    """Apply the contrast sensitivity to the (2, 1, h, w) base band, each at its own luminance."""
    height, width = base.shape[-2:]
    grid = frequencies(2 * height, 2 * width, 2 * sqrt(2) * frequency, base.device)
    response = contrast_sensitivity(grid, luminance[:, None, None])
    return filtered(base[:, 0], response, base[1].mean().item())[:, None]


def _signed_power(value: Tensor, exponent: float) -> Tensor:
    return value.abs().pow_(exponent).copysign_(value)


def _mutual_mask(band: Tensor) -> Tensor:
    """(orientations, h, w): what both pictures of a (2, orientations, h, w) band share."""
    common = torch.minimum(band[0].abs(), band[1].abs())
    return F.avg_pool2d(common, 3, stride=1, padding=1)


def _masking(masks: Sequence[Tensor], index: int, noise: Tensor) -> Tensor:
    """(orientations, h, w): how much the picture hides differences in a band.

    Masks are the band's own, those of its other orientations and those of the bands beside it,
    except that the finest of the oriented bands next to the base do not see the base.
    """
    own = masks[index]
    size = (own.shape[-2], own.shape[-1])
    scale = 2.0**index
    neighbours = torch.zeros_like(own)
    if index > 0:
        finer = resize(masks[index - 1][: own.shape[0]], size)
        neighbours += finer.clamp_(min=0) / (scale / 2)
    if index < len(masks) - 2:
        coarser = resize(masks[index + 1][: own.shape[0]], size)
        neighbours += coarser.clamp_(min=0) / (2 * scale)
    across = (own.sum(dim=0) - own).clamp_(min=0)
    total = _SELF * (own / scale) ** _Q
    total += _ACROSS_ORIENTATIONS * (across / scale) ** _Q
    total += _ACROSS_BANDS * neighbours**_Q
    return total * (scale / noise**_Q)


def _pool(
    errors: Sequence[BandError],
    frequencies: Sequence[float],
    weights: Sequence[float],
    above: float = 0.0,
) -> float:
    """Sum over bands of weight times (log error - above)."""
    at = frequencies[::-1], weights[::-1]
    return sum(
        float(np.interp(band.frequency, *at)) * (log(band.error + _TINY) - above) for band in errors
    )


def _contrast_map(visible: Sequence[Tensor], spatial_pooling: bool) -> Tensor:
    """(H, W): the visible difference of all bands together."""
    contrast = collapse_pyramid(visible)[0].abs_()
    if spatial_pooling:
        contrast *= contrast.sum() / (contrast.max() + _TINY)
    return contrast
