"""The losses against closed forms of eq. (10) and (11)."""

import math

import pytest
import torch
from torch.utils.data import default_collate

from dfghdr_cli.training.config import TrainConfig
from dfghdr_cli.training.losses import (
    PAPER_MERGE_LOSS,
    MergeLossConfig,
    disentangle_loss,
    merge_loss,
    perceptual_loss,
    reconstruction_loss,
    tone_mapped_l1,
)
from dfghdr_cli.training.objectives import MergeObjective
from dfghdr_cli.training.synth import to_candidates


def flat(*values):
    """Flat pictures (B, 3, 4, 4)."""
    return torch.tensor(values, dtype=torch.float32)[:, None, None, None].expand(-1, 3, 4, 4)


def toned(value):
    """Eq. (10)."""
    return math.log(1 + 5000 * value) / math.log(5001)


def test_the_papers_loss_is_l1_after_the_mu_law():
    loss = merge_loss(flat(0.0, 0.5), flat(1.0, 0.1), PAPER_MERGE_LOSS)
    assert float(loss) == pytest.approx((1.0 + toned(0.5) - toned(0.1)) / 2, rel=1e-5)
    assert float(merge_loss(flat(0.3), flat(0.3), PAPER_MERGE_LOSS)) == 0


def test_eq_11_by_its_name():
    estimate, truth = flat(0.0, 0.5), flat(1.0, 0.1)
    assert torch.equal(
        tone_mapped_l1(estimate, truth), merge_loss(estimate, truth, PAPER_MERGE_LOSS)
    )


def test_eq_1_2_4_and_5_are_sums_over_the_frames():
    decoded = flat(0.1, 0.5, 0.9)[None]  # one bracket of three frames
    wanted = flat(0.2, 0.2, 0.2)[None]
    assert float(reconstruction_loss(decoded, wanted)) == pytest.approx(0.1 + 0.3 + 0.7)

    def distance(first, second):
        assert first.shape == second.shape == (3, 3, 4, 4)
        return (first - second).square().mean()

    expected = 0.1**2 + 0.3**2 + 0.7**2
    assert float(perceptual_loss(decoded, wanted, distance)) == pytest.approx(expected)


def test_eq_6_weighs_the_perceptual_terms_alone():
    one, two, four, eight = (torch.tensor(float(2**k)) for k in range(4))
    assert float(disentangle_loss((one, two), (four, eight), 0.5)) == 1 + 2 + 0.5 * (4 + 8)
    assert float(disentangle_loss((one, two), None, 0.5)) == 3


def test_our_terms_come_on_top():
    first, second = 1.0, toned(0.5) - toned(0.1)
    expected = (first + second) / 2
    expected += 5.0 * (first**2 + second**2) / 2
    expected += 0.004 * (math.log10(first**2 + 1e-5) + math.log10(second**2 + 1e-5)) / 2
    config = MergeLossConfig(squared=5.0, logarithm=0.004)
    loss = merge_loss(flat(0.0, 0.5), flat(1.0, 0.1), config)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_the_gradient_is_finite_at_the_truth_and_at_black():
    estimate = flat(0.0, 0.7).clone().requires_grad_()
    merge_loss(estimate, flat(0.0, 0.7), MergeLossConfig()).backward()
    assert torch.isfinite(estimate.grad).all()


def test_the_merge_before_its_correction_is_judged_too(network, samples):
    batch = default_collate([samples[0], samples[1]])
    batch["code"] = batch["code"].clone()
    # A white reference that all others contradict: nothing is known, so there is a correction.
    batch["code"][:, 0, :, :8, :8] = 1.0
    batch["code"][:, 1:, :, :8, :8] = 0.0
    config = MergeLossConfig(merged=0.3)
    trained = network()
    torch.nn.init.constant_(trained.correct2.bias, 0.5)
    with torch.no_grad():
        merge = trained(to_candidates(batch))
        assert not torch.equal(merge.radiance, merge.merged)
        own = merge_loss(merge.radiance, batch["truth"], config)
        before = merge_loss(merge.merged, batch["truth"], config)
        loss, _ = MergeObjective(trained, TrainConfig(loss=config))(batch)
        assert loss.item() == pytest.approx((own + 0.3 * before).item())


def test_a_painted_picture_has_no_merge_to_judge(network, samples):
    batch = default_collate([samples[0], samples[1]])
    trained = network("dfgnet")
    with torch.no_grad():
        painted = trained(to_candidates(batch))
        expected = merge_loss(painted, batch["truth"], PAPER_MERGE_LOSS).item()
        for config in (PAPER_MERGE_LOSS, MergeLossConfig(squared=0, logarithm=0, merged=9)):
            loss, terms = MergeObjective(trained, TrainConfig(loss=config))(batch)
            assert loss.item() == pytest.approx(expected)
            assert terms["error"].item() == pytest.approx(expected)
