"""How to train, as presets and as files: `dfghdr train --config recipe.toml`.

A recipe's file says what the config.json of a run says, under the same names: the settings of
`TrainConfig` at the top, and the tables `hyper_parameters`, `synth`, `crops` and `loss`. What it
does not name is as in the preset "default". A config.json itself is a recipe, too.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from dfghdr_cli.choices import Inputs
from dfghdr_cli.errors import InputError, ModelError
from dfghdr_cli.io.source import read_text
from dfghdr_cli.nets.registry import ARCHITECTURES
from dfghdr_cli.pipeline.training_data import CropConfig
from dfghdr_cli.training.config import DEFAULT, PAPER, TrainConfig
from dfghdr_cli.training.losses import MergeLossConfig
from dfghdr_cli.training.synth import SynthConfig

_T = TypeVar("_T")

TOLD = frozenset({"version", "device", "folders", "images", "scenes", "skipped", "vgg"})
"""What a run's config.json says of that run alone: it is passed over."""
GONE = frozenset({"erase_after"})
"""Settings of older runs that nothing depends on any more: passed over likewise."""
_LEAST = {
    **dict.fromkeys(("batch", "steps", "disentangle_steps", "variants", "stride"), 1),
    **dict.fromkeys(("checkpoint_every", "validate_every", "margin"), 1),
    **dict.fromkeys(("workers", "seed", "warm_up", "learning_rate", "minutes"), 0),
    **dict.fromkeys(("disentangle_minutes", "weight_decay", "clip", "perceptual"), 0),
    **dict.fromkeys(("average", "curved", "max_motion"), 0),
    "crop": 64,
}
_MOST = {"average": 1, "curved": 1}
"""Bounds of the numbers of a recipe, inclusive; the others have none."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train, and on samples of which kind.

    Attributes:
        config: see `TrainConfig`.
        synth: what the synthesised brackets are like.
        crops: how samples are cut from scenes.
        inputs: how a DFGNet is shown frames; None leaves it open.
        architecture: "dfgmerge" or "dfgnet"; None leaves it open.
        hyper_parameters: of the architecture.
        start: name or folder of a model to start from, or None.
        teacher: name or folder of a DFGMerge to learn from, or None.
    """

    config: TrainConfig
    synth: SynthConfig
    crops: CropConfig
    inputs: Inputs | None = None
    architecture: str | None = None
    hyper_parameters: dict[str, Any] = field(default_factory=dict)
    start: str | None = None
    teacher: str | None = None


PRESETS = {
    "default": Recipe(DEFAULT, SynthConfig(), CropConfig(), "flow"),
    "paper": Recipe(
        PAPER,
        SynthConfig(crop=256),
        CropConfig(stride=64, permute_channels=False),
        "aligned",
        "dfgnet",
    ),
}
"""Recipes by name; samples are always mirrored and turned, and a DFGMerge always has flow."""


def read_recipe(path: Path) -> Recipe:
    """Read a recipe's file: .toml, or the .json of a run.

    Raises:
        InputError: it is missing, damaged, or says something that is no setting.
    """
    text = read_text(path)
    try:
        values = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
        if not isinstance(values, dict):
            raise ValueError("it holds no settings")
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({error}); correct it") from error
    try:
        return _recipe(values)
    except ValueError as error:
        raise InputError(f"{path}: {error}; correct it") from error


def _recipe(values: Mapping[str, Any]) -> Recipe:
    values = {key: value for key, value in values.items() if key not in TOLD | GONE}
    tables = {name: values.pop(name, {}) for name in ("hyper_parameters", "synth", "crops", "loss")}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise ValueError(f"{name} is no table of settings")
    own = {name: values.pop(name, None) for name in ("architecture", "inputs", "start", "teacher")}
    for name, value in own.items():
        if not isinstance(value, str | None):
            raise ValueError(f"{name} = {value!r} is no name")
    if own["architecture"] not in (None, *ARCHITECTURES):
        raise ValueError(f"there is no architecture {own['architecture']!r}")
    if own["inputs"] not in (None, *get_args(Inputs)):
        raise ValueError(f"inputs = {own['inputs']!r} is none of {', '.join(get_args(Inputs))}")
    loss = _settings(MergeLossConfig(), tables["loss"], "loss.")
    config = _settings(TrainConfig(loss=loss), values, "")
    synth = _settings(SynthConfig(batch=config.batch), tables["synth"], "synth.")
    if synth.batch != config.batch:
        raise ValueError(f"synth.batch = {synth.batch} is not batch = {config.batch}")
    return Recipe(
        config,
        synth,
        _settings(CropConfig(), tables["crops"], "crops."),
        own["inputs"],
        own["architecture"],
        dict(tables["hyper_parameters"]),
        own["start"],
        own["teacher"],
    )


def _settings(default: _T, values: Mapping[str, Any], where: str) -> _T:
    """A dataclass of settings with those that are given.

    Raises:
        ValueError: one has no such name, or another type or range.
    """
    kinds = get_type_hints(type(default))
    names = {each.name for each in fields(default)} - {"loss"}  # pyright: ignore[reportArgumentType]
    given = {}
    for name, value in values.items():
        if name not in names:
            raise ValueError(f"{where}{name} is no setting (there are {', '.join(sorted(names))})")
        given[name] = _typed(value, kinds[name], f"{where}{name}")
        number = isinstance(value, int | float) and not isinstance(value, bool)
        low, high = _LEAST.get(name, float("-inf")), _MOST.get(name, float("inf"))
        if number and not low <= value <= high:
            raise ValueError(f"{where}{name} = {value} is out of range")
    return replace(default, **given)  # pyright: ignore[reportArgumentType]


def _typed(value: Any, kind: Any, name: str) -> Any:
    """A value of a file as the setting wants it."""
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    for one in kinds:
        if get_origin(one) is Literal and value in get_args(one):
            return value
        if one is NoneType and value is None:
            return None
        if one is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if one in (int, bool, str) and type(value) is one:
            return value
    choices = [str(c) for one in kinds if get_origin(one) is Literal for c in get_args(one)]
    wanted = f"one of {', '.join(choices)}" if choices else " or ".join(k.__name__ for k in kinds)
    raise ValueError(f"{name} = {value!r} is no {wanted}")


def ensure_architecture(recipe: Recipe, architecture: str) -> None:
    """Refuse to train another architecture than a recipe's hyper-parameters are of.

    Raises:
        ModelError: it has some, and they are of another one.
    """
    if recipe.hyper_parameters and recipe.architecture not in (None, architecture):
        raise ModelError(
            f"the recipe is for a {recipe.architecture}; leave out --architecture {architecture}"
        )
