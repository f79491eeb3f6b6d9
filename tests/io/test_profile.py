import struct

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import ImageCms

from dfghdr_cli.core.colour import ADOBE_RGB, P3, REC709, conversion, srgb_decode
from dfghdr_cli.core.types import Exposure
from dfghdr_cli.errors import InputError
from dfghdr_cli.io.ldr import read_frame
from dfghdr_cli.io.profile import primaries_to_rec709, read_profile

PROPHOTO = (0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001, 0.3457, 0.3585)  # ISO 22028-2


def profile_of(chromaticities, gamma):
    x, y = np.reshape(chromaticities, (4, 2)).T
    primaries = np.stack([x, y, np.ones(4)], axis=1)
    return imagecodecs.cms_profile(
        "rgb",
        whitepoint=primaries[3].tolist(),
        primaries=primaries[:3].ravel().tolist(),
        gamma=gamma,
    )


@pytest.mark.parametrize("primaries", [ADOBE_RGB, P3, PROPHOTO])
@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.2])
def test_primaries_and_curve(primaries, gamma):
    profile = read_profile(profile_of(primaries, gamma))
    np.testing.assert_allclose(profile.to_rec709, conversion(primaries, REC709), atol=2e-3)
    codes = np.linspace(0, 1, len(profile.curve))
    np.testing.assert_allclose(profile.curve, codes**gamma, atol=1e-3)


def test_srgb_needs_no_matrix():
    profile = read_profile(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    assert profile.to_rec709 is None
    assert profile.curve[2048] == pytest.approx(0.21404, abs=1e-4)
    assert primaries_to_rec709(REC709) is None
    np.testing.assert_allclose(primaries_to_rec709(P3), conversion(P3, REC709))


def table_profile(function, grid=17):
    """A profile of a table alone (ICC.1:2022, 10.10): `function` is from (N, 3) codes to XYZ."""

    def tagged(kind, content):
        return kind + bytes(4) + content

    nodes = np.stack(np.meshgrid(*[np.linspace(0, 1, grid)] * 3, indexing="ij"), -1).reshape(-1, 3)
    line = struct.pack(">HH", 0, 65535)
    values = np.rint(np.clip(function(nodes), 0, 1) * 32768).astype(">u2").tobytes()
    table = struct.pack(">BBBx", 3, 3, grid) + struct.pack(">9i", *[65536, 0, 0, 0] * 2, 65536)
    table += struct.pack(">HH", 2, 2) + line * 3 + values + line * 3
    name = "table".encode("utf-16-be")
    text = struct.pack(">IIHHII", 1, 12, 0x656E, 0x5553, len(name), 28) + name
    white = struct.pack(">3i", 63190, 65536, 54061)
    tags = {
        b"desc": tagged(b"mluc", text),
        b"cprt": tagged(b"mluc", text),
        b"wtpt": tagged(b"XYZ ", white),
        b"A2B0": tagged(b"mft2", table),
    }
    place, head, body = 128 + 4 + 12 * len(tags), b"", b""
    for tag, content in tags.items():
        head += tag + struct.pack(">II", place + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = bytearray(128)
    struct.pack_into(
        ">I4xI4s4s4s", header, 0, place + len(body), 0x04300000, b"scnr", b"RGB ", b"XYZ "
    )
    header[36:40] = b"acsp"
    header[68:80] = white
    return bytes(header) + struct.pack(">I", len(tags)) + head + body


D50 = np.array([0.9642, 1.0, 0.8249])
TO_XYZ = np.array([[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])


def plain(codes):
    return codes**2 @ TO_XYZ.T


def crossed(codes):
    """Dyes that stain one another: no matrix and curve does that; grey stays grey."""
    mean = codes.mean(axis=1, keepdims=True)
    return (0.6 * codes + 0.4 * np.sqrt(codes * mean)) ** 2 @ TO_XYZ.T


def test_a_table_that_is_a_matrix_and_a_curve_fits():
    assert read_profile(table_profile(plain, 33)).fits
    assert not read_profile(table_profile(crossed)).fits


@pytest.mark.parametrize("primaries", [ADOBE_RGB, P3, PROPHOTO])
@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.2])
def test_matrices_and_curves_fit(primaries, gamma):
    assert read_profile(profile_of(primaries, gamma)).fits


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_what_does_not_fit_is_converted(tmp_path, caplog, dtype):
    codes = np.random.default_rng(0).integers(0, 16, (24, 32, 3)) / 15  # the nodes of the table
    codes[0, 0] = 1
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    pixels = (codes * top).astype(dtype)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, photometric="rgb", iccprofile=table_profile(crossed, 16))
    frame = read_frame(path, Exposure(0.0))
    light = srgb_decode(frame.pixels / 65535) @ frame.to_rec709.T
    expected = crossed(codes.reshape(-1, 3)) @ np.linalg.inv(TO_XYZ).T
    np.testing.assert_allclose(light.reshape(-1, 3), expected, atol=0.02)
    assert np.abs(light.reshape(-1, 3) - expected).mean() < 0.002
    assert (frame.pixels[0, 0] >= 65500).all()
    assert "a.tif: its profile table is no matrix and curve" in caplog.text


def test_other_profiles():
    assert read_profile(imagecodecs.cms_profile("gray", gamma=2.2)) is None
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for data in (lab, b"junk", b"", srgb[:200], srgb[:-200]):
        with pytest.raises(InputError, match="profile"):
            read_profile(data)
