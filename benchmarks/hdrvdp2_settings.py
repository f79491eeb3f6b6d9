"""How far HDR-VDP-2 moves with what papers leave unsaid: encoding, scale, size of a pixel.

    python benchmarks/hdrvdp2_settings.py TEST REFERENCE

Both are .exr files that `dfghdr merge` wrote of one bracket. They are divided by the peak that is
noted in them, so that 1.0 is the white of the darkest frame, and clipped to [0, 1].
Prints one line for each way in which published scripts call the metric, and the seconds of each.
"""

# ruff: noqa: T201
from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.encoding import mu_law
from dfghdr_cli.core.metrics.hdrvdp2 import Options, hdrvdp2, pixels_per_degree
from dfghdr_cli.io.radiance import read_radiance

Picture = NDArray[np.float64]


def main() -> None:
    """Print Q of every setting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("test", type=Path)
    parser.add_argument("reference", type=Path)
    arguments = parser.parse_args()
    test, reference = (picture(path) for path in (arguments.test, arguments.reference))
    height, width = reference.shape[:2]
    print(f"{width} x {height}")
    near, far = pixels_per_degree(width, height), pixels_per_degree(width, height, 28, 0.55)
    wide = pixels_per_degree(width, height, 21, 1.0)

    def as_it_is(picture: Picture) -> Picture:
        return picture

    def times(factor: float) -> Callable[[Picture], Picture]:
        return lambda picture: picture * factor

    settings: list[tuple[str, str, Callable[[Picture], Picture], float]] = [
        ("linear", "sRGB-display", as_it_is, near),
        ("linear", "sRGB-display", as_it_is, far),
        ("linear", "sRGB-display", as_it_is, 30.0),
        ("linear", "sRGB-display", as_it_is, 60.0),
        ("after the mu-law", "sRGB-display", mu_law, near),
        ("linear x 100", "rgb-bt.709", times(100), near),
        ("linear x 1000", "rgb-bt.709", times(1000), near),
        ("linear x 4000", "rgb-bt.709", times(4000), wide),
        ("linear x 65535", "rgb-bt.709", times(65535), 30.0),
        ("linear (not cd/m2)", "rgb-bt.709", as_it_is, near),
    ]
    print("| values | encoding | pixels per degree | Q (2.2.1, 2.2.2) | Q_MOS (2.2.0) | seconds |")
    print("|---|---|---|---|---|---|")
    for name, encoding, change, ppd in settings:
        row(name, change(test), change(reference), encoding, ppd, None)
    for name, options in (("crt", Options(display="crt")), ("led-lcd", Options(display="led-lcd"))):
        row(f"linear, {name} screen", test, reference, "sRGB-display", near, options)


def picture(path: Path) -> Picture:
    """The picture of a merge in [0, 1]."""
    pixels, header = read_radiance(path)
    return np.clip(pixels.astype(np.float64) / float(header["dfghdr:peak"]), 0, 1)


def row(
    name: str,
    test: Picture,
    reference: Picture,
    encoding: str,
    ppd: float,
    options: Options | None,
) -> None:
    """Measure and print one line of the table."""
    start = time.perf_counter()
    result = hdrvdp2(test, reference, encoding=encoding, ppd=ppd, options=options, maps=False)
    seconds = time.perf_counter() - start
    print(
        f"| {name} | `{encoding}` | {ppd:.2f} | {result.quality:.2f} | {result.mos_2_2_0:.2f} "
        f"| {seconds:.1f} |"
    )


if __name__ == "__main__":
    main()
