"""Values that a shell completes, beside those that an option's own type lists; loads nothing heavy.

Where nothing begins like what was typed, shells complete the names of files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import get_args

from dfghdr_cli import choices

Completion = Callable[[str], list[str]]


def models(incomplete: str) -> list[str]:
    """Names of models that begin so."""
    from dfghdr_cli.errors import DfghdrError
    from dfghdr_cli.modelfolders import find_models

    try:
        return _matching(sorted(find_models()), incomplete)
    except (DfghdrError, OSError):
        return []


def devices(incomplete: str) -> list[str]:
    """Names of devices; which GPUs there are says Linux alone without PyTorch."""
    gpus = sorted(path.name[6:] for path in Path("/dev").glob("nvidia[0-9]*"))
    return _matching(("auto", "cpu", "cuda", "mps", *(f"cuda:{gpu}" for gpu in gpus)), incomplete)


def one_of(*values: str) -> Completion:
    """Some of these values."""

    def complete(incomplete: str) -> list[str]:
        return _matching(values, incomplete)

    return complete


def list_of(*values: str) -> Completion:
    """The last of several, separated by commas, none twice."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        given = before.split(",")
        return [f"{before}{comma}{v}" for v in _matching(values, last) if v not in given]

    return complete


responses = one_of(*get_args(choices.ResponseKind))
references = one_of("auto", *map(str, range(1, 10)))
formats = list_of("exr", "hdr", "dng", "jpg", "png", "tif", "avif", "jxl")
compressions = one_of("piz", "zip", "dwaa")
schedulers = one_of("local:2", "local:4", "local:8", "tcp://")


def _matching(values: Iterable[str], incomplete: str) -> list[str]:
    return [value for value in values if value.startswith(incomplete)]
