"""The people of the demo bracket: who they are, where they walk and what they wear.

There are no photographs of people that this project could use, so these are modelled: every person
is a list of parts, each a material and a signed distance field around the joints of their pose.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from demo_pose import Pose, arm, cap, hand, head, shoe, trousers
from demo_shapes import SEAM, Loft, Material, Part, Values, box, cone, smooth


@dataclass(frozen=True)
class Person:
    """Somebody in the hall.

    Attributes:
        dress: one of `DRESSES`.
        place: x and z at moment 0 [m]; the camera is at (0, 0) and looks along -z.
        heading: where they walk [degrees]: 0 away from the camera, 90 to the right.
        speed: [m/s].
        phase: of the stride at moment 0, in strides.
        height: of the body [m].
        stride: length of two steps [m].
        vigour: share of the movement of a brisk walk.
        turn: how fast they turn on the spot [degrees per second].
    """

    dress: str
    place: tuple[float, float]
    heading: float
    speed: float
    phase: float
    height: float
    stride: float = 1.35
    vigour: float = 1.0
    turn: float = 0.0

    def at(self, moment: float) -> tuple[float, float, float]:
        """Where they are: x and z [m], and heading [radians]."""
        angle = np.radians(self.heading)
        gone = self.speed * moment
        x, z = self.place[0] + gone * np.sin(angle), self.place[1] - gone * np.cos(angle)
        return float(x), float(z), float(np.radians(self.heading + self.turn * moment))

    def parts(self, moment: float) -> list[Part]:
        """What they consist of, at a moment [s]."""
        return DRESSES[self.dress](self, self.phase + self.speed * moment / self.stride)


SKIN = Material((0.42, 0.27, 0.20), 0.05, (0.03, 0.03, 0.03), gloss=0.02, wrap=0.25)


def _scarf(pose: Pose, points: Values) -> Values:
    """Scarf, twice around the neck, one end down the back."""
    h = pose.height
    nape = pose.ahead(pose.hip + 0.3 * h)
    rings = []
    for index, (up, wide) in enumerate(((0.300, 0.050), (0.325, 0.044))):
        centre = np.array([0.0, pose.hip + up * h, nape + 0.004 * h], np.float32)
        away = points - centre[:, None]
        tilt = away[1] - (0.18 if index else 0.05) * away[2] - 0.15 * away[0]
        ring = np.hypot(away[0], away[2] * 0.92) - wide * h
        rings.append(np.hypot(ring, tilt * 0.9) - 0.020 * h)
    end = cone(
        points,
        np.array([0.03 * h, pose.hip + 0.30 * h, nape - 0.055 * h]),
        np.array([0.045 * h, pose.hip + 0.14 * h, -0.055 * h]),
        0.020 * h,
        0.024 * h,
    )
    return smooth(0.02, *rings, end)


def _locks(pose: Pose, points: Values) -> Values:
    """Hair to the shoulders."""
    h = pose.height
    nape = pose.ahead(pose.hip + 0.3 * h)
    y, z = pose.hip + 0.405 * h, nape + 0.012 * h
    fall = Loft(
        [
            [y - 0.135 * h, 0.006, z - 0.050 * h, 0.040 * h, 0.016 * h],
            [y - 0.10 * h, 0.003, z - 0.046 * h, 0.052 * h, 0.026 * h],
            [y - 0.05 * h, 0, z - 0.026 * h, 0.054 * h, 0.042 * h],
            [y + 0.01 * h, 0, z - 0.012 * h, 0.049 * h, 0.048 * h],
            [y + 0.05 * h, 0, z - 0.006 * h, 0.034 * h, 0.040 * h],
        ],
        0.06,
        7.0,
        1.1,
    )
    return smooth(0.015, cap(pose, points, 0.008, 0.028, -0.06), fall(points))


def _bag(pose: Pose, points: Values) -> Values:
    """Leather bag at the right hip, its straps over the shoulder."""
    h = pose.height
    nape = pose.ahead(pose.hip + 0.3 * h)
    y = pose.hip + 0.035 * h
    sag = 1 + 0.9 * np.clip((y - points[1]) / (0.14 * h), -0.5, 0.5)
    shaped = points.copy()
    shaped[0] = 0.128 * h + (points[0] - 0.128 * h) / sag
    shaped[1] += 1.2 * (points[2] + 0.045 * h) ** 2 * (points[1] > y)
    body = box(shaped, (0.128 * h, y, -0.045 * h), (0.026 * h, 0.062 * h, 0.078 * h), 0.025)
    hold = np.array([0.085 * h, pose.hip + 0.305 * h, nape])
    straps = [
        cone(
            points,
            np.array([0.128 * h, y + 0.05 * h, (s * 0.045 - 0.045) * h]),
            hold,
            0.006,
            0.007,
        )
        for s in (-1, 1)
    ]
    return smooth(0.01, body, *straps)


def _coat(person: Person, phase: float) -> list[Part]:
    """A woman in a belted wool coat with a scarf, long hair, boots and a leather bag."""
    h = person.height
    pose = Pose(h, phase, person.vigour, person.stride, (26, 20), (0.8, 0.25))
    wool = Material(
        (0.27, 0.20, 0.135), 0.05, (0.03, 0.05, 0.03), 0.5, 0.0, 0.15, 0.004, (0.10, 0.10, 0.10)
    )
    dark = Material((0.035, 0.034, 0.038), 0.1, wrinkles=0.003)
    boots = Material((0.045, 0.030, 0.022), 0.15, gloss=0.035, wrinkles=0.002)
    scarf = Material(
        (0.16, 0.07, 0.065), 0.1, (0.03, 0.02, 0.03), 0.3, wrinkles=0.004, crease=(0.08, 0.03, 0.08)
    )
    hair = Material(
        (0.085, 0.052, 0.032),
        0.3,
        (0.009, 0.15, 0.009),
        0.4,
        0.005,
        0.2,
        0.002,
        (0.016, 0.2, 0.016),
    )
    leather = Material((0.085, 0.047, 0.031), 0.15, gloss=0.012, wrinkles=0.004)
    knees = [bones[1][2] for bones in pose.legs]
    shins = [bones[1][2] * 0.6 + bones[2][2] * 0.4 for bones in pose.legs]
    middle, spread = sum(knees) / 2, abs(knees[1] - knees[0]) / 2
    low, reach = sum(shins) / 2, abs(shins[1] - shins[0]) / 2
    body = pose.loft(
        [
            (-0.06, 0.096, 0.078),
            (0.02, 0.092, 0.074),
            (0.09, 0.076, 0.062),
            (0.15, 0.080, 0.064),
            (0.215, 0.089, 0.068),
            (0.262, 0.088, 0.061),
            (0.290, 0.078, 0.051),
            (0.312, 0.056, 0.043),
            (0.335, 0.040, 0.038),
        ]
    )
    skirt = [
        [
            pose.hip - 0.295 * h,
            0.3 * pose.sway,
            0.75 * low - 0.015,
            0.118 * h,
            0.088 * h + 0.75 * reach,
        ],
        [
            pose.hip - 0.20 * h,
            0.6 * pose.sway,
            0.8 * middle - 0.008,
            0.110 * h,
            0.078 * h + 0.75 * spread,
        ],
        [pose.hip - 0.12 * h, pose.sway, 0.5 * middle, 0.102 * h, 0.072 * h + 0.4 * spread],
    ]
    cloth = Loft(skirt + body, 0.075, 4.0, 0.6)
    belt = Loft(
        pose.loft([(0.075, 0.0795, 0.066), (0.085, 0.079, 0.065), (0.103, 0.0785, 0.064)], 0.005)
    )

    def coat(points: Values) -> Values:
        sleeves = [arm(pose, side, points, (0.036, 0.031, 0.027)) for side in (0, 1)]
        body = smooth(0.05, cloth(points), *sleeves)
        behind = points[2] < 0
        return body + np.where(behind, SEAM(points[0]), 0.0) * (points[1] < pose.hip + 0.28 * h)

    def under(points: Values) -> Values:
        return points[1] - np.float32(pose.hip - 0.235 * h)

    return [
        Part(wool, coat),
        Part(wool, belt),
        Part(scarf, lambda p: _scarf(pose, p)),
        Part(hair, lambda p: _locks(pose, p)),
        Part(SKIN, lambda p: head(pose, p)),
        Part(SKIN, lambda p: np.minimum(hand(pose, 0, p), hand(pose, 1, p))),
        Part(dark, lambda p: np.maximum(trousers(pose, p, (0.048, 0.034, 0.025)), under(p))),
        Part(boots, lambda p: np.minimum(shoe(pose, 0, p, 0.45), shoe(pose, 1, p, 0.45))),
        Part(leather, lambda p: _bag(pose, p)),
    ]


def _rucksack(pose: Pose, points: Values) -> Values:
    """Rucksack with a pocket and straps."""
    h = pose.height
    back = pose.ahead(pose.hip + 0.18 * h) - 0.105 * h
    nape = pose.ahead(pose.hip + 0.3 * h)
    y = pose.hip + 0.185 * h
    belly = 1 + 0.6 * np.clip((y - points[1]) / (0.1 * h), -0.6, 0.6)
    shaped = points.copy()
    shaped[2] = back + (points[2] - back) / belly
    main = box(shaped, (0, y, back), (0.077 * h, 0.118 * h, 0.036 * h), 0.035)
    pocket = box(points, (0, y - 0.045 * h, back - 0.05 * h), (0.058 * h, 0.05 * h, 0.02 * h), 0.02)
    zip_line = SEAM(points[1] - y - 0.05 * h - 0.3 * np.abs(points[0]) ** 1.5)
    straps = []
    for s in (-1, 1):
        line = [
            np.array([s * 0.05 * h, y + 0.095 * h, back + 0.03 * h]),
            np.array([s * 0.062 * h, pose.hip + 0.315 * h, nape - 0.005 * h]),
            np.array([s * 0.068 * h, pose.hip + 0.24 * h, nape + 0.072 * h]),
            np.array([s * 0.085 * h, pose.hip + 0.12 * h, nape + 0.01 * h]),
        ]
        straps += [cone(points, a, b, 0.018, 0.018) for a, b in pairwise(line)]
    return smooth(0.015, smooth(0.02, main, pocket) + zip_line, *straps)


def _jacket(person: Person, phase: float) -> list[Part]:
    """A man in a hooded jacket and jeans, with a rucksack."""
    h = person.height
    pose = Pose(h, phase, person.vigour, person.stride, (24, 20), (1.0, 1.0))
    shell = Material(
        (0.075, 0.09, 0.115), 0.05, (0.04, 0.04, 0.04), 0.25, 0.002, 0.1, 0.0045, (0.13, 0.07, 0.13)
    )
    jeans = Material(
        (0.10, 0.125, 0.165),
        0.08,
        (0.03, 0.09, 0.03),
        0.15,
        wrinkles=0.005,
        crease=(0.11, 0.055, 0.11),
    )
    canvas = Material(
        (0.15, 0.145, 0.115), 0.05, gloss=0.004, sheen=0.2, wrinkles=0.005, crease=(0.1, 0.08, 0.1)
    )
    shoes = Material((0.15, 0.14, 0.125), 0.1, gloss=0.01)
    hair = Material(
        (0.06, 0.044, 0.033),
        0.3,
        (0.010, 0.03, 0.010),
        0.3,
        0.004,
        0.1,
        0.003,
        (0.018, 0.04, 0.018),
    )
    body = Loft(
        pose.loft(
            [
                (-0.085, 0.107, 0.094),
                (-0.03, 0.104, 0.086),
                (0.03, 0.099, 0.076),
                (0.10, 0.095, 0.072),
                (0.18, 0.104, 0.075),
                (0.235, 0.109, 0.072),
                (0.275, 0.106, 0.062),
                (0.302, 0.084, 0.052),
                (0.322, 0.058, 0.046),
                (0.345, 0.045, 0.044),
            ]
        ),
        0.03,
        5.0,
        2.0,
    )
    nape = pose.ahead(pose.hip + 0.3 * h)

    def jacket(points: Values) -> Values:
        sleeves = [arm(pose, side, points, (0.040, 0.035, 0.028)) for side in (0, 1)]
        centre = np.array([0.0, pose.hip + 0.312 * h, nape - 0.038 * h], np.float32)
        away = points - centre[:, None]
        ring = np.hypot(away[0], away[2] * 1.05) - 0.050 * h
        hood = np.hypot(ring, away[1] + 0.45 * away[2]) - 0.021 * h
        hem = SEAM(points[1] - pose.hip + 0.035 * h)
        return smooth(0.045, body(points) + hem, *sleeves, hood)

    def under(points: Values) -> Values:
        return points[1] - np.float32(pose.hip - 0.05 * h)

    return [
        Part(shell, jacket),
        Part(canvas, lambda p: _rucksack(pose, p)),
        Part(jeans, lambda p: np.maximum(trousers(pose, p, (0.054, 0.040, 0.036)), under(p))),
        Part(hair, lambda p: cap(pose, p, 0.005, 0.036, -0.038)),
        Part(SKIN, lambda p: head(pose, p)),
        Part(SKIN, lambda p: np.minimum(hand(pose, 0, p), hand(pose, 1, p))),
        Part(shoes, lambda p: np.minimum(shoe(pose, 0, p), shoe(pose, 1, p))),
    ]


def _overcoat(person: Person, phase: float) -> list[Part]:
    """Somebody in a straight overcoat and a woollen hat, hands in the pockets."""
    h = person.height
    pose = Pose(h, phase, person.vigour, person.stride, (42, 46), (0.3, 0.3))
    tweed = Material(
        (0.060, 0.060, 0.063), 0.10, (0.02, 0.02, 0.02), 0.4, 0.0, 0.1, 0.004, (0.11, 0.10, 0.11)
    )
    knit = Material((0.085, 0.062, 0.045), 0.15, (0.02, 0.012, 0.02), 0.5, wrinkles=0.003)
    cord = Material((0.055, 0.048, 0.042), 0.08, (0.02, 0.1, 0.02), 0.2, wrinkles=0.005)
    shoes = Material((0.05, 0.036, 0.027), 0.1, gloss=0.03)
    hair = Material((0.14, 0.135, 0.13), 0.25, (0.01, 0.03, 0.01), 0.3, 0.004, 0.1, 0.002)
    cloth = Loft(
        pose.loft(
            [
                (-0.24, 0.108, 0.092),
                (-0.12, 0.106, 0.088),
                (0.02, 0.102, 0.081),
                (0.10, 0.096, 0.074),
                (0.19, 0.104, 0.074),
                (0.24, 0.108, 0.070),
                (0.276, 0.102, 0.060),
                (0.302, 0.078, 0.050),
                (0.322, 0.054, 0.046),
                (0.352, 0.043, 0.043),
            ]
        ),
        0.04,
        3.0,
        0.3,
    )
    nape = pose.ahead(pose.hip + 0.3 * h)

    def coat(points: Values) -> Values:
        sleeves = [arm(pose, side, points, (0.039, 0.036, 0.030)) for side in (0, 1)]
        behind = (points[2] < 0) & (points[1] < pose.hip)
        return smooth(0.055, cloth(points), *sleeves) + np.where(behind, SEAM(points[0]), 0.0)

    def collar(points: Values) -> Values:
        centre = np.array([0.0, pose.hip + 0.325 * h, nape - 0.006 * h], np.float32)
        away = points - centre[:, None]
        ring = np.hypot(away[0], away[2]) - 0.046 * h + 0.25 * away[1]
        return np.hypot(ring, 0.55 * (away[1] + 0.3 * away[2])) - 0.011 * h

    def hat(points: Values) -> Values:
        brim = cap(pose, points, 0.011, 0.018, -0.012)
        roll = points[1] - (pose.hip + 0.405 * h + 0.012 * h)
        return brim - 0.004 * np.exp(-((roll / 0.03) ** 2))

    return [
        Part(tweed, coat),
        Part(tweed, collar),
        Part(knit, hat),
        Part(hair, lambda p: cap(pose, p, 0.004, 0.02, -0.045)),
        Part(SKIN, lambda p: head(pose, p)),
        Part(cord, lambda p: np.maximum(trousers(pose, p, (0.054, 0.040, 0.036)), p[1] - 0.4 * h)),
        Part(shoes, lambda p: np.minimum(shoe(pose, 0, p), shoe(pose, 1, p))),
    ]


DRESSES: dict[str, Callable[[Person, float], list[Part]]] = {
    "coat": _coat,
    "jacket": _jacket,
    "overcoat": _overcoat,
}
