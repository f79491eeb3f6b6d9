"""Checkpoints: the state of a run, written so that a crash leaves the one before whole."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any, BinaryIO

import torch

from dfghdr_cli.atomic import atomic_write, hidden_name
from dfghdr_cli.errors import ModelError, refuse_if_out_of_memory

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
"""The latest."""
BEFORE = "checkpoint.before.pt"
"""The one before the latest, in case that cannot be read."""
GOOD_CHECKPOINT = "good.pt"
"""The latest at which the training was healthy."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint so that a crash while writing leaves the previous one whole.

    The latest one before it is kept beside it.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_write(path, overwrite=True) as file:
        writer = _Writer(file)
        try:
            torch.save(state, writer)  # pyright: ignore[reportArgumentType]
        except RuntimeError as error:  # PyTorch's own for whatever the file says
            raise writer.error or error from error
        if path.name == CHECKPOINT and path.exists():
            _keep(path, path.with_name(BEFORE))


def _keep(path: Path, before: Path) -> None:
    """Give a file that is about to be replaced a second name."""
    with hidden_name(path.parent) as hidden:
        try:
            os.link(path, hidden)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, hidden)
        hidden.replace(before)


class _Writer:
    """Remembers what the system said, which PyTorch turns into something else."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()


def load_latest(folder: Path) -> tuple[dict[str, Any], Path] | None:
    """The latest checkpoint of a run that can be read, and its path; None where there is none.

    Raises:
        ModelError: neither the latest nor the one before it can be read.
    """
    latest, before = folder / CHECKPOINT, folder / BEFORE
    try:
        return (load_checkpoint(latest), latest) if latest.exists() else None
    except ModelError as error:
        if not before.exists():
            raise
        try:
            state = load_checkpoint(before)
        except ModelError:
            raise error from None
        log.warning("%s cannot be read; going on from the one before it, %s.", latest, before)
        return state, before


def reduced(state: Any) -> Any:
    """A state with every float32 tensor in bfloat16: loading it brings back 8 bits of each.

    bfloat16 has the range of float32, which squares of gradients need.
    """
    if isinstance(state, torch.Tensor):
        return state.bfloat16() if state.dtype == torch.float32 and state.numel() > 1 else state
    if isinstance(state, dict):
        return {key: reduced(value) for key, value in state.items()}
    return [reduced(value) for value in state] if isinstance(state, list) else state


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote.

    Raises:
        ModelError: if the file is damaged.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise TypeError("it holds something else")
        return state
    except Exception as error:  # torch's unpickler raises many types at damaged files
        refuse_if_out_of_memory(error, path)
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> ModelError:
    """The error to raise for a checkpoint that cannot be used."""
    reason = str(error).strip().partition("\n")[0]
    return ModelError(f"cannot resume from {path} ({reason}); delete it to start afresh")
