"""HDR-VDP-2: how visible, and how bad, are the differences between two HDR pictures?

`from core.metrics.hdrvdp2 import hdrvdp2` is all that a caller needs; it depends on NumPy,
PyTorch and OpenCV only.
"""

from dfghdr_cli.core.metrics.hdrvdp2.display import (
    DISTANCE_M,
    ENCODINGS,
    SCREEN_INCH,
    pixels_per_degree,
)
from dfghdr_cli.core.metrics.hdrvdp2.metric import HdrVdp2, Options, hdrvdp2

__all__ = [
    "DISTANCE_M",
    "ENCODINGS",
    "SCREEN_INCH",
    "HdrVdp2",
    "Options",
    "hdrvdp2",
    "pixels_per_degree",
]
