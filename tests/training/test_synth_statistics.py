"""What many synthesised brackets are like together: everything that should vary does."""

from collections import Counter

import numpy as np
import pytest
from torch.utils.data import default_collate

from dfghdr_cli.training import synth
from dfghdr_cli.training.synth import to_candidates


@pytest.fixture(scope="module")
def many(synthesiser):
    """120 samples."""
    data = synthesiser(5, 120)
    return [data[index] for index in range(120)]


@pytest.fixture
def tripod(monkeypatch):
    """No camera shake, and no error of the alignment."""
    monkeypatch.setattr(synth, "draw_shake", lambda rng, size, shift: np.eye(3))


@pytest.fixture
def no_flow(monkeypatch):
    """No time spent on what these tests do not look at."""
    nothing = np.zeros((1000, 1000, 2), np.float32)

    def dense_flow(reference, aligned, stops, **_):
        return nothing[: reference.shape[0], : reference.shape[1]]

    monkeypatch.setattr(synth, "dense_flow", dense_flow)


def share(values):
    return float(np.mean(list(values)))


def seen_against_truth(sample):
    """Of the frames that are only aligned: log2 of radiance over truth, and code, (K, 3, H, W).

    The first is NaN where a frame is too dark or bright to tell, or was resampled with doubt.
    """
    candidates = to_candidates(default_collate([sample]))
    still = [candidates.frames.index(frame) for frame in dict.fromkeys(candidates.frames)]
    code = candidates.code[0, still].numpy()
    seen = candidates.radiance()[0, still].numpy()
    truth = sample["truth"][None]
    known = (code > 0.2) & (code.max(1, keepdims=True) < 0.95) & (truth > 0)
    known &= (candidates.trust[0, still] == 1).numpy()
    with np.errstate(divide="ignore"):
        return np.where(known, np.log2(seen / truth), np.nan), code


def test_up_to_a_third_of_the_reference_is_clipped(many):
    # The share is set for the whole rendered patch: a sample may have somewhat more.
    clipped = [(sample["code"][0].max(0) >= 0.992).mean() for sample in many]
    assert max(clipped) < 0.7
    assert 0.2 < share(c < 0.005 for c in clipped) < 0.8
    assert share(c > 0.05 for c in clipped) > 0.15
    assert share(c > 0.2 for c in clipped) > 0.05
    for sample, part in zip(many, clipped, strict=True):
        if part > 0.2:  # and there the truth goes on above the reference's white
            assert (sample["truth"].max(0) * sample["peak"] >= 0.98).mean() > 0.19


def test_exposure_steps(many):
    steps = [np.diff(np.unique(sample["stops"])) for sample in many]
    each = np.concatenate(steps)
    assert each.min() > 0.4
    assert each.max() < 5.0
    assert share((each >= 1) & (each <= 3.5)) > 0.75
    assert share(each >= 3) > 0.1
    assert 0.2 < share(each == np.rint(each)) < 0.7
    uneven = [np.ptp(step) > 0.05 for step in steps if len(step) > 1]
    assert 0.1 < share(uneven) < 0.7


def test_samples_are_rounded_to_eight_bits_or_more(many):
    levels = [sample["code"][0].astype(float) * 255 for sample in many]
    eight = share(np.abs(level - np.rint(level)).max() < 1e-3 for level in levels)
    assert 0.3 < eight < 0.75


def test_some_frames_are_jpegs(synthesiser):
    qualities = [int(synthesiser()._camera(np.random.default_rng(k), 3)["jpeg"]) for k in range(99)]
    stored = [quality for quality in qualities if quality]
    assert 10 <= len(stored) <= 35
    assert 85 <= min(stored) < 90
    assert 94 < max(stored) < 99


def test_noise_is_everywhere_without_bias_and_worse_in_the_dark(many):
    worse = []
    for sample in many:
        code, truth = sample["code"][0], sample["truth"]
        with np.errstate(divide="ignore", invalid="ignore"):
            error = code**2.2 / sample["peak"] / truth - 1
        bright, dark = (code > 0.4) & (code < 0.9), (code > 0.1) & (code < 0.2)
        if bright.sum() < 300:
            continue
        assert error[bright].std() > 1e-4
        assert abs(np.median(error[bright])) < 0.03
        if dark.sum() > 300:
            worse.append(error[dark].std() > error[bright].std())
    assert len(worse) > 30
    assert share(worse) > 0.9


def test_frames_end_inside_some_samples(many):
    ends = [(sample["trust"][1:] == 0).any() for sample in many]
    assert 0.1 < share(ends) < 0.9
    for sample in many:
        assert (sample["trust"][1:] > 0).mean() > 0.2


@pytest.mark.usefixtures("tripod", "no_flow")
def test_most_scenes_move_and_some_do_not(synthesiser):
    data = synthesiser(kind="Ideal")
    still = []
    for index in range(100):
        off, _ = seen_against_truth(data[index])
        still.append(np.nanmax(np.abs(off)) < 1e-3)
    assert 0.05 < share(still) < 0.5


@pytest.mark.usefixtures("tripod", "no_flow")
def test_the_longest_motion_is_a_setting(synthesiser):
    def moved(longest):
        data = synthesiser(kind="Ideal", margin=40, max_motion=longest)
        offs = (np.abs(seen_against_truth(data[index])[0]) for index in range(40))
        return share(np.mean(off[np.isfinite(off)] > 0.2) for off in offs)

    assert moved(80.0) > 1.5 * moved(2.0)


@pytest.mark.usefixtures("tripod", "no_flow")
def test_exposures_and_response_are_sometimes_a_little_wrong(synthesiser):
    data = synthesiser(kind="StaticNoNoise")
    exposures, powers = [], []
    for index in range(100):
        off, codes = seen_against_truth(data[index])
        assert abs(np.nanmedian(off[0])) < 1e-3  # never the reference
        for frame, code in zip(off[1:], codes[1:], strict=True):
            known = np.isfinite(frame)
            if known.sum() < 1000:
                continue
            # A wrong exposure shifts all codes alike, a wrong response those far from white more.
            power, exposure = np.polyfit(np.log2(code[known]), frame[known], 1)
            exposures.append(abs(exposure))
            powers.append(abs(power))
    assert len(exposures) > 60
    for errors in (exposures, powers):
        assert 0.1 < share(error > 0.003 for error in errors) < 0.6
        assert max(errors) < 0.3


@pytest.mark.usefixtures("no_flow")
def test_colours_change_places_and_pictures_turn(synthesiser):
    y, x = np.mgrid[0:160, 0:192]
    ramp = np.exp2(x / 32.0 - y / 96.0)
    picture = (ramp[..., None] * (1.0, 4.0, 16.0)).astype(np.float16)
    data = synthesiser(kind="Static", images=[picture])
    orders, sides = Counter(), Counter()
    for index in range(240):
        truth = np.log2(np.maximum(data[index]["truth"], 1e-9))
        if truth.max() > -0.01:
            continue  # clipped at the white of the darkest frame
        right = float(np.median(np.diff(truth, axis=2)))
        down = float(np.median(np.diff(truth, axis=1)))
        orders[tuple(np.argsort(truth.mean((1, 2))).tolist())] += 1
        sides[(abs(right) > abs(down), right > 0, down > 0)] += 1
    assert len(orders) == 6
    assert len(sides) == 8
    for counts in (orders, sides):
        assert min(counts.values()) > 0.3 * counts.total() / len(counts)
