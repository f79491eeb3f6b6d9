"""Carrying out a decision on full-size pixels: as `nets.compose`, but ten times faster.

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

from dfghdr_cli.core.classic import CLIPPED_WEIGHT, CONTRADICTS, least_weight
from dfghdr_cli.core.clipping import CLIPPING_STARTS
from dfghdr_cli.core.encoding import GAMMA, LEAST_LINEAR, inverse_mu_law, mu_law
from dfghdr_cli.core.types import FloatImage
from dfghdr_cli.core.worth import BLACK, DARK, SHOULDER, WHITE, Limits, ramp
from dfghdr_cli.nets.candidates import Candidates, Hypothesis
from dfghdr_cli.nets.compose import Decision, Merge
from dfghdr_cli.nets.weights import (
    LEAST_LOGIT,
    LOG_INVALID,
    LOG_SMOOTHED,
    MEASURES_LEAST,
    MORE,
    UNKNOWN_PART,
    UNKNOWN_STARTS,
    UNKNOWN_STAYS,
)

_INVALID = np.float32(math.exp(LOG_INVALID))
_SMOOTHED = np.float32(math.exp(LOG_SMOOTHED))
_NOTHING = np.float32(1e-9)
"""Least trust, so that weights stay above zero."""
_TINY = np.finfo(np.float32).tiny


def _largest(planes: FloatImage) -> FloatImage:
    return np.maximum(np.maximum(planes[0], planes[1]), planes[2])


def _smallest(planes: FloatImage) -> FloatImage:
    return np.minimum(np.minimum(planes[0], planes[1]), planes[2])


def _ramps(code: FloatImage, limits: Limits, low: int, high: int) -> FloatImage:
    """`core.worth.ramp` of each channel, (3, H, W), between two of its limits."""
    return np.stack([ramp(code[c], limits[c, low], limits[c, high]) for c in range(3)])


def _whiteness(code: FloatImage, high: FloatImage, limits: Limits) -> FloatImage:
    """`weights.whiteness` of the whitest channel (H, W); `high` is the largest code."""
    if (limits == limits[0]).all():
        return ramp(high, limits[0, SHOULDER], limits[0, WHITE])
    return _largest(_ramps(code, limits, SHOULDER, WHITE))


def _measured(code: FloatImage, low: FloatImage, limits: Limits) -> FloatImage:
    """`weights.measured` (H, W); `low` is the smallest code."""
    if (limits == limits[0]).all():
        least = ramp(low, limits[0, BLACK], limits[0, DARK])
    else:
        least = _smallest(_ramps(code, limits, BLACK, DARK))
    return np.asarray(MEASURES_LEAST + (1.0 - MEASURES_LEAST) * least, np.float32)


def _linear(code: FloatImage) -> FloatImage:
    """Light of gamma codes (3, H, W)."""
    light = np.asarray(cv2.pow(code, GAMMA), np.float32)
    return light.reshape(code.shape)  # without its last side where that is 1


class _White:
    """Where the reference of a tile is clipped, and what other frames say about it.

    Attributes:
        most: (H, W), how far its whitest channel is clipped.
        overruled: (H, W), `weights.overrules` as far as it has been gathered.
    """

    def __init__(self, candidates: Candidates, code: FloatImage, limits: Limits) -> None:
        peak, tolerance = float(candidates.peak[0]), candidates.white_tolerance
        self.channels = _ramps(code, limits, SHOULDER, WHITE)
        self.most = _largest(self.channels)
        self.is_white = code >= limits[:, WHITE, None, None]
        self.floor = limits[:, WHITE] ** GAMMA * np.float32(2.0**-tolerance / peak)
        least = (limits[:, SHOULDER] / CLIPPING_STARTS) ** GAMMA * 2.0**-tolerance
        self.least = np.asarray(least, np.float32)
        self.radiance = np.maximum(_linear(code), 1e-9 * peak)
        self.more = [bound * 2.0**tolerance for bound in MORE]
        self.overruled = np.zeros_like(self.most)

    def agrees(self, radiance: FloatImage) -> FloatImage:
        """One less `weights.contradiction`: (3, H, W) of radiance, the reference's white 1."""
        reaches = np.stack([ramp(radiance[c] / self.least[c], *CONTRADICTS) for c in range(3)])
        return np.asarray(1.0 - self.channels * (1.0 - reaches), np.float32)

    def gather(self, radiance: FloatImage, agrees: FloatImage, exposed: FloatImage) -> None:
        """What a darker frame adds to `overruled`; `exposed` (H, W) is how far it is seen."""
        ratio = np.asarray(radiance / self.radiance, np.float32)
        as_much = ramp(ratio, *CONTRADICTS) * (1.0 - ramp(ratio, *self.more))
        as_much = np.maximum(as_much, self.channels)
        here = np.minimum(_smallest(as_much), agrees) * self.most * exposed
        np.maximum(self.overruled, here, out=self.overruled)


class _Sums:
    """What candidates add up to, what they see apart from what they only seem to.

    Attributes:
        total: (H, W), the weights of what is seen.
        blind: (H, W), of what is not.
        merged: (3, H, W), radiance times weight of what is seen.
        glow: (3, H, W), of what is not.
        unseen: by candidate, how far it is not seen (H, W); only where it is not everywhere.
    """

    def __init__(self, code: FloatImage) -> None:
        self.total, self.blind = np.zeros_like(code[0]), np.zeros_like(code[0])
        self.merged, self.glow = np.zeros_like(code), np.zeros_like(code)
        self.unseen: dict[int, FloatImage] = {}

    def add(self, k: int, radiance: FloatImage, weight: FloatImage, seen: FloatImage) -> None:
        """Add candidate `k`; its radiance is used up."""
        if float(seen.min()) < 1.0:
            self.unseen[k] = 1.0 - seen
            dim = self.unseen[k] * weight
            self.blind += dim
            self.glow += radiance * dim
            self.total += weight - dim
            self.merged += radiance * (weight - dim)
        else:
            self.total += weight
            radiance *= weight
            self.merged += radiance

    def without_clipped(self, weights: FloatImage, white: _White | None) -> None:
        """`weights.without_clipped`, of the sums and of the weights (K, H, W)."""
        if not self.unseen:
            return
        all_ = np.maximum(self.total + self.blind, _TINY)
        stay = ramp(np.asarray(self.blind / all_, np.float32), UNKNOWN_STARTS, UNKNOWN_STAYS)
        if white is not None:
            stay *= 1.0 - white.overruled
        self.total += stay * self.blind
        self.merged += stay * self.glow
        for k, part in self.unseen.items():
            weights[k] *= 1.0 - part * (1.0 - stay)


def compose_tile(candidates: Candidates, decision: Decision) -> Merge:
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
    limits = candidates.limits[0].numpy()
    peak = float(candidates.peak[0])

    most = _whiteness(codes[0], _largest(codes[0]), limits[0])
    # Else nothing of the reference is clipped.
    white = _White(candidates, codes[0], limits[0]) if float(most.max()) > 0.0 else None
    highest = logits.max(0)
    weights = np.empty_like(logits)
    sums = _Sums(codes[0])
    first = candidates.frames[0]
    # The reference comes last: others may overrule it.
    for k in sorted(range(len(codes)), key=lambda k: candidates.frames[k] == first):
        radiance = _linear(codes[k])
        radiance *= np.float32(2.0 ** -float(candidates.stops[0, k]))
        trust, seen = _trust_and_seen(candidates, k, radiance, most, white)
        trust *= trusts[k]
        _weigh(candidates, k, trust, weights[k])
        np.copyto(weights[k], _INVALID, where=trusts[k] <= 0)
        weights[k] *= np.exp(np.maximum(logits[k] - highest, LEAST_LOGIT))
        sums.add(k, radiance, weights[k], seen)
    sums.without_clipped(weights, white)
    total, merged = sums.total, sums.merged
    np.maximum(total, _TINY, out=total)
    np.divide(1.0, total, out=total)
    weights *= total
    merged *= total * np.float32(1.0 / peak)
    radiance = merged
    if white is not None:
        share = np.zeros_like(total)
        for k, part in sums.unseen.items():
            share += part * weights[k]
        _raise(merged, white, share)
        radiance = _corrected(merged, most, share, decision.correction[0].numpy())
    return Merge(
        torch.from_numpy(weights)[None, :, None],
        torch.from_numpy(merged)[None],
        torch.from_numpy(radiance)[None],
    )


def _trust_and_seen(
    candidates: Candidates, k: int, radiance: FloatImage, most: FloatImage, white: _White | None
) -> tuple[FloatImage, FloatImage]:
    """How far candidate `k` counts for its codes (H, W), and `weights.seen` of it (H, W)."""
    code, limits = candidates.code[0, k].numpy(), candidates.limits[0, k].numpy()
    frame, first = candidates.frames[k], candidates.frames[0]
    trust = np.ones_like(most)
    seen = (candidates.trust[0, k, 0].numpy() > 0).astype(np.float32)
    if not candidates.is_darkest()[k]:
        clipped = most if k == 0 else _whiteness(code, _largest(code), limits)
        trust -= clipped
        seen *= 1.0 - ramp(clipped, UNKNOWN_PART, 1.0)
    if white is not None:
        if frame == first:  # a frame cannot contradict itself
            seen *= 1.0 - white.overruled
        else:
            agrees = _smallest(white.agrees(radiance))
            if frame < first:
                white.gather(radiance, agrees, seen)
            trust *= agrees
            seen *= agrees
    return trust, seen


def _weigh(candidates: Candidates, k: int, trust: FloatImage, weight: FloatImage) -> None:
    """The classic weight of candidate `k`, without logits, into `weight` (H, W)."""
    code, limits = candidates.code[0, k].numpy(), candidates.limits[0, k].numpy()
    low, high = _smallest(code), _largest(code)
    np.subtract(1.0, high, out=weight)
    if candidates.is_darkest()[k]:
        weight.fill(0.5)
    if not candidates.is_brightest()[k]:
        np.minimum(weight, low * _measured(code, low, limits), out=weight)
    weight *= 2.0
    np.clip(weight, least_weight(float(candidates.stops[0, k])), 1.0, out=weight)
    weight *= np.maximum(trust, _NOTHING)
    np.maximum(weight, CLIPPED_WEIGHT, out=weight)
    if candidates.hypotheses[k] is Hypothesis.SMOOTHED:
        weight *= _SMOOTHED


def _raise(merged: FloatImage, white: _White, share: FloatImage) -> None:
    """`weights.raised`, in place; `share` (H, W) is that of what is not seen."""
    raised = ramp(share, UNKNOWN_STARTS, UNKNOWN_STAYS)
    here = white.is_white.any(0) & (raised > 0)
    if here.any():
        least = np.where(white.is_white[:, here], white.floor[:, None], np.float32(0))
        seen = np.maximum(merged[:, here], np.float32(LEAST_LINEAR))
        lacks = np.maximum(np.minimum((least / seen).max(0), 1.0 / seen.max(0)), 1.0)
        merged[:, here] *= 1.0 + raised[here] * (lacks - 1.0)


def _corrected(
    merged: FloatImage, most: FloatImage, share: FloatImage, correction: FloatImage
) -> FloatImage:
    """A merge (3, H, W) with the correction where nothing is known; itself where all is."""
    unknown = ramp(most, UNKNOWN_PART, 1.0) * ramp(share, UNKNOWN_STARTS, 1.0)
    here = unknown > 0
    if not here.any():
        return merged
    toned = mu_law(merged[:, here]) + unknown[here] * correction[:, here]
    radiance = merged.copy()
    radiance[:, here] = inverse_mu_law(np.clip(toned, 0.0, 1.0))
    return radiance
