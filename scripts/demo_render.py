"""Light, shade and mirror the people of the demo bracket, by sphere tracing.

World coordinates in metres: the camera is the origin of x (right) and z (towards the viewer) and
`EYE_HEIGHT` above the floor, y = 0. The light is the panorama's own: it is cut into patches of
equal power (the median cut of Debevec, 2005), and every patch is put on the wall, floor or ceiling
of a box of the hall's size, from where it shines as a lamp as wide as the patch.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from demo_people import Person
from demo_shapes import Part, Values, noise
from numpy.typing import NDArray

EYE_HEIGHT = 1.5
"""Of the camera above the floor [m]."""

ROOM = ((-8.0, 8.0), (0.0, 6.5), (-5.4, 6.5))
"""Walls of the hall along x, y and z [m], measured in the panorama."""

LAMPS = 40

CELL = 0.03
"""Of the grid in which shadows are traced [m]."""

PULL = np.array([[0.0], [1.0], [0.0]], np.float32)
"""Creases run askew: this axis is sheared by half of the one to the right."""

STEP = 0.7
"""Share of a distance that a ray advances: fields of folded cloth are not exact."""


def directions(longitude: Values, latitude: Values) -> Values:
    """Unit vectors (3, n) in the world; longitude 0 looks along -z, positive latitude up."""
    x = np.sin(longitude) * np.cos(latitude)
    z = -np.cos(longitude) * np.cos(latitude)
    y = np.broadcast_to(np.sin(latitude), x.shape)
    return np.stack([x.ravel(), y.ravel(), z.ravel()]).astype(np.float32)


@dataclass(frozen=True)
class Lamp:
    """One patch of the panorama: where it is [m], its intensity (3,), and its radius [m]."""

    place: Values
    intensity: Values
    radius: float


class Hall:
    """The light of a panorama.

    Args:
        panorama: (rows, columns, 3) equirectangular radiance.
        yaw: the view's middle, from the panorama's left edge [degrees].
    """

    def __init__(self, panorama: NDArray[np.float32], yaw: float) -> None:
        rows, columns = 128, 256
        small = cv2.resize(panorama, (columns, rows), interpolation=cv2.INTER_AREA)
        small = np.roll(
            np.asarray(small, np.float32), columns // 2 - round(yaw / 360 * columns), axis=1
        )
        self.small = cv2.GaussianBlur(small, (0, 0), 7.0, borderType=cv2.BORDER_REPLICATE)
        latitude = (0.5 - (np.arange(rows)[:, None] + 0.5) / rows) * np.pi
        longitude = ((np.arange(columns)[None] + 0.5) / columns - 0.5) * 2 * np.pi
        toward = directions(*np.broadcast_arrays(longitude, latitude)).reshape(3, rows, columns)
        area = np.broadcast_to(np.cos(latitude) * 2 * np.pi**2 / rows / columns, (rows, columns))
        power = small.mean(axis=2) * area
        self.lamps = [
            self._lamp(small[cut], toward[:, cut[0], cut[1]], area[cut])
            for cut in _median_cut(power, LAMPS)
        ]

    @staticmethod
    def _lamp(radiance: Values, toward: Values, area: Values) -> Lamp:
        power = radiance * area[..., None]
        total = power.sum(axis=(0, 1))
        ray = (toward * power.mean(axis=2)).sum(axis=(1, 2))
        ray /= np.linalg.norm(ray)
        eye = np.array([0.0, EYE_HEIGHT, 0.0])
        far = [
            (wall[int(ray[axis] > 0)] - eye[axis]) / ray[axis]
            for axis, wall in enumerate(ROOM)
            if abs(ray[axis]) > 1e-6
        ]
        away = min(far)
        place = (eye + away * ray).astype(np.float32)
        radius = float(np.sqrt(area.sum() / np.pi)) * away
        return Lamp(place, (total * away**2).astype(np.float32), radius)

    def mirrored(self, toward: Values) -> Values:
        """Radiance (3, n) that a satin surface mirrors from directions (3, n)."""
        rows, columns = self.small.shape[:2]
        u = (np.arctan2(toward[0], -toward[2]) / (2 * np.pi) + 0.5) * columns - 0.5
        v = (0.5 - np.arcsin(np.clip(toward[1], -1, 1)) / np.pi) * rows - 0.5
        seen = cv2.remap(self.small, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(seen, np.float32).reshape(-1, 3).T


def _median_cut(power: Values, count: int) -> list[tuple[slice, slice]]:
    """Split a picture into `count` rectangles of about equal power, the largest first."""
    cuts = [(slice(0, power.shape[0]), slice(0, power.shape[1]))]
    while len(cuts) < count:
        sizes = [power[cut].sum() if max(power[cut].shape) > 1 else 0.0 for cut in cuts]
        cut = cuts.pop(int(np.argmax(sizes)))
        part = power[cut]
        axis = int(part.shape[1] > part.shape[0])
        along = np.cumsum(part.sum(axis=1 - axis))
        at = int(np.clip(np.searchsorted(along, along[-1] / 2) + 1, 1, len(along) - 1))
        start = cut[axis].start
        for piece in (slice(start, start + at), slice(start + at, cut[axis].stop)):
            cuts.append((piece, cut[1]) if axis == 0 else (cut[0], piece))
    return cuts


class Body:
    """A person at one moment, placed in the hall."""

    def __init__(self, person: Person, moment: float) -> None:
        self.person = person
        self._parts: list[Part] = person.parts(moment)
        x, z, angle = person.at(moment)
        self.place = np.array([x, 0.0, z], np.float32)
        right = (np.cos(angle), 0.0, np.sin(angle))
        ahead = (np.sin(angle), 0.0, -np.cos(angle))
        self.frame = np.array([right, (0.0, 1.0, 0.0), ahead], np.float32)

        top = person.height + 0.1
        self._low, self._high = np.array([[-0.7, -0.05, -0.9], [0.7, top, 0.9]], np.float32)
        axes = [
            np.arange(low, high + CELL, CELL, dtype=np.float32)
            for low, high in zip(self._low, self._high, strict=True)
        ]
        self._high = np.array([axis[-1] for axis in axes], np.float32)
        grid = np.stack([v.ravel() for v in np.meshgrid(*axes, indexing="ij")])
        field = self.distance(grid).astype(np.float32)
        # Torch interpolates in (depth, height, width), and names them the other way round.
        self._grid = torch.from_numpy(field.reshape([len(a) for a in axes]))[None, None]

    def rough(self, points: Values) -> Values:
        """Distance of local points (n,), interpolated in a grid: for shadows."""
        low, high = self._low[:, None], self._high[:, None]
        inside = np.clip(points, low, high)
        place = ((inside - low) / (high - low) * 2 - 1)[::-1].T
        sample = torch.from_numpy(np.ascontiguousarray(place))[None, :, None, None]
        found = torch.nn.functional.grid_sample(self._grid, sample, align_corners=True)
        away = points - inside
        return np.sqrt(np.maximum(found.numpy().ravel(), 0) ** 2 + (away * away).sum(axis=0))

    def local(self, points: Values) -> Values:
        """World points (3, n) in the person's own frame."""
        return self.frame @ (points - self.place[:, None])

    def distance(self, points: Values) -> Values:
        """Distance of local points."""
        return np.min([part.distance(points) for part in self._parts], axis=0)

    def trace(self, eye: Values, rays: Values, near: float, far: float) -> Values:
        """How far local rays (3, n) from `eye` (3, n) go until they hit [m]; inf if they do not."""
        reach = np.full(rays.shape[1], near, np.float32)
        result = np.full(rays.shape[1], np.inf, np.float32)
        live = np.arange(rays.shape[1])
        for _ in range(90):
            at = eye[:, live] + rays[:, live] * reach[live]
            gap = self.rough(at) - CELL
            close = gap < 2 * CELL
            gap[close] = self.distance(at[:, close])
            hit = gap < 0.0015
            result[live[hit]] = reach[live[hit]]
            reach[live] += STEP * np.maximum(gap, 0.001)
            live = live[~hit & (reach[live] < far)]
            if not len(live):
                break
        return result

    def visible(self, points: Values, lamp: Lamp, start: float, reach: float, steps: int) -> Values:
        """How much of a lamp local points (3, n) see past the body, 0 to 1."""
        place = self.local(lamp.place[:, None])
        ray = place - points
        away = np.sqrt(np.einsum("in,in->n", ray, ray))
        ray /= away
        sharp = away / max(lamp.radius, 0.05)
        result = np.ones(points.shape[1], np.float32)
        t = np.full(points.shape[1], start, np.float32)
        live = np.arange(points.shape[1])
        for _ in range(steps):
            at = points[:, live] + ray[:, live] * t[live]
            gap = self.rough(at)
            result[live] = np.minimum(result[live], 0.5 + 0.5 * sharp[live] * gap / t[live])
            t[live] += np.clip(gap, 0.04, 0.4)
            live = live[(result[live] > 0) & (t[live] < reach) & (at[1] < 2.0)]
            if not len(live):
                break
        result = np.clip(result, 0, 1)
        return result * result * (3 - 2 * result)

    def surface(self, points: Values) -> tuple[NDArray[np.intp], Values]:
        """The part each local point is on (n,) and the normal there (3, n), creases included."""
        owner = np.argmin([part.distance(points) for part in self._parts], axis=0)
        normals = np.zeros_like(points)
        for index, part in enumerate(self._parts):
            mine = owner == index
            if not mine.any():
                continue
            at = points[:, mine]
            for sign in ((1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)):
                corner = np.array(sign, np.float32)[:, None]
                moved = at + 0.003 * corner
                value = part.distance(moved)
                material = part.material
                if material.wrinkles:
                    # Sharp valleys between soft ridges, as cloth creases.
                    pulled = moved + np.float32(0.5) * moved[[1, 0, 1]] * PULL
                    value = value + material.wrinkles * (
                        np.abs(noise(pulled, material.crease))
                        + 0.25 * noise(pulled, tuple(0.45 * c for c in material.crease))
                    )
                normals[:, mine] += corner * value
        normals /= np.sqrt(np.einsum("in,in->n", normals, normals)) + 1e-9
        return owner, normals

    def occlusion(self, points: Values, normals: Values) -> Values:
        """How open a local point's surroundings are, 0 to 1, the floor included."""
        closed = np.zeros(points.shape[1], np.float32)
        for step, weight in ((0.02, 0.5), (0.05, 0.3), (0.11, 0.2)):
            at = points + normals * step
            gap = np.minimum(self.distance(at), np.maximum(at[1], 0))
            closed += weight * np.clip(1 - gap / step, 0, 1)
        return 1 - 0.85 * closed

    def shade(self, hall: Hall, points: Values, rays: Values) -> Values:
        """Radiance (3, n) of local points, seen along local rays (3, n)."""
        owner, normals = self.surface(points)
        facing = np.clip(-np.einsum("in,in->n", normals, rays), 0, 1)
        opened = self.occlusion(points, normals)
        wrap, sheen, gloss = (
            np.array([getattr(p.material, name) for p in self._parts], np.float32)[owner]
            for name in ("wrap", "sheen", "gloss")
        )
        light = np.zeros_like(points)
        lifted = points + normals * 0.012
        for lamp in hall.lamps:
            ray = self.local(lamp.place[:, None]) - points
            away = np.sqrt(np.einsum("in,in->n", ray, ray))
            cosine = np.einsum("in,in->n", normals, ray) / away
            lit = np.clip((cosine + wrap) / (1 + wrap), 0, 1)
            lit *= (1 + sheen * (1 - facing) ** 2) / np.maximum(away, 1.0) ** 2
            some = np.flatnonzero(lit)
            if len(some):
                lit[some] *= self.visible(lifted[:, some], lamp, 0.02, 0.8, 9)
            light += lamp.intensity[:, None] * lit
        albedo = np.zeros_like(points)
        for index, part in enumerate(self._parts):
            mine = owner == index
            material = part.material
            at = points[:, mine]
            vary = noise(at, material.grain) + 0.6 * noise(at, tuple(4 * g for g in material.grain))
            vary = np.exp(material.mottle * vary)
            albedo[:, mine] = np.array(material.albedo, np.float32)[:, None] * vary
        color = light * albedo / np.float32(np.pi) * opened
        mirror = rays + 2 * facing * normals
        fresnel = gloss * (1 + 7 * (1 - facing) ** 5)
        color += hall.mirrored(self.frame.T @ mirror) * fresnel * opened**2
        return color.astype(np.float32)

    def floor_light(self, hall: Hall, points: Values) -> Values:
        """Share of the light that world points (3, n) on the floor keep, with the body there."""
        place = self.local(points)
        full, left = np.full(points.shape[1], 1e-9, np.float32), np.zeros_like(points[0])
        for lamp in hall.lamps:
            if lamp.place[1] < 0.2:
                continue
            ray = lamp.place[:, None] - points
            away = np.sqrt(np.einsum("in,in->n", ray, ray))
            light = float(lamp.intensity.mean()) * ray[1] / np.maximum(away, 1.0) ** 3
            full += light
            left += light * self.visible(place, lamp, 0.01, 2.2, 16)
        # What so few lamps do not resolve: it is darkest where a sole touches the floor.
        gap = np.minimum(self.rough(place), 0.12)
        return left / full * (1 - 0.75 * np.exp(-gap / 0.025))

    def floor_mirror(self, eye: Values, points: Values) -> Values:
        """Whether world points (3, n) on a polished floor show the body to `eye` (3,)."""
        ray = points - eye[:, None]
        ray /= np.sqrt(np.einsum("in,in->n", ray, ray))
        ray[1] *= -1
        hit = self.trace(self.local(points), self.frame @ ray, 0.005, 3.5)
        return np.isfinite(hit).astype(np.float32)
