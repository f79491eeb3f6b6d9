"""HTML pages that load nothing from anywhere: their pictures are inside."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from html import escape
from importlib.resources import files
from pathlib import Path

import numpy as np

from dfghdr_cli.core.types import FloatImage
from dfghdr_cli.io.display import encode_display


def page(package: str, template: str, title: str, body: Iterable[str]) -> str:
    """A page.

    Args:
        package: where the template is.
        template: its file, with @title@ and @body@ in it.
        title: plain text.
        body: HTML, in pieces.
    """
    text = files(package).joinpath(template).read_text(encoding="utf-8")
    before, rest = text.split("@title@", 1)
    between, after = rest.split("@body@", 1)
    return "".join((before, escape(title), between, "\n".join(body), after))


def image(picture: FloatImage, says: str, quality: int, attributes: str = "") -> str:
    """An <img> that holds its picture as a JPEG.

    Args:
        picture: (H, W, 3) in [0, 1], encoded for sRGB.
        says: plain text for who does not see it.
        quality: of the JPEG, 1 to 100.
        attributes: further ones of the tag.
    """
    data = encode_display(Path("picture.jpg"), np.asarray(picture, np.float32), quality=quality)
    source = base64.b64encode(data).decode()
    more = f" {attributes}" if attributes else ""
    return f'<img src="data:image/jpeg;base64,{source}" alt="{escape(says)}"{more}>'
