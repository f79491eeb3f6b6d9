"""Stage disentangle against eq. (1) to (6), and what each stage trains."""

import math
from dataclasses import replace

import pytest
import torch
from torch.utils.data import default_collate

from dfghdr_cli.nets.disentangle import to_signed
from dfghdr_cli.training.config import TrainConfig
from dfghdr_cli.training.objectives import (
    DisentangleObjective,
    MergeObjective,
    decode_frames,
    disentangle_cases,
    divergence,
    re_exposed,
)
from dfghdr_cli.training.synth import to_candidates


@pytest.fixture
def batch(samples):
    return default_collate([samples[0], samples[1]])


def test_eq_3_as_published(batch):
    """The truth re-exposed, clipped and gamma-encoded."""
    frames = to_candidates(batch).one_each()
    out = re_exposed(batch["truth"], frames)
    assert out.shape == frames.code.shape
    for b in range(2):
        for k in range(frames.count):
            radiance = batch["truth"][b] * 2.0 ** -frames.stops[b].min()
            expected = (radiance * 2.0 ** frames.stops[b, k]).clamp(0, 1) ** (1 / 2.2)
            torch.testing.assert_close(out[b, k], expected, rtol=1e-4, atol=3e-4)


@pytest.mark.parametrize(("architecture", "side"), [("dfgmerge", 32), ("dfgnet", 64)])
def test_frames_and_targets_go_dark_to_bright(architecture, side, network, batch):
    images, targets, reference = disentangle_cases(network(architecture), batch)
    count = (batch["stops"].shape[1] + 1) // 2
    assert images.shape == targets.shape == (2, count, 3, side, side)
    assert (batch["stops"][0] < 0).sum() / 2 == reference
    means = images.mean((2, 3, 4))
    assert (means.diff(dim=1) > 0).all()
    assert (targets.mean((2, 3, 4)).diff(dim=1) > 0).all()


def test_frames_are_seen_as_the_network_was_trained_to_see_them(network, batch):
    candidates = to_candidates(batch)
    others = [k for k, stop in enumerate(batch["stops"][0]) if k > 1 and stop < 0]
    painter = network("dfgnet")
    for inputs, first in (("aligned", others[0]), ("flow", others[1])):
        painter.inputs = inputs
        images, _, _ = disentangle_cases(painter, batch)
        assert torch.equal(images[:, 0], candidates.code[:, first])
        assert torch.equal(images, painter.images(candidates))


class Count(torch.nn.Module):
    """Stands for the perceptual distance: something that is easily computed."""

    def forward(self, images, targets):
        return (images - targets).square().mean()


@pytest.mark.parametrize("architecture", ["dfgmerge", "dfgnet"])
def test_the_sum_of_eq_6(architecture, network, batch):
    trained = network(architecture, decoder=True)
    config = TrainConfig(perceptual=0.5, colour=0.0, edges=0.0)
    loss, terms = DisentangleObjective(trained, config, Count())(batch)
    x, y, reference = disentangle_cases(trained, batch)
    recon1 = recon2 = per1 = per2 = 0.0
    for i in range(x.shape[1]):
        decoded = (trained.disentangle(to_signed(x[:, i]), to_signed(x[:, i])) + 1) / 2
        recon1 += (x[:, i] - decoded).abs().mean()
        per1 += (x[:, i] - decoded).square().mean()
        if i != reference:
            decoded = trained.disentangle(to_signed(x[:, reference]), to_signed(x[:, i]))
            decoded = (decoded + 1) / 2
            recon2 += (y[:, i] - decoded).abs().mean()
            per2 += (y[:, i] - decoded).square().mean()
    expected = {"recon1": recon1, "recon2": recon2, "per1": per1, "per2": per2}
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value.detach())
    torch.testing.assert_close(terms["error"], (recon1 + recon2).detach())
    torch.testing.assert_close(loss, recon1 + recon2 + 0.5 * (per1 + per2))

    alone = TrainConfig(perceptual=0.0, colour=0.0, edges=0.0)
    without, terms = DisentangleObjective(trained, alone, None)(batch)
    torch.testing.assert_close(without, recon1 + recon2)
    assert set(terms) == {"error", "recon1", "recon2"}


PLAIN = TrainConfig(perceptual=0.0, colour=0.0, edges=0.0)


def colours_apart(error):
    """What colour weighs of an error (B, K, 3, H, W), summed over the frames."""
    apart = [error[:, :, channel] - error.mean(2) for channel in range(3)]
    return sum(one.abs().mean((0, 2, 3)).sum() for one in apart) / 3


def slopes_apart(error):
    """What edges weigh of it."""
    down, right = error.diff(dim=-2)[..., :-1], error.diff(dim=-1)[..., :-1, :]
    return sum(one.abs().mean((0, 2, 3, 4)).sum() for one in (down, right)) / 2


@pytest.mark.parametrize(("name", "apart"), [("colour", colours_apart), ("edges", slopes_apart)])
def test_colours_and_edges_count_once_more(name, apart, network, batch):
    trained = network(decoder=True)
    x, y, reference = disentangle_cases(trained, batch)
    own, other, others = decode_frames(trained, x, reference)
    plain, _ = DisentangleObjective(trained, PLAIN, None)(batch)
    loss, terms = DisentangleObjective(trained, replace(PLAIN, **{name: 2.0}), None)(batch)
    expected = apart(own - x) + apart(other - y[:, others])
    torch.testing.assert_close(terms[name], expected.detach())
    torch.testing.assert_close(loss, plain + 2.0 * expected)


def parts(objective):
    """The parts of the network that it trains, and whether the gradient reaches all of them."""
    network = objective.network
    trained = {id(parameter) for parameter in objective.trained()}
    names = {name for name, parameter in network.named_parameters() if id(parameter) in trained}
    return {".".join(name.split(".")[: 2 if "disentangle" in name else 1]) for name in names}


def test_what_each_stage_trains(network):
    encoders = {"disentangle.exposure", "disentangle.spatial"}
    with_decoder, without = network(decoder=True), network()
    whole = encoders | {"disentangle.tail", "disentangle.decoder"}
    config = TrainConfig()
    assert parts(DisentangleObjective(with_decoder, config, None)) == whole
    both, alone = (TrainConfig(stage=s, encoders="frozen") for s in ("all", "disentangle"))
    assert parts(DisentangleObjective(with_decoder, both, None)) == whole
    assert parts(DisentangleObjective(with_decoder, alone, None)) == whole - encoders
    rest = {name.split(".")[0] for name, _ in without.named_parameters()} - {"disentangle"}
    assert parts(MergeObjective(with_decoder, config)) == rest
    assert parts(MergeObjective(without, config)) == rest | encoders
    assert parts(MergeObjective(without, TrainConfig(encoders="frozen"))) == rest
    assert parts(MergeObjective(with_decoder, TrainConfig(encoders="trained"))) == rest | encoders


@pytest.mark.parametrize("architecture", ["dfgmerge", "dfgnet"])
def test_in_bfloat16_the_losses_stay_float32(architecture, network, batch):
    trained = network(architecture, decoder=True)

    def losses(precision):
        config = TrainConfig(precision=precision, perceptual=0.0)
        yield from DisentangleObjective(trained, config, None)(batch)
        yield from MergeObjective(trained, config)(batch)

    for rough, exact in zip(losses("bf16"), losses("float32"), strict=True):
        pairs = [(rough, exact)]
        if isinstance(rough, dict):
            pairs = [(rough[name], exact[name]) for name in exact]
        for a, b in pairs:
            assert a.dtype == torch.float32
            assert a.item() == pytest.approx(b.item(), rel=0.05)


def test_a_teacher_is_imitated(network, batch):
    """Where the merge is the teacher's already, the term is nothing."""
    config = TrainConfig(encoders="trained", imitation=0.5)
    own, teacher = network(), network()
    torch.nn.init.normal_(teacher.head2.weight, 0.0, 2.0)
    alone, _ = MergeObjective(own, config)(batch)
    loss, terms = MergeObjective(own, config, teacher)(batch)
    assert terms["imitation"] > 1e-4
    torch.testing.assert_close(loss, alone + 0.5 * terms["imitation"])
    _, same = MergeObjective(own, config, own)(batch)
    assert abs(same["imitation"]) < 1e-6
    loss.backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert not set(teacher.parameters()) & set(MergeObjective(own, config, teacher).parameters())


def test_divergence():
    weights = torch.tensor([[0.25, 0.75], [0.5, 0.5]])[:, :, None, None, None]
    wanted = torch.tensor([[0.5, 0.5], [0.5, 0.5]])[:, :, None, None, None]
    expected = (0.5 * math.log(0.501 / 0.251) + 0.5 * math.log(0.501 / 0.751)) / 2
    assert divergence(weights, wanted) == pytest.approx(expected, rel=1e-5)
