# ruff: noqa: T201
"""How well is a camera's response found, and what is that worth after merging?

    python benchmarks/response.py SCENES_DIR

SCENES_DIR holds scenes with truth in the layout of Kalantari's data set, their frames encoded with
gamma 2.2. Each scene's moving, noisy frames are linearised, put through camera-like curves and
8-bit JPEG (quality 92), and the response is estimated from them. The columns:

    chosen   what "auto" chose; * marks a choice that is not the curve that was applied
    error    mean |log2| error of the chosen response over linear 0.005 .. 0.95 [stops]
    scaled   the same after the best global scale (a merge does not see a common scale)
    true, auto, fitted, srgb, gamma
             PSNR-mu [dB] after a merge that uses that response. What is merged is a still bracket
             rendered from the scene's truth (shot noise, same curve, same JPEG), so that neither
             alignment nor ghosts drown the response. One global scale is fitted; mu = 5000.
    time     to estimate [s]
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from dfghdr_cli.core.calibration.response import Response, choose_response, estimate_response
from dfghdr_cli.core.types import Exposure, FloatImage, Frame
from dfghdr_cli.io.scenes import find_scenes, read_scene

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support.curves import CURVES, Curve, Floats, jpeg

MU = 5000.0
LIGHT = np.geomspace(0.005, 0.95, 400)


def still_bracket(truth: FloatImage, stops: tuple[float, ...], curve: Curve) -> list[Frame]:
    """Frames of the truth (1.0 = white of the darkest frame) that differ in exposure only."""
    rng = np.random.default_rng(5)
    frames = []
    for stop in stops:
        light = truth.astype(np.float64) * 2.0 ** (stop - stops[0])
        light += rng.normal(size=light.shape) * np.sqrt(2e-5 * np.maximum(light, 0) + 1e-7)
        frames.append(Frame(jpeg(curve(np.clip(light, 0, 1))), Exposure(stop)))
    return frames


def merge(frames: list[Frame], response: Response) -> Floats:
    """Triangle-weighted merge (H, W, 3), 1.0 = white of the darkest frame."""
    total, share = np.zeros(frames[0].pixels.shape), 0.0
    for index, frame in enumerate(frames):
        code = frame.encoded()
        weight = 2 * np.minimum(code, 1 - code)
        if index == 0:
            weight = np.where(code > 0.5, 1.0, weight)
        if index == len(frames) - 1:
            weight = np.where(code < 0.5, 1.0, weight)
        weight = np.maximum(weight.min(axis=2, keepdims=True), 1e-3)
        scale = 2.0 ** (frames[0].exposure.stops - frame.exposure.stops)
        total += weight * response.linearise(frame.pixels) * scale
        share = share + weight
    return total / share


def psnr_mu(result: Floats, truth: FloatImage) -> float:
    """PSNR [dB] of the mu-law pictures after one global scale."""
    middle = (truth > 0.002) & (truth < 0.9) & (result > 0)
    scale = np.exp(np.median(np.log(truth[middle]) - np.log(result[middle])))
    first, second = (
        np.log1p(MU * np.clip(image, 0, 1)) / np.log1p(MU) for image in (result * scale, truth)
    )
    return float(-10 * np.log10(np.mean((first - second) ** 2)))


def main() -> None:
    """Print a line per scene and curve, and the means."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("scenes", type=Path, help="folder of scenes with truth")
    arguments = parser.parse_args()
    scenes = [read_scene(folder) for folder in find_scenes(arguments.scenes)]
    methods = ("true", "auto", "fitted", "srgb", "gamma")
    head = f"{'error':>7}{'scaled':>7}" + "".join(f"{m:>7}" for m in methods) + f"{'time':>6}"
    print(f"{'scene':24}{'curve':9}{'chosen':9}{head}")
    codes = np.linspace(0, 1, 65536)
    rows: dict[str, list[list[float]]] = {name: [] for name in CURVES}
    for scene in scenes:
        stops = tuple(frame.exposure.stops for frame in scene.bracket.frames)
        for name, curve in CURVES.items():
            light = np.linspace(0, 1, 200_001)
            truth = Response("true", codes, np.interp(codes, curve(light), light))
            frames = [
                replace(frame, pixels=jpeg(curve(frame.encoded().astype(np.float64) ** 2.2)))
                for frame in scene.bracket.frames
            ]
            start = time.perf_counter()
            found = choose_response("auto", frames, stops)
            auto, report = found.responses[0], found.report
            seconds = time.perf_counter() - start
            error = np.log2(auto.evaluate(curve(LIGHT)) / LIGHT)
            still = still_bracket(scene.truth, stops, curve)
            tried = {
                "true": truth,
                "auto": auto,
                "fitted": estimate_response(frames, stops)[0],
                "srgb": Response.named("srgb"),
                "gamma": Response.named("gamma"),
            }
            quality = [psnr_mu(merge(still, tried[m]), scene.truth) for m in methods]
            row = [
                float(np.abs(error).mean()),
                float(np.abs(error - np.median(error)).mean()),
                *quality,
                seconds,
            ]
            rows[name].append(row)
            expected = name if name in ("srgb", "gamma") else "fitted"
            chosen = report.kind + ("" if report.kind == expected else "*")
            print(f"{scene.name:24}{name:9}{chosen:9}{_cells(row)}", flush=True)
    for name, values in rows.items():
        print(f"{'mean':24}{name:9}{'':9}{_cells(np.mean(values, axis=0).tolist())}")


def _cells(row: list[float]) -> str:
    quality = "".join(f"{value:7.2f}" for value in row[2:-1])
    return f"{row[0]:7.3f}{row[1]:7.3f}{quality}{row[-1]:6.2f}"


if __name__ == "__main__":
    main()
