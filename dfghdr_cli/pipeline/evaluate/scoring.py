"""Scoring every method on one scene: here, or as a trade of workers."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dfghdr_cli.core.encoding import decode
from dfghdr_cli.core.metrics.fidelity import METRICS, Measured, measure_fidelity
from dfghdr_cli.core.metrics.mef_ssim import MEF_SSIM, SMALLEST, mef_ssim
from dfghdr_cli.core.metrics.moving import moving_pixels
from dfghdr_cli.core.metrics.perceptual import PERCEPTUAL_METRICS, Perceptual
from dfghdr_cli.core.registration.aligned import align_bracket
from dfghdr_cli.core.registration.warp import warp
from dfghdr_cli.core.tonemapping.operators import ToneSettings, tone_map
from dfghdr_cli.core.types import Bracket, Exposure, FloatImage, Mask, OnProgress
from dfghdr_cli.devices import choose_device
from dfghdr_cli.errors import InputError
from dfghdr_cli.io.scenes import (
    NamedBracket,
    Scene,
    check_scene,
    has_truth,
    read_scene,
    read_without_truth,
)
from dfghdr_cli.merging.config import MergeConfig
from dfghdr_cli.merging.prepare import gamma_coded, prepare
from dfghdr_cli.pipeline.evaluate.external import External, external_methods
from dfghdr_cli.pipeline.evaluate.methods import (
    PROTOCOLS,
    Method,
    MethodName,
    Protocol,
    build_methods,
)
from dfghdr_cli.pipeline.evaluate.results import COSTS, Excluded, Outcome, Row, SceneFacts
from dfghdr_cli.resources import peak_memory

log = logging.getLogger(__name__)

BEYOND_WHITE = 1.01
"""A truth that often reaches further has another scale than the darkest frame's white."""


@dataclass(frozen=True)
class Wanted:
    """What is to be compared, as plain values; see `build_methods` and `external_methods`.

    Attributes:
        models: names or folders.
        methods: methods without a model.
        predictions: folders of pictures.
        externals: networks of others.
        device: where to compute.
        config: how models and the classic merge go about it.
    """

    models: tuple[str, ...] = ()
    methods: tuple[MethodName, ...] = ()
    predictions: tuple[Path, ...] = ()
    externals: tuple[External, ...] = ()
    device: str = "auto"
    config: MergeConfig = MergeConfig()  # noqa: RUF009

    def built(self) -> list[Method]:
        """Load all of it; raises what the two functions raise."""
        built = build_methods(self.models, self.methods, self.predictions, self.device, self.config)
        return built + external_methods(
            self.externals, [method.name for method in built], self.device
        )

    def absolute(self) -> Wanted:
        """The same for a process with another working folder."""
        return replace(
            self,
            models=tuple(
                str(Path(name).absolute()) if Path(name).is_dir() else name for name in self.models
            ),
            predictions=tuple(folder.absolute() for folder in self.predictions),
            externals=tuple(External(e.name, e.path.absolute()) for e in self.externals),
        )


@dataclass(frozen=True)
class Case:
    """A scene to score.

    Attributes:
        name: as it is called in tables.
        path: its folder.
    """

    name: str
    path: Path


@dataclass(frozen=True)
class Scored:
    """What came of a case.

    Attributes:
        facts: on the scene.
        measured: by method.
        costs: by method, see `COSTS`.
        outcome: with all pictures, where they are wanted.
    """

    facts: SceneFacts
    measured: dict[str, Measured]
    costs: dict[str, Row]
    outcome: Outcome | None


@dataclass(frozen=True)
class Scoring:
    """How cases are scored; a trade of workers.

    Attributes:
        wanted: what is compared.
        protocol: how scenes are read.
        fit_scale: multiply each picture by one fitted factor first.
        perceptual: which of the slow figures to find, too.
        pictures: whether they are wanted back.
    """

    wanted: Wanted
    protocol: Protocol = PROTOCOLS["default"]
    fit_scale: bool = False
    perceptual: Perceptual | None = None
    pictures: bool = False

    @property
    def wanted_device(self) -> str:
        """Where to compute, as `--device` takes it."""
        return self.wanted.device if self.wanted.models or self.wanted.externals else "cpu"

    def tool(self, device: str | None = None) -> ScoringTool:
        """Load the methods."""
        there = self
        if device is not None:
            there = replace(self, wanted=replace(self.wanted, device=device))
        return ScoringTool(self, there.wanted.built(), str(choose_device(there.wanted_device)))

    def again(self, work: Case) -> Case:
        """Scoring leaves nothing behind."""
        return work


@dataclass(frozen=True)
class ScoringTool:
    """Methods, loaded, that are compared scene by scene.

    Attributes:
        scoring: how.
        methods: what is compared.
        device: where models compute.
    """

    scoring: Scoring
    methods: Sequence[Method]
    device: str

    @property
    def name(self) -> str:
        """Of all methods."""
        return ", ".join(method.name for method in self.methods)

    @property
    def digest(self) -> str | None:
        """Of the models' weights."""
        return ", ".join(filter(None, (method.digest for method in self.methods)))

    def do(
        self, work: Case, on_progress: OnProgress | None = None
    ) -> tuple[Scored | Excluded, Sequence[str]]:
        """Score one case; one that cannot be read, or for which a method has no picture, is out."""
        method: Method | None = None
        # Predictions first: what they lack is known before anything is computed in vain.
        order = sorted(self.methods, key=lambda method: method.computes)
        pictures: dict[str, FloatImage] = {}
        costs: dict[str, Row] = {}
        try:
            if has_truth(work.path):
                scene = replace(read_scene(work.path), name=work.name)
                scene = shown = self.scoring.protocol.applied(scene)
            else:
                shown = replace(read_without_truth(work.path), name=work.name)
                scene = _calibrated(shown)
            for number, method in enumerate(order):
                if on_progress:
                    on_progress(number, len(order) + 1, f"{work.name}: {method.name}")
                pictures[method.name], costs[method.name] = _run(method, scene)
        except InputError as error:
            excluded = Excluded(work.name, method.name if method else None, str(error))
            return excluded, [f"{work.name} is left out: {error}"]
        if on_progress:
            on_progress(len(order), len(order) + 1, f"{work.name}: figures")
        if not isinstance(scene, Scene):
            return Scored(*_score_without_truth(work, shown, scene, pictures), costs, None), ()
        computed = any(method.computes for method in self.methods)
        wrong = check_scene(work.path, scene, frames_count=computed)
        outcome = _score(
            *(work, scene, wrong, pictures, self.scoring.fit_scale, self.scoring.perceptual)
        )
        kept = outcome if self.scoring.pictures else None
        return Scored(outcome.facts, outcome.measured, costs, kept), ()


def _run(method: Method, scene: NamedBracket) -> tuple[FloatImage, Row]:
    if not method.computes:
        return method.run(scene), dict.fromkeys(COSTS)
    with peak_memory() as peak:
        started = time.perf_counter()
        picture = method.run(scene)
        seconds = time.perf_counter() - started
    return picture, {"seconds": round(seconds, 3), "peak_memory_mib": peak()}


def _score(
    case: Case,
    scene: Scene,
    wrong: str | None,
    pictures: dict[str, FloatImage],
    fit_scale: bool,
    perceptual: Perceptual | None,
) -> Outcome:
    truth = scene.truth
    if wrong is not None:
        log.warning("%s, since its figures compare unlike things.", wrong)
    elif (truth > BEYOND_WHITE).mean() > 0.001:
        log.warning(
            "%s: its truth reaches %.3g; 1.0 should be the white of the darkest frame, and what "
            "is brighter is clipped.",
            case.name,
            truth.max(),
        )
    moving = _moving(scene) if scene.motion is None else scene.motion
    facts = SceneFacts(
        case.name,
        case.path,
        (truth.shape[1], truth.shape[0]),
        tuple(frame.exposure.stops for frame in scene.bracket.frames),
        "estimated" if scene.motion is None else "motion.png",
        float(moving.mean()),
        float((truth >= 1.0).any(axis=2).mean()),
        wrong,
    )
    measured = {
        name: measure_fidelity(picture, truth, moving, scaled=fit_scale)
        for name, picture in pictures.items()
    }
    scaled = {name: pictures[name] * np.float32(m.scale) for name, m in measured.items()}
    slow: Row = {metric.key: None for metric in (*PERCEPTUAL_METRICS, MEF_SSIM)}
    for name, found in measured.items():
        found.values.update(slow | (perceptual.measure(scaled[name], truth) if perceptual else {}))
    return Outcome(facts, scene, moving, scaled, measured)


def _calibrated(shown: NamedBracket) -> NamedBracket:
    """Photographs of any camera as a scene with truth has them: gamma codes, the darkest at 0."""
    prepared = prepare(shown.bracket)
    stops = prepared.bracket.stops
    frames = tuple(
        replace(
            frame,
            pixels=np.rint(65535 * coded.code()).astype(np.uint16),
            exposure=Exposure(stop - min(stops)),
        )
        for frame, coded, stop in zip(
            prepared.bracket.frames, prepared.coded.frames, stops, strict=True
        )
    )
    return replace(shown, bracket=Bracket(frames, prepared.bracket.reference))


def _score_without_truth(
    case: Case, shown: NamedBracket, scene: NamedBracket, pictures: dict[str, FloatImage]
) -> tuple[SceneFacts, dict[str, Measured]]:
    """How much of what the photographs show is in the pictures that screens would show."""
    height, width = scene.bracket.size
    stops = tuple(frame.exposure.stops for frame in scene.bracket.frames)
    facts = SceneFacts(case.name, case.path, (width, height), stops, "nothing", 0.0, 0.0)
    codes = [frame.encoded() for frame in shown.bracket.frames]
    measured = {}
    for name, picture in pictures.items():
        values: Row = {metric.key: None for metric in (*METRICS, *PERCEPTUAL_METRICS, MEF_SSIM)}
        if min(height, width) >= SMALLEST:
            values[MEF_SSIM.key] = mef_ssim(codes, tone_map(picture, ToneSettings()).pixels)
        measured[name] = Measured(values, (0, 0), 1.0)
    return facts, measured


def _moving(scene: Scene) -> Mask:
    bracket = scene.bracket
    aligned = align_bracket(gamma_coded(bracket))
    pairs = [
        warp(frame.code(), alignment.transform, aligned.size)
        for frame, alignment in zip(aligned.coded.frames, aligned.alignments, strict=True)
    ]
    stops = [frame.exposure.stops for frame in bracket.frames]
    return moving_pixels(
        [decode(code) for code, _ in pairs], [v for _, v in pairs], stops, scene.truth
    )
