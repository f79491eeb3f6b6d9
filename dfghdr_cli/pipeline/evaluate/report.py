"""Where the figures of an evaluation come from, on one page that loads nothing from anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

import numpy as np

from dfghdr_cli import __version__
from dfghdr_cli.core.encoding import mu_law
from dfghdr_cli.core.metrics.fidelity import TILE, Measured, psnr_mu
from dfghdr_cli.core.types import FloatImage, Frame
from dfghdr_cli.io.charts import colours, reduced
from dfghdr_cli.pipeline.evaluate.results import ALL_METRICS, Evaluation, Outcome
from dfghdr_cli.pipeline.page import image, page

CROP = 192
"""Side of the regions shown [pixels], in full size."""
SHEET = 300
"""Longest side of the whole pictures [pixels]."""
REGIONS = 3
"""Most regions of one scene."""
FULL_ERROR = 0.25
"""Error after the mu-law that has the last colour."""

Place = tuple[int, int]


class EvaluationReport:
    """Collects scenes while they are scored: its method `add` is `evaluate`'s `on_scene`."""

    def __init__(self) -> None:
        self._scenes: list[str] = []

    def add(self, outcome: Outcome) -> None:
        """Keep what the page shows of one scene: small pictures, not the scene."""
        self._scenes.append("\n".join(_scene(outcome)))

    def html(self, evaluation: Evaluation) -> str:
        """The page."""
        title = f"{len(evaluation.methods)} methods on {len(evaluation.scenes)} scenes"
        body = [f"<h1>{escape(title)}</h1>", *_summary(evaluation), *self._scenes]
        return page("dfghdr_cli.pipeline.evaluate", title, body)


def _summary(evaluation: Evaluation) -> Iterator[str]:
    fitted = "each picture's scale fitted" if evaluation.fit_scale else "no scale fitted"
    yield (
        f"<p>dfghdr {__version__}; {escape(evaluation.protocol.text)}; gamma 2.2; {fitted}. "
        "Pictures "
        "are shown after the mu-law, which is what most figures compare; frames as they are."
    )
    if evaluation.vdp_view:
        yield f" HDR-VDP-2 (VDP-2): {escape(evaluation.vdp_view)}."
    yield "</p>"
    names = [method.name for method in evaluation.methods]
    shown = [m for m in ALL_METRICS if any(evaluation.mean(n, m.key) is not None for n in names)]
    rows = [["mean of scenes", *(m.label for m in shown)]]
    for name in names:
        rows.append([name, *(m.text(evaluation.mean(name, m.key)) for m in shown)])
    yield from _table(rows)
    differences = evaluation.differences("psnr_mu")
    if differences:
        yield "<p>PSNR-μ, difference of two methods with its 95 % interval over the scenes:</p><ul>"
        for d in differences:
            low, high = d.interval
            yield (
                f"<li>{escape(d.first)} over {escape(d.second)}: {d.mean:+.2f} dB, "
                f"{low:+.2f} to {high:+.2f}, {d.scenes} scenes</li>"
            )
        yield "</ul>"
    if evaluation.excluded:
        yield "<p>These scenes count for no method:</p><ul>"
        for excluded in evaluation.excluded:
            yield f"<li>{escape(excluded.scene)}: {escape(excluded.reason)}</li>"
        yield "</ul>"


def _scene(outcome: Outcome) -> Iterator[str]:
    facts, truth = outcome.facts, outcome.scene.truth
    stops = ", ".join(f"{stop:+g}" for stop in facts.stops)
    source = "motion.png" if facts.moving_from == "motion.png" else "an estimate"
    yield f"<h2>{escape(facts.name)}</h2>"
    yield (
        f"<p>{facts.size[0]}x{facts.size[1]} pixels, frames of {stops} EV; "
        f"{100 * facts.moving_share:.1f} % move, by {source}; "
        f"{100 * facts.white_share:.1f} % of the truth is white.</p>"
    )
    values: list[Measured] = list(outcome.measured.values())
    shown = [m for m in ALL_METRICS if any(x.values[m.key] is not None for x in values)]
    rows = [["", *(m.label for m in shown)]]
    for name, measured in outcome.measured.items():
        rows.append([name, *(m.text(measured.values[m.key]) for m in shown)])
    yield from _table(rows)
    yield from _row(
        [
            (reduced(frame.encoded(), SHEET), f"frame {number}, {stop:+g} EV")
            for number, (frame, stop) in enumerate(_frames(outcome), start=1)
        ]
    )
    pictures = [("truth", truth), *outcome.pictures.items()]
    yield from _row([(reduced(toned(picture), SHEET), name) for name, picture in pictures])
    for place, names in _regions(outcome):
        yield from _region(outcome, place, names)


def _frames(outcome: Outcome) -> list[tuple[Frame, float]]:
    return list(zip(outcome.scene.bracket.frames, outcome.facts.stops, strict=True))


def _regions(outcome: Outcome) -> list[tuple[Place, list[str]]]:
    """The worst tile of each method, those that all but meet counted once."""
    found: list[tuple[Place, list[str]]] = []
    for name, measured in outcome.measured.items():
        place = measured.worst_tile
        near = next((names for at, names in found if _distance(at, place) <= TILE), None)
        if near is not None:
            near.append(name)
        elif len(found) < REGIONS:
            found.append((place, [name]))
    return found


def _distance(first: Place, second: Place) -> int:
    return max(abs(first[0] - second[0]), abs(first[1] - second[1]))


def _region(outcome: Outcome, place: Place, names: Sequence[str]) -> Iterator[str]:
    truth = outcome.scene.truth
    cut = tuple(
        slice(start, start + min(CROP, side))
        for start, side in (
            (min(max(0, first + TILE // 2 - CROP // 2), max(0, side - CROP)), side)
            for first, side in zip(place, truth.shape[:2], strict=True)
        )
    )
    yield (
        f"<h3>Worst for {escape(', '.join(names))}: around column {place[1] + TILE // 2}, "
        f"row {place[0] + TILE // 2}</h3>"
    )
    frames = [
        (frame.encoded()[cut], f"frame {number}, {stop:+g} EV")
        for number, (frame, stop) in enumerate(_frames(outcome), start=1)
    ]
    yield from _row([*frames, (toned(truth[cut]), "truth")])
    pairs: list[tuple[FloatImage, str]] = []
    for name, picture in outcome.pictures.items():
        value = psnr_mu(picture[cut], truth[cut])
        error = np.abs(toned(picture[cut]) - toned(truth[cut])).max(axis=2)
        pairs.append((toned(picture[cut]), f"{name}: PSNR-μ {value:.2f} dB here"))
        caption = f"its error, 0 to {FULL_ERROR:g} after the μ-law"
        pairs.append((colours(error, 0.0, FULL_ERROR), caption))
    yield from _row(pairs)


def toned(picture: FloatImage) -> FloatImage:
    """Linear light (H, W, 3) after the mu-law, as pictures are compared."""
    return np.asarray(mu_law(np.clip(picture, 0.0, 1.0)), np.float32)


def _row(pictures: Sequence[tuple[FloatImage, str]]) -> Iterator[str]:
    yield '<div class="scroll"><div class="row">'
    for picture, caption in pictures:
        height, width = picture.shape[:2]
        tag = image(picture, caption, 92, f'width="{width}" height="{height}"')
        yield f"<figure>{tag}<figcaption>{escape(caption)}</figcaption></figure>"
    yield "</div></div>"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield '<div class="scroll"><table>'
    for number, row in enumerate(rows):
        kind = "td" if number else "th"
        yield "<tr>" + "".join(f"<{kind}>{escape(cell)}</{kind}>" for cell in row) + "</tr>"
    yield "</table></div>"
