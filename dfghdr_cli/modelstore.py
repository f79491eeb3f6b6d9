"""Model folders: what is in one, where they are found, how they are read and written.

A folder `<name>/` holds config.json (architecture and hyper-parameters), model.safetensors (the
weights), golden.safetensors (a small input and the output it must give) and README.md (the model
card). A model that carries the disentangle network's decoder has it in the same weights.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from dfghdr_cli.errors import ModelError
from dfghdr_cli.nets.golden import golden_error
from dfghdr_cli.nets.registry import Network, build, describe

DEFAULT_MODEL = "dfgmerge-first"
"""The released model that `dfghdr merge` takes unless told otherwise."""
MODELS_DIR_VARIABLE = "DFGHDR_MODELS_DIR"
FORMAT = 1
CONFIG, WEIGHTS, GOLDEN, CARD = (
    "config.json",
    "model.safetensors",
    "golden.safetensors",
    "README.md",
)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What config.json says.

    Attributes:
        name: of the model; its folder is called so.
        architecture: "dfgnet" or "dfgmerge".
        hyper_parameters: of the architecture.
        decoder: whether the weights include the decoder that explore-disentangle needs.
        gamma: exponent of eq. (7) the model was trained with.
        training: how it was trained, free form.
    """

    name: str
    architecture: str
    hyper_parameters: dict[str, Any]
    decoder: bool = False
    gamma: float = 2.2
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


def search_path() -> list[Path]:
    """Folders of model folders, in the order they are looked through."""
    package = Path(__file__).parent
    places = [package / "_models", package.parent / "models"]
    if given := os.environ.get(MODELS_DIR_VARIABLE):
        places.insert(0, Path(given))
    return [place for place in places if place.is_dir()]


def find_models() -> dict[str, Path]:
    """Every model that can be named, by name; the first of a name wins."""
    found: dict[str, Path] = {}
    for place in search_path():
        for folder in sorted(place.iterdir()):
            if (folder / CONFIG).is_file():
                found.setdefault(folder.name, folder)
    return found


def find_model(name: str) -> Path:
    """The folder of a model given by name or by path.

    Raises:
        ModelError: if there is none.
    """
    models = find_models()
    if name in models:
        return models[name]
    if (Path(name) / CONFIG).is_file():
        return Path(name)
    known = ", ".join(models) or "none"
    raise ModelError(
        f"no model {name!r}: it is neither one of the models found ({known}) nor a folder "
        f"with a {CONFIG}; see `dfghdr models list`"
    )


def read_info(folder: Path) -> ModelInfo:
    """Read a model folder's config.json.

    Raises:
        ModelError: if it is missing, damaged, or of a newer format.
    """
    path = folder / CONFIG
    try:
        values = json.loads(path.read_text())
        if values.pop("format") != FORMAT:
            raise ModelError(f"{path} has a format this version cannot read; update dfghdr")
        return ModelInfo(name=folder.name, **values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} is damaged ({error}); get the model folder again") from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], str]:
    """Tensors of a .safetensors file, and the first 12 digits of its SHA-256.

    Raises:
        ModelError: if it is missing or damaged.
    """
    try:
        data = path.read_bytes()
        return load(data), hashlib.sha256(data).hexdigest()[:12]
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read ({error}); get the model folder again") from error


def load_model(name: str) -> Model:
    """Load a model by name or folder; half-precision weights become float32.

    Raises:
        ModelError: if it is missing or damaged, or the weights do not fit the configuration.
    """
    folder = find_model(name)
    info = read_info(folder)
    network = build(info.architecture, info.hyper_parameters, decoder=info.decoder)
    tensors, digest = read_tensors(folder / WEIGHTS)
    try:
        network.load_state_dict({key: value.float() for key, value in tensors.items()})
    except RuntimeError as error:
        raise ModelError(
            f"the weights in {folder / WEIGHTS} do not fit its {CONFIG}; get the model folder again"
        ) from error
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
    """Write a model folder (without its card); files of that name are replaced one by one.

    Args:
        folder: the model folder, made if missing; its name is the model's.
        network: what to save.
        golden: see `dfghdr_cli.nets.golden.golden_case`.
        training: how it was trained, stored in config.json.

    Raises:
        OSError: if the folder cannot be written.
    """
    architecture, hyper_parameters = describe(network)
    config = {
        "format": FORMAT,
        "architecture": architecture,
        "hyper_parameters": hyper_parameters,
        "decoder": network.disentangle.decoder is not None,
        "gamma": 2.2,
        "training": training or {},
    }
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    files = {WEIGHTS: save(tensors), CONFIG: (json.dumps(config, indent=2) + "\n").encode()}
    if golden is not None:
        files[GOLDEN] = save({k: v.contiguous() for k, v in golden.items()})
    for name, data in files.items():
        partial = folder / f".{name}.part"
        partial.write_bytes(data)
        partial.replace(folder / name)
