"""A short run of each campaign of benchmarks/reliability; CONTRIBUTING.md has the long ones.

They run in one process, which forks itself for every case once it has loaded all that the program
needs.
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


PROGRAM = """
import importlib, sys
for name, arguments in {campaigns!r}.items():
    sys.argv = [name, *arguments]
    try:
        importlib.import_module(name).main()
    except SystemExit as end:
        print(f"{{name}} ended with {{int(end.code)}}", flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="forks, and asks Linux for memory")
def test_short_campaigns_find_nothing():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(campaigns=CAMPAIGNS)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (FOLDER, FOLDER.parents[1])))},
    )
    ended = [line for line in done.stdout.splitlines() if " ended with " in line]
    assert ended == [f"{name} ended with 0" for name in CAMPAIGNS], (
        done.stdout[-3000:] + done.stderr[-3000:]
    )
