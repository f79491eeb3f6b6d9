"""About how long the stages of a merge take against each other: for a bar that runs evenly."""

from __future__ import annotations

from dfghdr_cli.merging.config import MergeConfig, paints
from dfghdr_cli.nets.network import Network

_OF_FRAMES = {"response": 0.13, "align": 0.02, "merge": 0.3}
"""Processor seconds for each frame and megapixel, of three frames of 12 megapixels."""
_ALIGNING = 0.9
"""For each frame: motion is sought on reduced pictures."""
_DECIDING = {"flow": 0.73, "network": 1.5}
"""Likewise, of the picture that decides."""
_WRITING = 0.11
"""For each megapixel of the result."""
_CLASSIC_MERGE = 0.1


def stage_costs(
    size: tuple[int, int], frames: int, network: Network | None, config: MergeConfig
) -> dict[str, float]:
    """Seconds of the stages after reading, in their order; only their shares count.

    Args:
        size: (height, width) of the frames [pixels].
        frames: how many.
        network: what decides; None for the classic merge.
        config: how to merge.
    """
    large = size[0] * size[1] / 1e6
    small = large * config.reduction(size) ** 2
    costs = {name: cost * frames * large for name, cost in _OF_FRAMES.items()}
    costs["align"] += _ALIGNING * frames
    deciding = {name: cost * frames * small for name, cost in _DECIDING.items()}
    order = ["response", "align"]
    if network is None:
        costs["merge"] = _CLASSIC_MERGE * frames * large
        if config.align == "flow":
            order.append("flow")
    else:
        order += ["flow", "network"]
    if not paints(network, config):
        order.append("merge")
    found = {**costs, **deciding}
    return {**{name: found[name] for name in order}, "write": _WRITING * large}
