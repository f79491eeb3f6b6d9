"""The paper's table and figures with measured content, as a folder of files.

`dfghdr eval --paper-report FOLDER`: Table 1 (`pipeline.evaluate.paper_table`), Figure 2 (every
spatial code with every exposure code) and Figure 4 (parts of pictures by several methods beside
the truth), and what they came from.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dfghdr_cli.atomic import atomic_write_all, ensure_writable, make_folder
from dfghdr_cli.core.metrics.fidelity import TILE, psnr_mu
from dfghdr_cli.core.types import FloatImage
from dfghdr_cli.errors import InputError, ModelError
from dfghdr_cli.io.charts import BACKGROUND, Cell, reduced, table
from dfghdr_cli.io.display import encode_display
from dfghdr_cli.io.plots import INKS, encode_pdf
from dfghdr_cli.pipeline.evaluate.paper_table import Table, make_table
from dfghdr_cli.pipeline.evaluate.report import toned
from dfghdr_cli.pipeline.evaluate.results import Evaluation, Outcome
from dfghdr_cli.pipeline.explore.explorer import load_explorer
from dfghdr_cli.pipeline.explore.figures import grid_figure
from dfghdr_cli.pipeline.explore.grid import Photograph, ev_text, explore_grid
from dfghdr_cli.pipeline.page import image, page
from dfghdr_cli.pipeline.provenance import digest, model_facts, scene_digests, versions

log = logging.getLogger(__name__)

FILES = (
    *("report.html", "report.md", "report.pdf", "table1.tex", "table1.png"),
    *("figure2.png", "figure4.png", "figures.tex", "evaluation.json", "settings.json"),
)
"""What a folder of a report holds; figure2.png only where a model has a decoder."""
CROP = 192
"""Side of the parts that errors choose, and the least side at which parts are shown [pixels]."""
SHEET = 320
"""Longest side of whole pictures [pixels]."""
GRID = 256
"""Longest side of a picture in Figure 2 [pixels]."""
SCENES = 2
"""Shown in Figure 4, where no part is asked for: those whose worst tiles are worst."""
REGIONS = 2
"""Of a scene in Figure 4, likewise."""


@dataclass(frozen=True, slots=True)
class CropChoice:
    """A part of scenes to show.

    Attributes:
        scene: its name, or None for every scene.
        x: column of its first pixel.
        y: row of its first pixel.
        width: [pixels], at least 1.
        height: [pixels], at least 1.
    """

    scene: str | None
    x: int
    y: int
    width: int
    height: int


def parse_crop(text: str) -> CropChoice:
    """[SCENE:]X,Y,W,H as `--crop` takes it.

    Raises:
        ValueError: it is not that.
    """
    scene, colon, numbers = text.rpartition(":")
    try:
        x, y, width, height = (int(number) for number in numbers.split(","))
        if min(x, y) < 0 or min(width, height) < 1 or (colon and not scene):
            raise ValueError
    except ValueError:
        raise ValueError(f"{text!r} is not [SCENE:]X,Y,W,H, such as 001:640,200,160,120") from None
    return CropChoice(scene or None, x, y, width, height)


@dataclass(frozen=True, slots=True)
class _Scene:
    """What Figure 4 shows of one scene.

    Attributes:
        name: of the scene.
        worst: PSNR-mu of the worst tile of all methods [dB].
        chosen: whether parts of it were asked for.
        picture: (H, W, 3), its part of the figure.
    """

    name: str
    worst: float
    chosen: bool
    picture: FloatImage


class PaperReport:
    """Collects scenes while they are scored: its method `add` is `evaluate`'s `on_scene`."""

    def __init__(self, crops: Sequence[CropChoice] = ()) -> None:
        """Args: the parts that Figure 4 shows; none lets the errors choose them."""
        self._crops = list(crops)
        self._scenes: list[_Scene] = []
        self._paths: dict[str, Path] = {}
        self._photographs: list[Photograph] = []

    def add(self, outcome: Outcome) -> None:
        """Keep what the figures show of one scene: small pictures, not the scene."""
        if not self._photographs:
            self._photographs = _photographs(outcome)
        self._paths[outcome.facts.name] = outcome.facts.path
        regions, chosen = self._regions(outcome)
        if regions:
            tiles = [m.values["psnr_mu_tile"] for m in outcome.measured.values()]
            worst = min((value for value in tiles if value is not None), default=0.0)
            picture = _scene_figure(outcome, regions)
            self._scenes.append(_Scene(outcome.facts.name, worst, chosen, picture))

    def files(
        self,
        evaluation: Evaluation,
        models: Mapping[str, str] | None = None,
        *,
        networks: Mapping[str, Path] | None = None,
        settings: Mapping[str, Any] | None = None,
        device: str = "auto",
    ) -> dict[str, bytes]:
        """The report's files, by name.

        Args:
            evaluation: what `evaluate` returned.
            models: the name or folder of the model behind a method, by the method's name.
            networks: the file behind a method, likewise.
            settings: further ones to be told, ready for JSON.
            device: where Figure 2 is computed.

        Raises:
            InputError: no scene with truth was scored.
        """
        if not self._photographs:
            raise InputError(
                "The paper's table and figures compare with a truth, which none of these scenes "
                "has; leave out --paper-report, or add scenes with truth."
            )
        models, networks = models or {}, networks or {}
        facts = {name: model_facts(model) for name, model in models.items()}
        labels = {name: _label(name, fact) for name, fact in facts.items()}
        made = make_table(evaluation, labels)
        pictures: dict[str, FloatImage] = {"table1.png": made.picture()}
        notes = _notes(evaluation, labels)
        grid, note = self._grid(list(models.values()), device)
        notes.append(note)
        if grid is not None:
            pictures["figure2.png"] = grid
        if self._scenes:
            pictures["figure4.png"] = self._figure4()
        else:
            notes.append("There is no Figure 4: no scene has the part that was asked for.")
        told = {
            "versions": versions(),
            "settings": dict(settings or {}),
            "protocol": evaluation.protocol.name,
            "fit_scale": evaluation.fit_scale,
            "hdr_vdp2": evaluation.vdp_view,
            "methods": {
                method.name: {"kind": method.kind}
                | facts.get(method.name, {})
                | _file_facts(networks.get(method.name))
                for method in evaluation.methods
            },
            "scenes_sha256": scene_digests(self._paths),
        }
        source = json.dumps(told, indent=1, ensure_ascii=False) + "\n"
        files = {
            name: encode_display(Path(name), picture, bits=8) for name, picture in pictures.items()
        }
        files["report.html"] = _html(made, pictures, notes, source).encode(
            errors="backslashreplace"
        )
        files["report.md"] = _markdown(made, pictures, notes, source).encode(
            errors="backslashreplace"
        )
        files["report.pdf"] = encode_pdf(list(pictures.values()), "Tables and figures by dfghdr")
        files["table1.tex"] = made.latex().encode(errors="backslashreplace")
        files["figures.tex"] = _latex_figures(pictures).encode()
        files["evaluation.json"] = evaluation.to_json().encode(errors="backslashreplace")
        files["settings.json"] = source.encode(errors="backslashreplace")
        return files

    def _regions(self, outcome: Outcome) -> tuple[list[CropChoice], bool]:
        """The parts of a scene to show, and whether they were asked for."""
        height, width = outcome.scene.truth.shape[:2]
        if not self._crops:
            return _worst_regions(outcome), False
        regions = []
        for crop in self._crops:
            if crop.scene not in (None, outcome.facts.name):
                continue
            if crop.x + crop.width > width or crop.y + crop.height > height:
                log.warning(
                    "%s has %dx%d pixels: the part at %d,%d of %dx%d is left out.",
                    *(outcome.facts.name, width, height, crop.x, crop.y, crop.width, crop.height),
                )
                continue
            regions.append(crop)
        return regions, True

    def _figure4(self) -> FloatImage:
        """The scenes shown, one below the other."""
        shown = [scene for scene in self._scenes if scene.chosen]
        if not shown:
            shown = sorted(self._scenes, key=lambda scene: scene.worst)[:SCENES]
        return _stacked([scene.picture for scene in shown])

    def _grid(self, models: Sequence[str], device: str) -> tuple[FloatImage | None, str]:
        """Figure 2 of the first scene's frames, by the first model that has a decoder."""
        for model in (*models, None):
            try:
                explorer = load_explorer(model, device)
                explorer.require_decoder()
            except ModelError:
                continue
            grid = explore_grid(explorer, self._photographs)
            return grid_figure(grid), (
                f"Figure 2 is by {explorer.name} (weights {explorer.model.digest}), of the frames "
                f"of {next(iter(self._paths))}: rows share what is where, columns share how bright "
                "it is."
            )
        return None, "There is no Figure 2: no model with a decoder was found."


def check_folder(folder: Path, overwrite: bool = False) -> list[Path]:
    """Check, before any work, that a report can be written to a folder, which need not exist yet.

    Returns:
        The files that it will have.

    Raises:
        OutputExistsError: one of them exists and `overwrite` is false.
        OutputError: the folder cannot be made or written.
    """
    paths = [folder / name for name in FILES]
    if not folder.is_dir():
        ensure_writable(folder)  # a file in its place is never replaced
        return []
    for path in paths:
        ensure_writable(path, overwrite)
    return paths


def write_report(folder: Path, files: Mapping[str, bytes], overwrite: bool = False) -> None:
    """Write a report, all of its files or none.

    Raises:
        OutputExistsError: a file exists and `overwrite` is false.
        OutputError: one cannot be written.
    """
    make_folder(folder)
    with atomic_write_all([folder / name for name in files], overwrite) as opened:
        for file, content in zip(opened, files.values(), strict=True):
            file.write(content)


def _label(name: str, facts: Mapping[str, Any]) -> str:
    """A model's name, with that of the paper's ablation if it is one."""
    sizes = facts["hyper_parameters"]
    if sizes.get("eau") is False:
        return f"{name} (Model 1: without EAU)"
    if sizes.get("sau") is False:
        return f"{name} (Model 2: without SAU)"
    return name


def _file_facts(path: Path | None) -> dict[str, Any]:
    return {} if path is None else {"file": path.name, "sha256": digest([path])}


def _photographs(outcome: Outcome) -> list[Photograph]:
    frames = outcome.scene.bracket.frames
    middle = frames[outcome.scene.bracket.reference].exposure.stops
    return [
        Photograph(frame.name, reduced(frame.encoded(), GRID), frame.exposure.stops - middle)
        for frame in frames
    ]


def _worst_regions(outcome: Outcome) -> list[CropChoice]:
    """Around the worst tile of each method, worst method first, those that all but meet once."""
    height, width = outcome.scene.truth.shape[:2]
    side = min(CROP, height, width)
    found: list[CropChoice] = []
    order = sorted(outcome.measured.values(), key=lambda m: m.values["psnr_mu_tile"] or 0.0)
    for measured in order:
        row, column = (place + TILE // 2 - side // 2 for place in measured.worst_tile)
        y, x = min(max(0, row), height - side), min(max(0, column), width - side)
        if all(max(abs(x - other.x), abs(y - other.y)) > side // 2 for other in found):
            found.append(CropChoice(outcome.facts.name, x, y, side, side))
    return found[:REGIONS]


def _scene_figure(outcome: Outcome, regions: Sequence[CropChoice]) -> FloatImage:
    """A row of whole pictures, and below it one of each part as every method has it."""
    truth, bracket = outcome.scene.truth, outcome.scene.bracket
    whole = [
        Cell(_framed(frame.encoded(), regions), (f"{outcome.facts.name}, {ev_text(stop)}",))
        for frame, stop in zip(bracket.frames, bracket.stops, strict=True)
    ]
    whole.append(Cell(_framed(toned(truth), regions), ("truth, after the mu-law",)))
    reference = bracket.frames[bracket.reference].encoded()
    rows = []
    for number, region in enumerate(regions):
        cut = slice(region.y, region.y + region.height), slice(region.x, region.x + region.width)
        cells = [Cell(_enlarged(reference[cut], number), ("reference as shot",))]
        for name, picture in outcome.pictures.items():
            decibels = psnr_mu(picture[cut], truth[cut])
            cells.append(
                Cell(_enlarged(toned(picture[cut]), number), (name, f"{decibels:.2f} dB here"))
            )
        cells.append(Cell(_enlarged(toned(truth[cut]), number), ("truth",)))
        rows.append(cells)
    return _stacked([table([whole]), table(rows)])


def _stacked(pictures: Sequence[FloatImage]) -> FloatImage:
    """Pictures one below the other, set left."""
    width = max(picture.shape[1] for picture in pictures)
    padded = []
    for picture in pictures:
        row = np.empty((picture.shape[0], width, 3), np.float32)
        row[:] = BACKGROUND
        row[:, : picture.shape[1]] = picture
        padded.append(row)
    return np.concatenate(padded)


def _ink(number: int) -> FloatImage:
    return np.asarray(INKS[1:][number % (len(INKS) - 1)], np.float32) / np.float32(255)


def _framed(picture: FloatImage, regions: Sequence[CropChoice]) -> FloatImage:
    """A whole picture, reduced, with a rectangle around each part."""
    small = reduced(picture, SHEET).copy()
    factor = small.shape[1] / picture.shape[1]
    for number, region in enumerate(regions):
        ends = (region.x + region.width, region.y + region.height)
        left, top, right, bottom = (round(v * factor) for v in (region.x, region.y, *ends))
        colour = tuple(map(float, _ink(number)))
        cv2.rectangle(small, (left, top), (right - 1, bottom - 1), colour, 2)
    return small


def _enlarged(part: FloatImage, number: int) -> FloatImage:
    """A part, pixels repeated where it is small, in a frame of its colour."""
    times = max(1, round(CROP / max(part.shape[:2])))
    large = part.repeat(times, 0).repeat(times, 1)
    framed = np.empty((large.shape[0] + 6, large.shape[1] + 6, 3), np.float32)
    framed[:] = _ink(number)
    framed[3:-3, 3:-3] = np.clip(large, 0.0, 1.0)
    return framed


def _notes(evaluation: Evaluation, labels: Mapping[str, str]) -> list[str]:
    """What a reader has to know of the figures."""
    fitted = "each picture's scale fitted" if evaluation.fit_scale else "no scale fitted"
    notes = [
        f"Measured: {evaluation.protocol.text}; gamma 2.2; {fitted}. Published rows come from "
        "Kalantari and Ramamoorthi's 15 test scenes under their authors' protocols and stand "
        "beside the measured ones only where those scenes were scored."
    ]
    if evaluation.vdp_view:
        notes.append(f"HDR-VDP-2: {evaluation.vdp_view}.")
    else:
        notes.append("HDR-VDP-2 was not measured (--metrics basic).")
    for number, unit in ((1, "EAU"), (2, "SAU")):
        if not any(f"Model {number}" in label for label in labels.values()):
            notes.append(
                f"Model {number} was not among the models: train one by `dfghdr train --no-"
                f"{unit.lower()}` at the budget of the full one, and name it by --model."
            )
    for facts in evaluation.scenes:
        if facts.doubt:
            notes.append(f"In doubt: {facts.doubt}.")
    for excluded in evaluation.excluded:
        notes.append(f"{excluded.scene} counts for no method: {excluded.reason}")
    notes.append(
        "Figure 4 shows pictures after the mu-law, frames as they are; "
        "the figures below its parts are PSNR-mu of the part."
    )
    return notes


def _html(
    made: Table, pictures: Mapping[str, FloatImage], notes: Iterable[str], source: str
) -> str:
    title = "Tables and figures"
    body = [f"<h1>{title}</h1>", "<h2>Table 1</h2>", *made.html()]
    for name, heading in _FIGURES.items():
        if name in pictures:
            height, width = pictures[name].shape[:2]
            tag = image(pictures[name], heading, 95, f'width="{width}" height="{height}"')
            body += [f"<h2>{heading}</h2>", f'<div class="scroll">{tag}</div>']
    body += ["<h2>Notes</h2>", "<ul>", *(f"<li>{escape(note)}</li>" for note in notes), "</ul>"]
    body += [
        "<h2>Versions, settings, digests</h2>",
        f'<div class="scroll"><pre>{escape(source)}</pre></div>',
    ]
    return page("dfghdr_cli.pipeline.evaluate", title, body)


_FIGURES = {
    "figure2.png": "Figure 2: every spatial code with every exposure code",
    "figure4.png": "Figure 4: parts of scenes by several methods",
}


def _markdown(
    made: Table, pictures: Mapping[str, FloatImage], notes: Iterable[str], source: str
) -> str:
    parts = ["# Tables and figures", "## Table 1", made.markdown().rstrip()]
    for name, heading in _FIGURES.items():
        if name in pictures:
            parts += [f"## {heading}", f"![{heading}]({name})"]
    parts += ["## Notes", "\n".join(f"- {note.replace('<', '&lt;')}" for note in notes)]
    parts += ["## Versions, settings, digests", f"```json\n{source.rstrip()}\n```"]
    return "\n\n".join(parts) + "\n"


def _latex_figures(pictures: Mapping[str, FloatImage]) -> str:
    lines = [r"% \usepackage{graphicx}"]
    for name, heading in _FIGURES.items():
        if name in pictures:
            caption = heading.partition(": ")[2].capitalize()
            lines += [
                r"\begin{figure}",
                r"\centering",
                rf"\includegraphics[width=\linewidth]{{{name}}}",
                rf"\caption{{{caption}.}}",
                r"\end{figure}",
            ]
    return "\n".join(lines) + "\n"
