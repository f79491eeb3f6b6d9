"""Merging a batch: what is left to do, doing it, and the record of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dfghdr_cli.atomic import ensure_no_input, ensure_writable, make_folder, recover
from dfghdr_cli.errors import OutputExistsError
from dfghdr_cli.limits import available_memory
from dfghdr_cli.pipeline.batch.manifest import (
    Entry,
    ManifestWriter,
    inputs_of,
    open_manifest,
    read_manifest,
)
from dfghdr_cli.pipeline.batch.merging import Bracket, Merging
from dfghdr_cli.pipeline.batch.plan import Job, folders_of
from dfghdr_cli.pipeline.batch.settings import MergeSettings
from dfghdr_cli.pipeline.workers.processes import Processes
from dfghdr_cli.pipeline.workers.tasks import Outcome, Progress, Ready, Task, Workers
from dfghdr_cli.resources import cores

Fate = Literal["merge", "there", "failed before"]

_WORKER = 450 << 20
"""Bytes of a worker with its libraries and a model, and what it keeps of them."""
_PIXEL, _FRAME_PIXEL, _DECIDED_PIXEL = 90, 10, 80
"""Bytes a pixel of the result, and of each frame; and of each frame of the picture that decides,
which is never larger than `_DECIDED`. See `dfghdr_cli.merging.memory` for more exact ones."""
_DECIDED = 2_500_000
"""Pixels; `MergeConfig.proxy_pixels`."""
_MOST_JOBS = 16
"""By itself a batch starts no more processes; each holds a model and a bracket."""


@dataclass(frozen=True)
class Existing:
    """What to do about results that exist.

    Attributes:
        overwrite: merge anew.
        keep: leave them, and merge the rest.
        retry_failed: also merge what failed in an earlier batch; else it is left alone where
            results are kept.
    """

    overwrite: bool = False
    keep: bool = False
    retry_failed: bool = False


@dataclass
class Todo:
    """A batch, sorted by what is to be done.

    Attributes:
        jobs: to be merged.
        there: whose results are there.
        failed_before: which failed in an earlier batch, with the error.
        remarks: sentences on what is not as it was.
    """

    jobs: list[Job] = field(default_factory=list)
    there: list[Job] = field(default_factory=list)
    failed_before: list[tuple[Job, str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def what_is_left(
    jobs: Sequence[Job], folder: Path, settings: MergeSettings, existing: Existing
) -> Todo:
    """Compare a batch with what its folder holds already.

    Args:
        jobs: all of it.
        folder: of the results and the manifest.
        settings: how to merge.
        existing: what to do about results.

    Raises:
        OutputExistsError: results are there, and nothing is said about it.
        InputError: the manifest cannot be read.
    """
    for place in {folder, *folders_of(jobs)}:
        recover(place)
    if not existing.keep:
        there = [path for job in jobs for path in job.there]
        if there and not existing.overwrite:
            more = f" and {len(there) - 1} more" if len(there) > 1 else ""
            raise OutputExistsError(
                f"{there[0]}{more} exist already; add --resume to merge what is left, --overwrite "
                "to merge all anew, or choose another folder."
            )
    entries = read_manifest(folder)
    todo = Todo()
    for job in jobs:
        entry = entries.get(job.name)
        changed = _changed(job, entry, settings) if existing.keep and job.complete else ""
        if existing.keep and job.complete and not (changed and existing.overwrite):
            todo.there.append(job)
            if changed:
                todo.remarks.append(
                    f"{job.name} was merged {changed}; its results stay, unless --overwrite is "
                    "given, too."
                )
        elif (
            existing.keep
            and not existing.retry_failed
            and entry is not None
            and entry.status == "failed"
            and entry.settings == settings.of_result()
            and entry.identity == _identity(job)
        ):
            todo.failed_before.append((job, entry.error or "it failed"))
        else:
            todo.jobs.append(job)
    return todo


def _identity(job: Job) -> list[tuple[str, int, int]]:
    return Entry("", "done", inputs_of(job.paths), (), {}).identity


def _changed(job: Job, entry: Entry | None, settings: MergeSettings) -> str:
    """What is not as it was when results were made; empty if all is, or nobody knows."""
    if entry is None or entry.status != "done":
        return ""
    if entry.identity != _identity(job):
        return "from other photographs, or these were changed since"
    now = settings.of_result()
    odd = [
        f"--{key.replace('_', '-')} {entry.settings.get(key)}, now {now[key]}"
        for key in now
        if entry.settings.get(key) != now[key]
    ]
    return f"with other settings ({'; '.join(odd)})" if odd else ""


@dataclass(frozen=True)
class Finished:
    """A bracket that was merged or not, as it is told.

    Attributes:
        job: the bracket.
        outcome: what became of it.
        number: how many are finished now, and
        count: of how many.
    """

    job: Job
    outcome: Outcome
    number: int
    count: int


@dataclass(frozen=True)
class Listener:
    """What is told while a batch runs; each does nothing unless said otherwise.

    Attributes:
        ready: a worker has loaded the model.
        progress: of a bracket.
        finished: a bracket is.
    """

    ready: Callable[[Ready], object] = lambda _: None
    progress: Callable[[Job, Progress], object] = lambda _, __: None
    finished: Callable[[Finished], object] = lambda _: None


def run_batch(
    jobs: Sequence[Job],
    folder: Path,
    settings: MergeSettings,
    *,
    existing: Existing,
    workers: Workers,
    listener: Listener | None = None,
) -> list[Finished]:
    """Merge brackets into a folder, and note each in its manifest.

    One that cannot be merged does not keep the others from being merged.

    Args:
        jobs: the brackets, none without photographs.
        folder: of the results, which is made if need be.
        settings: how to merge.
        existing: what to do about results that exist.
        workers: what merges, of these settings; see `started_workers`.
        listener: what is told meanwhile.

    Returns:
        What became of each, in the order in which they were finished.

    Raises:
        OutputExistsError: a result is there already, and nothing is said about it.
        OutputError: a folder or the manifest cannot be written, or a result would replace a
            photograph.
        DfghdrError: the model cannot be loaded, or the device is not there.
    """
    tell = listener or Listener()
    for place in (folder, *folders_of(jobs)):
        make_folder(place)
    _check_results(jobs, existing)
    brackets = [
        Bracket(
            tuple(job.paths),
            job.outputs,
            overwrite=existing.overwrite,
            skip_existing=existing.keep and not existing.overwrite,
        )
        for job in jobs
    ]
    if workers.elsewhere:
        brackets = [bracket.absolute() for bracket in brackets]
    tasks = [Task(number, bracket) for number, bracket in enumerate(brackets)]
    done: list[Finished] = []
    with open_manifest(folder) as manifest:
        for event in workers.run(tasks):
            if isinstance(event, Ready):
                tell.ready(event)
            elif isinstance(event, Progress):
                tell.progress(jobs[event.key], event)
            else:
                job = jobs[event.key]
                _note(manifest, folder, job, settings, event)
                done.append(Finished(job, event, len(done) + 1, len(jobs)))
                tell.finished(done[-1])
    return done


@contextmanager
def started_workers(
    jobs: Sequence[Job],
    folder: Path,
    settings: MergeSettings,
    *,
    at_a_time: int | None = None,
    dask: str | None = None,
    more: bool = False,
    level: int = 30,
) -> Iterator[Workers]:
    """Workers for a batch, which load their model at once; processes are gone at the end.

    Args:
        jobs: brackets like those to merge.
        folder: of the results; what processes that had to end left there is swept.
        settings: how to merge.
        at_a_time: how many to merge at the same time; None goes by the computer.
        dask: a Dask cluster to merge on, see `Cluster`; None merges on this computer.
        more: whether others will follow.
        level: of the log that is worth keeping; see `logging`.
    """
    try:
        if dask is not None:
            from dfghdr_cli.pipeline.workers.cluster import Cluster

            for place in (folder, *folders_of(jobs)):
                make_folder(place)
            places = {folder, *(path.parent for job in jobs for path in job.paths)}
            trade = Merging(settings.absolute())
            with Cluster(dask, trade, level=level, places=sorted(places)) as cluster:
                yield cluster
            return
        count = at_a_time or workers_for(jobs, settings, more=more)
        threads = max(1, cores() // count)
        with Processes(count, Merging(settings), threads=threads, level=level) as processes:
            yield processes
    finally:
        for place in {folder, *folders_of(jobs)}:
            recover(place)


def _check_results(jobs: Sequence[Job], existing: Existing) -> None:
    """Refuse, before the first merge, what could not be written after it."""
    inputs = [path for job in jobs for path in job.paths]
    for job in jobs:
        ensure_no_input(job.results, inputs)
        for path in job.results:
            if not (existing.keep and path.is_file()):
                ensure_writable(path, existing.overwrite)


_NOTED = ("model", "model_digest", "device", "reference", "exposures_from", "peak_memory_mib")


def _note(
    manifest: ManifestWriter, folder: Path, job: Job, settings: MergeSettings, outcome: Outcome
) -> None:
    details: dict[str, Any] = {
        "recognised": job.bracket.recognised,
        "doubts": list(job.bracket.doubts),
    }
    for key in _NOTED:
        if outcome.result and key in outcome.result:
            details[key] = outcome.result[key]
    results = job.results if outcome.error is None else ()
    manifest.append(
        Entry(
            job.name,
            "failed" if outcome.error else "done",
            inputs_of(job.paths),
            [os.path.relpath(path, folder) for path in results],
            settings.of_result(),
            outcome.warnings,
            outcome.seconds,
            outcome.error,
            outcome.exit_code,
            details,
        )
    )


def workers_for(jobs: Sequence[Job], settings: MergeSettings, *, more: bool = False) -> int:
    """How many brackets to merge at the same time: one a core, if there is memory for that.

    More than one on a GPU, too: while it works on one, the cores read and write others.

    Args:
        jobs: the brackets.
        settings: how to merge; `max_memory` is that of each.
        more: whether others will follow.
    """
    need = settings.max_memory or max(map(_memory, jobs), default=0)
    memory = available_memory()
    fitting = _MOST_JOBS if memory is None else int(0.8 * memory / max(1, need))
    at_once = cores() if more else min(cores(), len(jobs))
    return max(1, min(at_once, fitting, _MOST_JOBS))


def _memory(job: Job) -> int:
    """About what the merge of a bracket takes [bytes], with the program."""
    pixels, count = _pixels(job), len(job.paths)
    decided = min(pixels, _DECIDED)
    return _WORKER + pixels * (_PIXEL + _FRAME_PIXEL * count) + decided * _DECIDED_PIXEL * count


def _pixels(job: Job) -> int:
    """Of the largest frame; a raw file of unknown size is taken for one of a byte a pixel."""
    most = 0
    for shot, path in zip(job.bracket.shots, job.paths, strict=True):
        if shot.size is not None:
            most = max(most, shot.size[0] * shot.size[1])
        else:
            with suppress(OSError):
                most = max(most, path.stat().st_size)
    return most
