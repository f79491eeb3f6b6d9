"""Checkpoints: the state of a run, written so that a crash leaves the one before whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from dfghdr_cli.errors import ModelError

CHECKPOINT = "checkpoint.pt"
"""The latest."""
GOOD_CHECKPOINT = "good.pt"
"""The latest at which the training was healthy."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint so that a crash while writing leaves the previous one whole."""
    partial = path.with_suffix(".part")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


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
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> ModelError:
    """The error to raise for a checkpoint that cannot be used."""
    reason = str(error).strip().partition("\n")[0]
    return ModelError(f"cannot resume from {path} ({reason}); delete it to start afresh")
