"""`dfghdr merge --batch`: what a person sees of many brackets."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dfghdr_cli import __version__
from dfghdr_cli.cli import console
from dfghdr_cli.errors import InputError

if TYPE_CHECKING:
    from dfghdr_cli.core.bracketing.sets import BracketSet, Sorting
    from dfghdr_cli.io.shots import Card
    from dfghdr_cli.pipeline.batch.plan import Job
    from dfghdr_cli.pipeline.batch.run import Finished, Listener, Todo
    from dfghdr_cli.pipeline.batch.settings import MergeSettings
    from dfghdr_cli.pipeline.workers.tasks import Progress, Ready, Workers

_NAME, _NAME_IN_FOLDERS, _NAME_OF_FOLDER = "{first}-{last}", "{folder}-{first}-{last}", "{folder}"
"""Of results, if nothing is said: of brackets in one folder, in several, and one a folder."""


@dataclass(frozen=True)
class BatchOptions:
    """What `dfghdr merge` is told of a batch.

    Attributes:
        recursive: look into folders within folders.
        by_folder: each folder is a bracket.
        count: every so many shots are one.
        dry_run: show the table, and do nothing.
        yes: merge doubtful brackets, too.
        name: pattern of names, or None.
        to: endings of the results, as given.
        resume: keep what is there, and merge the rest.
        retry_failed: also what failed.
        overwrite: merge all anew.
        jobs: how many at a time, or None.
        dask: the cluster to merge on, or None.
        json: where the report goes as JSON.
        watch: wait for more.
        settle: seconds for which nothing may have changed.
    """

    recursive: bool = False
    by_folder: bool = False
    count: int | None = None
    dry_run: bool = False
    yes: bool = False
    name: str | None = None
    to: str | None = None
    resume: bool = False
    retry_failed: bool = False
    overwrite: bool = False
    jobs: int | None = None
    dask: str | None = None
    json: console.Json = console.Json()  # noqa: RUF009
    watch: bool = False
    settle: float = 10.0

    def pattern(self, sets: Sequence[BracketSet]) -> str:
        """The pattern of names for these brackets."""
        if self.name is not None:
            return self.name
        if self.by_folder:
            return _NAME_OF_FOLDER
        return _NAME if len({one.shots[0].folder for one in sets}) < 2 else _NAME_IN_FOLDERS

    @property
    def suffixes(self) -> list[str]:
        """Of the results, such as ".exr"."""
        return [f".{text.strip().lstrip('.').lower()}" for text in (self.to or "exr").split(",")]

    def of_a_batch(self, skip_existing: bool) -> str | None:
        """An option that was given and means nothing of a single bracket."""
        given = {
            "--recursive": self.recursive,
            "--by-folder": self.by_folder,
            "--count": self.count,
            "--dry-run": self.dry_run,
            "--yes": self.yes,
            "--name": self.name,
            "--to": self.to,
            "--resume": self.resume and not skip_existing,
            "--retry-failed": self.retry_failed,
            "--jobs": self.jobs,
            "--dask": self.dask,
            "--watch": self.watch,
        }
        return next((option for option, value in given.items() if value), None)

    def check(self, settings: MergeSettings) -> None:
        """Refuse what cannot be meant.

        Raises:
            typer.BadParameter: something is at odds.
        """
        from dfghdr_cli.errors import OutputError
        from dfghdr_cli.io.names import (
            DISPLAY_SUFFIXES,
            RADIANCE_SUFFIXES,
            display_format,
            is_display_name,
            is_radiance_name,
        )
        from dfghdr_cli.pipeline.batch.plan import check_pattern

        if self.watch and (self.dry_run or self.overwrite):
            raise typer.BadParameter("--watch goes with neither --dry-run nor --overwrite.")
        if self.watch and self.json.file is not None:
            raise typer.BadParameter("--json-file is of a batch that ends: leave out --watch.")
        if self.dask is not None and self.jobs is not None:
            raise typer.BadParameter("--jobs is of this computer: --dask goes by its workers.")
        if self.by_folder and self.count is not None:
            raise typer.BadParameter("give only one of --by-folder and --count.")
        try:
            check_pattern(_NAME if self.name is None else self.name)
        except ValueError as error:
            raise typer.BadParameter(f"--name: {error}.") from None
        for suffix in self.suffixes:
            path = Path(f"x{suffix}")
            if not is_radiance_name(path) and not is_display_name(path):
                known = ", ".join(s[1:] for s in (*RADIANCE_SUFFIXES, *DISPLAY_SUFFIXES))
                raise typer.BadParameter(f"--to {suffix[1:]} is none of {known}.")
            if not is_radiance_name(path):
                try:
                    display_format(path, settings.format)  # pyright: ignore[reportArgumentType]
                except OutputError as error:
                    raise typer.BadParameter(f"--to {suffix[1:]}: {error}") from None
        if len(set(self.suffixes)) < len(self.suffixes):
            raise typer.BadParameter("--to names a format twice.")


def merge_batch(
    paths: Sequence[Path], folder: Path | None, options: BatchOptions, settings: MergeSettings
) -> None:
    """Find brackets, merge them, and say what has become of them.

    Args:
        paths: folders and files.
        folder: of the results; may be None for a dry run.
        options: of the batch.
        settings: of each merge.

    Raises:
        typer.Exit: 1 if some could not be merged.
        DfghdrError: before any is merged.
    """
    from dfghdr_cli.core.bracketing.sets import find_sets
    from dfghdr_cli.io.shots import find_shots
    from dfghdr_cli.pipeline.batch.plan import ensure_different_names, plan

    card = find_shots(paths, recursive=options.recursive)
    options.json.check(inputs=lambda: (p for s in card.shots for p in (*s.files.values(), *s.also)))
    sorting = find_sets(card.shots, count=options.count, by_folder=options.by_folder)
    pattern = options.pattern(sorting.sets)
    jobs = plan(
        sorting.sets,
        folder or Path(),
        pattern=pattern,
        suffixes=options.suffixes,
        preview=settings.preview,
    )
    if options.dry_run:
        _print_plan(jobs, sorting, card, options.json)
        ensure_different_names(jobs, pattern)
        return
    assert folder is not None
    if not jobs:
        raise InputError(_nothing_found(paths, card, options))
    ensure_different_names(jobs, pattern)
    if sorting.lone:
        names = [lone.shot.name for lone in sorting.lone]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        console.print_status(f"In no bracket: {', '.join(names[:_SHOWN])}{more}.")
    with ExitStack() as stack:
        if not _Batch(folder, options, settings, stack).merge(jobs):
            raise typer.Exit(1)


def watch_batch(
    paths: Sequence[Path], folder: Path, options: BatchOptions, settings: MergeSettings
) -> None:
    """Merge brackets as they come; ends only by Ctrl-C or where nothing can be written.

    Args:
        paths: folders.
        folder: of the results.
        options: of the batch; results that are there are kept.
        settings: of each merge.

    Raises:
        DfghdrError: a folder is gone, or the model cannot be loaded.
    """
    from functools import partial

    from dfghdr_cli.core.bracketing.sets import find_sets
    from dfghdr_cli.pipeline.batch.plan import ensure_different_names, plan
    from dfghdr_cli.pipeline.batch.watch import settled_sets

    console.print_status(f"Waiting for brackets in {', '.join(map(str, paths))}; Ctrl-C ends it.")
    pattern = options.pattern(()) if not options.recursive else options.name or _NAME_IN_FOLDERS
    found = settled_sets(
        paths,
        partial(find_sets, count=options.count, by_folder=options.by_folder),
        lambda one: options.yes or not one.doubts,
        settle=options.settle,
        recursive=options.recursive,
    )
    count = 0
    with ExitStack() as stack:
        batch = _Batch(folder, replace(options, resume=True), settings, stack)
        for sets in found:
            if not sets:
                continue
            jobs = plan(
                sets,
                folder,
                pattern=pattern,
                suffixes=options.suffixes,
                preview=settings.preview,
                before=count,
            )
            count += len(jobs)
            ensure_different_names(jobs, pattern)
            batch.merge(jobs)


class _Batch:
    """What merges brackets into a folder, with processes that stay until the stack ends."""

    def __init__(
        self, folder: Path, options: BatchOptions, settings: MergeSettings, stack: ExitStack
    ) -> None:
        self._folder, self._options, self._settings = folder, options, settings
        self._stack = stack
        self._workers: Workers | None = None

    def merge(self, jobs: Sequence[Job]) -> bool:
        """Merge what is left of these brackets, and say so; False if some could not be merged."""
        from dfghdr_cli.pipeline.batch.run import (
            Existing,
            run_batch,
            started_workers,
            what_is_left,
        )

        started, options = time.monotonic(), self._options
        wanted = [job for job in jobs if options.yes or not job.bracket.doubts]
        doubtful = [job for job in jobs if job not in wanted]
        for job in doubtful:
            why = "; ".join(job.bracket.doubts)
            console.print_warning(
                f"{_files_of(job.bracket)}: not merged, as it may be no bracket ({why}); "
                "merge it all the same by --yes."
            )
        keep = options.resume or options.retry_failed
        existing = Existing(options.overwrite, keep, options.retry_failed)
        todo = what_is_left(wanted, self._folder, self._settings, existing)
        for remark in todo.remarks:
            console.print_warning(remark)
        done: list[Finished] = []
        if todo.jobs:
            if self._workers is None:
                level = logging.getLogger(console.PACKAGE).getEffectiveLevel()
                starting = started_workers(
                    todo.jobs,
                    self._folder,
                    self._settings,
                    at_a_time=options.jobs,
                    dask=options.dask,
                    more=options.watch,
                    level=level,
                )
                self._workers = self._stack.enter_context(starting)
            with _live(todo.jobs, as_json=options.json.printed) as listener:
                done = run_batch(
                    todo.jobs,
                    self._folder,
                    self._settings,
                    existing=existing,
                    workers=self._workers,
                    listener=listener,
                )
        _sum_up(done, todo, doubtful, options, time.monotonic() - started)
        return not todo.failed_before and not any(one.outcome.error for one in done)


def refuse_several_brackets(paths: Sequence[Path]) -> None:
    """Refuse to merge a folder that holds more than one bracket into one picture.

    Args:
        paths: what the user gave; files that are named are meant.

    Raises:
        InputError: it does; the message names them and the two ways on.
    """
    if len(paths) != 1 or not paths[0].is_dir():
        return
    from dfghdr_cli.core.bracketing.sets import find_sets
    from dfghdr_cli.io.shots import find_shots

    shots = find_shots(paths).shots
    sets = find_sets(shots).sets
    certain = [one for one in sets if not one.doubts]
    if len(certain) < 2 and (len(sets) < 2 or len(shots) <= _MOST_FRAMES):
        return
    shown = "; ".join(_files_of(one) for one in sets[:_SHOWN])
    more = f"; and {len(sets) - _SHOWN} more" if len(sets) > _SHOWN else ""
    raise InputError(
        f"{paths[0]} holds {len(sets)} brackets ({shown}{more}); merge each by --batch -o FOLDER, "
        "or name the files of one of them."
    )


_MOST_FRAMES, _SHOWN = 9, 4
"""Of one bracket; brackets that a message names."""


def _files_of(one: BracketSet) -> str:
    names = [path.name for path in one.paths]
    return f"{names[0]} to {names[-1]}" if len(names) > 2 else ", ".join(names)


def _nothing_found(paths: Sequence[Path], card: Card, options: BatchOptions) -> str:
    where = ", ".join(map(str, paths))
    if not card.shots:
        more = "" if options.recursive else ", or look into the folders within by --recursive"
        return f"{where}: no photographs there; check the folder{more}."
    return (
        f"{where}: no bracket among {len(card.shots)} photographs; see why by --dry-run, or say "
        "how they belong together by --count or --by-folder."
    )


def _print_plan(jobs: Sequence[Job], sorting: Sorting, card: Card, where: console.Json) -> None:
    if where.put(json.dumps(_plan_values(jobs, sorting, card))):
        return
    rows = [("set", "frames", "files", "exposures", "span", "recognised by", "doubts")]
    for job in jobs:
        rows.append(
            (
                job.name,
                str(len(job.paths)),
                _files_of(job.bracket),
                " ".join(f"{step:+.3g}" for step in _relative(job.bracket)) or "unknown",
                "" if job.bracket.stops is None else f"{max(job.bracket.stops):.1f} stops",
                job.bracket.recognised,
                "; ".join(job.bracket.doubts),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        console.print_result("  ".join(cells).rstrip())
    for lone in sorting.lone:
        console.print_result(f"{lone.shot.path}: {lone.reason}")
    for left in card.left_out:
        console.print_result(f"{left.path}: left out, {left.reason}")


def _relative(bracket: BracketSet) -> list[float]:
    """Exposures against the first frame [stops]."""
    stops = bracket.stops
    return [] if stops is None else [round(stop - stops[0], 2) + 0.0 for stop in stops]


def _plan_values(jobs: Sequence[Job], sorting: Sorting, card: Card) -> dict[str, Any]:
    return {
        "version": __version__,
        "sets": [
            {
                **_inputs(job),
                "outputs": [str(path) for path in job.results],
                "stops": None if job.bracket.stops is None else _relative(job.bracket),
                "times_s": [shot.time_s for shot in job.bracket.shots],
                "taken": job.bracket.shots[0].local or None,
                "recognised": job.bracket.recognised,
                "doubts": list(job.bracket.doubts),
            }
            for job in jobs
        ],
        "lone": [{"file": str(one.shot.path), "reason": one.reason} for one in sorting.lone],
        "left_out": [{"file": str(one.path), "reason": one.reason} for one in card.left_out],
    }


def _sum_up(
    done: Sequence[Finished],
    todo: Todo,
    doubtful: Sequence[Job],
    options: BatchOptions,
    seconds: float,
) -> None:
    failed = [one for one in done if one.outcome.error]
    unmerged = len(failed) + len(todo.failed_before)
    merged = [one for one in done if not one.outcome.error]
    kept = [path for job in todo.there for path in job.results]
    values = {
        "outputs": [
            *(str(path) for one in merged for path in one.job.results),
            *map(str, kept),
        ],
        "version": __version__,
        "kept": [str(path) for path in kept],
        "merged": [
            {
                **_inputs(one.job),
                "outputs": [str(path) for path in one.job.results],
                **(one.outcome.result or {}),
            }
            for one in merged
        ],
        "failed": [
            *(_failure(one.job, one.outcome.error or "", one.outcome.exit_code) for one in failed),
            *(_failure(job, error, 1) for job, error in todo.failed_before),
        ],
        "skipped": [{**_inputs(job), "reason": "; ".join(job.bracket.doubts)} for job in doubtful],
        "warnings": [
            *todo.remarks,
            *(f"{one.job.name}: {text}" for one in done for text in one.outcome.warnings),
        ],
        "seconds": {"all": round(seconds, 3)},
    }
    options.json.put(json.dumps(values))
    for one in failed:
        console.print_error(f"{one.job.name}: {one.outcome.error}")
    for job, error in todo.failed_before:
        console.print_error(f"{job.name} failed before, and --retry-failed tries again: {error}")
    parts = [
        f"{len(merged)} merged",
        *([f"{len(todo.there)} there already"] if todo.there else []),
        *([f"{unmerged} failed"] if unmerged else []),
        *([f"{len(doubtful)} doubtful and skipped"] if doubtful else []),
    ]
    console.print_status(f"{', '.join(parts)}; {seconds:.0f} s.")


def _inputs(job: Job) -> dict[str, Any]:
    return {"name": job.name, "files": [str(path) for path in job.paths]}


def _failure(job: Job, error: str, code: int) -> dict[str, Any]:
    return {**_inputs(job), "error": error, "exit_code": code}


@contextmanager
def _live(jobs: Sequence[Job], *, as_json: bool) -> Iterator[Listener]:
    """What a batch tells: bars on a terminal, and a line for each bracket."""
    from dfghdr_cli.pipeline.batch.run import Listener

    with _bars(len(jobs)) as bars:
        told = False

        def ready(which: Ready) -> None:
            nonlocal told
            if not told:
                what = "1 bracket" if len(jobs) == 1 else f"{len(jobs)} brackets"
                console.print_status(f"{what}, {which.name} on {which.device}")
            told = True

        def finished(one: Finished) -> None:
            bars.finished(one.job)
            error = one.outcome.error
            for warning in one.outcome.warnings:
                console.print_warning(f"{one.job.name}: {warning}")
            fate = "failed" if error else f"{one.outcome.seconds:.1f} s"
            console.print_status(f"[{one.number}/{one.count}] {one.job.name}: {fate}")
            if not error and not as_json:
                for path in one.job.results:
                    console.print_result(path)

        yield Listener(ready, bars.progress, finished)


@dataclass
class _NoBars:
    """Where there is no terminal."""

    progress: Callable[[Job, Progress], object] = lambda _, __: None
    finished: Callable[[Job], object] = lambda _: None


@dataclass
class _Bars:
    """A bar for the batch, and one for each bracket that is being merged."""

    shown: Any
    whole: Any
    rows: dict[str, Any] = field(default_factory=dict)

    def progress(self, job: Job, how: Progress) -> None:
        text = f"{job.name}: {how.what}"
        if job.name not in self.rows:
            self.rows[job.name] = self.shown.add_task(text, total=None)
        self.shown.update(
            self.rows[job.name], completed=how.done, total=how.total or None, description=text
        )

    def finished(self, job: Job) -> None:
        if job.name in self.rows:
            self.shown.remove_task(self.rows.pop(job.name))
        self.shown.advance(self.whole)


@contextmanager
def _bars(count: int) -> Iterator[_Bars | _NoBars]:
    quiet = not logging.getLogger(console.PACKAGE).isEnabledFor(logging.WARNING)
    if quiet or not console.stderr_console().is_terminal:
        yield _NoBars()
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    terminal = sys.stdout is not None and sys.stdout.isatty()
    with Progress(
        *columns, console=console.stderr_console(), transient=True, redirect_stdout=terminal
    ) as shown:
        yield _Bars(shown, shown.add_task("brackets", total=count))
