"""A merge tells of its whole course: evenly, never backwards."""

import numpy as np
import pytest

from dfghdr_cli.core.frames import CodedBracket
from dfghdr_cli.merging.config import MergeConfig
from dfghdr_cli.merging.costs import stage_costs
from dfghdr_cli.merging.merge import merge_bracket
from dfghdr_cli.modelstore import install_model
from dfghdr_cli.nets.registry import build
from dfghdr_cli.pipeline.merge.request import MergeRequest, load_merger
from dfghdr_cli.pipeline.merge.run import merge_files
from dfghdr_cli.resources import Trace
from tests.support.photographs import photograph, textured_scene, write_jpeg

SMALL = {"width": (4, 4, 4), "disentangle_width": 4, "code_length": 4}


@pytest.mark.parametrize("method", ["dfgnet", "classic"])
@pytest.mark.parametrize("align", ["auto", "flow"])
def test_a_merge(tmp_path, method, align):
    scene = textured_scene(1, (96, 128))
    paths = [tmp_path / f"{stops}.jpg" for stops in (-2, 0, 2)]
    for path, stops in zip(paths, (-2, 0, 2), strict=True):
        write_jpeg(path, photograph(scene, stops, seed=stops + 2), seconds=2.0**stops / 64)
    install_model(build("dfgmerge", SMALL), "small", tmp_path / "models")
    merger = load_merger(method, str(tmp_path / "models" / "small") if method == "dfgnet" else None)
    told = []
    config = MergeConfig(align=align)
    request = MergeRequest(paths, [tmp_path / "out.exr", tmp_path / "out.jpg"], config=config)
    merge_files(merger, request, lambda done, total, what: told.append((done / total, what)))
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == 1

    # No stage that is planned is passed over, and none comes that is not.
    costs = stage_costs((96, 128), 3, merger.network, config)
    seen = list(dict.fromkeys(what.split()[0] for _, what in told))
    assert seen == ["read", *costs]


@pytest.mark.parametrize("kind", ["dfgmerge", None])
def test_frames_alone_end_with_a_whole_stage(kind):
    linear = [np.full((40, 48, 3), 0.1 * 4**k, np.float32) for k in range(2)]
    told = []
    trace = Trace(lambda *step: told.append(step))
    network = None if kind is None else build(kind, SMALL).eval()
    coded = CodedBracket.of_linear(linear, (0.0, 2.0), 1)
    merge_bracket(network, coded, MergeConfig(), trace=trace)
    assert told[-1] == (1, 1, "merge")
