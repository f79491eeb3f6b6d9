"""From HDR pictures to a model folder, and back into a run that was interrupted."""

import json
from dataclasses import replace

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
from dfghdr_cli.training.loop import TrainConfig
from dfghdr_cli.training.synth import SynthConfig

TINY = {"width": (8, 8, 8), "disentangle_width": 4, "code_length": 8}


@pytest.fixture
def request_(pictures, tmp_path):
    """Three steps of a tiny network."""
    return TrainRequest(
        [pictures],
        tmp_path / "runs" / "mine",
        hyper_parameters=TINY,
        config=TrainConfig(steps=3, batch=1, workers=0, warm_up=1, checkpoint_every=1, seed=7),
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
    assert seen[-1].psnr_mu > 0
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
        ("seed", {"config": TrainConfig(steps=3, batch=1, workers=0, seed=8)}),
        ("batch", {"config": TrainConfig(steps=3, batch=2, workers=0, seed=7)}),
    ],
)
def test_a_run_is_resumed_with_its_own_settings_only(name, change, request_):
    with pytest.raises(Killed):
        train_model(request_, killed_after(2))
    before = (request_.run / "config.json").read_bytes()
    with pytest.raises(InputError, match=f"started with {name} = .*the same settings"):
        train_model(replace(request_, resume=True, **change))
    assert (request_.run / "config.json").read_bytes() == before


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
    for change in ({"hyper_parameters": TINY}, {"architecture": "dfgnet", "hyper_parameters": {}}):
        with pytest.raises(ModelError, match="--architecture dfgmerge"):
            train_model(replace(request_, run=request_.run / "x", start="first", **change))


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
    assert seen[-1].psnr_mu > 40  # nothing moves, and the network is hardly trained
    with pytest.raises(InputError, match="no scene"):
        train_model(replace(request_, run=tmp_path / "other", validation=pictures))
    assert not (tmp_path / "other").exists()
