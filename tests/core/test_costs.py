import time

import pytest

from dfghdr_cli.core.costs import Stopwatch


def test_a_stage_adds_up():
    watch = Stopwatch()
    for _ in range(2):
        with watch.stage("slow"):
            time.sleep(0.02)
    with watch.stage("quick"):
        pass
    assert list(watch.seconds) == ["slow", "quick"]
    assert 0.04 <= watch.seconds["slow"] < 5
    assert watch.seconds["quick"] < 0.02


def test_a_stage_that_fails_is_counted():
    watch = Stopwatch()
    with pytest.raises(ValueError), watch.stage("slow"):  # noqa: PT011
        raise ValueError
    assert "slow" in watch.seconds
