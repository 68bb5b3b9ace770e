"""Writes Measurement Sets with pyuvdata, and corrects what it does not write as the Measurement Set is defined."""

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radrim.ms.tables import FREQ_FRAMES, open_table
from radrim.runtime.files import writing

if TYPE_CHECKING:
    import casacore.tables as casatables
    from pyuvdata import UVData


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress warnings of pyuvdata, and its downloads of tables of Earth rotation and of observatories."""
    from astropy.coordinates import EarthLocation
    from astropy.coordinates.sites import SiteRegistry
    from astropy.utils import iers

    offline = {"auto_download": False, "auto_max_age": None, "iers_degraded_accuracy": "ignore"}
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(np.errstate(all="ignore"))
        for name, value in offline.items():
            stack.enter_context(iers.conf.set_temp(name, value))
        # Where a file leaves out its place, pyuvdata asks astropy's list of observatories, which is on the network.
        known, place = EarthLocation._site_registry, SiteRegistry()  # noqa: SLF001 - no public way
        place.add_site(["greenwich"], EarthLocation.from_geodetic(0, 51.4778))
        EarthLocation._site_registry = known or place  # noqa: SLF001
        try:
            yield
        finally:
            EarthLocation._site_registry = known  # noqa: SLF001


def write(data: "UVData", path: Path, out: str | Path, spectral_frame: str, step: int) -> None:
    """Write a new Measurement Set.

    Parameters
    ----------
    data : UVData
        Antenna numbers must be rows of its table of antennas, from 0.
    path : Path
    out : str or Path
        Name for messages.
    spectral_frame : str
        Frame of the frequencies by its FITS name (SPECSYS); others count as topocentric.
    step : int
        Rows that are in memory at a time when a column is corrected.

    Raises
    ------
    OutputError
        The disk is full.
    """
    stokes = _name_stokes_as_correlations(data)
    with writing(out):
        data.write_ms(str(path), run_check=False)
        _mend_tables(path, spectral_frame, stokes, step)


def _name_stokes_as_correlations(data: "UVData") -> bool:
    """Give Stokes parameters the numbers of RR, RL, LR and LL, because pyuvdata writes correlations only.

    Returns
    -------
    bool
        Whether the data are Stokes parameters.
    """
    if data.polarization_array.min() < 0:
        return False
    data.conjugate_bls("ant1<ant2")  # pyuvdata would do so when it writes, and exchange RL and LR
    data.polarization_array = np.array([0, -1, -3, -4, -2])[data.polarization_array]
    return True


def _mend_tables(path: Path, spectral_frame: str, stokes: bool, step: int) -> None:
    """Correct columns that pyuvdata writes differently from the definition of the Measurement Set."""
    with editable(path) as table:
        for start in range(0, table.nrows(), step):
            count = min(step, table.nrows() - start)
            weight = np.median(table.getcol("WEIGHT_SPECTRUM", start, count), axis=1).astype(np.float32)
            table.putcol("WEIGHT", weight, start, count)
            size = np.abs(weight)
            usable = np.isfinite(size) & (size > 0)
            sigma = np.where(usable, 1 / np.sqrt(np.where(usable, size, 1)), 0)
            table.putcol("SIGMA", sigma.astype(np.float32), start, count)
    frame = spectral_frame.strip().upper()
    with editable(f"{path}::SPECTRAL_WINDOW") as table:
        table.putcol("REF_FREQUENCY", np.array([table.getcell("CHAN_FREQ", k)[0] for k in range(table.nrows())]))
        if frame in FREQ_FRAMES:
            table.putcol("MEAS_FREQ_REF", np.full(table.nrows(), FREQ_FRAMES.index(frame), np.int32))
    if stokes:
        with editable(f"{path}::POLARIZATION") as table:
            # Correlations have the numbers 5 to 8, and Stokes parameters 1 to 4.
            table.putcol("CORR_TYPE", table.getcol("CORR_TYPE") - 4)
    with editable(f"{path}::ANTENNA") as table:
        table.putcol("MOUNT", [str(mount).upper() for mount in table.getcol("MOUNT")])
        table.putcol("TYPE", ["GROUND-BASED"] * table.nrows())


def append(more: Path, whole: Path, step: int, first: int = 0) -> None:
    """Move the rows of one Measurement Set to the end of another with the same subtables.

    Parameters
    ----------
    more, whole : Path
    step : int
        Rows that are in memory at a time.
    first : int
        Data description of `whole` that stands for the first one of `more`, as `append_windows` gives it.
    """
    with editable(whole) as table, open_table(more) as rows:
        before = table.nrows()
        later = {"SCAN_NUMBER": table.getcol("SCAN_NUMBER").max(), "DATA_DESC_ID": first}
        table.addrows(rows.nrows())
        # Column by column: casacore's own copying of rows takes several times as long.
        for name in rows.colnames():
            for start in range(0, rows.nrows() if rows.iscelldefined(name, 0) else 0, step):
                count = min(step, rows.nrows() - start)
                values = rows.getcol(name, start, count)
                table.putcol(name, values + later[name] if name in later else values, before + start, count)
    from casacore.tables import tabledelete

    tabledelete(str(more), ack=False)


def append_windows(more: Path, whole: Path) -> int:
    """Copy the spectral windows of one Measurement Set, with their data descriptions, to another.

    Returns
    -------
    int
        The data description in `whole` of the first window.
    """
    firsts = {}
    for name in ("SPECTRAL_WINDOW", "DATA_DESCRIPTION"):
        with editable(f"{whole}::{name}") as table, open_table(f"{more}::{name}") as rows:
            firsts[name] = table.nrows()
            rows.copyrows(table)
            if name == "DATA_DESCRIPTION":
                later = rows.getcol("SPECTRAL_WINDOW_ID") + firsts["SPECTRAL_WINDOW"]
                table.putcol("SPECTRAL_WINDOW_ID", later, firsts[name], rows.nrows())
    return firsts["DATA_DESCRIPTION"]


@contextmanager
def editable(path: str | Path) -> Iterator["casatables.table"]:
    """A casacore table, opened for writing; closed at the end of the block."""
    from casacore.tables import table

    opened = table(str(path), readonly=False, ack=False)
    try:
        yield opened
    finally:
        opened.close()
