"""Render the demo bracket: two people cross a hall while a hand-held camera shoots three frames.

    python benchmarks/make_demo.py PANORAMA OUT_DIR [--truth TRUTH.exr] [--strip STRIP.jpg]

PANORAMA is the equirectangular linear EXR "Old Hall" of Poly Haven (CC0 1.0). The view has the
Panini projection of a wide lens; the people are drawn here, part by part, and lit by the panorama.
Everything is computed in linear light, in one canvas of twice the output's resolution; then each
frame gets its own hand shake, exposure, shot and read noise, clipping, the sRGB curve and JPEG.
Nothing is drawn at random but the noise, whose seed is fixed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from dfghdr_cli.core.types import FloatImage, RadianceImage
from dfghdr_cli.io.radiance import read_radiance, write_radiance

Floats = NDArray[np.float64]

WIDTH, HEIGHT = 720, 480
OVERSAMPLING = 2
MARGIN = 24
"""Canvas beyond the frame, for hand shake [output pixels]."""

FIELD_OF_VIEW, YAW, PITCH = 130.0, 275.0, -5.0
"""Of the view [degrees]; YAW counts from the panorama's left edge."""

WHITE = 2.0**2
"""Radiance of the panorama that is white in the middle frame."""

FULL_WELL, READ_NOISE = 16000.0, 3.5
"""Of the sensor [electrons]."""

EYE_HEIGHT = 1.5
"""Of the camera above the floor [m]."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One frame: its name, exposure time [s], rotation [degrees], shift [pixels] and moment [s]."""

    name: str
    time: Fraction
    rotation: float
    shift: tuple[float, float]
    moment: float


SHOTS = (
    Shot("1_short", Fraction(1, 800), 0.35, (5.3, -3.1), -0.62),
    Shot("2_mid", Fraction(1, 100), 0.0, (0.0, 0.0), 0.0),
    Shot("3_long", Fraction(2, 25), -0.28, (-4.4, 5.2), 0.66),
)
REFERENCE = SHOTS[1]


class Lens:
    """Panini projection (Sharpless, Postle and German, 2010) at distance 1, with a shifted horizon.

    Coordinates x, y are canvas pixels from the top left corner of the canvas.
    """

    def __init__(self) -> None:
        half = np.radians(FIELD_OF_VIEW / 2)
        self.focal = OVERSAMPLING * WIDTH / 2 / (2 * np.tan(half / 2))
        self.width = OVERSAMPLING * (WIDTH + 2 * MARGIN)
        self.height = OVERSAMPLING * (HEIGHT + 2 * MARGIN)
        self.horizon = self.height / 2 + self.focal * np.tan(np.radians(PITCH))

    def look(self, panorama: FloatImage) -> FloatImage:
        """The canvas (height, width, 3), linear, seen in an equirectangular panorama."""
        rows, columns = panorama.shape[:2]
        x = (np.arange(self.width) + 0.5 - self.width / 2) / self.focal
        y = (np.arange(self.height)[:, None] + 0.5 - self.horizon) / self.focal
        longitude = 2 * np.arctan(x / 2)
        latitude = np.arctan2(y, 2 / (1 + np.cos(longitude)))
        u = (longitude / (2 * np.pi) + YAW / 360) % 1 * columns - 0.5
        v = (latitude / np.pi + 0.5) * rows - 0.5
        # In the logarithm, where a window is not brighter than a resampling filter can bear.
        log = np.log(np.maximum(panorama, 1e-6))
        border = 8
        log = np.concatenate([log[:, -border:], log, log[:, :border]], axis=1)
        log = cv2.remap(
            log,
            np.broadcast_to(u + border, v.shape).astype(np.float32),
            v.astype(np.float32),
            cv2.INTER_LANCZOS4,
        )
        blurred = cv2.GaussianBlur(log, (0, 0), 1.2 * OVERSAMPLING)
        return np.exp(log + 0.6 * (log - blurred)).astype(np.float32)

    def feet(self, x: float, distance: float) -> tuple[float, float]:
        """Canvas row of the floor at `distance` [m] in column `x`, and canvas pixels a metre."""
        longitude = 2 * np.arctan((x - self.width / 2) / self.focal / 2)
        scale = float(self.focal * 2 / (1 + np.cos(longitude)) / distance)
        return self.horizon + EYE_HEIGHT * scale, scale


class Light:
    """Light from all sides, as a panorama records it, falling on matt surfaces."""

    def __init__(self, panorama: FloatImage) -> None:
        small = cv2.resize(panorama, (128, 64), interpolation=cv2.INTER_AREA).astype(np.float64)
        latitude = (0.5 - (np.arange(64)[:, None] + 0.5) / 64) * np.pi
        longitude = ((np.arange(128)[None] + 0.5) / 128 - YAW / 360) * 2 * np.pi
        toward = _directions(longitude, latitude).reshape(-1, 3)
        area = np.broadcast_to(np.cos(latitude), (64, 128)).reshape(-1, 1) * 2 * np.pi**2 / 64 / 128
        normals = _directions(
            ((np.arange(32)[None] + 0.5) / 32 - 0.5) * 2 * np.pi,
            (0.5 - (np.arange(16)[:, None] + 0.5) / 16) * np.pi,
        )
        facing = np.maximum(normals.reshape(-1, 3) @ toward.T, 0)
        table = facing @ (small.reshape(-1, 3) * area) / np.pi
        self._table = table.reshape(16, 32, 3).astype(np.float32)

    def reflected(self, nx: Floats, ny: Floats, nz: Floats) -> Floats:
        """What white paper of normal (right, up, to the camera) reflects: (..., 3) radiance."""
        longitude = np.arctan2(nx, -nz) / (2 * np.pi) + 0.5
        latitude = 0.5 - np.arcsin(np.clip(ny, -1, 1)) / np.pi
        table = np.concatenate([self._table[:, -1:], self._table, self._table[:, :1]], axis=1)
        u, v = (longitude * 32 + 0.5).astype(np.float32), (latitude * 16 - 0.5).astype(np.float32)
        light = cv2.remap(table, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return light.astype(np.float64)


def _directions(longitude: Floats, latitude: Floats) -> Floats:
    """Unit vectors (right, up, to the camera); longitude 0 looks away from the camera."""
    x, y = np.sin(longitude) * np.cos(latitude), np.sin(latitude)
    z = -np.cos(longitude) * np.cos(latitude)
    return np.stack(np.broadcast_arrays(x, y, z), axis=-1)


@dataclass(frozen=True, slots=True)
class Cloth:
    """A matt material: albedo of red, green and blue, depth of its folds, and share of light."""

    albedo: tuple[float, float, float]
    folds: float = 0.0
    shade: float = 1.0


class Sheet:
    """Where one person is drawn: a window of the canvas, in metres around the point on the floor.

    `color` is premultiplied radiance, `alpha` coverage. In the methods, `sign` is +1 for a person
    who walks to the right; x is forward, y up.
    """

    def __init__(
        self, shape: tuple[int, int], origin: tuple[float, float], scale: float, height: float
    ) -> None:
        top, left = origin[1] - height * scale, origin[0] - height / 2 * scale
        bottom, right = origin[1] + 0.1 * scale, origin[0] + height / 2 * scale
        self.window = (
            slice(max(int(top), 0), min(int(bottom), shape[0])),
            slice(max(int(left), 0), min(int(right), shape[1])),
        )
        rows, columns = np.mgrid[self.window]
        self.color = np.zeros((*rows.shape, 3))
        self.alpha = np.zeros(rows.shape)
        self.scale = scale
        self.x = (columns + 0.5 - origin[0]) / scale
        self.y = (origin[1] - rows - 0.5) / scale

    def tube(
        self,
        points: Sequence[tuple[float, float]],
        radii: Sequence[float],
        cloth: Cloth,
        light: Light,
        sign: int,
    ) -> None:
        """Add a chain of tapered round segments [m]."""
        x = self.x * sign
        best = np.full(x.shape, np.inf)
        distance, nx, ny, along = (np.zeros(x.shape) for _ in range(4))
        start = 0.0
        for (ax, ay), (bx, by), ra, rb in zip(points, points[1:], radii, radii[1:], strict=False):
            length = float(np.hypot(bx - ax, by - ay)) or 1e-6
            tx, ty = (bx - ax) / length, (by - ay) / length
            part = np.clip(((x - ax) * tx + (self.y - ay) * ty) / length, 0, 1)
            radius = ra + part * (rb - ra)
            dx, dy = x - ax - part * (bx - ax), self.y - ay - part * (by - ay)
            gap = np.hypot(dx, dy) - radius
            closer = gap < best
            best = np.where(closer, gap, best)
            distance = np.where(closer, gap, distance)
            nx, ny = np.where(closer, dx / radius, nx), np.where(closer, dy / radius, ny)
            along = np.where(closer, start + part * length, along)
            start += length
        self._paint(distance, nx * sign, ny, along, cloth, light)

    def drape(
        self,
        heights: Sequence[float],
        centres: Sequence[float],
        half_widths: Sequence[float],
        cloth: Cloth,
        light: Light,
        sign: int,
    ) -> None:
        """Add hanging cloth, given by its middle and half width at rising heights [m]."""
        middle = np.interp(self.y, heights, centres)
        half = np.interp(self.y, heights, half_widths)
        across = self.x * sign - middle
        distance = np.maximum(np.abs(across) - half, heights[0] - self.y)
        distance = np.maximum(distance, self.y - heights[-1])
        nx = across / half
        fall = np.clip((heights[-1] - self.y) / (heights[-1] - heights[0]), 0, 1)
        folds = np.sin(nx * 9 + 2.1 * np.sin(4 * self.y)) + 0.6 * np.sin(nx * 17 + 5 * self.y)
        nx = nx + cloth.folds * fall * folds
        self._paint(distance, nx * sign, np.zeros_like(nx), self.y, cloth, light)

    def _paint(
        self, distance: Floats, nx: Floats, ny: Floats, along: Floats, cloth: Cloth, light: Light
    ) -> None:
        alpha = np.clip(0.5 - distance * self.scale, 0, 1)
        ny = ny + 0.5 * cloth.folds * np.sin(along * 43 + 4 * nx + 3 * np.sin(along * 17))
        length = np.hypot(nx, ny)
        shrink = 0.97 / np.maximum(length, 0.97)
        nx, ny = nx * shrink, ny * shrink
        nz = np.sqrt(1 - nx**2 - ny**2)
        color = light.reflected(nx, ny, nz) * np.array(cloth.albedo) * cloth.shade
        self.color = self.color * (1 - alpha[..., None]) + color * alpha[..., None]
        self.alpha = self.alpha * (1 - alpha) + alpha


@dataclass(frozen=True, slots=True)
class Walker:
    """Somebody who crosses the view.

    Attributes:
        x: where they are at moment 0 [output pixels].
        distance: from the camera [m].
        speed: [m/s], to the right where positive.
        phase: of the stride at moment 0 [radians].
        height: [m].
        top: the jacket or coat.
        legs: trousers or stockings.
        shoes: shoes.
        hair: hair.
        coat: whether `top` reaches the knees.
    """

    x: float
    distance: float
    speed: float
    phase: float
    height: float
    top: Cloth
    legs: Cloth
    shoes: Cloth
    hair: Cloth
    coat: bool


SKIN = Cloth((0.46, 0.29, 0.21))
WALKERS = (
    Walker(
        x=508.0,
        distance=3.9,
        speed=-1.05,
        phase=0.9,
        height=1.80,
        top=Cloth((0.17, 0.22, 0.31), 0.4),
        legs=Cloth((0.12, 0.11, 0.10), 0.12),
        shoes=Cloth((0.35, 0.33, 0.30)),
        hair=Cloth((0.06, 0.045, 0.035)),
        coat=False,
    ),
    Walker(
        x=318.0,
        distance=2.9,
        speed=1.0,
        phase=1.9,
        height=1.68,
        top=Cloth((0.42, 0.06, 0.045), 0.5),
        legs=Cloth((0.05, 0.05, 0.06), 0.05),
        shoes=Cloth((0.07, 0.05, 0.04)),
        hair=Cloth((0.16, 0.09, 0.05)),
        coat=True,
    ),
)
STRIDE = 1.3
"""Length of two steps [m]."""


def _leg(phase: float) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Hip, knee and ankle, and heel and toe, with the hip at the origin, of a 1 m tall person."""
    thigh = np.radians(20) * np.sin(phase)
    shin = thigh - np.radians(6) - np.radians(46) * max(0.0, np.cos(phase)) ** 2
    foot = 0.55 * shin
    knee = (0.245 * np.sin(thigh), -0.245 * np.cos(thigh))
    ankle = (knee[0] + 0.235 * np.sin(shin), knee[1] - 0.235 * np.cos(shin))
    heel = (ankle[0] - 0.02, ankle[1] - 0.018)
    toe = (heel[0] + 0.115 * np.cos(foot), heel[1] + 0.115 * np.sin(foot))
    return [(0.0, 0.0), knee, ankle], [heel, toe]


def draw(walker: Walker, moment: float, lens: Lens, light: Light) -> tuple[Sheet, float]:
    """The person at one moment, and the floor's row in the canvas."""
    start = (walker.x + MARGIN) * OVERSAMPLING
    _, scale = lens.feet(start, walker.distance)
    column = start + walker.speed * moment * scale
    floor, scale = lens.feet(column, walker.distance)
    unit = walker.height
    sheet = Sheet((lens.height, lens.width), (column, floor), scale, 1.1 * unit)
    sign = 1 if walker.speed > 0 else -1
    phase = walker.phase + 2 * np.pi * abs(walker.speed) * moment / STRIDE
    legs = [_leg(phase + np.pi), _leg(phase)]
    hip = 0.014 - min(y for _, foot in legs for _, y in foot)

    def tube(
        points: Sequence[tuple[float, float]], radii: Sequence[float], cloth: Cloth, up: float = 0.0
    ) -> None:
        scaled = [(x * unit, (y + up) * unit) for x, y in points]
        sheet.tube(scaled, [radius * unit for radius in radii], cloth, light, sign)

    def arm(swing: float, cloth: Cloth, skin: Cloth) -> None:
        upper, lower = np.radians(20) * swing, np.radians(20) * swing + np.radians(18 + 8 * swing)
        shoulder = (0.0, hip + 0.285)
        elbow = (0.165 * np.sin(upper), shoulder[1] - 0.165 * np.cos(upper))
        wrist = (elbow[0] + 0.14 * np.sin(lower), elbow[1] - 0.14 * np.cos(lower))
        hand = (wrist[0] + 0.045 * np.sin(lower), wrist[1] - 0.045 * np.cos(lower))
        tube([wrist, hand], [0.017, 0.019], skin)
        tube([shoulder, elbow, wrist], [0.042, 0.033, 0.025], cloth)

    def leg(index: int, shade: float) -> None:
        bones, foot = legs[index]
        dim = [Cloth(c.albedo, c.folds, c.shade * shade) for c in (walker.legs, walker.shoes)]
        tube(foot, [0.021, 0.014], dim[1], hip)
        tube(bones, [0.07, 0.047, 0.028 if not walker.coat else 0.022], dim[0], hip)

    far = Cloth(walker.top.albedo, walker.top.folds, 0.6)
    arm(float(np.sin(phase)), far, Cloth(SKIN.albedo, 0.0, 0.6))
    leg(0, 0.6)
    leg(1, 1.0)
    tube([(0.004, hip + 0.28), (0.02, hip + 0.375)], [0.042, 0.036], SKIN)
    if walker.coat:
        swing = 0.03 * float(np.sin(2 * phase))
        rise = [hip - 0.27, hip - 0.1, hip + 0.02, hip + 0.13, hip + 0.25, hip + 0.31, hip + 0.33]
        sheet.drape(
            [value * unit for value in rise],
            [value * unit for value in (swing - 0.01, swing / 2, 0, 0, 0.004, 0, 0)],
            [value * unit for value in (0.125, 0.1, 0.085, 0.07, 0.08, 0.062, 0.04)],
            walker.top,
            light,
            sign,
        )
    else:
        spine = [(-0.004, hip - 0.02), (0.0, hip + 0.1), (0.006, hip + 0.22), (0.003, hip + 0.29)]
        tube(spine, [0.066, 0.066, 0.074, 0.045], walker.top)
    tube([(0.036, hip + 0.398), (0.034, hip + 0.445)], [0.042, 0.056], SKIN)
    tube([(0.08, hip + 0.424), (0.09, hip + 0.414)], [0.010, 0.008], SKIN)
    if walker.coat:
        crown = [
            (0.042, hip + 0.478),
            (0.01, hip + 0.462),
            (-0.008, hip + 0.40),
            (-0.02, hip + 0.33),
        ]
        tube(crown, [0.034, 0.048, 0.045, 0.024], walker.hair)
    else:
        tube(
            [(0.052, hip + 0.482), (0.015, hip + 0.47), (-0.002, hip + 0.43)],
            [0.022, 0.042, 0.036],
            walker.hair,
        )
    arm(-float(np.sin(phase)), walker.top, SKIN)
    return sheet, floor


def paint(background: FloatImage, moment: float, lens: Lens, light: Light) -> FloatImage:
    """The canvas with everybody where they are at `moment` [s]."""
    canvas = background.copy()
    for walker in WALKERS:
        sheet, floor = draw(walker, moment, lens, light)
        # The windows are behind them: what the floor would mirror of the windows, they hide.
        coverage = np.zeros(canvas.shape[:2], np.float32)
        coverage[sheet.window] = sheet.alpha
        rows = np.arange(lens.height)
        mirrored = np.clip(np.rint(2 * floor - rows).astype(int), 0, lens.height - 1)
        hidden = coverage[mirrored] * (rows[:, None] >= floor)
        hidden = cv2.GaussianBlur(hidden, (0, 0), 7.0, sigmaY=12.0)
        fade = np.exp(-np.maximum(rows - floor, 0) / (0.35 * lens.focal))[:, None]
        canvas *= (1 - 0.7 * hidden * fade)[..., None].astype(np.float32)
        inside = canvas[sheet.window]
        inside *= (1 - sheet.alpha)[..., None].astype(np.float32)
        inside += sheet.color.astype(np.float32)
    return canvas


def take(
    background: FloatImage, shot: Shot, lens: Lens, light: Light, rng: np.random.Generator
) -> tuple[FloatImage, FloatImage]:
    """A frame, as linear light in [0, 1], and the same without exposure, noise and clipping."""
    steps = 9 if shot.time > Fraction(1, 50) else 3
    moments = shot.moment + ((np.arange(steps) + 0.5) / steps - 0.5) * float(shot.time)
    canvas = np.mean([paint(background, moment, lens, light) for moment in moments], axis=0)
    middle = (lens.width / 2, lens.height / 2)
    move = cv2.getRotationMatrix2D(middle, shot.rotation, 1.0)
    move[:, 2] += np.array(shot.shift) * OVERSAMPLING - MARGIN * OVERSAMPLING
    size = (WIDTH * OVERSAMPLING, HEIGHT * OVERSAMPLING)
    shaken = cv2.warpAffine(canvas.astype(np.float32), move, size, flags=cv2.INTER_CUBIC)
    clean = cv2.resize(np.maximum(shaken, 0), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    clean = clean.astype(np.float32) / np.float32(WHITE)
    electrons = clean * FULL_WELL * float(shot.time / REFERENCE.time)
    electrons += rng.normal(size=clean.shape) * np.sqrt(electrons + READ_NOISE**2)
    return np.clip(electrons / FULL_WELL, 0, 1).astype(np.float32), clean


def save_jpeg(path: Path, light: FloatImage, shot: Shot) -> None:
    """Write linear light as an sRGB JPEG with the EXIF data that a camera would give it."""
    power = 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055
    codes = np.where(light <= 0.0031308, 12.92 * light, power)
    exif = Image.Exif()
    camera = exif.get_ifd(0x8769)
    camera[0x829A] = IFDRational(shot.time.numerator, shot.time.denominator)
    camera[0x829D] = IFDRational(8, 1)
    camera[0x8827] = 100
    camera[0xA001] = 1
    image = Image.fromarray(np.rint(codes * 255).astype(np.uint8))
    image.save(path, "JPEG", quality=95, subsampling="4:2:2", exif=exif)


def save_strip(path: Path, frames: Sequence[Path]) -> None:
    """Write the frames side by side, at two thirds of their size, as a picture for a page."""
    small = (WIDTH * 2 // 3, HEIGHT * 2 // 3)
    gap = 6
    strip = Image.new("RGB", (len(frames) * (small[0] + gap) - gap, small[1]), "white")
    for index, frame in enumerate(frames):
        with Image.open(frame) as image:
            strip.paste(
                image.resize(small, Image.Resampling.LANCZOS), (index * (small[0] + gap), 0)
            )
    strip.save(path, "JPEG", quality=90)


def main() -> None:
    """Render the frames, and the truth of the middle one if asked."""
    parser = argparse.ArgumentParser(description="Render the demo bracket.")
    parser.add_argument("panorama", type=Path, help="equirectangular linear EXR")
    parser.add_argument("out", type=Path, help="folder for the frames")
    parser.add_argument("--truth", type=Path, help="also write the middle frame's radiance here")
    parser.add_argument("--strip", type=Path, help="also write the frames side by side here")
    arguments = parser.parse_args()
    panorama, _ = read_radiance(arguments.panorama)
    lens, light, rng = Lens(), Light(panorama), np.random.default_rng(2022)
    background = lens.look(panorama)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for shot in SHOTS:
        frame, clean = take(background, shot, lens, light, rng)
        save_jpeg(arguments.out / f"{shot.name}.jpg", frame, shot)
        if shot is REFERENCE and arguments.truth:
            peak = float(REFERENCE.time / min(shot.time for shot in SHOTS))
            image = RadianceImage(clean, peak)
            write_radiance(arguments.truth, image, exr_type="float", overwrite=True)
    if arguments.strip:
        save_strip(arguments.strip, [arguments.out / f"{shot.name}.jpg" for shot in SHOTS])


if __name__ == "__main__":
    main()
