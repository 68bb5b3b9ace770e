"""Draws architecture.svg: every package of radrim in the order of the data. Run it in this folder."""

from pathlib import Path

WIDTH, HEIGHT = 1000, 704
STYLE = """
.page { fill: #ffffff } .frame { fill: none; stroke: #aab4bf } .inner { fill: #f4f6f8; stroke: #c3ccd5 }
.box { fill: #ffffff; stroke: #7d8b99 } .loop { fill: #fff4ea; stroke: #c8452d }
.chip { fill: #f4f6f8; stroke: #c3ccd5 }
text { fill: #1c2630; font: 12px system-ui, 'DejaVu Sans', sans-serif } .name { font-weight: 600; font-size: 13px }
.small { fill: #5a6672; font-size: 11px } .red { fill: #c8452d; font-size: 11px }
.arrow { fill: none; stroke: #5a6672; stroke-width: 1.4 } .back { fill: none; stroke: #c8452d; stroke-width: 1.8 }
.head { fill: #5a6672 } .redhead { fill: #c8452d } .dashed { stroke-dasharray: 5 4 }
@media (prefers-color-scheme: dark) {
.page { fill: #15191e } .frame { stroke: #55616d } .inner { fill: #1c2229; stroke: #3d4853 }
.box { fill: #242c35; stroke: #8694a2 } .loop { fill: #38251c; stroke: #f08a6c }
.chip { fill: #1c2229; stroke: #3d4853 }
text { fill: #e8edf2 } .small { fill: #a8b4c0 } .red { fill: #f5a088 } .arrow { stroke: #a8b4c0 }
.back { stroke: #f08a6c } .head { fill: #a8b4c0 } .redhead { fill: #f08a6c }
}"""
COMMANDS = {
    "cli": "radrim ...", "api": "radrim.image", "inspection": "radrim info", "planning": "radrim plan",
    "batch": "radrim batch", "comparison": "radrim compare", "selfcalibration": "radrim selfcal",
    "wsclean": "radrim plugin", "simulation": "radrim simulate",
}  # fmt: skip
KEPT = "NAME.radrim: each finished step leaves its result there as a file; an interrupted run resumes from these files"
VOCABULARY = {
    "visibilities": "Observation", "result": "Result, Image", "geometry": "ImageGrid", "beam": "PSF, fit",
    "gains": "StefCal, table", "earth": "uvw of a track", "stokes": "correlations", "metrics": "noise, decibels",
    "config": "ImageConfig", "runtime": "threads, memory", "arrays": "antennas", "products": "kinds of files",
    "angles": "1asec", "units": "12.3 mJy", "errors": "RadrimError", "version": "of radrim",
}  # fmt: skip


def box(x, y, width, height, name, *lines, kind="box"):
    """A rectangle with the name of a package and what it does."""
    out = [f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="7"/>']
    top = y + (height - 16 * len(lines)) / 2 + 5
    out.append(text(x + width / 2, top, name, "name"))
    return "\n".join([*out, *(text(x + width / 2, top + 16 * (k + 1), line, "small") for k, line in enumerate(lines))])


def text(x, y, words, kind="", anchor="middle"):
    """A line of text."""
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{words}</text>'


def arrow(path, kind="arrow", both=False):
    """A line with a head at its end, or at both."""
    head = "redhead" if kind == "back" else "head"
    start = f' marker-start="url(#{head})"' if both else ""
    return f'<path class="{kind}" d="{path}" marker-end="url(#{head})"{start}/>'


def draw():
    """The picture as text."""
    marker = (
        '<marker id="{0}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto-start-reverse"><path class="{0}" d="M0 0 8 4 0 8z"/></marker>'
    )
    step = (WIDTH - 60) / len(COMMANDS)
    longest = list(COMMANDS).index("selfcalibration")
    chip = (WIDTH - 40) / 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="t">',
        '<title id="t">The packages of radrim in the order of the data</title>',
        f"<style>{STYLE}</style>",
        f"<defs>{marker.format('head')}{marker.format('redhead')}</defs>",
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}" rx="10"/>',
        *(
            # The longest name has a wider box.
            box(20 + k * step + 20 * (k > longest), 18, step - 8 + 20 * (k == longest), 50, *item)
            for k, item in enumerate(COMMANDS.items())
        ),
        arrow("M500 70V92"),
        # One run
        '<rect class="frame" x="20" y="96" width="956" height="386" rx="10"/>',
        text(36, 118, "pipeline", "name", "start"),
        text(104, 118, "one run: the steps in order", "small", "start"),
        '<rect class="inner" x="200" y="132" width="582" height="338" rx="10"/>',
        text(216, 154, "imagers", "name", "start"),
        text(284, 154, "the steps for each way of imaging: in memory, in facets, closure", "small", "start"),
        box(36, 132, 144, 54, "ms", "tables, UVFITS files"),
        arrow("M108 188V202"),
        box(36, 206, 144, 70, "read", "selection, averaging,", "Stokes parameters"),
        arrow("M108 278V302"),
        box(36, 306, 144, 66, "weight", "uniform, Briggs, tapers:", "imaging weights"),
        arrow("M182 339H221"),
        box(225, 180, 150, 58, "operator", "A and its adjoint"),
        arrow("M300 304V242", both=True),
        box(225, 306, 150, 66, "measure", "dirty image, PSF,", "exact residual"),
        box(225, 410, 150, 50, "sky", "start models, predict"),
        arrow("M300 408V376"),
        box(425, 180, 150, 58, "rim", "minor cycle: i-RIM", kind="loop"),
        box(425, 306, 150, 66, "deconvolve", "major cycles, CLEAN,", "images in memory", kind="loop"),
        box(425, 410, 150, 50, "facets", "images in files", kind="loop"),
        arrow("M500 408V376", "back", both=True),
        arrow("M477 304V242", "back"),
        arrow("M523 240V302", "back"),
        text(471, 266, "residual,", "red", "end"),
        text(471, 280, "PSF", "red", "end"),
        text(530, 273, "update", "red", "start"),
        arrow("M377 325H421", "back"),
        arrow("M423 353H379", "back"),
        text(400, 317, "residual", "red"),
        text(400, 368, "model", "red"),
        text(400, 396, "major cycle: exact,", "red"),
        text(400, 410, "all data", "red"),
        box(625, 180, 140, 58, "closure", "images from closure", "quantities alone"),
        arrow("M695 240V302"),
        arrow("M577 339H621"),
        box(625, 306, 140, 66, "restore", "restored image, maps", "of errors, spectra"),
        arrow("M767 339H814"),
        box(818, 306, 140, 66, "output", "file names, headers,", "what is written"),
        arrow("M888 304V264"),
        box(818, 210, 140, 50, "write", "FITS images, cubes"),
        arrow("M960 339H968V159H962"),
        box(818, 134, 140, 50, "report", "page, quality numbers"),
        # What stays, and the vocabulary
        '<rect class="frame dashed" x="20" y="494" width="956" height="44" rx="10"/>',
        text(36, 521, "workdir", "name", "start"),
        text(106, 521, KEPT, "small", "start"),
        text(24, 566, "What all steps share", "small", "start"),
        *(box(20 + k % 8 * chip, 576 + k // 8 * 62, chip - 8, 54, *item, kind="chip")
          for k, item in enumerate(VOCABULARY.items())),
        "</svg>",
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(draw())
