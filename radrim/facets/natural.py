"""Sums of imaging and natural weights, from which the noise of images with natural weights follows."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from radrim.workdir.store import Store
from radrim.workdir.visibilities import Samples


class WeightSums(NamedTuple):
    """Sums over some samples.

    Parameters
    ----------
    imaging, natural : float
        Of the weights W and w [Jy^-2].
    power : float
        Of W^2 / w: the square of sum W times the noise of the dirty image, if w is 1/sigma^2 [Jy^-2].
    """

    imaging: float = 0.0
    natural: float = 0.0
    power: float = 0.0

    @classmethod
    def of(cls, imaging: np.ndarray, natural: np.ndarray) -> "WeightSums":
        """Of weights (row, chan) float32; natural ones are 0 where imaging ones are."""
        ratio = np.zeros(imaging.shape, np.float32)
        np.divide(imaging, natural, out=ratio, where=natural > 0)
        power = np.einsum("ij,ij->", imaging, ratio, dtype=np.float64)
        return cls(float(imaging.sum(dtype=np.float64)), float(natural.sum(dtype=np.float64)), float(power))

    @classmethod
    def sum(cls, parts: "Iterable[WeightSums]") -> "WeightSums":
        """Of the samples of all parts together."""
        return cls(*np.sum([cls(), *parts], 0).tolist())

    @property
    def noise_factor(self) -> float:
        """Noise of the dirty image with natural weights over that with imaging weights; 1 without samples."""
        return self.imaging / (self.natural * self.power) ** 0.5 if self.power > 0 else 1.0


class NotedSums:
    """The `WeightSums` of each pointing of a channel, kept in a store.

    Parameters
    ----------
    store : Store
    name : str
    """

    def __init__(self, store: Store, name: str):
        self._store, self._name = store, name

    @property
    def noted(self) -> bool:
        """Whether the sums are in the store."""
        return self._name in self._store

    def note(self, pointings: Sequence[int], found: Sequence[dict[str, WeightSums]]) -> None:
        """Keep the sums of all blocks.

        Parameters
        ----------
        pointings : sequence of int
            Number of each block's pointing.
        found : sequence of dict
            Sums of each block, of all samples and of those that are fitted.
        """
        total: dict[str, list] = {}
        for samples in (Samples.ALL, Samples.FITTED):
            groups: list[list[WeightSums]] = [[] for _ in range(max(pointings) + 1)]
            for pointing, sums in zip(pointings, found, strict=True):
                groups[pointing].append(sums[samples])
            total[samples] = [WeightSums.sum(group) for group in groups]
        self._store.note(self._name, total)

    def of(self, samples: Samples) -> list[WeightSums]:
        """The sums over some of the samples, for each pointing."""
        noted = self._store.facts(self._name)
        if samples is not Samples.KEPT:
            return [WeightSums(*sums) for sums in noted[samples]]
        pairs = zip(noted[Samples.ALL], noted[Samples.FITTED], strict=True)
        return [WeightSums(*np.subtract(*pair).tolist()) for pair in pairs]
