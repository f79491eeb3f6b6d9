"""Write the man page of dfghdr from the commands: manpage.py FILE."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from dfghdr_cli import __version__
from dfghdr_cli.cli.app import EPILOG, app
from dfghdr_cli.cli.merge import EXAMPLES

ENVIRONMENT = {
    "DFGHDR_OPTION": "The default of --option, as DFGHDR_ALIGN that of --align.",
    "DFGHDR_MODELS_DIR": "Where models are looked for first.",
}
FILES = {
    "dfghdr.toml": "Defaults of options, here or in a folder above; see dfghdr config show.",
    "OUT/dfghdr-batch.jsonl": "What became of each bracket of a batch.",
}


def main() -> None:
    """Write the page into the file named on the command line."""
    Path(sys.argv[1]).write_text("\n".join(page()) + "\n", encoding="utf-8")


def page() -> Iterator[str]:
    """The lines of the page, in the macros of man(7)."""
    root = get_command(app)
    yield f'.TH DFGHDR 1 "" "dfghdr {__version__}" "User Commands"'
    yield ".SH NAME"
    yield f"dfghdr \\- {text(str(root.help)[0].lower() + str(root.help)[1:].rstrip('.'))}"
    yield ".SH SYNOPSIS"
    for words, command in commands((), root):
        yield ".PP"
        names = " ".join(("dfghdr", *words))
        yield f"\\fB{text(names)}\\fR {text(arguments(command))}".rstrip()
    yield ".SH OPTIONS OF ALL COMMANDS"
    yield from options(root)
    for words, command in commands((), root):
        yield f".SH {text(' '.join(words).upper())}"
        for part in str(command.help).split("\n\n"):
            yield ".PP"
            yield text(" ".join(part.split()))
        yield from options(command)
    yield ".SH EXAMPLES"
    yield ".nf"
    yield from (text(line.strip()) for line in EXAMPLES.splitlines() if "dfghdr" in line)
    yield ".fi"
    for title, entries in (("ENVIRONMENT", ENVIRONMENT), ("FILES", FILES)):
        yield f".SH {title}"
        for name, meaning in entries.items():
            yield from (".TP", f".B {text(name)}", text(meaning))
    yield ".SH EXIT STATUS"
    for code, meaning in re.findall(r"(\d+) ([^,.]+)", " ".join(EPILOG.split())):
        yield from (".TP", f".B {code}", text(meaning))


def commands(words: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with its words."""
    children = getattr(command, "commands", {})
    for name, child in children.items():
        if not child.hidden:
            yield from commands((*words, name), child)
    if words and not children:
        yield words, command


def arguments(command: Any) -> str:
    """What follows a command."""
    names = [str(p.metavar) for p in command.params if p.param_type_name == "argument"]
    return " ".join([*names, "[OPTIONS]"])


def options(command: Any) -> Iterator[str]:
    """A paragraph for each argument and option."""
    context = command.context_class(command, info_name="dfghdr")
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is None or getattr(parameter, "hidden", False):
            continue
        names, meaning = record
        if parameter.param_type_name == "argument" and parameter.metavar:
            names = str(parameter.metavar)
        yield from (".TP", f".B {text(names)}", text(" ".join(meaning.split())))


def text(words: str) -> str:
    """Words as roff takes them."""
    safe = words.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{safe}" if safe.startswith((".", "'")) else safe


if __name__ == "__main__":
    main()
