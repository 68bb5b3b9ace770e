"""Convolution with a PSF, preconditioned gradients, and the finest detail of updates.

Images are (batch, y, x), cubes (batch, chan, y, x). For a residual r [Jy/beam] and the transform B of the PSF (peak 1)
on a padded grid, the preconditioned gradients are ``w_lambda = F^-1[ F[r] / (B + lambda) ]``, in Jy/pixel: r convolved
with the kernel ``k = F^-1[ 1 / (B + lambda) ]``.

**Their noise.** Noise of the dirty image with natural weights is stationary with the covariance ``sigma^2 psf(p - q)``
(A^H W A over the sum of the weights; psf(0) = 1). So it has the power ``sigma^2 B`` per frequency, and w_lambda of an
infinite image has ``sigma^2 B / (B + lambda)^2``. A real image is finite, and r counts as 0 beyond its edges. At the
centre, w_lambda therefore uses only the part k_T of the kernel within half the size of the image. With the transform K
of k_T, the variance there is ``sigma^2 mean(K^2 B)``, the mean over all frequencies of the grid. The formula of the
infinite image, ``mean(B / (B + lambda)^2)``, gives an rms up to a factor of two too small: noise that is truncated at
the edges leaks into frequencies that no baseline measured, where w_lambda divides by lambda only. Towards the edges the
noise rises by up to 20 %. A source of 1 Jy at the centre gives w_lambda the peak ``mean(K B)``.

With other weightings the noise has the power ``sigma^2 C``, where C is the transform of the noise correlation: the PSF
with weights W^2 / W_natural instead of W. The scales for noise and for peaks follow from the PSF and the size of the
image in closed form, and do not depend on tiles.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.fft
import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's documentation uses

from radrim.errors import SolverError

try:
    import ducc0
except ImportError:  # a training machine with numpy and torch alone
    ducc0 = None

FINEST = 0.16
"""Standard deviation of the finest detail of an update, in widths (FWHM) of the PSF's main lobe."""
SHARPEST = 0.08
"""The same standard deviation where the network chooses finer detail."""
TAPS = 4
"""Pixels on each side of the centre of the Gaussian with this standard deviation."""
WIDEST = 1.5
"""Largest standard deviation of this Gaussian [pixel], limited by the number of its taps."""
BLOCK = 128
"""Columns of a spectrum that are transformed together: they fit into the cache of a core."""


class PsfConvolution:
    """Convolution of images with a PSF and with kernels derived from it; the PSF is transformed once.

    Parameters
    ----------
    psf : Tensor, (y, x), (batch, y, x) or (batch, chan, y, x)
        Peak 1 at (ny // 2, nx // 2); as large as the image or larger. With twice the size the convolution is exact; the
        missing part of a smaller PSF counts as 0. The part that is odd under reflection is dropped, so that the
        convolution is self-adjoint.
    shape : (int, int)
        (y, x) of the images.
    padding : float
        Size of the grid over that of the image. With 2 the convolution does not wrap around; with 1 it is periodic.
    noise_psf : Tensor, optional
        Correlation of the noise, of the same layout as `psf`. If absent `psf` itself, which is exact for natural
        weights.
    finest : Tensor, (..., 2), optional
        What `finest` returns, if it does not follow from this PSF.

    Raises
    ------
    SolverError
        The PSF is smaller than the image.
    """

    def __init__(
        self,
        psf: torch.Tensor,
        shape: Sequence[int],
        padding: float = 2.0,
        noise_psf: torch.Tensor | None = None,
        finest: torch.Tensor | None = None,
    ) -> None:
        self._finest = finest
        self.shape = shape[0], shape[1]
        if any(have < want for have, want in zip(psf.shape[-2:], self.shape, strict=True)):
            raise SolverError(f"The PSF has the shape {tuple(psf.shape[-2:])}; it must cover the image, {self.shape}.")
        ny, nx = (scipy.fft.next_fast_len(math.ceil(padding * n), real=True) for n in self.shape)
        self.grid = ny, nx
        self.transfer = self._transfer(psf)
        # Truncation of the PSF makes some values negative, by which wiener filters must not divide.
        self.power = self.transfer.clamp_min(0)
        self.noise_power = self.transfer if noise_psf is None else self._transfer(noise_psf)
        self._gains: dict[float, tuple[torch.Tensor, torch.Tensor]] = {}
        self._widths: torch.Tensor | None = None

    def narrowed(self, shape: Sequence[int]) -> "PsfConvolution":
        """The convolution with the same PSF for smaller images of a shape (y, x)."""
        psf = torch.fft.irfft2(self.transfer.to(torch.complex64), s=self.grid)
        psf = torch.fft.fftshift(psf, (-2, -1))
        corner = [max(0, g // 2 - n) for g, n in zip(self.grid, shape, strict=True)]
        rows, columns = (slice(c, g // 2 + (g // 2 - c)) for c, g in zip(corner, self.grid, strict=True))
        return PsfConvolution(psf[..., rows, columns].contiguous(), shape)

    def normal(self, image: torch.Tensor) -> torch.Tensor:
        """Psf * image [Jy/beam] for an image [Jy/pixel], both (..., y, x): the dirty image of a model."""
        return _filter(image, self.transfer, self.grid)

    def wiener(self, residual: torch.Tensor, lambdas: Sequence[float]) -> torch.Tensor:
        """The images w_lambda [Jy/pixel], (batch, lambda, ...), of a residual (batch, ...) [Jy/beam]."""
        return torch.stack(_filters(residual, [(self.power + v).reciprocal_() for v in lambdas], self.grid), dim=1)

    def filtered(self, image: torch.Tensor, transfer: torch.Tensor) -> torch.Tensor:
        """Images (..., y, x) with each frequency times `transfer`, of the layout of `power`."""
        return _filter(image, transfer, self.grid)

    def measured(self, image: torch.Tensor, value: float) -> torch.Tensor:
        """Images (..., y, x) with each frequency times B / (B + value): the part that data measured well."""
        return _filter(image, self.power / (self.power + value), self.grid)

    def gains(self, value: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Value of w_lambda at the image's centre for a source of 1 Jy there, and its rms for noise of unit rms.

        Returns
        -------
        point, noise : Tensor, (..., 1, 1)
        """
        if value not in self._gains:
            middle = self.shape[0] // 2, self.shape[1] // 2
            point = torch.zeros(*self.power.shape[:-2], *self.shape, device=self.power.device)
            point[(..., *middle)] = 1
            kernel = _filter(point, (self.power + value).reciprocal_(), self.grid)
            power = torch.fft.rfft2(kernel, s=self.grid).abs() ** 2
            # Truncation can make B negative. This sum stays positive if the PSF is twice as large as the image.
            variance = self._mean(power * self.noise_power)
            if not (variance > 0).all():
                # With a smaller PSF the sum can be negative. Then the positive part of the power is a good estimate.
                variance = torch.where(variance > 0, variance, self._mean(power * self.noise_power.clamp_min(0)))
            seen = _filter(kernel, self.transfer, self.grid)
            self._gains[value] = seen[(..., *middle)][..., None, None].abs(), torch.sqrt(variance)
        return self._gains[value]

    def widths(self) -> torch.Tensor:
        """Width (FWHM) [pixel] of the PSF's main lobe along y and x, (..., 2), from its curvature at the peak.

        A Gaussian of the standard deviation s has a transform with the second moment ``1 / (2 pi s)^2``.
        """
        if self._widths is None:
            v = torch.fft.fftfreq(self.grid[0], device=self.power.device).view(-1, 1)
            u = torch.fft.rfftfreq(self.grid[1], device=self.power.device)
            total = self._mean(self.power)
            moments = torch.stack([self._mean(self.power * square) / total for square in (v**2, u**2)], -1)
            self._widths = math.sqrt(8 * math.log(2)) / (2 * math.pi * torch.sqrt(moments[..., 0, 0, :]))
        return self._widths

    def finest(self) -> torch.Tensor:
        """Standard deviation of the finest detail of an update along y and x [pixel], (..., 2)."""
        return (FINEST * self.widths()).clamp_max(WIDEST) if self._finest is None else self._finest

    def blur(self, image: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """Images (..., y, x) convolved with a Gaussian of unit integral; `sigma` along y and x [pixel], (..., 2)."""
        return _filter(image, _gaussian(self.grid, sigma), self.grid)

    def step_length(self, direction: torch.Tensor, residual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Step length along a direction d, at most 1, that minimises chi^2.

        Chi^2 changes by ``-2 a <d, r> + a^2 <d, G d>`` times the sum of the weights, lowest at ``<d, r> / <d, G d>``.

        Parameters
        ----------
        direction : Tensor, (..., y, x)
            Proposed update [Jy/pixel].
        residual : Tensor, (..., y, x)
            [Jy/beam]

        Returns
        -------
        length : Tensor, (..., 1, 1)
            In [0, 1], 0 where ``<d, r> <= 0``; sums in float64.
        product : Tensor, (..., y, x)
            G d [Jy/beam]: the residual after the step is ``residual - length * product``.
        """
        product = self.normal(direction)
        slope = _sum(direction * residual)
        curvature = _sum(direction * product)
        # With a truncated PSF the curvature can be negative. Then chi^2 falls over the whole step.
        safe = torch.where(curvature > 0, curvature, torch.ones_like(curvature))
        length = torch.where(curvature > 0, (slope / safe).clamp(max=1), torch.ones_like(slope))
        return torch.where(slope > 0, length, torch.zeros_like(length)).to(direction.dtype), product

    def _transfer(self, psf: torch.Tensor) -> torch.Tensor:
        rows, columns = (min(n, g) for n, g in zip(psf.shape[-2:], self.grid, strict=True))
        top, left = psf.shape[-2] // 2 - rows // 2, psf.shape[-1] // 2 - columns // 2
        padded = torch.zeros(*psf.shape[:-2], *self.grid, dtype=torch.float64, device=psf.device)
        padded[..., :rows, :columns] = psf[..., top : top + rows, left : left + columns]
        centred = torch.roll(padded, (-(rows // 2), -(columns // 2)), (-2, -1))
        return torch.fft.rfft2(centred).real.to(psf.dtype).contiguous()

    def _mean(self, half: torch.Tensor) -> torch.Tensor:
        """Mean over the whole grid of frequencies of a real, even function given on the half plane."""
        weight = torch.full((half.shape[-1],), 2.0, dtype=torch.float64, device=half.device)
        weight[0] = 1
        if self.grid[1] % 2 == 0:
            weight[-1] = 1
        columns = half.sum(-2, keepdim=True, dtype=torch.float64)
        return ((columns * weight).sum(-1, keepdim=True) / math.prod(self.grid)).to(half.dtype)


class SmoothConvolution:
    """Convolution of images that are smoothed (S) to the finest detail of an update: S, and S G S.

    Parameters
    ----------
    psf : PsfConvolution
        G; no reference to it is kept.
    """

    def __init__(self, psf: PsfConvolution) -> None:
        self.shape, self.grid = psf.shape, psf.grid
        self._smooth = _gaussian(self.grid, psf.finest())
        self._both = psf.transfer * self._smooth**2

    def smooth(self, image: torch.Tensor) -> torch.Tensor:
        """S of images (..., y, x)."""
        return _filter(image, self._smooth, self.grid)

    def normal(self, image: torch.Tensor) -> torch.Tensor:
        """S G S [Jy/beam] of images (..., y, x) [Jy/pixel]."""
        return _filter(image, self._both, self.grid)


def blur(image: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """`PsfConvolution.blur` of images (..., y, x) of any size, with zeros around them that no Gaussian reaches over."""
    ny, nx = (scipy.fft.next_fast_len(2 * n, real=True) for n in image.shape[-2:])
    return _filter(image, _gaussian((ny, nx), sigma), (ny, nx))


def smooth(image: torch.Tensor, widths: torch.Tensor) -> torch.Tensor:
    """Convolve with a Gaussian that is cut at `TAPS` pixels; beyond its edges the image counts as 0.

    Parameters
    ----------
    image : Tensor, (..., y, x)
    widths : Tensor, (..., 2)
        Standard deviations along y and x [pixel], at most `WIDEST`; 0 changes nothing.

    Returns
    -------
    Tensor, (..., y, x)
    """
    offset = torch.arange(-TAPS, TAPS + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (offset / widths.to(image.dtype).clamp_min(1e-3).unsqueeze(-1)) ** 2)
    kernel = (kernel / kernel.sum(-1, keepdim=True)).flatten(0, -3)
    count = len(kernel)
    flat = image.reshape(1, count, *image.shape[-2:])
    along_y, along_x = kernel[:, 0].view(count, 1, -1, 1), kernel[:, 1].view(count, 1, 1, -1)
    flat = F.conv2d(flat, along_y, padding=(TAPS, 0), groups=count)
    return F.conv2d(flat, along_x, padding=(0, TAPS), groups=count).reshape(image.shape)


def _gaussian(grid: tuple[int, int], sigma: torch.Tensor) -> torch.Tensor:
    """Half plane of the transform (..., v, u) of a Gaussian of unit integral; `sigma` (..., 2) along y, x [pixel]."""
    v = torch.fft.fftfreq(grid[0], device=sigma.device).view(-1, 1)
    u = torch.fft.rfftfreq(grid[1], device=sigma.device)
    along_y, along_x = (part[..., None, None] for part in sigma.unbind(-1))
    return torch.exp(-2 * math.pi**2 * ((along_y * v) ** 2 + (along_x * u) ** 2))


def _filter(image: torch.Tensor, transfer: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Images (..., y, x) times a real transfer function of the half plane; zeros around them fill the grid."""
    return _filters(image, [transfer], grid)[0]


def _filters(image: torch.Tensor, transfers: Sequence[torch.Tensor], grid: tuple[int, int]) -> list[torch.Tensor]:
    """`_filter` for each of several transfer functions of one shape.

    On CPUs and without gradients, spectra are processed a few columns at a time, without the rows of zeros. Whole
    transforms take about twice the time and twice the memory.
    """
    gradients = any(part.requires_grad for part in (image, *transfers))
    if gradients or image.device.type != "cpu" or ducc0 is None:
        ny, nx = image.shape[-2:]
        spectrum = torch.view_as_real(torch.fft.rfft2(image, s=grid))
        # torch would convert the real factor to a complex one.
        parts = (torch.view_as_complex(spectrum * transfer.unsqueeze(-1)) for transfer in transfers)
        return [torch.fft.irfft2(part, s=grid)[..., :ny, :nx] for part in parts]
    lead = np.broadcast_shapes(image.shape[:-2], transfers[0].shape[:-2])  # torch's own function would import sympy
    images, *factors = (part.expand(*lead, *part.shape[-2:]).detach().numpy() for part in (image, *transfers))
    found = [np.empty((*lead, *image.shape[-2:]), images.dtype) for _ in factors]
    for index in np.ndindex(*lead):
        _filter_one(images[index], [factor[index] for factor in factors], grid, [out[index] for out in found])
    return [torch.from_numpy(out) for out in found]


def _filter_one(
    image: np.ndarray, transfers: Sequence[np.ndarray], grid: tuple[int, int], found: Sequence[np.ndarray]
) -> None:
    """`_filters` of one image (y, x), into the arrays `found`."""
    (ny, nx), threads = image.shape, torch.get_num_threads()
    padded = np.zeros((ny, grid[1]), image.dtype)
    padded[:, :nx] = image
    rows = ducc0.fft.r2c(padded, axes=[1], nthreads=threads)
    results = [rows, *(np.empty_like(rows) for _ in transfers[1:])]

    def work(first: int) -> None:
        block = slice(first, min(first + BLOCK, rows.shape[1]))
        columns = np.zeros((grid[0], block.stop - first), rows.dtype)
        columns[:ny] = rows[:, block]
        ducc0.fft.c2c(columns, axes=[0], out=columns)
        product = columns if len(transfers) == 1 else np.empty_like(columns)
        for transfer, result in zip(transfers, results, strict=True):
            np.multiply(columns, transfer[:, block], out=product)
            ducc0.fft.c2c(product, axes=[0], forward=False, inorm=2, out=product)
            result[:, block] = product[:ny]

    blocks = range(0, rows.shape[1], BLOCK)
    if threads == 1 or len(blocks) <= 2:
        list(map(work, blocks))
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, blocks))
    for result, out in zip(results, found, strict=True):
        ducc0.fft.c2r(result, axes=[1], forward=False, inorm=2, lastsize=grid[1], nthreads=threads, out=padded)
        out[:] = padded[:, :nx]


def inner_product(one: torch.Tensor, other: torch.Tensor) -> float:
    """Sum over the products of two images (y, x), without gradients; see `inner_products`."""
    if one.device.type == "cpu":
        return float(np.einsum("ij,ij->i", one.numpy(), other.numpy()).sum(dtype=np.float64))
    return float(torch.linalg.vecdot(one, other).sum(dtype=torch.float64))


def inner_products(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Sums over the products of images (batch, y, x), (batch, 1, 1). NumPy's are several times faster than torch's."""
    if one.device.type != "cpu" or one.requires_grad or other.requires_grad:
        return (one * other).sum((-2, -1), keepdim=True)
    sums = [inner_product(a, b) for a, b in zip(one, other, strict=True)]
    return torch.tensor(sums, dtype=one.dtype)[:, None, None]


def _sum(image: torch.Tensor) -> torch.Tensor:
    return image.sum((-2, -1), keepdim=True, dtype=torch.float64)


PARTS = (0.0, 0.5, 1.0, 3.0)
"""Widths of smoothing in `beam_responses`, in restoring beams."""


def beam_responses(beam: torch.Tensor, shape: Sequence[int], parts: Sequence[float] = PARTS) -> list[torch.Tensor]:
    """Squared transforms of the Gaussian beam with unit integral, its width multiplied by each of `parts`.

    Parameters
    ----------
    beam : Tensor, (batch, 3)
        As for `decibel_loss`.
    shape : (int, int)
        (y, x) of the images; x grows to the west, y to the north.
    parts : sequence of float

    Returns
    -------
    list of Tensor, (batch, 1, y, x // 2 + 1)
    """
    v = torch.fft.fftfreq(shape[0], device=beam.device, dtype=beam.dtype).view(-1, 1)
    u = torch.fft.rfftfreq(shape[1], device=beam.device, dtype=beam.dtype).view(1, -1)
    major, minor, angle = (column.view(-1, 1, 1, 1) for column in beam.unbind(1))
    along = v * torch.cos(angle) - u * torch.sin(angle)
    across = v * torch.sin(angle) + u * torch.cos(angle)
    # A Gaussian of the FWHM a has the transform exp(-(pi a f)^2 / (4 ln 2)).
    exponent = (math.pi**2 / (2 * math.log(2))) * ((major * along) ** 2 + (minor * across) ** 2)
    return [torch.exp(-(part**2) * exponent) for part in parts]
