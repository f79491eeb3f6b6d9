"""Charts made of pictures: tables with captions, heat maps, bars and scatter plots.

All pictures are (H, W, 3) float32 RGB in [0, 1], encoded for an sRGB display.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dfghdr_cli.core.types import FloatImage

BACKGROUND = (0.96, 0.96, 0.95)
INK = (38, 38, 42)
_GAP = 10  # [pixels], between the cells of a table
_FONTS = ("DejaVuSans.ttf", "Arial.ttf", "Arial Unicode.ttf", "NotoSans-Regular.ttf")


@dataclass(frozen=True, slots=True)
class Cell:
    """One field of a table.

    Attributes:
        picture: what it shows, or None for an empty field.
        caption: lines of text below it.
        bold: whether the caption is a heading.
    """

    picture: FloatImage | None
    caption: Sequence[str] = ()


def reduced(picture: FloatImage, longer_side: int) -> FloatImage:
    """A picture (H, W, 3) averaged to a longer side [pixels]; as it is where that is no less."""
    factor = longer_side / max(picture.shape[:2])
    if factor >= 1.0:
        return picture
    size = tuple(max(1, round(side * factor)) for side in picture.shape[1::-1])
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.float32)


@cache
def font_for(size: int, ascii_only: bool) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, or for other letters than English ones a font of the system, if any."""
    for name in () if ascii_only else _FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def _write(
    draw: ImageDraw.ImageDraw, x: float, y: float, text: str, size: int, room: float
) -> None:
    """A line of text centred at x, its top at y, cut so that it fits into `room` pixels."""
    font = font_for(size, text.isascii())
    shown = text
    while len(shown) > 4 and draw.textlength(shown, font=font) > room:
        shown = shown.removesuffix("...")[:-1] + "..."
    draw.text((x - draw.textlength(shown, font=font) / 2, y), shown, INK, font)


def table(rows: Sequence[Sequence[Cell]], font_size: int = 16) -> FloatImage:
    """Lay out pictures in rows and columns, each in the middle of its field over its caption.

    Args:
        rows: of equal length, not empty.
        font_size: [pixels].

    Returns:
        The picture of the table.
    """
    line = round(font_size * 1.35)
    widths = [
        max((cell.picture.shape[1] for cell in column if cell.picture is not None), default=0)
        for column in zip(*rows, strict=True)
    ]
    heights = [
        max((cell.picture.shape[0] for cell in row if cell.picture is not None), default=0)
        for row in rows
    ]
    captions = [line * max(len(cell.caption) for cell in row) for row in rows]
    size = (
        sum(heights) + sum(captions) + _GAP * (len(rows) + 1),
        sum(widths) + _GAP * (len(widths) + 1),
    )
    canvas = np.empty((*size, 3), np.float32)
    canvas[:] = BACKGROUND
    texts: list[tuple[float, float, str, float]] = []
    top = _GAP
    for row, height, caption in zip(rows, heights, captions, strict=True):
        left = _GAP
        for cell, width in zip(row, widths, strict=True):
            if cell.picture is not None:
                h, w = cell.picture.shape[:2]
                y, x = top + (height - h) // 2, left + (width - w) // 2
                canvas[y : y + h, x : x + w] = np.clip(cell.picture, 0.0, 1.0)
            for number, text in enumerate(cell.caption):
                texts.append((left + width / 2, top + height + number * line, text, width))
            left += width + _GAP
        top += height + caption + _GAP
    image = Image.fromarray(np.rint(canvas * 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for x, y, text, room in texts:
        _write(draw, x, y, text, font_size, room)
    return _floats(image)


def _floats(image: Image.Image) -> FloatImage:
    return np.asarray(image, np.float32) / np.float32(255)


def smoothed(image: Image.Image, scale: int) -> FloatImage:
    """A drawing that was made `scale` times too large, for smooth edges, in its own size."""
    size = image.width // scale, image.height // scale
    return _floats(image.resize(size, Image.Resampling.BOX))


def colours(values: NDArray[np.floating], low: float, high: float) -> FloatImage:
    """The viridis colours of values, `low` being dark blue and `high` yellow.

    Args:
        values: (H, W).
        low: this and less is at the dark end.
        high: this and more is at the bright end.

    Returns:
        (H, W, 3).
    """
    shares = (values - low) / max(high - low, 1e-12)
    codes = np.rint(np.clip(shares, 0.0, 1.0) * 255).astype(np.uint8)
    bgr = cv2.applyColorMap(codes, cv2.COLORMAP_VIRIDIS)
    return bgr[..., ::-1].astype(np.float32) / np.float32(255)


def heat_map(
    values: NDArray[np.floating], picture: FloatImage, low: float, high: float
) -> FloatImage:
    """Values in colours, darkened by the grey of the picture they belong to.

    Args:
        values: (h, w), brought to the picture's size.
        picture: (H, W, 3).
        low: see `colours`.
        high: see `colours`.

    Returns:
        (H, W, 3).
    """
    height, width = picture.shape[:2]
    small = np.asarray(values, np.float32)
    large = np.asarray(cv2.resize(small, (width, height)), np.float32)
    codes = np.rint(255 * np.clip(picture, 0.0, 1.0).mean(axis=2)).astype(np.uint8)
    # Equalised, since the frames of a bracket are nearly black or nearly white.
    grey = cv2.equalizeHist(codes)[..., None].astype(np.float32) / np.float32(255)
    return np.asarray(colours(large, low, high) * (0.55 + 0.45 * grey), np.float32)


def bars(
    values: Sequence[float], labels: Sequence[str], size: tuple[int, int], font_size: int = 16
) -> FloatImage:
    """Horizontal bars from 0, one under the other, with their labels and values.

    Args:
        values: >= 0.
        labels: of each.
        size: (height, width) of the picture [pixels].
        font_size: [pixels].
    """
    height, width = size
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    step = height / max(len(values), 1)
    longest = max([*values, 1e-12])
    thickness = min(step * 0.45, 1.2 * font_size)
    for number, (value, label) in enumerate(zip(values, labels, strict=True)):
        middle = (number + 0.5) * step
        text = f"{label}  {value:.3f}"
        draw.text((6, middle - font_size * 1.2), text, INK, font_for(font_size, text.isascii()))
        right = 6 + (width - 12) * value / longest
        draw.rectangle((6, middle + 3, max(right, 7), middle + 3 + thickness), (58, 82, 139))
    return _floats(image)


def scatter(
    points: NDArray[np.floating],
    values: NDArray[np.floating],
    title: str,
    axes: tuple[str, str],
    *,
    unit: str = "",
    size: int = 640,
) -> FloatImage:
    """Points in a plane, coloured by a value, with the scale of the colours on the right.

    Args:
        points: (n, 2), n at least 1.
        values: (n,).
        title: above.
        axes: what is across, and what is up.
        unit: of the values.
        size: height of the picture [pixels]; it is a fifth wider.
    """
    scale = 2  # drawn larger and reduced, for smooth edges
    height, width = size * scale, round(size * 1.2) * scale
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    left, top, side = 40 * scale, 40 * scale, size * scale - 90 * scale
    draw.rectangle((left, top, left + side, top + side), outline=INK, width=scale)
    low, high = float(values.min()), float(values.max())
    tints = np.rint(255 * colours(values[None], low, high)[0]).astype(int)
    least, span = points.min(0), np.maximum(np.ptp(points, axis=0), 1e-12)
    room = 0.92 * side
    for (x, y), tint in zip((points - least) / span, tints, strict=True):
        px, py = left + 0.04 * side + x * room, top + side - 0.04 * side - y * room
        r = 4 * scale
        draw.ellipse((px - r, py - r, px + r, py + r), tuple(tint), (255, 255, 255), scale)
    font = 15 * scale
    _write(draw, left + side / 2, 10 * scale, title, font, width)
    _write(
        draw, left + side / 2, top + side + 14 * scale, f"{axes[0]} (up: {axes[1]})", font, width
    )
    bar = colours(np.linspace(high, low, 256)[:, None], low, high)
    strip = Image.fromarray(np.rint(255 * bar).astype(np.uint8)).resize((18 * scale, side))
    edge = left + side + 24 * scale
    image.paste(strip, (edge, top))
    for value, y in ((high, top), ((low + high) / 2, top + side / 2), (low, top + side)):
        text = f"{value:+.1f} {unit}".strip()
        draw.text((edge + 24 * scale, y - font / 2), text, INK, font_for(font, text.isascii()))
    return smoothed(image, scale)
