"""Model folders: what there is, whether it is sound, and importing published weights."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dfghdr_cli.atomic import ensure_no_input
from dfghdr_cli.errors import InputError, ModelError, refuse_if_out_of_memory
from dfghdr_cli.limits import ensure_unpacked_size
from dfghdr_cli.modelfolders import CARD, WEIGHTS, find_model, find_models, own_models_dir
from dfghdr_cli.modelstore import (
    ensure_installable,
    install_model,
    load_model,
    read_card,
    read_info,
    read_sizes,
    read_tensors,
    verify,
)
from dfghdr_cli.nets.golden import TOLERANCE
from dfghdr_cli.nets.published import (
    DECODER,
    EXPOSURE,
    MERGER,
    SPATIAL,
    StateDict,
    network_from_published,
)

FILE_STEMS = {
    MERGER: ("DFGNet",),
    EXPOSURE: ("exposure_encoder", "ee"),
    SPATIAL: ("spatial_encoder", "es"),
    DECODER: ("decoder",),
}
"""What each published part's file may be called: as its class, or as in the authors' test."""
SUFFIXES = (".pth", ".safetensors")
PARALLEL = "module."
"""What torch.nn.DataParallel puts before every key."""


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """One line of the list of models.

    Attributes:
        name: of the model.
        folder: where it is.
        architecture: "dfgnet" or "dfgmerge"; None if the folder is damaged.
        parameters: how many numbers its weights file holds; None likewise.
        size: of the weights file [bytes]; None likewise.
        decoder: whether it can explore and disentangle; None likewise.
        problem: what is wrong with the folder, or None.
    """

    name: str
    folder: Path
    architecture: str | None = None
    parameters: int | None = None
    size: int | None = None
    decoder: bool | None = None
    problem: str | None = None

    def values(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return asdict(self) | {"folder": str(self.folder)}


@dataclass(frozen=True, slots=True)
class ModelDetails:
    """All there is to say about a model.

    Attributes:
        summary: its line in the list.
        config: what config.json says.
        digest: first 12 hexadecimal digits of the SHA-256 of its weights file.
        card: path of the model card, or None.
        card_text: the card, or "".
    """

    summary: ModelSummary
    config: dict[str, Any]
    digest: str
    card: Path | None
    card_text: str

    def values(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return self.summary.values() | {
            "config": self.config,
            "digest": self.digest,
            "card": None if self.card is None else str(self.card),
            "card_text": self.card_text,
        }


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether a model gives what it gave when it was saved.

    Attributes:
        name: of the model.
        error: largest absolute difference from its golden outputs, None if there are none.
        problem: what is wrong with the model, or None.
    """

    name: str
    error: float | None
    problem: str | None

    def values(self) -> dict[str, Any]:
        """All of it, ready for JSON; an infinite error becomes None beside its problem."""
        finite = self.error is not None and self.error < float("inf")
        return {
            "name": self.name,
            "ok": self.problem is None,
            "error": self.error if finite else None,
            "problem": self.problem,
        }


def list_models() -> list[ModelSummary]:
    """Every model that can be named, the damaged ones with their problem."""
    summaries = []
    for name, folder in find_models().items():
        try:
            summaries.append(_summary(name, folder))
        except ModelError as error:
            summaries.append(ModelSummary(name, folder, problem=str(error)))
    return summaries


def show_model(name: str) -> ModelDetails:
    """Details of a model given by name or folder; its weights are not built into a network.

    Raises:
        ModelError: if it is missing or damaged.
    """
    folder = find_model(name)
    info = read_info(folder)
    _, digest = read_tensors(folder / WEIGHTS)
    text = read_card(folder)
    return ModelDetails(
        _summary(info.name, folder),
        asdict(info),
        digest,
        None if text is None else folder / CARD,
        text or "",
    )


def verify_models(names: Sequence[str] = ()) -> list[Verification]:
    """Compare models with their golden outputs, on the CPU.

    Args:
        names: names or folders of models; none means every model that can be named.

    Returns:
        One verdict a model; what is wrong with one does not keep the others from being checked.

    Raises:
        ModelError: if no name is given and there is no model.
    """
    wanted = list(names) or list(find_models())
    if not wanted:
        raise ModelError("there is no model to verify; see `dfghdr models list`")
    verdicts = []
    for name in wanted:
        try:
            error = verify(load_model(name))
        except ModelError as failure:
            verdicts.append(Verification(name, None, str(failure)))
            continue
        problem = None
        if error > TOLERANCE:
            problem = f"its outputs differ from the golden ones by {error:.3g}"
        verdicts.append(Verification(name, error, problem))
    return verdicts


def import_published(
    folder: Path, name: str, models_dir: Path | None = None, *, overwrite: bool = False
) -> Path:
    """Make a model folder of the authors' published weights.

    Args:
        folder: holds `DFGNet`, `exposure_encoder` (or `ee`), `spatial_encoder` (or `es`) and
            perhaps `decoder`, each .pth or .safetensors.
        name: of the model to be.
        models_dir: the folder of model folders it is put in; None takes the user's own.
        overwrite: whether a model of that name may be replaced.

    Returns:
        The model folder.

    Raises:
        InputError: if `folder` is not a folder.
        ModelError: if a part is missing, damaged, or does not fit the others.
        OutputExistsError: if there is a model of that name and `overwrite` is false.
        OutputError: if the model cannot be written.
    """
    models_dir = models_dir or own_models_dir()
    target = ensure_installable(name, models_dir, overwrite)
    ensure_no_input([target], [folder])
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the folder of the published weights")
    files = _published_files(folder)
    network = network_from_published({part: _read_part(path) for part, path in files.items()})
    sources = {path.name: _digest(path) for path in files.values()}
    return install_model(
        network, name, models_dir, training={"imported_from": sources}, overwrite=overwrite
    )


def _summary(name: str, folder: Path) -> ModelSummary:
    info = read_info(folder)
    path = folder / WEIGHTS
    parameters = sum(map(prod, read_sizes(path).values()))
    size = path.stat().st_size
    return ModelSummary(name, folder, info.architecture, parameters, size, info.decoder)


def _published_files(folder: Path) -> dict[str, Path]:
    """The file of each part that is there."""
    files = {}
    for part, stems in FILE_STEMS.items():
        names = [stem + suffix for stem in stems for suffix in SUFFIXES]
        there = [folder / name for name in names if (folder / name).is_file()]
        if len(there) > 1:
            both = " and ".join(path.name for path in there)
            raise ModelError(f"{folder} holds {both} for the same part; leave one of them there")
        if there:
            files[part] = there[0]
        elif part != DECODER:
            raise ModelError(
                f"{folder} holds no {part} of the published weights; it should be called "
                f"{' or '.join(names)}"
            )
    return files


def _read_part(path: Path) -> StateDict:
    """The state dict in a file, without DataParallel's prefix; a pickle may hold tensors only."""
    if path.suffix == ".safetensors":
        state: Any = read_tensors(path)[0]
    else:
        try:
            ensure_unpacked_size(path)
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged or hostile pickle can raise anything
            refuse_if_out_of_memory(error, path)
            raise ModelError(
                f"{path} is no file of plain weights that PyTorch can read safely; "
                "get it again from its authors"
            ) from error
    if not (
        isinstance(state, dict)
        and state
        and all(isinstance(k, str) and _is_plain(v) for k, v in state.items())
    ):
        raise ModelError(f"{path} is no state dict of names and tensors; get the published file")
    if all(key.startswith(PARALLEL) for key in state):
        return {key.removeprefix(PARALLEL): value for key, value in state.items()}
    return state


def _is_plain(value: object) -> bool:
    return (
        isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
