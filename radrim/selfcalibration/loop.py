"""Self-calibration: images the data, solves for antenna gains with that image as the model, corrects, images again.

Each round solves for the gains of the uncorrected data, so that errors of early models do not accumulate and the gains
of the best round are complete. Some visibilities are kept out of the images and of the gains of all rounds. A round is
taken if its gains and its image predict them better than those before, by more than the standard error. In the end the
gains of the round that was taken last are solved for with all visibilities.

The rounds are kept in a work directory NAME-selfcal.radrim. An interrupted run resumes with the first incomplete round.

References
----------
Pearson & Readhead (1984), ARA&A 22, 97; Cornwell & Fomalont (1999), ASP Conf. Ser. 180, 187.
"""

import dataclasses
import logging
import math
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from radrim.config.options import ImageConfig
from radrim.errors import ConfigError, DataError, OutputError, RadrimError
from radrim.gains.table import Gains, describe_unsolved, find_outliers, read_gains, write_gains
from radrim.geometry import ImageGrid
from radrim.interactive.result import Result
from radrim.metrics import scatter
from radrim.ms import rows as ms_rows
from radrim.ms.columns import check_cells, check_whole
from radrim.pipeline import run
from radrim.read.selection import selected_by
from radrim.runtime.files import advice, atomic_write
from radrim.selfcalibration.calibrator import Budget, Calibrator
from radrim.selfcalibration.config import Round, SelfcalConfig, SelfcalSettings, check_image_options, format_interval
from radrim.selfcalibration.gain_figure import draw_gains
from radrim.selfcalibration.judge import Prediction, compare, keep_out
from radrim.selfcalibration.models import ImageModel, SourceModel, parse_start_model
from radrim.selfcalibration.rounds import Outcome, table
from radrim.workdir.directory import WorkDir
from radrim.workdir.manifest import describe_run
from radrim.write.fits import read_image

log = logging.getLogger("radrim")


@dataclass
class SelfcalResult:
    """Result of `selfcal`.

    Parameters
    ----------
    image : Result
        The final images, as `radrim.image` returns them.
    gains : Gains
        Gains of the round that was taken last; 1 if none was.
    rounds : list of Outcome
        The start and the rounds, all imaged alike. The final image has more major cycles, and all data.
    ms : Path
        Measurement Set with the corrected data.
    paths : dict of str to Path
        'gains', 'gains_png' and 'ms', and those of the images.
    """

    image: Result
    gains: Gains
    rounds: list[Outcome]
    ms: Path
    paths: dict[str, Path] = field(default_factory=dict)


def selfcal(config: ImageConfig, options: SelfcalConfig, command: str = "radrim.selfcal(...)") -> SelfcalResult:
    """Self-calibrate one Measurement Set.

    Parameters
    ----------
    config : ImageConfig
        Options of the images. `data_column` is the column to calibrate, `name` the prefix of all files (default: name
        of the Measurement Set and '-selfcal').
    options : SelfcalConfig
    command : str
        Command for the headers and the report.

    Raises
    ------
    RadrimError
        Any error that the user can correct. The input is unchanged, and no incomplete file has its final name.
    """
    check_image_options(config)
    name = config.name or f"{Path(config.ms[0]).absolute().stem}-selfcal"
    config = dataclasses.replace(config, name=name)
    calibrator = Calibrator(config.ms[0], selected_by(config), options)
    for one in options.rounds:
        calibrator.check_interval(one.length)
    start = None
    if options.start_model:
        start = parse_start_model(options.start_model).at(calibrator.field.ra, calibrator.field.dec)
    manifest = describe_run(config) | {"selfcal": {k: str(v) for k, v in dataclasses.asdict(options).items()}}
    with WorkDir(f"{name}-selfcal", manifest, config.overwrite) as work:
        try:
            _check_target(config, options, calibrator, "published" in work)
            result = _Loop(config, options, calibrator, work, command).run(start)
        except Exception as error:  # whatever it is, it must not block the next run
            if not isinstance(error, OutputError):
                work.remove()
            raise
        if not config.keep:
            work.remove()
    return result


def _check_target(config, options, calibrator, published):
    """Check that the corrected data can be written, before any work."""
    ms, target = calibrator.ms, Path(f"{config.name}.ms")
    if options.in_place:
        if calibrator.column == ms_rows.CORRECTED:
            raise ConfigError(
                f"--in-place overwrites {ms_rows.CORRECTED}, and that is the column of {ms.path} to be calibrated; "
                "calibrate --data-column DATA, or leave out --in-place to write a copy."
            )
        if not os.access(ms.path / "table.dat", os.W_OK):
            raise OutputError(f"{ms.path} is read-only; leave out --in-place to write a copy, {target}.")
        check_whole(ms, ms_rows.CORRECTED)
        with ms_rows.open_for_writing(ms.path) as table:
            check_cells(ms, table, ms_rows.CORRECTED)
        return
    if target.exists() and target.resolve() == ms.path.resolve():
        raise ConfigError(f"--name {config.name} would replace the input, {ms.path}; choose another --name.")
    if target.exists() and not config.overwrite and not published:
        raise ConfigError(f"{target} exists; give another --name, or --overwrite to replace it.")


class _Loop:
    """The rounds of one run."""

    def __init__(
        self, config: ImageConfig, options: SelfcalConfig, calibrator: Calibrator, work: WorkDir, command: str
    ):
        self.config, self.options, self.calibrator, self.work = config, options, calibrator, work
        self.command = command
        self.data = work.path / "data.ms"
        self.rows: list[Outcome] = []
        self.grid: ImageGrid | None = None

    def run(self, start: SourceModel | None) -> SelfcalResult:
        """All rounds, then the final images."""
        if "published" not in self.work:
            if "copied" not in self.work:
                shutil.rmtree(self.data, ignore_errors=True)
                ms_rows.copy(self.calibrator.ms, self.calibrator.column, self.data)
                self.work.note("copied", True)
            gains = self._rounds(start)
            write_gains(f"{self.config.name}-gains.fits", gains)
            self.work.note("rounds", [vars(row) for row in self.rows])
            self._publish(gains)
        return self._finish()

    def _rounds(self, start: SourceModel | None) -> Gains:
        """Solve and image in rounds; returns the gains of the round that was taken last, of all data."""
        calibrator = self.calibrator
        calibrator.kept = keep_out(calibrator)
        log.info("Kept out of images and gains of all rounds, to judge them: %s.", calibrator.kept)
        log.info("Imaging the uncorrected data.")
        nothing = calibrator.unity()
        outcome, image = self._image(Outcome("start"), nothing)
        model = start or image
        if model is None:
            raise DataError(
                "The image of the uncorrected data shows no source, so there is no model to calibrate with. Start "
                "from --start-model point (or gauss:SIZE, disc:SIZE, a FITS image)."
            )
        best = Prediction(nothing, image)
        budget, model = calibrator.survey(model)
        self._note(self._judge(outcome, best, best))
        self._say_how(budget)
        last: tuple[SourceModel, Round, float | None, Budget] | None = None
        done, phase_length, growth = set(), None, {"p": 1.0, "ap": 1.0}
        for number, one in enumerate(self.options.rounds, 1):
            # An identical round would have the same result.
            if one in done:
                log.info("Round %d (%s) is left out: the previous one was no better.", number, one.kind)
                continue
            if one.length is None and last is not None:  # the model has changed
                budget = dataclasses.replace(budget, snr=calibrator.survey(model)[0].snr)
            chosen = self._with_length(one, budget, phase_length, growth[one.kind])
            try:
                outcome, solved, new = self._round(number, chosen, model, phase_length, budget)
            except DataError as error:  # too little signal for the number of solutions
                if len(self.rows) == 1:
                    raise
                log.warning("Round %d is left out: %s", number, error)
                done.add(one)
                continue
            after = Prediction(solved, new)
            outcome = self._judge(outcome, best, after)
            self._note(outcome)
            if outcome.taken and new is not None:
                last = model, chosen, phase_length, budget
                best, model = after, new
                phase_length = chosen.length if one.kind == "p" else phase_length
            elif one.length is None and chosen.length is not None and math.isfinite(chosen.length):
                growth[one.kind] *= SelfcalSettings.longer
            else:
                done.add(one)
        if last is None:
            log.warning(
                "No round was taken: none predicts the visibilities that were kept out better than the image of the "
                "data as they came. The data stay as they are, with gains of 1: they need no self-calibration, or have "
                "too little signal for it. Try longer solution intervals (--solint), another --start-model, or a "
                "--mask."
            )
            return nothing
        # The visibilities that were kept out have judged, and may add to the gains.
        return calibrator.solve(*last, True)[0]

    def _judge(self, outcome, before, after):
        """The outcome with what the kept-out visibilities say of it, and one line on a round that is not taken."""
        label = outcome.label.replace(" ", "")
        if f"{label}-judged" not in self.work:
            verdict = compare(self.calibrator, before, after)
            facts: dict[str, Any] = {"taken": before is after}
            if verdict is not None:
                change, error = verdict.change(1.0), verdict.change_error(1.0)
                facts |= {
                    "kept": verdict.cells.per_datum(1.0), "before": verdict.cells.per_datum(0.0), "change": change,
                    "fitted": verdict.watched.per_datum(1.0) if verdict.watched else math.nan, "error": error,
                    "taken": before is after or change < -error,
                }  # fmt: skip
            if before is after:
                facts |= {"before": math.nan, "change": math.nan, "error": math.nan}
            self.work.note(f"{label}-judged", facts)
        outcome = dataclasses.replace(outcome, **self.work.facts(f"{label}-judged"))
        if before is not after and not (outcome.taken and after.model):
            kept = "gains of 1" if before.gains.interval.size == 1 and not before.gains.snr.any() else "earlier gains"
            if after.model is None:
                why = "leads to an image without any source"
            elif math.isnan(outcome.change):
                why = "has no gains for any visibility that was kept out"
            else:
                why = (
                    f"does not predict visibilities that were kept out better (chi2 per datum {outcome.kept:.4g} after "
                    f"{outcome.before:.4g}, change of chi2 {outcome.change:+.3g} +- {outcome.error:.2g})"
                )
            log.info("%s %s: it is not taken, %s stay.", outcome.label.capitalize(), why, kept)
            outcome = dataclasses.replace(outcome, taken=False)
        return outcome

    def _say_how(self, budget):
        calibrator = self.calibrator
        log.info("Calibrating %s of field %s.", calibrator.column, calibrator.field.name)
        wanted = "asked for" if self.options.refant else "most signal in nearly all integrations"
        log.info(
            "Reference antenna %s (%s). Signal-to-noise ratio of the median antenna in one integration (%.3g s): %.3g.",
            calibrator.refant, wanted, calibrator.integration, budget.snr,
        )  # fmt: skip
        if idle := [name for name in calibrator.names if name not in calibrator.with_data]:
            log.info("Without unflagged data: %s.", ", ".join(idle))
        if abs(budget.scatter - 1) > 0.2:
            log.info(
                "The noise of the data is %.3g times that of the weights; this is taken into account.", budget.scatter
            )

    def _with_length(self, one: Round, budget: Budget, phase_length: float | None, growth: float) -> Round:
        """The round with a solution interval, which is chosen if it has none: `growth` times the shortest."""
        if one.length is not None:
            return one
        length = self.calibrator.choose_length(one.kind, budget, growth)
        return Round(one.kind, max(length, phase_length or 0.0) if one.kind == "ap" else length)

    def _round(self, number, one, model, phase_length, budget):
        """(Outcome, Gains, model of the new image) of one round, from the work directory if it is complete."""
        label = f"round{number}"
        stored = self.work.path / f"{label}-gains.fits"
        if label not in self.work:
            log.info("Round %d: %s, interval %s.", number, one.kind, format_interval(one.length))
            gains, chi2, mean = self.calibrator.solve(model, one, phase_length, budget)
            if abs(mean - 1) > 1e-3:
                log.info("The gains are divided by their mean amplitude, %.4g, to keep the flux scale.", mean)
            self._say_what_was_found(gains)
            write_gains(stored, gains)
            self.work.note(label, {"chi2": chi2})
        gains, chi2 = read_gains(stored), self.work.facts(label)["chi2"]
        outcome = Outcome(f"round {number}", one.kind, format_interval(one.length), gains.flagged, chi2=chi2)
        outcome, new = self._image(outcome, gains)
        return outcome, gains, new

    def _say_what_was_found(self, gains):
        if names := describe_unsolved(gains, self.calibrator.with_data):
            log.warning("No solution for %s: too few baselines or too little signal.", ", ".join(names))
        for sentence in find_outliers(gains):
            log.info("%s", sentence)

    def _image(self, outcome, gains):
        """Image corrected data without those kept out: the outcome with rms and peak, and the model, None if empty."""
        label = outcome.label.replace(" ", "")
        prefix = self.work.path / label
        if f"{label}-imaged" not in self.work:
            self.calibrator.apply(gains, self.data, hide=True)
            config = dataclasses.replace(
                self._resolved(), ms=(str(self.data),), name=str(prefix), data_column=ms_rows.CORRECTED,
                max_major=self._major(), keep=False, overwrite=True,
            )  # fmt: skip
            try:
                result = run(config, self.command, report=False)
            except RadrimError as error:  # the user knows nothing of the copy
                raise type(error)(str(error).replace(str(self.data), str(self.calibrator.ms.path))) from error
            rms, peak = _scores(result)
            self.work.note(f"{label}-imaged", {
                "rms": rms,
                "peak": peak,
                "grid": _grid_facts(result.grid),
                "planes": [
                    (one.freq, str(one.paths["model"].name), one.plane) for one in result.channels if not one.blank
                ],
            })  # fmt: skip
        facts = self.work.facts(f"{label}-imaged")
        self.grid = ImageGrid(*facts["grid"])
        images = [(freq, read_image(self.work.path / name, plane)) for freq, name, plane in facts["planes"]]
        field, config = self.calibrator.field, self.config
        position = (field.ra, field.dec) if config.wanted_centre else None
        model = ImageModel(images, self.grid, config.operator, config.epsilon, config.threads or 1, position)
        found = model.flux > 0
        return dataclasses.replace(
            outcome, rms=facts["rms"], peak=facts["peak"] if found else 0.0
        ), model if found else None

    def _major(self):
        """Largest number of major cycles of the start and of all rounds."""
        return min(SelfcalSettings.max_major, self.config.max_major)

    def _resolved(self):
        """The configuration with the grid of the first image, so that all rounds share it."""
        if self.grid is None:
            return self.config
        return self.config.resolved((self.grid.width, self.grid.height), self.grid.scale, self.config.name)

    def _imaged_grid(self) -> ImageGrid:
        """The grid of all rounds, once an image has been made."""
        if self.grid is None:
            raise ValueError("no image has been made yet")
        return self.grid

    def _note(self, outcome):
        self.rows.append(outcome)
        log.info(
            "%s: chi2 per datum kept out %.4g, fitted %.4g; residual rms %.4g Jy/beam, dynamic range %.4g.",
            outcome.label.capitalize(), outcome.kept, outcome.fitted, outcome.rms, outcome.dynamic_range,
        )  # fmt: skip

    def _publish(self, gains):
        """Give the corrected data their final name."""
        lost = self.calibrator.apply(gains, self.data)
        if lost:
            how = "kept unchanged" if self.options.in_place or self.options.unsolved == "keep" else "flagged"
            log.info("%d samples have no solution and are %s.", lost, how)
        if self.options.in_place:
            ms = self.calibrator.ms
            ms_rows.fill_corrected(ms.path, ms.windows, ms_rows.CORRECTED, self.data)
        else:
            _rename(self.data, Path(f"{self.config.name}.ms"))
        self.work.note("published", {"grid": _grid_facts(self._imaged_grid())})

    def _finish(self) -> SelfcalResult:
        """Write the plot, the final images and the table."""
        name = self.config.name
        self.grid = ImageGrid(*self.work.facts("published")["grid"])
        self.rows = [Outcome(**facts) for facts in self.work.facts("rounds")]
        gains = read_gains(f"{name}-gains.fits")
        with atomic_write(f"{name}-gains.png") as file:
            file.write(draw_gains(gains))
        ms = self.calibrator.ms.path if self.options.in_place else Path(f"{name}.ms")
        result = run(dataclasses.replace(self._resolved(), ms=(str(ms),), data_column=ms_rows.CORRECTED), self.command)
        for line in table(self.rows):
            log.info("%s", line)
        rms, peak = _scores(result)
        log.info(
            "The table's images have at most %d major cycles, without the data that were kept out. The final image, of "
            "all data, has %d: residual rms %.4g, peak %.4g Jy/beam, range %.4g. %s.",
            self._major(), len(result.cycles), rms, peak, peak / rms if rms > 0 else math.inf,
            f"Reference antenna {gains.refant}" if gains.refant else "No round was taken: all gains are 1",
        )  # fmt: skip
        paths: dict[str, Any] = {"gains": Path(f"{name}-gains.fits"), "gains_png": Path(f"{name}-gains.png"), "ms": ms}
        log.info("Gains: %s, %s; corrected data: CORRECTED_DATA of %s.", *paths.values())
        return SelfcalResult(result, gains, self.rows, ms, paths | result.paths)


def _scores(result: Result) -> tuple[float, float]:
    """Residual rms and peak of an image; without a model, the residual is the dirty image."""
    left = result.dirty if result.residual is None else result.residual
    return scatter(left), float(np.abs(result.best).max())


def _grid_facts(grid: ImageGrid) -> list[float]:
    """A grid as the work directory keeps it."""
    return [grid.width, grid.height, grid.scale, grid.ra, grid.dec]


def _rename(source, target):
    """Give a complete Measurement Set its name; an old one is removed only after the new one has replaced it."""
    aside = target.with_name(f".{target.name}.replaced.part")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        if target.exists():
            target.rename(aside)
        source.rename(target)
        shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {advice(error, target.parent)}") from error
