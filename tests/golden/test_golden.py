"""Golden cases: the same on every run, small, and sensitive to every part of a network."""

import hashlib

import pytest
import torch
from safetensors.torch import save

from dfghdr_cli.nets.golden import TOLERANCE, golden_case, golden_error
from dfghdr_cli.nets.registry import build

KINDS = {
    "dfgmerge": {"width": [8, 8, 8], "disentangle_width": 4, "code_length": 16},
    "dfgnet": {"width": 4, "disentangle_width": 4, "code_length": 16},
}


def network(kind, decoder=False, seed=0):
    """Random weights, the heads that start at zero included."""
    torch.manual_seed(seed)
    built = build(kind, KINDS[kind], decoder=decoder)
    with torch.no_grad():
        for parameter in built.parameters():
            if not parameter.any():
                parameter.normal_(0.0, 0.05)
    return built


@pytest.mark.parametrize("decoder", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_network_gives_the_same(kind, decoder):
    built = network(kind, decoder)
    case = golden_case(built)
    assert len(save(case)) < 200_000
    assert ("decoded" in case) == decoder
    assert golden_error(built, case) == 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_shows(kind):
    built = network(kind, decoder=True)
    case = golden_case(built)
    for name, parameter in built.named_parameters():
        before = parameter.detach().clone()
        with torch.no_grad():
            parameter.add_(0.1 * torch.ones_like(parameter) + 0.1 * parameter)
        assert golden_error(built, case) > 0.0, name
        with torch.no_grad():
            parameter.copy_(before)
    assert golden_error(built, case) == 0.0


def test_the_input_is_the_same_on_every_machine():
    case = golden_case(network("dfgmerge"))
    assert hashlib.sha256(case["code"].numpy().tobytes()).hexdigest()[:16] == "387d089abd38c281"
    assert case["frames"].tolist() == [1, 1, 0, 0, 2, 2]
    assert case["hypotheses"].tolist() == [0, 2, 0, 1, 0, 1]
    clipped = (case["code"] == 255).all(1).float().mean((1, 2))
    assert clipped[0] > 0.05
    assert 0.0 < clipped[2] < clipped[0] < clipped[4]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_network_that_gives_no_number_fails(bad):
    built = network("dfgnet")
    case = golden_case(built)
    with torch.no_grad():
        built.tail2.bias[1] = float("nan")
    assert golden_error(built, case) == float("inf")
    case["hdr"][0, 1, 3, 4] = bad
    assert golden_error(build("dfgnet", KINDS["dfgnet"]), case) > TOLERANCE


def test_a_case_of_another_network_is_refused():
    merge, paint = network("dfgmerge"), network("dfgnet")
    with pytest.raises(ValueError, match="other outputs"):
        golden_error(merge, golden_case(paint))
    with pytest.raises(ValueError, match="other outputs"):
        golden_error(merge, golden_case(network("dfgmerge", decoder=True)))
    case = golden_case(merge)
    del case["stops"]
    with pytest.raises(ValueError, match="does not fit"):
        golden_error(merge, case)
    case = golden_case(merge)
    case["logits"] = case["logits"][:, :3]
    with pytest.raises(ValueError, match="shapes"):
        golden_error(merge, case)
