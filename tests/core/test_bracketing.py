"""Photographs are sorted into the brackets that they were shot as, whatever cameras record."""

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfghdr_cli.core.bracketing.sets import find_sets
from dfghdr_cli.core.bracketing.shot import Shot
from tests.support.card import MANUAL, Body, Card, forty_brackets

CAMERAS = {
    "all that a camera can say": (),
    "no fractions of a second": (("precise", False),),
    "no exposure bias": (("biased", False),),
    "neither bias nor mode": (("biased", False), ("mode", None)),
    "none of these": (("precise", False), ("biased", False), ("mode", None)),
    "the end of exposures": (("stamps_end", True),),
}


def differences(card, sorting):
    """What was sorted otherwise than it is meant; empty where nothing was."""
    found = {tuple(sorted(path.stem for path in one.paths)): one for one in sorting.sets}
    meant = {tuple(sorted(names)): names for names in card.expected.sets}
    wrong = [f"missed: {names}" for names in sorted(meant.keys() - found.keys())]
    wrong += [f"made up: {names}" for names in sorted(found.keys() - meant.keys())]
    for key in found.keys() & meant.keys():
        doubts, word = "; ".join(found[key].doubts), card.expected.doubts.get(meant[key])
        if (word is None) != (doubts == "") or (word or "") not in doubts:
            wrong.append(f"doubts of {key}: {doubts or 'none'} instead of {word or 'none'}")
    lone = {one.shot.path.stem for one in sorting.lone}
    return wrong + [f"lone: {name}" for name in sorted(lone ^ card.expected.lone)]


PAIRS = [
    *((name, name) for name in CAMERAS),
    *zip(CAMERAS, [*list(CAMERAS)[1:], next(iter(CAMERAS))], strict=True),
]


@pytest.mark.parametrize("seed", range(len(PAIRS)))
def test_forty_brackets_are_sorted_without_an_error(seed):
    first, second = PAIRS[seed]
    card = forty_brackets(Random(seed), first=CAMERAS[first], second=CAMERAS[second])
    assert len(card.expected.sets) == 40
    shots = card.shots()
    Random(seed).shuffle(shots)
    assert differences(card, find_sets(shots)) == []


def test_names_that_tell_nothing():
    card = forty_brackets(Random(1)).renamed(Random(2))
    # But for the one of which only the counter told that its last shot is missing.
    assert [d for d in differences(card, find_sets(card.shots())) if "doubts" not in d] == []


def sorted_names(card, **options):
    return [
        [shot.path.stem for shot in one.shots] for one in find_sets(card.shots(), **options).sets
    ]


def one_camera(**records):
    card = Card()
    return card, Body(card, "Alpha", "DSC", **records)


def test_each_exposure_several_times_in_a_row_is_one_bracket():
    card, body = one_camera()
    body.bracket((-6, 0, 6), times=3)
    assert differences(card, find_sets(card.shots())) == []


def test_a_burst_is_no_bracket():
    card, body = one_camera()
    for _ in range(5):
        body.single()
    assert differences(card, find_sets(card.shots())) == []


def test_single_photographs_on_either_side():
    card, body = one_camera(biased=False, mode=None)
    body.single().wait(1.0).bracket((-6, 0, 6)).wait(1.0).single()
    assert differences(card, find_sets(card.shots())) == []


def test_time_counts_from_the_end_of_an_exposure():
    """Two brackets by hand with 100 s between them, and one whose exposures take as long."""
    card, body = one_camera(biased=False, mode=MANUAL)
    body.set(time=3).bracket((-9, -6, -3, 0, 3)).wait(700)
    body.set(time=30).bracket((-6, 0, 6)).wait(100).bracket((12, 18, 24))
    assert differences(card, find_sets(card.shots())) == []


def test_numbers_of_a_sequence_decide():
    card, body = one_camera()
    body.bracket((0, -3, 3)).bracket((0, -3, 3), lost=(1,))
    shots = [
        replace(s, place=k, length=3) for s, k in zip(card.shots(), (1, 2, 3, 1, 3), strict=True)
    ]
    first, second = find_sets(shots).sets
    assert (first.recognised, first.doubts) == ("sequence numbers", ())
    assert second.doubts == ("2 of 3 frames",)


def test_count_forces_it():
    card, body = one_camera()
    body.bracket((0, -6, 6, -12, 12, -18, 18))
    assert sorted_names(card, count=3) == [
        ["DSC0001", "DSC0002", "DSC0003"],
        ["DSC0004", "DSC0005", "DSC0006"],
    ]


def test_every_folder_is_a_bracket_if_that_is_said():
    card, body = one_camera()
    body.single().single(time=30).wait(5000).single(time=33)
    shots = card.shots(Path("one")) + card.shots(Path("two"))
    assert [len(one.shots) for one in find_sets(shots, by_folder=True).sets] == [3, 3]


def test_a_folder_without_metadata_is_one_doubtful_bracket():
    card, body = one_camera()
    body.bracket((0, -6, 6))
    shots = [Shot(files=shot.files) for shot in card.shots()]
    (found,) = find_sets(shots).sets
    assert len(found.shots) == 3
    assert "whole folder" in found.doubts[0]
    assert find_sets(shots * 4).sets == ()  # too many to be one


def test_raw_files_and_pictures_are_not_mixed():
    card, body = one_camera()
    body.bracket((0, -6, 6), endings=(".dng", ".jpg"))
    shots = card.shots()
    (found,) = find_sets(shots).sets
    assert {path.suffix for path in found.paths} == {".dng"}
    del shots[1].files["raw"]
    (found,) = find_sets(shots).sets
    assert {path.suffix for path in found.paths} == {".jpg"}


@given(
    st.lists(st.sampled_from([(0, -6, 6), (-6, 0, 6), (6, 0, -6), (0, -3, 3, -6, 6)]), max_size=8)
)
def test_any_brackets_of_a_camera_without_a_pause(patterns):
    card, body = one_camera()
    for steps in patterns:
        body.bracket(steps)
    sorting = find_sets(card.shots())
    assert [tuple(s.path.stem for s in one.shots) for one in sorting.sets] == card.expected.sets
