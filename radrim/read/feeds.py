"""Turns Stokes Q and U of linear feeds from the axes of the feeds to north and east on the sky.

The table FEED has the angle of each receptor from its nominal place, RECEPTOR_ANGLE. With an equatorial mount a feed
keeps its angle on the sky, and Q and U are turned by twice that angle. With an alt-azimuth mount the sky turns above
the feed; the calibration that corrects for this, with the parallactic angle, has corrected for the feed's angle too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from radrim.ms.tables import MeasurementSet, open_table
from radrim.read.selection import Selection
from radrim.stokes import Terms

LINEAR = ("XX", "XY", "YX", "YY")
REVERSED = ("ASKAP",)
"""Telescopes that count RECEPTOR_ANGLE from north through west. For others X is at RECEPTOR_ANGLE from north through
east, as the Measurement Set's definition has it."""
DOUBLED = ("ASKAP",)
"""Telescopes whose own software forms I as XX + YY."""


@dataclass(frozen=True)
class FeedSettings:
    """Which angles count as equal."""

    tolerance: float = math.radians(0.1)
    """Largest difference of the angles of antennas, or from 0, that is ignored [rad]: it turns 0.3 % of Q into U."""


def turned(
    recipes: list[Terms], correlations: list[str], ms: MeasurementSet, selection: Selection, notes: list[str]
) -> list[Terms]:
    """Recipes of Stokes parameters, with those of Q and U turned by the angle of linear feeds.

    Parameters
    ----------
    recipes : list of list of (int, complex)
        For each Stokes parameter of `selection.stokes`, as from `radrim.stokes.combinations`.
    correlations : list of str
        Of the spectral window.
    ms : MeasurementSet
    selection : Selection
    notes : list of str
        Receives what was done or left out, in sentences.
    """
    wanted = selection.stokes.split(",")
    parallel = "XX" in correlations and "YY" in correlations
    if parallel and ms.telescope.upper() in DOUBLED and set(wanted) & set("IQUV"):
        _note(notes, f"The software of {ms.telescope} forms I as XX + YY, and radrim as (XX + YY) / 2, as most do: if "
                     "the data were calibrated so, all fluxes are half of theirs.")  # fmt: skip
    if not set(wanted) & {"Q", "U"}:
        return recipes
    angle = 2 * feed_angle(correlations, ms, selection.feed_angle, notes)
    if angle == 0:
        return recipes
    xx, xy, yx, yy = (correlations.index(name) for name in LINEAR)

    def mix(q: float, u: float) -> Terms:
        return [(xx, 0.5 * q + 0j), (xy, 0.5 * u + 0j), (yx, 0.5 * u + 0j), (yy, -0.5 * q + 0j)]

    ours = {"Q": mix(math.cos(angle), -math.sin(angle)), "U": mix(math.sin(angle), math.cos(angle))}
    return [ours.get(name, recipe) for name, recipe in zip(wanted, recipes, strict=True)]


def feed_angle(
    correlations: Sequence[str], ms: MeasurementSet, switch: str, notes: list[str], predicted: bool = False
) -> float:
    """Angle of the X receptors from north through east by which Q and U are turned [rad]; 0 if they are left alone.

    Parameters
    ----------
    correlations : sequence of str
        Of the spectral window.
    ms : MeasurementSet
    switch : {'auto', 'on', 'off'}
        auto: where the mount is equatorial.
    notes : list of str
        Receives what was done or left out, in sentences.
    predicted : bool
        Whether the notes are about predicted correlations, and not about images.
    """
    if not set(LINEAR) & set(correlations) or switch == "off":
        return 0.0
    angles = _angles(ms)
    if not len(angles) or np.abs(_half_turn(angles)).max() <= FeedSettings.tolerance:
        return 0.0
    shown = f"{math.degrees(angles[0]):.4g} deg (RECEPTOR_ANGLE of {ms.path.name})"
    if np.abs(_half_turn(angles - angles[0])).max() > FeedSettings.tolerance:
        _note(notes, f"Q and U were not turned by the angles of the feeds, {shown} and others: antennas differ.")
        return 0.0
    mounts = sorted({mount.upper() or "unknown" for mount in ms.mounts})
    if switch == "auto" and any(not mount.startswith("EQUATORIAL") for mount in mounts):
        _note(notes, f"Q and U were not turned by the angle of the feeds, {shown}, since mounts are "
                     f"{', '.join(mounts)}: calibration with the parallactic angle includes it. --feed-angle on turns "
                     "them.")  # fmt: skip
        return 0.0
    if not set(LINEAR) <= set(correlations):
        _note(notes, f"Q and U were not turned by the angle of the feeds, {shown}: this needs XX, XY, YX and YY; "
                     f"the data have {', '.join(correlations)}.")  # fmt: skip
        return 0.0
    what = "Predicted correlations are those of linear feeds at an angle of" if predicted else (
        "Q and U were turned by the angle of the linear feeds,"
    )  # fmt: skip
    _note(notes, f"{what} {shown}; --feed-angle off leaves them.")
    return float(-angles[0] if ms.telescope.upper() in REVERSED else angles[0])


def _note(notes: list[str], note: str) -> None:
    if note not in notes:
        notes.append(note)


def _half_turn(angle: np.ndarray) -> np.ndarray:
    """Angles within a quarter turn of 0: half a turn of a dipole changes nothing."""
    return (angle + np.pi / 2) % np.pi - np.pi / 2


def _angles(ms: MeasurementSet) -> np.ndarray:
    """Angle of the X receptor in each row of FEED that has one, (row,) [rad]; none without that table."""
    if not (ms.tables / "FEED" / "table.dat").exists():
        return np.zeros(0)
    found = []
    with open_table(ms.tables / "FEED") as table:
        if not {"RECEPTOR_ANGLE", "POLARIZATION_TYPE"} <= set(table.colnames()):
            return np.zeros(0)
        for row in range(table.nrows()):
            if not (table.iscelldefined("RECEPTOR_ANGLE", row) and table.iscelldefined("POLARIZATION_TYPE", row)):
                continue
            kinds = [str(kind).upper() for kind in np.ravel(table.getcell("POLARIZATION_TYPE", row))]
            angles = np.ravel(table.getcell("RECEPTOR_ANGLE", row))
            if "X" in kinds and kinds.index("X") < len(angles):
                found.append(float(angles[kinds.index("X")]))
    return np.array([angle for angle in found if math.isfinite(angle)])
