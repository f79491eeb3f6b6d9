"""How the demo bracket's people walk: joints at a moment of a stride, and limbs around them.

In a person's own frame, in metres: x to their right, y up from the floor, z forward. Proportions
are those of textbooks on anthropometry, as shares of the body height; the angles of the sole over
a stride and the share of it in which a foot is on the floor are rounded from those of gait
analysis. Sides are 0 for left and 1 for right.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from demo_shapes import Values, cone, ellipsoid, smooth

_STANCE = 0.62
"""Share of a stride in which a foot is on the floor."""

_CYCLE = (0.0, 0.08, 0.38, 0.50, 0.62, 0.68, 0.85, 1.0)
_PITCH = (14.0, 0.0, 0.0, -16.0, -48.0, -56.0, -2.0, 14.0)
"""Of the sole over a stride [degrees], positive with the toes up."""


def _turned(angle: float, length: float) -> Values:
    """A bone of `length` that hangs down, turned forward by `angle` [degrees]."""
    return length * np.array([0.0, -np.cos(np.radians(angle)), np.sin(np.radians(angle))])


def _foot(part: float, h: float, stride: float, vigour: float) -> tuple[list[Values], Values]:
    """Heel, ball, tip and up direction of a foot, and its ankle [m], at a part of the stride.

    On the floor it stays in place, so it goes back as fast as the body goes ahead; the heel
    lands first and lifts first. Then it swings.
    """

    def posed(z: float, pitch: float) -> list[Values]:
        ahead = np.array([0.0, np.sin(pitch), np.cos(pitch)])
        heel, ball = np.array([0.0, 0.0, z - 0.022 * h]), np.array([0.0, 0.0, z + 0.079 * h])
        if pitch > 0:
            ball = heel + 0.101 * h * ahead
        else:
            heel = ball - 0.101 * h * ahead
        # Toes stay level where the heel is up.
        bent = max(pitch, 0.3 * pitch)
        tip = ball + 0.038 * h * np.array([0.0, np.sin(max(bent, 0.0)), np.cos(bent)])
        return [heel, ball, tip, np.array([0.0, np.cos(pitch), -np.sin(pitch)])]

    pitch = vigour * np.radians(np.interp(part, _CYCLE, _PITCH))
    if part < _STANCE:
        foot = posed(stride * (0.245 - part), pitch)
    else:
        swing = (part - _STANCE) / (1 - _STANCE)
        go = 0.5 - 0.5 * np.cos(np.pi * swing)
        foot = posed(stride * (0.245 - _STANCE * (1 - go)), pitch)
        lift = 0.045 * h * vigour * np.sin(np.pi * swing) ** 1.5
        foot[:3] = [point + np.array([0.0, lift, 0.0]) for point in foot[:3]]
    heel, ball, _, up = foot
    return foot, heel + 0.21 * (ball - heel) + 0.045 * h * up


def _leg(hip: Values, ankle: Values, bone: float) -> list[Values]:
    """Hip, knee and ankle of a leg of two bones of equal length [m], the knee bent forward."""
    line = ankle - hip
    length = float(np.linalg.norm(line))
    reach = min(length, 1.995 * bone)
    line /= length
    side = np.cross(line, np.array([1.0, 0.0, 0.0]))
    side *= np.sign(side[2]) / np.linalg.norm(side)
    knee = hip + line * reach / 2 + side * np.sqrt(bone**2 - (reach / 2) ** 2)
    return [hip, knee, ankle]


class Pose:
    """Where the joints of a walking person are [m].

    Args:
        height: of the body [m].
        phase: of the stride, in strides; the right heel touches the floor at whole numbers.
        vigour: share of the movement of a brisk walk; 0 stands still.
        stride: length of two steps [m].
        elbows: how far the elbows are bent (left, right) [degrees].
        swing: how far the arms swing (left, right), as a share.
    """

    def __init__(
        self,
        height: float,
        phase: float,
        vigour: float,
        stride: float,
        elbows: tuple[float, float] = (18.0, 18.0),
        swing: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        h = self.height = height
        turn = vigour * np.cos(2 * np.pi * phase)
        self.lean = np.radians(1 + 3 * vigour)
        self.hip = (0.500 - 0.009 * vigour * np.cos(4 * np.pi * phase) + 0.016 * (1 - vigour)) * h
        self.feet, self.legs, self.arms = [], [], []
        for side, shift in ((-1, 0.5), (1, 0.0)):
            foot, ankle = _foot((phase + shift) % 1, h, vigour * stride, vigour)
            away = np.array([side * (0.040 - 0.012 * vigour) * h, 0.0, 0.0])
            top = np.array([side * 0.050 * h, self.hip, side * turn * 0.014 * h])
            self.feet.append([point + away for point in foot[:3]] + [foot[3]])
            self.legs.append(_leg(top, ankle + away, 0.236 * h))
            arm = -side * turn * 16 * swing[side > 0] + 3
            shoulder = np.array([side * 0.104 * h, self.hip + 0.279 * h, -side * turn * 0.02 * h])
            shoulder[2] += np.sin(self.lean) * 0.29 * h
            elbow = shoulder + _turned(arm, 0.172 * h) + np.array([side * 0.022 * h, 0, 0])
            bend = elbows[side > 0] + max(0.0, arm) * 0.5
            wrist = elbow + _turned(arm + bend, 0.150 * h) - np.array([side * 0.006 * h, 0, 0])
            hand = wrist + _turned(arm + bend + 6, 0.085 * h)
            self.arms.append([shoulder, elbow, wrist, hand])
        self.sway = 0.012 * h * vigour * np.sin(2 * np.pi * phase)

    def ahead(self, y: float) -> float:
        """How far forward the spine is at height `y` [m]."""
        return float(np.sin(self.lean) * max(0.0, y - self.hip))

    def loft(
        self, rows: Sequence[tuple[float, float, float]], extra: float = 0.0
    ) -> list[list[float]]:
        """A profile around the spine, of rows (height over the hips, half width, half depth).

        All are shares of the body height; `extra` [m] is added all around.
        """
        h = self.height
        return [
            [
                self.hip + y * h,
                0.0,
                self.ahead(self.hip + y * h),
                w * h + extra,
                d * h + extra,
            ]
            for y, w, d in rows
        ]


def shoe(pose: Pose, side: int, points: Values, tall: float = 0.0) -> Values:
    """Shoe of one side; with `tall`, a boot up to that share of the shin."""
    heel, ball, tip, up = pose.feet[side]
    h = pose.height
    lift = up * 0.019 * h
    shape = smooth(
        0.02,
        cone(points, heel + lift, ball + lift, 0.019 * h, 0.023 * h),
        cone(points, ball + lift, tip + lift * 0.8 - (tip - ball) * 0.3, 0.023 * h, 0.016 * h),
        cone(
            points,
            pose.legs[side][2] - up * 0.012 * h,
            pose.legs[side][2] + tall * (pose.legs[side][1] - pose.legs[side][2]),
            0.018 * h,
            (0.018 + 0.024 * tall) * h,
        ),
    )
    sole = -(up.astype(np.float32) @ (points - heel.astype(np.float32)[:, None]))
    return np.maximum(shape, np.minimum(sole, 0.1) - 0.001)


def hand(pose: Pose, side: int, points: Values) -> Values:
    """Hand with a thumb, of one side."""
    _, _, wrist, hand = pose.arms[side]
    h = pose.height
    palm = wrist + 0.5 * (hand - wrist)
    thumb = palm + np.array([-(2 * side - 1) * 0.004, -0.008, 0.016]) * h
    return smooth(
        0.012,
        cone(points, wrist, palm, 0.015 * h, 0.020 * h),
        cone(points, palm, hand, 0.019 * h, 0.010 * h),
        cone(points, wrist + 0.2 * (hand - wrist), thumb, 0.010 * h, 0.007 * h),
    )


def arm(pose: Pose, side: int, points: Values, radii: tuple[float, float, float]) -> Values:
    """Sleeve of one side, of radii at shoulder, elbow and wrist, shares of the body height."""
    shoulder, elbow, wrist, _ = pose.arms[side]
    h = pose.height
    return smooth(
        0.02,
        cone(points, shoulder, elbow, radii[0] * h, radii[1] * h),
        cone(points, elbow, wrist, radii[1] * h, radii[2] * h),
    )


def trousers(pose: Pose, points: Values, radii: tuple[float, float, float]) -> Values:
    """Both legs and the seat, of radii at hip, knee and ankle, shares of the body height."""
    h = pose.height
    limbs = []
    for hip, knee, ankle in pose.legs:
        below = ankle + 0.13 * (ankle - knee)
        limbs.append(
            smooth(
                0.03,
                cone(points, hip, knee, radii[0] * h, radii[1] * h),
                cone(points, knee, below, radii[1] * h, radii[2] * h),
            )
        )
    seat = ellipsoid(
        points, (pose.sway, pose.hip + 0.015 * h, -0.012 * h), (0.098 * h, 0.075 * h, 0.075 * h)
    )
    return smooth(0.03, *limbs, seat)


def head(pose: Pose, points: Values) -> Values:
    """Skull, jaw, nose, ears and neck, without hair."""
    h = pose.height
    y, z = pose.hip + 0.405 * h, pose.ahead(pose.hip + 0.3 * h) + 0.012 * h
    skull = ellipsoid(points, (0, y, z), (0.043 * h, 0.056 * h, 0.054 * h))
    jaw = ellipsoid(points, (0, y - 0.034 * h, z + 0.021 * h), (0.034 * h, 0.036 * h, 0.032 * h))
    tip = np.array([0, y - 0.018 * h, z + 0.057 * h])
    nose = cone(points, np.array([0, y + 0.002 * h, z + 0.049 * h]), tip, 0.004 * h, 0.008 * h)
    neck = cone(
        points,
        np.array([0, pose.hip + 0.29 * h, z - 0.022 * h]),
        np.array([0, y - 0.02 * h, z - 0.008 * h]),
        0.036 * h,
        0.031 * h,
    )
    ears = [
        ellipsoid(
            points, (s * 0.043 * h, y - 0.01 * h, z - 0.004 * h), (0.006 * h, 0.017 * h, 0.010 * h)
        )
        for s in (-1, 1)
    ]
    return smooth(0.012, smooth(0.02, skull, jaw, neck), nose, *ears)


def cap(pose: Pose, points: Values, thickness: float, brow: float, nape: float) -> Values:
    """Hair around the skull: down to `brow` in front and `nape` behind, shares of the height."""
    h = pose.height
    y, z = pose.hip + 0.405 * h, pose.ahead(pose.hip + 0.3 * h) + 0.012 * h
    t = thickness * h
    ball = ellipsoid(
        points,
        (0, y + 0.004 * h, z - 0.005 * h),
        (0.043 * h + t, 0.057 * h + t, 0.055 * h + t),
    )
    # The hairline rises from the nape over the ears to the forehead.
    across = (points[2] - (z - 0.055 * h)) / (0.11 * h)
    line = y + (nape + (brow - nape) * np.clip(across, 0, 1) ** 1.3) * h
    return np.maximum(ball, 0.7 * (line - points[1]))
