"""JPEG XL for HDR screens: what the encoder at hand cannot say is put into its output.

imagecodecs hands linear light to libjxl, where 1.0 is 255 cd/m2 and brighter pixels are kept, and
libjxl stores the colours absolutely. Only the header says that this is a picture for SDR screens.
It is written anew here: primaries of BT.2100, the PQ curve, and 10000 cd/m2 as the brightest white.
"""

from __future__ import annotations

import struct

from dfghdr_cli.core.hdr import PQ_PEAK

DEFAULT_WHITE = 255.0
"""cd/m2 of 1.0 in what libjxl is given (ISO/IEC 18181-1, D.3.4: the default intensity target)."""

_SIGNATURE = b"\xff\x0a"
_RGB, _D65, _BT2100, _PQ, _RELATIVE = 0, 1, 9, 16, 1  # ISO/IEC 18181-1, tables of D.3.5


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


def _read_size(reader: _Reader) -> None:
    """SizeHeader (ISO/IEC 18181-1, D.2)."""
    sizes = (1, 9), (1, 13), (1, 18), (1, 30)
    small = reader.bits(1)

    def side() -> None:
        if small:
            reader.bits(5)
        else:
            reader.choice(*sizes)

    side()
    if not reader.bits(3):  # else the width follows from the height
        side()


def _read_metadata(reader: _Reader) -> int:
    """ImageMetadata (D.3); returns whether 16 bits are enough for the buffers of its decoder."""
    default, extra = reader.bits(1), reader.bits(1)
    if default or extra:
        raise ValueError("the header is not that of linear light")
    is_float = reader.bits(1)
    if is_float:
        reader.choice((32, 0), (16, 0), (24, 0), (1, 6))
        reader.bits(4)
    else:
        reader.choice((8, 0), (10, 0), (12, 0), (1, 6))
    modular_16 = reader.bits(1)
    channels = reader.choice((0, 0), (1, 0), (2, 4), (1, 12))
    if channels or not reader.bits(1):
        raise ValueError("the picture has more channels or is not stored in XYB")
    if not reader.bits(1):  # the colours are not all as by default
        if reader.bits(1):
            raise ValueError("the picture has an ICC profile")
        names = (0, 0), (1, 0), (2, 4), (18, 6)
        space, white = reader.choice(*names), reader.choice(*names)
        primaries, gamma = reader.choice(*names), reader.bits(1)
        if (space, white, primaries, gamma) != (0, 1, 1, 0):
            raise ValueError("the picture is not in the primaries of sRGB")
        reader.choice(*names)
        reader.choice(*names)
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
