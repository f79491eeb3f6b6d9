"""HDR-FLIP: how much two pictures flicker where one replaces the other, at any exposure.

Source: Andersson, Nilsson, Shirley and Akenine-Moller, "Visualizing Errors in Rendered High Dynamic
Range Images", Eurographics 2021 (short papers), by their own program, the package flip-evaluator.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.types import FloatImage
from dfghdr_cli.errors import MissingPackageError

PIXELS_PER_DEGREE = 67.02
"""FLIP's default: a screen of 0.7 m and 3840 pixels across, seen from 0.7 m."""


def hdr_flip(test: NDArray[np.floating], reference: NDArray[np.floating]) -> FloatImage:
    """The HDR-FLIP error of every pixel.

    The exposures are FLIP's choice, from the maximum and the median of the reference, so that the
    unit of radiance does not matter; the tone curve is its default, ACES, the scale
    `PIXELS_PER_DEGREE`.

    Args:
        test: (H, W, 3) linear Rec. 709, finite and >= 0.
        reference: the same shape, not all black.

    Returns:
        (H, W) float32, 0 = no difference, at most 1. Their mean is the number mostly quoted; it
        hardly shows small ghosts, which a high percentile does.

    Raises:
        ValueError: not such pictures.
        MissingPackageError: flip-evaluator is not installed.
    """
    if test.shape != reference.shape or test.ndim != 3 or test.shape[2] != 3:
        raise ValueError(f"pictures of {test.shape} and {reference.shape} cannot be compared")
    images = [np.ascontiguousarray(image, np.float32) for image in (reference, test)]
    if not all(np.isfinite(image).all() and image.min() >= 0 for image in images):
        raise ValueError("HDR-FLIP needs finite values of at least 0")
    # The package ends the process where it finds no exposure.
    if not images[0].any():
        raise ValueError("HDR-FLIP needs a reference that is not black all over")
    try:
        from flip_evaluator import evaluate
    except ImportError as error:
        raise MissingPackageError(
            "HDR-FLIP needs the package flip-evaluator, which has no ready build for every system; "
            "with a C++ compiler: pip install flip-evaluator"
        ) from error
    settings = {"ppd": PIXELS_PER_DEGREE}
    errors, _, _ = evaluate(images[0], images[1], "HDR", applyMagma=False, parameters=settings)
    return errors[..., 0]
