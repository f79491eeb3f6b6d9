"""log.csv and the events for TensorBoard."""

import csv
import logging
import sys

import pytest

from dfghdr_cli.training import record
from dfghdr_cli.training.record import COLUMNS, Record


def row(step):
    return {
        **dict.fromkeys(COLUMNS[2:], 0.5),
        "step": step,
        "psnr": "" if step % 2 else 30.0 + step,
    }


def write(folder, stage, after, before, steps):
    opened = Record(folder, stage, after, before)
    for step in steps:
        opened.write(row(step), {"recon1": 0.25})
    opened.close()


def rows(folder):
    with (folder / "log.csv").open(newline="") as file:
        return [(line["stage"], int(line["step"])) for line in csv.DictReader(file)]


def test_rows_beyond_the_checkpoint_are_made_again(tmp_path):
    write(tmp_path, "disentangle", 0, 0, [1, 2, 3])
    write(tmp_path, "disentangle", 2, 0, [3, 4])
    assert rows(tmp_path) == [("disentangle", n) for n in (1, 2, 3, 4)]
    write(tmp_path, "merge", 0, 4, [1, 2])
    assert rows(tmp_path) == [("disentangle", n) for n in (1, 2, 3, 4)] + [
        ("merge", 1),
        ("merge", 2),
    ]
    write(tmp_path, "merge", 0, 4, [1])
    assert rows(tmp_path) == [("disentangle", n) for n in (1, 2, 3, 4)] + [("merge", 1)]
    write(tmp_path, "disentangle", 0, 0, [])
    assert rows(tmp_path) == []


def test_events_for_tensorboard(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    write(tmp_path, "disentangle", 0, 0, [1, 2, 3])
    write(tmp_path, "disentangle", 2, 0, [3])  # killed after 3, resumed after 2
    write(tmp_path, "merge", 0, 3, [1, 2])
    events = accumulator.EventAccumulator(str(tmp_path / "events"))
    events.Reload()

    def steps(name):
        return [(event.step, event.value) for event in events.Scalars(name)]

    assert steps("disentangle/loss") == [(1, 0.5), (2, 0.5), (3, 0.5)]
    assert steps("disentangle/psnr") == [(2, 32.0)]
    assert steps("disentangle/recon1") == [(1, 0.25), (2, 0.25), (3, 0.25)]
    assert steps("merge/psnr") == [(5, 32.0)]


def test_without_tensorboard_it_is_said_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    record._writer_class.cache_clear()
    with caplog.at_level(logging.WARNING, "dfghdr_cli"):
        write(tmp_path, "disentangle", 0, 0, [1])
        write(tmp_path, "merge", 0, 1, [1])
    record._writer_class.cache_clear()
    assert rows(tmp_path) == [("disentangle", 1), ("merge", 1)]
    assert caplog.text.count("tensorboard is not installed") == 1
    assert not (tmp_path / "events").exists()


def test_a_folder_that_tensorboard_cannot_take_is_no_obstacle(tmp_path, caplog):
    pytest.importorskip("tensorboard")
    folder = tmp_path / "run\udcff"
    folder.mkdir()
    with caplog.at_level(logging.WARNING, "dfghdr_cli"):
        write(folder, "disentangle", 0, 0, [1])
    assert rows(folder) == [("disentangle", 1)]
    assert "does not take the name" in caplog.text


@pytest.mark.parametrize("damage", [b"\xea\xff\0\n" * 50, b'"' + b"x" * 200_000])
def test_a_damaged_log_does_not_end_a_training(tmp_path, damage):
    write(tmp_path, "merge", 0, 0, [1, 2])
    with (tmp_path / "log.csv").open("ab") as file:
        file.write(damage)
    write(tmp_path, "merge", 2, 0, [3])
    assert rows(tmp_path) == [("merge", 1), ("merge", 2), ("merge", 3)]
