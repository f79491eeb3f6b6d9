"""After it, the averages of the spatial code say nothing about the exposure."""

import numpy as np
import pytest
import torch

from dfghdr_cli.core.luminance import MIDDLE_GREY, log_average, luminance_of
from dfghdr_cli.nets.dfg import Role
from dfghdr_cli.nets.disentangle import to_signed
from dfghdr_cli.training.erasure import erase_exposure, exposures_of

CPU = torch.device("cpu")


def averages(network, samples, kind):
    """Of the codes of re-exposed truths (0) or of frames (1), (n, C); their stops and samples."""
    codes, stops, groups = [], [], []
    for number, sample in enumerate(samples):
        stack, own = exposures_of(sample)[kind]
        with torch.no_grad():
            spatial = network.disentangle.spatial_code(to_signed(network.images(stack)[0]))
        codes.append(spatial.mean((2, 3)).double())
        stops += own.tolist()
        groups += [number] * len(own)
    return torch.cat(codes).numpy(), np.array(stops), np.array(groups)


@pytest.mark.parametrize("number", range(3))
def test_exposures_count_from_middle_grey(samples, number):
    (views, stops), (frames, own) = exposures_of(samples[number])
    assert stops.tolist() == [-3, -2, -1, 0, 1, 2, 3]
    dark = (views.code[0, 0] ** 2.2).numpy()  # clipped nowhere
    key = log_average(luminance_of(np.ascontiguousarray(dark.transpose(1, 2, 0))))
    assert key == pytest.approx(np.log2(MIDDLE_GREY) - 3, abs=0.01)
    # The truth is the reference without its noise; the other frames move, too.
    reference = frames.roles.index(Role.REFERENCE)
    np.testing.assert_allclose(own - own[reference], frames.stops[0].numpy(), atol=1e-5)
    codes = [*views.code[0].numpy(), frames.code[0, reference].numpy()]
    for code, stop in zip(codes, [*stops, own[reference]], strict=True):
        expected = dark * 2 ** (stop + 3)
        exposed = (expected > 0.005) & (expected < 0.8)
        ratio = np.median(code[exposed] ** 2.2 / expected[exposed])
        assert np.log2(ratio) == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("architecture", ["dfgmerge", "dfgnet"])
def test_the_exposure_cannot_be_told_any_more(architecture, network, samples):
    trained, samples = network(architecture, decoder=True), [samples[n] for n in range(10)]

    def told(kind):
        codes, stops, _ = averages(trained, samples, kind)
        codes, stops = codes - codes.mean(0), stops - stops.mean()
        covariance = codes.T @ stops
        return np.abs(covariance) / np.linalg.norm(codes, axis=0) / np.linalg.norm(stops)

    before = {key: value.clone() for key, value in trained.state_dict().items()}
    assert told(0).max() > 0.5
    assert told(1).max() > 0.5
    erase_exposure(trained, samples, CPU)
    assert told(0).max() < 1e-3
    assert told(1).max() < 1e-3
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
