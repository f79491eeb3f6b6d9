"""How much memory a merge takes, and how it makes do with less.

On the CPU the stages of a merge follow one another and give back what they freed, so that the one
that needs most counts. The bytes a pixel below were measured, on two to five frames of 8 and 24
megapixels and one to four threads, and are rather too large than too small.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from dfghdr_cli.core.registration.aligned import ALIGNED_PIXELS
from dfghdr_cli.core.tiles import MERGED_TILE
from dfghdr_cli.errors import DeviceError
from dfghdr_cli.merging.config import SMALLEST_TILE, MergeConfig, paints
from dfghdr_cli.nets.network import Network

MIB = 2**20

# Bytes a pixel, measured by the peak of a stage on brackets as above, but for the two that follow
# from the arrays. What is "of every frame" is counted once for each.
_ALIGNED = 40
"""Of a pair of frames that are aligned, at the size at which they are."""
_FUSED = 16
"""Of every frame, where frames exposed alike were fused: what stays of it."""
_FUSING = 20
"""Of the fused frame and of each that goes into it, while they are fused."""
_MATCHED = 14
"""Of every frame that is matched by flow."""
_FLOW = 105
"""Of a pair while its flow is sought."""
_FLOW_ANYHOW = 70 * MIB
"""Likewise, whatever the size [bytes]."""
_CANDIDATE = 60
"""Of every frame as candidates, still and moved, with their flows."""
_PAINTED_CANDIDATE = 20
"""Of every frame where a network paints, which sees it still only."""
_DECISION = 8
"""Of every frame: what a network that weighs gives."""
_PAINTED = 16
"""Of every frame: what a network that paints gives, and its guide."""
_CARRIED = 200
"""Of every frame in a tile that is merged at full size."""
_RESULT = 13
"""Of the result: a picture in single precision, and a mask of what is clipped."""
_PREVIEW = 32
"""Of a result that is written, with a preview by the mu-law at most."""
_SCREEN = 76
"""Likewise, where an operator makes pictures for screens."""
_DNG = 36
"""Likewise, where the bytes of a DNG are made."""
_CONVERTED = 12
"""Of a second picture in single precision, in other primaries."""
_LIBRARIES = 80 * MIB
"""Of what is loaded on the way, and cannot be given back for what lies beside it [bytes]."""
_THREAD = 20 * MIB
"""Likewise, of every thread."""
SMALLEST_PROXY = 600_000
"""Pixels of the smallest picture that decides for a large one."""


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """What of a merge on the CPU decides how much memory it takes.

    Attributes:
        size: (height, width) of a frame [pixels].
        frames: how many there are.
        sample: bytes of one of their samples.
        network: what merges; None for the classic merge.
        converted: whether the result has other primaries than Rec. 709.
        screens: whether pictures will be tone-mapped for screens, beyond a preview by the mu-law.
        dng: whether a DNG is written, whose bytes are made in memory.
        ghost_map: whether a ghost map will.
        alike: frames in the largest group of one exposure.
    """

    size: tuple[int, int]
    frames: int
    sample: int
    network: Network | None
    converted: bool = False
    screens: bool = False
    dng: bool = False
    ghost_map: bool = False
    alike: int = 1

    def stages(self, config: MergeConfig) -> dict[str, int]:
        """What each stage holds at most, beside what the process held before the merge [bytes]."""
        count, pixels = self.frames, self.size[0] * self.size[1]
        threads = torch.get_num_threads()
        pairs = min(threads, count - 1)  # of the reference and another frame, at the same time
        frames = (
            3 * max(2, self.sample) * count * pixels
        )  # 8 bits become 16 (`core.restoration.jpeg`)
        weights = 4 * count * pixels if self.ghost_map else 0
        stages = {"align": _ALIGNED * pairs * min(pixels, ALIGNED_PIXELS)}
        if self.alike > 1 and self.network is not None:  # fused frames and their shares stay
            frames += _FUSED * count * pixels
            stages["fuse"] = _FUSING * (1 + self.alike) * pixels
        painted = paints(self.network, config)
        proxy = round(pixels * config.reduction(self.size) ** 2)
        if self.network is not None or config.align == "flow":
            small = round(pixels * config.proxy_reduction(self.size) ** 2)
            matched = small if painted else proxy
            pair = _FLOW_ANYHOW + _FLOW * matched
            stages["flow"] = _MATCHED * count * matched + pairs * pair
        held = 0  # candidates, what became of them, and flows
        if self.network is not None:
            held = (_PAINTED_CANDIDATE if painted else _CANDIDATE) * count * proxy
            side = config.tile + 2 * self.network.halo
            tile = self.network.activations(count) * min(side**2, proxy)
            given = _PAINTED if self.network.paints else _DECISION
            stages["network"] = held + given * count * proxy + tile
        carried = _CARRIED * count * threads * MERGED_TILE**2
        stages["merge"] = held + carried + _RESULT * pixels + weights
        pictures = max(_SCREEN if self.screens else _PREVIEW, _DNG if self.dng else 0)
        written = _RESULT + pictures + (_CONVERTED if self.converted else 0)
        stages = {stage: frames + need for stage, need in stages.items()}
        stages["write"] = written * pixels + weights  # when the frames are gone
        everywhere = _LIBRARIES + _THREAD * threads
        return {stage: everywhere + need for stage, need in stages.items()}

    def fitted(self, config: MergeConfig, limit: int, held: int) -> MergeConfig:
        """How to merge within a limit.

        Tiles are made smaller first, which changes nothing but the time; then the picture that
        decides for a large one.

        Args:
            config: how to merge where there is room.
            limit: what the process may hold [bytes].
            held: what it held before the merge [bytes].

        Raises:
            DeviceError: the least that the merge takes is more.
        """
        least = math.inf
        for proxy in _halved(config.proxy_pixels, SMALLEST_PROXY):
            for tile in _halved(config.tile, SMALLEST_TILE):
                smaller = replace(config, proxy_pixels=proxy, tile=tile)
                need = held + max(self.stages(smaller).values())
                if need <= limit:
                    return smaller
                least = min(least, need)
        megapixels = self.size[0] * self.size[1] / 1e6
        mend = "give smaller photographs"
        if config.resolution == "full" and self.network is not None:
            mend = "leave out --resolution full"
        raise DeviceError(
            f"Merging {self.frames} frames of {megapixels:.3g} megapixels takes "
            f"{_shown(1.02 * least)} of memory at least, but --max-memory is {_shown(limit)}; "
            f"allow that much, or {mend}."
        )


def _halved(value: int, least: int) -> Iterator[int]:
    """The value, its half, and so on, but nothing smaller than `least`."""
    yield value
    while value // 2 >= least:
        value //= 2
        yield value


def _shown(size: float) -> str:
    """Bytes as `--max-memory` takes them, rounded up."""
    if size < 1024 * MIB:
        return f"{math.ceil(size / MIB)}M"
    return f"{math.ceil(size / MIB / 10.24) / 100:g}G"
