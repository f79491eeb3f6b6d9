"""The authors' published state dicts, and DFGNet made of them.

They come in up to four parts, named as the published classes are. Each table below says which
module of `DFGNet` a published module is; what it holds goes by the same names but for the
normalisations. Images 1, 2 and 3 of the published code are the roles short, reference and long.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from dfghdr_cli.errors import ModelError
from dfghdr_cli.nets.dfg import Role
from dfghdr_cli.nets.dfgnet import DFGNet, DFGNetConfig

StateDict = Mapping[str, Tensor]

MERGER, EXPOSURE, SPATIAL, DECODER = "DFGNet", "exposure_encoder", "spatial_encoder", "decoder"
STAGES = (1, 2, 3)

PARAMETERS = {"gamma": "gain", "beta": "offset"}
"""What a published normalisation calls its parameters."""

RESIDUAL_BLOCK = {"ln1": "norm1", "conv1": "conv1", "ln2": "norm2", "conv2": "conv2"}
UPSAMPLING_BLOCK = {**RESIDUAL_BLOCK, "conv_identity": "skip"}


def _inside(published: str, ours: str, block: Mapping[str, str]) -> dict[str, str]:
    return {f"{published}.{a}": f"{ours}.{b}" for a, b in block.items()}


def _merger_modules() -> Iterator[tuple[str, str]]:
    for stage in STAGES:
        ours = f"encoder.stages.{stage - 1}"
        merge = f"encoder.merge.{stage - 1}"
        yield f"sau{stage}.conv1", f"{merge}.spatial.common"
        yield f"sau{stage}.feat_conv", f"{merge}.spatial.guide"
        for role in map(int, Role):
            yield f"conv{stage}_{role + 1}", f"{ours}.{role}.conv"
            yield f"prelu{stage}_{role + 1}", f"{ours}.{role}.act"
            yield f"eau{stage}.fcs.{role}", f"{merge}.exposure.dense.{role}"
            yield f"sau{stage}.filter{role + 1}", f"{merge}.spatial.gate.{role}"


MODULES: dict[str, dict[str, str]] = {
    MERGER: {
        **dict(_merger_modules()),
        "tconv1": "up3.conv",
        "fuse_3_prelu": "up3.act",
        "tconv2": "up2.conv",
        "fuse_2_prelu": "up2.act",
        "conv_tail": "tail1",
        "tail_prelu": "tail_act",
        "conv_tail2": "tail2",
    },
    EXPOSURE: {
        "headconv": "disentangle.exposure.head",
        "conv1": "disentangle.exposure.down1",
        "conv2": "disentangle.exposure.down2",
        "conv3": "disentangle.exposure.down3",
        "conv4": "disentangle.exposure.down4",
        "fc": "disentangle.exposure.project",
    },
    SPATIAL: {
        "headconv": "disentangle.spatial.head",
        "ln1": "disentangle.spatial.norm1",
        "conv1": "disentangle.spatial.down1",
        "ln2": "disentangle.spatial.norm2",
        "conv2": "disentangle.spatial.down2",
        "ln3": "disentangle.tail.norm3",
        "conv3": "disentangle.tail.down3",
        **_inside("resblock1", "disentangle.tail.block1", RESIDUAL_BLOCK),
        **_inside("resblock2", "disentangle.tail.block2", RESIDUAL_BLOCK),
        "ln_tail": "disentangle.tail.norm_tail",
        "tailconv": "disentangle.tail.tail",
    },
    DECODER: {
        "fc_mean": "disentangle.decoder.mean",
        "fc_var": "disentangle.decoder.deviation",
        "headconv": "disentangle.decoder.head",
        **_inside("resblock", "disentangle.decoder.block", RESIDUAL_BLOCK),
        **_inside("resblockt1", "disentangle.decoder.up1", UPSAMPLING_BLOCK),
        **_inside("resblockt2", "disentangle.decoder.up2", UPSAMPLING_BLOCK),
        **_inside("resblockt3", "disentangle.decoder.up3", UPSAMPLING_BLOCK),
        "ln_tail": "disentangle.decoder.norm_tail",
        "conv_tail": "disentangle.decoder.tail",
    },
}
"""For each part, the published module's name and ours."""

DEAD = "disentangle.tail."
"""The spatial encoder's tail: without a decoder nothing reads it."""


def network_from_published(parts: Mapping[str, StateDict]) -> DFGNet:
    """DFGNet with published weights; widths, code length and attention units follow the shapes.

    Args:
        parts: the state dicts of "DFGNet", "exposure_encoder", "spatial_encoder" and, for a
            network with its decoder, "decoder"; floating-point tensors of any precision.

    Returns:
        The network in float32 on the CPU, in evaluation mode. Without a decoder the spatial
        encoder's dead tail is left out.

    Raises:
        ModelError: if tensors are missing, unknown, of impossible shapes, or not finite.
    """
    decoder = DECODER in parts
    tensors: dict[str, Tensor] = {}
    published: dict[str, str] = {}
    for part, state in parts.items():
        for key, tensor in state.items():
            name = _our_name(part, key)
            if decoder or not name.startswith(DEAD):
                tensors[name] = tensor
                published[name] = f"{part}'s {key}"
    config = _infer(parts)
    with torch.device("meta"):
        network = DFGNet(config, decoder=decoder)
    expected = network.state_dict()
    if missing := [_published_name(name) for name in expected if name not in tensors]:
        raise ModelError(f"the published weights lack {_some(missing)}; get their files again")
    if unknown := [published[name] for name in tensors if name not in expected]:
        raise ModelError(f"the published network has no {_some(unknown)}; get its files again")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise ModelError(
                f"{published[name]} has the shape {tuple(tensor.shape)} where the other tensors "
                f"ask for {tuple(expected[name].shape)}; take all parts from one training"
            )
        if not (tensor.is_floating_point() and tensor.isfinite().all()):
            raise ModelError(f"{published[name]} holds values that are no numbers")
    copies = {name: tensor.detach().float().clone() for name, tensor in tensors.items()}
    network.load_state_dict(copies, assign=True)
    network.inputs = "aligned"  # as its authors trained and tested it
    return network.eval()


def _our_name(part: str, key: str) -> str:
    module, _, parameter = key.rpartition(".")
    if part not in MODULES or module not in MODULES[part]:
        raise ModelError(f"the published network has no {part}'s {key}; get its files again")
    return f"{MODULES[part][module]}.{PARAMETERS.get(parameter, parameter)}"


def _published_name(name: str) -> str:
    """The inverse of `_our_name`, for messages."""
    module, _, parameter = name.rpartition(".")
    parameters = {ours: theirs for theirs, ours in PARAMETERS.items()}
    for part, modules in MODULES.items():
        for theirs, ours in modules.items():
            if ours == module:
                return f"{part}'s {theirs}.{parameters.get(parameter, parameter)}"
    raise KeyError(name)


def _infer(parts: Mapping[str, StateDict]) -> DFGNetConfig:
    def rows(part: str, key: str) -> int:
        tensor = parts.get(part, {}).get(key)
        if tensor is None:
            raise ModelError(f"the published weights lack {part}'s {key}; get their files again")
        if tensor.dim() == 0 or tensor.shape[0] == 0:
            raise ModelError(f"{part}'s {key} is empty; get the published files again")
        return tensor.shape[0]

    width = rows(MERGER, "conv1_1.weight")
    disentangle_width = rows(EXPOSURE, "headconv.weight")
    code_length = rows(EXPOSURE, "fc.weight")
    eau, sau = (any(key.startswith(unit) for key in parts[MERGER]) for unit in ("eau", "sau"))
    if not (eau or sau):
        raise ModelError("the published weights have neither eau nor sau; get their files again")
    return DFGNetConfig(width, disentangle_width, code_length, eau, sau)


def _some(names: list[str], most: int = 3) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
