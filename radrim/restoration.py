"""Step 6, restore: the fitted beam on the model, and the average over output channels."""

import logging

import numpy as np

from radrim.beam import fit_beam, restore, theoretical_beam
from radrim.geometry import C
from radrim.metrics import noise_mad
from radrim.result import Image
from radrim.tile import crop_centre

log = logging.getLogger("radrim")


def restore_channel(channel, grid, channel_width, beam_fit, threads) -> Image:
    """Beam and restored image of one output channel.

    Parameters
    ----------
    channel : ChannelState
        Deconvolved, or as measured if nothing was to be deconvolved.
    grid : ImageGrid
    channel_width : float
        Width of one channel of the data [Hz].
    beam_fit : str
        Region of `radrim.beam.fit_beam`.
    threads : int
    """
    blocks = channel.measurement.blocks
    # A strong taper can leave a block without weight.
    longest = max(float(b.uv_length[b.weight.any(1)].max(initial=0) * b.freq.max() / C) for b in blocks)
    psf = crop_centre(channel.psf, grid.shape)
    beam = fit_beam(psf, grid.scale, theoretical_beam(longest), beam_fit)
    freq = channel.measurement.channels
    image = Image(
        channel.label,
        channel.measurement.freq,
        float(np.ptp(freq)) + channel_width,
        beam,
        noise_mad(channel.residual),
        channel.dirty,
        np.ascontiguousarray(psf),
    )
    image.facts = {
        "visibilities": channel.measurement.samples,
        "sum_weight": channel.measurement.sum_weight,
        "operator": channel.measurement.kind,
    }
    if channel.stop:
        image.model, image.residual, image.stop, image.cycles = (
            channel.model,
            channel.residual,
            channel.stop,
            channel.cycles,
        )
        image.image = channel.residual + restore(channel.model, beam, grid.scale, threads)
        image.facts |= {"major_cycles": len(channel.cycles), "components": channel.components}
        log.info(
            "%sstopped: %s. Noise %.4g Jy/beam, peak over noise %.4g, beam %s.",
            f"{channel.label}, " if channel.label else "",
            channel.stop,
            image.noise,
            np.abs(image.image).max() / max(image.noise, 1e-30),
            beam,
        )
    return image


class ChannelAverage:
    """The average of all output channels, each counted by its weight, summed up while the channels pass.

    Parameters
    ----------
    grid : ImageGrid
    bandwidth : float
        Of all channels together [Hz].
    """

    def __init__(self, grid, bandwidth):
        self._grid, self._bandwidth = grid, bandwidth
        self._sums = {kind: np.zeros(grid.shape) for kind in ("dirty", "psf", "model", "residual")}
        self._weight = self._freq = 0.0
        self._visibilities = 0
        self._cycles: list[dict] = []

    def add(self, image: Image):
        """Count one channel in."""
        weight = image.facts["sum_weight"]
        self._weight += weight
        self._visibilities += image.facts["visibilities"]
        self._freq += weight * image.freq
        self._cycles += image.cycles
        for kind, total in self._sums.items():
            part = getattr(image, kind)
            if part is not None:
                total += weight * part

    def image(self, longest_baseline, beam_fit, threads, deconvolved) -> Image:
        """The average, restored with the beam of its own PSF.

        Parameters
        ----------
        longest_baseline : float
            [wavelengths]
        beam_fit : str
            Region of `radrim.beam.fit_beam`.
        threads : int
        deconvolved : bool
            Whether the channels have models.
        """
        mean = {kind: (total / self._weight).astype(np.float32) for kind, total in self._sums.items()}
        beam = fit_beam(mean["psf"], self._grid.scale, theoretical_beam(longest_baseline), beam_fit)
        noise = noise_mad(mean["residual" if deconvolved else "dirty"])
        image = Image("MFS", self._freq / self._weight, self._bandwidth, beam, noise, mean["dirty"], mean["psf"])
        image.facts = {"visibilities": self._visibilities, "sum_weight": self._weight}
        if deconvolved:
            image.model, image.residual = mean["model"], mean["residual"]
            image.image = mean["residual"] + restore(mean["model"], beam, self._grid.scale, threads)
            image.stop, image.cycles = "each channel by itself", self._cycles
            image.facts |= {"components": sum(cycle["components"] for cycle in self._cycles)}
        return image
