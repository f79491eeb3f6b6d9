"""What a piece of work costs, and who is told: seconds by stage, progress, and memory."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


class Trace:
    """Who is told of a piece of work, and what it costs: progress, and seconds by stage.

    What a stage does several times adds up.

    Attributes:
        thrifty: whether memory that a stage freed goes back to the system, which takes time: the
            next stage has to ask for it anew.
        seconds: by the stage's name, in the order in which they began.
    """

    def __init__(
        self, on_progress: Callable[[int, int, str], None] | None = None, *, thrifty: bool = False
    ) -> None:
        """`on_progress` is called with (done, total, what)."""
        self._on_progress = on_progress
        self.thrifty = thrifty
        self.seconds: dict[str, float] = {}
        self._plan: dict[str, tuple[float, float]] = {}
        self._stage = ""
        self._shown = 0.0

    def expect(self, costs: Mapping[str, float], *, before: float = 0.0) -> None:
        """From now on tell of the whole work instead of each stage for itself.

        What is told only rises, whatever a stage says that is entered again or begins anew.

        Args:
            costs: the stages to come, in their order, and what they cost in any unit.
            before: the share of the whole that was done before them.
        """
        begin, whole = before, sum(costs.values())
        for name, cost in costs.items():
            share = (1.0 - before) * cost / whole
            self._plan[name] = begin, share
            begin += share

    def step(self, done: int, total: int, what: str) -> None:
        """Tell how far a stage is, or the whole work if it is known what that is."""
        if not self._on_progress:
            return
        if not self._plan:
            self._on_progress(done, total, what)
            return
        begin, share = self._plan.get(self._stage, (0.0, 0.0))
        self._shown = max(self._shown, begin + share * done / max(total, 1))
        self._on_progress(round(1000 * self._shown), 1000, what)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of the block towards a stage, and `give_back` the memory that it freed."""
        before = self.seconds.setdefault(name, 0.0)
        started = time.perf_counter()
        outer, self._stage = self._stage, name
        self.step(0, 1, name)
        try:
            yield
        finally:
            self._stage = outer
            self.give_back()
            self.seconds[name] = round(before + time.perf_counter() - started, 3)

    def give_back(self) -> None:
        """Let the system have the memory that was freed, if that is wanted."""
        if self.thrifty:
            give_back_memory()


def let_threads_sleep() -> None:
    """Let threads that have nothing to do sleep; for the start of a program, before PyTorch.

    OpenMP's threads otherwise spin while they wait for one another, each hundreds of times a
    second. Where other programs take a part of the cores, a merge then takes twice as long; where
    none does, it is no quicker. A user's own OMP_WAIT_POLICY stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


_MALLOC_OPTIONS = {-3: 2**30, -1: 2**31 - 1, -8: 1}
"""mallopt(3), malloc.h: M_MMAP_THRESHOLD, M_TRIM_THRESHOLD [bytes], M_ARENA_MAX."""


def keep_freed_memory() -> None:
    """Let this process use freed memory again; for the start of a program that works on images.

    The C library of Linux otherwise asks the system for the pages of every large array anew, which
    clears them, and gives them back as soon as the array is gone: thousands of times a merge. What
    is kept goes back by `give_back_memory`. Elsewhere this does nothing.
    """
    setting = _c_function("mallopt")
    if setting is not None:
        for option, value in _MALLOC_OPTIONS.items():
            setting(option, value)


def give_back_memory() -> None:
    """Let the system have the memory that this process has freed.

    The C library of Linux keeps what was freed, scattered among what is in use, for the process;
    each stage of a large merge would add its own to that. Elsewhere this does nothing.
    """
    trim = _c_function("malloc_trim")
    if trim is not None:
        trim(0)


def _c_function(name: str) -> Callable[..., int] | None:
    """A function of Linux's C library, if it is there."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


@contextmanager
def peak_memory() -> Iterator[Callable[[], float | None]]:
    """The process's largest resident memory within the block [MiB]; None where it is not known.

    Linux keeps a high-water mark that can be reset (proc(5), clear_refs and VmHWM). What was
    there before the block, such as models, is in it; memory of a GPU is not.
    """
    counter = Path("/proc/self/clear_refs")
    try:
        counter.write_text("5")
        known = True
    except OSError:
        known = False

    yield lambda: _status("VmHWM") if known else None


def resident_memory() -> float | None:
    """The process's resident memory now [MiB]; None anywhere but on Linux."""
    return _status("VmRSS")


def _status(entry: str) -> float | None:
    """An entry of /proc/self/status [MiB]."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    line = next((line for line in status.splitlines() if line.startswith(entry)), None)
    return None if line is None else round(int(line.split()[1]) / 1024, 1)


def use_threads(count: int) -> None:
    """Let PyTorch and OpenCV use so many threads each, as far as they are loaded."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(count)
    if (cv2 := sys.modules.get("cv2")) is not None:
        cv2.setNumThreads(count)


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1
