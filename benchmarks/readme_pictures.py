"""Render the README's comparison of two merges: the one side by side with the other.

    python benchmarks/readme_pictures.py LEFT.exr RIGHT.exr OUT.jpg [--exposure STOPS]
                                         [--crop X,Y,WIDTH,HEIGHT]

Both go through the same curve with the same numbers, so that they differ only where the merges do.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from dfghdr_cli.core.types import FloatImage
from dfghdr_cli.io.display import write_display
from dfghdr_cli.io.radiance import read_radiance

LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""Of linear Rec. 709 (ITU-R BT.709-6, item 3.2)."""

GAP = 8
"""White between the two pictures [pixels]."""


def tone_map(radiance: FloatImage, exposure: float, white: float) -> FloatImage:
    """Reinhard's global curve on luminance, then the sRGB curve.

    Source: Reinhard et al., "Photographic Tone Reproduction for Digital Images", 2002, eq. (4);
    IEC 61966-2-1.

    Args:
        radiance: (H, W, 3), linear.
        exposure: brightens the picture first [stops].
        white: the radiance that becomes white, after `exposure` is applied to it, too.

    Returns:
        (H, W, 3) float32 for the screen; highlights of strong colour may exceed 1.
    """
    gain = np.float32(2.0**exposure)
    scaled = radiance * gain
    luminance = scaled @ LUMINANCE
    curve = (1.0 + luminance / (white * gain) ** 2) / (1.0 + luminance)
    x = np.clip(scaled * curve[..., None], 0.0, 1.0)
    encoded = np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)
    return encoded.astype(np.float32)


def _crop(text: str) -> tuple[slice, slice]:
    x, y, width, height = map(int, text.split(","))
    return slice(y, y + height), slice(x, x + width)


def main() -> None:
    """Read two merges, write one picture."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("left", type=Path, help="an .exr that dfghdr has written")
    parser.add_argument("right", type=Path, help="another one, of the same bracket")
    parser.add_argument("out", type=Path, help="the picture, .jpg or .png; replaced if it exists")
    parser.add_argument("--exposure", type=float, default=1.5, help="in stops (default: 1.5)")
    parser.add_argument("--crop", type=_crop, help="X,Y,WIDTH,HEIGHT in pixels (default: all)")
    arguments = parser.parse_args()
    pictures = []
    for path in (arguments.left, arguments.right):
        radiance, header = read_radiance(path)
        picture = tone_map(radiance, arguments.exposure, float(header["dfghdr:peak"]))
        pictures.append(picture[arguments.crop] if arguments.crop else picture)
    left, right = pictures
    gap = np.ones((left.shape[0], GAP, 3), np.float32)
    write_display(arguments.out, np.hstack([left, gap, right]), overwrite=True)


if __name__ == "__main__":
    main()
