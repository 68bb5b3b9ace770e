"""The judge of rounds: visibilities that neither the images nor the gains of the rounds have seen.

Gains belong to antennas, so that those of other baselines predict a baseline that was kept out,

    V_pq = g_p conj(g_q) M_pq + noise.

Chi^2 of the data as they came against this prediction judges gains and model together. That of corrected data would
fall with the noise that a division by large gains takes from them. Kept out are baselines, or long stretches of time of
each where baselines are few (`radrim.measure.holdout`); the change of chi^2 from one round to another is that of the
same samples, with the standard error of `radrim.deconvolve.judge`.
"""

from dataclasses import dataclass

import numpy as np

from radrim.deconvolve.judge import Cells, Verdict
from radrim.gains.table import Gains
from radrim.selfcalibration.calibrator import Calibrator
from radrim.selfcalibration.config import SelfcalSettings
from radrim.selfcalibration.kept import KeptRows
from radrim.selfcalibration.models import SourceModel


@dataclass(frozen=True)
class Prediction:
    """What is said of the data: gains, and a model of the sky with `predict`, or None for an empty sky."""

    gains: Gains
    model: SourceModel | None

    def of(self, uvw: np.ndarray, freq: np.ndarray) -> np.ndarray:
        """Visibilities of the model (row, chan) [Jy], without gains."""
        if self.model is None:
            return np.zeros((len(uvw), len(freq)), np.complex64)
        return self.model.predict(uvw, freq)


def keep_out(calibrator: Calibrator) -> KeptRows:
    """Choose the rows that no round sees, from those of which a calibration makes use.

    Raises
    ------
    DataError
        No usable data, or fewer than three antennas with data.
    """
    found: list[tuple[np.ndarray, ...]] = [(np.zeros(0), np.zeros((0, 2), int), np.zeros(0))]
    for _, window, chunk in calibrator.chunks():
        rows = np.flatnonzero(calibrator.usable(chunk))
        used = np.zeros(len(rows), bool)
        for _, _, weight in calibrator.parallel(window, chunk, rows):
            used |= weight.any(1)
        rows = rows[used]
        found.append((chunk.time[rows], chunk.antenna[rows], np.hypot(chunk.uvw[rows, 0], chunk.uvw[rows, 1])))
    time, antenna, length = (np.concatenate(parts) for parts in zip(*found, strict=True))
    antennas = len(calibrator.names)
    baselines = np.zeros((antennas, antennas), bool)
    baselines[antenna[:, 0], antenna[:, 1]] = baselines[antenna[:, 1], antenna[:, 0]] = True
    calibrator.check_antennas(baselines)
    return KeptRows(time, antenna, length, antennas, SelfcalSettings.kept_out)


def compare(calibrator: Calibrator, before: Prediction, after: Prediction) -> Verdict | None:
    """What the rows that were kept out say of one prediction against another; None if none can be compared.

    Those are samples of parallel hands for which both have gains. Part 1 of the verdict is `after`.
    """
    parts: tuple[list[Cells], list[Cells]] = ([], [])
    for number, window, chunk in calibrator.chunks():
        usable = np.flatnonzero(calibrator.usable(chunk))
        if calibrator.kept is None or not len(usable):
            continue
        groups = calibrator.kept.groups(chunk.time[usable], chunk.antenna[usable])
        for sums, (rows, cell, cells) in zip(parts, groups, strict=True):
            chosen = usable[rows]
            if not len(chosen):
                continue
            time, antenna = chunk.time[chosen], chunk.antenna[chosen]
            skies = [one.of(chunk.uvw[chosen], window.freq) for one in (before, after)]
            for feed, data, weight in calibrator.parallel(window, chunk, chosen):
                feeds = np.full((2, 1), feed)
                gains = [one.gains.pairs(number, time, antenna, feeds) for one in (before, after)]
                judged = np.where(gains[0][1] | gains[1][1], 0, weight)
                seen = np.where(judged > 0, data, 0)
                left = [(seen - pair * sky).astype(np.complex64) for (pair, _), sky in zip(gains, skies, strict=True)]
                sums.append(Cells.of(cell, judged, left[0], left[1], cells))
    kept, watched = (Cells.sum(sums) if sums else None for sums in parts)
    return None if kept is None or not kept.count.sum() else Verdict(kept, watched)
