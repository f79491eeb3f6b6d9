"""What a merging network sees of a pixel."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from dfghdr_cli.core.clipping import CLIPPED_CODE
from dfghdr_cli.core.encoding import GAMMA, LEAST_CODE, mu_law
from dfghdr_cli.core.worth import AT_BLACK, AT_WHITE, BLACK, DARK, WHITE
from dfghdr_cli.nets.candidates import ALL, Candidates
from dfghdr_cli.nets.weights import LOG_UNUSABLE, log_prior, smoothstep, whiteness

FEATURES = 13
"""Channels of `features`."""
NEARLY_WHITE = (0.9, 1.0)
"""Codes between which the largest channel is shown as a feature of its own."""


def code_tolerance(stack: Candidates, which: slice = ALL) -> Tensor:
    """How far off each code may be, (B, K, 3, H, W)."""
    at_black, at_white = (
        stack.tolerance[:, which, :, column, None, None] for column in (AT_BLACK, AT_WHITE)
    )
    dark = smoothstep(stack.code[:, which], stack.limit(BLACK, which), stack.limit(DARK, which))
    return (1.0 - dark) * at_black + whiteness(stack, which) * at_white


def equal_exposure_difference(stack: Candidates, which: slice = ALL) -> Tensor:
    """(B, K, 3, H, W) in [-1, 1]: candidate minus reference as gamma codes at one exposure.

    Both are brought to the exposure of the brighter one, whose white clips them alike. Beside
    a clipped reference a candidate is `white_tolerance` brighter: so much it may be darker.
    What both codes may be off by is no difference, nor what the whole bracket is.
    """
    # Codes of other exposures without going through radiance: (x**2.2 * g)**(1 / 2.2).
    stops = stack.stops[:, which, None, None, None]
    ratio = stops.clamp_min(0.0)
    of_reference, of_own = torch.exp2(ratio / GAMMA), torch.exp2((ratio - stops) / GAMMA)
    reference, own = stack.code[:, :1] * of_reference, stack.code[:, which] * of_own
    if stack.white_tolerance > 0.0:
        clipped = stack.code[:, :1] >= stack.limit(WHITE, slice(0, 1))
        own = torch.where(clipped, own * 2.0 ** (stack.white_tolerance / GAMMA), own)
    whites = (stack.limit(WHITE, which), stack.limit(WHITE, slice(0, 1)))
    top = torch.where(stops > 0, *whites).div(CLIPPED_CODE)
    reference, own = (x.clamp_min(LEAST_CODE).minimum(top) for x in (reference, own))
    difference = own - reference
    # To look at a tensor makes a GPU wait, and cannot be exported.
    may_look = stack.code.device.type == "cpu" and not torch.compiler.is_exporting()
    if may_look and not stack.misfit and not stack.tolerance.any():
        return difference
    allowed = (
        code_tolerance(stack, slice(0, 1)) * of_reference + code_tolerance(stack, which) * of_own
    )
    if stack.misfit:
        allowed = allowed + (2.0 ** (stack.misfit / GAMMA) - 1.0) * torch.minimum(reference, own)
    return difference - difference.maximum(-allowed).minimum(allowed)


def phases(stack: Candidates) -> Candidates:
    """The same at half the size, one below the other: (..., H, W) to (..., 4 * H / 2, W / 2).

    As `torch.nn.functional.pixel_unshuffle` orders them, so that what is computed pixel by
    pixel is the same as before, and C channels (..., C, 4 * H / 2, W / 2) are seen as
    (..., 4 * C, H / 2, W / 2).
    """

    def split(x: Tensor) -> Tensor:
        return F.pixel_unshuffle(x.flatten(0, 1), 2).reshape(*x.shape[:3], -1, x.shape[-1] // 2)

    return replace(stack, code=split(stack.code), trust=split(stack.trust))


def features(stack: Candidates, which: slice = ALL) -> list[Tensor]:
    """What a merging network should see of every pixel: (B, K, c, H, W) with 13 channels c."""
    code, radiance = stack.code[:, which], stack.radiance(which)
    difference = equal_exposure_difference(stack, which)
    reference_white = smoothstep(stack.code[:, :1].amax(2, keepdim=True), *NEARLY_WHITE)
    return [
        code,
        mu_law(radiance),
        difference,
        difference.abs().mean(2, keepdim=True),
        log_prior(stack, which, radiance).clamp_min(LOG_UNUSABLE) / -LOG_UNUSABLE,
        smoothstep(code.amax(2, keepdim=True), *NEARLY_WHITE),
        reference_white.expand(-1, code.shape[1], -1, -1, -1),
    ]
