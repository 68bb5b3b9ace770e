"""Step 5, restore: spectra of output channels as polynomials of frequency, and their spectral index.

The sky of channel k is sum_i phi_i(k) t_i, with polynomials phi_i of frequency that are orthonormal under the channels'
weights: mean_k w_k phi_i phi_j = 1 if i = j, else 0. The residual images of the terms, R_i = mean_k w_k phi_i r_k, then
have the same noise. The PSF of each term has the peak 1, and the PSFs that couple different terms have the peak 0. The
Taylor terms of CASA span the same spectra (Rau & Cornwell 2011, A&A 532, A71), but are strongly coupled.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from radrim.beam import Beam, restore
from radrim.metrics import residual_noise


@dataclass(frozen=True)
class SpectrumSettings:
    """Where spectral indices are given."""

    significant: float = 5.0
    """Least brightness of the restored image at which its spectral index is given [noise]."""


@dataclass(frozen=True)
class Basis:
    """Orthonormal polynomials of frequency.

    Parameters
    ----------
    values : (channel, term) float64
    weight : (channel,) float64
        Fraction of each channel in the sum of weights.
    value, slope : (term,) float64
        phi and nu0 dphi/dnu of each polynomial at the reference frequency nu0.
    """

    values: np.ndarray
    weight: np.ndarray
    value: np.ndarray
    slope: np.ndarray

    @classmethod
    def of(cls, freq: ArrayLike, weight: ArrayLike, terms: int) -> Self:
        """Polynomials of degree 0 to `terms` - 1 over channels.

        Parameters
        ----------
        freq : (channel,) array
            [Hz]; the reference is their weighted mean.
        weight : (channel,) array
            Sums of weights.
        terms : int
            At most the number of channels.
        """
        nu, share = np.asarray(freq, float), np.asarray(weight, float)
        share = share / share.sum()
        x = nu / np.average(nu, weights=share) - 1
        powers = np.vander(x, terms, increasing=True)
        _, r = np.linalg.qr(np.sqrt(share)[:, None] * powers)
        r *= np.sign(np.diag(r))[:, None]  # the first polynomial is 1, not -1
        into = np.linalg.inv(r)
        slope = into[1] if terms > 1 else np.zeros(1)
        return cls(powers @ into, share, into[0], slope)

    def image(self, channel: int, terms: np.ndarray) -> np.ndarray:
        """The image of a channel, (y, x), from those of the terms, (term, y, x)."""
        return np.tensordot(self.values[channel].astype(np.float32), terms, 1)

    def add(self, channel: int, image: np.ndarray, terms: np.ndarray) -> None:
        """Add the contribution of the image of a channel, (y, x), to the terms, (term, y, x), in place."""
        for term, phi in enumerate(self.values[channel]):
            terms[term] += (self.weight[channel] * phi) * image


@dataclass(frozen=True)
class SpectralPlanes:
    """The images of the channels of a spectrum, or a window of them.

    Parameters
    ----------
    plane : callable
        Number of a channel and kind ('model', 'residual', 'pb') to an image (y, x).
    count : int
        Channels.
    pb : bool
        Whether they have primary beams.
    """

    plane: Callable[[int, str], np.ndarray]
    count: int
    pb: bool


def spectral_index(
    channels: SpectralPlanes,
    basis: Basis,
    beam: Beam,
    scale: float,
    threads: int = 1,
    noise: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Spectral index alpha, I ~ nu^alpha, at the reference frequency, and its error from the noise.

    Both follow from the terms of the models and residuals of the channels, restored with one beam. Different beams of
    the channels would give sources spurious spectra.

    Parameters
    ----------
    channels : SpectralPlanes
        Read one after the other.
    basis : Basis
        Of at least two terms.
    beam : Beam
    scale : float
        Pixel size [rad].
    threads : int
    noise : float, optional
        Of the residual of all channels together [Jy/beam]; measured if absent.

    Returns
    -------
    alpha, error : (y, x) float32
        NaN where the image is not above 5 times its noise (`SpectrumSettings.significant`). The spectral index of the
        primary beam, which is narrower at higher frequencies, is subtracted if the channels have one.
    """
    shape = (len(basis.value), *channels.plane(0, "model").shape)
    model, residual = np.zeros(shape), np.zeros(shape)
    for number in range(channels.count):
        basis.add(number, channels.plane(number, "model"), model)
        basis.add(number, channels.plane(number, "residual"), residual)
    noise = residual_noise(residual[0]) if noise is None else noise
    value, slope = np.zeros(shape[1:]), np.zeros(shape[1:])
    for i in range(shape[0]):
        restored = residual[i] + restore(model[i].astype(np.float32), beam, scale, threads)
        value += basis.value[i] * restored
        slope += basis.slope[i] * restored
    with np.errstate(divide="ignore", invalid="ignore"):
        alpha = slope / value
        spread = (basis.slope[:, None, None] - alpha * basis.value[:, None, None]) ** 2
        error = noise * np.sqrt(spread.sum(0)) / np.abs(value)
    if channels.pb:
        pb = np.zeros(shape)
        for number in range(channels.count):
            basis.add(number, channels.plane(number, "pb"), pb)
        with np.errstate(divide="ignore", invalid="ignore"):
            alpha -= np.tensordot(basis.slope, pb, 1) / np.tensordot(basis.value, pb, 1)
    known = value > SpectrumSettings.significant * noise * np.linalg.norm(basis.value)
    known_alpha, known_error = (np.where(known, image, np.nan).astype(np.float32) for image in (alpha, error))
    return known_alpha, known_error
