"""Time `dfghdr merge` on a large hand-held bracket, and score it against the truth.

usage: python benchmarks/large_bracket.py FOLDER [--megapixels N] [-- OPTIONS OF dfghdr merge]

FOLDER gets, unless they are there already, three 16-bit TIFFs (sRGB, -2, 0 and +2 stops, width to
height as 3 to 2) of a scene computed for the purpose: fine texture under light and hard shadow
that differ by a factor of 30, lamps that clip the middle frame, discs of many sizes that move by up
to 1 % of the picture's width, a homography of some pixels between the frames, shot and read noise.
Beside them the truth (what the middle frame shows, without noise) and the pixels that move.

The merge runs as a process of its own. Printed are its wall time, its processor time (user and
system), its largest resident memory, the seconds per stage as it reports them itself, and PSNR-mu
of all, of the moving and of the still pixels, and PSNR-l, at a fitted scale (docs/metrics.md).
"""

# ruff: noqa: T201
from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import tifffile
from alignment import Image, Matrix, Texture
from numpy.typing import NDArray

from dfghdr_cli.core.metrics.fidelity import measure_fidelity
from dfghdr_cli.core.types import RadianceImage
from dfghdr_cli.io.radiance import read_radiance, write_radiance

STOPS = (-2.0, 0.0, 2.0)
REFERENCE = 1
DISCS = 40
BAND = 256
"""Rows made at once."""


class World:
    """Radiance of the scene as a function of position and of the frame that sees it."""

    def __init__(self, size: tuple[int, int], seed: int = 0) -> None:
        """Draw a scene for pictures of (height, width)."""
        rng = np.random.default_rng(seed)
        self.height, self.width = size
        self.ground, self.skin = Texture(rng), Texture(rng)
        self.centres = rng.uniform(0.05, 0.95, (DISCS, 2)) * (self.width, self.height)
        self.radii = np.geomspace(0.004, 0.05, DISCS) * self.width
        angle = rng.uniform(0, 2 * np.pi, DISCS)
        length = rng.uniform(0.0, 0.01, DISCS) * self.width
        self.steps = np.stack([np.cos(angle), np.sin(angle)], 1) * length[:, None]
        self.levels = rng.uniform(-2.0, 0.5, DISCS)
        self.lamps = rng.uniform(0.05, 0.95, (6, 2)) * (self.width, self.height)

    def inside(self, disc: int, frame: int, x: Matrix, y: Matrix) -> NDArray[np.bool_]:
        """Where a disc is in a frame."""
        cx, cy = self.centres[disc] + (frame - REFERENCE) * self.steps[disc]
        return (x - cx) ** 2 + (y - cy) ** 2 < self.radii[disc] ** 2

    def __call__(self, frame: int, x: Matrix, y: Matrix) -> tuple[Image, NDArray[np.bool_]]:
        """Radiance (H, W, 3), 1 = the middle frame's white, and whether a disc is there (H, W)."""
        unit = self.width / 6000.0
        wave = np.sin(x / (310 * unit)) * np.cos(y / (270 * unit)) + 0.3 * np.sin(
            (x + 2 * y) / (95 * unit)
        )
        sun = 1.0 / (1.0 + np.exp(np.clip(-150 * (wave - 0.2), -50, 50)))
        light = (0.25 + 5.0 * sun) * np.exp(-1.2 * y / self.height)
        for lx, ly in self.lamps:
            distance = (x - lx) ** 2 + (y - ly) ** 2
            light += 40.0 * np.exp(-distance / (2 * (0.012 * self.width) ** 2))
        radiance = 0.5 * self.ground(x, y) * light.astype(np.float32)[..., None]
        there = np.zeros(x.shape, bool)
        for disc in range(DISCS):
            inside = self.inside(disc, frame, x, y)
            if not inside.any():
                continue
            there |= inside
            rows = np.flatnonzero(inside.any(1))
            columns = np.flatnonzero(inside.any(0))
            box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            dx, dy = (frame - REFERENCE) * self.steps[disc]
            own = self.skin(x[box] - dx, y[box] - dy) * np.float32(np.exp(self.levels[disc]))
            radiance[box][inside[box]] = own[inside[box]]
        return radiance, there


def shake(frame: int, size: tuple[int, int]) -> Matrix:
    """(3, 3): pixel of the reference -> pixel of a frame; the identity for the reference."""
    if frame == REFERENCE:
        return np.eye(3)
    height, width = size
    rng = np.random.default_rng(100 + frame)
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    moved = corners + rng.normal(0, 0.004 * width, 2) + rng.normal(0, 0.0015 * width, (4, 2))
    return np.asarray(cv2.getPerspectiveTransform(corners, moved.astype(np.float32)), np.float64)


def _project(matrix: Matrix, x: Matrix, y: Matrix) -> tuple[Matrix, Matrix]:
    u, v, w = (matrix[k, 0] * x + matrix[k, 1] * y + matrix[k, 2] for k in range(3))
    return u / w, v / w


def _srgb(linear: Image) -> Image:
    curve = 1.055 * np.power(np.maximum(linear, 0.0031308), np.float32(1 / 2.4)) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, curve).astype(np.float32)


def make_bracket(folder: Path, megapixels: float) -> list[Path]:
    """Write the frames, truth.exr and motion.png unless they are there; the frames' paths."""
    width = 2 * round((megapixels * 1e6 * 1.5) ** 0.5 / 2)
    size = (2 * round(width / 3), width)
    paths = [folder / f"{number + 1}.tif" for number in range(len(STOPS))]
    if all(path.exists() for path in paths):
        return paths
    folder.mkdir(parents=True, exist_ok=True)
    world = World(size)
    rng = np.random.default_rng(1)
    truth = np.empty((*size, 3), np.float32)
    moving = np.zeros(size, bool)
    for frame, (stop, path) in enumerate(zip(STOPS, paths, strict=True)):
        codes = np.empty((*size, 3), np.uint16)
        back = np.linalg.inv(shake(frame, size))
        for top in range(0, size[0], BAND):
            rows = slice(top, min(top + BAND, size[0]))
            y, x = np.mgrid[rows, 0 : size[1]].astype(np.float64)
            radiance, _ = world(frame, *_project(back, x, y))
            # What moves is marked where the reference's pixels are.
            moving[rows] |= np.logical_or.reduce(
                [world.inside(disc, frame, x, y) for disc in range(DISCS)]
            )
            if frame == REFERENCE:
                truth[rows] = radiance
            light = radiance * np.float32(2.0**stop)
            noise = rng.standard_normal(light.shape, np.float32)
            light += noise * np.sqrt(5e-5 * light + 1e-7)
            codes[rows] = np.rint(_srgb(np.clip(light, 0, 1)) * np.float32(65535))
        tifffile.imwrite(path, codes, photometric="rgb", rowsperstrip=64)
    # Scenes have the darkest frame's white at 1.
    darkest = np.float32(2.0 ** min(STOPS))
    write_radiance(
        folder / "truth.exr", RadianceImage(truth * darkest, 1.0), exr_type="half", overwrite=True
    )
    cv2.imwrite(str(folder / "motion.png"), moving.astype(np.uint8) * 255)
    return paths


def score(output: Path, folder: Path) -> dict[str, float | None]:
    """PSNR-mu of all, moving and still pixels, and PSNR-l [dB]."""
    result = read_radiance(output)[0]
    truth = read_radiance(folder / "truth.exr")[0]
    motion = cv2.imread(str(folder / "motion.png"), cv2.IMREAD_GRAYSCALE)
    assert motion is not None
    values = measure_fidelity(result, truth, motion > 0, scaled=True).values
    return {key: values[key] for key in ("psnr_mu", "psnr_mu_moving", "psnr_mu_still", "psnr_l")}


def main() -> None:
    """Make, merge, measure."""
    arguments = sys.argv[1:]
    extra: list[str] = []
    if "--" in arguments:
        cut = arguments.index("--")
        arguments, extra = arguments[:cut], arguments[cut + 1 :]
    parser = argparse.ArgumentParser(usage=__doc__.replace("%", "%%"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--megapixels", type=float, default=24.0)
    parser.add_argument("--no-score", action="store_true", help="leave out the comparison")
    given = parser.parse_args(arguments)
    paths = make_bracket(given.folder, given.megapixels)
    output = given.folder / "merged.exr"
    command = [sys.executable, "-m", "dfghdr_cli", "merge", *map(str, paths)]
    command += ["--ev", ",".join(f"{stop:g}" for stop in STOPS), "-o", str(output)]
    command += ["--overwrite", "--json", *extra]
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(process.returncode)
    report = json.loads(printed)
    unit = 1024**3 if sys.platform == "darwin" else 1024**2
    width, height = report["size"]
    print(f"{width} x {height}, {report['model']} on {report['device']}")
    print(
        f"wall {wall:.1f} s, user {usage.ru_utime:.1f} s, system {usage.ru_stime:.1f} s, "
        f"peak memory {usage.ru_maxrss / unit:.2f} GiB"
    )
    print("seconds: " + ", ".join(f"{k} {v:.1f}" for k, v in report["seconds"].items()))
    if not given.no_score:
        found = score(output, given.folder)
        print(", ".join(f"{name} {value:.2f} dB" for name, value in found.items() if value))


if __name__ == "__main__":
    main()
