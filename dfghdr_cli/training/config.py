"""How to train: settings, presets and the schedule of the learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from dfghdr_cli.choices import Checkpoints, Encoders, PermutedStages, Precision, Stages
from dfghdr_cli.training.losses import PAPER_MERGE_LOSS, MergeLossConfig

Stage = Literal["disentangle", "merge"]


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How to train.

    Attributes:
        stage: "disentangle" trains the encoders and their decoder by eq. (1) to (6), "merge" the
            merging network by eq. (10) and (11), "all" the one after the other.
        disentangle_steps: batches of stage disentangle.
        disentangle_minutes: as `minutes`, of stage disentangle.
        steps: batches of stage merge.
        minutes: stop stage merge (and finish the learning rate's descent) after this long;
            None = no limit.
        encoders: whether stage merge trains the encoders, too; "auto" freezes them if they come
            with a decoder, that is if a stage disentangle has trained them.
        batch: samples a batch, over all processes.
        learning_rate: the highest, after the warm-up and before the descent.
        schedule: "cosine" descends to 2 %, "drop" falls to 10 % after three quarters.
        warm_up: steps of rising learning rate.
        weight_decay: AdamW's; at 0 this is Adam.
        average: decay of the exponential moving average of the weights, which is what is released
            (less in the first steps); 0 releases the weights as they are.
        clip: gradients are cut to this multiple of the median of the last 100 gradient norms.
        perceptual: lambda of eq. (6); at 0.1 both kinds of terms are of like size after some
            hundred steps; 0 leaves out the perceptual terms (2) and (5).
        colour: weight of a term that is not the paper's: (1) and (4) of what sets each channel
            apart from the mean of the three.
        edges: weight of another that is not: (1) and (4) of the differences of neighbours, which
            a faint grid of the decoder's transposed convolutions changes most.
        imitation: weight of a term of stage merge for networks that learn from a teacher: how far
            the weights of their merge are from the teacher's (Kullback-Leibler divergence).
        permute_channels: where red, green and blue of samples may change places, as far as the
            settings of the samples let them: in stage "merge" alone, in "all" stages or in "none".
            Which colours are usual the decoder of stage disentangle has to learn.
        precision: "bf16" computes the networks' convolutions in bfloat16, all else in float32;
            "auto" does so on CUDA devices that can.
        compile: whether PyTorch compiles the networks, which pays on a GPU after some minutes.
        checkpoints: "small" ones keep what steers the optimiser, and the averaged weights, in 16
            bits, half the size; a run that goes on from one is not bit by bit the same.
        seed: of the weights' initial values and of the samples.
        workers: processes that make samples; 0 makes them in this one.
        checkpoint_every: steps between checkpoints.
        validate_every: steps between validations.
        loss: the terms of stage merge's loss.
    """

    stage: Stages = "all"
    disentangle_steps: int = 5_000
    disentangle_minutes: float | None = None
    steps: int = 20_000
    minutes: float | None = None
    encoders: Encoders = "auto"
    batch: int = 4
    learning_rate: float = 5e-4
    schedule: Literal["cosine", "drop"] = "cosine"
    warm_up: int = 200
    weight_decay: float = 1e-4
    average: float = 0.998
    clip: float = 2.0
    perceptual: float = 0.1
    colour: float = 4.0
    edges: float = 1.0
    imitation: float = 0.02
    permute_channels: PermutedStages = "merge"
    precision: Precision = "auto"
    compile: bool = False
    checkpoints: Checkpoints = "exact"
    seed: int = 0
    workers: int = 1
    checkpoint_every: int = 100
    validate_every: int = 500
    loss: MergeLossConfig = field(default_factory=MergeLossConfig)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages to go through, in order."""
        return ("disentangle", "merge") if self.stage == "all" else (self.stage,)

    def permutes(self, stage: Stage) -> bool:
        """Whether the channels of a stage's samples may change places."""
        return self.permute_channels in ("all", stage)

    def steps_of(self, stage: Stage) -> int:
        """Batches of a stage."""
        return self.disentangle_steps if stage == "disentangle" else self.steps

    def seconds_of(self, stage: Stage) -> float:
        """Time limit of a stage [s], infinite if there is none."""
        minutes = self.disentangle_minutes if stage == "disentangle" else self.minutes
        return math.inf if minutes is None else minutes * 60.0


DEFAULT = TrainConfig()
"""Our recipe."""

PAPER = TrainConfig(
    encoders="frozen",
    learning_rate=1e-4,
    schedule="drop",
    warm_up=0,
    weight_decay=0.0,
    average=0.0,
    colour=0.0,
    edges=0.0,
    loss=PAPER_MERGE_LOSS,
)
"""The recipe of section 3.2: Adam with 1e-4, which decays by 0.1, and L1 alone.

The paper does not say when the learning rate decays. The guards against bad batches stay.
"""


def learning_rate(config: TrainConfig, step: int, fraction: float) -> float:
    """Linear warm-up by steps, then the descent by the fraction of the stage that is done."""
    warm = min(1.0, (step + 1) / max(1, config.warm_up))
    if config.schedule == "drop":
        descent = 1.0 if fraction < 0.75 else 0.1
    else:
        descent = 0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, fraction)))
    return config.learning_rate * warm * descent
