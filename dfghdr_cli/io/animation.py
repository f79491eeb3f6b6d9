"""Moving pictures: animated GIF and WebP."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from dfghdr_cli.core.types import FloatImage
from dfghdr_cli.errors import OutputError, OutputNameError

_FORMATS = {".gif": "GIF", ".webp": "WEBP"}
_QUALITY = 90
"""Of WebP, 0 to 100."""


def is_animation(path: Path) -> bool:
    """Whether the name of a result ends like that of a moving picture: .gif or .webp."""
    return path.suffix.lower() in _FORMATS


def encode_animation(path: Path, pictures: Sequence[FloatImage], milliseconds: int) -> bytes:
    """The bytes of pictures that follow each other and start again, without end, as `path`.

    GIF has 256 colours a picture, which it dithers; WebP is lossy (quality 90).

    Args:
        path: the result, ending in .gif or .webp.
        pictures: (H, W, 3) float32 RGB of one size, encoded for an sRGB display; what lies outside
            [0, 1] becomes 0 or 1.
        milliseconds: how long each is shown; GIF counts in hundredths of a second.

    Raises:
        OutputError: the ending is unknown, or the pictures are too large for the format.
    """
    if not is_animation(path):
        raise OutputNameError(f"{path} names no moving picture; end it in .gif or .webp.")
    images = [
        Image.fromarray(np.rint(np.clip(picture, 0.0, 1.0) * 255).astype(np.uint8))
        for picture in pictures
    ]
    buffer = BytesIO()
    try:
        images[0].save(
            buffer,
            _FORMATS[path.suffix.lower()],
            save_all=True,
            append_images=images[1:],
            duration=milliseconds,
            loop=0,
            quality=_QUALITY,
        )
    except (OSError, ValueError) as error:
        raise OutputError(
            f"{path} cannot be encoded ({error}); both formats have a largest size, so make the "
            "pictures smaller."
        ) from error
    return buffer.getvalue()
