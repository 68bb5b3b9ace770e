"""Draws architecture.svg: every package of radrim in the order of the data. Run it in this folder."""

from pathlib import Path

WIDTH, HEIGHT = 1000, 772
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
CALLERS = {
    "call pipeline": {"cli": "radrim ...", "api": "radrim.image", "selfcalibration": "radrim selfcal"},
    "start radrim image": {"batch": "radrim batch", "comparison": "radrim compare"},
    "use parts of imagers": {"wsclean": "radrim plugin", "planning": "radrim plan", "inspection": "radrim info"},
    "writes data": {"simulation": "radrim simulate"},
}  # fmt: skip
"""Commands, by how they use the packages below."""
WIDE = {"selfcalibration": 118, "comparison": 102, "simulation": 102}
"""Widths of boxes with long names; those of the others are `NARROW`."""
NARROW = 86
STEPS = (1, 44, 246), (2, 44, 346), (3, 233, 346), (4, 433, 346), (5, 633, 346), (6, 826, 346)
"""Numbers of the steps, and their positions."""
KEPT = "NAME.radrim: each finished step leaves its result there as a file; an interrupted run resumes from these files"
VOCABULARY = {
    "Shared by most packages": {
        "errors": "RadrimError", "geometry": "ImageGrid", "runtime": "threads, memory", "config": "ImageConfig",
        "visibilities": "Observation", "metrics": "noise, decibels", "beam": "fit, convolution",
        "result": "Image, Stokes",
    },
    "Shared by some": {
        "products": "kinds of files", "version": "of radrim", "stokes": "correlations", "units": "12.3 mJy",
        "angles": "1asec", "earth": "uvw of a track", "arrays": "antennas", "gains": "closure, selfcal",
        "interactive": "Result, plots", "masking": "CLEAN masks",
    },
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


def callers():
    """The row of commands, with a line under each group that says how they use the packages below."""
    out, x = [], 20
    for words, group in CALLERS.items():
        start = x
        for name, command in group.items():
            width = WIDE.get(name, NARROW)
            out.append(box(x, 18, width, 50, name, command))
            x += width + 6
        out.append(f'<path class="arrow" style="stroke-width:1" d="M{start} 73v5H{x - 6}v-5"/>')
        out.append(text((start + x - 6) / 2 + 8, 99, words, "small", "start"))
        x += 16
    return out


def chips():
    """The packages that others share, in one row for those that most use, and one for the others."""
    out = []
    for row, (words, group) in enumerate(VOCABULARY.items()):
        top = 590 + row * 88
        out.append(text(24, top, words, "small", "start"))
        step = (WIDTH - 40) / max(8, len(group))
        out += [box(20 + k * step, top + 10, step - 8, 54, *item, kind="chip") for k, item in enumerate(group.items())]
    return out


def draw():
    """The picture as text."""
    marker = (
        '<marker id="{0}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto-start-reverse"><path class="{0}" d="M0 0 8 4 0 8z"/></marker>'
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="t">',
        '<title id="t">The packages of radrim in the order of the data</title>',
        f"<style>{STYLE}</style>",
        f"<defs>{marker.format('head')}{marker.format('redhead')}</defs>",
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}" rx="10"/>',
        *callers(),
        arrow("M171 80V116"),
        arrow("M441 80V116", "arrow dashed"),
        arrow("M695 80V152"),
        # One run
        '<rect class="frame" x="20" y="120" width="956" height="386" rx="10"/>',
        text(36, 142, "pipeline", "name", "start"),
        text(104, 142, "one run: steps 1 to 6", "small", "start"),
        '<rect class="inner" x="200" y="156" width="582" height="338" rx="10"/>',
        text(216, 178, "imagers", "name", "start"),
        text(284, 178, "the steps for each way of imaging: in memory, in facets, closure", "small", "start"),
        box(36, 156, 144, 54, "ms", "tables, UVFITS files"),
        arrow("M108 212V226"),
        box(36, 230, 144, 70, "read", "selection, averaging,", "Stokes parameters"),
        arrow("M108 302V326"),
        box(36, 330, 144, 66, "weight", "uniform, Briggs, tapers:", "imaging weights"),
        arrow("M182 363H221"),
        box(225, 204, 150, 58, "operator", "A and its adjoint"),
        arrow("M300 328V266", both=True),
        box(225, 330, 150, 66, "measure", "dirty image, PSF,", "exact residual"),
        box(225, 434, 150, 50, "sky", "start models"),
        arrow("M300 432V415H450V400"),
        box(425, 204, 150, 58, "rim", "minor cycle: i-RIM", kind="loop"),
        box(425, 330, 150, 66, "deconvolve", "major cycles, CLEAN,", "images in memory", kind="loop"),
        box(425, 434, 150, 50, "facets", "images in files", kind="loop"),
        arrow("M500 432V400", "back", both=True),
        arrow("M477 328V266", "back"),
        arrow("M523 264V326", "back"),
        text(471, 280, "residual,", "red", "end"),
        text(471, 293, "PSF, model", "red", "end"),
        text(530, 297, "update", "red", "start"),
        arrow("M377 349H421", "back"),
        arrow("M423 377H379", "back"),
        text(400, 343, "residual", "red"),
        text(400, 393, "model", "red"),
        text(356, 304, "major cycle:", "red"),
        text(356, 318, "exact, all data", "red"),
        box(625, 204, 140, 58, "closure", "images from closure", "quantities alone"),
        arrow("M695 264V326"),
        arrow("M577 363H621"),
        box(625, 330, 140, 66, "restore", "restored image, maps", "of errors, spectra"),
        arrow("M767 363H814"),
        box(818, 330, 140, 66, "output", "file names, headers,", "what is written"),
        arrow("M888 328V288"),
        box(818, 234, 140, 50, "write", "FITS images, cubes"),
        arrow("M960 363H968V183H962"),
        box(818, 158, 140, 50, "report", "page, quality numbers"),
        *(text(x, y, number, "small", "start") for number, x, y in STEPS),
        # What stays, and the vocabulary
        '<rect class="frame dashed" x="20" y="518" width="956" height="44" rx="10"/>',
        text(36, 545, "workdir", "name", "start"),
        text(106, 545, KEPT, "small", "start"),
        *chips(),
        "</svg>",
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(draw())
