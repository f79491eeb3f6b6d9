"""What black is in each channel, where one curve does not do for all three.

A response is one curve on each channel, after white balance. But the black level that a camera
takes off is right to a code or two only, and differently so in each channel, and makers tint or
grade shadows. There frames then disagree about colours by half a stop, and where one gives way to
the other a coloured rim shows. So each channel's dark codes may be off, by an amount that fades as
they get brighter. In eight brackets of cameras of which this is more probable than not, the
evidence is highest where it fades over a tenth of the codes; it falls where it reaches the middle
tones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.calibration.curve_fit import CurveFit, black_fading
from dfghdr_cli.core.calibration.matches import Matches

Floats = NDArray[np.float64]

_ONSET = 0.03
"""Code up to which a black that is too dark grows from nothing: code 0 stays black."""
_REMAINS = 0.05
"""Share that remains of a code below a black that is too bright: curves rise."""
_SIZES = (1 / 255, 2 / 255, 4 / 255)
"""Standard deviations of the offsets that are tried, as shares of white."""
_MOST = 6 / 255
"""Offset from which on what is found is no black; below, curves rise."""
_ODDS = -3.0
"""Log odds for offsets before anything is seen: one of twenty."""


def black_offsets(
    fit: CurveFit, matches: Matches, rise: Floats, slopes: tuple[Floats, Floats]
) -> Floats | None:
    """The most probable offsets; see "evidence" in `core.calibration.curve_fit`.

    Args:
        fit: of the matches, which says what each is worth.
        matches: see `core.calibration.matches.match`.
        rise: (K,) by how much the common curve says that bright frames show more light [stops].
        slopes: of the common curve at the dark and at the bright codes, each (K,) [stops a code].

    Returns:
        (3,) as shares of white, for `with_offsets`; None where none are more probable.
    """
    target = matches.stops - rise
    shift = slopes[1] * black_fading(matches.bright) - slopes[0] * black_fading(matches.dark)
    design = np.eye(3)[matches.channel] * shift[:, None]
    fit = fit.reweighed(design, target, np.eye(3) / _SIZES[-1] ** 2)
    best = None
    *_, most = fit.explained(np.zeros((len(rise), 1)), target, np.eye(1))
    for size in _SIZES:
        offsets, _, evidence = fit.explained(design, target, np.eye(3) / size**2)
        if evidence + _ODDS > most and np.abs(offsets).max() < _MOST:
            best, most = offsets, evidence + _ODDS
    return best


def with_offsets(codes: Floats, offsets: Floats) -> Floats:
    """Codes (M,) before the common curve is taken, of each channel: (M, 3) in [0, 1], rising."""
    codes = codes[:, None]
    grown = np.where(offsets > 0, np.minimum(codes / _ONSET, 1.0), 1.0)
    moved = codes + offsets * grown * black_fading(codes)
    return np.clip(np.maximum(moved, _REMAINS * codes), 0.0, 1.0)
