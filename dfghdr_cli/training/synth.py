"""Moving, noisy brackets with known truth, made from still HDR images.

One sample is a pure function of (settings, seed, index): it does not depend on which worker makes
it, or when, so a resumed training sees exactly the samples it would have seen.

A scene is a background and up to four foreground layers cut from other HDR images with soft random
outlines. For every frame the camera shakes (a homography) and each layer moves rigidly and deforms.
The frames are exposed by a random camera (`dfghdr_cli.training.camera`) and matched by the very
functions that the merge uses; only the homography is not estimated but the true one with a residual
error. That takes a CPU long, and is done once. What a sample is beyond that, `training.develop`
makes on any device, and several of one scene. The truth is the reference frame's clean radiance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.utils.data import default_collate

from dfghdr_cli.core.encoding import decode
from dfghdr_cli.core.frames import CodedBracket, CodedFrame
from dfghdr_cli.core.noise import noise_curve
from dfghdr_cli.core.registration.align import Alignment
from dfghdr_cli.core.registration.aligned import AlignedBracket
from dfghdr_cli.core.registration.flow import LEAST_REDUCTION, dense_flow
from dfghdr_cli.core.types import FloatImage
from dfghdr_cli.core.worth import Worth, apart
from dfghdr_cli.errors import InputError
from dfghdr_cli.nets.candidates import Candidates, candidate_layout
from dfghdr_cli.training.camera import draw_camera, expose
from dfghdr_cli.training.develop import Draw, Scenes, develop, draw
from dfghdr_cli.training.samples import Arrays, Batch, Sample, Samples

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SynthConfig:
    """What the synthesised brackets are like.

    Attributes:
        crop: side of a training sample [pixels].
        margin: border rendered around it, for what motion brings in [pixels].
        batch: samples a batch; all of a batch share how many frames they have.
        max_motion: longest path of a foreground layer between two other frames [pixels].
        variants: samples of each scene; those of one scene are in as many batches, one after the
            other.
        curved: share of scenes that a camera with a tone curve of its own takes.
        permute_channels: whether red, green and blue may change places.
    """

    crop: int = 144
    margin: int = 44
    batch: int = 4
    max_motion: float = 120.0
    variants: int = 8
    curved: float = 0.4
    permute_channels: bool = True

    @property
    def size(self) -> int:
        """Side of the rendered patch [pixels]."""
        return self.crop + 2 * self.margin


# Signs of the stops of the frames besides the reference, and how often a batch has them.
COMPOSITIONS: tuple[tuple[float, tuple[int, ...]], ...] = (
    (0.73, (-1, 1)),
    (0.06, (-1,)),
    (0.05, (1,)),
    (0.07, (-1, -1)),
    (0.03, (1, 1)),
    (0.06, (-1, -1, 1, 1)),
)


def _smooth_noise(rng: np.random.Generator, size: int, cells: int, channels: int) -> FloatImage:
    """Band-limited noise (size, size, channels), about N(0, 1), `cells` bumps across."""
    coarse = rng.standard_normal((cells + 3, cells + 3, channels)).astype(np.float32)
    noise = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.asarray(noise, np.float32).reshape(size, size, channels)


def _similarity(centre: Sequence[float], angle: float, scale: float, shift: ArrayLike) -> Matrix:
    """3x3 similarity: rotate [rad] and scale about `centre` (x, y), then shift [pixels]."""
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    x, y = centre
    dx, dy = np.asarray(shift, np.float64)
    return np.array(
        [
            [c, -s, x - c * x + s * y + dx],
            [s, c, y - s * x - c * y + dy],
            [0.0, 0.0, 1.0],
        ]
    )


def _shake(rng: np.random.Generator, size: int, shift: float) -> Matrix:
    """A hand-held homography that moves the patch by about `shift` pixels and turns it slightly."""
    middle = size / 2
    matrix = _similarity(
        (middle, middle),
        float(np.deg2rad(rng.normal(0, 0.06 * shift))),
        float(np.exp(rng.normal(0, 4e-4 * shift))),
        rng.normal(0, shift / 1.5, 2),
    )
    matrix[2, :2] = rng.normal(0, 1e-6 * shift, 2)
    return matrix


@dataclass(frozen=True, slots=True)
class _Layer:
    """A foreground object: its texture and outline in patch coordinates at rest, and its path."""

    texture: FloatImage  # (S, S, 3), radiance
    alpha: FloatImage  # (S, S)
    centre: tuple[float, float]
    velocity: NDArray[np.float64]  # [pixels per frame interval]
    spin: float  # [rad per frame interval]
    growth: float  # [log scale per frame interval]
    wave: FloatImage  # (S, S, 2) [pixels], grows with time


class SceneSynthesiser(Samples):
    """The samples, by index. See the module's description.

    Each is a dict of float32 arrays as `Candidates` has them, without the batch dimension: `code`
    (K, 3, H, W), `trust` (K, 1, H, W), `stops` (K,), `peak` (), `limits` (K, 3, 4), `tolerance`
    (K, 3, 2); and `truth` (3, H, W) in network space [0, 1].

    The samples of batch b are made of the scenes of its group b // variants: the s-th sample of
    each of these batches is one of the s-th scene.
    """

    def __init__(
        self, images: Sequence[NDArray[np.float16]], config: SynthConfig, seed: int, length: int
    ) -> None:
        """Images are (H, W, 3) linear, any scale; `length` is the number of samples."""
        # One tensor in shared memory, which every worker process sees without a copy.
        self.shapes = [image.shape for image in images]
        self.pixels = torch.from_numpy(np.concatenate([image.ravel() for image in images]))
        self.pixels.share_memory_()
        self.ends = np.cumsum([image.size for image in images])
        self.config = config
        self.seed = seed
        self.length = length

    def _image(self, number: int) -> NDArray[np.float16]:
        """HDR image (H, W, 3)."""
        shape, end = self.shapes[number], int(self.ends[number])
        return self.pixels[end - shape[0] * shape[1] * 3 : end].numpy().reshape(shape)

    def __len__(self) -> int:
        """Number of samples."""
        return self.length

    def __getitem__(self, index: int) -> Sample:
        """Sample number `index`."""
        scene = Scenes.of([default_collate([self.raw(index)])], torch.device("cpu"))
        return {name: value[0].numpy() for name, value in self.finished(scene, [index]).items()}

    def begins(self, batch: int) -> bool:
        """See `Samples`: every `variants` batches."""
        return batch % self.config.variants == 0

    def raw(self, index: int) -> Arrays:
        """The scene that sample `index` is made of.

        F frames of S x S pixels, the reference first, the others dark to bright: `radiance`
        (F, 3, S, S) float16, 1 = the reference's white; `exposures` (F,), and what they are taken
        for, `stops` (F - 1,); `found` (F - 1, 3, 3), from the reference's pixels to theirs;
        `untouched` (F - 1,) bool, where that is nothing; `flow` (F - 1, 2, S, S) [pixels]; `noise`
        (L,), the `NoiseCurve` of the reference; and what `draw_camera` gives.
        """
        cv2.setNumThreads(1)
        size, variants = self.config.batch, self.config.variants
        group = index // size // variants
        signs = self._composition(np.random.default_rng((self.seed, 1, group)))
        rng = np.random.default_rng((self.seed, 0, group * size + index % size))
        for _ in range(20):
            scene = self._scene(rng, signs)
            if scene is not None:
                return scene
        raise InputError(
            "the HDR images are too dark or too uniform to make brackets from; give other ones"
        )

    def prepared(self, parts: Sequence[Batch], batch: int, device: torch.device) -> Scenes:
        """See `Samples`."""
        del batch
        return Scenes.of(parts, device)

    def finished(self, prepared: Scenes, indices: Sequence[int]) -> Batch:
        """See `Samples`."""
        return develop(prepared, [self._draw(index) for index in indices], self.config.crop)

    def apart(self, count: int) -> Iterable[int]:
        """See `Samples`."""
        size, variants = self.config.batch, self.config.variants
        return (k // size * size * variants + k % size for k in range(count))

    def _draw(self, index: int) -> Draw:
        rng = np.random.default_rng((self.seed, 3, index))
        return draw(
            rng,
            self.config.margin,
            varied=self.config.variants > 1,
            permute_channels=self.config.permute_channels,
        )

    @staticmethod
    def _composition(rng: np.random.Generator) -> tuple[int, ...]:
        shares = [share for share, _ in COMPOSITIONS]
        return COMPOSITIONS[int(rng.choice(len(shares), p=shares))][1]

    @staticmethod
    def _stops(rng: np.random.Generator, signs: tuple[int, ...]) -> list[float]:
        """Stops of the other frames, dark to bright: steps of 1 to 3.5, half of them whole."""
        step = float(rng.choice([1, 2, 2, 3, 3])) if rng.random() < 0.5 else rng.uniform(0.7, 3.5)
        if len(signs) > 2:
            step = min(step, 2.0)
        stops = []
        for sign in (-1, 1):
            total = 0.0
            for _ in range(signs.count(sign)):
                total += step * (rng.uniform(0.6, 1.4) if rng.random() < 0.25 else 1.0)
                stops.append(sign * total)
        return sorted(stops)

    def _view(self, rng: np.random.Generator) -> Callable[[Matrix], FloatImage]:
        """A random camera on a random image: a function from patch motion to what it then sees."""
        size = self.config.size
        image = self._image(int(rng.integers(len(self.shapes))))
        height, width = image.shape[:2]
        # Panoramas are stretched towards the poles: keep to the middle band.
        band = (0.17, 0.83) if width == 2 * height else (0.0, 1.0)
        top, room = height * band[0], height * (band[1] - band[0])
        zoom = float(np.exp(rng.uniform(np.log(0.7), np.log(1.9))))
        zoom = min(zoom, 0.95 * room / size, 0.95 * width / size)
        span = zoom * size
        left = rng.uniform(0, max(width - span, 1e-3))
        upper = top + rng.uniform(0, max(room - span, 1e-3))
        flip = 1.0 if rng.random() < 0.5 else -1.0
        turn = int(rng.integers(4))
        middle = size / 2
        place = np.array(
            [[zoom * flip, 0, left + span / 2], [0, zoom, upper + span / 2], [0, 0, 1]]
        )
        place = place @ _similarity((0, 0), turn * np.pi / 2, 1.0, (0, 0))
        place = place @ np.array([[1, 0, -middle], [0, 1, -middle], [0, 0, 1.0]])
        order = rng.permutation(3)
        if not self.config.permute_channels:
            order = np.arange(3)
        # Work on the part of the image that any motion can reach.
        reach = span * 0.75 + 40 * zoom
        x0, x1 = (int(np.clip(left + span / 2 + d * reach, 0, width)) for d in (-1, 1))
        y0, y1 = (int(np.clip(upper + span / 2 + d * reach, 0, height)) for d in (-1, 1))
        part = np.maximum(image[y0:y1, x0:x1][..., order].astype(np.float32), 0.0)
        place = np.array([[1, 0, -x0], [0, 1, -y0], [0, 0, 1.0]]) @ place
        kernel = cv2.INTER_LINEAR if zoom > 1.0 else cv2.INTER_CUBIC

        def see(motion: Matrix) -> FloatImage:
            flags = kernel | cv2.WARP_INVERSE_MAP
            view = cv2.warpPerspective(
                part, place @ motion, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT_101
            )
            return np.maximum(view, 0.0)

        return see

    def _layer(self, rng: np.random.Generator, level: float) -> _Layer:
        size = self.config.size
        radius = float(np.exp(rng.uniform(np.log(10), np.log(80))))
        centre = rng.uniform(0.1 * size, 0.9 * size, 2)
        # A star-shaped outline with a random Fourier series, stretched and turned.
        theta = np.linspace(0, 2 * np.pi, 72, endpoint=False)
        outline = np.ones_like(theta)
        roughness = rng.uniform(0.05, 0.45)
        for k in range(1, 7):
            outline += roughness / k * rng.normal() * np.cos(k * theta + rng.uniform(0, 2 * np.pi))
        outline = radius * np.clip(outline, 0.15, 3)
        stretch = np.exp(rng.uniform(-0.8, 0.8) / 2)
        points = np.stack([np.cos(theta) * outline * stretch, np.sin(theta) * outline / stretch], 1)
        angle = rng.uniform(0, np.pi)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        points = points @ turn.T + centre
        mask = np.zeros((size, size), np.uint8)
        cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        alpha = mask.astype(np.float32) / 255
        softness = float(np.exp(rng.uniform(np.log(0.4), np.log(4.0))))
        alpha = np.asarray(cv2.GaussianBlur(alpha, (0, 0), softness), np.float32)
        if rng.random() < 0.15:
            alpha *= rng.uniform(0.5, 0.95)
        texture = self._view(rng)(np.eye(3))
        brightness = max(float(np.median(texture)), 1e-12)
        texture *= np.float32(level / brightness * 2.0 ** rng.uniform(-3.5, 3.0))
        speed = float(np.exp(rng.uniform(np.log(1.0), np.log(self.config.max_motion / 2))))
        if rng.random() < 0.08:
            speed = 0.0
        direction = rng.uniform(0, 2 * np.pi)
        amplitude = rng.uniform(0.5, 4.0) if rng.random() < 0.5 else 0.0
        wave = _smooth_noise(rng, size, int(rng.integers(2, 6)), 2) * np.float32(amplitude)
        return _Layer(
            texture,
            alpha,
            (float(centre[0]), float(centre[1])),
            speed * np.array([np.cos(direction), np.sin(direction)]),
            float(rng.normal(0, 0.06)),
            float(rng.normal(0, 0.03)),
            wave,
        )

    def _render(
        self,
        see: Callable[[Matrix], FloatImage],
        layers: Sequence[_Layer],
        shake: Matrix,
        time: float,
    ) -> FloatImage:
        """Radiance (S, S, 3) of the scene at `time` [frame intervals from the reference]."""
        size = self.config.size
        picture = see(shake)
        for layer in layers:
            # Output pixel -> world (shake) -> layer at rest (inverse of its motion).
            motion = _similarity(
                layer.centre,
                layer.spin * time,
                float(np.exp(layer.growth * time)),
                layer.velocity * time,
            )
            place = np.linalg.inv(motion) @ shake
            both = np.dstack([layer.texture, layer.alpha])
            if time != 0.0 and layer.wave.any():
                grid = np.mgrid[0:size, 0:size].astype(np.float32)
                z = place[2, 0] * grid[1] + place[2, 1] * grid[0] + place[2, 2]
                x = (place[0, 0] * grid[1] + place[0, 1] * grid[0] + place[0, 2]) / z
                y = (place[1, 0] * grid[1] + place[1, 1] * grid[0] + place[1, 2]) / z
                x = (x + layer.wave[..., 0] * time).astype(np.float32)
                y = (y + layer.wave[..., 1] * time).astype(np.float32)
                moved = cv2.remap(both, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
            else:
                flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
                moved = cv2.warpPerspective(
                    both, place, (size, size), flags=flags, borderMode=cv2.BORDER_CONSTANT
                )
            alpha = moved[..., 3:]
            picture = picture + alpha * (moved[..., :3] - picture)
        return np.asarray(picture, np.float32)

    def _scene(self, rng: np.random.Generator, signs: tuple[int, ...]) -> Arrays | None:
        """One scene, or None if the dice gave one without content."""
        stops = self._stops(rng, signs)
        see = self._view(rng)
        still = see(np.eye(3))
        level = float(np.median(still))
        if not np.isfinite(still).all() or level <= 0:
            return None
        count = 0 if rng.random() < 0.18 else int(rng.integers(1, 5))
        layers = [self._layer(rng, level) for _ in range(count)]
        clean = self._render(see, layers, np.eye(3), 0.0)

        # Exposure: up to 35 % of the reference clipped; half of the scenes darker still.
        white = float(np.quantile(clean.max(2)[::2, ::2], 1 - rng.uniform(0, 0.35)))
        if white <= 0:
            return None
        if rng.random() < 0.5:
            white *= 2.0 ** rng.uniform(0, 4.5)
        gain = np.float32(1.0 / white)
        layers = [replace(layer, texture=layer.texture * gain) for layer in layers]

        def view(motion: Matrix) -> FloatImage:
            return see(motion) * gain

        radiance, shakes = self._frames(rng, view, layers, stops)
        radiance.insert(0, clean * gain)
        # The aligner is good to a few hundredths of a pixel, or else something misled it.
        residual = float(rng.choice([0.04, 0.3, rng.uniform(0.5, 4.0)], p=[0.65, 0.2, 0.15]))
        if all((shake == np.eye(3)).all() for shake in shakes) and rng.random() < 0.7:
            residual = 0.0  # a tripod: the aligner leaves the frames untouched
        size = self.config.size
        # A shake maps a frame's pixels to the world.
        found = [
            np.linalg.inv(shake) @ _shake(rng, size, residual) if residual else shake
            for shake in shakes
        ]
        planes = np.stack([frame.transpose(2, 0, 1) for frame in radiance])
        scene: Arrays = {
            "radiance": np.minimum(planes, 60000.0).astype(np.float16),
            "exposures": np.array([0.0, *(stops + self._mistakes(rng, len(stops)))], np.float32),
            "stops": np.array(stops, np.float32),
            "found": np.stack(found).astype(np.float32),
            "untouched": np.array([bool((matrix == np.eye(3)).all()) for matrix in found]),
            **self._camera(rng, 1 + len(stops)),
        }
        return scene | self._matched(rng, scene)

    def _camera(self, rng: np.random.Generator, frames: int) -> Arrays:
        return draw_camera(rng, frames, self.config.curved)

    @staticmethod
    def _mistakes(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """How much brighter frames are than they are said to be [stops]."""
        return rng.normal(0.0, 1.0, count) * (0.04 if rng.random() < 0.3 else 0.0)

    def _frames(
        self,
        rng: np.random.Generator,
        view: Callable[[Matrix], FloatImage],
        layers: Sequence[_Layer],
        stops: Sequence[float],
    ) -> tuple[list[FloatImage], list[Matrix]]:
        """Radiance (S, S, 3) of the frames but the reference, and their shakes."""
        size = self.config.size
        hand = float(np.exp(rng.uniform(np.log(0.5), np.log(14.0)))) if rng.random() < 0.85 else 0.0
        darker = sum(stop < 0 for stop in stops)
        times = [t for t in range(-darker, len(stops) - darker + 1) if t != 0]
        if rng.random() < 0.3:
            rng.shuffle(times)
        blur = rng.uniform(0.1, 0.5) if rng.random() < 0.2 else 0.0
        radiance, shakes = [], []
        for stop, time in zip(stops, times, strict=True):
            shake = _shake(rng, size, hand) if hand else np.eye(3)
            # The shutter of a long exposure stays open for a part of the interval.
            open_for = blur * min(2.0**stop, 4.0) / 4.0 if layers else 0.0
            moments = np.linspace(-0.5, 0.5, 5) * open_for if open_for > 0.02 else np.zeros(1)
            exposed = [self._render(view, layers, shake, time + moment) for moment in moments]
            radiance.append(np.mean(np.stack(exposed), axis=0) if len(exposed) > 1 else exposed[0])
            shakes.append(shake)
        return radiance, shakes

    def _matched(self, rng: np.random.Generator, scene: Arrays) -> Arrays:
        """What a merge finds out about the frames of a scene: motion and noise."""
        batch = default_collate([scene])
        noise = torch.randn(
            batch["radiance"].shape,
            generator=torch.Generator().manual_seed(int(rng.integers(2**62))),
        )
        codes = expose(
            batch["radiance"].float(),
            batch["exposures"],
            batch,
            noise,
            batch["jpeg"].tolist(),
            curved=bool(scene["curved"]),
        )
        first, *others = np.ascontiguousarray(codes[0].permute(0, 2, 3, 1).numpy())
        # As coarsely as the motion in a picture of up to 2.5 megapixels is looked for.
        reduction = LEAST_REDUCTION * (2.0 ** rng.uniform(0, 1) if rng.random() < 0.4 else 1.0)
        worth = Worth(scene["limits"], scene["tolerance"])  # pyright: ignore
        aligned = _aligned_truly(first, others, scene, worth)
        stops = scene["stops"].tolist()
        darker = aligned.coded.reference
        pairs = [aligned.warped(k) for k in range(1 + len(stops)) if k != darker]
        reference, flows = decode(first), []
        for (code, _), stop in zip(pairs, stops, strict=True):
            allowed = apart(first, code, stop, (worth, worth))
            flow = dense_flow(
                reference, decode(code), stop, allowed=allowed, least_reduction=reduction
            )
            flows.append(flow.transpose(2, 0, 1))
        noise = noise_curve([first], [[code] for code, _ in pairs], [[t] for _, t in pairs], stops)
        return {"flow": np.stack(flows), "noise": np.array(noise, np.float32)}


def _aligned_truly(
    reference: FloatImage, others: Sequence[FloatImage], scene: Arrays, worth: Worth
) -> AlignedBracket:
    """A scene's frames, dark to bright, as a merge would have them if it found `found`."""
    stops = scene["stops"].tolist()
    darker = sum(stop < 0 for stop in stops)
    alignments = [
        Alignment(matrix, "none" if (matrix == np.eye(3)).all() else "homography", 0.0, 0)
        for matrix in scene["found"].astype(np.float64)
    ]
    alignments.insert(darker, Alignment(np.eye(3), "none", 0.0, 0))
    frames = [*others[:darker], reference, *others[darker:]]
    coded = CodedBracket(
        tuple(CodedFrame.of_code(code, worth) for code in frames),
        (*stops[:darker], 0.0, *stops[darker:]),
        darker,
    )
    return AlignedBracket(coded, tuple(alignments))


def to_candidates(batch: Mapping[str, Tensor]) -> Candidates:
    """A collated batch of samples as the networks take it."""
    stops = batch["stops"]
    others = stops[0, 2::2]
    layout = candidate_layout(1 + len(others), int((others < 0).sum()))
    found = Candidates(batch["code"], batch["trust"], stops, batch["peak"], *layout)
    worth = {name: batch[name] for name in ("limits", "tolerance") if name in batch}
    return replace(found, **worth)
