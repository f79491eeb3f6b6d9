import logging
import threading
import warnings
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from dfghdr_cli.core.colour import REC709
from dfghdr_cli.errors import InputError
from dfghdr_cli.io import bracket as module
from dfghdr_cli.io.bracket import FramesAhead, read_bracket
from dfghdr_cli.io.ldr import read_frame

LINEAR = np.random.default_rng(3).uniform(0.0, 1.0, (20, 30, 3)) ** 2


def shot(stops):
    """16-bit codes of the scene exposed by so many stops."""
    return np.rint(np.clip(LINEAR * 2.0**stops, 0, 1) ** (1 / 2.2) * 65535).astype(np.uint16)


COARSE = np.random.default_rng(5).uniform(0.0, 1.0, (6, 8, 3)).astype(np.float32)
SCENE = 0.005 * 400 ** cv2.resize(COARSE, (160, 120), interpolation=cv2.INTER_LINEAR)


def scene(stops):
    """A larger picture than a shot, whose parts differ; 16-bit codes."""
    return np.rint(np.clip(SCENE * 2.0**stops, 0, 1) ** (1 / 2.2) * 65535).astype(np.uint16)


def tiff(path, stops):
    tifffile.imwrite(path, shot(stops), photometric="rgb")
    return path


def jpeg(path, stops, time=None, iso=None, f_number=None):
    exif = Image.Exif()
    exif[271] = "Maker"
    folder = exif.get_ifd(0x8769)
    for tag, value in ((33434, time), (33437, f_number)):
        if value:
            folder[tag] = IFDRational(*value)
    if iso:
        folder[34855] = iso
    Image.fromarray((shot(stops) >> 8).astype(np.uint8)).save(path, quality=98, exif=exif)
    return path


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    """Five frames, darkest first, whose names do not sort by exposure."""
    folder = tmp_path_factory.mktemp("shots")
    names = ("c", "a", "e", "b", "d")
    return [tiff(folder / f"{name}.tif", 2 * i - 4) for i, name in enumerate(names)]


STOPS = [-4.0, -2.0, 0.0, 2.0, 4.0]


@settings(deadline=None, max_examples=40)
@given(order=st.permutations(range(5)), frames=st.integers(2, 5), way=st.sampled_from("es=t"))
def test_the_order_of_the_files_is_irrelevant(shots, order, frames, way):
    order = [index for index in order if index < frames]
    stops = [0.0] * frames if way == "=" else STOPS
    paths, given_stops = [shots[i] for i in order], [stops[i] for i in order]
    if way == "=":  # the same picture throughout, so that equal exposures are believed
        paths = paths[:1] + [copy_of(paths[0], i) for i in order[1:]]
        sorted_paths = sorted(paths, key=lambda path: path.name)
    else:
        sorted_paths = shots[:frames]
    if way == "t":
        bracket = read_bracket(paths, times=[2.0**value / 100 for value in given_stops])
        expected = read_bracket(sorted_paths, times=[2.0**value / 100 for value in stops[:frames]])
    else:
        bracket = read_bracket(paths, stops=given_stops)
        expected = read_bracket(sorted_paths, stops=stops[:frames])
    assert [frame.path for frame in bracket.frames] == sorted_paths
    assert [frame.path for frame in expected.frames] == sorted_paths
    assert bracket.reference == expected.reference
    assert bracket.stops == expected.stops
    for ours, theirs in zip(bracket.frames, expected.frames, strict=True):
        np.testing.assert_array_equal(ours.pixels, theirs.pixels)


def copy_of(path, number):
    copy = path.with_name(f"{path.stem}_{number}.tif")
    if not copy.exists():
        copy.write_bytes(path.read_bytes())
    return copy


@settings(deadline=None, max_examples=40)
@given(scale=st.floats(1e-5, 1e5), equal=st.booleans())
def test_scaling_all_times_changes_nothing(shots, scale, equal):
    # No times as cameras show them, which stand for others.
    times = [1 / 1024, 1 / 256, 1 / 64, 1 / 16, 1 / 16 if equal else 0.28]
    first = read_bracket(shots, times=times)
    second = read_bracket(shots, times=[time * scale for time in times])
    assert [f.path for f in first.frames] == [f.path for f in second.frames]
    assert first.reference == second.reference
    assert second.stops == pytest.approx(first.stops, abs=1e-9)
    assert second.peak == pytest.approx(first.peak, rel=1e-9)


def test_stops_times_and_steps_agree(shots):
    by_stops = read_bracket(shots, stops=STOPS)
    by_times = read_bracket(shots, times=[0.01 * 4**i for i in range(5)])
    by_step = read_bracket(shots, ev_step=2)
    assert by_stops.reference == 2
    assert by_stops.stops == (-4, -2, 0, 2, 4)
    assert by_stops.peak == 16
    assert by_step.stops == by_stops.stops
    assert by_times.stops == pytest.approx(by_stops.stops)
    assert [f.exposure.time_s for f in by_times.frames] == [0.01 * 4**i for i in range(5)]


def test_reference(shots):
    for number in (1, 3, 5):
        assert read_bracket(shots, stops=STOPS, reference=number).reference == number - 1
    assert read_bracket(shots[::-1], stops=STOPS[::-1], reference=1).frames[0].path == shots[0]
    # Frames 4 and 5 of these are mostly white, so the middle of 3, 4, 5 does not lead.
    white = read_bracket(shots[2:], stops=STOPS[2:])
    assert white.reference == 0
    for number in (0, 6, -1):
        with pytest.raises(InputError, match=r"1 \(the darkest\) to 5"):
            read_bracket(shots, stops=STOPS, reference=number)


def test_exposures_from_exif(tmp_path):
    paths = [
        jpeg(tmp_path / "x.jpg", 1, (1, 50), 100, (28, 10)),
        jpeg(tmp_path / "y.jpg", -3, (1, 400), 50, (28, 10)),
        jpeg(tmp_path / "z.jpg", -1, (1, 100), 200, (56, 10)),
    ]
    bracket = read_bracket(paths, reference=3)
    assert [frame.name for frame in bracket.frames] == ["y.jpg", "z.jpg", "x.jpg"]
    assert bracket.stops == pytest.approx((-4, -2, 0))
    assert bracket.frames[0].exposure.iso == 50
    assert read_bracket(paths, stops=[0, -5, -1]).stops == pytest.approx((-4, 0, 1))


def test_an_iso_that_only_some_frames_record_is_ignored(tmp_path, caplog):
    paths = [
        jpeg(tmp_path / "x.jpg", -2, (1, 400), 200),
        jpeg(tmp_path / "y.jpg", 0, (1, 100)),
    ]
    assert read_bracket(paths, reference=2).stops == pytest.approx((-2, 0))
    assert "y.jpg: no ISO" in caplog.text


def test_equal_exposures_of_equal_brightness_are_a_bracket(tmp_path, caplog):
    paths = [jpeg(tmp_path / f"{i}.jpg", 0, (1, 100)) for i in range(3)]
    bracket = read_bracket(paths)
    assert bracket.stops == (0, 0, 0)
    assert bracket.exposures_from == "EXIF"
    assert [r.message for r in caplog.records] == [
        "0.jpg, 1.jpg, 2.jpg are exposed alike: "
        "their mean has less noise, but no more range than each."
    ]


def shots_saying(folder, stops, times, biases=None):
    """JPEGs of the larger scene whose EXIF data says times and biases that need not be true."""
    paths = []
    for number, (stop, time) in enumerate(zip(stops, times, strict=True)):
        exif = Image.Exif()
        if time:
            exif.get_ifd(0x8769)[33434] = time
        if biases and biases[number] is not None:
            exif.get_ifd(0x8769)[37380] = IFDRational(round(biases[number] * 60), 60)
        paths.append(folder / f"{number}.jpg")
        pixels = (scene(stop) >> 8).astype(np.uint8)
        Image.fromarray(pixels).save(paths[-1], quality=95, exif=exif)
    return paths


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ((0.05, 0.05, 0.05), "equal exposures in the EXIF data but not in the pixels"),
        ((0, 0, 0), "no exposure time in the EXIF data"),
        ((0.05, 0, 0.2), "1.jpg: no exposure time in the EXIF data"),
        ((0.2, 0.01, 0.05), "the pixels contradict the exposures in the EXIF data"),
    ],
)
def test_exposures_from_the_pixels(tmp_path, caplog, times, words):
    bracket = read_bracket(shots_saying(tmp_path, (0, -2, 1), times), reference=1)
    assert bracket.stops == pytest.approx((0, 2, 3), abs=0.1)
    assert [frame.name for frame in bracket.frames] == ["1.jpg", "0.jpg", "2.jpg"]
    assert bracket.exposures_from == "pixels"
    assert bracket.frames[0].exposure.time_s is None
    (warning,) = [record.message for record in caplog.records]
    assert words in warning
    shown = [f"{f.name} {s:+.2f}" for f, s in zip(bracket.frames, bracket.stops, strict=True)]
    assert ", ".join(shown) + f" stops; give the exposures with {REMEDY}" in warning
    assert "assuming gamma 2.2" in warning


@pytest.mark.parametrize("times", [(0.05, 0.05, 0.05), (0, 0, 0), (0.2, 0.01, 0.05)])
@pytest.mark.parametrize("size", [0.8, 1.0, 1.3])
def test_a_bias_that_agrees_with_the_pixels_tells_the_size_of_the_steps(
    tmp_path, caplog, times, size
):
    biases = [stop * size for stop in (0, -2, 1)]
    bracket = read_bracket(shots_saying(tmp_path, (0, -2, 1), times, biases), reference=1)
    assert bracket.stops == pytest.approx((0, 2 * size, 3 * size), abs=0.02)
    assert bracket.exposures_from == "exposure bias"
    assert "from the exposure bias, which agrees with them: 1.jpg +0.00" in caplog.text


@pytest.mark.parametrize(
    "biases",
    [
        (0, 0, 0),  # the camera bracketed by hand
        (0, None, 1),
        (0, 2, -1),  # another order
        (0, -2, 2),  # other ratios
        (0, -4, 2),  # twice the pixels' size
        (0, -1, 0.5),
    ],
)
def test_a_bias_that_the_pixels_contradict_is_not_used(tmp_path, caplog, biases):
    bracket = read_bracket(shots_saying(tmp_path, (0, -2, 1), (0, 0, 0), biases), reference=1)
    assert bracket.stops == pytest.approx((0, 2, 3), abs=0.1)
    assert bracket.exposures_from == "pixels"
    assert "assuming gamma 2.2" in caplog.text


def test_a_bias_never_counts_beside_exposures(tmp_path, caplog):
    times, biases = (0.04, 0.01, 0.08), (0, -2.4, 1.2)
    bracket = read_bracket(shots_saying(tmp_path, (0, -2, 1), times, biases), reference=1)
    assert bracket.stops == pytest.approx((0, 2, 3), abs=1e-6)
    assert not caplog.records


def linear_profile():
    x, y = np.reshape(REC709, (4, 2)).T
    xy1 = np.stack([x, y, np.ones(4)], axis=1)
    return imagecodecs.cms_profile(
        "rgb", whitepoint=xy1[3].tolist(), primaries=xy1[:3].ravel().tolist(), gamma=1.0
    )


def test_linear_light_needs_no_bias(tmp_path):
    """The pixels tell the steps themselves."""
    for number, bias in enumerate((0, 2)):
        light = np.clip(SCENE * 2.0 ** (number * 1.7 - 2), 0, 1).astype(np.float32)
        folder = [(37380, "2i", 1, (bias, 1), True)]
        path, icc = tmp_path / f"{number}.tif", linear_profile()
        tifffile.imwrite(path, light, photometric="rgb", extratags=folder, iccprofile=icc)
    bracket = read_bracket([tmp_path], reference=1)
    assert bracket.stops == pytest.approx((0, 1.7), abs=0.03)
    assert bracket.exposures_from == "pixels"


@pytest.mark.parametrize("times", [(0.05, 0.05, 0.05), (0, 0.1, 0)])
def test_estimates_do_not_depend_on_the_order_of_the_files(tmp_path, times):
    paths = shots_saying(tmp_path, (0, -2, 1), times)
    first = read_bracket(paths)
    for order in ((1, 2, 0), (2, 1, 0)):
        other = read_bracket([paths[index] for index in order])
        assert other.stops == first.stops
        assert [frame.path for frame in other.frames] == [frame.path for frame in first.frames]
        assert other.reference == first.reference


def test_true_exposures_are_not_estimated(tmp_path, caplog):
    bracket = read_bracket(shots_saying(tmp_path, (0, -2, 1), (0.04, 0.01, 0.08)), reference=1)
    assert bracket.stops == pytest.approx((0, 2, 3), abs=1e-6)
    assert bracket.exposures_from == "EXIF"
    assert not caplog.records


def test_a_doubt_that_the_pixels_cannot_settle_is_a_warning(tmp_path, caplog):
    """A black frame that should be the brighter one."""
    bracket = read_bracket(shots_saying(tmp_path, (0, -60), (0.01, 0.04)))
    assert bracket.stops == pytest.approx((-2, 0)) or bracket.stops == pytest.approx((0, 2))
    assert bracket.exposures_from == "EXIF"
    assert "contradict" in caplog.text
    assert "share too little" in caplog.text


def test_two_black_frames_contradict_nothing(tmp_path, caplog):
    """They look alike, whatever their exposures."""
    bracket = read_bracket(shots_saying(tmp_path, (-60, -60), (0.01, 0.04)))
    assert bracket.stops[1] - bracket.stops[0] == pytest.approx(2)
    assert "contradict" not in caplog.text
    assert "next to nothing" in caplog.text


def test_frames_without_exposures_that_look_alike(tmp_path, caplog):
    bracket = read_bracket(shots_saying(tmp_path, (0, 0), (0, 0)))
    assert bracket.stops == (0, 0)
    assert bracket.exposures_from == "pixels"
    assert "the pixels show equal exposures" in caplog.text
    assert "exposed alike" in caplog.text


def test_a_folder(tmp_path, caplog):
    """In the order of the names, numbers counting as such; all else is left out."""
    for name, stops in (("shot10.tif", 0), ("shot9.TIFF", -2), ("Shot11.tif", 2)):
        tiff(tmp_path / name, stops)
    jpeg(tmp_path / "shot10.jpg", 0, (1, 100))
    (tmp_path / "out.preview.jpg").write_bytes(b"x")
    (tmp_path / ".hidden.tif").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "out.exr").write_bytes(b"x")
    (tmp_path / "more.tif").mkdir()
    with caplog.at_level(logging.INFO):
        ahead = FramesAhead([tmp_path])
        bracket = read_bracket([tmp_path], stops=[-2, 0, 2], ahead=ahead)
        ahead.close()
    assert [r.getMessage() for r in caplog.records if "left out" in r.getMessage()] == [
        f"{tmp_path / 'shot10.jpg'} is left out, since shot10.tif shows the same."
    ]
    assert [frame.name for frame in bracket.frames] == ["shot9.TIFF", "shot10.tif", "Shot11.tif"]
    assert bracket.stops == (-2, 0, 2)
    named = read_bracket([tmp_path], stops=[-2, 0, 2], reference=Path("Shot11.tif"))
    assert named.reference == 2


def test_the_reference_by_its_file(shots, tmp_path):
    for path in (shots[3], Path(shots[3].name), shots[3].parent / "." / shots[3].name):
        assert read_bracket(shots, stops=STOPS, reference=path).reference == 3
    for path in (tmp_path / shots[3].name, Path("x.tif"), shots[3].parent):
        with pytest.raises(InputError, match=r"not one of the frames \(c.tif, a.tif"):
            read_bracket(shots, stops=STOPS, reference=path)


def test_the_last_bit_of_an_exposure_does_not_order_frames(shots):
    first, second = copy_of(shots[0], 8), copy_of(shots[0], 9)
    for stops in ([0.0, 1e-12], [1e-12, 0.0]):
        frames = read_bracket([first, second], stops=stops).frames
        assert [frame.path for frame in frames] == [first, second]


def test_the_wrong_order_is_noticed(shots, caplog):
    with caplog.at_level(logging.WARNING):
        read_bracket(shots, stops=STOPS)
        assert not caplog.records
        read_bracket(shots[::-1][2:], stops=[-4, -2, 0])
    assert "check the exposures and their order" in caplog.text


def test_two_frames_said_to_be_equal_that_are_not(shots, caplog):
    read_bracket(shots[:3], stops=[-2, -2, 0])
    assert "c.tif should be 0.0 stops brighter than a.tif but looks" in caplog.text


def other_colors(folder):
    profile = imagecodecs.cms_profile("adobergb")
    tifffile.imwrite(folder / "y.tif", shot(0), photometric="rgb", iccprofile=profile)
    return [tiff(folder / "x.tif", 0), folder / "y.tif"], {"ev_step": 1}


def linear_and_not(folder):
    primaries = [0.64, 0.33, 1, 0.30, 0.60, 1, 0.15, 0.06, 1]
    profile = imagecodecs.cms_profile(
        "rgb", whitepoint=[0.3127, 0.3290, 1], primaries=primaries, gamma=1.0
    )
    tifffile.imwrite(folder / "y.tif", shot(0), photometric="rgb", iccprofile=profile)
    return [tiff(folder / "x.tif", 0), folder / "y.tif"], {"ev_step": 1}


def other_size(folder):
    tifffile.imwrite(folder / "y.tif", shot(0)[:10], photometric="rgb")
    return [tiff(folder / "x.tif", 0), folder / "y.tif"], {"ev_step": 1}


def not_an_image(folder):
    (folder / "y.tif").write_text("words")
    return [tiff(folder / "x.tif", 0), folder / "y.tif"], {}


def twice(folder):
    tiff(folder / "y.tif", 0)
    return [folder / "y.tif", folder / "." / "y.tif"], {"ev_step": 1}


def through_a_link(folder):
    (folder / "y.tif").symlink_to(tiff(folder / "x.tif", 0))
    return [folder / "x.tif", folder / "y.tif"], {"ev_step": 1}


def damaged(folder):
    data = tiff(folder / "x.tif", 0).read_bytes()
    (folder / "y.tif").write_bytes(data[: len(data) // 2])
    return [folder / "x.tif", folder / "y.tif"], {"ev_step": 1}


def with_options(**options):
    def make(folder):
        return [tiff(folder / "x.tif", -2), tiff(folder / "y.tif", 0)], options

    return make


def black_and_white(folder):
    for name, value in (("b", 0), ("w", 65535)):
        tifffile.imwrite(folder / f"{name}.tif", np.full((20, 30, 3), value, np.uint16))
    return [folder / "b.tif", folder / "w.tif"], {}


def black_and_grey_alike(folder):
    for name, value in (("x", 0), ("y", 120)):
        exif = Image.Exif()
        exif.get_ifd(0x8769)[33434] = 0.05
        Image.new("RGB", (30, 20), (value,) * 3).save(folder / f"{name}.jpg", exif=exif)
    return [folder / "x.jpg", folder / "y.jpg"], {}


def of_two_scenes(folder):
    tifffile.imwrite(folder / "y.tif", scene(0)[::-1, ::-1], photometric="rgb")
    tifffile.imwrite(folder / "x.tif", scene(0), photometric="rgb")
    return [folder / "x.tif", folder / "y.tif"], {}


def many(count):
    def make(folder):
        return [tiff(folder / f"y{i}.tif", 0) for i in range(count)], {"ev_step": 1}

    return make


REMEDY = "--ev, --times or --ev-step"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (other_colors, ["x.tif is in sRGB and y.tif in ", "alike"]),
        (linear_and_not, ["y.tif is linear and x.tif is not", "alike"]),
        (other_size, ["x.tif (30x20)", "y.tif (30x10)"]),
        (not_an_image, ["y.tif", "not a JPEG"]),
        (twice, ["y.tif", "twice"]),
        (through_a_link, ["y.tif", "twice"]),
        (damaged, ["y.tif", "damaged"]),
        (many(1), ["2 to 9", "y0.tif"]),
        (many(33), ["2 to 9", "y9.tif"]),
        (black_and_white, ["b.tif, w.tif: no exposure", "share too little", REMEDY]),
        (black_and_grey_alike, ["equal exposures", "share too little", REMEDY]),
        (of_two_scenes, ["x.tif, y.tif", "nothing in common"]),
        (with_options(stops=[0, 0]), ["x.tif, y.tif", "same exposure"]),
        (with_options(stops=[0, 24.5]), ["x.tif", "y.tif", "24"]),
        (with_options(stops=[0, np.nan]), ["y.tif"]),
        (with_options(stops=[0]), ["--ev holds 1 values for 2", "y.tif"]),
        (with_options(stops=[0, 1, 2]), ["--ev holds 3 values for 2", "y.tif"]),
        (with_options(times=[0.1, 0.2, 0.4]), ["--times holds 3", "y.tif"]),
        (with_options(times=[0.1, 0.0]), ["y.tif", "--times"]),
        (with_options(times=[0.1, -1.0]), ["y.tif", "--times"]),
        (with_options(times=[0.1, np.inf]), ["y.tif", "--times"]),
        (with_options(times=[1e-9, 1.0]), ["x.tif", "24"]),
        (with_options(ev_step=0), ["--ev-step"]),
        (with_options(ev_step=-1), ["--ev-step", "dark to bright"]),
        (with_options(ev_step=np.nan), ["--ev-step"]),
        (with_options(ev_step=1, stops=[0, 1]), ["only one"]),
        (with_options(ev_step=1, reference=3), ["frame 3"]),
    ],
)
def test_impossible_brackets(tmp_path, make, words):
    paths, options = make(tmp_path)
    with pytest.raises(InputError) as caught:
        read_bracket(paths, **options)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("count", [0, 1, 33])
def test_folders_that_hold_no_bracket(tmp_path, count):
    many(count)(tmp_path)
    with pytest.raises(InputError, match=f"holds {count} photographs"):
        read_bracket([tmp_path])


def test_a_folder_and_something_else(shots):
    with pytest.raises(InputError, match="either one folder or the files"):
        read_bracket([shots[0].parent, shots[0]])


def test_an_unreadable_folder(tmp_path, monkeypatch):
    def denied(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", denied)  # root may read everything
    with pytest.raises(InputError, match=r"cannot be read \(Permission denied\)"):
        read_bracket([tmp_path])


def test_no_files():
    with pytest.raises(InputError, match="not 0"):
        read_bracket([])


def test_the_others_are_read_at_the_same_time(shots, monkeypatch):
    """After the first one, which may turn out to be too large, frames need not wait in a row."""
    meeting, begun, first = threading.Barrier(2, timeout=20), [], []

    def read(path, *args):
        begun.append(path)
        if path in shots[1:3]:
            meeting.wait()
        return read_frame(path, *args)

    monkeypatch.setattr("dfghdr_cli.io.bracket.os.cpu_count", lambda: 2)
    monkeypatch.setattr("dfghdr_cli.io.bracket.read_frame", read)

    def on_first(frame, count):
        first.append((frame.path, count, len(begun)))

    bracket = read_bracket(shots, stops=STOPS, on_first=on_first)
    assert first == [(shots[0], 5, 1)]
    assert [frame.path for frame in bracket.frames] == shots


def test_python_warns_as_before(tmp_path):
    paths = [jpeg(tmp_path / f"{n}.jpg", n, time=(2**n, 100)) for n in range(5)]
    before = list(warnings.filters)
    for _ in range(5):
        read_bracket(paths)
    assert warnings.filters == before


@pytest.fixture
def reads(monkeypatch):
    """The files that are read, in their order."""
    seen = []

    def noted(path, *rest):
        seen.append(path)
        return read_frame(path, *rest)

    monkeypatch.setattr(module, "read_frame", noted)
    return seen


def test_frames_that_are_read_ahead_are_not_read_again(tmp_path, reads):
    for number, time in enumerate([(1, 400), (1, 100), (1, 25)]):
        jpeg(tmp_path / f"{number}.jpg", 2 * number - 2, time)
    now = read_bracket([tmp_path])
    reads.clear()
    ahead = FramesAhead([tmp_path])
    then = read_bracket([tmp_path], ahead=ahead)
    ahead.close()
    assert sorted(path.name for path in reads) == ["0.jpg", "1.jpg", "2.jpg"]
    for a, b in zip(now.frames, then.frames, strict=True):
        assert (a.path, a.exposure, a.color_space) == (b.path, b.exposure, b.color_space)
        assert np.array_equal(a.pixels, b.pixels)
    assert len(read_bracket([tmp_path], ahead=ahead).frames) == 3  # which has none left


@pytest.mark.parametrize("make", [damaged, not_an_image, twice, other_size])
def test_reading_ahead_leaves_complaints_to_the_reader(tmp_path, make):
    made = make(tmp_path)
    paths, options = made if isinstance(made, tuple) else (made, {})
    with pytest.raises(InputError) as now:
        read_bracket(paths, **options)
    ahead = FramesAhead(paths)
    with pytest.raises(InputError) as then:
        read_bracket(paths, **options, ahead=ahead)
    ahead.close()
    assert str(then.value) == str(now.value)


def test_nothing_more_is_read_once_closed(shots, reads, monkeypatch):
    """However many frames were still to come."""
    may_go_on = threading.Event()
    noted = module.read_frame

    def slow(*arguments):
        may_go_on.wait(10)
        return noted(*arguments)

    monkeypatch.setattr(module, "read_frame", slow)
    ahead = FramesAhead(shots)
    threading.Timer(0.1, may_go_on.set).start()
    ahead.close()
    assert len(reads) == 2
    assert len(read_bracket(shots, stops=STOPS, ahead=ahead).frames) == 5


def test_of_more_than_nine_frames_the_nine_that_cover_the_range_are_taken(tmp_path, caplog):
    stops = [round(-6 + 0.8 * k, 2) for k in range(14)]
    paths = [tiff(tmp_path / f"{k:02}.tif", stop) for k, stop in enumerate(stops)]
    bracket = read_bracket(paths[::-1], stops=stops[::-1])
    taken = [frame.path for frame in bracket.frames]
    assert len(taken) == 9
    assert (taken[0], taken[-1]) == (paths[0], paths[-1])
    steps = np.diff(bracket.stops)
    assert steps.max() <= 1.6 + 1e-6
    assert {left.path for left in bracket.left_out} == set(paths) - set(taken)
    assert "of 14 frames" in caplog.text.lower()


def test_more_than_nine_frames_of_which_some_are_exposed_alike_are_refused(tmp_path):
    paths = [tiff(tmp_path / f"{k:02}.tif", 0.5 * k - 3) for k in range(12)]
    stops = [0.5 * min(k, 10) for k in range(12)]
    with pytest.raises(InputError, match="not 12"):
        read_bracket(paths, stops=stops)
