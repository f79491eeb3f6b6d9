"""Settings from variables and files: which of them decides, and what is refused."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from dfghdr_cli.cli import config, settings
from dfghdr_cli.cli.app import Commands, root

toy = typer.Typer(cls=Commands, callback=root)


@toy.command("merge")
def merge(
    output: str = "",
    align: str = "auto",
    json: bool = False,
    to: list[str] = typer.Option([]),  # noqa: B008
):
    typer.echo(f"{output} {align} {json} {','.join(to)}")


@toy.command("tonemap")
def tonemap(align: str = "auto", white: float = 1.0):
    typer.echo(f"{align} {white}")


toy.add_typer(config.app, name="config")


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "own"))
    return tmp_path


def run(*arguments, code=0):
    done = CliRunner().invoke(toy, arguments)
    assert done.exit_code == code, done.output
    return done


def own(place, text):
    (place / "own" / "dfghdr").mkdir(parents=True, exist_ok=True)
    (place / "own" / "dfghdr" / settings.FILE).write_text(text)


def test_a_flag_a_variable_the_nearest_file_the_users_file(place, monkeypatch):
    assert run("merge").stdout == " auto False \n"
    own(place, "align = 'user'\n[merge]\nto = ['exr', 'jpg']")
    assert run("merge").stdout == " user False exr,jpg\n"
    (place / settings.FILE).write_text("align = 'above'")
    (place / "a" / settings.FILE).write_text("[merge]\nalign = 'near'\njson = true")
    assert run("merge").stdout == " near True exr,jpg\n"
    assert run("tonemap").stdout == "user 1.0\n"  # of several above, the nearest counts
    monkeypatch.setenv("DFGHDR_ALIGN", "variable")
    monkeypatch.setenv("DFGHDR_JSON", "off")
    assert run("merge").stdout == " variable False exr,jpg\n"
    assert run("merge", "--align", "flag").stdout == " flag False exr,jpg\n"
    monkeypatch.setenv("DFGHDR_WHITE", "2.5")
    assert run("tonemap").stdout == "variable 2.5\n"


def test_config_show_names_a_folder_that_nobody_may_look_into(place, monkeypatch):
    closed, real = place / settings.FILE, Path.stat

    def stat(path, **how):
        if path == closed:
            raise PermissionError(13, "Permission denied")
        return real(path, **how)

    monkeypatch.setattr(Path, "stat", stat)
    shown = run("config", "show")
    assert shown.exit_code == 0
    assert f"{closed} cannot be looked at" in shown.stderr.replace("\n", " ")
    shown = run("config", "show", "--json")
    assert f"{closed} cannot be looked at" in shown.stderr.replace("\n", " ")
    assert json.loads(shown.stdout)["closed"] == [str(closed)]


def test_config_show_says_where_each_value_comes_from(place, monkeypatch):
    assert "Nothing is set" in run("config", "show").stderr
    (place / "a" / settings.FILE).write_text("white = 2\nalign = 'near'")
    monkeypatch.setenv("DFGHDR_ALIGN", "variable")
    shown = run("config", "show").stdout.splitlines()
    assert shown == [
        'merge --align = "variable"  (DFGHDR_ALIGN)',
        'tonemap --align = "variable"  (DFGHDR_ALIGN)',
        f'tonemap --white = "2"  ({place / "a" / settings.FILE})',
    ]
    report = json.loads(run("config", "show", "--json").stdout)
    assert report["files"] == [str(place / "a" / settings.FILE)]
    assert report["settings"][0]["source"] == "DFGHDR_ALIGN"


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("aling = 'x'", 2, "--aling is no option of any command"),
        ("[merge]\nwhite = 1", 2, "--white is no option of merge"),
        ("[merg]\nalign = 'x'", 2, "no command merg"),
        ("output = 'x'", 2, "only be given on the command line"),
        ("align = ['x']", 2, "cannot be"),
        ("json = 'perhaps'", 2, "true or false"),
        ("align =", 4, "no TOML"),
        ("x = [" + "[" * 100_000, 4, "is no TOML"),
        ("#" * 1_000_001, 4, "too long"),
    ],
)
def test_what_cannot_be_meant_is_refused(place, text, code, said):
    (place / "a" / settings.FILE).write_text(text)
    error = run("merge", code=code).stderr
    assert error.count("\n") == 1
    assert said in error
    assert settings.FILE in error


def test_a_value_that_the_option_cannot_take_is_wrong_usage(place):
    (place / settings.FILE).write_text("white = 'bright'")
    assert "--white" in run("tonemap", code=2).stderr


def test_without_a_home_there_are_no_settings_of_the_users(place, monkeypatch):
    """As in a container whose user is in no list."""
    pwd = pytest.importorskip("pwd")

    def nobody(_):
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert "align" not in run("config", "show").stdout
    (place / settings.FILE).write_text("align = 'none'")
    assert "align" in run("config", "show").stdout
