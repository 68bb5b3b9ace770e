"""Random skies for training: simulated radio sources on one tile.

Every generator has the signature ``generator(rng, size) -> (y, x) array`` and draws all properties of its source
(place, size, angle, shape, brightness of its parts) from `rng`. `draw_sky` turns the result into a sky: float32, no
pixel negative, peak 1, pixels below `FLOOR` set to 0. Units are Jy/pixel up to the flux scale, which the caller sets.
Lengths are in pixels or fractions of the tile, never in beams, since the uv coverage sets the pixel scale.
"""

import io
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from radrim.errors import InputError
from radrim.rim.training.brushes import (
    Numbers,
    add_ellipse,
    add_spots,
    axes,
    field,
    filaments,
    finish,
    log_uniform,
    soft_edge,
    unit,
)

Library = Sequence[np.ndarray]
"""Galaxies, (y, x) uint8 each."""

FLOOR = 3e-7
"""Brightness over the peak below which pixels are 0; the noise of the best training data is 2e-6."""


def draw_sky(rng: np.random.Generator, name: str, size: int, library: Library | None = None) -> np.ndarray:
    """One sky of a class.

    Parameters
    ----------
    rng : numpy.random.Generator
    name : str
        A key of `GENERATORS`, 'first' (a galaxy of `library`), or 'empty'.
    size : int
        Pixels along y and x.
    library : list of (y, x) uint8 arrays, optional
        From `read_first`; needed for 'first'.

    Returns
    -------
    (size, size) float32
        Non-negative, with peak 1 (0 for 'empty').
    """
    if name == "empty":
        return np.zeros((size, size), np.float32)
    for _ in range(20):
        sky = first(rng, size, library or ()) if name == "first" else GENERATORS[name](rng, size)
        peak = float(sky.max())
        if peak > 0:  # a source may have been drawn outside its own tile
            sky = (sky / peak).astype(np.float32)
            sky[sky < FLOOR] = 0
            return sky
    raise InputError(f"The class '{name}' gave 20 empty skies of {size} pixels in a row; use larger tiles.")


# The classes


def points(rng: np.random.Generator, size: int) -> np.ndarray:
    """A field of 3 to 300 point sources per 128 x 128 pixels with power-law counts.

    N(>S) ~ S^-a with a between 0.7 and 1.6, over 1.5 to 4.5 decades of flux. Half of the fields lie on pixel centres,
    the others between pixels, each source a Gaussian of 0.45 to 0.7 pixels (rms), the narrowest that pixels can carry
    without ringing. In a third of the fields some sources are resolved.
    """
    count = max(1, round(log_uniform(rng, 3, 300) * (size / 128) ** 2))
    flux = np.minimum((1 - rng.random(count)) ** (-1 / rng.uniform(0.7, 1.6)), 10 ** rng.uniform(1.5, 4.5))
    y, x = rng.uniform(0.5, size - 1.5, (2, count))
    sky = np.zeros((size, size))
    if rng.random() < 0.5:
        add_spots(sky, np.rint(y), np.rint(x), flux, 0)
    else:
        add_spots(sky, y, x, flux, rng.uniform(0.45, 0.7))
    if rng.random() < 0.33:
        wide = rng.random(count) < rng.uniform(0.05, 0.3)
        add_spots(sky, y[wide], x[wide], flux[wide] * rng.uniform(0.3, 3), log_uniform(rng, 0.6, 2.5, wide.sum()))
    return sky


def compact(rng: np.random.Generator, size: int) -> np.ndarray:
    """One to three small sources in an empty sky: points, ellipses of 1 to 10 pixels, knotty clumps, core and halo."""
    sky = np.zeros((size, size))
    for _ in range(rng.choice([1, 2, 3], p=[0.6, 0.25, 0.15])):
        y, x = size / 2 + rng.normal(0, size / 16, 2) if rng.random() < 0.5 else rng.uniform(4, size - 4, 2)
        flux = log_uniform(rng, 1e-2, 1)
        kind = rng.random()
        if kind < 0.3:
            on_grid = rng.random() < 0.5
            add_spots(sky, round(y) if on_grid else y, round(x) if on_grid else x, flux, 0 if on_grid else 0.5)
        elif kind < 0.55:
            major = log_uniform(rng, 1.2, 10)
            add_ellipse(sky, y, x, flux, major, max(1.0, major * rng.uniform(0.3, 1)), rng.uniform(0, np.pi))
        elif kind < 0.8:
            _add_clump(rng, sky, y, x, flux)
        else:
            add_spots(sky, y, x, flux * rng.uniform(0.05, 1), rng.uniform(0.45, 1))
            major = log_uniform(rng, 5, 24) * size / 128
            add_ellipse(sky, y, x, flux, major, major * rng.uniform(0.5, 1), rng.uniform(0, np.pi))
    return sky


def _add_clump(rng: np.random.Generator, sky: np.ndarray, y: float, x: float, flux: float) -> None:
    """Add a knotty source of a few pixels, such as a calibrator, in place."""
    count, extent, angle = rng.integers(2, 12), log_uniform(rng, 1, 9), rng.uniform(0, np.pi)
    along, across = extent * rng.standard_normal(count), extent * rng.uniform(0.2, 0.8) * rng.standard_normal(count)
    parts = flux * unit(log_uniform(rng, 1e-2, 1, count))
    rows, columns = (
        y + along * np.sin(angle) + across * np.cos(angle),
        x + along * np.cos(angle) - across * np.sin(angle),
    )
    add_spots(sky, rows, columns, parts, log_uniform(rng, 0.5, 0.5 + 0.5 * extent, count))


def radio_galaxy(rng: np.random.Generator, size: int) -> np.ndarray:
    """A radio galaxy: core, knotty bent jets, hot spots, two lobes or plumes with filaments and bright rims."""
    length = size * (log_uniform(rng, 0.06, 0.3) if rng.random() < 0.5 else rng.uniform(0.25, 0.6))
    along, across, pixels = axes(rng, size, length, spread=0.1, warp=rng.uniform(0, 0.08))
    bend, twist = rng.normal(0, [0.15, 0.1])
    if rng.random() < 0.15:
        bend = rng.choice([-1, 1]) * rng.uniform(0.4, 1.2)  # a tail swept back by its cluster
    across = across - bend * along**2 - twist * along**3
    shade = np.exp(rng.uniform(0.2, 0.8) * field(rng, size, rng.uniform(2.5, 3.5)))
    shade += rng.uniform(0, 6) * filaments(rng, size, log_uniform(rng, 0.04, 0.3))
    plumes = rng.random() < 0.35
    width, rim, faint = log_uniform(rng, 0.12, 0.7), rng.uniform(0, 2), rng.uniform(0.3, 1)
    sky = np.zeros((size, size), np.float32)
    spots = np.zeros((size, size))
    jet = 10 ** rng.uniform(-2.5, -0.3)
    sides = ((1, 1.0, 1.0), (-1, rng.uniform(0.6, 1), rng.uniform(0.3, 1)))
    for side, reach, gain in sides:
        t = side * along / reach
        sky += gain * (_plume(rng, t, across, width, faint) if plumes else _lobe(rng, t, across, width, rim, faint))
        knots = rng.integers(4, 16)
        place = np.sort(rng.uniform(0.02, 0.97, knots))
        sway = rng.normal(0, 0.01, knots)
        parts = unit(log_uniform(rng, 0.1, 1, knots) * np.exp(-place * rng.uniform(0, 3)))
        distance = side * reach * place
        where = pixels(distance, bend * distance**2 + twist * distance**3 + sway)
        add_spots(spots, *where, jet * (1 if side > 0 else log_uniform(rng, 0.01, 1)) * parts, rng.uniform(0.5, 1.5))
        if not plumes:
            count = rng.integers(1, 4)
            distance = side * reach * np.linspace(0.96, 0.86, count)
            where = pixels(distance, bend * distance**2 + twist * distance**3 + rng.normal(0, 0.03, count))
            parts = 10 ** rng.uniform(-2, -0.2) * gain * np.geomspace(1, 0.2, count)
            add_spots(spots, *where, parts, log_uniform(rng, 0.5, 1 + 0.03 * length, count))
    add_spots(spots, *pixels(0, 0), 10 ** rng.uniform(-3, -0.5), 0.5)
    return finish(rng, unit(sky * shade) + spots)


def _lobe(
    rng: np.random.Generator, t: np.ndarray, across: np.ndarray, width: float, rim: float, faint: float
) -> np.ndarray:
    """The lobe of one side: filled, brightest near the head (t = 1), with a bright rim; (y, x)."""
    back = rng.uniform(-0.25, 0.55)
    s = np.clip((t - back) / (1 - back), 1e-4, 1 - 1e-4)
    half = width * (s ** rng.uniform(0.3, 0.9)) * (1 - s) ** rng.uniform(0.25, 0.5) * 1.5
    rho2 = np.minimum((across / half) ** 2, 1.0)
    inside = (t > back) & (t < 1) & (rho2 < 1)
    filled = np.sqrt(1 - rho2) + rim * rho2**3 * (1 - rho2**8)
    return inside * filled * (faint * 0.1 + s ** rng.uniform(0, 3))


def _plume(rng: np.random.Generator, t: np.ndarray, across: np.ndarray, width: float, faint: float) -> np.ndarray:
    """The plume of one side: widens and fades away from the core; (y, x)."""
    s = np.clip(t, 1e-3, None)
    half = width * s ** rng.uniform(0.6, 1.3) + 0.01
    edge = np.exp(-0.5 * (1.6 * across / half) ** 4)
    return (t > 0) * edge * np.exp(-s * rng.uniform(1, 4)) / (half + 0.05) * soft_edge(1 + 0.5 * faint - s, 0.08)


def disc(rng: np.random.Generator, size: int) -> np.ndarray:
    """An inclined disc: rings, gaps, arcs, star (protoplanetary), or spiral arms, clumps and nucleus (galaxy)."""
    length = size * log_uniform(rng, 0.06, 0.45)
    along, across, pixels = axes(rng, size, length, warp=rng.uniform(0, 0.03))
    across = across / np.cos(rng.uniform(0, 1.3))
    r, phi = np.hypot(along, across), np.arctan2(across, along)
    arms, pitch = rng.integers(1, 5), rng.uniform(2, 6) * rng.choice([-1, 1])
    wave = np.cos(arms * phi - pitch * np.log(r + 0.05) + rng.uniform(0, 2 * np.pi))
    edge = soft_edge(1 - r, rng.uniform(0.01, 0.08))
    if rng.random() < 0.5:
        sky = (r + 0.05) ** -rng.uniform(0, 1.5)
        for _ in range(rng.integers(0, 5)):
            sky = sky * (
                1 - rng.uniform(0.4, 1) * np.exp(-0.5 * ((r - rng.uniform(0.05, 1)) / rng.uniform(0.015, 0.12)) ** 2)
            )
        for _ in range(rng.integers(0, 4)):
            sky = sky + rng.uniform(0.3, 4) * np.exp(
                -0.5 * ((r - rng.uniform(0.15, 1)) / rng.uniform(0.015, 0.08)) ** 2
            )
        if rng.random() < 0.4:
            arc = np.exp(-rng.uniform(0.5, 4) * (1 - np.cos(phi - rng.uniform(0, 2 * np.pi))))
            sky = sky * (rng.uniform(0.02, 0.5) + arc)
        sky = sky * edge * (1 + rng.uniform(0, 0.6) * wave)
        star = 10 ** rng.uniform(-4, -1) * (rng.random() < 0.5)
    else:
        contrast = rng.uniform(0.5, 3)
        texture = np.exp(rng.uniform(0.3, 1) * field(rng, size, rng.uniform(2, 3)))
        sky = np.exp(-r * rng.uniform(1, 4)) * np.exp(contrast * wave) * texture * edge
        level = rng.uniform(0, 0.05) * sky.max()
        sky, star = np.maximum(sky - level, 0), 10 ** rng.uniform(-4, -1)
    sky = unit(sky)
    add_spots(sky, *pixels(0, 0), star, 0.6)
    return finish(rng, sky)


def crescent(rng: np.random.Generator, size: int) -> np.ndarray:
    """The shadow of a black hole: an asymmetric ring, its thin inner edge, a turbulent flow and the base of a jet."""
    length = size * log_uniform(rng, 0.04, 0.25)
    along, across, _ = axes(rng, size, length, spread=0.08)
    across = across * rng.uniform(1, 1.3)
    r, phi = np.hypot(along, across), np.arctan2(across, along)
    width = log_uniform(rng, 0.05, 0.5)
    lopsided = 1 + rng.uniform(0.2, 1) * np.cos(phi - rng.uniform(0, 2 * np.pi))
    inner = np.hypot(along - rng.normal(0, 0.12), across - rng.normal(0, 0.12))
    sky = np.exp(-0.5 * ((r - 1) / width) ** 2) * lopsided * soft_edge(inner - 1 + 0.6 * width, 0.08)
    if rng.random() < 0.7:  # the flow: streams along a spiral, fading outwards
        swirl = np.cos(rng.integers(1, 4) * phi - rng.uniform(1, 5) * np.log(r + 0.1) + 1.5 * field(rng, size, 4.0))
        flow = np.exp(-r / rng.uniform(0.3, 1.5)) * np.exp(rng.uniform(0.3, 1.2) * swirl)
        sky = sky + 10 ** rng.uniform(-1.5, 0.3) * flow * soft_edge(inner - 0.9, 0.1) * (0.4 + lopsided)
        sky *= np.exp(rng.uniform(0, 0.4) * field(rng, size, 3.5))
    if rng.random() < 0.5:
        photon = np.exp(-0.5 * ((r - rng.uniform(0.9, 1)) / rng.uniform(0.02, 0.08)) ** 2)
        sky = sky + rng.uniform(0.3, 2) * photon * lopsided
    if rng.random() < 0.25:
        foot = np.exp(-0.5 * (across / (0.3 + 0.3 * np.abs(along))) ** 2) * np.exp(-np.abs(along) / 1.5) * (along > 0)
        sky = sky + rng.uniform(0.05, 0.4) * foot * soft_edge(inner - 0.9, 0.1)
    return finish(rng, sky * np.exp(-((r / rng.uniform(2, 10)) ** 4)), 1.0)


def shell(rng: np.random.Generator, size: int) -> np.ndarray:
    """A supernova remnant: a broken limb-brightened shell with filaments, sometimes a filled centre and a pulsar."""
    length = size * log_uniform(rng, 0.06, 0.55)
    along, across, pixels = axes(rng, size, length, warp=rng.uniform(0, 0.08))
    across = across * rng.uniform(1, 1.5)
    r = np.hypot(along, across)
    inner = rng.uniform(0.7, 0.97)
    chord = np.sqrt(np.maximum(1 - r * r, 0)) - np.sqrt(np.maximum(inner**2 - r * r, 0))
    # Bright caps along one axis of the shell, and patches where it runs into denser gas.
    # Within the shell they are at most 2.
    caps = np.minimum((along * np.cos(turn := rng.uniform(0, np.pi)) + across * np.sin(turn)) ** 2, 2)
    broken = np.exp(rng.uniform(0, 2) * caps + rng.uniform(0.2, 1.2) * field(rng, size, 5.0))
    texture = np.exp(rng.uniform(0.3, 0.8) * field(rng, size, rng.uniform(2.5, 3.5)))
    threads = filaments(rng, size, log_uniform(rng, 0.03, 0.2)) + filaments(rng, size, log_uniform(rng, 0.03, 0.2))
    sky = chord * broken * (texture + rng.uniform(0, 6) * threads)
    if rng.random() < 0.3:  # a nebula blown by the pulsar
        nebula = np.exp(-0.5 * (r / rng.uniform(0.1, 0.5)) ** 2) * soft_edge(0.8 - r, 0.05)
        sky = sky + rng.uniform(0.1, 2) * nebula * (texture + rng.uniform(0, 4) * threads)
    sky = unit(sky)
    if rng.random() < 0.3:
        add_spots(sky, *pixels(*rng.normal(0, 0.1, 2)), 10 ** rng.uniform(-4, -1.5), 0.5)
    return finish(rng, sky)


def texture(rng: np.random.Generator, size: int) -> np.ndarray:
    """Diffuse emission with a power-law spectrum (cirrus, haloes, relics), some with filaments, in part of the tile."""
    slope = rng.uniform(2.4, 4)
    sky = np.exp(rng.uniform(0.4, 1.6) * field(rng, size, slope))
    if rng.random() < 0.5:
        sky = sky * (rng.uniform(0.1, 1) + filaments(rng, size, log_uniform(rng, 0.04, 0.3), slope=rng.uniform(2.8, 4)))
    where = rng.random()
    if where < 0.75:
        length = size * log_uniform(rng, 0.05, 0.4)
        along, across, _ = axes(rng, size, length, warp=rng.uniform(0, 0.25))
        r = np.hypot(along, across * rng.uniform(1, 4))
        sky = sky * (np.exp(-0.5 * r**2) if where < 0.4 else soft_edge(1 - r, rng.uniform(0.02, 0.3)))
    level = np.quantile(sky, rng.uniform(0.05, 0.9)) if where > 0.4 else 10 ** rng.uniform(-4, -1) * sky.max()
    return finish(rng, np.maximum(sky - level, 0))


def jet(rng: np.random.Generator, size: int) -> np.ndarray:
    """A core and a one-sided curved VLBI jet: knots that widen and fade, diffuse emission, a faint counter-jet."""
    length = size * log_uniform(rng, 0.06, 0.7)
    _, _, pixels = axes(rng, size, length, spread=0.2)
    sky = np.zeros((size, size))
    curve, wiggle, phase = rng.normal(0, 0.2), rng.uniform(0, 0.06), rng.uniform(0, 2 * np.pi)
    opening, decay, wide = log_uniform(rng, 0.01, 0.12), rng.uniform(0.5, 4), rng.uniform(0.4, 0.9)

    def stream(place: np.ndarray, flux: np.ndarray, spread: np.ndarray, sigma: Numbers) -> None:
        bend = curve * place**2 + wiggle * np.sin(7 * place + phase)
        add_spots(sky, *pixels(place, bend + spread * opening * place), flux, sigma)

    knots = rng.integers(2, 14)
    place = rng.random(knots) ** 1.5
    parts = log_uniform(rng, 0.05, 1, knots) * np.exp(-decay * place)
    stream(place, parts, rng.normal(0, 0.3, knots), wide + opening * length * place * rng.uniform(0.1, 0.6, knots))
    along = np.linspace(0, rng.uniform(0.3, 1.2), 160)
    shape = rng.choice([-1, 1], 160) if rng.random() < 0.3 else rng.normal(0, 0.6, 160)  # bright limbs, or filled
    amount = 10 ** rng.uniform(-1.5, 1) * parts.sum() / 160
    stream(along, amount * np.exp(-decay * along), shape, wide + 0.3 * opening * length * along)
    if rng.random() < 0.3:
        stream(-along / 2, 10 ** rng.uniform(-2.5, -0.5) * amount * np.exp(-decay * along), shape, wide)
    add_spots(sky, *pixels(0, 0), parts.sum() * 10 ** rng.uniform(-1, 1.5), wide if rng.random() < 0.7 else 0)
    return sky


def mixture(rng: np.random.Generator, size: int) -> np.ndarray:
    """Compact sources on extended emission of another class, with a hundredth to ten times its flux."""
    name = rng.choice(["radio_galaxy", "disc", "shell", "texture", "jet"], p=[0.3, 0.1, 0.25, 0.25, 0.1])
    sky = unit(GENERATORS[str(name)](rng, size))
    other = points if rng.random() < 0.7 else compact
    return sky + 10 ** rng.uniform(-2, 1) * unit(other(rng, size))


def first(rng: np.random.Generator, size: int, library: Library) -> np.ndarray:
    """A galaxy of the FIRST survey: rotated, mirrored, resized (0.4 to 3 times, up to 0.9 tiles) and shifted."""
    image = library[int(rng.integers(len(library)))].astype(np.float32)
    image = np.rot90(image, int(rng.integers(4)))[:: rng.choice([-1, 1])]
    zoom = min(log_uniform(rng, 0.4, 3), 0.9 * size / max(image.shape))
    angle = rng.uniform(-np.pi / 4, np.pi / 4)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / zoom
    middle = (np.array(image.shape) - 1) / 2
    place = size / 2 + np.clip(rng.normal(0, 0.15, 2), -0.4, 0.4) * size
    # Before it is shrunk an image must be blurred, or it is undersampled.
    image = ndimage.gaussian_filter(image, 0.5 / zoom) if zoom < 0.8 else image
    return ndimage.affine_transform(image, matrix, middle - matrix @ place, (size, size), order=1).clip(0)


GENERATORS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "points": points,
    "compact": compact,
    "radio_galaxy": radio_galaxy,
    "disc": disc,
    "crescent": crescent,
    "shell": shell,
    "texture": texture,
    "jet": jet,
    "mixture": mixture,
}

EXTENDED = ("radio_galaxy", "disc", "shell", "texture", "jet", "mixture")
"""Classes that a tile may cut."""
STRETCHED = (*EXTENDED, "crescent", "first")
"""Classes that `stretch` may change."""


def stretch(sky: np.ndarray, power: float) -> np.ndarray:
    """Raise the dynamic range of a sky (peak at most 1): x becomes (e^(power x) - 1) / (e^power - 1).

    R2D2 is trained on FIRST galaxies stretched in this way (Aghabiglou et al. 2024, arXiv:2403.05452).
    """
    sky = (np.expm1(power * sky) / np.expm1(power)).astype(np.float32)
    sky[sky < FLOOR] = 0
    return sky


def read_first(path: str | Path, least: int = 60) -> list[np.ndarray]:
    """The radio galaxies of the FIRST survey, cut to their own extent.

    Parameters
    ----------
    path : str or Path
        galaxy_data_h5.zip or .h5 as published (needs the package h5py), or a NumPy file: .npy or .npz with one array
        (count, y, x) uint8, which ``numpy.savez_compressed(path, *read_first(zip))`` also makes from unequal sizes.
    least : int
        Smallest number of pixels above 0; smaller galaxies are points, and are left out.

    Returns
    -------
    list of (y, x) uint8

    Raises
    ------
    InputError
        The file is missing, of another kind, or h5py is not installed.
    """
    path = Path(path)
    try:
        images = _read_hdf5(path) if path.suffix.lower() in (".zip", ".h5", ".hdf5") else _read_numpy(path)
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read as the FIRST galaxies ({error}); give galaxy_data_h5.zip, its .h5, "
                         "or a .npy or .npz file of uint8 images. Without them, leave out problems.first and "
                         "problems.skies.first (pipelines/train/own.toml does).") from None  # fmt: skip
    out = []
    for image in images:
        parts, count = ndimage.label(image)
        peaks = ndimage.maximum(image, parts, np.arange(count + 1)) if count else np.zeros(1)
        # Islands below a tenth of the peak are noise above the 3-sigma cut of the published images.
        galaxy = np.where((peaks >= 0.1 * peaks.max())[parts], image, 0).astype(np.uint8)
        rows, columns = (np.flatnonzero(galaxy.any(axis)) for axis in (1, 0))
        if np.count_nonzero(galaxy) >= least:
            out.append(np.ascontiguousarray(galaxy[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]))
    if not out:
        raise InputError(f"{path} holds no image with {least} pixels above 0.")
    return out


def _read_numpy(path: Path) -> list[np.ndarray]:
    data = np.load(path, allow_pickle=False)
    images = [data] if isinstance(data, np.ndarray) else [data[name] for name in data.files]
    return [plane for image in images for plane in (image if image.ndim == 3 else [image])]


def _read_hdf5(path: Path) -> list[np.ndarray]:
    try:
        import h5py
    except ImportError:
        raise InputError(f"{path} is HDF5, and the package h5py is not installed: pip install h5py (or, in a clone of "
                         "radrim, pip install .[train]). Or convert the file where it is, with "
                         "numpy.savez_compressed.") from None  # fmt: skip
    source: Path | io.BytesIO = path
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as archive:
            source = io.BytesIO(archive.read(archive.namelist()[0]))
    with h5py.File(source) as file:
        return [file[name]["Img"][()] for name in sorted(file)]
