"""What is asked for is written, and only that."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dfghdr_cli.errors import InputError, ModelError, OutputError, OutputExistsError
from dfghdr_cli.modelstore import DEFAULT_MODEL
from dfghdr_cli.pipeline.explore import figures, run
from dfghdr_cli.pipeline.explore.explorer import load_explorer
from dfghdr_cli.pipeline.explore.metrics import MetricsConfig
from dfghdr_cli.pipeline.explore.run import ExploreRequest, explore

STOPS = (-2.0, 0.0, 2.0)


@pytest.fixture(autouse=True)
def small_views(monkeypatch):
    small = MetricsConfig(side=64, views=1, stops=(-1.0, 0.0, 1.0))
    measure_disentanglement = run.measure_disentanglement
    monkeypatch.setattr(
        run,
        "measure_disentanglement",
        lambda *args, **more: measure_disentanglement(*args, config=small, **more),
    )


@pytest.fixture
def paths(make_scene, tmp_path):
    make_scene(tmp_path / "scene", size=(38, 52))
    return sorted((tmp_path / "scene").glob("*.tif"))


def size_of(path):
    with Image.open(path) as image:
        return image.size


def test_each_kind_of_picture(install, paths, hdr, tmp_path):
    explorer = load_explorer(install(), "cpu")

    def picture(name, **more):
        request = ExploreRequest(output=tmp_path / name, stops=STOPS, **more)
        report = explore(explorer, request)
        assert report.outputs == (tmp_path / name,)
        return size_of(tmp_path / name)

    grid = picture("grid.png", paths=paths)
    assert grid[0] == 4 * 52 + 5 * 10  # three columns beside the photographs, and gaps
    assert picture("grid.jpg", paths=paths) == picture("grid.tif", paths=paths) == grid
    strip = picture("walk.png", paths=paths, interpolate=4)
    assert strip[0] == 4 * 52 + 5 * 10
    longer = picture("longer.png", paths=paths, interpolate=4, extrapolate=True)
    assert longer[0] > strip[0]
    assert picture("walk.gif", paths=paths, interpolate=4) == (52, 38)
    picture("attention.png", paths=paths, attention=True)
    assert picture("plane.png", metrics=hdr) == (768, 640)


def test_a_page_holds_everything_and_leaves_out_what_cannot_be(install, paths, hdr, tmp_path):
    explorer = load_explorer(install(), "cpu")
    whole = ExploreRequest(paths, stops=STOPS, metrics=hdr, html=tmp_path / "whole.html")
    report = explore(explorer, whole)
    assert report.grid is not None
    assert report.metrics is not None
    text = (tmp_path / "whole.html").read_text(encoding="utf-8")
    assert all(f'id="{name}"' in text for name in ("grid", "pair", "attention"))
    assert "Figures" in text
    cut = tmp_path / "cut.png"
    Image.new("RGB", (40, 40), "grey").save(cut)
    mixed = ExploreRequest([*paths, cut], html=tmp_path / "mixed.html")  # of two sizes: no bracket
    unasked = ExploreRequest(paths, html=tmp_path / "part.html", stops=STOPS, attention=False)
    for request in (mixed, unasked):
        explore(explorer, request)
        text = request.html.read_text(encoding="utf-8")
        assert 'id="grid"' in text
        assert 'id="attention"' not in text


def test_without_a_decoder_only_the_attention_is_shown(install, paths, tmp_path):
    explorer = load_explorer(install("dfgmerge", decoder=False), "cpu")
    install("dfgnet", "another")
    with pytest.raises(ModelError, match=r"take one that has \(another\), or look at --attention"):
        explore(explorer, ExploreRequest(paths, tmp_path / "grid.png", stops=STOPS))
    with pytest.raises(ModelError):
        explore(explorer, ExploreRequest(paths, html=tmp_path / "a.html", stops=STOPS))
    request = ExploreRequest(paths, html=tmp_path / "a.html", stops=STOPS, attention=True)
    explore(explorer, request)
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert 'id="attention"' in text
    assert 'id="grid"' not in text
    assert sorted(path.name for path in tmp_path.glob("*.*")) == ["a.html"]


def test_nothing_is_written_over_or_by_the_wrong_name(install, paths, tmp_path):
    explorer = load_explorer(install(), "cpu")
    (tmp_path / "grid.png").write_bytes(b"mine")
    with pytest.raises(OutputExistsError):
        explore(explorer, ExploreRequest(paths, tmp_path / "grid.png"))
    with pytest.raises(OutputError, match="HDR screens"):
        explore(explorer, ExploreRequest(paths, tmp_path / "grid.avif"))
    for name, steps in (("grid.gif", None), ("grid.exr", None), ("walk.mp4", 4)):
        with pytest.raises(OutputError, match="names no display format"):
            explore(explorer, ExploreRequest(paths, tmp_path / name, interpolate=steps))
    with pytest.raises(InputError, match="2 to 9 frames"):  # no bracket, so no attention
        explore(explorer, ExploreRequest(paths[:1], tmp_path / "a.png", attention=True))
    assert (tmp_path / "grid.png").read_bytes() == b"mine"
    assert [path.name for path in tmp_path.glob("*.*")] == ["grid.png"]


def test_a_model_with_a_decoder_is_taken_where_one_is_needed(install):
    install("dfgmerge", DEFAULT_MODEL, decoder=False)
    assert load_explorer(None, "cpu").name == DEFAULT_MODEL
    install("dfgnet", "with-decoder")
    assert load_explorer(None, "cpu").name == "with-decoder"
    assert load_explorer(None, "cpu", decoder=False).name == DEFAULT_MODEL
    assert load_explorer(DEFAULT_MODEL, "cpu").name == DEFAULT_MODEL
    install("dfgmerge", DEFAULT_MODEL)
    assert load_explorer(None, "cpu").name == DEFAULT_MODEL


def test_umap_is_drawn_beside_the_principal_plane_where_it_is_installed(
    install, hdr, tmp_path, monkeypatch
):
    class Umap:
        def __init__(self, n_neighbors, random_state, n_jobs):
            assert n_neighbors < 12
            assert (random_state, n_jobs) == (0, 1)

        def fit_transform(self, codes):
            assert codes.shape == (12, 8)
            return np.random.default_rng(0).random((12, 2))

    explorer = load_explorer(install(), "cpu")
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Umap))
    explore(explorer, ExploreRequest(output=tmp_path / "two.png", metrics=hdr))
    assert size_of(tmp_path / "two.png") == (2 * 768, 640)
    monkeypatch.setitem(sys.modules, "umap", None)
    found = explore(explorer, ExploreRequest(output=tmp_path / "one.png", metrics=hdr)).metrics
    assert figures.umap_points(found) is None
    assert size_of(tmp_path / "one.png") == (768, 640)
