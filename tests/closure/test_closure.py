"""`--data closure`: closure quantities, their noise, and images made from them alone."""

import numpy as np
import pytest
from astropy.io import fits

import radrim
from radrim.closure.gains import solve_gains
from radrim.closure.quantities import closures_of, independent, minimal_set, wrap
from radrim.closure.read import read_hands
from radrim.closure.ring import measure_ring
from radrim.closure.solver import ClosureSolver, Objective, centred
from radrim.closure.terms import chi_squares, closure_terms
from radrim.errors import ConfigError, DataError
from radrim.geometry import ARCSEC, ImageGrid
from radrim.read.averaging import average, choose_interval, coherence
from radrim.read.reader import Selection
from radrim.visibilities import Visibilities

UAS = ARCSEC * 1e-6
STATIONS = 6


def snapshots(stations=STATIONS, groups=8, noise=0.0, gains=0.0, seed=0):
    """(uvw, vis, sigma, station, group) of two Gaussians; each group, the Earth has turned."""
    rng = np.random.default_rng(seed)
    first, second = np.triu_indices(stations, 1)
    places = np.random.default_rng(5).standard_normal((stations, 2)) * 2e9
    uvw, vis, station, group = [], [], [], []
    for number in range(groups):
        turn = 0.2 * number
        turned = places @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        uv = turned[second] - turned[first]
        gain = np.exp(gains * (rng.standard_normal(stations) + 3j * rng.standard_normal(stations)))
        uvw.append(np.column_stack([uv, np.zeros(len(uv))]))
        vis.append(seen(uv) * gain[first] * gain[second].conj())
        station.append(np.column_stack([first, second]))
        group.append(np.full(len(uv), number))
    vis = np.concatenate(vis)
    vis = vis + noise * (rng.standard_normal(len(vis)) + 1j * rng.standard_normal(len(vis)))
    sigma = np.full(len(vis), noise or 1e-3)
    return np.concatenate(uvw), vis, sigma, np.concatenate(station), np.concatenate(group)


def seen(uv):
    """Visibilities of 1 Jy in two Gaussians."""
    near = np.exp(-((np.pi * 12 * UAS * np.hypot(*uv.T)) ** 2) / (4 * np.log(2)))
    return near * (0.65 + 0.35 * np.exp(2j * np.pi * (uv @ (np.array([25, -15]) * UAS))))


def test_closures_know_no_gains():
    """Gains of every station, different in each integration, change no closure quantity: the definition."""
    measured, true = closures_of(*snapshots(gains=0.5)), snapshots()[1]
    assert np.allclose(wrap(measured.phases.value - measured.phases.combine @ np.angle(true)), 0, atol=1e-9)
    assert np.allclose(measured.amplitudes.value, measured.amplitudes.combine @ np.log(np.abs(true)), atol=1e-9)


@pytest.mark.parametrize("stations", [3, 4, 5, 7])
def test_number_in_a_minimal_set(stations):
    """(n-1)(n-2)/2 closure phases and n(n-3)/2 closure amplitudes of n stations, no more and no less."""
    pairs = np.column_stack(np.triu_indices(stations, 1))
    error = np.linspace(0.1, 0.2, len(pairs))
    triangles, quadrangles = (minimal_set(kind, pairs, error) for kind in ("triangle", "quadrangle"))
    assert len(triangles) == (stations - 1) * (stations - 2) // 2
    assert len(quadrangles) == stations * (stations - 3) // 2
    assert np.linalg.matrix_rank(triangles) == len(triangles)


def test_missing_baselines_leave_the_triangles_there_are():
    """Without one of the baselines of four stations, two triangles are left and no quadrangle needs what is missing."""
    pairs = np.array([(0, 1), (1, 2), (0, 2), (3, 1), (2, 3)])
    assert len(minimal_set("triangle", pairs, np.ones(5))) == 2
    assert len(minimal_set("quadrangle", pairs, np.ones(5))) == 1


def test_independent_leaves_out_combinations():
    """A row that is the sum of two before it is not kept; the first ones are."""
    assert independent([[1, 0, 1], [0, 1, 1], [1, 1, 2], [0, 0, 1]]).tolist() == [0, 1, 3]


def test_noise_is_as_the_covariance_says():
    """Over many draws the whitened errors of a minimal set have unit covariance and no mean: no bias to be removed."""
    uvw, vis, _, station, group = snapshots(groups=1)
    noise, phases, amplitudes = 0.15 * np.abs(vis).min(), [], []
    truth = closures_of(uvw, vis, np.full(len(vis), noise), station, group)
    for seed in range(2000):
        noisy = snapshots(groups=1, noise=noise, seed=seed)[1]
        phases.append(wrap(truth.phases.combine @ np.angle(noisy) - truth.phases.value))
        amplitudes.append(truth.amplitudes.combine @ np.log(np.abs(noisy)) - truth.amplitudes.value)
    for errors, of in ((phases, truth.phases), (amplitudes, truth.amplitudes)):
        white = np.linalg.solve(np.linalg.cholesky(of.covariance.toarray()), np.array(errors).T)
        assert np.abs(np.cov(white) - np.eye(len(white))).max() < 6 / np.sqrt(len(errors))
        assert np.abs(white.mean(1)).max() < 4.5 / np.sqrt(len(errors))


def test_chi_square_of_the_truth_is_one():
    """With noise as told and any gains, the true sky has a chi-square of 1 for each closure quantity."""
    uvw, vis, sigma, station, group = snapshots(groups=120, noise=0.008, gains=0.3, seed=3)
    # Equal gains of a station pair scale signal and not noise: their S/N differs, as in real data.
    data = closures_of(uvw, vis, sigma, station, group)
    phase, amplitude = chi_squares(data, seen(uvw[:, :2]))
    assert phase / len(data.phases) == pytest.approx(1, abs=0.12)
    assert amplitude / len(data.amplitudes) == pytest.approx(1, abs=0.12)


def test_gradient_is_that_of_finite_differences():
    """Of the whole objective, with respect to pixels and to the extended part: a wrong one misleads the minimiser."""
    uvw, vis, sigma, station, group = snapshots(groups=3, noise=0.02)
    uvw[0, :2] *= 1e-4  # one baseline between neighbours
    data = closures_of(uvw, vis, sigma, station, group)
    grid = ImageGrid(32, 32, 4 * UAS)
    rng = np.random.default_rng(1)
    prior = rng.random(grid.shape) + 0.1
    objective = Objective(data.uvw, data.colocated, closure_terms(data), grid, prior / prior.sum(), 0.7)
    x = np.append(rng.random(32 * 32) + 0.2, 0.4)
    _, gradient = objective(x)
    for direction in (rng.standard_normal(len(x)), np.eye(len(x))[-1]):
        step = 1e-5
        slope = (objective(x + step * direction)[0] - objective(x - step * direction)[0]) / (2 * step)
        assert slope == pytest.approx(gradient @ direction, rel=1e-4)


def test_position_is_not_known():
    """A shifted sky has the same closure quantities, and images are moved so that their centroid is in the middle."""
    uvw, vis, sigma, station, group = snapshots(noise=0.01)
    data = closures_of(uvw, vis, sigma, station, group)
    here = chi_squares(data, vis)
    there = chi_squares(data, vis * np.exp(2j * np.pi * uvw[:, 0] * 30 * UAS))
    assert there == pytest.approx(here, abs=1e-6)
    image = np.zeros((20, 30))
    image[3, 25] = 2.0
    assert centred(image)[10, 15] == pytest.approx(1)


def test_gains_of_a_model_are_found():
    """Gains that vary by tens of per cent, with any phase, are solved for exactly where there is no noise."""
    uvw, vis, sigma, station, group = snapshots(gains=0.3)
    model = seen(uvw[:, :2])
    assert np.allclose(vis / solve_gains(vis, model, sigma, station, group), model, atol=1e-4)


@pytest.mark.parametrize("stations", [2, 3, 4, 7])
def test_no_station_has_a_better_gain(stations):
    """Chi-square rises with each change of a station's gain: the iterations have converged, also for few stations."""
    uvw, vis, _, station, group = snapshots(stations, groups=5, noise=0.03, gains=0.3)
    # One sensitive station, as ALMA among the others, makes the iterations slow.
    sigma = 0.03 * np.where(station == 0, 0.1, 1).prod(1)
    model = seen(uvw[:, :2])
    gain = solve_gains(vis, model, sigma, station, group)

    def chi2(gain):
        return (np.abs(vis - gain * model) ** 2 / sigma**2).sum()

    for number in range(stations):
        for factor in (1.001, 0.999, np.exp(0.001j), np.exp(-0.001j)):
            change = np.where(station == number, [factor, np.conj(factor)], 1).prod(1)
            assert chi2(gain * change) > chi2(gain)


def test_gains_of_many_integrations_in_parts(monkeypatch):
    """Gains do not depend on how many integrations are solved together, which bounds the memory."""
    uvw, vis, sigma, station, group = snapshots(groups=7, noise=0.03, gains=0.3)
    model = seen(uvw[:, :2])
    together = solve_gains(vis, model, sigma, station, group)
    monkeypatch.setattr("radrim.gains.stefcal.StefcalSettings.batch", 2 * STATIONS**2)
    assert np.allclose(solve_gains(vis, model, sigma, station, group), together, rtol=1e-9)


def test_too_few_antennas():
    """Two stations give an error that says what is needed; three give closure phases alone."""
    with pytest.raises(DataError, match="three antennas"):
        closures_of(*snapshots(stations=2))
    three = closures_of(*snapshots(stations=3))
    assert len(three.phases)
    assert not len(three.amplitudes)


def drifting(rate, seconds=600):
    """A block of three antennas, a sample every 10 s; the phases turn by `rate` [rad/s]."""
    time = np.repeat(np.arange(0, seconds, 10.0), 3)
    data = np.exp(1j * rate * time)[:, None].astype(np.complex64)
    uvw = np.tile([[100.0, 0, 0], [0, 100, 0], [100, 100, 0]], (len(time) // 3, 1))
    antenna = np.tile([[0, 1], [0, 2], [1, 2]], (len(time) // 3, 1)).astype(np.int32)
    return Visibilities(uvw, np.array([1e9]), data, np.full(data.shape, 1e4, np.float32), time, antenna)


def test_averages_stop_before_phases_turn():
    """Data whose phases hold still are averaged over minutes; where these turn within a minute, over less."""
    assert choose_interval([drifting(0)])[0] == 300
    interval, kept = choose_interval([drifting(0.03)])
    assert 0 < interval < 60
    assert kept > 0.95 > coherence([drifting(0.03)], 120)
    assert choose_interval([drifting(0)], limit=100)[0] == 60


def test_average_keeps_flux_and_weight():
    """Averages of a constant are that constant, and their weights are the sums of those that went in."""
    mean = average(drifting(0), 60)
    assert len(mean.data) == 30
    assert np.allclose(mean.data, 1)
    assert np.allclose(mean.weight, 6e4)
    assert len(np.unique(mean.time)) == 10


@pytest.fixture(scope="module")
def vlbi_ms(tmp_path_factory):
    """Factory of observations by the Event Horizon Telescope's stations, each with gains of its own in every sample."""
    from radrim.simulation import make_sky, simulate
    from radrim.sky.catalogue import offset_position

    def make(places, fluxes, gain_error=0.4, noise=0.002, **more):
        ra, dec = 3.2758, 0.2163
        sky = make_sky(*offset_position(*np.array(places).T * UAS, ra, dec), np.outer(fluxes, [1.0, 0, 0, 0]), 227e9)
        return simulate(
            tmp_path_factory.mktemp("vlbi") / "eht.ms", array="eht2017", sky=sky, ra=np.degrees(ra),
            dec=np.degrees(dec), freq=227e9, bandwidth=2e9, channels=1, hours=8, integration=600,
            noise=noise, gain_error=gain_error, **more,
        )  # fmt: skip

    return make


def ring_of_points(diameter=42, number=60):
    angle = 2 * np.pi * np.arange(number) / number
    bright = (1 + 0.5 * np.cos(angle - np.pi)) / number
    return np.column_stack([np.sin(angle), np.cos(angle)]) * diameter / 2, bright


@pytest.fixture(scope="module")
def ring_run(vlbi_ms, tmp_path_factory, without_reports):
    """A ring, bright in the south, whose visibilities have gain errors of 40 % in amplitude and 0.4 rad in phase."""
    name = tmp_path_factory.mktemp("ring") / "ring"
    with without_reports():
        return radrim.image(vlbi_ms(*ring_of_points()), name=name, data="closure", threads=1)


def test_ring_in_spite_of_gains(ring_run):
    """The diameter is right within 10 %, the south is bright, and the chi-squares are near 1, whatever the gains."""
    ring = measure_ring(ring_run.model, ring_run.grid.scale)
    assert ring.found
    assert ring.thin / UAS == pytest.approx(42, rel=0.1)
    assert abs(wrap(ring.angle - np.pi)) < 0.6
    # Below 1, since the simulated data have no systematic part, for which 1 % is allowed.
    assert 0.2 < ring_run.facts["chisq_phase"] < 1.3
    assert 0.2 < ring_run.facts["chisq_amplitude"] < 1.3
    # The visibilities themselves are far from the model.
    assert ring_run.facts["chisq_visibility"] > 20


def test_files_and_header(ring_run):
    """All images are written as ever, and the header has the chi-squares."""
    for kind in ("dirty", "psf", "model", "residual", "image"):
        assert ring_run.paths[kind].exists()
    header = fits.getheader(ring_run.paths["image"])
    assert header["RRDATA"] == "closure"
    assert header["RRCHICP"] == pytest.approx(ring_run.facts["chisq_phase"])
    assert header["RRNCA"] > 100


def test_residual_is_free_of_the_gains(ring_run):
    """What is left is near the noise: of the dirty image, which gains have scrambled, hardly anything remains."""
    assert ring_run.residual.std() < 0.05 * ring_run.dirty.std()


def test_flux_is_as_given(vlbi_ms, tmp_path, no_report):
    """--flux sets the flux of the model; closure quantities do not know it."""
    ms = vlbi_ms([(0, 0), (40, 20)], [0.7, 0.3])
    result = radrim.image(ms, name=tmp_path / "two", data="closure", flux=2.5, threads=1)
    assert result.model.sum() == pytest.approx(2.5, rel=1e-3)


def test_killed_run_goes_on_with_the_same_numbers(vlbi_ms, tmp_path, no_report, monkeypatch):
    """A run that was stopped between rounds gives the same image as one that was not."""
    ms = vlbi_ms([(0, 0), (40, 20)], [0.7, 0.3])
    whole = radrim.image(ms, name=tmp_path / "whole", data="closure", threads=1)
    inner = ClosureSolver.round

    def stop(self, number, solution):
        if number == 2:
            raise KeyboardInterrupt
        return inner(self, number, solution)

    with monkeypatch.context() as patch:
        patch.setattr(ClosureSolver, "round", stop)
        with pytest.raises(KeyboardInterrupt):
            radrim.image(ms, name=tmp_path / "cut", data="closure", threads=1)
    again = radrim.image(ms, name=tmp_path / "cut", data="closure", threads=1)
    assert np.array_equal(again.model, whole.model)
    assert np.array_equal(again.image, whole.image)


def test_hands_have_gains_of_their_own(make_ms):
    """RR and LL are read by themselves; where both hold the same numbers, they are one measurement, Stokes I."""
    both = read_hands([make_ms(correlations=("RR", "LL"))], Selection())
    assert len(both.blocks) == 2
    assert [block.stokes for block in both.blocks] == ["I", "I"]  # what the image is of
    same = read_hands([make_ms(correlations=("RR", "LL"), noise=0.0)], Selection())
    assert len(same.blocks) == 1
    assert "RR and LL" in both.remarks[-1]
    assert "of I" in same.remarks[-1]


@pytest.mark.parametrize("option", [{"channels_out": 2}, {"solver": "clean"}, {"pol": "Q"}, {"mask": "m.fits"}])
def test_what_makes_no_sense_is_refused(option):
    """With the reason."""
    with pytest.raises(ConfigError, match=r"--data closure does not work with .*: .*Leave out one"):
        radrim.image("x.ms", data="closure", **option)


def test_flux_needs_closure():
    """--flux for visibilities would be ignored."""
    with pytest.raises(ConfigError, match="--flux"):
        radrim.image("x.ms", flux=1)


@pytest.mark.parametrize("data", ["obs/eht_m87_2017_101_hilo_selfcal.ms", "uvfits/eht_m87_2017_101_lo_netcal.uvfits"])
def test_m87(data, shared_data, tmp_path, no_report):
    """Real data, calibrated or not, without a mask: the ring of M87*, 42 +- 3 microarcseconds, bright in the south."""
    result = radrim.image(shared_data / data, name=tmp_path / "m87", data="closure", threads=1)
    ring = measure_ring(result.model, result.grid.scale)
    assert ring.found
    assert 38 < ring.diameter / UAS < 46
    assert 120 < np.degrees(ring.angle) < 240


def test_closure_image_begins_self_calibration(shared_data, tmp_path, no_report, command):
    """Real data that show no source as they are: from the closure model, self-calibration leads to the ring."""
    ms, field = tmp_path / "m87.ms", ["--size", 84, 84, "--scale", "2uasec", "--weight", "uniform", "--minuv-l", 1e8]
    found = {}
    assert command("convert", shared_data / "uvfits/eht_m87_2017_101_lo_netcal.uvfits", ms).status == 0
    start = radrim.image(ms, name=tmp_path / "m87", data="closure", size=84, scale="2uasec", threads=1).paths["model"]
    assert command("image", ms, *field, "--name", tmp_path / "before").status == 0
    rounds = ["--start-model", start, "--rounds", "p:inf,ap:inf", "--gain-type", "T"]
    assert command("selfcal", ms, *field, *rounds, "--name", tmp_path / "after").status == 0
    for name in ("before", "after"):
        image, header = fits.getdata(tmp_path / f"{name}-image.fits", header=True)
        found[name] = measure_ring(image.squeeze(), np.radians(header["CDELT2"]))
    assert not found["before"].found or found["before"].scatter > 2 * found["after"].scatter
    assert found["after"].found
    assert 36 < found["after"].diameter / UAS < 46
