"""A folder that fills is watched: a bracket comes once it is complete and quiet, and only once."""

import shutil

import pytest

from dfghdr_cli.core.bracketing.sets import find_sets
from dfghdr_cli.pipeline.batch.watch import settled_sets
from tests.support.card import Body, Card

SETTLE = 10.0


class Folder:
    """A folder that is watched, with a clock of its own that `step` lets go on."""

    def __init__(self, place):
        self.place, self.now, self.step = place, 0.0, 2.0
        card = Card()
        body = Body(card, "Alpha", "DSC")
        body.bracket((0, -6, 6)).wait(60).bracket((0, -6, 6)).wait(60).single()
        card.write(place / "card")
        (place / "in").mkdir()
        self.found = settled_sets(
            [place / "in"],
            find_sets,
            lambda one: not one.doubts,
            settle=SETTLE,
            wait=self.wait,
            clock=lambda: self.now,
        )

    def wait(self, _):
        self.now += self.step

    def come(self, *numbers):
        for number in numbers:
            shutil.copy(self.place / "card" / f"DSC{number:04}.jpg", self.place / "in")

    def looked(self, seconds):
        """What is given out within some seconds: the names of each bracket's files."""
        ends, given = self.now + seconds, []
        while self.now < ends:
            given += [[path.stem for path in one.paths] for one in next(self.found)]
        return given


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


FIRST, SECOND = (["DSC0001", "DSC0002", "DSC0003"], ["DSC0004", "DSC0005", "DSC0006"])


def test_a_bracket_comes_once_it_is_quiet_and_only_once(folder):
    folder.come(1, 2)
    assert folder.looked(8) == []
    folder.come(3)
    assert folder.looked(SETTLE) == []
    assert folder.looked(4) == [FIRST]
    assert folder.looked(60) == []
    folder.come(4, 5, 6, 7)
    assert folder.looked(60) == [SECOND]


def test_a_file_that_still_grows_is_waited_for(folder):
    folder.come(1, 2)
    path = folder.place / "in" / "DSC0003.jpg"
    whole = (folder.place / "card" / "DSC0003.jpg").read_bytes()
    for length in range(0, len(whole), len(whole) // 8):
        path.write_bytes(whole[:length])
        assert folder.looked(6) == []
    path.write_bytes(whole)
    assert folder.looked(SETTLE) == []
    assert folder.looked(4) == [FIRST]


def test_a_doubtful_one_is_said_once_and_comes_when_it_is_whole(folder):
    card = Card()
    Body(card, "Beta", "IMG").bracket((0, -6, 6, -12, 12))
    card.write(folder.place / "card")
    for photo in card.photos:
        shutil.move(folder.place / "card" / f"{photo.name}.jpg", folder.place)
    names = [photo.name for photo in card.photos]
    for name in (names[0], names[1], names[3], names[4]):
        shutil.copy(folder.place / f"{name}.jpg", folder.place / "in")
    assert folder.looked(60) == [[names[0], names[1], names[3], names[4]]]
    shutil.copy(folder.place / f"{names[2]}.jpg", folder.place / "in")
    assert folder.looked(60) == [names]
