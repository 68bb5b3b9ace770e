"""Skies of kinds that no training has: letters, a checkerboard, a grid of squares, a maze, overlapping discs.

Each is made by a function ``sky(rng, size) -> (y, x) float64`` [Jy/pixel], not negative, with peak 1. A clipped random
field with a power-law spectrum would not do for a picture like a natural one: the training's class `texture` is that.
"""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def letters(_rng, size):
    """Two lines of text of different size and brightness."""
    figure = Figure((1, 1), dpi=size)
    figure.text(0.5, 0.58, "RADRIM", ha="center", va="center", fontsize=14, fontweight="bold", color=(0, 0, 0))
    figure.text(0.5, 0.36, "radio imaging", ha="center", va="center", fontsize=6, color=(0.7, 0.7, 0.7))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return 1 - np.asarray(canvas.buffer_rgba())[::-1, :, 0] / 255


def checkerboard(_rng, size):
    """Eight by eight fields over five eighths of the width."""
    field = size * 5 // 64
    return _amid(np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((field, field))), size)


def squares(_rng, size):
    """A grid of squares: to one side they are a hundred times as bright, to the north four times as wide."""
    step = size * 3 // 32
    sky = np.zeros((7 * step, 7 * step))
    for row, width in enumerate(np.geomspace(step / 6, step / 1.5, 7).round().astype(int)):
        for column, flux in enumerate(np.geomspace(0.01, 1, 7)):
            y, x = row * step + (step - width) // 2, column * step + (step - width) // 2
            sky[y : y + width, x : x + width] = flux
    return _amid(sky, size)


def maze(rng, size):
    """The walls of a random maze: from each room one door opens, to the east or to the north."""
    rooms, wall = 16, max(1, size // 50)
    plan = np.ones((2 * rooms + 1, 2 * rooms + 1))
    plan[1::2, 1::2] = 0
    east = rng.random((rooms, rooms)) < 0.5
    east[-1], east[:, -1] = True, False  # the border has no doors
    plan[1::2, 2::2] *= ~east
    plan[2::2, 1::2] *= east
    plan[-1, -2] = 1
    return _amid(np.kron(plan, np.ones((wall, wall))), size)


def leaves(rng, size):
    """Discs that hide each other, with the power law of sizes that makes them look like a natural image to statistics.

    References
    ----------
    Lee, Mumford & Huang (2001), International Journal of Computer Vision 41, 35: the dead-leaves model.
    """
    wide = size * 5 // 8
    y, x = np.indices((wide, wide))
    sky = np.zeros((wide, wide))
    for _ in range(3000):
        # Radii with a density proportional to r^-3, as a world that looks alike at all distances has.
        radius = wide / 80 / np.sqrt(1 - rng.random() * (1 - 1 / 20**2))
        down, right = rng.uniform(-radius, wide + radius, 2)
        sky[(y - down) ** 2 + (x - right) ** 2 < radius**2] = rng.random() ** 2
    return _amid(sky / sky.max(), size)


def _amid(picture, size):
    """A picture in the middle of an empty sky."""
    sky = np.zeros((size, size))
    y, x = ((size - n) // 2 for n in picture.shape)
    sky[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return sky


SKIES = {"letters": letters, "checkerboard": checkerboard, "squares": squares, "maze": maze, "leaves": leaves}
