"""The architectures by name, as a model's config.json calls them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from dfghdr_cli.choices import Inputs
from dfghdr_cli.errors import ModelError, refuse_if_out_of_memory
from dfghdr_cli.nets.dfgmerge import DFGMerge, DFGMergeConfig
from dfghdr_cli.nets.dfgnet import DFGNet, DFGNetConfig
from dfghdr_cli.nets.network import Network

ARCHITECTURES: dict[str, tuple[type[Network], type[Any]]] = {
    DFGNet.architecture: (DFGNet, DFGNetConfig),
    DFGMerge.architecture: (DFGMerge, DFGMergeConfig),
}


def build(
    architecture: str,
    hyper_parameters: Mapping[str, object],
    *,
    decoder: bool = False,
    inputs: Inputs = "flow",
) -> Network:
    """A network with random weights.

    Args:
        architecture: a key of `ARCHITECTURES`.
        hyper_parameters: fields of its configuration; missing ones keep their defaults.
        decoder: whether to include the disentangle network's decoder.
        inputs: what it is, or was, trained on.

    Raises:
        ModelError: if the architecture or one of its hyper-parameters is unknown, or the
            architecture does not take these inputs.
    """
    if architecture not in ARCHITECTURES:
        raise ModelError(
            f"unknown architecture {architecture!r}; known: {', '.join(ARCHITECTURES)}"
        )
    kind, config = ARCHITECTURES[architecture]
    if inputs not in kind.takes:
        raise ModelError(f"a {architecture} does not take inputs of the kind {inputs!r}")
    unknown = set(hyper_parameters) - {field.name for field in fields(config)}
    if unknown:
        raise ModelError(
            f"unknown hyper-parameters of {architecture}: {', '.join(sorted(unknown))}"
        )
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in hyper_parameters.items()}
    usual = asdict(config())
    for name, value in values.items():
        if not _is_alike(value, usual[name]):
            raise ModelError(f"impossible hyper-parameters of {architecture}: {name} = {value!r}")
    try:
        network = kind(config(**values), decoder=decoder)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        refuse_if_out_of_memory(error, f"a {architecture} of this size")
        raise ModelError(f"impossible hyper-parameters of {architecture}: {error}") from error
    network.inputs = inputs
    return network


def _is_alike(value: object, usual: object) -> bool:
    """Whether a hyper-parameter is of the kind of the usual one, and a number is finite."""
    if isinstance(usual, tuple):
        return (
            isinstance(value, tuple)
            and len(value) == len(usual)
            and all(map(_is_alike, value, usual))
        )
    if isinstance(usual, float):
        whole = isinstance(value, int) and not isinstance(value, bool)
        return whole or (isinstance(value, float) and math.isfinite(value))
    return type(value) is type(usual)


def describe(network: Network) -> tuple[str, dict[str, object]]:
    """Architecture and hyper-parameters, the inverse of `build`."""
    return network.architecture, asdict(network.config)
