"""Merged pictures as linear DNG, which raw converters develop like a photograph of their own."""

from __future__ import annotations

import math
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from dfghdr_cli import __version__
from dfghdr_cli.core.colour import Chromaticities, to_xyz
from dfghdr_cli.core.types import RadianceImage
from dfghdr_cli.io.metadata import OWN_SOFTWARE, Metadata
from dfghdr_cli.io.tiff import append_exif, exif_tags_of

_LINEAR_RAW = 34892
_D65 = 21  # of the light sources of EXIF
_BLACK_IS_0, _WHITE_IS_1 = (50714, "H", 1, 0, True), (50717, "H", 1, 1, True)
_STEPS = 1_000_000  # denominators of rational numbers


def encode_dng(image: RadianceImage, metadata: Metadata) -> bytes:
    """The bytes of a linear DNG (Adobe DNG 1.7): three demosaiced channels of 32-bit floats.

    Converters clip above the white level, so that the picture is divided by the power of two that
    leaves nothing above 1, which changes no digit; BaselineExposure, in stops, takes that back: a
    pixel times 2**BaselineExposure is the radiance.

    Args:
        image: (H, W, 3) float32, linear, finite, >= 0, in any primaries, whose white is neutral.
        metadata: of the reference frame.
    """
    import tifffile

    stops = max(0, math.ceil(math.log2(max(float(image.pixels.max()), image.peak, 1.0))))
    pixels = image.pixels if stops == 0 else image.pixels * np.float32(2.0**-stops)
    camera = metadata.main.get(0x0110)
    model = camera if isinstance(camera, str) and camera.isascii() and camera else "dfghdr"
    tags = [
        *exif_tags_of(metadata),
        (274, "H", 1, 1, True),
        (50706, "B", 4, (1, 4, 0, 0), True),  # DNGVersion: the first with floats,
        (50707, "B", 4, (1, 4, 0, 0), True),  # and what a reader has to know
        (50708, "s", 0, model, True),
        _BLACK_IS_0,
        _WHITE_IS_1,
        (50721, "2i", 9, _rationals(_color_matrix(image.primaries)), True),
        (50728, "2I", 3, (1, 1) * 3, True),
        (50730, "2i", 1, (stops, 1), True),
        (50778, "H", 1, _D65, True),
    ]
    buffer = BytesIO()
    tifffile.imwrite(
        buffer,
        pixels,
        byteorder="<",
        photometric=_LINEAR_RAW,
        planarconfig="contig",
        subfiletype=0,
        rowsperstrip=max(1, 2**22 // pixels[0].nbytes),
        metadata=None,
        software=f"{OWN_SOFTWARE}{__version__}",
        extratags=tags,
    )
    append_exif(buffer, metadata)
    return buffer.getvalue()


def _color_matrix(primaries: Chromaticities) -> NDArray[np.float64]:
    """From XYZ to the picture's own RGB, as DNG calls it: to that of the camera."""
    return np.asarray(np.linalg.inv(to_xyz(primaries)), np.float64)


def _rationals(values: NDArray[np.float64]) -> tuple[int, ...]:
    return tuple(part for value in values.ravel() for part in (round(value * _STEPS), _STEPS))
