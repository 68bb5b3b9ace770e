"""Joint mosaics: several pointings of one Measurement Set, each behind the primary beam, as one image."""

# l and m are the direction cosines of the measurement equation.

import math
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch
from astropy.io import fits
from scipy.special import j1

import radrim
from radrim.config.values import Weighting
from radrim.deconvolve.tiles import Tiles
from radrim.earth import track_times
from radrim.errors import ConfigError, DataError
from radrim.facets.channel import FacetChannel
from radrim.facets.pointing import Pointing
from radrim.geometry import ARCSEC, C, ImageGrid, axes
from radrim.measure.holdout import keep_out
from radrim.measure.measurement import Measurement, OperatorChoice
from radrim.measure.mosaic import Coverage, JointMeasurement, by_pointing, make_measurement, noise_of_all
from radrim.measure.primary_beam import Dishes
from radrim.read.pointings import bring_to, choose_centre, choose_target, each_at_its_pointing
from radrim.read.reader import Selection, read
from radrim.simulation import ObservationPlan, ObservedField, ObservedWindow, make_sky, predict, read_layout, write_ms
from radrim.sky.catalogue import direction_cosines, offset_position
from radrim.workdir.directory import WorkDir
from radrim.workdir.visibilities import Blocks, Samples, VisibilityCache

MIDDLE = (2.0, 0.6)  # [rad]
SCALE, SIZE = 14.0, 192  # [arcsec], [pixel]
DISH = 25.0
OFFSETS = ((-600.0, -300.0), (500.0, -300.0), (100.0, 600.0))  # of the pointings, east and north [arcsec]
SOURCES = ((0, 0, 1.0), (-40, 10, 0.6), (30, -35, 0.8), (10, 45, 0.5))  # pixels east and north of the middle, flux [Jy]
FREQ = 1.4e9 + 10e6 * np.arange(2)
AIRY = Dishes("airy", DISH, 0.2)


def places():
    """Phase centres of the pointings, whose mean is exactly the middle."""
    return [offset_position(e * ARCSEC, n * ARCSEC, *MIDDLE) for e, n in OFFSETS]


def seen(sky, ra, dec, freq):
    """The sky behind the beam of antennas that point at `ra`, `dec`."""
    l, m, _ = direction_cosines(sky.ra, sky.dec, ra, dec)
    return replace(sky, stokes=sky.stokes * airy_of(np.hypot(l, m), freq)[:, None])


def airy_of(sine, freq):
    """The power of an evenly illuminated dish, by its textbook."""
    x = np.pi * DISH * sine * freq / C + 1e-12
    return (2 * j1(x) / x) ** 2


def angle_sine(l, m, l0, m0):
    """Sine of the angle between two directions."""
    n, n0 = np.sqrt(1 - l**2 - m**2), math.sqrt(1 - l0**2 - m0**2)
    return np.sqrt((l * m0 - m * l0) ** 2 + (m * n0 - n * m0) ** 2 + (n * l0 - l * n0) ** 2)


def sky_of(sources, scale=SCALE):
    """Points at pixels of the mosaic."""
    position = offset_position(*(np.array(sources)[:, :2].T * scale * ARCSEC), *MIDDLE)
    return make_sky(*position, [[flux, 0, 0, 0] for *_, flux in sources], 1.4e9)


def simulate(path, sky, pointings, centres=None, noise=0.0, first=0):
    """A Measurement Set of VLA D, half of its antennas: a field for each pointing, with phase centres `centres`.

    The first is observed when that of number `first` would be.
    """
    vla = read_layout("vla-d")
    some = slice(None, None, 2)
    layout = replace(vla, stations=vla.stations[some], positions=vla.positions[some], diameters=vla.diameters[some])
    rng = np.random.default_rng(0)
    start = track_times(layout, *MIDDLE, 0.3, 2.0, 1800.0) + 300.0 * first
    centres = pointings if centres is None else centres
    fields = [ObservedField(f"P{k}", *centre, start + 300.0 * k) for k, centre in enumerate(centres)]
    plan = ObservationPlan(layout, fields, [ObservedWindow(FREQ, 10e6, ("XX", "YY"))], 300.0)

    def observe(block):
        field = plan.fields[block.field]
        parts = [
            predict(seen(sky, *pointings[block.field], f), block.uvw, np.array([f]), field.ra, field.dec) for f in FREQ
        ]
        data = np.repeat(np.concatenate(parts, 1)[..., :1], 2, 2)
        data = data + noise * rng.standard_normal((*data.shape, 2)).view(complex)[..., 0]
        sigma = np.full((len(data), 2), noise or 1.0, np.float32)
        flag = np.zeros(data.shape, bool)
        return {"DATA": data, "FLAG": flag, "FLAG_ROW": flag[:, 0, 0], "SIGMA": sigma, "WEIGHT": sigma**-2}

    return write_ms(path, plan, observe)


@pytest.fixture(scope="module")
def mosaic_ms(tmp_path_factory):
    """Three pointings and four sources, hardly any noise."""
    return simulate(tmp_path_factory.mktemp("mosaic") / "m.ms", sky_of(SOURCES), places(), noise=2e-3)


@pytest.fixture(scope="module")
def whole(mosaic_ms, tmp_path_factory, without_reports):
    """The joint mosaic, cleaned: result."""
    with without_reports():
        name = tmp_path_factory.mktemp("whole") / "w"
        return radrim.image(mosaic_ms, field="all", pb="airy", size=SIZE, scale=f"{SCALE}asec", solver="clean",
                            weight="natural", threads=1, name=name)  # fmt: skip


def peak_of(image, y, x):
    """Height and place (y, x) of the peak near a pixel: the top of a parabola through five pixels."""
    part = image[y - 2 : y + 3, x - 2 : x + 3]
    dy, dx = np.array(np.unravel_index(part.argmax(), part.shape)) - 2
    y, x = y + dy, x + dx
    place, height = [float(y), float(x)], image[y, x]
    for axis, (before, after) in enumerate(((image[y - 1, x], image[y + 1, x]), (image[y, x - 1], image[y, x + 1]))):
        curve = before + after - 2 * image[y, x]
        step = 0.5 * (before - after) / curve
        place[axis] += step
        height = height - 0.25 * (before - after) * step
    return height, place


@pytest.mark.parametrize("source", SOURCES)
def test_sources_between_the_pointings(whole, source):
    """Flux within 3 % after correction, place within 0.05 pixel, wherever the pointings see them."""
    east, north, flux = source
    y, x = SIZE // 2 + north, SIZE // 2 - east
    assert whole.pb[y, x] > 0.3
    height, place = peak_of(whole.image_pb.astype(float), y, x)
    assert height == pytest.approx(flux, rel=0.03)
    assert place == pytest.approx([y, x], abs=0.05)


def test_residual_of_the_mosaic_is_flat_noise(whole):
    """Nothing of the sources is left, and the noise is what the header says, alike in the middle and at the edge."""
    expected = fits.getheader(whole.paths["image"])["RRTHERM"]
    cells = whole.residual.reshape(6, SIZE // 6, 6, SIZE // 6).std((1, 3))
    assert cells.max() < 1.6 * expected
    assert cells.min() > 0.5 * expected
    assert np.isnan(whole.image_pb).sum() == (whole.pb < 0.2).sum() > 0


def test_effective_beam(whole):
    """The root of the sum of the squares of the pointings' beams, each counted by its weight, 1 at its highest."""
    grid, square = whole.grid, 0.0
    l, m = np.meshgrid(grid.l(), grid.m())
    for ra, dec in places():
        l0, m0, _ = direction_cosines(np.float64(ra), dec, grid.ra, grid.dec)
        # Equal weights: the same antennas for the same time.
        square = square + airy_of(angle_sine(l, m, l0, m0), FREQ.mean()) ** 2
    np.testing.assert_allclose(whole.pb, np.sqrt(square / square.max()), atol=1e-4)
    header = fits.getheader(whole.paths["pb"])
    assert header["CRVAL1"] == pytest.approx(math.degrees(MIDDLE[0]), abs=1e-4)
    assert header["CRVAL2"] == pytest.approx(math.degrees(MIDDLE[1]), abs=1e-4)


def test_residual_is_exact(whole, mosaic_ms):
    """The residual that was written is that of the model that was written, by direct sums behind each beam."""
    grid = whole.grid
    l, m = np.meshgrid(grid.l(), grid.m())
    direction = np.stack([l, m, np.sqrt(1 - l**2 - m**2) - 1])
    y, x = np.nonzero(whole.model)
    looked = (slice(5, None, 37), slice(11, None, 29))
    total, square = 0.0, 0.0
    for block in read([mosaic_ms], Selection(field="all", joint=True)).blocks:
        beam = airy_of(angle_sine(l, m, *block.pointing), FREQ.mean())
        square = square + beam**2
        for k, f in enumerate(block.freq):
            waves = block.uvw * f / C
            predicted = np.exp(2j * np.pi * waves @ direction[:, y, x]) @ (whole.model / whole.pb * beam)[y, x]
            back = np.exp(-2j * np.pi * np.tensordot(waves, direction[:, *looked], 1))
            total = total + beam[looked] * np.tensordot(block.data[:, k] - predicted, back, 1).real
    # Natural weights, all alike.
    expected = total / (block.data.size * np.sqrt(square * square.max())[looked])
    assert np.abs(whole.residual).max() > 1e-4
    np.testing.assert_allclose(whole.residual[looked], expected, atol=2e-5)


@pytest.mark.parametrize("pattern", ["airy", "gauss"])
def test_one_pointing_is_the_ordinary_image(mosaic_ms, pattern):
    """A mosaic of one pointing is what is made without mosaics, pixel by pixel: dirty image, PSF, residual, beam."""
    (block,) = read([mosaic_ms], Selection(field="0")).blocks
    # So wide that the Gaussian is 0 at the edges, in single precision.
    grid, dishes = ImageGrid(64, 64, 400 * ARCSEC), Dishes(pattern, DISH, 0.2)
    assert (dishes.beam([block]).image(grid) == 0).any() == (pattern == "gauss")
    plain, joint = Measurement([block], grid), JointMeasurement([[block]], grid, dishes)
    model = np.zeros(grid.shape, np.float32)
    model[20, 30] = 1
    np.testing.assert_allclose(joint.dirty(), plain.dirty(), atol=1e-6)
    np.testing.assert_allclose(joint.psf(), plain.psf(), atol=1e-6)
    np.testing.assert_allclose(joint.residual(model), plain.residual(model), atol=1e-6)
    np.testing.assert_allclose(joint.coverage.pb, np.maximum(dishes.beam([block]).image(grid), 1e-6), rtol=1e-5)
    assert (joint.sum_weight, joint.freq, joint.samples) == pytest.approx((plain.sum_weight, plain.freq, plain.samples))
    assert isinstance(make_measurement([block], grid, dishes), Measurement)


@pytest.fixture
def joint(mosaic_ms):
    """The measurement of the mosaic with natural weights on a small grid, and the grid."""
    observation = read([mosaic_ms], Selection(field="all", joint=True))
    grid = ImageGrid(96, 80, 25 * ARCSEC, observation.ra, observation.dec)
    return JointMeasurement(by_pointing(observation.blocks), grid, AIRY, OperatorChoice(epsilon=1e-6)), grid


def test_natural_weights_in_facets(mosaic_ms, tmp_path):
    """A residual with natural weights, without kept-out visibilities, and its noise are the same in facets."""
    with WorkDir(tmp_path / "run", {}) as work:
        cache = VisibilityCache(work)
        observation = cache.read([mosaic_ms], Selection(field="all", joint=True))
        grid = ImageGrid(96, 80, 25 * ARCSEC, observation.ra, observation.dec)
        for block, kept in zip(observation.blocks, keep_out(observation.blocks, 0.2), strict=True):
            block.kept_out = kept
        cache.keep_out([block.kept_out for block in observation.blocks])
        cache.weigh(observation, grid, Weighting("briggs", -1))
        groups, pointings, band = by_pointing(observation.blocks), [], (0, np.inf)
        for group in groups:
            place = tuple(group[0].pointing.tolist())
            weights = [
                float(sum(block.weight.sum() for block in blocks))
                for blocks in (group, Blocks(work, band, "I", place, Samples.KEPT))
            ]
            pointings.append(Pointing(place, weights[0], AIRY.beam(group), weights[1]))
        tiles = Tiles(grid.shape, 48, 8)
        facets = FacetChannel(work, "c", "c", grid, tiles, 1, band, "I", "auto", 1e-6, tuple(pointings))
        work.note("c/most", max(facets.survey(window) for window in range(len(tiles))))
        facets = facets.of(Samples.FITTED).likelihood()
        found = [facets.sum_weights(number) for number in range(len(facets.blocks))]
        facets.sums.note([pointing for pointing, _ in facets.blocks], found)
        for window in range(len(tiles)):
            facets.measure_residual(window, 0)
        joint = JointMeasurement(groups, grid, AIRY, OperatorChoice(epsilon=1e-6)).fitted().likelihood()
        assert joint.noise_factor < 0.95
        assert facets.noise_factor == pytest.approx(joint.noise_factor, rel=1e-4)
        expected = joint.residual(np.zeros(grid.shape, np.float32))
        region = tuple(slice(0, n) for n in grid.shape)
        np.testing.assert_allclose(facets.residual(0).read(region), expected, atol=1e-4 * expected.max())


def test_adjointness(joint, rng):
    """<a, N b> == <N a, b>, and the residual is the dirty image minus N b: one operator in both directions."""
    measurement, grid = joint
    a, b = torch.randn(2, *grid.shape, generator=rng)
    na, nb = measurement.normal(a), measurement.normal(b)
    gap = (a * nb).sum() - (na * b).sum()
    assert abs(gap) < 1e-5 * a.norm() * nb.norm()
    np.testing.assert_allclose(measurement.residual(b.numpy()), measurement.dirty() - nb.numpy(), atol=1e-4)


def test_every_pixel_answers_with_its_flux(joint):
    """A point of pb times its flux has a dirty peak of just that, anywhere: what flat noise and Jy/beam mean."""
    measurement, grid = joint
    for y, x in ((40, 48), (3, 5), (70, 90), (20, 60)):
        model = torch.zeros(grid.shape)
        model[y, x] = 1
        assert float(measurement.normal(model)[y, x]) == pytest.approx(1, abs=1e-4)


def test_noise_is_flat_and_known(mosaic_ms):
    """Noise alone makes a dirty image of the noise that is expected, where the pointings see much and where little."""
    observation = read([mosaic_ms], Selection(field="all", joint=True))
    grid, rng, draws = ImageGrid(96, 80, 25 * ARCSEC), np.random.default_rng(5), []
    sum_weight = float(sum(block.weight.sum() for block in observation.blocks))
    for _ in range(6):
        for block in observation.blocks:
            white = rng.standard_normal((*block.data.shape, 2)).view(complex)[..., 0]
            block.data = (white / np.sqrt(block.weight)).astype(np.complex64)
        measurement = JointMeasurement(by_pointing(observation.blocks), grid, AIRY)
        draws.append(measurement.dirty())
    peak, noise = noise_of_all(observation, grid, AIRY, sum_weight, sum_weight**-0.5)
    assert peak == measurement.sum_weight < 0.7 * sum_weight
    strong = measurement.coverage.pb > 0.6
    assert np.array(draws)[:, strong].std() == pytest.approx(noise, rel=0.08)
    assert np.array(draws)[:, ~strong].std() == pytest.approx(noise, rel=0.08)


def test_psf_is_the_mean(mosaic_ms):
    """Of the pointings' PSFs, each counted by its weight; as large as the image, or twice as large for the RIM."""
    blocks = read([mosaic_ms], Selection(field="0,2", joint=True)).blocks
    # One sees with short baselines only, and counts less.
    blocks[0] = replace(blocks[0], weight=0.3 * blocks[0].weight * (blocks[0].uv_length < 300)[:, None])
    grid, total = ImageGrid(96, 80, 25 * ARCSEC), [float(block.weight.sum()) for block in blocks]
    parts = [Measurement([block], grid) for block in blocks]
    measurement = JointMeasurement(by_pointing(blocks), grid, AIRY)
    expected = np.average([part.psf() for part in parts], axis=0, weights=total)
    assert np.abs(parts[0].psf() - expected).max() > 0.1
    np.testing.assert_allclose(measurement.psf(), expected, atol=2e-4)
    np.testing.assert_allclose(measurement.psf(wide=True)[40:120, 48:144], expected, atol=2e-4)


def test_weights_of_pointings(mosaic_ms):
    """A pointing without weight is left out; one of half the weight counts half in S."""
    blocks = read([mosaic_ms], Selection(field="all", joint=True)).blocks
    grid = ImageGrid(96, 80, 25 * ARCSEC)
    blocks[1] = replace(blocks[1], weight=np.zeros_like(blocks[1].weight))
    blocks[2] = replace(blocks[2], weight=0.5 * blocks[2].weight)
    groups = by_pointing(blocks)
    assert [len(group) for group in groups] == [1, 1]
    coverage = Coverage(groups, grid, AIRY)
    first, last = (AIRY.beam([blocks[k]]).image(grid).astype(float) for k in (0, 2))
    square = first**2 + 0.5 * last**2
    np.testing.assert_allclose(coverage.pb, np.sqrt(square / square.max()), atol=1e-5)
    assert coverage.peak == pytest.approx(square.max() * blocks[0].weight.sum())


def test_same_data_from_another_phase_centre():
    """Visibilities brought to another phase centre are those of an array that was phased there; uvw, too."""
    layout, (here, there) = read_layout("vla-a"), ((1.0, 0.9), (1.01, 0.88))
    from radrim.earth import uvw_tracks
    from radrim.visibilities import Visibilities

    times = track_times(layout, *here, 0.5, 1.0, 1800.0)
    sky = make_sky([1.004, 1.012], [0.895, 0.883], [1.0, 0.5], 1.4e9)
    uvw, expected = (uvw_tracks(layout.positions, *p, times).reshape(-1, 3) for p in (here, there))
    data = predict(sky, uvw, FREQ, *here)[..., 0]
    rows = len(uvw)
    block = Visibilities(uvw, FREQ, data.astype(np.complex64), np.ones(data.shape, np.float32), np.zeros(rows),
                         np.zeros((rows, 2), int))  # fmt: skip
    moved = bring_to(block, here, there)
    # The simulator's earth is seen from the apparent, not the mean place of its phase centre: a hair of rotation.
    np.testing.assert_allclose(moved.uvw, expected, atol=2e-3 * np.abs(uvw).max())
    np.testing.assert_allclose(moved.data, predict(sky, moved.uvw, FREQ, *there)[..., 0], atol=1e-4)
    assert tuple(moved.pointing) == pytest.approx(direction_cosines(*map(np.float64, here), *there)[:2])


def test_phases_as_observed(mosaic_ms):
    """From its own pointing, a block has the data that are in the Measurement Set; the mosaic's stay as they are."""
    joint = read([mosaic_ms], Selection(field="all", joint=True)).blocks
    before = [block.data.copy() for block in joint]
    for k, block in enumerate(each_at_its_pointing(joint)):
        (alone,) = read([mosaic_ms], Selection(field=str(k))).blocks
        assert np.abs(joint[k].data - alone.data).max() > 0.1
        np.testing.assert_allclose(block.data, alone.data, atol=1e-5)
        np.testing.assert_array_equal(joint[k].data, before[k])
    (alone,) = read([mosaic_ms], Selection(field="0")).blocks
    assert next(each_at_its_pointing([alone])) is alone


def test_axes():
    """Right-handed, and each where it belongs: the east of a source at ra 0, dec 0 is at ra 90 degrees."""
    np.testing.assert_allclose(axes(0.0, 0.0), [[0, 1, 0], [0, 0, 1], [1, 0, 0]], atol=1e-15)
    some = axes(2.0, -0.7)
    np.testing.assert_allclose(some @ some.T, np.eye(3), atol=1e-15)
    assert np.linalg.det(some) == pytest.approx(1)


@pytest.mark.skipif(shutil.which("wsclean") is None, reason="wsclean is not installed")
def test_pointings_agree_with_wsclean(mosaic_ms, tmp_path, no_report):
    """The dirty image of each single pointing of the set is WSClean's of that field."""
    for k in range(len(OFFSETS)):
        command = f"wsclean -quiet -j 1 -use-wgridder -no-small-inversion -niter 0 -weight natural -field {k} "
        command += f"-name w{k} -size {SIZE} {SIZE} -scale {SCALE}asec {mosaic_ms}"
        subprocess.run(command.split(), cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
        mine = radrim.image(mosaic_ms, field=k, size=SIZE, scale=f"{SCALE}asec", weight="natural", niter=0, threads=1,
                            pb="airy", name=tmp_path / f"r{k}")  # fmt: skip
        theirs = fits.getdata(tmp_path / f"w{k}-dirty.fits")[0, 0]
        assert theirs.max() > 0.5
        np.testing.assert_allclose(mine.dirty, theirs, atol=1e-3 * theirs.max())
        assert mine.pb.max() == 1 == mine.pb[SIZE // 2, SIZE // 2]


@pytest.mark.skipif(shutil.which("wsclean") is None, reason="wsclean is not installed")
def test_mosaic_is_what_wsclean_makes_of_its_pointings(tmp_path, no_report):
    """The joint dirty image is the sum of WSClean's, weighted by the beams.

    WSClean gets Measurement Sets that were simulated with the mosaic's middle as phase centre: nothing of radrim's way
    from one phase centre to another is in them.
    """
    sky, pointings = sky_of(SOURCES), places()
    joint = simulate(tmp_path / "joint.ms", sky, pointings)
    mine = radrim.image(joint, field="0~2", size=SIZE, scale=f"{SCALE}asec", weight="natural", niter=0, threads=1,
                        pb="airy", epsilon=1e-6, name=tmp_path / "j")  # fmt: skip
    middle, weighted, square = (mine.grid.ra, mine.grid.dec), 0.0, 0.0
    l, m = np.meshgrid(mine.grid.l(), mine.grid.m())
    apart = simulate(tmp_path / "apart.ms", sky, pointings, [middle] * len(pointings))
    for k, (ra, dec) in enumerate(pointings):
        command = f"wsclean -quiet -j 1 -use-wgridder -no-small-inversion -niter 0 -weight natural -field {k} "
        command += f"-wgridder-accuracy 1e-6 -name w{k} -size {SIZE} {SIZE} -scale {SCALE}asec {apart}"
        subprocess.run(command.split(), cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
        l0, m0, _ = direction_cosines(np.float64(ra), dec, *middle)
        beam = airy_of(angle_sine(l, m, l0, m0), FREQ.mean())
        weighted = weighted + beam * fits.getdata(tmp_path / f"w{k}-dirty.fits")[0, 0]
        square = square + beam**2
    expected = weighted / np.sqrt(square * square.max())
    # Near the common nulls of all pointings the beam of the band is not that of its middle frequency.
    where = square > 1e-3
    assert where.mean() > 0.5
    assert expected.max() > 0.5
    np.testing.assert_allclose(mine.dirty[where], expected[where], atol=2e-3 * expected.max())


def test_output_channels_of_a_mosaic(mosaic_ms, tmp_path, no_report):
    """Each channel has its own beams; MFS is their average, corrected by the average of the beams."""
    result = radrim.image(mosaic_ms, field=["P0", 1, 2], pb=True, size=SIZE, scale=f"{SCALE}asec", solver="clean",
                          channels_out=2, threads=1, name=tmp_path / "c")  # fmt: skip
    low, high = result.channels
    faint = result.pb < 0.2
    assert low.pb[faint].mean() > 1.01 * high.pb[faint].mean()
    weight = [channel.facts["sum_weight"] for channel in (low, high)]
    np.testing.assert_allclose(result.pb, np.average([low.pb, high.pb], axis=0, weights=weight), atol=1e-6)
    y, x = SIZE // 2 - 35, SIZE // 2 - 30
    for image in (low, high, result):
        assert peak_of(image.image_pb.astype(float), y, x)[0] == pytest.approx(0.8, rel=0.04)


def test_resumed_mosaic(mosaic_ms, whole, tmp_path, no_report, monkeypatch):
    """A mosaic that was interrupted after its first major cycle goes on, and ends with the same images."""
    from radrim.workdir.progress import Progress

    def stop(self, channel):
        original(self, channel)
        raise KeyboardInterrupt

    original = Progress.keep_cycle
    how = {"field": "all", "pb": "airy", "size": SIZE, "scale": f"{SCALE}asec", "solver": "clean", "threads": 1}
    how["weight"] = "natural"
    monkeypatch.setattr(Progress, "keep_cycle", stop)
    with pytest.raises(KeyboardInterrupt):
        radrim.image(mosaic_ms, **how, name=tmp_path / "r")
    monkeypatch.setattr(Progress, "keep_cycle", original)
    monkeypatch.setattr("radrim.workdir.visibilities.read", lambda *args: pytest.fail("read again"))
    result = radrim.image(mosaic_ms, **how, name=tmp_path / "r")
    np.testing.assert_array_equal(result.image_pb, whole.image_pb)


def test_size_that_is_chosen_holds_the_mosaic(mosaic_ms, tmp_path, no_report):
    """Without --size: out to the first null around the outermost pointing."""
    result = radrim.image(mosaic_ms, field="all", pb="airy", scale="20asec", niter=0, name=tmp_path / "s", threads=1,
                          maxuv_l=4000)  # fmt: skip
    wanted = 2 * (600 * ARCSEC + 1.22 * C / FREQ.mean() / DISH)
    assert wanted <= result.grid.width * result.grid.scale < 1.15 * wanted


def test_fields_are_named(make_ms):
    """By number, name, range, list and 'all'; the whole text first, because names can hold commas."""
    from radrim.ms.tables import read_subtables

    ms = read_subtables(make_ms(fields=3))
    for wanted, fields in (("1", [1]), ("FIELD2", [2]), ("0,FIELD2", [0, 2]), ("1~2", [1, 2]), ("all", [0, 1, 2])):
        assert choose_target(ms, wanted).fields == fields, wanted
    odd = replace(ms, fields=[replace(ms.fields[0], name="M51, east"), ms.fields[1], ms.fields[1]])
    assert choose_target(odd, "M51, east").fields == [0]
    twice = choose_target(odd, "FIELD1")
    assert twice.fields == [1, 2]
    assert len(twice.positions) == 1
    assert choose_centre([twice], False) is choose_centre([twice], True) is None
    for wanted, word in (("0,M31", "'M31'"), ("7~9", "'7~9'"), ("3", "'3'")):
        with pytest.raises(ConfigError, match=f"no field {word}"):
            choose_target(ms, wanted)


def test_pointings_of_one_name(mosaic_ms, edit_ms):
    """As ALMA writes them: one of them is imaged, with a note how to image all; their name stands for all."""
    path = edit_ms(mosaic_ms, subtable="FIELD", NAME=lambda names: ["Antennae"] * len(names))
    alone = read([path])
    assert len(alone.blocks) == 1
    assert "3 fields are called Antennae: --field Antennae --pb makes one image of all of them." in alone.notes
    joint = read([path], Selection(field="Antennae", joint=True))
    assert (len(joint.blocks), joint.object) == (3, "Antennae")


def test_fields_of_one_place_are_one_pointing(mosaic_ms, edit_ms):
    """Fields with the same phase centre are read together, without a primary beam."""
    path = edit_ms(mosaic_ms, subtable="FIELD", PHASE_DIR=lambda place: np.repeat(place[:1], 3, 0))
    observation = read([path], Selection(field="all"))
    assert observation.object == "P0+P1+P2"
    assert len(observation.blocks) == 3
    assert len(by_pointing(observation.blocks)) == 1


def test_mosaic_needs_a_primary_beam(mosaic_ms, tmp_path):
    """Several pointings without --pb: what to add, or what to choose."""
    with pytest.raises(ConfigError, match=r"3 pointings .*\(P0, P1, P2\).* add --pb.*--field 0"):
        radrim.image(mosaic_ms, field="all", size=64, scale="40asec", name=tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_mosaic_in_facets_is_that_in_memory(mosaic_ms, tmp_path, no_report):
    """Dirty image, effective beam and noise do not depend on whether the mosaic was cut into facets."""
    common = {"field": "all", "pb": "airy", "size": 128, "scale": "20asec", "niter": 0}
    whole = radrim.image(mosaic_ms, name=tmp_path / "w", **common)
    facets = radrim.image(mosaic_ms, name=tmp_path / "f", facet=64, **common)
    np.testing.assert_allclose(facets.dirty, whole.dirty, rtol=0, atol=1e-4 * np.abs(whole.dirty).max())
    np.testing.assert_allclose(facets.pb, whole.pb, rtol=0, atol=1e-3)


def test_judged_mosaic_in_facets(mosaic_ms, tmp_path, no_report):
    """Kept-out samples of all pointings judge a mosaic in facets as one in memory; all samples are written."""
    common = {"field": "all", "pb": "airy", "size": SIZE, "scale": f"{SCALE}asec", "solver": "clean", "holdout": 0.1}
    whole = radrim.image(mosaic_ms, name=tmp_path / "w", threads=1, **common)
    facets = radrim.image(mosaic_ms, name=tmp_path / "f", facet=64, **common)
    for kind in ("dirty", "psf"):
        one, other = getattr(facets, kind), getattr(whole, kind)
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4 * np.abs(other).max())
    told = [next(cycle["kept_change"] for cycle in run.cycles) for run in (facets, whole)]
    assert told[0] == pytest.approx(told[1], rel=0.02)
    assert facets.model.sum() == pytest.approx(whole.model.sum(), rel=0.02)


def test_pointings_far_apart(mosaic_ms, edit_ms):
    """No tangent plane holds them: refused, with the limit."""
    far = edit_ms(mosaic_ms, subtable="FIELD", PHASE_DIR=lambda _: np.array([[[k, 0.0]] for k in (2.0, 3.5, 5.0)]))
    with pytest.raises(ConfigError, match=r"deg from their centre \(limit 60deg\).*--field"):
        read([far], Selection(field="all", joint=True))


def test_pointings_outside_the_image(mosaic_ms, tmp_path, no_report, caplog):
    """An image that leaves pointings out says so."""
    radrim.image(mosaic_ms, field="all", pb="airy", size=64, scale="14asec", niter=0, name=tmp_path / "o", threads=1)
    assert "3 of 3 pointings lie outside the image" in caplog.text


def test_several_sets_as_one_mosaic(mosaic_ms, tmp_path):
    """Pointings that lie in different Measurement Sets: the same samples, brought to the same place."""
    sky, pointings = sky_of(SOURCES), places()
    paths = [simulate(tmp_path / f"{k}.ms", sky, [place], first=k) for k, place in enumerate(pointings)]
    with pytest.raises(DataError, match="joint mosaic with --pb"):
        read(paths)
    apart, one = read(paths, Selection(joint=True)), read([mosaic_ms], Selection(field="all", joint=True))
    assert (apart.ra, apart.dec) == pytest.approx((one.ra, one.dec))
    for a, b in zip(apart.blocks, one.blocks, strict=True):
        np.testing.assert_allclose(a.pointing, b.pointing, atol=1e-12)
        np.testing.assert_allclose(a.data, b.data, atol=0.02)
