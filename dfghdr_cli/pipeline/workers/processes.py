"""Processes of this computer that do tasks, each of which loads PyTorch and the model once.

A process of its own for each task that is done at the same time keeps what libraries hold for a
whole process apart (numbers of threads, warnings), and a crash of one costs one task.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from dfghdr_cli.children import Leash, deaf_to_signals, follow
from dfghdr_cli.errors import DeviceError, DfghdrError
from dfghdr_cli.pipeline.workers.tasks import Event, Outcome, Ready, Task, Trade, performed

_PATIENCE = 5.0
"""Seconds for a process to end once it is asked to."""


@dataclass(frozen=True)
class _Unable:
    """A worker cannot work at all."""

    error: DfghdrError


class Processes:
    """A number of processes that do tasks of one trade; see `Workers`.

    To be used as a context; at its end all of them are gone.
    """

    elsewhere = False

    def __init__(self, count: int, trade: Trade, *, threads: int, level: int) -> None:
        """Start them.

        Args:
            count: how many.
            trade: what they do.
            threads: that each may use.
            level: of the log that is worth sending; see `logging`.
        """
        self._context = multiprocessing.get_context("spawn")
        self._trade = trade
        self._leash = Leash()
        self._arguments = (self._leash.end, trade, threads, level)
        self._workers = [self._started() for _ in range(count)]

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self._leash.let_go()
        ends = time.monotonic() + _PATIENCE
        for worker in self._workers:
            worker.process.join(max(0.0, ends - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()

    def _started(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs, *self._arguments), daemon=True)
        with deaf_to_signals():
            process.start()
        theirs.close()
        return _Worker(process, ours)

    def run(self, tasks: Sequence[Task]) -> Iterator[Event]:
        """See `Workers`; a task whose worker crashes is tried once more by another."""
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
                        lost = next(task for task in tasks if task.key == event.key)
                        waiting.append(Task(lost.key, self._trade.again(lost.work)))
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
            error=f"The process that worked on it ended without a word ({_how(code)}); "
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


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        with suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"


def _work(connection: Connection, end: Connection, trade: Trade, threads: int, level: int) -> None:
    """What a worker does, from its start to its end."""
    follow(end)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        from dfghdr_cli.resources import keep_freed_memory, use_threads

        keep_freed_memory()
        tool = trade.tool()
        use_threads(threads)
        connection.send(Ready(tool.name, tool.device, tool.digest))
    except DfghdrError as error:
        connection.send(_Unable(error))
        return
    while True:
        try:
            task = connection.recv()
        except (EOFError, OSError):
            return
        connection.send(performed(tool, task, level, connection.send))
