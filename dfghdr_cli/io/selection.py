"""Which of the files that a user gives belong to the bracket.

Results of dfghdr do not, nor do photographs of another scene; one that is turned is turned back.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dfghdr_cli.core.scene import Comparison, Thumbnail, compare, scenes
from dfghdr_cli.core.types import Frame, LeftOut
from dfghdr_cli.errors import InputError
from dfghdr_cli.io.exif import exif_tags, tag_number
from dfghdr_cli.io.formats import image_format
from dfghdr_cli.io.ldr import upright
from dfghdr_cli.io.metadata import OWN_SOFTWARE

log = logging.getLogger(__name__)

_TURNED_BACK = {6: 8, 8: 6}
"""The orientations (TIFF tag 274) that undo one another; the others undo themselves."""


def is_own_result(path: Path) -> bool:
    """Whether dfghdr wrote a file, a preview, say, as its Software tag tells.

    Args:
        path: a file; what cannot be read is none.
    """
    try:
        actual = image_format(path)
        possible = actual != "raw" or path.suffix.lower() == ".dng"
        software = exif_tags(path, actual).get("Image Software") if possible else None
    except InputError:
        return False
    return str(software or "").startswith(OWN_SOFTWARE)


def without_own_results(
    paths: Sequence[Path], *, log_left_out: bool = False
) -> tuple[list[Path], list[LeftOut]]:
    """The files that dfghdr did not write, and the others.

    Args:
        paths: the files.
        log_left_out: whether to warn of those that are left out.
    """
    kept, left_out = [], []
    for path in paths:
        if not is_own_result(path):
            kept.append(path)
            continue
        left_out.append(LeftOut(path, "a result of dfghdr"))
        if log_left_out:
            log.warning("%s is a result of dfghdr and was left out of the bracket.", path)
    return kept, left_out


def turned_alike(frames: Sequence[Frame]) -> list[Frame]:
    """Frames that lie as the others do; one that does not for its orientation tag alone is turned.

    A camera that points up or down guesses how it is held. So where the tags differ, the frames
    tell which is meant: by the tag of most of them, or by its own.

    Args:
        frames: of a bracket, of any size.
    """
    tags = [_orientation(frame) for frame in frames]
    usual = max(Counter(tags).items(), key=lambda item: (item[1], -item[0]))[0]
    if tags.count(usual) == len(tags):
        return list(frames)
    steady = [Thumbnail(frame) for frame, tag in zip(frames, tags, strict=True) if tag == usual]
    return [
        frame if tag == usual else _turned_if_better(frame, tag, usual, steady)
        for frame, tag in zip(frames, tags, strict=True)
    ]


def _turned_if_better(frame: Frame, tag: int, usual: int, steady: Sequence[Thumbnail]) -> Frame:
    stored = upright(frame.pixels, _TURNED_BACK.get(tag, tag))
    turned = replace(frame, pixels=upright(stored, usual))
    now, then = (_in_common(Thumbnail(picture), steady) for picture in (frame, turned))
    if then.verdict != "same" or then.agreeing <= now.agreeing:
        return frame
    log.warning(
        "%s lies otherwise than its orientation tag says: it shows the same as %s when it is "
        "turned as they are, and so it was.",
        frame.name,
        _names([picture.frame for picture in steady]),
    )
    return turned


def _in_common(picture: Thumbnail, others: Sequence[Thumbnail]) -> Comparison:
    """What a picture shows of others of its shape."""
    alike = [o for o in others if o.frame.pixels.shape == picture.frame.pixels.shape]
    found = [compare(other, picture) for other in alike]
    return Comparison(sum(c.agreeing for c in found), sum(c.comparable for c in found))


def _orientation(frame: Frame) -> int:
    if frame.path is None:
        return 1
    try:
        actual = image_format(frame.path)
    except InputError:
        return 1
    if actual == "HEIC":  # whose decoder turns it as other marks say
        return 1
    return int(tag_number(exif_tags(frame.path, actual), "Image Orientation") or 1)


def of_one_scene(frames: Sequence[Frame]) -> tuple[list[Frame], list[LeftOut]]:
    """The frames of the scene that most of them show, and those that show another.

    Args:
        frames: at least two, of one size.

    Raises:
        InputError: there are two brackets among them, or no two that show the same.
    """
    found = scenes([Thumbnail(frame) for frame in frames])
    sets = [[frames[k] for k in group] for group in found]
    main, strange = sets[0], sets[1:]
    if not strange:
        return list(frames), []
    if len(main) == 1:
        raise InputError(
            f"{_names(frames)} have nothing in common; give the shots of one scene, "
            "and in one orientation."
        )
    if any(len(other) > 1 for other in strange):
        parts = "; ".join(_names(group) for group in sets)
        raise InputError(
            f"These are brackets of {len(sets)} scenes ({parts}); "
            "give the files of one of them, or put each bracket into a folder of its own."
        )
    others = [frame for group in strange for frame in group]
    for frame in others:
        log.warning(
            "%s shows another scene than %s, or is turned, and was left out of the bracket.",
            frame.name,
            _names(main),
        )
    return main, [LeftOut(f.path, "shows another scene") for f in others if f.path is not None]


def _names(frames: Sequence[Frame]) -> str:
    return ", ".join(frame.name for frame in frames)
