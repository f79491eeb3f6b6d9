"""What a result came from: versions, settings, and digests of everything that was read."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from dfghdr_cli import __version__
from dfghdr_cli.io.scenes import scene_files
from dfghdr_cli.modelfolders import WEIGHTS, find_model
from dfghdr_cli.modelstore import read_info

PACKAGES = ("torch", "numpy", "opencv-python-headless", "imagecodecs", "onnxruntime")
"""Those whose version may move a figure in its last digits."""


def versions() -> dict[str, str]:
    """Of dfghdr, Python and the packages that compute."""
    found = {"dfghdr": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def digest(paths: Iterable[Path]) -> str:
    """SHA-256 of files, one after the other, in hexadecimal digits.

    Raises:
        OSError: one cannot be read.
    """
    whole = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def model_facts(name: str) -> dict[str, Any]:
    """A model's architecture, hyper-parameters, inputs and the digest of its weights.

    Args:
        name: of the model, or its folder.

    Raises:
        ModelError: there is none, or it is damaged.
    """
    folder = find_model(name)
    info = read_info(folder)
    return {
        "model": info.name,
        "architecture": info.architecture,
        "hyper_parameters": info.hyper_parameters,
        "inputs": info.inputs,
        "weights_sha256": digest([folder / WEIGHTS]),
    }


def scene_digests(paths: Mapping[str, Path]) -> dict[str, str]:
    """The digest of each scene's files, which are sorted by their paths, by the scene's name."""
    return {name: digest(sorted(scene_files(path))) for name, path in paths.items()}
