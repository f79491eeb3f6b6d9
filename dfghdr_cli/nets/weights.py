"""The rules by which candidates count in a merge, and all their numbers.

Functions of `Candidates`, with gradients; `nets.compose_tiles` follows the same rules on the planes
of large pictures. Those of the classic merge are in `core.classic`, and what codes are worth
`core.worth` tells.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dfghdr_cli.core.classic import CLIPPED_WEIGHT, CONTRADICTS, LEAST_WEIGHT, LEAST_WEIGHTS
from dfghdr_cli.core.clipping import CLIPPING_STARTS
from dfghdr_cli.core.encoding import LEAST_LINEAR, decode_tensor
from dfghdr_cli.core.worth import BLACK, DARK, SHOULDER, WHITE
from dfghdr_cli.nets.candidates import ALL, Candidates, Hypothesis

LOG_UNUSABLE = math.log(CLIPPED_WEIGHT)
"""Log-weight of a pixel that tells nothing."""
LOG_INVALID = -40.0
"""Log-weight outside a warped frame."""
LOG_SMOOTHED = -8.0
"""Log of the smoothed reference's weight against that of the reference itself: noise-free brackets
must merge to the truth, too (docs/notes/experiments.md, Noise)."""
LEAST_LOGIT = -40.0
"""The lowest logit beside the highest of a pixel. Where that candidate is left out, others count,
so their weights must be numbers in single precision."""
UNKNOWN_STARTS = 0.15
"""Share of clipped candidates in a merge up to which it is taken for what the others saw
(docs/notes/experiments.md, Highlights)."""
UNKNOWN_STAYS = 0.3
"""Share from which on they count in full; between the two ever more, and below not at all."""
UNKNOWN_PART = 0.875
"""Codes beyond this part of the way from shoulder to white are no measurement (0.988 where trust
falls from 0.96 to 0.992). A code weighs less from the shoulder on, in case another frame sees the
same; but up to here it is a measurement, to which nothing may be added."""
MEASURES_LEAST = 0.3
"""What a code that measures nothing counts as: with less, networks that were trained on clean codes
let a brighter frame shine through dark things that moved
(docs/notes/experiments.md, Both ends of a curve)."""
MORE = (1.25, 1.875)
"""How many times the light of an unclipped channel of the reference another frame shows: up to the
first the two agree, a third of a stop, as `CONTRADICTS` allows downwards; from the second on they
do not (docs/notes/experiments.md, Both ends of a curve)."""
_TINY = torch.finfo(torch.float32).tiny


def smoothstep(x: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    """0 up to `low`, 1 from `high` on, a straight ramp between."""
    return (x - low).div_(high - low).clamp_(0.0, 1.0)


def whiteness(stack: Candidates, which: slice = ALL, *, unknown: bool = False) -> Tensor:
    """How far each channel is clipped, (B, K, 3, H, W): 0 up to the shoulder, 1 from white on.

    Args:
        stack: the brackets.
        which: of the candidates.
        unknown: whether it stays 0 as long as a code says anything, see `UNKNOWN_PART`.
    """
    shoulder, white = stack.limit(SHOULDER, which), stack.limit(WHITE, which)
    if unknown:
        shoulder = torch.lerp(shoulder, white, UNKNOWN_PART)
    return smoothstep(stack.code[:, which], shoulder, white)


def contradiction(stack: Candidates, which: slice = ALL, radiance: Tensor | None = None) -> Tensor:
    """How surely a candidate shows something else than a clipped reference: (B, K, 1, H, W).

    Where the reference is clipped the scene is at least as bright as its white, and in its
    shoulder as where that starts; a candidate that is plainly darker there (`CONTRADICTS`, less
    `white_tolerance`) saw another object. 0 = agrees or cannot be told, 1 = contradicts.

    Args:
        stack: the brackets.
        which: of the candidates.
        radiance: theirs, if it is there already.
    """
    clipped = whiteness(stack, slice(0, 1))
    return (clipped * (1.0 - _reaches_white(stack, which, radiance))).amax(2, keepdim=True)


def _reaches_white(stack: Candidates, which: slice = ALL, radiance: Tensor | None = None) -> Tensor:
    """How far each channel shows as much light as a clipped reference's: (B, K, 3, H, W)."""
    if radiance is None:
        radiance = stack.radiance(which)
    return smoothstep(radiance / _least_white(stack), *CONTRADICTS)


def _least_white(stack: Candidates) -> Tensor:
    """What a clipped channel of the reference shows at least, (B, 1, 3, 1, 1) as radiance."""
    shoulder = stack.limit(SHOULDER, slice(0, 1)) / CLIPPING_STARTS
    white = 2.0**-stack.white_tolerance / stack.peak[:, None, None, None, None]
    return decode_tensor(shoulder) * white


def overrules(stack: Candidates) -> Tensor:
    """How far a darker frame decides because the reference is clipped: (B, 1, H, W) in [0, 1].

    A pixel with a clipped channel has no colour of its own, so a darker, well exposed frame
    that shows as much light in every channel is right, or more as far as the frames' curves
    disagree (`white_tolerance`): that is no motion.
    """
    reference = whiteness(stack, slice(0, 1)).amax(2, keepdim=True)
    first = stack.frames[0]
    darker = [k for k, frame in enumerate(stack.frames) if frame < first]
    here = stack.code.device.type != "cpu" or bool((reference > 0).any())
    if not (darker and here):
        return torch.zeros_like(reference[:, 0])
    others = stack.only([0, *darker])
    radiance = others.radiance()
    own = radiance[:, 1:] / radiance[:, :1].clamp_min(1e-9)
    low, high = (bound * 2.0**stack.white_tolerance for bound in MORE)
    as_much = smoothstep(own, *CONTRADICTS) * (1.0 - smoothstep(own, low, high))
    as_much = torch.maximum(as_much, whiteness(others, slice(0, 1)))
    as_much = torch.minimum(as_much, 1.0 - contradiction(others, slice(1, None), radiance[:, 1:]))
    exposed = usable(others, slice(1, None), unknown=True) * (others.trust[:, 1:] > 0)
    return (reference * as_much.amin(2, keepdim=True) * exposed).amax(1)


def usable(stack: Candidates, which: slice = ALL, *, unknown: bool = False) -> Tensor:
    """How far a candidate's pixel is exposed: (B, K, 1, H, W), 0 = clipped, 1 = not.

    White of the darkest frame is usable, for want of anything better. Arguments as of
    `whiteness`.
    """
    usable = 1.0 - whiteness(stack, which, unknown=unknown).amax(2, keepdim=True)
    darkest = torch.tensor(stack.is_darkest(which), device=stack.code.device)
    return torch.where(darkest[None, :, None, None, None], torch.ones_like(usable), usable)


def measured(stack: Candidates, which: slice = ALL) -> Tensor:
    """How far the darkest channel is above what codes can tell: (B, K, 1, H, W), up to 1."""
    black, dark = stack.limit(BLACK, which), stack.limit(DARK, which)
    least = smoothstep(stack.code[:, which], black, dark).amin(2, keepdim=True)
    return MEASURES_LEAST + (1.0 - MEASURES_LEAST) * least


def log_prior(stack: Candidates, which: slice = ALL, radiance: Tensor | None = None) -> Tensor:
    """Log of the classic weights, (B, K, 1, H, W): where the networks start from.

    A triangle over the code (its worst channel counts; the darkest frame stays at 1 above the
    middle and the brightest below it), less where dark codes measure little, times the
    resampling's trust, next to nothing where a frame is clipped or contradicts a clipped
    reference, and nothing outside a warped frame. The smoothed reference has little of it.
    Arguments as of `contradiction`.
    """
    code, trust = stack.code[:, which], stack.trust[:, which]
    up = 2.0 * code.amin(2, keepdim=True) * measured(stack, which)
    down = 2.0 * (1.0 - code.amax(2, keepdim=True))
    shape = (1, -1, 1, 1, 1)
    darkest = torch.tensor(stack.is_darkest(which), device=code.device).view(shape)
    brightest = torch.tensor(stack.is_brightest(which), device=code.device).view(shape)
    up = torch.where(brightest, torch.ones_like(up), up)
    down = torch.where(darkest, torch.ones_like(down), down)
    triangle = torch.minimum(up, down).clamp(max=1.0)
    low, high = (math.log(bound) for bound in LEAST_WEIGHTS)
    least = (math.log(LEAST_WEIGHT) + math.log(4.0) * stack.stops[:, which]).clamp(low, high)
    log_weight = triangle.clamp_min(1e-9).log().maximum(least[..., None, None, None])
    counts = usable(stack, which) * (1.0 - contradiction(stack, which, radiance)) * trust
    log_weight = (log_weight + counts.clamp_min(1e-9).log()).clamp_min(LOG_UNUSABLE)
    smoothed = [h is Hypothesis.SMOOTHED for h in stack.hypotheses[which]]
    log_weight = log_weight + LOG_SMOOTHED * log_weight.new_tensor(smoothed).view(shape)
    return torch.where(trust > 0, log_weight, torch.full_like(log_weight, LOG_INVALID))


def seen(stack: Candidates, overruled: Tensor | None = None) -> Tensor:
    """How far a candidate shows what the reference shows, not clipped: (B, K, 1, H, W).

    Args:
        stack: the brackets.
        overruled: `overrules`, if it is there already.
    """
    seen = usable(stack, unknown=True) * (1.0 - contradiction(stack)) * (stack.trust > 0)
    same = torch.tensor([f == stack.frames[0] for f in stack.frames], device=seen.device)
    overruled = overrules(stack) if overruled is None else overruled
    return seen * (1.0 - same.view(1, -1, 1, 1, 1) * overruled[:, None])


def without_clipped(stack: Candidates, weights: Tensor, seen: Tensor, overruled: Tensor) -> Tensor:
    """Weights (B, K, 1, H, W) of a merge without clipped candidates that count for little.

    A network never gives them exactly nothing, and a thousandth of a clipped white beside a
    lamp is a visible error of the lamp. Where they make up more than a little, the network
    means it: frames seem usable there but show another thing. Where a darker frame `overrules`
    the reference they do not count at all.

    Args:
        stack: the brackets.
        weights: of the merge.
        seen: `seen`, of the same shape.
        overruled: `overrules`.
    """
    share = (weights * (1.0 - seen)).sum(1, keepdim=True)
    stay = smoothstep(share, UNKNOWN_STARTS, UNKNOWN_STAYS)
    stay = stay * (1.0 - overruled[:, None])
    weights = weights * (seen + (1.0 - seen) * stay)
    return weights / weights.sum(1, keepdim=True).clamp_min(_TINY)


def unknown(stack: Candidates, weights: Tensor, seen: Tensor) -> Tensor:
    """How far a merge shows nothing that a frame saw: (B, 1, H, W) in [0, 1].

    The share of clipped and contradicting candidates in the merge, where the reference is
    clipped. That is all of it where no frame is usable, and also where frames seem usable but
    the network gives them no weight: they show another thing. Only there may a network add
    something of its own; where usable frames make up the merge, their radiance stays.

    Arguments as of `without_clipped`.
    """
    clipped = whiteness(stack, slice(0, 1), unknown=True).amax(2)
    return clipped * smoothstep((weights * (1.0 - seen)).sum(1), UNKNOWN_STARTS, 1.0)


def raised(stack: Candidates, merged: Tensor, weights: Tensor, seen: Tensor) -> Tensor:
    """A merge that is nowhere darker than a clipped reference, less `white_tolerance`.

    A pixel is raised as a whole, so that its hue stays, and not where well exposed frames that
    agree with the reference make it up.

    Args:
        stack: the brackets.
        merged: (B, 3, H, W) in network space.
        weights: its weights (B, K, 1, H, W).
        seen: `seen`, of the same shape.
    """
    white = stack.limit(WHITE, slice(0, 1))
    floor = (
        decode_tensor(white) * 2.0**-stack.white_tolerance / stack.peak[:, None, None, None, None]
    )
    least = torch.where(stack.code[:, :1] >= white, floor, torch.zeros_like(floor))[:, 0]
    lacks = (least / merged.clamp_min(LEAST_LINEAR)).amax(1, keepdim=True)
    # No channel beyond what the bracket can record.
    room = 1.0 / merged.amax(1, keepdim=True).clamp_min(LEAST_LINEAR)
    lacks = lacks.minimum(room).clamp_min(1.0)
    blind = (weights * (1.0 - seen)).sum(1)
    there = smoothstep(blind, UNKNOWN_STARTS, UNKNOWN_STAYS)
    return merged * torch.lerp(torch.ones_like(lacks), lacks, there)
