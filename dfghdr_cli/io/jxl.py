"""JPEG XL headers: read, and written anew for HDR screens, which the encoder cannot say itself.

imagecodecs hands linear light to libjxl, where 1.0 is 255 cd/m2 and brighter pixels are kept, and
libjxl stores the colours absolutely. Only the header says that this is a picture for SDR screens.
It is written anew here: primaries of BT.2100, the PQ curve, and 10000 cd/m2 as the brightest white.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import cast

from dfghdr_cli.core.colour import P3, REC709, REC2020, Chromaticities
from dfghdr_cli.core.tonemapping.hdr_display import PQ_PEAK

DEFAULT_WHITE = 255.0
"""cd/m2 of 1.0 in what libjxl is given (ISO/IEC 18181-1, D.3.4: the default intensity target)."""

_SIGNATURE = b"\xff\x0a"
_RGB, _D65, _BT2100, _PQ, _RELATIVE = 0, 1, 9, 16, 1  # ISO/IEC 18181-1, tables of D.3.5


_ENUM = (0, 0), (1, 0), (2, 4), (18, 6)
"""How a number of a table is stored (ISO/IEC 18181-1, B.2.6)."""


_RATIOS = (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1)
"""Of width to height, by their numbers from 1 on."""


class _Reader:
    """Bits of a codestream, the lowest of each byte first (ISO/IEC 18181-1, B.2)."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0  # in bits

    def bits(self, count: int) -> int:
        value = 0
        for index in range(count):
            byte, bit = divmod(self.place + index, 8)
            value |= (self.data[byte] >> bit & 1) << index
        self.place += count
        return value

    def choice(self, *options: tuple[int, int]) -> int:
        """One of four pairs (offset, bits): the offset plus a number of that many bits."""
        offset, count = options[self.bits(2)]
        return offset + self.bits(count)


@dataclass(frozen=True, slots=True)
class JxlColor:
    """Which colours a picture has.

    Attributes:
        primaries: and white.
        transfer: characteristics by their number in ITU-T H.273, table 3; 0 for a power.
        gamma: the power of light that codes are; None where `transfer` says more.
        has_profile: whether an ICC profile says it instead.
    """

    primaries: Chromaticities = REC709
    transfer: int = 13
    gamma: float | None = None
    has_profile: bool = False


def read_color(codestream: bytes) -> JxlColor:
    """Read the colour encoding of a codestream (ISO/IEC 18181-1, D.2 and D.3).

    Args:
        codestream: its first bytes.

    Raises:
        ValueError: this is no codestream, or its header has parts that photographs do not have.
    """
    if not codestream.startswith(_SIGNATURE):
        raise ValueError("no codestream of JPEG XL")
    reader = _Reader(codestream[len(_SIGNATURE) :])
    try:
        _read_size(reader)
        if reader.bits(1):
            return JxlColor()
        if reader.bits(1):
            reader.bits(3)  # the orientation, which the decoder applies
            if reader.bits(1):
                _read_size(reader)
            if reader.bits(2):
                raise ValueError("a preview or an animation")
        _read_depth(reader)
        reader.bits(1)
        for _ in range(reader.choice((0, 0), (1, 0), (2, 4), (1, 12))):
            _read_extra_channel(reader)
        reader.bits(1)
        return _read_color_encoding(reader)
    except IndexError as error:
        raise ValueError("the header is cut off") from error


def read_size(codestream: bytes) -> tuple[int, int]:
    """Width and height of a codestream, as they are stored.

    Raises:
        ValueError: this is no codestream, or its header is cut off.
    """
    if not codestream.startswith(_SIGNATURE):
        raise ValueError("no codestream of JPEG XL")
    try:
        return _read_size(_Reader(codestream[len(_SIGNATURE) :]))
    except IndexError as error:
        raise ValueError("the header is cut off") from error


def _read_extra_channel(reader: _Reader) -> None:
    if reader.bits(1):
        return
    if reader.choice(*_ENUM):  # 0 is alpha
        raise ValueError("another channel than alpha")
    _read_depth(reader)
    reader.choice((0, 0), (3, 0), (4, 0), (1, 3))
    for _ in range(reader.choice((0, 0), (0, 4), (16, 5), (48, 10))):
        reader.bits(8)  # its name
    reader.bits(1)


def _read_color_encoding(reader: _Reader) -> JxlColor:
    if reader.bits(1):
        return JxlColor()
    if reader.bits(1):
        return JxlColor(has_profile=True)
    space = reader.choice(*_ENUM)
    if space not in (0, 1):
        raise ValueError("neither RGB nor grey")
    whites = {1: (0.3127, 0.3290), 10: (1 / 3, 1 / 3), 11: (0.314, 0.351)}
    known = {1: REC709[:6], 9: REC2020[:6], 11: P3[:6]}
    number = reader.choice(*_ENUM)
    white = tuple(_read_xy(reader)) if number == 2 else whites.get(number)
    colors: tuple[float, ...] | None = REC709[:6]
    if space == 0:
        number = reader.choice(*_ENUM)
        custom = number == 2
        colors = (
            tuple(v for _ in range(3) for v in _read_xy(reader)) if custom else known.get(number)
        )
    if white is None or colors is None:
        raise ValueError("unknown primaries")
    primaries = cast("Chromaticities", (*colors, *white))
    if reader.bits(1):
        power = reader.bits(24)
        return JxlColor(primaries, 0, 1e7 / power if power else None)
    return JxlColor(primaries, reader.choice(*_ENUM))


def _read_xy(reader: _Reader) -> tuple[float, float]:
    def one() -> float:
        value = reader.choice((0, 19), (524288, 19), (1048576, 20), (2097152, 21))
        return (-(value + 1) // 2 if value & 1 else value // 2) / 1e6

    return one(), one()


class _Writer:
    def __init__(self) -> None:
        self.value = 0
        self.place = 0

    def bits(self, value: int, count: int) -> None:
        self.value |= value << self.place
        self.place += count

    def enum(self, value: int) -> None:
        """A number of a table: 0, 1, 2 + 4 bits, or 18 + 6 bits (ISO/IEC 18181-1, B.2.6)."""
        if value < 2:
            self.bits(value, 2)
        elif value < 18:
            self.bits(2, 2)
            self.bits(value - 2, 4)
        else:
            self.bits(3, 2)
            self.bits(value - 18, 6)

    def half(self, value: float) -> None:
        self.bits(int.from_bytes(struct.pack("<e", value), "little"), 16)

    def tobytes(self) -> bytes:
        return self.value.to_bytes(-(-self.place // 8), "little")


def as_pq(codestream: bytes) -> bytes:
    """Say in the header of a codestream that it is a picture for HDR screens.

    Args:
        codestream: of libjxl: three channels of linear light, lossy, without an ICC profile.

    Returns:
        The same picture, tagged as 10 bits of PQ in the primaries of BT.2100.

    Raises:
        ValueError: the header is another one.
    """
    if not codestream.startswith(_SIGNATURE):
        raise ValueError("no codestream of JPEG XL")
    body = codestream[len(_SIGNATURE) :]
    reader = _Reader(body[:64])
    _read_size(reader)
    size_end = reader.place
    modular_16 = _read_metadata(reader)
    if reader.bits(1) != 1:
        raise ValueError("the header has matrices of its own")
    frames = body[-(-reader.place // 8) :]
    writer = _Writer()
    writer.bits(int.from_bytes(body[: size_end // 8 + 1], "little") & (1 << size_end) - 1, size_end)
    _write_metadata(writer, modular_16)
    writer.bits(1, 1)  # the default matrices
    return _SIGNATURE + writer.tobytes() + frames


def _read_size(reader: _Reader) -> tuple[int, int]:
    """SizeHeader (ISO/IEC 18181-1, D.2): width and height."""
    sizes = (1, 9), (1, 13), (1, 18), (1, 30)
    small = reader.bits(1)

    def side() -> int:
        return 8 * (1 + reader.bits(5)) if small else reader.choice(*sizes)

    height = side()
    ratio = reader.bits(3)
    if not ratio:
        return side(), height
    across, down = _RATIOS[ratio - 1]
    return height * across // down, height


def _read_depth(reader: _Reader) -> None:
    if reader.bits(1):
        reader.choice((32, 0), (16, 0), (24, 0), (1, 6))
        reader.bits(4)
    else:
        reader.choice((8, 0), (10, 0), (12, 0), (1, 6))


def _read_metadata(reader: _Reader) -> int:
    """ImageMetadata (D.3); returns whether 16 bits are enough for the buffers of its decoder."""
    default, extra = reader.bits(1), reader.bits(1)
    if default or extra:
        raise ValueError("the header is not that of linear light")
    _read_depth(reader)
    modular_16 = reader.bits(1)
    channels = reader.choice((0, 0), (1, 0), (2, 4), (1, 12))
    if channels or not reader.bits(1):
        raise ValueError("the picture has more channels or is not stored in XYB")
    if not reader.bits(1):  # the colours are not all as by default
        if reader.bits(1):
            raise ValueError("the picture has an ICC profile")
        space, white = reader.choice(*_ENUM), reader.choice(*_ENUM)
        primaries, gamma = reader.choice(*_ENUM), reader.bits(1)
        if (space, white, primaries, gamma) != (0, 1, 1, 0):
            raise ValueError("the picture is not in the primaries of sRGB")
        reader.choice(*_ENUM)
        reader.choice(*_ENUM)
    if reader.bits(2):
        raise ValueError("the header has extensions")
    return modular_16


def _write_metadata(writer: _Writer, modular_16: int) -> None:
    writer.bits(0, 1)  # not all as by default
    writer.bits(1, 1)  # fields follow that are rare:
    writer.bits(0, 3)  # upright,
    writer.bits(0, 3)  # and neither another size for display, nor a preview, nor an animation
    writer.bits(0, 1)  # integers
    writer.bits(1, 2)  # of 10 bits
    writer.bits(modular_16, 1)
    writer.bits(0, 2)  # no more channels
    writer.bits(1, 1)  # stored in XYB
    writer.bits(0, 2)  # the colours are not as by default, and have no ICC profile
    writer.enum(_RGB)
    writer.enum(_D65)
    writer.enum(_BT2100)
    writer.bits(0, 1)  # not a power
    writer.enum(_PQ)
    writer.enum(_RELATIVE)
    writer.bits(0, 1)  # the brightness is not as by default:
    writer.half(PQ_PEAK)
    writer.half(0.0)
    writer.bits(0, 1)
    writer.half(0.0)
    writer.bits(0, 2)  # no extensions


def in_container(codestream: bytes, exif: bytes) -> bytes:
    """Put a codestream into a file with EXIF data (ISO/IEC 18181-2).

    Args:
        codestream: the picture.
        exif: beginning with the byte order mark.
    """
    signature = _box(b"JXL ", b"\r\n\x87\n")
    kind = _box(b"ftyp", b"jxl \0\0\0\0jxl ")
    return signature + kind + _box(b"Exif", bytes(4) + exif) + _box(b"jxlc", codestream)


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content) + 8) + kind + content
