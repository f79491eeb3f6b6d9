"""dfghdr as a library: what `dfghdr_cli` itself offers, lazily; everything else is private.

from dfghdr_cli import merge

merged = merge(["dark.jpg", "middle.jpg", "bright.jpg"])
merged.radiance  # (H, W, 3) float32, linear, 1.0 = the white of the reference
merged.save("out.exr")
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.atomic import atomic_write, ensure_writable
from dfghdr_cli.choices import Align, MethodName, RadianceSpace, Resolution, ResponseKind, Way
from dfghdr_cli.core.calibration.exposure import choose_reference, usable_share
from dfghdr_cli.core.metrics.hdrvdp2 import hdrvdp2
from dfghdr_cli.core.tonemapping.operators import DEFAULT_OPERATOR, ToneSettings
from dfghdr_cli.core.tonemapping.operators import tone_map as tone_mapped
from dfghdr_cli.core.types import Bracket, Exposure, FloatImage, Frame, Mask, OnProgress
from dfghdr_cli.errors import InputError
from dfghdr_cli.io.bracket import read_bracket
from dfghdr_cli.io.metadata import read_metadata
from dfghdr_cli.merging.config import MergeConfig
from dfghdr_cli.modelstore import DEFAULT_MODEL, Model
from dfghdr_cli.modelstore import load_model as load_named
from dfghdr_cli.pipeline.evaluate.methods import build_methods
from dfghdr_cli.pipeline.evaluate.results import Evaluation
from dfghdr_cli.pipeline.evaluate.run import evaluate as evaluate_methods
from dfghdr_cli.pipeline.merge.outputs import Done, Results
from dfghdr_cli.pipeline.merge.request import MergeRequest, load_merger
from dfghdr_cli.pipeline.merge.run import merge_photographs
from dfghdr_cli.pipeline.results import check_name
from dfghdr_cli.resources import Trace

__all__ = ["Merged", "Merger", "evaluate", "hdrvdp2", "load_model", "merge", "tone_map"]

Photographs = Sequence[str | PathLike[str]] | Sequence[NDArray[Any]] | str | PathLike[str]
"""Files of a bracket, a folder of them, or arrays (H, W, 3) RGB: uint8 and uint16 are codes of a
camera, float32 is linear light in [0, 1] where 1 is the frame's white."""


@dataclass(frozen=True, slots=True)
class Merged:
    """A merged picture.

    Attributes:
        radiance: (H, W, 3) float32, linear, >= 0; 1.0 is the white of the reference frame.
        peak: the largest radiance that the bracket could record.
        clipped: (H, W) bool, white in every frame: the scene was brighter than recorded.
        weights: (N, H, W) float32, each frame's share in every pixel, dark to bright; None where
            nobody asked for them, or where the network painted the picture.
        report: what was found out and done, as `dfghdr merge --json` prints it.
        warnings: sentences on what may be wrong.
    """

    radiance: FloatImage
    peak: float
    clipped: Mask
    weights: FloatImage | None
    report: dict[str, Any]
    warnings: tuple[str, ...]
    _done: Done
    _request: MergeRequest

    def save(self, path: str | PathLike[str], *, overwrite: bool = False) -> Path:
        """Write the picture: .exr, .hdr or .dng, or tone-mapped as .jpg, .png, .tif, .avif, .jxl.

        Args:
            path: the file, whose name tells the format.
            overwrite: whether an existing file may be replaced.

        Raises:
            OutputExistsError: the file is there already.
            OutputError: its name tells no format, or it cannot be written.
        """
        path = Path(path)
        check_name(path, None)
        ensure_writable(path, overwrite)
        metadata = read_metadata(self._done.facts.frames[self._done.reference].path)
        content = Results(replace(self._request, outputs=[path]), self._done, metadata)
        with atomic_write(path, overwrite=overwrite) as file:
            file.write(content.encoded(path))
        return path


class Merger:
    """A model that is loaded once and merges any number of brackets."""

    def __init__(
        self, model: str | None = None, *, method: Way = "dfgnet", device: str = "auto"
    ) -> None:
        """Load it.

        Args:
            model: name or folder; None takes the default.
            method: "classic" merges without a network.
            device: "auto", "cpu", "cuda", "cuda:N" or "mps".

        Raises:
            ModelError: the model cannot be loaded.
            DeviceError: the device is not there.
        """
        self._merger = load_merger(method, model, device)

    @property
    def name(self) -> str:
        """The model's name, or "classic"."""
        return self._merger.name

    def merge(
        self,
        photographs: Photographs,
        *,
        stops: Sequence[float] | None = None,
        times: Sequence[float] | None = None,
        reference: int | Literal["auto"] = "auto",
        response: ResponseKind | str | PathLike[str] = "auto",
        align: Align = "auto",
        resolution: Resolution = "auto",
        output_space: RadianceSpace = "rec709",
        weights: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Merged:
        """Merge a bracket, to the same pixels as `dfghdr merge` does.

        Args:
            photographs: 2 to 9 files in any order, a folder, or arrays; arrays need exposures.
            stops: exposures [stops], + is brighter, in the same order; None takes what files say.
            times: exposure times [s], likewise.
            reference: "auto", or a number from 1 for the darkest.
            response: "auto", "srgb", "gamma", "linear", or a file with a camera's response.
            align: how to undo the camera's motion.
            resolution: "full" runs the network on every pixel of a large picture.
            output_space: the primaries of the result.
            weights: whether to tell each frame's share in every pixel.
            on_progress: called as (done, total, what).

        Raises:
            DfghdrError: the photographs cannot be used, in one sentence that says why.
        """
        named = response in get_args(ResponseKind)
        request = MergeRequest(
            (),
            (),
            response=response if named else Path(response),  # pyright: ignore[reportArgumentType]
            config=MergeConfig(align=align, resolution=resolution),
            output_space=output_space,
            weights=weights,
        )
        bracket = _bracket(photographs, stops, times, reference)
        trace = Trace(on_progress)
        done = merge_photographs(self._merger, bracket, request, trace)
        result = done.result
        return Merged(
            result.radiance.pixels,
            result.radiance.peak,
            result.clipped,
            result.weights,
            {**done.facts.values(), "seconds": dict(trace.seconds)},
            done.warnings,
            done,
            request,
        )


def _bracket(
    photographs: Photographs,
    stops: Sequence[float] | None,
    times: Sequence[float] | None,
    reference: int | Literal["auto"],
) -> Bracket:
    if isinstance(photographs, str | PathLike):
        photographs = [photographs]
    arrays = [one for one in photographs if isinstance(one, np.ndarray)]
    if not arrays:
        paths = [Path(one) for one in photographs if not isinstance(one, np.ndarray)]
        return read_bracket(paths, stops=stops, times=times, reference=reference)
    if len(arrays) != len(photographs) or not 2 <= len(arrays) <= 9:
        raise InputError("A bracket is 2 to 9 arrays, or 2 to 9 files; give one kind of these.")
    if times is not None:
        stops = [float(np.log2(time)) for time in times]
    if stops is None or len(stops) != len(arrays):
        raise InputError("Arrays say nothing of their exposures; give stops or times, one each.")
    if not np.isfinite(stops).all():
        raise InputError("An exposure is no finite number of stops; give one that is.")
    for array in arrays:
        _check(array, arrays[0])
    frames = sorted(
        (
            Frame(array, Exposure(float(stop)), linear=array.dtype == np.float32)
            for array, stop in zip(arrays, stops, strict=True)
        ),
        key=lambda frame: frame.exposure.stops,
    )
    if reference == "auto":
        index = choose_reference([usable_share(frame.encoded()) for frame in frames])
    elif 1 <= reference <= len(frames):
        index = reference - 1
    else:
        raise InputError(f"There is no frame {reference}; the reference is 1 to {len(frames)}.")
    return Bracket(tuple(frames), index, "--ev")


def _check(array: NDArray[Any], first: NDArray[Any]) -> None:
    known = array.dtype in (np.uint8, np.uint16, np.float32)
    if array.ndim != 3 or array.shape[2] != 3 or not known:
        raise InputError(
            f"An array of {array.dtype} {array.shape} is no frame; give (H, W, 3) of uint8, uint16 "
            "or float32."
        )
    if array.shape != first.shape or array.dtype != first.dtype:
        raise InputError("The frames differ in size or type; give them alike.")
    if array.dtype == np.float32 and not np.isfinite(array).all():
        raise InputError("A frame holds values that are no finite numbers; mend it.")


def merge(
    photographs: Photographs,
    *,
    model: str | None = None,
    method: Way = "dfgnet",
    device: str = "auto",
    **options: Any,
) -> Merged:
    """Merge one bracket; `Merger` keeps the model for several.

    Args:
        photographs: 2 to 9 files in any order, a folder, or arrays with `stops` or `times`.
        model: name or folder; None takes the default.
        method: "classic" merges without a network.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        options: those of `Merger.merge`: stops, times, reference, response, align, resolution,
            output_space, weights, on_progress.

    Raises:
        DfghdrError: it cannot be merged, in one sentence that says why.
    """
    return Merger(model, method=method, device=device).merge(photographs, **options)


def tone_map(
    radiance: FloatImage | Merged,
    operator: str = DEFAULT_OPERATOR,
    *,
    exposure: float | None = None,
    **parameters: float,
) -> FloatImage:
    """Make a picture for a display.

    Args:
        radiance: (H, W, 3) float32, linear Rec. 709, or what `merge` returned.
        operator: a key of `dfghdr_cli.core.tonemapping.operators.OPERATORS`.
        exposure: what the picture is brightened by first [stops]; None chooses it.
        parameters: of the operator.

    Returns:
        (H, W, 3) float32 in [0, 1], sRGB.

    Raises:
        ValueError: there is no such operator or parameter.
    """
    white = None
    if isinstance(radiance, Merged):
        white = radiance._done.facts.brightest_white
        radiance = radiance.radiance
    settings = ToneSettings(operator, exposure=exposure, parameters=parameters)
    return tone_mapped(radiance, settings, brightest_white=white).pixels


def load_model(name: str = DEFAULT_MODEL) -> Model:
    """Load a model by name or folder; its `network` is a `torch.nn.Module`.

    Raises:
        ModelError: it is missing or damaged.
    """
    return load_named(name)


def evaluate(
    scenes: Sequence[str | PathLike[str]],
    *,
    models: Sequence[str] = (DEFAULT_MODEL,),
    methods: Sequence[MethodName] = ("classic",),
    device: str = "auto",
) -> Evaluation:
    """Score models and methods on scenes with truth, as `dfghdr eval` does.

    Args:
        scenes: folders of scenes.
        models: names or folders.
        methods: methods without a model.
        device: where the models compute.

    Raises:
        InputError: there is no scene, or none could be scored.
        ModelError: a model cannot be loaded.
    """
    chosen = build_methods(models, methods, device=device)
    return evaluate_methods([Path(scene) for scene in scenes], chosen)
