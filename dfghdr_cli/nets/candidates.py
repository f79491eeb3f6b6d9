"""What the merging networks look at: one bracket as a stack of *candidates*.

A candidate is one frame under one hypothesis: the reference as it is or with its noise smoothed,
another frame globally aligned to it, or that aligned frame warped by dense flow. A motion estimate
may be wrong anywhere, so hypotheses compete and none replaces another.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

import torch
from torch import Tensor
from torch.nn import functional as F

from dfghdr_cli.core.classic import CONTRADICTS
from dfghdr_cli.core.radiance import (
    CLIPPED_CODE,
    CLIPPED_WEIGHT,
    CLIPPING_STARTS,
    GAMMA,
    LEAST_WEIGHT,
    LEAST_WEIGHTS,
)
from dfghdr_cli.core.tonemap import mu_law
from dfghdr_cli.core.worth import AT_BLACK, AT_WHITE, BLACK, CLEAN, DARK, SHOULDER, WHITE
from dfghdr_cli.nets.dfg import Role

LOG_UNUSABLE = math.log(CLIPPED_WEIGHT)
"""Log-weight of a pixel that tells nothing."""
LOG_INVALID = -40.0
"""Log-weight outside a warped frame."""
LOG_SMOOTHED = -8.0
"""Log of the smoothed reference's weight against that of the reference itself: noise-free brackets
must merge to the truth, too."""

LEAST_LOGIT = -40.0
"""The lowest logit beside the highest of a pixel. Where that candidate is left out, others count,
so their weights must be numbers in single precision."""


class Hypothesis(IntEnum):
    """What a candidate supposes of its frame."""

    STILL = 0
    """Nothing moves but the camera: the frame globally aligned."""
    MOVED = 1
    """Things move as dense flow says (`dfghdr_cli.core.flow.dense_flow`)."""
    SMOOTHED = 2
    """What differs little between neighbours is noise (`dfghdr_cli.core.noise.smooth`)."""


ALL = slice(None)
"""Every candidate."""


def linear_from_code(code: Tensor) -> Tensor:
    """Eq. (7) without the exposure: code ** 2.2, any shape, in [0, 1]."""
    return code.clamp_min(0.0).pow(GAMMA)


_TINY = torch.finfo(torch.float32).tiny
_LEAST_LINEAR = 1e-8
_LEAST_CODE = _LEAST_LINEAR ** (1.0 / GAMMA)
"""Black: below it the power has no gradient."""


def code_from_linear(linear: Tensor) -> Tensor:
    """Inverse of `linear_from_code`, clipped to [0, 1] as a frame of that exposure would be."""
    return linear.clamp(_LEAST_LINEAR, 1.0).pow(1.0 / GAMMA)


UNKNOWN_STARTS = 0.15
"""Share of clipped candidates in a merge up to which it is taken for what the others saw."""
UNKNOWN_STAYS = 0.3
"""Share from which on they count in full; between the two ever more, and below not at all."""
UNKNOWN_PART = 0.875
"""Part of the way from shoulder to white from which on a code begins to say nothing (0.988 where
trust falls from 0.96 to 0.992). It weighs less from the shoulder on, for where another frame sees
the same; but up to here it is a measurement, which nothing may be added to."""

MEASURES_LEAST = 0.3
"""What a code that measures nothing counts as: with less, networks that were trained on clean codes
let a brighter frame shine through dark things that moved."""
MORE = 1.25
"""How many times the light of an unclipped channel of the reference another frame shows at most for
the two to agree: a third of a stop, as `CONTRADICTS` allows downwards."""


def smoothstep(x: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    """0 up to `low`, 1 from `high` on, a straight ramp between."""
    return (x - low).div_(high - low).clamp_(0.0, 1.0)


def candidate_layout(
    count: int, reference: int, supposed: Collection[Hypothesis] = tuple(Hypothesis)
) -> tuple[tuple[int, ...], tuple[Role, ...], tuple[Hypothesis, ...]]:
    """Which candidates a bracket has: their frames, roles and hypotheses.

    The reference comes first, as it is and smoothed, then the others dark to bright, each aligned
    and warped, so that candidates in the same role are neighbours.

    Args:
        count: number of frames, sorted dark to bright.
        reference: index of the reference frame; those before it are SHORT, those after it LONG.
        supposed: the hypotheses that are made; the reference as it is is always there.
    """
    pairs = [(reference, Hypothesis.STILL), (reference, Hypothesis.SMOOTHED)]
    others = [frame for frame in range(count) if frame != reference]
    pairs += [(f, h) for f in others for h in (Hypothesis.STILL, Hypothesis.MOVED)]
    pairs = [pairs[0], *(pair for pair in pairs[1:] if pair[1] in supposed)]
    frames, hypotheses = zip(*pairs, strict=True)
    return frames, tuple(_role(frame, reference) for frame in frames), hypotheses


def _role(frame: int, reference: int) -> Role:
    if frame == reference:
        return Role.REFERENCE
    return Role.SHORT if frame < reference else Role.LONG


@dataclass(frozen=True, slots=True)
class Candidates:
    """A batch of brackets of the same composition. Candidate 0 is the reference frame.

    What is computed of candidates can be of some only: `which` of them, K in number.

    Attributes:
        code: (B, K, 3, H, W) float32 gamma codes in [0, 1]; 1 = that frame's white.
        trust: (B, K, 1, H, W) float32 in [0, 1]: 0 outside the warped frame, less than 1 where
            the resampled value is doubtful (`dfghdr_cli.core.align.warp_with_trust`).
        stops: (B, K) exposure relative to the reference [stops], 0 at candidate 0.
        peak: (B,) white of the darkest frame as radiance (the reference's white is 1); >= 1.
        frames: for each candidate, the index of its frame, dark to bright.
        roles: for each candidate, its role.
        hypotheses: for each candidate, what it supposes.
        slack: how much darker than the white of a clipped reference other frames may show the
            scene without contradicting it [stops]: exposures are not always quite right.
        limits: (B, K, 3, 4) float32, `core.worth.Worth.limits` of each candidate's frame.
        tolerance: (B, K, 3, 2) float32, `core.worth.Worth.tolerance` likewise.
    """

    code: Tensor
    trust: Tensor
    stops: Tensor
    peak: Tensor
    frames: tuple[int, ...]
    roles: tuple[Role, ...]
    hypotheses: tuple[Hypothesis, ...]
    slack: float = 0.0
    limits: Tensor = field(default_factory=lambda: torch.from_numpy(CLEAN.limits))
    tolerance: Tensor = field(default_factory=lambda: torch.from_numpy(CLEAN.tolerance))

    def __post_init__(self) -> None:
        """What is said of one frame goes for all, on the device of the codes."""
        for name in ("limits", "tolerance"):
            values: Tensor = getattr(self, name)
            whole = values.to(self.code.device).expand(*self.stops.shape, *values.shape[-2:])
            object.__setattr__(self, name, whole)

    @classmethod
    def of_images(cls, code: Tensor) -> Candidates:
        """Images seen for themselves, (n, 3, H, W) gamma codes in [0, 1], as one stack (B = 1)."""
        count = len(code)
        return cls(
            code[None],
            torch.ones_like(code[None, :, :1]),
            torch.zeros((1, count), device=code.device),
            torch.ones(1, device=code.device),
            tuple(range(count)),
            (Role.REFERENCE,) * count,
            (Hypothesis.STILL,) * count,
        )

    @property
    def count(self) -> int:
        """Number of candidates K."""
        return len(self.frames)

    def crop(self, rows: slice, columns: slice) -> Candidates:
        """The same brackets inside a rectangle."""
        return replace(
            self, code=self.code[..., rows, columns], trust=self.trust[..., rows, columns]
        )

    def to(self, device: torch.device) -> Candidates:
        """The same brackets on a device."""
        return replace(
            self,
            code=self.code.to(device),
            trust=self.trust.to(device),
            stops=self.stops.to(device),
            peak=self.peak.to(device),
        )

    def pad(self, multiple: int) -> Candidates:
        """Borders repeated to the right and below so that both sides divide by `multiple`."""
        height, width = self.code.shape[-2:]
        right, below = -width % multiple, -height % multiple
        if not (right or below):
            return self

        def grow(x: Tensor) -> Tensor:
            flat = F.pad(x.flatten(0, 1), (0, right, 0, below), mode="replicate")
            return flat.unflatten(0, x.shape[:2])

        return replace(self, code=grow(self.code), trust=grow(self.trust))

    def one_each(self) -> Candidates:
        """One candidate a frame, dark to bright: MOVED where there is such a one, else STILL."""
        best: dict[int, int] = {}
        for k, (frame, hypothesis) in enumerate(zip(self.frames, self.hypotheses, strict=True)):
            if hypothesis is Hypothesis.MOVED or frame not in best:
                best[frame] = k
        return self.only([best[frame] for frame in sorted(best)])

    def only(self, keep: Sequence[int]) -> Candidates:
        """Some of the candidates, in that order."""
        keep = list(keep)
        if keep == list(range(self.count)):
            return self
        return replace(
            self,
            code=self.code[:, keep],
            trust=self.trust[:, keep],
            stops=self.stops[:, keep],
            limits=self.limits[:, keep],
            tolerance=self.tolerance[:, keep],
            frames=tuple(self.frames[k] for k in keep),
            roles=tuple(self.roles[k] for k in keep),
            hypotheses=tuple(self.hypotheses[k] for k in keep),
        )

    def radiance(self, which: slice = ALL) -> Tensor:
        """Eq. (7): (B, K, 3, H, W) in network space, code ** 2.2 / t, 1 = white of the darkest."""
        gain = torch.exp2(-self.stops[:, which]) / self.peak[:, None]
        return linear_from_code(self.code[:, which]) * gain[..., None, None, None]

    def is_darkest(self, which: slice = ALL) -> tuple[bool, ...]:
        """Whether a candidate belongs to the bracket's darkest frame."""
        darkest = min(self.frames)
        return tuple(frame == darkest for frame in self.frames[which])

    def is_brightest(self, which: slice = ALL) -> tuple[bool, ...]:
        """Whether a candidate belongs to the bracket's brightest frame."""
        brightest = max(self.frames)
        return tuple(frame == brightest for frame in self.frames[which])

    def _limit(self, number: int, which: slice = ALL) -> Tensor:
        """One column of `limits`, (B, K, 3, 1, 1)."""
        return self.limits[:, which, :, number, None, None]

    def whiteness(self, which: slice = ALL, *, unknown: bool = False) -> Tensor:
        """How far each channel is clipped, (B, K, 3, H, W): 0 up to the shoulder, 1 from white on.

        Args:
            which: of the candidates.
            unknown: whether it stays 0 as long as a code says anything, see `UNKNOWN_PART`.
        """
        shoulder, white = self._limit(SHOULDER, which), self._limit(WHITE, which)
        if unknown:
            shoulder = torch.lerp(shoulder, white, UNKNOWN_PART)
        return smoothstep(self.code[:, which], shoulder, white)

    def contradiction(self, which: slice = ALL, radiance: Tensor | None = None) -> Tensor:
        """How surely a candidate shows something else than a clipped reference: (B, K, 1, H, W).

        Where the reference is clipped the scene is at least as bright as its white, and in its
        shoulder as where that starts; a candidate that is plainly darker there (`CONTRADICTS`, less
        `slack`) saw another object. 0 = agrees or cannot be told, 1 = contradicts.

        Args:
            which: of the candidates.
            radiance: theirs, if it is there already.
        """
        clipped = self.whiteness(slice(0, 1))
        return (clipped * (1.0 - self._reaches_white(which, radiance))).amax(2, keepdim=True)

    def _reaches_white(self, which: slice = ALL, radiance: Tensor | None = None) -> Tensor:
        """How far each channel shows as much light as a clipped reference's: (B, K, 3, H, W)."""
        if radiance is None:
            radiance = self.radiance(which)
        return smoothstep(radiance / self._least_white(), *CONTRADICTS)

    def _least_white(self) -> Tensor:
        """What a clipped channel of the reference shows at least, (B, 1, 3, 1, 1) as radiance."""
        shoulder = self._limit(SHOULDER, slice(0, 1)) / CLIPPING_STARTS
        white = 2.0**-self.slack / self.peak[:, None, None, None, None]
        return linear_from_code(shoulder) * white

    def overrules(self) -> Tensor:
        """How far a darker frame decides because the reference is clipped: (B, 1, H, W) in [0, 1].

        A pixel with a clipped channel has no colour of its own, so a darker, well exposed frame
        that shows as much light in every channel is right, or more as far as the frames' curves
        disagree (`slack`): that is no motion.
        """
        reference = self.whiteness(slice(0, 1)).amax(2, keepdim=True)
        first = self.frames[0]
        darker = [k for k, frame in enumerate(self.frames) if frame < first]
        here = self.code.device.type != "cpu" or bool((reference > 0).any())
        if not (darker and here):
            return torch.zeros_like(reference[:, 0])
        others = self.only([0, *darker])
        radiance = others.radiance()
        own = radiance[:, 1:] / radiance[:, :1].clamp_min(1e-9)
        most = MORE * 2.0**self.slack
        as_much = smoothstep(own, *CONTRADICTS) * (1.0 - smoothstep(own, most, 1.5 * most))
        as_much = torch.maximum(as_much, others.whiteness(slice(0, 1)))
        as_much = torch.minimum(
            as_much, 1.0 - others.contradiction(slice(1, None), radiance[:, 1:])
        )
        exposed = others.usable(slice(1, None), unknown=True) * (others.trust[:, 1:] > 0)
        return (reference * as_much.amin(2, keepdim=True) * exposed).amax(1)

    def usable(self, which: slice = ALL, *, unknown: bool = False) -> Tensor:
        """How far a candidate's pixel is exposed: (B, K, 1, H, W), 0 = clipped, 1 = not.

        White of the darkest frame is usable, for want of anything better. Arguments as of
        `whiteness`.
        """
        usable = 1.0 - self.whiteness(which, unknown=unknown).amax(2, keepdim=True)
        darkest = torch.tensor(self.is_darkest(which), device=self.code.device)
        return torch.where(darkest[None, :, None, None, None], torch.ones_like(usable), usable)

    def measured(self, which: slice = ALL) -> Tensor:
        """How far the darkest channel is above what codes can tell: (B, K, 1, H, W), up to 1."""
        black, dark = self._limit(BLACK, which), self._limit(DARK, which)
        least = smoothstep(self.code[:, which], black, dark).amin(2, keepdim=True)
        return MEASURES_LEAST + (1.0 - MEASURES_LEAST) * least

    def log_prior(self, which: slice = ALL, radiance: Tensor | None = None) -> Tensor:
        """Log of the classic weights, (B, K, 1, H, W): where the networks start from.

        A triangle over the code (its worst channel counts; the darkest frame stays at 1 above the
        middle and the brightest below it), less where dark codes measure little, times the
        resampling's trust, next to nothing where a frame is clipped or contradicts a clipped
        reference, and nothing outside a warped frame. The smoothed reference has little of it.
        Arguments as of `contradiction`.
        """
        code, trust = self.code[:, which], self.trust[:, which]
        up = 2.0 * code.amin(2, keepdim=True) * self.measured(which)
        down = 2.0 * (1.0 - code.amax(2, keepdim=True))
        shape = (1, -1, 1, 1, 1)
        darkest = torch.tensor(self.is_darkest(which), device=code.device).view(shape)
        brightest = torch.tensor(self.is_brightest(which), device=code.device).view(shape)
        up = torch.where(brightest, torch.ones_like(up), up)
        down = torch.where(darkest, torch.ones_like(down), down)
        triangle = torch.minimum(up, down).clamp(max=1.0)
        low, high = (math.log(bound) for bound in LEAST_WEIGHTS)
        least = (math.log(LEAST_WEIGHT) + math.log(4.0) * self.stops[:, which]).clamp(low, high)
        log_weight = triangle.clamp_min(1e-9).log().maximum(least[..., None, None, None])
        counts = self.usable(which) * (1.0 - self.contradiction(which, radiance)) * trust
        log_weight = (log_weight + counts.clamp_min(1e-9).log()).clamp_min(LOG_UNUSABLE)
        smoothed = [h is Hypothesis.SMOOTHED for h in self.hypotheses[which]]
        log_weight = log_weight + LOG_SMOOTHED * log_weight.new_tensor(smoothed).view(shape)
        return torch.where(trust > 0, log_weight, torch.full_like(log_weight, LOG_INVALID))

    def seen(self, overruled: Tensor | None = None) -> Tensor:
        """How far a candidate shows what the reference shows, not clipped: (B, K, 1, H, W).

        Args:
            overruled: `overrules`, if it is there already.
        """
        seen = self.usable(unknown=True) * (1.0 - self.contradiction()) * (self.trust > 0)
        same = torch.tensor([f == self.frames[0] for f in self.frames], device=seen.device)
        overruled = self.overrules() if overruled is None else overruled
        return seen * (1.0 - same.view(1, -1, 1, 1, 1) * overruled[:, None])

    def without_clipped(self, weights: Tensor, seen: Tensor, overruled: Tensor) -> Tensor:
        """Weights (B, K, 1, H, W) of a merge without clipped candidates that count for little.

        A network never gives them exactly nothing, and a thousandth of a clipped white beside a
        lamp is a visible error of the lamp. Where they make up more than a little, the network
        means it: frames seem usable there but show another thing. Where a darker frame `overrules`
        the reference they do not count at all.

        Args:
            weights: of the merge.
            seen: `seen`, of the same shape.
            overruled: `overrules`.
        """
        share = (weights * (1.0 - seen)).sum(1, keepdim=True)
        stay = smoothstep(share, UNKNOWN_STARTS, UNKNOWN_STAYS)
        stay = stay * (1.0 - overruled[:, None])
        weights = weights * (seen + (1.0 - seen) * stay)
        return weights / weights.sum(1, keepdim=True).clamp_min(_TINY)

    def unknown(self, weights: Tensor, seen: Tensor) -> Tensor:
        """How far a merge shows nothing that a frame saw: (B, 1, H, W) in [0, 1].

        The share of clipped and contradicting candidates in the merge, where the reference is
        clipped. That is all of it where no frame is usable, and also where frames seem usable but
        the network gives them no weight: they show another thing. Only there may a network add
        something of its own; where usable frames make up the merge, their radiance stays.

        Arguments as of `without_clipped`.
        """
        clipped = self.whiteness(slice(0, 1), unknown=True).amax(2)
        return clipped * smoothstep((weights * (1.0 - seen)).sum(1), UNKNOWN_STARTS, 1.0)

    def raised(self, merged: Tensor, weights: Tensor, seen: Tensor) -> Tensor:
        """A merge that is nowhere darker than the white of a clipped reference, less `slack`.

        A pixel is raised as a whole, so that its hue stays, and not where well exposed frames that
        agree with the reference make it up.

        Args:
            merged: (B, 3, H, W) in network space.
            weights: its weights (B, K, 1, H, W).
            seen: `seen`, of the same shape.
        """
        white = self._limit(WHITE, slice(0, 1))
        floor = linear_from_code(white) * 2.0**-self.slack / self.peak[:, None, None, None, None]
        least = torch.where(self.code[:, :1] >= white, floor, torch.zeros_like(floor))[:, 0]
        lacks = (least / merged.clamp_min(_LEAST_LINEAR)).amax(1, keepdim=True)
        # No channel beyond what the bracket can record.
        room = 1.0 / merged.amax(1, keepdim=True).clamp_min(_LEAST_LINEAR)
        lacks = lacks.minimum(room).clamp_min(1.0)
        blind = (weights * (1.0 - seen)).sum(1)
        there = smoothstep(blind, UNKNOWN_STARTS, UNKNOWN_STAYS)
        return merged * torch.lerp(torch.ones_like(lacks), lacks, there)

    def _tolerance(self, which: slice = ALL) -> Tensor:
        """How far off each code may be, (B, K, 3, H, W)."""
        at_black, at_white = (
            self.tolerance[:, which, :, column, None, None] for column in (AT_BLACK, AT_WHITE)
        )
        dark = smoothstep(self.code[:, which], self._limit(BLACK, which), self._limit(DARK, which))
        return (1.0 - dark) * at_black + self.whiteness(which) * at_white

    def equal_exposure_difference(self, which: slice = ALL) -> Tensor:
        """(B, K, 3, H, W) in [-1, 1]: candidate minus reference as gamma codes at one exposure.

        Both are brought to the exposure of the brighter one, whose white clips them alike. Beside
        a clipped reference a candidate is `slack` brighter: so much it may be darker. What both
        codes may be off by is no difference.
        """
        # Codes of other exposures without going through radiance: (x**2.2 * g)**(1 / 2.2).
        stops = self.stops[:, which, None, None, None]
        ratio = stops.clamp_min(0.0)
        of_reference, of_own = torch.exp2(ratio / GAMMA), torch.exp2((ratio - stops) / GAMMA)
        reference, own = self.code[:, :1] * of_reference, self.code[:, which] * of_own
        if self.slack > 0.0:
            clipped = self.code[:, :1] >= self._limit(WHITE, slice(0, 1))
            own = torch.where(clipped, own * 2.0 ** (self.slack / GAMMA), own)
        whites = (self._limit(WHITE, which), self._limit(WHITE, slice(0, 1)))
        top = torch.where(stops > 0, *whites).div(CLIPPED_CODE)
        reference, own = (x.clamp_min(_LEAST_CODE).minimum(top) for x in (reference, own))
        difference = own - reference
        # To look at a tensor makes a GPU wait, and cannot be exported.
        may_look = self.code.device.type == "cpu" and not torch.compiler.is_exporting()
        if may_look and not self.tolerance.any():
            return difference
        allowed = self._tolerance(slice(0, 1)) * of_reference + self._tolerance(which) * of_own
        return difference - difference.maximum(-allowed).minimum(allowed)

    def phases(self) -> Candidates:
        """The same at half the size, one below the other: (..., H, W) to (..., 4 * H / 2, W / 2).

        As `torch.nn.functional.pixel_unshuffle` orders them, so that what is computed pixel by
        pixel is the same as before, and C channels (..., C, 4 * H / 2, W / 2) are seen as
        (..., 4 * C, H / 2, W / 2).
        """

        def split(x: Tensor) -> Tensor:
            return F.pixel_unshuffle(x.flatten(0, 1), 2).reshape(*x.shape[:3], -1, x.shape[-1] // 2)

        return replace(self, code=split(self.code), trust=split(self.trust))

    def features(self, which: slice = ALL) -> list[Tensor]:
        """What a merging network should see of every pixel: (B, K, c, H, W) with 13 channels c."""
        code, radiance = self.code[:, which], self.radiance(which)
        difference = self.equal_exposure_difference(which)
        reference_white = smoothstep(self.code[:, :1].amax(2, keepdim=True), 0.9, 1.0)
        return [
            code,
            mu_law(radiance),
            difference,
            difference.abs().mean(2, keepdim=True),
            self.log_prior(which, radiance).clamp_min(LOG_UNUSABLE) / -LOG_UNUSABLE,
            smoothstep(code.amax(2, keepdim=True), 0.9, 1.0),
            reference_white.expand(-1, code.shape[1], -1, -1, -1),
        ]


FEATURES = 13
"""Channels of `Candidates.features`."""
