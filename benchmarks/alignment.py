"""How well and how fast frames are aligned, and what the classic merge makes of them.

usage: python benchmarks/alignment.py [SCENES_DIR]

Without a folder: brackets synthesised from band-limited noise, shaken by random homographies, with
exposure steps, sensor noise and patches that move; prints the error of `align_frame` in pixels and
its seconds, by size. With a folder of scenes in the layout of Kalantari's data set (see
docs/datasets.md): the classic merge of every scene.
"""

# ruff: noqa: T201
from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.classic import classic_merge
from dfghdr_cli.core.encoding import GAMMA, encode
from dfghdr_cli.core.registration.align import align_frame
from dfghdr_cli.core.registration.flow import dense_flow
from dfghdr_cli.core.registration.warp import warp, warp_with_trust
from dfghdr_cli.io.scenes import find_scenes, read_scene

Matrix = NDArray[np.float64]
Image = NDArray[np.float32]


class Texture:
    """Radiance as a function of position: three octaves of periodic noise, turned and scaled."""

    def __init__(self, rng: np.random.Generator) -> None:
        """Draw the noise; every pixel of a picture of any size can then be asked for."""
        side = 1024
        self.tables: list[Image] = []
        for sigma in (1.5, 4.0, 12.0):
            noise = rng.standard_normal((side, side, 3)).astype(np.float32)
            noise += 2.0 * rng.standard_normal((side, side, 1)).astype(np.float32)
            smooth = cv2.GaussianBlur(np.tile(noise, (2, 2, 1)), (0, 0), sigma)
            smooth = smooth[side // 2 : side // 2 + side, side // 2 : side // 2 + side]
            self.tables.append(np.tanh(2.0 * smooth / smooth.std()).astype(np.float32))
        self.origins = rng.uniform(0, side, (3, 2))

    def __call__(self, x: Matrix, y: Matrix) -> Image:
        """(H, W, 3) linear radiance at (x, y), about 0.02 to 6."""
        total = np.zeros((*x.shape, 3), np.float32)
        for k, (table, strength) in enumerate(zip(self.tables, (0.4, 0.8, 1.2), strict=True)):
            c, s = np.cos(0.7 * k), np.sin(0.7 * k)
            u = np.mod(c * x - s * y + self.origins[k, 0], 1024).astype(np.float32)
            v = np.mod(s * x + c * y + self.origins[k, 1], 1024).astype(np.float32)
            for top in range(0, len(x), 256):
                rows = slice(top, top + 256)
                total[rows] += np.float32(strength) * cv2.remap(
                    table, u[rows], v[rows], cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP
                )
        return np.exp(total + np.float32(np.log(0.3)))


def expose(rng: np.random.Generator, radiance: Image, stops: float) -> Image:
    """A frame (H, W, 3) linear [0, 1] with shot and read noise, 10 significant bits of its code."""
    light = radiance * np.float32(2.0**stops)
    light += rng.standard_normal(light.shape, np.float32) * np.sqrt(2e-4 * light + 1e-6)
    code = np.rint(encode(light) * np.float32(1023.0)) / np.float32(1023.0)
    return code.astype(np.float32) ** np.float32(GAMMA)


def random_shake(rng: np.random.Generator, size: tuple[int, int]) -> Matrix:
    """A homography that moves the corners by about 1.5 % of the picture's length."""
    height, width = size
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    moved = corners + rng.normal(0, 0.008 * max(size), 2) + rng.normal(0, 0.004 * max(size), (4, 2))
    return np.asarray(cv2.getPerspectiveTransform(corners, moved.astype(np.float32)), np.float64)


def _errors(found: Matrix, true: Matrix, size: tuple[int, int]) -> NDArray[np.float64]:
    x, y = np.meshgrid(np.linspace(0, size[1] - 1, 9), np.linspace(0, size[0] - 1, 9))
    points = np.stack([x.ravel(), y.ravel()], 1)[None]
    a, b = (cv2.perspectiveTransform(points, matrix)[0] for matrix in (found, true))
    return np.linalg.norm(a - b, axis=1)


def synthetic(
    size: tuple[int, int], stops: float, seed: int, moving: float, apart: bool = False
) -> None:
    """One pair; one thing that moves covers the share `moving` of it, or two that move `apart`."""
    rng = np.random.default_rng(seed)
    world, object_ = Texture(rng), Texture(rng)
    true = random_shake(rng, size)
    x, y = np.meshgrid(np.arange(size[1], dtype=np.float64), np.arange(size[0], dtype=np.float64))
    back = np.linalg.inv(true)
    depth = back[2, 0] * x + back[2, 1] * y + back[2, 2]
    u = (back[0, 0] * x + back[0, 1] * y + back[0, 2]) / depth
    v = (back[1, 0] * x + back[1, 1] * y + back[1, 2]) / depth
    frames = []
    radius = np.sqrt(moving * size[0] * size[1] / np.pi / (2 if apart else 1))
    for stop, (px, py), shift in ((0.0, (x, y), 0.0), (stops, (u, v), 0.03 * max(size))):
        radiance = world(px, py)
        if moving:
            for side in (-1, 1) if apart else (0,):
                centre = size[1] * (0.5 + 0.25 * side) + shift * (side or 1)
                inside = np.hypot(px - centre, py - size[0] / 2) < radius
                radiance[inside] = object_(px - shift * (side or 1), py)[inside]
        frames.append(expose(rng, radiance, stop))
    started = time.perf_counter()
    found = align_frame(frames[0], frames[1], stops)
    seconds = time.perf_counter() - started
    error = _errors(found.transform, true, size)
    print(
        f"{size[0] * size[1] / 1e6:6.2f} MP {stops:+5.1f} EV  moving {moving:4.0%}  "
        f"shake {_errors(np.eye(3), true, size).mean():6.1f} px  error mean {error.mean():7.3f} "
        f"max {error.max():7.3f} px  {found.model:10s} {seconds:5.2f} s",
        flush=True,
    )


def _decibel(error: NDArray[np.float64]) -> float:
    return float(-10.0 * np.log10(np.mean(error**2) + 1e-12)) if error.size > 1500 else np.nan


def _scores(result: Image, truth: Image, moving: NDArray[np.bool_]) -> tuple[float, float, float]:
    """PSNR-mu of the picture, its moving and its still part; one global scale is fitted."""
    known = (truth > 2e-3) & (truth < 0.9) & (result > 0)
    scale = np.exp(np.median(np.log(truth[known]) - np.log(result[known])))
    mapped = [
        np.log1p(5000.0 * np.clip(image.astype(np.float64), 0.0, 1.0)) / np.log(5001.0)
        for image in (result * scale, truth)
    ]
    error = mapped[0] - mapped[1]
    return _decibel(error), _decibel(error[moving]), _decibel(error[~moving])


def merge_scene(folder: Path, flow: bool) -> tuple[float, float, float]:
    """Align and merge one scene classically, print and return its scores."""
    scene = read_scene(folder)
    codes = [frame.encoded() for frame in scene.bracket.frames]
    middle, relative = scene.bracket.reference, scene.bracket.stops
    truth = scene.truth
    size = (truth.shape[0], truth.shape[1])
    moving = np.zeros(size, np.bool_) if scene.motion is None else scene.motion
    linear = [code ** np.float32(GAMMA) for code in codes]
    frames, trusts, models, seconds, flowing = [], [], [], 0.0, 0.0
    for k, code in enumerate(codes):
        transform, motion = np.eye(3), None
        if k != middle:
            started = time.perf_counter()
            found = align_frame(linear[middle], linear[k], relative[k])
            seconds += time.perf_counter() - started
            transform = found.transform
            models.append(f"{found.model}({found.inliers})")
            if flow:
                aligned, _ = warp(code, transform, size)
                started = time.perf_counter()
                motion = dense_flow(linear[middle], aligned ** np.float32(GAMMA), relative[k])
                flowing += time.perf_counter() - started
        warped, trust = warp_with_trust(
            code, transform, size, motion, is_darkest=relative[k] == min(relative)
        )
        frames.append(warped)
        trusts.append(trust)
    radiance, _ = classic_merge(frames, trusts, relative)
    scores = _scores(radiance * np.float32(2.0 ** min(relative)), truth, moving)
    pairs = len(codes) - 1
    timing = f"align {seconds / pairs:.2f} s" + (f", flow {flowing / pairs:.2f} s" if flow else "")
    values = " ".join(f"{score:7.2f}" for score in scores)
    print(f"{folder.name:26s} {values}  {timing} a frame  {' '.join(models)}", flush=True)
    return scores


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("scenes", nargs="?", type=Path, help="folder of scenes with truth")
    parser.add_argument("--large", action="store_true", help="a pair of 24 megapixels as well")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    if arguments.scenes is None:
        for seed, stops in enumerate((-4.0, -2.0, 0.5, 2.0, 3.0)):
            for moving in (0.0, 0.25, 0.5):
                synthetic((600, 832), stops, seed, moving)
            synthetic((600, 832), stops, seed, 0.5, apart=True)
        synthetic((1400, 2100), 2.0, 9, 0.25)
        if arguments.large:
            synthetic((4000, 6000), -3.0, 7, 0.25)
            synthetic((4000, 6000), 2.0, 8, 0.25)
        return
    folders = find_scenes(arguments.scenes)
    for flow in (False, True):
        print("PSNR-mu, moving part, still part:", "with dense flow" if flow else "global only")
        rows = [merge_scene(folder, flow) for folder in folders]
        print(f"{'mean':26s} " + " ".join(f"{v:7.2f}" for v in np.nanmean(rows, axis=0)))


if __name__ == "__main__":
    main()
