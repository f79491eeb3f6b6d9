"""The laws of a merge, from photographs on disk or in memory to the radiance."""

import logging
import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from dfghdr_cli.core.calibration.response import Response
from dfghdr_cli.core.frames import CodedBracket
from dfghdr_cli.core.registration import aligned as registration
from dfghdr_cli.core.registration.align import Alignment
from dfghdr_cli.core.registration.aligned import AlignedBracket, align_bracket
from dfghdr_cli.devices import choose_device
from dfghdr_cli.errors import DeviceError, ModelError
from dfghdr_cli.io.bracket import read_bracket
from dfghdr_cli.io.radiance import read_radiance
from dfghdr_cli.merging.config import MergeConfig
from dfghdr_cli.merging.hypotheses import SETTLED, HypothesisStack, decision_parts, settle
from dfghdr_cli.merging.merge import merge_bracket
from dfghdr_cli.modelstore import DEFAULT_MODEL, install_model
from dfghdr_cli.nets.candidates import Hypothesis
from dfghdr_cli.nets.compose import Decision
from dfghdr_cli.nets.compose_tiles import compose_tile
from dfghdr_cli.pipeline.merge.request import MergeRequest, load_merger
from dfghdr_cli.pipeline.merge.run import merge_files
from dfghdr_cli.resources import Trace
from tests.support.networks import KINDS, network_of

CPU = torch.device("cpu")
GAMMA = Response.named("gamma")

few = settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
seeds = st.integers(0, 1000)
brackets = st.sampled_from([(-2, 0, 2), (-1, 0), (0, 3), (-3, -1.5, 0), (-2, -1, 0, 1, 2)])


MERGING = [kind for kind in KINDS if kind not in ("dfgnet", "guided")]


def scene(seed, height=40, width=56):
    """(H, W, 3) radiance from 0.01 to 3.5: smooth colours and a good deal of grain."""
    random = np.random.default_rng(seed)
    coarse = random.normal(0, 1, (height // 8 + 2, width // 8 + 2, 3)).astype(np.float32)
    level = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    level = level + random.uniform(0, 0.4) * random.normal(0, 1, (height, width, 3))
    level = (level - level.min()) / (level.max() - level.min())
    return (0.01 * 350**level).astype(np.float32)


def expose(radiance, stops):
    """Noise-free frames, linear, clipped at their own white."""
    return [np.clip(radiance * np.float32(2.0**stop), 0, 1) for stop in stops]


def merge(kind, linears, stops, config=MergeConfig(align="none"), reference=None):  # noqa: B008
    reference = stops.index(0) if reference is None else reference
    coded = CodedBracket.of_linear(linears, stops, reference)
    return merge_bracket(network_of(kind), coded, config).result


def write_frames(folder, linears):
    """16-bit TIFFs of gamma 2.2, named so that their order is not that of the exposures."""
    paths = []
    for number, frame in enumerate(linears):
        path = folder / f"{(number * 7 + 3) % 10}.tif"
        tifffile.imwrite(path, np.rint(frame ** (1 / 2.2) * 65535).astype(np.uint16))
        paths.append(path)
    return paths


def merge_read(kind, paths, **exposures):
    bracket = read_bracket(paths, **exposures)
    linears = [GAMMA.linearise(frame.pixels) for frame in bracket.frames]
    coded = CodedBracket.of_linear(linears, bracket.stops, bracket.reference)
    return merge_bracket(network_of(kind), coded, MergeConfig()).result


@few
@given(seeds, brackets, st.randoms(use_true_random=False), st.sampled_from(KINDS))
def test_the_order_of_the_files_is_irrelevant(seed, stops, random, kind):
    with tempfile.TemporaryDirectory() as folder:
        paths = write_frames(Path(folder), expose(scene(seed), stops))
        order = random.sample(range(len(stops)), len(stops))
        first = merge_read(kind, paths, stops=stops)
        second = merge_read(kind, [paths[i] for i in order], stops=[stops[i] for i in order])
    assert np.array_equal(first.radiance.pixels, second.radiance.pixels)
    assert first.radiance.peak == second.radiance.peak


@few
@given(seeds, brackets, st.floats(1e-3, 1e3), st.sampled_from(KINDS))
def test_scaling_all_times_changes_nothing(seed, stops, factor, kind):
    times = [2.0**stop / 60 for stop in stops]
    with tempfile.TemporaryDirectory() as folder:
        paths = write_frames(Path(folder), expose(scene(seed), stops))
        first = merge_read(kind, paths, times=times)
        second = merge_read(kind, paths, times=[time * factor for time in times])
    np.testing.assert_allclose(first.radiance.pixels, second.radiance.pixels, rtol=1e-4, atol=1e-5)


@few
@given(
    seeds,
    brackets,
    st.sampled_from(["auto", "none"]),
    st.sampled_from([(40, 56), (97, 131), (16, 20), (33, 48)]),
)
@pytest.mark.parametrize("kind", MERGING)
def test_a_static_bracket_merges_to_the_truth(kind, seed, stops, align, size):
    truth = scene(seed, *size)
    linears = expose(truth, stops)
    known = linears[0].max(axis=2) < 0.95  # else no frame has it
    for reference in range(len(stops)):
        relative = [stop - stops[reference] for stop in stops]
        result = merge(kind, linears, relative, MergeConfig(align=align), reference)
        merged = result.radiance.pixels * 2.0 ** -stops[reference]
        error = np.abs(merged[known] / truth[known] - 1)
        # In harsh grain the flow finds a little motion, and a pixel in thousands is resampled; the
        # released network adds a little where the reference is within a hundredth of its white.
        assert np.quantile(error, 0.99 if kind == "released" else 0.995) < 1e-3
        assert error.max() < {"classic": 1e-3, "released": 0.1}.get(kind, 1e-2)


@pytest.mark.parametrize("stops", [(-2, 0, 2), (0, 3), (-2, -1, 0, 1, 2)])
def test_a_static_bracket_merges_to_the_truth_by_a_painted_guide(stops):
    truth = scene(2, 97, 131)
    linears = expose(truth, stops)
    known = linears[0].max(axis=2) < 0.95
    for reference in range(len(stops)):
        relative = [stop - stops[reference] for stop in stops]
        result = merge("guided", linears, relative, reference=reference)
        merged = result.radiance.pixels * 2.0 ** -stops[reference]
        error = np.abs(merged[known] / truth[known] - 1)
        # Where DFGNet paints harsh grain badly, single pixels reject the frames.
        assert np.quantile(error, 0.99) < 1e-3
        np.testing.assert_allclose(result.weights.sum(axis=0), 1, rtol=1e-5)
        assert result.clipped.sum() == np.count_nonzero(
            linears[0].max(axis=2) ** (1 / 2.2) >= 0.992
        )


@pytest.mark.parametrize("kind", ["classic", "released"])
def test_a_wrong_exposure_spoils_nothing_that_is_only_just_clipped(kind, monkeypatch):
    """A mat on a table, both white in the reference; the dark frame is 0.6 stops darker than said.

    Without a tolerance the mat is taken for white, and for another thing than the dark frame shows.
    """
    truth = 0.1 + 0.2 * scene(11, 160, 240)
    truth[20:140, 20:220] = 4.0 + scene(12, 120, 200)
    truth[60:110, 80:160] = 1.02 + 0.1 * scene(13, 50, 80)
    truth[145:155] = np.linspace(0.5, 1.0, 240)[:, None]  # which tells how far white is off
    linears = expose(truth, (-3.6, 0.0))
    mat = np.s_[66:104, 86:154]
    seen = linears[0][mat] * 2.0**3
    # Else the exposure would be put right, as a phone's is.
    monkeypatch.setattr(AlignedBracket, "with_frames_that_meet", lambda bracket: bracket)

    def error():
        pixels = merge(kind, linears, (-3.0, 0.0), MergeConfig(align="none")).radiance.pixels
        return np.quantile(np.abs(pixels[mat] / seen - 1), 0.95)

    assert error() < 0.02
    monkeypatch.setattr(AlignedBracket, "white_tolerance", lambda bracket: 0.0)
    assert error() > 0.2, "or the scene is too easy"


@pytest.mark.parametrize("kind", MERGING)
@pytest.mark.parametrize("stops", [(0, 2), tuple(range(-4, 5))])
def test_two_and_nine_frames_from_disk(kind, stops, tmp_path):
    truth = scene(5)
    linears = expose(truth, stops)
    known = linears[0].max(axis=2) < 0.95
    paths = write_frames(tmp_path, linears)
    result = merge_read(kind, paths, stops=stops)
    reference = result.radiance.peak / 2.0 ** -min(stops)  # its white, in units of the scene's
    np.testing.assert_allclose(result.radiance.pixels[known] / reference, truth[known], rtol=2e-3)


PATTERNS = {
    "black": lambda shape: np.zeros(shape),
    "white": lambda shape: np.ones(shape),
    "halves": lambda shape: np.indices(shape)[1] < shape[1] // 2,
    "noise": lambda shape: np.random.default_rng(0).uniform(0, 1, shape),
    "sparks": lambda shape: np.random.default_rng(0).uniform(0, 1, shape) > 0.97,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pattern", list(PATTERNS))
@pytest.mark.parametrize("align", ["auto", "none"])
def test_the_result_is_always_a_picture(kind, pattern, align):
    frame = PATTERNS[pattern]((40, 56, 3)).astype(np.float32)
    frames = [frame, frame[::-1].copy(), frame]
    result = merge(kind, frames, (-2, 0, 2), MergeConfig(align=align))
    pixels = result.radiance.pixels
    assert pixels.shape == (40, 56, 3)
    assert pixels.dtype == np.float32
    assert np.isfinite(pixels).all()
    assert pixels.min() >= 0
    assert pixels.max() <= 4 * 1.001
    assert result.clipped.all() == (pattern == "white")
    if pattern == "white" and kind in ("classic", "untrained"):
        # It is at least as bright as the shortest exposure could tell.
        np.testing.assert_allclose(pixels, 4, rtol=0.02)
    if pattern == "black" and kind != "dfgnet":
        assert pixels.max() == 0


def test_a_painted_picture_is_the_result_or_the_guide():
    linears = expose(scene(6), (-2, 0, 2))
    painted = merge("guided", linears, (-2, 0, 2), MergeConfig(resolution="full"))
    guided = merge("guided", linears, (-2, 0, 2))
    assert painted.weights is None
    assert guided.weights.shape == (3, *linears[0].shape[:2])
    truth = scene(6)
    known = linears[0].max(axis=2) < 0.95
    off = [np.abs(np.log(r.radiance.pixels / truth))[known].mean() for r in (painted, guided)]
    assert off[1] < 1e-3 < 0.01 < off[0]


@pytest.mark.parametrize("kind", ["classic", "untrained", "dfgnet"])
def test_equal_exposures_are_averaged(kind, tmp_path):
    random = np.random.default_rng(0)
    truth = 0.2 * scene(2, 8, 8).repeat(6, axis=0).repeat(6, axis=1)
    noisy = [np.clip(truth + random.normal(0, 0.01, truth.shape), 0, 1) for _ in range(4)]
    paths = write_frames(tmp_path, noisy)
    result = merge_read(kind, paths, times=[0.01] * 4)
    assert result.radiance.peak == 1
    errors = [np.abs(picture - truth).mean() for picture in (result.radiance.pixels, noisy[0])]
    assert errors[0] < 0.55 * errors[1]
    assert np.abs(result.weights.mean(axis=(1, 2)) - 0.25).max() < 0.025
    if kind == "classic":
        np.testing.assert_allclose(result.radiance.pixels, np.mean(noisy, axis=0), atol=1e-4)


def test_equal_exposures_in_a_bracket_become_one_frame():
    random = np.random.default_rng(1)
    truth = 0.3 * scene(4, 12, 14).repeat(4, axis=0).repeat(4, axis=1)
    stops = (-2, 0, 0, 0)
    clean = expose(truth, stops)
    noisy = [np.clip(f + random.normal(0, 0.01, f.shape), 0, 1).astype("f4") for f in clean]
    noisy[3][10:20, 10:30] = 0.9  # something passed by
    result = merge("untrained", noisy, stops, reference=1)
    assert result.weights.shape == (4, 48, 56)
    np.testing.assert_allclose(result.weights.sum(axis=0), 1, rtol=1e-4)
    assert result.weights[3, 12:18, 12:28].max() < 0.02
    still = result.weights[1:, 30:, :].mean(axis=(1, 2))
    assert np.abs(still / still.mean() - 1).max() < 0.1


@pytest.mark.parametrize("kind", ["classic", "untrained"])
def test_classic_follows_moving_things_under_flow_only(kind):
    texture = cv2.GaussianBlur(scene(8, 130, 170), (0, 0), 1.5)
    patch = cv2.GaussianBlur(scene(9, 40, 40), (0, 0), 1.0)
    views = []
    for k in range(3):
        view = texture.copy()
        view[40:80, 50 + 6 * k : 90 + 6 * k] = patch
        views.append(view)
    stops = (-1, 0, 1)
    linears = [expose(v, [s])[0] for v, s in zip(views, stops, strict=True)]
    moved = np.s_[45:75, 60:90]
    error = {}
    for align in ("homography", "flow"):
        pixels = merge(kind, linears, stops, MergeConfig(align=align)).radiance.pixels
        error[align] = np.abs(pixels[moved] / views[1][moved] - 1).mean()
    if kind == "classic":
        assert error["flow"] < 0.5 * error["homography"]
    else:
        assert error["flow"] == error["homography"]


@pytest.mark.parametrize("size", [(97, 131), (64, 96), (16, 20)])
@pytest.mark.parametrize("kind", ["untrained", "random"])
def test_a_reduced_picture_decides_for_the_full_one(kind, size):
    truth = scene(3, *size)
    linears = expose(truth, (-2, 0, 2))
    direct = merge(kind, linears, (-2, 0, 2))
    proxy = MergeConfig(align="none", proxy_pixels=size[0] * size[1] // 6)
    calls = []
    trace = Trace(lambda *call: calls.append(call))
    coded = CodedBracket.of_linear(linears, (-2, 0, 2), 1)
    result = merge_bracket(network_of(kind), coded, proxy, trace=trace).result
    assert result.radiance.pixels.shape == (*size, 3)
    assert result.weights.shape == (3, *size)
    if kind == "random":
        assert not np.array_equal(result.weights, direct.weights)
    known = linears[0].max(axis=2) < 0.95
    ratio = result.radiance.pixels[known] / direct.radiance.pixels[known]
    assert np.median(np.abs(ratio - 1)) < 1e-3
    assert np.abs(ratio - 1).max() < 0.05  # every pixel still comes from the full-size frames
    np.testing.assert_allclose(result.weights.sum(axis=0), 1, rtol=1e-5)
    assert (size[0], size[0], "merge") in calls
    full = merge(kind, linears, (-2, 0, 2), replace(proxy, resolution="full"))
    assert np.array_equal(full.radiance.pixels, direct.radiance.pixels)


@pytest.mark.parametrize("model", ["none", "shift"])
def test_of_two_hypotheses_the_true_one_is_settled(model):
    truth = cv2.GaussianBlur(scene(8, 60, 80), (0, 0), 1.0)
    linears = expose(truth * (0.2 / truth.max()), (-2, 0, 2))  # nothing is clipped
    coded = CodedBracket.of_linear(linears, (-2, 0, 2), 1)
    flow = np.zeros((60, 80, 2), np.float32)
    flow[:, 40:] = 2.5, -1.25  # there things have moved, says the flow; elsewhere it says nothing
    wrong = flow + np.float32(7.0)
    shift = np.eye(3) if model == "none" else np.array([[1, 0, 0.3], [0, 1, -0.6], [0, 0, 1.0]])
    moved, still = Alignment(shift, model, 0.0, 0), Alignment(np.eye(3), "none", 0.0, 0)
    aligned = AlignedBracket(coded, (moved, still, moved))
    true = HypothesisStack(aligned, tuple(Hypothesis), (flow, None, flow))
    stack = true.all_candidates(32)
    assert stack.code.shape == (1, 6, 3, 64, 96)
    inside = stack.crop(slice(60), slice(80))
    torch.testing.assert_close(inside.code, true.candidates().code, rtol=0, atol=2e-3)
    assert torch.equal(stack.code[..., 60:, :], stack.code[..., 59:60, :].expand(-1, -1, -1, 4, -1))

    logits = torch.zeros(1, 6, 1, 60, 80)
    logits[:, [3, 5], :, :, 40:] = 30.0
    logits[:, [2, 4], :, :, :40] = 30.0
    decision = Decision(logits, torch.zeros(1, 3, 60, 80))
    misled = replace(true, flows=(np.where(flow, flow, wrong), None, np.where(flow, flow, wrong)))
    flows, settled = settle(misled, stack, decision)
    known = inside.trust[0, [3, 5], 0].numpy() > 0
    for k, found in zip((0, 1), (flows[0], flows[2]), strict=True):
        assert np.array_equal(found[known[k]], flow[known[k]])
    assert flows[1] is None
    once = HypothesisStack(aligned, SETTLED, flows, one_each=True).candidates()
    assert [h.name for h in once.hypotheses] == ["STILL", "SMOOTHED", "MOVED", "MOVED"]
    both, one = compose_tile(inside, decision), compose_tile(once, settled)
    inner = np.s_[..., 4:-4, 4:-4]
    torch.testing.assert_close(one.radiance[inner], both.radiance[inner], rtol=1e-3, atol=1e-5)


def test_where_both_hypotheses_are_true_one_weighs_as_much():
    linears = expose(scene(8, 60, 80), (-2, 0, 2))
    still = Alignment(np.eye(3), "none", 0.0, 0)
    nothing = np.zeros((60, 80, 2), np.float32)
    aligned = AlignedBracket(CodedBracket.of_linear(linears, (-2, 0, 2), 1), (still,) * 3)
    bracket = HypothesisStack(aligned, tuple(Hypothesis), (nothing, None, nothing))
    stack = bracket.all_candidates()
    logits = torch.randn((1, 6, 1, 60, 80), generator=torch.Generator().manual_seed(0))
    decision = Decision(logits, torch.zeros(1, 3, 60, 80))
    flows, settled = settle(bracket, stack, decision)
    both = compose_tile(stack, decision).weights[0, :, 0]
    once = HypothesisStack(aligned, SETTLED, flows, one_each=True)
    one = compose_tile(once.candidates(), settled)
    summed = torch.stack([both[0], both[1], both[2] + both[3], both[4] + both[5]])
    inner = np.s_[..., 3:-3, 3:-3]  # a resampled frame is not known along its border
    clear = (stack.code[0].amax(1) < 0.9).all(0)[inner]  # nor beside what is clipped
    difference = (one.weights[0, :, 0] - summed)[inner]
    assert clear.float().mean() > 0.05
    assert difference[:, clear].abs().quantile(0.99) < 1e-3


def test_a_moved_frame_is_aligned_or_taken_as_it_is():
    truth = cv2.GaussianBlur(scene(8, 120, 160), (0, 0), 1.5)
    views = [truth[4:-4, 4:-4], truth[8:, 8:], truth[:-8, :-8]]
    stops = (-2, 0, 2)
    linears = [expose(view, [stop])[0] for view, stop in zip(views, stops, strict=True)]
    linears = [np.ascontiguousarray(frame) for frame in linears]
    inner = np.s_[12:-12, 12:-12]
    error = {}
    for align in ("auto", "none"):
        pixels = merge("classic", linears, stops, MergeConfig(align=align)).radiance.pixels
        error[align] = np.median(np.abs(pixels / views[1] - 1)[inner])
    assert error["auto"] < 0.005
    assert error["none"] > 0.05


@pytest.mark.parametrize("reduced", [1.0, 0.5])
def test_strips_of_a_moved_bracket_make_up_the_whole(reduced):
    linears = expose(cv2.GaussianBlur(scene(8, 60, 80), (0, 0), 1.0), (-2, 0, 2))
    turned = np.array([[1.0, -0.02, 3.3], [0.02, 1.0, -2.6], [1e-5, 2e-5, 1.0]])
    moved = Alignment(turned, "homography", 0.0, 0)
    still = Alignment(np.eye(3), "none", 0.0, 0)
    coded = CodedBracket.of_linear(linears, (-2, 0, 2), 1)
    aligned = AlignedBracket(coded, (moved, still, moved))
    flows = HypothesisStack.measured(aligned.reduced(reduced)).flows
    stack = HypothesisStack(aligned, tuple(Hypothesis), flows)
    whole = stack.candidates()
    strips = [stack.candidates(slice(row, row + 25)) for row in (0, 25, 50)]
    assert whole.code.shape == (1, 6, 3, 60, 80)
    for name in ("code", "trust"):
        joined = torch.cat([getattr(strip, name) for strip in strips], -2)
        torch.testing.assert_close(joined, getattr(whole, name), rtol=0, atol=2e-3)
        assert torch.equal(joined[:, :2], getattr(whole, name)[:, :2]), "reference and smoothed"


def test_a_decision_at_the_size_of_the_picture():
    random = torch.Generator().manual_seed(0)
    decision = Decision(
        torch.randn(1, 4, 1, 7, 11, generator=random), torch.randn(1, 3, 7, 11, generator=random)
    )
    for size in ((23, 40), (7, 11), (7, 30)):
        whole = decision_parts(decision, size)(slice(0, size[0]), slice(0, size[1]))
        expected = F.interpolate(decision.logits[:, :, 0], size, mode="bilinear")
        torch.testing.assert_close(whole.logits[:, :, 0], expected, rtol=0, atol=1e-5)
        rows, columns = slice(2, 7), slice(5, 11)
        part = decision_parts(decision, size)(rows, columns)
        torch.testing.assert_close(part.correction, whole.correction[..., rows, columns])


def test_very_large_frames_are_aligned_when_reduced(monkeypatch):
    """What is found in the reduced pictures is brought to the size of the picture."""
    turned = np.array([[1.0, -0.01, 5.3], [0.01, 1.0, -3.6], [1e-6, 2e-6, 1.0]])
    seen = []

    def align(reference, other, model, stops):
        assert (model, stops) == ("auto", -1)
        seen.append((reference.shape, other.shape))
        return Alignment(turned, "homography", 1.0, 9)

    monkeypatch.setattr(registration, "align_greys", align)
    coded = CodedBracket.of_linear(expose(scene(8, 300, 400), [0, -1]), (0, -1), 0)
    whole, half = [], []
    for pixels, found in ((1e6, whole), (30_000, half)):
        monkeypatch.setattr(registration, "ALIGNED_PIXELS", pixels)
        found.append(align_bracket(coded).alignments[1].transform)
    assert seen == [((300, 400),) * 2, ((150, 200),) * 2]
    np.testing.assert_allclose(whole[0], turned, atol=1e-9)
    points = np.array([[[0, 0], [399, 0], [399, 299], [0, 299]]], np.float64)
    expected = 2 * cv2.perspectiveTransform((points + 0.5) / 2 - 0.5, turned) + 0.5
    np.testing.assert_allclose(cv2.perspectiveTransform(points, half[0]), expected, atol=1e-6)


def test_choose_device():
    assert choose_device("cpu") == CPU
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    for name in ("cuda:77", "nonsense", ""):
        with pytest.raises(DeviceError, match="--device cpu") as caught:
            choose_device(name)
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_cuda_without_cuda():
    with pytest.raises(DeviceError, match="'cuda' cannot be used"):
        choose_device("cuda")
    with pytest.raises(DeviceError, match="'cuda' cannot be used"):
        load_merger("classic", device="cuda")


def test_load_merger(models_dir):
    assert load_merger("classic", device="cpu").name == "classic"
    with pytest.raises(ModelError, match=DEFAULT_MODEL):
        load_merger(device="cpu")
    install_model(network_of("random"), DEFAULT_MODEL, models_dir)
    assert load_merger(device="cpu").name == DEFAULT_MODEL


@pytest.mark.parametrize("level", [0, 65535])
@pytest.mark.parametrize("method", ["dfgnet", "classic"])
def test_files_that_show_nothing(level, method, models_dir, tmp_path, caplog):
    install_model(network_of("random"), DEFAULT_MODEL, models_dir)
    paths = [tmp_path / f"{number}.tif" for number in range(3)]
    for path in paths:
        tifffile.imwrite(path, np.full((20, 24, 3), level, np.uint16))
    merger = load_merger(method, device="cpu")
    with caplog.at_level(logging.ERROR):
        report = merge_files(merger, MergeRequest(paths, [tmp_path / "out.exr"], stops=(-2, 0, 2)))
    assert [path.name for path in report.outputs] == ["out.exr", "out.preview.jpg"]
    pixels, _ = read_radiance(tmp_path / "out.exr")
    assert (pixels.max() > 0) == (level > 0)
    assert report.facts.clipped_share == (level > 0)
    assert caplog.text == ""


def test_frames_of_a_phone_meet(tmp_path):
    """The darkest frame is a stop brighter than it is said to be, and no response explains it."""
    truth = 0.02 + 6.0 * scene(3, 160, 240) ** 2
    linears = expose(truth, (-1.0, 0.0, 2.0))
    paths = write_frames(tmp_path, linears)
    request = MergeRequest(
        paths, [tmp_path / "a.exr"], stops=(-2, 0, 2), response="gamma", exposures_from="files"
    )
    report = merge_files(load_merger("classic"), request)
    assert any(paths[0].name in warning and "+1.0" in warning for warning in report.warnings)
    assert report.facts.frames[0].stops == pytest.approx(-1.0, abs=0.05)
    pixels, _ = read_radiance(tmp_path / "a.exr")
    known = truth.max(axis=2) < 1.8
    np.testing.assert_allclose(pixels[known], truth[known], rtol=0.1)


@pytest.mark.parametrize("kind", ["classic", "released"])
def test_channels_that_clip_at_different_codes_keep_their_colour(kind, models_dir, tmp_path):
    """Green clips at 0.8 and blue at 0.9: a bright sky must not turn pink, nor the rest green."""
    truth = 0.02 + 3.5 * scene(3, 160, 240) ** 2
    whites = np.array([1.0, 0.8, 0.9]) ** 2.2
    linears = [np.minimum(linear, whites) for linear in expose(truth, (-2.0, 0.0, 2.0))]
    paths = write_frames(tmp_path, linears)
    install_model(network_of("released"), DEFAULT_MODEL, models_dir)
    merger = load_merger("classic" if kind == "classic" else "dfgnet", device="cpu")
    request = MergeRequest(paths, [tmp_path / "a.exr"], stops=(-2, 0, 2))
    merge_files(merger, request)
    pixels, _ = read_radiance(tmp_path / "a.exr")
    known = truth.max(axis=2) < 4.0 * whites.min() * 0.9
    assert (known & (truth.max(axis=2) > 1.0)).mean() > 0.05
    assert np.quantile(np.abs(np.log2(pixels[known] / truth[known])), 0.99) < 0.05
