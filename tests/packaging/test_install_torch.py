"""`make` takes the build of PyTorch that suits the computer, and says which."""

import os
import re
import subprocess
import sys

import pytest

from tests.support.scripts import ROOT

SCRIPT = ROOT / "scripts" / "install_torch.py"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere pip decides")


@pytest.fixture
def python(tmp_path):
    """A Python whose pip knows no PyTorch, and the settings in pip.txt."""
    (tmp_path / "pip.txt").write_text("")
    program = tmp_path / "python"
    program.write_text(
        f'#!/bin/sh\ncase "$*" in\n*" show "*) exit 1;;\n*" list"*) cat {tmp_path}/pip.txt;;\n'
        f'*) echo "$@" >> {tmp_path}/ran.txt; exit 1;;\nesac\n'
    )
    program.chmod(0o755)
    return program


def run(python, *options, gpus=None, **environment):
    """What the script prints, on a computer whose nvidia-smi lists these."""
    place = python.parent / "bin"
    place.mkdir(exist_ok=True)
    if gpus is not None:
        (place / "nvidia-smi").write_text(f"#!/bin/sh\n{gpus}\n")
        (place / "nvidia-smi").chmod(0o755)
    path = {"PATH": f"{place}{os.pathsep}/usr/bin{os.pathsep}/bin"}
    return subprocess.run(
        [sys.executable, SCRIPT, python, *options],
        capture_output=True,
        text=True,
        check=True,
        env={k: v for k, v in os.environ.items() if k != "TORCH"} | path | environment,
    ).stdout


@pytest.mark.parametrize("gpus", [None, "exit 9", "echo No devices found"])
def test_without_a_gpu_it_is_the_build_for_the_cpu(python, gpus):
    said = run(python, "--dry-run", gpus=gpus)
    assert "the build for the CPU, as there is no NVIDIA GPU" in said
    pin = re.search(r"^torch==\S+", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[0]
    assert said.rstrip().endswith(f"--index-url https://download.pytorch.org/whl/cpu {pin}")
    assert not (python.parent / "ran.txt").exists()


def test_with_a_gpu_pip_decides(python):
    said = run(python, gpus="echo 'GPU 0: NVIDIA H200 (UUID: GPU-1)'")
    assert "the build with CUDA" in said
    assert not (python.parent / "ran.txt").exists()


@pytest.mark.parametrize("name", ["global.index-url", ":env:.find-links", "user.no-index"])
def test_indexes_of_ones_own_stay(python, name):
    (python.parent / "pip.txt").write_text(f"global.timeout='9'\n{name}='somewhere'\n")
    assert "what the indexes have that pip is set up with" in run(python, "--dry-run")


@pytest.mark.parametrize(("wanted", "own"), [("cpu", True), ("cuda", False), ("pip", False)])
def test_a_word_decides(python, wanted, own):
    said = run(python, "--dry-run", gpus="echo 'GPU 0: NVIDIA'", TORCH=wanted)
    assert f"TORCH={wanted} says" in said
    assert ("--index-url" in said) == own


def test_offline_it_goes_on(python):
    said = run(python)
    assert "cannot be reached; what pip finds elsewhere is taken" in said
    assert "install --no-deps" in (python.parent / "ran.txt").read_text()


def test_make_runs_it_first():
    done = subprocess.run(
        ["make", "-n", "-B", "demo"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    ours = next(i for i, line in enumerate(lines) if "install_torch.py" in line)
    others = next(i for i, line in enumerate(lines) if "pip install" in line)
    assert ours < others
