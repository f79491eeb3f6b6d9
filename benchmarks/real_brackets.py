# ruff: noqa: T201
"""How good are merges of real photographs, of which nobody knows the truth?

    python benchmarks/real_brackets.py [OPTIONS] FOLDER...

A FOLDER is one bracket, or holds any number of them. A bracket holds photographs, and perhaps
`options.txt` with `--ev`, `--times`, `--ev-step`, `--reference` or `--response` as `dfghdr merge`
takes them, for the files in the order of their names, or `ev.txt`, their exposures in stops, one a
line. Every bracket is merged in memory, and the result is compared with the frames themselves,
moved into the reference's geometry by the alignment that the merge found. Things that move
therefore count as errors in part; the figures compare versions of the program on the same brackets.

What the columns mean. A pixel of a frame is *well exposed* where its largest channel is from code
0.15 to 0.85 of the file (38 to 217 of 255), and *bad* where it is under 0.05 or over 0.96. The
*best frame* of a pixel is the one whose largest channel is nearest to code 0.5, and counts only
where it is well exposed. *Highlights* are pixels whose reference is too bright to be well exposed
and whose best frame is a darker one, *shadows* those whose reference is too dark and whose best
frame is a brighter one.

    frames  disagreement of neighbouring frames where both are well exposed, median of |log2| of
            their luminance [stops]: what exposures and response leave unexplained
    ref     disagreement of the result with the reference where that is well exposed, |log2| of
            each channel that is over code 0.15, median [stops]
    ref95   its 95th percentile
    hi      colour error in the highlights: distance in the plane of Oklab's a and b, times 100,
            between the result and the best frame, both brought to the luminance that the best
            frame has, and smoothed (sigma 1.5 pixels); median
    hi95    its 95th percentile
    sh      the same in the shadows
    sh95    its 95th percentile
    bad%    pixels that mostly come from bad frames although another frame is well exposed, by the
            weights of the merge
    noise   standard deviation in flat parts of what is finer than 2 pixels, relative to the best
            frame; less than 1 is cleaner. Blocks of 16 x 16 pixels with one best frame; flat are
            those of the quarter with the least variation of what is coarser than 2 pixels
    text    the same in the quarter of the blocks that vary most: less than 1 has lost texture
    L50     median of Oklab's lightness of the picture that `dfghdr tonemap` makes by default
    L2 L98  its 2nd and 98th percentiles
    hue     turn of hue of that picture in the highlights against the best frame as its file shows
            it: mean of the differences of Oklab's hue, weighted by both chromas [degrees]
    |hue|   the weighted median of its size
    chroma  ratio of the summed chromas there, picture to best frame
    e50 e2 e98 ehue  the same four figures of the picture that `enfuse` makes of the aligned frames
            (`--enfuse`; it has to be installed)

A figure for which a picture has less than a thousandth of its pixels is left out. With `--max-side`
the frames are reduced, code by code, after JPEG's losses are restored and the response is found.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.calibration.exposure import parse_stops, parse_times
from dfghdr_cli.core.colour import oklab, srgb_decode
from dfghdr_cli.core.frames import CodedFrame
from dfghdr_cli.core.luminance import luminance_of
from dfghdr_cli.core.registration.warp import warp_with_trust
from dfghdr_cli.core.tonemapping.operators import ToneSettings, tone_map
from dfghdr_cli.core.types import Bracket, FloatImage, Mask
from dfghdr_cli.errors import DfghdrError
from dfghdr_cli.io.bracket import read_bracket
from dfghdr_cli.io.formats import SUFFIXES
from dfghdr_cli.io.response import read_response
from dfghdr_cli.merging.config import MergeConfig
from dfghdr_cli.merging.merge import merge_bracket
from dfghdr_cli.merging.prepare import prepare
from dfghdr_cli.pipeline.merge.request import Merger, load_merger

Figures = dict[str, float | None]

COLUMNS = (
    *("frames", "ref", "ref95", "hi", "hi95", "sh", "sh95", "bad%", "noise", "text"),
    *("L50", "L2", "L98", "hue", "|hue|", "chroma"),
)
ENFUSE_COLUMNS = ("e50", "e2", "e98", "ehue")
WELL_EXPOSED = (0.15, 0.85)
BAD = (0.05, 0.96)
BEST = 0.5
ENOUGH = 0.001
"""Share of the pixels."""
BLOCK = 16
FINE = 2.0
"""Standard deviation of the blur that parts fine from coarse [pixels]."""
SMOOTH = 1.5
"""Standard deviation of the blur before colours are compared [pixels]."""
COLOURED = 0.02
"""Oklab chroma from which on a hue means something."""
DARKEST = 1e-6


@dataclass(frozen=True)
class Views:
    """The frames of a bracket in the reference's geometry.

    Attributes:
        codes: (N, H, W, 3) float32, as their files have them, in [0, 1].
        radiance: (N, H, W, 3) float32, linear, 1 = the reference's white.
        there: (N, H, W), whether a frame covers a pixel.
        reference: index of the reference.
    """

    codes: FloatImage
    radiance: FloatImage
    there: Mask
    reference: int

    def well_exposed(self) -> Mask:
        """(N, H, W)."""
        largest = self.codes.max(axis=3)
        return self.there & (largest > WELL_EXPOSED[0]) & (largest < WELL_EXPOSED[1])

    def bad(self) -> Mask:
        """(N, H, W)."""
        largest = self.codes.max(axis=3)
        return self.there & ((largest < BAD[0]) | (largest > BAD[1]))

    def best(self) -> NDArray[np.intp]:
        """(H, W): index of the best frame."""
        distance = np.where(self.there, np.abs(self.codes.max(axis=3) - BEST), 2.0)
        return np.asarray(distance.argmin(axis=0))


def pick(stack: NDArray[Any], index: NDArray[np.intp]) -> NDArray[Any]:
    """Of (N, H, W, ...) the frame that `index` (H, W) names at each pixel."""
    rows, columns = np.indices(index.shape)
    return stack[index, rows, columns]


def photographs(folder: Path) -> list[Path]:
    """The photographs in a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def brackets_in(folders: Sequence[Path]) -> list[Path]:
    """The folders that are brackets, and the brackets that are in others."""
    found = []
    for folder in folders:
        inside = [path for path in sorted(folder.iterdir()) if path.is_dir()]
        is_bracket = len(photographs(folder)) > 1
        found += [folder] if is_bracket else [p for p in inside if len(photographs(p)) > 1]
    return found


def options_of(folder: Path) -> dict[str, Any]:
    """What `options.txt` or `ev.txt` says of a bracket: arguments of `read_bracket`, `response`.

    Raises:
        SystemExit: `options.txt` holds something else.
    """
    file, levels = folder / "options.txt", folder / "ev.txt"
    if not file.exists():
        return (
            {"stops": parse_stops(",".join(levels.read_text().split()))} if levels.exists() else {}
        )
    words = shlex.split(file.read_text().replace("=", " "))
    said: dict[str, Any] = {}
    for name, value in zip(words[::2], words[1::2], strict=True):
        match name:
            case "--ev":
                said["stops"] = parse_stops(value)
            case "--times":
                said["times"] = parse_times(value)
            case "--ev-step":
                said["ev_step"] = float(value)
            case "--reference":
                said["reference"] = int(value) if value.isdigit() else folder / value
            case "--response":
                is_file = (folder / value).is_file()
                said["response"] = read_response(folder / value) if is_file else value
            case _:
                sys.exit(f"{file}: {name} is not understood here.")
    return said


def reduced(bracket: Bracket, side: int | None) -> Bracket:
    """A bracket whose longer side has at most `side` pixels; codes are averaged, in 16 bits."""
    height, width = bracket.size
    factor = 1.0 if side is None else side / max(height, width)
    if factor >= 1:
        return bracket
    size = (round(height * factor), round(width * factor))
    frames = []
    for frame in bracket.frames:
        small = CodedFrame(frame.pixels, lambda samples: samples).reduced(size).samples
        frames.append(replace(frame, pixels=small))
    return replace(bracket, frames=tuple(frames))


def judge(merger: Merger, folder: Path, side: int | None, enfuse: bool) -> Figures:
    """Merge one bracket and measure what came of it.

    Raises:
        DfghdrError: it cannot be merged.
    """
    said = options_of(folder)
    asked = said.pop("response", "auto")
    prepared = prepare(read_bracket(photographs(folder), **said), asked)
    responses, bracket = prepared.responses, reduced(prepared.bracket, side)
    merged = merge_bracket(merger.network, prepared.coded.reduced(bracket.size), MergeConfig())
    result = merged.result
    codes, radiance, there = [], [], []
    for frame, its, alignment, level in zip(
        bracket.frames, responses, merged.alignments, bracket.stops, strict=True
    ):
        code, trust = warp_with_trust(frame.encoded(), alignment.transform, bracket.size)
        code = np.clip(code, 0, 1)
        codes.append(code)
        radiance.append(its.linearise(code) * np.float32(2.0**-level))
        there.append(trust > 0.5)
    views = Views(np.stack(codes), np.stack(radiance), np.stack(there), bracket.reference)
    pixels = result.radiance.pixels
    figures = merge_figures(pixels, result.weights, views)
    white = 2.0 ** -max(bracket.stops)
    picture = tone_map(pixels, ToneSettings(), brightest_white=white).pixels
    names = ("L50", "L2", "L98", "hue", "|hue|", "chroma")
    figures |= zip(names, picture_figures(picture, views), strict=True)
    if enfuse:
        fused = picture_figures(enfused(views.codes), views)
        figures |= zip(ENFUSE_COLUMNS, fused[:4], strict=True)
    return figures


def merge_figures(radiance: FloatImage, weights: FloatImage | None, views: Views) -> Figures:
    """The columns from `frames` to `text`.

    Args:
        radiance: (H, W, 3) float32, linear, 1 = the reference's white.
        weights: (N, H, W) float32, each frame's share, or None where nobody knows.
        views: the frames.
    """
    well, best = views.well_exposed(), views.best()
    best_is_well = pick(well, best)
    largest = views.codes[views.reference].max(axis=2)
    pairs = [
        np.abs(stops(luminance_of(a)) - stops(luminance_of(b)))[here]
        for a, b, here in zip(
            views.radiance, views.radiance[1:], well[:-1] & well[1:], strict=False
        )
    ]
    apart = np.abs(stops(radiance) - stops(views.radiance[views.reference]))
    reference_is_well = well[views.reference]
    in_channel = views.codes[views.reference] > WELL_EXPOSED[0]
    differences = apart[in_channel & reference_is_well[..., None]]
    colour = colour_error(radiance, pick(views.radiance, best), pick(views.codes, best))
    highlights = best_is_well & (largest >= WELL_EXPOSED[1]) & (best < views.reference)
    shadows = best_is_well & (largest <= WELL_EXPOSED[0]) & (best > views.reference)
    size = largest.size
    figures = {
        "frames": quantile(np.concatenate(pairs), 0.5, size),
        "ref": quantile(differences, 0.5, size),
        "ref95": quantile(differences, 0.95, size),
        "hi": quantile(colour[highlights], 0.5, size),
        "hi95": quantile(colour[highlights], 0.95, size),
        "sh": quantile(colour[shadows], 0.5, size),
        "sh95": quantile(colour[shadows], 0.95, size),
        "bad%": None,
    }
    if weights is not None:
        wrong = ((weights * views.bad()).sum(axis=0) > 0.5) & well.any(axis=0)
        figures["bad%"] = 100.0 * float(wrong.mean())
    return figures | detail(radiance, pick(views.radiance, best), best, best_is_well)


def stops(light: FloatImage) -> FloatImage:
    """The logarithm to base 2; black counts as very dark."""
    return np.log2(np.maximum(light, np.float32(DARKEST)))


def blurred(image: FloatImage, sigma: float = SMOOTH) -> FloatImage:
    """A Gaussian blur."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def quantile(values: NDArray[np.floating], share: float, pixels: int) -> float | None:
    """A quantile, or None of too few values."""
    return float(np.quantile(values, share)) if values.size > ENOUGH * pixels else None


def colour_error(radiance: FloatImage, best: FloatImage, codes: FloatImage) -> FloatImage:
    """(H, W): distance of the colours in Oklab, times 100, at the luminance the best frame has."""
    shown = luminance_of(srgb_decode(codes))
    planes = []
    for light in (radiance, best):
        light = blurred(light)
        scale = shown / np.maximum(luminance_of(light), np.float32(DARKEST))
        planes.append(oklab(light * scale[..., None])[..., 1:])
    return np.asarray(100 * np.linalg.norm(planes[0] - planes[1], axis=2), np.float32)


def detail(radiance: FloatImage, best: FloatImage, index: NDArray[np.intp], well: Mask) -> Figures:
    """The columns `noise` and `text`."""
    planes = [stops(luminance_of(light)) for light in (radiance, best)]
    coarse = [blurred(plane, FINE) for plane in planes]
    fine = [in_blocks(a - b).std(axis=1) for a, b in zip(planes, coarse, strict=True)]
    form = in_blocks(coarse[1]).std(axis=1)
    frames = in_blocks(index)
    usable = in_blocks(well).all(axis=1) & (frames.min(axis=1) == frames.max(axis=1))
    if np.count_nonzero(usable) < 16:
        return {"noise": None, "text": None}
    low, high = np.quantile(form[usable], (0.25, 0.75))

    def ratio(here: Mask) -> float:
        ours, theirs = (float(np.median(plane[here])) for plane in fine)
        return ours / max(theirs, DARKEST)

    return {"noise": ratio(usable & (form <= low)), "text": ratio(usable & (form >= high))}


def in_blocks(plane: NDArray[Any]) -> NDArray[Any]:
    """(blocks, BLOCK * BLOCK) of (H, W); what is left over at the right and below goes."""
    rows, columns = (length // BLOCK for length in plane.shape)
    cut = plane[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    return cut.swapaxes(1, 2).reshape(rows * columns, BLOCK * BLOCK)


def picture_figures(picture: FloatImage, views: Views) -> tuple[float | None, ...]:
    """Median, 2nd and 98th percentile of lightness, turn of hue, its size, and ratio of chroma.

    Args:
        picture: (H, W, 3) float32 in [0, 1], sRGB.
        views: the frames.
    """
    lab = oklab(srgb_decode(blurred(picture)))
    lightness = oklab(srgb_decode(picture))[..., 0]
    levels = tuple(float(x) for x in np.quantile(lightness, (0.5, 0.02, 0.98)))
    best = views.best()
    there = oklab(srgb_decode(blurred(pick(views.codes, best))))
    largest = views.codes[views.reference].max(axis=2)
    here = (largest >= WELL_EXPOSED[1]) & (best < views.reference)
    here &= pick(views.well_exposed(), best)
    colours, wanted = (plane[..., 1] + 1j * plane[..., 2] for plane in (lab[here], there[here]))
    if len(colours) <= ENOUGH * here.size:
        return (*levels, None, None, None)
    chroma = float(np.abs(colours).sum() / max(np.abs(wanted).sum(), DARKEST))
    seen = (np.abs(wanted) > COLOURED) & (np.abs(colours) > COLOURED / 2)
    if np.count_nonzero(seen) <= ENOUGH * here.size:
        return (*levels, None, None, chroma)
    turned = (colours * wanted.conj())[seen]
    sizes, weight = np.abs(np.degrees(np.angle(turned))), np.abs(turned)
    order = np.argsort(sizes)
    middle = np.searchsorted(np.cumsum(weight[order]), weight.sum() / 2)
    return (*levels, float(np.degrees(np.angle(turned.sum()))), float(sizes[order][middle]), chroma)


def enfused(codes: FloatImage) -> FloatImage:
    """What `enfuse` makes of (N, H, W, 3) aligned frames: (H, W, 3) float32 in [0, 1]."""
    with tempfile.TemporaryDirectory() as work:
        files = [f"{work}/{k}.png" for k in range(len(codes))]
        for file, code in zip(files, codes, strict=True):
            cv2.imwrite(file, np.rint(code[..., ::-1] * 255).astype(np.uint8))
        command = ["enfuse", "-o", f"{work}/fused.tif", *files]
        subprocess.run(command, check=True, capture_output=True)
        fused = cv2.imread(f"{work}/fused.tif", cv2.IMREAD_COLOR)
    assert fused is not None
    return fused[..., ::-1].astype(np.float32) / np.float32(255)


def line(name: str, figures: Figures, columns: Sequence[str]) -> str:
    """One line of the table."""
    cells = []
    for column in columns:
        value = figures.get(column)
        digits = 1 if column in ("hue", "|hue|", "ehue", "bad%") else 2
        digits = 3 if column in ("frames", "ref") else digits
        cells.append(f"{'':>7}" if value is None else f"{value:7.{digits}f}")
    return f"{name[:24]:24}" + "".join(cells)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line per bracket, and the medians."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--method", choices=("dfgnet", "classic"), default="dfgnet")
    parser.add_argument("--model", help="name or folder; the default model if left out")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--max-side", type=int, metavar="N", help="reduce frames to N pixels")
    parser.add_argument("--enfuse", action="store_true", help="compare with enfuse, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    said = parser.parse_args(arguments)
    merger = load_merger(said.method, said.model, said.device)
    columns = COLUMNS + (ENFUSE_COLUMNS if said.enfuse else ())
    print(f"{merger.name:24}" + "".join(f"{name:>7}" for name in columns))
    rows: list[dict[str, Any]] = []
    for folder in brackets_in(said.folders):
        started = time.perf_counter()
        try:
            figures = judge(merger, folder, said.max_side, said.enfuse)
        except DfghdrError as error:
            print(f"{folder.name[:24]:24} {error}", flush=True)
            rows.append({"bracket": folder.name, "error": str(error)})
            continue
        seconds = round(time.perf_counter() - started, 1)
        rows.append({"bracket": folder.name, "seconds": seconds, **figures})
        print(line(folder.name, figures, columns), flush=True)
    print(line("median", medians(rows, columns), columns))
    if said.json:
        said.json.write_text(json.dumps({"model": merger.name, "brackets": rows}, indent=1) + "\n")


def medians(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> Figures:
    """Of each column over the brackets that have it; turns of hue by their size."""
    found: Figures = {}
    for column in columns:
        values = [row[column] for row in rows if row.get(column) is not None]
        change: Callable[[Any], Any] = np.abs if column in ("hue", "ehue") else np.asarray
        found[column] = float(np.median(change(values))) if values else None
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
