"""Reads the true sky of a simulated observation onto the grid of an image, and scores images against it."""

from itertools import product
from pathlib import Path

import numpy as np

from radrim.beam import Beam, restore
from radrim.comparison.settings import ComparisonSettings
from radrim.errors import InputError
from radrim.geometry import ImageGrid
from radrim.metrics import log_snr_db, snr_db
from radrim.sky.catalogue import direction_cosines, read_sky


def read_truth(path: str | Path, grid: ImageGrid, freq: float) -> tuple[np.ndarray, bool]:
    """The true sky on the pixels of an image.

    Parameters
    ----------
    path : str or Path
        As `radrim simulate --sky` takes it: a FITS image [Jy/pixel] with its middle pixel at the phase centre, or a
        CSV catalogue.
    grid : ImageGrid
    freq : float
        [Hz]

    Returns
    -------
    model : (y, x) float32
        [Jy/pixel]. Flux between pixels is shared among the sixteen pixels around it, so that flux, position and width
        are kept; shares can be negative.
    exact : bool
        Whether all flux lies at the centres of pixels. Only then can models be compared pixel by pixel.

    Raises
    ------
    InputError
        The file is neither of these, or has no flux on the grid.
    """
    sky = read_sky(str(path), grid.ra, grid.dec, freq, grid.scale)
    l, m, distance = direction_cosines(sky.ra, sky.dec, grid.ra, grid.dec)
    flux = sky.stokes[:, 0] * (freq / sky.freq) ** sky.alpha
    places = [grid.pixel(l, m)]
    fluxes = [np.where((distance > 0) & (sky.shape[:, 0] == 0), flux, 0.0)]
    if sky.image is not None:
        ratio = sky.image.scale / grid.scale
        ratio = 1.0 if abs(ratio - 1) < ComparisonSettings.same_pixel else ratio
        y, x = (np.arange(n) - n // 2 for n in sky.image.pixels.shape)
        rows, columns = np.broadcast_arrays(y[:, None] * ratio + grid.height // 2, x * ratio + grid.width // 2)
        places.append((rows.ravel(), columns.ravel()))
        fluxes.append(sky.image.pixels.ravel())
    (y, x), values = (np.concatenate(parts, -1) for parts in (places, fluxes))
    model, exact = _share_out(y, x, values, grid.shape)
    for k in np.flatnonzero((distance > 0) & (sky.shape[:, 0] > 0)):
        exact = False
        major, minor, pa = sky.shape[k]
        row, column = grid.pixel(l[k], m[k])
        point = _share_out(np.array([row]), np.array([column]), np.array([flux[k]]), grid.shape)[0]
        beam = Beam(max(major, grid.scale), max(minor, grid.scale), pa)
        model += restore(point.astype(np.float32), beam, grid.scale) / beam.area(grid.scale)
    if not model.any():
        raise InputError(f"--truth {path} has no flux within the image; its positions must be those of the data.")
    return model.astype(np.float32), exact


def _share_out(y, x, values, shape):
    """Image (y, x) of fluxes at fractional pixels, and whether all lie at the centres of pixels."""
    y0, x0 = np.floor(y + 1e-4).astype(int), np.floor(x + 1e-4).astype(int)
    dy, dx = (np.where(np.abs(d) < 1e-3, 0.0, d) for d in (y - y0, x - x0))
    image = np.zeros(shape)
    for (down, shared_y), (right, shared_x) in product(_cubic(dy), _cubic(dx)):
        row, column, share = y0 + down, x0 + right, values * shared_y * shared_x
        inside = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1]) & (share != 0)
        np.add.at(image, (row[inside], column[inside]), share[inside])
    return image, not ((dy != 0) | (dx != 0))[values != 0].any()


def _cubic(d):
    """Offsets and shares of four neighbours of a point `d` (0 to 1) after the second one: Lagrange's cubic."""
    return [
        (-1, -d * (d - 1) * (d - 2) / 6),
        (0, (d + 1) * (d - 1) * (d - 2) / 2),
        (1, -(d + 1) * d * (d - 2) / 2),
        (2, (d + 1) * d * (d - 1) / 6),
    ]


def score(
    truth: np.ndarray, exact: bool, model: np.ndarray, image: np.ndarray, beam: Beam, scale: float, noise: float
) -> dict[str, float]:
    """Score an image and its model against the truth.

    Parameters
    ----------
    truth, model : (y, x) float32
        [Jy/pixel]
    exact : bool
        From `read_truth`.
    image : (y, x) float32
        Restored with `beam` [Jy/beam].
    beam : Beam
    scale : float
        Pixel size [rad].
    noise : float
        [Jy/beam]; sets the dynamic range of the logarithmic score.

    Returns
    -------
    dict of str to float
        'native' (pixel by pixel; only if `exact`), 'half' and 'beam': SNR of the model as it is, and smoothed with a
        beam of half the width and with the beam; 'image' and 'logimage': of the restored image, linear and
        logarithmic; all in dB. 'flux': model over true flux.
    """
    seen = restore(truth, beam, scale)
    half = Beam(beam.major / 2, beam.minor / 2, beam.pa)
    scores = {"native": snr_db(truth, model)} if exact else {}
    scores |= {
        "half": snr_db(restore(truth, half, scale), restore(model, half, scale)),
        "beam": snr_db(seen, restore(model, beam, scale)),
        "image": snr_db(seen, image),
    }
    if seen.max() > noise > 0:
        scores["logimage"] = log_snr_db(seen, image, float(seen.max()) / noise)
    return scores | {"flux": float(model.sum(dtype=float) / truth.sum(dtype=float))}
