"""What a merging network sees of frames that are apart."""

from dataclasses import replace

import torch

from dfghdr_cli.core.encoding import GAMMA
from dfghdr_cli.nets.candidates import Candidates, Hypothesis, candidate_layout
from dfghdr_cli.nets.features import equal_exposure_difference


def two_frames(apart):
    """A reference and a frame one stop brighter, which shows `apart` stops more light than that."""
    frames, roles, hypotheses = candidate_layout(2, 0, (Hypothesis.STILL,))
    code = torch.linspace(0.1, 0.4, 12).reshape(1, 1, 1, 3, 4).expand(1, 2, 3, 3, 4).clone()
    code[:, 1] *= 2.0 ** ((1.0 + apart) / GAMMA)
    stops, trust = torch.tensor([[0.0, 1.0]]), torch.ones(1, 2, 1, 3, 4)
    return Candidates(code, trust, stops, torch.ones(1), frames, roles, hypotheses)


def test_frames_may_be_apart_by_what_no_response_explains():
    stack = two_frames(0.3)
    assert equal_exposure_difference(stack)[:, 1].min() > 0.01
    unsure = replace(stack, misfit=0.3)
    torch.testing.assert_close(
        equal_exposure_difference(unsure), torch.zeros(1, 2, 3, 3, 4), atol=1e-6, rtol=0.0
    )
    left = equal_exposure_difference(replace(stack, misfit=0.2))
    assert 0.0 < left[:, 1].min() < 0.5 * equal_exposure_difference(stack)[:, 1].min()


def test_what_is_further_apart_has_moved():
    stack = two_frames(1.0)
    plain = equal_exposure_difference(stack)
    left = equal_exposure_difference(replace(stack, misfit=0.3))
    assert (left[:, 1] > 0.5 * plain[:, 1]).all()
    assert (left[:, 1] < plain[:, 1]).all()
