"""How well a run of shots, one after the other, passes for one bracket."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import log2
from typing import Literal

from dfghdr_cli.core.bracketing.shot import Shot

MOST_SHOTS = 32
"""Of one bracket; see `dfghdr_cli.io.bracket`, which takes the best nine of them."""
SAME = 1 / 6
"""Stops within which two exposures are one: half a third, the smallest step of cameras' dials."""
EVEN = 0.5
"""Stops by which the steps of an evenly spaced bracket may differ: cameras show times and f-numbers
rounded to thirds and halves of a stop."""
LONG_PAUSE = 600.0
"""Seconds after which the light is no longer the same."""
_SOON = 2.0
"""Seconds between two shots that nobody would call a pause: a slow camera writes its card."""

LONE = 1.0
"""What it costs to leave a shot by itself, the unit of all costs: an explanation of a card is the
better, the fewer brackets and left-over shots it needs, and the more regular they are."""
_LONE_AUTOMATIC = 1.3
_STATED, _REGULAR, _EVEN_NUMBER, _PAIR, _MEANT_PAIR = 0.5, 1.0, 1.3, 1.8, 1.4
_OTHER_ORDER, _UNEVEN, _UNEVEN_AND_MIXED, _EACH_REPEATED = 1.4, 1.3, 1.9, 1.2
_DISORDER = 0.1
"""Of each shot beyond the third in no usual order: the more of them, the less it is one bracket."""
_UNMEANT = 0.6
_OTHER_LENS, _OTHER_FOCAL, _OTHER_WAY_UP, _OTHER_BALANCE, _PARTLY_AUTOMATIC = 1.2, 1.2, 0.8, 0.4, 1
_KNOWN_PATTERN, _PART_OF_KNOWN = 0.3, 1.5
"""What a pattern that comes up again saves, and what a bracket costs in all that lacks shots of it
but has the others in their order."""
_PLAIN_PAIR = 1.5
"""Stops between two shots of which nothing says that they are a bracket: less is no gain."""
_PER_DOUBLING, _PER_DOUBLING_AUTOMATIC = 1 / 6, 1 / 3
"""Of a pause beyond `_SOON`. By hand, people were seen to pause for 8 to 42 s between shots of one
bracket, when the pause still costs less than to leave a shot by itself; a camera that brackets by
itself, pressed once or once a shot, is quicker."""

Meant = Literal["yes", "no", "unknown"]
Pattern = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Run:
    """Shots of one camera in the order in which they were taken.

    Attributes:
        shots: at least one.
        stamped_last: whether the camera notes when an exposure ended, not when it began.
    """

    shots: Sequence[Shot]
    stamped_last: bool = False

    @cached_property
    def by_bias(self) -> bool:
        """Whether the exposure bias makes the bracket: it varies, and exposures follow it."""
        known = [
            (s.bias, s.stops) for s in self.shots if s.bias is not None and s.stops is not None
        ]
        if len(known) < len(self.shots) or _span([bias for bias, _ in known]) <= SAME:
            return False
        steps = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(sorted(known))]
        return _span([stops for _, stops in known]) > SAME and all(s > -EVEN for _, s in steps)

    @cached_property
    def levels(self) -> list[float]:
        """What tells the shots apart [stops]: their biases, or else their exposures."""
        if self.by_bias:
            return [shot.bias for shot in self.shots if shot.bias is not None]
        return [shot.stops for shot in self.shots if shot.stops is not None]

    @cached_property
    def steps(self) -> list[float]:
        """From each shot to the next brighter one [stops]."""
        return [b - a for a, b in pairwise(sorted(self.levels))]

    @property
    def even(self) -> bool:
        """Whether these are equal, as far as cameras show them."""
        return _span(self.steps) <= EVEN

    @cached_property
    def ordered(self) -> bool:
        """Whether the order of the shots is known: not of those of one second and one name."""
        return all(
            a.taken is not None and b.taken is not None and a.taken != b.taken
            for a, b in pairwise(self.shots)
        ) or all(shot.numbered for shot in self.shots)

    @cached_property
    def ranks(self) -> tuple[int, ...]:
        """Each shot's place from dark to bright."""
        darker = sorted(range(len(self.levels)), key=lambda k: self.levels[k])
        return tuple(darker.index(k) for k in range(len(self.levels)))

    @property
    def in_usual_order(self) -> bool:
        """Whether a camera shoots brackets in this order."""
        return not self.ordered or self.ranks in usual_orders(len(self.shots))

    @cached_property
    def automatic(self) -> bool | None:
        """Whether the camera's own bracketing took them; None if of some only, or not known."""
        flags = {shot.automatic for shot in self.shots}
        return flags.pop() if len(flags) == 1 else None

    @property
    def partly_automatic(self) -> bool:
        """Whether it took some of them and others not."""
        return {True, False} <= {shot.automatic for shot in self.shots}

    @cached_property
    def meant(self) -> Meant:
        """Whether anything says that exposures were to differ, and not just the light."""
        if self.automatic or self.by_bias or all(shot.manual for shot in self.shots):
            return "yes"
        metered = all(shot.automatic is False and shot.manual is False for shot in self.shots)
        return "no" if metered else "unknown"

    @cached_property
    def pattern(self) -> Pattern:
        """The exposures against the first one [thirds of a stop]; sorted where that is not known.

        With a bias, against none.
        """
        levels = self.levels if self.ordered else sorted(self.levels)
        start = 0.0 if self.by_bias else levels[0]
        return tuple(round(3 * (level - start)) for level in levels)

    @cached_property
    def kinds(self) -> list[str]:
        """The kinds of files that all shots have."""
        return [k for k in self.shots[0].files if all(k in shot.files for shot in self.shots)]

    @cached_property
    def each_repeated(self) -> bool:
        """Whether every exposure was shot several times in a row, and as often as the others."""
        groups: list[list[float]] = []
        for level in self.levels:
            if groups and abs(groups[-1][0] - level) <= SAME:
                groups[-1].append(level)
            else:
                groups.append([level])
        counts = {len(group) for group in groups}
        firsts = sorted(group[0] for group in groups)
        distinct = all(b - a > SAME for a, b in pairwise(firsts))
        return len(groups) > 1 and len(counts) == 1 and counts != {1} and distinct

    def pauses(self) -> list[float]:
        """Between the end of an exposure and the start of the next [s]; 0 where it is not recorded.

        A camera that takes the noise of a long exposure away takes as long again for it.
        """
        return [
            pause_between(a, b, stamped_last=self.stamped_last) for a, b in pairwise(self.shots)
        ]

    def cost(self, known: frozenset[Pattern] = frozenset()) -> float | None:
        """How implausible it is that these are one bracket; None where they cannot be one.

        Args:
            known: patterns that were seen several times.
        """
        shots = self.shots
        if len(shots) == 1:
            return _LONE_AUTOMATIC if shots[0].automatic else LONE
        if any(shot.stops is None for shot in shots) or not _have_one_shape(self):
            return None
        base = _cost_of_stated(self) if shots[0].place is not None else self._cost_of_steps()
        if base is not None and len(shots) > 2 and any(_is_part(self.pattern, p) for p in known):
            base = min(base, _PART_OF_KNOWN)
        pauses = self.pauses()
        if base is None or max(pauses) > LONG_PAUSE:
            return None
        rate = _PER_DOUBLING_AUTOMATIC if self.automatic else _PER_DOUBLING
        base += sum(rate * log2(max(pause / _SOON, 1.0)) for pause in pauses)
        base += _OTHER_LENS * self.differs("lens") + _OTHER_FOCAL * self.differs("focal")
        base += _OTHER_BALANCE * self.differs("balance")
        base += _OTHER_WAY_UP * self.differs("orientation")
        base += _PARTLY_AUTOMATIC * self.partly_automatic
        return base - _KNOWN_PATTERN * (self.pattern in known)

    def ended_before_last(self) -> bool:
        """Whether the last shot, and so any longer run, belongs to another bracket for certain."""
        *shots, last = self.shots
        if not self.kinds or self.differs("size") or last.stops is None:
            return True
        if len(shots) > 1 and shots[0].stops == shots[1].stops:  # each exposure may be repeated
            return False
        return any(shot.stops == last.stops and shot.bias == last.bias for shot in shots[1:]) or (
            len(shots) > 1 and shots[0].stops == last.stops and shots[0].bias == last.bias
        )

    def differs(self, what: str) -> bool:
        """Whether an attribute of the shots is known of several and not always the same."""
        return len({getattr(shot, what) for shot in self.shots} - {None, ""}) > 1

    def _cost_of_steps(self) -> float | None:
        count = len(self.shots)
        if any(shot.place is not None for shot in self.shots):
            return None
        extra = {"yes": 0.0, "unknown": 0.0, "no": _UNMEANT}[self.meant]
        if min(self.steps) <= SAME:
            return _EACH_REPEATED if self.each_repeated and self.meant == "yes" else None
        if count == 2:
            if self.meant == "no":
                return None
            if self.meant == "yes":
                return _MEANT_PAIR
            return _PAIR if self.steps[0] >= _PLAIN_PAIR else None
        if _starts_anew(self):
            return None
        disorder = _DISORDER * max(0, count - 3)
        if not self.even:
            if self.meant == "no":
                return None
            one_way = self.ranks in _one_way(count) or not self.ordered
            return _UNEVEN if one_way else _UNEVEN_AND_MIXED + disorder
        if not self.in_usual_order:
            return _OTHER_ORDER + disorder + extra
        return (_REGULAR if count % 2 or self.automatic else _EVEN_NUMBER) + extra


def _starts_anew(run: Run) -> bool:
    """Whether one pattern of exposures comes several times, about as bright.

    That is as many brackets, in light that changed.
    """
    levels, count = run.levels, len(run.levels)
    if not run.ordered:
        return False
    for length in range(2, count // 2 + 1):
        if count % length or (length == 2 and count == 4):
            continue
        parts = [levels[k : k + length] for k in range(0, count, length)]
        alike = all(
            abs((value - part[0]) - (first - parts[0][0])) <= SAME
            for part in parts[1:]
            for value, first in zip(part, parts[0], strict=True)
        )
        apart = all(max(a) < min(b) or max(b) < min(a) for a, b in pairwise(parts))
        if alike and not apart:
            return True
    return False


def _have_one_shape(run: Run) -> bool:
    return bool(run.kinds) and not run.differs("size") and len(run.shots) <= MOST_SHOTS


def _cost_of_stated(run: Run) -> float | None:
    """Of shots that say which of how many they are."""
    places = [shot.place for shot in run.shots]
    if None in places or run.differs("length"):
        return None
    known = [place for place in places if place is not None]
    rising = all(a < b for a, b in pairwise(known))
    return _STATED if rising else None


def _is_part(pattern: Pattern, whole: Pattern) -> bool:
    """Whether a pattern is what is left of another after shots were lost, in the same order."""
    if len(pattern) >= len(whole):
        return False
    for start in range(len(whole) - len(pattern) + 1):
        shift, rest = whole[start] - pattern[0], iter(whole[start:])
        if all(any(abs(value + shift - its) <= 1 for its in rest) for value in pattern):
            return True
    return False


def usual_orders(count: int) -> set[tuple[int, ...]]:
    """Orders in which cameras shoot a bracket: each shot's place from dark to bright.

    Rising, falling, and of odd numbers the middle one first: then outwards by turns, or all the
    others rising or falling.
    """
    orders = _one_way(count)
    if count % 2 == 0:
        return orders
    middle = count // 2
    lower, upper = list(range(middle - 1, -1, -1)), list(range(middle + 1, count))
    for one, other in ((lower, upper), (upper, lower)):
        turns = [rank for pair in zip(one, other, strict=True) for rank in pair]
        orders.add((middle, *turns))
    others = [rank for rank in range(count) if rank != middle]
    return orders | {(middle, *others), (middle, *reversed(others))}


def _one_way(count: int) -> set[tuple[int, ...]]:
    return {tuple(range(count)), tuple(range(count - 1, -1, -1))}


def pause_between(before: Shot, after: Shot, *, stamped_last: bool) -> float:
    """See `Run.pauses`."""
    if before.taken is None or after.taken is None:
        return 0.0
    exposed = (after if stamped_last else before).time_s or 0.0
    pause = after.taken - before.taken - exposed
    if not (before.precise and after.precise):
        pause -= 1.0
    return max(0.0, pause - (exposed if exposed >= _LONG_EXPOSURE else 0.0))


_LONG_EXPOSURE = 1.0
"""Seconds from which on cameras take a dark frame."""


def _span(values: Sequence[float]) -> float:
    return max(values) - min(values) if values else 0.0
