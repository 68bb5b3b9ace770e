import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import fftconvolve

from radrim.arrays import read_layout
from radrim.config.values import Weighting
from radrim.earth import hour_angles, track_times, uvw_tracks
from radrim.errors import ConfigError, DataError, InputError
from radrim.geometry import SIGN, C, ImageGrid
from radrim.rim.training import coverages, skies
from radrim.rim.training.observation import FRAME, Samples, fit_pixel_beam
from radrim.rim.training.problems import batches, make_problem, stream, validation_set
from radrim.rim.training.recipe import COVERAGES, SKIES, make_recipe
from radrim.visibilities import Visibilities
from radrim.weight.imaging import apply_weights

SIZE = 48
SAMPLES = 4000
SCALE = 0.4
PURE = {"outside": 0.0, "gain_errors": 0.0, "dynamic_range": [1e12, 1e12]}
"""Neither noise nor errors nor anything outside the tile."""
FIRST = Path(__file__).parents[4] / "shared/data/truth/galaxy_data_h5.zip"


def draw(mix=None, count=12, seed=0, size=SIZE):
    recipe = make_recipe({"samples": SAMPLES, **(mix or {})}, size)
    return [make_problem(seed, k, recipe) for k in range(count)]


def convolved(problem):
    """PSF * truth on the tile, (y, x) float64."""
    n = len(problem.truth)
    return fftconvolve(problem.psf.astype(float), problem.truth.astype(float))[n : 2 * n, n : 2 * n]


def make_samples(seed=3, kind="y_shaped", robust=np.inf, size=SIZE):
    coverage = coverages.draw_coverage(np.random.default_rng(seed), kind, coverages.read_layouts(), samples=1000)
    u, v = coverage.u * SCALE, coverage.v * SCALE
    return Samples(coverage, u, v, coverages.imaging_weights(u, v, coverage.weight, robust, size), size)


def direct_sum(samples, values, y, x):
    """Re sum of values exp(-2 pi i (u l + v m)) in the package's signs, u and v rounded to the cells of the frame.

    `y`, `x` count pixels from the phase centre.
    """
    u, v = (np.rint(c * SCALE * samples.width) / samples.width for c in (samples.coverage.u, samples.coverage.v))
    phase = -SIGN * 2 * np.pi * (u * -x[:, None] + v * y[:, None])  # l = -x, m = y: x grows to the west
    return (np.exp(1j * phase) @ values).real


@pytest.mark.parametrize("sky", list(SKIES))
def test_dirty_image_is_psf_times_truth(sky):
    """D = PSF * truth to 1e-5 of its peak, for every class; else the network learns from contradictions."""
    problems = [p for p in draw(PURE | {"skies": {sky: 1}}, 8) if not p.outside]  # no tile cut out of a larger source
    assert len(problems) > 3
    for problem in problems:
        gap = np.abs(problem.dirty - convolved(problem)).max()
        assert gap <= 1e-5 * np.abs(problem.dirty).max()


def test_coverage_can_be_given():
    """The samples of a coverage that was handed over are seen, and no others: without short ones, there is no flux."""
    drawn = coverages.draw_coverage(np.random.default_rng(4), "y_shaped", samples=SAMPLES)
    recipe = make_recipe(PURE | {"samples": SAMPLES, "coverages": {"sparse": 1}}, SIZE)
    whole, cut = (
        make_problem(0, 0, recipe, "disc", coverage=drawn.select(np.hypot(drawn.u, drawn.v) > shortest))
        for shortest in (0, 0.3)
    )
    assert whole.coverage == cut.coverage == "y_shaped"
    near = [np.fft.fft2(np.fft.ifftshift(p.psf))[0, 0].real for p in (whole, cut)]
    assert abs(near[1]) < 0.05 * near[0]


def test_psf_is_one_at_its_centre_and_symmetric():
    """Peak exactly 1 at (n, n) of 2n pixels, the largest value, the same in both directions."""
    for problem in draw(count=20):
        psf, n = problem.psf, SIZE
        assert psf.shape == (2 * n, 2 * n)
        assert psf.dtype == np.float32
        assert psf[n, n] == 1
        assert psf.max() == 1
        np.testing.assert_allclose(psf[1:, 1:], psf[:0:-1, :0:-1], atol=1e-6)


@pytest.mark.parametrize("kind", ["y_shaped", "sparse"])
def test_psf_has_the_signs_of_the_geometry(kind):
    """The PSF equals the sum over the samples with l to the east and m to the north: a mirrored array is another."""
    samples = make_samples(kind=kind)
    y, x = np.array([0, 3, -7, 11, 5, 0]), np.array([0, 5, 4, -13, 0, -9])
    expected = direct_sum(samples, samples.sample_weight, y, x) / samples.weight_sum
    np.testing.assert_allclose(samples.psf()[y + SIZE, x + SIZE], expected, atol=1e-6)


def test_gain_errors_act_on_each_antenna_pair():
    """The miscalibrated image is the direct sum of W g1 conj(g2) V, also for samples folded to the other half."""
    samples, (sy, sx) = make_samples(seed=5), (9, 30)
    sky = np.zeros((SIZE, SIZE), np.float32)
    sky[sy, sx] = 1
    grid = samples.miscalibrated(np.random.default_rng(1), samples.transform(sky), 0.3)
    rng, antennas = np.random.default_rng(1), samples.coverage.second.max() + 1
    knots = rng.integers(2, 8)
    amplitude, phase = rng.normal(0, [[[0.15]], [[0.3]]], (2, antennas, knots))
    time = samples.coverage.time / (samples.coverage.time.max() + 1) * (knots - 1)

    def gain(antenna):
        at = [np.array([np.interp(t, np.arange(knots), s[a]) for t, a in zip(time, antenna, strict=True)])
              for s in (amplitude, phase)]  # fmt: skip
        return (1 + at[0]) * np.exp(1j * at[1])

    values = samples.sample_weight * gain(samples.coverage.first) * gain(samples.coverage.second).conj()
    y, x = np.array([9, 12, 40]), np.array([30, 22, 3])
    expected = direct_sum(samples, values, y - sy, x - sx)
    np.testing.assert_allclose(samples.image(grid, SIZE)[y, x], expected, atol=1e-9 * samples.weight_sum)


def test_noise_rms_is_the_one_stated():
    """The rms of tiles without a source over `noise` is 1 on average, natural, Briggs and uniform alike."""
    problems = draw({"skies": {"empty": 1}, "outside": 0.0, "gain_errors": 0.0}, 120)
    ratio = np.array([np.mean(p.dirty.astype(float) ** 2) / p.noise**2 for p in problems])
    assert ratio.mean() == pytest.approx(1, abs=0.03)
    assert (ratio > 0.3).all()
    assert (ratio < 3).all()


@pytest.mark.parametrize("robust", [np.inf, 0.0, -np.inf])
def test_noise_spectrum_follows_the_weights(robust):
    """In each uv cell the noise has the power sum(W^2 / w): a network learns where the noise is."""
    samples = make_samples(robust=robust)
    rng = np.random.default_rng(0)
    draws = [samples.noise(rng, 2.0) for _ in range(400)]
    power = np.mean(np.abs(draws) ** 2, axis=0)
    w, big_w = samples.coverage.weight, samples.sample_weight
    expected = np.zeros(power.size)
    np.add.at(expected, samples.cell, 2 * 2.0**2 * big_w**2 / w)  # real and imaginary part
    filled = expected.reshape(power.shape) > 0
    assert (power[~filled] == 0).all()
    ratio = power[filled] / expected[filled.ravel()]
    assert ratio.mean() == pytest.approx(1, abs=0.01)
    assert ratio.std() < 1.5 / np.sqrt(400)
    image = np.mean([samples.image(d, SIZE).var() for d in draws[:100]]) / samples.weight_sum**2
    assert image == pytest.approx(4 * (big_w**2 / w).sum() / samples.weight_sum**2, rel=0.2)


def test_dynamic_range_is_the_natural_peak_over_the_noise():
    """For natural weights, peak of PSF * truth over `noise` is `dynamic_range`; the draws fill the range asked for."""
    problems = draw({"dynamic_range": [30, 3e4], "outside": 0.0, "gain_errors": 0.0}, 80)
    natural = [p for p in problems if p.robust == np.inf]
    assert len(natural) > 8
    for problem in natural:
        assert convolved(problem).max() / problem.noise == pytest.approx(problem.dynamic_range, rel=1e-3)
    ranges = np.log10([p.dynamic_range for p in problems])
    assert ranges.min() > np.log10(30)
    assert ranges.max() < np.log10(3e4)
    assert np.histogram(ranges, 3, (np.log10(30), np.log10(3e4)))[0].min() > 12


def test_noise_is_set_by_natural_weights(monkeypatch):
    """For one pixel, whose peak no weighting changes: natural noise is peak / dynamic range, any other is higher."""

    def pixel(rng, name, size, library):
        sky = np.zeros((size, size), np.float32)
        sky[size // 2, size // 2] = 1
        return sky

    monkeypatch.setattr(skies, "draw_sky", pixel)
    for problem in draw({"outside": 0.0, "gain_errors": 0.0, "skies": {"points": 1}}, 40):
        ratio = problem.noise * problem.dynamic_range / problem.truth.max()
        assert ratio == pytest.approx(1, rel=1e-5) if problem.robust == np.inf else 1 < ratio < 20


def test_cut_sources_continue_outside():
    """A source cut by the tile's edge adds the sidelobes of its other part, and the tile's own part only once."""
    problems = [p for p in draw(PURE | {"skies": {"texture": 1, "shell": 1}}, 60) if p.outside]
    shares = []
    for problem in problems:
        own = convolved(problem)
        rest = problem.dirty - own
        if np.abs(rest).max() > 1e-3 * own.max():  # small sources may lie on the tile almost as a whole
            shares.append(np.vdot(rest, own) / np.vdot(own, own))
    assert len(shares) >= 3
    assert np.median(shares) < 0.5


def test_outside_sources_change_the_dirty_image_only():
    """Sources outside the tile send sidelobes into D; truth and PSF stay, so that the solver learns to leave them."""
    without, others = draw(PURE), draw(PURE | {"outside": 1.0})
    changed = 0
    for a, b in zip(without, others, strict=True):
        np.testing.assert_array_equal(a.truth, b.truth)
        np.testing.assert_array_equal(a.psf, b.psf)
        changed += b.outside and np.abs(a.dirty - b.dirty).max() > 1e-4 * np.abs(a.dirty).max()
    assert changed >= len(without) - 2


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_problems_do_not_depend_on_the_workers():
    """Problem k depends on the seed and k: any number of workers, or a run resumed at k, gives the same."""
    mix = {"coverages": {"sparse": 1}, "samples": SAMPLES}
    expected = draw(mix, 8, seed=7)
    for workers in (0, 1, 2):
        source = batches(7, mix, SIZE, batch=2, workers=workers, start=2)
        for first in (2, 4, 6):
            batch = next(source)
            assert batch.number == [first, first + 1]
            for name in ("dirty", "truth", "psf"):
                wanted = np.stack([getattr(p, name) for p in expected[first : first + 2]])
                np.testing.assert_array_equal(getattr(batch, name).numpy(), wanted)
            assert batch.sky == [p.sky for p in expected[first : first + 2]]
            np.testing.assert_allclose(batch.noise.numpy(), [p.noise for p in expected[first : first + 2]], rtol=1e-6)
        source.close()
    resumed = next(stream(7, mix, SIZE, start=5))
    np.testing.assert_array_equal(resumed.dirty, expected[5].dirty)


def test_seeds_and_numbers_give_different_problems():
    """No two problems of a stream, nor the same number of two seeds, are alike."""
    problems = draw(count=6) + draw(count=6, seed=1)
    assert len({p.dirty.tobytes() for p in problems}) == len(problems)


def test_every_class_and_coverage_appears_and_is_sound():
    """The default mix draws all it names; all is finite, the truth non-negative with flux, noise and beam positive."""
    problems = draw({"skies": {**SKIES, "empty": 0.05}}, 220)
    assert {p.sky for p in problems} == {*SKIES, "empty"}
    assert {p.coverage.split("/")[0] for p in problems} == set(COVERAGES)
    assert len({p.coverage for p in problems if p.coverage.startswith("real/")}) > 6
    for p in problems:
        assert p.dirty.dtype == p.truth.dtype == np.float32
        assert p.dirty.shape == p.truth.shape == (SIZE, SIZE)
        assert np.isfinite(p.dirty).all()
        assert np.isfinite(p.psf).all()
        assert np.isfinite(p.truth).all()
        assert p.truth.min() >= 0
        assert (p.truth.max() > 0) == (p.sky != "empty")
        assert 0 < p.noise < np.inf
        assert 1 <= p.beam.minor <= p.beam.major
    assert np.mean([p.gain_error > 0 for p in problems]) == pytest.approx(0.2, abs=0.08)
    assert np.mean([p.outside for p in problems]) == pytest.approx(0.43, abs=0.1)


def test_pixels_per_beam_follow_the_recipe():
    """The fitted beam lies near the pixels per beam asked for, where the longest baseline leaves the choice."""
    mix = {"coverages": {"y_shaped": 1, "sparse": 1}, "pixels_per_beam": [4, 4]}
    widths = [np.sqrt(p.beam.major * p.beam.minor) for p in draw(mix, 40, size=96)]
    assert np.median(widths) == pytest.approx(4, rel=0.15)
    assert max(widths) < 9
    assert min(widths) > 2


@pytest.mark.parametrize("robust", [np.inf, 2.0, 0.5, -1.0, -np.inf])
def test_weights_are_those_of_radrim_weight(robust):
    """Same samples, same imaging weights as the imager itself gives them, so that training PSFs are the real ones."""
    coverage = coverages.draw_coverage(np.random.default_rng(2), "core_halo")
    size, scale = 100, 0.45
    u, v = coverage.u * scale, coverage.v * scale
    natural = coverage.weight.astype(np.float32)
    ours = coverages.imaging_weights(u, v, natural.astype(float), robust, size)
    cell = 1e-5  # [rad]
    uvw = np.stack([u, v, 0 * u], -1) / cell
    none = np.zeros(len(u))
    block = Visibilities(uvw, np.array([C]), np.zeros((len(u), 1), np.complex64), natural[:, None].copy(), none,
                         np.zeros((len(u), 2), np.int32))  # fmt: skip
    kind = "natural" if robust == np.inf else "uniform" if robust == -np.inf else "briggs"
    apply_weights([block], ImageGrid(size, size, cell), Weighting(kind, robust if kind == "briggs" else 0.0))
    # A sample on the edge of a uv cell may round to either side.
    assert np.mean(~np.isclose(block.weight[:, 0], ours, rtol=1e-4)) < 1e-3


def test_tracks_are_those_of_the_simulator():
    """u and v of a real layout equal the simulator's, which works with precession and ERFA, to 1 % of the longest."""
    layout = read_layout("vla-b")
    ra, dec = 1.0, 0.6
    times = track_times(layout, ra, dec, 0.4, 5.0, 1800.0)
    expected = uvw_tracks(layout.positions, ra, dec, times)
    _, array = coverages._real(np.random.default_rng(0), {"vla-b": layout.positions})
    ours = coverages.project(array.positions, dec, hour_angles(layout, ra, dec, times))
    i, j = np.triu_indices(len(layout.positions), 1)
    longest = np.abs(expected).max()
    for axis, name in enumerate("uvw"):
        gap = np.abs(ours[axis][:, j] - ours[axis][:, i] - expected[..., axis]).max()
        assert gap < 0.01 * longest, name


@pytest.mark.parametrize("kind", list(coverages.KINDS))
def test_coverages_are_usable(kind):
    """Longest baseline at most 1, positive weights, an antenna pair and a time for every sample, within the limit."""
    layouts = coverages.read_layouts()
    for seed in range(12):
        c = coverages.draw_coverage(np.random.default_rng(seed), kind, layouts, samples=5000)
        assert 40 <= len(c.u) <= 5000
        assert np.hypot(c.u, c.v).max() <= 1 + 1e-12
        assert (c.weight > 0).all()
        assert (c.first < c.second).all()
        assert (c.time >= 0).all()


def test_skies_of_any_size():
    """Every generator works from 32 pixels on: peak 1, nothing negative and, but for diffuse ones, empty pixels."""
    for name, size in [(n, s) for n in skies.GENERATORS for s in (32, 130)]:
        for seed in range(6):
            sky = skies.draw_sky(np.random.default_rng(seed), name, size)
            assert sky.shape == (size, size)
            assert sky.dtype == np.float32
            assert sky.max() == 1
            assert sky.min() >= 0
            assert sky.min() == 0 or name in ("texture", "crescent", "mixture")


@pytest.mark.parametrize("name", ["points", "compact", "radio_galaxy", "jet"])
def test_most_of_the_sky_is_empty(name):
    """Compact classes leave most pixels exactly 0: trained on filled tiles, a network paints haze into empty sky."""
    empty = [np.mean(skies.draw_sky(np.random.default_rng(k), name, 128) == 0) for k in range(20)]
    assert np.median(empty) > 0.75


def test_beam_fit_finds_a_known_gaussian():
    """Axes to 2 % and angle (north through east, x to the west) to 0.02 rad of a sampled Gaussian."""
    y, x = np.mgrid[-40:40, -40:40].astype(float)
    for major, minor, pa in ((2.0, 1.6, 0.3), (6.0, 3.0, 1.2), (9.0, 3.0, 2.8)):
        along, across = -x * np.sin(pa) + y * np.cos(pa), x * np.cos(pa) + y * np.sin(pa)
        beam = fit_pixel_beam(np.exp(-4 * np.log(2) * ((along / major) ** 2 + (across / minor) ** 2)))
        assert beam.major == pytest.approx(major, rel=0.02)
        assert beam.minor == pytest.approx(minor, rel=0.02)
        assert abs((beam.pa - pa + np.pi / 2) % np.pi - np.pi / 2) < 0.02


def test_validation_set_is_fixed_and_apart_from_training():
    """Called twice the same; classes in turn; none of its problems is in the training stream of the same seed."""
    first, again = (validation_set(4, 11, {"samples": SAMPLES}, SIZE) for _ in range(2))
    assert [p.sky for p in first] == [*SKIES, *SKIES][:11]
    trained = {p.psf.tobytes() for p in draw(count=11, seed=4)}
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.dirty, b.dirty)
        assert a.psf.tobytes() not in trained


@pytest.mark.parametrize(
    "mix, words",
    [
        ({"skies": {"poimts": 1}}, ["skies", "poimts", "points"]),
        ({"coverages": {"vla": 1}}, ["coverages", "vla", "y_shaped"]),
        ({"skies": {"points": -1}}, ["skies.points", "-1"]),
        ({"skies": {"points": 0}}, ["skies", "all 0"]),
        ({"skies": ["points"]}, ["skies", "table"]),
        ({"dynamic_range": [1e5, 10]}, ["dynamic_range", "rising"]),
        ({"pixels_per_beam": 3}, ["pixels_per_beam", "two"]),
        ({"outside": 2}, ["outside", "0 to 1"]),
        ({"samples": 10}, ["samples", "1000"]),
        ({"size": 33}, ["size", "33", "even"]),
        ({"sky": {}}, ["unknown key 'sky'", "skies"]),
        ({"skies": {"first": 1}}, ["first", "PATH"]),
    ],
)
def test_bad_mixes_are_refused(mix, words):
    """The message names the key, the value found and what is allowed."""
    with pytest.raises(ConfigError) as info:
        make_recipe(mix)
    assert all(word in str(info.value) for word in words), str(info.value)


def test_order_in_the_mix_does_not_matter():
    """Two spellings of the same table give the same problems."""
    turned = {"skies": dict(reversed(SKIES.items())), "coverages": dict(reversed(COVERAGES.items()))}
    for a, b in zip(draw(count=4), draw(turned, 4), strict=True):
        np.testing.assert_array_equal(a.dirty, b.dirty)


def test_bad_layouts_and_galaxies_are_refused(tmp_path):
    """A folder without layouts, a broken layout, a missing or broken galaxy file: named, with what to give instead."""
    with pytest.raises(InputError, match="no antenna layout"):
        coverages.read_layouts(tmp_path)
    (tmp_path / "broken.csv").write_text("name,x_itrf_m,y_itrf_m,z_itrf_m\nA,1,2,south\n")
    with pytest.raises(InputError, match=r"broken\.csv"):
        coverages.read_layouts(tmp_path)
    for name, content in (("no.npz", None), ("bad.zip", b"PK?"), ("bad.npy", b"nothing"), ("bad.txt", b"")):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name.replace(".", r"\.")):
            skies.read_first(tmp_path / name)
    lonely = {"one": np.array([[6.4e6, 0.0, 0.0], [6.4e6, 0.0, 0.0]])}
    with pytest.raises(DataError, match="50 draws"), np.errstate(all="ignore"):
        coverages.draw_coverage(np.random.default_rng(0), "real", lonely)


def test_first_galaxies_from_numpy(tmp_path):
    """A NumPy file serves where HDF5 cannot be read; noise islands go, the galaxy stays and is trained on."""
    image = np.zeros((60, 60), np.uint8)
    image[20:32, 22:30] = 200
    image[50, 50] = 3
    np.savez_compressed(tmp_path / "galaxies.npz", image, image.T)
    galaxies = skies.read_first(tmp_path / "galaxies.npz")
    assert [g.shape for g in galaxies] == [(12, 8), (8, 12)]
    assert galaxies[0].min() == 200
    problem = draw({"skies": {"first": 1}, "first": str(tmp_path / "galaxies.npz")}, 1)[0]
    assert problem.sky == "first"
    assert problem.truth.max() > 0


@pytest.mark.skipif(not FIRST.exists(), reason="the FIRST galaxies are not at hand")
def test_first_galaxies_as_published():
    """The published archive is read where h5py is installed."""
    pytest.importorskip("h5py")
    assert len(skies.read_first(FIRST)) > 1500


def test_hdf5_without_h5py(monkeypatch):
    """Without h5py, HDF5 is refused with what to install."""
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"h5py is not installed: pip install h5py .*\.\[train\]"):
        skies.read_first("galaxy_data_h5.zip")


def test_runs_with_numpy_scipy_and_torch_alone():
    """Making problems loads none of the packages that a bare training machine lacks."""
    code = ("import sys, json; from radrim.rim.training.problems import stream; next(stream(0, None, 32));"
            "print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))")  # fmt: skip
    loaded = set(json.loads(subprocess.check_output([sys.executable, "-c", code], text=True)))
    assert not loaded & {"astropy", "casacore", "dask", "ducc0", "erfa", "finufft", "h5py", "matplotlib", "numba"}


def test_frame_holds_the_whole_neighbourhood():
    """A source far outside the tile but within the frame shines in as the direct sum says."""
    samples = make_samples(seed=8)
    far = np.zeros((FRAME * SIZE, FRAME * SIZE), np.float32)
    y, x = 5, FRAME * SIZE - 20
    far[y, x] = 3
    origin = SIZE // 2 - FRAME // 2 * SIZE
    image = samples.image(samples.weight * samples.transform(far, origin), SIZE)
    py, px = np.array([0, 17, 40]), np.array([2, 30, 11])
    expected = 3 * direct_sum(samples, samples.sample_weight, py - (y + origin), px - (x + origin))
    np.testing.assert_allclose(image[py, px], expected, atol=1e-6 * samples.weight_sum)


def test_coverage_selection_keeps_samples_together():
    """Leaving samples out keeps each one's antennas, time and weight."""
    coverage = coverages.draw_coverage(np.random.default_rng(1), "spiral")
    part = coverage.select(coverage.weight > np.median(coverage.weight))
    index = np.flatnonzero(coverage.weight > np.median(coverage.weight))
    np.testing.assert_array_equal(part.first, coverage.first[index])
    np.testing.assert_array_equal(part.v, coverage.v[index])
