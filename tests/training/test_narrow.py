"""A narrower network keeps what matters of a trained one."""

from dataclasses import replace

import pytest
import torch
from torch.utils.data import default_collate

from dfghdr_cli.nets.registry import build
from dfghdr_cli.training.config import TrainConfig
from dfghdr_cli.training.narrow import _layout, is_narrower, narrowed
from dfghdr_cli.training.objectives import MergeObjective
from dfghdr_cli.training.synth import to_candidates

NARROW = (4, 6, 8)


SIZES = {"width": (8, 12, 16), "disentangle_width": 4, "code_length": 16}


def network(**change):
    """One whose heads, which start at zero, are random as well, so that all channels matter."""
    torch.manual_seed(0)
    made = build("dfgmerge", SIZES | change).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if not parameter.any():
                parameter.normal_(0.0, 0.05)
            if parameter.dim() == 4:
                parameter.mul_(2.0)
    return made


@pytest.fixture
def batch(samples):
    return default_collate([samples[0], samples[1]])


def losses(network, batch):
    yield MergeObjective(network, TrainConfig(encoders="trained"))(batch)[0]


@pytest.mark.parametrize("units", [(True, True), (False, True), (True, False)])
def test_channels_that_do_nothing_go_first(units, batch):
    """Without them the network is the same."""
    wide = network(**dict(zip(("eau", "sau"), units, strict=True)))
    narrow = replace(wide.config, width=NARROW)
    random = torch.Generator().manual_seed(1)
    layout, values = _layout(wide), wide.state_dict()
    alive = {}
    wanted = narrowed(wide, narrow, losses(wide, batch)).state_dict()
    for name, axes in layout.items():  # which half of each group's channels is to do nothing
        for axis, groups in enumerate(axes):
            if len(groups) == 1 and groups[0] not in alive:
                count, keep = values[name].shape[axis], wanted[name].shape[axis]
                mask = torch.zeros(count, dtype=torch.bool)
                mask[torch.randperm(count, generator=random)[:keep]] = True
                alive[groups[0]] = mask
    for name, axes in layout.items():
        for axis, groups in enumerate(axes):
            if groups:
                dead = ~torch.cat([alive[group] for group in groups])
                values[name].index_fill_(axis, dead.nonzero()[:, 0], 0.0)
    small = narrowed(wide, narrow, losses(wide, batch))
    candidates = to_candidates(batch)
    with torch.no_grad():
        before, after = wide(candidates), small.eval()(candidates)
    torch.testing.assert_close(after.weights, before.weights, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(after.radiance, before.radiance, rtol=1e-4, atol=1e-6)


def test_encoders_become_narrower_too(batch):
    wide = network()
    narrow = replace(wide.config, width=NARROW, disentangle_width=2)
    small = narrowed(wide, narrow, losses(wide, batch))
    assert small.config == narrow
    with torch.no_grad():
        weights = small.eval()(to_candidates(batch)).weights
    assert weights.sum(1).allclose(torch.ones(()))


@pytest.mark.parametrize(
    "change",
    [{}, {"width": (8, 12, 24)}, {"width": NARROW, "code_length": 8}, {"disentangle_width": 8}],
)
def test_only_narrower_ones(change):
    wide = network()
    other = replace(wide.config, **change)
    assert not is_narrower(other, wide.config)
    with pytest.raises(ValueError, match="not narrower"):
        narrowed(wide, other, iter(()))
