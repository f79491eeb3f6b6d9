"""How to merge: what a person chooses, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from dfghdr_cli.choices import Align, Resolution
from dfghdr_cli.nets.network import Network

NETWORK_TILE = 1024
"""Side of the tiles in which a network runs [pixels]: with 512 a fifth more is computed twice, and
what smaller ones leave of the memory is too scattered for the pictures that follow."""
SMALLEST_TILE = 128
"""Smallest tile of a network [pixels]; below this, tiles are mostly halo."""


@dataclass(frozen=True, slots=True)
class MergeConfig:
    """How to merge.

    Attributes:
        align: how to align the frames, see `choices.Align`.
        resolution: "full" runs the network on every pixel, and takes DFGNet's picture as it is;
            "auto" lets a proxy of at most `proxy_pixels` decide, and DFGNet's picture guide.
        proxy_pixels: largest picture the network sees under "auto" [pixels].
        tile: side of the network's tiles [pixels].
    """

    align: Align = "auto"
    resolution: Resolution = "auto"
    proxy_pixels: int = 2_500_000
    tile: int = NETWORK_TILE

    def reduction(self, size: tuple[int, int]) -> float:
        """By how much the sides of a picture of (height, width) shrink for the network; <= 1."""
        return 1.0 if self.resolution == "full" else self.proxy_reduction(size)

    def proxy_reduction(self, size: tuple[int, int]) -> float:
        """Likewise for the proxy, on which a painting network's flow is estimated in any case."""
        return min(1.0, (self.proxy_pixels / (size[0] * size[1])) ** 0.5)


def paints(network: Network | None, config: MergeConfig) -> bool:
    """Whether the result is a network's own picture, and not a merge of the real frames."""
    return network is not None and network.paints and config.resolution == "full"
