"""Photographs on disk to frames: JPEG, PNG, TIFF, HEIC and raw files."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.colour import ADOBE_RGB, Chromaticities, srgb_decode, srgb_encode
from dfghdr_cli.core.encoding import GAMMA
from dfghdr_cli.core.types import Exposure, Frame
from dfghdr_cli.errors import InputError, refuse_if_out_of_memory
from dfghdr_cli.io.boxes import (
    HLG,
    LINEAR,
    PQ,
    PRIMARIES_OF_CODE,
    avif_properties,
    end_of_items,
    full_range,
    jxl_codestream,
)
from dfghdr_cli.io.exif import exif_tags, heif_package, open_image, read_exposure, tag_number
from dfghdr_cli.io.formats import image_format
from dfghdr_cli.io.jpeg import (
    MOST_SCANS,
    is_decoded_to_its_end,
    read_jpeg_header,
    scans_of,
)
from dfghdr_cli.io.jxl import read_color, read_size
from dfghdr_cli.io.png import read_png_header
from dfghdr_cli.io.profile import Profile, convert, primaries_to_rec709, read_profile
from dfghdr_cli.io.raw import WhiteBalance, develop, read_white_balance
from dfghdr_cli.io.source import first_line
from dfghdr_cli.limits import ensure_pixels

log = logging.getLogger(__name__)

# Floating-point rounding of an exporter; anything further outside [0, 1] is another scale.
_FLOAT_TOLERANCE = 1e-4
_SAME_CURVE = 2e-3
"""Curves no further apart than this, in linear light, are one."""
_PQ_OR_HLG = (PQ, HLG)
_MOST_PAGES = 100
"""Of a TIFF, that are looked at for its picture."""


_UNSPECIFIED = 2
"""Of ITU-T H.273, in the place of primaries."""
_Space = tuple[str, NDArray[np.float64] | None]
"""The name of primaries, and the matrix to those of Rec. 709 unless they are these."""


@dataclass(frozen=True, slots=True)
class _Decoded:
    """What a decoder found: (H, W) or (H, W, C) samples as stored, not yet turned upright.

    `space` is the primaries by name and matrix; None leaves them to the EXIF data.
    """

    samples: NDArray[Any]
    orientation: int = 1
    icc_profile: bytes | None = None
    space: _Space | None = None
    linear: bool = False


def read_frame(
    path: Path, exposure: Exposure | None = None, balance: WhiteBalance | None = None
) -> Frame:
    """Read one photograph of a bracket without losing precision.

    JPEG (8 or 12 bits; the first picture of an MPO), PNG (8 or 16), TIFF (8, 16, or float; any
    compression and layout of strips or tiles), HEIC and AVIF (8 to 12), JPEG XL, WebP and raw files
    (see `io.raw`). Grey becomes three equal channels; an alpha channel is dropped, with a warning
    in the log unless it is opaque. The orientation is applied, once.

    Colours: an ICC profile is honoured, or else the tags of PNG, HEIC, AVIF, JPEG XL and EXIF
    (Adobe RGB) that name the primaries; without any, or where these are nonsense, the file is sRGB.
    Codes under a curve that is neither sRGB's nor gamma 2.2 nor a straight line, such as
    ProPhoto's, are brought to sRGB's curve, in 16 bits or float; under a straight line they are
    marked as linear.

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
        elif actual == "AVIF":
            decoded = _decode_avif(path)
        elif actual == "JPEG XL":
            decoded = _decode_jxl(path)
        elif actual == "WebP":
            decoded = _decode_webp(path, tags)
        else:
            decoded = _decode_tiff(path)
        pixels = upright(_three_channels(decoded.samples, path), decoded.orientation)
        pixels, space, matrix, linear = _colors(pixels, decoded, tags, path)
    except InputError:
        raise
    except Exception as error:  # the decoders raise dozens of types at damaged files
        refuse_if_out_of_memory(error, path)
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


def _decode_jpeg(path: Path, tags: Mapping[str, Any]) -> _Decoded:
    import imagecodecs

    data = path.read_bytes()
    header = read_jpeg_header(data)
    ensure_pixels(path, header.width, header.height)
    if header.components not in (1, 3):
        kind = "CMYK" if header.components == 4 else f"{header.components}-channel"
        raise InputError(f"{path} is a {kind} JPEG; convert it to RGB.")
    if header.hierarchical:
        raise InputError(f"{path} is a hierarchical JPEG; convert it to an ordinary one.")
    scans, complete = scans_of(data, header)
    if not complete:
        raise InputError(f"{path} is damaged or incomplete (it has no end); copy it again.")
    if len(scans) > MOST_SCANS:
        raise InputError(
            f"{path} goes over its pixels more than {MOST_SCANS} times, as no camera writes it; "
            "save it anew."
        )
    if not is_decoded_to_its_end(data, scans, imagecodecs.jpeg8_decode):
        raise InputError(f"{path} is damaged (a part of it is lost); copy it again from its card.")
    samples = imagecodecs.jpeg8_decode(data)
    if samples.dtype == np.uint16:
        samples = full_range(samples, header.bits)
    return _Decoded(samples, _orientation(tags), header.icc_profile)


def _decode_png(path: Path, tags: Mapping[str, Any]) -> _Decoded:
    import imagecodecs

    with path.open("rb") as file:
        header = read_png_header(file)
    if header.color_type == 3:
        raise InputError(f"{path} is a palette PNG; convert it to RGB.")
    if header.bits not in (8, 16):
        raise InputError(f"{path} has {header.bits} bits a channel; convert it to 8 or 16.")
    ensure_pixels(path, header.width, header.height)
    samples = imagecodecs.png_decode(path.read_bytes())
    if header.cicp is not None:  # which counts before all others (PNG, 3rd edition, 4.3)
        space, linear = _coded_colors(header.cicp, path)
        return _Decoded(samples, _orientation(tags), None, space, linear)
    space = None
    if header.primaries is not None and not header.srgb:
        space = _stated_space(header.primaries, path)
    linear = header.gamma == 1.0 and not header.srgb
    return _Decoded(samples, _orientation(tags), header.icc_profile, space, linear)


def _refuse_if_cut_off(path: Path, end: int) -> None:
    """Refuse a file that is shorter than what it consists of, where decoders may not mind."""
    if (missing := end - path.stat().st_size) > 0:
        raise InputError(f"{path} ends {missing} bytes before its picture does; copy it again.")


def _decode_heic(path: Path) -> _Decoded:
    _refuse_if_cut_off(path, end_of_items(path.read_bytes()))
    image = heif_package(path).open_heif(path, convert_hdr_to_8bit=False)
    ensure_pixels(path, *image.size)
    nclx = image.info.get("nclx_profile") or {}
    samples = np.asarray(image)
    if samples.dtype == np.uint16:  # of n bits, the lowest 16 - n are 0
        bits = int(image.info["bit_depth"])
        samples = full_range(np.right_shift(samples, 16 - bits, dtype=np.uint16), bits)
    # The decoder turns the picture as the file says; the orientation in EXIF does not count.
    codes = (nclx.get("color_primaries", _UNSPECIFIED), nclx.get("transfer_characteristics", 0))
    space, linear = _coded_colors(codes, path)
    return _Decoded(samples, 1, image.info.get("icc_profile"), space, linear)


def _decode_avif(path: Path) -> _Decoded:
    import imagecodecs

    data = path.read_bytes()
    _refuse_if_cut_off(path, end_of_items(data))
    properties = avif_properties(data)
    with open_image(path, "AVIF") as image:
        ensure_pixels(path, *image.size)
        # Pillow finds how the properties turn the picture, and says so as EXIF data.
        orientation = int(image.getexif().get(0x0112, 1))
        icc_profile = image.info.get("icc_profile")
    samples = imagecodecs.avif_decode(data, index=0)
    if samples.dtype == np.uint16:
        samples = full_range(samples, properties.bits)
    space, linear = _coded_colors(properties.cicp or (_UNSPECIFIED, 0), path)
    return _Decoded(samples, orientation, icc_profile, space, linear)


def _decode_jxl(path: Path) -> _Decoded:
    import imagecodecs

    data = path.read_bytes()
    codestream = jxl_codestream(data)
    ensure_pixels(path, *read_size(codestream))
    space, linear = None, False
    try:
        color = read_color(codestream)
        if color.transfer in _PQ_OR_HLG:
            raise _is_hdr(path)
        linear = color.transfer == LINEAR or color.gamma == 1.0
        space = _stated_space(color.primaries, path)
        doubt = "it has an ICC profile inside" if color.has_profile else None
    except ValueError as error:
        doubt = first_line(error)
    if doubt:
        log.warning("%s: its colours cannot be read (%s); taken for sRGB.", path, doubt)
    # The decoder turns the picture as the file says.
    return _Decoded(imagecodecs.jpegxl_decode(data, index=0), 1, None, space, linear)


def _decode_webp(path: Path, tags: Mapping[str, Any]) -> _Decoded:
    with open_image(path, "WebP") as image:
        ensure_pixels(path, *image.size)
        return _Decoded(np.asarray(image), _orientation(tags), image.info.get("icc_profile"))


def _coded_colors(codes: tuple[int, int], path: Path) -> tuple[_Space | None, bool]:
    """The primaries, and whether the codes are linear light, by code points of ITU-T H.273.

    Raises:
        InputError: they are those of a picture for HDR screens.
    """
    primaries, transfer = codes
    if transfer in _PQ_OR_HLG:
        raise _is_hdr(path)
    known = PRIMARIES_OF_CODE.get(primaries)
    return None if known is None else _stated_space(known, path), transfer == LINEAR


def _stated_space(primaries: Chromaticities, path: Path) -> _Space | None:
    """The primaries that a file names; None, with a warning, where they are nonsense."""
    try:
        return "its own primaries", primaries_to_rec709(primaries)
    except ValueError:
        log.warning("%s: the primaries that it names are no colours; taken for sRGB.", path)
        return None


def _is_hdr(path: Path) -> InputError:
    return InputError(f"{path} is an HDR picture already (PQ or HLG); give ordinary photographs.")


def _decode_tiff(path: Path) -> _Decoded:
    import tifffile
    from tifffile import COMPRESSION, PHOTOMETRIC, TiffPage

    # What it says of damaged files is said here in one sentence.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    with tifffile.TiffFile(path) as file:
        first = itertools.islice(file.pages, _MOST_PAGES)
        pages = [page for page in first if isinstance(page, TiffPage)]
        page = next((page for page in pages if not page.is_reduced), pages[0])
        if len(pages) > 1:
            number = pages.index(page) + 1
            log.warning("%s holds %d pages; page %d is used.", path, len(pages), number)
        grey = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE)
        of_jpeg = page.compression == COMPRESSION.JPEG and page.photometric == PHOTOMETRIC.YCBCR
        if page.photometric not in (*grey, PHOTOMETRIC.RGB) and not of_jpeg:  # decoded to RGB
            kind = getattr(page.photometric, "name", page.photometric)
            raise InputError(f"{path} is a {kind} TIFF; convert it to RGB.")
        bits = page.bitspersample
        kinds = (("u", 8), ("u", 16), ("f", 16), ("f", 32), ("f", 64))
        if page.dtype is None or (page.dtype.kind, bits) not in kinds:
            raise InputError(
                f"{path} has {bits}-bit samples of an unsupported type; "
                "convert it to 8 or 16-bit integers or 32-bit float."
            )
        ensure_pixels(path, page.imagewidth, page.imagelength * max(1, page.samplesperpixel // 3))
        ensure_pixels(path, page.tilewidth, page.tilelength)
        if page.imagedepth != 1:
            raise InputError(f"{path} is not a flat picture; export it as RGB TIFF.")
        if page.compression != COMPRESSION.NONE:  # of the others the samples are counted
            ends = map(sum, zip(page.dataoffsets, page.databytecounts, strict=True))
            _refuse_if_cut_off(path, max(ends, default=0))
        samples = _lzw_of_opencv(path, page) if page is pages[0] else None
        if samples is None:
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


def _lzw_of_opencv(path: Path, page: Any) -> NDArray[Any] | None:
    """(H, W, 3) codes of an LZW-compressed page, in two thirds of the processor time of tifffile.

    None where it is of another kind, or OpenCV cannot read it. Of all other compressions tifffile
    is the faster one.
    """
    import cv2
    from tifffile import COMPRESSION, PHOTOMETRIC

    plain = page.compression == COMPRESSION.LZW and page.photometric == PHOTOMETRIC.RGB
    if not plain or page.axes != "YXS" or page.samplesperpixel != 3 or page.dtype.kind != "u":
        return None
    if page.tags.valueof(274, 1) != 1:  # which OpenCV may apply
        return None
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    finally:
        cv2.utils.logging.setLogLevel(before)
    if pixels is None or pixels.shape != page.shape or pixels.dtype != page.dtype:
        return None
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _colors(
    pixels: NDArray[Any], decoded: _Decoded, tags: Mapping[str, Any], path: Path
) -> tuple[NDArray[Any], str, NDArray[np.float64] | None, bool]:
    """Pixels under a curve that is dealt with, the primaries by name and matrix, and linearity."""
    profile = None
    if decoded.icc_profile:
        try:
            profile = read_profile(decoded.icc_profile)
        except InputError as error:
            log.warning("%s: %s; taken for sRGB.", path, error)
    if profile is None:
        space = decoded.space
        if space is None and _is_adobe_rgb(tags):
            space = ("Adobe RGB", primaries_to_rec709(ADOBE_RGB))
        name, matrix = space or ("sRGB", None)
        return pixels, "sRGB" if matrix is None else name, matrix, decoded.linear
    if not profile.fits and decoded.icc_profile:
        log.warning(
            "%s: its profile %s is no matrix and curve; its colours were converted by Little CMS.",
            path,
            profile.name,
        )
        converted, matrix = convert(pixels, decoded.icc_profile)
        return converted, profile.name, matrix, False
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
            log.warning("%s: its alpha channel is not opaque and was left out.", path)
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
