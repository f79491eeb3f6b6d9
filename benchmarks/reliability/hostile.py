"""Files made to do harm: tiny ones that promise much, and models that hold programs: hostile.py.

    nice python benchmarks/reliability/hostile.py

Each is handed to the command that reads such a file, which must end in success or one sentence,
within 60 s and 2 GiB, and must run nothing that the file says.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from forked import Program, contents, say, verdict
from seeds import codes, png_chunk, write_seeds

Arguments = list[str]
FILES: dict[str, Callable[[Path, Path], Arguments]] = {}
"""Name to what makes a case of (seeds, an empty folder)."""


def case(make: Callable[[Path, Path], Arguments]) -> Callable[[Path, Path], Arguments]:
    """Note a case by its function's name."""
    FILES[make.__name__.replace("_", " ")] = make
    return make


def merge(folder: Path, name: str, data: bytes) -> Arguments:
    """The file and a sound one to be merged."""
    import tifffile

    (folder / name).write_bytes(data)
    tifffile.imwrite(folder / "sound.tif", codes(-1), photometric="rgb")
    options = ["--ev", "1,-1", "--method", "classic", "--align", "none", "-o", "result.exr"]
    return ["merge", name, "sound.tif", *options]


def png(width: int, height: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """An RGB PNG whose IDAT unpacks to `rows`."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts)


def tiff(entries: dict[int, tuple[int, int]], body: bytes = b"") -> bytes:
    """A TIFF of entries of one value, tag to type and value; `body` begins at byte 8."""
    start = 8 + len(body)
    packed = [struct.pack("<HHII", tag, *_one(*value)) for tag, value in sorted(entries.items())]
    folder = struct.pack("<H", len(packed)) + b"".join(packed) + bytes(4)
    return b"II*\0" + struct.pack("<I", start) + body + folder


def _one(kind: int, value: int) -> tuple[int, int, int]:
    return kind, 1, value


def rgb(width: int, height: int, **more: int) -> dict[int, tuple[int, int]]:
    """Entries of a grey TIFF of one strip."""
    tags = {"compression": 259, "tile_width": 322, "tile_height": 323, "offset": 324, "count": 325}
    found = {
        **{256: (4, width), 257: (4, height), 258: (3, 8), 259: (3, 1), 262: (3, 1)},
        **{273: (4, 8), 277: (3, 1), 278: (4, height), 279: (4, 100)},
    }
    return found | {tags[name]: (4, value) for name, value in more.items()}


def exr(data: tuple[int, ...], display: tuple[int, ...], body: bytes = b"") -> bytes:
    """An OpenEXR header of three half channels, with windows as named, and what follows it."""

    def attribute(name: bytes, kind: bytes, value: bytes) -> bytes:
        return name + b"\0" + kind + b"\0" + struct.pack("<i", len(value)) + value

    channels = b"".join(n + b"\0" + struct.pack("<iiii", 1, 0, 1, 1) for n in (b"B", b"G", b"R"))
    return (
        b"\x76\x2f\x31\x01\x02\0\0\0"
        + attribute(b"channels", b"chlist", channels + b"\0")
        + attribute(b"compression", b"compression", b"\3")
        + attribute(b"dataWindow", b"box2i", struct.pack("<4i", *data))
        + attribute(b"displayWindow", b"box2i", struct.pack("<4i", *display))
        + attribute(b"lineOrder", b"lineOrder", b"\0")
        + attribute(b"pixelAspectRatio", b"float", struct.pack("<f", 1))
        + attribute(b"screenWindowCenter", b"v2f", bytes(8))
        + attribute(b"screenWindowWidth", b"float", struct.pack("<f", 1))
        + b"\0"
        + body
    )


def tonemap(folder: Path, name: str, data: bytes) -> Arguments:
    """A linear picture to be shown."""
    (folder / name).write_bytes(data)
    return ["tonemap", name, "-o", "result.jpg", "--operator", "gamma"]


@case
def png_of_60000(_: Path, folder: Path) -> Arguments:
    """Only the header is large."""
    return merge(folder, "a.png", png(60000, 60000, bytes(4000)))


@case
def png_whole_of_9000(_: Path, folder: Path) -> Arguments:
    """All its pixels are there, and equal."""
    return merge(folder, "a.png", png(9000, 9000, bytes(9000 * 27001)))


@case
def png_with_text_of_a_gigabyte(_: Path, folder: Path) -> Arguments:
    """A zTXt chunk, compressed twice as well as anything."""
    text = b"Comment\0\0" + _zeros(1 << 30)
    profile = b"icc\0\0" + _zeros(1 << 29)
    rows = b"".join(b"\0" + row.tobytes() for row in codes(1))
    height, width = codes(1).shape[:2]
    return merge(folder, "a.png", png(width, height, rows, (b"iCCP", profile), (b"zTXt", text)))


def _zeros(count: int) -> bytes:
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    return b"".join(packer.compress(block) for _ in range(count >> 20)) + packer.flush()


def _jpeg_of(side: int, **options: object) -> bytes:
    from PIL import Image

    made = io.BytesIO()
    Image.new("RGB", (16, 16)).save(made, "JPEG", **options)
    data = bytearray(made.getvalue())
    at = data.index(b"\xff\xc2" if options.get("progressive") else b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", side, side)
    return bytes(data)


@case
def jpeg_of_22000(_: Path, folder: Path) -> Arguments:
    """As the header says."""
    return merge(folder, "a.jpg", _jpeg_of(22000))


@case
def jpeg_of_many_scans(_: Path, folder: Path) -> Arguments:
    """Each goes over all pixels again."""
    data = _jpeg_of(3900, progressive=True)
    at = data.index(b"\xff\xda")
    return merge(folder, "a.jpg", data[:at] + data[at:-2] * 3000 + data[-2:])


@case
def tiff_of_one_huge_tile(_: Path, folder: Path) -> Arguments:
    """64 pixels a side, in a tile of 65536."""
    more = {"compression": 8, "tile_width": 65536, "tile_height": 65536, "offset": 8, "count": 60}
    return merge(folder, "a.tif", tiff(rgb(64, 64, **more), zlib.compress(bytes(4096)).ljust(60)))


@case
def tiff_of_a_deflated_strip(_: Path, folder: Path) -> Arguments:
    """The strip unpacks to 2 GiB for 64 pixels a side."""
    body = _zeros(1 << 31)
    entries = rgb(64, 64, compression=8) | {279: (4, len(body))}
    return merge(folder, "a.tif", tiff(entries, body))


@case
def tiff_of_a_column(_: Path, folder: Path) -> Arguments:
    """One pixel wide."""
    return merge(folder, "a.tif", tiff(rgb(1, 400_000_000), bytes(400)))


@case
def tiff_of_a_million_pages(_: Path, folder: Path) -> Arguments:
    """Each of which leads to the next; the last to the first."""
    page = struct.pack("<H", 1) + struct.pack("<HHII", 256, 3, 1, 8)
    pages = [page + struct.pack("<I", 8 + 18 * (i + 1)) for i in range(40_000)]
    pages[-1] = page + struct.pack("<I", 8)
    return merge(folder, "a.tif", b"II*\0" + struct.pack("<I", 8) + b"".join(pages))


@case
def tiff_of_tags_of_gigabytes(_: Path, folder: Path) -> Arguments:
    """A description of 2 GB in 100 bytes."""
    data = bytearray(tiff(rgb(64, 64) | {270: (2, 8), 700: (1, 8), 34675: (7, 8)}, bytes(4096)))
    for tag in (270, 700, 34675):
        at = data.index(struct.pack("<H", tag), 4096)
        data[at + 4 : at + 8] = struct.pack("<I", 0x7FFFFFFF)
    return merge(folder, "a.tif", bytes(data))


@case
def exif_in_circles(_: Path, folder: Path) -> Arguments:
    """Folders of tags that lead to one another."""
    from PIL import Image

    block = b"Exif\0\0" + tiff({0x8769: (4, 8), 0x8825: (4, 8), 0xA005: (4, 8), 0x14A: (4, 8)})
    made = io.BytesIO()
    Image.fromarray(codes(1)).save(made, "JPEG", exif=block)
    return merge(folder, "a.jpg", made.getvalue())


def _dng(seeds: Path, side: int) -> bytes:
    data = bytearray((seeds / "photographs" / "dng" / "0.dng").read_bytes())
    for tag in (256, 257):
        for kind, form in ((3, "<HHIHxx"), (4, "<HHII")):
            for old in (48, 64):
                entry = struct.pack(form, tag, kind, 1, old)
                if entry in data:
                    at = data.index(entry)
                    data[at : at + 12] = struct.pack("<HHII", tag, 4, 1, side)
    return bytes(data)


@case
def dng_of_30000(seeds: Path, folder: Path) -> Arguments:
    """A raw file with the mosaic of 64."""
    return merge(folder, "a.dng", _dng(seeds, 30000))


@case
def dng_of_3900(seeds: Path, folder: Path) -> Arguments:
    """Just not too large to be looked at."""
    return merge(folder, "a.dng", _dng(seeds, 3900))


def _said_to_be_30000(seeds: Path, folder: Path, kind: str) -> Arguments:
    """As the box of its size says."""
    data = bytearray((seeds / "photographs" / kind / f"0.{kind}").read_bytes())
    at = data.index(b"ispe") + 8
    data[at : at + 8] = struct.pack(">II", 30000, 30000)
    return merge(folder, f"a.{kind}", bytes(data))


@case
def heic_of_30000(seeds: Path, folder: Path) -> Arguments:
    """By its box."""
    return _said_to_be_30000(seeds, folder, "heic")


@case
def avif_of_30000(seeds: Path, folder: Path) -> Arguments:
    """By its box."""
    return _said_to_be_30000(seeds, folder, "avif")


@case
def jxl_of_one_colour(_: Path, folder: Path) -> Arguments:
    """8000 pixels a side in some hundred bytes."""
    import imagecodecs

    return merge(folder, "a.jxl", bytes(imagecodecs.jpegxl_encode(np.zeros((8000, 8000, 3), "u1"))))


@case
def webp_of_one_colour(_: Path, folder: Path) -> Arguments:
    """16383 pixels a side, which is all that the format can."""
    from PIL import Image

    Image.new("RGB", (16383, 16383)).save(folder / "a.webp", lossless=True, method=0)
    return merge(folder, "a.webp", (folder / "a.webp").read_bytes())


@case
def exr_of_a_huge_display_window(_: Path, folder: Path) -> Arguments:
    """Four pixels of it are there."""
    return tonemap(folder, "a.exr", exr((0, 0, 3, 3), (0, 0, 22999, 22999), bytes(200)))


@case
def exr_of_a_huge_data_window(_: Path, folder: Path) -> Arguments:
    """Of which a table of offsets is there."""
    return tonemap(folder, "a.exr", exr((0, 0, 19999, 19999), (0, 0, 3, 3), bytes(10_000)))


@case
def exr_at_the_end_of_integers(_: Path, folder: Path) -> Arguments:
    """Where sums overflow."""
    window = (-(2**31), -(2**31), 2**31 - 1, 2**31 - 1)
    return tonemap(folder, "a.exr", exr(window, window, bytes(200)))


@case
def hdr_of_22000(_: Path, folder: Path) -> Arguments:
    """In runs of 127 equal values."""
    row = b"\2\2" + struct.pack(">H", 22000) + 4 * (b"\xff\0" * 173 + b"\x9d\0")
    head = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 22000 +X 22000\n"
    return tonemap(folder, "a.hdr", head + row * 500)


@case
def truth_of_23000(seeds: Path, folder: Path) -> Arguments:
    """A scene for eval."""
    shutil.copytree(seeds / "scene" / "one", folder / "one")
    (folder / "one" / "HDRImg.hdr").unlink()
    (folder / "one" / "HDRImg.exr").write_bytes(exr((0, 0, 3, 3), (0, 0, 22999, 22999), bytes(99)))
    return ["eval", "one", "--method", "classic", "--metrics", "basic"]


@case
def exposures_without_end(seeds: Path, folder: Path) -> Arguments:
    """A sparse text of 8 GB."""
    shutil.copytree(seeds / "scene" / "one", folder / "one")
    os.truncate(folder / "one" / "exposure.txt", 8 << 30)
    return ["eval", "one", "--method", "classic", "--metrics", "basic"]


@case
def exposures_far_apart(seeds: Path, folder: Path) -> Arguments:
    """As many stops as a float has."""
    shutil.copytree(seeds / "scene" / "one", folder / "one")
    (folder / "one" / "exposure.txt").write_text("-1e308\n0\n1e308\n")
    return ["eval", "one", "--method", "classic", "--metrics", "basic"]


@case
def npy_exposures_that_are_a_program(seeds: Path, folder: Path) -> Arguments:
    """A scene of NTIRE's layout, whose exposures are a pickled object."""
    import tifffile

    scene = folder / "scene"
    scene.mkdir()
    for number in range(3):
        pixels = tifffile.imread(seeds / "photographs" / "tiff" / f"{number}.tif")
        _save_png(scene / f"{number}.png", pixels)
    _save_png(scene / "gt.png", pixels)
    np.save(scene / "exposures.npy", np.array([_Program()], object), allow_pickle=True)
    np.save(scene / "alignratio.npy", np.ones(1))
    return ["eval", "scene", "--method", "classic", "--metrics", "basic"]


def _save_png(path: Path, pixels: np.ndarray) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(path)


def _model(seeds: Path, folder: Path, which: str = "paint") -> Path:
    place = folder / "models" / which
    shutil.copytree(seeds / "models" / which, place)
    return place


def _configured(seeds: Path, folder: Path, **values: object) -> Arguments:
    config = _model(seeds, folder) / "config.json"
    content = json.loads(config.read_text())
    content["hyper_parameters"] |= values
    config.write_text(json.dumps(content))
    return ["models", "verify", "models/paint"]


@case
def model_of_width_6000(seeds: Path, folder: Path) -> Arguments:
    """As its configuration says."""
    return _configured(seeds, folder, width=6000)


@case
def model_of_width_10_9(seeds: Path, folder: Path) -> Arguments:
    """Likewise."""
    return _configured(seeds, folder, width=10**9, disentangle_width=10**9)


@case
def model_of_code_length_10_18(seeds: Path, folder: Path) -> Arguments:
    """Likewise."""
    return _configured(seeds, folder, code_length=10**18)


@case
def model_of_a_deep_configuration(seeds: Path, folder: Path) -> Arguments:
    """Nested 100 000 times."""
    (_model(seeds, folder) / "config.json").write_text('{"a":' * 100_000)
    return ["models", "list"]


@case
def model_of_sparse_files(seeds: Path, folder: Path) -> Arguments:
    """Of 8 GB each."""
    for name in ("config.json", "README.md", "model.safetensors", "golden.safetensors"):
        os.truncate(_model(seeds, folder / name) / name, 8 << 30)
    places = [f"{name}/models/paint" for name in ("README.md", "model.safetensors")]
    return ["models", "verify", *places, "config.json/models/paint"]


@case
def model_with_a_header_of_2_60(seeds: Path, folder: Path) -> Arguments:
    """Bytes, it says."""
    path = _model(seeds, folder) / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 60) + path.read_bytes()[8:])
    return ["models", "show", "models/paint"]


@case
def golden_case_of_20000(seeds: Path, folder: Path) -> Arguments:
    """A golden input of many pixels, that are there in a sparse file."""
    path = _model(seeds, folder) / "golden.safetensors"
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    for name, value in header.items():
        if name != "__metadata__" and len(value["shape"]) >= 4:
            value["shape"] = [*value["shape"][:-2], 20000, 20000]
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    return ["models", "verify", "models/paint"]


class _Program:
    """What pickle would run."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch EXECUTED",)


@case
def weights_that_are_a_program(seeds: Path, folder: Path) -> Arguments:
    """A pickle, as old PyTorch wrote them."""
    shutil.copytree(seeds / "published", folder / "published")
    (folder / "published" / "DFGNet.pth").write_bytes(pickle.dumps(_Program()))
    return ["models", "import", "published", "--name", "new", "--models-dir", "models"]


@case
def weights_whose_archive_holds_a_program(seeds: Path, folder: Path) -> Arguments:
    """An archive, as new PyTorch writes them."""
    shutil.copytree(seeds / "published", folder / "published")
    path = folder / "published" / "DFGNet.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(_Program(), protocol=2))
        archive.writestr("archive/version", "3\n")
    return ["models", "import", "published", "--name", "new", "--models-dir", "models"]


@case
def weights_that_unpack_to_gigabytes(seeds: Path, folder: Path) -> Arguments:
    """An archive of zeros."""
    shutil.copytree(seeds / "published", folder / "published")
    path = folder / "published" / "DFGNet.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 30))
    return ["models", "import", "published", "--name", "new", "--models-dir", "models"]


def _train(folder: Path, *options: str) -> Arguments:
    import OpenEXR

    (folder / "light").mkdir()
    light = np.random.default_rng(1).uniform(0.1, 4, (72, 72, 3)).astype(np.float32)
    with OpenEXR.File({"type": OpenEXR.scanlineimage}, {"RGB": light}) as file:
        file.write(str(folder / "light" / "one.exr"))
    small = ["--crop", "64", "--batch", "1", "--workers", "0", "--architecture", "dfgnet"]
    small += ["--width", "4", "--steps", "1", "--disentangle-steps", "1", "--device", "cpu"]
    return ["train", "light", "--run", "run", *small, *options]


@case
def npz_that_unpacks_to_gigabytes(_: Path, folder: Path) -> Arguments:
    """Weights of VGG-19, all zeros."""
    with zipfile.ZipFile(folder / "v.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("block1_conv1.kernel.npy", bytes(1 << 30))
    return _train(folder, "--vgg", "v.npz")


@case
def npz_that_is_a_program(_: Path, folder: Path) -> Arguments:
    """Weights of VGG-19 that are pickled objects."""
    np.savez(folder / "v.npz", **{"block1_conv1.kernel": np.array([_Program()], object)})
    return _train(folder, "--vgg", "v.npz")


@case
def npz_of_an_array_of_10_12(_: Path, folder: Path) -> Arguments:
    """As the header of the array within says."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }"
    header = header.ljust(117) + b"\n"
    array = b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + bytes(64)
    with zipfile.ZipFile(folder / "v.npz", "w") as archive:
        archive.writestr("block1_conv1.kernel.npy", array)
    return _train(folder, "--vgg", "v.npz")


@case
def external_network_that_is_a_program(seeds: Path, folder: Path) -> Arguments:
    """A pickle where TorchScript is expected."""
    shutil.copytree(seeds / "scene" / "one", folder / "one")
    (folder / "n.pt").write_bytes(pickle.dumps(_Program()))
    return ["eval", "one", "--external", "other=n.pt", "--metrics", "basic"]


@case
def checkpoint_that_is_a_program(_: Path, folder: Path) -> Arguments:
    """Of a training to go on with."""
    (folder / "run").mkdir()
    (folder / "run" / "config.json").write_text("{}")
    (folder / "run" / "checkpoint.pt").write_bytes(pickle.dumps(_Program()))
    return _train(folder, "--no-perceptual", "--resume")


@case
def response_of_many_rows(seeds: Path, folder: Path) -> Arguments:
    """Just not too large to be read."""
    rows = "\n".join(f"{number},{number}" for number in range(700_000))
    (folder / "r.csv").write_text(f"code,exposure\n{rows}\n"[:9_900_000])
    for path in (seeds / "photographs" / "tiff").iterdir():
        shutil.copy(path, folder)
    options = ["--ev", "-2,0,2", "--method", "classic", "--align", "none", "-o", "result.exr"]
    return ["merge", "0.tif", "1.tif", "2.tif", "--response", "r.csv", *options]


@case
def manifest_of_a_gigabyte(seeds: Path, folder: Path) -> Arguments:
    """A sparse one, of a batch to go on with."""
    for path in (seeds / "photographs" / "jpeg").iterdir():
        shutil.copy(path, folder)
    (folder / "out").mkdir()
    (folder / "out" / "dfghdr-batch.jsonl").touch()
    os.truncate(folder / "out" / "dfghdr-batch.jsonl", 1 << 30)
    return ["merge", ".", "--batch", "--dry-run", "--resume", "-o", "out"]


@case
def settings_without_end(seeds: Path, folder: Path) -> Arguments:
    """A sparse dfghdr.toml of 8 GB."""
    del seeds
    (folder / "dfghdr.toml").touch()
    os.truncate(folder / "dfghdr.toml", 8 << 30)
    return ["config", "show"]


def main() -> None:
    """Try them; exit code 1 if one did harm."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=FILES, default=list(FILES))
    chosen = parser.parse_args()
    program, failures = Program(), 0
    with tempfile.TemporaryDirectory() as place:
        seeds, work = Path(place) / "seeds", Path(place) / "work"
        write_seeds(seeds)
        for name in chosen.only:
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            arguments = FILES[name](seeds, work)
            before = contents(work)
            ending = program.run(arguments, work, variables={"TORCH_HOME": str(work)})
            after = contents(work)
            partly = arguments[0] in ("eval", "train")
            wrong = verdict(ending, before, after, partly=partly)
            if any("EXECUTED" in one for one in after):
                wrong = "it ran the program"
            failures += bool(wrong)
            last = ending.stderr.strip().splitlines()[-1:] or [""]
            say(
                f"{name}: code {ending.code}, {ending.seconds:.1f} s, {ending.gigabytes:.2f} GiB: "
                f"{wrong or last[0][:160]}"
            )
    say(f"{len(chosen.only)} files, {failures} did harm")
    raise SystemExit(bool(failures))


if __name__ == "__main__":
    main()
