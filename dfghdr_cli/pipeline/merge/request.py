"""What to merge, with what, and where to."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch

from dfghdr_cli.choices import (
    DisplayFormat,
    ExposuresFrom,
    ExrType,
    OperatorName,
    RadianceSpace,
    ResponseKind,
    Way,
)
from dfghdr_cli.devices import choose_device, is_gpu_out_of_memory
from dfghdr_cli.errors import OutputNameError
from dfghdr_cli.io.bracket import Reference, is_photograph_name
from dfghdr_cli.io.names import ExrCompression
from dfghdr_cli.io.selection import without_own_results
from dfghdr_cli.merging.config import MergeConfig
from dfghdr_cli.modelstore import DEFAULT_MODEL, Model, load_model
from dfghdr_cli.nets.network import Network
from dfghdr_cli.pipeline.results import check_name, missing_of, preview_of, results_of

log = logging.getLogger(__name__)

CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Merger:
    """What merges brackets: loaded once, used for any number of them.

    Attributes:
        model: the model, or None for the classic merge.
        device: where it computes.
    """

    model: Model | None
    device: torch.device

    @property
    def network(self) -> Network | None:
        """The model's network, or None for the classic merge."""
        return self.model.network if self.model else None

    @property
    def name(self) -> str:
        """The model's name, or "classic"."""
        return self.model.info.name if self.model else "classic"


def load_merger(method: Way = "dfgnet", model: str | None = None, device: str = "auto") -> Merger:
    """Choose the device and load the model, on the CPU where a GPU has no room even for that.

    Args:
        method: "dfgnet" merges with a network, "classic" without one, on the CPU.
        model: name or folder of a model; None takes the default.
        device: see `dfghdr_cli.devices.choose_device`.

    Raises:
        ModelError: if the model cannot be loaded.
        DeviceError: if the device is not there.
    """
    chosen = choose_device(device)
    if method == "classic":
        return Merger(None, CPU)
    loaded = load_model(model or DEFAULT_MODEL)
    try:
        # Convolutions are faster where the channels of a pixel lie side by side.
        loaded.network.to(chosen).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    except RuntimeError as error:
        if not is_gpu_out_of_memory(error):
            raise
        log.warning("%s has no memory left for the model, which runs on the CPU.", chosen)
        loaded.network.to(CPU)
        chosen = CPU
    return Merger(loaded, chosen)


@dataclass(frozen=True, slots=True)
class MergeRequest:
    """One bracket to merge, and where to.

    Attributes:
        paths: 2 to 9 photographs, in any order, or one folder that holds them.
        outputs: the results, .exr, .hdr or .dng, or pictures for screens, tone-mapped by the
            default operator.
        stops: exposures [stops] in the order of `paths`; overrides what the files say.
        times: exposure times [s] likewise.
        ev_step: equal steps [stops] likewise, `paths` from dark to bright.
        reference: "auto", a number from 1 for the darkest, or one of the files.
        exposures_from: "files" or "pixels" where these contradict each other; "auto" corrects small
            errors and refuses large ones.
        response: "auto", "srgb", "gamma", "linear", or a file with a camera's response.
        save_response: where to write the response that was used, or None.
        config: how to merge.
        max_memory: the most that the merge may take [bytes], of the GPU's memory where the network
            runs on one, else of the computer's; None for no bound. See `merging.memory`.
        anchor_ev: 1.0 in the result is the white of a frame of this exposure, as EV100, or in
            stops where these were given; None stands for the reference.
        output_space: the primaries of the result.
        exr_type: "half" or "float".
        exr_compression: of an .exr.
        format: of the pictures for screens; None goes by their names.
        preview: whether to write a preview beside the first .exr, .hdr or .dng.
        preview_operator: what tone-maps the preview, an operator of `dfghdr tonemap`.
        ghost_map: where to show which frame was used where (.png), or None.
        weights: whether the merge tells each frame's share in every pixel; a ghost map needs them.
        keep_place: whether the results say where the photograph was taken.
        keep_identity: whether they hold serial numbers, and whose it is.
        overwrite: whether existing files may be replaced.
        skip_existing: whether existing files are kept, and only the missing ones written.
    """

    paths: Sequence[Path]
    outputs: Sequence[Path]
    stops: Sequence[float] | None = None
    times: Sequence[float] | None = None
    ev_step: float | None = None
    reference: Reference = "auto"
    exposures_from: ExposuresFrom = "auto"
    response: ResponseKind | Path = "auto"
    save_response: Path | None = None
    config: MergeConfig = field(default_factory=MergeConfig)
    max_memory: int | None = None
    anchor_ev: float | None = None
    output_space: RadianceSpace = "rec709"
    exr_type: ExrType = "half"
    exr_compression: ExrCompression = field(default_factory=ExrCompression)
    format: DisplayFormat | None = None
    preview: bool = True
    preview_operator: OperatorName = "mu-law"
    ghost_map: Path | None = None
    weights: bool = False
    keep_place: bool = True
    keep_identity: bool = True
    overwrite: bool = False
    skip_existing: bool = False

    @property
    def preview_path(self) -> Path | None:
        """out.exr's preview is out.preview.jpg; pictures for screens need none."""
        return preview_of(self.outputs) if self.preview else None

    @property
    def results(self) -> tuple[Path, ...]:
        """All the files that the merge leaves, the results first."""
        beside = (self.ghost_map, self.save_response)
        return results_of(self.outputs, preview=self.preview, beside=beside)


def missing_results(request: MergeRequest) -> tuple[Path, ...]:
    """Check, before any work, that all results can be written, and tell which have to be.

    Args:
        request: what to merge.

    Returns:
        `request.results` without those that are there already and to be kept.

    Raises:
        OutputExistsError: if one is there already and neither to be kept nor to be replaced.
        OutputNameError: if one names no format, or another one, or is named twice.
        OutputError: if one cannot be written, or would replace a photograph.
    """
    for path in request.outputs:
        check_name(path, request.format)
    if request.ghost_map is not None and request.ghost_map.suffix.lower() != ".png":
        raise OutputNameError(f"{request.ghost_map} must be a PNG file; end it in .png.")
    return missing_of(
        request.results,
        overwrite=request.overwrite,
        skip_existing=request.skip_existing,
        inputs=lambda: _inputs(request),
    )


def _inputs(request: MergeRequest) -> list[Path]:
    """What the merge reads, and in a folder also the photographs that are not meant."""
    found = [request.response] if isinstance(request.response, Path) else []
    for path in request.paths:
        found.append(path)
        with suppress(OSError):  # which is said when the photographs are read
            found += without_own_results(list(filter(is_photograph_name, path.iterdir())))[0]
    return found
