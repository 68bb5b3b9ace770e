"""Chooses the fields that are imaged, and shifts the pointings of a mosaic to one phase centre.

For another phase centre a baseline is the same vector in other axes: (u, v, w) are rotated, and the path delay that was
removed from the data for the old centre is replaced by that for the new centre. Nothing is interpolated. Each pointing
is then an observation of the tangent plane of the mosaic.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from radrim.config.directions import parse_direction
from radrim.errors import ConfigError, InputError
from radrim.geometry import SIGN, C, axes, format_angle, n_minus_1
from radrim.ms.opening import open_table
from radrim.ms.tables import MeasurementSet, rows_per_id
from radrim.read.phase_centre import distance, position_of
from radrim.read.settings import DEFAULTS, ReadSettings
from radrim.visibilities import Visibilities, row_slices


@dataclass(frozen=True)
class PointingSettings:
    """How fields are listed."""

    named: int = 12
    """Number of fields that a message names: a mosaic can have thousands."""


@dataclass(frozen=True)
class Target:
    """The fields of one Measurement Set that are imaged.

    Parameters
    ----------
    ms : MeasurementSet
    fields : list of int
        Rows of FIELD; several of one position are one pointing.
    notes : list of str
        Automatic choices, in sentences.
    """

    ms: MeasurementSet
    fields: list[int]
    notes: list[str]

    @property
    def positions(self) -> list[tuple[float, float]]:
        """Different phase centres (ra, dec) [rad], in the order of the fields."""
        chosen = [self.ms.fields[index] for index in self.fields]
        # The same number can differ in the last digit after it was written and read.
        return list({(round(f.ra, 12), round(f.dec, 12)): (f.ra, f.dec) for f in chosen}.values())

    @property
    def names(self) -> list[str]:
        """Names of the fields, without repeats."""
        return list(dict.fromkeys(self.ms.fields[index].name for index in self.fields))


def choose_target(ms: MeasurementSet, wanted: str | None = None, condition: str = "") -> Target:
    """The fields that `--field` names, or the one with most rows.

    Parameters
    ----------
    ms : MeasurementSet
    wanted : str, optional
        Number or name, several of them separated by commas, ranges such as 2~24, or 'all'. A name stands for all fields
        of that name.
    condition : str
        TaQL condition of the rows that count.

    Raises
    ------
    ConfigError
        The field does not exist.
    InputError
        A phase centre is not given in J2000 or ICRS, or follows an ephemeris.
    """
    notes = []
    if wanted is not None:
        chosen = _named(ms, wanted, condition)
    elif len(ms.fields) == 1:
        chosen = [0]
    else:
        rows = _rows(ms, condition)
        chosen = [int(rows.argmax())]
        name = ms.fields[chosen[0]].name
        others = dict.fromkeys(f.name for i, f in enumerate(ms.fields) if i != chosen[0] and rows[i])
        if others:
            notes.append(
                f"Imaging field {name}, the one with most rows; choose with --field ({named_few(list(others))})."
            )
        alike = sum(bool(rows[i]) and f.name == name for i, f in enumerate(ms.fields))
        if alike > 1:
            notes.append(f"{alike} fields are called {name}: --field {name} --pb makes one image of all of them.")
    for field in (ms.fields[index] for index in chosen):
        if field.ephemeris:
            raise InputError(
                f"{ms.path}: field {field.name} follows a body of the solar system (EPHEMERIS_ID): its phase centre is "
                "an offset from an ephemeris, which is not applied yet. Shift its phases to a fixed position first "
                "(CASA: phaseshift, or fixplanets with a direction)."
            )
        if field.frame not in ("J2000", "ICRS"):
            raise InputError(
                f"{ms.path}: the phase centre of field {field.name} is given in {field.frame}; only J2000 and "
                "ICRS are read. Change it with CASA's phaseshift or fixplanets."
            )
        if not (np.isfinite(field.ra) and abs(field.dec) <= np.pi / 2 + 1e-9):
            raise InputError(
                f"{ms.path}: the phase centre of field {field.name} is RA {np.degrees(field.ra):g}, Dec "
                f"{np.degrees(field.dec):g} degrees, which is no position. Correct PHASE_DIR of its table FIELD."
            )
    return Target(ms, chosen, notes)


def _named(ms: MeasurementSet, wanted: str, condition: str) -> list[int]:
    """Indices of the fields that a text names, in their order."""
    if found := _matching(ms, wanted):  # the whole text first: names can contain commas
        return found
    if wanted == "all":
        if not ms.rows:
            raise InputError(f"{ms.path} has no rows: there is nothing to image.")
        return np.flatnonzero(_rows(ms, condition)).tolist()
    chosen: set[int] = set()
    for word in (part.strip() for part in wanted.split(",")):
        span = re.fullmatch(r"(\d+)~(\d+)", word)
        found = [i for i in range(int(span[1]), int(span[2]) + 1) if i < len(ms.fields)] if span else []
        found = found or _matching(ms, word)
        if not found:
            listed = named_few([f"{i} ({f.name})" for i, f in enumerate(ms.fields)])
            raise ConfigError(f"{ms.path} has no field '{word}'; it has {listed}.")
        chosen.update(found)
    return sorted(chosen)


def _matching(ms: MeasurementSet, word: str) -> list[int]:
    """The field of this number, or all fields of this name."""
    if word.isdecimal() and int(word) < len(ms.fields):
        return [int(word)]
    return [index for index, field in enumerate(ms.fields) if field.name == word]


def named_few(names: Sequence[str], separator: str = ", ") -> str:
    """Names as a list; of many only the first, and the number of the others."""
    few = PointingSettings.named
    if len(names) <= few + 1:
        return separator.join(names)
    return f"{separator.join(names[:few])} and {len(names) - few:,} more"


def _rows(ms: MeasurementSet, condition: str) -> np.ndarray:
    """Number of rows of each field that meet a condition."""
    with open_table(ms.tables) as main:
        if not condition:
            return rows_per_id(main, "FIELD_ID", len(ms.fields))
        with main.query(condition) as part:
            return rows_per_id(part, "FIELD_ID", len(ms.fields))


def choose_centre(
    targets: Sequence[Target], joint: bool, settings: ReadSettings = DEFAULTS, wanted: str | None = None
) -> tuple[float, float] | None:
    """Phase centre (ra, dec) [rad] of the image; None for that of the data.

    Parameters
    ----------
    targets : sequence of Target
    joint : bool
        Whether a mosaic may be made, which needs a primary beam.
    settings : ReadSettings
    wanted : str, optional
        Direction that the user names; see `radrim.config.directions`. By default the phase centre of a mosaic is the
        mean of its pointings.

    Raises
    ------
    ConfigError
        A Measurement Set has several pointings and there is no primary beam, or pointings are too far from the centre.
    """
    if not joint:
        _refuse_mosaics(targets)
    positions = pointings_of(targets)
    mosaic = joint and len(positions) > 1
    if not mosaic and wanted is None:
        return None
    centre = mean_direction(positions) if mosaic else positions[0]
    limit, what = settings.max_pointing_distance, "The pointings lie up to {0} from their centre (limit {1}), which is "
    advice = "too far for a mosaic. Leave out calibrators and other targets with --field."
    if wanted is not None:
        centre = position_of(parse_direction("phase-centre", wanted), centre)
        limit = limit if mosaic else settings.max_shift
        what = f"The phase centre '{wanted}' lies {{0}} from the pointing of the antennas (limit {{1}}), which is "
        advice = "out of sight. Is it of another source, or in another frame?"
    widest = max(distance(position, centre) for position in positions)
    if widest > limit:
        raise ConfigError(what.format(format_angle(widest), format_angle(limit)) + advice)
    return centre


def _refuse_mosaics(targets):
    for target in targets:
        if len(target.positions) > 1:
            raise ConfigError(
                f"--field names {len(target.positions)} pointings of {target.ms.path} "
                f"({named_few(target.names)}), and a joint mosaic needs the primary beam: add --pb, "
                f"or choose one of them: --field {target.fields[0]}."
            )


def pointings_of(targets: Sequence[Target]) -> list[tuple[float, float]]:
    """Different pointings (ra, dec) [rad] of all targets."""
    return list({(round(ra, 12), round(dec, 12)): (ra, dec) for t in targets for ra, dec in t.positions}.values())


def mean_direction(positions: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The direction (ra, dec) [rad] in the middle of some."""
    if len(positions) == 1:
        return positions[0]
    x, y, z = np.array([axes(*position)[2] for position in positions]).sum(0)
    return float(np.arctan2(y, x) % (2 * np.pi)), float(np.arctan2(z, np.hypot(x, y)))


def bring_to(block: Visibilities, position: tuple[float, float], centre: tuple[float, float]) -> Visibilities:
    """A block shifted to another phase centre; the pointing of the antennas stays at the old one.

    Parameters
    ----------
    block : Visibilities
        The data are changed in place.
    position, centre : (float, float)
        Old and new phase centre, (ra, dec) [rad], at most 90 degrees apart.
    """
    turn = axes(*centre) @ axes(*position).T
    uvw = block.uvw @ turn.T
    for data in block.planes.values():
        lengthen(data, block.uvw[:, 2] - uvw[:, 2], block.freq)
    return replace(block, uvw=uvw, pointing=turn[:2, 2].copy())


def each_at_its_pointing(blocks: Iterable[Visibilities]) -> Iterator[Visibilities]:
    """Blocks with the phase centre at their pointing, one after the other; shifted blocks are copies.

    The visibilities of sources near the pointing then change least from one sample to the next.
    """
    for block in blocks:
        l, m = block.pointing.tolist()
        if not (l or m):
            yield block
            continue
        data = np.array(block.data)
        lengthen(data, -block.uvw @ (l, m, n_minus_1(l, m)), block.freq)
        yield replace(block, data=data)


def lengthen(data: np.ndarray, paths: np.ndarray, freq: np.ndarray) -> None:
    """Add the phases of additional paths (row,) [m] to data (row, chan) at frequencies (chan,) [Hz], in place."""
    for rows in row_slices(len(data)):
        turns = np.multiply.outer(SIGN * paths[rows], freq / C)
        data[rows] *= np.exp(2j * np.pi * (turns - np.round(turns)))
