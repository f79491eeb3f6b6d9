"""The first look at an input file, so that every reader refuses a bad one in the same words."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from threading import Thread

from dfghdr_cli.errors import InputError

_MOST = 16
"""Files of a folder that are read ahead: what is no bracket is not dragged in."""


def read_head(path: Path, length: int = 32) -> bytes:
    """The first bytes of a file, which tell its real format.

    Args:
        path: the file.
        length: how many bytes to read at most.

    Returns:
        1 to `length` bytes.

    Raises:
        InputError: the file is missing, a folder, unreadable, not a regular file, or empty.
    """
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; give an image file.")
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is not a regular file; copy its content to a file first.")
        with path.open("rb") as file:
            head = file.read(length)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; check the name.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{path} cannot be opened ({reason}); check the name and its permissions."
        ) from error
    if not head:
        raise InputError(f"{path} is empty; copy or export it again.")
    return head


def read_ahead(paths: Sequence[Path]) -> None:
    """Let the system bring files into its cache while the program still loads its libraries.

    Nothing is waited for, and what is wrong with a file is left to its reader. Does nothing where
    the system offers no such thing (posix_fadvise(2)).

    Args:
        paths: files, or folders that hold them.
    """
    if hasattr(os, "posix_fadvise"):
        Thread(target=_read_ahead, args=(paths,), daemon=True).start()


def _read_ahead(paths: Sequence[Path]) -> None:
    for path in paths:
        with suppress(OSError, ValueError):
            for name in islice(path.iterdir(), _MOST) if path.is_dir() else [path]:
                if name.is_file():
                    with name.open("rb") as file:
                        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
