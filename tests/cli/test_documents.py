"""What README.md and docs/ say is so: examples run, tables are the commands', links lead."""

import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.main import get_command

from dfghdr_cli.cli.app import app
from dfghdr_cli.core.types import RadianceImage
from dfghdr_cli.io.radiance import read_radiance, write_radiance
from dfghdr_cli.modelstore import DEFAULT_MODEL, install_model
from dfghdr_cli.nets.registry import build

ROOT = Path(__file__).parents[2]
PATHS = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "notes").glob("*.md")),
)
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PATHS}
SMALL = {"width": (4, 4, 4), "disentangle_width": 4, "code_length": 4}
LONG_TRAINING = re.compile("--(steps|disentangle-steps) [0-9]+")
SHORT_TRAINING = r"--\1 1 --crop 64 --batch 1 --workers 0"


def fenced(language):
    """[(document, block), ...]"""
    pattern = re.compile(rf"^```{language}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [(name, block) for name, text in TEXTS.items() for block in pattern.findall(text)]


SHELL = {
    block: name
    for name, block in fenced("sh")
    if re.search(r"^ *dfghdr ", block, re.MULTILINE) and name != "docs/shell.md"
}
"""Each once, however many documents have it; `test_shell_recipes` has those of one by itself."""


@pytest.fixture(scope="module")
def place(tmp_path_factory, make_scene, programs):
    """A folder with all that the examples name: photographs, scenes, HDR images, weights."""
    folder = tmp_path_factory.mktemp("documents")
    (folder / "programs").symlink_to(programs)
    (folder / "demo").mkdir()
    for path in (ROOT / "demo").glob("*.jpg"):
        with Image.open(path) as image:
            small = image.resize((240, 160), Image.Resampling.BOX)
            small.save(folder / "demo" / path.name, quality=95, exif=image.getexif())
    for name in ("one", "two and a half"):
        shutil.copytree(folder / "demo", folder / "brackets" / name)
    (folder / "panoramas").mkdir()
    noise = np.random.default_rng(0).random((16, 24, 3), np.float32)
    smooth = cv2.resize(noise, (384, 256), interpolation=cv2.INTER_LINEAR)
    write_radiance(folder / "panoramas" / "sky.exr", RadianceImage(smooth, 1.0))
    make_scene(folder / "scenes" / "one")
    shutil.copytree(ROOT / "tests" / "fixtures" / "published-width8", folder / "published")
    install_model(build("dfgmerge", SMALL), DEFAULT_MODEL, folder / "models")
    return folder


def run(place, *command):
    """Run a command there, in an environment where only its own models are found."""
    environment = {
        **os.environ,
        "PATH": f"{place / 'programs'}{os.pathsep}{os.environ['PATH']}",
        "DFGHDR_MODELS_DIR": str(place / "models"),
        "XDG_DATA_HOME": str(place / "data"),
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run(
        command, cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_the_examples_are_found():
    for command in ("merge", "tonemap", "train", "eval", "models"):
        assert any(f"dfghdr {command} " in block for block in SHELL)
    assert fenced("python")


@pytest.mark.parametrize("block", SHELL, ids=lambda block: block.splitlines()[0])
def test_a_shell_example_runs(place, block):
    done = run(place, "bash", "-euo", "pipefail", "-c", LONG_TRAINING.sub(SHORT_TRAINING, block))
    assert "not merged" not in done.stderr
    for name in re.findall(r" -o ([\w.]+)", block):
        assert (place / name).exists()
        assert name in done.stdout
    if "--by-folder" in block:
        merged = {path.name for path in (place / "merged").glob("*.exr")}
        assert {"one.exr", "two and a half.exr"} <= merged


def test_the_python_example_merges_as_the_command_does(place):
    code = next(code for name, code in fenced("python") if "library" in name)
    assert run(place, sys.executable, "-c", code).stdout.startswith("(160, 240, 3) 8.0")
    run(place, "dfghdr", "merge", "demo", "-o", "command.exr", "--no-preview", "--overwrite")
    pixels, _ = read_radiance(place / "command.exr")
    assert np.array_equal(read_radiance(place / "python.exr")[0], pixels)


def test_the_python_example_of_the_metric_runs(place):
    code = next(code for name, code in fenced("python") if "metrics" in name)
    pictures = "import numpy as np\ntest = reference = np.full((64, 64, 3), 0.2, np.float32)\n"
    assert "100" in run(place, sys.executable, "-c", pictures + code).stdout


def test_the_readme_is_short():
    assert len(TEXTS["README.md"].splitlines()) <= 150


def test_the_tables_of_options_are_those_of_the_commands():
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_command_has_its_table():
    """And is named, with every option, since the tables are complete."""
    have = set(re.findall(r"<!-- options of (dfghdr[\w -]*) -->", "".join(TEXTS.values())))

    def names(path, command):
        children = {n: c for n, c in getattr(command, "commands", {}).items() if not c.hidden}
        if not children or len(path) == 1:
            yield " ".join(path)
        for name, child in children.items():
            yield from names((*path, name), child)

    assert have == set(names(("dfghdr",), get_command(app)))


def test_the_exit_codes_are_those_of_the_help():
    _, _, rest = TEXTS["docs/merge.md"].partition("| code | |\n|---|---|\n")
    stated = re.findall(r"^\| (\d+) \|", rest.partition("\n\n")[0], re.MULTILINE)
    assert stated == re.findall(r"(?:: |, )(\d+) ", get_command(app).epilog)


PAPER = TEXTS["docs/paper.md"]


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(dfghdr_cli\.[\w.]+)`", PAPER))))
def test_what_the_page_of_the_paper_names_is_there(name):
    module, _, attribute = name.rpartition(".")
    assert getattr(importlib.import_module(module), attribute).__doc__


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(tests/[\w/]+\.py::\w+)`", PAPER))))
def test_the_page_of_the_paper_names_tests(name):
    path, _, function = name.partition("::")
    assert f"\ndef {function}(" in (ROOT / path).read_text(encoding="utf-8")


def test_every_equation_has_a_row():
    stated = re.findall(r"^\| (\([\d, ()]+\)) \|", PAPER, re.MULTILINE)
    assert sorted({int(n) for cell in stated for n in re.findall(r"\d+", cell)}) == [*range(1, 12)]


EQUATIONS = re.findall(r"^\| (\([\d, ()]+\)) \| [^|]+ \| ([^|]+) \|", PAPER, re.MULTILINE)


@pytest.mark.parametrize(("stated", "code"), EQUATIONS, ids=[stated for stated, _ in EQUATIONS])
def test_the_code_says_which_equation_it_computes(stated, code):
    said = ""
    for name in re.findall(r"`(dfghdr_cli\.[\w.]+)`", code):
        module = importlib.import_module(name.rpartition(".")[0])
        said += f"{module.__doc__}\n{getattr(module, name.rpartition('.')[2]).__doc__}\n"
    for number in re.findall(r"\d+", stated):
        assert re.search(rf"[Ee]q\. (\(\d+\),? (and )?)*\({number}\)", said), number


def anchors(text):
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


LINKS = sorted(
    {
        (name, link)
        for name, text in TEXTS.items()
        for link in re.findall(r"\]\(((?!https?:)[^)\s]+)\)", text)
    }
)


@pytest.mark.parametrize(("name", "link"), LINKS)
def test_a_link_leads_somewhere(name, link):
    path, _, heading = link.partition("#")
    target = (ROOT / name).parent / path if path else ROOT / name
    assert target.exists()
    if heading:
        assert heading in anchors(target.read_text(encoding="utf-8"))
