"""Tiny files that promise much are refused unseen, and too little memory is never called damage."""

import json
import os
import struct
import time
import zipfile
import zlib

import imagecodecs
import numpy as np
import OpenEXR
import pytest
import tifffile
import torch
from PIL import Image

from dfghdr_cli import limits, modelfolders, modelstore
from dfghdr_cli.errors import DeviceError, InputError, ModelError, is_out_of_memory
from dfghdr_cli.io import exr
from dfghdr_cli.io.jpeg import read_jpeg_header, scans_of
from dfghdr_cli.io.ldr import read_frame
from dfghdr_cli.io.radiance import read_radiance
from dfghdr_cli.io.scenes import scene_files
from dfghdr_cli.io.source import read_text
from dfghdr_cli.nets.registry import build
from dfghdr_cli.pipeline.models import _read_part
from dfghdr_cli.training.perceptual import read_vgg
from tests.conftest import write_dng

SMALL = {"width": 4, "disentangle_width": 4, "code_length": 8}


def huge_jpeg(path):
    Image.new("RGB", (16, 16)).save(path, "JPEG")
    data = bytearray(path.read_bytes())
    at = data.index(b"\xff\xc0")  # the frame header holds the size (ITU-T T.81, B.2.2)
    data[at + 5 : at + 9] = struct.pack(">HH", 22000, 22000)
    path.write_bytes(data)


def flat_png(path, side=8000):
    def chunk(name, content):
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    packed = zlib.compressobj(9)
    rows = b"".join(packed.compress(bytes(1 + 3 * side)) for _ in range(side)) + packed.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    path.write_bytes(data)


def huge_tile(path):
    """64x64 pixels in one tile of 65536x65536."""
    entries = [
        *((256, 4, 64), (257, 4, 64), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1)),
        *((322, 4, 65536), (323, 4, 65536), (324, 4, 8), (325, 4, 8)),
    ]
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    start = b"II*\0" + struct.pack("<I", 16) + zlib.compress(b"")
    path.write_bytes(start + struct.pack("<H", len(entries)) + body + bytes(4))


def windows(path, **changed):
    """An .exr of 4x4 pixels whose header names another window."""
    with OpenEXR.File({"type": OpenEXR.scanlineimage}, {"RGB": np.ones((4, 4, 3), "f2")}) as file:
        file.write(str(path))
    data = path.read_bytes()
    for name, window in changed.items():
        at = data.index(name.encode() + b"\0box2i\0") + len(name) + 1 + 6 + 4
        data = data[:at] + struct.pack("<4i", *window) + data[at + 16 :]
    path.write_bytes(data)


def flat_jxl(path):
    path.write_bytes(imagecodecs.jpegxl_encode(np.zeros((4100, 4100, 3), np.uint8), effort=1))


def huge_dng(path):
    """A raw file of 64x48 pixels whose header says more."""
    write_dng(path, np.full((48, 64, 3), 0.5))
    data = bytearray(path.read_bytes())
    for tag in (256, 257):
        at = next(
            data.index(entry)
            for kind, form in ((3, "<HHIHxx"), (4, "<HHII"))
            for side in (48, 64)
            if (entry := struct.pack(form, tag, kind, 1, side)) in data
        )
        data[at : at + 12] = struct.pack("<HHII", tag, 4, 1, 20_000)
    path.write_bytes(data)


PHOTOGRAPHS = {
    "a.jpg": huge_jpeg,
    "a.png": flat_png,
    "a.tif": huge_tile,
    "a.jxl": flat_jxl,
    "a.dng": huge_dng,
}


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_a_photograph_that_promises_too_much_is_refused_unseen(tmp_path, name, monkeypatch):
    PHOTOGRAPHS[name](tmp_path / name)
    monkeypatch.setattr(tifffile.TiffPage, "asarray", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(InputError, match=rf"{name}.*--max-pixels"):
        read_frame(tmp_path / name)


@pytest.mark.parametrize("window", ["dataWindow", "displayWindow"])
def test_so_is_a_linear_picture(tmp_path, window):
    path = tmp_path / "a.exr"
    windows(path, **{window: (0, 0, 22999, 22999)})
    with pytest.raises(InputError, match=r"a\.exr.*--max-pixels"):
        read_radiance(path)
    (tmp_path / "a.hdr").write_bytes(
        b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 20000 +X 20000\n" + bytes(4000)
    )
    with pytest.raises(InputError, match=r"a\.hdr"):
        read_radiance(tmp_path / "a.hdr")


def test_more_is_taken_when_asked_and_less(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    flat_png(path, side=4200)
    with pytest.raises(InputError, match="--max-pixels"):
        read_frame(path)
    monkeypatch.setenv(limits.MAX_PIXELS_VARIABLE, str(limits.parse_pixels("18M")))
    assert read_frame(path).pixels.shape == (4200, 4200, 3)
    monkeypatch.setenv(limits.MAX_PIXELS_VARIABLE, "1000")
    with pytest.raises(InputError, match="more than --max-pixels allows"):
        read_frame(path)
    for wrong in ("", "M", "-1", "1.5M", "many", "0", "9" * 12):
        with pytest.raises(ValueError, match="pixels"):
            limits.parse_pixels(wrong)


def test_what_does_not_fit_in_memory_is_said_to(tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(1_000_000))
    monkeypatch.setattr(limits, "available_memory", lambda: 24 * 19_000_000)
    limits.ensure_pixels(path, 1000, 19_000)
    with pytest.raises(DeviceError, match="not enough memory"):
        limits.ensure_pixels(path, 1000, 19_001)
    monkeypatch.undo()
    memory = limits.available_memory()
    assert memory is None or memory > 2**20


OUT_OF_MEMORY = [
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("std::bad_alloc"),
    OSError(12, "Cannot allocate memory"),
    zlib.error("Error -4 while decompressing data: insufficient memory"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=str)
def test_memory_is_never_called_damage(tmp_path, monkeypatch, error):
    def fails(*_, **__):
        raise error

    assert is_out_of_memory(error)
    Image.new("RGB", (16, 16)).save(tmp_path / "a.jpg")
    windows(tmp_path / "a.exr")
    network = build("dfgnet", SMALL)
    modelstore.save_model(tmp_path / "model", network)
    torch.save({"a": torch.zeros(1)}, tmp_path / "DFGNet.pth")
    monkeypatch.setattr("dfghdr_cli.io.ldr._decode_jpeg", fails)
    monkeypatch.setattr(exr, "_picture_channels", fails)
    monkeypatch.setattr(modelstore, "load", fails)
    monkeypatch.setattr(torch, "load", fails)
    for read, path in (
        (read_frame, tmp_path / "a.jpg"),
        (read_radiance, tmp_path / "a.exr"),
        (modelstore.load_model, tmp_path / "model"),
        (_read_part, tmp_path / "DFGNet.pth"),
    ):
        if isinstance(error, OSError | zlib.error) and read in (
            read_radiance,
            modelstore.load_model,
        ):
            continue  # which these libraries do not raise
        with pytest.raises(DeviceError, match="not enough memory"):
            read(str(path) if read is modelstore.load_model else path)


def test_what_c_code_fails_by_where_there_is_no_memory(monkeypatch):
    odd = SystemError("error return without exception set")
    assert not is_out_of_memory(odd)
    monkeypatch.setattr("dfghdr_cli.errors._LEAST", 1 << 62)
    assert is_out_of_memory(odd)
    assert not is_out_of_memory(ValueError("broken data stream"))


def test_what_is_damaged_is_not_said_to_lack_memory():
    for error in (ValueError("broken data stream"), OSError(5, "Input/output error"), KeyError(4)):
        assert not is_out_of_memory(error)


def test_a_model_larger_than_its_weights_is_refused_before_it_is_built(tmp_path):
    modelstore.save_model(tmp_path / "m", build("dfgnet", SMALL))
    config = tmp_path / "m" / modelfolders.CONFIG
    values = json.loads(config.read_text())
    values["hyper_parameters"] |= {"width": 60_000, "code_length": 60_000}
    config.write_text(json.dumps(values))
    with pytest.raises(ModelError, match="do not fit"):
        modelstore.load_model(str(tmp_path / "m"))


def test_text_files_have_an_end(tmp_path):
    modelstore.save_model(tmp_path / "m", build("dfgnet", SMALL))
    config = tmp_path / "m" / modelfolders.CONFIG
    for text in ('{"a":' * 100_000, '{"a": "' + "x" * 2_000_000):
        config.write_text(text)
        with pytest.raises(ModelError, match=r"config\.json is damaged"):
            modelstore.read_info(tmp_path / "m")
    with pytest.raises(InputError, match="too long"):
        read_text(config)
    assert scene_files(tmp_path / "m") == []


def test_an_archive_that_unpacks_to_much_more_is_refused(tmp_path):
    path = tmp_path / "DFGNet.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("archive/data.pkl", bytes(100 << 20))
    with pytest.raises(ValueError, match="would unpack to 104857600"):
        limits.ensure_unpacked_size(path)
    with pytest.raises(ModelError, match="no file of plain weights"):
        _read_part(path)


def test_a_picture_in_very_many_scans_is_refused(tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("RGB", (64, 64)).save(path, progressive=True)
    data = path.read_bytes()
    assert read_frame(path).pixels.shape == (64, 64, 3)
    at = data.index(b"\xff\xda")
    path.write_bytes(data[:at] + data[at:-2] * 50 + data[-2:])
    with pytest.raises(InputError, match="as no camera writes it"):
        read_frame(path)


def test_markers_are_found_in_linear_time(tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("RGB", (64, 64)).save(path)
    data = path.read_bytes()
    header = read_jpeg_header(data)
    scans, complete = scans_of(data, header)
    assert len(scans) == 1
    assert complete
    before = time.process_time()
    assert not scans_of(data[: header.scans] + b"\xff" * 300_000 + b"\0", header)[1]
    assert time.process_time() - before < 2  # it was hours


def test_not_all_of_a_million_pages_are_looked_at(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for _ in range(120):
            file.write(np.full((8, 8, 3), 9, np.uint8), photometric="rgb", metadata=None)
    seen = []
    original = tifffile.TiffPage.__init__

    def counted(page, *arguments, **options):
        seen.append(page)
        original(page, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tifffile.TiffPage, "__init__", counted)
        assert read_frame(path).pixels.shape == (8, 8, 3)
    assert 1 < len(seen) <= 102


def test_weights_of_vgg_that_unpack_to_much_more_are_refused(tmp_path):
    path = tmp_path / "vgg.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("block1_conv1.kernel.npy", bytes(100 << 20))
    with pytest.raises(InputError, match=r"vgg\.npz"):
        read_vgg(path)


def test_weights_end_where_their_header_says(tmp_path):
    """However long the file is: this one is sparse."""
    modelstore.save_model(tmp_path / "m", build("dfgnet", SMALL), golden={"x": torch.zeros(9)})
    for name in (modelstore.WEIGHTS, modelstore.GOLDEN):
        path = tmp_path / "m" / name
        os.truncate(path, 1 << 40)
        with pytest.raises(ModelError, match="behind its end"):
            modelstore.read_tensors(path)
    with pytest.raises(ModelError, match="cannot be read"):
        modelstore.load_model(str(tmp_path / "m"))


def test_a_golden_case_of_many_pixels_is_refused_unread(tmp_path, monkeypatch):
    golden = {"x": torch.zeros(9)}
    modelstore.save_model(tmp_path / "m", build("dfgnet", SMALL), golden=golden)
    model = modelstore.load_model(str(tmp_path / "m"))
    header = json.dumps({"x": {"dtype": "U8", "shape": [1 << 40], "data_offsets": [0, 1 << 40]}})
    path = tmp_path / "m" / modelstore.GOLDEN
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode())
    os.truncate(path, 1 << 41)
    monkeypatch.setattr(modelstore, "read_tensors", lambda _: pytest.fail("it was read"))
    with pytest.raises(ModelError, match="too large"):
        modelstore.verify(model)


@pytest.mark.parametrize(
    ("architecture", "name", "value"),
    [
        ("dfgmerge", "correction", [8, "a", 8]),
        ("dfgmerge", "correction", float("nan")),
        ("dfgmerge", "correction", True),
        ("dfgmerge", "width", 8),
        ("dfgmerge", "width", [8, 8]),
        ("dfgmerge", "width", [8, 8.5, 8]),
        ("dfgnet", "width", [8, 8, 8]),
        ("dfgnet", "eau", "no"),
        ("dfgnet", "eau", 0),
        ("dfgnet", "code_length", 8.0),
        ("dfgnet", "upsampling", None),
    ],
)
def test_hyper_parameters_are_of_their_kind(architecture, name, value):
    with pytest.raises(ModelError, match=f"impossible hyper-parameters.*{name}"):
        build(architecture, {name: value})


@pytest.mark.parametrize("offsets", [[], [0], [0, -(1 << 40)], [0, 1e400], ["a", "b"], None, {}])
def test_offsets_of_weights_that_are_none_are_refused(tmp_path, offsets):
    entry = {"dtype": "F32", "shape": [1], "data_offsets": offsets}
    header = json.dumps({"x": entry}).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(ModelError, match="cannot be read"):
        modelstore.read_tensors(path)
