"""Where to compute: the processor, or a graphics card and how much of it."""

from __future__ import annotations

import torch

from dfghdr_cli.errors import DeviceError


def choose_device(name: str = "auto") -> torch.device:
    """The device to compute on: CUDA if there is one, else Apple's MPS, else the CPU.

    Args:
        name: "auto", "cpu", "cuda", "cuda:N" or "mps".

    Raises:
        DeviceError: if the named device is not there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0].rstrip(".")
        raise DeviceError(
            f"device {name!r} cannot be used ({first}); use --device auto or --device cpu"
        ) from error
    return device


def is_gpu_out_of_memory(error: RuntimeError) -> bool:
    """Whether PyTorch says that a GPU is full: by a type, or, as MPS and cuBLAS do, in words."""
    said = str(error)
    words = "out of memory" in said or "ALLOC_FAILED" in said
    return words or isinstance(error, torch.OutOfMemoryError)


def bound_gpu(device: torch.device, limit: int) -> None:
    """Let PyTorch take no more than `limit` bytes of a GPU's memory; nothing on the CPU."""
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(limit / total, 1.0), device.index)
    elif device.type == "mps":
        total = torch.mps.recommended_max_memory()
        torch.mps.set_per_process_memory_fraction(min(limit / total, 1.0))
