"""Tables, heat maps, bars and plots show what they are given."""

import numpy as np
import pytest

from dfghdr_cli.io.charts import BACKGROUND, Cell, bars, colours, heat_map, scatter, table


def block(value, size=(20, 30)):
    return np.full((*size, 3), value, np.float32)


def where(picture, value):
    """Bounding box of the pixels of one grey: top, bottom, left, right."""
    rows, columns = np.nonzero((np.abs(picture - value) < 1 / 255).all(axis=2))
    return rows.min(), rows.max() + 1, columns.min(), columns.max() + 1


def test_a_table_puts_pictures_in_rows_and_columns():
    cells = [
        [Cell(block(0.2)), Cell(block(0.4, (10, 30)))],
        [Cell(block(0.6)), Cell(block(0.8, (20, 50)))],
    ]
    picture = table(cells)
    first, second, third, fourth = (where(picture, value) for value in (0.2, 0.4, 0.6, 0.8))
    assert first[1] - first[0] == 20
    assert first[3] - first[2] == 30
    assert first[2:] == third[2:]  # one column
    assert (second[0] + second[1]) / 2 == (first[0] + first[1]) / 2  # centred in one row
    assert (second[2] + second[3]) / 2 == (fourth[2] + fourth[3]) / 2
    assert third[0] > first[1]
    np.testing.assert_allclose(picture[0, 0], BACKGROUND, atol=1 / 255)


def test_captions_are_written_below_and_cut_to_fit():
    bare = table([[Cell(block(0.5))]])
    written = table([[Cell(block(0.5), ("one", "two"))]])
    assert written.shape[0] > bare.shape[0]
    assert written.shape[1] == bare.shape[1]
    assert (written[32:].min(axis=2) < 0.5).any()
    long = table([[Cell(block(0.5), ("a very long caption indeed " * 5,))]])
    dark = np.nonzero((long[32:] < 0.5).any(axis=(0, 2)))[0]
    assert dark.min() >= 8
    assert dark.max() < long.shape[1] - 8


def test_colours_run_from_dark_blue_to_yellow():
    shown = colours(np.array([[-5.0, 0.0, 1.0, 9.0]]), 0.0, 1.0)[0]
    np.testing.assert_array_equal(shown[0], shown[1])
    np.testing.assert_array_equal(shown[2], shown[3])
    np.testing.assert_allclose(shown[1] * 255, (68, 1, 84), atol=2)  # the ends of viridis
    np.testing.assert_allclose(shown[2] * 255, (253, 231, 37), atol=2)


def test_a_heat_map_is_brought_to_the_picture_and_keeps_its_colours():
    values = np.zeros((4, 6))
    values[:, 3:] = 1.0
    picture = np.random.default_rng(0).uniform(0, 0.01, (40, 60, 3)).astype(np.float32)
    shown = heat_map(values, picture, 0.0, 1.0)
    assert shown.shape == picture.shape
    left, right = shown[:, :20].mean((0, 1)), shown[:, 40:].mean((0, 1))
    assert left[2] > left[1]  # blue
    assert min(right[0], right[1]) > right[2]  # yellow


def test_bars_are_as_long_as_their_values():
    picture = bars([0.2, 0.4, 0.0], ["a", "b", "c"], (120, 206))
    blue = (picture[..., 2] > 0.5) & (picture[..., 0] < 0.3)
    parts = ((20, 43), (60, 83), (100, 120))
    lengths = [blue[start:end].sum(axis=1).max() for start, end in parts]
    assert lengths[0] == pytest.approx(lengths[1] / 2, abs=2)
    assert lengths[2] <= 2


def test_a_plot_puts_points_where_they_belong():
    points = np.array([[0.0, 0.0], [1.0, 1.0]])
    picture = scatter(points, np.array([-3.0, 3.0]), "codes", ("first", "second"), unit="EV")
    plot = picture[42:588, 42:588]
    yellow = np.argwhere((plot[..., 0] > 0.9) & (plot[..., 2] < 0.3)).mean(0)
    purple = np.argwhere((plot[..., 0] < 0.35) & (plot[..., 1] < 0.1) & (plot[..., 2] > 0.25))
    assert yellow[0] < 100  # up
    assert yellow[1] > 400  # right
    assert purple.mean(0)[0] > 400
    assert purple.mean(0)[1] < 100
