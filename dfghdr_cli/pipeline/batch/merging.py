"""Merging as a trade of workers; see `dfghdr_cli.pipeline.workers`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfghdr_cli.core.types import OnProgress
from dfghdr_cli.pipeline.batch.settings import MergeSettings

if TYPE_CHECKING:  # which takes PyTorch with it
    from dfghdr_cli.pipeline.merge.request import Merger


@dataclass(frozen=True)
class Bracket:
    """A bracket as a worker gets it.

    Attributes:
        paths: the photographs.
        outputs: the results.
        overwrite: whether results may be replaced.
        skip_existing: whether those that are there stay.
    """

    paths: tuple[Path, ...]
    outputs: tuple[Path, ...]
    overwrite: bool = False
    skip_existing: bool = False

    def absolute(self) -> Bracket:
        """The same for a process with another working folder."""
        paths = tuple(path.absolute() for path in self.paths)
        return replace(self, paths=paths, outputs=tuple(path.absolute() for path in self.outputs))


@dataclass(frozen=True)
class Merging:
    """Merges any number of brackets with the same settings.

    Attributes:
        settings: how.
    """

    settings: MergeSettings

    @property
    def wanted_device(self) -> str:
        """Where to compute, as `--device` takes it; the classic merge stays on the CPU."""
        return "cpu" if self.settings.method == "classic" else self.settings.device

    def tool(self, device: str | None = None) -> MergingTool:
        """Load the model; see `load_merger`."""
        settings = self.settings if device is None else replace(self.settings, device=device)
        return MergingTool(settings, settings.merger())

    def again(self, work: Bracket) -> Bracket:
        """What a process wrote before it ended stays, as it is whole."""
        return work if work.overwrite else replace(work, skip_existing=True)


@dataclass(frozen=True)
class MergingTool:
    """A model that merges brackets.

    Attributes:
        settings: how to merge.
        merger: what merges.
    """

    settings: MergeSettings
    merger: Merger

    @property
    def name(self) -> str:
        """Of the model, or "classic"."""
        return self.merger.name

    @property
    def device(self) -> str:
        """Where it computes."""
        return str(self.merger.device)

    @property
    def digest(self) -> str | None:
        """Of the model's weights."""
        return self.merger.model.digest if self.merger.model else None

    def do(self, work: Bracket, on_progress: OnProgress) -> tuple[dict[str, Any], Sequence[str]]:
        """Merge a bracket: what `--json` of a single merge prints, and its warnings."""
        from dfghdr_cli.pipeline.merge.run import merge_files

        request = self.settings.request(
            work.paths,
            work.outputs,
            overwrite=work.overwrite,
            skip_existing=work.skip_existing,
        )
        report = merge_files(self.merger, request, on_progress)
        return report.values(), report.warnings
