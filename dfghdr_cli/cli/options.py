"""Options that several sub-commands share, so that one name means one thing everywhere.

Used as annotations: `def merge(..., overwrite: options.Overwrite = False) -> None`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from dfghdr_cli import choices
from dfghdr_cli.cli import complete
from dfghdr_cli.cli.help import BATCHES, EXPOSURES, LIMITS, MERGE, RESULTS

Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite", rich_help_panel=RESULTS, help="Replace the output if it exists already."
    ),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json", rich_help_panel=RESULTS, help="Print a report as one JSON object on stdout."
    ),
]
JsonFile = Annotated[
    Path | None,
    typer.Option(
        "--json-file",
        metavar="FILE",
        rich_help_panel=RESULTS,
        show_default=False,
        help="Write that object into a file.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        rich_help_panel=MERGE,
        metavar="NAME|FOLDER",
        autocompletion=complete.models,
        help="A released model by name, or the folder of one.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        rich_help_panel=LIMITS,
        metavar="NAME",
        autocompletion=complete.devices,
        help="Where to compute: auto, cpu, cuda, cuda:N or mps.",
    ),
]
Resolution = Annotated[
    choices.Resolution,
    typer.Option(
        "--resolution",
        rich_help_panel=MERGE,
        help="Let a reduced picture decide for a large one, or run the network on every pixel.",
    ),
]
Ev = Annotated[
    str | None,
    typer.Option(
        "--ev",
        rich_help_panel=EXPOSURES,
        metavar="A,B,...",
        help="Exposures in stops, + is brighter, in the order of FILES: --ev -2,0,2.",
    ),
]


def _allow_pixels(text: str | None) -> str | None:
    if text is not None:
        from dfghdr_cli.limits import MAX_PIXELS_VARIABLE, parse_pixels

        try:
            os.environ[MAX_PIXELS_VARIABLE] = str(parse_pixels(text))
        except ValueError as error:
            raise typer.BadParameter(f"{error}.") from None
    return text


MaxPixels = Annotated[
    str | None,
    typer.Option(
        "--max-pixels",
        rich_help_panel=LIMITS,
        metavar="N",
        callback=_allow_pixels,
        help="Take pictures of up to so many pixels, such as 600M, however small their files.",
    ),
]
NoGps = Annotated[
    bool,
    typer.Option(
        "--no-gps", rich_help_panel=RESULTS, help="Leave out of the results where it was."
    ),
]
Strip = Annotated[
    bool,
    typer.Option(
        "--strip",
        rich_help_panel=RESULTS,
        help="Leave out of the results where it was, serial numbers, and whose it is.",
    ),
]
Dask = Annotated[
    str | None,
    typer.Option(
        "--dask",
        metavar="SCHEDULER|local:N",
        autocompletion=complete.schedulers,
        rich_help_panel=BATCHES,
        show_default=False,
        help="Work on a Dask cluster: a scheduler's address or file, or N processes here.",
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed",
        min=0,
        max=2**63 - 1,
        help="Start of every random choice; the same gives the same.",
    ),
]
