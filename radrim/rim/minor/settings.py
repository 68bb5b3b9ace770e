"""Settings of the learned minor cycle: what the user decides, and the tuned numbers of its steps."""

from dataclasses import dataclass, field

import numpy as np

from radrim.deconvolve.clean import CleanSettings
from radrim.rim.network.prior import Prior

HALO = 56
"""Distance from which a trained network uses information [pixel]: the largest halo of its tiles, although networks of
several blocks could see farther."""


@dataclass(frozen=True)
class RimSettings:
    """What the user decides about the learned minor cycle.

    Parameters
    ----------
    noise : float
        Expected of the dirty image [Jy/beam]; NaN if unknown.
    threshold : float
        Stop when no residual is above this [Jy/beam].
    positive : bool
        Stokes I; other Stokes parameters have either sign.
    tile : int
        Largest tile of the network [pixel].
    mask : (y, x) bool or None
        The model is 0 elsewhere.
    tighten : bool
        Whether the final stage removes emission that the data do not need (`radrim.rim.minor.sparsify`); only for
        positive skies.
    prior : Prior or None
        Network of the prior update, the last step of the final stage (`radrim.rim.network.prior`).
    sizes : bool
        Whether sources slightly wider than a point count as isolated points. False where spectra are fitted: a spectral
        index looks like a size.
    clean : CleanSettings
        Of the CLEAN stage; thresholds and mask are replaced (`radrim.rim.minor.clean_finish`).
    """

    noise: float = float("nan")
    threshold: float = 0.0
    positive: bool = True
    tile: int = 1024
    mask: np.ndarray | None = None
    tighten: bool = True
    prior: Prior | None = None
    sizes: bool = True
    clean: CleanSettings = field(default_factory=CleanSettings)


@dataclass(frozen=True)
class PointFinderSettings:
    """What counts as an isolated point source."""

    min_sidelobe_fraction: float = 0.5
    """Lowest level of the trial CLEAN, over the PSF's highest sidelobe times the peak. Below it CLEAN cleans its own
    errors."""
    min_trial_level: float = 2.0
    """Lowest level of the trial CLEAN, in units of the noise."""
    min_brightness: float = 3.0
    """Smallest brightness of a point, over the level down to which the trial CLEAN goes."""
    max_extent: int = 7
    """Largest extent along an axis of a group of neighbouring components that can be one point [pixel]."""
    max_variance: float = 0.6
    """Largest variance of such a group along an axis, weighted by flux [pixel^2]."""
    max_point_variance: float = 0.27
    """The same for a point without a size [pixel^2]. A point halfway between two pixels has 0.25."""
    max_neighbour_flux: float = 0.7
    """Largest flux of other components around a point, over the flux of the point."""
    neighbour_distance: float = 3.0
    """Distance along each axis within which other components count, over the half width of the main lobe."""
    min_extended_fraction: float = 0.03
    """Smallest flux of a point, over the dirty image of known extended emission nearby. The errors of the network on
    extended emission are fainter; they are no points."""
    extended_distance: int = HALO
    """Distance within which extended emission is nearby [pixel]."""
    min_pixel_fraction: float = 0.8
    """Smallest fraction of a point's flux that its brightest pixel shows; it is below 1 for points between pixels."""
    max_leftover_fraction: float = 0.03
    """Largest residual in the main lobe after subtraction of a point, over its flux. `max_leftover_noise` and
    `max_leftover_confusion` are added to it."""
    max_leftover_noise: float = 4.0
    """The same in units of the noise."""
    max_leftover_confusion: float = 0.25
    """The same over the level down to which the trial CLEAN goes: the confusion."""
    max_gaussian_leftover_fraction: float = 0.005
    """Largest residual after subtraction of a Gaussian, over its flux. It is smaller than for points, because the
    network models resolved sources well."""
    max_gaussian_leftover_confusion: float = 0.2
    """The same over the confusion."""
    lobe_level: float = 0.5
    """The main lobe is where the PSF exceeds this level."""
    max_components: int = 20_000
    """Largest number of components of a trial CLEAN."""
    max_points: int = 2048
    """Largest number of points that are fitted together, with one linear equation each."""
    ridge: float = 1e-3
    """Added to the diagonal of the equations, so that neighbouring points do not exchange flux without limit."""
    min_significance: float = 3.0
    """Significance of a shift from the pixel's centre, and of a size, in units of its error from the noise."""
    min_shift: float = 0.02
    """Smallest shift of a point from its pixel's centre [pixel]."""
    max_shift: float = 1.0
    """Largest shift of a point from the place where the trial found it [pixel]."""
    size_confusion: float = 0.05
    """Part of the confusion that can look like a size; confusion has little detail of this kind."""
    size_background: float = 3.0
    """Level of even emission below a point that can look like a size, in units of the rms of the fit's residual."""
    min_size: float = 0.18
    """Smallest variance of a resolved source [pixel^2]. Steep spectra, and a PSF that changes across the field, look
    like smaller ones."""
    max_fits: int = 5
    """Largest number of iterations of the fit of fluxes, places and sizes."""


@dataclass(frozen=True)
class SparsifySettings:
    """How far a model is emptied where the data do not need it."""

    first_level: float = 3.0
    """Lowest level below which the model is emptied, in units of the noise."""
    level_factor: float = 2.5
    """Ratio of each level to the one before."""
    max_level: float = 0.1
    """Highest level, over the peak of the model in the main lobe."""
    margin: float = 0.3
    """Distance by which the support reaches beyond the emission above the level, in widths of the main lobe."""
    max_steps: int = 20
    """Largest number of conjugate gradient steps of a fit. It stops as soon as the residual is as quiet as before."""
    fitted_rms: float = 0.95
    """Residual rms, in units of the expected noise, at which a fit stops: closer, it would fit noise."""
    max_rms_rise: float = 1.03
    """Largest residual rms, over the larger of the rms before and `fitted_rms` times the expected noise."""
    max_peak: float = 6.0
    """Largest residual peak at an emptied place, in units of the noise, as `level_for` corrects it: a source."""
    max_chi2_rise: float = 2.0
    """Largest rise of chi^2 per beam that is emptied (Akaike 1974)."""
    min_given_up: float = 0.5
    """Brightness from which an emptied place counts among these beams, in units of the noise."""

    def max_rms(self, rms: float, noise: float) -> float:
        """Largest residual rms that is allowed, of the rms before and the expected noise, all in Jy/beam."""
        return self.max_rms_rise * max(rms, self.fitted_rms * noise)
