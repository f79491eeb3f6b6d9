"""A GPU that runs out of memory: smaller tiles, then the CPU, and the user is told.

There is no GPU in most places where tests run, so one is made up: it computes as the CPU does, but
keeps its tensors apart from those of the CPU, and has no room for a tensor above a size.
"""

import json
import logging
import math

import numpy as np
import pytest
import tifffile
import torch
from torch.overrides import TorchFunctionMode

from dfghdr_cli.merging.tiling import run_in_memory, run_tiled
from dfghdr_cli.modelstore import DEFAULT_MODEL, install_model
from dfghdr_cli.nets.candidates import Candidates, candidate_layout
from dfghdr_cli.nets.registry import build
from dfghdr_cli.pipeline.merge.request import MergeRequest, load_merger
from dfghdr_cli.pipeline.merge.run import merge_files

STOPS = (-2.0, 0.0, 2.0)


class FakeGPU(TorchFunctionMode):
    """While entered, "cuda" (or "mps", which has no float64) is there and has little memory."""

    between_devices = (
        torch.Tensor.copy_,
        torch.Tensor.__setitem__,
        torch._has_compatible_shallow_copy_type,  # of Module.to
    )

    def __init__(self, name, room):
        """No tensor above `room` bytes fits.

        `peak` is the size of the largest that did, `brought` of the largest from the CPU.
        """
        super().__init__()
        self.device, self.room, self.peak, self.brought = torch.device(name), room, 0, 0
        self.Tensor = type("Tensor", (torch.Tensor,), {"device": self.device})

    def full(self):
        if self.device.type == "cuda":
            return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate some GiB.")
        return RuntimeError("MPS backend out of memory (MPS allocated: some GB).")

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.cpu:
            return self.moved(args[0], "cpu")
        if func is torch.Tensor.to and isinstance(args[1], torch.device):
            return self.moved(args[0], args[1])
        place = kwargs.pop("device", None)
        flat = [x for a in args for x in (a if isinstance(a, (list, tuple)) else [a])]
        here = [isinstance(x, self.Tensor) for x in flat if isinstance(x, torch.Tensor) and x.dim()]
        if any(here) and not all(here) and func not in self.between_devices:
            raise RuntimeError("Expected all tensors to be on the same device")
        result = func(*args, **kwargs)
        if place is not None:
            return self.moved(result, place)
        return self.checked(result) if isinstance(result, self.Tensor) else result

    def moved(self, tensor, place):
        if torch.device(place) != self.device:
            return tensor.as_subclass(torch.Tensor)
        moved = self.checked(tensor.clone().as_subclass(self.Tensor))
        self.brought = max(self.brought, moved.untyped_storage().nbytes())
        return moved

    def checked(self, tensor):
        if self.device.type == "mps" and tensor.dtype == torch.float64:
            raise TypeError("the MPS framework doesn't support float64")
        size = tensor.untyped_storage().nbytes()
        if size > self.room:
            raise self.full()
        self.peak = max(self.peak, size)
        return tensor


@pytest.fixture(autouse=True)
def freed(monkeypatch):
    """Counts how often a GPU's free memory was given back; and lets modules move to the fake."""
    calls = []
    for name in ("cuda", "mps"):
        monkeypatch.setattr(f"torch.{name}.empty_cache", lambda name=name: calls.append(name))
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    yield calls
    torch.__future__.set_overwrite_module_params_on_conversion(before)


SMALL = {
    "dfgmerge": {"width": (8, 12, 16), "disentangle_width": 4, "code_length": 16},
    "dfgnet": {"width": 8, "disentangle_width": 8, "code_length": 16},
}


def network(kind):
    torch.manual_seed(0)
    built = build(kind, SMALL[kind])
    for parameter in built.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return built.eval()


def candidates(height, width):
    frames, roles, hypotheses = candidate_layout(3, 1)
    random = torch.Generator().manual_seed(0)
    code = torch.rand(1, len(frames), 3, height, width, generator=random)
    stops = torch.tensor([[STOPS[frame] for frame in frames]])
    trust = torch.ones_like(code[:, :, :1])
    return Candidates(code, trust, stops, torch.tensor([4.0]), frames, roles, hypotheses)


def on_the_cpu(built, stack):
    with torch.inference_mode():
        return run_tiled(built, stack)


def run(gpu, built, stack, tile=512):
    with torch.inference_mode(), gpu:
        built.to(gpu.device)
        return run_in_memory(built, stack, tile)


@pytest.mark.parametrize("name", ["cuda", "mps"])
@pytest.mark.parametrize("kind", SMALL)
def test_smaller_tiles_do(kind, name, freed):
    built, stack = network(kind), candidates(264, 300)
    expected = on_the_cpu(built, stack)
    gpu = FakeGPU(name, math.inf)  # to see what tiles of 256 take
    assert run(gpu, built, stack, 256).warnings == ()
    gpu.room, gpu.peak = gpu.peak, 0
    found = run(gpu, built, stack)
    assert found.warnings == (
        f"{name} ran out of memory with the network in tiles of 512 pixels; "
        "it was run again in tiles of 256.",
    )
    assert found.device == gpu.device
    assert gpu.peak == gpu.room
    assert freed == [name]
    for ours, theirs in zip(found.outputs, expected, strict=True):
        assert type(ours) is torch.Tensor, "the output is on the CPU"
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", SMALL)
def test_what_a_gpu_must_hold_depends_on_the_tile_alone(kind):
    needs = []
    for width in (384, 768):
        gpu = FakeGPU("cuda", math.inf)
        assert run(gpu, network(kind), candidates(256, width), 128).warnings == ()
        needs.append((gpu.peak, gpu.brought))
    assert needs[0] == needs[1]


@pytest.mark.parametrize("name", ["cuda", "mps"])
@pytest.mark.parametrize("kind", SMALL)
def test_at_last_the_cpu(kind, name, freed):
    built, stack = network(kind), candidates(100, 120)
    expected = on_the_cpu(built, stack)
    gpu = FakeGPU(name, 1_000_000)
    found = run(gpu, built, stack)
    assert [warning.split("; ")[1] for warning in found.warnings] == [
        "it was run again in tiles of 256.",
        "it was run again in tiles of 128.",
        "it was run again on the CPU.",
    ]
    assert found.device.type == "cpu"
    assert freed == [name] * 3
    for ours, theirs in zip(found.outputs, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    small = run(gpu, built, candidates(32, 40))
    assert small.device == gpu.device, "the network is still there for the next bracket"
    assert small.warnings == ()


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_other_errors_are_no_lack_of_memory(device, monkeypatch):
    said = "some other trouble" if device == "cuda" else "DefaultCPUAllocator: out of memory"

    def fail(*_):
        raise RuntimeError(said)

    monkeypatch.setattr("dfghdr_cli.nets.dfgmerge.DFGMerge.decide", fail)
    with pytest.raises(RuntimeError, match=said):
        run(FakeGPU(device, math.inf), network("dfgmerge"), candidates(32, 40))


@pytest.fixture
def request_(tmp_path, models_dir):
    """A bracket of files, and the default model."""
    install_model(network("dfgmerge"), DEFAULT_MODEL, models_dir)
    code = np.random.default_rng(0).uniform(0.1, 0.6, (160, 200, 3))
    paths = [tmp_path / f"{number}.tif" for number in range(3)]
    for path, stops in zip(paths, STOPS, strict=True):
        pixels = np.rint(np.clip(code * 2.0 ** (stops / 2.2), 0, 1) * 65535).astype(np.uint16)
        tifffile.imwrite(path, pixels)
    return MergeRequest(paths, [tmp_path / "out.exr"], stops=STOPS, overwrite=True)


@pytest.mark.parametrize(("room", "device", "count"), [(1e9, "cuda", 0), (1e6, "cpu", 4)])
def test_the_report_says_where_it_ran(room, device, count, request_):
    with FakeGPU("cuda", room):
        merger = load_merger(device="cuda")
        report = json.loads(merge_files(merger, request_).to_json())
    assert report["device"] == device
    assert len(report["warnings"]) == count
    assert all("cuda ran out of memory" in warning for warning in report["warnings"])


def test_a_gpu_without_room_for_the_model(request_, caplog):
    with FakeGPU("cuda", 1000), caplog.at_level(logging.WARNING):
        merger = load_merger(device="cuda")
        report = json.loads(merge_files(merger, request_).to_json())
    assert report["device"] == str(merger.device) == "cpu"
    assert "cuda has no memory left for the model" in caplog.text
    assert report["warnings"] == []


def test_the_classic_merge_needs_no_gpu(request_):
    with FakeGPU("cuda", 1000):
        merger = load_merger("classic", device="cuda")
        report = json.loads(merge_files(merger, request_).to_json())
    assert report["device"] == str(merger.device) == "cpu"
