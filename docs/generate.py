"""Write the tables of options in docs/ from the commands: generate.py [--check] [FOLDER].

A table stands between `<!-- options of COMMAND -->` and `<!-- end of options -->`, COMMAND being
`dfghdr`, `dfghdr merge`, `dfghdr models list` and so on.
"""

import re
import sys
from pathlib import Path

import typer
from typer.main import get_command

from dfghdr_cli.cli.app import app
from dfghdr_cli.cli.help import PLAIN

TABLE = re.compile(
    r"(<!-- options of (dfghdr[\w -]*) -->\n).*?(<!-- end of options -->)", re.DOTALL
)
COMMON = {"--help", "--install-completion", "--show-completion"}


def main() -> None:
    """Rewrite the tables, or with --check end with code 1 where they are not up to date."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--check"]
    folder = Path(arguments[0]) if arguments else Path(__file__).parent
    stale = []
    for path in sorted(folder.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        new = TABLE.sub(lambda found: f"{found[1]}{table(found[2])}{found[3]}", text)
        if new == text:
            continue
        stale.append(path.name)
        if "--check" not in sys.argv:
            path.write_text(new, encoding="utf-8")
    if stale and "--check" in sys.argv:
        sys.exit(f"tables of options are not up to date in {', '.join(stale)}: run `make docs`")


def table(name: str) -> str:
    """The table of a command's arguments and options, as Markdown."""
    command = find(name)
    context = command.context_class(command, info_name=name)
    rows = [f"| `{name}` | default | |", "|---|---|---|"]
    for parameter in command.params:
        if getattr(parameter, "hidden", False) or COMMON & set(parameter.opts):
            continue
        cells = (spelled(parameter, context), default(parameter), str(parameter.help or ""))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(row.replace("|  |", "| |") for row in rows) + "\n"


def find(name: str) -> typer.core.TyperCommand:
    """A command by its words, `dfghdr` itself being the first."""
    command = get_command(app)
    for word in name.split()[1:]:
        command = command.commands[word]
    return command


def spelled(parameter: typer.core.TyperOption, context: typer.Context) -> str:
    """`--option`, `-o` METAVAR."""
    own = parameter.display_type(context).removeprefix("<").removesuffix(">")
    metavar = parameter.metavar or own.removeprefix("list[").removesuffix("]")
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar or metavar}`"
    names = ", ".join(f"`{text}`" for text in (*parameter.opts, *parameter.secondary_opts))
    if parameter.is_flag or parameter.count:
        return names
    kind = metavar.split()[0].lower()
    return f"{names} {PLAIN.get(kind, metavar)}"


def default(parameter: typer.core.TyperOption) -> str:
    """The default as the help has it."""
    if parameter.required:
        return "required"
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    value = parameter.default
    if value is None or value is False or callable(value) or value in ([], ()):
        return ""
    if value is True:
        return f"`{parameter.opts[0]}`"
    return "" if parameter.count else f"`{getattr(value, 'value', value)}`"


if __name__ == "__main__":
    main()
