"""What a person sees on stderr: errors, log lines, a progress bar; and results on stdout."""

from __future__ import annotations

import logging
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import typer

from dfghdr_cli.errors import DeviceError, DfghdrError, OutputError, is_out_of_memory

if TYPE_CHECKING:
    from rich.console import Console

    from dfghdr_cli.core.types import OnProgress

PACKAGE = "dfghdr_cli"
"""The logger above all of ours."""
_STYLES = {"debug": "dim", "info": "", "warning": "yellow", "error": "red", "critical": "red"}


@cache
def stderr_console() -> Console:
    """The one console on stderr; colours only on a terminal, and none where NO_COLOR is set."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def printable(text: str, keep: str = "") -> str:
    """Text that does nothing to a terminal: what is no character to be seen is written as code.

    File names, EXIF data and model cards may hold anything: control characters that move the
    cursor, marks that turn the direction of writing, and bytes that are no UTF-8.

    Args:
        text: any.
        keep: control characters to be left, such as line feeds.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        c
        if c in keep or unicodedata.category(c) not in _UNSEEN
        else c.encode("utf-8", "surrogateescape").decode("ascii", "backslashreplace")
        if "\udc80" <= c <= "\udcff"
        else c.encode("unicode_escape").decode()
        for c in text
    )


_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's categories of controls, formats, surrogates, and separators of lines and paragraphs."""


def print_plain(text: str) -> None:
    """Write text to stderr as it stands, lines and all: no markup, no wrapping."""
    with suppress(OSError):  # where stderr is full or closed, nothing can be said
        stderr_console().print(printable(text, "\n\t"), markup=False, soft_wrap=True)


def print_result(text: object) -> None:
    """Write a line to stdout: to a terminal without control characters, else byte for byte.

    Raises:
        OutputError: stdout takes no more.
        DeviceError: there is no memory left to write with.
    """
    line = str(text)
    terminal = sys.stdout is not None and sys.stdout.isatty()
    try:
        line.encode()
        typer.echo(printable(line, "\n\t") if terminal else line)
    except UnicodeEncodeError:  # a file name that is no UTF-8
        typer.echo(printable(line) if terminal else line.encode(errors="surrogateescape"))
    except BrokenPipeError:
        raise
    except OSError as error:
        raise refused_by_stdout(error) from error


def refused_by_stdout(error: Exception) -> DfghdrError:
    """What it means that stdout could not be written."""
    reason = getattr(error, "strerror", None) or error
    if is_out_of_memory(error):
        return DeviceError(
            f"There is not enough memory for standard output ({reason}); close other programs."
        )
    return OutputError(f"Standard output takes no more ({reason}); write it elsewhere.")


def print_error(sentence: str) -> None:
    """Write one sentence to stderr, marked as an error; brackets in it are no markup."""
    _print_marked("error", sentence)


def print_warning(sentence: str) -> None:
    """Write one sentence to stderr, marked as a warning, unless `--quiet`."""
    if logging.getLogger(PACKAGE).isEnabledFor(logging.WARNING):
        _print_marked("warning", sentence)


def print_status(sentence: str) -> None:
    """Write one sentence on what is going on to stderr, unless `--quiet`."""
    if logging.getLogger(PACKAGE).isEnabledFor(logging.WARNING):
        print_plain(printable(sentence))


class Report(Protocol):
    """What a command that writes files tells about it."""

    @property
    def outputs(self) -> Sequence[Path]:
        """The files."""
        ...

    @property
    def warnings(self) -> Sequence[str]:
        """Sentences for the user."""
        ...

    def to_json(self) -> str:
        """All of it as one JSON object."""
        ...


@dataclass(frozen=True)
class Json:
    """Where a report goes as JSON, as `--json` and `--json-file` say.

    Attributes:
        printed: to stdout.
        file: into this one.
        overwrite: which may be there already.
    """

    printed: bool = False
    file: Path | None = None
    overwrite: bool = False

    def check(
        self,
        outputs: Sequence[Path] = (),
        inputs: Callable[[], Iterable[Path]] = tuple,
    ) -> None:
        """Refuse, before any work, a file that cannot be written.

        Args:
            outputs: other files that the command writes.
            inputs: the files that it reads, and folders of such; asked for only if need be.

        Raises:
            OutputError: it cannot be, or exists, or is one of the outputs or inputs.
        """
        if self.file is not None:
            from dfghdr_cli.atomic import ensure_different, ensure_no_input, ensure_writable

            ensure_different([*outputs, self.file])
            if self.overwrite:
                ensure_no_input([self.file], _files_of(inputs()))
            ensure_writable(self.file, self.overwrite)

    def put(self, text: str) -> bool:
        """Write a report where it goes; whether that is stdout.

        Raises:
            OutputError: it cannot be written.
        """
        if self.file is not None:
            from dfghdr_cli.atomic import atomic_write

            with atomic_write(self.file, self.overwrite) as file:
                file.write(f"{text.rstrip()}\n".encode(errors="backslashreplace"))
        if self.printed:
            print_result(text.rstrip())
        return self.printed


def _files_of(paths: Iterable[Path]) -> Iterator[Path]:
    """Files as they are, and folders with what lies in them."""
    for path in paths:
        yield path
        with suppress(OSError):  # which is no folder, or cannot be read
            yield from path.iterdir()


def print_report(report: Report, json: Json) -> None:
    """Warnings to stderr; to stdout the paths of the files, or the report as JSON."""
    for warning in report.warnings:
        print_warning(warning)
    if json.put(report.to_json()):
        return
    for path in report.outputs:
        print_result(path)


def _print_marked(kind: str, text: str) -> None:
    from rich.text import Text

    line = Text.assemble((f"{kind}: ", _STYLES[kind]), printable(text))
    with suppress(OSError):  # where stderr is full or closed, nothing can be said
        stderr_console().print(line, soft_wrap=True)


class _OneLineHandler(logging.Handler):
    """Writes each record as one line: the bare message for info, else "warning: message"."""

    def emit(self, record: logging.LogRecord) -> None:
        message = " ".join(record.getMessage().split())
        if record.levelno == logging.INFO:
            print_plain(message)
        elif record.levelno < logging.INFO:
            _print_marked("debug", f"{record.name}: {message}")
        else:
            _print_marked(record.levelname.lower(), message)
        if record.exc_info and logging.getLogger(PACKAGE).isEnabledFor(logging.DEBUG):
            print_plain(logging.Formatter().formatException(record.exc_info))


def set_up_logging(verbosity: int) -> None:
    """Send log records to stderr, one clean line each; may be called again.

    Args:
        verbosity: -1 errors only, 0 warnings, 1 also info, 2 or more also debug records of this
            package. Other packages, and Python's own warnings, are heard one level later.
    """
    level = {-1: logging.ERROR, 0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG)
    everyone = logging.getLogger()
    for handler in [h for h in everyone.handlers if isinstance(h, _OneLineHandler)]:
        everyone.removeHandler(handler)
    everyone.addHandler(_OneLineHandler())
    everyone.setLevel(level + 10)
    logging.getLogger(PACKAGE).setLevel(level)
    logging.captureWarnings(True)


@contextmanager
def progress() -> Iterator[OnProgress]:
    """A progress bar on stderr, as a callback for the layers below.

    The bar is drawn only on a terminal and not after `--quiet`; it vanishes at the end. Otherwise
    the callback does nothing, so that log files stay clean.

    Yields:
        on_progress(done, total, what).
    """
    if not stderr_console().is_terminal or not logging.getLogger(PACKAGE).isEnabledFor(
        logging.WARNING
    ):
        yield lambda done, total, what: None
        return

    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr_console(), transient=True) as bar:
        task = bar.add_task("", total=None)

        def on_progress(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total or None, description=what)

        yield on_progress
