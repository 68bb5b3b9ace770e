"""Counts the samples that the reader drops, by reason, and checks that enough are left."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from radrim.errors import DataError, NothingLeftError
from radrim.read.settings import DEFAULTS, ReadSettings


@dataclass
class Counts:
    """Numbers of samples that were read from a Measurement Set, and that were dropped for each reason."""

    samples: int = 0
    flagged: int = 0
    negative: int = 0
    zero_weight: int = 0
    bad_uvw: int = 0
    nonfinite: int = 0
    outside_uv: int = 0
    no_continuum: int = 0
    incomplete: int = 0
    """Samples that are flagged for some of the Stokes parameters only, and are dropped for all."""
    bad_time: int = 0
    too_large: int = 0
    """Samples above `ReadSettings.amplitudes`."""
    largest: float = 0.0
    """Largest real or imaginary part of the samples that are left [Jy]."""
    usable_hands: dict[str, int] = field(default_factory=dict)
    """Number of unflagged samples with weight of each correlation that was read."""

    @property
    def numbers(self) -> dict[str, int]:
        """Numbers of samples, by reason."""
        return {name: value for name, value in vars(self).items() if isinstance(value, int)}

    def take(self, other: "Counts") -> None:
        """Become equal to an earlier state."""
        vars(self).update(vars(replace(other, usable_hands=dict(other.usable_hands))))

    def check(self, path: Path, used: int, flag_nonfinite: bool, settings: ReadSettings = DEFAULTS) -> None:
        """Raise DataError, with the main reason, if no sample is left (NothingLeftError) or too many are not finite.

        Parameters
        ----------
        path : Path
            Path of the Measurement Set.
        used : int
            Number of samples that are left.
        flag_nonfinite : bool
            Whether any number of NaN or infinite samples is accepted.
        settings : ReadSettings
            Limits.
        """
        if self.samples == 0:
            raise NothingLeftError(
                f"{path}: no cross-correlation rows in this selection (field, spectral window, time); "
                f"radrim info {path} lists what is there."
            )
        usable = self.samples - self.flagged
        if usable == 0 and self.incomplete:
            raise NothingLeftError(
                f"{path}: {self._dead_hands()}no sample has all the correlations of the Stokes parameters asked for "
                f"({self.incomplete} of "
                f"{self.samples} have those of some); nothing is left to image together. Image one alone: --pol I."
            )
        if usable == 0:
            raise NothingLeftError(
                f"{path}: {self._dead_hands()}all {self.samples} samples are flagged; nothing is left to image."
            )
        if used == 0:
            number, fault = max(
                (self.negative, "have negative weights; use --abs-weights to take their absolute value"),
                (
                    self.zero_weight,
                    "have weights of zero, NaN or infinity; set WEIGHT or WEIGHT_SPECTRUM (CASA statwt)",
                ),
                (
                    self.bad_time,
                    "have a TIME that is NaN or beyond any calendar; repair it (seconds, Modified Julian Date)",
                ),
                (self.too_large, self._units(settings)),
                (self.bad_uvw, "have a UVW of zero or NaN; recompute it (CASA fixvis)"),
                (self.nonfinite, "are NaN or infinite; check the calibration, or choose another --data-column"),
                (self.outside_uv, f"are outside the uv range; radrim info {path} shows the range there is"),
                (
                    self.no_continuum,
                    "have too few good channels for --contsub nearby; use a lower order or more channels",
                ),
            )
            share = f"all {usable}" if number == usable else f"{number} of {usable}"
            raise NothingLeftError(f"{path}: nothing is left to image: {share} unflagged samples {fault}.")
        if 0 < self.largest < settings.amplitudes[0]:
            raise DataError(
                f"{path}: the largest amplitude is {self.largest:.3g}, below {settings.amplitudes[0]:g}, and single "
                "precision cannot image it. Are the data in Jy? Multiply those in W m^-2 Hz^-1 by 1e26."
            )
        max_nonfinite = settings.max_nonfinite
        if self.too_large > max_nonfinite * (used + self.too_large) and not flag_nonfinite:
            raise DataError(
                f"{path}: {self.too_large} of {used + self.too_large} unflagged samples (limit {max_nonfinite:.0%}) "
                f"{self._units(settings)}."
            )
        if self.nonfinite > max_nonfinite * (used + self.nonfinite) and not flag_nonfinite:
            raise DataError(
                f"{path}: {self.nonfinite} of {used + self.nonfinite} unflagged samples are NaN or infinite "
                f"(limit {max_nonfinite:.0%}); flag them, or accept the loss with --flag-nonfinite."
            )

    def _dead_hands(self) -> str:
        """The correlations without usable samples and those with some, as the beginning of a message; else empty."""
        dead = [name for name, number in self.usable_hands.items() if not number]
        alive = [name for name, number in self.usable_hands.items() if number]
        if not dead or not alive:
            return ""
        return f"{' and '.join(dead)} has no usable samples, but {' and '.join(alive)} has (--pol {alive[0]}); "

    @staticmethod
    def _units(settings: ReadSettings) -> str:
        return (
            f"are above {settings.amplitudes[1]:g}, which single precision cannot image; are the data in Jy? Scale or "
            "flag them"
        )

    def notes(self, name: str, abs_weights: bool) -> list[str]:
        """Notes about the samples that were dropped from the Measurement Set `name`."""
        out = []
        if self.nonfinite:
            out.append(f"{self.nonfinite} NaN or infinite samples of {name} were treated as flagged.")
        if self.too_large:
            out.append(f"{self.too_large} samples of {name} above {DEFAULTS.amplitudes[1]:g} were treated as flagged.")
        if self.bad_time:
            out.append(f"{self.bad_time} samples of {name} with a TIME of NaN or beyond any calendar were dropped.")
        if self.incomplete:
            out.append(
                f"{self.incomplete} of {self.samples} samples of {name} were dropped because they are flagged in a "
                "correlation that one of the Stokes parameters needs: all have the same PSF. Fewer in --pol keep more "
                "samples."
            )
        if self.negative and not abs_weights:
            out.append(
                f"{self.negative} samples of {name} with negative weights were dropped; "
                "--abs-weights takes their absolute value."
            )
        if self.bad_uvw:
            out.append(f"{self.bad_uvw} samples of {name} with a UVW of zero or NaN were dropped.")
        if self.no_continuum:
            out.append(
                f"{self.no_continuum} samples of {name} were dropped because too few good line-free channels of their "
                "row are near enough to determine the continuum; --contsub of a lower order, or more "
                "--contsub-channels, keeps them."
            )
        return out
