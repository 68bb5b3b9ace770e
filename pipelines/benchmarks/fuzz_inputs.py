"""The good inputs that `fuzz.py` breaks: a Measurement Set of two windows and two fields, the same as UVFITS, UVH5 and
MIRIAD, an image as mask and model; and those real files that are there."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy.io import fits

from radrim.earth import track_times
from radrim.geometry import ARCSEC, C, ImageGrid
from radrim.ms.pyuvdata_write import quiet
from radrim.ms.tables import open_table, read_subtables
from radrim.simulation import (
    ObservationPlan,
    ObservedField,
    ObservedWindow,
    Receivers,
    make_sky,
    observe,
    read_layout,
    write_ms,
)
from radrim.visibilities import Observation
from radrim.write.fits import image_header, write_fits

RA, DEC = 2.0, 0.6
CORRELATIONS = ("XX", "XY", "YX", "YY")
REAL = {"FITS-IDI": "more/n09q2_1_1-shortened.IDI1", "version 4": "reader/lofar_hba_3c48_msv4.ps"}
"""Inputs of formats that nothing here writes, in the folder of real data."""


def make_inputs(folder, data):
    """Good inputs by name, as paths in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    inputs = {
        "Measurement Set": folder / "obs.ms", "UVFITS": folder / "obs.uvfits", "UVH5": folder / "obs.uvh5",
        "MIRIAD": folder / "obs.miriad", "model": folder / "model.fits",
    }  # fmt: skip
    if not inputs["model"].exists():
        shutil.rmtree(folder)
        folder.mkdir()
        _write_ms(inputs["Measurement Set"])
        _write_uvfits(inputs["Measurement Set"], inputs["UVFITS"])
        _write_by_pyuvdata(inputs)
        _write_model(inputs["model"])
    inputs["mask"] = inputs["start model"] = inputs["model"]
    for name, path in REAL.items():
        if (data / path).exists():
            inputs[name] = data / path
    return inputs


def _write_ms(path):
    """Eight antennas, four integrations, two fields, two windows of three channels, four correlations."""
    vla = read_layout("vla-c")
    few = slice(1, 25, 3)
    layout = replace(vla, stations=vla.stations[few], positions=vla.positions[few], diameters=vla.diameters[few])
    start = track_times(layout, RA, DEC, 0.1, 1.0, 900.0)
    fields = [ObservedField(f"FIELD{k}", RA, DEC + np.radians(k), start + 86400.0 * k) for k in range(2)]
    windows = [ObservedWindow(low + 10e6 * np.arange(3), 10e6, CORRELATIONS) for low in (1.38e9, 1.6e9)]
    plan = ObservationPlan(layout, fields, windows, 900.0, True)
    sky = make_sky(RA, DEC, [(1.0, 0.1, 0.0, 0.0)], 1.4e9)
    write_ms(path, plan, observe(plan, sky, Receivers(noise=0.05, flagged=0.02)))


def _write_uvfits(ms, path):
    """The first field and window, as AIPS Memo 117 has it, with all that pyuvdata asks for."""
    info = read_subtables(ms)
    with open_table(ms) as main:
        part = main.query("DATA_DESC_ID == 0 AND FIELD_ID == 0 AND ANTENNA1 != ANTENNA2")
        row = {name: part.getcol(name) for name in ("UVW", "TIME", "ANTENNA1", "ANTENNA2", "DATA", "WEIGHT", "FLAG")}
    order = [CORRELATIONS.index(name) for name in ("XX", "YY", "XY", "YX")]
    weights = row["WEIGHT"][:, None] * ~row["FLAG"]
    array = np.stack([row["DATA"].real, row["DATA"].imag, weights], -1)[:, None, None, None][..., order, :]
    day = np.floor(row["TIME"].min() / 86400)
    count = len(array)
    columns = {
        **dict(zip(("UU---SIN", "VV---SIN", "WW---SIN"), (row["UVW"] / C).T, strict=True)),
        "BASELINE": 256 * (row["ANTENNA2"] + 1) + row["ANTENNA1"] + 1.0, "DATE": row["TIME"] / 86400 - day,
        "INTTIM": np.full(count, 900.0), "SOURCE": np.ones(count), "FREQSEL": np.ones(count),
    }  # fmt: skip
    groups = fits.GroupsHDU(fits.GroupData(array.astype(">f4"), bitpix=-32, parnames=list(columns),
                                           pardata=list(columns.values())))  # fmt: skip
    window, field = info.windows[0], info.fields[0]
    axes = (("COMPLEX", 1.0, 1.0), ("STOKES", -5.0, -1.0), ("FREQ", window.freq[0], window.width[0]), ("IF", 1.0, 1.0),
            ("RA", np.degrees(field.ra), 1.0), ("DEC", np.degrees(field.dec), 1.0))  # fmt: skip
    for k, (kind, value, step) in enumerate(axes, 2):
        groups.header.update({f"CTYPE{k}": kind, f"CRVAL{k}": value, f"CDELT{k}": step, f"CRPIX{k}": 1.0})
    groups.header.update({"OBJECT": field.name, "TELESCOP": info.telescope, "INSTRUME": "VLA", "EPOCH": 2000.0,
                          "DATE-OBS": "2026-01-01", "BUNIT": "JY"})  # fmt: skip
    number = len(info.antennas)
    zeros = np.zeros(number)

    def table(name, columns, **keys):
        made = fits.BinTableHDU.from_columns(
            [fits.Column(n, form, array=v) for n, (form, v) in columns.items()], name=name
        )
        made.header.update(keys)
        return made

    antennas = table("AIPS AN", {
        "ANNAME": ("8A", info.antennas), "STABXYZ": ("3D", info.positions), "NOSTA": ("1J", np.arange(number) + 1),
        "MNTSTA": ("1J", zeros), "STAXOF": ("1E", zeros), "DIAMETER": ("1E", info.dish_diameters),
        "POLTYA": ("1A", ["X"] * number), "POLAA": ("1E", zeros), "POLTYB": ("1A", ["Y"] * number),
        "POLAB": ("1E", zeros),
    }, ARRAYX=0.0, ARRAYY=0.0, ARRAYZ=0.0, UT1UTC=0.0, DATUTC=0.0, GSTIA0=0.0, DEGPDY=360.98, RDATE="2026-01-01",
        TIMSYS="UTC", FRAME="ITRF", ARRNAM="VLA", FREQ=window.freq[0])  # fmt: skip
    frequencies = table("AIPS FQ", {
        "FRQSEL": ("1J", [1]), "IF FREQ": ("1D", [0.0]), "CH WIDTH": ("1E", [window.width[0]]),
        "TOTAL BANDWIDTH": ("1E", [window.width.sum()]), "SIDEBAND": ("1J", [1]),
    }, NO_IF=1)  # fmt: skip
    sources = table("AIPS SU", {
        "ID. NO.": ("1J", [1]), "SOURCE": ("16A", [field.name]), "RAEPO": ("1D", [np.degrees(field.ra)]),
        "DECEPO": ("1D", [np.degrees(field.dec)]), "EPOCH": ("1D", [2000.0]),
    })  # fmt: skip
    fits.HDUList([groups, antennas, frequencies, sources]).writeto(path)
    fits.setval(path, "PZERO5", value=2400000.5 + day)


def _write_by_pyuvdata(inputs):
    """UVH5 and MIRIAD, from the UVFITS file."""
    from pyuvdata import UVData

    with quiet():
        data = UVData.from_file(str(inputs["UVFITS"]), file_type="uvfits", run_check=False)
        data.vis_units, data.telescope.instrument = "Jy", "VLA"
        data.write_uvh5(str(inputs["UVH5"]), run_check=False)
        data.write_miriad(str(inputs["MIRIAD"]), run_check=False)


def _write_model(path):
    """A point in the middle, as model, start model and mask."""
    grid = ImageGrid(64, 64, 4 * ARCSEC, RA, DEC)
    image = np.zeros(grid.shape, np.float32)
    image[32, 32] = 1
    write_fits(Path(path), image, image_header(grid, 1.4e9, 1e7, Observation([], RA, DEC), "I", "Jy/pixel"))
