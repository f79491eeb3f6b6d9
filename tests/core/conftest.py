"""What several tests of colour look at."""

import pytest


@pytest.fixture(scope="session")
def lamps():
    """Saturated lamps by name, linear Rec. 709."""
    return {
        "red": (1, 0.05, 0.02),
        "orange": (1, 0.35, 0.02),
        "yellow": (1, 0.9, 0.05),
        "green": (0.05, 1, 0.1),
        "cyan": (0.05, 1, 1),
        "blue": (0.02, 0.08, 1),
        "magenta": (1, 0.05, 0.9),
    }
