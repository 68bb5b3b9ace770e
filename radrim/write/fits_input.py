"""Reads FITS images of other programs: models, masks and skies. Whatever is wrong with a file is an `InputError`.

astropy parses a card when it is asked for, and raises many kinds of errors for the many ways in which a file can be
damaged; here all become one message that names the file and the card.
"""

import lzma
import math
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from radrim.errors import InputError

COORDINATES = re.compile(
    r"(CTYPE|CUNIT|CRPIX|CRVAL|CDELT|CROTA)\d|(PC|CD)\d_\d|PC\d{6}|PV\d_\d+|LONPOLE|LATPOLE|EQUINOX|RADESYS"
)
"""Cards that say where the pixels lie on the sky."""

CELESTIAL = re.compile(r"RA--|DEC-|[GEH](LON|LAT)", re.IGNORECASE)
"""Beginning of CTYPE for the two axes of the sky."""

TEXTS = ("CTYPE", "CUNIT", "RADESYS")
"""Those of `COORDINATES` that are text."""


FAULTS: tuple[type[Exception], ...] = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, OSError, TypeError, ValueError,
    fits.VerifyError, lzma.LZMAError, struct.error, zlib.error,
)  # fmt: skip
"""What astropy raises for damaged files, which has no common class. Errors of a program, such as NameError, are not in
it."""


@dataclass(frozen=True)
class FitsImage:
    """Pixels and header of a FITS image.

    Parameters
    ----------
    path : Path
    what : str
        How messages name the file, such as 'The model m.fits'.
    header : astropy.io.fits.Header
    data : array
        As in the file.
    tables : dict of str to record array
        Those extensions that were asked for, and that the file has.
    """

    path: Path
    what: str
    header: fits.Header
    data: np.ndarray
    tables: dict[str, Any] = field(default_factory=dict)

    def value(self, key: str) -> Any:
        """Value of a card; None if there is no such card, or if it is empty.

        Raises
        ------
        InputError
            The card cannot be parsed.
        """
        try:
            with warnings.catch_warnings(action="ignore", category=AstropyWarning):
                value = self.header.get(key)
        except FAULTS:
            raise InputError(
                f"{self.what} has a card {key} that FITS cannot read ('{_raw(self.header, key)}'); correct the header."
            ) from None
        return None if isinstance(value, fits.card.Undefined) else value

    def text(self, key: str) -> str:
        """Text of a card without blanks around it; empty if there is none."""
        value = self.value(key)
        return "" if value is None else str(value).strip()

    def number(self, key: str, default: float) -> float:
        """Number of a card.

        Raises
        ------
        InputError
            The card is no number.
        """
        value = self.value(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InputError(f"{self.what} has {key} = '{value}', which is not a number; correct the header.")
        return float(value)

    @property
    def equinox(self) -> float:
        """Equinox of the coordinates [year]; EPOCH has it in files of AIPS. 2000 if there is none."""
        for key in ("EQUINOX", "EPOCH"):
            value = self.value(key)
            if isinstance(value, str) and re.fullmatch(r"[JB ]?\s*\d{4}(\.\d*)?\s*", value.strip()):
                value = float(value.strip().lstrip("JB "))
            elif value is not None:
                value = self.number(key, 2000.0)
            if value:
                return float(value)
        return 2000.0

    @property
    def frame(self) -> str:
        """Reference frame of right ascension and declination: RADESYS, or what FITS assumes without."""
        named = (self.text("RADESYS") or self.text("RADECSYS")).upper()
        return named or ("FK4" if self.equinox < 1984 else "FK5")

    @property
    def is_j2000(self) -> bool:
        """Whether the coordinates are those of radrim's images. ICRS and J2000 differ by less than 0.03 arcsec."""
        return self.frame == "ICRS" or (self.frame == "FK5" and self.equinox == 2000)

    def unit(self, axis: int, default: str, known: dict[str, float]) -> float:
        """Factor from the unit of an axis to SI; `known` has those of other units."""
        name = self.text(f"CUNIT{axis}").lower() or default
        if name not in known:
            raise InputError(
                f"{self.what} has CUNIT{axis} = '{self.text(f'CUNIT{axis}')}'; {', '.join(known)} are understood."
            )
        return known[name]

    def coordinates(self) -> fits.Header:
        """A header with nothing but the coordinates, for `astropy.wcs.WCS`; other damaged cards do not matter.

        Raises
        ------
        InputError
            One of the cards of coordinates cannot be read.
        """
        out = fits.Header()
        out["NAXIS"] = self.data.ndim
        for axis, length in enumerate(reversed(self.data.shape), 1):
            out[f"NAXIS{axis}"] = length
        other = tuple(
            str(axis) for axis in range(1, self.data.ndim + 1) if not CELESTIAL.match(self.text(f"CTYPE{axis}"))
        )
        for key in dict.fromkeys(self.header):
            if not COORDINATES.fullmatch(key) or key == "EQUINOX":
                continue
            if ("_" not in key and key.endswith(other)) or self.value(key) is None:
                continue
            out[key] = self.text(key) if key.startswith(TEXTS) else self.number(key, 0.0)
        out["EQUINOX"] = self.equinox
        out["RADESYS"] = self.frame
        return out


def read_fits(
    path: str | Path, what: str, *, memmap: bool = True, tables: tuple[str, ...] = (), any_extension: bool = False
) -> FitsImage:
    """Read a FITS image.

    Parameters
    ----------
    path : str or Path
        Also gzipped.
    what : str
        How messages name the file, such as 'The model m.fits'.
    memmap : bool
        Whether the pixels stay on the disk.
    tables : tuple of str
        Names of binary tables to read, if the file has them.
    any_extension : bool
        Take the first image that there is; else the first extension must be one.

    Raises
    ------
    InputError
        The file is missing, damaged, or holds no image.
    """
    # astropy leaves a file open that it cannot read, if it opened it.
    with reading(what), open(path, "rb") as stream, fits.open(stream, memmap=memmap) as hdus:
        first = next((hdu for hdu in hdus if hdu.is_image and hdu.data is not None), None) if any_extension else hdus[0]
        if first is None or first.data is None or first.data.ndim < 2:
            where = "" if any_extension else " in its first extension"
            raise InputError(f"{what} holds no image{where}.")
        if first.data.dtype.kind not in "iuf" or 0 in first.data.shape:
            raise InputError(f"{what} holds no pixels that are numbers.")
        held = {name: hdus[name].data for name in tables if name in hdus}
        return FitsImage(Path(path), what, first.header, first.data, held)


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Raise an `InputError` for each of `FAULTS` in the block, which reads the file that `what` names."""
    try:
        # astropy warns of a damaged file before it raises; the message below is enough.
        with warnings.catch_warnings(action="ignore", category=AstropyWarning):
            yield
    except FAULTS as error:
        reason = (isinstance(error, OSError) and error.strerror) or "it is not a FITS file, or damaged"
        raise InputError(f"{what} cannot be read: {reason}.") from None


def _raw(header, key):
    """The card as it is in the file."""
    with warnings.catch_warnings(action="ignore", category=AstropyWarning):
        return next((str(card.image).strip() for card in header.cards if card.keyword == key), key)
