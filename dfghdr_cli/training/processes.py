"""Training in one process, or in several that torchrun started, through Lightning Fabric.

Every process computes its share of each batch; gradients are averaged, so that all hold the same
weights. Only the first one writes.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import torch
from torch import Tensor, nn

from dfghdr_cli.errors import DeviceError, InputError


def torchrun_rank() -> int:
    """The number of this process among those that torchrun started; 0 if it started none."""
    return int(os.environ["RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else 0


class Processes:
    """The processes of a training; as it stands, this one alone.

    Attributes:
        rank: number of this process.
        count: of processes.
    """

    rank = 0
    count = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, batch: int) -> int:
        """Samples of a batch for each process.

        Raises:
            InputError: if they cannot be shared out evenly.
        """
        if batch % self.count:
            raise InputError(
                f"a batch of {batch} cannot be shared out among {self.count} processes; give a "
                f"--batch that {self.count} divides"
            )
        return batch // self.count

    def wrap(self, objective: nn.Module) -> nn.Module:
        """The module to call instead, whose gradients are averaged over the processes."""
        return objective

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients of a loss that came from a wrapped module."""
        loss.backward()

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the processes."""
        return values

    def wait(self) -> None:
        """Go on when all processes are here."""


class FabricProcesses(Processes):
    """Several processes."""

    def __init__(self, fabric: Any) -> None:
        self.fabric = fabric
        self.rank = fabric.global_rank
        self.count = fabric.world_size

    def wrap(self, objective: nn.Module) -> nn.Module:
        """See `Processes`."""
        return self.fabric.setup_module(objective)

    def backward(self, loss: Tensor) -> None:
        """See `Processes`."""
        self.fabric.backward(loss)

    def mean(self, values: Tensor) -> Tensor:
        """See `Processes`."""
        return self.fabric.all_reduce(values.to(self.fabric.device), reduce_op="mean")

    def wait(self) -> None:
        """See `Processes`."""
        self.fabric.barrier()


def join_processes(device: torch.device) -> tuple[Processes, torch.device]:
    """Join the processes that torchrun started, if it did.

    Args:
        device: where to train; a CUDA device stands for all of them, one a process.

    Returns:
        The processes, and the device of this one.

    Raises:
        DeviceError: if Lightning Fabric is not installed, or the device is of a kind of which
            there is but one.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("WORLD_SIZE") == "1":
        return Processes(), device
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(f"several processes cannot share {device}; take --device cpu or cuda")
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.strategies.ddp import DDPStrategy
    except ImportError as error:
        raise DeviceError(
            "training in several processes needs Lightning Fabric; install the extra "
            "'distributed' of dfghdr, or leave out torchrun"
        ) from error
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    fabric = Fabric(
        accelerator=device.type,
        devices=local,
        num_nodes=int(os.environ["WORLD_SIZE"]) // local,
        # A bracket without darker or brighter frames leaves the weights of that role unused.
        strategy=DDPStrategy(find_unused_parameters=True, broadcast_buffers=False),
    )
    fabric.launch()
    return FabricProcesses(fabric), fabric.device
