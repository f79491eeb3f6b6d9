"""What people hand to `dfghdr merge` by mistake: one sentence and the right code, or a warning.

Each case makes its files in an empty folder and returns the arguments. It ends either with an error
(its exit code, words of its one sentence, no traceback, nothing on stdout, no new file) or with a
valid result and a warning.
"""

import errno
import os
import shutil
import struct
import sys
import zlib
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from typer.testing import CliRunner

from dfghdr_cli import modelfolders
from dfghdr_cli.cli.app import app
from dfghdr_cli.io.radiance import read_radiance
from dfghdr_cli.modelfolders import CONFIG, WEIGHTS
from dfghdr_cli.modelstore import install_model
from dfghdr_cli.nets.registry import build

COARSE = np.random.default_rng(3).uniform(0, 1, (6, 8, 3)).astype(np.float32)
SCENE = 0.01 * 130 ** cv2.resize(COARSE, (48, 32), interpolation=cv2.INTER_LINEAR)
EV = ("--ev", "-2,0,2")


def codes(stops, dtype=np.uint16, shape=None):
    scene = SCENE if shape is None else cv2.resize(SCENE, shape)
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    code = np.clip(scene * 2.0**stops, 0, 1) ** (1 / 2.2) * top
    return code.astype(dtype) if dtype == np.float32 else np.rint(code).astype(dtype)


def tiff(name, pixels=None, **options):
    pixels = codes(2) if pixels is None else pixels
    tifffile.imwrite(name, pixels, **{"photometric": "rgb"} | options)
    return name


def good():
    """Two good frames, dark and middle; the third is each case's own."""
    return [tiff("dark.tif", codes(-2)), tiff("middle.tif", codes(0))]


def with_third(name):
    return [*good(), name, *EV]


def written(name, content):
    Path(name).write_bytes(content)
    return with_third(name)


def as_jpeg(**options):
    Image.fromarray(codes(2, np.uint8)).save("whole.jpg", quality=95, **options)
    data = Path("whole.jpg").read_bytes()
    Path("whole.jpg").unlink()
    return data


def as_png():
    return imagecodecs.png_encode(codes(2))


def as_tiff():
    data = Path(tiff("whole.tif", compression="lzw")).read_bytes()
    Path("whole.tif").unlink()
    return data


def half(data):
    return data[: len(data) // 2]


def png_of(width, height, bits, color_type):
    """A PNG with a right header and too little data."""

    def chunk(name, content):
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0))
    palette = chunk(b"PLTE", bytes(6)) if color_type == 3 else b""
    rows = chunk(b"IDAT", zlib.compress(bytes(4000)))
    return b"\x89PNG\r\n\x1a\n" + header + palette + rows + chunk(b"IEND", b"")


def huge_jpeg():
    data = bytearray(as_jpeg())
    at = data.index(b"\xff\xc0")  # the frame header holds the size (ITU-T T.81, B.2.2)
    data[at + 5 : at + 9] = struct.pack(">HH", 60000, 60000)
    return bytes(data)


def huge_tiff():
    data = bytearray(as_tiff())
    for tag, value in ((256, 48), (257, 32)):
        for kind, size in ((3, "<HHIHxx"), (4, "<HHII")):
            entry = struct.pack(size, tag, kind, 1, value)
            if entry in data:
                at = data.index(entry)
                data[at : at + 12] = struct.pack("<HHII", tag, 4, 1, 60000)
                break
    return bytes(data)


def saved(name, mode, size=(48, 32), **options):
    Image.new(mode, size).save(name, **options)
    return with_third(name)


def floats(value):
    pixels = codes(2, np.float32)
    pixels[3, 4] = value
    return with_third(tiff("odd.tif", pixels))


def many(count):
    names = [tiff(f"f{i:02}.tif", codes(-1 + i / 10)) for i in range(count)]
    return [*names, "--ev-step", "0.1"]


def folder_of(count, also=()):
    Path("shots").mkdir()
    for index in range(count):
        tiff(f"shots/{index}.tif", codes(index - 1))
    return ["shots", *also, "--ev-step", "1"]


def device():
    return [*good(), "/dev/null", *EV]


def fifo():
    os.mkfifo("pipe.tif")
    return with_third("pipe.tif")


def twelve_bits():
    twelve = imagecodecs.packints_encode(np.arange(48 * 32, dtype=np.uint16), 12)
    options = {"shape": (32, 48), "dtype": np.uint16, "bitspersample": 12}
    tifffile.imwrite("odd.tif", iter([twelve]), photometric="minisblack", **options)
    return with_third("odd.tif")


def other_colors():
    tiff("adobe.tif", iccprofile=imagecodecs.cms_profile("adobergb"))
    return with_third("adobe.tif")


def link():
    Path("link.tif").symlink_to("middle.tif")
    return with_third("link.tif")


def two_scenes():
    scene = np.kron(codes(0), np.ones((4, 4, 1), np.uint16))
    return [tiff("a.tif", scene), tiff("b.tif", np.ascontiguousarray(scene[::-1, ::-1]))]


def black_and_white():
    return [tiff(f"{v}.tif", np.full((32, 48, 3), v, np.uint16)) for v in (0, 65535)]


def pdf(name):
    return written(name, b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n" + bytes(200))


def bad_response():
    """It is looked at first: photographs take longer to read."""
    Path("r.csv").write_text("words\n")
    return [*written("cut.tif", as_tiff()[:8]), "--response", "r.csv"]


REFUSED = {
    "a response that is none": (bad_response, 4, ["r.csv does not hold a response"]),
    "a missing file": (lambda: with_third("nowhere.tif"), 4, ["nowhere.tif", "does not exist"]),
    "zero bytes": (lambda: written("none.jpg", b""), 4, ["none.jpg", "empty"]),
    "a truncated JPEG": (lambda: written("cut.jpg", half(as_jpeg())), 4, ["cut.jpg", "damaged"]),
    "a truncated PNG": (lambda: written("cut.png", half(as_png())), 4, ["cut.png", "damaged"]),
    "a truncated TIFF": (
        lambda: written("cut.tif", half(as_tiff())),
        4,
        ["cut.tif", "bytes before its picture does", "copy it again"],
    ),
    "a JPEG header alone": (lambda: written("cut.jpg", as_jpeg()[:60]), 4, ["cut.jpg", "damaged"]),
    "a TIFF header alone": (lambda: written("cut.tif", as_tiff()[:8]), 4, ["cut.tif", "damaged"]),
    "a damaged HEIC": (
        lambda: written("bad.heic", b"\0\0\0\x18ftypheic" + bytes(99)),
        4,
        ["bad.heic", "damaged"],
    ),
    "a raw file that is none": (lambda: written("bad.nef", b"words"), 4, ["bad.nef", "LibRaw"]),
    "a wrong ending": (lambda: written("png.jpg", as_png()), 4, ["is a PNG", "png.png"]),
    "no ending": (lambda: written("photo", as_jpeg()), 4, ["is a JPEG", "photo.jpg"]),
    "words": (lambda: written("words.jpg", b"Dear diary"), 4, ["words.jpg is not a JPEG"]),
    "a PDF": (lambda: pdf("a.pdf"), 4, ["a.pdf is not a JPEG"]),
    "a PDF by another name": (lambda: pdf("a.tif"), 4, ["a.tif is not a JPEG"]),
    "a GIF": (lambda: written("a.gif", b"GIF89a" + bytes(60)), 4, ["a.gif is not a JPEG"]),
    "a film": (lambda: written("a.mp4", b"\0\0\0\x18ftypmp42" + bytes(99)), 4, ["a.mp4 is not"]),
    "an archive": (lambda: written("a.zip", b"PK\3\4" + bytes(60)), 4, ["a.zip is not"]),
    "an OpenEXR": (lambda: written("a.exr", b"\x76\x2f\x31\x01" + bytes(60)), 4, ["a.exr is not"]),
    "mixed sizes": (
        lambda: with_third(tiff("small.tif", codes(2, shape=(40, 32)))),
        4,
        ["dark.tif (48x32) and small.tif (40x32)"],
    ),
    "portrait and landscape": (
        lambda: with_third(tiff("turned.tif", codes(2, shape=(32, 48)))),
        4,
        ["turned.tif (32x48)"],
    ),
    "mixed colour spaces": (other_colors, 4, ["adobe.tif is in ", "alike"]),
    "no frame": (lambda: [], 2, ["FILES"]),
    "one frame": (lambda: many(1), 4, ["2 to 9 frames, not 1"]),
    "ten frames exposed alike": (lambda: [*many(10)[:10], "--ev", "0" + 9 * ",1"], 4, ["not 10"]),
    "forty frames": (lambda: many(40), 4, ["2 to 9 frames, not 40"]),
    "a frame twice": (lambda: [*good(), "./dark.tif", *EV], 4, ["dark.tif is given twice"]),
    "a frame and a link to it": (link, 4, ["is given twice"]),
    "an empty folder": (lambda: folder_of(0), 4, ["shots holds 0 photographs"]),
    "a folder of one": (lambda: folder_of(1), 4, ["shots holds 1 photographs"]),
    "a folder of forty": (lambda: folder_of(40), 4, ["shots holds 40 photographs"]),
    "a folder and a file": (lambda: folder_of(3, good()), 4, ["either one folder or the files"]),
    "a device": (device, 4, ["/dev/null is not a regular file"]),
    "a named pipe": (fifo, 4, ["pipe.tif is not a regular file"]),
    "a huge PNG": (
        lambda: written("huge.png", png_of(60000, 60000, 8, 2)),
        4,
        ["huge.png has 60000x60000 pixels"],
    ),
    "a huge JPEG": (lambda: written("huge.jpg", huge_jpeg()), 4, ["60000x60000 pixels"]),
    "a huge TIFF": (lambda: written("huge.tif", huge_tiff()), 4, ["60000x60000 pixels"]),
    "NaN": (lambda: floats(np.nan), 4, ["odd.tif holds NaN"]),
    "infinity": (lambda: floats(np.inf), 4, ["odd.tif holds NaN or infinite"]),
    "floats above 1": (lambda: floats(255), 4, ["odd.tif spans", "to 255"]),
    "negative floats": (lambda: floats(-1), 4, ["odd.tif spans -1"]),
    "a CMYK JPEG": (lambda: saved("ink.jpg", "CMYK"), 4, ["ink.jpg is a CMYK JPEG"]),
    "a CMYK TIFF": (lambda: saved("ink.tif", "CMYK"), 4, ["ink.tif is a SEPARATED TIFF"]),
    "a palette PNG": (lambda: saved("pal.png", "P"), 4, ["pal.png is a palette PNG"]),
    "a palette TIFF": (lambda: saved("pal.tif", "P"), 4, ["pal.tif is a PALETTE TIFF"]),
    "a one-bit PNG": (lambda: saved("bit.png", "1"), 4, ["bit.png has 1 bits"]),
    "a one-bit TIFF": (lambda: saved("bit.tif", "1"), 4, ["bit.tif has 1-bit"]),
    "a twelve-bit TIFF": (twelve_bits, 4, ["odd.tif has 12-bit"]),
    "a Lab TIFF": (lambda: saved("lab.tif", "LAB"), 4, ["lab.tif is a CIELAB TIFF"]),
    "signed integers": (
        lambda: with_third(tiff("odd.tif", codes(2).astype(np.int16))),
        4,
        ["odd.tif has 16-bit samples of an unsupported type"],
    ),
    "two scenes without exposures": (two_scenes, 4, ["a.tif, b.tif", "nothing in common"]),
    "black and white without exposures": (black_and_white, 4, ["share too little", "--ev"]),
    "too few exposures": (lambda: [*good(), "--ev", "1"], 2, ["1 values for 2 frames"]),
    "an exposure that is none": (lambda: [*good(), "--ev", "0,nan"], 2, ["'nan'"]),
    "a time of zero": (lambda: [*good(), "--times", "1/0,1"], 2, ["'1/0'"]),
    "exposures far apart": (lambda: [*good(), "--ev", "0,30"], 4, ["30.0 stops apart"]),
    "identical frames said to differ": (lambda: [*identical(), *EV], 4, ["--exposures-from"]),
    "the wrong order": (
        lambda: [*reversed(with_third(tiff("bright.tif"))[:3]), "--ev-step", "2"],
        4,
        ["--exposures-from", "bright.tif"],
    ),
    "equal exposures that are not": (lambda: [*good(), "--ev", "1,1"], 4, ["the same exposure"]),
    "no such reference": (lambda: [*good(), "--ev-step", "2", "--reference", "7"], 4, ["frame 7"]),
    "an unknown option": (lambda: [*good(), "--ev-steps", "2"], 2, ["--ev-steps"]),
    "an unknown device": (
        lambda: [*good(), "--ev-step", "2", "--device", "toaster"],
        6,
        ["toaster"],
    ),
}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """An empty folder to work in, and no models but those a test makes."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv(modelfolders.MODELS_DIR_VARIABLE, str(tmp_path / "models"))
    folder = tmp_path / "place"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def listing():
    return sorted(str(path) for path in Path().rglob("*"))


def merge(arguments, output="out.exr", method=("--method", "classic")):
    options = ["-o", output, "--device", "cpu", *method]
    return CliRunner().invoke(app, ["merge", *options, *map(str, arguments)])


def refused(result, code, words, before):
    """One sentence on stderr, the right code, and nothing else anywhere."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr
    if code != 2:  # the usage message is Typer's own
        errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert result.stderr.splitlines()[-1] == errors[0]
    assert listing() == before


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case, capfd):
    make, code, words = REFUSED[case]
    arguments = make()
    refused(merge(arguments), code, words, listing())
    assert "Traceback" not in capfd.readouterr().err


def test_enough_kinds_of_bad_input():
    assert len(REFUSED) >= 40


def test_a_truncated_raw_file(dng):
    whole = dng(Path("whole.dng"), SCENE)
    data = whole.read_bytes()
    whole.unlink()
    arguments = written("cut.dng", half(data))
    refused(merge(arguments), 4, ["cut.dng is damaged"], listing())


def test_raw_and_developed_files(dng):
    dng("raw.dng", SCENE)
    arguments = with_third("raw.dng")
    refused(merge(arguments), 4, ["raw.dng is linear", "alike"], listing())


def test_heic_without_its_package(monkeypatch):
    arguments = written("a.heic", b"\0\0\0\x18ftypheic" + bytes(99))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    refused(merge(arguments), 4, ["pip install pillow-heif"], listing())


@pytest.mark.parametrize("what", ["file", "folder"])
def test_no_permission(what, monkeypatch):
    """Root may read everything, so the refusal is played."""
    arguments = folder_of(3) if what == "folder" else [*good(), "--ev-step", "2"]

    def denied(self, *more, **options):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    before = listing()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir" if what == "folder" else "open", denied)
        patch.setattr(os, "access", lambda path, mode, **more: not mode & os.R_OK)
        result = merge(arguments)
    refused(result, 4, ["shots" if what == "folder" else "dark.tif", "Permission denied"], before)


@pytest.mark.parametrize(
    ("output", "code", "words"),
    [
        ("nowhere/out.exr", 7, ["nowhere does not exist"]),
        ("out.gif", 2, ["end it in one of .exr, .hdr"]),
        ("out", 2, ["end it in one of .exr, .hdr"]),
        ("there.exr", 3, ["there.exr exists already", "--overwrite"]),
        ("/dev/null/out.exr", 7, ["/dev/null"]),
        ("x" * 300 + ".exr", 7, ["too long"]),
    ],
)
def test_targets(output, code, words):
    Path("there.exr").write_bytes(b"precious")
    arguments = [*good(), "--ev-step", "2"]
    refused(merge(arguments, output), code, words, listing())
    assert Path("there.exr").read_bytes() == b"precious"


def test_a_read_only_target(monkeypatch):
    arguments = [*good(), "--ev-step", "2"]
    # Root may write everywhere.
    monkeypatch.setattr(os, "access", lambda path, mode, **more: not mode & os.W_OK)
    refused(merge(arguments), 7, ["not writable"], listing())


def test_a_full_disk(monkeypatch):
    arguments = [*good(), "--ev-step", "2"]

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    refused(merge(arguments), 7, ["No space left on device"], listing())


@pytest.fixture(scope="module")
def whole_model(tmp_path_factory):
    torch.manual_seed(0)
    network = build("dfgmerge", {"width": (4, 4, 4), "disentangle_width": 4, "code_length": 4})
    return install_model(network, "whole", tmp_path_factory.mktemp("models"))


def without(name):
    return lambda model: (model / name).unlink()


def overwritten(name, content):
    return lambda model: (model / name).write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (without(WEIGHTS), [WEIGHTS]),
        (without(CONFIG), [CONFIG]),
        (overwritten(WEIGHTS, b"words"), [WEIGHTS]),
        (overwritten(WEIGHTS, b""), [WEIGHTS]),
        (overwritten(CONFIG, b"{"), [CONFIG]),
        (overwritten(CONFIG, b'{"architecture": "magic"}'), [CONFIG, "damaged"]),
        (shutil.rmtree, ["model"]),
    ],
)
def test_a_damaged_model(damage, words, whole_model, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(whole_model, model)
    damage(model)
    arguments = [*good(), "--ev-step", "2"]
    result = merge(arguments, method=("--model", str(model)))
    refused(result, 5, words, listing())


# --- where a result still means something -------------------------------------------------------


def flat(value):
    return [tiff(f"{n}.tif", np.full((32, 48, 3), value, np.uint16)) for n in "abc"]


def identical():
    return [tiff(f"{n}.tif", codes(0)) for n in "abc"]


def translucent():
    pixels = np.dstack([codes(2), np.full(SCENE.shape[:2], 9000, np.uint16)])
    tiff("clear.tif", pixels, extrasamples=["unassalpha"])
    return with_third("clear.tif")


def grey(name, **options):
    tiff(name, codes(2)[..., 1], photometric="minisblack", **options)
    return with_third(name)


def pages():
    with tifffile.TiffWriter("pages.tif") as writer:
        for _ in range(2):
            writer.write(codes(2), photometric="rgb")
    return with_third("pages.tif")


def bad_exif():
    exif = Image.Exif()
    exif[274] = 1
    data = bytearray(as_jpeg(exif=exif))
    start = data.index(b"Exif\0\0") + 6
    data[start + 4 : start + 8] = b"\xff\xff\xff\x7f"
    return written("exif.jpg", bytes(data))


ACCEPTED = {
    "identical frames": (lambda: [*identical(), "--ev", "0,0,0"], "exposed alike"),
    "identical frames without exposures": (identical, "exposed alike"),
    "all white": (lambda: [*flat(65535), *EV], "between black and white"),
    "all black": (lambda: [*flat(0), *EV], "between black and white"),
    "all white, exposed alike": (lambda: [*flat(65535), "--ev", "1,1,1"], "black and white"),
    "one grey": (lambda: [*flat(30000), "--ev", "1,1,1"], "exposed alike"),
    "one white frame": (lambda: with_third(tiff("w.tif", flat_like(65535))), ""),
    "one black frame": (
        lambda: [tiff("b.tif", flat_like(0)), *good(), "--ev", "-4,-2,0"],
        "",
    ),
    "a frame with alpha": (translucent, "clear.tif: its alpha channel is not opaque"),
    "a grey frame": (lambda: grey("grey.tif"), ""),
    "a damaged colour profile": (
        lambda: with_third(tiff("icc.tif", iccprofile=b"junk" * 40)),
        "icc.tif: its colour profile is damaged",
    ),
    "damaged EXIF data": (bad_exif, ""),
    "two pages": (pages, "holds 2 pages"),
    "twelve frames": (lambda: many(12), "Of 12 frames the 9 that cover their range"),
    "one pixel": (
        lambda: (
            [tiff(f"{i}.tif", np.full((1, 1, 3), v, np.uint16)) for i, v in enumerate((9, 99))]
            + ["--ev-step", "2"]
        ),
        "",
    ),
    "a line": (
        lambda: [tiff("a.tif", codes(-2)[:1]), tiff("b.tif", codes(0)[:1]), "--ev-step", "2"],
        "",
    ),
    "odd names": (
        lambda: [
            tiff("[red]dark.tif", codes(-2)),
            tiff("mitt ägg 中.tif", codes(0)),
            "--ev-step",
            "2",
        ],
        "",
    ),
}


def flat_like(value):
    return np.full((32, 48, 3), value, np.uint16)


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted(case):
    make, words = ACCEPTED[case]
    result = merge(make())
    assert result.exit_code == 0, result.output
    assert result.stdout == "out.exr\nout.preview.jpg\n"
    assert "Traceback" not in result.stderr
    assert words in result.stderr
    if words:
        assert "warning: " in result.stderr
    pixels, _ = read_radiance(Path("out.exr"))
    assert np.isfinite(pixels).all()
    assert pixels.min() >= 0
    if case.startswith("identical") and "differ" not in case:
        light = (codes(0) / 65535.0) ** 2.2
        assert np.abs(pixels - light).mean() < 0.02
