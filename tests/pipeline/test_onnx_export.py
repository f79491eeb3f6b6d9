"""Every network as an ONNX file, compared with PyTorch."""

import json

import numpy as np
import pytest
import torch

from dfghdr_cli.errors import InputError, ModelError, OutputExistsError
from dfghdr_cli.io.scenes import read_scene
from dfghdr_cli.modelstore import install_model, load_model
from dfghdr_cli.nets.candidates import Candidates, Hypothesis, candidate_layout
from dfghdr_cli.nets.registry import build
from dfghdr_cli.pipeline import onnx_export
from dfghdr_cli.pipeline.evaluate.external import External, external_methods
from dfghdr_cli.pipeline.onnx_export import ExportRequest, export_model, exported

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

SIZES = {
    "dfgnet": {"width": 4, "disentangle_width": 4, "code_length": 4},
    "dfgmerge": {"width": (4, 4, 4), "disentangle_width": 4, "code_length": 4},
}


@pytest.fixture
def install(models_dir):
    """A function that installs a small random network whose zeros are random, too."""

    def install(kind, **more):
        torch.manual_seed(0)
        network = build(kind, SIZES[kind], **more)
        with torch.no_grad():
            for parameter in network.parameters():
                if not parameter.any():
                    parameter.normal_(0.0, 0.1)
        install_model(network, kind, models_dir)
        return kind

    return install


def test_a_dfgnet_is_what_external_scores(install, make_scene, tmp_path):
    """In a file of one size, on frames as they are, as PyTorch computes it of the same."""
    install("dfgnet")
    path, error = export_model(ExportRequest("dfgnet", tmp_path / "n.onnx", size=(128, 64)))
    assert error < 1e-5
    scene = read_scene(make_scene(tmp_path / "a", (0.0, 2.0, 4.0), (64, 128)))
    (method,) = external_methods([External("theirs", path)], (), "cpu")
    found = method.run(scene)
    codes = [frame.encoded().transpose(2, 0, 1) for frame in scene.bracket.frames]
    layout = candidate_layout(3, 1, (Hypothesis.STILL,))
    stack = Candidates(
        torch.from_numpy(np.stack([codes[frame] for frame in layout[0]]))[None],
        torch.ones(1, 3, 1, 64, 128),
        torch.tensor([[2.0 * (frame - 1) for frame in layout[0]]]),
        torch.tensor([4.0]),
        *layout,
    )
    network = load_model("dfgnet").network
    with torch.no_grad():
        wanted = network(stack.only(np.argsort(layout[0]).tolist()))[0].permute(1, 2, 0).numpy()
    assert found == pytest.approx(wanted, abs=1e-5)
    properties = {each.key: each.value for each in onnx.load(path).metadata_props}
    assert properties["dfghdr:model"] == "dfgnet"
    assert json.loads(properties["dfghdr:facts"])["reference"] == 2


def test_a_file_of_any_size(install, models_dir, tmp_path):
    """Made with 64x96, run on another size; the model's name is no UTF-8."""
    install("dfgnet", decoder=True)
    folder = (models_dir / "dfgnet").rename(models_dir / "net\udcff")
    request = ExportRequest(str(folder), tmp_path / "d.onnx", part="disentangle")
    path, error = export_model(request)
    assert error < 1e-4
    session = onnxruntime.InferenceSession(path.read_bytes())
    random = np.random.default_rng(1)
    inputs = {name: random.random((1, 3, 96, 128), np.float32) for name in ("content", "exposure")}
    (found,) = session.run(None, inputs)
    properties = {each.key: each.value for each in onnx.load(path).metadata_props}
    assert properties["dfghdr:model"] == "net\ufffd"
    module = exported(load_model(str(folder)), request).module
    with torch.no_grad():
        wanted = module(*(torch.from_numpy(x) for x in inputs.values())).numpy()
    assert found == pytest.approx(wanted, abs=1e-4)


def test_a_dfgmerge_decides_alike(install, tmp_path):
    install("dfgmerge")
    request = ExportRequest("dfgmerge", tmp_path / "m.onnx", frames=2, size=(64, 32))
    path, error = export_model(request)
    assert error < 1e-5
    graph = onnx.load(path)
    assert [each.name for each in graph.graph.output] == ["logits", "correction"]
    facts = {each.key: each.value for each in graph.metadata_props}
    told = json.loads(facts["dfghdr:facts"])["candidates"]
    assert told[0] == {"frame": 2, "role": "reference", "hypothesis": "still"}


def test_what_cannot_be_exported(install, tmp_path, monkeypatch):
    install("dfgnet")
    out = tmp_path / "x.onnx"
    for change, kind, words in (
        ({"size": (100, 64)}, ModelError, "multiples of 16"),
        ({"size": (16, 16)}, ModelError, "at least 32"),
        ({"part": "disentangle"}, ModelError, "no decoder"),
        ({"frames": 1}, InputError, "2 to 9"),
        ({"model": "nothing"}, ModelError, "no model"),
    ):
        with pytest.raises(kind, match=words):
            export_model(ExportRequest(**{"model": "dfgnet", "output": out, **change}))
    out.write_text("there")
    with pytest.raises(OutputExistsError):
        export_model(ExportRequest("dfgnet", out))
    monkeypatch.setattr(onnx_export, "onnx_bytes", lambda *_: b"")
    monkeypatch.setattr(onnx_export, "onnx_error", lambda *_: float("nan"))
    with pytest.raises(ModelError, match="differs from PyTorch"):
        export_model(ExportRequest("dfgnet", out, overwrite=True))
    assert out.read_text() == "there"
