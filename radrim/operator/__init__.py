"""Step 3, measure: operators between an image and its visibilities, with one base class and a choice of the fastest."""

from typing import TYPE_CHECKING, Any

import numpy as np

from radrim.errors import ConfigError
from radrim.geometry import ImageGrid
from radrim.operator.settings import ChoiceSettings
from radrim.operator.w_term import max_w, separable_terms

if TYPE_CHECKING:  # a run that grids on the CPU needs no torch
    import torch

    from radrim.operator.base import Operator

if TYPE_CHECKING:
    from radrim.operator.linear import MeasurementMatrix, make

KINDS = ("wgridder", "nufft", "dft")
"""Kinds of operators; for 'auto' `choose_kind` chooses one of them."""

SETTINGS = ChoiceSettings()


def make_operator(
    kind: str,
    uvw: np.ndarray,
    freq: np.ndarray,
    grid: ImageGrid,
    epsilon: float = 1e-5,
    threads: int = 1,
    device: "str | torch.device" = "cpu",
) -> "Operator":
    """Make the operator of the measurement equation (`radrim.geometry`) for some samples and an image grid.

    Parameters
    ----------
    kind : str
        ``wgridder`` (ducc0), ``nufft`` (finufft, or cufinufft on CUDA), ``dft`` (direct sum in torch), or ``auto``.
    uvw : (row, 3) array
        Baseline coordinates as stored in a Measurement Set [m].
    freq : (chan,) array
        Channel frequencies [Hz].
    grid : ImageGrid
    epsilon : float
        Accuracy against the direct sum, 1e-12 to 0.1. The error stays below 10 epsilon everywhere on the image:
        relative to the largest pixel for `adjoint`, to the rms for `forward`.
    threads : int
        CPU threads.
    device : str
        ``cpu`` or ``cuda``.

    Returns
    -------
    Operator

    Raises
    ------
    ConfigError
        An unknown kind, or arguments that this kind does not support.
    DataError
        UVW or frequencies that are not finite.
    """
    if kind == "auto":
        uvw, freq = np.asarray(uvw, np.float64), np.asarray(freq, np.float64)
        largest_w = max_w(uvw, freq) if uvw.ndim == 2 and uvw.shape[1] == 3 and np.isfinite(uvw).all() else 0.0
        kind = choose_kind(uvw.shape[0] * freq.size, grid, largest_w, device, epsilon)
    # Imported here, so that a run loads only the library that it uses.
    if kind == "wgridder":
        from radrim.operator.wgridder import WGridder

        return WGridder(uvw, freq, grid, epsilon, threads, device)
    if kind == "nufft":
        from radrim.operator.nufft import NUFFT

        return NUFFT(uvw, freq, grid, epsilon, threads, device)
    if kind == "dft":
        from radrim.operator.dft import DFT

        return DFT(uvw, freq, grid, epsilon, threads, device)
    raise ConfigError(f"Unknown operator: got '{kind}', expected one of {', '.join(KINDS)} or auto.")


def choose_kind(
    samples: int, grid: ImageGrid, largest_w: float, device: "str | torch.device" = "cpu", epsilon: float = 1e-5
) -> str:
    """Choose the kind of operator for ``auto``.

    - ``dft``, which is exact, if its matrix products take a few hundredths of a second: for the EHT and similar small
      data, and small images.
    - ``nufft`` on CUDA, as the only other kind there.
    - On the CPU the faster one of ``wgridder`` and ``nufft``, by the costs measured with
      pipelines/benchmarks/operators.py. The w-gridder grids every sample once, in three dimensions, and is faster for
      most interferometers. nufft needs few w-planes due to its facets, and is 2 to 3 times as fast on very wide fields
      with more pixels than samples (MWA snapshots). It also makes the images that ducc0 does not support (odd sizes,
      fewer than 32 pixels).

    Parameters
    ----------
    samples : int
        Rows times channels.
    grid : ImageGrid
    largest_w : float
        Largest |w| [wavelengths].
    device : str
    epsilon : float

    Returns
    -------
    str
        One of `KINDS`.
    """
    from radrim.operator.gridder import estimate_seconds, supports

    on_gpu = str(device).startswith("cuda")
    terms = separable_terms(grid, largest_w, epsilon)
    work = 4.0 * samples * grid.width * grid.height * terms
    if terms and work <= SETTINGS.max_dft_operations * (SETTINGS.gpu_speedup if on_gpu else 1):
        return "dft"
    if on_gpu or not supports(grid):
        return "nufft"
    from radrim.operator.facets import choose_facets

    # At about equal times the w-gridder is chosen, since it needs less memory and its time is predicted better.
    _, seconds = choose_facets(grid, largest_w, samples, epsilon)
    return (
        "nufft"
        if seconds < SETTINGS.min_nufft_gain * estimate_seconds(grid, largest_w, samples, epsilon)
        else "wgridder"
    )


def __getattr__(name: str) -> Any:
    """What needs torch or scipy.sparse.linalg, which take a while to load, when it is asked for."""
    if name == "Operator":
        from radrim.operator.base import Operator

        return Operator
    if name in ("MeasurementMatrix", "make"):
        from radrim.operator import linear

        return getattr(linear, name)
    raise AttributeError(f"module 'radrim.operator' has no attribute '{name}'")


__all__ = ["KINDS", "MeasurementMatrix", "Operator", "choose_kind", "make", "make_operator"]
