"""Table 1 of the paper with measured rows: as Markdown, LaTeX, HTML and a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from dfghdr_cli.core.metrics.fidelity import bootstrap_interval
from dfghdr_cli.core.types import FloatImage
from dfghdr_cli.io.plots import Line, text_table
from dfghdr_cli.pipeline.evaluate.published import LATER, PUBLISHED, SOURCES, Published
from dfghdr_cli.pipeline.evaluate.results import Evaluation

KEYS = ("psnr_mu", "psnr_l", "hdr_vdp2")
"""The columns of the paper's table, all in dB or of 100, higher is better."""
HEADINGS = ("PSNR-μ", "PSNR-ℓ", "HDR-VDP-2")
PUBLISHED_HEADING = "Published, on Kalantari's test set; not measured here"
LATER_HEADING = "Published since, likewise"
_LATEX = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "μ": r"$\mu$",
    "ℓ": r"$\ell$",
    "–": "--",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One method of the table.

    Attributes:
        method: its name.
        values: one for each of `KEYS`; None where there is none.
        intervals: 95 % of the mean over the scenes, by the bootstrap; None likewise, with one
            scene, and for published figures.
        mark: of a published row, the number of its source; 0 for a measured one.
    """

    method: str
    values: tuple[float | None, ...]
    intervals: tuple[tuple[float, float] | None, ...]
    mark: int = 0

    def cell(self, column: int) -> str:
        """A value with its interval, or a dash."""
        value, interval = self.values[column], self.intervals[column]
        if value is None:
            return "–"
        return f"{value:.2f}" + (f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else "")


@dataclass(frozen=True, slots=True)
class Table:
    """The rows, in groups.

    Attributes:
        groups: headings and their rows; the last one is what was measured.
        sources: of the published rows; mark k is the k-th, from 1.
    """

    groups: tuple[tuple[str, tuple[Row, ...]], ...]
    sources: tuple[str, ...]

    def best(self) -> list[set[int]]:
        """Which columns of each measured row are the best measured ones; none of a lone row."""
        rows = self.groups[-1][1]
        marks: list[set[int]] = [set() for _ in rows]
        for column in range(len(KEYS)):
            known = [value for row in rows if (value := row.values[column]) is not None]
            for number, row in enumerate(rows):
                if len(known) > 1 and row.values[column] == max(known):
                    marks[number].add(column)
        return marks

    def _lines(self) -> Iterator[tuple[str, Row | None, set[int]]]:
        """Headings without a row, and rows with their best columns."""
        best = self.best()
        for number, (heading, rows) in enumerate(self.groups):
            yield heading, None, set()
            measured = number == len(self.groups) - 1
            for k, row in enumerate(rows):
                yield row.method, row, best[k] if measured else set()

    def markdown(self) -> str:
        """A table, and the sources below it."""
        lines = [f"| | {' | '.join(HEADINGS)} |", "|---|" + "---|" * len(HEADINGS)]
        for name, row, best in self._lines():
            if row is None:
                lines.append(f"| *{_markdown(name)}* |" + " |" * len(HEADINGS))
                continue
            mark = f" ({row.mark})" if row.mark else ""
            cells = [row.cell(k) for k in range(len(KEYS))]
            cells = [f"**{cell}**" if k in best else cell for k, cell in enumerate(cells)]
            lines.append(f"| {_markdown(name)}{mark} | {' | '.join(cells)} |")
        sources = [f"({k}) {_markdown(text)}" for k, text in enumerate(self.sources, start=1)]
        return "\n".join([*lines, "", *_joined(sources)]) + "\n"

    def latex(self) -> str:
        """A table for the package booktabs."""
        lines = [
            r"% \usepackage{booktabs}",
            rf"\begin{{tabular}}{{l{'r' * len(KEYS)}}}",
            r"\toprule",
            rf"Method & {' & '.join(map(_latex, HEADINGS))} \\",
        ]
        for name, row, best in self._lines():
            if row is None:
                lines.append(r"\midrule")
                lines.append(rf"\multicolumn{{{len(KEYS) + 1}}}{{l}}{{\emph{{{_latex(name)}}}}} \\")
                continue
            mark = f"$^{{{row.mark}}}$" if row.mark else ""
            cells = [_latex(row.cell(k)) for k in range(len(KEYS))]
            cells = [rf"\textbf{{{cell}}}" if k in best else cell for k, cell in enumerate(cells)]
            lines.append(rf"{_latex(name)}{mark} & {' & '.join(cells)} \\")
        lines += [r"\bottomrule", r"\end{tabular}"]
        lines += [f"% {k}: {text}" for k, text in enumerate(self.sources, start=1)]
        return "\n".join(lines) + "\n"

    def html(self) -> Iterator[str]:
        """A table element, and the sources below it."""
        yield '<div class="scroll"><table><tr><th></th>'
        yield "".join(f"<th>{escape(heading)}</th>" for heading in HEADINGS) + "</tr>"
        for name, row, best in self._lines():
            if row is None:
                yield f'<tr><th colspan="{len(HEADINGS) + 1}">{escape(name)}</th></tr>'
                continue
            mark = f"<sup>{row.mark}</sup>" if row.mark else ""
            cells = [escape(row.cell(k)) for k in range(len(KEYS))]
            cells = [f"<b>{cell}</b>" if k in best else cell for k, cell in enumerate(cells)]
            yield f"<tr><td>{escape(name)}{mark}</td>"
            yield "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
        yield "</table></div><p>"
        yield "<br>".join(
            f"<sup>{k}</sup> {escape(text)}" for k, text in enumerate(self.sources, start=1)
        )
        yield "</p>"

    def picture(self) -> FloatImage:
        """(H, W, 3) float32 in [0, 1]."""
        lines = [Line(("", *HEADINGS))]
        for name, row, best in self._lines():
            if row is None:
                lines.append(Line((name,)))
                continue
            cells = (name, *(row.cell(k) for k in range(len(KEYS))))
            lines.append(Line(cells, frozenset(k + 1 for k in best), bool(row.mark)))
        return text_table(lines)


def make_table(evaluation: Evaluation, labels: Mapping[str, str]) -> Table:
    """The paper's rows, those published since, and what was measured.

    Args:
        evaluation: the figures.
        labels: what to call a method in the table, by its name; others keep their name.
    """
    sources = list(dict.fromkeys(row.source for row in (*PUBLISHED, *LATER)))
    count = len(evaluation.scenes)
    measured = tuple(
        _measured(evaluation, method.name, labels.get(method.name, method.name))
        for method in evaluation.methods
    )
    heading = f"Measured, {count} scene{'s' if count > 1 else ''}"
    if count > 1:
        heading += ", with 95 % intervals of the mean"
    groups = (
        (PUBLISHED_HEADING, tuple(_published(row, sources) for row in PUBLISHED)),
        (LATER_HEADING, tuple(_published(row, sources) for row in LATER)),
        (heading, measured),
    )
    return Table(groups, tuple(SOURCES[source] for source in sources))


def _published(row: Published, sources: Sequence[str]) -> Row:
    values = (row.psnr_mu, row.psnr_l, row.hdr_vdp2)
    return Row(row.method, values, (None,) * len(KEYS), sources.index(row.source) + 1)


def _measured(evaluation: Evaluation, name: str, label: str) -> Row:
    values, intervals = [], []
    for key in KEYS:
        found = [value for row in evaluation.rows[name] if (value := row[key]) is not None]
        values.append(evaluation.mean(name, key))
        intervals.append(bootstrap_interval(found) if len(found) > 1 else None)
    return Row(label, tuple(values), tuple(intervals))


def _markdown(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _joined(lines: Sequence[str]) -> list[str]:
    """Lines that Markdown keeps apart."""
    return [f"{line}  " for line in lines[:-1]] + list(lines[-1:])
