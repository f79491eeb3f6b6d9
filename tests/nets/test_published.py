"""DFGNet and the disentangle network against the outputs of the published code."""

from itertools import product
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dfghdr_cli.errors import ModelError
from dfghdr_cli.nets.candidates import Candidates, Hypothesis
from dfghdr_cli.nets.dfg import Role
from dfghdr_cli.nets.disentangle import to_signed
from dfghdr_cli.nets.published import DECODER, EXPOSURE, MERGER, SPATIAL, network_from_published

FOLDER = Path(__file__).parents[1] / "fixtures" / "published-width8"
PARTS = (MERGER, EXPOSURE, SPATIAL, DECODER)
STEP = 11
TOLERANCE = 1e-5
PICTURE_TOLERANCE = 2e-6  # tight, since swapping two channels of some tensors changes it by 8e-6


@pytest.fixture
def parts():
    return {part: load_file(FOLDER / f"{part}.safetensors") for part in PARTS}


@pytest.fixture(scope="module")
def io():
    return load_file(FOLDER / "io.safetensors")


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def differs(value, golden):
    """Largest absolute difference; the golden tensor may hold every eleventh value only."""
    if value.shape != golden.shape:
        value = value.flatten()[::STEP]
    assert value.shape == golden.shape
    return float((value - golden).abs().max())


def candidates(io):
    stops = io["ev"] - io["ev"][1]
    roles = (Role.SHORT, Role.REFERENCE, Role.LONG)
    trust = torch.ones(1, 3, 1, *io["ldr"].shape[-2:])
    peak = torch.exp2(-stops.min())[None]
    return Candidates(
        io["ldr"][None], trust, stops[None], peak, (0, 1, 2), roles, (Hypothesis.STILL,) * 3
    )


@pytest.mark.parametrize("decoder", [True, False])
def test_the_picture(parts, io, decoder):
    if not decoder:
        del parts[DECODER]
    network = network_from_published(parts)
    assert (network.disentangle.decoder is not None) == decoder
    assert differs(network(candidates(io)), io["hdr"]) < PICTURE_TOLERANCE


def test_exposure_codes(parts, io):
    parts[EXPOSURE] |= {"fc.weight": io["fc.weight"], "fc.bias": io["fc.bias"]}
    for part in (MERGER, DECODER):  # whatever reads the long code does not matter here
        for name, tensor in parts[part].items():
            if tensor.dim() == 2:
                parts[part][name] = torch.zeros(len(tensor), len(io["fc.bias"]))
    network = network_from_published(parts)
    assert network.config.code_length == 1024
    codes = network.disentangle.exposure(to_signed(io["ldr"]))
    assert differs(codes, io["exposure_code"]) < TOLERANCE


def test_spatial_taps_and_code(parts, io):
    disentangle = network_from_published(parts).disentangle
    images = to_signed(io["ldr"])
    taps = disentangle.spatial(images)
    for index, tap in enumerate(taps, 1):
        assert differs(tap, io[f"spatial_tap{index}"]) < TOLERANCE, index
    assert differs(disentangle.tail(taps[2]), io["spatial_code"]) < TOLERANCE


def test_the_spatial_code_is_what_adain_leaves(parts, io):
    """Its averages and deviations say nothing."""
    disentangle = network_from_published(parts).disentangle
    deviation, mean = torch.std_mean(disentangle.spatial_code(to_signed(io["ldr"])), (2, 3))
    assert mean.abs().max() < 1e-4
    assert (deviation - 1).abs().max() < 1e-3


def test_decoded_images(parts, io):
    disentangle = network_from_published(parts).disentangle
    images = to_signed(io["ldr"])
    for i, j in product(range(3), repeat=2):
        decoded = disentangle(images[i : i + 1], images[j : j + 1])
        golden = io[f"decoded_sp{i}_ex{j}"]
        assert differs(decoded, golden) < TOLERANCE, (i, j)


def test_every_published_tensor_is_taken(parts):
    network = network_from_published(parts)
    assert len(network.state_dict()) == sum(map(len, parts.values()))
    assert all(not p.is_meta and p.requires_grad for p in network.parameters())


@pytest.mark.parametrize(("unit", "eau", "sau"), [("eau", False, True), ("sau", True, False)])
def test_ablated_networks_are_recognised(parts, unit, eau, sau):
    merger = {k: v for k, v in parts[MERGER].items() if not k.startswith(unit)}
    # Half of the merged maps is missing: the layers that read them are narrower.
    merger["tconv1.weight"] = merger["tconv1.weight"][:32]
    merger["tconv2.weight"] = merger["tconv2.weight"][:32]
    merger["conv_tail.weight"] = merger["conv_tail.weight"][:, :16]
    config = network_from_published(parts | {MERGER: merger}).config
    assert (config.width, config.disentangle_width, config.code_length) == (8, 8, 32)
    assert (config.eau, config.sau) == (eau, sau)


def test_half_precision_becomes_single(parts):
    halves = {part: {k: v.half() for k, v in state.items()} for part, state in parts.items()}
    assert {p.dtype for p in network_from_published(halves).parameters()} == {torch.float32}


def test_the_network_has_its_own_copy(parts):
    network = network_from_published(parts)
    parts[MERGER]["conv1_1.weight"].zero_()
    assert network.encoder.stages[0][0].conv.weight.abs().max() > 0


def broken(change):
    return pytest.param(change, id=change.__name__)


def lacks_a_tensor(parts):
    del parts[SPATIAL]["ln2.gamma"]
    return r"lack spatial_encoder's ln2\.gamma"


def lacks_a_part(parts):
    del parts[EXPOSURE]
    return "lack exposure_encoder's headconv.weight"


def lacks_everything(parts):
    parts.clear()
    return "lack DFGNet's conv1_1.weight"


def lacks_much(parts):
    parts[DECODER].clear()
    return r"lack decoder's fc_mean\.weight, .*, .* and \d+ more"


def lacks_both_attention_units(parts):
    parts[MERGER] = {k: v for k, v in parts[MERGER].items() if not k.startswith(("eau", "sau"))}
    return "neither eau nor sau"


def has_an_unknown_module(parts):
    parts[MERGER]["conv9_1.weight"] = torch.zeros(8)
    return "no DFGNet's conv9_1.weight"


def has_an_unknown_parameter(parts):
    parts[EXPOSURE]["fc.scale"] = torch.zeros(8)
    return "no exposure_encoder's fc.scale"


def has_a_wrong_shape(parts):
    parts[MERGER]["conv2_3.weight"] = torch.zeros(16, 8, 3, 1)
    return r"DFGNet's conv2_3.weight has the shape \(16, 8, 3, 1\) .* \(16, 8, 3, 3\)"


def has_parts_of_two_trainings(parts):
    parts[EXPOSURE] = {"headconv.weight": torch.zeros(16, 3, 7, 7)} | {
        k: v for k, v in parts[EXPOSURE].items() if k != "headconv.weight"
    }
    return "one training"


def has_an_empty_tensor(parts):
    parts[MERGER]["conv1_1.weight"] = torch.zeros(0, 6, 3, 3)
    return "is empty"


def has_a_scalar(parts):
    parts[EXPOSURE]["fc.weight"] = torch.tensor(1.0)
    return "is empty"


def has_a_nan(parts):
    parts[DECODER]["headconv.bias"][3] = float("nan")
    return "decoder's headconv.bias holds"


def has_integers(parts):
    parts[MERGER]["conv1_1.bias"] = parts[MERGER]["conv1_1.bias"].long()
    return "DFGNet's conv1_1.bias holds"


@pytest.mark.parametrize(
    "breaking",
    [
        broken(change)
        for change in (
            lacks_a_tensor,
            lacks_a_part,
            lacks_everything,
            lacks_much,
            lacks_both_attention_units,
            has_an_unknown_module,
            has_an_unknown_parameter,
            has_a_wrong_shape,
            has_parts_of_two_trainings,
            has_an_empty_tensor,
            has_a_scalar,
            has_a_nan,
            has_integers,
        )
    ],
)
def test_unusable_weights_are_refused(parts, breaking):
    message = breaking(parts)
    with pytest.raises(ModelError, match=message):
        network_from_published(parts)
