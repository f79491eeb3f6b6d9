"""What a program owes the system: to end well, whatever it is told, and to keep libraries quiet."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from dfghdr_cli.cli import console

_logger = logging.getLogger(__name__)

_PATIENCE = 1.0
"""Seconds in which a second Ctrl-C is taken for the first one."""
_SHOWN = 100_000  # bytes of what libraries print


class EndedError(BaseException):
    """A signal says that the program shall end. No `except Exception` is to stop that."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run(program: Callable[[], object]) -> None:
    """Call a program that ends in SystemExit, and end the process as the system expects it to.

    SIGINT, SIGTERM and SIGHUP unwind it, so that it cleans up behind itself, and end in 130, 143
    and 129. Of SIGINT the process then dies: a shell ends its loop only where it sees that, and
    says 130 then, too. A reader that is gone ends it quietly in 141, and a stdout that takes no
    more in 7. What libraries print on stderr is kept from it, but for --verbose.

    Raises:
        SystemExit: always.
    """
    code: int | str | None = 0
    interrupted = False
    with _libraries_kept_quiet(), _threads_kept_quiet(), _signals():
        try:
            program()
        except SystemExit as end:
            code = end.code
        except EndedError as end:
            code = 128 + end.number
            interrupted = end.number == signal.SIGINT
            if interrupted:
                console.print_plain("Interrupted.")
        except BrokenPipeError:
            code = 128 + getattr(signal, "SIGPIPE", 13)
        except OSError as error:  # what Typer prints itself, such as --help
            code = _refused(error)
        code = _last_words(code)
    if interrupted:
        die_of_interrupt()
    raise SystemExit(code)


def die_of_interrupt() -> None:
    """End the process by SIGINT, where the system has such a thing; else return."""
    if sys.platform != "win32":
        with suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)


def _last_words(code: int | str | None) -> int | str | None:
    """Hand over what stdout still holds; the exit code, or another where that fails."""
    if sys.stdout is None:
        return code
    try:
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        code = code or 128 + getattr(signal, "SIGPIPE", 13)
    except (OSError, ValueError) as error:
        if not code:
            code = _refused(error)
    with suppress(OSError, ValueError):  # Python would try again, and complain
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    return code


def _refused(error: Exception) -> int:
    refused = console.refused_by_stdout(error)
    console.print_error(str(refused))
    return refused.exit_code


@contextmanager
def _signals() -> Iterator[None]:
    """Signals that end the program raise `EndedError`; those that are ignored stay so."""
    first = 0.0

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if first == 0.0:
            first = time.monotonic()
            raise EndedError(number)
        if time.monotonic() - first > _PATIENCE:
            os._exit(128 + number)  # the next run sweeps up

    before = {}
    try:
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, end)
    except ValueError:  # not the main thread, as under another program
        pass
    try:
        yield
    finally:
        for number, handler in before.items():
            # Nothing more is to come of a signal that has done its work.
            signal.signal(number, signal.SIG_IGN if first else handler)


@contextmanager
def _threads_kept_quiet() -> Iterator[None]:
    """What fails in a library's thread, or where Python tidies up, is for those who debug.

    Where it matters, this thread hears of it, and says so in a sentence.
    """
    before = threading.excepthook, sys.unraisablehook

    def in_thread(failure: threading.ExceptHookArgs) -> None:
        _logger.debug("A thread failed:", exc_info=failure.exc_value)

    def nowhere(failure: Any) -> None:
        _logger.debug("Ignored:", exc_info=failure.exc_value)

    threading.excepthook, sys.unraisablehook = in_thread, nowhere
    try:
        yield
    finally:
        threading.excepthook, sys.unraisablehook = before


@contextmanager
def _libraries_kept_quiet() -> Iterator[None]:
    """Keep from stderr what is not written through Python, and show it at the end if wanted."""
    try:
        descriptor = sys.stderr.fileno()
        real = os.dup(descriptor)
    except (AttributeError, OSError, ValueError):  # there is no stderr, or not one of the system
        yield
        return
    try:
        kept = tempfile.TemporaryFile()  # noqa: SIM115
    except OSError:  # no place for it
        os.close(real)
        yield
        return
    python = sys.stderr
    raw = io.BufferedWriter(io.FileIO(real, "w"))
    with kept, io.TextIOWrapper(raw, python.encoding, "backslashreplace") as stream:
        stream.reconfigure(line_buffering=True)
        sys.stderr = stream
        python.flush()
        os.dup2(kept.fileno(), descriptor)
        try:
            yield
        finally:
            with suppress(OSError):
                if logging.getLogger(console.PACKAGE).isEnabledFor(logging.INFO):
                    kept.seek(0)
                    for line in kept.read(_SHOWN).decode(errors="replace").splitlines():
                        console.print_plain(console.printable(line))
            os.dup2(real, descriptor)
            sys.stderr = python
