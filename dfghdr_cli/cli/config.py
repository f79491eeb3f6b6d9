"""`dfghdr config`."""

from __future__ import annotations

from json import dumps

import typer

from dfghdr_cli.cli import console, options, settings

app = typer.Typer(
    help="Show the settings that variables and files make.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"]},
)


@app.callback()
def config() -> None:
    """Show the settings that variables and files make."""


@app.command()
def show(
    context: typer.Context,
    json: options.Json = False,
    json_file: options.JsonFile = None,
    overwrite: options.Overwrite = False,
) -> None:
    """List every option that is set, its value, and the variable or file it comes from."""
    root = context.find_root()
    commands = settings.commands_with_settings(root.command)
    found = settings.settings(commands)
    files = [str(path) for path in settings.files_read()]
    entries = [
        {"command": s.command, "option": s.option, "value": s.value, "source": s.source}
        for s in found
    ]
    where = console.Json(json, json_file, overwrite)
    where.check(inputs=settings.files_read)
    closed = settings.files_closed()
    for path in closed:
        console.print_warning(f"{path} cannot be looked at: no permission for its folder.")
    told = {"files": files, "closed": [str(path) for path in closed], "settings": entries}
    if where.put(dumps(told)):
        return
    for path in files:
        console.print_status(f"read: {path}")
    if not found:
        console.print_status("Nothing is set: every option has its own default.")
    for one in found:
        value = dumps(one.value, ensure_ascii=False)
        console.print_result(f"{one.command} --{one.option} = {value}  ({one.source})")
