"""Pictures of what was found: the grid, the walk, the attention, the plane of exposure codes.

All are (H, W, 3) float32 RGB in [0, 1]. Gamma codes are shown as they are: the curve of an sRGB
display is nearly theirs.
"""

from __future__ import annotations

import logging

import numpy as np

from dfghdr_cli.core.types import FloatImage
from dfghdr_cli.io.charts import Cell, bars, heat_map, reduced, scatter, table
from dfghdr_cli.pipeline.explore.attention import Attention
from dfghdr_cli.pipeline.explore.grid import Grid, Photograph, Walk, ev_text
from dfghdr_cli.pipeline.explore.metrics import Metrics

log = logging.getLogger(__name__)

_STRIP = 7
"""Pictures side by side in a strip before it goes on below."""


def bright_as(photograph: Photograph) -> str:
    """Whose brightness a picture has: "at +3 EV", or as which file."""
    if photograph.stops is None:
        return f"as bright as {photograph.name}"
    return f"at {photograph.label}"


def grid_figure(grid: Grid) -> FloatImage:
    """Inputs along the edges: rows share what is where, columns share how bright it is."""
    corner = Cell(None, ("rows: what is where", "columns: how bright"))
    inputs = [
        Cell(one.code, (one.name,) if one.stops is None else (one.label, one.name))
        for one in grid.photographs
    ]
    rows = [[corner, *inputs]]
    for i, pictures in enumerate(grid.pictures):
        cells = [inputs[i]]
        for j, picture in enumerate(pictures):
            same = f"itself, PSNR {grid.psnr[i]:.1f} dB"
            other = bright_as(grid.photographs[j])
            cells.append(Cell(picture, (same if i == j else other,)))
        rows.append(cells)
    return table(rows)


def place_text(walk: Walk, place: float) -> str:
    """Where on a walk: its place and, where exposures are known, the stops there."""
    first, last = (end.stops for end in walk.ends)
    if first is None or last is None:
        return f"{place:.2f}"
    return f"{place:.2f}: {ev_text(first + place * (last - first))}"


def walk_figure(walk: Walk) -> FloatImage:
    """The strip of a walk."""
    cells = [
        Cell(picture, (place_text(walk, place),))
        for place, picture in zip(walk.places, walk.pictures, strict=True)
    ]
    missing = -len(cells) % _STRIP if len(cells) > _STRIP else 0
    cells += [Cell(None)] * missing
    return table([cells[start : start + _STRIP] for start in range(0, len(cells), _STRIP)])


def walk_frames(walk: Walk) -> list[FloatImage]:
    """A walk there and back, picture by picture."""
    return [*walk.pictures, *walk.pictures[-2:0:-1]]


def attention_rows(attention: Attention, longer_side: int = 384) -> list[list[Cell]]:
    """The fields of the figure of attention: a row for each candidate, and one of bars.

    Colours reach, in each column, from the least to the greatest value of all candidates.
    """
    rows = []
    pictures = [reduced(picture, longer_side) for picture in attention.pictures]
    names = zip(attention.labels, attention.names, strict=True)
    for index, (picture, (label, name)) in enumerate(zip(pictures, names, strict=True)):
        cells = [Cell(picture, (label, name.partition(",")[0]))]
        for scale, gates in enumerate(attention.gates):
            low, high = float(gates.min()), float(gates.max())
            mean = float(gates[index].mean())
            caption = (
                f"gate, scale {scale + 1}: mean {mean:.2f}",
                f"blue {low:.2f}, yellow {high:.2f}",
            )
            cells.append(Cell(heat_map(gates[index], picture, low, high), caption))
        if attention.weights is not None:
            share = attention.weights[index]
            text = f"share of the result: {100 * float(share.mean()):.1f} %"
            cells.append(Cell(heat_map(share, picture, 0.0, 1.0), (text, "blue 0, yellow 1")))
        rows.append(cells)
    if attention.exposure:
        size = max(pictures[0].shape[0], 48 * len(pictures)), pictures[0].shape[1]
        last = [Cell(None, ("exposure attention:", "mean over channels, sums to 1"))]
        for scale, weights in enumerate(attention.exposure):
            drawn = bars([float(weight) for weight in weights], attention.labels, size)
            last.append(Cell(drawn, (f"exposure, scale {scale + 1}",)))
        rows.append(last)
    columns = max(len(row) for row in rows)
    return [[*row, *[Cell(None)] * (columns - len(row))] for row in rows]


def attention_figure(attention: Attention) -> FloatImage:
    """Every candidate with the heat maps of its gates, and bars of the exposure attention."""
    return table(attention_rows(attention))


def plane_figure(metrics: Metrics) -> FloatImage:
    """The exposure codes in their plane, coloured by stops; by UMAP beside it, if installed."""
    shares = [f"{100 * share:.0f} % of variance" for share in metrics.shares]
    title = f"Exposure codes of {metrics.model}: principal components"
    figure = scatter(
        metrics.points,
        metrics.stops,
        title,
        (f"first, {shares[0]}", f"second, {shares[1]}"),
        unit="EV",
    )
    points = umap_points(metrics)
    if points is None:
        return figure
    title = f"Exposure codes of {metrics.model}: UMAP"
    other = scatter(points, metrics.stops, title, ("first", "second"), unit="EV")
    return np.concatenate([figure, other], axis=1)


def umap_points(metrics: Metrics) -> FloatImage | None:
    """The exposure codes laid out by UMAP (n, 2), or None where umap-learn is not installed."""
    try:
        from umap import UMAP  # pyright: ignore[reportMissingImports]
    except ImportError:
        log.info("umap-learn is not installed, so the codes are projected by PCA alone.")
        return None
    neighbours = min(15, len(metrics.stops) - 1)
    layout = UMAP(n_neighbors=neighbours, random_state=0, n_jobs=1)
    points = layout.fit_transform(metrics.exposure_codes)
    return np.asarray(points, np.float32)
