"""What the codes of a frame are worth: where they measure light, and how far off they may be.

Near either end of its tone curve a photograph measures nothing any more. At the top the shoulder
squeezes a wide range of light into a few codes, and JPEG rings there; at the bottom quantisation
and compression are as large as the codes themselves. Frames then disagree without anything having
moved, so the better exposed one must decide. This is the one place that tells how far a code is
from either end; the motion's match, the features of networks, the rejection of moving things, the
weights and training go by it.

The error of a code, divided by the slope of the response, is an error of light. That error in
stops bounds four ranges of codes: from *black* down nothing is measured, from *dark* on all is;
from *shoulder* on trust falls, and from *white* on a channel is clipped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.clipping import CLIPPED_CODE, CLIPPING_STARTS
from dfghdr_cli.core.encoding import GAMMA
from dfghdr_cli.core.restoration.jpeg import has_eight_bits
from dfghdr_cli.core.types import FloatImage, Frame

Limits = NDArray[np.float32]

BLACK, DARK, SHOULDER, WHITE = range(4)
"""Columns of `Worth.limits`."""
AT_BLACK, AT_WHITE = range(2)
"""Columns of `Worth.tolerance`."""

EIGHT_BIT_ERROR = 2.0 / 255.0
"""Standard deviation of a code of an 8-bit photograph, nearly always a JPEG or made from one:
compressed at qualities 85 to 95, channels of dark parts are off by 1.5 (quiet ones) to 5 levels
(textured ones, the blue channel most)."""
FINE_ERROR = 0.5 / 4095.0
"""Likewise of files with more bits: of these, cameras fill twelve and more."""
NOTHING = 1.0
"""Error [stops] from which on a dark code measures nothing: it may be half the light, or twice."""
GOOD = 0.5
"""Error [stops] up to which a dark code is a measurement in full."""
STEEP = 0.1
"""Error [stops] from which on a bright code is worth less: more than sensor noise ever is there."""
_BRIGHT = 0.75
"""Share of white from which on a code may belong to the shoulder."""
_BOUND = 2.0
"""Standard deviations within which a code is taken to be; more hides what moves in the dark."""
_CODES = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Worth:
    """What the gamma codes of one frame are worth, channel by channel.

    Attributes:
        limits: (3, 4) float32 gamma codes in [0, 1], rising: `BLACK`, `DARK`, `SHOULDER`, `WHITE`.
        tolerance: (3, 2) float32: how far off a code may be at black and below, and at white
            [gamma codes]; it falls to nothing towards dark and shoulder.
    """

    limits: Limits
    tolerance: Limits


CLEAN = Worth(
    np.tile(np.array([0.0, 0.002, CLIPPING_STARTS, CLIPPED_CODE], np.float32), (3, 1)),
    np.zeros((3, 2), np.float32),
)
"""Of frames that are known to be linear, up to noise: what nothing else is said about."""


def code_error(frame: Frame) -> float:
    """Standard deviation of a photograph's codes, white being 1, as far as its kind tells it."""
    coarse = frame.restored or has_eight_bits(frame.pixels)
    return EIGHT_BIT_ERROR if coarse else FINE_ERROR


def code_worth(
    response: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    error: float,
    white: NDArray[np.float64] | tuple[float, ...] = (1.0, 1.0, 1.0),
) -> Worth:
    """What codes are worth that a response makes light of.

    Args:
        response: linear light in [0, 1] of file codes (N, 3) in [0, 1].
        error: standard deviation of a file code, see `code_error`.
        white: (3,) file code of each channel's white.
    """
    codes = np.linspace(0.0, 1.0, _CODES)
    codes_of_all = codes[:, None].repeat(3, axis=1)
    linear = np.asarray(response(codes_of_all), np.float64)
    beyond = np.asarray(response(np.minimum(codes_of_all + _BOUND * error, 1.0)), np.float64)
    gamma, reach = (np.maximum(x, 0.0) ** (1.0 / GAMMA) for x in (linear, beyond))
    limits, tolerance = np.empty((3, 4)), np.empty((3, 2))
    # As low as compression leaves clipped pixels; a rounded code may be half a level less.
    clipped = min(CLIPPED_CODE, 1.0 - _BOUND * error - 0.5 / 255.0)
    for channel in range(3):
        top = float(white[channel])
        light = np.log2(np.maximum(linear[:, channel], 1e-9))
        stops = np.abs(np.gradient(light, codes)) * error
        half = codes < 0.5 * top
        black, dark = (
            float(codes[half & (stops > bound)].max(initial=0.0)) for bound in (NOTHING, GOOD)
        )
        steep = codes[(codes > _BRIGHT * top) & (codes < top) & (stops > STEEP)]
        shoulder = min([CLIPPING_STARTS * top, *steep[:1]])

        def coded(code: float, column: int = channel) -> float:
            return float(np.interp(code, codes, gamma[:, column]))

        upper = min(CLIPPED_CODE, coded(clipped * top))
        lower = min(CLIPPING_STARTS, coded(shoulder), upper - 0.001)
        bottom = coded(black)
        limits[channel] = bottom, max(coded(dark), bottom + 0.002), lower, upper
        rise = reach[:, channel] - gamma[:, channel]
        tolerance[channel] = rise[codes <= max(dark, codes[1])].max(), rise[codes >= shoulder].max()
    if error < EIGHT_BIT_ERROR:
        tolerance[:] = 0.0  # below what the noise of the sensor hides
    return Worth(limits.astype(np.float32), tolerance.astype(np.float32))


def ramp(x: FloatImage, low: float, high: float) -> FloatImage:
    """0 up to `low`, 1 from `high` on, a straight line between; any shape."""
    scaled = (x - np.float32(low)) * np.float32(1.0 / (high - low))
    return np.asarray(np.clip(scaled, 0.0, 1.0), np.float32)


def whiteness(code: FloatImage, worth: Worth) -> FloatImage:
    """How far the whitest channel is clipped: (H, W) in [0, 1] of gamma codes (H, W, 3)."""
    return _most(ramp(code[..., c], *worth.limits[c, SHOULDER:]) for c in range(3))


def darkness(code: FloatImage, worth: Worth) -> FloatImage:
    """How far the darkest channel measures nothing: (H, W) in [0, 1] of gamma codes (H, W, 3)."""
    return _most(1.0 - ramp(code[..., c], *worth.limits[c, :SHOULDER]) for c in range(3))


def is_white(code: FloatImage, worth: Worth) -> NDArray[np.bool_]:
    """Which channels are clipped: (H, W, 3) of gamma codes (H, W, 3)."""
    return np.asarray(code >= worth.limits[:, WHITE])


def tolerance(code: FloatImage, worth: Worth) -> FloatImage:
    """How far off gamma codes (H, W, 3) may be: (H, W, 3)."""
    planes = [
        at_black * (1.0 - ramp(code[..., c], *limits[:SHOULDER]))
        + at_white * ramp(code[..., c], *limits[SHOULDER:])
        for c, (limits, (at_black, at_white)) in enumerate(
            zip(worth.limits, worth.tolerance, strict=True)
        )
    ]
    return np.asarray(np.stack(planes, axis=-1), np.float32)


def apart(
    reference: FloatImage,
    aligned: FloatImage,
    stops: float,
    worths: tuple[Worth, Worth],
    white_tolerance: float = 0.0,
    misfit: float = 0.0,
) -> FloatImage | None:
    """How far the greys of a frame and the reference may be apart: see `flow.dense_flow`.

    Args:
        reference: (H, W, 3) gamma codes.
        aligned: (H, W, 3) likewise of another frame, aligned.
        stops: its exposure relative to the reference [stops].
        worths: of the reference's and of the other frame's codes.
        white_tolerance: how much darker than the reference's white a darker frame may be [stops].
        misfit: how far frames may be apart anywhere, see `core.frames.CodedBracket` [stops].

    Returns:
        (H, W) float32 in codes at the exposure of the brighter frame; None if it is 0 everywhere.
    """
    if white_tolerance == misfit == 0.0 and not any(worth.tolerance.any() for worth in worths):
        return None
    own, other = (np.float32(2.0 ** (max(s, 0.0) / GAMMA)) for s in (stops, -stops))
    sum_ = tolerance(reference, worths[0]) * own + tolerance(aligned, worths[1]) * other
    if misfit > 0.0:
        sum_ += np.float32(2.0 ** (misfit / GAMMA) - 1.0) * np.minimum(
            reference * own, aligned * other
        )
    if stops < 0:
        sum_ += is_white(reference, worths[0]) * np.float32(1.0 - 2.0 ** (-white_tolerance / GAMMA))
    return np.asarray(cv2.cvtColor(sum_, cv2.COLOR_RGB2GRAY), np.float32)


_ENOUGH = 100
"""Samples that a statement about white needs."""
_USUAL = 0.15
"""Stops below white that `classic.CONTRADICTS` allows in any case."""
_MOST_TOLERANCE = 1.0
"""At most [stops]: what is darker still moved."""
_AROUND = 31
"""Side of the surroundings in which frames must agree that nothing moved [pixels]."""
_AGREES = 0.3
"""Stops within which two well exposed pixels show the same, as most of the picture does."""


def white_tolerance(
    reference: FloatImage,
    worth: Worth,
    darker: FloatImage,
    trust: FloatImage,
    stops: float,
    darker_worth: Worth,
) -> float:
    """How much darker than white a darker frame may show what only just clips [stops], >= 0.

    White is where a response is known least, and an error of the exposures shows there. Where a
    channel of the reference is between shoulder and white both frames measure the same light, as
    long as nothing moved, which well exposed pixels around it tell. What three quarters of such
    samples differ by at most is how far to be careful.

    Args:
        reference: (H, W, 3) gamma codes of the reference in [0, 1].
        worth: of its codes.
        darker: (H, W, 3) likewise of a darker frame, aligned.
        trust: (H, W) of its pixels, in [0, 1].
        stops: its exposure relative to the reference [stops], < 0.
        darker_worth: of its codes.
    """
    found = 0.0
    for channel in range(3):
        own, limits = reference[..., channel], worth.limits[channel]
        light = _ratio(reference, darker, trust, stops, darker_worth, channel)
        measured = np.isfinite(light)
        exposed = measured & (own > limits[DARK]) & (own < limits[SHOULDER])
        if exposed.sum() < _ENOUGH:
            continue
        agrees = exposed & (np.abs(light - np.median(light[exposed])) < _AGREES)
        still, there = (
            cv2.blur(mask.astype(np.float32), (_AROUND, _AROUND)) for mask in (agrees, exposed)
        )
        here = measured & (own >= limits[SHOULDER]) & (own < limits[WHITE])
        here &= (still > 0.02) & (still > 0.75 * there)
        if here.sum() >= _ENOUGH:
            found = max(found, -float(np.quantile(light[here], 0.25)))
    return min(found, _MOST_TOLERANCE) if found > _USUAL else 0.0


_BRIGHT_CODE = 0.4
"""Gamma code of the brighter of two frames from which on its light is one that the darker frame is
needed for: there the two must meet."""
_DIFFERS = 0.25
"""Stops from which on two frames' light does not meet; of 27 brackets from cameras with one curve
for all frames none has more than 0.18."""


def mismatch(
    brighter: FloatImage,
    worth: Worth,
    darker: FloatImage,
    trust: FloatImage,
    stops: float,
    darker_worth: Worth,
) -> float:
    """How much more light a darker frame shows than a brighter one does where both measure [stops].

    Phones change their tone curve from frame to frame. No exposure and no common curve then makes
    the frames meet, and what a darker frame puts in place of a clipped one is brighter or darker
    than what surrounds it. The median over well exposed bright pixels of all channels tells by how
    much, if they agree about it: things that move do not.

    Args:
        brighter: (H, W, 3) gamma codes of the brighter frame in [0, 1], aligned.
        worth: of its codes.
        darker: (H, W, 3) likewise of the darker frame.
        trust: (H, W) how far pixels of both can be trusted, in [0, 1].
        stops: exposure of the darker frame relative to the brighter one [stops], < 0.
        darker_worth: of its codes.

    Returns:
        0 where it is less than a quarter of a stop, as exposures that are a little off make it.
    """
    found = []
    for channel in range(3):
        own, limits = brighter[..., channel], worth.limits[channel]
        light = _ratio(brighter, darker, trust, stops, darker_worth, channel)
        bright = (own > max(float(limits[DARK]), _BRIGHT_CODE)) & (own < limits[SHOULDER])
        found.append(light[bright & np.isfinite(light)])
    samples = np.concatenate(found)
    if len(samples) < max(_ENOUGH, 0.002 * brighter.size):
        return 0.0
    middle = float(np.median(samples))
    spread = 1.4826 * float(np.median(np.abs(samples - middle)))
    return middle if abs(middle) > _DIFFERS and spread < _DIFFERS else 0.0


def _ratio(
    brighter: FloatImage,
    darker: FloatImage,
    trust: FloatImage,
    stops: float,
    darker_worth: Worth,
    channel: int,
) -> FloatImage:
    """log2 of a darker frame's light over a brighter one's (H, W); NaN where it measures none."""
    own, other = brighter[..., channel], darker[..., channel]
    limits = darker_worth.limits[channel]
    measured = (other > limits[DARK]) & (other < limits[SHOULDER]) & (trust > 0.5)
    light = np.full(own.shape, np.nan, np.float32)
    ratio = other[measured] / np.maximum(own[measured], np.float32(1e-3))
    light[measured] = GAMMA * np.log2(ratio) - np.float32(stops)
    return light


def _most(planes: Any) -> FloatImage:
    first, second, third = planes
    return np.asarray(np.maximum(np.maximum(first, second), third), np.float32)
