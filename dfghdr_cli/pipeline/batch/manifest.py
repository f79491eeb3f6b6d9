"""The record of a batch: a line of JSON for each bracket that was tried, the last one counts."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dfghdr_cli import __version__
from dfghdr_cli.errors import InputError, OutputError

try:
    import fcntl
except ImportError:  # Windows: two batches into one folder are the user's own doing
    fcntl = None

NAME = "dfghdr-batch.jsonl"
_LONGEST = 1 << 28
"""Bytes of a manifest that are read."""

Status = Literal["done", "failed"]


@dataclass(frozen=True)
class Entry:
    """What became of a bracket.

    Attributes:
        name: of its results.
        status: whether it was merged.
        inputs: of each photograph `file`, `size` [bytes] and `mtime_ns`.
        outputs: the files it left, relative to the manifest's folder.
        settings: see `MergeSettings.of_result`.
        warnings: sentences.
        seconds: that it took.
        error: the sentence, where it was not merged.
        exit_code: what `dfghdr merge` would have ended with.
        details: what else is worth knowing: model, exposures, how it was recognised.
    """

    name: str
    status: Status
    inputs: Sequence[dict[str, Any]]
    outputs: Sequence[str]
    settings: dict[str, Any]
    warnings: Sequence[str] = ()
    seconds: float = 0.0
    error: str | None = None
    exit_code: int = 0
    details: dict[str, Any] = field(default_factory=dict)

    def line(self) -> bytes:
        """One line of JSON, with its end."""
        values = {
            "name": self.name,
            "status": self.status,
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "settings": self.settings,
            "warnings": list(self.warnings),
            "seconds": self.seconds,
            "error": self.error,
            "exit_code": self.exit_code,
            "details": self.details,
            "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "version": __version__,
        }
        return json.dumps(values).encode() + b"\n"

    @property
    def identity(self) -> list[tuple[str, int, int]]:
        """Names, sizes and times of the photographs, wherever they lie."""
        return sorted((Path(i["file"]).name, i["size"], i["mtime_ns"]) for i in self.inputs)


def inputs_of(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Photographs as an entry has them; one that is gone has no size."""
    found = []
    for path in paths:
        try:
            status = path.stat()
            size, changed = status.st_size, status.st_mtime_ns
        except OSError:
            size, changed = -1, 0
        found.append({"file": str(path), "size": size, "mtime_ns": changed})
    return found


def read_manifest(folder: Path) -> dict[str, Entry]:
    """The last entry of each name; empty where there is no manifest.

    A last line that a power cut left half written is passed over.

    Args:
        folder: of the results.

    Raises:
        InputError: it cannot be read, or another line is no entry.
    """
    path = folder / NAME
    try:
        with path.open("rb") as file:
            lines = file.read(_LONGEST).split(b"\n")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check it.") from error
    entries: dict[str, Entry] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = _entry(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            if number < len(lines) - 1 and not line.startswith(b"{"):
                raise InputError(
                    f"{path} is no manifest of dfghdr (line {number}); move it away, or choose "
                    "another folder."
                ) from error
            continue  # cut off
        entries[entry.name] = entry
    return entries


def _entry(values: dict[str, Any]) -> Entry:
    inputs = [{key: one[key] for key in ("file", "size", "mtime_ns")} for one in values["inputs"]]
    return Entry(
        str(values["name"]),
        "done" if values["status"] == "done" else "failed",
        inputs,
        tuple(str(path) for path in values["outputs"]),
        dict(values["settings"]),
        tuple(str(text) for text in values["warnings"]),
        float(values["seconds"]),
        values["error"],
        int(values["exit_code"]),
        dict(values["details"]),
    )


class ManifestWriter:
    """Appends entries, each of which is on disk, whole, when `append` returns."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._descriptor = path, descriptor

    def append(self, entry: Entry) -> None:
        """Write one entry.

        Raises:
            OutputError: it cannot be written.
        """
        try:
            line = entry.line()
            if self._torn():
                line = b"\n" + line
            left = memoryview(line)
            while left:
                left = left[os.write(self._descriptor, left) :]
            os.fsync(self._descriptor)
        except OSError as error:
            raise OutputError(
                f"{self._path} cannot be written ({error.strerror}); free some space."
            ) from error

    def _torn(self) -> bool:
        """Whether the last line lacks its end, as after a power cut."""
        size = os.fstat(self._descriptor).st_size
        if not size:
            return False
        os.lseek(self._descriptor, size - 1, os.SEEK_SET)  # which appending does not heed
        return os.read(self._descriptor, 1) != b"\n"


@contextmanager
def open_manifest(folder: Path) -> Iterator[ManifestWriter]:
    """The manifest of a folder, for this process alone.

    Raises:
        OutputError: it cannot be written, or another batch writes there now.
    """
    path = folder / NAME
    try:
        plain = getattr(os, "O_BINARY", 0)  # of Windows
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | plain, 0o666)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror}); choose another folder."
        ) from error
    try:
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise OutputError(
                    f"Another batch writes into {folder}; wait for it, or choose another folder."
                ) from error
            except OSError:  # a file system without locks
                pass
        yield ManifestWriter(path, descriptor)
    finally:
        with suppress(OSError):
            os.close(descriptor)
