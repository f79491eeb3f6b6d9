"""The architectures by name, as a model's config.json calls them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields

from dfghdr_cli.errors import ModelError
from dfghdr_cli.nets.dfgmerge import DFGMerge, DFGMergeConfig
from dfghdr_cli.nets.dfgnet import DFGNet, DFGNetConfig

Network = DFGNet | DFGMerge

ARCHITECTURES = {"dfgnet": (DFGNet, DFGNetConfig), "dfgmerge": (DFGMerge, DFGMergeConfig)}


def build(
    architecture: str, hyper_parameters: Mapping[str, object], *, decoder: bool = False
) -> Network:
    """A network with random weights.

    Args:
        architecture: a key of `ARCHITECTURES`.
        hyper_parameters: fields of its configuration; missing ones keep their defaults.
        decoder: whether to include the disentangle network's decoder.

    Raises:
        ModelError: if the architecture or one of its hyper-parameters is unknown.
    """
    if architecture not in ARCHITECTURES:
        raise ModelError(
            f"unknown architecture {architecture!r}; known: {', '.join(ARCHITECTURES)}"
        )
    network, config = ARCHITECTURES[architecture]
    unknown = set(hyper_parameters) - {field.name for field in fields(config)}
    if unknown:
        raise ModelError(
            f"unknown hyper-parameters of {architecture}: {', '.join(sorted(unknown))}"
        )
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in hyper_parameters.items()}
    try:
        return network(config(**values), decoder=decoder)  # pyright: ignore
    except (TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"impossible hyper-parameters of {architecture}: {error}") from error


def describe(network: Network) -> tuple[str, dict[str, object]]:
    """Architecture and hyper-parameters, the inverse of `build`."""
    for name, (kind, _) in ARCHITECTURES.items():
        if isinstance(network, kind):
            return name, asdict(network.config)
    raise TypeError(f"{type(network).__name__} is not a registered architecture")
