"""Brackets of a scene without noise, for the tests of what decides about candidates."""

from __future__ import annotations

import torch
from torch import Tensor

from dfghdr_cli.nets.candidates import Candidates, candidate_layout

STOPS = (0.0, 0.0, -2.0, -2.0, 2.0, 2.0)


def exposed(scene: Tensor) -> Candidates:
    """Six candidates of a still scene (1, 3, H, W) in network space, the reference's white 1/4."""
    stops = torch.tensor([STOPS])
    light = scene[:, None] * 4.0 * torch.exp2(stops)[..., None, None, None]
    code = light.clamp(0, 1) ** (1 / 2.2)
    trust = torch.ones_like(code[:, :, :1])
    return Candidates(code, trust, stops, torch.tensor([4.0]), *candidate_layout(3, 1))
