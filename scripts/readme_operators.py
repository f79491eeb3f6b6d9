"""Render the README's sheet of all tone mapping operators.

    python scripts/readme_operators.py MERGED.exr OUT.jpg [--width PIXELS] [--quality N]

It is what `dfghdr tonemap MERGED.exr --sheet` writes, made small.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from dfghdr_cli.core.tonemapping.operators import ToneSettings
from dfghdr_cli.io.display import write_display
from dfghdr_cli.io.radiance import read_linear
from dfghdr_cli.pipeline.tonemap import contact_sheet


def main() -> None:
    """Read a merge, write a picture."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("merge", type=Path, help="an .exr that dfghdr has written")
    parser.add_argument("out", type=Path, help="the picture, .jpg; replaced if it exists")
    parser.add_argument("--width", type=int, default=960, help="in pixels (default: 960)")
    parser.add_argument("--quality", type=int, default=80, help="of the JPEG (default: 80)")
    arguments = parser.parse_args()
    sheet = contact_sheet(read_linear(arguments.merge), ToneSettings())
    height = round(sheet.shape[0] * arguments.width / sheet.shape[1])
    small = cv2.resize(sheet, (arguments.width, height), interpolation=cv2.INTER_AREA)
    write_display(
        arguments.out, np.asarray(small, np.float32), quality=arguments.quality, overwrite=True
    )


if __name__ == "__main__":
    main()
