"""Render the demo bracket: people walk through a hall while a hand-held camera shoots three frames.

    python scripts/make_demo.py PANORAMA OUT_DIR [--truth TRUTH.exr] [--strip STRIP.jpg]

PANORAMA is the equirectangular linear EXR "Old Hall" of Poly Haven (CC0 1.0), 1024x512. The view
has the Panini projection of a wide lens. demo_people.py models the people; demo_render.py lights
them by the panorama, and darkens and mirrors them on the floor. Everything is computed in linear
light, in one canvas of twice the output's resolution; then each frame gets its own hand shake,
exposure, shot and read noise, clipping, the sRGB curve and JPEG. Nothing is drawn at random but the
noise of the sensor and that of the cloth, whose seeds are fixed. It takes two minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from demo_people import Person
from demo_render import EYE_HEIGHT, Body, Hall, directions
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from dfghdr_cli.core.types import FloatImage, RadianceImage
from dfghdr_cli.io.radiance import read_radiance, write_radiance

Floats = NDArray[np.floating[Any]]

WIDTH, HEIGHT = 720, 480
OVERSAMPLING = 2
MARGIN = 24
"""Canvas beyond the frame, for hand shake [output pixels]."""

FIELD_OF_VIEW, YAW = 118.0, 269.8
"""Of the view [degrees]; YAW counts from the panorama's left edge."""

HORIZON = 195.0
"""Its row [output pixels]. With it, no window and no door touches an edge of the frame."""

WHITE = 2.0**2
"""Radiance of the panorama that is white in the middle frame."""

FULL_WELL, READ_NOISE = 16000.0, 3.5
"""Of the sensor [electrons]."""


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
        self.horizon = float(OVERSAMPLING * (MARGIN + HORIZON))

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
        enlarged = cv2.remap(
            log,
            np.broadcast_to(u + border, v.shape).astype(np.float32),
            v.astype(np.float32),
            cv2.INTER_LANCZOS4,
        )
        log = smooth_edges(smooth_edges(np.asarray(enlarged, np.float32)))
        blurred = cv2.GaussianBlur(log, (0, 0), 1.2 * OVERSAMPLING)
        return np.exp(log + 0.6 * (log - blurred)).astype(np.float32)

    def project(self, points: Floats) -> tuple[Floats, Floats]:
        """Columns and rows (n,) where world points (3, n) [m] are seen."""
        longitude = np.arctan2(points[0], -points[2])
        rise = (points[1] - EYE_HEIGHT) / np.hypot(points[0], points[2])
        x = 2 * np.tan(longitude / 2)
        return (
            self.width / 2 + self.focal * x,
            self.horizon - self.focal * rise * 2 / (1 + np.cos(longitude)),
        )

    def rays(self, columns: Floats, rows: Floats) -> FloatImage:
        """Unit vectors (3, rows * columns) in the world, of every row in every column."""
        longitude = 2 * np.arctan((columns[None] - self.width / 2) / self.focal / 2)
        y = (self.horizon - rows[:, None]) / self.focal
        latitude = np.arctan(y * (1 + np.cos(longitude)) / 2)
        return directions(*np.broadcast_arrays(longitude, latitude))


def smooth_edges(image: FloatImage) -> FloatImage:
    """Blur along edges, not across them: an enlarged panorama has stairs there."""
    grey = image.mean(axis=2)
    dx, dy = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    # The structure tensor: its eigenvectors are across the edge and along it.
    xx, xy, yy = (cv2.GaussianBlur(v, (0, 0), 3.0) for v in (dx * dx, dx * dy, dy * dy))
    apart = np.hypot(xx - yy, 2 * xy)
    along = 0.5 * np.arctan2(2 * xy, xx - yy) + np.pi / 2
    coherence = (apart / (xx + yy + 1e-6)) ** 2
    x, y = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in image.shape[1::-1]))
    stepx, stepy = np.cos(along) * coherence, np.sin(along) * coherence
    total, weights = np.zeros_like(image), 0.0
    for step in range(-5, 6):
        weight = float(np.exp(-0.5 * (step / 2.5) ** 2))
        moved = (x + step * stepx, y + step * stepy)
        total += weight * cv2.remap(image, *moved, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        weights += weight
    return total / weights


PEOPLE = (
    Person("overcoat", (-2.36, -4.25), -14.0, 0.02, 0.30, 1.76, vigour=0.10, turn=5.0),
    Person("jacket", (2.28, -3.20), -15.0, 1.10, 0.07, 1.82, vigour=0.95),
    Person("coat", (-0.22, -3.20), 62.0, 1.05, 0.57, 1.69, stride=1.26, vigour=0.9),
)
"""Everybody, from the farthest to the nearest."""

EYE = np.array([0.0, EYE_HEIGHT, 0.0], np.float32)
GLARE = 0.0015
"""Share of the light around that a lens scatters over everything; the panorama has its own."""

SOFTNESS = 1.2
"""Standard deviation of the lens's blur of the people [canvas pixels], as the panorama has it."""


class Layer:
    """One person at one moment, seen through the lens: a window, its coverage and its light."""

    def __init__(self, body: Body, lens: Lens, hall: Hall, skip: int, offset: int) -> None:
        x, z = body.place[0], body.place[2]
        height, half = body.person.height + 0.1, 0.75
        corners = np.array(
            [
                (x + dx, y, z + dz)
                for dx in (-half, half)
                for y in (-0.02, height)
                for dz in (-half, half)
            ]
        ).T
        columns, rows = lens.project(corners)
        left, right = (int(np.clip(v, 0, lens.width)) for v in (columns.min(), columns.max()))
        top, bottom = (int(np.clip(v, 0, lens.height)) for v in (rows.min(), rows.max() + 8))
        right, bottom = (
            low + (high - low) // 2 * 2 for low, high in ((left, right), (top, bottom))
        )
        self.window = (slice(top, bottom), slice(left, right))
        column = left + np.arange(offset % skip, right - left, skip) + 0.5
        row = top + np.arange(offset // 2 % skip, bottom - top, skip) + 0.5
        rays = body.frame @ lens.rays(column, row)
        eye = np.repeat(body.local(EYE[:, None]), rays.shape[1], axis=1)
        away = float(np.hypot(x, z))
        reach = body.trace(eye, rays, away - 1.0, away + 1.6)
        hit = np.isfinite(reach)
        alpha = hit.astype(np.float32)
        color = np.zeros((3, len(hit)), np.float32)
        color[:, hit] = body.shade(hall, eye[:, hit] + rays[:, hit] * reach[hit], rays[:, hit])
        self.mean = color[:, hit].mean(axis=1)
        shape = (len(row), len(column))
        self.alpha = alpha.reshape(shape).repeat(skip, axis=0).repeat(skip, axis=1)
        image = color.T.reshape(*shape, 3).repeat(skip, axis=0).repeat(skip, axis=1)
        self.alpha = cv2.GaussianBlur(self.alpha, (0, 0), SOFTNESS)
        self.color = cv2.GaussianBlur(image, (0, 0), SOFTNESS)

    def over(self, canvas: FloatImage, glare: FloatImage) -> None:
        """Paint it over a canvas."""
        inside, alpha = canvas[self.window], self.alpha[..., None]
        inside *= 1 - alpha
        inside += self.color + GLARE * glare[self.window] * alpha


def ground(canvas: FloatImage, body: Body, mean: FloatImage, lens: Lens, hall: Hall) -> None:
    """Darken the floor where a person stands in the light of it, and mirror them in it."""
    skip = 3
    first = int(lens.horizon) + 20
    column, row = np.arange(1, lens.width, skip) + 0.5, np.arange(first, lens.height, skip) + 0.5
    rays = lens.rays(column, row)
    points = EYE[:, None] + rays * (EYE_HEIGHT / -rays[1])
    near = np.hypot(points[0] - body.place[0], points[2] - body.place[2]) < 2.8
    shape = (len(row), len(column))
    light, mirror = np.ones(near.shape, np.float32), np.zeros(near.shape, np.float32)
    light[near] = body.floor_light(hall, points[:, near])
    mirror[near] = body.floor_mirror(EYE, points[:, near])
    light = cv2.GaussianBlur(light.reshape(shape), (0, 0), 1.0)
    # Polished parquet is rough: what is higher over it is mirrored more blurred, and along the
    # line of sight most.
    foot = float(lens.project(body.place[:, None].astype(np.float64))[1][0])
    rise = np.clip((row - foot) / (0.5 * lens.focal), 0, 1)[:, None].astype(np.float32)
    mirror = mirror.reshape(shape)
    blurs = [cv2.GaussianBlur(mirror, (0, 0), s, sigmaY=1.8 * s) for s in (1.2, 4.0, 9.0)]
    mirror = np.where(
        rise < 0.3,
        blurs[0] + (blurs[1] - blurs[0]) * rise / 0.3,
        blurs[1] + (blurs[2] - blurs[1]) * (rise - 0.3) / 0.7,
    )
    size = (lens.width, lens.height - first)
    light, mirror = (cv2.resize(v, size, interpolation=cv2.INTER_CUBIC) for v in (light, mirror))
    floor = canvas[first:]
    matt = np.percentile(floor.reshape(-1, 3), 30, axis=0).astype(np.float32)
    share = np.clip(matt.mean() / floor.mean(axis=2), 0.2, 0.9)
    kept = share * np.clip(light, 0, 1) + (1 - share) * (1 - 0.85 * np.clip(mirror, 0, 1))
    floor *= kept[..., None]
    floor += 0.07 * np.clip(mirror, 0, 1)[..., None] * mean


def paint(background: FloatImage, moments: Sequence[float], lens: Lens, hall: Hall) -> FloatImage:
    """The canvas with everybody where they are, the mean of `moments` [s]."""
    skip = 1 if len(moments) < 3 else 2
    layers = [
        [Layer(Body(person, moment), lens, hall, skip, index) for person in PEOPLE]
        for index, moment in enumerate(moments)
    ]
    scene = background.copy()
    glare = np.asarray(cv2.GaussianBlur(background, (0, 0), 40.0), np.float32)
    for person, layer in zip(PEOPLE, layers[0], strict=True):
        ground(scene, Body(person, float(np.mean(moments))), layer.mean, lens, hall)
    total = np.zeros_like(scene)
    for people in layers:
        canvas = scene.copy()
        for layer in people:
            layer.over(canvas, glare)
        total += canvas / len(layers)
    return total


def take(
    background: FloatImage, shot: Shot, lens: Lens, hall: Hall, rng: np.random.Generator
) -> tuple[FloatImage, FloatImage]:
    """A frame, as linear light in [0, 1], and the same without exposure, noise and clipping."""
    steps = 8 if shot.time > Fraction(1, 50) else 1
    moments = shot.moment + ((np.arange(steps) + 0.5) / steps - 0.5) * float(shot.time)
    canvas = paint(background, [float(moment) for moment in moments], lens, hall)
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
    lens, hall, rng = Lens(), Hall(panorama, YAW), np.random.default_rng(2022)
    background = lens.look(panorama)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for shot in SHOTS:
        frame, clean = take(background, shot, lens, hall, rng)
        save_jpeg(arguments.out / f"{shot.name}.jpg", frame, shot)
        if shot is REFERENCE and arguments.truth:
            peak = float(REFERENCE.time / min(shot.time for shot in SHOTS))
            image = RadianceImage(clean, peak)
            write_radiance(arguments.truth, image, exr_type="float", overwrite=True)
    if arguments.strip:
        save_strip(arguments.strip, [arguments.out / f"{shot.name}.jpg" for shot in SHOTS])


if __name__ == "__main__":
    main()
