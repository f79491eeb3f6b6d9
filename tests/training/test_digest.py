"""The samples of a seed stay the same: dice are thrown in the same order, and mean the same."""

import json
from pathlib import Path

import numpy as np

from dfghdr_cli.pipeline.training_data import CropConfig, SceneCrops

STORED = Path(__file__).parents[1] / "golden" / "samples.json"
"""Where samples are meant to change, replace it by what `digests` then returns."""
COUNT = 10


def digest(sample):
    """By array: its shape, its mean, and a sum that no other order or sign leaves the same."""
    found = {}
    for name, values in sorted(sample.items()):
        flat = np.asarray(values, np.float64).ravel()
        waves = np.cos(np.arange(flat.size) * 0.7) / max(1, flat.size) ** 0.5
        found[name] = [list(np.shape(values)), float(flat.mean()), float(flat @ waves)]
    return found


def digests(synthesiser, make_scene, folder):
    """Of the first samples of every source."""
    plain, cameras = synthesiser(), synthesiser(curved=1.0, variants=2)
    scenes = [make_scene(folder / str(k), seed=k, size=(96, 120)) for k in range(2)]
    crops = SceneCrops(scenes, 64, CropConfig(), 0, folder / "cache")
    sources = {"plain": plain, "cameras": cameras, "scenes": crops}
    return {name: [digest(data[k]) for k in range(COUNT)] for name, data in sources.items()}


def test_the_samples_are_those_they_were(synthesiser, make_scene, tmp_path):
    found = digests(synthesiser, make_scene, tmp_path)
    stored = json.loads(STORED.read_text())
    for source, samples in stored.items():
        for number, (now, before) in enumerate(zip(found[source], samples, strict=True)):
            assert list(now) == list(before)
            for name, (shape, *values) in before.items():
                assert now[name][0] == shape, (source, number, name)
                np.testing.assert_allclose(
                    now[name][1:], values, rtol=1e-3, atol=1e-3, err_msg=f"{source} {number} {name}"
                )
