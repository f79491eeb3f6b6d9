import os
import resource
import stat
import threading

import pytest

from dfghdr_cli.errors import OutputError, OutputExistsError
from dfghdr_cli.io.atomic import atomic_write, atomic_write_all, ensure_writable


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
