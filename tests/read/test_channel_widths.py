"""Widths of channels that the tables do not give, and the bandwidth of windows with channels of different widths."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

import radrim
from radrim.read import Selection, read


@pytest.fixture
def narrow(make_ms, edit_ms):
    """A window at 1.38 GHz with four channels of 10 MHz, and one at 1.5 GHz with four of 1 MHz."""
    import casacore.tables as ct

    def change(path):
        with ct.table(str(path / "SPECTRAL_WINDOW"), readonly=False, ack=False) as table:
            table.putcell("CHAN_FREQ", 1, 1.5e9 + 1e6 * np.arange(4))
            table.putcell("CHAN_WIDTH", 1, np.full(4, 1e6))
        return path

    return change(edit_ms(source=make_ms(windows=((1.38e9, 4), (1.6e9, 4)))))


@pytest.mark.parametrize("width", [0.0, np.nan, np.inf])
def test_width_from_the_spacing(edit_ms, tmp_path, no_report, width):
    """Channels without a width have that of their spacing, and the header's axis can be inverted."""
    path = edit_ms(subtable="SPECTRAL_WINDOW", CHAN_WIDTH=lambda old: old * 0 + width)
    radrim.image(path, size=64, scale="4asec", chan_range=(1, 2), niter=0, name=tmp_path / "x")
    header = fits.getheader(tmp_path / "x-dirty.fits")
    assert header["CDELT3"] == pytest.approx(10e6)
    assert WCS(header).wcs_pix2world([[0] * 4], 0)[0, 2] == pytest.approx(1.39e9)


def test_width_of_a_single_channel(make_ms, edit_ms):
    """A channel without neighbours has the total bandwidth, and if there is none, a stated width above 0."""
    source = make_ms(windows=((1.38e9, 1),))
    zeros = {"CHAN_WIDTH": lambda old: old * 0, "EFFECTIVE_BW": lambda old: old * 0, "RESOLUTION": lambda old: old * 0}
    found = read([edit_ms(source=source, subtable="SPECTRAL_WINDOW", **zeros)])
    assert found.channel_width == 10e6
    zeros["TOTAL_BANDWIDTH"] = lambda old: old * 0
    found = read([edit_ms(source=source, subtable="SPECTRAL_WINDOW", **zeros)])
    assert found.channel_width > 0
    assert "The channel width of edited.ms is unknown" in found.notes[0]


def test_windows_of_different_widths(narrow, tmp_path, no_report):
    """The band goes from the lower edge of the first to the upper edge of the last channel, for each output channel."""
    options = {"size": 64, "scale": "4asec", "niter": 0}
    whole = radrim.image(narrow, **options, channels_out=2, name=tmp_path / "x")
    assert whole.bandwidth == pytest.approx(1.5035e9 - 1.375e9)
    assert [one.bandwidth for one in whole.channels] == pytest.approx([40e6, 4e6])
    single = radrim.image(narrow, **options, spw="1", chan_range=(0, 1), name=tmp_path / "y")
    assert single.bandwidth == pytest.approx(1e6)
    assert [block.channel_width for block in read([narrow], Selection()).blocks] == [10e6, 1e6]


def test_facets_of_windows_of_different_widths(narrow, tmp_path, no_report):
    """Images in facets have the same band."""
    image = radrim.image(narrow, size=128, scale="4asec", niter=0, facet=64, channels_out=2, name=tmp_path / "x")
    assert [one.bandwidth for one in image.channels] == pytest.approx([40e6, 4e6])
