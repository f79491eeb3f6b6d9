"""Settings: a flag, else a variable DFGHDR_*, else dfghdr.toml here or above, else the user's."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Any

from dfghdr_cli.errors import InputError, UsageError

FILE = "dfghdr.toml"
PREFIX = "DFGHDR_"
_LONGEST = 1_000_000
"""Bytes of a file of settings."""
_FOR_FLAGS_ALONE = frozenset({"output", "overwrite", "help"})
"""Options that no file and no variable may set: where results go, and what they may replace."""
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclass(frozen=True, slots=True)
class Setting:
    """A default of one option of one command, and where it comes from.

    Attributes:
        command: name.
        option: long name without its dashes.
        parameter: what Typer calls it.
        value: text, texts or a truth value, as Typer takes defaults.
        source: the variable or file.
    """

    command: str
    option: str
    parameter: str
    value: str | bool | list[str]
    source: str


def files_read() -> list[Path]:
    """The files that settings come from, the one that decides first."""
    near, own = _places()
    first = next((path for path in near if _is_file(path)), None)
    return [path for path in (first, *own) if path is not None and _is_file(path)]


def files_closed() -> list[Path]:
    """Where a file of settings may be that nobody lets us look at."""
    return [path for places in _places() for path in places if _is_file(path) is None]


def _places() -> tuple[list[Path], list[Path]]:
    """Where settings may be: those of the folder, the nearest first, and the user's."""
    from platformdirs import user_config_path

    try:
        here = Path.cwd()
        near = [place / FILE for place in (here, *here.parents)]
    except OSError:  # the working folder is gone
        near = []
    try:
        own = [user_config_path("dfghdr") / FILE]
    except RuntimeError:  # neither HOME nor an entry in the list of users
        own = []
    return near, own


def _is_file(path: Path) -> bool | None:
    """Whether a file is there; None where that cannot be told."""
    try:
        return S_ISREG(path.stat().st_mode)
    except PermissionError:
        return None
    except (OSError, ValueError):
        return False


def settings(commands: Mapping[str, Any]) -> list[Setting]:
    """All that is set.

    Args:
        commands: name to Typer's command; groups of commands have no settings.

    Returns:
        At most one setting of each option.

    Raises:
        InputError: a file cannot be read, or is no TOML.
        UsageError: it sets what no command has, or to what an option cannot take.
    """
    found: dict[tuple[str, str], Setting] = {}
    for one in (*_of_variables(commands), *_of_files(commands)):
        found.setdefault((one.command, one.option), one)
    return list(found.values())


def default_map(commands: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """`settings` as a context of Typer takes them: command to parameter to default."""
    found: dict[str, dict[str, Any]] = {}
    for one in settings(commands):
        found.setdefault(one.command, {})[one.parameter] = one.value
    return found


def commands_with_settings(root: Any) -> dict[str, Any]:
    """Name to command, of those of the root command that are no groups."""
    found = root.commands.items()
    return {name: one for name, one in found if not hasattr(one, "commands") and not one.hidden}


def options_of(command: Any) -> dict[str, Any]:
    """Long name without dashes to parameter, of the options that may be set."""
    return {
        text.removeprefix("--"): parameter
        for parameter in command.params
        if parameter.param_type_name == "option"
        for text in parameter.opts
        if text.startswith("--") and text.removeprefix("--") not in _FOR_FLAGS_ALONE
    }


def _of_variables(commands: Mapping[str, Any]) -> Iterator[Setting]:
    given = {k: v for k, v in os.environ.items() if k.startswith(PREFIX) and v}
    if not given:
        return
    for name, command in commands.items():
        for option, parameter in options_of(command).items():
            variable = PREFIX + option.upper().replace("-", "_")
            if variable in given:
                value = _value(given[variable], parameter, variable)
                yield Setting(name, option, parameter.name, value, variable)


def _of_files(commands: Mapping[str, Any]) -> Iterator[Setting]:
    for path in files_read():
        content = _content(path)
        tables = {k: v for k, v in content.items() if isinstance(v, dict)}
        if unknown := [name for name in tables if name not in commands]:
            raise UsageError(
                f"{path}: there is no command {unknown[0]}; it has tables of {', '.join(commands)}."
            )
        common = {k: v for k, v in content.items() if not isinstance(v, dict)}
        known = {option for command in commands.values() for option in options_of(command)}
        for key in common:
            _ensure_known(path, key, known, "any command")
        for name, command in commands.items():
            options = options_of(command)
            own = tables.get(name, {})
            for key in own:
                _ensure_known(path, key, set(options), name)
            for key, value in {**common, **own}.items():
                option = key.replace("_", "-")
                if option in options:
                    parameter = options[option]
                    text = _value(value, parameter, f"{path}: {key}")
                    yield Setting(name, option, parameter.name, text, str(path))


def _content(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        with path.open("rb") as file:
            data = file.read(_LONGEST + 1)
        if len(data) > _LONGEST:
            raise ValueError("it is too long")
        return tomllib.loads(data.decode())
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check it.") from error
    except (ValueError, RecursionError) as error:  # of TOML or of UTF-8
        raise InputError(f"{path} is no TOML ({error}); mend it.") from error


def _ensure_known(path: Path, key: str, known: set[str], whose: str) -> None:
    option = key.replace("_", "-")
    if option in _FOR_FLAGS_ALONE:
        raise UsageError(f"{path}: --{option} can only be given on the command line.")
    if option not in known:
        raise UsageError(f"{path}: --{option} is no option of {whose}; see --help.")


def _value(value: Any, parameter: Any, where: str) -> str | bool | list[str]:
    if getattr(parameter, "is_flag", False):
        if isinstance(value, bool):
            return value
        text = str(value).lower()
        if text not in (*_TRUE, *_FALSE):
            raise UsageError(f"{where} must be true or false, not {value!r}.")
        return text in _TRUE
    many = getattr(parameter, "multiple", False)
    if isinstance(value, list) and many:
        return [str(one) for one in value]
    if isinstance(value, (list, dict, bool)):
        raise UsageError(f"{where} cannot be {value!r}; write it as after --{parameter.name}.")
    return [str(value)] if many else str(value)
