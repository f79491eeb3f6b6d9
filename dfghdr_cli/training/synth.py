"""Moving, noisy brackets with known truth, made from still HDR images.

One sample is a pure function of (settings, seed, index): it does not depend on which worker makes
it, or when, so a resumed training sees exactly the samples it would have seen.

A scene is a background and up to four foreground layers cut from other HDR images with soft random
outlines. For every frame the camera shakes (a homography) and each layer moves rigidly and deforms.
The frames are exposed, given shot and read noise, clipped, encoded and quantised as a camera would,
then aligned and flow-warped by the very functions that the merge uses; only the homography is not
estimated but the true one with a residual error. The truth is the reference frame's clean radiance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.utils.data import Dataset

from dfghdr_cli.core.align import warp_with_trust
from dfghdr_cli.core.flow import LEAST_REDUCTION, dense_flow
from dfghdr_cli.core.noise import noise_curve, smooth
from dfghdr_cli.core.radiance import decode, encode
from dfghdr_cli.core.types import FloatImage
from dfghdr_cli.core.undershoot import repair_undershoot
from dfghdr_cli.errors import InputError
from dfghdr_cli.nets.candidates import Candidates, candidate_layout

Sample = dict[str, NDArray[np.float32]]
Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SynthConfig:
    """What the synthesised brackets are like.

    Attributes:
        crop: side of a training sample [pixels].
        margin: border rendered around it, for what motion brings in [pixels].
        batch: samples a batch; all of a batch share how many frames they have.
        max_motion: longest path of a foreground layer between two other frames [pixels].
    """

    crop: int = 144
    margin: int = 44
    batch: int = 4
    max_motion: float = 120.0

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


def _aligned(
    code: FloatImage,
    found: Matrix,
    reference: FloatImage,
    stops: float,
    flow: FloatImage | None = None,
    *,
    is_darkest: bool,
) -> tuple[FloatImage, FloatImage]:
    """A frame and its trust as `engine.AlignedBracket.warped` returns them."""
    size = code.shape[0], code.shape[1]
    aligned, trust = warp_with_trust(code, found, size, flow, is_darkest=is_darkest)
    return repair_undershoot(aligned, trust, reference, stops), trust


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


class TripletSynthesiser(Dataset[Sample]):
    """The samples, by index. See the module's description.

    Each is a dict of float32 arrays as `Candidates` has them, without the batch dimension: `code`
    (K, 3, H, W), `trust` (K, 1, H, W), `stops` (K,), `peak` (); and `truth` (3, H, W) in network
    space [0, 1].
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
        cv2.setNumThreads(1)
        batch = index // self.config.batch
        signs = self._composition(np.random.default_rng((self.seed, 1, batch)))
        rng = np.random.default_rng((self.seed, 0, index))
        for _ in range(20):
            sample = self._attempt(rng, signs)
            if sample is not None:
                return sample
        raise InputError(
            "the HDR images are too dark or too uniform to make brackets from; give other ones"
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

    def _expose(
        self, rng: np.random.Generator, radiance: FloatImage, stops: float, camera: dict[str, float]
    ) -> FloatImage:
        """The gamma code (S, S, 3) float32 that a frame records."""
        linear = radiance * np.float32(2.0**stops)
        deviation = np.sqrt(camera["shot"] * np.clip(linear, 0.0, 1.0) + camera["read"] ** 2)
        noise = rng.standard_normal(linear.shape, np.float32)
        code = encode(linear + noise * deviation.astype(np.float32))
        if camera["curve"]:
            # A residual error of the response curve, none at black and white.
            power = np.float32(np.exp(rng.normal(0, camera["curve"])))
            code = code**power
        # Many cameras' developing leaves nothing of the deepest shadows, which no curve undoes.
        code = np.where(code < camera["black"], np.float32(0), code)
        if camera["jpeg"]:
            stored = np.round(code * 255).astype(np.uint8)
            quality = [cv2.IMWRITE_JPEG_QUALITY, int(camera["jpeg"])]
            stored = cv2.imdecode(cv2.imencode(".jpg", stored, quality)[1], cv2.IMREAD_COLOR)
            return stored.astype(np.float32) / np.float32(255)  # pyright: ignore
        levels = np.float32(camera["levels"])
        return np.round(code * levels) / levels

    def _attempt(self, rng: np.random.Generator, signs: tuple[int, ...]) -> Sample | None:
        """One sample, or None if the dice gave a scene without content."""
        config, size = self.config, self.config.size
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

        clean = clean * gain
        camera = {
            "shot": 10.0 ** rng.uniform(-5.0, -3.3),
            "read": 10.0 ** rng.uniform(-4.0, -2.8),
            "levels": float(rng.choice([255, 255, 1023, 4095, 65535])),
            "jpeg": float(rng.integers(85, 99)) if rng.random() < 0.2 else 0.0,
            "curve": 0.0,
            "black": rng.uniform(0.02, 0.1) if rng.random() < 0.25 else 0.0,
        }
        curve = 0.02 if rng.random() < 0.3 else 0.0
        wrong_exposure = 0.04 if rng.random() < 0.3 else 0.0
        hand = float(np.exp(rng.uniform(np.log(0.5), np.log(14.0)))) if rng.random() < 0.85 else 0.0
        darker = sum(stop < 0 for stop in stops)
        times = [t for t in range(-darker, len(stops) - darker + 1) if t != 0]
        if rng.random() < 0.3:
            rng.shuffle(times)
        blur = rng.uniform(0.1, 0.5) if rng.random() < 0.2 else 0.0
        # The aligner is good to a few hundredths of a pixel, or else something misled it.
        residual = float(rng.choice([0.04, 0.3, rng.uniform(0.5, 4.0)], p=[0.65, 0.2, 0.15]))
        if not hand and rng.random() < 0.7:
            residual = 0.0  # a tripod: the aligner leaves the frames untouched

        # As coarsely as the motion in a picture of up to 2.5 megapixels is looked for.
        reduction = LEAST_REDUCTION * (2.0 ** rng.uniform(0, 1) if rng.random() < 0.4 else 1.0)

        reference = self._expose(rng, clean, 0.0, camera)
        everywhere = np.ones((size, size), np.float32)
        frames = [(reference, everywhere)]
        seen: list[tuple[FloatImage, FloatImage]] = []
        for stop, time in zip(stops, times, strict=True):
            shake = _shake(rng, size, hand) if hand else np.eye(3)
            # The shutter of a long exposure stays open for a part of the interval.
            open_for = blur * min(2.0**stop, 4.0) / 4.0 if count else 0.0
            moments = np.linspace(-0.5, 0.5, 5) * open_for if open_for > 0.02 else np.zeros(1)
            exposed = [self._render(view, layers, shake, time + moment) for moment in moments]
            radiance = np.mean(np.stack(exposed), axis=0)
            mistake = rng.normal(0, wrong_exposure) if wrong_exposure else 0.0
            code = self._expose(rng, radiance, stop + mistake, camera | {"curve": curve})
            # `shake` maps this frame's pixels to the world; the aligner is off by a residual.
            found = np.linalg.inv(shake) @ _shake(rng, size, residual) if residual else shake
            darkest = stop < 0 and stop == stops[0]
            aligned = _aligned(code, found, reference, stop, is_darkest=darkest)
            frames.append(aligned)
            seen.append(aligned)
            flow = dense_flow(
                decode(reference), decode(aligned[0]), stop, least_reduction=reduction
            )
            frames.append(_aligned(code, found, reference, stop, flow, is_darkest=darkest))
        noise = noise_curve(
            [reference], [[code] for code, _ in seen], [[trust] for _, trust in seen], stops
        )
        frames.insert(1, (smooth(reference, noise), everywhere))

        # A third of the samples may reach the border, where frames end and flow has less to go by.
        corner = np.full(2, config.margin)
        if rng.random() < 0.33:
            corner = rng.integers(0, 2 * config.margin + 1, 2)
        inner = tuple(slice(int(start), int(start) + config.crop) for start in corner)
        exposures = [stop for stop in (0.0, *stops) for _ in range(2)]
        peak = 2.0 ** -min(0.0, *stops)
        truth = np.clip(clean[inner] / np.float32(peak), 0.0, 1.0)
        code = np.stack([frame for frame, _ in frames])[:, *inner]
        trust = np.stack([trust for _, trust in frames])[:, None, *inner]
        return {
            "code": np.ascontiguousarray(code.transpose(0, 3, 1, 2)),
            "trust": np.ascontiguousarray(trust),
            "stops": np.array(exposures, np.float32),
            "peak": np.array(peak, np.float32),
            "truth": np.ascontiguousarray(truth.transpose(2, 0, 1)),
        }


def to_candidates(batch: Mapping[str, Tensor]) -> Candidates:
    """A collated batch of samples as the networks take it."""
    stops = batch["stops"]
    others = stops[0, 2::2]
    layout = candidate_layout(1 + len(others), int((others < 0).sum()))
    return Candidates(batch["code"], batch["trust"], stops, batch["peak"], *layout)
