"""What the merging networks look at: one bracket as a stack of *candidates*.

A candidate is one frame under one hypothesis: the reference as it is or with its noise smoothed,
another frame globally aligned to it, or that aligned frame warped by dense flow. A motion estimate
may be wrong anywhere, so hypotheses compete and none replaces another.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

import torch
from torch import Tensor
from torch.nn import functional as F

from dfghdr_cli.core.encoding import decode_tensor
from dfghdr_cli.core.worth import CLEAN
from dfghdr_cli.nets.dfg import Role


class Hypothesis(IntEnum):
    """What a candidate supposes of its frame."""

    STILL = 0
    """Nothing moves but the camera: the frame globally aligned."""
    MOVED = 1
    """Things move as dense flow says (`dfghdr_cli.core.registration.flow.dense_flow`)."""
    SMOOTHED = 2
    """What differs little between neighbours is noise (`core.restoration.noise.smooth`)."""


ALL = slice(None)
"""Every candidate."""


def candidate_layout(
    count: int, reference: int, hypotheses: Collection[Hypothesis] = tuple(Hypothesis)
) -> tuple[tuple[int, ...], tuple[Role, ...], tuple[Hypothesis, ...]]:
    """Which candidates a bracket has: their frames, roles and hypotheses.

    The reference comes first, as it is and smoothed, then the others dark to bright, each aligned
    and warped, so that candidates in the same role are neighbours.

    Args:
        count: number of frames, sorted dark to bright.
        reference: index of the reference frame; those before it are SHORT, those after it LONG.
        hypotheses: those that are made; the unchanged reference is always a candidate.
    """
    pairs = [(reference, Hypothesis.STILL), (reference, Hypothesis.SMOOTHED)]
    others = [frame for frame in range(count) if frame != reference]
    pairs += [(f, h) for f in others for h in (Hypothesis.STILL, Hypothesis.MOVED)]
    pairs = [pairs[0], *(pair for pair in pairs[1:] if pair[1] in hypotheses)]
    frames, made = zip(*pairs, strict=True)
    return frames, tuple(_role(frame, reference) for frame in frames), made


def _role(frame: int, reference: int) -> Role:
    if frame == reference:
        return Role.REFERENCE
    return Role.SHORT if frame < reference else Role.LONG


@dataclass(frozen=True, slots=True)
class Candidates:
    """A batch of brackets of the same composition. Candidate 0 is the reference frame.

    Methods, and the rules of `nets.weights`, take `which` to compute a subset of K candidates.

    Attributes:
        code: (B, K, 3, H, W) float32 gamma codes in [0, 1]; 1 = that frame's white.
        trust: (B, K, 1, H, W) float32 in [0, 1]: 0 outside the warped frame, less than 1 where
            the resampled value is doubtful (`core.registration.warp.warp_with_trust`).
        stops: (B, K) exposure relative to the reference [stops], 0 at candidate 0.
        peak: (B,) white of the darkest frame as radiance (the reference's white is 1); >= 1.
        frames: for each candidate, the index of its frame, dark to bright.
        roles: for each candidate, its role.
        hypotheses: for each candidate, what it supposes.
        white_tolerance: how much darker than the white of a clipped reference other frames may
            show the scene without contradicting it [stops], see `core.frames.CodedBracket`.
        limits: (B, K, 3, 4) float32, `core.worth.Worth.limits` of each candidate's frame.
        tolerance: (B, K, 3, 2) float32, `core.worth.Worth.tolerance` likewise.
        misfit: how far frames may be apart although nothing moved [stops], see
            `core.frames.CodedBracket`.
    """

    code: Tensor
    trust: Tensor
    stops: Tensor
    peak: Tensor
    frames: tuple[int, ...]
    roles: tuple[Role, ...]
    hypotheses: tuple[Hypothesis, ...]
    white_tolerance: float = 0.0
    limits: Tensor = field(default_factory=lambda: torch.from_numpy(CLEAN.limits))
    tolerance: Tensor = field(default_factory=lambda: torch.from_numpy(CLEAN.tolerance))
    misfit: float = 0.0

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
        return decode_tensor(self.code[:, which]) * gain[..., None, None, None]

    def is_darkest(self, which: slice = ALL) -> tuple[bool, ...]:
        """Whether a candidate belongs to the bracket's darkest frame."""
        darkest = min(self.frames)
        return tuple(frame == darkest for frame in self.frames[which])

    def is_brightest(self, which: slice = ALL) -> tuple[bool, ...]:
        """Whether a candidate belongs to the bracket's brightest frame."""
        brightest = max(self.frames)
        return tuple(frame == brightest for frame in self.frames[which])

    def limit(self, number: int, which: slice = ALL) -> Tensor:
        """One column of `limits`, (B, K, 3, 1, 1)."""
        return self.limits[:, which, :, number, None, None]
