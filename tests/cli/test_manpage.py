"""The man page is what the commands say, and groff takes it."""

import re
import shutil
import subprocess
import sys

import pytest

from dfghdr_cli import __version__
from tests.support.scripts import ROOT

PAGE = ROOT / "docs" / "dfghdr.1"


def test_it_is_up_to_date(tmp_path):
    command = [sys.executable, ROOT / "docs" / "manpage.py", tmp_path / "page"]
    subprocess.run(command, check=True)
    assert (tmp_path / "page").read_text() == PAGE.read_text(), "make docs"


@pytest.mark.skipif(not shutil.which("groff"), reason="needs groff")
def test_groff_shows_it():
    command = ["groff", "-man", "-ww", "-Tascii", PAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    shown = re.sub(".\b", "", done.stdout)
    for words in ("dfghdr merge FILES...", "--skip-existing", "explore-disentangle", "130"):
        assert words in shown


def test_the_citation_names_this_version():
    """And the paper as the README does."""
    text = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {__version__}\n" in text
    title = re.search(r"  title: (.*)", text)[1]
    readme = " ".join((ROOT / "README.md").read_text().replace("> ", "").split())
    assert title in readme
