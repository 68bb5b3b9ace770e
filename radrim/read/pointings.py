"""Which fields are imaged, and how the pointings of a mosaic come to one phase centre.

Seen from another phase centre a baseline is the same vector in other axes: (u, v, w) are turned, and the path that was
taken out of the data for the old centre is replaced by that for the new one. Nothing is interpolated, and each pointing
then is an observation of the mosaic's tangent plane, off its middle.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from radrim.errors import ConfigError, InputError
from radrim.geometry import SIGN, C, axes, format_angle, n_minus_1
from radrim.ms.tables import MeasurementSet, open_table, rows_per_id
from radrim.read.settings import DEFAULTS, ReadSettings
from radrim.visibilities import Visibilities, row_slices


@dataclass(frozen=True)
class Target:
    """The fields of one Measurement Set that are imaged.

    Parameters
    ----------
    ms : MeasurementSet
    fields : list of int
        Rows of FIELD; several of one position are one pointing.
    notes : list of str
        What was decided without being asked, in sentences.
    """

    ms: MeasurementSet
    fields: list[int]
    notes: list[str]

    @property
    def positions(self) -> list[tuple[float, float]]:
        """Different phase centres (ra, dec) [rad], in the order of the fields."""
        chosen = [self.ms.fields[index] for index in self.fields]
        # What was written as the same number may come back with another last digit.
        return list({(round(f.ra, 12), round(f.dec, 12)): (f.ra, f.dec) for f in chosen}.values())

    @property
    def names(self) -> list[str]:
        """Of the fields, without repeats."""
        return list(dict.fromkeys(self.ms.fields[index].name for index in self.fields))


def choose_target(ms: MeasurementSet, wanted: str | None = None) -> Target:
    """The fields that `--field` names, or the one with most rows.

    Parameters
    ----------
    ms : MeasurementSet
    wanted : str, optional
        Number or name, several of them with commas between, ranges such as 2~24, or 'all'. A name stands for all fields
        of that name.

    Raises
    ------
    ConfigError
        There is no such field.
    InputError
        A phase centre that is not on the sky's fixed coordinates.
    """
    notes = []
    if wanted is not None:
        chosen = _named(ms, wanted)
    elif len(ms.fields) == 1:
        chosen = [0]
    else:
        rows = _rows(ms)
        chosen = [int(rows.argmax())]
        name = ms.fields[chosen[0]].name
        others = dict.fromkeys(f.name for i, f in enumerate(ms.fields) if i != chosen[0] and rows[i])
        if others:
            notes.append(f"Imaging field {name}, the one with most rows; choose with --field ({', '.join(others)}).")
        alike = sum(bool(rows[i]) and f.name == name for i, f in enumerate(ms.fields))
        if alike > 1:
            notes.append(f"{alike} fields are called {name}: --field {name} --pb makes one image of all of them.")
    for field in (ms.fields[index] for index in chosen):
        if field.frame not in ("J2000", "ICRS"):
            raise InputError(
                f"{ms.path}: the phase centre of field {field.name} is given in {field.frame}; only J2000 and "
                "ICRS are read. Change it with CASA's phaseshift or fixplanets."
            )
    return Target(ms, chosen, notes)


def _named(ms: MeasurementSet, wanted: str) -> list[int]:
    """Indices of the fields that a text names, in their order."""
    if found := _matching(ms, wanted):  # the whole first: names can hold commas
        return found
    if wanted == "all":
        return np.flatnonzero(_rows(ms)).tolist()
    chosen: set[int] = set()
    for word in (part.strip() for part in wanted.split(",")):
        span = re.fullmatch(r"(\d+)~(\d+)", word)
        found = [i for i in range(int(span[1]), int(span[2]) + 1) if i < len(ms.fields)] if span else []
        found = found or _matching(ms, word)
        if not found:
            listed = ", ".join(f"{i} ({f.name})" for i, f in enumerate(ms.fields))
            raise ConfigError(f"{ms.path} has no field '{word}'; it has {listed}.")
        chosen.update(found)
    return sorted(chosen)


def _matching(ms: MeasurementSet, word: str) -> list[int]:
    """The field of that number, or all of that name."""
    if word.isdecimal() and int(word) < len(ms.fields):
        return [int(word)]
    return [index for index, field in enumerate(ms.fields) if field.name == word]


def _rows(ms: MeasurementSet) -> np.ndarray:
    """Rows of each field."""
    with open_table(ms.tables) as main:
        return rows_per_id(main, "FIELD_ID", len(ms.fields))


def choose_centre(
    targets: Sequence[Target], joint: bool, settings: ReadSettings = DEFAULTS
) -> tuple[float, float] | None:
    """Phase centre (ra, dec) [rad] of a joint mosaic, the middle of its pointings; None for a single pointing.

    Parameters
    ----------
    targets : sequence of Target
    joint : bool
        Whether a mosaic may be made: there is a primary beam.
    settings : ReadSettings

    Raises
    ------
    ConfigError
        Several pointings in a Measurement Set without a primary beam, or pointings far apart.
    """
    if not joint:
        for target in targets:
            if len(target.positions) > 1:
                raise ConfigError(
                    f"--field names {len(target.positions)} pointings of {target.ms.path} "
                    f"({', '.join(target.names)}), and a joint mosaic needs the primary beam: add --pb airy or "
                    f"--pb gauss, or choose one of them: --field {target.fields[0]}."
                )
        return None
    found = {tuple(np.round(p, 12)): p for target in targets for p in target.positions}
    if len(found) == 1:
        return None
    directions = np.array([axes(*position)[2] for position in found.values()])
    x, y, z = directions.sum(0)
    centre = float(np.arctan2(y, x) % (2 * np.pi)), float(np.arctan2(z, np.hypot(x, y)))
    widest = float(np.arccos(np.clip(directions @ axes(*centre)[2], -1, 1)).max())
    limit = settings.max_pointing_distance
    if widest > limit:
        raise ConfigError(
            f"The pointings lie up to {format_angle(widest)} from their middle (limit {format_angle(limit)}): no "
            "mosaic can hold them. Leave out calibrators and other targets with --field."
        )
    return centre


def bring_to(block: Visibilities, position: tuple[float, float], centre: tuple[float, float]) -> Visibilities:
    """A block with another phase centre; the antennas go on pointing at the old one.

    Parameters
    ----------
    block : Visibilities
        Its data are changed in place.
    position, centre : (float, float)
        Old and new phase centre, (ra, dec) [rad], at most 90 degrees apart.
    """
    turn = axes(*centre) @ axes(*position).T
    uvw = block.uvw @ turn.T
    for data in block.planes.values():
        lengthen(data, block.uvw[:, 2] - uvw[:, 2], block.freq)
    return replace(block, uvw=uvw, pointing=turn[:2, 2].copy())


def each_at_its_pointing(blocks: Iterable[Visibilities]) -> Iterator[Visibilities]:
    """Blocks one after the other, with the phases that they were observed with: copies where they have others.

    What the antennas point at changes least from one sample to the next then.
    """
    for block in blocks:
        l, m = block.pointing.tolist()  # noqa: E741 - the field's own names
        if not (l or m):
            yield block
            continue
        data = np.array(block.data)
        lengthen(data, -block.uvw @ (l, m, n_minus_1(l, m)), block.freq)
        yield replace(block, data=data)


def lengthen(data: np.ndarray, paths: np.ndarray, freq: np.ndarray) -> None:
    """Give data (row, chan) the phases of additional paths (row,) [m], in place, at frequencies (chan,) [Hz]."""
    for rows in row_slices(len(data)):
        turns = np.multiply.outer(SIGN * paths[rows], freq / C)
        data[rows] *= np.exp(2j * np.pi * (turns - np.round(turns)))
