"""Golden merges: a small bracket, merged every way there is, and what came of it.

They tell whether a change of the program changed a picture. Where that was meant, make them anew:
`python -m tests.golden.merges`, and look at what `git diff --stat` says.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from dfghdr_cli.core.encoding import mu_law
from dfghdr_cli.io.radiance import read_radiance
from dfghdr_cli.merging.config import MergeConfig
from dfghdr_cli.pipeline.merge.request import MergeRequest, load_merger
from dfghdr_cli.pipeline.merge.run import merge_files
from tests.support.photographs import MARGIN, textured_scene

FOLDER = Path(__file__).parent / "merges"
SIZE = (128, 192)
CHANGING = {"seconds", "peak_memory_mib", "version", "device", "kept"}
"""Entries of a report that differ from run to run, or from machine to machine."""


@dataclass(frozen=True)
class Way:
    """One way to merge.

    Attributes:
        model: None for the classic merge.
        config: how.
        stops: of the frames.
    """

    model: str | None
    config: MergeConfig = MergeConfig()  # noqa: RUF009
    stops: tuple[float, ...] = (-3.0, 0.0, 2.0)


WAYS = {
    "classic": Way(None),
    "classic-flow": Way(None, MergeConfig(align="flow")),
    "default": Way("dfgmerge-v6"),
    "default-proxy": Way("dfgmerge-v6", MergeConfig(proxy_pixels=6000, tile=64)),
    "default-alike": Way("dfgmerge-v6", stops=(-2.0, 0.0, 0.0, 2.0)),
    "guided": Way("dfgnet-w16"),
    "guided-proxy": Way("dfgnet-w16", MergeConfig(proxy_pixels=12_000, tile=64)),
    "painted": Way("dfgnet-w16", MergeConfig(resolution="full")),
}


def write_frames(folder: Path, stops: tuple[float, ...]) -> list[Path]:
    """8-bit PNGs of gamma 2.2: a hand-held camera, a lamp, and a square that walks through."""
    scene = textured_scene(7, SIZE)
    height, width = scene.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    lamp = 9.0 * np.exp(-((x - 0.7 * width) ** 2 + (y - 0.35 * height) ** 2) / 300.0)
    scene = scene + lamp[..., None] * np.array([1.0, 0.9, 0.6], np.float32)
    paths = []
    for number, stop in enumerate(stops):
        seen = scene.copy()
        left = MARGIN + 30 + 14 * number
        seen[MARGIN + 50 : MARGIN + 90, left : left + 26] = (0.5, 0.12, 0.06)
        away = number - len(stops) // 2
        motion = np.array([[1, 0.004 * away, 2.3 * away], [-0.004 * away, 1, -1.4 * away]])
        motion[:, 2] += MARGIN
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        light = cv2.warpAffine(seen, motion, SIZE[::-1], flags=flags) * np.float32(2.0**stop)
        noise = np.random.default_rng(number).standard_normal(light.shape, np.float32)
        light = light + noise * np.sqrt(1e-4 * light + 1e-6)
        codes = np.rint(255 * np.clip(light, 0, 1) ** (1 / 2.2)).astype(np.uint8)
        paths.append(folder / f"{number}.png")
        Image.fromarray(codes).save(paths[-1])
    return paths


def merged(way: Way, folder: Path) -> tuple[NDArray[np.uint16], dict[str, Any]]:
    """Merge the bracket.

    Returns:
        (H, W, 3) 16-bit codes of the mu-law of radiance / peak; and the report and the header.
    """
    torch.set_num_threads(1)
    paths = write_frames(folder, way.stops)
    request = MergeRequest(
        paths, [folder / "out.exr"], stops=way.stops, config=way.config, exr_type="float"
    )
    merger = load_merger("dfgnet" if way.model else "classic", way.model, "cpu")
    report = json.loads(merge_files(merger, request).to_json())
    pixels, header = read_radiance(folder / "out.exr")
    toned = mu_law(np.clip(pixels / np.float32(report["peak"]), 0, 1))
    report = {key: value for key, value in report.items() if key not in CHANGING}
    text = json.dumps({"report": report, "header": header}, indent=1, default=str)
    text = text.replace(f"{folder}/", "").replace(str(header["dfghdr:version"]), "VERSION")
    return np.rint(toned * 65535).astype(np.uint16), json.loads(text)


def stored(name: str) -> tuple[NDArray[np.uint16], dict[str, Any]]:
    """What `merged` gave when it was stored."""
    picture = cv2.imread(str(FOLDER / f"{name}.png"), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    return picture[..., ::-1], json.loads((FOLDER / f"{name}.json").read_text())


def main() -> None:
    """Make all of them anew."""
    FOLDER.mkdir(exist_ok=True)
    for name, way in WAYS.items():
        with tempfile.TemporaryDirectory() as folder:
            codes, report = merged(way, Path(folder))
        cv2.imwrite(str(FOLDER / f"{name}.png"), np.ascontiguousarray(codes[..., ::-1]))
        (FOLDER / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
