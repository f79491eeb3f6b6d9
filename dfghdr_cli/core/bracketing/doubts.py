"""What makes one doubt that a run of shots is a bracket, or all of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from dfghdr_cli.core.bracketing.runs import EVEN, SAME, Run
from dfghdr_cli.core.bracketing.shot import Shot

_WORDS = {
    "lens": "different lenses",
    "focal": "different focal lengths",
    "balance": "different white balance",
    "orientation": "different orientation",
    "size": "different sizes",
}


def doubts_about(run: Run, *, stated: bool = False) -> list[str]:
    """Why these shots may not belong together.

    Args:
        run: at least two shots.
        stated: whether the user says that they are a bracket.

    Returns:
        Phrases such as "different white balance".
    """
    found = [text for what, text in _WORDS.items() if run.differs(what)]
    if stated:
        if not run.kinds:
            found.append("raw files and pictures mixed")
        if run.differs("camera"):
            found.append("different cameras")
        return found
    if run.partly_automatic:
        names = ", ".join(shot.name for shot in run.shots if not shot.automatic)
        found.append(f"the camera's own bracketing did not take {names}")
    if run.meant == "no" or (run.meant == "unknown" and len(run.shots) == 2):
        found.append("nothing says that exposures were to differ")
    length = run.shots[0].length or run.shots[-1].place
    if length is not None and len(run.shots) < length:
        found.append(f"{len(run.shots)} of {length} frames")
    return found


def incomplete(
    run: Run, others: Sequence[Run], before: Shot | None, after: Shot | None
) -> list[str]:
    """Why a frame of the bracket seems to be missing, if so.

    Args:
        run: at least two shots, not said to be incomplete by their own numbers.
        others: the other brackets of the camera.
        before: the shot of the camera that was taken before, and
        after: after these.

    Returns:
        No or one phrase.
    """
    if run.shots[0].place is not None:
        return []
    count = len(run.shots)
    if gap := _gap(run):
        return [gap]
    order = run.ordered and not run.in_usual_order and count % 2 == 0
    if order and count > 2 and _starts_in_the_middle(run):
        return [f"it begins like a bracket of {count + 1} frames"]
    usual = Counter(other.pattern for other in others)
    longer = [
        other
        for other in others
        if len(other.shots) > count
        and (other.automatic or usual[other.pattern] > 1)
        and _is_part(run, other)
    ]
    if not longer:
        return []
    lost = {len(other.shots) - count for other in longer}
    counts_on = all(_skipped(a, b) == 0 for other in others for a, b in pairwise(other.shots))
    skipped = _skipped_around(run, before, after)
    lopsided = run.by_bias and abs(min(run.levels) + max(run.levels)) > EVEN
    odd = count % 2 == 0 and all(len(other.shots) % 2 for other in longer)
    if (counts_on and skipped & lost) or lopsided or odd:
        return [f"{count} frames where other brackets of this camera have {count + min(lost)}"]
    return []


def _gap(run: Run) -> str | None:
    """One step about twice as large as all the others, which are equal.

    Where a camera bracketed by itself, one other step is enough.
    """
    if len(run.steps) < (2 if run.automatic else 3) or run.even:
        return None
    steps = sorted(run.steps)
    usual, largest = steps[:-1], steps[-1]
    mean = sum(usual) / len(usual)
    if usual[-1] - usual[0] > 2 * SAME or abs(largest - 2 * mean) > 2 * SAME - 0.01:
        return None
    levels = sorted(zip(run.levels, (shot.name for shot in run.shots), strict=True))
    dark, bright = max(pairwise(levels), key=lambda pair: pair[1][0] - pair[0][0])
    return f"no frame between {dark[1]} and {bright[1]}"


def _starts_in_the_middle(run: Run) -> bool:
    """Whether one more shot at either end would make an order that cameras shoot in."""
    lowest, highest = min(run.levels), max(run.levels)
    step = (highest - lowest) / (len(run.levels) - 1)
    if not run.even:
        return False
    middle = run.levels[0]
    missing = highest + step if middle - lowest > highest - middle else lowest - step
    # Only the middle one of the completed bracket comes first.
    return abs(middle - (min(lowest, missing) + max(highest, missing)) / 2) < EVEN / 2


def _is_part(run: Run, other: Run) -> bool:
    """Whether all exposures of a run are among those of another, up to the scene's brightness."""
    if run.by_bias != other.by_bias or other.differs("focal") != run.differs("focal"):
        return False
    shifts = [0.0] if run.by_bias else [level - run.levels[0] for level in other.levels]
    return any(
        all(
            min(abs(level + shift - its) for its in other.levels) <= 2 * SAME
            for level in run.levels
        )
        for shift in shifts
    )


def _skipped_around(run: Run, before: Shot | None, after: Shot | None) -> set[int]:
    """How many numbers of the camera's counter may be missing of a run: in it, and beside it."""
    inside = sum(_skipped(a, b) for a, b in pairwise(run.shots))
    earlier = _skipped(before, run.shots[0]) if before else 0
    later = _skipped(run.shots[-1], after) if after else 0
    return {inside, inside + earlier, inside + later, inside + earlier + later}


def _skipped(before: Shot, after: Shot) -> int:
    """How many numbers lie between those of two shots."""
    if before.numbered is None or after.numbered is None:
        return 0
    same = before.numbered[0] == after.numbered[0]
    return max(0, after.numbered[1] - before.numbered[1] - 1) if same else 0
