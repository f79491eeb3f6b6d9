"""Model folders: found, read, written whole or not at all, and refused when damaged."""

import gc
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dfghdr_cli import modelfolders, modelstore
from dfghdr_cli.errors import ModelError, OutputError, OutputExistsError
from dfghdr_cli.modelfolders import CONFIG, GOLDEN, WEIGHTS
from dfghdr_cli.nets.golden import TOLERANCE, golden_case
from dfghdr_cli.nets.registry import build

SMALL = {
    "dfgmerge": {"width": (4, 8, 8), "disentangle_width": 4, "code_length": 8, "correction": 0.2},
    "dfgnet": {"width": 4, "disentangle_width": 4, "code_length": 8, "sau": False},
}


@pytest.fixture
def network():
    torch.manual_seed(1)
    return build("dfgnet", SMALL["dfgnet"])


@pytest.fixture
def models(tmp_path, monkeypatch):
    """The only places looked through: one of the variable, one of the user."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    places = tmp_path / "named", modelfolders._user_models_dir()
    monkeypatch.setenv(modelfolders.MODELS_DIR_VARIABLE, str(places[0]))
    monkeypatch.setattr(modelfolders, "__file__", str(tmp_path / "package" / "modelstore.py"))
    return places


def same_weights(a, b):
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.mark.parametrize("decoder", [False, True])
@pytest.mark.parametrize("kind", SMALL)
def test_a_saved_model_comes_back(tmp_path, kind, decoder):
    saved = build(kind, SMALL[kind], decoder=decoder)
    facts = {"steps": 3, "folders": ["a"]}
    folder = modelstore.install_model(saved, "mine", tmp_path, training=facts)
    model = modelstore.load_model(str(folder))
    assert same_weights(model.network, saved)
    assert model.network.config == saved.config
    assert not model.network.training
    assert model.info.name == "mine"
    assert (model.info.architecture, model.info.decoder) == (kind, decoder)
    assert model.info.training == facts
    assert modelstore.verify(model) == 0.0
    assert sorted(p.name for p in folder.iterdir()) == [CONFIG, GOLDEN, WEIGHTS]
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("inputs", ["aligned", "flow"])
def test_a_model_says_what_it_was_trained_on(tmp_path, inputs):
    saved = build("dfgnet", SMALL["dfgnet"], inputs=inputs)
    folder = modelstore.install_model(saved, "mine", tmp_path)
    assert json.loads((folder / CONFIG).read_text())["inputs"] == inputs
    assert modelstore.load_model(str(folder)).network.inputs == inputs


@pytest.mark.parametrize(
    ("facts", "inputs"), [({"imported_from": {"DFGNet.pth": "1"}}, "aligned"), ({}, "flow")]
)
def test_what_an_older_model_was_trained_on(tmp_path, network, facts, inputs):
    folder = modelstore.install_model(network, "mine", tmp_path, training=facts)
    values = json.loads((folder / CONFIG).read_text())
    del values["inputs"]
    (folder / CONFIG).write_text(json.dumps(values))
    assert modelstore.load_model(str(folder)).network.inputs == inputs


@pytest.mark.parametrize(("kind", "inputs"), [("dfgmerge", "aligned"), ("dfgnet", "other")])
def test_inputs_that_a_network_does_not_take(kind, inputs):
    with pytest.raises(ModelError, match=f"{kind} does not take .*{inputs}"):
        build(kind, SMALL[kind], inputs=inputs)


def test_another_weight_is_told_by_golden_and_digest(tmp_path, network):
    folder = modelstore.install_model(network, "mine", tmp_path)
    before = modelstore.load_model(str(folder))
    tensors = load_file(folder / WEIGHTS)
    tensors["tail2.bias"][0] += 0.01
    save_file(tensors, folder / WEIGHTS)
    after = modelstore.load_model(str(folder))
    assert modelstore.verify(after) > TOLERANCE
    assert after.digest != before.digest


def test_half_precision_weights_load_as_single(tmp_path, network):
    folder = modelstore.install_model(network, "mine", tmp_path)
    save_file({k: v.half() for k, v in load_file(folder / WEIGHTS).items()}, folder / WEIGHTS)
    loaded = modelstore.load_model(str(folder)).network
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert torch.equal(loaded.tail2.weight, network.tail2.weight.half().float())


def test_the_first_of_a_name_wins(models, network):
    named, users = models
    modelstore.install_model(network, "both", users)
    modelstore.install_model(network, "theirs", users)
    assert modelfolders.find_models() == {"both": users / "both", "theirs": users / "theirs"}
    modelstore.install_model(network, "both", named)
    assert modelfolders.search_path() == [named, users]
    assert modelfolders.find_model("both") == named / "both"
    assert modelfolders.find_model("theirs") == users / "theirs"
    assert modelfolders.find_model(str(users / "both")) == users / "both"


def test_own_models_go_where_the_variable_says(models, monkeypatch):
    named, users = models
    assert modelfolders.own_models_dir() == named
    monkeypatch.delenv(modelfolders.MODELS_DIR_VARIABLE)
    assert modelfolders.own_models_dir() == users


def test_the_model_of_the_folder_one_stands_in(tmp_path, network, monkeypatch):
    monkeypatch.chdir(modelstore.install_model(network, "mine", tmp_path))
    assert modelstore.load_model(".").info.name == "mine"


def test_an_unknown_model_names_the_known_ones(models, network):
    with pytest.raises(ModelError, match=r"no model 'x'.*\(none\)"):
        modelstore.load_model("x")
    modelstore.install_model(network, "mine", models[0])
    with pytest.raises(ModelError, match=r"no model 'x'.*\(mine\)"):
        modelstore.load_model("x")


DAMAGES = {
    "config is missing": lambda folder: (folder / CONFIG).unlink(),
    "config is no JSON": lambda folder: (folder / CONFIG).write_text("{"),
    "config is no text": lambda folder: (folder / CONFIG).write_bytes(b"\xff\xfe"),
    "config is a list": lambda folder: (folder / CONFIG).write_text("[]"),
    "format is missing": lambda folder: edit(folder, format=None),
    "format is newer": lambda folder: edit(folder, format=2),
    "key is unknown": lambda folder: edit(folder, colour="red"),
    "architecture is unknown": lambda folder: edit(folder, architecture="unet"),
    "architecture is a list": lambda folder: edit(folder, architecture=["dfgnet"]),
    "hyper-parameters are a list": lambda folder: edit(folder, hyper_parameters=["width"]),
    "hyper-parameter is unknown": lambda folder: edit(folder, hyper_parameters={"depth": 3}),
    "hyper-parameter is a word": lambda folder: edit(folder, hyper_parameters={"width": "wide"}),
    "another width": lambda folder: edit(folder, hyper_parameters={"width": 8}),
    "decoder is promised": lambda folder: edit(folder, decoder=True),
    "decoder is a word": lambda folder: edit(folder, decoder="no"),
    "gamma is another": lambda folder: edit(folder, gamma=1.8),
    "weights are missing": lambda folder: (folder / WEIGHTS).unlink(),
    "weights are cut": lambda folder: cut(folder / WEIGHTS),
    "weights are empty": lambda folder: (folder / WEIGHTS).write_bytes(b""),
}
GOLDEN_DAMAGES = {
    "golden is missing": lambda folder: (folder / GOLDEN).unlink(),
    "golden is cut": lambda folder: cut(folder / GOLDEN),
    "golden of another network": lambda folder: save_file(
        golden_case(build("dfgmerge", SMALL["dfgmerge"])), folder / GOLDEN
    ),
    "golden lacks its input": lambda folder: save_file(
        {"hdr": load_file(folder / GOLDEN)["hdr"]}, folder / GOLDEN
    ),
}


def edit(folder, **changes):
    values = json.loads((folder / CONFIG).read_text()) | changes
    (folder / CONFIG).write_text(json.dumps(values))


def cut(path: Path):
    path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_model_is_refused(tmp_path, network, damage):
    folder = modelstore.install_model(network, "mine", tmp_path)
    damage(folder)
    with pytest.raises(ModelError):
        modelstore.load_model(str(folder))


@pytest.mark.parametrize("damage", GOLDEN_DAMAGES.values(), ids=GOLDEN_DAMAGES)
def test_a_damaged_golden_case_is_refused_by_verify_only(tmp_path, network, damage):
    folder = modelstore.install_model(network, "mine", tmp_path)
    damage(folder)
    model = modelstore.load_model(str(folder))
    with pytest.raises(ModelError, match=GOLDEN):
        modelstore.verify(model)


def test_a_model_is_replaced_only_when_asked(tmp_path, network):
    folder = modelstore.install_model(network, "mine", tmp_path)
    (folder / "README.md").write_text("the card")
    (folder / "notes.txt").write_text("mine")
    other = build("dfgmerge", SMALL["dfgmerge"])
    with pytest.raises(OutputExistsError):
        modelstore.install_model(other, "mine", tmp_path)
    assert modelstore.load_model(str(folder)).info.architecture == "dfgnet"
    modelstore.install_model(other, "mine", tmp_path, overwrite=True)
    assert same_weights(modelstore.load_model(str(folder)).network, other)
    assert (folder / "README.md").read_text() == "the card"
    assert (folder / "notes.txt").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("call", ["replace", "rename"])
def test_a_failure_leaves_the_old_model_and_nothing_else(tmp_path, network, monkeypatch, call):
    folder = modelstore.install_model(network, "mine", tmp_path)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, call, fail)
    if call == "rename":
        with pytest.raises(OutputError, match="No space left"):
            modelstore.install_model(network, "new", tmp_path)
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OutputError, match="No space left"):
        modelstore.install_model(network, "mine", tmp_path, overwrite=True)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
    assert same_weights(modelstore.load_model(str(folder)).network, network)


@pytest.mark.parametrize("files", [1, 2, 3])
def test_a_kill_while_a_model_is_replaced_leaves_the_old_or_the_new_one(
    tmp_path, network, monkeypatch, files
):
    folder = modelstore.install_model(network, "mine", tmp_path)
    other = build("dfgmerge", SMALL["dfgmerge"])
    left, replace, unlink = files, Path.replace, Path.unlink

    class Killed(BaseException):
        """Nothing is cleaned up behind a killed process."""

    def killed(path, target):
        nonlocal left
        if target.suffix in (".json", ".safetensors"):
            left -= 1
        if left <= 0:  # nor is anything taken back
            monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
            raise Killed
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(Killed):
        modelstore.install_model(other, "mine", tmp_path, overwrite=True)
    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(Path, "unlink", unlink)
    gc.collect()  # and with it the locks
    monkeypatch.setenv(modelfolders.MODELS_DIR_VARIABLE, str(tmp_path))
    assert set(modelfolders.find_models()) >= {"mine"}
    assert same_weights(modelstore.load_model("mine").network, other)
    assert sorted(path.name for path in folder.iterdir()) == sorted((CONFIG, GOLDEN, WEIGHTS))


def test_hidden_folders_are_no_models_and_stale_ones_are_swept(tmp_path, network, monkeypatch):
    folder = modelstore.install_model(network, "mine", tmp_path)
    shutil.copytree(folder, tmp_path / ".mine.old")
    shutil.copytree(folder, tmp_path / ".dfghdr-0123456789abcdef-folder.part")
    monkeypatch.setenv(modelfolders.MODELS_DIR_VARIABLE, str(tmp_path))
    names = set(modelfolders.find_models())
    assert "mine" in names
    assert not any(name.startswith(".") for name in names)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.old", "mine"]


def test_what_is_no_model_is_never_replaced(tmp_path, network):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    with pytest.raises(OutputError, match="no model folder"):
        modelstore.install_model(network, "photos", tmp_path, overwrite=True)
    assert (tmp_path / "photos" / "a.jpg").exists()


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "../a", "a b", "-x", "a\n"])
def test_a_name_is_a_plain_folder_name(tmp_path, network, name):
    with pytest.raises(OutputError, match="cannot name a model"):
        modelstore.install_model(network, name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_made(tmp_path, network):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        modelstore.install_model(network, "mine", tmp_path / "file")
