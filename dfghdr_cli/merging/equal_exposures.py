"""One frame of those that are exposed alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dfghdr_cli.core.frames import CodedFrame
from dfghdr_cli.core.registration.aligned import AlignedBracket
from dfghdr_cli.core.registration.warp import warp, warp_with_trust
from dfghdr_cli.core.restoration.burst import fuse
from dfghdr_cli.core.types import SAME_EXPOSURE, FloatImage


def equal_exposures(stops: Sequence[float]) -> list[list[int]]:
    """The indices of frames, dark to bright, in groups that are exposed alike."""
    groups: list[list[int]] = []
    for index, stop in enumerate(stops):
        if groups and stop - stops[groups[-1][0]] <= SAME_EXPOSURE:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


@dataclass(frozen=True, slots=True)
class Shares:
    """What the frames that became one have in it.

    Attributes:
        members: their indices.
        parts: (M, H, W) float32, their shares in the reference's geometry.
    """

    members: list[int]
    parts: FloatImage


def fuse_equal_exposures(aligned: AlignedBracket) -> tuple[AlignedBracket, list[Shares]]:
    """Make one frame of those that are exposed alike (see `core.restoration.burst`).

    The networks were trained on frames of different exposures and would keep to the reference.

    Returns:
        A bracket of frames that differ in exposure, and what each was made of; `aligned` itself
        and nothing where no two frames are alike.
    """
    coded = aligned.coded
    groups = equal_exposures(coded.stops)
    if len(groups) == len(coded.stops):
        return aligned, []
    frames, alignments, stops, shares = [], [], [], []
    for members in groups:
        leader = coded.reference if coded.reference in members else members[0]
        rest = [index for index in members if index != leader]
        frame, share = _fused(aligned, leader, rest)
        frames.append(frame)
        alignments.append(aligned.alignments[leader])
        stops.append(coded.stops[leader])
        shares.append(Shares([leader, *rest], share))
    reference = next(k for k, group in enumerate(groups) if coded.reference in group)
    fused = replace(coded, frames=tuple(frames), stops=tuple(stops), reference=reference)
    return replace(aligned, coded=fused, alignments=tuple(alignments)), shares


def _fused(
    aligned: AlignedBracket, leader: int, rest: Sequence[int]
) -> tuple[CodedFrame, FloatImage]:
    """A frame of those exposed as `leader`, in its geometry, and their shares."""
    own = aligned.coded.frames[leader]
    back = np.linalg.inv(aligned.alignments[leader].transform)
    others = []
    for index in rest:
        transform = aligned.alignments[index].transform @ back
        if np.allclose(transform / transform[2, 2], np.eye(3), atol=1e-9):
            transform = np.eye(3)
        code = aligned.coded.frames[index].code()
        others.append(warp_with_trust(code, transform, aligned.size, is_darkest=True))
    code, share = fuse(own.code(), others)
    if aligned.alignments[leader].model != "none":
        moved = aligned.alignments[leader].transform
        share = np.stack([warp(part, moved, aligned.size)[0] for part in share])
        share /= np.maximum(share.sum(axis=0), np.finfo(np.float32).tiny)
    return CodedFrame.of_code(code, own.worth), share


def shared_out(weights: FloatImage, shares: Sequence[Shares], count: int) -> FloatImage:
    """Weights of frames as weights of those that they were made of.

    Args:
        weights: (n, H, W) of the fused frames.
        shares: of each.
        count: of the frames before.

    Returns:
        (count, H, W) float32.
    """
    whole = np.zeros((count, *weights.shape[1:]), np.float32)
    for weight, share in zip(weights, shares, strict=True):
        whole[share.members] = weight * share.parts
    return whole
