"""Runs that keep visibilities out of the deconvolution to judge it."""

import numpy as np
import pytest

import radrim
from radrim.sky.catalogue import make_sky

SIZE = {"size": 128, "scale": "3asec", "threads": 1}


@pytest.fixture(scope="module")
def observed(make_ms):
    """A point source, with noise, seen by nine antennas of VLA C."""
    return make_ms(noise=0.05, times=24)


@pytest.fixture(scope="module")
def runs(observed, tmp_path_factory, without_reports):
    """The results of a run with all visibilities, and of one that keeps a tenth out."""
    folder = tmp_path_factory.mktemp("holdout")
    with without_reports():
        return [radrim.image(observed, name=folder / f"run{share}", holdout=share, **SIZE) for share in (0.0, 0.1)]


def test_what_is_written_is_of_all_visibilities(runs):
    """Dirty image, PSF and beam do not depend on what is kept out."""
    without, judged = runs
    np.testing.assert_array_equal(judged.dirty, without.dirty)
    np.testing.assert_array_equal(judged.psf, without.psf)
    assert judged.beam == without.beam


def test_residual_is_of_all_visibilities(runs):
    """The residual is the dirty image less the PSF times the model, of all samples."""
    _, judged = runs
    padded = np.pad(judged.model.astype(float), 64)
    shift = np.fft.ifftshift(np.pad(judged.psf.astype(float), 64))
    seen = np.fft.irfft2(np.fft.rfft2(padded) * np.fft.rfft2(shift), s=padded.shape)[64:-64, 64:-64]
    left = judged.dirty - seen
    assert np.abs(left - judged.residual)[32:-32, 32:-32].max() < 0.02 * np.abs(judged.dirty).max()
    assert np.abs(judged.residual).max() < 0.1 * np.abs(judged.dirty).max()


def test_the_judge_speaks(runs):
    """Major cycles record chi^2 of the kept-out visibilities, which falls to that of their noise."""
    without, judged = runs
    assert all("kept_chi2" not in cycle for cycle in without.cycles)
    told = [cycle["kept_chi2"] for cycle in judged.cycles if "kept_chi2" in cycle]
    assert told[-1] <= told[0]
    assert 0.8 < told[-1] < 1.25


def test_model_is_as_good(runs):
    """Flux and brightest pixel of the model are those of a run with all visibilities."""
    without, judged = runs
    assert judged.model.sum() == pytest.approx(without.model.sum(), rel=0.03)
    assert judged.model.argmax() == without.model.argmax()


@pytest.mark.parametrize("solver", ["clean", "rim", "tv", "pnp"])
def test_noise_alone_gives_no_model(make_ms, tmp_path, without_reports, solver):
    """Of noise alone nothing is believed: no flux beyond the noise of the image."""
    ms = make_ms(noise=0.5, times=12, stokes=(0.0, 0.0, 0.0, 0.0))
    with without_reports():
        found = radrim.image(ms, name=tmp_path / "noise", holdout=0.1, solver=solver, **SIZE)
    assert np.abs(found.model).sum() < 3 * found.noise


@pytest.mark.parametrize("solver", ["tv", "pnp"])
def test_solvers_for_extended_emission(make_ms, tmp_path, without_reports, solver):
    """Total variation and plug and play find a Gaussian by themselves."""
    wide = np.radians(25 / 3600)
    ms = make_ms(noise=0.05, times=24, sky=make_sky(2.0, 0.6, 1.0, 1.4e9, shape=(wide, wide, 0.0)))
    with without_reports():
        found = radrim.image(ms, name=tmp_path / "gauss", holdout=0.1, solver=solver, **SIZE)
    middle = slice(44, 84)
    assert found.model[middle, middle].sum() == pytest.approx(1, abs=0.3)
    assert np.abs(found.residual).max() < 8 * found.noise
    assert found.stop
