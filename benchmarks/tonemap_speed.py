# ruff: noqa: T201
"""Time `dfghdr tonemap` on a large picture, one operator after the other, each as a new process.

    python benchmarks/tonemap_speed.py [--megapixels 24] [--processors 2] [OPERATOR...]

Prints seconds from the command to the finished JPEG, processor seconds, and the peak of its memory.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from dfghdr_cli.core.tonemapping.operators import OPERATORS
from dfghdr_cli.core.types import FloatImage, RadianceImage
from dfghdr_cli.io.radiance import write_radiance


def picture(megapixels: float) -> FloatImage:
    """A 3:2 picture of 14 stops: forms of all sizes, coloured lamps and noise."""
    width = round((megapixels * 1e6 * 1.5) ** 0.5)
    height = round(width / 1.5)
    random = np.random.default_rng(0)
    stops = np.zeros((height, width, 3), np.float32)
    for cells, amount in ((6, 3.0), (40, 1.5), (300, 0.7)):
        grid = random.normal(0, amount, (cells * 2 // 3, cells, 3)).astype(np.float32)
        grid = 0.7 * grid.mean(axis=2, keepdims=True) + 0.3 * grid
        stops += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    stops += random.standard_normal((height, width, 1), np.float32) * np.float32(0.1)
    return np.exp2(np.clip(stops, -8, 6))


def main() -> None:
    """Write the picture, then time the operators."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("operators", nargs="*", help="names (default: all)")
    parser.add_argument("--megapixels", type=float, default=24.0, help="(default: 24)")
    parser.add_argument("--processors", type=int, default=2, help="(default: 2)")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(arguments.processors))
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder, "big.exr"), Path(folder, "big.jpg")
        write_radiance(source, RadianceImage(picture(arguments.megapixels), 64.0))
        print(f"{'operator':16} {'wall s':>7} {'cpu s':>7} {'GiB':>5}")
        for name in arguments.operators or OPERATORS:
            started = time.perf_counter()
            command = [sys.executable, "-m", "dfghdr_cli", "tonemap", source, "-o", result]
            process = subprocess.Popen(
                [*command, "--operator", name, "--overwrite"], stdout=subprocess.DEVNULL
            )
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - started
            if status:
                sys.exit(f"{name} failed")
            processor = usage.ru_utime + usage.ru_stime
            peak = usage.ru_maxrss / 2**20
            print(f"{name:16} {wall:7.1f} {processor:7.1f} {peak:5.2f}")


if __name__ == "__main__":
    main()
