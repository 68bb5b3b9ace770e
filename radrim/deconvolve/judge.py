"""The judge of updates: visibilities that were kept out of the deconvolution, so that no noise of theirs is fitted.

With l what the model leaves of a kept-out visibility, p what an update predicts for it, and w = 1/sigma^2, taking a
part a of the update changes chi^2 of the kept-out visibilities by

    D(a) = sum w (|l - a p|^2 - |l|^2) = a^2 P - 2 a B,    P = sum w |p|^2,  B = sum w Re(l conj p).

D is a difference of two models on the same samples, so that most of their noise cancels. Its lowest value is at
a = B / P, the regression of what is left on what is predicted: 1 where an update is right, 0 where it fits the noise of
other samples. Samples of one cell (a baseline, or a stretch of time of one) share their calibration errors, and cells
do not: the error of the regression is the one that is robust against correlations within a cell (Liang & Zeger 1986).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class JudgeSettings:
    """How much the judge believes a sample."""

    max_deviation: float = 5.0
    """Residual from which a sample counts less, in units of its noise (Huber 1964): one wild sample in a million would
    decide everything. Of 10^5 good samples less than one is beyond 5."""
    wild: float = 10.0
    """Residual, in the same units, that adds no more to chi^2 where it is larger, with the update and without: chi^2
    per datum is a level for people to read, and two wild samples of 1000 sigma among 3000 nearly doubled it."""


@dataclass(frozen=True)
class Cells:
    """Sums over the kept-out samples of each cell; those of several blocks of visibilities add up.

    Parameters
    ----------
    count : (cell,) float64
        Samples.
    power : (cell,) float64
        P of each cell.
    slope : (cell,) float64
        B of each cell.
    chi2, chi2_after : (cell,) float64
        sum w |l|^2, of wild samples no more than `JudgeSettings.wild`, without the update and with all of it.
    """

    count: np.ndarray
    power: np.ndarray
    slope: np.ndarray
    chi2: np.ndarray
    chi2_after: np.ndarray

    @classmethod
    def of(cls, cell: np.ndarray, weight: np.ndarray, before: np.ndarray, after: np.ndarray, cells: int) -> "Cells":
        """Sums of a block.

        Parameters
        ----------
        cell : (row,) int
            Number of the cell of each row.
        weight : (row, chan) float32
            1/sigma^2 [Jy^-2]; 0 marks a flagged sample.
        before, after : (row, chan) complex64
            What is left without the update and with all of it [Jy].
        cells : int
            Number of cells.
        """
        weight = weight.astype(np.float64)
        left = weight * (before.real.astype(np.float64) ** 2 + before.imag.astype(np.float64) ** 2)
        then = weight * (after.real.astype(np.float64) ** 2 + after.imag.astype(np.float64) ** 2)
        deviation = np.minimum(left, then)
        noise = _noise(deviation, weight > 0)
        trust = np.sqrt(np.minimum(1.0, JudgeSettings.max_deviation**2 * noise / np.maximum(deviation, 1e-300)))
        most = JudgeSettings.wild**2 * noise
        levels = (np.where(deviation > most, np.minimum(trust * one, most), trust * one) for one in (left, then))
        step = (before - after).astype(np.complex128)
        sums = (
            (weight > 0).astype(np.float64),
            trust * weight * (step.real**2 + step.imag**2),
            trust * weight * (before.real * step.real + before.imag * step.imag),
            *levels,
        )
        return cls(*(np.bincount(cell, values.sum(1), minlength=cells) for values in sums))

    def per_datum(self, part: float) -> float:
        """Chi^2 over the number of data, real and imaginary parts, if this part of the update is taken; NaN of none."""
        count = 2 * float(self.count.sum())
        before, after, power = (float(one.sum()) for one in (self.chi2, self.chi2_after, self.power))
        left = (1 - part) * before + part * after - part * (1 - part) * power
        return max(left, 0.0) / count if count else float("nan")

    @classmethod
    def sum(cls, parts: "Iterable[Cells]") -> "Cells":
        """Of all blocks."""
        fields = zip(*((part.count, part.power, part.slope, part.chi2, part.chi2_after) for part in parts), strict=True)
        return cls(*(np.sum(values, 0) for values in fields))


def _noise(deviation, used):
    """Level of w |l|^2 that counts as noise: its median is 2 ln 2 where all is noise of sigma, for 1."""
    return np.median(deviation[used]) / (2 * np.log(2)) if used.any() else np.inf


@dataclass(frozen=True)
class Verdict:
    """What the kept-out visibilities say of an update.

    Parameters
    ----------
    cells : Cells
    watched : Cells or None
        The same sums over as many samples that are fitted, for comparison.
    """

    cells: Cells
    watched: Cells | None = None

    @property
    def best(self) -> float:
        """The part of the update that lowers chi^2 of the kept-out visibilities most; 0 where it predicts nothing."""
        power = float(self.cells.power.sum())
        return float(self.cells.slope.sum()) / power if power > 0 else 0.0

    @property
    def error(self) -> float:
        """Standard error of `best`, from the scatter of cells about it, and at least that of the noise of samples."""
        power = self.cells.power
        total = float(power.sum())
        if not total > 0:
            return 0.0
        scatter = float(((self.cells.slope - self.best * power) ** 2).sum())
        return max(np.sqrt(scatter), np.sqrt(total * self.noise)) / total

    @property
    def noise(self) -> float:
        """Chi^2 of the kept-out samples after the best part of the update, per degree of freedom; 1 is the weights'."""
        count = 2 * float(self.cells.count.sum())
        return max(float(self.cells.chi2.sum()) + self.change(self.best), 0.0) / count if count else 0.0

    def change(self, part: float) -> float:
        """Change of chi^2 of the kept-out visibilities if this part of the update is taken."""
        return _change(self.cells, part)

    def change_error(self, part: float) -> float:
        """Standard error of `change`."""
        return 2 * part * self.error * float(self.cells.power.sum())

    def fits_less(self, part: float) -> bool:
        """Whether this part of the update leaves more of the fitted samples; False where none are watched.

        Of two models that predict other samples alike, the one that fits its own less closely has used less freedom.
        """
        return self.watched is not None and _change(self.watched, part) > 0

    def fits_more(self, part: float) -> bool:
        """Whether this part fits the watched samples better by more than the error of `change`.

        It then uses more freedom, and is no simplification of the model. As many samples are watched as are kept out,
        so that noise alone changes both sums alike.
        """
        return self.watched is not None and _change(self.watched, part) < -self.change_error(part)

    def summary(self, part: float) -> dict[str, float]:
        """What a record of a major cycle holds: chi^2 per datum after this part, its total change and the error.

        Of the samples that are kept out, and chi^2 per datum of those that are fitted.
        """
        change = self.change(part or 1.0)
        record = {"kept_chi2": self.cells.per_datum(part)}
        if self.watched is not None:
            record["fitted_chi2"] = self.watched.per_datum(part)
        return record | {"kept_change": change, "kept_error": self.change_error(part or 1.0)}


def _change(cells, part):
    """Change of chi^2 of samples if this part of an update is taken."""
    return part**2 * float(cells.power.sum()) - 2 * part * float(cells.slope.sum())
