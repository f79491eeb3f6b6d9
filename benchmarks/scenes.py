"""Score `dfghdr merge` on scenes with truth, through the command line.

usage: python benchmarks/scenes.py SCENES [--keep FOLDER] [-- OPTIONS OF dfghdr merge]

SCENES holds one folder a scene: frames (*.tif), exposure.txt (stops, one a line), HDRImg.exr or
.hdr (truth for the middle frame, 1.0 = white of the shortest) and optionally motion.png (the pixels
that move). One global scale is fitted per picture: exp of the median of log truth - log result
where 0.002 < truth < 0.9. Both are clipped to [0, 1]; mu = 5000 (eq. 10).
"""

# ruff: noqa: T201
from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from dfghdr_cli.core.tonemap import mu_law
from dfghdr_cli.core.types import FloatImage, Mask
from dfghdr_cli.io.radiance import read_radiance
from dfghdr_cli.io.scenes import find_scenes, read_scene


def fitted(result: FloatImage, truth: FloatImage) -> FloatImage:
    """The result times one factor that brings it to the truth's scale."""
    known = (truth > 2e-3) & (truth < 0.9) & (result > 0)
    return result * np.exp(np.median(np.log(truth[known]) - np.log(result[known])))


def psnr(first: FloatImage, second: FloatImage, where: Mask | None = None) -> float:
    """Peak signal-to-noise ratio [dB], peak 1; NaN where fewer than 500 pixels are asked for."""
    error = np.square(first.astype(np.float64) - second)
    if where is not None:
        if where.sum() < 500:
            return float("nan")
        error = error[where]
    return float(-10 * np.log10(error.mean() + 1e-12))


def scores(result: FloatImage, truth: FloatImage, motion: Mask | None) -> list[float]:
    """PSNR-mu of all, of the moving and of the still pixels, and PSNR-l [dB]."""
    result = np.clip(fitted(result, truth), 0, 1)
    truth = np.clip(truth, 0, 1)
    toned, aim = mu_law(result), mu_law(truth)
    moving = np.zeros(truth.shape[:2], bool) if motion is None else motion
    parts = [psnr(toned, aim, where) for where in (None, moving, ~moving)]
    return [*parts, psnr(result, truth)]


def main() -> None:
    """Merge every scene and print a table."""
    arguments = sys.argv[1:]
    extra: list[str] = []
    if "--" in arguments:
        cut = arguments.index("--")
        arguments, extra = arguments[:cut], arguments[cut + 1 :]
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("scenes", type=Path)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args(arguments)
    rows = []
    print(f"{'scene':28s} {'PSNR-mu':>8s} {'moving':>8s} {'still':>8s} {'PSNR-l':>8s} {'s':>6s}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for path in find_scenes(given.scenes):
            frames = sorted(path.glob("*.tif"))
            stops = ",".join((path / "exposure.txt").read_text().split())
            output = folder / f"{path.name}.exr"
            command = ["dfghdr", "-q", "merge", *map(str, frames), "--ev", stops]
            command += ["-o", str(output), "--no-preview", "--overwrite", "--exr-type", "float"]
            started = time.perf_counter()
            subprocess.run([*command, *extra], check=True, stdout=subprocess.DEVNULL)
            seconds = time.perf_counter() - started
            scene = read_scene(path)
            row = scores(read_radiance(output)[0], scene.truth, scene.motion)
            rows.append(row)
            print(f"{path.name:28s} " + " ".join(f"{v:8.2f}" for v in row) + f" {seconds:6.1f}")
    mean, worst = np.nanmean(rows, axis=0), min(row[0] for row in rows)
    print(f"{'mean':28s} " + " ".join(f"{v:8.2f}" for v in mean) + f"   worst {worst:.2f}")


if __name__ == "__main__":
    main()
