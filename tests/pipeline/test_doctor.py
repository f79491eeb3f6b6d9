"""`dfghdr doctor` tries what it talks about, and notices what does not work."""

import json
import re

import pytest
import torch
from typer.testing import CliRunner

from dfghdr_cli import modelfolders
from dfghdr_cli.cli.app import app
from dfghdr_cli.modelfolders import WEIGHTS
from dfghdr_cli.modelstore import install_model
from dfghdr_cli.nets.registry import build
from dfghdr_cli.pipeline import doctor


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    """One small model, and no other."""
    torch.manual_seed(0)
    small = build("dfgmerge", {"width": (4, 4, 4), "disentangle_width": 4, "code_length": 4})
    install_model(small, "small", tmp_path / "models")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv(modelfolders.MODELS_DIR_VARIABLE, str(tmp_path / "models"))
    monkeypatch.setattr(modelfolders, "__file__", str(tmp_path / "package" / "modelstore.py"))
    return tmp_path / "models"


def run(code):
    done = CliRunner().invoke(app, ["doctor", "--json"])
    assert done.exit_code == code, done.output
    report = json.loads(done.stdout)
    return report, {(c["group"], c["name"]): (c["status"], c["note"]) for c in report["checks"]}


def test_all_is_well():
    report, checks = run(0)
    assert report["healthy"]
    assert report["facts"]["torch"].startswith(torch.__version__.split("+")[0])
    assert checks["model", "small"][0] == "ok"
    for what in (("write", "exr"), ("read", "exr"), ("read", "avif"), ("merge", "classic")):
        assert checks[what][0] == "ok", checks[what]
    assert re.search(r"LibRaw [\d.]+, a DNG, off by", checks["read", "raw"][1])
    text = CliRunner().invoke(app, ["doctor"]).stdout
    assert "merge classic: ok, off by" in text


def test_a_damaged_model_is_found(models):
    (models / "small" / WEIGHTS).write_bytes(b"none")
    _, checks = run(1)
    assert checks["model", "small"][0] == "failed"
    assert WEIGHTS in checks["model", "small"][1]


def test_a_format_that_does_not_work_and_a_wrong_merge_are_found(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no encoder")

    monkeypatch.setattr(doctor, "encode_radiance", broken)
    monkeypatch.setattr(doctor, "_MERGE_ERROR", 1e-9)
    _, checks = run(1)
    assert checks["write", "exr"] == ("failed", "RuntimeError: no encoder")
    assert checks["read", "exr"][0] == checks["read", "raw"][0] == "failed"
    assert checks["merge", "classic"][0] == "failed"


def test_a_package_that_is_absent_is_no_failure(monkeypatch):
    def missing(*_):
        raise ImportError("No module named 'pillow_heif'", name="pillow_heif")

    monkeypatch.setattr(doctor, "_read", missing)
    _, checks = run(0)
    assert checks["read", "heic"] == ("absent", "pillow_heif is not installed")
