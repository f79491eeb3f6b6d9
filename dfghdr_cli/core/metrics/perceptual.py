"""Figures that ask what people would see of the difference between a merge and the truth."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache

import numpy as np

from dfghdr_cli.core.metrics.colorvideovdp import colorvideovdp
from dfghdr_cli.core.metrics.fidelity import Metric
from dfghdr_cli.core.metrics.flip import hdr_flip
from dfghdr_cli.core.metrics.hdrvdp2 import DISTANCE_M, SCREEN_INCH, hdrvdp2, pixels_per_degree
from dfghdr_cli.core.types import FloatImage
from dfghdr_cli.errors import MissingPackageError

log = logging.getLogger(__name__)

PERCEPTUAL_METRICS = (
    Metric("hdr_vdp2", "VDP-2", "", True, 2, "Q of HDR-VDP-2.2, pooled as in release 2.2.1"),
    Metric("hdr_flip", "FLIP", "", False, 4, "mean of the HDR-FLIP error"),
    Metric("hdr_flip_p99", "FLIP p99", "", False, 3, "99th percentile of the HDR-FLIP error"),
    Metric("cvvdp_jod", "JOD", "", True, 3, "ColorVideoVDP, white at 1500 cd/m2; 10 is perfect"),
)
"""Every figure that `Perceptual` can find, in the order of tables."""


@dataclass(frozen=True, slots=True)
class Perceptual:
    """Which of the slow figures to find, and how.

    Attributes:
        hdr_vdp2: whether HDR-VDP-2 is wanted.
        hdr_flip: whether HDR-FLIP is wanted.
        cvvdp: whether ColorVideoVDP is wanted.
        encoding: what HDR-VDP-2 takes the values for: "sRGB-display" or "rgb-bt.709".
        scale: what linear values in [0, 1] are multiplied by for HDR-VDP-2; under "rgb-bt.709"
            the light of white [cd/m2].
        ppd: pixels per degree for HDR-VDP-2; None is a screen of 24 inches seen from 0.5 m.
        device: where HDR-VDP-2 and ColorVideoVDP compute, "cpu" or a CUDA device.
    """

    hdr_vdp2: bool = True
    hdr_flip: bool = True
    cvvdp: bool = False
    encoding: str = "sRGB-display"
    scale: float = 1.0
    ppd: float | None = None
    device: str = "cpu"

    def check(self) -> None:
        """Find out at once what cannot be found later.

        Raises:
            MissingPackageError: ColorVideoVDP is wanted and cannot be loaded.
        """
        if self.cvvdp:
            grey = np.full((32, 32, 3), 0.5, np.float32)
            colorvideovdp(grey, grey, self.device)

    def view(self, size: tuple[int, int] | None = None) -> str:
        """How HDR-VDP-2 sees pictures of (width, height); its number means nothing without."""
        screen = f"{SCREEN_INCH:g} inch, {DISTANCE_M:g} m"
        if self.ppd is not None:
            seen = f"{self.ppd:g} pixels per degree"
        elif size is not None:
            seen = f"{pixels_per_degree(*size):.2f} pixels per degree ({screen})"
        else:
            seen = f"a screen of {screen}"
        return f"{self.encoding}, linear [0, 1] times {self.scale:g}, {seen}"

    def measure(self, result: FloatImage, truth: FloatImage) -> dict[str, float | None]:
        """The figures wanted, by key; None for what the pictures or this computer cannot give.

        Args:
            result: (H, W, 3) linear, 1.0 = the white of the darkest frame; clipped to [0, 1].
            truth: likewise.
        """
        result, truth = (np.clip(picture, 0.0, 1.0) for picture in (result, truth))
        values: dict[str, float | None] = {m.key: None for m in PERCEPTUAL_METRICS}
        if self.hdr_vdp2:
            values["hdr_vdp2"] = self._hdr_vdp2(result, truth)
        if self.hdr_flip:
            values |= _hdr_flip(result, truth)
        if self.cvvdp:
            values["cvvdp_jod"] = colorvideovdp(result, truth, self.device)
        return values

    def _hdr_vdp2(self, result: FloatImage, truth: FloatImage) -> float | None:
        if min(truth.shape[:2]) < 17:
            return None
        pair = (picture.astype(np.float64) * self.scale for picture in (result, truth))
        found = hdrvdp2(*pair, encoding=self.encoding, ppd=self.ppd, maps=False, device=self.device)
        for warning in found.warnings:
            _warn_once(f"HDR-VDP-2: {warning}")
        return found.quality


def _hdr_flip(result: FloatImage, truth: FloatImage) -> dict[str, float | None]:
    keys = ("hdr_flip", "hdr_flip_p99")
    if not truth.any():
        return dict.fromkeys(keys)
    try:
        errors = hdr_flip(result, truth)
    except MissingPackageError as error:
        _warn_once(f"{error}; left out.")
        return dict.fromkeys(keys)
    return dict(zip(keys, (float(errors.mean()), float(np.percentile(errors, 99))), strict=True))


@cache
def _warn_once(text: str) -> None:
    log.warning("%s", text)
