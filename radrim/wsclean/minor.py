"""The RIM as the minor cycle of WSClean: WSClean computes residuals, and this module updates the model.

WSClean calls once per major cycle, with the exact residual of the model from the call before. Each call first judges
the last update, as `radrim.deconvolve.major.accept` does: the residual is linear in the model, so that an update that
was too long can be shortened, and a harmful one undone. Then it makes the next update. Joined channels are polynomials
of frequency, as with `radrim image --spectral-terms`. Polarisations are deconvolved independently.
"""

import dataclasses
import logging
import time
from dataclasses import dataclass

import numpy as np

from radrim.config.options import ImageConfig
from radrim.deconvolve.clean import CleanSolver
from radrim.deconvolve.major import accept, describe
from radrim.deconvolve.whole import WholeImage
from radrim.errors import ConfigError
from radrim.imagers.learned_cycles import RimCycles
from radrim.imagers.minor_cycles import CleanCycles
from radrim.metrics import noise_mad
from radrim.restore.spectrum import Basis
from radrim.rim.minor.detection import describe_noise
from radrim.rim.minor.solver import MAX_FIRST_NOISE_RMS, RimSolver
from radrim.wsclean.options import PluginOptions

log = logging.getLogger("radrim")

POSITIVE = ("I", "XX", "YY", "RR", "LL")
"""Polarisations in which a weakly polarised sky is positive."""


@dataclass(frozen=True)
class PluginSettings:
    """How the plug-in judges WSClean's images."""

    first_noise_factor: float = 0.3
    """First estimate of the noise of a dirty image with sources, over its own noise estimate."""
    max_rounding: float = 1e-5
    """Largest difference between the model that WSClean received and the model it returns [peak]."""


@dataclass(frozen=True)
class Call:
    """Parameters of a call of WSClean, beside the images.

    Parameters
    ----------
    freq, weight : list of float
        Frequencies of the channels [Hz], and their imaging weights.
    squared : bool
        Whether channels are joined by their squares (-squared-channel-joining), so that spectra are not smooth.
    threshold : float
        Level at which to stop [Jy/beam]. It falls with the noise if it was given in units of the noise.
    gain, mgain : float
    """

    freq: list[float]
    weight: list[float]
    squared: bool
    threshold: float
    gain: float
    mgain: float


class MinorCycles:
    """Minor cycles of one run of WSClean.

    Parameters
    ----------
    options : PluginOptions
    device : str
        'cpu' or 'cuda'.
    mask : (y, x) bool or None
    threads : int
    """

    def __init__(self, options: PluginOptions, device: str, mask: np.ndarray | None, threads: int):
        self._options, self._device, self._mask, self._threads = options, device, mask, threads
        self._groups: list[_Group] = []
        self._psf: np.ndarray | None = None

    def __call__(
        self, call: Call, residual: np.ndarray, model: np.ndarray, psf: np.ndarray
    ) -> tuple[np.ndarray, float, bool]:
        """One minor cycle of all channels and polarisations.

        Parameters
        ----------
        call : Call
        residual : (chan, pol, y, x) float32
            Exact, of `model` [Jy/beam].
        model : (chan, pol, y, x) float32
            [Jy/pixel]
        psf : (chan, y, x) float32

        Returns
        -------
        model : (chan, pol, y, x) float32
        level : float
            Largest |residual| that remains, as estimated by the minor cycle [Jy/beam].
        go_on : bool

        Raises
        ------
        RadrimError
            Settings of WSClean that the RIM does not support; NaN in an image.
        """
        self._check(call, residual.shape)
        fresh = self._psf is None or not np.array_equal(psf, self._psf)
        if fresh or not all(group.holds(model) for group in self._groups):  # a new run, or -continue
            self._psf = psf.copy()
            self._groups = self._begin(call, residual, model, psf)
        else:
            for group in self._groups:
                group.judge(residual)
        out = model.copy()
        levels = [group.improve(call.threshold) for group in self._groups]
        for group in self._groups:
            group.write(out)
        return out, max(levels), any(not group.state.stop for group in self._groups)

    def _check(self, call, shape):
        if shape[1] != len(self._options.pol):
            raise ConfigError(
                f"WSClean deconvolves {shape[1]} polarisations together, but the plug-in was made for "
                f"{','.join(self._options.pol)}: name them in the order of -pol, such as radrim plugin --pol I,Q,U,V."
            )
        if not call.mgain < 1:
            raise ConfigError("-mgain is 1: WSClean then makes no major cycles, which the RIM needs: use -mgain 0.8.")
        if self._mask is not None and self._mask.shape != shape[2:]:
            raise ConfigError(
                f"--mask is {self._mask.shape[1]} x {self._mask.shape[0]} pixels, but WSClean deconvolves "
                f"{shape[3]} x {shape[2]}; -parallel-deconvolution does not work with a plug-in."
            )

    def _begin(self, call, residual, model, psf):
        """A group of all channels for each polarisation; if spectra are not smooth, a group for each channel."""
        channels = len(call.freq)
        terms = 1 if call.squared else min(self._options.spectral_terms, channels)
        cuts = [[k] for k in range(channels)] if call.squared or channels == 1 else [list(range(channels))]
        config = ImageConfig(
            ms=("WSClean",), model=self._options.model, tile=self._options.tile, gain=call.gain,
            mgain=call.mgain, threshold=call.threshold,
        )  # fmt: skip
        groups = []
        for pol, name in enumerate(self._options.pol):
            mine = dataclasses.replace(config, pol="I" if name in POSITIVE else "Q")
            cycles = RimCycles(mine, self._device), CleanCycles(mine)
            for cut in cuts:
                label = name + (f", channel {cut[0]}" if len(cut) < channels else "")
                basis = Basis.of([call.freq[k] for k in cut], [call.weight[k] for k in cut], min(terms, len(cut)))
                groups.append(
                    _Group(
                        label,
                        pol,
                        cut,
                        basis,
                        cycles,
                        self._options.noise,
                        self._mask,
                        self._threads,
                        residual,
                        model,
                        psf,
                    )
                )
        log.info("radrim deconvolves %s by the RIM %s on %s.",
                 " and ".join(f"{group.label} ({len(group.channels)} channels, {len(group.state.model)} terms)"
                              for group in groups), self._options.model, self._device)  # fmt: skip
        return groups


class _Measured:
    """The exact residual of the model that WSClean was given last."""

    left_noise = float("nan")

    def __init__(self, image):
        self.image = image

    def residual(self, model: np.ndarray) -> np.ndarray:  # noqa: ARG002 - WSClean has computed it
        return self.image


class _Group:
    """Channels of one polarisation that are deconvolved together, as terms of their spectrum."""

    def __init__(  # noqa: PLR0913, PLR0917 - the options of the run, and the images of a call
        self,
        label: str,
        pol: int,
        channels: list[int],
        basis: Basis,
        cycles: tuple[RimCycles, CleanCycles],
        noise: float,
        mask: np.ndarray | None,
        threads: int,
        residual: np.ndarray,
        model: np.ndarray,
        psf: np.ndarray,
    ):
        self.label, self.pol, self.channels, self._basis = label, pol, channels, basis
        self._given = model[channels, pol].copy()
        """The model from WSClean. Updates are limited to the terms of the spectrum."""
        start = self._combine(self._given)
        self._start, self._last = start, self._given
        dirty = self._combine(residual[channels, pol])
        squares = dataclasses.replace(basis, values=basis.values**2)
        self._measured = _Measured(dirty)
        self.state = WholeImage(
            label=label, expected=noise, measurement=self._measured, dirty=dirty, psf=_sum(psf[channels], squares),
            model=start, residual=dirty,
        )  # fmt: skip
        self._how = mask, threads
        self._finish: CleanCycles | None = cycles[1]
        self._noise: float | None = None if np.isnan(noise) else noise
        self._scatter: list[float] = []
        self._take(cycles[0])
        self._pending: tuple | None = None

    def _take(self, cycles):
        """Set up the solvers of one kind of minor cycle."""
        make = [cycles.factory(*self._how, signed=term > 0) for term in range(len(self.state.dirty))]
        self.state.cut(cycles.tiles(self.state.dirty.shape[1:]), make, self._how[1], cycles.stages)

    def holds(self, model: np.ndarray) -> bool:
        """Whether a model is the result of the last call."""
        # Equal up to rounding: WSClean multiplies the model by the peak of the PSF, which is about 1.
        off = np.abs(model[self.channels, self.pol] - self._last).max()
        return bool(off <= PluginSettings.max_rounding * np.abs(self._last).max())

    def judge(self, residual: np.ndarray) -> None:
        """Accept the last update, or part of it, given its exact residual."""
        if self._pending is not None:
            minors, start = self._pending
            self._pending = None
            self._measured.image = self._combine(residual[self.channels, self.pol])
            accept(self.state, minors, self.state.measure())
            describe(self.state, time.time() - start)

    def improve(self, threshold: float) -> float:
        """Make the next update; returns the remaining level [Jy/beam]."""
        state = self.state
        if state.stop:
            return float(np.abs(state.residual).max())
        start = time.time()
        minors = self._ask(threshold)
        if self._done(minors) and self._noise is None and self._finish is not None and state.model.any():
            # The RIM needs the noise to decide when to stop. Without it, CLEAN continues to the threshold of WSClean.
            log.info("%s: %s; multi-scale CLEAN continues.", self.label, minors[0].stop)
            self._take(self._finish)
            self._finish = None
            minors = self._ask(threshold)
        if self._done(minors):
            state.stop = minors[0].stop
            log.info("%s: finished: %s.", self.label, state.stop)
        else:
            self._pending = minors, start
        return max(minor.peak for minor in minors)

    def _ask(self, threshold):
        """Make the minor cycles' next update, which is then pending in the state."""
        expected = self._noise or self._guess()
        for solver in self.state.solvers:
            if isinstance(solver, RimSolver):
                solver.settings = dataclasses.replace(solver.settings, threshold=threshold, noise=expected)
            elif isinstance(solver, CleanSolver):
                solver.settings = dataclasses.replace(solver.settings, threshold=threshold)
        return self.state.propose()

    def _guess(self):
        """Estimate of the noise after deconvolution, which WSClean does not provide.

        If a major cycle lowered the scatter of the residual by a factor, the next one is expected to lower it likewise.
        """
        self._scatter.append(noise_mad(self.state.residual[0]))
        if describe_noise(self.state.residual[0], MAX_FIRST_NOISE_RMS * self._scatter[-1]):
            return self._scatter[-1]
        if len(self._scatter) == 1:
            return PluginSettings.first_noise_factor * self._scatter[-1]
        return self._scatter[-1] * min(1.0, self._scatter[-1] / self._scatter[-2])

    def _done(self, minors):
        return self.state.next_model is self.state.model and all(minor.converged for minor in minors)

    def write(self, out: np.ndarray) -> None:
        """Put the model of the channels into all images (chan, pol, y, x)."""
        change = self.state.next_model - self._start
        for number, channel in enumerate(self.channels):
            out[channel, self.pol] = self._given[number] + self._basis.image(number, change)
        self._last = out[self.channels, self.pol].copy()

    def _combine(self, images):
        return _sum(images, self._basis)


def _sum(images, basis):
    """Images of the terms from those of the channels."""
    total = np.zeros((basis.values.shape[1], *images.shape[1:]))
    for number, image in enumerate(images):
        basis.add(number, image, total)
    return total.astype(np.float32)
