"""Pictures for HDR screens: absolute luminance, the PQ curve, and gain maps.

One scale everywhere: *relative to SDR white*, 1.0 is shown at 203 cd/m2, the level of graphics and
diffuse white in HDR (ITU-R BT.2408-7, 2.2).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.types import FloatImage

SDR_WHITE = 203.0
"""cd/m2 of 1.0."""
PQ_PEAK = 10000.0
"""cd/m2 that the PQ curve ends at."""
HIGHEST = PQ_PEAK / SDR_WHITE
"""The brightest value relative to SDR white that is written: 5.6 stops above it."""

# SMPTE ST 2084:2014, 5.2; ITU-R BT.2100-2, table 4.
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32


def pq_encode(luminance: NDArray[np.floating]) -> NDArray[np.floating]:
    """Luminance to PQ code values.

    Source: SMPTE ST 2084, the inverse of its equation 4.1.

    Args:
        luminance: any shape, floating dtype, [cd/m2]; below 0 counts as 0, above 10000 as 10000.

    Returns:
        The same shape and dtype, in [0, 1].
    """
    power = np.clip(luminance, 0, PQ_PEAK) / luminance.dtype.type(PQ_PEAK)
    power = np.power(power, luminance.dtype.type(_M1), out=power)
    top = power * luminance.dtype.type(_C2) + luminance.dtype.type(_C1)
    power *= luminance.dtype.type(_C3)
    power += 1
    top /= power
    return np.power(top, luminance.dtype.type(_M2), out=top)


def pq_decode(code: NDArray[np.floating]) -> NDArray[np.floating]:
    """The inverse of `pq_encode`.

    Args:
        code: any shape, floating dtype, in [0, 1].

    Returns:
        Luminance [cd/m2] of the same shape and dtype.
    """
    power = np.power(np.clip(code, 0, 1), 1 / _M2)
    linear = np.power(np.maximum(power - _C1, 0) / (_C2 - _C3 * power), 1 / _M1)
    return (linear * PQ_PEAK).astype(code.dtype)


@dataclass(frozen=True, slots=True)
class GainMap:
    """What turns an SDR picture into its HDR version, and how far.

    With the picture in linear light and the map's value v in [0, 1],
    hdr = (sdr + offset) * 2**(w * (low + v * (high - low))) - offset, where w in [0, 1] says how
    much of `headroom` a screen has.

    Source: ISO 21496-1:2025, 5; the Ultra HDR image format 1.1.

    Attributes:
        values: (h, w, 3) uint8, v * 255; the size of the picture or half of it.
        low: log2 of the smallest gain.
        high: log2 of the largest gain, more than `low`.
        headroom: log2 of the brightness over SDR white that the HDR version needs.
        offset: added to both, so that black has a gain, too.
    """

    values: NDArray[np.uint8]
    low: float
    high: float
    headroom: float
    offset: float = 1 / 64


_GAIN_MAP_PIXELS = 4_000_000
_ENOUGH = 0.999


def gain_map(sdr: FloatImage, hdr: FloatImage) -> GainMap:
    """Compare an SDR picture with its HDR version.

    Args:
        sdr: (H, W, 3) float32, linear, in [0, 1].
        hdr: (H, W, 3) float32, linear, in the same primaries, relative to SDR white; what is
            outside [0, `HIGHEST`] is cut.

    Returns:
        The map. Above 4 megapixels it has half their sides. Its headroom covers all but one
        brightest pixel in a thousand, and is at least one stop.
    """
    hdr = np.clip(hdr, 0, np.float32(HIGHEST))
    height, width = sdr.shape[:2]
    if height * width > _GAIN_MAP_PIXELS:
        size = ((width + 1) // 2, (height + 1) // 2)
        sdr = cv2.resize(sdr, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        hdr = cv2.resize(hdr, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    offset = np.float32(GainMap.__dataclass_fields__["offset"].default)
    gain = np.log2((hdr + offset) / (sdr + offset))
    low, high = float(gain.min()), float(gain.max())
    if high - low < 1e-3:  # readers divide by the range
        high = low + 1e-3
    gain -= np.float32(low)
    gain *= np.float32(255 / (high - low))
    brightest = hdr[:: max(1, height // 1000), :: max(1, width // 1000)].max(axis=2)
    headroom = float(np.log2(max(2.0, np.quantile(brightest, _ENOUGH))))
    return GainMap(np.rint(gain).astype(np.uint8), low, high, headroom, float(offset))
