import imagecodecs
import numpy as np
import pytest
from PIL import ImageCms

from dfghdr_cli.core.colour import ADOBE_RGB, P3, REC709, conversion
from dfghdr_cli.errors import InputError
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


def test_other_profiles():
    assert read_profile(imagecodecs.cms_profile("gray", gamma=2.2)) is None
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for data in (lab, b"junk", b"", srgb[:200], srgb[:-200]):
        with pytest.raises(InputError, match="profile"):
            read_profile(data)
