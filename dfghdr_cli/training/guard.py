"""Guards of a training: batches that would wreck it are skipped, and divergence ends it."""

from __future__ import annotations

import math
import statistics
from collections import deque
from typing import Any

from dfghdr_cli.errors import InputError

NORMS = 100
"""Gradient norms that tell what is usual."""
ERRORS = 200
"""Steps whose median error tells how well a training goes."""
SKIPS = 20
"""Batches in a row that may be skipped."""


class DivergedError(InputError):
    """The training got worse than it was; going on is pointless."""


class Guard:
    """Remembers how large gradients and errors are, and says what is out of line.

    A batch is skipped if its gradient is not finite or 20 times as long as usual. The training has
    diverged if the loss is not finite, if 20 batches in a row had to be skipped, or, however
    slowly, if the median error of the last 200 steps is twice what it was at its best.
    """

    def __init__(self, clip: float) -> None:
        """`clip` is the multiple of the usual norm to which gradients are cut."""
        self.clip = clip
        self.norms: deque[float] = deque(maxlen=NORMS)
        self.errors: deque[float] = deque(maxlen=ERRORS)
        self.lowest = math.inf
        self.skipped = 0

    def state(self) -> dict[str, Any]:
        """All that changes, for a checkpoint."""
        return {
            "norms": list(self.norms),
            "errors": list(self.errors),
            "lowest": self.lowest,
            "skipped": self.skipped,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.norms.extend(state["norms"])
        self.errors.extend(state["errors"])
        self.lowest, self.skipped = float(state["lowest"]), int(state["skipped"])

    @property
    def usual_norm(self) -> float:
        """Median of the last norms; infinite until there are enough."""
        return statistics.median(self.norms) if len(self.norms) == NORMS else math.inf

    @property
    def longest_norm(self) -> float:
        """Norm to which a gradient is cut."""
        return self.clip * self.usual_norm

    @property
    def healthy(self) -> bool:
        """Whether the error is near its best; only then a checkpoint is worth going back to."""
        full = len(self.errors) == ERRORS
        return not full or statistics.median(self.errors) <= 1.2 * self.lowest

    def check_loss(self, loss: float, error: float, batch: str) -> None:
        """Look at a step's loss before its gradient is used.

        Args:
            loss: what is minimised.
            error: the part of it that is never negative.
            batch: names the step and its samples, for the message.

        Raises:
            DivergedError: if the loss is not finite, or the error has grown too much.
        """
        if not (math.isfinite(loss) and math.isfinite(error)):
            raise DivergedError(f"the loss is not finite at {batch}")
        self.errors.append(error)
        if len(self.errors) < ERRORS:
            return
        usual = statistics.median(self.errors)
        self.lowest = min(self.lowest, usual)
        if usual > 2.0 * self.lowest:
            raise DivergedError(
                f"the training diverges: at {batch} the median error of {ERRORS} steps is "
                f"{usual:.3g}, which was {self.lowest:.3g} at its best"
            )

    def admits(self, norm: float, batch: str) -> bool:
        """Whether to use a gradient of this norm (before cutting).

        Args:
            norm: of the gradient.
            batch: names the step and its samples, for the message.

        Raises:
            DivergedError: if too many batches in a row were refused.
        """
        fine = math.isfinite(norm) and norm <= 20.0 * self.usual_norm
        if math.isfinite(norm):
            self.norms.append(norm)
        self.skipped = 0 if fine else self.skipped + 1
        if self.skipped >= SKIPS:
            raise DivergedError(f"{SKIPS} batches in a row up to {batch} had impossible gradients")
        return fine
