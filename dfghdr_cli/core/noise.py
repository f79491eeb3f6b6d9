"""How noisy the reference is, told by the other frames: what smoothing may take for noise.

One picture alone cannot tell noise from fine texture. A bracket can: texture is in every frame, and
noise differs. So the difference of the aligned frames at one exposure bounds the reference's noise
from above; where frames also differ by motion or resampling the bound is only less strict.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dfghdr_cli.core.radiance import CLIPPING_STARTS, GAMMA, SMOOTHED_CODES
from dfghdr_cli.core.types import FloatImage

LEVELS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.6, CLIPPING_STARTS)
"""Bounds of the ranges of codes whose noise is measured one by one: it depends on the level."""
ENOUGH = 50
"""Samples that a range needs."""
TRUSTED = 0.5
"""Trust that a resampled pixel needs; see `align.warp_with_trust`."""
DEVIATIONS = 10.0
"""Differences of neighbours up to this many standard deviations of the noise, summed over the
channels, are smoothed: between two noisy pixels they are about 3.4 in the mean."""


def noise_level(
    reference: FloatImage,
    others: Sequence[FloatImage],
    trusts: Sequence[FloatImage],
    stops: Sequence[float],
) -> float | None:
    """An upper bound of the reference's noise where it is worst.

    In each range of codes and for each other frame, the standard deviation of the difference, by
    the median absolute deviation (Hampel 1974), which what moves does not disturb; of the frames
    the one that differs least counts, of the ranges the worst.

    Args:
        reference: (..., 3) float32 gamma codes in [0, 1], of all pixels or some.
        others: the other frames likewise, aligned.
        trusts: (...) float32 in [0, 1], of each.
        stops: of each relative to the reference [stops].

    Returns:
        Standard deviation [gamma codes]; None where too little can be compared.
    """
    found: dict[int, float] = {}
    for code, trust, stop in zip(others, trusts, stops, strict=True):
        difference = reference - code * np.float32(2.0 ** (-stop / GAMMA))
        seen = (code < CLIPPING_STARTS) & (code > LEVELS[0]) & (trust > TRUSTED)[..., None]
        levels, values = np.digitize(reference[seen], LEVELS), difference[seen]
        for level in range(1, len(LEVELS)):
            here = values[levels == level]
            if len(here) >= ENOUGH:
                deviation = 1.4826 * float(np.median(np.abs(here - np.median(here))))
                found[level] = min(found.get(level, np.inf), deviation)
    return max(found.values(), default=None)


def smoothing_range(
    reference: FloatImage,
    others: Sequence[FloatImage],
    trusts: Sequence[FloatImage],
    stops: Sequence[float],
) -> float:
    """What `radiance.smooth` may take for noise in a reference: 0 where there is none.

    Args: as for `noise_level`.

    Returns:
        In [0, SMOOTHED_CODES], the latter where nothing is known.
    """
    level = noise_level(reference, others, trusts, stops)
    return SMOOTHED_CODES if level is None else min(SMOOTHED_CODES, DEVIATIONS * level)
