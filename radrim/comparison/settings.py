"""Limits of a comparison."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ComparisonSettings:
    """Tolerances of the comparison, and the extent of its page."""

    same_beam: float = 1.02
    """Largest area of the common beam over that of either beam up to which both beams count as the same."""

    spectrum_bins: int = 28
    """Largest number of bins of a power spectrum, evenly spaced in the logarithm of the spatial frequency."""

    lowest_frequency: float = 1.5
    """Lowest spatial frequency of a power spectrum [periods per field]. Below it, the window's own width dominates."""

    least_noise: float = 1e-3
    """Least expected noise of a ring, over that of the noisiest ring. Rings below it hold almost no samples."""

    same_pixel: float = 1e-6
    """Largest relative difference of two pixel sizes that count as equal."""

    listed: int = 20
    """Number of sources in the table of the page; the CSV file has all."""

    plotted: int = 3
    """Least number of sources in both images for which fluxes and positions are plotted."""

    panel: float = 4.5
    """Width of a picture [inch]."""
