"""Names of results, and what a folder says is left to do."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from dfghdr_cli.core.bracketing.sets import find_sets
from dfghdr_cli.errors import InputError, OutputError, OutputExistsError, OutputNameError
from dfghdr_cli.io.shots import find_shots
from dfghdr_cli.pipeline.batch.manifest import (
    NAME,
    Entry,
    inputs_of,
    open_manifest,
    read_manifest,
)
from dfghdr_cli.pipeline.batch.plan import check_pattern, ensure_different_names, plan
from dfghdr_cli.pipeline.batch.run import Existing, what_is_left
from dfghdr_cli.pipeline.batch.settings import MergeSettings
from tests.support.card import Body, Card

SETTINGS = MergeSettings()
KEEP = Existing(keep=True)


@pytest.fixture
def card(tmp_path):
    """A folder with two brackets, and the jobs of merging them."""
    card = Card()
    Body(card, "Alpha", "DSC").bracket((0, -6, 6)).wait(60).bracket((0, -6, 6))
    card.write(tmp_path / "card")
    return tmp_path


def jobs(card, pattern="{first}-{last}", suffixes=(".exr",), **options):
    sets = find_sets(find_shots([card / "card"]).shots).sets
    return plan(sets, card / "out", pattern=pattern, suffixes=suffixes, **options)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("{first}-{last}", ["DSC0001-DSC0003", "DSC0004-DSC0006"]),
        ("{folder}_{index}_{count}", ["card_1_3", "card_2_3"]),
        ("{date}/{stem}", ["2026-05-01/DSC0001", "2026-05-01/DSC0004"]),
    ],
)
def test_names_follow_the_pattern(card, pattern, names):
    check_pattern(pattern)
    planned = jobs(card, pattern)
    assert [job.name for job in planned] == names
    assert planned[0].outputs == (card / "out" / f"{names[0]}.exr",)


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("plain", "every result"),
        ("", "every result"),
        ("{other}", "none of"),
        ("{first", "no pattern"),
        ("/tmp/{first}", "out of the"),
        ("../{first}", "out of the"),
    ],
)
def test_patterns_that_cannot_be_meant(pattern, why):
    with pytest.raises(ValueError, match=why):
        check_pattern(pattern)


def test_results_in_several_formats_and_a_preview(card):
    job = jobs(card, suffixes=(".jpg", ".exr"))[0]
    assert [path.name for path in job.results] == [
        "DSC0001-DSC0003.jpg",
        "DSC0001-DSC0003.exr",
        "DSC0001-DSC0003.preview.jpg",
    ]
    assert len(jobs(card, suffixes=(".jpg", ".exr"), preview=False)[0].results) == 2


def test_results_of_one_name_are_refused(card):
    ensure_different_names(jobs(card), "{first}-{last}")
    with pytest.raises(OutputNameError, match="alike, card"):
        ensure_different_names(jobs(card, "{folder}"), "{folder}")


def entry(job, **changes):
    of = Entry(job.name, "done", inputs_of(job.paths), (), SETTINGS.of_result())
    return replace(of, **changes)


def written(card, *entries):
    (card / "out").mkdir(exist_ok=True)
    with open_manifest(card / "out") as manifest:
        for one in entries:
            manifest.append(one)


def make_results(job):
    for path in job.results:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"a result")


def left(card, existing=KEEP, settings=SETTINGS):
    return what_is_left(jobs(card), card / "out", settings, existing)


def test_without_a_word_existing_results_are_an_error(card):
    assert len(left(card, Existing()).jobs) == 2
    make_results(jobs(card)[0])
    with pytest.raises(OutputExistsError, match=r"--resume"):
        left(card, Existing())
    assert len(left(card, Existing(overwrite=True)).jobs) == 2


def test_what_is_there_is_kept_and_what_is_half_there_is_merged(card):
    first, second = jobs(card)
    make_results(first)
    make_results(second)
    second.beside[0].unlink()
    todo = left(card)
    assert [job.name for job in todo.there] == [first.name]
    assert [job.name for job in todo.jobs] == [second.name]
    assert todo.remarks == []


def test_what_failed_is_left_alone_unless_it_is_to_be_tried_again(card):
    first, second = jobs(card)
    written(card, entry(first, status="failed", error="It broke."))
    todo = left(card)
    assert [(job.name, error) for job, error in todo.failed_before] == [(first.name, "It broke.")]
    assert [job.name for job in todo.jobs] == [second.name]
    assert len(left(card, replace(KEEP, retry_failed=True)).jobs) == 2
    # A photograph that was copied anew may do, and so may other settings.
    os.utime(first.paths[0], (1, 1))
    assert len(left(card).jobs) == 2


def test_other_settings_are_noticed(card):
    first, _ = jobs(card)
    make_results(first)
    written(card, entry(first))
    assert left(card).remarks == []
    changed = replace(SETTINGS, align="none", device="cpu")
    (remark,) = left(card, settings=changed).remarks
    assert "--align auto, now none" in remark
    assert "device" not in remark
    todo = left(card, Existing(overwrite=True, keep=True), changed)
    assert (len(todo.jobs), todo.remarks) == (2, [])


def test_other_photographs_are_noticed(card):
    first, _ = jobs(card)
    make_results(first)
    written(card, entry(first))
    os.utime(first.paths[0], (1, 1))
    (remark,) = left(card).remarks
    assert "changed since" in remark


def test_a_manifest_gives_back_the_last_entry_of_each_name(card):
    first, second = jobs(card)
    full = entry(
        first,
        status="failed",
        warnings=("one",),
        seconds=1.5,
        error="It broke.",
        exit_code=4,
        details={"model": "x"},
    )
    written(card, entry(first), entry(second), full)
    assert read_manifest(card / "out") == {first.name: full, second.name: entry(second)}


def test_a_line_that_a_power_cut_left_is_passed_over(card):
    first, second = jobs(card)
    written(card, entry(first), entry(second))
    path = card / "out" / NAME
    whole = path.read_bytes()
    start = whole.index(b"\n") + 1
    for end in range(start, len(whole)):
        path.write_bytes(whole[:end])
        assert set(read_manifest(card / "out")) in ({first.name}, {first.name, second.name})
    path.write_bytes(whole[: start + 20])
    written(card, entry(second))
    assert set(read_manifest(card / "out")) == {first.name, second.name}
    for line in path.read_bytes().splitlines()[::2]:
        json.loads(line)


def test_a_file_that_is_no_manifest(card):
    (card / "out").mkdir()
    (card / "out" / NAME).write_text("something\nelse\nentirely\n")
    with pytest.raises(InputError, match="no manifest"):
        read_manifest(card / "out")


def test_two_batches_do_not_write_into_one_folder(card):
    (card / "out").mkdir()
    with (
        open_manifest(card / "out"),
        pytest.raises(OutputError, match="Another batch"),
        open_manifest(card / "out"),
    ):
        pass
    with open_manifest(Path(card / "out")):
        pass
