"""Where white is: files that clip below their full code.

Video levels, exports that an editor darkened, 12 bits stored in 16, and developed channels that
clip at different values all have a white below the largest code that the format can hold. There the
frames pile up, whatever the exposure: many pixels within a code or two and hardly any above. A
lit wall piles up, too, but at another code in a frame of another exposure.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.types import FloatImage, Frame

Floats = NDArray[np.float64]

_PIXELS = 250_000
_BINS = 1024
_SMALL_MAXIMA = (1023, 4095, 16383)
"""Largest values of 10, 12 and 14 bits."""
_LEAST_OFTEN = 10
"""Samples of a frame that have such a value."""
_FULL = 0.9975
"""Codes from here on are the format's own white: 254.4 of 255."""
_LEAST_FULL = 1e-3
"""Share of a frame that is at the format's white and so settles it, if it is also ..."""
_OVERSHOOT = (0.984, 0.9945)
_ABOVE_OVERSHOOT = 3.0
"""... so many times that of the codes right below: overshoot of a lower white thins out upwards."""
_LOWEST = 0.6
"""Whites are not looked for below this code, but in files that say 16 bits and hold fewer."""
_REACH = 0.006
"""How far a pile spreads by JPEG's errors to either side, as a code."""
_LEAST_PILE = 2e-3
"""Share of a frame that is a pile, and ..."""
_STANDS_OUT = 4.0
"""... how many times denser than the codes below it."""
_MOST_ABOVE = 0.35
"""Share of a pile that may lie above it, from ringing."""
_BEYOND = 0.01
"""Share of a channel that overshoots the other channels' white at most."""
_SAME = 0.006
"""Codes that differ by no more are the same in two frames."""
_DIFFERENT = 0.5
"""Stops between exposures from which a wall's code differs."""
_MANY_LEVELS = 0.05
"""Range of codes in a darker frame that a pile must have hidden if it is in one frame only."""


def find_white(frames: Sequence[Frame], stops: Sequence[float]) -> Floats:
    """The code from which on each channel is white.

    Args:
        frames: of one bracket.
        stops: exposure of each [stops].

    Returns:
        (3,) float64 in (0, 1]; 1 where nothing tells of a lower white.
    """
    samples = [_sample(frame) for frame in frames]
    scale = full_code(frames)
    if scale != 1.0:
        return np.full(3, scale)
    found = [_channel([sample[:, c] for sample in samples], stops) for c in range(3)]
    lowered = [white for white in found if white is not None and white < 1.0]
    if not lowered:
        return np.ones(3)
    # A channel of which nothing tells ends where the others do, unless it goes on beyond.
    common = max(lowered)
    result = np.ones(3)
    for channel, white in enumerate(found):
        if white is not None:
            result[channel] = white
        elif max(_share(s[:, channel] > common + 3 * _REACH) for s in samples) < _BEYOND:
            result[channel] = common
    return result


def _share(where: NDArray[np.bool_]) -> float:
    return float(where.mean())


def _sample(frame: Frame) -> FloatImage:
    """(n, 3) some of the pixels of a frame, always the same ones."""
    height, width = frame.pixels.shape[:2]
    step = max(1, int(np.sqrt(height * width / _PIXELS)))
    pixels = np.ascontiguousarray(frame.pixels[step // 2 :: step, step // 2 :: step]).reshape(-1, 3)
    top = 1.0 if frame.bit_depth == 32 else 2.0**frame.bit_depth - 1.0
    return np.asarray(pixels / np.float32(top), np.float32)


def full_code(frames: Sequence[Frame]) -> float:
    """The largest code that the frames' bits can make, as a share of the format's.

    10, 12 or 14 bits stored in 16 are recognised by the largest value, 1023, 4095 or 16383, if it
    occurs more often than chance has it.

    Args:
        frames: of one bracket.

    Returns:
        A share in (0, 1], 1 for all other frames.
    """
    if any(frame.bit_depth != 16 for frame in frames):
        return 1.0
    largest = max(int(frame.pixels.max()) for frame in frames)
    if largest not in _SMALL_MAXIMA:
        return 1.0
    often = max(int((frame.pixels == largest).sum()) for frame in frames)
    return largest / 65535.0 if often >= _LEAST_OFTEN else 1.0


def _channel(samples: Sequence[FloatImage], stops: Sequence[float]) -> float | None:
    """White of one channel, 1 where the format's own is in use, None where nothing tells."""
    if any(map(_reaches_full, samples)):
        return 1.0
    piles = [_pile(sample) for sample in samples]
    order = np.argsort(stops)
    for bright in order[::-1]:
        pile = piles[bright]
        if pile is None:
            continue
        for other in order:
            apart = abs(stops[bright] - stops[other])
            again = piles[other]
            if again is not None and apart > _DIFFERENT and abs(again - pile) < _SAME:
                return pile
        darker = [k for k in order if stops[bright] - stops[k] > _DIFFERENT]
        if darker and _hides(samples[bright], samples[darker[-1]], pile):
            return pile
    return None


def _reaches_full(sample: FloatImage) -> bool:
    full = _share(sample >= _FULL)
    low, high = _OVERSHOOT
    below = _share((sample >= low) & (sample < high))
    return full > _LEAST_FULL and full > _ABOVE_OVERSHOOT * below


def _pile(sample: FloatImage) -> float | None:
    """The code at which a channel of a frame piles up near its top, if it does."""
    counts, edges = np.histogram(sample, _BINS, (0.0, 1.0))
    shares = counts / len(sample)
    total = np.concatenate([[0.0], np.cumsum(shares)])

    def within(low: float, high: float) -> float:
        ends = np.clip([low * _BINS, high * _BINS], 0, _BINS)
        return float(np.diff(np.interp(ends, np.arange(_BINS + 1), total))[0])

    centres = (edges[:-1] + edges[1:]) / 2
    here = (centres > _LOWEST) & (shares > 0)
    if not here.any():
        return None
    piles = np.array(
        [within(c - _REACH, c + _REACH) if ok else 0.0 for c, ok in zip(centres, here, strict=True)]
    )
    at = float(centres[int(piles.argmax())])
    pile = float(piles.max())
    below = within(at - 7 * _REACH, at - 3 * _REACH) / 2.0
    above = within(at + _REACH, 1.0)
    if pile < _LEAST_PILE or pile < _STANDS_OUT * below or above > _MOST_ABOVE * pile:
        return None
    near = sample[np.abs(sample - at) <= _REACH]
    return float(np.median(near))


def _hides(bright: FloatImage, dark: FloatImage, pile: float) -> bool:
    """Whether a darker frame shows many levels where the bright one shows but one."""
    low, high = np.quantile(dark[np.abs(bright - pile) <= _REACH], [0.1, 0.9])
    return float(high - low) > _MANY_LEVELS
