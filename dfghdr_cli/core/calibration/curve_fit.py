"""A response and the exposures of a bracket, fitted together to what the frames show.

With g = log2 of the light that a code stands for, a match of two frames says
``g(bright) - g(dark) = step + error_bright - error_dark``: both the curve and the errors of the
stated exposures are unknown. Neither is free. Curves are like those of real cameras
(`calibration.camera_curves`), and stated exposures are mostly right. Between explanations (a named
curve or a camera's, unusual by so much, exposures right or one of them wrong) their evidence
decides
(MacKay, "Bayesian interpolation", Neural Computation 4(3), 1992): what fits well, unless something
less far-fetched fits about as well. So a small error of an exposure does not bend the curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.calibration.camera_curves import INTERVALS, covariance, hat, usual_curve
from dfghdr_cli.core.calibration.matches import Matches

Floats = NDArray[np.float64]

_SAMPLE = 100.0
"""Independent matches that all matches together are worth; neighbouring quantiles repeat a fact,
and lens flare, motion and local processing err for whole parts of a picture at once."""
_CODE_NOISE = 0.5 / 255.0
"""Standard deviation of a matched code, from quantisation and sensor noise."""
_BLACK = 2.0 / 255.0
"""Standard deviation of a camera's black, which is off for all dark codes at once: of eighteen
brackets eight are off by 1 to 5 levels, see `calibration.black`."""
_BLACK_REACH = 0.1
"""Codes over which an error of black falls to 1 / e, see `calibration.black`."""
_BASE_NOISE = 0.03
"""Standard deviation of an exposure ratio that does not depend on the code [stops]."""
_WIDTHS = (1.0, 4.0, 16.0)
"""Variances of curves against that of real cameras' which are tried."""
_SCALE_ERROR = 0.01
"""What matches may on average rise by more than by a usual curve where exposures are free [stops]:
nothing else tells their scale."""
_ROUNDS = 6
_REFERENCE_ROUNDS = 3
_WRONG = 1.0
"""Standard deviation of an exposure that is stated wrongly [stops]."""
_SUSPECTED = 3.0
"""Standard deviations of its usual error from which on an exposure may be stated wrongly."""
_WRONG_ODDS = 4.0
"""Log odds against an exposure's being stated wrongly: one of fifty."""
NAMED_ODDS = 3.0
"""Log odds for a named curve against a camera's before anything is seen: exported pictures."""
_MOST_ERROR2 = 25.0
_MIDDLE, _SHOULDER = (-4.5, -1.7), (-1.8, -0.15)
"""Light [stops against white] that codes 0.5 and 0.9 of a developed picture can stand for; cameras
have -3.7 to -2.6 and -1.5 to -0.6, sRGB has -2.2 and -0.34."""
_EXPONENTS = (1.1, 3.0)
"""Mean exponent between codes 0.1 and 0.9; cameras have 1.4 to 1.8, gamma 2.2 has 2.2."""
_PLAUSIBLE_CODES = np.linspace(0.03, 1.0, 60)
_CODES = np.linspace(0.0, 1.0, 4097)


@dataclass(frozen=True, slots=True)
class Explanation:
    """A curve and exposures that explain the matches.

    Attributes:
        name: of the curve, "fitted" for a camera's.
        errors: (N,) what the frames' exposures are off by [stops]; only differences count.
        deviations: (N,) their standard deviations.
        misfit: weighted median disagreement of the matches [stops].
        evidence: log of the probability of the matches, up to a constant.
        rise: (K,) by how much the curve says that the bright frames show more light [stops].
        knots: (INTERVALS + 1,) how the curve differs from the usual one; None for a named one.
        spread: (INTERVALS, INTERVALS) covariance of the knots; None for a named one.
        trust: (K,) what each match is worth.
    """

    name: str
    errors: Floats
    deviations: Floats
    misfit: float
    evidence: float
    rise: Floats
    knots: Floats | None
    spread: Floats | None
    trust: Floats

    def curve(self, codes: Floats) -> Floats:
        """log2 of the light of codes (K,) [stops], 0 at white; of a fitted curve."""
        assert self.knots is not None
        return usual_curve(codes) + hat(codes) @ self.knots

    def is_plausible(self) -> bool:
        """Whether a camera could have this curve: it rises, and its ends are where they can be."""
        values = self.curve(_PLAUSIBLE_CODES)
        toe, middle, shoulder = self.curve(np.array([0.1, 0.5, 0.9]))
        exponent = (shoulder - toe) / np.log2(9.0)
        ends = _MIDDLE[0] < middle < _MIDDLE[1] and _SHOULDER[0] < shoulder < _SHOULDER[1]
        contrast = _EXPONENTS[0] < exponent < _EXPONENTS[1]
        return bool(ends and contrast and (np.diff(values) > 0).all())

    def certainty(self, code: float) -> float:
        """Share of the prior's standard deviation at a code that the matches left, 0 to 1 or so."""
        row = hat(np.array([code]))[0, :-1]
        return self.deviation(code) / float(np.sqrt(row @ covariance() @ row))

    def deviation(self, code: float) -> float:
        """Standard deviation of `curve` at a code [stops]."""
        if self.spread is None:
            return 0.0
        row = hat(np.array([code]))[0, :-1]
        return float(np.sqrt(row @ self.spread @ row))


def weighted_median(values: Floats, weight: Floats) -> float:
    """The value below which half of the weight lies."""
    order = np.argsort(values)
    total = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(total, 0.5 * total[-1])])


def _looks(matches: Matches, count: int, target: Floats) -> Floats:
    """Errors of the exposures (N,) as the median matches of each pair of frames show them."""
    rows, shown = [], []
    for dark, bright, here in matches.by_pair():
        shown.append(weighted_median(target[here], matches.weight[here]))
        rows.append(np.eye(count)[dark] - np.eye(count)[bright])
    return np.asarray(np.linalg.lstsq(np.array(rows), np.array(shown), rcond=None)[0], np.float64)


def black_fading(codes: Floats) -> Floats:
    """Share of an error of black that is there at codes."""
    return np.exp(-codes / _BLACK_REACH)


def _noise(matches: Matches, slope2: Floats) -> Floats:
    """Variance of each match [stops squared], from the curve's squared slopes at `_CODES`."""
    code2 = _CODE_NOISE**2
    bright = np.interp(matches.bright, _CODES, slope2) * (code2 + matches.bright_spread**2)
    dark = np.interp(matches.dark, _CODES, slope2) * (code2 + matches.dark_spread**2)
    return _BASE_NOISE**2 + bright + dark


def _black_noise(matches: Matches, slope2: Floats) -> Floats:
    """What an unknown black adds to `_noise`."""
    fading = slope2 * (_BLACK * black_fading(_CODES)) ** 2
    return np.interp(matches.bright, _CODES, fading) + np.interp(matches.dark, _CODES, fading)


def _deviations(covariance_of_errors: Floats) -> Floats:
    """(N,) of errors less their mean, which are surer than what all have in common."""
    count = len(covariance_of_errors)
    centred = np.eye(count) - 1.0 / count
    return np.asarray(np.sqrt(np.diag(centred @ covariance_of_errors @ centred)), np.float64)


class CurveFit:
    """Explanations of the matches of one bracket."""

    def __init__(
        self, matches: Matches, count: int, exposure_error: float | None, *, free: bool = False
    ) -> None:
        """Weigh the matches.

        Args:
            matches: at least some hundred.
            count: of the frames.
            exposure_error: standard deviation of the stated exposures [stops]; None where they are
                to be taken as they are.
            free: whether the exposures say so little that only a camera's usual curve tells their
                scale.
        """
        self._free = free
        self._matches = matches
        self._count = count
        self._error = exposure_error
        rows = np.arange(len(matches.dark))
        self._frames = np.zeros((len(rows), count))
        self._frames[rows, matches.pair[:, 1]] -= 1.0
        self._frames[rows, matches.pair[:, 0]] += 1.0
        self._hats = (hat(matches.bright) - hat(matches.dark))[:, :-1]
        self._rise = usual_curve(matches.bright) - usual_curve(matches.dark)
        self._mass = _SAMPLE * matches.weight / matches.weight.sum()
        self._tile_size = np.maximum(np.bincount(matches.tile), 1)
        self._covariance = covariance()
        self._noise2 = self._black2 = np.empty(0)
        self._unreliable = np.ones(len(rows))
        self._weigh()

    @property
    def trust(self) -> Floats:
        """(K,) what each match is worth: its share of the picture over its noise."""
        return self._mass / (self._noise2 * self._unreliable)

    def _weigh(self) -> None:
        """Find noise and unreliable tiles by a camera's curve, four times as unusual as most.

        All explanations are compared by these.
        """
        precision = self._precision(4.0, self._errors_allowed())
        design = np.concatenate([self._hats, self._frames], axis=1)
        target = self._matches.stops - self._rise
        knots = np.zeros(INTERVALS + 1)
        for _ in range(_REFERENCE_ROUNDS):
            slope = np.gradient(usual_curve(np.maximum(_CODES, 1e-3)) + hat(_CODES) @ knots, _CODES)
            self._black2 = _black_noise(self._matches, slope**2)
            self._noise2 = _noise(self._matches, slope**2) + self._black2
            values, _ = self._solved(design, target, precision, update=True, doubtful=self._free)
            knots = np.append(values[:INTERVALS], 0.0)

    def _errors_allowed(self) -> Floats:
        error = 1e-4 if self._error is None else self._error
        return np.full(self._count, error**2)

    def _precision(self, width: float | None, errors: Floats) -> Floats:
        """Inverse covariance of knots (unless `width` is None) and errors of exposures."""
        frames = np.diag(1.0 / errors)
        if width is None:
            return frames
        result = np.zeros((INTERVALS + self._count,) * 2)
        result[:INTERVALS, :INTERVALS] = np.linalg.inv(self._covariance * width)
        if self._free:
            # Else the smallest exposures would fit best: they leave the smallest residuals.
            rise = self._mass @ self._hats / self._mass.sum()
            result[:INTERVALS, :INTERVALS] += np.outer(rise, rise) / _SCALE_ERROR**2
        result[INTERVALS:, INTERVALS:] = frames
        return result

    def _solved(
        self,
        design: Floats,
        target: Floats,
        precision: Floats,
        *,
        update: bool = False,
        doubtful: bool = False,
    ) -> tuple[Floats, Floats]:
        """Iteratively reweighted least squares (Geman-McClure), and the matrix they end with.

        Where exposures are doubtful, the weights start from those that the pixels show.
        """
        values = np.zeros(design.shape[1])
        if doubtful:
            values[len(values) - self._count :] = _looks(self._matches, self._count, target)
        matrix = precision
        error2 = (design @ values - target) ** 2 / self._noise2
        for _ in range(_ROUNDS):
            weight = self.trust / (1.0 + error2 / self._unreliable / 4.0) ** 2
            weighted = design * weight[:, None]
            matrix = weighted.T @ design + precision
            values = np.linalg.solve(matrix, weighted.T @ target)
            error2 = (design @ values - target) ** 2 / self._noise2
            if update:
                per_tile = np.bincount(self._matches.tile, np.minimum(error2, _MOST_ERROR2))
                self._unreliable = np.maximum(per_tile / self._tile_size, 1.0)[self._matches.tile]
        return np.asarray(values, np.float64), np.asarray(matrix, np.float64)

    def reweighed(self, design: Floats, target: Floats, precision: Floats) -> CurveFit:
        """The same, where this linear model tells black, and which tiles it explains."""
        other = copy(self)
        other._noise2 = self._noise2 - self._black2
        other._unreliable = np.ones(len(target))
        other._solved(design, target, precision, update=True)
        return other

    def explained(
        self, design: Floats, target: Floats, precision: Floats, *, doubtful: bool = False
    ) -> tuple[Floats, Floats, float]:
        """The most probable values of what explains the matches by a linear model.

        Args:
            design: (K, n).
            target: (K,) what design @ values should be [stops].
            precision: (n, n) inverse covariance of the values before anything is seen.
            doubtful: whether the last values are errors of the frames' exposures that may be wrong.

        Returns:
            The values (n,), their inverse covariance (n, n), and the log of the probability of the
            matches, up to a constant.
        """
        values, matrix = self._solved(design, target, precision, doubtful=doubtful)
        error2 = (design @ values - target) ** 2 / (self._noise2 * self._unreliable)
        loss = (self._mass * error2 / (1.0 + error2 / 4.0)).sum() + values @ precision @ values
        volume = np.linalg.slogdet(precision)[1] - np.linalg.slogdet(matrix)[1]
        return values, matrix, float(-0.5 * loss + 0.5 * volume)

    def _explained(
        self, name: str, design: Floats, rise: Floats, precision: Floats, odds: float
    ) -> Explanation:
        target = self._matches.stops - rise
        wrong = np.diag(precision)[-self._count :] < _WRONG**-2 * 1.01
        doubtful = self._free or bool(wrong.any())
        values, matrix, evidence = self.explained(design, target, precision, doubtful=doubtful)
        residual = design @ values - target
        spread = np.asarray(np.linalg.inv(matrix), np.float64)
        knots = len(values) - self._count
        errors = values[knots:]
        return Explanation(
            name,
            errors - errors.mean(),
            _deviations(spread[knots:, knots:]),
            weighted_median(np.abs(residual), self.trust),
            evidence + odds,
            rise if knots == 0 else rise + self._hats @ values[:knots],
            np.append(values[:knots], 0.0) if knots else None,
            spread[:knots, :knots] if knots else None,
            self.trust,
        )

    def camera(self) -> Explanation:
        """The most probable curve of a camera, with the most probable exposures."""
        design = np.concatenate([self._hats, self._frames], axis=1)
        target = self._matches.stops - self._rise
        found = []
        for errors, odds in self._suspicions(design, target, 1.0):
            for width in _WIDTHS[:1] if self._free else _WIDTHS:
                precision = self._precision(width, errors)
                found.append(self._explained("fitted", design, self._rise, precision, odds))
        likely = [explanation for explanation in found if explanation.is_plausible()]
        return max(likely or found[:1], key=lambda explanation: explanation.evidence)

    def named(self, name: str, rise: Floats, prior_odds: float = NAMED_ODDS) -> Explanation:
        """The most probable exposures under a curve that is known.

        Args:
            name: of the curve.
            rise: (K,) by how much it says that the bright frames show more light [stops].
            prior_odds: log odds for it before anything is seen.
        """
        target = self._matches.stops - rise
        found = [
            self._explained(
                name, self._frames, rise, self._precision(None, errors), odds + prior_odds
            )
            for errors, odds in self._suspicions(self._frames, target, None)
        ]
        return max(found, key=lambda explanation: explanation.evidence)

    def _suspicions(
        self, design: Floats, target: Floats, width: float | None
    ) -> Sequence[tuple[Floats, float]]:
        """Variances of the exposures' errors, and log odds: all right, or those that look wrong."""
        usual = self._errors_allowed()
        choices = [(usual, 0.0)]
        if self._error is None:
            return choices
        free = self._precision(width, np.full(self._count, _WRONG**2))
        values, _ = self._solved(design, target, free, doubtful=True)
        errors = values[len(values) - self._count :]
        apart = np.abs(errors - np.sort(errors)[(self._count - 1) // 2])
        # Most are right: were they not, it would be the curve.
        most = np.sort(apart)[-max((self._count - 1) // 2, 1)]
        wrong = (apart > _SUSPECTED * self._error) & (apart >= most)
        if wrong.any() and not self._free:
            choices.append((np.where(wrong, _WRONG**2, usual), -_WRONG_ODDS * float(wrong.sum())))
        return choices
