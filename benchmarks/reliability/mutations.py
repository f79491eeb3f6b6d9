"""Changes to files: blind ones, and ones that keep a format's frame and change what is in it."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Sequence
from random import Random

from seeds import png_chunk

EDGES = (
    *(0, 1, 2, 3, 4, 7, 8, 16, 127, 128, 255, 256, 4096, 32767, 32768, 60000, 65535, 65536),
    *(1 << 20, 1 << 24, 1 << 28, (1 << 31) - 1, 1 << 31, (1 << 32) - 2, (1 << 32) - 1),
)
WORDS = (
    *("", "0", "-0", "nan", "inf", "-inf", "1e308", "-1e308", "1e400", "1e-320", "0x10", "1_0"),
    *("9" * 20, "٣", "\0", "\x1b[31mred", "\ufeff", "\u202e", '"', "'", "#", "=1+1", "\r", "\t"),
    *("[]", "{}", "true", "..", "/", "~", "%s", "{0}", "null", "<b>", "a" * 300),
)
VALUES = (
    *(None, True, False, 0, -1, 1, 3, 7, 1.5, 1e308, 10**9, 2**63, 10**400, float("nan")),
    *("", "x", "dfgnet", "dfgmerge", "\x1b[31m", "<script>", [], [1], [8, 8, 8], [8, "a", 8]),
    *([[8], 8, 8], [-8, 8, 8], [0, 0, 0], {}, {"a": 1}, float("inf")),
)
Mutate = Callable[[bytes, Random], bytes]


def blind(data: bytes, rng: Random, others: Sequence[bytes] = ()) -> bytes:
    """One to five changes anywhere, half of them near the start."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        reach = min(len(out), rng.choice((40, 400, len(out), len(out)))) or 1
        at, count = rng.randrange(reach), rng.choice((1, 2, 4, 16, 200))
        match rng.randrange(9):
            case 0 if out:
                out[at % len(out)] ^= 1 << rng.randrange(8)
            case 1 if out:
                out[at % len(out)] = rng.randrange(256)
            case 2 | 3:
                form, most = rng.choice((("<H", 16), (">H", 16), ("<I", 32), (">I", 32)))
                number = struct.pack(form, rng.choice(EDGES) % (1 << most))
                out[at : at + len(number)] = number
            case 4:
                del out[max(1, rng.randrange(len(out) or 1)) :]
            case 5:
                out[at:at] = rng.randbytes(count)
            case 6:
                del out[at : at + count]
            case 7:
                out[at:at] = out[at : at + count] * rng.choice((1, 4))
            case 8 if others:
                other = rng.choice(others)
                out[at:] = other[rng.randrange(len(other) or 1) :]
    return bytes(out)


def png(data: bytes, rng: Random) -> bytes:
    """A change to chunks, with sound check sums; or to what a chunk has compressed."""
    chunks: list[tuple[bytes, bytes]] = []
    at = 8
    while at + 8 <= len(data):
        length, name = struct.unpack(">I4s", data[at : at + 8])
        chunks.append((name, data[at + 8 : at + 8 + length]))
        at += 12 + length
    place = rng.randrange(len(chunks))
    name, content = chunks[place]
    match rng.randrange(6):
        case 0 | 1:
            chunks[place] = (name, blind(content, rng))
        case 2:
            del chunks[place]
        case 3:
            chunks.insert(rng.randrange(len(chunks)), chunks[place])
        case 4:
            names = (
                b"tRNS",
                b"gAMA",
                b"cHRM",
                b"sRGB",
                b"PLTE",
                b"cICP",
                b"acTL",
                b"eXIf",
                b"iCCP",
            )
            new = rng.choice(names), rng.randbytes(rng.choice((0, 1, 4, 9, 32, 100)))
            chunks.insert(rng.randrange(1, len(chunks) + 1), new)
        case 5:
            chunks = [
                (name, zlib.compress(blind(zlib.decompress(content), rng)))
                if name == b"IDAT"
                else (name, content)
                for name, content in chunks
            ]
    return data[:8] + b"".join(png_chunk(*one) for one in chunks)


_POINTERS = (0x8769, 0x8825, 0xA005, 330)
TAGS = (
    *(254, 256, 257, 258, 259, 262, 266, 270, 271, 272, 273, 274, 277, 278, 279, 284, 305, 306),
    *(315, 317, 320, 322, 323, 324, 325, 330, 338, 339, 347, 700, 33421, 33422, 33432, 33434),
    *(33437, 34665, 34675, 34853, 34855, 36864, 36867, 36881, 37377, 37378, 37380, 37386, 37500),
    *(37510, 40091, 40961, 42033, 42034, 42035, 42036, 50706, 50714, 50717, 50721, 50728, 65000),
    *(0, 1, 2, 3, 4, 5, 6, 7, 29),
)


def tiff_entries(data: bytes) -> tuple[str, list[int]]:
    """The byte order of a TIFF that is no BigTIFF, and where its entries of 12 bytes lie."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2], "<")
    if struct.unpack(order + "H", data[2:4])[0] == 43:
        return order, []
    places, left, seen = [], [struct.unpack(order + "I", data[4:8])[0]], set()
    while left:
        start = left.pop()
        if not start or start in seen or start + 2 > len(data):
            continue
        seen.add(start)
        (count,) = struct.unpack(order + "H", data[start : start + 2])
        for number in range(count):
            at = start + 2 + 12 * number
            if at + 12 <= len(data):
                places.append(at)
                tag, _, _, value = struct.unpack(order + "HHII", data[at : at + 12])
                if tag in _POINTERS:
                    left.append(value)
        end = start + 2 + 12 * count
        if end + 4 <= len(data):
            left.append(struct.unpack(order + "I", data[end : end + 4])[0])
    return order, places


def tiff(data: bytes, rng: Random) -> bytes:
    """Other tags, types, counts and values in the entries of a TIFF, which EXIF data are, too."""
    order, places = tiff_entries(data)
    if not places:
        return blind(data, rng)
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.choice(places)
        tag, kind, count, value = struct.unpack(order + "HHII", out[at : at + 12])
        match rng.randrange(6):
            case 0:
                tag = rng.choice(TAGS)
            case 1:
                kind = rng.choice((*range(14), 16, 17, 18, 129, 65535))
            case 2:
                count = rng.choice((*EDGES, 5, count + 1, max(0, count - 1)))
            case 3:
                value = rng.choice((*EDGES, value ^ 1, len(data) - 1, at, rng.randrange(len(data))))
            case 4:
                for _ in range(rng.choice((1, 2, 8))):
                    place = value + rng.randrange(40)
                    if place < len(out):
                        out[place] = rng.choice((0, 255, 10, 27, 128, rng.randrange(256)))
            case 5:
                tag, kind = rng.choice(TAGS), rng.randrange(14)
                count, value = rng.choice((1, 2, 5, 40)), rng.randrange(len(data))
        out[at : at + 12] = struct.pack(order + "HHII", tag, kind, count, value)
    return bytes(out)


def jpeg(data: bytes, rng: Random) -> bytes:
    """A change within a segment, of which the length is mended; most often of its EXIF data."""
    segments, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        segments.append((at, data[at + 1], length))
        at += 2 + length
        if data[segments[-1][0] + 1] == 0xDA:
            break
    with_exif = [one for one in segments if data[one[0] + 4 : one[0] + 10] == b"Exif\0\0"]
    place, marker, length = rng.choice(with_exif * len(segments) + segments)
    content = data[place + 4 : place + 2 + length]
    match rng.randrange(6):
        case 0:
            new = b""
        case 1:
            marker = rng.choice((0xC0, 0xC1, 0xC2, 0xC4, 0xC9, 0xDB, 0xDD, 0xE1, 0xE2, 0xEE))
            new = bytes((0xFF, marker)) + data[place + 2 : place + 2 + length]
        case _:
            if content.startswith(b"Exif\0\0") and rng.random() < 0.9:
                content = content[:6] + tiff(content[6:], rng)
            else:
                content = blind(content, rng)
            content = content[:65000]
            new = bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content
    return data[:place] + new + data[place + 2 + length :]


def exr(data: bytes, rng: Random) -> bytes:
    """Another value, size or kind of an attribute of an OpenEXR header, or one less."""
    at, attributes = 8, []
    while at < len(data) and data[at]:
        kind = data.index(b"\0", at) + 1
        size = data.index(b"\0", kind) + 1
        (length,) = struct.unpack("<i", data[size : size + 4])
        attributes.append((at, kind, size, length))
        at = size + 4 + length
    out = bytearray(data)
    start, kind, size, length = rng.choice(attributes)
    match rng.randrange(6):
        case 0:
            out[size : size + 4] = struct.pack("<I", rng.choice(EDGES))
        case 1:
            out[kind + rng.randrange(max(1, size - kind - 1))] = rng.choice(b"abfiv2\0")
        case 2:
            del out[start : size + 4 + length]
        case 3:
            out[5] = rng.choice((0, 2, 4, 8, 16, 30))
        case _ if length >= 4:
            floats = (0x7F800000, 0x7FC00000, 0xFF800000, 0x80000000, 0x3F800000, 0x7F7FFFFF)
            place = size + 4 + 4 * rng.randrange(length // 4)
            out[place : place + 4] = struct.pack("<I", rng.choice((*EDGES, *floats)))
        case _:
            return blind(data, rng)
    return bytes(out)


def radiance(data: bytes, rng: Random) -> bytes:
    """Another line in the header of a Radiance file, or another line of its size."""
    end = data.find(b"\n\n")
    size_end = data.find(b"\n", end + 2)
    head, size, pixels = data[:end], data[end + 2 : size_end], data[size_end:]
    if rng.random() < 0.5:
        words = size.split()
        numbers = (0, 1, 7, 47, 49, 65, 30000, 32768, 100_000, 1_000_000, 2**31 - 1, 2**32 + 1)
        odd = ("-Y", "+Y", "-X", "+X", "-1", "", *map(str, numbers))
        words[rng.randrange(4)] = rng.choice(odd).encode()
        size = b" ".join(words)
    else:
        names = (b"FORMAT", b"EXPOSURE", b"PRIMARIES", b"COLORCORR", b"PIXASPECT", b"SOFTWARE")
        names += (b"dfghdr:peak", b"dfghdr:scale", b"expTime", b"isoSpeed", b"capDate")
        names += (b"latitude", b"longitude", b"altitude", b"utcOffset", b"cameraMake")
        value = rng.choice(
            (*WORDS, "32-bit_rle_xyze", "0 0 0 0 0 0 0 0", ".2 .2 .2 .2 .2 .2 .3 .3")
        )
        line = rng.choice(names) + b"=" + value.encode("utf-8", "replace")
        head += b"\n" + line
    return head + b"\n\n" + size + pixels


def safetensors(data: bytes, rng: Random) -> bytes:
    """Another header of a file of weights, of the right length."""
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    name = rng.choice([key for key in header if key != "__metadata__"])
    match rng.randrange(6):
        case 0:
            kinds = ("F16", "BF16", "F32", "F64", "I8", "U8", "I64", "BOOL", "F8_E4M3", "C64", "X")
            header[name]["dtype"] = rng.choice(kinds)
        case 1:
            shape = header[name]["shape"]
            odd = ([], [0], [1 << 40, 1 << 40], [-1], shape[::-1], [1, *shape], ["a"], None)
            header[name]["shape"] = rng.choice(odd)
        case 2:
            odd = ([0, 0], [5, 3], [0, 1 << 62], [-1, 4], [0], None)
            header[name]["data_offsets"] = rng.choice(odd)
        case 3:
            del header[name]
        case 4:
            header[rng.choice(("x", "", "module." + name, name + "\0"))] = header.pop(name)
        case 5:
            first, last = header[name]["data_offsets"]
            odd = rng.choice((float("nan"), float("inf"), -1e38, 3e38))
            values = struct.pack("<f", odd) * ((last - first) // 4)
            body = body[:first] + values + body[first + len(values) :]
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def text(data: bytes, rng: Random) -> bytes:
    """Other words in a text."""
    words = (
        data.replace(b",", b"\x01,\x01").replace(b"\n", b"\x01\n\x01").replace(b" ", b"\x01 \x01")
    )
    parts = words.split(b"\x01")
    for _ in range(rng.choice((1, 1, 2, 5))):
        parts[rng.randrange(len(parts))] = rng.choice(WORDS).encode("utf-8", "replace")
    return b"".join(parts)


def settings(data: bytes, rng: Random) -> bytes:
    """Another value in a file of JSON, or one less or more."""
    values = json.loads(data)
    place = values
    while (inner := [v for v in place.values() if isinstance(v, dict)]) and rng.random() < 0.7:
        place = rng.choice(inner)
    key = rng.choice([*place, "name", "width", "code_length", "unknown", "__class__"])
    if rng.random() < 0.2:
        place.pop(key, None)
    else:
        place[key] = rng.choice(VALUES)
    return json.dumps(values).encode()


def profile(data: bytes, rng: Random) -> bytes:
    """Another table or tag of an ICC profile."""
    out = bytearray(data)
    (count,) = struct.unpack(">I", data[128:132])
    at = 132 + 12 * rng.randrange(count)
    _, start, length = struct.unpack(">4sII", data[at : at + 12])
    match rng.randrange(5):
        case 0:
            out[start + 8 : start + length] = bytes((rng.choice((0, 255)),)) * max(0, length - 8)
        case 1:
            for _ in range(rng.choice((1, 4, 9))):
                out[min(len(out) - 1, start + rng.randrange(length))] = rng.randrange(256)
        case 2:
            place = at + rng.choice((4, 8))
            out[place : place + 4] = struct.pack(">I", rng.choice(EDGES))
        case 3:
            out[at : at + 4] = rng.choice((b"rXYZ", b"wtpt", b"rTRC", b"A2B0", b"B2A0", b"none"))
        case 4:
            place = rng.choice((8, 12, 16, 20, 64))
            new = (b"RGB ", b"GRAY", b"CMYK", b"Lab ", b"mntr", b"link", b"nmcl", b"\5\0\0\0")
            out[place : place + 4] = rng.choice(new)
    return bytes(out)


def boxes(data: bytes, rng: Random) -> bytes:
    """Another size, name or content of a box of a HEIC, AVIF or JPEG XL file."""
    out, at, places = bytearray(data), 0, []
    while at + 8 <= len(data):
        size, name = struct.unpack(">I4s", data[at : at + 8])
        places.append(at)
        inside = {b"meta": 12, b"iprp": 8, b"ipco": 8, b"moov": 8}.get(name)
        at += inside or max(8, size)
    at = rng.choice(places)
    if rng.random() < 0.5:
        out[at : at + 4] = struct.pack(">I", rng.choice(EDGES))
    else:
        place = at + 4 + rng.randrange(min(60, len(data) - at - 4))
        out[place] = rng.choice((0, 1, 255, rng.randrange(256)))
    return bytes(out)


_KNOWN: dict[str, Mutate] = {
    **{".png": png, ".jpg": jpeg, ".mpo": jpeg, ".tif": tiff, ".dng": tiff, ".exr": exr},
    **{".hdr": radiance, ".safetensors": safetensors, ".csv": text, ".txt": text, ".toml": text},
    **{".json": settings, ".icc": profile, ".heic": boxes, ".avif": boxes, ".jxl": boxes},
}


def mutated(data: bytes, suffix: str, rng: Random, others: Sequence[bytes] = ()) -> bytes:
    """A file, changed blindly or as one of its kind.

    Args:
        data: the file.
        suffix: its name's, which tells the kind.
        rng: chooses.
        others: files to continue it with.
    """
    change = _KNOWN.get(suffix)
    if change is None or rng.random() < 0.25:
        return blind(data, rng, others)
    try:
        return change(data, rng)
    except (struct.error, ValueError, IndexError, zlib.error):  # two changes in one file
        return blind(data, rng, others)
