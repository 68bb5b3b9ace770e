"""Random faults of input files: Measurement Sets, FITS files, HDF5 files, folders of files.

Each mutation is a function ``(rng, path) -> str`` that changes the file or folder at `path`, drawn from the
`numpy.random.Generator`, and says in words what it did. `KINDS` lists them with the input that they are for.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits

NUMBERS = {
    "NaN": lambda x, _: x * np.nan,
    "infinity": lambda x, _: x * 0 + np.inf,
    "zero": lambda x, _: x * 0,
    "the negative": lambda x, _: -x,
    "1e30 times": lambda x, _: x * 1e30,
    "1e-30 times": lambda x, _: x * 1e-30,
    "1000 times": lambda x, _: x * 1000,
    "all the same": lambda x, _: x * 0 + x.flat[0],
    "shuffled": lambda x, rng: rng.permutation(x.ravel()).reshape(x.shape),
    "random": lambda x, rng: rng.standard_normal(x.shape),
}
WHOLE_NUMBERS = {
    "-1": lambda x, _: x * 0 - 1,
    "1000 more": lambda x, _: x + 1000,
    "zero": lambda x, _: x * 0,
    "the largest": lambda x, _: x * 0 + np.iinfo(np.int32).max,
    "the smallest": lambda x, _: x * 0 + np.iinfo(np.int32).min,
    "shuffled": lambda x, rng: rng.permutation(x.ravel()).reshape(x.shape),
    "random": lambda x, rng: rng.integers(-5, 60, x.shape),
}
TEXTS = ("", " ", "é\u2603", "a" * 300, "0", "NaN", "../../..", "%s\n{}", "ITRF", "-")
CARDS = ("'x'", "''", "", "T", "-1", "0", "1", "7", "1e30", "-1e-30", "NaN", "0,5", "(1.0, 2.0)", "99999999999",
         "'1 MHz'", "'unclosed", "2000.0", "'RA---TAN'", "'FREQ'", "1.4 GHz", "5")  # fmt: skip
KEYWORDS = (
    None,
    "",
    "x",
    0,
    -1,
    1e300,
    [],
    [1, 2, 3],
    {"a": 1},
    "Table: /nowhere/at/all",
    "Table: ",
    "????OBSERVATION",
)
TREES = (None, "", "x", 0, -1, 1e300, [], {}, [1, 2, 3], True, "NaN", {"data": None})
ZARR = ("zarr.json", ".zattrs", ".zarray", ".zgroup", ".zmetadata")
"""Files of metadata of zarr, in JSON."""


class Kind(NamedTuple):
    """A kind of mutation, the input that it is for, and how often it is drawn."""

    input: str
    name: str
    change: Callable[[np.random.Generator, Path], str]
    weight: int = 1


def pick(rng, things):
    """One of several things."""
    things = list(things)
    return things[int(rng.integers(len(things)))]


def altered(rng, values):
    """Other values in place of an array; (values, what was done)."""
    values = np.asarray(values)
    if values.dtype.kind in "fc":
        name = pick(rng, NUMBERS)
        with np.errstate(all="ignore"):
            return NUMBERS[name](values, rng).astype(values.dtype), name
    if values.dtype.kind in "iu":
        name = pick(rng, WHOLE_NUMBERS)
        return WHOLE_NUMBERS[name](values.astype(np.int64), rng).astype(values.dtype), name
    if values.dtype.kind == "b":
        name = pick(rng, ("true", "false", "the opposite", "random"))
        return {"true": values | True, "false": values & False, "the opposite": ~values,
                "random": rng.random(values.shape) < 0.5}[name], name  # fmt: skip
    text = pick(rng, TEXTS)
    return np.full(values.shape, text), repr(text)


# Measurement Sets


def _table(path):
    import casacore.tables as casatables

    return casatables.table(str(path), readonly=False, ack=False)


def _pick_table(rng, path):
    """The main table, as often as not, or a subtable."""
    return path if rng.random() < 0.5 else pick(rng, sorted(entry.parent for entry in path.glob("*/table.dat")))


def _pick_column(rng, path, needs=lambda _table, _name: True):
    """(table, name of a column that has values in its first row), of a random table."""
    for _ in range(100):
        folder = _pick_table(rng, path)
        table = _table(folder)
        if table.nrows() and table.colnames():
            name = pick(rng, sorted(table.colnames()))
            if table.iscelldefined(name, 0) and needs(table, name):
                return table, name, f"{folder.name}:{name}"
        table.close()
    raise RuntimeError("no column has values")


def _pick_rows(rng, number):
    """All rows, half of them, or one."""
    how = pick(rng, ("all rows", "half of the rows", "one row"))
    return how, {"all rows": np.arange(number), "half of the rows": np.arange(0, number, 2),
                 "one row": rng.integers(number, size=1)}[how]  # fmt: skip


def column_values(rng, path):
    """Values of a column that make no sense."""
    table, name, where = _pick_column(rng, path)
    with table:
        how, rows = _pick_rows(rng, table.nrows())
        state = rng.bit_generator.state
        for row in rows:
            rng.bit_generator.state = state  # the same change in all rows
            value = table.getcell(name, int(row))
            if isinstance(value, dict):
                value = np.array(value["array"]).reshape(value["shape"])
            new, what = altered(rng, value)
            table.putcell(name, int(row), new.tolist() if new.dtype.kind == "U" or not np.ndim(value) else new)
    return f"{where} is {what} in {how}"


def main_values(rng, path):
    """The same for the whole of a column of the main table, of which values of different rows can be mixed up."""
    names = ("TIME", "UVW", "ANTENNA1", "ANTENNA2", "DATA_DESC_ID", "FIELD_ID", "FLAG", "FLAG_ROW", "WEIGHT", "SIGMA",
             "DATA", "EXPOSURE", "INTERVAL", "SCAN_NUMBER", "FEED1", "OBSERVATION_ID")  # fmt: skip
    with _table(path) as table:
        name = pick(rng, names)
        values = table.getcol(name)
        new, what = altered(rng, values)
        table.putcol(name, new)
    return f"{name} is {what}"


def column_dropped(rng, path):
    """A table without one of its columns."""
    with _table(_pick_table(rng, path)) as table:
        name = pick(rng, sorted(table.colnames()))
        _remove_column(table, name)
        return f"{Path(table.name()).name} without {name}"


def _remove_column(table, name):
    """Some storage managers cannot remove a column; with another name it is missing as well."""
    try:
        table.removecols(name)
    except RuntimeError:
        table.renamecol(name, f"OTHER_{name}")


def _replace_column(table, name, values, kind, dimensions=None, fixed=()):
    """Drop a column and make it anew with other values: a list with None for rows without one."""
    import casacore.tables as casatables

    _remove_column(table, name)
    if dimensions:
        more = {"shape": list(fixed), "options": 5} if fixed else {}
        about = casatables.makearrcoldesc(name, None, ndim=dimensions, valuetype=kind, **more)
    else:
        about = casatables.makescacoldesc(name, None, valuetype=kind)
    table.addcols(casatables.maketabdesc(about))
    for row, value in enumerate(values):
        if value is not None:
            table.putcell(name, row, value)


def _cells(table, name):
    """Values of a column, row by row; None where there is none."""
    return [table.getcell(name, row) if table.iscelldefined(name, row) else None for row in range(table.nrows())]


def column_shape(rng, path):
    """A column whose cells have another shape."""

    def is_array(table, name):
        return isinstance(table.getcell(name, 0), np.ndarray)

    table, name, where = _pick_column(rng, path, is_array)
    with table:
        kind, cells = table.coldatatype(name), _cells(table, name)
        what = pick(rng, ("one dimension less", "one dimension more", "turned", "one more", "one less", "of length 0",
                          "different in one row"))  # fmt: skip
        shape = {
            "one dimension less": lambda x: x.reshape(-1) if x.ndim > 1 else x[:1],
            "one dimension more": lambda x: x[None],
            "turned": lambda x: x.T,
            "one more": lambda x: np.concatenate([x, x[-1:]]),
            "one less": lambda x: x[:-1] if len(x) > 1 else x[:0],
            "of length 0": lambda x: x[..., :0],
            "different in one row": lambda x: x,
        }[what]
        cells = [None if cell is None else shape(np.asarray(cell)) for cell in cells]
        if what == "different in one row":
            cells[-1] = np.concatenate([cells[-1]] * 2)
        _replace_column(table, name, cells, kind, dimensions=cells[0].ndim or 1)
    return f"{where} is {what}"


def column_type(rng, path):
    """A column of another type, or of single values in place of arrays."""
    table, name, where = _pick_column(rng, path)
    with table:
        old, count = table.coldatatype(name), table.nrows()
        kind = pick(rng, [k for k in ("int", "double", "float", "string", "boolean", "complex", "short") if k != old])
        cell = np.asarray(table.getcell(name, 0))
        value = {"string": "x", "boolean": True}.get(kind, 1)
        if cell.ndim and rng.random() < 0.7:
            array = np.full(cell.shape, value)
            values = [array.tolist() if kind == "string" else array] * count
            _replace_column(table, name, values, kind, cell.ndim)
        else:
            _replace_column(table, name, [value] * count, kind)
    return f"{where} is of type {kind}"


def cells_without_value(rng, path):
    """A column without values in some rows."""
    table, name, where = _pick_column(rng, path, lambda table, name: isinstance(table.getcell(name, 0), np.ndarray))
    with table:
        kind, cells = table.coldatatype(name), _cells(table, name)
        how, rows = _pick_rows(rng, table.nrows())
        dimensions = np.ndim(cells[0])
        for row in rows:
            cells[int(row)] = None
        _replace_column(table, name, cells, kind, dimensions)
    return f"{where} without values in {how}"


def column_added(rng, path):
    """One of the columns that other programs add, with some shape and values."""
    import casacore.tables as casatables

    name = pick(
        rng, ("WEIGHT_SPECTRUM", "SIGMA_SPECTRUM", "CORRECTED_DATA", "MODEL_DATA", "FLOAT_DATA", "IMAGING_WEIGHT")
    )
    with _table(path) as table:
        count, (chans, pols) = table.nrows(), table.getcell("DATA", 0).shape
        shape = pick(rng, ((chans, pols), (4, 4), (chans, 1), (pols, chans), (1, 1), (chans,), (0, 0)))
        kind = pick(rng, ("complex", "float", "dcomplex", "double", "int"))
        fixed = rng.random() < 0.5
        more = {"shape": list(shape), "options": 5} if fixed and 0 not in shape else {}
        table.addcols(
            casatables.maketabdesc(casatables.makearrcoldesc(name, None, ndim=len(shape), valuetype=kind, **more))
        )
        how, rows = _pick_rows(rng, count)
        fill = pick(rng, (0, 1, -1, np.nan, 1e30))
        if kind == "int":
            fill = int(np.nan_to_num(fill, nan=2)) % 2**31
        for row in rows:
            table.putcell(name, int(row), np.full(shape, fill))
    return f"{name} of shape {shape}, type {kind}, {'fixed' if more else 'free'}, {fill} in {how}"


def keyword(rng, path):
    """A keyword of a table or column that is missing or nonsense."""
    folder = path if rng.random() < 0.6 else _pick_table(rng, path)
    with _table(folder) as table:
        column = pick(rng, ["", *sorted(table.colnames())]) if rng.random() < 0.4 else ""
        names = sorted(table.colkeywordnames(column) if column else table.keywordnames())
        where = f"{folder.name}{':' if column else ''}{column}"
        if not names or rng.random() < 0.1:
            names = [pick(rng, ("MEASINFO", "QuantumUnits", "MS_VERSION", "SOURCE", "RADRIM_NOTES"))]
        name = pick(rng, names)
        there = name in (table.colkeywordnames(column) if column else table.keywordnames())
        remove = (lambda: table.removecolkeyword(column, name)) if column else (lambda: table.removekeyword(name))
        put = (lambda v: table.putcolkeyword(column, name, v)) if column else (lambda v: table.putkeyword(name, v))
        if there:
            remove()
        value = pick(rng, KEYWORDS)
        if value is None:
            return f"{where} without the keyword {name}"
        put(value)
        return f"{where}: keyword {name} = {value!r}"


def rows(rng, path):
    """Rows that are missing, empty, twice or in another order."""
    folder = _pick_table(rng, path)
    with _table(folder) as table:
        count = table.nrows()
        what = pick(rng, ("no rows", "the first row is missing", "the last row is missing", "empty rows", "rows twice",
                          "10,000 empty rows", "all but one row is missing"))  # fmt: skip
        left = {"no rows": [], "the first row is missing": np.arange(1, count), "all but one row is missing": [0],
                "the last row is missing": np.arange(count - 1)}  # fmt: skip
        if what in left and count:
            # Not `removerows`, which tiled columns do not support.
            table.selectrows(left[what]).copy(str(path.parent / "fewer"), deep=True).close()
        elif what == "empty rows":
            table.addrows(2)
        elif what == "10,000 empty rows":
            table.addrows(10_000)
        elif what == "rows twice":
            table.copyrows(table, 0, count, count)
    if (path.parent / "fewer").exists():
        shutil.rmtree(folder)
        (path.parent / "fewer").rename(folder)
    return f"{folder.name}: {what}"


def flags_and_weights(rng, path):
    """Some antenna, correlation, channel, field, window or time is flagged or has odd weights."""
    with _table(path) as table:
        flag, weight = table.getcol("FLAG"), table.getcol("WEIGHT")
        which = pick(
            rng, ("ANTENNA1", "FIELD_ID", "DATA_DESC_ID", "TIME", "correlation", "channel", "all", "all but one")
        )
        chosen = np.zeros(flag.shape, bool)
        if which == "correlation":
            chosen[..., rng.integers(flag.shape[2])] = True
        elif which == "channel":
            chosen[:, rng.integers(flag.shape[1])] = True
        elif which.startswith("all"):
            chosen[:] = True
            if which == "all but one":
                chosen[rng.integers(len(flag)), 0] = False
        else:
            column = table.getcol(which)
            chosen[column == pick(rng, np.unique(column))] = True
        if rng.random() < 0.5:
            table.putcol("FLAG", flag | chosen)
            return f"{which} flagged"
        value = pick(rng, (0.0, -1.0, np.nan, np.inf, 1e30, 1e-30))
        table.putcol("WEIGHT", np.where(chosen.any(1), np.float32(value), weight))
        return f"weight {value} for {which}"


def virtual_table(rng, path):
    """A selection of rows or a concatenation in place of the table, of which parts may be missing."""
    import casacore.tables as casatables

    parts = path.parent / "parts"
    parts.mkdir()
    whole = parts / "whole.ms"
    path.rename(whole)
    if rng.random() < 0.5:
        expression = pick(rng, ("ANTENNA1 < 4", "ANTENNA1 < 0", "FIELD_ID == 1", "TIME > 0", "rownumber() < 2"))
        with casatables.table(str(whole), ack=False) as table:
            table.query(expression, name=str(path)).close()
        what = f"selection of rows by {expression}"
    else:
        shutil.copytree(whole, parts / "other.ms")
        casatables.msconcat([str(whole), str(parts / "other.ms")], str(path))
        what = "concatenation"
    missing = pick(rng, ("", "", "whole.ms", "whole.ms/FIELD", "whole.ms/table.dat", "whole.ms/ANTENNA/table.dat"))
    if missing:
        gone = parts / missing
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
        what += f", without {missing}"
    return what


# Files of any format


def file(rng, path):
    """One file is cut off, overwritten, missing, not readable, a link to nowhere, or a folder."""
    inside = path.is_dir()
    files = sorted(entry for entry in path.rglob("*") if entry.is_file()) if inside else [path]
    large = [one for one in files if one.name.startswith(("table.dat", "table.f0"))]
    one = pick(rng, large if large and rng.random() < 0.5 else files)
    what = pick(rng, FILE_FAULTS)
    data = one.read_bytes()
    mode = one.stat().st_mode
    os.chmod(one, 0o600)
    FILE_FAULTS[what](rng, one, data)
    if one.is_file() and not one.is_symlink() and what != "not readable":
        os.chmod(one, mode)
    return f"{one.relative_to(path) if inside else 'the file'} is {what}"


def _overwritten(rng, path, data):
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 30))):
        changed[int(rng.integers(len(data) or 1)) : 1] = b""
        if changed:
            changed[int(rng.integers(len(changed)))] = int(rng.integers(256))
    path.write_bytes(bytes(changed))


def _start_overwritten(rng, path, data):
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 8))):
        if changed:
            changed[int(rng.integers(min(len(changed), 400)))] = int(rng.integers(256))
    path.write_bytes(bytes(changed))


def _link(_rng, path, _data, to="nowhere"):
    path.unlink()
    path.symlink_to(to)


def _folder(_rng, path, _data):
    path.unlink()
    path.mkdir()


FILE_FAULTS = {
    "cut off": lambda rng, path, data: path.write_bytes(data[: int(rng.integers(len(data) or 1))]),
    "empty": lambda _rng, path, _data: path.write_bytes(b""),
    "missing": lambda _rng, path, _data: path.unlink(),
    "not readable": lambda _rng, path, _data: os.chmod(path, 0),
    "random bytes": lambda rng, path, data: path.write_bytes(rng.bytes(len(data))),
    "changed in some bytes": _overwritten,
    "changed in some bytes at its start": _start_overwritten,
    "of the other byte order": lambda _rng, path, data: path.write_bytes(
        np.frombuffer(data[: len(data) // 4 * 4], "<i4").byteswap().tobytes()
    ),
    "zeros": lambda _rng, path, data: path.write_bytes(bytes(len(data))),
    "followed by other bytes": lambda rng, path, data: path.write_bytes(data + rng.bytes(5000)),
    "twice in itself": lambda _rng, path, data: path.write_bytes(data * 2),
    "a link to nowhere": _link,
    "a link to itself": lambda rng, path, data: _link(rng, path, data, path.name),
    "a folder": _folder,
    "a text": lambda _rng, path, _data: path.write_text("not what you expect\n"),
}


# FITS


def _headers(data):
    """Places of all cards of all headers in the bytes of a FITS file."""
    places, here = [], True
    for block in range(0, len(data) - 2879, 2880):
        if not here and data[block : block + 9] == b"XTENSION=":
            here = True
        if here:
            for place in range(block, block + 2880, 80):
                card = data[place : place + 80]
                if card.startswith(b"END "):
                    here = False
                    break
                if card.strip():
                    places.append(place)
    return places


def fits_card(rng, path):
    """A card of a header with another value."""
    data = path.read_bytes()
    place = pick(rng, [p for p in _headers(data) if data[p + 8 : p + 10] == b"= "])
    name, value = data[place : place + 8], pick(rng, CARDS)
    card = (name + b"= " + value.rjust(20).encode()).ljust(80)[:80]
    path.write_bytes(data[:place] + card + data[place + 80 :])
    return f"{name.decode().strip()} = {value}"


def fits_card_lost(rng, path):
    """A header without one card, or with one twice."""
    data = path.read_bytes()
    places = _headers(data)
    place = pick(rng, places)
    name = data[place : place + 8].decode("latin-1").strip()
    if rng.random() < 0.7:
        path.write_bytes(data[:place] + b" " * 80 + data[place + 80 :])
        return f"without the card {name}"
    other = pick(rng, places)
    path.write_bytes(data[:other] + data[place : place + 80] + data[other + 80 :])
    return f"card {name} in place of {data[other : other + 8].decode('latin-1').strip()}"


def fits_pixels(rng, path):
    """Other pixels or visibilities."""
    with fits.open(path, memmap=False) as hdus:
        values = hdus[0].data["DATA"] if isinstance(hdus[0], fits.GroupsHDU) else hdus[0].data
        new, what = altered(rng, values)
        part = pick(rng, (..., slice(0, None, 2), slice(0, 1)))
        values[part] = new[part]
        hdus.writeto(path, overwrite=True, output_verify="ignore")
    return f"pixels {what} in {part}"


def fits_shape(rng, path):
    """An image of another number of axes, length or type."""
    with fits.open(path, memmap=False) as hdus:
        image, header = hdus[0].data, hdus[0].header
        what = pick(
            rng, ("one axis", "two axes", "five axes", "two planes", "one pixel", "integers", "bytes", "narrow")
        )
        new = {
            "one axis": lambda x: x.ravel(), "two axes": np.squeeze, "five axes": lambda x: x[None],
            "two planes": lambda x: np.concatenate([x, x], 1), "one pixel": lambda x: x[..., :1, :1],
            "integers": lambda x: x.astype(np.int16), "bytes": lambda x: (x > 0).astype(np.uint8),
            "narrow": lambda x: x[..., :3],
        }[what](image)  # fmt: skip
        fits.writeto(path, new, header, overwrite=True, output_verify="ignore")
    return f"image of {what}"


def fits_parameters(rng, path):
    """Random parameters of UVFITS with other values."""
    with fits.open(path, memmap=False) as hdus:
        groups = hdus[0].data
        number = int(rng.integers(len(groups.parnames)))
        values = groups.field(number)
        new, what = altered(rng, values)
        how, chosen = _pick_rows(rng, len(values))
        values[chosen] = new[chosen]
        hdus.writeto(path, overwrite=True, output_verify="ignore")
    return f"parameter {groups.parnames[number]} is {what} in {how}"


def fits_table(rng, path):
    """A table with other values in a column, without one, or with one of another type."""
    with fits.open(path, memmap=False) as hdus:
        place = pick(rng, [k for k, hdu in enumerate(hdus) if isinstance(hdu, fits.BinTableHDU)])
        table = hdus[place]
        name = pick(rng, table.columns.names)
        what = pick(rng, ("values", "values", "dropped", "type", "rows", "renamed"))
        if what == "values":
            new, what = altered(rng, table.data[name])
            if table.data[name].size:
                table.data[name] = new if new.dtype.kind != "U" else [text.encode("ascii", "ignore") for text in new]
        elif what == "dropped" and len(table.columns) > 1:
            table.columns.del_col(name)
        elif what == "rows":
            hdus[place] = fits.BinTableHDU(table.data[: int(rng.integers(2))], table.header)
        elif what == "renamed":
            table.columns.change_name(name, "OTHER")
        else:
            others = [
                c if c.name != name else fits.Column(name, pick(rng, ("3A", "1L", "2D", "0E", "1C")))
                for c in table.columns
            ]
            hdus[place] = fits.BinTableHDU.from_columns(others, table.header, nrows=len(table.data))
        hdus.writeto(path, overwrite=True, output_verify="ignore")
    return f"{table.name}: {name} {what}"


def fits_extensions(rng, path):
    """Extensions that are missing, twice, or in another order."""
    with fits.open(path, memmap=False) as hdus:
        what = pick(rng, ("missing", "twice", "reversed", "only the first", "renamed"))
        parts = [hdu.copy() for hdu in hdus]
        place = int(rng.integers(len(parts)))
        if what == "missing":
            parts = [fits.PrimaryHDU(), *parts[1:]] if place == 0 else parts[:place] + parts[place + 1 :]
        elif what == "twice" and place:
            parts.append(parts[place].copy())
        elif what == "reversed":
            parts = [parts[0], *parts[:0:-1]]
        elif what == "only the first":
            parts = parts[:1]
        elif place:
            parts[place].header["EXTNAME"] = "OTHER"
        fits.HDUList(parts).writeto(path, overwrite=True, output_verify="ignore")
    return f"extension {place} {what}"


# HDF5 and JSON


def hdf5(rng, path):
    """A dataset of an HDF5 file with other values, another shape or type, or missing."""
    import h5py

    with h5py.File(path, "r+") as file:
        names = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        name = pick(rng, sorted(names))
        values, what = file[name][()], pick(rng, ("values", "values", "missing", "type", "shape"))
        del file[name]
        if what == "missing":
            return f"{name} is missing"
        if what == "type":
            file[name] = pick(rng, (b"x", 3.5, np.zeros(3), -1))
        elif what == "shape" and np.ndim(values):
            file[name] = values[:-1]
        elif isinstance(values, bytes) or np.asarray(values).dtype.kind not in "fciub":
            file[name] = pick(rng, TEXTS)
        else:
            new, what = altered(rng, np.atleast_1d(values))
            file[name] = new if np.ndim(values) else new[0]
        return f"{name} {what}"


def json_value(rng, path):
    """A value in one of the JSON files of a folder that is missing or nonsense."""
    one = pick(rng, sorted(entry for entry in path.rglob("*") if entry.name in ZARR))
    tree = json.loads(one.read_text())
    node, way = tree, []
    while isinstance(node, dict | list) and len(node):
        key = pick(rng, sorted(node) if isinstance(node, dict) else range(len(node)))
        way.append(key)
        if not isinstance(node[key], dict | list) or rng.random() < 0.3:
            break
        node = node[key]
    else:
        return "nothing"
    if isinstance(node, dict) and rng.random() < 0.3:
        del node[way[-1]]
        what = "is missing"
    else:
        node[way[-1]] = pick(rng, TREES)
        what = f"= {node[way[-1]]!r}"
    one.write_text(json.dumps(tree))
    return f"{one.relative_to(path)}: {'.'.join(map(str, way))} {what}"


OF_TABLES = (
    ("values of a column", column_values, 3),
    ("values of a column of the main table", main_values, 3),
    ("column missing", column_dropped, 1),
    ("column of another shape", column_shape, 2),
    ("column of another type", column_type, 2),
    ("cells without value", cells_without_value, 1),
    ("column added", column_added, 2),
    ("keyword", keyword, 2),
    ("rows", rows, 2),
    ("flags and weights", flags_and_weights, 1),
    ("virtual table", virtual_table, 1),
    ("file", file, 4),
)
OF_IMAGES = (
    ("card", fits_card, 3),
    ("card missing", fits_card_lost, 1),
    ("pixels", fits_pixels, 1),
    ("shape", fits_shape, 1),
    ("file", file, 1),
)
OF_UVFITS = (
    ("card", fits_card, 4),
    ("card missing", fits_card_lost, 2),
    ("visibilities", fits_pixels, 1),
    ("parameters", fits_parameters, 2),
    ("table", fits_table, 3),
    ("extensions", fits_extensions, 1),
    ("file", file, 2),
)
OF_IDI = (
    ("card", fits_card, 1),
    ("card missing", fits_card_lost, 1),
    ("table", fits_table, 1),
    ("extensions", fits_extensions, 1),
    ("file", file, 1),
)

KINDS = [
    Kind(what, name, change, weight)
    for what, kinds in (
        ("Measurement Set", OF_TABLES),
        ("mask", OF_IMAGES),
        ("model", OF_IMAGES),
        ("start model", OF_IMAGES),
        ("UVFITS", OF_UVFITS),
        ("FITS-IDI", OF_IDI),
        ("UVH5", (("dataset", hdf5, 4), ("file", file, 1))),
        ("MIRIAD", (("file", file, 2),)),
        ("version 4", (("metadata", json_value, 1), ("file", file, 1))),
    )
    for name, change, weight in kinds
]
