"""A painted picture as a guide for merging the frames."""

from dataclasses import replace

import pytest
import torch

from dfghdr_cli.core.encoding import mu_law
from dfghdr_cli.nets.candidates import Hypothesis
from dfghdr_cli.nets.compose import compose
from dfghdr_cli.nets.guide import guide
from tests.support.candidates import exposed


@pytest.fixture
def truth():
    torch.manual_seed(0)
    return torch.rand(1, 3, 40, 48) * 0.2 + 0.002


def test_a_still_scene_merges_to_the_truth_whatever_was_painted(truth):
    merge = compose(exposed(truth), guide(torch.rand_like(truth), exposed(truth)))
    torch.testing.assert_close(merge.radiance, truth, rtol=1e-4, atol=1e-6)


def test_what_disagrees_does_not_count(truth):
    stack = exposed(truth)
    code = stack.code.clone()
    code[:, 4:, :, 10:30, 10:30] = 0.6  # the long frame shows something else, in both versions
    stack = replace(stack, code=code)
    noisy = (truth * (1 + 0.1 * torch.randn_like(truth))).clamp(0, 1)
    merge = compose(stack, guide(noisy, stack))
    inside = (..., slice(13, 27), slice(13, 27))
    assert merge.weights[:, 4:][inside].max() < 0.01
    torch.testing.assert_close(merge.radiance[inside], truth[inside], rtol=0.02, atol=1e-4)


def test_where_no_frame_is_usable_the_picture_is_taken(truth):
    stack = exposed(torch.full_like(truth, 1.2))
    painted = torch.full_like(truth, 0.97)
    code = stack.code.clone()
    code[:, 2:4] = 0.3  # the short frame shows something dark
    stack = replace(stack, code=code)
    merge = compose(stack, guide(painted, stack))
    torch.testing.assert_close(mu_law(merge.radiance), mu_law(painted), rtol=0, atol=2e-3)


def test_strips_do_not_show():
    torch.manual_seed(1)
    truth = torch.rand(1, 3, 300, 24) * 0.9
    stack = exposed(truth)
    painted = torch.rand_like(truth)
    whole = guide(painted, stack)
    rows = slice(100, 160)
    part = guide(painted[..., 90:170, :], stack.crop(slice(90, 170), slice(None)))
    torch.testing.assert_close(part.logits[..., 10:70, :], whole.logits[..., rows, :])
    torch.testing.assert_close(part.correction[..., 10:70, :], whole.correction[..., rows, :])


def test_where_the_reference_measures_it_decides_and_not_the_picture(truth):
    scene = torch.full_like(truth, 0.02)  # a third of the white of the long frame
    stack = exposed(scene)
    code = stack.code.clone()
    code[:, 4] *= 2 ** (1 / 2.2)  # the long frame as it is aligned shows what was painted
    stack = replace(stack, code=code)
    weights = compose(stack, guide(scene * 2, stack)).weights
    assert weights[:, 4].max() < 0.01
    assert weights[:, 5].min() > 0.3


def test_where_the_reference_is_clipped_the_picture_decides(truth):
    scene = torch.full_like(truth, 0.5)  # twice the white of the reference
    stack = exposed(scene)
    code = stack.code.clone()
    code[:, 2] *= 2 ** (1 / 2.2)  # the short frame as it is aligned shows something brighter
    stack = replace(stack, code=code)
    weights = compose(stack, guide(scene, stack)).weights
    assert weights[:, 2].max() < 0.05
    assert weights[:, 3].min() > 0.95


def test_noise_of_the_reference_is_no_difference(truth):
    still = torch.full_like(truth, 0.02)
    stack = exposed(still)
    noise = 1 + 0.3 * torch.randn_like(truth)
    code = stack.code.clone()
    code[:, 0] *= noise.clamp_min(0) ** (1 / 2.2)  # all of it is taken away in candidate 1
    stack = replace(stack, code=code)
    assert stack.hypotheses[1] is Hypothesis.SMOOTHED
    weights = compose(stack, guide(still, stack)).weights
    assert weights[:, 4:].sum(1).median() > 0.5  # the long frame, in both versions
