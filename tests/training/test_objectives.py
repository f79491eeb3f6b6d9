"""Stage disentangle against eq. (1) to (6), and what each stage trains."""

import pytest
import torch
from torch.utils.data import default_collate

from dfghdr_cli.nets.disentangle import to_signed
from dfghdr_cli.training.config import TrainConfig
from dfghdr_cli.training.objectives import (
    DisentangleObjective,
    LinearProbe,
    MergeObjective,
    disentangle_cases,
    re_exposed,
    spatial_change,
)
from dfghdr_cli.training.synth import to_candidates


@pytest.fixture
def batch(samples):
    return default_collate([samples[0], samples[1]])


def test_eq_3_as_published(batch):
    """The truth re-exposed, clipped and gamma-encoded."""
    frames = to_candidates(batch).still()
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


class Count(torch.nn.Module):
    """Stands for the perceptual distance: something that is easily computed."""

    def forward(self, images, targets):
        return (images - targets).square().mean()


@pytest.mark.parametrize("architecture", ["dfgmerge", "dfgnet"])
def test_the_sum_of_eq_6(architecture, network, batch):
    trained = network(architecture, decoder=True)
    config = TrainConfig(perceptual=0.5, invariance=0.0)
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

    alone = TrainConfig(perceptual=0.0, invariance=0.0)
    without, terms = DisentangleObjective(trained, alone, None)(batch)
    torch.testing.assert_close(without, recon1 + recon2)
    assert not {"per1", "change"} & set(terms)


def test_the_spatial_code_must_not_change_with_the_exposure(network, batch):
    trained = network(decoder=True)
    x, y, reference = disentangle_cases(trained, batch)
    here = trained.disentangle.spatial_code(to_signed(x[:, reference]))
    others = [i for i in range(x.shape[1]) if i != reference]
    found = [trained.disentangle.spatial_code(to_signed(y[:, i])) for i in others]
    change = sum(spatial_change(here, code) for code in found)
    plain, with_terms = (
        DisentangleObjective(trained, TrainConfig(perceptual=0.0, invariance=w), None)(batch)
        for w in (0.0, 2.0)
    )
    torch.testing.assert_close(with_terms[1]["change"], change.detach())
    expected = plain[0] + 2.0 * (change + with_terms[1]["told"])
    torch.testing.assert_close(with_terms[0], expected, rtol=1e-5, atol=1e-5)
    # In standard deviations of each channel: another scale or offset of a channel is no way out.
    assert spatial_change(here, here) == 0
    scale = torch.linspace(0.1, 10, here.shape[1])[None, :, None, None]
    torch.testing.assert_close(
        spatial_change(here * scale + 3, found[0] * scale + 3),
        spatial_change(here, found[0]),
        rtol=1e-3,
        atol=1e-5,
    )


def test_the_linear_probe():
    random = torch.Generator().manual_seed(1)
    codes = torch.randn(4000, 12, generator=random)
    numbers = 2.0 * codes[:, 3] - codes[:, 5] + torch.randn(4000, generator=random) + 7.0
    probe = LinearProbe(12)
    for batch_of in zip(codes.split(100), numbers.split(100), strict=True):
        told = probe(*batch_of)
    assert abs(told - 5 / 6) < 0.05
    encoder = torch.nn.Linear(12, 8)
    optimiser = torch.optim.Adam(encoder.parameters(), 1e-2)
    probe, seen = LinearProbe(8), []
    for _ in range(10):
        for inputs, target in zip(codes.split(100), numbers.split(100), strict=True):
            told = probe(encoder(inputs), target)
            optimiser.zero_grad()
            told.backward()
            optimiser.step()
            seen.append(float(told.detach()))
    assert seen[0] > 0.5
    assert seen[-1] < 0.1


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
