"""A network that disentangles perfectly, pictures to show it, and small real networks on disk."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dfghdr_cli.core.types import RadianceImage
from dfghdr_cli.io.radiance import write_radiance
from dfghdr_cli.modelstore import save_model
from dfghdr_cli.nets.registry import build

KINDS = {
    "dfgnet": {"width": 8, "disentangle_width": 4, "code_length": 8},
    "dfgmerge": {"width": (4, 4, 4), "disentangle_width": 4, "code_length": 8},
}


class Oracle:
    """Codes that disentangle perfectly as long as nothing is clipped.

    The exposure code is the average of the logarithm, three times with other gains; the spatial
    code is what is left. With `leak` the spatial code is the image itself.
    """

    name = "oracle"
    model = SimpleNamespace(digest="0" * 12)

    def __init__(self, leak=False):
        self.leak = leak

    def require_decoder(self):
        return self.decode

    def images(self, codes):
        return torch.from_numpy(np.stack(codes).transpose(0, 3, 1, 2))

    def exposure_codes(self, images):
        luminance = torch.einsum("nchw,c->nhw", images**2.2, torch.tensor([0.2126, 0.7152, 0.0722]))
        level = torch.log2(luminance).mean((1, 2))
        return level[:, None] * torch.tensor([1.0, -2.0, 0.1])

    def spatial_codes(self, images):
        if self.leak:
            return images
        level = self.exposure_codes(images)[:, 0]
        return images**2.2 / torch.exp2(level)[:, None, None, None]

    def decode(self, spatial, exposure):
        gain = torch.exp2(exposure[:, 0])[:, None, None, None]
        return (spatial * gain).clamp(0, 1) ** (1 / 2.2)


@pytest.fixture
def oracle():
    return Oracle


@pytest.fixture
def install(models_dir):
    """A function that saves a small untrained network as a model; it returns the model's name."""

    def save(kind="dfgnet", name=None, *, decoder=True, seed=0, **more):
        torch.manual_seed(seed)
        network = build(kind, KINDS[kind] | more, decoder=decoder)
        save_model(models_dir / (name or kind), network)
        return name or kind

    return save


@pytest.fixture
def hdr(tmp_path):
    """Four HDR images of low contrast, in units far apart."""
    folder = tmp_path / "hdr"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        coarse = torch.from_numpy(rng.normal(size=(1, 3, 9, 14)))
        fine = F.interpolate(coarse, (72, 112), mode="bicubic")[0].numpy().transpose(1, 2, 0)
        pixels = np.exp2(0.2 * fine + 5.0 * number).astype(np.float32)
        write_radiance(folder / f"{number}.exr", RadianceImage(pixels, 1.0), exr_type="float")
    return folder
