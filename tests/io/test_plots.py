"""Tables of text, curves, and pages of a PDF file."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dfghdr_cli.io.plots import INKS, Line, _ticks, curves, encode_pdf, text_table


def test_a_table_of_text():
    head, row = Line(("", "PSNR")), Line(("classic", "24.75"))
    picture = text_table([head, row])
    assert picture.dtype == np.float32
    assert 0 <= picture.min() < picture.max() == 1
    assert text_table([head, row, Line(("Measured",))]).shape[0] > picture.shape[0]
    long = Line(("a heading across the table that is far longer than any of its cells",))
    assert text_table([head, long, row]).shape[1] > picture.shape[1]
    bold = text_table([head, Line(("classic", "24.75"), frozenset({1}))])
    assert bold.mean() < picture.mean()
    assert text_table([head, Line(("classic", "24.75"), soft=True)]).mean() > picture.mean()


def test_curves_go_where_the_values_are():
    x = np.arange(50.0)
    picture = curves({"falling": (x, 10 - x / 5)}, "t", ("step", "loss"))
    ink = np.abs(picture - np.array(INKS[0]) / 255).max(axis=2) < 0.1
    rows, columns = np.nonzero(ink[60:, :620])  # without the legend
    assert len(rows) > 100
    assert np.corrcoef(rows, columns)[0, 1] > 0.95, "downwards to the right"
    assert (picture[..., 0] == 1).mean() > 0.8


def test_curves_of_odd_values():
    x = np.array([1.0, 2.0, 3.0])
    for y in ([np.nan] * 3, [1, np.inf, 2], [0, -1, 0.5], [5, 5, 5]):
        for logarithmic in (False, True):
            series = {"a": (x, np.array(y, float)), "b": (x[:1], np.array([2.0]))}
            picture = curves(series, "t", ("x", "y"), logarithmic=logarithmic)
            assert picture.shape == (440, 720, 3)
            assert np.isfinite(picture).all()


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
@settings(max_examples=100, deadline=None)
def test_ticks_span_the_values(low, span):
    ticks = _ticks(low, low + span)
    assert 2 <= len(ticks) <= 9
    least = 1e-9 * max(abs(low), span)
    assert ticks[0] <= low + least
    assert ticks[-1] >= low + span - least
    assert len(set(ticks)) == len(ticks)


def test_pages_of_a_pdf():
    grey = np.full((60, 80, 3), 0.5, np.float32)
    data = encode_pdf([grey, grey[:30]], "Tables")
    assert data.startswith(b"%PDF-")
    assert data.count(b"/Type /Page\n") == 2
    assert data == encode_pdf([grey, grey[:30]], "Tables"), "the time is not in it"
    start = data.index(b"\xff\xd8\xff")
    with Image.open(io.BytesIO(data[start:])) as image:
        assert image.size == (80, 60)
        assert np.asarray(image).mean() == pytest.approx(127.5, abs=1)
