"""What works here and what does not, found out by doing it: for bug reports."""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from dfghdr_cli import __version__
from dfghdr_cli.core.encoding import GAMMA
from dfghdr_cli.core.types import FloatImage, RadianceImage
from dfghdr_cli.devices import choose_device
from dfghdr_cli.errors import DfghdrError, ModelError, is_out_of_memory
from dfghdr_cli.io.display import encode_display
from dfghdr_cli.io.ldr import read_frame
from dfghdr_cli.io.radiance import encode_radiance, read_radiance
from dfghdr_cli.limits import available_memory
from dfghdr_cli.merging.config import MergeConfig
from dfghdr_cli.modelfolders import find_models
from dfghdr_cli.modelstore import load_model, verify
from dfghdr_cli.nets.golden import TOLERANCE
from dfghdr_cli.pipeline.merge.request import MergeRequest, load_merger
from dfghdr_cli.pipeline.merge.run import merge_files

_PACKAGES = (
    *("torch", "numpy", "opencv-python-headless", "OpenEXR", "imagecodecs", "imageio", "pillow"),
    *(
        "rawpy",
        "tifffile",
        "exifread",
        "safetensors",
        "rich",
        "typer",
        "pillow-heif",
        "flip-evaluator",
    ),
)
_SUFFIXES = {"jpg": ".jpg", "png": ".png", "tiff": ".tif", "jxl": ".jxl", "avif": ".avif"}
_FOR_SCREENS = {**_SUFFIXES, "ultrahdr": ".jpg"}
_MERGE_ERROR = 0.01
"""Largest relative error of the tiny merge: its frames have 16 bits, and the result 11 digits."""

Status = Literal["ok", "absent", "failed"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried.

    Attributes:
        group: "model", "write", "read" or "merge".
        name: of the model or format.
        status: "absent" where a package that is not necessary is missing.
        note: what was found, or what went wrong.
    """

    group: str
    name: str
    status: Status
    note: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What `dfghdr doctor` found.

    Attributes:
        facts: name to text: versions, device, threads, memory.
        checks: what was tried.
    """

    facts: dict[str, str]
    checks: tuple[Check, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing failed."""
        return all(check.status != "failed" for check in self.checks)

    def to_json(self) -> str:
        """One JSON object on one line."""
        values: dict[str, Any] = {
            "healthy": self.healthy,
            "facts": self.facts,
            "checks": [asdict(check) for check in self.checks],
        }
        return json.dumps(values)


def examine() -> Diagnosis:
    """Look at versions and the computer, and try models, formats and a merge."""
    with tempfile.TemporaryDirectory(prefix="dfghdr-doctor-") as place:
        folder = Path(place)
        checks = (*_models(), *_formats(folder), _merge(folder))
    return Diagnosis(_facts(), checks)


def _facts() -> dict[str, str]:
    facts = {
        "dfghdr": __version__,
        "Python": f"{platform.python_version()} ({sys.executable})",
        "system": platform.platform(),
    }
    for name in _PACKAGES:
        try:
            facts[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            facts[name] = "not installed"
    device = choose_device()
    facts["device"] = str(device)
    if device.type == "cuda":
        facts["GPU"] = torch.cuda.get_device_name(device)
    facts["cores"] = str(os.cpu_count())
    facts["threads"] = str(torch.get_num_threads())
    memory = available_memory()
    facts["memory available"] = "unknown" if memory is None else f"{memory / 2**30:.1f} GiB"
    facts["settings"] = (
        ", ".join(sorted(k for k in os.environ if k.startswith("DFGHDR_"))) or "none"
    )
    return facts


def _models() -> Iterator[Check]:
    found = find_models()
    if not found:
        yield Check("model", "any", "failed", "there is none; see `dfghdr models list`")
    for name, folder in found.items():
        try:
            model = load_model(str(folder))
            error = verify(model)
        except ModelError as problem:
            yield Check("model", name, "failed", str(problem))
            continue
        note = f"{model.digest}, off by {error:.1e} from its golden output, in {folder}"
        yield Check("model", name, "ok" if error <= TOLERANCE else "failed", note)


def _picture() -> FloatImage:
    """(32, 48, 3) in [0, 1]: a smooth ramp in each channel."""
    y, x = np.mgrid[0:32, 0:48].astype(np.float32)
    return np.stack([x / 47, y / 31, (x + y) / 78], axis=2)


def _formats(folder: Path) -> Iterator[Check]:
    picture = _picture()
    for name, suffix in _FOR_SCREENS.items():
        path = folder / f"{name}{suffix}"

        def write(path: Path = path, name: str = name) -> str:
            shown = None if name in ("jpg", "png", "tiff") else picture
            data = encode_display(path, picture, radiance=shown, format=name)  # pyright: ignore[reportArgumentType]
            path.write_bytes(data)
            return f"{len(data)} bytes"

        yield _tried("write", name, write)
    for name in ("exr", "hdr", "dng"):
        path = folder / f"radiance.{name}"

        def write_radiance(path: Path = path) -> str:
            data = encode_radiance(path, RadianceImage(picture, 1.0))
            path.write_bytes(data)
            return f"{len(data)} bytes"

        yield _tried("write", name, write_radiance)
    for name, suffix in {**_SUFFIXES, "webp": ".webp", "heic": ".heic", "raw": ".dng"}.items():
        yield _tried("read", name, lambda name=name, suffix=suffix: _read(folder, name, suffix))
    for name in ("exr", "hdr"):
        path = folder / f"radiance.{name}"
        yield _tried("read", name, lambda path=path: _error(read_radiance(path)[0], picture, 0.02))


def _read(folder: Path, name: str, suffix: str) -> str:
    """Read a photograph, written as other programs write them."""
    from PIL import Image

    path = folder / f"photograph{suffix}"
    codes = np.rint(255 * _picture()).astype(np.uint8)
    if name == "raw":
        import rawpy

        found = read_frame(folder / "radiance.dng")  # which was written before
        error = _error(found.encoded(), _picture(), 0.02)
        return f"LibRaw {'.'.join(map(str, rawpy.libraw_version))}, a DNG, {error}"
    if name == "heic":
        import pillow_heif

        pillow_heif.from_pillow(Image.fromarray(codes)).save(path, quality=90)
    elif name == "jxl":
        import imagecodecs

        path.write_bytes(imagecodecs.jpegxl_encode(codes))
    else:
        Image.fromarray(codes).save(path)
    frame = read_frame(path)
    height, width = frame.pixels.shape[:2]
    if (height, width) != (32, 48):
        raise ValueError(f"it has {width}x{height} pixels instead of 48x32")
    return f"{frame.bit_depth} bits"


def _error(found: FloatImage, meant: FloatImage, most: float) -> str:
    error = float(np.abs(found - meant).max())
    if not error <= most:
        raise ValueError(f"it is off by {error:.2g}")
    return f"off by {error:.1e} at most"


def _merge(folder: Path) -> Check:
    """A bracket whose radiance is known, merged without a network."""

    def merge() -> str:
        import tifffile

        truth = np.float32(0.02) + np.float32(3.0) * _picture() ** 2
        paths = []
        for number, stops in enumerate((-2, 0, 2)):
            code = np.clip(truth * 2.0**stops, 0, 1) ** (1 / GAMMA)
            paths.append(folder / f"bracket{number}.tif")
            tifffile.imwrite(paths[-1], np.rint(65535 * code).astype(np.uint16), photometric="rgb")
        request = MergeRequest(
            paths,
            [folder / "merged.exr"],
            stops=(-2.0, 0.0, 2.0),
            reference=2,
            response="gamma",
            config=MergeConfig(align="none"),
            exr_type="float",
            preview=False,
        )
        merge_files(load_merger("classic"), request)
        found = read_radiance(folder / "merged.exr")[0]
        return _error(np.asarray(found / truth, np.float32), np.ones_like(truth), _MERGE_ERROR)

    return _tried("merge", "classic", merge)


def _tried(group: str, name: str, attempt: Callable[[], str]) -> Check:
    try:
        return Check(group, name, "ok", attempt())
    except ImportError as error:
        return Check(group, name, "absent", f"{error.name or error} is not installed")
    except DfghdrError as error:
        return Check(group, name, "failed", str(error))
    except Exception as error:  # what libraries raise is what is to be found out
        if is_out_of_memory(error):
            return Check(group, name, "failed", "there is not enough memory")
        return Check(group, name, "failed", f"{type(error).__name__}: {error}")
