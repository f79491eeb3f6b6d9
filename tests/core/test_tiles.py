"""Tiles cover every pixel once, and each reads its halo wherever there is picture."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfghdr_cli.core.tiles import tiles

pictures = st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 30), st.integers(0, 20))
multiples = st.integers(1, 8)


def up(value, multiple):
    return -(-value // multiple) * multiple


@given(pictures, multiples)
def test_every_pixel_is_kept_once_and_comes_from_its_place(sizes, multiple):
    rows, columns, side, halo = sizes
    height, width = rows * multiple, columns * multiple
    picture = np.arange(height * width).reshape(height, width)
    rebuilt = np.full_like(picture, -1)
    for tile in tiles(height, width, side, halo, multiple):
        assert (rebuilt[tile.target] == -1).all()
        rebuilt[tile.target] = picture[tile.rows, tile.columns][tile.keep_rows, tile.keep_columns]
    assert (rebuilt == picture).all()


@given(pictures, multiples)
def test_halo_size_and_multiple(sizes, multiple):
    rows, columns, side, halo = sizes
    height, width = rows * multiple, columns * multiple
    for tile in tiles(height, width, side, halo, multiple):
        for length, read, kept in zip(
            (height, width), (tile.rows, tile.columns), tile.target, strict=True
        ):
            assert read.start == max(0, kept.start - up(halo, multiple))
            assert read.stop == min(length, kept.stop + up(halo, multiple))
            assert 0 < kept.stop - kept.start <= up(side, multiple)
            assert read.start % multiple == read.stop % multiple == 0


def test_one_tile_where_it_suffices():
    (tile,) = tiles(48, 64, side=64, halo=24, multiple=16)
    assert (tile.rows, tile.columns) == (slice(0, 48), slice(0, 64))
    assert tile.target == (slice(0, 48), slice(0, 64))


@pytest.mark.parametrize(("height", "width"), [(30, 32), (32, 30)])
def test_a_picture_must_divide(height, width):
    with pytest.raises(ValueError, match=f"{width} x {height} is not divisible by 4"):
        list(tiles(height, width, 16, 4, 4))
