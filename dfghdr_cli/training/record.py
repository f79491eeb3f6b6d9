"""The record of a run: log.csv and, where TensorBoard is installed, its events."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from dfghdr_cli.atomic import atomic_write

log = logging.getLogger(__name__)

COLUMNS: tuple[str, ...] = (
    "stage",
    "step",
    "seconds",
    "loss",
    "learning_rate",
    "samples_per_s",
    "data_s",
    "network_s",
    "psnr",
)
"""Of log.csv. `data_s` and `network_s` are seconds a step: waiting for samples, and the rest."""


class Record:
    """Appends to `folder`/log.csv and `folder`/events, without what a resumed run repeats."""

    def __init__(self, folder: Path, stage: str, step: int, before: int) -> None:
        """Open the record.

        Args:
            folder: of the run.
            stage: the stage that begins or goes on.
            step: steps of it that are done; later rows are removed.
            before: steps of earlier stages, for the one axis that TensorBoard has.
        """
        self.stage = stage
        self.before = before
        path = folder / "log.csv"
        _truncate(path, stage, step)
        self.file = path.open("a", newline="")
        self.table = csv.DictWriter(self.file, COLUMNS, lineterminator="\n")
        if self.file.tell() == 0:
            self.table.writeheader()
            self.file.flush()
        self.events = _events(folder / "events", before + step)

    def write(self, row: Mapping[str, Any], terms: Mapping[str, float]) -> None:
        """Add a row of log.csv, and its figures and the loss's terms as events."""
        self.table.writerow({"stage": self.stage, **row})
        self.file.flush()
        if self.events is None:
            return
        step = self.before + int(row["step"])
        figures = {k: v for k, v in row.items() if k not in ("step", "seconds") and v != ""}
        for name, value in {**figures, **terms}.items():
            self.events.add_scalar(f"{self.stage}/{name}", value, step)
        self.events.flush()

    def close(self) -> None:
        """Close the files."""
        self.file.close()
        if self.events is not None:
            self.events.close()


def _truncate(path: Path, stage: str, step: int) -> None:
    """Keep rows of earlier stages, and those of `stage` up to `step`."""
    if not path.exists():
        return
    rows: list[dict[str, str]] = []
    # Of a log that is damaged as much is kept as can be read; the training does not need it.
    with path.open(newline="", encoding="utf-8", errors="replace") as file, suppress(csv.Error):
        rows.extend(csv.DictReader(file))
    kept = []
    for row in rows:
        if row.get("stage") == stage and not (row.get("step") or "").isdecimal():
            break
        if row.get("stage") == stage and int(row["step"]) > step:
            break
        if None in row.values():  # a row cut short by a crash
            break
        kept.append(row)
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n", extrasaction="ignore")
    table.writeheader()
    table.writerows(kept)
    with atomic_write(path, overwrite=True) as file:
        file.write(text.getvalue().encode())


def _events(folder: Path, step: int) -> Any:
    writer = _writer_class()
    if writer is None:
        return None
    try:
        # Events after this step come from before an interruption, and are made again.
        return writer(str(folder), purge_step=step + 1)
    except UnicodeEncodeError:
        log.warning(
            "no TensorBoard events, since tensorboard does not take the name %a", str(folder)
        )
        return None


@cache
def _writer_class() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.warning("no TensorBoard events, since tensorboard is not installed")
        return None
    return SummaryWriter
