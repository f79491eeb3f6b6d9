"""How the program ends: signals, readers that are gone, a full stdout, and what libraries print."""

import os
import signal
import subprocess
import sys
import weakref

import pytest

from dfghdr_cli.cli.console import printable
from tests.support.program import program

WAITS = """
    with atomic_write(Path("a.bin")) as file:
        file.write(b"half")
        file.flush()
        print("ready", flush=True)
        time.sleep(60)
"""


def run(body, *arguments, **options):
    return subprocess.run(
        program(body, *arguments), stderr=subprocess.PIPE, timeout=60, check=False, **options
    )


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGINT, -signal.SIGINT, b"Interrupted.\n"),
        (signal.SIGTERM, 143, b""),
        (signal.SIGHUP, 129, b""),
    ],
)
def test_a_signal_ends_it_and_it_cleans_up(tmp_path, number, code, said):
    def heard():  # even where the tests run under nohup
        signal.signal(number, signal.SIG_DFL)

    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(program(WAITS), **pipes, cwd=tmp_path, preexec_fn=heard) as process:
        assert process.stdout.readline() == b"ready\n"
        assert list(tmp_path.iterdir())
        process.send_signal(number)
        process.send_signal(number)  # people press it twice
        _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (code, said)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_a_loop_of_the_shell(tmp_path):
    """Which goes on where a program that it runs ends by itself, with whatever code."""
    (tmp_path / "program.py").write_text(program(WAITS)[2])
    loop = f"for name in a b c; do {sys.executable} program.py; echo next; done"
    with subprocess.Popen(
        ["bash", "-c", loop], stdout=subprocess.PIPE, cwd=tmp_path, start_new_session=True
    ) as shell:
        assert shell.stdout.readline() == b"ready\n"
        os.killpg(shell.pid, signal.SIGINT)
        said, _ = shell.communicate(timeout=60)
    assert (shell.returncode, said) == (-signal.SIGINT, b"")


def test_what_is_ignored_stays_ignored(tmp_path):
    body = "os.kill(os.getpid(), 1); print('alive')"
    done = run(
        body,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    assert (done.returncode, done.stdout) == (0, b"alive\n")


def test_ctrl_c_while_it_is_loaded_is_no_traceback(tmp_path):
    (tmp_path / "typer.py").write_text("import os, time\nos.kill(os.getpid(), 2)\ntime.sleep(9)")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", os.curdir)])
    done = subprocess.run(
        [sys.executable, "-m", "dfghdr_cli"],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"Interrupted.\n")


def test_a_reader_that_is_gone_is_no_error():
    for body in ("time.sleep(0.1); console.print_result('x' * 100_000)", "print('x')"):
        read, write = os.pipe()
        os.close(read)
        done = run(body, stdout=write)
        os.close(write)
        assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux only")  # noqa: PTH110
@pytest.mark.parametrize("body", ["console.print_result('x')", "print('x')"])
def test_a_full_stdout_is_code_7(body):
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = run(body, stdout=full)
        assert done.returncode == 7
        assert done.stderr.startswith((b"error: Standard output takes", b"error: There is no room"))
        assert done.stderr.count(b"\n") == 1
        done = subprocess.run(
            [sys.executable, "-m", "dfghdr_cli", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 7
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    "body",
    [
        "import typer; typer.echo = fail; console.print_result('x')",
        "once = [1]; sys.stdout = type('Full', (), {'flush': lambda _: once and fail(once.pop()),"
        " 'fileno': lambda _: 1})()",
    ],
)
def test_a_stdout_without_memory_is_code_6(body):
    fail = "fail = lambda *_: exec('raise OSError(12, \"Cannot allocate memory\")'); "
    done = run(fail + body, stdout=subprocess.PIPE)
    assert done.returncode == 6
    assert done.stderr.startswith(b"error: There is not enough memory for standard output")
    assert done.stderr.count(b"\n") == 1


def test_what_libraries_print_is_shown_only_when_asked():
    body = "os.write(2, b'libpng warning: odd\\\\x1b[2J'); console.print_error('ours')"
    assert run(body).stderr == b"error: ours\n"
    said = run(body, "-v").stderr
    assert said == b"error: ours\nlibpng warning: odd\\x1b[2J\n"


def test_names_reach_the_terminal_as_text_and_a_pipe_as_they_are(tmp_path):
    name = "a\x1b[31m\n\u202e\udcff.exr"
    assert printable(name) == "a\\x1b[31m\\n\\u202e\\xff.exr"
    assert printable("Größe µ 写真.tif") == "Größe µ 写真.tif"
    body = f"console.print_result({name!r}); console.print_error({name!r})"
    done = run(body, stdout=subprocess.PIPE)
    assert done.stdout == "a\x1b[31m\n\u202e".encode() + b"\xff.exr\n"
    assert done.stderr == b"error: a\\x1b[31m\\n\\u202e\\xff.exr\n"


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ("open('x' * 300)", 4, "File name too long"),
        ("Path('loop').symlink_to('loop'); open('loop')", 4, "symbolic links"),
        ("os.mkdir('d'); os.chdir('d'); os.rmdir('../d'); os.getcwd()", 4, "working folder"),
        ("raise OSError(28, 'No space left on device', 'a.exr')", 7, "a.exr cannot be written"),
        ("raise MemoryError", 6, "not enough memory"),
    ],
)
def test_what_the_system_says_is_one_sentence(tmp_path, body, code, words):
    done = run(body, cwd=tmp_path, stdout=subprocess.PIPE)
    assert done.returncode == code
    assert done.stderr.decode().startswith("error: ")
    assert words in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_what_took_the_memory_is_let_go_before_more_is_asked_for(monkeypatch):
    from dfghdr_cli.__main__ import main

    class Large:
        pass

    kept = []

    def start():
        large = Large()
        kept.append(weakref.ref(large))
        raise MemoryError

    class Words:
        def write(self, text):
            kept.append((text, kept[0]()))

    monkeypatch.setattr("dfghdr_cli.cli.app.main", start)
    monkeypatch.setattr(sys, "stderr", Words())
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 6
    text, large = kept[1]
    assert "not enough memory to start" in text
    assert large is None


@pytest.mark.skipif(sys.platform == "win32", reason="folders in use stay there")
def test_a_working_folder_that_is_gone_is_said_to_be(tmp_path):
    """What computes for PyTorch would end the process, with the words kept that say so."""
    (tmp_path / "gone").mkdir()
    command = f'rmdir "$PWD"; exec "{sys.executable}" -m dfghdr_cli models list'
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path / "gone", capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 4
    assert done.stderr.startswith(b"error: The working folder is no longer there")


def test_what_fails_in_a_thread_is_said_to_those_who_debug():
    body = """
    import threading
    def fail():
        raise OSError(28, "No space left on device")
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    print("done")
    """
    done = run(body, stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"done\n", b"")
    assert b"A thread failed" in run(body, "-vv", stdout=subprocess.PIPE).stderr
