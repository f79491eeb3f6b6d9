"""`dfghdr train`: what it prints and how it ends."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from dfghdr_cli import modelfolders
from dfghdr_cli.cli.app import app
from dfghdr_cli.core.types import RadianceImage
from dfghdr_cli.io.radiance import write_radiance
from dfghdr_cli.modelstore import load_model, save_model
from dfghdr_cli.nets.registry import build

OPTIONS = ["--crop", "64", "--batch", "1", "--workers", "0", "--device", "cpu"]
OPTIONS += ["--architecture", "dfgnet", "--width", "4", "--no-perceptual"]
BOTH = ["--disentangle-steps", "1"]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A folder of its own with one HDR picture, and no models."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(modelfolders, "__file__", str(tmp_path / "package" / "modelstore.py"))
    monkeypatch.chdir(tmp_path)
    y, x = (axis[..., None] / 24.0 for axis in np.mgrid[0:96, 0:112])
    pixels = np.exp(2.0 * np.sin(x + np.arange(3)) * np.cos(y)).astype(np.float32)
    (tmp_path / "pictures").mkdir()
    write_radiance(tmp_path / "pictures" / "one.exr", RadianceImage(pixels, 1.0))
    return tmp_path


def train(*arguments, code=0):
    options = OPTIONS if "--stage" in arguments else OPTIONS + BOTH
    result = CliRunner().invoke(app, ["train", *options, *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def test_train_and_go_on(place):
    done = train("pictures", "--run", "mine", "--steps", 1, "--seed", 3)
    assert done.stdout == "mine/mine\n"
    assert "disentangle, step 1:  PSNR " in done.stderr
    assert "merge, step 1:  PSNR-mu " in done.stderr
    model = load_model("mine/mine")
    assert model.info.decoder
    sizes = {"width": 4, "disentangle_width": 4, "code_length": 64}
    assert model.info.hyper_parameters == {
        **sizes,
        "eau": True,
        "sau": True,
        "upsampling": "transposed",
        "decoder_width": 0,
    }
    assert model.info.training["seed"] == 3

    refused = train("pictures", "--run", "mine", "--steps", 2, "--seed", 3, code=3)
    assert refused.stdout == ""
    assert "--resume" in refused.stderr
    assert load_model("mine/mine").digest == model.digest

    again = train("pictures", "--run", "mine", "--steps", 2, "--seed", 3, "--resume")
    assert again.stdout == "mine/mine\n"
    assert load_model("mine/mine").digest != model.digest
    other = train("pictures", "--run", "mine", "--steps", 2, "--seed", 4, "--resume", code=4)
    assert "seed = 3, not 4" in other.stderr


def test_the_papers_preset_and_ablation(place):
    options = ["--preset", "paper", "--stage", "merge", "--encoders", "trained", "--no-eau"]
    train("pictures", "--run", "mine", "--steps", 1, "--code-length", 5, *options)
    info = load_model("mine/mine").info
    assert info.hyper_parameters["code_length"] == 5
    assert (info.hyper_parameters["eau"], info.hyper_parameters["sau"]) == (False, True)
    assert info.inputs == "aligned"
    options = ["--crop", "64", "--batch", "1", "--workers", "0", "--stage", "merge", "--steps", "1"]
    options += ["--architecture", "dfgnet", "--start", "mine/mine"]
    for more, inputs in ([], "aligned"), (["--inputs", "flow"], "flow"):
        arguments = ["train", "pictures", "--run", inputs, *options, *more]
        assert CliRunner().invoke(app, arguments).exit_code == 0
        assert load_model(f"{inputs}/{inputs}").info.inputs == inputs
    facts = info.training
    assert (facts["stage"], facts["encoders"]) == ("merge", "trained")
    assert (facts["learning_rate"], facts["schedule"], facts["average"]) == (1e-4, "drop", 0.0)
    assert facts["loss"] == {"squared": 0.0, "logarithm": 0.0, "merged": 0.0}
    assert facts["synth"]["crop"] == 64  # said in OPTIONS


def test_a_recipe_as_a_file(place):
    """What it says holds, but for options; the run's own configuration repeats the run."""
    (place / "r.toml").write_text(
        'architecture = "dfgnet"\ninputs = "aligned"\nstage = "merge"\nencoders = "trained"\n'
        "steps = 1\nbatch = 1\nworkers = 0\nseed = 5\nschedule = 'drop'\n"
        "[hyper_parameters]\nwidth = 4\ndisentangle_width = 4\ncode_length = 4\neau = false\n"
        "[synth]\ncrop = 64\n"
    )

    def with_config(config, run, *more):
        arguments = ["train", "pictures", "--run", run, "--config", config, "--device", "cpu"]
        return CliRunner().invoke(app, [*arguments, *more])

    done = with_config("r.toml", "one", "--learning-rate", "0.002")
    assert (done.exit_code, done.stdout) == (0, "one/one\n"), done.output
    first = load_model("one/one")
    facts = first.info.training
    assert first.info.hyper_parameters["eau"] is False
    assert (facts["stage"], facts["seed"], facts["schedule"]) == ("merge", 5, "drop")
    assert (facts["learning_rate"], facts["synth"]["crop"]) == (0.002, 64)
    assert (first.info.inputs, facts["batch"], facts["synth"]["batch"]) == ("aligned", 1, 1)
    assert (place / "one" / "curves.png").exists()

    again = with_config("one/config.json", "two")
    assert again.exit_code == 0, again.output
    assert load_model("two/two").digest == first.digest
    other = with_config("one/config.json", "three", "--seed", "6")
    assert load_model("three/three").digest != first.digest, other.output

    started = with_config("one/config.json", "four", "--start", "one/one")
    assert started.exit_code == 0, "its sizes are those of the model to start from"
    assert load_model("four/four").info.training["start"] == "one"
    for more, code, words in (
        (["--preset", "paper"], 2, "give one of them"),
        (["--disentangle-steps", "3"], 2, "belongs to stage disentangle"),
        (["--architecture", "dfgmerge"], 5, "is for a dfgnet"),
    ):
        refused = with_config("r.toml", "five", *more)
        assert refused.exit_code == code, refused.output
        assert words in refused.stderr
    assert with_config("nowhere.toml", "five").exit_code == 4


def test_width_of_dfgmerge(place):
    train(
        "pictures", "--run", "mine", "--stage", "merge", "--steps", 1, "--architecture", "dfgmerge"
    )
    sizes = load_model("mine/mine").info.hyper_parameters
    assert (sizes["width"], sizes["disentangle_width"]) == ([4, 8, 12], 2)


def test_quiet_says_nothing_but_the_result(place):
    arguments = ["-q", "train", "pictures", "--run", "mine", "--steps", "1", *OPTIONS, *BOTH]
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "mine/mine\n", "")


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["nowhere", "--run", "mine"], 4, "nowhere"),
        ([".", "--run", "mine", "--resume"], 4, "--resume"),
        (["pictures", "--run", "mine", "--start", "nothing"], 5, "nothing"),
        (["pictures", "--run", "mine", "--crop", "68"], 5, "68"),
        (["pictures", "--run", "mine", "--device", "cuda:77"], 6, "cuda:77"),
        (["pictures", "--run", "pictures/one.exr"], 7, "one.exr"),
        (
            ["pictures", "--run", "x" * 300],
            7,
            "looked at (File name too long)",
        ),
        (["pictures"], 2, "--run"),
        (["--run", "mine"], 2, "FOLDERS"),
        (["pictures", "--run", "mine", "--steps", "0"], 2, "--steps"),
        (["pictures", "--run", "mine", "--teacher", "nothing"], 5, "nothing"),
        (["pictures", "--run", "mine", "--perceptual"], 4, "--vgg"),
        (["pictures", "--run", "mine", "--perceptual", "--vgg", "nowhere"], 4, "nowhere"),
        (["pictures", "--run", "mine", "--perceptual", "--vgg", "pictures/one.exr"], 4, "one.exr"),
        (["pictures", "--run", "mine", "--no-eau", "--no-sau"], 5, "attention"),
        (["pictures", "--run", "mine", "--stage", "merge", "--encoders", "frozen"], 5, "--start"),
        (["pictures", "--run", "mine", "--stage", "disentangle", "--minutes", "1"], 2, "belongs"),
        (
            ["pictures", "--run", "mine", "--architecture", "dfgmerge", "--inputs", "aligned"],
            5,
            "aligned",
        ),
        (
            ["pictures", "--run", "mine", "--stage", "merge", "--disentangle-minutes", 1],
            2,
            "belongs",
        ),
    ],
)
def test_exit_codes(arguments, code, word, place):
    result = train(*arguments, "--steps" if "--steps" not in arguments else "--seed", 1, code=code)
    assert word in result.stderr
    assert result.stdout == ""
    assert list(place.rglob("mine/*")) == []
    assert list(place.rglob("*.part")) == []


def test_two_processes_are_as_good_as_one(place):
    """Through torchrun: the same log and weights but for rounding, and one of them writes."""
    arguments = ["pictures", *OPTIONS, "--batch", 2, "--steps", 2, "--encoders", "trained"]
    arguments += ["--disentangle-steps", 4]  # at the last of which the decoder is alone
    arguments += ["--learning-rate", 0.02]  # or the warm-up would hardly move the weights
    torchrun = [Path(sys.executable).with_name("torchrun"), "--nproc-per-node", "2", "--no-python"]
    program = ["--", Path(sys.executable).with_name("dfghdr"), "train", "--run", "two", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    two = subprocess.run(
        [*torchrun, *map(str, program)],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert two.returncode == 0, two.stderr
    assert two.stdout == "two/two\n"
    assert two.stderr.count("merge, step 2:  PSNR-mu") == 1
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as each of the two has: sums in another order differ by as much
    try:
        train("--run", "one", *arguments)
    finally:
        torch.set_num_threads(threads)
    logs = [list(csv.DictReader((place / run / "log.csv").open())) for run in ("one", "two")]
    for one, other in zip(*logs, strict=True):
        assert (one["stage"], one["step"]) == (other["stage"], other["step"])
        # Taking the exposure out whitens the codes' averages, which enlarges rounding.
        assert float(one["loss"]) == pytest.approx(float(other["loss"]), rel=1e-4)
    one, other = (load_model(f"{run}/{run}").network.state_dict() for run in ("one", "two"))
    apart = torch.cat([(value - other[key]).abs().flatten() for key, value in one.items()])
    # Adam makes whole steps of gradients that are nothing but rounding: of very few weights.
    assert apart.max() < 1e-3
    assert (apart > 1e-5).float().mean() < 1e-2


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signals")
def test_a_signal_to_all_processes_ends_it_quietly(place):
    """As `timeout` and systemd send it, and a terminal that closes."""
    options = [*OPTIONS, "--workers", "1", "--stage", "merge", "--steps", "100000"]
    with subprocess.Popen(
        [sys.executable, "-m", "dfghdr_cli", "train", "pictures", "--run", "mine", *options],
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        start_new_session=True,
    ) as process:
        log = place / "mine" / "log.csv"
        while process.poll() is None and not (log.exists() and log.read_text().count("\n") > 1):
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert b"error" not in said
    assert b"Traceback" not in said


@pytest.mark.parametrize("role", ["--start", "--teacher"])
def test_a_model_that_is_learned_from_is_never_replaced(place, role):
    small = {"width": (8, 8, 8), "disentangle_width": 4, "code_length": 8}
    save_model(place / "mine" / "mine", build("dfgmerge", small))
    before = {path: path.read_bytes() for path in (place / "mine" / "mine").iterdir()}
    small_steps = ["--steps", "1", "--crop", "64", "--batch", "1", "--workers", "0"]
    options = [role, "mine/mine", "--stage", "merge", "--architecture", "dfgmerge", *small_steps]
    options += ["--code-length", "8"] if role == "--start" else []
    done = CliRunner().invoke(app, ["train", "pictures", "--run", "mine", *options])
    assert done.exit_code == 7, done.output
    assert "is a file that this command reads" in done.stderr
    assert {path: path.read_bytes() for path in (place / "mine" / "mine").iterdir()} == before
    assert [path.name for path in (place / "mine").iterdir()] == ["mine"]
