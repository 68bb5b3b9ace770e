"""Makes the endless, reproducible stream of training problems: skies of `skies`, observed with `coverages`.

Problem number k of a stream depends only on the seed and on k, not on the process or on other problems.

Without noise, gain errors and sources outside the tile, the dirty image is PSF * truth to rounding; see `observation`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import j0

from radrim.rim.training import coverages, skies
from radrim.rim.training.observation import FRAME, PixelBeam, Samples, fit_pixel_beam
from radrim.rim.training.recipe import Recipe, make_recipe

if TYPE_CHECKING:  # torch is loaded when the first batch is asked for
    import torch

NYQUIST = 0.49
"""Largest length of a baseline [cycles per pixel]."""

LARGEST_IMAGE = 1024
"""Largest image for which weights are made [pixel]; its size is between one and 8 times that of the tile."""

STRETCH = math.log(10), math.log(3e5)
"""Range of the power in `skies.stretch`, which reduces half of the peak to a quarter, or to a five-hundredth, of it."""

CUT = 0.12
"""Fraction of the extended skies that are cut by the tile's edge and continue outside."""


@dataclass(frozen=True)
class Problem:
    """One tile to deconvolve, and its true sky.

    Parameters
    ----------
    dirty : (y, x) float32
        D = PSF * truth + noise, plus sidelobes of sources outside the tile and gain errors in some [Jy/beam].
    psf : (2y, 2x) float32
        Exactly 1 at (y, x), its centre.
    truth : (y, x) float32
        [Jy/pixel], not negative.
    noise : float
        Thermal noise (rms) of `dirty` [Jy/beam].
    beam : PixelBeam
    sky, coverage : str
        Class of the sky; kind of the coverage, with the name of the layout if it is a real one.
    robust : float
        Briggs weighting of the PSF; `inf` is natural, `-inf` uniform.
    dynamic_range : float
        Peak of the naturally weighted, noise-free dirty image of the truth over the thermal noise of that weighting.
    gain_error : float
        Phase error of the antennas (rms) [rad], 0 if calibrated; the amplitude error is half as large.
    outside : bool
        Whether there are sources outside the tile.
    seed, number : int
        Seed of the stream, and number of the problem.
    """

    dirty: np.ndarray
    psf: np.ndarray
    truth: np.ndarray
    noise: float
    beam: PixelBeam
    sky: str
    coverage: str
    robust: float
    dynamic_range: float
    gain_error: float
    outside: bool
    seed: int
    number: int


@dataclass(frozen=True)
class Scene:
    """What a problem is the observation of: its samples, its sky and their errors, before these are drawn.

    Parameters
    ----------
    samples : Samples
    u, v : (sample,) float64
        [cycles per pixel]
    truth : (y, x) float32
        [Jy/pixel]
    beyond : (4y, 4x) float32
        The sky around the tile, which is 0 on it in the middle [Jy/pixel].
    spectrum : (y, x // 2 + 1) complex128
        Visibilities of both in the uv cells of `samples` [Jy].
    sigma : float
        Noise of the real and of the imaginary part of a sample of natural weight 1 [Jy].
    sky, robust, dynamic_range, gain_error
        As in `Problem`.
    rng : numpy.random.Generator
        For gains and noise.
    """

    samples: Samples
    u: np.ndarray
    v: np.ndarray
    truth: np.ndarray
    beyond: np.ndarray
    spectrum: np.ndarray
    sigma: float
    sky: str
    robust: float
    dynamic_range: float
    gain_error: float
    rng: np.random.Generator


def make_problem(
    seed: int,
    number: int,
    recipe: Recipe,
    sky: str | None = None,
    stream_key: tuple[int, ...] = (),
    image: np.ndarray | None = None,
    coverage: coverages.Coverage | None = None,
) -> Problem:
    """Problem `number` of the stream of `seed`.

    Parameters
    ----------
    seed, number : int
        Not negative.
    recipe : Recipe
    sky : str, optional
        Class of the sky; drawn by the recipe's proportions if absent.
    stream_key : tuple of int
        Different keys give different streams of one seed.
    image : (y, x) array, optional
        The sky itself, of the recipe's size, not negative and with peak 1; `sky` is then its name.
    coverage : Coverage, optional
        The samples; drawn by the recipe's proportions if absent.

    Returns
    -------
    Problem
    """
    scene = draw_scene(seed, number, recipe, sky, stream_key, image, coverage)
    uv, rng, error = scene.samples, scene.rng, scene.gain_error
    grid = uv.miscalibrated(rng, scene.spectrum, error) if error else uv.weight * scene.spectrum
    grid = grid + uv.noise(rng, scene.sigma)
    psf = uv.psf()
    return Problem(
        dirty=(uv.image(grid, recipe.size) / uv.weight_sum).astype(np.float32),
        psf=psf,
        truth=scene.truth,
        noise=scene.sigma * math.sqrt(uv.variance.sum()) / uv.weight_sum,
        beam=fit_pixel_beam(psf),
        sky=scene.sky,
        coverage=uv.coverage.kind,
        robust=scene.robust,
        dynamic_range=scene.dynamic_range,
        gain_error=error,
        outside=bool(scene.beyond.any()),
        seed=seed,
        number=number,
    )


def draw_scene(
    seed: int,
    number: int,
    recipe: Recipe,
    sky: str | None = None,
    stream_key: tuple[int, ...] = (),
    image: np.ndarray | None = None,
    coverage: coverages.Coverage | None = None,
) -> Scene:
    """Samples and sky of problem `number`; the arguments are those of `make_problem`."""
    rng = np.random.default_rng([seed, number, *stream_key])
    drawn, kind = _draw(rng, recipe.skies), _draw(rng, recipe.coverages)
    sky = sky or drawn
    if coverage is None:
        coverage = coverages.draw_coverage(rng, kind, recipe.arrays, recipe.samples)
    robust = _draw_robust(rng)
    coverage, u, v, weight = _scale(rng, coverage, robust, recipe)
    uv = Samples(coverage, u, v, weight, recipe.size)
    if image is None:
        truth, beyond = _draw_truth(rng, sky, recipe)
    else:
        truth, beyond = np.asarray(image, np.float32), np.zeros((FRAME * recipe.size,) * 2, np.float32)
    # With a generator of its own, stretching leaves the other random numbers unchanged.
    stretching = np.random.default_rng([seed, number, 77, *stream_key])
    if sky in skies.STRETCHED and stretching.random() < recipe.stretched:
        power = stretching.uniform(*STRETCH)
        truth, beyond = skies.stretch(truth, power), skies.stretch(beyond, power)
    flux = _log_uniform(rng, 1e-3, 10)
    truth, beyond = truth * np.float32(flux), beyond * np.float32(flux)

    spectrum = uv.transform(truth)
    natural = uv.image(uv.natural * spectrum, recipe.size) / uv.natural_sum
    peak = float(natural.max()) if truth.any() else flux
    ratio = _log_uniform(rng, *recipe.dynamic_range)
    sigma = peak / ratio * math.sqrt(uv.natural_sum)  # of a sample of weight 1, real and imaginary part each
    if rng.random() < recipe.outside:
        beyond = _add_sources(rng, beyond, recipe.size, peak)
    if beyond.any():
        spectrum = spectrum + uv.transform(beyond, recipe.size // 2 - FRAME // 2 * recipe.size)
    error = math.radians(_log_uniform(rng, *recipe.phase_error_deg)) if rng.random() < recipe.gain_errors else 0.0
    return Scene(uv, u, v, truth, beyond, spectrum, sigma, sky, robust, ratio, error, rng)


def stream(seed: int, mix: Mapping[str, Any] | None = None, size: int = 128, start: int = 0) -> Iterator[Problem]:
    """Problems number `start`, `start` + 1, ... without end; `mix` as in `make_recipe`."""
    recipe = make_recipe(mix, size)
    number = start
    while True:
        yield make_problem(seed, number, recipe)
        number += 1


def validation_set(
    seed: int = 0, count: int = 64, mix: Mapping[str, Any] | None = None, size: int = 128
) -> list[Problem]:
    """A fixed list of problems that no training stream contains, with the classes of the mix in turn.

    Parameters
    ----------
    seed, count : int
    mix, size
        As in `make_recipe`.

    Returns
    -------
    list of Problem
    """
    recipe = make_recipe(mix, size)
    classes = list(recipe.skies)
    return [make_problem(seed, k, recipe, classes[k % len(classes)], stream_key=(1,)) for k in range(count)]


@dataclass
class Batch:
    """Problems stacked for training.

    Parameters
    ----------
    dirty, truth : (batch, y, x) float32 tensors
        [Jy/beam], [Jy/pixel].
    psf : (batch, 2y, 2x) float32 tensor
    noise, robust : (batch,) float32 tensors
        [Jy/beam]; Briggs.
    beam : (batch, 3) float32 tensor
        Major and minor axis [pixel], position angle [rad].
    sky, coverage : list of str
    number : list of int
    """

    dirty: "torch.Tensor"
    truth: "torch.Tensor"
    psf: "torch.Tensor"
    noise: "torch.Tensor"
    robust: "torch.Tensor"
    beam: "torch.Tensor"
    sky: list[str]
    coverage: list[str]
    number: list[int]


def stack(problems: Sequence[Problem]) -> Batch:
    """A `Batch`, on the CPU, of a list of `Problem` of one size."""
    import torch

    return Batch(
        dirty=torch.from_numpy(np.stack([problem.dirty for problem in problems])),
        truth=torch.from_numpy(np.stack([problem.truth for problem in problems])),
        psf=torch.from_numpy(np.stack([problem.psf for problem in problems])),
        noise=torch.tensor([problem.noise for problem in problems], dtype=torch.float32),
        robust=torch.tensor([problem.robust for problem in problems], dtype=torch.float32),
        beam=torch.tensor([problem.beam for problem in problems], dtype=torch.float32),
        sky=[problem.sky for problem in problems],
        coverage=[problem.coverage for problem in problems],
        number=[problem.number for problem in problems],
    )


class _Stream:
    """Dataset of one stream, for torch's DataLoader."""

    def __init__(self, seed: int, recipe: Recipe) -> None:
        self.seed, self.recipe = seed, recipe

    def __getitem__(self, number: int) -> Problem:
        return make_problem(self.seed, number, self.recipe)


class _Consecutive:
    """Endless lists of consecutive numbers."""

    def __init__(self, start: int, batch: int) -> None:
        self.start, self.batch = start, batch

    def __iter__(self) -> Iterator[list[int]]:
        number = self.start
        while True:
            yield list(range(number, number + self.batch))
            number += self.batch


def batches(
    seed: int, mix: Mapping[str, Any] | None = None, size: int = 128, batch: int = 16, workers: int = 0, start: int = 0
) -> Iterator[Batch]:
    """The problems of `stream`, in order, stacked `batch` at a time and made by `workers` processes (0: this one).

    A run resumed with `start` = last number + 1 gets the same problems as an uninterrupted run. The content does not
    depend on `workers`. `mix` and `size` are those of `make_recipe`, which checks them.
    """
    from torch.utils.data import DataLoader

    recipe = make_recipe(mix, size)
    dataset = _Stream(seed, recipe)  # torch asks for no more than __getitem__
    loader: DataLoader = DataLoader(
        dataset,  # type: ignore[arg-type]  # torch's DataLoader is typed for its own Dataset class
        batch_sampler=_Consecutive(start, batch),
        num_workers=workers,
        collate_fn=stack,
        prefetch_factor=4 if workers else None,
    )
    yield from loader


# How one problem is drawn


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _draw(rng: np.random.Generator, proportions: Mapping[str, float]) -> str:
    total = np.cumsum(list(proportions.values()))
    return list(proportions)[int(np.searchsorted(total, rng.random() * total[-1], side="right"))]


def _draw_robust(rng: np.random.Generator) -> float:
    """Natural weights (inf) for 20 %, uniform (-inf) for 8 %, else a robust parameter from -2 to 2."""
    kind, robust = rng.random(), float(rng.uniform(-2, 2))
    return math.inf if kind < 0.2 else -math.inf if kind < 0.28 else robust


def _scale(
    rng: np.random.Generator, coverage: coverages.Coverage, robust: float, recipe: Recipe
) -> tuple[coverages.Coverage, np.ndarray, np.ndarray, np.ndarray]:
    """Coverage, u, v [cycles per pixel] and imaging weights, at a pixel scale that suits the beam.

    The scale depends on the beam, the beam on the weights, and the weights on the scale; two iterations are accurate
    enough. For a dense core and natural weights, the longest baseline can need pixels so fine that the beam has more
    than twice as many pixels as the recipe allows. Then the longest baselines are excluded, as an observer would do.
    """
    image = max(recipe.size, min(int(recipe.size * 2 ** rng.uniform(0, 3)), LARGEST_IMAGE))
    wanted, widest = _log_uniform(rng, *recipe.pixels_per_beam), 2 * recipe.pixels_per_beam[1]
    scale, longest = NYQUIST / 1.5, 1.0
    for _ in range(2):
        weight = coverages.imaging_weights(coverage.u * scale, coverage.v * scale, coverage.weight, robust, image)
        width = _beam_width(np.hypot(coverage.u, coverage.v), weight)
        scale = min(width / wanted, NYQUIST / longest)
        if width / scale > widest:
            scale = width / widest
            longest = NYQUIST / scale
            coverage = coverage.select(np.hypot(coverage.u, coverage.v) < longest)
    u, v = coverage.u * scale, coverage.v * scale
    return coverage, u, v, coverages.imaging_weights(u, v, coverage.weight, robust, image)


def _beam_width(length: np.ndarray, weight: np.ndarray) -> float:
    """Width at half maximum of the PSF averaged over all directions, in units of one over the unit of `length`."""
    bins = 400
    which = np.minimum((length * bins).astype(np.int32), bins - 1)
    total = np.bincount(which, weight, bins)
    middle = np.bincount(which, weight * length, bins) / np.maximum(total, 1e-300)
    radius = np.geomspace(0.15, 60, 120)
    profile = j0(2 * np.pi * radius[:, None] * middle) @ total / total.sum()
    below = int(np.argmax(profile < 0.5))
    return 2 * float(np.interp(-0.5, -profile[[below - 1, below]], radius[[below - 1, below]]))


def _draw_truth(rng: np.random.Generator, name: str, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """The sky on the tile, and on the frame around it, with zeros on the tile in its middle; the peak is about 1."""
    n = recipe.size
    frame = np.zeros((FRAME * n, FRAME * n), np.float32)
    if name not in skies.EXTENDED or rng.random() >= CUT:
        return skies.draw_sky(rng, name, n, recipe.galaxies), frame
    wide = skies.draw_sky(rng, name, 2 * n)
    # The tile lies around one of the brighter pixels.
    rows, columns = np.nonzero(wide > 0.03)
    pick = rng.integers(len(rows))
    y, x = (int(np.clip(c[pick] - rng.integers(n), 0, n)) for c in (rows, columns))
    middle = FRAME * n // 2 - n // 2
    top, left = middle - y, middle - x
    frame[top : top + 2 * n, left : left + 2 * n] = wide
    frame[middle : middle + n, middle : middle + n] = 0
    return wide[y : y + n, x : x + n].copy(), frame


def _add_sources(rng: np.random.Generator, frame: np.ndarray, n: int, peak: float) -> np.ndarray:
    """Point sources outside the tile, power-law counts, the brightest from 1/100 to 10 times the tile's `peak`."""
    count = round(_log_uniform(rng, 1, 60))
    y, x = rng.integers(0, FRAME * n, (2, count))
    middle = FRAME * n // 2 - n // 2
    inside = (y >= middle) & (y < middle + n) & (x >= middle) & (x < middle + n)
    flux = (1 - rng.random(count)) ** (-1 / 1.1)
    flux *= peak * _log_uniform(rng, 0.01, 10) / flux.max()
    frame = frame.copy()
    np.add.at(frame, (y[~inside], x[~inside]), flux[~inside].astype(np.float32))
    return frame
