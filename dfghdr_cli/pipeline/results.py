"""Where the results of a merge go, checked before any work and without PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from dfghdr_cli.atomic import ensure_different, ensure_no_input, ensure_writable
from dfghdr_cli.choices import DisplayFormat
from dfghdr_cli.errors import OutputNameError
from dfghdr_cli.io.names import (
    DISPLAY_SUFFIXES,
    RADIANCE_SUFFIXES,
    display_format,
    is_display_name,
    is_radiance_name,
)


def preview_of(outputs: Sequence[Path]) -> Path | None:
    """out.exr's preview is out.preview.jpg; pictures for screens need none."""
    linear = [path for path in outputs if is_radiance_name(path)]
    return linear[0].with_suffix(".preview.jpg") if linear else None


def results_of(
    outputs: Sequence[Path], *, preview: bool, beside: Iterable[Path | None] = ()
) -> tuple[Path, ...]:
    """All the files that a merge leaves, the results first."""
    shown = preview_of(outputs) if preview else None
    return (*outputs, *(path for path in (shown, *beside) if path is not None))


def check_name(path: Path, format: DisplayFormat | None) -> None:
    """Refuse a result whose name says of no format, or of another one, what it is.

    Args:
        path: the result.
        format: of pictures for screens; None goes by the name.

    Raises:
        OutputNameError: it does.
    """
    if is_radiance_name(path):
        return
    if not is_display_name(path):
        known = ", ".join((*RADIANCE_SUFFIXES, *DISPLAY_SUFFIXES))
        raise OutputNameError(f"{path} names no format; end it in one of {known}.")
    display_format(path, format)


def missing_of(
    results: Sequence[Path],
    *,
    overwrite: bool,
    skip_existing: bool,
    inputs: Callable[[], Iterable[Path]],
) -> tuple[Path, ...]:
    """Results without those that are there already and to be kept.

    Args:
        results: all of them.
        overwrite: whether existing files may be replaced.
        skip_existing: whether they are kept.
        inputs: what must not be replaced; asked for only if something may be.

    Raises:
        OutputExistsError: one is there already and neither to be kept nor to be replaced.
        OutputError: one cannot be written, or would replace an input.
    """
    ensure_different(results)
    if overwrite:
        ensure_no_input(results, inputs())
    missing = []
    for path in results:
        if skip_existing and path.is_file():
            continue
        ensure_writable(path, overwrite)
        missing.append(path)
    return tuple(missing)
