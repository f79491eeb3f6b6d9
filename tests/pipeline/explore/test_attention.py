"""What is shown of the DFG modules is what they do."""

import numpy as np
import pytest
import torch

from dfghdr_cli.nets.dfg import Role
from dfghdr_cli.pipeline.explore.attention import explore_attention
from dfghdr_cli.pipeline.explore.explorer import load_explorer

STOPS = (-2.0, 0.0, 2.0)


@pytest.fixture
def paths(make_scene, tmp_path):
    make_scene(tmp_path / "scene", size=(38, 52))
    return sorted((tmp_path / "scene").glob("*.tif"))


def by_role(explorer, gates, exposures):
    """Make both units answer the same everywhere, as told for each role."""
    with torch.no_grad():
        for module in explorer.model.network.encoder.merge:
            for role in Role:
                if module.spatial is not None:
                    module.spatial.gate[role].weight.zero_()
                    module.spatial.gate[role].bias.fill_(gates[role])
                if module.exposure is not None:
                    module.exposure.dense[role].weight.zero_()
                    module.exposure.dense[role].bias.fill_(exposures[role])


def test_dfgnet_shows_each_frame_with_its_own_attention(install, paths):
    explorer = load_explorer(install("dfgnet", decoder=False), "cpu")
    by_role(explorer, (-2.0, 0.0, 1.0), np.log((1.0, 5.0, 2.0)))
    found = explore_attention(explorer, paths, STOPS)
    assert found.labels == ("-2 EV, warped by flow", "0 EV, as aligned", "+2 EV, warped by flow")
    assert found.weights is None
    assert [gate.shape for gate in found.gates] == [(3, 38, 52), (3, 19, 26), (3, 10, 13)]
    for gate in found.gates:
        expected = 1 / (1 + np.exp([2.0, 0.0, -1.0]))
        np.testing.assert_allclose(gate, np.broadcast_to(expected[:, None, None], gate.shape), 1e-5)
    for weights, spread in zip(found.exposure, found.spread, strict=True):
        np.testing.assert_allclose(weights, (1 / 8, 5 / 8, 2 / 8), rtol=1e-5)
        np.testing.assert_allclose(spread, 0.0, atol=1e-6)


def test_dfgmerge_shows_its_candidates_and_their_share(install, paths):
    explorer = load_explorer(install("dfgmerge", decoder=False), "cpu")
    by_role(explorer, (-2.0, 0.0, 1.0), np.log((1.0, 5.0, 2.0)))
    found = explore_attention(explorer, paths, STOPS)
    assert found.labels[:4] == (
        "0 EV, as aligned",
        "0 EV, smoothed",
        "-2 EV, as aligned",
        "-2 EV, warped by flow",
    )
    assert found.names[5] == f"{paths[2].name}, warped by flow"
    assert found.gates[0].shape == (6, 19, 26)
    means = found.gates[1].mean((1, 2))
    np.testing.assert_allclose(means, 1 / (1 + np.exp([0.0, 0.0, 2.0, 2.0, -1.0, -1.0])), 1e-5)
    np.testing.assert_allclose(found.exposure[0].sum(), 1.0, rtol=1e-5)
    np.testing.assert_allclose(found.weights.sum(0), 1.0, atol=1e-5)
    assert found.weights.shape == (6, 38, 52)


def test_the_network_is_left_as_it_was(install, paths):
    explorer = load_explorer(install("dfgnet"), "cpu")
    first = explore_attention(explorer, paths, STOPS)
    second = explore_attention(explorer, paths, STOPS)
    assert len(second.gates) == 3
    np.testing.assert_array_equal(first.gates[2], second.gates[2])
    assert first.gates[0].std() > 0


@pytest.mark.parametrize("missing", ["eau", "sau"])
def test_a_missing_unit_shows_nothing(install, paths, missing):
    explorer = load_explorer(install("dfgnet", decoder=False, **{missing: False}), "cpu")
    found = explore_attention(explorer, paths, STOPS)
    assert len(found.gates) == (0 if missing == "sau" else 3)
    assert len(found.exposure) == (0 if missing == "eau" else 3)
