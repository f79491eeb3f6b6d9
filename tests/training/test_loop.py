"""The training loop: it learns, it resumes exactly, and it stops with a sentence."""

import csv
import logging
import math
import multiprocessing
import os
import signal
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from dfghdr_cli.core.metrics.fidelity import psnr_mu
from dfghdr_cli.errors import DeviceError, ModelError, OutputError
from dfghdr_cli.training import loop
from dfghdr_cli.training.checkpoint import save_checkpoint
from dfghdr_cli.training.config import TrainConfig, learning_rate
from dfghdr_cli.training.guard import DivergedError
from dfghdr_cli.training.loop import moving_average, train
from dfghdr_cli.training.objectives import restore
from dfghdr_cli.training.synth import to_candidates

CPU = torch.device("cpu")
MERGE = TrainConfig(stage="merge", batch=2, workers=0)
SIX = replace(MERGE, steps=6, warm_up=2, checkpoint_every=2, validate_every=3, average=0.5)
BOTH = replace(SIX, stage="all", disentangle_steps=5, perceptual=0.0)

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
        trained = network(architecture, decoder=config.stage != "merge")
        (tmp_path / folder).mkdir(exist_ok=True)

        seen = []

        def on_progress(now):
            seen.append(now)
            if len(seen) == killed_after:
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


def quality(network, batches):
    """Mean PSNR-mu [dB]."""
    with torch.no_grad():
        pairs = [(restore(network, to_candidates(batch))[0], batch["truth"]) for batch in batches]
    samples = [sample for pair in pairs for sample in zip(*pair, strict=True)]
    return float(np.mean([psnr_mu(result.numpy(), truth.numpy()) for result, truth in samples]))


@pytest.mark.parametrize("architecture", ["dfgmerge", "dfgnet"])
def test_it_learns(architecture, network, samples, run):
    config = replace(MERGE, steps=25, learning_rate=1e-2, warm_up=5, average=0.9)
    batches = [default_collate([samples[n], samples[n + 1]]) for n in (0, 2)]
    before = quality(network(architecture), batches)
    trained = run(config, architecture=architecture)
    assert quality(trained.network, batches) > before + 2
    assert quality(trained.average, batches) > before + 2


@pytest.mark.parametrize(("average", "kept"), [(0.1, 0.1), (0.998, 2 / 11)])
def test_the_average_follows_the_weights(average, kept, run):
    """It starts as the first step's weights, then moves towards the latest, faster at first."""
    config = replace(MERGE, average=average, learning_rate=1e-2, warm_up=0, steps=2)
    done = run(config)
    first = run(config, folder="first", killed_after=1).network.state_dict()
    for key, value in done.average.state_dict().items():
        expected = kept * first[key] + (1 - kept) * done.network.state_dict()[key]
        torch.testing.assert_close(value, expected)


def test_the_average_slows_down_to_its_decay():
    averaged = [torch.zeros(1)]
    moving_average(0.9)(averaged, [torch.ones(1)], 1000)
    assert averaged[0].item() == pytest.approx(0.1)
    moving_average(0.0)(averaged, [torch.ones(1)], 1000)
    assert averaged[0].item() == 1


@pytest.mark.parametrize("architecture", ["dfgmerge", "dfgnet"])
@pytest.mark.parametrize("killed_after", [1, 2, 3, 5])
def test_resumed_is_uninterrupted(killed_after, architecture, run):
    whole = run(folder="whole", architecture=architecture)
    run(folder="parts", architecture=architecture, killed_after=killed_after)
    assert (whole.folder / "checkpoint.pt").exists()
    parts = run(folder="parts", architecture=architecture)
    assert same(whole.network, parts.network)
    assert same(whole.average, parts.average)


@pytest.mark.parametrize("killed_after", [1, 3, 4, 5, 6, 8])
def test_both_stages_resumed_are_uninterrupted(killed_after, run):
    """The decoder is alone from 3, the first stage ends at 5, the second at 11.

    Checkpoints lie at 2, 4, 5, 7, 9, 11.
    """
    whole = run(BOTH, folder="whole", architecture="dfgnet")
    run(BOTH, folder="parts", architecture="dfgnet", killed_after=killed_after)
    parts = run(BOTH, folder="parts", architecture="dfgnet")
    assert same(whole.network, parts.network)
    assert same(whole.average, parts.average)


def test_resuming_a_finished_run_changes_nothing(run):
    first, again = run(), run()
    assert same(first.network, again.network)
    assert same(first.average, again.average)


def test_the_number_of_workers_changes_nothing(run, synthesiser):
    data = synthesiser(length=12)
    alone = run(folder="alone", data=data)
    helped = run(replace(SIX, workers=1), folder="helped", data=data)
    assert same(alone.network, helped.network)


@pytest.mark.parametrize("killed_after", [1, 3, 4])
def test_scenes_that_serve_several_batches_are_resumed_amid_them(killed_after, run, synthesiser):
    data = synthesiser(length=12, variants=4)
    whole = run(folder="whole", data=data)
    run(folder="parts", data=data, killed_after=killed_after)
    assert same(whole.network, run(folder="parts", data=data).network)


def test_a_scene_is_rendered_once(run, synthesiser):
    data, rendered = synthesiser(length=12, variants=4), []
    raw = data.raw
    data.raw = lambda index: rendered.append(index) or raw(index)
    run(data=data)
    assert rendered == [0, 1, 8, 9]  # two scenes for four batches of two, and two for the others


def test_small_checkpoints(run):
    exact = run(folder="exact")
    small = replace(SIX, checkpoints="small")
    whole = run(small, folder="whole")
    assert same(exact.network, whole.network)  # as long as nothing goes on from one
    sizes = [(r.folder / "checkpoint.pt").stat().st_size for r in (exact, whole)]
    assert sizes[1] < 0.75 * sizes[0]
    run(small, folder="parts", killed_after=3)
    parts = run(small, folder="parts")
    for name, value in exact.average.state_dict().items():
        torch.testing.assert_close(parts.average.state_dict()[name], value, rtol=0.02, atol=2e-3)


def test_a_compiled_training_calls_what_the_compiler_gives(run, monkeypatch):
    """Its front end, on a small network, takes a minute: here it gives the module back."""
    compiled, called = [], []

    class Compiled(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, batch):
            called.append(len(batch["peak"]))
            return self.module(batch)

    def compile_(module, **options):
        compiled.append(options)
        return Compiled(module)

    monkeypatch.setattr(torch, "compile", compile_)
    plain, fast = run(folder="plain"), run(replace(SIX, compile=True), folder="fast")
    assert compiled == [{"dynamic": False}]
    assert called == [2] * 6
    assert same(plain.network, fast.network)


def test_an_interrupted_checkpoint_leaves_the_previous_one(run):
    whole = run(folder="whole")
    parts = run(folder="parts", killed_after=3)
    good = (parts.folder / "checkpoint.pt").read_bytes()
    left = parts.folder / ".dfghdr-0123456789abcdef-0.part"
    left.write_bytes(good[: len(good) // 2])
    assert same(whole.network, run(folder="parts").network)
    assert not left.exists()


def test_a_checkpoint_that_cannot_be_written_leaves_the_previous_one(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"step": 1})
    good = path.read_bytes()

    def full(state, file):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match="No space"):
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


@pytest.mark.parametrize("damage", [cut, empty, garbage])
def test_a_damaged_last_checkpoint_leaves_the_one_before(damage, run, caplog):
    whole = run(folder="whole")
    parts = run(folder="parts", killed_after=5)
    damage(parts.folder / "checkpoint.pt")
    assert same(whole.network, run(folder="parts").network)
    assert "going on from the one before it" in caplog.text


def test_a_loss_that_is_not_finite_names_the_samples(run, samples):
    class Spoilt(type(samples)):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            if index != 5:
                return sample
            return {**sample, "truth": sample["truth"] * float("nan")}

    with pytest.raises(DivergedError, match=r"step 2 of stage merge \(samples 4 to 5\)"):
        run(data=Spoilt(samples.samples))


def test_a_gradient_that_is_not_finite_is_skipped(network, samples, tmp_path, caplog):
    trained, before = network(), network()
    trained.head2.weight.register_hook(lambda gradient: gradient * math.inf)
    with caplog.at_level(logging.WARNING, "dfghdr_cli"):
        train(trained, samples, replace(MERGE, steps=1), tmp_path, CPU)
    assert same(trained, before)
    assert "skipped step 0 of stage merge (samples 0 to 1)" in caplog.text


def test_a_run_may_be_limited_by_time(run):
    config = replace(MERGE, steps=100_000, minutes=0.01)
    done = run(config)
    assert 0 < torch.load(done.folder / "checkpoint.pt", weights_only=True)["step"] < 1000
    resumed = run(config)
    assert same(done.average, resumed.average)


def test_each_stage_has_its_own_limit(run):
    seen = []
    run(replace(BOTH, disentangle_minutes=0.0), folder="first", on_progress=seen.append)
    assert [now.stage for now in seen] == ["merge"] * 6
    seen.clear()
    run(replace(BOTH, minutes=0.0), folder="second", on_progress=seen.append)
    assert [now.stage for now in seen] == ["disentangle"] * 5


def test_the_second_stage_starts_from_the_average_of_the_first(run):
    config = replace(BOTH, steps=1, learning_rate=1e-2, warm_up=0)
    first = run(replace(config, stage="disentangle"), folder="first")
    both = run(config, folder="both")
    assert not same(first.network, first.average)
    expected = first.average.disentangle.state_dict()
    for key, value in both.network.disentangle.state_dict().items():
        assert torch.equal(value, expected[key])


def test_no_time_at_all_is_no_training(run, network):
    assert same(run(replace(MERGE, steps=5, minutes=0.0)).average, network())


def test_progress_validation_and_log(run):
    seen, validated = [], []

    def validation(average, step):
        validated.append((average, step))
        return 30.0 + len(validated)

    validations = {"disentangle": validation, "merge": validation}
    done = run(BOTH, on_progress=seen.append, validations=validations)
    assert [(now.stage, now.step) for now in seen] == [
        *(("disentangle", step) for step in range(1, 6)),
        *(("merge", step) for step in range(1, 7)),
    ]
    assert {now.stage: now.steps for now in seen} == {"disentangle": 5, "merge": 6}
    psnr = [None, None, 31.0, None, 32.0, None, None, 33.0, None, None, 34.0]
    assert [now.psnr for now in seen] == psnr
    assert (seen[4].fraction, seen[5].fraction, seen[-1].fraction) == (1, 1 / 6, 1)
    assert all(now.loss > 0 and now.samples_per_second > 0 for now in seen[:5])
    assert all(0 < now.waiting < 1 for now in seen)
    assert validated[-1][0] is done.average
    assert [step for _, step in validated] == [3, 5, 3, 6]
    rows = table(done.folder)
    assert [(row["stage"], row["step"], float(row["psnr"])) for row in rows] == [
        ("disentangle", "3", 31),
        ("disentangle", "5", 32),
        ("merge", "3", 33),
        ("merge", "6", 34),
    ]
    assert all(float(row["data_s"]) >= 0 < float(row["network_s"]) for row in rows)


def table(folder):
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("killed_after", [1, 3, 4, 8, 9])
def test_a_resumed_log_repeats_nothing(killed_after, run):
    config = replace(BOTH, validate_every=1, checkpoint_every=3)
    validations = dict.fromkeys(config.stages, lambda average, step: 30.0)
    folder = run(config, killed_after=killed_after, validations=validations).folder
    with (folder / "log.csv").open("a") as file:
        file.write("merge,77")  # the rest of the row is lost
    done = run(config, validations=validations)
    steps = [(row["stage"], int(row["step"])) for row in table(done.folder)]
    expected = [("disentangle", step) for step in range(1, 6)]
    assert steps == expected + [("merge", step) for step in range(1, 7)]


def train_until_killed(network, data, config, folder, at, in_checkpoint):
    """The body of a process that kills itself at the end of a step, or while it saves."""
    save, saved = torch.save, []

    def kill():
        os.kill(os.getpid(), signal.SIGKILL)

    def save_half(state, file):
        saved.append(file)
        if len(saved) == in_checkpoint:
            file.write(b"half of it" * 1000)
            file.flush()
            kill()
        save(state, file)

    torch.save = save_half
    train(
        network,
        data,
        config,
        folder,
        CPU,
        on_progress=lambda now: kill() if (now.stage, now.step) == at else None,
    )


def test_killed_again_and_again_and_resumed_is_uninterrupted(run, network, samples, tmp_path):
    """By SIGKILL in both stages: after steps, and while one of the two checkpoints is written."""
    config = replace(BOTH, disentangle_steps=6, steps=8, checkpoint_every=1)
    (tmp_path / "parts").mkdir()
    kills = [
        (("disentangle", 2), 0),
        (None, 3),
        (None, 4),
        (("merge", 1), 0),
        (None, 1),
        (None, 2),
        (("merge", 5), 0),
    ]
    context = multiprocessing.get_context("fork")
    for at, in_checkpoint in kills:
        trained = network("dfgnet", decoder=True)
        arguments = (trained, samples, config, tmp_path / "parts", at, in_checkpoint)
        process = context.Process(target=train_until_killed, args=arguments)
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    parts = run(config, folder="parts", architecture="dfgnet")
    whole = run(config, folder="whole", architecture="dfgnet")
    assert same(whole.network, parts.network)
    assert same(whole.average, parts.average)
    steps = [[(row["stage"], row["step"]) for row in table(r.folder)] for r in (parts, whole)]
    assert steps[0] == steps[1]


def test_a_worker_that_the_system_ended_is_no_bug():
    def raising(words):
        raise RuntimeError(words)
        yield

    with pytest.raises(DeviceError, match="memory ran short"):
        loop._next(raising("DataLoader worker (pid 7) is killed by signal: Killed. "))
    with pytest.raises(RuntimeError, match="another"):
        loop._next(raising("another"))
