"""Folders of images and scenes as samples: found, checked, cut, mixed, and the same every time."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch
from torch.utils.data import DataLoader, default_collate

from dfghdr_cli.core.registration.aligned import align_bracket
from dfghdr_cli.core.types import RadianceImage
from dfghdr_cli.errors import InputError, OutputError
from dfghdr_cli.io.radiance import write_radiance
from dfghdr_cli.io.scenes import read_scene
from dfghdr_cli.merging.config import MergeConfig
from dfghdr_cli.merging.hypotheses import HypothesisStack
from dfghdr_cli.merging.prepare import gamma_coded
from dfghdr_cli.modelstore import load_model
from dfghdr_cli.nets.registry import build
from dfghdr_cli.pipeline import training_data
from dfghdr_cli.pipeline.train import TrainRequest, train_model
from dfghdr_cli.pipeline.training_data import (
    CropConfig,
    MixedSamples,
    aligned_scene,
    load_training_data,
)
from dfghdr_cli.training.config import TrainConfig
from dfghdr_cli.training.loop import train
from dfghdr_cli.training.objectives import MergeObjective
from dfghdr_cli.training.synth import SynthConfig, to_candidates

SYNTH = SynthConfig(crop=64, margin=8, batch=2, variants=1)
AS_IT_IS = CropConfig(permute_channels=False)
DIHEDRAL = [(turns, mirror) for turns in range(4) for mirror in (False, True)]


@pytest.fixture
def kalantari(make_scene, tmp_path):
    """A folder with two scenes in Kalantari's layout."""
    for number, name in enumerate(("001", "002")):
        make_scene(tmp_path / "set" / "Training" / name, seed=number)
    return tmp_path / "set"


def samples(folders, cache, crops=AS_IT_IS, seed=0, synth=SYNTH):
    return load_training_data(folders, 64).samples(synth, crops, seed, 1000, cache)


def as_bytes(sample):
    return {key: value.tobytes() for key, value in sample.items()}


def turned(image, turns, mirror):
    """(..., H, W) turned by quarters and then mirrored."""
    image = np.rot90(image, turns, axes=(-2, -1))
    return image[..., ::-1] if mirror else image


def test_images_and_scenes_are_told_apart(kalantari, pictures, make_scene):
    (kalantari / "readme.txt").write_text("not for training")
    (kalantari / "._one.exr").write_bytes(b"left behind by a file manager")
    pictures.replace(kalantari / "panoramas")
    first = kalantari / "panoramas" / "first.exr"
    first.rename(first.with_suffix(".EXR"))
    make_scene(kalantari / "panoramas" / "two frames", stops=(0.0, 3.0))
    data = load_training_data([kalantari, kalantari / "Training", kalantari / "."], 64)
    assert [image.shape for image in data.images] == [(96, 112, 3)] * 2
    assert all(np.percentile(image, 99.9) == pytest.approx(16, rel=0.01) for image in data.images)
    assert {signs: [f.name for f in folders] for signs, folders in data.scenes.items()} == {
        (-1, 0, 1): ["001", "002"],
        (-1, 0): ["two frames"],
    }
    assert (data.scene_count, data.skipped) == (3, 0)


@pytest.mark.parametrize("truth", ["HDRImg.hdr", "HDRImg.exr"])
def test_samples_are_what_a_merge_sees(truth, make_scene, tmp_path):
    folder = make_scene(tmp_path / "set" / "one", size=(64, 64), truth=truth)
    scene = read_scene(folder)
    aligned = HypothesisStack.measured(align_bracket(gamma_coded(scene.bracket)))
    merge = aligned.candidates()
    data = samples([tmp_path], tmp_path / "cache")
    seen = set()
    for index in range(40):
        sample = data[index]
        batch = to_candidates(default_collate([sample]))
        assert (batch.count, batch.frames, batch.roles) == (merge.count, merge.frames, merge.roles)
        assert torch.equal(batch.stops, merge.stops)
        assert torch.equal(batch.peak, merge.peak)
        fits = []
        for turns, mirror in DIHEDRAL:
            code = turned(merge.code[0].numpy(), turns, mirror)
            if np.abs(sample["code"] - code).max() < 1e-5:
                fits.append((turns, mirror))
                trust = turned(merge.trust[0].numpy(), turns, mirror)
                assert np.abs(sample["trust"] - trust).max() < 2e-5
                assert ((sample["trust"] > 0) == (trust > 0)).all()
                expected = turned(scene.truth.transpose(2, 0, 1), turns, mirror)
                np.testing.assert_allclose(sample["truth"], expected, rtol=1e-3, atol=1e-6)
        assert len(fits) == 1
        seen.update(fits)
    assert seen == set(DIHEDRAL)


def test_samples_have_the_form_of_synthesised_ones(kalantari, pictures, tmp_path):
    cut = samples([kalantari], tmp_path / "cache")[0]
    made = samples([pictures], tmp_path / "cache")[0]
    assert cut.keys() == made.keys()
    for key, value in cut.items():
        assert value.dtype == np.float32, key
        assert value.shape[1:] == made[key].shape[1:], key
        assert value.flags["C_CONTIGUOUS"], key
        assert np.isfinite(value).all(), key
        if key not in ("stops", "peak"):
            assert value.min() >= 0, key
            assert value.max() <= 1, key


def test_sixteen_bits_stay_sixteen(kalantari, tmp_path):
    levels = samples([kalantari], tmp_path / "cache")[0]["code"][0] * 65535
    assert np.abs(levels - np.rint(levels)).max() < 0.02
    assert len(np.unique(np.rint(levels) % 257)) > 100  # 8 bits would only know multiples of 257


def test_truth_and_reference_agree_after_every_change(make_scene, tmp_path):
    make_scene(tmp_path / "set" / "one", truth="HDRImg.exr")
    data = samples([tmp_path], tmp_path / "cache", CropConfig())
    orders = set()
    for index in range(60):
        sample = data[index]
        code = sample["code"][0]
        known = (code < 0.99) & (sample["truth"] > 0.01)
        assert known.mean() > 0.2
        seen = code**2.2 / sample["peak"]
        np.testing.assert_allclose(seen[known], sample["truth"][known], rtol=2e-3)
        disc = sample["truth"][:, 32, 32]  # blue is brightest there, then green
        if disc.min() < 0.03 and disc.max() > 0.25:
            orders.add(tuple(np.argsort(disc)))
    assert len(orders) == 6


def test_a_sample_depends_on_settings_seed_and_index_alone(kalantari, pictures, tmp_path):
    folders = [kalantari, pictures]
    data = samples(folders, tmp_path / "cache", CropConfig())
    there = [as_bytes(data[index]) for index in range(8)]
    again = samples(folders, tmp_path / "fresh", CropConfig())
    assert [as_bytes(again[index]) for index in reversed(range(8))] == there[::-1]
    assert len({sample["code"] for sample in there}) == 8
    other = samples(folders, tmp_path / "cache", CropConfig(), seed=1)
    assert as_bytes(other[0])["code"] != there[0]["code"]
    loader = DataLoader(
        data,
        batch_size=2,
        sampler=range(8),
        num_workers=2,
        multiprocessing_context="spawn",
    )
    for number, batch in enumerate(loader):
        for place in range(2):
            sample = {key: value[place].numpy() for key, value in batch.items()}
            assert as_bytes(sample) == there[2 * number + place]


def test_corners_lie_on_the_stride(make_scene, tmp_path):
    folder = make_scene(tmp_path / "set" / "one", size=(160, 200), truth="HDRImg.exr")
    y, x = np.mgrid[0:160, 0:200]
    place = np.stack([y / 200, x / 200, np.ones_like(x)], 2) * 0.5
    for number, stop in enumerate((0, 2, 4)):
        code = np.clip(place * 2.0**stop, 0, 1) ** (1 / 2.2)
        pixels = np.rint(code * 65535).astype(np.uint16)
        tifffile.imwrite(folder / f"262A{898 + number:04}.tif", pixels, photometric="rgb")
    truth = RadianceImage(place.astype(np.float32), 1.0)
    write_radiance(folder / "HDRImg.exr", truth, exr_type="float", overwrite=True)

    def corners(stride):
        data = samples([tmp_path], tmp_path / "cache", CropConfig(stride, False))
        found = set()
        for index in range(80):
            rows, columns = np.rint(data[index]["truth"][:2].min((1, 2)) * 400)
            found.add((int(rows), int(columns)))
        return found

    assert corners(64) == {(rows, columns) for rows in (0, 64) for columns in (0, 64, 128)}
    anywhere = corners(1)
    assert len(anywhere) > 70
    assert max(anywhere) <= (96, 136)
    assert max(column for _, column in anywhere) > 128


def test_sources_take_turns_by_the_batch():
    class Source:
        def __init__(self, name):
            self.name = name

        def __getitem__(self, index):
            return (self.name, index)

    data = MixedSamples([(30, Source("a")), (15, Source("b")), (5, Source("c"))], 4, 4000)
    assert len(data) == 4000
    got = [data[index] for index in range(4000)]
    assert [index for _, index in got] == list(range(4000))
    names = [name for name, _ in got]
    turns = names[::4]
    assert names == [name for name in turns for _ in range(4)]
    for name, share in (("a", 0.6), ("b", 0.3), ("c", 0.1)):
        assert turns.count(name) == pytest.approx(1000 * share, abs=3)
        for start in range(0, 950, 50):
            assert turns[start : start + 50].count(name) == pytest.approx(50 * share, abs=3)


def test_batches_of_mixed_folders_collate(kalantari, pictures, make_scene, tmp_path):
    make_scene(kalantari / "two", stops=(0.0, 3.0))
    make_scene(kalantari / "five", stops=(-3.0, -1.0, 0.0, 1.0, 2.0))
    synth = replace(SYNTH, batch=3)
    data = samples([kalantari, pictures], tmp_path / "cache", synth=synth)
    compositions = set()
    for batch in range(14):
        whole = default_collate([data[3 * batch + k] for k in range(3)])
        signs = whole["stops"].sign()
        assert torch.equal(signs, signs[:1].expand_as(signs))
        assert to_candidates(whole).radiance().isfinite().all()
        compositions.add(tuple(signs[0].tolist()))
    assert len(compositions) >= 3
    assert len(list((tmp_path / "cache").iterdir())) == 4


def test_a_scene_is_aligned_once_and_again_when_it_changes(kalantari, tmp_path, monkeypatch):
    folder = kalantari / "Training" / "001"
    path = aligned_scene(folder, tmp_path / "cache")

    def refuse(folder, still):
        raise AssertionError("aligned again")

    with monkeypatch.context() as patch:
        patch.setattr(training_data, "_align", refuse)
        assert aligned_scene(folder, tmp_path / "cache") == path
    os.utime(folder / "262A0899.tif", ns=(1, 1))
    assert aligned_scene(folder, tmp_path / "cache") != path
    assert sorted(p.suffix for p in (tmp_path / "cache").iterdir()) == [".safetensors"] * 2
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="file"):
        aligned_scene(folder, tmp_path / "file")


def test_a_large_scene_is_reduced_as_in_a_merge(make_scene, tmp_path, monkeypatch):
    make_scene(tmp_path / "set" / "one", size=(144, 192), truth="HDRImg.exr")
    monkeypatch.setattr(training_data, "MergeConfig", lambda: MergeConfig(proxy_pixels=72 * 96))
    data = samples([tmp_path], tmp_path / "cache")
    sample = data[0]
    assert sample["code"].shape[-2:] == (64, 64)
    known = (sample["code"][0] < 0.99) & (sample["truth"] > 0.01)
    seen = sample["code"][0] ** 2.2 / sample["peak"]
    assert np.median(np.abs(np.log2(seen[known] / sample["truth"][known]))) < 0.01
    with pytest.raises(InputError, match="96x72"):
        load_training_data([tmp_path], 80)


def test_training_on_scenes_lowers_the_loss(kalantari, pictures, tmp_path):
    request = TrainRequest(
        [kalantari],
        tmp_path / "runs" / "mine",
        architecture="dfgnet",
        hyper_parameters={"width": 4, "disentangle_width": 4, "code_length": 8},
        config=TrainConfig(
            stage="merge",
            steps=30,
            batch=2,
            workers=0,
            warm_up=1,
            seed=7,
            learning_rate=3e-3,
            average=0.5,
        ),
        synth=SYNTH,
        device="cpu",
    )
    seen = []
    train_model(request, seen.append)
    assert seen[-1].psnr > 0
    torch.manual_seed(7)
    first = build("dfgnet", request.hyper_parameters)
    model = request.run / "mine"
    trained = load_model(str(model)).network
    data = samples([kalantari], tmp_path / "cache", CropConfig(), seed=99)
    batch = default_collate([data[index] for index in range(8)])
    with torch.no_grad():
        before, after = (
            float(MergeObjective(network, TrainConfig())(batch)[0]) for network in (first, trained)
        )
    assert after < 0.7 * before
    facts = load_model(str(model)).info.training
    assert (facts["images"], facts["scenes"], facts["skipped"]) == (0, 2, 0)
    assert str(tmp_path) not in json.dumps(facts)
    assert not (request.run / "aligned").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_scene_that_disappears_is_a_sentence(workers, kalantari, tmp_path):
    data = samples([kalantari], tmp_path / "cache")
    for folder in (kalantari / "Training").iterdir():
        folder.rename(kalantari / folder.name)
    network = build("dfgmerge", {"width": (8, 8, 8), "disentangle_width": 4, "code_length": 8})
    config = TrainConfig(stage="merge", steps=1, batch=1, workers=workers)
    with pytest.raises(InputError) as caught:
        train(network, data, config, tmp_path, torch.device("cpu"))
    assert str(caught.value).startswith(str(kalantari / "Training"))
    assert str(caught.value).endswith("put it back")
    assert "\n" not in str(caught.value)


class Killed(BaseException):
    """What nobody catches."""


def test_a_mixed_training_resumes_exactly(kalantari, pictures, tmp_path):
    request = TrainRequest(
        [kalantari, pictures],
        tmp_path / "mine",
        hyper_parameters={"width": (8, 8, 8), "disentangle_width": 4, "code_length": 8},
        config=TrainConfig(
            stage="merge", steps=4, batch=1, workers=0, warm_up=1, checkpoint_every=1, seed=7
        ),
        synth=replace(SYNTH, batch=1, variants=3),  # so that it is killed amid a group
        device="cpu",
    )

    def kill(now):
        if now.step == 2:
            raise Killed

    with pytest.raises(Killed):
        train_model(request, kill)
    assert len(list((request.run / "aligned").iterdir())) > 0
    part = train_model(replace(request, resume=True))
    whole = train_model(replace(request, run=tmp_path / "whole"))
    name = "model.safetensors"
    assert (part / name).read_bytes() == (whole / name).read_bytes()
    config = json.loads((request.run / "config.json").read_text())
    assert (config["images"], config["scenes"], config["skipped"]) == (2, 2, 0)
    other = replace(request, resume=True, crops=CropConfig(stride=64))
    with pytest.raises(InputError, match="crops"):
        train_model(other)
