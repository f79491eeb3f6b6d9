"""Results appear whole or not at all: a hidden file in the same folder, then one rename."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Sequence
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
        raise _unwritable(error, path) from error


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
    with atomic_write_all([path], overwrite) as (file,):
        yield file


@contextmanager
def atomic_write_all(paths: Sequence[Path], overwrite: bool = False) -> Iterator[list[BinaryIO]]:
    """Open several new files that appear together, once all of them are complete and on disk.

    What `atomic_write` promises holds for each of them. Where one cannot be put in its place,
    those that were put there before are taken away again; only under `overwrite` they stay, since
    the files they replaced are gone.

    Args:
        paths: the files to write, all different.
        overwrite: whether existing files may be replaced.

    Yields:
        The temporary files in the order of `paths`, open for reading and writing bytes.

    Raises:
        OutputExistsError: one of `paths` exists and `overwrite` is false.
        OutputError: a file cannot be written (no such folder, no permission, disk full), or one
            is named twice.
    """
    ensure_different(paths)
    for path in paths:
        ensure_writable(path, overwrite)
    # Not derived from the name of the target, which may already be as long as the system allows.
    parts = [path.parent / f".dfghdr-{secrets.token_hex(8)}.part" for path in paths]
    published: list[Path] = []
    try:
        with contextlib.ExitStack() as stack:
            files = [
                stack.enter_context(_open_new(part, path))
                for part, path in zip(parts, paths, strict=True)
            ]
            with _naming(*paths):
                yield files
            for file, path in zip(files, paths, strict=True):
                with _naming(path):
                    file.flush()
                    os.fsync(file.fileno())
        for part, path in zip(parts, paths, strict=True):
            with _naming(path):
                if overwrite:
                    part.replace(path)
                else:
                    _publish_new(part, path)
                    published.append(path)
        for folder in {path.parent for path in paths}:
            _sync_folder(folder)
    except BaseException:
        for path in published:
            with contextlib.suppress(OSError):
                path.unlink()
        raise
    finally:
        for part in parts:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


def ensure_different(paths: Sequence[Path]) -> None:
    """Refuse to write two results to one file.

    Raises:
        OutputError: two of `paths` lead to the same place.
    """
    seen: set[Path] = set()
    for path in paths:
        place = path.parent.resolve() / path.name
        if place in seen:
            raise OutputError(f"{path} is named for two results; give each a name of its own.")
        seen.add(place)


@contextmanager
def _open_new(part: Path, path: Path) -> Iterator[BinaryIO]:
    """The temporary file of `path`; what fails while it is open is blamed on `path`."""
    with _naming(path):
        file = part.open("xb+")
    try:
        yield file
    finally:
        with contextlib.suppress(OSError):  # a full disk was reported when it was flushed
            file.close()


@contextmanager
def _naming(*paths: Path) -> Iterator[None]:
    """Turn what the system says into a sentence about `paths`."""
    try:
        yield
    except OSError as error:
        raise _unwritable(error, *paths) from error


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


def _unwritable(error: OSError, *paths: Path) -> OutputError:
    return OutputError(
        f"{', '.join(map(str, paths))} cannot be written ({error.strerror or error}); "
        "choose another place or free some space."
    )
