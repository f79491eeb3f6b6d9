"""The training loop: it learns, it resumes exactly, and it stops with a sentence."""

import csv
import logging
import math
import os
import signal
import subprocess
import sys
from collections import namedtuple

import pytest
import torch
from torch.utils.data import default_collate

from dfghdr_cli.errors import InputError, ModelError
from dfghdr_cli.training.loop import (
    TrainConfig,
    learning_rate,
    save_checkpoint,
    train,
    validate_on_batches,
)

CPU = torch.device("cpu")
SIX = TrainConfig(
    steps=6, batch=2, warm_up=2, workers=0, checkpoint_every=2, validate_every=3, average=0.5
)

Run = namedtuple("Run", "network average folder")


class Killed(BaseException):
    """What nobody catches."""


@pytest.fixture
def run(network, samples, tmp_path):
    """Train a network that is always the same at the start, perhaps only up to a step."""

    def go(
        config=SIX,
        *,
        folder="run",
        killed_after=None,
        architecture="dfgmerge",
        data=samples,
        **options,
    ):
        trained = network(architecture)
        (tmp_path / folder).mkdir(exist_ok=True)

        def on_progress(now):
            if now.step == killed_after:
                raise Killed

        options.setdefault("on_progress", on_progress)
        try:
            average = train(trained, data, config, tmp_path / folder, CPU, **options)
        except Killed:
            average = None
        return Run(trained, average, tmp_path / folder)

    return go


def same(first, second):
    """Whether two networks are equal to the last bit."""
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_learning_rate():
    config = TrainConfig(learning_rate=2.0, warm_up=10)
    assert learning_rate(config, 0, 0.0) == pytest.approx(0.2)
    assert learning_rate(config, 4, 0.0) == pytest.approx(1.0)
    assert learning_rate(config, 9, 0.0) == pytest.approx(2.0)
    assert learning_rate(config, 500, 0.5) == pytest.approx(2.0 * (0.02 + 0.49))
    for fraction in (1.0, 1.7):
        assert learning_rate(config, 500, fraction) == pytest.approx(0.04)
    assert learning_rate(TrainConfig(learning_rate=1.0, warm_up=0), 0, 0.0) == 1.0


@pytest.mark.parametrize("architecture", ["dfgmerge", "dfgnet"])
def test_it_learns(architecture, network, samples, run):
    config = TrainConfig(steps=25, batch=2, learning_rate=1e-2, warm_up=5, workers=0, average=0.9)
    batches = [default_collate([samples[n], samples[n + 1]]) for n in (0, 2)]
    before = validate_on_batches(batches, network(architecture))
    trained = run(config, architecture=architecture)
    assert validate_on_batches(batches, trained.network) > before + 2
    assert validate_on_batches(batches, trained.average) > before + 2


def test_the_average_follows_the_weights(run):
    """It starts as the first step's weights, then moves (1 - decay) of the way to the latest."""
    config = TrainConfig(batch=2, workers=0, average=0.75, learning_rate=1e-2, warm_up=0, steps=2)
    done = run(config)
    first = run(config, folder="first", killed_after=1).network.state_dict()
    for key, value in done.average.state_dict().items():
        expected = 0.75 * first[key] + 0.25 * done.network.state_dict()[key]
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("architecture", ["dfgmerge", "dfgnet"])
@pytest.mark.parametrize("killed_after", [1, 2, 3, 5])
def test_resumed_is_uninterrupted(killed_after, architecture, run):
    whole = run(folder="whole", architecture=architecture)
    run(folder="parts", architecture=architecture, killed_after=killed_after)
    assert (whole.folder / "checkpoint.pt").exists()
    parts = run(folder="parts", architecture=architecture)
    assert same(whole.network, parts.network)
    assert same(whole.average, parts.average)


def test_resuming_a_finished_run_changes_nothing(run):
    first, again = run(), run()
    assert same(first.network, again.network)
    assert same(first.average, again.average)


def test_the_number_of_workers_changes_nothing(run, synthesiser):
    data = synthesiser(length=12)
    alone = run(folder="alone", data=data)
    helped = run(TrainConfig(**{**_fields(SIX), "workers": 1}), folder="helped", data=data)
    assert same(alone.network, helped.network)


def _fields(config):
    return {name: getattr(config, name) for name in config.__slots__}


def test_an_interrupted_checkpoint_leaves_the_previous_one(run):
    whole = run(folder="whole")
    parts = run(folder="parts", killed_after=3)
    good = (parts.folder / "checkpoint.pt").read_bytes()
    (parts.folder / "checkpoint.part").write_bytes(good[: len(good) // 2])
    assert same(whole.network, run(folder="parts").network)
    assert [p.name for p in parts.folder.glob("*.part")] == []


def test_a_checkpoint_that_cannot_be_written_leaves_the_previous_one(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"step": 1})
    good = path.read_bytes()

    def full(state, file):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(path, {"step": 2})
    assert path.read_bytes() == good


def cut(path):
    path.write_bytes(path.read_bytes()[:1000])


def empty(path):
    path.write_bytes(b"")


def garbage(path):
    path.write_bytes(b"this is no checkpoint\n" * 50)


def other_content(path):
    save_checkpoint(path, {"step": 2})


def a_list(path):
    torch.save([1, 2], path)


def other_network(path):
    state = torch.load(path, weights_only=True)
    state["network"].popitem()
    torch.save(state, path)


@pytest.mark.parametrize("damage", [cut, empty, garbage, other_content, a_list, other_network])
def test_a_damaged_checkpoint_is_refused(damage, run):
    damage(run(killed_after=3).folder / "checkpoint.pt")
    with pytest.raises(ModelError, match=r"checkpoint\.pt.*start afresh"):
        run()


def test_a_loss_that_is_not_finite_names_the_samples(run, samples):
    class Spoilt(type(samples)):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            if index != 5:
                return sample
            return {**sample, "truth": sample["truth"] * float("nan")}

    with pytest.raises(InputError, match=r"step 2 \(samples 4 to 5\)"):
        run(data=Spoilt(samples.samples))


def test_a_gradient_that_is_not_finite_is_skipped(network, samples, tmp_path, caplog):
    trained, before = network(), network()
    trained.head2.weight.register_hook(lambda gradient: gradient * math.inf)
    with caplog.at_level(logging.WARNING, "dfghdr_cli"):
        train(trained, samples, TrainConfig(steps=1, batch=2, workers=0), tmp_path, CPU)
    assert same(trained, before)
    assert "skipped samples 0 to 1" in caplog.text


def test_a_run_may_be_limited_by_time(run):
    config = TrainConfig(steps=100_000, minutes=0.01, batch=2, workers=0)
    done = run(config)
    assert 0 < torch.load(done.folder / "checkpoint.pt", weights_only=True)["step"] < 1000
    resumed = run(config)
    assert same(done.average, resumed.average)


def test_no_time_at_all_is_no_training(run, network):
    assert same(run(TrainConfig(steps=5, minutes=0.0, batch=2, workers=0)).average, network())


def test_progress_validation_and_log(run, network):
    seen, validated = [], []

    def validation(average):
        validated.append(average)
        return 30.0 + len(validated)

    done = run(on_progress=seen.append, validation=validation)
    assert [now.step for now in seen] == [1, 2, 3, 4, 5, 6]
    assert [now.psnr_mu for now in seen] == [None, None, 31.0, None, None, 32.0]
    assert seen[-1].fraction == 1
    assert all(now.loss > 0 and now.samples_per_second > 0 for now in seen)
    assert validated[-1] is done.average
    with (done.folder / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["step"]), float(row["psnr_mu"])) for row in rows] == [(3, 31), (6, 32)]


PROGRAM = """
import sys
from pathlib import Path
import torch
from dfghdr_cli.nets.registry import build
from dfghdr_cli.training.loop import TrainConfig, train

samples, folder = map(Path, sys.argv[1:])
torch.set_num_threads(1)
torch.manual_seed(0)
network = build("dfgmerge", {hyper_parameters!r})
data = torch.load(samples, weights_only=True) * 10
train(network, data, {config!r}, folder, torch.device("cpu"),
      on_progress=lambda now: print(now.step, flush=True))
"""


def test_killed_twice_and_resumed_is_uninterrupted(run, network, samples, tmp_path):
    config = TrainConfig(**{**_fields(SIX), "steps": 14, "checkpoint_every": 1})
    program = PROGRAM.format(hyper_parameters=_fields(network().config), config=config)
    program = "from dfghdr_cli.training.losses import MergeLossConfig\n" + program
    torch.save(
        [{k: torch.as_tensor(v) for k, v in s.items()} for s in samples.samples],
        tmp_path / "samples.pt",
    )
    (tmp_path / "parts").mkdir()
    reached = []
    for last in (2, 6):
        with subprocess.Popen(
            [sys.executable, "-c", program, tmp_path / "samples.pt", tmp_path / "parts"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        ) as process:
            for line in process.stdout:
                reached.append(int(line))
                if reached[-1] >= last:
                    process.send_signal(signal.SIGKILL)
                    break
        assert process.returncode == -signal.SIGKILL
    assert sorted(set(reached)) == list(range(1, max(reached) + 1))
    assert max(reached) < 14
    parts, whole = run(config, folder="parts"), run(config, folder="whole")
    assert same(whole.network, parts.network)
    assert same(whole.average, parts.average)
