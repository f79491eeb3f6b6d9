"""A JPEG with a gain map, as the Ultra HDR format and ISO 21496-1 lay it out.

The file is a common JPEG, followed by a second one with the map. Segments in front of the pixels
say so three times, since readers look in different places: a directory in XMP with the parameters
in the XMP of the map (Ultra HDR image format 1.1), a directory of pictures (MPF, CIPA DC-007), and
the parameters in binary (ISO 21496-1, annex C).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from fractions import Fraction

from dfghdr_cli.core.tonemapping.hdr_display import GainMap

_SOI = b"\xff\xd8"
_APP1, _APP2 = 0xE1, 0xE2
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_ISO = b"urn:iso:std:iso:ts:21496:-1\0"
_ISO_VERSION = struct.pack(">HH", 0, 0)  # the least a reader must know, and what the writer knew
_BASE_COLOR_SPACE = 0x40  # the gains are meant in the primaries of the base
_DENOMINATOR = 1_000_000

_PACKET = """\
<x:xmpmeta xmlns:x="adobe:ns:meta/">\
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\
<rdf:Description rdf:about="" xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" \
hdrgm:Version="1.0" {rest}</rdf:RDF></x:xmpmeta>"""
_DIRECTORY = """\
xmlns:Container="http://ns.google.com/photos/1.0/container/" \
xmlns:Item="http://ns.google.com/photos/1.0/container/item/">\
<Container:Directory><rdf:Seq>\
<rdf:li rdf:parseType="Resource">\
<Container:Item Item:Semantic="Primary" Item:Mime="image/jpeg"/></rdf:li>\
<rdf:li rdf:parseType="Resource">\
<Container:Item Item:Semantic="GainMap" Item:Mime="image/jpeg" Item:Length="{length}"/></rdf:li>\
</rdf:Seq></Container:Directory></rdf:Description>"""
_PARAMETERS = """\
hdrgm:GainMapMin="{low:.6f}" hdrgm:GainMapMax="{high:.6f}" hdrgm:Gamma="1" \
hdrgm:OffsetSDR="{offset:.6f}" hdrgm:OffsetHDR="{offset:.6f}" \
hdrgm:HDRCapacityMin="0" hdrgm:HDRCapacityMax="{headroom:.6f}" \
hdrgm:BaseRenditionIsHDR="False"/>"""


def join(base: bytes, map_image: bytes, gain: GainMap) -> bytes:
    """Put an SDR picture and its gain map into one file.

    Args:
        base: the SDR picture, a JPEG.
        map_image: `gain.values`, a JPEG.
        gain: the map's parameters.

    Returns:
        The file.
    """
    parameters = _PARAMETERS.format(
        low=gain.low, high=gain.high, offset=gain.offset, headroom=gain.headroom
    )
    second = _insert(
        map_image,
        [
            _segment(_APP1, _XMP + _PACKET.format(rest=parameters).encode()),
            _segment(_APP2, _ISO + iso_parameters(gain)),
        ],
    )
    directory = _DIRECTORY.format(length=len(second))
    segments = [
        _segment(_APP1, _XMP + _PACKET.format(rest=directory).encode()),
        _segment(_APP2, _ISO + _ISO_VERSION),
    ]
    # The place of the second picture counts from where the directory of pictures begins.
    empty = _insert(base, [*segments, _picture_directory(0, 0, 0)])
    start = empty.index(b"MPF\0") + 4
    pictures = _picture_directory(len(empty), len(second), len(empty) - start)
    return _insert(base, [*segments, pictures]) + second


def iso_parameters(gain: GainMap) -> bytes:
    """The parameters of a gain map in binary (ISO 21496-1, C.2.2): one set for all channels.

    Args:
        gain: the map's parameters.
    """
    fields: Iterable[float] = (0.0, gain.headroom)
    channel: Iterable[float] = (gain.low, gain.high, 1.0, gain.offset, gain.offset)
    body = b"".join(_rational(value) for value in (*fields, *channel))
    return _ISO_VERSION + bytes([_BASE_COLOR_SPACE]) + body


def _rational(value: float) -> bytes:
    exact = Fraction(round(value * _DENOMINATOR), _DENOMINATOR)
    return struct.pack(">iI", exact.numerator, exact.denominator)


def _picture_directory(first: int, second: int, place: int) -> bytes:
    """The APP2 segment of a file of two pictures (CIPA DC-007, 5.2): their lengths, and where."""
    entries = struct.pack(">IIIHH", 0x030000, first, 0, 0, 0)
    entries += struct.pack(">IIIHH", 0, second, place, 0, 0)
    head = b"MM\0*" + struct.pack(">I", 8)
    fields = struct.pack(">H", 3)
    fields += struct.pack(">HHI4s", 0xB000, 7, 4, b"0100")
    fields += struct.pack(">HHII", 0xB001, 4, 1, 2)
    fields += struct.pack(">HHII", 0xB002, 7, len(entries), len(head) + 2 + 3 * 12 + 4)
    return _segment(_APP2, b"MPF\0" + head + fields + struct.pack(">I", 0) + entries)


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _insert(jpeg: bytes, segments: list[bytes]) -> bytes:
    """A JPEG with segments behind its own application segments (JFIF, EXIF, ICC)."""
    place = len(_SOI)
    while jpeg[place] == 0xFF and 0xE0 <= jpeg[place + 1] <= 0xEF:
        place += 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big")
    return jpeg[:place] + b"".join(segments) + jpeg[place:]
