"""The perceptual distance: eq. (2) and (5) against closed forms, and weights from files."""

import logging

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dfghdr_cli.errors import InputError
from dfghdr_cli.training.perceptual import PerceptualDistance, cached_vgg, gram, read_vgg

CHANNELS = (64, 64, 128, 128, 256, 256, 256, 256)
PLACES = (0, 2, 5, 7, 10, 12, 14, 16)
NAMES = ("1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "3_4")


@pytest.fixture(scope="session")
def kernels():
    """(outputs, inputs, 3, 3) and (outputs,) of the first eight convolutions, random."""
    random, inputs, found = np.random.default_rng(0), 3, []
    for channels in CHANNELS:
        kernel = random.normal(0, np.sqrt(2 / 9 / inputs), (channels, inputs, 3, 3))
        found.append((kernel.astype(np.float16), random.normal(0, 0.1, channels)))
        inputs = channels
    return found


def write_npz(path, kernels):
    arrays = {}
    for name, (kernel, bias) in zip(NAMES, kernels, strict=False):
        block, number = name.split("_")
        arrays[f"block{block}_conv{number}.kernel"] = kernel.transpose(2, 3, 1, 0)
        arrays[f"block{block}_conv{number}.bias"] = bias.astype(np.float16)
    np.savez(path, **arrays)
    return path


def write_pth(path, kernels):
    state = {"classifier.0.weight": torch.zeros(1)}
    for place, (kernel, bias) in zip(PLACES, kernels, strict=False):
        state[f"features.{place}.weight"] = torch.from_numpy(kernel).float()
        state[f"features.{place}.bias"] = torch.from_numpy(bias.astype(np.float16)).float()
    torch.save(state, path)
    return path


@pytest.fixture(scope="session")
def npz(kernels, tmp_path_factory):
    return write_npz(tmp_path_factory.mktemp("vgg") / "vgg.npz", kernels)


def test_gram_matrix():
    features = torch.tensor([[1.0, 2.0], [3.0, -1.0]]).reshape(1, 2, 1, 2)
    torch.testing.assert_close(gram(features), torch.tensor([[[5.0, 1.0], [1.0, 10.0]]]) / 4)


def features(x, kernels):
    """relu2_2 and relu3_4 of prepared inputs, written out."""
    found = []
    for name, (kernel, bias) in zip(NAMES, kernels, strict=True):
        if name in ("2_1", "3_1"):
            x = F.max_pool2d(x, 2)
        bias = torch.from_numpy(bias.astype(np.float16)).float()
        x = F.relu(F.conv2d(x, torch.from_numpy(kernel).float(), bias, padding=1))
        if name in ("2_2", "3_4"):
            found.append(x)
    return found


@pytest.mark.parametrize("kind", ["npz", "pth"])
def test_the_distance_is_that_of_gram_matrices(kind, kernels, tmp_path):
    path = tmp_path / f"vgg.{kind}"
    images, targets = torch.rand(2, 2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    if kind == "npz":
        write_npz(path, kernels)
        means = torch.tensor([103.939, 116.779, 123.68])[:, None, None]
        prepared = [x.flip(1) * 255 - means for x in (images, targets)]
    else:
        write_pth(path, kernels)
        mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
        deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
        prepared = [(x - mean) / deviation for x in (images, targets)]
    distance = PerceptualDistance(read_vgg(path))
    assert distance.layers == ("relu2_2", "relu3_4")
    pair = [features(x, kernels) for x in prepared]
    expected = [
        (gram(a) - gram(b)).abs().mean() / scale
        for a, b, scale in zip(*pair, distance.scales, strict=True)
    ]
    torch.testing.assert_close(distance(images, targets), sum(expected) / 2, rtol=1e-3, atol=0)


def test_layers_count_alike_whatever_the_file(kernels, npz, tmp_path):
    """Grey noise has Gram matrices of mean 1, for both kinds of weights."""
    torch.manual_seed(1)
    noise = (0.5 + 0.2 * torch.randn(1, 3, 64, 64)).clamp(0, 1)
    for path in (npz, write_pth(tmp_path / "vgg.pth", kernels)):
        distance = PerceptualDistance(read_vgg(path))
        for matrix, scale in zip(distance.grams(noise), distance.scales, strict=True):
            assert float(matrix.mean() / scale) == pytest.approx(1, rel=0.1)


def test_gradients_reach_the_image_and_nothing_else(npz):
    distance = PerceptualDistance(read_vgg(npz))
    image = torch.rand(1, 3, 16, 16, requires_grad=True)
    target = torch.rand(1, 3, 16, 16, requires_grad=True)
    distance(image, target).backward()
    assert image.grad.abs().max() > 0
    assert target.grad is None
    assert all(parameter.grad is None for parameter in distance.parameters())
    assert distance(image, image).item() == 0


def test_missing_layers_are_named(npz, caplog):
    with caplog.at_level(logging.WARNING, "dfghdr_cli"):
        PerceptualDistance(read_vgg(npz))
    assert "vgg.npz lacks relu4_4, relu5_2" in caplog.text


def missing(path, kernels):
    return path


def nonsense(path, kernels):
    path.write_bytes(b"nothing of the kind")
    return path


def too_few(path, kernels):
    return write_npz(path, kernels[:3])


def other_shapes(path, kernels):
    return write_npz(path, [kernels[0], kernels[2], *kernels[2:]])


def not_finite(path, kernels):
    return write_npz(path, [(kernels[0][0] * np.float16(np.nan), kernels[0][1]), *kernels[1:]])


@pytest.mark.parametrize("suffix", [".npz", ".pth"])
@pytest.mark.parametrize("bad", [missing, nonsense, too_few, other_shapes, not_finite])
def test_a_bad_file_is_a_sentence(bad, suffix, kernels, tmp_path):
    with pytest.raises(InputError, match=r"bad\.(npz|pth).*--no-perceptual"):
        read_vgg(bad((tmp_path / "bad.npz").with_suffix(suffix), kernels))


def test_a_pickle_is_not_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("executed",))

    torch.save({"features.0.weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(InputError, match=r"evil\.pth"):
        read_vgg(tmp_path / "evil.pth")


def test_the_cache_of_torchvision_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert cached_vgg() is None
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "vgg19-dcbb9e9d.pth").write_bytes(b"")
    assert cached_vgg() == folder / "vgg19-dcbb9e9d.pth"
