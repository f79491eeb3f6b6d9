"""Whether photographs show one scene, told from their pixels alone, whatever their exposures.

A photograph is cut into blocks, and each block with texture is looked for near its place in the
other photograph by normalised cross-correlation, which no exposure and hardly a tone curve changes.
Of one scene many blocks are found again, and as one motion of the camera moves them; of another
scene few are, and each elsewhere. What is nearly black or white in either tells nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.clipping import CLIPPED_THUMBNAIL
from dfghdr_cli.core.encoding import GAMMA
from dfghdr_cli.core.registration.align import feature_motions
from dfghdr_cli.core.registration.warp import Matrix
from dfghdr_cli.core.types import FloatImage, Frame, Mask

Verdict = Literal["same", "other", "unknown"]

_PIXELS = 38_400
"""Size of the pictures that are cut into blocks."""
_FEATURE_PIXELS = 300_000
"""Of those in which features are matched, where blocks are not found again."""
_BLOCK = 24
_SEARCH = 18
"""How far a block is looked for [pixels of 240]: hands move no further between two shots."""
_BLACK = 3.0
"""Codes of 255 outside which a pixel tells nothing."""
_EXPOSED = 0.8
"""Share of a block's pixels that must tell something."""
_TEXTURE = 2.0
"""Least standard deviation of a smoothed block [codes of 255]: rounding and JPEG leave about one,
and so does noise of ten, of which smoothing leaves an eighth."""
_BLUR = 1.0
"""Standard deviation [pixels] of what takes the noise from what is compared."""
_ALIKE = 0.8
"""Correlation from which on a block counts as found."""
_NEAR = 2.0
"""How far a block may be from where the common motion leads [pixels]."""
_ENOUGH = 12
"""Blocks from which on it can be said that two photographs do not show one scene."""
_FEWEST = 4
_SHARE = 0.2
"""Least share of a scene's blocks that are found again. In 151 pairs out of 21 real brackets it
was 0.26 or more, where half the picture moved or a hand was very unsteady, and mostly above 0.9; in
596 pairs of different scenes it was 0.17 at most."""
_INLIERS = 25
"""Matched features on one motion that are no coincidence."""
_MOST_MOTION = 0.25
"""How far features may say that the camera turned, as a share of the longer side: further, they
show two brackets of one panorama."""
_MOST_TURN = 0.14
"""Sine of the largest turn between two shots, 8 degrees, and about the largest zoom."""


@dataclass(frozen=True, eq=False)
class Thumbnail:
    """A photograph, much reduced.

    Attributes:
        frame: the photograph.
    """

    frame: Frame

    @cached_property
    def grey(self) -> FloatImage:
        """(h, w) float32, grey codes in [0, 255]."""
        grey = cv2.cvtColor(self._small, cv2.COLOR_RGB2GRAY)
        return np.asarray(cv2.GaussianBlur(grey, (0, 0), _BLUR), np.float32)

    @cached_property
    def smooth(self) -> FloatImage:
        """(h, w) float32, of which noise makes out next to nothing."""
        return np.asarray(cv2.GaussianBlur(self.grey, (0, 0), 2.0 * _BLUR), np.float32)

    @cached_property
    def exposed(self) -> Mask:
        """(h, w), where the photograph is neither black nor white."""
        brightest = self._small.max(axis=2)
        return np.asarray((brightest < CLIPPED_THUMBNAIL) & (self.grey > _BLACK), np.bool_)

    @cached_property
    def _small(self) -> FloatImage:
        return reduced_codes(self.frame, _PIXELS)

    @cached_property
    def large(self) -> NDArray[np.uint8]:
        """(H, W) uint8, grey codes of a larger picture."""
        codes = reduced_codes(self.frame, _FEATURE_PIXELS)
        return np.asarray(np.rint(cv2.cvtColor(codes, cv2.COLOR_RGB2GRAY)), np.uint8)


def reduced_codes(frame: Frame, pixels: int) -> FloatImage:
    """(h, w, 3) float32 codes in [0, 255] of a frame of at most so many pixels; linear ones coded.

    Args:
        frame: the frame.
        pixels: what to reduce it to; smaller ones stay as they are.
    """
    height, width = frame.pixels.shape[:2]
    factor = max(1.0, (height * width / pixels) ** 0.5)
    # Not the mean of all pixels of a block: of 4 x 4 at most, which is quick and quiet enough.
    step = max(1, int(factor / 4))
    samples: NDArray[Any] = frame.pixels[::step, ::step]
    top = 1.0 if frame.bit_depth == 32 else 2.0**frame.bit_depth - 1.0
    size = max(1, round(width / factor)), max(1, round(height / factor))
    small = cv2.resize(samples.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    small = small * np.float32(1.0 / top)
    if frame.linear:
        small = np.maximum(small, 0.0) ** np.float32(1.0 / GAMMA)
    return np.asarray(small * np.float32(255.0), np.float32)


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far two photographs show the same.

    Attributes:
        agreeing: blocks of the one that the other shows too, moved as one motion moves them.
        comparable: blocks with texture that both expose.
    """

    agreeing: int
    comparable: int

    @property
    def verdict(self) -> Verdict:
        """Whether that is one scene."""
        if self.agreeing >= max(_FEWEST, _SHARE * self.comparable):
            return "same"
        return "other" if self.comparable >= _ENOUGH else "unknown"


def compare(first: Thumbnail, second: Thumbnail) -> Comparison:
    """Compare two photographs block by block.

    Args:
        first: a photograph.
        second: one of about the same size; two of very different shapes have nothing to compare.

    Returns:
        The comparison; deterministic.
    """
    places, moves, comparable = [], [], 0
    height, width = first.grey.shape
    for y in range(0, height - _BLOCK + 1, _BLOCK):
        for x in range(0, width - _BLOCK + 1, _BLOCK):
            here = np.s_[y : y + _BLOCK, x : x + _BLOCK]
            if not _tells(first, here):
                continue
            top, left = max(0, y - _SEARCH), max(0, x - _SEARCH)
            window = second.grey[top : y + _BLOCK + _SEARCH, left : x + _BLOCK + _SEARCH]
            if min(window.shape) < _BLOCK:
                continue
            found = cv2.matchTemplate(window, first.grey[here], cv2.TM_CCOEFF_NORMED)
            _, best, _, (dx, dy) = cv2.minMaxLoc(found)
            v, u = top + dy, left + dx
            if not _tells(second, np.s_[v : v + _BLOCK, u : u + _BLOCK]):
                continue
            comparable += 1
            if best >= _ALIKE:
                places.append((x, y))
                moves.append((u, v))
    return Comparison(_on_one_motion(places, moves), comparable)


def _tells(picture: Thumbnail, here: tuple[slice, slice]) -> bool:
    exposed = float(picture.exposed[here].mean()) >= _EXPOSED
    return exposed and float(picture.smooth[here].std()) >= _TEXTURE


def _on_one_motion(places: Sequence[tuple[int, int]], moves: Sequence[tuple[int, int]]) -> int:
    """How many places one shift, slight turn and zoom moves as found."""
    if len(places) < _FEWEST:
        return 0
    cv2.setRNGSeed(0)
    source, target = (np.array(points, np.float32) for points in (places, moves))
    motion, inside = cv2.estimateAffinePartial2D(
        source, target, method=cv2.RANSAC, ransacReprojThreshold=_NEAR, maxIters=500
    )
    if motion is None:
        return 0
    zoom, sine = np.hypot(motion[0, 0], motion[1, 0]), motion[1, 0]
    steady = 0.9 < zoom < 1.1 and abs(sine) < _MOST_TURN
    return int(np.count_nonzero(inside)) if steady else 0


def show_one_scene(first: Thumbnail, second: Thumbnail) -> Verdict:
    """Whether two photographs show one scene; "unknown" where that cannot be told.

    Where blocks are not found again, features are matched, which may be anywhere: the camera may
    have moved far.

    Args:
        first: a photograph.
        second: one of about the same size.
    """
    verdict = compare(first, second).verdict
    if verdict != "other":
        return verdict
    for motion, inliers in feature_motions(first.large, second.large):
        if inliers >= _INLIERS and _is_by_hand(motion, first.large.shape):
            return "same"
    return "other"


def _is_by_hand(motion: Matrix, shape: tuple[int, ...]) -> bool:
    """Whether a camera may have moved so between two shots of one scene."""
    height, width = shape
    across = np.array([[width / 4, height / 2, 1.0], [3 * width / 4, height / 2, 1.0]])
    moved = across @ motion.T
    if (moved[:, 2] <= 0).any():
        return False
    shift = moved[:, :2] / moved[:, 2:] - across[:, :2]
    near = bool(np.hypot(*shift.mean(axis=0)) < _MOST_MOTION * max(shape))
    return near and bool(np.hypot(*(shift[1] - shift[0])) < _MOST_TURN * width / 2)


def scenes(pictures: Sequence[Thumbnail]) -> list[list[int]]:
    """Sort photographs by the scene they show.

    Args:
        pictures: at least one, of about the same size.

    Returns:
        Their indices, the largest scene first; what cannot be told belongs to it.
    """
    order = sorted(range(len(pictures)), key=lambda k: (float(pictures[k].grey.mean()), k))
    groups = [{k} for k in order]
    differ: set[tuple[int, int]] = set()
    # Those of similar brightness have most to compare.
    for apart in range(1, len(order)):
        for dark, bright in zip(order, order[apart:], strict=False):
            mine, other = (next(g for g in groups if k in g) for k in (dark, bright))
            if mine is other:
                continue
            verdict = show_one_scene(pictures[bright], pictures[dark])
            if verdict == "same":
                mine |= other
                groups.remove(other)
            elif verdict == "other":
                differ |= {(dark, bright), (bright, dark)}
    groups.sort(key=lambda group: (-len(group), min(group)))
    main, strange = groups[0], []
    for group in groups[1:]:
        if any((a, b) in differ for a in group for b in main):
            strange.append(group)
        else:
            main |= group
    return [sorted(group) for group in (main, *strange)]
