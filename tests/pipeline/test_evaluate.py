"""Evaluation on folders laid out exactly like Kalantari's test set, and the traps of that."""

import csv
import io
import json
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tifffile

from dfghdr_cli.core.metrics.fidelity import METRICS, psnr_mu
from dfghdr_cli.core.types import RadianceImage
from dfghdr_cli.errors import DfghdrError, InputError
from dfghdr_cli.io.radiance import read_radiance, write_radiance
from dfghdr_cli.io.scenes import read_scene
from dfghdr_cli.modelstore import DEFAULT_MODEL, install_model
from dfghdr_cli.nets.registry import build
from dfghdr_cli.pipeline.evaluate.methods import PROTOCOLS, Protocol, build_methods, reference_alone
from dfghdr_cli.pipeline.evaluate.paper_report import PaperReport
from dfghdr_cli.pipeline.evaluate.results import ALL_METRICS
from dfghdr_cli.pipeline.evaluate.run import evaluate
from dfghdr_cli.pipeline.merge.request import MergeRequest, load_merger
from dfghdr_cli.pipeline.merge.run import merge_files
from tests.support.photographs import photograph, textured_scene

SMALL = {"width": (4, 4, 4), "disentangle_width": 4, "code_length": 4}


@pytest.fixture
def kalantari(tmp_path, make_scene):
    """A tiny copy of its layout: Test/EXTRA/001 and Test/PAPER/ManStanding, beside Training."""
    root = tmp_path / "kalantari"
    make_scene(root / "Test" / "EXTRA" / "001", (0.0, 3.0, 6.0), seed=1)
    make_scene(root / "Test" / "EXTRA" / "002", (0.0, 2.0, 4.0), seed=2, motion=0)
    make_scene(root / "Test" / "PAPER" / "ManStanding", (0.0, 2.0, 4.0))
    return root


def run(folder, *methods, predictions=(), **more):
    return evaluate([folder], build_methods((), methods, predictions, "cpu"), **more)


def predict(folder, scenes, change=lambda truth: truth, suffix=".exr"):
    """Write the truths, or something made of them, as another program's results."""
    folder.mkdir()
    for scene in scenes:
        truth, _ = read_radiance(next(scene.glob("HDRImg.*")))
        picture = RadianceImage(np.ascontiguousarray(change(truth), np.float32), 1.0)
        write_radiance(folder / f"{scene.name}{suffix}", picture, exr_type="float")
    return folder


def test_a_set_without_truth_is_scored_by_mef_ssim(tmp_path):
    """SICE: frames without exposures and a label for screens; the merge shows more than a frame."""
    scene = textured_scene(5)
    for number, stops in enumerate((-3, 0, 3)):
        path = tmp_path / "set" / "1" / f"{number + 1}.JPG"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), photograph(scene, stops, seed=number)[..., ::-1])
    (tmp_path / "set" / "Label").mkdir()
    shutil.copy(tmp_path / "set" / "1" / "2.JPG", tmp_path / "set" / "Label" / "1.JPG")
    result = run(tmp_path / "set", "classic", "reference")
    (facts,) = result.scenes
    assert facts.stops == pytest.approx((0, 3, 6), abs=0.3)
    scores = {name: result.mean(name, "mef_ssim") for name in ("classic", "reference")}
    assert 0.9 < scores["classic"] < 1
    assert scores["classic"] > scores["reference"] + 0.02
    others = [metric.key for metric in ALL_METRICS if metric.key != "mef_ssim"]
    assert all(result.mean("classic", key) is None for key in others)
    assert "mef_ssim" in result.to_csv()
    with pytest.raises(InputError, match="leave out --paper-report"):
        PaperReport().files(result)
    assert json.loads(result.to_json())["scenes"]


def test_kalantaris_layout_works_as_it_is(kalantari):
    result = run(kalantari / "Test", "classic", "reference")
    assert [facts.name for facts in result.scenes] == ["001", "002", "ManStanding"]
    assert result.scenes[0].stops == (0, 3, 6)
    assert {facts.moving_from for facts in result.scenes} == {"estimated"}
    assert result.scenes[1].moving_share < 0.01
    assert result.scenes[2].moving_share > 0.01
    assert not result.excluded
    assert result.rows["classic"][1]["psnr_mu"] > 55, "this one stands still"
    for row in result.rows["reference"]:
        assert 25 < row["psnr_mu"] < 100
        assert row["seconds"] >= 0


def test_the_mean_is_that_of_the_scenes_decibels(kalantari):
    """Not the PSNR of the pooled error, which the worst scene would decide."""
    result = run(kalantari, "reference")
    values = [row["psnr_mu"] for row in result.rows["reference"]]
    assert result.mean("reference", "psnr_mu") == pytest.approx(np.mean(values))
    lowest = int(np.argmin(values))
    assert result.worst("reference", "psnr_mu") == (result.scenes[lowest].name, values[lowest])
    slowest = max(row["seconds"] for row in result.rows["reference"])
    assert result.worst("reference", "seconds")[1] == slowest


def test_exposures_count_from_the_least(make_scene, tmp_path):
    """A file of -2, 0, 2 stops is the same scene as one of 0, 2, 4."""
    results = [
        run(make_scene(tmp_path / name, stops), "classic", "reference", "opencv-debevec")
        for name, stops in (("a", (-2.0, 0.0, 2.0)), ("b", (0.0, 2.0, 4.0)))
    ]
    for method in ("classic", "reference", "opencv-debevec"):
        first, second = (result.rows[method][0]["psnr_mu"] for result in results)
        assert first == pytest.approx(second, abs=1e-6)


def test_motion_png_decides_what_moves(make_scene, tmp_path):
    scene = make_scene(tmp_path / "a")
    mask = np.zeros((80, 112), np.uint8)
    mask[:40] = 255
    cv2.imwrite(str(scene / "motion.png"), mask)
    result = run(scene, "reference")
    assert result.scenes[0].moving_from == "motion.png"
    assert result.scenes[0].moving_share == pytest.approx(0.5)
    picture, truth = reference_alone(read_scene(scene)), read_scene(scene).truth
    row = result.rows["reference"][0]
    assert row["psnr_mu_moving"] == pytest.approx(psnr_mu(picture[:40], truth[:40]))
    assert row["psnr_mu_still"] == pytest.approx(psnr_mu(picture[40:], truth[40:]))


def test_every_bit_of_the_frames_is_used(make_scene, tmp_path):
    """`--protocol paper` reads what cv2.imread gives of a TIFF without IMREAD_UNCHANGED."""
    folder = make_scene(tmp_path / "a", motion=0, truth="HDRImg.exr")
    scene = read_scene(folder)
    assert PROTOCOLS["default"].applied(scene) is scene
    eight = Protocol("eight", True, None, "").applied(scene)
    for frame, kept in zip(eight.bracket.frames, scene.bracket.frames, strict=True):
        assert kept.pixels.dtype == np.uint16
        assert np.array_equal(frame.pixels, cv2.imread(str(frame.path))[..., ::-1])
    values = [
        run(folder, "classic", protocol=protocol).rows["classic"][0]["psnr_mu"]
        for protocol in (PROTOCOLS["default"], Protocol("eight", True, None, ""))
    ]
    assert values[0] > values[1] + 3


def test_the_papers_protocol_resizes_frames_and_truth(make_scene, tmp_path):
    folder = make_scene(tmp_path / "a")
    assert PROTOCOLS["paper"].size == (1440, 960)
    small = replace(PROTOCOLS["paper"], size=(96, 64))
    scene = small.applied(read_scene(folder))
    assert scene.truth.shape == (64, 96, 3)
    original = cv2.imread(str(scene.bracket.frames[0].path))[..., ::-1]
    resized = cv2.resize(original, (96, 64), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(scene.bracket.frames[0].pixels, resized)
    result = run(folder, "reference", protocol=small)
    assert result.scenes[0].size == (96, 64)
    assert run(folder, "reference").scenes[0].size == (112, 80)


def test_the_whole_picture_is_merged_at_once_and_as_merge_does(make_scene, models_dir, tmp_path):
    """Not in tiles, whose statistics would be others; so the two commands agree."""
    import torch

    network = build("dfgmerge", SMALL)
    torch.nn.init.normal_(network.head2.weight, std=0.3)
    install_model(network, DEFAULT_MODEL, models_dir)
    folder = make_scene(tmp_path / "a")
    output = tmp_path / "predictions" / "a.exr"
    output.parent.mkdir()
    request = MergeRequest(
        sorted(folder.glob("*.tif")),
        [output],
        stops=(-2.0, 0.0, 2.0),
        response="gamma",
        exr_type="float",
        preview=False,
    )
    merge_files(load_merger(device="cpu"), request)
    methods = build_methods([DEFAULT_MODEL], (), [output.parent], "cpu")
    result = evaluate([folder], methods)
    own, read = (result.rows[name][0] for name in (DEFAULT_MODEL, "predictions"))
    for metric in METRICS:
        assert own[metric.key] == pytest.approx(read[metric.key], rel=1e-5)
    assert own["psnr_mu"] < 60


def test_predictions_are_in_units_of_the_darkest_frames_white(kalantari, tmp_path):
    scenes = [path.parent for path in kalantari.rglob("exposure.txt")]
    good = predict(tmp_path / "good", scenes, suffix=".hdr")
    dark = predict(tmp_path / "dark", scenes, lambda truth: truth * 0.25)
    plain = run(kalantari, predictions=[good, dark])
    assert plain.mean("good", "psnr_mu") > 50
    assert plain.mean("dark", "psnr_mu") < 20
    fitted = run(kalantari, predictions=[good, dark], fit_scale=True)
    assert fitted.mean("dark", "psnr_mu") == pytest.approx(120)
    assert fitted.rows["dark"][0]["scale"] == pytest.approx(4)
    assert fitted.rows["dark"][0]["seconds"] is None


def test_what_one_method_lacks_counts_for_none(kalantari, tmp_path):
    scenes = sorted(path.parent for path in kalantari.rglob("exposure.txt"))
    some = predict(tmp_path / "some", scenes[1:])
    large = np.zeros((81, 112, 3), np.float32)
    write_radiance(some / "002.exr", RadianceImage(large, 1.0), overwrite=True)
    result = run(kalantari, "reference", predictions=[some])
    assert [facts.name for facts in result.scenes] == ["ManStanding"]
    assert [(e.scene, e.method) for e in result.excluded] == [("001", "some"), ("002", "some")]
    assert "001.exr does not exist" in result.excluded[0].reason
    assert "112x81" in result.excluded[1].reason
    assert len(result.rows["reference"]) == len(result.rows["some"]) == 1
    assert result.differences() == []


@pytest.mark.parametrize("name", ["HDRImg.hdr", "262A0899.tif"])
def test_a_scene_that_cannot_be_read_counts_for_none(kalantari, name):
    (kalantari / "Test" / "EXTRA" / "001" / name).unlink()
    result = run(kalantari, "reference")
    assert [facts.name for facts in result.scenes] == ["002", "ManStanding"]
    ((scene, method, reason),) = ((e.scene, e.method, e.reason) for e in result.excluded)
    assert (scene, method) == ("001", None)
    assert "001" in reason


def test_nothing_to_score(kalantari, tmp_path):
    with pytest.raises(InputError, match="none of 3 scenes"):
        run(kalantari, predictions=[kalantari])
    with pytest.raises(InputError, match="not a folder"):
        run(kalantari, predictions=[tmp_path / "nowhere"])
    with pytest.raises(InputError, match="holds no scene"):
        run(predict(tmp_path / "empty", []), "reference")


def test_a_truth_on_another_scale_is_noticed(make_scene, tmp_path, caplog):
    folder = make_scene(tmp_path / "a", truth="HDRImg.exr")
    run(folder, "reference")
    assert caplog.text == ""
    truth, _ = read_radiance(folder / "HDRImg.exr")
    image = RadianceImage(truth * np.float32(4), 1.0)
    write_radiance(folder / "HDRImg.exr", image, exr_type="float", overwrite=True)
    run(folder, "reference")
    assert "white of the darkest frame" in caplog.text


@pytest.mark.parametrize(
    ("exposures", "words"),
    [
        ("2\n0\n-2\n", "reverse order"),
        ("1\n4\n16\n", "exposure times, or ratios"),
        ("0\n2\n5\n", "262A0900.tif is 1.0 stops darker"),
    ],
)
def test_exposures_that_the_frames_contradict_are_noticed(
    make_scene, tmp_path, caplog, exposures, words
):
    folder = make_scene(tmp_path / "a", truth="HDRImg.exr")
    assert run(folder, "reference").scenes[0].doubt is None
    (folder / "exposure.txt").write_text(exposures)
    (facts,) = run(folder, "reference").scenes
    (record,) = (r for r in caplog.records if words in r.getMessage())
    assert f"{folder}: " in record.getMessage()
    assert "correct exposure.txt or HDRImg.exr" in record.getMessage()
    assert words in facts.values()["doubt"]


def test_scenes_of_one_name_keep_their_paths(kalantari, tmp_path):
    shutil.copytree(kalantari / "Test" / "EXTRA" / "001", kalantari / "Training" / "001")
    result = run(kalantari, "reference")
    assert [facts.name for facts in result.scenes] == [
        "Test/EXTRA/001",
        "002",
        "ManStanding",
        "Training/001",
    ]
    twice = evaluate([kalantari, kalantari / "Test"], build_methods((), ["reference"]))
    assert len(twice.scenes) == 4


def test_methods_have_names_of_their_own(kalantari, tmp_path):
    scenes = [path.parent for path in kalantari.rglob("exposure.txt")]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    folders = [predict(tmp_path / parent / "mine", scenes) for parent in "ab"]
    names = [method.name for method in build_methods((), ["reference"], folders)]
    assert names == ["reference", *map(str, folders)]
    with pytest.raises(DfghdrError, match="given twice"):
        build_methods((), ["classic", "classic"], device="cpu")


def test_json_and_csv(kalantari):
    result = run(kalantari, "classic", "reference", "opencv-robertson")
    values = json.loads(result.to_json())
    assert list(values["methods"]) == ["classic", "reference", "opencv-robertson"]
    for name, method in values["methods"].items():
        assert list(method["scenes"]) == ["001", "002", "ManStanding"]
        for metric in METRICS:
            rows = [row[metric.key] for row in method["scenes"].values()]
            known = [value for value in rows if value is not None]
            if known:
                assert method["mean"][metric.key] == pytest.approx(np.mean(known))
                worst = method["worst"][metric.key]
                assert worst["value"] == min(known)
                assert method["scenes"][worst["scene"]][metric.key] == worst["value"]
        assert result.mean(name, "psnr_mu") == method["mean"]["psnr_mu"]
    assert set(values["metrics"]) == {metric.key for metric in ALL_METRICS}
    assert values["protocol"]["name"] == "default"
    pairs = {(d["first"], d["second"]) for d in values["differences"]}
    assert len(pairs) == 3
    for difference in values["differences"]:
        low, high = difference["interval_95"]
        assert low <= difference["mean"] <= high
        assert 2 <= difference["scenes"] <= 3
    lines = list(csv.DictReader(io.StringIO(result.to_csv())))
    assert len(lines) == 9
    row = values["methods"]["classic"]["scenes"]["002"]
    (line,) = (x for x in lines if (x["method"], x["scene"]) == ("classic", "002"))
    assert float(line["psnr_l"]) == row["psnr_l"]
    assert line["psnr_mu_moving"] == ""


def test_damaged_frames_are_named(kalantari):
    path = kalantari / "Test" / "EXTRA" / "001" / "262A0898.tif"
    tifffile.imwrite(path, np.zeros((8, 8, 3), np.uint16), photometric="rgb")
    assert "262A" in run(kalantari, "reference").excluded[0].reason
