"""A wider network begins as what a narrower one has learnt."""

from dataclasses import replace

import pytest
import torch
from torch.utils.data import default_collate

from dfghdr_cli.nets.dfgnet import DFGNet, DFGNetConfig
from dfghdr_cli.training.synth import to_candidates
from dfghdr_cli.training.widen import times_wider, widened

NARROW = DFGNetConfig(width=4, disentangle_width=4, code_length=12)


def network(config=NARROW, *, decoder=False):
    torch.manual_seed(0)
    made = DFGNet(config, decoder=decoder).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return made


def wider(config=NARROW, times=2, **change):
    names = "width", "disentangle_width", "code_length"
    sizes = {name: times * getattr(config, name) for name in names}
    return replace(config, **sizes, **change)


@pytest.mark.parametrize("times", [2, 3])
@pytest.mark.parametrize("units", [(True, True), (False, True), (True, False)])
def test_it_computes_the_same(samples, times, units):
    narrow = network(replace(NARROW, **dict(zip(("eau", "sau"), units, strict=True))))
    wide = widened(narrow, wider(narrow.config, times), decoder=False)
    candidates = to_candidates(default_collate([samples[0]]))
    with torch.no_grad():
        torch.testing.assert_close(wide(candidates), narrow(candidates), atol=2e-5, rtol=0.0)


def test_so_do_its_encoders_and_decoder():
    narrow = network(decoder=True)
    wide = widened(narrow, wider(), decoder=True)
    x = torch.rand(2, 3, 48, 64) * 2.0 - 1.0
    with torch.no_grad():
        ours, theirs = wide.disentangle(x, x.flip(0)), narrow.disentangle(x, x.flip(0))
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=0.0)


def test_equal_channels_learn_apart(samples):
    """With even shares they would get the same gradients, and stay equal."""
    wide = widened(network(), wider(), decoder=False)
    wide(to_candidates(default_collate([samples[0]]))).mean().backward()
    gradient = wide.encoder.stages[1][0].conv.weight.grad
    assert gradient is not None
    assert not torch.allclose(gradient[0::2], gradient[1::2], rtol=0.05)


@pytest.mark.parametrize("change", [{"upsampling": "bilinear"}, {"decoder_width": 4}])
def test_another_decoder_begins_afresh(change):
    narrow = network(decoder=True)
    wide = widened(narrow, wider(**change), decoder=True)
    mean = wide.disentangle.decoder.mean.weight
    assert not torch.equal(mean[0::2], mean[1::2])
    assert torch.equal(
        wide.disentangle.spatial.head.weight[0::2], narrow.disentangle.spatial.head.weight
    )


@pytest.mark.parametrize(
    "config",
    [
        NARROW,
        replace(wider(), width=6),
        replace(wider(), code_length=13),
        replace(wider(), eau=False),
        replace(NARROW, width=2),
    ],
)
def test_only_a_whole_number_of_times(config):
    assert times_wider(config, NARROW) is None
    with pytest.raises(ValueError, match="whole number"):
        widened(network(), config, decoder=False)
