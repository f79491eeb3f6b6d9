"""DFGMerge: the paper's encoders and DFG modules, deciding how to merge the real frames.

DFGNet paints every pixel. This network is built from the same parts but its head says, for each
candidate (a frame under one hypothesis) and pixel, how far to depart from the classic
weight, so that the result is a convex combination of what the camera saw. It starts training as
the classic merge. Only where no frame is usable does it add something of its own, bounded. Weights
can be carried to another size, so that a small picture decides for a large one.

It works at half resolution: each 2x2 block of pixels becomes channels, and the logits come back at
full resolution the same way. The disentangle network sees the block averages.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfghdr_cli.choices import Upsampling
from dfghdr_cli.nets.candidates import Candidates, Hypothesis
from dfghdr_cli.nets.compose import Decision, Merge, compose
from dfghdr_cli.nets.dfg import conv_of_both
from dfghdr_cli.nets.dfgnet import DFGEncoder, Stage, Upsample, encode
from dfghdr_cli.nets.disentangle import DisentangleNetwork, ImageStatistics
from dfghdr_cli.nets.features import FEATURES, features, phases
from dfghdr_cli.nets.network import Network


@dataclass(frozen=True, slots=True)
class DFGMergeConfig:
    """Hyper-parameters.

    Attributes:
        width: channels of the three stages.
        disentangle_width: channels of the encoders' first stage.
        code_length: length L of the exposure code.
        eau: whether the exposure attention units are there.
        sau: whether the spatial attention units are there.
        correction: largest correction where no frame is usable, in the mu-law domain.
        upsampling: of the decoder, see `dfghdr_cli.choices.Upsampling`.
    """

    width: tuple[int, int, int] = (24, 40, 64)
    disentangle_width: int = 12
    code_length: int = 64
    eau: bool = True
    sau: bool = True
    correction: float = 0.3
    upsampling: Upsampling = "transposed"


class DFGMerge(Network):
    """The default architecture: 2 to 9 frames, each under any number of hypotheses.

    It is shown frames both as they are aligned and as flow moves them, and weighs one against the
    other.
    """

    architecture = "dfgmerge"
    outputs = ("logits", "correction")
    takes = ("flow",)
    paints = False
    size_multiple = 32
    stride = 8
    halo = 56
    """An output pixel looks 55 to each side."""

    def __init__(self, config: DFGMergeConfig, *, decoder: bool = False) -> None:
        super().__init__(config, decoder=decoder)
        fine, middle, coarse = config.width
        taps = config.disentangle_width
        self.disentangle = DisentangleNetwork(
            taps, config.code_length, decoder=decoder, upsampling=config.upsampling
        )
        self.encoder = DFGEncoder(
            4 * FEATURES + 3,
            config.width,
            (taps, 2 * taps, 4 * taps),
            config.code_length + 1,
            eau=config.eau,
            sau=config.sau,
        )
        fine_in, middle_in, coarse_in = self.encoder.out_channels
        self.bottom = Stage(coarse_in, coarse)
        self.up3 = Upsample(coarse, middle)
        self.join2 = Stage(middle + middle_in, middle)
        self.up2 = Upsample(middle, fine)
        self.join1 = Stage(fine + fine_in, fine)
        self.head1 = Stage(2 * fine, fine)
        self.head2 = nn.Conv2d(fine, 4, 3, padding=1)
        self.odds = nn.Parameter(torch.zeros(len(Hypothesis)))
        """Added to the logits of every candidate under this `Hypothesis`."""
        self.correct1 = Stage(fine, fine)
        self.correct2 = nn.Conv2d(fine, 12, 3, padding=1)
        for last in (self.head2, self.correct2):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)  # pyright: ignore

    def select(self, candidates: Candidates) -> Candidates:
        """What of a bracket it needs: all of it."""
        return candidates

    def images(self, candidates: Candidates) -> Tensor:
        """What the encoders look at: (B, K, 3, H / 2, W / 2) gamma codes, block averages."""
        # At exactly half the size bilinear is the mean of four, six times faster than avg_pool2d.
        half = F.interpolate(candidates.code.flatten(0, 1), scale_factor=0.5, mode="bilinear")
        return half.unflatten(0, candidates.code.shape[:2])

    def decide(self, candidates: Candidates, statistics: ImageStatistics | None = None) -> Decision:
        """How to merge candidates whose height and width are multiples of 8.

        Args:
            candidates: the brackets.
            statistics: of `images` of the whole picture when the candidates are only a tile of it.
        """
        count = candidates.count
        codes, taps = encode(self.disentangle, self.images(candidates), statistics)
        stops = candidates.stops[..., None] / 4.0
        codes = torch.cat([codes, stops], 2)
        flags = [
            stops.new_tensor([h is hypothesis for h in candidates.hypotheses])[:, None]
            for hypothesis in (Hypothesis.MOVED, Hypothesis.SMOOTHED)
        ]
        constant = torch.cat([stops, *(flag.expand_as(stops) for flag in flags)], 2)
        height, width = (length // 2 for length in candidates.code.shape[-2:])
        halves = phases(candidates)

        def image(k: int) -> Tensor:
            seen = features(halves, slice(k, k + 1))
            planes = [part.reshape(len(stops), -1, height, width) for part in seen]
            planes.append(constant[:, k, :, None, None].expand(-1, -1, height, width))
            return torch.cat(planes, 1)

        x = map(image, range(count))
        first, (fine, middle, coarse) = self.encoder(x, codes, taps, candidates.roles)
        y = self.up3(self.bottom(coarse))
        y = self.up2(self.join2(torch.cat([y, middle], 1)))
        y = self.join1(torch.cat([y, fine], 1))
        correction = self.correct1(y)
        both = conv_of_both(repeat(self.head1.conv, count), y, first, shared_first=False)
        logits: list[Tensor] = []
        # A decision in bfloat16 would be seen in the picture: float32 whatever the trunk uses.
        for maps in map(self.head1.act, both):
            with torch.autocast(y.device.type, enabled=False):
                logits.append(F.pixel_shuffle(self.head2(maps.float()), 2))
        with torch.autocast(y.device.type, enabled=False):
            odds = self.odds[list(candidates.hypotheses)]
            correction = self.config.correction * torch.tanh(self.correct2(correction.float()))
            return Decision(
                torch.stack(logits, 1) + odds[:, None, None, None], F.pixel_shuffle(correction, 2)
            )

    def forward(self, candidates: Candidates, statistics: ImageStatistics | None = None) -> Merge:
        """`decide`, then `compose` on the same candidates."""
        return compose(candidates, self.decide(candidates, statistics))

    def infer(
        self, candidates: Candidates, statistics: ImageStatistics | None = None
    ) -> tuple[Tensor, Tensor]:
        """See `Network`: logits and correction of the decision."""
        decision = self.decide(candidates, statistics)
        return decision.logits, decision.correction

    def decision(self, outputs: tuple[Tensor, ...], candidates: Candidates) -> Decision:
        """See `Network`."""
        del candidates
        return Decision(*outputs)

    def activations(self, frames: int) -> int:
        """See `Network`: two candidates a frame, half as large."""
        return self.config.width[0] * (19 + 7 * frames)
