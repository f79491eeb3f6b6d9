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
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import default_collate

from dfghdr_cli.core.encoding import decode
from dfghdr_cli.core.frames import CodedBracket, CodedFrame
from dfghdr_cli.core.registration.align import Alignment
from dfghdr_cli.core.registration.aligned import AlignedBracket
from dfghdr_cli.core.registration.flow import LEAST_REDUCTION, dense_flow
from dfghdr_cli.core.restoration.noise import noise_curve
from dfghdr_cli.core.types import FloatImage
from dfghdr_cli.core.worth import Worth, apart
from dfghdr_cli.errors import InputError
from dfghdr_cli.nets.candidates import Candidates, candidate_layout
from dfghdr_cli.training.camera import draw_camera, expose
from dfghdr_cli.training.develop import Draw, Scenes, develop, draw
from dfghdr_cli.training.rendering import Layer, Matrix, draw_layer, draw_shake, render, view
from dfghdr_cli.training.samples import Arrays, Batch, Sample, Samples


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
        """A random camera on a random image."""
        image = self._image(int(rng.integers(len(self.shapes))))
        return view(image, self.config.size, rng, permute=self.config.permute_channels)

    def _layer(self, rng: np.random.Generator, level: float) -> Layer:
        def texture_of(rng: np.random.Generator) -> FloatImage:
            return self._view(rng)(np.eye(3))

        return draw_layer(rng, level, self.config.size, self.config.max_motion, texture_of)

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
        clean = render(self.config.size, see, layers, np.eye(3), 0.0)

        # Exposure: up to 35 % of the reference clipped; half of the scenes darker still.
        white = float(np.quantile(clean.max(2)[::2, ::2], 1 - rng.uniform(0, 0.35)))
        if white <= 0:
            return None
        if rng.random() < 0.5:
            white *= 2.0 ** rng.uniform(0, 4.5)
        gain = np.float32(1.0 / white)
        layers = [replace(layer, texture=layer.texture * gain) for layer in layers]

        def seen(motion: Matrix) -> FloatImage:
            return see(motion) * gain

        radiance, shakes = self._frames(rng, seen, layers, stops)
        radiance.insert(0, clean * gain)
        # The aligner is good to a few hundredths of a pixel, or else something misled it.
        residual = float(rng.choice([0.04, 0.3, rng.uniform(0.5, 4.0)], p=[0.65, 0.2, 0.15]))
        if all((shake == np.eye(3)).all() for shake in shakes) and rng.random() < 0.7:
            residual = 0.0  # a tripod: the aligner leaves the frames untouched
        size = self.config.size
        # A shake maps a frame's pixels to the world.
        found = [
            np.linalg.inv(shake) @ draw_shake(rng, size, residual) if residual else shake
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
        return scene | _matched(rng, scene)

    def _camera(self, rng: np.random.Generator, frames: int) -> Arrays:
        return draw_camera(rng, frames, self.config.curved)

    @staticmethod
    def _mistakes(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """How much brighter frames are than they are said to be [stops]."""
        return rng.normal(0.0, 1.0, count) * (0.04 if rng.random() < 0.3 else 0.0)

    def _frames(
        self,
        rng: np.random.Generator,
        seen: Callable[[Matrix], FloatImage],
        layers: Sequence[Layer],
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
            shake = draw_shake(rng, size, hand) if hand else np.eye(3)
            # The shutter of a long exposure stays open for a part of the interval.
            open_for = blur * min(2.0**stop, 4.0) / 4.0 if layers else 0.0
            moments = np.linspace(-0.5, 0.5, 5) * open_for if open_for > 0.02 else np.zeros(1)
            exposed = [
                render(self.config.size, seen, layers, shake, time + moment) for moment in moments
            ]
            radiance.append(np.mean(np.stack(exposed), axis=0) if len(exposed) > 1 else exposed[0])
            shakes.append(shake)
        return radiance, shakes


def _matched(rng: np.random.Generator, scene: Arrays) -> Arrays:
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
        flow = dense_flow(reference, decode(code), stop, allowed=allowed, least_reduction=reduction)
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
