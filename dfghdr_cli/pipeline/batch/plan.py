"""From brackets to results: what they are called, and which of them there are already."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from dfghdr_cli.core.bracketing.sets import BracketSet
from dfghdr_cli.errors import OutputNameError
from dfghdr_cli.pipeline.results import results_of

FIELDS = ("first", "last", "stem", "folder", "date", "index", "count")
"""What a pattern of names may have between braces."""


@dataclass(frozen=True)
class Job:
    """One bracket to merge.

    Attributes:
        index: its number in the batch, from 1.
        name: of its results, without a folder and an ending.
        bracket: which photographs.
        outputs: the results.
        beside: what the merge writes, too: a preview.
    """

    index: int
    name: str
    bracket: BracketSet
    outputs: tuple[Path, ...]
    beside: tuple[Path, ...]

    @property
    def paths(self) -> list[Path]:
        """The photographs."""
        return self.bracket.paths

    @property
    def results(self) -> tuple[Path, ...]:
        """All files that come of it."""
        return (*self.outputs, *self.beside)

    @property
    def there(self) -> list[Path]:
        """Those that exist."""
        return [path for path in self.results if path.is_file()]

    @property
    def complete(self) -> bool:
        """Whether all exist."""
        return len(self.there) == len(self.results)


def check_pattern(pattern: str) -> None:
    """Refuse a pattern of names that cannot be filled.

    Raises:
        ValueError: it names no field, another one, or is no pattern, or leads out of the folder.
    """
    try:
        parts = string.Formatter().parse(pattern)
        fields = [field for _, field, _, _ in parts if field is not None]
    except ValueError as error:
        raise ValueError(f"{pattern!r} is no pattern ({error})") from None
    known = ", ".join(f"{{{field}}}" for field in FIELDS)
    if unknown := [field for field in fields if field not in FIELDS]:
        raise ValueError(f"{{{unknown[0]}}} is none of {known}")
    if not fields:
        raise ValueError(f"{pattern!r} would be the name of every result; use {known}")
    if PurePath(pattern).is_absolute() or ".." in PurePath(pattern).parts:
        raise ValueError(f"{pattern!r} leads out of the output's folder")


def plan(
    sets: Sequence[BracketSet],
    folder: Path,
    *,
    pattern: str,
    suffixes: Sequence[str],
    preview: bool = True,
    before: int = 0,
) -> list[Job]:
    """Give every bracket its results.

    Args:
        sets: the brackets.
        folder: where results go.
        pattern: of names; see `check_pattern`.
        suffixes: of the results, such as ".exr".
        preview: whether a merge also writes one, beside its first linear result.
        before: how many brackets were given numbers before.
    """
    jobs: list[Job] = []
    for index, one in enumerate(sets, before + 1):
        name = pattern.format(**_values(one, index, len(str(before + len(sets)))))
        outputs = tuple(_beside(folder / name, suffix) for suffix in suffixes)
        also = results_of(outputs, preview=preview)[len(outputs) :]
        jobs.append(Job(index, name, one, outputs, also))
    return jobs


def _beside(stem: Path, suffix: str) -> Path:
    return stem.with_name(stem.name + suffix)


def _values(one: BracketSet, index: int, digits: int) -> dict[str, str]:
    stems = [path.stem for path in one.paths]
    local = one.shots[0].local
    return {
        "first": stems[0],
        "last": stems[-1],
        "stem": stems[0],
        "folder": one.shots[0].folder.resolve().name,
        "date": local[:10].replace(":", "-") or "undated",
        "index": f"{index:0{digits}}",
        "count": str(len(stems)),
    }


def ensure_different_names(jobs: Sequence[Job], pattern: str) -> None:
    """Refuse a pattern that gives two brackets one name, also where only case tells them apart.

    Raises:
        OutputNameError: it does.
    """
    names = Counter(job.name.casefold() for job in jobs)
    for job in jobs:
        same = [other for other in jobs if other.name.casefold() == job.name.casefold()]
        if names[job.name.casefold()] > 1:
            of = " and of ".join(", ".join(str(p) for p in other.paths[:1]) for other in same[:2])
            raise OutputNameError(
                f"--name {pattern} calls the results of {of} ... alike, {job.name}; "
                'tell them apart by {index} or {folder}, as in --name "{folder}-{first}-{last}".'
            )


def folders_of(jobs: Sequence[Job]) -> Iterator[Path]:
    """Each folder that results go to, once."""
    yield from dict.fromkeys(path.parent for job in jobs for path in job.results)
