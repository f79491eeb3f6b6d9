"""What every test starts from: nobody's settings, and logging as Python has it."""

import logging
import os
from importlib import metadata

import pytest

PACKAGES = ("dfghdr", "torch", "numpy", "opencv-python-headless", "OpenEXR", "typer", "rich")


def pytest_report_header():
    return "versions: " + ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """No variable that changes what the program does or how its output looks."""
    for name in os.environ:
        if name.startswith(("DFGHDR_", "_DFGHDR_", "_TYPER_")):
            monkeypatch.delenv(name)
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "PY_COLORS", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def clean_logging():
    """The program configures the root logger; take that back."""
    loggers = (logging.getLogger(), logging.getLogger("dfghdr_cli"))
    before = [(list(logger.handlers), logger.level) for logger in loggers]
    yield
    logging.captureWarnings(False)
    for logger, (handlers, level) in zip(loggers, before, strict=True):
        logger.handlers[:] = handlers
        logger.setLevel(level)
