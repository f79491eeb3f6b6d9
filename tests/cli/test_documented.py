"""Every command answers --help, and README.md names every command and every option."""

import re
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from dfghdr_cli.cli.app import app

README = Path(__file__).parents[2] / "README.md"


def commands(typer_app):
    """{("models", "list"): command, ...} of all visible sub-commands, the root being ()."""
    found = {}

    def walk(path, command):
        found[path] = command
        for name, child in getattr(command, "commands", {}).items():
            if not child.hidden:
                walk((*path, name), child)

    walk((), get_command(typer_app))
    return found


def undocumented(typer_app, text):
    """What a program has and a text does not name: "dfghdr COMMAND" and "--option"."""
    missing = []
    for path, command in commands(typer_app).items():
        name = " ".join(("dfghdr", *path))
        if not re.search(rf"{re.escape(name)}(?![\w-])", text):
            missing.append(name)
        for parameter in command.params:
            options = [option for option in parameter.opts if option.startswith("--")]
            missing += [
                f"{name} {option}"
                for option in options
                if not parameter.hidden and not re.search(rf"{option}(?![\w-])", text)
            ]
    return missing


@pytest.fixture
def toy():
    """A program with a command, a group and options to be found."""
    toy = typer.Typer()
    group = typer.Typer()

    @toy.command("merge")
    def merge(frames: list[str], model_dir: Annotated[str, typer.Option()] = "") -> None: ...

    @group.command("list")
    def list_(json: bool = False) -> None: ...

    toy.add_typer(group, name="models")
    return toy


def test_what_a_readme_lacks_is_found(toy):
    text = "dfghdr merge --model-dir X; dfghdr models list --json --install-completion"
    assert undocumented(toy, text) == ["dfghdr --show-completion"]
    assert undocumented(toy, text.replace("--model-dir", "--model"))[1:] == [
        "dfghdr merge --model-dir"
    ]
    assert "dfghdr models list" in undocumented(toy, text.replace("models list", "models"))


def test_the_readme_names_every_command_and_option():
    if len(commands(app)) == 1:
        pytest.skip("no sub-command yet")
    assert undocumented(app, README.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", commands(app), ids=lambda path: " ".join(("dfghdr", *path)))
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_has_help(path, option):
    result = CliRunner().invoke(app, [*path, option])
    assert result.exit_code == 0
    assert f"Usage: {' '.join(('dfghdr', *path))} " in result.stdout
    assert result.stderr == ""


def test_every_command_and_option_says_what_it_is_for():
    silent = [
        " ".join(("dfghdr", *path, *getattr(item, "opts", ())))
        for path, command in commands(app).items()
        for item in (command, *command.params)
        if not item.help
    ]
    assert silent == []
