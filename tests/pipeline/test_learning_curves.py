"""Learning curves of a run, drawn from its log."""

import csv

import numpy as np
import pytest

from dfghdr_cli.pipeline.learning_curves import POINTS, _thinned, learning_curves, write_curves
from dfghdr_cli.training.record import COLUMNS


@pytest.fixture
def log(tmp_path):
    """A function that writes a log of given stages and losses."""

    def write(*rows):
        path = tmp_path / "log.csv"
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, COLUMNS, restval="")
            table.writeheader()
            for stage, step, loss, psnr in rows:
                table.writerow(
                    {
                        "stage": stage,
                        "step": step,
                        "loss": loss,
                        "learning_rate": 1e-3,
                        "psnr": psnr,
                    }
                )
        return path

    return write


def test_each_stage_has_a_row(log):
    one = learning_curves(log(("merge", 20, 0.5, ""), ("merge", 40, 0.4, 30.1)))
    both = learning_curves(log(("disentangle", 20, 0.5, ""), ("merge", 20, -0.4, 30.1)))
    assert both.shape[1] == one.shape[1]
    assert both.shape[0] > 1.8 * one.shape[0]


def test_a_log_without_a_step(log, tmp_path):
    assert learning_curves(log()) is None
    write_curves(tmp_path)
    write_curves(tmp_path / "nowhere")
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


def test_rows_cut_short_are_passed_over(log, tmp_path):
    path = log(("merge", 20, 0.5, ""))
    with path.open("a") as file:
        file.write("merge,4")
    write_curves(tmp_path)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    path.write_text(path.read_text() + "0,words,words\n")
    assert learning_curves(path) is not None


def test_long_trainings_are_drawn_by_means():
    x = np.arange(5000.0)
    y = 3 * x
    y[7] = np.nan
    short_x, short_y = _thinned(x, y)
    assert len(short_x) == len(short_y) == POINTS
    assert short_y == pytest.approx(3 * short_x)
    assert short_x.mean() == pytest.approx(np.delete(x, 7).mean(), rel=0.05)
