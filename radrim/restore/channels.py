"""Step 5, restore: restored images of output channels, and their average."""

import logging
import math
from collections.abc import Sequence
from typing import cast

import numpy as np

from radrim.beam import theoretical_beam
from radrim.deconvolve.whole import WholeImage
from radrim.geometry import C, ImageGrid, crop_centre
from radrim.measure.fit_quality import merge
from radrim.measure.measurement import MeasuredChannel
from radrim.metrics import residual_noise
from radrim.products import label_of
from radrim.restore.restoring import BeamOptions, choose_beam, restored
from radrim.result import Channels, Image
from radrim.visibilities import Observation, bandwidth_of

log = logging.getLogger("radrim")


def restore_channel(
    channel: WholeImage, grid: ImageGrid, channel_width: float, options: BeamOptions, threads: int
) -> Image:
    """Fit the beam of one output channel, and restore its image.

    Parameters
    ----------
    channel : WholeImage
        State after deconvolution, or after the measurement if nothing is deconvolved.
    grid : ImageGrid
    channel_width : float
        Width of the channels of blocks that do not know theirs [Hz].
    options : ImageConfig
        Its options on the restoring beam.
    threads : int
    """
    measurement = cast("MeasuredChannel", channel.measurement)
    blocks = measurement.blocks
    # A strong taper can set all weights of a block to 0.
    longest = max(float(b.uv_length[b.weight.any(1)].max(initial=0) * b.freq.max() / C) for b in blocks)
    psf = crop_centre(channel.psf, grid.shape)
    beam, fitted = choose_beam(options, psf, grid.scale, theoretical_beam(longest))
    image = Image(
        channel.label,
        measurement.freq,
        bandwidth_of(blocks, channel_width),
        beam,
        residual_noise(channel.residual),
        channel.dirty,
        np.ascontiguousarray(psf),
        stokes=channel.stokes,
        psf_beam=fitted if fitted != beam else None,
    )
    image.facts = {
        "visibilities": measurement.samples,
        "sum_weight": measurement.sum_weight,
        "operator": measurement.kind,
    }
    if channel.stop:
        image.model, image.residual, image.stop, image.cycles = (
            channel.model,
            channel.residual,
            channel.stop,
            channel.cycles,
        )
        image.fit_quality = channel.fit_quality
        image.image = restored(channel.model, channel.residual, beam, fitted, grid.scale, threads)
        image.facts |= {
            "expected_noise": channel.expected,
            "major_cycles": len(channel.cycles),
            "components": channel.components,
            **channel.facts,
        }
        log_restored(image, float(np.abs(image.image).max()))
    return image


def log_restored(image: Image, peak: float, averaged: int = 0) -> None:
    """Log why the deconvolution of an image stopped, its noise, dynamic range and beam.

    Parameters
    ----------
    image : Image
    peak : float
        Largest |value| of the restored image [Jy/beam].
    averaged : int
        Number of channels of which it is the average; 0 for a channel.
    """
    log.info(
        "%s%s. Noise %.4g Jy/beam, peak over noise %.4g, beam %s.",
        f"{image.label}, " if image.label else "",
        f"average of {averaged} channels" if averaged else f"stopped: {image.stop}",
        image.noise,
        peak / max(image.noise, 1e-30),
        image.beam,
    )


def average_of(images: Sequence[Image], observation: Observation) -> Image:
    """The image of all channels together, without its arrays; beam and noise are set later.

    Parameters
    ----------
    images : sequence of Image
        The channels; their arrays are not used.
    observation : Observation
    """
    weights = [image.facts["sum_weight"] for image in images]
    freq = float(np.average([image.freq for image in images], weights=weights))
    bandwidth = bandwidth_of(observation.blocks, observation.channel_width)
    nothing, first = np.zeros((0, 0), np.float32), images[0]
    label = label_of("MFS", first.label.removeprefix(first.channel).removeprefix("-"))
    out = Image(label, freq, bandwidth, first.beam, float("nan"), nothing, nothing, stokes=first.stokes)
    out.facts = {"visibilities": sum(image.facts["visibilities"] for image in images), "sum_weight": sum(weights)}
    if images[0].stop:
        out.stop, out.cycles = "each channel by itself", [cycle for image in images for cycle in image.cycles]
        out.facts["components"] = sum(cycle["components"] for cycle in out.cycles)
        out.fit_quality = merge([image.fit_quality for image in images if image.fit_quality])
    if all("expected_noise" in image.facts for image in images):
        noise = [weight * image.facts["expected_noise"] for weight, image in zip(weights, images, strict=True)]
        out.facts["expected_noise"] = math.hypot(*noise) / sum(weights)
    return out


def average_channels(
    images: Channels, observation: Observation, grid: ImageGrid, options: BeamOptions, threads: int
) -> Image:
    """Weighted average of all channels, restored with the beam of the average PSF.

    Parameters
    ----------
    images : Channels
        Read one after the other.
    observation : Observation
    grid : ImageGrid
    options : ImageConfig
        Its options on the restoring beam.
    threads : int
    """
    out = average_of(images.headers, observation)
    kinds = ["dirty", "psf"] + ["model", "residual"] * bool(out.stop) + ["pb"] * ("pb" in images.headers[0].paths)
    sums = {kind: np.zeros(grid.shape) for kind in kinds}
    for image in images:
        for kind in kinds:
            sums[kind] += image.facts["sum_weight"] * getattr(image, kind)
    for kind, total in sums.items():
        setattr(out, kind, (total / out.facts["sum_weight"]).astype(np.float32))
    estimate = theoretical_beam(observation.longest_baseline())
    out.beam, fitted = choose_beam(options, out.psf, grid.scale, estimate)
    out.psf_beam = fitted if fitted != out.beam else None
    out.noise = residual_noise(out.dirty if out.residual is None else out.residual)
    if out.model is not None and out.residual is not None:
        out.image = restored(out.model, out.residual, out.beam, fitted, grid.scale, threads)
        log_restored(out, float(np.abs(out.image).max()), len(images.headers))
    return out
