"""Score `dfghdr merge` on camera-like JPEGs, with the response estimated and with the true one.

    python benchmarks/camera_jpegs.py SCENES FOLDER [OPTIONS OF dfghdr merge]

SCENES are what scripts/make_camera_brackets.py wrote. FOLDER gets every merge twice:
`auto/SCENE.exr` with `--response auto`, and `true/SCENE.exr` with the curve the scene was made
with, which is written beside them as a table. `dfghdr eval --predictions` then compares both, a
scale fitted per picture.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support.curves import CURVES, Curve

PROGRAM = [sys.executable, "-m", "dfghdr_cli"]


def write_table(path: Path, curve: Curve) -> None:
    """The curve as a file for `--response`."""
    light = np.concatenate([[0.0], np.geomspace(1e-6, 1.0, 4000)])
    codes = curve(light)
    rising = np.concatenate([[True], np.diff(np.maximum.accumulate(codes)) > 1e-9])
    rows = [f"{c:.9g},{x:.9g}" for c, x in zip(codes[rising], light[rising], strict=True)]
    path.write_text("\n".join(["code,exposure", *rows]) + "\n")


def main() -> None:
    """Merge every scene twice, and print the table of `dfghdr eval`."""
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    scenes, folder, options = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    ways = {"auto": folder / "auto", "true": folder / "true"}
    for way in ways.values():
        way.mkdir(parents=True)
    for name, curve in json.loads((scenes / "curves.json").read_text()).items():
        table = folder / f"{name}.csv"
        write_table(table, CURVES[curve])
        frames = sorted(str(path) for path in (scenes / name).glob("*.tif"))
        stops = ",".join((scenes / name / "exposure.txt").read_text().split())
        for way, response in (("auto", "auto"), ("true", str(table))):
            command = [*PROGRAM, "-q", "merge", *frames, f"--ev={stops}", "--no-preview"]
            command += ["--response", response, "-o", str(ways[way] / f"{name}.exr"), *options]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    predictions = [f"--predictions={way}" for way in ways.values()]
    command = [*PROGRAM, "eval", str(scenes), "--fit-scale", "--metrics", "basic", *predictions]
    subprocess.run([*command, "--csv", str(folder / "scores.csv")], check=True)


if __name__ == "__main__":
    main()
