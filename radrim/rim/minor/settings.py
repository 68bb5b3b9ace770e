"""Settings of the learned minor cycle: options of the user, and tuned numbers of its steps."""

from dataclasses import dataclass, field

import numpy as np

from radrim.deconvolve.clean import CleanSettings
from radrim.rim.network.denoiser import Denoiser
from radrim.rim.network.prior import Prior

HALO = 56
"""Largest halo of the network's tiles [pixel]. Trained networks use no information from greater distances, although
those of several blocks could."""


@dataclass(frozen=True)
class RimSettings:
    """Options of the learned minor cycle that follow from the user's command.

    Parameters
    ----------
    noise : float
        Expected noise of the dirty image [Jy/beam]; NaN if unknown.
    threshold : float
        The deconvolution stops when no pixel of the residual exceeds this level [Jy/beam].
    positive : bool
        Whether the sky is positive: True for Stokes I, False for the other Stokes parameters.
    tile : int
        Largest tile of the network [pixel].
    mask : (y, x) bool or None
        Pixels that may hold emission; the model is 0 in all others.
    sparsify : bool
        Whether a final stage removes emission that the data do not require (`radrim.rim.minor.sparsification`); only
        for positive skies.
    prior : Prior or None
        Network of the prior update, the last final stage (`radrim.rim.network.prior`); None for no prior update.
    denoiser : Denoiser or None
        Network of plug and play, which is tried where kept-out visibilities can judge it.
    sizes : bool
        Whether sources slightly wider than a point count as isolated points. False where spectra are fitted: a spectral
        index looks like a size.
    regularised : bool
        Whether methods of regularisation may begin with an empty model.
    clean : CleanSettings
        Settings of the CLEAN stage, which replaces their thresholds and mask (`radrim.rim.minor.clean_stage`).
    """

    noise: float = float("nan")
    threshold: float = 0.0
    positive: bool = True
    tile: int = 1024
    mask: np.ndarray | None = None
    sparsify: bool = True
    prior: Prior | None = None
    denoiser: Denoiser | None = None
    sizes: bool = True
    regularised: bool = False
    clean: CleanSettings = field(default_factory=CleanSettings)


@dataclass(frozen=True)
class PointFinderSettings:
    """What counts as an isolated point source."""

    min_sidelobe_fraction: float = 0.5
    """Lowest level of the trial CLEAN, over the PSF's highest sidelobe times the peak. Below it CLEAN would model its
    own errors."""
    min_trial_level: float = 2.0
    """Lowest level of the trial CLEAN, in units of the noise."""
    min_brightness: float = 3.0
    """Smallest brightness of a point, over the level down to which the trial CLEAN goes."""
    max_extent: int = 7
    """Largest extent along an axis of a group of neighbouring components that can be one point [pixel]."""
    max_variance: float = 0.6
    """Largest variance of this group along an axis, weighted by flux [pixel^2]."""
    max_point_variance: float = 0.27
    """Largest variance of this group for a point without size [pixel^2]. A point midway between pixels has 0.25."""
    max_neighbour_flux: float = 0.7
    """Largest flux of other components around a point, over the flux of the point."""
    neighbour_distance: float = 3.0
    """Distance along each axis within which components are neighbours, over the half width of the main lobe."""
    min_extended_fraction: float = 0.03
    """Smallest flux of a point, over the dirty image of extended emission near it. Errors of the network on extended
    emission are fainter, so they do not count as points."""
    extended_distance: int = HALO
    """Distance within which extended emission is near a point [pixel]."""
    min_pixel_fraction: float = 0.8
    """Smallest brightness of a point's brightest pixel, over its flux; below 1 for points between pixels."""
    max_leftover_fraction: float = 0.03
    """Largest residual in the main lobe after subtraction of a point, over its flux. `max_leftover_noise` and
    `max_leftover_confusion` are added to it."""
    max_leftover_noise: float = 4.0
    """The same residual in units of the noise."""
    max_leftover_confusion: float = 0.25
    """The same residual over the level down to which the trial CLEAN goes. Their product is called confusion."""
    max_gaussian_leftover_fraction: float = 0.005
    """Largest residual after subtraction of a Gaussian, over its flux. It is smaller than for points, because the
    network models resolved sources well."""
    max_gaussian_leftover_confusion: float = 0.2
    """The same residual over the confusion."""
    lobe_level: float = 0.5
    """Level that the PSF exceeds in its main lobe."""
    max_components: int = 20_000
    """Largest number of components of a trial CLEAN."""
    max_points: int = 2048
    """Largest number of points that are fitted together, with one linear equation for each."""
    ridge: float = 1e-3
    """Regularisation, added to the diagonal of the equations. It limits opposite fluxes of neighbouring points."""
    min_significance: float = 3.0
    """Smallest shift from the pixel's centre, and smallest size, in units of its error from the noise."""
    min_shift: float = 0.02
    """Smallest shift of a point from its pixel's centre [pixel]."""
    max_shift: float = 1.0
    """Largest shift of a point from the pixel in which the trial CLEAN found it [pixel]."""
    size_confusion: float = 0.05
    """Fraction of the confusion that can pass for a size. Confusion varies little within the main lobe."""
    size_background: float = 3.0
    """Level of uniform emission near a point that can pass for a size, in units of the rms of the fit's residual."""
    min_size: float = 0.18
    """Smallest variance of a resolved source [pixel^2]. Steep spectra, and a PSF that changes across the field, have
    the effect of smaller ones."""
    max_fits: int = 5
    """Largest number of iterations of the fit of fluxes, positions and sizes."""


@dataclass(frozen=True)
class SparsifySettings:
    """How much faint emission sparsification removes from a model."""

    first_level: float = 3.0
    """First level below which model emission is removed, in units of the noise."""
    level_factor: float = 2.5
    """Ratio of each level to the previous one."""
    max_level: float = 0.1
    """Highest level, over the peak of the model smoothed by the main lobe."""
    margin: float = 0.3
    """Width of the margin around emission above the level in which the model is kept, in widths of the main lobe."""
    max_steps: int = 20
    """Largest number of conjugate gradient steps of a fit. It stops once the residual rms is as low as before."""
    fitted_rms: float = 0.95
    """Residual rms, in units of the expected noise, at which a fit stops. Below it the fit would follow the noise."""
    max_rms_rise: float = 1.03
    """Largest residual rms after a final stage, over the rms before it or `fitted_rms` times the expected noise,
    whichever is larger."""
    max_peak: float = 6.0
    """Largest residual peak where emission was removed, in units of the noise, as `level_for` corrects it. Above it the
    removed emission was a source."""
    max_chi2_rise: float = 2.0
    """Largest rise of chi^2 per beam of removed emission (Akaike 1974)."""
    min_given_up: float = 0.5
    """Smallest brightness of removed emission whose area counts in `max_chi2_rise`, in units of the noise."""

    def max_rms(self, rms: float, noise: float) -> float:
        """Largest residual rms after a final stage, for the rms before it and the expected noise, all in Jy/beam."""
        return self.max_rms_rise * max(rms, self.fitted_rms * noise)
