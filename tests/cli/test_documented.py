"""Every command answers --help, and every option says what it is for."""

import re

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from dfghdr_cli.cli.app import app


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


@pytest.mark.parametrize("path", commands(app), ids=lambda path: " ".join(("dfghdr", *path)))
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_has_help(path, option):
    result = CliRunner().invoke(app, [*path, option])
    assert result.exit_code == 0
    assert f"Usage: {' '.join(('dfghdr', *path))} " in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize("path", commands(app), ids=lambda path: " ".join(("dfghdr", *path)))
def test_help_suits_any_terminal_of_80_columns(path):
    shown = CliRunner().invoke(app, [*path, "--help"]).stdout
    assert shown.isascii()
    assert [line for line in shown.splitlines() if len(line) > 80] == []


def test_help_of_merge_comes_in_parts_and_ends_with_examples():
    shown = CliRunner().invoke(app, ["merge", "--help"]).stdout
    parts = re.findall(r"^(\w+):$", shown, re.MULTILINE)
    assert parts == ["Inputs", "Results", "Exposures", "Merge", "Limits", "Batches", "Options"]
    assert shown.rstrip().splitlines()[-1].startswith("    dfghdr merge ")


def test_every_command_and_option_says_what_it_is_for():
    silent = [
        " ".join(("dfghdr", *path, *getattr(item, "opts", ())))
        for path, command in commands(app).items()
        for item in (command, *command.params)
        if not item.help
    ]
    assert silent == []
