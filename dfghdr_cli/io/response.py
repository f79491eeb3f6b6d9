"""A camera's response as a small text file: a table from code to relative exposure.

Comma-separated, with a line of headings, rising in `code`:

    code,red,green,blue
    0,0,0,0
    0.25,0.0431,0.0431,0.0431
    ...
    1,1,1,1

Codes may be written from 0 to 1 or from 0 to the file's largest code, such as 255; exposures are
relative, and are divided by the largest. One column `exposure` may stand in for the three channels.
Between rows the exposure is interpolated linearly. Lines that start with # are comments.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dfghdr_cli.core.calibration.response import Response
from dfghdr_cli.errors import InputError

_CHANNELS = ("red", "green", "blue")
_ALIKE = ("exposure",)
_ROWS = 1025
_LARGEST_FILE = 10_000_000
"""Bytes; a table of 65536 codes has a quarter of that."""
_HINT = "give a table with the headings code,red,green,blue, as --save-response writes it"


def encode_response(response: Response) -> bytes:
    """A response as a file for `read_response`: 1025 rows, nine digits.

    Args:
        response: what to write.

    Returns:
        The file's bytes.
    """
    codes = np.linspace(0.0, 1.0, _ROWS)
    exposures = response.evaluate(np.repeat(codes[:, None], 3, axis=1))
    text = io.StringIO()
    text.write(f"# response of a camera, by dfghdr: {response.name}\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("code", *_CHANNELS))
    for code, row in zip(codes, exposures, strict=True):
        writer.writerow([f"{value:.9g}" for value in (code, *row)])
    return text.getvalue().encode()


def read_response(path: Path) -> Response:
    """Read a response that `encode_response` or somebody else wrote.

    Args:
        path: the file, as the head of this module describes it.

    Returns:
        The response, named "file NAME"; `linear` has three columns where the channels differ.

    Raises:
        InputError: it cannot be read, is no such table, or does not rise.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise InputError(f"{path} is too large for a response; {_HINT}.")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(
            f"{path} cannot be read as a response ({error.strerror}); check its name."
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file, so it is no response; {_HINT}.") from error
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    try:
        rows = list(csv.reader(lines, skipinitialspace=True))
    except csv.Error as error:  # such as a quote that is never closed
        raise InputError(f"{path} is no table ({error}); {_HINT}.") from error
    heading = tuple(name.strip().lower() for name in rows[0]) if rows else ()
    if heading not in (("code", *_CHANNELS), ("code", *_ALIKE)):
        raise InputError(f"{path} does not hold a response; {_HINT}.")
    table = np.array([_numbers(path, row, len(heading)) for row in rows[1:]], np.float64)
    return _checked(path, table)


def _numbers(path: Path, row: Sequence[str], count: int) -> list[float]:
    try:
        values = [float(cell) for cell in row]
    except ValueError:
        values = []
    if len(values) != count or not all(math.isfinite(value) for value in values):
        raise InputError(
            f"{path} has a row {','.join(row)[:60]!r} where {count} numbers should be; mend it."
        )
    return values


def _checked(path: Path, table: np.ndarray) -> Response:
    if len(table) < 2:
        raise InputError(f"{path} holds {len(table)} rows of a response; two are the least.")
    codes, exposures = table[:, 0], table[:, 1:]
    if codes[0] != 0 or (np.diff(codes) <= 0).any():
        raise InputError(f"{path}: the codes of a response must rise from 0; sort its rows.")
    falls = (np.diff(exposures, axis=0) < 0).any() or (exposures[0] < 0).any()
    if falls or (exposures[-1] <= exposures[0]).any():
        raise InputError(f"{path}: exposures must rise with the code and not be negative; mend it.")
    linear = exposures / exposures[-1]
    if exposures.shape[1] == 1 or (linear == linear[:, :1]).all():
        linear = linear[:, 0]
    return Response(f"file {path.name}", codes / codes[-1], np.ascontiguousarray(linear))
