"""Tables of text and curves as pictures, and pictures as pages of a PDF file.

All pictures are (H, W, 3) float32 RGB in [0, 1], encoded for an sRGB display.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dfghdr_cli.core.types import FloatImage
from dfghdr_cli.io.charts import INK, font_for, smoothed

SOFT = (110, 112, 118)
LINE = (205, 205, 200)
INKS = ((58, 82, 139), (217, 95, 2), (27, 158, 119), (231, 41, 138), (102, 166, 30), (120, 94, 240))
"""Of curves and frames, told apart also in print and by most who see few colours: the hues of
ColorBrewer's Dark2 and viridis' blue."""
PAGE_DPI = 200
"""Pixels per inch of a PDF page."""


@dataclass(frozen=True, slots=True)
class Line:
    """A row of a table of text.

    Attributes:
        cells: its text; one alone is a heading across the table.
        bold: which cells stand out.
        soft: whether the row is set back.
    """

    cells: Sequence[str]
    bold: frozenset[int] = frozenset()
    soft: bool = False


def text_table(lines: Sequence[Line], font_size: int = 22) -> FloatImage:
    """Draw a table: the first row is its heading, the first column is set left, the others right.

    Args:
        lines: not empty; those with more than one cell have equally many.
        font_size: [pixels].
    """
    pad, step = font_size, round(font_size * 1.7)
    columns = len(lines[0].cells)
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))

    def wide(text: str) -> float:
        return measure.textlength(text, font=font_for(font_size, text.isascii()))

    widths = [
        max(wide(line.cells[k]) for line in lines if len(line.cells) == columns)
        for k in range(columns)
    ]
    across = max((wide(line.cells[0]) for line in lines if len(line.cells) < columns), default=0)
    widths[0] = max(widths[0], across - sum(widths[1:]) - 2 * pad * (columns - 1))
    size = round(sum(widths) + 2 * pad * columns), step * len(lines) + 2 * pad
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        y = pad + number * step
        heading = len(line.cells) < columns
        if number <= 1 or heading:
            draw.line((pad, y - 5, size[0] - pad, y - 5), INK if number <= 1 else LINE, 2)
        right = pad
        for k, text in enumerate(line.cells):
            right += widths[k] + (2 * pad if k else 0)
            x = pad if k == 0 else right - wide(text)
            ink = SOFT if line.soft or heading else INK
            weight = 1 if k in line.bold else 0
            draw.text(
                (x, y), text, ink, font_for(font_size, text.isascii()), stroke_width=weight / 2
            )
    draw.line((pad, size[1] - pad, size[0] - pad, size[1] - pad), INK, 2)
    return np.asarray(image, np.float32) / np.float32(255)


def curves(
    series: Mapping[str, tuple[NDArray[np.floating], NDArray[np.floating]]],
    title: str,
    axes: tuple[str, str],
    *,
    logarithmic: bool = False,
    size: tuple[int, int] = (440, 720),
) -> FloatImage:
    """Draw curves over one axis, with a legend.

    Args:
        series: by name x (n,) and y (n,), n at least 1; what is not finite is left out.
        title: above.
        axes: what is across, and what is up.
        logarithmic: whether y is drawn by its logarithm; values of 0 and less are left out.
        size: (height, width) of the picture [pixels].
    """
    scale = 2  # drawn larger and reduced, for smooth edges
    height, width = size[0] * scale, size[1] * scale
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    small, plain = font_for(13 * scale, True), font_for(15 * scale, True)
    left, top, right, bottom = 74 * scale, 40 * scale, width - 24 * scale, height - 52 * scale
    shown = {}
    for name, (x, y) in series.items():
        use = np.isfinite(x) & np.isfinite(y) & ((y > 0) | (not logarithmic))
        if use.any():
            shown[name] = x[use], np.log10(y[use]) if logarithmic else y[use]
    draw.text((left, 10 * scale), title, INK, font_for(17 * scale, title.isascii()))
    draw.rectangle((left, top, right, bottom), outline=LINE, width=scale)
    if not shown:
        return smoothed(image, scale)
    xs, ys = (np.concatenate([pair[k] for pair in shown.values()]) for k in (0, 1))
    x_ticks = _ticks(float(xs.min()), float(xs.max()))
    y_ticks = _ticks(float(ys.min()), float(ys.max()))
    (x0, x1), (y0, y1) = (x_ticks[0], x_ticks[-1]), (y_ticks[0], y_ticks[-1])

    def place(x: float, y: float) -> tuple[float, float]:
        across = left + (right - left) * (x - x0) / (x1 - x0)
        return across, bottom - (bottom - top) * (y - y0) / (y1 - y0)

    for tick in x_ticks:
        x, _ = place(tick, y0)
        draw.line((x, top, x, bottom), LINE, 1)
        draw.text((x, bottom + 6 * scale), f"{tick:g}", SOFT, small, anchor="ma")
    for tick in y_ticks:
        _, y = place(x0, tick)
        draw.line((left, y, right, y), LINE, 1)
        text = f"{10**tick:.3g}" if logarithmic else f"{tick:g}"
        draw.text((left - 8 * scale, y), text, SOFT, small, anchor="rm")
    draw.text(((left + right) / 2, height - 8 * scale), axes[0], INK, plain, anchor="md")
    draw.text((8 * scale, 24 * scale), axes[1], INK, small)
    for number, (name, (x, y)) in enumerate(shown.items()):
        ink = INKS[number % len(INKS)]
        points = [place(*pair) for pair in zip(x.tolist(), y.tolist(), strict=True)]
        draw.line(points, ink, 2 * scale, joint="curve")
        if len(points) <= 40:
            for px, py in points:
                r = 3 * scale
                draw.ellipse((px - r, py - r, px + r, py + r), ink)
        y_legend = top + (10 + 20 * number) * scale
        draw.text((right - 30 * scale, y_legend), name, INK, small, anchor="rm")
        draw.line((right - 24 * scale, y_legend, right - 8 * scale, y_legend), ink, 3 * scale)
    return smoothed(image, scale)


def _ticks(low: float, high: float) -> list[float]:
    """4 to 8 round numbers that span a range."""
    if high <= low:
        spread = max(abs(low) * 0.1, 1.0)
        low, high = low - spread, high + spread
    rough = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * k for k in (1, 2, 2.5, 5, 10) if power * k >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(k * step, 12) for k in range(first, last + 1)]


def encode_pdf(pages: Sequence[FloatImage], title: str) -> bytes:
    """Pictures as a PDF file, one a page of its own size, at `PAGE_DPI`.

    Args:
        pages: at least one; stored as JPEG of quality 95 without subsampling of the colours.
        title: of the document.
    """
    images = [
        Image.fromarray(np.rint(255 * np.clip(page, 0.0, 1.0)).astype(np.uint8)) for page in pages
    ]
    file = io.BytesIO()
    images[0].save(
        file,
        "PDF",
        save_all=True,
        append_images=images[1:],
        resolution=PAGE_DPI,
        quality=95,
        subsampling=0,
        title=title,
        producer="dfghdr",
        creationDate=None,
        modDate=None,
    )
    return file.getvalue()
