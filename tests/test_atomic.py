import json
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dfghdr_cli.atomic import (
    PREFIX,
    atomic_write,
    atomic_write_all,
    ensure_no_input,
    ensure_writable,
    recover,
)
from dfghdr_cli.errors import OutputError, OutputExistsError


def write(path, data=b"new", overwrite=False):
    with atomic_write(path, overwrite) as file:
        file.write(data)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_writes_and_leaves_nothing_else(tmp_path):
    write(tmp_path / "a.bin", b"x" * 1000)
    assert (tmp_path / "a.bin").read_bytes() == b"x" * 1000
    assert names(tmp_path) == ["a.bin"]


def test_permissions_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        write(tmp_path / "a.bin")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == 0o640


def test_nothing_appears_before_the_end(tmp_path):
    path = tmp_path / "a.bin"
    with atomic_write(path) as file:
        file.write(b"half")
        file.flush()
        assert not path.exists()
    assert path.exists()


def test_existing_file_is_kept_without_overwrite(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(OutputExistsError, match=r"a\.bin.*--overwrite"):
        ensure_writable(path)
    with pytest.raises(OutputExistsError):
        write(path)
    assert path.read_bytes() == b"old"
    write(path, overwrite=True)
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_a_file_that_appears_meanwhile_is_kept(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "a.bin"

    def race():
        with atomic_write(path) as file:
            file.write(b"mine")
            path.write_bytes(b"theirs")

    with pytest.raises(OutputExistsError):
        race()
    assert path.read_bytes() == b"theirs"
    assert names(tmp_path) == ["a.bin"]


def no_links(source, target):
    raise PermissionError(1, "Operation not permitted")


def test_works_without_hard_links(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", no_links)
    write(tmp_path / "a.bin", b"whole")
    assert (tmp_path / "a.bin").read_bytes() == b"whole"
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_of_many_writers_exactly_one_wins(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    path, outcomes, ready = tmp_path / "a.bin", [], threading.Barrier(8)

    def writer(number):
        try:
            with atomic_write(path) as file:
                file.write(bytes([number]))
                ready.wait()
            outcomes.append(number)
        except OutputExistsError:
            outcomes.append(None)

    threads = [threading.Thread(target=writer, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [number for number in outcomes if number is not None]
    assert len(outcomes) == 8
    assert len(winners) == 1
    assert path.read_bytes() == bytes(winners)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, OutputError])
@pytest.mark.parametrize("existing", [True, False])
def test_an_interruption_leaves_the_folder_as_it_was(tmp_path, error, existing):
    path = tmp_path / "a.bin"
    if existing:
        path.write_bytes(b"old")
    before = names(tmp_path)

    def interrupted():
        with atomic_write(path, overwrite=True) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert names(tmp_path) == before
    assert not existing or path.read_bytes() == b"old"


def test_a_disk_that_takes_no_more(tmp_path):
    path = tmp_path / "a.bin"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OutputError, match=r"a\.bin.*free some space"):
            write(path, b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == []


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder.exr").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for path, word in [
        (tmp_path / "missing" / "a.exr", "does not exist"),
        (tmp_path / "file" / "a.exr", "is not a folder"),
        (tmp_path / "folder.exr", "is a folder"),
        (tmp_path / "pipe", "regular file"),
    ]:
        with pytest.raises(OutputError, match=word) as caught:
            ensure_writable(path, overwrite=True)
        assert path.name in str(caught.value)
        with pytest.raises(OutputError):
            write(path, overwrite=True)
    assert (tmp_path / "pipe").is_fifo()


def test_a_name_longer_than_the_system_allows(tmp_path):
    with pytest.raises(OutputError, match="nnnn"):
        write(tmp_path / ("n" * 300))
    assert names(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="not writable"):
            ensure_writable(tmp_path / "a.exr")
    finally:
        tmp_path.chmod(0o700)


def test_the_longest_name_works(tmp_path):
    path = tmp_path / ("n" * 251 + ".exr")
    write(path)
    assert path.exists()


def write_all(paths, overwrite=False):
    with atomic_write_all(paths, overwrite) as files:
        for file, path in zip(files, paths, strict=True):
            file.write(path.name.encode())


def test_several_appear_together(tmp_path):
    paths = [tmp_path / name for name in ("a.bin", "b.bin", "c.bin")]
    with atomic_write_all(paths) as files:
        for file in files:
            file.write(b"x")
        assert not any(path.exists() for path in paths)
    assert names(tmp_path) == ["a.bin", "b.bin", "c.bin"]
    write_all(paths, overwrite=True)
    assert [path.read_bytes() for path in paths] == [b"a.bin", b"b.bin", b"c.bin"]
    assert names(tmp_path) == ["a.bin", "b.bin", "c.bin"]


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_one_that_appears_meanwhile_keeps_all_away(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    paths = [tmp_path / name for name in ("a.bin", "b.bin", "c.bin")]

    def race():
        with atomic_write_all(paths) as files:
            for file in files:
                file.write(b"mine")
            paths[1].write_bytes(b"theirs")

    with pytest.raises(OutputExistsError, match=r"b\.bin"):
        race()
    assert names(tmp_path) == ["b.bin"]
    assert paths[1].read_bytes() == b"theirs"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_keeps_all_away(tmp_path, error):
    paths = [tmp_path / name for name in ("a.bin", "b.bin")]
    paths[0].write_bytes(b"old")

    def interrupted():
        with atomic_write_all(paths, overwrite=True) as files:
            files[0].write(b"whole")
            files[1].write(b"half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert names(tmp_path) == ["a.bin"]
    assert paths[0].read_bytes() == b"old"


def test_a_full_disk_keeps_all_away(tmp_path):
    def fill():
        with atomic_write_all([tmp_path / "a.bin", tmp_path / "b.bin"]) as files:
            files[0].write(b"fits")
            files[1].write(b"x" * 100_000)

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OutputError, match=r"b\.bin cannot be written.*free some space"):
            fill()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == []


def test_a_place_that_cannot_be_written_stops_all(tmp_path):
    paths = [tmp_path / "a.bin", tmp_path / "missing" / "b.bin"]
    with pytest.raises(OutputError, match="missing"):
        write_all(paths)
    with pytest.raises(OutputError, match=r"a\.bin is named for two"):
        write_all([tmp_path / "a.bin", tmp_path / "." / "a.bin"])
    assert names(tmp_path) == []


KILLED = """
import os, sys
from pathlib import Path
from dfghdr_cli import atomic

left, overwrite, folder = int(sys.argv[1]), sys.argv[2] == "overwrite", Path(sys.argv[3])

def counted(call):
    def killed_at(*arguments, **options):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), 9)
        done = call(*arguments, **options)
        if left == 0.5:
            os.kill(os.getpid(), 9)
        return done
    return killed_at

os.link, os.replace, os.unlink = map(counted, (os.link, os.replace, os.unlink))
Path.replace = lambda self, target: os.replace(self, target)
Path.unlink = lambda self, missing_ok=False: os.unlink(self) if self.exists() else None
paths = [folder / name for name in ("a.bin", "b.bin", "c.bin")] + [folder / "other" / "d.bin"]
with atomic.atomic_write_all(paths, overwrite) as files:
    for file in files:
        file.write(b"new")
"""
FOUR = ("a.bin", "b.bin", "c.bin", "other/d.bin")


@pytest.mark.parametrize("mode", ["new", "overwrite"])
def test_a_kill_at_any_step_loses_and_mixes_nothing(tmp_path, mode):
    """The process is killed before its n-th change of a name, for every n there is."""
    finished = 0
    for step in range(1, 40):
        folder = tmp_path / str(step)
        (folder / "other").mkdir(parents=True)
        old = None
        if mode == "overwrite":
            old = b"old"
            for name in FOUR:
                (folder / name).write_bytes(old)
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(step), mode, str(folder)], check=False
        )
        recover(folder / "other" if step % 2 else folder)
        recover(folder if step % 2 else folder / "other")
        found = {
            (folder / name).read_bytes() if (folder / name).exists() else None for name in FOUR
        }
        assert found in ({old}, {b"new"}), (step, found)
        hidden = [path.name for path in folder.rglob(".*")]
        assert hidden == [], step
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        finished += found == {b"new"}
    else:
        pytest.fail("it never came to its end")
    assert finished >= 4  # some kills came after the journal, or this tests nothing


def test_what_a_killed_run_left_is_taken_away_and_a_running_ones_is_not(tmp_path):
    stale = tmp_path / f"{PREFIX}0123456789abcdef-0.part"
    stale.write_bytes(b"half")
    folder = tmp_path / f"{PREFIX}0123456789abcdef-folder.part"
    folder.mkdir()
    (folder / "config.json").write_bytes(b"half")
    other = tmp_path / ".dfghdr-notes"
    other.write_bytes(b"mine")
    with atomic_write(tmp_path / "a.bin") as file:
        file.write(b"x")
        file.flush()
        running = {name for name in names(tmp_path) if name.endswith(".part")}
        assert len(running) == 1
        ensure_writable(tmp_path / "b.bin")
        assert {name for name in names(tmp_path) if name.endswith(".part")} == running
    assert names(tmp_path) == [".dfghdr-notes", "a.bin"]


def test_a_journal_from_elsewhere_moves_nothing(tmp_path):
    """Nobody can make this program replace a file by sending a folder with a journal in it."""
    target = tmp_path / "home" / "secret"
    target.parent.mkdir()
    target.write_bytes(b"mine")
    sent = tmp_path / "sent"
    sent.mkdir()
    token = f"{PREFIX}0123456789abcdef"
    part = sent / f"{token}-0.part"
    for folder, name, number in (
        ("../home", "secret", 0),
        (".", "../home/secret", None),
        (".", "kept.bin", 0),
    ):
        part.write_bytes(b"theirs")
        (sent / "kept.bin").write_bytes(b"mine")
        status = part.stat()
        file = [status.st_dev, status.st_ino if number is None else number]
        entry = {"folder": folder, "part": part.name, "name": name, "file": file}
        content = json.dumps({"overwrite": True, "files": [entry]})
        (sent / f"{token}.journal").write_text(content)
        recover(sent)
        assert target.read_bytes() == b"mine"
        assert names(sent) == ["kept.bin"]
        assert (sent / "kept.bin").read_bytes() == b"mine"


def test_a_replaced_file_keeps_its_permissions(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"private")
    path.chmod(0o600)
    with atomic_write(path, overwrite=True) as file:
        file.write(b"new")
        hidden = next(tmp_path.glob(".*"))
        assert stat.S_IMODE(hidden.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_that_is_overwritten_stays_and_its_target_is_written(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "t.bin", tmp_path / "a.bin"
    target.write_bytes(b"old")
    link.symlink_to("elsewhere/t.bin")
    with pytest.raises(OutputExistsError):
        write(link)
    write(link, overwrite=True)
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == ["a.bin", "elsewhere"]
    assert names(tmp_path / "elsewhere") == ["t.bin"]


def test_no_result_is_an_input(tmp_path):
    path, link, hard = tmp_path / "a.tif", tmp_path / "link.tif", tmp_path / "hard.tif"
    path.write_bytes(b"photograph")
    link.symlink_to(path)
    os.link(path, hard)
    for result in (path, tmp_path / "." / "a.tif", link, hard):
        with pytest.raises(OutputError, match="another name"):
            ensure_no_input([tmp_path / "new.exr", result], [tmp_path / "none", path])
    ensure_no_input([tmp_path / "b.tif"], [path])


@pytest.mark.parametrize("name", ["x" * 300, "loop/a.bin"], ids=["long", "loop"])
def test_a_place_that_cannot_be_looked_at_is_one_sentence(tmp_path, name):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OutputError, match="cannot be written"):
        ensure_writable(tmp_path / name)
    with pytest.raises(OutputError, match="cannot be written"):
        write(tmp_path / name)


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_where_one_of_several_cannot_be_replaced_all_are_as_before(tmp_path, monkeypatch, failing):
    paths = [tmp_path / name for name in ("a.bin", "new.bin", "c.bin")]
    for path in (paths[0], paths[2]):
        path.write_bytes(b"old")
    original, done = Path.replace, []

    def replace(self, target):
        if Path(target) in paths and self.name.endswith(".part") and "old" not in self.name:
            done.append(target)
            if len(done) == failing:
                raise OSError(5, "Input/output error")
        return original(self, target)

    monkeypatch.setattr(Path, "replace", replace)

    def write_all():
        with atomic_write_all(paths, overwrite=True) as files:
            for file in files:
                file.write(b"new")

    with pytest.raises(OutputError, match="Input/output error"):
        write_all()
    assert names(tmp_path) == ["a.bin", "c.bin"]
    assert [path.read_bytes() for path in (paths[0], paths[2])] == [b"old", b"old"]


def test_several_are_replaced_without_hard_links(tmp_path, monkeypatch):
    paths = [tmp_path / name for name in ("a.bin", "b.bin")]
    paths[0].write_bytes(b"old")
    monkeypatch.setattr(os, "link", no_links)
    with atomic_write_all(paths, overwrite=True) as files:
        for file in files:
            file.write(b"new")
    assert [path.read_bytes() for path in paths] == [b"new", b"new"]
    assert names(tmp_path) == ["a.bin", "b.bin"]
