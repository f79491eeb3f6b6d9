"""Every program of benchmarks/ and scripts/ runs, on little."""

import os
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from dfghdr_cli.cli.app import app
from dfghdr_cli.core.types import RadianceImage
from dfghdr_cli.io.radiance import write_radiance
from tests.support.photographs import photograph, textured_scene, write_jpeg
from tests.support.scripts import ROOT, load_script

BENCHMARKS, SCRIPTS = ROOT / "benchmarks", ROOT / "scripts"


@pytest.fixture
def run(monkeypatch, capsys):
    """A function that runs a program with arguments and gives what it prints."""
    threads, path = cv2.getNumThreads(), list(sys.path)

    def in_this_process(command, **_):
        """What a program runs of ours, without loading everything anew."""
        assert command[:3] == [sys.executable, "-m", "dfghdr_cli"]
        result = CliRunner().invoke(app, command[3:])
        assert result.exit_code == 0, result.output

    def run(program, *arguments, started=in_this_process):
        monkeypatch.setattr(subprocess, "run", started)
        monkeypatch.syspath_prepend(str(program.parent))
        monkeypatch.setattr(sys, "argv", [str(program), *map(str, arguments)])
        load_script(program).main()
        return capsys.readouterr().out

    yield run
    cv2.setNumThreads(threads)
    sys.path[:] = path


@pytest.fixture
def scenes(tmp_path, make_scene):
    make_scene(tmp_path / "scenes" / "a", size=(96, 128))
    return tmp_path / "scenes"


@pytest.fixture
def merges(tmp_path):
    """Two .exr that differ a little."""
    light = np.random.default_rng(0).uniform(0.01, 1.0, (48, 64, 3)).astype(np.float32)
    paths = [tmp_path / "first.exr", tmp_path / "second.exr"]
    for path, gain in zip(paths, (1.0, 1.1), strict=True):
        picture = RadianceImage(light * np.float32(gain), 1.0)
        write_radiance(path, picture, attributes={"dfghdr:peak": 1.0})
    return paths


def test_alignment(run, scenes):
    printed = run(BENCHMARKS / "alignment.py", scenes)
    assert printed.count("mean") == 2
    module = sys.modules["alignment"]
    assert module.random_shake(np.random.default_rng(0), (60, 80)).shape == (3, 3)


@pytest.mark.skipif(sys.platform == "win32", reason="getrusage is of POSIX")
def test_batch(run):
    real = subprocess.run  # it counts what its processes take

    def start(command, **options):
        return real(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, **options)

    small = ("--brackets", "1", "--width", "96", "--height", "64", "--jobs", "1")
    printed = run(BENCHMARKS / "batch.py", *small, "--", "--method", "classic", started=start)
    assert "1 of 1 files alike" in printed


def test_brackets_of_cameras(run, scenes, tmp_path):
    run(SCRIPTS / "make_camera_brackets.py", scenes, tmp_path / "cameras")
    assert (tmp_path / "cameras" / "a" / "exposure.txt").exists()
    run(
        BENCHMARKS / "camera_jpegs.py",
        tmp_path / "cameras",
        tmp_path / "out",
        "--method",
        "classic",
    )
    assert "auto" in (tmp_path / "out" / "scores.csv").read_text()


def test_consistency(run, tmp_path):
    scene = textured_scene(0, (96, 128))
    for number, stops in enumerate(np.arange(-3.0, 3.0)):
        pixels = photograph(scene, stops, seed=number)
        write_jpeg(tmp_path / f"{number}.jpg", pixels, seconds=2.0**stops / 64)
    printed = run(BENCHMARKS / "consistency.py", tmp_path, "--response", _gamma(tmp_path))
    (error,) = [line.split()[1:4] for line in printed.splitlines() if line.startswith("error")]
    assert float(error[0]) < 0.1
    printed = run(BENCHMARKS / "consistency.py", tmp_path, "--measured", "--rendered")
    found = [float(line.split()[1]) for line in printed.splitlines() if line.endswith(" EV")]
    exposures, (error, *_) = found[:6], found[6:]
    assert max(map(abs, exposures)) < 0.05
    assert error < 0.1


def _gamma(folder):
    path = folder / "gamma.csv"
    codes = np.linspace(0, 1, 65)
    rows = [f"{code},{code**2.2}" for code in codes]
    path.write_text("\n".join(["code,exposure", *rows]) + "\n")
    return path


def test_hdrvdp2_settings(run, merges):
    assert run(BENCHMARKS / "hdrvdp2_settings.py", *merges).count("\n| ") == 13


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="wait4 is of POSIX")
def test_large_bracket(run, tmp_path):
    small = ("--megapixels", "0.02", "--", "--method", "classic")
    printed = run(BENCHMARKS / "large_bracket.py", tmp_path, *small)
    assert "classic on cpu" in printed
    assert "psnr_mu " in printed


def test_peers(run, scenes, tmp_path, monkeypatch):
    """They are not installed everywhere, so that here none is."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    peers = load_script(BENCHMARKS / "peers.py")
    monkeypatch.setattr(peers, "describe", lambda path, time: None)
    monkeypatch.setattr(sys, "argv", ["peers.py", str(scenes), str(tmp_path / "out")])
    peers.main()
    assert not (tmp_path / "out").exists()


def test_response(run, scenes):
    assert "filmic" in run(BENCHMARKS / "response.py", scenes)


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="wait4 is of POSIX")
def test_tonemap_speed(run):
    cores = os.cpu_count()
    printed = run(
        BENCHMARKS / "tonemap_speed.py", "--megapixels", 0.01, "--processors", cores, "gamma"
    )
    assert printed.splitlines()[1].startswith("gamma")


def test_training_speed(run, tmp_path):
    light = np.random.default_rng(0).uniform(0.01, 1.0, (320, 320, 3)).astype(np.float32)
    write_radiance(tmp_path / "a.exr", RadianceImage(light, 1.0))
    small = ("--steps", "2", "--batch", "1", "--samples-per-scene", "1", "--workers", "0")
    which = ("--device", "cpu", "--network", "dfgnet, width 16", "--stage", "merge")
    assert "dfgnet, width 16" in run(BENCHMARKS / "training_speed.py", tmp_path, *small, *which)


def test_pictures_of_the_documents(run, merges, tmp_path):
    run(SCRIPTS / "readme_pictures.py", *merges, tmp_path / "pair.jpg")
    run(SCRIPTS / "readme_operators.py", merges[0], tmp_path / "sheet.jpg")
    assert cv2.imread(str(tmp_path / "pair.jpg")).shape[0] == 48
    assert cv2.imread(str(tmp_path / "sheet.jpg")).shape[1] == 960


def test_the_demo_asks_for_its_panorama(run):
    """Rendering it takes minutes."""
    with pytest.raises(SystemExit) as refused:
        run(SCRIPTS / "make_demo.py")
    assert refused.value.code == 2


def test_none_is_left_out():
    """A program that is added gets a test; "install_torch.py" has its own in tests/packaging."""
    text = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "tests/benchmarks").glob("*.py"))
    programs = [
        path.name
        for folder in (BENCHMARKS, SCRIPTS)
        for path in folder.glob("*.py")
        if "__main__" in path.read_text(encoding="utf-8")
    ]
    assert [name for name in programs if f'"{name}"' not in text] == []
