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

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, TypeAlias, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.types import FloatImage, Frame
from dfghdr_cli.errors import InputError

Floats = NDArray[np.float64]
Kind: TypeAlias = Literal["auto", "srgb", "gamma"]
Pixels: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16] | FloatImage

GAMMA = 2.2
"""Exponent of eq. (7): linear = code ** 2.2."""

_NAMED = ("srgb", "gamma", "linear")
_TABLE_SIZE = 4097
_ROWS = 256
"""Rows of a float image handled at once."""


def _srgb(codes: Floats) -> Floats:
    """Inverse of the sRGB transfer function, IEC 61966-2-1."""
    return np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)


@dataclass(frozen=True, slots=True, eq=False)
class Response:
    """Monotone map from code in [0, 1] to linear light in [0, 1], with f(0) = 0 and f(1) = 1.

    Attributes:
        name: "srgb" (IEC 61966-2-1), "gamma" (code ** 2.2, eq. (7)), "linear" or "fitted".
        codes: (M,) float64, increasing from 0 to 1.
        linear: (M,) or (M, 3) float64, f at `codes`, one column per channel where they differ. The
            named responses are evaluated in closed form and carry the table for plots only.
    """

    name: str
    codes: Floats
    linear: Floats

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
                three columns the last axis must be the three channels.

        Returns:
            The same shape, float64 in [0, 1].
        """
        inside = np.clip(np.asarray(codes, np.float64), 0.0, 1.0)
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
            result = np.empty(pixels.shape, np.float32)
            for start in range(0, pixels.shape[0], _ROWS):
                rows = slice(start, start + _ROWS)
                result[rows] = self.evaluate(pixels[rows].astype(np.float32, copy=False))
            return result
        samples = cast("NDArray[np.uint8] | NDArray[np.uint16]", pixels)
        ramp = np.linspace(0.0, 1.0, int(np.iinfo(samples.dtype).max) + 1)
        table = self.evaluate(ramp[:, None].repeat(3, axis=1)).astype(np.float32)
        if samples.dtype == np.uint8:
            return cast("FloatImage", cv2.LUT(samples, table[None]))
        if self.linear.ndim == 1:
            return table[:, 0].copy()[samples]
        return np.stack([table[:, c][samples[..., c]] for c in range(3)], axis=-1)


def _closed_form(name: str, codes: Floats) -> Floats:
    if name == "srgb":
        return _srgb(codes)
    return codes**GAMMA if name == "gamma" else codes.copy()


@dataclass(frozen=True, slots=True)
class ResponseReport:
    """How a response was chosen.

    Attributes:
        kind: name of the response chosen.
        misfit: per candidate ("srgb", "gamma", "linear", "fitted") the median absolute disagreement
            between the exposure ratios it implies and the stated ones [stops]; lower is better.
            Empty where the frames say nothing.
        text: one sentence for the user.
        warning: one sentence on what may be wrong, or None.
    """

    kind: str
    misfit: dict[str, float]
    text: str
    warning: str | None = None


# --- what the frames say --------------------------------------------------------------------------

_LONG_SIDE = 1024
_GRIDS = (1, 3, 5)
_LEVELS = (np.arange(40) + 0.5) / 40
_LOWEST, _HIGHEST = 0.02, 0.97


@dataclass(frozen=True, slots=True)
class _Matches:
    """Codes of equal radiance: dark and bright (K,) in [0, 1], stops (K,) between them.

    weight (K,) is the share of the picture behind a match, channel (K,) its channel index.
    """

    dark: Floats
    bright: Floats
    stops: Floats
    weight: Floats
    channel: NDArray[np.intp]


def _reduced(frame: Frame) -> FloatImage:
    """Encoded frame (h, w, 3) float32, averaged to at most _LONG_SIDE and at least by two."""
    height, width = frame.pixels.shape[:2]
    factor = max(2, -(-max(height, width) // _LONG_SIDE))
    size = (max(1, width // factor), max(1, height // factor))
    if frame.pixels.dtype == np.uint8:
        pixels = np.asarray(frame.pixels[: size[1] * factor, : size[0] * factor], np.uint16) * 257
        top = 65535.0
    else:
        pixels = frame.pixels[: size[1] * factor, : size[0] * factor]
        top = 65535.0 if pixels.dtype == np.uint16 else 1.0
    small = cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / np.float32(top)


def _quantiles(image: FloatImage, grid: int) -> Floats:
    """(tiles, levels, 3) quantiles of an image (H, W, 3) over a grid of tiles."""
    rows = np.array_split(np.arange(image.shape[0]), grid)
    columns = np.array_split(np.arange(image.shape[1]), grid)
    out = []
    for r in rows:
        for c in columns:
            tile = image[r[0] : r[-1] + 1, c[0] : c[-1] + 1].reshape(-1, 3)
            ordered = np.sort(tile, axis=0)
            out.append(ordered[(_LEVELS * len(ordered)).astype(np.intp)])
    return np.asarray(out, np.float64)


def _match(frames: Sequence[Frame], stops: Sequence[float]) -> _Matches:
    small = [_reduced(frame) for frame in frames]
    pieces = []
    for grid in _GRIDS:
        tables = [_quantiles(image, grid) for image in small]
        for i, j in combinations(range(len(frames)), 2):
            low, high = (i, j) if stops[i] <= stops[j] else (j, i)
            step = stops[high] - stops[low]
            if step < 0.1:
                continue
            dark, bright = tables[low], tables[high]
            usable = (dark > _LOWEST) & (bright < _HIGHEST)
            channel = np.broadcast_to(np.arange(3), dark.shape)[usable]
            count = int(usable.sum())
            pieces.append(
                (
                    dark[usable],
                    bright[usable],
                    np.full(count, step),
                    np.full(count, 1.0 / grid**2),
                    channel,
                )
            )
    if not pieces:
        empty = np.empty(0)
        return _Matches(empty, empty, empty, empty, np.empty(0, np.intp))
    return _Matches(*(np.concatenate(column) for column in zip(*pieces, strict=True)))


# --- the fit --------------------------------------------------------------------------------------

_KNOTS = 32
_CODE_NOISE = 0.5 / 255.0
"""Standard deviation of a matched code, from quantisation, noise and small movement."""
_BASE_NOISE = 0.03
"""Standard deviation of an exposure ratio that does not depend on the code [stops]."""
_SIGMOID_GRID = np.geomspace(0.02, 50.0, 60)


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


def _misfit(response: Response, matches: _Matches) -> float:
    return _weighted_median(np.abs(_residuals(response, matches)), matches.weight)


def _sigmoid_log(codes: Floats, s: float) -> Floats:
    """log2(x ** n) for code y = (1 + s) x**n / (x**n + s); 0 at y = 1."""
    return np.log2(np.maximum(s * codes / (1.0 + s - codes), 1e-12))


def _fit_sigmoid(matches: _Matches) -> tuple[float, float]:
    """The (n, s) whose exposure ratios agree best: for each s, n is a weighted median."""
    best = (np.inf, 0.45, 50.0)
    for s in _SIGMOID_GRID:
        rise = _sigmoid_log(matches.bright, s) - _sigmoid_log(matches.dark, s)
        n = max(_weighted_median(rise / matches.stops, matches.weight * matches.stops), 0.05)
        misfit = _weighted_median(np.abs(rise / n - matches.stops), matches.weight)
        best = min(best, (misfit, n, float(s)))
    return best[1], best[2]


def _hat(codes: Floats, knots: Floats) -> Floats:
    """(K, M) weights that interpolate linearly between values at the knots (M,)."""
    right = np.clip(np.searchsorted(knots, codes), 1, len(knots) - 1)
    share = (codes - knots[right - 1]) / (knots[right] - knots[right - 1])
    rows = np.arange(len(codes))
    weights = np.zeros((len(codes), len(knots)))
    weights[rows, right - 1] = 1.0 - share
    weights[rows, right] = share
    return weights


def _fit(matches: _Matches, stiffness: float = 0.05) -> Response:
    """Smooth monotone response: a sigmoid, corrected by a stiff spline of log2 linear.

    The correction h is piecewise linear on knots, zero at code 1, and found by iteratively
    reweighted least squares (Geman-McClure) with a penalty on its second difference.
    """
    n, s = _fit_sigmoid(matches)
    knots = np.linspace(0.0, 1.0, _KNOTS + 1)
    warp = np.sqrt
    design = _hat(warp(matches.bright), knots) - _hat(warp(matches.dark), knots)
    target = matches.stops - (_sigmoid_log(matches.bright, s) - _sigmoid_log(matches.dark, s)) / n
    second = np.diff(np.eye(_KNOTS + 1), 2, axis=0) * _KNOTS**2
    prior = second / (_KNOTS * stiffness) ** 0.5 / 20.0
    pin = np.zeros((1, _KNOTS + 1))
    pin[0, -1] = 1e3
    ridge = np.eye(_KNOTS + 1) * 0.3
    h = np.zeros(_KNOTS + 1)
    mass = matches.weight / matches.weight.sum()
    fine = np.linspace(0.0, 1.0, _TABLE_SIZE)
    for _ in range(12):
        base = np.maximum(fine, 1e-4)
        g = _sigmoid_log(base, s) / n + _hat(warp(fine), knots) @ h
        slope = np.abs(np.gradient(g, fine))
        noise2 = _BASE_NOISE**2 + _CODE_NOISE**2 * (
            np.interp(matches.bright, fine, slope) ** 2 + np.interp(matches.dark, fine, slope) ** 2
        )
        error2 = (design @ h - target) ** 2 / noise2
        weight = mass * 300 / noise2 / (1.0 + error2 / 4.0) ** 2
        normal = (design * weight[:, None]).T @ design + prior.T @ prior + pin.T @ pin
        normal += ridge.T @ ridge
        h = np.linalg.solve(normal, (design * weight[:, None]).T @ target)
    g = _sigmoid_log(np.maximum(fine, 1e-6), s) / n + _hat(warp(fine), knots) @ h
    linear = np.maximum.accumulate(2.0**g)
    linear[0] = 0.0
    return Response("fitted", fine, linear / linear[-1])


# --- the choice -----------------------------------------------------------------------------------

_TOLERANCE = (1.25, 0.05)
"""A named response stands when its misfit is at most this factor times the fit's, plus stops."""
_CONTRADICTED = 0.35
"""Misfit [stops] from which even the fit does not believe the exposures."""
_LEAST_MATCHES = 200
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


def estimate_response(
    frames: Sequence[Frame], stops: Sequence[float]
) -> tuple[Response, ResponseReport]:
    """Fit a free monotone response to frames of one scene at known exposures.

    Args:
        frames: two or more frames, hand-held or not, in any order.
        stops: exposure of each [stops], only differences matter.

    Returns:
        The response, named "fitted", and a report; sRGB with a warning where the frames share too
        little to tell.

    Raises:
        InputError: fewer than two frames, not one exposure each, or an exposure that is not finite.
    """
    _check(frames, stops)
    matches = _match(frames, stops)
    reason = _undetermined(matches)
    if reason is not None:
        return _fallback(reason)
    response = _fit(matches)
    misfit = {name: _misfit(Response.named(name), matches) for name in _NAMED}
    misfit["fitted"] = _misfit(response, matches)
    return response, _report("fitted", misfit)


def choose_response(
    kind: Kind, frames: Sequence[Frame], stops: Sequence[float]
) -> tuple[Response, ResponseReport]:
    """The response to linearise frames with.

    "srgb" and "gamma" are taken at their word, and only warned about when the frames contradict
    them. "auto" takes whichever of sRGB, gamma 2.2 and linear the exposure ratios agree with best,
    unless a free curve agrees clearly better.

    Args:
        kind: "auto", "srgb" or "gamma".
        frames: two or more frames of one scene.
        stops: exposure of each [stops], only differences matter.

    Returns:
        The response and a report.

    Raises:
        InputError: an unknown kind, fewer than two frames, not one exposure each, or an exposure
            that is not finite.
    """
    if kind not in ("auto", "srgb", "gamma"):
        raise InputError(f"unknown response {kind!r}: choose auto, srgb or gamma")
    fitted, report = estimate_response(frames, stops)
    if not report.misfit:
        if kind == "auto":
            return fitted, report
        text = f"The response is {kind}, as asked; the frames share too little to check it."
        return Response.named(kind), ResponseReport(kind, {}, text)
    misfit = report.misfit
    factor, slack = _TOLERANCE
    limit = factor * misfit["fitted"] + slack
    if kind != "auto":
        warning = None
        if misfit[kind] > max(limit, 0.1):
            warning = (
                f"The exposures contradict the response {kind} by {misfit[kind]:.2f} stops "
                f"(a fitted curve: {misfit['fitted']:.2f}): expect false motion, or use auto."
            )
        return Response.named(kind), ResponseReport(
            kind, misfit, f"The response is {kind}, as asked.", warning
        )
    best = min(_NAMED, key=lambda name: misfit[name])
    if misfit[best] <= limit:
        return Response.named(best), _report(best, misfit)
    return fitted, report


def _report(kind: str, misfit: dict[str, float]) -> ResponseReport:
    others = ", ".join(f"{name} by {value:.2f}" for name, value in misfit.items() if name != kind)
    text = (
        f"The response is {kind}: it disagrees with the exposures by {misfit[kind]:.2f} stops "
        f"({others})."
    )
    warning = None
    if misfit[kind] > _CONTRADICTED:
        warning = (
            f"No response explains the exposures (the best is {misfit[kind]:.2f} stops off): check "
            "that they are right and that the frames show one scene."
        )
    return ResponseReport(kind, misfit, text, warning)
