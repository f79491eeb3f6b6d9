"""A picture in tiles is the picture whole: statistics, decisions, and how far a network looks."""

from dataclasses import replace

import pytest
import torch

from dfghdr_cli.errors import ModelError
from dfghdr_cli.merging.tiling import image_statistics, run_tiled
from dfghdr_cli.nets.disentangle import to_signed
from dfghdr_cli.nets.registry import build

KINDS = ("dfgmerge", "dfgnet")
TILES = {"dfgmerge": 40, "dfgnet": 36}
REACH = {"dfgmerge": (55, 51), "dfgnet": (21, 19)}


def run_whole(network, candidates):
    """Padded as `run_tiled` pads, with one set of statistics a frame, but in one piece."""
    height, width = candidates.code.shape[-2:]
    padded = candidates.pad(network.size_multiple)
    frames = network.select(padded).frames
    statistics = network.disentangle.statistics(to_signed(network.images(padded)[0]))
    statistics = statistics.of([frames.index(frame) for frame in frames])
    return [x[..., :height, :width] for x in network.infer(padded, statistics)]


def largest_difference(pairs):
    return max(float((a - b).abs().max()) for a, b in pairs)


@pytest.mark.parametrize("kind", KINDS)
def test_tiled_is_whole(network, candidates, kind):
    net = network(
        kind, {} if kind == "dfgmerge" else {"width": 16, "disentangle_width": 16}, gain=2.0
    )
    bracket = candidates(3, 197, 261)
    done = []
    with torch.inference_mode():
        whole = run_whole(net, bracket)
        tiled = run_tiled(net, bracket, TILES[kind], lambda *step: done.append(step))
    assert len(done) >= 30
    assert done[-1] == (len(done), len(done), "network")
    for one in whole:
        assert one.std() > 0.03  # it is a picture, so that the next line can fail
    assert largest_difference(zip(tiled, whole, strict=True)) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_a_smaller_halo_shows(network, candidates, kind, monkeypatch):
    net = network(kind, gain=2.0)
    bracket = candidates(3, 197, 261)
    # The outermost pixels count for so little that rounding hides them; two strides do not.
    monkeypatch.setattr(type(net), "halo", net.halo - 2 * net.stride)
    with torch.inference_mode():
        whole = run_whole(net, bracket)
        less = run_tiled(net, bracket, 64)
    assert largest_difference(zip(less, whole, strict=True)) > 2e-5


@pytest.mark.parametrize("kind", KINDS)
def test_how_far_an_output_pixel_looks(network, candidates, kind):
    net = network(kind)
    bracket = candidates(3, 160, 160)
    with torch.no_grad():
        statistics = net.disentangle.statistics(to_signed(net.images(bracket).flatten(0, 1)))
    low = high = 0
    for pixel in range(80, 80 + net.stride):
        code = bracket.code.clone().requires_grad_(True)
        seen = replace(bracket, code=code)
        result = net.infer(seen, statistics)
        sum(x[..., pixel, pixel].sum() for x in result).backward()
        touched = code.grad.abs().sum((0, 1, 2)).nonzero()
        low = max(low, pixel - int(touched.min()))
        high = max(high, int(touched.max()) - pixel)
    assert (low, high) == REACH[kind]
    assert net.halo - net.stride < low <= net.halo
    assert net.halo % net.stride == 0


def test_how_far_the_exposure_encoder_looks(network):
    encoder = network("dfgnet").disentangle.exposure
    images = torch.rand(1, 3, 192, 192, requires_grad=True)
    cell = 5
    encoder.features(images)[..., cell, cell].sum().backward()
    touched = images.grad.abs().sum((0, 1)).nonzero()
    first, last = int(touched.min()), int(touched.max())
    assert cell * encoder.stride - first == 18
    assert last - ((cell + 1) * encoder.stride - 1) == 18
    assert encoder.halo == 32


@pytest.mark.parametrize("tile", [16, 48, 512])
def test_statistics_in_tiles(network, tile):
    disentangle = network("dfgnet").disentangle
    images = torch.rand(2, 3, 112, 144) ** torch.tensor([1.0, 3.0])[:, None, None, None]
    with torch.inference_mode():
        whole = disentangle.statistics(to_signed(images))
        tiled = image_statistics(disentangle, images, tile)
    assert (whole.code - tiled.code).abs().max() < 1e-6
    for ours, theirs in zip(tiled.moments, whole.moments, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert (a - b).abs().max() < 1e-6
    assert (whole.moments[0][0][0] - whole.moments[0][0][1]).abs() > 0.01


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (33, 31)])
@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_any_size(network, candidates, kind, size):
    with torch.inference_mode():
        for result in run_tiled(network(kind), candidates(3, *size), 32):
            assert result.shape[-2:] == size
            assert result.isfinite().all()


def test_an_untrained_merge_decides_nothing(candidates):
    with torch.inference_mode():
        logits, correction = run_tiled(build("dfgmerge", {}), candidates(3, 40, 50))
    assert not logits.any()
    assert not correction.any()


@pytest.mark.parametrize("value", [float("nan"), 3e38])
def test_weights_that_lead_to_no_numbers_are_refused(network, candidates, value):
    net = network("dfgmerge", {})
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(value)
    with torch.inference_mode(), pytest.raises(ModelError, match="damaged"):
        run_tiled(net, candidates(3, 40, 40), 40)
