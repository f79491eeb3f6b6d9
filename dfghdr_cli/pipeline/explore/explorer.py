"""A model whose codes are looked at: what its encoders make of images, and its decoder of codes."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dfghdr_cli.core.types import FloatImage
from dfghdr_cli.devices import choose_device
from dfghdr_cli.errors import ModelError
from dfghdr_cli.modelfolders import find_models
from dfghdr_cli.modelstore import DEFAULT_MODEL, Model, load_model, read_info
from dfghdr_cli.nets.candidates import Candidates
from dfghdr_cli.nets.disentangle import Decoder, from_signed, to_signed


@dataclass(frozen=True, slots=True)
class Explorer:
    """A model whose codes are looked at.

    Attributes:
        model: the model, its network on `device`.
        device: where it computes.
    """

    model: Model
    device: torch.device

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model.info.name

    def require_decoder(self) -> Decoder:
        """D, which turns codes into pictures.

        Raises:
            ModelError: if the model has none.
        """
        decoder = self.model.network.disentangle.decoder
        if decoder is None:
            others = ", ".join(_models_with_decoder())
            remedy = f"take one that has ({others})" if others else "train one with `dfghdr train`"
            raise ModelError(
                f"model {self.name} has no decoder, so its codes cannot be turned into pictures; "
                f"{remedy}, or look at --attention, which works with every model"
            )
        return decoder

    def images(self, codes: Sequence[FloatImage]) -> Tensor:
        """What the encoders look at.

        Args:
            codes: n images (H, W, 3) float32 of one size, gamma codes in [0, 1].

        Returns:
            (n, 3, h, w) gamma codes in [0, 1]: the images themselves, or what the network's
            architecture makes of them, their borders repeated to a multiple of what it needs.
        """
        code = torch.from_numpy(np.stack(codes).transpose(0, 3, 1, 2)).to(self.device)
        stack = Candidates.of_images(code)
        network = self.model.network
        return network.images(stack.pad(network.size_multiple))[0]

    def exposure_codes(self, images: Tensor) -> Tensor:
        """F_ex (n, L) of images (n, 3, h, w), gamma codes in [0, 1] as `images` returns them."""
        return self.model.network.disentangle.exposure(to_signed(images))

    def spatial_codes(self, images: Tensor) -> Tensor:
        """F_sp (n, C, h / 8, w / 8) of images (n, 3, h, w), as `images` returns them.

        Raises:
            ModelError: if the model has no decoder, and so no spatial code.
        """
        self.require_decoder()
        return self.model.network.disentangle.spatial_code(to_signed(images))

    def decode(self, spatial: Tensor, exposure: Tensor) -> Tensor:
        """D(F_sp, F_ex) as gamma codes (n, 3, h, w), nominally in [0, 1] and not clipped.

        Args:
            spatial: (n, C, h / 8, w / 8).
            exposure: (n, L).

        Raises:
            ModelError: if the model has no decoder.
        """
        return from_signed(self.require_decoder()(spatial, exposure))


def load_explorer(
    model: str | None = None, device: str = "auto", *, decoder: bool = True
) -> Explorer:
    """Choose the device and load the model.

    Args:
        model: name or folder of a model; None takes the default one, or, if a decoder is wanted
            and it has none, the first of those found that has.
        device: see `dfghdr_cli.devices.choose_device`.
        decoder: whether a decoder is wanted.

    Raises:
        ModelError: if the model cannot be loaded.
        DeviceError: if the device is not there.
    """
    chosen = choose_device(device)
    if model is None:
        model = DEFAULT_MODEL
        able = _models_with_decoder() if decoder else []
        if able and DEFAULT_MODEL not in able:
            model = able[0]
    loaded = load_model(model)
    loaded.network.to(chosen)
    return Explorer(loaded, chosen)


def _models_with_decoder() -> list[str]:
    """Names of the models that have a decoder; damaged ones are left out."""
    found = []
    for name, folder in find_models().items():
        with contextlib.suppress(ModelError):
            if read_info(folder).decoder:
                found.append(name)
    return found
