"""Workers of a Dask cluster: one task at a time in each, which loads the model once.

A worker whose process ends takes a task with it, which another one then does. Each process uses one
GPU alone, and as many threads as Dask gave it.
"""

from __future__ import annotations

import logging
import os
import queue
import socket
import tempfile
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dfghdr_cli import __version__
from dfghdr_cli.children import start_resource_tracker
from dfghdr_cli.errors import DeviceError, DfghdrError, InputError, MissingPackageError
from dfghdr_cli.limits import MAX_PIXELS_VARIABLE
from dfghdr_cli.pipeline.workers.tasks import (
    Event,
    Outcome,
    Progress,
    Ready,
    Task,
    Tool,
    Trade,
    performed,
)
from dfghdr_cli.resources import cores, give_back_memory, keep_freed_memory, use_threads

log = logging.getLogger(__name__)

_LOCAL = "local:"
_ANSWER = 15
"""Seconds for a scheduler to answer."""
_LOOK = 1.0
"""Seconds between two looks at which workers there are."""
_ALONE = 10.0
"""Seconds without a worker after which that is said."""
_TRIES = 3
"""How often a task may take a worker with it, as Dask itself has it (`allowed-failures`)."""


@dataclass(frozen=True)
class _Call:
    """What goes with each task to a worker.

    Attributes:
        trade: what makes the tool.
        version: of the program that asks.
        level: of the log that is worth keeping.
        max_pixels: see `dfghdr_cli.limits`; empty for the usual bound.
        places: folders that a worker has to see.
        topic: of Dask's events, for progress.
    """

    trade: Trade
    version: str
    level: int
    max_pixels: str
    places: tuple[str, ...]
    topic: str


@dataclass(eq=False)
class _Worker:
    address: str
    loading: Any
    ready: bool = False
    task: Task | None = field(default=None)
    doing: Any = None


class Cluster:
    """The workers of a Dask scheduler; see `Workers`.

    To be used as a context. Workers may come and go meanwhile.
    """

    elsewhere = True

    def __init__(self, where: str, trade: Trade, *, level: int, places: Sequence[Path]) -> None:
        """Connect.

        Args:
            where: address of a scheduler, a scheduler's file (.json), or "local:N" for N processes
                on this computer.
            trade: what they do.
            level: of the log that is worth sending; see `logging`.
            places: folders that every worker has to see under the same names.

        Raises:
            MissingPackageError: dask.distributed is not installed.
            DeviceError: no scheduler answers.
            InputError: `where` cannot be meant.
        """
        self._where = where
        self._stack = ExitStack()
        self._client = _connected(where, self._stack)
        self._call = _Call(
            trade,
            __version__,
            level,
            os.environ.get(MAX_PIXELS_VARIABLE, ""),
            tuple(str(place.absolute()) for place in places),
            f"dfghdr-{uuid.uuid4().hex}",
        )
        self._workers: dict[str, _Worker] = {}
        self._said: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._refused: dict[str, DfghdrError] = {}
        self._ready: Ready | None = None
        self._alone_since: float | None = time.monotonic()
        self._looked = 0.0
        self._client.subscribe_topic(self._call.topic, lambda event: self._said.put(event[1]))

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        futures = [one for w in self._workers.values() for one in (w.loading, w.doing) if one]
        with suppress(Exception):  # the scheduler may be gone
            self._client.cancel(futures)
            self._client.unsubscribe_topic(self._call.topic)
        with suppress(Exception):
            self._stack.close()

    def run(self, tasks: Sequence[Task]) -> Iterator[Event]:
        """See `Workers`; a task whose worker ends is tried again by others, three times in all."""
        waiting = deque(tasks)
        lost: dict[int, int] = {}
        left = len(tasks)
        while left:
            self._look(waiting, lost)
            for worker in self._workers.values():
                if worker.ready and worker.task is None and waiting:
                    self._give(worker, waiting.popleft())
            try:
                said = self._said.get(timeout=_LOOK)
            except queue.Empty:
                continue
            for event in self._understood(said):
                left -= isinstance(event, Outcome)
                yield event

    def _look(self, waiting: deque[Task], lost: dict[int, int]) -> None:
        """See which workers there are; what those had that are gone is to be done again."""
        if time.monotonic() - self._looked < _LOOK:
            return
        self._looked = time.monotonic()
        there = set(self._client.scheduler_info(n_workers=-1)["workers"])
        for address in [one for one in self._workers if one not in there]:
            gone = self._workers.pop(address)
            self._client.cancel([f for f in (gone.loading, gone.doing) if f is not None])
            if gone.task is None:
                continue
            number = lost[gone.task.key] = lost.get(gone.task.key, 0) + 1
            if number < _TRIES:
                waiting.appendleft(Task(gone.task.key, self._call.trade.again(gone.task.work)))
                continue
            error = f"{number} workers ended while they were at it; look into their logs."
            self._said.put(Outcome(gone.task.key, None, error=error, exit_code=1, crashed=True))
        for address in there - self._workers.keys() - self._refused.keys():
            self._workers[address] = self._asked(address)
        self._say_if_alone()

    def _say_if_alone(self) -> None:
        if self._workers:
            self._alone_since = None
        elif self._refused:
            raise next(iter(self._refused.values()))
        elif self._alone_since is None:
            self._alone_since = time.monotonic()
        elif time.monotonic() - self._alone_since > _ALONE:
            self._alone_since = float("inf")  # once is enough
            log.warning(
                "%s has no worker; waiting. Start some by `dask worker %s`.",
                self._where,
                self._where,
            )

    def _asked(self, address: str) -> _Worker:
        """A worker that has begun to load what it needs."""
        loading = self._client.submit(
            _introduce, self._call, address, workers=[address], pure=False, priority=10
        )
        loading.add_done_callback(lambda _: self._said.put((address, "loading")))
        return _Worker(address, loading)

    def _give(self, worker: _Worker, task: Task) -> None:
        worker.task = task
        worker.doing = self._client.submit(
            _perform, self._call, task, workers=[worker.address], pure=False
        )
        worker.doing.add_done_callback(lambda _: self._said.put((worker.address, "doing")))

    def _understood(self, said: Any) -> Iterator[Event]:
        """Events of what came from the cluster."""
        if isinstance(said, Outcome):
            yield said
        elif isinstance(said, tuple) and len(said) == 2:
            yield from self._ended(*said)
        else:
            yield Progress(*said)

    def _ended(self, address: str, what: str) -> Iterator[Event]:
        worker = self._workers.get(address)
        future = getattr(worker, what, None)
        if worker is None or future is None or not future.done() or future.cancelled():
            return
        setattr(worker, what, None)
        error = future.exception()
        if what == "loading":
            said = error if error is not None else future.result()
            if isinstance(said, Ready) and self._ready and said.digest != self._ready.digest:
                said = DeviceError(f"{address} has another model of the name {said.name}.")
            if isinstance(said, Ready):
                worker.ready = True
                self._ready = self._ready or said
                yield said
                return
            self._refuse(address, said)
            return
        task, worker.task = worker.task, None
        assert task is not None
        if error is None:
            yield future.result()
            return
        yield Outcome(
            task.key,
            None,
            error=f"The worker {address} could not do it ({type(error).__name__}: {error}).",
            exit_code=1,
        )

    def _refuse(self, address: str, error: Any) -> None:
        if not isinstance(error, DfghdrError):
            error = DeviceError(
                f"The worker {address} cannot work ({type(error).__name__}: {error}); is the same "
                f"dfghdr, {__version__}, installed there?"
            )
        del self._workers[address]
        self._refused[address] = error
        if self._workers:
            log.warning("A worker is left out: %s", error)


def _connected(where: str, stack: ExitStack) -> Any:
    """A client, which goes with the stack."""
    try:
        import distributed
    except ImportError as error:
        raise MissingPackageError(
            "--dask needs the package distributed: pip install 'dfghdr[cluster]'."
        ) from error
    if not log.isEnabledFor(logging.INFO):
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
    if where.startswith(_LOCAL):
        count = where.removeprefix(_LOCAL)
        if not (count.isdecimal() and 0 < int(count) <= 64):
            raise InputError(f"--dask {where}: say local:N, N processes from 1 to 64.")
        start_resource_tracker()
        cluster = distributed.LocalCluster(
            n_workers=int(count),
            threads_per_worker=max(1, cores() // int(count)),
            processes=True,
            dashboard_address="127.0.0.1:0",  # any free port
            memory_limit=0,
            silence_logs=logging.CRITICAL,
        )
        stack.enter_context(cluster)
        return stack.enter_context(distributed.Client(cluster))
    of_file = where.endswith(".json")
    if of_file and not Path(where).is_file():
        raise InputError(f"{where} does not exist; start `dask scheduler --scheduler-file` first.")
    known: dict[str, Any] = {"scheduler_file": where} if of_file else {"address": where}
    try:
        return stack.enter_context(distributed.Client(**known, timeout=_ANSWER))
    except (OSError, TimeoutError, ValueError) as error:
        first = str(error).split("\n")[0] or "it does not answer"
        raise DeviceError(
            f"No Dask scheduler at {where} ({first}); start one by `dask scheduler`, and give "
            "--dask the address that it prints."
        ) from error


# What follows runs on the workers.

_ONE_AT_A_TIME = threading.Lock()
"""PyTorch's and OpenCV's numbers of threads, and warnings, are those of a process."""
_TOOLS: dict[Trade, Tool] = {}
_GPUS: dict[str, Any] = {}
"""The GPU that this process has for itself, with the lock that says so."""


def _introduce(call: _Call, address: str) -> Ready:
    """Load what is needed; what stands against working here is raised."""
    if call.version != __version__:
        raise DeviceError(
            f"The worker {address} has dfghdr {__version__}, and this computer {call.version}; "
            "install the same."
        )
    for place in call.places:
        if not Path(place).is_dir():
            raise InputError(
                f"The worker {address} on {socket.gethostname()} does not see {place}; mount the "
                "shared folder under the same name on all computers."
            )
    with _ONE_AT_A_TIME:
        tool = _tool(call)
    return Ready(tool.name, tool.device, tool.digest)


def _perform(call: _Call, task: Task) -> Outcome:
    """Do a task."""
    from distributed import get_worker

    worker = get_worker()

    def send(progress: Progress) -> None:
        said = progress.key, progress.done, progress.total, progress.what
        worker.log_event(call.topic, said)

    with _ONE_AT_A_TIME:
        tool = _tool(call)
        use_threads(worker.state.nthreads)
        try:
            return performed(tool, task, call.level, send)
        finally:
            give_back_memory()  # Dask stops workers that keep much


def _tool(call: _Call) -> Tool:
    if call.max_pixels:
        os.environ[MAX_PIXELS_VARIABLE] = call.max_pixels
    if call.trade not in _TOOLS:
        keep_freed_memory()
        _TOOLS.clear()  # of one model at a time
        _TOOLS[call.trade] = call.trade.tool(_own_gpu(call.trade.wanted_device))
    return _TOOLS[call.trade]


def _own_gpu(wanted: str) -> str | None:
    """A GPU that no other worker of this computer has; None where it needs none.

    A lock on a file that all processes see keeps it for as long as the process lives.

    Raises:
        DeviceError: there are GPUs, and all of them are taken.
    """
    import torch

    if wanted not in ("auto", "cuda") or not torch.cuda.is_available():
        return None
    for name in _GPUS:
        return name
    import fcntl

    for index in range(torch.cuda.device_count()):
        token = torch.cuda.get_device_properties(index).uuid
        file = (Path(tempfile.gettempdir()) / f"dfghdr-gpu-{token}.lock").open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            continue
        _GPUS[f"cuda:{index}"] = file
        return f"cuda:{index}"
    raise DeviceError(
        f"All {torch.cuda.device_count()} GPUs of {socket.gethostname()} are taken by other "
        "workers; start as many workers as there are GPUs."
    )
