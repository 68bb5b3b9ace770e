"""Which minor cycle deconvolves the tiles: CLEAN, or the learned RIM."""

import functools

from radrim.config.options import ImageConfig
from radrim.deconvolve.clean import CleanSettings, CleanSolver
from radrim.deconvolve.tiles import Tiles
from radrim.rim.checkpoint import PRIOR_NETWORK, find_model, load, load_prior
from radrim.rim.minor.solver import RimSettings, RimSolver
from radrim.runtime.files import fingerprint

HALO = 128
"""Pixels that a tile of CLEAN sees around its own part."""
CPU_TILE = 512
"""Largest tile of the network on a CPU. Larger ones take longer per pixel: the C library gives arrays of more than
32 MB back to the system, which fills them with zeros the next time."""
CLEAN_ONLY = ("auto_mask", "auto_threshold")
"""Options that the RIM does not take."""


class CleanCycles:
    """CLEAN of each tile by itself; `notes` are sentences for the log.

    Parameters
    ----------
    config : ImageConfig
    """

    name = "CLEAN"
    wide = False
    """Whether it wants a PSF twice as large as the image."""

    def __init__(self, config):
        self._config = config
        self.notes = ["Minor cycle: CLEAN."]

    def tiles(self, shape):
        """The tiles of an image (y, x)."""
        return Tiles(shape, self._config.tile, HALO)

    def factory(self, mask, threads, signed=False):
        """The function that makes the minor cycle of a tile of a channel.

        Parameters
        ----------
        mask : (y, x) bool or None
            Of the whole image.
        threads : int
            Of one minor cycle.
        signed : bool
            The sky can be negative whatever the Stokes parameter; CLEAN's always can.
        """
        config = self._config

        def make(tile, channel):
            return CleanSolver(_clean_settings(config, _part(mask, tile)), threads)

        return make


@functools.lru_cache(maxsize=2)
def load_machine(path, device, stamp):
    """The trained machine of a file of that fingerprint, loaded once by each process."""
    return load(path, 2, device).model


@functools.lru_cache(maxsize=2)
def load_second_look(device):
    """The network that looks again at finished models, loaded once by each process."""
    return load_prior(PRIOR_NETWORK, device).model


class RimCycles:
    """The RIM of the whole image; it cuts tiles itself, for its network only; `notes` are sentences for the log.

    Parameters
    ----------
    config : ImageConfig
    device : str
        'cpu' or 'cuda'.

    Raises
    ------
    InputError
        There is no such model, or it cannot be used.
    """

    name = "RIM"
    wide = True

    def __init__(self, config, device):
        path = find_model(config.model)
        self._config, self._source = config, (path, device, fingerprint(path))
        load_machine(*self._source)
        self.notes = [f"Minor cycle: RIM {path} on {device}."]
        changed = [name for name in CLEAN_ONLY if getattr(config, name) != getattr(ImageConfig, name)]
        if changed and config.solver == "rim":
            words = " and ".join("--" + name.replace("_", "-") for name in changed)
            self.notes.append(
                f"{words}: only CLEAN (--solver clean) heeds that; the RIM stops where the residual is noise, or at "
                "--threshold."
            )

    def tiles(self, shape):
        """One tile: convolution and step length belong to the whole image."""
        return Tiles(shape, max(shape), 0)

    def factory(self, mask, threads, signed=False):
        """As `CleanCycles.factory`."""
        config, source = self._config, self._source

        def make(tile, channel):
            settings = RimSettings(
                noise=channel.expected,
                threshold=config.threshold,
                # What is left of absorption once the continuum is subtracted is negative.
                positive=channel.stokes == "I" and config.contsub is None and not signed,
                tile=min(config.tile, CPU_TILE) if source[1] == "cpu" else config.tile,
                mask=_part(mask, tile),
                prior=load_second_look(source[1]),
                sizes=not config.spectral_terms,
                clean=_clean_settings(config),
            )
            return RimSolver(load_machine(*source), settings, threads)

        return make


class ClosureCycles:
    """Stands where minor cycles do; `notes` are sentences for the log."""

    name = "closure"
    wide = False
    notes = ("Closure phases and log closure amplitudes alone make the model; they know neither position nor flux.",)

    def tiles(self, shape):
        """One tile."""
        return Tiles(shape, max(shape), 0)


def _clean_settings(config, mask=None):
    return CleanSettings(
        niter=config.niter,
        gain=config.gain,
        mgain=config.mgain,
        auto_mask=config.auto_mask,
        auto_threshold=config.auto_threshold,
        threshold=config.threshold,
        multiscale=config.multiscale,
        mask=mask,
    )


def _part(mask, tile):
    """The part of the user's mask that covers a tile."""
    return None if mask is None else mask[tile.outer]


def choose_solvers(config, device):
    """The minor cycle that makes the images, and the one beside it that is compared; None where there is none."""
    if config.data == "closure":
        return ClosureCycles(), None
    if config.niter == 0:
        return None, None
    names = (config.solver, "rim" if config.solver == "clean" else "clean") if config.compare else (config.solver,)
    chosen = [RimCycles(config, device) if name == "rim" else CleanCycles(config) for name in names]
    return chosen[0], chosen[1] if config.compare else None
