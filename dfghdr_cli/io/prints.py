"""What a library prints to Python's stdout, kept from those who read results there."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LOCK = threading.Lock()


class _Divided:
    """Stands in for `sys.stdout`: the words of some threads are kept, all others are handed on."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.kept: dict[int, list[str]] = {}

    def write(self, text: str) -> int:
        words = self.kept.get(threading.get_ident())
        if words is None:
            return self.real.write(text)
        words.append(text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


@contextmanager
def kept_from_stdout() -> Iterator[list[str]]:
    """Keep what this thread prints meanwhile; other threads print where they always do.

    `contextlib.redirect_stdout` would take their words, too. Once nobody keeps anything, what
    stands in for `sys.stdout` is taken away, or, where somebody else has replaced it meanwhile,
    only hands on.

    Yields:
        The words, as they come.
    """
    words: list[str] = []
    thread = threading.get_ident()
    with _LOCK:
        divided = sys.stdout if isinstance(sys.stdout, _Divided) else _Divided(sys.stdout)
        divided.kept[thread] = words
        sys.stdout = divided
    try:
        yield words
    finally:
        with _LOCK:
            divided.kept.pop(thread, None)
            if not divided.kept and sys.stdout is divided:
                sys.stdout = divided.real
