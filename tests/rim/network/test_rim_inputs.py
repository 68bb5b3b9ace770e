"""Inputs of the RIM: convolution with the PSF, preconditioned gradients and their noise, compression, step length."""

import itertools

import numpy as np
import pytest
import scipy.signal
import torch
import torch.nn.functional as F

from radrim.errors import SolverError
from radrim.geometry import ImageGrid
from radrim.measure.measurement import Measurement
from radrim.rim.network.features import (
    CELL,
    StepImages,
    asinh,
    features,
    highest_around,
    highest_in_cells,
    local_peak,
    measure_scales,
    point_sources,
)
from radrim.rim.network.irim import IRIM, IRIMConfig
from radrim.rim.network.psf import PsfConvolution, smooth
from radrim.visibilities import Visibilities

LAMBDAS = (2.0, 8.0, 30.0)


class Array:
    """A toy interferometer: a few hundred uv samples, and what follows from them by the direct sum."""

    def __init__(self, rng, count=150, longest=0.15):
        self.uv = longest * torch.randn(count, 2, generator=rng, dtype=torch.float64)
        self.uv = self.uv[self.uv.norm(dim=1) < 0.45]
        self.rng = rng

    def waves(self, size):
        """exp(2 pi i (v y + u x)) on `size` pixels, 0 in the middle: two tensors (sample, pixel)."""
        lag = torch.arange(size, dtype=torch.float64) - size // 2
        return [torch.exp(2j * torch.pi * part[:, None] * lag) for part in self.uv.T]

    def psf(self, size):
        """(y, x) float64, peak 1 in the middle, natural weights."""
        wave_y, wave_x = self.waves(size)
        return torch.einsum("sy,sx->yx", wave_y, wave_x).real / len(self.uv)

    def noise(self, size, count):
        """Dirty images (count, y, x) of nothing but noise, rms 1."""
        wave_y, wave_x = self.waves(size)
        data = torch.randn(count, len(self.uv), dtype=torch.complex128, generator=self.rng) * 2**0.5
        return torch.einsum("cs,sy,sx->cyx", data, wave_y, wave_x).real / len(self.uv) ** 0.5


@pytest.fixture
def array(rng):
    return Array(rng)


def images_of(psf, residual, noise, estimate=None, peak=None):
    scales = measure_scales(psf, residual, LAMBDAS, noise, peak)
    estimate = torch.zeros_like(residual) if estimate is None else estimate
    return StepImages(psf.wiener(residual, LAMBDAS), residual, estimate, scales)


@pytest.mark.parametrize("size", [62, 60, 31, 30])
def test_normal_is_the_convolution_with_the_psf(array, rng, size):
    """G x equals the direct convolution cut to the image, for PSFs of two sizes; a smaller PSF counts as 0 beyond."""
    psf = array.psf(size)
    image = torch.randn(2, 30, 29, dtype=torch.float64, generator=rng)
    found = PsfConvolution(psf, (30, 29)).normal(image)
    # An even PSF holds lag -n / 2 but not +n / 2; self-adjoint means half of it on both sides.
    kernel = np.zeros((2 * (size // 2) + 1,) * 2)
    kernel[:size, :size] = psf
    kernel = (kernel + kernel[::-1, ::-1]) / 2
    centre = size // 2
    for one, result in zip(image, found, strict=True):
        whole = scipy.signal.fftconvolve(one.numpy(), kernel)
        np.testing.assert_allclose(result, whole[centre : centre + 30, centre : centre + 29], atol=1e-11)


def test_normal_is_self_adjoint(array, rng):
    """<a, G b> == <G a, b>; otherwise the parabola of the step length is wrong."""
    psf = PsfConvolution(array.psf(40), (40, 33))
    a, b = torch.randn(2, 40, 33, dtype=torch.float64, generator=rng)
    gap = (a * psf.normal(b)).sum() - (psf.normal(a) * b).sum()
    assert gap.abs() < 1e-11 * a.norm() * b.norm()


def test_every_image_has_its_own_psf(rng):
    """A batch with different PSFs gives what each gives alone; so do the channels of a cube."""
    psfs = torch.stack([Array(rng).psf(32) for _ in range(6)]).view(2, 3, 32, 32)
    cube = torch.randn(2, 3, 16, 16, dtype=torch.float64, generator=rng)
    together = PsfConvolution(psfs, (16, 16))
    alone = PsfConvolution(psfs[1, 2], (16, 16))
    torch.testing.assert_close(together.normal(cube)[1, 2], alone.normal(cube[1, 2]))
    torch.testing.assert_close(together.wiener(cube, LAMBDAS)[1, :, 2], alone.wiener(cube[1:, 2], LAMBDAS)[0])
    scales = measure_scales(together, cube, LAMBDAS, 0.1)
    wanted = measure_scales(alone, cube[1:, 2], LAMBDAS, 0.1)
    torch.testing.assert_close(scales.wiener_noise[1, :, 2], wanted.wiener_noise[0])
    torch.testing.assert_close(scales.context[1, :, 2], wanted.context[0])


def test_noise_of_the_preconditioned_images(array):
    """The closed form is the rms, at the image's centre, of visibility noise that went through the whole chain."""
    size = 48
    psf = PsfConvolution(array.psf(2 * size), (size, size))
    images = psf.wiener(3 * array.noise(size, 400), LAMBDAS)[..., size // 2 - 4 : size // 2 + 4, 20:28]
    for k, value in enumerate(LAMBDAS):
        measured, predicted = images[:, k].std(), 3 * psf.gains(value)[1]
        assert abs(measured / predicted - 1) < 0.04


def test_noise_of_other_weightings(array, rng):
    """With the noise's own correlation the closed form holds for any weights, and without it it does not."""
    size, weight = 48, array.uv.norm(dim=1) ** 3
    wave_y, wave_x = array.waves(2 * size)

    def image(w):
        return torch.einsum("s,sy,sx->yx", w.to(torch.complex128), wave_y, wave_x).real / w.sum()

    wave_y_small, wave_x_small = array.waves(size)
    data = torch.randn(400, len(array.uv), dtype=torch.complex128, generator=rng) * 2**0.5 * weight
    noise = torch.einsum("cs,sy,sx->cyx", data, wave_y_small, wave_x_small).real / weight.square().sum().sqrt()
    right = PsfConvolution(image(weight), (size, size), noise_psf=image(weight**2))
    measured = right.wiener(noise, (8.0,))[:, 0, 20:28, 20:28].std()
    assert abs(measured / right.gains(8.0)[1] - 1) < 0.04
    assert abs(measured / PsfConvolution(image(weight), (size, size)).gains(8.0)[1] - 1) > 0.1


def test_peak_of_a_point_source_in_the_preconditioned_images(array):
    """The closed form is the value of w_lambda at a source of 1 Jy in the image's centre."""
    size = 48
    full = array.psf(2 * size)
    psf = PsfConvolution(full, (size, size))
    source = torch.zeros(1, size, size, dtype=torch.float64)
    source[0, size // 2, size // 2] = 1
    images = psf.wiener(psf.normal(source), LAMBDAS)
    for k, value in enumerate(LAMBDAS):
        assert abs(images[0, k, size // 2, size // 2] / psf.gains(value)[0].item() - 1) < 0.01


def test_step_length_is_the_best_one(array, rng):
    """chi^2 along the direction is lowest at the returned length, but the length never leaves [0, 1]."""
    psf = PsfConvolution(array.psf(64), (32, 32))
    residual = psf.normal(torch.randn(3, 32, 32, dtype=torch.float64, generator=rng))
    direction = residual * torch.tensor([1.0, -1.0, 1e-3]).view(3, 1, 1)
    length, product = psf.step_length(direction, residual)
    torch.testing.assert_close(product, psf.normal(direction))
    tried = torch.linspace(0, 1, 1001, dtype=torch.float64)
    slope, curvature = ((direction * image).sum((1, 2)) for image in (residual, product))
    chi2 = -2 * tried[:, None] * slope + tried[:, None] ** 2 * curvature
    best = tried[chi2.argmin(0)]
    assert 0 < best[0] < 1
    torch.testing.assert_close(length.flatten(), best, rtol=0, atol=1e-3)
    assert length.flatten()[1:].tolist() == [0, 1]


def test_step_length_has_finite_gradients_where_it_stops(array):
    """Directions of 0 and uphill pass no NaN back: training batches contain finished images."""
    psf = PsfConvolution(array.psf(32), (16, 16))
    residual = psf.normal(torch.ones(2, 16, 16, dtype=torch.float64))
    direction = torch.stack([torch.zeros(16, 16, dtype=torch.float64), -residual[1]]).requires_grad_()
    length, product = psf.step_length(direction, residual)
    (length * (direction + product)).sum().backward()
    assert length.flatten().tolist() == [0, 0]
    assert direction.grad.isfinite().all()


def test_features_are_free_of_scale(array, rng):
    """Residual, estimate and noise in other units give the same features."""
    psf = PsfConvolution(array.psf(64).float(), (32, 32))
    residual, estimate = torch.randn(2, 1, 32, 32, generator=rng)
    wanted = features(images_of(psf, residual, 0.1, estimate.abs()))
    for unit in (1e-9, 1e6):
        found = features(images_of(psf, residual * unit, 0.1 * unit, estimate.abs() * unit))
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_features_stay_of_order_one(array, rng):
    """A dynamic range of a million leaves every feature below 10, and faint sources visible beside the bright one."""
    psf = PsfConvolution(array.psf(128).float(), (64, 64))
    sky = torch.zeros(1, 64, 64)
    sky[0, 10, 10], sky[0, 50, 50] = 1.0, 1e-4
    made = features(images_of(psf, sky, 1e-6))
    assert made.abs().max() < 10
    assert made[0, :, 50, 50].abs().max() > 0.5


def test_features_of_nothing_are_finite(array):
    """A residual of zeros, and a noise of zero, make no NaN."""
    psf = PsfConvolution(array.psf(32).float(), (16, 16))
    for residual in (torch.zeros(1, 16, 16), torch.ones(1, 16, 16)):
        images = images_of(psf, residual, 0.0)
        assert features(images).isfinite().all()
        assert images.scales.context.isfinite().all()


@pytest.mark.parametrize("shape", [(64, 64), (60, 81)])
def test_widths_of_a_gaussian_main_lobe(shape):
    """Each axis of a Gaussian PSF has the width that it was made with, whatever the grid."""
    y, x = np.indices([2 * n for n in shape]) - np.array(shape).reshape(2, 1, 1)
    psf = torch.from_numpy(np.exp(-4 * np.log(2) * ((y / 3.0) ** 2 + (x / 5.0) ** 2)))
    assert PsfConvolution(psf, shape).widths().tolist() == pytest.approx([3.0, 5.0], rel=1e-3)


def test_smoothing_is_that_of_each_image(rng):
    """A Gaussian of its own widths for each image; flux away from the edges is kept, and a width of 0 does nothing."""
    image = torch.zeros(3, 31, 33)
    image[:, 15, 16] = 2.0
    found = smooth(image, torch.tensor([[1.2, 0.8], [0.5, 0.6], [0.0, 0.0]]))
    y, x = torch.arange(31).view(-1, 1) - 15, torch.arange(33) - 16
    for one, (along_y, along_x) in zip(found[:2], [(1.2, 0.8), (0.5, 0.6)], strict=True):
        shape = torch.exp(-0.5 * ((y / along_y) ** 2 + (x / along_x) ** 2))
        torch.testing.assert_close(one, 2 * shape / shape.sum(), rtol=0, atol=2e-3)
    torch.testing.assert_close(found.sum((1, 2)), torch.full((3,), 2.0))
    torch.testing.assert_close(found[2], image[2])


@pytest.mark.parametrize("cell", [2, CELL])
def test_local_peak_sees_only_its_neighbourhood(cell, rng):
    """A change at (45, 45) of an odd-sized image is felt next to it, and nowhere beyond the stated reach."""
    image = torch.rand(1, 101, 97, generator=rng)
    changed = image.clone()
    changed[0, 45, 45] = -50
    felt = (local_peak(changed, cell) != local_peak(image, cell))[0].nonzero()
    assert cell < (felt - 45).abs().max() <= 4 * cell - 1
    assert local_peak(changed, cell)[0, 45, 45] > 20


@pytest.mark.parametrize("shape", [(2, 9, 14), (1, 16, 8), (3, 1, 5)])
def test_maxima_are_those_of_pooling(shape, rng):
    """Around each pixel and in cells, cut ones at the edges included, as torch's pooling has them."""
    image = torch.rand(shape, generator=rng)
    torch.testing.assert_close(highest_around(image), F.max_pool2d(image, 3, 1, 1))
    for cell in (2, 4):
        torch.testing.assert_close(highest_in_cells(image, cell), F.max_pool2d(image, cell, cell, ceil_mode=True))


def test_wiener_filters_share_their_transform(array, rng):
    """Several at once are those of one each, for one PSF and for one of each image."""
    image = torch.randn(2, 32, 48, generator=rng)
    for psfs in (torch.rand(96, 96, generator=rng), torch.rand(2, 96, 96, generator=rng)):
        psf = PsfConvolution(psfs, (32, 48))
        together = psf.wiener(image, (2.0, 8.0))
        assert together.shape == (2, 2, 32, 48)
        for k, value in enumerate((2.0, 8.0)):
            torch.testing.assert_close(together[:, k], psf.wiener(image, (value,))[:, 0])


def test_asinh_is_exact():
    """The vectorised asinh equals torch's to float32's rounding over thirty decades, for both signs."""
    value = torch.logspace(-15, 15, 301)
    value = torch.cat([-value, torch.zeros(1), value])
    torch.testing.assert_close(asinh(value), torch.asinh(value.double()).float(), rtol=4e-7, atol=0)


def test_small_psf_is_refused(array):
    """A PSF smaller than the image is named with both sizes."""
    with pytest.raises(SolverError, match=r"\(16, 16\).*\(32, 20\)"):
        PsfConvolution(array.psf(16), (32, 20))


class ExactConvolution(PsfConvolution):
    """`PsfConvolution` whose step lengths and residuals come from the visibilities, w-term and all."""

    def __init__(self, measurement, psf, shape):
        super().__init__(psf, shape)
        self._measurement = measurement

    def normal(self, image):
        """A^H W A image / sum W [Jy/beam] of images (batch, y, x) [Jy/pixel]; without gradients."""
        with torch.no_grad():
            return torch.stack([self._measurement.normal(one.contiguous()) for one in image])


@pytest.mark.parametrize("kind", ["dft", "nufft", "wgridder"])
def test_exact_convolution(kind, small_uv, rng):
    """Step lengths and residuals of every operator: what the machine says of chi^2 is what the visibilities say."""
    uvw, freq = small_uv
    grid = ImageGrid(64, 48, 2e-3)
    weight = np.random.default_rng(0).uniform(0.5, 2, (len(uvw), len(freq))).astype(np.float32)
    zero = np.zeros((len(uvw), len(freq)), np.complex64)
    blocks = [Visibilities(uvw, freq, zero, weight, np.zeros(len(uvw)), np.zeros((len(uvw), 2), np.int32))]
    measurement = Measurement(blocks, grid, kind, epsilon=1e-6)
    convolution = ExactConvolution(measurement, torch.from_numpy(measurement.psf(wide=True)), grid.shape)
    truth = torch.zeros(1, *grid.shape)
    truth[0, 20, 40], truth[0, 30, 10] = 1.0, 0.4
    dirty = convolution.normal(truth)
    assert abs(float(dirty[0, 20, 40]) - 1) < 0.5
    torch.manual_seed(0)
    machine = IRIM(IRIMConfig(channels=28, hidden=8, depth=2, factors=(1, 2), steps=4))
    with torch.no_grad():
        found = machine(convolution, dirty, 1e-4)
    # The residual that the machine kept is the exact one of its estimate, and chi^2 fell with every step.
    exact = dirty - convolution.normal(found.estimates[-1])
    assert (found.residual - exact).abs().max() < 1e-4 * dirty.abs().max()
    chi2 = [float(((e - truth) * convolution.normal(e - truth)).sum()) for e in (0 * truth, *found.estimates)]
    assert all(after <= before for before, after in itertools.pairwise(chi2))
    assert chi2[-1] < 0.5 * chi2[0]


@pytest.mark.parametrize("shape", [(32, 20), (45, 39), (24, 300)])
def test_convolution_is_the_same_with_gradients(array, shape, rng, monkeypatch):
    """The transforms of inference and of training give the same images, and these depend on the estimate as stated.

    The widest has more columns than one block of them, which several threads work on.
    """
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    psf = PsfConvolution(array.psf(2 * max(shape)).double(), shape)
    image = torch.randn(2, *shape, dtype=torch.float64, generator=rng)
    direction = torch.randn(2, *shape, dtype=torch.float64, generator=rng)
    followed = image.clone().requires_grad_()
    for name, arguments in (("normal", ()), ("wiener", (LAMBDAS,))):
        found = getattr(psf, name)(image, *arguments)
        torch.testing.assert_close(found, getattr(psf, name)(followed, *arguments), rtol=1e-10, atol=1e-12)
    (slope,) = torch.autograd.grad((psf.normal(followed) * direction).sum(), followed)
    torch.testing.assert_close(slope, psf.normal(direction), rtol=1e-10, atol=1e-12)


def test_point_proposals():
    """At the peaks of a residual stands the flux of the point that would make them; elsewhere 0."""
    residual = torch.zeros(1, 8, 8)
    residual[0, 2, 2], residual[0, 2, 3], residual[0, 6, 5] = 2.0, 1.0, -3.0
    points = point_sources(residual)
    wanted = torch.zeros(1, 8, 8)
    wanted[0, 2, 2], wanted[0, 6, 5] = 2.0, -3.0
    assert torch.equal(points, wanted)
