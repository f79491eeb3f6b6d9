"""The synthesised brackets: reproducible, in range, in the right order, and true."""

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from dfghdr_cli.core.radiance import encode
from dfghdr_cli.nets.candidates import Hypothesis, candidate_layout
from dfghdr_cli.nets.dfg import Role
from dfghdr_cli.nets.dfgmerge import Decision, compose
from dfghdr_cli.training import synth
from dfghdr_cli.training.synth import COMPOSITIONS, TripletSynthesiser, to_candidates


class NoiseFree(TripletSynthesiser):
    """An ideal camera: steps of one stop, no noise, no rounding, no wrong exposure."""

    @staticmethod
    def _stops(rng, signs):
        dark, bright = signs.count(-1), signs.count(1)
        return [float(stop) for stop in range(-dark, bright + 1) if stop]

    def _expose(self, rng, radiance, stops, camera):
        return encode(radiance * 2.0 ** round(stops))


class Static(NoiseFree):
    """The ideal camera on a scene without foreground."""

    def _layer(self, rng, level):
        layer = super()._layer(rng, level)
        layer.alpha[:] = 0.0
        return layer


@pytest.fixture
def tripod(monkeypatch):
    """No camera shake, and no error of the alignment."""
    monkeypatch.setattr(synth, "_shake", lambda rng, size, shift: np.eye(3))


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
    monkeypatch.setattr(TripletSynthesiser, "_composition", staticmethod(lambda rng: signs))
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
    data = synthesiser(kind=Static)
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
    batch = default_collate([synthesiser(kind=NoiseFree)[index]])
    candidates = to_candidates(batch)
    known = unclipped(candidates)[:, 0].expand(-1, 3, -1, -1)
    assert known.float().mean() > 0.2
    seen = candidates.radiance()[:, 0]
    torch.testing.assert_close(seen[known], batch["truth"][known], rtol=1e-4, atol=1e-6)


def test_the_frames_of_a_moving_scene_differ(synthesiser):
    data = synthesiser(kind=NoiseFree)
    differences = []
    for index in range(8):
        candidates = to_candidates(default_collate([data[index]]))
        known = unclipped(candidates)[:, [0, 2]].all(1).expand(-1, 3, -1, -1)
        both = candidates.radiance()
        differences.append(float((both[:, 0] / both[:, 2].clamp_min(1e-6)).log2()[known].std()))
    assert np.nanmedian(differences) > 0.05


def test_crushed_blacks_are_black_in_every_frame(synthesiser):
    data = synthesiser()
    camera = {"shot": 0.0, "read": 0.0, "levels": 65535.0, "jpeg": 0.0, "curve": 0.0, "black": 0.05}
    radiance = np.linspace(0, 1, 300, dtype=np.float32).reshape(10, 10, 3) ** 2.2
    for stops in (-2.0, 0.0, 2.0):
        code = data._expose(np.random.default_rng(0), radiance, stops, camera)
        whole = data._expose(np.random.default_rng(0), radiance, stops, camera | {"black": 0.0})
        assert (code[whole < 0.049] == 0).all()
        np.testing.assert_array_equal(code[whole > 0.051], whole[whole > 0.051])
        assert 0 < (code == 0).mean() < 0.5


def test_a_radiance_below_zero_by_rounding_makes_no_nan(synthesiser):
    data = synthesiser()
    camera = {"shot": 1e-3, "read": 1e-4, "levels": 255.0, "jpeg": 0.0, "curve": 0.0, "black": 0.0}
    code = data._expose(
        np.random.default_rng(0), np.full((8, 8, 3), -1e-3, np.float32), 3.0, camera
    )
    assert np.isfinite(code).all()
