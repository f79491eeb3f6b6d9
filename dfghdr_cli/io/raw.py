"""Raw files: camera light, white-balanced, in the camera's own primaries."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfghdr_cli.core.colour import REC709, to_xyz
from dfghdr_cli.errors import InputError, refuse_if_out_of_memory
from dfghdr_cli.limits import ensure_pixels

log = logging.getLogger(__name__)

RAW_SUFFIXES = (
    *(".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos"),
    *(".mrw", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf"),
    *(".srw", ".x3f"),
)
"""Endings of raw files. Most are TIFF inside, with a thumbnail that a TIFF reader would take."""

_PANASONIC_OFFSET = 0x118
_ELSEWHERE = 0xFFFFFFFF
"""In the place of an offset, which Panasonic's tag holds then."""
_FEW = 16
_NARROW = 256
_BLOCK = 64
"""Side of a square of samples: less than tiles have, in which some raw files keep theirs."""
_EMPTY_ROWS = 0.01
"""Share of rows; some cameras count one or two that are never read."""

WhiteBalance = tuple[float, float, float]
"""Factors of red, green and blue, the smallest of them 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Developed:
    """A raw file, demosaiced.

    Attributes:
        pixels: (H, W, 3) uint16, upright, proportional to light; 65535 = the sensor's saturation
            in the channel that is balanced least, beyond which all channels are clipped alike.
        to_rec709: (3, 3) from the camera's white-balanced RGB to Rec. 709, or None where the
            camera is unknown.
    """

    pixels: NDArray[np.uint16]
    to_rec709: NDArray[np.float64] | None


def read_white_balance(path: Path) -> WhiteBalance:
    """The white balance that the camera chose, or that of daylight where it recorded none.

    Raises:
        InputError: the file is damaged, or no raw file that LibRaw reads.
    """
    with _opened(path) as raw:
        for values in (raw.camera_whitebalance, raw.daylight_whitebalance):
            balance = [float(value) for value in values[:3]]
            if all(0 < value < float("inf") for value in balance):
                red, green, blue = (value / min(balance) for value in balance)
                return red, green, blue
    return 1.0, 1.0, 1.0


def read_raw_settings(path: Path) -> tuple[float | None, float | None, float | None]:
    """Exposure time [s], ISO speed and f-number as LibRaw finds them; None where it does not.

    LibRaw knows the formats that hold no EXIF data, and the makers' own notes.

    Raises:
        InputError: the file is damaged, or no raw file that LibRaw reads.
    """
    with _opened(path) as raw:
        settings = raw.other
        time_s, iso, f_number = (
            float(value) if 0 < value < float("inf") else None
            for value in (settings.shutter_speed, settings.iso_speed, settings.aperture)
        )
    return time_s, iso, f_number


def develop(path: Path, balance: WhiteBalance | None = None) -> Developed:
    """Demosaic a raw file and do nothing else to its light.

    Black is subtracted and white (saturation) is scaled to 65535 as the file or LibRaw's table of
    cameras says, never by what the picture holds. Brightness, tone and noise stay as they are, and
    blown highlights are clipped at the sensor's white, neutral in all channels.

    Args:
        path: the file.
        balance: the white balance; all frames of a bracket must have the same. None takes the
            file's own.

    Returns:
        The picture, turned upright.

    Raises:
        InputError: the file is damaged, cut off, without its picture, no raw file that LibRaw
            reads, or does not have three colours.
    """
    import rawpy

    _check_length(path)
    red, green, blue = balance or read_white_balance(path)
    with _opened(path) as raw:
        _check_picture(path, raw)
        matrix = _to_rec709(raw)
        pixels = raw.postprocess(
            output_bps=16,
            output_color=rawpy.ColorSpace.raw,  # pyright: ignore[reportAttributeAccessIssue]
            gamma=(1, 1),
            user_wb=[red, green, blue, green],
            no_auto_bright=True,
            adjust_maximum_thr=0.0,
        )
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[2] == 1:
        return Developed(np.repeat(pixels, 3, axis=2), None)
    if pixels.shape[2] != 3:
        raise InputError(f"{path} has {pixels.shape[2]} colours; develop it to a 16-bit TIFF.")
    if matrix is None:
        log.warning("%s: its camera's colours are unknown; taken for those of sRGB.", path)
    return Developed(np.ascontiguousarray(pixels, np.uint16), matrix)


def _to_rec709(raw: Any) -> NDArray[np.float64] | None:
    """From white-balanced camera RGB: white stays white, as in dcraw and LibRaw."""
    from_xyz = np.asarray(raw.rgb_xyz_matrix, np.float64)[:3]
    if np.linalg.matrix_rank(from_xyz) == 3:
        camera = from_xyz @ to_xyz(REC709)
        matrix = np.linalg.inv(camera / camera.sum(axis=1, keepdims=True))
    else:  # the file brought its own, as a DNG does
        matrix = np.asarray(raw.color_matrix, np.float64)[:, :3]
    usable = np.isfinite(matrix).all() and np.allclose(matrix.sum(axis=1), 1, atol=0.01)
    return matrix if usable and np.linalg.matrix_rank(matrix) == 3 else None


def _check_length(path: Path) -> None:
    """Refuse a file of the TIFF kind that ends before its largest picture does.

    Most of LibRaw's decoders notice that; where one does not, it fills the rest with anything.
    """
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    try:
        with tifffile.TiffFile(path) as file:
            pages = [page for page in file.pages if isinstance(page, tifffile.TiffPage)]
            subs = [sub for page in pages for sub in page.pages or ()]
            pages += [sub for sub in subs if isinstance(sub, tifffile.TiffPage)]
            largest = max(pages, key=lambda page: sum(page.databytecounts), default=None)
            if largest is None:
                return
            offsets = largest.dataoffsets
            if set(offsets) == {_ELSEWHERE}:
                offsets = (largest.tags.valueof(_PANASONIC_OFFSET, 0),)
            end = max(map(sum, zip(offsets, largest.databytecounts, strict=True)), default=0)
    except Exception:  # no TIFF, or one that LibRaw may understand all the same
        return
    if end > path.stat().st_size:
        raise InputError(
            f"{path} ends {end - path.stat().st_size} bytes before its picture does; copy it again."
        )


def _check_picture(path: Path, raw: Any) -> None:
    """Refuse what no sensor gives: one value everywhere, or whole rows or tiles of it at 0.

    Read noise is some tenths of a step at least (0.3 leaves 0 alone in one sample of 20), so that
    even where black is 0, not one row of a thousand samples stays at it. Where black is above 0,
    none of a whole square does, even if noise was taken off.
    """
    import rawpy

    samples = raw.raw_image_visible
    if not samples.size:
        return
    first = samples.flat[0]
    if first < raw.white_level and samples[:_FEW].min() == first and (samples == first).all():
        raise InputError(
            f"{path} holds no picture: all its values are {first}; copy it again from the card."
        )
    if raw.raw_type is not rawpy.RawType.Flat:
        return
    empty = float((samples.max(axis=1) == 0).mean())
    lost = empty if samples.shape[1] >= _NARROW and empty > _EMPTY_ROWS else 0.0
    if min(raw.black_level_per_channel) > 0:
        lost = max(lost, _empty_blocks(samples))
    if lost:
        share = f"{lost:.0%}" if lost >= 0.01 else "a part"
        raise InputError(
            f"{path} lacks {share} of its picture, where all values are 0; "
            "copy it again from the card."
        )


def _empty_blocks(samples: NDArray[np.uint16]) -> float:
    """The share of squares of samples that are 0 altogether."""
    rows, columns = (length // _BLOCK for length in samples.shape)
    if not rows * columns:
        return 0.0
    whole = samples[: rows * _BLOCK, : columns * _BLOCK]
    largest = whole.reshape(rows, _BLOCK, columns * _BLOCK).max(axis=1)
    return float((largest.reshape(rows, columns, _BLOCK).max(axis=2) == 0).mean())


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The raw file; LibRaw's errors, whenever they come, in a user's words."""
    import rawpy

    try:
        # Opened here, as LibRaw does not take every name.
        with path.open("rb") as file, rawpy.imread(file) as raw:
            ensure_pixels(path, raw.sizes.raw_width, raw.sizes.raw_height)
            yield raw
    except rawpy.LibRawError as error:  # pyright: ignore[reportAttributeAccessIssue]
        refuse_if_out_of_memory(error, path)
        reason = error.args[0] if error.args else error
        reason = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
        raise InputError(
            f"{path} is damaged or no raw file that LibRaw reads ({reason}); "
            "copy it again, or develop it to a 16-bit TIFF."
        ) from error
