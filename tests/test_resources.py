import ctypes
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from dfghdr_cli.resources import Trace, give_back_memory, resident_memory


def test_a_stage_adds_up():
    watch = Trace()
    for _ in range(2):
        with watch.stage("slow"):
            time.sleep(0.02)
    with watch.stage("quick"):
        pass
    assert list(watch.seconds) == ["slow", "quick"]
    assert 0.04 <= watch.seconds["slow"] < 5
    assert watch.seconds["quick"] < 0.02


@pytest.mark.parametrize("given", [None, "ACTIVE"])
def test_threads_of_a_command_sleep_unless_told_otherwise(given):
    """What a command's PyTorch will see, in a process that has not loaded it yet."""
    program = (
        "import os, sys\n"
        "from dfghdr_cli.cli.app import app\n"
        "app(['config', 'show'], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules\n"
        "print(os.environ['OMP_WAIT_POLICY'])\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    environment |= {} if given is None else {"OMP_WAIT_POLICY": given}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == (given or "PASSIVE")


def test_a_stage_that_fails_is_counted():
    watch = Trace()
    with pytest.raises(ValueError), watch.stage("slow"):  # noqa: PT011
        raise ValueError
    assert "slow" in watch.seconds


def test_the_whole_work_is_told_and_only_rises():
    """One stage begins anew, one is entered twice, one is not planned; costs are 1 to 3."""
    told = []
    trace = Trace(lambda done, total, what: told.append((done / total, what)))
    with trace.stage("read"):
        pass
    trace.expect({"first": 1.0, "second": 3.0}, before=0.2)
    with trace.stage("first"):
        trace.step(1, 2, "first")
        trace.step(0, 4, "first")
    with trace.stage("other"):
        pass
    with trace.stage("second"):
        trace.step(1, 3, "second")
    with trace.stage("first"):
        pass
    with trace.stage("second"):
        trace.step(3, 3, "second")
    assert told == [
        (0.0, "read"),
        (0.2, "first"),
        (0.3, "first"),
        (0.3, "first"),
        (0.3, "other"),
        (0.4, "second"),
        (0.6, "second"),
        (0.6, "first"),
        (0.6, "second"),
        (1.0, "second"),
    ]


def test_freed_memory_is_given_back():
    give_back_memory()  # what earlier tests freed would be taken first
    before = resident_memory()
    if before is None or not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("needs the C library of Linux")
    kept = [np.ones(8000) for _ in range(4000)][::100]  # what lies between keeps the rest
    freed = resident_memory()
    assert freed > before + 100
    give_back_memory()
    assert resident_memory() < freed - 100
    assert len(kept) == 40


FAULTS = """
import resource, sys
import numpy as np
from dfghdr_cli.resources import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
for round in range(21):
    if round == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(40_000_000, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_kept_memory_is_not_asked_for_again():
    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("needs the C library of Linux")

    def faults(word):
        command = [sys.executable, "-c", FAULTS, word]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert faults("keep") < 0.1 * faults("return")
