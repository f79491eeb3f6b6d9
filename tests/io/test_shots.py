"""What photographs record is found in EXIF data, maker's notes and XMP, and files are paired."""

from random import Random

import pytest
from PIL import Image

from dfghdr_cli.core.bracketing.sets import find_sets
from dfghdr_cli.errors import InputError
from dfghdr_cli.io.shots import find_shots, read_shot
from tests.core.test_bracketing import differences
from tests.support.card import Body, Card, forty_brackets


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    folder = tmp_path_factory.mktemp("card")
    card = forty_brackets(Random(7), first=(("zone", "+02:00"),), second=(("precise", False),))
    card.write(folder)
    return folder, card


def test_a_card_of_forty_brackets(card):
    folder, written = card
    Image.new("RGB", (8, 8)).save(folder / ".hidden.jpg")
    found = find_shots([folder])
    assert len(found.shots) == len(written.photos)
    assert found.left_out == ()
    assert differences(written, find_sets(found.shots)) == []


def test_files_say_what_was_written(card):
    folder, written = card
    for photo in written.photos[::9]:
        meant = photo.shot(folder)
        read = read_shot(meant.path)
        assert read is not None
        for name in ("time_s", "stops", "bias"):
            assert getattr(read, name) == pytest.approx(getattr(meant, name), abs=1e-6)
        for name in ("automatic", "manual", "lens", "focal", "orientation", "precise", "local"):
            if name != "local":
                assert getattr(read, name) == getattr(meant, name), name
        assert read.local.startswith("2026:05:01 ")


def test_a_zone_is_taken_into_account(tmp_path):
    card = Card()
    body = Body(card, "Alpha", "DSC", zone="+02:00")
    body.bracket((0, -6))
    card.photos[1] = card.photos[1].__class__(
        **{**card.photos[1].__dict__, "zone": "-07:30", "taken": card.photos[1].taken - 9.5 * 3600}
    )
    card.write(tmp_path)
    first, second = (read_shot(path) for path in sorted(tmp_path.iterdir()))
    assert 0 < second.taken - first.taken < 1


def test_xmp_beside_says_that_the_camera_bracketed(tmp_path):
    card = Card()
    Body(card, "Alpha", "DSC", mode=None, biased=False).single()
    card.write(tmp_path)
    assert read_shot(tmp_path / "DSC0001.jpg").automatic is None
    (tmp_path / "DSC0001.xmp").write_text(
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF'
        ' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description'
        ' xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:ExposureMode="2"'
        ' exif:ExposureBiasValue="-2/1"/></rdf:RDF></x:xmpmeta>'
    )
    shot = read_shot(tmp_path / "DSC0001.jpg")
    assert (shot.automatic, shot.bias) == (True, -2.0)


def test_pairs_are_one_shot_unless_they_record_two(tmp_path):
    one, other = Card(), Card()
    Body(one, "Alpha", "X").single(endings=(".dng", ".jpg"))
    Body(other, "Beta", "X", start=50.0).single(endings=(".jpeg",))
    one.write(tmp_path)
    assert [sorted(shot.files) for shot in find_shots([tmp_path]).shots] == [["picture", "raw"]]
    other.write(tmp_path)
    assert len(find_shots([tmp_path]).shots) == 2


def test_own_results_and_broken_files_are_no_shots(tmp_path):
    card = Card()
    Body(card, "Alpha", "X").single()
    card.write(tmp_path)
    exif = Image.Exif()
    exif[305] = "dfghdr 1.0"
    Image.new("RGB", (8, 8)).save(tmp_path / "result.jpg", exif=exif)
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    found = find_shots([tmp_path])
    assert [shot.name for shot in found.shots] == ["X0001.jpg"]
    reasons = {left.path.name: left.reason for left in found.left_out}
    assert reasons["result.jpg"] == "a result of dfghdr"
    assert "broken.jpg is not a JPEG" in reasons["broken.jpg"]


def test_folders_in_folders(tmp_path):
    card = Card()
    Body(card, "Alpha", "X").single()
    card.write(tmp_path / "a" / "b")
    assert find_shots([tmp_path]).shots == ()
    assert len(find_shots([tmp_path, tmp_path / "a"], recursive=True).shots) == 1
    with pytest.raises(InputError, match="does not exist"):
        find_shots([tmp_path / "none"])
