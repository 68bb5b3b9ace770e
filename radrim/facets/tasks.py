"""What is done to one facet, or to one block of visibilities: functions of files, which any worker can carry out.

Each task looks first whether its result is there, and writes it under its own name: tasks that were done by an earlier
run, or twice, do no harm. A major cycle c goes from the files `residual/c` and `model/c` to those of c + 1::

    minor(facet)      residual, model          ->  update         where there is something to do
    see(window)       update                   ->  seen           its visibilities at the window's nodes
    predict(block)    seen of all windows      ->  predicted      its visibilities
    fall(window)      predicted of all blocks  ->  fall           what the update takes away, A^H W A update
    settle(window)    all of these             ->  the next residual and model

Windows are some facets together, since a larger part of the sky costs less per pixel. A task runs on one thread, so
that its result does not depend on the machine.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np

from radrim.deconvolve.minor import MinorCycle
from radrim.deconvolve.tiles import Tiles
from radrim.errors import SolverError
from radrim.facets.images import FacetImage, look
from radrim.geometry import ImageGrid
from radrim.operator.tracks import Compressed, Track, find_nodes
from radrim.rim.minor.detection import find_active, highest_sidelobes, sidelobes
from radrim.rim.minor.settings import PointFinderSettings
from radrim.workdir.store import Store
from radrim.workdir.visibilities import Blocks

NOISE = "the residual is noise"
"""Why a facet has nothing to do, now and later."""
LARGEST_PSF = 2
"""Size of a facet's PSF over that of what its minor cycle sees."""
HIGHEST = 0.95
"""Largest distance from the phase centre at which a PSF is computed; 1 is the horizon."""


@dataclass(frozen=True)
class FacetTasks:
    """The tasks of one channel.

    Parameters
    ----------
    store : Store
        Where visibilities and results are.
    folder : str
        Of the channel's results in it.
    grid : ImageGrid
        Of the whole image.
    tiles : Tiles
        Cores are the facets, outer rectangles what their minor cycles see.
    together : int
        Facets along an axis of a window, which is measured as one.
    band : (float, float)
        First and last frequency of the channel in the output frame [Hz].
    kind : str
        Operator of the nodes.
    epsilon : float
    sum_weight : float
    expected : float
        Noise expected of the dirty image [Jy/beam].
    make_solver : callable
        Tile and these tasks to a minor cycle.
    stokes : str
    shared : str
        Folder of what all Stokes parameters of the channel have in common: its PSFs.
    """

    store: Store
    folder: str
    grid: ImageGrid
    tiles: Tiles
    together: int
    band: tuple[float, float]
    kind: str
    epsilon: float
    sum_weight: float
    expected: float
    make_solver: Callable | None
    stokes: str
    shared: str

    def __getstate__(self):
        """What travels to workers, which open the blocks themselves."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @cached_property
    def blocks(self):
        """The channel's visibilities."""
        return Blocks(self.store, self.band, self.stokes)

    @cached_property
    def windows(self):
        """The rectangles that are measured as one: list of `TileBlock`."""
        return self.tiles.blocks(self.together)

    def image(self, name):
        """An image of the channel by name: 'dirty', 'psf', 'residual/3', ..."""
        return FacetImage(self.store, f"{self.shared if name == 'psf' else self.folder}/{name}", self.tiles)

    def residual(self, cycle):
        """The residual that a major cycle begins with; they count from 0."""
        return self.image(f"residual/{cycle}" if cycle else "dirty")

    def model(self, cycle):
        """The model that a major cycle begins with."""
        return self.image(f"model/{cycle}")

    # Measuring

    def measure(self, window):
        """Dirty image and PSF of a window: what the sky leaves there, and a source in the phase centre."""
        data = {
            "dirty": (block.data for block in self.blocks),
            "psf": (np.ones(block.data.shape, np.complex64) for block in self.blocks),
        }
        missing = [name for name in data if not self._has(self.image(name), window)]
        for name, image in zip(missing, self._adjoint(window, *(data[name] for name in missing)), strict=True):
            self._save(self.image(name), window, image)

    def local_psf(self, facet):
        """The PSF in the middle of a facet, `LARGEST_PSF` times as large as what its minor cycle sees."""
        name = f"{self.shared}/local-psf/{facet:05d}"
        if name not in self.store:
            grid = self.grid.window(*self.tiles[facet].outer)
            # The PSF of a facet with its middle near or below the horizon is that of a place above it.
            radius = np.hypot(grid.x0, grid.y0) * grid.scale
            nearer = min(1.0, HIGHEST / radius) if radius else 1.0
            self.store.save(name, self.psf_at(round(nearer * grid.y0), round(nearer * grid.x0), grid.shape))
        return self.store.load(name)

    def psf_at(self, y, x, shape):
        """The PSF of a source so many pixels from the phase centre, (y, x) float32, `LARGEST_PSF` times a shape."""
        height, width = (LARGEST_PSF * n for n in shape)
        grid = replace(self.grid, height=height, width=width, y0=y, x0=x)
        psf = Compressed(self.blocks, grid, self.kind, self.epsilon).psf()
        return psf / psf[height // 2, width // 2]

    def note_sidelobes(self):
        """Keep what `sidelobes` gives, of the PSF around the phase centre as far as the minor cycle of a facet sees."""
        name = f"{self.shared}/sidelobes"
        if name not in self.store:
            seen = self.tiles[len(self.tiles) // 2].shape
            half = [min(LARGEST_PSF * n, full) // 2 for n, full in zip(seen, self.grid.shape, strict=True)]
            y, x = (slice(full // 2 - n, full // 2 + n) for full, n in zip(self.grid.shape, half, strict=True))
            self.store.note(name, sidelobes(highest_sidelobes(self.image("psf").read((y, x)))))

    # A major cycle

    def minor(self, facet, cycle, noise, peak, others):
        """The minor cycle of a facet.

        Parameters
        ----------
        facet, cycle : int
        noise : float
            Of the whole residual [Jy/beam].
        peak : float
            Largest |residual| [Jy/beam].
        others : Others
            What the other facets hold.

        Returns
        -------
        MinorCycle
            Without its update, which is in a file if there is one.
        """
        done = f"{self.folder}/minor/{cycle}/{facet:05d}"
        if done not in self.store:
            self.store.note(done, self._minor(facet, cycle, noise, peak, others))
        return MinorCycle(update=None, **self.store.facts(done))

    def _minor(self, facet, cycle, noise, peak, others):
        tile, before = self.tiles[facet], self._state(cycle, facet)
        residual, begun = self.residual(cycle).read(tile.outer), before in self.store
        if not begun and (idle := self._why_idle(residual, noise, others)):
            converged = idle == NOISE
            return {"components": 0, "peak": float(np.abs(residual).max()), "stop": idle, "converged": converged}
        solver = self.make_solver(tile, self)
        if begun:
            facts, names = self.store.facts(before)
            solver.resume(facts, {name: self.store.load(f"{before}-{name}") for name in names})
        model = self.model(cycle).read(tile.outer)
        try:
            minor = solver(residual, np.asarray(self.local_psf(facet)), model, noise, None, peak, others)
        except SolverError as error:
            y, x = (f"{s.start}:{s.stop}" for s in tile.outer)
            raise SolverError(f"facet {facet}, y {y}, x {x}: {error}") from None
        update = minor.update[tile.inner]
        if update.any():
            self.image(f"update/{cycle}").save(facet, update)
        facts, arrays = solver.state()
        for name, array in arrays.items():
            self.store.save(f"{self._state(cycle + 1, facet)}-{name}", array)
        self.store.note(self._state(cycle + 1, facet), [facts, list(arrays)])
        return {
            "components": int(np.count_nonzero(update)) if minor.components else 0,
            "peak": minor.peak,
            "stop": minor.stop,
            "converged": minor.converged,
            "finishing": minor.finishing,
        }

    def _why_idle(self, residual, noise, others):
        """Why nothing is to be done yet in what a facet sees, or an empty text: its own PSF is not needed to tell."""
        if not find_active(residual, noise).any():
            return NOISE
        # Not even points are looked for so far below the sidelobes of what is brighter elsewhere.
        known = self.store.facts(f"{self.shared}/sidelobes")
        deep = PointFinderSettings().min_sidelobe_fraction
        above = [deep * part * bright for part, bright in zip(known, others.bands, strict=True)]
        return "" if find_active(residual, noise, above=above).any() else "sidelobes of other facets"

    def changed(self, cycle):
        """The facets that have an update."""
        update = self.image(f"update/{cycle}")
        return [facet for facet in range(len(self.tiles)) if facet in update]

    def changed_windows(self, cycle):
        """The windows that have a facet with an update."""
        changed = set(self.changed(cycle))
        return [number for number, window in enumerate(self.windows) if not changed.isdisjoint(window.tiles)]

    def see(self, window, cycle):
        """What the nodes of all blocks see of a window's update."""
        name = f"{self.folder}/seen/{cycle}/{window:05d}"
        if name not in self.store:
            through = self._through(window)
            values = through.forward(self.image(f"update/{cycle}").read(self.windows[window].core))
            self.store.note(f"{name}-ends", [0, *np.cumsum([len(v) for v in values])])
            self.store.save(name, np.concatenate(values))

    def predict(self, number, cycle):
        """Visibilities of a block from the updates of all windows."""
        name = f"{self.folder}/predicted/{cycle}/{number:04d}"
        if name in self.store:
            return
        block = self.blocks[number]
        out = np.zeros(block.data.shape, np.complex64)
        for window in self.changed_windows(cycle):
            seen = f"{self.folder}/seen/{cycle}/{window:05d}"
            start, end = self.store.facts(f"{seen}-ends")[number : number + 2]
            grid = self._grid(window)
            nodes = find_nodes(block.uvw, block.freq, block.time, block.antenna, grid, self.epsilon)
            Track(block.uvw, block.freq, grid, nodes).distribute(self.store.load(seen)[start:end], out)
        self.store.save(name, out)

    def fall(self, window, cycle):
        """What the update takes away from a window's residual; sums from which its best length follows.

        Returns
        -------
        dict
            Sums of products of update u, residual r and fall f: 'ur', 'uf', 'rr', 'rf', 'ff'.
        """
        image = self.image(f"fall/{cycle}")
        if not self._has(image, window):
            names = (f"{self.folder}/predicted/{cycle}/{number:04d}" for number in range(len(self.blocks)))
            (seen,) = self._adjoint(window, (self.store.load(name) for name in names))
            self._save(image, window, seen)
        total = dict.fromkeys(("ur", "uf", "rr", "rf", "ff"), 0.0)
        for facet in self.windows[window].tiles:
            images = {"u": self.image(f"update/{cycle}"), "r": self.residual(cycle), "f": image}
            values = {name: each.load(facet).astype(np.float64) for name, each in images.items()}
            for one, other in total:
                total[one + other] += float(np.vdot(values[one], values[other]))
        return total

    def settle(self, window, cycle, part):
        """Residual and model of a window after a cycle of which so much is taken.

        Returns
        -------
        dict
            Of each facet: `look` at its residual, and the flux of its model [Jy].
        """
        facets = self.windows[window].tiles
        for facet in facets:
            self._settle(facet, cycle, np.float32(part))
        looks = look(self.residual(cycle + 1), facets, len(self.tiles))
        for facet, seen in looks.items():
            seen["flux"] = float(self.model(cycle + 1).load(facet).sum(dtype=np.float64))
        return looks

    def _settle(self, facet, cycle, part):
        after = self.model(cycle + 1)
        if facet not in after:
            update = self.image(f"update/{cycle}")
            if facet in update or facet in self.model(cycle):
                after.save(facet, self.model(cycle).load(facet) + part * update.load(facet))
        if facet not in self.residual(cycle + 1):
            residual = self.residual(cycle).load(facet) - part * self.image(f"fall/{cycle}").load(facet)
            self.residual(cycle + 1).save(facet, residual)
        # Facets without a minor cycle keep what theirs remembered.
        before = self._state(cycle, facet)
        if before in self.store and self._state(cycle + 1, facet) not in self.store:
            facts, names = self.store.facts(before)
            for name in names:
                self.store.save(f"{self._state(cycle + 1, facet)}-{name}", self.store.load(f"{before}-{name}"))
            self.store.note(self._state(cycle + 1, facet), [facts, names])

    def forget(self, cycle):
        """Drop what only the way from a cycle to the next needed."""
        for name in ("minor", "update", "seen", "predicted", "fall", "model", "state", "residual"):
            self.store.discard(f"{self.folder}/{name}/{cycle}")

    def _state(self, cycle, facet):
        return f"{self.folder}/state/{cycle}/{facet:05d}"

    def _grid(self, window):
        return self.grid.window(*self.windows[window].core)

    def _through(self, window):
        return Compressed(self.blocks, self._grid(window), self.kind, self.epsilon)

    def _adjoint(self, window, *data):
        """Images of a window, each from visibilities, one array per block [Jy/beam]; below the horizon is no sky."""
        grid = self._grid(window)
        through = self._through(window) if data and grid.has_sky else None
        for one in data:
            image = through.adjoint(one) if through else np.zeros(grid.shape, np.float32)
            yield image / np.float32(self.sum_weight)

    def _has(self, image, window):
        return all(facet in image for facet in self.windows[window].tiles)

    def _save(self, image, window, pixels):
        """Keep the facets of a window of an image."""
        block = self.windows[window]
        for facet in block.tiles:
            image.save(facet, pixels[block.within(self.tiles[facet].core)])
