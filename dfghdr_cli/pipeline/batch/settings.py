"""How every bracket of a command is merged: plain values, which travel to other processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from dfghdr_cli.choices import (
    Align,
    DisplayFormat,
    ExposuresFrom,
    ExrType,
    OperatorName,
    RadianceSpace,
    Resolution,
    ResponseKind,
    Way,
)

if TYPE_CHECKING:  # which take PyTorch with them
    from dfghdr_cli.pipeline.merge.request import Merger, MergeRequest


@dataclass(frozen=True, slots=True)
class MergeSettings:
    """The options of `dfghdr merge` that mean the same for any bracket.

    Attributes:
        method: see `dfghdr_cli.pipeline.merge.request.load_merger`, as are the next two.
        model: name or folder.
        device: name.
        exposures_from: see `pipeline.merge.request.MergeRequest`, as is all that follows.
        reference: "auto", or a number.
        response: a name, or a file.
        align: of its config.
        resolution: likewise.
        max_memory: bytes.
        anchor_ev: EV100.
        output_space: a name.
        exr_type: "half" or "float".
        exr_compression: as `--exr-compression` takes it.
        preview: whether there is one.
        preview_operator: a name.
        format: a name.
        keep_place: whether results say where.
        keep_identity: whether they say whose.
    """

    method: Way = "dfgnet"
    model: str | None = None
    device: str = "auto"
    exposures_from: ExposuresFrom = "auto"
    reference: int | str = "auto"
    response: str = "auto"
    align: Align = "auto"
    resolution: Resolution = "auto"
    max_memory: int | None = None
    anchor_ev: float | None = None
    output_space: RadianceSpace = "rec709"
    exr_type: ExrType = "half"
    exr_compression: str = "piz"
    preview: bool = True
    preview_operator: OperatorName = "mu-law"
    format: DisplayFormat | None = None
    keep_place: bool = True
    keep_identity: bool = True

    def of_result(self) -> dict[str, Any]:
        """Those that a result depends on, as JSON has them."""
        known = asdict(self)
        for where in ("device", "max_memory"):
            del known[where]
        return known

    def absolute(self) -> MergeSettings:
        """The same for a process with another working folder."""
        model, response = self.model, self.response
        if model is not None and Path(model).is_dir():
            model = str(Path(model).absolute())
        if response not in get_args(ResponseKind):
            response = str(Path(response).absolute())
        return replace(self, model=model, response=response)

    def merger(self) -> Merger:
        """What merges; see `load_merger`."""
        from dfghdr_cli.pipeline.merge.request import load_merger

        return load_merger(self.method, self.model, self.device)

    def request(
        self, paths: Sequence[Path], outputs: Sequence[Path], **options: Any
    ) -> MergeRequest:
        """One bracket to merge with these settings.

        Args:
            paths: its photographs.
            outputs: the results.
            options: what else a `MergeRequest` takes.
        """
        from dfghdr_cli.io.names import ExrCompression
        from dfghdr_cli.merging.config import MergeConfig
        from dfghdr_cli.pipeline.merge.request import MergeRequest

        named = self.response in get_args(ResponseKind)
        values: dict[str, Any] = {
            "exposures_from": self.exposures_from,
            "reference": self.reference,
            "response": self.response if named else Path(self.response),
            "config": MergeConfig(align=self.align, resolution=self.resolution),
            "max_memory": self.max_memory,
            "anchor_ev": self.anchor_ev,
            "output_space": self.output_space,
            "exr_type": self.exr_type,
            "exr_compression": ExrCompression.parse(self.exr_compression),
            "preview": self.preview,
            "preview_operator": self.preview_operator,
            "format": self.format,
            "keep_place": self.keep_place,
            "keep_identity": self.keep_identity,
        }
        return MergeRequest(paths, outputs, **(values | options))
