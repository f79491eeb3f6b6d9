"""Memory cards: what cameras record of brackets and other shots, with the table of what is what."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from dfghdr_cli.core.bracketing.shot import Shot
from dfghdr_cli.core.calibration.exposure import true_exposures
from dfghdr_cli.core.types import Exposure
from dfghdr_cli.io.metadata import Metadata
from dfghdr_cli.io.tiff import append_exif, exif_tags_of

TIMES = (
    *(30, 25, 20, 15, 13, 10, 8, 6, 5, 4, 3.2, 2.5, 2, 1.6, 1.3, 1, 0.8, 0.6, 0.5, 0.4, 0.3),
    *(1 / n for n in (4, 5, 6, 8, 10, 13, 15, 20, 25, 30, 40, 50, 60, 80, 100, 125, 160, 200, 250)),
    *(1 / n for n in (320, 400, 500, 640, 800, 1000, 1250, 1600, 2000, 2500, 3200, 4000, 5000)),
    *(1 / n for n in (6400, 8000)),
)
"""What a dial shows, from 30 s on by thirds of a stop; the shutter stays open for 32 s."""
APERTURES = (
    2,
    2.2,
    2.5,
    2.8,
    3.2,
    3.5,
    4,
    4.5,
    5,
    5.6,
    6.3,
    7.1,
    8,
    9,
    10,
    11,
    13,
    14,
    16,
    18,
    20,
    22,
)
ISOS = (100, 125, 160, 200, 250, 320, 400, 500, 640, 800, 1000, 1250, 1600, 2000, 2500, 3200)
AUTO, MANUAL, BRACKET = 0, 1, 2
"""ExposureMode (Exif 2.32, 4.6.5)."""
SIZE = (48, 32)
START = datetime(2026, 5, 1, 9, 0, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Photo:
    """One press of the shutter, as its file records it."""

    name: str
    model: str
    serial: str
    taken: float  # seconds after START
    time: int  # index into TIMES, as are the next two into theirs
    aperture: int
    iso: int
    bias: float = 0.0
    mode: int | None = AUTO
    lens: str = "24-70"
    focal: int = 24
    orientation: int = 1
    balance: int = 0
    endings: tuple[str, ...] = (".jpg",)
    precise: bool = True
    zone: str | None = None
    biased: bool = True
    scene: float = 0.0  # exposure at which its white is white, in stops

    @property
    def exposure(self):
        time, aperture, iso = TIMES[self.time], APERTURES[self.aperture], ISOS[self.iso]
        return true_exposures([Exposure.from_camera(float(time), iso, aperture)])[0]

    @property
    def clock(self):
        moment = START + timedelta(seconds=self.taken)
        return moment.strftime("%Y:%m:%d %H:%M:%S"), f"{moment.microsecond // 10000:02}"

    def shot(self, folder=Path()):
        """What `dfghdr_cli.io.shots.read_shot` makes of it."""
        taken = round(self.taken, 2) if self.precise else math.floor(self.taken)
        return Shot(
            files={
                "raw" if ending == ".dng" else "picture": folder / f"{self.name}{ending}"
                for ending in self.endings
            },
            camera=f"{self.model} {self.serial}",
            taken=float(taken),
            precise=self.precise,
            time_s=float(TIMES[self.time]),
            stops=self.exposure.stops,
            bias=self.bias if self.biased else None,
            automatic=None if self.mode is None else self.mode == BRACKET,
            manual=None if self.mode is None else self.mode == MANUAL,
            lens=self.lens,
            focal=float(self.focal),
            size=SIZE,
            orientation=self.orientation,
            balance=str(self.balance),
        )

    def write(self, folder):
        for ending in self.endings:
            if ending == ".dng":
                self._write_dng(folder / f"{self.name}.dng")
            else:
                self._write_jpeg(folder / f"{self.name}{ending}")

    def _tags(self):
        clock, fraction = self.clock
        photo = {
            33434: _rational(TIMES[self.time]),
            33437: _rational(APERTURES[self.aperture]),
            34855: ISOS[self.iso],
            36867: clock,
            37386: IFDRational(self.focal, 1),
            41987: self.balance,
            42036: self.lens,
        }
        if self.serial:
            photo[42033] = self.serial
        if self.biased:
            photo[37380] = IFDRational(round(3 * self.bias), 3)
        if self.mode is not None:
            photo[41986] = self.mode
        if self.precise:
            photo[37521] = fraction
        if self.zone:
            photo[36881] = self.zone
        return {271: "Maker", 272: self.model}, photo

    def pixels(self):
        """(h, w, 3) linear, of a scene of blocks that is the same in every shot."""
        rng = np.random.default_rng(5)
        coarse = rng.uniform(0, 1, (4, 6, 3)).astype(np.float32)
        light = 0.02 * 60 ** np.kron(coarse, np.ones((8, 8, 1), np.float32))
        return np.clip(light * 2.0 ** (self.exposure.stops - self.scene), 0, 1)

    def _write_jpeg(self, path):
        main, photo = self._tags()
        exif = Image.Exif()
        exif.update({**main, 274: self.orientation})
        exif.get_ifd(0x8769).update(photo)
        code = np.rint(255 * self.pixels() ** (1 / 2.2)).astype(np.uint8)
        Image.fromarray(code).save(path, quality=95, exif=exif)

    def _write_dng(self, path):
        from tests.conftest import write_dng

        main, photo = self._tags()
        metadata = Metadata(photo=photo)
        extra = [(272, "s", 0, main[272], True), *exif_tags_of(metadata)]
        write_dng(path, self.pixels(), orientation=self.orientation, extra=extra)
        buffer = BytesIO(path.read_bytes())
        append_exif(buffer, metadata)
        path.write_bytes(buffer.getvalue())


def _rational(value):
    return IFDRational(1, round(1 / value)) if value < 0.3 else IFDRational(round(10 * value), 10)


@dataclass
class Expected:
    """The table: names of each bracket's shots, the doubtful ones with a word of the doubt."""

    sets: list[tuple[str, ...]] = field(default_factory=list)
    doubts: dict[tuple[str, ...], str] = field(default_factory=dict)
    lone: set[str] = field(default_factory=set)


class Body:
    """A camera in somebody's hands: it writes shots and the table of what they are."""

    def __init__(self, card, model, prefix, *, serial="", start=0.0, counter=1, **records):
        self.card, self.model, self.prefix, self.serial = card, model, prefix, serial
        self.now, self.counter, self.records = start, counter, records
        self.stamps_end = self.records.pop("stamps_end", False)
        self.settings = {"aperture": 12, "iso": 0, "time": 36}  # f/8, ISO 100, 1/100 s

    def set(self, **settings):
        self.settings.update(settings)
        return self

    def wait(self, seconds):
        self.now += seconds
        return self

    def press(self, **settings):
        """Take one shot; the camera needs a fifth of a second between two."""
        every = {**self.records, **self.settings, **settings}
        opened = 2.0 ** (round(3 * math.log2(TIMES[every["time"]])) / 3)
        stamp = self.now + opened if self.stamps_end else self.now
        name = f"{self.prefix}{self.counter:04}"
        photo = Photo(name, self.model, self.serial, stamp, **every)
        self.now += opened + 0.2
        self.counter = self.counter % 9999 + 1
        self.card.photos.append(photo)
        return photo

    def single(self, **settings):
        photo = self.press(**settings)
        self.card.expected.lone.add(photo.name)
        return self

    def bracket(
        self, steps, *, by="time", mode=BRACKET, lost=(), pause=0.0, doubt=None, times=1, **settings
    ):
        """Take a bracket at these thirds of a stop, in this order.

        `lost` are the indices of shots that somebody deleted, `times` how often each is taken, and
        `odd` a setting of the second shot alone.
        """
        odd = settings.pop("odd", {})
        mode = self.records.get("mode", mode)
        at = {**self.records, **self.settings, **settings}
        scene = Photo("", "", "", 0.0, **{**at, "mode": mode}).exposure.stops
        taken = []
        for index, step in enumerate(steps):
            level = at[by] + (step if by == "iso" else -step)
            every = {**settings, by: level, "mode": mode, "scene": scene}
            every["bias"] = step / 3 if mode == BRACKET else 0.0
            for _ in range(times):
                taken.append(self.press(**every, **(odd if index == 1 else {})))
                self.wait(pause)
        self.wait(-pause)
        for index in sorted(lost, reverse=True):
            self.card.photos.remove(taken.pop(index))
        names = tuple(photo.name for photo in taken)
        self.card.expected.sets.append(names)
        if doubt:
            self.card.expected.doubts[names] = doubt
        return self


@dataclass
class Card:
    """Photographs, and what they are."""

    photos: list[Photo] = field(default_factory=list)
    expected: Expected = field(default_factory=Expected)

    def shots(self, folder=Path("card")):
        return [photo.shot(folder) for photo in self.photos]

    def write(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        for photo in self.photos:
            photo.write(folder)

    def renamed(self, rng: Random) -> Card:
        """The same photographs under names that tell nothing."""
        names = [f"p{number:04}" for number in rng.sample(range(10_000), len(self.photos))]
        new = {photo.name: name for photo, name in zip(self.photos, names, strict=True)}
        of = self.expected
        return Card(
            [replace(photo, name=new[photo.name]) for photo in self.photos],
            Expected(
                [tuple(new[n] for n in names) for names in of.sets],
                {tuple(new[n] for n in names): doubt for names, doubt in of.doubts.items()},
                {new[name] for name in of.lone},
            ),
        )


THREE, FIVE = (0, -6, 6), (0, -6, 6, -12, 12)
SEVEN = (-9, -6, -3, 0, 3, 6, 9)
NINE = (0, -3, 3, -6, 6, -9, 9, -12, 12)


def forty_brackets(
    rng: Random,
    *,
    first: Sequence[tuple[str, object]] = (),
    second: Sequence[tuple[str, object]] = (),
) -> Card:
    """Forty brackets and some other photographs of two cameras, in no folders.

    Args:
        rng: of pauses and settings.
        first: what the first camera records or does otherwise: `precise`, `biased`, `zone`, ...
        second: likewise.
    """
    card = Card()
    # The counter of the first one turns from 9999 to 0001 within a bracket.
    a = Body(card, "Alpha", "DSC0", serial="11", counter=9990, **dict(first))
    b = Body(card, "Beta", "IMG_", serial="22", start=3.0, counter=101, **dict(second))

    def rest(*bodies, least=20.0, most=400.0):
        for body in bodies:
            body.wait(rng.uniform(least, most))

    for steps in (THREE, FIVE, SEVEN, NINE):  # 1-8: two cameras at the same time
        a.bracket(steps)
        b.bracket(steps)
        rest(a, b)
    a.single()
    rest(a, least=3, most=8)
    a.bracket(THREE).bracket(THREE)  # 9, 10: without a pause
    rest(a)
    a.bracket(THREE).bracket(THREE).bracket(THREE)  # 11-13: one set, three times
    rest(a, b)
    for _ in range(5):  # 14-18: a panorama
        b.bracket(THREE, time=rng.randrange(33, 40))
        rest(b, least=2, most=6)
    rest(b)
    a.set(time=12)  # 2 s at the middle
    a.bracket((-12, 0, 12))  # 19: up to 30 s, dark to bright
    a.wait(1).bracket((12, 0, -12))  # 20: bright to dark, at once
    a.set(time=36)
    rest(a, b)
    b.bracket((-6, 0, 6), by="iso", iso=6)  # 21
    rest(b)
    b.bracket((-6, 0, 6), by="aperture")  # 22
    rest(a, b)
    a.bracket(THREE, orientation=6)  # 23: portrait,
    a.wait(4).bracket(THREE, orientation=1)  # 24: and landscape
    rest(a)
    a.single(time=30).wait(1).single(time=33)
    rest(a)
    for steps in (THREE, FIVE, THREE):  # 25-27
        a.bracket(steps, endings=(".dng", ".jpg"))
        rest(a)
    a.bracket(FIVE, endings=(".dng",))  # 28
    rest(a, b)
    a.bracket(FIVE, lost=(2,), doubt="no frame between")  # 29
    rest(a)
    a.bracket(FIVE, lost=(4,), doubt="frames")  # 30
    rest(a, b)
    a.bracket(THREE, odd={"balance": 1}, doubt="white balance")  # 31
    rest(a)
    b.bracket(THREE, odd={"lens": "50"}, doubt="lens")  # 32
    rest(b)
    for steps in ((-9, 0, 9), (-18, -12, -6, 0, 6, 12, 18)):  # 33, 34: by hand
        b.bracket(steps, mode=MANUAL, pause=rng.uniform(4, 9))
        rest(b, least=60)
    b.bracket((6, 0, -6), mode=MANUAL, pause=2.0)  # 35
    rest(b)
    for steps in (SEVEN, NINE, FIVE, FIVE, THREE):  # 36-40
        rng.choice((a, b)).bracket(steps, time=rng.randrange(34, 42))
        rest(a, b)
    a.single(time=rng.randrange(20, 40))
    b.single(time=rng.randrange(20, 40))
    return card
