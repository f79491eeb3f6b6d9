"""Model folders: what is in one, where they are found, how they are read and written.

A folder `<name>/` holds config.json (architecture and hyper-parameters), model.safetensors (the
weights), golden.safetensors (a small input and the output it must give) and README.md (the model
card). A model that carries the disentangle network's decoder has it in the same weights.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from dfghdr_cli.atomic import atomic_write_all, hidden_folder, make_folder
from dfghdr_cli.choices import Inputs
from dfghdr_cli.core.encoding import GAMMA
from dfghdr_cli.errors import (
    ModelError,
    OutputError,
    OutputExistsError,
    refuse_if_out_of_memory,
)
from dfghdr_cli.modelfolders import CARD, CONFIG, GOLDEN, WEIGHTS, find_model, is_model_folder
from dfghdr_cli.nets.golden import golden_case, golden_error
from dfghdr_cli.nets.network import Network
from dfghdr_cli.nets.registry import build, describe

log = logging.getLogger(__name__)

DEFAULT_MODEL = "dfgmerge-v6"
"""The released model that `dfghdr merge` takes unless told otherwise."""
FORMAT = 1
_LONGEST_TEXT = 1_000_000
"""Bytes of a config.json or a card."""
_LARGEST_GOLDEN = 10_000_000
"""Numbers in a golden case, which has about 100 000."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What config.json says.

    Attributes:
        name: of the model; its folder is called so.
        architecture: "dfgnet" or "dfgmerge".
        hyper_parameters: of the architecture.
        decoder: whether the weights include the decoder that explore-disentangle needs.
        inputs: how it was shown frames, see `dfghdr_cli.choices.Inputs`. Models older than
            this key were all trained on what flow moved, but for imported ones.
        training: how it was trained, free form.
    """

    name: str
    architecture: str
    hyper_parameters: dict[str, Any]
    decoder: bool = False
    inputs: Inputs = "flow"
    training: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model.

    Attributes:
        info: what it is.
        network: in evaluation mode, on the CPU.
        digest: first 12 hexadecimal digits of the SHA-256 of its weights file.
        folder: where it came from.
    """

    info: ModelInfo
    network: Network
    digest: str
    folder: Path


def read_card(folder: Path) -> str | None:
    """A model's card, as far as it is not overlong; None where it has none.

    Raises:
        ModelError: it cannot be read.
    """
    path = folder / CARD
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return file.read(_LONGEST_TEXT).decode("utf-8", "replace")
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error}); get the model folder again") from error


def read_sizes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors of a .safetensors file, without the tensors.

    Raises:
        ModelError: if it is missing or damaged.
    """
    try:
        with path.open("rb") as file:
            _, header = _header(file)
        return {key: tuple(map(int, value["shape"])) for key, value in header.items()}
    except (OSError, *_UNREADABLE) as error:
        raise ModelError(f"{path} cannot be read ({error}); get the model folder again") from error


_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError)
"""What can come of a header that is another one than it should be."""


def _header(file: BinaryIO) -> tuple[int, dict[str, Any]]:
    """Where the tensors of a .safetensors file begin [bytes], and its entries for them."""
    length = int.from_bytes(file.read(8), "little")
    if length > _LONGEST_TEXT:
        raise ValueError("its header is too long")
    header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return 8 + length, header


def _length(file: BinaryIO) -> int:
    """How long a .safetensors file is by its header [bytes]; it is read from its start again."""
    start, header = _header(file)
    file.seek(0)
    return start + max([0, *(int(value["data_offsets"][1]) for value in header.values())])


def read_info(folder: Path) -> ModelInfo:
    """Read a model folder's config.json.

    Raises:
        ModelError: if it is missing, damaged, or of a newer format.
    """
    path = folder / CONFIG
    try:
        with path.open("rb") as file:
            data = file.read(_LONGEST_TEXT + 1)
        if len(data) > _LONGEST_TEXT:
            raise ValueError("it is too long")
        values = json.loads(data)
        if values.pop("format") != FORMAT:
            raise ModelError(f"{path} has a format this version cannot read; update dfghdr")
        if "imported_from" in values.get("training", ()):
            values.setdefault("inputs", "aligned")
        if (gamma := values.pop("gamma", GAMMA)) != GAMMA:
            raise ValueError(f"gamma is {gamma!r}, but eq. (7) has {GAMMA}")
        info = ModelInfo(name=folder.name, **values)
        for value, kind in (
            (info.architecture, str),
            (info.hyper_parameters, dict),
            (info.decoder, bool),
            (info.inputs, str),
            (info.training, dict),
        ):
            if not isinstance(value, kind):
                raise ValueError(f"{value!r} is out of place")
        return info
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path} is damaged ({error}); get the model folder again") from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], str]:
    """Tensors of a .safetensors file, and the first 12 digits of its SHA-256.

    Raises:
        ModelError: if it is missing or damaged.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_length(file))
            if file.read(1):
                raise ValueError("it goes on behind its end")
        return load(data), hashlib.sha256(data).hexdigest()[:12]
    except (OSError, SafetensorError, MemoryError, RuntimeError, *_UNREADABLE) as error:
        refuse_if_out_of_memory(error, path)
        raise ModelError(f"{path} cannot be read ({error}); get the model folder again") from error


def load_model(name: str) -> Model:
    """Load a model by name or folder; half-precision weights become float32.

    Raises:
        ModelError: if it is missing or damaged, or the weights do not fit the configuration.
    """
    folder = find_model(name)
    info = read_info(folder)
    sizes = read_sizes(folder / WEIGHTS)

    def built() -> Network:
        return build(
            info.architecture, info.hyper_parameters, decoder=info.decoder, inputs=info.inputs
        )

    with torch.device("meta"):  # which takes no memory, whatever the configuration says
        expected = {key: tuple(value.shape) for key, value in built().state_dict().items()}
    if sizes != expected:
        raise ModelError(
            f"the weights in {folder / WEIGHTS} do not fit its {CONFIG}; get the model folder again"
        )
    tensors, digest = read_tensors(folder / WEIGHTS)
    network = built()
    network.load_state_dict({key: value.float() for key, value in tensors.items()})
    return Model(info, network.eval(), digest, folder)


def verify(model: Model) -> float:
    """Largest absolute difference between a model's outputs and its golden ones.

    Up to `dfghdr_cli.nets.golden.TOLERANCE` it is rounding.

    Args:
        model: with its network on the CPU.

    Raises:
        ModelError: if the golden file is missing, damaged, or of another network.
    """
    path = model.folder / GOLDEN
    if sum(map(prod, read_sizes(path).values())) > _LARGEST_GOLDEN:
        raise ModelError(f"{path} is damaged: it is too large; get the model folder again")
    case, _ = read_tensors(path)
    try:
        return golden_error(model.network, case)
    except ValueError as error:
        raise ModelError(f"{path} is damaged: {error}; get the model folder again") from error


def save_model(
    folder: Path,
    network: Network,
    *,
    golden: dict[str, Tensor] | None = None,
    training: dict[str, Any] | None = None,
) -> None:
    """Write a model folder (without its card), replacing files of that name, all or none of them.

    What else is there, such as the card, stays.

    Args:
        folder: the model folder, made if missing; its name is the model's.
        network: what to save.
        golden: see `dfghdr_cli.nets.golden.golden_case`.
        training: how it was trained, stored in config.json.

    Raises:
        OutputError: if the folder cannot be written.
    """
    architecture, hyper_parameters = describe(network)
    config = {
        "format": FORMAT,
        "architecture": architecture,
        "hyper_parameters": hyper_parameters,
        "decoder": network.disentangle.decoder is not None,
        "gamma": GAMMA,
        "inputs": network.inputs,
        "training": training or {},
    }
    tensors = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    files = {WEIGHTS: save(tensors), CONFIG: (json.dumps(config, indent=2) + "\n").encode()}
    if golden is not None:
        files[GOLDEN] = save({k: v.contiguous() for k, v in golden.items()})
    make_folder(folder)
    with atomic_write_all([folder / name for name in files], overwrite=True) as opened:
        for file, data in zip(opened, files.values(), strict=True):
            file.write(data)


def ensure_installable(name: str, models_dir: Path, overwrite: bool = False) -> Path:
    """Refuse a name or place for a new model that cannot be used, before any work is done for it.

    Args:
        name: of the new model.
        models_dir: the folder of model folders it is to be in; need not exist yet.
        overwrite: whether a model of that name may be replaced.

    Returns:
        The folder the model will have.

    Raises:
        OutputExistsError: if there is a model of that name and `overwrite` is false.
        OutputError: if the name is no plain folder name, or something else has it.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise OutputError(
            f"{name!r} cannot name a model; use letters, digits, '.', '_' and '-' only"
        )
    folder = models_dir / name
    if os.path.lexists(folder):
        if not is_model_folder(folder):
            raise OutputError(f"{folder} exists and is no model folder; choose another name")
        if not overwrite:
            raise OutputExistsError(
                f"{folder} exists already; add --overwrite or choose another name"
            )
    return folder


def install_model(
    network: Network,
    name: str,
    models_dir: Path,
    *,
    training: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a new model folder with its golden case, whole or not at all.

    Of a model that is replaced, files that are not the model's own stay in its folder.

    Args:
        network: what to save, in float32 on the CPU.
        name: of the model.
        models_dir: the folder of model folders, made if missing.
        training: how it came about, stored in config.json.
        overwrite: whether a model of that name may be replaced.

    Returns:
        The model folder.

    Raises:
        OutputExistsError: if there is a model of that name and `overwrite` is false.
        OutputError: if the name cannot be used or the folder cannot be written.
    """
    folder = ensure_installable(name, models_dir, overwrite)
    golden = golden_case(network)
    if folder.exists():
        save_model(folder, network, golden=golden, training=training)
        return folder
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
        with hidden_folder(models_dir) as new:
            save_model(new, network, golden=golden, training=training)
            new.rename(folder)
    except OSError as error:
        raise OutputError(
            f"the model {name} cannot be written to {models_dir} ({error.strerror or error}); "
            "choose another --models-dir or free some space"
        ) from error
    return folder
