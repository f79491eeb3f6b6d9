"""Numbers that say whether the disentanglement is real.

Everything is measured on *views*: squares cut from HDR images, from scenes with truth or from
brackets of photographs, each seen at several exposures. The stops of a view count from its
well-exposed rendering: what the network sees says nothing about the unit that a file is in, so some
such zero has to be agreed on. It is where the logarithmic average of the luminance, the measure of
a picture's exposure that tone mapping goes by (Reinhard et al. 2002), is middle grey.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dfghdr_cli import __version__
from dfghdr_cli.core.encoding import decode, encode, re_expose
from dfghdr_cli.core.frames import CodedFrame
from dfghdr_cli.core.luminance import MIDDLE_GREY, log_average, luminance_of
from dfghdr_cli.core.probe import (
    fit_probe,
    held_out_predictions,
    invariance,
    principal_plane,
    r_squared,
    r_squared_within,
)
from dfghdr_cli.core.registration.aligned import align_bracket
from dfghdr_cli.core.types import Bracket, FloatImage, OnProgress
from dfghdr_cli.errors import InputError
from dfghdr_cli.io.bracket import read_bracket
from dfghdr_cli.io.formats import SUFFIXES
from dfghdr_cli.io.radiance import read_radiance
from dfghdr_cli.io.scenes import read_scene, scene_files
from dfghdr_cli.merging.prepare import gamma_coded, prepare
from dfghdr_cli.pipeline.explore.explorer import Explorer

log = logging.getLogger(__name__)

PANORAMA_BAND = (0.17, 0.83)
"""The part of the height of a panorama (twice as wide as high) that is not badly stretched."""
_SAME_EXPOSURE = 0.5  # [stops]
_RADIANCE = (".exr", ".hdr")


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """What is measured on.

    Attributes:
        side: of a view [pixels], a multiple of 32.
        views: how many views a picture gives.
        stops: exposures at which HDR images are rendered, 0 among them [stops].
        shorter_side: larger pictures are reduced to this [pixels].
    """

    side: int = 256
    views: int = 4
    stops: tuple[float, ...] = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
    shorter_side: int = 768


@dataclass(frozen=True, slots=True)
class Series:
    """One view at several exposures.

    Attributes:
        name: of the picture it was cut from.
        group: number of that picture.
        codes: n images (S, S, 3) float32, gamma codes in [0, 1], aligned.
        valid: n masks (S, S) bool: where an image has data.
        stops: of each, from the well-exposed rendering [stops].
        reference: index of the one nearest to that (HDR images), or of the reference frame.
        radiance: (S, S, 3) float32 linear without noise, motion or clipping, 1 = white of the
            well-exposed rendering; None where there is no truth.
    """

    name: str
    group: int
    codes: tuple[FloatImage, ...]
    valid: tuple[NDArray[np.bool_], ...]
    stops: tuple[float, ...]
    reference: int
    radiance: FloatImage | None

    def target(self, index: int) -> FloatImage:
        """What an image should be, had nothing moved and with no noise: (S, S, 3) codes."""
        if self.radiance is None:
            return self.codes[index]
        return self.at(self.stops[index])

    def at(self, stops: float) -> FloatImage:
        """The view re-exposed as eq. (3) does it, (S, S, 3) codes; needs `radiance`."""
        assert self.radiance is not None
        return re_expose(self.radiance, stops)


def find_pictures(folder: Path) -> list[Path]:
    """HDR images (files), scenes and brackets of photographs (folders) at or below a folder.

    A folder with an exposure.txt is a scene, another one with 2 to 9 photographs a bracket.

    Raises:
        InputError: if it is not a folder, or holds none.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give one of brackets, scenes or HDR images.")
    found: list[Path] = []
    for place, _, names in os.walk(folder):
        files = [Path(place, name) for name in names if not name.startswith(".")]
        photographs = {path.stem for path in files if path.suffix.lower() in SUFFIXES}
        if "exposure.txt" in names or 2 <= len(photographs) <= 9:
            found.append(Path(place))
        else:
            found += [path for path in files if path.suffix.lower() in _RADIANCE]
    if not found:
        raise InputError(
            f"{folder} holds no bracket of 2 to 9 photographs, no scene and no .exr or .hdr image."
        )
    return sorted(found)


def picture_files(folder: Path) -> list[Path]:
    """The files at or below a folder that are read for its pictures, see `find_pictures`.

    Raises:
        InputError: see `find_pictures`.
    """
    files: list[Path] = []
    for found in find_pictures(folder):
        if found.is_dir():
            photographs = [path for path in found.iterdir() if path.suffix.lower() in SUFFIXES]
            files += {*photographs, *scene_files(found)}
        else:
            files.append(found)
    return files


def read_series(
    folder: Path, config: MetricsConfig, on_progress: OnProgress | None = None
) -> tuple[list[Series], int]:
    """The views of all pictures at or below a folder.

    Returns:
        The views in the order of the paths, and how many pictures could not be used; these are
        named in the log.

    Raises:
        InputError: if there are no pictures, or none can be used.
    """
    series: list[Series] = []
    errors: list[InputError] = []
    paths = find_pictures(folder)
    for number, path in enumerate(paths):
        try:
            series += _read_picture(path, number, config)
        except InputError as error:
            errors.append(error)
        if on_progress:
            on_progress(number + 1, len(paths), "read")
    if not series:
        raise errors[0]
    for error in errors:
        log.warning("skipped: %s", error)
    return series, len(errors)


def _read_picture(path: Path, group: int, config: MetricsConfig) -> list[Series]:
    if not path.is_dir():
        pixels, _ = read_radiance(path)
        return list(_hdr_views(path, np.maximum(pixels, 0.0), group, config))
    if (path / "exposure.txt").exists():
        scene = read_scene(path)
        peak = np.float32(scene.bracket.peak)
        return list(_bracket_views(path, scene.bracket, scene.truth * peak, group, config))
    bracket = read_bracket([path])
    if bracket.exposures_from != "EXIF":
        raise InputError(
            f"{path}: to predict exposures that were themselves estimated from the pixels proves "
            "nothing; give brackets whose EXIF data holds them."
        )
    return list(_bracket_views(path, bracket, None, group, config))


def _hdr_views(
    path: Path, pixels: FloatImage, group: int, config: MetricsConfig
) -> Iterator[Series]:
    height, width = pixels.shape[:2]
    if width == 2 * height:
        pixels = pixels[round(PANORAMA_BAND[0] * height) : round(PANORAMA_BAND[1] * height)]
    pixels = _reduced(pixels, config)
    everywhere = np.ones((config.side, config.side), np.bool_)
    for place in _places(path, pixels.shape[:2], config):
        zero = _stops(pixels[place])
        if zero is None:
            log.warning("skipped: a view of %s is black", path)
            continue
        radiance = pixels[place] * np.float32(2.0**-zero)
        codes = tuple(re_expose(radiance, stop) for stop in config.stops)
        yield Series(
            path.name,
            group,
            codes,
            (everywhere,) * len(codes),
            config.stops,
            min(range(len(codes)), key=lambda i: abs(config.stops[i])),
            radiance,
        )


def _bracket_views(
    path: Path, bracket: Bracket, truth: FloatImage | None, group: int, config: MetricsConfig
) -> Iterator[Series]:
    """Views of the frames, aligned globally; `truth` in radiance, 1 = the reference's white."""
    coded = prepare(bracket).coded if truth is None else gamma_coded(bracket)
    linears = [_reduced(decode(frame.code()), config) for frame in coded.frames]
    frames = tuple(
        CodedFrame.of_code(encode(linear), frame.worth)
        for linear, frame in zip(linears, coded.frames, strict=True)
    )
    aligned = align_bracket(replace(coded, frames=frames))
    views = [aligned.warped(index) for index in range(len(linears))]
    truth = None if truth is None else _reduced(truth, config)
    for place in _places(path, linears[0].shape[:2], config):
        # The frame that is nearest to middle grey tells the zero.
        levels = [_stops(frame[place]) for frame in linears]
        zeros = [
            (abs(level), level - stop)
            for level, stop in zip(levels, coded.stops, strict=True)
            if level is not None
        ]
        zero = _stops(truth[place]) if truth is not None else min(zeros, default=(0, None))[1]
        if zero is None:
            log.warning("skipped: a view of %s is black", path)
            continue
        yield Series(
            path.name,
            group,
            tuple(code[place] for code, _ in views),
            tuple(trust[place] > 0 for _, trust in views),
            tuple(stop + zero for stop in coded.stops),
            coded.reference,
            None if truth is None else truth[place] * np.float32(2.0**-zero),
        )


def _stops(linear: FloatImage) -> float | None:
    """How far the average luminance is above middle grey [stops]; None where all is black."""
    average = log_average(luminance_of(np.ascontiguousarray(linear)))
    return None if average is None else average - math.log2(MIDDLE_GREY)


def _reduced(linear: FloatImage, config: MetricsConfig) -> FloatImage:
    height, width = linear.shape[:2]
    factor = config.shorter_side / min(height, width)
    if factor >= 1.0:
        return np.ascontiguousarray(linear)
    size = round(width * factor), round(height * factor)
    return np.asarray(cv2.resize(linear, size, interpolation=cv2.INTER_AREA), np.float32)


def _places(
    path: Path, size: tuple[int, ...], config: MetricsConfig
) -> Iterator[tuple[slice, slice]]:
    """Squares evenly along the longer side, in the middle of the shorter one."""
    height, width = size
    if min(size) < config.side:
        raise InputError(
            f"{path} has {width}x{height} pixels, less than a view of {config.side}; "
            "give larger pictures."
        )
    room = [length - config.side for length in size]
    along = 1 if width >= height else 0
    shares = np.linspace(0.0, 1.0, config.views) if config.views > 1 else [0.5]
    for start in dict.fromkeys(round(share * room[along]) for share in shares):
        corner = [start if axis == along else room[axis] // 2 for axis in (0, 1)]
        yield tuple(slice(first, first + config.side) for first in corner)  # pyright: ignore


@dataclass(frozen=True, slots=True)
class CodeMetrics:
    """What a kind of code knows about exposure, and what moves it.

    Attributes:
        r2: of the stops predicted by a linear probe on images it was not fitted to.
        r2_within: the same of the stops within each view, whatever its zero.
        rmse: root mean square error of the prediction [stops].
        invariance: see `dfghdr_cli.core.probe.invariance`; of the exposure code under a change of
            scene, of the spatial codes under a change of exposure. None if it cannot be told.
    """

    r2: float
    r2_within: float
    rmse: float
    invariance: float | None

    def values(self) -> dict[str, float | None]:
        """All of it, ready for JSON."""
        return {
            "r2": round(self.r2, 4),
            "r2_within": round(self.r2_within, 4),
            "rmse_stops": round(self.rmse, 4),
            "invariance": None if self.invariance is None else round(self.invariance, 4),
        }


@dataclass(frozen=True, slots=True)
class Metrics:
    """What `measure` found.

    Attributes:
        pictures: how many HDR images, scenes and brackets.
        views: how many views of them.
        images: how many images: views times exposures.
        skipped: pictures that could not be used.
        fitted_on: where the probes were fitted.
        codes: by kind of code, see `CODES`.
        psnr: mean PSNR of pictures as gamma codes [dB], by kind, see `PSNRS`.
        stops: (n,) of every image [stops].
        points: (n, 2) exposure codes in their principal plane.
        shares: of the variance of the exposure codes along its two axes.
        exposure_codes: (n, L).
        model: name of the model.
        digest: of its weights.
    """

    pictures: int
    views: int
    images: int
    skipped: int
    fitted_on: str
    codes: dict[str, CodeMetrics]
    psnr: dict[str, float]
    stops: NDArray[np.floating]
    points: NDArray[np.floating]
    shares: tuple[float, float]
    exposure_codes: NDArray[np.floating]
    model: str
    digest: str
    config: MetricsConfig = field(default_factory=MetricsConfig)

    def values(self) -> dict[str, Any]:
        """The figures and what they mean, ready for JSON."""
        return {
            "version": __version__,
            "model": self.model,
            "model_digest": self.digest,
            "pictures": self.pictures,
            "views": self.views,
            "images": self.images,
            "skipped": self.skipped,
            "view_side": self.config.side,
            "stops": "0 is where the logarithmic average of a view's luminance is 0.18 of white",
            "probe": f"ridge regression, penalty by cross-validation; {self.fitted_on}",
            "codes": {
                name: {"what": CODES[name], **code.values()} for name, code in self.codes.items()
            },
            "psnr_db": {
                name: {"what": PSNRS[name], "mean": round(value, 3)}
                for name, value in self.psnr.items()
            },
            "exposure_plane": {
                "variance": [round(share, 4) for share in self.shares],
                "points": [
                    [round(float(x), 5), round(float(y), 5), round(float(stop), 3)]
                    for (x, y), stop in zip(self.points, self.stops, strict=True)
                ],
            },
        }


CODES = {
    "exposure": "the exposure code",
    "spatial": "the spatial code; for the probe, the mean of each channel in each quarter of it",
    "pixels": "for comparison, no network: the mean of red, green and blue",
}
PSNRS = {
    "reconstruction": "D(E_sp(X_i), E_ex(X_i)) against X_i",
    "swap": "D(E_sp(X_r), E_ex(X_i)) against X_i without motion and noise where there is a truth, "
    "r the reference, i the others of the view",
    "swap_other_scene": "D(E_sp(X_r), E_ex(Z)) against the view re-exposed to the stops of Z, "
    "an image of another picture",
    "swap_nothing_done": "for comparison, no network: X_r against X_i",
}


@dataclass(slots=True)
class _Collected:
    """What is kept of every image."""

    exposure: list[NDArray[np.floating]] = field(default_factory=list)
    spatial: list[NDArray[np.floating]] = field(default_factory=list)
    pixels: list[NDArray[np.floating]] = field(default_factory=list)
    stops: list[float] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    series: list[int] = field(default_factory=list)

    def features(self) -> dict[str, NDArray[np.floating]]:
        """What the probes read, (n, L) by kind of code."""
        spatial = np.stack(self.spatial)
        rows, columns = (slice(0, n // 2) for n in spatial.shape[2:])
        later_rows, later_columns = (slice(n // 2, None) for n in spatial.shape[2:])
        quarters = [
            spatial[:, :, r, c].mean((2, 3))
            for r in (rows, later_rows)
            for c in (columns, later_columns)
        ]
        return {
            "exposure": np.stack(self.exposure),
            "spatial": np.concatenate(quarters, 1),
            "pixels": np.stack(self.pixels),
        }


def measure_disentanglement(
    explorer: Explorer,
    folder: Path,
    *,
    fit: Path | None = None,
    config: MetricsConfig | None = None,
    on_progress: OnProgress | None = None,
) -> Metrics:
    """Measure how well a model disentangles.

    Args:
        explorer: the model, with its decoder.
        folder: of brackets, scenes or HDR images.
        fit: folder of other pictures that the probes are fitted to; None predicts each part of
            `folder` by probes fitted to the rest, views of one picture never being parted.
        config: what is measured on.
        on_progress: called as (done, total, what).

    Raises:
        ModelError: if the model has no decoder.
        InputError: if there are not at least three usable pictures in each folder.
    """
    config = config or MetricsConfig()
    explorer.require_decoder()
    series, skipped = read_series(folder, config, on_progress)
    groups = _count_pictures(folder, series)
    fitted_on = f"predicted for each part of {groups} pictures from the others"
    collected, psnr = _collect(explorer, series, on_progress, pictures=True)
    features = collected.features()
    stops = np.array(collected.stops)
    ids, views = np.array(collected.groups), np.array(collected.series)
    if fit is None:
        predicted = {name: held_out_predictions(x, stops, ids) for name, x in features.items()}
    else:
        others, _ = read_series(fit, config, on_progress)
        count = _count_pictures(fit, others)
        learnt, _ = _collect(explorer, others, on_progress, pictures=False)
        fitted_on = f"fitted to {len(learnt.stops)} images of {count} other pictures"
        known, known_groups = np.array(learnt.stops), np.array(learnt.groups)
        predicted = {
            name: fit_probe(x, known, known_groups).predict(features[name])
            for name, x in learnt.features().items()
        }
    moved = _invariances(collected, stops, ids, views)
    plane = principal_plane(features["exposure"], stops)
    codes = {
        name: CodeMetrics(
            r_squared(stops, guess),
            r_squared_within(stops, guess, views),
            float(np.sqrt(((stops - guess) ** 2).mean())),
            moved.get(name),
        )
        for name, guess in predicted.items()
    }
    return Metrics(
        groups,
        len(series),
        len(stops),
        skipped,
        fitted_on,
        codes,
        psnr,
        stops,
        plane.points,
        plane.shares,
        features["exposure"],
        explorer.name,
        explorer.model.digest,
        config,
    )


def _count_pictures(folder: Path, series: Sequence[Series]) -> int:
    count = len({one.group for one in series})
    if count < 3:
        raise InputError(
            f"{folder} holds {count} usable pictures; comparing scenes takes at least three."
        )
    return count


def _invariances(
    collected: _Collected,
    stops: NDArray[np.floating],
    groups: NDArray[np.integer],
    views: NDArray[np.integer],
) -> dict[str, float | None]:
    same_exposure = np.abs(stops[:, None] - stops) <= _SAME_EXPOSURE
    same_view = views[:, None] == views
    other_scene = groups[:, None] != groups
    both = other_scene & ~same_exposure
    spatial = np.stack(collected.spatial)
    # A spatial code's own exposure must not matter; the exposure code's scene must not.
    return {
        "exposure": invariance(np.stack(collected.exposure), other_scene & same_exposure, both),
        "spatial": invariance(spatial, same_view & ~same_exposure, both),
    }


def _collect(
    explorer: Explorer,
    series: Sequence[Series],
    on_progress: OnProgress | None,
    *,
    pictures: bool,
) -> tuple[_Collected, dict[str, float]]:
    """Codes of all images, and the mean PSNR of what is decoded from them if `pictures`."""
    collected = _Collected()
    psnr: dict[str, list[float]] = {name: [] for name in PSNRS}
    with torch.inference_mode():
        for number, one in enumerate(series):
            images = explorer.images(one.codes)
            exposure, spatial = explorer.exposure_codes(images), explorer.spatial_codes(images)
            collected.exposure += list(exposure.cpu().numpy())
            collected.spatial += list(spatial.cpu().numpy())
            collected.pixels += [code.mean((0, 1)) for code in one.codes]
            collected.stops += one.stops
            collected.groups += [one.group] * len(one.stops)
            collected.series += [number] * len(one.stops)
            if pictures:
                donor = _donor(series, number)
                _decode_view(explorer, one, donor, images, exposure, spatial, psnr)
            if on_progress:
                on_progress(number + 1, len(series), "codes")
    return collected, {name: float(np.mean(found)) for name, found in psnr.items() if found}


def _donor(series: Sequence[Series], number: int) -> Series | None:
    """The next view of another picture, if there is one."""
    rest = [*series[number + 1 :], *series[:number]]
    return next((other for other in rest if other.group != series[number].group), None)


def _decode_view(
    explorer: Explorer,
    one: Series,
    donor: Series | None,
    images: Tensor,
    exposure: Tensor,
    spatial: Tensor,
    psnr: dict[str, list[float]],
) -> None:
    """Add a view's PSNRs to the lists."""
    own = explorer.decode(spatial, exposure)
    for index, valid in enumerate(one.valid):
        psnr["reconstruction"].append(_psnr(own[index], images[index], valid))
    others = [index for index in range(len(one.codes)) if index != one.reference]
    here = spatial[one.reference]
    targets = explorer.images([one.target(index) for index in others])
    swapped = explorer.decode(here.expand(len(others), *here.shape), exposure[others])
    for index, picture, target in zip(others, swapped, targets, strict=True):
        valid = one.valid[index] & one.valid[one.reference]
        psnr["swap"].append(_psnr(picture, target, valid))
        psnr["swap_nothing_done"].append(_psnr(images[one.reference], target, valid))
    if donor is not None and one.radiance is not None:
        foreign = explorer.exposure_codes(explorer.images(donor.codes))
        targets = explorer.images([one.at(stop) for stop in donor.stops])
        swapped = explorer.decode(here.expand(len(foreign), *here.shape), foreign)
        for picture, target in zip(swapped, targets, strict=True):
            psnr["swap_other_scene"].append(_psnr(picture, target, one.valid[one.reference]))


def _psnr(picture: Tensor, target: Tensor, valid: NDArray[np.bool_]) -> float:
    """PSNR [dB] of gamma codes (3, h, w), clipped to [0, 1], where `valid` (H, W) is true.

    At most 100, and 100 where nothing is valid.
    """
    mask = torch.from_numpy(valid).to(picture.device)
    if mask.shape != picture.shape[1:]:
        step = mask.shape[0] // picture.shape[1]
        mask = mask.unfold(0, step, step).unfold(1, step, step).all(-1).all(-1)
    error = (picture.float().clamp(0.0, 1.0) - target).square().mean(0)[mask]
    return -10.0 * math.log10(max(float(error.mean()), 1e-10)) if len(error) else 100.0


def encode_metrics(metrics: Metrics) -> bytes:
    """The figures as a JSON file."""
    return json.dumps(metrics.values(), indent=1).encode() + b"\n"
