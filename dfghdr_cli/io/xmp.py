"""XMP: what programs write beside a photograph, in a file or inside it, as properties of Exif."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from xml.etree import ElementTree

from dfghdr_cli.io.source import first_line

log = logging.getLogger(__name__)

_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_EXIF_SPACES = ("{http://ns.adobe.com/exif/1.0/}", "{http://cipa.jp/exif/1.0/}")
_LARGEST = 1 << 24
"""Bytes of XMP that are read; what is larger is no such file."""
_SEARCHED = 1 << 20
"""Bytes at either end of a photograph within which its XMP packet is looked for."""
_PACKET = re.compile(rb"<(?P<name>\w+:xmpmeta|rdf:RDF)\b.*?</(?P=name)\s*>", re.DOTALL)


def xmp_beside(path: Path) -> Mapping[str, str]:
    """The Exif properties of the XMP file beside a photograph: `a.raw.xmp` or `a.xmp`.

    Args:
        path: the photograph.

    Returns:
        Name, without its namespace, to text; empty where there is no such file, or it cannot be
        read, with a warning in the log for the latter.
    """
    for name in (f"{path.name}.xmp", f"{path.name}.XMP", f"{path.stem}.xmp", f"{path.stem}.XMP"):
        sidecar = path.with_name(name)
        try:
            if not sidecar.is_file():
                continue
            with sidecar.open("rb") as file:
                data = file.read(_LARGEST + 1)
            if len(data) > _LARGEST:
                raise ValueError("it is too large")
            return _properties(data)
        except (OSError, ValueError) as error:
            log.warning("%s: its XMP data cannot be used (%s).", sidecar, first_line(error))
    return {}


def xmp_inside(path: Path) -> Mapping[str, str]:
    """The Exif properties of the XMP packet in a photograph, whatever its format.

    A packet is plain text in all of them, so that it can be found without knowing the format (the
    XMP specification, part 3, 2.3); it is looked for in the first and the last mebibyte.

    Args:
        path: the photograph.

    Returns:
        Name, without its namespace, to text; empty where there is none or it is damaged.
    """
    with path.open("rb") as file:
        start = file.read(_SEARCHED)
        size = file.seek(0, 2)
        file.seek(max(len(start), size - _SEARCHED))
        end = file.read()
    for part in (start, end):
        if found := _PACKET.search(part):
            try:
                return _properties(found[0])
            except ValueError as error:
                log.warning("%s: its XMP data cannot be used (%s).", path, first_line(error))
    return {}


def xmp_number(text: str | None) -> float | None:
    """A number as XMP writes it: "0.5", "1/400"; None where it is none."""
    numerator, slash, denominator = (text or "").partition("/")
    try:
        number = float(numerator) / (float(denominator) if slash else 1.0)
    except (ValueError, ArithmeticError):
        return None
    return number if isfinite(number) else None


def _properties(data: bytes) -> dict[str, str]:
    """The Exif properties that a packet states of the photograph itself.

    Raises:
        ValueError: it is no XML, or declares entities, which XMP has no use for.
    """
    if b"<!" in data.replace(b"<!--", b"").replace(b"<![CDATA[", b""):
        raise ValueError("it declares a document type")
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, LookupError) as error:
        raise ValueError(first_line(error)) from error
    found: dict[str, str] = {}
    for description in root.iterfind(f".//{_RDF}RDF/{_RDF}Description"):
        stated = dict(description.attrib)
        for child in description:
            item = child.find(f".//{_RDF}li")  # ISOSpeedRatings is a list
            stated.setdefault(child.tag, (child if item is None else item).text or "")
        for name, value in stated.items():
            for space in _EXIF_SPACES:
                if name.startswith(space):
                    found.setdefault(name.removeprefix(space), value)
    return found
