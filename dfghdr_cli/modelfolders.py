"""Where models are found by name, and what is in their folders; loads nothing heavy.

A folder `<name>/` holds config.json (architecture and hyper-parameters), model.safetensors (the
weights), golden.safetensors (a small input and the output it must give) and README.md (the model
card); `dfghdr_cli.modelstore` reads and writes them.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

from dfghdr_cli.atomic import recover
from dfghdr_cli.errors import ModelError

log = logging.getLogger(__name__)

MODELS_DIR_VARIABLE = "DFGHDR_MODELS_DIR"
CONFIG, WEIGHTS, GOLDEN, CARD = (
    "config.json",
    "model.safetensors",
    "golden.safetensors",
    "README.md",
)


def own_models_dir() -> Path:
    """Where a user's own models go: $DFGHDR_MODELS_DIR, else `models` in the user's data folder."""
    if given := os.environ.get(MODELS_DIR_VARIABLE):
        return Path(given)
    return _user_models_dir()


def _user_models_dir() -> Path:
    import platformdirs

    try:
        return platformdirs.user_data_path("dfghdr", appauthor=False) / "models"
    except RuntimeError as error:  # neither HOME nor an entry in the list of users
        raise ModelError(
            f"your home folder is not known; set ${MODELS_DIR_VARIABLE} to a folder of models"
        ) from error


def search_path() -> list[Path]:
    """Folders of model folders, in the order they are looked through.

    $DFGHDR_MODELS_DIR, the user's data folder, the installed package, the source checkout; those
    that are there.
    """
    package = Path(__file__).parent
    own = [Path(given)] if (given := os.environ.get(MODELS_DIR_VARIABLE)) else []
    with suppress(ModelError):
        own.append(_user_models_dir())
    places = [*own, package / "_models", package.parent / "models"]
    return [place for place in dict.fromkeys(places) if _is_folder(place)]


def _is_folder(place: Path) -> bool:
    try:
        return place.is_dir()
    except OSError:
        log.warning("%s cannot be searched for models.", place)
        return False


def find_models() -> dict[str, Path]:
    """Every model that can be named, by name; the first of a name wins."""
    found: dict[str, Path] = {}
    for place in search_path():
        recover(place)
        for folder in _listed(place):
            if is_model_folder(folder):
                found.setdefault(folder.name, folder)
    return found


def _listed(place: Path) -> list[Path]:
    """What is in a folder, but for hidden things; nothing where it is closed to the user."""
    try:
        return sorted(path for path in place.iterdir() if not path.name.startswith("."))
    except OSError as error:
        log.warning("%s cannot be searched for models (%s).", place, error.strerror)
        return []


def is_model_folder(folder: Path) -> bool:
    """Whether a folder holds a model, or was about to when the run was killed."""
    recover(folder)
    try:
        return (folder / CONFIG).is_file()
    except OSError:  # a folder closed to the user, or a name that cannot be
        return False


def find_model(name: str) -> Path:
    """The folder of a model given by name or by path.

    Raises:
        ModelError: if there is none.
    """
    models = find_models()
    if name in models:
        return models[name]
    if is_model_folder(Path(name)):
        return Path(name).resolve()
    known = ", ".join(models) or "none"
    raise ModelError(
        f"no model {name!r}: it is neither one of the models found ({known}) nor a folder "
        f"with a {CONFIG}; see `dfghdr models list`"
    )


def model_files(folder: Path) -> list[Path]:
    """The files of a model folder, whether or not they are there."""
    return [folder / name for name in (CONFIG, WEIGHTS, GOLDEN, CARD)]
