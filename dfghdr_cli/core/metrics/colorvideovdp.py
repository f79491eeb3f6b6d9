"""ColorVideoVDP: how much worse than the reference a picture looks to people, in JOD.

Source: Mantiuk, Hanji, Ashraf, Asano and Chapiro, "ColorVideoVDP: A visual difference predictor for
image, video and display distortions", ACM Trans. Graph. 43(4), 2024, by their own program, the
package cvvdp.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dfghdr_cli.errors import MissingPackageError

DISPLAY = "standard_hdr_linear"
"""Their name for the screen that shows the pictures: 30 inches, 3840 x 2160, seen from 0.7472 m, in
a room of 10 lux."""
PEAK_LUMINANCE = 1500.0
"""What that screen shows for a linear 1.0, its brightest [cd/m2]."""


def colorvideovdp(
    test: NDArray[np.floating], reference: NDArray[np.floating], device: str = "cpu"
) -> float:
    """Quality by ColorVideoVDP of a still picture.

    Args:
        test: (H, W, 3) linear Rec. 709, 1.0 = the white of the darkest frame.
        reference: the same shape.
        device: where to compute.

    Returns:
        Just-objectionable-differences: 10 where nothing can be seen, one less for each step that
        three of four people would notice as worse.

    Raises:
        ValueError: not such pictures.
        MissingPackageError: cvvdp is not installed, or does not load.
    """
    if test.shape != reference.shape or test.ndim != 3 or test.shape[2] != 3:
        raise ValueError(f"pictures of {test.shape} and {reference.shape} cannot be compared")
    shown = [image.astype(np.float32) * np.float32(PEAK_LUMINANCE) for image in (test, reference)]
    quality, _ = _metric(device).predict(*shown, dim_order="HWC")
    return float(quality)


@lru_cache(maxsize=1)
def _metric(device: str) -> Any:
    try:
        package = import_module("pycvvdp")
    except ImportError as error:
        raise MissingPackageError(
            "ColorVideoVDP needs the package cvvdp: install the extra 'cvvdp' of dfghdr, as with "
            "pip install '.[cvvdp]' in a checkout"
        ) from error
    except RuntimeError as error:
        # torchvision says so where its build is for another PyTorch.
        raise MissingPackageError(
            f"ColorVideoVDP's package cvvdp does not load ({error}): install torch and torchvision "
            "of one build, both for CPU or both for CUDA"
        ) from error
    return package.cvvdp(display_name=DISPLAY, device=torch.device(device), quiet=True)
