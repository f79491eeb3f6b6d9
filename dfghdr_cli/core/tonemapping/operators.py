"""Tone mapping: linear pictures of any range become pictures for a display.

`tone_map` applies one of `OPERATORS`. All of them see the picture after exposure: linear Rec. 709
in which 0.18 is a middle grey and 1.0 the white of paper. Operators on luminance keep the ratios
of R, G and B; those that are defined on channels have their turns of hue taken back
(`keep_hue`); and what a display cannot show moves into its range at its own hue (`fit_gamut`).
Two are exceptions: mu-law is eq. (10) on each channel and nothing else; and fusion, the default, is
finished like a photograph (`core.tonemapping.finish`).

None of OpenCV's operators is used: all of them stretch the picture from its darkest to its
brightest pixel before and after, so that one hot pixel changes everything; its Reinhard is the
operator of 2005, and its Mantiuk a power of the luminance.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import wraps
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.choices import DisplaySpace
from dfghdr_cli.core.clipping import largest_channel
from dfghdr_cli.core.colour import (
    LUMINANCE,
    PRIMARIES,
    REC709,
    conversion,
    fit_gamut,
    keep_hue,
    srgb_decode,
    srgb_encode,
    transform,
)
from dfghdr_cli.core.encoding import MU, mu_law
from dfghdr_cli.core.luminance import (
    MIDDLE_GREY,
    choose_exposure,
    luminance_of,
    sample_of,
)
from dfghdr_cli.core.tonemapping.finish import camera_colours, fade_to_white, finish, within_gamut
from dfghdr_cli.core.tonemapping.local import durand, fusion, mantiuk, reinhard_local
from dfghdr_cli.core.types import FloatImage

DEFAULT_OPERATOR = "fusion"
"""Chosen by looking at all operators on fifteen pictures of different sources: merged brackets,
rooms with windows, a stained-glass window, landscapes, and squares at night."""


_BRIGHTEST = 1e9
"""Light that all operators but the mu-law show as white; squares and cubes of more than this would
leave float32, whose largest value files may hold."""


@dataclass(frozen=True, slots=True)
class ToneSettings:
    """How to tone-map.

    Attributes:
        operator: a key of `OPERATORS`.
        exposure: what the picture is brightened by first [stops], or None to choose it.
        white: the value after exposure that becomes white, or None for the operator's own choice.
        saturation: 1 keeps colours as the operator makes them, 0 takes them away.
        parameters: of the operator, by name; those left out have their defaults.
    """

    operator: str = DEFAULT_OPERATOR
    exposure: float | None = None
    white: float | None = None
    saturation: float = 1.0
    parameters: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToneMapped:
    """A picture for a display.

    Attributes:
        pixels: (H, W, 3) float32 in [0, 1], encoded with the sRGB curve in the primaries asked for.
        exposure: what the picture was brightened by [stops].
        parameters: of the operator, as they were used.
    """

    pixels: FloatImage
    exposure: float
    parameters: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class SceneLight:
    """What an operator sees of the whole picture, after exposure.

    Attributes:
        luminance: (H, W) float32, >= 0.
        white: the value that becomes white, as far as the user has said so.
        parameters: every parameter of the operator.
        space: the primaries of the pixels that operators on channels get and return.
    """

    luminance: FloatImage
    white: float | None
    parameters: Mapping[str, float]
    space: DisplaySpace

    def white_or_brightest(self, percentile: float = 99.95) -> float:
        """`white`, else the luminance of nearly the brightest pixels, but at least 1."""
        if self.white is not None:
            return self.white
        return max(1.0, float(np.percentile(sample_of(self.luminance), percentile)))


@dataclass(frozen=True, slots=True)
class Parameter:
    """A number that an operator takes.

    Attributes:
        default: used where none is given.
        low: the least sensible value.
        high: the largest.
        meaning: in a few words.
    """

    default: float
    low: float
    high: float
    meaning: str


@dataclass(frozen=True, slots=True)
class Operator:
    """A way to tone-map.

    Attributes:
        kind: "luminance": `function(luminance, scene)` gives the luminance on the display, row by
            row; "local": `function(scene)` gives it for the whole picture at once; "fused": the
            same, but its sRGB codes, which are then finished (`core.tonemapping.finish`); "colour":
            `function(rgb, scene)` gives linear RGB, whose hues are then set back; "exact": the
            same, but already encoded and shown as it is.
        function: see `kind`.
        parameters: by name.
        takes_white: whether `white` has an effect.
    """

    kind: Literal["luminance", "local", "fused", "colour", "exact"]
    function: Callable[..., NDArray[np.floating]]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    takes_white: bool = True


def tone_map(
    radiance: FloatImage,
    settings: ToneSettings,
    space: DisplaySpace = "srgb",
    brightest_white: float | None = None,
) -> ToneMapped:
    """Make a picture for a display of a linear one.

    Args:
        radiance: (H, W, 3) float32, linear Rec. 709, finite, on any scale. Negative components
            (colours outside Rec. 709) are kept as far as the display can show them; pixels
            without positive luminance become black.
        settings: how.
        space: the primaries of the result.
        brightest_white: the value that is white in the brightest frame of the bracket that the
            picture was merged from, or None where nobody knows. It limits what is chosen here, so
            that noise is not brightened: the exposure, see `choose_exposure`, and the default of
            fusion's `lift`, which goes at most `_FARTHEST_LIFT` stops beyond that frame. What
            `settings` say holds in any case.

    Returns:
        The encoded picture, the exposure and the parameters that were used.

    Raises:
        ValueError: an unknown operator or parameter, a value out of its range, or a caller's
            mistake: another shape or type.
    """
    operator, parameters = checked_settings(settings)
    if radiance.ndim != 3 or radiance.shape[2] != 3 or radiance.dtype != np.float32:
        raise ValueError(f"expected (H, W, 3) float32, not {radiance.shape} {radiance.dtype}")
    luminance = np.maximum(luminance_of(radiance), 0)
    exposure = settings.exposure
    if exposure is None:
        exposure = choose_exposure(luminance, brightest_white)
    if brightest_white is not None and "lift" in parameters.keys() - settings.parameters.keys():
        farthest = _FARTHEST_LIFT - math.log2(brightest_white) - exposure
        parameters["lift"] = min(parameters["lift"], max(farthest, 0.0))
    gain = np.float32(2.0**exposure)
    most = math.inf if operator.kind == "exact" else _BRIGHTEST * 2.0**-exposure
    brightest = np.float32(min(most, float(np.finfo(np.float32).max)))
    luminance = np.minimum(luminance, brightest, out=luminance)
    luminance *= gain
    scene = SceneLight(luminance, settings.white, parameters, space)
    show = _shown(operator, scene, settings.saturation)
    to_space = None if space == "srgb" else conversion(REC709, PRIMARIES[space])
    out = np.empty_like(radiance)

    def rows(part: slice) -> None:
        rgb = np.minimum(radiance[part], brightest) * gain
        if to_space is not None:
            rgb = transform(rgb, to_space)
        out[part] = show(rgb, part)

    _by_rows(len(out), rows)
    return ToneMapped(out, float(exposure), parameters)


def _shown(
    operator: Operator, scene: SceneLight, saturation: float
) -> Callable[[FloatImage, slice], FloatImage]:
    """A function that makes codes (h, W, 3) of exposed light (h, W, 3) and of where its rows are.

    What has to be known of the whole picture is found here.
    """
    space = scene.space

    def ratio(target: NDArray[np.floating], y: FloatImage) -> NDArray[np.floating]:
        return (target / np.maximum(y, _TINY))[..., None]

    def encoded(light: FloatImage, y: FloatImage) -> FloatImage:
        light[y <= 0] = 0
        return np.asarray(srgb_encode(fit_gamut(light, space)), np.float32)

    def exact(rgb: FloatImage, part: slice) -> FloatImage:
        code = operator.function(rgb, scene)
        if saturation != 1:
            code = srgb_encode(_saturated(srgb_decode(code), saturation, space))
        return np.clip(code, 0, 1)

    def colour(rgb: FloatImage, part: slice) -> FloatImage:
        toned = np.asarray(operator.function(rgb, scene), np.float32)
        light = _saturated(keep_hue(toned, rgb, space), saturation, space)
        return encoded(light, scene.luminance[part])

    def luminance(rgb: FloatImage, part: slice) -> FloatImage:
        y = scene.luminance[part]
        target = operator.function(y, scene) if whole is None else whole[part]
        return encoded(_saturated(rgb * ratio(target, y), saturation, space), y)

    def fused(rgb: FloatImage, part: slice) -> FloatImage:
        assert whole is not None
        y = scene.luminance[part]
        shown, colours = curves(whole[part])
        colours = within_gamut(colours, rgb, y)
        colours *= np.float32(saturation)
        rgb *= ratio(shown * colours, y)
        rgb += (shown * (1 - colours))[..., None]
        as_camera = np.float32(scene.parameters["colour"])
        if as_camera:
            rgb += as_camera * (camera_colours(rgb, shown, space) - rgb)
        return encoded(fade_to_white(rgb, space), y)

    whole = operator.function(scene) if operator.kind in ("local", "fused") else None
    if operator.kind == "fused":
        assert whole is not None
        curves = finish(
            sample_of(np.asarray(whole, np.float32)),
            *(scene.parameters[name] for name in ("veil", "contrast")),
        )
        return fused
    return {"exact": exact, "colour": colour}.get(operator.kind, luminance)


def checked_settings(settings: ToneSettings) -> tuple[Operator, dict[str, float]]:
    """Find the operator and complete its parameters.

    Raises:
        ValueError: an unknown operator or parameter, or a value out of its range; one sentence.
    """
    name = settings.operator
    if name not in OPERATORS:
        raise ValueError(f"there is no operator {name!r}; choose one of {', '.join(OPERATORS)}.")
    operator = OPERATORS[name]
    for key, value in settings.parameters.items():
        if key not in operator.parameters:
            known = ", ".join(operator.parameters) or "none"
            raise ValueError(f"{name} has no parameter {key!r}; it takes: {known}.")
        allowed = operator.parameters[key]
        if not allowed.low <= value <= allowed.high:
            raise ValueError(
                f"{key} of {name} is from {allowed.low:g} to {allowed.high:g}, not {value:g}."
            )
    if settings.white is not None:
        if not operator.takes_white:
            raise ValueError(f"{name} has a white of its own; leave out --white.")
        if not 0 < settings.white < math.inf:
            raise ValueError(f"white is a positive number, not {settings.white:g}.")
    if not 0 <= settings.saturation <= 4:
        raise ValueError(f"saturation is from 0 to 4, not {settings.saturation:g}.")
    if settings.exposure is not None and not abs(settings.exposure) <= 40:
        raise ValueError(f"exposure is from -40 to 40 stops, not {settings.exposure:g}.")
    defaults = {key: parameter.default for key, parameter in operator.parameters.items()}
    return operator, {**defaults, **settings.parameters}


_FARTHEST_LIFT = 2.0
"""Likewise, its shadows."""


def _saturated(light: NDArray[np.floating], saturation: float, space: DisplaySpace) -> FloatImage:
    if saturation != 1:
        grey = (light @ LUMINANCE[space])[..., None]
        light = grey + np.float32(saturation) * (light - grey)
    return np.asarray(light, np.float32)


def _by_rows(height: int, function: Callable[[slice], None], rows: int = 64) -> None:
    """Call `function` for every strip of a picture, on all processors, with little memory."""
    parts = [slice(start, start + rows) for start in range(0, height, rows)]
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 16)) as pool:
        for _ in pool.map(function, parts):
            pass


_TINY = np.float32(1e-30)


def _mu_law(rgb: FloatImage, scene: SceneLight) -> NDArray[np.floating]:
    """Eq. (10) on each channel, x = value / white."""
    white = scene.white_or_brightest()
    return mu_law(np.maximum(rgb, 0) / np.float32(white), scene.parameters["mu"])


def _gamma(rgb: FloatImage, scene: SceneLight) -> NDArray[np.floating]:
    """Codes (x / white) ** (1 / gamma), cut at white (1.0 by default): no compression at all."""
    x = np.clip(rgb / np.float32(1.0 if scene.white is None else scene.white), 0, 1)
    return srgb_decode(x ** np.float32(1 / scene.parameters["gamma"]))


def _reinhard(luminance: FloatImage, scene: SceneLight) -> NDArray[np.floating]:
    """L (1 + L / white^2) / (1 + L).

    Source: Reinhard, Stark, Shirley, Ferwerda, "Photographic Tone Reproduction for Digital
    Images", SIGGRAPH 2002, eq. (4).
    """
    white = np.float32(scene.white_or_brightest())
    return luminance * (1 + luminance / white**2) / (1 + luminance)


def _drago(luminance: FloatImage, scene: SceneLight) -> NDArray[np.floating]:
    """A logarithm whose base goes from 2 in the dark to 10 at white; `bias` says how soon.

    Source: Drago, Myszkowski, Annen, Chiba, "Adaptive Logarithmic Mapping For Displaying High
    Contrast Scenes", Eurographics 2003, eq. (4), with the display's white at 1; the luminance is
    counted from the adaptation level, the middle grey.
    """
    white = scene.white_or_brightest() / MIDDLE_GREY
    x = np.minimum(luminance / np.float32(MIDDLE_GREY), np.float32(white))
    power = np.float32(math.log(scene.parameters["bias"]) / math.log(0.5))
    base = np.log(2 + 8 * (x / np.float32(white)) ** power)
    return np.log1p(x) / (base * np.float32(math.log10(white + 1)))


def _hable(rgb: FloatImage, scene: SceneLight) -> NDArray[np.floating]:
    """The curve of a film, u(2 x) / u(white), on each channel.

    Source: J. Hable, "Uncharted 2: HDR Lighting", GDC 2010, with his constants and exposure bias.
    """
    white = np.array(11.2 if scene.white is None else scene.white, np.float32)
    return np.asarray(_filmic(2 * np.maximum(rgb, 0)) / _filmic(white))


def _filmic(x: NDArray[np.floating]) -> NDArray[np.floating]:
    a, b, c, d, e, f = map(np.float32, (0.15, 0.50, 0.10, 0.20, 0.02, 0.30))
    return (x * (a * x + c * b) + d * e) / (x * (a * x + b) + d * f) - e / f


# S. Hill's fit of the ACES 1.0 RRT and sRGB ODT (2016): from linear Rec. 709 to the space in which
# the curve acts, saturation included, and back to linear Rec. 709.
_ACES_IN = np.array(
    [[0.59719, 0.35458, 0.04823], [0.07600, 0.90834, 0.01566], [0.02840, 0.13383, 0.83777]]
)
_ACES_OUT = np.array(
    [[1.60475, -0.53108, -0.07367], [-0.10208, 1.10813, -0.00605], [-0.00327, -0.07276, 1.07602]]
)


def _aces(rgb: FloatImage, scene: SceneLight) -> NDArray[np.floating]:
    """The look of the ACES 1.0 reference rendering, fitted by a ratio of polynomials.

    Source: S. Hill's fit of RRT and ODT (2016), as published in M. Pettineo's BakingLab, with the
    usual factor 1 / 0.6 that keeps a middle grey where it was.
    """
    to_rec709 = conversion(PRIMARIES[scene.space], REC709)
    x = np.maximum(transform(rgb, _ACES_IN @ to_rec709 / 0.6), 0)
    y = (x * (x + np.float32(0.0245786)) - np.float32(0.000090537)) / (
        x * (np.float32(0.983729) * x + np.float32(0.4329510)) + np.float32(0.238081)
    )
    return transform(np.maximum(y, 0), np.linalg.inv(to_rec709) @ _ACES_OUT)


# T. Sobotka's AgX (2022): the inset that pulls the primaries inwards, the range of its log2
# encoding around middle grey, and the powers of toe and shoulder of its sigmoid.
_AGX_IN = np.array(
    [
        [0.842479062253094, 0.0784335999999992, 0.0792237451477643],
        [0.0423282422610123, 0.878468636469772, 0.0791661274605434],
        [0.0423756549057051, 0.0784336, 0.879142973793104],
    ]
)
_AGX_RANGE = (math.log2(MIDDLE_GREY) - 10.0, math.log2(MIDDLE_GREY) + 6.5)
_AGX_TOE, _AGX_SHOULDER = 3.0, 3.25


def _agx(rgb: FloatImage, scene: SceneLight) -> NDArray[np.floating]:
    """A sigmoid on log2 of the channels, whose primaries are pulled inwards before and out after.

    Source: T. Sobotka, AgX (2022), the base look: 10 stops below and 6.5 above middle grey, slope
    2 at the pivot, output for a display of gamma 2.2.
    """
    low, high = _AGX_RANGE
    to_rec709 = conversion(PRIMARIES[scene.space], REC709)
    x = np.log2(np.maximum(transform(rgb, _AGX_IN @ to_rec709), _TINY))
    code = _agx_curve(np.clip((x - np.float32(low)) / np.float32(high - low), 0, 1))
    code = transform(code, np.linalg.inv(_AGX_IN))
    light = np.copysign(np.abs(code) ** np.float32(2.2), code)
    return transform(light, np.linalg.inv(to_rec709))


def _agx_curve(x: NDArray[np.floating]) -> NDArray[np.floating]:
    """0.5 + 2 d / (1 + a |d| ** p) ** (1 / p), d from the pivot, through (0, 0) and (1, 1)."""
    pivot, slope = 10.0 / 16.5, 2.0

    def branch(d: NDArray[np.floating], end: float, power: float) -> NDArray[np.floating]:
        a = (slope / 0.5) ** power - end**-power
        return (
            slope
            * d
            / (1 + np.float32(a) * np.abs(d) ** np.float32(power)) ** np.float32(1 / power)
        )

    d = x - np.float32(pivot)
    toe, shoulder = branch(d, pivot, _AGX_TOE), branch(d, 1 - pivot, _AGX_SHOULDER)
    return np.float32(0.5) + np.where(d < 0, toe, shoulder)


def _khronos_neutral(rgb: FloatImage, scene: SceneLight) -> NDArray[np.floating]:
    """Colours as they are up to 0.76; above that the peak is compressed and fades to white.

    Source: Khronos PBR Neutral Tone Mapper, 2024.
    """
    start, fade = 0.8 - 0.04, np.float32(scene.parameters["desaturation"])
    x = np.maximum(rgb, 0)
    least = np.minimum(np.minimum(x[..., 0], x[..., 1]), x[..., 2])
    offset = np.where(least < 0.08, least - 6.25 * least * least, np.float32(0.04))
    x = x - offset[..., None]
    peak = largest_channel(x)
    room = np.float32(1 - start)
    above = np.maximum(peak - np.float32(start), 0)
    new_peak = np.where(above > 0, 1 - room * room / (above + room), peak)
    scale = new_peak / np.maximum(peak, _TINY)
    share = 1 - 1 / (fade * (peak - new_peak) + 1)
    x = x * (scale * (1 - share))[..., None]
    return x + (new_peak * share)[..., None]


def _local(
    function: Callable[..., NDArray[np.floating]],
) -> Callable[[SceneLight], NDArray[np.floating]]:
    @wraps(function)
    def run(scene: SceneLight) -> NDArray[np.floating]:
        return function(scene.luminance, scene.white_or_brightest(), **scene.parameters)

    return run


@wraps(fusion)
def _fusion(scene: SceneLight) -> NDArray[np.floating]:
    # Lamps that are brighter still may burn out: to show all of them would darken what is bright.
    white = scene.white_or_brightest(99.8)
    parameters = scene.parameters
    return fusion(scene.luminance, white, parameters["lift"], parameters["width"])


OPERATORS: dict[str, Operator] = {
    "fusion": Operator(
        "fused",
        _fusion,
        {
            "lift": Parameter(3.0, 0.0, 8.0, "how far shadows may be brightened [stops]"),
            "width": Parameter(0.2, 0.05, 1.0, "how choosy it is about well exposed parts"),
            "veil": Parameter(0.05, 0.0, 0.5, "the most grey that is taken off black, of white"),
            "contrast": Parameter(0.3, 0.0, 1.0, "of the S that is laid over the tones"),
            "colour": Parameter(0.6, 0.0, 1.0, "colours, from the scene's to a camera's"),
        },
    ),
    "mu-law": Operator(
        "exact", _mu_law, {"mu": Parameter(MU, 1.0, 1e6, "strength of the compression")}
    ),
    "gamma": Operator("colour", _gamma, {"gamma": Parameter(2.2, 1.0, 5.0, "of the display")}),
    "reinhard": Operator("luminance", _reinhard),
    "reinhard-local": Operator(
        "local",
        _local(reinhard_local),
        {
            "phi": Parameter(8.0, 1.0, 20.0, "sharpness of the edges between regions"),
            "threshold": Parameter(0.05, 0.001, 1.0, "contrast that ends a region"),
        },
    ),
    "drago": Operator(
        "luminance", _drago, {"bias": Parameter(0.85, 0.5, 1.0, "less is brighter and flatter")}
    ),
    "mantiuk": Operator(
        "local",
        _local(mantiuk),
        {
            "contrast": Parameter(1.5, 0.3, 6.0, "range of the result [log10]"),
            "equalise": Parameter(0.5, 0.0, 1.0, "share of equalisation; the rest is mapping"),
        },
    ),
    "durand": Operator(
        "local",
        _local(durand),
        {
            "contrast": Parameter(20.0, 1.0, 1000.0, "of the large forms, bright to dark"),
            "space": Parameter(0.02, 0.001, 0.2, "width of the filter, of the longer side"),
            "range": Parameter(0.4, 0.05, 2.0, "height of an edge [log10]"),
        },
    ),
    "hable": Operator("colour", _hable),
    "aces": Operator("colour", _aces, takes_white=False),
    "agx": Operator("colour", _agx, takes_white=False),
    "khronos-neutral": Operator(
        "colour",
        _khronos_neutral,
        {"desaturation": Parameter(0.15, 0.0, 1.0, "how soon light fades to white")},
        takes_white=False,
    ),
}
"""Every operator by its name; the default comes first."""
