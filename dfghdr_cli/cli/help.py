"""What `--help` looks like: plain text of 80 columns, in parts, which every terminal can show."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

INPUTS, EXPOSURES, MERGE = "Inputs", "Exposures", "Merge"
RESULTS, LIMITS, BATCHES = "Results", "Limits", "Batches"
PLAIN = {
    "list[path]": "FILE...",
    "path": "FILE",
    "text": "TEXT",
    "str": "TEXT",
    "int": "N",
    "float": "X",
}
"""What a type that Typer names by itself is called here."""


class Command(TyperCommand):
    """A command whose options are shown in the parts that `rich_help_panel` names.

    Those that name none are the last part, called Options.
    """

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and options."""
        parts: dict[str, list[tuple[str, str]]] = {INPUTS: []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            part = getattr(parameter, "rich_help_panel", None)
            if part is None:
                part = INPUTS if parameter.param_type_name == "argument" else "Options"
            name = _shown(record[0])
            if parameter.param_type_name == "argument" and parameter.metavar:
                name = str(parameter.metavar)
            parts.setdefault(part, []).append((name, record[1]))
        last = parts.pop("Options", [])
        for part, records in (*parts.items(), ("Options", last)):
            if records:
                with formatter.section(part):
                    formatter.write_dl(records)


def _shown(names: str) -> str:
    """`--option <type>` without the brackets, and without Python's names of types."""
    head, bracket, kind = names.rpartition(" <")
    if not bracket:
        return names
    kind = kind.removesuffix(">")
    return f"{head} {PLAIN.get(kind.lower(), kind)}"
