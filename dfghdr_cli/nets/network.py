"""What every network that merges brackets can be asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from dfghdr_cli.choices import Inputs
from dfghdr_cli.nets.candidates import Candidates, Hypothesis
from dfghdr_cli.nets.compose import Decision
from dfghdr_cli.nets.dfg import DFGModule
from dfghdr_cli.nets.disentangle import DisentangleNetwork, ImageStatistics


def frames_seen(candidates: Candidates, inputs: Inputs) -> Candidates:
    """One candidate a frame, dark to bright, as `inputs` says."""
    if inputs == "flow":
        return candidates.one_each()
    still = [k for k, h in enumerate(candidates.hypotheses) if h is Hypothesis.STILL]
    return candidates.only(sorted(still, key=lambda k: candidates.frames[k]))


class Network(nn.Module, ABC):
    """A network that merges a bracket, whatever it makes of it: a picture, or a decision.

    Attributes:
        architecture: as a model's config.json calls it.
        outputs: the names of what `infer` returns.
        takes: the kinds of inputs that it can be trained on.
        inputs: what its weights were trained on.
        paints: whether it returns the picture itself, not a decision how to merge the frames.
        size_multiple: height and width of a whole picture are multiples of this.
        stride: tiles start and end at multiples of this.
        halo: pixels an output pixel looks to each side, given the whole image's statistics, rounded
            up to a multiple of `stride`.
        config: its hyper-parameters, a dataclass.
        disentangle: its encoders.
    """

    architecture: ClassVar[str]
    outputs: ClassVar[tuple[str, ...]]
    takes: ClassVar[tuple[Inputs, ...]]
    inputs: Inputs = "flow"
    paints: ClassVar[bool]
    size_multiple: ClassVar[int]
    stride: ClassVar[int]
    halo: ClassVar[int]
    config: Any
    disentangle: DisentangleNetwork

    def __init__(self, config: Any, *, decoder: bool = False) -> None:
        """Random weights; `decoder` includes that of the disentangle network."""
        super().__init__()
        self.config = config

    @property
    def dfg_modules(self) -> list[DFGModule]:
        """Its DFG modules, from the full size down."""
        return [module for module in self.modules() if isinstance(module, DFGModule)]

    @abstractmethod
    def select(self, candidates: Candidates) -> Candidates:
        """What of a bracket it needs."""

    @abstractmethod
    def images(self, candidates: Candidates) -> Tensor:
        """What the encoders look at: (B, K, 3, h, w) gamma codes."""

    @abstractmethod
    def infer(
        self, candidates: Candidates, statistics: ImageStatistics | None = None
    ) -> tuple[Tensor, ...]:
        """What it makes of candidates, each (..., H, W), of which tiles can be cut.

        Args:
            candidates: the brackets, see `select`.
            statistics: of `images` of the whole picture when the candidates are only a tile of it.
        """

    @abstractmethod
    def decision(self, outputs: tuple[Tensor, ...], candidates: Candidates) -> Decision:
        """How to merge the candidates, as `infer` found it."""

    @abstractmethod
    def activations(self, frames: int) -> int:
        """Bytes that a pixel of a tile takes while it runs on so many frames; measured."""
