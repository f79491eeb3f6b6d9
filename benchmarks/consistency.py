# ruff: noqa: T201
"""Do merges of one still scene agree? Errors of exposures and response, without any truth.

    python benchmarks/consistency.py FOLDER [--method classic] [--size 700] [--all]
                                     [--response FILE] [--measured] [--rendered]

FOLDER holds many exposures of one still scene, photographed from a tripod (12 or more, about a
stop apart, with EXIF data). Every three of them that are one, two, or three positions apart make a
bracket; each is merged, and every two brackets that share no photograph are compared. Two merges
of one scene must agree up to one scale, and that scale must be what the exposures of the two
references differ by. Pixels count that are brighter than a thousandth of the median and darker than
90 % of the maximum in both merges; pairs of merges of which these are less than `--least` of the
picture show different parts of the scene and are left out. Printed are, of a pair,

    error    scale between the merges less that of the exposures [EV]
    |dEV|    median absolute difference of the pixels after that scale [EV]
    bias     largest median difference in a fifth of the picture, by brightness [EV]
    PSNR     of the mu-law pictures (mu = 5000), white at the 99.9th percentile [dB]

and once more by the darkest photograph of each pair, since codes near black say little. With
`--response`, a curve that `dfghdr merge --save-response` found from all photographs, it shows what
is left when the response is known: noise and quantisation. `--rendered` replaces each photograph by
one of the same exposure, rendered from the merge of nine of them through the response found there,
with noise as the photograph's, rounded to 8 bits and compressed as it was: exposures and response
are then exact, so that what is left is what no calibration can take away. `--measured` takes the
exposures that all photographs together show for those recorded: fast shutters open longer.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import combinations, pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile, get_sampling

from dfghdr_cli.choices import ResponseKind
from dfghdr_cli.core.calibration.exposure import choose_reference, usable_share
from dfghdr_cli.core.calibration.response import Response
from dfghdr_cli.core.types import Bracket, FloatImage, Frame
from dfghdr_cli.io.bracket import read_bracket
from dfghdr_cli.io.response import read_response
from dfghdr_cli.merging.config import MergeConfig
from dfghdr_cli.merging.merge import merge_bracket
from dfghdr_cli.merging.prepare import prepare
from dfghdr_cli.pipeline.merge.request import load_merger

MU = 5000.0


@dataclass(frozen=True)
class Merge:
    """A bracket's merge.

    Attributes:
        frames: indices of the photographs.
        reference: exposure of the reference as recorded [stops].
        radiance: (H, W, 3), 1 = white of the reference.
        kind: the response.
        text: what the response and the corrections were, for a line of output.
    """

    frames: tuple[int, ...]
    reference: float
    radiance: FloatImage
    kind: str
    text: str


@dataclass(frozen=True)
class Agreement:
    """How far two merges agree; see the head of this module."""

    share: float
    error: float
    median: float
    bias: float
    psnr: float


def read_all(folder: Path) -> list[Frame]:
    """All the photographs of a folder from dark to bright."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".png"))
    found = {}
    for start in range(0, len(paths) - 1, 8):
        chosen = paths[start : start + 9]
        found |= {frame.path: frame for frame in read_bracket(chosen).frames}
    return sorted(found.values(), key=lambda frame: frame.exposure.stops)


def reduced(frame: Frame, size: int) -> Frame:
    """A frame averaged over blocks, still encoded; 0 leaves it as it is."""
    height, width = frame.pixels.shape[:2]
    factor = max(height, width) // size if size else 1
    if factor < 2:
        return frame
    small = (width // factor, height // factor)
    whole = np.ascontiguousarray(frame.pixels[: small[1] * factor, : small[0] * factor])
    return replace(frame, pixels=cv2.resize(whole, small, interpolation=cv2.INTER_AREA))


def camera_of(frames: list[Frame]) -> tuple[FloatImage, Response]:
    """Light at exposure 0 and the response, as nine of the frames tell them."""
    chosen = np.linspace(0, len(frames) - 1, min(9, len(frames))).round().astype(int)
    middle = len(chosen) // 2
    bracket = Bracket(tuple(frames[index] for index in chosen), middle)
    prepared = prepare(bracket)
    merge = merge_bracket(None, prepared.coded, MergeConfig(align="none"), weights=False).result
    own = np.float32(2.0 ** -bracket.frames[middle].exposure.stops)
    return merge.radiance.pixels * own, prepared.responses[middle]


def rendered(frames: list[Frame]) -> list[Frame]:
    """Photographs of the same scene and exposures, by a camera that is known exactly."""
    light, response = camera_of(frames)
    codes = np.linspace(0.0, 1.0, 1 << 14)
    curve = response.evaluate(codes[:, None].repeat(3, axis=1))
    rng = np.random.default_rng(0)
    result = []
    for frame in frames:
        there = light * 2.0**frame.exposure.stops
        clean = [np.interp(there[..., c], curve[:, c], codes) for c in range(3)]
        clean = np.stack(clean, axis=-1).astype(np.float32)
        noisy = clean + rng.normal(size=clean.shape) * noise_of(frame.encoded(), clean)
        pixels = np.clip(np.rint(noisy * 255), 0, 255).astype(np.uint8)
        result.append(replace(frame, pixels=compressed(pixels, frame.path)))
    return result


def measured(frames: list[Frame]) -> list[Frame]:
    """The frames with the exposures that their middle tones show, which shutters do not keep."""
    light, response = camera_of(frames)
    result = []
    for frame in frames:
        code = frame.encoded()
        seen = (code > 0.1) & (code < 0.9)
        stops = float(np.median(np.log2(response.evaluate(code)[seen] / light[seen])))
        print(f"{frame.name}: {stops - frame.exposure.stops:+.2f} EV", flush=True)
        result.append(replace(frame, exposure=replace(frame.exposure, stops=stops)))
    return result


def compressed(pixels: NDArray[np.uint8], like: Path | None) -> NDArray[np.uint8]:
    """Pixels as they come out of a JPEG file compressed like another; as they are for others."""
    assert like is not None
    with Image.open(like) as other:
        if not isinstance(other, JpegImageFile):
            return pixels
        tables, sampling = other.quantization, get_sampling(other)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", qtables=tables, subsampling=sampling)
    return np.asarray(Image.open(file))


def noise_of(code: FloatImage, clean: FloatImage) -> FloatImage:
    """Standard deviation of a photograph's noise before it was rounded, by the code it should be.

    What is as wide as 5 pixels and wider is no noise but an error of the response.
    """
    off = code - clean
    off -= cv2.blur(off, (5, 5))
    level = np.clip((clean * 32).astype(int), 0, 31)
    deviations = np.zeros(32)
    for k in np.unique(level):
        own = np.abs(off[level == k])
        deviations[k] = np.median(own) / 0.6745  # of a normal distribution
    variance = np.maximum(deviations**2 * 25 / 24 - (1 / 255) ** 2 / 12, 0.0)
    return np.sqrt(variance)[level].astype(np.float32)


def merge(
    frames: list[Frame], indices: tuple[int, ...], method: str, response: ResponseKind | Response
) -> Merge:
    """Merge some of the frames as `dfghdr merge` would."""
    chosen = [frames[index] for index in indices]
    reference = choose_reference([usable_share(frame.encoded()) for frame in chosen])
    bracket = Bracket(tuple(chosen), reference)
    recorded = bracket.frames[reference].exposure.stops
    prepared = prepare(bracket, response)
    merger = load_merger("classic" if method == "classic" else "dfgnet")
    result = merge_bracket(merger.network, prepared.coded, MergeConfig(), weights=False).result
    codes = [prepared.responses[reference].evaluate(np.full(3, c))[1] for c in (0.5, 0.9)]
    text = f"{prepared.report.kind} 0.5 at {np.log2(codes[0]):.2f}, 0.9 at {np.log2(codes[1]):.2f}"
    moved = [f"{indices[k]}{value:+.2f}" for k, value in prepared.report.corrections.items()]
    return Merge(
        indices,
        recorded,
        result.radiance.pixels,
        prepared.report.kind,
        f"{text} {' '.join(moved)}",
    )


def compare(first: Merge, second: Merge) -> Agreement:
    """How far two merges agree."""
    a, b = first.radiance, second.radiance
    use = (a > 1e-3 * np.median(a)) & (b > 1e-3 * np.median(b))
    use &= (a < 0.9 * a.max()) & (b < 0.9 * b.max())
    if use.all(axis=2).sum() < 100:
        return Agreement(0.0, np.nan, np.nan, np.nan, np.nan)
    scale = float(np.median(np.log2(a[use]) - np.log2(b[use])))
    b = b * np.float32(2.0**scale)
    difference = np.log2(np.maximum(a, 1e-9)) - np.log2(np.maximum(b, 1e-9))
    white = np.percentile(a, 99.9)
    coded = [np.log1p(MU * np.clip(x / white, 0, 1)) / np.log1p(MU) for x in (a, b)]
    psnr = -10 * np.log10(float(np.mean((coded[0] - coded[1]) ** 2)))
    inside = use.all(axis=2)
    level, off = np.log2(a[inside].mean(axis=1)), difference[inside].mean(axis=1)
    bounds = np.percentile(level, [1, 20, 40, 60, 80, 99.5])
    fifths = [off[(level >= low) & (level < high)] for low, high in pairwise(bounds) if low < high]
    bias = [abs(float(np.median(fifth))) for fifth in fifths if fifth.size]
    expected = first.reference - second.reference
    return Agreement(
        float(use.mean()),
        scale - expected,
        float(np.median(np.abs(difference[use]))),
        max(bias, default=0.0),
        float(psnr),
    )


def main() -> None:
    """Merge, compare, print."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--method", choices=("classic", "dfgnet"), default="classic")
    parser.add_argument("--size", type=int, default=700, help="long side, 0 for the full size")
    parser.add_argument("--least", type=float, default=0.3, help="share of pixels in both merges")
    parser.add_argument("--all", action="store_true", help="print every pair")
    parser.add_argument("--response", type=Path, help="the camera's, instead of each bracket's own")
    parser.add_argument("--measured", action="store_true", help="exposures, not those recorded")
    parser.add_argument("--rendered", action="store_true", help="instead of the photographs")
    arguments = parser.parse_args()
    response = read_response(arguments.response) if arguments.response else "auto"
    frames = read_all(arguments.folder)
    if arguments.measured:
        frames = measured(frames)
    if arguments.rendered:
        frames = rendered(frames)
    frames = [reduced(frame, arguments.size) for frame in frames]
    merges = []
    for apart in (1, 2, 3):
        for start in range(len(frames) - 2 * apart):
            indices = (start, start + apart, start + 2 * apart)
            merges.append(merge(frames, indices, arguments.method, response))
            print(f"{indices!s:14} {merges[-1].text}", flush=True)
    rows = []
    for first, second in combinations(merges, 2):
        if set(first.frames) & set(second.frames):
            continue
        found = compare(first, second)
        if found.share < arguments.least:
            continue
        darkest = min(*first.frames, *second.frames)
        rows.append([found.error, found.median, found.bias, found.psnr, darkest])
        if arguments.all:
            print(
                f"{first.frames!s:14} {second.frames!s:14} {found.share:4.0%} {found.error:+.3f} "
                f"{found.median:.3f} {found.bias:.3f} {found.psnr:.1f}"
            )
    values = np.abs(np.array(rows))
    print(f"{len(rows)} pairs{'median':>17}{'90 %':>9}{'worst':>9}")
    for name, column in zip(("error", "|dEV|", "bias"), values.T, strict=False):
        figures = (np.median(column), np.percentile(column, 90), column.max())
        print(f"{name:10}" + "".join(f"{value:9.3f}" for value in figures) + " EV")
    psnr = values[:, 3]
    figures = (np.median(psnr), np.percentile(psnr, 10), psnr.min())
    print(f"{'PSNR':10}" + "".join(f"{value:9.1f}" for value in figures) + " dB")
    print("darkest    pairs    error    |dEV|     bias   (medians)")
    for darkest in np.unique(values[:, 4]):
        here = values[values[:, 4] == darkest]
        figures = np.median(here[:, :3], axis=0)
        print(f"{darkest:7.0f}{len(here):9}" + "".join(f"{value:9.3f}" for value in figures))


if __name__ == "__main__":
    main()
