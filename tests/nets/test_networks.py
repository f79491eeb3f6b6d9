"""Per architecture: shapes, gradients, parameter counts, ablations, and brackets of every kind."""

from dataclasses import asdict, replace

import pytest
import torch
from torch import nn

from dfghdr_cli.errors import ModelError
from dfghdr_cli.nets.blocks import SampleNorm
from dfghdr_cli.nets.candidates import Candidates
from dfghdr_cli.nets.dfg import Role, role_shares, weighted_sum
from dfghdr_cli.nets.registry import build, describe

KINDS = ("dfgmerge", "dfgnet")
ABLATIONS = ({}, {"eau": False}, {"sau": False})
READS = {"eau": "exposure.", "sau": "spatial."}
"""The encoder that only this attention unit reads."""


def outputs(net, candidates):
    """Everything a network says, as a list of tensors."""
    if net.paints:
        return [net(candidates)]
    merge = net(candidates)
    return [merge.radiance, merge.merged, merge.weights]


@pytest.mark.parametrize(
    ("kind", "hyper_parameters", "decoder", "count"),
    [
        ("dfgnet", {}, False, 13_250_115),  # the live part of the published network
        ("dfgnet", {}, True, 37_289_606),
        ("dfgnet", {"eau": False}, False, 11_180_291),
        ("dfgnet", {"sau": False}, False, 7_050_627),
        ("dfgmerge", {}, False, 892_003),
        ("dfgmerge", {}, True, 1_715_698),
    ],
)
def test_parameter_count(kind, hyper_parameters, decoder, count):
    with torch.device("meta"):
        net = build(kind, hyper_parameters, decoder=decoder)
    assert sum(parameter.numel() for parameter in net.parameters()) == count


@pytest.mark.parametrize("ablation", ABLATIONS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_shapes_and_gradients(network, candidates, kind, ablation):
    config = asdict(network(kind).config) | ablation
    net = network(kind, config).train()
    bracket = candidates(3, 48, 64, batch=2)
    # In every frame white, so that the correction has something to do.
    bracket.code[..., :16, :16] = 1.0
    results = outputs(net, bracket)
    assert results[0].shape == (2, 3, 48, 64)
    assert all(x.min() >= 0.0 and x.max() <= 1.0 + 1e-6 for x in results)
    if kind == "dfgmerge":
        assert results[2].shape == (2, bracket.count, 1, 48, 64)
    torch.manual_seed(1)
    (results[0] * torch.randn_like(results[0])).sum().backward()
    dead = tuple(f"disentangle.{READS[unit]}" for unit in ablation)
    for name, parameter in net.named_parameters():
        if name.startswith(dead):
            assert parameter.grad is None, name
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name
    names = [name for name, _ in net.named_parameters()]
    assert any(".merge.0.exposure." in name for name in names) == ablation.get("eau", True)
    assert any(".merge.0.spatial." in name for name in names) == ablation.get("sau", True)


def test_the_decoder_learns_too(network):
    disentangle = network("dfgmerge", decoder=True).disentangle
    images = torch.rand(2, 3, 32, 48) * 2.0 - 1.0
    decoded = disentangle(images[:1], images[1:])
    assert decoded.shape == (1, 3, 32, 48)
    (decoded * torch.randn_like(decoded)).sum().backward()
    for name, parameter in disentangle.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_no_network_without_attention():
    for kind in KINDS:
        with pytest.raises(ModelError, match="attention"):
            build(kind, {"eau": False, "sau": False})


@pytest.mark.parametrize("kind", KINDS)
def test_describe_is_the_inverse_of_build(network, kind):
    net = network(kind, {"code_length": 24, "sau": False})
    name, hyper_parameters = describe(net)
    assert name == kind
    again = build(name, hyper_parameters)
    assert again.config == net.config
    assert [p.shape for p in again.parameters()] == [p.shape for p in net.parameters()]


@pytest.mark.parametrize("count", range(2, 10))
@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_frames_and_any_reference(network, candidates, kind, count):
    net = network(kind)
    for reference in {0, count // 2, count - 1}:
        bracket = candidates(count, 32, 40, reference, step=1.0)
        assert bracket.count == 2 * count
        with torch.inference_mode():
            results = outputs(net, bracket)
        for result in results:
            assert result.isfinite().all()
            assert result.min() >= 0.0
            assert result.max() <= 1.0 + 1e-6
        assert results[0].std() > 1e-3


def test_the_painter_sees_each_frame_once_as_flow_moves_it(network, candidates):
    bracket = candidates(5, 32, 40, 2)
    once = bracket.one_each()
    assert once.frames == (0, 1, 2, 3, 4)
    assert torch.equal(once.stops[0], torch.tensor([-4.0, -2.0, 0.0, 2.0, 4.0]))
    names = [hypothesis.name for hypothesis in once.hypotheses]
    assert names == ["MOVED", "MOVED", "STILL", "MOVED", "MOVED"]
    index = list(zip(bracket.frames, bracket.hypotheses, strict=True))
    for k, pair in enumerate(zip(once.frames, once.hypotheses, strict=True)):
        assert torch.equal(once.code[:, k], bracket.code[:, index.index(pair)])
        assert torch.equal(once.trust[:, k], bracket.trust[:, index.index(pair)])
    still = candidates(5, 32, 40, 2, still=True).one_each()
    assert still.frames == once.frames
    assert {hypothesis.name for hypothesis in still.hypotheses} == {"STILL"}
    net = network("dfgnet")
    with torch.inference_mode():
        assert torch.equal(net(bracket), net(once))


@pytest.mark.parametrize("kind", KINDS)
def test_frames_of_one_role_may_come_in_any_order(network, candidates, kind):
    net = network(kind)
    bracket = candidates(5, 32, 40, 2, still=True)
    order = [0, 2, 1, 4, 3]
    swapped = Candidates(
        bracket.code[:, order],
        bracket.trust[:, order],
        bracket.stops[:, order],
        bracket.peak,
        tuple(bracket.frames[k] for k in order),
        tuple(bracket.roles[k] for k in order),
        tuple(bracket.hypotheses[k] for k in order),
    )
    assert swapped.frames != bracket.frames
    with torch.inference_mode():
        before, after = outputs(net, bracket), outputs(net, swapped)
    # Not to the last bit: the sums over candidates run in another order.
    assert (before[0] - after[0]).abs().max() < 3e-6
    if kind == "dfgmerge":
        assert (before[2][:, order] - after[2]).abs().max() < 3e-6


@pytest.mark.parametrize("level", [0.0, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_black_and_white_brackets_give_numbers(network, candidates, kind, level):
    bracket = candidates(3, 32, 40)
    bracket.code[:] = level
    for net in (network(kind), build(kind, describe(network(kind))[1])):
        code = bracket.code.clone().requires_grad_(True)
        results = outputs(net, replace(bracket, code=code))
        for result in results:
            assert result.isfinite().all()
        results[0].sum().backward()
        assert code.grad.isfinite().all()
        assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


def test_the_sum_over_roles():
    x = [torch.tensor(level) for level in (1.0, 10.0, 100.0)]
    S, R, L = Role.SHORT, Role.REFERENCE, Role.LONG
    assert weighted_sum(x, role_shares((S, R, L))).item() == 111.0
    assert weighted_sum(x, role_shares((S, S, R))).item() == 5.5 + 2 * 100.0  # and plays LONG
    assert weighted_sum(x, role_shares((R, L, L))).item() == 2 * 1.0 + 55.0
    assert weighted_sum(x[:1], role_shares((R,))).item() == 3.0


@pytest.mark.parametrize("upsampling", ["transposed", "bilinear"])
def test_a_decoder_of_either_upsampling(upsampling):
    """It is configuration: built and described alike, and a flat code gives no grid if bilinear."""
    torch.manual_seed(1)
    sizes = {"width": 4, "disentangle_width": 8, "code_length": 4, "upsampling": upsampling}
    network = build("dfgnet", sizes, decoder=True).eval()
    assert describe(network)[1]["upsampling"] == upsampling
    decoder = network.disentangle.decoder
    with torch.no_grad():
        picture = decoder(torch.rand(1, 64, 8, 12), torch.rand(1, 4))
        assert picture.shape == (1, 3, 64, 96)
        flat = decoder.up1(torch.rand(1, 64, 1, 1).expand(-1, -1, 12, 12).contiguous())
    inside = flat[..., 6:-6, 6:-6]
    assert (inside.std((2, 3)).max() < 1e-5) == (upsampling == "bilinear")
    with pytest.raises(ModelError, match="upsampling"):
        build("dfgnet", sizes | {"upsampling": "nearest"}, decoder=True)


def test_a_decoder_of_another_width():
    """What merges is the same; the spatial code is as wide as the decoder wants it."""
    sizes = {"width": 4, "disentangle_width": 8, "code_length": 4}
    counts, encoders = {}, {}
    for width in (0, 4, 8):
        network = build("dfgnet", sizes | {"decoder_width": width}, decoder=True).eval()
        parts = network.disentangle
        counts[width] = sum(p.numel() for p in parts.decoder.parameters())
        encoder = {name: p.shape for name, p in parts.spatial.named_parameters()}
        assert encoder == encoders.setdefault("spatial", encoder)
        image = torch.rand(1, 3, 64, 96)
        with torch.no_grad():
            assert parts.spatial_code(image).shape == (1, 8 * (width or 8), 8, 12)
            assert parts(image, image).shape == image.shape
    assert counts[0] == counts[8] > 3 * counts[4]
    with pytest.raises(ModelError, match="impossible"):
        build("dfgnet", sizes | {"decoder_width": -1}, decoder=True)


def test_the_bilinear_decoder_starts_with_plain_normalisation():
    """AdaIN's deviation is about 1, its mean about 0; the published code's is about 0."""
    deviations = {}
    for upsampling in ("transposed", "bilinear"):
        torch.manual_seed(1)
        sizes = {"width": 4, "code_length": 64, "upsampling": upsampling}
        decoder = build("dfgnet", sizes, decoder=True).disentangle.decoder
        with torch.no_grad():
            deviations[upsampling] = decoder.deviation(0.1 * torch.randn(50, 64)).mean()
    assert deviations["bilinear"] == pytest.approx(1.0, abs=0.05)
    assert abs(deviations["transposed"]) < 0.1


def test_normalisation_in_reduced_precision_is_the_same_up_to_rounding():
    torch.manual_seed(0)
    norm = SampleNorm(4)
    nn.init.normal_(norm.offset)
    x = (3 * torch.randn(2, 4, 6, 7) + 1).bfloat16().float()
    results = []
    for given in (x.clone(), x.bfloat16()):
        given.requires_grad_(True)
        norm.zero_grad()
        y = norm(given)
        (y.float() * torch.arange(4.0)[:, None, None]).square().sum().backward()
        grads = [given.grad, norm.gain.grad, norm.offset.grad]
        results.append([each.float() for each in (y.detach(), *grads) if each is not None])
    assert len(results[0]) == len(results[1]) == 4
    for exact, rounded in zip(*results, strict=True):
        torch.testing.assert_close(rounded, exact, rtol=0.02, atol=0.02 * exact.std().item())
