"""Sound small inputs of every kind that the program reads, for `mutations` to change."""

from __future__ import annotations

import os
import struct
import traceback
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

WIDTH, HEIGHT = 64, 48
STOPS = (-2, 0, 2)
FIXTURES = Path(__file__).parents[2] / "tests" / "fixtures" / "published-width8"
_COARSE = np.random.default_rng(7).uniform(0.0, 1.0, (6, 8, 3)).astype(np.float32)
LIGHT = 0.01 * 130 ** cv2.resize(_COARSE, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
"""(HEIGHT, WIDTH, 3) linear, 1 = white of the middle frame."""


def codes(stops: float, kind: str = "u1") -> NDArray[np.generic]:
    """LIGHT as a camera of the power 2.2 stores it, as an integer or float type."""
    shown = np.clip(LIGHT * 2.0**stops, 0, 1) ** (1 / 2.2)
    if kind[0] == "f":
        return shown.astype(kind)
    return np.rint(shown * np.iinfo(kind).max).astype(kind)


def exif(stops: float) -> Image.Exif:
    """EXIF data with one of almost everything."""
    data = Image.Exif()
    for tag, value in (
        *((0x010E, "Words"), (0x010F, "Maker"), (0x0110, "Camera 7"), (0x0112, 1)),
        *((0x0131, "Firmware 1.2"), (0x0132, "2024:05:06 07:08:09"), (0x013B, "An artist")),
        *((0x8298, "Whose it is"), (0x9C9B, "Title".encode("utf-16-le"))),
    ):
        data[tag] = value
    data.get_ifd(0x8769).update(
        {
            0x829A: IFDRational(1, round(100 * 2.0**-stops)),
            **{0x829D: IFDRational(28, 10), 0x8827: 100, 0x8830: 2, 0x8832: 100},
            **{0x9003: "2024:05:06 07:08:09", 0x9011: "+02:00", 0x9291: "12"},
            **{0x9201: IFDRational(664 - 100 * round(stops), 100), 0x9202: IFDRational(297, 100)},
            **{0x9204: IFDRational(round(stops), 1), 0x9207: 5, 0x9209: 16},
            **{0x920A: IFDRational(35, 1), 0x927C: b"Notes" + bytes(40)},
            **{0x9286: b"ASCII\0\0\0a comment", 0xA001: 1, 0xA431: "SN1"},
            **{
                0xA432: (
                    IFDRational(24, 1),
                    IFDRational(70, 1),
                    IFDRational(4, 1),
                    IFDRational(4, 1),
                )
            },
            **{0xA433: "LensMaker", 0xA434: "Lens 35", 0xA435: "SN2"},
        }
    )
    data.get_ifd(0x8825).update(
        {
            **{0: b"\2\3\0\0", 1: "N", 2: (IFDRational(48), IFDRational(8), IFDRational(123, 10))},
            **{3: "E", 4: (IFDRational(11), IFDRational(34), IFDRational(0)), 5: b"\0"},
            **{
                6: IFDRational(5200, 10),
                7: (IFDRational(5), IFDRational(8), IFDRational(9)),
                29: "2024:05:06",
            },
        }
    )
    return data


def png_chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG, with its check sum."""
    check = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)


def _png_with_chunks(path: Path, stops: float) -> None:
    data = imagecodecs.png_encode(codes(stops))
    colours = (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
    chunks = (
        (b"cHRM", struct.pack(">8I", *colours)),
        (b"gAMA", struct.pack(">I", 45455)),
        (b"eXIf", exif(stops).tobytes()[6:]),
        (b"tEXt", b"Comment\0words"),
        (b"cICP", bytes((12, 13, 0, 1))),
    )
    path.write_bytes(data[:33] + b"".join(png_chunk(*one) for one in chunks) + data[33:])


def _dng(path: Path, stops: float) -> None:
    from tests.conftest import write_dng

    camera = np.array((0.5, 1.0, 0.75))
    write_dng(path, LIGHT * 2.0**stops * camera, time=(1, round(100 * 2.0**-stops)), noise=3.0)


def _tiff(path: Path, stops: float, kind: str = "u1", **options: object) -> None:
    pixels = codes(stops, kind)
    if options.get("planarconfig") == "separate":
        pixels = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
    tifffile.imwrite(path, pixels, **{"photometric": "rgb", **options})


def _pages(path: Path, stops: float) -> None:
    with tifffile.TiffWriter(path) as file:
        for size in (1, 2):
            file.write(np.ascontiguousarray(codes(stops)[::size, ::size]), photometric="rgb")


def _pillow(path: Path, stops: float, **options: object) -> None:
    Image.fromarray(codes(stops)).save(path, exif=exif(stops), **options)


def _prophoto() -> bytes:
    return bytes(
        imagecodecs.cms_profile(
            "rgb",
            whitepoint=(0.3457, 0.3585, 1.0),
            primaries=(0.7347, 0.2653, 1.0, 0.1596, 0.8404, 1.0, 0.0366, 0.0001, 1.0),
            gamma=1.8,
        )
    )


Writer = Callable[[Path, float], object]
PHOTOGRAPHS: dict[str, tuple[str, Writer]] = {
    "jpeg": (".jpg", lambda p, s: _pillow(p, s, quality=92, icc_profile=_prophoto())),
    "progressive": (".jpg", lambda p, s: _pillow(p, s, quality=80, progressive=True)),
    "grey": (".jpg", lambda p, s: Image.fromarray(codes(s)[..., 1]).save(p, exif=exif(s))),
    "ultrahdr": (".jpg", lambda p, s: _ultrahdr(p, s)),
    "mpo": (".mpo", lambda p, s: _mpo(p, s)),
    "png": (".png", lambda p, s: _pillow(p, s)),
    "png16": (".png", lambda p, s: p.write_bytes(imagecodecs.png_encode(codes(s, "u2")))),
    "pngchunks": (".png", _png_with_chunks),
    "webp": (".webp", lambda p, s: _pillow(p, s, quality=90)),
    "avif": (".avif", lambda p, s: _pillow(p, s, quality=90)),
    "jxl": (".jxl", lambda p, s: p.write_bytes(imagecodecs.jpegxl_encode(codes(s, "u2")))),
    "heic": (".heic", lambda p, s: _heic(p, s)),
    "heictiles": (".heic", lambda p, s: _heic(p, s, tile_size=32)),
    "tiff": (".tif", lambda p, s: _tiff(p, s, compression="lzw")),
    "tiff16": (".tif", lambda p, s: _tiff(p, s, "u2", compression="zlib", predictor=True)),
    "tiff32": (".tif", lambda p, s: _tiff(p, s, "f4", compression="zlib", predictor=True)),
    "tiffhalf": (".tif", lambda p, s: _tiff(p, s, "f2")),
    "tifftiles": (".tif", lambda p, s: _tiff(p, s, "u2", tile=(32, 32), compression="zstd")),
    "tiffjpeg": (".tif", lambda p, s: _tiff(p, s, compression="jpeg", rowsperstrip=16)),
    "tiffbig": (".tif", lambda p, s: _tiff(p, s, "u2", bigtiff=True, byteorder=">")),
    "tiffplanes": (".tif", lambda p, s: _tiff(p, s, planarconfig="separate")),
    "tifflzma": (".tif", lambda p, s: _tiff(p, s, compression="lzma")),
    "pages": (".tif", _pages),
    "dng": (".dng", _dng),
}


def _mpo(path: Path, stops: float) -> None:
    pixels = codes(stops)
    more = [Image.fromarray(np.ascontiguousarray(pixels[:, ::-1]))]
    Image.fromarray(pixels).save(path, "MPO", save_all=True, append_images=more, exif=exif(stops))


def _heic(path: Path, stops: float, **options: object) -> None:
    import pillow_heif

    made = pillow_heif.from_pillow(Image.fromarray(codes(stops)))
    made.save(path, quality=90, exif=exif(stops).tobytes(), **options)


def _ultrahdr(path: Path, stops: float) -> None:
    light = np.ones((HEIGHT, WIDTH, 4), np.float16)
    light[..., :3] = LIGHT * 2.0**stops
    path.write_bytes(imagecodecs.ultrahdr_encode(light))


def _linear(folder: Path) -> None:
    import OpenEXR

    from dfghdr_cli.core.types import RadianceImage
    from dfghdr_cli.io.radiance import write_radiance

    light = np.ascontiguousarray(LIGHT * 4, np.float32)
    half = light.astype(np.float16)

    def write(name: str, channels: dict[str, object], **header: object) -> None:
        header = {"type": OpenEXR.scanlineimage, **header}
        with OpenEXR.File(header, channels) as file:
            file.write(str(folder / name))

    for name in ("NO", "RLE", "ZIPS", "ZIP", "PIZ", "PXR24", "B44", "DWAA", "DWAB"):
        compression = getattr(OpenEXR, f"{name}_COMPRESSION")
        write(
            f"{name.lower()}.exr",
            {"RGB": half if len(name) % 2 else light},
            compression=compression,
            chromaticities=(0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329),
            expTime=0.01,
            capDate="2024:05:06 07:08:09",
            latitude=48.1,
            longitude=11.5,
            cameraMake="Maker",
        )
    tiles = OpenEXR.TileDescription()
    tiles.xSize, tiles.ySize = 32, 16
    write("tiles.exr", {"RGB": light}, type=OpenEXR.tiledimage, tiles=tiles)
    window = {"dataWindow": (np.array([5, 6], "i4"), np.array([4 + WIDTH, 5 + HEIGHT], "i4"))}
    window["displayWindow"] = (np.array([0, 0], "i4"), np.array([79, 59], "i4"))
    write("window.exr", {"RGB": light}, **window)
    grey = np.ascontiguousarray(half.mean(axis=2))
    write("grey.exr", {"Y": grey})
    opaque = np.dstack([half, np.ones_like(grey)])
    write("layers.exr", {"left.RGBA": np.ascontiguousarray(opaque), "Z": grey})
    odd = light.copy()
    odd[3, 4:8] = ((np.nan,) * 3, (np.inf,) * 3, (-3, -3, -3), (1e30, 1e30, 1e30))
    write("odd.exr", {"RGB": odd})
    parts = [
        OpenEXR.Part({"type": OpenEXR.scanlineimage}, {"Z": grey}, "depth"),
        OpenEXR.Part({"type": OpenEXR.scanlineimage}, {"RGB": half}, "beauty"),
    ]
    with OpenEXR.File(parts) as file:
        file.write(str(folder / "parts.exr"))
    write_radiance(folder / "own.exr", RadianceImage(light, 4.0))
    write_radiance(folder / "own.hdr", RadianceImage(light, 4.0))
    cv2.imwrite(str(folder / "flat.hdr"), np.ascontiguousarray(light[:, :6, ::-1]))
    head, rest = (folder / "own.hdr").read_bytes().split(b"\n", 1)
    lines = b"\nEXPOSURE=2.0\nPRIMARIES= 0.64 0.33 0.3 0.6 0.15 0.06 0.3127 0.329\nVIEW= -vtv\n"
    (folder / "lines.hdr").write_bytes(head + lines + rest)


def _scene(folder: Path) -> None:
    from dfghdr_cli.core.types import RadianceImage
    from dfghdr_cli.io.radiance import write_radiance

    scene = folder / "one"
    scene.mkdir()
    for number, stops in enumerate((0, 2, 4)):
        pixels = np.rint(np.clip(LIGHT * 2.0**stops / 4, 0, 1) ** (1 / 2.2) * 65535)
        tifffile.imwrite(scene / f"{number}.tif", pixels.astype(np.uint16), photometric="rgb")
    (scene / "exposure.txt").write_text("0\r\n2\r\n4\r\n")
    truth = RadianceImage(np.clip(LIGHT / 4, 0, 1).astype(np.float32), 1.0)
    write_radiance(scene / "HDRImg.hdr", truth)
    moving = np.zeros((HEIGHT, WIDTH), np.uint8)
    moving[10:30, 20:40] = 255
    Image.fromarray(moving).save(scene / "motion.png")
    (folder / "predictions").mkdir()
    write_radiance(folder / "predictions" / "one.exr", truth)


def _models(folder: Path) -> None:
    import torch

    from dfghdr_cli.modelstore import install_model
    from dfghdr_cli.nets.registry import build

    torch.manual_seed(0)
    small = {"disentangle_width": 4, "code_length": 8}
    merge = build("dfgmerge", {"width": (8, 8, 8), **small}).eval()
    paint = build("dfgnet", {"width": 4, **small}, decoder=True).eval()
    for name, network in (("merge", merge), ("paint", paint)):
        install_model(network, name, folder)
        (folder / name / "README.md").write_text("# A card\n\nWords.\n")


def _published(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file

    for path in FIXTURES.glob("*.safetensors"):
        if path.stem != "io":
            torch.save(load_file(path), folder / f"{path.stem}.pth")


def _tables(folder: Path) -> None:
    steps = np.linspace(0, 1, 33)
    rows = [f"{a:.6g},{b:.6g},{b:.6g},{b:.6g}" for a, b in zip(steps, steps**2.2, strict=True)]
    (folder / "rgb.csv").write_text("\n".join(["# words", "code,red,green,blue", *rows, ""]))
    rows = [f"{code},{(code / 255) ** 2.2:.6g}" for code in range(256)]
    (folder / "one.csv").write_text("\n".join(["code,exposure", *rows, ""]))
    (folder / "dfghdr.toml").write_text(
        'ev = "-2,0,2"\n[merge]\nresponse = "srgb"\nalign = "none"\nmethod = "classic"\n'
        'exr-type = "float"\npreview = false\n[tonemap]\noperator = "gamma"\n'
    )


def write_seeds(folder: Path) -> None:
    """Write all of them, a folder a kind, below a folder that is not there yet.

    In a child, since libraries that write files begin threads, which must not be in a process that
    is to be forked.
    """
    child = os.fork()
    if not child:
        code = 1
        try:
            _write_seeds(folder)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    if os.waitpid(child, 0)[1]:
        raise RuntimeError("the seeds could not be written")


def _write_seeds(folder: Path) -> None:
    for kind, (suffix, write) in PHOTOGRAPHS.items():
        place = folder / "photographs" / kind
        place.mkdir(parents=True)
        for number, stops in enumerate(STOPS):
            write(place / f"{number}{suffix}", stops)
    for name, make in (
        *(("linear", _linear), ("scene", _scene), ("models", _models)),
        *(("published", _published), ("tables", _tables)),
    ):
        (folder / name).mkdir()
        make(folder / name)
