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
from dfghdr_cli.core.encoding import GAMMA, inverse_mu_law, mu_law
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
        self.radiance = np.maximum(np.asarray(cv2.pow(code, GAMMA), np.float32), 1e-9 * peak)
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
    stops = candidates.stops[0].tolist()
    peak = float(candidates.peak[0])
    roles = list(zip(candidates.is_darkest(), candidates.is_brightest(), strict=True))

    most = _whiteness(codes[0], _largest(codes[0]), limits[0])
    # Else nothing of the reference is clipped.
    white = _White(candidates, codes[0], limits[0]) if float(most.max()) > 0.0 else None
    highest = logits.max(0)
    weights = np.empty_like(logits)
    # What candidates see, and what they only seem to.
    total, blind = np.zeros_like(most), np.zeros_like(most)
    merged, glow = np.zeros_like(codes[0]), np.zeros_like(codes[0])
    unseen: dict[int, FloatImage] = {}
    first = candidates.frames[0]
    # The reference comes last: others may overrule it.
    for k in sorted(range(len(roles)), key=lambda k: candidates.frames[k] == first):
        is_darkest, is_brightest = roles[k]
        code, weight, frame = codes[k], weights[k], candidates.frames[k]
        low, high = _smallest(code), _largest(code)
        radiance = np.asarray(cv2.pow(code, GAMMA), np.float32)
        radiance *= np.float32(2.0 ** -stops[k])
        trust, seen = np.ones_like(high), (trusts[k] > 0).astype(np.float32)
        if not is_darkest:
            clipped = most if k == 0 else _whiteness(code, high, limits[k])
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
        trust *= trusts[k]
        np.subtract(1.0, high, out=weight)
        if is_darkest:
            weight.fill(0.5)
        if not is_brightest:
            np.minimum(weight, low * _measured(code, low, limits[k]), out=weight)
        weight *= 2.0
        np.clip(weight, least_weight(stops[k]), 1.0, out=weight)
        weight *= np.maximum(trust, _NOTHING)
        np.maximum(weight, CLIPPED_WEIGHT, out=weight)
        if candidates.hypotheses[k] is Hypothesis.SMOOTHED:
            weight *= _SMOOTHED
        np.copyto(weight, _INVALID, where=trusts[k] <= 0)
        weight *= np.exp(np.maximum(logits[k] - highest, LEAST_LOGIT))
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
        stay = ramp(share, UNKNOWN_STARTS, UNKNOWN_STAYS)
        if white is not None:
            stay *= 1.0 - white.overruled
        total += stay * blind
        merged += stay * glow
        for k, part in unseen.items():
            weights[k] *= 1.0 - part * (1.0 - stay)
    np.maximum(total, np.finfo(np.float32).tiny, out=total)
    np.divide(1.0, total, out=total)
    weights *= total
    merged *= total * np.float32(1.0 / peak)
    radiance = merged
    if white is not None:
        share = np.zeros_like(total)
        for k, part in unseen.items():
            share += part * weights[k]
        raised = ramp(share, UNKNOWN_STARTS, UNKNOWN_STAYS)
        here = white.is_white.any(0) & (raised > 0)
        if here.any():
            least = np.where(white.is_white[:, here], white.floor[:, None], np.float32(0))
            seen = np.maximum(merged[:, here], np.float32(1e-8))
            lacks = np.maximum(np.minimum((least / seen).max(0), 1.0 / seen.max(0)), 1.0)
            merged[:, here] *= 1.0 + raised[here] * (lacks - 1.0)
        unknown = ramp(most, UNKNOWN_PART, 1.0) * ramp(share, UNKNOWN_STARTS, 1.0)
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
