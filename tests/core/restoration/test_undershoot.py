"""Dark fringes of darker frames, where the reference is clipped."""

import numpy as np
import pytest

from dfghdr_cli.core.encoding import encode
from dfghdr_cli.core.restoration.undershoot import REACH, has_undershoot, repair_undershoot

STOPS = -2.0


def window():
    """A lit wall with a window, 1.5 and 40 times the reference's white, and a fringe.

    Returns:
        The reference, the darker frame, and that frame as it would be without the fringe.
    """
    radiance = np.full((24, 32, 3), 1.5, np.float32)
    radiance[6:18, 8:20] = 40.0
    reference = encode(np.clip(radiance, 0, 1))
    clean = encode(np.clip(radiance * 2.0**STOPS, 0, 1))
    fringed = clean.copy()
    fringed[5, 8:20] = 0.0
    fringed[6:18, 7, 0] = 0.2
    return reference, fringed, clean


def repaired(frame, reference, stops=STOPS, trust=None):
    return repair_undershoot(
        frame, np.ones(frame.shape[:2], np.float32) if trust is None else trust, reference, stops
    )


def test_a_fringe_becomes_what_is_around_it():
    reference, fringed, clean = window()
    assert has_undershoot(fringed, reference, STOPS)
    result = repaired(fringed, reference)
    fringe = (fringed != clean).any(2)
    assert (result[~fringe] == fringed[~fringe]).all()
    low, high = clean.min(), clean.max()
    assert (result[fringe] >= low - 1e-6).all()
    assert (result[fringe] <= high + 1e-6).all()
    assert np.abs(result - clean)[fringe].mean() < 0.5 * np.abs(fringed - clean)[fringe].mean()


def test_only_agreeing_neighbours_count():
    reference, fringed, clean = window()
    reference[:5] = 0.5  # not clipped there: the wall above the fringe is not known to agree
    result = repaired(fringed, reference)
    assert result[5, 10:18] == pytest.approx(np.full((8, 3), clean[7, 10, 0]), abs=1e-6)


def test_nothing_is_done_where_the_reference_sees():
    reference, fringed, _ = window()
    assert repaired(fringed, np.full_like(reference, 0.9)) is fringed
    assert not has_undershoot(fringed, np.full_like(reference, 0.9), STOPS)


def test_brighter_frames_are_left_alone():
    reference, fringed, _ = window()
    assert repaired(fringed, reference, 2.0) is fringed


def test_dark_things_away_from_bright_ones_stay():
    reference, _, clean = window()
    frame = clean.copy()
    frame[20:22, 24:30] = 0.1
    assert (repaired(frame, reference) == frame).all()


def test_a_large_dark_thing_is_not_filled():
    reference, _, clean = window()
    frame = clean.copy()
    frame[6:18, 12:20] = 0.05
    result = repaired(frame, reference)
    assert (result[8:16, 13:19] == frame[8:16, 13:19]).all()


def test_pixels_outside_the_frame_do_not_count():
    reference, fringed, _ = window()
    trust = np.ones(fringed.shape[:2], np.float32)
    trust[5] = 0.0
    assert (repaired(fringed, reference, trust=trust)[5] == fringed[5]).all()


def test_a_part_is_repaired_as_the_whole():
    reference, fringed, _ = window()
    whole = repaired(fringed, reference)
    for top in range(1, 12):
        rows = slice(top, top + 8)
        around = slice(max(0, top - REACH), top + 8 + REACH)
        part = repaired(fringed[around], reference[around])
        start = top - around.start
        assert (part[start : start + 8] == whole[rows]).all()
