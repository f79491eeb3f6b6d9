"""Exit codes, what goes to which stream, and that starting up stays light."""

import gc
import logging
import os
import pty
import re
import signal
import statistics
import subprocess
import sys
from importlib import metadata

import pytest
import typer
from typer.testing import CliRunner

from dfghdr_cli import errors
from dfghdr_cli.cli.app import EPILOG, Commands, app, main, root
from tests.support.program import program

HEAVY = ("torch", "cv2", "numpy")


def run(body, *arguments, **environment):
    """The real program as a process of its own."""
    return subprocess.run(
        program(body, *arguments),
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )


def run_on_terminal(body, *arguments, **environment):
    """What the program writes to a stderr that is a terminal."""
    leader, follower = pty.openpty()
    with subprocess.Popen(
        program(body, *arguments),
        stdout=subprocess.DEVNULL,
        stderr=follower,
        env={**os.environ, "TERM": "xterm", **environment},
    ):
        os.close(follower)
        written = b""
        while True:
            try:
                chunk = os.read(leader, 4096)
            except OSError:  # Linux's way to say that the other side is closed
                break
            if not chunk:
                break
            written += chunk
    os.close(leader)
    return written.decode()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("DfghdrError", 1),
        ("OutputExistsError", 3),
        ("InputError", 4),
        ("ModelError", 5),
        ("DeviceError", 6),
        ("OutputError", 7),
    ],
)
def test_an_error_is_one_sentence_and_its_code(error, code):
    done = run(f'raise errors.{error}("[bold]a.tif[/bold] is no photograph; give another.")')
    assert done.returncode == code
    assert done.stderr == "error: [bold]a.tif[/bold] is no photograph; give another.\n"
    assert done.stdout == ""


def test_every_error_has_a_code_that_the_help_explains():
    explained = {int(code) for code in re.findall(r"\b(\d+) \w", EPILOG)}
    raised = {kind.exit_code for kind in _subclasses(errors.DfghdrError)}
    assert raised | {0, 1, 2, 129, 130, 141, 143} == explained


def _subclasses(kind):
    return {kind}.union(*(_subclasses(child) for child in kind.__subclasses__()))


def test_a_long_sentence_is_not_wrapped():
    done = run('raise errors.InputError("word " * 100 + "end")', COLUMNS="40")
    assert done.stderr.count("\n") == 1


def test_a_bug_asks_for_a_report():
    done = run("raise ValueError('odd\\nthing')")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    for part in ("bug in dfghdr", "ValueError: odd thing", "report", "--debug"):
        assert part in done.stderr


@pytest.mark.parametrize(
    ("body", "code"), [("raise ValueError('odd')", 1), ("raise errors.ModelError('odd')", 5)]
)
def test_debug_shows_the_traceback_and_keeps_the_code(body, code):
    done = run(body, "--debug")
    assert done.returncode == code
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    assert done.stdout == ""


def test_the_end_is_not_spent_on_looking_for_cycles(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["dfghdr", "--version"])
    try:
        with pytest.raises(SystemExit):
            main()
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_ctrl_c_is_what_it_dies_of():
    body = "print('ready', flush=True); time.sleep(60)"
    with subprocess.Popen(
        program(body), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert stderr == "Interrupted.\n"


@pytest.mark.parametrize(
    ("arguments", "level"),
    [
        (["try"], "WARNING"),
        (["try", "-v"], "INFO"),
        (["-v", "try", "-v"], "DEBUG"),
        (["try", "-vv"], "DEBUG"),
        (["try", "--quiet"], "ERROR"),
        (["try", "--", "-v"], "WARNING -v"),
    ],
)
def test_the_roots_flags_may_come_after_the_command(arguments, level):
    toy = typer.Typer(cls=Commands, callback=root)

    @toy.command("try")
    def attempt(names: list[str] = typer.Argument(default=[])):  # noqa: B008
        now = logging.getLevelName(logging.getLogger("dfghdr_cli").level)
        typer.echo(" ".join([now, *names]))

    assert CliRunner().invoke(toy, arguments).stdout == f"{level}\n"


def test_a_command_may_choose_its_code():
    assert run("import typer; raise typer.Exit(1)").returncode == 1


def test_errors_are_mapped_without_a_process_too():
    """Tests of sub-commands may use CliRunner and see the real exit codes."""
    toy = typer.Typer(cls=Commands, callback=root)

    @toy.command("try")
    def attempt():
        raise errors.DeviceError("no such device")

    result = CliRunner().invoke(toy, ["try"])
    assert result.exit_code == 6
    assert result.stderr == "error: no such device\n"
    assert result.stdout == ""


@pytest.mark.parametrize("arguments", [["no-such-command"], ["--no-such-option"], []])
def test_wrong_usage_is_2_and_leaves_stdout_alone(arguments):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    if arguments:
        assert result.stdout == ""


def test_quiet_and_verbose_exclude_each_other():
    done = run("pass", "-q", "-v")
    assert done.returncode == 2
    assert "exclude each other" in done.stderr


def test_version():
    result = CliRunner().invoke(app, ["--version"])
    assert result.stdout == f"dfghdr {metadata.version('dfghdr')}\n"
    assert result.exit_code == 0


RECORDS = """
    ours = logging.getLogger("dfghdr_cli.io.ldr")
    ours.debug("detail")
    ours.info("note [1/2]")
    ours.warning("care\\n  needed")
    ours.error("wrong")
    logging.getLogger("tifffile").warning("theirs")
    warnings.warn("old")
"""


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["-q"], ["error: wrong"]),
        ([], ["warning: care needed", "error: wrong"]),
        (["-v"], ["note [1/2]", "warning: care needed", "error: wrong", "warning: theirs"]),
        (
            ["-vv"],
            [
                "debug: dfghdr_cli.io.ldr: detail",
                "note [1/2]",
                "warning: care needed",
                "error: wrong",
                "warning: theirs",
            ],
        ),
    ],
)
def test_each_log_record_is_one_line_on_stderr(arguments, lines):
    done = run(RECORDS, *arguments)
    written = done.stderr.splitlines()
    warned = [line for line in written if "UserWarning: old" in line]
    assert [line for line in written if line not in warned] == lines
    assert len(warned) == ("-v" in arguments or "-vv" in arguments)
    assert done.stdout == ""


def test_no_color_is_respected():
    body = "raise errors.InputError('odd')"
    assert "\x1b[31m" in run_on_terminal(body)
    assert "\x1b[3" not in run_on_terminal(body, NO_COLOR="1")


BAR = """
    with console.progress() as on_progress:
        on_progress(1, 2, "reading [1/3]")
        on_progress(2, 2, "merging [2/3]")
"""


def test_the_progress_bar_is_drawn_on_a_terminal():
    assert "merging [2/3]" in run_on_terminal(BAR)


def test_there_is_no_progress_bar_elsewhere_or_when_quiet():
    done = run(BAR)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert run_on_terminal(BAR, "-q") == ""


LOADED = f"""
import sys
from dfghdr_cli.cli.app import main
imported = [name for name in {HEAVY} if name in sys.modules]
sys.argv = ["dfghdr", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    called = [name for name in {HEAVY} if name in sys.modules]
    sys.exit(f"loaded {{imported}} {{called}}, code {{end.code or 0}}")
"""


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--help"], {}),
        (
            [],
            {"_DFGHDR_COMPLETE": "complete_bash", "COMP_WORDS": "dfghdr --ver", "COMP_CWORD": "1"},
        ),
    ],
    ids=["help", "completion"],
)
def test_nothing_heavy_is_loaded(arguments, environment):
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.stderr == "loaded [] [], code 0\n"
    assert "--version" in done.stdout


def test_help_is_fast():
    """Aim: 0.3 s of processor time; twice that is allowed on a busy or slow machine."""
    resource = pytest.importorskip("resource")

    def seconds():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "dfghdr_cli", "--help"],
            stdout=subprocess.DEVNULL,
            check=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert statistics.median(seconds() for _ in range(5)) < 0.6
