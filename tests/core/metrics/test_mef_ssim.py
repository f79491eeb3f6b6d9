"""MEF-SSIM against its definition, patch by patch, and on pictures whose order is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from dfghdr_cli.core.metrics.mef_ssim import SCALES, SMALLEST, mef_ssim

Floats = NDArray[np.float64]


def bracket(size: int = 56, seed: int = 3) -> tuple[list[Floats], Floats]:
    """Three clipped 8-bit frames of light of 8 stops, and that light in stops as a grey picture."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    stops = 8.0 * x + np.sin(20.0 * y + 9.0 * x) + 0.5 * random.standard_normal((size, size))
    light = 2.0 ** (stops[..., None] + np.array([0.0, 0.3, -0.2]))
    frames = [
        np.rint(255 * np.clip(light * 2.0**-shift, 0, 1) ** (1 / 2.2)) / 255 for shift in (8, 5, 2)
    ]
    return frames, np.clip(stops[..., None].repeat(3, 2) / 9.0, 0, 1)


def by_definition(frames: list[Floats], picture: Floats) -> float:
    """Section III of the paper, each patch on its own."""
    luma = np.array([0.299, 0.587, 0.114])
    greys, grey = [255 * frame @ luma for frame in frames], 255 * picture @ luma
    at = np.arange(11) - 5.0
    gauss = np.exp(-(at**2) / (2 * 1.5**2))
    gauss = np.outer(gauss, gauss) / gauss.sum() ** 2
    quality = 1.0
    for number, exponent in enumerate(SCALES):
        if number:
            size = grey.shape[0] // 2
            greys, grey = (
                [g.reshape(size, 2, size, 2).mean((1, 3)) for g in greys],
                grey.reshape(size, 2, size, 2).mean((1, 3)),
            )
        found = []
        for row in range(grey.shape[0] - 10):
            for column in range(grey.shape[1] - 10):
                cut = slice(row, row + 11), slice(column, column + 11)
                patches = [g[cut] - g[cut].mean() for g in greys]
                lengths = [np.linalg.norm(p) + 1e-3 for p in patches]
                agreement = np.linalg.norm(sum(patches)) / (sum(lengths) - 3e-3 + 1e-16)
                power = min(np.tan(np.pi / 2 * min(agreement, 1 - 1e-16)), 10.0)
                weights = [(length / 11) ** power for length in lengths]
                structure = sum(
                    w * p / n for w, p, n in zip(weights, patches, lengths, strict=True)
                )
                best = structure / np.linalg.norm(structure) * max(lengths)
                shown = grey[cut]
                means = (gauss * best).sum(), (gauss * shown).sum()
                own, other = best - means[0], shown - means[1]
                numerator = 2 * (gauss * own * other).sum() + 58.5225
                found.append(
                    numerator / ((gauss * own**2).sum() + (gauss * other**2).sum() + 58.5225)
                )
        quality *= np.mean(found) ** (exponent / sum(SCALES))
    return float(quality)


def test_is_what_the_paper_defines() -> None:
    frames, picture = bracket()
    assert mef_ssim(frames, picture) == pytest.approx(by_definition(frames, picture), rel=1e-6)


def test_a_frame_is_the_best_picture_of_itself_only() -> None:
    frames, fused = bracket(96)
    assert mef_ssim([frames[1]] * 3, frames[1]) == pytest.approx(1.0, abs=1e-4)
    assert mef_ssim(frames, fused) > max(mef_ssim(frames, frame) for frame in frames)


def test_how_light_it_is_does_not_count_and_blur_does() -> None:
    frames, picture = bracket(96)
    darker = mef_ssim(frames, 0.8 * picture)
    assert darker == pytest.approx(mef_ssim(frames, 0.8 * picture + 0.1), abs=1e-9)
    blurred = (picture + np.roll(picture, 2, 0) + np.roll(picture, -2, 1)) / 3
    assert mef_ssim(frames, blurred) < mef_ssim(frames, picture)


def test_refuses_what_it_cannot_compare() -> None:
    frames, picture = bracket()
    with pytest.raises(ValueError, match="shapes"):
        mef_ssim(frames, picture[1:])
    with pytest.raises(ValueError, match="at least 44 pixels"):
        mef_ssim([f[: SMALLEST - 1] for f in frames], picture[: SMALLEST - 1])
