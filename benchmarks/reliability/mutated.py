"""Mutated inputs: every command ends in success or in one sentence: mutated.py [COUNT].

    nice python benchmarks/reliability/mutated.py 10000

makes 10 000 cases, one process after the other, in an hour or two. Each follows from its number, so
that `--only NUMBER --keep FOLDER` makes it again and leaves its files. A case fails where the
program calls itself buggy, prints a traceback, is ended by a signal, takes more than 60 s or 2 GiB,
loses or leaves something behind, or writes a result that is not whole.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import shutil
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from forked import Ending, Program, contents, say, verdict
from mutations import WORDS, jpeg, mutated, profile, settings, text, tiff
from seeds import STOPS, codes, png_chunk, write_seeds

Arguments = list[str]


class Cases:
    """What there is to try, by kind; each method fills a folder and returns the arguments."""

    def __init__(self, seeds: Path) -> None:
        """`seeds` is what `write_seeds` wrote."""
        self.seeds = seeds
        self.photographs = sorted((seeds / "photographs").iterdir())
        self.linear_pictures = sorted((seeds / "linear").iterdir())
        self.others = {
            name: [path.read_bytes() for path in sorted((seeds / name).rglob("*.*"))]
            for name in ("photographs", "linear", "models", "published")
        }

    def kinds(self) -> dict[str, tuple[int, Callable[[Random, Path], Arguments]]]:
        """Share of the cases, and what makes one."""
        return {
            "photograph": (34, self.photograph),
            "exif": (14, self.exif),
            "profile": (5, self.profile),
            "linear": (20, self.linear),
            "scene": (6, self.scene),
            "model": (8, self.model),
            "import": (3, self.weights),
            "response": (3, self.response),
            "explore": (2, self.explore),
            "settings": (2, self.settings),
            "leftovers": (2, self.leftovers),
            "batch": (1, self.batch),
        }

    def _frames(self, folder: Path, kind: str) -> Arguments:
        for path in sorted((self.seeds / "photographs" / kind).iterdir()):
            shutil.copy(path, folder)
        return sorted(path.name for path in folder.iterdir() if path.is_file())

    def photograph(self, rng: Random, folder: Path) -> Arguments:
        """One photograph of three, sometimes all of them alike."""
        kind = rng.choice(self.photographs)
        changed, seed = rng.choice(((0,), (1,), (2,), (0, 1, 2))), rng.random()
        names = []
        for number, path in enumerate(sorted(kind.iterdir())):
            data = path.read_bytes()
            if number in changed:
                data = mutated(data, path.suffix, Random(seed), self.others["photographs"])
            (folder / path.name).write_bytes(data)
            names.append(path.name)
        return ["merge", *names, *self._merge_options(rng)]

    def _merge_options(self, rng: Random) -> Arguments:
        names = ("result.exr", "result.hdr", "result.dng", "result.jpg", "result.png")
        names += ("result.tif", "result.avif", "result.jxl")
        chosen = rng.sample(names, rng.choice((1, 1, 2)))
        options = [word for name in chosen for word in ("-o", name)]
        one = rng.choice
        options += one(([], ["--ev", "-2,0,2"], ["--ev", "-2,0,2"], ["--ev-step", "2"]))
        options += one(([], ["--response", "srgb"], ["--response", "gamma"]))
        options += one((["--align", "none"], ["--align", "none"], ["--align", "shift"], []))
        options += one(([], ["--exr-type", "float"], ["--exr-compression", "dwaa"], ["--strip"]))
        options += one(([], ["--no-preview"], ["--json"], ["--output-space", "acescg"], ["-v"]))
        options += one(([], [], ["--ghost-map", "result.map.png"], ["--reference", "1"]))
        options += ["--method", "classic"] if rng.random() < 0.9 else []
        return options

    def exif(self, rng: Random, folder: Path) -> Arguments:
        """The EXIF data of all frames, alike: what a result carries over."""
        kind = rng.choice(("jpeg", "jpeg", "progressive", "pngchunks", "tiff16", "dng"))
        seed, names = rng.random(), []
        for path in sorted((self.seeds / "photographs" / kind).iterdir()):
            data, own = path.read_bytes(), Random(seed)
            if kind == "pngchunks":
                at = data.index(b"eXIf")
                length = int.from_bytes(data[at - 4 : at], "big")
                block = tiff(data[at + 4 : at + 4 + length], own)
                data = data[: at - 4] + png_chunk(b"eXIf", block) + data[at + 8 + length :]
            elif path.suffix == ".jpg":
                at = data.index(b"Exif\0\0") + 6
                length = int.from_bytes(data[at - 8 : at - 6], "big") - 8
                block = tiff(data[at : at + length], own)[:65000]
                size = struct.pack(">H", len(block) + 8)
                data = data[: at - 8] + size + b"Exif\0\0" + block + data[at + length :]
            else:
                data = tiff(data, own)
            (folder / path.name).write_bytes(data)
            names.append(path.name)
        pictures = ("result.avif", "result.jxl", "result.png", "result.tif", "result.jpg")
        results = ["result.exr", "result.hdr", rng.choice((*pictures, "result.dng"))]
        options = [word for name in results for word in ("-o", name)]
        options += rng.choice(([], ["--ev", "-2,0,2"], ["--no-gps"]))
        options += ["--method", "classic", "--response", "srgb", "--align", "none", "--json"]
        return ["merge", *names, *options]

    def profile(self, rng: Random, folder: Path) -> Arguments:
        """The ICC profile of all frames, alike."""
        import imagecodecs
        import tifffile
        from PIL import ImageCms

        name = rng.choice(("srgb", "adobergb", "gray", "lut"))
        if name == "lut":
            found = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
        else:
            found = bytes(imagecodecs.cms_profile(name))
        data = mutated(found, ".icc", rng) if rng.random() < 0.2 else profile(found, rng)
        for number, stops in enumerate(STOPS):
            path = folder / f"{number}.tif"
            tifffile.imwrite(path, codes(stops), photometric="rgb", iccprofile=data)
        options = ["-o", "result.exr", "--ev", "-2,0,2", "--method", "classic", "--align", "none"]
        return ["merge", "0.tif", "1.tif", "2.tif", *options]

    def linear(self, rng: Random, folder: Path) -> Arguments:
        """A linear picture, through tonemap."""
        path = rng.choice(self.linear_pictures)
        data = mutated(path.read_bytes(), path.suffix, rng, self.others["linear"])
        (folder / path.name).write_bytes(data)
        if rng.random() < 0.05:
            return ["tonemap", path.name, "--sheet", "result.jpg"]
        endings = ("jpg", "png", "tif", "avif", "jxl")
        operators = ("fusion", "mu-law", "gamma", "reinhard", "reinhard-local", "drago", "mantiuk")
        operators += ("durand", "hable", "aces", "agx", "khronos-neutral")
        options = ["-o", f"result.{rng.choice(endings)}", "--operator", rng.choice(operators)]
        options += rng.choice(([], ["--exposure", "0"], ["--json"], ["--space", "p3"]))
        return ["tonemap", path.name, *options]

    def scene(self, rng: Random, folder: Path) -> Arguments:
        """A file of a scene with truth, or of a prediction, through eval."""
        shutil.copytree(self.seeds / "scene", folder, dirs_exist_ok=True)
        names = ("one/exposure.txt", "one/exposure.txt", "one/HDRImg.hdr", "one/1.tif")
        path = folder / rng.choice((*names, "one/motion.png", "predictions/one.exr"))
        others = self.others["linear" if path.suffix in (".hdr", ".exr") else "photographs"]
        path.write_bytes(mutated(path.read_bytes(), path.suffix, rng, others))
        options = ["--method", "classic", "--method", "reference", "--metrics", "basic"]
        options += ["--predictions", "predictions"]
        options += rng.choice(([], ["--fit-scale"], ["--protocol", "paper"]))
        options += ["--json-file", "result.json", "--csv", "result.csv"]
        return ["eval", "one", *options, *rng.choice(([], ["--report", "result.html"]))]

    def model(self, rng: Random, folder: Path) -> Arguments:
        """A file of a model folder."""
        which = rng.choice(("merge", "paint"))
        model = folder / "models" / which
        shutil.copytree(self.seeds / "models" / which, model)
        names = ("config.json", "config.json", "model.safetensors", "golden.safetensors")
        path = model / rng.choice((*names, "README.md"))
        change = settings if path.suffix == ".json" and rng.random() < 0.8 else None
        data = path.read_bytes()
        path.write_bytes(
            change(data, rng) if change else mutated(data, path.suffix, rng, self.others["models"])
        )
        name = f"models/{which}"
        commands = (["verify", name], ["verify", name, "--json"], ["show", name], ["list"])
        commands += (["show", name, "--json"], ["list", "--json"])
        if rng.random() < 0.7:
            return ["models", *rng.choice(commands)]
        frames = self._frames(folder, "tiff")
        options = ["--response", "srgb", "--align", "none", "--ev", "-2,0,2", "-o", "result.exr"]
        return ["merge", *frames, "-m", name, *options]

    def weights(self, rng: Random, folder: Path) -> Arguments:
        """A file of published weights, or a file within its archive, through models import."""
        import io
        import zipfile

        shutil.copytree(self.seeds / "published", folder / "published")
        path = rng.choice(sorted((folder / "published").iterdir()))
        data = path.read_bytes()
        if rng.random() < 0.5:
            made = io.BytesIO()
            with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w") as new:
                names = old.namelist()
                pickle = next(name for name in names if name.endswith("data.pkl"))
                chosen = rng.choice((pickle, pickle, rng.choice(names)))
                for name in names:
                    content = old.read(name)
                    content = mutated(content, "", rng) if name == chosen else content
                    new.writestr(name, content)
            path.write_bytes(made.getvalue())
        else:
            path.write_bytes(mutated(data, "", rng, self.others["published"]))
        return ["models", "import", "published", "--name", "new", "--models-dir", "models"]

    def response(self, rng: Random, folder: Path) -> Arguments:
        """A table of a camera's response."""
        path = self.seeds / "tables" / rng.choice(("rgb.csv", "one.csv"))
        frames = self._frames(folder, "tiff")
        (folder / "response.csv").write_bytes(mutated(path.read_bytes(), ".csv", rng))
        options = ["--ev", "-2,0,2", "--method", "classic", "--align", "none", "-o", "result.exr"]
        return ["merge", *frames, "--response", "response.csv", *options]

    def explore(self, rng: Random, folder: Path) -> Arguments:
        """A photograph, through explore-disentangle."""
        names = [word for word in self.photograph(rng, folder)[1:4] if (folder / word).exists()]
        shutil.copytree(self.seeds / "models" / "paint", folder / "paint")
        options = ["--model", "paint", "--size", "64", *rng.choice(([], ["--ev", "-2,0,2"]))]
        results = (["-o", "result.png"], ["--html", "result.html"], ["-o", "result.jpg"])
        return ["explore-disentangle", *names, *options, *rng.choice(results)]

    def settings(self, rng: Random, folder: Path) -> Arguments:
        """A file of settings, or a variable."""
        path = self.seeds / "tables" / "dfghdr.toml"
        change = text if rng.random() < 0.7 else lambda data, rng: mutated(data, "", rng)
        frames = self._frames(folder, "tiff")
        (folder / path.name).write_bytes(change(path.read_bytes(), rng))
        if rng.random() < 0.6:
            return ["config", "show", *rng.choice(([], ["--json"]))]
        return ["merge", *frames, "-o", "result.exr"]

    def leftovers(self, rng: Random, folder: Path) -> Arguments:
        """Hidden files that a stopped run may have left, or somebody may have put there."""
        frames = self._frames(folder, "tiff")
        (folder / "kept.exr").write_bytes(b"kept")
        token = ".dfghdr-0123456789abcdef"
        entry = {"folder": ".", "part": f"{token}-0.part", "name": "kept.exr", "file": [1, 2]}
        import json

        data = json.dumps({"overwrite": True, "files": [entry]}).encode()
        data = settings(data, rng) if rng.random() < 0.5 else mutated(data, ".csv", rng)
        (folder / f"{token}.journal").write_bytes(data)
        (folder / f"{token}-0.part").write_bytes(b"part")
        options = ["--ev", "-2,0,2", "--method", "classic", "--align", "none", "--response", "srgb"]
        return ["merge", *frames, *options, "-o", "result.exr"]

    def batch(self, rng: Random, folder: Path) -> Arguments:
        """Photographs and a manifest, through merge --batch --dry-run."""
        kind = rng.choice(("jpeg", "pngchunks", "dng", "mpo", "heic"))
        for path in sorted((self.seeds / "photographs" / kind).iterdir()):
            data = path.read_bytes()
            if rng.random() < 0.7:
                change = jpeg if path.suffix in (".jpg", ".mpo") and rng.random() < 0.8 else None
                with contextlib.suppress(IndexError, struct.error):
                    data = change(data, rng) if change else mutated(data, path.suffix, rng)
            (folder / path.name).write_bytes(data)
        (folder / "merged").mkdir()
        entry = b'{"name": "0-2", "status": "failed", "inputs": [], "outputs": [], "settings": {}}'
        (folder / "merged" / "dfghdr-batch.jsonl").write_bytes(mutated(entry, ".csv", rng))
        options = rng.choice((["--resume"], ["--by-folder"], ["--recursive"], ["--json"]))
        return ["merge", ".", "--batch", "--dry-run", "-o", "merged", *options]


def make(cases: Cases, number: int, folder: Path) -> tuple[str, Arguments]:
    """Make a case by its number in an empty folder; its kind and the arguments."""
    rng = Random(f"mutated {number}")
    kinds = cases.kinds()
    kind = rng.choices(list(kinds), [share for share, _ in kinds.values()])[0]
    arguments = kinds[kind][1](rng, folder)
    if rng.random() < 0.02:  # what a person may type
        arguments[rng.randrange(1, len(arguments))] = rng.choice(WORDS).replace("\0", "")
    return kind, arguments


def attempt(
    program: Program, cases: Cases, number: int, work: Path
) -> tuple[str, Arguments, Ending, str]:
    """Try a case in a folder that is emptied before; kind, arguments, ending and verdict."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    kind, arguments = make(cases, number, work)
    before = contents(work)
    variables = {"DFGHDR_MODELS_DIR": "models", "HOME": str(work), "XDG_CONFIG_HOME": str(work)}
    ending = program.run(arguments, work, variables=variables)
    after = contents(work)
    if kind == "leftovers":  # which the program may take away
        before = {name: one for name, one in before.items() if ".dfghdr-" not in name}
        after = {name: one for name, one in after.items() if ".dfghdr-" not in name}
    wrong = verdict(ending, before, after, partly=arguments[0] in ("eval", "tonemap"))
    return kind, arguments, ending, wrong


def main() -> None:
    """Try them; exit code 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", type=int, nargs="?", default=1000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--only", type=int, help="number of the only case")
    parser.add_argument("--keep", type=Path, help="where files of failed cases go")
    chosen = parser.parse_args()
    program, began = Program(), time.monotonic()
    counts: collections.Counter[str] = collections.Counter()
    slowest = largest = 0.0
    with tempfile.TemporaryDirectory() as place:
        write_seeds(Path(place) / "seeds")
        cases, work = Cases(Path(place) / "seeds"), Path(place) / "work"
        numbers = range(chosen.first, chosen.first + chosen.count)
        for number in [chosen.only] if chosen.only is not None else numbers:
            kind, arguments, ending, wrong = attempt(program, cases, number, work)
            counts["cases"] += 1
            counts[kind] += 1
            counts[f"code {ending.code}"] += 1
            slowest, largest = max(slowest, ending.seconds), max(largest, ending.gigabytes)
            if wrong or chosen.only is not None:
                say(f"{number} {kind}: {' '.join(arguments)!r}: {wrong or 'sound'}")
                counts["failed"] += bool(wrong)
                if chosen.keep:
                    kept = chosen.keep / str(number)
                    shutil.rmtree(kept, ignore_errors=True)
                    shutil.copytree(work, kept, symlinks=True)
            if counts["cases"] % 500 == 0:
                say(
                    f"{counts['cases']} cases, {counts['failed']} failed, "
                    f"{time.monotonic() - began:.0f} s"
                )
    figures = ", ".join(f"{name}: {count}" for name, count in counts.items() if name != "cases")
    say(f"{counts['cases']} cases in {time.monotonic() - began:.0f} s; {figures}")
    say(f"the slowest took {slowest:.1f} s, the largest {largest:.2f} GiB")
    raise SystemExit(bool(counts["failed"]))


if __name__ == "__main__":
    os.umask(0o022)
    main()
