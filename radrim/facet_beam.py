"""Primary beam and corrected image of an image in facets: computed facet by facet when they are written, never kept.

Both stand beside the other images of `radrim.facet_imager` and have the same methods as `radrim.facets.FacetImage`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from radrim.geometry import ImageGrid
from radrim.primary_beam import Dishes
from radrim.tile import Tile
from radrim.visibilities import Visibilities
from radrim.write import open_image


@dataclass(frozen=True)
class BeamFacets:
    """The primary beam of a channel.

    Parameters
    ----------
    dishes : Dishes
    grid : ImageGrid
        Of the whole image.
    tiles : sequence of Tile
        Their cores are the facets.
    blocks : sequence of Visibilities
        The channel's; their weights are read when a facet is.
    """

    dishes: Dishes
    grid: ImageGrid
    tiles: Sequence[Tile]
    blocks: Sequence[Visibilities]
    name = "pb"

    @cached_property
    def _beam(self):
        return self.dishes.beam(self.blocks)

    def load(self, facet):
        """A facet, (y, x) float32 of its core."""
        return self._beam.image(self.grid.window(*self.tiles[facet].core))

    def discard(self):
        """Nothing is kept that could be dropped."""


@dataclass(frozen=True)
class CorrectedFacets:
    """The corrected image, from the files of image and primary beam.

    Parameters
    ----------
    dishes : Dishes
    tiles : sequence of Tile
    paths : dict of str to Path
        Those of the image to be written, 'image' and 'pb' among them by the time a facet is asked for.
    """

    dishes: Dishes
    tiles: Sequence[Tile]
    paths: dict[str, Path]
    name = "image_pb"

    def load(self, facet):
        """A facet, (y, x) float32 of its core."""
        image, pb = (open_image(self.paths[kind])[self.tiles[facet].core] for kind in ("image", "pb"))
        return self.dishes.correct(image, pb)

    def discard(self):
        """Nothing is kept that could be dropped."""
