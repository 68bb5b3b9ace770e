"""Primary beam and primary-beam-corrected image of an image in facets.

Both are computed facet by facet when they are written to FITS files, and are not stored in the work directory. They
implement `radrim.facets.images.Readable`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from radrim.deconvolve.tiles import Tile
from radrim.facets.channel import FacetChannel
from radrim.measure.primary_beam import Dishes
from radrim.write.fits import open_image


@dataclass(frozen=True)
class BeamFacets:
    """The primary beam of a channel.

    Parameters
    ----------
    channel : FacetChannel
        The channel, with one or several pointings.
    """

    channel: FacetChannel
    name = "pb"

    def load(self, facet: int) -> np.ndarray:
        """Compute the core of a facet, (y, x) float32."""
        return self.channel.pb(self.channel.grid.region(*self.channel.tiles[facet].core))

    def read(self, region: tuple[slice, slice]) -> np.ndarray:
        """Compute a region of the image, (y, x) float32."""
        return self.channel.pb(self.channel.grid.region(*region))

    def discard(self) -> None:
        """Do nothing, since nothing is stored."""


@dataclass(frozen=True)
class CorrectedFacets:
    """The primary-beam-corrected image, from the FITS files of restored image and primary beam.

    Parameters
    ----------
    dishes : Dishes
    tiles : sequence of Tile
    image, pb : Path
        The FITS files, which must exist when a facet is read. The paths are absolute, since workers may run in another
        folder.
    """

    dishes: Dishes
    tiles: Sequence[Tile]
    image: Path
    pb: Path
    name = "image_pb"

    def load(self, facet: int) -> np.ndarray:
        """Compute the core of a facet, (y, x) float32."""
        return self.read(self.tiles[facet].core)

    def read(self, region: tuple[slice, slice]) -> np.ndarray:
        """Compute a region of the image, (y, x) float32."""
        image, pb = (open_image(path)[region] for path in (self.image, self.pb))
        return self.dishes.correct(image, pb)

    def discard(self) -> None:
        """Do nothing, since nothing is stored."""
