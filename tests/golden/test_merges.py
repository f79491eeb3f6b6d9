"""Every way of merging gives the picture, the report and the header that it gave."""

from itertools import pairwise

import numpy as np
import pytest

from tests.golden.merges import WAYS, merged, stored

MOST, MEAN = 2e-3, 1e-5
"""Differences after the mu-law that rounding makes on other machines, at most and on average."""


@pytest.mark.parametrize("name", WAYS)
def test_a_merge_gives_what_it_gave(name, tmp_path):
    codes, told = merged(WAYS[name], tmp_path)
    expected, before = stored(name)
    difference = np.abs(codes.astype(np.int32) - expected) / 65535
    assert difference.max() <= MOST
    assert difference.mean() <= MEAN
    assert set(told["report"]) == set(before["report"])
    assert same(told, before)


def same(now, before):
    """Numbers up to rounding, all else exactly."""
    if isinstance(now, dict):
        assert list(now) == list(before)
        return all(same(value, before[key]) for key, value in now.items())
    if isinstance(now, list):
        return len(now) == len(before) and all(map(same, now, before))
    if isinstance(now, float) and isinstance(before, float):
        return now == pytest.approx(before, rel=1e-3, abs=2e-3)
    assert now == before
    return True


def test_the_ways_differ():
    """Else one golden picture would do."""
    pictures = [stored(name)[0].astype(np.int32) for name in WAYS if name != "default-alike"]
    for first, second in pairwise(pictures):
        assert np.abs(first - second).mean() / 65535 > MEAN
