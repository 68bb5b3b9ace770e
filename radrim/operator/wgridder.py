"""Wide-field operator on the CPU: ducc0's w-gridder (improved w-stacking).

References
----------
Arras, Reinecke, Westermann & Ensslin (2021), A&A 646, A58; Ye, Gull, Tan & Nikolic (2022), MNRAS 510, 4110.
"""

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ducc0
import numpy as np
import torch

from radrim.errors import ConfigError
from radrim.geometry import ImageGrid
from radrim.operator.base import COMPLEX, REAL, Operator, w_matters
from radrim.operator.nufft import split_facets
from radrim.operator.settings import WGridderSettings

SETTINGS = WGridderSettings()


class WGridder(Operator):
    """`Operator` by ducc0.wgridder; see there for parameters.

    Images must have even sizes of at least 32 pixels. Samples of weight 0 take no time.
    """

    kind = "wgridder"

    def __init__(
        self,
        uvw: np.ndarray,
        freq: np.ndarray,
        grid: ImageGrid,
        epsilon: float = 1e-5,
        threads: int = 1,
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__(uvw, freq, grid, epsilon, threads, device)
        if self.device.type != "cpu":
            raise ConfigError(f"Operator 'wgridder' works on the CPU: got device {device}, expected cpu; use 'nufft'.")
        if min(self.image_shape) < SETTINGS.min_pixels or grid.width % 2 or grid.height % 2:
            raise ConfigError(
                f"Operator 'wgridder' needs even sizes of at least {SETTINGS.min_pixels} pixels: "
                f"got {grid.width} x {grid.height}; use another size, or the operator 'nufft'."
            )
        # In tiny fields n - 1 is -(l^2 + m^2) / 2 to 1e-11. Therefore phases do not change if l and m are multiplied by
        # `zoom`, u and v divided by zoom, and w divided by zoom^2. ducc0 has no rounding problem with these numbers.
        zoom = max(
            1.0, SETTINGS.min_field / (grid.scale * (max(self.image_shape) + 2 * max(abs(grid.x0), abs(grid.y0))))
        )
        # With v first, ducc0's first image axis is our y. The other order would read images transposed in memory, which
        # takes a third of the run time at 4096^2.
        uvw = self._uvw[:, [1, 0, 2]] / np.array([zoom, zoom, zoom * zoom])
        # ducc0 has V = sum I exp(-2 pi i (u x + v y - w (n - 1))), with x and y growing along the axes. Here m grows
        # along y, and l falls along x. So only the sign of u differs.
        self._common: dict[str, Any] = {
            "uvw": uvw,
            "freq": self._freq,
            "pixsize_x": grid.scale * zoom,
            "pixsize_y": grid.scale * zoom,
            "center_x": -grid.y0 * grid.scale * zoom,  # flip_u reverses this sign, too
            "center_y": grid.x0 * grid.scale * zoom,
            "do_wgridding": bool(w_matters(self.max_w, grid, self.epsilon)),
            "flip_u": True,
            "divide_by_n": False,
        }

    def _precision(self, single: bool) -> tuple[bool, float]:
        """Whether to compute in single precision, and the epsilon to request from ducc0."""
        epsilon = min(SETTINGS.requested_accuracy * self.epsilon, SETTINGS.max_requested_accuracy)
        return single and epsilon >= SETTINGS.min_single_epsilon, epsilon

    def _forward(self, image: torch.Tensor) -> torch.Tensor:
        dtype = image.dtype
        single, epsilon = self._precision(dtype == torch.float32)
        image = image if single else image.double()
        out = ducc0.wgridder.dirty2vis(dirty=image.numpy(), epsilon=epsilon, nthreads=self.threads, **self._common)
        out = torch.from_numpy(out)
        return out if single or dtype == torch.float64 else out.to(torch.complex64)

    def _adjoint(self, data: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        dtype = REAL[data.dtype]
        single, epsilon = self._precision(dtype == torch.float32)
        if not single:
            # Expanded views, as for the PSF, remain views of one number.
            data = data if data.dtype == torch.complex128 else _to_double(data)
            weight = weight if weight is None else weight.double()
        vis, factors = data.numpy(), None if weight is None else weight.numpy()

        def image_of(rows: slice, lines: slice) -> np.ndarray:
            height = lines.stop - lines.start
            shift = lines.start + height // 2 - self.image_shape[0] // 2
            return ducc0.wgridder.vis2dirty(
                **{
                    **self._common,
                    "uvw": self._common["uvw"][rows],
                    "center_x": self._common["center_x"] - shift * self._common["pixsize_x"],
                },
                vis=vis[rows],
                wgt=None if factors is None else factors[rows],
                npix_x=height,
                npix_y=self.image_shape[1],
                epsilon=epsilon,
                nthreads=1,
            )

        parts = self._parts()
        if len(parts) == 1:
            return torch.from_numpy(image_of(*parts[0])).to(dtype)
        out = np.zeros(self.image_shape, np.float32 if single else np.float64)
        with ThreadPoolExecutor(self.threads) as pool:
            for (_, lines), part in zip(parts, pool.map(lambda part: image_of(*part), parts), strict=True):
                out[lines] += part
        return torch.from_numpy(out).to(dtype)

    def _parts(self) -> list[tuple[slice, slice]]:
        """Slices (rows of samples, lines of the image) of the adjoint's parts, one part for each thread.

        Several threads inside ducc0 add samples to the grid in varying order, so that the last digits of the result
        would differ between runs. The sum of parts in fixed order is always the same.
        """
        gridding, transforms = _estimate(self.grid, self.max_w, self.data_shape[0] * self.data_shape[1], self.epsilon)
        most = min(self.threads, self.image_shape[0] // SETTINGS.min_strip)  # strips of the image
        strips = min(
            (k for k in range(1, self.threads + 1) if self.threads % k == 0 and k <= max(1, most)),
            key=lambda k: gridding * k / self.threads + transforms / k,
        )
        rows = np.linspace(0, self.data_shape[0], self.threads // strips + 1).astype(int)
        lines = 2 * np.linspace(0, self.image_shape[0] // 2, strips + 1).astype(int)
        return [
            (slice(r0, r1), slice(y0, y1))
            for y0, y1 in itertools.pairwise(lines)
            for r0, r1 in itertools.pairwise(rows)
            if r1 > r0
        ]


class PairedWGridder(WGridder):
    """A w-gridder whose adjoint is the transpose of its forward map to rounding, whatever the accuracy of both.

    `WGridder` splits the adjoint among threads, and ducc0 leaves out samples that are 0. So the planes along w, and
    with them the errors within epsilon, differ between the two directions. Here both have the same samples in one call.
    The last digits differ between runs with several threads.

    Parameters
    ----------
    uvw, freq, grid, epsilon, threads
        See `Operator`.
    used : (row, chan) bool
        Samples that take part; the visibilities of the others are 0.
    """

    def __init__(
        self, uvw: np.ndarray, freq: np.ndarray, grid: ImageGrid, epsilon: float, threads: int, used: np.ndarray
    ) -> None:
        super().__init__(uvw, freq, grid, epsilon, threads)
        _, requested = self._precision(single=False)
        self._used = np.asarray(used, bool)
        self._call: dict[str, Any] = self._common | {
            "mask": self._used.astype(np.uint8), "epsilon": requested, "nthreads": threads
        }  # fmt: skip

    def _forward(self, image: torch.Tensor) -> torch.Tensor:
        out = ducc0.wgridder.dirty2vis(dirty=image.double().numpy(), **self._call)
        return torch.from_numpy(out).to(COMPLEX[image.dtype])

    def _adjoint(self, data: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        values = data.to(torch.complex128)
        if weight is not None:
            values = values * weight
        vis = values.numpy()
        # A number too small to count, with a square that is not 0: ducc0 leaves out samples whose square is 0.
        vis = np.where(self._used & (np.abs(vis) < SETTINGS.no_zero), SETTINGS.no_zero, vis)
        height, width = self.image_shape
        image = ducc0.wgridder.vis2dirty(vis=vis, npix_x=height, npix_y=width, **self._call)
        return torch.from_numpy(image).to(REAL[data.dtype])


def estimate_seconds(grid: ImageGrid, largest_w: float, samples: int, epsilon: float) -> float:
    """Estimated time of `forward` or `adjoint` on one CPU core of 2023 [s]; see `WGridderSettings`."""
    return sum(_estimate(grid, largest_w, samples, epsilon))


def _estimate(grid: ImageGrid, largest_w: float, samples: int, epsilon: float) -> tuple[float, float]:
    """Estimated times for samples and for transforms [s]."""
    digits = np.log10(1 / epsilon)
    # ducc0 shifts the phase centre to the middle of the image, so only the distance of n - 1 from a plane remains.
    _, parts = split_facets(grid, 1, coarse=True)
    turns = largest_w * 2 * max((part.half for part in parts), default=0.0)
    planes = (
        1
        if not w_matters(largest_w, grid, epsilon)
        else SETTINGS.base_planes + digits + SETTINGS.planes_per_turn * turns
    )
    cells = planes * SETTINGS.oversampling * grid.width * grid.height
    return samples * digits * SETTINGS.sample_seconds, cells * SETTINGS.cell_seconds


def _to_double(data: torch.Tensor) -> torch.Tensor:
    if data.stride() == (0, 0):
        return data[:1, :1].to(torch.complex128).expand(data.shape)
    return data.to(torch.complex128)
