"""Programs for the tests of the command line."""

import sys
from pathlib import Path

import pytest

from tests.support.warm import warm_program


@pytest.fixture(scope="session")
def programs():
    """A folder for PATH with `dfghdr`, which starts at once on Linux."""
    if sys.platform != "linux":
        yield Path(sys.executable).parent
        return
    with warm_program() as folder:
        yield folder
