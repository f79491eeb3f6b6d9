"""Responses in files: what is written is read, what others write, and what is none."""

import numpy as np
import pytest

from dfghdr_cli.core.calibration.response import Response
from dfghdr_cli.errors import InputError
from dfghdr_cli.io.response import encode_response, read_response

CODES = np.linspace(0, 1, 5001)


def test_a_response_survives(tmp_path):
    codes = np.linspace(0, 1, 4097)
    fitted = Response("fitted", codes, codes**2.1 * (0.2 + 0.8 * codes))
    (tmp_path / "camera.csv").write_bytes(encode_response(fitted))
    read = read_response(tmp_path / "camera.csv")
    assert read.name == "file camera.csv"
    assert read.linear.ndim == 1
    np.testing.assert_allclose(read.evaluate(CODES), fitted.evaluate(CODES), atol=1e-6)


def test_channels_of_their_own_survive(tmp_path):
    codes = np.linspace(0, 1, 4097)
    response = Response("fitted", codes, np.stack([codes, codes**2, codes**3], axis=1))
    (tmp_path / "camera.csv").write_bytes(encode_response(response))
    read = read_response(tmp_path / "camera.csv")
    three = np.repeat(CODES[:, None], 3, axis=1)
    np.testing.assert_allclose(read.evaluate(three), response.evaluate(three), atol=1e-6)


def test_a_file_called_srgb_is_not_srgb(tmp_path):
    path = tmp_path / "srgb"
    path.write_text("code,exposure\n0,0\n1,1\n")
    np.testing.assert_allclose(read_response(path).evaluate(CODES), CODES, atol=1e-12)


def test_a_table_of_somebody_else(tmp_path):
    path = tmp_path / "camera.csv"
    path.write_text("\ufeff# my camera\nCode, Exposure\n0, 0.0\n\n128, 30\n# white\n255, 120\n")
    read = read_response(path)
    np.testing.assert_allclose(read.codes, [0, 128 / 255, 1])
    np.testing.assert_allclose(read.linear, [0, 0.25, 1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not hold a response"),
        (b"\xff\xd8\xff\xe0 a picture", "not a text file"),
        (b"code,level\n0,0\n1,1\n", "does not hold a response"),
        (b"code,exposure\n0,0\n1\n", "where 2 numbers should be"),
        (b"code,exposure\n0,0\n1,white\n", "where 2 numbers should be"),
        (b"code,exposure\n0,0\n1,nan\n", "where 2 numbers should be"),
        (b"code,exposure\n0,0\n", "two are the least"),
        (b"code,exposure\n0.1,0\n1,1\n", "rise from 0"),
        (b"code,exposure\n0,0\n1,1\n0.5,0.5\n", "rise from 0"),
        (b"code,exposure\n0,0\n0.5,0.6\n1,0.5\n", "must rise with the code"),
        (b"code,exposure\n0,-1\n1,1\n", "must rise with the code"),
        (b"code,exposure\n0,1\n1,1\n", "must rise with the code"),
    ],
)
def test_what_is_no_response_is_refused(content, message, tmp_path):
    path = tmp_path / "camera.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_response(path)
    assert "camera.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_response_is_refused(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(InputError, match="cannot be read as a response"):
            read_response(path)


def test_a_quote_that_is_never_closed_is_one_sentence(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text('code,exposure\n0,"0\n' + "0.5,0.5\n" * 20_000)
    with pytest.raises(InputError, match=r"r\.csv is no table"):
        read_response(path)
