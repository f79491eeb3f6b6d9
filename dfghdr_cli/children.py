"""Processes that help another one: they leave signals to it, and end when it wants or is gone."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import Pipe, resource_tracker
from multiprocessing.connection import Connection

_LEFT_TO_PARENT = {
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
}


@contextmanager
def deaf_to_signals() -> Iterator[None]:
    """Processes that are started within never hear what asks a program to end.

    A terminal, `timeout` and systemd ask all processes of a program at once. A helper that dies of
    it looks like a fault to the one that cleans up and says how it ends. Blocked, and not ignored,
    a signal that comes meanwhile reaches this process a moment later.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows, where there are no such signals
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _LEFT_TO_PARENT)
    try:
        # Which the first helper would start otherwise, and which unblocks some of them.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, _LEFT_TO_PARENT)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_resource_tracker() -> None:
    """Start the process that looks after what others share, deaf to what asks a program to end.

    Without this one that another package starts dies of SIGHUP, and the next complains.
    """
    with deaf_to_signals():
        pass  # which starts it


class Leash:
    """What helpers hang on: they end at once when it is let go of, or when this process is gone.

    Attributes:
        end: to be handed to the helpers, for `follow`.
    """

    def __init__(self) -> None:
        self.end, self._held = Pipe(duplex=False)

    def let_go(self) -> None:
        """End the helpers that follow; may be called again."""
        self._held.close()
        self.end.close()


def follow(end: Connection) -> None:
    """In a helper, at its start: end, as if all were well, when the leash is let go of."""

    def wait() -> None:
        with suppress(EOFError, OSError):
            end.recv_bytes()  # nothing ever comes but the end
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
