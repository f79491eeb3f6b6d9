"""Photographs decoded anew: every scene with every exposure, and what lies between exposures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from dfghdr_cli.core.encoding import decode, encode
from dfghdr_cli.core.types import Exposure, FloatImage, Frame, OnProgress
from dfghdr_cli.errors import InputError
from dfghdr_cli.io.charts import reduced
from dfghdr_cli.io.exif import read_exposure
from dfghdr_cli.io.ldr import read_frame
from dfghdr_cli.pipeline.explore.explorer import Explorer


@dataclass(frozen=True, slots=True)
class Photograph:
    """One image that is looked into.

    Attributes:
        name: of its file.
        code: (H, W, 3) float32 in [0, 1], as its file encodes it, which counts as a gamma code;
            what the file holds as linear or in other primaries than Rec. 709 is brought to that.
        stops: exposure relative to the others [stops], or None if unknown.
    """

    name: str
    code: FloatImage
    stops: float | None

    @property
    def label(self) -> str:
        """Its exposure in words: "+3 EV"; its name where that is unknown."""
        return self.name if self.stops is None else ev_text(self.stops)


def ev_text(stops: float) -> str:
    """Stops as a photographer writes them: "-2.7 EV", "0 EV", "+3 EV"."""
    rounded = round(stops, 1) + 0.0
    return "0 EV" if rounded == 0 else f"{rounded:+g} EV"


def read_photographs(
    paths: Sequence[Path], stops: Sequence[float] | None = None, longer_side: int = 384
) -> list[Photograph]:
    """Read images, of one scene or of several, and reduce them.

    Args:
        paths: at least one file; they keep their order.
        stops: exposure of each [stops]; None takes the EXIF data, relative to the middle exposure,
            and no exposures at all if one of the files has none.
        longer_side: larger images are reduced to this [pixels].

    Raises:
        InputError: a file cannot be read, or there is not one exposure a file.
    """
    if stops is not None and len(stops) != len(paths):
        raise InputError(f"--ev holds {len(stops)} values for {len(paths)} files; match them.")
    if stops is None:
        recorded = [read_exposure(path) for path in paths]
        known = [exposure.stops for exposure in recorded if exposure is not None]
        if len(known) == len(paths):
            middle = sorted(known)[len(known) // 2]
            stops = [value - middle for value in known]
    photographs = []
    for index, path in enumerate(paths):
        code = _code(read_frame(path, Exposure(0.0)), longer_side)
        if min(code.shape[:2]) < 32:
            raise InputError(f"{path} is too narrow to be looked into; give a larger picture.")
        photographs.append(
            Photograph(path.name, code, None if stops is None else float(stops[index]))
        )
    return photographs


def _code(frame: Frame, longer_side: int) -> FloatImage:
    """A frame, reduced, as gamma codes in Rec. 709: as encoded, unless its file is unlike that."""
    pixels = reduced(frame.encoded(), longer_side)
    if not frame.linear and frame.to_rec709 is None:
        return pixels
    linear = pixels if frame.linear else decode(pixels)
    if frame.to_rec709 is not None:
        linear = linear @ frame.to_rec709.T
    return encode(linear)


@dataclass(frozen=True, slots=True)
class Grid:
    """Every image's spatial code with every image's exposure code, as in Fig. 2 of the paper.

    Attributes:
        photographs: N images.
        pictures: pictures[i][j] is D(E_sp(X_i), E_ex(X_j)): (H_i, W_i, 3) float32 gamma codes,
            nominally in [0, 1], not clipped.
        psnr: N reconstructions D(E_sp(X_i), E_ex(X_i)) against X_i as the encoders see it [dB].
    """

    photographs: tuple[Photograph, ...]
    pictures: tuple[tuple[FloatImage, ...], ...]
    psnr: tuple[float, ...]


def explore_grid(
    explorer: Explorer, photographs: Sequence[Photograph], on_progress: OnProgress | None = None
) -> Grid:
    """Decode every pair of a spatial code and an exposure code.

    Raises:
        ModelError: if the model has no decoder.
    """
    explorer.require_decoder()
    rows, psnr = [], []
    with torch.inference_mode():
        images = [explorer.images([photograph.code]) for photograph in photographs]
        exposure = torch.cat([explorer.exposure_codes(image) for image in images])
        for index, (photograph, image) in enumerate(zip(photographs, images, strict=True)):
            spatial = explorer.spatial_codes(image)
            pictures = [explorer.decode(spatial, code[None])[0] for code in exposure]
            error = (pictures[index].clamp(0.0, 1.0) - image[0]).square().mean()
            psnr.append(-10.0 * math.log10(max(float(error), 1e-10)))
            rows.append(tuple(_picture(picture, photograph, image) for picture in pictures))
            if on_progress:
                on_progress(index + 1, len(images), "decode")
    return Grid(tuple(photographs), tuple(rows), tuple(psnr))


@dataclass(frozen=True, slots=True)
class Walk:
    """One image's spatial code, with exposure codes on the straight line through those of two.

    Attributes:
        photograph: the image that gives the spatial code.
        ends: the images that give the exposure codes at 0 and 1.
        places: along the line.
        pictures: at each place, (H, W, 3) float32 gamma codes, nominally in [0, 1].
    """

    photograph: Photograph
    ends: tuple[Photograph, Photograph]
    places: tuple[float, ...]
    pictures: tuple[FloatImage, ...]


def explore_walk(
    explorer: Explorer,
    photographs: Sequence[Photograph],
    steps: int,
    *,
    extrapolate: bool = False,
) -> Walk:
    """Walk from the first image's exposure code to the last one's, in the scene of the middle one.

    Args:
        explorer: the model, with its decoder.
        photographs: at least two.
        steps: pictures between and at the ends, at least 2.
        extrapolate: go on at both ends by half the distance between them, in steps as long.

    Raises:
        InputError: if there is only one photograph.
        ModelError: if the model has no decoder.
    """
    explorer.require_decoder()
    if len(photographs) < 2:
        raise InputError("a walk between exposures takes two photographs at least.")
    first, middle, last = photographs[0], photographs[len(photographs) // 2], photographs[-1]
    beyond = (steps - 1) // 2 if extrapolate else 0
    places = [index / (steps - 1) for index in range(-beyond, steps + beyond)]
    with torch.inference_mode():
        start, end = (
            explorer.exposure_codes(explorer.images([photograph.code]))
            for photograph in (first, last)
        )
        image = explorer.images([middle.code])
        spatial = explorer.spatial_codes(image)
        pictures = [
            _picture(explorer.decode(spatial, torch.lerp(start, end, place))[0], middle, image)
            for place in places
        ]
    return Walk(middle, (first, last), tuple(places), tuple(pictures))


def _picture(decoded: Tensor, photograph: Photograph, image: Tensor) -> FloatImage:
    """A decoded picture (3, h, w) at the size of the photograph it shows, (H, W, 3).

    Args:
        decoded: what the decoder made.
        photograph: what the encoders' image was made of.
        image: that image (1, 3, h, w), perhaps smaller, with its borders repeated.
    """
    height, width = photograph.code.shape[:2]
    pixels = decoded.float().permute(1, 2, 0).cpu().numpy()
    # DFGMerge's encoders look at every second pixel; padding went to the right and below.
    factor = 1 if image.shape[-1] >= width else 2
    pixels = pixels[: -(-height // factor), : -(-width // factor)]
    if factor == 1:
        return np.ascontiguousarray(pixels)
    return np.asarray(cv2.resize(pixels, (width, height)), np.float32)
