"""How published data sets of brackets with truth are laid out, and which of them a folder has.

Names are compared without regard to upper and lower case. docs/datasets.md says where each set is
had and how its files were found to be scaled.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

_TIFF = r"\.tiff?"
_FLAT = re.compile(r"(?P<scene>\d+)_(?P<part>short|medium|long|gt)\.(png|tiff?)")
_FLAT_FRAMES = ("short", "medium", "long")
_PARTED = re.compile(r"(?P<scene>.+)_(?P<part>\d)")
_PICTURE = re.compile(r".+\.(jpe?g|png|tiff?)")
_LABELS = "label"
MOTION = "motion.png"


@dataclass(frozen=True, slots=True)
class Layout:
    """What the files of one scene are called.

    Attributes:
        name: of the data set or sets that have it.
        frames: matches the names of frames, in lower case.
        exposures: names of the file of exposures, the first being the usual one.
        truths: names of the truth, the preferred one first.
        ratio: name of the factor by which the truth was multiplied before it was stored, if any.
        gamma: exponent under which frames, and a truth that has a `ratio`, are encoded.
        numbered: matches the name of a folder that holds only one frame of a scene and has its
            others in the folders beside it; None where a scene is one folder.
    """

    name: str
    frames: re.Pattern[str]
    exposures: tuple[str, ...]
    truths: tuple[str, ...]
    ratio: str | None = None
    gamma: float = 2.2
    numbered: re.Pattern[str] | None = None


ALIGNED = Layout(
    "DeepHDR, Hu",
    re.compile(r"input_\d+_aligned\.(png|tiff?)"),
    ("input_exp.txt",),
    ("ref_hdr_aligned_linear.hdr", "ref_hdr_aligned.hdr", "ref_hdr_aligned_opencv_trans.hdr"),
)
CHALLENGE = Layout(
    "Challenge123",
    re.compile(r"ldr_img_\d+" + _TIFF),
    ("exposure.txt",),
    ("hdr_img.hdr", "HDRImg.hdr"),
    numbered=_PARTED,
)
NTIRE_CROPS = Layout(
    "NTIRE crops",
    re.compile(r"\d+\.png"),
    ("exposures.npy",),
    ("gt.png",),
    ratio="alignratio.npy",
    gamma=2.24,
)
NTIRE = replace(NTIRE_CROPS, name="NTIRE", frames=_FLAT)
SICE = Layout("SICE", _PICTURE, (), ())
KALANTARI = Layout(
    "Kalantari, Tel",
    re.compile(r".+" + _TIFF),
    ("exposure.txt",),
    ("HDRImg.hdr", "HDRImg.exr", "label.hdr"),
)
FOLDER_LAYOUTS = (ALIGNED, CHALLENGE, NTIRE_CROPS, KALANTARI)
"""Those of one scene a folder, the more particular ones first."""


@dataclass(frozen=True, slots=True)
class SceneFiles:
    """The files of one scene.

    Attributes:
        layout: what they are called.
        path: the scene's folder; where a folder holds several scenes, this and their number.
        frames: in the order of their exposures in the file of these.
        exposures: that file, there or not; None where the data set has none.
        truth: None where it is missing, or the data set has none.
        ratio: see `Layout`.
        motion: a picture of the pixels that move, or None.
        label: a picture for screens that stands in for the truth, or None.
    """

    layout: Layout
    path: Path
    frames: tuple[Path, ...]
    exposures: Path | None
    truth: Path | None
    ratio: Path | None = None
    motion: Path | None = None
    label: Path | None = None

    @property
    def all(self) -> list[Path]:
        """Those that are there."""
        others = (self.exposures, self.truth, self.ratio, self.motion, self.label)
        return [*self.frames, *(path for path in others if path is not None and path.exists())]


def scenes_among(files: Iterable[Path]) -> list[Path]:
    """The scenes that some files belong to.

    Args:
        files: of any number of folders.

    Returns:
        Sorted paths for `scene_files_at`. A scene that lacks a file is among them if what there is
        tells that it is one: its exposures, its truth, or its label.
    """
    folders: dict[Path, dict[str, Path]] = {}
    for path in files:
        if not path.name.startswith("."):
            folders.setdefault(path.parent, {})[path.name.lower()] = path
    found: set[Path] = set()
    for folder, names in folders.items():
        if (layout := _layout_of(names)) is not None:
            found.add(_whole(folder, layout))
        found.update(folder / scene for scene in _flat_scenes(names))
        if folder.name.lower() == _LABELS:
            labelled = {
                path.stem.lower()
                for path in names.values()
                if _PICTURE.fullmatch(path.name.lower())
            }
            found.update(
                other
                for other in folders
                if other.parent == folder.parent and other.name.lower() in labelled
            )
    return sorted(found)


def scene_files_at(path: Path) -> SceneFiles:
    """The files of one scene, by the layout that it has.

    Args:
        path: a folder, or, where a folder holds several scenes, this and a scene's number.
    """
    if not path.is_dir():
        names = _names(path.parent)
        return _flat_files(path, names)
    names = _names(path)
    layout = _layout_of(names)
    if layout is None and (label := _label_of(path)) is not None:
        frames = _matching(names, SICE)
        return SceneFiles(SICE, path, tuple(frames), None, None, label=label)
    layout = layout or KALANTARI
    frames = _matching(names, layout)
    if layout.numbered is not None:
        frames = _parted_frames(path, layout) or frames
    return SceneFiles(
        layout,
        path,
        tuple(frames),
        _first(names, layout.exposures) or path / layout.exposures[0],
        _first(names, layout.truths),
        names.get(layout.ratio or "") or ((layout.ratio and path / layout.ratio) or None),
        names.get(MOTION),
    )


def _names(folder: Path) -> dict[str, Path]:
    """The files of a folder by their names in lower case, without hidden ones."""
    if not folder.is_dir():
        return {}
    return {path.name.lower(): path for path in folder.iterdir() if not path.name.startswith(".")}


def _first(names: Mapping[str, Path], wanted: Iterable[str]) -> Path | None:
    return next((names[name.lower()] for name in wanted if name.lower() in names), None)


def _layout_of(names: Mapping[str, Path]) -> Layout | None:
    """The layout of a folder that is a scene."""
    telling = [
        layout
        for layout in FOLDER_LAYOUTS
        if _first(names, (*layout.exposures, *layout.truths)) is not None
    ]
    whole = (layout for layout in telling if _matching(names, layout))
    return next(whole, telling[-1] if telling else None)


def _matching(names: Mapping[str, Path], layout: Layout) -> list[Path]:
    truths = {truth.lower() for truth in layout.truths}
    return [
        names[name]
        for name in sorted(names)
        if layout.frames.fullmatch(name) and name not in truths
    ]


def _whole(folder: Path, layout: Layout) -> Path:
    """The folder that stands for the scene of one that holds only a part of it."""
    parted = layout.numbered and layout.numbered.fullmatch(folder.name)
    if parted and parted["part"] in "13":
        middle = folder.with_name(f"{parted['scene']}_2")
        if _parted_frames(middle, layout):
            return middle
    return folder


def _parted_frames(folder: Path, layout: Layout) -> list[Path]:
    """Frame i of a scene as seen at moment i, those that are there.

    None where `folder` is not the one of the middle moment, or alone.
    """
    parted = layout.numbered and layout.numbered.fullmatch(folder.name)
    if not parted or parted["part"] != "2":
        return []
    others = [_names(folder.with_name(f"{parted['scene']}_{part}")) for part in "123"]
    parts = [_matching(names, layout) for names in others]
    if not (parts[0] or parts[2]):
        return []
    return [
        path
        for number, paths in enumerate(parts, start=1)
        for path in paths
        if path.stem.endswith(f"_{number}")
    ]


def _flat_scenes(names: Iterable[str]) -> set[str]:
    """The numbers of the scenes that lie side by side in one folder."""
    found = (_FLAT.fullmatch(name) for name in names)
    return {match["scene"] for match in found if match and match["part"] in ("medium", "gt")}


def _flat_files(path: Path, names: Mapping[str, Path]) -> SceneFiles:
    own: dict[str, Path] = {}
    for name, file in names.items():
        match = _FLAT.fullmatch(name)
        if match and match["scene"] == path.name:
            own[match["part"]] = file

    def beside(name: str) -> Path:
        return names.get(f"{path.name}_{name}".lower(), path.with_name(f"{path.name}_{name}"))

    return SceneFiles(
        NTIRE,
        path,
        tuple(own[part] for part in _FLAT_FRAMES if part in own),
        beside(NTIRE.exposures[0]),
        own.get("gt"),
        beside("alignratio.npy"),
    )


def _label_of(folder: Path) -> Path | None:
    """The label of a folder of frames: a picture of its name in a folder "Label" beside it."""
    labels = _names(folder.parent).get(_LABELS)
    if labels is None:
        return None
    names = _names(labels)
    return next(
        (
            p
            for n, p in names.items()
            if _PICTURE.fullmatch(n) and p.stem.lower() == folder.name.lower()
        ),
        None,
    )
