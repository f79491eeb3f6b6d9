"""Networks of others, exported to one file each, scored beside our own.

A file holds a network of three exposures, as TorchScript (.pt, .pth, .ts) or ONNX (.onnx). It takes
three inputs, dark to bright, or one that has them one after the other in its channels. Each is
(1, 6, H, W) float32: channels 0 to 2 are linear, code ** 2.2 / 2 ** stops, so that 1.0 is the white
of the darkest frame, and 3 to 5 are the gamma codes in [0, 1], both RGB. Frames are as their files
have them, not aligned. Its output, (1, 3, H, W), is linear, 1.0 = the white of the darkest frame,
and H and W are those of its inputs. AHDRNet, HDR-Transformer, SCTNet, SAFNet and AFUNet are fed
like this by their published code; the paper's network, which has the codes first, needs a wrapper
that exchanges them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dfghdr_cli.core.types import FloatImage
from dfghdr_cli.devices import choose_device
from dfghdr_cli.errors import (
    InputError,
    MissingPackageError,
    ModelError,
    refuse_if_out_of_memory,
)
from dfghdr_cli.io.scenes import NamedBracket
from dfghdr_cli.io.source import first_line, read_head
from dfghdr_cli.pipeline.evaluate.methods import Method

FRAMES = 3
PIXELS = 64
"""Pictures are continued to a multiple of this, mirrored at their right and lower borders, and the
result is cut again: networks with strides and windows take no others."""
TORCHSCRIPT = (".pt", ".pth", ".ts")
_GAMMA = np.float32(2.2)

Inputs = list[FloatImage]
Network = Callable[[Inputs], NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class External:
    """A network in a file.

    Attributes:
        name: its name in tables.
        path: the file.
    """

    name: str
    path: Path


def parse_external(text: str) -> External:
    """NAME=FILE as `--external` takes it.

    Raises:
        ValueError: it has no name or no file.
    """
    name, equals, path = text.partition("=")
    if not (name.strip() and equals and path):
        raise ValueError(f"{text!r} is not NAME=FILE, such as AHDRNet=ahdrnet.onnx")
    return External(name.strip(), Path(path))


def external_methods(
    externals: Sequence[External], taken: Sequence[str] = (), device: str = "auto"
) -> list[Method]:
    """Load networks of others.

    Args:
        externals: their names and files.
        taken: names of the other methods.
        device: where those in TorchScript compute; ONNX Runtime computes on the CPU.

    Raises:
        InputError: a file is missing, or two methods have one name.
        ModelError: a file is neither TorchScript nor ONNX, or does not take such inputs.
        MissingPackageError: ONNX Runtime is not installed.
        DeviceError: the device is not there.
    """
    methods = []
    names = Counter([*taken, *(external.name for external in externals)])
    for external in externals:
        if names[external.name] > 1:
            raise InputError(f"{external.name} is given twice; name each thing once.")
        read_head(external.path)
        suffix = external.path.suffix.lower()
        if suffix == ".onnx":
            network = _onnx(external.path)
        elif suffix in TORCHSCRIPT:
            network = _torchscript(external.path, choose_device(device))
        else:
            raise ModelError(
                f"{external.path} ends in neither .onnx nor {', '.join(TORCHSCRIPT)}; export the "
                "network to ONNX or TorchScript"
            )
        methods.append(Method(external.name, "external", _scored(external.path, network)))
    return methods


def six_channels(scene: NamedBracket) -> Inputs:
    """What a network is given of a scene: for each frame (1, 6, H, W), dark to bright."""
    inputs = []
    for frame in scene.bracket.frames:
        code = frame.encoded()
        linear = code**_GAMMA / np.float32(2.0**frame.exposure.stops)
        inputs.append(np.concatenate([linear, code], axis=2).transpose(2, 0, 1)[None])
    return inputs


def _scored(path: Path, network: Network) -> Callable[[NamedBracket], FloatImage]:
    def run(scene: NamedBracket) -> FloatImage:
        if len(scene.bracket.frames) != FRAMES:
            raise InputError(
                f"{path} takes {FRAMES} frames, and the scene has {len(scene.bracket.frames)}; "
                "score it on scenes of three."
            )
        height, width = scene.bracket.size
        result = np.asarray(network([_continued(each) for each in six_channels(scene)]))
        if result.ndim != 4 or result.shape[:2] != (1, 3) or not np.isfinite(result).all():
            raise InputError(
                f"{path} gave an output of shape {result.shape}, or not of finite numbers; it must "
                "be (1, 3, H, W), see docs/metrics.md."
            )
        if result.shape[2] < height or result.shape[3] < width:
            raise InputError(
                f"{path} gave {result.shape[3]}x{result.shape[2]} pixels for {width}x{height}; "
                "export it with its own output size."
            )
        picture = result[0, :, :height, :width].transpose(1, 2, 0)
        return np.ascontiguousarray(picture, np.float32)

    return run


def _continued(image: FloatImage) -> FloatImage:
    """To a multiple of `PIXELS`, mirrored."""
    more = [-side % PIXELS for side in image.shape[2:]]
    return np.pad(image, ((0, 0), (0, 0), (0, more[0]), (0, more[1])), mode="reflect")


def _onnx(path: Path) -> Network:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPackageError(
            f"{path} needs ONNX Runtime; install the extra 'onnx': pip install 'dfghdr[onnx]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its exceptions have no base of their own
        refuse_if_out_of_memory(error, path)
        raise ModelError(
            f"{path} is no ONNX file that ONNX Runtime can run ({first_line(error)})"
        ) from error
    names = [each.name for each in session.get_inputs()]
    _check_inputs(path, len(names))

    def network(inputs: Inputs) -> NDArray[np.generic]:
        try:
            given = dict(zip(names, _given(inputs, len(names)), strict=True))
            return np.asarray(session.run(None, given)[0])
        except Exception as error:
            refuse_if_out_of_memory(error, path)
            raise InputError(f"{path} cannot be run on this scene ({first_line(error)})") from error

    return network


def _torchscript(path: Path, device: torch.device) -> Network:
    try:
        module = torch.jit.load(path, map_location=device).eval()
        arguments = len(module.forward.schema.arguments) - 1  # without itself
    except Exception as error:  # a damaged archive can raise anything
        refuse_if_out_of_memory(error, path)
        raise ModelError(
            f"{path} is no TorchScript file ({first_line(error)}); weights alone do not tell the "
            "network: export it by torch.jit.trace or torch.onnx.export"
        ) from error
    _check_inputs(path, arguments)

    def network(inputs: Inputs) -> NDArray[np.generic]:
        given = (np.ascontiguousarray(each) for each in _given(inputs, arguments))
        tensors = [torch.from_numpy(each).to(device) for each in given]
        try:
            with torch.inference_mode():
                result = module(*tensors)
        except (RuntimeError, torch.jit.Error) as error:
            refuse_if_out_of_memory(error, path)
            raise InputError(f"{path} cannot be run on this scene ({first_line(error)})") from error
        result = result[0] if isinstance(result, tuple | list) else result
        if not isinstance(result, Tensor):
            raise InputError(f"{path} gave no tensor; see docs/metrics.md for what it must give.")
        return result.float().cpu().numpy()

    return network


def _given(inputs: Inputs, count: int) -> Inputs:
    return inputs if count == FRAMES else [np.concatenate(inputs, axis=1)]


def _check_inputs(path: Path, count: int) -> None:
    if count not in (1, FRAMES):
        raise ModelError(
            f"{path} takes {count} inputs; it must take three of six channels, or one of eighteen"
        )
