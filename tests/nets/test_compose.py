"""`compose`: a convex combination of what the camera saw, and the truth where it saw it."""

from dataclasses import replace

import pytest
import torch

from dfghdr_cli.core.classic import classic_merge
from dfghdr_cli.core.clipping import CLIPPED_CODE
from dfghdr_cli.core.encoding import encode_tensor
from dfghdr_cli.nets import weights as rules
from dfghdr_cli.nets.candidates import Candidates, Hypothesis, candidate_layout
from dfghdr_cli.nets.compose import Decision, compose
from dfghdr_cli.nets.dfg import Role
from dfghdr_cli.nets.dfgmerge import DFGMerge, DFGMergeConfig


def static_bracket(truth, stops, reference):
    """Noise-free, still frames of a radiance (3, H, W) whose unit is the reference's white."""
    frames, roles, hypotheses = candidate_layout(len(stops), reference)
    relative = torch.tensor([[stops[frame] - stops[reference] for frame in frames]])
    code = encode_tensor(truth[None, None] * torch.exp2(relative)[..., None, None, None])
    trust = torch.ones(1, len(frames), 1, *truth.shape[-2:])
    peak = torch.exp2(-relative.min())[None]
    return Candidates(code, trust, relative, peak, frames, roles, hypotheses)


def nothing(candidates):
    batch, count, _, height, width = candidates.code.shape
    return Decision(
        torch.zeros(batch, count, 1, height, width), torch.zeros(batch, 3, height, width)
    )


def anything(candidates, size=5.0, seed=3):
    random = torch.Generator().manual_seed(seed)
    zero = nothing(candidates)
    return Decision(
        size * torch.randn(zero.logits.shape, generator=random),
        0.3 * torch.tanh(torch.randn(zero.correction.shape, generator=random)),
    )


@pytest.mark.parametrize("reference", [0, 1, 2])
def test_a_network_that_decides_nothing_merges_classically(reference):
    """Where nothing is clipped, so that nothing contradicts: the two start from the same rules."""
    stops = (-2.0, 0.0, 2.0)
    random = torch.Generator().manual_seed(5)
    truth = 0.01 + 0.19 * torch.rand(3, 24, 32, generator=random)
    truth = truth * 2.0 ** stops[reference]  # in units of that reference's white
    bracket = static_bracket(truth, stops, reference)
    bracket = bracket.only([k for k, h in enumerate(bracket.hypotheses) if h is Hypothesis.STILL])
    noise = 0.02 * torch.randn(bracket.code.shape, generator=random)
    trust = torch.rand(bracket.trust.shape, generator=random)
    bracket = replace(bracket, code=(bracket.code + noise).clamp(0.05, 0.95), trust=trust)
    merge = compose(bracket, nothing(bracket))
    codes = list(bracket.code[0].permute(0, 2, 3, 1).numpy())
    there, stops = list(trust[0, :, 0].numpy()), bracket.stops[0].tolist()
    radiance, weights = classic_merge(codes, there, stops)
    shares = torch.from_numpy(weights)
    torch.testing.assert_close(merge.weights[0, :, 0], shares, rtol=1e-3, atol=1e-5)
    ours = merge.radiance[0].permute(1, 2, 0) * bracket.peak
    torch.testing.assert_close(ours, torch.from_numpy(radiance), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("size", [0.0, 5.0, 100.0])
def test_weights_sum_to_1(candidates, size):
    bracket = candidates(4, 32, 40, batch=2)
    weights = compose(bracket, anything(bracket, size)).weights
    assert weights.min() >= 0.0
    assert (weights.sum(1) - 1.0).abs().max() < 1e-6


@pytest.mark.parametrize("reference", [0, 1, 2])
def test_the_result_lies_between_the_candidates(candidates, reference):
    bracket = candidates(3, 48, 64, reference)
    merge = compose(bracket, anything(bracket))
    known = (rules.unknown(bracket, merge.weights, rules.seen(bracket)) == 0).expand_as(
        merge.radiance
    )
    assert known.float().mean() > 0.2
    assert torch.equal(merge.radiance[known], merge.merged[known])
    radiance = bracket.radiance()
    unclipped = rules.whiteness(bracket, slice(0, 1), unknown=True)[:, 0].amax(1, keepdim=True) == 0
    assert (merge.radiance - radiance.amin(1))[known].min() > -1e-6
    assert (radiance.amax(1) - merge.radiance)[known & unclipped].min() > -1e-6


def test_the_unusable_is_next_to_nothing(candidates):
    bracket = candidates(3, 48, 64)
    prior = rules.log_prior(bracket)
    unusable = prior <= -12.0
    good = prior.amax(1, keepdim=True) > -2.3
    assert (unusable & good).float().mean() > 0.01
    weights = compose(bracket, nothing(bracket)).weights
    assert weights[unusable & good].max() < 1e-4


@pytest.mark.parametrize("stops", [(-2.0, 0.0, 2.0), (0.0, 3.0), (-1.5, -0.5, 0.0, 1.0, 3.0)])
def test_a_static_bracket_gives_the_truth(stops):
    for reference in range(len(stops)):
        white = 2.0 ** (stops[reference] - stops[0])
        ramp = torch.linspace(-14.0, 0.0, 32 * 40).view(32, 40)
        truth = torch.stack([torch.exp2(ramp), torch.exp2(ramp - 0.5), torch.exp2(ramp - 2.0)])
        truth = truth * white * 0.98 * CLIPPED_CODE**2.2
        bracket = static_bracket(truth, stops, reference)
        result = compose(bracket, nothing(bracket)).radiance[0] * bracket.peak
        assert ((result - truth).abs() / truth).max() < 1e-4, reference


def test_moved_content_does_not_matter_where_the_weights_say_so():
    truth = torch.full((3, 8, 8), 0.2)
    bracket = static_bracket(truth, (-2.0, 0.0, 2.0), 1)
    code = bracket.code.clone()
    code[:, 2:] = 0.5
    bracket = replace(bracket, code=code)
    decision = nothing(bracket)
    decision.logits[:, 0] = 40.0
    result = compose(bracket, decision).radiance * bracket.peak
    assert (result - 0.2).abs().max() < 1e-5


@pytest.mark.parametrize("reference", [0, 1, 2])
def test_all_clipped_is_white(reference):
    truth = torch.full((3, 16, 16), 100.0)
    bracket = static_bracket(truth, (-2.0, 0.0, 2.0), reference)
    merge = compose(bracket, nothing(bracket))
    assert (merge.radiance - 1.0).abs().max() < 1e-3
    assert merge.weights[:, [k for k, f in enumerate(bracket.frames) if f == 0]].sum() > 255.9


def test_only_where_nothing_is_known_is_something_added(candidates):
    bracket = candidates(3, 32, 40)
    decision = replace(nothing(bracket), correction=torch.full((1, 3, 32, 40), 0.2))
    merge = compose(bracket, nothing(bracket))
    plain = merge.radiance
    unknown = rules.unknown(bracket, merge.weights, rules.seen(bracket)).expand_as(plain) > 0
    assert not unknown.all()
    changed = compose(bracket, decision).radiance != plain
    assert not changed[~unknown].any()
    bracket.code[:, 0] = 1.0
    bracket.trust[:, 1:] = 0.0
    assert (
        rules.unknown(bracket, compose(bracket, nothing(bracket)).weights, rules.seen(bracket))
        == 1.0
    ).all()
    low = replace(decision, correction=-decision.correction)
    before, after = (compose(bracket, d).radiance for d in (nothing(bracket), low))
    assert (after < before).all()


def test_what_shows_as_much_light_as_a_clipped_reference_is_never_rejected():
    """Blue is clipped in the reference; in the darker frame all is brighter, as phones have it."""
    truth = torch.tensor([0.55, 0.85, 3.7])[:, None, None].expand(3, 8, 8)
    bracket = replace(static_bracket(truth, (-2.0, 0.0), 1), white_tolerance=0.8)
    bracket.code[:, 2:, :2] *= 2.0 ** (1 / 2.2)  # by a stop
    decision = replace(nothing(bracket), correction=torch.full((1, 3, 8, 8), 0.1))
    decision.logits[:, :2] = 60.0
    expected = truth * torch.tensor([2.0, 2.0, 1.0])[:, None, None]
    torch.testing.assert_close(compose(bracket, decision).radiance[0] * bracket.peak, expected)


@pytest.mark.parametrize("light", [0.3, 0.7])
def test_what_is_plainly_darker_than_a_clipped_reference_may_be_rejected(light):
    bracket = static_bracket(torch.full((3, 8, 8), light), (-2.0, 0.0), 1)
    bracket.code[:, :2] = 1.0
    decision = replace(nothing(bracket), correction=torch.full((1, 3, 8, 8), 0.1))
    decision.logits[:, 0] = 40.0
    rejected = compose(bracket, decision)
    unknown = rules.unknown(bracket, rejected.weights, rules.seen(bracket))
    assert ((unknown > 0.99) if light < 0.6 else (unknown > 0.5)).all()
    assert (rejected.radiance > rejected.merged * 1.5).all()


def test_a_pixel_is_raised_to_white_as_a_whole():
    bracket = static_bracket(torch.full((3, 8, 8), 0.3), (-2.0, 0.0), 1)
    bracket.code[:, :2, 0] = 1.0
    merged = torch.tensor([0.4, 0.2, 0.1])[None, :, None, None].expand(1, 3, 8, 8) / bracket.peak
    weights = torch.full((1, 4, 1, 8, 8), 0.25)
    seen = torch.zeros_like(weights)
    raised = rules.raised(bracket, merged, weights, seen) * bracket.peak
    white = CLIPPED_CODE**2.2
    expected = torch.tensor([white, white / 2, white / 4])[None, :, None, None]
    torch.testing.assert_close(raised, expected.expand_as(raised))
    assert torch.equal(rules.raised(bracket, merged, weights, torch.ones_like(seen)), merged)


def test_nothing_outside_a_warped_frame(candidates):
    bracket = candidates(3, 32, 40)
    weights = compose(bracket, nothing(bracket)).weights
    outside = bracket.trust < 0.5
    assert outside.any()
    assert weights[outside].max() < 1e-12


def test_the_correction_can_start_to_learn():
    """At its zero start, a pixel that no frame knows must already pull at the correction's head."""
    network = DFGMerge(DFGMergeConfig(width=(8, 8, 8), disentangle_width=4, code_length=8))
    code = torch.rand(1, 3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.5
    code[:, 0] = 1.0  # the reference is clipped, and the darker frame shows something dark
    candidates = Candidates(
        code,
        torch.ones(1, 3, 1, 32, 32),
        torch.tensor([[0.0, -2.0, -2.0]]),
        torch.tensor([4.0]),
        (1, 0, 0),
        (Role.REFERENCE, Role.SHORT, Role.SHORT),
        (Hypothesis.STILL, Hypothesis.STILL, Hypothesis.MOVED),
    )
    assert (
        rules.unknown(candidates, network(candidates).weights, rules.seen(candidates)).mean() > 0.9
    )
    network(candidates).radiance.mean().backward()
    assert network.correct2.weight.grad is not None
    assert network.correct2.weight.grad.abs().max() > 0


def test_the_smoothed_reference_starts_with_little_weight():
    truth = torch.full((3, 8, 8), 0.2)
    bracket = static_bracket(truth, (0.0, 2.0), 0)
    assert bracket.hypotheses[1] is Hypothesis.SMOOTHED
    weights = compose(bracket, nothing(bracket)).weights
    assert 0.0 < weights[:, 1].max() < 0.02 * weights[:, 0].min()


def test_odds_cannot_lift_a_clipped_smoothed_reference():
    truth = torch.full((3, 8, 8), 4.0)
    bracket = static_bracket(truth, (0.0, 3.0), 1)
    assert (bracket.code[:, :2] == 1.0).all()
    decision = nothing(bracket)
    decision.logits[:, 1] = 8.0  # as much as the smoothed reference starts below the reference
    weights = compose(bracket, decision).weights
    assert weights[:, :2].max() < 1e-4
