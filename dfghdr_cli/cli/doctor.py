"""`dfghdr doctor`."""

from __future__ import annotations

import typer

from dfghdr_cli.cli import console, options


def doctor(
    json: options.Json = False,
    json_file: options.JsonFile = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Say what works here: versions, device, models, formats and a tiny merge, by trying them.

    For bug reports. Exit code 1 if something fails; a package that is not necessary may be absent.
    """
    from dfghdr_cli.pipeline.doctor import examine

    where = console.Json(json, json_file, overwrite)
    where.check()
    diagnosis = examine()
    if not where.put(diagnosis.to_json()):
        for name, text in diagnosis.facts.items():
            console.print_result(f"{name}: {text}")
        for check in diagnosis.checks:
            console.print_result(f"{check.group} {check.name}: {check.status}, {check.note}")
    if not diagnosis.healthy:
        raise typer.Exit(1)
