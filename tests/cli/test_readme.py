"""What README.md says is so: its examples run, its defaults are the defaults, its links lead."""

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
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
SMALL = {"width": (4, 4, 4), "disentangle_width": 4, "code_length": 4}
LONG_TRAINING = re.compile("--(steps|disentangle-steps) [0-9]+")
SHORT_TRAINING = r"--\1 1 --crop 64 --batch 1 --workers 0"


def fenced(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


SHELL = [block for block in fenced("sh") if re.search(r"^ *dfghdr ", block, re.MULTILINE)]


@pytest.fixture(scope="module")
def place(tmp_path_factory, make_scene):
    """A folder with all that the examples name: photographs, scenes, HDR images, weights."""
    folder = tmp_path_factory.mktemp("readme")
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
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
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
    assert len(fenced("python")) == 1


@pytest.mark.parametrize("block", SHELL, ids=lambda block: block.splitlines()[0])
def test_a_shell_example_runs(place, block):
    done = run(place, "bash", "-euo", "pipefail", "-c", LONG_TRAINING.sub(SHORT_TRAINING, block))
    assert "not merged" not in done.stderr
    for name in re.findall(r" -o ([\w.]+)", block):
        assert (place / name).is_file()
        assert name in done.stdout
    if "brackets/" in block:
        merged = {path.name for path in (place / "merged").glob("*.exr")}
        assert merged == {"one.exr", "two and a half.exr"}


def test_the_python_example_runs(place):
    (code,) = fenced("python")
    assert run(place, sys.executable, "-c", code).stdout.startswith("(160, 240, 3) 8.0")


@pytest.mark.xfail(strict=True, reason="it prepares the bracket by itself, and otherwise")
def test_the_python_example_merges_as_the_command_does(place):
    (code,) = fenced("python")
    run(
        place,
        sys.executable,
        "-c",
        code
        + """
import numpy
numpy.save("python.npy", result.radiance.pixels)
""",
    )
    command = ("dfghdr", "merge", "demo", "-o", "command.exr", "--exr-type", "float")
    run(place, *command, "--no-preview", "--overwrite")
    pixels, _ = read_radiance(place / "command.exr")
    assert np.array_equal(np.load(place / "python.npy"), pixels)


def table_below(head):
    """The cells of a table's rows, without the row of dashes."""
    _, found, rest = TEXT.partition(head + "\n")
    assert found
    lines = rest.partition("\n\n")[0].replace("\\|", "/").splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def long_options(cell):
    return re.findall(r"--[a-z][\w-]*", cell)


def parameters_of(command):
    """{"--option": its parameter} of what a command has of its own."""
    found = {parameter.opts[0]: parameter for parameter in command.params}
    common = ("--help", "--install-completion", "--show-completion")
    return {k: v for k, v in found.items() if k.startswith("--") and k not in common}


@pytest.mark.parametrize("command", ["merge", "train", "explore-disentangle", "tonemap", "eval"])
def test_each_table_has_the_options_and_defaults_of_its_command(command):
    parameters = parameters_of(get_command(app).commands[command])
    rows = table_below(f"| `dfghdr {command}` | default | |")
    table = {name: row for row in rows for name in long_options(row[0])}
    negations = {name for parameter in parameters.values() for name in parameter.secondary_opts}
    assert set(table) == {*parameters, *negations}
    for option, parameter in parameters.items():
        stated = table[option][1].strip("`")
        if parameter.required:
            assert stated == "required", option
        elif parameter.default is True:
            assert stated == option
        elif parameter.default is False:
            assert stated == "", option
        elif parameter.default is not None:
            assert stated == str(parameter.default), option
    if command in ("merge", "explore-disentangle"):
        assert table["--model"][1] == f"`{DEFAULT_MODEL}`"


def test_the_root_table_has_the_root_options():
    stated = [name for row in table_below("| `dfghdr` | |") for name in long_options(row[0])]
    assert stated == list(parameters_of(get_command(app)))


def test_the_table_of_models_has_each_commands_options():
    stated, command = {}, ""
    for first, option, *_ in table_below("| command | option | default | |"):
        if named := re.match(r"`dfghdr models (\w+)`", first):
            command = named[1]
        stated.setdefault(command, []).extend(long_options(option))
    commands = get_command(app).commands["models"].commands
    assert stated == {name: list(parameters_of(child)) for name, child in commands.items()}


def test_the_exit_codes_are_those_of_the_help():
    stated = [row[0] for row in table_below("| code | |")]
    assert stated == re.findall(r"(?:: |, )(\d+) ", get_command(app).epilog)


def anchor(heading):
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(((?!https?:)[^)]+)\)", TEXT))))
def test_a_link_leads_somewhere(link):
    if link.startswith("#"):
        assert link[1:] in map(anchor, re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE))
        return
    if link.startswith("models/") and not (ROOT / "models" / DEFAULT_MODEL).exists():
        pytest.skip("no released model yet")
    assert (ROOT / link).exists()
