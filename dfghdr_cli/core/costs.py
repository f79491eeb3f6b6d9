"""What a piece of work costs: seconds by stage, and memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class Stopwatch:
    """Seconds spent in each stage; what a stage does several times adds up.

    Attributes:
        seconds: by the stage's name, in the order in which they began.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of the block towards a stage."""
        before = self.seconds.setdefault(name, 0.0)
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(before + time.perf_counter() - started, 3)


@contextmanager
def peak_memory() -> Iterator[Callable[[], float | None]]:
    """The process's largest resident memory within the block [MiB]; None where nobody tells.

    Linux keeps a high-water mark that can be reset (proc(5), clear_refs and VmHWM). What was
    there before the block, such as models, is in it; memory of a GPU is not.
    """
    counter = Path("/proc/self/clear_refs")
    try:
        counter.write_text("5")
        known = True
    except OSError:
        known = False

    def peak() -> float | None:
        if not known:
            return None
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        line = next((line for line in status.splitlines() if line.startswith("VmHWM")), None)
        return None if line is None else round(int(line.split()[1]) / 1024, 1)

    yield peak
