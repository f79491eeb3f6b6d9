import logging
import struct

import exifread
import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from dfghdr_cli import __version__
from dfghdr_cli.io.display import encode_display, write_display
from dfghdr_cli.io.metadata import (
    Metadata,
    exif_bytes,
    exr_attributes,
    metadata_of_header,
    read_metadata,
)

MAIN = {0x010F: "Maker", 0x0110: "Model X", 0x013B: "Somebody"}
PHOTO = {
    0x829A: IFDRational(1, 60),
    0x829D: IFDRational(28, 5),
    0x8827: 200,
    0x9003: "2024:05:01 10:11:12",
    0x9011: "+02:00",
    0x920A: IFDRational(35),
    0xA434: "35mm f/2",
}
PLACE = {1: "N", 2: (47.0, 30.0, 18.0), 3: "W", 4: (8.0, 15.0, 0.0), 5: b"\0", 6: 412.5}
PICTURE = np.linspace(0, 1, 8 * 12 * 3, dtype=np.float32).reshape(8, 12, 3)


@pytest.fixture
def photograph(tmp_path):
    exif = Image.Exif()
    exif.update({**MAIN, 0x0112: 6, 0x0131: "old program"})
    exif.get_ifd(0x8769).update({**PHOTO, 0x927C: b"maker's secret" * 9, 0xA002: 4000})
    exif.get_ifd(0x8825).update(PLACE)
    Image.new("RGB", (12, 8)).save(tmp_path / "photo.jpg", exif=exif)
    return tmp_path / "photo.jpg"


def tags(path):
    """Read by a library that wrote none of them."""
    with path.open("rb") as file:
        return {k: str(v) for k, v in exifread.process_file(file, details=False).items()}


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
@pytest.mark.parametrize("space", ["srgb", "p3"])
def test_a_result_carries_what_is_still_true(tmp_path, photograph, name, space):
    path = tmp_path / name
    write_display(path, PICTURE, space=space, metadata=read_metadata(photograph))
    found = tags(path)
    assert found["Image Make"] == "Maker"
    assert found["Image Artist"] == "Somebody"
    assert found["Image Software"].startswith("dfghdr ")
    assert found["EXIF ExposureTime"] == "1/60"
    assert found["EXIF FNumber"] == "28/5"
    assert found["EXIF ISOSpeedRatings"] == "200"
    assert found["EXIF DateTimeOriginal"] == "2024:05:01 10:11:12"
    assert found["EXIF LensModel"] == "35mm f/2"
    assert found["GPS GPSLatitude"] == "[47, 30, 18]"
    assert "Image Orientation" not in found or found["Image Orientation"] == "Horizontal (normal)"
    assert not {"EXIF MakerNote", "EXIF ExifImageWidth"} & set(found)
    if name != "a.tif":
        assert found["EXIF ColorSpace"] == ("sRGB" if space == "srgb" else "Uncalibrated")
    with Image.open(path) as image:
        assert image.size == (12, 8)
        assert image.getpixel((11, 7)) == pytest.approx((255, 255, 255), abs=3)


def test_carried_again_from_each_format(tmp_path, photograph):
    first = read_metadata(photograph)
    for name in ("a.jpg", "a.png", "a.tif"):
        write_display(tmp_path / name, PICTURE, metadata=first)
        again = read_metadata(tmp_path / name)
        assert again.main.items() >= first.main.items()
        assert again.photo.items() >= first.photo.items()
        assert again.place.items() >= first.place.items()


def test_attributes_of_an_exr(photograph):
    assert exr_attributes(read_metadata(photograph)) == {
        "cameraMake": "Maker",
        "cameraModel": "Model X",
        "lensModel": "35mm f/2",
        "nominalFocalLength": 35.0,
        "capDate": "2024:05:01 10:11:12",
        "utcOffset": -7200.0,
        "owner": "Somebody",
        "latitude": pytest.approx(47.505),
        "longitude": pytest.approx(-8.25),
        "altitude": 412.5,
    }


EXPOSURE = {"expTime": 1 / 60, "aperture": 5.6, "isoSpeed": 200.0}


@pytest.mark.parametrize("text", [False, True])
def test_a_header_tells_what_the_photograph_told(tmp_path, photograph, text):
    told = exr_attributes(read_metadata(photograph))
    header = {**told, **EXPOSURE, "dfghdr:model": "dfgmerge", "chromaticities": (0.64, 0.33)}
    back = metadata_of_header({k: str(v) for k, v in header.items()} if text else header)
    again = exr_attributes(back)
    assert again == {k: v if isinstance(v, str) else pytest.approx(v) for k, v in told.items()}
    write_display(tmp_path / "a.jpg", PICTURE, metadata=back)
    found = tags(tmp_path / "a.jpg")
    assert found["EXIF ExposureTime"] == "1/60"
    assert found["EXIF FNumber"] == "28/5"
    assert found["EXIF ISOSpeedRatings"] == "200"
    assert found["EXIF FocalLength"] == "35"
    assert found["EXIF DateTimeOriginal"] == "2024:05:01 10:11:12"
    assert found["EXIF OffsetTimeOriginal"] == "+02:00"
    assert found["EXIF LensModel"] == "35mm f/2"
    assert found["GPS GPSLongitude"] == "[8, 15, 0]"
    assert found["GPS GPSLongitudeRef"] == "W"


@pytest.mark.parametrize("seconds", [1 / 8000, 1 / 3, 0.8, 2.5, 30.0, 1200.0])
def test_a_time_stays_as_it_is(seconds):
    photo = metadata_of_header({"expTime": seconds}).photo
    assert float(photo[0x829A]) == pytest.approx(seconds, rel=2e-4)


def test_of_a_header_only_what_makes_sense_is_taken():
    nonsense = {"expTime": -1.0, "aperture": "wide", "isoSpeed": 1e9, "capDate": "yesterday"}
    place = {"latitude": 200.0, "longitude": 5.0, "altitude": float("inf"), "utcOffset": 1e9}
    assert not metadata_of_header({**nonsense, **place, "cameraMake": 7, "owner": ""})
    assert not metadata_of_header({"latitude": 47.0})


def test_a_heic_file_is_read_like_a_jpeg(tmp_path, photograph):
    heif = pytest.importorskip("pillow_heif")
    with Image.open(photograph) as image:
        exif = image.info["exif"]
        heif.from_pillow(image.convert("RGB")).save(tmp_path / "a.heic", exif=exif)
    assert read_metadata(tmp_path / "a.heic") == read_metadata(photograph)


def test_where_nothing_is_known_only_the_program_is_told(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "bare.jpg")
    bare = read_metadata(tmp_path / "bare.jpg")
    assert not bare
    assert exr_attributes(bare) == {}
    assert not read_metadata(None)
    write_display(tmp_path / "a.jpg", PICTURE, metadata=bare)
    write_display(tmp_path / "b.jpg", PICTURE)
    assert (tmp_path / "a.jpg").read_bytes() == (tmp_path / "b.jpg").read_bytes()
    assert tags(tmp_path / "a.jpg")["Image Software"] == f"dfghdr {__version__}"


def test_damaged_data_is_left_out_with_a_warning(tmp_path, caplog):
    header = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 500) + bytes(30)
    (tmp_path / "cut.tif").write_bytes(header)
    with caplog.at_level(logging.WARNING):
        assert not read_metadata(tmp_path / "cut.tif")
    odd = Metadata(
        {0x010F: b"\xff\xfe"}, {0x9011: "noon", 0x920A: "long"}, {2: 5, 4: (1, 2), 6: "x"}
    )
    assert exr_attributes(odd).keys() <= {"cameraMake"}


def test_more_than_a_jpeg_holds(tmp_path, caplog):
    huge = Metadata(MAIN, {0x9286: b"ASCII\0\0\0" + b"x" * 70_000})
    write_display(tmp_path / "a.jpg", PICTURE, metadata=huge)
    assert "too long" in caplog.text
    assert tags(tmp_path / "a.jpg")["Image Software"] == f"dfghdr {__version__}"


def odd_exif(tag, kind, count):
    """EXIF data in which one tag of the first folder or of the place has an unsuitable type."""
    place = [(tag, kind, count, 50)] if tag < 0x100 else []
    main = [(0x8825, 4, 1, 100)] if place else [(tag, kind, count, 50)]

    def folder(entries):
        entries = b"".join(struct.pack("<HHII", *entry) for entry in entries)
        return struct.pack("<H", len(entries) // 12) + entries + bytes(4)

    data = b"II*\0\x08\0\0\0" + folder(main)
    return b"Exif\0\0" + data.ljust(50, b"\0") + bytes(range(50)) + folder(place) + bytes(50)


@pytest.mark.parametrize("tag", [0x010E, 0x8298, 0x0002, 0x0005, 0x001D])
def test_a_tag_of_any_type_can_be_written_or_is_left_out(tmp_path, tag, caplog):
    """Every TIFF type and some counts: what is read is what all writers take."""
    path = tmp_path / "a.jpg"
    odd = 0
    for kind in range(14):
        for count in (1, 2, 3, 12):
            Image.new("RGB", (8, 8)).save(path, exif=odd_exif(tag, kind, count))
            caplog.clear()
            metadata = read_metadata(path)
            odd += "left out" in caplog.text
            exif_bytes(metadata)
            exr_attributes(metadata)
            encode_display(tmp_path / "a.tif", PICTURE, metadata=metadata)
    assert odd  # or nothing was tested


def test_what_is_private_can_be_left_out(tmp_path):
    main = {0x010F: "Maker", 0x013B: "An artist", 0x8298: "Somebody"}
    photo = {0x829A: 0.01, 0xA431: "SN1", 0xA435: "SN2", 0xA430: "An owner", 0xA434: "Lens"}
    place = {1: "N", 2: (48.0, 8.0, 0.0), 3: "E", 4: (11.0, 34.0, 0.0)}
    metadata = Metadata(main, photo, place)
    assert metadata.without(place=False, identity=False) == metadata
    elsewhere = metadata.without(place=True, identity=False)
    assert "latitude" in exr_attributes(metadata)
    assert "latitude" not in exr_attributes(elsewhere)
    assert elsewhere.main == main
    bare = metadata.without(place=True, identity=True)
    assert bare.main == {0x010F: "Maker"}
    assert bare.photo == {0x829A: 0.01, 0xA434: "Lens"}
    attributes = exr_attributes(bare)
    assert not set(attributes) & {"owner", "cameraSerialNumber", "lensSerialNumber", "longitude"}
