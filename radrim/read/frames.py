"""Converts frequencies of the telescope to the frame of the barycentre or of the local standard of rest.

A line at a fixed frequency in these frames drifts through the channels of a telescope that moves with the Earth's
rotation (0.5 km/s) and around the Sun (30 km/s). Visibilities are not interpolated. The operators use the frequencies
of the telescope, because (u, v) is the baseline times these frequencies. The output frame determines only which samples
belong to an output channel, and the headers.

The velocity and the rotation of the Earth come from ERFA, the library used by astropy. UT1 is taken as UTC, which is at
most 0.9 s off (3 cm/s), so no table of the Earth's rotation has to be downloaded, and all dates are possible.

References
----------
Greisen, Calabretta, Valdes & Allen (2006), A&A 446, 747 (WCS paper III): the frames and their names.
"""

from dataclasses import dataclass, replace

import erfa
import numpy as np

from radrim.earth import MJD_ZERO, ROTATION_RATE, SURFACE, TT_MINUS_UTC, celestial_to_terrestrial
from radrim.errors import ConfigError, InputError
from radrim.geometry import C, axes
from radrim.ms.subtables import SpectralWindow
from radrim.ms.tables import MeasurementSet
from radrim.read.settings import DEFAULTS, ReadSettings
from radrim.visibilities import Visibilities

SPECSYS = {"TOPO": "TOPOCENT", "LSRK": "LSRK", "BARY": "BARYCENT"}
"""The frames of --outframe and their names in FITS."""
SUN = np.array([0.28999706839, -17.31726478972, 10.00141199547]) * 1e3
"""Velocity of the Sun in the kinematic local standard of rest [m/s]: 20 km/s towards 18h, +30 deg (B1900), in J2000."""
SPIN = np.array([0, 0, ROTATION_RATE])
"""Angular velocity of the Earth, ITRF [rad/s]."""


def frame_factor(frame: str, ra: float, dec: float, position: np.ndarray, time: float | np.ndarray) -> np.ndarray:
    """Frequency in another frame over the frequency at the telescope.

    Parameters
    ----------
    frame : {'LSRK', 'BARY'}
    ra, dec : float
        Direction of the source, J2000 [rad].
    position : (3,) float64
        Position of the telescope, ITRF [m].
    time : (time,) float64
        MJD seconds, UTC.

    Returns
    -------
    (time,) float64
        The factor by special relativity. The gravitational redshift of the Sun, 1e-8, is part of no frame.
    """
    time = np.atleast_1d(np.asarray(time, float))
    towards = axes(ra, dec)[2]
    _, earth = erfa.epv00(MJD_ZERO, (time + TT_MINUS_UTC) / 86400)
    turning = celestial_to_terrestrial(time).transpose(0, 2, 1) @ np.cross(SPIN, position)
    velocity = earth["v"] * (erfa.DAU / erfa.DAYSEC) + turning
    factor = 1 / _seen(velocity, towards)
    return factor * _seen(-SUN, towards) if frame == "LSRK" else factor


def _seen(velocity: np.ndarray, towards: np.ndarray) -> np.ndarray:
    """Frequency of light from a direction (3,) for an observer with `velocity` (..., 3) [m/s], over that at rest."""
    beta = velocity / C
    return (1 + beta @ towards) / np.sqrt(1 - (beta**2).sum(-1))


@dataclass(frozen=True)
class FrameShift:
    """Sets the Doppler factor of the blocks of one spectral window.

    Parameters
    ----------
    frame : {'LSRK', 'BARY'}
    ra, dec : float
        Phase centre, J2000 [rad].
    position : (3,) float64
        Position of the array, ITRF [m].
    width : float
        Width of a channel [Hz].
    max_drift : float
        Range of the frequencies within a block [channels], see `ReadSettings`.
    """

    frame: str
    ra: float
    dec: float
    position: np.ndarray
    width: float
    max_drift: float = ReadSettings.max_drift

    def factor(self, time: np.ndarray) -> np.ndarray:
        """Frequency in the output frame over that at the telescope, (time,), at times (time,) [MJD s]."""
        return frame_factor(self.frame, self.ra, self.dec, self.position, time)

    def cut(self, block: Visibilities) -> list[Visibilities]:
        """The rows of a block, cut into as many blocks as its drift needs, each with its `doppler`."""
        times, inverse = np.unique(block.time, return_inverse=True)
        factor = self.factor(times)
        drift = np.ptp(factor) * block.freq.max()
        count = int(drift / (self.max_drift * self.width)) + 1
        # Equal ranges of the factor, not of time: months later the factor can be the same again.
        number = np.minimum((factor - factor.min()) * (count / max(np.ptp(factor), 1e-300)), count - 1).astype(int)
        factor, number = factor[inverse], number[inverse]
        if count == 1:
            return [replace(block, doppler=float(factor.mean()))]
        out = []
        for one in np.unique(number):
            rows = np.flatnonzero(number == one)
            out.append(replace(block.select_rows(rows), doppler=float(factor[rows].mean())))
        return out


def find_shift(
    ms: MeasurementSet,
    window: SpectralWindow,
    position: tuple[float, float],
    outframe: str | None,
    settings: ReadSettings = DEFAULTS,
) -> FrameShift | None:
    """The conversion of a spectral window to the output frame; None if its frequencies are in that frame.

    Parameters
    ----------
    ms : MeasurementSet
    window : SpectralWindow
    position : (float, float)
        Direction of the source (ra, dec), J2000 [rad].
    outframe : {'TOPO', 'LSRK', 'BARY'} or None
        None stands for the frame of the data.
    settings : ReadSettings

    Raises
    ------
    ConfigError
        The data are in another frame, and are not topocentric.
    InputError
        The antennas are not on the Earth's surface.
    """
    if outframe is None or window.frame == SPECSYS[outframe]:
        return None
    if window.frame != "TOPOCENT":
        raise ConfigError(
            f"--outframe {outframe} needs topocentric frequencies, but those of spectral window {window.spw} of "
            f"{ms.path} are in the frame {window.frame}; leave --outframe out to keep it, or choose windows with --spw."
        )
    distance = float(np.median(np.linalg.norm(ms.positions, axis=1)))
    if not SURFACE[0] <= distance <= SURFACE[1]:
        raise InputError(
            f"--outframe {outframe} needs the position of the array, but the antennas of {ms.path} are {distance:.4g} "
            f"m from the Earth's centre, not {SURFACE[0]:.2g} to {SURFACE[1]:.2g}; put ITRF positions into its ANTENNA "
            "table, or leave --outframe out."
        )
    spacing = np.abs(np.diff(window.freq))
    width = float(np.median(spacing if spacing.any() else window.width))
    # A single channel without a width cannot drift to another channel.
    width = width if width > 0 else np.inf
    return FrameShift(outframe, *position, ms.positions.mean(0), width, settings.max_drift)
