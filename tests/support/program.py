"""The real program with a sub-command of the test's, to be started as a process of its own."""

from __future__ import annotations

import sys

_PROGRAM = """
import logging, os, sys, time, warnings
from pathlib import Path
from dfghdr_cli import errors
from dfghdr_cli.atomic import atomic_write
from dfghdr_cli.cli import console
from dfghdr_cli.cli.app import app, main

@app.command("try")
def attempt() -> None:
    {body}

sys.argv = ["dfghdr", *{arguments!r}, "try"]
main()
"""


def program(body: str, *arguments: str) -> list[str]:
    """Arguments for subprocess: the real program with a sub-command `try` that does `body`."""
    return [sys.executable, "-c", _PROGRAM.format(body=body, arguments=arguments)]
