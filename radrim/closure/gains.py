"""Solves for the station gains that a model implies in each integration, for images of closure quantities."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class GainSettings:
    """When the iterations end."""

    iterations: int = 60
    """Largest number of iterations."""

    change: float = 1e-6
    """Largest relative change of the gains in an iteration at which they have converged."""


def solve_gains(
    vis: np.ndarray,
    model: np.ndarray,
    sigma: np.ndarray,
    station: np.ndarray,
    group: np.ndarray,
    settings: GainSettings = GainSettings(),
) -> np.ndarray:
    """Product of the two stations' gains for each visibility, by least squares on all baselines of an integration.

    Parameters
    ----------
    vis, model : (sample,) complex128
        Measured, and predicted by a model [Jy].
    sigma : (sample,) float64
        [Jy]
    station : (sample, 2) int
    group : (sample,) int
        Number of the integration. Gains of different groups are independent.
    settings : GainSettings

    Returns
    -------
    (sample,) complex128
        ``g_i conj(g_j)``; `vis` divided by it equals the model up to the noise.

    References
    ----------
    Salvini & Wijnholds (2014), A&A 571, A97: alternating linear least squares (StefCal).
    """
    _, node = np.unique(group * (int(station.max(initial=0)) + 1) + station.T, return_inverse=True)
    first, second = node.reshape(2, -1)
    # Each baseline counts in both directions: one for the gain of each of its stations.
    here, there = np.concatenate([first, second]), np.concatenate([second, first])
    data, seen = np.concatenate([vis, vis.conj()]), np.concatenate([model, model.conj()])
    weight = np.tile(sigma**-2.0, 2)
    # The start is scaled to the ratio of data and model, so that gains of any size converge.
    power = [_per_node(here, weight * np.abs(one) ** 2) for one in (data, seen)]
    level = np.sqrt(power[0] / power[1])
    gain = np.full(len(level), np.sqrt(np.median(level)), complex)
    for iteration in range(settings.iterations):
        z = seen * gain[there].conj()
        update = _per_node(here, weight * data * z.conj()) / _per_node(here, weight * np.abs(z) ** 2)
        update = (gain + update) / 2 if iteration % 2 else update
        change = np.abs(update - gain).max() / np.abs(update).max()
        gain = update
        if change < settings.change:
            break
    return gain[first] * gain[second].conj()


def _per_node(node, values):
    """Sums over the samples of each node (node,); real sums are above 0, so that they can be divisors."""
    if np.iscomplexobj(values):
        return np.bincount(node, values.real) + 1j * np.bincount(node, values.imag)
    return np.maximum(np.bincount(node, values), 1e-300)
