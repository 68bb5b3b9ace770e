"""Primary beam and corrected image of an image in facets: computed facet by facet when they are written, never kept.

Both stand beside the other images of `radrim.imagers.facets` and have the same methods as
`radrim.facets.images.FacetImage`.
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
        Of one or several pointings.
    """

    channel: FacetChannel
    name = "pb"

    def load(self, facet: int) -> np.ndarray:
        """A facet, (y, x) float32 of its core."""
        return self.channel.pb(self.channel.grid.window(*self.channel.tiles[facet].core))

    def read(self, window: tuple[slice, slice]) -> np.ndarray:
        """A window of the image, (y, x) float32."""
        return self.channel.pb(self.channel.grid.window(*window))

    def discard(self) -> None:
        """Nothing is kept that could be dropped."""


@dataclass(frozen=True)
class CorrectedFacets:
    """The corrected image, from the files of image and primary beam.

    Parameters
    ----------
    dishes : Dishes
    tiles : sequence of Tile
    image, pb : Path
        There by the time a facet is asked for; absolute, since workers may be in another folder.
    """

    dishes: Dishes
    tiles: Sequence[Tile]
    image: Path
    pb: Path
    name = "image_pb"

    def load(self, facet: int) -> np.ndarray:
        """A facet, (y, x) float32 of its core."""
        return self.read(self.tiles[facet].core)

    def read(self, window: tuple[slice, slice]) -> np.ndarray:
        """A window of the image, (y, x) float32."""
        image, pb = (open_image(path)[window] for path in (self.image, self.pb))
        return self.dishes.correct(image, pb)

    def discard(self) -> None:
        """Nothing is kept that could be dropped."""
