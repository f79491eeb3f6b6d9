"""Helpers leave signals to the process that started them, and end with it."""

import os
import signal
import subprocess
import sys

import pytest

PROGRAM = """
import multiprocessing, os, signal, sys, time
from dfghdr_cli.children import Leash, deaf_to_signals, follow

def help(end, pipe):
    follow(end)
    pipe.send(os.getpid())
    time.sleep(60)

if __name__ == "__main__":
    class Asked(Exception):
        pass

    def ask(number, frame):
        raise Asked

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, ask)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    leash = Leash()
    helper = context.Process(target=help, args=(leash.end, theirs), daemon=True)
    with deaf_to_signals():
        helper.start()
    try:
        print(ours.recv(), flush=True)
        time.sleep(60)
    except Asked:
        time.sleep(0.2)
        alive = helper.is_alive()
        leash.let_go()
        helper.join(20)
        print(alive, helper.exitcode)
"""


@pytest.fixture
def program(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    path = os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])  # noqa: PTH109
    with subprocess.Popen(
        [sys.executable, tmp_path / "program.py"],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": path},
    ) as process:
        yield process


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_all_ends_the_helper_only_by_its_parent(program, number):
    helper = int(program.stdout.readline())
    assert helper != program.pid
    os.killpg(program.pid, number)
    said, _ = program.communicate(timeout=60)
    assert said.split() == ["True", "0"]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_helper_does_not_outlive_its_parent(program):
    helper = int(program.stdout.readline())
    program.kill()
    program.wait(60)
    descriptor = None
    try:
        descriptor = os.pidfd_open(helper)
    except ProcessLookupError:
        return  # gone already
    import select

    try:
        assert select.select([descriptor], [], [], 20)[0]
    finally:
        os.close(descriptor)


TRACKER = """
import os, signal, time
from multiprocessing import resource_tracker
from dfghdr_cli.children import start_resource_tracker

start_resource_tracker()
tracker = resource_tracker._resource_tracker._pid
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    os.kill(tracker, number)
time.sleep(0.2)
print(os.waitpid(tracker, os.WNOHANG))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signals")
def test_what_looks_after_shared_things_hears_no_signal():
    said = subprocess.run([sys.executable, "-c", TRACKER], capture_output=True, check=True)
    assert said.stdout.split() == [b"(0,", b"0)"]
