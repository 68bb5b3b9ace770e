"""The pages do what they say: their commands run, their options and messages exist, their code is right."""

import ast
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from radrim.cli.imaging import parse_config
from radrim.cli.main import main
from radrim.cli.parser import build_parser
from radrim.cli.spelling import wsclean_spelling
from radrim.workdir.directory import WorkDir

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs").glob("*/*.md"))]
PARSED = ("gallery", "telescopes")
"""Pages, and folders of pages, whose commands are parsed and checked but not run: others run the same options."""
SMALL = {
    "image": "--size 64 64 --max-major 1 --threads 1",
    "plan": "--size 64 64 --threads 1",
    "selfcal": "--size 64 64 --scale 4asec --max-major 1 --threads 1 --rounds p:inf --overwrite",
    "compare": "--size 64 64 --max-major 1 --threads 1 --peer clean",
    "predict": "--threads 1",
    "simulate": "--hours 0.5 --channels 2 --threads 1",
}
"""Put at the end of the pages' commands, so that a test takes seconds: the last of two values counts."""
NOT_RUN = {
    "--scheduler": "a cluster; tests/runtime/test_cluster.py has one",
    "--cluster": "a SLURM cluster; tests/runtime/test_cluster.py has its job script",
    "--data closure": "a minute; tests/closure/test_closure.py",
    "eht.toml": "the same",
    "--start-model m87-model.fits": "what the closure image leaves; tests/closure/test_closure.py",
    "vla_3c391": "an observation that is not part of radrim; it made the figure",
    "zen.2458098": "a public file; tests/ms/test_pyuvdata_formats.py",
    "carma_miriad": "the same",
    "n09q2": "public files; tests/ms/test_fitsidi.py",
    "view field-0003": "a run with channels; tests/interactive/test_viewer.py",
    "view field-Q": "a run with Q; the same",
    "--start 900km/s": "an observation of a line with narrow channels; tests/read/test_line_cubes.py",
    "--scan": "scans, intents and names of antennas; tests/read/test_row_selection.py",
    "--antenna": "the same",
    "radrim feather": "the image of a single dish; tests/sky/test_feather.py",
    "radrim batch": "files of its own; tests/batch/test_batch.py and tests/end_to_end/test_pipelines.py run batches",
    "radrim train": "hours of training; tests/rim/training/test_rim_train.py trains for seconds",
}
"""Commands that are parsed only, and where they are tested."""
FOREIGN = {
    "--index-url",
    "--proxy",
    "--upgrade",
    "--no-build-isolation",
    "--resources",
    "--scheduler-file",
    "--nthreads",
    "--spec",
    "--rm",
}
"""Options of pip, pipx, Docker and Dask on the pages."""


def code_blocks(page, language=None):
    """Text of the code blocks of a page: indented and fenced ones, or the fenced ones of a language."""
    tokens = MarkdownIt().parse(page.read_text())
    wanted = [t for t in tokens if t.type in ("fence", "code_block")]
    return [t.content for t in wanted if language is None or t.info == language]


def commands(page):
    """Words of each radrim command of a page, with the page's shell variables in place."""
    variables: dict[str, str] = {}
    for line in "\n".join(code_blocks(page)).splitlines():
        if assignment := re.fullmatch(r'(\w+)="(.*)"', line.strip()):
            variables[assignment[1]] = assignment[2]
        elif line.strip().startswith("radrim "):
            yield shlex.split(re.sub(r"\$(\w+)", lambda found: variables[found[1]], line), comments=True)


@pytest.fixture(scope="module")
def observations(make_ms, make_uvfits):
    """Small observations by the names that the pages give them."""
    feeds, line = ("XX", "XY", "YX", "YY"), ((1.38e9, 64),)
    wide = make_ms(correlations=feeds, windows=line, times=3, gain_error=0.3)
    mosaic = make_ms(correlations=feeds, fields=26, times=1)
    uvfits = make_uvfits(wide)
    sets = dict.fromkeys(("obs.ms", "a.ms", "b.ms", "line.ms", "vlbi.ms"), wide)
    return sets | {"alma.ms": mosaic, "obs.uvfits": uvfits, "b.uvfits": uvfits, "m87.uvfits": uvfits}


@pytest.fixture
def folder(observations, tmp_path, monkeypatch):
    """The current folder: a new one with the observations, and nothing goes to the user's own."""
    for name, source in observations.items():
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, tmp_path / name)
    (tmp_path / "source.csv").write_text("ra_deg,dec_deg,i_jy,q_jy,u_jy,v_jy\n30,40,1,0.1,-0.06,0.02\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def page_id(page):
    """'vla' or 'telescopes/vla': the page in the name of a test."""
    return str(page.relative_to(ROOT / "docs" if page.is_relative_to(ROOT / "docs") else ROOT).with_suffix(""))


def run_pages(ran):
    """The pages whose commands are run, or those whose commands are only parsed."""
    return [page for page in PAGES if (page_id(page).split("/")[0] not in PARSED) == ran]


@pytest.mark.parametrize("page", run_pages(False), ids=page_id)
def test_commands_are_valid(page):
    """Every radrim command of a page has options that exist, with values that they take and that go together."""
    for words in commands(page):
        args = build_parser().parse_args(wsclean_spelling(words[1:]))
        if words[1] == "image":
            parse_config(args)


@pytest.mark.parametrize("page", run_pages(True), ids=page_id)
def test_page_runs(page, folder, without_reports):
    """Every radrim command of a page succeeds, with a small image, and then its Python code; a few are parsed only."""
    names: dict = {}
    with without_reports():
        for words in commands(page):
            run_command(words)
        for block in code_blocks(page, "python"):
            code = compile(block, str(page), "exec")
            if 'data="closure"' not in block:  # as in NOT_RUN
                exec(code, names)


def run_command(words):
    """Carry out the words of one command, or parse them only if NOT_RUN says so."""
    line = shlex.join(words)
    if any(part in line for part in NOT_RUN):
        build_parser().parse_known_args(wsclean_spelling(words[1:]))
        return
    if words[1] == "discard":
        WorkDir(words[2], {}).close()  # as a killed run leaves it
    if words[1] == "convert":  # the page means a new one
        shutil.rmtree(words[3], ignore_errors=True)
    if words[1] != "--version" and words[-1] != "--help":  # which end the process
        assert main([*words[1:], *SMALL.get(words[1], "").split()]) == 0, line


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem != "benchmarks"], ids=page_id)
def test_options_exist(page):
    """What a page writes as `--option` is one of some radrim command, or of another program that it names.

    The benchmarks' scripts have options of their own.
    """
    known = set(re.findall(r"--[a-z][a-z0-9-]*", _all_help()))
    text = re.sub(r"python pipelines/.*", "", page.read_text())
    text = re.sub(r"`[^`]*\.py [^`]*`", "", text)
    written = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text))
    assert not written - known - FOREIGN


def _all_help():
    """The help of all commands, one after the other."""
    parser = build_parser()
    actions = [action for action in parser._actions if hasattr(action, "choices") and isinstance(action.choices, dict)]
    return parser.format_help() + "".join(sub.format_help() for action in actions for sub in action.choices.values())


def test_wsclean_options_exist():
    """The left column of the table for WSClean's users has options of WSClean."""
    if shutil.which("wsclean") is None:
        pytest.skip("WSClean is not installed")
    known = subprocess.run(["wsclean"], capture_output=True, text=True, check=False).stdout
    page = (ROOT / "docs" / "from_wsclean.md").read_text()
    written = {
        word
        for row in re.findall(r"^\| (`-.*?) \|", page, re.MULTILINE)
        for word in re.findall(r"(?<![\w-])-[a-z][a-z-]+", row)
    }
    assert len(written) > 25
    assert not {word for word in written if not re.search(rf"(^\s*|and |/ ){word}\b", known, re.MULTILINE)}


def test_messages_exist():
    """The headings of the page on troubleshooting are what radrim prints, except for what is in angle brackets."""
    spoken = []
    for path in (ROOT / "radrim").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            texts = [part.value if isinstance(part, ast.Constant) else "\0" for part in parts]
            if all(isinstance(text, str) for text in texts):
                spoken.append(re.sub(r"%\.?\d*[a-z]", "\0", "".join(texts)))
    headings = re.findall(r"^### (.*)$", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    assert len(headings) > 20
    for heading in headings:
        pattern = "\0".join(re.escape(part) for part in re.split(r"<[^>]*>", heading))
        assert any(re.search(pattern, text) for text in spoken), heading


def test_every_page_is_listed():
    """The index and the pages of its sections lead to every page; Sphinx warns too, but does not run everywhere."""
    listed = {"README", "index"}
    for page in PAGES[1:]:
        for tree in re.findall(r"```\{toctree\}(.*?)```", page.read_text(), re.DOTALL):
            names = re.findall(r"^([a-z./_]+)$", tree, re.MULTILINE)
            listed |= {page_id((page.parent / name).resolve().with_suffix(".md")) for name in names}
    assert {page_id(page) for page in PAGES} <= listed


def test_picture_names_every_package():
    """The picture and the page of the architecture name the packages that import-linter knows, and no others."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(one["layers"] for one in contracts if one["name"] == "data flow one way")
    picture = (ROOT / "docs" / "images" / "architecture.svg").read_text()
    names = {name for layer in layers for name in layer.split(" | ")}
    assert set(re.findall(r'class="name"[^>]*>(\w+)<', picture)) == names
    assert "\n".join(layers) in (ROOT / "docs" / "architecture.md").read_text()
