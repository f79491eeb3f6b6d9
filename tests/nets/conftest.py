"""Networks and brackets for the tests of the networks."""

import pytest
import torch

from dfghdr_cli.nets.candidates import Candidates, Hypothesis, candidate_layout
from dfghdr_cli.nets.registry import build

SMALL = {
    "dfgmerge": {"width": (8, 12, 16), "disentangle_width": 4, "code_length": 16},
    "dfgnet": {"width": 8, "disentangle_width": 8, "code_length": 16},
}


def make_network(kind, hyper_parameters=None, *, decoder=False, seed=0, gain=1.0):
    """A network whose heads that start at zero are random as well.

    A gain of 2 on the convolutions keeps faint, far influences above rounding.
    """
    torch.manual_seed(seed)
    network = build(kind, hyper_parameters or SMALL[kind], decoder=decoder)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(0.0, 0.05)
            if parameter.dim() == 4:
                parameter.mul_(gain)
    return network.eval()


def make_candidates(
    count=3, height=64, width=96, reference=None, *, still=False, batch=1, step=2.0, seed=0
):
    """A bracket of noise: `count` frames `step` stops apart, with holes not to be trusted."""
    if reference is None:
        reference = count // 2
    frames, roles, hypotheses = candidate_layout(
        count, reference, (Hypothesis.STILL,) if still else tuple(Hypothesis)
    )
    random = torch.Generator().manual_seed(seed)
    code = torch.rand(batch, len(frames), 3, height, width, generator=random)
    trust = (torch.rand(batch, len(frames), 1, height, width, generator=random) > 0.05).float()
    trust[:, 0] = 1.0
    if not still:  # candidate 1 is the reference, smoothed
        code[:, 1], trust[:, 1] = code[:, 0], 1.0
    stops = torch.tensor([[step * (frame - reference) for frame in frames]]).repeat(batch, 1)
    peak = torch.full((batch,), 2.0 ** (step * reference))
    return Candidates(code, trust, stops, peak, frames, roles, hypotheses)


@pytest.fixture
def network():
    return make_network


@pytest.fixture
def candidates():
    return make_candidates
