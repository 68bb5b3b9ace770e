"""ducc0's w-gridder (improved w-stacking) on arrays: the work of `radrim.operator.wgridder`, without torch.

References
----------
Arras, Reinecke, Westermann & Ensslin (2021), A&A 646, A58; Ye, Gull, Tan & Nikolic (2022), MNRAS 510, 4110.
"""

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ducc0
import numpy as np

from radrim.errors import ConfigError
from radrim.geometry import SIGN, C, ImageGrid, n_minus_1
from radrim.operator.facets import split_facets
from radrim.operator.settings import WGridderSettings
from radrim.operator.w_term import max_w, w_matters

SETTINGS = WGridderSettings()


def supports(grid: ImageGrid) -> bool:
    """Whether ducc0 makes images of this size."""
    return not (grid.width % 2 or grid.height % 2 or min(grid.shape) < SETTINGS.min_pixels)


class Gridder:
    """Visibilities of an image, and the image of visibilities, as arrays on the CPU.

    Images must have even sizes of at least 32 pixels. Samples of weight 0 take no time.

    Parameters
    ----------
    uvw : (row, 3) float64
        Baseline coordinates as stored in a Measurement Set [m].
    freq : (chan,) float64
        Channel frequencies [Hz].
    grid : ImageGrid
    epsilon : float
        Largest relative error against the direct sum.
    threads : int

    Raises
    ------
    ConfigError
        An image size that ducc0 does not support.
    """

    kind = "wgridder"

    def __init__(self, uvw: np.ndarray, freq: np.ndarray, grid: ImageGrid, epsilon: float = 1e-5, threads: int = 1):
        if not supports(grid):
            raise ConfigError(
                f"Operator 'wgridder' needs even sizes of at least {SETTINGS.min_pixels} pixels: "
                f"got {grid.width} x {grid.height}; use another size, or the operator 'nufft'."
            )
        self.grid, self.epsilon, self.threads = grid, epsilon, threads
        self._uvw, self._freq = SIGN * uvw, freq
        self.image_shape, self.data_shape, self.max_w = grid.shape, (len(uvw), len(freq)), max_w(uvw, freq)
        self._visible: np.ndarray | None = None
        if grid.max_n_term >= 1:  # some pixels are beyond the horizon
            self._visible = np.isfinite(n_minus_1(grid.l()[None, :], grid.m()[:, None]))
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

    def forward(self, image: np.ndarray) -> np.ndarray:
        """Visibilities [Jy], (row, chan), of an image (y, x) [Jy/pixel], in its precision."""
        if 0 in self.data_shape:
            return np.zeros(self.data_shape, np.result_type(image.dtype, np.complex64))
        seen = image if self._visible is None else np.where(self._visible, image, 0)
        single, epsilon = self._precision(image.dtype == np.float32)
        seen = np.ascontiguousarray(seen, np.float32 if single else np.float64)
        out = ducc0.wgridder.dirty2vis(dirty=seen, epsilon=epsilon, nthreads=self.threads, **self._common)
        return out if single or image.dtype == np.float64 else out.astype(np.complex64)

    def adjoint(self, data: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
        """Re A^H (weight data), (y, x), not normalised, in the precision of the data; 0 beyond the horizon."""
        dtype = np.float32 if data.dtype == np.complex64 else np.float64
        if 0 in self.data_shape:
            return np.zeros(self.image_shape, dtype)
        image = self._image_of(data, weight)
        return image if self._visible is None else np.where(self._visible, image, dtype(0))

    def paired_forward(self, image: np.ndarray, used: np.ndarray) -> np.ndarray:
        """Visibilities of an image, both in double precision; only `used` samples (row, chan) bool take part."""
        return ducc0.wgridder.dirty2vis(dirty=image, **self._paired(used))

    def paired_adjoint(self, data: np.ndarray, used: np.ndarray) -> np.ndarray:
        """The transpose of `paired_forward` to rounding: with the same samples, planes along w and call of ducc0."""
        # A number too small to count, with a square that is not 0: ducc0 leaves out samples whose square is 0.
        vis = np.where(used & (np.abs(data) < SETTINGS.no_zero), SETTINGS.no_zero, data)
        height, width = self.image_shape
        return ducc0.wgridder.vis2dirty(vis=vis, npix_x=height, npix_y=width, **self._paired(used))

    def _paired(self, used):
        _, epsilon = self._precision(single=False)
        return self._common | {"mask": used.astype(np.uint8), "epsilon": epsilon, "nthreads": self.threads}

    def psf(self, weight: np.ndarray) -> np.ndarray:
        """Response to 1 Jy in the middle pixel, (y, x), not normalised; the peak is the sum of the weights."""
        dtype = np.complex64 if weight.dtype == np.float32 else np.complex128
        if self.grid.x0 or self.grid.y0:
            seen = self._phase().astype(dtype)
        else:  # a view of one number needs no memory
            seen = np.broadcast_to(np.ones((), dtype), self.data_shape)
        return self.adjoint(seen, weight)

    def _phase(self) -> np.ndarray:
        """Visibilities of 1 Jy in the middle pixel, (row, chan) complex128."""
        turns = np.multiply.outer(self._uvw @ self.grid.middle, self._freq / C)
        return np.exp(2j * np.pi * (turns - np.round(turns)))

    def _precision(self, single: bool) -> tuple[bool, float]:
        """Whether to compute in single precision, and the epsilon to request from ducc0."""
        epsilon = min(SETTINGS.requested_accuracy * self.epsilon, SETTINGS.max_requested_accuracy)
        return single and epsilon >= SETTINGS.min_single_epsilon, epsilon

    def _image_of(self, data: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        dtype = np.float32 if data.dtype == np.complex64 else np.float64
        single, epsilon = self._precision(dtype == np.float32)
        if not single:
            # Views of one number, as for the PSF, remain such views.
            data = data if data.dtype == np.complex128 else _to_double(data)
            weight = weight if weight is None else weight.astype(np.float64)
        elif weight is not None:
            weight = weight.astype(np.float32, copy=False)

        def image_of(rows: slice, lines: slice) -> np.ndarray:
            height = lines.stop - lines.start
            shift = lines.start + height // 2 - self.image_shape[0] // 2
            return ducc0.wgridder.vis2dirty(
                **{
                    **self._common,
                    "uvw": self._common["uvw"][rows],
                    "center_x": self._common["center_x"] - shift * self._common["pixsize_x"],
                },
                vis=data[rows],
                wgt=None if weight is None else weight[rows],
                npix_x=height,
                npix_y=self.image_shape[1],
                epsilon=epsilon,
                nthreads=1,
            )

        parts = self._parts()
        if len(parts) == 1:
            return image_of(*parts[0]).astype(dtype, copy=False)
        out = np.zeros(self.image_shape, np.float32 if single else np.float64)
        with ThreadPoolExecutor(self.threads) as pool:
            for (_, lines), part in zip(parts, pool.map(lambda part: image_of(*part), parts), strict=True):
                out[lines] += part
        return out.astype(dtype, copy=False)

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


def _to_double(data: np.ndarray) -> np.ndarray:
    if data.strides == (0, 0):
        return np.broadcast_to(data[0, 0].astype(np.complex128), data.shape)
    return data.astype(np.complex128)
