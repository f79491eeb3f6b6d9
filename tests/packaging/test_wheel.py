"""sdist -> wheel -> fresh environment -> the program runs, with its models and completions."""

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from dfghdr_cli import __version__

ROOT = Path(__file__).parents[2]
COMPLETIONS = {
    "completions/dfghdr.bash": "share/bash-completion/completions/dfghdr",
    "completions/_dfghdr": "share/zsh/site-functions/_dfghdr",
    "completions/dfghdr.fish": "share/fish/vendor_completions.d/dfghdr.fish",
    "completions/dfghdr.ps1": "share/dfghdr/dfghdr.ps1",
    "docs/dfghdr.1": "share/man/man1/dfghdr.1",
}


def call(*command, cwd=None):
    """Run a program, show what it said if it fails, return its stdout."""
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, cwd=cwd, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of what is built, with one more model, whose weights git would ignore."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder)
    for name in ("dfghdr_cli", "models", "completions", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".gitignore").write_text("*.safetensors\n")
    model = folder / "models" / "extra"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture(scope="module")
def sdist(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("sdist")
    call(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", out, source)
    (archive,) = out.iterdir()
    return archive


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """Built from the sdist, as an installer does it; hatchling is there, so nothing is fetched."""
    out = tmp_path_factory.mktemp("wheel")
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", out)
    call(sys.executable, "-m", "pip", "wheel", *options, sdist)
    (archive,) = out.iterdir()
    return archive


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """A fresh environment with the wheel; it borrows the dependencies of the running one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    inside = {"base": str(folder), "platbase": str(folder)}
    python = Path(sysconfig.get_path("scripts", "venv", vars=inside)) / "python"
    options = ("--no-deps", "--no-index", "--quiet")
    call(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel)
    borrowed = Path(sysconfig.get_path("purelib", "venv", vars=inside)) / "borrowed.pth"
    borrowed.write_text(sysconfig.get_path("purelib") + "\n")
    return python


def models_of(source):
    """models/NAME/FILE of every file that a released model consists of."""
    files = [path for path in (source / "models").glob("*/*") if path.is_file()]
    return {path.relative_to(source / "models").as_posix() for path in files}


def test_the_sdist_holds_what_a_build_needs(source, sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"pyproject.toml", "README.md", "dfghdr_cli/__init__.py", *COMPLETIONS}
    assert needed <= names
    assert {f"models/{name}" for name in models_of(source)} <= names


def test_the_wheel_holds_code_models_and_completions(source, wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    code = {
        path.relative_to(source).as_posix()
        for pattern in ("*.py", "*.html", "*.css", "*.js")
        for path in (source / "dfghdr_cli").rglob(pattern)
    }
    assert "dfghdr_cli/pipeline/explore/report.js" in code
    assert code <= names
    assert "dfghdr_cli/py.typed" in names
    assert "extra/model.safetensors" in models_of(source)
    assert {f"dfghdr_cli/_models/{name}" for name in models_of(source)} <= names
    data = f"dfghdr-{__version__}.data/data"
    assert {f"{data}/{name}" for name in COMPLETIONS.values()} <= names


def test_the_installed_program_runs(environment, tmp_path):
    program = environment.with_name("dfghdr")
    assert call(program, "--version", cwd=tmp_path) == f"dfghdr {__version__}\n"
    for arguments in (("--version",), ("--help",)):
        expected = call(program, *arguments, cwd=tmp_path)
        assert call(environment, "-m", "dfghdr_cli", *arguments, cwd=tmp_path) == expected


def test_the_installed_package_is_what_runs(environment, tmp_path):
    """Not the checkout that the tests themselves import."""
    found = Path(
        call(environment, "-c", "import dfghdr_cli; print(dfghdr_cli.__file__)", cwd=tmp_path)
    )
    assert environment.parents[1] in found.parents


def test_the_completions_are_where_shells_look(environment):
    for source_name, installed in COMPLETIONS.items():
        installed_file = environment.parents[1] / installed
        assert installed_file.read_bytes() == (ROOT / source_name).read_bytes()
