import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

import radrim
from radrim.beam import fit_beam
from radrim.config.options import ImageConfig
from radrim.config.values import Taper, Weighting
from radrim.errors import ConfigError, DataError
from radrim.geometry import ARCSEC, C, ImageGrid
from radrim.measure.measurement import Measurement
from radrim.read.reader import read
from radrim.simulation import simulate
from radrim.visibilities import Visibilities
from radrim.weight.imaging import apply_weights

GRID = ImageGrid(120, 100, 1e-4)
NATURAL, UNIFORM = Weighting("natural"), Weighting("uniform")


def briggs(robust):
    return Weighting("briggs", robust)


def make_block(seed=0, rows=400, freq=(1.0e9, 1.1e9, 1.2e9), longest=1100.0):
    """Random samples, dense in the middle of the uv plane, of uneven weights and some flagged."""
    rng = np.random.default_rng(seed)
    uvw = np.zeros((rows, 3))
    radius, angle = longest * rng.random(rows) ** 2, 2 * np.pi * rng.random(rows)
    uvw[:, 0], uvw[:, 1] = radius * np.cos(angle), radius * np.sin(angle)
    weight = rng.uniform(0.2, 3, (rows, len(freq))).astype(np.float32)
    weight[rng.random(weight.shape) < 0.1] = 0
    data = np.zeros(weight.shape, np.complex64)
    return Visibilities(uvw, np.array(freq), data, weight, np.zeros(rows), np.zeros((rows, 2), np.int32))


def copy(block):
    return replace(block, weight=block.weight.copy())


def definition(blocks, grid, weighting, taper=None, padding=1.2):
    """Imaging weights from the textbook, sample by sample, in plain numpy; sources: `radrim.weight.imaging`."""
    nx, ny = (4 * int(np.ceil(n * padding / 4 - 1e-9)) for n in (grid.width, grid.height))
    u = np.concatenate([np.multiply.outer(b.uvw[:, 0], b.freq / C).ravel() for b in blocks])
    v = np.concatenate([np.multiply.outer(b.uvw[:, 1], b.freq / C).ravel() for b in blocks])
    w = np.concatenate([b.weight.ravel() for b in blocks]).astype(float)
    tapered = np.exp(-(u**2 + v**2) * (np.pi * taper) ** 2 / (4 * np.log(2))) if taper else 1.0
    if weighting.kind == "natural":
        return w * tapered
    sign = np.where(v < 0, -1, 1)
    x = np.floor(sign * u * nx * grid.scale).astype(int) + nx // 2
    y = np.floor(sign * v * ny * grid.scale).astype(int)
    density = np.zeros((ny // 2, nx))
    np.add.at(density, (y, x), w)
    if weighting.kind == "briggs":
        mean = (density**2).sum() / w.sum()
        plain = 1 / (1 + (5 * 10**-weighting.robust) ** 2 / mean * density)
    else:
        plain = np.divide(1, density, out=np.zeros_like(density), where=density > 0)
    factor = plain.copy()
    for j, i in zip(*np.nonzero(density), strict=True):
        near = plain[max(0, j - 8) : j + 8, max(0, i - 8) : i + 8]
        factor[j, i] = min(plain[j, i], 3 * near.sum() / np.count_nonzero(near))
    return w * factor[y, x] * tapered


@pytest.mark.parametrize("taper", [None, 5e-4])
@pytest.mark.parametrize("weighting", [NATURAL, UNIFORM, briggs(-2), briggs(0), briggs(0.7), briggs(2)], ids=str)
def test_weights_follow_the_definition(weighting, taper):
    """The compiled loops give what the definition says, over two spectral windows together."""
    blocks = [make_block(0), make_block(1, freq=(1.05e9,), rows=300)]
    expected = definition(blocks, GRID, weighting, taper)
    sum_weight, _ = apply_weights(blocks, GRID, weighting, Taper(taper))
    found = np.concatenate([b.weight.ravel() for b in blocks])
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert sum_weight == pytest.approx(expected.sum())


@pytest.mark.parametrize("weighting", [UNIFORM, briggs(-0.5), briggs(0)], ids=str)
def test_a_poor_sample_among_many_is_limited(weighting):
    """Alone in its cell it may weigh three times the mean of the 16 x 16 cells around, its own counted as it was."""
    x, y = (grid.ravel() for grid in np.meshgrid(np.arange(-40, 40), np.arange(0, 40)))
    poor = (x == 3) & (y == 20)
    uvw = np.stack([(x + 0.5) / 144e-4, (y + 0.5) / 120e-4, 0.0 * x], 1)
    weight = np.where(poor, 1.0, 200.0).astype(np.float32)[:, None]
    block = Visibilities(uvw, np.array([C]), weight + 0j, weight, 0.0 * x, np.zeros((len(x), 2), np.int32))
    expected = definition([block], GRID, weighting)
    apply_weights([block], GRID, weighting)
    np.testing.assert_allclose(block.weight.ravel(), expected, rtol=1e-5)
    natural = np.where(poor, 1.0, 200.0)
    slope = (5 * 10**-weighting.robust) ** 2 * natural.sum() / (natural**2).sum()
    alone, others = 1 / (natural if weighting.kind == "uniform" else 1 + slope * natural)[[poor.argmax(), 0]]
    limited = block.weight[poor, 0]
    assert limited == pytest.approx(3 * (255 * others + alone) / 256, rel=1e-4)
    assert limited < 0.2 * alone


def test_robust_2_is_nearly_natural():
    """At robust 2 no sample loses more than a few per cent of its natural weight."""
    block, natural = make_block(), make_block()
    apply_weights([block], GRID, briggs(2))
    used = natural.weight > 0
    ratio = block.weight[used] / natural.weight[used]
    assert ratio.min() > 0.95 * ratio.max()


def test_robust_minus_2_is_nearly_uniform():
    """At robust -2 each filled cell of the uv plane weighs the same, within a few per cent."""
    block = make_block(rows=4000)
    total = np.zeros((60, 144))
    u, v = (np.multiply.outer(block.uvw[:, k], block.freq / C) for k in (0, 1))
    sign = np.where(v < 0, -1, 1)
    cell = (np.floor(sign * v * 120 * 1e-4).astype(int), np.floor(sign * u * 144 * 1e-4).astype(int) + 72)
    used = block.weight > 0
    apply_weights([block], GRID, briggs(-2))
    np.add.at(total, (cell[0][used], cell[1][used]), block.weight[used])
    filled = total[total > 0]
    assert filled.max() / filled.min() < 1.03


def test_weights_count_all_blocks_together():
    """Cutting the rows into two blocks, or the channels, changes no weight."""
    whole = make_block()
    rows = [replace(whole, uvw=whole.uvw[s], weight=whole.weight[s].copy()) for s in (slice(150), slice(150, None))]
    chans = [replace(whole, freq=whole.freq[s], weight=whole.weight[:, s].copy()) for s in (slice(1), slice(1, None))]
    for parts in (rows, chans, [copy(whole)]):
        apply_weights(parts, GRID, briggs(0))
    one = copy(whole)
    apply_weights([one], GRID, briggs(0))
    np.testing.assert_allclose(np.concatenate([b.weight for b in rows]), one.weight, rtol=1e-6)
    np.testing.assert_allclose(np.concatenate([b.weight for b in chans], 1), one.weight, rtol=1e-6)


@pytest.mark.parametrize("weighting", [NATURAL, UNIFORM, briggs(0)], ids=str)
def test_conjugate_samples_weigh_the_same(weighting):
    """A baseline counted from the other end (u, v -> -u, -v) has the same weight."""
    block, turned = make_block(), make_block()
    turned.uvw *= -1
    apply_weights([block], GRID, weighting)
    apply_weights([turned], GRID, weighting)
    np.testing.assert_allclose(turned.weight, block.weight, rtol=1e-6)


def test_flagged_samples_stay_without_weight():
    """Weight 0 stays 0, whatever the weighting."""
    for weighting in (NATURAL, UNIFORM, briggs(0)):
        block = make_block()
        flagged = block.weight == 0
        apply_weights([block], GRID, weighting, taper=Taper(1e-3))
        assert not block.weight[flagged].any()
        assert (block.weight[~flagged] > 0).all()


@pytest.mark.parametrize("arcsec", [30, 60])
def test_taper_makes_the_beam_it_is_asked_for(arcsec):
    """Where the samples reach much further than the taper, the PSF's width is the taper's."""
    rng = np.random.default_rng(1)
    rows = 40000
    radius, angle = 3500 * np.sqrt(rng.random(rows)), 2 * np.pi * rng.random(rows)
    uvw = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.zeros(rows)], 1)
    one = np.ones((rows, 1), np.float32)
    block = Visibilities(uvw, np.array([1e9]), one.astype(np.complex64), one, np.zeros(rows), np.zeros((rows, 2), int))
    grid = ImageGrid(256, 256, arcsec / 6 * ARCSEC)
    apply_weights([block], grid, NATURAL, taper=Taper(arcsec * ARCSEC))
    beam = fit_beam(Measurement([block], grid).psf(), grid.scale, arcsec * ARCSEC, region="box")
    assert beam.major == pytest.approx(arcsec * ARCSEC, rel=0.03)
    assert beam.minor == pytest.approx(arcsec * ARCSEC, rel=0.03)


@pytest.mark.parametrize("weighting", [NATURAL, UNIFORM, briggs(0)], ids=str)
def test_noise_is_that_of_the_dirty_image(weighting):
    """Pure noise of the given weights, imaged, scatters by what `apply_weights` promises."""
    rng = np.random.default_rng(2)
    scatter = []
    for _ in range(6):
        block = make_block(seed=3)
        sigma = np.divide(1, np.sqrt(block.weight), out=np.zeros_like(block.weight), where=block.weight > 0)
        noise = rng.standard_normal((2, *sigma.shape)) * sigma
        block.data = (noise[0] + 1j * noise[1]).astype(np.complex64)
        _, expected = apply_weights([block], GRID, weighting)
        scatter.append(Measurement([block], GRID).dirty().std())
    # About a thousand independent numbers in each image: 1 % after six of them, apart from the rest of the sky.
    assert np.mean(scatter) == pytest.approx(expected, rel=0.05)


def test_nothing_inside_the_grid_is_refused():
    """Only baselines that the pixels cannot hold: the message names the scale."""
    block = make_block()
    block.uvw[:, 0] = 1e7
    with pytest.raises(DataError, match="uv grid; use a smaller --scale"):
        apply_weights([block], GRID, UNIFORM)


@pytest.mark.skipif(shutil.which("wsclean") is None, reason="wsclean is not installed")
@pytest.mark.parametrize("weighting", [UNIFORM, briggs(-1), briggs(0), briggs(1)], ids=str)
@pytest.mark.parametrize("channels", [1, 4])
def test_weights_equal_wscleans(tmp_path, weighting, channels):
    """Cell by cell of the uv plane, as WSClean saves them; dense in its middle, where single cells are limited."""
    simulate(tmp_path / "obs.ms", array="vla-c", sky="demo", channels=channels, hours=3, integration=300, noise=0.02)
    line = (
        "wsclean -quiet -j 2 -use-wgridder -niter 0 -save-weights -name out "
        f"-size 256 200 -scale 3.5asec -weight {weighting} obs.ms"
    )
    subprocess.run(line.split(), cwd=tmp_path, check=True, capture_output=True)
    theirs = fits.getdata(tmp_path / "out-weights.fits")[0, 0]
    ny, nx = theirs.shape
    observation = read([tmp_path / "obs.ms"])
    [block] = observation.blocks
    natural, cells = block.weight.copy(), np.array([nx, ny]) * 3.5 * ARCSEC
    apply_weights([block], ImageGrid(256, 200, 3.5 * ARCSEC), weighting)
    half = block.uvw[:, :2] * np.where(block.uvw[:, 1:2] < 0, -1, 1)
    x, y = np.floor(half.T[:, :, None] * (block.freq / C) * cells[:, None, None]).astype(int)
    found, expected = block.weight / natural, theirs[y + ny // 2, x + nx // 2]
    np.testing.assert_allclose(found / found.max(), expected / expected.max(), rtol=1e-5)


@pytest.mark.skipif(shutil.which("wsclean") is None, reason="wsclean is not installed")
@pytest.mark.parametrize("weighting", [NATURAL, UNIFORM, briggs(-0.5), briggs(0.5)], ids=str)
@pytest.mark.parametrize("real", [False, True], ids=["simulated", "real"])
def test_images_equal_wscleans(request, tmp_path, real, weighting):
    """The same weighting is the same image in WSClean: dirty image and PSF within 1e-4 of the peak."""
    # GMRT: ten channels, two hands, a third flagged and 2 degrees wide; its MS is small.
    source = request.getfixturevalue("shared_data") / "obs" / "gmrt_1543+480_622MHz_2014.ms" if real else None
    path, (width, height), arcsec = (
        (source, (512, 512), 1.5) if real else (request.getfixturevalue("small_ms"), (256, 192), 3)
    )
    shutil.copytree(path, tmp_path / "obs.ms", copy_function=shutil.copyfile)
    line = (
        "wsclean -quiet -j 2 -use-wgridder -no-small-inversion -reorder -niter 0 -make-psf -name out "
        f"-size {width} {height} -scale {arcsec}asec -weight {weighting} obs.ms"
    )
    subprocess.run(line.split(), cwd=tmp_path, check=True, capture_output=True)
    observation = read([tmp_path / "obs.ms"])
    grid = ImageGrid(width, height, arcsec * ARCSEC)
    apply_weights(observation.blocks, grid, weighting)
    measurement = Measurement(observation.blocks, grid)
    for name, ours in (("dirty", measurement.dirty()), ("psf", measurement.psf())):
        theirs = fits.getdata(tmp_path / f"out-{name}.fits")[0, 0]
        assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max(), name


TAPERS = {
    "tukey": ({"taper_tukey": 5000, "maxuv_l": 14000}, "-taper-tukey 5000 -maxuv-l 14000"),
    "inner": ({"taper_inner_tukey": 1500, "minuv_l": 300}, "-taper-inner-tukey 1500 -minuv-l 300"),
    "super": ({"super_weight": 2.5}, "-super-weight 2.5"),
    "sub": ({"super_weight": 0.6}, "-super-weight 0.6"),
    "all": (
        {"taper_tukey": 6000, "maxuv_l": 15000, "taper_inner_tukey": 2000, "super_weight": 0.5, "taper": "10asec"},
        "-taper-tukey 6000 -maxuv-l 15000 -taper-inner-tukey 2000 -super-weight 0.5 -taper-gaussian 10asec",
    ),
}


@pytest.mark.skipif(shutil.which("wsclean") is None, reason="wsclean is not installed")
@pytest.mark.parametrize("kind", TAPERS)
def test_tapers_are_wscleans(small_ms, tmp_path, no_report, kind):
    """Tukey tapers and super weights make WSClean's images.

    It takes tapers at the centres of uv cells, and counts samples beyond --maxuv-l in the density of briggs.
    """
    options, words = TAPERS[kind]
    shutil.copytree(small_ms, tmp_path / "obs.ms", copy_function=shutil.copyfile)
    line = (
        "wsclean -quiet -j 2 -use-wgridder -no-small-inversion -reorder -niter 0 -make-psf -name out "
        f"-size 256 192 -scale 3asec -weight uniform {words} obs.ms"
    )
    subprocess.run(line.split(), cwd=tmp_path, check=True, capture_output=True)
    result = radrim.image(
        small_ms, name=tmp_path / "r", size=(256, 192), scale="3asec", weight="uniform", niter=0, threads=1, **options
    )
    within = 1e-4 if kind in ("super", "sub") else 1e-2
    for name, ours in (("dirty", result.dirty), ("psf", result.psf)):
        theirs = fits.getdata(tmp_path / f"out-{name}.fits")[0, 0]
        assert np.abs(ours - theirs).max() <= within * np.abs(theirs).max(), name


def test_tukeys_taper_follows_its_definition():
    """0 at the one end, 1 at the other, half a cosine between, and nothing beyond."""
    block = make_block(0)
    before = block.weight.copy()
    apply_weights([block], GRID, NATURAL, Taper(inner=(200.0, 300.0), outer=(3000.0, 1000.0)))
    length = np.hypot(*np.moveaxis(block.uvw[:, :2, None] * block.freq / C, 1, 0))
    rise, fall = np.clip((length - 200) / 300, 0, 1), np.clip((3000 - length) / 1000, 0, 1)
    np.testing.assert_allclose(
        block.weight, before * np.sin(np.pi / 2 * rise) ** 2 * np.sin(np.pi / 2 * fall) ** 2, rtol=1e-5, atol=1e-12
    )


def test_a_taper_needs_its_end():
    """--taper-tukey without --maxuv-l has no place where it is 0."""
    with pytest.raises(ConfigError, match="needs --maxuv-l"):
        ImageConfig.parse("a.ms", {"taper_tukey": "2klambda"})


@pytest.mark.parametrize("weighting", [NATURAL, UNIFORM, briggs(0)], ids=str)
def test_bands_change_nothing(weighting):
    """A uv grid too large for the memory is counted band by band; the weights are the same, here or elsewhere."""
    blocks = [make_block(0, rows=4000), make_block(1, freq=(1.05e9,), rows=300)]
    whole, parts = [copy(b) for b in blocks], [copy(b) for b in blocks]
    grid = ImageGrid(400, 640, 1e-4)
    expected = apply_weights(whole, grid, weighting)
    found = apply_weights(parts, grid, weighting, grid_bytes=1)
    assert found == pytest.approx(expected)
    outputs = [np.zeros_like(b.weight) for b in blocks]
    assert apply_weights(blocks, grid, weighting, outputs=outputs, grid_bytes=1) == found
    for one, two, out, block in zip(whole, parts, outputs, blocks, strict=True):
        np.testing.assert_allclose(two.weight, one.weight, rtol=1e-6)
        assert np.array_equal(out, two.weight)
        assert not np.array_equal(out, block.weight) or weighting.kind == "natural"


def test_samples_outside_the_grid_weigh_nothing():
    """With or without bands, in place or not."""
    for size in (1, 2**30):
        block = make_block(0, longest=20000.0)
        apply_weights([block], GRID, briggs(0), grid_bytes=size)
        far = np.abs(np.multiply.outer(block.uvw[:, 1], block.freq / C)) > 0.5 / GRID.scale
        assert far.any()
        assert not block.weight[far].any()
