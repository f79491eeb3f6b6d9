"""Faults of the system: disks that are full or broken, memory that is short: faults.py [--every N].

    nice python benchmarks/reliability/faults.py

Each command is run on a disk that is full after so many bytes, with every change to the names of
files refused once, and under limits of memory. It must succeed, or end in one sentence with a code
that means it, such as 7 for disks and 6 for memory; and then all must be as after a kill, see
killed.py.
"""

from __future__ import annotations

import argparse
import errno
import os
import resource
import signal
import tempfile
from pathlib import Path
from typing import Any

from forked import Ending, Program, contents, say, verdict
from killed import TASKS, Task, before_change, checked, prepared
from seeds import write_seeds

BYTES = (0, 1, 100, 1000, 3000, 10_000, 30_000, 100_000, 300_000)
MEMORY = (0, 8, 16, 32, 48, 64, 96, 128, 192, 256, 384)  # MiB beyond what is there already
REASONS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EDQUOT)
_ANY, _ROOM = {0, 3, 4, 5, 6, 7}, {0, 6}
_DISK = {0, 4, 5, 6, 7}  # 6, as what PyTorch shares with its helpers is a file, too


def full_after(size: int) -> None:
    """From now on no file of this process may grow beyond a size, as on a disk that is full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def refused_at(step: int) -> None:
    """From now on one change to names of files, the n-th, fails as if the disk were broken."""

    def fail(path: Any) -> None:
        number = REASONS[step % len(REASONS)]
        raise OSError(number, os.strerror(number), path)

    before_change(step, fail)


def short_of_memory(mebibytes: int) -> None:
    """From now on this process may take no more than so much."""
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    most = held + (mebibytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def problem(
    program: Program,
    task: Task,
    ending: Ending,
    arguments: list[str],
    inputs: Any,
    folder: Path,
    codes: set[int],
) -> str:
    """What is wrong with how a task ended under a fault; "" if nothing is."""
    unchanged = contents(folder)
    if wrong := verdict(ending, unchanged, unchanged, partly=True):
        return wrong
    if ending.code not in codes:
        return f"code {ending.code}: {ending.stderr[-300:]}"
    return checked(program, task, folder, arguments, inputs)


def attempts(program: Program, task: Task, work: Path, every: int) -> tuple[int, list[str]]:
    """All faults for one task; how many were tried, and what went wrong."""
    tried, wrong = 0, []

    def attempt(what: str, first: Any, codes: set[int]) -> Ending:
        nonlocal tried
        arguments, inputs = prepared(task, work)
        ending = program.run(arguments, work, first=first, check=False)
        tried += 1
        if found := problem(program, task, ending, arguments, inputs, work, codes):
            wrong.append(f"{what}: {found}")
        return ending

    for size in BYTES[::every]:
        attempt(f"full after {size} bytes", lambda n=size: full_after(n), _DISK)
    for room in MEMORY[::every]:
        attempt(f"{room} MiB", lambda n=room: short_of_memory(n), _ROOM)
    step = 1
    while attempt(f"change {step} refused", lambda n=step: refused_at(n), _ANY).code or step < 5:
        step += every
        if step > 200:
            break
    return tried, wrong


def main() -> None:
    """Try them; exit code 1 if something went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="every n-th fault only")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    chosen = parser.parse_args()
    program, failures = Program(), 0
    with tempfile.TemporaryDirectory() as place:
        write_seeds(Path(place) / "seeds")
        for name in chosen.tasks:
            task = TASKS[name](Path(place) / "seeds")
            tried, wrong = attempts(program, task, Path(place) / "work", chosen.every)
            failures += len(wrong)
            say("\n  ".join([f"{name}: {tried} faults, {len(wrong)} wrong", *wrong]))
    raise SystemExit(bool(failures))


if __name__ == "__main__":
    main()
