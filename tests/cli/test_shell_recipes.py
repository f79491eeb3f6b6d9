"""The recipes of docs/shell.md work as they stand."""

import os
import plistlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from dfghdr_cli.modelstore import DEFAULT_MODEL, install_model
from dfghdr_cli.nets.registry import build
from tests.support.scripts import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a shell of POSIX")

PAGE = (ROOT / "docs" / "shell.md").read_text(encoding="utf-8")
SMALL = {"width": (4, 4, 4), "disentangle_width": 4, "code_length": 4}
NAMES = ("one", "two and a half")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with two brackets, a model, and the program where a user has it."""
    folder = tmp_path_factory.mktemp("shell")
    for name in NAMES:
        (folder / "brackets" / name).mkdir(parents=True)
        for path in (ROOT / "demo").glob("*.jpg"):
            with Image.open(path) as image:
                small = image.resize((240, 160), Image.Resampling.BOX)
                place = folder / "brackets" / name / path.name
                small.save(place, quality=95, exif=image.getexif())
    install_model(build("dfgmerge", SMALL), DEFAULT_MODEL, folder / "models")
    program = folder / ".local" / "bin" / "dfghdr"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m dfghdr_cli "$@"\n')
    program.chmod(0o755)
    return folder


def environment(home, programs):
    return {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "DFGHDR_MODELS_DIR": str(home / "models"),
        "XDG_DATA_HOME": str(home / "data"),
    }


def run(home, programs, *command):
    done = subprocess.run(
        command,
        cwd=home,
        env=environment(home, programs),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_scripts(home, programs):
    """In the order of the page, since later ones show what earlier ones made."""
    assert len(blocks("sh")) == 5
    said = [run(home, programs, "bash", "-euo", "pipefail", "-c", block) for block in blocks("sh")]
    for name in NAMES:
        for ending in ("exr", "jpg"):
            assert (home / "merged" / f"{name}.{ending}").exists()
            assert (home / "brackets" / f"{name}.{ending}").exists()
        assert (home / "web" / f"{name}.avif").exists()
    assert not (home / "failed.txt").exists()
    assert said[3].splitlines()[-1] == ""  # nothing has failed


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_the_rule_of_make(home, programs):
    (rule,) = blocks("make")
    (home / "Makefile").write_text(rule)
    command = re.search(r"`(make [^`]+)`", PAGE)[1].split()
    run(home, programs, *command)
    assert (home / "pictures" / "one.exr").exists()
    assert "up to date" in run(home, programs, *command)


def test_the_folder_that_fills(home):
    """The service is started as systemd does it, and ended as it does; launchd's is the same."""
    (unit,) = blocks("ini")
    settings = dict(re.findall(r"^(\w+)=(.*)$", unit, re.MULTILINE))
    command = shlex.split(settings["ExecStart"].replace("%h", str(home)))
    (agent,) = blocks("xml")
    there = plistlib.loads(agent.encode())["ProgramArguments"]
    assert [word.replace("/Users/me", str(home)) for word in there] == command
    typed = re.search(r"^```\n(dfghdr .*--watch.*)\n```$", PAGE, re.MULTILINE)
    assert shlex.split(typed[1])[1:] == [word.removeprefix(f"{home}/") for word in command[1:]]

    (home / "incoming").mkdir()
    running = subprocess.Popen(  # the real program, as it is sent a signal
        command,
        env=environment(home, home / ".local" / "bin"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for path in (home / "brackets" / "one").glob("*.jpg"):
        shutil.copy(path, home / "incoming")
    merged = Path(running.stdout.readline().rstrip("\n"))
    assert merged == home / "merged" / "1_short-3_long.jpg"
    assert merged.exists()
    running.send_signal(getattr(signal, settings["KillSignal"]))
    running.communicate(timeout=60)
    assert running.returncode == -signal.SIGINT
