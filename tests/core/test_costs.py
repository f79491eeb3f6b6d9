import ctypes
import time

import numpy as np
import pytest

from dfghdr_cli.core.costs import Stopwatch, give_back_memory, resident_memory


def test_a_stage_adds_up():
    watch = Stopwatch()
    for _ in range(2):
        with watch.stage("slow"):
            time.sleep(0.02)
    with watch.stage("quick"):
        pass
    assert list(watch.seconds) == ["slow", "quick"]
    assert 0.04 <= watch.seconds["slow"] < 5
    assert watch.seconds["quick"] < 0.02


def test_a_stage_that_fails_is_counted():
    watch = Stopwatch()
    with pytest.raises(ValueError), watch.stage("slow"):  # noqa: PT011
        raise ValueError
    assert "slow" in watch.seconds


def test_freed_memory_is_given_back():
    before = resident_memory()
    if before is None or not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("needs the C library of Linux")
    kept = [np.ones(8000) for _ in range(4000)][::100]  # what lies between keeps the rest
    freed = resident_memory()
    assert freed > before + 100
    give_back_memory()
    assert resident_memory() < freed - 100
    assert len(kept) == 40
