import logging

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from dfghdr_cli.errors import InputError
from dfghdr_cli.io.bracket import read_bracket

LINEAR = np.random.default_rng(3).uniform(0.0, 1.0, (20, 30, 3)) ** 2


def shot(stops):
    """16-bit codes of the scene exposed by so many stops."""
    return np.rint(np.clip(LINEAR * 2.0**stops, 0, 1) ** (1 / 2.2) * 65535).astype(np.uint16)


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
    times = [1 / 1000, 1 / 250, 1 / 60, 1 / 15, 1 / 15 if equal else 0.3]
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
    assert read_bracket(paths).stops == (0, 0, 0)
    assert not caplog.records


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


def test_foreign_colours_are_mentioned_once(tmp_path, caplog):
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for i in range(2):
        tifffile.imwrite(tmp_path / f"{i}.tif", shot(i), photometric="rgb", iccprofile=profile)
    read_bracket([tmp_path / "0.tif", tmp_path / "1.tif"], ev_step=1)
    assert [record.message.count("0.tif, 1.tif: tagged as Lab") for record in caplog.records] == [1]


def no_exposure(folder):
    return [jpeg(folder / "x.jpg", 0, (1, 100)), jpeg(folder / "y.jpg", 1)], {}


def equal_exif(folder):
    return [jpeg(folder / f"{n}.jpg", s, (1, 20)) for n, s in zip("xy", (-3, 0), strict=True)], {}


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


def many(count):
    def make(folder):
        return [tiff(folder / f"y{i}.tif", 0) for i in range(count)], {"ev_step": 1}

    return make


REMEDY = "--ev, --times or --ev-step"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (no_exposure, ["y.jpg", REMEDY]),
        (equal_exif, ["x.jpg, y.jpg", "same exposure", REMEDY]),
        (other_size, ["x.tif (30x20)", "y.tif (30x10)"]),
        (not_an_image, ["y.tif", "not a JPEG"]),
        (twice, ["y.tif", "twice"]),
        (through_a_link, ["y.tif", "twice"]),
        (damaged, ["y.tif", "damaged"]),
        (many(1), ["2 to 9", "y0.tif"]),
        (many(10), ["2 to 9", "y9.tif"]),
        (with_options(), ["x.tif, y.tif", REMEDY]),
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


def test_no_files():
    with pytest.raises(InputError, match="not 0"):
        read_bracket([])
