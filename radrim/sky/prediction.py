"""`radrim predict`: writes the visibilities of a model into MODEL_DATA."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from radrim.errors import ConfigError, InputError
from radrim.geometry import C, axes, format_angle
from radrim.ms.columns import Column, check_whole, writing_column
from radrim.ms.inputs import require_measurement_set
from radrim.ms.opening import open_table
from radrim.ms.subtables import require_sound
from radrim.read import feeds
from radrim.read.phase_centre import distance
from radrim.read.pointings import choose_target
from radrim.read.settings import ReadSettings
from radrim.runtime.progress_bar import ProgressBar
from radrim.sky.images import find_models, read_planes
from radrim.sky.model import SkyModel

if TYPE_CHECKING:
    from casacore.tables import table

log = logging.getLogger("radrim")

HELD = ("DATA", "CORRECTED_DATA", "FLOAT_DATA", "FLAG", "UVW", "WEIGHT", "SIGMA", "WEIGHT_SPECTRUM", "SIGMA_SPECTRUM")
"""Columns of measured data, which predictions must not overwrite."""


@dataclass(frozen=True)
class PredictionSettings:
    """How visibilities are predicted, and which models are too coarse."""

    chunk: int = 1 << 22
    """Least number of samples (row x chan x corr) that are predicted at once: about 100 MB with the operators."""

    coarse: float = 0.1
    """Largest part of the rows whose baselines the pixels of the model may undersample."""


def predict(
    ms: str | Path | Sequence[str | Path], *,
    model_image: str | Path | Sequence[str | Path] | None = None, name: str | Path | None = None,
    field: str | int | None = None, column: str = "MODEL_DATA", epsilon: float = 1e-4, threads: int | None = None,
    feed_angle: str = "auto",
) -> None:  # fmt: skip
    """Write the visibilities of a model into a column of one or several Measurement Sets.

    `radrim.api.predict` explains what is written, and the arguments.

    Raises
    ------
    RadrimError
        Any error that the user can correct; see `radrim.sky.images` and `radrim.ms.columns`.
    """
    if (model_image is None) == (name is None):
        raise ConfigError("Give the model either as --model-image FILE.fits, or as --name of the run that made it.")
    if not 1e-12 <= epsilon <= 1e-2:
        raise ConfigError(f"--epsilon {epsilon:g} is not between 1e-12 and 0.01.")
    if column in HELD or not column.isidentifier():
        raise ConfigError(f"--column {column} is no column for a model; use MODEL_DATA, or a name of your own.")
    if feed_angle not in ("auto", "on", "off"):
        raise ConfigError(f"--feed-angle {feed_angle} is none of auto, on, off.")
    if name is not None:
        paths = find_models(name)
    else:
        paths = [Path(path) for path in ([model_image] if isinstance(model_image, str | Path) else model_image or ())]
    model = SkyModel(read_planes(paths))
    log.info("Model: %s.", _describe(model, paths))
    author = f"predict of {', '.join(path.name for path in paths[:3])}{' ...' if len(paths) > 3 else ''}"
    threads = threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)  # the direct sum's
    sets = [ms] if isinstance(ms, str | Path) else ms
    predictions = [_Prediction(each, model, field, feed_angle) for each in sets]
    for prediction in predictions:  # all are checked before any is written
        prediction.write(column, author, epsilon, threads)


def check_writable(ms: Sequence[str | Path]) -> None:
    """Raise a RadrimError for an input to which no column can be written."""
    for path in ms:
        check_whole(require_measurement_set(path), "MODEL_DATA")


def _describe(model, paths):
    freqs = sorted({plane.freq for plane in model.planes})
    at = f"{len(freqs)} frequencies, each channel sees the nearest" if len(freqs) > 1 else "one for all frequencies"
    grid = model.planes[0].grid
    return (
        f"{paths[0]}{f' and {len(paths) - 1} more' if len(paths) > 1 else ''}, Stokes {', '.join(model.stokes)}, "
        f"{grid.width} x {grid.height} pixels of {format_angle(grid.scale)}, {at}"
    )


class _Prediction:
    """The prediction of a model for one Measurement Set; the constructor checks both."""

    def __init__(self, path: str | Path, model: SkyModel, field: str | int | None, switch: str = "auto"):
        self.ms, self.model = require_measurement_set(path), model
        check_whole(self.ms, "A column of predictions")
        target = choose_target(self.ms, None if field is None else str(field))
        for note in target.notes:
            log.warning("%s", note.replace("Imaging field", "Predicting for field"))
        self.fields = target.fields
        self._check_frames()
        self._check_centres()
        self._parts = []
        with open_table(self.ms.path) as main:
            require_sound(main, self.ms.faulty)
            for index, window in product(self.fields, self.ms.windows):
                rows = _rows(main, f"DATA_DESC_ID=={window.data_desc} AND FIELD_ID=={index}")
                if len(rows):
                    self._check_correlations(window)
                    self._parts.append((index, window, rows))
            if not self._parts:
                names = ", ".join(self.ms.fields[index].name for index in self.fields)
                raise InputError(f"{path} has no rows of field {names}: there is nothing to predict.")
            self._check_scale(main)
        self._feed_angles = self._find_feed_angles(switch)

    def _find_feed_angles(self, switch):
        """Angle of linear feeds by which images of each data description turn Q and U [rad]."""
        notes: list[str] = []
        angles = {
            window.data_desc: feeds.feed_angle(window.correlations, self.ms, switch, notes, predicted=True)
            if set(self.model.stokes) & {"Q", "U"}
            else 0.0
            for _, window, _ in self._parts
        }
        for note in notes:
            log.warning("%s", note)
        return angles

    def _check_frames(self):
        """Check the frequency frames, unless the model has a single frequency. Doppler shifts can exceed channels."""
        if len({plane.freq for plane in self.model.planes}) == 1:
            return
        for plane in self.model.planes:
            if plane.frame and any(plane.frame[:4] != window.frame[:4] for window in self.ms.windows):
                raise InputError(
                    f"The model {plane.path} has its frequencies in {plane.frame}, and {self.ms.path} in "
                    f"{self.ms.windows[0].frame}: make the model without --outframe."
                )

    def _check_centres(self):
        for plane, index in product(self.model.planes, self.fields):
            field, grid = self.ms.fields[index], plane.grid
            towards = float(np.arccos(np.clip(axes(field.ra, field.dec)[2] @ axes(grid.ra, grid.dec)[2], -1, 1)))
            limit = ReadSettings.max_pointing_distance
            if towards > limit:
                raise InputError(
                    f"The model {plane.path} lies {format_angle(towards)} from field {field.name} of {self.ms.path} "
                    f"(limit {format_angle(limit)}); is it of another source? Choose with --field."
                )
            pointing = plane.pointing or (grid.ra, grid.dec)
            if plane.attenuated and distance((field.ra, field.dec), pointing) > plane.grid.scale:
                raise InputError(
                    f"The model {plane.path} is that of a mosaic, and field {field.name} sees it through its own "
                    "primary beam, which predict does not apply. Image the pointing by itself (--field) and predict "
                    "from that."
                )

    def _check_correlations(self, window):
        missing = self.model.missing(window.correlations)
        if missing and not set(self.model.stokes) & set("IQUV"):
            raise InputError(
                f"The model has {', '.join(self.model.stokes)}, and spectral window {window.spw} of {self.ms.path} "
                f"also {', '.join(missing)}: give a model of each, or of Stokes I."
            )

    def _check_scale(self, main):
        """Check that the pixels of the model sample the fringes of the baselines."""
        limit = 1 / (2 * max(plane.grid.scale for plane in self.model.planes))
        longest, over, total = 0.0, 0, 0
        for _, window, rows in self._parts:
            for start in range(0, len(rows), PredictionSettings.chunk):
                uv = np.abs(np.nan_to_num(_uvw(main, rows[start : start + PredictionSettings.chunk])[:, :2])).max(1)
                uv *= window.freq.max() / C
                longest, over, total = max(longest, float(uv.max())), over + int((uv > limit).sum()), total + len(uv)
        if not over:
            return
        text = (
            f"The pixels of the model, {format_angle(1 / (2 * limit))}, are too coarse for {100 * over / total:.2g} % "
            f"of the rows of {self.ms.path}: baselines of up to {longest:.3g} wavelengths need at most "
            f"{format_angle(0.9995 / (2 * longest))}."
        )
        if over > PredictionSettings.coarse * total:
            raise InputError(f"{text} Make the model with that --scale, or finer.")
        log.warning("%s Predictions for these rows are wrong.", text)

    def write(self, column: str, author: str, epsilon: float, threads: int) -> None:
        """Predict and write the visibilities, in chunks of rows."""
        with open_table(self.ms.path) as main, writing_column(self.ms.path, column, author) as out:
            if out.fresh:
                self._fill_others(main, out)
            for index, window, rows in self._parts:
                field = self.ms.fields[index]
                with ProgressBar(f"predicting {field.name}, spectral window {window.spw}", len(rows)) as bar:
                    for part in _chunks(rows, window, self._largest()):
                        uvw = _uvw(main, part)
                        known = np.isfinite(uvw).all(1)  # NaN in rows that the correlator did not fill
                        seen = self.model.visibilities(
                            np.where(known[:, None], uvw, 0), window.freq, window.correlations, (field.ra, field.dec),
                            epsilon, threads, self._feed_angles[window.data_desc],
                        )  # fmt: skip
                        seen[~known] = 0
                        out.put(part, seen)
                        bar.advance(len(part))
                log.info(
                    "%s of %s: field %s, spectral window %d, %d rows, %d channels, %s.", column, self.ms.path,
                    field.name, window.spw, len(rows), len(window.freq), " ".join(window.correlations),
                )  # fmt: skip

    def _largest(self):
        """Number of samples of a chunk. It grows with the image, because each chunk takes a transform of the image."""
        return max(PredictionSettings.chunk, *(plane.grid.width * plane.grid.height for plane in self.model.planes))

    def _fill_others(self, main: "table", out: Column) -> None:
        """Set rows of other fields of a new column to 0, because casacore cannot read a column with gaps."""
        chosen = ",".join(str(index) for index in self.fields)
        for window in self.ms.windows:
            rows = _rows(main, f"DATA_DESC_ID=={window.data_desc} AND FIELD_ID NOT IN [{chosen}]")
            for part in _chunks(out.in_fresh(rows), window, PredictionSettings.chunk):
                out.put(part, np.zeros((len(part), len(window.freq), len(window.correlations)), np.complex64))


def _rows(main, query):
    found = main.query(query)
    try:
        return np.asarray(found.rownumbers(), np.int64)
    finally:
        found.close()


def _uvw(main, rows):
    part = main.selectrows(rows)
    try:
        return np.asarray(part.getcol("UVW"), float)
    finally:
        part.close()


def _chunks(rows, window, samples):
    step = max(1, samples // (len(window.freq) * len(window.correlations)))
    return (rows[start : start + step] for start in range(0, len(rows), step))
