"""The fast way to carry out a decision gives what the way with gradients gives."""

from dataclasses import replace

import pytest
import torch

from dfghdr_cli.nets.candidates import Hypothesis
from dfghdr_cli.nets.compose import Decision, compose
from dfghdr_cli.nets.compose_tiles import compose_tile


def decision(candidates, strength=6.0):
    random = torch.Generator().manual_seed(1)
    size = candidates.trust.shape
    logits = strength * torch.randn(size, generator=random)
    return Decision(logits, 0.2 * torch.randn(1, 3, *size[-2:], generator=random))


def hold_equal(candidates, decided):
    with torch.inference_mode():
        ours, theirs = compose_tile(candidates, decided), compose(candidates, decided)
    torch.testing.assert_close(ours.weights, theirs.weights, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(ours.merged, theirs.merged, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(ours.radiance, theirs.radiance, rtol=1e-3, atol=1e-6)
    return ours


@pytest.mark.parametrize("slack", [0.0, 0.7])
@pytest.mark.parametrize("still", [False, True])
@pytest.mark.parametrize(("count", "reference"), [(2, 0), (2, 1), (3, 1), (3, 0), (5, 3)])
def test_it_is_compose(candidates, count, reference, still, slack):
    bracket = candidates(count, 48, 64, reference, still=still)
    doubt = torch.rand(bracket.trust.shape, generator=torch.Generator().manual_seed(2))
    bracket = replace(bracket, trust=bracket.trust * doubt, white_tolerance=slack)
    for level in (0.3, 0.9, 1.08):  # nothing clipped, nearly, much
        lit = replace(bracket, code=(bracket.code * level).clamp(0, 1))
        hold_equal(lit, decision(lit))
        hold_equal(lit, decision(lit, 0.0))


def test_where_nothing_is_known(candidates):
    bracket = candidates(3, 32, 40)
    code, trust = bracket.code.clone(), bracket.trust.clone()
    code[:, :2] = 1.0
    trust[:, 2:, :, :16] = 0.0
    code[:, 2:, :, 16:] = 0.05  # plainly darker than the reference's white
    bracket = replace(bracket, code=code, trust=trust)
    merge = hold_equal(bracket, decision(bracket))
    assert (merge.radiance != merge.merged).float().mean() > 0.9


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_black_and_white(candidates, level):
    bracket = candidates(3, 16, 24)
    bracket = replace(bracket, code=torch.full_like(bracket.code, level))
    merge = hold_equal(bracket, decision(bracket))
    assert merge.radiance.isfinite().all()


@pytest.mark.parametrize("size", [(16, 1), (1, 24), (1, 1)])
def test_a_line_and_a_pixel(candidates, size):
    """As a mutated file made it; OpenCV leaves out the last side where it is 1."""
    bracket = candidates(3, *size)
    for level in (0.3, 1.08):
        lit = replace(bracket, code=(bracket.code * level).clamp(0, 1))
        hold_equal(lit, decision(lit))


def test_extreme_logits(candidates):
    bracket = candidates(3, 16, 24)
    decided = decision(bracket, 60.0)
    merge = hold_equal(bracket, decided)
    assert bracket.hypotheses[1] is Hypothesis.SMOOTHED
    assert torch.allclose(merge.weights.sum(1), torch.ones(1, 1, 16, 24), atol=1e-5)
