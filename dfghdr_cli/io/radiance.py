"""Linear pictures on disk: OpenEXR and Radiance .hdr."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.atomic import atomic_write
from dfghdr_cli.choices import ExrType
from dfghdr_cli.core.colour import REC709, Chromaticities, conversion, transform
from dfghdr_cli.core.types import Exposure, FloatImage, Mask, RadianceImage
from dfghdr_cli.errors import InputError, OutputError
from dfghdr_cli.io.dng import encode_dng
from dfghdr_cli.io.exr import INTEROP_IDS, decode_exr
from dfghdr_cli.io.metadata import Metadata
from dfghdr_cli.io.names import ExrCompression, ensure_radiance_name
from dfghdr_cli.io.rgbe import decode_hdr
from dfghdr_cli.io.source import read_head

log = logging.getLogger(__name__)

HALF_MAX = 65504.0
"""The largest half float (IEEE 754, binary16)."""


# Attribute names longer than this stop older readers (the limit of OpenEXR 1.x).
_NAME_LIMIT = 31
# Attributes of the OpenEXR standard that say something about a photograph.
_STANDARD_ATTRIBUTES = frozenset(
    {
        *("expTime", "aperture", "isoSpeed", "comments", "owner", "capDate", "utcOffset"),
        *("longitude", "latitude", "altitude", "nominalFocalLength"),
        *("cameraMake", "cameraModel", "cameraSerialNumber"),
        *("lensMake", "lensModel", "lensSerialNumber"),
    }
)
# DWAA may turn a pixel brighter by a few per cent, and beyond half floats that is infinity.
_DWAA_SURE = 16384.0
# Radiance readers fill a buffer of 128 bytes a header line.
_HDR_LINE_LIMIT = 120
_LARGEST_ASPECT = 8.0
"""Of pixels; anamorphic lenses make 2 at most, and what lies beyond is a mistake."""
_SQUARE = 0.005
"""Programs write 0.9996 for 1."""
_EXR_MAGIC = b"\x76\x2f\x31\x01"


def exposure_attributes(exposure: Exposure) -> dict[str, str | float]:
    """The standard OpenEXR attributes of a frame's exposure, as far as they are known.

    Args:
        exposure: of the reference frame.

    Returns:
        Any of expTime [s], aperture [f-number] and isoSpeed.
    """
    known = {
        "expTime": exposure.time_s,
        "aperture": exposure.f_number,
        "isoSpeed": exposure.iso,
    }
    return {name: value for name, value in known.items() if value is not None}


def write_radiance(
    path: Path, image: RadianceImage, *, overwrite: bool = False, **options: Any
) -> None:
    """Write a merged picture as .exr, .hdr or .dng, by the ending.

    Args:
        path: the result, ending in .exr, .hdr or .dng.
        image: see `encode_radiance`.
        overwrite: whether an existing file may be replaced.
        options: those of `encode_radiance`.

    Raises:
        OutputExistsError: the file exists and `overwrite` is false.
        OutputError: the ending is unknown or the file cannot be written.
        ValueError: see `encode_radiance`.
    """
    data = encode_radiance(path, image, **options)
    with atomic_write(path, overwrite) as file:
        file.write(data)


def encode_radiance(
    path: Path,
    image: RadianceImage,
    *,
    exr_type: ExrType = "half",
    compression: ExrCompression = ExrCompression(),  # noqa: B008
    attributes: Mapping[str, str | float] | None = None,
    metadata: Metadata | None = None,
) -> bytes:
    """The bytes of a merged picture as .exr, .hdr or .dng, to be written as `path`.

    EXR: scan lines; chromaticities, and `colorInteropID` where the Color Interop Forum has one for
    them, by which OpenColorIO and Blender know a space. "float" keeps every bit; "half" is within
    2**-11 of a value from 6.1e-5 to 65504 and in steps of 2**-24 below; brighter pixels become
    65504, with a warning in the log, never infinity. "dwaa" leaves black pixels beside bright ones
    a little below 0 (-1e-4 at level 45 beside 8.0); where it would make a pixel infinite, the file
    is compressed by "piz" instead, with a warning. `dfghdr:peak` is always written.

    HDR: run-length encoded RGBE, within 1 % of a pixel's largest channel. Attributes become
    header lines, except those longer than the 120 bytes that readers hold, which are left out.

    DNG: 32-bit floats, see `dfghdr_cli.io.dng.encode_dng`; it has no place for attributes.

    Args:
        path: the result, for its ending and for messages.
        image: (H, W, 3) float32, linear, finite, >= 0.
        exr_type: "half" (16 bits a channel) or "float" (32); of .exr alone.
        compression: of .exr alone.
        attributes: header entries: names `dfghdr:*` of at most 31 characters, or those of the
            standard that `dfghdr_cli.io.metadata` makes.
        metadata: of the reference frame, which a .dng carries; the others have attributes.

    Raises:
        OutputError: the ending is unknown.
        ValueError: a caller's mistake: pixels of another shape or type, negative or not finite
            ones, an unknown `exr_type`, "float" with "dwaa", or a bad attribute name.
    """
    ensure_radiance_name(path)
    pixels = _checked_pixels(image.pixels)
    header = _checked_attributes({"dfghdr:peak": float(image.peak), **(attributes or {})})
    if path.suffix.lower() == ".exr":
        return _encode_exr(pixels, exr_type, compression, header, image.primaries, path)
    if path.suffix.lower() == ".dng":
        return encode_dng(replace(image, pixels=pixels), metadata or Metadata())
    return _encode_hdr(pixels, header, image.primaries)


def read_radiance(
    path: Path, *, allow_nonfinite: bool = False
) -> tuple[FloatImage, dict[str, Any]]:
    """Read a linear picture from .exr or .hdr; the content decides which, not the name.

    See `dfghdr_cli.io.exr.decode_exr` and `dfghdr_cli.io.rgbe.decode_hdr`; what is not taken as it
    stands is logged as a warning. Values are neither scaled nor clipped nor converted; files of
    other programs may hold negative ones.

    Args:
        path: the file.
        allow_nonfinite: return NaN and infinities instead of refusing the file.

    Returns:
        (H, W, 3) float32 linear RGB in the file's own unit and primaries, and the header: name to
        value (.exr) or to text (.hdr).

    Raises:
        InputError: the file is missing, damaged, of another kind, has other channels, or holds
            NaN or infinite values that were not asked for.
    """
    pixels, header, notes = _decode(path)
    for note in notes:
        log.warning("%s: %s.", path, note)
    primaries = _primaries(header)
    if primaries is not None and not np.allclose(primaries, REC709, atol=2e-3):
        log.warning("%s: its primaries are not those of Rec. 709; read as they are.", path)
    if _aspect(header) != 1.0:
        log.warning("%s: its pixels are not square; read as they are.", path)
    if not allow_nonfinite and not np.isfinite(pixels).all():
        raise InputError(
            f"{path} holds NaN or infinite values; write it again without them "
            "(half-float files overflow above 65504)."
        )
    return pixels, header


@dataclass(frozen=True, slots=True)
class LinearPicture:
    """A linear picture of any origin, ready to be shown.

    Attributes:
        pixels: (H, W, 3) float32, linear Rec. 709 in the file's own unit, finite; colours outside
            Rec. 709 have negative components.
        header: name to value (.exr) or to text (.hdr).
        notes: a sentence, without the file's name, for everything that had to be mended, chosen
            or converted.
    """

    pixels: FloatImage
    header: Mapping[str, Any]
    notes: tuple[str, ...]


def read_linear(path: Path) -> LinearPicture:
    """Read an .exr or .hdr file of any program and mend what can be mended.

    Beyond `read_radiance`: the primaries that the header names are converted to Rec. 709; NaN
    takes the mean of its neighbours and infinity the largest finite value; pixels that are not
    square are made so, by more columns or more rows.

    Args:
        path: the file.

    Returns:
        The picture.

    Raises:
        InputError: the file is missing, damaged, of another kind, has other channels, names
            impossible primaries, or holds no finite value at all.
    """
    pixels, header, decoded = _decode(path)
    notes = [*decoded, *_mend(path, pixels)]
    primaries = _primaries(header)
    if primaries is not None and not np.allclose(primaries, REC709, atol=2e-3):
        try:
            pixels = transform(pixels, conversion(primaries, REC709))
        except ValueError as error:
            raise InputError(
                f"{path} names primaries that are no colours; export it again as Rec. 709."
            ) from error
        notes.append("its primaries were converted to those of Rec. 709")
    if (aspect := _aspect(header)) != 1.0:
        pixels = _square(pixels, aspect)
        notes.append(
            f"its pixels are not square, so that it was made {max(aspect, 1 / aspect):.4g} times "
            f"{'wider' if aspect > 1 else 'higher'}"
        )
    return LinearPicture(pixels, header, tuple(notes))


def _decode(path: Path) -> tuple[FloatImage, dict[str, Any], list[str]]:
    head = read_head(path)
    if head.startswith(_EXR_MAGIC):
        return decode_exr(path)
    if head.startswith(b"#?"):
        return *decode_hdr(path), []
    raise InputError(
        f"{path} is neither an OpenEXR nor a Radiance .hdr file; give the linear original."
    )


def _primaries(header: Mapping[str, Any]) -> Chromaticities | None:
    """What the header says of the primaries.

    That is `chromaticities` or, where a program writes only that, `colorInteropID` (.exr), or
    PRIMARIES (.hdr).
    """
    named = INTEROP_IDS.get(str(header.get("colorInteropID")))
    stated = header.get("chromaticities", header.get("PRIMARIES", named))
    values = stated.split() if isinstance(stated, str) else stated
    try:
        numbers = tuple(float(value) for value in values or ())
    except (TypeError, ValueError):
        return None
    return cast("Chromaticities", numbers) if len(numbers) == 8 else None


def _aspect(header: Mapping[str, Any]) -> float:
    """Width of a pixel over its height: `pixelAspectRatio` (.exr), or 1 / PIXASPECT (.hdr).

    1 where nothing is said, or nothing that makes sense.
    """
    try:
        if "PIXASPECT" in header:
            aspect = 1.0 / float(header["PIXASPECT"])
        else:
            aspect = float(header.get("pixelAspectRatio", 1.0))
    except (TypeError, ValueError, ZeroDivisionError):
        return 1.0
    if not 1 / _LARGEST_ASPECT <= aspect <= _LARGEST_ASPECT:
        return 1.0
    return 1.0 if abs(aspect - 1.0) < _SQUARE else aspect


def _square(pixels: FloatImage, aspect: float) -> FloatImage:
    height, width = pixels.shape[:2]
    size = (round(width * max(1.0, aspect)), round(height * max(1.0, 1.0 / aspect)))
    # Linear, as what overshoots is negative light.
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR), np.float32)


def _mend(path: Path, pixels: FloatImage) -> list[str]:
    """Replace what is not finite, in place; say what was found."""
    notes = []
    finite = np.isfinite(pixels)
    if not finite.all():
        if not finite.any():
            raise InputError(f"{path} holds no finite value; write it again.")
        missing: Mask = np.asarray(np.isnan(pixels).any(axis=2))
        infinite: Mask = ~np.asarray(finite.all(axis=2)) & ~missing
        largest, least = pixels[finite].max(), pixels[finite].min()
        np.nan_to_num(pixels, copy=False, nan=0, posinf=largest, neginf=least)
        if infinite.any():
            notes.append(f"{_pixels(infinite)} infinite, now {largest:g}")
        if missing.any():
            pixels[missing] = 0
            share = cv2.blur(1 - missing.astype(np.float32), (3, 3))[missing]
            mean = cv2.blur(pixels, (3, 3))[missing]
            pixels[missing] = mean / np.maximum(share, 1e-3)[:, None]
            notes.append(f"{_pixels(missing)} NaN, now the mean of its neighbours")
    negative: Mask = np.asarray((pixels < 0).any(axis=2))
    if negative.any():
        notes.append(
            f"{_pixels(negative)} negative in a channel, which is shown as far as possible"
        )
    return notes


def _pixels(mask: Mask) -> str:
    count = int(np.count_nonzero(mask))
    return f"{count} pixel was" if count == 1 else f"{count} pixels were"


def _checked_pixels(pixels: FloatImage) -> FloatImage:
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.float32 or not pixels.size:
        raise ValueError(f"expected (H, W, 3) float32, not {pixels.shape} {pixels.dtype}")
    if not np.isfinite(pixels).all() or pixels.min() < 0:
        raise ValueError("radiance must be finite and not negative")
    # The OpenEXR package writes arrays with a negative stride wrongly, without a word.
    return np.ascontiguousarray(pixels)


def _checked_attributes(attributes: Mapping[str, str | float]) -> dict[str, str | float]:
    for name in attributes:
        if not (name.startswith("dfghdr:") or name in _STANDARD_ATTRIBUTES):
            raise ValueError(f"{name!r} is neither dfghdr:* nor a standard attribute")
        if len(name) > _NAME_LIMIT:
            raise ValueError(f"{name!r} is longer than {_NAME_LIMIT} characters")
    # File names may hold bytes that are no text.
    return {
        name: value.encode(errors="backslashreplace").decode()
        if isinstance(value, str)
        else float(value)
        for name, value in attributes.items()
    }


def _encode_exr(
    pixels: FloatImage,
    exr_type: ExrType,
    compression: ExrCompression,
    attributes: Mapping[str, str | float],
    primaries: Chromaticities,
    path: Path,
) -> bytes:
    if exr_type not in ("half", "float"):
        raise ValueError(f"exr_type is 'half' or 'float', not {exr_type!r}")
    if exr_type == "float" and compression.kind == "dwaa":
        raise ValueError("dwaa keeps half floats at most")
    samples: NDArray[np.float16] | FloatImage = pixels
    if exr_type == "half":
        if pixels.max() > HALF_MAX:
            beyond = int(np.count_nonzero((pixels > HALF_MAX).any(axis=2)))
            log.warning(
                "%s: %d pixels are brighter than half floats reach and were set to %g; "
                "ask for float to keep them.",
                path,
                beyond,
                HALF_MAX,
            )
            pixels = np.minimum(pixels, np.float32(HALF_MAX))
        # As .astype(np.float16), ten times faster.
        halves = cv2.multiply(pixels, 1.0, dtype=cv2.CV_16F)  # pyright: ignore
        samples = np.asarray(halves, np.float16)
    data = _exr_bytes(samples, compression, attributes, primaries)
    if compression.kind == "dwaa" and samples.max() > _DWAA_SURE and not _is_finite_exr(data):
        log.warning(
            "%s: DWAA would make its brightest pixels infinite; compressed by PIZ instead.", path
        )
        data = _exr_bytes(samples, ExrCompression(), attributes, primaries)
    return data


def _exr_bytes(
    samples: NDArray[np.float16] | FloatImage,
    compression: ExrCompression,
    attributes: Mapping[str, str | float],
    primaries: Chromaticities,
) -> bytes:
    import OpenEXR

    header = {
        "compression": getattr(OpenEXR, f"{compression.kind.upper()}_COMPRESSION"),
        "type": OpenEXR.scanlineimage,
        "chromaticities": primaries,
        **attributes,
    }
    if interop := next((name for name, p in INTEROP_IDS.items() if p == primaries), None):
        header["colorInteropID"] = interop
    if compression.kind == "dwaa":
        header["dwaCompressionLevel"] = compression.level
    OpenEXR.set_global_thread_count(os.cpu_count() or 1)
    # Through memory: the package's own file writing does not notice a full disk.
    buffer = BytesIO()
    with OpenEXR.File(header, {"RGB": samples}) as file:
        file.write(buffer)
    return buffer.getvalue()


def _is_finite_exr(data: bytes) -> bool:
    """Whether what a reader makes of an .exr is finite."""
    import OpenEXR

    with OpenEXR.File(BytesIO(data)) as file:
        return bool(np.isfinite(file.channels()["RGB"].pixels).all())


def _encode_hdr(
    pixels: FloatImage, attributes: Mapping[str, str | float], primaries: Chromaticities
) -> bytes:
    ok, encoded = cv2.imencode(".hdr", pixels[..., ::-1])
    if not ok:
        raise OutputError("OpenCV could not encode the picture as Radiance .hdr; write .exr.")
    lines = ["PRIMARIES= " + " ".join(f"{value:.4f}" for value in primaries)]
    for name, value in attributes.items():
        text = " ".join(value.split()) if isinstance(value, str) else f"{value:.9g}"
        line = f"{name}={text}"
        if len(line.encode()) > _HDR_LINE_LIMIT:
            log.info("%s is too long for a Radiance header and was left out.", name)
        else:
            lines.append(line)
    magic, rest = encoded.tobytes().split(b"\n", 1)
    return b"\n".join([magic, *(line.encode() for line in lines), rest])
