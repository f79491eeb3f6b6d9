"""dfghdr: merge a hand-held exposure bracket into one clean, linear HDR image.

As a library it offers the names in `__all__`, see `dfghdr_cli.library`. Importing this package
loads neither torch nor OpenCV; the first use of a name does.
"""

# pyright: reportUnsupportedDunderAll=false
from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

__all__ = [
    "Merged",
    "Merger",
    "__version__",
    "evaluate",
    "hdrvdp2",
    "load_model",
    "merge",
    "tone_map",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("dfghdr_cli.library"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
