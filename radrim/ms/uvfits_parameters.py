"""Reads the random parameters of a UVFITS file: antennas in all encodings of BASELINE, times, and numbers of tables.

References
----------
Greisen (2020), AIPS Memo 117, the AIPS FITS file format.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radrim.errors import InputError

if TYPE_CHECKING:
    from astropy.io.fits import GroupData, Header

EXPORT_AGAIN = "Export it again (AIPS: FITTP; CASA: exportuvfits; DIFMAP: wobs)."

_HIGH, _HIGHEST = 2**16, 2**16 + 2**22
"""Smallest BASELINE with 2048 and with 2**31 times the first antenna; below it is 256 times the first antenna."""


@dataclass(frozen=True)
class ParameterSettings:
    """Which values of random parameters are usable."""

    first_date: float = 2378496.5
    """Earliest Julian date, 1800. Others are left out if some dates of the file are between these two."""
    last_date: float = 2597641.5
    """Latest Julian date, 2400."""
    largest_date: float = 1e7
    """Largest absolute Julian date that astropy converts, of files without a date between the two."""
    subarray_error: float = 0.004
    """Largest error of BASELINE at which its hundredths, which count the subarrays, can be told apart."""


class Parameters:
    """Random parameters of a file.

    Parameters
    ----------
    path : Path
        Name for messages.
    data : GroupData
    header : Header
        Header of the visibilities.
    """

    def __init__(
        self, path: Path, data: "GroupData", header: "Header", settings: ParameterSettings = ParameterSettings()
    ) -> None:
        self._path, self._data, self._header, self._settings = path, data, header, settings
        self.names = data.parnames

    def values(self, name: str) -> np.ndarray:
        """Scaled values of a parameter, (group,) float64; parameters of the same name are added."""
        return np.asarray(self._data.par(name), float)

    def numbers(self, name: str, usable: np.ndarray) -> np.ndarray | None:
        """Numbers of rows of a table that a parameter gives, (usable group,) int; None without such a parameter.

        Parameters
        ----------
        name : str
        usable : ndarray, (group,) bool
            Groups that count.
        """
        if name not in self.names:
            return None
        values = self.values(name)[usable]
        wrong = values[~(np.abs(values) < 2**31)]
        if len(wrong):
            raise InputError(f"{self._path} has groups whose {name} is {wrong[0]:g}, which is no number of a table.")
        return np.rint(values).astype(int)

    def different(self, name: str, usable: np.ndarray) -> np.ndarray:
        """Those numbers sorted and without repeats; an empty array if the file has no such parameter."""
        numbers = self.numbers(name, usable)
        return np.empty(0, int) if numbers is None else np.unique(numbers)

    def usable(self) -> np.ndarray:
        """Whether a group has a valid date and baseline, (group,) bool.

        Raises
        ------
        InputError
            No group has.
        """
        date, limits = self.values("DATE"), self._settings
        with np.errstate(invalid="ignore"):
            usable = (date > limits.first_date) & (date < limits.last_date)
            if not usable.any():
                usable = np.abs(date) < limits.largest_date
        if len(date) and not usable.any():
            raise InputError(
                f"{self._path} has no group with a valid date: DATE is {date[0]:g} in the first. Check PSCAL and PZERO "
                "of DATE, or export the file again."
            )
        for name in ("BASELINE", "ANTENNA1", "ANTENNA2", "SUBARRAY"):
            if name in self.names:
                usable = usable & (np.abs(self.values(name)) < 2.0**62)
        return usable

    def antennas(self, usable: np.ndarray, subarrays: int) -> np.ndarray:
        """Numbers of the subarray and of both antennas, (usable group, 3) int64.

        Parameters
        ----------
        usable : ndarray, (group,) bool
        subarrays : int
            Number of antenna tables. With one, BASELINE need not be exact to the hundredth.

        Raises
        ------
        InputError
            BASELINE is not stored exactly enough.
        """
        if "ANTENNA1" in self.names:
            one = self.values("SUBARRAY") if "SUBARRAY" in self.names else np.ones(len(usable))
            columns = np.stack([np.maximum(one, 1), self.values("ANTENNA1"), self.values("ANTENNA2")], 1)
            return np.rint(columns[usable]).astype(np.int64)
        baseline = self.values("BASELINE")[usable]
        error = self._error("BASELINE", baseline)
        exact = error < self._settings.subarray_error
        vague = ~exact & (np.rint(baseline) != baseline) & (subarrays > 1)
        if (error >= 0.5).any() or vague.any():
            raise InputError(
                f"{self._path} stores BASELINE to {2 * error.max():.2g}, which does not tell the antennas"
                f"{' and subarrays' if vague.any() else ''} apart. Export it with floating-point numbers (BITPIX -32)."
            )
        hundredths = np.rint(100 * np.where(exact, baseline, 0)).astype(np.int64)
        number = np.where(exact, hundredths // 100, np.rint(baseline).astype(np.int64))
        subarray = np.where(exact, hundredths % 100, 0) + 1
        if "SUBARRAY" in self.names:
            subarray = np.maximum(1, np.rint(self.values("SUBARRAY")[usable])).astype(np.int64)
        # Rows of one file may differ: MIRIAD multiplies by 2048 only where an antenna has a number above 255.
        base = np.select([number < _HIGH, number < _HIGHEST], [256, 2048], 2**31)
        number = number - np.select([number < _HIGH, number < _HIGHEST], [0, _HIGH], _HIGHEST)
        return np.stack([subarray, number // base, number % base], 1)

    def _error(self, name: str, values: np.ndarray) -> np.ndarray:
        """Largest error of stored values of a parameter, by their number format."""
        scale = max(
            abs(float(self._header.get(f"PSCAL{k}", 1.0)))
            for k in range(1, self._header["PCOUNT"] + 1)
            if str(self._header[f"PTYPE{k}"]).strip() == name
        )
        if self._header["BITPIX"] > 0:
            return np.full(len(values), scale / 2 if scale != 1 else 0.0)
        kind = np.float32 if self._header["BITPIX"] == -32 else np.float64
        return np.spacing(np.abs(values).astype(kind)).astype(float) / 2
