"""Recipes as files, and that those of the releases are what the releases were trained by."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from dfghdr_cli.errors import InputError, ModelError
from dfghdr_cli.nets.registry import build
from dfghdr_cli.pipeline.recipes import PRESETS, ensure_architecture, read_recipe

ROOT = Path(__file__).parents[2]
RELEASES = sorted(path.parent.name for path in (ROOT / "models").glob("*/config.json"))
OF_THE_RUN = {"version", "device", "folders", "images", "scenes", "skipped", "vgg"}
LATER = {
    "imitation": 0.0,
    "compile": False,
    "checkpoints": "exact",
    "permute_channels": "merge",
}
"""Settings that came after some releases, with what makes no difference."""
LATER_SYNTH = {"variants": 1, "curved": 0.0, "permute_channels": True}
GONE = {"averaged_with": None, "still": False, "erase_after": 2 / 3}
"""What no longer can be set, and what it then was; the cards tell what was averaged."""


@pytest.mark.parametrize("name", RELEASES)
def test_a_releases_recipe_is_how_it_was_trained(name):
    recipe = read_recipe(ROOT / "recipes" / f"{name}.toml")
    released = json.loads((ROOT / "models" / name / "config.json").read_text())
    training = dict(released["training"])
    assert recipe.architecture == released["architecture"]
    assert recipe.inputs == released["inputs"]
    assert recipe.hyper_parameters == released["hyper_parameters"]
    assert recipe.start == (training.pop("start") or "").partition(" ")[0]
    assert recipe.teacher == training.pop("teacher", None)
    settings = json.loads(json.dumps(asdict(recipe.config)))
    synth = training.pop("synth")
    assert asdict(recipe.crops) == training.pop("crops")
    for key, value in training.items():
        if key not in OF_THE_RUN | set(GONE):
            assert settings.pop(key) == value, key
    assert settings == {key: LATER[key] for key in settings}
    own = asdict(recipe.synth)
    for key, value in synth.items():
        assert GONE[key] == value if key in GONE else own.pop(key) == value
    assert own == {key: LATER_SYNTH[key] for key in own}
    # They can be built.
    build(recipe.architecture, recipe.hyper_parameters, inputs=recipe.inputs)


def test_every_recipe_belongs_to_a_release():
    assert sorted(path.stem for path in (ROOT / "recipes").glob("*.toml")) == RELEASES


def write(tmp_path, text, name="r.toml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_what_is_not_named_is_as_in_the_preset(tmp_path):
    default = PRESETS["default"]
    recipe = read_recipe(write(tmp_path, "# all as it is\n"))
    assert (recipe.config, recipe.synth, recipe.crops) == (
        default.config,
        default.synth,
        default.crops,
    )
    recipe = read_recipe(write(tmp_path, "steps = 7\nbatch = 2\n[loss]\nsquared = 0\n"))
    assert (recipe.config.steps, recipe.config.batch, recipe.synth.batch) == (7, 2, 2)
    assert recipe.config.loss.squared == 0.0
    assert recipe.config.loss.merged == default.config.loss.merged


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_runs_config_is_a_recipe(tmp_path, preset):
    kept = PRESETS[preset]
    values = {
        "version": "0.1.0",
        "architecture": "dfgnet",
        "hyper_parameters": {"width": 8},
        "inputs": "aligned",
        "start": None,
        "teacher": None,
        "vgg": "vgg19.npz",
        "synth": asdict(kept.synth),
        "crops": asdict(kept.crops),
        "device": "cpu",
        "folders": ["/somewhere"],
        **asdict(kept.config),
        "images": 3,
        "scenes": 0,
        "skipped": 0,
    }
    recipe = read_recipe(write(tmp_path, json.dumps(values), "config.json"))
    assert (recipe.config, recipe.synth, recipe.crops) == (kept.config, kept.synth, kept.crops)
    assert (recipe.architecture, recipe.inputs, recipe.start) == ("dfgnet", "aligned", None)
    assert recipe.hyper_parameters == {"width": 8}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("steps = ", "cannot be read"),
        ("step = 1", "step is no setting"),
        ("steps = 1.5", "steps = 1.5 is no int"),
        ("steps = true", "is no int"),
        ("steps = 0", "out of range"),
        ("batch = -1", "out of range"),
        ('stage = "both"', "is no one of all, disentangle, merge"),
        ("minutes = 'long'", "minutes = 'long' is no float or NoneType"),
        ('architecture = "unet"', "no architecture 'unet'"),
        ('inputs = "raw"', "none of aligned, flow"),
        ("start = 3", "start = 3 is no name"),
        ("synth = 3", "synth is no table"),
        ("[synth]\ncurved = 2", "synth.curved = 2 is out of range"),
        ("[synth]\ncrop = 8", "out of range"),
        ("[synth]\nbatch = 8", "synth.batch = 8 is not batch = 4"),
        ("[crops]\nside = 3", "crops.side is no setting"),
        ("[loss]\nghosts = 3", "loss.ghosts is no setting"),
    ],
)
def test_what_is_no_recipe(tmp_path, text, words):
    path = write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_recipe(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["[]", "{", "3", "[" * 100_000])
def test_damaged_configurations(tmp_path, text):
    with pytest.raises(InputError, match=r"config\.json cannot be read"):
        read_recipe(write(tmp_path, text, "config.json"))


def test_another_architecture(tmp_path):
    recipe = read_recipe(
        write(tmp_path, 'architecture = "dfgnet"\n[hyper_parameters]\nwidth = 8\n')
    )
    ensure_architecture(recipe, "dfgnet")
    with pytest.raises(ModelError, match="leave out --architecture dfgmerge"):
        ensure_architecture(recipe, "dfgmerge")
