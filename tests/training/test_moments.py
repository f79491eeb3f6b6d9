"""Samples have the distribution that they had before they were made in batches."""

import numpy as np
import pytest

from dfghdr_cli.core.clipping import CLIPPED_CODE
from dfghdr_cli.core.encoding import encode


def quantities(sample):
    """Name to number, of one sample (arrays as `SceneSynthesiser` describes them); some are NaN."""
    code, trust, stops, truth = (sample[k] for k in ("code", "trust", "stops", "truth"))
    peak = float(sample["peak"])
    clean = encode(truth * peak)  # codes of the reference without noise
    reference, smoothed = code[0], code[1]
    largest = reference.max(0)
    middle = (clean > 0.1) & (clean < 0.9) & (reference > 0)
    dark = (clean > 0.02) & (clean < 0.1) & (reference > 0)
    found = {
        "frames": len(stops) / 2,
        "log2 peak": np.log2(peak),
        "step": float(np.diff(np.unique(stops)).mean()),
        "reference": reference.mean(),
        "clipped": (largest >= CLIPPED_CODE).mean(),
        "black": (largest == 0).mean(),
        "truth": np.log1p(5000 * truth).mean() / np.log(5001),
        "contrast": np.log2(truth + 1e-4).std(),
        "colour": (truth.max(0) - truth.min(0)).mean(),
        "noise": deviation((reference - clean)[middle]),
        "dark noise": deviation((reference - clean)[dark]),
        "smoothed noise": deviation((smoothed - clean)[middle]),
        "smoothing": np.abs(smoothed - reference).mean(),
        "eight bits": float(np.abs(reference * 255 - np.rint(reference * 255)).max() < 1e-3),
    }
    for name, first in (("aligned", 2), ("moved", 3)):
        others, there, at = code[first::2], trust[first::2, 0], stops[first::2]
        exposed = encode(truth[None] * peak * np.exp2(at)[:, None, None, None])
        known = (exposed > 0.1) & (exposed < 0.9) & (others > 0.1) & (there > 0.5)[:, None]
        off = np.abs(others - exposed)[known]
        found |= {
            f"{name}, code": others.mean(),
            f"{name}, trust": there.mean(),
            f"{name}, outside": (there == 0).mean(),
            f"{name}, white": (others.max(1) == 1).mean(),
            f"{name}, black": (others.max(1) == 0).mean(),
            f"{name}, off": off.mean() if off.size > 300 else np.nan,
            f"{name}, far off": (off > 0.1).mean() if off.size > 300 else np.nan,
        }
    return {name: float(value) for name, value in found.items()}


def deviation(errors):
    """Standard deviation, robust: half of it within 0.6745 of them."""
    return 1.4826 * np.median(np.abs(errors)) if errors.size > 300 else np.nan


BEFORE = {
    "frames": (2.992, 0.5585, 1500),
    "log2 peak": (2.192, 1.221, 1500),
    "step": (2.134, 0.7919, 1500),
    "reference": (0.434, 0.1781, 1500),
    "clipped": (0.1148, 0.1497, 1500),
    "black": (0.00104, 0.01942, 1500),
    "truth": (0.5616, 0.1603, 1500),
    "contrast": (1.329, 0.2935, 1500),
    "colour": (0.0837, 0.09749, 1500),
    "noise": (0.006523, 0.00374, 1500),
    "dark noise": (0.00878, 0.005252, 328),
    "smoothed noise": (0.006861, 0.003407, 1500),
    "smoothing": (0.004824, 0.002354, 1500),
    "eight bits": (0.5187, 0.4997, 1500),
    "aligned, code": (0.4562, 0.2017, 1500),
    "aligned, trust": (0.8587, 0.1046, 1500),
    "aligned, outside": (0.002319, 0.01339, 1500),
    "aligned, white": (0.2677, 0.2362, 1500),
    "aligned, black": (0.004682, 0.04015, 1500),
    "aligned, off": (0.05946, 0.05666, 1493),
    "aligned, far off": (0.1806, 0.1951, 1493),
    "moved, code": (0.4564, 0.2015, 1500),
    "moved, trust": (0.7992, 0.1302, 1500),
    "moved, outside": (0.05537, 0.1052, 1500),
    "moved, white": (0.2701, 0.2375, 1500),
    "moved, black": (0.003261, 0.03135, 1500),
    "moved, off": (0.0268, 0.02512, 1493),
    "moved, far off": (0.0653, 0.09352, 1493),
}
"""Mean, standard deviation and number of 1500 samples as they were made one by one on a CPU, before
batches were: by dfghdr at commit 9a81c37, of the same pictures, with 24 pixels of margin."""

ENOUGH = 64
"""Samples to compare, each of a scene of its own."""


@pytest.fixture(scope="module")
def rows(synthesiser):
    data = synthesiser(11, kind="Clean", margin=24, variants=8)
    return [quantities(data[index]) for index in data.apart(ENOUGH)]


@pytest.mark.parametrize("name", BEFORE)
def test_samples_made_in_batches_are_like_those_made_one_by_one(name, rows):
    values = np.array([row[name] for row in rows])
    values = values[np.isfinite(values)]
    assert len(values) >= ENOUGH / 5
    mean, spread, count = BEFORE[name]
    # Rare things have hardly any spread among few samples: theirs is the one of many.
    error = spread * (1 / len(values) + 1 / count) ** 0.5
    assert abs(values.mean() - mean) < 4 * error
    # The spread of few samples, or of rare things, hangs on single ones.
    if len(values) > ENOUGH / 2 and mean > 3 * spread / len(values) ** 0.5:
        assert 0.4 < values.std() / spread < 2.5


def test_the_comparison_can_fail(synthesiser):
    """Two and a half times the noise, and steps of one stop, are told."""
    for kind, name in (("Noisy", "noise"), ("OneStop", "step")):
        data = synthesiser(11, kind=kind, margin=24, variants=8)
        values = np.array([quantities(data[index])[name] for index in data.apart(20)])
        values = values[np.isfinite(values)]
        mean, spread, count = BEFORE[name]
        assert abs(values.mean() - mean) > 4 * spread * (1 / ENOUGH + 1 / count) ** 0.5
