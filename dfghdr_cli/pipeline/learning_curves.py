"""The log of a training as a picture: loss, quality and learning rate over steps."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.atomic import atomic_write
from dfghdr_cli.core.types import FloatImage
from dfghdr_cli.io.charts import Cell, table
from dfghdr_cli.io.display import encode_display
from dfghdr_cli.io.plots import curves

LOG, PICTURE = "log.csv", "curves.png"
POINTS = 400
"""Most points of a curve: of more steps than that each point is a mean of neighbours."""

Columns = dict[str, NDArray[np.float64]]
Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


def learning_curves(log: Path) -> FloatImage | None:
    """Draw a run's log.csv: a row for each stage.

    Args:
        log: the file, as `dfghdr_cli.training.record` writes it.

    Returns:
        (H, W, 3) float32 in [0, 1]; None where it holds no step yet.
    """
    stages: dict[str, list[dict[str, str]]] = {}
    with log.open(newline="") as file:
        for row in csv.DictReader(file):
            if row.get("stage") and (row.get("step") or "").isdigit():
                stages.setdefault(row["stage"], []).append(row)
    rows = [_row(stage, _columns(lines)) for stage, lines in stages.items()]
    return table(rows) if rows else None


def write_curves(run: Path) -> None:
    """Draw a run's log into its folder; nothing where there is no log yet.

    Raises:
        OutputError: the picture cannot be written.
    """
    log = run / LOG
    picture = learning_curves(log) if log.exists() else None
    if picture is not None:
        with atomic_write(run / PICTURE, overwrite=True) as file:
            file.write(encode_display(run / PICTURE, picture, bits=8))


def _columns(lines: list[dict[str, str]]) -> Columns:
    names = ("step", "loss", "learning_rate", "psnr")
    return {name: np.array([_number(line.get(name)) for line in lines]) for name in names}


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _row(stage: str, columns: Columns) -> list[Cell]:
    steps, quality = columns["step"], columns["psnr"]
    measured = np.isfinite(quality)
    kind = "PSNR" if stage == "disentangle" else "PSNR-mu"
    # A loss with the logarithm of errors in it may be negative.
    positive = bool((columns["loss"][np.isfinite(columns["loss"])] > 0).all())
    pictures = (
        curves(
            {"loss": _thinned(steps, columns["loss"])},
            f"{stage}: loss",
            ("step", "loss, logarithmic" if positive else "loss"),
            logarithmic=positive,
        ),
        curves(
            {"validation": (steps[measured], quality[measured])},
            f"{stage}: {kind} at validations",
            ("step", "dB"),
        ),
        curves(
            {"learning rate": _thinned(steps, columns["learning_rate"])},
            f"{stage}: learning rate",
            ("step", ""),
        ),
    )
    return [Cell(picture) for picture in pictures]


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> Curve:
    """Means of neighbours, at most `POINTS` of them; without what is not finite."""
    known = np.isfinite(y)
    x, y = x[known], y[known]
    if not len(x):
        return x, y
    groups = np.array_split(np.arange(len(x)), min(POINTS, len(x)))
    return (
        np.array([x[group].mean() for group in groups]),
        np.array([y[group].mean() for group in groups]),
    )
