"""Camera response: from the codes in a file to linear light, known or estimated from the bracket.

A developed photograph is scene light put through the maker's tone curve, not through gamma 2.2.
Frames of one scene whose exposures are known give the curve away, even when the camera was
hand-held and things moved: as long as much the same content is in view, the q-th quantile of one
frame shows the same radiance as the q-th quantile of another, so with g = log2 of the inverse
response, ``g(code_bright) - g(code_dark) = stops_bright - stops_dark`` (Grossberg and Nayar,
"Determining the camera response from images: what is knowable?", IEEE TPAMI 25(11), 2003). Here
quantiles are matched over the whole frame and over coarse tiles; a robust fit discards the tiles
that something moved into.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import combinations, pairwise
from typing import Any, Literal, TypeAlias, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.colour import srgb_decode
from dfghdr_cli.core.quantiles import LEVELS, tile_quantiles
from dfghdr_cli.core.radiance import GAMMA
from dfghdr_cli.core.types import FloatImage, Frame
from dfghdr_cli.errors import InputError

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Kind: TypeAlias = Literal["auto", "srgb", "gamma", "linear"]
Pixels: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16] | FloatImage

_NAMED = ("srgb", "gamma", "linear")
_TABLE_SIZE = 4097
_ROWS = 256
"""Rows of a float image handled at once."""


def _full_code() -> Floats:
    return np.ones(3)


@dataclass(frozen=True, slots=True, eq=False)
class Response:
    """Monotone map from code in [0, 1] to linear light in [0, 1], with f(white) = 1.

    f(0) is 0 unless a file says otherwise. A file may clip below its full code (video levels,
    edited exports); the curve is that of the codes divided by `white`.

    Attributes:
        name: "srgb" (IEC 61966-2-1), "gamma" (code ** 2.2, eq. (7)), "linear", "fitted", or
            "file NAME" where it was read from a file.
        codes: (M,) float64, increasing from 0 to 1, as shares of `white`.
        linear: (M,) or (M, 3) float64, f at `codes`, one column per channel where they differ. The
            named responses are evaluated in closed form and carry the table for plots only.
        white: (3,) float64 in (0, 1], the file's code from which on each channel is at its white.
    """

    name: str
    codes: Floats
    linear: Floats
    white: Floats = field(default_factory=_full_code)

    @classmethod
    def named(cls, name: str) -> Response:
        """The response called "srgb", "gamma" or "linear".

        Raises:
            InputError: no response has that name.
        """
        if name not in _NAMED:
            raise InputError(f"unknown response {name!r}: choose one of {', '.join(_NAMED)}")
        codes = np.linspace(0.0, 1.0, _TABLE_SIZE)
        return cls(name, codes, _closed_form(name, codes))

    def evaluate(self, codes: NDArray[np.floating]) -> Floats:
        """Linear light of `codes`.

        Args:
            codes: any shape, values in [0, 1] (beyond, they count as 0 or 1); where `linear` has
                three columns or `white` three values the last axis must be the three channels.

        Returns:
            The same shape, float64 in [0, 1]; 1 from `white` on.
        """
        white = self.white if (self.white != self.white[0]).any() else self.white[0]
        inside = np.clip(np.asarray(codes, np.float64) / white, 0.0, 1.0)
        if self.name in _NAMED:
            return _closed_form(self.name, inside)
        if self.linear.ndim == 1:
            return np.interp(inside, self.codes, self.linear)
        columns = [np.interp(inside[..., c], self.codes, self.linear[:, c]) for c in range(3)]
        return np.stack(columns, axis=-1)

    def linearise(self, pixels: Pixels) -> FloatImage:
        """Linear light of a frame's pixels, 1.0 = the frame's white.

        Args:
            pixels: (H, W, 3) uint8, uint16 or float32; integers span 0 .. 2**bits - 1, float32
                spans [0, 1], as in `Frame` (NaN and values outside are not expected).

        Returns:
            (H, W, 3) float32 in [0, 1].
        """
        if pixels.dtype == np.float32:
            return self._linearise_floats(cast("FloatImage", pixels))
        samples = cast("NDArray[np.uint8] | NDArray[np.uint16]", pixels)
        table = self._table(int(np.iinfo(samples.dtype).max) + 1)
        if samples.dtype == np.uint8:
            return cast("FloatImage", cv2.LUT(samples, table[None]))
        if (table == table[:, :1]).all():
            return np.ascontiguousarray(table[:, 0])[samples]
        return np.stack([table[:, c][samples[..., c]] for c in range(3)], axis=-1)

    def with_white(self, white: Floats) -> Response:
        """The same curve for files whose channels are at their white from codes `white` (3,) on."""
        return replace(self, white=np.asarray(white, np.float64))

    def _table(self, size: int) -> FloatImage:
        """(size, 3) float32: the linear light of `size` evenly spaced codes."""
        codes = np.linspace(0.0, 1.0, size)
        return self.evaluate(codes[:, None].repeat(3, axis=1)).astype(np.float32)

    def _linearise_floats(self, pixels: FloatImage) -> FloatImage:
        """In bands, to save memory; a table is read between its entries, np.interp being slow."""
        result = np.empty(pixels.shape, np.float32)
        table = None if self.name in _NAMED else self._table(1 << 16).ravel()
        channel = np.arange(3)
        for start in range(0, pixels.shape[0], _ROWS):
            band = slice(start, start + _ROWS)
            if table is None:
                result[band] = self.evaluate(pixels[band])
                continue
            position = np.clip(pixels[band], 0.0, 1.0) * np.float32(65535)
            index = np.minimum(position.astype(np.int32), 65534)
            share = position - index.astype(np.float32)
            index = index * 3 + channel
            low = table[index]
            result[band] = low + share * (table[index + 3] - low)
        return result


def _closed_form(name: str, codes: Floats) -> Floats:
    if name == "srgb":
        return np.asarray(srgb_decode(codes), np.float64)
    return codes**GAMMA if name == "gamma" else codes.copy()


@dataclass(frozen=True, slots=True)
class ResponseReport:
    """How a response was chosen.

    Attributes:
        kind: name of the response chosen.
        misfit: per candidate ("srgb", "gamma", "linear", "fitted") the median absolute disagreement
            between the exposure ratios it implies and the stated ones [stops], weighted by how
            precise and still the matched parts of the picture are. Empty where the frames say
            nothing.
        text: one sentence for the user.
        warning: one sentence on what may be wrong, or None.
        uncertainty: standard deviations [stops] of the light that a code stands for, against white:
            "shoulder" at code 0.9, "middle" at 0.5, "toe" at 0.1. Empty where nothing was fitted.
        corrections: by index of a frame, what its exposure was corrected by [stops].
    """

    kind: str
    misfit: dict[str, float]
    text: str
    warning: str | None = None
    uncertainty: dict[str, float] = field(default_factory=dict)
    corrections: dict[int, float] = field(default_factory=dict)

    @property
    def slack(self) -> float:
        """How much darker than a clipped reference's white frames may be all the same [stops].

        White is where a response is known least. Where it is too bright on the scale of a darker
        frame, everything that is only just clipped would seem to be something else in that frame.
        What the chosen response disagrees by in the middle tells how far to be careful.
        """
        beyond = self.misfit.get(self.kind, 0.0) - _USUAL_MISFIT
        return min(max(_SLACK * beyond, 0.0), _MOST_SLACK)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What turns a bracket's codes into radiance.

    Attributes:
        responses: of each frame; the same object for all, unless a phone changes its tone curve
            from frame to frame.
        stops: exposure of each frame [stops], corrected, on the scale on which they were given.
        report: how they were found.
    """

    responses: tuple[Response, ...]
    stops: tuple[float, ...]
    report: ResponseReport


# --- what the frames say --------------------------------------------------------------------------

_LONG_SIDE = 1024
_THUMBNAIL = 384
_GRIDS = (4, 8)
"""Tiles per side. Few large tiles keep what moves inside them; many small ones isolate it."""
_LOWEST, _HIGHEST = 0.02, 0.97
"""Codes between which a match counts: below is noise, above is clipping."""
_SMALLEST_STEP = 0.1
"""Frames closer than this [stops] do not tell the curve."""
_RANK_NOISE = 0.01
"""Share of a frame's pixels that leave or enter it between frames; grows with sqrt(tiles)."""
_MOST_MATCHES = 24_000


@dataclass(frozen=True, slots=True)
class _Matches:
    """Pairs of codes at which two frames show equal radiance, K in all.

    Attributes:
        dark, bright: (K,) the codes, in [0, 1].
        dark_spread, bright_spread: (K,) how far each code moves when the ranks are a little wrong.
        stops: (K,) exposure of the bright one relative to the dark one, > 0 [stops].
        weight: (K,) share of the picture behind the match.
        channel: (K,) channel index.
        tile: (K,) a number for the pair of frames and the tile.
        pair: (K, 2) indices of the dark and the bright frame.
    """

    dark: Floats
    bright: Floats
    dark_spread: Floats
    bright_spread: Floats
    stops: Floats
    weight: Floats
    channel: Indices
    tile: Indices
    pair: Indices


def _reduced(frame: Frame) -> FloatImage:
    """Encoded frame (h, w, 3) float32, averaged over blocks of 2x2 or more."""
    height, width = frame.pixels.shape[:2]
    factor = max(2, -(-max(height, width) // _LONG_SIDE))
    size = (max(1, width // factor), max(1, height // factor))
    whole = frame.pixels[: size[1] * factor, : size[0] * factor]
    if whole.dtype == np.uint8:  # else the averages would be rounded to eight bits
        whole = np.multiply(whole, np.uint16(257), dtype=np.uint16)
    top = 1.0 if whole.dtype == np.float32 else 65535.0
    small = cv2.resize(np.ascontiguousarray(whole), size, interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / np.float32(top)


def _ranks(image: FloatImage) -> FloatImage:
    """Small green channel with each value replaced by its rank: the same under any response."""
    scale = min(1.0, _THUMBNAIL / max(image.shape[:2]))
    green = np.ascontiguousarray(image[..., 1])
    green = cv2.resize(green, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    _, inverse, counts = np.unique(
        np.rint(green * 255).ravel(), return_inverse=True, return_counts=True
    )
    middle = (np.cumsum(counts) - 0.5 * counts) / counts.sum()
    return middle[inverse].reshape(green.shape).astype(np.float32)


def _overlap(length: int, step: int) -> tuple[slice, slice]:
    """Slices of two axes of that length, where the second shows the first moved by `step`."""
    ahead, behind = max(0, step), max(0, -step)
    return slice(behind, length - ahead), slice(ahead, length - behind)


def _shift(first: FloatImage, second: FloatImage) -> tuple[int, int]:
    """How far (rows, columns) the content of `first` has moved in `second`; 0 where in doubt."""
    if min(first.shape) < 32:
        return 0, 0
    window = cv2.createHanningWindow(first.shape[::-1], cv2.CV_32F)
    (across, down), _ = cv2.phaseCorrelate(first - 0.5, second - 0.5, window)
    rows, columns = round(down), round(across)
    if abs(rows) > first.shape[0] // 4 or abs(columns) > first.shape[1] // 4:
        return 0, 0
    (r1, r2), (c1, c2) = map(_overlap, first.shape, (rows, columns))
    moved = np.abs(first[r1, c1] - second[r2, c2]).mean()
    return (rows, columns) if moved < np.abs(first - second).mean() else (0, 0)


def _registered(images: list[FloatImage]) -> list[FloatImage]:
    """The part of the picture that all frames show, after undoing the shift between them."""
    ranks = [_ranks(image) for image in images]
    scale = images[0].shape[0] / ranks[0].shape[0]
    shifts = np.array([(0, 0), *(_shift(a, b) for a, b in pairwise(ranks))])
    offsets = np.rint(np.cumsum(shifts, axis=0) * scale).astype(int)
    offsets -= offsets.min(axis=0)
    height, width = np.array(images[0].shape[:2]) - offsets.max(axis=0)
    if height < images[0].shape[0] // 2 or width < images[0].shape[1] // 2:
        return images
    return [
        image[top : top + height, left : left + width]
        for image, (top, left) in zip(images, offsets, strict=True)
    ]


def _match(frames: Sequence[Frame], stops: Sequence[float]) -> _Matches:
    """Match the quantiles of every pair of frames, from dark to bright, tile by tile."""
    order = sorted(range(len(frames)), key=lambda index: stops[index])
    images = _registered([_reduced(frames[index]) for index in order])
    steps = [stops[index] for index in order]
    pieces: list[tuple[NDArray[Any], ...]] = []
    tiles = 0
    for grid in _GRIDS:
        tables = [tile_quantiles(image, grid) for image in images]
        spreads = [np.gradient(t, LEVELS, axis=1) * _RANK_NOISE * grid**0.5 for t in tables]
        tile = np.indices(tables[0].shape)[0]
        channel = np.indices(tables[0].shape)[2]
        for low, high in combinations(range(len(frames)), 2):
            step = steps[high] - steps[low]
            usable = (tables[low] > _LOWEST) & (tables[high] < _HIGHEST)
            if step < _SMALLEST_STEP or not usable.any():
                continue
            count = int(usable.sum())
            piece = (tables[low], tables[high], spreads[low], spreads[high])
            pieces.append(
                (
                    *(table[usable] for table in piece),
                    np.full(count, step),
                    np.full(count, 1.0 / grid**2),
                    channel[usable],
                    tile[usable] + tiles,
                    np.repeat([[order[low], order[high]]], count, axis=0),
                )
            )
            tiles += len(tables[0])
    if not pieces:
        none, no_index = np.empty(0), np.empty(0, np.intp)
        pair = np.empty((0, 2), np.intp)
        return _Matches(none, none, none, none, none, none, no_index, no_index, pair)
    columns = [np.concatenate(column) for column in zip(*pieces, strict=True)]
    stride = -(-len(columns[0]) // _MOST_MATCHES)
    return _Matches(*(column[::stride] for column in columns))


# --- the fit --------------------------------------------------------------------------------------

_KNOTS = 32
_CORRECTION = 3.0
_CURVATURE = 20.0
"""Standard deviations of the correction and of its second derivative over sqrt(code) [stops]."""
_SAMPLE = 300.0
"""Independent matches that all matches together are worth; neighbouring quantiles repeat a fact."""
_CODE_NOISE = 0.5 / 255.0
"""Standard deviation of a matched code, from quantisation and sensor noise."""
_BASE_NOISE = 0.03
"""Standard deviation of an exposure ratio that does not depend on the code [stops]."""
_SIGMOID_GRID = np.geomspace(0.02, 50.0, 60)
_ROUNDS = 12


def _weighted_median(values: Floats, weight: Floats) -> float:
    order = np.argsort(values)
    total = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(total, 0.5 * total[-1])])


def _log2_response(response: Response, codes: Floats, channel: NDArray[np.intp]) -> Floats:
    """log2 of the response at codes (K,) of the given channels (K,)."""
    if response.linear.ndim == 1:
        linear = response.evaluate(codes)
    else:
        linear = response.evaluate(np.repeat(codes[:, None], 3, axis=1))
        linear = linear[np.arange(len(codes)), channel]
    return np.log2(np.maximum(linear, 1e-9))


def _residuals(response: Response, matches: _Matches) -> Floats:
    """What each match disagrees by under a response (K,) [stops]."""
    bright = _log2_response(response, matches.bright, matches.channel)
    return bright - _log2_response(response, matches.dark, matches.channel) - matches.stops


def _sigmoid_log(codes: Floats, s: float) -> Floats:
    """log2(x ** n) for code y = (1 + s) x**n / (x**n + s); 0 at y = 1."""
    return np.log2(np.maximum(s * codes / (1.0 + s - codes), 1e-12))


def _fit_sigmoid(matches: _Matches) -> tuple[float, float]:
    """The (n, s) whose exposure ratios agree best: for each s, n is a weighted median."""

    def best_for(s: float) -> tuple[float, float, float]:
        rise = _sigmoid_log(matches.bright, s) - _sigmoid_log(matches.dark, s)
        n = max(_weighted_median(rise / matches.stops, matches.weight * matches.stops), 0.05)
        return _weighted_median(np.abs(rise / n - matches.stops), matches.weight), n, s

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        _, n, s = min(pool.map(best_for, _SIGMOID_GRID.tolist()))
    return n, s


def _hat(codes: Floats, knots: Floats) -> Floats:
    """(K, M) weights that interpolate linearly between values at the knots (M,)."""
    right = np.clip(np.searchsorted(knots, codes), 1, len(knots) - 1)
    share = (codes - knots[right - 1]) / (knots[right] - knots[right - 1])
    rows = np.arange(len(codes))
    weights = np.zeros((len(codes), len(knots)))
    weights[rows, right - 1] = 1.0 - share
    weights[rows, right] = share
    return weights


def _prior() -> Floats:
    """Precision matrix (M, M) of the correction's knots; the last one, white, is pinned to zero."""
    identity = np.eye(_KNOTS + 1)
    curvature = np.diff(identity, 2, axis=0) * _KNOTS**2 / _CURVATURE
    precision = curvature.T @ curvature + identity / _CORRECTION**2
    precision[-1, -1] += 1e6
    return precision


def _increasing(values: Floats) -> Floats:
    """Values (M,) made strictly increasing: a step down becomes a step of next to nothing."""
    steps = np.maximum(np.diff(values), 1e-9)
    return values[0] + np.concatenate([[0.0], np.cumsum(steps)])


def _fit(matches: _Matches) -> tuple[Response, Floats]:
    """Smooth monotone response: a sigmoid, corrected by a stiff spline of log2 linear.

    The correction h is piecewise linear over sqrt(code), zero at code 1, with Gaussian priors on
    its size and curvature. It is found by iteratively reweighted least squares with Geman-McClure
    weights, whose noise grows with the slope of the response (dark codes are coarse), with the
    spread of the quantiles (few pixels there), and with the misfit of the whole tile (motion).

    Returns:
        The response and what each match is worth (K,): its share of the picture over its noise.
    """
    n, s = _fit_sigmoid(matches)
    knots = np.linspace(0.0, 1.0, _KNOTS + 1)
    codes = np.linspace(0.0, 1.0, _TABLE_SIZE)
    base = _sigmoid_log(codes, s) / n
    basis = _hat(np.sqrt(codes), knots)
    design = _hat(np.sqrt(matches.bright), knots) - _hat(np.sqrt(matches.dark), knots)
    rise = _sigmoid_log(matches.bright, s) - _sigmoid_log(matches.dark, s)
    target = matches.stops - rise / n
    prior = _prior()
    tile_size = np.maximum(np.bincount(matches.tile), 1)
    bright_noise2 = _CODE_NOISE**2 + matches.bright_spread**2
    dark_noise2 = _CODE_NOISE**2 + matches.dark_spread**2
    mass = _SAMPLE * matches.weight / matches.weight.sum()
    unreliable = np.ones_like(target)
    trust = matches.weight
    h = np.zeros(_KNOTS + 1)
    for _ in range(_ROUNDS):
        slope2 = np.gradient(base + basis @ h, codes) ** 2
        noise2 = _BASE_NOISE**2
        noise2 = noise2 + np.interp(matches.bright, codes, slope2) * bright_noise2
        noise2 = noise2 + np.interp(matches.dark, codes, slope2) * dark_noise2
        error2 = (design @ h - target) ** 2 / noise2
        trust = mass / (noise2 * unreliable)
        weight = trust / (1.0 + error2 / unreliable / 4.0) ** 2
        weighted = design * weight[:, None]
        h = np.linalg.solve(weighted.T @ design + prior, weighted.T @ target)
        per_tile = np.bincount(matches.tile, np.minimum(error2, 25.0)) / tile_size
        unreliable = np.maximum(per_tile, 1.0)[matches.tile]
    linear = _increasing(2.0 ** (base + basis @ h))
    linear -= linear[0]
    return Response("fitted", codes, linear / linear[-1]), trust


# --- the choice -----------------------------------------------------------------------------------

_TOLERANCE = (1.5, 0.015)
"""A named response stands when its misfit is at most this factor times the fit's, plus stops."""
_USUAL_MISFIT = 0.03
"""Misfit [stops] of frames whose exposures and response are right."""
_SLACK = 15.0
"""How many times what the misfit exceeds that by, white may be off; found with real photographs."""
_MOST_SLACK = 0.8
"""At most [stops]."""
_WORTH_A_WARNING = 0.1
"""Misfit [stops] from which a response that the user asked for is called contradicted."""
_CONTRADICTED = 0.25
"""Misfit [stops] of the best response, over a pair of frames, that wrong exposures betray."""
_HOPELESS = 0.5
"""Misfit [stops] of the fit itself beyond which it is not used."""
_PLAUSIBLE = (1.1, 3.0)
"""Mean exponent of a camera's curve between codes 0.1 and 0.9; gamma 2.2 has 2.2."""
_LEAST_MATCHES = 200
_LEAST_IN_PAIR = 100
_LEAST_SPAN = 0.25
"""Range of codes that the matches must cover."""


def _check(frames: Sequence[Frame], stops: Sequence[float]) -> None:
    if len(frames) < 2 or len(frames) != len(stops):
        raise InputError(
            f"a response needs two or more frames and one exposure each, got {len(frames)} frames "
            f"and {len(stops)} exposures: give every frame's exposure"
        )
    if not np.all(np.isfinite(stops)):
        raise InputError("an exposure is not a finite number of stops: give every frame's exposure")


def _undetermined(matches: _Matches) -> str | None:
    """Why the matches do not determine a response, or None if they do."""
    if len(matches.stops) < _LEAST_MATCHES:
        return "the frames share too few well-exposed pixels at different exposures"
    low = np.quantile(matches.dark, 0.02)
    high = np.quantile(matches.bright, 0.98)
    if high - low < _LEAST_SPAN:
        return "the pixels that the frames share span too few brightnesses"
    return None


def _fallback(reason: str) -> tuple[Response, ResponseReport]:
    text = f"The response could not be estimated, because {reason}; sRGB is assumed."
    return Response.named("srgb"), ResponseReport("srgb", {}, text, warning=text)


def _estimate(
    frames: Sequence[Frame], stops: Sequence[float], *others: Response
) -> tuple[Response, ResponseReport, str | None]:
    """The fit, its report with other responses' misfits, and the wrong exposures it betrays."""
    _check(frames, stops)
    matches = _match(frames, stops)
    reason = _undetermined(matches)
    if reason is not None:
        return *_fallback(reason), None
    fitted, trust = _fit(matches)
    misfit = {}
    for response in (*map(Response.named, _NAMED), *others, fitted):
        error = np.abs(_residuals(response, matches))
        misfit[response.name] = _weighted_median(error, trust)
    if misfit["fitted"] > _HOPELESS:
        return *_fallback("no response explains the exposures"), None
    suspicion = _contradiction(fitted, matches, trust, frames)
    warning = suspicion or _absurdity(fitted)
    report = ResponseReport("fitted", misfit, _sentence("fitted", misfit), warning)
    return fitted, report, suspicion


def _title(frames: Sequence[Frame], index: int) -> str:
    """What a message calls a frame: its file's name, or its number from 1."""
    return frames[index].name if frames[index].path else f"frame {index + 1}"


def _contradiction(
    fitted: Response, matches: _Matches, trust: Floats, frames: Sequence[Frame]
) -> str | None:
    """A sentence on two frames that even the fit cannot reconcile."""
    error = np.abs(_residuals(fitted, matches))
    worst, culprits = _CONTRADICTED, None
    for dark, bright in np.unique(matches.pair, axis=0):
        here = (matches.pair == (dark, bright)).all(axis=1)
        off = _weighted_median(error[here], trust[here])
        if here.sum() >= _LEAST_IN_PAIR and off > worst:
            worst, culprits = off, (_title(frames, dark), _title(frames, bright))
    if culprits is None:
        return None
    return (
        f"The exposures of {culprits[0]} and {culprits[1]} are {worst:.1f} stops from what the "
        "pictures show: check the exposures given."
    )


def _absurdity(fitted: Response) -> str | None:
    """A sentence on a fit that no camera has."""
    rise = np.diff(_log2_response(fitted, np.array([0.1, 0.9]), np.zeros(2, np.intp)))[0]
    exponent = float(rise / np.log2(9.0))
    if _PLAUSIBLE[0] <= exponent <= _PLAUSIBLE[1]:
        return None
    return (
        f"The exposures imply a response of exponent {exponent:.1f}, which no developed picture "
        "has: check the exposures given."
    )


def estimate_response(
    frames: Sequence[Frame], stops: Sequence[float]
) -> tuple[Response, ResponseReport]:
    """Fit a free monotone response to frames of one scene at known exposures.

    The curve is one for all three channels: a channel whose light is scaled (white balance) before
    the curve has the same curve and the same exposure ratios. Only ratios are observed, and only
    between codes 0.02 and 0.97; beyond, the curve is extrapolated, so its scale (its white) is less
    sure than its shape.

    Args:
        frames: two or more frames of one size, hand-held or not, in any order.
        stops: exposure of each [stops], only differences matter.

    Returns:
        The response, named "fitted", and a report whose warning tells of exposures that look wrong;
        sRGB with a warning where the frames share too little to tell.

    Raises:
        InputError: fewer than two frames, not one exposure each, or an exposure that is not finite.
    """
    response, report, _ = _estimate(frames, stops)
    return response, report


def choose_response(
    kind: Kind | Response, frames: Sequence[Frame], stops: Sequence[float]
) -> Calibration:
    """The responses to linearise frames with, and their exposures, corrected.

    A named or given one is taken at its word, and only warned about when the frames contradict it.
    "auto" takes linear for frames that are known to be; else whichever of sRGB, gamma 2.2 and
    linear the exposure ratios agree with best, unless a free curve agrees clearly better.

    Args:
        kind: "auto", "srgb", "gamma" or "linear", or a response of a known camera.
        frames: two or more frames of one scene and size.
        stops: exposure of each [stops], only differences matter.

    Returns:
        A response and an exposure for each frame, and a report.

    Raises:
        InputError: an unknown kind, fewer than two frames, not one exposure each, or an exposure
            that is not finite.
    """
    if isinstance(kind, str) and kind not in ("auto", *_NAMED):
        raise InputError(f"unknown response {kind!r}: choose auto, {', '.join(_NAMED)} or a file")
    response, report = _chosen(kind, frames, stops)
    return Calibration((response,) * len(frames), tuple(float(s) for s in stops), report)


def _chosen(
    kind: Kind | Response, frames: Sequence[Frame], stops: Sequence[float]
) -> tuple[Response, ResponseReport]:
    if kind == "auto" and all(frame.linear for frame in frames):
        text = "The response is linear, as the files say."
        return Response.named("linear"), ResponseReport("linear", {}, text)
    if kind == "auto":
        asked = None
        fitted, report, suspicion = _estimate(frames, stops)
    else:
        asked = kind if isinstance(kind, Response) else Response.named(kind)
        fitted, report, suspicion = _estimate(frames, stops, asked)
    misfit = report.misfit
    if asked is not None:
        return asked, _judged(asked.name, misfit, suspicion)
    if not misfit:
        return fitted, report
    best = min(_NAMED, key=lambda name: misfit[name])
    if misfit[best] <= _limit(misfit):
        text = _sentence(best, misfit)
        return Response.named(best), ResponseReport(best, misfit, text, suspicion)
    return fitted, report


def _limit(misfit: dict[str, float]) -> float:
    """Misfit [stops] up to which a response agrees about as well as the fit does."""
    factor, slack = _TOLERANCE
    return factor * misfit["fitted"] + slack


def _judged(name: str, misfit: dict[str, float], suspicion: str | None) -> ResponseReport:
    """What the frames say of the response that the user asked for."""
    if not misfit:
        text = f"The response is {name}, as asked; the frames do not allow a check."
        return ResponseReport(name, {}, text)
    warning = suspicion
    if warning is None and misfit[name] > max(_limit(misfit), _WORTH_A_WARNING):
        warning = (
            f"The exposures contradict the response {name} by {misfit[name]:.2f} stops "
            f"(a fitted curve: {misfit['fitted']:.2f}): expect false motion, or use auto."
        )
    return ResponseReport(name, misfit, f"The response is {name}, as asked.", warning)


def _sentence(kind: str, misfit: dict[str, float]) -> str:
    others = ", ".join(f"{name} by {value:.2f}" for name, value in misfit.items() if name != kind)
    return (
        f"The response is {kind}: it disagrees with the exposures by {misfit[kind]:.2f} stops "
        f"({others})."
    )
