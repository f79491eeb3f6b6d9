import struct

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from dfghdr_cli.core.types import Exposure
from dfghdr_cli.io.exif import read_bias, read_exposure
from dfghdr_cli.io.ldr import read_frame
from dfghdr_cli.io.xmp import xmp_number

GIVEN = Exposure(1.5)
PIXELS = np.full((24, 32, 3), 90, np.uint8)
TIME, F_NUMBER, ISO, TV, AV, BIAS = 33434, 33437, 34855, 37377, 37378, 37380
TYPE, SOS, REI, ISO_SPEED = 0x8830, 0x8831, 0x8832, 0x8833


def photo(path, **options):
    Image.fromarray(PIXELS).save(path, **options)
    return path


def exif(**values):
    """EXIF data whose folder about the exposure holds these, by the names above."""
    data = Image.Exif()
    data[271] = "Maker"  # Pillow leaves the block out of a PNG where its first folder is empty
    folder = data.get_ifd(0x8769)
    for name, value in values.items():
        folder[globals()[name]] = IFDRational(*value) if isinstance(value, tuple) else value
    return data


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_exposure_from_exif(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    photo(path, exif=exif(TIME=(1, 400), ISO=200, F_NUMBER=(28, 10)))
    exposure = read_exposure(path)
    assert exposure is not None
    assert (exposure.time_s, exposure.iso, exposure.f_number) == (1 / 400, 200, 2.8)
    assert exposure.stops == pytest.approx(np.log2(1 / 400 * 2 / 2.8**2))
    assert read_frame(path).exposure == exposure
    assert read_frame(path, GIVEN).exposure == GIVEN


def test_exposure_from_the_exif_folder_of_a_tiff(tmp_path):
    path = tmp_path / "a.tif"
    placeholder = [(65000, "I", 1, 12345678, True)]
    tifffile.imwrite(path, PIXELS, photometric="rgb", extratags=placeholder, byteorder="<")
    data = path.read_bytes()
    entry = struct.pack("<HHII", 65000, 4, 1, 12345678)
    assert data.count(entry) == 1
    data = data.replace(entry, struct.pack("<HHII", 34665, 4, 1, len(data)))
    folder = struct.pack("<H", 2)
    folder += struct.pack("<HHII", 33434, 5, 1, len(data) + 30)  # ExposureTime, a rational
    folder += struct.pack("<HHIHH", 34855, 3, 1, 800, 0)  # ISO speed, a short
    folder += struct.pack("<I", 0) + struct.pack("<II", 1, 50)
    path.write_bytes(data + folder)
    assert read_exposure(path) == Exposure.from_camera(1 / 50, 800)
    assert read_frame(path).exposure == Exposure.from_camera(1 / 50, 800)


def test_exposure_from_the_first_folder_of_a_tiff(tmp_path):
    path = tmp_path / "a.tif"
    extra = [(33434, "2I", 1, (1, 50), True), (34855, "H", 1, 800, True)]
    tifffile.imwrite(path, PIXELS, photometric="rgb", extratags=extra)
    assert read_frame(path).exposure == Exposure.from_camera(1 / 50, 800)


def test_exposure_that_says_nothing_is_none(tmp_path):
    path = tmp_path / "a.jpg"
    for data in (exif(), exif(TIME=(0, 1)), exif(TIME=(1, 0)), exif(ISO=100), exif(BIAS=(2, 1))):
        photo(path, exif=data)
        assert read_exposure(path) is None
    photo(path, exif=exif(TIME=(1, 10), F_NUMBER=(0, 1)))
    assert read_exposure(path) == Exposure.from_camera(0.1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"TV": (13, 2), "AV": (6, 1)}, (2**-6.5, None, 8.0)),  # both in APEX
        ({"TV": (-2, 1), "F_NUMBER": (4, 1)}, (4.0, None, 4.0)),  # longer than a second
        ({"TV": (0, 1)}, (1.0, None, None)),
        ({"TIME": (1, 400), "TV": (1, 1), "F_NUMBER": (4, 1), "AV": (1, 1)}, (1 / 400, None, 4.0)),
        ({"TIME": (0, 1), "TV": (5, 1)}, (1 / 32, None, None)),
    ],
)
def test_apex_values_stand_in(tmp_path, values, expected):
    exposure = read_exposure(photo(tmp_path / "a.jpg", exif=exif(**values)))
    assert (exposure.time_s, exposure.iso, exposure.f_number) == pytest.approx(expected)


@pytest.mark.parametrize("tv", [(1, 0), (0, 0), (2**31 - 1, 1), (-(2**31), 1)])
def test_nonsense_in_apex_is_no_exposure(tmp_path, tv):
    assert read_exposure(photo(tmp_path / "a.jpg", exif=exif(TV=tv))) is None


@pytest.mark.parametrize(
    ("values", "iso"),
    [
        ({"ISO": 400, "SOS": 100, "REI": 200, "ISO_SPEED": 300}, 400),
        ({"ISO": 65535, "TYPE": 2, "REI": 102400}, 102400),
        ({"ISO": 65535, "TYPE": 1, "SOS": 102400}, 102400),
        ({"ISO": 65535, "TYPE": 3, "ISO_SPEED": 80000}, 80000),
        ({"TYPE": 1, "SOS": 250}, 250),
        ({"ISO_SPEED": 320}, 320),
        ({"ISO": 0, "REI": 640}, 640),
        ({"ISO": 65535}, None),
        ({}, None),
    ],
)
def test_sensitivities(tmp_path, values, iso):
    path = photo(tmp_path / "a.jpg", exif=exif(TIME=(1, 50), **values))
    assert read_exposure(path) == Exposure.from_camera(1 / 50, iso)


def test_libraw_is_asked_for_what_exif_lacks(tmp_path, dng, monkeypatch):
    path = dng(tmp_path / "a.dng", np.full((32, 48, 3), 0.3))
    monkeypatch.setattr("dfghdr_cli.io.exif.read_raw_settings", lambda path: (1.0, 400.0, 8.0))
    assert read_exposure(path) == Exposure.from_camera(1 / 50, 400, 2.8)


XMP = (
    '<?xpacket begin=""?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:exif="http://ns.adobe.com/exif/1.0/"'
    ' xmlns:exifEX="http://cipa.jp/exif/1.0/" {attributes}>{elements}</rdf:Description>'
    '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
AS_ATTRIBUTES = XMP.format(
    attributes='exif:ExposureTime="1/400" exif:FNumber="28/10"'
    ' exifEX:PhotographicSensitivity="200" exif:ExposureBiasValue="-4/2"',
    elements="",
)
AS_ELEMENTS = XMP.format(
    attributes="",
    elements="<exif:ExposureTime>1/400</exif:ExposureTime><exif:FNumber>2.8</exif:FNumber>"
    "<exif:ISOSpeedRatings><rdf:Seq><rdf:li>200</rdf:li></rdf:Seq></exif:ISOSpeedRatings>"
    "<exif:ExposureBiasValue>-2</exif:ExposureBiasValue>",
)
IN_APEX = XMP.format(
    attributes='exif:ShutterSpeedValue="8" exif:ApertureValue="5"'
    ' exifEX:StandardOutputSensitivity="200"',
    elements="",
)
RECORDED = Exposure.from_camera(1 / 400, 200, 2.8)


@pytest.mark.parametrize("name", ["a.tif.xmp", "a.xmp", "a.XMP"])
@pytest.mark.parametrize("text", [AS_ATTRIBUTES, AS_ELEMENTS])
def test_a_file_of_xmp_beside_the_photograph(tmp_path, name, text):
    path = photo(tmp_path / "a.tif")
    (tmp_path / name).write_text(text)
    assert read_exposure(path) == RECORDED
    assert read_bias(path) == -2


def test_xmp_says_only_what_exif_lacks(tmp_path):
    path = photo(tmp_path / "a.jpg", exif=exif(TIME=(1, 50), BIAS=(1, 1)))
    (tmp_path / "a.xmp").write_text(AS_ATTRIBUTES)
    assert read_exposure(path) == Exposure.from_camera(1 / 50, 200, 2.8)
    assert read_bias(path) == 1


def test_xmp_in_apex(tmp_path):
    path = photo(tmp_path / "a.png")
    (tmp_path / "a.xmp").write_text(IN_APEX)
    assert read_exposure(path) == Exposure.from_camera(2**-8, 200, 2**2.5)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_xmp_inside_the_photograph(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix == ".tif":
        packet = AS_ATTRIBUTES.encode()
        extra = [(700, "B", len(packet), packet, True)]
        tifffile.imwrite(path, PIXELS, photometric="rgb", extratags=extra)
    elif suffix == ".png":
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", AS_ATTRIBUTES)
        photo(path, pnginfo=info)
    else:
        photo(path, xmp=AS_ATTRIBUTES.encode())
    assert read_exposure(path) == RECORDED
    assert read_frame(path, GIVEN).pixels.shape == PIXELS.shape


BOMB = AS_ATTRIBUTES.replace(
    "<x:xmpmeta",
    '<!DOCTYPE a [<!ENTITY b "1"><!ENTITY c "&b;&b;">]><x:xmpmeta',
    1,
)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\0", AS_ATTRIBUTES[:300].encode(), BOMB.encode(), b" " * (1 << 24) + b"<a/>"],
    ids=["empty", "binary", "cut off", "entities", "large"],
)
def test_xmp_that_cannot_be_used_is_left_out(tmp_path, content, caplog):
    path = photo(tmp_path / "a.jpg", exif=exif(TIME=(1, 50)))
    (tmp_path / "a.xmp").write_bytes(content)
    assert read_exposure(path) == Exposure.from_camera(1 / 50)
    assert "a.xmp: its XMP data cannot be used" in caplog.text


def test_xmp_of_other_things_says_nothing(tmp_path):
    """A picture that was pasted in brings the exposure of its own along."""
    inner = AS_ATTRIBUTES[AS_ATTRIBUTES.index("<rdf:Description") : -len("</rdf:RDF></x:xmpmeta>")]
    nested = f"<exif:Pasted><rdf:Bag><rdf:li>{inner[: inner.index('</rdf:RDF')]}</rdf:li></rdf:Bag>"
    path = photo(tmp_path / "a.jpg")
    (tmp_path / "a.xmp").write_text(XMP.format(attributes="", elements=nested + "</exif:Pasted>"))
    assert read_exposure(path) is None


@given(st.one_of(st.none(), st.text(max_size=12), st.from_regex(r"-?[0-9]{1,4}/[0-9]{1,4}")))
def test_any_text_is_a_finite_number_or_none(text):
    number = xmp_number(text)
    assert number is None or np.isfinite(number)


def test_numbers_of_xmp():
    given = ("1/400", "0.5", " 3 ", "1/0", "1/", "", "x", "1e999", "nan", None)
    expected = (1 / 400, 0.5, 3.0, None, None, None, None, None, None, None)
    assert tuple(map(xmp_number, given)) == expected
