"""What a sample is like, in one number each for everything that should vary."""

import numpy as np
import torch

from dfghdr_cli.core.radiance import CLIPPED_CODE, encode


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


def moments(samples):
    """Of each quantity over many samples, mean and standard deviation and both standard errors."""
    rows = [quantities(sample) for sample in samples]
    found = {}
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        values = values[np.isfinite(values)]
        count, mean, spread = len(values), values.mean(), values.std()
        fourth = ((values - mean) ** 4).mean()
        # Of the variance, (mu4 - sigma^4) / n; of the deviation by the chain rule.
        error = np.sqrt(max(fourth - spread**4, 0) / count) / max(2 * spread, 1e-12)
        found[name] = [mean, spread / np.sqrt(count), spread, error]
    return {name: [float(f"{x:.4g}") for x in values] for name, values in found.items()}


def as_arrays(batch):
    """The samples of a collated batch."""
    count = len(batch["peak"])
    return [
        {k: (v[i].numpy() if isinstance(v, torch.Tensor) else v[i]) for k, v in batch.items()}
        for i in range(count)
    ]
