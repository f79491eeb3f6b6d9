"""Photographs on disk to frames: JPEG, PNG, TIFF, HEIC and raw files."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.colour import ADOBE_RGB, srgb_decode, srgb_encode
from dfghdr_cli.core.radiance import GAMMA
from dfghdr_cli.core.types import Exposure, Frame
from dfghdr_cli.errors import InputError
from dfghdr_cli.io.exif import exif_tags, heif_package, read_exposure, tag_number
from dfghdr_cli.io.formats import image_format
from dfghdr_cli.io.profile import Profile, primaries_to_rec709, read_profile
from dfghdr_cli.io.raw import WhiteBalance, develop, read_white_balance
from dfghdr_cli.io.source import first_line, read_head

logger = logging.getLogger(__name__)

_MOST_PIXELS = 500_000_000
_WARNINGS = threading.Lock()
"""Python's warnings are switched off and on for all threads at once."""
# Floating-point rounding of an exporter; anything further outside [0, 1] is another scale.
_FLOAT_TOLERANCE = 1e-4
_SAME_CURVE = 2e-3
"""Curves no further apart than this, in linear light, are one."""
_PQ_OR_HLG = (16, 18)
"""Transfer characteristics of HDR pictures (ITU-T H.273, table 3)."""


@dataclass(frozen=True, slots=True)
class _Decoded:
    """What a decoder found: (H, W) or (H, W, C) samples as stored, not yet turned upright.

    `space` is the primaries by name and matrix; None leaves them to the EXIF data.
    """

    samples: NDArray[Any]
    orientation: int = 1
    icc_profile: bytes | None = None
    space: tuple[str, NDArray[np.float64] | None] | None = None
    linear: bool = False


def read_frame(
    path: Path, exposure: Exposure | None = None, balance: WhiteBalance | None = None
) -> Frame:
    """Read one photograph of a bracket without losing precision.

    JPEG (8 bits), PNG (8 or 16), TIFF (8, 16, or float; any compression and layout of strips or
    tiles), HEIC (8 to 12) and raw files (see `io.raw`). Grey becomes three equal channels; an alpha
    channel is dropped, with a warning in the log unless it is opaque. The orientation is applied,
    once.

    Colours: an ICC profile is honoured, or else the tags of PNG, HEIC and EXIF (Adobe RGB) that
    name the primaries; without any the file is sRGB. Codes under a curve that is neither sRGB's nor
    gamma 2.2 nor a straight line, such as ProPhoto's, are brought to sRGB's curve, in 16 bits or
    float; under a straight line they are marked as linear.

    Args:
        path: the file.
        exposure: its exposure; None reads it from the file.
        balance: the white balance of a raw file; None takes its own.

    Returns:
        The frame; pixels are (H, W, 3) RGB, C-contiguous, uint8, uint16 or float32 in [0, 1].
        Where neither `exposure` nor the file says anything, the exposure is 0 stops.

    Raises:
        InputError: the file is missing, unreadable, damaged, not of these formats or not what its
            name says, of an unsuitable colour or sample type, larger than 500 megapixels, or a
            float file outside [0, 1]; or HEIC is not installed.
    """
    actual = image_format(path)
    try:
        if actual == "raw":
            developed = develop(path, balance)
            exposure = exposure or read_exposure(path) or Exposure(0.0)
            space = "sRGB" if developed.to_rec709 is None else "camera RGB"
            return Frame(developed.pixels, exposure, path, space, True, developed.to_rec709)
        tags = {} if actual == "TIFF" and exposure is not None else exif_tags(path, actual)
        if actual == "JPEG":
            decoded = _decode_jpeg(path, tags)
        elif actual == "PNG":
            decoded = _decode_png(path, tags)
        elif actual == "HEIC":
            decoded = _decode_heic(path)
        else:
            decoded = _decode_tiff(path)
        pixels = upright(_three_channels(decoded.samples, path), decoded.orientation)
        pixels, space, matrix, linear = _colors(pixels, decoded, tags, path)
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{path} does not fit in memory; make it smaller.") from error
    except Exception as error:  # the decoders raise dozens of types at damaged files
        raise InputError(
            f"{path} is damaged or incomplete ({first_line(error)}); copy or export it again."
        ) from error
    exposure = exposure or read_exposure(path) or Exposure(0.0)
    return Frame(pixels, exposure, path, space, linear, matrix)


def balance_of(paths: Sequence[Path]) -> WhiteBalance | None:
    """The one white balance to develop a bracket's raw files with: that of the first by name.

    Args:
        paths: the bracket, in any order.

    Returns:
        The balance, or None where no file is raw.

    Raises:
        InputError: the file is damaged or no raw file that LibRaw reads.
    """
    raw = [path for path in paths if image_format(path) == "raw"]
    return read_white_balance(min(raw, key=lambda path: (path.name, str(path)))) if raw else None


def _check_area(path: Path, width: int, height: int) -> None:
    if width * height > _MOST_PIXELS:
        raise InputError(
            f"{path} has {width}x{height} pixels, more than the {_MOST_PIXELS // 1_000_000} "
            "megapixels that dfghdr takes; make it smaller."
        )


def _decode_jpeg(path: Path, tags: Mapping[str, Any]) -> _Decoded:
    from PIL.JpegImagePlugin import JpegImageFile

    # The class itself, as Image.open refuses pictures above 178 megapixels.
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on damaged EXIF, which is not read through Pillow
        image = JpegImageFile(path)
    with image:
        _check_area(path, *image.size)
        if image.mode not in ("L", "RGB"):
            raise InputError(f"{path} is a {image.mode} JPEG; convert it to RGB.")
        return _Decoded(np.asarray(image), _orientation(tags), image.info.get("icc_profile"))


def _decode_png(path: Path, tags: Mapping[str, Any]) -> _Decoded:
    import imagecodecs
    from PIL.PngImagePlugin import PngImageFile

    # IHDR: bit depth and colour type follow width and height (PNG specification, 11.2.1).
    bits, color_type = read_head(path)[24:26]
    if color_type == 3:
        raise InputError(f"{path} is a palette PNG; convert it to RGB.")
    if bits not in (8, 16):
        raise InputError(f"{path} has {bits} bits a channel; convert it to 8 or 16.")
    with PngImageFile(path) as image:  # the header alone: Pillow cuts 16-bit colour to 8
        _check_area(path, *image.size)
        info = image.info
    space = None
    if "chromaticity" in info and "srgb" not in info:
        white, colors = info["chromaticity"][:2], info["chromaticity"][2:]
        space = ("its own primaries", primaries_to_rec709((*colors, *white)))
    samples = imagecodecs.png_decode(path.read_bytes())
    linear = info.get("gamma") == 1.0 and "srgb" not in info
    return _Decoded(samples, _orientation(tags), info.get("icc_profile"), space, linear)


def _decode_heic(path: Path) -> _Decoded:
    image = heif_package(path).open_heif(path, convert_hdr_to_8bit=False)
    _check_area(path, *image.size)
    nclx = image.info.get("nclx_profile") or {}
    if nclx.get("transfer_characteristics") in _PQ_OR_HLG:
        raise InputError(
            f"{path} is an HDR picture already (PQ or HLG); give ordinary photographs."
        )
    samples = np.asarray(image)
    if samples.dtype == np.uint16:  # of n bits, the lowest 16 - n are 0
        bits = int(image.info["bit_depth"])
        codes = (samples >> (16 - bits)).astype(np.uint32)
        samples = ((codes * 65535 + (1 << bits) // 2) // ((1 << bits) - 1)).astype(np.uint16)
    space = None
    if nclx:
        x, y = ([nclx[f"color_primary_{c}_{axis}"] for c in _HEIF_COLORS] for axis in "xy")
        values = tuple(float(value) for pair in zip(x, y, strict=True) for value in pair)
        space = ("its own primaries", primaries_to_rec709(values))  # pyright: ignore[reportArgumentType]
    # The decoder turns the picture as the file says; the orientation in EXIF does not count.
    return _Decoded(samples, 1, image.info.get("icc_profile"), space)


_HEIF_COLORS = ("red", "green", "blue", "white")


def _decode_tiff(path: Path) -> _Decoded:
    import tifffile
    from tifffile import PHOTOMETRIC, TiffPage

    # What it says of damaged files is said here in one sentence.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        assert isinstance(page, TiffPage)
        if len(file.pages) > 1:
            logger.warning("%s holds %d pages; the first is used.", path, len(file.pages))
        grey = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE)
        if page.photometric not in (*grey, PHOTOMETRIC.RGB):
            kind = getattr(page.photometric, "name", page.photometric)
            raise InputError(f"{path} is a {kind} TIFF; convert it to RGB.")
        bits = page.bitspersample
        kinds = (("u", 8), ("u", 16), ("f", 16), ("f", 32), ("f", 64))
        if page.dtype is None or (page.dtype.kind, bits) not in kinds:
            raise InputError(
                f"{path} has {bits}-bit samples of an unsupported type; "
                "convert it to 8 or 16-bit integers or 32-bit float."
            )
        _check_area(path, page.imagewidth, page.imagelength)
        samples = page.asarray()
        if samples.dtype.kind == "f":
            samples = samples.astype(np.float32, copy=False)
        if page.axes == "SYX":
            samples = np.moveaxis(samples, 0, -1)
        elif page.axes not in ("YX", "YXS"):
            raise InputError(f"{path} is not a flat picture; export it as RGB TIFF.")
        if page.photometric == PHOTOMETRIC.MINISWHITE:
            white = 1 if samples.dtype.kind == "f" else (1 << bits) - 1
            samples = white - samples
        orientation = page.tags.valueof(274, 1)
        icc_profile = page.tags.valueof(34675)
    return _Decoded(samples, int(orientation), icc_profile)


def _colors(
    pixels: NDArray[Any], decoded: _Decoded, tags: Mapping[str, Any], path: Path
) -> tuple[NDArray[Any], str, NDArray[np.float64] | None, bool]:
    """Pixels under a curve that is dealt with, the primaries by name and matrix, and linearity."""
    profile = None
    if decoded.icc_profile:
        try:
            profile = read_profile(decoded.icc_profile)
        except InputError as error:
            logger.warning("%s: %s; taken for sRGB.", path, error)
    if profile is None:
        space = decoded.space
        if space is None and _is_adobe_rgb(tags):
            space = ("Adobe RGB", primaries_to_rec709(ADOBE_RGB))
        name, matrix = space or ("sRGB", None)
        return pixels, "sRGB" if matrix is None else name, matrix, decoded.linear
    pixels, linear = _standard_curve(pixels, profile)
    return pixels, "sRGB" if profile.to_rec709 is None else profile.name, profile.to_rec709, linear


def _standard_curve(pixels: NDArray[Any], profile: Profile) -> tuple[NDArray[Any], bool]:
    """Pixels brought to sRGB's curve unless theirs is that, gamma 2.2 or linear; and if linear."""
    codes = np.linspace(0.0, 1.0, len(profile.curve))
    if np.abs(profile.curve - codes).max() <= _SAME_CURVE:
        return pixels, True
    for known in (srgb_decode(codes), codes**GAMMA):
        if np.abs(profile.curve - known).max() <= _SAME_CURVE:
            return pixels, False
    new = srgb_encode(profile.curve)
    if pixels.dtype == np.float32:
        return np.interp(pixels, codes, new).astype(np.float32), False
    top = int(np.iinfo(pixels.dtype).max)
    table = np.interp(np.linspace(0.0, 1.0, top + 1), codes, new)
    return np.rint(table * 65535).astype(np.uint16)[pixels], False


def _is_adobe_rgb(tags: Mapping[str, Any]) -> bool:
    """DCF 2.0, 5.6: interoperability index R03 and an uncalibrated space; or, simply, space 2."""
    space = tag_number(tags, "EXIF ColorSpace")
    index = str(tags.get("Interoperability InteroperabilityIndex", ""))
    return space == 2 or (space == 65535 and index.startswith("R03"))


def _three_channels(samples: NDArray[Any], path: Path) -> NDArray[Any]:
    """(H, W, 3): grey repeated, alpha dropped, float32 checked."""
    if samples.ndim == 2:
        samples = samples[..., None]
    if not samples.size:
        raise InputError(f"{path} has no pixels; export it again.")
    count = samples.shape[2]
    colors = 1 if count < 3 else 3
    for extra in range(colors, count):
        white = 1 if samples.dtype.kind == "f" else np.iinfo(samples.dtype).max
        if (samples[..., extra] != white).any():
            logger.warning("%s: its alpha channel is not opaque and was left out.", path)
    pixels = samples[..., :colors]
    if pixels.dtype == np.float32:
        pixels = _unit_range(pixels, path)
    return np.repeat(pixels, 3, axis=2) if colors == 1 else pixels


def _unit_range(pixels: NDArray[Any], path: Path) -> NDArray[Any]:
    if not np.isfinite(pixels).all():
        raise InputError(f"{path} holds NaN or infinite values; export it again without them.")
    low, high = float(pixels.min()), float(pixels.max())
    if low < -_FLOAT_TOLERANCE or high > 1 + _FLOAT_TOLERANCE:
        raise InputError(
            f"{path} spans {low:.4g} to {high:.4g}; a float photograph must lie in 0 to 1: "
            "scale it, or export 16-bit integers."
        )
    return np.clip(pixels, 0, 1)


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Apply TIFF tag 274 (TIFF 6.0, section 8), which names the sides row 0 and column 0 show.

    Args:
        pixels: (H, W, C) as stored.
        orientation: the tag, 1 to 8.

    Returns:
        The pixels upright, C-contiguous.
    """
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _orientation(tags: Mapping[str, Any]) -> int:
    return int(tag_number(tags, "Image Orientation") or 1)
