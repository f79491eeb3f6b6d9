"""Reading ahead: every file is announced to the system once, and nothing goes wrong."""

import os
from pathlib import Path

import pytest

from dfghdr_cli.io import source


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system has no posix_fadvise")
def test_what_is_read_ahead(tmp_path, monkeypatch):
    folder = tmp_path / "bracket"
    folder.mkdir()
    files = [tmp_path / "a.tif", folder / "b.tif", folder / "c.tif"]
    for file in files:
        file.write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for a writer for ever
    names, seen = {file.stat().st_ino: file.name for file in files}, []

    def note(descriptor, start, length, advice):
        assert (start, length, advice) == (0, 0, os.POSIX_FADV_WILLNEED)
        seen.append(names[os.fstat(descriptor).st_ino])

    monkeypatch.setattr(os, "posix_fadvise", note)
    missing = [tmp_path / "missing", Path("a\0b"), tmp_path / "pipe"]
    source._read_ahead([files[0], *missing, folder])
    assert sorted(seen) == ["a.tif", "b.tif", "c.tif"]


def test_reading_ahead_where_the_system_does_not(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    source.read_ahead([tmp_path])
