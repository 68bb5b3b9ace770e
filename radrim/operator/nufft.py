"""Non-uniform FFTs (finufft on the CPU, cufinufft on CUDA) with the full w-term, by coplanar facets.

A facet is a rectangle of the image grid. Within it, n - 1 is approximated by a plane around the centre pixel (l0, m0).
The plane converts most of the w-term to a phase per sample and a shift of the uv coordinates, ``u + w dn/dl`` and ``v +
w dn/dm``. No pixel moves, so that facets fit together without resampling. The difference of n - 1 from the plane is of
second order in the size of the facet; a few products p_k(w) p_k(n - 1) represent it (`ProlateExpansion`). Each product
needs the transform of one real image, and two real images share one complex transform.

References
----------
Cornwell & Perley (1992), A&A 261, 353 and Kogan & Greisen (2009), AIPS Memo 113 (facets on the tangent plane);
Barnett, Magland & af Klinteberg (2019), SIAM J. Sci. Comput. 41, C479 (finufft).
"""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from radrim.errors import ConfigError
from radrim.geometry import ImageGrid
from radrim.operator.base import COMPLEX, REAL, Operator
from radrim.operator.facets import Facet, choose_facets, distance_from_plane, split_facets
from radrim.operator.settings import NufftSettings
from radrim.operator.w_term import ProlateExpansion, w_matters

SETTINGS = NufftSettings()


@dataclass(frozen=True)
class _WTerm:
    """The w-term of all facets as a sum of products; each has a factor of the samples and one of the pixels.

    Parameters
    ----------
    expansion : ProlateExpansion
    on_samples : Tensor, (term, sample) float64
        p_k(w).
    half : float
        Largest distance of n - 1 from the plane of its facet, above 0.
    """

    expansion: ProlateExpansion
    on_samples: torch.Tensor
    half: float

    def pairs(self) -> list[tuple[int, int | None]]:
        """Pairs of terms that share a transform; the last term may have no partner."""
        count = len(self.expansion)
        return [(k, k + 1 if k + 1 < count else None) for k in range(0, count, 2)]

    def factor_of_samples(self, k: int, dtype: torch.dtype) -> torch.Tensor:
        """p_k(w) i^odd of every sample, (sample,) complex."""
        return self.on_samples[k].to(dtype) * (1j if self.expansion.odd[k] else 1)


class NUFFT(Operator):
    """`Operator` by finufft or cufinufft; see there for parameters.

    It keeps plans and their points between calls, so only one thread at a time may use an operator.
    """

    kind = "nufft"

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
        self._u, self._v, self._w = self._wavelengths()
        self._w_term: _WTerm | None = None
        # Each facet runs on one thread: several threads inside finufft add samples in varying order, so that the last
        # digits of the result would differ between runs.
        least = 1 if self.device.type == "cuda" else math.isqrt(self.threads - 1) + 1
        if w_matters(self.max_w, grid, self.epsilon):
            count, _ = choose_facets(grid, self.max_w, len(self._u), self.epsilon)
            self._facet_shape, self.facets = split_facets(grid, max(count, least))
            half = max(facet.half for facet in self.facets)
            expansion = ProlateExpansion(2 * np.pi * self.max_w * half, SETTINGS.expansion_tolerance * self.epsilon)
            on_samples = expansion(self._w / self.max_w)
            self._w_term = _WTerm(expansion, on_samples, max(half, np.finfo(float).tiny))
        else:
            self._facet_shape, self.facets = split_facets(grid, least)
        self._transforms: dict[torch.dtype, list[_Transform]] = {}

    def _forward(self, image: torch.Tensor) -> torch.Tensor:
        def samples_of(facet: Facet, transform: "_Transform") -> torch.Tensor:
            rows, columns = self._inside(facet)
            tile = image.new_zeros(self._facet_shape)
            tile[: rows.stop - rows.start, : columns.stop - columns.start] = image[rows, columns]
            if self._w_term is None:
                samples = transform.to_samples(tile.to(transform.dtype))
            else:
                samples = self._samples_of(tile, facet, transform, self._w_term)
            return samples * self._phase(facet, transform.dtype)

        out = torch.zeros(len(self._u), dtype=COMPLEX[image.dtype], device=self.device)
        for _, samples in self._each_facet(out.dtype, samples_of):
            out += samples
        return out.reshape(self.data_shape)

    def _adjoint(self, data: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        data = (data if weight is None else data * weight).reshape(-1)

        def image_of(facet: Facet, transform: "_Transform") -> torch.Tensor:
            samples = data * self._phase(facet, transform.dtype).conj()
            if self._w_term is None:
                return transform.to_modes(samples.to(transform.dtype)).real
            return self._image_of(samples, facet, transform, self._w_term)

        out = torch.zeros(self.image_shape, dtype=REAL[data.dtype], device=self.device)
        for facet, tile in self._each_facet(data.dtype, image_of):
            rows, columns = self._inside(facet)
            out[rows, columns] = tile[: rows.stop - rows.start, : columns.stop - columns.start]
        return out

    def _each_facet(
        self, dtype: torch.dtype, work: "Callable[[Facet, _Transform], torch.Tensor]"
    ) -> Iterator[tuple[Facet, torch.Tensor]]:
        """Yield each facet and ``work(facet, transform)``, in order; on the CPU each facet runs on one thread."""
        transforms = self._transforms_for(dtype)

        def one(facet: Facet, transform: "_Transform") -> torch.Tensor:
            self._set_points(transform, facet)
            return work(facet, transform)

        if len(transforms) == 1:
            yield from ((facet, one(facet, transforms[0])) for facet in self.facets)
            return
        with ThreadPoolExecutor(len(transforms)) as pool:
            for k in range(0, len(self.facets), len(transforms)):
                facets = self.facets[k : k + len(transforms)]
                yield from zip(facets, pool.map(one, facets, transforms[: len(facets)]), strict=True)

    def _samples_of(self, tile: torch.Tensor, facet: Facet, transform: "_Transform", w_term: "_WTerm") -> torch.Tensor:
        """Samples of one facet, (sample,): sum over terms of p_k(w) i^odd F[p_k(n) tile]."""
        on_image, count = self._on_image(facet, w_term), len(self._u)
        out = torch.zeros(count, dtype=transform.dtype, device=self.device)
        for first, second in w_term.pairs():
            pair = on_image[first] * tile
            if second is None:
                both = transform.to_samples(pair.to(transform.dtype))
                out += both[:count] * w_term.factor_of_samples(first, transform.dtype)
                continue
            both = transform.to_samples(torch.complex(pair, on_image[second] * tile).to(transform.dtype))
            # The transform of a real image at -(u, v) is the conjugate of that at (u, v), which separates both images.
            direct, mirrored = both[:count], both[count:].conj()
            out += (direct + mirrored) * (0.5 * w_term.factor_of_samples(first, transform.dtype))
            out += (direct - mirrored) * (-0.5j * w_term.factor_of_samples(second, transform.dtype))
        return out

    def _image_of(self, data: torch.Tensor, facet: Facet, transform: "_Transform", w_term: "_WTerm") -> torch.Tensor:
        """Image of one facet, (y, x): sum over terms of p_k(n) Re F^H[p_k(w) (-i)^odd data].

        The transpose of `_samples_of`, step by step.
        """
        on_image, count = self._on_image(facet, w_term), len(self._u)
        out = torch.zeros(self._facet_shape, dtype=on_image.dtype, device=self.device)
        both = torch.empty(2 * count, dtype=transform.dtype, device=self.device)
        for first, second in w_term.pairs():
            part = data * w_term.factor_of_samples(first, transform.dtype).conj()
            both[:count], both[count:] = 0.5 * part, 0.5 * part.conj()
            if second is not None:
                part = data * w_term.factor_of_samples(second, transform.dtype).conj()
                both[:count] += 0.5j * part
                both[count:] += 0.5j * part.conj()
            tile = transform.to_modes(both)
            out += on_image[first] * tile.real
            if second is not None:
                out += on_image[second] * tile.imag
        return out

    def _on_image(self, facet: Facet, w_term: "_WTerm") -> torch.Tensor:
        """factor_k p_k of n - 1 minus the plane, for the facet's pixels, (term, y, x) float64."""
        distance = distance_from_plane(self.grid, facet, self._facet_shape).clip(-w_term.half, w_term.half)
        rest = torch.from_numpy(distance / w_term.half).to(self.device)
        factor = torch.from_numpy(w_term.expansion.factor).to(self.device)
        return w_term.expansion(rest).mul_(factor[:, None, None])

    def _phase(self, facet: Facet, dtype: torch.dtype) -> torch.Tensor:
        """exp(2 pi i (u l0 + v m0 + w level)) of every sample, (sample,)."""
        turns = self._u * facet.l0 + self._v * facet.m0 + self._w * facet.level
        turns = (turns - turns.round()) * (2 * np.pi)
        return torch.polar(torch.ones_like(turns), turns).to(dtype)

    def _set_points(self, transform: "_Transform", facet: Facet) -> None:
        if transform.holds is facet:
            return
        scale = 2 * np.pi * self.grid.scale
        y = _fold((self._v + self._w * facet.dm) * scale)
        x = _fold((self._u + self._w * facet.dl) * -scale)
        if self._w_term is not None:
            y, x = torch.cat([y, -y]), torch.cat([x, -x])
        transform.set_points(y, x)
        transform.holds = facet

    def _inside(self, facet: Facet) -> tuple[slice, slice]:
        """Rows and columns of the image that the facet covers; the last facets may extend beyond the image."""
        (height, width), (rows, columns) = self.image_shape, self._facet_shape
        return slice(facet.y, min(facet.y + rows, height)), slice(facet.x, min(facet.x + columns, width))

    def _transforms_for(self, dtype: torch.dtype) -> "list[_Transform]":
        """Plans for data of this type, made once; a plan keeps its points until it is used for another facet."""
        # Single precision rounds the points, which changes phases at the edge of a facet of N pixels by up to
        # N / 2 * 1.2e-7 rad.
        rounding = max(self._facet_shape) * 6e-8
        if dtype == torch.complex64 and (
            self.epsilon < SETTINGS.min_single_epsilon or rounding > SETTINGS.max_rounding * self.epsilon
        ):
            dtype = torch.complex128
        if dtype not in self._transforms:
            # Transforms of the size of a facet gain little from several threads; facets run in parallel instead.
            on_gpu = self.device.type == "cuda"
            workers = 1 if on_gpu else min(self.threads, len(self.facets))
            # Errors of transform, expansion and rounding add up.
            best = SETTINGS.single_accuracy if dtype == torch.complex64 else 0.0
            epsilon = max(SETTINGS.transform_tolerance * self.epsilon, best)
            self._transforms[dtype] = [
                _Transform(self._facet_shape, epsilon, dtype, self.device) for _ in range(workers)
            ]
        return self._transforms[dtype]


def _fold(angle: torch.Tensor) -> torch.Tensor:
    """Shift an angle to [-pi, pi] in double precision, before it is rounded to single precision."""
    return angle - (2 * np.pi) * torch.round(angle / (2 * np.pi))


class _Transform:
    """Both directions of one 2-D transform, samples_j = sum_k modes_k exp(+i k x_j), by two plans."""

    def __init__(self, shape: tuple[int, int], epsilon: float, dtype: torch.dtype, device: torch.device) -> None:
        options = {"eps": epsilon, "dtype": str(dtype).removeprefix("torch.")}
        self._on_gpu = device.type == "cuda"
        if self._on_gpu:
            try:
                import cufinufft as library
            except ImportError as error:
                raise ConfigError(
                    "Operator 'nufft' on device cuda needs the package cufinufft, which is not installed; "
                    "run 'pip install cufinufft', or use --device cpu."
                ) from error
            options["gpu_device_id"] = torch.cuda.current_device() if device.index is None else device.index
            # Plans run on torch's stream, which makes synchronisation unnecessary.
            options["gpu_stream"] = torch.cuda.current_stream(device).cuda_stream
        else:
            import finufft as library

            options["nthreads"] = 1
            # Low oversampling halves the time of the FFTs, but finufft has no kernel for the highest accuracy with it.
            options["upsampfac"] = (
                SETTINGS.low_oversampling if epsilon >= SETTINGS.min_low_oversampling_epsilon else 2.0
            )
        self._to_samples = library.Plan(2, shape, isign=1, **options)
        self._to_modes = library.Plan(1, shape, isign=-1, **options)
        self.dtype = dtype
        self.holds: Facet | None = None

    def set_points(self, y: torch.Tensor, x: torch.Tensor) -> None:
        """Set the points [rad], (sample,) float64."""
        real = REAL[self.dtype]
        self._points = [self._native(c.to(real)) for c in (y, x)]  # the plans read them at every call
        self._to_samples.setpts(*self._points)
        self._to_modes.setpts(*self._points)

    def to_samples(self, modes: torch.Tensor) -> torch.Tensor:
        return self._torch(self._to_samples.execute(self._native(modes)))

    def to_modes(self, samples: torch.Tensor) -> torch.Tensor:
        return self._torch(self._to_modes.execute(self._native(samples)))

    def _native(self, tensor: torch.Tensor) -> Any:
        # cufinufft works on torch tensors, finufft on numpy arrays.
        return tensor.contiguous() if self._on_gpu else tensor.contiguous().numpy()

    def _torch(self, array: Any) -> torch.Tensor:
        return array if self._on_gpu else torch.from_numpy(array)
