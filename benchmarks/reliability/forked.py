"""Runs of the program in forked children of one process that has loaded all that it needs.

A run then takes as long as its work, so that thousands can be tried. `Program.run` calls the
program's own `main` in a child, with its stdout and stderr in files; `verdict` says what is wrong
with how it ended, if anything is.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import io
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # a forked child has none of its parent's threads

LONGEST = 60.0  # seconds
LARGEST = 2.0  # GiB resident
_PIPE = 1 << 20  # bytes
CODES = frozenset(range(8))
_LOADED = (
    *("cv2", "imagecodecs", "OpenEXR", "rawpy", "tifffile", "exifread", "pillow_heif", "torch"),
    *("PIL.ImageCms", "rich.console", "rich.progress", "flip_evaluator"),
    *("dfghdr_cli.cli.app", "dfghdr_cli.library", "dfghdr_cli.pipeline.batch.run"),
    *("dfghdr_cli.pipeline.doctor", "dfghdr_cli.pipeline.evaluate.run"),
    *("dfghdr_cli.pipeline.evaluate.paper_report", "dfghdr_cli.pipeline.explore.run"),
    *("dfghdr_cli.pipeline.merge.run", "dfghdr_cli.pipeline.models"),
    *("dfghdr_cli.pipeline.tonemap", "dfghdr_cli.pipeline.train"),
    *("dfghdr_cli.io.avif", "dfghdr_cli.io.jxl", "dfghdr_cli.io.ultrahdr"),
)


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@dataclass
class Ending:
    """How a run ended.

    Attributes:
        code: exit code; minus the signal's number where one ended it.
        stdout: what it printed.
        stderr: likewise.
        seconds: wall clock.
        gigabytes: the largest resident memory [GiB].
        hung: whether it was killed because it took too long.
        odd: what is wrong with a file that it wrote.
    """

    code: int
    stdout: str
    stderr: str
    seconds: float
    gigabytes: float
    hung: bool
    odd: str


class Program:
    """The program, loaded."""

    def __init__(self) -> None:
        """Load all that it needs in any of its commands."""
        for name in _LOADED:
            try:
                importlib.import_module(name)
            except ImportError as error:
                if name.startswith("dfghdr_cli"):
                    raise
                say(f"without {name}: {error}")
        import cv2
        import PIL.Image

        cv2.setNumThreads(1)
        PIL.Image.preinit()
        gc.collect()
        gc.freeze()

    def start(
        self,
        arguments: Sequence[str],
        folder: Path,
        *,
        first: Callable[[], object] | None = None,
        last: Callable[[int], object] | None = None,
        variables: Mapping[str, str] | None = None,
        streams: tuple[int, int] | None = None,
    ) -> int:
        """Begin a run, in a process group of its own; returns its process id.

        Args:
            arguments: of the command line.
            folder: to run in.
            first: called in the child before the program.
            last: called in the child with the exit code, after the program.
            variables: of the environment, beside those that are there.
            streams: file descriptors of stdout and stderr; None is nowhere.
        """
        sys.stdout.flush()
        child = os.fork()
        if child:
            with contextlib.suppress(OSError):  # both do so, as nobody knows who comes first
                os.setpgid(child, child)
            return child
        code = 99
        try:
            code = _child(arguments, folder, first, last, variables or {}, streams)
        finally:
            os._exit(code)

    def run(
        self,
        arguments: Sequence[str],
        folder: Path,
        *,
        first: Callable[[], object] | None = None,
        check: bool = True,
        variables: Mapping[str, str] | None = None,
        longest: float = LONGEST,
    ) -> Ending:
        """Run the program to its end; see `start`.

        Args:
            arguments: of the command line.
            folder: to run in.
            first: called in the child before the program.
            check: whether to read what it wrote.
            variables: of the environment, beside those that are there.
            longest: seconds after which it is killed.
        """
        out, err, words = pipes = [_pipe() for _ in range(3)]

        def last(code: int) -> None:
            if check and code == 0:
                os.write(words[1], what_is_odd(folder).encode()[:_PIPE])

        began = time.monotonic()
        child = self.start(
            arguments, folder, first=first, last=last, variables=variables, streams=(out[1], err[1])
        )
        for _, write in pipes:
            os.close(write)
        hung = not ended_within(child, longest)
        if hung:
            os.killpg(child, signal.SIGKILL)
        _, status, usage = os.wait4(child, 0)
        seconds = time.monotonic() - began
        texts = []
        for read, _ in pipes:
            with io.FileIO(read) as file:
                texts.append(file.readall().decode(errors="replace"))
        code = os.waitstatus_to_exitcode(status)
        return Ending(code, *texts[:2], seconds, usage.ru_maxrss / 2**20, hung, texts[2])


def _pipe() -> tuple[int, int]:
    """A pipe that holds all that a run says, so that nobody has to read meanwhile."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, _PIPE)
    return read, write


def ended_within(child: int, seconds: float) -> bool:
    """Wait for a child process, which stays to be reaped; whether it has ended."""
    descriptor = os.pidfd_open(child)
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def _child(
    arguments: Sequence[str],
    folder: Path,
    first: Callable[[], object] | None,
    last: Callable[[int], object] | None,
    variables: Mapping[str, str],
    streams: tuple[int, int] | None,
) -> int:
    os.setpgid(0, 0)
    os.chdir(folder)
    os.environ.update(variables)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number, descriptor in enumerate((nowhere, *(streams or (nowhere, nowhere)))):
        os.dup2(descriptor, number)
    sys.argv = ["dfghdr", *arguments]
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False, errors="backslashreplace")  # noqa: SIM115
    from dfghdr_cli.__main__ import main

    if first:
        first()
    code = 98
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    if last:
        last(code)
    return code


def what_is_odd(folder: Path) -> str:
    """What is wrong with the pictures and figures in a folder that are called result*; "" if none.

    All must be whole; light must be finite, not negative, and somewhere.
    """
    import cv2
    import imagecodecs
    import numpy as np
    import OpenEXR

    words = []
    for path in sorted(Path(folder).rglob("result*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        try:
            match path.suffix:
                case ".exr":
                    with OpenEXR.File(io.BytesIO(data)) as file:
                        light = file.channels()["RGB"].pixels
                        lossy = "DWA" in str(file.header()["compression"])
                    # What DWA loses may fall below 0.
                    floor = -1e-3 * light.max() if lossy else 0
                    if not np.isfinite(light).all() or light.min() < floor:
                        words.append(f"{path.name} holds {light.min()} to {light.max()}")
                case ".hdr":
                    if cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) is None:
                        words.append(f"{path.name} is not whole")
                case ".json":
                    json.loads(data)
                case ".jpg" | ".png" | ".tif" | ".avif" | ".jxl" | ".dng":
                    imagecodecs.imread(data)
        except Exception as error:
            words.append(f"{path.name}: {type(error).__name__}: {error}"[:200])
    return "; ".join(words)


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder below a folder, hidden ones, too, by name: inode and time of change."""
    found = {}
    for path in Path(folder).rglob("*"):
        status = path.lstat()
        directory = path.is_dir() and not path.is_symlink()
        found[str(path.relative_to(folder))] = (
            status.st_ino,
            0 if directory else status.st_mtime_ns,
        )
    return found


def verdict(
    ending: Ending,
    before: Mapping[str, tuple[int, int]],
    after: Mapping[str, tuple[int, int]],
    *,
    partly: bool = False,
) -> str:
    """What is wrong with how a run ended; "" where nothing is.

    Args:
        ending: of the run.
        before: `contents` of its folder.
        after: likewise.
        partly: whether a part may fail, and exit code 1 with some results be right.
    """
    said = ending.stderr + ending.stdout
    errors = [line for line in ending.stderr.splitlines() if line.startswith("error: ")]
    new = sorted(name for name in after if after[name] != before.get(name))
    lost = sorted(name for name in before if name not in after)
    problems = {
        f"hang: killed after {ending.seconds:.0f} s": ending.hung,
        f"crash: signal {-ending.code}": ending.code < 0 and not ending.hung,
        f"bug: {said.strip()[-400:]}": "Traceback (most" in said or "This is a bug" in said,
        f"memory: {ending.gigabytes:.2f} GiB": ending.gigabytes > LARGEST,
        f"code: {ending.code}": ending.code not in CODES or (ending.code == 1 and not partly),
        f"left behind: {new}": any(".dfghdr-" in name for name in new),
        f"lost: {lost}": bool(lost),
        f"wrong: {ending.odd}": bool(ending.odd),
        f"failed, but wrote: {new}": ending.code > 1 and bool(new) and not partly,
        f"words: {ending.stderr[-400:]}": ending.code > 2 and len(errors) != 1,
    }
    return next((problem for problem, true in problems.items() if true), "")
