"""PU21: code values of equal visibility for light of any brightness, and the PSNR of these.

Source: Mantiuk and Azimi, "PU21: A novel perceptually uniform encoding for adapting existing
quality metrics for HDR", Picture Coding Symposium 2021; parameters of the variant "banding_glare",
which its authors recommend, from their program.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PEAK_LUMINANCE = 4000.0
"""What a linear 1.0 is taken to show [cd/m2]: the white of a bright HDR display, as in the authors'
example. The result depends on it."""
RANGE = (0.005, 10_000.0)
"""The light that the encoding is made for [cd/m2]."""
PEAK_CODE = 256.0
"""Code value that counts as the peak of the PSNR; light of 100 cd/m2 has 256.4."""
LEAST_ERROR = 1e-12
"""Mean squared error, relative to the peak's square, that counts as none: at most 120 dB."""

_P = (
    0.353487901,
    0.3734658629,
    8.277049286e-05,
    0.9062562627,
    0.09150303166,
    0.9099517204,
    596.3148142,
)


def pu21_encode(light: NDArray[np.floating]) -> NDArray[np.float64]:
    """Encode light so that steps just visible are about equal.

    Args:
        light: any shape, luminance or linear Rec. 709 channels [cd/m2]; clamped to `RANGE`.

    Returns:
        The same shape, float64: 0 at 0.005 cd/m2, 256.4 at 100, 595.4 at 10 000.
    """
    power = np.clip(light.astype(np.float64), *RANGE) ** _P[3]
    return _P[6] * (((_P[0] + _P[1] * power) / (1 + _P[2] * power)) ** _P[4] - _P[5])


def pu21_psnr(
    test: NDArray[np.floating],
    reference: NDArray[np.floating],
    peak_luminance: float = PEAK_LUMINANCE,
) -> float:
    """PSNR [dB] of the PU21 codes of all channels, peak 256, at most 120.

    Args:
        test: any shape, linear Rec. 709, 1.0 = the white of the darkest frame.
        reference: the same shape.
        peak_luminance: what 1.0 shows [cd/m2].

    Returns:
        Decibels.

    Raises:
        ValueError: the shapes differ, or `peak_luminance` is not positive.
    """
    if test.shape != reference.shape:
        raise ValueError(f"pictures of {test.shape} and {reference.shape} cannot be compared")
    if not peak_luminance > 0:
        raise ValueError(f"the peak luminance must be positive, not {peak_luminance}")
    codes = pu21_encode(test * peak_luminance), pu21_encode(reference * peak_luminance)
    error = np.square(codes[0] - codes[1]).mean() / PEAK_CODE**2
    return float(-10 * np.log10(max(error, LEAST_ERROR)))
