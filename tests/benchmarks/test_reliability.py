"""A short run of each campaign of benchmarks/reliability; CONTRIBUTING.md has the long ones.

They are run as programs, since each forks itself once it has loaded all that the program needs.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "reliability"
CAMPAIGNS = {
    "mutated": ["16"],
    "killed": ["--tasks", "merge anew", "import anew", "--every", "6", "--random", "2"],
    "faults": ["--tasks", "merge anew", "--every", "5"],
    "hostile": [
        "--only",
        *("png of 60000", "jpeg of many scans", "tiff of one huge tile", "dng of 30000"),
        *("exr of a huge display window", "model of width 10 9", "settings without end"),
        *("weights whose archive holds a program", "npz that unpacks to gigabytes"),
    ],
}


@pytest.mark.skipif(sys.platform != "linux", reason="forks, and asks Linux for memory")
@pytest.mark.parametrize("name", CAMPAIGNS)
def test_a_short_campaign_finds_nothing(name):
    done = subprocess.run(
        [sys.executable, FOLDER / f"{name}.py", *CAMPAIGNS[name]],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(FOLDER.parents[1])},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
