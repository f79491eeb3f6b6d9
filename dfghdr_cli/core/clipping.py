"""What counts as white, and where a merge knows no more than that."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dfghdr_cli.core.types import FloatImage, Mask

CLIPPING_STARTS = 0.96
CLIPPED_CODE = 0.992
"""Codes from here on count as clipped; noise and resampling keep them from reaching 1 exactly.
Between `CLIPPING_STARTS` and here trust falls in a straight line. Of 8-bit files and other cameras
`core.worth` finds both from the response."""
METERED_CODE = 0.98
"""A channel of a file, before any response, may be clipped from here on: where exposures and tone
curves are found from the pixels."""
COMPARED_CODE = 0.97
"""Likewise where exposures are estimated without knowing any."""
CLIPPED_GREY = 248
"""Of 255, in slightly blurred greys at one exposure, by which motion is found: one channel of a
pixel may be clipped before its grey is white."""
CLIPPED_THUMBNAIL = 250.0
"""Of 255, in the brightest channel of a much reduced photograph."""
JPEG_WHITE, JPEG_NEARLY_WHITE = 254, 252
"""Of 255, in a JPEG: codes from the second on count as white beside one from the first on."""


def largest_channel(image: FloatImage) -> FloatImage:
    """The largest of the three channels of (H, W, 3), as `.max(axis=2)`, several times faster."""
    return np.maximum(np.maximum(image[..., 0], image[..., 1]), image[..., 2])


def any_channel(white: Mask) -> Mask:
    """(H, W) of (H, W, 3), several times faster than `.any(axis=2)`."""
    return white[..., 0] | white[..., 1] | white[..., 2]


def white_everywhere(pictures: Iterable[tuple[Mask, FloatImage]]) -> Mask:
    """Where no picture is there and not white.

    Args:
        pictures: where a channel is clipped (H, W), and the trust (H, W), of each. The darkest come
            first: as few pixels are white there, the others are often not looked at.
    """
    clipped: Mask = np.ones((), np.bool_)
    for white, trust in pictures:
        clipped = clipped & (white | (trust == 0))
        if not clipped.any():
            break
    return clipped
