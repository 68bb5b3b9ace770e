"""Pages as a browser shows them: everything is there without a network, and a phone need not scroll sideways."""

import html
import json
import re
import shutil
import subprocess

import pytest

import radrim

LOOK = """<script>
window.addEventListener("load", () => {
  const images = [...document.images];
  const wide = [...document.querySelectorAll("main *")].filter(e => !e.closest(".scroll")
    && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1);
  const found = JSON.stringify({
    width: document.documentElement.clientWidth,
    broken: images.filter(i => i.naturalWidth === 0).length,
    images: images.length,
    wide: wide.slice(0, 3).map(e => e.outerHTML.slice(0, 80)),
    fetched: performance.getEntriesByType("resource").map(e => e.name).filter(n => !n.startsWith("data:")),
  });
  const page = parent.document;
  page.body.innerHTML = "<pre id=found></pre>";
  page.getElementById("found").textContent = found;
});
</script>"""


@pytest.fixture
def look(tmp_path):
    """`look(page, width)`: what a headless Chromium of this width finds on a page."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no Chromium on the PATH (Debian: apt install chromium)")

    def open_page(page, width):
        # In a frame, because Chromium's windows are not as narrow as a phone.
        inner = html.escape(page.read_text().replace("</head>", f"{LOOK}</head>", 1))
        copy = tmp_path / "frame.html"
        copy.write_text(
            f'<!DOCTYPE html><body><iframe style="width:{width}px;height:800px;border:0" srcdoc="{inner}"></iframe>'
        )
        done = subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
             f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,900", "--dump-dom", copy.as_uri()],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        return json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)[1]))

    return open_page


@pytest.mark.parametrize("width", [390, 1280])
def test_report(small_ms, tmp_path, look, width):
    """The report of a run with channels; 390 pixels are a phone."""
    result = radrim.image(small_ms, name=tmp_path / "x", size=64, scale="6asec", channels_out=2, max_major=2, threads=1)
    found = look(result.paths["report"], width)
    assert found["width"] == width
    assert found["images"] > 8
    assert found["broken"] == 0
    assert found["fetched"] == []
    assert found["wide"] == []
