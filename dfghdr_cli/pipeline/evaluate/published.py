"""What others published of their methods on Kalantari and Ramamoorthi's test set.

None of it is measured here, and protocols differ: bits, size and scale of HDR-VDP-2 move figures by
as much as methods differ (docs/metrics.md).
"""

from __future__ import annotations

from dataclasses import dataclass

PAPER = "paper"
"""Source of the rows of the paper's own Table 1."""


@dataclass(frozen=True, slots=True)
class Published:
    """A row that somebody else published; None where there is no figure.

    Attributes:
        method: its name there.
        psnr_mu: [dB].
        psnr_l: [dB].
        hdr_vdp2: Q.
        source: a key of `SOURCES`.
    """

    method: str
    psnr_mu: float
    psnr_l: float | None
    hdr_vdp2: float
    source: str = PAPER


PUBLISHED_SOURCE = (
    "Table 1 of Lee, Jang and Cho, ICASSP 2022: means over the 15 test scenes of Kalantari and "
    "Ramamoorthi's data set, as published there; not measured here"
)
PUBLISHED = (
    Published("Sen et al.", 40.80, 38.11, 59.38),
    Published("Kalantari et al.", 42.74, 41.23, 65.05),
    Published("DeepHDR", 41.64, 40.91, 64.90),
    Published("AHDRNet", 43.63, 41.14, 64.61),
    Published("NHDRRNet", 42.41, None, 61.21),
    Published("HDR-GAN", 43.92, 41.57, 65.45),
    Published("DFGNet without EAU (Model 1)", 43.57, 41.45, 65.88),
    Published("DFGNet without SAU (Model 2)", 43.92, 41.59, 66.91),
    Published("DFGNet", 44.19, 41.89, 66.84),
)
"""The paper's Table 1. The authors' published test script reads 8 bits and resizes to 1440x960
(`--protocol paper`) and finds PSNR-mu only; how the other columns were found is not known."""

LATER = (
    Published("ADNet (2021)", 44.37, 41.88, 66.02, "adnet"),
    Published("FlexHDR (2022)", 44.35, 42.60, 66.56, "safnet"),
    Published("HDR-Transformer (2022)", 44.32, 42.18, 66.03, "safnet"),
    Published("DiffHDR (2023)", 44.11, 41.73, 65.52, "afunet"),
    Published("SCTNet (2023)", 44.49, 42.29, 66.65, "safnet"),
    Published("HyHDRNet (2023)", 44.64, 42.47, 66.05, "safnet"),
    Published("LFDiff (2024)", 44.76, 42.59, 66.54, "afunet"),
    Published("SAFNet-S (2024)", 44.12, 42.50, 66.75, "safnet"),
    Published("SAFNet (2024)", 44.66, 43.18, 66.93, "safnet"),
    Published("AFUNet (2025)", 44.91, 42.59, 66.75, "afunet"),
)
"""Methods after the paper, from the tables of their own or of a later method's repository."""

SOURCES = {
    PAPER: PUBLISHED_SOURCE,
    "adnet": "README of ADNet's repository; SAFNet's lists 43.87, 41.69 and 65.56 for it",
    "safnet": "Table 2 in the README of SAFNet's repository",
    "afunet": "the table in the README of AFUNet's repository",
}
"""Where rows come from; all are means over the 15 test scenes of Kalantari's data set."""
