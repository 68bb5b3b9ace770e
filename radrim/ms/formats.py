"""Tells the format of an input from its content, and converts it to a Measurement Set.

Modules that convert are imported when a file of their format is met: pyuvdata and zarr take long to import.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from radrim.errors import ConfigError, InputError
from radrim.ms.fitsidi import is_fits_idi
from radrim.ms.msv4 import is_msv4
from radrim.ms.recognition import (
    PACKED_SUFFIXES,
    check_known,
    has_random_groups,
    is_other_table,
    is_packed,
    packed_format,
    pyuvdata_format,
    unpacked,
)
from radrim.ms.uvfits import is_fits

SUFFIXES = (".ms", ".uvfits", ".uvf", ".uvp", ".uvh5", ".ps")
"""Suffixes of observations, in lower case, which are no part of their names."""


def format_of(path: str | Path) -> str:
    """Format of an input: 'UVFITS', 'FITS-IDI', 'MSv4', 'UVH5', 'MIRIAD', 'SMA MIR', 'compressed', or '' for others.

    Any FITS file that is not FITS-IDI counts as UVFITS; the reader of UVFITS says what it is. Others are casacore
    tables, and paths that do not exist.

    Raises
    ------
    InputError
        The file or folder is of a kind that is not read; the message names it.
    """
    if is_fits(path):
        return "FITS-IDI" if is_fits_idi(path) else "UVFITS"
    if not os.path.exists(path):  # not Path.exists, which fails for names that are too long
        return ""
    if is_packed(path):
        return "compressed"
    kind = "MSv4" if is_msv4(path) else pyuvdata_format(path)
    if not kind:
        check_known(path)
    return kind


def is_observation(path: str | Path) -> bool:
    """Whether a file or folder among others is an observation that can be read, by its content or its name.

    Images, tables of gains, texts and other companions are none. What has the name of an observation is one even if
    its content is damaged, so that it is not overlooked.
    """
    path = Path(path)
    if is_other_table(path):
        return False
    if (path / "table.dat").exists() or _suffix(path) in SUFFIXES:
        return True
    try:
        kind = format_of(path)
    except InputError:  # of a kind that is not read, or a folder with observations
        return False
    if kind == "UVFITS":
        return has_random_groups(path)
    if kind == "compressed":
        return packed_format(path) == "FITS"
    return bool(kind)


def plain_name(path: str | Path) -> str:
    """Name of a file or folder without the suffixes of observations and of compression: obs for obs.uvfits.gz."""
    path = Path(path)
    inner = path.with_suffix("") if path.suffix.lower() in PACKED_SUFFIXES else path
    return (inner.with_suffix("") if _suffix(path) in SUFFIXES else inner).name


def _suffix(path: Path) -> str:
    """The suffix in lower case, of the content of a compressed file."""
    return (path.with_suffix("") if path.suffix.lower() in PACKED_SUFFIXES else path).suffix.lower()


def convert(
    paths: Sequence[str | Path],
    out: str | Path,
    negative: str = "keep",
    overwrite: bool = False,
    companions: Sequence[str | Path] = (),
) -> list[str]:
    """Convert input files to one Measurement Set. Several files must be FITS-IDI files of one observation.

    Parameters
    ----------
    paths : sequence of str or Path
    out : str or Path
    negative : {'keep', 'flag', 'abs'}
        What is done with negative weights: keep them for the reader, flag the samples, or take the absolute value.
    overwrite : bool
        Whether a Measurement Set of that name may be replaced.
    companions : sequence of str or Path
        Inputs beside these, from which FITS-IDI files take tables that they lack.

    Returns
    -------
    list of str
        Corrections of the data, in sentences; they are also stored in the Measurement Set.

    Raises
    ------
    ConfigError
        Several files of other formats.
    InputError
        A file cannot be converted.
    OutputError
        `out` exists or cannot be written; nothing is left behind.
    """
    formats = [format_of(path) for path in paths]
    if len(paths) > 1 and set(formats) != {"FITS-IDI"}:
        raise ConfigError(
            "Several files become one Measurement Set only if all are FITS-IDI files of one observation: "
            + ", ".join(f"{path} ({kind or 'another format'})" for path, kind in zip(paths, formats, strict=True))
            + ". Convert them one by one."
        )
    if formats[0] == "FITS-IDI":
        from radrim.ms import fitsidi_convert

        others = [path for path in companions if path not in paths and format_of(path) == "FITS-IDI"]
        return fitsidi_convert.convert(paths, out, negative, overwrite, companions=others)
    if formats[0] == "MSv4":
        from radrim.ms import msv4_convert

        return msv4_convert.convert(paths[0], out, negative, overwrite)
    if formats[0] == "compressed":
        with unpacked(paths[0], Path(out).absolute().parent) as inner:
            return convert([inner], out, negative, overwrite)
    if formats[0] in ("UVH5", "MIRIAD", "SMA MIR"):
        from radrim.ms import pyuvdata_convert

        return pyuvdata_convert.convert(paths[0], formats[0], out, overwrite)
    if Path(paths[0]).is_dir() and (Path(paths[0]) / "table.dat").exists():
        raise InputError(f"{paths[0]} is a Measurement Set already.")
    from radrim.ms import uvfits_convert

    return uvfits_convert.convert(paths[0], out, negative, overwrite)
