"""`dfghdr models`: import, list, show and verify, with their exit codes and their clean stdout."""

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from dfghdr_cli import modelfolders, modelstore
from dfghdr_cli.cli import models as command
from dfghdr_cli.cli.app import app
from dfghdr_cli.modelfolders import CONFIG, GOLDEN, WEIGHTS

PUBLISHED = Path(__file__).parents[1] / "fixtures" / "published-width8"
PARTS = ("DFGNet", "exposure_encoder", "spatial_encoder", "decoder")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The only place where models are looked for."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv(modelfolders.MODELS_DIR_VARIABLE, str(tmp_path / "models"))
    monkeypatch.setattr(modelfolders, "__file__", str(tmp_path / "package" / "modelstore.py"))
    return tmp_path / "models"


@pytest.fixture
def published(tmp_path):
    """A folder of the published weights to spoil."""
    folder = tmp_path / "published"
    folder.mkdir()
    for part in PARTS:
        shutil.copyfile(PUBLISHED / f"{part}.safetensors", folder / f"{part}.safetensors")
    return folder


def dfghdr(*arguments, code=0):
    result = CliRunner().invoke(app, ["models", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def to_pickle(folder, part, name, prefix=""):
    """Keep a part the way PyTorch does."""
    path = folder / f"{part}.safetensors"
    torch.save({prefix + key: value for key, value in load_file(path).items()}, folder / name)
    path.unlink()


def test_import_list_show_verify(home):
    assert dfghdr("import", PUBLISHED, "--name", "pub").stdout == f"{home / 'pub'}\n"
    size = (home / "pub" / WEIGHTS).stat().st_size
    line = ["pub", "dfgnet", "557750", str(size), str(home / "pub"), ""]
    assert dfghdr("list").stdout == "\t".join(line) + "\n"
    (listed,) = json.loads(dfghdr("list", "--json").stdout)
    assert (listed["parameters"], listed["decoder"], listed["problem"]) == (557750, True, None)

    shown = dfghdr("show", "pub").stdout.splitlines()
    digest = modelstore.load_model("pub").digest
    assert {"width: 8", "code_length: 32", "card: none", f"digest: {digest}"} <= set(shown)
    (home / "pub" / "README.md").write_text("# Pub\n\nIt [merges].\n")
    assert dfghdr("show", "pub").stdout.endswith("\n\n# Pub\n\nIt [merges].\n")
    details = json.loads(dfghdr("show", home / "pub", "--json").stdout)
    assert details["card_text"].startswith("# Pub")
    assert details["config"]["hyper_parameters"]["width"] == 8
    assert set(details["config"]["training"]["imported_from"]) == {
        f"{part}.safetensors" for part in PARTS
    }

    assert dfghdr("verify").stdout == "pub\tok\t0\t\n"
    assert json.loads(dfghdr("verify", "pub", "--json").stdout) == [
        {"name": "pub", "ok": True, "error": 0.0, "problem": None}
    ]


def test_names_of_the_authors_test_and_of_parallel_training(home, published):
    dfghdr("import", PUBLISHED, "--name", "plain")
    to_pickle(published, "DFGNet", "DFGNet.pth", prefix="module.")
    to_pickle(published, "exposure_encoder", "ee.pth")
    to_pickle(published, "spatial_encoder", "es.pth", prefix="module.")
    to_pickle(published, "decoder", "decoder.pth")
    dfghdr("import", published, "--name", "other")
    weights = [(home / name / WEIGHTS).read_bytes() for name in ("plain", "other")]
    assert weights[0] == weights[1]


def test_without_a_decoder_the_dead_tail_is_dropped(home, published):
    (published / "decoder.safetensors").unlink()
    dfghdr("import", published, "--name", "pub")
    (listed,) = json.loads(dfghdr("list", "--json").stdout)
    assert not listed["decoder"]
    names = load_file(home / "pub" / WEIGHTS)
    assert not any(name.startswith(("disentangle.tail", "disentangle.decoder")) for name in names)


def test_a_model_is_replaced_only_when_asked(home, published):
    dfghdr("import", published, "--name", "pub", "--models-dir", home)
    before = (home / "pub" / WEIGHTS).read_bytes()
    (published / "decoder.safetensors").unlink()
    result = dfghdr("import", published, "--name", "pub", code=3)
    assert result.stdout == ""
    assert (home / "pub" / WEIGHTS).read_bytes() == before
    dfghdr("import", published, "--name", "pub", "--overwrite")
    assert (home / "pub" / WEIGHTS).read_bytes() != before
    assert [path.name for path in home.iterdir()] == ["pub"]


class Hostile:
    """Runs a program when it is unpickled."""

    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return os.mkdir, (str(self.witness),)


def part_is_missing(folder):
    (folder / "DFGNet.safetensors").unlink()
    return "holds no DFGNet"


def part_is_there_twice(folder):
    to_pickle(folder, "spatial_encoder", "es.pth")
    shutil.copyfile(PUBLISHED / "spatial_encoder.safetensors", folder / "es.safetensors")
    return "for the same part"


def part_is_cut(folder):
    path = folder / "DFGNet.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    return "cannot be read"


def pickle_is_cut(folder):
    to_pickle(folder, "exposure_encoder", "ee.pth")
    path = folder / "ee.pth"
    path.write_bytes(path.read_bytes()[:1000])
    return "read safely"


def pickle_is_text(folder):
    (folder / "spatial_encoder.safetensors").unlink()
    (folder / "es.pth").write_text("404: Not Found")
    return "read safely"


def pickle_is_empty(folder):
    (folder / "spatial_encoder.safetensors").unlink()
    (folder / "es.pth").touch()
    return "read safely"


def pickle_is_hostile(folder):
    (folder / "decoder.safetensors").unlink()
    torch.save({"fc_mean.weight": Hostile(folder / "harm")}, folder / "decoder.pth")
    return "read safely"


def old_pickle_is_hostile(folder):
    (folder / "decoder.safetensors").unlink()
    (folder / "decoder.pth").write_bytes(pickle.dumps(Hostile(folder / "harm")))
    return "read safely"


def pickle_is_a_tensor(folder):
    (folder / "decoder.safetensors").unlink()
    torch.save(torch.zeros(3), folder / "decoder.pth")
    return "no state dict"


def pickle_is_a_training_state(folder):
    (folder / "decoder.safetensors").unlink()
    torch.save({"epoch": 3, "state_dict": {}}, folder / "decoder.pth")
    return "no state dict"


def tensor_is_missing(folder):
    tensors = load_file(folder / "DFGNet.safetensors")
    del tensors["conv2_1.bias"]
    save_file(tensors, folder / "DFGNet.safetensors")
    return "lack DFGNet's conv2_1.bias"


FAULTS = (
    part_is_missing,
    part_is_there_twice,
    part_is_cut,
    pickle_is_cut,
    pickle_is_text,
    pickle_is_empty,
    pickle_is_hostile,
    old_pickle_is_hostile,
    pickle_is_a_tensor,
    pickle_is_a_training_state,
    tensor_is_missing,
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_unusable_weights_end_with_5_and_leave_nothing(home, published, fault):
    sentence = fault(published)
    result = dfghdr("import", published, "--name", "pub", code=5)
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""
    assert not home.exists()
    assert not (published / "harm").exists()


def test_other_misuses(home, published, tmp_path):
    dfghdr("import", tmp_path / "nowhere", "--name", "pub", code=4)
    dfghdr("import", published, "--name", "../pub", code=7)
    dfghdr("import", published, code=2)
    assert "no model 'pub'" in dfghdr("show", "pub", code=5).stderr
    assert "no model to verify" in dfghdr("verify", code=5).stderr
    result = dfghdr("list")
    assert (result.stdout, result.stderr) == ("", "No model found.\n")
    assert dfghdr("list", "--json").stdout == "[]\n"
    assert not home.exists()


def test_one_bad_model_does_not_hide_the_others(home):
    for name in ("a-changed", "b-mute", "c-good", "d-nan"):
        dfghdr("import", PUBLISHED, "--name", name)
    for name, value in (("a-changed", 0.5), ("d-nan", float("nan"))):
        tensors = load_file(home / name / WEIGHTS)
        tensors["tail2.bias"] += value
        save_file(tensors, home / name / WEIGHTS)
    (home / "b-mute" / GOLDEN).unlink()
    result = dfghdr("verify", code=5)
    verdicts = [line.split("\t")[:2] for line in result.stdout.splitlines()]
    assert verdicts == [
        ["a-changed", "failed"],
        ["b-mute", "failed"],
        ["c-good", "ok"],
        ["d-nan", "failed"],
    ]
    assert "3 of 4 models failed (a-changed, b-mute, d-nan)" in result.stderr
    values = json.loads(dfghdr("verify", "--json", code=5).stdout)
    assert [value["ok"] for value in values] == [False, False, True, False]
    assert values[0]["error"] > 0.01
    assert values[3]["error"] is None
    dfghdr("verify", "c-good")

    (home / "b-mute" / CONFIG).write_text("{")
    lines = [line.split("\t") for line in dfghdr("list").stdout.splitlines()]
    assert [line[0] for line in lines] == ["a-changed", "b-mute", "c-good", "d-nan"]
    assert lines[1][1] == ""
    assert "damaged" in lines[1][-1]
    assert "damaged" in dfghdr("show", "b-mute", code=5).stderr


def test_a_terminal_gets_a_drawn_table(home, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    command._print_table(("name", "problem", "size"), [("[a]", None, 7), ("b", None, None)])
    drawn = capsys.readouterr().out
    assert "[a]" in drawn
    assert "size" in drawn
    assert "problem" not in drawn
    assert "\t" not in drawn


def test_export(home, tmp_path, monkeypatch):
    """What is asked for; tests/pipeline/test_onnx_export.py has the files."""
    from dfghdr_cli.pipeline import onnx_export

    asked = []

    def export_model(request):
        asked.append(request)
        return request.output, 2e-7

    monkeypatch.setattr(onnx_export, "export_model", export_model)
    done = dfghdr("export", "tiny", "-o", "x.onnx", "--size", "1536x1024", "--frames", 5)
    assert done.stdout == "x.onnx\n"
    assert "Largest difference from PyTorch: 2e-07" in done.stderr
    assert asked == [onnx_export.ExportRequest("tiny", Path("x.onnx"), frames=5, size=(1536, 1024))]
    for size in ("1536", "1536x", "ax3", "-3x3"):
        assert "WxH" in dfghdr("export", "tiny", "-o", "x.onnx", "--size", size, code=2).stderr


def test_nothing_to_export(home, tmp_path):
    assert "nothing" in dfghdr("export", "nothing", "-o", tmp_path / "x.onnx", code=5).stderr
    dfghdr("export", "nothing", "-o", tmp_path / "x" / "x.onnx", code=7)
