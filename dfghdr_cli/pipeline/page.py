"""HTML pages that load nothing from anywhere: their pictures are inside."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from html import escape
from importlib.resources import files
from pathlib import Path

import numpy as np

from dfghdr_cli.core.types import FloatImage
from dfghdr_cli.io.display import encode_display


def page(package: str, title: str, body: Iterable[str]) -> str:
    """A page.

    Args:
        package: whose report.css and, if there is one, report.js the page has beside what all pages
            have in common (page.html).
        title: plain text.
        body: HTML, in pieces.
    """
    own, script = files(package), ""
    if (file := own.joinpath("report.js")).is_file():
        script = file.read_text(encoding="utf-8")
    parts = {
        "policy": "; script-src 'unsafe-inline'" if script else "",
        "title": escape(title),
        "style": own.joinpath("report.css").read_text(encoding="utf-8"),
        "body": "\n".join(body),
        "script": f"<script>\n{script}</script>\n" if script else "",
    }
    frame = files(__package__ or "").joinpath("page.html").read_text(encoding="utf-8")
    return re.sub("@(policy|title|style|body|script)@", lambda found: parts[found[1]], frame)


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
