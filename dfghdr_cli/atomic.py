"""Results appear whole or not at all, and several of them together, whatever ends the program.

A result is written to a hidden file, `.dfghdr-TOKEN-N.part`, in the folder of its place, and one
rename puts it there. Where there are several, a journal, `.dfghdr-TOKEN.journal`, names them as
soon as all are complete and on disk. A run that is killed before that has changed nothing; if it is
killed later, the next run that looks into the folder puts the rest in place, see `recover`. A
process keeps a lock on its hidden files, which tells them from those that a killed one left behind.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from dfghdr_cli.errors import OutputError, OutputExistsError, OutputNameError

try:
    import fcntl
except ImportError:  # Windows: nothing is known to be left behind, so nothing is taken away
    fcntl = None

log = logging.getLogger(__name__)

PREFIX = ".dfghdr-"
"""What the names of all hidden files and folders begin with."""
_HIDDEN = re.compile(r"\.dfghdr-([0-9a-f]{16})(?:-[0-9a-z]+)?\.(part|journal)")
_LONGEST_JOURNAL = 1_000_000  # bytes


def ensure_writable(path: Path, overwrite: bool = False) -> None:
    """Refuse a result path that cannot be used, before any work is done for it.

    What a killed run left in the folder is finished or taken away first, see `recover`.

    Args:
        path: the file to be written later.
        overwrite: whether an existing file may be replaced.

    Raises:
        OutputExistsError: `path` exists and `overwrite` is false.
        OutputError: `path` is a folder or a device, or its folder is missing or not writable.
    """
    try:
        target = _target(path, overwrite)
        folder = target.parent
        recover(folder)
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
    except (OSError, RuntimeError, ValueError) as error:
        raise _unwritable(error, path) from error


def ensure_no_input(results: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Refuse to write a result over a file that the same command reads.

    Args:
        results: the files to be written, which need not exist.
        inputs: the files that are read, by whatever name.

    Raises:
        OutputError: a result is one of the inputs, perhaps by another name or through a link.
    """
    read = {_identity(path) for path in inputs} - {None}
    for path in results:
        if _identity(path) in read:
            raise OutputError(
                f"{path} is a file that this command reads; give the result another name."
            )


def _identity(path: Path) -> tuple[int, int] | None:
    """What a file is whatever it is called; None where there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


@contextmanager
def atomic_write(path: Path, overwrite: bool = False) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of `path` only once it is complete and on disk.

    The temporary file is removed whatever happens, Ctrl-C included. Without `overwrite` an
    existing file is never replaced, not even one that appears while the new one is being written.
    A file that is replaced leaves its permissions to the new one; of a link the target is replaced.

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

    What `atomic_write` promises holds for each of them. Where the process is killed while it puts
    them in their places, the next one that looks into their folder puts the rest there, too. Where
    one cannot be put in its place, those that were put there before are taken back, and what they
    replaced is there again, but on a file system without hard links.

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
    token = secrets.token_hex(8)
    journals: list[Path] = []
    hidden: list[_Hidden] = []
    try:
        with contextlib.ExitStack() as stack:
            for number, path in enumerate(paths):
                with _naming(path):
                    hidden.append(_Hidden.beside(_target(path, overwrite), path, token, number))
                    stack.callback(hidden[-1].close)
            with _naming(*paths):
                yield [one.file for one in hidden]
            for one in hidden:
                with _naming(one.asked):
                    one.file.flush()
                    os.fsync(one.file.fileno())
            with _naming(*paths):
                if len(hidden) > 1:
                    for journal in _write_journals(hidden, token, overwrite):
                        journals.append(journal.part)
                        stack.callback(journal.close)
                _publish_all(hidden, overwrite)
    finally:
        for path in [*(one.part for one in hidden), *reversed(journals)]:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def ensure_different(paths: Sequence[Path]) -> None:
    """Refuse to write two results to one file.

    Raises:
        OutputError: two of `paths` lead to the same place, or one cannot be looked at.
    """
    seen: set[Path] = set()
    for path in paths:
        try:
            place = path.parent.resolve() / path.name
        except (OSError, RuntimeError, ValueError) as error:
            raise _unwritable(error, path) from error
        if place in seen:
            raise OutputNameError(f"{path} is named for two results; give each a name of its own.")
        seen.add(place)


def recover(folder: Path) -> None:
    """Finish, or take away, what killed runs left in a folder.

    Results that a journal names are put in their places, as far as they are not there; hidden files
    that belong to no running process are deleted. What cannot be done now is left for later.

    Args:
        folder: where results are, or are to be; need not exist.
    """
    try:
        names = [entry.name for entry in os.scandir(folder) if _HIDDEN.fullmatch(entry.name)]
    except (OSError, ValueError):
        return
    for name in names:
        if name.endswith(".journal"):
            with contextlib.suppress(OSError):
                _finish(folder / name)
    for name in names:
        with contextlib.suppress(OSError):
            if name.endswith(".part") and not (folder / _journal_name(name)).exists():
                _sweep(folder / name)


@dataclass(frozen=True, slots=True)
class _Hidden:
    """A hidden file that this process holds the lock of.

    `asked` is the path that the caller named, and `target` the one to be replaced, which differs
    where the first is a link.
    """

    part: Path
    target: Path
    asked: Path
    file: BinaryIO

    @classmethod
    def beside(cls, target: Path, asked: Path, token: str, number: int | str) -> _Hidden:
        # Not derived from the name of the target, which may be as long as the system allows.
        part = target.parent / f"{PREFIX}{token}-{number}.part"
        while True:
            file = part.open("xb+")
            _lock(file.fileno(), wait=True)
            if os.fstat(file.fileno()).st_nlink:
                break
            file.close()  # taken for a stale one, and swept, before it was locked
        hidden = cls(part, target, asked, file)
        try:
            hidden._take_permissions()
        except BaseException:
            hidden.close()
            part.unlink(missing_ok=True)
            raise
        return hidden

    def _take_permissions(self) -> None:
        try:
            old = self.target.stat()
        except FileNotFoundError:
            return
        if not hasattr(os, "fchown"):
            return
        with contextlib.suppress(OSError):  # only root may give files away
            os.fchown(self.file.fileno(), old.st_uid, old.st_gid)
        with contextlib.suppress(OSError):
            os.fchmod(self.file.fileno(), stat.S_IMODE(old.st_mode) & 0o777)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # a full disk was reported when it was flushed
            self.file.close()


def _target(path: Path, overwrite: bool) -> Path:
    """Where a result goes: through a link, if that is to be overwritten."""
    return Path(os.path.realpath(path)) if overwrite and path.is_symlink() else path


def _write_journals(hidden: Sequence[_Hidden], token: str, overwrite: bool) -> Iterator[_Hidden]:
    """Say on disk that these files belong together; in force once the last one is yielded.

    The journal lies in the first file's folder; in the others' a reference leads to it.
    """
    first = hidden[0].target.parent
    files = [
        {
            "folder": os.path.relpath(one.target.parent, first),
            "part": one.part.name,
            "name": one.target.name,
            "file": [(status := os.fstat(one.file.fileno())).st_dev, status.st_ino],
        }
        for one in hidden
    ]
    folders = {one.target.parent.resolve(): one.target.parent for one in reversed(hidden)}
    others = [folder for place, folder in folders.items() if place != first.resolve()]
    contents: list[tuple[Path, dict[str, Any]]] = [
        (folder, {"journal": os.path.relpath(first, folder)}) for folder in others
    ]
    contents.append((first, {"overwrite": overwrite, "files": files}))
    for folder, content in contents:
        path = folder / f"{PREFIX}{token}.journal"
        written = _Hidden.beside(path, path, token, "journal")
        try:
            written.file.write(json.dumps(content).encode())
            written.file.flush()
            os.fsync(written.file.fileno())
            written.part.replace(path)
        except BaseException:
            written.close()
            written.part.unlink(missing_ok=True)
            raise
        _sync_folder(folder)
        yield _Hidden(path, path, path, written.file)


def _publish_all(hidden: Sequence[_Hidden], overwrite: bool) -> None:
    """Put files in their places; where one cannot be, take back those before it."""
    undo: list[Callable[[], object]] = []
    kept: list[Path] = []
    try:
        for one in hidden:
            with _naming(one.asked):
                if not overwrite:
                    _publish_new(one.part, one.target)
                    undo.append(one.target.unlink)
                    continue
                back = _keep(one, kept) if len(hidden) > 1 else None
                one.part.replace(one.target)
                if back is not None:
                    undo.append(back)
        for folder in {one.target.parent for one in hidden}:
            _sync_folder(folder)
    except BaseException:
        for step in undo:
            with contextlib.suppress(OSError):
                step()
        raise
    finally:
        for old in kept:
            with contextlib.suppress(OSError):
                old.unlink(missing_ok=True)


def _keep(one: _Hidden, kept: list[Path]) -> Callable[[], object] | None:
    """Give a file that is to be replaced a hidden name, too; returns what brings it back.

    None where it could not be given one, as on file systems without hard links.
    """
    old = one.part.with_name(one.part.name.removesuffix(".part") + "old.part")
    try:
        os.link(one.target, old)
    except FileNotFoundError:  # there is none, and there is to be none again
        return one.target.unlink
    except OSError:
        return None
    kept.append(old)
    return partial(old.replace, one.target)


def _finish(path: Path) -> None:
    """Do what a journal says, if the process that wrote it is gone."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    try:
        if not _lock(descriptor):
            return
        try:
            content = json.loads(os.read(descriptor, _LONGEST_JOURNAL))
            if "journal" in content:
                first = path.parent / content["journal"] / path.name
                if first.exists():
                    _finish(first)
                    if first.exists():
                        return
            else:
                _finish_files(path, content)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            pass  # it was not written by this program
        path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _finish_files(journal: Path, content: dict[str, Any]) -> None:
    """Put the files that a journal names in their places, those that are still as it says."""
    token = journal.name.removesuffix(".journal")
    done, left = [], []
    for entry in content["files"]:
        part, name = entry["part"], entry["name"]
        if Path(part).name != part or Path(name).name != name or not part.startswith(token):
            raise ValueError("a journal names files in one folder only")
        folder = journal.parent / entry["folder"]
        if _identity(folder / name) == tuple(entry["file"]):
            done.append(folder / name)
        elif _identity(folder / part) == tuple(entry["file"]):
            left.append((folder / part, folder / name))
    if len(done) + len(left) < len(content["files"]) and not done:
        return  # one went missing before the first was in its place: none is to be
    for part, path in left:
        # Empty is a name that was reserved, see `_publish_new`.
        if content["overwrite"] or (path.is_file() and not path.stat().st_size):
            part.replace(path)
        else:
            with contextlib.suppress(OutputExistsError):  # what came there meanwhile stays
                _publish_new(part, path)
        _sync_folder(path.parent)
    for entry in content["files"]:
        (journal.parent / entry["folder"] / entry["part"]).unlink(missing_ok=True)
    if left:
        names = ", ".join(str(path) for _, path in left)
        log.warning("%s: put there now, as an earlier run was stopped before it could.", names)


def _sweep(path: Path) -> None:
    """Delete a hidden file or folder whose process is gone."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags)
    try:
        if not _lock(descriptor):
            return
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, unless it is there.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be made a folder ({error.strerror}); choose another place."
        ) from error


@contextmanager
def hidden_name(place: Path) -> Iterator[Path]:
    """A free hidden name in a folder; what is left there at the end is deleted."""
    path = place / f"{PREFIX}{secrets.token_hex(8)}-name.part"
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


@contextmanager
def hidden_folder(place: Path) -> Iterator[Path]:
    """A new hidden folder, to be renamed by the caller; what is left of it at the end is deleted.

    Args:
        place: the folder to make it in.

    Raises:
        OSError: it cannot be made.
    """
    path = place / f"{PREFIX}{secrets.token_hex(8)}-folder.part"
    path.mkdir()
    descriptor = os.open(path, os.O_RDONLY) if fcntl else None
    try:
        if descriptor is not None:
            _lock(descriptor, wait=True)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def _journal_name(part: str) -> str:
    found = _HIDDEN.fullmatch(part)
    assert found is not None
    return f"{PREFIX}{found[1]}.journal"


def _lock(descriptor: int, wait: bool = False) -> bool:
    """Take the lock that a process keeps on its hidden files; False where it cannot be had."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


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


def _unwritable(error: Exception, *paths: Path) -> OutputError:
    reason = getattr(error, "strerror", None) or error
    return OutputError(
        f"{', '.join(map(str, paths))} cannot be written ({reason}); "
        "choose another place or free some space."
    )
