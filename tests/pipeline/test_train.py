"""From HDR pictures to a model folder, and back into a run that was interrupted."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch

from dfghdr_cli.core.types import RadianceImage
from dfghdr_cli.errors import (
    DeviceError,
    InputError,
    ModelError,
    OutputError,
    OutputExistsError,
)
from dfghdr_cli.io.radiance import write_radiance
from dfghdr_cli.modelstore import install_model, load_model, verify
from dfghdr_cli.nets.golden import TOLERANCE
from dfghdr_cli.nets.registry import build
from dfghdr_cli.pipeline.train import TrainRequest, train_model
from dfghdr_cli.pipeline.training_data import load_training_data
from dfghdr_cli.training import guard
from dfghdr_cli.training.config import TrainConfig
from dfghdr_cli.training.losses import PAPER_MERGE_LOSS
from dfghdr_cli.training.synth import SynthConfig
from tests.support.networks import TINY

THREE = TrainConfig(
    stage="merge", steps=3, batch=1, workers=0, warm_up=1, checkpoint_every=1, seed=7
)

BOTH = replace(THREE, stage="all", disentangle_steps=2, perceptual=0.0)


@pytest.fixture
def request_(pictures, tmp_path):
    """Three steps of a tiny network."""
    return TrainRequest(
        [pictures],
        tmp_path / "runs" / "mine",
        hyper_parameters=TINY,
        config=THREE,
        synth=SynthConfig(crop=64, margin=8, batch=1),
        device="cpu",
    )


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


class Killed(BaseException):
    """What nobody catches."""


def killed_after(step):
    def on_progress(now):
        if now.step == step:
            raise Killed

    return on_progress


@pytest.mark.parametrize(
    ("architecture", "hyper_parameters"),
    [("dfgmerge", TINY), ("dfgnet", {"width": 4, "disentangle_width": 4, "code_length": 8})],
)
def test_a_model_comes_out(architecture, hyper_parameters, request_):
    request = replace(request_, architecture=architecture, hyper_parameters=hyper_parameters)
    seen = []
    folder = train_model(request, seen.append)
    assert folder == request.run / "mine"
    assert [now.step for now in seen] == [1, 2, 3]
    assert seen[-1].psnr > 0
    model = load_model(str(folder))
    assert verify(model) <= TOLERANCE
    assert model.info.architecture == architecture
    facts = model.info.training
    assert facts["steps"] == 3
    assert facts["seed"] == 7
    assert facts["synth"]["crop"] == 64
    assert facts["folders"] == ["pictures"]
    assert facts["images"] == 2
    assert str(request.run.parent) not in json.dumps(facts)
    first = build(architecture, hyper_parameters)
    assert any(
        not torch.equal(value, first.state_dict()[key])
        for key, value in model.network.state_dict().items()
    )
    config = json.loads((request.run / "config.json").read_text())
    assert config["architecture"] == architecture
    assert config["learning_rate"] == request.config.learning_rate


def test_resumed_is_uninterrupted_and_another_seed_is_not(request_):
    whole = train_model(replace(request_, run=request_.run.with_name("whole")))
    with pytest.raises(Killed):
        train_model(request_, killed_after(2))
    assert not (request_.run / "mine").exists()
    assert weights(train_model(replace(request_, resume=True))) == weights(whole)
    other = replace(
        request_, run=request_.run.with_name("other"), config=replace(request_.config, seed=8)
    )
    assert weights(train_model(other)) != weights(whole)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("hyper_parameters", {"hyper_parameters": {**TINY, "code_length": 4}}),
        ("architecture", {"architecture": "dfgnet", "hyper_parameters": {"width": 4}}),
        ("synth", {"synth": SynthConfig(crop=72, margin=8, batch=1)}),
        ("seed", {"config": replace(THREE, seed=8)}),
        ("batch", {"config": replace(THREE, batch=2)}),
        ("learning_rate", {"config": replace(THREE, learning_rate=1e-3)}),
        ("loss", {"config": replace(THREE, loss=PAPER_MERGE_LOSS)}),
        ("start", {"start": "other", "hyper_parameters": {}}),
        ("folders", {"folders": [Path()]}),
    ],
)
def test_a_run_is_resumed_with_its_own_settings_only(name, change, request_, models_dir):
    install_model(build("dfgmerge", TINY), "other", models_dir)
    if change.get("start"):
        change = {"hyper_parameters": {}, **change}
    with pytest.raises(Killed):
        train_model(request_, killed_after(2))
    before = (request_.run / "config.json").read_bytes()
    with pytest.raises(InputError, match=f"started with {name} = .*the same settings"):
        train_model(replace(request_, resume=True, **change))
    assert (request_.run / "config.json").read_bytes() == before


def disentangled(network):
    """The parts that stage disentangle trains."""
    return network.disentangle.state_dict()


@pytest.mark.parametrize(
    ("architecture", "hyper_parameters"),
    [
        ("dfgmerge", TINY),
        (
            "dfgnet",
            {"width": 4, "disentangle_width": 4, "code_length": 8, "upsampling": "bilinear"},
        ),
    ],
)
def test_both_stages_and_what_they_leave(architecture, hyper_parameters, request_):
    request = replace(
        request_, architecture=architecture, hyper_parameters=hyper_parameters, config=BOTH
    )
    seen = []
    both = load_model(str(train_model(request, seen.append)))
    assert [(now.stage, now.step) for now in seen][1:3] == [("disentangle", 2), ("merge", 1)]
    pictures = sorted(path.name for path in (request.run / "validation").iterdir())
    assert pictures == ["disentangle-000002.png", "merge-000003.png"]
    assert both.info.decoder
    assert verify(both) <= TOLERANCE
    assert both.info.training["encoders"] == "frozen"

    # One after the other is the same, to the last bit.
    apart = replace(request, run=request.run.with_name("first"))
    first = train_model(replace(apart, config=replace(BOTH, stage="disentangle")))
    encoders = disentangled(load_model(str(first)).network)
    for key, value in disentangled(both.network).items():
        assert torch.equal(value, encoders[key])
    second = replace(apart, run=request.run.with_name("second"), start=str(first))
    second = replace(second, hyper_parameters={}, config=THREE)
    later = load_model(str(train_model(second)))
    assert later.info.decoder
    assert later.info.training["encoders"] == "frozen"
    assert later.digest == both.digest

    # Trained on, they leave their decoder behind.
    third = replace(second, run=request.run.with_name("third"))
    third = load_model(str(train_model(replace(third, config=replace(THREE, encoders="trained")))))
    assert not third.info.decoder
    assert verify(third) <= TOLERANCE
    moved = disentangled(third.network)
    assert any(not torch.equal(value, encoders[key]) for key, value in moved.items())


def test_a_model_without_decoder_can_be_disentangled(request_, models_dir):
    first = build("dfgmerge", TINY)
    install_model(first, "first", models_dir)
    still = replace(BOTH, stage="disentangle", learning_rate=0.0)
    request = replace(request_, start="first", hyper_parameters={}, config=still)
    model = load_model(str(train_model(request)))
    assert model.info.decoder
    own = model.network.state_dict()
    assert all(torch.equal(value, own[key]) for key, value in first.state_dict().items())


def test_frozen_encoders_must_have_been_trained(request_):
    with pytest.raises(ModelError, match="--start"):
        train_model(replace(request_, config=replace(THREE, encoders="frozen")))


def test_perceptual_terms_need_weights(request_, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nothing"))
    request = replace(request_, config=replace(BOTH, perceptual=0.3))
    with pytest.raises(InputError, match=r"--vgg FILE.*--no-perceptual"):
        train_model(request)
    assert not request.run.exists()


def test_perceptual_terms_from_a_file(request_, tmp_path):
    shapes = ((3, 64), (64, 64), (64, 128), (128, 128))
    random, arrays = np.random.default_rng(0), {}
    for name, (inputs, outputs) in zip(("1_1", "1_2", "2_1", "2_2"), shapes, strict=True):
        block, number = name.split("_")
        kernel = random.normal(0, (2 / 9 / inputs) ** 0.5, (3, 3, inputs, outputs))
        arrays[f"block{block}_conv{number}.kernel"] = kernel.astype(np.float16)
        arrays[f"block{block}_conv{number}.bias"] = np.zeros(outputs, np.float16)
    np.savez(tmp_path / "vgg.npz", **arrays)
    with_terms = replace(BOTH, stage="disentangle", perceptual=0.1)
    request = replace(request_, config=with_terms, vgg=tmp_path / "vgg.npz")
    seen = []
    facts = load_model(str(train_model(request, seen.append))).info.training
    assert facts["vgg"].startswith("vgg.npz (")
    without = replace(request, run=request.run.with_name("without"))
    others = []
    train_model(replace(without, config=replace(with_terms, perceptual=0.0)), others.append)
    assert seen[0].loss > others[0].loss + 0.01
    arrays["block2_conv2.bias"] += 1
    np.savez(tmp_path / "vgg.npz", **arrays)
    with pytest.raises(InputError, match="started with vgg"):
        train_model(replace(request, resume=True))


def test_bfloat16_where_it_can_be_had(request_, monkeypatch):
    asked = replace(request_, config=replace(THREE, precision="bf16"))
    train_model(replace(asked, run=request_.run.with_name("cpu")))
    settings = json.loads((request_.run.with_name("cpu") / "config.json").read_text())
    assert settings["precision"] == "bf16"
    monkeypatch.setattr("dfghdr_cli.pipeline.train.choose_device", lambda _: torch.device("mps"))
    with pytest.raises(DeviceError, match="--precision float32"):
        train_model(asked)


def test_a_diverged_run_leaves_its_last_good_model(request_, monkeypatch):
    monkeypatch.setattr(guard, "ERRORS", 2)
    check, steps = guard.Guard.check_loss, []

    def worse(self, loss, error, batch):
        steps.append(batch)
        check(self, loss, error * (10.0 if len(steps) > 4 else 1.0), batch)

    monkeypatch.setattr(guard.Guard, "check_loss", worse)
    config = replace(THREE, steps=8, checkpoint_every=3)
    with pytest.raises(
        InputError, match=r"step [456] .*samples [456].*of step 3 .*--start"
    ) as info:
        train_model(replace(request_, config=config))
    good = request_.run / "mine-good"
    assert str(good) in str(info.value)
    assert verify(load_model(str(good))) <= TOLERANCE


def test_more_steps_are_no_other_run(request_):
    train_model(request_)
    more = replace(request_, resume=True, config=replace(request_.config, steps=5))
    seen = []
    train_model(more, seen.append)
    assert [now.step for now in seen] == [4, 5]


def test_a_run_that_is_there_is_left_alone(request_):
    before = weights(train_model(request_))
    with pytest.raises(OutputExistsError, match="--resume"):
        train_model(request_)
    assert weights(request_.run / "mine") == before


def test_what_cannot_be_resumed(request_):
    with pytest.raises(InputError, match="no run to resume"):
        train_model(replace(request_, resume=True))
    with pytest.raises(Killed):
        train_model(request_, killed_after(1))
    (request_.run / "checkpoint.pt").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"checkpoint\.pt"):
        train_model(replace(request_, resume=True))
    (request_.run / "config.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        train_model(replace(request_, resume=True))


def empty(folder):
    (folder / "empty").mkdir()
    return folder / "empty"


def test_pictures_too_dark_to_expose_are_a_sentence(request_, tmp_path):
    lamp = np.zeros((96, 96, 3), np.float32)
    lamp[40:56, 40:56] = 1.0
    write_radiance(empty(tmp_path) / "lamp.exr", RadianceImage(lamp, 1.0))
    with pytest.raises(InputError, match="are too dark"):
        train_model(replace(request_, folders=[tmp_path / "empty"]))
    assert not request_.run.exists()


def test_other_refusals_leave_nothing(request_):
    for change, error in (
        ({"hyper_parameters": {"eau": False, "sau": False}}, ModelError),
        ({"synth": SynthConfig(crop=68, margin=8, batch=1)}, ModelError),
        ({"hyper_parameters": {"depth": 3}}, ModelError),
        ({"architecture": "resnet"}, ModelError),
        ({"start": "nothing"}, ModelError),
        ({"device": "nonsense"}, DeviceError),
    ):
        with pytest.raises(error):
            train_model(replace(request_, **change))
    assert not request_.run.exists()


def test_a_run_needs_a_folder(request_):
    request_.run.parent.write_text("not a folder")
    with pytest.raises(OutputError, match="mine"):
        train_model(request_)


def test_it_can_start_from_a_model(request_, models_dir):
    torch.manual_seed(99)
    first = build("dfgmerge", TINY)
    install_model(first, "first", models_dir)
    still = replace(request_.config, learning_rate=0.0)
    folder = train_model(replace(request_, start="first", hyper_parameters={}, config=still))
    model = load_model(str(folder))
    for key, value in model.network.state_dict().items():
        assert torch.equal(value, first.state_dict()[key])
    assert model.info.training["start"] == "first"


def test_scenes_with_truth_can_validate(request_, pictures, tmp_path):
    scene = tmp_path / "scenes" / "one"
    scene.mkdir(parents=True)
    truth = load_training_data([pictures], 64).images[0].astype(np.float32)[:64, :80]
    truth /= truth.max()
    for number, stops in enumerate((0, 2, 4)):
        code = np.clip(truth * 2.0**stops, 0, 1) ** (1 / 2.2)
        tifffile.imwrite(scene / f"{number}.tif", np.rint(code * 65535).astype(np.uint16))
    (scene / "exposure.txt").write_text("0\n2\n4\n")
    assert cv2.imwrite(str(scene / "HDRImg.hdr"), truth[..., ::-1])
    seen = []
    train_model(replace(request_, validation=tmp_path / "scenes"), seen.append)
    assert seen[-1].psnr > 40  # nothing moves, and the network is hardly trained
    with pytest.raises(InputError, match="no scene"):
        train_model(replace(request_, run=tmp_path / "other", validation=pictures))
    assert not (tmp_path / "other").exists()


def test_a_narrower_network_learns_from_its_teacher(request_, models_dir, monkeypatch):
    """And going on with such a run is as if it had not been interrupted."""
    monkeypatch.setattr("dfghdr_cli.pipeline.train.NARROWING_BATCHES", 2)  # 24 take long
    wide = build("dfgmerge", {**TINY, "width": (12, 8, 8)})
    install_model(wide, "wide", models_dir)
    request = replace(request_, start="wide", teacher="wide")
    whole = train_model(replace(request, run=request.run.with_name("whole")))
    facts = load_model(str(whole)).info
    assert facts.hyper_parameters["width"] == [8, 8, 8]
    assert (facts.training["start"], facts.training["teacher"]) == ("wide", "wide")
    with pytest.raises(Killed):
        train_model(request, killed_after(2))
    assert weights(train_model(replace(request, resume=True))) == weights(whole)
    alone = replace(request, teacher=None, run=request.run.with_name("alone"))
    assert weights(train_model(alone)) != weights(whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hyper_parameters": {"width": (16, 8, 8)}}, "a size of its own"),
        ({"hyper_parameters": {"width": (8, 8, 16)}}, "a size of its own"),
        ({"hyper_parameters": {"code_length": 4}}, "a size of its own"),
        ({"config": BOTH}, "a size of its own"),
        ({"architecture": "dfgnet"}, "--architecture dfgmerge"),
        ({"teacher": "paints", "start": None}, "cannot teach"),
    ],
)
def test_what_cannot_be_started_from(change, message, request_, models_dir):
    install_model(build("dfgmerge", {**TINY, "width": (12, 8, 8)}), "wide", models_dir)
    install_model(build("dfgnet", {"width": 4}), "paints", models_dir)
    with pytest.raises(ModelError, match=message):
        train_model(replace(request_, **{"start": "wide", **change}))
    assert not request_.run.exists()


def test_older_runs_can_be_resumed(request_):
    """Their configuration lacks what came later, which then was as it is said here."""
    folder = train_model(request_)
    path = request_.run / "config.json"
    before = json.loads(path.read_text())
    assert before["permute_channels"] == "merge"
    own = before["hyper_parameters"]
    assert own.pop("decoder_width", 0) == 0
    for names in (("permute_channels",), ("hyper_parameters", "upsampling")):
        place = before
        for name in names[:-1]:
            place = place[name]
        del place[names[-1]]
    del before["synth"]["permute_channels"]
    path.write_text(json.dumps(before))
    assert train_model(replace(request_, resume=True)) == folder
    for change in ({"hyper_parameters": {**TINY, "upsampling": "bilinear"}},):
        with pytest.raises(InputError, match="hyper_parameters"):
            train_model(replace(request_, resume=True, **change))


def test_colours_change_places_in_stage_merge_alone(request_, monkeypatch):
    from dfghdr_cli.pipeline import train as module

    seen = []

    def stop(network, data, config, *arguments, **more):
        seen.append({stage: samples_of(each) for stage, each in data.items()})
        raise KeyboardInterrupt

    def samples_of(data):
        return data.sources[0].config.permute_channels

    monkeypatch.setattr(module, "train", stop)
    for setting in ("all", "merge", "none"):
        config = replace(request_.config, stage="all", permute_channels=setting, perceptual=0.0)
        with pytest.raises(KeyboardInterrupt):
            train_model(replace(request_, config=config, run=request_.run.with_name(setting)))
    assert seen == [
        {"disentangle": True, "merge": True},
        {"disentangle": False, "merge": True},
        {"disentangle": False, "merge": False},
    ]
