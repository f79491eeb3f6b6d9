"""What is compared: how scenes are read, and what makes pictures of them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from dfghdr_cli.choices import MethodName
from dfghdr_cli.core.encoding import decode
from dfghdr_cli.core.metrics.opencv_baselines import OpencvMerge, opencv_merge
from dfghdr_cli.core.types import Bracket, FloatImage, Frame
from dfghdr_cli.errors import InputError
from dfghdr_cli.io.radiance import read_radiance
from dfghdr_cli.io.scenes import NamedBracket, Scene
from dfghdr_cli.merging.config import MergeConfig
from dfghdr_cli.merging.merge import merge_bracket
from dfghdr_cli.merging.prepare import gamma_coded
from dfghdr_cli.pipeline.merge.request import Merger, load_merger

log = logging.getLogger(__name__)

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
        run: frames of gamma codes to (H, W, 3) linear, 1.0 = the white of the darkest frame; raises
            InputError where it has no picture for a scene.
        digest: of a model's weights.
    """

    name: str
    kind: str
    run: Callable[[NamedBracket], FloatImage]
    digest: str | None = None

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
        digest = merger.model.digest if merger.model else None
        found.append((model, Method(merger.name, "model", _merging(merger, config), digest)))
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


def _merging(merger: Merger, config: MergeConfig) -> Callable[[NamedBracket], FloatImage]:
    network = merger.model.network if merger.model else None

    def run(scene: NamedBracket) -> FloatImage:
        result = merge_bracket(network, gamma_coded(scene.bracket), config, weights=False).result
        for warning in result.warnings:
            log.warning("%s: %s", scene.name, warning)
        return result.radiance.pixels / np.float32(result.radiance.peak)

    return run


def _without_model(
    name: MethodName, device: str, config: MergeConfig
) -> Callable[[NamedBracket], FloatImage]:
    if name == "classic":
        return _merging(load_merger("classic", None, device), config)
    if name == "reference":
        return reference_alone
    return lambda scene: _opencv(scene, name)


def reference_alone(scene: NamedBracket) -> FloatImage:
    """The reference frame linearised: what there is to see without merging anything."""
    frame = scene.bracket.frames[scene.bracket.reference]
    return decode(frame.encoded()) / np.float32(scene.bracket.peak)


def _opencv(scene: NamedBracket, kind: OpencvMerge) -> FloatImage:
    frames = scene.bracket.frames
    stops = [frame.exposure.stops for frame in frames]
    codes = [frame.encoded() for frame in frames]
    return opencv_merge(codes, stops, scene.bracket.reference, kind)


def _predicted(folder: Path) -> Callable[[NamedBracket], FloatImage]:
    def run(scene: NamedBracket) -> FloatImage:
        paths = [folder / f"{scene.name}{suffix}" for suffix in PREDICTION_SUFFIXES]
        path = next((path for path in paths if path.exists()), None)
        if path is None:
            raise InputError(f"{paths[0]} does not exist, nor does it end in .hdr; put it there.")
        picture, header = read_radiance(path)
        if picture.shape[:2] != scene.bracket.size:
            height, width = scene.bracket.size
            raise InputError(
                f"{path} has {picture.shape[1]}x{picture.shape[0]} pixels but the scene has "
                f"{width}x{height}; make them of one size."
            )
        peak = header.get("dfghdr:peak")
        return picture if peak is None else picture / np.float32(peak)

    return run
