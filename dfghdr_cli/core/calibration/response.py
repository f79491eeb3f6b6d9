"""Camera response: from the codes in a file to linear light, known or estimated from the bracket.

A developed photograph is scene light put through the maker's tone curve, not through gamma 2.2.
Frames of one scene whose exposures are roughly known give the curve away: `calibration.matches`
collects what they show, `core.calibration.curve_fit` explains it by a curve and by errors of the
exposures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.choices import ResponseKind
from dfghdr_cli.core.calibration.black import black_offsets, with_offsets
from dfghdr_cli.core.calibration.curve_fit import NAMED_ODDS, CurveFit, Explanation, weighted_median
from dfghdr_cli.core.calibration.matches import Matches, match
from dfghdr_cli.core.calibration.white import find_white
from dfghdr_cli.core.colour import srgb_decode
from dfghdr_cli.core.encoding import GAMMA
from dfghdr_cli.core.types import FloatImage, Frame
from dfghdr_cli.errors import InputError

Floats = NDArray[np.float64]
Belief: TypeAlias = Literal["both", "files", "pixels"]
Pixels: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16] | FloatImage

_NAMED = ("srgb", "gamma", "linear")
_TABLE_SIZE = 4097
_PLACES = {"shoulder": 0.9, "middle": 0.5, "toe": 0.1}
"""Codes whose uncertainty is reported."""
_ROWS = 256
"""Rows of a float image handled at once."""


def _full_code() -> Floats:
    return np.ones(3)


@dataclass(frozen=True, slots=True, eq=False)
class Response:
    """Monotone map from code in [0, 1] to linear light in [0, 1], with f(white) = 1.

    f(0) is 0 unless a file says otherwise. A file may clip below its full code (video levels,
    edited exports); the curve is that of the codes divided by the largest `white`. Channels that
    clip at different codes (white balance after the sensor's clipping, the cause of pink skies)
    keep their proportions: each ends at the light of its own white.

    Attributes:
        name: "srgb" (IEC 61966-2-1), "gamma" (code ** 2.2, eq. (7)), "linear", "fitted", or
            "file NAME" where it was read from a file.
        codes: (M,) float64, increasing from 0 to 1, as shares of the largest `white`.
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
            The same shape, float64 in [0, 1]; the same from `white` on.
        """
        white = self.white if (self.white != self.white[0]).any() else self.white[0]
        inside = np.clip(np.asarray(codes, np.float64), 0.0, white) / self.white.max()
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


@dataclass(frozen=True, slots=True)
class Calibration:
    """What turns a bracket's codes into radiance.

    Attributes:
        responses: of each frame; the same object for all.
        stops: exposure of each frame [stops], corrected, on the scale on which they were given.
        report: how they were found.
        misfit: how far frames stay apart that no response and no exposures reconcile, as those of
            phones, whose tone curves differ [stops]; 0 where all is explained.
    """

    responses: tuple[Response, ...]
    stops: tuple[float, ...]
    report: ResponseReport
    misfit: float = 0.0


# --- the choice -----------------------------------------------------------------------------------

_TOLERANCE = (1.5, 0.015)
"""A response agrees when its misfit is at most this factor times the fit's, plus stops."""
_WORTH_A_WARNING = 0.1
"""Misfit [stops] from which a response that the user asked for is called contradicted."""
_CONTRADICTED = 0.25
"""Misfit [stops] of the best response, over a pair of frames, that wrong exposures betray."""
_MOST_MISFIT = 0.5
"""Stops that frames may be apart at most without anything having moved."""
_HOPELESS = 0.5
"""Misfit [stops] of the best explanation beyond which it is not used."""
_LEAST_MATCHES = 100
_LEAST_IN_PAIR = 50
_LEAST_SPAN = 0.25
"""Range of codes that the matches must cover."""
_EXPOSURE_ERROR = 0.07
"""Standard deviation of stated exposures [stops]: shutters, apertures, and light that drifts."""
_ESTIMATED_ERROR = 2.0
"""The same where only the pixels are believed."""
_SIGNIFICANT = 2.0
"""Standard deviations from which on an exposure is corrected, and ..."""
_LEAST_CORRECTION = 0.03
"""... stops, 2 %: less is not seen."""
_WORTH_SAYING = 0.2
"""Correction [stops] from which on it is a warning."""
_PLAINLY_APART, _ALIKE = 0.5, 1.04
"""Stated stops from which on frames cannot look alike, and ratio of their codes up to which they
do: half a stop makes a ratio of 1.12 and more, whatever the curve."""
_INEXPLICABLE = 1.0
"""Correction [stops] beyond which the user decides what to believe."""
_NEVER = -1e6
_LINEAR_ODDS = -6.0
"""Log odds for files of integers to be proportional to light although nothing in them says so."""
_FAR_FETCHED = 10.0
"""Log odds against the response asked for beyond which no exposures are corrected to suit it."""
_UNCERTAIN = 0.7
"""Share of the prior's standard deviation at middle grey beyond which the frames said little."""


def _check(frames: Sequence[Frame], stops: Sequence[float]) -> None:
    if len(frames) < 2 or len(frames) != len(stops):
        raise InputError(
            f"a response needs two or more frames and one exposure each, got {len(frames)} frames "
            f"and {len(stops)} exposures: give every frame's exposure"
        )
    if not np.all(np.isfinite(stops)):
        raise InputError("an exposure is not a finite number of stops: give every frame's exposure")


def _undetermined(matches: Matches) -> str | None:
    """Why the matches do not determine a response, or None if they do."""
    if len(matches.stops) < _LEAST_MATCHES:
        return "the frames share too few well-exposed pixels at different exposures"
    low = np.quantile(matches.dark, 0.02)
    high = np.quantile(matches.bright, 0.98)
    if high - low < _LEAST_SPAN:
        return "the pixels that the frames share span too few brightnesses"
    return None


def _log2_response(response: Response, codes: Floats, channel: NDArray[np.intp]) -> Floats:
    """log2 of the response at codes (K,), as shares of white, of the given channels (K,)."""
    table = response.with_white(np.ones(3))
    if table.linear.ndim == 1:
        linear = table.evaluate(codes)
    else:
        linear = table.evaluate(np.repeat(codes[:, None], 3, axis=1))
        linear = linear[np.arange(len(codes)), channel]
    return np.log2(np.maximum(linear, 1e-9))


def _rise(response: Response, matches: Matches) -> Floats:
    """By how much a response says the bright frames show more light [stops] (K,)."""
    bright = _log2_response(response, matches.bright, matches.channel)
    return bright - _log2_response(response, matches.dark, matches.channel)


def _tabulated(found: Explanation, white: Floats) -> Response:
    codes = np.linspace(0.0, 1.0, _TABLE_SIZE)
    linear = 2.0 ** found.curve(codes)
    steps = np.maximum(np.diff(linear), 1e-9)
    linear = np.concatenate([[0.0], np.cumsum(steps)])
    return Response("fitted", codes, linear / linear[-1], white)


def _with_black_offsets(
    response: Response, fit: CurveFit, matches: Matches
) -> tuple[Response, Floats]:
    """A fitted response with each channel's black, where they differ, and its rises (K,)."""
    rise = _rise(response, matches)
    step = 0.5 / _TABLE_SIZE

    def slope(codes: Floats) -> Floats:
        above = _log2_response(response, codes + step, matches.channel)
        return (above - _log2_response(response, codes - step, matches.channel)) / (2 * step)

    slopes = slope(matches.dark), slope(matches.bright)
    offsets = black_offsets(fit, matches, rise, slopes)
    if offsets is None:
        return response, rise
    own = np.interp(with_offsets(response.codes, offsets), response.codes, response.linear)
    response = replace(response, linear=own)
    return response, _rise(response, matches)


def _title(frames: Sequence[Frame], index: int) -> str:
    """What a message calls a frame: its file's name, or its number from 1."""
    return frames[index].name if frames[index].path else f"frame {index + 1}"


def _contradiction(
    found: Explanation, misfits: Floats, matches: Matches, titles: Sequence[str]
) -> tuple[str | None, float]:
    """A sentence on two frames that even the best explanation leaves apart, and how far [stops]."""
    worst, culprits = _CONTRADICTED, None
    for dark, bright, here in matches.by_pair():
        if here.sum() < _LEAST_IN_PAIR:
            continue
        off = weighted_median(misfits[here], found.trust[here])
        if off > worst:
            worst, culprits = off, (titles[dark], titles[bright])
    if culprits is None:
        return None, 0.0
    sentence = (
        f"The exposures of {culprits[0]} and {culprits[1]} are {worst:.1f} stops from what the "
        "pictures show: check the exposures given."
    )
    return sentence, worst


def estimate_response(
    frames: Sequence[Frame], stops: Sequence[float]
) -> tuple[Response, ResponseReport]:
    """Fit a camera's response to frames of one scene, whether or not a named one agrees, too.

    The curve is one for all three channels: a channel whose light is scaled (white balance) before
    the curve has the same curve and the same exposure ratios. Only ratios are observed, and only
    between codes 0.02 and 0.98; beyond, and where ratios say little, the curve is that of usual
    cameras, so its scale (its white) is less sure than its shape.

    Args:
        frames: two or more frames of one size, hand-held or not, in any order.
        stops: exposure of each [stops], only differences matter.

    Returns:
        The response, named "fitted", and a report; sRGB with a warning where the frames share too
        little to tell.

    Raises:
        InputError: fewer than two frames, not one exposure each, or an exposure that is not finite.
    """
    _check(frames, stops)
    white = find_white(frames, stops)
    matches = match(frames, stops, white)
    reason = _undetermined(matches)
    if reason is not None:
        found = _fallback(reason, frames, stops, white)
        return found.responses[0], found.report
    found = CurveFit(matches, len(frames), None).camera()
    misfit = {"fitted": found.misfit}
    report = ResponseReport(
        "fitted", misfit, _sentence("fitted", misfit), None, _uncertainty(found)
    )
    return _tabulated(found, white), report


def choose_response(
    kind: ResponseKind | Response,
    frames: Sequence[Frame],
    stops: Sequence[float],
    believe: Belief = "both",
    white: Floats | None = None,
) -> Calibration:
    """The responses to linearise frames with, and their exposures, corrected.

    A named or given response is taken at its word, and only warned about when the frames contradict
    it. "auto" takes linear for frames that are known to be; else the explanation with the most
    evidence, of sRGB, gamma 2.2, linear, and a camera's curve; see `core.calibration.curve_fit`.

    Args:
        kind: "auto", "srgb", "gamma" or "linear", or a response of a known camera.
        frames: two or more frames of one scene and size.
        stops: exposure of each [stops], only differences matter.
        believe: "files" takes `stops` as they are, "pixels" as no more than a first guess, and
            "both" as nearly right.
        white: (3,) codes from which on the channels are white, if they are known already.

    Returns:
        A response and an exposure for each frame, and a report.

    Raises:
        InputError: an unknown kind, fewer than two frames, not one exposure each, an exposure that
            is not finite, or one that is more than a stop from what the frames show, unless
            `believe` says which counts.
    """
    if isinstance(kind, str) and kind not in ("auto", *_NAMED):
        raise InputError(f"unknown response {kind!r}: choose auto, {', '.join(_NAMED)} or a file")
    if kind != "auto" or not all(frame.linear for frame in frames):
        _check(frames, stops)
    given = tuple(float(stop) for stop in stops)
    asked = None if kind == "auto" else kind if isinstance(kind, Response) else Response.named(kind)
    if isinstance(kind, Response):
        white = kind.white
    elif white is None:
        white = find_white(frames, stops)
    if kind == "auto" and all(frame.linear for frame in frames):
        text = "The response is linear, as the files say." + _about_white(white, frames)
        report = ResponseReport("linear", {}, text)
        return Calibration(
            (Response.named("linear").with_white(white),) * len(frames), given, report
        )
    matches = match(frames, given, white)
    reason = _undetermined(matches)
    if reason is not None and asked is None:
        return _fallback(reason, frames, given, white)
    if reason is not None:
        assert asked is not None
        text = f"The response is {asked.name}, as asked; the frames do not allow a check."
        report = ResponseReport(asked.name, {}, text)
        return Calibration((asked.with_white(white),) * len(frames), given, report)
    return _explained(asked, frames, given, white, matches, believe)


def _explained(
    asked: Response | None,
    frames: Sequence[Frame],
    stops: tuple[float, ...],
    white: Floats,
    matches: Matches,
    believe: Belief,
) -> Calibration:
    integers = frames[0].bit_depth != 32
    titles = [_title(frames, index) for index in range(len(frames))]
    if believe == "both":
        _check_not_alike(matches, titles)
    explanations = _explanations(asked, matches, len(frames), believe, integers)
    best = _best(explanations)
    if best.misfit > _HOPELESS and believe == "both":
        otherwise = _best(_explanations(asked, matches, len(frames), "pixels", integers))
        if otherwise.misfit < _CONTRADICTED:
            _check_credible(_corrections(otherwise, "pixels"), titles)
    misfit = {name: found.misfit for name, found in explanations.items()}
    if best.misfit > _HOPELESS and asked is None:
        return _fallback("no response explains the exposures", frames, stops, white)
    chosen = explanations[asked.name] if asked else best
    agrees = chosen.misfit <= max(_limit(best.misfit), _WORTH_A_WARNING)
    if (
        asked is not None and chosen.evidence < best.evidence - _FAR_FETCHED
    ):  # rather than exposures, it is wrong
        agrees = False
        fit = CurveFit(matches, len(frames), None)
        chosen = fit.named(chosen.name, _rise(asked, matches))
        misfit[chosen.name] = chosen.misfit
    corrections = _corrections(chosen, believe) if agrees else {}
    if believe == "both":
        _check_credible(corrections, titles)
    errors = np.array([corrections.get(index, 0.0) for index in range(len(frames))])
    corrected = tuple(stop + error for stop, error in zip(stops, errors, strict=True))
    matches = matches.restated(corrected)
    if chosen.name == "fitted":  # errors that are not corrected are part of the curve
        fit = CurveFit(matches, len(frames), None)
        chosen = fit.camera()
        response, rise = _with_black_offsets(_tabulated(chosen, white), fit, matches)
    else:
        response = (asked or Response.named(chosen.name)).with_white(white)
        rise = chosen.rise
    residual = rise - matches.stops
    warning, apart = None, 0.0
    if agrees:
        warning, apart = _contradiction(chosen, np.abs(residual), matches, titles)
    name, text = chosen.name, _sentence(chosen.name, misfit)
    if asked is not None:
        text = f"The response is {name}, as asked."
        if not agrees:
            warning = (
                f"The exposures contradict the response {name} by {misfit[name]:.2f} stops "
                f"(a fitted curve: {misfit['fitted']:.2f}): expect false motion, or use auto."
            )
    elif warning is None and chosen.misfit > _WORTH_A_WARNING:
        warning = (
            f"Exposures and pictures disagree by {chosen.misfit:.2f} stops whatever the response: "
            "check the exposures given."
        )
    elif name == "fitted" and chosen.certainty(0.5) > _UNCERTAIN:
        text += " The frames say little about it, so it is mostly that of usual cameras."
    text += _about_white(white, frames)
    about = _about_corrections(corrections, titles)
    if max(map(abs, corrections.values()), default=0.0) > _WORTH_SAYING and believe == "both":
        warning = about if warning is None else f"{about} {warning}"
    text = f"{text} {about}".rstrip()
    report = ResponseReport(name, misfit, text, warning, _uncertainty(chosen), corrections)
    # Exposures that were to be believed may be wrong as such: then frames must not be averaged.
    apart = 0.0 if believe == "files" else min(apart, _MOST_MISFIT)
    return Calibration((response,) * len(frames), corrected, report, apart)


def _explanations(
    asked: Response | None, matches: Matches, count: int, believe: Belief, integers: bool
) -> dict[str, Explanation]:
    """What may explain the matches, by the name of the curve."""
    error = {"both": _EXPOSURE_ERROR, "files": None, "pixels": _ESTIMATED_ERROR}[believe]
    fit = CurveFit(matches, count, error, free=believe == "pixels")
    known = [*map(Response.named, _NAMED), *([asked] if asked else [])]
    # Where exposures are free, light proportional to codes fits whatever a power of them fits.
    against = _NEVER if believe == "pixels" else _LINEAR_ODDS
    odds = {"linear": against} if integers else {}
    explanations = {
        r.name: fit.named(r.name, _rise(r, matches), odds.get(r.name, NAMED_ODDS)) for r in known
    }
    return explanations | {"fitted": fit.camera()}


def _best(explanations: dict[str, Explanation]) -> Explanation:
    """The most probable one; a named curve must fit about as well as a camera's."""
    limit = _limit(explanations["fitted"].misfit)
    likely = [e for e in explanations.values() if e.name == "fitted" or e.misfit <= limit]
    return max(likely, key=lambda found: found.evidence)


def _corrections(found: Explanation, believe: Belief) -> dict[int, float]:
    """By frame what its exposure is off by [stops], where that is worth while.

    What all have in common is not seen; most frames, and of two the darker, are taken to be right.
    """
    if believe == "files":
        return {}
    errors = found.errors - np.sort(found.errors)[(len(found.errors) - 1) // 2]
    if len(errors) == 2:
        errors = found.errors - found.errors[0]
    least = _LEAST_CORRECTION if believe == "both" else 0.0
    return {
        index: float(error)
        for index, error in enumerate(errors)
        if abs(error) > max(least, _SIGNIFICANT * found.deviations[index])
    }


def _check_not_alike(matches: Matches, titles: Sequence[str]) -> None:
    """Refuse frames that look alike although they are said to be exposed differently."""
    for dark, bright, here in matches.by_pair():
        step = float(matches.stops[here][0])
        if step < _PLAINLY_APART or here.sum() < _LEAST_IN_PAIR:
            continue
        ratio = matches.bright[here] / matches.dark[here]
        if weighted_median(ratio, matches.weight[here]) < _ALIKE:
            raise InputError(
                f"{titles[dark]} and {titles[bright]} are equally bright although their exposures "
                f"are {step:.1f} stops apart, as where the camera chooses the ISO; give the right "
                "exposures with --ev or --times, or say with --exposures-from files or pixels "
                "which to believe."
            )


def _check_credible(corrections: dict[int, float], titles: Sequence[str]) -> None:
    """Refuse what is more than a stop from what the frames show."""
    far = {index: value for index, value in corrections.items() if abs(value) > _INEXPLICABLE}
    if not far:
        return
    named = ", ".join(
        f"{titles[index]} is {abs(value):.1f} stops {'brighter' if value > 0 else 'darker'}"
        for index, value in far.items()
    )
    raise InputError(
        f"{named} than its exposure says, by the pixels; give the right exposures with "
        "--ev or --times, or say with --exposures-from files or pixels which to believe."
    )


def _about_corrections(corrections: dict[int, float], titles: Sequence[str]) -> str:
    if not corrections:
        return ""
    named = ", ".join(f"{titles[index]} by {value:+.2f}" for index, value in corrections.items())
    return f"Exposures are corrected as the pixels show: {named} stops."


def _about_white(white: Floats, frames: Sequence[Frame]) -> str:
    if (white == 1.0).all():
        return ""
    bits = frames[0].bit_depth
    top = 1.0 if bits == 32 else 2.0**bits - 1.0
    codes = " ".join(f"{value * top:.4g}" for value in np.unique(white))
    return f" White is at {codes} of {top:.0f}."


def _uncertainty(found: Explanation) -> dict[str, float]:
    if found.spread is None:
        return {}
    return {name: found.deviation(code) for name, code in _PLACES.items()}


def _fallback(
    reason: str, frames: Sequence[Frame], stops: Sequence[float], white: Floats
) -> Calibration:
    text = f"The response could not be estimated, because {reason}; sRGB is assumed."
    report = ResponseReport("srgb", {}, text + _about_white(white, frames), warning=text)
    response = Response.named("srgb").with_white(white)
    return Calibration((response,) * len(frames), tuple(stops), report)


def _limit(misfit: float) -> float:
    """Misfit [stops] up to which a response agrees about as well as one of that misfit."""
    factor, slack = _TOLERANCE
    return factor * misfit + slack


def _sentence(kind: str, misfit: dict[str, float]) -> str:
    others = ", ".join(f"{name} by {value:.2f}" for name, value in misfit.items() if name != kind)
    about = f" ({others})" if others else ""
    off = f"{misfit[kind]:.2f} stops"
    return f"The response is {kind}: it disagrees with the exposures by {off}{about}."
