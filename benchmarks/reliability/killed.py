"""Kills: whatever moment it is, nothing is lost and nothing mixed: killed.py [--random COUNT].

    nice python benchmarks/reliability/killed.py --random 300

kills each command before every single change that it makes to names of files (a rename, a link, a
deletion, a new file or folder), and then all of them together so many times at random moments. The
next run is to finish or undo what the killed one began: results that belong together are all as
before or all new, no file but results has changed, no hidden one is left, models can be read and
trainings can go on.
"""

from __future__ import annotations

import argparse
import collections
import os
import shutil
import signal
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from forked import Program, contents, ended_within, say, what_is_odd
from seeds import write_seeds

OLD = b"what was there before"
_CHANGES = {
    "os.rename",
    "os.link",
    "os.symlink",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.truncate",
}


class Task(ABC):
    """A command that writes, and what must be true after a kill.

    Attributes:
        results: that belong together.
    """

    results: tuple[str, ...] = ()
    overwrite = False

    def __init__(self, seeds: Path) -> None:
        """`seeds` is what `write_seeds` wrote."""
        self.seeds = seeds

    @abstractmethod
    def prepare(self, folder: Path) -> list[str]:
        """Fill an empty folder; the arguments."""

    def again(self, program: Program, folder: Path, arguments: list[str]) -> str:
        """Let the next run come, which finishes or undoes; what is wrong with that."""
        del arguments
        ending = program.run(["tonemap", "sound.hdr", "-o", "next.png"], folder)
        (folder / "next.png").unlink(missing_ok=True)
        return "" if ending.code == 0 else f"the next run ended with {ending.stderr}"

    def wrong(self, folder: Path) -> str:
        """What is wrong with the results once the next run was there; "" if nothing."""
        states = set()
        for name in self.results:
            path = folder / name
            if not path.exists():
                states.add("absent")
            else:
                states.add("old" if path.read_bytes() == OLD else "new")
        if len(states) > 1 or (self.overwrite and "absent" in states):
            return f"results are {' and '.join(sorted(states))}"
        return what_is_odd(folder) if states == {"new"} else ""

    def _frames(self, folder: Path) -> list[str]:
        for path in sorted((self.seeds / "photographs" / "tiff").iterdir()):
            shutil.copy(path, folder)
        shutil.copy(self.seeds / "linear" / "own.hdr", folder / "sound.hdr")
        if self.overwrite:
            for name in self.results:
                (folder / name).write_bytes(OLD)
        return ["0.tif", "1.tif", "2.tif"]


class Merge(Task):
    """Several results of a merge."""

    results = ("result.exr", "result.jpg", "result.preview.jpg", "result.map.png", "result.csv")

    def prepare(self, folder: Path) -> list[str]:
        """See `Task`."""
        options = ["-o", "result.exr", "-o", "result.jpg", "--ghost-map", "result.map.png"]
        options += ["--save-response", "result.csv", "--method", "classic", "--align", "none"]
        options += ["--ev", "-2,0,2", "--response", "srgb"]
        options += ["--overwrite"] if self.overwrite else []
        return ["merge", *self._frames(folder), *options]


class MergeAnew(Merge):
    """The same, over old ones."""

    overwrite = True


class Evaluate(Task):
    """The tables and the page of eval, over old ones."""

    results = ("result.json", "result.csv", "result.html")
    overwrite = True

    def prepare(self, folder: Path) -> list[str]:
        """See `Task`."""
        shutil.copytree(self.seeds / "scene" / "one", folder / "one")
        self._frames(folder)
        options = ["--method", "classic", "--metrics", "basic", "--overwrite"]
        options += ["--json-file", "result.json", "--csv", "result.csv", "--report", "result.html"]
        return ["eval", "one", *options]


class Explore(Task):
    """A picture and a page of explore-disentangle, over old ones."""

    results = ("result.png", "result.html")
    overwrite = True

    def prepare(self, folder: Path) -> list[str]:
        """See `Task`."""
        shutil.copytree(self.seeds / "models" / "paint", folder / "paint")
        frames = self._frames(folder)
        options = ["--model", "paint", "--size", "64", "--ev", "-2,0,2", "--overwrite"]
        return [
            "explore-disentangle",
            *frames,
            *options,
            "-o",
            "result.png",
            "--html",
            "result.html",
        ]


class Import(Task):
    """A model that is imported where one of its name is."""

    overwrite = True

    def prepare(self, folder: Path) -> list[str]:
        """See `Task`."""
        self._frames(folder)
        shutil.copytree(self.seeds / "published", folder / "published")
        if self.overwrite:
            shutil.copytree(self.seeds / "models" / "paint", folder / "models" / "new")
            (folder / "models" / "new" / "notes.txt").write_bytes(OLD)
        options = ["--name", "new", "--models-dir", "models"]
        options += ["--overwrite"] if self.overwrite else []
        return ["models", "import", "published", *options]

    def again(self, program: Program, folder: Path, arguments: list[str]) -> str:
        """See `Task`."""
        del arguments
        variables = {"DFGHDR_MODELS_DIR": str(folder / "models")}
        listed = program.run(["models", "list"], folder, variables=variables)
        there = (folder / "models" / "new").exists()
        if listed.code or ".dfghdr" in listed.stdout:
            return f"models list: {listed.stdout}{listed.stderr}"
        if not there:
            return "the model is gone" if self.overwrite else ""
        verified = program.run(["models", "verify", "new"], folder, variables=variables)
        notes = folder / "models" / "new" / "notes.txt"
        if self.overwrite and not (notes.exists() and notes.read_bytes() == OLD):
            return "what lay beside the model is gone"
        return "" if verified.code == 0 else f"models verify: {verified.stderr}"


class ImportFirst(Import):
    """A model that is imported where none is."""

    overwrite = False


class Train(Task):
    """A short training, which must be able to go on."""

    def prepare(self, folder: Path) -> list[str]:
        """See `Task`."""
        (folder / "light").mkdir()
        import numpy as np
        import OpenEXR

        light = np.random.default_rng(1).uniform(0.1, 4, (72, 72, 3)).astype(np.float32)
        with OpenEXR.File({"type": OpenEXR.scanlineimage}, {"RGB": light}) as file:
            file.write(str(folder / "light" / "one.exr"))
        options = ["--run", "run", "--crop", "64", "--batch", "1", "--workers", "0", "--steps", "1"]
        options += ["--architecture", "dfgnet", "--width", "4", "--stage", "merge"]
        return ["train", "light", *options, "--no-perceptual", "--device", "cpu"]

    def again(self, program: Program, folder: Path, arguments: list[str]) -> str:
        """See `Task`."""
        begun = (folder / "run" / "config.json").exists()
        ending = program.run([*arguments, *(["--resume"] if begun else [])], folder)
        if ending.code:
            return f"it cannot go on: {ending.stderr[-300:]}"
        verified = program.run(["models", "verify", "run/run"], folder)
        return "" if verified.code == 0 else f"models verify: {verified.stderr}"


TASKS: dict[str, type[Task]] = {
    **{"merge": Merge, "merge anew": MergeAnew, "eval": Evaluate, "explore": Explore},
    **{"import": ImportFirst, "import anew": Import, "train": Train},
}


def is_change(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether an audit event is about to change names of files."""
    if event == "open":
        path, _, flags = arguments
        return not isinstance(path, int) and isinstance(flags, int) and bool(flags & os.O_CREAT)
    return event in _CHANGES


def before_change(step: int, act: Callable[[Any], None]) -> None:
    """From now on count changes to names of files, and act before the n-th.

    Args:
        step: n.
        act: called with what is to be changed.
    """
    count = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if is_change(event, arguments):
            count += 1
            if count == step:
                act(arguments[0])

    sys.addaudithook(hook)


def killed_at(step: int) -> None:
    """Kill this process before one of its changes to names of files."""
    before_change(step, lambda _: os.kill(os.getpid(), signal.SIGKILL))


def checked(program: Program, task: Task, folder: Path, arguments: list[str], inputs: Any) -> str:
    """What is wrong after a kill, once the next run was there."""
    wrong = task.again(program, folder, arguments) or task.wrong(folder)
    after = contents(folder)
    changed = [name for name, one in inputs.items() if after.get(name) != one]
    hidden = [name for name in after if ".dfghdr-" in name]
    return (
        wrong or (f"changed: {changed}" if changed else "") or (f"left: {hidden}" if hidden else "")
    )


def prepared(task: Task, folder: Path) -> tuple[list[str], dict[str, tuple[int, int]]]:
    """An empty folder filled for a task: arguments, and what is no result and must stay."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    arguments = task.prepare(folder)
    there = contents(folder)
    own = {"models/new", *task.results}
    inputs = {
        name: one
        for name, one in there.items()
        if name not in own and (not name.startswith("models/new/") or name.endswith("notes.txt"))
    }
    return arguments, inputs


def at_every_change(program: Program, task: Task, work: Path, every: int) -> tuple[int, list[str]]:
    """Kill a task before each change, or each n-th; how many kills, and what went wrong."""
    kills, wrong, step = 0, [], 1
    while True:
        arguments, inputs = prepared(task, work)
        ending = program.run(arguments, work, first=lambda n=step: killed_at(n), check=False)
        if ending.code == 0:
            return kills, wrong
        if ending.code != -signal.SIGKILL:
            return kills, [*wrong, f"it ended with {ending.code}: {ending.stderr[-300:]}"]
        kills += 1
        if found := checked(program, task, work, arguments, inputs):
            wrong.append(f"before change {step}: {found}")
        step += every


def at_random(
    program: Program, tasks: dict[str, Task], work: Path, count: int, seed: int
) -> tuple[collections.Counter[str], list[str]]:
    """Kill tasks at moments spread over how long they take; outcomes, and what went wrong."""
    rng, wrong = Random(seed), []
    counts: collections.Counter[str] = collections.Counter()
    took: dict[str, float] = {}
    for number in range(count):
        name = rng.choice(list(tasks))
        task = tasks[name]
        if name not in took:
            arguments, _ = prepared(task, work)
            ending = program.run(arguments, work)
            if ending.code:
                raise SystemExit(f"{name} does not work: {ending.stderr}")
            took[name] = ending.seconds
        arguments, inputs = prepared(task, work)
        began = time.monotonic()
        child = program.start(arguments, work)
        if ended_within(child, rng.uniform(0.0, 1.1) * took[name]):
            counts["finished before"] += 1
            took[name] = 0.5 * (took[name] + time.monotonic() - began)
        else:
            os.killpg(child, signal.SIGKILL)
            counts["killed"] += 1
        os.waitpid(child, 0)
        if found := checked(program, task, work, arguments, inputs):
            wrong.append(f"{name}, kill {number}: {found}")
        done = all((work / result).exists() for result in task.results) and task.results
        counts["results are there"] += bool(done)
    return counts, wrong


def main() -> None:
    """Kill; exit code 1 if something went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--random", type=int, default=0, help="kills at random moments")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--every", type=int, default=1, help="kill before every n-th change only")
    chosen = parser.parse_args()
    program, failures = Program(), 0
    with tempfile.TemporaryDirectory() as place:
        write_seeds(Path(place) / "seeds")
        tasks = {name: TASKS[name](Path(place) / "seeds") for name in chosen.tasks}
        work = Path(place) / "work"
        for name, task in tasks.items():
            kills, wrong = at_every_change(program, task, work, chosen.every)
            failures += len(wrong)
            say("\n  ".join([f"{name}: {kills} kills, {len(wrong)} wrong", *wrong]))
        if chosen.random:
            counts, wrong = at_random(program, tasks, work, chosen.random, chosen.seed)
            failures += len(wrong)
            figures = ", ".join(f"{what}: {number}" for what, number in counts.items())
            say("\n  ".join([f"at random: {figures}, {len(wrong)} wrong", *wrong]))
    raise SystemExit(bool(failures))


if __name__ == "__main__":
    main()
