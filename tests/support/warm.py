"""`dfghdr` for shells, in forked children of one process that has loaded all that it needs.

Where a test is about what the program does when a shell calls it, not about how it starts, a call
then takes as long as its work. `warm_program` makes a folder for PATH with a `dfghdr` in it that
hands its arguments, folder, environment, stdout and stderr to that process, and ends as the child
does. Needs Linux, as the campaigns of benchmarks/reliability do, whose way of forking this is.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_CALL = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({where!r})
    call = {{"arguments": sys.argv[1:], "folder": os.getcwd(), "variables": dict(os.environ)}}
    socket.send_fds(server, [json.dumps(call).encode() + b"\\n"], [1, 2])
    code = server.recv(16)
sys.exit(int(code) if code else "The program was ended by a signal.")
"""


@contextmanager
def warm_program() -> Iterator[Path]:
    """Start the process that forks; yields a folder for PATH, which holds `dfghdr`."""
    with tempfile.TemporaryDirectory(prefix="dfghdr") as name:  # a socket's name must be short
        where, program = Path(name) / "socket", Path(name) / "bin" / "dfghdr"
        program.parent.mkdir()
        program.write_text(_CALL.format(python=sys.executable, where=str(where)))
        program.chmod(0o755)
        with subprocess.Popen([sys.executable, __file__, str(where)]) as server:
            try:
                while not where.exists():
                    assert server.poll() is None
                    time.sleep(0.02)
                yield program.parent
            finally:
                server.kill()


def _serve(where: str) -> None:
    sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks" / "reliability")]
    forked = importlib.import_module("forked")
    program = forked.Program()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{where}.new")
        server.listen()
        Path(f"{where}.new").rename(where)
        while True:
            connection, _ = server.accept()
            with connection:
                _answer(program, connection)


def _answer(program: Any, connection: socket.socket) -> None:
    data, streams, _, _ = socket.recv_fds(connection, 1 << 20, 2)
    while not data.endswith(b"\n"):
        data += connection.recv(1 << 20)
    call = json.loads(data)
    program.start(
        call["arguments"],
        Path(call["folder"]),
        first=lambda: signal.signal(signal.SIGCHLD, signal.SIG_DFL),
        last=lambda code: connection.sendall(str(code).encode()),
        variables=call["variables"],
        streams=tuple(streams),
    )
    for stream in streams:
        os.close(stream)


if __name__ == "__main__":
    _serve(sys.argv[1])
