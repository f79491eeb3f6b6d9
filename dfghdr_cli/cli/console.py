"""What a person sees on stderr: errors, log lines, a progress bar; and results on stdout."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import typer

if TYPE_CHECKING:
    from rich.console import Console

OnProgress = Callable[[int, int, str], None]
"""on_progress(done, total, what): steps done, steps in all (0: unknown), what is being done."""

_PACKAGE = "dfghdr_cli"
_STYLES = {"debug": "dim", "info": "", "warning": "yellow", "error": "red", "critical": "red"}


@cache
def stderr_console() -> Console:
    """The one console on stderr; colours only on a terminal, and none where NO_COLOR is set."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def print_plain(text: str) -> None:
    """Write text to stderr exactly as it stands: no markup, no wrapping."""
    stderr_console().print(text, markup=False, soft_wrap=True)


def print_error(sentence: str) -> None:
    """Write one sentence to stderr, marked as an error; brackets in it are no markup."""
    _print_marked("error", sentence)


def print_warning(sentence: str) -> None:
    """Write one sentence to stderr, marked as a warning, unless `--quiet`."""
    if logging.getLogger(_PACKAGE).isEnabledFor(logging.WARNING):
        _print_marked("warning", sentence)


def print_status(sentence: str) -> None:
    """Write one sentence on what is going on to stderr, unless `--quiet`."""
    if logging.getLogger(_PACKAGE).isEnabledFor(logging.WARNING):
        print_plain(sentence)


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


def print_report(report: Report, as_json: bool) -> None:
    """Warnings to stderr; to stdout the paths of the files, or the report as JSON."""
    for warning in report.warnings:
        print_warning(warning)
    if as_json:
        typer.echo(report.to_json())
        return
    for path in report.outputs:
        typer.echo(path)


def _print_marked(kind: str, text: str) -> None:
    from rich.text import Text

    line = Text.assemble((f"{kind}: ", _STYLES[kind]), text)
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
        if record.exc_info and logging.getLogger(_PACKAGE).isEnabledFor(logging.DEBUG):
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
    logging.getLogger(_PACKAGE).setLevel(level)
    logging.captureWarnings(True)


@contextmanager
def progress() -> Iterator[OnProgress]:
    """A progress bar on stderr, as a callback for the layers below.

    The bar is drawn only on a terminal and not after `--quiet`; it vanishes at the end. Otherwise
    the callback does nothing, so that log files stay clean.

    Yields:
        on_progress(done, total, what).
    """
    if not stderr_console().is_terminal or not logging.getLogger(_PACKAGE).isEnabledFor(
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
