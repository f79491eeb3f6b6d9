"""Taking the exposure out of what the spatial code's averages say.

The decoder's AdaIN discards these averages, so that nothing in eq. (6) keeps the exposure out of
them, and a linear predictor reads it there.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, default_collate

from dfghdr_cli.choices import Inputs
from dfghdr_cli.core.encoding import re_expose
from dfghdr_cli.core.luminance import MIDDLE_GREY, log_average, luminance_of
from dfghdr_cli.core.probe import fit_eraser
from dfghdr_cli.nets.candidates import Candidates
from dfghdr_cli.nets.disentangle import to_signed
from dfghdr_cli.nets.network import Network, frames_seen
from dfghdr_cli.training.samples import Sample, as_samples
from dfghdr_cli.training.synth import to_candidates

Codes = NDArray[np.floating]

SAMPLES = 256
"""How many samples it is fitted to; each is seen at all of `STOPS`, and as its frames show it."""
STOPS = np.arange(-3.0, 4.0, dtype=np.float32)
"""Exposures about the one that brings a sample's logarithmic average to middle grey [stops]."""


def exposures_of(
    sample: Sample, inputs: Inputs = "flow"
) -> list[tuple[Candidates, NDArray[np.float32]]]:
    """A sample at many exposures: its truth as eq. (3) re-exposes it, and its frames.

    The frames are noisy, the more the darker they are, and that tells their exposure, too.

    Args:
        sample: of the training.
        inputs: as which the network sees frames.

    Returns:
        Twice a stack of images (B = 1) and their stops, 0 where the logarithmic average of the
        truth is at middle grey; nothing of a black sample.
    """
    truth = np.ascontiguousarray(sample["truth"].transpose(1, 2, 0))
    average = log_average(luminance_of(truth))
    if average is None:
        return []
    above = np.float32(average - np.log2(MIDDLE_GREY))
    views = re_expose(sample["truth"], (STOPS - above)[:, None, None, None])
    frames = frames_seen(to_candidates(default_collate([sample])), inputs)
    own = frames.stops[0] + torch.log2(frames.peak)
    return [
        (Candidates.of_images(torch.from_numpy(views)), STOPS),
        (frames, own.numpy() + above),
    ]


@torch.no_grad()
def erase_exposure(network: Network, data: Dataset[Sample], device: torch.device) -> None:
    """Fold `fit_eraser` of the spatial code's averages into the last layer of its encoder, twice.

    After it no linear function of the averages tells the stops of the first samples: of their
    re-exposed truths by the one map, of their frames by the other. The second leaves nothing to
    tell of the truths either, since what does not go with a number does not after a linear map.
    One map fitted to both leaves them opposite traces, which only cancel in the sum.

    Args:
        network: with its decoder, on `device`; changed in place.
        data: the samples of the training.
        device: where to compute.
    """
    disentangle = network.disentangle
    assert disentangle.tail is not None  # stage disentangle has it
    codes: tuple[list[Codes], list[Codes]] = [], []
    stops: tuple[list[Codes], list[Codes]] = [], []
    samples = as_samples(data)
    for index in samples.apart(SAMPLES):
        if index >= len(samples):  # pyright: ignore
            break
        for kind, (stack, own) in enumerate(exposures_of(samples[index], network.inputs)):
            images = network.images(stack.to(device))[0]
            spatial = disentangle.spatial_code(to_signed(images))
            codes[kind].append(spatial.mean((2, 3)).cpu().numpy())
            stops[kind].append(own)
    if not codes[0]:
        return
    truths, frames = (np.concatenate(kind) for kind in codes)
    first = fit_eraser(truths, np.concatenate(stops[0]))
    second = fit_eraser(first.erase(frames), np.concatenate(stops[1]))
    for eraser in (first, second):
        disentangle.tail.map_code(torch.from_numpy(eraser.matrix), torch.from_numpy(eraser.offset))
