"""The table of rounds of self-calibration."""

import math
from dataclasses import dataclass


@dataclass
class Outcome:
    """One row of the table of rounds. All images in it have the same settings and at most as many major cycles.

    Parameters
    ----------
    label : str
        'start', 'round 1', ...
    kind, interval : str
        'p' or 'ap', and the solution interval; empty without solutions.
    flagged : float
        Fraction of flagged solutions.
    rms, peak : float
        Standard deviation of the residual image, and largest pixel of the restored image [Jy/beam].
    chi2 : float
        Chi-square per degree of freedom of the fitted data against the model that the gains were solved with, for
        weights 1/sigma^2.
    fitted, kept : float
        Chi-square per datum of the data as they came against gains and model of this row: of samples that were kept out
        of images and gains, and of as many that were fitted.
    before : float
        The same of the samples kept out, against gains and model of the round taken last before.
    change, error : float
        Change of chi-square (not per datum) of the samples kept out, and its standard error.
    taken : bool
        Whether what follows goes on from here.
    """

    label: str
    kind: str = ""
    interval: str = ""
    flagged: float = float("nan")
    rms: float = float("nan")
    peak: float = float("nan")
    chi2: float = float("nan")
    fitted: float = float("nan")
    kept: float = float("nan")
    before: float = float("nan")
    change: float = float("nan")
    error: float = float("nan")
    taken: bool = True

    @property
    def dynamic_range(self) -> float:
        """Peak over residual rms."""
        return self.peak / self.rms if self.rms > 0 else math.inf


def table(rows: list[Outcome]) -> list[str]:
    """The table of rounds, as lines of text; chi2 is that per datum, its change that of all data kept out."""
    lines = [
        f"{'':9}{'kind':>5}{'interval':>10}{'flagged':>9}{'chi2 fitted':>13}{'kept out':>10}{'before':>10}"
        f"{'change':>22}{'taken':>7}{'residual rms':>14}{'peak':>11}{'range':>8}"
    ]
    for row in rows:
        fitted, kept, before = (_number(value, ".4g") for value in (row.fitted, row.kept, row.before))
        change = "" if math.isnan(row.change) else f"{row.change:+.3g} +- {row.error:.2g}"
        taken = "" if not row.kind else "yes" if row.taken else "no"
        lines.append(
            f"{row.label:9}{row.kind:>5}{row.interval:>10}{_number(row.flagged, '.1%'):>9}{fitted:>13}{kept:>10}"
            f"{before:>10}{change:>22}{taken:>7}{row.rms:>14.4g}{row.peak:>11.4g}{row.dynamic_range:>8.4g}"
        )
    return lines


def _number(value, form):
    """A number as text; nothing for NaN."""
    return "" if math.isnan(value) else f"{value:{form}}"
