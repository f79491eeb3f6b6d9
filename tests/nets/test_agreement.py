"""What the reference says beside a network."""

from dataclasses import replace

import pytest
import torch

from dfghdr_cli.core.encoding import mu_law
from dfghdr_cli.nets.agreement import STOP, Evidence, agreement, of_reference, reference_clipped
from dfghdr_cli.nets.candidates import Hypothesis
from tests.support.candidates import exposed


def reference_agreement(stack, tolerance):
    """Logits by what the reference alone tells."""
    return agreement(stack, [of_reference(stack, reference_clipped(stack), tolerance)])


def moved(stack, k, factor):
    """The same with a candidate that shows so many times the light."""
    code = stack.code.clone()
    code[:, k] = (code[:, k] * factor ** (1 / 2.2)).clamp(0, 1)
    return replace(stack, code=code)


def test_a_stop_is_a_stop():
    light = torch.tensor([0.2, 0.4])
    assert (mu_law(light)[1] - mu_law(light)[0]).item() == pytest.approx(STOP, rel=1e-3)


def test_only_what_differs_from_the_reference_loses():
    stack = moved(exposed(torch.full((1, 3, 20, 24), 0.02)), 4, 2.0)
    logits = reference_agreement(stack, 0.05)
    assert logits.shape == stack.trust.shape
    torch.testing.assert_close(
        logits[:, [0, 1, 2, 3, 5]].abs().max(), torch.tensor(0.0), atol=1e-6, rtol=0
    )
    assert logits[:, 4].mean().item() == pytest.approx(-((STOP / 0.05) ** 2) / 2, rel=0.03)


def test_a_clipped_reference_says_nothing():
    stack = moved(exposed(torch.full((1, 3, 20, 24), 0.5)), 2, 2.0)
    assert reference_clipped(stack).min() == 1.0
    assert not reference_agreement(stack, 0.05).any()


def test_what_frames_are_apart_anyway_is_tolerated():
    stack = moved(exposed(torch.full((1, 3, 20, 24), 0.02)), 4, 2.0)
    apart = replace(stack, misfit=1.0)
    strict, mild = (reference_agreement(s, 0.05)[:, 4].mean().item() for s in (stack, apart))
    assert mild == pytest.approx(strict * (0.05 / (0.05 + STOP)) ** 2, rel=1e-4)


def test_the_smoothed_reference_is_asked():
    stack = exposed(torch.full((1, 3, 20, 24), 0.02))
    noisy = stack.code.clone()
    noisy[:, 0] *= 1.0 + 0.2 * torch.randn_like(noisy[:, 0])
    stack = replace(stack, code=noisy.clamp(0, 1))
    assert stack.hypotheses[1] is Hypothesis.SMOOTHED
    assert reference_agreement(stack, 0.02)[:, 2:].min() > -1e-6
    alone = stack.only([0, 2, 3, 4, 5])
    assert reference_agreement(alone, 0.02)[:, 1:].median() < -0.1


def test_strips_do_not_show():
    torch.manual_seed(0)
    stack = exposed(torch.rand(1, 3, 300, 16) * 0.3)
    shown, slack, share = (torch.rand(1, n, 300, 16) for n in (3, 3, 1))
    whole = agreement(stack, [Evidence(shown, slack / 10, share, 0.1)])
    rows = slice(90, 170)
    shown, slack, share = (x[..., rows, :] for x in (shown, slack, share))
    known = Evidence(shown, slack / 10, share, 0.1)
    part = agreement(stack.crop(rows, slice(None)), [known])
    torch.testing.assert_close(part[..., 2:-2, :], whole[..., 92:168, :])


def test_dark_codes_that_may_be_off_are_no_evidence():
    stack = moved(exposed(torch.full((1, 3, 20, 24), 0.0002)), 4, 2.0)
    dark = torch.tensor([0.1, 0.2, 0.96, 0.99]).expand(3, 4)
    off = torch.tensor([0.05, 0.0]).expand(3, 2)
    coarse = replace(stack, limits=dark, tolerance=off)
    assert reference_agreement(stack, 0.02)[:, 4].max() < -0.2
    assert not reference_agreement(coarse, 0.02)[:, 4].any()
    much = moved(coarse, 4, 100.0)
    assert reference_agreement(much, 0.02)[:, 4].max() < -10.0
