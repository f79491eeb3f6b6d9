"""Install the build of PyTorch that suits this computer: install_torch.py PYTHON [--dry-run].

For `make`, ahead of everything else. pip takes 5 GB with NVIDIA's libraries on Linux, of which a
computer without an NVIDIA GPU needs none: there, the build for the CPU is taken from PyTorch's own
index, 1.3 GB. Elsewhere, where pip is set up with indexes of its own, and where PyTorch is there
already, pip decides as usual. TORCH=cpu and TORCH=cuda in the environment say which build it
shall be; TORCH=pip leaves it to pip.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

INDEX = "https://download.pytorch.org/whl/cpu"
CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
OWN_INDEXES = ("index-url", "extra-index-url", "find-links", "no-index")
"""Settings of pip that say where packages come from."""


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def has_nvidia_gpu() -> bool:
    """Whether NVIDIA's driver lists a GPU."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return False
    try:
        done = subprocess.run(
            [program, "-L"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and "GPU " in done.stdout


def has_own_indexes(python: str) -> bool:
    """Whether pip is told by files or variables where packages come from."""
    command = [python, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    names = {line.partition("=")[0].rpartition(".")[2] for line in listed.splitlines()}
    return bool(names & set(OWN_INDEXES))


def has_torch(python: str) -> bool:
    """Whether PyTorch is installed there."""
    command = [python, "-m", "pip", "show", "--quiet", "torch"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def pinned() -> str:
    """The requirement of constraints.txt, torch==VERSION."""
    found = re.search(r"^torch==\S+", CONSTRAINTS.read_text(encoding="utf-8"), re.MULTILINE)
    return found[0] if found else "torch"


def choice(python: str, wanted: str) -> tuple[bool, str]:
    """Whether to take the build for the CPU from PyTorch's index, and why."""
    if wanted == "cpu":
        return True, "the build for the CPU, as TORCH=cpu says"
    if wanted in ("cuda", "pip"):
        return False, f"what pip takes, as TORCH={wanted} says"
    if platform.system() != "Linux":
        return False, "what pip takes, which is small on this system or has its GPU built in"
    if has_nvidia_gpu():
        return False, "the build with CUDA, for the NVIDIA GPU (about 5 GB)"
    if has_own_indexes(python):
        return False, "what the indexes have that pip is set up with"
    return (
        True,
        "the build for the CPU, as there is no NVIDIA GPU (1.3 GB; TORCH=cuda takes CUDA's)",
    )


def main() -> None:
    """Choose, say so, and install."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("python", help="of the environment to install into")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    chosen = parser.parse_args()
    if has_torch(chosen.python):
        say("PyTorch: is installed already")
        return
    own, why = choice(chosen.python, os.environ.get("TORCH", "auto"))
    say(f"PyTorch: {why}")
    if not own:
        return
    command = [chosen.python, "-m", "pip", "install", "--no-deps", "--retries", "1"]
    command += ["--timeout", "15", "--index-url", INDEX, pinned()]
    if chosen.dry_run:
        say(" ".join(command))
        return
    if subprocess.run(command, check=False).returncode:
        say(f"PyTorch: {INDEX} cannot be reached; what pip finds elsewhere is taken")


if __name__ == "__main__":
    main()
