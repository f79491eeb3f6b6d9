"""Scenes with truth, in the layouts of the published data sets (`dfghdr_cli.io.layouts`)."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.scene_check import contradiction
from dfghdr_cli.core.types import Bracket, Exposure, FloatImage, Frame, Mask
from dfghdr_cli.errors import InputError
from dfghdr_cli.io.bracket import read_bracket
from dfghdr_cli.io.layouts import KALANTARI, SICE, SceneFiles, scene_files_at, scenes_among
from dfghdr_cli.io.ldr import read_frame
from dfghdr_cli.io.radiance import read_radiance
from dfghdr_cli.io.source import read_head, read_text

_MOST_STOPS = 64.0
"""From a millionth of a second at ISO 50 to a day at ISO 100000 are 48."""
_MOST_BYTES = 100_000
"""Of a file that holds a handful of numbers."""
_GAMMA = 2.2
"""Exponent by which the frames of a `Scene` are encoded."""


@dataclass(frozen=True, slots=True)
class NamedBracket:
    """A bracket to be merged.

    Attributes:
        name: of its folder.
        bracket: 2 to 9 frames.
    """

    name: str
    bracket: Bracket


@dataclass(frozen=True, slots=True)
class Scene(NamedBracket):
    """A bracket and the picture it should become.

    The darkest frame is at 0 stops and the middle one is the reference.

    Attributes:
        truth: (H, W, 3) float32 linear, aligned with the reference; 1.0 = the white of the
            darkest frame, so it is radiance / bracket.peak.
        motion: (H, W) bool, the pixels that move, or None where the scene does not say.
    """

    truth: FloatImage
    motion: Mask | None


def find_scenes(root: Path) -> list[Path]:
    """List the scenes at or below a folder: what holds exposures or a truth in a known layout.

    One that lacks one of them is not passed over: `read_scene` says what is missing.

    Args:
        root: a scene folder, or a folder of them at any depth.

    Returns:
        At least one path, sorted: a scene's folder or, where one folder holds several scenes, this
        and the scene's number.

    Raises:
        InputError: `root` is not a folder or holds no scene.
    """
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; give a scene folder or a folder of scenes.")
    scenes = scenes_among(root.rglob("*"))
    if not scenes and scene_files_at(root).label is not None:
        scenes = [root]
    if not scenes:
        raise InputError(
            f"{root} holds no scene; a scene is a folder with TIFF frames, exposure.txt and "
            "HDRImg.hdr or HDRImg.exr, or is laid out like one of the data sets in "
            "docs/datasets.md."
        )
    return scenes


def scene_files(path: Path) -> list[Path]:
    """The files of a scene that `read_scene` reads, those that are there."""
    return scene_files_at(path).all


def has_truth(path: Path) -> bool:
    """Whether a scene's data set has truth: which of `read_scene` and `read_without_truth`."""
    return scene_files_at(path).layout is not SICE


def read_without_truth(path: Path) -> NamedBracket:
    """Read a scene of a data set without truth, as photographs of any camera are read.

    Args:
        path: what `find_scenes` gives.

    Raises:
        InputError: see `dfghdr_cli.io.bracket.read_bracket`.
    """
    return NamedBracket(path.resolve().name, read_bracket(scene_files_at(path).frames))


def read_scene(path: Path) -> Scene:
    """Read one scene: frames, exposures, truth and, where there is one, the motion mask.

    Line i of the file of exposures holds the exposure of the i-th frame [stops, + = brighter], in
    the order of their names; the smallest is subtracted from all. Of an even number of frames the
    brighter of the two middle ones is the reference.

    Args:
        path: the scene's folder, or what `find_scenes` gives.

    Returns:
        The scene; frames of other gammas than 2.2 are encoded anew, in 16 bits.

    Raises:
        InputError: a file is missing, damaged, of another size, or the counts do not match; or
            the data set has no truth.
    """
    files = scene_files_at(path)
    if not path.is_dir() and not files.frames:
        raise InputError(f"{path} is not a folder; give a scene folder.")
    if files.layout is SICE:
        raise InputError(
            f"{path} has no radiance to compare with: the labels of SICE are pictures for screens; "
            "see docs/datasets.md."
        )
    if not 2 <= len(files.frames) <= 9:
        kind = "TIFF frames" if files.layout is KALANTARI else "frames"
        raise InputError(f"{path} holds {len(files.frames)} {kind}; a scene has 2 to 9.")
    assert files.exposures is not None
    stops = _read_stops(files.exposures, len(files.frames))
    frames = sorted(
        (
            _read_frame(file, value - min(stops), files.layout.gamma)
            for file, value in zip(files.frames, stops, strict=True)
        ),
        key=lambda frame: frame.exposure.stops,
    )
    bracket = Bracket(tuple(frames), len(frames) // 2)
    for frame in frames:
        _check_size(frame.path or path, frame.pixels.shape[:2], bracket)
    if files.truth is None:
        raise InputError(f"{path} holds no truth; put {' or '.join(files.layout.truths)} into it.")
    truth = _read_truth(files, bracket)
    _check_size(files.truth, truth.shape[:2], bracket)
    motion = None if files.motion is None else _read_motion(files.motion, bracket)
    return Scene(path.resolve().name, bracket, truth, motion)


def check_scene(path: Path, scene: Scene, *, frames_count: bool = True) -> str | None:
    """What a scene says that its frames do not bear out, and what to do.

    Args:
        path: see `read_scene`.
        scene: what it gave, or the same in another size.
        frames_count: whether anything is made of the frames, which must follow gamma 2.2 for that.

    Returns:
        A sentence without its full stop, or None where all fits.
    """
    frames = scene.bracket.frames
    wrong = contradiction(
        [frame.encoded() for frame in frames],
        [frame.exposure.stops for frame in frames],
        [frame.name for frame in frames],
        scene.truth,
    )
    if wrong is None or (wrong.of_curve and not frames_count):
        return None
    if wrong.of_curve:
        return f"{path}: {wrong.text}; encode them by gamma 2.2"
    files = scene_files_at(path)
    names = " or ".join(file.name for file in (files.exposures, files.truth) if file is not None)
    return f"{path}: {wrong.text}; correct {names}"


def _read_frame(path: Path, stops: float, gamma: float) -> Frame:
    frame = read_frame(path, Exposure(stops))
    if gamma == _GAMMA:
        return frame
    code = np.rint(65535 * frame.encoded() ** np.float32(gamma / _GAMMA))
    return replace(frame, pixels=code.astype(np.uint16))


def _read_truth(files: SceneFiles, bracket: Bracket) -> FloatImage:
    """The truth in units of the darkest frame's white.

    One with a ratio is a picture of codes, multiplied by this, of which 1.0 is the white of the
    reference frame (Perez-Pellitero et al. 2021, "NTIRE 2021 Challenge on High Dynamic Range
    Imaging: Dataset, Methods and Results").
    """
    assert files.truth is not None
    if files.ratio is None:
        return read_radiance(files.truth)[0]
    ratio = _read_numbers(files.ratio)
    if ratio.size != 1 or not 0 < ratio[0] < np.inf:
        raise InputError(f"{files.ratio} must hold one number above 0; get it again.")
    pixels = read_frame(files.truth, Exposure(0.0)).pixels
    linear = (pixels.astype(np.float64) / ratio[0]) ** files.layout.gamma
    return np.asarray(linear / bracket.peak, np.float32)


def _read_numbers(path: Path) -> NDArray[np.float64]:
    """The numbers of a .npy file, in one row."""
    read_head(path)
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise ValueError("it is too long")
        return np.load(io.BytesIO(data), allow_pickle=False).astype(np.float64).ravel()
    except (ValueError, OSError, EOFError, TypeError) as error:
        raise InputError(
            f"{path} is no file of numbers in NumPy's format; get it again."
        ) from error


def _read_stops(path: Path, count: int) -> list[float]:
    if path.suffix.lower() == ".npy":
        stops = _read_numbers(path).tolist()
    else:
        try:
            stops = [float(word) for word in read_text(path).split()]
        except ValueError as error:
            raise InputError(
                f"{path} must hold one number of stops a line, nothing else."
            ) from error
    if len(stops) != count:
        raise InputError(f"{path} holds {len(stops)} exposures for {count} frames; match them.")
    if not all(abs(value) <= _MOST_STOPS for value in stops):
        raise InputError(
            f"{path} holds an exposure that is not finite or beyond {_MOST_STOPS:g} stops; mend it."
        )
    return stops


def _read_motion(path: Path, bracket: Bracket) -> Mask:
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
