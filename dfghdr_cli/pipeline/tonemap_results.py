"""Where tone-mapped pictures go, and what is told of them; loads nothing heavy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfghdr_cli import __version__
from dfghdr_cli.atomic import ensure_no_input, ensure_writable
from dfghdr_cli.choices import DisplayFormat
from dfghdr_cli.errors import DfghdrError, InputError, OutputError, OutputNameError
from dfghdr_cli.io.names import HDR_FORMATS, display_format

_SUFFIXES: Mapping[str, str] = {"ultrahdr": ".jpg", "tiff": ".tif"}
"""What a format's files end in, where that is not the format's name."""


@dataclass(frozen=True, slots=True)
class TonemapReport:
    """What was done, as `--json` prints it.

    Attributes:
        outputs: the files that are there now, in the order of the paths, the sheet last.
        files: of each path that was read: what it became, and how.
        kept: those of the outputs that were there before.
        failures: path and error of each that could not be used, if there were several paths.
        warnings: sentences for the user.
    """

    outputs: tuple[Path, ...]
    files: tuple[dict[str, Any], ...]
    kept: tuple[Path, ...]
    failures: tuple[tuple[Path, DfghdrError], ...]
    warnings: tuple[str, ...]

    def to_json(self) -> str:
        """One JSON object on one line."""
        return json.dumps(
            {
                "outputs": [str(path) for path in self.outputs],
                "version": __version__,
                "kept": [str(path) for path in self.kept],
                "files": self.files,
                "failed": [
                    {"file": str(path), "error": str(error), "exit_code": error.exit_code}
                    for path, error in self.failures
                ],
                "warnings": self.warnings,
            }
        )


def pictures_of(
    paths: Sequence[Path], output: Path | None, format: DisplayFormat | None
) -> list[Path | None]:
    """What becomes of each file.

    Args:
        paths: linear files.
        output: a file for one path, an existing folder for any number, or None.
        format: of the results; None goes by the name, and is "jpg" in a folder.

    Raises:
        OutputError: several are to become one file.
        InputError: two have the same name.
    """
    if output is None:
        return [None] * len(paths)
    folder = False
    with suppress(OSError):  # which is said when it is checked
        folder = output.is_dir()
    if not folder:
        if len(paths) > 1:
            raise OutputError(
                f"{output} is not a folder, which {len(paths)} pictures need; "
                "create one, or give one picture only."
            )
        return [output]
    suffix = _SUFFIXES.get(format or "jpg", f".{format or 'jpg'}")
    results: list[Path | None] = []
    origin: dict[Path, Path] = {}
    for path in paths:
        result = output / f"{path.stem}{suffix}"
        if result in origin:
            raise InputError(
                f"{origin[result]} and {path} would both become {result}; "
                "give them in two calls, with two folders."
            )
        origin[result] = path
        results.append(result)
    return results


def ensure_pictures(
    paths: Sequence[Path],
    results: Sequence[Path | None],
    sheet: Path | None,
    *,
    format: DisplayFormat | None,
    overwrite: bool,
    skip_existing: bool,
) -> list[Path]:
    """Check, before any work, that pictures can be written.

    Args:
        paths: linear files.
        results: see `pictures_of`.
        sheet: a file for all operators side by side, or None.
        format: of the results.
        overwrite: whether existing files may be replaced.
        skip_existing: whether they stay.

    Returns:
        Those that have to be made.

    Raises:
        OutputExistsError: a result is there already.
        OutputError: a result cannot be written, or has a name that suits no format.
    """
    if sheet is not None and display_format(sheet) in HDR_FORMATS:
        raise OutputNameError(f"{sheet} is for HDR screens; end a sheet in .jpg or .png.")
    wanted = [result for result in [*results, sheet] if result is not None]
    ensure_no_input(wanted, paths)
    left = [path for path in wanted if not (skip_existing and path.is_file())]
    for path in left:
        display_format(path, format if path is not sheet else None)
        ensure_writable(path, overwrite)
    return left
