"""How much faster a batch merges brackets than a loop of single merges: batch.py [--brackets 30].

Generates brackets of 2 megapixels, merges them by a loop of `dfghdr merge`, as a shell does, and
by `dfghdr merge --batch`, and prints wall-clock and processor seconds of both, the share, and
the load of the computer before and after; what other programs take is in the figures.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support.photographs import photograph, textured_scene, write_jpeg


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def make_brackets(folder: Path, count: int, size: tuple[int, int]) -> list[Path]:
    """Brackets of three hand-held frames, 2 stops apart, in a folder each."""
    folders = []
    for number in range(count):
        place = folder / f"bracket{number:02}"
        place.mkdir(parents=True)
        scene = textured_scene(number, size)
        for frame, stops in enumerate((-2, 0, 2)):
            motion = np.array([[1, 0, 3.0 * frame], [0, 1, -1.5 * frame]])
            pixels = photograph(scene, stops, motion=motion, seed=3 * number + frame)
            write_jpeg(place / f"IMG_{frame + 1:04}.jpg", pixels, seconds=2.0**stops / 64)
        folders.append(place)
    return folders


def measured(commands: list[list[str]]) -> tuple[float, float]:
    """Wall-clock and processor seconds of commands, one after the other."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    for command in commands:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, used


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--brackets", type=int, default=30)
    parser.add_argument("--width", type=int, default=1728)
    parser.add_argument("--height", type=int, default=1152)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("options", nargs="*", help="of dfghdr merge, after --")
    chosen = parser.parse_args()
    program = [sys.executable, "-m", "dfghdr_cli", "merge"]
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        folders = make_brackets(root / "in", chosen.brackets, (chosen.height, chosen.width))
        (root / "loop").mkdir()
        jobs = ["--jobs", str(chosen.jobs)] if chosen.jobs else []
        loop = [
            [*program, str(f), "-o", str(root / "loop" / f"{f.name}.exr"), *chosen.options]
            for f in folders
        ]
        options = ["--batch", "--recursive", "--by-folder", *jobs, *chosen.options]
        batch = [[*program, str(root / "in"), *options, "-o", str(root / "batch")]]
        load = os.getloadavg()[0]
        say(f"{chosen.brackets} brackets, {os.cpu_count()} cores, load {load:.1f} before")
        results = {}
        for name, commands in (("batch", batch), ("loop", loop)):
            results[name] = measured(commands)
            seconds, used = results[name]
            say(f"{name:5}  {seconds:7.1f} s  {used:7.1f} s of processors")
        names = sorted(path.name for path in (root / "loop").glob("*.exr"))
        same = [
            (root / "loop" / name).read_bytes() == (root / "batch" / name).read_bytes()
            for name in names
        ]
        say(
            f"batch / loop: {results['batch'][0] / results['loop'][0]:.0%}, of processors "
            f"{results['batch'][1] / results['loop'][1]:.0%}; {sum(same)} of {len(same)} "
            f"files alike; load {os.getloadavg()[0]:.1f} after"
        )


if __name__ == "__main__":
    main()
