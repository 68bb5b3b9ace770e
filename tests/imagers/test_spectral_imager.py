"""`--spectral-terms`: output channels deconvolved together."""

import numpy as np
import pytest
from astropy.io import fits

import radrim
from radrim.errors import ConfigError
from radrim.geometry import ARCSEC
from radrim.measure.measurement import Measurement
from radrim.restore.spectrum import Basis

SCALE = 3
ALPHA = {(12, 20): -0.9, (-25, -10): 0.6}
"""Spectral indices of two sources, by their places (x, y) from the middle [pixel]; 1 Jy at 1.4 GHz."""
OPTIONS = {"size": 128, "scale": f"{SCALE}asec", "channels_out": 5, "threads": 1}


@pytest.fixture(scope="module")
def ms(make_ms):
    """Two sources from 1.2 to 1.6 GHz."""
    from radrim.simulation import make_sky
    from radrim.sky.catalogue import offset_position

    x, y = np.array(list(ALPHA)).T
    places = offset_position(-SCALE * ARCSEC * x, SCALE * ARCSEC * y, 2.0, 0.6)
    stokes = np.array([[1.0, 0, 0, 0]] * 2)
    sky = make_sky(*places, stokes, 1.4e9, np.array(list(ALPHA.values())))
    return make_ms(windows=[(low, 1) for low in (1.2e9, 1.3e9, 1.4e9, 1.5e9, 1.6e9)], noise=0.02, times=16, sky=sky,
                   correlations=("XX", "YY"))  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory, without_reports):
    with without_reports():
        yield tmp_path_factory.mktemp("joint")


@pytest.fixture(scope="module", params=["rim", "clean"])
def joint(request, ms, folder):
    """A run with two terms, by either minor cycle."""
    return radrim.image(ms, name=folder / request.param, spectral_terms=2, solver=request.param, **OPTIONS)


def test_files(joint):
    """Channels and average as ever, and two maps."""
    prefix = joint.paths["image"].name.removesuffix("-MFS-image.fits")
    kinds = ("dirty", "psf", "model", "residual", "image")
    labels = [f"{k:04d}" for k in range(5)] + ["MFS"]
    names = {f"{prefix}-{label}-{kind}.fits" for label in labels for kind in kinds}
    names |= {f"{prefix}-MFS-alpha.fits", f"{prefix}-MFS-alpha-error.fits"}
    assert {path.name for path in joint.paths["image"].parent.glob(f"{prefix}-*.fits")} == names
    header = fits.getheader(joint.paths["alpha"])
    assert header["BUNIT"] == ""
    assert header["BTYPE"] == "alpha"
    assert header["CRVAL3"] == pytest.approx(joint.freq)


def test_spectral_indices(joint):
    """Those of the sources, to within their errors and the curvature that two terms do not have."""
    alpha, error = (fits.getdata(joint.paths[name]).squeeze() for name in ("alpha", "alpha-error"))
    for (x, y), true in ALPHA.items():
        assert alpha[64 + y, 64 + x] == pytest.approx(true, abs=0.04)
        assert 0.0005 < error[64 + y, 64 + x] < 0.03


def test_models_share_a_spectrum(joint):
    """Each pixel of the channels' models is a straight line in frequency, and that of the average is its mean."""
    weight = [image.facts["sum_weight"] for image in joint.channels.headers]
    basis = Basis.of([image.freq for image in joint.channels.headers], weight, 2)
    models = np.stack([image.model for image in joint.channels])
    terms = np.zeros((2, 128, 128))
    for number, model in enumerate(models):
        basis.add(number, model, terms)
    lines = np.stack([basis.image(number, terms.astype(np.float32)) for number in range(5)])
    np.testing.assert_allclose(lines, models, atol=1e-5)
    np.testing.assert_allclose(joint.model, terms[0], atol=1e-6)
    assert joint.model.sum() == pytest.approx(2, rel=0.02)
    assert np.ptp(models[:, 84, 76]) > 0.1


def test_residuals_are_exact_and_noise(joint, ms):
    """Those of the channels' models; all together they are as good as noise."""
    from radrim.config.options import ImageConfig
    from radrim.read.reader import Selection, read
    from radrim.visibilities import split_channels
    from radrim.weight.imaging import apply_weights

    observation = read([str(ms)], Selection())
    apply_weights(observation.blocks, joint.grid, ImageConfig(ms=()).weight)
    for image, blocks in zip(joint.channels, split_channels(observation, 5), strict=True):
        residual = Measurement(blocks, joint.grid).residual(image.model)
        assert np.abs(residual - image.residual).max() < 2e-4
    assert joint.residual.std() < 1.5 * fits.getheader(joint.paths["image"])["RRTHERM"]
    assert np.abs(joint.residual).max() < 0.01


def test_better_than_one_spectrum_for_all(joint, ms, folder):
    """The same channels with models alike would leave the sources' spectra in the residuals."""
    first, last = joint.channels[0], joint.channels[4]
    for image in (first, last):
        assert np.abs(image.residual).max() < 0.05
    for (x, y), alpha in ALPHA.items():
        ratio = first.image[64 + y, 64 + x] / last.image[64 + y, 64 + x]
        assert (ratio > 1.1) == (alpha < 0)


@pytest.mark.parametrize(
    "options, says",
    [
        ({"spectral_terms": 3, "channels_out": 2}, "--spectral-terms 3 needs at least 3 output channels.*is 2"),
        (
            {"spectral_terms": 2, "channels_out": 2, "pol": "Q"},
            "--spectral-terms does not work with --pol: spectra are fitted",
        ),
    ],
)
def test_what_cannot_be(ms, tmp_path, options, says):
    with pytest.raises(ConfigError, match=says):
        radrim.image(ms, **{"size": 128, "scale": "3asec", "name": tmp_path / "x", **options})
