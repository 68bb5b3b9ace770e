"""Output channels without data are blank planes, and the rest of the cube is as it would be without them."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

import radrim

OPTIONS = {"size": 64, "scale": "4asec", "channels_out": 4, "threads": 1}


def flagged(edit_ms, *channels, **options):
    """A Measurement Set with these of its four channels flagged."""
    return edit_ms(FLAG=lambda flag: flag | np.isin(np.arange(4), channels)[:, None], **options)


@pytest.mark.parametrize("channels", [(1,), (0,), (2, 3)])
def test_cube_with_blank_channels(edit_ms, tmp_path, no_report, channels, caplog):
    """Planes and beams of flagged channels are NaN, the others stay in their places; a warning names the channels."""
    path = flagged(edit_ms, *channels)
    result = radrim.image(path, **OPTIONS, cube=True, niter=20, solver="clean", name=tmp_path / "x")
    for kind in ("dirty", "image", "model", "residual", "psf"):
        with fits.open(tmp_path / f"x-{kind}.fits") as hdus:
            blank = np.isnan(hdus[0].data[0]).all((1, 2))
            assert list(np.flatnonzero(blank)) == list(channels)
            assert np.isfinite(hdus[0].data[0][~blank]).all()
            frequency = WCS(hdus[0].header).sub([3]).pixel_to_world_values(np.arange(4))
            np.testing.assert_allclose(frequency, 1.38e9 + 1e7 * np.arange(4))
            if kind == "dirty":
                np.testing.assert_array_equal(np.isnan(hdus["BEAMS"].data["BMAJ"]), blank)
    assert f"{channels[0]} ({1380 + 10 * channels[0]} to" in caplog.text
    assert "blank (NaN)" in caplog.text
    assert [one.blank for one in result.channels] == list(blank)
    assert np.isfinite(result.image).all()


def test_average_leaves_blank_channels_out(edit_ms, tmp_path, no_report):
    """The image of all channels is that of the same data without the flagged channel."""
    path = flagged(edit_ms, 3)
    with_blank = radrim.image(path, **OPTIONS, niter=0, name=tmp_path / "a")
    without = radrim.image(path, **{**OPTIONS, "channels_out": 3}, chan_range=(0, 3), niter=0, name=tmp_path / "b")
    np.testing.assert_allclose(with_blank.dirty, without.dirty, atol=1e-6)
    assert np.isnan(fits.getdata(tmp_path / "a-0003-dirty.fits")).all()
    assert "BMAJ" not in fits.getheader(tmp_path / "a-0003-dirty.fits")


def test_polarisation_and_spectra(make_ms, edit_ms, tmp_path, no_report):
    """Terms of a spectrum and maps of polarisation come from the channels with data."""
    path = flagged(edit_ms, 0, source=make_ms(correlations=("XX", "XY", "YX", "YY"), stokes=(1.0, 0.3, 0.2, 0.0)))
    options = {**OPTIONS, "pol": "IQU", "cube": True, "niter": 20, "solver": "clean"}
    radrim.image(path, **options, name=tmp_path / "x")
    with fits.open(tmp_path / "x-P-image.fits") as hdus:
        assert np.isnan(hdus[0].data[0, 0]).all()
        assert np.isfinite(hdus[0].data[0, 1:]).all()
        assert np.isfinite(hdus["BEAMS"].data["BMAJ"][1:]).all()
    terms = radrim.image(path, **{**OPTIONS, "niter": 20, "solver": "clean", "spectral_terms": 2}, name=tmp_path / "y")
    assert np.isfinite(terms.image).all()
    assert terms.channels[0].blank


def test_report_of_blank_channels(edit_ms, command, tmp_path):
    """The report shows the channels with data; files and status are as ever."""
    words = ["--size", 64, 64, "--scale", "4asec", "--channels-out", 4, "--niter", 10, "--solver", "clean"]
    done = command("image", flagged(edit_ms, 1), *words, "--name", tmp_path / "x")
    assert done.status == 0, done.err
    assert "Output channel 1 (1390 to 1390 MHz) has no unflagged data" in done.out + done.err
    assert (tmp_path / "x-report.html").exists()


def test_facets_of_blank_channels(edit_ms, tmp_path, no_report):
    """Images in facets have the same blank planes."""
    path = flagged(edit_ms, 1)
    options = {**OPTIONS, "niter": 20, "solver": "clean", "cube": True, "size": 128}
    radrim.image(path, **options, facet=64, name=tmp_path / "x")
    blank = np.isnan(fits.getdata(tmp_path / "x-image.fits")[0]).all((1, 2))
    assert list(np.flatnonzero(blank)) == [1]


def test_a_channel_that_fails_spoils_no_other(make_ms, tmp_path, no_report, monkeypatch):
    """The minor cycle of one output channel fails: its model is empty, the others are as without the failure."""
    from radrim.deconvolve import whole
    from radrim.errors import SolverError

    ms = make_ms(windows=((1.38e9, 4),), noise=0.01)
    options = {"size": 64, "scale": "6asec", "channels_out": 4, "cube": True, "max_major": 2, "solver": "clean"}
    before = radrim.image(ms, name=tmp_path / "before", **options)
    inner = whole.WholeImage.minor_cycles

    def failing(self):
        if self.label == "0002":
            raise SolverError("not a number")
        return inner(self)

    monkeypatch.setattr(whole.WholeImage, "minor_cycles", failing)
    after = radrim.image(ms, name=tmp_path / "after", **options)
    for number, (one, other) in enumerate(zip(before.channels, after.channels, strict=True)):
        if number == 2:
            assert not other.model.any()
            np.testing.assert_array_equal(other.residual, other.dirty)
        else:
            np.testing.assert_array_equal(one.image, other.image)
    assert "Output channel 0002: a minor cycle failed in major cycle 1" in (tmp_path / "after-qa.json").read_text()

    def always(self):
        raise SolverError("not a number")

    monkeypatch.setattr(whole.WholeImage, "minor_cycles", always)
    with pytest.raises(SolverError, match="not a number"):
        radrim.image(ms, name=tmp_path / "none", **options)
