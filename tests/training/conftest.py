"""Small HDR pictures, samples and networks to train."""

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from dfghdr_cli.core.worth import CLEAN
from dfghdr_cli.nets.registry import build
from dfghdr_cli.training.camera import FORWARD, INVERSE
from dfghdr_cli.training.synth import SceneSynthesiser, SynthConfig
from tests.support.networks import TINY, one_thread  # noqa: F401

SETTINGS = {"crop": 64, "margin": 8, "batch": 2, "variants": 1, "curved": 0.0}


def hdr_picture(waves, seed=0, size=(160, 192)):
    """(H, W, 3) float16: smooth, coloured, some 6 stops of contrast, with a little grain."""
    y, x = (axis[..., None] / 32.0 for axis in np.mgrid[0 : size[0], 0 : size[1]])
    smooth = np.exp(2.0 * np.sin(waves * x + np.arange(3)) * np.cos(waves * y))
    grain = np.random.default_rng(seed).uniform(0.0, 0.3, (*size, 3))
    return (smooth + grain).astype(np.float16)


@pytest.fixture(scope="session")
def pictures():
    return [hdr_picture(1.0), hdr_picture(3.0, seed=1)]


def ideal_camera(frames, **change):
    """Of gamma 2.2, without noise and rounding, as `draw_camera` describes it."""
    light = np.linspace(0.0, 1.0, FORWARD, dtype=np.float32) ** np.float32(2.0 / 2.2)
    straight = np.linspace(0.0, 1.0, INVERSE, dtype=np.float32)
    camera = {
        "shot": np.float32(0.0),
        "read": np.float32(0.0),
        "levels": np.float32(2.0**23),
        "jpeg": np.int64(0),
        "curved": np.bool_(False),
        "forward": np.tile(light, (frames, 3, 1)),
        "inverse": np.tile(straight, (3, 1)),
        "limits": CLEAN.limits,
        "tolerance": CLEAN.tolerance,
    }
    return {name: np.asarray(value) for name, value in (camera | change).items()}


class Clean(SceneSynthesiser):
    """A camera of whose codes nothing is known but that they are linear, whatever their bits."""

    def _camera(self, rng, frames):
        clean = {"limits": CLEAN.limits, "tolerance": CLEAN.tolerance}
        return super()._camera(rng, frames) | clean


class Noisy(Clean):
    """The same, with two and a half times the noise."""

    def _camera(self, rng, frames):
        camera = super()._camera(rng, frames)
        factor = np.float32(2.5)
        return camera | {"shot": camera["shot"] * factor**2, "read": camera["read"] * factor}


class NoNoise(SceneSynthesiser):
    """A camera whose exposures and response may be wrong, but nothing else."""

    def _camera(self, rng, frames):
        ideal, own = ideal_camera(frames), super()._camera(rng, frames)
        return own | {name: ideal[name] for name in ("shot", "read", "levels", "jpeg")}


class Ideal(SceneSynthesiser):
    """A camera without noise, rounding, or errors of its response."""

    def _camera(self, rng, frames):
        return ideal_camera(frames)


class OneStop(Ideal):
    """The same, with steps of one stop that are what they are said to be."""

    @staticmethod
    def _stops(rng, signs):
        dark, bright = signs.count(-1), signs.count(1)
        return [float(stop) for stop in range(-dark, bright + 1) if stop]

    @staticmethod
    def _mistakes(rng, count):
        return np.zeros(count)


class Static(SceneSynthesiser):
    """A scene whose foreground cannot be seen."""

    def _layer(self, rng, level):
        layer = super()._layer(rng, level)
        layer.alpha[:] = 0.0
        return layer


class StaticNoNoise(Static, NoNoise):
    """Both."""


class StaticOneStop(Static, OneStop):
    """Both."""


_KINDS = (SceneSynthesiser, Clean, Noisy, NoNoise, Ideal, OneStop, Static, StaticNoNoise)
KINDS = {kind.__name__: kind for kind in (*_KINDS, StaticOneStop)}


@pytest.fixture(scope="session")
def synthesiser(pictures):
    """A function of seed, length, the name of a kind and settings."""

    def make(seed=0, length=1000, kind="SceneSynthesiser", images=pictures, **settings):
        return KINDS[kind](images, SynthConfig(**{**SETTINGS, **settings}), seed, length)

    return make


@pytest.fixture(scope="session")
def ideal():
    """A function of a number of frames: an ideal camera."""
    return ideal_camera


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
    data = SceneSynthesiser(pictures, SynthConfig(**SETTINGS), 0, 10)
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
