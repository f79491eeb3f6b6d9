"""Pictures for the screen: 8-bit JPEG and PNG in sRGB."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np

from dfghdr_cli.core.types import FloatImage
from dfghdr_cli.errors import OutputError
from dfghdr_cli.io.atomic import atomic_write

_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
_JPEG_QUALITY = 92


def ensure_display_name(path: Path) -> None:
    """Refuse a preview name whose ending names no display format.

    Raises:
        OutputError: the name ends in none of .jpg, .jpeg and .png.
    """
    if path.suffix.lower() not in _FORMATS:
        raise OutputError(f"{path} names no display format; end it in .jpg or .png.")


def write_preview(path: Path, pixels_display: FloatImage, overwrite: bool = False) -> None:
    """Write a display-ready picture as JPEG (quality 92, 4:4:4) or PNG, tagged as sRGB.

    Args:
        path: the result, ending in .jpg, .jpeg or .png.
        pixels_display: (H, W, 3) float32 RGB, already encoded for an sRGB display, nominally
            [0, 1]; what lies outside cannot be shown and becomes 0 or 1. Rounded to 8 bits.
        overwrite: whether an existing file may be replaced.

    Raises:
        OutputExistsError: the file exists and `overwrite` is false.
        OutputError: the ending is unknown, the picture is too large for the format, or the file
            cannot be written.
        ValueError: a caller's mistake: another shape, or values that are not finite.
    """
    from PIL import Image

    ensure_display_name(path)
    shape = pixels_display.shape
    if len(shape) != 3 or shape[2] != 3 or not np.isfinite(pixels_display).all():
        raise ValueError(f"expected finite (H, W, 3) pixels, not {shape}")
    codes = np.rint(np.clip(pixels_display, 0, 1) * 255).astype(np.uint8)
    buffer = BytesIO()
    image = Image.fromarray(codes)
    try:
        if _FORMATS[path.suffix.lower()] == "JPEG":
            image.save(
                buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0, icc_profile=_srgb_profile()
            )
        else:
            image.save(buffer, "PNG", icc_profile=_srgb_profile())
    except (OSError, ValueError) as error:
        raise OutputError(
            f"{path} cannot be encoded ({error}); JPEG holds at most 65535 pixels a side, "
            "so write .png or a smaller picture."
        ) from error
    with atomic_write(path, overwrite) as file:
        file.write(buffer.getbuffer())


@cache
def _srgb_profile() -> bytes:
    from PIL import ImageCms

    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # Bytes 24 to 35 hold the moment of creation (ICC.1:2022, 7.2.1); the same picture must give
    # the same file, so they are set to 2000-01-01.
    profile[24:36] = b"\x07\xd0\x00\x01\x00\x01" + bytes(6)
    return bytes(profile)
