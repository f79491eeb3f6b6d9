"""Where samples come from, as the training loop sees it.

What worker processes make of a sample is its *raw* part. Of synthesised samples that is a scene,
which serves several batches, and the rest is done where the network is; of others it is all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from dfghdr_cli.children import Leash, deaf_to_signals, follow

Sample = dict[str, NDArray[np.float32]]
"""One sample, as `dfghdr_cli.training.synth` describes it."""
Batch = dict[str, Tensor]
"""Arrays of several samples or scenes, stacked."""
Arrays = dict[str, NDArray[np.generic]]


class Samples(Dataset[Sample]):
    """Samples by index, whose raw parts are whole samples.

    Subclasses have raw parts that serve several batches.
    """

    def begins(self, batch: int) -> bool:
        """Whether a batch is made of other raw parts than the one before."""
        del batch
        return True

    def raw(self, index: int) -> Arrays:
        """The raw part of a sample."""
        return dict(self[index])

    def prepared(self, parts: Sequence[Batch], batch: int, device: torch.device) -> Any:
        """Raw parts, collated and in order, on a device, for `finished`.

        Args:
            parts: from worker processes.
            batch: number of the first batch that they serve.
            device: where to bring them.
        """
        del batch
        moved = [{k: v.to(device, non_blocking=True) for k, v in p.items()} for p in parts]
        return {name: torch.cat([part[name] for part in moved]) for name in moved[0]}

    def finished(self, prepared: Any, indices: Sequence[int]) -> Batch:
        """The collated samples of these indices, where their raw parts are."""
        del indices
        return prepared

    def apart(self, count: int) -> Iterable[int]:
        """Indices of `count` samples of which no two are made of the same raw part."""
        return range(count)


class _Plain(Samples):
    """Another data set's samples."""

    def __init__(self, data: Dataset[Sample]) -> None:
        self.data = data

    def __getitem__(self, index: int) -> Sample:
        return self.data[index]

    def __len__(self) -> int:
        return len(self.data)  # pyright: ignore[reportArgumentType]


def as_samples(data: Dataset[Sample]) -> Samples:
    """A data set as the training loop needs it."""
    return data if isinstance(data, Samples) else _Plain(data)


class RawParts(Dataset[Arrays]):
    """What worker processes make: the raw parts of samples, by index."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def __getitem__(self, index: int) -> Arrays:
        """The raw part of a sample."""
        return self.samples.raw(index)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.samples)  # pyright: ignore[reportArgumentType]


@contextmanager
def made_by_workers(
    data: Dataset[Any], indices: Sampler[int] | Sequence[int], size: int, workers: int, on_gpu: bool
) -> Iterator[Iterator[Batch]]:
    """Parts of a data set by index, collated `size` at a time.

    The processes that make them end with the block.
    """
    leash = Leash()
    loader = DataLoader(
        data,
        batch_size=size,
        sampler=indices,
        num_workers=workers,
        pin_memory=on_gpu,
        prefetch_factor=4 if workers else None,
        # A forked worker would inherit OpenCV's thread pool without its threads, and hang.
        multiprocessing_context="spawn" if workers else None,
        worker_init_fn=partial(_begin_worker, leash.end),
    )
    try:
        with deaf_to_signals() if workers else nullcontext():
            parts = iter(loader)
        yield parts
    finally:
        leash.let_go()


def _begin_worker(end: Connection, number: int) -> None:
    """What a process that makes samples does first; its number is of no interest."""
    del number
    follow(end)


def batches_of(
    data: Dataset[Sample], batch: int, count: int, device: torch.device
) -> Iterator[Mapping[str, Tensor]]:
    """The first `count` batches of samples, made here, on a device."""
    samples, prepared = as_samples(data), None
    for number in range(count):
        indices = range(number * batch, (number + 1) * batch)
        if number == 0 or samples.begins(number):
            part = default_collate([samples.raw(index) for index in indices])
            prepared = samples.prepared([part], number, device)
        yield samples.finished(prepared, indices)
