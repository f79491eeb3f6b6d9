"""The figures of an evaluation, as tables and as text."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from dfghdr_cli import __version__
from dfghdr_cli.core.metrics.fidelity import METRICS, Measured, bootstrap_interval
from dfghdr_cli.core.metrics.mef_ssim import MEF_SSIM
from dfghdr_cli.core.metrics.perceptual import PERCEPTUAL_METRICS, Perceptual
from dfghdr_cli.core.types import FloatImage, Mask
from dfghdr_cli.io.scenes import Scene
from dfghdr_cli.pipeline.evaluate.methods import Method, Protocol

Row = dict[str, float | None]
"""What one method achieved on one scene: `ALL_METRICS`, `COSTS` and the fitted `scale`."""
ALL_METRICS = (*METRICS, *PERCEPTUAL_METRICS, MEF_SSIM)
"""Every figure, in the order of tables."""
COSTS = ("seconds", "peak_memory_mib")
"""Of making the picture out of decoded frames, without reading and scoring; None for files."""


@dataclass(frozen=True, slots=True)
class SceneFacts:
    """A scene that was scored.

    Attributes:
        name: its folder's name, or its path where two have the same.
        path: its folder.
        size: (width, height) of what was compared.
        stops: of the frames, relative to the darkest.
        moving_from: "motion.png", or "estimated" from the frames and the truth.
        moving_share: share of the pixels that move.
        white_share: share of the truth's pixels that are white: there nothing darker was shot.
        doubt: what its exposures or its truth say that the frames do not bear out, or None.
    """

    name: str
    path: Path
    size: tuple[int, int]
    stops: tuple[float, ...]
    moving_from: str
    moving_share: float
    white_share: float
    doubt: str | None = None

    def values(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "name": self.name,
            "folder": str(self.path),
            "size": list(self.size),
            "stops": [round(stop, 4) for stop in self.stops],
            "moving_from": self.moving_from,
            "moving_share": round(self.moving_share, 6),
            "white_share": round(self.white_share, 6),
            "doubt": self.doubt,
        }


@dataclass(frozen=True, slots=True)
class Excluded:
    """A scene that counts for no method.

    Attributes:
        scene: its name.
        method: which could not be scored; None if the scene itself cannot be read.
        reason: a sentence.
    """

    scene: str
    method: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """One scene with all that was made of it.

    Attributes:
        facts: on the scene.
        scene: as the protocol reads it.
        moving: (H, W), the pixels that move.
        pictures: by method, (H, W, 3) linear, on the truth's scale, fitted if that was asked for.
        measured: by method.
    """

    facts: SceneFacts
    scene: Scene
    moving: Mask
    pictures: dict[str, FloatImage]
    measured: dict[str, Measured]


@dataclass(frozen=True, slots=True)
class Difference:
    """How much one method is better than another, scene by scene.

    Attributes:
        metric: key.
        first: method.
        second: method.
        mean: of first - second over the scenes.
        interval: 95 %, by the bootstrap over scenes.
        scenes: how many.
    """

    metric: str
    first: str
    second: str
    mean: float
    interval: tuple[float, float]
    scenes: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything that was measured.

    Attributes:
        protocol: how files were read.
        fit_scale: whether each picture's scale was fitted.
        perceptual: how the slow figures were found; None without them.
        methods: in the order given.
        scenes: that were scored, for every method.
        rows: by method, one a scene.
        excluded: scenes that were not.
    """

    protocol: Protocol
    fit_scale: bool
    perceptual: Perceptual | None
    methods: tuple[Method, ...]
    scenes: tuple[SceneFacts, ...]
    rows: dict[str, list[Row]]
    excluded: tuple[Excluded, ...]

    @property
    def vdp_view(self) -> str | None:
        """How HDR-VDP-2 saw the pictures, if it did."""
        if self.perceptual is None or not self.perceptual.hdr_vdp2:
            return None
        sizes = {facts.size for facts in self.scenes}
        return self.perceptual.view(sizes.pop() if len(sizes) == 1 else None)

    def mean(self, method: str, key: str) -> float | None:
        """Over the scenes that have such a value."""
        values = [value for row in self.rows[method] if (value := row[key]) is not None]
        return float(np.mean(values)) if values else None

    def worst(self, method: str, key: str) -> tuple[str, float] | None:
        """The scene with the worst value, and this."""
        sign = (
            -1.0
            if key in COSTS
            else next(
                1.0 if metric.higher_is_better else -1.0
                for metric in ALL_METRICS
                if metric.key == key
            )
        )
        pairs = [
            (facts.name, value)
            for facts, row in zip(self.scenes, self.rows[method], strict=True)
            if (value := row[key]) is not None
        ]
        return min(pairs, key=lambda pair: sign * pair[1]) if pairs else None

    def differences(self, key: str | None = None) -> list[Difference]:
        """Of every pair of methods, in every metric that both have on at least two scenes.

        Args:
            key: of one metric; None takes all of them.
        """
        found = []
        for metric in ALL_METRICS:
            if key not in (None, metric.key):
                continue
            for first, second in combinations((m.name for m in self.methods), 2):
                pairs = zip(self.rows[first], self.rows[second], strict=True)
                values = [
                    one - other
                    for a, b in pairs
                    if (one := a[metric.key]) is not None and (other := b[metric.key]) is not None
                ]
                if len(values) > 1:
                    interval = bootstrap_interval(values)
                    mean = float(np.mean(values))
                    found.append(Difference(metric.key, first, second, mean, interval, len(values)))
        return found

    def to_json(self) -> str:
        """Everything, as one JSON object."""
        keys = [*(metric.key for metric in ALL_METRICS), *COSTS]
        methods = {}
        for method in self.methods:
            worst = {key: self.worst(method.name, key) for key in keys}
            methods[method.name] = {
                "kind": method.kind,
                "mean": {key: self.mean(method.name, key) for key in keys},
                "worst": {
                    key: None if pair is None else {"scene": pair[0], "value": pair[1]}
                    for key, pair in worst.items()
                },
                "scenes": {
                    facts.name: row
                    for facts, row in zip(self.scenes, self.rows[method.name], strict=True)
                },
            }
        values = {
            "version": __version__,
            "protocol": {"name": self.protocol.name, "text": self.protocol.text},
            "fit_scale": self.fit_scale,
            "hdr_vdp2": self.vdp_view,
            "metrics": {
                m.key: {"unit": m.unit, "better": "higher" if m.higher_is_better else "lower"}
                | {"meaning": m.meaning}
                for m in ALL_METRICS
            },
            "scenes": [facts.values() for facts in self.scenes],
            "excluded": [
                {"scene": e.scene, "method": e.method, "reason": e.reason} for e in self.excluded
            ],
            "methods": methods,
            "differences": [
                {
                    "metric": d.metric,
                    "first": d.first,
                    "second": d.second,
                    "mean": d.mean,
                    "interval_95": list(d.interval),
                    "scenes": d.scenes,
                }
                for d in self.differences()
            ],
        }
        return json.dumps(values, indent=1, allow_nan=False, ensure_ascii=False) + "\n"

    def to_csv(self) -> str:
        """One line for each method and scene, below a line of headings; nothing for no value."""
        keys = [*(metric.key for metric in ALL_METRICS), "scale", *COSTS]
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["method", "scene", "moving_from", *keys])
        for method in self.methods:
            for facts, row in zip(self.scenes, self.rows[method.name], strict=True):
                values = ["" if row[key] is None else repr(row[key]) for key in keys]
                names = map(_no_formula, (method.name, facts.name))
                writer.writerow([*names, facts.moving_from, *values])
        return text.getvalue()


def _no_formula(name: str) -> str:
    """A name that a spreadsheet takes for text, as an apostrophe before it says."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name
