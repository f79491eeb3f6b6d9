"""The motion of a frame that shares too little with the reference, told by the frame between them.

A bracket goes from dark to bright, and what the darkest frame shows the reference mostly shows as
white. The next brighter frame shows some of it, and has been aligned already.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from dfghdr_cli.core.frames import CodedFrame
from dfghdr_cli.core.registration.align import (
    Alignment,
    Model,
    align_greys,
    equal_greys,
    reduced_witness,
)

_SIZES: tuple[Model, ...] = ("none", "shift", "euclidean", "affine", "homography")


def align_by_neighbour(
    reference: CodedFrame,
    neighbour: CodedFrame,
    frame: CodedFrame,
    stops: tuple[float, float],
    alignments: tuple[Alignment, Alignment],
    model: Literal["auto", "shift", "affine", "homography"] = "auto",
) -> Alignment:
    """Align a frame to its neighbour, whose alignment to the reference is known.

    Args:
        reference: what to align to.
        neighbour: a frame whose exposure lies between those of the others.
        frame: what to align, of which little speaks for its own alignment.
        stops: exposures of the neighbour and the frame relative to the reference [stops].
        alignments: of the neighbour and of the frame to the reference.
        model: as of `align_frame`.

    Returns:
        The frame's own alignment where the reference bears that out better; else the neighbour's
        and what moved in between, which is nothing where nothing speaks for a motion.
    """
    near, own = alignments
    apart = stops[1] - stops[0]
    step = align_greys(*equal_greys(neighbour, frame, apart), model, apart)
    transform = step.transform @ near.transform
    transform = transform / transform[2, 2]
    witness, reduced = reduced_witness(*equal_greys(reference, frame, stops[1]), stops[1])
    ours, theirs = (witness.asked(reduced(t)) for t in (own.transform, transform))
    if ours.is_better_than(theirs):
        return own
    larger = max(near.model, step.model, key=_SIZES.index)
    if np.array_equal(transform, np.eye(3)):
        larger = "none"
    residual = own.residual if larger == own.model == "none" else step.residual
    return replace(step, transform=transform, model=larger, residual=residual)
