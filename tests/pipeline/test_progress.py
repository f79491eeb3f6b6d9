"""A merge tells of its whole course: evenly, never backwards."""

import pytest

from dfghdr_cli.merging.config import MergeConfig
from dfghdr_cli.merging.costs import stage_costs
from dfghdr_cli.modelstore import install_model
from dfghdr_cli.nets.registry import build
from dfghdr_cli.pipeline.merge.request import MergeRequest, load_merger
from dfghdr_cli.pipeline.merge.run import merge_files
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
    assert 0.9 < shares[-1] <= 1

    # No stage that is planned is passed over, and none comes that is not.
    costs = stage_costs((96, 128), 3, merger.network, config)
    seen = list(dict.fromkeys(what.split()[0] for _, what in told))
    assert seen == ["read", *costs]
