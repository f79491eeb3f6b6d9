"""What can be said without a picture is said before anything heavy is loaded."""

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "cv2", "numpy", "rawpy", "imagecodecs", "OpenEXR", "tifffile", "PIL")
PROGRAM = f"""
import sys
from dfghdr_cli.cli.app import main
try:
    main()
finally:
    loaded = [name for name in {HEAVY} if name in sys.modules]
    print("loaded:", loaded, file=sys.stderr)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "b.jpg", "there.exr", "there.preview.jpg", "there.jpg"):
        (tmp_path / name).write_bytes(b"anything")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("merge a.jpg none.jpg -o out.exr", 4, "none.jpg does not exist"),
        ("merge a.jpg b.jpg -o there.exr", 3, "there.exr exists already"),
        ("merge a.jpg b.jpg -o there.exr --skip-existing", 0, "nothing to do"),
        ("merge a.jpg b.jpg -o out.xyz", 2, "names no format"),
        ("merge a.jpg b.jpg -o out.exr --json-file a.jpg", 3, "a.jpg exists already"),
        ("tonemap none.exr -o out.jpg", 4, "none.exr does not exist"),
        ("tonemap there.exr -o there.jpg", 3, "there.jpg exists already"),
        ("tonemap there.exr -o there.jpg --skip-existing", 0, "nothing to do"),
        ("--version", 0, "loaded"),
    ],
)
def test_nothing_heavy_is_loaded(place, command, code, said):
    program = [sys.executable, "-c", PROGRAM, *command.split()]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "loaded: []" in done.stderr


@pytest.mark.parametrize(
    "command", ["merge a.jpg b.jpg -o there.exr", "tonemap a.exr -o there.jpg"]
)
def test_a_report_of_nothing_has_the_usual_keys(place, command):
    where = ("--skip-existing", "--json", "--json-file", "report.json")
    program = [sys.executable, "-m", "dfghdr_cli", *command.split(), *where]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert report == json.loads((place / "report.json").read_text())
    assert report["outputs"] == report["kept"]
    assert {"version", "warnings"} <= report.keys()
