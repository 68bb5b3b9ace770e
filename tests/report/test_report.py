import base64
import io
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from radrim.beam import Beam, restore
from radrim.errors import OutputError
from radrim.geometry import ARCSEC, ImageGrid
from radrim.report import figures
from radrim.report.figures import reduce_image
from radrim.report.page import FitPanel, ImageSet, Report, write_report
from radrim.report.specs import ReportSettings, SkyStyle, brightness_norm, sky_size
from radrim.units import band, duration, si

GRID = ImageGrid(96, 64, 2 * ARCSEC, ra=4.9, dec=0.4)
BEAM = Beam(9 * ARCSEC, 6 * ARCSEC, 0.5)
NOISE = 1e-3


def image_set(label="MFS", deconvolved=True):
    rng = np.random.default_rng(2)
    residual = rng.normal(0, NOISE, GRID.shape).astype(np.float32)
    model = np.zeros(GRID.shape, np.float32)
    model[20, 30], model[40, 60] = 1.0, 0.1
    psf = restore(np.pad(np.ones((1, 1)), ((32, 31), (48, 47))), BEAM, GRID.scale)
    image = restore(model, BEAM, GRID.scale) + residual
    rest = {"model": model, "residual": residual, "image": image} if deconvolved else {}
    return ImageSet(label, 1.4e9, dirty=image, psf=psf, noise=NOISE, beam=BEAM, **rest)


def report(**change):
    cycle = {"components": 1200, "flux": 1.1, "stop": "threshold", "seconds": 1.5}
    cycles = [{"cycle": n, "peak": 0.1**n, "rms": 0.02 / n, **cycle} for n in (1, 2, 3)]
    uv = np.random.default_rng(3).normal(0, 3e4, (500, 2))
    values = {"cycles": cycles, "facts": {"Visibilities": "12,345"}, "chosen": ["Scale 2asec: a fifth of the beam."],
              "notes": ["Half of the data is flagged."], "timings": {"read": 1.0, "clean": 3.0},
              "settings": {"weight": "briggs 0"}, "versions": {"radrim": "0.1"}, "files": ["a-image.fits"]}  # fmt: skip
    return Report(**{"title": "3C391", "command": "radrim image a.ms", "grid": GRID, "images": [image_set()], "uv": uv}
                  | values | change)  # fmt: skip


class Page(HTMLParser):
    """Checks the nesting of tags and collects text and attributes."""

    def __init__(self, text):
        super().__init__()
        self.open, self.text, self.tags, self.images = [], "", set(), []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def page_of(tmp_path, **change):
    write_report(tmp_path / "r.html", report(**change))
    return Page((tmp_path / "r.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    page = page_of(folder)
    page.source = (folder / "r.html").read_text(encoding="utf-8")
    return page


def test_page_needs_nothing_from_outside(page):
    """No scripts, links or addresses: the page looks the same on an aeroplane and in ten years."""
    assert not page.tags & {"script", "link", "iframe"}
    assert not re.search(r"https?:|url\(|@import", page.source)
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.images)


def test_every_figure_is_a_picture_with_a_description(page):
    """Each embedded figure decodes as PNG, and has a text for those who cannot see it."""
    assert len(page.images) == 11
    for image in page.images:
        png = Image.open(io.BytesIO(base64.b64decode(image["src"].split(",")[1])))
        assert png.format == "PNG"
        assert min(png.size) > 200
        assert image["alt"]


def test_page_explains_the_hole_in_the_residual(page, tmp_path):
    """Numbers of the run stand below the panel; a dirty image has none."""
    assert "A hole there is to be expected" in page.text
    assert "hole" not in page_of(tmp_path, images=[image_set(deconvolved=False)]).text


def test_uncertainties_are_shown(tmp_path):
    """Two more pictures, with their names."""
    images = image_set()
    images.uncertainty = images.model_uncertainty = np.full(GRID.shape, NOISE, np.float32)
    names = [image["alt"] for image in page_of(tmp_path, images=[images]).images]
    assert {"Uncertainty of the image", "Uncertainty of the model"} <= set(names)


def test_wide_fields_have_an_enlarged_part(tmp_path, monkeypatch):
    """The brightest pixel and its residual, also at an edge of the image."""
    monkeypatch.setattr(ReportSettings, "wide", 10)
    images = image_set()
    images.image[0, 95] = 5.0
    names = [image["alt"] for image in page_of(tmp_path, images=[images]).images]
    assert "Restored image and residual around the brightest pixel" in names


def test_page_tells_what_was_done(page):
    """Key numbers, choices, notes, cycles, settings, command, times, files and versions are all there."""
    parts = ["1 mJy/beam", "PA 28.6 deg", "96 × 64 pixels of 2asec", "1.4 GHz", "1.1 Jy", "12,345", "Half of the data",
             "a fifth of the beam", "1,200", "threshold", "briggs 0", "radrim image a.ms", "4.0 s",
             "a-image.fits"]  # fmt: skip
    for part in parts:
        assert part in page.text


def test_names_from_the_data_are_escaped(tmp_path):
    """An object called <b>$_$ makes neither bold text, nor a formula, nor an error."""
    page = page_of(tmp_path, title="<b>$_$")
    assert "b" not in page.tags
    assert "<b>$_$" in page.text


def test_page_without_deconvolution(tmp_path):
    """--niter 0: dirty image and PSF only, without talk of models, residuals or convergence."""
    page = page_of(tmp_path, images=[image_set(deconvolved=False)], cycles=[])
    assert len(page.images) == 7
    assert not re.search("Convergence|[Rr]estored image|[Mm]odel", page.text)


def test_page_shows_a_spread_of_channels(tmp_path):
    """With several channels the restored image of some is added, both ends of the band among them."""
    sets = [image_set(f"channel {n:04d}") for n in range(ReportSettings.channels + 5)]
    page = page_of(tmp_path, images=[image_set(), *sets])
    assert len(page.images) == 12


def test_empty_images_have_a_page(tmp_path):
    """All zero, partly NaN, no noise, no samples: a dull page, no error and no warning."""
    zero = np.zeros(GRID.shape, np.float32)
    holes = zero.copy()
    holes[:5] = np.nan
    psf = zero.copy()
    psf[32, 48] = 1
    flat = ImageSet("MFS", 1e9, dirty=zero, psf=psf, noise=0.0, beam=BEAM, model=zero, residual=holes, image=holes)
    cycle = {"cycle": 1, "peak": 0.0, "rms": 0.0, "components": 0, "flux": 0.0, "stop": "nothing", "seconds": 0.0}
    page_of(tmp_path, images=[flat], uv=np.zeros((0, 2)), cycles=[cycle], timings={})


def test_page_of_a_large_image_stays_small(tmp_path):
    """4096 x 4096 pixels of noise, which compress worst, make less than 3 MB."""
    noise = np.random.default_rng(4).normal(0, NOISE, (4096, 4096)).astype(np.float32)
    psf = noise / 10
    psf[2048, 2048] = 1
    images = ImageSet("", 1e9, dirty=noise, psf=psf, noise=NOISE, beam=BEAM, model=noise, residual=noise, image=noise)
    page_of(tmp_path, images=[images], grid=ImageGrid(4096, 4096, 2 * ARCSEC, 4.9, 0.4))
    assert (tmp_path / "r.html").stat().st_size < 3e6


def test_png_is_written_whole_or_not_at_all(tmp_path):
    """The picture decodes, in more colours than the page's; a missing folder is an OutputError with what to do."""
    write_report(tmp_path / "r.html", report(), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as png:
        assert png.size[0] > 1000
        assert png.mode == "RGB"
        assert len(png.getcolors(10**6)) > 256
    with pytest.raises(OutputError, match="mkdir -p"):
        write_report(tmp_path / "s.html", report(), tmp_path / "none" / "a.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "r.html"]


def test_reduction_keeps_peaks_of_both_signs():
    """A single bright or negative pixel survives the reduction of a large image."""
    image = np.zeros((100, 130), np.float32)
    image[51, 77], image[9, 3] = 5, -4
    reduced, k = reduce_image(image, 20, keep_peaks=True)
    assert (k, reduced.shape) == (7, (14, 18))
    assert (reduced[51 // 7, 77 // 7], reduced[9 // 7, 3 // 7]) == (5, -4)


def test_reduction_to_the_mean_keeps_flux():
    """The mean of blocks: a bright pixel in a block of k x k counts one part in k squared."""
    image = np.zeros((64, 64), np.float32)
    image[10, 50] = 16
    reduced, k = reduce_image(image, 16, keep_peaks=False)
    assert k == 4
    assert reduced[2, 12] == 1
    assert reduced.sum() == 1


def test_beam_is_drawn_at_its_position_angle():
    """The ellipse has the shape of the restored point source: same axes, turned from north to the east (left)."""
    ax = Figure().add_subplot()
    ax.set(xlim=(-0.5, 95.5), ylim=(-0.5, 63.5))
    beam = Beam(20 * ARCSEC, 8 * ARCSEC, 0.6)
    figures.draw_beam(ax, beam, 2 * ARCSEC)
    ellipse = ax.patches[0]
    x0, y0 = (round(c) for c in ellipse.center)
    source = np.zeros(GRID.shape, np.float32)
    source[y0, x0] = 1
    inside = restore(source, beam, 2 * ARCSEC) > 0.5
    y, x = np.mgrid[:64, :96]
    corners = np.stack([x.ravel() - x0 + ellipse.center[0], y.ravel() - y0 + ellipse.center[1]], axis=1)
    drawn = ellipse.get_patch_transform().inverted().transform(corners)
    assert np.array_equal(np.hypot(*drawn.T).reshape(inside.shape) < 1, inside)


def test_offsets_grow_to_the_east_and_north():
    """Small fields: the tick of +1 lies one arcsec to the left of the centre pixel, or above it."""
    ax = figures.sky_axes(Figure(), ImageGrid(64, 64, 0.125 * ARCSEC))
    assert ax.get_xlabel() == "Relative R.A. (arcsec)"
    x = {label.get_text(): tick for tick, label in zip(ax.get_xticks(), ax.get_xticklabels(), strict=True)}
    y = {label.get_text(): tick for tick, label in zip(ax.get_yticks(), ax.get_yticklabels(), strict=True)}
    assert (x["2"], x["0"], y["2"], y["0"]) == pytest.approx((16, 32, 48, 32))


def test_coordinates_stand_below_and_left():
    """Also in a wide field, where more lines of right ascension cross the upper edge; the title is there."""
    figure = Figure((4, 4))
    ax = figures.sky_axes(figure, ImageGrid(4096, 4096, 8 * ARCSEC, 0.0, 0.9))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    frame, drawn = ax.get_window_extent(), ax.get_tightbbox(canvas.get_renderer())
    assert drawn.y1 < frame.y1 + 2
    assert drawn.x1 < frame.x1 + 2
    assert drawn.y0 < frame.y0 - 10
    assert drawn.x0 < frame.x0 - 10


def test_sky_axes_have_the_phase_centre_in_its_pixel():
    """Large fields: the axes put the phase centre at pixel (height // 2, width // 2), east to the left."""
    ax = figures.sky_axes(Figure(), GRID)
    assert ax.wcs.world_to_pixel_values(math.degrees(GRID.ra), math.degrees(GRID.dec)) == pytest.approx((48, 32))
    assert ax.wcs.world_to_pixel_values(math.degrees(GRID.ra) + 0.01, math.degrees(GRID.dec))[0] < 40


def test_uv_plot_has_both_conjugates():
    """Each sample appears at (u, v) and at (-u, -v), in the unit of the axis."""
    fig = Figure()
    figures.uv_figure(fig, np.array([[2e6, 1e6], [-3e6, 5e6]]))
    points = fig.axes[0].lines[0].get_xydata()
    assert sorted(map(tuple, points)) == [(-3, 5), (-2, -1), (2, 1), (3, -5)]
    assert fig.axes[0].get_xlabel() == "u (Mλ)"


@pytest.mark.parametrize("peak_over_noise", [15, 100, 1e6])
def test_colour_bar_labels_do_not_meet(peak_over_noise):
    """Ticks of the asinh scale hold 0 and stay apart, however large the dynamic range."""
    norm = figures._made(brightness_norm(np.array([peak_over_noise * NOISE]), NOISE))
    ticks = figures._asinh_ticks(norm, 0.06)
    assert 0 in ticks
    assert len(ticks) >= 4
    assert np.diff(norm(ticks)).min() > 0.06


@pytest.mark.parametrize(
    "value, text", [(0.0123, "12.3 mJy"), (0, "0 Jy"), (-2.5e-5, "-25 µJy"), (0.99999, "1 Jy"), (4.6e9, "4.6 GJy")]
)
def test_numbers_get_a_metric_prefix(value, text):
    """Three digits and the prefix that suits, also for 0, negative values, and those that round up."""
    assert si(value, "Jy") == text


def fit_panel(antennas=27, unknown=False):
    """Levels of chi^2 per datum of an array; `unknown`: without neighbours, errors, or anything kept out."""
    level = {"fitted": 1.1, "kept": float("nan") if unknown else 1.3, "noise": float("nan") if unknown else 1.0}
    level |= {f"{name}_error": float("nan") if unknown else 0.1 for name in ("fitted", "kept", "noise")}
    cycles = [{"cycle": n, "fitted_chi2": 1 + 9 / n**2, "kept_chi2": 1 + 10 / n**2} for n in (1, 2, 3)]
    lengths = [{**level, "length_m": 100.0 * n} for n in range(1, 9)]
    named = [{**level, "name": f"<ea{n}>$_$", "fitted": 1 + n / 10} for n in range(antennas)]
    return FitPanel(cycles, lengths, named, level)


@pytest.mark.parametrize("antennas, unknown", [(27, False), (120, False), (3, True)])
def test_fit_of_kept_out_visibilities(tmp_path, antennas, unknown):
    """The panel is a figure with a caption that says how to read it, for few and many antennas and unknown levels."""
    page = page_of(tmp_path, fit=fit_panel(antennas, unknown))
    assert len(page.images) == 12
    for part in ("What the kept-out visibilities say", "Kept out far above fitted", "χ² fitted"):
        assert part in page.text


def test_worst_antennas_are_shown():
    """Of many antennas those with the largest chi^2 per datum are drawn, in order of their numbers."""
    panel = fit_panel(120)
    fig = Figure((9, 5.6), layout="constrained")
    FigureCanvasAgg(fig)
    figures.fit_figure(fig, panel.cycles, panel.lengths, panel.antennas, panel.level)
    labels = [text.get_text() for text in fig.axes[2].get_xticklabels()]
    assert labels == [f"<ea{n}>$_$" for n in range(80, 120)]


def sky_picture(grid, beam, title, detail="148 MHz · Stokes I", peak=5.0):
    """Figure of an image with a bright pixel, drawn."""
    image = np.random.default_rng(1).normal(0, 1e-4, grid.shape).astype(np.float32)
    image[grid.height // 2, grid.width // 2] = peak
    fig = Figure(sky_size(grid, 4.5), dpi=100)
    canvas = FigureCanvasAgg(fig)
    figures.sky_figure(fig, image, grid, beam, SkyStyle(brightness_norm(image, 1e-4), title, detail))
    canvas.draw()
    return fig, fig.axes[0]


WIDE_BEAM = Beam(60 * ARCSEC, 40 * ARCSEC, 0.3)


@pytest.mark.parametrize("title", ["3C391", "+".join(f"J{k:04d}+1234" for k in range(30)), "W" * 80, ""])
def test_title_ends_before_the_frequency(title):
    """However many fields a mosaic has: a long title is cut, a short one is whole."""
    _, ax = sky_picture(ImageGrid(512, 512, 60 * ARCSEC, 1.2, -0.8), WIDE_BEAM, title)
    texts = [text for text in (ax.title, ax._left_title, ax._right_title) if text.get_text()]
    detail = next(text for text in texts if "MHz" in text.get_text())
    for text in texts:
        if text is not detail:
            assert text.get_window_extent().width + detail.get_window_extent().width < ax.bbox.width
            assert text.get_text() == title or text.get_text().endswith("…")
    assert len(title) > 10 or any(text.get_text() == title for text in texts) or not title


@pytest.mark.parametrize("scale", [0.3, 1.0, 60.0])
def test_declination_label_is_whole(scale):
    """The label of the declination axis lies within the figure, also beside ticks with seconds."""
    fig, ax = sky_picture(ImageGrid(200, 200, scale * ARCSEC, 1.2, -0.8), WIDE_BEAM, "x")
    box = ax.coords[1]._axislabels.get_window_extent(fig.canvas.get_renderer())
    assert box.x0 >= 0


def test_colour_bar_has_no_thousands():
    """The brightest tick has fewer than four digits before the point."""
    _, ax = sky_picture(ImageGrid(64, 64, 60 * ARCSEC, 1.2, -0.8), WIDE_BEAM, "x", peak=5.0)
    bar = next(child for child in ax.child_axes)
    values = [float(t.get_text().replace("−", "-")) for t in bar.get_yticklabels() if t.get_text()]
    assert max(values) < 1000
    assert bar.get_ylabel() == "Jy/beam"


def test_small_beams_have_their_size_in_words():
    """In a wide field the ellipse is a dot; a beam that can be seen needs no words."""
    _, ax = sky_picture(ImageGrid(512, 512, 60 * ARCSEC, 1.2, -0.8), WIDE_BEAM, "x")
    assert any(text.get_text() == "beam 1 × 0.6667 amin" for text in ax.texts)
    _, ax = sky_picture(ImageGrid(64, 64, 10 * ARCSEC, 1.2, -0.8), WIDE_BEAM, "x")
    assert not any("beam" in text.get_text() for text in ax.texts)


def test_model_stands_beside_the_restored_image(tmp_path):
    """Closure pictures show both, because the beam fills a ring."""
    write_report(tmp_path / "r.html", report(show_model=True))
    assert "Restored image and model" in (tmp_path / "r.html").read_text()
    write_report(tmp_path / "r.html", report())
    assert "Restored image and model" not in (tmp_path / "r.html").read_text()


def test_bands_and_durations_are_readable():
    """No 708889 MHz and no 0 h."""
    assert band(708.889e9, 708.889e9) == "708.889 GHz"
    assert band(1.38e9, 1.41e9) == "1380 to 1410 MHz"
    lengths = [duration(seconds) for seconds in (0, 30, 600, 5400)]
    assert lengths == ["one integration", "30 s", "10 min", "1.5 h"]
