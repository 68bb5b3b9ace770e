"""Direct Fourier sum in torch: exact, on any device, in bounded memory.

If the w-term is nearly negligible, as for VLBI, the sum separates into matrix products. Otherwise every phase is
computed, which is slow. The other operators are tested against this one.
"""

from collections.abc import Iterator

import numpy as np
import torch

from radrim.geometry import ImageGrid, n_minus_1
from radrim.operator.base import COMPLEX, REAL, Operator
from radrim.operator.settings import DftSettings
from radrim.operator.w_term import expand_w_term

SETTINGS = DftSettings()


class DFT(Operator):
    """`Operator` by direct summation; see there for parameters. Phases are always computed in double precision."""

    kind = "dft"

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
        n1 = np.nan_to_num(n_minus_1(grid.l()[None, :], grid.m()[:, None]))
        self._n1 = torch.from_numpy(n1).to(self.device)
        self._expansion = expand_w_term(grid, self.max_w, self.epsilon)

    @property
    def separable(self) -> bool:
        """Whether the sum is computed by matrix products."""
        return self._expansion is not None

    def _forward(self, image: torch.Tensor) -> torch.Tensor:
        out = torch.empty(len(self._u), dtype=COMPLEX[image.dtype], device=self.device)
        run = self._forward_separable if self.separable else self._forward_exact
        for part in self._parts():
            out[part] = run(image, part)
        return out.reshape(self.data_shape)

    def _adjoint(self, data: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        data = data.reshape(-1) if weight is None else (data * weight).reshape(-1)
        out = torch.zeros(self.image_shape, dtype=REAL[data.dtype], device=self.device)
        run = self._adjoint_separable if self.separable else self._adjoint_exact
        for part in self._parts():
            run(data[part], part, out)
        return out

    def _parts(self) -> list[slice]:
        """Slices of the samples for which temporary arrays have at most `DftSettings.max_elements` elements."""
        height, width = self.image_shape
        most = SETTINGS.max_elements
        size = max(1, most // (height + width) if self.separable else most // (4 * width))
        return [slice(k, min(k + size, len(self._u))) for k in range(0, len(self._u), size)]

    def _terms(self, part: slice, dtype: torch.dtype) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Terms of the w-term: factor of the pixels (y, x), and factor of the samples (sample,) complex."""
        if self._expansion is None or self.max_w == 0:
            return [(torch.ones((), dtype=dtype, device=self.device), torch.ones((), dtype=COMPLEX[dtype]))]
        # n - 1 runs from -2 half to 0. Its middle is an exact phase; the difference to the middle is expanded.
        on_w = self._expansion(self._w[part] / self.max_w)
        half = self.grid.max_n_term / 2
        on_n = self._expansion(self._n1 / half + 1)
        shift = _turn(self._w[part] * -half)
        factor = torch.from_numpy(self._expansion.factor)
        return [
            ((factor[k] * on_n[k]).to(dtype), (shift * on_w[k] * 1j ** int(odd)).to(COMPLEX[dtype]))
            for k, odd in enumerate(self._expansion.odd)
        ]

    def _waves(self, part: slice, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """exp(2 pi i v m) as (y, sample) and exp(2 pi i u l) as (x, sample)."""
        height, width = self.image_shape
        scale = self.grid.scale
        return (
            _powers(self._v[part] * scale, height, self.grid.y0, COMPLEX[dtype]),
            _powers(self._u[part] * -scale, width, self.grid.x0, COMPLEX[dtype]),
        )

    def _forward_separable(self, image: torch.Tensor, part: slice) -> torch.Tensor:
        along_y, along_x = self._waves(part, image.dtype)
        out = torch.zeros(along_x.shape[1], dtype=COMPLEX[image.dtype], device=self.device)
        for on_image, on_sample in self._terms(part, image.dtype):
            # A real image times a complex matrix is one real product with twice the columns.
            inner = (image * on_image) @ torch.view_as_real(along_x).reshape(len(along_x), -1)
            inner = torch.view_as_complex(inner.reshape(len(inner), -1, 2))
            out = out + on_sample * inner.mul_(along_y).sum(0)
        return out

    def _adjoint_separable(self, data: torch.Tensor, part: slice, out: torch.Tensor) -> None:
        along_y, along_x = self._waves(part, out.dtype)
        along_y = along_y.conj_physical_()
        along_x = torch.view_as_real(along_x).reshape(len(along_x), -1)
        for on_image, on_sample in self._terms(part, out.dtype):
            # Re(a conj(b)) is the scalar product of (Re, Im) pairs: again a real product, with half of the work.
            weighted = along_y * (data * on_sample.conj())
            out += on_image * (torch.view_as_real(weighted).reshape(len(weighted), -1) @ along_x.T)

    def _forward_exact(self, image: torch.Tensor, part: slice) -> torch.Tensor:
        out = torch.zeros(part.stop - part.start, dtype=COMPLEX[image.dtype], device=self.device)
        for rows, waves in self._exact_waves(part):
            out = out + waves.to(COMPLEX[image.dtype]) @ image[rows].reshape(-1).to(COMPLEX[image.dtype])
        return out

    def _adjoint_exact(self, data: torch.Tensor, part: slice, out: torch.Tensor) -> None:
        for rows, waves in self._exact_waves(part):
            total = data.conj() @ waves.to(data.dtype)
            out[rows] += total.real.reshape(-1, self.image_shape[1])

    def _exact_waves(self, part: slice) -> Iterator[tuple[slice, torch.Tensor]]:
        """Rows of the image and exp(2 pi i (u l + v m + w (n - 1))) for them, (sample, pixel) complex128."""
        height, width = self.image_shape
        l = torch.from_numpy(self.grid.l()).to(self.device)
        m = torch.from_numpy(self.grid.m()).to(self.device)
        u, v, w = (c[part, None, None] for c in (self._u, self._v, self._w))
        step = max(1, SETTINGS.max_elements // (len(u) * width))
        for y in range(0, height, step):
            rows = slice(y, y + step)
            phase = u * l + v * m[rows, None] + w * self._n1[rows]
            yield rows, _turn(phase.reshape(len(u), -1))


def _turn(phase: torch.Tensor) -> torch.Tensor:
    """exp(2 pi i phase) for a phase in turns, complex128."""
    phase = (phase - phase.round()) * (2 * np.pi)
    return torch.polar(torch.ones((), dtype=phase.dtype, device=phase.device).expand_as(phase), phase)


def _powers(turns: torch.Tensor, count: int, middle: int, dtype: torch.dtype) -> torch.Tensor:
    """exp(2 pi i turns (k - count // 2 + middle)) for k = 0 ... count - 1, (count, sample).

    Each is the product of a coarse and a fine step, which takes one multiplication instead of sine and cosine.
    """
    fine = SETTINGS.fine_steps
    steps = torch.arange(0, count, fine, dtype=turns.dtype, device=turns.device) - count // 2 + middle
    coarse = _turn(steps[:, None] * turns).to(dtype)
    small = _turn(torch.arange(fine, dtype=turns.dtype, device=turns.device)[:, None] * turns).to(dtype)
    return (coarse[:, None, :] * small).reshape(-1, len(turns))[:count]
