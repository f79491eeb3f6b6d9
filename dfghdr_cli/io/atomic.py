"""Results appear whole or not at all: a hidden file in the same folder, then one rename."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from dfghdr_cli.errors import OutputError, OutputExistsError


def ensure_writable(path: Path, overwrite: bool = False) -> None:
    """Refuse a result path that cannot be used, before any work is done for it.

    Args:
        path: the file to be written later.
        overwrite: whether an existing file may be replaced.

    Raises:
        OutputExistsError: `path` exists and `overwrite` is false.
        OutputError: `path` is a folder or a device, or its folder is missing or not writable.
    """
    folder = path.parent
    try:
        if path.is_dir():
            raise OutputError(f"{path} is a folder; give the result a file name.")
        if path.exists() and not path.is_file():
            raise OutputError(f"{path} is not a regular file; write to a file and copy it there.")
        if os.path.lexists(path) and not overwrite:
            raise _exists(path)
        if not folder.is_dir():
            what = "is not a folder" if folder.exists() else "does not exist"
            raise OutputError(f"{path} cannot be written: {folder} {what}; create that folder.")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OutputError(
                f"{path} cannot be written: the folder {folder} is not writable; "
                "choose another one or change its permissions."
            )
    except OSError as error:
        raise _unwritable(path, error) from error


@contextmanager
def atomic_write(path: Path, overwrite: bool = False) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of `path` only once it is complete and on disk.

    The temporary file is removed whatever happens, Ctrl-C included. Without `overwrite` an
    existing file is never replaced, not even one that appears while the new one is being written.

    Args:
        path: the file to write.
        overwrite: whether an existing file may be replaced.

    Yields:
        The temporary file, open for reading and writing bytes.

    Raises:
        OutputExistsError: `path` exists and `overwrite` is false.
        OutputError: the file cannot be written (no such folder, no permission, disk full).
    """
    ensure_writable(path, overwrite)
    # Not derived from the name of the target, which may already be as long as the system allows.
    temporary = path.parent / f".dfghdr-{secrets.token_hex(8)}.part"
    try:
        with temporary.open("xb+") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            temporary.replace(path)
        else:
            _publish_new(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _publish_new(temporary: Path, path: Path) -> None:
    """Give `temporary` the name `path` unless that name is taken, without a gap between the two."""
    try:
        os.link(temporary, path)
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError:  # a file system without hard links: reserve the name, then replace it
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError as error:
            raise _exists(path) from error
        try:
            temporary.replace(path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _exists(path: Path) -> OutputExistsError:
    return OutputExistsError(f"{path} exists already; add --overwrite or choose another name.")


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path} cannot be written ({error.strerror or error}); "
        "choose another place or free some space."
    )
