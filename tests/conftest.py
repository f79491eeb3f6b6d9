"""What every test starts from: nobody's settings, and logging as Python has it."""

import logging
import os
import signal
from importlib import metadata

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, settings

# A computer that is busy with other things makes no test fail.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

PACKAGES = ("dfghdr", "torch", "numpy", "opencv-python-headless", "OpenEXR", "typer", "rich")


def pytest_report_header():
    return "versions: " + ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """No variable that changes what the program does or how its output looks."""
    for name in os.environ:
        if name.startswith(("DFGHDR_", "_DFGHDR_", "_TYPER_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nowhere")
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "PY_COLORS", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True, scope="session")
def interruptible():
    """A script's background processes ignore Ctrl-C, and so would what the tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def clean_logging():
    """The program configures the root logger; take that back."""
    loggers = (logging.getLogger(), logging.getLogger("dfghdr_cli"))
    before = [(list(logger.handlers), logger.level) for logger in loggers]
    yield
    logging.captureWarnings(False)
    for logger, (handlers, level) in zip(loggers, before, strict=True):
        logger.handlers[:] = handlers
        logger.setLevel(level)


@pytest.fixture(scope="session")
def make_scene():
    """A function that writes a scene with truth exactly as Kalantari's data set has them."""

    def make(folder, stops=(-2.0, 0.0, 2.0), size=(80, 112), seed=0, motion=3, truth="HDRImg.hdr"):
        """16-bit frames of waves and a disc; frame i saw the disc `motion` pixels further on."""
        from dfghdr_cli.core.types import RadianceImage
        from dfghdr_cli.io.radiance import write_radiance

        folder.mkdir(parents=True)
        y, x = np.mgrid[0 : size[0], 0 : size[1]] / 16.0
        waves = np.sin((1.0 + seed) * x + np.arange(3)[:, None, None]) * np.cos(y + seed)
        grain = np.random.default_rng(seed).uniform(0.8, 1.25, size)
        background = (np.exp(1.5 * waves - 3.0) * grain).transpose(1, 2, 0)
        reference = len(stops) // 2
        for number, stop in enumerate(stops):
            middle = size[1] / 2 + motion * (number - reference)
            disc = np.hypot(x * 16 - middle, y * 16 - size[0] / 2) < 12
            radiance = np.where(disc[..., None], (0.02, 0.08, 0.3), background)
            code = np.clip(radiance * 2.0 ** (stop - min(stops)), 0, 1) ** (1 / 2.2)
            pixels = np.rint(code * 65535).astype(np.uint16)
            tifffile.imwrite(folder / f"262A{898 + number:04}.tif", pixels, photometric="rgb")
            if number == reference:
                image = RadianceImage(np.minimum(radiance, 1.0).astype(np.float32), 1.0)
                write_radiance(folder / truth, image, exr_type="float")
        (folder / "exposure.txt").write_text("".join(f"{stop:.2f}\r\n" for stop in stops))
        return folder

    return make


def write_dng(
    path,
    light,
    *,
    neutral=(0.5, 1.0, 0.75),
    matrix=None,
    orientation=1,
    time=(1, 50),
    black=512,
    noise=0.0,
    extra=(),
):
    """Write a DNG (Adobe DNG 1.4): a Bayer mosaic RGGB between `black` and white 15000.

    `light` is (H, W, 3) in the camera's own RGB, before white balance, 1 = saturation; `neutral`
    is what the camera sees of white; `matrix` is from XYZ to camera RGB; `noise` is the standard
    deviation of what reading adds [steps], so that codes below black are possible down to 0;
    `extra` are further tags for tifffile, which take the place of those of the same number.
    """
    height, width = light.shape[:2]
    mosaic = np.empty((height, width))
    for row, column, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        mosaic[row::2, column::2] = light[row::2, column::2, channel]
    codes = np.clip(mosaic, 0, 1) * (15000 - black) + black
    codes += np.random.default_rng(1).normal(0.0, noise, codes.shape)
    codes = np.rint(np.clip(codes, 0, 15000)).astype(np.uint16)

    def rationals(values):
        return tuple(part for value in np.ravel(values) for part in (round(value * 10000), 10000))

    tags = [
        (271, "s", 0, "Maker", True),
        (272, "s", 0, "Camera", True),
        (274, "H", 1, orientation, True),
        (33421, "H", 2, (2, 2), True),
        (33422, "B", 4, (0, 1, 1, 2), True),
        (33434, "2I", 1, time, True),
        (33437, "2I", 1, (28, 10), True),
        (50706, "B", 4, (1, 4, 0, 0), True),
        (50708, "s", 0, "Maker Camera", True),
        (50714, "H", 1, black, True),
        (50717, "H", 1, 15000, True),
        (50721, "2i", 9, rationals(np.eye(3) if matrix is None else matrix), True),
        (50728, "2I", 3, rationals(neutral), True),
        (50778, "H", 1, 21, True),
    ]
    if not time[0]:
        tags = [tag for tag in tags if tag[0] not in (33434, 33437)]
    tags = [tag for tag in tags if tag[0] not in {tag[0] for tag in extra}] + list(extra)
    tifffile.imwrite(path, codes, photometric=32803, extratags=tags, metadata=None, subfiletype=0)
    return path


@pytest.fixture
def dng():
    """The function that writes a DNG."""
    return write_dng
