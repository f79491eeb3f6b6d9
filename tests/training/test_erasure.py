"""After it, the averages of the spatial code say nothing about the exposure."""

import numpy as np
import pytest
import torch

from dfghdr_cli.core.probe import fit_probe, r_squared
from dfghdr_cli.nets.candidates import Candidates, code_from_linear
from dfghdr_cli.nets.disentangle import to_signed
from dfghdr_cli.training.erasure import STOPS, erase_exposure

CPU = torch.device("cpu")


def spatial_codes(network, samples):
    """Of the samples' truths at several exposures, (n, C, h, w)."""
    found = []
    for sample in samples:
        truth = torch.from_numpy(sample["truth"])
        gain = 0.18 / float(truth.mean()) * torch.exp2(torch.from_numpy(STOPS))
        stack = Candidates.of_images(code_from_linear(truth * gain[:, None, None, None]))
        with torch.no_grad():
            found.append(network.disentangle.spatial_code(to_signed(network.images(stack)[0])))
    return torch.cat(found)


@pytest.mark.parametrize("architecture", ["dfgmerge", "dfgnet"])
def test_the_exposure_cannot_be_told_any_more(architecture, network, samples):
    trained, samples = network(architecture, decoder=True), [samples[n] for n in range(10)]
    stops, groups = np.tile(STOPS, 10), np.repeat(np.arange(10), len(STOPS))

    def told():
        averages = spatial_codes(trained, samples).mean((2, 3)).double().numpy()
        return r_squared(stops, fit_probe(averages, stops, groups).predict(averages))

    before = {key: value.clone() for key, value in trained.state_dict().items()}
    assert told() > 0.9
    erase_exposure(trained, samples, CPU)
    assert told() < 0.2
    for key, value in trained.state_dict().items():
        assert torch.equal(value, before[key]) != ("tail.tail" in key)


def test_a_black_sample_does_not_count(network, samples):
    samples = [samples[n] for n in range(5)]
    black = {key: np.zeros_like(value) for key, value in samples[0].items()}
    alone, with_black = network(decoder=True), network(decoder=True)
    erase_exposure(alone, samples, CPU)
    erase_exposure(with_black, [*samples, black], CPU)
    for one, other in zip(alone.parameters(), with_black.parameters(), strict=True):
        assert torch.equal(one, other)
    erase_exposure(alone, [black], CPU)
    for one, other in zip(alone.parameters(), with_black.parameters(), strict=True):
        assert torch.equal(one, other)
