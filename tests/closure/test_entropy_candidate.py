"""Relative entropy as a trial of ordinary runs, and runs with it that are interrupted or go on."""

import numpy as np
import pytest

import radrim
from radrim.cli.main import main
from radrim.deconvolve import major
from radrim.deconvolve.decision import Decision
from radrim.geometry import ARCSEC
from radrim.workdir.progress import Progress

UAS = ARCSEC * 1e-6
GRID = {"scale": "5uasec", "size": 48, "threads": 1}
WORDS = ["--size", "48", "48", "--scale", "5uasec", "--threads", "1", "--quiet", "--name", "x"]


@pytest.fixture(scope="module")
def ring(simulated_ring, tmp_path_factory, without_reports):
    """The image of a ring with default options."""
    with without_reports():
        return radrim.image(simulated_ring, name=tmp_path_factory.mktemp("ring") / "x", **GRID)


def test_a_ring_becomes_a_ring(ring):
    """Relative entropy was tried; flux and shape of the model that was preferred are those of the sky."""
    assert any(cycle.get("offered") for cycle in ring.cycles)
    assert ring.model.sum() == pytest.approx(1, rel=0.1)
    y, x = np.indices(ring.model.shape) - 24
    radius = 5 * np.hypot(x, y)
    assert ring.model[(radius > 8) & (radius < 34)].sum() > 0.85 * ring.model.sum()
    assert ring.model[radius < 7].mean() < 0.5 * ring.model[(radius > 15) & (radius < 27)].mean()


def test_the_last_fit_is_of_all_visibilities(ring):
    """Residual and dirty image differ by the model, of all samples; errors of the visibilities are in the header."""
    padded = np.pad(ring.model.astype(float), 24)
    shift = np.fft.ifftshift(np.pad(ring.psf.astype(float), 24))
    seen = np.fft.irfft2(np.fft.rfft2(padded) * np.fft.rfft2(shift), s=padded.shape)[24:-24, 24:-24]
    left = ring.dirty - seen - ring.residual
    assert np.abs(left)[12:-12, 12:-12].max() < 0.02 * np.abs(ring.dirty).max()
    assert ring.facts["systematic"] < 0.05


def test_noise_alone_gives_an_empty_model(simulated_noise, tmp_path, no_report):
    """No candidate adds flux that the data do not hold."""
    result = radrim.image(simulated_noise, name=tmp_path / "x", **GRID)
    assert np.abs(result.model).sum() < 3 * result.noise


@pytest.mark.parametrize("more", [[], ["--solver", "entropy"]], ids=["rim", "entropy"])
def test_interrupted_runs_leave_the_same_bytes(simulated_ring, tmp_path, monkeypatch, without_reports, more):
    """Interrupted after each thing that is kept of an image, a run makes the files of an unbroken one.

    The kept-out visibilities are made to prefer relative entropy, so that it makes the closing fit, too.
    """
    by_judge = major.by_judge
    offered = lambda verdict, minors, *rest: (  # noqa: E731
        Decision(1.0) if any(one.whole for one in minors) else by_judge(verdict, minors, *rest)
    )
    monkeypatch.setattr(major, "by_judge", offered)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    words = ["image", str(simulated_ring), *WORDS, *more]
    keep, keep_choice = Progress.keep_cycle, Progress.keep_choice

    def interrupted(self, *args):
        keep(self, *args)
        raise KeyboardInterrupt

    def interrupted_choice(self, *args):
        keep_choice(self, *args)
        raise KeyboardInterrupt

    files = {}
    with without_reports():
        for name in ("whole", "broken"):
            (tmp_path / name).mkdir()
            monkeypatch.chdir(tmp_path / name)
            with monkeypatch.context() as patch:
                if name == "broken":
                    patch.setattr(Progress, "keep_cycle", interrupted)
                    patch.setattr(Progress, "keep_choice", interrupted_choice)
                    stops = 0
                    while (status := main(words)) == 130:
                        stops += 1
                    assert stops >= 1
                else:
                    status = main(words)
            assert status == 0
            files[name] = {path.name: path.read_bytes() for path in (tmp_path / name).glob("*.fits")}
    assert files["broken"] == files["whole"]


def test_a_run_goes_on_with_its_model(simulated_ring, tmp_path, no_report):
    """With --continue relative entropy begins with the model that was found, and ends near it."""
    options = {**GRID, "solver": "entropy", "name": tmp_path / "x"}
    first = radrim.image(simulated_ring, **options).model.copy()
    second = radrim.image(simulated_ring, **options, continue_run=True).model
    assert np.abs(second - first).sum() < 0.1 * first.sum()
