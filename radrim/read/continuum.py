"""Subtracts the continuum in the uv plane: a polynomial in frequency for each row, fitted to its line-free channels.

The visibilities of a source near the phase centre change slowly across a spectral window. A polynomial of low order
through the channels without a line is therefore the continuum in all channels of the row, and the rest is the line. The
phases of sources far from the phase centre turn several times across the window, which no such polynomial can follow.

References
----------
Cornwell, Uson & Haddad (1992), A&A 258, 583; Sault (1994), A&AS 107, 55.
"""

from pathlib import Path

import numpy as np

from radrim.errors import ConfigError
from radrim.read.settings import DEFAULTS, ContinuumSettings


def line_free(path: Path, spw: int, channels: int, order: int, ranges: tuple[int, ...] | None = None) -> np.ndarray:
    """The channels of a spectral window that hold continuum alone.

    Parameters
    ----------
    path : Path
        Path of the Measurement Set, for messages.
    spw : int
        Number of the spectral window.
    channels : int
        Number of its channels.
    order : int
        Order of the polynomial.
    ranges : tuple of int, optional
        START, END (not included) of each range of line-free channels, one after the other; by default all channels.

    Returns
    -------
    (chan,) bool

    Raises
    ------
    ConfigError
        A channel does not exist, or the channels are too few for the order.
    """
    free = np.full(channels, ranges is None)
    for start, end in zip((ranges or ())[::2], (ranges or ())[1::2], strict=True):
        if end > channels:
            raise ConfigError(
                f"--contsub-channels {start} {end} does not exist in {path}: spectral window {spw} has {channels} "
                f"channels, so END is at most {channels}; choose windows with --spw."
            )
        free[start:end] = True
    if free.sum() <= order:
        raise ConfigError(
            f"--contsub {order} needs at least {order + 1} line-free channels, and spectral window {spw} of {path} has "
            f"{free.sum()}{'' if ranges is None else ' in --contsub-channels'}; use a lower order or more channels, or "
            "leave the window out with --spw."
        )
    return free


class Continuum:
    """Fits and subtracts the continuum of the rows of one spectral window.

    The polynomial of a row is fitted by weighted least squares to the real and to the imaginary part of its unflagged
    line-free channels. The fit removes noise: on average the fraction (order + 1) / (good line-free channels) of the
    variance of the fitted channels. It adds as much to the variance of all other channels, and more towards the ends of
    the window. Weights do not change, because the noise of neighbouring channels becomes correlated, which weights
    cannot express. A sample far from all good channels, whose noise would become three times as large, loses its
    weight, and so does a row with fewer good channels than coefficients.

    Parameters
    ----------
    freq : (chan,) float64
        Channel frequencies [Hz], in any order.
    free : (chan,) bool
        Line-free channels, more than `order`.
    order : int
        Order of the polynomial.
    settings : ContinuumSettings
    """

    def __init__(
        self, freq: np.ndarray, free: np.ndarray, order: int, settings: ContinuumSettings = DEFAULTS.continuum
    ) -> None:
        self._free, self._settings = np.asarray(free, bool), settings
        middle = (freq[self._free].max() + freq[self._free].min()) / 2
        # Legendre polynomials, made orthonormal on the fitted channels: the normal equations of rows without flags are
        # then nearly diagonal, and those of all rows are well conditioned.
        x = (freq - middle) / max(np.ptp(freq[self._free]) / 2, 1.0)
        basis = np.polynomial.legendre.legvander(x, order)
        triangle: np.ndarray = np.linalg.qr(basis[self._free], mode="r")  # type: ignore[assignment] # "r": R alone
        self._basis = np.linalg.solve(triangle.T, basis.T).T
        self._products = (self._basis[:, :, None] * self._basis[:, None, :]).reshape(len(freq), -1)

    def subtract(self, data: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Subtract the continuum, in place.

        Parameters
        ----------
        data : (row, chan) complex64
            Visibilities [Jy]. The continuum is subtracted from all channels, also from those without weight.
        weight : (row, chan) float32
            1/sigma^2 [Jy^-2], 0 where flagged; set to 0 where the continuum is too uncertain.

        Returns
        -------
        (row, chan) bool
            Samples that lost their weight.
        """
        lost = np.zeros(weight.shape, bool)
        step = max(1, self._settings.samples // weight.shape[1])
        for start in range(0, len(weight), step):
            rows = slice(start, start + step)
            lost[rows] = self._subtract(data[rows], weight[rows])
        weight[lost] = 0
        return lost

    def _subtract(self, data: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """As `subtract`, for a few rows, without a change of the weights."""
        terms = self._basis.shape[1]
        before = weight.astype(np.float64)
        used = before * self._free
        normal = (used @ self._products).reshape(-1, terms, terms)
        values, vectors = np.linalg.eigh(normal)
        known = values[:, 0] > self._settings.min_eigenvalue_ratio * values[:, -1]  # not with too few channels
        values[~known] = np.inf  # makes their continuum 0
        inverse = (vectors / values[:, None, :]) @ vectors.transpose(0, 2, 1)
        # Flagged samples can have any value, such as NaN.
        right = (used * np.where(used > 0, data, 0)) @ self._basis
        coefficients = (inverse @ right[:, :, None])[:, :, 0]
        data -= coefficients @ self._basis.T
        # Variance of the continuum, which adds to that of the sample, over the latter; at most 1 in fitted channels.
        added = before * (inverse.reshape(len(inverse), -1) @ self._products.T)
        return ((added > self._settings.max_noise_increase**2 - 1) | ~known[:, None]) & (weight > 0)
