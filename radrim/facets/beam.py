"""Primary beam and corrected image of an image in facets: computed facet by facet when they are written, never kept.

Both stand beside the other images of `radrim.imagers.facets` and have the same methods as
`radrim.facets.images.FacetImage`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from radrim.deconvolve.tiles import Tile
from radrim.geometry import ImageGrid
from radrim.measure.primary_beam import Dishes, PrimaryBeam
from radrim.write.fits import open_image


@dataclass(frozen=True)
class BeamFacets:
    """The primary beam of a channel.

    Parameters
    ----------
    beam : PrimaryBeam
    grid : ImageGrid
        Of the whole image.
    tiles : sequence of Tile
        Their cores are the facets.
    """

    beam: PrimaryBeam
    grid: ImageGrid
    tiles: Sequence[Tile]
    name = "pb"

    def load(self, facet):
        """A facet, (y, x) float32 of its core."""
        return self.beam.image(self.grid.window(*self.tiles[facet].core))

    def discard(self):
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

    def load(self, facet):
        """A facet, (y, x) float32 of its core."""
        image, pb = (open_image(path)[self.tiles[facet].core] for path in (self.image, self.pb))
        return self.dishes.correct(image, pb)

    def discard(self):
        """Nothing is kept that could be dropped."""
