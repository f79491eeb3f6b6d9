import struct

import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from dfghdr_cli.io.metadata import read_metadata


def block(main, photo=None):
    data = Image.Exif()
    for tag, value in main.items():
        data[tag] = value
    if photo:
        data.get_ifd(0x8769).update(photo)
    return data.tobytes().removeprefix(b"Exif\0\0")


MAIN, PHOTO = {271: "Maker", 272: "Camera"}, {0x829A: IFDRational(1, 50), 0x8827: 200}
WHOLE = block(MAIN, PHOTO)


def box(kind, content):
    return struct.pack(">I", len(content) + 8) + kind + content


def fuji():
    exif = b"Exif\0\0" + WHOLE
    jpeg = b"\xff\xd8\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    return b"FUJIFILMCCD-RAW ".ljust(84, b"\0") + struct.pack(">II", 200, 9) + bytes(108) + jpeg


def canon():
    place = block({1: "N"})
    folders = box(b"CMT1", block(MAIN)) + box(b"CMT2", block(PHOTO)) + box(b"CMT4", place)
    name = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
    return box(b"ftyp", b"crx \0\0\0\1") + box(b"moov", box(b"uuid", name + folders))


def sigma():
    exif = b"Exif\0\0" + WHOLE
    jpeg = b"\xff\xd8\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    sections = {
        b"PROP": b"SECp" + bytes(40),
        b"IMAG": b"SECi" + struct.pack("<6I", 0x20000, 2, 11, 9, 9, 0) + bytes(80),
        b"IMA2": b"SECi" + struct.pack("<6I", 0x20000, 2, 18, 9, 9, 0) + jpeg,
    }
    data, entries = b"FOVb" + bytes(100), b""
    for kind, content in sections.items():
        entries += struct.pack("<II", len(data), len(content)) + kind
        data += content
    head = b"SECd" + struct.pack("<II", 0x20000, len(sections))
    return data + head + entries + struct.pack("<I", len(data))


FILES = {
    "a.x3f": sigma,
    "a.orf": lambda: (b"IIRO" if WHOLE[:2] == b"II" else b"MMOR") + WHOLE[4:],
    "a.raf": fuji,
    "a.mrw": lambda: (
        b"\0MRM" + bytes(4) + b"\0PRD" + struct.pack(">I", 4) + bytes(4)
        + b"\0TTW" + struct.pack(">I", len(WHOLE)) + WHOLE
    ),
    "a.cr3": canon,
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_raw_files_of_their_makers_own_kind(tmp_path, caplog, name):
    (tmp_path / name).write_bytes(FILES[name]())
    found = read_metadata(tmp_path / name)
    assert (found.main[271], found.main[272]) == ("Maker", "Camera")
    assert found.photo[0x829A] == pytest.approx(1 / 50)
    assert found.photo[0x8827] == 200
    assert found.place == ({1: "N"} if name == "a.cr3" else {})
    assert not caplog.records


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("length", [4, 12, 40])
def test_raw_files_that_are_cut_off(tmp_path, name, length):
    (tmp_path / name).write_bytes(FILES[name]()[:length])
    assert not read_metadata(tmp_path / name).photo
