"""Rewrite scenes with truth as a camera would have developed them: a tone curve and 8-bit JPEG.

    python scripts/make_camera_brackets.py SCENES OUT [--curve srgb-s|log-s|filmic|each]

SCENES holds scenes in the layout of Kalantari's data set, their frames encoded with gamma 2.2. OUT
gets scenes of the same layout, to measure what `merge --response auto` makes of an unknown curve.
By default the three curves take turns, one a scene; "each" writes every scene under every curve, as
<scene>_<curve>. A frame is linearised, put through the curve, and through a JPEG of quality 92; its
decoded codes c are stored as 257 c in a 16-bit TIFF. exposure.txt, the truth and the motion mask
are copied. curves.json says which scene has which curve.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import tifffile

from dfghdr_cli.core.calibration.response import GAMMA
from dfghdr_cli.errors import DfghdrError, OutputExistsError
from dfghdr_cli.io.scenes import find_scenes, read_scene

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support.curves import CURVES, Curve, jpeg

CAMERAS = ("srgb-s", "log-s", "filmic")
COPIED = ("exposure.txt", "HDRImg.hdr", "HDRImg.exr", "motion.png")


def rewrite(source: Path, target: Path, curve: Curve) -> None:
    """Write one scene anew.

    Args:
        source: a scene folder whose frames are encoded with gamma 2.2.
        target: the folder to make; it must not exist.
        curve: from linear light in [0, 1] to codes in [0, 1], both float64.

    Raises:
        InputError: the scene is not complete or not readable.
        OutputExistsError: the target exists.
    """
    scene = read_scene(source)
    if target.exists():
        raise OutputExistsError(f"{target} exists already; remove it or give another folder.")
    target.mkdir(parents=True)
    for frame in scene.bracket.frames:
        light = frame.encoded().astype(np.float64) ** GAMMA
        codes = jpeg(curve(light)).astype(np.uint16) * np.uint16(257)
        tifffile.imwrite(target / frame.name, codes, photometric="rgb", compression="deflate")
    for name in COPIED:
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)


def main() -> None:
    """Rewrite all scenes."""
    parser = argparse.ArgumentParser(description="Rewrite scenes as a camera develops them.")
    parser.add_argument("scenes", type=Path, help="folder of scenes with truth")
    parser.add_argument("out", type=Path, help="folder for the new scenes")
    parser.add_argument("--curve", choices=(*CAMERAS, "each"), help="instead of taking turns")
    arguments = parser.parse_args()
    written: dict[str, str] = {}
    try:
        for index, source in enumerate(find_scenes(arguments.scenes)):
            name = source.resolve().name
            if arguments.curve == "each":
                todo = {f"{name}_{camera}": camera for camera in CAMERAS}
            else:
                todo = {name: arguments.curve or CAMERAS[index % len(CAMERAS)]}
            for folder, camera in todo.items():
                rewrite(source, arguments.out / folder, CURVES[camera])
            written |= todo
    except DfghdrError as error:
        parser.exit(error.exit_code, f"{error}\n")
    (arguments.out / "curves.json").write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()
