"""OpenEXR files of any program: which of their channels are the picture, and where it lies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.colour import (
    ACESCG,
    ADOBE_RGB,
    P3,
    REC709,
    REC2020,
    Chromaticities,
    to_xyz,
)
from dfghdr_cli.core.types import FloatImage
from dfghdr_cli.errors import InputError, refuse_if_out_of_memory
from dfghdr_cli.io.prints import kept_from_stdout
from dfghdr_cli.io.source import read_head
from dfghdr_cli.limits import ensure_pixels

INTEROP_IDS: dict[str, Chromaticities] = {
    "lin_rec709_scene": REC709,
    "lin_rec2020_scene": REC2020,
    "lin_ap1_scene": ACESCG,
    "lin_p3d65_scene": P3,
    "lin_ap0_scene": (0.7347, 0.2653, 0.0, 1.0, 0.0001, -0.077, 0.32168, 0.33767),
    "lin_adobergb_scene": ADOBE_RGB,
}
"""Linear spaces by their names of the Color Interop Forum (ASWF), "Texture Asset Color Spaces"."""
_KINDS = (("R", "G", "B"), ("RED", "GREEN", "BLUE"), ("Y", "RY", "BY"), ("Y",))
_POSITIONS = {"X", "Z"}
"""Beside these a Y is a coordinate and no luminance."""
_MAIN_LAYERS = ("", "combined", "beauty", "rgba")
_HAS_DEEP_DATA = 0x800
"""Bit of the version field ("OpenEXR File Layout", "Version Field")."""


def decode_exr(path: Path) -> tuple[FloatImage, dict[str, Any], list[str]]:
    """Read the picture in an OpenEXR file: the first part that holds one, its main layer.

    Channels may be R, G, B in any case, by their full names or with a layer's name in front;
    luminance Y alone; or luminance with the colour differences RY and BY at half size. The result
    covers the display window: what the file stores outside is cut off, and what is missing is
    black.

    Args:
        path: the file.

    Returns:
        (H, W, 3) float32 linear RGB in the primaries that the header names; the header of the
        part; and a sentence, without the file's name, for whatever was not taken as it stands.

    Raises:
        InputError: the file is damaged or holds no such channels as half or float.
    """
    import OpenEXR

    flat = (OpenEXR.scanlineimage, OpenEXR.tiledimage)
    try:
        # Separate channels: the package cannot join R, G and B of different types.
        # Through memory: it does not take every name.
        data = BytesIO(path.read_bytes())
        with OpenEXR.File(data, header_only=True) as file:
            for part in file.parts:
                _check_windows(path, part.header)
            promised = sum(part.type() in flat for part in file.parts)
        data.seek(0)
        # Parts that it cannot decode, for damage or for want of memory, it leaves out, and prints
        # why. Deep ones are not missed.
        with kept_from_stdout() as words:
            file = OpenEXR.File(data, separate_channels=True)
        with file:
            if words and sum(part.type() in flat for part in file.parts) < max(1, promised):
                raise RuntimeError("".join(words))
            found: list[str] = []
            for part in file.parts:
                channels = part.channels
                names = _picture_channels(channels)
                if names and part.type() in flat:
                    chosen = {name: channels[name] for name in (*names, *_alpha(names, channels))}
                    planes = {
                        name: (channel.pixels, (channel.xSampling, channel.ySampling))
                        for name, channel in chosen.items()
                    }
                    header = dict(part.header)
                    notes = _choice_notes(part.name(), len(file.parts), names, channels)
                    break
                found += sorted(channels)
            else:
                if not promised:
                    raise _deep(path)
                raise InputError(
                    f"{path} has no R, G, B or plain Y channels "
                    f"(found: {', '.join(found) or 'none'}); export it as RGB."
                )
    except (RuntimeError, ValueError, TypeError, MemoryError) as error:
        refuse_if_out_of_memory(error, path)
        if int.from_bytes(read_head(path)[4:8], "little") & _HAS_DEEP_DATA:
            raise _deep(path) from error
        raise InputError(
            f"{path} is damaged or of an unknown kind of OpenEXR; copy or export it again."
        ) from error
    kind = tuple(name.rpartition(".")[2].upper() for name in names)
    pixels = _join(path, [planes.pop(name) for name in names], kind, header)
    for alpha, _ in planes.values():
        if (alpha != 1).any():
            notes.append("its alpha channel is not opaque and was left out")
    return _in_display_window(path, pixels, header, notes), header, notes


def _deep(path: Path) -> InputError:
    return InputError(
        f"{path} holds deep data, many samples a pixel, and no flat picture; "
        "flatten it first, for example by `oiiotool --flatten`."
    )


def _check_windows(path: Path, header: Mapping[str, Any]) -> None:
    """Refuse what is too large: the package decodes all channels of all parts at once."""
    colours = max(1.0, len(header["channels"]) / 3)
    for window, planes in (("dataWindow", colours), ("displayWindow", 1.0)):
        low, high = (np.asarray(v, int) for v in header[window])
        width, height = (high - low + 1).tolist()
        if width < 1 or height < 1:
            raise ValueError("a window without pixels")
        ensure_pixels(path, width, round(height * planes))


def _picture_channels(names: Iterable[str]) -> tuple[str, ...]:
    """The names of the picture's channels, R, G, B or Y, RY, BY or Y; empty if there are none."""
    layers: dict[str, dict[str, str]] = {}
    for name in names:
        layer, _, last = name.rpartition(".")
        layers.setdefault(layer, {})[last.upper()] = name

    def rank(layer: str) -> tuple[int, str]:
        last = layer.rpartition(".")[2].lower()
        return (_MAIN_LAYERS.index(last) if last in _MAIN_LAYERS else len(_MAIN_LAYERS), layer)

    for kind in _KINDS:
        for layer in sorted(layers, key=rank):
            own = layers[layer]
            if own.keys() >= set(kind) and not (len(kind) == 1 and own.keys() & _POSITIONS):
                return tuple(own[channel] for channel in kind)
    return ()


def _alpha(names: tuple[str, ...], channels: Iterable[str]) -> list[str]:
    layer = names[0].rpartition(".")[0]
    wanted = {f"{layer}.{last}".lstrip(".").upper() for last in ("A", "ALPHA")}
    return [name for name in channels if name.upper() in wanted]


def _choice_notes(
    part: str, parts: int, names: tuple[str, ...], channels: Iterable[str]
) -> list[str]:
    notes = []
    if parts > 1:
        notes.append(f"of its {parts} parts {part or 'the first with a picture'} was taken")
    layer = names[0].rpartition(".")[0]
    others = {name.rpartition(".")[0] for name in channels} - {layer}
    if others:
        notes.append(f"of its layers {layer or 'the unnamed one'} was taken")
    return notes


def _join(
    path: Path,
    planes: list[tuple[NDArray[Any], tuple[int, int]]],
    kind: tuple[str, ...],
    header: Mapping[str, Any],
) -> FloatImage:
    """Planes, each with its steps along x and y, to (H, W, 3) float32."""
    if any(plane.dtype.kind != "f" or plane.ndim != 2 for plane, _ in planes):
        raise InputError(
            f"{path} stores its channels as integers or in different sizes; "
            "export it as half or float RGB."
        )
    (low_x, low_y), (high_x, high_y) = (np.asarray(v, int) for v in header["dataWindow"])
    size = (high_y - low_y + 1, high_x - low_x + 1)
    whole = [plane if steps == (1, 1) else _enlarge(plane, steps, size) for plane, steps in planes]
    if any(plane.shape != size for plane in whole):
        raise InputError(
            f"{path} stores its channels as integers or in different sizes; "
            "export it as half or float RGB."
        )
    pixels = np.empty((*size, 3), np.float32)
    if kind == ("Y", "RY", "BY"):
        # OpenEXR's technical introduction, "Luminance/Chroma Images".
        luminance, red, blue = (plane.astype(np.float32, copy=False) for plane in whole)
        weights = _luminance_weights(path, header)
        pixels[..., 0] = (red + 1) * luminance
        pixels[..., 2] = (blue + 1) * luminance
        rest = luminance - weights[0] * pixels[..., 0] - weights[2] * pixels[..., 2]
        pixels[..., 1] = rest / weights[1]
        return pixels
    for index in range(3):
        pixels[..., index] = whole[index if len(whole) == 3 else 0]
    return pixels


def _luminance_weights(path: Path, header: Mapping[str, Any]) -> NDArray[np.float32]:
    try:
        weights = to_xyz(tuple(header.get("chromaticities", REC709)))[1].astype(np.float32)
    except (TypeError, ValueError):
        weights = np.zeros(3, np.float32)
    if not np.isfinite(weights).all() or abs(weights[1]) < 1e-6:
        raise InputError(f"{path} names primaries that are no colours; export it again as RGB.")
    return weights


def _enlarge(
    plane: NDArray[Any], steps: tuple[int, int], size: tuple[int, int]
) -> NDArray[np.float32]:
    """Linear interpolation between samples that lie at multiples of `steps`."""
    out: NDArray[np.floating] = plane.astype(np.float32)
    for axis, (step, length) in enumerate(zip(reversed(steps), size, strict=True)):
        position = np.arange(length) / step
        before = np.minimum(position.astype(int), out.shape[axis] - 1)
        after = np.minimum(before + 1, out.shape[axis] - 1)
        share = (position - before).astype(np.float32)
        share = share[:, None] if axis == 0 else share[None]
        out = out.take(before, axis) * (1 - share) + out.take(after, axis) * share
    return np.asarray(out, np.float32)


def _in_display_window(
    path: Path, pixels: FloatImage, header: Mapping[str, Any], notes: list[str]
) -> FloatImage:
    data_low, data_high = (np.asarray(v, int) for v in header["dataWindow"])
    low, high = (np.asarray(v, int) for v in header["displayWindow"])
    if (data_low == low).all() and (data_high == high).all():
        return pixels
    width, height = (high - low + 1).tolist()
    first, last = np.maximum(low, data_low), np.minimum(high, data_high)
    if (first > last).any():
        raise InputError(
            f"{path} has a display window of {width} x {height} pixels that its data do not fill; "
            "export it again."
        )
    out = np.zeros((height, width, 3), np.float32)
    into, source = first - low, first - data_low
    columns, rows = (last - first + 1).tolist()
    out[into[1] : into[1] + rows, into[0] : into[0] + columns] = pixels[
        source[1] : source[1] + rows, source[0] : source[0] + columns
    ]
    notes.append(
        f"its data window differs from its display window, {width} x {height} pixels, "
        "which is what counts"
    )
    return out
