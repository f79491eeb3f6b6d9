"""The benchmark of real brackets, on a bracket of which the truth is known."""

import json

import cv2
import numpy as np
import pytest

from tests.support.scripts import ROOT, load_script

STOPS = (-3.0, 0.0, 3.0)


@pytest.fixture(scope="module")
def benchmark():
    return load_script(ROOT / "benchmarks" / "real_brackets.py")


@pytest.fixture(scope="module")
def scene():
    """Coloured light over about twelve stops, (H, W, 3), 1 = white of the middle frame."""
    rng = np.random.default_rng(3)
    noise = cv2.GaussianBlur(rng.standard_normal((96, 128, 3)), (0, 0), 3.0, borderType=2)
    noise = noise / noise.std() * 0.3 + np.linspace(-8, 2.5, 128)[:, None] - (0.0, 0.3, 0.6)
    return (2.0**noise).astype(np.float32)


def frames_of(light):
    return np.stack([np.clip(light * 2**s, 0, 1) ** np.float32(1 / 2.2) for s in STOPS])


@pytest.fixture
def bracket(tmp_path, scene):
    folder = tmp_path / "here" / "shelf"
    folder.mkdir(parents=True)
    for number, codes in enumerate(frames_of(scene)):
        cv2.imwrite(str(folder / f"{number}.png"), np.rint(codes[..., ::-1] * 255).astype("u1"))
    (folder / "options.txt").write_text("--ev -3,0,3 --response gamma\n")
    return folder


def test_a_bracket_is_merged_and_judged(benchmark, bracket, tmp_path, capsys):
    file = tmp_path / "figures.json"

    benchmark.main([str(bracket.parent), "--method", "classic", "--json", str(file)])

    (row,) = json.loads(file.read_text())["brackets"]
    assert row["bracket"] == "shelf"
    assert row["frames"] < 0.02
    assert row["ref"] < 0.02
    assert row["hi"] < 1
    assert row["sh"] < 1
    assert row["bad%"] < 1
    assert row["L2"] < row["L50"] < row["L98"]
    heading, line, middle = capsys.readouterr().out.splitlines()
    assert heading.split()[1:] == list(benchmark.COLUMNS)
    assert line.split()[0] == "shelf"
    assert middle.split()[0] == "median"


def test_options_come_from_either_file(benchmark, bracket):
    assert benchmark.options_of(bracket) == {"stops": (-3, 0, 3), "response": "gamma"}
    (bracket / "options.txt").unlink()
    assert benchmark.options_of(bracket) == {}
    (bracket / "ev.txt").write_text("-3\n0\n3\n")
    assert benchmark.options_of(bracket) == {"stops": (-3, 0, 3)}
    (bracket / "options.txt").write_text("--device cuda\n")
    with pytest.raises(SystemExit, match="--device"):
        benchmark.options_of(bracket)


def test_each_fault_is_seen_where_it_is(benchmark, scene):
    codes = frames_of(scene)
    radiance = np.stack([c**2.2 / 2**s for c, s in zip(codes, STOPS, strict=True)])
    there = np.ones(codes.shape[:3], bool)
    views = benchmark.Views(codes, radiance.astype("f4"), there, reference=1)
    ideal = np.zeros(codes.shape[:3], "f4")
    rows, columns = np.indices(ideal.shape[1:])
    ideal[views.best(), rows, columns] = 1

    def judged(light, weights=ideal):
        return benchmark.merge_figures(np.asarray(light, "f4"), weights, views)

    right = judged(scene)
    assert right["ref95"] < 0.01
    assert right["hi95"] < 0.1
    assert right["sh95"] < 0.1
    assert right["bad%"] == 0
    largest = codes[1].max(axis=2, keepdims=True)
    cyan = judged(np.where(largest > 0.9, scene * (0.5, 1, 1), scene))
    assert cyan["hi"] > 3
    assert cyan["sh95"] < 0.1
    green = judged(np.where(largest < 0.15, scene * (1, 2, 1), scene))
    assert green["sh"] > 3
    assert green["hi95"] < 0.1
    assert judged(scene * 2)["ref"] == pytest.approx(1, abs=0.01)
    clipped = np.zeros_like(ideal)
    clipped[2] = 1
    assert judged(scene, clipped)["bad%"] > 20
    rng = np.random.default_rng(0)
    noisy = judged(scene * 2 ** rng.normal(0, 0.2, scene.shape))
    assert noisy["noise"] > 2 * right["noise"]
    assert judged(cv2.GaussianBlur(scene, (0, 0), 2))["text"] < 0.9 * right["text"]
