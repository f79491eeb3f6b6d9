"""Scoring methods on scenes with truth."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dfghdr_cli.atomic import (
    atomic_write_all,
    ensure_different,
    ensure_no_input,
    ensure_writable,
)
from dfghdr_cli.core.encoding import decode
from dfghdr_cli.core.metrics.fidelity import measure_fidelity
from dfghdr_cli.core.metrics.moving import moving_pixels
from dfghdr_cli.core.metrics.perceptual import PERCEPTUAL_METRICS, Perceptual
from dfghdr_cli.core.registration.aligned import align_bracket
from dfghdr_cli.core.registration.warp import warp
from dfghdr_cli.core.types import FloatImage, Mask, OnProgress
from dfghdr_cli.errors import InputError
from dfghdr_cli.io.scenes import Scene, check_scene, find_scenes, read_scene, scene_files
from dfghdr_cli.merging.prepare import gamma_coded
from dfghdr_cli.modelstore import find_model, model_files
from dfghdr_cli.pipeline.evaluate.methods import PREDICTION_SUFFIXES, PROTOCOLS, Method, Protocol
from dfghdr_cli.pipeline.evaluate.results import (
    COSTS,
    Evaluation,
    Excluded,
    Outcome,
    Row,
    SceneFacts,
)
from dfghdr_cli.resources import peak_memory

log = logging.getLogger(__name__)

BEYOND_WHITE = 1.01
"""A truth that often reaches further has another scale than the darkest frame's white."""


def check_outputs(
    outputs: Sequence[Path],
    scenes: Sequence[Path],
    models: Sequence[str] = (),
    predictions: Sequence[Path] = (),
    overwrite: bool = False,
) -> None:
    """Check, before any work, that files can be written and are none that are read.

    Args:
        outputs: the files to be written.
        scenes: see `evaluate`.
        models: see `build_methods`, as is the next one.
        predictions: folders of pictures.
        overwrite: whether existing files may be replaced.

    Raises:
        OutputExistsError: a file exists and `overwrite` is false.
        OutputError: a file cannot be written, or is one of a scene, a model or the predictions.
        InputError: a folder holds no scene.
        ModelError: there is no such model.
    """
    ensure_different(outputs)
    for path in outputs:
        ensure_writable(path, overwrite)
    if not any(path.exists() for path in outputs):
        return
    read = [file for root in scenes for scene in find_scenes(root) for file in scene_files(scene)]
    read += [file for name in models for file in model_files(find_model(name))]
    for folder in predictions:
        if folder.is_dir():
            read += [path for path in folder.iterdir() if path.suffix in PREDICTION_SUFFIXES]
    ensure_no_input(outputs, read)


def write_texts(texts: Sequence[tuple[Path, str]], overwrite: bool = False) -> None:
    """Write files of text, all of them or none.

    Raises:
        OutputExistsError: a file exists and `overwrite` is false.
        OutputError: a file cannot be written.
    """
    with atomic_write_all([path for path, _ in texts], overwrite) as files:
        for file, (_, text) in zip(files, texts, strict=True):
            file.write(text.encode(errors="backslashreplace"))


@dataclass(frozen=True, slots=True)
class _Case:
    name: str
    path: Path


def evaluate(
    folders: Sequence[Path],
    methods: Sequence[Method],
    *,
    protocol: Protocol = PROTOCOLS["default"],
    fit_scale: bool = False,
    perceptual: Perceptual | None = None,
    on_progress: OnProgress | None = None,
    on_scene: Callable[[Outcome], None] | None = None,
) -> Evaluation:
    """Score every method on every scene.

    A scene that cannot be read, or for which one method has no picture, counts for none.

    Args:
        folders: scenes, or folders of scenes at any depth.
        methods: see `build_methods`.
        protocol: one of `PROTOCOLS`.
        fit_scale: multiply each picture by one fitted factor first; see
            `dfghdr_cli.core.metrics.fidelity.fitted_scale`.
        perceptual: which of the slow figures to find, too.
        on_progress: called as (done, total, what).
        on_scene: called with each scene once it is scored.

    Returns:
        The figures, for at least one scene.

    Raises:
        InputError: there is no scene, or none could be scored.
        MissingPackageError: a figure is wanted whose package is not there.
    """
    if perceptual is not None:
        perceptual.check()
    cases = _cases(folders)
    rows: dict[str, list[Row]] = {method.name: [] for method in methods}
    scored: list[SceneFacts] = []
    excluded: list[Excluded] = []
    # Predictions first: what they lack is known before anything is computed in vain.
    order = sorted(methods, key=lambda method: method.computes)
    steps = 0
    for case in cases:
        method: Method | None = None
        try:
            scene = protocol.applied(replace(read_scene(case.path), name=case.name))
            pictures: dict[str, FloatImage] = {}
            costs: dict[str, Row] = {}
            for number, method in enumerate(order):
                if on_progress:
                    done = steps + number
                    on_progress(done, len(cases) * len(methods), f"{case.name}: {method.name}")
                pictures[method.name], costs[method.name] = _run(method, scene)
        except InputError as error:
            name = method.name if method else None
            excluded.append(Excluded(case.name, name, str(error)))
            log.warning("%s is left out: %s", case.name, error)
            continue
        finally:
            steps += len(methods)
        outcome = _score(case, scene, pictures, fit_scale, perceptual)
        for name, measured in outcome.measured.items():
            rows[name].append({**measured.values, "scale": measured.scale, **costs[name]})
        scored.append(outcome.facts)
        if on_scene:
            on_scene(outcome)
    if not scored:
        first = excluded[0].reason
        raise InputError(f"none of {len(cases)} scenes could be scored; the first: {first}")
    return Evaluation(
        protocol, fit_scale, perceptual, tuple(methods), tuple(scored), rows, tuple(excluded)
    )


def _cases(folders: Sequence[Path]) -> list[_Case]:
    paths = list(dict.fromkeys(path.resolve() for root in folders for path in find_scenes(root)))
    names = Counter(path.name for path in paths)
    cases = []
    for path in paths:
        name = path.name
        if names[name] > 1:
            root = next(root for root in folders if path.is_relative_to(root.resolve()))
            name = path.relative_to(root.resolve()).as_posix()
        cases.append(_Case(name, path))
    return cases


def _run(method: Method, scene: Scene) -> tuple[FloatImage, Row]:
    if not method.computes:
        return method.run(scene), dict.fromkeys(COSTS)
    with peak_memory() as peak:
        started = time.perf_counter()
        picture = method.run(scene)
        seconds = time.perf_counter() - started
    return picture, {"seconds": round(seconds, 3), "peak_memory_mib": peak()}


def _score(
    case: _Case,
    scene: Scene,
    pictures: dict[str, FloatImage],
    fit_scale: bool,
    perceptual: Perceptual | None,
) -> Outcome:
    truth = scene.truth
    if (wrong := check_scene(case.path, scene)) is not None:
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
    slow: Row = {metric.key: None for metric in PERCEPTUAL_METRICS}
    for name, found in measured.items():
        found.values.update(perceptual.measure(scaled[name], truth) if perceptual else slow)
    return Outcome(facts, scene, moving, scaled, measured)


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
