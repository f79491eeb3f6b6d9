"""What is done many times, what does it, and what is told of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from dfghdr_cli.core.types import OnProgress
from dfghdr_cli.errors import DeviceError, DfghdrError, is_out_of_memory

_OWN = "dfghdr_cli"
_BETWEEN = 0.1
"""Seconds between two words on the progress of one task."""


class Tool(Protocol):
    """What does tasks: loaded once in a process, and used for any number of them."""

    @property
    def name(self) -> str:
        """Of the model or method."""
        ...

    @property
    def device(self) -> str:
        """Where it computes."""
        ...

    @property
    def digest(self) -> str | None:
        """Of the weights, which are to be the same everywhere."""
        ...

    def do(self, work: Any, on_progress: OnProgress) -> tuple[Any, Sequence[str]]:
        """Do one task; what came of it, and warnings."""
        ...


class Trade(Protocol):
    """Plain values, which travel to other processes and make a tool there."""

    def tool(self, device: str | None = None) -> Tool:
        """Load what is needed.

        Args:
            device: where to compute; None goes by the trade's own word.

        Raises:
            DfghdrError: the model cannot be loaded, or the device is not there.
        """
        ...

    @property
    def wanted_device(self) -> str:
        """Where to compute, as `--device` takes it."""
        ...

    def again(self, work: Any) -> Any:
        """The same work once more, of which another process may have done all or a part."""
        ...


@dataclass(frozen=True)
class Task:
    """One piece of work.

    Attributes:
        key: what the caller knows it by.
        work: what `Tool.do` takes.
    """

    key: int
    work: Any


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        key: of the task.
        result: what `Tool.do` gave; None where it failed.
        warnings: sentences, of the tool and of the log.
        seconds: that it took.
        error: the sentence, or None.
        exit_code: of the error.
        crashed: whether the process that had it ended without a word.
    """

    key: int
    result: Any
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    error: str | None = None
    exit_code: int = 0
    crashed: bool = False

    def as_error(self) -> DfghdrError:
        """The error that it failed by."""
        error = DfghdrError(self.error)
        error.exit_code = self.exit_code
        return error


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
        digest: of the weights.
    """

    name: str
    device: str
    digest: str | None = None


Event = Progress | Ready | Outcome


class Workers(Protocol):
    """What does many tasks at the same time."""

    @property
    def elsewhere(self) -> bool:
        """Whether they may be on other computers, so that paths have to be absolute."""
        ...

    def run(self, tasks: Sequence[Task]) -> Iterator[Event]:
        """Do tasks, as many at a time as there are workers.

        Args:
            tasks: in the order in which they are begun.

        Yields:
            What happens, and for each task one `Outcome`, in the order in which they end.

        Raises:
            DfghdrError: nobody can work at all.
        """
        ...


def performed(tool: Tool, task: Task, level: int, send: Callable[[Progress], None]) -> Outcome:
    """Do a task, whatever comes of it.

    Args:
        tool: what does it.
        task: the task.
        level: of the log that is worth keeping; see `logging`.
        send: is told of progress, not too often.
    """
    started, said = time.perf_counter(), time.monotonic()

    def on_progress(done: int, total: int, what: str) -> None:
        nonlocal said
        if time.monotonic() - said > _BETWEEN:
            said = time.monotonic()
            send(Progress(task.key, done, total, what))

    result, error, code = None, None, 0
    warnings: Sequence[str] = ()
    with _voice_of_log(level) as heard:
        try:
            result, warnings = tool.do(task.work, on_progress)
        except DfghdrError as problem:
            error, code = str(problem), problem.exit_code
        except Exception as problem:  # one bad task does not stop the rest
            logging.getLogger(_OWN).debug("Traceback:", exc_info=problem)
            code = DeviceError.exit_code if is_out_of_memory(problem) else 1
            error = (
                "There is not enough memory for it; let fewer run at a time with --jobs."
                if code != 1
                else f"This is a bug in dfghdr ({type(problem).__name__}: {problem}); "
                "please report it."
            )
    seconds = round(time.perf_counter() - started, 3)
    return Outcome(task.key, result, (*heard, *warnings), seconds, error, code)


@contextmanager
def _voice_of_log(level: int) -> Iterator[list[str]]:
    """The warnings of this package within the block, which prints nothing."""
    logger, voice = logging.getLogger(_OWN), _Voice()
    before = logger.level, logger.propagate
    logger.addHandler(voice)
    logger.setLevel(level)
    logger.propagate = False
    try:
        yield voice.warnings
    finally:
        logger.removeHandler(voice)
        logger.setLevel(before[0])
        logger.propagate = before[1]


class _Voice(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.warnings: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.warnings.append(" ".join(record.getMessage().split()))
