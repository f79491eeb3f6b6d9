"""Mutated files: whatever is done to an input, the command succeeds or says one sentence.

A short run by default, a long one by hand:
`DFGHDR_MUTATIONS=1000 pytest -n auto tests/cli/test_mutated.py`.
Case n is the same in every run: `-k "[n-"` makes it again.
"""

import os
import random
import struct

import numpy as np
import OpenEXR
import pytest
import tifffile
from PIL import Image
from typer.testing import CliRunner

from dfghdr_cli.cli.app import app

COUNT = int(os.environ.get("DFGHDR_MUTATIONS", "4"))
ODD = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF, 60000)
COARSE = np.random.default_rng(3).uniform(0.02, 1, (32, 48, 3)).astype(np.float32)


def codes(stops):
    return np.rint(np.clip(COARSE * 2.0**stops, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8)


def linear(path):
    with OpenEXR.File({"type": OpenEXR.scanlineimage}, {"RGB": COARSE * 4}) as file:
        file.write(str(path))


def radiance(path):
    from dfghdr_cli.core.types import RadianceImage
    from dfghdr_cli.io.radiance import write_radiance

    write_radiance(path, RadianceImage(COARSE * 4, 4.0))


def photograph(path):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif.get_ifd(0x8769).update({0x829A: 0.01, 0x829D: 2.8, 0x8827: 100, 0x9286: b"ASCII\0\0\0x"})
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 12.3), 3: "E", 4: (11.0, 34.0, 0.0)})
    Image.fromarray(codes(1)).save(path, exif=exif)


SEEDS = {
    "a.jpg": photograph,
    "a.png": photograph,
    "a.tif": lambda path: tifffile.imwrite(path, codes(1), photometric="rgb", compression="zlib"),
    "a.exr": linear,
    "a.hdr": radiance,
}


def mutated(data, rng):
    """One to six changes: bits, numbers of all sizes, parts cut, added, repeated or zeroed."""
    data = bytearray(data)
    head = min(len(data), rng.choice((64, 400, len(data))))
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        at = rng.randrange(max(1, head))
        how = rng.choice(("bit", "byte", "number", "number", "cut", "insert", "delete", "repeat"))
        if how == "bit":
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif how == "byte":
            data[at % len(data)] = rng.randrange(256)
        elif how == "number":
            size, end = rng.choice(("H", "I")), rng.choice("<>")
            number = struct.pack(
                end + size, rng.choice(ODD) & (0xFFFF if size == "H" else 2**32 - 1)
            )
            data[at : at + len(number)] = number
        elif how == "cut":
            del data[max(1, at) :]
        elif how == "insert":
            data[at:at] = rng.randbytes(rng.choice((1, 4, 200)))
        elif how == "delete" and len(data) > 300:
            del data[at : at + rng.choice((1, 4, 200))]
        else:
            data[at:at] = data[at : at + 64] * rng.choice((1, 5))
    return bytes(data)


@pytest.mark.parametrize("name", SEEDS)
@pytest.mark.parametrize("number", range(COUNT))
def test_a_mutated_file_is_read_or_refused_in_one_sentence(tmp_path, monkeypatch, number, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    SEEDS[name](path)
    path.write_bytes(mutated(path.read_bytes(), random.Random(f"{name}-{number}")))
    if path.suffix in (".exr", ".hdr"):
        arguments = ["tonemap", name, "-o", "out.jpg", "--operator", "gamma"]
    else:
        tifffile.imwrite(tmp_path / "b.tif", codes(-1), photometric="rgb")
        arguments = ["merge", name, "b.tif", "-o", "out.exr", "--ev", "1,-1", "--method", "classic"]
        arguments += ["--align", "none", "--response", "srgb", "--no-preview", "--reference", "2"]
    before = {file.name for file in tmp_path.iterdir()}
    done = CliRunner().invoke(app, arguments)
    after = {file.name for file in tmp_path.iterdir()}
    assert done.exit_code in (0, 4, 6), done.output
    assert "This is a bug" not in done.output
    if done.exit_code:
        assert sum(line.startswith("error: ") for line in done.stderr.splitlines()) == 1
        assert after == before
