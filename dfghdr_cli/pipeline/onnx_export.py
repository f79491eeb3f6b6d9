"""Networks as ONNX files, for other runtimes: `dfghdr models export`.

A DFGNet takes what `pipeline.evaluate.external` gives networks of others: one input of six channels
a frame, and its output is the picture. A DFGMerge decides how to merge candidates: it takes these
and gives the decision, which `nets.compose.compose` carries out. The disentangle network of
either takes two images and gives what is where in the one with the exposure of the other.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dfghdr_cli import __version__
from dfghdr_cli.atomic import atomic_write, ensure_no_input, ensure_writable
from dfghdr_cli.choices import Part
from dfghdr_cli.errors import InputError, MissingPackageError, ModelError, refuse_if_out_of_memory
from dfghdr_cli.modelfolders import model_files
from dfghdr_cli.modelstore import Model, load_model
from dfghdr_cli.nets.candidates import Candidates, Hypothesis, candidate_layout
from dfghdr_cli.nets.dfg import Role
from dfghdr_cli.nets.dfgmerge import DFGMerge
from dfghdr_cli.nets.dfgnet import DFGNet, encode
from dfghdr_cli.nets.disentangle import DisentangleNetwork, from_signed, to_signed
from dfghdr_cli.nets.golden import DECODED_SHARE, TOLERANCE

EXAMPLE = (64, 96)
"""(height, width) of the pictures that a file of any size is made with [pixels]."""


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to export.

    Attributes:
        model: name or folder.
        output: the .onnx file.
        part: "merge", or "disentangle" of a model with a decoder.
        frames: of a bracket, 2 to 9; the reference is the middle one.
        size: (width, height) of the pictures [pixels]; None takes any multiple of what the network
            needs.
        overwrite: whether an existing file may be replaced.
    """

    model: str
    output: Path
    part: Part = "merge"
    frames: int = 3
    size: tuple[int, int] | None = None
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class Exported:
    """A network as a function of tensors.

    Attributes:
        module: the function.
        inputs: an example of each input, by name.
        outputs: names of the outputs.
        spatial: for each input, the axis of its height, or None; the width's is the next.
        facts: what else a user has to know, ready for JSON.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    spatial: dict[str, int | None]
    facts: dict[str, Any]


class Painting(nn.Module):
    """A DFGNet of frames (B, 6, H, W), dark to bright: channels linear, then codes, both RGB."""

    def __init__(self, network: DFGNet, roles: tuple[Role, ...]) -> None:
        super().__init__()
        self.network = network
        self.roles = roles

    def forward(self, *frames: Tensor) -> Tensor:
        """(B, 3, H, W) linear, 1.0 = the white of the darkest frame."""
        network, stack = self.network, torch.stack(frames, 1)
        linear, code = stack[:, :, :3], stack[:, :, 3:]
        codes, taps = encode(network.disentangle, code, None)
        x = to_signed(torch.cat([code, linear], 2)).unbind(1)
        return network.paint(x, codes, taps, self.roles)


class Deciding(nn.Module):
    """A DFGMerge of candidates as tensors; see `Candidates` for their shapes."""

    def __init__(
        self,
        network: DFGMerge,
        layout: tuple[tuple[int, ...], tuple[Role, ...], tuple[Hypothesis, ...]],
    ) -> None:
        super().__init__()
        self.network = network
        self.layout = layout

    def forward(
        self,
        code: Tensor,
        trust: Tensor,
        stops: Tensor,
        peak: Tensor,
        limits: Tensor,
        tolerance: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Logits (B, K, 1, H, W) and correction (B, 3, H, W)."""
        candidates = Candidates(
            code, trust, stops, peak, *self.layout, limits=limits, tolerance=tolerance
        )
        decision = self.network.decide(candidates)
        return decision.logits, decision.correction


class Disentangling(nn.Module):
    """D(E_sp(content), E_ex(exposure)) of gamma codes (B, 3, H, W) in [0, 1]."""

    def __init__(self, network: DisentangleNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, content: Tensor, exposure: Tensor) -> Tensor:
        """Gamma codes (B, 3, H, W), nominally in [0, 1]."""
        return from_signed(self.network(to_signed(content), to_signed(exposure)))


def exported(model: Model, request: ExportRequest) -> Exported:
    """A model's network as a function of tensors, with examples of them.

    Raises:
        ModelError: the part is wanted of a model that has none, or the size does not fit.
    """
    network = model.network.requires_grad_(False)
    multiple = network.size_multiple
    width, height = request.size or EXAMPLE[::-1]
    if height % multiple or width % multiple or min(height, width) < 32:
        raise ModelError(
            f"{model.info.name} takes sides of multiples of {multiple} pixels, at least 32; "
            f"{width}x{height} does not fit"
        )
    random = torch.Generator().manual_seed(0)

    def images(*shape: int) -> Tensor:
        return torch.rand(*shape, height, width, generator=random)

    if request.part == "disentangle":
        if network.disentangle.decoder is None:
            raise ModelError(f"{model.info.name} has no decoder; export its part merge")
        module = Disentangling(network.disentangle)
        inputs = {name: images(1, 3) for name in ("content", "exposure")}
        return Exported(module, inputs, ("decoded",), dict.fromkeys(inputs, 2), {})
    count, reference = request.frames, request.frames // 2
    if isinstance(network, DFGNet):
        roles = tuple(
            Role.SHORT if k < reference else Role.LONG if k > reference else Role.REFERENCE
            for k in range(count)
        )
        inputs = {f"frame_{k + 1}": images(1, 6) for k in range(count)}
        facts = {"frames_seen": network.inputs, "reference": reference + 1}
        module = Painting(network, roles)
        return Exported(module, inputs, ("hdr",), dict.fromkeys(inputs, 2), facts)
    assert isinstance(network, DFGMerge)
    layout = candidate_layout(count, reference, tuple(Hypothesis))
    whole = len(layout[0])
    stops = torch.tensor([[2.0 * (frame - reference) for frame in layout[0]]])
    code, trust = images(1, whole, 3), (images(1, whole, 1) > 0.05).float()
    example = Candidates(code, trust, stops, torch.tensor([4.0]), *layout)
    inputs = {
        "code": code,
        "trust": trust,
        "stops": stops,
        "peak": example.peak,
        "limits": example.limits.contiguous(),
        "tolerance": torch.full_like(example.tolerance, 0.01),
    }
    spatial = {name: 3 if name in ("code", "trust") else None for name in inputs}
    told = [
        {"frame": frame + 1, "role": role.name.lower(), "hypothesis": hypothesis.name.lower()}
        for frame, role, hypothesis in zip(*layout, strict=True)
    ]
    module = Deciding(network, layout)
    return Exported(module, inputs, ("logits", "correction"), spatial, {"candidates": told})


def export_model(request: ExportRequest) -> tuple[Path, float | None]:
    """Write a model's network as an ONNX file, and compare it with PyTorch.

    Returns:
        The file, and the largest absolute difference of its outputs from PyTorch's for the example
        it was made with; None where ONNX Runtime is not installed.

    Raises:
        OutputExistsError: the file exists and `overwrite` is false.
        OutputError: it cannot be written.
        ModelError: there is no such model, it does not fit the request, or the file computes
            something else than the network.
        MissingPackageError: the packages of the extra "onnx" are not installed.
    """
    ensure_writable(request.output, request.overwrite)
    if not 2 <= request.frames <= 9:
        raise InputError(f"{request.frames} frames are no bracket; give 2 to 9")
    model = load_model(request.model)
    ensure_no_input([request.output], model_files(model.folder))
    function = exported(model, request)
    content = onnx_bytes(
        function,
        request.size is None,
        {
            "dfghdr:version": __version__,
            "dfghdr:model": os.fsencode(model.info.name).decode(errors="replace"),
            "dfghdr:weights": model.digest,
            "dfghdr:facts": json.dumps(function.facts),
        },
    )
    error = onnx_error(function, content)
    # A decoder's AdaIN makes rounding larger, see nets.golden.
    allowed = TOLERANCE if request.part == "merge" else TOLERANCE / DECODED_SHARE
    if error is not None and not error <= allowed:
        raise ModelError(
            f"{model.info.name} cannot be exported: the file differs from PyTorch by {error:.3g}"
        )
    with atomic_write(request.output, request.overwrite) as file:
        file.write(content)
    return request.output, error


def onnx_bytes(function: Exported, any_size: bool, metadata: dict[str, str]) -> bytes:
    """The file.

    Args:
        function: see `exported`.
        any_size: whether height and width stay open.
        metadata: stored in the file.

    Raises:
        MissingPackageError: the packages of the extra "onnx" are not installed.
        DeviceError: there is not enough memory.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            "to export needs the extra 'onnx': pip install 'dfghdr[onnx]'"
        ) from error
    auto = torch.export.Dim.AUTO
    shapes = [
        {axis: auto, axis + 1: auto} if any_size and axis is not None else {}
        for axis in function.spatial.values()
    ]
    arguments = tuple(function.inputs.values())
    # A module of *frames has one argument, the tuple of all.
    dynamic = (tuple(shapes),) if isinstance(function.module, Painting) else tuple(shapes)
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                function.module.eval(),
                arguments,
                dynamo=True,
                input_names=list(function.inputs),
                output_names=list(function.outputs),
                dynamic_shapes=dynamic,
                optimize=False,  # the runtime does, and better
                verbose=False,
            )
    except Exception as error:
        refuse_if_out_of_memory(error, "the export")
        raise
    assert program is not None
    program.model.metadata_props.update(metadata)
    file = io.BytesIO()
    file.write(program.model_proto.SerializeToString())
    return file.getvalue()


def onnx_error(function: Exported, content: bytes) -> float | None:
    """Largest difference of a file's outputs from the network's; None without ONNX Runtime."""
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    given = {each.name for each in session.get_inputs()}
    arrays = {name: x.numpy() for name, x in function.inputs.items() if name in given}
    found = session.run(list(function.outputs), arrays)
    with torch.no_grad():
        wanted = function.module(*function.inputs.values())
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    pairs = zip(found, wanted, strict=True)
    return max(float(np.abs(np.asarray(one) - other.numpy()).max()) for one, other in pairs)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of packages that it does not need."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    levels = [each.level for each in loggers]
    try:
        for each in loggers:
            each.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
