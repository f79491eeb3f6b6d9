"""Scoring methods on scenes with truth."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from dfghdr_cli.atomic import (
    atomic_write_all,
    ensure_different,
    ensure_no_input,
    ensure_writable,
)
from dfghdr_cli.core.metrics.perceptual import Perceptual
from dfghdr_cli.core.types import OnProgress
from dfghdr_cli.errors import InputError
from dfghdr_cli.io.scenes import find_scenes, scene_files
from dfghdr_cli.modelfolders import find_model, model_files
from dfghdr_cli.pipeline.evaluate.methods import PREDICTION_SUFFIXES, PROTOCOLS, Method, Protocol
from dfghdr_cli.pipeline.evaluate.results import Evaluation, Excluded, Row, SceneFacts
from dfghdr_cli.pipeline.evaluate.results import Outcome as SceneOutcome
from dfghdr_cli.pipeline.evaluate.scoring import Case, Scored, Scoring, ScoringTool, Wanted
from dfghdr_cli.pipeline.workers.processes import Processes
from dfghdr_cli.pipeline.workers.tasks import Outcome, Ready, Task, Workers
from dfghdr_cli.resources import cores

log = logging.getLogger(__name__)


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


def evaluate(
    folders: Sequence[Path],
    methods: Sequence[Method],
    *,
    protocol: Protocol = PROTOCOLS["default"],
    fit_scale: bool = False,
    perceptual: Perceptual | None = None,
    on_progress: OnProgress | None = None,
    on_scene: Callable[[SceneOutcome], None] | None = None,
    workers: Workers | None = None,
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
        on_scene: called with each scene once it is scored, in their order.
        workers: what scores the scenes, at the same time, of a `Scoring` like this; None scores
            them here, one after the other.

    Returns:
        The figures, for at least one scene.

    Raises:
        InputError: there is no scene, or none could be scored.
        MissingPackageError: a figure is wanted whose package is not there.
    """
    if perceptual is not None:
        perceptual.check()
    cases = _cases(folders)
    scoring = Scoring(Wanted(), protocol, fit_scale, perceptual, on_scene is not None)
    found = (
        _scored_here(cases, ScoringTool(scoring, methods, "cpu"), on_progress)
        if workers is None
        else _scored_by(cases, workers, on_progress)
    )
    rows: dict[str, list[Row]] = {method.name: [] for method in methods}
    scored: list[SceneFacts] = []
    excluded: list[Excluded] = []
    for one in found:
        if isinstance(one, Excluded):
            excluded.append(one)
            continue
        for name, measured in one.measured.items():
            rows[name].append({**measured.values, "scale": measured.scale, **one.costs[name]})
        scored.append(one.facts)
        if on_scene and one.outcome is not None:
            on_scene(one.outcome)
    if not scored:
        first = excluded[0].reason
        raise InputError(f"none of {len(cases)} scenes could be scored; the first: {first}")
    return Evaluation(
        protocol, fit_scale, perceptual, tuple(methods), tuple(scored), rows, tuple(excluded)
    )


def _scored_here(
    cases: Sequence[Case], tool: ScoringTool, on_progress: OnProgress | None
) -> Iterator[Scored | Excluded]:
    """Scenes one after the other."""
    for number, case in enumerate(cases):

        def tell(done: int, total: int, what: str, number: int = number) -> None:
            if on_progress:
                on_progress(number * total + done, len(cases) * total, what)

        found, warnings = tool.do(case, tell)
        for warning in warnings:
            log.warning("%s", warning)
        yield found


def _scored_by(
    cases: Sequence[Case], workers: Workers, on_progress: OnProgress | None
) -> Iterator[Scored | Excluded]:
    """Scenes as workers score them, in their own order."""
    done: dict[int, Scored | Excluded] = {}
    count = following = 0
    for event in workers.run([Task(number, case) for number, case in enumerate(cases)]):
        if isinstance(event, Ready):
            log.info("%s on %s", event.name, event.device)
        if not isinstance(event, Outcome):
            continue
        count += 1
        for warning in event.warnings:
            log.warning("%s", warning)
        result, name = event.result, cases[event.key].name
        if event.error is not None:
            log.warning("%s is left out: %s", name, event.error)
            result = Excluded(name, None, event.error)
        done[event.key] = result
        if on_progress:
            on_progress(count, len(cases), name)
        while following in done:
            yield done.pop(following)
            following += 1


def _cases(folders: Sequence[Path]) -> list[Case]:
    paths = list(dict.fromkeys(path.resolve() for root in folders for path in find_scenes(root)))
    names = Counter(path.name for path in paths)
    cases = []
    for path in paths:
        name = path.name
        if names[name] > 1:
            root = next(root for root in folders if path.is_relative_to(root.resolve()))
            name = path.relative_to(root.resolve()).as_posix()
        cases.append(Case(name, path))
    return cases


def scoring_workers(
    scoring: Scoring, folders: Sequence[Path], *, jobs: int = 1, dask: str | None = None
) -> AbstractContextManager[Workers | None]:
    """What scores scenes at the same time.

    Args:
        scoring: how.
        folders: of the scenes.
        jobs: how many processes of this computer; one scores here, without a process of its own.
        dask: a Dask cluster, see `Cluster`.
    """
    level = logging.getLogger("dfghdr_cli").getEffectiveLevel()
    if dask is not None:
        from dfghdr_cli.pipeline.workers.cluster import Cluster

        places = [path for path in (*folders, *scoring.wanted.predictions) if path.is_dir()]
        there = replace(scoring, wanted=scoring.wanted.absolute())
        return Cluster(dask, there, level=level, places=places)
    if jobs == 1:
        return nullcontext()
    return Processes(jobs, scoring, threads=max(1, cores() // jobs), level=level)
