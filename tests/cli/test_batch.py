"""`dfghdr merge --batch`: a card of mixed brackets to pictures, whatever comes between."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from dfghdr_cli.cli.app import app
from dfghdr_cli.io.radiance import read_radiance
from dfghdr_cli.pipeline.batch.manifest import NAME, read_manifest
from tests.support.card import Body, Card

PLAIN = ("--method", "classic", "--align", "none", "--response", "gamma")
SETS = ["DSC0001-DSC0003", "DSC0004-DSC0008", "DSC0009-DSC0011"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A card with three brackets, one that lacks a frame, and a single photograph."""
    monkeypatch.chdir(tmp_path)
    card = Card()
    body = Body(card, "Alpha", "DSC")
    for steps in ((0, -6, 6), (0, -6, 6, -12, 12), (0, -6, 6)):
        body.bracket(steps).wait(60)
    body.bracket((0, -6, 6, -12, 12), lost=(2,)).wait(60).single()
    card.write(tmp_path / "card")
    return tmp_path


def merge(*arguments, code=0):
    result = CliRunner().invoke(app, ["merge", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def batch(*arguments, code=0):
    return merge("card", "--batch", *PLAIN, *arguments, code=code)


def program(place, *arguments, **options):
    command = [sys.executable, "-m", "dfghdr_cli", "merge", "card", "--batch", "-o", "out"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, *PLAIN, *arguments],
        cwd=place,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_a_card_to_pictures(place):
    done = batch("-o", "out", "--to", "exr,jpg", "--no-preview", "--jobs", 2)
    names = [f"{name}.{ending}" for name in SETS for ending in ("exr", "jpg")]
    assert sorted(done.stdout.splitlines()) == [f"out/{name}" for name in names]
    assert sorted(path.name for path in (place / "out").iterdir()) == sorted([*names, NAME])
    assert "3 brackets, classic on cpu" in done.stderr
    assert re.search(r"\[3/3\] DSC\S+: [\d.]+ s\n", done.stderr)
    assert "DSC0012.jpg to DSC0016.jpg: not merged" in done.stderr
    assert "In no bracket: DSC0017.jpg." in done.stderr
    assert "3 merged, 1 doubtful and skipped" in done.stderr
    entries = read_manifest(place / "out")
    assert list(sorted(entries)) == SETS
    first = entries[SETS[0]]
    assert first.details["recognised"] == "auto bracket"
    assert first.outputs == (f"{SETS[0]}.exr", f"{SETS[0]}.jpg")

    # The same as one by one, bit for bit.
    files = [f"card/DSC{number:04}.jpg" for number in (1, 2, 3)]
    merge(*files, "-o", "alone.exr", *PLAIN, "--no-preview")
    assert (place / "alone.exr").read_bytes() == (place / "out" / f"{SETS[0]}.exr").read_bytes()

    # What is there needs no worker, and says so.
    again = batch("-o", "out", "--to", "exr,jpg", "--no-preview", "--resume", "--json")
    report = json.loads(again.stdout)
    assert report["kept"] == report["outputs"] == [f"out/{name}" for name in names]
    assert report["merged"] == []
    assert "exist already" in batch("-o", "out", "--to", "exr", code=3).stderr


def test_one_bad_bracket_does_not_stop_the_rest(place):
    broken = place / "card" / "DSC0005.jpg"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-300])
    done = batch("-o", "out", "--json", "--jobs", 1, code=1)
    report = json.loads(done.stdout)
    assert [one["name"] for one in report["failed"]] == [SETS[1]]
    assert report["failed"][0]["exit_code"] == 4
    assert report["skipped"][0]["reason"] == "no frame between DSC0012.jpg and DSC0016.jpg"
    assert "DSC0005.jpg" in report["failed"][0]["error"]
    assert len(report["outputs"]) == 4
    assert f"error: {SETS[1]}: card/DSC0005.jpg" in done.stderr
    assert "2 merged, 1 failed" in done.stderr

    before = (place / "out" / f"{SETS[0]}.exr").stat()
    assert "failed before" in batch("-o", "out", "--resume", code=1).stderr
    broken.write_bytes(whole)
    done = batch("-o", "out", "--retry-failed")
    assert "1 merged, 2 there already" in done.stderr
    assert (place / "out" / f"{SETS[0]}.exr").stat() == before
    assert read_manifest(place / "out")[SETS[1]].status == "done"


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX")
@pytest.mark.parametrize("after", [0, 1])
def test_killed_and_resumed(place, after):
    """Killed once so many brackets are there: nothing is half written, and the rest is done."""
    running = program(place, "--jobs", "2")
    while len(list((place / "out").glob("*.exr")) if (place / "out").exists() else []) < after:
        assert running.poll() is None
        time.sleep(0.01)
    if not after:
        time.sleep(0.5)
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()
    for path in (place / "out").glob("*.exr") if (place / "out").exists() else []:
        read_radiance(path)
    done = program(place, "--resume")
    _, said = done.communicate()
    assert done.returncode == 0, said
    left = sorted(path.name for path in (place / "out").iterdir())
    assert left == sorted(
        [NAME, *(f"{name}.exr" for name in SETS), *(f"{name}.preview.jpg" for name in SETS)]
    )
    for name in SETS:
        read_radiance(place / "out" / f"{name}.exr")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX")
def test_a_watch_that_was_killed_goes_on(place):
    """What it merged stays, nothing is half written, and a signal ends it quietly."""

    def watch(count):
        """Until so many brackets are noted; the process."""
        watching = program(place, "--watch", "--settle", "1", "--jobs", "1", "--no-preview")
        while len(read_manifest(place / "out")) < count:
            assert watching.poll() is None
            time.sleep(0.05)
        return watching

    killed = watch(1)
    killed.kill()
    killed.communicate()
    first = place / "out" / f"{SETS[0]}.exr"
    before = first.stat()
    going_on = watch(3)
    going_on.terminate()
    _, said = going_on.communicate()
    assert going_on.returncode == 143
    assert "rror" not in said
    assert first.stat() == before
    assert sorted(path.name for path in (place / "out").iterdir()) == sorted(
        [NAME, *(f"{name}.exr" for name in SETS)]
    )


def test_dry_run_shows_the_table(place):
    done = merge("card", "--batch", "--dry-run")
    rows = [re.split(r"  +", line) for line in done.stdout.splitlines()]
    assert rows[0] == ["set", "frames", "files", "exposures", "span", "recognised by", "doubts"]
    assert rows[1][1:6] == [
        "3",
        "DSC0001.jpg to DSC0003.jpg",
        "+0 -2 +2",
        "4.0 stops",
        "auto bracket",
    ]
    assert "no frame between DSC0012.jpg and DSC0016.jpg" in rows[4][-1]
    assert rows[5] == ["card/DSC0017.jpg: a single photograph"]
    report = json.loads(merge("card", "--batch", "--dry-run", "--json", "-o", "out").stdout)
    assert [one["name"] for one in report["sets"]][:3] == SETS
    assert report["sets"][0]["outputs"] == [f"out/{SETS[0]}.exr", f"out/{SETS[0]}.preview.jpg"]
    assert report["sets"][0]["stops"] == [0.0, -2.0, 2.0]
    assert report["lone"] == [{"file": "card/DSC0017.jpg", "reason": "a single photograph"}]
    assert not (place / "out").exists()


def test_a_folder_of_several_brackets_is_refused(place):
    done = merge("card", "-o", "out.exr", code=4)
    assert "card holds 4 brackets (DSC0001.jpg to DSC0003.jpg; DSC0004.jpg to" in done.stderr
    assert "--batch" in done.stderr
    assert not (place / "out.exr").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--batch",), "give one --output FOLDER"),
        (("--batch", "-o", "a", "-o", "b"), "give one --output FOLDER"),
        (("--batch", "-o", "a", "--ev", "1,2"), "--ev is of one bracket"),
        (("--batch", "-o", "a", "--reference", "x.jpg"), "--reference FILE is of one"),
        (("--batch", "-o", "a", "--to", "gif"), "--to gif is none of exr"),
        (("--batch", "-o", "a", "--to", "jpg,jpg"), "a format twice"),
        (("--batch", "-o", "a", "--name", "{what}"), "{what} is none of"),
        (("--batch", "-o", "a", "--by-folder", "--count", "3"), "only one of"),
        (("-o", "a.exr", "--recursive"), "--recursive is of a batch"),
        (("-o", "a.exr", "--name", "{first}"), "--name is of a batch"),
        ((), "say where to: --output"),
    ],
)
def test_wrong_usage(place, arguments, said):
    assert said in " ".join(merge("card", *arguments, code=2).stderr.replace("│", " ").split())


def test_collisions_are_refused_before_the_first_merge(place):
    done = batch("-o", "out", "--name", "{folder}", code=2)
    assert "alike, card" in done.stderr
    assert not (place / "out").exists()


def test_nothing_there(place):
    (place / "empty").mkdir()
    assert "no photographs there" in merge("empty", "--batch", "-o", "o", code=4).stderr
    assert "does not exist" in merge("none", "--batch", "-o", "o", code=4).stderr
