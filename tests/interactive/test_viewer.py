"""`radrim view`: what the page holds, what its functions compute (node), and what it does in a browser (Chromium)."""

import json
import queue
import re
import shutil
import subprocess
import webbrowser
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from threading import Thread
from types import SimpleNamespace

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

import radrim
from radrim.beam import Beam, restore
from radrim.errors import ConfigError, InputError
from radrim.geometry import ARCSEC, ImageGrid
from radrim.interactive.viewer import write_viewer
from radrim.interactive.viewer.layers import ViewSettings, decode, encode, find_images, parse_kinds, reduce
from radrim.write.fits import image_header, write_fits

NOISE = 1e-4
BEAM = Beam(12 * ARCSEC, 8 * ARCSEC, 0.6)
GRID = ImageGrid(96, 64, 3 * ARCSEC, ra=np.radians(282.35), dec=np.radians(-0.93))
POINTS = {(20, 30): 1.0, (40, 70): 0.1}
"""Sources of the synthetic run: pixel (y, x) to flux [Jy]."""


def write_run(prefix, grid=GRID, kinds=("dirty", "psf", "model", "residual", "image", "uncertainty"), header=()):
    """FITS images of a run with two points; returns the restored image (y, x)."""
    residual = np.random.default_rng(4).normal(0, NOISE, grid.shape).astype(np.float32)
    model = np.zeros(grid.shape, np.float32)
    for place, flux in POINTS.items():
        model[place] = flux
    image = restore(model, BEAM, grid.scale) + residual
    arrays = {"model": model, "residual": residual, "image": image, "dirty": image, "psf": image}
    arrays["uncertainty"] = np.full(grid.shape, 2 * NOISE, np.float32)
    observation = SimpleNamespace(
        pointing_position=(grid.ra, grid.dec), rest_frequency=0.0, velocities="radio", telescope="VLA",
        object="3C391", observer="", date_obs="2010-04-24T08:25:13", freq_frame="TOPOCENT", position=[], blocks=[],
    )  # fmt: skip
    for kind in kinds:
        unit = "Jy/pixel" if kind == "model" else "Jy/beam"
        cards = image_header(grid, 4.6e9, 1e8, observation, "I", unit, BEAM, {"noise": NOISE})
        cards.update(header)
        write_fits(f"{prefix}-{kind}.fits", arrays[kind], cards)
    return image


@pytest.fixture
def run(tmp_path):
    """A run 'a' in `tmp_path`: its restored image (y, x)."""
    return write_run(tmp_path / "a")


def data_of(page):
    """What the page's script reads, and the pixels of its images (y, x)."""
    text = page.read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    texts = re.findall(r'class="pixels">(.*?)</script>', text, re.DOTALL)
    pairs = zip(data["layers"], texts, strict=True)
    return data, {at["kind"]: decode(text, at["scale"], (at["height"], at["width"])) for at, text in pairs}


# --- what the page holds


@pytest.mark.parametrize("peak", [1e-7, 1.0, 3e4])
def test_rounding_is_far_below_the_noise(peak):
    """Pixels differ by at most half of 1/16 of the noise, or 0.05 %; pixels that are not finite become NaN."""
    rng = np.random.default_rng(1)
    image = (rng.normal(0, 1e-5 * peak, (50, 60)) + peak * (rng.random((50, 60)) > 0.99)).astype(np.float32)
    image[3, 4], image[5, 6] = np.nan, np.inf
    packed = encode(image)
    back = decode(packed.text, packed.scale, image.shape)
    assert np.isnan(back[3, 4])
    assert np.isnan(back[5, 6])
    good = np.isfinite(back)
    assert good.sum() == image.size - 2
    limit = 1e-5 * peak * 1.1 / 32 + 5e-4 * np.abs(image)
    assert (np.abs(back - image)[good] <= limit[good]).all()


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_images_without_numbers_are_encoded(value):
    """An empty model, and a channel without data."""
    image = np.full((4, 6), value, np.float32)
    packed = encode(image)
    np.testing.assert_array_equal(decode(packed.text, packed.scale, image.shape), image)


def test_reduction_keeps_peaks_or_means():
    """A point stays as bright as it is, wherever strips begin; the mean of a flat image stays. NaN does not count."""
    image = np.ones((70, 100), np.float32)
    image[33, 57], image[10, 10] = -5, np.nan
    for rows in (1, 10_000):
        peaks, means = (reduce(image, keep, 25, rows) for keep in (True, False))
        assert peaks.cell == means.cell == 4
        assert peaks.pixels.shape == (17, 25)
        assert peaks.pixels[33 // 4, 57 // 4] == -5
        assert peaks.pixels[2, 2] == means.pixels[2, 2] == 1
    assert reduce(image, True, 100).cell == 1


def test_page_holds_the_pixels_of_the_files(tmp_path, run):
    """All kinds that there are, with units, and sources where the image has them."""
    data, pixels = data_of(write_viewer(tmp_path / "a"))
    assert [layer["kind"] for layer in data["layers"]] == ["image", "model", "residual", "uncertainty", "dirty", "psf"]
    np.testing.assert_allclose(pixels["image"], run, rtol=6e-4, atol=NOISE / 25)
    assert [layer["unit"] for layer in data["layers"][:3]] == ["Jy/beam", "Jy/pixel", "Jy/beam"]
    assert data["noise"] == NOISE
    found = [(round(source["y"]), round(source["x"])) for source in data["sources"][:2]]
    assert found == list(POINTS)
    for source, flux in zip(data["sources"], POINTS.values(), strict=False):
        assert source["flux"] == pytest.approx(flux, rel=0.05)


def test_large_images_are_reduced_and_the_page_says_so(tmp_path, run):
    """The page states the cell; sources keep the pixels of the files."""
    page = write_viewer(tmp_path / "a", settings=ViewSettings(shown=32, measured=100))
    data, pixels = data_of(page)
    assert pixels["image"].shape == (21, 32)
    assert "3 × 3 of the files" in page.read_text()
    assert np.isclose(pixels["image"].max(), run.max(), rtol=1e-3)
    assert round(data["sources"][0]["x"]) == 30


def test_page_of_a_dirty_image(tmp_path):
    """Without deconvolution there is no list of sources."""
    write_run(tmp_path / "a", kinds=("dirty", "psf"))
    data, _ = data_of(write_viewer(tmp_path / "a"))
    assert [layer["kind"] for layer in data["layers"]] == ["dirty", "psf"]
    assert data["sources"] == []


def test_text_of_headers_is_text(tmp_path):
    """A name of an object cannot put scripts into the page."""
    write_run(tmp_path / "a", header={"OBJECT": "<script>alert(1)</script>"})
    assert "<script>alert" not in write_viewer(tmp_path / "a").read_text()


@pytest.mark.parametrize("ending", ["", "-image.fits", "-model-uncertainty.fits", "-report.html", ".radrim"])
def test_a_run_is_found_by_its_name_or_a_file(tmp_path, run, ending):
    """Whatever the shell completes to."""
    prefix, paths = find_images(tmp_path / f"a{ending}")
    assert prefix == tmp_path / "a"
    assert paths["image"] == tmp_path / "a-image.fits"


def test_all_channels_together_come_first(tmp_path):
    """NAME-MFS-image.fits before NAME-image.fits, which may be a cube; a channel by its number."""
    for label in ("a", "a-MFS", "a-0003"):
        write_run(tmp_path / label, kinds=("image", "dirty"))
    assert find_images(tmp_path / "a")[1]["image"].name == "a-MFS-image.fits"
    assert find_images(tmp_path / "a-0003")[1]["image"].name == "a-0003-image.fits"


def test_missing_run_is_named(tmp_path, run):
    """The message says which files are missing, and which runs there are."""
    with pytest.raises(InputError, match=r"neither .*b-image\.fits nor .*Runs in this folder: .*/a\."):
        find_images(tmp_path / "b")
    with pytest.raises(ConfigError, match=r"'resdiual'.*residual"):
        parse_kinds("image,resdiual")
    with pytest.raises(InputError, match=r"none of the images asked for, but .*model"):
        write_viewer(tmp_path / "a", ("pb",))


def test_command_writes_and_opens(tmp_path, run, command, monkeypatch):
    """`radrim view NAME` opens the page; with --no-browser it does not."""
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda url: bool(opened.append(url)) or True)
    done = command("view", tmp_path / "a", "--no-browser")
    assert done.status == 0, done.err
    assert opened == []
    assert (tmp_path / "a-view.html").is_file()
    assert command("view", tmp_path / "a", "--kinds", "image,residual").status == 0
    assert opened == [(tmp_path / "a-view.html").as_uri()]
    wrong = command("view", tmp_path / "b")
    assert wrong.status == 2
    assert "b-image.fits" in wrong.err


def test_result_writes_its_page(small_ms, tmp_path):
    """`Result.view` shows the sources of `Result.sources`."""
    result = radrim.image(small_ms, size=64, scale="6asec", solver="clean", niter=50, name=tmp_path / "x", threads=1)
    page = result.view(browser=False)
    assert page == tmp_path / "x-view.html"
    data, _ = data_of(page)
    assert [source["flux"] for source in data["sources"]] == pytest.approx(list(result.sources["flux"].value))


# --- what its functions compute


@pytest.fixture
def javascript():
    """`javascript(expression, **values)`: what node computes with the functions of sky.js."""
    node = shutil.which("node") or shutil.which("nodejs")
    if node is None:
        pytest.skip("there is no node on the PATH, so the page's functions are not tested (Debian: apt install nodejs)")
    source = resources.files("radrim.interactive.viewer") / "templates" / "sky.js"

    def compute(expression, **values):
        code = f"Object.assign(globalThis, require({str(source)!r}), {json.dumps(values)});\n"
        code += f"console.log(JSON.stringify({expression}, (k, v) => Number.isNaN(v) ? 'NaN' : v))"
        done = subprocess.run([node, "-"], input=code, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return compute


@pytest.mark.parametrize("dec", [-89.99, -55.5, 0.0, 33.3, 90.0])
@pytest.mark.parametrize("ra", [0.002, 187.7])
def test_coordinates_are_those_of_wcs(javascript, ra, dec):
    """Pixel to sky to pixel as astropy.wcs, also near poles, across 0 h, and 50 degrees from the centre."""
    step = 0.05
    header = fits.Header({
        "CTYPE1": "RA---SIN", "CRPIX1": 1001.0, "CRVAL1": ra, "CDELT1": -step, "CTYPE2": "DEC--SIN", "CRPIX2": 901.0,
        "CRVAL2": dec, "CDELT2": step, "LONPOLE": 180.0,
    })  # fmt: skip
    places = np.random.default_rng(3).uniform(200, 1700, (40, 2))
    grid = {"ra": ra, "dec": dec, "step": step, "x": 1000, "y": 900}
    sky = np.array(javascript("places.map(p => pixelToSky(grid, ...p))", places=places.tolist(), grid=grid))
    expected = WCS(header).pixel_to_world(*places.T)
    found = SkyCoord(*sky.T, unit="deg")
    assert found.separation(SkyCoord(expected.ra, expected.dec)).to_value(units.arcsec).max() < 1e-5
    back = javascript("sky.map(p => skyToPixel(grid, ...p))", sky=sky.tolist(), grid=grid)
    np.testing.assert_allclose(back, places, atol=1e-6)


def test_below_the_horizon_there_is_no_sky(javascript):
    """Null, and not a number that looks like a place."""
    grid = {"ra": 0, "dec": 0, "step": 1, "x": 0, "y": 0}
    assert javascript("[pixelToSky(grid, 60, 0), skyToPixel(grid, 180, 0)]", grid=grid) == [None, None]


def test_coordinates_are_written_as_astropy_does(javascript):
    """Rounding carries from seconds to minutes and over 24 h; small negative declinations keep their sign."""
    rng = np.random.default_rng(5)
    places = [[359.9999999, -1e-9], [0.0, -0.5 / 3600], [15.0, 59.99999999 / 60], [282.35, -0.93]]
    places += np.stack([rng.uniform(0, 360, 30), rng.uniform(-90, 90, 30)], 1).tolist()
    found = javascript("places.map(p => formatSky(p, 1 / 3600))", places=places)
    sky = SkyCoord(*np.transpose(places), unit="deg")
    dec = sky.dec.to_string(sep=":", precision=1, alwayssign=True, pad=True)
    ra = sky.ra.to_string(unit="hour", sep=":", precision=2, pad=True)
    plain = [f"{a} {d}".replace("24:00:00.00", "00:00:00.00").replace("-00:00:00.0", "+00:00:00.0")
             for a, d in zip(ra, dec, strict=True)]  # fmt: skip
    assert found == plain


def test_coordinates_are_understood(javascript):
    """Sexagesimal in usual spellings, degrees, and nothing else."""
    texts = ["18:49:25 -00:55:50", "18h49m25s -0d55m50s", "18 49 25 −00 55 50", "282.354166 -0.930555", "18h49m -1d",
             "3C391", "18:49", "18:49:25 -91:00:00"]  # fmt: skip
    found = javascript("texts.map(parseSky)", texts=texts)
    for sky in found[:4]:
        assert sky == pytest.approx([282.354166, -0.930555], abs=1e-5)
    assert found[4] == pytest.approx([282.25, -1])
    assert found[5:] == [None] * 3


def test_halves_are_those_of_numpy(javascript):
    """All 65536 numbers of 16 bits."""
    codes = np.arange(65536, dtype="<u2")
    split = codes.view(np.uint8).reshape(-1, 2).T.ravel().tolist()
    found = javascript("Array.from(join(Uint8Array.from(split))).map(half).map(v => String(v))", split=split)
    np.testing.assert_array_equal(np.array(found, float), codes.view("<f2").astype(float))


@pytest.mark.parametrize("stretch", ["linear", "asinh", "log"])
def test_stretches_have_inverses(javascript, stretch):
    """Both ends of the colour map are the limits, and colours rise in between."""
    norm = {"low": -0.4, "high": 90.0, "linear": 0.3, "stretch": stretch}
    ends, parts, back = javascript(
        "[[toUnit(norm, -0.4), toUnit(norm, 90)], values.map(v => toUnit(norm, v)),"
        " values.map(v => fromUnit(norm, toUnit(norm, v)))]",
        norm=norm, values=np.linspace(-0.4, 90, 50).tolist(),
    )  # fmt: skip
    assert ends == pytest.approx([0, 1])
    assert (np.diff(parts) > 0).all()
    np.testing.assert_allclose(back, np.linspace(-0.4, 90, 50), atol=1e-9)


def test_sliders_have_inverses_and_resolve_the_noise(javascript):
    """One step near 0 is less than a tenth of the noise, whatever the peak."""
    values = [-900.0, -0.01, 0.0, 0.003, 20.0, 1000.0]
    back = javascript("values.map(v => fromSlider(toSlider(v, 1000, 0.01), 1000, 0.01))", values=values)
    np.testing.assert_allclose(back, values, atol=1e-9)
    assert 0 < javascript("fromSlider(0.002, 1000, 0.01)") < 0.1


def test_numbers_and_angles_are_readable(javascript):
    """Metric prefixes, and lengths of the scale bar."""
    assert javascript("[si(0.0123, 'Jy'), si(0.99999, 'Jy', 3), si(0, 'Jy'), si(-2e-6, 'Jy/beam')]") == [
        "12.3 mJy", "1 Jy", "0 Jy", "-2 µJy/beam",
    ]  # fmt: skip
    bars = javascript("[3, 0.3, 40 / 3600, 7e-3 / 3600, 3e-5 / 3600].map(a => formatAngle(niceAngle(a)))")
    assert bars == ["2°", "10′", "20″", "5 mas", "20 µas"]


def test_zoom_keeps_the_place_under_the_pointer(javascript):
    """The pixel 100 right and 30 below of the middle stays there."""
    before = {"x": 50.0, "y": 60.0, "zoom": 2.0}
    after = javascript("zoomAt(view, 100, 30, 3, 0.1, 80)", view=before)
    for view in (before, after):
        assert [view["x"] + 100 / view["zoom"], view["y"] - 30 / view["zoom"]] == pytest.approx([100, 45])
    assert javascript("zoomAt(view, 0, 0, 1000, 0.1, 80).zoom", view=before) == 80


# --- what it does in a browser

ACT = """
const found = {faults: []};
window.addEventListener("error", e => found.faults.push(e.message));
window.addEventListener("unhandledrejection", e => found.faults.push(String(e.reason)));
const report = () => fetch("/found", {method: "POST", body: JSON.stringify(found)});
window.addEventListener("load", () => act().catch(error => found.faults.push(error.stack)).finally(report));
async function act() {
  const $ = id => document.getElementById(id), canvas = $("sky"), r = window.radrim;
  await r.ready;
  r.drawNow();
  const point = (type, p, id = 1, kind = "mouse") => {
    const box = canvas.getBoundingClientRect();
    canvas.dispatchEvent(new PointerEvent(type, {clientX: box.left + p[0], clientY: box.top + p[1], pointerId: id,
      pointerType: kind, bubbles: true}));
    r.drawNow();
  };
  const press = key => { canvas.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true})); r.drawNow(); };
  const near = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
  const colour = p => [...canvas.getContext("2d").getImageData(...p.map(v => v * devicePixelRatio), 1, 1).data];
  found.width = document.documentElement.clientWidth;
  found.wide = [...document.querySelectorAll("main *")].filter(e => !e.closest(".scroll")
    && e.getBoundingClientRect().right > found.width + 1).map(e => e.outerHTML.slice(0, 80)).slice(0, 3);
  found.fetched = performance.getEntriesByType("resource").map(e => e.name).filter(n => !/^(data|blob):/.test(n));
  found.message = $("message").textContent;

  $("marks").click();
  const source = r.data.sources[0], peak = [Math.round(source.x), Math.round(source.y)];
  point("pointermove", r.toScreen(...peak));
  found.where = $("where").textContent;
  found.degrees = $("degrees").textContent;
  found.values = Object.fromEntries([...$("values").rows].map(row => [...row.cells].map(cell => cell.textContent)));
  point("pointerleave", [0, 0]);
  found.bright = colour(r.toScreen(...peak));

  found.shown = [];
  for (const key of ["3", " ", " ", "1"]) { press(key); found.shown.push($("name").textContent); }
  found.pressed = [...$("layers").children].map(b => b.getAttribute("aria-pressed"));

  // Chromium cuts the coordinates of wheel events to whole pixels of the window.
  const box = canvas.getBoundingClientRect(), clientX = Math.ceil(box.left) + 60, clientY = Math.ceil(box.top) + 70;
  const from = [clientX - box.left, clientY - box.top], before = r.toPixel(...from);
  canvas.dispatchEvent(new WheelEvent("wheel", {deltaY: -300, bubbles: true, cancelable: true, clientX, clientY}));
  found.wheel = near(before, r.toPixel(...from));
  point("pointerdown", from); point("pointermove", [95, 110]); point("pointerup", [95, 110]);
  found.drag = near(before, r.toPixel(95, 110));
  const zoom = r.state.view.zoom, a = r.toPixel(100, 100), b = r.toPixel(140, 100);
  point("pointerdown", [100, 100], 5, "touch"); point("pointerdown", [140, 100], 6, "touch");
  point("pointermove", [80, 100], 5, "touch"); point("pointermove", [160, 100], 6, "touch");
  point("pointerup", [80, 100], 5, "touch"); point("pointerup", [160, 100], 6, "touch");
  found.pinch = {zoom: r.state.view.zoom / zoom, a: near(a, r.toPixel(80, 100)), b: near(b, r.toPixel(160, 100))};

  press("0");
  const dark = colour(r.toScreen(...peak));
  $("highest").value = "1"; $("lowest").value = "0.99";
  $("lowest").dispatchEvent(new Event("input")); r.drawNow();
  found.contrast = near(dark, colour(r.toScreen(5, 5))) > 0 && r.normOf(0).low > 0;
  press("r");
  found.reset = String(colour(r.toScreen(...peak))) === String(dark);
  $("same").click(); press("3");
  found.same = r.normOf(2) === r.normOf(0) && r.normOf(1) !== r.normOf(0);
  $("same").click(); press("1");

  $("sources").querySelector("a").click();
  await new Promise(done => setTimeout(done, 50));
  r.drawNow();
  found.linked = near([source.x, source.y], [r.state.view.x, r.state.view.y]);
  found.row = $("sources").rows[0].className;
  $("target").value = TARGET;
  $("go").requestSubmit();
  found.gone = [r.state.view.x, r.state.view.y];
}
"""


@pytest.fixture
def act(tmp_path):
    """`act(page, width, target)`: what a headless Chromium finds when it uses a page of this width as a person does."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no Chromium on the PATH (Debian: apt install chromium)")

    def use(page, width, target):
        script = f"<script>{ACT.replace('TARGET', json.dumps(target))}</script></head>"
        # In a frame, because Chromium's windows are not as narrow as a phone.
        frame = f'<!DOCTYPE html><body><iframe style="width:{width}px;height:800px;border:0" src="/page"></iframe>'
        with answering({"/": frame, "/page": page.read_text().replace("</head>", script, 1)}) as (address, answers):
            process = subprocess.Popen(
                [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
                 "--no-proxy-server", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,900",
                 "--remote-debugging-port=0", address],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            try:
                return json.loads(answers.get(timeout=120))
            finally:
                process.terminate()
                process.wait(timeout=30)

    return use


@contextmanager
def answering(pages):
    """A server of these pages on this machine: its address, and a queue of what scripts in them report."""
    answers = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            text = pages.get(self.path)
            self.send_response(200 if text else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write((text or "").encode())

        def do_POST(self):
            answers.put(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", answers
        server.shutdown()


@pytest.mark.parametrize("width", [390, 1280])
def test_page_in_a_browser(tmp_path, run, act, width):
    """On a phone and on a desk: values, coordinates, blinking, zoom, contrast, links; nothing fetched, no faults."""
    wcs = WCS(fits.getheader(tmp_path / "a-image.fits")).celestial
    target = wcs.pixel_to_world(70, 12).to_string("hmsdms", precision=3)
    found = act(write_viewer(tmp_path / "a"), width, target)
    assert found["faults"] == []
    assert found["width"] == width
    assert found["wide"] == []
    assert found["fetched"] == []
    assert found["message"] == ""
    y, x = next(iter(POINTS))
    sky = wcs.pixel_to_world(x, y)
    assert SkyCoord(found["where"], unit=("hourangle", "deg")).separation(sky).arcsec < 0.1
    assert SkyCoord(found["degrees"].replace("°", ""), unit="deg").separation(sky).arcsec < 0.5
    value, prefix = re.fullmatch(r"([\d.]+) (m?)Jy/beam", found["values"]["Image"]).groups()
    assert float(value) * (1e-3 if prefix else 1) == pytest.approx(run[y, x], rel=1e-3)
    assert found["values"]["Model"] == "1 Jy/pixel"
    assert found["values"]["Uncertainty"] == "200 µJy/beam"
    np.testing.assert_allclose(found["bright"][:3], [252, 255, 164], atol=12)  # the upper end of inferno
    assert found["shown"] == ["Residual", "Image", "Residual", "Image"]
    assert found["pressed"].index("true") == 0
    for name in ("wheel", "drag"):
        assert found[name] < 1e-6
    assert found["pinch"]["zoom"] == pytest.approx(2)
    assert max(found["pinch"]["a"], found["pinch"]["b"]) < 1e-6
    assert found["contrast"]
    assert found["reset"]
    assert found["same"]
    assert found["linked"] < 1e-9
    assert found["row"] == "on"
    assert found["gone"] == pytest.approx([70, 12], abs=0.02)
