# ruff: noqa: T201
"""Merges of other programs, for `dfghdr eval --predictions`: what the README compares.

    python benchmarks/peers.py SCENES OUT
    dfghdr eval SCENES --fit-scale --metrics basic -m dfgmerge-v6 --method classic \
        --method opencv-debevec --predictions OUT/hugin --predictions OUT/pfstools

SCENES holds scenes with truth, OUT gets a folder for each program that is installed, with SCENE.exr
in it. The programs get what they read best, the frames by the curve of sRGB with EXIF data: TIFF
files of 16 bits, pfstools JPEG files of quality 98. The middle frame comes first, whose framing the
truth has.

    hugin     align_image_stack -m -c 16 -o: motion as control points tell, plain average; where it
              finds too few for the field of view, without -m
    pfstools  the frames as align_image_stack moves them, then pfshdrcalibrate -d 3 (ghosts removed)

On Debian: apt install hugin-tools pfstools libimage-exiftool-perl.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

import cv2
import numpy as np
import tifffile

from dfghdr_cli.core.colour import srgb_encode
from dfghdr_cli.core.types import RadianceImage
from dfghdr_cli.io.radiance import write_radiance
from dfghdr_cli.io.scenes import find_scenes, read_scene

TIME = 1 / 400
"""Exposure time of the darkest frame [s]."""


def photographs(scene: Path, folder: Path) -> list[Path]:
    """A scene's frames as TIFF files with EXIF data, the middle one first."""
    read = read_scene(scene)
    frames = list(zip(read.bracket.frames, read.bracket.stops, strict=True))
    frames.insert(0, frames.pop(read.bracket.reference))
    darkest = min(read.bracket.stops)
    paths = []
    for number, (frame, stops) in enumerate(frames):
        linear = np.asarray(frame.encoded(), np.float32) ** 2.2
        path = folder / f"{number}.tif"
        tifffile.imwrite(path, np.rint(srgb_encode(linear) * 65535).astype(np.uint16))
        describe(path, TIME * 2.0 ** (stops - darkest))
        paths.append(path)
    return paths


def describe(path: Path, time: float) -> None:
    """Record an exposure in a file."""
    tags = ["-ISO=100", "-FNumber=8", "-FocalLength=35", "-FocalLengthIn35mmFormat=35"]
    run("exiftool", "-q", "-overwrite_original", f"-ExposureTime={time:.6g}", *tags, path)


def stacked(*arguments: str | Path) -> None:
    """Hugin's alignment."""
    basic = ("align_image_stack", "--use-given-order", "-c", "16")
    try:
        run(*basic, "-m", *arguments)
    except SystemExit:
        run(*basic, *arguments)


def run(*command: str | Path) -> bytes:
    """Run a program; its output."""
    done = subprocess.run([str(word) for word in command], capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command[0]}: {done.stderr.decode(errors='replace')[-500:]}")
    return done.stdout


def hugin(paths: list[Path], folder: Path) -> np.ndarray:
    """(H, W, 3) float32, RGB."""
    out = folder / "hugin.hdr"
    stacked("-o", out, *paths)
    return read(out)


def pfstools(paths: list[Path], folder: Path) -> np.ndarray:
    """(H, W, 3) float32, RGB."""
    stem = folder / "moved"
    stacked("-a", stem, *paths)
    jpegs = []
    for number, path in enumerate(paths):
        moved = Path(f"{stem}{number:04}.tif")  # not there where nothing was found to align by
        codes = tifffile.imread(moved if moved.exists() else path)[..., :3]
        jpeg = folder / f"moved{number}.jpg"
        eight = np.rint(codes / 257.0).astype(np.uint8)
        cv2.imwrite(str(jpeg), eight[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])
        run("exiftool", "-q", "-overwrite_original", "-TagsFromFile", path, "-exif:all", jpeg)
        jpegs.append(jpeg)
    out = folder / "pfs.hdr"
    words = " ".join(f"'{jpeg}'" for jpeg in jpegs)
    pipe = f"pfsinme {words} | pfshdrcalibrate -c robertson -r gamma -d 3 | pfsoutrgbe '{out}'"
    run("bash", "-c", f"set -o pipefail; {pipe}")
    return read(out)


def read(path: Path) -> np.ndarray:
    """A Radiance file."""
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise SystemExit(f"{path.name} was not written")
    return np.ascontiguousarray(picture[..., ::-1], np.float32)


PROGRAMS = {"hugin": ("align_image_stack", hugin), "pfstools": ("pfshdrcalibrate", pfstools)}


def main() -> None:
    """Merge every scene by every program that is there."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("scenes", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    for scene in find_scenes(arguments.scenes):
        with tempfile.TemporaryDirectory() as work:
            paths = photographs(scene, Path(work))
            for name, (program, merge) in PROGRAMS.items():
                if shutil.which(program) is None:
                    print(f"{name}: {program} is not installed")
                    continue
                folder = arguments.out / name
                folder.mkdir(parents=True, exist_ok=True)
                picture = merge(paths, Path(work))
                peak = float(picture.max())
                write_radiance(
                    folder / f"{scene.name}.exr", RadianceImage(picture, peak), overwrite=True
                )
                print(f"{folder / scene.name}.exr", flush=True)


if __name__ == "__main__":
    main()
