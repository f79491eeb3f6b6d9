"""Methods compared on scenes with truth."""

from __future__ import annotations

import csv
import io
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from dfghdr_cli import __version__
from dfghdr_cli.atomic import (
    atomic_write_all,
    ensure_different,
    ensure_no_input,
    ensure_writable,
)
from dfghdr_cli.core.baselines import OpencvMerge, opencv_merge
from dfghdr_cli.core.encoding import decode
from dfghdr_cli.core.metrics import METRICS, Measured, bootstrap_interval, measure
from dfghdr_cli.core.motion import moving_pixels
from dfghdr_cli.core.perceptual import PERCEPTUAL_METRICS, Perceptual
from dfghdr_cli.core.registration.aligned import align_bracket
from dfghdr_cli.core.registration.warp import warp
from dfghdr_cli.core.types import Bracket, FloatImage, Frame, Mask, OnProgress
from dfghdr_cli.errors import InputError
from dfghdr_cli.io.radiance import read_radiance
from dfghdr_cli.io.scenes import Scene, check_scene, find_scenes, read_scene, scene_files
from dfghdr_cli.merging.config import MergeConfig
from dfghdr_cli.merging.merge import merge_bracket
from dfghdr_cli.merging.prepare import gamma_coded
from dfghdr_cli.modelstore import find_model, model_files
from dfghdr_cli.pipeline.merge.request import Merger, load_merger
from dfghdr_cli.resources import peak_memory

log = logging.getLogger(__name__)

MethodName = Literal["classic", "opencv-debevec", "opencv-robertson", "reference"]
Row = dict[str, float | None]
"""What one method achieved on one scene: `ALL_METRICS`, `COSTS` and the fitted `scale`."""

ALL_METRICS = METRICS + PERCEPTUAL_METRICS
"""Every figure, in the order of tables."""
COSTS = ("seconds", "peak_memory_mib")
"""Of making the picture out of decoded frames, without reading and scoring; None for files."""
BEYOND_WHITE = 1.01
"""A truth that often reaches further has another scale than the darkest frame's white."""
PREDICTION_SUFFIXES = (".exr", ".hdr")


@dataclass(frozen=True, slots=True)
class Protocol:
    """How the files of a scene are read.

    Attributes:
        name: as `--protocol` takes it.
        eight_bits: whether the frames are cut to 8 bits.
        size: (width, height) to which frames and truth are resized, bilinearly; None leaves them.
        text: one line on it.
    """

    name: str
    eight_bits: bool
    size: tuple[int, int] | None
    text: str

    def applied(self, scene: Scene) -> Scene:
        """The scene as this protocol reads it."""
        if not self.eight_bits and self.size is None:
            return scene
        frames = tuple(self._frame(frame) for frame in scene.bracket.frames)
        bracket = Bracket(frames, scene.bracket.reference)
        truth, motion = scene.truth, scene.motion
        if self.size is not None:
            truth = np.asarray(cv2.resize(truth, self.size, interpolation=cv2.INTER_LINEAR))
            if motion is not None:
                mask = motion.astype(np.uint8)
                motion = cv2.resize(mask, self.size, interpolation=cv2.INTER_NEAREST) > 0
        return replace(scene, bracket=bracket, truth=truth, motion=motion)

    def _frame(self, frame: Frame) -> Frame:
        pixels = frame.pixels
        if self.eight_bits:
            pixels = np.rint(frame.encoded() * 255).astype(np.uint8)
        if self.size is not None:
            pixels = cv2.resize(pixels, self.size, interpolation=cv2.INTER_LINEAR)
        return replace(frame, pixels=pixels)


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("default", False, None, "all bits, full size, no border cut off"),
        Protocol("paper", True, (1440, 960), "frames cut to 8 bits, all resized to 1440x960"),
    )
}
"""What `--protocol` takes. "paper" is what the authors' published test script does; both read
gamma 2.2, subtract the smallest exposure and give the truth and 1.0 the white of the darkest
frame."""


@dataclass(frozen=True, slots=True)
class Method:
    """Something that makes a picture of a scene.

    Attributes:
        name: its name in tables.
        kind: "model", "predictions" or the name of a method without a model.
        run: scene to (H, W, 3) linear, 1.0 = the white of the darkest frame; raises InputError
            where it has no picture for a scene.
    """

    name: str
    kind: str
    run: Callable[[Scene], FloatImage]

    @property
    def computes(self) -> bool:
        """Whether the picture is computed here, so that its cost can be told."""
        return self.kind != "predictions"


def build_methods(
    models: Sequence[str] = (),
    methods: Sequence[MethodName] = (),
    predictions: Sequence[Path] = (),
    device: str = "auto",
    config: MergeConfig = MergeConfig(),  # noqa: B008
) -> list[Method]:
    """Load what is to be compared, in the order given: models, methods, folders.

    Args:
        models: names or folders.
        methods: methods without a model.
        predictions: folders of pictures, one a scene.
        device: where the models compute.
        config: how the models and the classic merge go about it.

    Returns:
        Methods with distinct names: the model's or folder's own, or what was given where two
        would have the same.

    Raises:
        ModelError: a model cannot be loaded.
        DeviceError: the device is not there.
        InputError: a folder of predictions does not exist, or one thing is named twice.
    """
    found: list[tuple[str, Method]] = []
    for model in models:
        merger = load_merger("dfgnet", model, device)
        found.append((model, Method(merger.name, "model", _merging(merger, config))))
    for name in methods:
        found.append((name, Method(name, name, _without_model(name, device, config))))
    for folder in predictions:
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder; give one with a picture for each scene.")
        name = folder.resolve().name
        found.append((str(folder), Method(name, "predictions", _predicted(folder))))
    twice = [given for given, count in Counter(given for given, _ in found).items() if count > 1]
    if twice:
        raise InputError(f"{twice[0]} is given twice; name each thing once.")
    names = Counter(method.name for _, method in found)
    return [
        method if names[method.name] == 1 else replace(method, name=given)
        for given, method in found
    ]


def _merging(merger: Merger, config: MergeConfig) -> Callable[[Scene], FloatImage]:
    network = merger.model.network if merger.model else None

    def run(scene: Scene) -> FloatImage:
        result = merge_bracket(network, gamma_coded(scene.bracket), config, weights=False).result
        for warning in result.warnings:
            log.warning("%s: %s", scene.name, warning)
        return result.radiance.pixels / np.float32(result.radiance.peak)

    return run


def _without_model(
    name: MethodName, device: str, config: MergeConfig
) -> Callable[[Scene], FloatImage]:
    if name == "classic":
        return _merging(load_merger("classic", None, device), config)
    if name == "reference":
        return reference_alone
    return lambda scene: _opencv(scene, name)


def reference_alone(scene: Scene) -> FloatImage:
    """The reference frame linearised: what there is to see without merging anything."""
    frame = scene.bracket.frames[scene.bracket.reference]
    return decode(frame.encoded()) / np.float32(scene.bracket.peak)


def _opencv(scene: Scene, kind: OpencvMerge) -> FloatImage:
    frames = scene.bracket.frames
    stops = [frame.exposure.stops for frame in frames]
    codes = [frame.encoded() for frame in frames]
    return opencv_merge(codes, stops, scene.bracket.reference, kind)


def _predicted(folder: Path) -> Callable[[Scene], FloatImage]:
    def run(scene: Scene) -> FloatImage:
        paths = [folder / f"{scene.name}{suffix}" for suffix in PREDICTION_SUFFIXES]
        path = next((path for path in paths if path.exists()), None)
        if path is None:
            raise InputError(f"{paths[0]} does not exist, nor does it end in .hdr; put it there.")
        picture, header = read_radiance(path)
        if picture.shape != scene.truth.shape:
            height, width = scene.truth.shape[:2]
            raise InputError(
                f"{path} has {picture.shape[1]}x{picture.shape[0]} pixels but the truth has "
                f"{width}x{height}; make them of one size."
            )
        peak = header.get("dfghdr:peak")
        return picture if peak is None else picture / np.float32(peak)

    return run


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
            `dfghdr_cli.core.metrics.fitted_scale`.
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
        raise InputError(
            f"none of {len(cases)} scenes could be scored; the first: {excluded[0].reason}"
        )
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
        name: measure(picture, truth, moving, scaled=fit_scale)
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
