"""All that was found on one page: a single HTML file that loads nothing from anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

import numpy as np

from dfghdr_cli import __version__
from dfghdr_cli.core.types import FloatImage
from dfghdr_cli.io.charts import colours
from dfghdr_cli.pipeline.explore.attention import Attention
from dfghdr_cli.pipeline.explore.explorer import Explorer
from dfghdr_cli.pipeline.explore.figures import attention_rows, bright_as, place_text, umap_points
from dfghdr_cli.pipeline.explore.grid import Grid, Photograph, Walk
from dfghdr_cli.pipeline.explore.metrics import CODES, PSNRS, Metrics
from dfghdr_cli.pipeline.page import image, page

_PLOT = 420  # [units of the drawing], side of a scatter plot


def encode_report(
    explorer: Explorer,
    *,
    grid: Grid | None = None,
    walk: Walk | None = None,
    attention: Attention | None = None,
    metrics: Metrics | None = None,
) -> bytes:
    """The page as an HTML file.

    Args:
        explorer: the model.
        grid: shows the pair under the pointer in full size.
        walk: has a slider.
        attention: heat maps and bars.
        metrics: tables and a plot.
    """
    title = f"What {explorer.name} learned"
    info = explorer.model.info
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p>dfghdr {__version__}, model {escape(explorer.name)} ({escape(info.architecture)}, "
        f"weights {escape(explorer.model.digest)})</p>",
    ]
    if grid is not None:
        body += _grid_section(grid)
    if walk is not None:
        body += _walk_section(walk)
    if attention is not None:
        body += _attention_section(attention)
    if metrics is not None:
        body += _metrics_section(metrics)
    text = page("dfghdr_cli.pipeline.explore", title, body)
    return text.encode(errors="backslashreplace")


def _image(picture: FloatImage, says: str) -> str:
    return image(picture, says, 90)


def _says(photograph: Photograph) -> str:
    if photograph.stops is None:
        return photograph.name
    return f"{photograph.label}, {photograph.name}"


def _head(photograph: Photograph, which: str, number: int) -> str:
    says = _says(photograph)
    name = "" if photograph.stops is None else f"<small>{escape(photograph.name)}</small>"
    return (
        f'<th data-{which}="{number}" data-says="{escape(says)}">'
        f"{_image(photograph.code, says)}{escape(photograph.label)}{name}</th>"
    )


def _grid_section(grid: Grid) -> Iterator[str]:
    yield "<h2>What is where, and how bright</h2>"
    yield (
        "<p>Each picture is decoded from the spatial code of the photograph at the left of its row "
        "and the exposure code of the one on top of its column. Point at one, or go with the arrow "
        "keys, to see it with the two it comes from. On the diagonal both are the same.</p>"
    )
    yield '<div class="sides"><table class="pictures" id="grid"><tr><th>rows: what is where'
    yield "<small>columns: how bright</small></th>"
    yield from (_head(one, "column", j) for j, one in enumerate(grid.photographs))
    yield "</tr>"
    for i, (photograph, pictures) in enumerate(zip(grid.photographs, grid.pictures, strict=True)):
        yield "<tr>" + _head(photograph, "row", i)
        for j, picture in enumerate(pictures):
            bright = grid.photographs[j]
            says = f"{photograph.name} as bright as {bright.name}"
            if i == j:
                says = f"{photograph.name} reconstructed, PSNR {grid.psnr[i]:.1f} dB"
            note = f"PSNR {grid.psnr[i]:.1f} dB" if i == j else bright_as(bright)
            yield (
                f'<td><button data-row="{i}" data-column="{j}" data-says="{escape(says)}">'
                f"{_image(picture, says)}</button><small>{escape(note)}</small></td>"
            )
        yield "</tr>"
    yield '</table><figure id="pair" aria-live="polite">'
    yield '<img data-shows="both" alt=""><figcaption data-says="both"></figcaption>'
    yield '<div class="inputs">'
    for name in ("where", "bright"):
        yield (
            f'<figure><img data-shows="{name}" alt="">'
            f'<figcaption data-says="{name}"></figcaption></figure>'
        )
    yield "</div></figure></div>"


def _walk_section(walk: Walk) -> Iterator[str]:
    first, last = (escape(_says(end)) for end in walk.ends)
    yield "<h2>From one exposure code to another</h2>"
    yield (
        f"<p>The spatial code of {escape(walk.photograph.name)}, with exposure codes on the "
        f"straight line from that of {first} (0) to that of {last} (1).</p>"
    )
    start = walk.places.index(0.0)
    yield '<div class="walk">'
    for place, picture in zip(walk.places, walk.pictures, strict=True):
        yield _image(picture, place_text(walk, place))
    yield (
        f'<input type="range" min="0" max="{len(walk.places) - 1}" value="{start}" '
        'aria-label="place between the two exposure codes"><output></output></div>'
    )


def _attention_section(attention: Attention) -> Iterator[str]:
    yield "<h2>Attention</h2>"
    yield (
        "<p>Each row is a frame as the merging network sees it. The gates of the spatial attention "
        "(eq. 8, mean over channels) say where its features are let through at each scale; within "
        "a column, colours reach from the least to the greatest value of all frames. "
    )
    if attention.weights is not None:
        yield "The last column is what each contributes to the result. "
    yield "</p>"
    rows = attention_rows(attention)
    if attention.exposure:
        rows = rows[:-1]
    yield '<table class="pictures" id="attention">'
    for row in rows:
        yield "<tr>"
        for cell in row:
            if cell.picture is None:
                yield "<td></td>"
                continue
            says = ", ".join(cell.caption)
            yield f"<td>{_image(cell.picture, says)}<small>{escape(says)}</small></td>"
        yield "</tr>"
    yield "</table>"
    if not attention.exposure:
        return
    yield "<h2>Exposure attention</h2>"
    yield (
        "<p>The share of each frame in what the exposure attention (eq. 9) passes on, mean over "
        "channels, and how far the channels differ (standard deviation).</p>"
    )
    for scale, (weights, spread) in enumerate(
        zip(attention.exposure, attention.spread, strict=True)
    ):
        yield f'<table class="bars"><tr><th>scale {scale + 1}</th></tr>'
        for name, weight, deviation in zip(attention.names, weights, spread, strict=True):
            yield (
                f"<tr><td>{escape(name)}</td><td>{weight:.3f} ± {deviation:.3f}</td>"
                f'<td><div class="bar" style="width:{100 * weight:.1f}%"></div></td></tr>'
            )
        yield "</table>"


def _metrics_section(metrics: Metrics) -> Iterator[str]:
    yield "<h2>Figures</h2>"
    yield (
        f"<p>On {metrics.images} images: {metrics.views} views of {metrics.pictures} pictures. "
        "0 stops is where the logarithmic average of a view's luminance is 0.18 of white. "
        f"Linear probes {escape(metrics.fitted_on)}.</p>"
    )
    rows: list[Sequence[str]] = [
        ("R² of stops", "within a view", "error [stops]", "invariance", "")
    ]
    for name, what in CODES.items():
        code = metrics.codes[name]
        moved = "" if code.invariance is None else f"{code.invariance:.3f}"
        rows.append((f"{code.r2:.3f}", f"{code.r2_within:.3f}", f"{code.rmse:.3f}", moved, what))
    yield from _numbers(rows)
    yield from _numbers(
        [
            ("PSNR [dB]", ""),
            *((f"{metrics.psnr[n]:.2f}", what) for n, what in PSNRS.items() if n in metrics.psnr),
        ]
    )
    shares = " and ".join(f"{100 * share:.0f} %" for share in metrics.shares)
    yield f"<p>The exposure codes in the plane of most variance ({shares}), coloured by stops:</p>"
    yield _scatter(metrics.points, metrics.stops)
    points = umap_points(metrics)
    if points is not None:
        yield "<p>The same, laid out by UMAP:</p>"
        yield _scatter(points, metrics.stops)


def _numbers(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table whose last column is text and whose first row is a heading."""
    yield '<table class="numbers">'
    for number, row in enumerate(rows):
        kind = "td" if number else "th"
        cells = [f'<{kind} class="number">{escape(value)}</{kind}>' for value in row[:-1]]
        yield f"<tr>{''.join(cells)}<{kind}>{escape(row[-1])}</{kind}></tr>"
    yield "</table>"


def _scatter(points: FloatImage, stops: FloatImage) -> str:
    low, high = float(stops.min()), float(stops.max())
    tints = np.rint(255 * colours(stops[None], low, high)[0]).astype(int)
    places = (points - points.min(0)) / np.maximum(np.ptp(points, axis=0), 1e-12)
    places = 10 + (_PLOT - 20) * places
    dots = [
        f'<circle cx="{x:.1f}" cy="{_PLOT - y:.1f}" r="4" fill="rgb({r},{g},{b})">'
        f"<title>{stop:+.1f} EV</title></circle>"
        for (x, y), (r, g, b), stop in zip(places, tints, stops, strict=True)
    ]
    scale = []
    for number, value in enumerate(np.linspace(high, low, 7)):
        r, g, b = np.rint(255 * colours(np.array([[value]]), low, high)[0, 0]).astype(int)
        y = 20 + 20 * number
        scale.append(
            f'<rect x="{_PLOT + 12}" y="{y - 9}" width="12" height="12" fill="rgb({r},{g},{b})"/>'
            f'<text x="{_PLOT + 30}" y="{y + 1}">{value:+.1f} EV</text>'
        )
    return (
        f'<svg viewBox="0 0 {_PLOT + 100} {_PLOT}" role="img" '
        f'aria-label="exposure codes coloured by stops">{"".join(dots + scale)}</svg>'
    )
