"""Photographs on disk: JPEG, PNG and TIFF to a frame in the file's own sample type."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.types import Exposure, Frame
from dfghdr_cli.errors import InputError
from dfghdr_cli.io.source import read_head

logger = logging.getLogger(__name__)

_FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
# Most raw formats are TIFF inside, and a TIFF reader would take their thumbnail for the picture.
_RAW = (
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos"),
    *(".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf"),
    *(".srw", ".x3f"),
)
SUFFIXES = (".tif", ".tiff", ".png", *_RAW, ".jpg", ".jpeg")
"""Endings of photographs, the developed ones first, the camera's own last."""
# Floating-point rounding of an exporter; anything further outside [0, 1] is another scale.
_FLOAT_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class _Decoded:
    """What a decoder found: (H, W) or (H, W, C) samples as stored, not yet turned upright."""

    samples: NDArray[Any]
    orientation: int
    icc_profile: bytes | None


def read_frame(path: Path, exposure: Exposure | None = None) -> Frame:
    """Read one photograph of a bracket without losing precision.

    JPEG (8 bits), PNG (8 or 16) and TIFF (8, 16, or 32-bit float; any compression and layout of
    strips or tiles). Grey becomes three equal channels; an alpha channel is dropped, with a
    warning in the log unless it is opaque. The EXIF orientation is applied, once.

    Args:
        path: the file.
        exposure: its exposure; None reads it from the EXIF data.

    Returns:
        The frame; pixels are (H, W, 3) RGB, C-contiguous, uint8, uint16 or float32 in [0, 1].
        Where neither `exposure` nor EXIF says anything, the exposure is 0 stops.

    Raises:
        InputError: the file is missing, unreadable, damaged, not of these formats or not what its
            name says, of an unsuitable colour or sample type, or a float file outside [0, 1].
    """
    actual = image_format(path)
    tags = {} if actual == "TIFF" and exposure is not None else _exif_tags(path)
    try:
        if actual == "JPEG":
            decoded = _decode_jpeg(path, tags)
        elif actual == "PNG":
            decoded = _decode_png(path, tags)
        else:
            decoded = _decode_tiff(path)
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{path} does not fit in memory; make it smaller.") from error
    except Exception as error:  # the decoders raise dozens of types at damaged files
        raise InputError(
            f"{path} is damaged or incomplete ({_first_line(error)}); copy or export it again."
        ) from error
    pixels = _upright(_three_channels(decoded.samples, path), decoded.orientation)
    if exposure is None:
        exposure = _exposure_of(tags) or Exposure(0.0)
    return Frame(pixels, exposure, path, _color_space(decoded.icc_profile, path))


def read_exposure(path: Path) -> Exposure | None:
    """Read the exposure time, ISO speed and f-number from the EXIF data of a photograph.

    The exposure bias is not used: it says what was asked for, not what the camera did.

    Args:
        path: a JPEG, PNG or TIFF file.

    Returns:
        The exposure, or None where no exposure time is recorded.

    Raises:
        InputError: the file is missing, a folder, unreadable or empty.
    """
    read_head(path)
    return _exposure_of(_exif_tags(path))


def image_format(path: Path) -> str:
    """Tell the format of a photograph from its content, without decoding it.

    Args:
        path: the file.

    Returns:
        "JPEG", "PNG" or "TIFF".

    Raises:
        InputError: the file is missing, unreadable, empty, of another kind (raw included), or not
            what the ending of its name says.
    """
    head = read_head(path)
    suffix = path.suffix.lower()
    if suffix in _RAW:
        raise InputError(f"{path} is a raw file; develop it to a 16-bit TIFF first.")
    actual = _format_of(head)
    if actual is None:
        raise InputError(f"{path} is not a JPEG, PNG or TIFF image; convert it to one of these.")
    if _FORMATS.get(suffix) != actual:
        raise InputError(
            f"{path} is a {actual} file but its name does not end like one; "
            f"rename it to {path.stem}{_usual_suffix(actual)}."
        )
    return actual


def _format_of(head: bytes) -> str | None:
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    return None


def _usual_suffix(name: str) -> str:
    return next(suffix for suffix, format_name in _FORMATS.items() if format_name == name)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _decode_jpeg(path: Path, tags: Mapping[str, Any]) -> _Decoded:
    from PIL.JpegImagePlugin import JpegImageFile

    # The class itself, as Image.open refuses pictures above 178 megapixels.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on damaged EXIF, which is not read through Pillow
        with JpegImageFile(path) as image:
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
        icc_profile = image.info.get("icc_profile")
    samples = imagecodecs.png_decode(path.read_bytes())
    return _Decoded(samples, _orientation(tags), icc_profile)


def _decode_tiff(path: Path) -> _Decoded:
    import tifffile
    from tifffile import PHOTOMETRIC, TiffPage

    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        assert isinstance(page, TiffPage)
        if len(file.pages) > 1:
            logger.warning("%s holds %d pages; the first is used.", path, len(file.pages))
        if page.photometric not in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB):
            kind = getattr(page.photometric, "name", page.photometric)
            raise InputError(f"{path} is a {kind} TIFF; convert it to RGB.")
        bits = page.bitspersample
        if page.dtype is None or (page.dtype.kind, bits) not in (("u", 8), ("u", 16), ("f", 32)):
            raise InputError(
                f"{path} has {bits}-bit samples of an unsupported type; "
                "convert it to 8 or 16-bit integers or 32-bit float."
            )
        samples = page.asarray()
        if page.axes == "SYX":
            samples = np.moveaxis(samples, 0, -1)
        elif page.axes not in ("YX", "YXS"):
            raise InputError(f"{path} is not a flat picture; export it as RGB TIFF.")
        orientation = page.tags.valueof(274, 1)
        icc_profile = page.tags.valueof(34675)
    return _Decoded(samples, int(orientation), icc_profile)


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


def _upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Apply TIFF tag 274 (TIFF 6.0, section 8), which names the sides row 0 and column 0 show."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _color_space(icc_profile: bytes | None, path: Path) -> str:
    if not icc_profile:
        return "sRGB"
    from PIL import ImageCms

    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(icc_profile))
        name = ImageCms.getProfileDescription(profile).strip()
    except (OSError, ImageCms.PyCMSError):
        logger.warning("%s: its colour profile is damaged; taken for sRGB.", path)
        return "sRGB"
    return "sRGB" if "srgb" in name.lower() or not name else name


def _exif_tags(path: Path) -> Mapping[str, Any]:
    import exifread

    # Its remarks on files without EXIF are of no use to anybody here.
    logging.getLogger("exifread").setLevel(logging.CRITICAL)
    try:
        with path.open("rb") as file:
            return exifread.process_file(file, details=False)
    except Exception as error:  # damaged EXIF is no reason to refuse a good picture
        logger.warning("%s: its EXIF data is damaged (%s).", path, _first_line(error))
        return {}


def _orientation(tags: Mapping[str, Any]) -> int:
    return int(_number(tags, "Image Orientation") or 1)


def _exposure_of(tags: Mapping[str, Any]) -> Exposure | None:
    time_s = _photo_number(tags, "ExposureTime")
    if time_s is None:
        return None
    iso = _photo_number(tags, "ISOSpeedRatings")
    if iso == 65535:  # "see elsewhere": the tag has 16 bits (Exif 2.3, annex G)
        iso = _photo_number(tags, "RecommendedExposureIndex")
    return Exposure.from_camera(time_s, iso, _photo_number(tags, "FNumber"))


def _photo_number(tags: Mapping[str, Any], name: str) -> float | None:
    """A number of the EXIF folder, or of the first one, where some programs put it in a TIFF."""
    return _number(tags, f"EXIF {name}") or _number(tags, f"Image {name}")


def _number(tags: Mapping[str, Any], name: str) -> float | None:
    """The first value of a tag where it is finite and positive, as every number here must be."""
    try:
        value = tags[name].values[0]
        number = float(value[0] if isinstance(value, tuple) else value)
    except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError):
        return None
    return number if 0 < number < float("inf") else None
