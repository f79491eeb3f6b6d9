"""Small HDR pictures, samples and networks to train."""

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from dfghdr_cli.nets.registry import build
from dfghdr_cli.training.synth import SynthConfig, TripletSynthesiser

TINY = {"width": (8, 8, 8), "disentangle_width": 4, "code_length": 8}


def hdr_picture(waves, seed=0, size=(160, 192)):
    """(H, W, 3) float16: smooth, coloured, some 6 stops of contrast, with a little grain."""
    y, x = (axis[..., None] / 32.0 for axis in np.mgrid[0 : size[0], 0 : size[1]])
    smooth = np.exp(2.0 * np.sin(waves * x + np.arange(3)) * np.cos(waves * y))
    grain = np.random.default_rng(seed).uniform(0.0, 0.3, (*size, 3))
    return (smooth + grain).astype(np.float16)


@pytest.fixture(autouse=True)
def one_thread():
    """The sums of one thread always come in the same order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def little_to_erase_from(monkeypatch):
    monkeypatch.setattr("dfghdr_cli.training.erasure.SAMPLES", 10)


@pytest.fixture(scope="session")
def pictures():
    return [hdr_picture(1.0), hdr_picture(3.0, seed=1)]


@pytest.fixture
def synthesiser(pictures):
    """A function of seed, length and the synthesiser's class."""

    def make(seed=0, length=1000, kind=TripletSynthesiser):
        return kind(pictures, SynthConfig(crop=64, margin=8, batch=2), seed, length)

    return make


class Listed(Dataset):
    """Samples that are there already, over and over."""

    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return 1_000_000

    def __getitem__(self, index):
        return self.samples[index % len(self.samples)]


@pytest.fixture(scope="session")
def samples(pictures):
    """Five batches of two samples, so that no checkpoint falls on the start of the list again."""
    data = TripletSynthesiser(pictures, SynthConfig(crop=64, margin=8, batch=2), 0, 10)
    return Listed([data[index] for index in range(10)])


@pytest.fixture
def network():
    """A function of the architecture: always the same small random network."""

    def make(architecture="dfgmerge", *, decoder=False):
        torch.manual_seed(0)
        if architecture == "dfgnet":
            sizes = {"width": 4, "disentangle_width": 4, "code_length": 8}
            return build("dfgnet", sizes, decoder=decoder)
        return build("dfgmerge", TINY, decoder=decoder)

    return make
