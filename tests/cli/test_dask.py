"""`--dask`: batches and evaluations on workers of a Dask cluster, one of which is killed."""

import json
import os
import signal
import time
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from dfghdr_cli.cli.app import app
from dfghdr_cli.core.bracketing.sets import find_sets
from dfghdr_cli.errors import DeviceError, InputError
from dfghdr_cli.io.shots import find_shots
from dfghdr_cli.pipeline.batch.manifest import NAME, read_manifest
from dfghdr_cli.pipeline.batch.plan import plan
from dfghdr_cli.pipeline.batch.run import Existing, Listener, run_batch, started_workers
from dfghdr_cli.pipeline.batch.settings import MergeSettings
from dfghdr_cli.pipeline.merge.run import merge_files
from tests.support.card import Body, Card

distributed = pytest.importorskip("distributed")

SETTINGS = MergeSettings(method="classic", align="none", response="gamma", preview=False)
PLAIN = ("--method", "classic", "--align", "none", "--response", "gamma", "--no-preview")


@pytest.fixture(scope="module")
def cluster():
    """A scheduler, and two worker processes that it starts anew when they end."""
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        dashboard_address="127.0.0.1:0",
        memory_limit=0,
        silence_logs=50,
    ) as cluster:
        yield cluster


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A card with five brackets."""
    monkeypatch.chdir(tmp_path)
    card = Card()
    body = Body(card, "Alpha", "DSC")
    for _ in range(5):
        body.bracket((0, -6, 6)).wait(60)
    card.write(tmp_path / "card")
    return tmp_path


def run(*arguments, code=0):
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result


def planned(place, name):
    sets = find_sets(find_shots([place / "card"]).shots).sets
    return plan(sets, place / name, pattern="{first}", suffixes=[".exr", ".jpg"], preview=False)


def pids(cluster):
    return {name: nanny.process.pid for name, nanny in cluster.workers.items()}


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs POSIX")
def test_a_killed_worker_costs_time_only(place, cluster):
    """One that stops amid a bracket, and dies when another is done: the same bits as in a row."""
    victim = next(iter(pids(cluster).values()))
    ready, stopped, killed = [], [], []

    def when_ready(which):
        ready.append(which)
        if len(ready) == 2:  # each is given a bracket at once, and there are more
            os.kill(victim, signal.SIGSTOP)
            stopped.append(time.monotonic())

    def when_finished(_):
        if stopped and not killed:
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)

    listener = Listener(ready=when_ready, finished=when_finished)
    jobs = planned(place, "cluster")
    folder, where = place / "cluster", cluster.scheduler_address
    with started_workers(jobs, folder, SETTINGS, dask=where) as workers:
        done = run_batch(
            *(jobs, folder, SETTINGS), existing=Existing(), workers=workers, listener=listener
        )
    assert killed
    assert victim not in pids(cluster).values()
    assert [one.outcome.error for one in done] == [None] * 5
    assert {one.job.name for one in done} == {job.name for job in jobs}

    (place / "row").mkdir()
    merger = SETTINGS.merger()
    for job in planned(place, "row"):
        merge_files(merger, SETTINGS.request(job.paths, job.outputs))
    names = sorted(path.name for path in (place / "row").iterdir())
    assert sorted(path.name for path in folder.iterdir()) == sorted([*names, NAME])
    assert len(names) == 2 * 5
    for name in names:
        assert (place / "row" / name).read_bytes() == (folder / name).read_bytes()
    entries = read_manifest(folder)
    assert {entry.status for entry in entries.values()} == {"done"}


def test_the_command(place, cluster):
    """Names may be relative, one that fails does not stop the others, and the report is there."""
    broken = place / "card" / "DSC0005.jpg"
    broken.write_bytes(broken.read_bytes()[:-300])
    where = cluster.scheduler_address
    batch = ("merge", "card", "--batch", "-o", "out", *PLAIN, "--dask", where)
    done = run(*batch, "--json", code=1)
    report = json.loads(done.stdout)
    assert len(report["merged"]) == 4
    assert report["outputs"] == [f"out/{one['name']}.exr" for one in report["merged"]]
    assert "DSC0005.jpg" in report["failed"][0]["error"]
    assert "5 brackets, classic on cpu" in done.stderr
    assert "4 merged, 1 failed" in done.stderr


def test_processes_of_this_computer(place):
    done = run("merge", "card", "--batch", "-o", "out", *PLAIN, "--dask", "local:1")
    assert len(done.stdout.splitlines()) == 5


def test_a_worker_of_another_version(place, cluster, monkeypatch):
    where = cluster.scheduler_address
    monkeypatch.setattr("dfghdr_cli.pipeline.workers.cluster.__version__", "0.0.1")
    done = run("merge", "card", "--batch", "-o", "out", *PLAIN, "--dask", where, code=6)
    assert "and this computer 0.0.1; install the same" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (("--dask", "local:x"), "say local:N", 4),
        (("--dask", "none.json"), "none.json does not exist", 4),
        (("--dask", "tcp://127.0.0.1:9"), "No Dask scheduler at tcp://127.0.0.1:9", 6),
        (("--dask", "local:2", "--jobs", "2"), "--jobs is of this computer", 2),
    ],
)
def test_what_cannot_be_meant(place, monkeypatch, arguments, said, code):
    monkeypatch.setattr("dfghdr_cli.pipeline.workers.cluster._ANSWER", 1)
    done = run("merge", "card", "--batch", "-o", "out", *PLAIN, *arguments, code=code)
    assert said in " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.parametrize("how", ["dask", "jobs"])
def test_eval_of_many_scenes(tmp_path, make_scene, cluster, how):
    """The same figures and the same page as one after the other, in the same order."""
    for seed in range(3):
        make_scene(tmp_path / "scenes" / f"s{seed}", (0.0, 2.0, 4.0), seed=seed)
    (tmp_path / "scenes" / "s1" / "exposure.txt").write_text("nothing\n")
    found = {}
    ways = {
        "row": (),
        "dask": ("--dask", cluster.scheduler_address),
        "jobs": ("--jobs", 2),
    }
    for name in ("row", how):
        outputs = ("--json-file", tmp_path / f"{name}.json", "--report", tmp_path / f"{name}.html")
        done = run(
            *("eval", tmp_path / "scenes", "--method", "classic", "--method", "reference"),
            *("--metrics", "basic", *ways[name], *outputs),
            code=1,
        )
        assert done.stderr.count("s1 is left out:") == 1
        report = json.loads((tmp_path / f"{name}.json").read_text())
        for method in report["methods"].values():
            del method["mean"]["seconds"], method["mean"]["peak_memory_mib"]
            del method["worst"]["seconds"], method["worst"]["peak_memory_mib"]
            for row in method["scenes"].values():
                del row["seconds"], row["peak_memory_mib"]
        found[name] = report
    assert [scene["name"] for scene in found["row"]["scenes"]] == ["s0", "s2"]
    assert found["row"] == found[how]
    assert (tmp_path / f"{how}.html").stat().st_size > 10_000


def test_a_worker_that_does_not_see_the_folder(tmp_path):
    from dfghdr_cli import __version__
    from dfghdr_cli.pipeline.batch.merging import Merging
    from dfghdr_cli.pipeline.workers.cluster import _Call, _introduce

    here, away = str(tmp_path), str(tmp_path / "away")
    call = _Call(Merging(SETTINGS), __version__, 30, "", (here, away), "topic")
    with pytest.raises(InputError, match="does not see"):
        _introduce(call, "tcp://worker")


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs POSIX")
def test_each_worker_has_a_gpu_of_its_own(tmp_path, monkeypatch):
    """Of two GPUs, three processes: the third has none."""
    import torch

    from dfghdr_cli.pipeline.workers import cluster

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=f"u{index}")
    )
    taken = []
    for _ in range(2):  # each dictionary is the memory of a process
        monkeypatch.setattr(cluster, "_GPUS", {})
        taken.append((cluster._own_gpu("auto"), cluster._GPUS))
        assert cluster._own_gpu("auto") == taken[-1][0]
    assert [name for name, _ in taken] == ["cuda:0", "cuda:1"]
    monkeypatch.setattr(cluster, "_GPUS", {})
    with pytest.raises(DeviceError, match="All 2 GPUs"):
        cluster._own_gpu("auto")
    assert cluster._own_gpu("cpu") is None
