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

    max_steps: int = 30
    """Largest number of Newton steps from the slope of the polynomials to the index."""

    max_step: float = 0.5
    """Largest change of a coefficient of ln I in one step."""

    tolerance: float = 1e-6
    """Change of all coefficients at which the steps end."""

    max_index: float = 10.0
    """Largest index. Noise can give a slope that no power law has."""

    pixels: int = 65_536
    """Pixels whose spectra are computed at once."""


@dataclass(frozen=True)
class BandSettings:
    """Over which bands two terms are enough."""

    max_ratio: float = 1.3
    """Largest ratio of the highest to the lowest frequency. Long baselines measure the high frequencies of a scale, and
    short ones the low ones, so that a spectrum's curvature, which two terms cannot hold, turns the slopes: the median
    index of a source of -0.7 is -0.721 from 0.95 to 1.65 GHz, and -0.696 from 1.13 to 1.47 GHz."""


def advise_terms(lowest: float, highest: float, terms: int, settings: BandSettings = BandSettings()) -> str:
    """A sentence where more `--spectral-terms` would be better for a band from `lowest` to `highest` [Hz]; or ''."""
    ratio = highest / lowest
    if terms != 2 or ratio <= settings.max_ratio:
        return ""
    return (
        f"Two spectral terms are too few for a band of {lowest / 1e6:.4g} to {highest / 1e6:.4g} MHz, a ratio of "
        f"{ratio:.2f} (limit {settings.max_ratio:g}): the curvature of a power law is beyond them, and shifts the "
        "spectral index, by 0.02 at a ratio of 1.7. Use --spectral-terms 3."
    )


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
    log : (channel,) float64
        ln(nu / nu0).
    """

    values: np.ndarray
    weight: np.ndarray
    value: np.ndarray
    slope: np.ndarray
    log: np.ndarray

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
        ratio = nu / np.average(nu, weights=share)
        x = ratio - 1
        powers = np.vander(x, terms, increasing=True)
        _, r = np.linalg.qr(np.sqrt(share)[:, None] * powers)
        r *= np.sign(np.diag(r))[:, None]  # the first polynomial is 1, not -1
        into = np.linalg.inv(r)
        slope = into[1] if terms > 1 else np.zeros(1)
        return cls(powers @ into, share, into[0], slope, np.log(ratio))

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
        NaN where the image is not above 5 times its noise (`SpectrumSettings.significant`). Primary beams, which are
        narrower at higher frequencies, are taken out if the channels have them.
    """
    shape = (len(basis.value), *channels.plane(0, "model").shape)
    model, residual = np.zeros(shape), np.zeros(shape)
    for number in range(channels.count):
        basis.add(number, channels.plane(number, "model"), model)
        basis.add(number, channels.plane(number, "residual"), residual)
    noise = residual_noise(residual[0]) if noise is None else noise
    restored = [
        left + restore(term.astype(np.float32), beam, scale, threads)
        for left, term in zip(residual, model, strict=True)
    ]
    value = np.tensordot(basis.value, restored, 1)
    known = value > SpectrumSettings.significant * noise * np.linalg.norm(basis.value)
    pb = np.ones((channels.count, 1))
    if channels.pb:
        pb = np.stack([channels.plane(number, "pb")[known] for number in range(channels.count)])
    maps = np.full((2, *shape[1:]), np.nan, np.float32)
    maps[:, known] = fit_index(np.stack([term[known] for term in restored]), basis, noise, pb)
    return maps[0], maps[1]


def fit_index(terms: np.ndarray, basis: Basis, noise: float, pb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spectral indices whose spectra have the given terms, and their errors.

    Parameters
    ----------
    terms : (term, pixel) float64
        [Jy/beam]
    basis : Basis
    noise : float
        Of each term [Jy/beam].
    pb : (channel, pixel or 1) float
        Primary beams, by which the spectra are multiplied.

    Returns
    -------
    alpha, error : (pixel,) float64
    """
    alpha, error = np.zeros((2, terms.shape[1]))
    for start in range(0, terms.shape[1], SpectrumSettings.pixels):
        part = slice(start, start + SpectrumSettings.pixels)
        beams = pb if pb.shape[1] == 1 else pb[:, part]
        alpha[part], error[part] = _fit_index(terms[:, part], basis, noise, beams)
    return alpha, error


def _fit_index(terms, basis, noise, pb):
    """`fit_index` of some pixels, by Newton's method."""
    settings = SpectrumSettings()
    count = len(terms) - 1
    powers = basis.log[:, None] ** np.arange(1, count + 1)  # (channel, coefficient)
    project = (basis.weight[:, None] * basis.values).T  # (term, channel)
    ratio = terms[1:] / terms[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (basis.slope @ terms) / (basis.value @ terms)
    found = np.zeros((count, terms.shape[1]))
    found[0] = np.clip(np.nan_to_num(slope), -settings.max_index / 2, settings.max_index / 2)
    jacobian = np.zeros((terms.shape[1], count, count))
    for _ in range(settings.max_steps):
        spectrum = pb * np.exp(np.clip(powers @ found, -50, 50))
        seen = project @ spectrum
        by = (project[:, None] * powers.T) @ spectrum  # (term, coefficient, pixel)
        jacobian = ((by[1:] - by[0] * (seen[1:] / seen[0])[:, None]) / seen[0]).transpose(2, 0, 1)
        left = (ratio - seen[1:] / seen[0]).T[..., None]
        step = (np.linalg.pinv(jacobian) @ left)[..., 0].T
        step = np.clip(step, -settings.max_step, settings.max_step)
        found = np.clip(found + step, -settings.max_index, settings.max_index)
        if np.abs(step).max(initial=0.0) < settings.tolerance:
            break
    # The index is the first coefficient; the noise of all terms is alike and independent.
    row = np.linalg.pinv(jacobian)[:, 0].T
    error = noise / np.abs(terms[0]) * np.sqrt((row**2).sum(0) + ((row * ratio).sum(0)) ** 2)
    return found[0], error
