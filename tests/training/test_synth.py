"""The synthesised brackets: reproducible, in range, in the right order, and true."""

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from dfghdr_cli.nets.candidates import Hypothesis, candidate_layout
from dfghdr_cli.nets.compose import Decision, compose
from dfghdr_cli.nets.dfg import Role
from dfghdr_cli.training import synth
from dfghdr_cli.training.camera import draw_camera, expose
from dfghdr_cli.training.synth import COMPOSITIONS, SceneSynthesiser, to_candidates


@pytest.fixture
def tripod(monkeypatch):
    """No camera shake, and no error of the alignment."""
    monkeypatch.setattr(synth, "draw_shake", lambda rng, size, shift: np.eye(3))


def as_bytes(sample):
    return {key: value.tobytes() for key, value in sample.items()}


def test_a_sample_depends_on_seed_and_index_alone(synthesiser):
    forwards, backwards = synthesiser(seed=3), synthesiser(seed=3, length=50)
    there = [as_bytes(forwards[index]) for index in range(6)]
    back = [as_bytes(backwards[index]) for index in reversed(range(6))]
    assert there == back[::-1]
    assert len({sample["code"] for sample in there}) == 6
    assert as_bytes(synthesiser(seed=4)[0]) != there[0]


def test_ranges_and_layout(synthesiser):
    data = synthesiser()
    shapes = set()
    for batch in range(12):
        first, second = data[2 * batch], data[2 * batch + 1]
        assert first["code"].shape == second["code"].shape
        assert (np.sign(first["stops"]) == np.sign(second["stops"])).all()
        shapes.add(tuple(np.sign(first["stops"])))
        for sample in (first, second):
            count = len(sample["stops"])
            assert sample["code"].shape == (count, 3, 64, 64)
            assert sample["trust"].shape == (count, 1, 64, 64)
            assert sample["truth"].shape == (3, 64, 64)
            for key, value in sample.items():
                assert value.dtype == np.float32, key
                assert np.isfinite(value).all(), key
            for key in ("code", "trust", "truth"):
                assert sample[key].min() >= 0, key
                assert sample[key].max() <= 1, key
            assert (sample["trust"][0] == 1).all()
            assert sample["stops"][0] == 0
            assert sample["peak"] == pytest.approx(2.0 ** -sample["stops"].min())
    assert len(shapes) > 2  # else nothing was compared across compositions


@pytest.mark.parametrize("signs", [signs for _, signs in COMPOSITIONS])
def test_candidates_are_in_the_order_of_the_merge(signs, synthesiser, monkeypatch):
    monkeypatch.setattr(SceneSynthesiser, "_composition", staticmethod(lambda rng: signs))
    data = synthesiser()
    candidates = to_candidates(default_collate([data[0], data[1]]))
    frames, roles, hypotheses = candidate_layout(1 + len(signs), signs.count(-1))
    layout = (candidates.frames, candidates.roles, candidates.hypotheses)
    assert layout == (frames, roles, hypotheses)
    for stops in candidates.stops.tolist():
        role = [Role.REFERENCE if s == 0 else Role.SHORT if s < 0 else Role.LONG for s in stops]
        assert tuple(role) == roles
        by_frame = dict(zip(frames, stops, strict=True))
        assert [by_frame[frame] for frame in frames] == stops
        assert sorted(by_frame.values()) == [by_frame[frame] for frame in sorted(by_frame)]
        assert len(set(stops)) == 1 + len(signs)


def mu_law(radiance):
    """Eq. (10), written out."""
    return torch.log(1 + 5000 * radiance) / np.log(5001)


def unclipped(candidates):
    """(B, K, 1, H, W): no channel near that frame's white."""
    return candidates.code.amax(2, keepdim=True) < 0.95


@pytest.mark.usefixtures("tripod")
@pytest.mark.parametrize("index", range(0, 12, 2))
def test_every_frame_of_a_static_scene_shows_the_truth(index, synthesiser):
    data = synthesiser(kind="StaticOneStop")
    batch = default_collate([data[index], data[index + 1]])
    candidates = to_candidates(batch)
    # A frame that is only aligned is not resampled here; a flow-warped one is, by next to nothing.
    still = torch.tensor([h is Hypothesis.STILL for h in candidates.hypotheses])
    known = unclipped(candidates)[:, still].expand(-1, -1, 3, -1, -1)
    truth = batch["truth"][:, None].expand(-1, int(still.sum()), -1, -1, -1)
    seen = candidates.radiance()[:, still]
    assert known.float().mean() > 0.2
    torch.testing.assert_close(seen[known], truth[known], rtol=1e-4, atol=1e-6)

    nothing = Decision(torch.zeros_like(candidates.trust), torch.zeros_like(candidates.code[:, 0]))
    merged = compose(candidates, nothing).radiance
    somewhere = unclipped(candidates)[:, still].any(1).expand_as(merged)
    error = (mu_law(merged) - mu_law(batch["truth"]))[somewhere]
    assert -10 * torch.log10(error.square().mean()) > 40


@pytest.mark.parametrize("index", range(4))
def test_the_truth_is_what_the_reference_sees_of_a_moving_scene(index, synthesiser):
    batch = default_collate([synthesiser(kind="OneStop")[index]])
    candidates = to_candidates(batch)
    known = unclipped(candidates)[:, 0].expand(-1, 3, -1, -1)
    assert known.float().mean() > 0.2
    seen = candidates.radiance()[:, 0]
    torch.testing.assert_close(seen[known], batch["truth"][known], rtol=1e-4, atol=1e-6)


def test_the_frames_of_a_moving_scene_differ(synthesiser):
    data = synthesiser(kind="OneStop")
    differences = []
    for index in range(8):
        candidates = to_candidates(default_collate([data[index]]))
        known = unclipped(candidates)[:, [0, 2]].all(1).expand(-1, 3, -1, -1)
        both = candidates.radiance()
        differences.append(float((both[:, 0] / both[:, 2].clamp_min(1e-6)).log2()[known].std()))
    assert np.nanmedian(differences) > 0.05


def exposed(radiance, stops, camera):
    """What a camera makes of frames (F, 3, H, W), without its noise."""
    batch = default_collate([camera])
    light = torch.from_numpy(radiance)[None]
    at = torch.tensor([stops], dtype=torch.float32)
    nothing, qualities = torch.zeros_like(light), batch["jpeg"].tolist()
    return expose(light, at, batch, nothing, qualities, curved=bool(batch["curved"]))[0].numpy()


def test_crushed_blacks_are_black_in_every_frame():
    ramp = np.linspace(0, 1, 300, dtype=np.float32).reshape(3, 10, 10) ** 2.2
    radiance = np.stack([ramp * np.float32(2.0**-stops) for stops in (0, -2, 2)])
    crushed = 0
    for seed in range(60):
        camera = draw_camera(np.random.default_rng(seed), 3, 0.0) | {"jpeg": np.array(0)}
        black = min(table[table > 0].min() for table in camera["forward"][:, 0])
        if black < 0.019:
            continue
        crushed += 1
        code = exposed(radiance, [0.0, -2.0, 2.0], camera)
        assert (code == 0).any((1, 2, 3)).all()
        # But for the table's one step over the edge, which is a straight line.
        assert ((code > 0) & (code < black - 1 / 255)).mean() < 0.005
    assert 5 < crushed < 30


@pytest.mark.parametrize("stops", [-2.0, 0.0, 3.0])
def test_an_ideal_camera_is_eq_7(stops, ideal):
    light = np.random.default_rng(0).uniform(-0.1, 1.4, (1, 3, 20, 30)).astype(np.float32)
    expected = np.clip(light * 2.0**stops, 0, 1) ** (1 / 2.2)
    np.testing.assert_allclose(exposed(light, [stops], ideal(1)), expected, atol=3e-5)


def test_a_radiance_below_zero_by_rounding_makes_no_nan():
    camera = draw_camera(np.random.default_rng(0), 1, 0.0)
    assert np.isfinite(exposed(np.full((1, 3, 8, 8), -1e-3, np.float32), [3.0], camera)).all()


def test_samples_of_one_scene(synthesiser):
    """Eight batches share their scenes, and no two samples are alike."""
    data = synthesiser(variants=8)
    firsts = [data[2 * batch] for batch in (0, 1, 7, 8)]
    stops = [tuple(sample["stops"]) for sample in firsts]
    assert stops[0] == stops[1] == stops[2] != stops[3]
    assert len({sample["code"].tobytes() for sample in firsts}) == 4
    assert [batch for batch in range(20) if data.begins(batch)] == [0, 8, 16]
    assert [i // 2 // 8 for i in data.apart(8)] == [0, 0, 1, 1, 2, 2, 3, 3]
    levels = [np.sort(sample["truth"].mean((1, 2))) for sample in firsts]
    apart = np.abs(np.log2(levels[0] / levels[1]))
    assert apart.max() < 1  # exposed a little differently, cut and turned
    assert apart.max() > 1e-3


def test_a_batch_is_its_samples(synthesiser):
    """However scenes come together, a sample is the same, bit by bit."""
    data = synthesiser(variants=3)
    for batch, indices in enumerate([range(2), range(2, 4)]):
        parts = [default_collate([data.raw(index)]) for index in indices]
        together = data.finished(data.prepared(parts, batch, torch.device("cpu")), indices)
        for k, index in enumerate(indices):
            for name, value in data[index].items():
                assert np.array_equal(together[name][k].numpy(), value), name


def test_colours_stay_in_their_places_where_they_are_to(pictures, synthesiser):
    """Of pictures without blue no sample has any; with colours permuted some have."""
    blueless = [np.array(picture) for picture in pictures]
    for picture in blueless:
        picture[..., 2] = 0

    def blue(permute):
        data = synthesiser(images=blueless, permute_channels=permute, variants=2)
        return [float(data[index]["truth"][2].max()) for index in range(8)]

    assert max(blue(False)) < 1e-3
    assert max(blue(True)) > 0.05
