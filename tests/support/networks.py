"""Networks small enough to run in tests, and the threads that they run on."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch

from dfghdr_cli.modelstore import DEFAULT_MODEL, load_model
from dfghdr_cli.nets.network import Network
from dfghdr_cli.nets.registry import build

TINY = {"width": (8, 8, 8), "disentangle_width": 4, "code_length": 8}
"""A DFGMerge."""
KINDS = ("classic", "released", "untrained", "random", "dfgnet", "guided")
MODELS = Path(__file__).parents[2] / "models"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The sums of one thread always come in the same order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def network_of(kind: str) -> Network | None:
    """None, a released network of each kind, an untrained, a randomly deciding or painting one."""
    torch.manual_seed(0)
    if kind == "classic":
        return None
    if kind in ("released", "guided"):
        name = DEFAULT_MODEL if kind == "released" else "dfgnet-w16"
        return load_model(str(MODELS / name)).network
    if kind == "dfgnet":
        small = {"width": 4, "disentangle_width": 4, "code_length": 8}
        return build("dfgnet", small).eval()
    network = build("dfgmerge", TINY).eval()
    if kind == "random":
        for head in (network.head2, network.correct2):
            torch.nn.init.normal_(head.weight, std=0.3)
    return network
