"""ICC profiles: which primaries a photograph has, and which curve."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.colour import (
    REC709,
    REC2020,
    Chromaticities,
    conversion,
    srgb_encode,
    to_xyz,
)
from dfghdr_cli.errors import InputError

# The white of the profile connection space (ICC.1:2022, 7.2.16).
_D50 = np.array([0.9642, 1.0, 0.8249])
_TABLE_SIZE = 4097
_CUBE = 9
"""Codes a channel at which a profile is looked at beside its greys."""
_MISFIT = 0.01
"""Of XYZ, white being 1. Profiles of a matrix and one curve misfit by 1e-7, and tables of the same
by what they interpolate between their nodes."""
_BAND = 1 << 18
"""Pixels converted at once."""
_ALIKE = 2e-3
"""Matrices and curves nearer than this are the same but for rounding."""


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """What a profile says about RGB.

    Attributes:
        name: its description.
        to_rec709: (3, 3) float64 from its primaries to those of Rec. 709 (white adapted by
            Bradford's method), or None where they are the same.
        curve: (4097,) float64, the linear light of evenly spaced codes, from 0 to 1.
        fits: whether these two say all that the profile does, within what rounding explains; if
            not, `convert` is to be used instead.
    """

    name: str
    to_rec709: NDArray[np.float64] | None
    curve: NDArray[np.float64]
    fits: bool = True


def read_profile(data: bytes) -> Profile | None:
    """Read an ICC profile.

    Args:
        data: its bytes.

    Returns:
        The profile; None where it is one for grey.

    Raises:
        InputError: it is damaged, or not for RGB or grey.
    """
    from PIL import ImageCms

    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(data))
        name = ImageCms.getProfileDescription(profile).strip() or "an unnamed profile"
    except (OSError, ImageCms.PyCMSError) as error:
        raise InputError("its colour profile is damaged") from error
    space = data[16:20].decode("ascii", "replace").strip()  # ICC.1:2022, 7.2.8
    if space == "GRAY":
        return None
    if space != "RGB":
        raise InputError(f"its colour profile {name} is not for RGB")
    ramp = np.linspace(0.0, 1.0, _TABLE_SIZE)[:, None].repeat(3, axis=1)
    cube = np.stack(np.meshgrid(*[np.linspace(0.0, 1.0, _CUBE)] * 3), axis=-1).reshape(-1, 3)
    try:
        xyz, shown = np.split(
            _to_xyz_of(data, np.concatenate([np.eye(3), ramp, cube])), [len(ramp) + 3]
        )
    except (RuntimeError, ValueError) as error:
        raise InputError(f"its colour profile {name} cannot be used") from error
    curve = np.maximum.accumulate(np.clip((xyz[3:, 1] - xyz[3, 1]) / np.ptp(xyz[3:, 1]), 0, 1))
    # Scaled so that white stays white: also what a look-up table instead of a matrix needs.
    columns = xyz[:3].T * np.linalg.solve(xyz[:3].T, xyz[-1])
    matrix = _from_d50(REC709) @ columns
    alike = np.allclose(matrix, np.eye(3), atol=_ALIKE)
    predicted = np.interp(cube, ramp[:, 0], curve) @ columns.T
    fits = bool(np.abs(shown - predicted).max() <= _MISFIT)
    return Profile(name, None if alike else matrix, curve, fits)


def convert(pixels: NDArray[Any], data: bytes) -> tuple[NDArray[np.uint16], NDArray[np.float64]]:
    """Bring pixels of any profile for RGB to Rec. 2020 under the curve of sRGB, by Little CMS.

    Args:
        pixels: (H, W, 3) uint8, uint16, or float32 in [0, 1].
        data: the profile.

    Returns:
        (H, W, 3) uint16, where colours outside Rec. 2020 are clipped; and the matrix from these
        primaries to those of Rec. 709.

    Raises:
        RuntimeError, ValueError: Little CMS cannot use the profile.
    """
    top = 1.0 if pixels.dtype.kind == "f" else float(np.iinfo(pixels.dtype).max)
    matrix = _from_d50(REC2020)
    result = np.empty(pixels.shape, np.uint16)
    rows = max(1, _BAND // pixels.shape[1])
    for start in range(0, len(pixels), rows):
        band = pixels[start : start + rows] / top
        linear = _to_xyz_of(data, band.reshape(-1, 3)) @ matrix.T
        codes = srgb_encode(np.clip(linear, 0.0, 1.0))
        result[start : start + rows] = np.rint(codes * 65535).reshape(band.shape)
    return result, conversion(REC2020, REC709)


def _to_xyz_of(data: bytes, colors: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 3) XYZ, white being D50, of codes by a profile: by Little CMS, which knows all kinds."""
    import imagecodecs

    return imagecodecs.cms_transform(
        np.ascontiguousarray(colors, np.float64)[None],
        data,
        imagecodecs.cms_profile("xyz"),
        colorspace="rgb",
        outcolorspace="xyz",
        outdtype=np.float64,
        intent=imagecodecs.CMS.INTENT.RELATIVE_COLORIMETRIC,
    )[0]


def primaries_to_rec709(primaries: Chromaticities) -> NDArray[np.float64] | None:
    """The matrix of some primaries to those of Rec. 709, or None where they are the same."""
    matrix = conversion(primaries, REC709)
    return None if np.allclose(matrix, np.eye(3), atol=_ALIKE) else matrix


def _from_d50(primaries: Chromaticities) -> NDArray[np.float64]:
    """(3, 3), from XYZ whose white is D50 to linear RGB; white adapted by Bradford's method."""
    # Any RGB with that white leads there.
    x, y = _D50[0] / _D50.sum(), _D50[1] / _D50.sum()
    wide: Chromaticities = (*REC709[:6], float(x), float(y))  # pyright: ignore[reportAssignmentType]
    return conversion(wide, primaries) @ np.linalg.inv(to_xyz(wide))
