"""Render the README's comparison of two merges: the one side by side with the other.

    python scripts/readme_pictures.py LEFT.exr RIGHT.exr OUT.jpg [--exposure STOPS]
                                         [--crop X,Y,WIDTH,HEIGHT]

Both go through the same curve with the same numbers, so that they differ only where the merges do.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from dfghdr_cli.core.tonemapping.operators import ToneSettings, tone_map
from dfghdr_cli.io.display import write_display
from dfghdr_cli.io.radiance import read_radiance

GAP = 8
"""White between the two pictures [pixels]."""


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
        white = float(header["dfghdr:peak"]) * 2.0**arguments.exposure
        picture = tone_map(radiance, ToneSettings("reinhard", arguments.exposure, white)).pixels
        pictures.append(picture[arguments.crop] if arguments.crop else picture)
    left, right = pictures
    gap = np.ones((left.shape[0], GAP, 3), np.float32)
    write_display(arguments.out, np.hstack([left, gap, right]), overwrite=True)


if __name__ == "__main__":
    main()
