"""Taking the exposure out of what the spatial code's averages say.

The decoder's AdaIN discards these averages, so that nothing in eq. (6) keeps the exposure out of
them, and a linear predictor reads it there.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset

from dfghdr_cli.core.probe import fit_eraser
from dfghdr_cli.core.radiance import encode
from dfghdr_cli.core.tonemap import MIDDLE_GREY, log_average, luminance_of
from dfghdr_cli.nets.candidates import Candidates
from dfghdr_cli.nets.disentangle import to_signed
from dfghdr_cli.nets.registry import Network
from dfghdr_cli.training.synth import Sample

SAMPLES = 256
"""How many samples it is fitted to; each is seen at all of `STOPS`."""
STOPS = np.arange(-3.0, 4.0, dtype=np.float32)
"""Exposures about the one that brings a sample's logarithmic average to middle grey [stops]."""


@torch.no_grad()
def erase_exposure(network: Network, data: Dataset[Sample], device: torch.device) -> None:
    """Fold `fit_eraser` of the spatial code's averages into the last layer of its encoder.

    After it no linear function of the averages tells the stops of the first samples' truths,
    re-exposed as eq. (3) does it.

    Args:
        network: with its decoder, on `device`; changed in place.
        data: the samples of the training.
        device: where to compute.
    """
    disentangle = network.disentangle
    assert disentangle.tail is not None  # stage disentangle has it
    codes, stops = [], []
    for index in range(min(SAMPLES, len(data))):  # pyright: ignore
        truth = data[index]["truth"].transpose(1, 2, 0)
        average = log_average(luminance_of(np.ascontiguousarray(truth)))
        if average is None:
            continue
        gain = np.float32(MIDDLE_GREY) * np.exp2(STOPS - np.float32(average))
        views = encode(truth.transpose(2, 0, 1) * gain[:, None, None, None])
        stack = Candidates.of_images(torch.from_numpy(views).to(device))
        spatial = disentangle.spatial_code(to_signed(network.images(stack)[0]))
        codes.append(spatial.mean((2, 3)).cpu().numpy())
        stops.append(STOPS)
    if codes:
        eraser = fit_eraser(np.concatenate(codes), np.concatenate(stops))
        matrix, offset = torch.from_numpy(eraser.matrix), torch.from_numpy(eraser.offset)
        disentangle.tail.map_code(matrix, offset)
