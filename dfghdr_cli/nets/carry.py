"""Carrying out a decision on full-size pixels: as `dfgmerge.compose`, but ten times faster.

A large photograph is merged tile by tile on the CPU, where PyTorch's small steps over a stack of
candidates would take longer than the network. This is the same arithmetic, one candidate after the
other, on planes that stay in the processor's cache, and on powers and exponentials instead of their
logarithms. A test holds the two to be equal.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch

from dfghdr_cli.core.radiance import (
    CLIPPED_CODE,
    CLIPPED_WEIGHT,
    CLIPPING_STARTS,
    GAMMA,
    LEAST_WEIGHT,
)
from dfghdr_cli.core.tonemap import inverse_mu_law, mu_law
from dfghdr_cli.core.types import FloatImage
from dfghdr_cli.nets.candidates import (
    LOG_INVALID,
    LOG_SMOOTHED,
    UNKNOWN_CODE,
    UNKNOWN_STARTS,
    UNKNOWN_STAYS,
    Candidates,
    Hypothesis,
)
from dfghdr_cli.nets.dfgmerge import Decision, Merge

_INVALID = np.float32(math.exp(LOG_INVALID))
_SMOOTHED = np.float32(math.exp(LOG_SMOOTHED))
_NOTHING = np.float32(1e-9)


def _ramp(x: FloatImage, low: float, high: float) -> FloatImage:
    """`candidates.smoothstep`."""
    return np.clip((x - np.float32(low)) * np.float32(1.0 / (high - low)), 0.0, 1.0)


def _largest(planes: FloatImage) -> FloatImage:
    return np.maximum(np.maximum(planes[0], planes[1]), planes[2])


def _smallest(planes: FloatImage) -> FloatImage:
    return np.minimum(np.minimum(planes[0], planes[1]), planes[2])


def carry_out(candidates: Candidates, decision: Decision) -> Merge:
    """Carry out a decision on candidates of the same size.

    Args:
        candidates: one bracket (B = 1), or a tile of it, on the CPU.
        decision: for the same pixels.

    Returns:
        What `compose` returns, up to rounding.
    """
    codes = candidates.code[0].numpy()
    trusts = candidates.trust[0, :, 0].numpy()
    logits = decision.logits[0, :, 0].numpy()
    gains = torch.exp2(-candidates.stops[0]).tolist()
    peak, least = float(candidates.peak[0]), 2.0**-candidates.slack
    roles = zip(candidates.is_darkest(), candidates.is_brightest(), strict=True)

    brightest = _largest(codes[0])
    glare = float(brightest.max()) > CLIPPING_STARTS  # else nothing of the reference is clipped
    white = _ramp(codes[0], CLIPPING_STARTS, CLIPPED_CODE) if glare else None
    highest = logits.max(0)
    weights = np.empty_like(logits)
    # What candidates see, and what they only seem to.
    total, blind = np.zeros_like(brightest), np.zeros_like(brightest)
    merged, glow = np.zeros_like(codes[0]), np.zeros_like(codes[0])
    unseen: dict[int, FloatImage] = {}
    for k, (is_darkest, is_brightest) in enumerate(roles):
        code, weight = codes[k], weights[k]
        low, high = _smallest(code), _largest(code)
        radiance = np.asarray(cv2.pow(code, GAMMA), np.float32)
        radiance *= np.float32(gains[k])
        trust, seen = np.ones_like(high), (trusts[k] > 0).astype(np.float32)
        if not is_darkest:
            trust -= _ramp(high, CLIPPING_STARTS, CLIPPED_CODE)
            seen *= 1.0 - _ramp(high, UNKNOWN_CODE, CLIPPED_CODE)
        # A frame cannot contradict itself.
        if white is not None and candidates.frames[k] != candidates.frames[0]:
            darker = white * (1.0 - _ramp(radiance, 0.6 * least, 0.9 * least))
            agrees = 1.0 - _largest(np.asarray(darker, np.float32))
            trust *= agrees
            seen *= agrees
        trust *= trusts[k]
        np.subtract(1.0, high, out=weight)
        if is_darkest:
            weight.fill(0.5)
        if not is_brightest:
            np.minimum(weight, low, out=weight)
        weight *= 2.0
        np.clip(weight, LEAST_WEIGHT, 1.0, out=weight)
        weight *= np.maximum(trust, _NOTHING)
        np.maximum(weight, CLIPPED_WEIGHT, out=weight)
        if candidates.hypotheses[k] is Hypothesis.SMOOTHED:
            weight *= _SMOOTHED
        np.copyto(weight, _INVALID, where=trusts[k] <= 0)
        weight *= np.exp(logits[k] - highest)
        if float(seen.min()) < 1.0:
            unseen[k] = 1.0 - seen
            dim = unseen[k] * weight
            blind += dim
            glow += radiance * dim
            total += weight - dim
            merged += radiance * (weight - dim)
        else:
            total += weight
            radiance *= weight
            merged += radiance
    if unseen:
        share = np.asarray(blind / np.maximum(total + blind, np.finfo(np.float32).tiny), np.float32)
        stay = _ramp(share, UNKNOWN_STARTS, UNKNOWN_STAYS)
        total += stay * blind
        merged += stay * glow
        for k, part in unseen.items():
            weights[k] *= 1.0 - part * (1.0 - stay)
    np.maximum(total, np.finfo(np.float32).tiny, out=total)
    np.divide(1.0, total, out=total)
    weights *= total
    merged *= total * np.float32(1.0 / peak)
    radiance = merged
    if glare:
        floor = np.float32(CLIPPED_CODE**GAMMA * least / peak)
        np.maximum(merged, floor, out=merged, where=codes[0] >= CLIPPED_CODE)
        unknown = _ramp(brightest, UNKNOWN_CODE, CLIPPED_CODE)
        share = np.zeros_like(total)
        for k, part in unseen.items():
            share += part * weights[k]
        unknown *= _ramp(share, UNKNOWN_STARTS, 1.0)
        here = unknown > 0
        if here.any():
            toned = (
                mu_law(merged[:, here]) + unknown[here] * decision.correction[0].numpy()[:, here]
            )
            radiance = merged.copy()
            radiance[:, here] = inverse_mu_law(np.clip(toned, 0.0, 1.0))
    return Merge(
        torch.from_numpy(weights)[None, :, None],
        torch.from_numpy(merged)[None],
        torch.from_numpy(radiance)[None],
    )
