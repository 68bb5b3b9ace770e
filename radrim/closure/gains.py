"""Solves for the station gains that a model implies in each integration, for images of closure quantities."""

import numpy as np

from radrim.gains.stefcal import Normal, StefcalSettings, solve


def solve_gains(
    vis: np.ndarray, model: np.ndarray, sigma: np.ndarray, station: np.ndarray, group: np.ndarray
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

    Returns
    -------
    (sample,) complex128
        ``g_i conj(g_j)``; `vis` divided by it equals the model up to the noise. 0 where there is no solution.
    """
    groups, slot = np.unique(group, return_inverse=True)
    stations, place = np.unique(station, return_inverse=True)
    place = place.reshape(station.shape)
    gain = np.empty((len(groups), len(stations)), complex)
    step = max(1, StefcalSettings.batch // len(stations) ** 2)
    for start in range(0, len(groups), step):
        part = gain[start : start + step]
        rows = np.flatnonzero((slot >= start) & (slot < start + step))
        normal = Normal.empty(part.shape[:1], len(stations))
        normal.add((slot[rows] - start,), place[rows], vis[rows, None], model[rows, None], sigma[rows, None] ** -2.0)
        # Two stations alone determine the product of their gains. Whoever images the samples leaves out weak ones.
        solution = solve(normal, phase_only=False, min_baselines=1, min_snr=0)
        part[:] = np.where(solution.flag, 0, solution.gain)
    first, second = place.T
    return gain[slot, first] * gain[slot, second].conj()
