"""`--max-memory`: what a merge takes is known beforehand, and kept to."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest
import tifffile
import torch

from dfghdr_cli.devices import bound_gpu
from dfghdr_cli.errors import DeviceError
from dfghdr_cli.io import bracket
from dfghdr_cli.limits import parse_memory
from dfghdr_cli.merging.config import MergeConfig
from dfghdr_cli.merging.memory import MIB, MemoryEstimate
from dfghdr_cli.modelstore import DEFAULT_MODEL, install_model
from dfghdr_cli.nets.registry import build
from dfghdr_cli.pipeline.merge import run as pipeline
from dfghdr_cli.pipeline.merge.request import MergeRequest, load_merger
from dfghdr_cli.pipeline.merge.run import merge_files
from dfghdr_cli.resources import resident_memory

SIZE = (1632, 2448)
OF_FILES = (1088, 1632)
STOPS = (-2.0, 0.0, 2.0)
SIZES = {
    "dfgmerge": {},
    "dfgnet": {"width": 16, "disentangle_width": 16, "code_length": 16},
}


@cache
def network_of(kind):
    return build(kind, SIZES[kind]) if kind in SIZES else None


def work(kind="dfgmerge", size=SIZE, **more):
    return MemoryEstimate(size, **{"frames": 3, "sample": 2, "network": network_of(kind)} | more)


def most(some, config=MergeConfig()):  # noqa: B008
    return max(some.stages(config).values())


def test_a_dng_takes_its_bytes():
    plain, dng = (work("classic", dng=dng).stages(MergeConfig())["write"] for dng in (False, True))
    assert dng > plain
    assert dng >= 49 * SIZE[0] * SIZE[1]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4G", 4 * 1024**3),
        ("800M", 800 * MIB),
        ("800 mib", 800 * MIB),
        ("1.5GB", 3 * 2**29),
        ("64k", 65536),
        ("1t", 2**40),
        ("123456789", 123456789),
        ("100B", 100),
    ],
)
def test_amounts_of_memory(text, size):
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "G", "much", "-1G", "0", "0.1", "nan", "infG", "4GG", "4 X"])
def test_no_amounts_of_memory(text):
    with pytest.raises(ValueError, match="such as 800M"):
        parse_memory(text)


@pytest.mark.parametrize("kind", ["classic", *SIZES])
def test_more_of_anything_takes_more(kind):
    least = sum(work(kind).stages(MergeConfig()).values())
    larger = {"size": (2000, 3000), "frames": 5, "sample": 4}
    larger |= dict.fromkeys(("converted", "screens", "ghost_map"), True)
    for name, value in larger.items():
        assert sum(work(kind, **{name: value}).stages(MergeConfig()).values()) > least, name


def test_tiles_shrink_before_the_picture_that_decides():
    config = MergeConfig()
    needs = {
        (proxy, tile): most(work(), replace(config, proxy_pixels=proxy, tile=tile))
        for proxy in (2_500_000, 1_250_000, 625_000)
        for tile in (1024, 512, 256)
    }
    assert sorted(needs.values(), reverse=True)[0] == needs[2_500_000, 1024]
    held = 200 * MIB
    for (proxy, tile), need in needs.items():
        fitted = work().fitted(config, held + need, held)
        assert held + most(work(), fitted) <= held + need
        assert fitted.proxy_pixels >= proxy
        if fitted.proxy_pixels == proxy:
            assert fitted.tile >= tile
    assert work().fitted(config, 2**40, held) == config
    assert work().fitted(config, held + needs[2_500_000, 1024] - 1, held).tile == 512


@pytest.mark.parametrize(
    ("kind", "resolution", "mend"),
    [
        ("dfgmerge", "full", "leave out --resolution full"),
        ("dfgmerge", "auto", "give smaller photographs"),
        ("dfgnet", "full", "leave out --resolution full"),
        ("classic", "auto", "give smaller photographs"),
    ],
)
def test_what_cannot_be_had(kind, resolution, mend):
    with pytest.raises(DeviceError) as caught:
        work(kind).fitted(MergeConfig(resolution=resolution), 100 * MIB, 50 * MIB)
    said = str(caught.value)
    assert said.startswith("Merging 3 frames of 4 megapixels takes ")
    assert said.endswith(f" at least, but --max-memory is 100M; allow that much, or {mend}.")
    amount = re.search(r"takes (\S+) of memory", said)
    config = MergeConfig(resolution=resolution)
    work(kind).fitted(config, parse_memory(amount[1]), 50 * MIB)


@pytest.fixture
def photographs(tmp_path):
    """A bracket of 1.8 megapixels, as files."""
    random = np.random.default_rng(0)
    coarse = random.uniform(0.02, 0.6, (102, 153, 3)).astype(np.float32)
    scene = cv2.resize(coarse, OF_FILES[::-1], interpolation=cv2.INTER_LINEAR)
    paths = [tmp_path / f"{number}.tif" for number in range(3)]
    for path, stops in zip(paths, STOPS, strict=True):
        code = np.clip(scene * 2.0**stops, 0, 1) ** (1 / 2.2)
        tifffile.imwrite(path, np.rint(code * 65535).astype(np.uint16), photometric="rgb")
    return paths


def merge(paths, *options):
    """The program, in a process of its own, whose memory holds nothing else."""
    command = [sys.executable, "-m", "dfghdr_cli", "merge", *map(str, paths), "--ev=-2,0,2"]
    command += ["-o", str(paths[0].with_name("out.exr")), "--device", "cpu", "--json", *options]
    names = ("XDG_DATA_HOME", "DFGHDR_MODELS_DIR")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment["OMP_NUM_THREADS"] = "2"
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.skipif(resident_memory() is None, reason="only Linux tells")
@pytest.mark.parametrize("method", ["dfgnet", "classic"])
def test_a_merge_keeps_to_the_least_that_it_names(method, photographs):
    refused = merge(photographs, "--method", method, "--max-memory", "1M")
    assert refused.returncode == 6, refused.stderr
    assert "Traceback" not in refused.stderr
    assert refused.stdout == ""
    amount = re.search(r"takes (\S+) of memory at least, but --max-memory is 1M", refused.stderr)
    assert amount is not None
    done = merge(photographs, "--method", method, "--max-memory", amount[1])
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    share = report["peak_memory_mib"] * MIB / parse_memory(amount[1])
    assert 0.7 < share <= 1
    said = ["To keep to --max-memory, a picture of 0.62 megapixels decided instead of 1.8"]
    assert [w.partition(":")[0] for w in report["warnings"]] == (said if method == "dfgnet" else [])


@pytest.fixture
def read(monkeypatch):
    """The files that were read, by a process that holds 300 MiB."""
    paths = []
    original = bracket.read_frame

    def read_frame(path, *rest):
        paths.append(path)
        return original(path, *rest)

    monkeypatch.setattr(bracket, "read_frame", read_frame)
    monkeypatch.setattr(pipeline, "resident_memory", lambda: 300.0)
    return paths


def test_nothing_but_the_first_frame_is_read_for_a_refusal(photographs, read):
    output = photographs[0].with_name("out.exr")
    request = MergeRequest(photographs, [output], stops=STOPS, max_memory=MIB)
    with pytest.raises(DeviceError, match="--max-memory is 1M"):
        merge_files(load_merger("classic"), request)
    assert read == photographs[:1]
    assert not output.exists()


def test_frames_exposed_alike_take_more(models_dir, photographs, read):
    install_model(network_of("dfgmerge"), DEFAULT_MODEL, models_dir)
    least = most(work(size=OF_FILES), MergeConfig(proxy_pixels=625_000, tile=192))
    for path in photographs[1:]:
        path.write_bytes(photographs[0].read_bytes())
    output = photographs[0].with_name("out.exr")
    limit = 300 * MIB + least
    request = MergeRequest(photographs, [output], stops=(0, 0, 0), max_memory=limit)
    with pytest.raises(DeviceError, match="--max-memory"):
        merge_files(load_merger(device="cpu"), request)
    assert read == photographs, "enough for a bracket of three exposures, as it seems at first"


def test_a_gpu_is_bounded_by_a_share_of_its_memory(monkeypatch):
    shares = []
    whole = type("Properties", (), {"total_memory": 8 * 1024**3})

    def cuda(share, device):
        shares.append((share, device))

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: whole)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", cuda)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 4 * 1024**3)
    monkeypatch.setattr(torch.mps, "set_per_process_memory_fraction", shares.append)
    for name in ("cuda", "cuda:1", "mps", "cpu"):
        bound_gpu(torch.device(name), 2 * 1024**3)
    bound_gpu(torch.device("cuda"), 2**60)
    assert shares == [(0.25, None), (0.25, 1), 0.5, (1.0, None)]
