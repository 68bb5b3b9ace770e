"""Step 5, deconvolve: major cycles with exact residuals around a minor cycle per tile, as a Dask graph."""

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from dask import delayed

from radrim.deconvolve.tiles import Tile, mosaic
from radrim.errors import SolverError
from radrim.geometry import crop_centre
from radrim.metrics import noise_mad
from radrim.runtime.executors import compute

log = logging.getLogger("radrim")

RISE_LIMIT = 1.02
"""A major cycle after which the residual's rms is larger than the best so far by this factor is undone."""

STALL_LIMIT = 0.995
"""Two major cycles in a row that leave more than this part of the residual's rms end the deconvolution."""

OVERSTATED = 0.8
"""What a model leaves of the visibilities shows less than this part of the noise expected: the rest was the sky."""

UNFINISHED = 0.9
"""In the end less than this part, of the residual's rms, too, is enough: what makes the difference is no noise."""

BRIGHT = 8.0
"""With a peak of so many times its rms the residual is no noise anyway, and its rms does not count."""


@dataclass
class ChannelState:
    """One output channel on its way: what is measured, what is modelled, and what happened so far.

    Parameters
    ----------
    label : str
        That of the image, unique in the run.
    measurement : Measurement, JointMeasurement or SpectralMeasurement
    dirty : (y, x) float32
        [Jy/beam]
    psf : (y, x) float32
        As large as the image or larger.
    model : (y, x) float32
        [Jy/pixel]
    residual : (y, x) float32
        [Jy/beam]
    expected : float
        Noise of the dirty image, from the weights and the scatter of the data [Jy/beam]; NaN if unknown. Lower, where
        the data scatter less once the model is taken from them.
    solvers : list
        One minor cycle per tile.
    remembered : list of (dict, dict)
        State of each solver (facts, arrays), where the channel goes on after an earlier run.
    cycles : list of dict
        One per major cycle, as `radrim.report.page.Report.cycles` wants them.
    stop : str
        Why the deconvolution ended; empty while it goes on.
    facts : dict
        More numbers for the FITS header, by the names of `radrim.write.fits.KEYWORDS`.
    stokes : str
    """

    label: str
    measurement: Any
    dirty: np.ndarray
    psf: np.ndarray
    model: np.ndarray
    residual: np.ndarray
    expected: float = float("nan")
    solvers: list = field(default_factory=list)
    remembered: list = field(default_factory=list)
    cycles: list[dict] = field(default_factory=list)
    stop: str = ""
    facts: dict = field(default_factory=dict)
    stokes: str = "I"

    @property
    def components(self):
        """Components found so far."""
        return sum(cycle["components"] for cycle in self.cycles)


def deconvolve(
    channels: Sequence[ChannelState],
    tiles: Sequence[Tile],
    make_solver: Callable,
    max_major,
    workers,
    keep: Callable = lambda channel: None,
):
    """Deconvolve channels in step, each until its own end; changes their model, residual, cycles and stop.

    Parameters
    ----------
    channels : sequence of ChannelState
    tiles : sequence of Tile
    make_solver : callable
        Tile and ChannelState to a minor cycle ``(residual, psf, model, noise, window, peak) -> MinorCycle``; its
        ``expect(noise)`` is told of less noise than was expected, and answers whether it has more to do then.
    max_major : int
        Most major cycles.
    workers : int
        Tasks at once.

    Raises
    ------
    SolverError
        A minor cycle met numbers that it cannot work with. Every channel then is as its last major cycle left it;
        `stop` says that a minor cycle failed, or is empty where there was no major cycle yet.
    """
    for channel in channels:
        channel.solvers = [make_solver(tile, channel) for tile in tiles]
        for solver, state in zip(channel.solvers, channel.remembered, strict=False):
            solver.resume(*state)
    while active := [channel for channel in channels if not channel.stop and len(channel.cycles) < max_major]:
        start = time.perf_counter()
        try:
            results = compute([_cycle_graph(channel, tiles) for channel in active], "major cycle", workers)
        except SolverError:
            for channel in active:
                failed = f"a minor cycle failed in major cycle {len(channel.cycles) + 1}"
                channel.stop = failed if channel.cycles else ""
            raise
        for channel, (model, residual, minors) in zip(active, results, strict=True):
            if accept(channel, model, residual, minors, time.perf_counter() - start):
                _expect_less(channel)
            if len(channel.cycles) == max_major:
                channel.stop = channel.stop or f"{max_major} major cycles (--max-major)"
            keep(channel)


def _cycle_graph(channel, tiles):
    """One major cycle of one channel: a minor cycle per tile, the mosaic of their updates, the exact residual."""
    noise = noise_mad(channel.residual)
    peak = float(np.abs(channel.residual).max())
    minors = [
        delayed(run_minor, pure=False)(solver, tile, channel, noise, peak)
        for solver, tile in zip(channel.solvers, tiles, strict=True)
    ]
    model = delayed(_add, pure=False)(channel.model, tiles, minors)
    residual = delayed(_residual, pure=False)(channel, model)
    return delayed((model, residual, minors))


def run_minor(solver, tile, channel, noise, peak):
    """One tile's minor cycle.

    The solver cleans the halo, too, and that part of its update is dropped: sources there are their own tile's, but
    left alone their sidelobes would be cleaned here as if they were sources.
    """
    residual = np.ascontiguousarray(channel.residual[tile.outer])
    factor = getattr(solver, "psf_factor", 1)
    shape = [min(factor * n, have) for n, have in zip(tile.shape, channel.psf.shape, strict=True)]
    psf = np.ascontiguousarray(crop_centre(channel.psf, shape))
    try:
        minor = solver(residual, psf, channel.model[tile.outer], noise, None, peak)
    except SolverError as error:
        y, x = (f"{s.start}:{s.stop}" for s in tile.outer)
        raise SolverError(f"{channel.label}, tile y {y}, x {x}: {error}".removeprefix(", ")) from None
    return dataclasses.replace(minor, update=np.where(tile.window(), minor.update, 0))


def _add(model, tiles, minors):
    return model + mosaic(model.shape, tiles, [minor.update for minor in minors])


def _residual(channel, model):
    if np.array_equal(model, channel.model):
        return channel.residual
    start = time.perf_counter()
    residual = channel.measurement.residual(model)
    log.debug("exact residual: %.2f s", time.perf_counter() - start)
    return residual


def _best_part(update, before, after):
    """How much of an update lowers chi^2 most; above 1 if it could go further, 0 if it leads the wrong way.

    Along the update d chi^2 is the parabola -2 a <d, r> + a^2 <d, G d>, with r the exact residual before and G d what
    the update took away from it.
    """
    update = update.astype(np.float64)
    fall, curve = np.vdot(update, before), np.vdot(update, before - after)
    return float(fall / curve) if fall > 0 and curve > 0 else 0.0


def accept(channel, model, residual, minors, seconds):
    """Take over a major cycle's result, cut it or undo it if it made things worse, and decide whether to go on.

    False: it was undone.
    """
    whole = max(minor.whole for minor in minors)
    part = 1.0 if whole else _best_part(model - channel.model, channel.residual, residual)
    if 0 < part < 1:  # tiles, or a PSF that changes over the field, can make an update too large
        model = channel.model + np.float32(part) * (model - channel.model)
        residual = channel.residual + np.float32(part) * (residual - channel.residual)
    rms = float(residual.std())
    risen = conclude(channel, minors, part, float(channel.residual.std()), rms, whole)
    if not risen:
        channel.model, channel.residual = model, residual
    # Of several terms of a spectrum the first is that of all channels together.
    flux = float((channel.model[0] if channel.model.ndim == 3 else channel.model).sum())
    describe(channel, float(np.abs(channel.residual).max()), flux, seconds)
    return not risen


def _expect_less(channel):
    """Lower the noise expected if the visibilities show less of it than before; the deconvolution then goes on.

    Where few, wide channels and long integrations let the sky change from sample to sample, it scatters as noise does,
    until a model explains it.
    """
    seen, most = channel.measurement.left_noise, OVERSTATED * channel.expected
    if channel.stop:
        rms = float(channel.residual.std())
        bright = np.abs(channel.residual).max() > BRIGHT * rms
        most = UNFINISHED * (channel.expected if bright else min(channel.expected, rms))
    if not seen < most:
        return
    log.info(
        "%sonce the model is taken from them, the data scatter less: noise expected %.3g, not %.3g Jy/beam.",
        f"{channel.label}, " if channel.label else "",
        seen,
        channel.expected,
    )
    channel.expected = seen
    if any(solver.expect(seen) for solver in channel.solvers):
        channel.stop = ""


def conclude(channel, minors, part, before, rms, whole=0.0):
    """Note a major cycle and decide whether the deconvolution goes on.

    Parameters
    ----------
    channel
        Its `cycles` and `stop` are written.
    minors : sequence of MinorCycle
        At least one.
    part : float
        How much of the update was taken, if above 0 and below 1.
    before, rms : float
        Of the residual before and after [Jy/beam].
    whole : float
        Largest `rms` over `before` of an update that is taken whole or not at all (`MinorCycle.whole`), if above 0.

    Returns
    -------
    bool
        The residual rose, and the update must be undone.
    """
    cycles = channel.cycles
    reason = max(minors, key=lambda minor: minor.components).stop
    components = sum(minor.components for minor in minors)
    risen = not rms <= (whole or RISE_LIMIT) * before
    # The end of a deconvolution lets the residual rise, on purpose.
    slow = rms > STALL_LIMIT * before and not whole
    stalled = slow and bool(cycles) and cycles[-1].get("stalled", False)
    if risen:
        channel.stop = "the residual rose; the last cycle was undone"
    else:
        # A cycle without components can be the one that goes from the free stage to the masked one.
        idle = components == 0 and bool(cycles) and cycles[-1]["components"] == 0
        if idle or all(minor.converged for minor in minors):
            channel.stop = reason
        elif stalled:
            channel.stop = "the residual no longer falls"
    if 0 < part < 1:
        reason = f"{reason}, cut to {part:.1%}"
    cycles.append(
        {
            "channel": channel.label,
            "cycle": len(cycles) + 1,
            "rms": rms,
            "components": components,
            "stop": channel.stop or reason,
            "stalled": slow,
        }
    )
    return risen


def describe(channel, peak, flux, seconds):
    """Complete the note of the last major cycle and log it: the residual's peak, the model's flux, wall time."""
    cycle = channel.cycles[-1]
    cycle |= {"peak": peak, "flux": flux, "seconds": seconds}
    log.info(
        "%smajor cycle %d: %d components, model flux %.4g Jy, residual peak %.4g, rms %.4g Jy/beam (%s, %.1f s)",
        f"{channel.label}, " if channel.label else "",
        cycle["cycle"],
        cycle["components"],
        flux,
        peak,
        cycle["rms"],
        cycle["stop"],
        seconds,
    )
