"""Scenes with truth, in the folder layout of Kalantari and Ramamoorthi's data set (2017)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dfghdr_cli.core.types import Bracket, Exposure, FloatImage, Mask
from dfghdr_cli.errors import InputError
from dfghdr_cli.io.ldr import read_frame
from dfghdr_cli.io.radiance import read_radiance
from dfghdr_cli.io.source import read_text

_EXPOSURES = "exposure.txt"
_TRUTHS = ("HDRImg.hdr", "HDRImg.exr")
_MOTION = "motion.png"
_FRAME_SUFFIXES = (".tif", ".tiff")
_MOST_STOPS = 64.0
"""From a millionth of a second at ISO 50 to a day at ISO 100000 are 48."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A bracket and the picture it should become.

    Attributes:
        name: of its folder.
        bracket: 2 to 9 frames; the darkest is at 0 stops and the middle one is the reference.
        truth: (H, W, 3) float32 linear, aligned with the reference; 1.0 = the white of the
            darkest frame, so it is radiance / bracket.peak.
        motion: (H, W) bool, the pixels that move, or None where the scene does not say.
    """

    name: str
    bracket: Bracket
    truth: FloatImage
    motion: Mask | None


def find_scenes(root: Path) -> list[Path]:
    """List the scene folders at or below a folder: those that hold an exposure.txt or a truth.

    One that lacks one of them is not passed over: `read_scene` says what is missing.

    Args:
        root: a scene folder, or a folder of them at any depth.

    Returns:
        At least one folder, sorted by path.

    Raises:
        InputError: `root` is not a folder or holds no scene.
    """
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; give a scene folder or a folder of scenes.")
    telling = {_EXPOSURES, *_TRUTHS}
    scenes = sorted({path.parent for path in root.rglob("*") if path.name in telling})
    if not scenes:
        raise InputError(
            f"{root} holds no scene; a scene is a folder with TIFF frames, {_EXPOSURES} and "
            f"{' or '.join(_TRUTHS)}."
        )
    return scenes


def scene_files(folder: Path) -> list[Path]:
    """The files of a scene that `read_scene` reads, those that are there."""
    named = {_EXPOSURES, _MOTION, *_TRUTHS}
    return [
        path
        for path in folder.iterdir()
        if path.name in named or path.suffix.lower() in _FRAME_SUFFIXES
    ]


def read_scene(folder: Path) -> Scene:
    """Read one scene: frames, exposures, truth and, where there is one, the motion mask.

    The frames are the *.tif files in the order of their names, and line i of exposure.txt holds
    the exposure of the i-th [stops, + = brighter]; the smallest is subtracted from all. Of an even
    number of frames the brighter of the two middle ones is the reference.

    Args:
        folder: holds *.tif, exposure.txt, HDRImg.hdr or HDRImg.exr, and perhaps motion.png.

    Returns:
        The scene.

    Raises:
        InputError: a file is missing, damaged, of another size, or the counts do not match.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give a scene folder.")
    paths = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in _FRAME_SUFFIXES and not path.name.startswith(".")
    )
    if not 2 <= len(paths) <= 9:
        raise InputError(f"{folder} holds {len(paths)} TIFF frames; a scene has 2 to 9.")
    stops = _read_stops(folder / _EXPOSURES, len(paths))
    frames = sorted(
        (
            read_frame(path, Exposure(value - min(stops)))
            for path, value in zip(paths, stops, strict=True)
        ),
        key=lambda frame: frame.exposure.stops,
    )
    bracket = Bracket(tuple(frames), len(frames) // 2)
    for frame in frames:
        _check_size(folder / frame.name, frame.pixels.shape[:2], bracket)
    truth_path = next((folder / name for name in _TRUTHS if (folder / name).exists()), None)
    if truth_path is None:
        raise InputError(f"{folder} holds no truth; put {' or '.join(_TRUTHS)} into it.")
    truth, _ = read_radiance(truth_path)
    _check_size(truth_path, truth.shape[:2], bracket)
    return Scene(folder.resolve().name, bracket, truth, _read_motion(folder / _MOTION, bracket))


def _read_stops(path: Path, count: int) -> list[float]:
    text = read_text(path)
    try:
        stops = [float(word) for word in text.split()]
    except ValueError as error:
        raise InputError(f"{path} must hold one number of stops a line, nothing else.") from error
    if len(stops) != count:
        raise InputError(f"{path} holds {len(stops)} exposures for {count} frames; match them.")
    if not all(abs(value) <= _MOST_STOPS for value in stops):
        raise InputError(
            f"{path} holds an exposure that is not finite or beyond {_MOST_STOPS:g} stops; mend it."
        )
    return stops


def _read_motion(path: Path, bracket: Bracket) -> Mask | None:
    if not path.exists():
        return None
    motion = (read_frame(path, Exposure(0.0)).pixels > 0).any(axis=2)
    _check_size(path, motion.shape, bracket)
    return np.ascontiguousarray(motion)


def _check_size(path: Path, shape: tuple[int, ...], bracket: Bracket) -> None:
    if shape != bracket.size:
        height, width = bracket.size
        raise InputError(
            f"{path} has {shape[1]}x{shape[0]} pixels but {bracket.frames[0].name} has "
            f"{width}x{height}; all files of a scene must be of one size."
        )
