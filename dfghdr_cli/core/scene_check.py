"""Whether the pictures of a scene bear out its exposures and the scale of its truth.

A scene says that a frame of `stops` shows min(1, truth * 2**stops), encoded by gamma 2.2. Where a
file of exposures holds something else, a merge is scored against a picture that it cannot make.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.clipping import METERED_CODE
from dfghdr_cli.core.encoding import decode
from dfghdr_cli.core.types import FloatImage

Floats = NDArray[np.float64]

TOLERANCE = 0.5
"""How far a frame may be from what its scene says [stops]. The mistakes below come to a stop or
more; what things that move, noise and a curve that is not quite gamma 2.2 shift is less."""
WELL_EXPOSED = (0.1, 0.9)
"""Codes that are neither clipped nor mostly noise."""
FEWEST = 0.01
"""Share of well exposed pixels under which a frame tells nothing."""

_LEVELS = 16
"""How many levels of light, each `TOLERANCE` wide, are looked at below white and above it."""
_SAME_CODE = 0.05
"""How far the codes of one light may be apart in frames of one curve; half a stop about middle
codes is 0.08 by gamma 2.2, and more by the steeper curves of cameras."""

LEAST_CORRELATION = 0.3
"""Of a frame and the truth of its scene, however much of it moves; of two scenes it is about 0."""


@dataclass(frozen=True, slots=True)
class Contradiction:
    """What is likely to be wrong with a scene.

    Attributes:
        text: a clause on exposures and truth, without the scene's name and without a full stop.
        errors: how much brighter each frame is than the scene says [stops]; None where a frame
            has too few well exposed pixels.
        of_curve: whether it is only that the frames follow another curve than gamma 2.2, while
            exposures and truth are right.
    """

    text: str
    errors: tuple[float | None, ...]
    of_curve: bool = False


def measured_stops(code: FloatImage, truth: FloatImage) -> float | None:
    """The exposure of a frame by its pixels: log2 of its light over the truth's [stops].

    The median over the pixels that are well exposed, and should be by the truth: few of them if
    things moved, but as many brighter as darker.

    Args:
        code: (H, W, 3) gamma codes in [0, 1].
        truth: (H, W, 3) linear.

    Returns:
        A number that is the scene's stops where its truth has the scale that it should; None where
        fewer than `FEWEST` of the pixels tell.
    """
    code, truth = code[::4, ::4], truth[::4, ::4]
    low, high = WELL_EXPOSED
    use = (code > low) & (code < high) & (truth > 0)
    if use.mean() < FEWEST:
        return None
    ratio = np.log2(decode(code[use]) / truth[use])
    stops = float(np.median(ratio))
    # Once more, without those that the truth expects to be clipped or black: only what is bright
    # enough in the frame was chosen, so that noise and motion would count on one side.
    expected = truth[use] * np.float32(2.0**stops)
    both = (expected > low**2.2) & (expected < high**2.2)
    if both.sum() >= FEWEST * code.size:
        stops = float(np.median(ratio[both]))
    return stops


def contradiction(
    codes: Sequence[FloatImage], stops: Sequence[float], names: Sequence[str], truth: FloatImage
) -> Contradiction | None:
    """What a scene's exposures and truth say that its frames do not bear out, if anything.

    Args:
        codes: frames (H, W, 3), gamma codes in [0, 1], dark to bright as the scene says.
        stops: their exposures, the first being 0.
        names: of their files.
        truth: (H, W, 3) linear, 1.0 = the white of the darkest frame.

    Returns:
        The likely mistake, or None where every frame that tells is within `TOLERANCE`.
    """
    measured = [measured_stops(code, truth) for code in codes]
    errors = [None if m is None else m - s for m, s in zip(measured, stops, strict=True)]
    known = [k for k, error in enumerate(errors) if error is not None]
    found = np.array([measured[k] for k in known], np.float64)
    said = np.array([stops[k] for k in known], np.float64)
    if not known or np.abs(found - said).max() <= TOLERANCE:
        return None
    if all(_correlation(codes[k], truth) < LEAST_CORRELATION for k in known):
        text = "the truth does not show what the frames do"
    elif _another_curve(codes, stops, truth):
        text = "the frames seem to follow another curve than gamma 2.2"
        return Contradiction(text, tuple(errors), of_curve=True)
    elif _agree(found, said):
        text = _scale(float(np.median(found - said)), stops)
    else:
        text = _steps(found, said, np.array(stops)[::-1][known], [names[k] for k in known])
    return Contradiction(text, tuple(errors))


def _correlation(code: FloatImage, truth: FloatImage) -> float:
    """Of the logarithms of a frame's light and the truth, where the frame is well exposed."""
    code, truth = code[::4, ::4], truth[::4, ::4]
    use = (code > WELL_EXPOSED[0]) & (code < WELL_EXPOSED[1]) & (truth > 0)
    light, aim = np.log2(decode(code[use])), np.log2(truth[use])
    if min(np.ptp(light), np.ptp(aim)) == 0:
        return 0.0
    return float(np.corrcoef(light, aim)[0, 1])


def _another_curve(codes: Sequence[FloatImage], stops: Sequence[float], truth: FloatImage) -> bool:
    """Whether one curve of the truth explains all frames, and reaches white where it should.

    Wrong exposures give frames that disagree about the code of one light, and a wrong scale of the
    truth lets all of them become white at another light than 1.
    """
    curves: list[dict[int, float]] = []
    whites: list[int] = []
    truth = truth[::4, ::4]
    for code, stop in zip((code[::4, ::4] for code in codes), stops, strict=True):
        light = np.log2(np.maximum(truth.astype(np.float64) * 2.0**stop, 1e-6))
        level = np.floor(light / TOLERANCE)
        shares = {k: level == k for k in range(-_LEVELS, _LEVELS)}
        curve = {k: float(np.median(code[h])) for k, h in shares.items() if h.mean() >= FEWEST}
        white = [k for k, value in curve.items() if value >= METERED_CODE]
        if white and min(white) - 1 in curve:  # else it may be white from an earlier one on
            whites.append(min(white))
        curves.append(curve)
    apart = [
        abs(one[k] - other[k])
        for one, other in itertools.combinations(curves, 2)
        for k in one.keys() & other.keys()
        if min(one[k], other[k]) < METERED_CODE
    ]
    if not whites or not apart or not set(whites) <= {-1, 0}:
        return False
    return float(np.median(apart)) <= _SAME_CODE


def _agree(found: Floats, said: Floats, tolerance: float = TOLERANCE) -> bool:
    """Whether exposures are the same but for what they are counted from."""
    return float(np.ptp(found - said)) <= tolerance


def _scale(shift: float, stops: Sequence[float]) -> str:
    """What a truth is that is 2**shift too dark, all frames alike."""
    off = f"the truth is {abs(shift):.1f} stops too {'dark' if shift > 0 else 'bright'}"
    reference = stops[len(stops) // 2]
    if abs(shift + reference) <= TOLERANCE / 2:
        return (
            f"{off}: its 1.0 seems to be the reference's white, not the white of the darkest frame"
        )
    return f"{off}: its 1.0 should be the white of the darkest frame"


def _steps(found: Floats, said: Floats, backwards: Floats, names: Sequence[str]) -> str:
    """Why the steps between frames are not those that a scene says."""
    if _agree(found, backwards, 2 * TOLERANCE):  # no other mistake turns the order
        return "the exposures seem to be in the reverse order of the frames"
    # From here on relative to the first frame that tells.
    measured, stated = found - found[0], said - said[0]
    if len(found) > 2 and stated[-1] > 0:
        for sign, what in (
            (1, "exposure times, or ratios of them, where stops are wanted"),
            (-1, "reciprocals of exposure times where stops are wanted"),
        ):
            # Times t and t + stated: the first is such that the last step is what is measured.
            step = 2.0 ** (sign * measured[-1]) - 1
            if step > 0 and _agree(sign * measured, np.log2(1 + stated * step / stated[-1])):
                return f"the exposures seem to be {what}"
    errors = found - said
    middle = float(np.median(errors))
    off = [k for k, error in enumerate(errors) if abs(error - middle) > TOLERANCE]
    if len(off) == 1 and len(errors) > 2:
        error = float(errors[off[0]] - middle)
        side = "brighter" if error > 0 else "darker"
        return f"{names[off[0]]} is {abs(error):.1f} stops {side} than the other frames say"
    listed = ", ".join(f"{value:+.1f}" for value in measured)
    return f"the frames seem to be exposed by {listed} stops rather than " + ", ".join(
        f"{value:+.1f}" for value in stated
    )
