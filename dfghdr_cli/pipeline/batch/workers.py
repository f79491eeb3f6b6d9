"""Processes that merge brackets, each of which loads PyTorch and the model once.

A process of its own for each bracket that is merged at the same time keeps what libraries hold for
a whole process apart (numbers of threads, warnings), and a crash of one costs one bracket.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from dfghdr_cli.errors import DeviceError, DfghdrError, is_out_of_memory
from dfghdr_cli.pipeline.batch.settings import MergeSettings

_OWN = "dfghdr_cli"
_PATIENCE = 5.0
"""Seconds for a process to end once it is asked to."""


@dataclass(frozen=True)
class Task:
    """A bracket as a worker gets it.

    Attributes:
        key: what the caller knows it by.
        paths: the photographs.
        outputs: the results.
        settings: how to merge.
        overwrite: whether results may be replaced.
        skip_existing: whether those that are there stay.
    """

    key: int
    paths: tuple[Path, ...]
    outputs: tuple[Path, ...]
    settings: MergeSettings
    overwrite: bool = False
    skip_existing: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        key: of the task.
        values: what `--json` of a single merge prints; None where it failed.
        warnings: sentences, of the merge and of the log.
        seconds: that it took.
        error: the sentence, or None.
        exit_code: of the error.
        crashed: whether the process that had it ended without a word.
    """

    key: int
    values: dict[str, Any] | None
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    error: str | None = None
    exit_code: int = 0
    crashed: bool = False


@dataclass(frozen=True)
class Progress:
    """How far a worker is with a task; see `dfghdr_cli.core.types.OnProgress`."""

    key: int
    done: int
    total: int
    what: str


@dataclass(frozen=True)
class Ready:
    """A worker has loaded what it needs.

    Attributes:
        name: of the model.
        device: where it computes.
    """

    name: str
    device: str


@dataclass(frozen=True)
class _Unable:
    """A worker cannot work at all."""

    error: DfghdrError


Event = Progress | Ready | Outcome


class Workers:
    """A number of processes that merge.

    To be used as a context; at its end all of them are gone.
    """

    def __init__(self, count: int, settings: MergeSettings, *, threads: int, level: int) -> None:
        """Start them.

        Args:
            count: how many.
            settings: whose method, model and device each loads.
            threads: that each may use.
            level: of the log that is worth sending; see `logging`.
        """
        self._context = multiprocessing.get_context("spawn")
        self._arguments = (settings, threads, level)
        self._workers = [self._started() for _ in range(count)]

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.close()
        ends = time.monotonic() + _PATIENCE
        for worker in self._workers:
            worker.process.join(max(0.0, ends - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()

    def _started(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs, *self._arguments), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def merge(self, tasks: Sequence[Task]) -> Iterator[Event]:
        """Merge brackets, as many at a time as there are workers.

        Args:
            tasks: the brackets, in the order in which they are begun.

        Yields:
            What happens, and for each task one `Outcome`. A task whose worker crashes is tried
            once more by another, and then given up.

        Raises:
            DfghdrError: a worker cannot work at all.
        """
        waiting, left = list(reversed(tasks)), len(tasks)
        tried: set[int] = set()
        while left:
            for index, worker in enumerate(self._workers):
                if worker.ended:
                    worker = self._workers[index] = self._started()
                if worker.ready and worker.task is None and waiting:
                    worker.give(waiting.pop())
            for event in self._heard():
                if isinstance(event, Outcome):
                    if event.crashed and event.key not in tried:
                        tried.add(event.key)
                        waiting.append(next(t for t in tasks if t.key == event.key))
                        continue
                    left -= 1
                yield event

    def _heard(self) -> Iterator[Event]:
        """What workers say; waits until one says something."""
        places = {worker.connection: worker for worker in self._workers if not worker.ended}
        for place in wait(list(places)):
            assert isinstance(place, Connection)
            worker = places[place]
            try:
                said = place.recv()
            except (EOFError, OSError):
                yield from self._crash(worker)
                continue
            if isinstance(said, _Unable):
                raise said.error
            if isinstance(said, Ready):
                worker.ready = True
            elif isinstance(said, Outcome):
                worker.task = None
            yield said

    def _crash(self, worker: _Worker) -> Iterator[Outcome]:
        worker.ended = True
        worker.process.join(_PATIENCE)
        code = worker.process.exitcode
        if worker.task is None:
            if not worker.ready:
                raise DeviceError(
                    f"A process that is to merge ended while it started ({_how(code)}); "
                    "close other programs, or let fewer of them run with --jobs."
                )
            return
        yield Outcome(
            worker.task.key,
            None,
            error=f"The process that merged it ended without a word ({_how(code)}); "
            "if memory ran short, let fewer of them run with --jobs.",
            exit_code=1,
            crashed=True,
        )


@dataclass(eq=False)
class _Worker:
    process: Any
    connection: Connection
    ready: bool = False
    ended: bool = False
    task: Task | None = field(default=None)

    def give(self, task: Task) -> None:
        self.task = task
        with suppress(OSError):  # that it has ended is heard next
            self.connection.send(task)

    def close(self) -> None:
        """Ask it to end: at once, where it is at work."""
        with suppress(OSError):
            self.connection.close()
        if self.task is not None and self.process.is_alive():
            self.process.terminate()


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        with suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"


def _work(connection: Connection, settings: MergeSettings, threads: int, level: int) -> None:
    """What a worker does, from its start to its end."""
    _end_with_parent()
    os.environ["OMP_NUM_THREADS"] = str(threads)
    voice = _Voice(connection)
    logger = logging.getLogger(_OWN)
    logger.addHandler(voice)
    logger.setLevel(level)
    logger.propagate = False
    try:
        from dfghdr_cli.resources import keep_freed_memory

        keep_freed_memory()
        import cv2
        import torch

        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
        merger = settings.merger()
        connection.send(Ready(merger.name, str(merger.device)))
    except DfghdrError as error:
        connection.send(_Unable(error))
        return
    while True:
        try:
            task = connection.recv()
        except (EOFError, OSError):
            return
        connection.send(_merged(merger, task, voice, connection.send))


def _merged(merger: Any, task: Task, voice: _Voice, send: Callable[[Any], None]) -> Outcome:
    from dfghdr_cli.pipeline.merge.run import merge_files

    started, said = time.perf_counter(), time.monotonic()

    def on_progress(done: int, total: int, what: str) -> None:
        nonlocal said
        if time.monotonic() - said > 0.1 or done == total:
            said = time.monotonic()
            send(Progress(task.key, done, total, what))

    voice.warnings.clear()
    values, error, code = None, None, 0
    warnings: tuple[str, ...] = ()
    try:
        request = task.settings.request(
            task.paths,
            task.outputs,
            overwrite=task.overwrite,
            skip_existing=task.skip_existing,
        )
        report = merge_files(merger, request, on_progress)
        values, warnings = report.values(), report.warnings
    except DfghdrError as problem:
        error, code = str(problem), problem.exit_code
    except Exception as problem:  # one bad bracket does not stop the rest
        logging.getLogger(_OWN).debug("Traceback:", exc_info=problem)
        code = DeviceError.exit_code if is_out_of_memory(problem) else 1
        error = (
            "There is not enough memory for it; let fewer run at a time with --jobs."
            if code != 1
            else f"This is a bug in dfghdr ({type(problem).__name__}: {problem}); please report it."
        )
    seconds = round(time.perf_counter() - started, 3)
    return Outcome(task.key, values, (*voice.warnings, *warnings), seconds, error, code)


class _Voice(logging.Handler):
    """Keeps the warnings of the task at hand, and prints nothing."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(logging.WARNING)
        self.warnings: list[str] = []
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        self.warnings.append(" ".join(record.getMessage().split()))


def _end_with_parent() -> None:
    """Leave Ctrl-C to the program that started this process, and end when that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, see prctl(2)
        if os.getppid() != parent:
            os._exit(1)
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
