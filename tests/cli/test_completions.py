"""completions/ is what Typer generates, and bash completes with it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "completions"
NAMES = ("dfghdr.bash", "_dfghdr", "dfghdr.fish", "dfghdr.ps1")


def test_the_files_are_up_to_date(tmp_path):
    subprocess.run([sys.executable, FOLDER / "generate.py", tmp_path], check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)
    for name in NAMES:
        assert (FOLDER / name).read_text() == (tmp_path / name).read_text(), "make completions"


def test_zsh_knows_whom_the_file_completes():
    """zsh only reads the first line when it looks for completions."""
    assert (FOLDER / "_dfghdr").read_text().startswith("#compdef dfghdr\n")


BASH = """
source "{folder}/dfghdr.bash"; COMP_WORDS=({words}); COMP_CWORD=$(({count} - 1))
_dfghdr_completion dfghdr; printf '%s\\n' "${{COMPREPLY[@]}}"
"""
# What is offered is asked of the function that compinit registers, with what it hands on caught.
ZSH = """
fpath=("{folder}" $fpath); autoload -Uz compinit; compinit -D -u
_arguments() {{ print -r -- "$@" }}; _describe() {{ shift; print -rl -- "${{(@P)1}}" }}
words=({words}); CURRENT={count}
autoload -Uz +X _dfghdr; _dfghdr; _dfghdr_completion
"""
FISH = "source {folder}/dfghdr.fish; complete -C '{line}'"
CASES = [
    ("--vers", {"--version"}),
    ("merge --model m", {"mine"}),
    ("merge --preview-operator re", {"reinhard", "reinhard-local"}),
    ("merge --format a", {"avif"}),
    ("merge --method c", {"classic"}),
    ("merge --response s", {"srgb"}),
    ("merge --device c", {"cpu", "cuda"}),
    ("merge --reference a", {"auto"}),
    ("merge --to exr,j", {"exr,jpg", "exr,jxl"}),
    ("eval --method o", {"opencv-debevec", "opencv-robertson"}),
    ("tonemap --space p", {"p3"}),
    ("models show m", {"mine"}),
]


@pytest.mark.parametrize(("line", "values"), CASES, ids=[line for line, _ in CASES])
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes(shell, line, values, tmp_path, programs):
    """In the shell itself, where it is installed."""
    if not shutil.which(shell):
        pytest.skip(f"needs {shell}")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    words = ["dfghdr", *line.split()]
    script = {"bash": BASH, "zsh": ZSH, "fish": FISH}[shell].format(
        folder=FOLDER, words=" ".join(words), count=len(words), line=" ".join(words)
    )
    options = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    done = subprocess.run(
        [shell, *options, "-c", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "DFGHDR_MODELS_DIR": str(tmp_path),
            "HOME": str(tmp_path),
        },
        check=False,
    )
    offered = set(re.findall(r"[\w,:.-]+", done.stdout))
    assert values <= offered, done.stdout + done.stderr
    assert "dfgmerge-v6" not in offered  # which begins otherwise


@pytest.mark.parametrize(("line", "values"), CASES, ids=[line for line, _ in CASES])
def test_powershell_is_offered(line, values, tmp_path):
    """What the script of PowerShell asks the program, as it asks it."""
    script = (FOLDER / "dfghdr.ps1").read_text()
    assert "Register-ArgumentCompleter -Native -CommandName dfghdr" in script
    asked = re.findall(r'Env:(\w+) = ("complete_powershell"|\$\w+)', script)
    given = {
        '"complete_powershell"': "complete_powershell",
        "$commandAst": f"dfghdr {line}",
        "$wordToComplete": line.split()[-1],
    }
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    environment = {**os.environ, "DFGHDR_MODELS_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "dfghdr_cli"],
        capture_output=True,
        text=True,
        env=environment | {name: given[value] for name, value in asked},
        check=False,
    )
    offered = {row.split(":::")[0] for row in done.stdout.splitlines()}
    assert values <= offered, done.stderr
    assert all(one.startswith(line.split()[-1]) for one in offered)


def test_nothing_heavy_is_loaded():
    program = "from dfghdr_cli.cli import complete; import sys; complete.models(''); "
    program += "assert not {'torch', 'numpy', 'cv2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
