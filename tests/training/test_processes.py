"""Several processes: who gets what, and what they refuse."""

import sys

import pytest
import torch

from dfghdr_cli.errors import DeviceError, InputError
from dfghdr_cli.training.loop import _Indices
from dfghdr_cli.training.processes import Processes, join_processes, torchrun_rank
from dfghdr_cli.training.samples import Samples

CPU = torch.device("cpu")


class OneByOne(Samples):
    """Samples whose raw parts serve one batch each."""


def process(rank, count):
    found = Processes()
    found.rank, found.count = rank, count
    return found


def test_the_samples_of_a_step_are_shared_out():
    """Together the processes see what one sees, step by step."""
    alone = list(_Indices(2, 5, 6, process(0, 1), OneByOne()))
    assert alone == list(range(12, 30))
    shares = [list(_Indices(2, 5, 6, process(rank, 3), OneByOne())) for rank in range(3)]
    steps = [[share[2 * n : 2 * n + 2] for share in shares] for n in range(3)]
    assert [number for step in steps for part in step for number in part] == alone


def test_a_batch_must_be_shared_out_evenly():
    with pytest.raises(InputError, match=r"batch of 4 .* among 3 .*--batch"):
        process(0, 3).share(4)


def test_alone_without_torchrun(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setenv("RANK", "3")  # somebody else's
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert torchrun_rank() == 0
    processes, device = join_processes(CPU)
    assert (processes.rank, processes.count, processes.first, device) == (0, 1, True, CPU)


@pytest.fixture
def torchrun(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")


@pytest.mark.usefixtures("torchrun")
def test_without_fabric_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(DeviceError, match="distributed"):
        join_processes(CPU)


@pytest.mark.usefixtures("torchrun")
def test_one_device_of_its_kind_is_not_shared():
    with pytest.raises(DeviceError, match="--device cpu or cuda"):
        join_processes(torch.device("mps"))
