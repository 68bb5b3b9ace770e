"""Plug and play, and the denoiser that comes with the package."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from radrim.errors import ConfigError
from radrim.rim import checkpoint
from radrim.rim.network.denoiser import Denoiser, DenoiserConfig
from radrim.rim.network.plug_and_play import PlugAndPlaySettings, plug_and_play, region
from radrim.rim.network.psf import PsfConvolution

SIZE, NOISE = 64, 0.02


@pytest.fixture(scope="module")
def denoiser():
    """The network that comes with the package."""
    return checkpoint.load(checkpoint.DENOISER_NETWORK).model


class Scene:
    """A smooth source of some hundred times the noise, seen with a PSF that lacks high frequencies, and a start."""

    def __init__(self):
        rng = np.random.default_rng(4)
        sky = np.zeros((SIZE, SIZE))
        sky[24:44, 20:40] = gaussian_filter(rng.random((20, 20)), 1.5) ** 2
        sky = gaussian_filter(sky, 1.0)
        y, x = np.indices((2 * SIZE, 2 * SIZE)) - SIZE
        psf = torch.from_numpy(np.exp(-(y**2 + x**2) / 8).astype(np.float32))
        self.sky = torch.from_numpy((sky / sky.max()).astype(np.float32))
        self.convolution = PsfConvolution(psf, self.sky.shape)
        noise = torch.from_numpy(gaussian_filter(rng.normal(size=(SIZE, SIZE)), 1.4).astype(np.float32))
        self.dirty = self.convolution.normal(self.sky) + NOISE * noise / noise.std()
        # A model as a deconvolution leaves it: right on the whole, rough in its detail.
        rough = torch.from_numpy(rng.normal(1, 0.3, (SIZE, SIZE)).astype(np.float32))
        self.model = torch.where(self.sky > 0.02, self.sky * rough, 0)
        self.residual = self.dirty - self.convolution.normal(self.model)

    def error(self, model):
        """Rms of the error [Jy/pixel]."""
        return float((model - self.sky).square().mean().sqrt())

    def after(self, network, **options):
        """The model after plug and play."""
        return plug_and_play(network, self.model, self.residual, self.convolution, NOISE, **options)


@pytest.fixture(scope="module")
def scene():
    return Scene()


@pytest.mark.parametrize("peak", [3.0, 100.0, 1e4])
def test_noise_is_removed(denoiser, scene, peak):
    """At any brightness the denoised image is closer to the sky than the noisy one by a factor of two."""
    sky = peak * scene.sky
    noisy = sky + torch.from_numpy(np.random.default_rng(1).normal(size=sky.shape).astype(np.float32))
    with torch.inference_mode():
        found = denoiser(noisy[None, None])[0, 0]
    assert (found - sky).square().mean().sqrt() < 0.5


def test_an_empty_sky_stays_empty(denoiser):
    """Of white noise alone nearly nothing is left."""
    noise = torch.from_numpy(np.random.default_rng(2).normal(size=(1, 1, SIZE, SIZE)).astype(np.float32))
    with torch.inference_mode():
        assert denoiser(noise).square().mean().sqrt() < 0.2


def test_model_comes_closer_to_the_sky(denoiser, scene):
    """From a rough model the error falls by a sixth at least, and the residual stays near the noise."""
    found = scene.after(denoiser)
    assert scene.error(found) < 0.83 * scene.error(scene.model)
    left = scene.dirty - scene.convolution.normal(found)
    assert left.std() < 1.5 * NOISE


def test_only_emission_changes(denoiser, scene):
    """Far from emission the model stays as it is, to the last bit; so do pixels that may not change."""
    settings = PlugAndPlaySettings()
    inside = region(scene.model, scene.dirty, scene.convolution, NOISE, settings)
    allowed = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    allowed[:32] = True
    assert 0.05 < inside.float().mean() < 0.6
    assert torch.equal(scene.after(denoiser)[~inside], scene.model[~inside])
    assert torch.equal(scene.after(denoiser, allowed=allowed)[32:], scene.model[32:])


def test_an_empty_model_gets_emission_where_the_residual_has_it(denoiser, scene):
    """Begun empty, only pixels near bright residuals change; noise alone changes none."""
    empty = torch.zeros_like(scene.model)
    inside = region(empty, scene.dirty, scene.convolution, NOISE, PlugAndPlaySettings())
    found = plug_and_play(denoiser, empty, scene.dirty, scene.convolution, NOISE)
    assert inside.any()
    assert torch.equal(found[~inside], empty[~inside])
    assert float(found.sum()) > 0.5 * float(scene.model.sum())
    quiet = plug_and_play(denoiser, empty, scene.dirty / scene.dirty.max() * NOISE, scene.convolution, NOISE)
    assert torch.equal(quiet, empty)


def test_no_unit(denoiser, scene):
    """A sky a million times as bright, with its noise, gives the same model a million times as bright."""
    bright = plug_and_play(denoiser, 1e6 * scene.model, 1e6 * scene.residual, scene.convolution, 1e6 * NOISE)
    torch.testing.assert_close(bright / 1e6, scene.after(denoiser), rtol=1e-2, atol=1e-3)


def test_tiles_make_little_difference(denoiser, scene):
    """The network on tiles with halos gives what it gives on the whole, but for its farthest reach."""
    whole = scene.after(denoiser)
    tiled = scene.after(denoiser, settings=PlugAndPlaySettings(tile=16, halo=32))
    assert scene.error(tiled) < 1.1 * scene.error(whole) + 1e-3


def test_architecture_is_checked():
    """A denoiser of three levels is refused with what it needs."""
    with pytest.raises(ConfigError, match="four numbers"):
        Denoiser(DenoiserConfig(widths=(8, 8, 8)))


@pytest.fixture
def seeing(denoiser):
    """The network of the package, which also sees what data determine, and does not look at it yet."""
    network = Denoiser(DenoiserConfig(seen=True)).eval()
    network.begin_with(denoiser)
    return network


def test_a_network_begins_by_ignoring_what_data_determine(seeing, denoiser, scene):
    """Its models are those of the network that it began with."""
    assert torch.allclose(scene.after(seeing), scene.after(denoiser), atol=1e-5)


def test_a_network_can_see_what_data_determine(seeing, scene):
    """Once it looks at it, its models differ."""
    before = scene.after(seeing)
    with torch.no_grad():
        seeing.first.weight[:, -2:] += 0.1
    assert not torch.allclose(scene.after(seeing), before, atol=1e-3)


def test_measured_part(scene):
    """Of an image, the part that data determine and the rest are together the image; less with a larger value."""
    parts = [scene.convolution.measured(scene.sky, value) for value in (1e-6, 1e-2, 1.0)]
    powers = [float(part.square().sum()) for part in parts]
    assert powers == sorted(powers, reverse=True)
    rest = scene.convolution.wiener(scene.sky[None], [1e-2])[0, 0] * 1e-2
    assert torch.allclose(parts[1] + rest, scene.sky, atol=1e-4)
