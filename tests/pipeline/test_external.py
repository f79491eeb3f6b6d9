"""Networks of others in files, which see what the field's published code shows its networks."""

import numpy as np
import pytest
import torch
from torch import nn

from dfghdr_cli.errors import InputError, MissingPackageError, ModelError
from dfghdr_cli.io.scenes import read_scene
from dfghdr_cli.pipeline.evaluate.external import (
    External,
    external_methods,
    parse_external,
    six_channels,
)
from dfghdr_cli.pipeline.evaluate.methods import build_methods
from dfghdr_cli.pipeline.evaluate.run import evaluate

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


class Middle(nn.Module):
    """The middle frame's linear channels: what the method `reference` gives."""

    def forward(self, dark, middle, bright):
        return middle[:, :3]


class Stacked(nn.Module):
    """The same of one input of eighteen channels."""

    def forward(self, x):
        return x[:, 6:9]


class Small(nn.Module):
    def forward(self, dark, middle, bright):
        return middle[:, :3, ::2, ::2]


class Two(nn.Module):
    def forward(self, dark, bright):
        return dark[:, :3]


class Flat(nn.Module):
    def forward(self, dark, middle, bright):
        return middle.mean(dim=(2, 3))


def torchscript(path, module, inputs=3):
    channels = 6 if inputs > 1 else 18
    torch.jit.trace(module, tuple(torch.rand(1, channels, 64, 64) for _ in range(inputs))).save(
        path
    )
    return path


def onnx_file(path, size=("h", "w")):
    """The middle frame's linear channels, by a Slice."""
    from onnx import TensorProto, helper, numpy_helper

    def value(name, channels):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, *size])

    bounds = [
        numpy_helper.from_array(np.array([n]), name) for n, name in ((0, "a"), (3, "b"), (1, "c"))
    ]
    node = helper.make_node("Slice", ["middle", "a", "b", "c"], ["hdr"])
    inputs = [value(name, 6) for name in ("dark", "middle", "bright")]
    graph = helper.make_graph([node], "g", inputs, [value("hdr", 3)], bounds)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path


def score(scene, path, name="theirs"):
    methods = build_methods((), ["reference"], (), "cpu")
    methods += external_methods([External(name, path)], ["reference"], "cpu")
    return evaluate([scene], methods)


def test_what_a_network_is_given(make_scene, tmp_path):
    scene = read_scene(make_scene(tmp_path / "a", (1.0, 3.0, 6.0)))
    inputs = six_channels(scene)
    for image, frame, stops in zip(inputs, scene.bracket.frames, (0, 2, 5), strict=True):
        assert image.shape == (1, 6, 80, 112)
        assert image.dtype == np.float32
        code = frame.encoded().transpose(2, 0, 1)
        assert np.array_equal(image[0, 3:], code)
        assert image[0, :3] == pytest.approx(code.astype(float) ** 2.2 / 2**stops, abs=1e-6)
    seen = inputs[0][0, 3:].max(0) < 1
    assert np.abs(inputs[0][0, :3] - scene.truth.transpose(2, 0, 1))[:, seen].mean() < 0.02


@pytest.mark.parametrize("kind", ["onnx", "pt", "stacked"])
def test_it_is_scored_like_the_others(make_scene, tmp_path, kind):
    if kind == "onnx":
        path = onnx_file(tmp_path / "theirs.onnx")
    elif kind == "pt":
        path = torchscript(tmp_path / "theirs.pt", Middle())
    else:
        path = torchscript(tmp_path / "theirs.ts", Stacked(), 1)
    result = score(make_scene(tmp_path / "a"), path)
    reference, theirs = (result.rows[name][0] for name in ("reference", "theirs"))
    for key in ("psnr_mu", "psnr_l", "ssim_mu"):
        assert theirs[key] == pytest.approx(reference[key], rel=1e-5)
    assert theirs["seconds"] is not None


def test_what_cannot_be_scored_is_said(make_scene, tmp_path):
    scene = make_scene(tmp_path / "a")
    for module, words in ((Small(), "pixels for 112x80"), (Flat(), "output of shape")):
        path = torchscript(tmp_path / "theirs.pt", module)
        with pytest.raises(InputError, match=words):
            score(scene, path)
    with pytest.raises(InputError, match=r"theirs\.onnx cannot be run"):
        score(scene, onnx_file(tmp_path / "theirs.onnx", (64, 64)))
    four = make_scene(tmp_path / "four", (0.0, 1.0, 2.0, 3.0))
    with pytest.raises(InputError, match="takes 3 frames, and the scene has 4"):
        score(four, torchscript(tmp_path / "theirs.pt", Middle()))


def test_files_that_are_no_networks(tmp_path):
    torch.save(Middle().state_dict(), tmp_path / "weights.pth")
    (tmp_path / "words.onnx").write_text("words")
    (tmp_path / "x.bin").write_text("words")
    torchscript(tmp_path / "two.pt", Two(), 2)
    for name, words in (
        ("weights.pth", "weights alone do not tell"),
        ("words.onnx", "no ONNX file"),
        ("x.bin", "ends in neither"),
        ("two.pt", "takes 2 inputs"),
    ):
        with pytest.raises(ModelError, match=words):
            external_methods([External("x", tmp_path / name)], (), "cpu")
    with pytest.raises(InputError, match="does not exist"):
        external_methods([External("x", tmp_path / "nowhere.pt")], (), "cpu")
    path = torchscript(tmp_path / "theirs.pt", Middle())
    with pytest.raises(InputError, match="classic is given twice"):
        external_methods([External("classic", path)], ["classic"], "cpu")


def test_without_onnx_runtime(tmp_path, monkeypatch):
    path = onnx_file(tmp_path / "theirs.onnx")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MissingPackageError, match=r"dfghdr\[onnx\]"):
        external_methods([External("x", path)], (), "cpu")


@pytest.mark.parametrize("text", ["", "x", "=x", "x=", " =y"])
def test_name_and_file(text):
    with pytest.raises(ValueError, match="NAME=FILE"):
        parse_external(text)
    assert parse_external("AHDRNet=a=b.onnx").path.name == "a=b.onnx"
