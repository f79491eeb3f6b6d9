"""The classic merge: a weighted mean of the aligned frames.

The weights are the triangle (hat) of Debevec & Malik 1997, "Recovering high dynamic range radiance
maps from photographs", over the gamma code instead of the raw one, opened at the ends of the
bracket: nothing else sees the highlights of the darkest frame or the shadows of the brightest. What
codes near either end of a frame's curve are worth `core.worth` tells.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dfghdr_cli.core.clipping import CLIPPING_STARTS, any_channel, largest_channel, white_everywhere
from dfghdr_cli.core.encoding import GAMMA, decode
from dfghdr_cli.core.registration.aligned import AlignedBracket, Flows
from dfghdr_cli.core.tiles import Tile, for_every_tile
from dfghdr_cli.core.types import (
    FloatImage,
    Mask,
    MergeResult,
    RadianceImage,
    is_brightest,
    is_darkest,
)
from dfghdr_cli.core.worth import CLEAN, SHOULDER, WHITE, Worth, darkness, is_white, ramp, whiteness

LEAST_WEIGHT = 0.001
"""Weight of the least usable pixel of the reference that is not clipped."""
LEAST_WEIGHTS = (1e-5, 0.05)
"""The same of much darker and much brighter frames."""
CLIPPED_WEIGHT = float(np.exp(-12.0))
"""Weight of a clipped pixel: it only counts where no other frame has anything to say."""
CONTRADICTS = (0.6, 0.9)
"""Share of a clipped reference's white that is seen: up to the first it is something else, from the
second on it agrees."""


def least_weight(stops: float) -> float:
    """Weight of the least usable pixel of a frame that is not clipped.

    Of frames that are all too dark in some channel the brighter one measures more: an error of its
    codes, whatever it comes from, is one of radiance by 2**-stops, so its variance by 4**-stops.

    Args:
        stops: exposure relative to the reference [stops].
    """
    low, high = LEAST_WEIGHTS
    return min(max(LEAST_WEIGHT * 4.0 ** float(stops), low), high)


def classic_weights(
    code: FloatImage,
    is_darkest: bool,
    is_brightest: bool,
    worth: Worth = CLEAN,
    least: float = LEAST_WEIGHT,
) -> FloatImage:
    """How much each pixel of one frame counts in the classic merge.

    The triangle 2 * min(x, 1 - x) of the code x, but not less than `least`; the darkest frame keeps
    1 above 0.5 and the brightest below 0.5; the smallest of the channels counts for all. Except in
    the brightest frame a pixel with a channel between dark and black counts less and less, and,
    except in the darkest, one with a channel between shoulder and white; a clipped one weighs
    exp(-12).

    Args:
        code: (H, W, 3) gamma codes in [0, 1], 1 = the frame's white.
        is_darkest: whether no frame of the bracket is darker.
        is_brightest: whether no frame of the bracket is brighter.
        worth: of the frame's codes.
        least: what a pixel weighs at least that is not clipped, see `least_weight`.

    Returns:
        (H, W) float32 in [exp(-12), 1].
    """
    lowest, highest = code.min(axis=2), largest_channel(code)
    rising = np.ones_like(lowest)
    if not is_brightest:
        rising = 2.0 * lowest * (1.0 - darkness(code, worth))
    falling = np.ones_like(highest) if is_darkest else 2.0 * (1.0 - highest)
    weight = np.clip(np.minimum(rising, falling), least, 1.0)
    if not is_darkest:
        weight = np.maximum(weight * (1.0 - whiteness(code, worth)), CLIPPED_WEIGHT)
    return weight.astype(np.float32, copy=False)


def classic_merge(
    codes: Sequence[FloatImage],
    valid: Sequence[Mask | FloatImage],
    stops: Sequence[float],
    worths: Sequence[Worth] | None = None,
    tolerance: float = 0.0,
) -> tuple[FloatImage, FloatImage]:
    """Mean of the frames' radiance under the classic weights, pixel by pixel.

    Where the reference is clipped the scene is known to be at least as bright as its white, so a
    pixel that is plainly darker (`CONTRADICTS`) is raised to it, as a whole so that its hue stays.

    Args:
        codes: N aligned frames (H, W, 3), gamma codes in [0, 1], 1 = the frame's own white.
        valid: N arrays (H, W), bool or float32 in [0, 1]: 0 where a warped frame has no data, and
            how far it can be trusted elsewhere (`align.warp_with_trust`).
        stops: exposure of each frame relative to the reference [stops], + = brighter; the
            reference is the frame nearest to 0.
        worths: of each frame's codes; None counts them as clean.
        tolerance: how much darker than the white of a clipped reference the scene may be all the
            same [stops], because exposures are not quite right.

    Returns:
        radiance: (H, W, 3) float32 >= 0, 1 = the reference's white; 0 where no frame is valid.
        weights: (N, H, W) float32, each frame's share, summing to 1 (or 0 where none is valid).
    """
    worths = [CLEAN] * len(codes) if worths is None else worths
    weights = np.stack(
        [
            trust
            * classic_weights(
                code,
                is_darkest(stops, k),
                is_brightest(stops, k),
                worths[k],
                least_weight(stops[k]),
            )
            for k, (code, trust) in enumerate(zip(codes, valid, strict=True))
        ]
    ).astype(np.float32, copy=False)
    weights /= np.maximum(weights.sum(axis=0), np.finfo(np.float32).tiny)
    radiance = np.zeros(codes[0].shape, np.float32)
    for code, weight, stop in zip(codes, weights, stops, strict=True):
        radiance += (weight * np.float32(2.0**-stop))[..., None] * decode(code)
    k = min(range(len(stops)), key=lambda k: abs(stops[k]))
    clipped = is_white(codes[k], worths[k]) & (np.asarray(valid[k]) > 0)[..., None]
    here = clipped.any(axis=2)
    if here.any():
        limits, scale = worths[k].limits, 2.0 ** (-stops[k] - tolerance)
        least = (limits[:, SHOULDER] / CLIPPING_STARTS) ** GAMMA * scale
        white = np.where(clipped[here], limits[:, WHITE] ** GAMMA * scale, 0.0)
        seen = np.maximum(radiance[here], np.finfo(np.float32).tiny)
        room = 2.0 ** -min(stops) / seen.max(
            axis=1
        )  # no channel beyond what the bracket can record
        lacks = np.maximum(np.minimum((white / seen).max(axis=1), room), 1.0)
        agrees = np.where(clipped[here], ramp(seen / least, *CONTRADICTS), 1.0).min(axis=1)
        raised = seen * (1.0 + (1.0 - agrees) * (lacks - 1.0))[:, None]
        radiance[here] = raised.astype(np.float32)
    return radiance, weights


def merge_classic(aligned: AlignedBracket, flows: Flows, *, weights: bool = True) -> MergeResult:
    """`classic_merge` of a bracket, tile by tile on all cores.

    Args:
        aligned: the bracket.
        flows: how things moved beside its alignments.
        weights: whether the result tells how much of each frame is in each pixel.
    """
    coded = aligned.coded
    height, width = aligned.size
    worths = [frame.worth for frame in coded.frames]
    radiance = np.empty((height, width, 3), np.float32)
    kept = np.empty((len(coded.frames), height, width), np.float32) if weights else None
    clipped = np.empty((height, width), np.bool_)

    def one(tile: Tile) -> None:
        here = tile.rows, tile.columns
        pairs = [aligned.warped(frame, *here, flow=flow) for frame, flow in enumerate(flows)]
        codes, trusts = zip(*pairs, strict=True)
        radiance[here], shares = classic_merge(
            codes, trusts, coded.stops, worths, coded.white_tolerance
        )
        if kept is not None:
            kept[:, *here] = shares
        clipped[here] = white_everywhere(
            (any_channel(is_white(code, worth)), trust)
            for code, trust, worth in zip(codes, trusts, worths, strict=True)
        )

    for_every_tile(one, aligned.size)
    return MergeResult(RadianceImage(radiance, coded.peak), kept, clipped)
