"""What speaks for a motion of the camera: parts of the picture that show the same in two frames.

A dark frame shows a few lamps in noise, and a fit of eight parameters finds something in any noise.
So a motion is believed only as far as blocks of the picture bear it out, by their correlation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.clipping import CLIPPED_GREY
from dfghdr_cli.core.types import FloatImage, Mask

Matrix = NDArray[np.float64]

_BLOCK = 16
"""Side of a block [pixels]."""
_BLUR = 1.0
"""Takes noise away before blocks are compared [pixels]."""
_COVERED = 0.5
"""Share of a block's pixels that both frames must expose."""
_BLACK = 2.5
"""Codes of the darker frame up to which it shows nothing."""
_TEXTURE = 0.75
"""Least standard deviation of a block [codes of the darker frame]."""
_ALIKE = 0.7
"""Correlation from which on a block shows the same: of noise, 16 x 16 pixels reach 0.5 at most."""
_FEW, _SURE = 24, 0.6
"""Blocks, and their share of the comparable ones, from which on a motion is beyond doubt."""
_CERTAIN = 4.0
"""Standard errors by which a motion must explain the blocks better than another. On real brackets
true motions have 7 and more; fits of noise, the best of many, reach 3.6."""
_OUTLIER = 4.0
"""Times the usual gain of a block that one block may count for at most."""
_DILUTION = 1.0
"""By how much the error of one block's place may grow over the picture (RMS)."""

_PARAMETERS = {"shift": 2, "euclidean": 3, "affine": 6, "homography": 8}


@dataclass(frozen=True, eq=False)
class Evidence:
    """How blocks of a picture bear a motion out.

    Attributes:
        correlation: (n, m) float64 of each block, NaN where the frames have nothing to compare.
        size: (height, width) of the picture.
    """

    correlation: NDArray[np.float64]
    size: tuple[int, int]

    @property
    def alike(self) -> Mask:
        """(n, m), the blocks that show the same."""
        return np.nan_to_num(self.correlation) >= _ALIKE

    @property
    def agreeing(self) -> int:
        """How many blocks show the same."""
        return int(np.count_nonzero(self.alike))

    @property
    def is_weak(self) -> bool:
        """Whether so few blocks show the same that another frame may tell more."""
        comparable = int(np.count_nonzero(~np.isnan(self.correlation)))
        return self.agreeing < max(_FEW, _SURE * comparable)

    def is_better_than(self, other: Evidence) -> bool:
        """Whether one motion certainly explains a pair of frames better than another."""
        both = ~(np.isnan(self.correlation) | np.isnan(other.correlation))
        both &= self.alike | other.alike  # the rest is noise or moves by itself
        gain = (self.correlation - other.correlation)[both]
        if gain.size < 3:
            return False
        # A few blocks in which things move, or curves differ, shall not outvote the others.
        most = _OUTLIER * float(np.median(np.abs(gain)))
        gain = np.clip(gain, -most, most)
        error = float(gain.std(ddof=1)) / gain.size**0.5
        return float(gain.mean()) > _CERTAIN * error

    def determines(self, model: Literal["shift", "euclidean", "affine", "homography"]) -> bool:
        """Whether the blocks that agree are many and spread enough for all of a model's parameters.

        A block tells where it is in both directions, to about half a pixel; what the model makes
        of that elsewhere in the picture must not be worse than twice as much.
        """
        rows, columns = np.nonzero(self.alike)
        if 2 * len(rows) < _PARAMETERS[model] + 2:
            return False
        height, width = self.size
        scale = 2.0 / max(height, width)
        y = (rows + 0.5) * _BLOCK * scale - height * scale / 2
        x = (columns + 0.5) * _BLOCK * scale - width * scale / 2
        grid = np.meshgrid(np.linspace(-1, 1, 9) * width, np.linspace(-1, 1, 9) * height)
        u, v = (axis.ravel() / max(height, width) for axis in grid)
        known = _design(x, y, model)
        information = known.T @ known
        if np.linalg.cond(information) > 1e9:
            return False
        asked = _design(u, v, model)
        variance = np.einsum("np,pq,nq->n", asked, np.linalg.inv(information), asked)
        return float(variance.mean()) * 2.0 <= _DILUTION**2  # both directions


def _design(x: NDArray[np.floating], y: NDArray[np.floating], model: str) -> NDArray[np.float64]:
    """(2 n, p) derivatives of a motion's coordinates by its parameters at the identity."""
    one, zero = np.ones_like(x), np.zeros_like(x)
    if model == "shift":
        across, down = [one, zero], [zero, one]
    elif model == "euclidean":
        across, down = [one, zero, -y], [zero, one, x]
    else:
        across = [one, zero, x, y, zero, zero]
        down = [zero, one, zero, zero, x, y]
        if model == "homography":
            across += [-x * x, -x * y]
            down += [-x * y, -y * y]
    return np.concatenate([np.stack(across, 1), np.stack(down, 1)]).astype(np.float64)


class Witness:
    """A pair of frames that is asked about motions."""

    def __init__(self, reference: FloatImage, other: FloatImage, stops: float) -> None:
        """Prepare a pair.

        Args:
            reference: (H, W) float32 greys of `core.registration.align.equal_greys`, reduced.
            other: (h, w) likewise.
            stops: exposure of `other` relative to the reference [stops].
        """
        self._code = float(2.0 ** (abs(stops) / 2.2) / 255.0)  # of the darker frame
        low = self._code * _BLACK
        self._usable = [
            (
                (grey < CLIPPED_GREY / 255.0) & (grey > (low if is_darker else _BLACK / 255.0))
            ).astype(np.float32)
            for grey, is_darker in ((reference, stops > 0), (other, stops <= 0))
        ]
        self._greys = [cv2.GaussianBlur(grey, (0, 0), _BLUR) for grey in (reference, other)]

    def asked(self, transform: Matrix) -> Evidence:
        """How the blocks bear out that pixel x of the reference is `transform` @ x of the other."""
        reference, other = self._greys
        height, width = reference.shape
        if min(height, width) < _BLOCK:
            return Evidence(np.full((0, 0), np.nan), (height, width))
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        # The linear kernel takes noise away wherever it lies between pixels, and any motion by a
        # fraction of one would explain noisy blocks better than none.
        cubic = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        moved = cv2.warpPerspective(other, transform, (width, height), flags=cubic)
        there = cv2.warpPerspective(self._usable[1], transform, (width, height), flags=flags)
        usable = self._usable[0] * (there > 0.99)
        reference, moved = reference * usable, moved * usable
        share = _block_means(usable)
        covered = share >= _COVERED
        share = np.maximum(share, _COVERED)
        means = [_block_means(grey) / share for grey in (reference, moved)]
        squares = [_block_means(grey * grey) / share for grey in (reference, moved)]
        product = _block_means(reference * moved) / share
        variances = [np.maximum(s - m * m, 0.0) for s, m in zip(squares, means, strict=True)]
        textured = covered & (np.minimum(*variances) >= (_TEXTURE * self._code) ** 2)
        scale = np.sqrt(np.maximum(variances[0] * variances[1], 1e-20))
        correlation = (product - means[0] * means[1]) / scale
        return Evidence(np.where(textured, correlation, np.nan), (height, width))


def _block_means(plane: FloatImage) -> NDArray[np.float64]:
    """(n, m) means over whole blocks."""
    rows, columns = plane.shape[0] // _BLOCK, plane.shape[1] // _BLOCK
    whole = plane[: rows * _BLOCK, : columns * _BLOCK]
    return cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.float64)
