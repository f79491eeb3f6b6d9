"""What a training learns from: folders of HDR images, of scenes with truth, or of both.

A scene is laid out like one of the published data sets (`dfghdr_cli.io.layouts`). Its frames are
aligned and flow-warped exactly as in a merge, once: the result is stored in a cache folder, from
which crops are read. Every other .exr or .hdr file is an HDR image, from which moving brackets are
synthesised (`dfghdr_cli.training.synth`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save
from torch.utils.data import Dataset

from dfghdr_cli import __version__
from dfghdr_cli.atomic import atomic_write, make_folder
from dfghdr_cli.core.encoding import decode, encode
from dfghdr_cli.core.registration.aligned import align_bracket
from dfghdr_cli.core.types import FloatImage
from dfghdr_cli.errors import InputError
from dfghdr_cli.io.layouts import scenes_among
from dfghdr_cli.io.radiance import read_radiance
from dfghdr_cli.io.scenes import check_scene, read_scene, scene_files
from dfghdr_cli.merging.config import MergeConfig
from dfghdr_cli.merging.hypotheses import HypothesisStack
from dfghdr_cli.merging.prepare import gamma_coded
from dfghdr_cli.training.samples import Arrays, Batch, Sample, Samples, as_samples
from dfghdr_cli.training.synth import SceneSynthesiser, SynthConfig

log = logging.getLogger(__name__)

GOLDEN_RATIO = 0.6180339887498949
"""Multiples of it modulo 1 fill [0, 1) evenly, however many there are."""
_WHITE = np.float32(65535)
"""Aligned frames are stored in 16 bits."""
_IMAGES = (".exr", ".hdr")


@dataclass(frozen=True, slots=True)
class CropConfig:
    """How samples are cut from scenes; their side is that of the synthesised ones.

    Attributes:
        stride: corners lie at multiples of this [pixels]; 1 = anywhere, 64 in the paper.
        permute_channels: whether red, green and blue may change places.
    """

    stride: int = 1
    permute_channels: bool = True


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What was found.

    Attributes:
        images: (H, W, 3) float16 linear, of any scale.
        scenes: usable scene folders by composition: the signs of the stops of their frames
            relative to the reference, dark to bright.
        skipped: number of images and scenes that cannot be used.
    """

    images: list[NDArray[np.float16]]
    scenes: dict[tuple[int, ...], list[Path]]
    skipped: int

    @property
    def scene_count(self) -> int:
        """Number of scenes."""
        return sum(len(folders) for folders in self.scenes.values())

    def samples(
        self, synth: SynthConfig, crops: CropConfig, seed: int, length: int, cache: Path
    ) -> Dataset[Sample]:
        """The samples of a training; each is a pure function of data, settings, seed and index.

        Args:
            synth: side, batch and hypotheses of all samples, and what the synthesised ones are
                like.
            crops: how the others are cut from scenes.
            seed: start of all random choices.
            length: number of samples.
            cache: folder for the aligned scenes; made when first needed.
        """
        sources: list[tuple[int, Dataset[Sample]]] = []
        if self.images:
            sources.append((len(self.images), SceneSynthesiser(self.images, synth, seed, length)))
        for composition in sorted(self.scenes):
            folders = self.scenes[composition]
            cut = SceneCrops(folders, synth.crop, crops, seed, cache)
            sources.append((len(folders), cut))
        return MixedSamples(sources, synth.batch, length, synth.variants)


def load_training_data(folders: Sequence[Path], smallest: int) -> TrainingData:
    """Find and check everything a training can use below some folders.

    What `dfghdr_cli.io.layouts` knows as a scene, and has frames or exposures, is one; every other
    .exr or .hdr file is an HDR image. Images are scaled so that their 99.9th percentile is 16 and
    kept in half precision: synthesis chooses the exposure itself, and values stay far from half's
    limits. Scenes are only checked; their frames are read again when they are aligned.

    Args:
        folders: searched recursively; what is found twice counts once.
        smallest: what has a side under this many pixels cannot be used.

    Returns:
        Images and scenes in the order of their paths. What cannot be used is named in the log and
        counted.

    Raises:
        InputError: a folder is missing, unreadable or holds neither images nor scenes, or nothing
            in all of them can be used.
    """
    found: dict[Path, Path] = {}
    for folder in folders:
        for path in _find(folder):
            found.setdefault(path.resolve(), path)
    images: list[NDArray[np.float16]] = []
    scenes: dict[tuple[int, ...], list[Path]] = {}
    errors: list[InputError] = []
    for path in sorted(found.values()):
        try:
            if path.suffix.lower() not in _IMAGES or path.is_dir():
                scenes.setdefault(_check_scene(path, smallest), []).append(path)
            else:
                images.append(_read_image(path, smallest))
        except InputError as error:
            errors.append(error)
    if not images and not scenes:
        if len(errors) == 1:
            raise errors[0]
        names = ", ".join(str(folder) for folder in folders)
        raise InputError(
            f"none of the {len(errors)} images and scenes in {names} can be used; the first: "
            f"{errors[0]}"
        ) from errors[0]
    for error in errors:
        log.warning("skipped: %s", error)
    data = TrainingData(images, scenes, len(errors))
    log.log(
        logging.WARNING if errors else logging.INFO,
        "HDR images: %d, scenes: %d, skipped: %d",
        len(images),
        data.scene_count,
        len(errors),
    )
    return data


def _find(folder: Path) -> list[Path]:
    """The scenes (folders) and HDR images (files) at or below a folder."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give folders of .exr or .hdr images or scenes")

    def refuse(error: OSError) -> NoReturn:
        raise InputError(
            f"{error.filename} cannot be read ({error.strerror}); change its permissions"
        ) from error

    files = [
        Path(place, name)
        for place, _, names in os.walk(folder, onerror=refuse)
        for name in names
        if not name.startswith(".")
    ]
    scenes = {scene: scene_files(scene) for scene in scenes_among(files)}
    # A picture that is only called like a truth is an HDR image.
    found = [
        s for s, parts in scenes.items() if any(f.suffix.lower() not in _IMAGES for f in parts)
    ]
    part_of_scenes = {file.parent for scene in found for file in scenes[scene]}
    found += [
        file
        for file in files
        if file.suffix.lower() in _IMAGES and file.parent not in part_of_scenes
    ]
    if not found:
        raise InputError(
            f"{folder} holds no .exr or .hdr image and no scene (TIFF frames, exposure.txt and "
            "HDRImg.hdr in one folder); give a folder that does"
        )
    return found


def _read_image(path: Path, smallest: int) -> NDArray[np.float16]:
    pixels, _ = read_radiance(path)
    _check_size(path, (pixels.shape[0], pixels.shape[1]), smallest)
    top = float(np.percentile(pixels, 99.9))
    if top <= 0:
        raise InputError(f"{path} is black; give a picture with something in it")
    return np.clip(pixels * (16.0 / top), 0, 60000).astype(np.float16)


def _check_size(path: Path, size: tuple[int, int], smallest: int) -> None:
    if min(size) < smallest:
        raise InputError(
            f"{path} has {size[1]}x{size[0]} pixels, less than a sample of {smallest}; "
            "lower --crop or give larger pictures"
        )


def _check_scene(folder: Path, smallest: int) -> tuple[int, ...]:
    """The composition of a scene that can be trained on."""
    scene = read_scene(folder)
    factor = MergeConfig().reduction(scene.bracket.size)
    size = (round(scene.bracket.size[0] * factor), round(scene.bracket.size[1] * factor))
    _check_size(folder, size, smallest)
    if scene.truth.max() <= 0:
        raise InputError(f"the truth of {folder} is black; leave this scene out")
    if (wrong := check_scene(folder, scene)) is not None:
        raise InputError(wrong)
    return tuple(int(np.sign(stop)) for stop in scene.bracket.stops)


def _align(folder: Path) -> dict[str, NDArray[np.generic]]:
    """A scene as its samples are cut from it.

    Returns:
        `code` (H, W, K, 3) and `trust` (H, W, K) uint16, 65535 = 1; `truth` (H, W, 3) float16 in
        [0, 1]; `stops` (K,), `peak` (1,), `limits` (K, 3, 4) and `tolerance` (K, 3, 2) float32. All
        as `Candidates` has them.
    """
    scene = read_scene(folder)
    bracket, truth = scene.bracket, scene.truth
    aligned = align_bracket(gamma_coded(bracket))
    aligned = aligned.reduced(MergeConfig().reduction(bracket.size))
    if aligned.size != bracket.size:
        # As the frames are reduced: gamma codes are averaged.
        code = cv2.resize(encode(truth), aligned.size[::-1], interpolation=cv2.INTER_AREA)
        truth = decode(np.asarray(code, np.float32))
    candidates = HypothesisStack.measured(aligned).candidates()
    code = (candidates.code[0].permute(2, 3, 0, 1).numpy() * _WHITE).round()
    # Upwards, so that no trust at all is the only 0.
    trust = np.ceil(candidates.trust[0, :, 0].permute(1, 2, 0).numpy() * _WHITE)
    return {
        "code": np.ascontiguousarray(code, np.uint16),
        "trust": np.ascontiguousarray(trust, np.uint16),
        "truth": np.ascontiguousarray(np.clip(truth, 0.0, 1.0), np.float16),
        "stops": candidates.stops[0].numpy(),
        "peak": candidates.peak.numpy(),
        "limits": candidates.limits[0].contiguous().numpy(),
        "tolerance": candidates.tolerance[0].contiguous().numpy(),
    }


def aligned_scene(folder: Path, cache: Path) -> Path:
    """The file with a scene's aligned frames, which is written if it is not there.

    Processes may share a cache. Its files are named by what they were made from: a scene whose
    files have changed is aligned again.

    Args:
        folder: the scene.
        cache: where the file lies.

    Raises:
        InputError: the scene cannot be read.
        OutputError: the cache cannot be written.
    """
    try:
        found = scene_files(folder)
        if not found:
            raise InputError(f"{folder} cannot be read (it is gone); put it back")
        files = sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in found)
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error.strerror}); put it back") from error
    made_from = json.dumps([__version__, str(folder.resolve()), files])
    path = cache / f"{hashlib.sha256(made_from.encode()).hexdigest()[:24]}.safetensors"
    if not path.exists():
        log.info("aligning %s", folder)
        content = save(_align(folder))
        make_folder(cache)
        with atomic_write(path, overwrite=True) as file:
            file.write(content)
    return path


class SceneCrops(Samples):
    """Random crops of scenes of one composition, turned, mirrored and recoloured.

    A sample is what `SceneSynthesiser` gives; sample i is a pure function of scenes, settings,
    seed and i. Scenes are drawn evenly, with replacement.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        crop: int,
        config: CropConfig,
        seed: int,
        cache: Path,
    ) -> None:
        """Scenes have at least `crop` pixels a side; for the rest see `aligned_scene`."""
        self.folders = list(folders)
        self.crop = crop
        self.config = config
        self.seed = seed
        self.cache = cache

    def __getitem__(self, index: int) -> Sample:
        """Sample number `index`, however large."""
        cv2.setNumThreads(1)
        rng = np.random.default_rng((self.seed, 2, index))
        folder = self.folders[int(rng.integers(len(self.folders)))]
        path = aligned_scene(folder, self.cache)
        stride = self.config.stride
        with safe_open(path, "numpy") as file:  # maps the file: only the crop is read
            size = file.get_slice("trust").get_shape()[:2]
            corner = [int(rng.integers((side - self.crop) // stride + 1)) * stride for side in size]
            rows, columns = (slice(start, start + self.crop) for start in corner)
            code, trust, truth = (
                file.get_slice(name)[rows, columns].astype(np.float32)
                for name in ("code", "trust", "truth")
            )
            stops, peak = file.get_tensor("stops"), file.get_tensor("peak")
            worth = {name: file.get_tensor(name) for name in ("limits", "tolerance")}
        turns, mirror = int(rng.integers(4)), bool(rng.integers(2))
        order = rng.permutation(3) if self.config.permute_channels else np.arange(3)

        def seen(image: FloatImage) -> FloatImage:
            image = np.rot90(image, turns)
            return image[:, ::-1] if mirror else image

        return {
            "code": np.ascontiguousarray(seen(code)[..., order].transpose(2, 3, 0, 1)) / _WHITE,
            "trust": np.ascontiguousarray(seen(trust).transpose(2, 0, 1))[:, None] / _WHITE,
            "stops": stops,
            "peak": np.array(peak[0], np.float32),
            "truth": np.ascontiguousarray(seen(truth)[..., order].transpose(2, 0, 1)),
            **{name: np.ascontiguousarray(part[:, order]) for name, part in worth.items()},
        }


class MixedSamples(Samples):
    """Batches of several sources in turn, each in proportion to its weight.

    All samples of a group of batches come from one source: they have the same frames, and may share
    scenes. Sources take as long a part of [0, 1) as their weight, and the fractional part of the
    group's number times the golden ratio tells whose turn it is: any stretch of groups has the
    sources in nearly their proportions.
    """

    def __init__(
        self,
        sources: Sequence[tuple[int, Dataset[Sample]]],
        batch: int,
        length: int,
        group: int = 1,
    ) -> None:
        """Sources are (weight, samples), where sample i exists for each i below `length`.

        A group has `group` batches of `batch` samples.
        """
        weights = np.array([weight for weight, _ in sources], np.float64)
        self.ends = np.cumsum(weights) / weights.sum()
        self.sources = [as_samples(samples) for _, samples in sources]
        self.batch = batch
        self.length = length
        self.group = group

    def __len__(self) -> int:
        """Number of samples."""
        return self.length

    def __getitem__(self, index: int) -> Sample:
        """Sample number `index`."""
        return self._source(index // self.batch)[index]

    def _source(self, batch: int) -> Samples:
        """Of a batch."""
        turn = (batch // self.group) * GOLDEN_RATIO % 1.0
        return self.sources[int(np.searchsorted(self.ends[:-1], turn, side="right"))]

    def begins(self, batch: int) -> bool:
        """See `Samples`."""
        return batch % self.group == 0 or self._source(batch).begins(batch)

    def raw(self, index: int) -> Arrays:
        """See `Samples`."""
        return self._source(index // self.batch).raw(index)

    def prepared(
        self, parts: Sequence[Batch], batch: int, device: torch.device
    ) -> tuple[Samples, Any]:
        """See `Samples`."""
        source = self._source(batch)
        return source, source.prepared(parts, batch, device)

    def finished(self, prepared: tuple[Samples, Any], indices: Sequence[int]) -> Batch:
        """See `Samples`."""
        source, own = prepared
        return source.finished(own, indices)

    def apart(self, count: int) -> Iterable[int]:
        """See `Samples`."""
        size, group = self.batch, self.group
        return (k // size * size * group + k % size for k in range(count))
