"""One table of properties for every operator, on fields from micro-arcseconds to beyond the horizon."""

# l and m are the direction cosines of the measurement equation.

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from radrim.errors import ConfigError, DataError
from radrim.geometry import C, ImageGrid, n_minus_1
from radrim.operator import KINDS, choose_kind, make_operator
from radrim.operator.facets import split_facets
from radrim.operator.w_term import ProlateExpansion

DEGREE = np.pi / 180
FIELDS = {
    # name: (width, height, field of view along x [rad], largest w over largest u)
    "vlbi": (64, 64, 1e-9, 1.0),
    "vlbi_w": (64, 48, 1e-6, 30.0),
    "narrow": (64, 48, 1e-3, 2.0),
    "wide": (96, 64, 37 * DEGREE, 1.0),
    "horizon": (64, 64, 140 * DEGREE, 0.5),
    "corner": (64, 48, 6 * DEGREE, 1.0),
}
CORNERS = {"corner": (170, -130)}
"""Where the middle pixel lies, for parts of larger images."""


def direct_sum(uvw, freq, data, grid, y, x):
    """Re A^H data at the pixels (y, x): the measurement equation, written out once more."""
    l = -(x - grid.width // 2 + grid.x0) * grid.scale
    m = (y - grid.height // 2 + grid.y0) * grid.scale
    n1 = -(l * l + m * m) / (1 + np.sqrt(1 - l * l - m * m))
    turns = np.einsum("rk,c,kp->rcp", uvw, freq / C, np.stack([l, m, n1]))
    return np.einsum("rc,rcp->p", data, np.exp(-2j * np.pi * turns)).real


@pytest.fixture(params=FIELDS)
def case(request):
    """Random samples on one of the `FIELDS`: grid, uvw, freq, data, image, and pixels above the horizon."""
    width, height, view, depth = FIELDS[request.param]
    x0, y0 = CORNERS.get(request.param, (0, 0))
    grid = ImageGrid(width, height, view / width, x0=x0, y0=y0)
    freq = np.array([1.00e9, 1.07e9, 1.20e9])
    draw = np.random.default_rng(7)
    uvw = draw.uniform(-0.4, 0.4, (40, 3)) * [1, 1, depth] / grid.scale * C / freq[-1]
    data = draw.normal(size=(40, 3)) + 1j * draw.normal(size=(40, 3))
    y, x = draw.integers(0, height, 60), draw.integers(0, width, 60)
    y[:4], x[:4] = [0, 0, height - 1, height - 1], [0, width - 1, 0, width - 1]
    seen = np.isfinite(n_minus_1(grid.l()[x], grid.m()[y]))
    return SimpleNamespace(
        name=request.param, grid=grid, uvw=uvw, freq=freq, data=torch.from_numpy(data),
        image=torch.from_numpy(draw.normal(size=grid.shape)), y=y[seen], x=x[seen],
    )  # fmt: skip


def small(kind, epsilon=1e-8, **options):
    """An operator for six samples of a wide 32 x 32 field."""
    grid = ImageGrid(32, 32, 0.5 * DEGREE)
    uvw = np.random.default_rng(3).uniform(-40, 40, (3, 3)) * C / 1e9
    return make_operator(kind, uvw, np.array([1.0e9, 1.1e9]), grid, epsilon, **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("epsilon", [1e-4, 1e-10])
def test_adjoint_matches_forward(kind, epsilon, case):
    """<y, A x> == <A^H y, x> at any accuracy asked for; a wrong adjoint gives a solver a wrong gradient."""
    op = make_operator(kind, case.uvw, case.freq, case.grid, epsilon)
    predicted = op.forward(case.image)
    gap = torch.vdot(case.data.flatten(), predicted.flatten()).real - (op.adjoint(case.data) * case.image).sum()
    # Scale by the norms: the inner product itself can cancel to nearly zero.
    assert gap.abs() <= 1e-10 * predicted.norm() * case.data.norm()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("epsilon", [1e-3, 1e-5, 1e-7, 1e-10])
def test_adjoint_keeps_epsilon(kind, epsilon, case):
    """The adjoint is the direct sum to 10 epsilon of its largest pixel, in the corners too."""
    op = make_operator(kind, case.uvw, case.freq, case.grid, epsilon)
    truth = direct_sum(case.uvw, case.freq, case.data.numpy(), case.grid, case.y, case.x)
    error = np.abs(op.adjoint(case.data).numpy()[case.y, case.x] - truth).max()
    assert error <= 10 * epsilon * np.abs(truth).max()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("epsilon", [1e-3, 1e-5, 1e-7, 1e-10])
def test_forward_keeps_epsilon(kind, epsilon, case):
    """The forward operator is the direct sum to 10 epsilon of its rms."""
    op = make_operator(kind, case.uvw, case.freq, case.grid, epsilon)
    y, x = np.nonzero(np.isfinite(n_minus_1(case.grid.l()[None, :], case.grid.m()[:, None])))
    # <A^H e_j, image> for single samples e_j is the forward operator, by the same independent sum.
    truth, units = [], [(0, 0), (17, 1), (39, 2)]
    for row, chan in units:
        for unit in (1, 1j):
            one = np.zeros(case.data.shape, complex)
            one[row, chan] = unit
            truth.append(direct_sum(case.uvw, case.freq, one, case.grid, y, x) @ case.image.numpy()[y, x])
    got = op.forward(case.image).numpy()
    rms = np.sqrt(np.mean(np.abs(got) ** 2))
    got = np.array([part for unit in units for part in (got[unit].real, got[unit].imag)])
    assert np.sqrt(np.mean((got - truth) ** 2)) <= 10 * epsilon * rms


@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck(kind):
    """The gradients of forward and adjoint (with weights) are those of finite differences, in double precision."""
    op = small(kind)
    draw = torch.Generator().manual_seed(5)
    image = torch.randn(op.image_shape, dtype=torch.float64, generator=draw, requires_grad=True)
    data = torch.randn(op.data_shape, dtype=torch.complex128, generator=draw, requires_grad=True)
    weight = torch.rand(op.data_shape, dtype=torch.float64, generator=draw)
    assert torch.autograd.gradcheck(op.forward, image, fast_mode=True)
    assert torch.autograd.gradcheck(lambda d: op.adjoint(d, weight), data, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda d: op.adjoint(d, weight) ** 2, data, fast_mode=True)


@pytest.mark.parametrize("kind", KINDS)
def test_single_precision(kind, case):
    """float32 images and complex64 data stay so, and keep an epsilon of 1e-5."""
    op = make_operator(kind, case.uvw, case.freq, case.grid, 1e-5)
    single, data = op.adjoint(case.data.to(torch.complex64)), op.forward(case.image.float())
    assert single.dtype == torch.float32
    assert data.dtype == torch.complex64
    double, exact = op.adjoint(case.data), op.forward(case.image)
    assert (single - double).abs().max() <= 1e-4 * double.abs().max()
    assert (data - exact).norm() <= 1e-4 * exact.norm()


@pytest.mark.parametrize("kind", KINDS)
def test_weight_is_a_factor(kind, case):
    """adjoint(data, weight) is adjoint(weight * data), and psf(weight) that of 1 Jy in the middle pixel."""
    op = make_operator(kind, case.uvw, case.freq, case.grid, 1e-10)
    weight = torch.rand(op.data_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weight[::3] = 0
    expected = op.adjoint(case.data * weight)
    torch.testing.assert_close(
        op.adjoint(case.data, weight.float()), expected, rtol=0, atol=1e-6 * expected.abs().max()
    )
    turns = np.multiply.outer(case.uvw @ case.grid.middle, case.freq / C)
    one = torch.from_numpy(np.exp(2j * np.pi * turns))
    torch.testing.assert_close(op.psf(weight), op.adjoint(weight * one))


@pytest.mark.parametrize("kind", KINDS)
def test_psf_peak_is_the_sum_of_weights(kind, case):
    """The PSF has its peak, the sum of weights, at (height // 2, width // 2)."""
    op = make_operator(kind, case.uvw, case.freq, case.grid, 1e-7)
    psf = op.psf(torch.full(op.data_shape, 0.5))
    centre = (case.grid.height // 2, case.grid.width // 2)
    assert psf.dtype == torch.float32
    assert np.unravel_index(int(psf.argmax()), psf.shape) == centre
    assert float(psf[centre]) == pytest.approx(0.5 * case.data.numel(), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_beyond_the_horizon_there_is_nothing(kind):
    """Pixels with l^2 + m^2 > 1 come out 0, not NaN, and what is put there does not reach the visibilities."""
    grid = ImageGrid(64, 64, 140 * DEGREE / 64)
    below = torch.from_numpy(np.isnan(n_minus_1(grid.l()[None, :], grid.m()[:, None])))
    uvw = np.random.default_rng(3).uniform(-3, 3, (20, 3)) * C / 1e9
    op = make_operator(kind, uvw, np.array([1e9]), grid)
    image = op.adjoint(torch.ones(op.data_shape, dtype=torch.complex128))
    assert below.any()
    assert (image[below] == 0).all()
    assert torch.isfinite(image).all()
    sky = torch.rand(grid.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = op.forward(sky)
    sky[below] = torch.nan
    torch.testing.assert_close(op.forward(sky), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(0, 2), (3, 0)])
def test_no_samples(kind, shape):
    """Without samples the image is 0 and the visibilities are empty."""
    grid = ImageGrid(32, 32, 1e-4)
    op = make_operator(kind, np.zeros((shape[0], 3)), np.full(shape[1], 1e9), grid)
    data = op.forward(torch.ones(grid.shape))
    assert data.shape == shape
    assert data.dtype == torch.complex64
    assert torch.equal(op.adjoint(data), torch.zeros(grid.shape))
    assert torch.equal(op.psf(torch.ones(shape)), torch.zeros(grid.shape))


@pytest.mark.parametrize("kind", ["nufft", "dft"])
def test_odd_sizes(kind):
    """Odd sizes, and less than 32 pixels, work where ducc0 is not involved."""
    grid = ImageGrid(21, 33, 0.5 * DEGREE)
    uvw = np.random.default_rng(3).uniform(-40, 40, (9, 3)) * C / 1e9
    freq, data = np.array([1e9]), np.ones((9, 1), complex)
    image = make_operator(kind, uvw, freq, grid, 1e-7).adjoint(torch.from_numpy(data))
    y, x = (c.ravel() for c in np.mgrid[:33, :21])
    np.testing.assert_allclose(image.numpy().ravel(), direct_sum(uvw, freq, data, grid, y, x), atol=1e-6 * 9)


@pytest.mark.parametrize("kind", ["wgridder", "nufft"])
def test_threads_change_nothing(kind, case):
    """Two threads give the result of one, as exactly as the operator is asked to be."""
    ops = [make_operator(kind, case.uvw, case.freq, case.grid, 1e-8, threads=k) for k in (1, 2)]
    one, two = (op.adjoint(case.data) for op in ops)
    torch.testing.assert_close(one, two, rtol=0, atol=1e-7 * float(one.abs().max()))
    one, two = (op.forward(case.image) for op in ops)
    torch.testing.assert_close(one, two, rtol=0, atol=1e-7 * float(one.abs().max()))


@pytest.mark.parametrize("kind", ["nufft"])
def test_kept_plans_follow_the_facets(kind):
    """Calls that take turns (forward, adjoint, another precision) give what a fresh operator gives."""
    op, data = small(kind, 1e-6), torch.ones((3, 2), dtype=torch.complex128)
    first = op.adjoint(data)
    op.forward(first)
    op.adjoint(data.to(torch.complex64))
    torch.testing.assert_close(op.adjoint(data), first, rtol=0, atol=0)


def fit_peak(image, y, x):
    """Position and height of the peak near (y, x), by a paraboloid through the logarithm of 3 x 3 pixels."""
    dy, dx = (c.ravel() for c in np.mgrid[-1:2, -1:2])
    values = np.log(image[y - 1 : y + 2, x - 1 : x + 2].ravel())
    a, b, c, d, e, f = np.linalg.lstsq(np.stack([dy**0, dy, dx, dy * dy, dx * dx, dy * dx], 1), values, rcond=None)[0]
    sy, sx = np.linalg.solve([[2 * d, f], [f, 2 * e]], [-b, -c])
    return y + sy, x + sx, np.exp(a + b * sy / 2 + c * sx / 2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", [(0, 0), (0.8, 0.7), (-0.75, 0.85), (-0.9, -0.6), (0.6, -0.9)])
def test_point_source_in_a_wide_field(kind, place):
    """A source anywhere in a 30-degree field is imaged at its place to 0.05 pixel and with its flux to 0.1 %."""
    grid = ImageGrid(96, 96, 30 * DEGREE / 96)
    l = place[0] * 15 * DEGREE + 0.3 * grid.scale
    m = place[1] * 15 * DEGREE - 0.4 * grid.scale
    draw = np.random.default_rng(11)
    freq = np.array([150e6, 160e6])
    uvw = draw.normal(size=(400, 3)) * [10, 10, 20] * C / freq[0]
    turns = np.multiply.outer(uvw @ [l, m, np.sqrt(1 - l * l - m * m) - 1], freq / C)
    data = 2.5 * np.exp(2j * np.pi * turns)
    image = make_operator(kind, uvw, freq, grid).adjoint(torch.from_numpy(data)).numpy() / data.size
    y, x = grid.pixel(l, m)
    found = fit_peak(image, round(y), round(x))
    assert found[:2] == pytest.approx((y, x), abs=0.05)
    assert found[2] == pytest.approx(2.5, rel=1e-3)


def mwa_samples(shared_data=None):
    """uvw [m] and freq [Hz] of an MWA snapshot with baselines below 700 wavelengths, or random ones like them."""
    freq = np.array([153e6, 155e6])
    if shared_data is None:
        uvw = np.random.default_rng(2).normal(size=(300, 3)) * [400, 400, 250]
    else:
        tables = pytest.importorskip("casacore.tables")
        uvw = tables.table(str(shared_data / "obs" / "mwa_uvceti_154MHz_2015.ms"), ack=False).getcol("UVW")
        uvw = uvw[np.isfinite(uvw).all(1) & (uvw != 0).any(1)]
        uvw = uvw[np.argsort(-np.abs(uvw[:, 2]))]
    return uvw[np.hypot(uvw[:, 0], uvw[:, 1]) * freq[1] / C < 700][:300], freq


@pytest.mark.parametrize("kind", ["wgridder", "nufft"])
@pytest.mark.parametrize("real", [False, True])
def test_epsilon_over_37_degrees(kind, real, request):
    """Over 37 degrees at full w an epsilon of 1e-4 is kept in single precision, corners included."""
    uvw, freq = mwa_samples(request.getfixturevalue("shared_data") if real else None)
    grid = ImageGrid(1000, 1000, 37.5 * DEGREE / 1000)
    draw = np.random.default_rng(4)
    data = (draw.normal(size=(len(uvw), 2)) + 1j * draw.normal(size=(len(uvw), 2))).astype(np.complex64)
    y, x = draw.integers(0, 1000, (2, 200))
    y[:4], x[:4] = [0, 0, 999, 999], [0, 999, 0, 999]
    op = make_operator(kind, uvw, freq, grid, 1e-4, threads=2)
    truth = direct_sum(uvw, freq, data, grid, y, x)
    assert np.abs(op.adjoint(torch.from_numpy(data)).numpy()[y, x] - truth).max() <= 1e-3 * np.abs(truth).max()
    sky = np.zeros(grid.shape, np.float32)
    np.add.at(sky, (y, x), draw.uniform(1, 2, 200).astype(np.float32))
    l, m = grid.l()[x], grid.m()[y]
    turns = np.einsum("rk,c,kp->rcp", uvw, freq / C, np.stack([l, m, np.sqrt(1 - l * l - m * m) - 1]))
    every, where = np.unique(y * 1000 + x, return_index=True)
    truth = np.exp(2j * np.pi * turns[..., where]) @ sky.ravel()[every]
    assert np.linalg.norm(op.forward(torch.from_numpy(sky)).numpy() - truth) <= 1e-3 * np.linalg.norm(truth)


@pytest.mark.parametrize("c", [0.0, 1e-6, 0.3, 7.0, 60.0])
@pytest.mark.parametrize("tolerance", [1e-3, 1e-11])
def test_prolate_expansion(c, tolerance):
    """exp(i c x y) is met to the tolerance with little more than 2 c / pi terms."""
    expansion = ProlateExpansion(c, tolerance)
    x = torch.linspace(-1, 1, 101, dtype=torch.float64)
    terms = expansion(x).numpy()
    factor = expansion.factor * np.where(expansion.odd, 1j, 1)
    error = np.einsum("k,kx,ky->xy", factor, terms, terms) - np.exp(1j * c * np.outer(x, x))
    assert np.abs(error).max() <= 2 * tolerance
    assert len(expansion) <= 2 * c / np.pi + 26


def test_facets_cover_every_pixel_once():
    """Facets of a size that does not divide the image neither overlap nor leave a gap."""
    grid = ImageGrid(100, 70, 0.1 * DEGREE)
    (rows, columns), facets = split_facets(grid, 3)
    covered = np.zeros(grid.shape, int)
    for facet in facets:
        covered[facet.y : facet.y + rows, facet.x : facet.x + columns] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize(
    "expected, samples, size, scale_arcsec, largest_w, device",
    [
        ("dft", 400, 256, 3e-6, 5e7, "cpu"),  # EHT, averaged
        ("wgridder", 12_600, 512, 2e-4, 2e8, "cpu"),  # VLBA
        ("wgridder", 60_000, 256, 1.0, 1e3, "cpu"),  # a demo
        ("wgridder", 10_100_000, 4096, 1.3, 3e4, "cpu"),  # VLA B, a long track
        ("wgridder", 65_000, 2048, 1.5, 3e4, "cpu"),  # GMRT
        ("nufft", 61_000, 3000, 45.0, 400.0, "cpu"),  # MWA snapshot
        ("nufft", 10_100_000, 4096, 1.3, 3e4, "cuda"),
        ("nufft", 1_000_000, 333, 1.0, 3e4, "cpu"),  # ducc0 takes even sizes only
    ],
)
def test_choice_of_kind(expected, samples, size, scale_arcsec, largest_w, device):
    """auto: the direct sum for few samples, facets for wide snapshots and GPUs, the w-gridder for the rest."""
    grid = ImageGrid(size, size, scale_arcsec / 3600 * DEGREE)
    assert choose_kind(samples, grid, largest_w, device) == expected


@pytest.mark.parametrize("x0", [0, 14_000])
def test_choice_of_kind_for_parts(x0):
    """A part of a wide image is no harder for the w-gridder at its edge than in its middle."""
    grid = ImageGrid(2048, 2048, DEGREE / 3600, x0=x0, y0=-x0)
    assert choose_kind(3_400_000, grid, 5600.0, epsilon=3e-5) == "wgridder"


def test_auto_makes_an_operator():
    """make_operator('auto') asks choose_kind."""
    assert small("auto").kind == "wgridder"
    assert make_operator("auto", np.zeros((4, 3)), np.array([1e9]), ImageGrid(64, 64, 1e-10)).kind == "dft"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "method, tensor, message",
    [
        ("forward", torch.zeros(32, 30), r"image has the wrong shape: got \(32, 30\), expected \(32, 32\)"),
        ("forward", torch.zeros(32, 32, dtype=torch.int32), "image .* type: got int32, expected float32 or float64"),
        ("forward", np.zeros((32, 32)), "image: got ndarray, expected a torch.Tensor"),
        ("adjoint", torch.zeros(2, 3, dtype=torch.complex64), r"data .* shape: got \(2, 3\), expected \(3, 2\)"),
        ("adjoint", torch.zeros(3, 2), "data .* type: got float32, expected complex64 or complex128"),
        ("psf", torch.zeros(6), r"weight .* shape: got \(6,\), expected \(3, 2\)"),
    ],
)
def test_wrong_input_is_named(kind, method, tensor, message):
    """Every kind says what it got and what it expected."""
    with pytest.raises(ConfigError, match=message):
        getattr(small(kind), method)(tensor)


@pytest.mark.parametrize(
    "error, message, change",
    [
        (ConfigError, "Unknown operator: got 'fft', expected one of wgridder, nufft, dft or auto", {"kind": "fft"}),
        (ConfigError, r"uvw has the wrong shape: got \(4, 2\), expected \(row, 3\)", {"uvw": np.zeros((4, 2))}),
        (ConfigError, r"freq has the wrong shape: got \(\), expected \(chan,\)", {"freq": np.array(1e9)}),
        (DataError, "1 of 2 rows have UVW that is not finite", {"uvw": np.array([[0, 0, 0], [1, np.nan, 0]])}),
        (DataError, "Channel frequencies must be positive .* lowest is -1", {"freq": np.array([1e9, -1.0])}),
        (ConfigError, "epsilon: got 1, expected 1e-12 to 0.1", {"epsilon": 1.0}),
        (ConfigError, "threads: got 0, expected at least 1", {"threads": 0}),
        (
            ConfigError,
            "'wgridder' needs even sizes of at least 32 pixels: got 33 x 32",
            {"grid": ImageGrid(33, 32, 1e-4)},
        ),
    ],
)
def test_wrong_arguments_are_named(error, message, change):
    """What cannot be made is refused with the value found and the limit."""
    arguments = {"kind": "wgridder", "uvw": np.zeros((2, 3)), "freq": np.array([1e9]), "grid": ImageGrid(32, 32, 1e-4)}
    with pytest.raises(error, match=message):
        make_operator(**(arguments | change))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("kind", KINDS)
def test_no_gpu_is_said(kind):
    """Asking for a GPU that is not there names the way out."""
    with pytest.raises(ConfigError, match="torch sees no NVIDIA GPU; use --device cpu"):
        small(kind, device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("kind", ["nufft", "dft"])
def test_gpu_agrees_with_the_direct_sum(kind, case):
    """On a GPU the operators keep epsilon and stay each other's adjoint."""
    if kind == "nufft":
        pytest.importorskip("cufinufft")
    op = make_operator(kind, case.uvw, case.freq, case.grid, 1e-7, device="cuda")
    truth = direct_sum(case.uvw, case.freq, case.data.numpy(), case.grid, case.y, case.x)
    image = op.adjoint(case.data.cuda())
    assert np.abs(image.cpu().numpy()[case.y, case.x] - truth).max() <= 1e-6 * np.abs(truth).max()
    predicted = op.forward(case.image.cuda()).cpu()
    gap = torch.vdot(case.data.flatten(), predicted.flatten()).real - (image.cpu() * case.image).sum()
    assert gap.abs() <= 1e-10 * predicted.norm() * case.data.norm()


@pytest.mark.parametrize("kind", ["wgridder", "nufft"])
@pytest.mark.parametrize("threads", [2, 3, 8])
@pytest.mark.parametrize("samples, size", [(4000, 64), (20, 256)])
def test_threads_give_the_same_bytes_every_time(kind, threads, samples, size):
    """Whether samples or pixels are shared out among the threads; and the image is that of one thread."""
    draw = np.random.default_rng(2)
    grid = ImageGrid(size, size, 0.3 * DEGREE, x0=30, y0=-20)
    uvw, freq = draw.uniform(-60, 60, (samples, 3)), np.array([1.0e9, 1.1e9])
    data = torch.from_numpy((draw.normal(size=(samples, 2)) + 1j * draw.normal(size=(samples, 2))).astype(np.complex64))
    weight = torch.from_numpy(draw.random((samples, 2)).astype(np.float32))
    op = make_operator(kind, uvw, freq, grid, 1e-4, threads)
    images = [op.adjoint(data, weight) for _ in range(4)]
    assert all(torch.equal(image, images[0]) for image in images)
    alone = make_operator(kind, uvw, freq, grid, 1e-4).adjoint(data, weight)
    assert (images[0] - alone).abs().max() <= 1e-3 * alone.abs().max()
    assert torch.equal(op.forward(alone), op.forward(alone))
