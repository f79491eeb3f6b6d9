"""completions/ is what Typer generates, and bash completes with it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "completions"
NAMES = ("dfghdr.bash", "_dfghdr", "dfghdr.fish")


def test_the_files_are_up_to_date(tmp_path):
    subprocess.run([sys.executable, FOLDER / "generate.py", tmp_path], check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)
    for name in NAMES:
        assert (FOLDER / name).read_text() == (tmp_path / name).read_text(), "make completions"


def test_zsh_knows_whom_the_file_completes():
    """zsh only reads the first line when it looks for completions."""
    assert (FOLDER / "_dfghdr").read_text().startswith("#compdef dfghdr\n")


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_completes_an_option():
    script = (
        f'source "{FOLDER}/dfghdr.bash"; COMP_WORDS=(dfghdr --vers); COMP_CWORD=1; '
        '_dfghdr_completion dfghdr; echo "${COMPREPLY[@]}"'
    )
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path},
        check=True,
    )
    assert done.stdout == "--version\n"
